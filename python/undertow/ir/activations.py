# SPDX-License-Identifier: MIT
"""The activation functions, their parameters and their defaults.

Formulas and defaults follow the ONNX operator specification of RNN, GRU and LSTM where it lists the function.
The numbers in `KINDS` are part of the .tow format (csrc/FORMAT.md). NaN gives NaN; sqrt and log of a negative number
are NaN, log(0) is -infinity, 1 / 0 infinity, sin and cos beyond 2^20 NaN. A subnormal number counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UnsupportedError

#: kind -> (code in a .tow file, default alpha, default beta, formula)
KINDS: dict[str, tuple[int, float, float, str]] = {
    "identity": (0, 0.0, 0.0, "x"),
    "relu": (1, 0.0, 0.0, "max(x, 0)"),
    "tanh": (2, 0.0, 0.0, "tanh(x)"),
    "sigmoid": (3, 0.0, 0.0, "1 / (1 + exp(-x))"),
    "affine": (4, 1.0, 0.0, "alpha * x + beta"),
    "leaky_relu": (5, 0.01, 0.0, "x if x >= 0 else alpha * x"),
    "thresholded_relu": (6, 1.0, 0.0, "x if x >= alpha else 0"),
    "scaled_tanh": (7, 1.0, 1.0, "alpha * tanh(beta * x)"),
    "hard_sigmoid": (8, 0.2, 0.5, "min(max(alpha * x + beta, 0), 1)"),
    "elu": (9, 1.0, 1.0, "beta * (x if x >= 0 else alpha * (exp(x) - 1))"),
    "softsign": (10, 0.0, 0.0, "x / (1 + abs(x))"),
    "softplus": (11, 0.0, 0.0, "log(1 + exp(x))"),
    "clip": (12, -1.0, 1.0, "min(max(x, alpha), beta)"),
    "exp": (13, 0.0, 0.0, "exp(x)"),
    "silu": (14, 0.0, 0.0, "x / (1 + exp(-x))"),
    "sqrt": (15, 0.0, 0.0, "sqrt(x)"),
    "log": (16, 0.0, 0.0, "log(x)"),
    "abs": (17, 0.0, 0.0, "abs(x)"),
    "round": (18, 0.0, 0.0, "the nearest integer to x, halves to the even one"),
    "floor": (19, 0.0, 0.0, "floor(x)"),
    "ceil": (20, 0.0, 0.0, "ceil(x)"),
    "sign": (21, 0.0, 0.0, "-1, 0 or 1"),
    "reciprocal": (22, 0.0, 0.0, "1 / x"),
    "erf": (23, 0.0, 0.0, "erf(x)"),
    "sin": (24, 0.0, 0.0, "sin(x)"),
    "cos": (25, 0.0, 0.0, "cos(x)"),
}


@dataclass(frozen=True, init=False, repr=False)
class Activation:
    """One activation function with its parameters.

    Args:
        kind: a key of `KINDS`.
        alpha, beta: parameters of the formula; the kind's defaults when omitted.

    Raises:
        UnsupportedError: `kind` is not in `KINDS`.

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
            raise UnsupportedError(f"activation {kind!r} is not supported; supported: {', '.join(KINDS)}")
        _, default_alpha, default_beta, _ = KINDS[kind]
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "alpha", float(np.float32(default_alpha if alpha is None else alpha)))
        object.__setattr__(self, "beta", float(np.float32(default_beta if beta is None else beta)))

    @property
    def code(self) -> int:
        return KINDS[self.kind][0]

    def __repr__(self) -> str:
        _, alpha, beta, formula = KINDS[self.kind]
        parameters = [p for name, p in (("alpha", self.alpha), ("beta", self.beta)) if name in formula]
        defaults = [p for name, p in (("alpha", alpha), ("beta", beta)) if name in formula]
        if np.allclose(parameters, defaults):
            return f"Activation({self.kind!r})"
        return f"Activation({self.kind!r}, {', '.join(f'{p:g}' for p in parameters)})"

    def __str__(self) -> str:
        return repr(self)[len("Activation(") : -1].replace("'", "")


BY_CODE = {code: kind for kind, (code, _, _, _) in KINDS.items()}

IDENTITY = Activation("identity")
TANH = Activation("tanh")
SIGMOID = Activation("sigmoid")
RELU = Activation("relu")


def as_activation(value: Activation | str | None) -> Activation:
    """Give an `Activation` for an activation, its kind's name, or None (identity)."""
    if value is None:
        return IDENTITY
    return value if isinstance(value, Activation) else Activation(value)
