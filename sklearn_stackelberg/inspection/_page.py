"""Headings, texts, tables and pictures, as a page of HTML or Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from .._html import html_table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #bbb; padding: 0.25rem 0.6rem; text-align: left;
  vertical-align: top; }
th { background: #f2f2f2; }
pre { background: #f7f7f7; padding: 0.7rem; overflow-x: auto; white-space: pre-wrap; }
img { max-width: 100%; height: auto; }
.warning { border-left: 4px solid #D55E00; padding: 0.1rem 0.8rem; margin: 0.6rem 0; }
"""


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, and what stands under it."""

    title: str
    text: str = ""
    heads: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    # PNG files and what they show, and text that is shown as it is.
    pictures: tuple[tuple[bytes, str], ...] = field(default=(), repr=False)
    listing: str = ""


def page_html(title: str, sections: Sequence[Section]) -> str:
    """A page that needs no other file, and runs no script."""
    body = "".join(map(section_html, sections))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def page_markdown(title: str, sections: Sequence[Section]) -> str:
    parts = [f"# {marked(title)}", *map(section_markdown, sections)]
    return "\n\n".join(parts) + "\n"


def section_html(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(line)}</p>" for line in section.text.split("\n") if line]
    for file, alt in section.pictures:
        data = base64.b64encode(file).decode()
        parts.append(f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">')
    if section.lines:
        parts.append(html_table(section.heads, section.lines))
    if section.listing:
        parts.append(f"<pre>{escape(section.listing)}</pre>")
    parts += [f'<p class="warning">{escape(one)}</p>' for one in section.warnings]
    return "".join(parts)


def section_markdown(section: Section) -> str:
    parts = [f"## {marked(section.title)}"]
    parts += [marked(line) for line in section.text.split("\n") if line]
    if section.lines:
        table = [section.heads, ("---",) * len(section.heads)]
        rows = [[marked(cell) for cell in line] for line in section.lines]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in [*table, *rows]))
    if section.listing:
        parts.append("\n".join(f"    {one}" for one in section.listing.split("\n")))
    parts += [f"- {marked(one)}" for one in section.warnings]
    return "\n\n".join(parts)


def marked(text: str) -> str:
    """Text in which no sign is Markdown's, or HTML's."""
    out = escape(text, quote=False).replace("\\", "\\\\")
    for sign in "`*_[]|#":
        out = out.replace(sign, f"\\{sign}")
    return " ".join(out.split())


def written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
