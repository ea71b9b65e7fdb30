# SPDX-License-Identifier: MIT
"""Vectors: elements of a value in some order, held in as few numbers as that order needs.

A frame may have millions of elements where a file has a few bytes, so elements that follow each other are a `range`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

#: element numbers in order, or places of them: a range of step 1, or an int32 table
Index = range | np.ndarray


def index_of(numbers: Index) -> Index:
    """Numbers as a range where each is the one before plus 1.

    >>> index_of(np.array([3, 4, 5]))
    range(3, 6)
    """
    if isinstance(numbers, range):
        return numbers
    n = len(numbers)
    if n and int(numbers[-1]) - int(numbers[0]) == n - 1 and (np.diff(numbers) == 1).all():
        return range(int(numbers[0]), int(numbers[0]) + n)
    return np.ascontiguousarray(numbers, np.int32)


def table(index: Index) -> np.ndarray:
    """The numbers one by one."""
    return np.arange(index.start, index.stop) if isinstance(index, range) else index


def pick(array: np.ndarray, index: Index) -> np.ndarray:
    """The elements of a flat array, or the rows of a matrix, at `index`."""
    return array[index.start : index.stop] if isinstance(index, range) else array[index]


def shifted(index: Index, by: int) -> Index:
    """index + by"""
    if isinstance(index, range):
        return range(index.start + by, index.stop + by)
    return index + np.int32(by)


def compose(outer: Index, inner: Index) -> Index:
    """outer[inner], element by element."""
    if isinstance(outer, range):
        return index_of(shifted(inner, outer.start))
    return index_of(pick(outer, inner))


class Vector:
    """Elements `index` of the flattened value `source`, which no movement made. Equal vectors have equal elements."""

    def __init__(self, source: str, index: Index) -> None:
        self.source = source
        self.index = index_of(index)

    @property
    def size(self) -> int:
        return len(self.index)

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        if isinstance(self.index, range):
            return self.source, self.index
        return self.source, len(self.index), blake2b(self.index.data).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vector) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __lt__(self, other: Vector) -> bool:
        """By name, then element by element."""
        if self.source != other.source or self == other:
            return self.source < other.source
        a, b = (table(index)[: min(self.size, other.size)] for index in (self.index, other.index))
        differ = np.flatnonzero(a != b)
        return bool(a[differ[0]] < b[differ[0]]) if len(differ) else self.size < other.size

    def __repr__(self) -> str:
        return f"Vector({self.source!r}, {self.index})"

    def places(self, other: Vector) -> tuple[Index, Index]:
        """(places in `other`, places here) of the elements that both have; here each element stands once."""
        if self.source != other.source:
            return range(0), range(0)
        mine, theirs = self.index, other.index
        if isinstance(mine, range):
            if isinstance(theirs, range):
                low, high = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
                if low >= high:
                    return range(0), range(0)
                return range(low - theirs.start, high - theirs.start), range(low - mine.start, high - mine.start)
            both = np.flatnonzero((theirs >= mine.start) & (theirs < mine.stop))
            return index_of(both), index_of(shifted(theirs[both], -mine.start))
        order = np.argsort(mine, kind="stable")
        asked = table(theirs)
        at = np.minimum(np.searchsorted(mine, asked, sorter=order), len(mine) - 1)
        both = np.flatnonzero(mine[order[at]] == asked)
        return index_of(both), index_of(order[at[both]])

    def without(self, others: Sequence[Vector]) -> Index:
        """Places of the elements that none of `others` has."""
        left: Index = range(self.size)
        for other in others:
            if other.source == self.source and len(left):
                rest = table(compose(self.index, left))
                left = compose(left, index_of(np.flatnonzero(~np.isin(rest, table(other.index)))))
        return left


__all__ = ["Index", "Vector", "compose", "index_of", "pick", "shifted", "table"]
