# SPDX-License-Identifier: MIT
"""Pieces of HTML that need nothing but a browser. Whatever a file named is text here, and can be nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .._text import shown

STYLE = """\
.undertow{font:14px/1.45 system-ui,sans-serif;color:#202124;background:#fff;max-width:72em}
.undertow table{border-collapse:collapse;margin:.6em 0;background:#fff}
.undertow th,.undertow td{text-align:left;padding:.2em .8em;border-bottom:1px solid #dadce0;vertical-align:top}
.undertow th{font-weight:600;color:#5f6368}
.undertow td.n,.undertow th.n{text-align:right;font-variant-numeric:tabular-nums}
.undertow code{font:12px ui-monospace,monospace;overflow-wrap:anywhere}
.undertow .ok{color:#137333;font-weight:600}.undertow .bad{color:#c5221f;font-weight:600}
.undertow .dim{color:#5f6368}
.undertow h1{font-size:1.6em;margin:.2em 0}.undertow h2{font-size:1.15em;margin:1.6em 0 .2em}
.undertow figure{margin:.6em 0;overflow-x:auto}
"""


class Markup(str):
    """HTML already; anything else is text, and becomes HTML by `cell`."""


def text(value: object) -> Markup:
    """Text as HTML: what is not printable escaped, the middle of what is long left out."""
    return Markup(escape(shown(value)))


def code(value: object) -> Markup:
    """Text that people compare, such as a hash."""
    return Markup(f"<code>{text(value)}</code>")


def verdict(ok: bool, words: str = "") -> Markup:
    """Yes or no, in its colour; `words` in place of ok and FAILED."""
    return Markup(f'<span class="{"ok" if ok else "bad"}">{text(words or ("ok" if ok else "FAILED"))}</span>')


def cell(value: object) -> Markup:
    return value if isinstance(value, Markup) else text(value)


def table(rows: Sequence[Sequence[object]], head: Sequence[object] = (), numbers: Sequence[int] = ()) -> Markup:
    """Rows of cells under a head, or with their first cells as heads. numbers: columns that are set to the right."""

    def line(row: Sequence[object], tag: str, first: str) -> str:
        cells = []
        for i, value in enumerate(row):
            name = tag if i else first
            cells.append(f"<{name}{' class=n' if i in numbers else ''}>{cell(value)}</{name}>")
        return f"<tr>{''.join(cells)}</tr>"

    lines = [line(head, "th", "th")] if head else []
    lines += [line(row, "td", "td" if head else "th") for row in rows]
    return Markup(f"<table>{''.join(lines)}</table>")


def block(*parts: object) -> Markup:
    """Pieces below each other, with their style."""
    return Markup(f'<div class="undertow"><style>{STYLE}</style>{"".join(cell(part) for part in parts)}</div>')


def page(title: str, *parts: object) -> str:
    """A whole file."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<title>{text(title)}</title></head><body style="margin:2em;background:#fff">{block(*parts)}</body></html>\n'
    )


def heading(words: object, level: int = 2) -> Markup:
    return Markup(f"<h{level}>{cell(words)}</h{level}>")


def paragraph(words: object, dim: bool = False) -> Markup:
    return Markup(f"<p{' class=dim' if dim else ''}>{cell(words)}</p>")


def items(lines: Sequence[object]) -> Markup:
    return Markup(f"<ul>{''.join(f'<li>{cell(line)}</li>' for line in lines)}</ul>" if lines else "")


__all__ = [
    "STYLE", "Markup", "block", "cell", "code", "heading", "items", "page", "paragraph", "table", "text", "verdict",
]  # fmt: skip
