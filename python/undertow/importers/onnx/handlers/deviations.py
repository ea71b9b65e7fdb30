# SPDX-License-Identifier: MIT
"""The variance over time: squares of how far each timestep is from the mean of all.

The mean is known with the last timestep, but the sum of the squares goes on from frame to frame: with another x it
grows by (x - the mean before) (x - the mean after), which is never negative, so nothing cancels. B. P. Welford, "Note
on a method for calculating corrected sums of squares and products", 1962. So what a mean was taken from is a
`Deviations` until its squares are summed up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..frames import emit
from ..frames.builder import Builder
from ..frames.context import Deviations, Mean, Walk
from ..frames.provenance import Tensor
from ..frames.time_windows import held_before
from .cumulative import SumSoFar, rows_of_frames
from .reduce import given_axes
from .shares import final

#: means that are remembered
_MAX_MEANS = 64
_LARGEST = float(np.finfo(np.float32).max)


def note_mean(walk: Walk, x: Tensor, time: int, mean: Tensor) -> None:
    """Remember that a tensor is the mean of another over time, and over nothing else."""
    if len(walk.means) < _MAX_MEANS and not walk.reading.fixed_time:
        walk.means.append(Mean(x, time, mean))


def differences(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """What a Sub makes of a tensor and its mean over time; None of anything else."""
    if node.op != "Sub" or len(operands) != 2 or not all(isinstance(o, Tensor) for o in operands):
        return None
    x, subtracted = operands
    for mean in walk.means:
        one = tuple(1 if axis == mean.time else n for axis, n in enumerate(mean.x.shape))
        if x.shape != mean.x.shape or subtracted.shape != one:
            continue
        if np.array_equal(x.codes, mean.x.codes) and np.array_equal(
            subtracted.codes.ravel(), mean.result.codes.ravel()
        ):
            return [Deviations(node, x, mean.time)]
    return None


def apply(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """What a node makes of deviations from a mean."""
    deviations = next(o for o in operands if isinstance(o, Deviations))
    if _squares(node, operands, deviations):
        return [replace(deviations, squared=True)]
    if node.op in ("ReduceMean", "ReduceSum") and deviations.squared and operands[0] is deviations:
        node.allow("axes", "keepdims", "noop_with_empty_axes")
        if given_axes(node, operands, len(deviations.x.shape)) == [deviations.time]:
            return [_summed(walk, node, deviations)]
    deviations.node.unsupported(
        "combines what is known only at the end of the sequence with every timestep (each with the mean over time); "
        "expected that the squares of the differences are averaged over time, and over nothing else"
    )


def _squares(node: OnnxNode, operands: list[Any], deviations: Deviations) -> bool:
    if deviations.squared or len(operands) != 2:
        return False
    if node.op == "Mul":
        return all(operand is deviations for operand in operands)
    exponent = operands[1]
    return (
        node.op == "Pow" and isinstance(exponent, np.ndarray) and exponent.size == 1 and float(exponent.ravel()[0]) == 2
    )


def _summed(walk: Walk, node: OnnxNode, deviations: Deviations) -> Tensor:
    """Squares summed up over time, or their mean."""
    x, time, builder = deviations.x, deviations.time, walk.builder
    if not x.codes.take([0], time).any():
        node.unsupported(f"works along axis {time} of {x.shape}, which is time and begins with padding")
    _, rows, late = rows_of_frames(walk, node, x, time)
    if any(builder.is_final(row) for row in rows):
        node.unsupported(f"works along axis {time} of {x.shape}, some of which is known at the end alone")
    walk.count(node, x.shape)
    squares, count = _squares_so_far(builder, [row.ravel() for row in rows], late)
    if node.op == "ReduceMean":
        squares = emit.elementwise(builder, "div", [squares, np.broadcast_to(count, squares.shape)])
    return final(builder, x, time, [], squares.reshape(rows[0].shape), bool(node.attrs.get("keepdims", 1)))


def _squares_so_far(builder: Builder, rows: list[np.ndarray], late: int) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the squared deviations of all rows so far from their mean; the number of rows, which is at least 1."""
    n = rows[0].size
    sums, squares, counts = (SumSoFar(builder, size, "deviations") for size in (n, n, 1))
    for register in (sums, squares, counts):
        builder.pooled.update(register.states)
    one, count = builder.constant(np.ones(1, np.float32)), counts.total
    for number, row in enumerate(rows):
        first = -((number - late) // len(rows))
        x = held_before(builder, row, first)
        before = _mean(builder, sums.total, counts.total)
        is_first = emit.elementwise(builder, "equal", [counts.total, builder.constant(np.zeros(1, np.float32))])
        before = emit.elementwise(builder, "where", [np.broadcast_to(is_first, (n,)), x, before])
        sums.add(x)
        counts.add(held_before(builder, one, first))
        after = _mean(builder, sums.total, counts.total)
        apart = [emit.elementwise(builder, "sub", [x, mean]) for mean in (before, after)]
        squares.add(emit.elementwise(builder, "mul", apart))
    for register in (sums, squares, counts):
        register.write()
    count = _at_least_one(builder, counts.total)
    return squares.total, count


def _mean(builder: Builder, total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return emit.elementwise(builder, "div", [total, np.broadcast_to(_at_least_one(builder, count), total.shape)])


def _at_least_one(builder: Builder, count: np.ndarray) -> np.ndarray:
    return emit.activation(builder, count, "clip", 1.0, _LARGEST)
