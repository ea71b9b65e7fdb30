# SPDX-License-Identifier: MIT
"""Convolution and pooling over the axes of one frame, as ops of the Graph.

A frame is (*axes, channels). A convolution gathers the window of every output (`select`, padding from a constant) and
multiplies all of them by one matrix (`dense` on rows); with a filter for each channel it is `depthwise`. Pooling
gathers the same windows and reduces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..budget import room
from ..errors import ShapeError, UnsupportedError
from .activations import IDENTITY, Activation
from .graph import Graph
from .ops import OPS

#: most elements that the windows of one layer may have together: what a step moves
MAX_WINDOWS = 1 << 24
#: the same for all layers of a graph together
MAX_ALL_WINDOWS = 1 << 26
#: most groups of a convolution that is not depthwise: each is a product of its own
MAX_GROUPS = 1024
#: windows up to which nobody looks at their sum
_SMALL = 1 << 12
#: tables of the same size that there are at a time
_COPIES = 2


@dataclass(frozen=True)
class Axis:
    """How a window moves along one axis: `size` taps, `dilation` apart, `stride` from output to output."""

    size: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def reach(self) -> int:
        """Positions from the first tap to the last one."""
        return (self.size - 1) * self.dilation + 1

    def n_out(self, n: int) -> int:
        return (n + self.before + self.after - self.reach) // self.stride + 1

    def same(self, n: int) -> Axis:
        """Padded so that there are ceil(n / stride) outputs, with the odd zero behind (TensorFlow's "same")."""
        total = max((-(-n // self.stride) - 1) * self.stride + self.reach - n, 0)
        return Axis(self.size, self.stride, self.dilation, total // 2, total - total // 2)

    def taps(self, n: int) -> np.ndarray:
        """(outputs, taps): the position under each tap; -1 for padding."""
        at = np.arange(self.n_out(n))[:, None] * self.stride + np.arange(self.size) * self.dilation - self.before
        return np.where((at >= 0) & (at < n), at, -1).astype(np.int32)


def windows(where: str, shape: tuple[int, ...], axes: Sequence[Axis]) -> tuple[tuple[int, ...], np.ndarray]:
    """(sizes of the output's axes, array (outputs, taps) of positions in a grid of `shape`, -1 for padding).

    Raises:
        ShapeError: a window that is longer than its axis, or windows beyond `MAX_WINDOWS`.
    """
    if len(axes) != len(shape):
        raise ShapeError(f"{where}: a window over {len(axes)} axes for a frame of {len(shape)} axes and channels")
    for n, axis in zip(shape, axes, strict=True):
        if min(axis.size, axis.stride, axis.dilation) < 1 or min(axis.before, axis.after) < 0:
            raise ShapeError(f"{where}: {axis} is not possible; size, stride and dilation must be at least 1")
        if axis.n_out(n) < 1:
            raise ShapeError(f"{where}: a window that reaches over {axis.reach} positions does not fit an axis of {n}")
    sizes = tuple(axis.n_out(n) for n, axis in zip(shape, axes, strict=True))
    if prod(sizes) * prod(axis.size for axis in axes) > MAX_WINDOWS:
        raise ShapeError(f"{where}: {sizes} windows of {[axis.size for axis in axes]} positions are too many")
    room(prod(sizes) * prod(axis.size for axis in axes), _COPIES * 4, where)
    positions = np.zeros((1, 1), np.int32)
    for n, axis in zip(shape, axes, strict=True):
        taps = axis.taps(n)
        both = positions[:, None, :, None] * n + taps[None, :, None, :]
        outside = (positions < 0)[:, None, :, None] | (taps < 0)[None, :, None, :]
        positions = np.where(outside, np.int32(-1), both).reshape(both.shape[0] * both.shape[1], -1)
    return sizes, positions


def gather(graph: Graph, x: str, positions: np.ndarray, name: str, padding: float = 0.0) -> str:
    """y.flat = x.flat[positions], and `padding` where a position is -1. What only moves x is moved through."""
    inputs, positions = _origin(graph, [x], positions)
    size = sum(graph.values[v].size for v in inputs)
    if positions.size > MAX_WINDOWS:
        raise ShapeError(f"{name}: {positions.size} elements of windows, expected at most {MAX_WINDOWS}")
    room(positions.size, _COPIES * 4, name)
    if positions.size > _SMALL:
        moved = sum(taken.size for node in graph.nodes if (taken := OPS[node.op].taken(node)) is not None)
        if moved + positions.size > MAX_ALL_WINDOWS:
            raise ShapeError(
                f"{name}: {positions.size} elements of windows after {moved} of other layers, expected at most "
                f"{MAX_ALL_WINDOWS} together"
            )
    if len(inputs) == 1 and positions.size == size and np.array_equal(positions.ravel(), np.arange(size)):
        if positions.shape == graph.shape(inputs[0]):
            return inputs[0]
        same: str = graph.add("reshape", inputs, name=name, attrs={"shape": positions.shape})
        return same
    if (positions < 0).any():
        value = np.full(1, padding, np.float32)
        inputs.append(graph.add("constant", [], name=f"{name}_padding", weights={"value": value}))
    indices = np.where(positions < 0, np.int32(size), positions.astype(np.int32, copy=False))
    y: str = graph.add("select", inputs, name=name, weights={"indices": indices})
    return y


def _origin(graph: Graph, inputs: list[str], positions: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The same elements, of the values that selections and views right before took them from."""
    by_output = {value: node for node in graph.nodes[-8:] for value in node.outputs}
    while len(inputs) == 1 and (node := by_output.get(inputs[0])) is not None:
        taken = OPS[node.op].taken(node)
        if taken is not None:
            positions = np.where(positions < 0, np.int32(-1), taken.ravel()[positions])
        elif not OPS[node.op].is_view:
            break
        inputs = list(node.inputs)
    return inputs, positions


def _with_channels(positions: np.ndarray, channels: np.ndarray, n_channels: int, name: str) -> np.ndarray:
    """(outputs, taps, channels): elements of a frame (*axes, n_channels), int32."""
    if positions.size * channels.size > MAX_WINDOWS:
        raise ShapeError(
            f"{name}: {len(positions)} windows of {positions.shape[1]} positions and {channels.size} channels are too "
            f"many; expected at most {MAX_WINDOWS} elements"
        )
    room(positions.size * channels.size, _COPIES * 4, name)
    elements = positions[..., None] * np.int32(n_channels) + channels.astype(np.int32)
    return np.where(positions[..., None] < 0, np.int32(-1), elements)


def convolve(
    graph: Graph,
    x: str,
    W: np.ndarray,
    b: np.ndarray | None,
    axes: Sequence[Axis],
    *,
    name: str,
    groups: int = 1,
    activation: Activation = IDENTITY,
) -> str:
    """A convolution (a correlation, as in every framework) over the axes of a frame.

    Args:
        x: a value of shape (*axes, channels).
        W: (*window, channels / groups, outputs); outputs of one group stand together.
        b: (outputs,), or None.

    Returns:
        A value of shape (*axes of the output, outputs).

    Raises:
        ShapeError: shapes that do not fit together.
    """
    *grid, n_channels = graph.shape(x)
    n_out = W.shape[-1]
    kernel = tuple(axis.size for axis in axes)
    if groups < 1 or n_channels % groups or n_out % groups or W.shape[:-1] != (*kernel, n_channels // groups):
        raise ShapeError(
            f"{name}: a kernel of shape {W.shape} in {groups} groups for a frame of shape {graph.shape(x)}; "
            f"expected (*{kernel}, {n_channels} / groups, outputs)"
        )
    if MAX_GROUPS < groups < n_channels:
        raise UnsupportedError(f"{name}: {groups} groups are not supported; expected at most {MAX_GROUPS}")
    sizes, positions = windows(name, tuple(grid), axes)
    filters = np.asarray(W, np.float64).reshape(-1, n_channels // groups, n_out)
    if groups > 1 and groups == n_channels:
        y = _depthwise(graph, x, filters[:, 0], b, positions, activation, name)
    else:
        y = _grouped(graph, x, filters, b, positions, groups, activation, name)
    return gather(graph, y, np.arange(prod(sizes) * n_out).reshape(*sizes, n_out), f"{name}_grid")


def _depthwise(
    graph: Graph, x: str, filters: np.ndarray, b: np.ndarray | None, positions: np.ndarray, act: Activation, name: str
) -> str:
    n_channels, n_out = graph.shape(x)[-1], filters.shape[-1]
    channels = np.repeat(np.arange(n_channels), n_out // n_channels)
    rows = gather(graph, x, _with_channels(positions, channels, n_channels, name), f"{name}_windows")
    weights = {"W": filters} if b is None else {"W": filters, "b": b}
    y: str = graph.add("depthwise", [rows], name=name, attrs={"activation": act}, weights=weights)
    return y


def _grouped(
    graph: Graph,
    x: str,
    filters: np.ndarray,
    b: np.ndarray | None,
    positions: np.ndarray,
    groups: int,
    act: Activation,
    name: str,
) -> str:
    n_channels, n_out = graph.shape(x)[-1], filters.shape[-1]
    taken, given = n_channels // groups, n_out // groups
    parts = []
    for g in range(groups):
        part = name if groups == 1 else f"{name}_group{g}"
        elements = _with_channels(positions, np.arange(g * taken, (g + 1) * taken), n_channels, name)
        rows = gather(graph, x, elements.reshape(len(positions), -1), f"{part}_windows")
        own = slice(g * given, (g + 1) * given)
        weights = {"W": filters[..., own].reshape(-1, given).T}
        if b is not None:
            weights["b"] = np.asarray(b)[own]
        parts.append(graph.add("dense", [rows], name=part, attrs={"activation": act}, weights=weights))
    if groups == 1:
        return str(parts[0])
    order = np.arange(groups * len(positions) * given).reshape(groups, len(positions), given).transpose(1, 0, 2)
    joined: str = graph.add(
        "select", parts, name=name, weights={"indices": order.reshape(len(positions), n_out).astype(np.int32)}
    )
    return joined


def pool(graph: Graph, x: str, kind: str, axes: Sequence[Axis], *, name: str, count_padding: bool = False) -> str:
    """The maximum or mean of every window.

    Args:
        x: a value of shape (*axes, channels).
        kind: "max" or "average".
        count_padding: whether a mean counts padding among the elements it divides by (torch's default; not Keras's).

    Raises:
        ShapeError: shapes that do not fit together, or a window of nothing but padding.
        UnsupportedError: another `kind`.
    """
    if kind not in ("max", "average"):
        raise UnsupportedError(f"{name}: pooling {kind!r} is not supported; expected 'max' or 'average'")
    *grid, n_channels = graph.shape(x)
    sizes, positions = windows(name, tuple(grid), axes)
    inside = (positions >= 0).sum(axis=1)
    if not inside.all():
        raise ShapeError(f"{name}: a window lies in the padding alone")
    if kind == "max":  # an element of the window again, instead of padding
        positions = np.where(positions < 0, positions.max(axis=1, keepdims=True), positions)
    elements = _with_channels(positions, np.arange(n_channels), n_channels, name)
    rows = gather(graph, x, elements, f"{name}_windows")
    y: str = graph.add("reduce", [rows], name=name, attrs={"kind": "max" if kind == "max" else "sum"})
    if kind == "average":
        divisor = np.full(len(positions), positions.shape[1]) if count_padding else inside
        scale = np.broadcast_to((1.0 / divisor)[:, None], (len(positions), n_channels))
        weights = {"scale": scale, "shift": np.zeros(scale.shape)}
        y = graph.add("affine", [y], name=f"{name}_mean", weights=weights)
    return gather(graph, y, np.arange(prod(sizes) * n_channels).reshape(*sizes, n_channels), f"{name}_grid")
