# SPDX-License-Identifier: MIT
"""Ops whose element i is made of element i of each input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._text import quoted
from ...errors import UnsupportedError
from ..activations import IDENTITY, Activation, activate
from ..nodes import Node, Scope
from .base import Frames, Op, Params, Shape, Shapes, Stored, Weight, Weights
from .checks import Outputs, fail, inputs, out, weight
from .params import activation_at, from_activations


def named_activation(node: Node, given: Any) -> Activation:
    """An activation that an attribute gives by name.

    Raises:
        TypeError, UnsupportedError: it is none.
    """
    if not isinstance(given, str):
        raise TypeError(
            f"{node.op} {quoted(node.name)}: activation must be an Activation or the name of one, got {given!r}"
        )
    try:
        return Activation(str(given))
    except UnsupportedError as error:
        raise UnsupportedError(f"{node.op} {quoted(node.name)}: {error}") from None


class Activated(Op):
    """An op with an attribute `activation`, the identity where none is given."""

    attrs = ("activation",)

    def check_activation(self, node: Node) -> None:
        act = node.attrs.setdefault("activation", IDENTITY)
        if not isinstance(act, Activation):
            node.attrs["activation"] = named_activation(node, act)

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        return from_activations(node.attrs["activation"])

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {"activation": activation_at(params)}

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        act = node.attrs["activation"]
        return [str(act)] if act != IDENTITY else []


class Activate(Activated):
    """y = activation(x)"""

    name, kinds = "activation", (2,)
    elementwise = in_expressions = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        self.check_activation(node)
        return out(x.shape, x)

    def formula(self, node: Node, w: Weights, x: np.ndarray) -> np.ndarray:
        return activate(node.attrs["activation"], x)


class Binary(Op):
    """Two frames of one shape. max and min give NaN where one of them is. A comparison gives 1 where it holds, else 0;
    nothing holds for NaN, not even that it equals itself.
    """

    kinds = (3,)
    n_inputs = 2
    elementwise = in_expressions = True

    def __init__(self, name: str, which: int, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.name, self.which, self.function = name, which, function

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        a, b = inputs(graph, node)
        if a.shape != b.shape:
            fail(node, f"inputs {a.name!r} {a.shape} and {b.name!r} {b.shape} differ in shape")
        return out(a.shape, a, b)

    def formula(self, node: Node, w: Weights, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.function(a, b).astype(np.float64, copy=False)


class Where(Op):
    """Three frames of one shape: where the first is 0 the third, else (where it is NaN too) the second."""

    name, kinds = "where", (22,)
    n_inputs = 3
    elementwise = in_expressions = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        values = inputs(graph, node)
        if len({v.shape for v in values}) > 1:
            fail(node, f"inputs {', '.join(f'{v.name!r} {v.shape}' for v in values)} differ in shape")
        return out(values[0].shape, *values)

    def formula(
        self, node: Node, w: Weights, condition: np.ndarray, there: np.ndarray, otherwise: np.ndarray
    ) -> np.ndarray:
        return np.where(condition == 0, otherwise, there)


class Affine(Op):
    """y = x scale + shift, both of the shape of x: a folded batch norm"""

    name, kinds = "affine", (4,)
    weights = (Weight("scale"), Weight("shift"))
    elementwise = in_expressions = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        weight(node, "scale", x.shape)
        weight(node, "shift", x.shape)
        return out(x.shape, x)

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        return (frames.inputs[0], frames.inputs[0])

    def formula(self, node: Node, w: Weights, x: np.ndarray) -> np.ndarray:
        return x * w["scale"] + w["shift"]

    def rescaled(self, w: Weights, frame: Shape, scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray] | None:
        s, t = scale.reshape(frame), shift.reshape(frame)
        return {"scale": w["scale"] * s, "shift": w["shift"] * s + t}


#: name -> function, in the order of their codes in a file
BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "greater": np.greater,
    "less": np.less,
    "equal": np.equal,
    "greater_equal": np.greater_equal,
    "less_equal": np.less_equal,
}

OPS: tuple[Op, ...] = (
    Activate(),
    *(Binary(name, which, function) for which, (name, function) in enumerate(BINARY.items())),
    Where(),
    Affine(),
)
