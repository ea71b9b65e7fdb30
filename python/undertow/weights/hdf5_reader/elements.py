# SPDX-License-Identifier: MIT
"""Shapes, element types and fill values of arrays and attributes."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import FormatError, UnsupportedError
from .source import MAX_RANK, Fields

#: (size, bit offset, precision, exponent at, exponent bits, mantissa at, mantissa bits, bias) of the IEEE floats
_IEEE: dict[tuple[int, ...], str] = {
    (2, 0, 16, 10, 5, 0, 10, 15): "f2",
    (4, 0, 32, 23, 8, 0, 23, 127): "f4",
    (8, 0, 64, 52, 11, 0, 52, 1023): "f8",
}
_CLASSES: tuple[str, ...] = ("integer", "float", "time", "text", "bitfield", "opaque", "compound", "reference")
_CLASSES = (*_CLASSES, "enumeration", "vlen", "array", "complex")


@dataclass(frozen=True)
class Space:
    """A shape; `shape` is None where there is not even a scalar. `limits` is what the axes may grow to."""

    shape: tuple[int, ...] | None
    limits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Type:
    """An element type: a NumPy format for numbers, "fixed" or "variable" for texts, neither for all others."""

    size: int
    numpy: str = ""
    text: str = ""
    name: str = ""


def dataspace(fields: Fields) -> Space:
    version, rank, flags = fields.take("<BBB")
    if version == 1:
        fields.raw(5)
    elif version == 2:
        (kind,) = fields.take("<B")
        if kind == 2:
            return Space(None)
    else:
        raise FormatError(f"the HDF5 file is damaged: dataspace version {version}")
    if rank > MAX_RANK:
        raise UnsupportedError(f"an HDF5 array of {rank} axes is not supported; expected at most {MAX_RANK}")
    shape = fields.take(f"<{rank}Q")
    limits = fields.take(f"<{rank}Q") if flags & 1 else shape
    if any(n > limit for n, limit in zip(shape, limits, strict=True)):
        raise FormatError(f"the HDF5 file is damaged: shape {shape} is beyond its limits {limits}")
    return Space(shape, limits)


def datatype(fields: Fields, depth: int = 0) -> Type:
    head, bits, sign_at, _, size = fields.take("<BBBBI")
    kind = head & 15
    order = ">" if bits & 1 else "<"
    if kind == 0:
        offset, precision = fields.take("<HH")
        if size in (1, 2, 4, 8) and offset == 0 and precision == 8 * size:
            name = "int" if bits & 8 else "uint"
            return Type(size, numpy=f"{order}{name[0]}{size}", name=f"{name}{8 * size}")
        return Type(size, name=f"integers of {precision} bits in {size} bytes")
    if kind == 1:
        code = _IEEE.get((size, *fields.take("<HHBBBBI")))
        if code and bits & 0x70 == 0x20 and sign_at == 8 * size - 1:
            return Type(size, numpy=order + code, name=f"float{8 * size}")
        return Type(size, name=f"floats of their own kind in {size} bytes")
    if kind == 3:
        return Type(size, text="fixed", name="text")
    if kind == 9 and bits & 15 == 1:
        return Type(size, text="variable", name="text")
    unknown = Type(size, name=f"HDF5 class {_CLASSES[kind] if kind < len(_CLASSES) else kind}")
    if kind == 6 and depth == 0 and bits | sign_at << 8 == 2:
        return _complex(fields, head >> 4, size) or unknown
    if kind == 8 and depth == 0:
        return _enumeration(fields, head >> 4, bits | sign_at << 8) or unknown
    return unknown


def _complex(fields: Fields, version: int, size: int) -> Type | None:
    """Complex numbers are compounds of `r` and `i`, as h5py writes them."""
    formats = []
    for name, offset in ((b"r", 0), (b"i", size // 2)):
        if fields.until_nul(8 if version < 3 else 1) != name:
            return None
        at = fields.integer(4 if version < 3 else max(1, (size.bit_length() + 7) // 8))
        if version == 1:
            fields.raw(28)
        part = datatype(fields, 1)
        if at != offset or part.size * 2 != size or part.numpy[1:] not in ("f4", "f8"):
            return None
        formats.append(part.numpy)
    if formats[0] != formats[1]:
        return None
    return Type(size, numpy=f"{formats[0][0]}c{size}", name=f"complex{8 * size}")


def _enumeration(fields: Fields, version: int, count: int) -> Type | None:
    """The booleans of h5py; any other enumeration is its integers."""
    base = datatype(fields, 1)
    if not base.numpy:
        return None
    if base.size == 1 and count == 2:
        names = [fields.until_nul(8 if version < 3 else 1) for _ in range(2)]
        if names == [b"FALSE", b"TRUE"] and fields.raw(2) == b"\0\1":
            return Type(1, numpy="|b1", name="bool")
    return base


def fill_value(old: bytes | None, new: bytes | None, size: int) -> bytes:
    """The element of `size` bytes that stands where nothing was written; b"" for zero."""
    n_bytes = 0
    fields = Fields(new or old or b"")
    if new is not None:
        version, flags = fields.take("<BB")
        if version in (1, 2):
            _, defined = fields.take("<BB")
            n_bytes = fields.integer(4) if version == 1 or defined else 0
        elif version == 3:
            n_bytes = fields.integer(4) if flags & 0x20 else 0
        else:
            raise FormatError(f"the HDF5 file is damaged: fill value version {version}")
    elif old is not None:
        n_bytes = fields.integer(4)
    if n_bytes in (0, 0xFFFF_FFFF):
        return b""
    if n_bytes != size:
        raise FormatError(f"the HDF5 file is damaged: a fill value of {n_bytes} bytes for elements of {size}")
    return fields.raw(n_bytes)
