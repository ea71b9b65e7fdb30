# SPDX-License-Identifier: MIT
"""Numbers over time as columns of a picture: the least and largest of each, in memory that does not grow."""

import tracemalloc

import numpy as np
import pytest

from undertow.inspect.columns import Columns, columns_of

RNG = np.random.default_rng(12)


def expected(rows, every, share=1):
    """Each column written out: frames k * every on, units that share a row together."""
    out = []
    for f in (np.nanmin, np.nanmax):
        parts = [rows[k : k + every] for k in range(0, len(rows), every)]
        out.append([[f(part[:, i : i + share]) for i in range(0, rows.shape[1], share)] for part in parts])
    return np.array(out[0]), np.array(out[1])


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 40, 333])
def test_columns_are_the_least_and_the_largest_however_rows_come(size, n):
    rows = RNG.normal(size=(n, size)).astype(np.float32)
    for n_cuts in (0, 3, 50):
        columns = Columns(size, most=8)
        for piece in np.split(rows, np.sort(RNG.integers(0, n + 1, n_cuts))):
            columns.push(piece)
        assert columns.n_frames == n and len(columns) == -(-n // columns.every) <= 8
        assert columns.every == 1 or len(columns) > 4, "no fewer than half as many as there may be"
        low, high = expected(rows, columns.every)
        assert np.array_equal(columns.low, low) and np.array_equal(columns.high, high)
        assert np.array_equal(columns.peak, np.where(-low > high, low, high))


def test_many_units_share_rows():
    rows = RNG.normal(size=(50, 11)).astype(np.float32)
    columns = Columns(11, most=8, most_units=4)
    columns.push(rows[:20])
    columns.push(rows[20:])
    low, high = expected(rows, columns.every, 3)
    assert low.shape[1] == 4 and np.array_equal(columns.low, low) and np.array_equal(columns.high, high)


def test_a_row_may_stand_for_several_frames():
    columns, rows = Columns(1, most=8), []
    for t in range(300):
        span = min(columns.every, 1 + t % 5)
        columns.push(np.full((1, 1), t, np.float32), span)
        rows += [t] * span
    ends = np.flatnonzero(np.diff(rows, append=-1))  # a row lies where its frames end
    for k in range(len(columns)):
        inside = [rows[e] for e in ends if e // columns.every == k]
        assert (columns.low[k, 0], columns.high[k, 0]) == (min(inside), max(inside))


def test_what_is_no_number_is_passed_over():
    rows = np.array([[1.0], [np.nan], [-2.0], [np.nan], [np.nan]], np.float32)
    columns = Columns(1, most=2)
    columns.push(rows)
    assert columns.every == 4 and (columns.low[0, 0], columns.high[0, 0]) == (-2, 1) and np.isnan(columns.low[1, 0])
    assert columns_of(rows).n_frames == 5


def test_memory_does_not_grow_with_time():
    columns = Columns(4)
    rows = RNG.normal(size=(1000, 4)).astype(np.float32)
    columns.push(np.tile(rows, (5, 1)))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(300):
        columns.push(rows)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert columns.n_frames == 305_000 and grown < 20_000
