"""Tables of HTML, as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def html_table(
    heads: Iterable[str], lines: Iterable[Iterable[str]], caption: str = ""
) -> str:
    """A table of HTML, all of it escaped; without heads lines begin with theirs."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = ""
    for first, *rest in lines:
        first = f"<td>{escape(first)}</td>" if head else f"<th>{escape(first)}</th>"
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        body += f"<tr>{first}{cells}</tr>"
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f"<table>{above}{head}<tbody>{body}</tbody></table>"
