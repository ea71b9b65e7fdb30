# SPDX-License-Identifier: MIT
"""Models as source code for what has no Python: `export_c`, and projects of ecosystems around it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from .. import _files, tow
from .._text import quoted, shown
from ..errors import UnsupportedError
from ..loading import load
from ..model import Model
from .c.emit import Source, export
from .c.text import identifier
from .projects import PROJECTS, Parts

#: what a model may be exported to
TARGETS = ("c", *PROJECTS)

#: headers of the C library, which a model's would hide
_HEADERS = """
assert complex ctype errno fenv float inttypes iso646 limits locale malloc math memory sched setjmp signal stdalign
stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar unistd wchar
wctype
"""
SYSTEM_HEADERS = frozenset(_HEADERS.split())


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
    if name in SYSTEM_HEADERS:
        raise ValueError(f"name is {name!r}, expected another: {name}.h is a header of the C library")
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
    them in. It computes the bits that `Model.stream` does, whatever the target and the level of optimisation;
    -ffast-math is refused while compiling, and with it what it stands for where the compiler tells.

    Args:
        model: a model that can be streamed, or the path of a file, which is loaded.
        directory: where the files go; made if it is not there. Files of these names that undertow wrote are replaced.
        name: of the files, and the prefix of all names in them: an identifier of C.

    Returns:
        The paths of the header and the code.

    Raises:
        UnsupportedError: a layer needs the whole sequence; names it.
        ValueError: `name` is no identifier of C.
        OSError: a file cannot be written. FileExistsError: there is one of this name that undertow did not write.

    >>> model = undertow.load(undertow.example("digits"), weights="int8")
    >>> paths = undertow.export_c(model, "digits_c", name="digits")
    >>> [path.name for path in paths]
    ['digits.h', 'digits.c']
    """
    return write(model, directory, "c", name)


def files(text: Source, to: str) -> dict[str, str]:
    """What an export consists of: contents by path.

    Raises:
        ValueError: the model has the name of another file of the project.
    """
    own = {f"{text.program.name}.h": text.header, f"{text.program.name}.c": text.code}
    return own if to == "c" else PROJECTS[to](Parts(text))


def is_of_model(path: Path, name: str) -> bool:
    """Whether a file is the header or the code of a model, and not of the project around it."""
    return path.name in (f"{name}.h", f"{name}.c")


def _is_our_readme(path: Path) -> bool:
    if path.name != "README.md" or not path.is_file():
        return False
    with open(path, "rb") as file:
        return b"\nMade by `undertow export --to " in file.read(4096)


def hash_of(path: Path) -> str | None:
    """Of which model a header or source file is, as its first lines say; None where there is no file.

    Raises:
        FileExistsError: it is nothing that `export_c` wrote.
    """
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        start = file.read(4096).decode("ascii", "replace")
    match = re.search(r"\bby undertow\b.{,60}?odel ([0-9a-f]{32})\.", start, re.DOTALL)
    if not match:
        raise FileExistsError(
            errno.EEXIST,
            "is a file that undertow did not write, and is not replaced; give another name or folder",
            str(path),
        )
    return match[1]


def write(
    model: Model | str | os.PathLike[str], directory: str | os.PathLike[str], to: str = "c", name: str = "model"
) -> list[Path]:
    """As `export_c`, in the folder shape of a target: "c", or an ecosystem of `TARGETS`.

    What stands there beside the model's two files is somebody's by now, and stays as it is, but for a README.md that
    undertow wrote. Files of their names that undertow did not write are an error.
    """
    if to not in TARGETS:
        raise ValueError(f"to is {to!r}, expected one of {', '.join(TARGETS)}")
    text = source(model if isinstance(model, Model) else load(model), name)
    target = Path(directory)
    planned = files(text, to)
    for path in planned:
        if is_of_model(target / path, name):
            hash_of(target / path)
    contents = {
        path: content.encode("ascii")
        for path, content in planned.items()
        if is_of_model(target / path, name) or not (target / path).exists() or _is_our_readme(target / path)
    }
    return _files.write_all(target, contents)
