# SPDX-License-Identifier: MIT
"""What the checks of single ops share. Each fills attribute defaults and gives (suffix, value) for every output."""

from __future__ import annotations

from typing import NoReturn

from ..._text import quoted
from ...errors import ShapeError
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


def gated(graph: Scope, node: Node, is_gated: bool, needed: bool = False) -> list[Value]:
    """The inputs without the gate; `needed`: a second input must be one."""
    values = inputs(graph, node)
    if is_gated and values[1].shape == (1,):
        values.pop()
    elif is_gated and needed:
        fail(node, f"gate {values[1].name!r} has shape {values[1].shape}, expected (1,)")
    return values


def weight(node: Node, key: str, shape: tuple[int, ...], optional: bool = False) -> None:
    if key not in node.weights:
        if not optional:
            fail(node, f"weight {key} is missing, expected shape {shape}")
    elif node.weights[key].shape != shape:
        fail(node, f"{key} has shape {node.weights[key].shape}, expected {shape}")


def out(shape: tuple[int, ...], *inputs: Value, dtype: str = "float32") -> Outputs:
    return [("out", Value("", shape, dtype, once=all(v.once for v in inputs)))]
