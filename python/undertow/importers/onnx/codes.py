# SPDX-License-Identifier: MIT
"""How time, batch and frame are told apart: every computed tensor is a table that says where each element comes from.

A **code** is one int64 per element: timestep + 1 (0: none), batch item + 1 (0: none), and the number of an element of
some value of the Graph. Ops that only move elements (transposes, reshapes, slices, concats ...) are run on the codes
themselves, whatever they do to the axes; only where something is computed must a tensor fall apart into **outer**
axes (time and batch, which a Graph does not have) and a **frame**, all of whose elements belong to one timestep. That
is checked, never assumed: a tensor that mixes timesteps does not fall apart, and is refused there by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from ...errors import UnsupportedError

_ELEMENT_BITS, _ITEM_BITS = 33, 10
_ELEMENT = np.int64((1 << _ELEMENT_BITS) - 1)
_ITEM = np.int64((1 << _ITEM_BITS) - 1)
_OUTER = ~_ELEMENT
#: most elements that all values together may have, most timesteps and batch items that can be told apart
MAX_ELEMENTS, MAX_ITEMS, MAX_STEPS = 1 << _ELEMENT_BITS, (1 << _ITEM_BITS) - 2, (1 << 18) - 2


@dataclass
class Tensor:
    """A tensor that is computed at run time: its codes, in its ONNX shape at the sizes tried for batch and time.

    labels: per axis "T" or "N" where an axis of size 1 stands for time or batch (codes cannot tell), else "".
    """

    codes: np.ndarray
    labels: tuple[str, ...]
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def elements(self) -> np.ndarray:
        """Element numbers, in the tensor's shape."""
        return np.asarray(self.codes & _ELEMENT)

    @property
    def steps(self) -> np.ndarray:
        """Timesteps, -1 where an element belongs to none."""
        return np.asarray((self.codes >> (_ELEMENT_BITS + _ITEM_BITS)) - 1)

    @property
    def items(self) -> np.ndarray:
        """Batch items, -1 where an element belongs to none."""
        return np.asarray(((self.codes >> _ELEMENT_BITS) & _ITEM) - 1)


@dataclass
class Uncut(Tensor):
    """A tensor that may have too many rows along its axis of time, with what makes one of fewer: `cut(before, after)`
    leaves rows out at both ends. Which rows belong to a frame depends on that."""

    axis: int = 0
    cut: Callable[[int, int], Tensor] | None = None


@dataclass
class Layout:
    """A tensor taken apart.

    shape: the tensor's; outer: axes that stand for time and batch, ascending; origin: the outer part of the codes,
    over the outer axes; the remaining axes are the frame.
    """

    shape: tuple[int, ...]
    outer: tuple[int, ...]
    origin: np.ndarray
    labels: tuple[str, ...]

    @property
    def frame(self) -> tuple[int, ...]:
        """The axes of the frame."""
        return tuple(a for a in range(len(self.shape)) if a not in self.outer)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[a] for a in self.frame)

    @property
    def steps(self) -> np.ndarray:
        """Timesteps over the outer axes, -1: none."""
        return (self.origin >> (_ELEMENT_BITS + _ITEM_BITS)) - 1

    @property
    def items(self) -> np.ndarray:
        """Batch items over the outer axes, -1: none."""
        return ((self.origin >> _ELEMENT_BITS) & _ITEM) - 1

    def tensor(self, elements: np.ndarray, dtype: str = "float32") -> Tensor:
        """The tensor of this layout whose frame consists of `elements` (of frame_shape)."""
        outer = self.origin.reshape([n if a in self.outer else 1 for a, n in enumerate(self.shape)])
        frame = np.asarray(elements, np.int64).reshape([1 if a in self.outer else n for a, n in enumerate(self.shape)])
        return Tensor(np.broadcast_to(outer | frame, self.shape), self.labels, dtype)


class Mixed(UnsupportedError):
    """A tensor does not fall apart into whole timesteps and a frame. `located`: the message names the node."""

    def __init__(self, message: str, located: bool = False) -> None:
        super().__init__(message)
        self.located = located


def encode(steps: np.ndarray | int, items: np.ndarray | int, elements: np.ndarray | int) -> np.ndarray:
    """Codes from timesteps, batch items (-1: none) and element numbers; broadcasts."""
    steps, items = np.asarray(steps, np.int64) + 1, np.asarray(items, np.int64) + 1
    return (steps << (_ELEMENT_BITS + _ITEM_BITS)) | (items << _ELEMENT_BITS) | np.asarray(elements, np.int64)


def _varies(array: np.ndarray, axis: int) -> bool:
    return array.shape[axis] > 1 and bool((array != array.take([0], axis)).any())


def split(codes: np.ndarray, labels: tuple[str, ...]) -> tuple[Layout, np.ndarray]:
    """Take codes apart into (layout, element numbers of the frame).

    Raises:
        Mixed: timesteps or batch items are mixed with each other or with elements of the frame, or some are missing.
    """
    origin, elements = codes & _OUTER, codes & _ELEMENT
    plain = origin.size == 0 or bool((origin == origin.reshape(-1)[0]).all())
    outer = () if plain else tuple(a for a in range(codes.ndim) if _varies(origin, a))
    for axis in outer:
        if _varies(elements, axis):
            raise Mixed(f"axis {axis} of shape {codes.shape} mixes timesteps (or batch items) with elements of a frame")
    inner = tuple(a for a in range(codes.ndim) if a not in outer)
    layout = Layout(
        codes.shape, outer, origin[tuple(slice(None) if a in outer else 0 for a in range(codes.ndim))], labels
    )
    frame = elements[tuple(slice(None) if a in inner else 0 for a in range(codes.ndim))]
    if np.unique(layout.origin).size != layout.origin.size:
        raise Mixed(f"a tensor of shape {codes.shape} holds a timestep or batch item twice")
    return layout, frame


def broadcast(tensors: list[Tensor], shape: tuple[int, ...]) -> tuple[Layout, list[np.ndarray]]:
    """The common layout of tensors that are broadcast to `shape`, and the elements of each in that layout's frame.

    Raises:
        Mixed: they are not aligned in time.
    """
    spread = [np.broadcast_to(t.codes, shape) for t in tensors]
    origin = np.zeros(shape, np.int64)
    for codes in spread:
        for mask in (_ITEM << _ELEMENT_BITS, _OUTER & ~(_ITEM << _ELEMENT_BITS)):
            part, have = codes & mask, origin & mask
            if ((part != have) & (part != 0) & (have != 0)).any():
                raise Mixed("its inputs belong to different timesteps or batch items")
            origin |= part
    labels = [""] * len(shape)
    for t in tensors:
        for i, label in enumerate(t.labels, len(shape) - len(t.labels)):
            if label and shape[i] == 1:
                labels[i] = label
    layout, _ = split(origin, tuple(labels))
    frames = []
    for codes in spread:
        elements = codes & _ELEMENT
        if any(_varies(elements, a) for a in layout.outer):
            raise Mixed("one input's frame lies along another input's timesteps or batch")
        frames.append(elements[tuple(slice(None) if a in layout.frame else 0 for a in range(len(shape)))])
    return layout, frames


def frame_of(constant: np.ndarray, layout: Layout) -> np.ndarray | None:
    """A constant broadcast to the layout's shape, as a frame; None when it differs between timesteps or batch items."""
    spread = np.broadcast_to(constant, layout.shape)
    if any(_varies(spread, a) for a in layout.outer):
        return None
    return spread[tuple(slice(None) if a in layout.frame else 0 for a in range(len(layout.shape)))]


def n_elements(shape: tuple[int, ...]) -> int:
    return prod(shape)
