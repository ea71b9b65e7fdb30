# SPDX-License-Identifier: MIT
"""NumPy .npz archives, parsed by hand so that a header can neither name objects nor ask for more than its bytes."""

from __future__ import annotations

import re
import struct

import numpy as np

from ..errors import FormatError, UnsupportedError
from .archive import Archive
from .limits import MAX_NPY_HEADER_BYTES, check_shape

# Anything richer is a record or NumPy's little language for one.
_DESCR = re.compile(r"[<>|=]?[A-Za-z?][0-9]{0,6}")
_MAGIC = b"\x93NUMPY"
# The one form in which np.save and every writer of its format put the header (Python 2 wrote 3L for 3).
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([^']{1,32})',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([0-9L, ]{0,400})\),?\s*\}\s*"
)


def read_npz(archive: Archive) -> dict[str, np.ndarray]:
    """Every array of an .npz archive. Entries that are not .npy are refused by name."""
    arrays: dict[str, np.ndarray] = {}
    for name in archive.names:
        if not name.endswith(".npy"):
            raise UnsupportedError(f"{archive.path}: entry {name!r} is not a .npy array")
        arrays[name[: -len(".npy")]] = _read_npy(archive, name)
    if not arrays:
        raise FormatError(f"{archive.path}: no arrays found")
    return arrays


def _read_npy(archive: Archive, name: str) -> np.ndarray:
    path = archive.path
    data = archive.read(name)
    if len(data) < 12 or not data.startswith(_MAGIC) or data[6] not in (1, 2):
        raise FormatError(f"{path}: entry {name!r} is not a .npy array of version 1 or 2")
    start = 10 if data[6] == 1 else 12
    (n_header,) = struct.unpack_from("<H" if start == 10 else "<I", data, 8)
    if n_header > min(MAX_NPY_HEADER_BYTES, len(data) - start):
        raise FormatError(
            f"{path}: array {name!r}: a header of {n_header} bytes, expected at most {MAX_NPY_HEADER_BYTES}"
        )
    text = data[start : start + n_header].decode("latin1")
    header = _HEADER.fullmatch(text)
    if not header:
        if "'O'" in text or "'|O'" in text or "[(" in text:
            raise UnsupportedError(f"{path}: array {name!r} holds Python objects or records, expected numbers")
        raise FormatError(f"{path}: array {name!r} has a damaged header: {text[:80]!r}")
    descr, fortran, axes = header.groups()
    if "O" in descr:
        raise UnsupportedError(f"{path}: array {name!r} holds Python objects (dtype {descr!r}), expected numbers")
    try:
        if not _DESCR.fullmatch(descr):
            raise ValueError(f"dtype {descr!r} is not understood")
        dtype = np.dtype(descr)
        shape = tuple(int(n.rstrip("L ")) for n in axes.split(",") if n.strip())
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: array {name!r}: {error}") from error
    if dtype.kind not in "biufcSU":
        raise UnsupportedError(f"{path}: array {name!r} has dtype {descr!r}, expected numbers")
    n_bytes = check_shape(path, f"array {name!r}", shape) * dtype.itemsize
    if n_bytes != len(data) - start - n_header:
        raise FormatError(
            f"{path}: array {name!r} of shape {shape} and dtype {dtype} needs {n_bytes} bytes, "
            f"got {len(data) - start - n_header}"
        )
    archive.budget.take(n_bytes, f"array {name!r}")
    if n_bytes == 0:
        return np.zeros(shape, dtype.newbyteorder("="))
    flat = np.frombuffer(data, dtype, offset=start + n_header)
    array = flat.reshape(shape, order="F" if fortran == "True" else "C")
    return np.array(array, dtype.newbyteorder("="), order="C")
