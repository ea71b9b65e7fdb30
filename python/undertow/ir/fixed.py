# SPDX-License-Identifier: MIT
"""Cells in fixed8, in integers as the engine computes them (csrc/FORMAT.md, "Cells in fixed8"; csrc/kernels/fixed.h).

Units: h and frames 2^-15 of a power of two, gates before their activation and c 2^-16, tanh 2^-15, sigmoid 2^-16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .precision import quantise

#: columns whose products an int32 can sum
STRETCH = 512
MOST, MOST_COUNT, MOST_C = 2**30 - 1, 2**15 - 1, 2**24 - 1
#: the exponent of h, which is that of a frame of numbers below 1
OF_H = 126

_T = np.tanh(np.arange(385) / 64)
_TABLE = np.minimum(np.rint(32768 * _T + _T * (1 - _T**2)), MOST_COUNT).astype(np.int64)


def multipliers(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of float32 scales of rows: the 15 bits and the biased exponent of each; 0 and 0 of a scale that is 0."""
    bits = np.ascontiguousarray(scale, np.float32).view(np.uint32).astype(np.int64)
    mantissa = (bits & 0x7FFFFF | 0x800000) >> 9
    return np.where(bits == 0, 0, mantissa), bits >> 23


def counts(x: Any, base: int, most: int) -> np.ndarray:
    """Finite numbers in units of 2^(base - 150), to nearest, halves away from zero; subnormal ones are 0."""
    x = np.asarray(x, np.float32)
    normal = np.where(np.abs(x) < np.float32(2.0**-126), 0, x).astype(np.float64)
    with np.errstate(over="ignore"):
        steps = np.floor(np.abs(np.ldexp(normal, 150 - base)) + 0.5)
    return (np.sign(normal) * np.minimum(steps, most)).astype(np.int64)


def biases(b: Any) -> np.ndarray:
    """What is added to a gate; a number that is none is 0."""
    return counts(np.where(np.isfinite(b), b, 0), 134, MOST)


@dataclass(frozen=True)
class Fixed:
    """A matrix (G, rows, K) in fixed8, which makes integers of what it multiplies."""

    q: np.ndarray
    multiplier: np.ndarray
    exponent: np.ndarray

    @classmethod
    def of(cls, w: np.ndarray) -> Fixed:
        quantised = quantise(w, "fixed8")
        return cls(quantised.q.astype(np.int64), *multipliers(quantised.scale))

    def __getitem__(self, gates: slice) -> Fixed:
        return Fixed(self.q[gates], self.multiplier[gates], self.exponent[gates])

    def times(self, x: np.ndarray, b: Any = 0.0, of_frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """W x + b in units of 2^-16, and where that is a number: (G, rows) each."""
        b = np.broadcast_to(np.asarray(b, np.float32), self.exponent.shape)
        z, known = biases(b), np.isfinite(b)
        if not np.isfinite(x).all():
            return z, np.zeros_like(known)
        if of_frames is None:
            bits = np.abs(np.asarray(x, np.float32)).view(np.uint32)
            of_frames = int(bits.max(initial=0) >> 23)
        qx = counts(x, 9 + of_frames, MOST_COUNT)
        for k in range(0, self.q.shape[-1], STRETCH):
            columns = slice(k, k + STRETCH)
            z = z + _scaled(self.q[..., columns] @ qx[columns], self.multiplier, 250 - of_frames - self.exponent)
            z = z.clip(-MOST, MOST)
        return z, known


def _scaled(sums: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    p = product(sums, multiplier)
    right, left = np.clip(shift, 1, 31), np.clip(-shift, 0, 30)
    most = MOST >> left
    lifted = np.where(np.abs(p) > most, np.sign(p) * MOST, p * (1 << left))
    return np.where(shift > 0, ((p >> right - 1) + 1) >> 1, lifted)


def product(v: np.ndarray, s: np.ndarray) -> np.ndarray:
    """v s / 2^16, to nearest, halves up."""
    return (v * s + 0x8000) >> 16


def _line(z: np.ndarray, step: int) -> np.ndarray:
    a = np.abs(z)
    i = np.minimum(a >> step, 383)
    t = _TABLE[i] + (((_TABLE[i + 1] - _TABLE[i]) * (a & (1 << step) - 1) + (1 << step - 1)) >> step)
    return np.sign(z) * np.where(a >> step > 383, MOST_COUNT, t)


def tanh(z: np.ndarray) -> np.ndarray:
    return _line(z, 10)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 32768 + _line(z, 11)


def numbers(n: np.ndarray, known: np.ndarray, k: int) -> np.ndarray:
    """n 2^-k, float64, NaN where that is not known."""
    return np.where(known, np.ldexp(n.astype(np.float64), -k), np.nan)


def of_h(h: np.ndarray) -> np.ndarray:
    """h as integers, and 0 in place of what is no number."""
    return counts(np.where(np.isfinite(h), h, 0), 9 + OF_H, MOST_COUNT)


def of_c(c: np.ndarray) -> np.ndarray:
    return counts(np.where(np.isfinite(c), c, 0), 134, MOST_C)
