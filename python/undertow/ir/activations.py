# SPDX-License-Identifier: MIT
"""The activation functions, their parameters, their defaults, and what they compute in float64.

Formulas and defaults follow the ONNX operator specification of RNN, GRU and LSTM where it lists the function.
The numbers in `KINDS` are part of the .tow format (csrc/FORMAT.md). NaN gives NaN; sqrt and log of a negative number
are NaN, log(0) is -infinity, 1 / 0 infinity, sin and cos beyond 2^20 NaN. A subnormal number counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf
from typing import NamedTuple

import numpy as np

from .._text import nearest
from ..errors import UnsupportedError


class Kind(NamedTuple):
    """One kind of activation: its code in a .tow file, defaults of its parameters, and its formula, twice."""

    code: int
    alpha: float
    beta: float
    formula: str
    function: Callable[[np.ndarray, float, float], np.ndarray]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))  # never overflows, and keeps the small end's digits
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def _elu(x: np.ndarray, a: float, b: float) -> np.ndarray:
    return b * np.where(x < 0, a * np.expm1(np.minimum(x, 0.0)), x)


def _softplus(x: np.ndarray, a: float, b: float) -> np.ndarray:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


#: numbers beyond this have no sine: a float32 there is known to no better than 1/16
_TURNS = 2.0**20
_erf = np.vectorize(erf, otypes=[np.float64])

KINDS: dict[str, Kind] = {
    "identity": Kind(0, 0.0, 0.0, "x", lambda x, a, b: x),
    "relu": Kind(1, 0.0, 0.0, "max(x, 0)", lambda x, a, b: np.maximum(x, 0.0)),
    "tanh": Kind(2, 0.0, 0.0, "tanh(x)", lambda x, a, b: np.tanh(x)),
    "sigmoid": Kind(3, 0.0, 0.0, "1 / (1 + exp(-x))", lambda x, a, b: _sigmoid(x)),
    "affine": Kind(4, 1.0, 0.0, "alpha * x + beta", lambda x, a, b: a * x + b),
    "leaky_relu": Kind(5, 0.01, 0.0, "x if x >= 0 else alpha * x", lambda x, a, b: np.where(x < 0, a * x, x)),
    "thresholded_relu": Kind(6, 1.0, 0.0, "x if x >= alpha else 0", lambda x, a, b: np.where(x < a, 0.0, x)),
    "scaled_tanh": Kind(7, 1.0, 1.0, "alpha * tanh(beta * x)", lambda x, a, b: a * np.tanh(b * x)),
    "hard_sigmoid": Kind(8, 0.2, 0.5, "min(max(alpha * x + beta, 0), 1)", lambda x, a, b: np.clip(a * x + b, 0.0, 1.0)),
    "elu": Kind(9, 1.0, 1.0, "beta * (x if x >= 0 else alpha * (exp(x) - 1))", _elu),
    "softsign": Kind(10, 0.0, 0.0, "x / (1 + abs(x))", lambda x, a, b: x / (1.0 + np.abs(x))),
    "softplus": Kind(11, 0.0, 0.0, "log(1 + exp(x))", _softplus),
    "clip": Kind(12, -1.0, 1.0, "min(max(x, alpha), beta)", lambda x, a, b: np.clip(x, a, b)),
    "exp": Kind(13, 0.0, 0.0, "exp(x)", lambda x, a, b: np.exp(x)),
    "silu": Kind(14, 0.0, 0.0, "x / (1 + exp(-x))", lambda x, a, b: x * _sigmoid(x)),
    "sqrt": Kind(15, 0.0, 0.0, "sqrt(x)", lambda x, a, b: np.sqrt(x)),
    "log": Kind(16, 0.0, 0.0, "log(x)", lambda x, a, b: np.log(x)),
    "abs": Kind(17, 0.0, 0.0, "abs(x)", lambda x, a, b: np.abs(x)),
    "round": Kind(18, 0.0, 0.0, "the nearest integer to x, halves to the even one", lambda x, a, b: np.rint(x)),
    "floor": Kind(19, 0.0, 0.0, "floor(x)", lambda x, a, b: np.floor(x)),
    "ceil": Kind(20, 0.0, 0.0, "ceil(x)", lambda x, a, b: np.ceil(x)),
    "sign": Kind(21, 0.0, 0.0, "-1, 0 or 1", lambda x, a, b: np.sign(x)),
    "reciprocal": Kind(22, 0.0, 0.0, "1 / x", lambda x, a, b: 1.0 / x),
    "erf": Kind(23, 0.0, 0.0, "erf(x)", lambda x, a, b: _erf(x)),
    "sin": Kind(24, 0.0, 0.0, "sin(x)", lambda x, a, b: np.where(np.abs(x) > _TURNS, np.nan, np.sin(x))),
    "cos": Kind(25, 0.0, 0.0, "cos(x)", lambda x, a, b: np.where(np.abs(x) > _TURNS, np.nan, np.cos(x))),
}


#: names of others, and what to say of them
_OTHERS = {
    "gelu": "; undertow.graph.gelu(x) computes it, by several ops;",
    "swish": "; it is called 'silu' here;",
    "linear": "; it is called 'identity' here;",
}


@dataclass(frozen=True, init=False, repr=False)
class Activation:
    """One activation function with its parameters.

    Args:
        kind: identity, tanh, sigmoid, relu, affine, leaky_relu, thresholded_relu, scaled_tanh, hard_sigmoid, elu,
            softsign, softplus, clip, exp, silu, sqrt, log, abs, round, floor, ceil, sign, reciprocal, erf, sin or cos.
        alpha, beta: parameters of the formula; the kind's defaults when omitted.

    Raises:
        UnsupportedError: there is no such kind.

    >>> Activation("leaky_relu", 0.1)
    Activation('leaky_relu', 0.1)
    >>> Activation("tanh")
    Activation('tanh')
    """

    kind: str
    alpha: float
    beta: float

    def __init__(self, kind: str, alpha: float | None = None, beta: float | None = None) -> None:
        if kind not in KINDS:
            advice = _OTHERS.get(kind) or nearest(kind, KINDS) or ";"
            raise UnsupportedError(f"activation {kind!r} is not supported{advice} supported: {', '.join(KINDS)}")
        default = KINDS[kind]
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "alpha", float(np.float32(default.alpha if alpha is None else alpha)))
        object.__setattr__(self, "beta", float(np.float32(default.beta if beta is None else beta)))

    @property
    def code(self) -> int:
        """The number that a .tow file holds for its kind.

        >>> Activation("tanh").code
        2
        """
        return KINDS[self.kind].code

    def __repr__(self) -> str:
        _, alpha, beta, formula, _ = KINDS[self.kind]
        parameters = [p for name, p in (("alpha", self.alpha), ("beta", self.beta)) if name in formula]
        defaults = [p for name, p in (("alpha", alpha), ("beta", beta)) if name in formula]
        if np.allclose(parameters, defaults):
            return f"Activation({self.kind!r})"
        return f"Activation({self.kind!r}, {', '.join(f'{p:g}' for p in parameters)})"

    def __str__(self) -> str:
        return repr(self)[len("Activation(") : -1].replace("'", "")


BY_CODE = {row.code: kind for kind, row in KINDS.items()}

IDENTITY = Activation("identity")
TANH = Activation("tanh")
SIGMOID = Activation("sigmoid")
RELU = Activation("relu")


def as_activation(value: Activation | str | None) -> Activation:
    """Give an `Activation` for an activation, its kind's name, or None (identity)."""
    if value is None:
        return IDENTITY
    return value if isinstance(value, Activation) else Activation(value)


def activate(activation: Activation, x: np.ndarray) -> np.ndarray:
    """The activation function of float64 numbers."""
    return KINDS[activation.kind].function(x, activation.alpha, activation.beta)
