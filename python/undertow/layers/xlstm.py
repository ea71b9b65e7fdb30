# SPDX-License-Identifier: MIT
"""Exponential gates: sLSTM and mLSTM of xLSTM, whose states are kept divided by the largest gate so far.

Letters: I inputs, H units, M heads, Q rows of queries and keys, V rows of values, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .matrix_states import recall, remember
from .recurrence import LEAST, Making, Recurrence, Term, exp, layer_norm, log_sigmoid, sigmoid, tanh


def _stabilised(m: Making, i: Term, log_f: Term) -> tuple[Term, Term, Term]:
    """(exp(i - top), exp(log f + top before - top), top): gates divided by the largest so far, the state `m`."""
    before = m.state("m", i.shape, LEAST) + log_f
    top = m.write("m", before.max(i))
    return exp(i - top), exp(before - top), top


class SLSTM(Recurrence):
    """An LSTM with exponential gates and a normaliser, of xLSTM.

    Equation::

        i, f, z, o = W x + R h + b
        c = f' c + i' tanh(z),  n = f' n + i',  h = sigmoid(o) * c / n
        i' = exp(i - m),  f' = exp(log sigmoid(f) + m_before - m),  m = max(log sigmoid(f) + m_before, i)

    State: h, c, n, m (H).
    Source: Beck et al., xLSTM, arXiv:2405.04517.

    Args:
        W: (4 * H, I), rows of i, f, z, o.
        R: (4 * H, H), or (4, M, H / M, H / M), a matrix (outputs, inputs) for each head.
        b: (4 * H,), or None.
        forget: "sigmoid", or "exp" for log f = f.
        name: as for `MinGRU`.

    Raises:
        ShapeError: an array has another shape; the message names it. ValueError: `forget` is neither.

    >>> undertow.SLSTM(np.ones((16, 3)), np.ones((4, 2, 2, 2)))
    SLSTM(3 -> 4)
    """

    def __init__(self, W: Any, R: Any, b: Any = None, *, forget: str = "sigmoid", name: str | None = None) -> None:
        self._take(name, W=(W, "4H I"), R=(_of_heads(R), "4H H"), b=(b, "4H?"))
        if forget not in ("sigmoid", "exp"):
            raise ValueError(f"{self._what}: forget is {forget!r}, expected 'sigmoid' or 'exp'")
        self.forget = forget

    def _step(self, making: Making, x: Term) -> Term:
        H = (self.n["H"],)
        h, c, n = (making.state(letter, H) for letter in "hcn")
        fed, back = making.dense(x, self.w["W"], self.w.get("b")), making.dense(h, self.w["R"])
        i, f, z, o = (fed[k : k + H[0]] + back[k : k + H[0]] for k in range(0, 4 * H[0], H[0]))
        i, f, _ = _stabilised(making, i, log_sigmoid(f) if self.forget == "sigmoid" else f)
        c = making.write("c", f * c + i * tanh(z))
        n = making.write("n", f * n + i)
        return making.write("h", sigmoid(o) * (c / n))


def _of_heads(R: Any) -> Any:
    """(4, heads, outputs, inputs) as one matrix, whose blocks lie on the diagonal of each gate; else as it is."""
    if np.ndim(R) != 4:
        return R
    R = np.asarray(R)
    gates, heads, n_out, n_in = R.shape
    whole = np.zeros((gates, heads, n_out, heads, n_in))
    whole[:, np.arange(heads), :, np.arange(heads)] = R.swapaxes(0, 1)
    return whole.reshape(gates * heads * n_out, heads * n_in)


class MLSTM(Recurrence):
    """An LSTM whose cell is a matrix for each head, with exponential gates, of xLSTM.

    Equation::

        C = f' C + i' k v^T,  n = f' n + i' k,  y = C^T q / (max(abs(n . q), exp(-m)) + 1e-6)      of each head
        i' = exp(i - m),  f' = exp(log sigmoid(f) + m_before - m),  m = max(log sigmoid(f) + m_before, i)
        out = out_proj (sigmoid(ogate x) * norm(y))

    q is divided by sqrt(key width); i and f are cap tanh(gate / cap) where a cap is given.

    State: S (M, Q / M, V / M), which is C; n (M, Q / M), m (M).
    Source: Beck et al., xLSTM, arXiv:2405.04517; names of mLSTMLayer in NX-AI/xlstm (xlstm_large): q, k, v,
    ogate_preact, igate_preact, fgate_preact, multihead_norm, out_proj (each .weight), biases of the gates.

    Args:
        q, k: (Q, I), heads times key width.
        v, ogate: (V, I), heads times value width.
        igate, fgate: (M, I), one row a head.
        igate_bias, fgate_bias: (M,), or None.
        q_bias, k_bias, v_bias, ogate_bias: (Q,), (Q,), (V,), (V,), or None.
        norm: (V,), of a layer norm of each head without bias, or None for no norm.
        out_proj: (O, V), or None to give what stands before it.
        cap: of the gates, 15 in xlstm_large, which `from_torch` takes unless told otherwise; 0 for none.
        eps: of the norm.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.MLSTM(*np.ones((4, 8, 6)), *np.ones((2, 2, 6)))
    MLSTM(6 -> 8)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        **{k: f"{k}.weight" for k in "qkv"},
        **{f"{k}gate": f"{k}gate_preact.weight" for k in "oif"},
        **{f"{k}gate_bias": f"{k}gate_preact.bias?" for k in "oif"},
        **{f"{k}_bias": f"{k}.bias?" for k in "qkv"},
        "norm": "multihead_norm.weight?",
        "out_proj": "out_proj.weight?",
    }

    def __init__(
        self,
        q: Any,
        k: Any,
        v: Any,
        ogate: Any,
        igate: Any,
        fgate: Any,
        *,
        igate_bias: Any = None,
        fgate_bias: Any = None,
        q_bias: Any = None,
        k_bias: Any = None,
        v_bias: Any = None,
        ogate_bias: Any = None,
        norm: Any = None,
        out_proj: Any = None,
        cap: float = 0.0,
        eps: float = 1e-6,
        name: str | None = None,
    ) -> None:
        matrices = {"q": (q, "Q I"), "k": (k, "Q I"), "v": (v, "V I"), "ogate": (ogate, "V I")}
        gates = {"igate": (igate, "M I"), "fgate": (fgate, "M I")}
        gates |= {"igate_bias": (igate_bias, "M?"), "fgate_bias": (fgate_bias, "M?")}
        biases = {"q_bias": (q_bias, "Q?"), "k_bias": (k_bias, "Q?"), "v_bias": (v_bias, "V?")}
        biases |= {"ogate_bias": (ogate_bias, "V?"), "norm": (norm, "V?"), "out_proj": (out_proj, "O V?")}
        self._take(name, **matrices, **gates, **biases)
        self.cap, self.eps = float(cap), float(eps)
        if not self.cap >= 0:
            raise ValueError(f"{self._what}: cap is {cap}, expected 0, for none, or a positive number")
        self.key_width = self._divide("Q", self.n["M"], "the number of heads")
        self.value_width = self._divide("V", self.n["M"], "the number of heads")

    def _step(self, making: Making, x: Term) -> Term:
        w, M, K, V = self.w, self.n["M"], self.key_width, self.value_width

        def projected(k: str) -> Term:
            return making.dense(x, w[k], w.get(f"{k}_bias"))

        def gate(k: str) -> Term:
            y = projected(k)
            return tanh(y / self.cap) * self.cap if self.cap else y

        q, k, v = projected("q").reshape(M, K) * K**-0.5, projected("k").reshape(M, K), projected("v").reshape(M, V)
        i, f, top = _stabilised(making, gate("igate"), log_sigmoid(gate("fgate")))
        i, f, top = i[:, None], f[:, None], top[:, None]
        S = remember(making, making.state("S", (M, K, V)) * f[:, :, None], i * k, v)
        n = making.write("n", f * making.state("n", (M, K)) + i * k)
        y = recall(S, q) / ((n * q).sum().act("abs").max(exp(-top)) + 1e-6)
        if "norm" in w:
            y = layer_norm(y, w["norm"].reshape(M, V), None, self.eps)
        y = sigmoid(projected("ogate")) * y.reshape(M * V)
        return making.dense(y, w["out_proj"]) if "out_proj" in w else y

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, name: str | None = None, **settings: Any) -> MLSTM:
        """The mLSTMLayer of xlstm_large, its gates capped at 15.

        Arguments and errors as of `Mamba.from_torch`: `weights`, `prefix`, `name`, `settings`.

        >>> w = {f"{k}.weight": np.ones((8, 6)) for k in ("q", "k", "v", "ogate_preact")}
        >>> w |= {f"{k}gate_preact.weight": np.ones((2, 6)) for k in "if"}
        >>> undertow.MLSTM.from_torch(w).cap
        15.0
        """
        return super().from_torch(weights, prefix, name=name, **{"cap": 15.0, **settings})
