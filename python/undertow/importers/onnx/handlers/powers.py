# SPDX-License-Identifier: MIT
"""ONNX operators that are made of several elementwise ops: powers, and activations that no single op is."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import numpy as np

from ..file import limits
from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, provenance
from ..frames.builder import Builder
from ..frames.context import Walk
from .elementwise import take_apart


def power_of(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """A constant exponent: whole numbers by products, halves by a root, others as exp(p log x).

    exp(p log x) is p log x times 2^-24 off, relatively: at most 1e-6 where the result lies between 1e-7 and 1e7.
    """
    node.allow()
    x, exponent = operands
    if isinstance(x, np.ndarray):
        return [_constant_base(walk, node, x, exponent)]
    if not isinstance(exponent, np.ndarray):
        node.unsupported(
            "both its base and its exponent are computed at run time; one must be a constant, or write "
            "exp(exponent * log(base)) where the base is above 0"
        )
    layout, elements = take_apart(walk, node, x)
    shape = np.broadcast_shapes(x.shape, exponent.shape)
    walk.count(node, shape)
    if shape != x.shape:
        layout, (elements,) = provenance.broadcast([x], shape)
    frame = provenance.frame_of(np.asarray(exponent, np.float32), layout)
    if frame is None:
        node.unsupported("its exponent differs between timesteps or batch items")
    general = (frame != np.rint(frame)) & (np.abs(frame) != 0.5)
    different = np.unique(frame[~general])
    if different.size > limits.MAX_EXPONENTS:
        node.unsupported(f"has {different.size} different exponents, at most {limits.MAX_EXPONENTS} are supported")
    if (beyond := different[(different == np.rint(different)) & (np.abs(different) > limits.MAX_POWER)]).size:
        node.unsupported(f"exponent {beyond[0]} is not supported, expected whole numbers up to {limits.MAX_POWER}")
    result = np.zeros(elements.shape, np.int64)
    if general.any():
        result[general] = _general(walk.builder, elements[general], frame[general])
    for p in different.tolist():
        mine = frame == p
        result[mine] = power(walk.builder, elements[mine], p)
    return [layout.tensor(result)]


def power(builder: Builder, x: np.ndarray, p: float) -> np.ndarray:
    """x to a constant power."""
    if p == 0:
        return np.broadcast_to(builder.constant(np.float32(1.0)), x.shape)
    if p < 0:
        return emit.activation(builder, power(builder, x, -p), "reciprocal")
    if p == 0.5:
        return emit.activation(builder, x, "sqrt")
    if p != int(p):
        return _general(builder, x, p)
    result = None
    for bit in bin(int(p))[:1:-1]:
        if bit == "1":
            result = x if result is None else emit.elementwise(builder, "mul", [result, x])
        p = int(p) >> 1
        if p:
            x = emit.elementwise(builder, "mul", [x, x])
    assert result is not None
    return result


def _general(builder: Builder, x: np.ndarray, p: np.ndarray | float) -> np.ndarray:
    """exp(p log x)"""
    return emit.activation(builder, emit.affine(builder, emit.activation(builder, x, "log"), p, 0.0), "exp")


def _constant_base(walk: Walk, node: OnnxNode, base: np.ndarray, exponent: Any) -> Any:
    """a^x = exp(x log a)"""
    a = float_constant(node, base, "the base")
    if not (a > 0).all():
        node.unsupported("its base is a constant that is not above 0 everywhere, its exponent computed")
    layout, elements = take_apart(walk, node, exponent)
    shape = np.broadcast_shapes(exponent.shape, a.shape)
    walk.count(node, shape)
    if shape != exponent.shape:
        layout, (elements,) = provenance.broadcast([exponent], shape)
    frame = provenance.frame_of(np.log(a.astype(np.float64)).astype(np.float32), layout)
    if frame is None:
        node.unsupported("its base differs between timesteps or batch items")
    return layout.tensor(emit.activation(walk.builder, emit.affine(walk.builder, elements, frame, 0.0), "exp"))


def gelu(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """x/2 (1 + erf(x / sqrt 2)), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))"""
    node.allow("approximate")
    kind = node.attrs.get("approximate", "none")
    if kind not in ("none", "tanh"):
        node.unsupported(f"attribute approximate={kind!r} is not supported, expected none or tanh")
    layout, x = take_apart(walk, node, operands[0])
    walk.count(node, layout.shape, layout.outer)
    builder = walk.builder
    if kind == "none":
        inner = emit.activation(builder, emit.affine(builder, x, 1.0 / sqrt(2.0), 0.0), "erf")
    else:
        cubic = emit.affine(builder, power(builder, x, 3.0), 0.044715, 0.0)
        total = emit.elementwise(builder, "add", [x, cubic])
        inner = emit.activation(builder, emit.affine(builder, total, sqrt(2.0 / pi), 0.0), "tanh")
    return [layout.tensor(emit.elementwise(builder, "mul", [emit.affine(builder, inner, 0.5, 0.5), x]))]


def mish(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """x tanh(log(1 + exp(x)))"""
    node.allow()
    layout, x = take_apart(walk, node, operands[0])
    walk.count(node, layout.shape, layout.outer)
    gate = emit.activation(walk.builder, emit.activation(walk.builder, x, "softplus"), "tanh")
    return [layout.tensor(emit.elementwise(walk.builder, "mul", [x, gate]))]


def shrink(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """x + bias below -lambd, x - bias above lambd, else 0"""
    node.allow("bias", "lambd")
    bias, lambd = float(node.attrs.get("bias", 0.0)), float(node.attrs.get("lambd", 0.5))
    layout, x = take_apart(walk, node, operands[0])
    walk.count(node, layout.shape, layout.outer)
    builder = walk.builder

    def constant(value: float) -> np.ndarray:
        return np.broadcast_to(builder.constant(np.float32(value)), x.shape)

    below = emit.elementwise(builder, "less", [x, constant(-lambd)])
    above = emit.elementwise(builder, "greater", [x, constant(lambd)])
    low, high = emit.affine(builder, x, 1.0, bias), emit.affine(builder, x, 1.0, -bias)
    upper = emit.elementwise(builder, "where", [above, high, constant(0.0)])
    return [layout.tensor(emit.elementwise(builder, "where", [below, low, upper]))]
