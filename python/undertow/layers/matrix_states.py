# SPDX-License-Identifier: MIT
"""Linear attention in its recurrent form: a state S that is a matrix for each head, to which outer products are added.

Letters: I inputs, O outputs, H heads times key width, V heads times value width, R rank, T taps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from .recurrence import (
    Get,
    Making,
    Recurrence,
    Term,
    causal_filter,
    exp,
    layer_norm,
    log_sigmoid,
    one_channel_each,
    rms_norm,
    sigmoid,
    silu,
    softplus,
    unit,
)
from .state_spaces import turning


def remember(m: Making, S: Term, k: Term, v: Term) -> Term:
    """S + k v^T of each head, which is the state from now on; k (heads, width), S (heads, width, value width)."""
    return m.write("S", S + k[:, :, None] * v[:, None, :])


def recall(S: Term, q: Term) -> Term:
    """S^T q of each head, (heads, value width)."""
    return (S * q[:, :, None]).sum(1).reshape(S.shape[0], S.shape[2])


class _Linear(Recurrence):
    """What layers of queries, keys and values share."""

    heads: int
    eps: float

    def _take_heads(self, heads: int, eps: float) -> None:
        self.heads, self.eps = int(heads), float(eps)
        self.key_width = self._divide("H", self.heads, "heads")
        self.value_width = self._divide("V", self.heads, "heads")

        if "norm" in self.w and self.n["W"] != self.value_width:
            raise ShapeError(f"{self._what}: norm has shape ({self.n['W']},), expected ({self.value_width},)")

    def _state(self, m: Making) -> Term:
        return m.state("S", (self.heads, self.key_width, self.value_width))

    def _rows(self, x: Term) -> Term:
        return x.reshape(self.heads, x.shape[0] // self.heads)

    def _finish(self, m: Making, x: Term, y: Term, centred: bool = False) -> Term:
        """Norm, gate and projection behind a state's output y (heads, value width)."""
        norm = self.w.get("norm")
        y = layer_norm(y, norm, None, self.eps) if centred else rms_norm(y, norm, self.eps)
        y = y.reshape(self.n["V"])
        if "g_proj" in self.w:
            y = y * silu(m.dense(x, self.w["g_proj"]))
        return m.dense(y, self.w["o_proj"])

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        arrays = super()._arrays(get)
        if arrays["norm"] is None:  # where norm and gate are two modules
            arrays["norm"] = get("g_norm.weight?")
        return arrays


class RetNet(_Linear):
    """Multi-scale retention: states that decay, each head at its own constant rate, and turn where positions do.

    Equation::

        S = d R S + k v^T,  y = S^T q / sqrt(key width)      of head n, d = 1 - 2^(-5 - n)
        out = o_proj (norm(y) * silu(g_proj x))

    R turns pairs of keys back by one position: what rotary positions of q and k come to.

    State: S (heads, key width, value width); with positions its halves S_re and S_im.
    Source: Sun et al., Retentive Network, arXiv:2307.08621; names of fla-org/flash-linear-attention
    (MultiScaleRetention), written from knowledge of it: q_proj, k_proj, v_proj, g_proj, o_proj (each .weight),
    g_norm_swish_gate.weight.

    Args:
        q_proj, k_proj: (H, I), heads times key width.
        v_proj, g_proj: (V, I), heads times value width; g_proj None for no gate.
        o_proj: (O, V).
        norm: (value width,), or None.
        heads: how many.
        rotary: base of the angles, base^(-2 i / key width) of pair i, half a head apart; None for no positions.
        centred: the norm subtracts the mean, as a group norm does, where the reference has an RMS norm.
        eps: of the norm.
        name: as for `MinGRU`.

    Raises:
        ShapeError: an array has another shape, or heads do not divide; the message names it.

    >>> undertow.RetNet(*np.ones((4, 8, 6)), np.ones((6, 8)), heads=2)
    RetNet(6 -> 6)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        k: f"{k}.weight" for k in ("q_proj", "k_proj", "v_proj", "g_proj", "o_proj")
    } | {"norm": "g_norm_swish_gate.weight?"}

    def __init__(
        self,
        q_proj: Any,
        k_proj: Any,
        v_proj: Any,
        g_proj: Any,
        o_proj: Any,
        norm: Any = None,
        *,
        heads: int,
        rotary: float | None = 10000.0,
        centred: bool = False,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> None:
        arrays = {"q_proj": (q_proj, "H I"), "k_proj": (k_proj, "H I"), "v_proj": (v_proj, "V I")}
        self._take(name, **arrays, g_proj=(g_proj, "V I?"), o_proj=(o_proj, "O V"), norm=(norm, "W?"))
        self._take_heads(heads, eps)
        self.rotary, self.centred = rotary, bool(centred)
        if rotary is not None and not rotary > 0:
            raise ValueError(f"{self._what}: rotary is {rotary}, expected a base above 0, or None")
        if rotary is not None and self.key_width % 2:
            raise ShapeError(f"{self._what}: a head's keys are {self.key_width} numbers; rotary positions need pairs")

    def _step(self, making: Making, x: Term) -> Term:
        q, k, v = (self._rows(making.dense(x, self.w[f"{p}_proj"])) for p in "qkv")
        n = self.key_width
        decay = (1 - 2.0 ** (-5 - np.arange(self.heads)))[:, None, None]
        q = q * n**-0.5
        if self.rotary is None:
            y = recall(remember(making, self._state(making) * decay, k, v), q)
        else:
            angle = float(self.rotary) ** (-np.arange(0, n, 2) / n)
            fed = [k[:, half, None] * v[:, None, :] for half in (slice(n // 2), slice(n // 2, n))]
            re, im = turning(making, "S", decay * np.exp(-1j * angle)[:, None], *fed)
            y = recall(re, q[:, : n // 2]) + recall(im, q[:, n // 2 :])
        return self._finish(making, x, y, self.centred)


class GLA(_Linear):
    """Gated linear attention: each row of the state decays at a rate that the input says.

    Equation::

        a = sigmoid(gk_proj x)^(1 / 16)
        S = diag(a) S + k v^T,  y = S^T q / sqrt(key width)      of each head
        out = o_proj (norm(y) * silu(g_proj x))

    State: S (heads, key width, value width).
    Source: Yang et al., Gated Linear Attention Transformers, arXiv:2312.06635; names of
    fla-org/flash-linear-attention, written from knowledge of it: q_proj, k_proj, v_proj, g_proj, o_proj, gk_proj.0
    (each .weight), gk_proj.1.weight, gk_proj.1.bias, g_norm_swish_gate.weight.

    Args:
        q_proj, k_proj, v_proj, g_proj, o_proj, norm, heads, eps, name: as for `RetNet`; so is the ShapeError.
        gk_down, gk_up: (R, I) and (H, R), the two factors of gk_proj.
        gk_bias: (H,), or None.
        normaliser: by what the logarithm of the gate is divided.

    >>> undertow.GLA(*np.ones((4, 8, 6)), np.ones((6, 8)), np.ones((3, 6)), np.ones((8, 3)), heads=2)
    GLA(6 -> 6)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        **RetNet.tensors,
        "gk_down": "gk_proj.0.weight",
        "gk_up": "gk_proj.1.weight",
        "gk_bias": "gk_proj.1.bias?",
    }

    def __init__(
        self,
        q_proj: Any,
        k_proj: Any,
        v_proj: Any,
        g_proj: Any,
        o_proj: Any,
        gk_down: Any,
        gk_up: Any,
        gk_bias: Any = None,
        norm: Any = None,
        *,
        heads: int,
        normaliser: float = 16.0,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> None:
        arrays = {"q_proj": (q_proj, "H I"), "k_proj": (k_proj, "H I"), "v_proj": (v_proj, "V I")}
        gate = {"gk_down": (gk_down, "R I"), "gk_up": (gk_up, "H R"), "gk_bias": (gk_bias, "H?")}
        self._take(name, **arrays, **gate, g_proj=(g_proj, "V I?"), o_proj=(o_proj, "O V"), norm=(norm, "W?"))
        self._take_heads(heads, eps)
        self.normaliser = float(normaliser)
        if not self.normaliser > 0:
            raise ValueError(f"{self._what}: normaliser is {normaliser}, expected a number above 0")

    def _step(self, making: Making, x: Term) -> Term:
        w = self.w
        q, k, v = (self._rows(making.dense(x, w[f"{p}_proj"])) for p in "qkv")
        gate = making.dense(making.dense(x, w["gk_down"]), w["gk_up"], w.get("gk_bias"))
        decay = self._rows(exp(log_sigmoid(gate) / self.normaliser))
        S = self._state(making) * decay[:, :, None]
        return self._finish(making, x, recall(remember(making, S, k, v), q * self.key_width**-0.5))


class DeltaNet(_Linear):
    """Linear attention with the delta rule: what a key recalls is replaced, not added to.

    Equation::

        q, k, v = silu of short convolutions of q_proj x, k_proj x, v_proj x;  q, k of length 1
        S = S + beta k (v - S^T k)^T,  y = S^T q / sqrt(key width)      of each head, beta = sigmoid(b_proj x)
        out = o_proj norm(y)

    State: S (heads, key width, value width), and the last T - 1 values of q_proj x, k_proj x, v_proj x.
    Source: Yang et al., Parallelizing Linear Transformers with the Delta Rule, arXiv:2406.06484; names of
    fla-org/flash-linear-attention, written from knowledge of it: q_proj, k_proj, v_proj, b_proj, o_proj, q_conv1d,
    k_conv1d, v_conv1d, o_norm (each .weight) and, where it is gated, g_proj.weight.

    Args:
        q_proj, k_proj, v_proj, o_proj, norm, eps, name: as for `RetNet`; so is the ShapeError.
        b_proj: (heads, I).
        q_conv, k_conv: (H, T) or (H, 1, T); None for no convolutions.
        v_conv: (V, T) or (V, 1, T); None for none.
        g_proj: (V, I), of a gate silu(g_proj x) behind the norm, or None.

    >>> undertow.DeltaNet(*np.ones((3, 8, 6)), np.ones((2, 6)), np.ones((6, 8)))
    DeltaNet(6 -> 6)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        **{f"{k}_proj": f"{k}_proj.weight" for k in "qkvbo"},
        **{f"{k}_conv": f"{k}_conv1d.weight?" for k in "qkv"},
        "norm": "o_norm.weight?",
        "g_proj": "g_proj.weight?",
    }

    def __init__(
        self,
        q_proj: Any,
        k_proj: Any,
        v_proj: Any,
        b_proj: Any,
        o_proj: Any,
        norm: Any = None,
        *,
        q_conv: Any = None,
        k_conv: Any = None,
        v_conv: Any = None,
        g_proj: Any = None,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> None:
        self._take_delta(name, eps, q_proj, k_proj, v_proj, b_proj, o_proj, norm, q_conv, k_conv, v_conv, g_proj, {})

    def _take_delta(
        self,
        name: str | None,
        eps: float,
        q_proj: Any,
        k_proj: Any,
        v_proj: Any,
        b_proj: Any,
        o_proj: Any,
        norm: Any,
        q_conv: Any,
        k_conv: Any,
        v_conv: Any,
        g_proj: Any,
        more: dict[str, tuple[Any, str]],
    ) -> None:
        arrays = {"q_proj": (q_proj, "H I"), "k_proj": (k_proj, "H I"), "v_proj": (v_proj, "V I")}
        filters = {
            "q_conv": (one_channel_each(q_conv), "H T?"),
            "k_conv": (one_channel_each(k_conv), "H T?"),
            "v_conv": (one_channel_each(v_conv), "V T?"),
        }
        heads = {"b_proj": (b_proj, "M I"), "o_proj": (o_proj, "O V"), "norm": (norm, "W?"), "g_proj": (g_proj, "V I?")}
        self._take(name, **arrays, **heads, **filters, **more)
        self._take_heads(self.n["M"], eps)
        convolved = [f"{p}_conv" in self.w for p in "qkv"]
        if any(convolved) and not all(convolved):
            raise ShapeError(f"{self._what}: q_conv, k_conv and v_conv go together; expected all of them or none")

    def _step(self, making: Making, x: Term) -> Term:
        w, H = self.w, self.n["H"]
        fed = making.dense(x, np.concatenate([w[f"{p}_proj"] for p in "qkv"]))
        if "q_conv" in w:
            fed = causal_filter(making, fed, np.concatenate([w[f"{p}_conv"] for p in "qkv"]), None)
        fed = silu(fed)
        both = unit(fed[: 2 * H].reshape(2 * self.heads, self.key_width), 1e-6)
        q, k, v = both[: self.heads] * self.key_width**-0.5, both[self.heads :], self._rows(fed[2 * H :])
        S = self._kept(making, x, self._state(making))
        beta = sigmoid(making.dense(x, w["b_proj"]))[:, None]
        return self._finish(making, x, recall(remember(making, S, k, beta * (v - recall(S, k))), q))

    def _kept(self, making: Making, x: Term, S: Term) -> Term:
        return S


class GatedDeltaNet(DeltaNet):
    """The delta rule on a state that decays, each head at a rate that the input says.

    Equation::

        q, k, v, beta as of DeltaNet;  a = exp(-exp(A_log) softplus(a_proj x + dt_bias))
        S = a S;  S = S + beta k (v - S^T k)^T,  y = S^T q / sqrt(key width)      of each head
        out = o_proj (norm(y) * silu(g_proj x))

    State: as of DeltaNet.
    Source: Yang et al., Gated Delta Networks, arXiv:2412.06464; names of fla-org/flash-linear-attention, written from
    knowledge of it: those of DeltaNet, a_proj.weight, A_log, dt_bias, g_proj.weight.

    Args:
        q_proj, k_proj, v_proj, b_proj, o_proj, norm, q_conv, k_conv, v_conv, g_proj, eps, name: as for `DeltaNet`;
            so is the ShapeError.
        a_proj: (heads, I).
        A_log, dt_bias: (heads,).

    >>> undertow.GatedDeltaNet(*np.ones((3, 8, 6)), *np.ones((2, 2, 6)), *np.ones((2, 2)), np.ones((6, 8)))
    GatedDeltaNet(6 -> 6)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        **DeltaNet.tensors,
        "a_proj": "a_proj.weight",
        "A_log": "A_log",
        "dt_bias": "dt_bias",
    }

    def __init__(
        self,
        q_proj: Any,
        k_proj: Any,
        v_proj: Any,
        b_proj: Any,
        a_proj: Any,
        A_log: Any,
        dt_bias: Any,
        o_proj: Any,
        norm: Any = None,
        *,
        q_conv: Any = None,
        k_conv: Any = None,
        v_conv: Any = None,
        g_proj: Any = None,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> None:
        decay = {"a_proj": (a_proj, "M I"), "A_log": (A_log, "M"), "dt_bias": (dt_bias, "M")}
        self._take_delta(name, eps, q_proj, k_proj, v_proj, b_proj, o_proj, norm, q_conv, k_conv, v_conv, g_proj, decay)

    def _kept(self, making: Making, x: Term, S: Term) -> Term:
        rate = softplus(making.dense(x, self.w["a_proj"], self.w["dt_bias"])) * -np.exp(self.w["A_log"])
        return S * exp(rate)[:, None, None]
