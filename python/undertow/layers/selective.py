# SPDX-License-Identifier: MIT
"""Selective state spaces: how much a state keeps and takes in depends on the input.

Letters: I inputs, E channels inside, N states of a channel, R rank of the steps, K taps, G groups, M heads of Mamba2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from .diagonal import diagonal
from .recurrence import Making, Recurrence, Term, causal_filter, exp, one_channel_each, rms_norm, silu, softplus


class Mamba(Recurrence):
    """A Mamba block's mixer: a short filter along time, and a selective scan.

    Equation::

        u, z = in_proj x;  u = silu(conv1d(u))
        dt, B, C = x_proj u;  dt = softplus(dt_proj dt)
        s = exp(-dt exp(A_log)) * s + (dt u) B^T
        y = out_proj ((s C + D * u) * silu(z))

    State: s (E, N), and the last K - 1 values of u (E).
    Source: Gu and Dao, Mamba, arXiv:2312.00752; names of state-spaces/mamba, written from knowledge of it:
    in_proj.weight, conv1d.weight, conv1d.bias, x_proj.weight, dt_proj.weight, dt_proj.bias, A_log, D,
    out_proj.weight.

    Args:
        in_proj: (2 * E, I), for u and z.
        conv1d: (E, K), or (E, 1, K).
        x_proj: (R + 2 * N, E), for dt, B and C.
        dt_proj: (E, R).
        dt_bias: (E,).
        A_log: (E, N).
        D: (E,).
        out_proj: (O, E).
        conv_bias: (E,), or None.
        in_bias, out_bias: (2 * E,) and (O,), or None.
        name: as for `MinGRU`.

    Raises:
        ShapeError: an array has another shape; the message names it.

    >>> sizes = {"in_proj": (8, 2), "conv1d": (4, 3), "x_proj": (7, 4), "dt_proj": (4, 1), "dt_bias": 4}
    >>> sizes |= {"A_log": (4, 3), "D": 4, "out_proj": (2, 4)}
    >>> undertow.Mamba(**{name: np.ones(size) for name, size in sizes.items()})
    Mamba(2 -> 2)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        "in_proj": "in_proj.weight",
        "conv1d": "conv1d.weight",
        "x_proj": "x_proj.weight",
        "dt_proj": "dt_proj.weight",
        "dt_bias": "dt_proj.bias",
        "A_log": "A_log",
        "D": "D",
        "out_proj": "out_proj.weight",
        "conv_bias": "conv1d.bias?",
        "in_bias": "in_proj.bias?",
        "out_bias": "out_proj.bias?",
    }

    def __init__(
        self,
        in_proj: Any,
        conv1d: Any,
        x_proj: Any,
        dt_proj: Any,
        dt_bias: Any,
        A_log: Any,
        D: Any,
        out_proj: Any,
        *,
        conv_bias: Any = None,
        in_bias: Any = None,
        out_bias: Any = None,
        name: str | None = None,
    ) -> None:
        inner = {"in_proj": (in_proj, "2E I"), "conv1d": (one_channel_each(conv1d), "E K"), "dt_proj": (dt_proj, "E R")}
        scan = {"dt_bias": (dt_bias, "E"), "A_log": (A_log, "E N"), "D": (D, "E"), "x_proj": (x_proj, "X E")}
        biases = {"conv_bias": (conv_bias, "E?"), "in_bias": (in_bias, "2E?"), "out_bias": (out_bias, "O?")}
        self._take(name, **inner, **scan, out_proj=(out_proj, "O E"), **biases)
        if self.n["X"] != (rows := self.n["R"] + 2 * self.n["N"]):
            raise ShapeError(
                f"{self._what}: x_proj has shape {self.w['x_proj'].shape}, expected ({rows}, {self.n['E']})"
            )

    def _step(self, making: Making, x: Term) -> Term:
        w, (E, N, R) = self.w, (self.n[k] for k in "ENR")
        wide = making.dense(x, w["in_proj"], w.get("in_bias"))
        u, z = silu(causal_filter(making, wide[:E], w["conv1d"], w.get("conv_bias"))), wide[E:]
        mixed = making.dense(u, w["x_proj"])
        dt = softplus(making.dense(mixed[:R], w["dt_proj"], w["dt_bias"]))
        decay = exp(dt[:, None] * -np.exp(w["A_log"]))
        s = diagonal(making, "s", decay, (dt * u)[:, None] * mixed[R : R + N])
        y = (s * mixed[R + N :]).sum().reshape(E) + u * w["D"]
        return making.dense(y * silu(z), w["out_proj"], w.get("out_bias"))


class Mamba2(Recurrence):
    """A Mamba-2 block's mixer: a scan whose heads decay as a whole, and a gated norm.

    Equation::

        z, u, dt = in_proj x;  u = silu(conv1d(u));  v, B, C = u
        dt = softplus(dt + dt_bias)
        S = exp(-dt exp(A_log)) S + (dt v) B^T      of each head
        y = out_proj (norm * rms_norm((S C + D v) * silu(z)))

    State: S (M, E / M, N), and the last K - 1 values of u (E + 2 G N).
    Source: Dao and Gu, Transformers are SSMs, arXiv:2405.21060; names of state-spaces/mamba, written from knowledge
    of it: in_proj.weight, conv1d.weight, conv1d.bias, dt_bias, A_log, D, norm.weight, out_proj.weight.

    Args:
        in_proj: (2 * E + 2 * G * N + M, I), for z, u and dt.
        conv1d: (E + 2 * G * N, K), or with an axis of 1 between.
        dt_bias, A_log: (M,), one number a head.
        D: (M,), or (E,).
        out_proj: (O, E).
        norm: (E,), or None for no norm.
        conv_bias: (E + 2 * G * N,), or None.
        groups: G, of heads that share B and C, and of channels that the norm takes together.
        eps: of the norm.
        name: as for `MinGRU`; the errors are those of `Mamba`.

    >>> sizes = {"in_proj": (14, 2), "conv1d": (8, 3), "dt_bias": 2, "A_log": 2, "D": 2, "out_proj": (2, 4), "norm": 4}
    >>> undertow.Mamba2(**{name: np.ones(size) for name, size in sizes.items()})
    Mamba2(2 -> 2)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        "in_proj": "in_proj.weight",
        "conv1d": "conv1d.weight",
        "dt_bias": "dt_bias",
        "A_log": "A_log",
        "D": "D",
        "out_proj": "out_proj.weight",
        "norm": "norm.weight?",
        "conv_bias": "conv1d.bias?",
    }

    def __init__(
        self,
        in_proj: Any,
        conv1d: Any,
        dt_bias: Any,
        A_log: Any,
        D: Any,
        out_proj: Any,
        norm: Any = None,
        *,
        conv_bias: Any = None,
        groups: int = 1,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> None:
        arrays = {
            "in_proj": (in_proj, "X I"),
            "conv1d": (one_channel_each(conv1d), "C K"),
            "out_proj": (out_proj, "O E"),
        }
        heads = {"dt_bias": (dt_bias, "M"), "A_log": (A_log, "M"), "norm": (norm, "E?"), "conv_bias": (conv_bias, "C?")}
        self._take(name, **arrays, **heads, D=(D, "E" if np.size(D) == np.shape(out_proj)[-1] else "M"))
        self.groups, self.eps = int(groups), float(eps)
        self.width = self._divide("E", self.n["M"], "the number of heads")
        self._divide("M", self.groups, "groups")
        both = self.n["C"] - self.n["E"]
        if both < 2 * self.groups or both % (2 * self.groups) or self.n["X"] != self.n["E"] + self.n["C"] + self.n["M"]:
            raise ShapeError(
                f"{self._what}: in_proj has shape {self.w['in_proj'].shape}, conv1d {self.w['conv1d'].shape}; expected "
                f"{self.n['E']} + C + {self.n['M']} rows and C = {self.n['E']} + 2 * {self.groups} * N"
            )
        self.n["N"] = both // (2 * self.groups)

    def _step(self, making: Making, x: Term) -> Term:
        w, (E, M, N, C), G, P = self.w, (self.n[k] for k in "EMNC"), self.groups, self.width
        wide = making.dense(x, w["in_proj"])
        u = silu(causal_filter(making, wide[E : E + C], w["conv1d"], w.get("conv_bias")))
        # One row of B and C for each head; those of a group have the same.
        group = np.arange(M)[:, None] // (M // G) * N + np.arange(N)
        v, B, Q = u[:E].reshape(M, P), u.take(E + group), u.take(E + G * N + group)
        dt = softplus(wide[E + C :] + w["dt_bias"])[:, None]
        decay = exp(dt * -np.exp(w["A_log"])[:, None])[:, :, None]
        S = diagonal(making, "S", decay, (dt * v)[:, :, None] * B[:, None, :])
        y = (S * Q[:, None, :]).sum().reshape(M, P) + v * (w["D"].reshape(M, -1))
        y = y.reshape(E) * silu(wide[:E])
        if "norm" in w:
            y = rms_norm(y.reshape(G, E // G), w["norm"].reshape(G, E // G), self.eps).reshape(E)
        return making.dense(y, w["out_proj"])
