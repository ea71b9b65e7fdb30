# SPDX-License-Identifier: MIT
"""The catalogue of ops: each is stored and read, computed by formula and engine, shown, and has the traits it claims.

An op needs an example here, in a graph by itself: `EXAMPLES`. What a trait promises is tried on every example.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest

from tolerances import FLOAT32_CELL
from undertow import ShapeError, UnsupportedError, passes, reference, tow
from undertow.compile import compile_graph
from undertow.inspect.describe import MANY_LAYERS, describe, text, variant
from undertow.ir import ops
from undertow.ir.activations import SIGMOID, TANH, Activation
from undertow.ir.graph import Graph, Value
from undertow.ir.ops import HIDDEN, INPUT, OPS, Cell, Layout, Op, Weight
from undertow.ir.ops.programs import INPUT as INPUT_OF
from undertow.ir.ops.programs import OUTPUT, STATE, Instruction, Operand, Program
from undertow.ir.precision import CODES, SPARSE_CODES, stored
from undertow.ir.products import times
from undertow.model import Model
from undertow.passes.fuse import fuse
from undertow.passes.precisions import with_weights
from undertow.passes.unused import prune
from undertow.tow import codec
from undertow.tow.packing import LAYOUTS
from undertow.tow.sizes import weight_bytes

T, IDS = 7, 6


@dataclass
class Example:
    """A node, called "it", of some inputs.

    Attributes:
        inputs: their shapes. weights: their shapes, or integers themselves. states: their shapes.
        words: what `undertow info` shows of it.
    """

    inputs: list[tuple[int, ...]]
    weights: dict[str, tuple[int, ...] | np.ndarray] = field(default_factory=dict)
    attrs: dict[str, object] = field(default_factory=dict)
    states: list[tuple[int, ...]] = field(default_factory=list)
    words: str = ""


def cell(gates, hidden=4, fed_back=None, *, rows=(), outer=(), n_in=3, own=None, held=True, starts=False, **attrs):
    """A cell whose states are its own, or else none: it forgets, or starts from inputs."""
    fed_back = fed_back or hidden
    states = [(*rows, fed_back), *([(*rows, hidden)] if gates == 4 else [])]
    weights = {"W": (gates, hidden, n_in), "R": (gates, hidden, fed_back), **(own or {})}
    words = attrs.pop("words")
    inputs = [(*outer, *rows, n_in), *(states if starts else [])]
    return Example(inputs, weights, attrs, states if held else [], words)


ROW = Operand(INPUT_OF, 1, 0, (0, 0, 1, 0))
DECAY = Program(
    (1, 1, 2, 16),
    1,
    (
        Operand(INPUT_OF, 0, 0, (0, 0, 16, 1)),
        ROW,
        Operand(OUTPUT, 0, 0, (0, 0, 16, 1)),
        Operand(OUTPUT, 1, 0, (0, 0, 1, 0)),
    ),
    (
        Instruction("activation", 4, (0,), TANH),
        Instruction("mul", 2, (4, 1)),
        Instruction("last_sum_mul", 3, (2, 4)),
    ),
)
RECURRENCE = Program(
    (1, 1, 2, 16),
    0,
    (
        Operand(INPUT_OF, 0, 0, (0, 0, 16, 1)),
        ROW,
        Operand(STATE, 0, 0, (0, 0, 16, 1)),
        Operand(OUTPUT, 0, 0, (0, 0, 16, 1)),
    ),
    (Instruction("mul_plus", 2, (1, 2, 0)), Instruction("activation", 3, (2,), SIGMOID)),
)
PAIR = [Example([(2, 3), (2, 3)])]
EXAMPLES: dict[str, list[Example]] = {
    "activation": [
        Example([(2, 3)], attrs={"activation": TANH}, words="tanh"),
        Example([()], attrs={"activation": Activation("leaky_relu", 0.25)}, words="leaky_relu, 0.25"),
    ],
    **dict.fromkeys(("add", "sub", "mul", "div", "max", "min", "greater", "less", "equal"), PAIR),
    **dict.fromkeys(("greater_equal", "less_equal"), PAIR),
    "where": [Example([(5,), (5,), (5,)])],
    "affine": [Example([(2, 3)], {"scale": (2, 3), "shift": (2, 3)})],
    "concat": [Example([(2, 3), (4,)]), Example([(2, 3)])],
    "select": [Example([(2, 3), (4,)], {"indices": np.array([[9, 0, 0], [5, 4, 3]])}, {"sizes": (6, 4)})],
    "reshape": [Example([(2, 3)], attrs={"shape": (3, 1, 2)})],
    "dense": [
        Example([(5,)], {"W": (3, 5), "b": (3,)}, {"activation": SIGMOID}, words="sigmoid"),
        Example([(2, 17)], {"W": (17, 17)}, words="no bias"),
    ],
    "depthwise": [
        Example([(2, 3, 17)], {"W": (3, 17), "b": (17,)}, {"activation": TANH}, words="tanh"),
        Example([(1, 2, 3)], {"W": (2, 3)}, words="no bias"),
    ],
    "matmul": [Example([(2, 2, 3), (2, 3, 4)])],
    "reduce": [Example([(2, 3, 4)], attrs={"kind": kind}, words=kind) for kind in ("sum", "max", "min", "prod")],
    "softmax": [Example([(2, 3)])],
    "log_softmax": [Example([(2, 3)])],
    "layer_norm": [
        Example([(2, 5)], {"scale": (5,), "shift": (5,)}, {"eps": 0.125}, words="eps 0.125"),
        Example([(5,)], words="eps 1e-05"),
    ],
    "embedding": [Example([(2,)], {"table": (IDS, 5)})],
    "constant": [Example([], {"value": (2, 3)})],
    "rnn": [
        cell(1, own={"b": (1, 4)}, clip=1.5, words="forwards, tanh, clip 1.5"),
        cell(1, activations=(SIGMOID,), reverse=True, words="backwards, sigmoid (not the usual ones), no bias"),
        cell(1, masked=True, words="forwards, tanh, no bias, masked by length"),
        cell(1, rows=(2,), words="2 rows, forwards, tanh, no bias"),
        cell(1, outer=(3,), rows=(2,), steps=True, held=False, words="3 steps of a frame, 2 rows, forwards, tanh, "
             "no bias, forgets"),
    ],
    "gru": [
        cell(3, masked=True, clip=0.75, words="forwards, reset before, sigmoid tanh, no bias, clip 0.75, "
             "masked by length"),
        cell(3, reset_after=True, words="forwards, reset after, sigmoid tanh, no bias"),
        cell(3, 17, own={"b": (3, 17), "rb_n": (17,)}, reset_after=True, words="forwards, reset after, sigmoid tanh"),
        cell(3, outer=(3,), steps=True, reverse=True, held=False, starts=True, words="3 steps of a frame, backwards, "
             "reset before, sigmoid tanh, no bias, starts from an input"),
    ],
    "lstm": [
        cell(4, 17, 3, own={"b": (4, 17), "projection": (3, 17)}, words="forwards, sigmoid tanh tanh, projection to 3"),
        cell(4, own={"peephole": (3, 4)}, input_forget=True, words="forwards, sigmoid tanh tanh, no bias, peephole, "
             "input_forget"),
        cell(4, masked=True, clip=0.75, words="forwards, sigmoid tanh tanh, no bias, clip 0.75, masked by length"),
        cell(4, held=False, starts=True, words="forwards, sigmoid tanh tanh, no bias, starts from an input"),
        cell(4, outer=(3,), steps=True, reverse=True, words="3 steps of a frame, backwards, sigmoid tanh tanh, "
             "no bias"),
    ],
    "state_read": [Example([], states=[(2, 3)])],
    "state_write": [Example([(2, 3)], states=[(2, 3)])],
    "expression": [
        Example([(2, 16), (2,)], {}, {"program": DECAY, "shapes": ((2, 16), (2,))}, [], "3 instructions over 2 x 16"),
        Example(
            [(2, 16), (2,)],
            attrs={"program": RECURRENCE, "shapes": ((32,),)},
            states=[(2, 16)],
            words="2 instructions over 2 x 16",
        ),
    ],
    "attend": [
        Example(
            [(1, 4), (3, 4), (12,)],
            attrs={"rows": 3, "key_width": 4, "value_width": 4},
            words="1 head, 3 rows of 4",
        ),
        Example(
            [(4, 3), (2, 5, 3), (5, 4), (5,)],
            attrs={
                "heads": 4,
                "shared": 2,
                "rows": 5,
                "key_width": 3,
                "value_width": 2,
                "value_places": (0, 4, 2),
                "scale": 0.5,
                "cap": 3.0,
            },
            words="4 heads over 2, 5 rows of 3 and 2, cap 3",
        ),
    ],
    "window": [
        Example([(3,)], attrs={"taps": (-2, 0, 1)}, words="frames -2 0 to 1"),
        Example([(3,)], attrs={"taps": (-2, -1)}, states=[(2, 3)], words="frames -2 to -1"),
    ],
    "present": [Example([], attrs={"latency": 0}), Example([], attrs={"latency": 3})],
    "last": [
        Example([(3,)]),
        Example([(3,)], attrs={"reverse": True}),
        Example([(3,)], attrs={"masked": True}),
    ],
    "flip": [Example([(3,)])],
}  # fmt: skip
CASES = [pytest.param(op, e, id=f"{op}{i or ''}") for op, examples in EXAMPLES.items() for i, e in enumerate(examples)]
every_example = pytest.mark.parametrize(("name", "example"), CASES)


def weights_of(example, rng):
    """Numbers of order 1 for the weights of an example."""
    made = {}
    for key, w in example.weights.items():
        columns = w[-1] if isinstance(w, tuple) and len(w) > 1 else 1
        made[key] = rng.normal(size=w) / np.sqrt(columns) if isinstance(w, tuple) else w
    return made


def graph_of(name, example, *, gate=False, weights=None, before=0):
    """The example in a graph, its outputs y0, y1 ...; `gate`: a further input; `before`: so many nodes more."""
    rng = np.random.default_rng(3)
    g = Graph(name)
    dtype = "int32" if name == "embedding" else "float32"
    inputs = [g.input(f"x{i}", shape, dtype) for i, shape in enumerate(example.inputs)] or [g.input("x0", 2)]
    made = inputs[0]
    for _ in range(before):
        made = g.add("affine", [made], weights={"scale": np.ones(g.shape(made)), "shift": np.ones(g.shape(made))})
    if before:
        g.output("far", made)
    taken = inputs[: len(example.inputs)] + ([g.input("gate", 1)] if gate else [])
    states = [g.state(f"it.{i}", shape, rng.normal(size=shape)) for i, shape in enumerate(example.states)]
    weights = weights_of(example, rng) if weights is None else weights
    attrs = {key: value for key, value in example.attrs.items() if key != "sizes"}
    if OPS[name].writes_register:
        g.output("y0", g.add("state_read", name="read", states=states))
    outputs = g.add(name, taken, name="it", weights=weights, attrs=attrs, states=states)
    for i, value in enumerate((outputs,) if isinstance(outputs, str) else outputs or ()):
        g.output(f"y{i}", value)
    return g


def node_of(graph):
    return next(node for node in graph.nodes if node.name == "it")


def frames_for(graph, rng, n=T):
    """Multiples of one half, so that sums and comparisons are exact; ids; gates of 0 and 1."""
    made = {}
    for name in graph.inputs:
        shape = (n, *graph.shape(name))
        if graph.values[name].dtype == "int32":
            made[name] = rng.integers(0, IDS, shape).astype(np.int32)
        elif name == "gate":
            made[name] = (rng.random(shape) < 0.6).astype(np.float32)
        else:
            made[name] = (rng.integers(-4, 5, shape) / 2).astype(np.float32)
    return made


def given(X):
    return X if len(X) > 1 else next(iter(X.values()))


def by_name(graph, Y):
    return Y if isinstance(Y, dict) else {next(iter(graph.outputs)): Y}


def run(graph, X, length=None):
    """Outputs of the engine, and final states."""
    return joined(graph, Model.from_graph(graph).run_with_state(given(X), length=length))


def joined(graph, found):
    Y, states = found
    return {**by_name(graph, Y), **{f"final {name}": states[name] for name in graph.states}}


# -- complete ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_every_op_has_examples_of_all_that_it_knows(name):
    """Each of its weights and attributes is in one: else nobody would miss it in a file."""
    assert name in EXAMPLES, f"{name}: give an example of it in EXAMPLES"
    nodes = [node_of(graph_of(name, example)) for example in EXAMPLES[name]]
    assert {key for node in nodes for key in node.weights} == {weight.key for weight in OPS[name].weights}
    for attr in OPS[name].attrs:
        values = {str(node.attrs[attr]) for node in nodes}
        assert not values <= {"None", "False"}, f"{name}: no example sets {attr}"


def test_examples_are_of_ops():
    assert EXAMPLES.keys() == OPS.keys()
    assert all(OPS[name].name == name for name in OPS)


def test_numbers_in_files_tell_ops_apart():
    of_kind = {}
    for name, op in OPS.items():
        for kind in op.kinds:
            of_kind.setdefault(kind, []).append((op.which, name))
    for family in of_kind.values():
        numbers = [which for which, _ in family]
        assert numbers == [None] or numbers == list(range(len(family))), family


def test_every_layout_has_its_bytes():
    assert LAYOUTS.keys() == set(Layout)


class Mixed(Op):
    """y = (1 - share) W x + share x, W (K, K): an op that the engine does not know."""

    name, kinds = "mixed", (99,)
    attrs = ("share",)
    weights = (Weight("W", Layout.MATRIX, INPUT),)
    landmark = True

    def outputs(self, graph, node):
        (x,) = (graph.values[v] for v in node.inputs)
        return [("out", Value("", x.shape, once=x.once))]

    def params(self, node, arrays, frames):
        return [node.attrs["share"]]

    def attributes(self, params, frames):
        return {"share": params[0]}

    def stored_shapes(self, params, frames):
        return ((*frames.outputs[0], *frames.inputs[0]),)

    def formula(self, node, w, x):
        return (1 - node.attrs["share"]) * times(w["W"], x) + node.attrs["share"] * x

    def words(self, node, shapes):
        return [f"share {node.attrs['share']}"]


def test_a_new_op_is_its_class_and_nothing_else(monkeypatch, rng):
    """ARCHITECTURE.md, "How to add": what the package does with any op, it does with one that it never heard of."""
    op = Mixed()
    monkeypatch.setitem(OPS, "mixed", op)
    monkeypatch.setitem(ops._FAMILIES, 99, [op])
    g = Graph("new")
    seen = g.add("window", [g.input("x", 4)], attrs={"taps": (1,)})
    order = rng.permutation(4)
    picked = g.add("select", [seen], weights={"indices": order})
    W = rng.normal(size=(4, 4))
    g.output("y", g.add("mixed", [picked], name="it", weights={"W": W}, attrs={"share": 3}))
    X = rng.normal(size=(T, 4)).astype(np.float32)
    ahead = np.concatenate([X[1:], np.zeros((1, 4))])[:, order]
    expected = -2 * ahead @ W.astype(np.float32).T + 3 * ahead
    passes.run(g)
    np.testing.assert_allclose(reference.run(g, X), expected, atol=FLOAT32_CELL)
    for precision in ("float32", "sparse float32", "int8"):
        reduced = with_weights(g, precision)
        again = tow.read(compile_graph(reduced))
        assert node_of(again).precisions == node_of(reduced).precisions and again.latency == 1
        np.testing.assert_array_equal(node_of(again).weights["W"], stored(node_of(reduced).weights["W"], precision))
        np.testing.assert_array_equal(reference.run(again, X), reference.run(reduced, X))
        assert variant(again, node_of(again)) == "share 3"


# -- in a file --------------------------------------------------------------------------------------------------------


def assert_equal_nodes(a, b):
    """b is a as a file gives it back, which has zeros for a weight that may be left out."""
    assert (a.op, a.inputs, a.outputs, a.attrs, a.states) == (b.op, b.inputs, b.outputs, b.attrs, b.states)
    assert a.weights.keys() <= b.weights.keys()
    for key, w in b.weights.items():
        assert w.dtype == a.weights.get(key, w).dtype
        np.testing.assert_array_equal(w, a.weights.get(key, np.zeros_like(w)), key)


@every_example
def test_a_file_gives_the_same_node(name, example):
    graph = graph_of(name, example)
    again = tow.read(tow.write(prune(graph)))
    assert_equal_nodes(node_of(graph), node_of(again))
    assert tow.write(again) == tow.write(prune(graph))


@every_example
def test_each_weight_that_is_reducible_is_stored_in_every_precision(name, example):
    op, plain = OPS[name], tow.write(prune(graph_of(name, example)))
    able = {weight.key: weight.precisions for weight in op.weights if weight.reducible}
    for key in example.weights:
        for precision in (*CODES, *SPARSE_CODES):
            graph = graph_of(name, example)
            node = node_of(graph)
            node.precisions[key] = precision
            if precision not in able.get(key, ()):
                with pytest.raises(UnsupportedError, match="cannot be stored as"):
                    op.check_precisions(node)
                continue
            op.check_precisions(node)
            blob = tow.write(prune(graph))
            again = node_of(tow.read(blob))
            assert again.precisions == ({} if precision == "float32" else {key: precision})
            assert (blob == plain) == (precision == "float32")
            assert weight_bytes(node) == sum(t.nbytes for t in codec._encode(graph, node)[1] if t is not None)


def test_an_output_that_nothing_reads_may_be_left_out():
    """Whatever `written` leaves out of a file, the others are the same."""
    for name, examples in EXAMPLES.items():
        graph = graph_of(name, examples[0])
        node = node_of(graph)
        kept = OPS[name].written(node, set())
        assert OPS[name].written(node, set(node.outputs)) == node.outputs
        if kept != node.outputs:
            graph.outputs = {"y0": node.outputs[0]}
            assert node_of(tow.read(tow.write(graph))).outputs == node.outputs
            X = frames_for(graph, np.random.default_rng(1))
            assert np.array_equal(run(graph, X)["y0"], run(graph_of(name, examples[0]), X)["y0"])


# -- computed ---------------------------------------------------------------------------------------------------------


@every_example
def test_the_engine_computes_the_formula(name, example, rng):
    graph = graph_of(name, example, weights=weights_of(example, rng))
    X = frames_for(graph, rng)
    for length in (None, T - 2) if "masked" in example.attrs else (None,):
        exact = joined(graph, reference.run(graph, given(X), length=length, return_state=True))
        for key, y in run(graph, X, length).items():
            assert y.shape == exact[key].shape
            np.testing.assert_allclose(y, exact[key], rtol=FLOAT32_CELL, atol=FLOAT32_CELL, err_msg=key)


@every_example
def test_the_engine_computes_the_formula_with_rounding(name, example, rng):
    """int8 of each matrix, and what it multiplies rounded as the engine does; a last bit may be a step of 1/127."""
    graph = graph_of(name, example)
    node = node_of(graph)
    matrices = [weight.key for weight in OPS[name].weights if weight.layout is Layout.MATRIX]
    node.precisions = {key: "int8" for key in matrices if key in node.weights}
    X = frames_for(graph, rng)
    exact = joined(graph, reference.run(graph, given(X), return_state=True, rounding=True))
    for key, y in run(graph, X).items():
        np.testing.assert_allclose(y, exact[key], rtol=FLOAT32_CELL, atol=2 / 127, err_msg=key)


# -- shown ------------------------------------------------------------------------------------------------------------


@every_example
def test_what_tells_a_node_from_others_is_shown(name, example):
    graph = graph_of(name, example)
    assert variant(graph, node_of(graph)) == example.words
    model = Model.from_graph(graph)  # in which a window may have lost what it sees ahead
    (row,) = [line for line in str(model).splitlines() if line.split()[:2] == ["it", name]]
    assert row.endswith(variant(model.graph, node_of(model.graph)))


@every_example
def test_landmarks_have_a_line_of_their_own_among_many_nodes(name, example):
    if example.inputs and name != "embedding":
        facts = describe(Model.from_graph(graph_of(name, example, before=MANY_LAYERS + 1)))
        shown = [line.split()[:2] for line in text(facts).splitlines()]
        assert (["it", name] in shown) == OPS[name].landmark
    assert OPS[name].landmark or not OPS[name].reducible, f"{name}: has matrices, so people look for it"


# -- space ------------------------------------------------------------------------------------------------------------


@every_example
def test_elementwise_ops_commute_with_a_permutation_and_mix_nothing(name, example, rng):
    if not OPS[name].elementwise:
        return
    graph, weights = graph_of(name, example), weights_of(example, rng)
    (n,) = {graph.values[v].size for v in graph.values}
    order = rng.permutation(n)
    X = frames_for(graph, rng)
    permuted = {key: x.reshape(T, n)[:, order].reshape(x.shape) for key, x in X.items()}
    other = {key: w.reshape(n)[order].reshape(w.shape) for key, w in weights.items()}
    y = run(graph_of(name, example, weights=weights), X)["y0"].reshape(T, n)
    again = run(graph_of(name, example, weights=other), permuted)["y0"].reshape(T, n)
    np.testing.assert_array_equal(again, y[:, order])
    for i in range(n):
        for key in X:
            touched = X[key].reshape(T, n).copy()
            touched[:, i] += 1
            now = run(graph_of(name, example, weights=weights), {**X, key: touched.reshape(X[key].shape)})["y0"]
            same = now.reshape(T, n) == y
            assert (same | np.isnan(y))[:, np.arange(n) != i].all()


@every_example
def test_ops_that_move_give_elements_of_their_inputs(name, example, rng):
    op, graph = OPS[name], graph_of(name, example)
    if not op.moves:
        assert op.taken(node_of(graph)) is None and not op.is_view
        return
    X = frames_for(graph, rng)
    joined_inputs = np.concatenate([x.reshape(T, -1) for x in X.values()], axis=1)
    taken = op.taken(node_of(graph))
    y = run(graph, X)["y0"].reshape(T, -1)
    np.testing.assert_array_equal(y, joined_inputs if taken is None else joined_inputs[:, taken.reshape(-1)])
    if op.is_view:
        assert len(X) == 1 and taken is None


@every_example
def test_columns_of_a_matrix_meet_the_elements_that_it_multiplies(name, example, rng):
    """Without the last column of a matrix, the last element of what it multiplies does nothing to others."""
    op, found = OPS[name], ""
    for weight in op.weights:
        if weight.key not in example.weights or not weight.multiplies:
            continue
        weights = weights_of(example, rng)
        weights[weight.key][..., -1] = 0
        graph, touched = (graph_of(name, example, weights=weights) for _ in range(2))
        X = frames_for(graph, rng)
        Y = {key: x.copy() for key, x in X.items()}
        if weight.multiplies == INPUT:
            found = weight.key
            Y["x0"][..., -1] += 1
        elif example.states:
            touched.states["it.0"].init[..., -1] += 1
        elif len(example.inputs) > 1:
            Y["x1"][..., -1] += 1
        k = weights[weight.key].shape[-1] - 1
        for key, y in run(graph, X).items():  # h itself may also go on into the next h, as in a gru
            other = run(touched, Y)[key]
            if weight.multiplies == HIDDEN:
                y, other = np.delete(y, k, -1), np.delete(other, k, -1)
            np.testing.assert_array_equal(other, y, key)
    assert found == op.input_matrix


@every_example
def test_scales_shifts_and_activations_are_taken_in(name, example, rng):
    """Just where an op says so, and the numbers stay."""
    op = OPS[name]
    assert op.applies_activation == ("activation" in op.attrs and not op.elementwise)
    plain = node_of(graph_of(name, example))
    if len(plain.outputs) != 1 or plain.attrs.get("activation", Activation("identity")) != Activation("identity"):
        return
    for behind in ("affine", "activation"):
        graph = graph_of(name, example)
        made = graph.outputs.pop("y0")
        row = rng.normal(size=(2, *graph.shape(made)[-1:]))
        scale, shift = (np.broadcast_to(r, graph.shape(made)) for r in row)
        settings = {"weights": {"scale": scale, "shift": shift}}
        settings = settings if behind == "affine" else {"attrs": {"activation": TANH}}
        graph.output("y0", graph.add(behind, [made], name="behind", **settings))
        X = frames_for(graph, rng)
        before = run(graph, X)
        fuse(graph)
        taken_in = all(node.name != "behind" for node in graph.nodes)
        assert taken_in == (op.applies_activation if behind == "activation" else type(op).rescaled is not Op.rescaled)
        for key, y in run(graph, X).items():
            np.testing.assert_allclose(y, before[key], rtol=1e-5, atol=1e-5, err_msg=key)


# -- time -------------------------------------------------------------------------------------------------------------


@every_example
def test_an_op_depends_on_the_frames_that_it_says(name, example, rng):
    """Its taps; what it remembers, from then on; and where it is walked backwards or over the whole, anything."""
    op, graph = OPS[name], graph_of(name, example)
    node, X = node_of(graph), frames_for(graph, rng)
    model = Model.from_graph(graph)
    assert model.streamable != bool(op.needs_whole_sequence(node))
    assert op.taps(node) == tuple(sorted(op.taps(node)))
    if op.needs_whole_sequence(node) and not op.walks_back(node):
        assert op.whole_sequence
        return
    at = T // 2
    for key in X:
        touched = {**X, key: X[key].copy()}
        touched[key][at] = (touched[key][at] + 1) % IDS
        for output in graph.outputs:
            a, b = (by_name(graph, model.run(given(x)))[output].reshape(T, -1) for x in (X, touched))
            changed = set(np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=1)).tolist())
            seen = {at - tap for tap in op.taps(node)}
            later = range(at + 1) if op.walks_back(node) else range(at, T)
            remembers = bool(node.states) and op.taps(node) == (0,)
            assert changed <= (seen | set(later) if remembers else seen), f"{output} from {key}"
            if op.taps(node) != (0,):
                assert changed == seen
            if isinstance(op, Cell) and remembers:
                assert len(changed) > 1


@every_example
def test_in_a_stream_an_op_of_the_whole_sequence_gives_what_it_is_given(name, example, rng):
    graph = graph_of(name, example)
    if OPS[name].whole_sequence and not OPS[name].needs_whole_sequence(node_of(graph)):
        X = frames_for(graph, rng)
        np.testing.assert_array_equal(run(graph, X)["y0"], X["x0"])


@every_example
def test_a_register_is_shared_and_other_states_belong_to_their_node(name, example, rng):
    op = OPS[name]
    if not example.states:
        assert not op.is_register
        return
    graph = graph_of(name, example)
    X = frames_for(graph, rng)
    if op.reads_register:
        node = node_of(graph)
        graph.add(name, states=node.states)
        graph.add("state_write", [node.outputs[0]], states=node.states)
        np.testing.assert_array_equal(run(graph, X)["y0"], np.broadcast_to(graph.states["it.0"].init, (T, 2, 3)))
    elif op.writes_register:
        found = run(graph, X)
        np.testing.assert_array_equal(found["final it.0"], X["x0"][-1])
        np.testing.assert_array_equal(found["y0"][1:], X["x0"][:-1])
    if not op.reads_register:
        with pytest.raises(ShapeError, match="belongs to another node"):
            graph.add("state_write", [graph.inputs[0]], states=node_of(graph).states)


@every_example
def test_nodes_stand_where_their_turn_is(name, example, rng):
    """First what tells how things are before the timestep, last what they will be: whoever wrote the graph."""
    op, graph = OPS[name], graph_of(name, example)
    node, X = node_of(graph), frames_for(graph, rng)
    told = not node.inputs and not graph.values[node.outputs[0]].once
    assert op.turn == (0 if told else 1 if node.outputs else 2)
    plain = run(graph, X)
    if op.turn != 1:
        graph.nodes.reverse()
        assert all(np.array_equal(y, plain[key]) for key, y in run(graph, X).items())


@every_example
def test_a_gate_holds_an_op_where_it_is_zero(name, example, rng):
    """It rests there: its states stay and it gives zeros; or it takes zeros."""
    op, node = OPS[name], node_of(graph_of(name, example))
    if not op.may_be_gated(node):
        assert not node.states or op.reads_register
        if len(node.inputs) == 1 and op.n_inputs is not None:
            with pytest.raises((ShapeError, UnsupportedError)):
                graph_of(name, example, gate=True)
        return
    graph = graph_of(name, example, gate=True)
    assert op.is_gated(node_of(graph)) and not op.is_gated(node)
    if op.needs_whole_sequence(node):
        return
    X = frames_for(graph, rng)
    found, is_open = run(graph, X), X["gate"][:, 0] != 0
    plain = graph_of(name, example)
    if not op.rests:
        expected = run(plain, {"x0": np.where(is_open.reshape(-1, *[1] * (X["x0"].ndim - 1)), X["x0"], 0)})
    elif op.writes_register:
        expected = {"final it.0": X["x0"][is_open][-1]}
    else:
        expected = run(plain, {name: x[is_open] for name, x in X.items() if name != "gate"})
        for key in graph.outputs:
            rows = np.zeros((T, *expected[key].shape[1:]), np.float32)
            rows[is_open] = expected[key]
            expected[key] = rows
    for key, y in expected.items():
        np.testing.assert_array_equal(found[key], y, key)
