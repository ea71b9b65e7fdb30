# SPDX-License-Identifier: MIT
"""Ops of time: registers, windows over frames, and those that need the whole sequence.

What a stream cannot see yet, it gives later: `undertow.passes.latency` makes windows that look ahead into causal ones
with a state (span, *S) of the last `span` frames, delays what meets their results, and adds to ops of time an input of
shape (1,), the **gate**: where it is 0 the frame is none of the sequence, so a cell or register does not move (its
output is zero) and a window takes zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..nodes import Node, Scope, Value
from .base import Arrays, Frames, Op, Params, Shapes, Span, Stored, Weights
from .checks import Outputs, fail, gated, inputs
from .params import MASKED, REVERSE

#: the furthest that a window may reach; a state of so many frames
MAX_TAP = 1 << 20


class StateRead(Op):
    """Gives its state as it was before this timestep."""

    name, kinds = "state_read", (15,)
    n_inputs = 0
    reads_register, turn = True, 0

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        inputs(graph, node)
        if len(node.states) != 1:
            fail(node, f"has {len(node.states)} states, expected 1")
        return [("out", Value("", graph.states[node.states[0]].shape))]

    def step(self, node: Node, w: Weights, xs: Sequence[np.ndarray], states: Arrays) -> tuple[Arrays, Arrays]:
        return states, ()


class StateWrite(Op):
    """Takes the state's next value; gives nothing."""

    name, kinds = "state_write", (16,)
    n_inputs = (1, 2)
    writes_register, turn = True, 2

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = gated(graph, node, self.is_gated(node), needed=True)
        if len(node.states) != 1:
            fail(node, f"has {len(node.states)} states, expected 1")
        if graph.states[node.states[0]].shape != x.shape:
            fail(node, f"input {x.name!r} has shape {x.shape}, expected {graph.states[node.states[0]].shape}")
        return []

    def may_be_gated(self, node: Node) -> bool:
        return True

    def step(self, node: Node, w: Weights, xs: Sequence[np.ndarray], states: Arrays) -> tuple[Arrays, Arrays]:
        return (), (xs[0][-1],)


class Window(Op):
    """x of shape S -> (taps, *S): row i is x_{t + taps[i]}, zeros outside of the sequence. `taps` ascend; positive ones
    look ahead.
    """

    name, kinds = "window", (23,)
    n_inputs = (1, 2)
    attrs = ("taps",)
    landmark, rests = True, False

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = gated(graph, node, self.is_gated(node), needed=True)
        taps = node.attrs["taps"] = tuple(int(t) for t in node.attrs.get("taps", ()))
        if not taps or any(b <= a for a, b in pairwise(taps)):
            fail(node, f"taps are {taps}, expected one or more offsets in frames, ascending")
        if max(-taps[0], taps[-1]) > MAX_TAP:
            fail(node, f"taps reach from {taps[0]} to {taps[-1]}, expected at most {MAX_TAP} frames")
        if len(x.shape) > 7:
            fail(node, f"input {x.name!r} has {len(x.shape)} axes, expected at most 7")
        if node.states:
            span = -taps[0]
            if taps[-1] > 0 or span <= 0 or len(node.states) != 1:
                fail(node, f"has {len(node.states)} states; one is for taps in the past alone, got taps {taps}")
            if graph.states[node.states[0]].shape != (span, *x.shape):
                shape = graph.states[node.states[0]].shape
                fail(node, f"state {node.states[0]!r} has shape {shape}, expected {(span, *x.shape)}")
        return [("out", Value("", (len(taps), *x.shape)))]

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        return [tap & 0xFFFFFFFF for tap in node.attrs["taps"]]

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {"taps": tuple(tap - (tap >> 31 << 32) for tap in params)}

    def over_time(self, node: Node, w: Weights, xs: Sequence[np.ndarray], span: Span) -> Arrays:
        (x, *gate), taps = xs, node.attrs["taps"]
        if gate:
            x = np.where((gate[0] == 0).reshape(-1, *[1] * (x.ndim - 1)), 0.0, x)
        y = np.zeros((len(x), len(taps), *x.shape[1:]))
        for i, tap in enumerate(taps):
            first, end = max(0, -tap), min(len(x), len(x) - tap)
            if first < end:
                y[first:end, i] = x[first + tap : end + tap]
        return (y,)

    def step(self, node: Node, w: Weights, xs: Sequence[np.ndarray], states: Arrays) -> tuple[Arrays, Arrays]:
        taps = node.attrs["taps"]
        if not states:
            first = max(0, len(xs[0]) - 1 + taps[0])
            (y,) = self.over_time(node, w, [x[first:] for x in xs], Span())
            return (y[-1],), ()
        (x, *gate), (past,) = xs, states
        seen = np.concatenate([past, np.zeros_like(x[-1:]) if gate and gate[0][-1] == 0 else x[-1:]])
        return (seen[np.add(taps, len(past))],), (seen[1:],)

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        return [f"frames {_spans(node.attrs['taps'])}"]

    def may_be_gated(self, node: Node) -> bool:
        return True

    def taps(self, node: Node) -> tuple[int, ...]:
        taps: tuple[int, ...] = node.attrs["taps"]
        return taps


def _spans(taps: tuple[int, ...]) -> str:
    """(-4, -2, 0, 1) -> "-4 -2 0 to 1": offsets in words, runs of neighbours by their ends."""
    runs: list[list[int]] = []
    for tap in taps:
        if runs and tap == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], tap]
        else:
            runs.append([tap])
    return " ".join(" to ".join(map(str, run)) for run in runs)


class Present(Op):
    """1.0 for a frame of the sequence, 0.0 for one of a flush; the attribute `latency` is that of all outputs."""

    name, kinds = "present", (27,)
    n_inputs = 0
    attrs = ("latency",)
    turn = 0

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        inputs(graph, node)
        latency = node.attrs["latency"] = int(node.attrs.get("latency", 0))
        if not 0 <= latency <= MAX_TAP:
            fail(node, f"latency is {latency}, expected 0 to {MAX_TAP} frames")
        return [("out", Value("", (1,)))]

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        return [node.attrs["latency"]]

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {"latency": params[0]}

    def over_time(self, node: Node, w: Weights, xs: Sequence[np.ndarray], span: Span) -> Arrays:
        return ((np.arange(span.n_frames) < span.n_present).astype(np.float64)[:, None],)


class Last(Op):
    """The frame that is computed last: t = T - 1, or with `masked` that of the last valid one, or with `reverse` t = 0.
    In a stream it is the frame so far.
    """

    name, kinds = "last", (17,)
    attrs = ("reverse", "masked")
    landmark = whole_sequence = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        node.attrs["reverse"] = bool(node.attrs.get("reverse", False))
        node.attrs["masked"] = bool(node.attrs.get("masked", False))
        return [("out", Value("", x.shape, once=True))]

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        return [REVERSE * node.attrs["reverse"] | MASKED * node.attrs["masked"]]

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {"reverse": bool(params[0] & REVERSE), "masked": bool(params[0] & MASKED)}

    def over_time(self, node: Node, w: Weights, xs: Sequence[np.ndarray], span: Span) -> Arrays:
        (x,) = xs
        if len(x) == 0:
            return (np.zeros(x.shape[1:]),)
        n = span.length if node.attrs["masked"] else len(x)
        return (x[0 if node.attrs["reverse"] else max(n - 1, 0)],)

    def step(self, node: Node, w: Weights, xs: Sequence[np.ndarray], states: Arrays) -> tuple[Arrays, Arrays]:
        return (xs[0][-1],), ()

    def needs_whole_sequence(self, node: Node) -> str:
        return "it takes what a backward layer gives at the first timestep" if node.attrs["reverse"] else ""


class Flip(Op):
    """Reverses the order of the timesteps."""

    name, kinds = "flip", (18,)
    landmark = whole_sequence = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        (x,) = inputs(graph, node)
        return [("out", Value("", x.shape, once=x.once))]

    def over_time(self, node: Node, w: Weights, xs: Sequence[np.ndarray], span: Span) -> Arrays:
        return (xs[0][::-1],)

    def needs_whole_sequence(self, node: Node) -> str:
        return "it reverses the order of the timesteps"


OPS: tuple[Op, ...] = (StateRead(), StateWrite(), Window(), Present(), Last(), Flip())
