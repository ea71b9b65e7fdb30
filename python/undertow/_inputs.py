# SPDX-License-Identifier: MIT
"""What happens to an array that does not fit as it is: exact conversions of ids, clear errors for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ._text import listed, shown
from .errors import ShapeError, StateError
from .ir.graph import Value


def _shape(value: Value, lead: int, n: int | None) -> str:
    axes = (["T"] if n is None else [str(n), "T"])[:lead] + [str(size) for size in value.shape]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def coerce(x: Any, value: Value, lead: int, n: int | None = None) -> np.ndarray:
    """Give x as a C-contiguous array of the value's dtype if that loses nothing.

    Frames of a stream have a time axis before them if `lead` is 1. Those of a pool have first an axis of n streams, and
    then the time axis if `lead` is 2.

    Ids may come in any integer dtype, as Python integers, or as whole floats. A frame of one number may be a Python
    number, which has no dtype that could be lost. Strided views are copied.

    Raises:
        TypeError: wrong dtype. ShapeError: wrong rank or size. Both say what to write, where that can be told.
    """
    expected = f"{value.dtype} with shape {_shape(value, lead, n)}"
    if value.dtype == "int32" and isinstance(x, (int, np.integer, list, tuple)) and not isinstance(x, bool):
        x = np.asarray(x)
    if not lead and value.size == 1 and value.dtype == "float32" and (type(x) in (int, float) or _is_number(x)):
        return _one_number(x, value)
    if not isinstance(x, np.ndarray | np.generic):
        raise TypeError(
            f"{shown(value.name)} must be a NumPy array, {expected}, got {type(x).__name__}"
            f"{_as_array(x, value, lead, n)}"
        )
    x = np.asarray(x)
    if x.dtype.kind not in "iuf" or (value.dtype == "float32" and x.dtype != np.float32):
        raise TypeError(
            f"{shown(value.name)} must be {expected}, got {x.dtype} {x.shape}{_as_floats(x, value, lead, n)}"
        )
    wrong_n = n is not None and x.shape[:1] != (n,)
    if x.ndim != len(value.shape) + lead or x.shape[lead:] != value.shape or wrong_n:
        hint = _reshaped("x", x.shape, value, lead, n)
        raise ShapeError(f"{shown(value.name)} must be {expected}, got {x.dtype} {x.shape}{hint and f'; {hint}'}")
    if value.dtype == "int32":
        if x.dtype.kind == "f" and not (np.isfinite(x).all() and (x == np.floor(x)).all()):
            raise TypeError(f"{shown(value.name)} holds ids: whole numbers, got {x.dtype} values that are not")
        if x.size and not (x.min() >= -(2**31) and x.max() < 2**31):
            refuse_ids(x, value)
    return np.ascontiguousarray(x, dtype=value.dtype).reshape(x.shape)


def _is_number(x: Any) -> bool:
    """Whether x is a float32 without axes, which a frame of one number is too."""
    return isinstance(x, np.ndarray | np.generic) and x.dtype == np.float32 and x.ndim == 0


def _one_number(x: Any, value: Value) -> np.ndarray:
    if isinstance(x, int | float) and abs(x) > _LARGEST and x == x and abs(x) != float("inf"):
        raise ValueError(f"{shown(value.name)} is {x:.6g}, beyond what float32 holds: {_LARGEST:.6g}")
    return np.full(value.shape, x, np.float32)


#: of float32
_LARGEST = float(np.finfo(np.float32).max)
#: what integers of sound are divided by
_FULL_SCALE = {"int16": "32768", "int32": "2147483648"}


def _as_array(x: Any, value: Value, lead: int, n: int | None) -> str:
    """What to write for x that is no array, "" where nothing helps."""
    to = "int" if value.dtype == "int32" else "float"
    if type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "detach"):
        call, shape = f"x.detach().cpu().{to}().numpy()", tuple(x.shape)
    else:
        try:
            array = np.asarray(x)
        except Exception:  # whatever an object says to that
            return ""
        if array.dtype.kind not in "biuf":
            return "; expected numbers"
        call, shape = f"np.asarray(x, np.{value.dtype})", array.shape
    return _advised(call, shape, value, lead, n)


def _as_floats(x: np.ndarray, value: Value, lead: int, n: int | None) -> str:
    """What to write for an array of another dtype."""
    if x.dtype.kind not in "biuf":
        return "; expected numbers"
    # which gives an axis to what has none
    call = f"np.ascontiguousarray(x, dtype=np.{value.dtype})" if x.ndim else f"np.asarray(x, np.{value.dtype})"
    plain = _advised(call, x.shape, value, lead, n)
    if (scale := _FULL_SCALE.get(x.dtype.name)) and value.dtype == "float32" and plain.startswith("; try"):
        sound = _advised(f"(x / {scale}).astype(np.float32)", x.shape, value, lead, n)
        return f"{sound} for sound, {plain.removeprefix('; try ')} for other numbers"
    return plain


def _advised(call: str, shape: tuple[int, ...], value: Value, lead: int, n: int | None) -> str:
    """The call, and what gives its result the shape that is asked for; or what else to do about that."""
    if _fits(shape, value, lead, n):
        return f"; try {call}"
    hint = _reshaped(call, shape, value, lead, n)
    if hint.startswith("try "):
        return f"; {hint}"
    return f"; its shape is {shape}" + (f": {hint}, with {call} for x" if hint else "")


def _fits(shape: tuple[int, ...], value: Value, lead: int, n: int | None) -> bool:
    return len(shape) == len(value.shape) + lead and shape[lead:] == value.shape and (n is None or shape[0] == n)


def _reshaped(call: str, shape: tuple[int, ...], value: Value, lead: int, n: int | None) -> str:
    """What gives an array of this shape the one that is asked for, or what takes it as it is; "" if neither is told."""
    of_frame = value.shape
    if n is not None:
        if lead == 2 and shape == (n, *of_frame):
            return "for one timestep use step(ids, X)"
        if lead == 1 and shape[:1] + shape[2:] == (n, *of_frame):
            return "for several timesteps use run(ids, X)"
        if lead == 1 and value.size == 1 and shape == (n,):
            return f"try {call}.reshape({', '.join(map(str, (n, *of_frame)))})"
        return ""
    axes = ", ".join(map(str, of_frame))
    if lead:
        if len(shape) == 2 and shape[:1] == of_frame:
            return f"try np.ascontiguousarray({call}.T)"
        if len(shape) == 1 and value.size == 1:
            return f"try {call}.reshape(-1, {axes})"
        if shape == of_frame:
            return "for one timestep use step(x)"
        if shape[2:] == of_frame and shape[:1] == (1,):
            return f"try {call}[0]: one sequence, without an axis of the batch"
        if shape[2:] == of_frame and len(shape) == len(of_frame) + 2:
            return "for several sequences use model.run(X), or a pool"
        return ""
    if shape[1:] == of_frame and shape[:1] != (1,):
        return "for several timesteps use run(X)"
    if int(np.prod(shape)) == value.size and tuple(d for d in shape if d != 1) == tuple(d for d in of_frame if d != 1):
        return f"try {call}.reshape({axes or '()'})"
    return ""


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


def timesteps(n: Any, count: int) -> list[int]:
    """How many timesteps each of `count` streams goes back: Python's integers, from one or an array of them.

    Raises:
        TypeError: they are not integers. ShapeError: there are not as many numbers as streams.
    """
    array = np.asarray(n)
    if array.size == 0 and not isinstance(n, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"n must be an integer, or one for each stream, got {array.dtype} {array.shape}")
    if array.shape not in ((), (count,)):
        raise ShapeError(f"n has shape {array.shape}, expected one integer, or ({count},): one for each stream")
    return [int(i) for i in np.broadcast_to(array, (count,))]


def refuse_lengths(names: Sequence[str], lengths: Sequence[int]) -> NoReturn:
    raise ShapeError(
        "inputs differ in their number of frames: "
        + ", ".join(f"{shown(n)} {t}" for n, t in zip(names, lengths, strict=False))
    )


def refuse_full(most: int, seen: int, n: int, which: str = "the stream") -> NoReturn:
    """Say that a sequence would have more frames than its model was loaded for."""
    had = f"{which} has had {seen} frames, and {n} more are" if seen else f"{n} frames are"
    raise StateError(
        f"{had} beyond the {most} that a sequence has at most, as max_frames= or capacity= of the load says; reset it, "
        "or load the model with more"
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
