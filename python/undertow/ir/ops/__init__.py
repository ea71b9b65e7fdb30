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

What a stream cannot see yet, it gives later: `undertow.passes.latency` makes windows that look ahead into causal ones
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

from ...errors import UnsupportedError
from .. import precision
from ..activations import SIGMOID, TANH
from ..nodes import Node, Scope
from . import frames, time
from .checks import Outputs, fail
from .frames import REDUCTIONS as REDUCTIONS
from .time import MAX_TAP as MAX_TAP
from .time import is_gated as is_gated


@dataclass(frozen=True)
class Op:
    """How a node of one kind is checked."""

    #: fills the defaults of attributes and gives (suffix, value) for each output
    infer: Callable[[Scope, Node], Outputs]
    n_inputs: int | tuple[int, ...] | None  # a tuple: one of these numbers; None: one or more
    attrs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    #: weights that `Node.precisions` may name
    reducible: tuple[str, ...] = ()


#: elementwise ops of two inputs, in the order of their codes in a .tow file
BINARY = (
    *("add", "sub", "mul", "div", "max", "min"),
    *("greater", "less", "equal", "greater_equal", "less_equal"),
)

_CELL = ("activations", "clip", "reverse", "masked", "steps")

CATALOGUE: dict[str, Op] = {
    "dense": Op(frames.dense, 1, ("activation",), ("W", "b"), ("W",)),
    "activation": Op(frames.unary, 1, ("activation",)),
    "depthwise": Op(frames.depthwise, 1, ("activation",), ("W", "b")),
    "matmul": Op(frames.matmul, 2),
    **{op: Op(frames.binary, 2) for op in BINARY},
    "where": Op(frames.where, 3),
    "reduce": Op(frames.reduce, 1, ("kind",)),
    "affine": Op(frames.affine, 1, (), ("scale", "shift")),
    "softmax": Op(frames.unary, 1),
    "log_softmax": Op(frames.unary, 1),
    "layer_norm": Op(frames.layer_norm, 1, ("eps",), ("scale", "shift")),
    "concat": Op(frames.concat, None),
    "select": Op(frames.select, None, ("sizes",), ("indices",)),
    "reshape": Op(frames.reshape, 1, ("shape",)),
    "embedding": Op(frames.embedding, 1, (), ("table",), ("table",)),
    "constant": Op(frames.constant, 0, (), ("value",)),
    "rnn": Op(time.recurrent(1, (TANH,)), (1, 2), _CELL, ("W", "R", "b"), ("W", "R")),
    "gru": Op(
        time.recurrent(3, (SIGMOID, TANH), "reset_after"),
        (1, 2),
        (*_CELL, "reset_after"),
        ("W", "R", "b", "rb_n"),
        ("W", "R"),
    ),
    "lstm": Op(
        time.recurrent(4, (SIGMOID, TANH, TANH), "input_forget"),
        (1, 2, 3),
        (*_CELL, "input_forget"),
        ("W", "R", "b", "peephole", "projection"),
        ("W", "R", "projection"),
    ),
    "state_read": Op(time.state_read, 0),
    "state_write": Op(time.state_write, (1, 2)),
    "window": Op(time.window, (1, 2), ("taps",)),
    "present": Op(time.present, 0, ("latency",)),
    "last": Op(time.last, 1, ("reverse", "masked")),
    "flip": Op(time.flip, 1),
}


def infer(graph: Scope, node: Node) -> Outputs:
    """Check a node, fill the defaults of its attributes, and give a (suffix, value) for each of its outputs.

    Raises:
        ShapeError: an input, weight or attribute does not fit.
        UnsupportedError: an attribute or a weight that the op does not know, or a setting that it does not have.
    """
    op, n = CATALOGUE[node.op], len(node.inputs)
    allowed_counts = (op.n_inputs,) if isinstance(op.n_inputs, int) else op.n_inputs
    if n not in allowed_counts if allowed_counts is not None else n == 0:
        numbers = "one or more" if allowed_counts is None else " or ".join(map(str, allowed_counts))
        fail(node, f"takes {numbers} inputs, got {n}")
    for given, allowed in ((node.attrs, op.attrs), (node.weights, op.weights)):
        unknown = sorted(set(given) - set(allowed))
        if unknown:
            raise UnsupportedError(
                f"{node.op} {node.name!r}: {unknown[0]!r} is not known to this op; it knows {list(allowed)}"
            )
    return op.infer(graph, node)


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
