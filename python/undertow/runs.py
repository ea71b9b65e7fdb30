# SPDX-License-Identifier: MIT
"""What a `select` copies, as a file says it: runs of equal strides, and repetitions of runs (csrc/FORMAT.md).

Slices, transposes, windows and repeats are a few runs each; a list of their elements would be read more slowly than
the elements themselves.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

#: numbers of one record: input, start, count, stride, times, step
WORDS = 6


def find(indices: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Runs (n, 6) int32 that give `indices` into the joined elements of inputs of these sizes.

    Greedy: each run is as long as it can be, then each takes in as many runs like it as follow at equal distances.
    """
    flat = indices.reshape(-1).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    owner = np.searchsorted(bounds, flat, side="right") - 1
    apart = owner[1:] != owner[:-1]
    first, counts, strides = _stretches(flat, apart, prefer_plain=True)
    table = np.stack([owner[first], flat[first] - bounds[owner[first]], counts, strides], axis=1)
    like = table[:, [0, 2, 3]]
    first, times, steps = _stretches(table[:, 1], (like[1:] != like[:-1]).any(axis=1))
    return np.column_stack([table[first], times, steps]).astype(np.int32)


def expand(runs: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The indices that runs (n, 6) give, int32 (n,): the inverse of `find`."""
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    parts = [
        (bounds[i] + start + np.arange(times)[:, None] * step + np.arange(count) * stride).reshape(-1)
        for i, start, count, stride, times, step in runs.reshape(-1, WORDS).astype(np.int64)
    ]
    return np.concatenate(parts).astype(np.int32)


def _stretches(x: np.ndarray, apart: np.ndarray, prefer_plain: bool = False) -> np.ndarray:
    """(firsts, lengths, differences) of pieces of x that grow evenly; `apart[i]`: i + 1 may not follow i.

    prefer_plain: two numbers are no piece where the second begins one of neighbours.
    """
    n = len(x)
    step = np.diff(x)
    # the differences fall into groups, each equal and without a break; here is where they end
    turns = np.flatnonzero((step[1:] != step[:-1]) | apart[1:] | apart[:-1]) if n > 2 else np.zeros(0, np.int64)
    last_of = np.append(turns, n - 2) if n > 1 else turns
    # as buffers, since lists of as many numbers and pieces would take several times the memory of the frame
    steps, breaks, ends = (np.ascontiguousarray(a).data for a in (step[last_of], apart[last_of], last_of))
    found = array("q")
    i = group = 0
    while i < n - 1:
        while ends[group] < i:
            group += 1
        if breaks[group]:
            found.extend((i, 1, 1))
            i += 1
            continue
        last, follows = ends[group], group + 1
        # of one difference that is not 1, where one of 1 and another one follow
        alone = prefer_plain and last == i and steps[group] != 1 and follows < len(ends)
        if alone and not breaks[follows] and steps[follows] == 1 and ends[follows] > last + 1:
            found.extend((i, 1, 1))
            i += 1
            continue
        found.extend((i, last - i + 2, steps[group]))
        i = last + 2
    if i == n - 1:
        found.extend((i, 1, 1))
    return np.array(found, np.int64).reshape(-1, 3).T
