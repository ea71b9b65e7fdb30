# SPDX-License-Identifier: MIT
"""Frames of several timesteps, in models that stride along time: how many they are, which a line of the source that a
model carries says, and sequences as timesteps or as frames."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .._text import shown
from ..errors import ShapeError
from .graph import Value

_LINE = re.compile(r"^strides along time: (\d{1,6}) timesteps in a frame, (\d{1,6}) out$", re.MULTILINE)


def line(frames_in: int, frames_out: int) -> str:
    """The line of `Graph.source` that says so."""
    return f"strides along time: {frames_in} timesteps in a frame, {frames_out} out"


def read(source: str) -> tuple[int, int]:
    """(timesteps of the inputs in one frame, timesteps of the outputs); (1, 1) where nothing is said."""
    found = _LINE.search(source)
    return (int(found[1]), int(found[2])) if found else (1, 1)


def as_frames(x: Any, value: Value, frames_in: int) -> Any:
    """A sequence (T, *timestep) as (T // frames_in, frames_in, *timestep); anything else is given back as it is.

    Raises:
        ShapeError: T is no multiple of frames_in.
    """
    shape = value.shape
    if frames_in == 1 or shape[:1] != (frames_in,):  # an input that is the same at all timesteps has no such axis
        return x
    if not isinstance(x, np.ndarray) or x.ndim != len(shape) or x.shape[1:] != shape[1:]:
        return x
    if len(x) % frames_in:
        raise ShapeError(
            f"{shown(value.name)} has {len(x)} timesteps, but the model strides along time and takes {frames_in} of "
            f"them as a frame: expected a multiple of {frames_in}, or shape (T, {', '.join(map(str, shape))})"
        )
    return x.reshape(-1, *shape)


def as_timesteps(y: np.ndarray, value: Value, frames_out: int) -> np.ndarray:
    """Outputs (T, frames_out, *timestep) as (T * frames_out, *timestep)."""
    return y if frames_out == 1 or value.once else y.reshape(len(y) * frames_out, *value.shape[1:])


__all__ = ["as_frames", "as_timesteps", "line", "read"]
