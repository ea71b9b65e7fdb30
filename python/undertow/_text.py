# SPDX-License-Identifier: MIT
"""Text that comes from files, as messages, tables and pictures show it.

Anybody may have named what stands in a file, and a terminal obeys what it is sent: escape sequences clear it, a newline
forges a line, a bidirectional override turns one around. So nothing that is not printable is shown as it is. Names stay
the keys that they are; only what is shown changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

#: characters of one name that are shown, and of one line
MAX_NAME = 200
MAX_LINE = 2000


def escaped(text: str) -> str:
    """`text` as one line: what is not printable as `repr` writes it.

    Backslashes stay single: paths look like themselves, and text that is shown already stays as it is.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(text: object, limit: int = MAX_NAME) -> str:
    """`escaped`, the middle of what is long left out.

    >>> print(shown("gate\\x1b[2J\\n"))
    gate\\x1b[2J\\n
    """
    return _cut(escaped(_cut(str(text), limit)), limit)


def quoted(text: object, limit: int = MAX_NAME) -> str:
    """`repr` of text, the middle of what is long left out.

    >>> quoted("lstm")
    "'lstm'"
    """
    return _cut(repr(_cut(str(text), limit)), limit + 2)


def listed(names: Iterable[object]) -> str:
    """Names with commas between them."""
    return shown(", ".join(map(shown, names)), MAX_LINE)


def lines(text: str) -> str:
    """`text` of several lines, which are ours: only their ends stay what they are."""
    return text if text.isprintable() else "\n".join(map(escaped, text.split("\n")))


def nearest(name: str, known: Collection[str]) -> str:
    """What to add to "there is no such name": those that are near it.

    >>> nearest("multiply", ["add", "mul", "max"])
    "; did you mean 'mul'?"
    """
    lower = name.lower()
    near = [k for k in known if len(k) > 2 and len(lower) > 2 and (lower.startswith(k) or k.startswith(lower))]
    near = sorted(near, key=len, reverse=True) or get_close_matches(lower, known, 2, 0.7)
    return f"; did you mean {' or '.join(map(repr, near[:2]))}?" if near else ""


def cause(error: BaseException) -> BaseException | None:
    """What to raise `from`, where another library may have quoted the file: None if a traceback would show that raw."""
    at: BaseException | None = error
    while at is not None:
        if not str(at).isprintable():
            return None
        at = at.__cause__ or at.__context__
    return error


def _cut(text: str, limit: int) -> str:
    tail = limit // 3
    return text if len(text) <= limit else f"{text[: limit - tail - 3]}...{text[len(text) - tail :]}"
