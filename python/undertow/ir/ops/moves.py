# SPDX-License-Identifier: MIT
"""Ops that give elements of their inputs in another order or shape, and compute nothing."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import runs
from ..nodes import Node, Scope
from .base import Frames, Op, Params, Shapes, Stored, Weight, Weights
from .checks import Outputs, fail, inputs, out


class Move(Op):
    """An op that moves: elements `taken` of its inputs, flattened and joined."""

    n_inputs: int | None = None
    moves = True

    def formula(self, node: Node, w: Weights, *xs: np.ndarray) -> np.ndarray:
        n = len(xs[0])
        joined = np.concatenate([x.reshape(n, prod(x.shape[1:])) for x in xs], axis=1)
        taken = self.taken(node)
        return joined if taken is None else joined[:, taken]


class Concat(Move):
    """Its inputs, flattened and joined."""

    name, kinds = "concat", (7,)

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        values = inputs(graph, node)
        return out((sum(v.size for v in values),), *values)


class Select(Move):
    """y.flat = x[indices], x being its inputs, flattened and joined; y has the shape of `indices`: slices, repeats,
    transposes, windows. The attribute `sizes`, the elements of each input, fills itself.
    """

    name, kinds = "select", (8,)
    attrs = ("sizes",)
    weights = (Weight("indices", integers=True),)
    stored = (Weight("runs", integers=True),)

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        values = inputs(graph, node)
        sizes = node.attrs["sizes"] = tuple(v.size for v in values)
        indices = node.weights.get("indices")
        if indices is None or indices.dtype != np.int32 or indices.size == 0:
            fail(node, "weight indices (integers, at least one) is missing")
        if indices.min() < 0 or indices.max() >= sum(sizes):
            fail(node, f"indices reach from {indices.min()} to {indices.max()}, expected 0 to {sum(sizes) - 1}")
        return out(indices.shape, *values)

    def taken(self, node: Node) -> np.ndarray:
        return node.weights["indices"]

    def split(self, node: Node) -> list[np.ndarray | None]:
        return [runs.find(node.weights["indices"], node.attrs["sizes"])]

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        (packed,) = arrays
        assert packed is not None
        return [len(packed)]

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        return ((params[0], runs.WORDS),)

    def join(self, arrays: Stored, params: Params, frames: Frames) -> dict[str, np.ndarray | None]:
        (packed,) = arrays
        assert packed is not None
        indices = runs.expand(packed, [prod(shape) for shape in frames.inputs])
        return {"indices": indices.reshape(frames.outputs[0])}


class Reshape(Move):
    """The same elements in another shape; of ids too."""

    name, kinds = "reshape", (9,)
    n_inputs = 1
    attrs = ("shape",)
    elementwise = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        x = graph.values[node.inputs[0]]
        inputs(graph, node, x.dtype)
        shape = node.attrs["shape"] = tuple(int(n) for n in node.attrs["shape"])
        if int(np.prod(shape, dtype=np.int64)) != x.size:
            fail(node, f"cannot give {x.shape} the shape {shape}: {x.size} elements")
        return out(shape, x, dtype=x.dtype)

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {"shape": frames.outputs[0]}

    def formula(self, node: Node, w: Weights, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        return x.reshape(len(x), *node.attrs["shape"])


OPS: tuple[Op, ...] = (Concat(), Select(), Reshape())
