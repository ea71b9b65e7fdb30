# SPDX-License-Identifier: MIT
"""Object headers, versions 1 and 2: the messages that describe a group or an array."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import FormatError, UnsupportedError
from .source import Fields, Source

#: message types
DATASPACE, LINK_INFO, DATATYPE, OLD_FILL, FILL, LINK, EXTERNAL, LAYOUT = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08
GROUP_INFO, FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0x0A, 0x0B, 0x0C, 0x10, 0x11, 0x15
LAST_KNOWN = 0x18
#: flags of a message
SHARED = 0x02  # it stands elsewhere
MUST_KNOW = 0x80  # who does not know its type must not use the object


class Message(NamedTuple):
    kind: int
    flags: int
    body: bytes


def read_messages(source: Source, address: int) -> list[Message]:
    """The messages of the object header at `address`."""
    messages = (_version2 if source.at(address, 4) == b"OHDR" else _version1)(source, address)
    for kind, flags, _ in messages:
        if kind > LAST_KNOWN and flags & MUST_KNOW:
            raise UnsupportedError(f"HDF5 header messages of type {kind} are not supported")
    return messages


def _version1(source: Source, address: int) -> list[Message]:
    version, count, _, size = source.unpack("<BxHII", address)
    if version != 1:
        raise FormatError(f"the HDF5 file is damaged: object header version {version} at byte {address}")
    messages: list[Message] = []
    blocks = _Blocks(address + 16, size)
    for at, left in blocks:
        while left >= 8 and len(messages) < count:
            kind, length, flags = source.unpack("<HHB", at)
            if length + 8 > left:
                raise FormatError(f"the HDF5 file is damaged: a message at byte {at} leaves its header")
            messages.append(Message(kind, flags, source.at(at + 8, length)))
            if kind == CONTINUATION:
                blocks.add(messages[-1].body)
            at, left = at + 8 + length, left - 8 - length
    return messages


def _version2(source: Source, address: int) -> list[Message]:
    version, flags = source.unpack("<BB", address + 4)
    if version != 2:
        raise FormatError(f"the HDF5 file is damaged: object header version {version} at byte {address}")
    size_at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    size_bytes = 1 << (flags & 3)
    size = int.from_bytes(source.at(address + size_at, size_bytes), "little")
    extra = 2 if flags & 0x04 else 0  # creation order
    messages: list[Message] = []
    blocks = _Blocks(address, size_at + size_bytes + size + 4)
    for at, length in blocks:
        fields = source.sealed(at, length, b"OHDR" if at == address else b"OCHK")
        if at == address:
            fields.raw(size_at + size_bytes - 4)
        while fields.left >= 4 + extra:  # fewer bytes are a gap
            kind, body_bytes, message_flags = fields.take("<BHB")
            fields.raw(extra)
            messages.append(Message(kind, message_flags, fields.raw(body_bytes)))
            source.step()
            if kind == CONTINUATION:
                blocks.add(messages[-1].body)
    return messages


class _Blocks:
    """The stretches of a header, each looked at once."""

    def __init__(self, address: int, size: int) -> None:
        self._todo = [(address, size)]
        self._seen = {address}

    def add(self, continuation: bytes) -> None:
        address, size = Fields(continuation).take("<QQ")
        if address in self._seen:
            raise FormatError(f"the HDF5 file is damaged: the header block at byte {address} is used twice")
        self._seen.add(address)
        self._todo.append((address, size))

    def __iter__(self) -> _Blocks:
        return self

    def __next__(self) -> tuple[int, int]:
        if not self._todo:
            raise StopIteration
        return self._todo.pop(0)
