# SPDX-License-Identifier: MIT
"""Operators between values and numbers, as ops: one rounding for each, as NumPy has it.

What is known while the graph is built joins it as the numbers of an `affine`, which passes take into layers and
expressions; of arrays alone the result is an array.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.activations import Activation, activate
from ..ir.ops.elementwise import BINARY
from .operands import Named, Operand, as_value, home, operand, said, shape_of, spread, together

#: how messages write them
SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "greater": ">",
    "less": "<",
    "equal": "equal",
    "greater_equal": ">=",
    "less_equal": "<=",
    "max": "maximum",
    "min": "minimum",
}
_HUGE = float(np.finfo(np.float32).max)
#: factors of `x ** n` up to which it is written as products
_MOST_FACTORS = 64


def binary(op: str, a: Any, b: Any) -> Any:
    """a op b, op being one of `BINARY`."""
    sign = SIGNS[op]
    x, y = operand(a, sign), operand(b, sign)
    graph = home(sign, (x, y))
    if graph is None:
        return BINARY[op](np.asarray(x), np.asarray(y))
    shape = together(sign, (x, y))
    if isinstance(y, np.ndarray):
        if (terms := _right(op, checked(y, sign))) is not None:
            return _affine(x, shape, *terms)
    elif isinstance(x, np.ndarray) and (terms := _left(op, checked(x, sign))) is not None:
        return _affine(y, shape, *terms)
    if op == "div" and isinstance(x, np.ndarray) and (x == 1).all():
        return act("reciprocal", spread(y, shape))
    result = graph.add(op, [as_value(graph, spread(v, shape)) for v in (x, y)])
    result._condition = BINARY[op] in _COMPARISONS
    return result


_COMPARISONS = [np.greater, np.less, np.equal, np.greater_equal, np.less_equal]
_Terms = tuple[Any, Any]


def _right(op: str, c: np.ndarray) -> _Terms | None:
    """(scale, shift) of x op c; None where they would round twice."""
    if op in ("add", "sub"):
        return 1.0, c if op == "add" else -c
    if op == "mul":
        return c, 0.0
    if op == "div":
        with np.errstate(all="ignore"):
            inverse = np.float32(1) / c.astype(np.float32)
            exact = np.isfinite(inverse) & (np.abs(np.frexp(c)[0]) == 0.5) & (np.abs(inverse) >= np.finfo("f4").tiny)
        return (inverse, 0.0) if exact.all() else None
    return None


def _left(op: str, c: np.ndarray) -> _Terms | None:
    """(scale, shift) of c op x."""
    if op == "add":
        return 1.0, c
    if op == "sub":
        return -1.0, c
    return (c, 0.0) if op == "mul" else None


def checked(c: np.ndarray, what: str) -> np.ndarray:
    """Numbers that float32 holds.

    Raises:
        ValueError: one is beyond.
    """
    beyond = np.isfinite(c) & (np.abs(c) > _HUGE)
    if beyond.any():
        raise ValueError(f"{what}: {c[beyond].flat[0]:g} is beyond float32, whose largest number is {_HUGE:g}")
    return np.asarray(c, np.float64)


def _affine(x: Operand, shape: tuple[int, ...], scale: Any, shift: Any) -> Any:
    x = spread(x, shape)
    assert isinstance(x, Named)
    weights = {key: np.array(np.broadcast_to(w, shape), np.float32) for key, w in (("scale", scale), ("shift", shift))}
    return x.graph.add("affine", [x], weights=weights)


def act(kind: str, x: Any, alpha: float | None = None, beta: float | None = None, what: str = "") -> Any:
    """An activation of a value or array, element by element."""
    x = operand(x, what or kind)
    activation = Activation(kind, alpha, beta)
    if isinstance(x, np.ndarray):
        with np.errstate(all="ignore"):
            return activate(activation, x.astype(np.float64))
    return x.graph.add("activation", [x], attrs={"activation": activation})


def choose(condition: Any, there: Any, otherwise: Any) -> Any:
    """there where the condition is not 0, else otherwise."""
    if isinstance(condition, bool):
        raise TypeError(
            "where: the condition is a Python bool, known while the graph is built; compare values with < > <= >=, or "
            "equal(a, b), as == between two of them tells whether they are one value"
        )
    c, a, b = (operand(x, "where") for x in (condition, there, otherwise))
    graph = home("where", (c, a, b))
    if graph is None:
        return np.where(c, a, b)
    shape = together("where", (c, a, b))
    if isinstance(c, np.ndarray):
        c = np.asarray(c != 0, np.float64)
    for x in (a, b):
        if isinstance(x, np.ndarray):
            checked(x, "where")
    result = graph.add("where", [as_value(graph, spread(x, shape)) for x in (c, a, b)])
    result._condition = all(isinstance(x, Named) and x._condition for x in (a, b))
    return result


def conditions(sign: str, *xs: Any) -> Any:
    """& and | of two, ~ of one condition: 1 where it holds, else 0."""
    given = [operand(x, sign) for x in xs]
    for x in given:
        if not (x._condition if isinstance(x, Named) else x.dtype.kind == "b"):
            example = "~(x > 0)" if sign == "~" else f"(x > 0) {sign} (y < 1)"
            raise TypeError(f"{sign}: {said(x)} is no condition; compare it with something first, as in {example}")
    if home(sign, given) is None:
        return np.logical_not(given[0]) if sign == "~" else _ON_ARRAYS[sign](*given)
    if sign == "~":
        result = binary("sub", 1.0, given[0])
    else:
        result = binary("min" if sign == "&" else "max", *(_as_numbers(x) for x in given))
    result._condition = True
    return result


_ON_ARRAYS: dict[str, Callable[..., Any]] = {"&": np.logical_and, "|": np.logical_or}


def _as_numbers(x: Operand) -> Operand:
    return x.astype(np.float64) if isinstance(x, np.ndarray) else x


def power(base: Any, exponent: Any) -> Any:
    """base ** exponent: an integer or half of an odd one as products and roots, a positive base as exp(x log(base))."""
    b, e = operand(base, "**"), operand(exponent, "**")
    if home("**", (b, e)) is None:
        return np.power(b, e)
    if isinstance(e, np.ndarray):
        if e.shape == ():
            return _powered(b, float(e))
        raise TypeError(
            f"**: the exponent is {said(e)}, expected one number; exp({said(e)} * log(x)) where x is positive"
        )
    if isinstance(b, np.ndarray):
        if not (b > 0).all():
            raise TypeError(f"**: the base is {said(b)}, expected positive numbers where the exponent is a value")
        return act("exp", binary("mul", e, np.log(b)))
    raise TypeError("**: base and exponent are both values; write exp(y * log(x)), where x is positive")


def _powered(x: Any, n: float) -> Any:
    if 2 * n != int(2 * n) or abs(n) > _MOST_FACTORS:
        raise TypeError(
            f"**: the exponent is {n:g}, expected an integer or half of one, up to {_MOST_FACTORS}; "
            f"exp({n:g} * log(x)) where x is positive"
        )
    if n < 0:
        return act("reciprocal", _powered(x, -n))
    root = act("sqrt", x) if n != int(n) else None
    result, factor, n_factors = None, x, int(n)
    while n_factors:
        if n_factors & 1:
            result = factor if result is None else binary("mul", result, factor)
        n_factors >>= 1
        if n_factors:
            factor = binary("mul", factor, factor)
    if result is None:
        return root if root is not None else x.graph.constant(np.ones(shape_of(x)))
    return result if root is None else binary("mul", result, root)


def product(a: Any, b: Any) -> Any:
    """a @ b by NumPy's rules; with a matrix of numbers it is a layer, whose weights may be stored in fewer bits."""
    x, y = operand(a, "@"), operand(b, "@")
    graph = home("@", (x, y))
    if graph is None:
        return np.asarray(x) @ np.asarray(y)
    m, n = shape_of(x), shape_of(y)
    if not m or not n:
        raise ShapeError(f"@: {said(x)} and {said(y)}: one is a single number; write *")
    if m[-1] != n[-2 if len(n) > 1 else -1]:
        axis = "the first axis" if len(n) <= 2 else "the last axis but one"
        raise ShapeError(
            f"@: {said(x)} and {said(y)} cannot be multiplied: the last axis of the first is {m[-1]}, {axis} of the "
            f"second {n[-2 if len(n) > 1 else -1]}"
        )
    if isinstance(x, Named) and isinstance(y, np.ndarray) and y.ndim == 2:
        return graph.add("dense", [x], weights={"W": checked(y, "@").T})
    if isinstance(y, Named) and isinstance(x, np.ndarray) and x.ndim == 2 and len(n) == 1:
        return graph.add("dense", [y], weights={"W": checked(x, "@")})
    if len(n) == 1 and m[-1] > 1:  # which an expression takes in, and the state that x may be
        rows = _reshaped(binary("mul", x, y), (prod(m[:-1]), m[-1], 1))
        return _reshaped(graph.add("reduce", [as_value(graph, rows)], attrs={"kind": "sum"}), m[:-1])
    first, second = (m if len(m) > 1 else (1, *m)), (n if len(n) > 1 else (*n, 1))
    try:
        lead = np.broadcast_shapes(first[:-2], second[:-2])
    except ValueError:
        raise ShapeError(f"@: {said(x)} and {said(y)}: their leading axes do not go together") from None
    inputs = [as_value(graph, spread(_reshaped(v, s), (*lead, *s[-2:]))) for v, s in ((x, first), (y, second))]
    result = graph.add("matmul", inputs)
    shape = (*lead, *(m[-2:-1] if len(m) > 1 else ()), *(n[-1:] if len(n) > 1 else ()))
    return _reshaped(result, shape)


def _reshaped(x: Operand, shape: tuple[int, ...]) -> Operand:
    if isinstance(x, np.ndarray):
        return x.reshape(shape)
    return x if shape_of(x) == shape else x.graph.add("reshape", [x], attrs={"shape": shape})


__all__ = ["act", "binary", "checked", "choose", "conditions", "power", "product"]
