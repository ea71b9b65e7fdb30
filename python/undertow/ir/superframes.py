# SPDX-License-Identifier: MIT
"""Frames of several timesteps, in models that stride along time: how many they may be, and sequences as timesteps or as
frames."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from .._text import shown
from ..errors import ShapeError
from .graph import Graph
from .nodes import Value

#: most timesteps in a frame, for it has no more elements
MAX_TIMESTEPS = 1 << 24
#: most samples per second
MAX_RATE = (1 << 32) - 1


def note(graph: Graph) -> str:
    """What a graph's notes say of them."""
    return f"strides along time: {graph.frames_in} timesteps in a frame, {graph.frames_out} out"


def wrong(graph: Graph) -> str:
    """What no file can say of a graph's frames and their rate, in words; nothing if they are as they should be."""
    for name, n in (("frames_in", graph.frames_in), ("frames_out", graph.frames_out)):
        if not 1 <= index(n) <= MAX_TIMESTEPS:
            return f"{name} is {n}, expected 1 to {MAX_TIMESTEPS:,}, the timesteps in a frame"
    if graph.sample_rate is not None and not 1 <= index(graph.sample_rate) <= MAX_RATE:
        return f"sample_rate is {graph.sample_rate}, expected 1 to {MAX_RATE:,} Hz, or None"
    return ""


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


def as_sequences(x: Any, value: Value, frames_in: int) -> Any:
    """As `as_frames`; and several sequences (N, T, *timestep) as (N, T // frames_in, frames_in, *timestep), where they
    are no frames (T, frames_in, *timestep).

    Raises:
        ShapeError: T is no multiple of frames_in.
    """
    shape = value.shape
    if (
        frames_in == 1
        or shape[:1] != (frames_in,)
        or not isinstance(x, np.ndarray)
        or x.ndim != len(shape) + 1
        or x.shape[1:] == shape
        or x.shape[2:] != shape[1:]
    ):
        return as_frames(x, value, frames_in)
    return np.stack([as_frames(one, value, frames_in) for one in x]) if len(x) else x.reshape(0, 0, *shape)


def as_timesteps(y: np.ndarray, value: Value, frames_out: int) -> np.ndarray:
    """Outputs (T, frames_out, *timestep) as (T * frames_out, *timestep).

    Raises:
        ShapeError: frames of an output are no such timesteps.
    """
    if frames_out == 1 or value.once:
        return y
    if value.shape[:1] != (frames_out,):
        raise ShapeError(
            f"{shown(value.name)} has frames of shape {value.shape}, not of {frames_out} timesteps as the model says; "
            "give frames in place of timesteps"
        )
    return y.reshape(len(y) * frames_out, *value.shape[1:])


__all__ = ["MAX_TIMESTEPS", "as_frames", "as_sequences", "as_timesteps", "note", "wrong"]
