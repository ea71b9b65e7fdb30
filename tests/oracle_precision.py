# SPDX-License-Identifier: MIT
"""The slow truth of weight precisions: numbers and products of csrc/FORMAT.md, "Precisions", one at a time.

Shares no code with the package. float32 operations round exact rational numbers; int8 and int4 products are therefore
right to the bit, and cells take their float64 from there. Weights have undertow's gate order, as in the format.
"""

import math
import struct
from fractions import Fraction
from functools import lru_cache

import numpy as np

import oracle

F32 = np.float32
SILENT = Fraction(1, 2**100)
LARGEST = Fraction(float(np.finfo(F32).max))


def to_float32(exact):
    """The float32 number nearest to a Fraction, ties to even; infinity beyond the largest."""
    if abs(exact) >= LARGEST + Fraction(2) ** 103:
        return F32(np.inf if exact > 0 else -np.inf)
    guess = F32(np.clip(exact.numerator / exact.denominator, -float(LARGEST), float(LARGEST)))
    with np.errstate(over="ignore"):  # rounded twice: a neighbour may be nearer
        near = [
            c for c in (guess, np.nextafter(guess, F32(np.inf)), np.nextafter(guess, F32(-np.inf))) if np.isfinite(c)
        ]
    return min(near, key=lambda c: (abs(Fraction(float(c)) - exact), struct.unpack("<I", struct.pack("<f", c))[0] & 1))


def fma(a, b, c):
    """a b + c of float32 numbers, rounded once."""
    if not all(np.isfinite(v) for v in (a, b, c)):
        with np.errstate(all="ignore"):
            return F32(float(a) * float(b) + float(c))
    return to_float32(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


def mul(a, b):
    return fma(a, b, F32(0))


# -- numbers --------------------------------------------------------------------------------------------------------


def float16(x):
    """The nearest float16 number."""
    return struct.unpack("<e", struct.pack("<e", float(x)))[0]


def half(x):
    """The bits of the nearest float16 number."""
    return struct.unpack("<H", struct.pack("<e", float(x)))[0]


def bfloat16(x):
    """Bits: the nearer of two neighbours, ties to the one whose last bit is 0."""
    low = struct.unpack("<I", struct.pack("<f", float(x)))[0] >> 16
    near = [(abs(struct.unpack("<f", struct.pack("<I", b << 16))[0] - float(x)), b & 1, b) for b in (low, low + 1)]
    return min(near)[2]


def int8_numbers(row):
    """Integers of one row and its float32 scale."""
    scale = to_float32(max(abs(Fraction(float(w))) for w in row) / 127)
    return [round(Fraction(float(w)) / Fraction(float(scale))) if scale else 0 for w in row], scale


@lru_cache
def int16_limit(K):
    """The largest magnitude of integers of rows of K columns: 256 products of two, or K, lie below 2^31."""
    most = 32767
    while most * most * min(K, 256) >= 2**31:
        most -= 1
    return most


def with_9_bits(scale):
    """The smallest number that is not below an exact one and has 9 significant bits; 0 below 2^-86."""
    if scale < Fraction(1, 2**86):
        return Fraction(0)
    exponent = -100
    while Fraction(2) ** (exponent + 1) <= scale:
        exponent += 1
    unit = Fraction(2) ** (exponent - 8)
    return -(-scale // unit) * unit


def int16_numbers(row):
    """Integers of one row and its float32 scale, which falls until it is the one of the row that it stands for."""
    most = int16_limit(len(row))
    top = max(abs(Fraction(float(w))) for w in row)
    scale = with_9_bits(Fraction(float(to_float32(top / most))))
    while scale:
        largest = min(round(Fraction(float(to_float32(top / scale)))), most, LARGEST // scale)
        again = with_9_bits(Fraction(float(to_float32(largest * scale / most))))
        if again == scale:
            break
        scale = again
    q = [round(Fraction(float(to_float32(Fraction(float(w)) / scale)))) if scale else 0 for w in row]
    return [max(-most, min(most, n)) for n in q], F32(float(scale))


def int4_numbers(row):
    """Integers (padded to whole groups) and the float16 scales, as float32, of one row."""
    q, scales = [], []
    for start in range(0, len(row), 32):
        group = row[start : start + 32]
        (scale,) = struct.unpack(
            "<e", struct.pack("<H", half(to_float32(max(abs(Fraction(float(w))) for w in group) / 7)))
        )
        scales.append(F32(scale))
        q += [round(Fraction(float(w)) / Fraction(scale)) if scale else 0 for w in group] + [0] * (32 - len(group))
    return q, scales


def stored_row(row, precision):
    """One row of a matrix or table as float32 numbers after it was stored."""
    if precision == "float32":
        return [F32(w) for w in row]
    if precision == "float16":
        return [F32(float16(w)) for w in row]
    if precision == "bfloat16":
        return [F32(struct.unpack("<f", struct.pack("<I", bfloat16(w) << 16))[0]) for w in row]
    if precision == "int8":
        q, scale = int8_numbers(row)
        return [mul(F32(n), scale) for n in q]
    if precision == "int16":
        q, scale = int16_numbers(row)
        return [mul(F32(n), scale) for n in q]
    q, scales = int4_numbers(row)
    return [mul(F32(n), scales[k // 32]) for k, n in enumerate(q[: len(row)])]


# -- products -------------------------------------------------------------------------------------------------------


NUMBERS = {"int16": int16_numbers, "int8": int8_numbers, "int4": int4_numbers}


def rounded(x, most=127):
    """A frame as integers and the factor that makes them numbers again."""
    if not all(np.isfinite(v) for v in x):
        return [0] * len(x), F32(np.nan)
    top = max(abs(F32(v)) for v in x)
    if Fraction(float(top)) < SILENT:
        return [0] * len(x), F32(0)
    inverse = to_float32(most / Fraction(float(top)))
    return [round(Fraction(float(mul(F32(v), inverse)))) for v in x], to_float32(Fraction(float(top)) / most)


class Matrix:
    """Rows (rows, K) in a precision; smoothing: for each column an exponent, of 2, that frames are divided by."""

    def __init__(self, rows, precision, smoothing=None):
        self.precision = precision
        self.divisors = None if smoothing is None else [F32(2.0 ** int(n)) for n in smoothing]
        if self.divisors is not None:
            rows = [[mul(F32(w), n) for w, n in zip(row, self.divisors, strict=True)] for row in rows]
        self.most = int16_limit(len(rows[0])) if precision == "int16" else 127
        if precision in NUMBERS:
            self.numbers = [NUMBERS[precision](row) for row in rows]
        else:
            self.numbers = np.array([stored_row(row, precision) for row in rows], np.float64)

    def times(self, x, b=None):
        """W x + b: float32 numbers, right to the bit, of integers; float64 of everything else."""
        b = [F32(0)] * len(self.numbers) if b is None else [F32(v) for v in b]
        if self.precision not in NUMBERS:
            return self.numbers @ np.asarray(x, np.float64) + np.array(b, np.float64)
        if self.divisors is not None:
            x = [fma(F32(v), F32(1 / n), F32(0)) for v, n in zip(x, self.divisors, strict=True)]
        qx, s = rounded(x, self.most)
        return np.array([self._row(row, qx, s, bias) for row, bias in zip(self.numbers, b, strict=True)], np.float32)

    def _row(self, row, qx, s, b):
        q, scale = row
        if self.precision == "int8":
            return fma(mul(to_float32(Fraction(sum(m * n for m, n in zip(q, qx, strict=True)))), scale), s, b)
        d = F32(0)
        if self.precision == "int16":
            for k in range(0, len(q), 256):
                some = sum(m * n for m, n in zip(q[k : k + 256], qx[k : k + 256], strict=True))
                assert abs(some) < 2**31
                d = to_float32(Fraction(float(d)) + Fraction(float(to_float32(Fraction(some)))))
            return fma(mul(d, scale), s, b)
        for g, group_scale in enumerate(scale):
            here = slice(32 * g, 32 * g + 32)
            d = fma(to_float32(Fraction(sum(m * n for m, n in zip(q[here], qx[here], strict=False)))), group_scale, d)
        return fma(d, s, b)


class Filters:
    """Filters (taps, channels) of a depthwise layer in int16."""

    def __init__(self, W):
        self.numbers = [int16_numbers(filter_) for filter_ in np.transpose(W)]

    def times(self, x, b=None):
        """Of a row x (taps, channels): (channels,) float32 numbers, right to the bit."""
        b = [F32(0)] * len(self.numbers) if b is None else [F32(v) for v in b]
        channels = zip(self.numbers, np.transpose(x), b, strict=True)
        return np.array([self._channel(*numbers, taps, bias) for numbers, taps, bias in channels])

    def _channel(self, q, scale, taps, b):
        if not np.isfinite(taps).all():
            return F32(np.nan)
        top = float(max(abs(v) for v in taps))
        if top < SILENT:
            return fma(F32(0), F32(0), b)
        power = 1  # the largest that is an integer of a channel
        while 2 * power <= int16_limit(len(q)):
            power *= 2
        step = Fraction(2) ** math.frexp(top)[1] / power
        qx, d = [round(Fraction(float(v)) / step) for v in taps], F32(0)
        assert max(map(abs, qx)) <= power
        for k in range(0, len(q), 256):
            some = sum(m * n for m, n in zip(q[k : k + 256], qx[k : k + 256], strict=True))
            assert abs(some) < 2**31
            d = to_float32(Fraction(float(d)) + Fraction(float(to_float32(Fraction(some)))))
        return fma(mul(d, scale), to_float32(step), b)


# -- cells: one timestep --------------------------------------------------------------------------------------------


class Cell:
    """A recurrent layer of the given precisions (weight key -> name) and smoothing (weight key -> exponents); `step`
    advances it by one frame."""

    def __init__(self, op, weights, attrs, precisions, smoothing=None):
        smoothing = smoothing or {}
        self.op, self.attrs, self.w = op, attrs, weights
        self.gates, self.hidden = weights["W"].shape[:2]
        matrix = lambda key: Matrix(  # noqa: E731
            weights[key].reshape(-1, weights[key].shape[-1]), precisions.get(key, "float32"), smoothing.get(key)
        )
        self.W, self.R = matrix("W"), matrix("R")
        self.projection = matrix("projection") if "projection" in weights else None
        if op == "gru" and not attrs["reset_after"]:
            self.R_n = Matrix(weights["R"][2], precisions.get("R", "float32"), smoothing.get("R"))

    def step(self, x, h, c=None):
        """The next (h,) or (h, c), float64."""
        act = [oracle.activation((a.kind, a.alpha, a.beta)) for a in self.attrs["activations"]]
        limit = self.attrs["clip"] or np.inf
        gate = lambda f, a: f(np.minimum(np.maximum(a, -limit), limit))  # noqa: E731
        split = lambda y: np.asarray(y, np.float64).reshape(self.gates, self.hidden)  # noqa: E731
        b = self.w["b"].reshape(-1) if "b" in self.w else None
        h, c = np.asarray(h, np.float64), None if c is None else np.asarray(c, np.float64)
        with np.errstate(all="ignore"):
            a = split(self.W.times(x, b))
            if self.op == "rnn":
                return (gate(act[0], a[0] + split(self.R.times(h))[0]),)
            if self.op == "gru":
                rb = np.zeros((3, self.hidden), np.float32)
                rb[2] = self.w.get("rb_n", 0)
                r_part = split(self.R.times(h, rb.reshape(-1)))
                z, r = gate(act[0], a[0] + r_part[0]), gate(act[0], a[1] + r_part[1])
                if self.attrs["reset_after"]:
                    n = gate(act[1], a[2] + r * r_part[2])
                else:
                    n = gate(act[1], a[2] + np.asarray(self.R_n.times(r * h), np.float64))
                return ((1 - z) * n + z * h,)
            a = a + split(self.R.times(h))
            p = self.w.get("peephole", np.zeros((3, self.hidden)))
            i = gate(act[0], a[0] + p[0] * c)
            f = 1 - i if self.attrs["input_forget"] else gate(act[0], a[1] + p[1] * c)
            c = f * c + i * gate(act[1], a[2])
            h = gate(act[0], a[3] + p[2] * c) * act[2](c)
            return (h if self.projection is None else np.asarray(self.projection.times(h), np.float64)), c
