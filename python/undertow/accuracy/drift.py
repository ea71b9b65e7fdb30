# SPDX-License-Identifier: MIT
"""How far one model strays from another, and whether the distance grows with the length of the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._progress import tell
from ..errors import ShapeError
from .judge import Judge, Tally

Arrays = dict[str, np.ndarray]

#: Frames that are computed at a time: enough to be fast, few enough to hold.
_CHUNK = 500


@dataclass
class Distance:
    """Errors |y - y_exact| over some frames and all numbers of all outputs, in the units of the outputs.

    Attributes:
        first, last: the frames, counted from 1.
        max: the largest error; infinity where one of the two is NaN and the other is not.
        squares, exact_squares, n: sums of squares of errors and of exact outputs, and the number of both, not
            counting those that are NaN in both.
        tally: what a judge finds over the same frames, where one was asked.
    """

    first: int
    last: int
    max: float = 0.0
    squares: float = 0.0
    exact_squares: float = 0.0
    n: int = 0
    tally: Tally | None = None

    @property
    def rms(self) -> float:
        """Root of the mean square of the errors."""
        return float(np.sqrt(self.squares / max(self.n, 1)))

    @property
    def relative(self) -> float:
        """RMS error as a share of the RMS of the exact outputs."""
        exact = float(np.sqrt(self.exact_squares / max(self.n, 1)))
        return self.rms / exact if exact else (0.0 if self.rms == 0 else float("inf"))

    def add(self, got: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]) -> None:
        """Count the outputs of some more frames."""
        for name, y in exact.items():
            want, have = np.asarray(y, np.float64), np.asarray(got[name], np.float64)
            with np.errstate(invalid="ignore"):
                error = np.abs(have - want)
            same = (have == want) | (np.isnan(have) & np.isnan(want))
            error = np.where(same, 0.0, np.where(np.isnan(error), np.inf, error))
            self.max = max(self.max, float(error.max(initial=0.0)))
            self.squares += float((error**2).sum())
            self.exact_squares += float((want[np.isfinite(want)] ** 2).sum())
            self.n += want.size - int((np.isnan(have) & np.isnan(want)).sum())
        if self.tally is not None:
            self.tally.add(got, exact)


def distances(
    model: Any,
    exact: Any,
    feed: Callable[[int, int], Arrays],
    marks: Iterable[int],
    judge: Judge | None = None,
) -> list[Distance]:
    """Stream the same frames through two models; give their distance between one mark and the next.

    Args:
        model, exact: two streamable `Model`s of the same inputs and outputs (`check_same_frames`).
        feed: (start, stop) -> input name -> (stop - start, *frame).
        marks: numbers of frames, rising: the first distance is over frames 1 to the first mark, and so on.
        judge: for these outputs (`Judge.of`), asked over each of these stretches too.
    """
    streams = model.stream(), exact.stream()
    per_mark, start = [], 0
    for mark in marks:
        distance = Distance(start + 1, mark, tally=None if judge is None else Tally(judge))
        while start < mark:
            tell(f"streams of {mark:,} frames", start, mark)
            stop = min(start + _CHUNK, mark)
            X = feed(start, stop)
            distance.add(*(_by_name(stream.run(_one_or_all(X)), model) for stream in streams))
            start = stop
        per_mark.append(distance)
    tell("")
    return per_mark


def repeated(X: Arrays) -> Callable[[int, int], Arrays]:
    """A feed that gives the frames of X over and over."""
    n = len(next(iter(X.values())))
    return lambda start, stop: {name: np.take(x, np.arange(start, stop) % n, axis=0) for name, x in X.items()}


def n_of_numbers(Y: Mapping[str, np.ndarray], outputs: Mapping[str, Any], n_frames: int) -> int:
    """In how many of n frames all outputs are finite numbers; what is given once counts for all."""
    good = np.ones(n_frames, bool)
    for name, y in Y.items():
        finite = np.isfinite(y)
        in_time = y.ndim > len(outputs[name].shape)
        good &= finite.reshape(len(y), -1).all(axis=1) if in_time and len(y) == n_frames else finite.all()
    return int(good.sum())


def said_of_frames(n_good: int, n_frames: int) -> str:
    """On which frames errors were counted.

    Raises:
        ShapeError: on none.
    """
    if n_good == 0:
        raise ShapeError("outputs are NaN or infinite in every frame of the data: no error can be measured")
    frames = "frame" if n_frames == 1 else "frames"
    if n_good == n_frames:
        return f"{n_frames:,} {frames}"
    return f"{n_good:,} of {n_frames:,} {frames}, outputs of the others holding NaN or infinity"


def check_same_frames(model: Any, exact: Any, what: str) -> None:
    """Refuse to compare models whose inputs or outputs differ.

    Raises:
        ShapeError: says which, with both shapes.
    """
    for kind in ("inputs", "outputs"):
        ours, theirs = (
            {name: (value.shape, value.dtype) for name, value in getattr(m, kind).items()} for m in (model, exact)
        )
        if ours != theirs:
            raise ShapeError(f"{what} has {kind} {theirs}, expected those of {model.name!r}: {ours}")


def _by_name(Y: Any, model: Any) -> Arrays:
    return Y if isinstance(Y, dict) else {next(iter(model.outputs)): Y}


def _one_or_all(X: Arrays) -> Any:
    return X if len(X) != 1 else next(iter(X.values()))
