"""What the pages list is what there is. `.ci/run docs` builds the site of them."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_docstrings import public_modules

import sklearn_stackelberg

DOCS = Path(__file__).parent.parent / "docs"
PACKAGE = Path(sklearn_stackelberg.__file__).parent
SECTIONS = ("start", "howto", "understand", "reference")


def listed_names():
    """Dotted names of the reference."""
    module = ""
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.fullmatch(r"   (\w+)", line):
            yield f"{module}.{found[1]}"


def public_names(module):
    """Those of ``__all__``, or of what a module without one defines."""
    if names := getattr(module, "__all__", None):
        return names
    return [
        name
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


@pytest.mark.parametrize("module", list(public_modules()), ids=lambda m: m.__name__)
def test_every_public_name_is_in_the_reference(module):
    listed = [pkgutil.resolve_name(name) for name in listed_names()]
    missing = [
        name
        for name in public_names(module)
        if not any(getattr(module, name) is value for value in listed)
    ]
    assert not missing


def test_no_name_is_in_the_reference_twice():
    listed = [pkgutil.resolve_name(name) for name in listed_names()]
    assert len({id(value) for value in listed}) == len(listed)


def test_every_page_is_in_the_table_of_a_section():
    # The tables are also what llms.txt is written from.
    text = "".join((DOCS / f"{section}.md").read_text("utf-8") for section in SECTIONS)
    listed = set(re.findall(r"^\| \[[^\]]+\]\(([\w/]+)\.(?:md|rst)\)", text, re.M))
    pages = {
        page.relative_to(DOCS).with_suffix("").as_posix()
        for page in [*DOCS.glob("*.md"), *DOCS.glob("contributing/*.md")]
    }
    assert pages - listed == {"index", "search", *SECTIONS}  # search is settings


# Warnings

PITFALLS = (DOCS / "pitfalls.md").read_text(encoding="utf-8")


def texts(node):
    """The strings of a literal, without what is put between them."""
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def sources():
    return [ast.parse(file.read_text("utf-8")) for file in PACKAGE.rglob("*.py")]


def test_every_warning_class_is_among_the_pitfalls():
    defined = [
        node.name
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Warning")
    ]
    assert len(defined) >= 2
    assert not [name for name in defined if f"## `{name}`" not in PITFALLS]


CODED = re.compile(r"`([a-z-]+)` \"([^\"]+)\"")


def test_first_words_and_codes_of_warnings_are_those_of_the_package():
    # A text is a literal, or several of which an expression is made.
    said = [
        " ".join(texts(node))
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr)
    ]
    listed = CODED.findall(PITFALLS)
    assert len({code for code, _ in listed}) == len(listed) > 20
    for code, words in listed:
        parts = [part.strip() for part in words.split("...") if part.strip()]
        found = [text for text in said if all(part in text for part in parts)]
        assert any(f"[pitfalls: {code}]" in text for text in found), (code, words)
    used = {code for text in said for code in re.findall(r"\[pitfalls: (.*?)\]", text)}
    assert used == {code for code, _ in listed}


def test_every_warning_that_is_written_out_has_a_code():
    # Those that are made elsewhere are looked at as they come, see conftest.py.
    warned = [
        " ".join(texts(node.args[0]))
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "warnings.warn"
        and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
    ]
    assert len(warned) > 5
    assert not [text for text in warned if "[pitfalls: " not in text]


# The picture of which_setting.md


def test_the_picture_of_settings_agrees_with_the_tables():
    sys.path.insert(0, str(DOCS))
    try:
        import _chooser
    finally:
        sys.path.remove(str(DOCS))
    page = (DOCS / "which_setting.md").read_text("utf-8")
    alt = re.search(r"!\[([^]]+)\]\(_static/which_setting.svg\)", page)
    assert alt[1] == _chooser.in_words()  # on one line, which the site needs
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    drawn = {
        " ".join(node.itertext()).strip()
        for node in ElementTree.parse(_chooser.PICTURE).iter()
        if node.tag.endswith("}text")
    }
    expected = set()
    for question, answers in _chooser.QUESTIONS:
        expected.add(question)
        for answer, setting in answers:
            expected |= {answer, f"→ {setting}"}
            words = setting.removesuffix(" to set")
            assert words in rows.replace("`", ""), setting
    assert drawn == expected
