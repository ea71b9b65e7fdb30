# SPDX-License-Identifier: MIT
"""Sums along time: registers that every frame adds its rows to, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.sums import compensated
from ..file import limits
from ..file.nodes import OnnxNode
from ..frames import emit, provenance
from ..frames.builder import ZERO, Builder
from ..frames.context import Walk
from ..frames.provenance import Layout, Mixed, Tensor
from ..frames.superframes import rate_of
from ..frames.time_windows import held_before, rows_of
from .reduce import axis_of, check_axes, take_apart


def along_time(walk: Walk, x: Tensor, axis: int) -> bool:
    """Whether `axis` of a tensor is time."""
    return walk.builder.sequence and x.codes.size > 0 and bool((x.steps != x.steps.take([0], axis)).any())


def cumsum(walk: Walk, node: OnnxNode, x: Tensor, axis: int) -> Tensor:
    """The sums of a CumSum node whose axis is time.

    A sum is zero before its first row. Rows of zeros that a Pad node put there stay zeros; a frame that the sequence
    does not have (a convolution without padding leaves it out) adds nothing.
    """
    if node.attrs.get("reverse", 0):
        node.unsupported(
            f"attribute reverse=1 along axis {axis} of {x.shape}, which is time, needs the whole sequence before its "
            "first sum; expected 0"
        )
    filled = np.flatnonzero(x.codes.any(axis=tuple(a for a in range(len(x.shape)) if a != axis)))
    first = int(filled[0])
    inner = Tensor(x.codes.take(np.arange(first, x.shape[axis]), axis), x.labels, x.dtype)
    layout, rows, late = rows_of_frames(walk, node, inner, axis)
    builder = walk.builder
    if any(builder.is_final(row) for row in rows):
        node.unsupported("sums up along time what is known at the end of the sequence only")
    walk.count(node, x.shape)
    sums = _sums(walk, rows, late, bool(node.attrs.get("exclusive", 0)))
    summed = rows_of(inner, layout, axis, np.concatenate(sums, axis), late, inner.shape[axis])
    if first == 0:
        return summed
    ends = [(first, 0) if a == axis else (0, 0) for a in range(len(x.shape))]
    return Tensor(np.pad(summed.codes, ends), summed.labels, summed.dtype)


def rows_of_frames(walk: Walk, node: OnnxNode, x: Tensor, axis: int) -> tuple[Layout, list[np.ndarray], int]:
    """The layout of one row of every frame, the elements of each row of a frame (size 1 along the batch and time), and
    how many rows the first frames lack."""
    axis_and_rate = rate_of(walk, x)
    rate = 1 if axis_and_rate is None else axis_and_rate[1]
    n = x.shape[axis]
    late = rate * walk.builder.n_steps - n
    if late > rate * walk.left_out and walk.reading.fixed_time:
        node.unsupported(f"works on the last {n} of {rate * walk.builder.n_steps} timesteps, which are all of the file")
    times = np.moveaxis(x.steps, axis, 0).reshape(n, -1)
    if late < 0 or (times != ((np.arange(n) + late) // rate)[:, None]).any():
        steps = np.unique(times)
        node.unsupported(
            f"sums up timesteps {steps[0]} to {steps[-1]} of {walk.builder.n_steps} (-1: none, as padding behind the "
            "end), expected all up to the last one, in order"
        )
    parts = [provenance.split(x.codes.take(np.arange((r - late) % rate, n, rate), axis), x.labels) for r in range(rate)]
    walk.begins_at = max(walk.begins_at, -(-late // rate))
    layout = parts[0][0]
    if axis not in layout.outer:
        raise Mixed(f"axis {axis} of shape {x.shape} has fewer than two frames to sum up")
    shape = [1 if a in layout.outer else size for a, size in enumerate(x.shape)]
    return layout, [elements.reshape(shape) for _, elements in parts], late


class SumSoFar:
    """A register that terms are added to, and one for what rounding took from it."""

    def __init__(self, builder: Builder, n: int, name: str = "cumsum") -> None:
        self.builder, name = builder, builder.name(name)
        self.states = [builder.graph.state(f"{name}.{what}", (n,)) for what in ("sum", "excess")]
        self.total, self.excess = (read(builder, state) for state in self.states)

    def add(self, elements: np.ndarray, decay: np.ndarray | None = None) -> np.ndarray:
        """The sum so far, times `decay`, and elements."""
        builder = self.builder
        if decay is not None:
            self.total, self.excess = (
                emit.elementwise(builder, "mul", [sums, decay]) for sums in (self.total, self.excess)
            )
        self.total, self.excess = compensated(
            lambda op, values, _: emit.elementwise(builder, op, list(values)),
            self.total,
            self.excess,
            elements,
            np.full(elements.shape, ZERO),
        )
        return self.total

    def write(self) -> None:
        for state, elements in zip(self.states, (self.total, self.excess), strict=True):
            write(self.builder, state, elements)


def read(builder: Builder, state: str) -> np.ndarray:
    return builder.elements(builder.graph.add("state_read", [], name=builder.name("read"), states=[state]))


def write(builder: Builder, state: str, elements: np.ndarray) -> None:
    value = builder.value(elements, builder.graph.states[state].shape)
    builder.graph.add("state_write", [value], name=builder.name("write"), states=[state])


def _sums(walk: Walk, rows: list[np.ndarray], late: int, exclusive: bool) -> list[np.ndarray]:
    """For each row of a frame, the sum up to it. Equal elements are summed up once."""
    builder, rate = walk.builder, len(rows)
    unique, inverse = np.unique(np.stack(rows).reshape(rate, -1), axis=1, return_inverse=True)
    so_far = SumSoFar(builder, unique.shape[1])
    sums = []
    for row, elements in enumerate(unique):
        before = so_far.total
        total = so_far.add(held_before(builder, elements, -((row - late) // rate)))
        sums.append((before if exclusive else total)[inverse.reshape(-1)].reshape(rows[row].shape))
    so_far.write()
    return sums


def cumulative_sum(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """A register where time is summed along, else a dense layer whose weight is a triangle of ones."""
    node.allow("exclusive", "reverse")
    x = operands[0]
    axis = axis_of(node, x, given=operands[1])
    if isinstance(x, Tensor) and x.dtype == "float32" and along_time(walk, x, axis):
        return [cumsum(walk, node, x, axis)]
    layout, elements = take_apart(walk, node, x)
    check_axes(walk, node, x, layout, [axis])
    walk.count(node, x.shape)
    n = x.shape[axis]
    if n > limits.MAX_SCAN:
        node.unsupported(f"sums along {n} elements, at most {limits.MAX_SCAN} are supported")
    triangle = np.tri(n, k=-1 if node.attrs.get("exclusive", 0) else 0, dtype=np.float32)
    if node.attrs.get("reverse", 0):
        triangle = triangle[::-1, ::-1]
    place = layout.frame.index(axis)
    sums = emit.dense(walk.builder, np.moveaxis(elements, place, -1), triangle)
    return [layout.tensor(np.moveaxis(sums, -1, place))]
