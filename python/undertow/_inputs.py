# SPDX-License-Identifier: MIT
"""What happens to an array that does not fit as it is: exact conversions of ids, clear errors for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ._text import listed, shown
from .errors import ShapeError
from .ir.graph import Value


def _shape(value: Value, lead: int, n: int | None) -> str:
    axes = (["T"] if n is None else [str(n), "T"])[:lead] + [str(size) for size in value.shape]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def coerce(x: Any, value: Value, lead: int, n: int | None = None) -> np.ndarray:
    """Give x as a C-contiguous array of the value's dtype if that loses nothing.

    Frames of a stream have a time axis before them if `lead` is 1. Those of a pool have first an axis of n streams, and
    then the time axis if `lead` is 2.

    Ids may come in any integer dtype, as Python integers, or as whole floats. Strided views are copied.

    Raises:
        TypeError: wrong dtype. ShapeError: wrong rank or size.
    """
    expected = f"{value.dtype} with shape {_shape(value, lead, n)}"
    if value.dtype == "int32" and isinstance(x, (int, np.integer, list, tuple)) and not isinstance(x, bool):
        x = np.asarray(x)
    if not isinstance(x, np.ndarray | np.generic):
        raise TypeError(
            f"{shown(value.name)} must be a NumPy array, {expected}, got {type(x).__name__}; "
            f"try np.asarray(x, np.{value.dtype})"
        )
    x = np.asarray(x)
    if x.dtype.kind not in "iuf" or (value.dtype == "float32" and x.dtype != np.float32):
        raise TypeError(
            f"{shown(value.name)} must be {expected}, got {x.dtype} {x.shape}; "
            f"try np.ascontiguousarray(x, dtype=np.{value.dtype})"
        )
    wrong_n = n is not None and x.shape[:1] != (n,)
    if x.ndim != len(value.shape) + lead or x.shape[lead:] != value.shape or wrong_n:
        hint = ""
        if n is not None:
            if lead == 2 and x.shape == (n, *value.shape):
                hint = "; for one timestep use step(ids, X)"
            elif lead == 1 and x.shape[:1] + x.shape[2:] == (n, *value.shape):
                hint = "; for several timesteps use run(ids, X)"
        elif lead and x.ndim == 2 and x.shape[:1] == value.shape:
            hint = "; try np.ascontiguousarray(x.T)"
        elif lead and x.shape == value.shape:
            hint = "; for one timestep use step(x)"
        elif not lead and x.shape[1:] == value.shape:
            hint = "; for several timesteps use run(X)"
        raise ShapeError(f"{shown(value.name)} must be {expected}, got {x.dtype} {x.shape}{hint}")
    if value.dtype == "int32":
        if x.dtype.kind == "f" and not (np.isfinite(x).all() and (x == np.floor(x)).all()):
            raise TypeError(f"{shown(value.name)} holds ids: whole numbers, got {x.dtype} values that are not")
        if x.size and not (x.min() >= -(2**31) and x.max() < 2**31):
            refuse_ids(x, value)
    return np.ascontiguousarray(x, dtype=value.dtype).reshape(x.shape)


def refuse_ids(x: np.ndarray, value: Value) -> NoReturn:
    raise ValueError(f"{shown(value.name)} holds ids of 0 to {(value.n_ids or 1) - 1}, got {x.min()} to {x.max()}")


def refuse_out(out: Any, value: Value, *lead: int) -> NoReturn:
    shape = (*lead, *value.shape)
    actual = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
    raise ShapeError(
        f"out for {shown(value.name)} must be a writable, C-contiguous {value.dtype} array with shape {shape}, "
        f"got {actual}"
    )


def refuse_overlap(x: str, y: str) -> NoReturn:
    x, y = shown(x), shown(y)
    raise ValueError(f"out for {y} shares memory with {x} other than frame on frame; give it an array of its own")


def refuse_shared(y: str, other: str) -> NoReturn:
    raise ValueError(f"out for {other} shares memory with out for {y}; give each an array of its own")


def stream_ids(ids: Any, one: bool) -> np.ndarray:
    """ids as a C-contiguous int64 array of one axis; where `one`, a single id will do too.

    Raises:
        TypeError: they are not integers. ShapeError: not one axis.
    """
    array = np.asarray(ids)
    if array.size == 0 and not isinstance(ids, np.ndarray):
        array = array.astype(np.int64)  # an empty list has no dtype of its own
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers as pool.open() gives them, got {array.dtype} {array.shape}")
    if array.ndim != 1 and not (one and array.ndim == 0):
        raise ShapeError(f"ids must be an array of one axis, got shape {array.shape}")
    return np.ascontiguousarray(array, np.int64).reshape(-1)


def refuse_lengths(names: Sequence[str], lengths: Sequence[int]) -> NoReturn:
    raise ShapeError(
        "inputs differ in their number of frames: "
        + ", ".join(f"{shown(n)} {t}" for n, t in zip(names, lengths, strict=False))
    )


def by_name(x: Any, names: Sequence[str], what: str, optional: bool = False) -> list[Any]:
    """The entries of a dict in the order of `names`; a lone array stands for the only name there is."""
    if x is None and optional:
        return [None] * len(names)
    if not isinstance(x, Mapping):
        if len(names) == 1:
            return [x]
        raise TypeError(f"{what} must be a dict with {listed(names)}, got {type(x).__name__}")
    unknown = sorted(set(x) - set(names))
    missing = [n for n in names if n not in x]
    if unknown or (missing and not optional):
        raise KeyError(f"{what}: expected {listed(names)}, got {listed(x) or 'nothing'}")
    return [x.get(n) for n in names]
