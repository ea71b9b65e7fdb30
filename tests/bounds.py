# SPDX-License-Identifier: MIT
"""What float32 may make of one op: its value in float64, and a bound on how far rounding takes the engine from it.

A `Ball` holds both. Bounds are those of running error analysis (Higham, "Accuracy and Stability of Numerical
Algorithms", 3.3): an operation adds the unit roundoff U times the magnitude of its result, a sum of n products n times
U times the sum of their magnitudes, and what goes in is carried on by the op itself. An activation takes both ends of
its ball, so where it jumps the bound is the jump. Nothing is known beyond HUGE, where float32 may overflow: there, and
where an end has no value, a bound is infinite and judges nothing.

int8 and int4 products are made of exact sums and a few float32 operations (csrc/FORMAT.md, "What is computed"), so
they have a ball of radius 0, unless what is rounded to integers is a ball itself: then each number near the middle
between two integers may go to either.
"""

from typing import NamedTuple

import numpy as np

from undertow.reference import activate

U = 2.0**-24
#: what flushing subnormals may take from a result, with the few operations behind it
TINY = 2.0**-120
HUGE = 1e37
#: error of an activation (kernels/math-inl.h: below 3 ulp), and of the operations that make others of it
ACTIVATION = 8


class Ball(NamedTuple):
    """All numbers within `e` of `v`, elementwise."""

    v: np.ndarray
    e: np.ndarray

    def __getitem__(self, at):
        return Ball(self.v[at], self.e[at])

    def reshape(self, *shape: int) -> "Ball":
        return Ball(self.v.reshape(*shape), self.e.reshape(*shape))


def exact(v) -> Ball:
    v = np.asarray(v, np.float64)
    return Ball(v, np.zeros(v.shape))


def normal(x: np.ndarray) -> np.ndarray:
    """x with zeros for subnormal float32 numbers, as which the engine takes them wherever it computes."""
    x = np.asarray(x, np.float64)
    return np.where(np.abs(x) < 2.0**-126, 0.0, x)


def rounded(v, e, magnitude=None, n: float = 1) -> Ball:
    """A result of `n` operations whose terms have this magnitude in all; `e`: what their inputs were off by."""
    magnitude = np.abs(v) if magnitude is None else magnitude
    e = e + n * U * (magnitude + e) + TINY
    return Ball(v, np.where(magnitude + e < HUGE, e, np.inf))


def add(a: Ball, b: Ball, sign: float = 1.0) -> Ball:
    return rounded(a.v + sign * b.v, a.e + b.e)


def mul(a: Ball, b: Ball) -> Ball:
    return rounded(a.v * b.v, np.abs(a.v) * b.e + np.abs(b.v) * a.e + a.e * b.e)


def div(a: Ball, b: Ball) -> Ball:
    least = np.abs(b.v) - b.e
    v = a.v / b.v
    return rounded(v, np.where(least > 0, (a.e + np.abs(v) * b.e) / np.where(least > 0, least, 1.0), np.inf))


def mul_add(a: Ball, b: Ball, c: Ball) -> Ball:
    """a b + c, in one rounding or in two."""
    product = mul(a, b)
    return rounded(product.v + c.v, product.e + c.e)


def total(x: Ball, axis: int) -> Ball:
    """A sum, in any order."""
    magnitude = np.abs(x.v).sum(axis, keepdims=True)
    return rounded(x.v.sum(axis, keepdims=True), x.e.sum(axis, keepdims=True), magnitude, x.v.shape[axis])


def activation(act, x: Ball) -> Ball:
    if act.kind == "identity":
        return x
    y, ends = activate(act, x.v), [activate(act, x.v - x.e), activate(act, x.v + x.e)]
    e = np.maximum(*(np.abs(end - y) for end in ends))
    e = np.where(np.isfinite(x.e), e, np.inf)  # x may be NaN, which no two ends hold between them
    if act.kind in ("sin", "cos", "silu"):  # a turning point may lie inside; their second derivatives are at most 1.1
        e = e + x.e**2
    if act.kind == "reciprocal":
        e = np.where(np.sign(ends[0]) == np.sign(ends[1]), e, np.inf)
    if act.kind == "affine":
        return rounded(y, e, np.abs(act.alpha * x.v) + abs(act.beta))
    if act.kind in ("relu", "abs", "round", "floor", "ceil", "sign", "clip", "thresholded_relu"):
        return rounded(y, e, n=0)
    return rounded(y, e, n=ACTIVATION)


# -- products ---------------------------------------------------------------------------------------------------------


class Floats:
    """A matrix (rows, K) of float32 numbers, whatever they are stored as."""

    def __init__(self, W: np.ndarray) -> None:
        self.W = normal(W)

    def times(self, x: Ball, b) -> Ball:
        """W x + b of rows x (N, K)."""
        A = np.abs(self.W)
        magnitude = np.abs(x.v) @ A.T + np.abs(b)
        return rounded(x.v @ self.W.T + b, x.e @ A.T, magnitude, self.W.shape[1] + 3)


class Integers:
    """A matrix (rows, K) of integers q with scales (rows, groups): one group of int16 and int8, one for 32 columns of
    int4. most: the largest integer of a frame; stretch: columns whose products are summed as integers; factors (K,):
    what frames are multiplied by first."""

    def __init__(
        self,
        q: np.ndarray,
        scale: np.ndarray,
        most: int = 127,
        stretch: int = 1 << 17,
        factors: np.ndarray | None = None,
    ) -> None:
        self.most, self.stretch, self.factors = most, stretch, factors
        self.q, self.scale = q.astype(np.float64), scale.astype(np.float32)
        K, n = q.shape[1], scale.shape[1]
        self.groups = [slice(32 * g, 32 * g + 32) for g in range(n)] if n == -(-K // 32) and n > 1 else [slice(0, K)]
        self.int4 = scale.dtype == np.float16

    def times(self, x: Ball, b) -> Ball:
        if self.factors is not None:
            x = Ball(normal(x.v * self.factors), x.e * self.factors)
        x32 = x.v.astype(np.float32)
        top = np.abs(x32).max(axis=1, keepdims=True)
        silent = top < np.float32(2.0**-100)
        s = np.where(silent, 0, top / np.float32(self.most)).astype(np.float32)
        steps = x32 * (np.float32(self.most) / np.where(silent, 1, top))
        qx = np.where(silent, 0, np.rint(steps)).astype(np.float64)
        y = np.zeros((len(x32), len(self.q)), np.float32)
        for g, columns in enumerate(self.groups):
            sums = np.zeros_like(y)
            start, stop, _ = columns.indices(self.q.shape[1])
            for k in range(start, stop, self.stretch):
                some = slice(k, min(k + self.stretch, stop))
                sums += (qx[:, some] @ self.q[:, some].T).astype(np.float32)
            y = _fma(sums, self.scale[:, g], y) if self.int4 else sums * self.scale[:, g]
        v = _fma(y, s, np.broadcast_to(np.float32(b), y.shape)).astype(np.float64)
        e = np.zeros(v.shape)
        if x.e.any():
            e = self._either_way(x, steps, s, top, np.abs(v))
        return Ball(v, np.where(np.isfinite(top) & (np.abs(v) + e < HUGE), e + TINY, np.inf))

    def _either_way(self, x: Ball, steps, s, top, magnitude) -> np.ndarray:
        e_top = x.e.max(axis=1, keepdims=True) / np.maximum(top, TINY)
        off = x.e / np.maximum(s, TINY) + np.abs(steps) * (e_top + 4 * U) + 1e-9
        turns = np.floor(np.abs(steps - np.rint(steps)) + off + 0.5)  # by how many integers a number may be elsewhere
        widths = [columns.indices(self.q.shape[1]) for columns in self.groups]
        A = np.abs(self.q) * np.repeat(self.scale, [stop - start for start, stop, _ in widths], axis=1)
        reach = (np.abs(np.rint(steps)) + turns) @ A.T * s
        e = (turns @ A.T) * s + (e_top + 8 * U) * (reach + magnitude) + TINY
        return np.where(top > 2.0**-98, e, np.inf)


def filtered(q: np.ndarray, scale: np.ndarray, x: np.ndarray, b, most: int) -> Ball:
    """Filters (taps, channels) of integers q with scales (channels,), of rows x (..., taps, channels), which become
    integers up to a power of two within `most`."""
    top = np.abs(x).max(axis=-2)
    silent = top < 2.0**-100
    s = 2.0 ** (np.floor(np.log2(np.where(silent | ~np.isfinite(top), 1, top))) + 1 - np.floor(np.log2(most)))
    qx = np.where(silent[..., None, :], 0, np.rint(x / s[..., None, :]))
    y = np.zeros(top.shape, np.float32)
    for k in range(0, len(q), 256):
        y += (qx[..., k : k + 256, :] * q[k : k + 256]).sum(axis=-2).astype(np.float32)
    v = _fma(y * scale.astype(np.float32), np.where(silent, 0, s), np.broadcast_to(np.float32(b), y.shape))
    v = v.astype(np.float64)
    return Ball(v, np.where(np.isfinite(top) & (np.abs(v) < HUGE), TINY, np.inf))


def _fma(a: np.ndarray, b, c: np.ndarray) -> np.ndarray:
    """Products of float32 are exact in float64, and their sums nearly: they are rounded there before to float32."""
    return (a.astype(np.float64) * np.float64(b) + c).astype(np.float32)


# -- cells: one timestep of N rows ------------------------------------------------------------------------------------


class Cell:
    """A recurrent layer: matrices by name, W and R as lists of one for each gate."""

    def __init__(self, op: str, attrs, w, matrix) -> None:
        """matrix: weight key, gate -> Floats or Integers."""
        self.op, self.attrs, self.w = op, attrs, w
        G = w["W"].shape[0]
        self.W, self.R = ([matrix(key, g) for g in range(G)] for key in ("W", "R"))
        self.projection = matrix("projection", None) if "projection" in w else None

    def step(self, x: Ball, h: Ball, c: Ball | None = None) -> tuple[Ball, ...]:
        acts, w = self.attrs["activations"], self.w
        b = w.get("b", np.zeros(w["W"].shape[:2]))
        of_x = [W.times(x, b[g]) for g, W in enumerate(self.W)]
        if self.op == "rnn":
            return (self._gate(acts[0], add(of_x[0], self.R[0].times(h, 0.0))),)
        if self.op == "gru":
            return (self._gru(of_x, h),)
        i, f, g, o = (add(a, R.times(h, 0.0)) for a, R in zip(of_x, self.R, strict=True))
        p = [exact(np.broadcast_to(v, c.v.shape)) for v in w.get("peephole", np.zeros((3, 1)))]
        i = self._gate(acts[0], mul_add(p[0], c, i))
        one = exact(np.ones(i.v.shape))
        f = add(one, i, -1.0) if self.attrs["input_forget"] else self._gate(acts[0], mul_add(p[1], c, f))
        after = mul_add(f, c, mul(i, self._gate(acts[1], g)))
        h = mul(self._gate(acts[0], mul_add(p[2], after, o)), activation(acts[2], after))
        return (h if self.projection is None else self.projection.times(h, 0.0)), after

    def _gru(self, of_x: list[Ball], h: Ball) -> Ball:
        gate, candidate = self.attrs["activations"]
        z, r = (self._gate(gate, add(of_x[g], self.R[g].times(h, 0.0))) for g in (0, 1))
        if self.attrs["reset_after"]:
            n = mul_add(r, self.R[2].times(h, self.w.get("rb_n", 0.0)), of_x[2])
        else:
            n = add(of_x[2], self.R[2].times(mul(r, h), 0.0))
        n = self._gate(candidate, n)
        return mul_add(z, add(h, n, -1.0), n)  # (1 - z) n + z h

    def _gate(self, act, a: Ball) -> Ball:
        limit = self.attrs["clip"]
        return activation(act, a if limit is None else Ball(np.clip(a.v, -limit, limit), a.e))
