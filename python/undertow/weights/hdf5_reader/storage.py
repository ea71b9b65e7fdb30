# SPDX-License-Identifier: MIT
"""Where the numbers of an array lie: inside its header, in one piece, or in chunks found through an index."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from ...errors import FormatError, UnsupportedError
from .elements import Space, Type
from .filters import Filter, undo
from .source import UNDEFINED, Fields, Source

COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = range(4)
SINGLE, IMPLICIT, FIXED, EXTENSIBLE, TREE2 = range(1, 6)  # indexes of chunks since layout version 4
RESAVE = "save it again with h5py's defaults"


class Chunk(NamedTuple):
    offset: tuple[int, ...]  # of its first element
    address: int
    size: int  # bytes as stored
    mask: int  # bit i: filter i was left out


@dataclass(frozen=True)
class Stored:
    """What the header of an array says about it."""

    name: str
    space: Space
    type: Type
    layout: bytes
    filters: Sequence[Filter]
    fill: bytes  # one element, or empty for zero

    @property
    def shape(self) -> tuple[int, ...]:
        return self.space.shape or ()


def read_array(source: Source, stored: Stored) -> np.ndarray:
    """The numbers in the machine's byte order, writable."""
    fields = Fields(stored.layout)
    version, kind = fields.take("<BB")
    if version not in (3, 4, 5):
        raise UnsupportedError(f"{stored.name} is stored in HDF5 layout version {version}, expected 3 to 5; {RESAVE}")
    if kind == VIRTUAL:
        raise UnsupportedError(f"{stored.name} is a virtual dataset, put together from other files; {RESAVE}")
    if kind not in (COMPACT, CONTIGUOUS, CHUNKED):
        raise FormatError(f"{stored.name}: the HDF5 file is damaged: layout class {kind}")
    # Axes of length 0 count as 1: NumPy has limits even for arrays without elements.
    source.spend(prod(max(n, 1) for n in stored.shape) * stored.type.size)
    if kind == CHUNKED:
        return _chunked(source, stored, version, fields)
    n_bytes = prod(stored.shape) * stored.type.size
    if stored.filters:
        raise FormatError(f"{stored.name}: the HDF5 file is damaged: filters without chunks")
    if kind == COMPACT:
        raw = memoryview(fields.raw(fields.integer(2)))
    else:
        address, size = fields.take("<QQ")
        if address == UNDEFINED:
            return _filled(stored)
        raw = source.view(address, size)
    if len(raw) != n_bytes:
        raise FormatError(f"{stored.name}: {len(raw)} bytes are stored for shape {stored.shape}, expected {n_bytes}")
    return _numbers(raw, stored, stored.shape).astype(stored.type.numpy[1:])


def _numbers(raw: memoryview | bytes, stored: Stored, shape: Sequence[int]) -> np.ndarray:
    array = np.frombuffer(raw, stored.type.numpy).reshape(shape)
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise FormatError(f"{stored.name} holds truth values other than 0 and 1")
    return array


def _filled(stored: Stored) -> np.ndarray:
    """The array as it is before anything was written to it."""
    array = np.zeros(stored.shape, stored.type.numpy[1:])
    if stored.fill.strip(b"\0"):
        array[...] = _numbers(stored.fill, stored, ())
    return array


def _chunked(source: Source, stored: Stored, version: int, fields: Fields) -> np.ndarray:
    shape = stored.shape
    flags = fields.integer(1) if version > 3 else 0
    rank = fields.integer(1) - 1
    if rank != len(shape) or rank == 0:
        raise FormatError(f"{stored.name}: the HDF5 file is damaged: chunks of {rank} axes for shape {shape}")
    index = 0
    if version == 3:
        (address,) = fields.take("<Q")
        *lengths, size = fields.take(f"<{rank + 1}I")
    else:
        width = fields.integer(1)
        *lengths, size = (fields.integer(width) for _ in range(rank + 1))
        index = fields.integer(1)
    chunk = tuple(lengths)
    if 0 in chunk or size != stored.type.size or prod(chunk) * size > 1 << 62:
        raise FormatError(f"{stored.name}: the HDF5 file is damaged: chunks of {chunk} elements of {size} bytes")
    if version == 3:
        chunks = _tree(source, stored, address, rank)
    else:
        chunks = _newer_index(source, stored, chunk, index, flags, fields)

    array = _filled(stored)
    n_bytes = prod(chunk) * size
    seen = set()
    for offset, address, n_stored, mask in chunks:
        if offset in seen or any(o % c or o >= n for o, c, n in zip(offset, chunk, shape, strict=True)):
            raise FormatError(f"{stored.name}: the HDF5 file is damaged: a chunk at {offset} in shape {shape}")
        seen.add(offset)
        inside = tuple(min(c, n - o) for o, c, n in zip(offset, chunk, shape, strict=True))
        source.spend(n_bytes - prod(inside) * size)  # what is unpacked for nothing
        try:
            raw = undo(source.view(address, n_stored), stored.filters, mask, n_bytes)
        except FormatError as error:
            raise FormatError(f"{stored.name}, chunk at {offset}: {error}") from None
        part = _numbers(raw, stored, chunk)[tuple(slice(n) for n in inside)]
        array[tuple(slice(o, o + n) for o, n in zip(offset, inside, strict=True))] = part
    return array


def _tree(source: Source, stored: Stored, root: int, rank: int) -> Iterator[Chunk]:
    """Chunks of a version 1 B-tree."""
    entry = struct.Struct(f"<II{rank + 1}QQ")  # the key of a child and its address
    seen = set()
    todo = [] if root == UNDEFINED else [(root, -1)]
    while todo:
        address, level = todo.pop()
        source.expect(address, b"TREE\x01")
        own_level, count = source.unpack("<BH", address + 5)
        if address in seen or level not in (-1, own_level):
            raise FormatError(f"{stored.name}: the HDF5 file is damaged: its index of chunks does not end")
        seen.add(address)
        for size, mask, *offset, child in entry.iter_unpack(source.at(address + 24, count * entry.size)):
            if own_level:
                todo.append((child, own_level - 1))
            else:
                yield Chunk(tuple(offset[:-1]), child, size, mask)


def _newer_index(
    source: Source, stored: Stored, chunk: tuple[int, ...], index: int, flags: int, fields: Fields
) -> Iterator[Chunk]:
    n_bytes = prod(chunk) * stored.type.size
    if index in (EXTENSIBLE, TREE2):
        raise UnsupportedError(
            f"{stored.name} can grow and its chunks have a newer index (type {index}), which is not supported; {RESAVE}"
        )
    if flags & 1:
        raise UnsupportedError(f"{stored.name} leaves out filters for chunks at its edge; {RESAVE}")
    if index not in (SINGLE, IMPLICIT, FIXED):
        raise FormatError(f"{stored.name}: the HDF5 file is damaged: index {index} of chunks")
    # The index numbers the chunks of the largest shape that the array may have.
    grid = tuple(-(-n // c) for n, c in zip(stored.space.limits, chunk, strict=True))
    if index == SINGLE:
        size, mask = fields.take("<QI") if flags & 2 else (n_bytes, 0)
        (address,) = fields.take("<Q")
        if address != UNDEFINED:
            yield Chunk((0,) * len(chunk), address, size, mask)
        return
    entries: Iterator[tuple[int, int, int]]
    if index == IMPLICIT:
        (first,) = fields.take("<Q")
        entries = ((first + n_bytes * i, n_bytes, 0) for i in range(0 if first == UNDEFINED else prod(grid)))
    else:
        fields.raw(1)
        entries = _fixed_array(source, stored, fields.take("<Q")[0], prod(grid), n_bytes)
    for i, (address, size, mask) in enumerate(entries):
        source.step()
        if address == UNDEFINED:
            continue
        place = []
        for n in reversed(grid):
            i, k = divmod(i, n)
            place.append(k)
        offset = tuple(k * c for k, c in zip(reversed(place), chunk, strict=True))
        if all(o < n for o, n in zip(offset, stored.shape, strict=True)):
            yield Chunk(offset, address, size, mask)


def _fixed_array(
    source: Source, stored: Stored, address: int, count: int, n_bytes: int
) -> Iterator[tuple[int, int, int]]:
    """(address, stored bytes, mask) of the chunks, which have an entry each."""
    if address == UNDEFINED:
        return
    header = source.sealed(address, 28, b"FAHD\0")
    filtered, entry_bytes, page_bits, entries, block = header.take("<BBBQQ")
    # addresses, or addresses with sizes and masks
    if entries != count or filtered not in (0, 1) or not (12 < entry_bytes <= 20 if filtered else entry_bytes == 8):
        raise FormatError(f"{stored.name}: the HDF5 file is damaged: an index of {entries} chunks, expected {count}")
    if block == UNDEFINED:
        return
    magic = b"FADB\0" + bytes([filtered]) + address.to_bytes(8, "little")
    page = 1 << min(page_bits, 62)
    if count <= page:
        pages = [(block, count, magic)]
    else:  # pages follow, each with its checksum; a bit says whether it was ever written
        n_pages = -(-count // page)
        used = source.sealed(block, 14 + (n_pages + 7) // 8 + 4, magic).body
        first = block + 14 + len(used) + 4
        pages = [
            (first + i * (page * entry_bytes + 4) if used[i // 8] & 0x80 >> i % 8 else UNDEFINED, page, b"")
            for i in range(n_pages)
        ]
        pages[-1] = (pages[-1][0], count - page * (n_pages - 1), b"")
    for at, n, start in pages:
        body = None if at == UNDEFINED else source.sealed(at, len(start) + n * entry_bytes + 4, start)
        for _ in range(n):
            if body is None:
                source.step()
                yield UNDEFINED, 0, 0
            elif filtered:
                yield body.take("<Q")[0], body.integer(entry_bytes - 12), body.take("<I")[0]
            else:
                yield body.take("<Q")[0], n_bytes, 0
