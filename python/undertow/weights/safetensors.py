# SPDX-License-Identifier: MIT
"""The .safetensors format, by hand: a length, a JSON header, then the tensors without holes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from .in_memory import size_of
from .json_text import parse, parsed_bytes
from .limits import MAX_ENTRIES, MAX_HEADER_BYTES, Budget, check_shape
from .tensors import DTYPES, finish, finished_bytes

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read_safetensors(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    """Every tensor of a .safetensors file, in the order of the header."""
    budget.take(size_of(path), "the file")
    data = path.read_bytes()
    if len(data) < 8:
        raise FormatError(f"{path}: {len(data)} bytes are too few for a safetensors file")
    (n_header,) = struct.unpack_from("<Q", data)
    if n_header > min(MAX_HEADER_BYTES, len(data) - 8):
        raise FormatError(
            f"{path}: the header claims {n_header} bytes, but {len(data) - 8} follow (limit {MAX_HEADER_BYTES})"
        )
    text = data[8 : 8 + n_header]
    budget.take(parsed_bytes(text), "its header, once parsed,")
    header = _parse(path, text)
    body = memoryview(data)[8 + n_header :]

    _check_metadata(path, header.pop("__metadata__", {}))
    if len(header) > MAX_ENTRIES:
        raise FormatError(f"{path}: {len(header)} tensors, expected at most {MAX_ENTRIES}")
    if not header:
        raise FormatError(f"{path}: no tensors found")
    spans = {name: _span(path, name, entry, len(body)) for name, entry in header.items()}
    end = 0
    for name, (begin, stop, _, _) in sorted(spans.items(), key=lambda item: item[1][:2]):
        if begin != end:
            kind = "overlaps the tensor before it" if begin < end else "leaves a hole before it"
            raise FormatError(f"{path}: tensor {name!r} begins at byte {begin} and {kind}, expected {end}")
        end = stop
    if end != len(body):
        raise FormatError(f"{path}: the tensors end at byte {end}, but {len(body)} bytes follow the header")

    arrays = {}
    for name, (begin, stop, dtype, shape) in spans.items():
        raw = np.frombuffer(body[begin:stop], DTYPES[dtype])
        budget.take(finished_bytes(raw.size, dtype), f"tensor {name!r}")
        arrays[name] = finish(raw.reshape(shape), dtype)
    return arrays


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name occurs twice")
        return result

    if text[:1] != b"{":
        raise FormatError(f"{path}: the header does not start with '{{': not a safetensors file")
    header: dict[str, Any] = parse(text, f"{path}: damaged safetensors header", unique)
    return header


def _check_metadata(path: Path, metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{path}: __metadata__ must map text to text")


def _span(path: Path, name: str, entry: object, n_body: int) -> tuple[int, int, str, tuple[int, ...]]:
    if not isinstance(entry, dict) or sorted(entry) != ["data_offsets", "dtype", "shape"]:
        raise FormatError(f"{path}: tensor {name!r} must have exactly dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise UnsupportedError(f"{path}: tensor {name!r} has dtype {entry['dtype']!r}; supported: {', '.join(_DTYPES)}")
    dtype = _DTYPES[entry["dtype"]]
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list):
        raise FormatError(f"{path}: tensor {name!r}: shape is {shape!r}, expected a list")
    n_bytes = check_shape(path, f"tensor {name!r}", tuple(shape)) * DTYPES[dtype].itemsize
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(n) is not int for n in offsets):
        raise FormatError(f"{path}: tensor {name!r}: data_offsets must be two integers")
    begin, stop = offsets
    if not 0 <= begin <= stop <= n_body:
        raise FormatError(f"{path}: tensor {name!r}: data_offsets {offsets} leave the file ({n_body} bytes of tensors)")
    if stop - begin != n_bytes:
        raise FormatError(
            f"{path}: tensor {name!r} of shape {shape} and dtype {dtype} needs {n_bytes} bytes, got {stop - begin}"
        )
    return begin, stop, dtype, tuple(shape)
