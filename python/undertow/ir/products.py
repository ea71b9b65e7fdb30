# SPDX-License-Identifier: MIT
"""A matrix times a frame, or a filter times its taps, as the reference computes it: in float64, or as the engine does
for weights of integers.

The engine rounds a frame to integers before it multiplies it with those of a weight (csrc/FORMAT.md, "What is
computed"). Half a step of that rounding to 8 bits is 1/254 of the largest number in the frame, and whether a number
falls to this or that side can turn on its last bit; so `Rounding` makes the float32 operations that the engine makes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .precision import GROUP, MAX_COLUMNS, STRETCH, bits, limit, quantise, smoothed

_SILENCE = np.float32(2.0**-100)


def round_frame(x: np.ndarray, most: int = 127) -> tuple[np.ndarray, np.float32]:
    """A frame as integers in -most..most (float64) and the factor that makes them numbers again.

    Silence (nothing above 2^-100) is all zeros, factor 0; a frame with NaN or infinity has the factor NaN.
    """
    x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        return np.zeros(x.shape), np.float32(np.nan)
    top = np.abs(x).max(initial=np.float32(0))
    if top < _SILENCE:
        return np.zeros(x.shape), np.float32(0)
    return np.rint(x * (np.float32(most) / top)).astype(np.float64), top / np.float32(most)


@dataclass(frozen=True)
class Rounding:
    """A matrix of integers that rounds what it multiplies.

    Attributes:
        q: (G, rows, K) integers as float64, in which their sums are exact.
        scale: float32 (G, rows) of int16 and int8, (G, rows, groups) of int4.
        most: the largest integer of a frame.
        stretch: columns whose products are summed as integers.
        factors: float32 (K,), what frames are multiplied by first; None: nothing.
    """

    q: np.ndarray
    scale: np.ndarray
    most: int = 127
    stretch: int = MAX_COLUMNS
    factors: np.ndarray | None = None

    @classmethod
    def of(cls, w: np.ndarray, precision: str, smoothing: np.ndarray | None = None) -> Rounding:
        factors = None
        if smoothing is not None:
            w, factors = smoothed(w, smoothing), np.ldexp(np.float32(1), -smoothing.astype(np.int32))
        quantised = quantise(w, precision)
        most, stretch = (limit(w.shape[-1]), STRETCH) if precision == "int16" else (127, MAX_COLUMNS)
        return cls(quantised.q.astype(np.float64), quantised.scale.astype(np.float32), most, stretch, factors)

    def __getitem__(self, gates: slice) -> Rounding:
        return replace(self, q=self.q[gates], scale=self.scale[gates])

    def times(self, x: np.ndarray, b: Any) -> np.ndarray:
        """q x scale + b for one frame x (K,): (G, rows) float64, holding float32 numbers."""
        qx, s = round_frame(x if self.factors is None else np.asarray(x, np.float32) * self.factors, self.most)
        if self.scale.ndim < self.q.ndim:
            y = np.zeros(self.scale.shape, np.float32)
            for k in range(0, self.q.shape[-1], self.stretch):
                columns = slice(k, k + self.stretch)
                y += (self.q[..., columns] @ qx[columns]).astype(np.float32)
            y *= self.scale
        else:
            y = np.zeros(self.scale.shape[:-1], np.float32)
            for g in range(self.scale.shape[-1]):
                columns = slice(GROUP * g, GROUP * (g + 1))
                y = _fma((self.q[..., columns] @ qx[columns]).astype(np.float32), self.scale[..., g], y)
        return _fma(y, s, np.asarray(b, np.float32)).astype(np.float64)


def times(W: np.ndarray | Rounding, x: np.ndarray, b: Any = 0.0) -> np.ndarray:
    """W x + b. W is (rows, K) or (G, rows, K); x one frame (K,), or rows (..., K) where W has no gates."""
    if isinstance(W, np.ndarray):
        return x @ W.T + b if x.ndim > 1 else W @ x + b
    if x.ndim > 1:
        rows = [W.times(row, b) for row in x.reshape(-1, x.shape[-1])]
        return np.array(rows).reshape(*x.shape[:-1], len(W.q))
    return W.times(x, b)


@dataclass(frozen=True)
class RoundingFilters:
    """Filters of int16 that round what they multiply, each channel of a row by itself.

    Attributes:
        q: (taps, channels) integers as float64, in which their sums are exact.
        scale: float32 (channels,).
    """

    q: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, w: np.ndarray) -> RoundingFilters:
        quantised = quantise(w.T, "int16")
        return cls(quantised.q.T.astype(np.float64), quantised.scale)

    def times(self, x: np.ndarray, b: Any) -> np.ndarray:
        """b + the sum over taps of q x scale, of rows x (..., taps, channels): (..., channels) float64, holding float32
        numbers.
        """
        x = np.asarray(x, np.float32)
        top = np.abs(x).max(axis=-2)  # NaN where there is one
        known = np.isfinite(top) & (top >= _SILENCE)
        _, above = np.frexp(np.where(known, top, 1))  # top < 2^above
        s = np.ldexp(np.float32(1), above - bits(len(self.q)))
        qx = np.where(known[..., None, :], np.rint(x / s[..., None, :]), 0).astype(np.float64)
        s = np.where(known, s, np.where(top < _SILENCE, np.float32(0), np.float32(np.nan)))
        y = np.zeros(top.shape, np.float32)
        for k in range(0, len(self.q), STRETCH):
            y += (self.q[k : k + STRETCH] * qx[..., k : k + STRETCH, :]).sum(axis=-2).astype(np.float32)
        return _fma(y * self.scale, s, np.asarray(b, np.float32)).astype(np.float64)


def filtered(W: np.ndarray | RoundingFilters, x: np.ndarray, b: Any = 0.0) -> np.ndarray:
    """b + the sum over taps of W x: W (taps, channels), rows x (..., taps, channels) to (..., channels)."""
    return (W * x).sum(axis=-2) + b if isinstance(W, np.ndarray) else W.times(x, b)


def _fma(a: np.ndarray, b: Any, c: np.ndarray) -> np.ndarray:
    """Products of float32 are exact in float64; the sum is rounded there once before it is rounded to float32."""
    return (a.astype(np.float64) * np.float64(b) + c).astype(np.float32)
