# SPDX-License-Identifier: MIT
"""Write the small .tow files of tests/data/tow: between them every op, cell variant and activation.

    python tests/cpp/make_models.py [FOLDER]        (needs the installed package)

Weights are multiples of 2^-12 from integer arithmetic, so the files are the same wherever they are made;
test_fixtures.py holds the committed ones to that. Sizes are odd on purpose, and as small as they can be: test_format
flips every byte of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from undertow.compile import compile_graph
from undertow.ir import superframes
from undertow.ir.activations import KINDS, Activation
from undertow.ir.graph import Graph, Value
from undertow.ir.ops.programs import (
    CODES,
    INPUT,
    LAST,
    OUTPUT,
    STATE,
    Instruction,
    Operand,
    Program,
    dense_strides,
    reduced_axis,
)

FOLDER = Path(__file__).parents[1] / "data" / "tow"
MODELS: dict[str, Callable[[Graph], None]] = {}


def model(build: Callable[[Graph], None]) -> Callable[[Graph], None]:
    MODELS[build.__name__] = build
    return build


class Weights:
    """splitmix64, cut to 13 bits."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def next(self) -> float:
        mask = 2**64 - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return (((z ^ (z >> 31)) >> 51) - 4096) / 4096  # in [-1, 1)

    def __call__(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        flat = [self.next() * scale for _ in range(int(np.prod(shape)))]
        return np.array(flat, np.float32).reshape(shape)


def cell(
    g: Graph, op: str, x: str, hidden: int, seed: int, *, fed_back: int | None = None, **more: object
) -> tuple[str, ...]:
    """Add a recurrent layer.

    `more` are attrs; bools for the optional weights bias, peephole and initial states; or `given`, values that each
    frame starts from in place of states.
    """
    w, fed_back = Weights(seed), fed_back or hidden
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[op]
    shape, given = g.shape(x), more.pop("given", None)
    n_in, rows = shape[-1], shape[bool(more.get("steps")) : -1]
    weights = {"W": w(gates, hidden, n_in), "R": w(gates, hidden, fed_back, scale=2.0 / hidden)}
    if more.pop("bias", True):
        weights["b"] = w(gates, hidden)
    if more.pop("peephole", False):
        weights["peephole"] = w(3, hidden)
    if fed_back != hidden:
        weights["projection"] = w(fed_back, hidden)
    if more.get("reset_after"):
        weights["rb_n"] = w(hidden)
    initial = more.pop("initial", False)
    name = g.unique_name(op)
    states = []
    for letter, n in zip("hc", (fed_back, hidden) if op == "lstm" else (hidden,), strict=False):
        if given is None:
            states.append(g.state(f"{name}.{letter}", (*rows, n), w(*rows, n) if initial else None))
    outputs = g.add(op, [x, *(given or ())], name=name, attrs=more, weights=weights, states=states)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def dense(g: Graph, x: str, rows: int, seed: int, activation: str = "identity", bias: bool = True) -> str:
    w = Weights(seed)
    weights = {"W": w(rows, g.values[x].size)}
    if bias:
        weights["b"] = w(rows)
    return g.add("dense", [x], attrs={"activation": Activation(activation)}, weights=weights)


@model
def rnn(g: Graph) -> None:
    (h,) = cell(g, "rnn", g.input("x", 2), 3, 1)
    g.output("y", h)


@model
def gru_reset_after(g: Graph) -> None:
    (h,) = cell(g, "gru", g.input("x", 2), 3, 2, reset_after=True, initial=True)
    g.output("y", dense(g, h, 2, 3, "sigmoid"))


@model
def gru_reset_before(g: Graph) -> None:
    (h,) = cell(g, "gru", g.input("x", 2), 3, 4, bias=False)
    g.output("y", dense(g, h, 2, 5, "hard_sigmoid", bias=False))


@model
def lstm(g: Graph) -> None:
    h, c = cell(g, "lstm", g.input("x", 2), 3, 6)
    g.output("h", h)
    g.output("c", c)


@model
def lstm_options(g: Graph) -> None:
    acts = (Activation("hard_sigmoid"), Activation("softsign"), Activation("scaled_tanh", 1.5, 0.5))
    options = {"peephole": True, "initial": True, "input_forget": True, "clip": 2.0, "activations": acts}
    h, _ = cell(g, "lstm", g.input("x", 2), 3, 7, fed_back=2, **options)
    g.output("y", h)


@model
def text(g: Graph) -> None:
    """Two ids a timestep, an embedding, a residual GRU and a distribution."""
    ids = g.input("ids", 2, "int32")
    g.values["ids"] = Value("ids", (2,), "int32", False, 5)
    e = g.add("embedding", [ids], weights={"table": Weights(8)(5, 2)})
    x = g.add("reshape", [e], attrs={"shape": (4,)})
    (h,) = cell(g, "gru", x, 4, 9)
    y = g.add("add", [h, x])
    y = g.add("layer_norm", [y], weights={"scale": Weights(10)(4), "shift": Weights(11)(4)})
    g.output("p", g.add("softmax", [dense(g, y, 5, 12)]))


@model
def every_op(g: Graph) -> None:
    """Every op that streams, two inputs and two outputs; `rows` has those over frames of several axes."""
    x, ids = g.input("x", 3), g.input("id", (), "int32")
    g.values["id"] = Value("id", (), "int32", False, 4)
    (h,) = cell(g, "rnn", x, 2, 20, activations=(Activation("clip", -2.0, 2.0),))
    alpha_beta = {"clip": (-1.0, 1.0)}
    acts = [Activation(kind, *alpha_beta.get(kind, (0.5, 0.25))) for kind in KINDS if KINDS[kind][0] < 15]
    parts = [g.add("activation", [h], attrs={"activation": act}) for act in acts]
    wide = g.add("concat", [*parts, g.add("embedding", [ids], weights={"table": Weights(40)(4, 3)})])
    assert g.values[wide].size == 33
    picked = g.add("select", [wide], weights={"indices": np.arange(32, -1, -1, dtype=np.int32)})
    shape = (3, 11)
    vector = lambda seed: Weights(seed)(*shape)  # noqa: E731
    normal = g.add("layer_norm", [g.add("reshape", [picked], attrs={"shape": shape})], attrs={"eps": 1e-3})
    a = g.add("log_softmax", [g.add("affine", [normal], weights={"scale": vector(41), "shift": vector(42)})])
    b = g.add("constant", weights={"value": vector(43)})
    c = g.add("sub", [g.add("mul", [a, b]), normal])
    a = g.add("min", [g.add("max", [a, c]), g.add("add", [c, b])])
    a = g.add("div", [a, g.add("constant", weights={"value": np.full(shape, 4.0, np.float32)})])
    flat = dense(g, g.add("reshape", [a], attrs={"shape": (33,)}), 6, 49, "tanh")
    (h,) = cell(g, "gru", flat, 5, 44, reset_after=True)
    (h,) = cell(g, "gru", h, 4, 45)
    h, _ = cell(g, "lstm", h, 5, 46, peephole=True)
    held = g.state("held", (5,), Weights(47)(5))
    before = g.add("state_read", states=[held])
    mixed = g.add("activation", [g.add("add", [before, h])], attrs={"activation": Activation("tanh")})
    g.add("state_write", [mixed], states=[held])
    g.output("y", g.add("softmax", [dense(g, mixed, 4, 48, "softplus")]))
    g.output("last", g.add("last", [before]))


@model
def ahead(g: Graph) -> None:
    """A convolution along time that looks ahead; a cell and a register behind it, and an input that waits for them."""
    x = g.input("x", 2)
    window = g.add("window", [x], attrs={"taps": (-1, 0, 1)})
    (h,) = cell(g, "gru", dense(g, g.add("reshape", [window], attrs={"shape": (6,)}), 2, 140, "tanh"), 2, 141)
    held = g.state("held", (2,), Weights(142)(2))
    y = g.add(
        "activation", [g.add("add", [g.add("state_read", states=[held]), h])], attrs={"activation": Activation("tanh")}
    )
    g.add("state_write", [y], states=[held])
    g.output("y", g.add("mul", [y, x]))


@model
def whole(g: Graph) -> None:
    """A bidirectional, masked pair and both ops of whole sequences: cannot be streamed."""
    x = g.input("x", 2)
    h, _ = cell(g, "lstm", x, 3, 60, masked=True)
    r, c = cell(g, "lstm", x, 3, 61, reverse=True, masked=True)
    both = g.add("concat", [h, g.add("flip", [r])])
    g.output("y", dense(g, both, 2, 62, "tanh"))
    g.output("forward", g.add("last", [h], attrs={"masked": True}))
    g.output("backward", g.add("last", [c], attrs={"reverse": True, "masked": True}))


def reduced(precision: str, smoothed: bool = False) -> Callable[[Graph], None]:
    """Every kind of weight that has a precision, in one: a table, W, R, R_n, a projection and a dense W."""

    def build(g: Graph) -> None:
        ids = g.input("ids", 1, "int32")
        g.values["ids"] = Value("ids", (1,), "int32", False, 3)
        e = g.add("embedding", [ids], weights={"table": Weights(70)(3, 2)})
        (h,) = cell(g, "gru", g.add("reshape", [e], attrs={"shape": (2,)}), 3, 71)
        h, _ = cell(g, "lstm", h, 3, 72, fed_back=2)
        if precision == "int16":  # older files have rnns in the others
            (h,) = cell(g, "rnn", h, 2, 74)
        g.output("y", dense(g, h, 2, 73))
        for node in g.nodes:
            node.precisions = dict.fromkeys({"W", "R", "projection", "table"} & set(node.weights), precision)
            for key in {"W", "R", "projection"} & set(node.weights) if smoothed else ():
                node.smoothing[key] = 5 * np.arange(node.weights[key].shape[-1]) % 8

    return build


for _precision in ("float16", "bfloat16", "int16", "int8", "int4"):
    MODELS[_precision] = reduced(_precision)
for _precision in ("int16", "int8"):
    MODELS[f"smoothed_{_precision}"] = reduced(_precision, smoothed=True)


@model
def fixed8(g: Graph) -> None:
    """Every cell that computes in integers, of two panels too, and with rows and steps."""
    (h,) = cell(g, "gru", g.input("x", 5), 3, 120)
    (h,) = cell(g, "gru", h, 17, 121, reset_after=True)
    h, c = cell(g, "lstm", h, 4, 122)
    framed = g.add("reshape", [g.add("concat", [h, c])], attrs={"shape": (2, 2, 2)})
    (r,) = cell(g, "rnn", framed, 3, 123, steps=True)
    g.output("y", dense(g, g.add("reshape", [r], attrs={"shape": (12,)}), 2, 124))
    for node in g.nodes:
        if node.op != "dense":
            node.precisions = dict.fromkeys({"W", "R"} & set(node.weights), "fixed8")


@model
def sparse(g: Graph) -> None:
    """Lists of no block, of some and of all; halves at other columns; with a diagonal and without; in both numbers."""

    def pruned(W: np.ndarray, keep: str) -> np.ndarray:
        """keep: for each gate and 8 rows, which blocks of 4 columns stay, as digits; a diagonal stays."""
        _, rows, K = W.shape
        kept = np.zeros_like(W)
        for i, columns in enumerate(keep.split()):
            gate, half = divmod(i, -(-rows // 8))
            for c in columns.strip("-"):
                at = np.s_[gate, 8 * half : 8 * half + 8, 4 * int(c) : 4 * int(c) + 4]
                kept[at] = W[at]
        if rows == K:
            kept[:, range(K), range(K)] = W[:, range(K), range(K)]
        return kept

    (h,) = cell(g, "gru", g.input("x", 5), 9, 80)
    w = g.nodes[-1].weights
    w["W"], w["R"] = pruned(w["W"], "01 0 - 1 - -"), pruned(w["R"], "2 01 - - 0 02")
    g.nodes[-1].precisions = {"W": "sparse float32", "R": "sparse int8"}
    (h,) = cell(g, "rnn", h, 6, 81)
    w = g.nodes[-1].weights
    w["W"], w["R"] = pruned(w["W"], "02"), pruned(w["R"], "1")
    g.nodes[-1].precisions = {"W": "sparse int8", "R": "sparse float32"}
    g.output("y", dense(g, h, 2, 82))


@model
def rows(g: Graph) -> None:
    """Frame ops over frames of several axes, comparisons, and the activations that no other file has."""
    x, zero = g.input("x", 3), g.add("constant", weights={"value": np.zeros(1)})
    windows = np.array([[3, 0, 1], [0, 1, 2], [1, 2, 3], [2, 2, 2]])
    a = g.add("select", [x, zero], weights={"indices": windows})
    b = g.add("dense", [a], weights={"W": Weights(130)(2, 3), "b": Weights(131)(2)})
    c = g.add("matmul", [g.add("reshape", [a], attrs={"shape": (3, 4)}), b])
    deep = g.add("select", [c, a], weights={"indices": np.arange(18).reshape(3, 2, 3).transpose(2, 1, 0)})
    clip = {"activation": Activation("clip", -2.0, 2.0)}
    d = g.add("depthwise", [deep], weights={"W": Weights(132)(2, 3), "b": Weights(133)(3)}, attrs=clip)
    above = g.add("activation", [d], attrs={"activation": Activation("softplus")})
    parts = [
        g.add(
            "activation",
            [above if kind in ("sqrt", "log", "reciprocal") else d],
            attrs={"activation": Activation(kind)},
        )
        for kind in KINDS
        if KINDS[kind][0] > 14
    ]
    tests = ("greater", "less", "equal", "greater_equal", "less_equal")
    parts += [g.add("where", [g.add(op, [d, p]), p, d]) for op, p in zip(tests, parts, strict=False)]
    flat = g.add("reshape", [g.add("concat", parts)], attrs={"shape": (1, len(parts), 9)})
    folded = [g.add("reduce", [flat], attrs={"kind": kind}) for kind in ("sum", "max", "min", "prod")]
    tall = [g.add("reshape", [value], attrs={"shape": (3, 3, 1)}) for value in folded]
    across = [
        g.add("reduce", [x], attrs={"kind": kind}) for x, kind in zip(tall, ("sum", "max", "min", "prod"), strict=True)
    ]
    g.output("folded", g.add("concat", [*folded, *across]))
    square = g.add("reshape", [folded[1]], attrs={"shape": (3, 3)})
    g.output("quantised", g.add("dense", [square], weights={"W": Weights(134)(17, 3)}, precisions={"W": "int8"}))


@model
def framed(g: Graph) -> None:
    """Cells with rows and steps inside a frame: with states, from inputs, from zero; forwards and backwards."""
    x = g.input("x", (3, 2))
    (a,) = cell(g, "gru", x, 2, 130, given=[], steps=True, reverse=True, reset_after=True)
    h, c = cell(g, "lstm", a, 3, 131, fed_back=2, initial=True)
    start = g.add("select", [c], weights={"indices": np.arange(9).reshape(3, 3)})
    (b,) = cell(g, "gru", h, 3, 132, given=[start])
    two = g.add("reshape", [g.add("concat", [a, h])], attrs={"shape": (2, 3, 2)})
    (d,) = cell(g, "rnn", two, 2, 133, steps=True, initial=True)
    g.output("b", b)
    g.output("d", d)


@model
def cells(g: Graph) -> None:
    """What the other files leave out of the cells: each option by itself."""
    sharp = {"activations": (Activation("hard_sigmoid", 0.25, 0.5), Activation("softsign"))}
    x = g.input("x", 2)
    (h,) = cell(g, "rnn", x, 3, 70, clip=0.5)
    (h,) = cell(g, "gru", h, 3, 71, reset_after=True, **sharp)
    (h,) = cell(g, "gru", h, 3, 72, clip=0.75, **sharp)
    h, _ = cell(g, "lstm", h, 3, 73, fed_back=2)
    h, _ = cell(g, "lstm", h, 3, 74, clip=0.5)
    h, _ = cell(g, "lstm", h, 3, 75, input_forget=True)
    g.output("y", dense(g, h, 2, 76, "tanh"))


@model
def precisions(g: Graph) -> None:
    """Every op that has a matrix or a table, in every precision: a chain of all of them for each."""
    names = ("float16", "bfloat16", "int8", "int4", "sparse float32", "sparse int8")
    for p, precision in enumerate(names):
        ids, first = g.input(f"ids_{precision}", (), "int32"), len(g.nodes)
        g.values[ids] = Value(ids, (), "int32", False, 3)
        h = g.add("embedding", [ids], weights={"table": Weights(90 + p)(3, 3)})
        (h,) = cell(g, "rnn", h, 2, 94 + p)
        (h,) = cell(g, "gru", h, 3, 98 + p, reset_after=True)
        (h,) = cell(g, "gru", h, 2, 102 + p)
        h, _ = cell(g, "lstm", h, 3, 106 + p, fed_back=2)
        h, _ = cell(g, "lstm", h, 3, 110 + p)
        g.output(f"y_{precision}", dense(g, h, 2, 114 + p))
        for node in g.nodes[first:]:
            keys = ("W", "R", "projection") if precision in names[4:] else ("W", "R", "projection", "table")
            matrices = [key for key in keys if key in node.weights]
            node.precisions.update(dict.fromkeys(matrices, precision))


@model
def wide(g: Graph) -> None:
    """Layers of two panels, for teams to share: every cell, in float32 and in int8."""
    x = g.input("x", 4)
    for precision in ("float32", "int8"):
        first = len(g.nodes)
        (h,) = cell(g, "rnn", x, 20, 120)
        (h,) = cell(g, "gru", h, 20, 121, reset_after=True, initial=True)
        (h,) = cell(g, "gru", h, 20, 122)
        h, c = cell(g, "lstm", h, 20, 123, fed_back=18, peephole=True)
        y = dense(g, h, 20, 124, "tanh")
        g.output(f"y_{precision}", g.add("add", [y, c]))
        for node in g.nodes[first:]:
            if precision != "float32":
                matrices = [key for key in ("W", "R", "projection") if key in node.weights]
                node.precisions.update(dict.fromkeys(matrices, precision))


@model
def decay(g: Graph) -> None:
    """Every cell with a zero fixed point, which its state nears by a factor of about 0.998 a step, one unit faster."""
    x = g.input("x", 2)
    near_one = np.array([6.25, 6.25, 1.0], np.float32)  # sigmoid(6.25) is 0.99807
    for op, name, more in (
        ("rnn", "rnn", {}),
        ("gru", "gru_after", {"reset_after": True}),
        ("gru", "gru_before", {}),
        ("lstm", "lstm", {}),
    ):
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[op]
        weights = {"W": Weights(80)(gates, 3, 2), "R": Weights(81)(gates, 3, 3, scale=0.125)}
        if op == "rnn":
            weights["R"] = np.diag(np.array([0.998, 0.998, 0.5], np.float32))[None]
        else:
            weights["b"] = np.zeros((gates, 3), np.float32)
            weights["b"][0 if op == "gru" else 1] = near_one  # gru: z keeps h; lstm: f keeps c
        if op != "rnn":
            weights["R"][2] = 0.0  # n of a gru, g of an lstm: what silence writes into the state is 0
        if more.get("reset_after"):
            weights["rb_n"] = np.zeros(3, np.float32)
        states = [g.state(f"{name}.h", (3,))] + ([g.state(f"{name}.c", (3,))] if op == "lstm" else [])
        outputs = g.add(op, [x], name=name, attrs=more, weights=weights, states=states)
        g.output(name, outputs if isinstance(outputs, str) else outputs[0])


@model
def strides(g: Graph) -> None:
    """A convolution along time of 2 timesteps and stride 2, in frames of four timesteps: two of the output."""
    x = g.input("x", (4, 2))
    w = Weights(90)
    y = g.add("dense", [g.add("reshape", [x], attrs={"shape": (2, 4)})], weights={"W": w(3, 4), "b": w(3)})
    g.output("y", y)
    g.frames_in, g.frames_out = 4, 2
    g.note(superframes.note(g))


@model
def rated(g: Graph) -> None:
    """A GRU on sound of 16 kHz, in frames of four samples."""
    (h,) = cell(g, "gru", g.input("x", 4), 3, 91)
    g.output("y", h)
    g.sample_rate = 16000


@model
def expressions(g: Graph) -> None:
    """A program of every instruction, with states of its own; one with a gate, which the model's input opens."""
    sizes = (1, 2, 3, 5)
    whole, row, column = dense_strides(sizes), (0, 3, 1, 0), (0, 0, 0, 1)
    operands = [
        Operand(INPUT, 0, 0, whole),
        Operand(INPUT, 1, 0, row),
        Operand(INPUT, 1, 1, column),
        Operand(STATE, 0, 0, whole),
        Operand(STATE, 0, 30, whole),
        Operand(OUTPUT, 0, 0, whole),
    ]
    reductions = [name for name in CODES if reduced_axis(name) is not None]
    operands += [
        Operand(OUTPUT, 1 + i, 0, dense_strides(sizes, reduced_axis(name))) for i, name in enumerate(reductions)
    ]
    slots = range(len(operands), len(operands) + 3)
    arguments = [slots[0], 1, 2, 0]  # of elements, rows and columns
    steps = [Instruction("activation", slots[0], (0,), Activation("tanh")), Instruction("mul", slots[1], (1, 2))]
    for i, (name, (_, n)) in enumerate(CODES.items()):
        if name not in reductions and name != "activation":
            x = tuple(arguments[(i + k) % 4] for k in range(n))
            steps += [Instruction(name, slots[2], x), Instruction("mul_plus", slots[1], (slots[2], 1, slots[1]))]
    steps += [
        Instruction("activation", slots[1], (slots[1],), Activation("tanh")),
        Instruction("mul_plus_mul", 3, (1, 3, slots[1], 0)),
        Instruction("mul_plus", 4, (1, 4, 3)),
        Instruction("activation", 3, (3,), Activation("sin")),
        Instruction("activation", 4, (4,), Activation("clip", -2.0, 2.0)),
        Instruction("sub", 5, (4, 3)),
    ]
    factors = (slots[1], 3, 1, 4)
    steps += [Instruction(name, 6 + i, factors[: CODES[name][1]]) for i, name in enumerate(reductions)]
    program = Program(sizes, 3, tuple(operands), tuple(steps))
    shapes = [(2, 3, 5)] + [(6,) if reduced_axis(name) == LAST else (10,) for name in reductions]
    x, y = g.input("x", (2, 15)), g.input("y", 6)
    state = g.state("first.s", (2, 30), Weights(150)(2, 30))
    outputs = g.add("expression", [x, y], name="first", attrs={"program": program, "shapes": shapes}, states=[state])
    g.output("y", g.add("concat", outputs))
    held = Program(
        (1, 1, 1, 6),
        0,
        (Operand(INPUT, 0, 0, column), Operand(STATE, 0, 0, column), Operand(OUTPUT, 0, 0, column)),
        (Instruction("add", 1, (0, 1)), Instruction("copy", 2, (1,))),
    )
    gate = g.add("select", [y], weights={"indices": np.array([0])})
    gate = g.add("activation", [gate], attrs={"activation": Activation("relu")})
    attrs = {"program": held, "shapes": [(6,)]}
    g.output("sum", g.add("expression", [y, gate], name="held", attrs=attrs, states=[g.state("held.s", 6)]))


@model
def attention(g: Graph) -> None:
    """Heads over past frames in a window; heads that share keys and values, with a cap and a bias for each."""
    x, y = g.input("x", (2, 16)), g.input("y", 6)
    past = g.add("window", [x], attrs={"taps": (-4, -3, -2, -1, 0)}, states=[g.state("past", (4, 2, 16))])
    attrs = {"heads": 2, "shared": 2, "rows": 5, "key_width": 16, "value_width": 16, "scale": 0.25}
    places = {"key_places": (0, 32, 16), "value_places": (0, 32, 16)}
    g.output("y", g.add("attend", [x, past, past], name="first", attrs={**attrs, **places}))
    keys = g.add("dense", [y], weights={"W": Weights(160)(21, 6), "b": Weights(161)(21)})
    values = g.add("dense", [y], weights={"W": Weights(162)(15, 6)})
    bias = g.add("constant", weights={"value": Weights(163)(4, 3)})
    attrs = {"heads": 4, "shared": 2, "rows": 3, "key_width": 3, "value_width": 2, "scale": 1.5, "cap": 2.0}
    places = {"key_places": (1, 3, 10), "value_places": (1, 5, 2)}
    queries = g.add("select", [x], weights={"indices": np.arange(12)})
    g.output("shared", g.add("attend", [queries, keys, values, bias], name="second", attrs={**attrs, **places}))


def make(name: str) -> bytes:
    graph = Graph(name)
    MODELS[name](graph)
    return compile_graph(graph)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name in MODELS:
        data = make(name)
        (folder / f"{name}.tow").write_bytes(data)
        print(f"{name}.tow  {len(data)} bytes")
