# SPDX-License-Identifier: MIT
"""Checks of the ops that remember, and of those that need the whole sequence."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from ...errors import UnsupportedError
from ..activations import Activation
from ..nodes import Node, Scope, Value
from .checks import Outputs, fail, inputs, weight


def is_gated(node: Node) -> bool:
    """Whether the second input of a node is a gate."""
    return len(node.inputs) == 2 and (node.op == "window" or bool(node.states))


def _gated(graph: Scope, node: Node) -> list[Value]:
    """The inputs without the gate."""
    values = inputs(graph, node)
    if is_gated(node) and values[1].shape == (1,):
        values.pop()
    elif is_gated(node) and node.op in ("window", "state_write"):
        fail(node, f"gate {values[1].name!r} has shape {values[1].shape}, expected (1,)")
    return values


def recurrent(n_gates: int, defaults: tuple[Activation, ...], variant: str = "") -> Callable[[Scope, Node], Outputs]:
    def infer(graph: Scope, node: Node) -> Outputs:
        x, *starts = _gated(graph, node)
        W = node.weights.get("W")
        if W is None or W.ndim != 3 or W.shape[0] != n_gates:
            fail(node, f"W has shape {None if W is None else W.shape}, expected ({n_gates}, hidden, inputs)")
        _, hidden, n_in = W.shape
        fed_back = hidden
        if "projection" in node.weights:
            fed_back = node.weights["projection"].shape[0]
            weight(node, "projection", (fed_back, hidden))
        weight(node, "R", (n_gates, hidden, fed_back))
        weight(node, "b", (n_gates, hidden), optional=True)
        weight(node, "rb_n", (hidden,), optional=True)
        weight(node, "peephole", (3, hidden), optional=True)

        activations = node.attrs.setdefault("activations", defaults)
        if len(activations) != len(defaults) or not all(isinstance(a, Activation) for a in activations):
            fail(node, f"activations are {activations!r}, expected {len(defaults)} Activation objects")
        for flag in ("reverse", "masked", "steps", *([variant] if variant else [])):
            node.attrs[flag] = bool(node.attrs.get(flag, False))
        clip = node.attrs.setdefault("clip", None)
        if clip is not None and not clip > 0:
            fail(node, f"clip is {clip}, expected a number above 0")
        if "rb_n" in node.weights and not node.attrs["reset_after"]:
            fail(node, "rb_n is given, but only a GRU with reset_after has a recurrent candidate bias")

        n_steps_axes = int(node.attrs["steps"])
        if len(x.shape) - n_steps_axes not in (1, 2) or x.shape[-1] != n_in:
            expected = f"(steps, {n_in}) or (steps, rows, {n_in})" if n_steps_axes else f"({n_in},) or (rows, {n_in})"
            fail(node, f"input {x.name!r} has shape {x.shape}, expected {expected}: W is {W.shape}")
        outer, rows = x.shape[:-1], x.shape[n_steps_axes:-1]
        widths = {"h": fed_back, **({"c": hidden} if node.op == "lstm" else {})}
        if node.attrs["masked"] and (outer or not node.states):
            raise UnsupportedError(
                f"{node.op} {node.name!r}: masked goes with frames of shape ({n_in},) and states only, "
                "not with rows or steps inside of a frame"
            )
        if node.states and starts:
            fail(
                node,
                f"has states and {len(starts)} inputs to start from, expected one of the two, or a gate (1,)",
            )
        if not node.states and not starts and not node.attrs["steps"]:
            fail(node, f"has 0 states, expected {list(widths)}, or as many further inputs to start each frame from")
        if node.attrs["reverse"] and not node.states and not node.attrs["steps"]:
            fail(node, "reverse is given, but a cell without states and steps has no time to walk")
        if node.states and len(node.states) != len(widths):
            fail(node, f"has {len(node.states)} states, expected {list(widths)}")
        if starts and len(starts) != len(widths):
            fail(node, f"has {len(starts)} inputs to start from, expected {[f'{letter}0' for letter in widths]}")
        for state, (letter, width) in zip(node.states, widths.items(), strict=False):
            shape = graph.states[state].shape
            if shape != (*rows, width):
                fail(node, f"state {letter} ({state!r}) has shape {shape}, expected {(*rows, width)}")
        for start, (letter, width) in zip(starts, widths.items(), strict=False):
            if start.shape != (*rows, width):
                fail(node, f"input {letter}0 ({start.name!r}) has shape {start.shape}, expected {(*rows, width)}")
        once = not node.states and x.once and all(start.once for start in starts)
        return [(letter, Value("", (*outer, width), once=once)) for letter, width in widths.items()]

    return infer


def state_read(graph: Scope, node: Node) -> Outputs:
    inputs(graph, node)
    if len(node.states) != 1:
        fail(node, f"has {len(node.states)} states, expected 1")
    return [("out", Value("", graph.states[node.states[0]].shape))]


def state_write(graph: Scope, node: Node) -> Outputs:
    (x,) = _gated(graph, node)
    if len(node.states) != 1:
        fail(node, f"has {len(node.states)} states, expected 1")
    if graph.states[node.states[0]].shape != x.shape:
        fail(node, f"input {x.name!r} has shape {x.shape}, expected {graph.states[node.states[0]].shape}")
    return []


def last(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    node.attrs["reverse"] = bool(node.attrs.get("reverse", False))
    node.attrs["masked"] = bool(node.attrs.get("masked", False))
    return [("out", Value("", x.shape, once=True))]


def flip(graph: Scope, node: Node) -> Outputs:
    (x,) = inputs(graph, node)
    return [("out", Value("", x.shape, once=x.once))]


#: the furthest that a window may reach; a state of so many frames
MAX_TAP = 1 << 20


def window(graph: Scope, node: Node) -> Outputs:
    (x,) = _gated(graph, node)
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


def present(graph: Scope, node: Node) -> Outputs:
    inputs(graph, node)
    latency = node.attrs["latency"] = int(node.attrs.get("latency", 0))
    if not 0 <= latency <= MAX_TAP:
        fail(node, f"latency is {latency}, expected 0 to {MAX_TAP} frames")
    return [("out", Value("", (1,)))]
