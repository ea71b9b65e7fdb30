# SPDX-License-Identifier: MIT
"""Numbers over time as the columns of a picture, however long they go on: what they need does not grow with time."""

from __future__ import annotations

import numpy as np

#: What a picture can show from left to right, and from top to bottom of a panel.
MAX_COLUMNS = 2400
MAX_UNITS = 480


class Columns:
    """The least and the largest of each number of a frame, for so many columns as can be seen.

    A column stands for `every` frames. Whenever there are more than `most` columns, two become one: nothing that stands
    out is lost, and there are at least half as many as there may be.

    Attributes:
        size: numbers of a frame. Beyond `MAX_UNITS`, neighbours share a row.
        n_frames: frames so far.
        every: frames of a column, a power of 2.
    """

    def __init__(self, size: int, most: int = MAX_COLUMNS, most_units: int = MAX_UNITS) -> None:
        self.size, self.n_frames, self.every = size, 0, 1
        self._most = most
        share = -(-size // most_units)
        self._starts = np.arange(0, size, share)
        self._low = np.zeros((0, len(self._starts)), np.float32)
        self._high = np.zeros((0, len(self._starts)), np.float32)

    @property
    def low(self) -> np.ndarray:
        """(columns, units): the least, without NaN where there is anything else."""
        return self._low[: len(self)]

    @property
    def high(self) -> np.ndarray:
        """(columns, units): the largest."""
        return self._high[: len(self)]

    @property
    def peak(self) -> np.ndarray:
        """(columns, units): what is farthest from zero, with its sign."""
        low, high = self.low, self.high
        return np.where(np.abs(low) > np.abs(high), low, high)

    def __len__(self) -> int:
        return -(-self.n_frames // self.every)

    def push(self, rows: np.ndarray, span: int = 1) -> None:
        """Take rows (T, size), each of which stands for `span` frames, at most `every`."""
        rows = np.asarray(rows, np.float32).reshape(len(rows), self.size)
        while self.n_frames + len(rows) * span > self._most * self.every:
            self._halve()
        if not len(rows):
            return
        if len(self._starts) < self.size:
            low, high = (f.reduceat(rows, self._starts, axis=1) for f in (np.fmin, np.fmax))
        else:
            low = high = rows
        columns = (self.n_frames + span * np.arange(1, len(rows) + 1) - 1) // self.every
        starts = np.flatnonzero(np.diff(columns, prepend=-1))
        n_before, first = len(self), int(columns[0])
        self.n_frames += len(rows) * span
        self._reserve()
        for kept, part, f in ((self._low, low, np.fmin), (self._high, high, np.fmax)):
            pooled = f.reduceat(part, starts, axis=0)
            if first < n_before:
                pooled[0] = f(pooled[0], kept[first])
            kept[first : first + len(pooled)] = pooled

    def _reserve(self) -> None:
        n = len(self)
        if n > len(self._low):
            more = np.zeros((min(max(2 * n, 64), self._most) - len(self._low), len(self._starts)), np.float32)
            self._low, self._high = np.concatenate([self._low, more]), np.concatenate([self._high, more])

    def _halve(self) -> None:
        n = len(self)
        if n:
            starts = np.arange(0, n, 2)
            self._low[: len(starts)] = np.fmin.reduceat(self._low[:n], starts, axis=0)
            self._high[: len(starts)] = np.fmax.reduceat(self._high[:n], starts, axis=0)
        self.every *= 2


def columns_of(rows: np.ndarray) -> Columns:
    """Columns of rows (T, size) that are there already."""
    columns = Columns(rows.shape[1])
    columns.push(rows)
    return columns
