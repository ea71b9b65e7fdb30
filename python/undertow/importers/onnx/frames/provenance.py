# SPDX-License-Identifier: MIT
"""How time, batch and frame are told apart: every computed tensor is a table that says where each element comes from.

A **code** is one int64 per element: timestep + 1 (0: none), batch item + 1 (0: none), and the number of an element of
some value of the Graph. Ops that only move elements (transposes, reshapes, slices, concats ...) are run on the codes
themselves, whatever they do to the axes; only where something is computed must a tensor fall apart into **outer**
axes (time and batch, which a Graph does not have) and a **frame**, all of whose elements belong to one timestep. That
is checked, never assumed: a tensor that mixes timesteps does not fall apart, and is refused there by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ....budget import room
from ..retry import Retry

_ELEMENT_BITS, _ITEM_BITS = 33, 10
_ELEMENT = np.int64((1 << _ELEMENT_BITS) - 1)
_ITEM = np.int64((1 << _ITEM_BITS) - 1)
_OUTER = ~_ELEMENT
#: tables of the same size that there are at a time, where one is made of another
COPIES = 4
#: elements that are looked at together
_PART = 2**16
#: most elements that all values together may have, most timesteps and batch items that can be told apart
MAX_ELEMENTS, MAX_ITEMS, MAX_STEPS = 1 << _ELEMENT_BITS, (1 << _ITEM_BITS) - 2, (1 << 18) - 2


class Tensor:
    """A tensor that is computed at run time: its codes, in its ONNX shape at the sizes tried for batch and time.

    labels: per axis "T" or "N" where an axis of size 1 stands for time or batch (codes cannot tell), else "".
    What has been taken apart, or put together, keeps layout and frame alone; codes are made when somebody asks.
    """

    def __init__(self, codes: np.ndarray, labels: tuple[str, ...], dtype: str = "float32") -> None:
        self._codes: np.ndarray | None = codes
        self._parts: tuple[Layout, np.ndarray | int] | None = None
        self.labels, self.dtype = labels, dtype

    @classmethod
    def of_frame(cls, layout: Layout, frame: np.ndarray, dtype: str) -> Tensor:
        """The tensor that `split` takes apart into `layout` and `frame`."""
        tensor = cls.__new__(cls)
        tensor._codes, tensor._parts = None, (layout, _kept(frame))
        tensor.labels, tensor.dtype = layout.labels, dtype
        return tensor

    @property
    def codes(self) -> np.ndarray:
        if self._codes is not None:
            return self._codes
        outer, elements = self.compact()
        if outer.size > 1 < elements.size:
            room(prod(self.shape), COPIES * 8)
        plain = outer.size == 1 and not outer.any()
        return np.broadcast_to(elements if plain else outer | elements, self.shape)

    def split(self) -> tuple[Layout, np.ndarray]:
        """The layout and the element numbers of the frame.

        Raises:
            Mixed: timesteps or batch items are mixed with each other or with elements of the frame, or are missing.
        """
        if self._parts is None:
            layout, frame = split(self.codes, self.labels)
            self._parts, self._codes = (layout, _kept(frame)), None
        layout = self._parts[0]
        return layout if layout.labels == self.labels else replace(layout, labels=self.labels), self._frame()

    def _frame(self) -> np.ndarray:
        """The element numbers of the frame of a tensor that was taken apart."""
        assert self._parts is not None
        layout, kept = self._parts
        if isinstance(kept, np.ndarray):
            return kept
        size = prod(layout.frame_shape)
        room(size)
        return np.arange(kept, kept + size).reshape(layout.frame_shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._parts[0].shape if self._parts else self.codes.shape

    def compact(self) -> tuple[np.ndarray, np.ndarray]:
        """(outer part of the codes, element numbers), of the tensor's rank; size 1 along axes known not to matter."""
        if self._parts is None:
            return self._outer(), self.codes & _ELEMENT
        layout, frame = self._parts[0], self._frame()
        return self._outer(), frame.reshape([1 if a in layout.outer else n for a, n in enumerate(layout.shape)])

    def _outer(self) -> np.ndarray:
        if self._parts is None:
            room(self.codes.size, (COPIES - 1) * 8)
            return self.codes & _OUTER
        layout = self._parts[0]
        return layout.origin.reshape([n if a in layout.outer else 1 for a, n in enumerate(layout.shape)])

    @property
    def n_bytes(self) -> int:
        """Bytes of the tables that it keeps."""
        if self._parts is None:
            return 8 * prod(n for n, stride in zip(self.codes.shape, self.codes.strides, strict=True) if stride)
        layout, kept = self._parts
        return layout.origin.nbytes + (kept.nbytes if isinstance(kept, np.ndarray) else 0)

    @property
    def elements(self) -> np.ndarray:
        """Element numbers, in the tensor's shape."""
        return np.broadcast_to(self.compact()[1], self.shape)

    @property
    def steps(self) -> np.ndarray:
        """Timesteps, -1 where an element belongs to none."""
        return np.broadcast_to(_steps(self._outer()), self.shape)

    @property
    def items(self) -> np.ndarray:
        """Batch items, -1 where an element belongs to none."""
        return np.broadcast_to(_items(self._outer()), self.shape)

    def axes_of_time(self) -> list[int]:
        """The axes along which timesteps change."""
        steps = _steps(self._outer())
        return [a for a in range(steps.ndim) if _varies(steps, a)]


def _steps(codes: np.ndarray) -> np.ndarray:
    return np.asarray((codes >> (_ELEMENT_BITS + _ITEM_BITS)) - 1)


def _items(codes: np.ndarray) -> np.ndarray:
    return np.asarray(((codes >> _ELEMENT_BITS) & _ITEM) - 1)


class Uncut(Tensor):
    """A tensor that may have too many rows along its axis of time, with what makes one of fewer: `cut(before, after)`
    leaves rows out at both ends. Which rows belong to a frame depends on that."""

    def __init__(
        self, codes: np.ndarray, labels: tuple[str, ...], dtype: str, axis: int, cut: Callable[[int, int], Tensor]
    ) -> None:
        super().__init__(codes, labels, dtype)
        self.axis, self.cut = axis, cut


@dataclass(frozen=True)
class Layout:
    """A tensor taken apart.

    shape: the tensor's; outer: axes that stand for time and batch, ascending; origin: the outer part of the codes,
    over the outer axes; the remaining axes are the frame.
    """

    shape: tuple[int, ...]
    outer: tuple[int, ...]
    origin: np.ndarray
    labels: tuple[str, ...]

    @cached_property
    def frame(self) -> tuple[int, ...]:
        """The axes of the frame."""
        return tuple(a for a in range(len(self.shape)) if a not in self.outer)

    @cached_property
    def frame_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[a] for a in self.frame)

    @property
    def steps(self) -> np.ndarray:
        """Timesteps over the outer axes, -1: none."""
        return _steps(self.origin)

    @property
    def items(self) -> np.ndarray:
        """Batch items over the outer axes, -1: none."""
        return _items(self.origin)

    def tensor(self, elements: np.ndarray, dtype: str = "float32") -> Tensor:
        """The tensor of this layout whose frame consists of `elements` (of frame_shape)."""
        return Tensor.of_frame(self, np.asarray(elements, np.int64).reshape(self.frame_shape), dtype)


class Mixed(Retry):
    """A tensor does not fall apart into whole timesteps and a frame. `located`: the message names the node."""

    def __init__(self, message: str, located: bool = False) -> None:
        super().__init__(message)
        self.located = located


def encode(steps: np.ndarray | int, items: np.ndarray | int, elements: np.ndarray | int) -> np.ndarray:
    """Codes from timesteps, batch items (-1: none) and element numbers; broadcasts."""
    steps, items = np.asarray(steps, np.int64) + 1, np.asarray(items, np.int64) + 1
    room(prod(np.broadcast_shapes(steps.shape, items.shape, np.shape(elements))), COPIES * 8)
    return (steps << (_ELEMENT_BITS + _ITEM_BITS)) | (items << _ELEMENT_BITS) | np.asarray(elements, np.int64)


def _varies(array: np.ndarray, axis: int) -> bool:
    return array.shape[axis] > 1 and bool((array != _first(array, axis)).any())


def _first(array: np.ndarray, axis: int) -> np.ndarray:
    """The first along an axis, which stays."""
    return array[(slice(None),) * axis + (slice(1),)]


def split(codes: np.ndarray, labels: tuple[str, ...]) -> tuple[Layout, np.ndarray]:
    """Take codes apart into (layout, element numbers of the frame).

    Raises:
        Mixed: timesteps or batch items are mixed with each other or with elements of the frame, or some are missing.
    """
    shape = codes.shape
    if codes.size == 0:
        raise Mixed(f"a tensor of shape {shape} is empty")
    compact = codes[tuple(slice(1) if stride == 0 else slice(None) for stride in codes.strides)]  # numpy repeats it
    if compact.max() <= _ELEMENT:  # of no timestep and no item
        origin, elements = np.zeros((1,) * codes.ndim, np.int64), compact
    else:
        room(compact.size, (COPIES - 1) * 8)
        origin, elements = compact & _OUTER, compact & _ELEMENT
    outer: tuple[int, ...] = ()
    for axis in reversed(range(codes.ndim)):  # mostly of the frame: what has no influence is left out at once
        if _varies(origin, axis):
            outer = (axis, *outer)
        else:
            origin = _first(origin, axis)
    for axis in outer:
        if _varies(elements, axis):
            raise Mixed(f"axis {axis} of shape {shape} mixes timesteps (or batch items) with elements of a frame")
        elements = _first(elements, axis)
    origin = origin.reshape([shape[a] for a in outer])
    if np.unique(origin).size != origin.size:
        raise Mixed(f"a tensor of shape {shape} holds a timestep or batch item twice")
    layout = Layout(shape, outer, origin, labels)
    return layout, _spread(elements, layout)


def _spread(elements: np.ndarray, layout: Layout) -> np.ndarray:
    """Elements of the layout's rank, of size 1 where they are the same along an axis, as a frame."""
    if elements.size < prod(layout.frame_shape):
        room(prod(layout.frame_shape))
    frame = np.broadcast_to(elements, [1 if a in layout.outer else n for a, n in enumerate(layout.shape)])
    return frame.reshape(layout.frame_shape)


def broadcast(tensors: list[Tensor], shape: tuple[int, ...]) -> tuple[Layout, list[np.ndarray]]:
    """The common layout of tensors that are broadcast to `shape`, and the elements of each in that layout's frame.

    Raises:
        Mixed: they are not aligned in time.
    """
    rank = len(shape)
    if (alike := _alike(tensors, shape)) is not None:
        return alike
    parts = [[np.reshape(p, (1,) * (rank - p.ndim) + p.shape) for p in t.compact()] for t in tensors]
    origin = np.zeros((1,) * rank, np.int64)
    for own, _ in parts:
        for mask in (_ITEM << _ELEMENT_BITS, _OUTER & ~(_ITEM << _ELEMENT_BITS)):
            part, have = own & mask, origin & mask
            if ((part != have) & (part != 0) & (have != 0)).any():
                raise Mixed("its inputs belong to different timesteps or batch items")
        origin = origin | own
    labels = [""] * rank
    for t in tensors:
        for i, label in enumerate(t.labels, rank - len(t.labels)):
            if label and shape[i] == 1:
                labels[i] = label
    layout, _ = split(np.broadcast_to(origin, shape), tuple(labels))
    frames = []
    for _, elements in parts:
        for a in layout.outer:
            if _varies(elements, a):
                raise Mixed("one input's frame lies along another input's timesteps or batch")
            elements = _first(elements, a)
        frames.append(_spread(elements, layout))
    return layout, frames


def _alike(tensors: list[Tensor], shape: tuple[int, ...]) -> tuple[Layout, list[np.ndarray]] | None:
    """The same where all are taken apart alike already, and none is smaller."""
    parts = [t._parts[0] for t in tensors if t._parts is not None and t.shape == shape]
    if len(parts) < len(tensors):
        return None
    layout = parts[0]
    for other in parts[1:]:
        if other.outer != layout.outer or not (other.origin is layout.origin or (other.origin == layout.origin).all()):
            return None
    labels = tuple(
        next((label for label in each[::-1] if label and n == 1), "")
        for n, each in zip(shape, zip(*(t.labels for t in tensors), strict=True), strict=True)
    )
    return layout if layout.labels == labels else replace(layout, labels=labels), [t._frame() for t in tensors]


def frame_of(constant: np.ndarray, layout: Layout) -> np.ndarray | None:
    """A constant broadcast to the layout's shape, as a frame; None when it differs between timesteps or batch items."""
    if constant.ndim == 0:
        return np.full(layout.frame_shape, constant)
    rank = len(layout.shape)
    if constant.ndim > rank:
        raise ValueError(f"a constant of shape {constant.shape} does not broadcast to {layout.shape}")
    kept = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    for axis in layout.outer:
        if kept.shape[axis] not in (1, layout.shape[axis]):
            raise ValueError(f"a constant of shape {constant.shape} does not broadcast to {layout.shape}")
        first = _first(kept, axis)
        if kept.shape[axis] > 1 and ((kept != first) & ((kept == kept) | (first == first))).any():
            return None  # but for NaN, which differs from itself
        kept = first
    frame = kept.reshape([kept.shape[a] for a in layout.frame])
    return frame if frame.shape == layout.frame_shape else np.broadcast_to(frame, layout.frame_shape)


def parts(size: int) -> Iterator[slice]:
    """Parts of a long table, one after another: what is made of each is small."""
    return (slice(first, first + _PART) for first in range(0, size, _PART))


def is_run(flat: np.ndarray) -> bool:
    """Whether each number is the one before plus 1."""
    if flat.size and int(flat[-1]) - int(flat[0]) != flat.size - 1:
        return False
    return all(
        bool((here[1:] - here[:-1] == 1).all()) for p in parts(flat.size) for here in [flat[p.start : p.stop + 1]]
    )


def ascends(flat: np.ndarray) -> bool:
    """Whether each number is larger than the one before."""
    return all(bool((here[1:] > here[:-1]).all()) for p in parts(flat.size) for here in [flat[p.start : p.stop + 1]])


def distinct(flat: np.ndarray) -> tuple[np.ndarray, Any]:
    """The different numbers, ascending, and what takes them apart again."""
    if ascends(flat):
        return flat, slice(None)
    unique, inverse = np.unique(flat, return_inverse=True)
    return unique, inverse.reshape(-1)


def _kept(frame: np.ndarray) -> np.ndarray | int:
    """What is kept of a frame's element numbers: the first one, where each is the one before plus 1."""
    if frame.size <= _PART or frame.flat[1] != frame.flat[0] + 1:  # of what lies in another order no copy is made
        return frame
    return int(frame.flat[0]) if is_run(frame.reshape(-1)) else frame


def n_elements(shape: tuple[int, ...]) -> int:
    return prod(shape)
