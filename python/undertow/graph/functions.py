# SPDX-License-Identifier: MIT
"""Functions of values, by the names that NumPy and papers have for them. Of arrays alone they give arrays, in float64,
so that the source of a cell can be tried in NumPy too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi
from math import prod as _prod
from math import sqrt as _sqrt
from typing import Any

import numpy as np

from .._text import nearest
from ..errors import ShapeError, UnsupportedError
from ..ir.activations import KINDS, Activation
from .arithmetic import act, binary, choose, product
from .moves import broadcast_to, concat, reshape, split, stack, transpose
from .operands import Named, operand, said, shape_of


def tanh(x: Any) -> Any:
    """tanh(x), of each element.

    >>> import numpy as np, undertow
    >>> g = undertow.Graph("demo")
    >>> x = g.input("x", (2, 3))
    >>> tanh(x).shape
    (2, 3)
    >>> tanh(np.zeros(2))
    array([0., 0.])
    """
    return act("tanh", x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))"""
    return act("sigmoid", x)


def relu(x: Any) -> Any:
    """max(x, 0)"""
    return act("relu", x)


def silu(x: Any) -> Any:
    """x sigmoid(x), also called swish"""
    return act("silu", x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x))"""
    return act("softplus", x)


def softsign(x: Any) -> Any:
    """x / (1 + abs(x))"""
    return act("softsign", x)


def exp(x: Any) -> Any:
    """exp(x)"""
    return act("exp", x)


def log(x: Any) -> Any:
    """log(x): -infinity of 0, NaN of negative numbers"""
    return act("log", x)


def sqrt(x: Any) -> Any:
    """The square root: NaN of negative numbers"""
    return act("sqrt", x)


def square(x: Any) -> Any:
    """x x"""
    x = operand(x, "square")
    return binary("mul", x, x)


def reciprocal(x: Any) -> Any:
    """1 / x"""
    return act("reciprocal", x)


def erf(x: Any) -> Any:
    """The error function"""
    return act("erf", x)


def sin(x: Any) -> Any:
    """sin(x); NaN beyond 2^20"""
    return act("sin", x)


def cos(x: Any) -> Any:
    """cos(x); NaN beyond 2^20"""
    return act("cos", x)


def floor(x: Any) -> Any:
    """The largest integer that is not above x"""
    return act("floor", x)


def ceil(x: Any) -> Any:
    """The smallest integer that is not below x"""
    return act("ceil", x)


def round(x: Any) -> Any:
    """The nearest integer, of two the even one"""
    return act("round", x)


def sign(x: Any) -> Any:
    """-1, 0 or 1"""
    return act("sign", x)


def abs(x: Any) -> Any:
    """The absolute value"""
    return act("abs", x)


def leaky_relu(x: Any, alpha: float = 0.01) -> Any:
    """x, below 0 alpha x"""
    return act("leaky_relu", x, alpha)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x, below 0 alpha (exp(x) - 1)"""
    return act("elu", x, alpha, 1.0)


def hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """alpha x + beta, between 0 and 1"""
    return act("hard_sigmoid", x, alpha, beta)


def gelu(x: Any, approximate: str = "none") -> Any:
    """x times the share of a normal distribution below x; approximate="tanh": the formula of GPT-2.

    Raises:
        UnsupportedError: `approximate` is another word.

    >>> float(gelu(1.0).round(4)), float(gelu(1.0, "tanh").round(4))
    (0.8413, 0.8412)
    """
    x = operand(x, "gelu")
    if approximate not in ("none", "tanh"):
        raise UnsupportedError(f"gelu: approximate is {approximate!r}, expected 'none' or 'tanh'")
    if approximate == "tanh":
        inner = binary("mul", _sqrt(2 / pi), binary("add", x, binary("mul", 0.044715, binary("mul", x, square(x)))))
        share = binary("add", 1.0, tanh(inner))
    else:
        share = binary("add", 1.0, erf(binary("mul", x, _sqrt(0.5))))
    return binary("mul", binary("mul", 0.5, x), share)


def clip(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high), the bounds being numbers, arrays or values.

    Raises:
        ShapeError: shapes do not go together, or the lower bound is not the lower one.

    >>> clip(np.array([-2.0, 0.5, 2.0]), -1, 1)
    array([-1. ,  0.5,  1. ])
    """
    if all(isinstance(v, (int, float)) for v in (low, high)):
        if not low <= high:
            raise ShapeError(f"clip: the bounds are {low} and {high}, expected the lower one first")
        return act("clip", x, low, high)
    return minimum(maximum(x, low), high)


def maximum(a: Any, b: Any) -> Any:
    """The larger of both, element by element; NaN where one is"""
    return binary("max", a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of both, element by element; NaN where one is"""
    return binary("min", a, b)


def equal(a: Any, b: Any) -> Any:
    """The condition a == b: 1 where it holds, else 0. (== between values tells whether they are one and the same.)

    >>> equal(x, 0).shape
    (2, 3)
    """
    return binary("equal", a, b)


def where(condition: Any, there: Any, otherwise: Any) -> Any:
    """there where the condition is not 0, else otherwise; three values, numbers or arrays, broadcast by NumPy's rules.

    Raises:
        ShapeError: shapes do not go together. TypeError: the condition is a Python bool.

    >>> where(x > 0, x, 0.5 * x).shape
    (2, 3)
    """
    return choose(condition, there, otherwise)


# -- layers -----------------------------------------------------------------------------------------------------------


def matmul(a: Any, b: Any) -> Any:
    """a @ b by NumPy's rules; with a matrix of numbers it is a layer, whose weights may be stored in fewer bits.

    Raises:
        ShapeError: they cannot be multiplied.

    >>> matmul(x, np.ones((3, 5))).shape, matmul(x, x.T).shape
    ((2, 5), (2, 2))
    """
    return product(a, b)


def dense(x: Any, W: Any, b: Any = None, activation: str | Activation | Callable[[Any], Any] | None = None) -> Any:
    """activation(W x + b) of each row of x.

    Args:
        x: (..., K).
        W: (M, K), as PyTorch's Linear has it: an array, whose numbers become weights; or a value.
        b: (M,)
        activation: by name, "tanh" or "gelu" say, or a function.

    Returns: (..., M).

    Raises:
        ShapeError: x, W and b do not fit together. UnsupportedError: there is no such activation.

    >>> dense(x, np.ones((4, 3)), np.zeros(4), activation="sigmoid").shape
    (2, 4)
    """
    chosen = _activation(activation)
    x, W = operand(x, "dense: x"), operand(W, "dense: W")
    own, of = shape_of(x), shape_of(W)
    if len(of) != 2:
        raise ShapeError(f"dense: W is {said(W)}, expected two axes, (outputs, inputs)")
    if own[-1:] != of[1:]:
        advice = "; W.T would fit" if own[-1:] == of[:1] else ""
        raise ShapeError(f"dense: x is {said(x)}, expected (..., {of[1]}), for W is {of}, (outputs, inputs){advice}")
    bias = None if b is None else operand(b, "dense: b")
    if bias is not None and shape_of(bias) != of[:1]:
        raise ShapeError(f"dense: b is {said(bias)}, expected {of[:1]}, for W is {of}, (outputs, inputs)")
    if not isinstance(x, Named) or not isinstance(W, np.ndarray) or isinstance(bias, Named):
        y = product(x, transpose(W))
        return _activated(chosen, y if bias is None else binary("add", y, bias))
    attrs = {"activation": chosen} if isinstance(chosen, Activation) else {}
    y = x.graph.add("dense", [x], attrs=attrs, weights={"W": W, "b": bias})
    return y if attrs else chosen(y)


def _activation(given: Any) -> Any:
    """An `Activation`, which an op can have, or a function of a value."""
    if given is None or isinstance(given, Activation):
        return given or Activation("identity")
    if isinstance(given, str):
        if given in KINDS:
            return Activation(given)
        if given in COMPOSED:
            return COMPOSED[given]
        raise UnsupportedError(
            f"dense: activation {given!r} does not exist{nearest(given, (*KINDS, *COMPOSED)) or ';'} there are: "
            f"{', '.join((*KINDS, *COMPOSED))}"
        )
    if not callable(given):
        raise TypeError(f"dense: activation is {given!r:.60}, expected a name, a function or an Activation")
    return given


def _activated(chosen: Any, x: Any) -> Any:
    return act(chosen.kind, x, chosen.alpha, chosen.beta) if isinstance(chosen, Activation) else chosen(x)


def embedding(ids: Any, table: Any) -> Any:
    """Rows of a table of numbers (V, D), by ids of dtype int32 and any shape: (*shape, D).

    >>> embedding(g.input("ids", (), dtype="int32"), np.eye(5)).shape
    (5,)
    """
    if not isinstance(ids, Named):
        return operand(table, "embedding")[np.asarray(ids)]
    return ids.graph.add("embedding", [ids], weights={"table": np.asarray(operand(table, "embedding: table"))})


def window(x: Any, taps: int | Sequence[int]) -> Any:
    """Frames of the past and present of a value, (taps, *shape): the last so many, or those at offsets such as
    (-4, -2, 0), ascending; zeros before the sequence begins. Positive offsets look ahead: outputs come later then.

    Raises:
        ShapeError: there are no taps, or they do not ascend. TypeError: an array has no past.

    >>> window(x, 4).shape, window(x, (-2, 0)).shape
    ((4, 2, 3), (2, 2, 3))
    """
    x = operand(x, "window")
    if not isinstance(x, Named):
        raise TypeError("window: an array has no past; expected a value")
    if isinstance(taps, (int, np.integer)):
        if taps < 1:
            raise ShapeError(f"window: {taps} frames, expected at least 1")
        taps = range(1 - int(taps), 1)
    return x.graph.add("window", [x], attrs={"taps": tuple(taps)})


# -- over an axis -----------------------------------------------------------------------------------------------------

Axis = int | Sequence[int] | None


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum over an axis, several, or all.

    Raises:
        ShapeError: there is no such axis.

    >>> sum(x).shape, sum(x, -1).shape, sum(x, 0, keepdims=True).shape
    ((), (2,), (1, 3))
    """
    return _reduce("sum", x, axis, keepdims)


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The product over an axis, several, or all; as `sum`.

    >>> prod(x, 0).shape
    (3,)
    """
    return _reduce("prod", x, axis, keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest; NaN where an element is, over an axis, several, or all; as `sum`.

    >>> max(x, 0).shape
    (3,)
    """
    return _reduce("max", x, axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest; NaN where an element is, over an axis, several, or all; as `sum`.

    >>> min(x, 0).shape
    (3,)
    """
    return _reduce("min", x, axis, keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean over an axis, several, or all; as `sum`.

    >>> mean(x, 0).shape
    (3,)
    """
    x = operand(x, "mean")
    n = _prod(shape_of(x)[a] for a in _axes(x, axis, "mean"))
    return binary("div", _reduce("sum", x, axis, keepdims), float(n))


def _axes(x: Any, axis: Axis, what: str) -> list[int]:
    n = len(shape_of(x))
    axes = range(n) if axis is None else (axis,) if isinstance(axis, (int, np.integer)) else axis
    for a in axes:
        if not -n <= a < n:
            raise ShapeError(f"{what}: {said(x)} has no axis {a}")
    return sorted({a % n for a in axes})


def _reduce(kind: str, x: Any, axis: Axis, keepdims: bool) -> Any:
    x = operand(x, kind)
    axes, shape = _axes(x, axis, kind), shape_of(x)
    if isinstance(x, np.ndarray):
        return getattr(np, kind)(x, axis=tuple(axes), keepdims=keepdims)
    kept = [a for a in range(len(shape)) if a not in axes]
    n = _prod(shape[a] for a in axes)
    if axes and axes != list(range(axes[0], axes[-1] + 1)):  # brought together, behind the others
        x, before, behind = transpose(x, (*kept, *axes)), _prod(shape[a] for a in kept), 1
    else:
        before = _prod(shape[: axes[0]]) if axes else 1
        behind = _prod(shape[axes[-1] + 1 :]) if axes else _prod(shape)
    if n > 1:
        x = x.graph.add("reduce", [reshape(x, before, n, behind)], attrs={"kind": kind})
    return reshape(x, tuple(1 if a in axes else m for a, m in enumerate(shape) if keepdims or a not in axes))


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) over an axis.

    >>> softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    return _along("softmax", x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """The logarithm of softmax"""
    return _along("log_softmax", x, axis)


def _along(op: str, x: Any, axis: int) -> Any:
    x = operand(x, op)
    if not shape_of(x):
        raise ShapeError(f"{op}: {said(x)} is one number, expected an axis")
    (a,) = _axes(x, axis, op)
    if isinstance(x, np.ndarray):
        shifted = x - x.max(axis=a, keepdims=True)
        logarithm = shifted - np.log(np.exp(shifted).sum(axis=a, keepdims=True))
        return logarithm if op == "log_softmax" else np.exp(logarithm)
    order = [i for i in range(len(shape_of(x))) if i != a] + [a]
    y = x.graph.add(op, [transpose(x, order)])
    return transpose(y, np.argsort(order).tolist())


def layer_norm(x: Any, scale: Any = None, shift: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(variance + eps) over the last axis, of size n, times scale (n,), plus shift (n,).

    Raises:
        ShapeError: scale or shift has another shape, or x no axis.

    >>> layer_norm(x, np.ones(3), np.zeros(3)).shape
    (2, 3)
    """
    x = operand(x, "layer_norm")
    if not shape_of(x):
        raise ShapeError(f"layer_norm: {said(x)} is one number, expected an axis")
    weights = {
        key: operand(w, f"layer_norm: {key}") for key, w in (("scale", scale), ("shift", shift)) if w is not None
    }
    for key, w in weights.items():
        if shape_of(w) != shape_of(x)[-1:]:
            raise ShapeError(f"layer_norm: {key} is {said(w)}, expected {shape_of(x)[-1:]}")
    if isinstance(x, Named) and not any(isinstance(w, Named) for w in weights.values()):
        return x.graph.add("layer_norm", [x], attrs={"eps": eps}, weights=weights)
    if isinstance(x, Named):
        y = x.graph.add("layer_norm", [x], attrs={"eps": eps})
    else:
        centred = x - x.mean(axis=-1, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    y = binary("mul", y, weights["scale"]) if "scale" in weights else y
    return binary("add", y, weights["shift"]) if "shift" in weights else y


def rms_norm(x: Any, scale: Any = None, eps: float = 1e-6) -> Any:
    """x / sqrt(mean(x x) + eps) over the last axis, of size n, times scale (n,).

    >>> rms_norm(x, np.ones(3)).shape
    (2, 3)
    """
    x = operand(x, "rms_norm")
    if not shape_of(x):
        raise ShapeError(f"rms_norm: {said(x)} is one number, expected an axis")
    y = binary("div", x, sqrt(binary("add", mean(square(x), -1, keepdims=True), eps)))
    return y if scale is None else binary("mul", y, scale)


#: activations that are several ops
COMPOSED: dict[str, Callable[[Any], Any]] = {"gelu": gelu}

__all__ = [
    "abs",
    "broadcast_to",
    "ceil",
    "clip",
    "concat",
    "cos",
    "dense",
    "elu",
    "embedding",
    "equal",
    "erf",
    "exp",
    "floor",
    "gelu",
    "hard_sigmoid",
    "layer_norm",
    "leaky_relu",
    "log",
    "log_softmax",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "prod",
    "reciprocal",
    "relu",
    "reshape",
    "rms_norm",
    "round",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "softsign",
    "split",
    "sqrt",
    "square",
    "stack",
    "sum",
    "tanh",
    "transpose",
    "where",
    "window",
]
