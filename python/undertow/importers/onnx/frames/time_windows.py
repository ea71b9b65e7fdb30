# SPDX-License-Identifier: MIT
"""ONNX convolutions, pools and padding along time: a `window` of frames, then what works inside of one frame.

A row of the result belongs to a timestep. Where padding makes as many rows as there are frames, row t is frame t, and
what lies behind it is look-ahead. Where rows are missing (no padding, or too little), they are the first ones: frame t
is that of the last window that ends at t or, as far as there is padding behind, after it. Where there are too many,
the last ones lie behind the end, and something has to cut them off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ....budget import room
from ..file import limits
from ..file.nodes import OnnxNode
from . import emit, provenance
from .boundary import Fill, filled, filling
from .builder import ZERO, Builder
from .context import Walk
from .provenance import Layout, Tensor, split
from .superframes import divided, rate_of
from .windows import Axis, integers, taps


def rows_of(like: Tensor, layout: Layout, axis: int, elements: np.ndarray, first: int, n_out: int) -> Tensor:
    """A tensor of n_out rows along time, of which the first is number `first` of the sequence, from the elements of a
    frame, which have size 1 along the batch. `like` has the batch and layout of the result."""
    outer, n_rows = layout.outer, elements.shape[axis]
    shape = tuple(n_out if a == axis else like.shape[a] if a in outer else n for a, n in enumerate(elements.shape))
    numbers = first + np.arange(n_out)
    spread = [1] * len(shape)
    spread[axis] = -1
    items = layout.items.take([0], outer.index(axis))
    items = items.reshape([like.shape[a] if a in outer and a != axis else 1 for a in range(len(shape))])
    room(elements.size // n_rows * numbers.size, provenance.COPIES * 8)
    codes = provenance.encode((numbers // n_rows).reshape(spread), items, elements.take(numbers % n_rows, axis))
    labels = tuple(label if n == 1 else "" for label, n in zip(like.labels, shape, strict=True))
    return Tensor(np.broadcast_to(codes, shape), labels, like.dtype)


@dataclass
class Operand:
    """What a window is taken of: `rate` rows in every frame, of which the first `late` of the sequence are missing;
    `rows` has the elements of each, `before` and `after` are the padding, of which a Pad node made `zeros`: zeros, or
    what `fills` says."""

    tensor: Tensor
    layout: Layout
    rows: list[np.ndarray]
    late: int
    before: int
    after: int
    zeros: tuple[int, int]
    fills: tuple[Fill | None, Fill | None] = (None, None)

    @property
    def rate(self) -> int:
        return len(self.rows)


def take(
    walk: Walk, node: OnnxNode, x: Tensor, axis: int, along: Axis, below: bool = False, fills: bool = False
) -> Operand:
    """Take the operand apart, or say why it is none. below: rows before its first one are read, and are zeros. fills: a
    Pad node may have made something else than zeros."""
    builder = walk.builder
    if x.dtype != "float32":
        node.unsupported(f"its input has dtype {x.dtype}, expected float32")
    given = np.flatnonzero(x.codes.any(axis=tuple(a for a in range(x.codes.ndim) if a != axis)))
    first, end = int(given[0]), int(given[-1]) + 1
    ends: list[Fill | None] = [None, None]
    if fills:
        (lead, ends[0]), (trail, ends[1]) = (filling(builder, x, axis, first, end, back) for back in (False, True))
        first, end = first + lead, end - trail
    zeros = first, along.n_in - end  # a Pad node may stand before this one
    inner = Tensor(x.codes.take(np.arange(first, end), axis), x.labels, x.dtype)
    n, of_time = end - first, np.moveaxis(inner.steps, axis, 0).reshape(end - first, -1)
    rate = int((of_time[:, 0] == of_time[-1, 0]).sum())
    late = rate * builder.n_steps - n
    parts = [
        split(inner.codes.take(np.arange((row - late) % rate, n, rate), axis), inner.labels) for row in range(rate)
    ]
    layout = parts[0][0]
    if 1 in layout.outer or x.labels[1]:
        node.unsupported("its channels are time (or the batch)")
    if late < 0 or (of_time != ((np.arange(n) + late) // rate)[:, None]).any():
        steps = np.unique(of_time)
        some = steps.tolist() if len(steps) <= 8 else f"{steps[0]} to {steps[-1]} ({len(steps)} frames)"
        node.unsupported(f"works on timesteps {some} of {builder.n_steps}, expected all up to the last one")
    rows = [elements for _, elements in parts]
    if any(builder.is_final(elements) for elements in rows):
        node.unsupported("its input joins what is known at the end of the sequence with every timestep")
    for fill, own, place in zip(ends, (along.before, along.after), ("in front", "behind"), strict=True):
        if fill is not None and (rate > 1 or own):
            node.unsupported(
                f"pads time (axis {axis} of {x.shape}) {place} with other numbers than 0"
                + (" in frames of several timesteps" if rate > 1 else " by a Pad node, and with zeros of its own")
            )
    if late and ends[0] is None and (along.before or first or below):
        rows = [held_before(builder, elements, -((row - late) // rate)) for row, elements in enumerate(rows)]
    return Operand(inner, layout, rows, late, along.before + first, along.after + zeros[1], zeros, (ends[0], ends[1]))


def held_before(builder: Builder, elements: np.ndarray, frame: int, value: float = 0.0) -> np.ndarray:
    """Elements that are a number before some frame of the sequence."""
    if frame <= 0:
        return elements
    there = np.broadcast_to(builder.elements(builder.exists(-frame)).reshape(()), elements.shape)
    held = builder.constant(np.array([value], np.float32)) if value else np.array([ZERO])
    return emit.elementwise(builder, "where", [there, elements, np.broadcast_to(held, elements.shape)])


@dataclass
class _Frames:
    """Windows of frames: `table` has the shape of the operand, with size 1 along the batch; along time it has the
    entries of one window after the other, of as many as a frame of the result has rows. places (rows, kernel): the
    operand's row that each entry is, counted from the first one of this frame. Row t of the result is number first + t
    of the sequence."""

    of: Operand
    axis: int
    table: np.ndarray
    places: np.ndarray
    first: int
    n_out: int

    @property
    def rows(self) -> int:
        return len(self.places)

    def result(self, elements: np.ndarray) -> Tensor:
        """The tensor of what was computed from the windows: elements with size 1 along the batch, `rows` along time."""
        return rows_of(self.of.tensor, self.of.layout, self.axis, elements, self.first, self.n_out)


def time_of(walk: Walk, node: OnnxNode, x: Tensor) -> int | None:
    """The spatial axis of a convolution or pool that is time, if one is.

    Raises:
        NeedsRate: the stride along it divides time further than this reading does.
    """
    time = walk.time_axis(x)
    if time is None or time < 2:
        return None
    axis_and_rate = rate_of(walk, x)
    n = len(x.shape) - 2
    divided(
        node, 1 if axis_and_rate is None else axis_and_rate[1], integers(node, "strides", n, 1)[time - 2], time, x.shape
    )
    return time - 2


def entries(walk: Walk, node: OnnxNode, of: Operand, axis: int, places: np.ndarray) -> np.ndarray:
    """The rows at `places`, counted from the first one of this frame, as a table with size 1 along the batch."""
    builder = walk.builder
    deltas, of_frame = np.divmod(places, of.rate)
    shape = [1 if a in of.layout.outer else n for a, n in enumerate(of.tensor.shape)]
    unique, inverse = np.unique(np.stack([row.ravel() for row in of.rows]), return_inverse=True)
    inverse = inverse.reshape(of.rate, -1)
    some = unique[unique != ZERO]
    if some.size == 0:
        node.unsupported("its input is padding as a whole")
    taps = tuple(int(d) for d in np.unique(deltas))
    if len(taps) > limits.MAX_TAPS:
        node.unsupported(f"has a window of {len(taps)} timesteps, expected at most {limits.MAX_TAPS}")
    if max(map(abs, taps)) * some.size > limits.MAX_WINDOW_ELEMENTS:
        node.unsupported(
            f"looks at timesteps from {taps[0]} to {taps[-1]} of a frame of {some.size} elements: beyond "
            f"{limits.MAX_WINDOW_ELEMENTS} elements"
        )
    walk.count(node, (len(taps), *some.shape))
    if taps == (0,):
        windowed = some[None]
    else:
        windowed = builder.elements(builder.add("window", [builder.value(some)], attrs={"taps": taps}))
    windowed = windowed.reshape(len(taps), -1)
    if some.size != unique.size:
        windowed = np.concatenate([np.full((len(taps), 1), ZERO), windowed], axis=1)
    tap = np.searchsorted(taps, deltas)
    walk.count(node, (tap.size, inverse.shape[1]))
    table = windowed[tap[:, None], inverse[of_frame]].reshape(tap.size, *shape)
    if of.fills != (None, None):
        table = filled(walk, node, of.fills, of.rows[0].reshape(shape), of.late, places, table)
    return np.moveaxis(table, 0, axis + 1).reshape([tap.size if a == axis else n for a, n in enumerate(shape)])


def _frames(walk: Walk, node: OnnxNode, x: Tensor, axis: int, along: Axis) -> _Frames:
    """The frames that each row along time is made of. `axis` is that of the tensor, `along` its sizes.

    Row t of the result is that of the window which begins at row late + (t - first) * stride - before of the operand.
    """
    of = take(walk, node, x, axis, along, fills=True)
    n_rows = divided(node, of.rate, along.stride, axis, x.shape)
    first = max(0, n_rows * walk.builder.n_steps - along.n_out)
    start = of.late - of.before - first * along.stride
    if along.kernel > limits.MAX_TAPS:
        node.unsupported(f"has a window of {along.kernel} timesteps, expected at most {limits.MAX_TAPS}")
    places = start + along.stride * np.arange(n_rows)[:, None] + along.dilation * np.arange(along.kernel)
    last = start + (first + along.n_out - 1) * along.stride + (along.kernel - 1) * along.dilation
    behind = last - (of.rate * walk.builder.n_steps - 1)
    if behind > of.after and node.op == "AveragePool" and node.attrs.get("count_include_pad", 0):
        node.unsupported("attributes ceil_mode and count_include_pad where a window along time ends behind the padding")
    table = entries(walk, node, of, axis, places.ravel())
    walk.left_out = max(walk.left_out, -(-first // n_rows))
    return _Frames(of, axis, table, places, first, along.n_out)


def _inside(frames: _Frames, axes: Sequence[Axis]) -> list[Axis]:
    """The axes inside of a frame that holds all taps of its windows."""
    n, kernel = frames.places.size, frames.places.shape[1]
    inner = []
    for a, axis in enumerate(axes, 2):
        if a == frames.axis:
            axis = Axis(n, kernel, kernel, 1, 0, 0, frames.rows)
        elif a in frames.of.layout.outer:
            axis = replace(axis, n_in=1, n_out=1)
        inner.append(axis)
    return inner


def check_batch(node: OnnxNode, of: Operand, axes: Sequence[Axis], time: int) -> None:
    for a, axis in enumerate(axes, 2):
        if a in of.layout.outer and a != time and not axis.is_trivial:
            node.unsupported(f"works along axis {a} of {of.tensor.shape}, which is the batch")


Convolve = Callable[[Walk, OnnxNode, np.ndarray, Sequence[Axis], np.ndarray, "np.ndarray | None", int], np.ndarray]


def convolution(
    walk: Walk,
    node: OnnxNode,
    x: Tensor,
    W: np.ndarray,
    b: np.ndarray | None,
    groups: int,
    axes: Sequence[Axis],
    time: int,
    convolve: Convolve,
) -> Tensor:
    """A convolution of which spatial axis `time` is time; `convolve` is what computes one inside of a frame."""
    frames = _frames(walk, node, x, time + 2, axes[time])
    check_batch(node, frames.of, axes, frames.axis)
    return frames.result(convolve(walk, node, frames.table, _inside(frames, axes), W, b, groups))


Compute = Callable[[Walk, OnnxNode, np.ndarray, np.ndarray, "list[Axis]"], np.ndarray]


def pool(walk: Walk, node: OnnxNode, x: Tensor, axes: Sequence[Axis], time: int, compute: Compute) -> Tensor:
    """A pool of which spatial axis `time` is time; `compute` is what computes one inside of a frame."""
    frames = _frames(walk, node, x, time + 2, axes[time])
    check_batch(node, frames.of, axes, frames.axis)
    inner = _inside(frames, axes)
    counts_padding = node.op == "AveragePool" and bool(node.attrs.get("count_include_pad", 0))
    real = None
    if node.op in ("MaxPool", "AveragePool") and not counts_padding:
        real, always = _real(walk, frames)
        if always.all():
            real = None
        elif node.op == "MaxPool":
            frames.table = _only_real(walk, node, frames, real, always)
    windows, valid = taps(walk, node, frames.table, inner)
    n = len(inner)
    outputs = windows.shape[2 : 2 + n]
    windows = windows.reshape(*windows.shape[: 2 + n], -1)
    valid = np.broadcast_to(valid.reshape(*outputs, -1), (*outputs, windows.shape[-1]))
    pooled = compute(walk, node, windows, valid, inner)
    if real is not None and node.op == "AveragePool":
        # An average over all taps, as if none were padding, times their share.
        count = emit.reduce(walk.builder, "sum", real, [1])
        spread = [-1 if a == frames.axis else 1 for a in range(pooled.ndim)]
        pooled = emit.affine(walk.builder, pooled, float(real.shape[1]), 0.0)
        pooled = emit.elementwise(walk.builder, "div", [pooled, np.broadcast_to(count.reshape(spread), pooled.shape)])
    return frames.result(pooled)


def _real(walk: Walk, frames: _Frames) -> tuple[np.ndarray, np.ndarray]:
    """Which entries of the windows are rows of the sequence or zeros of a Pad node, not the pool's own padding: (rows,
    kernel) elements that are 1 or 0, and where they are 1 in every row that the model gives."""
    of, builder = frames.of, walk.builder
    # It is one from frame `begin` of the sequence on, as long as frame t + end is one of it.
    begin = -((frames.places - (of.late - of.zeros[0])) // of.rate)
    end = -((of.zeros[1] + of.rate - 1 - frames.places) // of.rate)
    given_from = -((np.arange(frames.rows)[:, None] - frames.first) // frames.rows)
    starts = begin > np.maximum(given_from, 0)
    one = int(builder.constant(np.ones(1))[0])
    gates = []
    for shut, tap in ((starts, -begin), (end > 0, end)):
        of_tap = {int(t): int(builder.elements(builder.exists(int(t)))[0]) for t in np.unique(tap[shut])}
        gate = [of_tap[t] if s else one for t, s in zip(tap.ravel().tolist(), shut.ravel().tolist(), strict=True)]
        gates.append(np.array(gate, np.int64).reshape(tap.shape))
    both = (starts & (end > 0)).any()
    real = emit.elementwise(builder, "mul", gates) if both else np.where(starts, *gates)
    return real, ~(starts | (end > 0))


def _only_real(walk: Walk, node: OnnxNode, frames: _Frames, real: np.ndarray, always: np.ndarray) -> np.ndarray:
    """The entries, of which those in the padding are another one of their window, which changes no maximum."""
    for window in frames.places[~always.any(1)].tolist():
        node.unsupported(f"pads time so that rows {window}, counted from the frame's first one, may all be padding")
    other = always.argmax(1) + np.arange(frames.rows) * always.shape[1]
    shape = [1] * frames.table.ndim
    shape[frames.axis] = -1
    is_real = np.broadcast_to(real.reshape(shape), frames.table.shape)
    itself = frames.table.take(other.repeat(always.shape[1]), frames.axis)
    return emit.elementwise(walk.builder, "where", [is_real, frames.table, itself])


def padding(x: Tensor, axis: int, widths: tuple[int, int], fill: int | None) -> Tensor:
    """`x` with frames of zeros (or fewer frames, where a width is negative) at the ends of its axis of time; or of
    another constant, whose element number is `fill`; or of the frame at each end, where it is None.

    Such a tensor has no meaning frame by frame. A convolution or pool along time takes it for its own padding; whatever
    else computes with it is refused.
    """
    before, after = widths
    table = x.codes.take(np.arange(max(0, -before), x.codes.shape[axis] - max(0, -after)), axis)
    ends = [(0, 0)] * table.ndim
    ends[axis] = (max(0, before), max(0, after))
    padded = np.pad(table, ends, "edge") if fill is None else np.pad(table, ends, constant_values=fill)
    return Tensor(padded, x.labels, x.dtype)


__all__ = [
    "Operand",
    "check_batch",
    "convolution",
    "entries",
    "held_before",
    "padding",
    "pool",
    "rows_of",
    "take",
    "time_of",
]
