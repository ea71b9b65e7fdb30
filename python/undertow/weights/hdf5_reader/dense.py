# SPDX-License-Identifier: MIT
"""Where newer files keep many links or attributes: a fractal heap of messages, listed by a version 2 B-tree."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import FormatError, UnsupportedError
from .source import UNDEFINED, Fields, Source

#: B-tree types: objects too large for the heap, link names, attribute names; where a record has its heap ID
HUGE, LINK_NAMES, ATTRIBUTE_NAMES = 1, 5, 8
_ID_AT = {LINK_NAMES: 4, ATTRIBUTE_NAMES: 0}


def read_dense(source: Source, heap: int, tree: int, kind: int) -> Iterator[Fields]:
    """The messages that the B-tree of type `kind` at `tree` lists, in no order."""
    if heap == UNDEFINED or tree == UNDEFINED:
        return
    blocks = Heap(source, heap)
    for record in _records(source, tree, kind):
        record.raw(_ID_AT[kind])
        yield Fields(blocks.get(record.raw(blocks.id_bytes)))


def _records(source: Source, address: int, kind: int) -> Iterator[Fields]:
    """The records of a version 2 B-tree."""
    header = source.sealed(address, 38, b"BTHD\0" + bytes([kind]))
    node_bytes, record_bytes, depth, _, root, n_root, _ = header.take("<IHHHQHQ")
    if record_bytes == 0 or depth > 16:
        raise FormatError(f"the HDF5 file is damaged: a B-tree at byte {address} with {record_bytes} bytes a record")
    # The counts in a pointer take as many bytes as the most records below it need.
    n_leaf = n_below = max(0, node_bytes - 10) // record_bytes
    count_bytes, total_bytes = _bytes_for(n_leaf), [0]
    for _ in range(depth):
        pointer = 8 + count_bytes + total_bytes[-1]
        most = max(0, node_bytes - 10 - pointer) // (record_bytes + pointer)
        n_below = (most + 1) * n_below + most
        total_bytes.append(_bytes_for(n_below))
    seen = set()
    todo = [(root, n_root, depth)] if root != UNDEFINED else []
    while todo:
        at, n, level = todo.pop()
        if at in seen:
            raise FormatError(f"the HDF5 file is damaged: the B-tree node at byte {at} is used twice")
        seen.add(at)
        n_pointers = n + 1 if level else 0
        pointer = 8 + count_bytes + total_bytes[level - 1]
        node = source.sealed(
            at, 6 + n * record_bytes + n_pointers * pointer + 4, (b"BTIN\0" if level else b"BTLF\0") + bytes([kind])
        )
        for _ in range(n):
            source.step()
            yield Fields(node.raw(record_bytes))
        for _ in range(n_pointers):
            child, n_child = node.integer(8), node.integer(count_bytes)
            node.raw(total_bytes[level - 1])
            todo.append((child, n_child, level - 1))


def _bytes_for(n: int) -> int:
    return max(1, (n.bit_length() + 7) // 8)


class Heap:
    """A fractal heap: blocks that double in size row by row, addressed as if they stood one after another."""

    def __init__(self, source: Source, address: int) -> None:
        self._source = source
        header = source.sealed(address, 146, b"FRHP\0")
        self.id_bytes, filter_bytes, _, managed, _, self._huge = header.take("<HHBIQQ")
        header.raw(80)
        self._width, self._start, most, bits, _, self._root, self._rows = header.take("<HQQHHQH")
        if filter_bytes:
            raise UnsupportedError("compressed HDF5 heaps are not supported; save the file with h5py's defaults")
        sizes_fit = self._start > 0 and most % self._start == 0 and not most & (most - 1)
        if not sizes_fit or self._width == 0 or bits > 64 or self.id_bytes == 0:
            raise FormatError(f"the HDF5 file is damaged: a heap at byte {address} with blocks of {self._start} bytes")
        self._offset_bytes = (bits + 7) // 8
        self._length_bytes = min(_bytes_for(managed), _bytes_for(most - 1))
        self._direct_rows = (most // self._start).bit_length() + 1
        self._of_heap = b"\0" + address.to_bytes(8, "little")
        self._large: dict[int, tuple[int, int]] | None = None

    def get(self, heap_id: bytes) -> bytes:
        """The object with that ID."""
        fields = Fields(heap_id)
        flags = fields.integer(1)
        kind = flags >> 4 & 3
        if flags >> 6 or kind > 2:
            raise FormatError(f"the HDF5 file is damaged: heap ID {heap_id!r}")
        if kind == 2:  # in the ID itself
            return fields.raw((flags & 15) + 1)
        if kind == 1:
            return self._source.at(*self._find_large(fields.integer(min(8, fields.left))))
        offset, length = fields.integer(self._offset_bytes), fields.integer(self._length_bytes)
        block, inside = self._find_block(offset)
        return self._source.at(block + inside, length)

    def _find_large(self, key: int) -> tuple[int, int]:
        if self._large is None:
            self._large = {}
            for record in [] if self._huge == UNDEFINED else _records(self._source, self._huge, HUGE):
                address, length, number = record.take("<QQQ")
                self._large[number] = address, length
        if key not in self._large:
            raise FormatError(f"the HDF5 file is damaged: no object {key} in a heap")
        return self._large[key]

    def _find_block(self, offset: int) -> tuple[int, int]:
        """Address of the block that holds the byte at `offset` of the heap, and the place in that block."""
        address, base = self._root, 0
        rows = self._rows
        while rows:  # in an indirect block, a table of blocks
            self._check(address, b"FHIB", base)
            row = ((offset - base) // (self._width * self._start)).bit_length()
            size = self._start << max(0, row - 1)
            row_start = self._width * size if row else 0
            column = (offset - base - row_start) // size
            if row >= rows:
                raise FormatError(f"the HDF5 file is damaged: byte {offset} of a heap lies outside it")
            entry = address + 13 + self._offset_bytes + 8 * (row * self._width + column)
            (address,) = self._source.unpack("<Q", entry)
            base += row_start + column * size
            # Rows of a table in a table: as many as its bytes need. Sizes shrink, so this ends.
            rows = (size // (self._start * self._width)).bit_length() if row >= self._direct_rows else 0
        self._check(address, b"FHDB", base)
        return address, offset - base

    def _check(self, address: int, magic: bytes, base: int) -> None:
        place = base.to_bytes(self._offset_bytes + 1, "little")[: self._offset_bytes]
        self._source.expect(address, magic + self._of_heap + place)
