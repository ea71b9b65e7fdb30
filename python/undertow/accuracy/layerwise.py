# SPDX-License-Identifier: MIT
"""The engine against the reference one node and one timestep at a time, from the frames and states of the engine.

Rounding a frame to 8 bits turns the last bit of a number, now and then, into a whole step of 1/127. Two computations
that agree to the last bit but one therefore part at the first such number, and no tolerance tells that from a mistake.
So every node here gets the very numbers that it got in the engine: what is left is the float32 of one node.

Only two vectors are made and rounded inside of a cell, out of reach: r h of a GRU with reset before, and the memory
that an LSTM projects. There a step of 1/127 may be taken on either side, rarely: `Node.explained` counts such frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import OPS, Cell, Span
from ..ir.products import Rounding
from ..model import Model
from ..reference.nodes import Weights, outputs, prepare, states_before

Arrays = dict[str, np.ndarray]

#: Of the frames of one node, the share that rounding inside a cell may explain: a few numbers of 100,000 lie so near
#: to the middle between two integers that float32 decides, and a frame has hundreds of them.
_RARE = 0.02


@dataclass
class NodeError:
    """The largest |got - expected| / max(1, |expected|) of one node, and how many frames rounding inside explains."""

    node: str
    error: float = 0.0
    frame: int | None = None
    element: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0
    explained: int = 0


def node_errors(model: Model, X: Arrays, tolerance: float) -> tuple[list[NodeError], bool]:
    """Compare every node of a model.

    Args:
        model: any model, whatever the precisions of its weights.
        X: input name -> (T, *frame).
        tolerance: up to which an error needs no explanation.

    Returns:
        For each node its largest error that is not explained; and whether the model whose inner values were read gives
        the same bits as `model`.
    """
    graph = model.graph
    values, same = inner_values(model, graph, X)
    n_present = len(next(iter(X.values())))
    errors = []
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if not node.outputs or not all(v in values for v in node.outputs):
                continue
            weights = prepare(node, rounding=True)
            expected = _expected(graph, node, weights, values, n_present, model.streamable)
            errors.append(_compare(node, weights, values, expected, tolerance))
    return errors, same


def inner_values(model: Model, graph: Graph, X: Arrays) -> tuple[Arrays, bool]:
    """Every value of the graph over time, as the engine computes it; and whether the outputs are those of `model`.

    Where the model looks ahead, these are T + latency frames, those of a flush included, each value as late as it is.
    """
    return next(inner_values_of_each(model, graph, [X]))


def inner_values_of_each(model: Model, graph: Graph, sequences: Iterable[Arrays]) -> Iterator[tuple[Arrays, bool]]:
    """The same for each of several sequences, every one from a fresh start."""
    opened = graph.copy()
    names = {}
    for name, value in graph.values.items():
        if value.dtype == "float32" and name not in graph.inputs:
            names[name] = f"inner:{name}"
            opened.output(names[name], name)
    open_model = Model.from_graph(opened, model.isa)
    bits = lambda y: np.ascontiguousarray(y).tobytes()  # noqa: E731
    for X in sequences:
        one = X if len(X) != 1 else next(iter(X.values()))
        Y = _as_it_comes(open_model, one)
        plain = _as_it_comes(model, one)
        plain = plain if isinstance(plain, dict) else {next(iter(model.outputs)): plain}
        same = all(bits(Y[name]) == bits(y) for name, y in plain.items())
        padded = {name: np.concatenate([x, np.zeros((model.latency, *x.shape[1:]), x.dtype)]) for name, x in X.items()}
        values = {name: Y[output] for name, output in names.items()} | padded
        for node in graph.nodes:  # ids on their way to an embedding
            if any(graph.values[v].dtype == "int32" for v in node.outputs) and all(v in values for v in node.inputs):
                xs = [values[v] for v in node.inputs]
                values.update(zip(node.outputs, outputs(node, {}, xs, Span(len(xs[0]))), strict=True))
        yield values, same


def _as_it_comes(model: Model, X: Any) -> Any:
    """What a stream gives, flush included; for other models, what `run` does."""
    if model.latency == 0:
        return model.run(X)
    stream = model.stream()
    Y, tail = stream.run(X), stream.flush()
    return {name: np.concatenate([Y[name], tail[name]]) for name in Y} if isinstance(Y, dict) else np.append(Y, tail, 0)


def _expected(
    graph: Graph, node: Node, w: Weights, values: Arrays, n_present: int, streamable: bool
) -> list[np.ndarray]:
    T = n_present + graph.latency

    def in_time(name: str) -> bool:
        return values[name].ndim > len(graph.values[name].shape)

    def over_time(name: str) -> np.ndarray:
        x = values[name].astype(np.int64 if graph.values[name].dtype == "int32" else np.float64)
        return x if in_time(name) else np.broadcast_to(x, (T, *x.shape))

    def gate(node: Node) -> np.ndarray:
        return over_time(node.inputs[-1])[:, 0] != 0 if OPS[node.op].is_gated(node) else np.ones(T, bool)

    op = OPS[node.op]
    if isinstance(op, Cell):
        if in_time(node.outputs[0]):
            return _cell(graph, op, node, w, values, over_time(node.inputs[0]), gate(node))
        once = {name: values[name][None] for name in (*node.inputs, *node.outputs)}
        return [y[0] for y in _cell(graph, op, node, w, once, once[node.inputs[0]].astype(np.float64), gate(node)[:1])]
    if op.reads_register:
        state = graph.states[node.states[0]]
        start = np.zeros(state.shape) if state.init is None else state.init
        writer = next((n for n in graph.nodes if OPS[n.op].writes_register and n.states == node.states), None)
        before = np.broadcast_to(start, (T, *state.shape)).astype(np.float64)
        if writer is not None:
            written = np.concatenate([before[:1], over_time(writer.inputs[0])])
            before = written[_latest(gate(writer))]
        return [before]
    if op.whole_sequence and (streamable or not in_time(node.inputs[0])):
        return [values[v].astype(np.float64) for v in node.inputs]
    if any(in_time(v) for v in (*node.inputs, *node.outputs)):
        return list(outputs(node, w, [over_time(v) for v in node.inputs], Span(T, n_present, T)))
    return list(outputs(node, w, [values[v].astype(np.float64) for v in node.inputs]))


def _latest(gate: np.ndarray) -> np.ndarray:
    """For each frame, the last one before it whose gate is open, plus 1; 0 where there is none."""
    opened = np.where(gate, np.arange(1, len(gate) + 1), 0)
    return np.maximum.accumulate(np.concatenate([[0], opened]))[: len(gate)]


def _cell(
    graph: Graph, op: Cell, node: Node, w: Weights, values: Arrays, x: np.ndarray, is_open: np.ndarray
) -> list[np.ndarray]:
    """Each timestep from the state that the engine had before it; its states are the outputs of the cell."""
    latest = None if is_open.all() else _latest(is_open)
    before = [s.astype(np.float64) for s in states_before(graph, node, values, latest)]
    expected = [np.zeros_like(s) for s in before]
    for at in np.ndindex(x.shape[: 1 + node.attrs["steps"]]):
        if not is_open[at[0]]:
            continue
        for rows, row in zip(expected, op.rows(node, w, x[at], tuple(s[at] for s in before)), strict=True):
            rows[at] = row
    return expected


def _compare(node: Node, w: Weights, values: Arrays, expected: list[np.ndarray], tolerance: float) -> NodeError:
    largest = NodeError(node.name)
    step = _inner_step(node, w)
    for name, want in zip(node.outputs, expected, strict=True):
        got = values[name].astype(np.float64)
        error = np.abs(got - want) / np.maximum(1.0, np.abs(want))
        error = np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0, np.where(np.isnan(error), np.inf, error))
        if step and error.size:
            worst = error.reshape(len(error), -1).max(axis=1)
            odd = (worst > tolerance) & (worst <= tolerance + step)
            if odd.sum() <= 1 + _RARE * len(worst):
                largest.explained += int(odd.sum())
                error = np.where(odd.reshape(-1, *[1] * (error.ndim - 1)), 0, error)
        if error.size and error.max() > largest.error:
            at = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
            largest.error, largest.expected, largest.got = float(error.max()), float(want[at]), float(got[at])
            largest.frame, largest.element = at[0], at[1:]
    return largest


def _inner_step(node: Node, w: Weights) -> float:
    """What one step of a vector that is rounded inside a cell can change; 0 where nothing is."""
    inner = w.get(OPS[node.op].inner_matrix(node))
    if not isinstance(inner, Rounding):
        return 0.0
    largest = np.abs(inner.q).reshape(*inner.scale.shape[: inner.q.ndim - 1], -1).max(axis=-1)
    scale = inner.scale if inner.scale.ndim < inner.q.ndim else inner.scale.max(axis=-1)
    return float((largest * scale).max() / 127)
