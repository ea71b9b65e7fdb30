# SPDX-License-Identifier: MIT
"""The container of a .tow file (csrc/FORMAT.md): names, tensors and words of the metadata, whatever they stand for."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from .._text import quoted
from ..errors import FormatError
from .packing import ALIGN, dtype_of, kind_of

#: in place of a tensor's number where there is none
NONE = 0xFFFFFFFF
#: words of counts that the metadata begins with; bytes of the header before it
COUNTS = 8
HEADER = 64
#: where the header holds the size of the file, that of the metadata, and the sum of both and the metadata
SIZE_AT, METADATA_AT, SUM_AT = 16, 24, 28
#: where the header holds the model hash, 16 bytes
HASH_AT = 32
#: where it holds the timesteps of a frame, two words
FRAMES_AT = 48


class Writer:
    """Collects what `write` refers to by place or number."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.tensors: list[tuple[int, int, np.ndarray]] = []  # dtype code, flags, array

    def title(self, text: str) -> list[int]:
        """Words about the model, which nobody asks for by name: half a character (of a file's name) is written out."""
        return self.name(text.encode(errors="backslashreplace").decode())

    def name(self, text: str) -> list[int]:
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise FormatError(
                f"the name {quoted(text)} cannot be stored: {text[error.start]!r} is half a character; expected Unicode"
            ) from None
        self.text += data
        return [len(self.text) - len(data), len(data)]

    def tensor(self, array: np.ndarray | None) -> int:
        if array is None:
            return NONE
        code, flags = kind_of(array.dtype)
        self.tensors.append((code, flags, np.ascontiguousarray(array, dtype_of(code, flags))))
        return len(self.tensors) - 1


class Reader:
    """Takes the words of the metadata one record after the other."""

    def __init__(self, blob: bytes | bytearray | memoryview) -> None:
        self.blob = memoryview(blob)
        (metadata_bytes,) = struct.unpack_from("<I", self.blob, METADATA_AT)
        self.words = np.frombuffer(self.blob, "<u4", metadata_bytes // 4, HEADER)
        self.counts = [int(n) for n in self.words[:COUNTS]]
        self.at = COUNTS
        self.text = bytes(self.blob[HEADER + metadata_bytes - self.counts[7] : HEADER + metadata_bytes])

    def take(self, n: int) -> list[int]:
        self.at += n
        return [int(w) for w in self.words[self.at - n : self.at]]

    def name(self, record: list[int]) -> str:
        return self.text[record[0] : record[0] + record[1]].decode(errors="replace")

    def tensor(self, record: list[int]) -> np.ndarray:
        offset, n = record[2] | record[3] << 32, record[4] | record[5] << 32
        return np.frombuffer(
            self.blob, dtype_of(record[0], record[1]), n, offset
        ).copy()  # the file may be unmapped later


def dims(shape: tuple[int, ...]) -> list[int]:
    return [len(shape), *shape, *[0] * (8 - len(shape))]


def checksum(blob: bytearray) -> None:
    """Fill in the header's sum of itself and the metadata."""
    (metadata_bytes,) = struct.unpack_from("<I", blob, METADATA_AT)
    crc = zlib.crc32(blob[HASH_AT:HEADER], zlib.crc32(blob[:SUM_AT]))
    struct.pack_into("<I", blob, SUM_AT, zlib.crc32(blob[HEADER : HEADER + metadata_bytes], crc))


def align(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


__all__ = [
    "COUNTS", "FRAMES_AT", "HASH_AT", "HEADER", "NONE", "SIZE_AT", "Reader", "Writer", "align", "checksum", "dims",
]  # fmt: skip
