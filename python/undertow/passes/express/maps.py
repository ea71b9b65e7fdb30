# SPDX-License-Identifier: MIT
"""Which elements of a frame belong to the elements of a space, as strides along its axes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from ...ir.ops.programs import AXES


def levels(indices: np.ndarray) -> list[tuple[int, int]] | None:
    """(size, stride) of axes, the innermost first, along which `indices` (n,) count up evenly; None where they do not.

    >>> levels(np.array([3, 3, 4, 4, 5, 5]))
    [(2, 0), (3, 1)]
    """
    axes: list[tuple[int, int]] = []
    while indices.size > 1:
        steps = np.diff(indices)
        stride = int(steps[0])
        breaks = np.flatnonzero(steps != stride)
        size = int(breaks[0]) + 1 if breaks.size else indices.size
        if stride < 0 or indices.size % size:
            return None
        rows = indices.reshape(-1, size)
        if (rows != rows[:, :1] + stride * np.arange(size)).any():
            return None
        axes.append((size, stride))
        indices = rows[:, 0]
    return axes


def ends(axes: Iterable[tuple[int, int]]) -> frozenset[int]:
    """Elements of the space between two steps along each axis but the innermost, and of all of it."""
    n, products = 1, set()
    for size, _ in axes:
        n *= size
        products.add(n)
    return frozenset(products)


def sizes(all_ends: frozenset[int]) -> tuple[int, int, int, int] | None:
    """The sizes of the space whose axes end there, the outermost first; None where there is no such space."""
    order = [1, *sorted(all_ends - {1})]
    if len(order) - 1 > AXES or any(b % a for a, b in pairwise(order)):
        return None
    axes = [b // a for a, b in pairwise(order)]
    a, b, c, d = [1] * (AXES - len(axes)) + axes[::-1]
    return a, b, c, d


def strides(axes: list[tuple[int, int]], space: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Of a map, along the axes of a space in which all of its axes end; 0 along an axis of size 1."""
    result = [0] * AXES
    at = 1  # elements between two steps along the axis
    for axis in reversed(range(AXES)):
        if space[axis] != 1:
            end = 1
            for size, stride in axes:
                if end <= at < end * size:
                    result[axis] = stride * (at // end)
                end *= size
        at *= space[axis]
    return result[0], result[1], result[2], result[3]


def compressed(values: np.ndarray, space: tuple[int, int, int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An array over the space without the axes along which it does not change, and its strides."""
    array = values.reshape(space)
    kept = []
    for axis in range(AXES):
        first = array.take([0], axis)
        if (array == first).all():
            array = first
        else:
            kept.append(axis)
    result, stride = [0] * AXES, 1
    for axis in reversed(kept):
        result[axis] = stride
        stride *= array.shape[axis]
    return np.ascontiguousarray(array).reshape(-1), (result[0], result[1], result[2], result[3])
