# SPDX-License-Identifier: MIT
"""The time mixing of RWKV, versions 4, 6 and 7: each frame is mixed with the one before it, then linear attention.

Letters: I inputs, H channels (heads times width), R rank, M heads, N width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from ..errors import ShapeError
from ..ir.graph import Graph
from .matrix_states import recall, remember
from .recurrence import LEAST, Get, Making, Recurrence, Term, exp, layer_norm, sigmoid, silu, tanh, unit

#: what a norm of the reference adds to the variance: 1e-5 times its head_size_divisor, 8, squared
HEAD_NORM_EPS = 64e-5


class _TimeMix(Recurrence):
    """What the versions share."""

    def _before(self, making: Making, x: Term) -> Term:
        """The frame before this one, zeros at the start."""
        before = making.state("x", x.shape)
        making.write("x", x)
        return before

    def _low_rank(self, making: Making, x: Term, k: str, inner: Any = None) -> Term:
        """x through two factors (I, R) and (R, H), as the reference stores them, with a function between."""
        y = making.dense(x, self.w[f"{k}1"].T)
        return making.dense(y if inner is None else inner(y), self.w[f"{k}2"].T)


class RWKV4(_TimeMix):
    """Time mixing of RWKV-4: a weighted mean of all values so far, whose weights are exponentials and decay.

    Equation::

        k, v, r = key, value, receptance of x m + x_before (1 - m), m = time_mix_k, time_mix_v, time_mix_r
        wkv = (A + exp(u + k) v) / (B + exp(u + k)),  u = time_first
        A = exp(w) A + exp(k) v,  B = exp(w) B + exp(k),  w = -exp(time_decay)
        y = output (sigmoid(r) * wkv)

    A and B are kept divided by exp(p), where p is the largest exponent so far, which nothing overflows.

    State: x (I), a, b, p (H).
    Source: Peng et al., RWKV, arXiv:2305.13048; names of BlinkDL/RWKV-LM, written from knowledge of it: time_decay,
    time_first, time_mix_k, time_mix_v, time_mix_r, key.weight, value.weight, receptance.weight, output.weight.

    Args:
        time_decay, time_first: (H,).
        time_mix_k, time_mix_v, time_mix_r: (I,).
        key, value, receptance: (H, I).
        output: (O, H).
        name: as for `MinGRU`.

    Raises:
        ShapeError: an array has another shape; the message names it.

    >>> undertow.RWKV4(*np.ones((2, 4)), *np.ones((3, 4)), *np.ones((4, 4, 4)))
    RWKV4(4 -> 4)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        **{k: k for k in ("time_decay", "time_first", "time_mix_k", "time_mix_v", "time_mix_r")},
        **{k: f"{k}.weight" for k in ("key", "value", "receptance", "output")},
    }

    def __init__(
        self,
        time_decay: Any,
        time_first: Any,
        time_mix_k: Any,
        time_mix_v: Any,
        time_mix_r: Any,
        key: Any,
        value: Any,
        receptance: Any,
        output: Any,
        *,
        name: str | None = None,
    ) -> None:
        mixes = {"time_mix_k": (time_mix_k, "I"), "time_mix_v": (time_mix_v, "I"), "time_mix_r": (time_mix_r, "I")}
        matrices = {"key": (key, "H I"), "value": (value, "H I"), "receptance": (receptance, "H I")}
        decays = {"time_decay": (time_decay, "H"), "time_first": (time_first, "H")}
        self._take(name, **matrices, **mixes, **decays, output=(output, "O H"))

    def _step(self, making: Making, x: Term) -> Term:
        w, before, H = self.w, self._before(making, x), (self.n["H"],)
        k, v, r = (
            making.dense(x * w[f"time_mix_{p}"] + before * (1 - w[f"time_mix_{p}"]), w[name])
            for p, name in zip("kvr", ("key", "value", "receptance"), strict=True)
        )
        a, b, p = making.state("a", H), making.state("b", H), making.state("p", H, LEAST)
        now = k + w["time_first"]
        top = p.max(now)
        old, new = exp(p - top), exp(now - top)
        wkv = (old * a + new * v) / (old * b + new)
        p = p - np.exp(w["time_decay"])
        top = making.write("p", p.max(k))
        old, new = exp(p - top), exp(k - top)
        making.write("a", old * a + new * v)
        making.write("b", old * b + new)
        return making.dense(sigmoid(r) * wkv, w["output"])


class RWKV6(_TimeMix):
    """Time mixing of RWKV-6 (Finch): a matrix for each head, whose rows decay at rates that the input says.

    Equation::

        dx = x_before - x;  m = tanh((x + dx time_maa_x) time_maa_w1) time_maa_w2
        k, v, r, g, w = of x + dx (time_maa + m), each its own
        w = exp(-exp(time_decay + tanh(.. time_decay_w1) time_decay_w2))
        y = (S + diag(u) k v^T)^T r,  S = diag(w) S + k v^T      of each head, u = time_faaaa
        out = output (ln_x(y) * silu(g))

    State: x (I), S (M, N, N).
    Source: Peng et al., Eagle and Finch, arXiv:2404.05892; names of BlinkDL/RWKV-LM: time_maa_x, time_maa_w, _k, _v,
    _r, _g, time_maa_w1, time_maa_w2, time_decay, time_decay_w1, time_decay_w2, time_faaaa, receptance, key, value,
    gate, output (each .weight), ln_x.weight, ln_x.bias.

    Args:
        time_maa_x: (I,).
        time_maa: (5, I), of w, k, v, r, g.
        time_maa_w1, time_maa_w2: (I, 5 * R) and (5, R, I).
        time_decay: (H,).
        time_decay_w1, time_decay_w2: (I, R') and (R', H).
        time_faaaa: (M, N).
        receptance, key, value, gate: (H, I).
        output: (O, H).
        ln_weight, ln_bias: (H,), of the norm of each head.
        eps: of that norm.
        name: as for `MinGRU`; so is the ShapeError.

    >>> low = [np.ones(4), np.ones((5, 4)), np.ones((4, 10)), np.ones((5, 2, 4)), np.ones(4)]
    >>> undertow.RWKV6(*low, np.ones((4, 3)), np.ones((3, 4)), np.ones((2, 2)), *np.ones((5, 4, 4)), *np.ones((2, 4)))
    RWKV6(4 -> 4)
    """

    def __init__(
        self,
        time_maa_x: Any,
        time_maa: Any,
        time_maa_w1: Any,
        time_maa_w2: Any,
        time_decay: Any,
        time_decay_w1: Any,
        time_decay_w2: Any,
        time_faaaa: Any,
        receptance: Any,
        key: Any,
        value: Any,
        gate: Any,
        output: Any,
        ln_weight: Any,
        ln_bias: Any,
        *,
        eps: float = HEAD_NORM_EPS,
        name: str | None = None,
    ) -> None:
        matrices = {
            "receptance": (receptance, "H I"),
            "key": (key, "H I"),
            "value": (value, "H I"),
            "gate": (gate, "H I"),
        }
        mixes = {"time_maa_x": (time_maa_x, "I"), "time_maa": (time_maa, "5 I")}
        low = {"time_maa_w1": (time_maa_w1, "I 5R"), "time_maa_w2": (time_maa_w2, "5 R I")}
        decay = {"time_decay": (time_decay, "H"), "time_decay_w1": (time_decay_w1, "I Q")}
        decay |= {"time_decay_w2": (time_decay_w2, "Q H"), "time_faaaa": (time_faaaa, "M N")}
        norm = {"ln_weight": (ln_weight, "H"), "ln_bias": (ln_bias, "H")}
        self._take(name, **matrices, **mixes, **low, **decay, **norm, output=(output, "O H"))
        self.eps = float(eps)
        _check_heads(self, "time_faaaa")

    def _step(self, making: Making, x: Term) -> Term:
        w, M, N, R = self.w, self.n["M"], self.n["N"], self.n["R"]
        dx = self._before(making, x) - x
        low = tanh(making.dense(x + dx * w["time_maa_x"], w["time_maa_w1"].T))
        mixed = [
            x + dx * (making.dense(low[i * R : (i + 1) * R], w["time_maa_w2"][i].T, w["time_maa"][i])) for i in range(5)
        ]
        inner = making.dense(mixed[0], w["time_decay_w1"].T)
        rate = making.dense(tanh(inner), w["time_decay_w2"].T, w["time_decay"])
        decay = exp(-exp(rate)).reshape(M, N)
        k, v, r, g = (
            making.dense(m, w[p]) for m, p in zip(mixed[1:], ("key", "value", "receptance", "gate"), strict=True)
        )
        k, v, r = (a.reshape(M, N) for a in (k, v, r))
        S = making.state("S", (M, N, N))
        y = recall(S, r) + (r * k * w["time_faaaa"]).sum() * v
        remember(making, S * decay[:, :, None], k, v)
        y = layer_norm(y, w["ln_weight"].reshape(M, N), w["ln_bias"].reshape(M, N), self.eps)
        return making.dense(y.reshape(M * N) * silu(g), w["output"])

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        arrays = {k: get(k) for k in ("time_maa_x", "time_maa_w1", "time_maa_w2", "time_decay", "time_decay_w1")}
        arrays |= {k: get(k) for k in ("time_decay_w2", "time_faaaa")}
        arrays |= {k: get(f"{k}.weight") for k in ("receptance", "key", "value", "gate", "output")}
        arrays["time_maa"] = _stacked(get, [f"time_maa_{k}" for k in "wkvrg"], "RWKV6")
        return arrays | {f"ln_{k}": get(f"ln_x.{k}") for k in ("weight", "bias")}


def _check_heads(layer: Recurrence, array: str) -> None:
    if layer.n["M"] * layer.n["N"] != layer.n["H"]:
        raise ShapeError(
            f"{layer._what}: {array} has shape {layer.w[array].shape}, expected heads times width = {layer.n['H']}"
        )


def _stacked(get: Get, names: list[str], who: str) -> np.ndarray:
    """Vectors, stored as (1, 1, I), as rows."""
    rows = [get(name).squeeze() for name in names]
    for name, row in zip(names, rows, strict=True):
        if row.ndim != 1 or row.shape != rows[0].shape:
            raise ShapeError(f"{who}.from_torch: {name!r} has shape {row.shape}, expected one axis, as of {names[0]!r}")
    return np.stack(rows)


class RWKV7(_TimeMix):
    """Time mixing of RWKV-7 (Goose): a matrix for each head, under a generalised delta rule.

    Equation::

        r, w, k, v, a, g of x + (x_before - x) x_r, x_w, x_k, x_v, x_a, x_g
        w = exp(-exp(-1/2) sigmoid(w0 + tanh(.. w1) w2)),  a = sigmoid(a0 + .. a1 a2),  g = sigmoid(.. g1) g2
        c = k k_k of length 1;  k = k (1 + (a - 1) k_a)
        S = diag(w) S - (a c) (S^T c)^T + k v^T,  y = S^T r      of each head
        out = output ((ln_x(y) + (sum of r k r_k) v) * g)

    In later blocks of a model v = v + (v of the first - v) sigmoid(v0 + .. v1 v2).

    State: x (I), S (M, N, N).
    Source: Peng et al., RWKV-7 Goose, arXiv:2503.14456; names of BlinkDL/RWKV-LM: x_r, x_w, x_k, x_v, x_a, x_g, w0,
    w1, w2, a0, a1, a2, g1, g2, k_k, k_a, r_k, receptance, key, value, output (each .weight), ln_x.weight, ln_x.bias.

    Args:
        x_mix: (6, I), of r, w, k, v, a, g.
        w0, a0, k_k, k_a: (H,).
        w1, a1, g1: (I, R), each of a rank of its own.
        w2, a2, g2: (R, H).
        r_k: (M, N).
        receptance, key, value, output, ln_weight, ln_bias, eps, name: as for `RWKV6`; so is the ShapeError.
        first: the layer of the model's first block, which must be in the graph before; None in that block itself.
        v0, v1, v2: (H,), (I, R) and (R, H), of what mixes in its values, where `first` is given.

    Raises:
        ValueError: `first` is given without v0, v1 and v2, or they without it.

    >>> low = [a for _ in range(3) for a in (np.ones((4, 2)), np.ones((2, 4)))]
    >>> mixes = [np.ones((6, 4)), *np.ones((4, 4)), *low, np.ones((2, 2))]
    >>> undertow.RWKV7(*mixes, *np.ones((4, 4, 4)), *np.ones((2, 4)))
    RWKV7(4 -> 4)
    """

    def __init__(
        self,
        x_mix: Any,
        w0: Any,
        a0: Any,
        k_k: Any,
        k_a: Any,
        w1: Any,
        w2: Any,
        a1: Any,
        a2: Any,
        g1: Any,
        g2: Any,
        r_k: Any,
        receptance: Any,
        key: Any,
        value: Any,
        output: Any,
        ln_weight: Any,
        ln_bias: Any,
        *,
        first: RWKV7 | None = None,
        v0: Any = None,
        v1: Any = None,
        v2: Any = None,
        eps: float = HEAD_NORM_EPS,
        name: str | None = None,
    ) -> None:
        matrices = {"receptance": (receptance, "H I"), "key": (key, "H I"), "value": (value, "H I")}
        matrices |= {"v0": (v0, "H?"), "v1": (v1, "I S?"), "v2": (v2, "S H?")}
        vectors = {"w0": (w0, "H"), "a0": (a0, "H"), "k_k": (k_k, "H"), "k_a": (k_a, "H")}
        low = {
            "w1": (w1, "I P"),
            "w2": (w2, "P H"),
            "a1": (a1, "I Q"),
            "a2": (a2, "Q H"),
            "g1": (g1, "I R"),
            "g2": (g2, "R H"),
        }
        norm = {"ln_weight": (ln_weight, "H"), "ln_bias": (ln_bias, "H"), "r_k": (r_k, "M N")}
        self._take(name, **matrices, **vectors, **low, **norm, x_mix=(x_mix, "6 I"), output=(output, "O H"))
        self.eps, self.first = float(eps), first
        self._values: WeakKeyDictionary[Graph, Term] = WeakKeyDictionary()
        _check_heads(self, "r_k")
        given = [key in self.w for key in ("v0", "v1", "v2")]
        if (first is not None) != all(given) or any(given) != all(given):
            raise ValueError(
                f"{self._what}: v0, v1 and v2 mix in values of the model's first block; give them and that block's "
                "layer as first=, or, in the first block itself, none of them"
            )
        if first is not None and first.n["H"] != self.n["H"]:
            raise ShapeError(f"{self._what}: first has {first.n['H']} channels, expected {self.n['H']}")

    @property
    def output_size(self) -> int:
        """Width of the frames that this layer gives.

        >>> undertow.RWKV7(*mixes, *np.ones((4, 4, 4)), *np.ones((2, 4))).output_size
        4
        """
        return self.n["O"]

    def _mixed_values(self, making: Making, v: Term, x: Term) -> Term:
        if self.first is None:
            self._values[making.graph] = v
            return v
        if (values := self.first._values.get(making.graph)) is None:
            raise ShapeError(f"{self._what}: its first= layer, {self.first!r}, must be added to the graph before it")
        return v + (values - v) * sigmoid(self._low_rank(making, x, "v") + self.w["v0"])

    def _step(self, making: Making, x: Term) -> Term:
        w, M, N = self.w, self.n["M"], self.n["N"]
        dx = self._before(making, x) - x
        x_r, x_w, x_k, x_v, x_a, x_g = (x + dx * mix for mix in w["x_mix"])
        decay = exp(-np.exp(-0.5) * sigmoid(self._low_rank(making, x_w, "w", tanh) + w["w0"])).reshape(M, N)
        a = sigmoid(self._low_rank(making, x_a, "a") + w["a0"])
        g = self._low_rank(making, x_g, "g", sigmoid)
        r, k, v = (making.dense(m, w[p]) for m, p in ((x_r, "receptance"), (x_k, "key"), (x_v, "value")))
        v = self._mixed_values(making, v, x_v)
        c = unit((k * w["k_k"]).reshape(M, N), 1e-24)
        k = (k * ((a - 1.0) * w["k_a"] + 1.0)).reshape(M, N)
        r, v, a = (t.reshape(M, N) for t in (r, v, a))
        S = making.state("S", (M, N, N))
        kept = S * decay[:, :, None] - (a * c)[:, :, None] * recall(S, c)[:, None, :]
        y = recall(remember(making, kept, k, v), r)
        y = layer_norm(y, w["ln_weight"].reshape(M, N), w["ln_bias"].reshape(M, N), self.eps)
        y = y + (r * k * w["r_k"]).sum() * v
        return making.dense(y.reshape(M * N) * g, w["output"])

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        arrays = {k: get(f"{k}?") for k in ("v0", "v1", "v2")}
        arrays |= {k: get(k) for k in ("w0", "a0", "k_k", "k_a", "w1", "w2", "a1", "a2", "g1", "g2", "r_k")}
        arrays["x_mix"] = _stacked(get, [f"x_{k}" for k in "rwkvag"], "RWKV7")
        arrays |= {k: get(f"{k}.weight") for k in ("receptance", "key", "value", "output")}
        return arrays | {f"ln_{k}": get(f"ln_x.{k}") for k in ("weight", "bias")}
