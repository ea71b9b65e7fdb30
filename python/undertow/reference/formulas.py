# SPDX-License-Identifier: MIT
"""What every op computes, in float64: the formulas of `undertow.reference`, written to be read.

`w` holds the weights of a node as `prepare` gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import activate
from ..ir.graph import Graph, Node
from ..ir.precision import numbers, stored
from ..ir.products import Rounding, times

Weights = dict[str, Any]
States = tuple[np.ndarray, ...]


def prepare(node: Node, rounding: bool) -> Weights:
    """The weights of a node as its file stores them, float64.

    With `rounding`, matrices in int8 and int4 become `Rounding` ones, which round their inputs as the engine does.
    """
    prepared: Weights = {}
    for key, w in node.weights.items():
        precision = numbers(node.precisions.get(key, "float32"))
        if rounding and precision in ("int8", "int4") and key != "table":
            prepared[key] = Rounding.of(w, precision)
        else:
            prepared[key] = w if key == "indices" else stored(w, precision).astype(np.float64)
    return prepared


def frames(node: Node, w: Weights, xs: list[np.ndarray], n: int) -> np.ndarray:
    """A frame op on `n` frames: inputs and result have shape (n, *frame)."""
    if node.op in _BINARY:
        return _BINARY[node.op](xs[0], xs[1])
    if node.op == "constant":
        return np.broadcast_to(w["value"], (n, *w["value"].shape))
    if node.op in ("concat", "select"):
        joined = np.concatenate([x.reshape(n, prod(x.shape[1:])) for x in xs], axis=1)
        return joined if node.op == "concat" else joined[:, w["indices"]]
    if node.op == "matmul":
        return xs[0] @ xs[1]
    if node.op == "where":
        return np.where(xs[0] == 0, xs[2], xs[1])
    (x,) = xs
    if node.op == "dense":
        return activate(node.attrs["activation"], times(w["W"], x, w.get("b", 0.0)))
    if node.op == "depthwise":
        return activate(node.attrs["activation"], (w["W"] * x).sum(axis=-2) + w.get("b", 0.0))
    if node.op == "reduce":
        return _REDUCE[node.attrs["kind"]](x, axis=2)
    if node.op == "activation":
        return activate(node.attrs["activation"], x)
    if node.op == "affine":
        return x * w["scale"] + w["shift"]
    if node.op == "softmax":
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    if node.op == "log_softmax":
        x = x - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    if node.op == "layer_norm":
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + node.attrs["eps"]) * w.get("scale", 1.0) + w.get("shift", 0.0)
    if node.op == "reshape":
        return x.reshape(n, *node.attrs["shape"])
    if node.op == "embedding":
        if x.size and not 0 <= x.min() <= x.max() < len(w["table"]):
            found = f"ids reach from {x.min()} to {x.max()}"
            raise ShapeError(f"embedding {node.name!r}: {found}, expected 0 to {len(w['table']) - 1}")
        return w["table"][x]
    raise UnsupportedError(f"{node.op} {node.name!r}: the reference does not know this op")


def window(taps: tuple[int, ...], x: np.ndarray, gate: np.ndarray | None = None) -> np.ndarray:
    """x (T, *S) -> y (T, taps, *S), y[t, i] = x[t + taps[i]]; zeros outside, and where gate (T, 1) is 0."""
    if gate is not None:
        x = np.where((gate == 0).reshape(-1, *[1] * (x.ndim - 1)), 0.0, x)
    y = np.zeros((len(x), len(taps), *x.shape[1:]))
    for i, tap in enumerate(taps):
        first, end = max(0, -tap), min(len(x), len(x) - tap)
        if first < end:
            y[first:end, i] = x[first + tap : end + tap]
    return y


_BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "greater": lambda a, b: (a > b).astype(np.float64),
    "less": lambda a, b: (a < b).astype(np.float64),
    "equal": lambda a, b: (a == b).astype(np.float64),
    "greater_equal": lambda a, b: (a >= b).astype(np.float64),
    "less_equal": lambda a, b: (a <= b).astype(np.float64),
}

_REDUCE: dict[str, Callable[..., np.ndarray]] = {"sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod}


# -- cells ----------------------------------------------------------------------------------------------------------


def _rnn(attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray]:
    (f,) = attrs["activations"]
    (a,) = times(w["W"], x, w.get("b", 0.0)) + times(w["R"], h)
    return (activate(f, clipped(attrs, a)),)


def _gru(attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray]:
    gate, candidate = attrs["activations"]
    a_z, a_r, a_n = times(w["W"], x, w.get("b", 0.0))
    R_z, R_r, R_n = (w["R"][g : g + 1] for g in range(3))
    z = activate(gate, clipped(attrs, a_z + times(R_z, h)[0]))
    r = activate(gate, clipped(attrs, a_r + times(R_r, h)[0]))
    (recurrent,) = r * times(R_n, h, w.get("rb_n", 0.0)) if attrs["reset_after"] else times(R_n, r * h)
    n = activate(candidate, clipped(attrs, a_n + recurrent))
    return ((1.0 - z) * n + z * h,)


def _lstm(attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
    gate, cell, out = attrs["activations"]
    a_i, a_f, a_g, a_o = times(w["W"], x, w.get("b", 0.0)) + times(w["R"], h)
    p_i, p_f, p_o = w.get("peephole", (0.0, 0.0, 0.0))
    i = activate(gate, clipped(attrs, a_i + p_i * c))
    f = 1.0 - i if attrs["input_forget"] else activate(gate, clipped(attrs, a_f + p_f * c))
    g = activate(cell, clipped(attrs, a_g))
    c = f * c + i * g
    o = activate(gate, clipped(attrs, a_o + p_o * c))
    h = o * activate(out, c)  # ONNX Runtime and OpenVINO clip the gates' inputs, and never the memory on its way out
    return (times(w["projection"], h) if "projection" in w else h), c


CELLS: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {"rnn": _rnn, "gru": _gru, "lstm": _lstm}


def cell(node: Node, w: Weights, x: np.ndarray, state: States) -> tuple[States, States]:
    """A recurrent layer on one frame.

    Args:
        x: ([L,] [B,] I); L is there with the attribute `steps`.
        state: h ([B,] P), and c ([B,] H) of an lstm, before.

    Returns:
        h ([L,] [B,] P) and c ([L,] [B,] H) after every step; and the states after the last one.
    """
    if not node.attrs["steps"]:
        state = rows_of(node, w, x, state)
        return state, state
    outputs = tuple(np.zeros((len(x), *s.shape)) for s in state)
    for step in reversed(range(len(x))) if node.attrs["reverse"] else range(len(x)):
        state = rows_of(node, w, x[step], state)
        for output, s in zip(outputs, state, strict=True):
            output[step] = s
    return outputs, state


def rows_of(node: Node, w: Weights, x: np.ndarray, state: States) -> States:
    """One timestep of a cell: x (I,), or (B, I) with as many rows in its states."""
    formula = CELLS[node.op]
    if x.ndim == 1:
        return formula(node.attrs, w, x, *state)
    rows = [formula(node.attrs, w, row, *before) for row, *before in zip(x, *state, strict=True)]
    return tuple(np.stack(after) for after in zip(*rows, strict=True))


def states_before(
    graph: Graph, node: Node, values: Mapping[str, np.ndarray], latest: np.ndarray | None = None
) -> States:
    """What the states of a cell were before every timestep, as its outputs over time tell: (T, [L,] [B,] P or H).

    latest: for each frame, the number of the frame before it that moved the states, plus 1; 0 where there is none.
    None: the one before.
    """
    steps, back = node.attrs["steps"], node.attrs["reverse"]
    found = []
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
        found.append(starts)
    return tuple(found)


def zero_states(node: Node, frame: tuple[int, ...]) -> States:
    """The states of a cell that starts from zero, for inputs of shape ([L,] [B,] I)."""
    rows = frame[int(node.attrs["steps"]) : -1]
    widths = [node.weights["R"].shape[2], *([node.weights["W"].shape[1]] if node.op == "lstm" else [])]
    return tuple(np.zeros((*rows, width)) for width in widths)


def forgetful(node: Node, w: Weights, xs: list[np.ndarray], n: int) -> States:
    """A cell without states on `n` frames: its outputs (n, [L,] [B,] P or H), each frame from its own start."""
    x, *starts = xs
    zeros = zero_states(node, x.shape[1:])
    made = [cell(node, w, x[t], tuple(s[t] for s in starts) or zeros)[0] for t in range(n)]
    if not made:
        steps = x.shape[1:2] if node.attrs["steps"] else ()
        return tuple(np.zeros((0, *steps, *s.shape)) for s in zeros)
    return tuple(np.stack(output) for output in zip(*made, strict=True))


def clipped(attrs: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """The input of a gate within the bounds of the cell."""
    return a if attrs["clip"] is None else np.clip(a, -attrs["clip"], attrs["clip"])
