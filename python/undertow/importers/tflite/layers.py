# SPDX-License-Identifier: MIT
"""Matrix products, convolutions and pools: channels are the last axis here and the second one in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from .file import Operator
from .schema import PADDINGS
from .scope import Scope

_TO_FRONT, _TO_BACK = [0, 3, 1, 2], [0, 2, 3, 1]


def fully_connected(scope: Scope, operator: Operator, _: str) -> list[str]:
    """x W^T + b; without keep_num_dims all axes but the last are one."""
    x, weights, *bias = operator.inputs
    options, of = operator.options, scope.tensor(weights)
    if of.rank != 2:
        scope.format_error(f"its weights, {of.where}, have shape {of.shape}, expected (units, inputs)")
    y = scope.float_value(x)
    sizes = scope.tensor(x).shape
    if not options.get("keep_num_dims", False) and (len(sizes) != 2 or sizes[-1] != of.shape[1]):
        y = scope.node("Reshape", [y, scope.int64([-1, of.shape[1]])])
    y = scope.node("MatMul", [y, _transposed(scope, weights)])
    if bias and bias[0] >= 0:
        y = scope.node("Add", [y, scope.float_value(bias[0])])
    return [scope.activated(y, options.get("fused_activation_function", 0))]


def _transposed(scope: Scope, weights: int) -> str:
    if scope.is_constant(weights):
        return scope.shared(weights, "weights", lambda w: _floats(scope, weights, w).T, "transposed")
    return str(scope.node("Transpose", [scope.float_value(weights)], perm=[1, 0]))


def _floats(scope: Scope, i: int, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        scope.unsupported(f"{scope.tensor(i).where} is {scope.tensor(i).kind} without a scale, expected float weights")
    return array


def batch_matmul(scope: Scope, operator: Operator, _: str) -> list[str]:
    sides = []
    for i, key in zip(operator.inputs, ("adj_x", "adj_y"), strict=True):
        value, rank = scope.float_value(i), scope.tensor(i).rank
        if operator.options.get(key, False):
            if rank < 2:
                scope.format_error(f"{key} of {scope.tensor(i).where}, which has {rank} axes")
            value = scope.node("Transpose", [value], perm=[*range(rank - 2), rank - 1, rank - 2])
        sides.append(value)
    return [scope.node("MatMul", sides)]


def conv(scope: Scope, operator: Operator, _: str) -> list[str]:
    channels, of = _channels(scope, operator), scope.tensor(operator.inputs[1])
    n_in = of.shape[3] or 0
    if n_in < 1 or channels % n_in:
        scope.format_error(f"{channels} channels with weights of shape {of.shape}")
    return _convolved(scope, operator, channels // n_in, lambda w: w.transpose(0, 3, 1, 2))


def depthwise(scope: Scope, operator: Operator, _: str) -> list[str]:
    channels, of = _channels(scope, operator), scope.tensor(operator.inputs[1])
    if of.shape[0] != 1 or not channels or (of.shape[3] or 0) % channels:
        scope.format_error(f"{channels} channels with weights of shape {of.shape}")
    return _convolved(scope, operator, channels, lambda w: w.transpose(3, 0, 1, 2))


def _channels(scope: Scope, operator: Operator) -> int:
    x, of = (scope.tensor(i) for i in operator.inputs[:2])
    if x.rank != 4 or of.rank != 4:
        scope.format_error(f"{x.where} has shape {x.shape} and the weights {of.shape}, expected 4 axes of each")
    n = x.shape[3]
    if n is None:
        scope.unsupported(f"{x.where} leaves the number of its channels open")
    return n or 0


def _convolved(scope: Scope, operator: Operator, groups: int, order: Any) -> list[str]:
    x, weights, *bias = operator.inputs
    options = operator.options
    kernel = scope.shared(weights, "weights", lambda w: order(_floats(scope, weights, w)), "channels first")
    sizes = [n or 0 for n in scope.tensor(weights).shape[1:3]]
    dilations = [options.get(f"dilation_{along}_factor", 1) for along in "hw"]
    inputs = [scope.node("Transpose", [scope.float_value(x)], perm=_TO_FRONT), kernel]
    inputs += [scope.float_value(i) for i in bias if i >= 0]
    y = scope.node("Conv", inputs, group=groups, dilations=dilations, **_places(scope, options, sizes, dilations))
    return _behind(scope, y, options)


def pool(scope: Scope, operator: Operator, op: str) -> list[str]:
    x, options = operator.inputs[0], operator.options
    if scope.tensor(x).rank != 4:
        scope.format_error(f"{scope.tensor(x).where} has shape {scope.tensor(x).shape}, expected 4 axes")
    kernel = [options.get(f"filter_{along}", 0) for along in ("height", "width")]
    front = scope.node("Transpose", [scope.float_value(x)], perm=_TO_FRONT)
    places = _places(scope, options, kernel, [1, 1])
    return _behind(scope, scope.node(op, [front], kernel_shape=kernel, **places), options)


def _places(scope: Scope, options: dict[str, Any], kernel: list[int], dilations: list[int]) -> dict[str, Any]:
    """Strides and padding as ONNX has them. SAME is of any length where it does not hang on it."""
    strides = [options.get(f"stride_{along}", 0) for along in "hw"]
    number = options.get("padding", 0)
    if not 0 <= number < len(PADDINGS):
        scope.unsupported(f"padding={number} is not known")
    for what, numbers in (("strides", strides), ("kernel", kernel), ("dilations", dilations)):
        if min(numbers) < 1:
            scope.format_error(f"{what} {numbers}, expected numbers above 0")
    if PADDINGS[number] == "VALID":
        return {"strides": strides}
    if strides != [1, 1]:
        return {"strides": strides, "auto_pad": "SAME_UPPER"}
    around = [(n - 1) * dilation for n, dilation in zip(kernel, dilations, strict=True)]
    return {"strides": strides, "pads": [*(n // 2 for n in around), *(n - n // 2 for n in around)]}


def _behind(scope: Scope, y: str, options: dict[str, Any]) -> list[str]:
    y = scope.activated(y, options.get("fused_activation_function", 0))
    return [scope.node("Transpose", [y], perm=_TO_BACK)]
