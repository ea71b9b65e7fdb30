# SPDX-License-Identifier: MIT
"""What a `select` copies, as a file says it: runs of equal strides, and repetitions of runs (csrc/FORMAT.md).

Slices, transposes, windows and repeats are a few runs each; a list of their elements would be read more slowly than
the elements themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..budget import room

#: numbers of one record: input, start, count, stride, times, step
WORDS = 6
#: indices that are looked at together
_AT_ONCE = 2**16
#: bytes that the search takes for each group of equal differences
_BYTES_EACH = 128


def find(indices: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Runs (n, 6) int32 that give `indices` into the joined elements of inputs of these sizes.

    Greedy: each run is as long as it can be, then each takes in as many runs like it as follow at equal distances.
    """
    flat = indices.reshape(-1)
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def owner(k: np.ndarray) -> np.ndarray:
        return np.searchsorted(bounds, flat[k], side="right") - 1

    first, counts, strides = _stretches(flat, lambda k: owner(k + 1) != owner(k), prefer_plain=True)
    inputs = owner(first)
    starts, like = flat[first] - bounds[inputs], (inputs, counts, strides)
    again, times, steps = _stretches(starts, lambda k: np.any([a[k + 1] != a[k] for a in like], axis=0))
    return np.stack([a[again] for a in (inputs, starts, counts, strides)] + [times, steps], axis=1).astype(np.int32)


def expand(runs: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The indices that runs (n, 6) give, int32 (n,): the inverse of `find`."""
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    inputs, starts, counts, strides, times, steps = runs.reshape(-1, WORDS).astype(np.int64).T
    starts = np.repeat(bounds[inputs] + starts, times) + _numbered(times) * np.repeat(steps, times)
    counts, strides = np.repeat(counts, times), np.repeat(strides, times)
    indices: np.ndarray = np.repeat(starts, counts) + _numbered(counts) * np.repeat(strides, counts)
    return indices.astype(np.int32)


def _numbered(counts: np.ndarray) -> np.ndarray:
    """0 .. count - 1 for each count, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _stretches(x: np.ndarray, apart: Callable[[np.ndarray], np.ndarray], prefer_plain: bool = False) -> np.ndarray:
    """(firsts, lengths, differences) of pieces of x that grow evenly; `apart(i)`: i + 1 may not follow i.

    prefer_plain: two numbers are no piece where the second begins one of neighbours.
    """
    n = len(x)
    if n < 2:
        return np.array([[0], [1], [1]])[:, :n]
    # Differences fall into groups, each equal and without a break. A piece takes what is left of a group, and with its
    # last number the first difference of the next one: so a group is entered at its first difference, or at its second.
    last = _ends_of_groups(x, apart)
    size = np.diff(last, prepend=-1)
    steps, breaks = _steps(x, last), apart(last)
    single = np.zeros(len(last), bool)  # a group of which one difference that is left makes no piece
    if prefer_plain:
        single[:-1] = (steps[:-1] != 1) & ~breaks[1:] & (steps[1:] == 1) & (size[1:] > 1)
    from_first = ~(breaks | (single & (size == 1)))  # whether the next group is entered at its second difference
    from_second = (size > 1) & ~(single & (size == 2))
    entered = _chained(from_first, from_second)
    left = size - entered[:-1]
    alone = breaks | (single & (left == 1))
    pieces = np.stack([last - left + 1, np.where(alone, 1, left + 1), np.where(alone, 1, steps)])[:, left > 0]
    return pieces if entered[-1] else np.concatenate([pieces, [[n - 1], [1], [1]]], axis=1)


def _steps(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    return x[k + 1].astype(np.int64) - x[k]


def _ends_of_groups(x: np.ndarray, apart: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The last difference of each group, in ascending order."""
    n, ends, n_groups = len(x) - 1, [], 1
    for begin in range(0, n - 1, _AT_ONCE):
        k = np.arange(begin, min(begin + _AT_ONCE, n - 1) + 1)
        step, broken = _steps(x, k), apart(k)
        ends.append(begin + np.flatnonzero((step[1:] != step[:-1]) | broken[1:] | broken[:-1]))
        n_groups += len(ends[-1])
        room(n_groups, _BYTES_EACH)
    return np.concatenate([*ends, [n - 1]])


def _chained(from_false: np.ndarray, from_true: np.ndarray) -> np.ndarray:
    """States before each of n steps and behind the last, from False on. Given: what each step makes of either state."""
    n = len(from_false)
    fixed = np.concatenate([[True], from_false == from_true])  # where the state does not depend on the one before
    value = np.concatenate([[False], from_false])
    flips = np.concatenate([[0], np.cumsum(from_false & ~from_true)])
    at = np.maximum.accumulate(np.where(fixed, np.arange(n + 1), 0))
    return value[at] ^ ((flips - flips[at]) % 2 == 1)
