# SPDX-License-Identifier: MIT
"""JSON that a stranger wrote: its text is counted before it is parsed, and every failure is a FormatError."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..errors import FormatError

#: bytes that the values of a text take at most in CPython, for each of these characters: measured on texts of nothing
#: but lists, objects, keys, strings or numbers (`tests/test_parser_bounds.py`)
_BYTES_OF = {b"{": 64, b"[": 96, b",": 32, b":": 130, b'"': 17}


def parsed_bytes(text: bytes) -> int:
    """At most so many bytes do the values of a JSON text take, the text itself not counted.

    >>> parsed_bytes(b'{"weights": [[0.5, 1.0]]}')
    452
    """
    return sum(text.count(character) * n_bytes for character, n_bytes in _BYTES_OF.items())


def parse(text: bytes, where: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """`json.loads`, with `pairs` as its object_pairs_hook. The caller has counted `parsed_bytes`.

    Raises:
        FormatError: no valid JSON, or too deep; the message begins with `where`.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise FormatError(f"{where}: JSON is nested too deeply") from None
    except (ValueError, MemoryError) as error:  # JSONDecodeError, bad UTF-8, a number of thousands of digits
        raise FormatError(f"{where}: not valid JSON: {error}") from None
