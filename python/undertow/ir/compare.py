# SPDX-License-Identifier: MIT
"""Whether two Graphs are the same: of one file at two sizes, or under two readings of its axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph


def difference(a: Graph, b: Graph) -> str:
    """Where two Graphs differ, in words; empty when they are equal."""
    if len(a.nodes) != len(b.nodes):
        return "the number of nodes"
    for x, y in zip(a.nodes, b.nodes, strict=True):
        same = (x.op, x.name, x.inputs, x.attrs, x.states) == (y.op, y.name, y.inputs, y.attrs, y.states)
        if not same or x.weights.keys() != y.weights.keys():
            return f"{x.op} {x.name!r}"
        if any(not np.array_equal(w, y.weights[key], equal_nan=w.dtype.kind == "f") for key, w in x.weights.items()):
            return f"{x.op} {x.name!r}"
    if (a.frames_in, a.frames_out) != (b.frames_in, b.frames_out):
        return "how many timesteps are in a frame"
    if a.outputs != b.outputs or {n: v.shape for n, v in a.values.items()} != {n: v.shape for n, v in b.values.items()}:
        return "a frame's shape"
    if a.states.keys() != b.states.keys() or any(
        not np.array_equal(_start(s), _start(b.states[n]), equal_nan=True) for n, s in a.states.items()
    ):
        return "a state"
    return ""


def _start(state: Any) -> np.ndarray:
    return np.zeros(state.shape, np.float32) if state.init is None else state.init
