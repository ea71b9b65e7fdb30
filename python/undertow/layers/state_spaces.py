# SPDX-License-Identifier: MIT
"""Linear state spaces: recurrences with a diagonal of complex numbers, and the real one of Griffin.

Letters: I inputs, H states, N states of a channel, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from .diagonal import diagonal
from .recurrence import Get, Making, Recurrence, Term, exp, gelu, sigmoid


def turning(m: Making, letter: str, a: np.ndarray, re: Term, im: Term | None) -> tuple[Term, Term]:
    """s = a s + u with a complex array a, and u of the parts `re` and `im`; gives the parts of s."""
    s_re, s_im = m.state(f"{letter}_re", re.shape), m.state(f"{letter}_im", re.shape)
    new_re = s_re * a.real - s_im * a.imag + re
    new_im = s_im * a.real + s_re * a.imag
    return m.write(f"{letter}_re", new_re), m.write(f"{letter}_im", new_im if im is None else new_im + im)


class LRU(Recurrence):
    """A linear recurrent unit: a diagonal of complex numbers inside the unit circle.

    Equation::

        lambda = exp(-exp(nu_log) + i exp(theta_log))
        s = lambda * s + exp(gamma_log) * B x
        y = Re(C s) + D * x

    State: s (H), complex, as s_re and s_im.
    Source: Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, arXiv:2303.06349; names of
    NicolasZucchet/minimal-LRU, written from knowledge of it, are those of the arguments.

    Args:
        nu_log, theta_log, gamma_log: (H,); gamma_log None for sqrt(1 - abs(lambda)^2), where it begins in training.
        B_re, B_im: (H, I).
        C_re, C_im: (O, H).
        D: (I,) with O = I, or None.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.LRU(np.zeros(4), np.zeros(4), *np.ones((2, 4, 3)), *np.ones((2, 5, 4)))
    LRU(3 -> 5)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        key: key for key in ("nu_log", "theta_log", "B_re", "B_im", "C_re", "C_im")
    } | {"D": "D?", "gamma_log": "gamma_log?"}

    def __init__(
        self,
        nu_log: Any,
        theta_log: Any,
        B_re: Any,
        B_im: Any,
        C_re: Any,
        C_im: Any,
        D: Any = None,
        *,
        gamma_log: Any = None,
        name: str | None = None,
    ) -> None:
        vectors = {"nu_log": (nu_log, "H"), "theta_log": (theta_log, "H"), "gamma_log": (gamma_log, "H?")}
        parts = {"B_re": (B_re, "H I"), "B_im": (B_im, "H I"), "C_re": (C_re, "O H"), "C_im": (C_im, "O H")}
        self._take(name, **vectors, **parts, D=(D, "I?"))
        _check_pass(self)

    def _step(self, making: Making, x: Term) -> Term:
        w = self.w
        a = np.exp(-np.exp(w["nu_log"]) + 1j * np.exp(w["theta_log"]))
        gamma = np.exp(w["gamma_log"]) if "gamma_log" in w else np.sqrt(1 - np.abs(a) ** 2)
        return _mimo(
            making, x, a, gamma[:, None] * (w["B_re"] + 1j * w["B_im"]), w["C_re"] + 1j * w["C_im"], w.get("D")
        )


def _check_pass(layer: Recurrence) -> None:
    if "D" in layer.w and layer.n["O"] != layer.n["I"]:
        raise ShapeError(
            f"{layer._what}: D passes {layer.n['I']} inputs on to {layer.n['O']} outputs; expected as many"
        )


def _mimo(m: Making, x: Term, a: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray | None) -> Term:
    """s = a s + B x, y = Re(C s) + D x with complex arrays."""
    n, u = len(a), m.dense(x, np.concatenate([B.real, B.imag]))
    s = m.join(*turning(m, "s", a, u[:n], u[n:]))
    y = m.dense(s, np.concatenate([C.real, -C.imag], axis=1))
    return y if D is None else y + x * D


class S5(Recurrence):
    """A simplified state space layer: one system of many inputs and outputs, its matrix diagonal.

    Equation::

        a = exp(Lambda exp(log_step)),  B' = (a - 1) / Lambda * B
        s = a * s + B' x
        y = k Re(C s) + D * x,  k = 2 where states stand for pairs of conjugates, else 1

    State: s (H), complex, as s_re and s_im.
    Source: Smith et al., Simplified State Space Layers for Sequence Modeling, arXiv:2208.04933; names of
    lindermanlab/S5 (JAX), written from knowledge of it: Lambda_re, Lambda_im, B (H, I, 2), C (O, H, 2), D, log_step.

    Args:
        Lambda_re, Lambda_im: (H,), real parts below 0.
        B: (H, I, 2), C: (O, H, 2), real and imaginary parts.
        C: as said with B.
        log_step: (H,).
        D: (I,) with O = I, or None.
        conjugate: whether each state stands for a pair, as in the reference unless told otherwise.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.S5(-np.ones(4), np.ones(4), np.ones((4, 3, 2)), np.ones((3, 4, 2)), np.zeros(4))
    S5(3 -> 3)
    """

    tensors: ClassVar[Mapping[str, str]] = {key: key for key in ("Lambda_re", "Lambda_im", "B", "C", "log_step")} | {
        "D": "D?"
    }

    def __init__(
        self,
        Lambda_re: Any,
        Lambda_im: Any,
        B: Any,
        C: Any,
        log_step: Any,
        D: Any = None,
        *,
        conjugate: bool = True,
        name: str | None = None,
    ) -> None:
        vectors = {"Lambda_re": (Lambda_re, "H"), "Lambda_im": (Lambda_im, "H"), "log_step": (log_step, "H")}
        self._take(name, **vectors, B=(B, "H I 2"), C=(C, "O H 2"), D=(D, "I?"))
        self.conjugate = bool(conjugate)
        _check_pass(self)

    def _step(self, making: Making, x: Term) -> Term:
        w = self.w
        rate = w["Lambda_re"] + 1j * w["Lambda_im"]
        a = np.exp(rate * np.exp(w["log_step"]))
        B, C = (w[k][..., 0] + 1j * w[k][..., 1] for k in "BC")
        return _mimo(making, x, a, ((a - 1) / rate)[:, None] * B, C * (2 if self.conjugate else 1), w.get("D"))


class S4D(Recurrence):
    """A diagonal state space layer: each channel is a system of its own, of N complex states; then a mix of channels.

    Equation::

        A = -exp(log_A_real) + i A_imag,  a = exp(A exp(log_dt))
        s = a * s + x,  y = 2 Re(sum over n of C (a - 1) / A * s) + D * x
        out = glu(W_o gelu(y) + b_o)

    State: s (H, N), complex, as s_re and s_im.
    Source: Gu et al., On the Parameterization and Initialization of Diagonal State Space Models, arXiv:2206.11893;
    names of models/s4/s4d.py of state-spaces/s4: D, kernel.log_dt, kernel.C (H, N, 2), kernel.log_A_real,
    kernel.A_imag, output_linear.0.weight (2 * H, H, 1), output_linear.0.bias.

    Args:
        log_dt: (H,), with H = I.
        log_A_real, A_imag: (H, N).
        C: (H, N, 2), real and imaginary parts.
        D: (H,).
        W_o, b_o: (2 * O, H) and (2 * O,), of the gated layer behind; both None to give y as it is.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.S4D(np.zeros(3), np.zeros((3, 2)), np.ones((3, 2)), np.ones((3, 2, 2)), np.ones(3))
    S4D(3 -> 3)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        "log_dt": "kernel.log_dt",
        "log_A_real": "kernel.log_A_real",
        "A_imag": "kernel.A_imag",
        "C": "kernel.C",
        "D": "D",
    }

    def __init__(
        self,
        log_dt: Any,
        log_A_real: Any,
        A_imag: Any,
        C: Any,
        D: Any,
        *,
        W_o: Any = None,
        b_o: Any = None,
        name: str | None = None,
    ) -> None:
        grids = {"log_A_real": (log_A_real, "I N"), "A_imag": (A_imag, "I N"), "C": (C, "I N 2")}
        self._take(name, log_dt=(log_dt, "I"), **grids, D=(D, "I"), W_o=(W_o, "2O I?"), b_o=(b_o, "2O?"))
        if "b_o" in self.w and "W_o" not in self.w:
            raise ShapeError(f"{self._what}: b_o is given without W_o")

    def _step(self, making: Making, x: Term) -> Term:
        w = self.w
        rate = -np.exp(w["log_A_real"]) + 1j * w["A_imag"]
        a = np.exp(rate * np.exp(w["log_dt"])[:, None])
        C = 2 * (w["C"][..., 0] + 1j * w["C"][..., 1]) * (a - 1) / rate
        re, im = turning(making, "s", a, x[:, None].repeat(a.shape), None)
        y = (re * C.real - im * C.imag).sum().reshape(self.n["I"]) + x * w["D"]
        if "W_o" not in w:
            return y
        mixed, n = making.dense(gelu(y), w["W_o"], w.get("b_o")), self.n["O"]
        return mixed[:n] * sigmoid(mixed[n:])

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        W, b = get("output_linear.0.weight?"), get("output_linear.0.bias?")
        behind = {"W_o": W.reshape(W.shape[:2]) if np.ndim(W) == 3 else W, "b_o": b}
        return super()._arrays(get) | behind


class RGLRU(Recurrence):
    """A real-gated linear recurrent unit: the recurrence of Griffin and RecurrentGemma.

    Equation::

        r = sigmoid(W_a x + b_a),  i = sigmoid(W_x x + b_x)
        a = exp(-8 softplus(Lambda) * r)
        h = a * h + sqrt(1 - a^2) * i * x

    State: h (H).
    Source: De et al., Griffin, arXiv:2402.19427; names of google-deepmind/recurrentgemma: a_param, input_gate.w
    (heads, width, width), input_gate.b, a_gate.w, a_gate.b.

    Args:
        W_a, W_x: (H, H), or (heads, width, width), blocks of a diagonal, each (inputs, outputs).
        b_a, b_x: (H,), or (heads, width).
        Lambda: (H,).
        first_whole: the first frame comes in as i * x, without the root, as in the reference; a state `started` says
            which is first. False unless given; `from_torch` takes True.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.RGLRU(np.ones((2, 3, 3)), np.ones(6), np.ones((2, 3, 3)), np.ones(6), np.ones(6))
    RGLRU(6 -> 6)
    """

    def __init__(
        self,
        W_a: Any,
        b_a: Any,
        W_x: Any,
        b_x: Any,
        Lambda: Any,
        *,
        first_whole: bool = False,
        name: str | None = None,
    ) -> None:
        self.first_whole = bool(first_whole)
        W_a, W_x = (block_diagonal(W) for W in (W_a, W_x))
        b_a, b_x = (np.ravel(b) if np.ndim(b) == 2 else b for b in (b_a, b_x))
        self._take(name, W_a=(W_a, "I I"), b_a=(b_a, "I"), W_x=(W_x, "I I"), b_x=(b_x, "I"), Lambda=(Lambda, "I"))

    def _step(self, making: Making, x: Term) -> Term:
        w = self.w
        r, i = (sigmoid(making.dense(x, w[f"W_{k}"], w[f"b_{k}"])) for k in "ax")
        log_a = r * (-8 * np.logaddexp(0, w["Lambda"]))
        kept = (1.0 - exp(2.0 * log_a)).act("sqrt")
        if self.first_whole:
            started = making.state("started", (self.n["I"],))
            kept = kept.max(1.0 - started)
            making.write("started", started.affine(0.0, 1.0))
        return diagonal(making, "h", exp(log_a), kept * (i * x))

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, name: str | None = None, **settings: Any) -> RGLRU:
        """The RGLRU of recurrentgemma: `prefix`.a_param, `prefix`.input_gate.w, .b, `prefix`.a_gate.w, .b.

        Arguments and errors as of `Mamba.from_torch`: `weights`, `prefix`, `name`, `settings`.

        >>> w = {"a_param": np.ones(4), "a_gate.w": np.ones((2, 2, 2)), "a_gate.b": np.ones((2, 2))}
        >>> undertow.RGLRU.from_torch(w | {"input_gate.w": np.ones((2, 2, 2)), "input_gate.b": np.ones((2, 2))})
        RGLRU(4 -> 4)
        """
        return super().from_torch(weights, prefix, name=name, **{"first_whole": True, **settings})

    tensors: ClassVar[Mapping[str, str]] = {
        "W_a": "a_gate.w",
        "b_a": "a_gate.b",
        "W_x": "input_gate.w",
        "b_x": "input_gate.b",
        "Lambda": "a_param",
    }


def block_diagonal(W: Any) -> Any:
    """Blocks (n, inputs, outputs) as one matrix (n * outputs, n * inputs); anything else as it is."""
    if np.ndim(W) != 3:
        return W
    W = np.asarray(W)
    n, i, o = W.shape
    whole = np.zeros((n, o, n, i))
    whole[np.arange(n), :, np.arange(n)] = W.swapaxes(1, 2)
    return whole.reshape(n * o, n * i)
