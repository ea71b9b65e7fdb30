# SPDX-License-Identifier: MIT
"""The catalogue of ops: what each takes, gives, and requires of its weights.

This is the one list that importers, compiler, reference and documentation share. Letters: I inputs of a cell,
H hidden units, P width of the hidden state that is fed back (P = H unless the LSTM has a projection), K inputs and
M outputs of a dense layer. Gate order is i, f, g, o (LSTM) and z, r, n (GRU); importers permute, nothing else does.

Frame ops look at one frame at a time:

========== ===================================== ===========================================================
op         weights                               attrs; meaning
========== ===================================== ===========================================================
dense      W (M, K), b (M)?                      activation; x (..., K) -> (..., M), each row y = activation(W x + b)
depthwise  W (K, C), b (C)?                      activation; x (N, K, C) -> (N, C), y[n, c] =
                                                 activation(b[c] + sum over k of W[k, c] x[n, k, c])
matmul                                           two frames (..., I, K) and (..., K, J) of equal leading axes
activation                                       activation; elementwise
add sub                                          elementwise on two frames of one shape
mul div                                          max and min give NaN where one input is NaN
max min
greater                                          the same; 1 where it holds, else 0. Nothing holds for NaN, not even
less equal                                       that it equals itself
greater_equal
less_equal
where                                            three frames of one shape: where the first is 0 the third, else
                                                 (NaN too) the second
reduce                                           kind: "sum", "max", "min" or "prod"; x (A, N, B) -> (A, B).
                                                 max and min are NaN where one of the N is
affine     scale, shift: shape of x              y = x * scale + shift (a folded batch norm)
softmax                                          over the last axis
log_softmax                                      over the last axis
layer_norm scale (n)?, shift (n)?                eps; over the last axis of size n
concat                                           flattens its inputs and joins them
select     indices: any shape                    inputs flattened and joined, y.flat = x[indices]: slices, repeats,
                                                 transposes, windows. sizes: elements of each input, filled in
reshape                                          shape; same elements
embedding  table (V, D)                          ids of shape S -> (\\*S, D); an int32 input
constant   value                                 the same frame at every timestep
========== ===================================== ===========================================================

Time ops remember; their states come first in `Node.states`:

=========== ===================================== =========================================================
rnn         W (1, H, I), R (1, H, H), b (1, H)?   activations (f,), clip, reverse, masked, steps; states h
gru         W (3, H, I), R (3, H, H), b (3, H)?,  activations (gate, candidate), reset_after, clip, reverse,
            rb_n (H)? (reset_after only)          masked, steps; states h
lstm        W (4, H, I), R (4, H, P), b (4, H)?,  activations (gate, cell, out), input_forget, clip, reverse,
            peephole (3, H)? order i f o,         masked, steps; outputs h and c; states h (P), c (H)
            projection (P, H)?
state_read                                        gives its state as it was before this timestep
state_write                                       takes the state's next value; gives nothing
window                                            taps; x of shape S -> (taps, *S): row i is x_{t + taps[i]}, zeros
                                                  outside of the sequence; taps ascend, positive ones look ahead
present                                           latency; 1.0 for a frame of the sequence, 0.0 for one of a flush
=========== ===================================== =========================================================

What a stream cannot see yet, it gives later: `undertow.lookahead` rewrites windows that look ahead into causal ones
with a state (span, *S) of the last `span` frames, delays what meets their results, and adds to time ops an input of
shape (1,), the **gate**: where it is 0 the frame is none of the sequence, so a cell or register does not move (its
output is zero) and a window takes zeros.

Whole-sequence ops, legal in `Model.run` only:

=========== ===================================== =========================================================
last                                              reverse; the frame that is computed last (t = T-1, or t = 0
                                                  when reverse); in a stream: the frame so far
flip                                              reverses the order of the timesteps
=========== ===================================== =========================================================

Formulas: ONNX operator specification, RNN/GRU/LSTM; a recurrent pre-activation is (b + W x) + R h. `clip` bounds the
input of every gate's activation to [-clip, clip] (not c on its way out: ONNX Runtime and OpenVINO do not either).
`masked` stops a cell at the sequence's length: later outputs are zero and the final state is the one at the length
(ONNX sequence_lens).

A cell takes frames of shape ([L,] [B,] I) and gives h ([L,] [B,] P) and c ([L,] [B,] H):

* the axis B is that many sequences side by side, which share the weights; its states are h (B, P) and c (B, H);
* with `steps`, the leading axis L is timesteps inside one frame, walked in order, or with `reverse` from the last to
  the first (which needs no whole sequence: `reverse` is about the axis it walks). Its states are those after the last;
* without states, a cell forgets at the end of its frame: it starts from zero, or from further inputs h0 ([B,] P) and,
  of an lstm, c0 ([B,] H). It is a frame op then. Without `steps` it walks one timestep, and needs these inputs.

None of the three goes together with `masked`.

The matrices W, R and projection, and the table of an embedding, may be stored in less than float32: `Op.reducible`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

import numpy as np

from . import precision
from .activations import IDENTITY, SIGMOID, TANH, Activation
from .errors import ShapeError, UnsupportedError
from .graph import Graph, Node, Value

Outputs = list[tuple[str, Value]]


@dataclass(frozen=True)
class Op:
    """How a node of one kind is checked. `infer` fills attribute defaults and gives (suffix, value) per output."""

    infer: Callable[[Graph, Node], Outputs]
    n_inputs: int | tuple[int, ...] | None  # a tuple: one of these numbers; None: one or more
    attrs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    #: weights that `Node.precisions` may name
    reducible: tuple[str, ...] = ()


def check_precisions(node: Node) -> None:
    """Refuse precisions that do not exist, or of weights that have none to choose; drop those that say float32."""
    allowed = [key for key in CATALOGUE[node.op].reducible if key in node.weights]
    for key, name in list(node.precisions.items()):
        if key not in allowed:
            raise UnsupportedError(
                f"{node.op} {node.name!r}: {key!r} cannot be stored as {name!r}; "
                + (f"precisions are for {', '.join(allowed)}" if allowed else "it has no weight with a precision")
            )
        precision.check(name, f"{node.op} {node.name!r}: {key}")
        if key == "table" and name in precision.SPARSE_CODES:
            raise UnsupportedError(f"{node.op} {node.name!r}: a table cannot be stored as {name!r}")
        if name == "float32":
            del node.precisions[key]


def _fail(node: Node, message: str) -> NoReturn:
    raise ShapeError(f"{node.op} {node.name!r}: {message}")


def _frames(graph: Graph, node: Node, dtype: str = "float32") -> list[Value]:
    values = [graph.values[v] for v in node.inputs]
    op = CATALOGUE[node.op]
    allowed_counts = (op.n_inputs,) if isinstance(op.n_inputs, int) else op.n_inputs
    if len(values) not in allowed_counts if allowed_counts is not None else not values:
        numbers = "one or more" if allowed_counts is None else " or ".join(map(str, allowed_counts))
        _fail(node, f"takes {numbers} inputs, got {len(values)}")
    for value in values:
        if value.dtype != dtype:
            _fail(node, f"input {value.name!r} is {value.dtype}, expected {dtype}")
    for given, allowed in ((node.attrs, op.attrs), (node.weights, op.weights)):
        unknown = sorted(set(given) - set(allowed))
        if unknown:
            raise UnsupportedError(
                f"{node.op} {node.name!r}: {unknown[0]!r} is not known to this op; it knows {list(allowed)}"
            )
    return values


def _weight(node: Node, key: str, shape: tuple[int, ...], optional: bool = False) -> None:
    if key not in node.weights:
        if not optional:
            _fail(node, f"weight {key} is missing, expected shape {shape}")
    elif node.weights[key].shape != shape:
        _fail(node, f"{key} has shape {node.weights[key].shape}, expected {shape}")


def _out(shape: tuple[int, ...], *inputs: Value, dtype: str = "float32") -> Outputs:
    return [("out", Value("", shape, dtype, once=all(v.once for v in inputs)))]


def _activation(node: Node) -> None:
    act = node.attrs.setdefault("activation", IDENTITY)
    if not isinstance(act, Activation):
        raise TypeError(f"{node.op} {node.name!r}: activation must be an Activation, got {act!r}")


def _dense(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    _activation(node)
    if "W" not in node.weights or node.weights["W"].ndim != 2:
        _fail(node, "weight W of shape (outputs, inputs) is missing")
    m, k = node.weights["W"].shape
    if x.shape[-1:] != (k,):
        _fail(node, f"input {x.name!r} has shape {x.shape}, expected (..., {k}): W is {(m, k)}")
    _weight(node, "b", (m,), optional=True)
    return _out((*x.shape[:-1], m), x)


def _depthwise(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    _activation(node)
    if len(x.shape) != 3:
        _fail(node, f"input {x.name!r} has shape {x.shape}, expected (rows, taps, channels)")
    _weight(node, "W", x.shape[1:])
    _weight(node, "b", x.shape[2:], optional=True)
    return _out((x.shape[0], x.shape[2]), x)


def _matmul(graph: Graph, node: Node) -> Outputs:
    a, b = _frames(graph, node)
    fits = len(a.shape) >= 2 and len(a.shape) == len(b.shape) and a.shape[:-2] == b.shape[:-2]
    if not fits or a.shape[-1] != b.shape[-2]:
        _fail(
            node,
            f"inputs {a.name!r} {a.shape} and {b.name!r} {b.shape} cannot be multiplied; expected (..., I, K) and "
            "(..., K, J) with equal leading axes",
        )
    return _out((*a.shape[:-1], b.shape[-1]), a, b)


def _where(graph: Graph, node: Node) -> Outputs:
    values = _frames(graph, node)
    if len({v.shape for v in values}) > 1:
        _fail(node, f"inputs {', '.join(f'{v.name!r} {v.shape}' for v in values)} differ in shape")
    return _out(values[0].shape, *values)


#: kinds of `reduce`, in the order of their codes in a .tow file
REDUCTIONS = ("sum", "max", "min", "prod")


def _reduce(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    if node.attrs.get("kind") not in REDUCTIONS:
        raise UnsupportedError(
            f"{node.op} {node.name!r}: kind is {node.attrs.get('kind')!r}, expected one of {list(REDUCTIONS)}"
        )
    if len(x.shape) != 3:
        _fail(node, f"input {x.name!r} has shape {x.shape}, expected three axes, of which the second is reduced")
    return _out((x.shape[0], x.shape[2]), x)


def _unary(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    if node.op == "activation":
        _activation(node)
    return _out(x.shape, x)


def _binary(graph: Graph, node: Node) -> Outputs:
    a, b = _frames(graph, node)
    if a.shape != b.shape:
        _fail(node, f"inputs {a.name!r} {a.shape} and {b.name!r} {b.shape} differ in shape")
    return _out(a.shape, a, b)


def _affine(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    _weight(node, "scale", x.shape)
    _weight(node, "shift", x.shape)
    return _out(x.shape, x)


def _layer_norm(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    if not x.shape:
        _fail(node, "input is a scalar; layer norm needs at least one axis")
    eps = node.attrs["eps"] = float(np.float32(node.attrs.get("eps", 1e-5)))
    if not eps >= 0:
        _fail(node, f"eps is {eps}, expected at least 0")
    _weight(node, "scale", x.shape[-1:], optional=True)
    _weight(node, "shift", x.shape[-1:], optional=True)
    return _out(x.shape, x)


def _concat(graph: Graph, node: Node) -> Outputs:
    values = _frames(graph, node)
    return _out((sum(v.size for v in values),), *values)


def _select(graph: Graph, node: Node) -> Outputs:
    values = _frames(graph, node)
    sizes = node.attrs["sizes"] = tuple(v.size for v in values)
    indices = node.weights.get("indices")
    if indices is None or indices.dtype != np.int32 or indices.size == 0:
        _fail(node, "weight indices (integers, at least one) is missing")
    if indices.min() < 0 or indices.max() >= sum(sizes):
        _fail(node, f"indices reach from {indices.min()} to {indices.max()}, expected 0 to {sum(sizes) - 1}")
    return _out(indices.shape, *values)


def _reshape(graph: Graph, node: Node) -> Outputs:
    x = graph.values[node.inputs[0]]
    _frames(graph, node, x.dtype)
    shape = node.attrs["shape"] = tuple(int(n) for n in node.attrs["shape"])
    if int(np.prod(shape, dtype=np.int64)) != x.size:
        _fail(node, f"cannot give {x.shape} the shape {shape}: {x.size} elements")
    return _out(shape, x, dtype=x.dtype)


def _embedding(graph: Graph, node: Node) -> Outputs:
    (ids,) = _frames(graph, node, "int32")
    if "table" not in node.weights or node.weights["table"].ndim != 2:
        _fail(node, "weight table of shape (ids, width) is missing")
    n_ids, width = node.weights["table"].shape
    limit = n_ids if ids.n_ids is None else min(n_ids, ids.n_ids)
    graph.values[ids.name] = Value(ids.name, ids.shape, ids.dtype, ids.once, limit)
    return _out((*ids.shape, width), ids)


def _constant(graph: Graph, node: Node) -> Outputs:
    _frames(graph, node)
    return [("out", Value("", node.weights["value"].shape, once=True))]


def is_gated(node: Node) -> bool:
    """Whether the second input of a node is a gate."""
    return len(node.inputs) == 2 and (node.op == "window" or bool(node.states))


def _gated(graph: Graph, node: Node) -> list[Value]:
    """The inputs without the gate."""
    values = _frames(graph, node)
    if is_gated(node) and values[1].shape == (1,):
        values.pop()
    elif is_gated(node) and node.op in ("window", "state_write"):
        _fail(node, f"gate {values[1].name!r} has shape {values[1].shape}, expected (1,)")
    return values


def _recurrent(n_gates: int, defaults: tuple[Activation, ...]) -> Callable[[Graph, Node], Outputs]:
    def infer(graph: Graph, node: Node) -> Outputs:
        x, *starts = _gated(graph, node)
        W = node.weights.get("W")
        if W is None or W.ndim != 3 or W.shape[0] != n_gates:
            _fail(node, f"W has shape {None if W is None else W.shape}, expected ({n_gates}, hidden, inputs)")
        _, hidden, n_in = W.shape
        fed_back = hidden
        if "projection" in node.weights:
            fed_back = node.weights["projection"].shape[0]
            _weight(node, "projection", (fed_back, hidden))
        _weight(node, "R", (n_gates, hidden, fed_back))
        _weight(node, "b", (n_gates, hidden), optional=True)
        _weight(node, "rb_n", (hidden,), optional=True)
        _weight(node, "peephole", (3, hidden), optional=True)

        activations = node.attrs.setdefault("activations", defaults)
        if len(activations) != len(defaults) or not all(isinstance(a, Activation) for a in activations):
            _fail(node, f"activations are {activations!r}, expected {len(defaults)} Activation objects")
        for flag in set(CATALOGUE[node.op].attrs) - {"activations", "clip"}:
            node.attrs[flag] = bool(node.attrs.get(flag, False))
        clip = node.attrs.setdefault("clip", None)
        if clip is not None and not clip > 0:
            _fail(node, f"clip is {clip}, expected a number above 0")
        if "rb_n" in node.weights and not node.attrs["reset_after"]:
            _fail(node, "rb_n is given, but only a GRU with reset_after has a recurrent candidate bias")

        n_steps_axes = int(node.attrs["steps"])
        if len(x.shape) - n_steps_axes not in (1, 2) or x.shape[-1] != n_in:
            expected = f"(steps, {n_in}) or (steps, rows, {n_in})" if n_steps_axes else f"({n_in},) or (rows, {n_in})"
            _fail(node, f"input {x.name!r} has shape {x.shape}, expected {expected}: W is {W.shape}")
        outer, rows = x.shape[:-1], x.shape[n_steps_axes:-1]
        widths = {"h": fed_back, **({"c": hidden} if node.op == "lstm" else {})}
        if node.attrs["masked"] and (outer or not node.states):
            raise UnsupportedError(
                f"{node.op} {node.name!r}: masked goes with frames of shape ({n_in},) and states only, "
                "not with rows or steps inside of a frame"
            )
        if node.states and starts:
            _fail(
                node,
                f"has states and {len(starts)} inputs to start from, expected one of the two, or a gate (1,)",
            )
        if not node.states and not starts and not node.attrs["steps"]:
            _fail(node, f"has 0 states, expected {list(widths)}, or as many further inputs to start each frame from")
        if node.attrs["reverse"] and not node.states and not node.attrs["steps"]:
            _fail(node, "reverse is given, but a cell without states and steps has no time to walk")
        if node.states and len(node.states) != len(widths):
            _fail(node, f"has {len(node.states)} states, expected {list(widths)}")
        if starts and len(starts) != len(widths):
            _fail(node, f"has {len(starts)} inputs to start from, expected {[f'{letter}0' for letter in widths]}")
        for state, (letter, width) in zip(node.states, widths.items(), strict=False):
            shape = graph.states[state].shape
            if shape != (*rows, width):
                _fail(node, f"state {letter} ({state!r}) has shape {shape}, expected {(*rows, width)}")
        for start, (letter, width) in zip(starts, widths.items(), strict=False):
            if start.shape != (*rows, width):
                _fail(node, f"input {letter}0 ({start.name!r}) has shape {start.shape}, expected {(*rows, width)}")
        once = not node.states and x.once and all(start.once for start in starts)
        return [(letter, Value("", (*outer, width), once=once)) for letter, width in widths.items()]

    return infer


def _state_read(graph: Graph, node: Node) -> Outputs:
    _frames(graph, node)
    if len(node.states) != 1:
        _fail(node, f"has {len(node.states)} states, expected 1")
    return [("out", Value("", graph.states[node.states[0]].shape))]


def _state_write(graph: Graph, node: Node) -> Outputs:
    (x,) = _gated(graph, node)
    if len(node.states) != 1:
        _fail(node, f"has {len(node.states)} states, expected 1")
    if graph.states[node.states[0]].shape != x.shape:
        _fail(node, f"input {x.name!r} has shape {x.shape}, expected {graph.states[node.states[0]].shape}")
    return []


def _last(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    node.attrs["reverse"] = bool(node.attrs.get("reverse", False))
    node.attrs["masked"] = bool(node.attrs.get("masked", False))
    return [("out", Value("", x.shape, once=True))]


def _flip(graph: Graph, node: Node) -> Outputs:
    (x,) = _frames(graph, node)
    return [("out", Value("", x.shape, once=x.once))]


#: the furthest that a window may reach; a state of so many frames
MAX_TAP = 1 << 20


def _window(graph: Graph, node: Node) -> Outputs:
    (x,) = _gated(graph, node)
    taps = node.attrs["taps"] = tuple(int(t) for t in node.attrs.get("taps", ()))
    if not taps or any(b <= a for a, b in pairwise(taps)):
        _fail(node, f"taps are {taps}, expected one or more offsets in frames, ascending")
    if max(-taps[0], taps[-1]) > MAX_TAP:
        _fail(node, f"taps reach from {taps[0]} to {taps[-1]}, expected at most {MAX_TAP} frames")
    if len(x.shape) > 7:
        _fail(node, f"input {x.name!r} has {len(x.shape)} axes, expected at most 7")
    if node.states:
        span = -taps[0]
        if taps[-1] > 0 or span <= 0 or len(node.states) != 1:
            _fail(node, f"has {len(node.states)} states; one is for taps in the past alone, got taps {taps}")
        if graph.states[node.states[0]].shape != (span, *x.shape):
            shape = graph.states[node.states[0]].shape
            _fail(node, f"state {node.states[0]!r} has shape {shape}, expected {(span, *x.shape)}")
    return [("out", Value("", (len(taps), *x.shape)))]


def _present(graph: Graph, node: Node) -> Outputs:
    _frames(graph, node)
    latency = node.attrs["latency"] = int(node.attrs.get("latency", 0))
    if not 0 <= latency <= MAX_TAP:
        _fail(node, f"latency is {latency}, expected 0 to {MAX_TAP} frames")
    return [("out", Value("", (1,)))]


#: elementwise ops of two inputs, in the order of their codes in a .tow file
BINARY = (
    *("add", "sub", "mul", "div", "max", "min"),
    *("greater", "less", "equal", "greater_equal", "less_equal"),
)

_CELL = ("activations", "clip", "reverse", "masked", "steps")

CATALOGUE: dict[str, Op] = {
    "dense": Op(_dense, 1, ("activation",), ("W", "b"), ("W",)),
    "activation": Op(_unary, 1, ("activation",)),
    "depthwise": Op(_depthwise, 1, ("activation",), ("W", "b")),
    "matmul": Op(_matmul, 2),
    **{op: Op(_binary, 2) for op in BINARY},
    "where": Op(_where, 3),
    "reduce": Op(_reduce, 1, ("kind",)),
    "affine": Op(_affine, 1, (), ("scale", "shift")),
    "softmax": Op(_unary, 1),
    "log_softmax": Op(_unary, 1),
    "layer_norm": Op(_layer_norm, 1, ("eps",), ("scale", "shift")),
    "concat": Op(_concat, None),
    "select": Op(_select, None, ("sizes",), ("indices",)),
    "reshape": Op(_reshape, 1, ("shape",)),
    "embedding": Op(_embedding, 1, (), ("table",), ("table",)),
    "constant": Op(_constant, 0, (), ("value",)),
    "rnn": Op(_recurrent(1, (TANH,)), (1, 2), _CELL, ("W", "R", "b"), ("W", "R")),
    "gru": Op(_recurrent(3, (SIGMOID, TANH)), (1, 2), (*_CELL, "reset_after"), ("W", "R", "b", "rb_n"), ("W", "R")),
    "lstm": Op(
        _recurrent(4, (SIGMOID, TANH, TANH)),
        (1, 2, 3),
        (*_CELL, "input_forget"),
        ("W", "R", "b", "peephole", "projection"),
        ("W", "R", "projection"),
    ),
    "state_read": Op(_state_read, 0),
    "state_write": Op(_state_write, (1, 2)),
    "window": Op(_window, (1, 2), ("taps",)),
    "present": Op(_present, 0, ("latency",)),
    "last": Op(_last, 1, ("reverse", "masked")),
    "flip": Op(_flip, 1),
}
