# SPDX-License-Identifier: MIT
"""Where the windows of convolutions and pools lie: sizes, strides, dilations and padding of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ....budget import room
from ....errors import ShapeError
from ..file import limits
from ..file.nodes import OnnxNode
from ..retry import Retry
from .builder import ZERO
from .context import Length, Walk
from .provenance import Layout, Tensor


class TooShort(Retry):
    """A window does not fit; along time it might, with more of it than was tried."""

    public = ShapeError


@dataclass(frozen=True)
class Axis:
    """One spatial axis: n_in elements, padded at both ends, of which windows of `kernel` taps are taken."""

    n_in: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    n_out: int

    @property
    def is_trivial(self) -> bool:
        """Whether each window is the element at its place."""
        return self.kernel == self.stride == 1 and self.before == self.after == 0

    @property
    def places(self) -> np.ndarray:
        """(n_out, kernel): the element that each tap of each window meets; outside of 0 .. n_in - 1 it is padding."""
        starts = np.arange(self.n_out)[:, None] * self.stride - self.before
        return starts + np.arange(self.kernel)[None, :] * self.dilation


def integers(node: OnnxNode, key: str, n: int, default: int, low: int = 1) -> list[int]:
    """An attribute of one whole number per axis."""
    values = [int(v) for v in node.attrs.get(key, [default] * n)]
    if len(values) != n:
        node.shape_error(f"attribute {key}={values} has {len(values)} numbers, expected {n}")
    if min(values, default=low) < low or max(values, default=low) > limits.MAX_REACH:
        node.unsupported(
            f"attribute {key}={values} is not supported, expected numbers from {low} to {limits.MAX_REACH}"
        )
    return values


def paddings(node: OnnxNode, n: int) -> list[int]:
    """The attribute pads: n numbers of elements before, n after."""
    return integers(node, "pads", 2 * n, 0, 0)


def window_axes(node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    """The spatial axes of a Conv or pool node, from its attributes; output sizes as the ONNX specification has them."""
    n = len(sizes)
    strides, dilations = integers(node, "strides", n, 1), integers(node, "dilations", n, 1)
    pads = paddings(node, n)
    auto = node.attrs.get("auto_pad", "NOTSET") or "NOTSET"
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        node.unsupported(f"attribute auto_pad={auto!r} is not supported")
    if auto != "NOTSET" and any(pads):
        node.unsupported(f"attributes auto_pad={auto!r} and pads={pads} exclude each other")
    ceil_mode = bool(node.attrs.get("ceil_mode", 0))
    axes = []
    for i, (size, taps) in enumerate(zip(sizes, kernel, strict=True)):
        reach = (taps - 1) * dilations[i] + 1
        before, after = pads[i], pads[n + i]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            n_out = -(-size // strides[i])
            total = max(0, (n_out - 1) * strides[i] + reach - size)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after = total - before
        else:
            room = size + before + after - reach
            if room < 0:
                message = f"a window of {reach} elements does not fit into {size + before + after}"
                raise TooShort(f"{node.where}: {message}")
            n_out = room // strides[i] + 1
            if ceil_mode and room % strides[i] and n_out * strides[i] < size + before:
                n_out += 1  # a last window that begins inside, and ends behind the padding
        axes.append(Axis(size, taps, strides[i], dilations[i], before, after, n_out))
    return axes


@dataclass
class Image:
    """A computed tensor [items, channels, *spatial] as element numbers in that shape; time and batch have size 1."""

    tensor: Tensor
    elements: np.ndarray
    outer: tuple[int, ...]
    origin: np.ndarray

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.elements.shape[2:]

    def result(self, elements: np.ndarray) -> Tensor:
        """The tensor of what was computed from it: another number of channels and elements along spatial axes."""
        shape = tuple(self.tensor.shape[a] if a in self.outer else n for a, n in enumerate(elements.shape))
        labels = tuple(label if n == 1 else "" for label, n in zip(self.tensor.labels, shape, strict=True))
        return Layout(shape, self.outer, self.origin, labels).tensor(elements, self.tensor.dtype)


def image(walk: Walk, node: OnnxNode, operand: Any, dtypes: Sequence[str] = ("float32",), least: int = 3) -> Image:
    """Take a computed operand of at least `least` axes apart.

    Raises:
        Mixed: it does not fall apart into frames.
        UnsupportedError: it is no computed tensor of one of `dtypes`, or its channels are time or the batch.
    """
    if isinstance(operand, Length) or not isinstance(operand, Tensor):
        node.unsupported(
            "its input is a constant, but its kernel is computed, which is not supported"
            if isinstance(operand, np.ndarray)
            else "its input is missing, expected a computed tensor"
        )
    if operand.dtype not in dtypes:
        node.unsupported(f"its input has dtype {operand.dtype}, expected {' or '.join(dtypes)}")
    if len(operand.shape) < least:
        node.shape_error(f"its input has shape {operand.shape}, expected [batch, channels, ...]")
    layout, frame = operand.split()
    if 1 in layout.outer or operand.labels[1]:
        node.unsupported("its channels are time (or the batch)")
    shape = [1 if a in layout.outer else n for a, n in enumerate(operand.shape)]
    return Image(operand, frame.reshape(shape), layout.outer, layout.origin)


def taps(
    walk: Walk, node: OnnxNode, elements: np.ndarray, axes: Sequence[Axis], first: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Windows of a table whose spatial axes begin at `first`: (..., *n_out, *kernel), and which taps are no padding.

    Padding has element number ZERO.
    """
    outputs = [axis.n_out for axis in axes]
    kernel = [axis.kernel for axis in axes]
    shape = (*elements.shape[:first], *outputs, *kernel)
    walk.count(node, shape)
    if elements.max() < 2**31:
        elements = elements.astype(np.int32)
    room(prod(shape), 2 * elements.itemsize)
    valid = np.ones((), bool)
    n = len(axes)
    for i, axis in enumerate(axes):
        places = axis.places
        inside = (places >= 0) & (places < axis.n_in)
        where = first + 2 * i
        elements = elements.take(np.clip(places, 0, axis.n_in - 1), where)
        spread = [1] * elements.ndim
        spread[where : where + 2] = places.shape
        np.copyto(elements, ZERO, where=~inside.reshape(spread))
        valid = valid[..., None, None] & inside
    order = [*range(0, 2 * n, 2), *range(1, 2 * n, 2)]
    elements = elements.transpose(*range(first), *(first + a for a in order))
    return elements, valid.transpose(order)


def check_not_time(walk: Walk, node: OnnxNode, picture: Image, axes: Sequence[Axis]) -> None:
    """Refuse windows along time or the batch, unless each is the element at its place."""
    for i, axis in enumerate(axes):
        if (2 + i in picture.outer or walk.stands_for_more(picture.tensor, 2 + i)) and not axis.is_trivial:
            node.unsupported(f"works along axis {2 + i} of {picture.tensor.shape}, which is time or the batch")


__all__ = [
    "Axis",
    "Image",
    "TooShort",
    "check_not_time",
    "image",
    "integers",
    "paddings",
    "taps",
    "window_axes",
]
