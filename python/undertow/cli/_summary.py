# SPDX-License-Identifier: MIT
"""Numbers of outputs and states in short, for --json: added up as they come, in constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._outputs import Sink


class Numbers:
    """Arrays (T, *shape), one after the other."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] | None = None
        self.n = self.n_not_finite = 0
        self.least, self.largest, self.total, self.squares = np.inf, -np.inf, 0.0, 0.0

    def add(self, rows: np.ndarray, in_time: bool = True) -> None:
        """Count some more rows; `in_time` False: an array that is given once."""
        shape = tuple(rows.shape)
        if self.shape is not None and in_time:
            shape = (self.shape[0] + shape[0], *shape[1:])
        self.shape = shape
        finite = rows[np.isfinite(rows)].astype(np.float64)
        self.n += finite.size
        self.n_not_finite += rows.size - finite.size
        if finite.size:
            self.least, self.largest = min(self.least, finite.min()), max(self.largest, finite.max())
            self.total += float(finite.sum())
            self.squares += float((finite**2).sum())

    def data(self) -> dict[str, Any]:
        """Shape; least, largest, mean and RMS of the finite numbers (null without any); how many are not finite."""
        some = self.n > 0
        return {
            "shape": list(self.shape or ()),
            "min": float(self.least) if some else None,
            "max": float(self.largest) if some else None,
            "mean": self.total / self.n if some else None,
            "rms": float(np.sqrt(self.squares / self.n)) if some else None,
            "not_finite": self.n_not_finite,
        }


class Summary(Sink):
    """Outputs of a model, by name."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._numbers = {name: Numbers() for name in model.outputs}

    def take(self, Y: dict[str, np.ndarray]) -> None:
        for name, y in Y.items():
            self._numbers[name].add(y, y.ndim > len(self._model.outputs[name].shape))

    def data(self) -> dict[str, Any]:
        return {name: numbers.data() for name, numbers in self._numbers.items()}


def in_short(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """name -> `Numbers.data` of arrays that are there as a whole."""
    facts = {}
    for name, array in arrays.items():
        numbers = Numbers()
        numbers.add(array)
        facts[name] = numbers.data()
    return facts


__all__ = ["Numbers", "Summary", "in_short"]
