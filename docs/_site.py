"""What the site does beyond its extensions: links, signs of the equations, llms.txt.

The pages are Markdown that is read in the repository, too, so that they link to its
files; here such links lead to the pages that the site has of these.
"""

from __future__ import annotations

import builtins
import os
import re
import shutil
import warnings
from pathlib import Path

from docutils import nodes
from sphinx.util.nodes import make_refnode

import sklearn_stackelberg

DOCS = Path(__file__).parent
ROOT = DOCS.parent


# Links to files of the repository

# Pages of which the site has only the name: their text is elsewhere in the repository.
PAGES_OF_FILES = {
    "readme": ROOT / "README.md",
    "release_notes": ROOT / "CHANGELOG.md",
    "develop": ROOT / "CONTRIBUTING.md",
    "benchmark_conditions": ROOT / "benchmarks" / "README.md",
    "settings": DOCS / "search.md",  # Sphinx's own page is search.html
}
PAGE_NAMES = {"search": "settings"}
LINK = re.compile(r"\[([^\[\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def page_of(path: Path) -> str | None:
    """The page that a file of the repository has on the site, from its root."""
    for page, file in PAGES_OF_FILES.items():
        if path == file:
            return f"/{page}.md"
    if path.parent == ROOT / "examples" and path.suffix == ".py":
        return f"/examples/{path.stem}.rst"
    return f"/{path.relative_to(DOCS)}" if path.is_relative_to(DOCS) else None


def read_page(app, docname, source):
    """Bring in the text of a file of the repository, and lead its links to pages."""
    page = DOCS / f"{docname}.md"
    if not page.exists():
        # Text of an example is not indented, its code is.
        if docname.startswith("examples/"):
            lines = source[0].split("\n")
            source[0] = "\n".join(
                line if line[:1] in (" ", ".") or line == "|" else escape(line)
                for line in lines
            )
        return
    file = PAGES_OF_FILES.get(docname, page)

    def lead(link: re.Match) -> str:
        path = Path(os.path.normpath(file.parent / link[2]))
        if not path.exists():
            return link[0]
        target = page_of(path)
        if target is None and path.suffix == ".md":
            return link[1]  # a page that the site does not have
        target = target or os.path.relpath(path, page.parent)
        # A file's name makes room for the title of its page.
        text = "" if link[1].endswith((".md", ".py")) else link[1]
        return f"[{text}]({target}{link[3] or ''})"

    if file != page:
        source[0] = file.read_text(encoding="utf-8")
    source[0] = LINK.sub(lead, source[0])


# Docstrings and examples

# |w|² and n_features_in_ are no links of reStructuredText, where they are not code.
SIGN = re.compile(r"(``.*?``|`[^`]*`)|\||(?<=\w)_(?!\w)")


# A page that a docstring sends to.
NAMED_PAGE = re.compile(r"(?:``)?docs/(\w+)\.md(?:``)?")


def escape(line: str) -> str:
    """Have a line's bars and last underscores mean themselves, and link its pages."""
    line = SIGN.sub(lambda sign: sign[1] or "\\" + sign[0], line)
    return NAMED_PAGE.sub(
        lambda page: f":doc:`/{PAGE_NAMES.get(page[1], page[1])}`", line
    )


def escape_docstring(app, what, name, obj, options, lines):
    """Escape the prose of a docstring; numpydoc has made it reStructuredText."""
    is_code = False
    for number, line in enumerate(lines):
        # An example ends with an empty line.
        is_code = line.lstrip().startswith(">>>") or (is_code and bool(line.strip()))
        if not is_code:
            lines[number] = escape(line)


def prepare_example(gallery_conf, example):
    """Have an example know its file, and its warnings not where that is."""
    if example is not None:
        builtins.__file__ = str(ROOT / "examples" / Path(example).name)
    warnings.formatwarning = lambda message, category, *_: (
        f"{category.__name__}: {message}\n"
    )


def saved_pictures(block, block_vars, gallery_conf):
    """Show the pictures that an example saved: none of them is pyplot's."""
    from sphinx_gallery.scrapers import figure_rst

    moved = []
    for saved in sorted(Path(block_vars["src_file"]).parent.glob("*.png")):
        moved.append(next(block_vars["image_path_iterator"]))
        shutil.move(saved, moved[-1])
    return figure_rst(moved, gallery_conf["src_dir"])


# Links to the reference


def reference_of(env) -> dict[str, tuple[str, str]]:
    """Page and anchor by name, for each name that only one of ours has."""
    found: dict[str, set] = {}
    for path, entry in env.domains["py"].objects.items():
        parts = path.split(".")
        # A method is named with its class: `fit` alone may be anyone's.
        n_names = len(parts) - (entry.objtype not in ("class", "function", "exception"))
        if entry.objtype not in ("module", "attribute"):
            for first in range(n_names):
                name = ".".join(parts[first:])
                found.setdefault(name, set()).add((entry.docname, entry.node_id))
    return {name: places.pop() for name, places in found.items() if len(places) == 1}


def trim_code(app, doctree):
    """Leave out the empty line that ends what a doctest prints."""
    for block in doctree.findall(nodes.literal_block):
        block.rawsource = block.rawsource.rstrip()
        block[:] = [nodes.Text(block.rawsource or block.astext().rstrip())]


def link_names(app, doctree, docname):
    """Link what is named in code to its page in the reference."""
    reference = reference_of(app.env)
    for code in list(doctree.findall(nodes.literal)):
        page, anchor = reference.get(code.astext().removesuffix("()"), (docname, ""))
        if page != docname and not isinstance(
            code.parent, nodes.reference | nodes.title
        ):
            code.replace_self(
                make_refnode(app.builder, docname, page, anchor, code.deepcopy())
            )


def link_elsewhere(app, env, node, contnode):
    """Link a name of "See Also" that is documented in another module."""
    target = reference_of(env).get(node.get("reftarget"))
    if node.get("refdomain") != "py" or target is None:
        return None
    return make_refnode(app.builder, node["refdoc"], *target, contnode)


def only_ours(app, what, name, obj, skip, options):
    """Leave out what scikit-learn, torch or Python gives to a class."""
    function = obj.fget if isinstance(obj, property) else obj
    module = getattr(function, "__module__", None) or ""
    if what == "class" and not module.startswith("sklearn_stackelberg"):
        return True
    return None


# For programs that read the documentation

ROW = re.compile(r"^\| \[([^\]]+)\]\(([^)]+?)\.(?:md|rst|py)\) \| (.+?) \|$", re.M)
SECTIONS = ["start", "howto", "understand", "reference"]


def write_llms_txt(app, exception):
    """Write a list of the pages, with the line that a section's table has of each."""
    if exception or app.builder.format != "html":
        return
    lines = [
        f"# {app.config.project}",
        "",
        f"> {sklearn_stackelberg.__doc__.splitlines()[0]}",
    ]
    for section in SECTIONS:
        text = (DOCS / f"{section}.md").read_text(encoding="utf-8")
        title = text.splitlines()[0].lstrip("# ")
        lines += ["", f"## [{title}]({section}.html)", ""]
        for title, page, what in ROW.findall(text):
            page = page.removeprefix("../")
            lines.append(f"- [{title}]({page}.html): {what}")
    text = "\n".join(lines) + "\n"
    Path(app.outdir, "llms.txt").write_text(text, encoding="utf-8")


def setup(app):
    """Register what is defined above."""
    app.connect("source-read", read_page)
    app.connect("doctree-read", trim_code)
    app.connect("doctree-resolved", link_names)
    app.connect("missing-reference", link_elsewhere)
    app.connect("autodoc-skip-member", only_ours)
    # After numpydoc, whose priority is the default, 500.
    app.connect("autodoc-process-docstring", escape_docstring, priority=600)
    app.connect("build-finished", write_llms_txt)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
