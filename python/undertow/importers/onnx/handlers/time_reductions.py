# SPDX-License-Identifier: MIT
"""Reductions over time: of the frames so far, which at the end of a sequence are all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..frames import emit
from ..frames.builder import Builder
from ..frames.context import Walk
from ..frames.integers import KINDS, WHOLE, bound, kind, whole
from ..frames.provenance import Tensor
from ..frames.time_windows import held_before
from .cumulative import SumSoFar, along_time, read, rows_of_frames, write
from .deviations import note_mean
from .pooling import global_average_pool, global_lp_pool, global_max_pool
from .reduce import REDUCTIONS, check_axes, given_axes
from .reduce import reduction as in_frame
from .shares import final, log_sum_exp

Rows = list[np.ndarray]


def _square(builder: Builder, table: np.ndarray) -> np.ndarray:
    return emit.elementwise(builder, "mul", [table, table])


def _absolute(builder: Builder, table: np.ndarray) -> np.ndarray:
    return emit.activation(builder, table, "abs")


def _root(builder: Builder, table: np.ndarray) -> np.ndarray:
    return emit.activation(builder, table, "sqrt")


def _log(builder: Builder, table: np.ndarray) -> np.ndarray:
    return emit.activation(builder, table, "log")


def _sum(walk: Walk, rows: Rows, late: int) -> np.ndarray:
    """The sum of all rows so far."""
    so_far = SumSoFar(walk.builder, rows[0].size, "sum")
    walk.builder.pooled.update(so_far.states)
    for row, elements in enumerate(rows):
        so_far.add(held_before(walk.builder, elements, -((row - late) // len(rows))))
    so_far.write()
    return so_far.total


def _mean(walk: Walk, rows: Rows, late: int) -> np.ndarray:
    """Their sum over their number, which is at least 1: before the first row there is nothing."""
    builder, total = walk.builder, _sum(walk, rows, late)
    if late == 0:
        count = _sum(walk, [builder.constant(np.array([len(rows)], np.float32))], 0)
    else:
        one = builder.constant(np.ones(1, np.float32))
        count = _sum(walk, [one] * len(rows), late)
        count = emit.activation(builder, count, "clip", 1.0, float(np.finfo(np.float32).max))
    return emit.elementwise(builder, "div", [total, np.broadcast_to(count, total.shape)])


def _extreme(op: str, before: float) -> Callable[[Walk, Rows, int], np.ndarray]:
    """The largest, or smallest, of all rows so far."""

    def extreme(walk: Walk, rows: Rows, late: int) -> np.ndarray:
        builder, n = walk.builder, rows[0].size
        state = builder.graph.state(f"{builder.name(op)}.so_far", (n,), np.full(n, before, np.float32))
        builder.pooled.add(state)
        so_far = read(builder, state)
        for row, elements in enumerate(rows):
            elements = held_before(builder, elements, -((row - late) // len(rows)), before)
            so_far = emit.elementwise(builder, op, [so_far, elements])
        write(builder, state, so_far)
        return so_far

    return extreme


def _log_sum_exp(walk: Walk, rows: Rows, late: int) -> np.ndarray:
    return log_sum_exp(walk.builder, rows, late)


_LARGEST = float(np.finfo(np.float32).max)
_Unary = Callable[[Builder, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Reduction:
    """f(over time of (of a frame of g(x)))"""

    of_frame: Callable[[Builder, np.ndarray, list[int]], np.ndarray]
    over_time: Callable[[Walk, Rows, int], np.ndarray]
    g: _Unary | None = None
    f: _Unary | None = None


def _of_frame(kind: str) -> Callable[[Builder, np.ndarray, list[int]], np.ndarray]:
    return lambda builder, table, axes: emit.reduce(builder, kind, table, axes)


_MEAN = _Reduction(emit.mean, _mean)
_MAX = _Reduction(_of_frame("max"), _extreme("max", -_LARGEST))
_OVER_TIME = {
    "ReduceSum": _Reduction(_of_frame("sum"), _sum),
    "ReduceMean": _MEAN,
    "ReduceMax": _MAX,
    "GlobalAveragePool": _MEAN,
    "GlobalMaxPool": _MAX,
    "ReduceMin": _Reduction(_of_frame("min"), _extreme("min", _LARGEST)),
    "ReduceL1": _Reduction(_of_frame("sum"), _sum, g=_absolute),
    "ReduceL2": _Reduction(_of_frame("sum"), _sum, g=_square, f=_root),
    "ReduceSumSquare": _Reduction(_of_frame("sum"), _sum, g=_square),
    "ReduceLogSum": _Reduction(_of_frame("sum"), _sum, f=_log),
    "ReduceLogSumExp": _Reduction(REDUCTIONS["ReduceLogSumExp"], _log_sum_exp),
}


#: what is the same of a sequence and of itself twice over
_OF_ANY_LENGTH = ("ReduceMean", "ReduceMax", "ReduceMin", "GlobalAveragePool", "GlobalMaxPool")
_GLOBAL_POOLS = {
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
}


def reduction(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """A node of a reduction: over time, or over axes of a frame alone."""
    x = operands[0]
    if isinstance(x, Tensor) and kind(x.dtype) in KINDS and node.op in ("ReduceMax", "ReduceMin", "ReduceSum"):
        return _of_integers(walk, node, x, operands[1:])
    if isinstance(x, Tensor) and x.dtype == "float32":
        axes = given_axes(node, operands, len(x.shape)) or []
        if times := [axis for axis in axes if along_time(walk, x, axis)]:
            node.allow("axes", "keepdims", "noop_with_empty_axes")
            rest = [axis for axis in axes if axis not in times]
            return [_over_time(walk, node, x, times[0], rest, bool(node.attrs.get("keepdims", 1)))]
    return in_frame(walk, node, operands)


def _of_integers(walk: Walk, node: OnnxNode, x: Tensor, rest: list[Any]) -> list[Any]:
    """Of whole numbers and booleans, which float32 frames hold: any, all, how many."""
    (result,) = reduction(walk, node, [Tensor(x.codes, x.labels), *rest])
    if node.op != "ReduceSum":
        return [Tensor(result.codes, result.labels, x.dtype)]
    axes = given_axes(node, [x, *rest], len(x.shape)) or []
    if any(along_time(walk, x, axis) for axis in axes):  # nothing bounds how many; exact up to 2^24
        return [Tensor(result.codes, result.labels, WHOLE)]
    n_added = x.codes.size // max(result.codes.size, 1)
    return [Tensor(result.codes, result.labels, whole(node, n_added * bound(x.dtype)))]


def global_pool(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """A pool over all axes behind the channels: over time, or over axes of a frame alone."""
    x = operands[0]
    if isinstance(x, Tensor) and x.dtype == "float32":
        axes = range(2, len(x.shape))
        if times := [axis for axis in axes if along_time(walk, x, axis)]:
            node.allow("p")
            return [_over_time(walk, node, x, times[0], [axis for axis in axes if axis not in times], True)]
    return _GLOBAL_POOLS[node.op](walk, node, operands)


def _over_time(walk: Walk, node: OnnxNode, x: Tensor, time: int, axes: list[int], keep: bool) -> Tensor:
    """A reduction over time, and over `axes` of the frame beside it."""
    reduction = _OVER_TIME.get(node.op)
    if reduction is None:
        node.unsupported(f"works along axis {time} of {x.shape}, which is time")
    if walk.reading.fixed_time and node.op not in _OF_ANY_LENGTH:
        node.unsupported(
            f"adds up axis {time} of {x.shape}, which is time and all of the file: nothing tells whether the sum is "
            "divided by their number"
        )
    if not x.codes.take([0], time).any():
        node.unsupported(f"works along axis {time} of {x.shape}, which is time and begins with padding")
    builder = walk.builder
    layout, rows, late = rows_of_frames(walk, node, x, time)
    if any(builder.is_final(row) for row in rows):
        node.unsupported(f"works along axis {time} of {x.shape}, some of which is known at the end alone")
    if axes:
        check_axes(walk, node, x, layout, axes)
    walk.count(node, x.shape)
    shape = tuple(1 if a in axes else n for a, n in enumerate(rows[0].shape))
    if reduction.g is not None:
        rows = [reduction.g(builder, row) for row in rows]
    if axes:
        rows = [reduction.of_frame(builder, row, axes) for row in rows]
    result = reduction.over_time(walk, [row.ravel() for row in rows], late)
    if reduction.f is not None:
        result = reduction.f(builder, result)
    pooled = final(builder, x, time, axes, result.reshape(shape), keep)
    if reduction is _MEAN and not axes:
        note_mean(walk, x, time, pooled)
    return pooled


__all__ = ["global_pool", "reduction"]
