# SPDX-License-Identifier: MIT
"""Ops of one frame that mix its elements: layers with weights, products, sums and norms; tables and constants.

Letters: K inputs and M outputs of a layer, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ..activations import activate
from ..nodes import Node, Scope, Value
from ..products import filtered, times
from .base import INPUT, Arrays, Frames, Layout, Op, Params, Shape, Shapes, Span, Stored, Weight, Weights
from .checks import Outputs, fail, inputs, out, weight
from .elementwise import Activated
from .params import f32, from_f32


def _one_row(width: int, *arrays: np.ndarray) -> list[np.ndarray] | None:
    """The one row of which each array, a frame of rows, consists; None where rows differ."""
    rows = [array.reshape(-1, width) for array in arrays]
    return [r[0] for r in rows] if all((r == r[:1]).all() for r in rows) else None


class Layer(Activated):
    """Products with W, a bias b where there is one, then the activation."""

    applies_activation = landmark = True

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        return super().words(node, shapes) + ([] if "b" in node.weights else ["no bias"])


class Dense(Layer):
    """x (..., K) -> (..., M), each row y = activation(W x + b); W (M, K), b (M)?"""

    name, kinds = "dense", (1,)
    weights = (Weight("W", Layout.MATRIX, INPUT), Weight("b"))

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        self.check_activation(node)
        if "W" not in node.weights or node.weights["W"].ndim != 2:
            fail(node, "weight W of shape (outputs, inputs) is missing")
        m, k = node.weights["W"].shape
        if x.shape[-1:] != (k,):
            fail(node, f"input {x.name!r} has shape {x.shape}, expected (..., {k}): W is {(m, k)}")
        weight(node, "b", (m,), optional=True)
        return out((*x.shape[:-1], m), x)

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        m, k = frames.outputs[0][-1], frames.inputs[0][-1]
        return (m, k), (m,)

    def formula(self, node: Node, w: Weights, x: np.ndarray) -> np.ndarray:
        return activate(node.attrs["activation"], times(w["W"], x, w.get("b", 0.0)))

    def rescaled(self, w: Weights, frame: Shape, scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray] | None:
        if (row := _one_row(frame[-1], scale, shift)) is None:
            return None
        return {"W": w["W"] * row[0][:, None], "b": w.get("b", 0.0) * row[0] + row[1]}


class Depthwise(Layer):
    """x (N, K, C) -> (N, C), y[n, c] = activation(b[c] + sum over k of W[k, c] x[n, k, c]); W (K, C), b (C)?"""

    name, kinds = "depthwise", (19,)
    weights = (Weight("W", Layout.FILTERS), Weight("b"))

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        self.check_activation(node)
        if len(x.shape) != 3:
            fail(node, f"input {x.name!r} has shape {x.shape}, expected (rows, taps, channels)")
        weight(node, "W", x.shape[1:])
        weight(node, "b", x.shape[2:], optional=True)
        return out((x.shape[0], x.shape[2]), x)

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        _, taps, channels = frames.inputs[0]
        return (taps, channels), (channels,)

    def formula(self, node: Node, w: Weights, x: np.ndarray) -> np.ndarray:
        return activate(node.attrs["activation"], filtered(w["W"], x, w.get("b", 0.0)))

    def rescaled(self, w: Weights, frame: Shape, scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray] | None:
        if (row := _one_row(frame[-1], scale, shift)) is None:
            return None
        return {"W": w["W"] * row[0], "b": w.get("b", 0.0) * row[0] + row[1]}


class Matmul(Op):
    """Two frames (..., I, K) and (..., K, J) of equal leading axes -> (..., I, J)"""

    name, kinds = "matmul", (21,)
    n_inputs = 2
    landmark = in_expressions = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        a, b = inputs(graph, node)
        fits = len(a.shape) >= 2 and len(a.shape) == len(b.shape) and a.shape[:-2] == b.shape[:-2]
        if not fits or a.shape[-1] != b.shape[-2]:
            fail(
                node,
                f"inputs {a.name!r} {a.shape} and {b.name!r} {b.shape} cannot be multiplied; expected (..., I, K) and "
                "(..., K, J) with equal leading axes",
            )
        return out((*a.shape[:-1], b.shape[-1]), a, b)

    def formula(self, node: Node, w: Weights, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a @ b


#: kinds of `reduce`, in the order of their codes in a file
REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {"sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod}


class Reduce(Op):
    """x (A, N, B) -> (A, B), by the attribute `kind`. max and min are NaN where one of the N is."""

    name, kinds = "reduce", (20,)
    attrs = ("kind",)
    in_expressions = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        if node.attrs.get("kind") not in REDUCTIONS:
            raise UnsupportedError(
                f"{node.op} {node.name!r}: kind is {node.attrs.get('kind')!r}, expected one of {list(REDUCTIONS)}"
            )
        if len(x.shape) != 3:
            fail(node, f"input {x.name!r} has shape {x.shape}, expected three axes, of which the second is reduced")
        return out((x.shape[0], x.shape[2]), x)

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        return [list(REDUCTIONS).index(node.attrs["kind"])]

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {"kind": list(REDUCTIONS)[params[0]]}

    def formula(self, node: Node, w: Weights, x: np.ndarray) -> np.ndarray:
        return REDUCTIONS[node.attrs["kind"]](x, axis=2)

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        return [node.attrs["kind"]]


class Softmax(Op):
    """Over the last axis; of log_softmax the logarithm."""

    kinds = (5,)
    landmark = True

    def __init__(self, name: str, which: int) -> None:
        self.name, self.which = name, which

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        return out(x.shape, x)

    def formula(self, node: Node, w: Weights, x: np.ndarray) -> np.ndarray:
        x = x - x.max(axis=-1, keepdims=True)
        e = np.exp(x)
        total = e.sum(axis=-1, keepdims=True)
        return x - np.log(total) if self.which else e / total


class LayerNorm(Op):
    """(x - mean) / sqrt(variance + eps) over the last axis, of size n, times scale (n)?, plus shift (n)?"""

    name, kinds = "layer_norm", (6,)
    attrs = ("eps",)
    weights = (Weight("scale"), Weight("shift"))
    landmark = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        if not x.shape:
            fail(node, "input is a scalar; layer norm needs at least one axis")
        eps = node.attrs["eps"] = float(np.float32(node.attrs.get("eps", 1e-5)))
        if not eps >= 0:
            fail(node, f"eps is {eps}, expected at least 0")
        weight(node, "scale", x.shape[-1:], optional=True)
        weight(node, "shift", x.shape[-1:], optional=True)
        return out(x.shape, x)

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        return [f32(node.attrs["eps"])]

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        width = frames.inputs[0][-1]
        return (width,), (width,)

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {"eps": from_f32(params[0])}

    def formula(self, node: Node, w: Weights, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + node.attrs["eps"]) * w.get("scale", 1.0) + w.get("shift", 0.0)

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        return [f"eps {node.attrs['eps']:g}"]

    def rescaled(self, w: Weights, frame: Shape, scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray] | None:
        if (row := _one_row(frame[-1], scale, shift)) is None:
            return None
        return {"scale": w.get("scale", 1.0) * row[0], "shift": w.get("shift", 0.0) * row[0] + row[1]}


class Embedding(Op):
    """ids of shape S, int32, -> (*S, D), rows of the table (V, D)"""

    name, kinds = "embedding", (10,)
    weights = (Weight("table", Layout.TABLE),)
    landmark = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (ids,) = inputs(graph, node, "int32")
        if "table" not in node.weights or node.weights["table"].ndim != 2:
            fail(node, "weight table of shape (ids, width) is missing")
        n_ids, width = node.weights["table"].shape
        for name in self._same_ids(graph, ids.name):
            v = graph.values[name]
            limit = n_ids if v.n_ids is None else min(n_ids, v.n_ids)
            graph.values[name] = Value(v.name, v.shape, v.dtype, v.once, limit)
        return out((*ids.shape, width), ids)

    def _same_ids(self, graph: Scope, name: str) -> list[str]:
        """A value of ids and what it shows in another shape: an input says which ids the tables behind it take."""
        names = [name]
        for node in reversed(graph.nodes):
            if names[-1] in node.outputs:  # nothing but another shape gives ids
                names.append(node.inputs[0])
        return names

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        return ((-1, prod(frames.outputs[0]) // prod(frames.inputs[0])),)

    def formula(self, node: Node, w: Weights, ids: np.ndarray) -> np.ndarray:
        table: np.ndarray = w["table"]
        if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
            reach = f"ids reach from {ids.min()} to {ids.max()}"
            raise ShapeError(f"embedding {node.name!r}: {reach}, expected 0 to {len(table) - 1}")
        return table[ids]


class Constant(Op):
    """The same frame `value` at every timestep."""

    name, kinds = "constant", (11,)
    n_inputs = 0
    weights = (Weight("value"),)

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        inputs(graph, node)
        return [("out", Value("", node.weights["value"].shape, once=True))]

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        return (frames.outputs[0],)

    def over_time(self, node: Node, w: Weights, xs: Sequence[np.ndarray], span: Span) -> Arrays:
        return (np.broadcast_to(w["value"], (span.n_frames, *w["value"].shape)),)


OPS: tuple[Op, ...] = (
    Dense(),
    Depthwise(),
    Matmul(),
    Reduce(),
    Softmax("softmax", 0),
    Softmax("log_softmax", 1),
    LayerNorm(),
    Embedding(),
    Constant(),
)
