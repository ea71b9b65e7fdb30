# SPDX-License-Identifier: MIT
"""Recurrences whose state mixes no channels: h = a * h + u, element by element, a and u computed or constant.

Letters: I inputs, H channels of the state, K taps, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..ir.activations import Activation, as_activation
from .recurrence import Get, Making, Recurrence, Term, sigmoid, tanh


def diagonal(m: Making, letter: str, a: Any, u: Term) -> Term:
    """h = a h + u; a is a term or an array."""
    return m.write(letter, m.state(letter, u.shape) * a + u)


def _candidate(x: Term, kind: str) -> Term:
    if kind == "linear":
        return x
    return x.making.where(x > x.making.constant(np.zeros(x.shape)), x + 0.5, sigmoid(x))


def _check_candidate(kind: str, what: str) -> str:
    if kind not in ("linear", "positive"):
        raise ValueError(f"{what}: candidate is {kind!r}, expected 'linear' or 'positive'")
    return kind


class MinGRU(Recurrence):
    """A gated recurrent unit whose gate does not see its state.

    Equation::

        z = sigmoid(W_z x + b_z)
        h = (1 - z) * h + z * g(W_h x + b_h)

    State: h (H).
    Source: Feng et al., Were RNNs All We Needed?, arXiv:2410.01201; names of lucidrains/minGRU-pytorch:
    to_hidden_and_gate.weight (candidate before gate) and, where it is there, to_out.weight.

    Args:
        W_z, W_h: (H, I).
        b_z, b_h: (H,), or None.
        W_o: (O, H), of an output y = W_o h; None for y = h.
        candidate: g; "linear" is the identity, "positive" that of the paper's form in logarithms: x + 1/2 above 0, else
            sigmoid(x), which `from_torch` takes unless told otherwise.
        name: of the layer; its nodes and states are named after it. Numbered by its kind unless given.

    Raises:
        ShapeError: an array has another shape; the message names it. ValueError: `candidate` is neither.

    >>> kept = undertow.MinGRU([[0.0]], [[1.0]])                     # z = 1/2
    >>> undertow.Sequential([kept]).run(np.float32([[2], [0]])).ravel()
    array([1. , 0.5], dtype=float32)
    """

    def __init__(
        self,
        W_z: Any,
        W_h: Any,
        b_z: Any = None,
        b_h: Any = None,
        *,
        W_o: Any = None,
        candidate: str = "linear",
        name: str | None = None,
    ) -> None:
        self._take(name, W_z=(W_z, "H I"), W_h=(W_h, "H I"), b_z=(b_z, "H?"), b_h=(b_h, "H?"), W_o=(W_o, "O H?"))
        self.candidate = _check_candidate(candidate, self._what)

    def _step(self, making: Making, x: Term) -> Term:
        w = self.w
        z = sigmoid(making.dense(x, w["W_z"], w.get("b_z")))
        h = diagonal(making, "h", 1.0 - z, z * _candidate(making.dense(x, w["W_h"], w.get("b_h")), self.candidate))
        return making.dense(h, w["W_o"]) if "W_o" in w else h

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, name: str | None = None, **settings: Any) -> MinGRU:
        """The minGRU of minGRU-pytorch: `prefix`.to_hidden_and_gate.weight (2 * H, I), its candidate "positive".

        Arguments and errors as of `Mamba.from_torch`: `weights`, `prefix`, `name`, `settings`.

        >>> undertow.MinGRU.from_torch({"mix.to_hidden_and_gate.weight": np.ones((4, 3))}, "mix")
        MinGRU 'mix'(3 -> 2)
        """
        return super().from_torch(weights, prefix, name=name, **{"candidate": "positive", **settings})

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        W_h, W_z = _halves(get("to_hidden_and_gate.weight"), 2, cls.__name__)
        return {"W_z": W_z, "W_h": W_h, "W_o": get("to_out.weight?")}


def _halves(array: np.ndarray, n: int, who: str) -> list[np.ndarray]:
    """A tensor whose rows are those of n layers, taken apart."""
    if array.ndim == 0 or array.shape[0] % n:
        raise ShapeError(f"{who}.from_torch: a tensor of {n} layers has shape {array.shape}, expected ({n} * H, ...)")
    return np.split(array, n)


class MinLSTM(Recurrence):
    """A long short-term memory whose gates do not see its state.

    Equation::

        f = sigmoid(W_f x + b_f),  i = sigmoid(W_i x + b_i)
        h = f / (f + i) * h + i / (f + i) * g(W_h x + b_h)

    State: h (H).
    Source: Feng et al., Were RNNs All We Needed?, arXiv:2410.01201; names of lucidrains/minGRU-pytorch, written from
    knowledge of it: to_hidden_and_gate.weight (candidate, forget, input gate) and, where it is there, to_out.weight.

    Args:
        W_f, W_i, W_h: (H, I).
        b_f, b_i, b_h: (H,), or None.
        W_o, candidate, name: as for `MinGRU`; so are the errors.
        normalise: False leaves out the division: h = f * h + i * g(...).

    >>> undertow.MinLSTM([[0.0]], [[0.0]], [[1.0]])
    MinLSTM(1 -> 1)
    """

    def __init__(
        self,
        W_f: Any,
        W_i: Any,
        W_h: Any,
        b_f: Any = None,
        b_i: Any = None,
        b_h: Any = None,
        *,
        W_o: Any = None,
        candidate: str = "linear",
        normalise: bool = True,
        name: str | None = None,
    ) -> None:
        matrices = {"W_f": (W_f, "H I"), "W_i": (W_i, "H I"), "W_h": (W_h, "H I"), "W_o": (W_o, "O H?")}
        self._take(name, **matrices, b_f=(b_f, "H?"), b_i=(b_i, "H?"), b_h=(b_h, "H?"))
        self.candidate, self.normalise = _check_candidate(candidate, self._what), bool(normalise)

    def _step(self, making: Making, x: Term) -> Term:
        f, i, new = (making.dense(x, self.w[f"W_{k}"], self.w.get(f"b_{k}")) for k in "fih")
        f, i = sigmoid(f), sigmoid(i)
        if self.normalise:
            total = f + i
            f, i = f / total, i / total
        h = diagonal(making, "h", f, i * _candidate(new, self.candidate))
        return making.dense(h, self.w["W_o"]) if "W_o" in self.w else h

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, name: str | None = None, **settings: Any) -> MinLSTM:
        """The minLSTM of minGRU-pytorch: `prefix`.to_hidden_and_gate.weight (3 * H, I), its candidate "positive".

        Arguments and errors as of `Mamba.from_torch`: `weights`, `prefix`, `name`, `settings`.

        >>> undertow.MinLSTM.from_torch({"mix.to_hidden_and_gate.weight": np.ones((6, 3))}, "mix")
        MinLSTM 'mix'(3 -> 2)
        """
        return super().from_torch(weights, prefix, name=name, **{"candidate": "positive", **settings})

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        W_h, W_f, W_i = _halves(get("to_hidden_and_gate.weight"), 3, cls.__name__)
        return {"W_f": W_f, "W_i": W_i, "W_h": W_h, "W_o": get("to_out.weight?")}


class SRU(Recurrence):
    """A simple recurrent unit: gates see the state element by element, and a highway passes the input on.

    Equation::

        f = sigmoid(W_f x + v_f * c + b_f),  r = sigmoid(W_r x + v_r * c + b_r)
        c = f * c + (1 - f) * W x
        y = r * g(c) + (1 - r) * W_x x

    State: c (H); both gates see the one before.
    Source: Lei et al., Simple Recurrent Units, arXiv:1709.02755; names of asappresearch/sru: weight (I, 3 * H or 4 *
    H), weight_c (2 * H), bias (2 * H), scale_x.

    Args:
        W, W_f, W_r: (H, I).
        v_f, v_r, b_f, b_r: (H,), or None.
        W_x: (H, I), or None for the input itself, which needs H = I.
        scale_x: by what the input itself is multiplied; nothing to do with W_x.
        activation: g; the identity unless given.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.SRU(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), W_x=np.ones((2, 3)))
    SRU(3 -> 2)
    """

    def __init__(
        self,
        W: Any,
        W_f: Any,
        W_r: Any,
        v_f: Any = None,
        v_r: Any = None,
        b_f: Any = None,
        b_r: Any = None,
        *,
        W_x: Any = None,
        scale_x: float = 1.0,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> None:
        matrices = {"W": (W, "H I"), "W_f": (W_f, "H I"), "W_r": (W_r, "H I"), "W_x": (W_x, "H I?")}
        self._take(name, **matrices, v_f=(v_f, "H?"), v_r=(v_r, "H?"), b_f=(b_f, "H?"), b_r=(b_r, "H?"))
        if W_x is None and self.n["H"] != self.n["I"]:
            raise ShapeError(f"{self._what}: {self.n['I']} inputs and {self.n['H']} channels need W_x")
        self.activation, self.scale_x = as_activation(activation), float(scale_x)

    def _step(self, making: Making, x: Term) -> Term:
        w, c = self.w, making.state("c", (self.n["H"],))

        def gate(k: str) -> Term:
            seen = making.dense(x, w[f"W_{k}"], w.get(f"b_{k}"))
            return sigmoid(seen + c * w[f"v_{k}"] if f"v_{k}" in w else seen)

        f, r = gate("f"), gate("r")
        c = making.write("c", f * c + (1.0 - f) * making.dense(x, w["W"]))
        passed = making.dense(x, w["W_x"]) if "W_x" in w else x * self.scale_x
        return r * c.apply(self.activation) + (1.0 - r) * passed

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        W, v, b = get("weight"), get("weight_c?"), get("bias?")
        hidden = 0 if b is None else b.size // 2
        if not hidden or W.ndim != 2 or W.shape[1] not in (3 * hidden, 4 * hidden):
            raise ShapeError(
                f"SRU.from_torch: 'weight' has shape {W.shape} and 'bias' {np.shape(b)}, expected (I, 3 * H or 4 * H) "
                "and (2 * H,)"
            )
        names = ("W", "W_f", "W_r", "W_x")
        arrays = {key: a for key, a in zip(names, W.T.reshape(hidden, -1, len(W)).swapaxes(0, 1), strict=False)}
        if (scale := get("scale_x?")) is not None:
            arrays["scale_x"] = np.asarray(scale).reshape(-1)[0]
        for key, pair in (("v", v), ("b", b)):
            if pair is not None:
                arrays |= {f"{key}_f": pair.reshape(2, -1)[0], f"{key}_r": pair.reshape(2, -1)[1]}
        return arrays


class QRNN(Recurrence):
    """A quasi-recurrent network: gates from a convolution along time, pooled by what they forget ("fo-pooling").

    Equation::

        z = tanh(W_z [x_(t-K+1) .. x_t] + b_z),  f = sigmoid(W_f [..] + b_f),  o = sigmoid(W_o [..] + b_o)
        c = f * c + (1 - f) * z
        h = o * c

    State: c (H), and the last K - 1 frames.
    Source: Bradbury et al., Quasi-Recurrent Neural Networks, arXiv:1611.01576; names of salesforce/pytorch-qrnn:
    linear.weight (3 * H, window * I), linear.bias; gates z, f, o, frame t before frame t - 1, and 1 - f for f.

    Args:
        W_z, W_f, W_o: (H, K, I), the last of K taps for the frame itself.
        b_z, b_f, b_o: (H,), or None.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.QRNN(*np.ones((3, 4, 2, 5)))
    QRNN(5 -> 4)
    """

    def __init__(
        self,
        W_z: Any,
        W_f: Any,
        W_o: Any,
        b_z: Any = None,
        b_f: Any = None,
        b_o: Any = None,
        *,
        name: str | None = None,
    ) -> None:
        matrices = {"W_z": (W_z, "H K I"), "W_f": (W_f, "H K I"), "W_o": (W_o, "H K I")}
        self._take(name, **matrices, b_z=(b_z, "H?"), b_f=(b_f, "H?"), b_o=(b_o, "H?"))

    def _step(self, making: Making, x: Term) -> Term:
        taps = making.window(x, self.n["K"]).reshape(self.n["K"] * self.n["I"]) if self.n["K"] > 1 else x
        z, f, o = (making.dense(taps, self.w[f"W_{k}"].reshape(self.n["H"], -1), self.w.get(f"b_{k}")) for k in "zfo")
        f = sigmoid(f)
        return sigmoid(o) * diagonal(making, "c", f, (1.0 - f) * tanh(z))

    @classmethod
    def from_torch(  # type: ignore[override]
        cls, weights: Any, prefix: str = "", *, window: int = 1, name: str | None = None
    ) -> QRNN:
        """A QRNNLayer of pytorch-qrnn, with its output gate and without zoneout.

        `prefix`.linear.weight (3 * H, window * I) and `prefix`.linear.bias.

        Arguments and errors as of `Mamba.from_torch`: `weights`, `prefix`, `name`. `window`, the frames of a
        convolution (1 or 2 there), is not in the file.

        >>> undertow.QRNN.from_torch({"linear.weight": np.ones((6, 8))}, window=2)
        QRNN(4 -> 2)
        """
        from .from_torch import Reader

        get = Reader(weights, prefix, "QRNN")
        W, b = np.asarray(get("linear.weight")), get("linear.bias?")
        get.refuse_rest()
        if W.ndim != 2 or W.shape[0] % 3 or window < 1 or W.shape[1] % window:
            raise ShapeError(f"QRNN.from_torch: 'linear.weight' has shape {W.shape}, expected (3 * H, {window} * I)")
        z, f, o = W.reshape(3, W.shape[0] // 3, window, -1)[:, :, ::-1]
        b_z, b_f, b_o = (None, None, None) if b is None else _halves(b, 3, "QRNN")
        return cls(z, -f, o, b_z, None if b_f is None else -b_f, b_o, name=name or prefix or None)


class IndRNN(Recurrence):
    """A recurrent layer each of whose units remembers itself alone.

    Equation::

        h = g(W x + u * h + b)

    State: h (H).
    Source: Li et al., Independently Recurrent Neural Network, arXiv:1803.04831; names of the cell of
    StefOe/indrnn-pytorch: weight_ih (H, I), weight_hh (H), bias_ih (H).

    Args:
        W: (H, I).
        u: (H,).
        b: (H,), or None.
        activation: g; "relu" unless given.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.Sequential([undertow.IndRNN([[1.0]], [0.5])]).run(np.float32([[2], [0]])).ravel()
    array([2., 1.], dtype=float32)
    """

    tensors: ClassVar[Mapping[str, str]] = {"W": "weight_ih", "u": "weight_hh", "b": "bias_ih?"}

    def __init__(
        self, W: Any, u: Any, b: Any = None, *, activation: Activation | str = "relu", name: str | None = None
    ) -> None:
        self._take(name, W=(W, "H I"), u=(u, "H"), b=(b, "H?"))
        self.activation = as_activation(activation)

    def _step(self, making: Making, x: Term) -> Term:
        h = making.state("h", (self.n["H"],))
        new = making.dense(x, self.w["W"], self.w.get("b")) + h * self.w["u"]
        return making.write("h", new.apply(self.activation))
