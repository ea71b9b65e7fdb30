# SPDX-License-Identifier: MIT
"""Models as source code for what has no Python: `export_c`, and projects of ecosystems around it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .. import tow
from .._files import opened
from .._text import quoted, shown
from ..errors import UnsupportedError
from ..loading import load
from ..model import Model
from .c.emit import Source, export
from .c.text import identifier
from .projects import PROJECTS, Parts

#: what a model may be exported to
TARGETS = ("c", *PROJECTS)


def source(model: Model, name: str = "model") -> Source:
    """The C of a model; what `export_c` writes.

    Raises:
        ValueError: `name` is no identifier of C.
        UnsupportedError: the model cannot be exported; names the node.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or identifier(name) != name:
        raise ValueError(
            f"name is {shown(repr(name))}, expected an identifier of C that is no keyword, such as 'keyword_model': "
            "files, functions and macros are called after it"
        )
    graph = model.graph
    if tow.digest(tow.write(graph)) != model.hash:
        raise UnsupportedError(
            f"model {quoted(model.name)}: its weights are stored as undertow does not write them, so exported integers "
            "could differ; convert it from the model that it was made of"
        )
    return export(graph, name, model.hash)


def export_c(
    model: Model | str | os.PathLike[str], directory: str | os.PathLike[str], name: str = "model"
) -> list[Path]:
    """Write a model as C: NAME.c and NAME.h, C99 without heap, loader, or library, for boards and other small places.

    The header is the manual: it says what a step takes and gives, and how much RAM a stream is. The code holds the ops,
    activations and products that this model uses, and its weights as constants, in the precision that the model has
    them in. It computes the bits that `Model.stream` does, on every target and with any flags of a compiler but
    -ffast-math, which it refuses.

    Args:
        model: a model that can be streamed, or the path of a file, which is loaded.
        directory: where the files go; made if it is not there. Files of these names are replaced.
        name: of the files, and the prefix of all names in them: an identifier of C.

    Returns:
        The paths of the header and the code.

    Raises:
        UnsupportedError: a layer needs the whole sequence; names it.
        ValueError: `name` is no identifier of C.
        OSError: a file cannot be written.

    >>> model = undertow.load(undertow.example("digits"), weights="int8")
    >>> paths = undertow.export_c(model, "digits_c", name="digits")
    >>> [path.name for path in paths]
    ['digits.h', 'digits.c']
    """
    return write(model, directory, "c", name)


def write(
    model: Model | str | os.PathLike[str], directory: str | os.PathLike[str], to: str = "c", name: str = "model"
) -> list[Path]:
    """As `export_c`, in the folder shape of a target: "c", or an ecosystem of `TARGETS`."""
    if to not in TARGETS:
        raise ValueError(f"to is {to!r}, expected one of {', '.join(TARGETS)}")
    text = source(model if isinstance(model, Model) else load(model), name)
    files = {f"{name}.h": text.header, f"{name}.c": text.code} if to == "c" else PROJECTS[to](Parts(text))
    paths = []
    for file, content in files.items():
        path = Path(directory) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened(path) as out:
            out.write(content.encode("ascii"))
        paths.append(path)
    return paths
