"""The source tree stays within the figures of `benchmarks.house`."""

from __future__ import annotations

import pytest

from benchmarks.house import (
    PACKAGE,
    banned_in_text,
    circles,
    figures,
    imports,
    longest_chain,
    read,
)


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.name)
def test_figure(figure):
    assert figure.holds, str(figure)


@pytest.mark.parametrize(
    "page",
    [
        *(PACKAGE.parent / "docs").rglob("*.md"),
        *(PACKAGE.parent / "examples").glob("*.py"),
        *PACKAGE.parent.glob("*.md"),
    ],
    ids=lambda page: page.name,
)
def test_words_of_a_page(page):
    found = banned_in_text(page.read_text(encoding="utf-8"))
    assert not [f"{page.name}:{line + 1} {word}" for line, word in found]


# That the counting counts.


def write(folder, **modules):
    package = folder / "thing"
    package.mkdir()
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
    return read(package)


def test_imports_are_found_wherever_they_stand(tmp_path):
    graph = imports(
        write(
            tmp_path,
            __init__="from ._a import f\n",
            _a="if TYPE_CHECKING:\n    from . import _b\n",
            _b="def f():\n    from ._a import g\n",
        )
    )
    assert graph == {
        "thing": {"thing._a"},
        "thing._a": {"thing._b"},
        "thing._b": {"thing._a"},
    }
    assert circles(graph) == [["thing._a", "thing._b"]]
    assert longest_chain(graph) == []


def test_the_longest_chain():
    assert longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ["a", "b", "c"]


def test_lines_of_code_comments_and_annotations(tmp_path):
    text = '''"""Docstring.

    Of three lines.
    """
# A reason.
x: int = f(  # another
    """Not a
    docstring.""",
)  # (n, m)


def f(a: Any, *rest: list[Any]) -> None:
    """Documented."""
    return a  # noqa: B901
'''
    source = write(tmp_path, one=text)["thing.one"]
    assert source.code_lines == 6
    assert source.reasons == 2
    assert len(list(source.annotations())) == 4


def test_words_in_names_strings_and_docstrings(tmp_path):
    text = '''"""The board is set,
and each one takes a turn in turn."""
from thing import display, returned


def take_turn(judgedLog):
    raise ValueError(f"The {judgedLog} is told.")  # comments are not read here
'''
    found = [word for _, word in write(tmp_path, one=text)["thing.one"].banned()]
    assert sorted(found) == [
        "board",
        "judgedLog",
        "judgedLog",
        "take_turn",
        "told",
        "turn",
    ]
