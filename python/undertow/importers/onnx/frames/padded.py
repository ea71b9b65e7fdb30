# SPDX-License-Identifier: MIT
"""Sequences to which an operator has joined constant rows, on their way through what computes each element alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .builder import ZERO, Builder
from .provenance import Tensor, encode


def beside_constants(
    builder: Builder,
    tensor: Tensor,
    compute: Callable[[Tensor], Tensor],
    known: Callable[[np.ndarray], np.ndarray],
) -> Tensor | None:
    """What is computed, element by element, of a tensor whose first or last rows along time are constant: these by
    `known`, of their numbers, the others by `compute`. None where it has no such rows.
    """
    for axis in range(len(tensor.shape)):
        alone = np.moveaxis(tensor.steps, axis, 0).reshape(tensor.shape[axis], -1).max(1, initial=-1) < 0
        inside = np.flatnonzero(~alone)
        if not alone.any() or inside.size < 2 or alone[inside[0] : inside[-1]].any():
            continue
        numbers = _numbers(builder, np.moveaxis(tensor.elements, axis, 0)[alone])
        if numbers is None:
            continue
        rest = tensor.codes.take(inside, axis)
        computed = compute(Tensor(rest, tensor.labels, tensor.dtype))
        if computed.shape != rest.shape:
            return None
        results = known(np.moveaxis(numbers, 0, axis).astype(np.float32))
        filled = np.where(results == 0, ZERO, builder.constant(results))
        codes = np.empty(tensor.shape, np.int64)
        np.moveaxis(codes, axis, 0)[inside] = np.moveaxis(computed.codes, axis, 0)
        np.moveaxis(codes, axis, 0)[alone] = np.moveaxis(encode(-1, -1, filled), axis, 0)
        return Tensor(codes, tensor.labels, computed.dtype)
    return None


def _numbers(builder: Builder, elements: np.ndarray) -> np.ndarray | None:
    """The numbers of elements that are constants; None where one is not."""
    numbers = np.zeros(elements.shape, np.float32)
    for source in builder.sources_of(elements):
        if source.base == ZERO:
            continue
        if source.is_state or source.name not in builder.numbers:
            return None
        mine = (elements >= source.base) & (elements < source.base + source.size)
        numbers[mine] = builder.numbers[source.name][elements[mine] - source.base]
    return numbers
