# SPDX-License-Identifier: MIT
"""What is read: a file by its path, or the bytes of one that a program already holds, which go as a path as well."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from .._text import quoted
from ..errors import FormatError


class Readable(Protocol):
    """An open file, whatever it stands for: io.BytesIO, a member of a zip archive, a response of a server."""

    def read(self) -> Any: ...


#: what readers of files take: a path, the bytes of a file, or what gives them
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable


class InMemory(type(Path())):  # type: ignore[misc]  # the class that Path() makes differs between systems
    """Bytes under a name, which is all that messages show: readers take them as the path of a file.

    Attributes:
        data: the bytes.
        kind: as `contents.kind`, where whoever gave the bytes knows it.
        folder: where files beside it lie; None where nothing tells.
    """

    data: bytes = b""
    kind: str | None = None
    folder: Path | None = None

    @classmethod
    def of(cls, name: str, data: bytes, kind: str | None = None, folder: Path | None = None) -> InMemory:
        path = cls(name)
        path.data, path.kind, path.folder = data, kind, folder
        return path

    def read_bytes(self) -> bytes:
        return self.data

    @property
    def nameless(self) -> bool:
        """Whether it has no name of its own, but one in angle brackets."""
        return str(self).startswith("<")

    @property
    def stem(self) -> str:
        return "model" if self.nameless else str(super().stem)

    @property
    def suffix(self) -> str:
        return "" if self.nameless else str(super().suffix)


def as_path(source: Source) -> Path:
    """A path as it is; bytes, and what an open file gives from where it stands, as `InMemory`.

    Raises:
        TypeError: it is none of them, or a file that is open for text.
        FormatError: an open file stands at its end.
    """
    if isinstance(source, (str, os.PathLike)):
        return source if isinstance(source, Path) else Path(source)
    if (data := _buffered(source)) is not None:
        return InMemory.of("<bytes>", data)
    read = getattr(source, "read", None) or getattr(source, "read_bytes", None)
    if not callable(read) or isinstance(source, type):
        raise TypeError(
            f"expected a path, the bytes of a file, or an open file, got {quoted(type(source).__name__)}: "
            f"{source!r:.80}"
        )
    at = _position(source)
    content = read()
    data = None if isinstance(content, str) else _buffered(content)
    name = _name(source)
    if data is None:
        text = isinstance(content, str)
        raise TypeError(
            f"{name}: reading it gives {'text' if text else type(content).__name__}, expected bytes"
            f"{': open it with mode rb' if text else ''}"
        )
    if not data and at:
        raise FormatError(f"{name}: nothing is left to read from byte {at} on; file.seek(0) goes back to the start")
    return InMemory.of(name, data, folder=_folder(source))


def size_of(path: Path) -> int:
    """Bytes of a file."""
    return len(path.data) if isinstance(path, InMemory) else path.stat().st_size


def folder_of(path: Path) -> Path | None:
    """The folder in which files beside it lie; None of bytes that lie in none."""
    return path.folder if isinstance(path, InMemory) else path.parent


def _buffered(source: Any) -> bytes | None:
    """The bytes of a buffer, once copied unless nobody can change them; None of what is no buffer."""
    if type(source) is bytes:
        return source
    try:
        view = memoryview(source)
    except TypeError:
        return None
    with view:
        if view.itemsize != 1:
            raise TypeError(f"a buffer of items of {view.itemsize} bytes, expected the bytes of a file")
        return view.tobytes()


def _name(file: Any) -> str:
    name = getattr(file, "name", None)
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    return name if isinstance(name, str) and name else f"<{type(file).__name__}>"


def _position(file: Any) -> int:
    """Where it stands; 0 where it does not say."""
    try:
        return int(file.tell())
    except (AttributeError, TypeError, ValueError, OSError):
        return 0


def _folder(file: Any) -> Path | None:
    """Of a file on a disk, if it still has the name under which it was opened."""
    try:
        name = os.fsdecode(file.name)
        same = os.path.samestat(os.fstat(file.fileno()), os.stat(name))
    except (AttributeError, TypeError, ValueError, OSError):  # what has no name or descriptor says so in many ways
        return None
    return Path(name).parent if same else None
