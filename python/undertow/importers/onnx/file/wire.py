# SPDX-License-Identifier: MIT
"""What a serialised protobuf message takes once it is parsed, counted in its bytes before anything parses them.

Two bytes can be a message of hundreds. The encoding is that of https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import Any

#: bytes that a message takes at most, and so many for each field that it may have: in protobuf's Python package and in
#: onnx's checker, which parses it again. Measured for each message of onnx.proto (`tests/test_parser_bounds.py`).
_MESSAGE, _FIELD = 60, 35
#: the same for a string; for a number, packed or alone; for a field that the message does not have, which it keeps
_STRING, _NUMBER, _UNKNOWN = 80, 26, 160
#: messages in messages, at most: parsers refuse more
_DEEP = 100

#: bytes that are not the last of a varint
_GOES_ON = bytes(range(0x80, 0x100))
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Kind:
    """What scanning needs of a message's descriptor: numbers of fields that hold messages, strings, varints, floats."""

    def __init__(self, descriptor: Any, known: dict[str, _Kind]) -> None:
        known[descriptor.full_name] = self
        self.n_bytes = _MESSAGE + _FIELD * len(descriptor.fields)
        self.messages: dict[int, _Kind] = {}
        self.strings: set[int] = set()
        self.varints: set[int] = set()
        self.fixed: set[int] = set()
        for field in descriptor.fields:
            if field.message_type is not None:
                inner = known.get(field.message_type.full_name) or _Kind(field.message_type, known)
                self.messages[field.number] = inner
            elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                self.strings.add(field.number)
            elif field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
                self.fixed.add(field.number)
            else:
                self.varints.add(field.number)


def parsed_bytes(data: bytes, descriptor: Any, most: int) -> int:
    """At most so many bytes do the messages, names and numbers of a serialised message take; counted as far as `most`.

    What is long in the file counts as nothing here, such as weights: it takes its own size. Bytes that are no message
    end the count: no parser takes them.

    >>> import onnx
    >>> parsed_bytes(bytes([0x08, 10, 0x3A, 2, 0x0A, 0]), onnx.ModelProto.DESCRIPTOR, 2**20)  # a graph of one node
    1106
    """
    kind = _Kind(descriptor, {})
    total, at, end = kind.n_bytes, 0, len(data)
    around: list[tuple[int, int, _Kind]] = []  # where it goes on in the messages that this one is in
    while total <= most:
        if at >= end:
            if not around:
                break
            at, end, kind = around.pop()
            continue
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(data, at - 1, end)
        wire, number = tag & 7, tag >> 3
        if wire == _BYTES:
            if at < end and data[at] < 0x80:
                length, at = data[at], at + 1
            else:
                length, at = _varint(data, at, end)
            stop = at + length
            if stop > end:
                break
            if number in kind.messages:
                inner = kind.messages[number]
                total += inner.n_bytes
                if length and len(around) < _DEEP:
                    around.append((stop, end, kind))
                    at, end, kind = at, stop, inner
                    continue
            elif number in kind.strings:
                total += _STRING
            elif number in kind.varints:
                total += _NUMBER * len(data[at:stop].translate(None, _GOES_ON))
            elif number not in kind.fixed:
                total += _UNKNOWN
            at = stop
        elif wire == _VARINT:
            total += _NUMBER if number in kind.varints else _UNKNOWN
            while at < end and data[at] >= 0x80:
                at += 1
            at += 1
        elif wire in (_FIXED32, _FIXED64):
            total += _NUMBER if number in kind.fixed else _UNKNOWN
            at += 4 if wire == _FIXED32 else 8
        # What is between the begin and the end of a group (3, 4) counts as if it stood without.
        elif wire in (3, 4):
            total += _UNKNOWN
        else:
            break
    return total


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(value, index behind it) of the varint at an index; beyond the end of the data if it does not end."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            break
    return len(data) + 1, end
