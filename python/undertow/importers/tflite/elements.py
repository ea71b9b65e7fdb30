# SPDX-License-Identifier: MIT
"""Operators on single elements, and softmax."""

from __future__ import annotations

import math

import numpy as np

from .file import Operator
from .scope import COMPUTED, Scope


def binary(scope: Scope, operator: Operator, op: str) -> list[str]:
    a, b = (scope.value(i) for i in operator.inputs)
    return [scope.activated(scope.node(op, [a, b]), operator.options.get("fused_activation_function", 0))]


def bound(scope: Scope, operator: Operator, op: str) -> list[str]:
    """The larger or smaller of two; with one number, and another behind it, a value within bounds. Keras's hard_sigmoid
    was written so, and a gate of a cell knows such an activation.
    """
    for x, other in (operator.inputs, operator.inputs[::-1]):
        tensor = scope.tensor(other)
        number = scope.is_constant(other) and all(n == 1 for n in tensor.shape) and tensor.rank <= scope.tensor(x).rank
        if not number or scope.is_constant(x) or scope.tensor(x).kind != "FLOAT32":
            continue
        limit = float(scope.array(other, "bound").reshape(()))
        source, low, high = scope.bounds.get(x, (scope.value(x), -math.inf, math.inf))
        if math.isnan(limit):
            continue
        low, high = (max(low, limit), high) if op == "Max" else (low, min(high, limit))
        if low <= high:
            scope.bounds[operator.outputs[0]] = source, low, high
            ends = [scope.constant(np.float32(end)) if math.isfinite(end) else "" for end in (low, high)]
            return [scope.node("Clip", [source, *ends])]
    return [scope.node(op, [scope.value(i) for i in operator.inputs])]


def compare(scope: Scope, operator: Operator, op: str) -> list[str]:
    return [scope.node(op, [scope.value(i) for i in operator.inputs])]


def not_equal(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [scope.node("Not", [scope.node("Equal", [scope.value(i) for i in operator.inputs])])]


def unary(scope: Scope, operator: Operator, op: str) -> list[str]:
    return [scope.node(op, [scope.value(operator.inputs[0])])]


def bounded(scope: Scope, operator: Operator, bounds: str) -> list[str]:
    low, high = map(float, bounds.split())
    return [scope.clipped(scope.float_value(operator.inputs[0]), low, high)]


def squared_difference(scope: Scope, operator: Operator, _: str) -> list[str]:
    difference = scope.node("Sub", [scope.value(i) for i in operator.inputs])
    return [scope.node("Mul", [difference, difference])]


def square(scope: Scope, operator: Operator, _: str) -> list[str]:
    x = scope.value(operator.inputs[0])
    return [scope.node("Mul", [x, x])]


def rsqrt(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [scope.node("Reciprocal", [scope.node("Sqrt", [scope.float_value(operator.inputs[0])])])]


def add_n(scope: Scope, operator: Operator, _: str) -> list[str]:
    total = scope.value(operator.inputs[0])
    for i in operator.inputs[1:]:
        total = scope.node("Add", [total, scope.value(i)])
    return [total]


def select(scope: Scope, operator: Operator, _: str) -> list[str]:
    chooses, a, _b = (scope.tensor(i) for i in operator.inputs)
    if operator.op == "SELECT" and chooses.rank == 1 and a.rank > 1:
        scope.unsupported(f"{chooses.where} of 1 axis chooses between rows of {a.rank}, which is not supported")
    return [scope.node("Where", [scope.value(i) for i in operator.inputs])]


def leaky_relu(scope: Scope, operator: Operator, _: str) -> list[str]:
    alpha = operator.options.get("alpha", 0.0)
    return [scope.node("LeakyRelu", [scope.float_value(operator.inputs[0])], alpha=alpha)]


def prelu(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [scope.node("PRelu", [scope.float_value(i) for i in operator.inputs])]


def gelu(scope: Scope, operator: Operator, _: str) -> list[str]:
    approximate = "tanh" if operator.options.get("approximate", False) else "none"
    return [scope.node("Gelu", [scope.float_value(operator.inputs[0])], approximate=approximate)]


def cast(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [scope.node("Cast", [scope.value(operator.inputs[0])], to=COMPUTED[scope.tensor(operator.outputs[0]).kind])]


def dequantize(scope: Scope, operator: Operator, _: str) -> list[str]:
    """A constant is read as the float32 that it stands for; what is computed is refused by its type."""
    x = operator.inputs[0]
    if scope.is_constant(x):
        scope.same[operator.outputs[0]] = scope.same.get(x, x)
    return [scope.float_value(x)]


def softmax(scope: Scope, operator: Operator, _: str) -> list[str]:
    beta, x = operator.options.get("beta", 0.0), scope.float_value(operator.inputs[0])
    if not 0 < beta < float("inf"):
        scope.unsupported(f"beta={beta} is not supported; expected a number above 0")
    if beta != 1:
        x = scope.node("Mul", [x, scope.constant(np.float32(beta))])
    return [scope.node("Softmax", [x], axis=-1)]


def log_softmax(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [scope.node("LogSoftmax", [scope.float_value(operator.inputs[0])], axis=-1)]
