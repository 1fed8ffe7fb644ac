"""Check a built site: `python docs/_check_html.py docs/_build`.

Links and pictures inside it are there, to the anchor; headings are in order; nothing
that docutils could not read is on a page; and llms.txt names pages that there are.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, what it can be linked by, and its headings."""

    def __init__(self, file: Path):
        super().__init__()
        self.links: list[str] = []
        self.anchors = {"", "top"}
        self.headings: list[int] = []
        self.has_problem = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Note a link, an anchor or a heading."""
        attributes = dict(attrs)
        self.anchors.update(
            attributes[key] for key in ("id", "name") if attributes.get(key)
        )
        link = attributes.get("href") or attributes.get("src")
        if link and tag in ("a", "img", "link", "script"):
            self.links.append(link)
        if re.fullmatch("h[1-6]", tag) and "sd-card-title" not in str(attributes):
            self.headings.append(int(tag[1]))
        classes = (attributes.get("class") or "").split()
        self.has_problem |= "problematic" in classes or "system-message" in classes


def faults(site: Path) -> list[str]:
    """Everything that is wrong, a line each."""
    pages = {
        file: Page(file)
        for file in sorted(site.rglob("*.html"))
        if "_static" not in file.parts
    }
    out = []
    for file, page in pages.items():
        name = file.relative_to(site)
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = file
            if parts.path:
                target = (file.parent / unquote(parts.path)).resolve()
            if not target.exists():
                out.append(f"{name}: {link} is not there")
            elif target in pages and unquote(parts.fragment) not in (
                pages[target].anchors
            ):
                out.append(f"{name}: {link} has no such anchor")
        if page.has_problem:
            out.append(f"{name}: markup that could not be read")
        if page.headings.count(1) != 1:
            out.append(f"{name}: {page.headings.count(1)} headings of the first level")
        article = page.headings[page.headings.index(1) :] if 1 in page.headings else []
        if any(after > before + 1 for before, after in pairwise(article)):
            out.append(f"{name}: headings skip a level: {article}")
    for page in re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text("utf-8")):
        if not (site / page).exists():
            out.append(f"llms.txt: {page} is not there")
    return out


if __name__ == "__main__":
    found = faults(Path(sys.argv[1]).resolve())
    print("\n".join(found) or "All links and pictures are there.")
    sys.exit(bool(found))
