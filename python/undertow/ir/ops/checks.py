# SPDX-License-Identifier: MIT
"""What the checks of single ops share. Each fills attribute defaults and gives (suffix, value) for every output."""

from __future__ import annotations

from typing import NoReturn

from ..._text import quoted
from ...errors import ShapeError
from ..activations import IDENTITY, Activation
from ..nodes import Node, Scope, Value

Outputs = list[tuple[str, Value]]


def fail(node: Node, message: str) -> NoReturn:
    raise ShapeError(f"{node.op} {quoted(node.name)}: {message}")


def inputs(graph: Scope, node: Node, dtype: str = "float32") -> list[Value]:
    """The inputs of a node, all of one dtype."""
    values = [graph.values[v] for v in node.inputs]
    for value in values:
        if value.dtype != dtype:
            fail(node, f"input {value.name!r} is {value.dtype}, expected {dtype}")
    return values


def weight(node: Node, key: str, shape: tuple[int, ...], optional: bool = False) -> None:
    if key not in node.weights:
        if not optional:
            fail(node, f"weight {key} is missing, expected shape {shape}")
    elif node.weights[key].shape != shape:
        fail(node, f"{key} has shape {node.weights[key].shape}, expected {shape}")


def out(shape: tuple[int, ...], *inputs: Value, dtype: str = "float32") -> Outputs:
    return [("out", Value("", shape, dtype, once=all(v.once for v in inputs)))]


def activation(node: Node) -> None:
    act = node.attrs.setdefault("activation", IDENTITY)
    if not isinstance(act, Activation):
        raise TypeError(f"{node.op} {quoted(node.name)}: activation must be an Activation, got {act!r}")
