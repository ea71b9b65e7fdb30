# SPDX-License-Identifier: MIT
"""What reading one weights file may cost. Every limit of this package stands here."""

from __future__ import annotations

import math
from pathlib import Path

from ..errors import FormatError

#: Entries of a zip archive, objects of an HDF5 file, tensors of a safetensors file.
MAX_ENTRIES = 100_000
#: Opcodes of one pickle. A state_dict needs about 40 a tensor; an object costs at most about 300 bytes of memory.
MAX_OPCODES = 1_000_000
#: Containers and values looked at while searching a pickle for tensors: shared ones count each time they are reached.
MAX_VISITS = 1_000_000
#: Dicts in dicts in lists ... in a pickle or groups in groups in HDF5.
MAX_DEPTH = 64
#: Axes of a tensor, and elements of one (counting an axis of length 0 as 1).
MAX_AXES = 16
MAX_ELEMENTS = 2**40
#: Bytes of one integer or of one line of text in a pickle.
MAX_NUMBER_BYTES = 1024
#: JSON header of a safetensors file (the limit of the format's own library).
MAX_HEADER_BYTES = 100_000_000
#: Bytes of a .npy header (NumPy's own limit).
MAX_NPY_HEADER_BYTES = 10_000
#: Unpacked bytes allowed by default: BASE + RATIO * size of the file. Weights hardly compress: only bombs need more.
BASE_BYTES = 32 << 20
RATIO = 8


class Budget:
    """Counts the bytes that one file makes us hold, and refuses before they are allocated."""

    def __init__(self, path: Path, file_bytes: int, max_bytes: int | None = None) -> None:
        self.path = path
        self.max_bytes = BASE_BYTES + RATIO * file_bytes if max_bytes is None else max_bytes
        self.left = self.max_bytes

    def take(self, n_bytes: int, what: str) -> None:
        """Account for `n_bytes` about to be allocated for `what`; FormatError when that is too much."""
        if n_bytes > self.left:
            raise FormatError(
                f"{self.path}: {what} needs {n_bytes} bytes, which takes the file beyond the {self.max_bytes} that "
                "may be unpacked from it; if you trust it, call read_weights with a larger max_bytes"
            )
        self.left -= n_bytes


def check_shape(path: Path, what: str, shape: tuple[int, ...]) -> int:
    """The number of elements of `shape`; FormatError when it cannot be the shape of a tensor."""
    if len(shape) > MAX_AXES:
        raise FormatError(f"{path}: {what} has {len(shape)} axes, expected at most {MAX_AXES}")
    for n in shape:
        if type(n) is not int or not 0 <= n <= MAX_ELEMENTS:
            raise FormatError(f"{path}: {what} has an axis of length {short(n)}, expected 0 to {MAX_ELEMENTS}")
    if math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
        raise FormatError(f"{path}: {what} of shape {shape} has more than {MAX_ELEMENTS} elements")
    return math.prod(shape)


def short(value: object) -> str:
    """A repr for messages; numbers of a hostile file can have thousands of digits."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "beyond 64 bits"
    return repr(value)[:40] if isinstance(value, (str, bytes, int, float, type(None))) else type(value).__name__
