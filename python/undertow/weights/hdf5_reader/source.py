# SPDX-License-Identifier: MIT
"""The bytes of an untrusted file: every read is checked, counted and bounded. All limits of the reader stand here."""

from __future__ import annotations

import struct

from ...errors import FormatError

UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF  # the address of what was never written

#: Work allowed on structures, in steps of about a microsecond: BASE_STEPS and one for every BYTES_PER_STEP of the file.
BASE_STEPS = 100_000
BYTES_PER_STEP = 4
#: Axes of an array (HDF5's own limit).
MAX_RANK = 32
#: Filters of one array (HDF5's own limit).
MAX_FILTERS = 32
#: Arrays of one file together, as often as they are read, and what is unpacked for them: by default BASE and RATIO for
#: every byte of the file. Weights hardly compress: only bombs need more.
ARRAY_BASE_BYTES = 64 << 20
ARRAY_RATIO = 200
#: Names and text attributes of one file together.
MAX_TEXT_BYTES = 64 << 20


class Source:
    """A file in memory. Reading outside it, or too much of it, is a FormatError."""

    def __init__(self, data: bytes, max_array_bytes: int | None = None) -> None:
        self._data = memoryview(data)
        self._steps_left = BASE_STEPS + len(data) // BYTES_PER_STEP
        self._text_left = MAX_TEXT_BYTES
        if max_array_bytes is None:
            max_array_bytes = ARRAY_BASE_BYTES + ARRAY_RATIO * len(data)
        self._max_array_bytes = self._arrays_left = max_array_bytes

    def __len__(self) -> int:
        return len(self._data)

    def step(self, n: int = 1) -> None:
        """Count work; this is what ends structures that refer to themselves."""
        self._steps_left -= n
        if self._steps_left < 0:
            raise FormatError("the HDF5 file refers to itself without end, or has far too many parts for its size")

    def view(self, offset: int, size: int) -> memoryview:
        """The bytes of an array, all of which must be in the file."""
        self.step()
        if size < 0 or offset < 0 or offset + size > len(self._data):
            raise FormatError(f"the HDF5 file is damaged: {size} bytes at {offset} of {len(self._data)}")
        return self._data[offset : offset + size]

    def at(self, offset: int, size: int) -> bytes:
        """The bytes of a structure, all of which must be in the file."""
        self.step(max(size, 0) // 64)
        return bytes(self.view(offset, size))

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack(layout, self.at(offset, struct.calcsize(layout)))

    def expect(self, offset: int, magic: bytes) -> None:
        if self.at(offset, len(magic)) != magic:
            raise FormatError(f"the HDF5 file is damaged: expected {magic[:4]!r} at byte {offset}")

    def sealed(self, offset: int, size: int, magic: bytes = b"") -> Fields:
        """`size` bytes that end in their checksum, from behind `magic` to before the checksum."""
        self.step(max(size, 0) // 4)  # summing is slow
        raw = self.at(offset, size)
        if not raw.startswith(magic):
            raise FormatError(f"the HDF5 file is damaged: expected {magic[:4]!r} at byte {offset}")
        if size < len(magic) + 4 or lookup3(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
            raise FormatError(f"the HDF5 file is damaged: wrong checksum of the {size} bytes at {offset}")
        return Fields(raw[len(magic) : -4])

    def spend(self, n_bytes: int) -> None:
        """Count the bytes of an array before they are allocated."""
        self._arrays_left -= n_bytes
        if self._arrays_left < 0:
            raise FormatError(f"the HDF5 file asks for more than {self._max_array_bytes} bytes of arrays")

    def text(self, raw: bytes) -> str:
        self._text_left -= len(raw)
        if self._text_left < 0:
            raise FormatError(f"the HDF5 file has more than {MAX_TEXT_BYTES >> 20} MiB of texts")
        try:
            return raw.rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"a text in the HDF5 file is not UTF-8: {error}") from None


class Fields:
    """Little-endian fields read one after another."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.body) - self.at

    def take(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.raw(struct.calcsize(layout)))

    def integer(self, size: int) -> int:
        return int.from_bytes(self.raw(size), "little")

    def raw(self, size: int, align: int = 1) -> bytes:
        part = self.body[self.at : self.at + size]
        if len(part) != size:
            raise FormatError(f"the HDF5 file is damaged: a message of {len(self.body)} bytes ends too early")
        self.at += (size + align - 1) // align * align
        return part

    def until_nul(self, align: int = 1) -> bytes:
        """A text that ends in a zero byte; with `align`, that and padding up to a multiple of it."""
        end = self.body.find(b"\0", self.at)
        if end < 0:
            raise FormatError(f"the HDF5 file is damaged: a name in a message of {len(self.body)} bytes does not end")
        return self.raw(end + 1 - self.at, align)[:-1]


def lookup3(data: bytes) -> int:
    """The checksum of HDF5's newer structures: Bob Jenkins' hash `lookup3` with an initial value of 0."""
    m = 0xFFFF_FFFF
    n_blocks = max(0, (len(data) - 1) // 12)  # the last 1 to 12 bytes are mixed differently
    a = b = c = (0xDEAD_BEEF + len(data)) & m
    for x, y, z in struct.iter_unpack("<III", data[: 12 * n_blocks]):
        a, b, c = a + x & m, b + y & m, c + z & m
        a = (a - c & m) ^ (c << 4 & m | c >> 28)
        c = c + b & m
        b = (b - a & m) ^ (a << 6 & m | a >> 26)
        a = a + c & m
        c = (c - b & m) ^ (b << 8 & m | b >> 24)
        b = b + a & m
        a = (a - c & m) ^ (c << 16 & m | c >> 16)
        c = c + b & m
        b = (b - a & m) ^ (a << 19 & m | a >> 13)
        a = a + c & m
        c = (c - b & m) ^ (b << 4 & m | b >> 28)
        b = b + a & m
    if not data:
        return c
    x, y, z = struct.unpack("<III", data[12 * n_blocks :].ljust(12, b"\0"))
    a, b, c = a + x & m, b + y & m, c + z & m
    c = (c ^ b) - (b << 14 & m | b >> 18) & m
    a = (a ^ c) - (c << 11 & m | c >> 21) & m
    b = (b ^ a) - (a << 25 & m | a >> 7) & m
    c = (c ^ b) - (b << 16 & m | b >> 16) & m
    a = (a ^ c) - (c << 4 & m | c >> 28) & m
    b = (b ^ a) - (a << 14 & m | a >> 18) & m
    return (c ^ b) - (b << 24 & m | b >> 8) & m
