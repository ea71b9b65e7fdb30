# SPDX-License-Identifier: MIT
"""Attention over the last frames of a stream, and a transformer's block that keeps no more than them.

Letters: I inputs, Q heads times key width, K and V heads of keys times key and value width, O outputs, F inner units.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.activations import Activation, as_activation
from ..ir.ops import MAX_TAP
from .recurrence import LEAST, Get, Making, Recurrence, Term, gelu, layer_norm, tanh


class Attention(Recurrence):
    """Attention of each frame over the last `window` frames, itself among them; before these are there, over fewer.

    Equation::

        q, k, v = W_q x + b_q, W_k x + b_k, W_v x + b_v
        y = sum over j of softmax_j(q . k_j / sqrt(key width) + bias_j) v_j      of each head
        out = W_o y + b_o

    With `additive` weights w the score is w . tanh(q + k_j).

    State: the last window - 1 of k and v, and which of them are frames.
    Source: Vaswani et al., Attention Is All You Need, arXiv:1706.03762; additive: Bahdanau et al., arXiv:1409.0473;
    names of torch.nn.MultiheadAttention: in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias.

    Args:
        W_q: (Q, I), heads times key width.
        W_k, W_v: (K, I) and (V, I), for `shared` heads.
        W_o: (O, value width times heads), or None to give what stands before it.
        b_q, b_k, b_v, b_o: of these layers, or None.
        window: frames, at least 1.
        heads: of queries.
        shared: heads of keys and values, each for heads / shared heads of queries; as many as heads unless given.
        additive: (key width,), for one head; None for products.
        bias: (window,) or (heads, window), added to scores, the last one that of the frame itself.
        scale: of products; 1 / sqrt(key width) unless given.
        cap: scores become cap * tanh(score / cap), before the bias; 0 for none.
        name: as for `MinGRU`.

    Raises:
        ShapeError: an array has another shape, or heads do not divide. ValueError: `window` is below 1.

    >>> undertow.Attention(*np.ones((3, 8, 6)), np.ones((6, 8)), heads=2, window=32)
    Attention(6 -> 6)
    """

    def __init__(
        self,
        W_q: Any,
        W_k: Any,
        W_v: Any,
        W_o: Any = None,
        b_q: Any = None,
        b_k: Any = None,
        b_v: Any = None,
        b_o: Any = None,
        *,
        window: int,
        heads: int = 1,
        shared: int | None = None,
        additive: Any = None,
        bias: Any = None,
        scale: float | None = None,
        cap: float = 0.0,
        name: str | None = None,
    ) -> None:
        matrices = {"W_q": (W_q, "Q I"), "W_k": (W_k, "K I"), "W_v": (W_v, "V I"), "W_o": (W_o, "O Y?")}
        biases = {"b_q": (b_q, "Q?"), "b_k": (b_k, "K?"), "b_v": (b_v, "V?"), "b_o": (b_o, "O?")}
        rows = {"bias": (bias, "M N?" if np.ndim(bias) == 2 else "N?"), "additive": (additive, "Q?")}
        self._take(name, **matrices, **biases, **rows)
        self.window, self.heads = int(window), int(heads)
        self.shared = self.heads if shared is None else int(shared)
        if not 1 <= self.window <= MAX_TAP:
            raise ValueError(f"{self._what}: window is {window}, expected 1 to {MAX_TAP} frames")
        self.key_width = self._divide("Q", self.heads, "heads")
        if self.shared < 1 or self.heads % self.shared:
            raise ShapeError(f"{self._what}: shared is {self.shared}, expected a divisor of {self.heads} heads")
        self.value_width = self._divide("V", self.shared, "shared")
        if self.n["K"] != self.shared * self.key_width:
            want = (self.shared * self.key_width, self.n["I"])
            raise ShapeError(f"{self._what}: W_k has shape {self.w['W_k'].shape}, expected {want}")
        if "Y" in self.n and self.n["Y"] != self.heads * self.value_width:
            want = (self.n["O"], self.heads * self.value_width)
            raise ShapeError(f"{self._what}: W_o has shape {self.w['W_o'].shape}, expected {want}")
        if "b_o" in self.w and "W_o" not in self.w:
            raise ShapeError(f"{self._what}: b_o is given without W_o")
        if "bias" in self.w and self.w["bias"].shape not in ((self.window,), (self.heads, self.window)):
            raise ShapeError(
                f"{self._what}: bias has shape {self.w['bias'].shape}, expected ({self.window},) or "
                f"({self.heads}, {self.window})"
            )
        if "additive" in self.w and self.heads != 1:
            raise ShapeError(f"{self._what}: additive scores are of one head, got heads={self.heads}")
        self.scale = self.key_width**-0.5 if scale is None else float(scale)
        self.cap = float(cap)
        if not self.cap >= 0:
            raise ValueError(f"{self._what}: cap is {cap}, expected 0, for none, or a positive number")

    def _step(self, making: Making, x: Term) -> Term:
        w, n, K = self.w, self.window, self.n["K"]
        q, bias = making.dense(x, w["W_q"], w.get("b_q")), self._bias(making)
        if "additive" in w:
            k, v = (making.dense(x, w[f"W_{p}"], w.get(f"b_{p}")) for p in "kv")
            scores = (tanh(making.window(k, n) + q) * w["additive"]).sum().reshape(n)
            if self.cap:
                scores = tanh(scores / self.cap) * self.cap
            shares = making.add("softmax", [(scores + bias.reshape(n)).value])
            y = (shares[:, None] * making.window(v, n)).sum(0).reshape(self.n["V"])
        else:
            row = K + self.n["V"]
            b = [w.get(f"b_{p}", np.zeros(len(w[f"W_{p}"]))) for p in "kv"]
            held = making.window(making.dense(x, np.concatenate([w["W_k"], w["W_v"]]), np.concatenate(b)), n)
            attrs = {"heads": self.heads, "shared": self.shared, "rows": n, "scale": self.scale, "cap": self.cap}
            attrs |= {"key_width": self.key_width, "value_width": self.value_width}
            attrs |= {"key_places": (0, row, self.key_width), "value_places": (K, row, self.value_width)}
            y = making.add("attend", [q.value, held.value, held.value, bias.value], attrs=attrs)
            y = y.reshape(self.heads * self.value_width)
        return making.dense(y, w["W_o"], w.get("b_o")) if "W_o" in w else y

    def _bias(self, making: Making) -> Term:
        """What is added to scores: of rows before the first frame something below all others."""
        held = making.window(making.constant(np.ones(1)), self.window).reshape(self.window)
        absent = held.affine(-LEAST, LEAST)
        return absent + self.w["bias"] if "bias" in self.w else absent

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        return _of_module(get, "", cls.__name__)


def _of_module(get: Get, at: str, who: str) -> dict[str, Any]:
    """The arrays of a torch.nn.MultiheadAttention whose names begin with `at`."""
    W, b = get(f"{at}in_proj_weight"), get(f"{at}in_proj_bias?")
    if W.ndim != 2 or W.shape[0] % 3 or (b is not None and b.shape != W.shape[:1]):
        raise ShapeError(
            f"{who}.from_torch: '{at}in_proj_weight' has shape {W.shape} and its bias {np.shape(b)}, "
            "expected (3 * I, I) and (3 * I,)"
        )
    arrays = dict(zip(("W_q", "W_k", "W_v"), np.split(W, 3), strict=True))
    arrays |= {"W_o": get(f"{at}out_proj.weight"), "b_o": get(f"{at}out_proj.bias?")}
    return arrays if b is None else arrays | dict(zip(("b_q", "b_k", "b_v"), np.split(b, 3), strict=True))


class TransformerBlock(Recurrence):
    """A block of a transformer whose attention sees the last `window` frames, and two dense layers.

    Equation::

        y = norm1(x + attention(x)),  out = norm2(y + linear2 g(linear1 y))
        or, norms first: y = x + attention(norm1(x)),  out = y + linear2 g(linear1 norm2(y))

    State: that of `Attention`.
    Source: Vaswani et al., Attention Is All You Need, arXiv:1706.03762; names of torch.nn.TransformerEncoderLayer,
    with a mask that leaves `window` frames: self_attn, linear1, linear2, norm1, norm2.

    Args:
        attention: an `Attention` of as many outputs as inputs.
        linear1, linear2: (F, I) and (I, F).
        b_1, b_2: (F,) and (I,), or None.
        norm1, norm2: (scale, shift), each (I,) or None.
        norm_first: which of the two equations.
        activation: g; "relu" unless given, or "gelu".
        eps: of the norms.
        name: as for `MinGRU`; so is the ShapeError.

    >>> look = undertow.Attention(*np.ones((3, 6, 6)), np.ones((6, 6)), heads=2, window=32)
    >>> undertow.TransformerBlock(look, np.ones((12, 6)), np.ones((6, 12)))
    TransformerBlock(6 -> 6)
    """

    def __init__(
        self,
        attention: Attention,
        linear1: Any,
        linear2: Any,
        b_1: Any = None,
        b_2: Any = None,
        *,
        norm1: tuple[Any, Any] = (None, None),
        norm2: tuple[Any, Any] = (None, None),
        norm_first: bool = False,
        activation: Activation | str = "relu",
        eps: float = 1e-5,
        name: str | None = None,
    ) -> None:
        self.name = name
        if not isinstance(attention, Attention):
            raise TypeError(f"{self._what}: attention is a {type(attention).__name__}, expected an undertow.Attention")
        norms: dict[str, tuple[Any, str]] = {}
        for key, pair in (("norm1", norm1), ("norm2", norm2)):
            norms |= {f"{key} scale": (pair[0], "I?"), f"{key} shift": (pair[1], "I?")}
        layers = {"linear1": (linear1, "F I"), "linear2": (linear2, "I F"), "b_1": (b_1, "F?"), "b_2": (b_2, "I?")}
        self._take(name, **layers, **norms)
        self.attention, self.norm_first, self.eps = attention, bool(norm_first), float(eps)
        self.activation = activation if activation == "gelu" else as_activation(activation)
        if attention.input_shape != self.input_shape or attention.output_size != self.n["I"]:
            raise ShapeError(f"{self._what}: {attention!r}, expected {self.n['I']} inputs and outputs, as of linear1")

    def _step(self, making: Making, x: Term) -> Term:
        w = self.w

        def norm(y: Term, key: str) -> Term:
            return layer_norm(y, w.get(f"{key} scale"), w.get(f"{key} shift"), self.eps)

        def inner(y: Term) -> Term:
            y = making.dense(y, w["linear1"], w.get("b_1"))
            y = gelu(y) if isinstance(self.activation, str) else y.apply(self.activation)
            return making.dense(y, w["linear2"], w.get("b_2"))

        if self.norm_first:
            y = x + self.attention._step(making, norm(x, "norm1"))
            return y + inner(norm(y, "norm2"))
        y = norm(x + self.attention._step(making, x), "norm1")
        return norm(y + inner(y), "norm2")

    @classmethod
    def from_torch(  # type: ignore[override]
        cls,
        weights: Any,
        prefix: str = "",
        *,
        heads: int,
        window: int,
        norm_first: bool = False,
        activation: Activation | str = "relu",
        eps: float = 1e-5,
        name: str | None = None,
    ) -> TransformerBlock:
        """torch.nn.TransformerEncoderLayer under a mask that leaves the last `window` frames.

        Arguments and errors as of `Mamba.from_torch`: `weights`, `prefix`, `name`. `heads` and `window` are those of
        `Attention`, `norm_first`, `activation` and `eps` those of `TransformerBlock`, none of which the file holds.

        >>> block = {"self_attn.in_proj_weight": np.ones((12, 4)), "self_attn.out_proj.weight": np.ones((4, 4))}
        >>> block |= {f"linear{i}.weight": np.ones((4, 4)) for i in (1, 2)}
        >>> undertow.TransformerBlock.from_torch(block, heads=2, window=8)
        TransformerBlock(4 -> 4)
        """
        from .from_torch import Reader

        get = Reader(weights, prefix, cls.__name__)
        attention = Attention(**_of_module(get, "self_attn.", cls.__name__), heads=heads, window=window)
        norms = {k: (get(f"{k}.weight?"), get(f"{k}.bias?")) for k in ("norm1", "norm2")}
        matrices = [get(f"linear{i}.weight") for i in (1, 2)]
        biases = [get(f"linear{i}.bias?") for i in (1, 2)]
        get.refuse_rest()
        return cls(
            attention,
            *matrices,
            *biases,
            norm1=norms["norm1"],
            norm2=norms["norm2"],
            norm_first=norm_first,
            activation=activation,
            eps=eps,
            name=name or prefix or None,
        )
