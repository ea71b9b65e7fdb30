# SPDX-License-Identifier: MIT
"""Operators that exporters of older operator sets take apart, put together again before the walk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode


def recompose(nodes: list[OnnxNode], constants: Mapping[str, np.ndarray]) -> list[OnnxNode]:
    """Replace the last node of every layer norm that was taken apart; what only served it is left without a use."""
    producer = {output: node for node in nodes for output in node.outputs if output}
    return [_layer_norm(node, producer, constants) or node for node in nodes]


def _layer_norm(
    div: OnnxNode, producer: Mapping[str, OnnxNode], constants: Mapping[str, np.ndarray]
) -> OnnxNode | None:
    """Div(d, Sqrt(Add(ReduceMean(Pow(d, 2)), eps))) with d = Sub(x, ReduceMean(x)), means over the same axes.

    The result carries `axes` in place of `axis`, since the rank is not known here; no file can, the checker refuses it.
    """
    if div.op != "Div":
        return None
    centred, root = div.inputs
    sub, sqrt = producer.get(centred), producer.get(root)
    if sub is None or sub.op != "Sub" or sqrt is None or sqrt.op != "Sqrt":
        return None
    x, mean = sub.inputs[0], producer.get(sub.inputs[1])
    add = producer.get(sqrt.inputs[0])
    if add is None or add.op != "Add":
        return None
    for squared_mean, epsilon in (add.inputs, add.inputs[::-1]):
        variance = producer.get(squared_mean)
        if epsilon in constants and constants[epsilon].size == 1 and variance is not None:
            break
    else:
        return None
    axes = _mean_axes(mean, x, constants)
    power = producer.get(variance.inputs[0])
    if power is None or axes is None or axes != _mean_axes(variance, variance.inputs[0], constants):
        return None
    if not _is_square(power, centred, constants):
        return None
    attrs: dict[str, Any] = {"axes": axes, "epsilon": float(constants[epsilon].reshape(()))}
    return OnnxNode(None, "LayerNormalization", div.name, [x], div.outputs, attrs, div.opset)


def _mean_axes(node: OnnxNode | None, x: str, constants: Mapping[str, np.ndarray]) -> list[int] | None:
    if node is None or node.op != "ReduceMean" or node.inputs[0] != x or not node.attrs.get("keepdims", 1):
        return None
    if len(node.inputs) > 1:
        return constants[node.inputs[1]].tolist() if node.inputs[1] in constants else None
    return node.attrs.get("axes")


def _is_square(node: OnnxNode, x: str, constants: Mapping[str, np.ndarray]) -> bool:
    if node.op == "Mul":
        return node.inputs == [x, x]
    if node.op != "Pow" or node.inputs[0] != x or node.inputs[1] not in constants:
        return False
    exponent = constants[node.inputs[1]]
    return exponent.size == 1 and float(exponent.reshape(())) == 2.0
