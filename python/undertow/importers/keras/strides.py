# SPDX-License-Identifier: MIT
"""Strides along time in a stream: a frame of the graph is as many timesteps as come to whole outputs everywhere.

A layer that does not divide the timesteps of its frames asks for more of them (`NeedsSteps`), and the model is read
again. With R timesteps in a frame, a window with stride s gives R / s; what it reaches back for lies in frames before.
"""

from __future__ import annotations

from math import gcd, prod

import numpy as np

from ...errors import UnsupportedError
from ...ir import superframes
from ...ir.grids import Axis, gather
from .builder import Builder, Tensor
from .tables import Layer

#: most timesteps in a frame
MAX_STEPS = 4096


class NeedsSteps(UnsupportedError):
    """A layer that changes how many timesteps there are wants so many of them in a frame."""

    def __init__(self, layer: Layer, setting: str, steps: int) -> None:
        super().__init__(f"{layer.where}: {setting} along time is not supported; give the clip's size: shapes=")
        self.steps = steps


def divide(b: Builder, layer: Layer, x: Tensor, stride: int) -> int:
    """How many outputs a layer with a stride gives for a frame.

    Raises:
        NeedsSteps: no whole number.
    """
    rows = x.rows or 1
    if x.rows and rows % stride == 0:
        return rows // stride
    steps = (b.steps or 1) * (stride // gcd(rows, stride))
    if steps > MAX_STEPS:
        raise UnsupportedError(f"{layer.where}: strides of {steps} along time; expected at most {MAX_STEPS} in all")
    raise NeedsSteps(layer, f"strides = {stride}", steps)


def window(b: Builder, layer: Layer, x: Tensor, axis: Axis, padding: str) -> tuple[str, int]:
    """(the timesteps that the windows of one frame lie on, one after another from the first one's start; how many
    frames fewer come out than there were)."""
    n_out, rows = divide(b, layer, x, axis.stride), x.rows
    missing = 0
    if x.padded != (0, 0):
        raise UnsupportedError(
            f"{layer.where}: padding of {x.padded} frames in a model that strides along time is not supported; "
            "expected padding = 'causal' or 'same'; or give the clip's size: shapes="
        )
    if padding == "causal":
        past = axis.reach - 1
    elif padding == "same":
        past = max(axis.reach - axis.stride, 0) // 2
    else:  # the outputs that the model has not are whole frames, or its last ones would come in the middle of one
        short = -(-(axis.reach - axis.stride) // axis.stride) if axis.reach > axis.stride else 0
        if short % n_out:
            raise UnsupportedError(
                f"{layer.where}: padding = 'valid' gives {short} outputs fewer, where {n_out} are in a frame; expected "
                "a multiple, or padding = 'causal' or 'same'; or give the clip's size: shapes="
            )
        missing = short // n_out
        past = missing * rows
    gate = b.gate(layer, x) if padding != "valid" else []  # padding stands beside the frames that x has
    return timesteps(b, layer, x, past, (n_out - 1) * axis.stride + axis.reach, gate), missing


def timesteps(b: Builder, layer: Layer, x: Tensor, past: int, n: int, gate: list[str]) -> str:
    """n timesteps on end, the first of which lies `past` before a frame's first."""
    rows = x.rows
    first = -past // rows
    taps = tuple(range(first, (n - 1 - past) // rows + 1))
    value = x.value
    if taps != (0,) or gate:
        value = b.graph.add("window", [value, *gate], name=f"{layer.name}_frames", attrs={"taps": taps})
    shape = b.graph.shape(x.value)[1:]
    places = np.arange(n * prod(shape)).reshape(n, *shape) + (-past - first * rows) * prod(shape)
    return gather(b.graph, value, places, f"{layer.name}_timesteps")


def output(b: Builder, x: Tensor) -> tuple[str, int]:
    """(the value that an output shows, without an axis for a single timestep; timesteps of it in a frame)."""
    if x.rows != 1 or not x.time:
        return x.value, max(1, x.rows if x.time else 1)
    shape = b.graph.shape(x.value)[1:]
    return gather(b.graph, x.value, np.arange(prod(shape)).reshape(shape), f"{x.value.rpartition('.')[0]}_timestep"), 1


def say(b: Builder, rates: set[int]) -> None:
    """Let the graph say how many timesteps go in and out.

    Raises:
        UnsupportedError: outputs give different numbers of them, or too many.
    """
    if b.steps is None:
        return
    if len(rates) > 1 or max(rates) > MAX_STEPS:
        raise UnsupportedError(
            f"outputs give {sorted(rates)} timesteps in a frame; expected the same number, at most {MAX_STEPS}"
        )
    b.graph.frames_in, b.graph.frames_out = b.steps, *rates
    b.graph.note(superframes.note(b.graph))
