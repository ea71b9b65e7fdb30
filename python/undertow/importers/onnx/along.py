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

from . import codes, emit, limits
from .builder import ZERO
from .codes import Layout, Tensor
from .nodes import OnnxNode
from .walk import Walk
from .windows import Axis, taps


@dataclass
class _Frames:
    """Windows of frames: `table` has the shape of the operand, with size 1 along the batch and one entry for each tap
    along time; `real` says of each tap whether it is a frame of the sequence (an element that is 1 or 0), or is None
    where all of them are in every row that the model gives. The result has rows of `steps`."""

    tensor: Tensor
    layout: Layout
    axis: int
    table: np.ndarray
    taps: tuple[int, ...]
    real: np.ndarray | None
    steps: np.ndarray

    def result(self, elements: np.ndarray) -> Tensor:
        """The tensor of what was computed from the windows: elements with size 1 along time and batch."""
        outer = self.layout.outer
        shape = tuple(
            len(self.steps) if a == self.axis else self.tensor.shape[a] if a in outer else n
            for a, n in enumerate(elements.shape)
        )
        spread = [1] * len(shape)
        spread[self.axis] = -1
        items = self.layout.items.take([0], outer.index(self.axis))
        items = items.reshape([self.tensor.shape[a] if a in outer and a != self.axis else 1 for a in range(len(shape))])
        made = codes.encode(self.steps.reshape(spread), items, elements)
        labels = tuple(label if n == 1 else "" for label, n in zip(self.tensor.labels, shape, strict=True))
        return Tensor(np.broadcast_to(made, shape), labels, self.tensor.dtype)


def _frames(walk: Walk, node: OnnxNode, x: Tensor, axis: int, along: Axis) -> _Frames:
    """The frames that each row along time is made of. `axis` is that of the tensor, `along` its sizes."""
    builder = walk.builder
    if x.dtype != "float32":
        node.unsupported(f"its input has dtype {x.dtype}, expected float32")
    if along.stride != 1:
        node.unsupported(f"has a stride of {along.stride} along time (axis {axis} of {x.shape}), expected 1")
    filled = np.flatnonzero(x.codes.any(axis=tuple(a for a in range(x.codes.ndim) if a != axis)))
    first, end = int(filled[0]), int(filled[-1]) + 1
    before, after = along.before + first, along.after + along.n_in - end  # a Pad node may stand before this one
    inner = Tensor(x.codes.take(np.arange(first, end), axis), x.labels, x.dtype)
    layout, frame = inner.split()
    if 1 in layout.outer or x.labels[1]:
        node.unsupported("its channels are time (or the batch)")
    at = layout.outer.index(axis)
    steps = np.moveaxis(layout.steps, at, 0).reshape(end - first, -1)[:, 0]
    if (np.diff(steps) != 1).any() or steps[-1] != builder.n_steps - 1:
        some = steps.tolist() if len(steps) <= 8 else f"{steps[0]} to {steps[-1]} ({len(steps)} rows)"
        node.unsupported(f"works on timesteps {some} of {builder.n_steps}, expected all up to the last one")
    if before and steps[0] != 0:
        node.unsupported(
            f"pads the start of a sequence whose first {steps[0]} frames are missing (an earlier convolution "
            "along time has no padding), which is not supported"
        )
    if builder.is_final(frame):
        node.unsupported("its input joins what is known at the end of the sequence with every timestep")
    reach = (along.kernel - 1) * along.dilation
    if along.kernel > limits.MAX_TAPS:
        node.unsupported(f"has a window of {along.kernel} timesteps, expected at most {limits.MAX_TAPS}")
    if max(reach, before, after) * codes.n_elements(x.shape) > limits.MAX_WINDOW_ELEMENTS * builder.n_steps:
        node.unsupported(
            f"looks at {reach + 1} timesteps, padded with {before} and {after}, of an input of shape {x.shape}: "
            f"beyond {limits.MAX_WINDOW_ELEMENTS} elements"
        )
    shift = max(0, reach - before - after)
    offsets = tuple(i * along.dilation - before - shift for i in range(along.kernel))

    shape = [1 if a in layout.outer else n for a, n in enumerate(x.shape)]
    unique, inverse = np.unique(frame, return_inverse=True)
    some = unique[unique != ZERO]
    if some.size == 0:
        node.unsupported("its input is padding as a whole")
    walk.count(node, (len(offsets), frame.size))
    made = builder.elements(builder.add("window", [builder.value(some)], attrs={"taps": offsets}))
    made = made.reshape(len(offsets), -1)
    if some.size != unique.size:
        made = np.concatenate([np.full((len(offsets), 1), ZERO), made], axis=1)
    table = made[:, inverse.ravel()].reshape(len(offsets), *shape)
    table = np.moveaxis(table, 0, axis + 1).reshape([len(offsets) if a == axis else n for a, n in enumerate(shape)])
    real = None
    if before or after:
        one = builder.add("constant", [], weights={"value": np.ones(1, np.float32)})
        real = builder.elements(builder.add("window", [one], attrs={"taps": offsets})).ravel()
    rows = int(steps[0]) + shift + np.arange(along.n_out)
    walk.left_out = max(walk.left_out, int(rows[0]))
    return _Frames(inner, layout, axis, table, offsets, real, rows)


def _inside(frames: _Frames, axes: Sequence[Axis]) -> list[Axis]:
    """The axes inside of a frame that holds all taps of a window."""
    n = len(frames.taps)
    found = []
    for a, axis in enumerate(axes, 2):
        if a == frames.axis:
            axis = Axis(n, n, 1, 1, 0, 0, 1)
        elif a in frames.layout.outer:
            axis = replace(axis, n_in=1, n_out=1)
        found.append(axis)
    return found


def _check_batch(node: OnnxNode, frames: _Frames, axes: Sequence[Axis]) -> None:
    for a, axis in enumerate(axes, 2):
        if a in frames.layout.outer and a != frames.axis and not axis.is_trivial:
            node.unsupported(f"works along axis {a} of {frames.tensor.shape}, which is the batch")


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
    _check_batch(node, frames, axes)
    return frames.result(convolve(walk, node, frames.table, _inside(frames, axes), W, b, groups))


Compute = Callable[[Walk, OnnxNode, np.ndarray, np.ndarray, "list[Axis]"], np.ndarray]


def pool(walk: Walk, node: OnnxNode, x: Tensor, axes: Sequence[Axis], time: int, compute: Compute) -> Tensor:
    """A pool of which spatial axis `time` is time; `compute` is what computes one inside of a frame."""
    frames = _frames(walk, node, x, time + 2, axes[time])
    _check_batch(node, frames, axes)
    inner = _inside(frames, axes)
    counts_padding = node.op == "AveragePool" and bool(node.attrs.get("count_include_pad", 0))
    real = None if frames.real is None or counts_padding else _spread(frames, frames.real)
    if real is not None and node.op == "MaxPool":
        frames.table = _only_real(walk, node, frames, real)
    found, valid = taps(walk, node, frames.table, inner)
    n = len(inner)
    outputs = found.shape[2 : 2 + n]
    found = found.reshape(*found.shape[: 2 + n], -1)
    valid = np.broadcast_to(valid.reshape(*outputs, -1), (*outputs, found.shape[-1]))
    made = compute(walk, node, found, valid, inner)
    if real is not None and node.op == "AveragePool":
        # An average over all taps, as if none were padding, times their share.
        assert frames.real is not None
        count = emit.reduce(walk.builder, "sum", frames.real, [0])
        made = emit.affine(walk.builder, made, float(len(frames.taps)), 0.0)
        made = emit.elementwise(walk.builder, "div", [made, np.broadcast_to(count, made.shape)])
    return frames.result(made)


def _spread(frames: _Frames, of_taps: np.ndarray) -> np.ndarray:
    shape = [1] * frames.table.ndim
    shape[frames.axis] = -1
    return np.broadcast_to(of_taps.reshape(shape), frames.table.shape)


def _only_real(walk: Walk, node: OnnxNode, frames: _Frames, real: np.ndarray) -> np.ndarray:
    """The taps, of which those in the padding are the frame itself, which changes no maximum."""
    if 0 not in frames.taps:
        node.unsupported(f"pads time so that frame t is not in window t (it has the frames {frames.taps} after it)")
    itself = np.broadcast_to(frames.table.take([frames.taps.index(0)], frames.axis), frames.table.shape)
    return emit.elementwise(walk.builder, "where", [real, frames.table, itself])


def padding(node: OnnxNode, x: Tensor, made: Tensor, axis: int, widths: tuple[int, int], fill: int) -> Tensor:
    """`made` with frames of zeros (or fewer frames, where a width is negative) at the ends of its axis of time.

    Such a tensor has no meaning frame by frame. A convolution or pool along time takes the zeros for its own padding;
    whatever else computes with it is refused.
    """
    if fill != ZERO:
        node.unsupported(f"pads axis {axis} of {x.shape}, which is time, with another number than 0")
    before, after = widths
    table = made.codes.take(np.arange(max(0, -before), made.codes.shape[axis] - max(0, -after)), axis)
    ends = [(0, 0)] * table.ndim
    ends[axis] = (max(0, before), max(0, after))
    return Tensor(np.pad(table, ends), made.labels, made.dtype)


__all__ = ["convolution", "padding", "pool"]
