"""``python -m benchmarks house``: the figures that the source tree is held to.

``tests/test_house.py`` is green while each is within its limit.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.report import markdown

PACKAGE = ROOT / "sklearn_stackelberg"

LONGEST_FILE = 300  # lines of code

# A private language that this code once had. "In turn" is everyone's.
BANNED = {
    *("play", "plays", "played", "playing", "board", "boards", "door", "doors"),
    *("seat", "seats", "seated", "judge", "judges", "judged", "judging"),
    *("told", "turn", "turns"),
}
_IDIOM = re.compile(r"\bin(\s+)turn\b", re.IGNORECASE)
# "HTTPTurn" is HTTP, Turn; "take_turn" is take, turn.
_PART_OF_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# Comments that are no reason: of shapes, and to tools.
_NO_REASON = re.compile(r"#\s*(\([^()]*\)( or \([^()]*\))?[.;]?|noqa\b.*|type: .*)$")

_LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


class Source:
    """A module, as text and as a tree."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.docstrings = {id(node) for node in _docstrings(self.tree)}

    @property
    def code_lines(self) -> int:
        """Lines but those of docstrings, comments and blanks."""
        documented = {
            line
            for node in _docstrings(self.tree)
            for line in range(node.lineno, node.end_lineno + 1)
        }
        found: set[int] = set()
        for token in self._tokens():
            if token.type not in _LAYOUT and token.type != tokenize.COMMENT:
                found.update(range(token.start[0], token.end[0] + 1))
        return len(found - documented)

    @property
    def reasons(self) -> int:
        """Lines with a comment that is more than a shape."""
        comments = (t.string for t in self._tokens() if t.type == tokenize.COMMENT)
        return sum(not _NO_REASON.match(comment) for comment in comments)

    def annotations(self) -> Iterator[ast.expr]:
        """Of arguments, of what is returned, and of variables."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
                yield node.annotation
            elif (returns := getattr(node, "returns", None)) is not None:
                yield returns

    def banned(self) -> Iterator[tuple[int, str]]:
        """Lines and words, in names and in strings: docstrings and messages."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for line, word in banned_in_text(node.value):
                    yield node.lineno + line, word
            else:
                for name in _names(node):
                    for word in _PART_OF_NAME.findall(name):
                        if word.lower() in BANNED:
                            yield getattr(node, "lineno", 1), name

    def _tokens(self) -> Iterator[tokenize.TokenInfo]:
        return tokenize.generate_tokens(io.StringIO(self.text).readline)


def banned_in_text(text: str) -> Iterator[tuple[int, str]]:
    """Banned words of a text that people read, with their lines, counted from 0."""
    for number, line in enumerate(_IDIOM.sub(r"\1", text).splitlines()):
        # With its underscores a word is a name, of a column perhaps.
        for word in re.findall(r"(?<![\w/.])[^\W\d_]+(?![\w/])", line):
            if word.lower() in BANNED:
                yield number, word


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0].value


def _names(node: ast.AST) -> Iterator[str]:
    for field in ("name", "id", "attr", "arg", "asname", "module"):
        value = getattr(node, field, None)
        if isinstance(value, str):
            yield value


def read(package: Path = PACKAGE) -> dict[str, Source]:
    """The modules of a package, by their dotted names."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Source(path, name)
    return found


def imports(sources: Mapping[str, Source]) -> dict[str, set[str]]:
    """The modules of the package that each one names in an import, wherever it stands.

    Under TYPE_CHECKING and inside functions too: who reads has to follow those as well.
    """
    graph: dict[str, set[str]] = {name: set() for name in sources}
    for name, source in sources.items():
        package = source.path.name == "__init__.py"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                # One dot is the package that holds the module, or is it.
                above = name.split(".")[: None if package else -1]
                above = above[: len(above) + 1 - node.level] if node.level else []
                base = ".".join([*above, *filter(None, [node.module])])
                targets = [
                    full if (full := f"{base}.{alias.name}") in sources else base
                    for alias in node.names
                ]
            else:
                continue
            graph[name].update(t for t in targets if t in sources and t != name)
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that import one another, by whatever way round."""
    reached = {name: _reached(graph, name) for name in graph}
    groups = {
        frozenset(other for other in found if name in reached[other])
        for name, found in reached.items()
    }
    return sorted(sorted(group) for group in groups if group)


def _reached(graph: Mapping[str, set[str]], name: str) -> set[str]:
    found: set[str] = set()
    new = graph[name]
    while new:
        found = found | new
        new = {further for one in new for further in graph[one]} - found
    return found


def longest_chain(graph: Mapping[str, set[str]]) -> list[str]:
    """The most modules that import one another in a row; none if there is a circle."""
    if circles(graph):
        return []

    @cache
    def below(name: str) -> tuple[str, ...]:
        return (name, *max(map(below, sorted(graph[name])), key=len, default=()))

    return list(max(map(below, graph), key=len))


@dataclass(frozen=True)
class Figure:
    """One line of the table: what is counted, and what it may be."""

    name: str
    value: float
    limit: float
    at_least: bool = False
    where: Sequence[str] = ()  # what to look at, where it is out of its limit

    @property
    def holds(self) -> bool:
        if self.at_least:
            return self.value >= self.limit
        return self.value <= self.limit

    @property
    def wanted(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:,}"

    def __str__(self) -> str:
        text = f"{self.name}: {self.value:,.6g}, wanted {self.wanted}"
        return "\n  ".join([text, *self.where])


def figures(package: Path = PACKAGE) -> list[Figure]:
    """All figures of the house."""
    sources = read(package)
    graph = imports(sources)
    round_trips, chain = circles(graph), longest_chain(graph)
    code = {name: source.code_lines for name, source in sources.items()}
    long = {name: lines for name, lines in code.items() if lines > LONGEST_FILE}
    annotations = [a for source in sources.values() for a in source.annotations()]
    bare = [a for a in annotations if isinstance(a, ast.Name) and a.id == "Any"]
    words = [
        f"{source.path.relative_to(package.parent)}:{line} {word}"
        for source in sources.values()
        for line, word in source.banned()
    ]
    n_lines = sum(len(source.text.splitlines()) for source in sources.values())
    reasons = sum(source.reasons for source in sources.values())
    return [
        Figure("files", len(sources), 190),
        Figure(
            "circles of imports",
            len(round_trips),
            0,
            where=[*map(", ".join, round_trips)],
        ),
        Figure(
            f"files over {LONGEST_FILE} lines of code",
            len(long),
            0,
            where=[f"{name} {lines}" for name, lines in long.items()],
        ),
        Figure(
            "longest chain of imports",
            len(chain) - 1 if chain else float("inf"),
            17,
            where=[" > ".join(chain)],
        ),
        Figure(
            "comment lines per 100 lines of code",
            100.0 * reasons / sum(code.values()),
            6,
            at_least=True,
        ),
        Figure("bare Any, % of annotations", 100.0 * len(bare) / len(annotations), 3),
        # Two of five are docstrings, comments or empty. Blocks, and pictures of what
        # policies do and are worth, came last.
        Figure("lines", n_lines, 40_500),
        Figure("words of the old private language", len(words), 0, where=words),
    ]


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 where a figure is out of its limit."""
    if arguments:
        print("usage: python -m benchmarks house", file=sys.stderr)
        return 2
    found = figures()
    out = [figure for figure in found if not figure.holds]
    rows = [
        (f.name, f"{f.value:,.6g}", f.wanted, "no" if f in out else "yes")
        for f in found
    ]
    print(markdown(["figure", "value", "limit", "within"], rows))
    for figure in out:
        if figure.where:
            print(f"\n{figure}")
    return 1 if out else 0
