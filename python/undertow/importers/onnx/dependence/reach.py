# SPDX-License-Identifier: MIT
"""Sets of the input's cells that the elements of a tensor depend on, as the bits of numbers.

A cell is what the caller says it is: a timestep of an item of the batch, say. An operator's result depends on all that
its operands depend on, where nothing is known to keep them apart; so a set may hold too much, but never too little.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ....budget import room
from ..file.nodes import Body, OnnxNode

#: cells that can be told apart
MAX_CELLS = 64


class Unclear(Exception):
    """What a tensor depends on, or its shape, cannot be told."""


@dataclass(frozen=True)
class Reach:
    """What the elements of a tensor depend on.

    bits: uint64, of the tensor's rank, and of size 1 along every axis where all elements depend on the same.

    low, zero: bool, like the bits: where an element is known to be so low that a softmax leaves nothing of it, and
    where it is known to be 0; None where nothing is known.

    >>> cells = np.uint64([1, 2, 4]).reshape(3, 1)
    >>> Reach((3, 5), cells).over([0]).bits.tolist()
    [[7]]
    """

    shape: tuple[int, ...]
    bits: np.ndarray
    low: np.ndarray | None = None
    zero: np.ndarray | None = None

    @classmethod
    def of(cls, shape: Sequence[int], bits: np.ndarray) -> Reach:
        """With the axes shrunk along which all is the same."""
        if 0 in shape:
            raise Unclear(f"a tensor of shape {tuple(shape)} is empty")
        for axis, n in enumerate(bits.shape):
            if n > 1:
                first, last = (bits[(slice(None),) * axis + (one,)] for one in (slice(1), slice(-1, None)))
                if (last == first).all() and (bits == first).all():  # the last one tells most that are not
                    bits = first
        return cls(tuple(int(n) for n in shape), bits)

    @classmethod
    def none(cls, shape: Sequence[int]) -> Reach:
        """Of a tensor that depends on nothing."""
        return cls(tuple(shape), np.zeros((1,) * len(shape), np.uint64))

    @property
    def everything(self) -> np.uint64:
        """What all elements together depend on."""
        return np.uint64(np.bitwise_or.reduce(self.bits, axis=None))

    def along(self, axes: Iterable[int]) -> np.ndarray:
        """The bits, of full size along these axes."""
        axes = set(axes)
        shape = tuple(n if a in axes else m for a, (n, m) in enumerate(zip(self.shape, self.bits.shape, strict=True)))
        room(prod(shape), 16)
        return np.broadcast_to(self.bits, shape)

    def over(self, axes: Iterable[int], keep: bool = True) -> Reach:
        """Of what is computed from all elements along axes, which become 1, or vanish."""
        axes = tuple(sorted({axis % len(self.shape) for axis in axes}))
        bits = np.bitwise_or.reduce(self.bits, axis=axes, keepdims=True) if axes else self.bits
        reduced = Reach(tuple(1 if a in axes else n for a, n in enumerate(self.shape)), bits)
        return reduced if keep else reduced.reshape([n for a, n in enumerate(self.shape) if a not in axes])

    def spread(self, axes: Iterable[int]) -> Reach:
        """Of what is computed along axes from all elements there, and keeps its shape."""
        return Reach(self.shape, self.over(axes).bits)

    def reshape(self, shape: Sequence[int]) -> Reach:
        """Of the same elements in another shape. Only axes that are taken apart or joined are made of full size."""
        new = tuple(int(n) for n in shape)
        if prod(new) != prod(self.shape) or 0 in new:
            raise Unclear(f"{self.shape} does not reshape to {new}")
        full: list[int] = list(self.bits.shape)
        bits_shape: list[int] = []
        i = j = 0
        while i < len(self.shape) or j < len(new):
            first, start = i, j
            have, i = prod(self.shape[i : i + 1]), i + 1
            want, j = prod(new[j : j + 1]), j + 1
            while have != want:
                if have < want:
                    have, i = have * self.shape[i], i + 1
                else:
                    want, j = want * new[j], j + 1
            i, j = min(i, len(self.shape)), min(j, len(new))
            alike = all(n == 1 for n in self.bits.shape[first:i])
            if not alike:
                full[first:i] = self.shape[first:i]
            bits_shape += [1] * (j - start) if alike else list(new[start:j])
        room(prod(full), 16)
        return Reach.of(new, np.broadcast_to(self.bits, full).reshape(bits_shape))

    def transpose(self, axes: Sequence[int]) -> Reach:
        return Reach(tuple(self.shape[a] for a in axes), self.bits.transpose(axes))

    def expand(self, shape: Sequence[int]) -> Reach:
        """Broadcast to a shape."""
        lead = len(shape) - len(self.shape)
        if np.broadcast_shapes(self.shape, tuple(shape)) != tuple(shape):
            raise Unclear(f"{self.shape} does not broadcast to {tuple(shape)}")
        return Reach(tuple(shape), self.bits.reshape((1,) * lead + self.bits.shape))

    def take(self, axis: int, index: Any) -> Reach:
        """Rows along an axis, by a slice or an array of their numbers, whose axes stand in its place."""
        n = self.shape[axis]
        new = (len(range(*index.indices(n))),) if isinstance(index, slice) else np.shape(index)
        shape = (*self.shape[:axis], *new, *self.shape[axis + 1 :])
        if self.bits.shape[axis] > 1:
            room(self.bits.size // self.bits.shape[axis] * max(np.size(index), 1), 16)
            return Reach.of(shape, self.bits[(slice(None),) * axis + (index,)])
        bits = self.bits.reshape((*self.bits.shape[:axis], *(1,) * len(new), *self.bits.shape[axis + 1 :]))
        return Reach.of(shape, bits)


Operand = np.ndarray | Reach | None


class Context(ABC):
    """What a rule may ask of the trace that runs it."""

    @abstractmethod
    def evaluate(self, node: OnnxNode, arrays: list[np.ndarray | None]) -> list[np.ndarray]:
        """Run a node on known arrays."""

    @abstractmethod
    def run_body(self, body: Body, given: Sequence[Operand]) -> list[Operand]:
        """Run a graph inside of a node on its inputs."""

    @abstractmethod
    def note_walk(self, node: OnnxNode, gained: Sequence[np.uint64]) -> None:
        """A node goes on from one round to the next; what each round adds to what it depends on."""


Rule = Callable[[Context, OnnxNode, list[Operand]], Sequence[Operand]]


def reach(operand: Operand) -> Reach:
    """What an operand depends on: a known array on nothing."""
    if operand is None:
        raise Unclear("an input is missing")
    return operand if isinstance(operand, Reach) else Reach.none(operand.shape)


def join(shape: Sequence[int], reaches: Iterable[Reach]) -> Reach:
    """Of what is computed element by element from operands that are broadcast to a shape."""
    bits = np.zeros((1,) * len(shape), np.uint64)
    for one in reaches:
        mine = one.bits.reshape((1,) * (len(shape) - len(one.shape)) + one.bits.shape)
        room(prod(np.broadcast_shapes(bits.shape, mine.shape)), 16)
        bits = bits | mine
    return Reach.of(shape, bits)


def broadcast(operands: Iterable[Operand]) -> Reach:
    """Of what is computed element by element from operands, None aside."""
    reaches = [reach(operand) for operand in operands if operand is not None]
    try:
        shape = np.broadcast_shapes(*(one.shape for one in reaches))
    except ValueError:
        raise Unclear(f"{[one.shape for one in reaches]} do not broadcast") from None
    return join(shape, reaches)


def stack(rows: Sequence[Reach], axis: int) -> Reach:
    """Rows along a new axis."""
    if len({row.shape for row in rows}) != 1:
        raise Unclear("rows have different shapes")
    full = np.broadcast_shapes(*(row.bits.shape for row in rows))
    shape = list(rows[0].shape)
    shape.insert(axis, len(rows))
    room(prod(full) * len(rows), 16)
    return Reach.of(shape, np.stack([np.broadcast_to(row.bits, full) for row in rows], axis))


def with_settings(computed: Reach, settings: Iterable[Operand]) -> Reach:
    """With what others depend on that each element may be computed with: weights, scales."""
    bits = computed.bits
    for operand in settings:
        if isinstance(operand, Reach):
            bits = bits | operand.everything
    return Reach(computed.shape, bits)


def numbers(node: OnnxNode, operands: Sequence[Operand], slot: int, attribute: str) -> list[int] | None:
    """Numbers that stand in an attribute, or in older and newer operator sets in an input; None where neither does."""
    if attribute in node.attrs:
        value = node.attrs[attribute]
        return [int(n) for n in value] if isinstance(value, Sequence) else [int(value)]
    operand = operands[slot] if slot < len(operands) else None
    if isinstance(operand, Reach):
        raise Unclear(f"input {node.inputs[slot]!r} is computed at run time")
    return None if operand is None else [int(n) for n in operand.ravel()]


__all__ = [
    "MAX_CELLS", "Context", "Operand", "Reach", "Rule", "Unclear", "broadcast", "join", "numbers", "reach", "stack",
    "with_settings",
]  # fmt: skip
