# SPDX-License-Identifier: MIT
"""Several timesteps in one frame of the Graph: tensors along whose axis of time every frame has `rate` rows.

Where strides divide time, one frame of the Graph is a super-frame of S = `Reading.frames` timesteps of the inputs:
timestep t is row t mod S of frame t // S. What was strided by s has S / s rows a frame. Movement ops need not know; a
convolution or a cell along time looks for the rate itself; for an op that computes row by row, the axis of time is
taken apart into frames and rows, and the rows are an axis of the frame like any other.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..retry import Retry
from . import provenance
from .context import Walk
from .provenance import Layout, Tensor

#: timesteps in one frame, at most
MAX_FRAMES = 4096


class NeedsRate(Retry):
    """A node needs `factor` times as many timesteps in a frame."""

    def __init__(self, message: str, factor: int) -> None:
        super().__init__(message)
        self.factor = factor


def divided(node: OnnxNode, rate: int, stride: int, axis: int, shape: tuple[int, ...]) -> int:
    """Rows in a frame after a stride.

    Raises:
        NeedsRate: the stride does not divide the rows.
    """
    if rate % stride:
        raise NeedsRate(
            f"{node.where}: has a stride of {stride} along time (axis {axis} of {shape}), expected 1 "
            "where the model is not read in frames of several timesteps, which needs an axis of time of open size",
            stride // gcd(rate, stride),
        )
    return rate // stride


def rate_of(walk: Walk, tensor: Any) -> tuple[int, int] | None:
    """(axis of time, rows of a frame along it), if these are more than one."""
    if not walk.has_rates or not isinstance(tensor, Tensor) or tensor.codes.size == 0:
        return None
    steps = tensor.steps
    varying = [a for a in range(steps.ndim) if (steps != steps.take([0], a)).any()]
    if len(varying) != 1:
        return None
    axis = varying[0]
    origin = (tensor.codes - tensor.elements).swapaxes(0, axis)
    row = origin.reshape(len(origin), -1)[:, 0]
    row = row[row != 0]  # without the padding
    changes = np.flatnonzero(np.diff(row))
    rate = int(np.diff(changes, prepend=-1, append=row.size - 1).max())  # frames at the ends may not be complete
    return (axis, rate) if rate > 1 else None


def stretch(walk: Walk, node: OnnxNode, operands: list[Any]) -> int:
    """How many times as many rows a frame needs for a slice that takes every k-th timestep, or a reshape that makes one
    of k: 1 where it is neither, or they are there."""
    data = operands[0]
    if not walk.builder.sequence or walk.reading.fixed_time or not isinstance(data, Tensor) or not data.codes.size:
        return 1
    steps = data.steps
    varying = [a for a in range(steps.ndim) if (steps != steps.take([0], a)).any()]
    if len(varying) != 1:
        return 1
    axis_and_rate = rate_of(walk, data)
    rate = 1 if axis_and_rate is None else axis_and_rate[1]
    k = 1
    if node.op == "Slice" and len(operands) > 4 and all(isinstance(o, np.ndarray) for o in operands[3:5]):
        axes = operands[3].ravel() % steps.ndim
        k = max((abs(int(s)) for a, s in zip(axes, operands[4].ravel(), strict=True) if a == varying[0]), default=1)
    elif node.op == "Reshape" and isinstance(operands[1], np.ndarray) and operands[1].size:
        last, wanted = data.shape[-1], int(operands[1].ravel()[-1])
        k = wanted // last if varying[0] != steps.ndim - 1 and wanted > last and wanted % last == 0 else 1
    return k // gcd(rate, k)


def unfold(tensor: Tensor, axis: int, rate: int) -> tuple[Tensor, int] | None:
    """Time of several rows in a frame as two axes (frames, rows), and how many rows the first frame lacks, which are
    filled in as those of the second are; None where a frame in between, or the last one, is not complete."""
    table, shape = tensor.codes, tensor.shape
    head = -shape[axis] % rate
    if head:
        if shape[axis] < 2 * rate:
            return None
        index = np.arange(rate - head, rate)
        first = table.take([0], axis)
        filled = (first - (first & provenance._ELEMENT)) | (table.take(index, axis) & provenance._ELEMENT)
        table = np.concatenate([filled, table], axis)
    unfolded = table.reshape(*shape[:axis], table.shape[axis] // rate, rate, *shape[axis + 1 :])
    origin = unfolded - (unfolded & provenance._ELEMENT)
    if (origin != origin.take([0], axis + 1)).any():
        return None
    return Tensor(unfolded, (*tensor.labels[: axis + 1], "", *tensor.labels[axis + 1 :]), tensor.dtype), head


def fold(tensor: Tensor, rate: int, head: int = 0) -> Tensor:
    """The reverse, for the axis of time of what was computed: the rows of a frame follow it."""
    steps, shape = tensor.steps, tensor.shape
    axis = next(a for a in range(steps.ndim) if (steps != steps.take([0], a)).any())
    if shape[axis + 1] != rate:
        raise provenance.Mixed(f"a tensor of shape {shape} has lost the {rate} rows of a frame")
    codes = tensor.codes.reshape(*shape[:axis], shape[axis] * rate, *shape[axis + 2 :])
    codes = codes[(slice(None),) * axis + (slice(head, None),)]
    return Tensor(codes, (*tensor.labels[: axis + 1], *tensor.labels[axis + 2 :]), tensor.dtype)


def rows(tensor: Tensor, axis: int, rate: int, whole: bool = True) -> tuple[Layout, list[np.ndarray]]:
    """The layout of one row of every frame, and the elements of each row. whole: no frame may lack rows; otherwise the
    first one may lack its first rows.

    Raises:
        Mixed: there are no such rows.
    """
    unfolded = unfold(tensor, axis, rate)
    if unfolded is None or (whole and unfolded[1]):
        raise provenance.Mixed(
            f"axis {axis} of shape {tensor.shape} is time with {rate} rows in a frame, but frames at its ends are not "
            "complete (a convolution along time has too little or too much padding)"
        )
    parts = [provenance.split(unfolded[0].codes.take(i, axis + 1), tensor.labels) for i in range(rate)]
    return parts[0][0], [elements for _, elements in parts]


__all__ = ["MAX_FRAMES", "NeedsRate", "divided", "fold", "rate_of", "rows", "stretch", "unfold"]
