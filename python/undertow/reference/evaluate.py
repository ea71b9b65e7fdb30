# SPDX-License-Identifier: MIT
"""The slow truth: a float64 evaluator of a Graph, written to be read.

`undertow verify` and the tests compare the engine with it. It shares not one line of arithmetic with the engine.
Weights are the numbers that the model's file stores; everything computed from them is float64, by the formulas that
stand with the ops (`undertow.ir.ops`). Only where it is told to does it round what weights of integers multiply, as
the engine does.

A value is an array of shape (T, *frame), or (*frame) when the graph gives it once per sequence. A graph that
`undertow.passes.latency` has lowered is run as a stream is, flush included; its outputs are of the whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._progress import tell, telling
from ..errors import ShapeError, UnsupportedError
from ..ir import loops
from ..ir.graph import Graph, Node
from ..ir.ops import OPS, Span
from .nodes import Weights, outputs, prepare

Arrays = dict[str, np.ndarray]


@dataclass
class Evaluation:
    """Everything that one evaluation found.

    Attributes:
        outputs: output name -> (T, *frame), or (*frame) where given once per sequence.
        values: the same for every value of the graph, by value name; in a graph with latency, (T + latency, *frame),
            each value as late as a stream computes it.
        state: state name -> array after the last timestep.
        states: state name -> (T, *shape), the state after each timestep; for a cell that runs backwards in time,
            row t is the state after it has seen frame t.
    """

    outputs: Arrays
    values: Arrays
    state: Arrays
    states: Arrays = field(default_factory=dict)


def run(
    graph: Graph,
    X: Any,
    state: Mapping[str, Any] | None = None,
    length: int | None = None,
    *,
    return_state: bool = False,
    rounding: bool = False,
) -> Any:
    """Run a whole sequence in float64, with the meaning of `Model.run`.

    Args:
        graph: what to run.
        X: (T, *frame); a dict of them by input name where the graph has several inputs.
        state: state name -> array to start from; states not named start as the graph says.
        length: valid frames for nodes that are `masked`; T when omitted.
        return_state: also give the final states.
        rounding: inputs of matrices of integers are rounded as the engine rounds them, and these products made of
            float32 operations (csrc/FORMAT.md, "What is computed"). Otherwise weights are all that is rounded.

    Returns:
        (T, *frame) float64, or a dict by output name where the graph has several outputs. When the graph has
        whole-sequence nodes, values given once have no time axis. With return_state: (that, dict of states).

    Raises:
        ShapeError: an input or state does not fit.
        UnsupportedError: a whole-sequence node inside a loop over state_read and state_write.
    """
    with telling("float64 reference"):
        evaluation = evaluate(graph, X, state, length, rounding=rounding)
    Y: Any = evaluation.outputs if len(evaluation.outputs) != 1 else next(iter(evaluation.outputs.values()))
    return (Y, evaluation.state) if return_state else Y


def trace(graph: Graph, X: Any, state: Mapping[str, Any] | None = None, length: int | None = None) -> Arrays:
    """Every value of the graph over time, by value name; arguments as in `run`."""
    return evaluate(graph, X, state, length).values


def evaluate(
    graph: Graph,
    X: Any,
    state: Mapping[str, Any] | None = None,
    length: int | None = None,
    *,
    rounding: bool = False,
    off: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Evaluation:
    """As `run`, and give everything that was found on the way.

    off: what becomes of every number that goes in and of every result of a node, for who asks what errors in them do.
    """
    values, n_present = _inputs(graph, X)
    if off is not None:
        values = {name: x if x.dtype == np.int64 else off(x) for name, x in values.items()}
    latency = graph.latency
    if length is None:
        length = n_present + latency
    elif not 0 <= length <= n_present or (latency and length != n_present):
        least = n_present if latency else 0
        raise ShapeError(f"length is {length}, expected {least} to {n_present}, the number of frames")
    values = {name: np.concatenate([x, np.zeros((latency, *x.shape[1:]), x.dtype)]) for name, x in values.items()}
    sequence = _Sequence(
        graph,
        values,
        _initial_state(graph, state),
        Span(n_present + latency, n_present, length),
        not graph.whole_sequence_nodes(),
        rounding,
        off,
    )
    with np.errstate(all="ignore"):
        for group in loops.groups(graph.nodes):
            if any(node.states for node in group):
                sequence.run_in_time(group)
            else:
                sequence.run_at_once(group[0])
    outputs = {name: values[value] for name, value in graph.outputs.items()}
    if sequence.streamable:  # a stream has no "once": everything comes with every frame
        outputs = {name: sequence.every_frame(value)[latency:] for name, value in graph.outputs.items()}
    return Evaluation(outputs, values, sequence.now, sequence.states)


# -- getting started ------------------------------------------------------------------------------------------------


def _inputs(graph: Graph, X: Any) -> tuple[Arrays, int]:
    if not isinstance(X, Mapping):
        if len(graph.inputs) != 1:
            raise ShapeError(f"X is one array, expected a dict of arrays: the inputs are {graph.inputs}")
        X = {graph.inputs[0]: X}
    if set(X) != set(graph.inputs):
        raise ShapeError(f"X has inputs {sorted(X)}, expected {sorted(graph.inputs)}")
    values = {}
    for name in graph.inputs:
        value = graph.values[name]
        x = np.asarray(X[name])
        if x.ndim != 1 + len(value.shape) or x.shape[1:] != value.shape:
            shape = ", ".join(["T", *map(str, value.shape)])
            raise ShapeError(f"input {name!r} has shape {x.shape}, expected ({shape})")
        values[name] = x.astype(np.int64 if value.dtype == "int32" else np.float64)
    lengths = {name: len(x) for name, x in values.items()}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"inputs have different numbers of frames: {lengths}")
    return values, next(iter(lengths.values()), 1)


def _initial_state(graph: Graph, given: Mapping[str, Any] | None) -> Arrays:
    unknown = sorted(set(given or {}) - set(graph.states))
    if unknown:
        raise ShapeError(f"state {unknown[0]!r} does not exist; states: {sorted(graph.states)}")
    start = {}
    for name, s in graph.states.items():
        value = (given or {}).get(name, s.init)
        start[name] = np.zeros(s.shape) if value is None else np.array(value, np.float64)
        if start[name].shape != s.shape:
            raise ShapeError(f"state {name!r} has shape {start[name].shape}, expected {s.shape}")
    return start


# -- running a sequence ---------------------------------------------------------------------------------------------


@dataclass
class _Sequence:
    graph: Graph
    values: Arrays
    now: Arrays  # state name -> its value at the timestep that has been reached
    span: Span
    streamable: bool
    rounding: bool
    off: Callable[[np.ndarray], np.ndarray] | None = None
    states: Arrays = field(default_factory=dict)

    def weights(self, node: Node) -> Weights:
        weights = prepare(node, self.rounding)
        if self.off is None:
            return weights
        exact = [key for key, w in weights.items() if key == "indices" or not isinstance(w, np.ndarray)]
        return {key: w if key in exact else self.off(w) for key, w in weights.items()}

    def results(self, names: Iterable[str], arrays: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        """What nodes give, or write into states, by name."""
        given = dict(zip(names, arrays, strict=False))
        if self.off is None:
            return given
        ids = {name for name in given if name in self.graph.values and self.graph.values[name].dtype == "int32"}
        return {name: a if name in ids else self.off(a) for name, a in given.items()}

    def every_frame(self, name: str) -> np.ndarray:
        """A value with a time axis: what is given once is the same at every timestep."""
        value = self.values[name]
        return value if self._in_time(name) else np.broadcast_to(value, (self.span.n_frames, *value.shape))

    def _in_time(self, name: str) -> bool:
        return self.values[name].ndim > len(self.graph.values[name].shape)

    def run_at_once(self, node: Node) -> None:
        """Compute a node without state, over all frames."""
        in_time = any(self._in_time(name) for name in node.inputs)
        if OPS[node.op].whole_sequence and (self.streamable or not in_time):
            results = tuple(self.values[name] for name in node.inputs)
        elif in_time or not self.graph.values[node.outputs[0]].once:
            xs = [self.every_frame(name) for name in node.inputs]
            results = outputs(node, self.weights(node), xs, self.span)
        else:  # a constant, or what follows from `last`
            results = outputs(node, self.weights(node), [self.values[name] for name in node.inputs])
        self.values.update(self.results(node.outputs, results))

    def run_in_time(self, group: list[Node]) -> None:
        """Advance the nodes of a group together, frame by frame; a state changes at the end of its timestep."""
        inside = {name for node in group for name in node.outputs}
        given = {name: self.every_frame(name) for node in group for name in node.inputs if name not in inside}
        weights: dict[str, Weights] = {}
        for node in group:
            op = OPS[node.op]
            backwards = op.walks_back(node)
            if len(group) > 1 and op.taps(node)[-1] > 0:
                raise UnsupportedError(f"{node.op} {node.name!r}: looks ahead inside a loop over a state")
            if len(group) > 1 and (op.needs_whole_sequence(node) or (op.whole_sequence and not self.streamable)):
                raise UnsupportedError(f"{node.op} {node.name!r}: needs the whole sequence inside a loop over a state")
            weights[node.name] = self.weights(node)
            for name in node.outputs:
                self.values[name] = given[name] = np.zeros((self.span.n_frames, *self.graph.values[name].shape))
            for name in node.states:
                self.states[name] = np.zeros((self.span.n_frames, *self.now[name].shape))

        times, last = range(self.span.n_frames), group[-1].name
        for t in reversed(times) if backwards else times:
            tell(f"float64 reference: {last}", self.span.n_frames - t if backwards else t, self.span.n_frames)
            following: Arrays = {}
            for node in group:
                op, xs = OPS[node.op], [given[name][: t + 1] for name in node.inputs]
                shut = op.rests and op.is_gated(node) and xs[-1][-1, 0] == 0
                if shut or (self._is_masked(node) and t >= self.span.length):
                    continue  # outputs stay zero, the state stays as it is
                results, after = op.step(node, weights[node.name], xs, tuple(self.now[s] for s in node.states))
                following.update(self.results(node.states, after))
                for name, result in self.results(node.outputs, results).items():
                    self.values[name][t] = result
            self.now.update(following)
            for name in {s for node in group for s in node.states}:
                self.states[name][t] = self.now[name]

        for node in group:  # as in ONNX Runtime, a sequence of length 0 ends in zeros, whatever it started from
            if self._is_masked(node) and self.span.length == 0 and self.span.n_frames > 0:
                self.now.update({s: np.zeros_like(self.now[s]) for s in node.states})

    def _is_masked(self, node: Node) -> bool:
        """Whether a node has states that stay as they are behind the length of the sequence."""
        return bool(node.states and node.attrs.get("masked"))
