# SPDX-License-Identifier: MIT
"""HDF5 weights (Keras .h5, .weights.h5, and the inside of .keras): dataset path -> array. Needs h5py."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from .limits import MAX_DEPTH, MAX_ENTRIES, Budget, check_shape

# Filters that the HDF5 library itself and h5py carry: deflate, shuffle, fletcher32, szip, nbit, scale-offset, lzf. Any
# other would make the library look for a plug-in to load.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}


def read_hdf5(path: Path, budget: Budget, data: bytes | None = None) -> dict[str, np.ndarray]:
    """Every dataset of an HDF5 file (or of `data`, its bytes). Links out of the file are refused."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f'{path}: reading HDF5 needs h5py: pip install "undertow[keras]"') from error

    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path if data is None else io.BytesIO(data), "r") as file:
            _walk(h5py, path, budget, file, arrays)
    except (UnsupportedError, FormatError):
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError, MemoryError) as error:
        raise FormatError(f"{path}: damaged HDF5 file: {error}") from error
    if not arrays:
        raise FormatError(f"{path}: no datasets found")
    return arrays


def _walk(h5py: Any, path: Path, budget: Budget, root: Any, arrays: dict[str, np.ndarray]) -> None:
    n_seen = 0
    todo = [(root, "", 0)]
    while todo:
        group, prefix, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise FormatError(f"{path}: groups nest deeper than {MAX_DEPTH}")
        deeper = []
        for key in group:
            name = f"{prefix}{key}"
            if (n_seen := n_seen + 1) > MAX_ENTRIES:
                raise FormatError(f"{path}: more than {MAX_ENTRIES} objects")
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UnsupportedError(f"{path}: {name!r} is a {type(link).__name__}; links are not followed")
            item = group[key]
            if isinstance(item, h5py.Group):
                deeper.append((item, f"{name}/", depth + 1))
            elif isinstance(item, h5py.Dataset):
                arrays[name] = _read(path, budget, name, item)
            else:
                raise UnsupportedError(f"{path}: {name!r} is a {type(item).__name__}, expected a group or dataset")
        todo += reversed(deeper)


def _read(path: Path, budget: Budget, name: str, dataset: Any) -> np.ndarray:
    if dataset.external or dataset.is_virtual:
        raise UnsupportedError(f"{path}: dataset {name!r} keeps its data in another file; that is not followed")
    dtype = dataset.dtype
    if dtype.kind not in "biufc":
        raise UnsupportedError(f"{path}: dataset {name!r} has dtype {dtype}, expected numbers")
    if dataset.shape is None:
        raise UnsupportedError(f"{path}: dataset {name!r} is empty (no dataspace)")
    plist = dataset.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if filters - _FILTERS:
        raise UnsupportedError(
            f"{path}: dataset {name!r} uses HDF5 filter {min(filters - _FILTERS)}, which is not built in"
        )
    n_bytes = check_shape(path, f"dataset {name!r}", tuple(int(n) for n in dataset.shape)) * dtype.itemsize
    if dataset.chunks and math.prod(dataset.chunks) * dtype.itemsize > budget.left:
        raise FormatError(f"{path}: dataset {name!r} has chunks of {dataset.chunks}, beyond what may be unpacked")
    budget.take(n_bytes, f"dataset {name!r}")
    array = np.asarray(dataset[()])
    return np.array(array, dtype.newbyteorder("="), order="C")
