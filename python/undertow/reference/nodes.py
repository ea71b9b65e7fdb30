# SPDX-License-Identifier: MIT
"""One node of a Graph by itself: its weights as a file stores them, its outputs, the states that it must have had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.fixed import Fixed
from ..ir.graph import Graph, Node
from ..ir.ops import OPS, Layout, Span
from ..ir.precision import FIXED, INTEGERS, numbers
from ..ir.products import Rounding, RoundingFilters

Weights = dict[str, Any]
States = tuple[np.ndarray, ...]


def prepare(node: Node, rounding: bool) -> Weights:
    """The weights of a node as its file stores them, float64.

    With `rounding`, matrices of integers become `Rounding` or `Fixed` ones, which round their inputs as the engine
    does.
    """
    prepared: Weights = {}
    for weight in OPS[node.op].weights:
        if (w := node.weights.get(weight.key)) is None:
            continue
        precision = numbers(node.precisions.get(weight.key, "float32"))
        if rounding and precision == FIXED:
            prepared[weight.key] = Fixed.of(w)
        elif rounding and precision in INTEGERS and weight.layout is Layout.MATRIX:
            prepared[weight.key] = Rounding.of(w, precision, node.smoothing.get(weight.key))
        elif rounding and precision in INTEGERS and weight.layout is Layout.FILTERS:
            prepared[weight.key] = RoundingFilters.of(w)
        else:
            prepared[weight.key] = w if weight.integers else OPS[node.op].as_stored(node, weight.key).astype(np.float64)
    return prepared


def outputs(node: Node, w: Weights, xs: Sequence[np.ndarray], span: Span | None = None) -> States:
    """The outputs of a node that needs no state. `w`: from `prepare`.

    span: the frames of inputs and outputs, (span.n_frames, *frame) each; None: all of them are given once.
    """
    if span is None:
        return tuple(y[0] for y in OPS[node.op].over_time(node, w, [x[None] for x in xs], Span()))
    return OPS[node.op].over_time(node, w, xs, span)


def states_before(
    graph: Graph, node: Node, values: Mapping[str, np.ndarray], latest: np.ndarray | None = None
) -> States:
    """What the states of a cell were before every timestep, as its outputs over time tell: (T, [L,] [B,] P or H).

    latest: for each frame, the number of the frame before it that moved the states, plus 1; 0 where there is none.
    None: the one before.
    """
    steps, back = node.attrs["steps"], node.attrs["reverse"]
    states = []
    for i, name in enumerate(node.outputs):
        after = values[name]
        rows = after.shape[1 + steps :]
        ends = after[:, 0 if back else -1] if steps else after  # of frames
        if node.states:
            init = graph.states[node.states[i]].init
            start = np.zeros((1, *rows)) if init is None else init[None]
            ends = ends[::-1] if back and not steps else ends
            starts = np.concatenate([start, ends]).astype(after.dtype)
            starts = starts[: len(after)] if latest is None else starts[latest]
            starts = starts[::-1] if back and not steps else starts
        elif len(node.inputs) > 1:
            starts = np.broadcast_to(values[node.inputs[1 + i]], (len(after), *rows))
        else:
            starts = np.zeros((len(after), *rows), after.dtype)
        if steps:
            parts = [after[:, 1:], starts[:, None]] if back else [starts[:, None], after[:, :-1]]
            starts = np.concatenate(parts, axis=1)
        states.append(starts)
    return tuple(states)
