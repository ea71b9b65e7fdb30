# SPDX-License-Identifier: MIT
"""Raw little-endian bytes to arrays, shared by the PyTorch and safetensors readers."""

from __future__ import annotations

import numpy as np

#: The name of a dtype here and in PyTorch -> how its elements lie in a file. bfloat16 is read as its 16 bits.
DTYPES: dict[str, np.dtype] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("u1"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
}


def finish(raw: np.ndarray, dtype: str) -> np.ndarray:
    """A contiguous array in native byte order that owns its memory, from elements as they lie in a file."""
    if dtype == "bfloat16":
        return np.asarray(np.array(raw, np.uint32, order="C") << 16, np.uint32).view(np.float32)
    if dtype == "bool":
        return np.array(raw != 0, order="C")
    return np.array(raw, DTYPES[dtype].newbyteorder("="), order="C")


def finished_bytes(n_elements: int, dtype: str) -> int:
    """What `finish` allocates."""
    return n_elements * (4 if dtype == "bfloat16" else DTYPES[dtype].itemsize)
