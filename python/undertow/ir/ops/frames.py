# SPDX-License-Identifier: MIT
"""Checks of the ops that look at one frame at a time."""

from __future__ import annotations

import numpy as np

from ...errors import UnsupportedError
from ..nodes import Node, Scope, Value
from .checks import Outputs, activation, fail, inputs, out, weight


def dense(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    activation(node)
    if "W" not in node.weights or node.weights["W"].ndim != 2:
        fail(node, "weight W of shape (outputs, inputs) is missing")
    m, k = node.weights["W"].shape
    if x.shape[-1:] != (k,):
        fail(node, f"input {x.name!r} has shape {x.shape}, expected (..., {k}): W is {(m, k)}")
    weight(node, "b", (m,), optional=True)
    return out((*x.shape[:-1], m), x)


def depthwise(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    activation(node)
    if len(x.shape) != 3:
        fail(node, f"input {x.name!r} has shape {x.shape}, expected (rows, taps, channels)")
    weight(node, "W", x.shape[1:])
    weight(node, "b", x.shape[2:], optional=True)
    return out((x.shape[0], x.shape[2]), x)


def matmul(graph: Scope, node: Node) -> Outputs:
    a, b = inputs(graph, node)
    fits = len(a.shape) >= 2 and len(a.shape) == len(b.shape) and a.shape[:-2] == b.shape[:-2]
    if not fits or a.shape[-1] != b.shape[-2]:
        fail(
            node,
            f"inputs {a.name!r} {a.shape} and {b.name!r} {b.shape} cannot be multiplied; expected (..., I, K) and "
            "(..., K, J) with equal leading axes",
        )
    return out((*a.shape[:-1], b.shape[-1]), a, b)


def where(graph: Scope, node: Node) -> Outputs:
    values = inputs(graph, node)
    if len({v.shape for v in values}) > 1:
        fail(node, f"inputs {', '.join(f'{v.name!r} {v.shape}' for v in values)} differ in shape")
    return out(values[0].shape, *values)


#: kinds of `reduce`, in the order of their codes in a .tow file
REDUCTIONS = ("sum", "max", "min", "prod")


def reduce(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    if node.attrs.get("kind") not in REDUCTIONS:
        raise UnsupportedError(
            f"{node.op} {node.name!r}: kind is {node.attrs.get('kind')!r}, expected one of {list(REDUCTIONS)}"
        )
    if len(x.shape) != 3:
        fail(node, f"input {x.name!r} has shape {x.shape}, expected three axes, of which the second is reduced")
    return out((x.shape[0], x.shape[2]), x)


def unary(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    if node.op == "activation":
        activation(node)
    return out(x.shape, x)


def binary(graph: Scope, node: Node) -> Outputs:
    a, b = inputs(graph, node)
    if a.shape != b.shape:
        fail(node, f"inputs {a.name!r} {a.shape} and {b.name!r} {b.shape} differ in shape")
    return out(a.shape, a, b)


def affine(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    weight(node, "scale", x.shape)
    weight(node, "shift", x.shape)
    return out(x.shape, x)


def layer_norm(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    if not x.shape:
        fail(node, "input is a scalar; layer norm needs at least one axis")
    eps = node.attrs["eps"] = float(np.float32(node.attrs.get("eps", 1e-5)))
    if not eps >= 0:
        fail(node, f"eps is {eps}, expected at least 0")
    weight(node, "scale", x.shape[-1:], optional=True)
    weight(node, "shift", x.shape[-1:], optional=True)
    return out(x.shape, x)


def concat(graph: Scope, node: Node) -> Outputs:
    values = inputs(graph, node)
    return out((sum(v.size for v in values),), *values)


def select(graph: Scope, node: Node) -> Outputs:
    values = inputs(graph, node)
    sizes = node.attrs["sizes"] = tuple(v.size for v in values)
    indices = node.weights.get("indices")
    if indices is None or indices.dtype != np.int32 or indices.size == 0:
        fail(node, "weight indices (integers, at least one) is missing")
    if indices.min() < 0 or indices.max() >= sum(sizes):
        fail(node, f"indices reach from {indices.min()} to {indices.max()}, expected 0 to {sum(sizes) - 1}")
    return out(indices.shape, *values)


def reshape(graph: Scope, node: Node) -> Outputs:
    x = graph.values[node.inputs[0]]
    inputs(graph, node, x.dtype)
    shape = node.attrs["shape"] = tuple(int(n) for n in node.attrs["shape"])
    if int(np.prod(shape, dtype=np.int64)) != x.size:
        fail(node, f"cannot give {x.shape} the shape {shape}: {x.size} elements")
    return out(shape, x, dtype=x.dtype)


def embedding(graph: Scope, node: Node) -> Outputs:
    (ids,) = inputs(graph, node, "int32")
    if "table" not in node.weights or node.weights["table"].ndim != 2:
        fail(node, "weight table of shape (ids, width) is missing")
    n_ids, width = node.weights["table"].shape
    for name in _same_ids(graph, ids.name):
        v = graph.values[name]
        limit = n_ids if v.n_ids is None else min(n_ids, v.n_ids)
        graph.values[name] = Value(v.name, v.shape, v.dtype, v.once, limit)
    return out((*ids.shape, width), ids)


def _same_ids(graph: Scope, name: str) -> list[str]:
    """A value of ids, and those that it shows in other shapes: an input says which ids the tables behind it take."""
    names = [name]
    for node in reversed(graph.nodes):
        if node.op == "reshape" and names[-1] in node.outputs:
            names.append(node.inputs[0])
    return names


def constant(graph: Scope, node: Node) -> Outputs:
    inputs(graph, node)
    return [("out", Value("", node.weights["value"].shape, once=True))]
