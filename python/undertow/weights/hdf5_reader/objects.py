# SPDX-License-Identifier: MIT
"""Groups and arrays of an HDF5 file."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np

from ...errors import FormatError, UnsupportedError
from . import header as h
from .dense import ATTRIBUTE_NAMES, LINK_NAMES, read_dense
from .elements import dataspace, datatype, fill_value
from .filters import pipeline
from .header import Message, read_messages
from .source import UNDEFINED, Fields, Source
from .storage import RESAVE, Stored, read_array

MAGIC = b"\x89HDF\r\n\x1a\n"
LEADS_AWAY = UNDEFINED  # address of a soft or external link


class File:
    """The bytes of an HDF5 file.

    Args:
        data: the whole file.
        max_array_bytes: refuse to unpack more than this, all arrays together; the default grows with the file.

    Raises:
        FormatError: the bytes are damaged; so do all methods of the objects in it.
        UnsupportedError: a structure of HDF5 that is not read; the message names it.
    """

    def __init__(self, data: bytes, max_array_bytes: int | None = None) -> None:
        source = Source(data, max_array_bytes)
        if source.at(0, 8) != MAGIC:
            raise FormatError("not an HDF5 file")
        (version,) = source.unpack("<B", 8)
        if version > 3:
            raise UnsupportedError(f"HDF5 superblock version {version} is not supported; {RESAVE}")
        widths = source.at(13 if version < 2 else 9, 2)
        if not set(widths) <= {2, 4, 8, 16, 32}:
            raise FormatError(f"the HDF5 file is damaged: offsets and lengths of {widths[0]} and {widths[1]} bytes")
        if widths != b"\x08\x08":
            raise UnsupportedError("HDF5 offsets or lengths of other than 8 bytes are not supported")
        if version < 2:
            entry = 24 if version == 0 else 28
            base, _, end, _ = source.unpack("<4Q", entry)
            (root,) = source.unpack("<Q", entry + 40)
        else:
            flags, base, _, end, root = source.sealed(0, 48, data[:11]).take("<BQQQQ")
            if version == 3 and flags & 5:
                raise FormatError("the HDF5 file was not closed by its writer")
        if base != 0 or end > len(data):
            raise FormatError(
                f"the HDF5 file should have {end} bytes from offset {base}, but has {len(data)}: it is truncated"
            )
        self.root = Group(source, "/", read_messages(source, root))


class Group:
    """A group: attributes and named members."""

    def __init__(self, source: Source, name: str, messages: list[Message]) -> None:
        self._source = source
        self.name = name
        self._messages = messages
        self._opened: dict[str, Item] = {}

    @cached_property
    def attributes(self) -> dict[str, list[str]]:
        """The text attributes, each a list of texts; numbers are left out, and an empty array is an empty list."""
        pairs: list[tuple[str, list[str]] | None] = []
        for kind, flags, body in self._messages:
            if kind == h.ATTRIBUTE and not flags & h.SHARED:
                pairs.append(_attribute(self._source, Fields(body)))
            if kind == h.ATTRIBUTE_INFO:
                fields = Fields(body)
                _, tracked = fields.take("<BB")
                fields.raw(2 if tracked & 1 else 0)
                heap, tree = fields.take("<QQ")
                dense = read_dense(self._source, heap, tree, ATTRIBUTE_NAMES)
                pairs += [_attribute(self._source, message) for message in dense]
        return dict(filter(None, pairs))

    @cached_property
    def members(self) -> dict[str, int]:
        """Name -> address of the member's object header; LEADS_AWAY for a link.

        In order of creation where the file says it, else by name.
        """
        tables = [body for kind, _, body in self._messages if kind == h.SYMBOL_TABLE]
        links = self._new_links() if not tables else _old_links(self._source, self.name, Fields(tables[0]))
        members: dict[str, int] = {}
        for name, address in links:
            if name in members:
                raise FormatError(f"the HDF5 file is damaged: group {self.name!r} has two members {name!r}")
            members[name] = address
        return members

    def _new_links(self) -> list[tuple[str, int]]:
        links: list[tuple[int, str, int]] = []
        for kind, flags, body in self._messages:
            if kind == h.LINK and not flags & h.SHARED:
                links.append(_link(self._source, Fields(body)))
            elif kind == h.LINK_INFO:
                fields = Fields(body)
                version, tracked = fields.take("<BB")
                if version != 0:
                    raise FormatError(f"the HDF5 file is damaged: link info version {version}")
                fields.raw(8 if tracked & 1 else 0)
                heap, tree = fields.take("<QQ")
                links += [_link(self._source, message) for message in read_dense(self._source, heap, tree, LINK_NAMES)]
        return [(name, address) for _, name, address in sorted(links)]

    def get(self, key: str) -> Item | None:
        """A member by name, or None."""
        address = self.members.get(key)
        if address is None:
            return None
        if key not in self._opened:
            path = f"{self.name.rstrip('/')}/{key}"
            if address == LEADS_AWAY:
                raise UnsupportedError(f"{path} is a soft or external link; links are not followed")
            self._opened[key] = _open(self._source, path, read_messages(self._source, address))
        return self._opened[key]


class Dataset:
    """An array: shape and type at once, numbers when read."""

    def __init__(self, source: Source, name: str, messages: list[Message]) -> None:
        self._source = source
        self.name = name
        by_kind = {kind: (flags, body) for kind, flags, body in messages}
        if h.EXTERNAL in by_kind:
            raise UnsupportedError(f"{name} keeps its data in another file; such files are not followed")
        for kind in (h.DATASPACE, h.DATATYPE, h.LAYOUT, h.FILTERS, h.FILL, h.OLD_FILL):
            if by_kind.get(kind, (0, b""))[0] & h.SHARED:
                raise UnsupportedError(f"{name}: HDF5's shared messages and named types are not supported; {RESAVE}")
        parts = {kind: body for kind, (_, body) in by_kind.items()}
        space = dataspace(Fields(parts.get(h.DATASPACE, b"")))
        if space.shape is None:
            raise UnsupportedError(f"{name} is empty: it has a type, but neither shape nor numbers")
        self.shape = space.shape
        self.type = datatype(Fields(parts.get(h.DATATYPE, b"")))
        self._space, self._parts = space, parts

    def read(self) -> np.ndarray:
        """The numbers, in the machine's byte order; the array is the caller's."""
        if not self.type.numpy:
            raise UnsupportedError(f"{self.name} has elements of {self.type.name}, expected numbers")
        filters = pipeline(self._parts[h.FILTERS], self.name) if h.FILTERS in self._parts else []
        fill = fill_value(self._parts.get(h.OLD_FILL), self._parts.get(h.FILL), self.type.size)
        layout = self._parts.get(h.LAYOUT, b"")
        return read_array(self._source, Stored(self.name, self._space, self.type, layout, filters, fill))


Item: TypeAlias = Group | Dataset


def _open(source: Source, path: str, messages: list[Message]) -> Item:
    kinds = {kind for kind, _, _ in messages}
    if kinds & {h.LAYOUT, h.DATASPACE}:
        return Dataset(source, path, messages)
    if kinds & {h.SYMBOL_TABLE, h.LINK_INFO, h.GROUP_INFO, h.LINK}:
        return Group(source, path, messages)
    if h.DATATYPE in kinds:
        raise UnsupportedError(f"{path} is a named type, expected a group or an array")
    raise FormatError(f"the HDF5 file is damaged: {path} is neither a group nor an array")


def _old_links(source: Source, group: str, table: Fields) -> list[tuple[str, int]]:
    """Members of a symbol table: a version 1 B-tree of nodes that name their members in a heap."""
    tree, heap = table.take("<QQ")
    source.expect(heap, b"HEAP\0")
    size, _, names = source.unpack("<QQQ", heap + 8)
    texts = source.at(names, size)
    links: list[tuple[str, int]] = []
    seen = set()
    nodes = [tree]
    while nodes:
        address = nodes.pop()
        if address in seen:
            raise FormatError(f"the HDF5 file is damaged: the tree of group {group!r} does not end")
        seen.add(address)
        if source.at(address, 4) == b"SNOD":
            _, count = source.unpack("<BxH", address + 4)
            for i in range(count):
                offset, header, cache = source.unpack("<QQI", address + 8 + 40 * i)
                end = texts.find(b"\0", offset) if offset < size else -1
                if end < 0:
                    raise FormatError(
                        f"the HDF5 file is damaged: a name at {offset} of {size} bytes in group {group!r}"
                    )
                links.append((source.text(texts[offset:end]), LEADS_AWAY if cache == 2 else header))
            continue
        source.expect(address, b"TREE\0")
        (count,) = source.unpack("<H", address + 6)
        nodes += reversed([source.unpack("<Q", address + 32 + 16 * i)[0] for i in range(count)])
    return links


def _link(source: Source, fields: Fields) -> tuple[int, str, int]:
    """(order of creation or 0, name, address) of a link message."""
    version, flags = fields.take("<BB")
    if version != 1:
        raise FormatError(f"the HDF5 file is damaged: link version {version}")
    kind = fields.integer(1) if flags & 0x08 else 0
    order = fields.integer(8) if flags & 0x04 else 0
    fields.raw(1 if flags & 0x10 else 0)  # character set
    name = source.text(fields.raw(fields.integer(1 << (flags & 3))))
    return order, name, LEADS_AWAY if kind else fields.integer(8)


def _attribute(source: Source, fields: Fields) -> tuple[str, list[str]] | None:
    version, shared, name_bytes, type_bytes, space_bytes = fields.take("<BBHHH")
    if version not in (1, 2, 3) or (version > 1 and shared & 3):
        return None
    if version == 3:
        fields.raw(1)
    align = 8 if version == 1 else 1
    name = source.text(fields.raw(name_bytes, align))
    kind = datatype(Fields(fields.raw(type_bytes, align)))
    shape = dataspace(Fields(fields.raw(space_bytes, align))).shape
    count = 0 if shape is None else prod(shape)
    if count == 0:
        return name, []
    if not kind.text:
        return None
    if kind.text == "variable":
        if kind.size != 16:
            raise FormatError(f"the HDF5 file is damaged: attribute {name!r} has elements of {kind.size} bytes")
        return name, [_heap_text(source, *fields.take("<IQI")) for _ in range(count)]
    return name, [source.text(fields.raw(kind.size)) for _ in range(count)]


def _heap_text(source: Source, length: int, collection: int, index: int) -> str:
    """A text of variable length, kept in a global heap."""
    if length == 0:
        return ""
    source.expect(collection, b"GCOL\x01")
    (size,) = source.unpack("<Q", collection + 8)
    at, end = collection + 16, collection + size
    while at + 16 <= end:
        number, _, n_bytes = source.unpack("<HH4xQ", at)
        if number == 0:
            break
        if number == index:
            if length > n_bytes:
                break
            return source.text(source.at(at + 16, length))
        at += 16 + (n_bytes + 7) // 8 * 8
    raise FormatError(f"the HDF5 file is damaged: no text {index} of {length} bytes in the heap at byte {collection}")
