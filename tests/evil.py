# SPDX-License-Identifier: MIT
"""Text that commands a terminal or forges a line, put into files at every place that holds text."""

from __future__ import annotations

import copy
import pickletools
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import undertow
from undertow.inspect import drawing

#: escape sequences of 7 and 8 bits, a bell, overrides of direction, separators of lines, a delete; markup, what
#: graphviz and matplotlib read as more than text; and a line that says what only a line of ours may say
EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066\u2028\u2029\x7f <script>alert(1)</script>\"'&#27;&lt;\\N\\l$\\frac$ "
    "\r\n  streams     forged\nforged"
)
#: the same without the one character that paths, of files and of HDF5, cannot hold
EVIL_PATH = EVIL.replace("/", "|")


def harmless(text: str) -> str:
    """`text`, in which EVIL has stayed text."""
    found = {c for c in text if not c.isprintable() and c != "\n"}
    assert not found, f"{found} in {text!r}"
    forged = [line for line in text.split("\n") if re.match(r"\s*(streams +)?forged", line)]
    assert not forged, text
    return text


def looked_at(path: Path, load: Callable[[Path], Any] = undertow.load) -> Any:
    """Load a file and look at what it is, what is warned of, or what is wrong. Gives what was loaded, or None."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("error")
            warnings.simplefilter("always", undertow.ModelWarning)  # which quotes the file, as errors do
            found = load(path)
    except undertow.Error as error:
        for text in (str(error), repr(error), *error.args):
            harmless(text)
        harmless("".join(traceback.format_exception(error)))
        return None
    for warning in caught:
        harmless(str(warning.message))
    if isinstance(found, undertow.Model):
        for text in (str(found), repr(found), repr(found.graph), drawing.dot(found), drawing.tables(found)):
            harmless(text)
        if found.streamable:
            stream = found.stream()
            harmless(f"{stream!r} {stream.state!r}")
    return found


# -- places of text -------------------------------------------------------------------------------------------------


def in_json(tree: Any, evil: str = EVIL) -> Iterator[Any]:
    """Copies of a tree of JSON: in each, one value is evil or ends so, or one key does."""

    def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            if not isinstance(inner, float):  # of which a model has thousands, all alike
                yield (*at, key), inner
                yield from places(inner, (*at, key))

    for (*path, last), value in places(tree):
        for change in ("value", "key"):
            made = copy.deepcopy(tree)
            parent = made
            for key in path:
                parent = parent[key]
            if change == "value":
                parent[last] = value + evil if isinstance(value, str) else evil
            elif isinstance(parent, dict):
                parent[last + evil] = parent.pop(last)
            else:
                continue
            yield made


def in_pickle(data: bytes) -> Iterator[bytes]:
    """Copies of a pickle: in each, one text or the name of one class ends evil."""
    for (op, arg, at), (_, _, end) in pairwise(pickletools.genops(data)):
        if op.name in ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE"):
            text = (arg + EVIL).encode()
            yield data[:at] + b"X" + len(text).to_bytes(4, "little") + text + data[end:]
        elif op.name == "GLOBAL":
            name = arg.replace(" ", "\n") + EVIL.replace("\n", "")
            yield data[:at] + f"c{name}\n".encode() + data[end:]


def in_proto(message: Any, evil: str = EVIL) -> Iterator[Any]:
    """Copies of a protobuf message: in each, one text ends evil."""

    def places(part: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        for field, value in part.ListFields():
            several = not isinstance(value, (str, bytes, int, float)) and hasattr(value, "__len__")
            for i, item in enumerate(value if several else [value]):
                here = (*at, (field.name, i if several else None))
                if isinstance(item, str) or (isinstance(item, bytes) and field.name in ("s", "strings")):
                    yield here
                elif hasattr(item, "ListFields"):
                    yield from places(item, here)

    for *path, (name, i) in places(message):
        made = copy.deepcopy(message)
        part = made
        for field, k in path:
            part = getattr(part, field) if k is None else getattr(part, field)[k]
        old = getattr(part, name) if i is None else getattr(part, name)[i]
        new = old + (evil if isinstance(old, str) else evil.encode())
        if i is None:
            setattr(part, name, new)
        else:
            getattr(part, name)[i] = new
        yield made
