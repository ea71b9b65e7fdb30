# SPDX-License-Identifier: MIT
"""HDF5 weights (Keras .h5, .weights.h5, and the inside of .keras): dataset path -> array."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import Error, FormatError
from .hdf5_reader import Dataset, File, Group
from .limits import MAX_DEPTH, MAX_ENTRIES, Budget, check_shape


def read_hdf5(path: Path, budget: Budget, data: bytes | None = None) -> dict[str, np.ndarray]:
    """Every dataset of an HDF5 file (or of `data`, its bytes). Links are refused."""
    arrays: dict[str, np.ndarray] = {}
    with _located(str(path)):
        todo = [(File(path.read_bytes() if data is None else data, budget.left).root, "", 0)]
    n_seen = 0
    while todo:
        group, prefix, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise FormatError(f"{path}: groups nest deeper than {MAX_DEPTH}")
        with _located(f"{path}: group {prefix or '/'!r}"):
            keys = list(group.members)
        if (n_seen := n_seen + len(keys)) > MAX_ENTRIES:
            raise FormatError(f"{path}: more than {MAX_ENTRIES} objects")
        deeper = []
        for key in keys:
            name = f"{prefix}{key}"
            with _located(f"{path}: {name!r}"):
                item = group.get(key)
            if isinstance(item, Group):
                deeper.append((item, f"{name}/", depth + 1))
            elif isinstance(item, Dataset):
                what = f"dataset {name!r}"
                budget.take(check_shape(path, what, item.shape) * item.type.size, what)
                with _located(f"{path}: {what}"):
                    arrays[name] = item.read()
        todo += reversed(deeper)
    if not arrays:
        raise FormatError(f"{path}: no datasets found")
    return arrays


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Say in an error where it happened."""
    try:
        yield
    except MemoryError as error:
        raise FormatError(f"{where}: needs more memory than there is") from error
    except Error as error:
        raise type(error)(f"{where}: {error}") from error
