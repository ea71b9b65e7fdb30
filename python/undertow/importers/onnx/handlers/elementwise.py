# SPDX-License-Identifier: MIT
"""ONNX operators that treat each element alone: activations, arithmetic with broadcasting, what folds into those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.activations import Activation
from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, integers, provenance
from ..frames.context import Handler, Walk
from ..frames.integers import FLOAT, WHOLE, check_final, kind, take
from ..frames.provenance import Layout, Tensor
from ..traits import traits

FLOAT32_MAX = float(np.finfo(np.float32).max)


def take_apart(walk: Walk, node: OnnxNode, operand: Any, what: str = "its input") -> tuple[Layout, np.ndarray]:
    """Layout and frame elements of a computed float32 operand."""
    return take(node, operand, (FLOAT,), what)


def activate(walk: Walk, node: OnnxNode, operand: Any, kind: str | Activation, *parameters: float) -> Tensor:
    layout, elements = take_apart(walk, node, operand)
    walk.count(node, layout.shape, layout.outer)
    return layout.tensor(emit.activation(walk.builder, elements, kind, *parameters))


def affine(walk: Walk, node: OnnxNode, operand: Any, scale: Any, shift: Any) -> Tensor:
    """x * scale + shift; scale and shift broadcast to the operand."""
    layout, elements = take_apart(walk, node, operand)
    walk.count(node, layout.shape, layout.outer)
    return _scaled(walk, node, layout, elements, scale, shift)


def _scaled(walk: Walk, node: OnnxNode, layout: Layout, elements: np.ndarray, scale: Any, shift: Any) -> Tensor:
    """elements * scale + shift, of a tensor that is taken apart and counted."""
    weights = []
    for array in (scale, shift):
        frame = provenance.frame_of(np.asarray(array, np.float32), layout)
        if frame is None:
            node.unsupported("a constant differs between timesteps or batch items")
        weights.append(frame)
    return layout.tensor(emit.affine(walk.builder, elements, *weights))


# -- activations ----------------------------------------------------------------------------------------------------


def plain(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    return [activate(walk, node, operands[0], traits(node.op).of)]


def _parametric(
    make: Callable[[float, float], Activation], alpha: float, beta: float = 0.0, names: tuple[str, ...] = ("alpha",)
) -> Handler:
    def handle(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
        node.allow(*names)
        parameters = [float(node.attrs.get(name, default)) for name, default in zip(names, (alpha, beta), strict=False)]
        return [activate(walk, node, operands[0], make(parameters[0], parameters[1] if len(parameters) > 1 else beta))]

    return handle


def _thresholded(alpha: float, _: float) -> Activation:
    """The operator keeps x > alpha, the activation x >= alpha: the same for the next float32."""
    return Activation("thresholded_relu", float(np.nextafter(np.float32(alpha), np.float32(np.inf))))


leaky_relu = _parametric(lambda a, _: Activation("leaky_relu", a), 0.01)
elu = _parametric(lambda a, _: Activation("elu", a), 1.0)
selu = _parametric(
    lambda a, gamma: Activation("elu", a, gamma),
    1.67326319217681884765625,
    1.05070102214813232421875,
    ("alpha", "gamma"),
)
hard_sigmoid = _parametric(lambda a, b: Activation("hard_sigmoid", a, b), 0.2, 0.5, ("alpha", "beta"))
thresholded_relu = _parametric(_thresholded, 1.0)


def celu(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("alpha")
    alpha = float(node.attrs.get("alpha", 1.0))
    if not alpha > 0:
        node.unsupported(f"attribute alpha={alpha} is not supported, expected a number above 0")
    x = affine(walk, node, operands[0], 1.0 / alpha, 0.0)
    return [activate(walk, node, x, Activation("elu", 1.0, alpha))]


def hard_swish(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    gate = activate(walk, node, operands[0], Activation("hard_sigmoid", 1.0 / 6.0, 0.5))
    return [combine(walk, node, "mul", operands[0], gate)]


def swish(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("alpha")
    alpha = float(node.attrs.get("alpha", 1.0))
    if alpha != 1.0:
        gate = activate(walk, node, affine(walk, node, operands[0], alpha, 0.0), "sigmoid")
        return [combine(walk, node, "mul", operands[0], gate)]
    return [activate(walk, node, operands[0], Activation("silu"))]


def prelu(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """max(x, slope * x) where no slope is above 1, else max(x, 0) - slope * max(-x, 0)"""
    node.allow()
    x, slope = operands[0], float_constant(node, operands[1], "slope")
    if slope.size and (slope == slope.flat[0]).all() and np.broadcast_shapes(x.shape, slope.shape) == x.shape:
        return [activate(walk, node, x, "leaky_relu", float(slope.flat[0]))]
    if (slope <= 1).all():
        return [combine(walk, node, "max", x, combine(walk, node, "mul", x, slope))]
    above = activate(walk, node, x, "relu")
    below = activate(walk, node, affine(walk, node, x, -1.0, 0.0), "relu")
    return [combine(walk, node, "add", above, combine(walk, node, "mul", below, -slope))]


def clip(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("min", "max")
    bounds = []
    for slot, key, default in ((1, "min", -FLOAT32_MAX), (2, "max", FLOAT32_MAX)):
        given = operands[slot] if len(operands) > slot and operands[slot] is not None else None
        bound = (
            float(node.attrs.get(key, default))
            if given is None
            else float(float_constant(node, given, key).reshape(()))
        )
        if np.isnan(bound):
            node.unsupported(f"{key} is NaN")
        bounds.append(bound)
    # The operator gives max where min > max; min(max(x, alpha), beta) does the same.
    return [activate(walk, node, operands[0], Activation("clip", *bounds))]


# -- arithmetic -----------------------------------------------------------------------------------------------------


#: constants that change nothing (but for the sign of a zero), and those that do so as the second operand only
_NEUTRAL = {"add": 0.0, "mul": 1.0}
_NEUTRAL_AFTER = {"sub": 0.0, "div": 1.0}


def combine(walk: Walk, node: OnnxNode, op: str, a: Any, b: Any) -> Tensor:
    """add, sub, mul, div, max or min of two operands, at least one of them computed; broadcasts."""
    builder = walk.builder
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        node.shape_error(f"inputs of shapes {a.shape} and {b.shape} do not fit together")
    walk.builder.check_size(shape, f"{node.op} node {node.name!r}")
    for operand in (a, b):
        if isinstance(operand, np.ndarray):
            float_constant(node, operand, "a constant input")
        else:
            take_apart(walk, node, operand)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        layout, frames = provenance.broadcast([a, b], shape)
        walk.count(node, shape, layout.outer)
        check_final(walk, node, frames)
        return layout.tensor(emit.elementwise(builder, op, frames))

    tensor, constant = (a, b) if isinstance(a, Tensor) else (b, a)
    layout, (elements,) = provenance.broadcast([tensor], shape)
    walk.count(node, shape, layout.outer)
    neutral = _NEUTRAL.get(op, _NEUTRAL_AFTER.get(op) if tensor is a else None)
    if neutral is not None and (constant == neutral).all():
        return layout.tensor(elements)
    if op == "mul":
        return _scaled(walk, node, layout, elements, constant, 0.0)
    if op == "add" or (op == "sub" and tensor is not a):
        return _scaled(walk, node, layout, elements, 1.0 if op == "add" else -1.0, constant)
    if op == "sub":
        return _scaled(walk, node, layout, elements, 1.0, -constant)
    frame = provenance.frame_of(constant, layout)
    if frame is None:
        node.unsupported("a constant differs between timesteps or batch items")
    fixed = builder.constant(frame)
    return layout.tensor(emit.elementwise(builder, op, [elements, fixed] if tensor is a else [fixed, elements]))


def arithmetic(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    return [_combined(walk, node, traits(node.op).of, operands)]


def _combined(walk: Walk, node: OnnxNode, op: str, operands: list[Any]) -> Any:
    node.allow()
    result = operands[0]
    if any(o is None for o in operands):
        node.format_error("an input is missing")
    for operand in operands[1:]:
        result = _pair(walk, node, op, result, operand)
    return result


def _pair(walk: Walk, node: OnnxNode, op: str, a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return {"add": np.add, "max": np.maximum, "min": np.minimum}[op](a, b)
    if any(isinstance(o, Tensor) and kind(o.dtype) == WHOLE for o in (a, b)):
        return integers.arithmetic(walk, node, op, a, b)
    return combine(walk, node, op, a, b)


def mean(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    total = _combined(walk, node, "add", operands)
    return [affine(walk, node, total, 1.0 / len(operands), 0.0)]


def negate(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    return [affine(walk, node, operands[0], -1.0, 0.0)]


def batch_norm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("epsilon", "momentum", "training_mode", "spatial")
    if node.attrs.get("training_mode", 0) or not node.attrs.get("spatial", 1) or any(node.outputs[1:]):
        node.unsupported("training mode (or spatial=0) is not supported, expected inference")
    names = ("scale", "B", "mean", "var")
    scale, shift, mean, var = (
        float_constant(node, array, name).astype(np.float64) for name, array in zip(names, operands[1:], strict=True)
    )
    factor = scale / np.sqrt(var + float(node.attrs.get("epsilon", 1e-5)))
    rank = len(operands[0].shape)
    if rank < 2:
        node.shape_error(f"input has shape {operands[0].shape}, expected a batch and a channel axis at least")
    channel = (1, -1, *[1] * (rank - 2))
    return [affine(walk, node, operands[0], factor.reshape(channel), (shift - mean * factor).reshape(channel))]


# -- nothing to compute ---------------------------------------------------------------------------------------------


def dropout(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("ratio", "seed")
    training = operands[2] if len(operands) > 2 else None
    if (training is not None and (not isinstance(training, np.ndarray) or training.any())) or any(node.outputs[1:]):
        node.unsupported("training mode is not supported, expected inference")
    return [operands[0]]
