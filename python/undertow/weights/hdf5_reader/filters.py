# SPDX-License-Identifier: MIT
"""The filters that a chunk of an array went through when it was written, undone."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...errors import FormatError, UnsupportedError
from .source import MAX_FILTERS, Fields

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
_NAMES = {4: "szip", 5: "n-bit", 6: "scale-offset", 32000: "LZF"}


class Filter(NamedTuple):
    number: int
    values: tuple[int, ...]


def pipeline(body: bytes, name: str) -> list[Filter]:
    """The filters in the order of writing."""
    fields = Fields(body)
    version, count = fields.take("<BB")
    if version not in (1, 2) or count > MAX_FILTERS:
        raise FormatError(f"{name}: the HDF5 file is damaged: {count} filters in a message of version {version}")
    if version == 1:
        fields.raw(6)
    filters = []
    for _ in range(count):
        (number,) = fields.take("<H")
        (name_bytes,) = fields.take("<H") if version == 1 or number >= 256 else (0,)
        _, n_values = fields.take("<HH")
        fields.raw(name_bytes, 8 if version == 1 else 1)
        filters.append(Filter(number, fields.take(f"<{n_values}I")))
        if version == 1 and n_values % 2:
            fields.raw(4)
        if number not in (DEFLATE, SHUFFLE, FLETCHER32):
            raise UnsupportedError(
                f"{name} is compressed with HDF5 filter {number} ({_NAMES.get(number, 'a plug-in')}), expected deflate "
                "(gzip), shuffle or fletcher32; save it without compression"
            )
    return filters


def undo(raw: memoryview, filters: Sequence[Filter], mask: int, n_bytes: int) -> memoryview:
    """The `n_bytes` of a chunk from its stored bytes. Bit i of `mask` says that filter i was left out."""
    most = n_bytes + n_bytes // 100 + 1024  # what a chunk can grow to between filters
    for i in reversed(range(len(filters))):
        number, values = filters[i]
        if mask >> i & 1:
            continue
        if number == DEFLATE:
            raw = _inflate(raw, most)
        elif number == SHUFFLE:
            raw = _unshuffle(raw, values[0] if values else 0)
        else:
            raw = _check_fletcher32(raw)
    if len(raw) != n_bytes:
        raise FormatError(f"a chunk holds {len(raw)} bytes, expected {n_bytes}")
    return raw


def _inflate(raw: memoryview, most: int) -> memoryview:
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(raw, most)
    except zlib.error as error:
        raise FormatError(f"a compressed chunk is damaged: {error}") from None
    if not stream.eof:
        raise FormatError(f"a compressed chunk is damaged: it does not end within {most} bytes")
    return memoryview(out)


def _unshuffle(raw: memoryview, size: int) -> memoryview:
    """First all first bytes of the elements, then all second ones ...; what is left over stands at the end."""
    if size == 0:
        raise FormatError("the HDF5 file is damaged: shuffled elements of 0 bytes")
    whole = len(raw) // size * size
    if size == 1 or whole == 0:
        return raw
    planes = np.frombuffer(raw[:whole], np.uint8).reshape(size, -1)
    return memoryview(planes.T.tobytes() + raw[whole:])


def _check_fletcher32(raw: memoryview) -> memoryview:
    if len(raw) < 4:
        raise FormatError("a chunk is damaged: too short for its checksum")
    data = raw[:-4]
    if fletcher32(data) != int.from_bytes(raw[-4:], "little"):
        raise FormatError("a chunk is damaged: its checksum is wrong")
    return data


def fletcher32(data: bytes | memoryview) -> int:
    """HDF5's checksum of big-endian 16-bit words. An odd last byte is the high half of a word."""
    low = high = 0  # sum of the words; sum of those sums
    block = 1 << 20
    for start in range(0, len(data), block):
        part = bytes(data[start : start + block])
        words = np.frombuffer(part + b"\0" * (len(part) % 2), ">u2").astype(np.uint64)
        n = len(words)
        high += n * low + int((words * np.arange(n, 0, -1, dtype=np.uint64)).sum())
        low += int(words.sum())
    # sums are folded as they grow, which leaves 65535 and not 0 for a multiple of it
    low, high = ((s - 1) % 65535 + 1 if s else 0 for s in (low, high))
    return high << 16 | low
