# SPDX-License-Identifier: MIT
"""What people judge a model by, in place of the errors of single numbers: decisions, decibels, per cent.

| judge | what it measures | better |
|---|---|---|
| `max` | largest error, in the units of the outputs | smaller |
| `rms` | RMS of the errors in per cent of the RMS of the exact outputs | smaller |
| `argmax` | share of frames whose largest number is the same one, along the last axis | larger |
| `threshold=0.5` | share of numbers that are on the same side of 0.5: above, or not above | larger |
| `sisdr` | scale-invariant signal-to-distortion ratio in dB, the exact output being the signal | larger |

`max` and `rms` are of all outputs; the others are of one, which `argmax:NAME` names where a model has several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from numbers import Real

import numpy as np

from .._text import listed, quoted, shown
from ..errors import ShapeError, UnsupportedError
from ..ir.nodes import Value

Arrays = Mapping[str, np.ndarray]

#: kind -> heading of a column
KINDS = {"max": "max error", "rms": "RMS %", "argmax": "agree", "threshold": "agree", "sisdr": "SI-SDR dB"}
_FORMS = ("max", "rms", "argmax", "threshold=NUMBER", "sisdr")
#: of one output: it says more than an error in any of them would
_OF_ONE = ("argmax", "threshold", "sisdr")


@dataclass(frozen=True)
class Judge:
    """How a reduced model is held against the exact one.

    Attributes:
        kind: one of `KINDS`.
        threshold: of "threshold".
        output: name of the output that it looks at; None for all, or, before `of`, for the only one that it can be.
    """

    kind: str = "max"
    threshold: float | None = None
    output: str | None = None

    @classmethod
    def parse(cls, text: str) -> Judge:
        """A judge from its name: "argmax", "threshold=0.5:speech", "sisdr" ...

        Raises:
            TypeError: it is no text.
            UnsupportedError: there is no such judge, or its threshold is no finite number.

        >>> Judge.parse("threshold=0.5:speech")
        Judge(kind='threshold', threshold=0.5, output='speech')
        """
        if not isinstance(text, str):
            raise TypeError(f"judge must be a text such as 'rms' or 'argmax', got {type(text).__name__}")
        of_kind, colon, output = text.partition(":")
        kind, sign, number = of_kind.partition("=")
        if kind not in KINDS:
            close = get_close_matches(kind, KINDS, 1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise UnsupportedError(f"{text!r} is no judge; judges: {', '.join(_FORMS)}{meant}")
        if colon and kind not in _OF_ONE:
            raise UnsupportedError(f"{text!r}: {kind} looks at all outputs; write {kind}")
        if colon and not output:
            raise UnsupportedError(f"{text!r}: expected the name of an output behind the colon")
        if kind != "threshold":
            if sign:
                raise UnsupportedError(f"{text!r}: {kind} takes no number; write {kind}")
            return cls(kind, None, output or None)
        try:
            threshold = float(number)
        except ValueError:
            threshold = math.nan
        if not math.isfinite(threshold):
            got = f"{number!r} is no finite number" if sign else "the number is missing"
            raise UnsupportedError(f"{text!r}: {got}; expected threshold=NUMBER, such as threshold=0.5")
        return cls(kind, threshold, output or None)

    def of(self, outputs: Mapping[str, Value]) -> Judge:
        """The judge that looks at one of these outputs, or at all.

        Raises:
            UnsupportedError: there is no output of that name, or there are several and none was named.
            ShapeError: an output of one number has no largest one.
        """
        if self.kind not in _OF_ONE:
            return self
        name = self.output
        if name is None:
            fitting = [key for key, value in outputs.items() if self.kind != "argmax" or _has_several(value)]
            if len(outputs) > 1 and len(fitting) != 1:
                raise UnsupportedError(
                    f"judge {self}: there are several outputs, {listed(outputs)}; say of which one: "
                    f"judge='{self}:{shown(next(iter(fitting or outputs)))}'"
                )
            name = next(iter(fitting or outputs))
        if name not in outputs:
            raise UnsupportedError(f"judge {self}: there is no output {quoted(name)}; outputs: {listed(outputs)}")
        if self.kind == "argmax" and not _has_several(outputs[name]):
            raise ShapeError(
                f"judge {self}: output {quoted(name)} has shape {outputs[name].shape}, and the largest of one number "
                "is always the same; judge='threshold=0.5' asks whether it is above a number"
            )
        return replace(self, output=name)

    @property
    def more_is_better(self) -> bool:
        return self.kind in _OF_ONE

    @property
    def heading(self) -> str:
        """Of a column of what it finds."""
        return KINDS[self.kind]

    def checked(self, tolerance: float) -> float:
        """A tolerance in this judge's measure.

        Raises:
            TypeError: it is no number.
            UnsupportedError: it is none.
        """
        if isinstance(tolerance, bool) or not isinstance(tolerance, Real):
            raise TypeError(f"tolerance must be a number, got {type(tolerance).__name__}")
        if self.kind in ("argmax", "threshold"):
            if not 0 < tolerance <= 1:
                raise UnsupportedError(
                    f"tolerance {tolerance:g}: judge {self} takes the least share of decisions that agree, above 0 and "
                    "at most 1"
                )
        elif self.kind == "sisdr":
            if not math.isfinite(tolerance):
                raise UnsupportedError(f"tolerance {tolerance:g}: judge {self} takes the least ratio, a number of dB")
        elif not (tolerance > 0 and math.isfinite(tolerance)):
            unit = "per cent" if self.kind == "rms" else "the units of the outputs"
            raise UnsupportedError(f"tolerance {tolerance:g}: expected a number above 0, in {unit}")
        return tolerance

    def undecided(self, exact: Arrays) -> str | None:
        """What to say of exact outputs by name that all decide alike, so that no error near them is ever seen."""
        if self.kind not in ("argmax", "threshold") or self.output is None:
            return None
        y, name = exact[self.output], quoted(self.output)
        if self.threshold is not None:
            n_above = int((y > self.threshold).sum())
            if 0 < n_above < y.size:
                return None
            return f"{'every' if n_above else 'no'} number of output {name} is above {self.threshold:g}"
        largest = np.unique(y.argmax(axis=-1))
        return f"number {largest[0]} of output {name} is always the largest" if len(largest) == 1 else None

    def passes(self, measured: float, tolerance: float) -> bool:
        """Whether what was measured keeps the tolerance; a NaN does not."""
        return measured >= tolerance if self.more_is_better else measured <= tolerance

    def badness(self, measured: float) -> float:
        """What is larger the worse it is."""
        return -measured if self.more_is_better else measured

    def worst(self, *measured: float) -> float:
        return max(measured, key=self.badness)

    @property
    def best(self) -> float:
        """What it finds of two that are equal."""
        return Tally(self).measured

    def said(self, measured: float) -> str:
        """What was measured, for a cell of a table. No share but 1 is rounded to 100 %."""
        if self.kind in ("argmax", "threshold"):
            return f"{math.floor(measured * 1e4) / 100:.2f} %" if measured < 1 else "100 %"
        if self.kind == "sisdr":
            return f"{measured:.1f}"
        return f"{measured:.2g}"

    @property
    def unit(self) -> str:
        """What stands behind a number that was `said`."""
        return {"max": "", "rms": " % of the RMS", "sisdr": " dB of SI-SDR"}.get(self.kind, " of the decisions")

    def said_of_tolerance(self, tolerance: float) -> str:
        """A tolerance, with the measure that it is in."""
        return (f"{100 * tolerance:g} %" if self.kind in ("argmax", "threshold") else f"{tolerance:g}") + self.unit

    def said_of_change(self, measured: float) -> str:
        """What weights do to the outputs, in words."""
        if self.more_is_better:
            return f"leave {self.said(measured)}{self.unit} (judge {self})"
        return f"change the output by {'' if self.unit else 'up to '}{measured:.3g}{self.unit}"

    def __str__(self) -> str:
        number = "" if self.threshold is None else f"={self.threshold:g}"
        return f"{self.kind}{number}" + ("" if self.output is None else f":{shown(self.output)}")


def _has_several(value: Value) -> bool:
    return bool(value.shape) and value.shape[-1] > 1


@dataclass
class Tally:
    """What a judge finds, over outputs that come bit by bit; what is best, where there were none.

    Attributes:
        judge: for the outputs of a model (`Judge.of`).
        max: largest error. n: numbers, or decisions; n_agree: decisions in which the two agree.
        squares, exact_squares, products: sums of squares of errors and of exact numbers, and of one times the other.
        broken: whether a number of one is NaN or infinite, and the other's is another.
    """

    judge: Judge
    max: float = 0.0
    n: int = 0
    n_agree: int = 0
    squares: float = 0.0
    exact_squares: float = 0.0
    products: float = 0.0
    broken: bool = False

    def add(self, got: Arrays, exact: Arrays) -> None:
        """Count some more outputs, by name."""
        names = exact if self.judge.output is None else [self.judge.output]
        for name in names:
            y, want = np.asarray(got[name]), np.asarray(exact[name])
            if self.judge.kind in ("argmax", "threshold"):
                alike = agreement(y, want, self.judge.threshold)
                self.n += alike.size
                self.n_agree += int(alike.sum())
            else:
                self._add_errors(y.astype(np.float64), want.astype(np.float64))

    def _add_errors(self, y: np.ndarray, want: np.ndarray) -> None:
        same = (y == want) | (np.isnan(y) & np.isnan(want))
        finite = np.isfinite(y) & np.isfinite(want)
        self.broken = self.broken or bool((~(same | finite)).any())
        want = np.where(finite, want, 0.0)
        error = np.where(finite, y, 0.0) - want
        self.n += want.size
        self.max = max(self.max, float(np.abs(error).max(initial=0.0)))
        self.squares += float((error**2).sum())
        self.exact_squares += float((want**2).sum())
        self.products += float((error * want).sum())

    @property
    def measured(self) -> float:
        """In the judge's measure.

        SI-SDR: J. Le Roux et al., "SDR - Half-Baked or Well Done?", ICASSP 2019, |a s|^2 / |a s - got|^2 with
        a = <got, s> / <s, s>, s being exact; no mean is removed. Computed from the error e = got - s, which loses
        nothing where that is small: a = 1 + <e, s> / <s, s>, and the noise is e less its share of s. Infinite where
        there is no noise; minus infinity where s is silent and the other is not, or the other way round.
        """
        kind = self.judge.kind
        if kind in ("argmax", "threshold"):
            return self.n_agree / self.n if self.n else 1.0
        if self.broken:
            return -math.inf if kind == "sisdr" else math.inf
        if kind == "max":
            return self.max
        if kind == "rms":
            if self.exact_squares:
                return 100 * math.sqrt(self.squares / self.exact_squares)
            return math.inf if self.squares else 0.0
        share = self.products / self.exact_squares if self.exact_squares else 0.0
        signal = (1 + share) ** 2 * self.exact_squares
        noise = max(self.squares - share * self.products, 0.0)
        if noise == 0:
            return -math.inf if signal == 0 and self.exact_squares else math.inf
        return 10 * math.log10(signal / noise) if signal else -math.inf


def agreement(y: np.ndarray, exact: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Where two decide alike: by the largest along the last axis, or, given a threshold, by what is above it.

    A NaN decides nothing: the two are not alike where only one of them has one, and where both have one, there is no
    decision to compare.

    Returns: of all decisions, in order, whether they are alike.
    """
    nan, nan_exact = np.isnan(y), np.isnan(exact)
    if threshold is not None:
        alike = (y > threshold) == (exact > threshold)
    else:
        alike = y.argmax(axis=-1) == exact.argmax(axis=-1)
        nan, nan_exact = nan.any(axis=-1), nan_exact.any(axis=-1)
    decided = np.asarray(~(nan & nan_exact))
    return np.asarray(alike & (nan == nan_exact))[decided]


__all__ = ["KINDS", "Judge", "Tally", "agreement"]
