"""The pages for contributors: they quote the source, and each is followed once.

``python tests/test_contributing.py`` writes the source anew into the pages.
"""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "contributing"
PAGES = sorted(FOLDER.glob("*.md"))
# A comment that names the object, and the block that quotes it.
QUOTED = re.compile(r"(<!-- source: (\S+) -->\n```python\n)(.*?)(?=```\n)", re.DOTALL)


def source(name: str) -> str:
    """What a page quotes: a class, a function, or a module's constant."""
    return inspect.getsource(pkgutil.resolve_name(name))


def follow(page: str) -> dict[str, object]:
    """The names that a page's examples define; run beside by doctest, which compares."""
    names: dict[str, object] = {}
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    for example in doctest.DocTestParser().get_examples(text):
        exec(compile(example.source, f"{page}.md", "single"), names)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_quotes_the_source_word_for_word(page):
    quoted = QUOTED.findall(page.read_text(encoding="utf-8"))
    assert quoted
    for _, name, text in quoted:
        assert text == source(name), f"{name}: python tests/test_contributing.py"


def write_sources() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = QUOTED.sub(lambda found: found[1] + source(found[2]), text)
        if new != text:
            page.write_text(new, encoding="utf-8")
            print(f"{page.name} has the source as it is now")


if __name__ == "__main__":
    write_sources()
