# SPDX-License-Identifier: MIT
"""Runs of indices, against a search that looks at one index after the other."""

from itertools import pairwise

import numpy as np
import pytest

from undertow.ir import runs


def pieces(x, apart, prefer_plain):
    """(first, length, difference), each as long as it can be."""
    found, i, n = [], 0, len(x)
    while i < n:
        end = i + 1
        while end < n and not apart[end - 1] and x[end] - x[end - 1] == x[i + 1] - x[i]:
            end += 1
        if prefer_plain and end - i == 2 and x[i + 1] - x[i] != 1:
            plain = [not apart[k] and x[k + 1] - x[k] == 1 for k in range(end - 1, min(end + 1, n - 1))]
            if plain == [True, True]:
                end = i + 1
        found.append((i, end - i, x[i + 1] - x[i] if end - i > 1 else 1))
        i = end
    return found


def slow(indices, sizes):
    starts = np.cumsum([0, *sizes])
    owner = [int(np.flatnonzero(starts <= i)[-1]) for i in indices]
    apart = [a != b for a, b in pairwise(owner)]
    table = [
        (owner[i], indices[i] - starts[owner[i]], n, step)
        for i, n, step in pieces(list(indices), apart, prefer_plain=True)
    ]
    like = [(t[0], *t[2:]) for t in table]
    apart = [a != b for a, b in pairwise(like)]
    return [(*table[i], n, step) for i, n, step in pieces([t[1] for t in table], apart, prefer_plain=False)]


def examples(rng):
    sizes = rng.integers(1, 30, rng.integers(1, 4)).tolist()
    n, total = int(rng.integers(1, 50)), sum(sizes)
    strides = [1, 1, 2, 3, 0, -1]
    return sizes, {
        "any": rng.integers(0, total, n),
        "steps": np.clip(np.cumsum(rng.choice([1, 1, 1, 0, 2, -1, 5], n)), 0, total - 1),
        "windows": np.tile(np.arange(rng.integers(1, 6)) * rng.integers(1, 3), n // 4 + 1).clip(0, total - 1),
        "pieces": np.concatenate(
            [rng.integers(0, total) + np.arange(rng.integers(1, 9)) * rng.choice(strides) for _ in range(6)]
        ).clip(0, total - 1),
    }


@pytest.mark.parametrize("kind", ["any", "steps", "windows", "pieces"])
def test_runs_are_those_of_a_greedy_search(kind):
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes, of = examples(rng)
        found = runs.find(of[kind], sizes)
        assert found.dtype == np.int32
        assert [tuple(row) for row in found.tolist()] == [tuple(map(int, row)) for row in slow(of[kind], sizes)]
        expanded = runs.expand(found, sizes)
        assert expanded.dtype == np.int32
        np.testing.assert_array_equal(expanded, of[kind])


def test_no_indices():
    found = runs.find(np.zeros(0, np.int32), [3])
    assert found.shape == (0, runs.WORDS) and runs.expand(found, [3]).shape == (0,)
