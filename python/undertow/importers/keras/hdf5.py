# SPDX-License-Identifier: MIT
"""A bounds-checked reader of the HDF5 that Keras writes: old-style groups, plain arrays, text attributes.

The HDF5 library trusts its input: one flipped byte can make it loop for ever or crash the process. This reader knows
the few structures that h5py writes by default (superblock 0, version 1 object headers, symbol tables, contiguous or
compact data), looks at every offset before it follows it, and does a bounded amount of work. Layouts and names of
structures are those of the HDF5 File Format Specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np

from ...errors import FormatError, UnsupportedError

MAGIC = b"\x89HDF\r\n\x1a\n"
#: limits for hostile files
MAX_STEPS = 2_000_000  # structures looked at in one file
MAX_RANK = 8
MAX_ARRAY_BYTES = 4 << 30  # arrays of one file together, as often as they are read
MAX_TEXT_BYTES = 64 << 20  # text attributes of one file together

UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF
#: message types of an object header
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = (
    0x01,
    0x02,
    0x03,
    0x06,
    0x07,
    0x08,
    0x0C,
    0x10,
    0x11,
    0x15,
)
SHARED = 0x02  # flag of a message that stands elsewhere
#: (size, bit offset, precision, exponent at, exponent bits, mantissa at, mantissa bits, bias) of the IEEE floats
IEEE: dict[tuple[int, ...], str] = {
    (2, 0, 16, 10, 5, 0, 10, 15): "f2",
    (4, 0, 32, 23, 8, 0, 23, 127): "f4",
    (8, 0, 64, 52, 11, 0, 52, 1023): "f8",
}


class File:
    """The bytes of an HDF5 file.

    Raises:
        FormatError: the bytes are damaged; so do all methods of the objects in it.
        UnsupportedError: a structure of HDF5 that Keras does not write; the message names it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps = 0
        self._text_left = MAX_TEXT_BYTES
        self._arrays_left = MAX_ARRAY_BYTES
        if self.at(0, 8) != MAGIC:
            raise FormatError("not an HDF5 file")
        version = data[8] if len(data) > 8 else 0
        if version not in (0, 1):
            raise UnsupportedError(
                f"HDF5 superblock version {version} is not supported; save the file with Keras or plain h5py"
            )
        if self.at(13, 2) != b"\x08\x08":
            raise UnsupportedError("HDF5 offsets or lengths of other than 8 bytes are not supported")
        entry = 24 if version == 0 else 28
        base, _, end, _ = self.unpack("<4Q", entry)
        if base != 0 or end > len(data):
            raise FormatError(
                f"the HDF5 file should have {end} bytes from offset {base}, but has {len(data)}: it is truncated"
            )
        (address,) = self.unpack("<Q", entry + 40)
        self.root = Group(self, "/", address)

    def at(self, offset: int, size: int) -> bytes:
        """The bytes from offset, all of which must be in the file."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise FormatError("the HDF5 file refers to itself without end")
        if size < 0 or offset < 0 or offset + size > len(self._data):
            raise FormatError(f"the HDF5 file is damaged: {size} bytes at {offset} of {len(self._data)}")
        return self._data[offset : offset + size]

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack(layout, self.at(offset, struct.calcsize(layout)))

    def expect(self, offset: int, magic: bytes) -> None:
        if self.at(offset, len(magic)) != magic:
            raise FormatError(f"the HDF5 file is damaged: expected {magic[:4]!r} at byte {offset}")

    def messages(self, address: int) -> list[tuple[int, int, bytes]]:
        """(type, flags, data) of the messages of an object header."""
        if self.at(address, 4) == b"OHDR":
            raise UnsupportedError(
                "HDF5 object headers of version 2 are not supported; save the file with Keras or plain h5py"
            )
        version, count, _, size = self.unpack("<BxHII", address)
        if version != 1:
            raise FormatError(f"the HDF5 file is damaged: object header version {version} at byte {address}")
        found: list[tuple[int, int, bytes]] = []
        blocks = [(address + 16, size)]
        while blocks:
            at, left = blocks.pop(0)
            while left >= 8 and len(found) < count:
                kind, length, flags = self.unpack("<HHB", at)
                if length + 8 > left:
                    raise FormatError(f"the HDF5 file is damaged: a message at byte {at} leaves its header")
                body = self.at(at + 8, length)
                found.append((kind, flags, body))
                if kind == CONTINUATION:
                    blocks.append(Fields(body).take("<QQ"))  # type: ignore[arg-type]
                at, left = at + 8 + length, left - 8 - length
        return found

    def heap_text(self, collection: int, index: int, length: int) -> str:
        """A text of variable length, kept in a global heap."""
        if length == 0:
            return ""
        self.expect(collection, b"GCOL\x01")
        (size,) = self.unpack("<Q", collection + 8)
        at, end = collection + 16, collection + size
        while at + 16 <= end:
            number, _, object_size = self.unpack("<HH4xQ", at)
            if number == 0:
                break
            if number == index:
                if length > object_size:
                    break
                return self.text(self.at(at + 16, length))
            at += 16 + (object_size + 7) // 8 * 8
        raise FormatError(
            f"the HDF5 file is damaged: no text {index} of {length} bytes in the heap at byte {collection}"
        )

    def spend(self, nbytes: int) -> None:
        """Count the bytes of an array against the limit."""
        self._arrays_left -= nbytes
        if self._arrays_left < 0:
            raise FormatError(f"the HDF5 file asks for more than {MAX_ARRAY_BYTES >> 30} GiB of arrays")

    def text(self, raw: bytes) -> str:
        self._text_left -= len(raw)
        if self._text_left < 0:
            raise FormatError(f"the HDF5 file has more than {MAX_TEXT_BYTES >> 20} MiB of text attributes")
        try:
            return raw.rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"a text in the HDF5 file is not UTF-8: {error}") from None


class Fields:
    """Fields read one after another from a message."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.raw(struct.calcsize(layout)))

    def raw(self, size: int, align: int = 1) -> bytes:
        part = self.body[self.at : self.at + size]
        if len(part) != size:
            raise FormatError(f"the HDF5 file is damaged: a message of {len(self.body)} bytes ends too early")
        self.at += (size + align - 1) // align * align
        return part


@dataclass(frozen=True)
class Type:
    """An element type: a NumPy format for floats, "fixed" or "variable" for texts, neither for all others."""

    size: int
    numpy: str = ""
    text: str = ""
    name: str = ""


class Group:
    """A group: attributes and named members."""

    def __init__(self, file: File, name: str, address: int) -> None:
        self._file = file
        self.name = name
        self._messages = file.messages(address)

    @cached_property
    def attributes(self) -> dict[str, list[str]]:
        """The text attributes, each a list of texts; numbers are left out, and an empty array is an empty list."""
        return dict(
            filter(
                None, (_attribute(self._file, flags, body) for kind, flags, body in self._messages if kind == ATTRIBUTE)
            )
        )

    @cached_property
    def members(self) -> dict[str, int]:
        """Name -> address of the member's object header; UNDEFINED for a link."""
        tables = [body for kind, _, body in self._messages if kind == SYMBOL_TABLE]
        if not tables or any(kind in (LINK, LINK_INFO) for kind, _, _ in self._messages):
            raise UnsupportedError(
                f"the HDF5 group {self.name!r} is of the new style, which is not supported; save the file with Keras"
            )
        tree, heap = Fields(tables[0]).take("<QQ")
        self._file.expect(heap, b"HEAP\0")
        size, _, names = self._file.unpack("<QQQ", heap + 8)
        texts = self._file.at(names, size)
        found: dict[str, int] = {}
        nodes = [(tree, 0)]
        while nodes:
            address, depth = nodes.pop()
            if self._file.at(address, 4) == b"SNOD":
                _, count = self._file.unpack("<BxH", address + 4)
                for i in range(count):
                    offset, header, cache = self._file.unpack("<QQI", address + 8 + 40 * i)
                    end = texts.find(b"\0", offset) if offset < size else -1
                    if end < 0:
                        raise FormatError(
                            f"the HDF5 file is damaged: a name at {offset} of {size} bytes in group {self.name!r}"
                        )
                    found[self._file.text(texts[offset:end])] = UNDEFINED if cache == 2 else header
                continue
            self._file.expect(address, b"TREE\0")
            (count,) = self._file.unpack("<H", address + 6)
            if depth > 16 or count > 4096:
                raise FormatError(f"the HDF5 file is damaged: the tree of group {self.name!r} does not end")
            for i in range(count):
                (child,) = self._file.unpack("<Q", address + 32 + 16 * i)
                nodes.append((child, depth + 1))
        return found

    def get(self, key: str) -> Item | None:
        """A member by name, or None."""
        address = self.members.get(key)
        if address is None:
            return None
        path = f"{self.name.rstrip('/')}/{key}"
        if address == UNDEFINED:
            raise FormatError(f"{path} is a link; links are not followed")
        kinds = {kind for kind, _, _ in self._file.messages(address)}
        return (
            Dataset(self._file, path, address)
            if LAYOUT in kinds or DATASPACE in kinds
            else Group(self._file, path, address)
        )


class Dataset:
    """An array: shape and type at once, numbers when read."""

    def __init__(self, file: File, name: str, address: int) -> None:
        self._file = file
        self.name = name
        messages = {kind: (flags, body) for kind, flags, body in file.messages(address)}
        if EXTERNAL in messages:
            raise FormatError(f"{name} keeps its data in another file; such files are not followed")
        parts = []
        for kind in (DATASPACE, DATATYPE, LAYOUT):
            flags, body = messages.get(kind, (0, b""))
            if flags & SHARED:
                raise UnsupportedError(f"{name}: HDF5's shared messages are not supported")
            parts.append(body)
        self.shape = _dataspace(Fields(parts[0]))
        self.type = _datatype(Fields(parts[1]))
        self._layout = parts[2]

    def read(self) -> np.ndarray:
        """The numbers, in the machine's byte order."""
        count = prod(self.shape)
        nbytes = count * self.type.size
        fields = Fields(self._layout)
        version, kind = fields.take("<BB")
        if version != 3 or kind not in (0, 1):
            how = "in chunks (perhaps compressed)" if kind == 2 else f"in a layout of version {version}"
            raise UnsupportedError(f"{self.name} is stored {how}, which is not supported; save the file with Keras")
        if kind == 0:
            (size,) = fields.take("<H")
            raw = fields.raw(size)
        else:
            address, size = fields.take("<QQ")
            raw = b"" if size == 0 or address == UNDEFINED else self._file.at(address, size)
        self._file.spend(nbytes)
        if len(raw) != nbytes:
            raise FormatError(f"{self.name}: {len(raw)} bytes are stored for shape {self.shape}, expected {nbytes}")
        return np.frombuffer(raw, self.type.numpy).astype(self.type.numpy[1:]).reshape(self.shape)


Item: TypeAlias = Group | Dataset


def _dataspace(fields: Fields) -> tuple[int, ...]:
    version, rank, _ = fields.take("<BBB")
    if version == 1:
        fields.raw(5)
    elif version == 2:
        (kind,) = fields.take("<B")
        if kind == 2:  # null: no elements
            return (0,)
    else:
        raise FormatError(f"the HDF5 file is damaged: dataspace version {version}")
    if rank > MAX_RANK:
        raise UnsupportedError(f"an HDF5 array of {rank} axes is not supported; expected at most {MAX_RANK}")
    return fields.take(f"<{rank}Q")


def _datatype(fields: Fields) -> Type:
    head, bits, _, _, size = fields.take("<BBBBI")
    kind = head & 15
    if kind == 1:
        layout = (size, *fields.take("<HHBBBBI"))
        code = IEEE.get(layout)
        return (
            Type(size, numpy=(">" if bits & 1 else "<") + code, name="float")
            if code
            else Type(size, name="a float of its own kind")
        )
    if kind == 0 and size in (1, 2, 4, 8):
        return Type(size, name=f"{'int' if bits & 8 else 'uint'}{size * 8}")
    if kind == 3:
        return Type(size, text="fixed", name="text")
    if kind == 9 and bits & 15 == 1:
        return Type(size, text="variable", name="text")
    return Type(size, name=f"of HDF5 class {kind}")


def _attribute(file: File, flags: int, body: bytes) -> tuple[str, list[str]] | None:
    fields = Fields(body)
    version, shared, name_size, type_size, space_size = fields.take("<BBHHH")
    if version not in (1, 2, 3) or flags & SHARED or (version > 1 and shared & 3):
        return None
    if version == 3:
        fields.raw(1)
    align = 8 if version == 1 else 1
    name = file.text(fields.raw(name_size, align))
    kind = _datatype(Fields(fields.raw(type_size, align)))
    count = prod(_dataspace(Fields(fields.raw(space_size, align))))
    if count == 0:
        return name, []
    if not kind.text:
        return None
    if kind.text == "variable":
        if kind.size != 16:
            raise FormatError(f"the HDF5 file is damaged: attribute {name!r} has elements of {kind.size} bytes")
        out = []
        for _ in range(count):
            length, collection, index = fields.take("<IQI")
            out.append(file.heap_text(collection, index, length))
        return name, out
    return name, [file.text(fields.raw(kind.size)) for _ in range(count)]
