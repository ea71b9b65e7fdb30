# SPDX-License-Identifier: MIT
"""Every node of a graph by itself: from the values that the engine gave it, what the engine may give back.

Written from the catalogue of ops (undertow/ir/ops). `expected` gives a `bounds.Ball` for each output; what
tests/oracle.py covers, `by_oracle` computes a second time, on some of the frames.
"""

from math import prod
from typing import NamedTuple

import numpy as np

import oracle
import oracle_precision
from bounds import (
    Ball,
    Cell,
    Floats,
    Integers,
    activation,
    add,
    div,
    exact,
    filtered,
    mul,
    mul_add,
    normal,
    rounded,
    total,
)
from programs import balls
from random_cells import CELLS
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph, Node
from undertow.ir.precision import INTEGERS, numbers, quantise

#: ops that hand numbers on as they are, subnormal ones too
MOVE = ("concat", "select", "reshape", "constant")
#: ONNX's gate order out of undertow's
TO_ONNX = {"rnn": [0], "gru": [0, 1, 2], "lstm": [0, 3, 1, 2]}
SQRT, EXP, LOG = (Activation(kind) for kind in ("sqrt", "exp", "log"))


def matrix_of(W: np.ndarray, precision: str, smoothing: np.ndarray | None = None):
    """A matrix (rows, K) whose numbers are those of a file; smoothing: exponents (K,) of its columns."""
    if numbers(precision) not in INTEGERS:
        return Floats(W)
    factors = None if smoothing is None else 2.0 ** -smoothing.astype(np.float64)
    q = quantise(W if factors is None else (W / factors).astype(np.float32), numbers(precision))
    scale = q.scale[:, None] if q.scale.ndim == 1 else q.scale
    sums = (oracle_precision.int16_limit(W.shape[-1]), 256) if precision == "int16" else (127, 1 << 17)
    return Integers(q.q, scale, *sums, factors)


def matrices(node: Node):
    """weight key, gate -> matrix, for a cell."""

    def matrix(key: str, gate: int | None):
        W = node.weights[key] if gate is None else node.weights[key][gate]
        return matrix_of(W, node.precisions.get(key, "float32"), node.smoothing.get(key))

    return matrix


class Truths:
    """A graph that the engine has run, and every value in it.

    Args:
        values: by name; (T, *frame), or (*frame) of what is given once. Where the graph looks ahead, T counts the
            frames of a flush too.
        n_present: frames of the sequence.
    """

    def __init__(self, graph: Graph, values: dict[str, np.ndarray], n_present: int) -> None:
        self.graph, self.values = graph, values
        self.T, self.n_present = n_present + graph.latency, n_present
        self.streamable = not graph.whole_sequence_nodes()

    def in_time(self, name: str) -> bool:
        return self.values[name].ndim > len(self.graph.shape(name))

    def over_time(self, name: str) -> np.ndarray:
        x = self.values[name]
        x = x if x.dtype == np.int32 else x.astype(np.float64)
        return x if self.in_time(name) else np.broadcast_to(x, (self.T, *x.shape))

    def expected(self, node: Node) -> list[Ball]:
        once = not all(self.in_time(v) for v in node.outputs)
        if node.op in CELLS:
            return self._cell(node, once)
        if node.op == "expression":
            return self._expression(node, once)
        if node.op in ("last", "flip"):
            return [exact(self._whole(node))]
        if node.op in ("window", "state_read", "present"):
            return [exact(getattr(self, f"_{node.op}")(node))]
        xs = [self.values[v][None] if once else self.over_time(v) for v in node.inputs]
        if node.op != "embedding":
            xs = [exact(x if node.op in MOVE else normal(x)) for x in xs]
        y = frame_op(node, xs, 1 if once else self.T)
        return [y[0] if once else y]

    # -- time ---------------------------------------------------------------------------------------------------------

    def is_open(self, node: Node) -> np.ndarray:
        """(T,) which frames belong to the sequence of a node with a gate."""
        gated = len(node.inputs) == 2 and (node.op == "window" or bool(node.states)) and node.op != "expression"
        return normal(self.over_time(node.inputs[1])[:, 0]) != 0 if gated else np.ones(self.T, bool)

    def _present(self, node: Node) -> np.ndarray:
        return (np.arange(self.T) < self.n_present)[:, None].astype(np.float64)

    def _whole(self, node: Node) -> np.ndarray:
        x = self.values[node.inputs[0]].astype(np.float64)
        if not self.in_time(node.inputs[0]) or (node.op == "last" and self.streamable):
            return x
        return x[::-1] if node.op == "flip" else x[0 if node.attrs["reverse"] else -1]

    def _window(self, node: Node) -> np.ndarray:
        x, taps = self.over_time(node.inputs[0]).copy(), node.attrs["taps"]
        x[~self.is_open(node)] = 0
        before, after = max(0, -taps[0]), max(0, taps[-1])
        start = np.zeros((before, *x.shape[1:]))
        if node.states and self.graph.states[node.states[0]].init is not None:
            start += self.graph.states[node.states[0]].init
        seen = np.concatenate([start, x, np.zeros((after, *x.shape[1:]))])
        return np.stack([seen[before + tap : before + tap + self.T] for tap in taps], axis=1)

    def _before(self, start: np.ndarray, after: np.ndarray, is_open: np.ndarray) -> np.ndarray:
        """What a state was before each timestep, given what it would be after each."""
        now, before = start, []
        for t in range(self.T):
            before.append(now)
            now = after[t] if is_open[t] else now
        return np.array(before).reshape(self.T, *start.shape)

    def _expression(self, node: Node, once: bool) -> list[Ball]:
        """Its states go with it through time: whoever gave their numbers has not said them."""
        program, shapes = node.attrs["program"], node.attrs["shapes"]
        gated = len(node.inputs) > program.count(0)
        names = node.inputs[:-1] if gated else node.inputs
        xs = [self.values[v][None] if once else self.over_time(v) for v in names]
        xs = [exact(normal(x).reshape(len(x), -1)) for x in xs]
        sizes = [prod(shape) for shape in shapes]
        if not node.states:
            given, _ = balls(program, xs, [], sizes)
        else:
            open_ = normal(self.over_time(node.inputs[-1])[:, 0]) != 0 if gated else np.ones(self.T, bool)
            states = [exact(self._start(s).reshape(1, -1)) for s in node.states]
            rows: list[list[Ball]] = []
            for t in range(self.T):
                y, after = balls(program, [x[t : t + 1] for x in xs], states, sizes)
                states = after if open_[t] else states
                rows.append(y if open_[t] else [exact(np.zeros((1, n))) for n in sizes])
            given = [
                Ball(np.concatenate([row[i].v for row in rows]), np.concatenate([row[i].e for row in rows]))
                for i in range(len(sizes))
            ]
        shaped = [y.reshape(len(y.v), *shape) for y, shape in zip(given, shapes, strict=True)]
        return [y[0] for y in shaped] if once else shaped

    def _start(self, name: str) -> np.ndarray:
        state = self.graph.states[name]
        return np.zeros(state.shape) if state.init is None else state.init.astype(np.float64)

    def _state_read(self, node: Node) -> np.ndarray:
        writer = next((n for n in self.graph.nodes if n.op == "state_write" and n.states == node.states), None)
        start = self._start(node.states[0])
        if writer is None:
            return np.broadcast_to(start, (self.T, *start.shape))
        return self._before(start, self.over_time(writer.inputs[0]), self.is_open(writer))

    # -- cells --------------------------------------------------------------------------------------------------------

    def walked(self, node: Node, once: bool) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Every timestep of every row: x (N, I), the states before it (N, .) each, and which frames are open."""
        steps, back = node.attrs["steps"], node.attrs["reverse"]
        frames = (lambda v: self.values[v].astype(np.float64)[None]) if once else self.over_time
        x = frames(node.inputs[0])
        is_open = np.ones(1, bool) if once else self.is_open(node)
        x = x if steps else x[:, None]
        x = x if x.ndim == 4 else x[:, :, None]  # (T, L, B, I)
        T, L, B, _ = x.shape
        found = []
        for i, value in enumerate(node.outputs):
            after = frames(value).reshape(T, L, B, -1)
            ends = after[:, 0 if back and steps else -1]
            if node.states:
                start = self._start(node.states[i]).reshape(B, -1)
                turn = slice(None, None, -1 if back and not steps else 1)
                starts = self._before(start, ends[turn], is_open[turn])[turn]
            elif len(node.inputs) > 1:
                starts = frames(node.inputs[1 + i]).reshape(T, B, -1)
            else:
                starts = np.zeros(ends.shape)
            if steps:
                parts = [after[:, 1:], starts[:, None]] if back else [starts[:, None], after[:, :-1]]
                found.append(np.concatenate(parts, axis=1))
            else:
                found.append(starts[:, None])
        return x.reshape(T * L * B, -1), [s.reshape(T * L * B, -1) for s in found], np.repeat(is_open, L * B)

    def _cell(self, node: Node, once: bool) -> list[Ball]:
        x, before, is_open = self.walked(node, once)
        made = Cell(node.op, node.attrs, node.weights, matrices(node)).step(exact(x), *map(exact, before))
        found = []
        for name, ball in zip(node.outputs, made, strict=True):
            shut = ~is_open[:, None]
            ball = Ball(np.where(shut, 0.0, ball.v), np.where(shut, 0.0, ball.e))
            found.append(ball.reshape(*self.values[name].shape))
        return found


def frame_op(node: Node, xs: list, n: int) -> Ball:
    """A frame op on n frames."""
    w, attrs, op = node.weights, node.attrs, node.op
    if op == "constant":
        return exact(np.broadcast_to(w["value"], (n, *w["value"].shape)))
    if op == "embedding":
        return exact(w["table"][xs[0]])
    if op in ("concat", "select"):
        joined = np.concatenate([x.v.reshape(n, -1) for x in xs], axis=1)
        return exact(joined if op == "concat" else joined[:, w["indices"]])
    if op == "reshape":
        return xs[0].reshape(n, *attrs["shape"])
    if op == "where":
        return exact(np.where(xs[0].v == 0, xs[2].v, xs[1].v))
    if op in EXACT:
        return exact(EXACT[op](xs[0].v, xs[1].v))
    if op in ("add", "sub"):
        return add(*xs, 1.0 if op == "add" else -1.0)
    if op in ("mul", "div"):
        return (mul if op == "mul" else div)(*xs)
    if op == "matmul":
        A, B = np.abs(xs[0].v), np.abs(xs[1].v)
        return rounded(xs[0].v @ xs[1].v, 0.0, A @ B, A.shape[-1] + 1)
    if op == "attend":
        return _attend(node, xs, n)
    return _of_one(node, xs[0])


EXACT = {
    "max": np.maximum,
    "min": np.minimum,
    "greater": lambda a, b: (a > b).astype(float),
    "less": lambda a, b: (a < b).astype(float),
    "equal": lambda a, b: (a == b).astype(float),
    "greater_equal": lambda a, b: (a >= b).astype(float),
    "less_equal": lambda a, b: (a <= b).astype(float),
}


def _of_one(node: Node, x: Ball) -> Ball:
    w, attrs, op = node.weights, node.attrs, node.op
    if op == "dense":
        matrix = matrix_of(w["W"], node.precisions.get("W", "float32"), node.smoothing.get("W"))
        y = matrix.times(x.reshape(-1, x.v.shape[-1]), w.get("b", 0.0))
        return activation(attrs["activation"], y.reshape(*x.v.shape[:-1], -1))
    if op == "depthwise" and node.precisions:
        q = quantise(np.ascontiguousarray(w["W"].T), node.precisions["W"])
        y = filtered(q.q.T.astype(np.float64), q.scale, x.v, w.get("b", 0.0), oracle_precision.int16_limit(len(w["W"])))
        return activation(attrs["activation"], y)
    if op == "depthwise":
        terms, b = x.v * w["W"], w.get("b", 0.0)
        magnitude = np.abs(terms).sum(axis=2) + np.abs(b)
        return activation(attrs["activation"], rounded(terms.sum(axis=2) + b, 0.0, magnitude, len(w["W"]) + 1))
    if op == "activation":
        return activation(attrs["activation"], x)
    if op == "affine":
        return mul_add(x, exact(np.broadcast_to(w["scale"], x.v.shape)), exact(np.broadcast_to(w["shift"], x.v.shape)))
    if op == "reduce":
        if attrs["kind"] == "sum":
            return total(x, 2)[:, :, 0]
        if attrs["kind"] == "prod":
            largest = np.multiply.accumulate(np.maximum(np.abs(x.v), 1.0), axis=2)[:, :, -1]
            y = rounded(x.v.prod(axis=2), 0.0, n=1.01 * x.v.shape[2])
            return Ball(y.v, np.where(largest < 1e17, y.e + TINY_PRODUCT * largest, np.inf))
        return exact((x.v.max if attrs["kind"] == "max" else x.v.min)(axis=2))
    if op in ("softmax", "log_softmax"):
        return _softmax(x, op == "log_softmax")
    assert op == "layer_norm", f"no truth for {op}"
    n = exact(np.float64(x.v.shape[-1]))
    centred = add(x, div(total(x, -1), n), -1.0)
    variance = add(div(total(mul(centred, centred), -1), n), exact(np.float64(attrs["eps"])))
    y = mul(centred, div(exact(np.ones(variance.v.shape)), activation(SQRT, variance)))
    y = mul(y, exact(w["scale"].astype(np.float64))) if "scale" in w else y
    return add(y, exact(w["shift"].astype(np.float64))) if "shift" in w else y


def _softmax(x: Ball, log: bool = False) -> Ball:
    far = rounded(x.v - x.v.max(axis=-1, keepdims=True), 2 * x.e.max(axis=-1, keepdims=True))
    powers = activation(EXP, far)
    return add(far, activation(LOG, total(powers, -1)), -1.0) if log else div(powers, total(powers, -1))


def _attend(node: Node, xs: list[Ball], n: int) -> Ball:
    """Attention in the words of FORMAT.md, one head after another."""
    attrs, results = node.attrs, []
    heads, shared, rows = attrs["heads"], attrs["shared"], attrs["rows"]
    flat = [x.v.reshape(n, -1) for x in xs]

    def lying(x: np.ndarray, places: tuple[int, int, int], head: int, width: int) -> np.ndarray:
        starts = [places[0] + head * places[2] + j * places[1] for j in range(rows)]
        return np.stack([x[:, start : start + width] for start in starts], axis=1)

    for h in range(heads):
        of_keys = h // (heads // shared)
        width = attrs["key_width"]
        q = flat[0][:, h * width : (h + 1) * width]
        terms = q[:, None] * lying(flat[1], attrs["key_places"], of_keys, width)
        score = rounded(terms.sum(-1), 0.0, np.abs(terms).sum(-1), width + 1)
        score = mul(score, exact(np.float64(attrs["scale"])))
        if attrs["cap"]:
            cap = exact(np.float64(attrs["cap"]))
            score = mul(cap, activation(Activation("tanh"), div(score, cap)))
        if len(flat) == 4:
            score = add(score, exact(flat[3].reshape(n, -1, rows)[:, h % (flat[3].shape[1] // rows)]))
        share = _softmax(score)
        v = lying(flat[2], attrs["value_places"], of_keys, attrs["value_width"])
        products = share.v[:, :, None] * v
        off = (share.e[:, :, None] * np.abs(v)).sum(1)
        results.append(rounded(products.sum(1), off, np.abs(products).sum(1) + off, rows + 1))
    return Ball(np.stack([r.v for r in results], 1), np.stack([r.e for r in results], 1))


#: what a factor that was flushed may take from a product whose other factors are as large as they get
TINY_PRODUCT = 2.0**-120


# -- the oracle -------------------------------------------------------------------------------------------------------


Rows = list[tuple[int, list[np.ndarray]]]


def judged_rows(truths: Truths, node: Node, balls: list[Ball]) -> np.ndarray:
    """Which rows of a node (frames, or steps of a cell) have numbers alone, and bounds."""
    good = []
    for name, ball in zip(node.outputs, balls, strict=True):
        width = truths.graph.shape(name)[-1:] if node.op in CELLS else truths.graph.shape(name)
        e = np.broadcast_to(ball.e + 0 * ball.v, truths.values[name].shape).reshape(-1, prod(width))
        good.append(np.isfinite(e).all(axis=1))
    judged = np.all(good, axis=0)
    for name in node.inputs if node.op not in CELLS else ():  # float64 computes with what float32 takes for zero
        x = truths.values[name]
        tiny = (x != 0) & (np.abs(x) < 2.0**-126)
        judged = judged & (~tiny.reshape(len(x), -1).any(axis=1) if truths.in_time(name) else not tiny.any())
    return judged


def by_oracle(truths: Truths, node: Node, judged: np.ndarray, rng: np.random.Generator, most: int) -> Rows:
    """(row, outputs of it) for up to `most` rows of what the oracle covers; a row is a frame, or a step of a cell."""
    integers = any(numbers(p) in INTEGERS for p in node.precisions.values())
    if node.op in CELLS:
        x, before, is_open = truths.walked(node, False)
        rows = rng.permutation(np.flatnonzero(is_open & judged))[: 1 if integers else most]
        if integers:
            size = sum(prod(w.shape[:-1]) for key, w in node.weights.items() if key in ("W", "R", "projection"))
            plain = {key: numbers(name) for key, name in node.precisions.items()}
            attrs = node.attrs | {"activations": [Spec(*_spec(a)) for a in node.attrs["activations"]]}
            step = oracle_precision.Cell(node.op, node.weights, attrs, plain, node.smoothing).step
            return [(t, list(step(x[t], *(s[t] for s in before)))) for t in rows if size <= 200]
        return [(t, _onnx_step(node, x[t], [s[t] for s in before])) for t in rows]
    if node.op not in ONE_INPUT or integers or node.op == "embedding":
        return []
    x = truths.over_time(node.inputs[0])
    rows = rng.permutation(np.flatnonzero(judged))[:most]
    return [(t, [ONE_INPUT[node.op](node, x[t])]) for t in rows]


class Spec(NamedTuple):
    kind: str
    alpha: float
    beta: float


def _spec(act: Activation) -> tuple:
    """As the oracle names it: an elu with beta is ONNX's Selu."""
    return "selu" if act.kind == "elu" and act.beta != 1 else act.kind, act.alpha, act.beta


ONE_INPUT = {
    "dense": lambda node, x: oracle.dense(x, node.weights["W"], node.weights.get("b"), _spec(node.attrs["activation"])),
    "activation": lambda node, x: oracle.activation(_spec(node.attrs["activation"]))(x),
    "softmax": lambda node, x: oracle.softmax(x),
    "log_softmax": lambda node, x: oracle.log_softmax(x),
    "layer_norm": lambda node, x: oracle.layer_norm(
        x, node.weights.get("scale"), node.weights.get("shift"), node.attrs["eps"]
    ),
    "embedding": lambda node, x: oracle.embedding(x, node.weights["table"]),
}


def _onnx_step(node: Node, x: np.ndarray, before: list[np.ndarray]) -> list[np.ndarray]:
    """One timestep of a cell as the oracle's ONNX operator."""
    w, attrs, order = node.weights, node.attrs, TO_ONNX[node.op]
    G, H = w["W"].shape[:2]
    gates = lambda a: np.asarray(a, np.float64)[order].reshape(1, G * H, *a.shape[2:])  # noqa: E731
    bias = np.zeros((2, G, H))
    bias[0] = w.get("b", 0.0)
    if "rb_n" in w:
        bias[1, 2] = w["rb_n"]
    options = {"clip": attrs["clip"], "activations": [_spec(a) for a in attrs["activations"]]}
    options["B"] = np.concatenate([bias[0][order].reshape(-1), bias[1][order].reshape(-1)])[None]
    options |= {f"{letter}0": s[None, None] for letter, s in zip("hc", before, strict=False)}
    if node.op == "gru":
        options["linear_before_reset"] = int(attrs["reset_after"])
    if node.op == "lstm":
        options["input_forget"] = int(attrs["input_forget"])
        options["peephole"] = w["peephole"][[0, 2, 1]].reshape(1, -1) if "peephole" in w else None
        options["projection"] = w["projection"][None] if "projection" in w else None
    _, *ends = getattr(oracle, node.op)(x[None, None], gates(w["W"]), gates(w["R"]), **options)
    return [end[0, 0] for end in ends]
