# SPDX-License-Identifier: MIT
"""What a file is, by its first bytes: suffixes are habits (`.jit`, `.tar`, `.ckpt`, `.bin`), contents are not."""

from __future__ import annotations

import io
import os
import stat
from errno import EISDIR
from pathlib import Path
from typing import BinaryIO

from ..errors import FormatError, UnsupportedError
from . import others
from .in_memory import InMemory
from .limits import MAX_HEADER_BYTES

#: bytes of a file that `kind` and `stranger` look at
HEAD = 512

_MAGIC = (
    ("zip", b"PK\x03\x04"),
    ("zip", b"PK\x05\x06"),
    ("hdf5", b"\x89HDF\r\n\x1a\n"),
    ("rnnoise", b"DNNw"),
    ("rnnoise", b"rnnoise-nu"),
)
#: second field of a serialised onnx.ModelProto, whose first is the version (0x08): producer, domain, graph, opsets ...
_ONNX_NEXT = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)
_STRANGERS = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch that with 'git lfs pull'"),
    (0, b"<!doctype html", "a page of HTML, not the file itself: download the raw file"),
    (0, b"<html", "a page of HTML, not the file itself: download the raw file"),
    (0, b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (0, b"bzh", "compressed with bzip2: unpack it first"),
    (0, b"\xfd7zxz\x00", "compressed with xz: unpack it first"),
    (0, b"(\xb5/\xfd", "compressed with zstd: unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (0, b"rar!", "a RAR archive: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first"),
    (0, b"\x7felf", "a compiled program or object file"),
    (0, b"\xfd\xfd\xfd\xfd", "a checkpoint of TensorFlow: save the model with model.save('model.keras')"),
)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read, and nothing that is none: a pipe would keep its reader waiting, a device has no end.

    Raises:
        OSError: it cannot be opened, or is a folder.
        FormatError: it is a pipe, a socket or a device.
        UnsupportedError: it is a folder that holds a model, which is not read; says the way to one that is.
    """
    if isinstance(path, InMemory):
        return io.BytesIO(path.data)
    name = os.fspath(path)
    if os.path.isdir(name):
        what, is_model = others.folder(Path(name))
        if is_model:
            raise UnsupportedError(f"{Path(name)}: {what}")
        raise IsADirectoryError(EISDIR, what, name)
    descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            what = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
            raise FormatError(f"{Path(name)}: a {what}, expected a file; write what it gives to a file first")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def bytes_of(file: BinaryIO) -> int:
    """How many bytes an open file has; it stands at its start afterwards."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def read_within(path: str | os.PathLike[str], most: int) -> bytes:
    """All of a file.

    Raises:
        UnsupportedError: it has more than `most` bytes.
        OSError, FormatError: as `open_file`.
    """
    with open_file(path) as file:
        size = bytes_of(file)
        if size > most:
            raise UnsupportedError(f"{path}: {size} bytes, at most {most} are read")
        return file.read(size)


def kind(head: bytes) -> str | None:
    """The container that begins with `head`, or None when nothing says it.

    "zip" (torch, NumPy, Keras), "hdf5", "pickle" (of protocol 2 or later), "safetensors", "rnnoise", "json", "onnx" or
    "tflite".
    """
    for name, magic in _MAGIC:
        if head.startswith(magic):
            return name
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES:
        return "safetensors"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[:1] == b"\x80" and len(head) > 1 and 2 <= head[1] <= 5:
        return "pickle"
    if head[:1] == b"\x08" and len(head) > 2 and 0 < head[1] < 0x20 and head[2] in _ONNX_NEXT:
        return "onnx"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] == b"{":
        return "json"
    return None


def stranger(head: bytes) -> str | None:
    """What a file is that never holds weights as it stands, and what to do; None when it may be one that does."""
    small = head.lower()
    return next((what for at, magic, what in _STRANGERS if small[at : at + len(magic)] == magic), None)
