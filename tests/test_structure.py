# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""Branches, loops and cells that were taken apart, in ONNX models, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import FLOAT32_PEER

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper

from undertow import reference
from undertow.errors import UnsupportedError
from undertow.importers.onnx import limits, load

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
T, N, I, H = 9, 1, 5, 4


def node(op, inputs, outputs, **attrs):
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def info(name, shape=None, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def graph_of(nodes, inputs, outputs, weights=None, name="body"):
    """A graph: inputs and outputs are value infos or names without a shape."""
    infos = [[v if not isinstance(v, str) else info(v) for v in side] for side in (inputs, outputs)]
    held = [numpy_helper.from_array(np.asarray(w), n) for n, w in (weights or {}).items()]
    return helper.make_graph(nodes, name, *infos, held)


def save(graph, tmp_path, opset=17):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def peer(path, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path.read_bytes(), options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def sequence_agrees(path, X, output="Y", batch_axis=1, **options):
    """The Graph of a file against ONNX Runtime, one item of the batch after the other."""
    graph = load(path, **options)
    expected = peer(path, {"X": X})[output]
    for n in range(X.shape[batch_axis]):
        made = reference.run(graph, X.take(n, batch_axis))
        np.testing.assert_allclose(made, expected.take(n, batch_axis), rtol=0, atol=FLOAT32_PEER)
    return graph


def ops(graph):
    return [n.op for n in graph.nodes]


@pytest.fixture
def rng():
    return np.random.default_rng(4)


# -- cells as the body of a Scan ------------------------------------------------------------------------------------


def gates(names, width=H, hidden="h"):
    """Pre-activations x W_k + h R_k + b_k, called p_k."""
    made = []
    for k in names:
        made += [
            node("MatMul", f"x W_{k}", f"xw_{k}"),
            node("MatMul", f"{hidden} R_{k}", f"hr_{k}"),
            node("Add", f"xw_{k} hr_{k}", f"s_{k}"),
            node("Add", f"s_{k} b_{k}", f"p_{k}"),
        ]
    return made


def gate_weights(rng, names, hidden=H, fed_back=None):
    return {
        key: value
        for k in names
        for key, value in (
            (f"W_{k}", random(rng, I, hidden) * 0.5),
            (f"R_{k}", random(rng, fed_back or hidden, hidden) * 0.5),
            (f"b_{k}", random(rng, hidden)),
        )
    }


LSTM_END = [
    node("Mul", "f c", "fc"),
    node("Mul", "i g", "ig"),
    node("Add", "fc ig", "c_next"),
    node("Tanh", "c_next", "t"),
    node("Mul", "o t", "h_next"),
]


def lstm_body(rng, extra=()):
    acts = [node("Sigmoid" if k != "g" else "Tanh", f"p_{k}", k) for k in "ifgo"]
    return [*gates("ifgo"), *extra, *acts, *LSTM_END], gate_weights(rng, "ifgo"), ["h", "c"]


def peephole_body(rng):
    nodes, weights, states = lstm_body(rng)
    for k, cell in (("i", "c"), ("f", "c"), ("o", "c_next")):
        weights[f"P_{k}"] = random(rng, H)
        at = next(j for j, n in enumerate(nodes) if n.output[0] == k)
        gate = nodes.pop(at)
        gate.input[0] = f"pp_{k}"
        after = [node("Mul", f"{cell} P_{k}", f"cp_{k}"), node("Add", f"p_{k} cp_{k}", f"pp_{k}"), gate]
        place = at if k != "o" else next(j for j, n in enumerate(nodes) if n.output[0] == "c_next") + 1
        nodes[place:place] = after
    return nodes, weights, states


def coupled_body(rng):
    nodes, weights, states = lstm_body(rng)
    nodes = [n for n in nodes if not set(n.output) & {"f", "p_f", "s_f", "xw_f", "hr_f"}]
    at = next(j for j, n in enumerate(nodes) if n.output[0] == "fc")
    nodes.insert(at, node("Sub", "one i", "f"))
    weights = {k: w for k, w in weights.items() if not k.endswith("_f")} | {"one": np.float32(1)}
    return nodes, weights, states


def combined(a, b):
    """h_next = (1 - z) a + z b."""
    return [
        node("Sub", "one z", "y"),
        node("Mul", f"y {a}", "ya"),
        node("Mul", f"z {b}", "zb"),
        node("Add", "ya zb", "h_next"),
    ]


def gru_body(rng, after, form):
    weights = gate_weights(rng, "zrn")
    nodes = [*gates("zr"), node("Sigmoid", "p_z", "z"), node("Sigmoid", "p_r", "r"), node("MatMul", "x W_n", "xw_n")]
    if after:
        weights["rb"] = random(rng, H)
        nodes += [node("MatMul", "h R_n", "hr_n"), node("Add", "hr_n rb", "u"), node("Mul", "r u", "ru")]
    else:
        nodes += [node("Mul", "h r", "rh"), node("MatMul", "rh R_n", "ru")]
    nodes += [node("Add", "ru xw_n", "s_n"), node("Add", "s_n b_n", "p_n"), node("Tanh", "p_n", "n")]
    nodes += {
        "onnx": [*combined("n", "h")],
        "torch": [node("Sub", "h n", "d"), node("Mul", "d z", "dz"), node("Add", "dz n", "h_next")],
        "flipped": [*combined("h", "n")],
    }[form]
    return nodes, weights | {"one": np.float32(1)}, ["h"]


def rnn_body(rng):
    return [*gates("a"), node("Tanh", "p_a", "h_next")], gate_weights(rng, "a"), ["h"]


def min_gru_body(rng):
    """h' = (1 - z) h + z n with gates that do not see h."""
    nodes = [node("MatMul", "x W_z", "p_z"), node("Sigmoid", "p_z", "z"), node("MatMul", "x W_n", "n")]
    nodes += [node("Sub", "n h", "d"), node("Mul", "z d", "zd"), node("Add", "h zd", "h_next")]
    return nodes, {k: w for k, w in gate_weights(rng, "zn").items() if k[0] == "W"}, ["h"]


def sru_body(rng):
    """c' = f c + (1 - f) u, h = r c' + (1 - r) x W."""
    weights = {k: w for k, w in gate_weights(rng, "ufr").items() if k[0] == "W"}
    weights |= {"v_f": random(rng, H), "one": np.float32(1)}
    nodes = [node("MatMul", f"x W_{k}", f"p_{k}") for k in "ufr"]
    nodes += [
        node("Mul", "v_f c", "vc"),
        node("Add", "p_f vc", "q_f"),
        node("Sigmoid", "q_f", "f"),
        node("Sigmoid", "p_r", "r"),
    ]
    nodes += [
        node("Mul", "f c", "fc"),
        node("Sub", "one f", "nf"),
        node("Mul", "nf p_u", "fu"),
        node("Add", "fc fu", "c_next"),
    ]
    nodes += [
        node("Mul", "r c_next", "rc"),
        node("Sub", "one r", "nr"),
        node("Mul", "nr p_u", "ru"),
        node("Add", "rc ru", "h_next"),
    ]
    return nodes, weights, ["h", "c"]


def ind_rnn_body(rng):
    """h' = relu(x W + r * h): units that do not see each other."""
    nodes = [
        node("MatMul", "x W_a", "xw"),
        node("Mul", "h r", "rh"),
        node("Add", "xw rh", "p"),
        node("Relu", "p", "h_next"),
    ]
    return nodes, {"W_a": random(rng, I, H), "r": random(rng, H) * 0.3}, ["h"]


def clamped_body(rng):
    """An LSTM whose c is clipped, which no cell does."""
    nodes, weights, states = lstm_body(rng)
    at = next(j for j, n in enumerate(nodes) if n.output[0] == "c_next")
    nodes[at] = node("Add", "fc ig", "c_free")
    nodes.insert(at + 1, node("Clip", "c_free low high", "c_next"))
    return nodes, weights | {"low": np.float32(-0.3), "high": np.float32(0.3)}, states


BODIES = {
    "lstm": (lstm_body, "lstm"),
    "lstm_peephole": (peephole_body, "lstm"),
    "lstm_coupled": (coupled_body, "lstm"),
    **{
        f"gru_{'after' if after else 'before'}_{form}": (lambda rng, a=after, f=form: gru_body(rng, a, f), "gru")
        for after in (False, True)
        for form in ("onnx", "torch", "flipped")
    },
    "rnn": (rnn_body, "rnn"),
    "min_gru": (min_gru_body, None),
    "sru": (sru_body, None),
    "ind_rnn": (ind_rnn_body, None),
    "clamped": (clamped_body, None),
}


def scan_file(tmp_path, body, batch=N, start=None, steps="T"):
    nodes, weights, states = body
    inner = graph_of(
        [*nodes, node("Identity", "h_next", "row")],
        [*states, "x"],
        [*(f"{s}_next" for s in states), "row"],
        weights,
    )
    starts = {f"{s}_0": np.zeros((batch, H), np.float32) if start is None else start[s] for s in states}
    scan = node(
        "Scan", " ".join([*starts, "X"]), " ".join([*(f"{s}_T" for s in states), "Y"]), num_scan_inputs=1, body=inner
    )
    outer = graph_of([scan], [info("X", [steps, batch, I])], [info("Y", [steps, batch, H])], starts, "scan")
    return save(outer, tmp_path)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", BODIES)
def test_scan_over_time(name, batch, tmp_path, rng):
    make, op = BODIES[name]
    path = scan_file(tmp_path, make(rng), batch)
    graph = sequence_agrees(path, random(rng, T, batch, I))
    if op is None:
        assert "state_write" in ops(graph) and not {"rnn", "gru", "lstm"} & set(ops(graph))
        assert "register: " in graph.source
    else:
        assert ops(graph) == [op], "one cell and nothing else is left"
        assert f"recovered: {op}_1" in graph.source


@pytest.mark.parametrize("name", ["lstm", "gru_after_torch", "sru"])
def test_scan_starts_where_the_file_says(name, tmp_path, rng):
    start = {"h": random(rng, 1, H), "c": random(rng, 1, H)}
    sequence_agrees(scan_file(tmp_path, BODIES[name][0](rng), start=start), random(rng, T, 1, I))


def test_scan_of_a_projected_sequence(tmp_path, rng):
    """Exporters take x W out of the loop, over all timesteps at once; the cell takes it back."""
    nodes, weights, _ = lstm_body(rng)
    nodes = [n for n in nodes if not n.output[0].startswith("xw_")]
    for n in nodes:
        n.input[:] = ["xw" + name[2:] + "_t" if name.startswith("xw_") else name for name in n.input]
    slices = [node("Split", "z", " ".join(f"xw_{k}_t" for k in "ifgo"), axis=1)]
    inner = graph_of(
        [*slices, *nodes, node("Identity", "h_next", "row")],
        ["h", "c", "z"],
        ["h_next", "c_next", "row"],
        {k: w for k, w in weights.items() if k[0] != "W"},
    )
    outside = {
        "W": np.concatenate([weights[f"W_{k}"] for k in "ifgo"], 1),
        "h_0": np.zeros((N, H), np.float32),
        "c_0": np.zeros((N, H), np.float32),
    }
    scan = node("Scan", "h_0 c_0 XW", "h_T c_T Y", num_scan_inputs=1, body=inner)
    outer = graph_of([node("MatMul", "X W", "XW"), scan], [info("X", ["T", N, I])], [info("Y", ["T", N, H])], outside)
    graph = sequence_agrees(save(outer, tmp_path), random(rng, T, N, I))
    assert ops(graph) == ["lstm"] and graph.nodes[0].weights["W"].shape == (4, H, I)


# -- Loop -----------------------------------------------------------------------------------------------------------


def loop_file(tmp_path, rng, pick, trips, weights=None, outside=()):
    """A Loop over time that picks its timestep from outside by the number of the round."""
    nodes, inner_weights, _ = rnn_body(rng)
    body = graph_of(
        [*pick, *nodes, node("Identity", "on", "on_next"), node("Identity", "h_next", "row")],
        [info("i", [], INT64), info("on", [], BOOL), "h"],
        [info("on_next", [], BOOL), "h_next", "row"],
        inner_weights,
    )
    held = {"h_0": np.zeros((N, H), np.float32), "true": np.array(True), "zero": np.array(0), **(weights or {})}
    loop = node("Loop", f"{trips} true h_0", "h_T Y", body=body)
    nodes = [*outside, loop]
    return save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, H])], held), tmp_path)


COUNT = [node("Shape", "X", "shape"), node("Gather", "shape zero", "count", axis=0)]


@pytest.mark.parametrize(
    "pick",
    [
        [node("Gather", "X i", "x", axis=0)],
        [
            node("Unsqueeze", "i first", "from"),
            node("Add", "from one", "to"),
            node("Slice", "X from to first", "xs"),
            node("Squeeze", "xs first", "x"),
        ],
    ],
    ids=["gather", "slice"],
)
def test_loop_over_time(pick, tmp_path, rng):
    more = {"first": np.array([0]), "one": np.array([1])} if len(pick) > 1 else {}
    graph = sequence_agrees(loop_file(tmp_path, rng, pick, "count", more, COUNT), random(rng, T, N, I))
    assert ops(graph) == ["rnn"]


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        ([node("Sub", "i one", "j"), node("Gather", "X j", "x", axis=0)], "-1 rounds away"),
        ([node("Mul", "i one", "j"), node("Gather", "X j", "x", axis=0)], "number of a round"),
        ([node("ReduceMean", "X", "x", axes=[0], keepdims=0)], "ReduceMean"),
    ],
)
def test_loop_that_looks_elsewhere_is_refused(pick, message, tmp_path, rng):
    path = loop_file(tmp_path, rng, pick, "count", {"one": np.array(1)}, COUNT)
    with pytest.raises(UnsupportedError, match=message):
        load(path)


def test_loop_with_a_number_of_rounds_in_the_file_is_no_time(tmp_path, rng):
    """7 rounds are 7 rounds, even if 7 timesteps are tried while loading."""
    path = loop_file(tmp_path, rng, [node("Gather", "X i", "x", axis=0)], "seven", {"seven": np.array(7)})
    with pytest.raises(UnsupportedError, match=r"timestep 0 of 7|Gather"):
        load(path)


def test_loop_inside_of_a_frame_is_written_out(tmp_path, rng):
    """y_t = A(A(A(x_t)))"""
    body = graph_of(
        [node("MatMul", "y A", "z"), node("Tanh", "z", "y_next"), node("Identity", "on", "on_next")],
        [info("i", [], INT64), info("on", [], BOOL), "y"],
        [info("on_next", [], BOOL), "y_next"],
        {"A": random(rng, I, I)},
    )
    loop = node("Loop", "three  X", "Y", body=body)
    loop.input[:] = ["three", "", "X"]
    path = save(graph_of([loop], [info("X", ["T", N, I])], [info("Y", ["T", N, I])], {"three": np.array(3)}), tmp_path)
    graph = sequence_agrees(path, random(rng, T, N, I))
    assert ops(graph).count("dense") == 3


def powers_loop(rounds):
    """A weight computed by a Loop over constants: A to the power of 2^rounds, its rows scaled by the round."""
    body = graph_of(
        [
            node("MatMul", "a a", "a_next"),
            node("Cast", "i", "row", to=FLOAT),
            node("Less", "i stop", "on_next"),
        ],
        [info("i", [], INT64), info("on", [], BOOL), "a"],
        [info("on_next", [], BOOL), "a_next", "row"],
        {"stop": np.array(2)},
    )
    return node("Loop", f"{rounds} true A", "W scale", body=body)


def test_loop_over_constants_is_computed(tmp_path, rng):
    """It ends by its condition after round 2."""
    weights = {"A": random(rng, I, I) * 0.4, "true": np.array(True), "many": np.array(100)}
    nodes = [
        powers_loop("many"),
        node("ReduceSum", "scale", "s", keepdims=0),
        node("MatMul", "X W", "XW"),
        node("Mul", "XW s", "Y"),
    ]
    graph = graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights)
    sequence_agrees(save(graph, tmp_path), random(rng, T, N, I))


def test_loops_have_a_limit(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TRIPS", 2)
    weights = {"A": random(rng, I, I) * 0.4, "true": np.array(True), "many": np.array(100)}
    nodes = [powers_loop("many"), node("MatMul", "X W", "Y")]
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights), tmp_path)
    with pytest.raises(UnsupportedError, match="runs 100 times, at most 2"):
        load(path)


def test_scan_over_constants_is_computed(tmp_path, rng):
    body = graph_of([node("Add", "s a", "s_next"), node("Tanh", "s_next", "row")], ["s", "a"], ["s_next", "row"])
    scan = node("Scan", "zero A", "s W", num_scan_inputs=1, scan_output_axes=[1], scan_input_directions=[1], body=body)
    weights = {"A": random(rng, I, I), "zero": np.zeros(I, np.float32)}
    nodes = [scan, node("MatMul", "X W", "Y")]
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights), tmp_path)
    sequence_agrees(path, random(rng, T, N, I))


def test_scan_backwards_in_time_is_refused(tmp_path, rng):
    nodes, weights, _ = rnn_body(rng)
    inner = graph_of([*nodes, node("Identity", "h_next", "row")], ["h", "x"], ["h_next", "row"], weights)
    scan = node("Scan", "h_0 X", "h_T Y", num_scan_inputs=1, scan_input_directions=[1], body=inner)
    start = {"h_0": np.zeros((N, H), np.float32)}
    path = save(graph_of([scan], [info("X", ["T", N, I])], [info("Y", ["T", N, H])], start), tmp_path)
    with pytest.raises(UnsupportedError, match="backwards in time"):
        load(path)


# -- If -------------------------------------------------------------------------------------------------------------


def branch(name, nodes, outputs, weights=None):
    return graph_of(nodes, [], outputs, weights, name)


def rate_file(tmp_path, rng):
    """Two networks, told apart by an input; names inside of the branches clash, and one branch holds another If."""
    weights = {"A": random(rng, I, H), "B": random(rng, I, H), "rate": np.array(16000), "other": np.array(8000)}
    deep = branch("deep", [node("Tanh", "inner", "out")], ["out"])
    flat = branch("flat", [node("Neg", "inner", "out")], ["out"])
    low = branch(
        "low",
        [
            node("MatMul", "X B", "inner"),
            node("Equal", "sr other", "is_8k"),
            node("If", "is_8k", "found", then_branch=deep, else_branch=flat),
        ],
        ["found"],
    )
    high = branch("high", [node("MatMul", "X A", "inner"), node("Relu", "inner", "found")], ["found"])
    nodes = [node("Equal", "sr rate", "is_16k"), node("If", "is_16k", "Y", then_branch=high, else_branch=low)]
    outer = graph_of(nodes, [info("X", ["T", N, I]), info("sr", [], INT64)], [info("Y", ["T", N, H])], weights)
    return save(outer, tmp_path)


@pytest.mark.parametrize("rate", [16000, 8000, 11025])
def test_branches_by_a_bound_input(rate, tmp_path, rng):
    path = rate_file(tmp_path, rng)
    X = random(rng, T, N, I)
    graph = load(path, fixed={"sr": rate})
    expected = peer(path, {"X": X, "sr": np.array(rate)})["Y"]
    np.testing.assert_allclose(reference.run(graph, X[:, 0]), expected[:, 0], rtol=0, atol=FLOAT32_PEER)
    assert graph.inputs == ["X"]


def test_what_must_be_bound_is_named(tmp_path, rng):
    with pytest.raises(UnsupportedError, match=r"input 'sr' must be bound.*fixed=.'sr': 16000.*16000, 8000"):
        load(rate_file(tmp_path, rng))


def test_branch_by_the_data_is_refused(tmp_path, rng):
    sides = [branch(n, [node(op, "X", "out")], ["out"]) for n, op in (("a", "Tanh"), ("b", "Relu"))]
    nodes = [node("ReduceMax", "X", "top", keepdims=0), node("Greater", "top half", "loud")]
    nodes.append(node("If", "loud", "Y", then_branch=sides[0], else_branch=sides[1]))
    weights = {"half": np.float32(0.5)}
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights), tmp_path)
    with pytest.raises(UnsupportedError, match="input 'X' decides at run time"):
        load(path)


@pytest.mark.parametrize("batch", [1, "N"])
def test_branch_by_a_size(batch, tmp_path, rng):
    """torch exports squeeze as an If on the size of the axis; the size of the batch may be open."""
    squeezed = branch("s", [node("Squeeze", "XW two", "out")], ["out"])
    kept = branch("k", [node("Identity", "XW", "out")], ["out"])
    nodes = [
        node("Unsqueeze", "X two", "XU"),
        node("Identity", "XU", "XW"),
        node("Shape", "XW", "shape"),
        node("Gather", "shape two", "n"),
        node("Equal", "n one", "is_one"),
        node("If", "is_one", "S", then_branch=squeezed, else_branch=kept),
        node("MatMul", "S A", "Y"),
    ]
    weights = {"two": np.array([2]), "one": np.array([1]), "A": random(rng, I, H)}
    path = save(graph_of(nodes, [info("X", ["T", batch, I])], [info("Y", ["T", batch, H])], weights), tmp_path)
    sequence_agrees(path, random(rng, T, 1, I))


# -- steps whose states come and go -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["first", "last", "flat"])
@pytest.mark.parametrize("name", ["lstm", "lstm_peephole"])
def test_step_with_a_stacked_state(name, stack, tmp_path, rng):
    """One tensor holds h and c, stacked on the first, the last or inside of an axis; the cell is taken apart."""
    body, weights, _ = BODIES[name][0](rng)
    axis = {"first": 0, "last": 2, "flat": 1}[stack]
    shape = {"first": [2, 1, H], "last": [1, H, 2], "flat": [1, 2 * H]}[stack]
    if stack == "flat":
        before = [node("Split", "state", "h c", axis=1)]
        after = [node("Concat", "h_next c_next", "state_out", axis=1)]
    else:
        before = [node("Gather", f"state {k}", s, axis=axis) for k, s in (("at0", "h"), ("at1", "c"))]
        after = [node("Unsqueeze", f"{s}_next ax", f"{s}_u") for s in "hc"]
        after.append(node("Concat", "h_u c_u", "state_out", axis=axis))
    held = {**weights, "at0": np.array(0), "at1": np.array(1), "ax": np.array([axis])}
    nodes = [*before, *body, *after, node("Identity", "h_next", "y")]
    outer = graph_of(
        nodes,
        [info("x", [1, I]), info("state", shape)],
        [info("y", [1, H]), info("state_out", ["a", "b", "c"][: len(shape)])],  # declared shapes say nothing
        held,
    )
    path = save(outer, tmp_path)
    graph = load(path)
    assert "lstm" in ops(graph) and "state_write" not in ops(graph)
    X, state, expected = random(rng, T, I), np.zeros(shape, np.float32), []
    for x in X:
        made = peer(path, {"x": x[None], "state": state})
        state = made["state_out"]
        expected.append(made["y"][0])
    np.testing.assert_allclose(reference.run(graph, X), expected, rtol=0, atol=FLOAT32_PEER)


def step_by_step(path, X, states):
    """A model of one step, driven by hand with ONNX Runtime: its state inputs are fed what its outputs gave."""
    carried = {name: np.zeros(shape, np.float32) for name, (_, shape) in states.items()}
    rows = []
    for x in X:
        made = peer(path, {"x": x, **carried})
        carried = {name: made[output] for name, (output, _) in states.items()}
        rows.append(made["y"])
    return np.stack(rows)


def history_file(tmp_path, rng, write):
    """A causal convolution with a cache of the last two frames, in each of the ways to write it back."""
    ways = {
        "slice": [node("Slice", "window from end last", "cache_out")],
        "scatter": [
            node("Slice", "cache from end last", "old"),
            node("Concat", "old xs", "parts", axis=2),
            node("Transpose", "cache", "rows", perm=[2, 0, 1]),
            node("Transpose", "parts", "new_rows", perm=[2, 0, 1]),
            node("ScatterND", "rows places new_rows", "written"),
            node("Transpose", "written", "cache_out", perm=[1, 2, 0]),
        ],
    }
    nodes = [
        node("Unsqueeze", "x last", "xs"),
        node("Concat", "cache xs", "window", axis=2),
        node("Reshape", "window flat", "row"),
        node("MatMul", "row K", "made"),
        node("Tanh", "made", "y"),
        *ways[write],
    ]
    weights = {
        "last": np.array([2]),
        "from": np.array([1]),
        "end": np.array([2**31 - 1]),
        "flat": np.array([1, 3 * I]),
        "places": np.array([[0], [1]]),
        "K": random(rng, 3 * I, I),
    }
    inputs = [info("x", [1, I]), info("cache", [1, I, 2])]
    return save(graph_of(nodes, inputs, [info("y", [1, I]), info("cache_out", [1, I, 2])], weights), tmp_path)


@pytest.mark.parametrize("write", ["slice", "scatter"])
def test_cache_of_frames(write, tmp_path, rng):
    """x and y have one shape as well: the cache is told by being moved into its output."""
    path = history_file(tmp_path, rng, write)
    graph = load(path)
    assert graph.inputs == ["x"] and list(graph.outputs) == ["y"]
    assert "state: input 'cache', output 'cache_out'" in graph.source
    X = random(rng, T, 1, I)
    expected = step_by_step(path, X, {"cache": ("cache_out", (1, I, 2))})
    made = reference.run(graph, X[:, 0])
    np.testing.assert_allclose(made.reshape(T, I), expected[:, 0], rtol=0, atol=FLOAT32_PEER)


def twin_states(tmp_path, rng):
    nodes = [
        node("MatMul", "x A", "a"),
        node("Add", "a h", "s"),
        node("Add", "s g", "u"),
        node("Tanh", "u", "h_out"),
        node("Relu", "u", "g_out"),
        node("Add", "h_out g_out", "y"),
    ]
    inputs = [info("x", [1, I]), info("h", [1, H]), info("g", [1, H])]
    outputs = [info("y", [1, H]), info("h_out", [1, H]), info("g_out", [1, H])]
    return save(graph_of(nodes, inputs, outputs, {"A": random(rng, I, H)}), tmp_path)


def test_two_pairings_are_not_guessed(tmp_path, rng):
    path = twin_states(tmp_path, rng)
    with pytest.raises(UnsupportedError, match=r"'h' could be returned by .*states=\{input: output\}"):
        load(path)
    pairs = {"h": "h_out", "g": "g_out"}
    X = random(rng, T, 1, I)
    expected = step_by_step(path, X, {name: (output, (1, H)) for name, output in pairs.items()})
    made = reference.run(load(path, states=pairs), X[:, 0])
    np.testing.assert_allclose(made, expected[:, 0], rtol=0, atol=FLOAT32_PEER)


def test_clip_as_one_frame(tmp_path, rng):
    """A softmax over time can only be computed for the whole clip."""
    weights = {"A": random(rng, I, 1), "time": np.array([1])}
    nodes = [node("MatMul", "X A", "score"), node("Softmax", "score", "share", axis=1)]
    nodes += [node("Mul", "X share", "weighted"), node("ReduceSum", "weighted time", "Y", keepdims=0)]
    path = save(graph_of(nodes, [info("X", [1, "T", I])], [info("Y", [1, I])], weights), tmp_path)
    with pytest.raises(UnsupportedError, match=r"Softmax node .*axis 1.*shapes=\{'X': \[1, T, 5\]\}"):
        load(path)
    graph = load(path, shapes={"X": [1, 12, I]})
    X = random(rng, 3, 12, I)
    expected = np.concatenate([peer(path, {"X": x[None]})["Y"] for x in X])
    np.testing.assert_allclose(reference.run(graph, X), expected, rtol=0, atol=FLOAT32_PEER)


def test_recurrence_inside_of_a_frame(tmp_path, rng):
    """A bidirectional GRU over the bands of a frame, then one GRU over time for each band."""
    bands = 6
    weights = {
        "W": random(rng, 2, 3 * H, I),
        "R": random(rng, 2, 3 * H, H),
        "V": random(rng, 1, 3 * H, 2 * H),
        "S": random(rng, 1, 3 * H, H),
        "shape": np.array([0, 0, -1]),
    }
    nodes = [
        node("Transpose", "x", "by_band", perm=[1, 0, 2]),  # (bands, 1, I)
        node("GRU", "by_band W R", "Y1", hidden_size=H, direction="bidirectional"),  # (bands, 2, 1, H)
        node("Transpose", "Y1", "T1", perm=[2, 0, 1, 3]),
        node("Reshape", "T1 shape2", "in2"),  # (1, bands, 2 H)
        node("GRU", "in2 V S  h", "Y2 h_out", hidden_size=H),
        node("Squeeze", "Y2 one", "y"),
    ]
    nodes[4].input[:] = ["in2", "V", "S", "", "", "h"]
    weights |= {"shape2": np.array([1, bands, 2 * H]), "one": np.array([1])}
    inputs = [info("x", [1, bands, I]), info("h", [1, bands, H])]
    path = save(graph_of(nodes, inputs, [info("y", [1, bands, H]), info("h_out", [1, bands, H])], weights), tmp_path)
    graph = load(path)
    assert [s.shape for s in graph.states.values()] == [(bands, H)]
    X = random(rng, T, 1, bands, I)
    expected = step_by_step(path, X, {"h": ("h_out", (1, bands, H))})
    made = reference.run(graph, X[:, 0])
    np.testing.assert_allclose(made.reshape(T, bands, H), expected[:, 0], rtol=0, atol=FLOAT32_PEER)


def test_sequence_written_out_by_the_exporter(tmp_path, rng):
    """Ten steps of a cell one after the other, of which the last is wanted; of an open length, only the first ten."""
    weights = {"A": random(rng, I, H), "B": random(rng, H, H), "h": np.zeros((1, H), np.float32)}
    nodes, h = [], "h"
    for t in range(10):
        weights[f"t{t}"] = np.array(t)
        nodes += [
            node("Gather", f"X t{t}", f"x{t}", axis=1),
            node("MatMul", f"x{t} A", f"a{t}"),
            node("MatMul", f"{h} B", f"b{t}"),
        ]
        nodes += [node("Add", f"a{t} b{t}", f"s{t}"), node("Tanh", f"s{t}", f"h{t}")]
        h = f"h{t}"
    nodes.append(node("Identity", h, "Y"))
    with pytest.raises(UnsupportedError, match="takes timestep 0"):
        load(save(graph_of(nodes, [info("X", [1, "T", I])], [info("Y", [1, H])], weights), tmp_path))
    path = save(graph_of(nodes, [info("X", [1, 10, I])], [info("Y", [1, H])], weights), tmp_path)
    X = random(rng, 10, I)
    expected = peer(path, {"X": X[None]})["Y"]
    np.testing.assert_allclose(
        np.reshape(reference.run(load(path), X), (-1, H))[-1:], expected, rtol=0, atol=FLOAT32_PEER
    )


def test_empty_rounds_are_counted(tmp_path, rng):
    """Loops inside of loops, without a single node to compute: they end in an error, soon."""

    def nest(depth):
        inner = [] if depth == 0 else [node("Loop", "many true v", f"w{depth}", body=nest(depth - 1))]
        names = [info(f"i{depth}", [], INT64), info(f"on{depth}", [], BOOL), f"v{depth}"]
        return graph_of(inner, names, [info(f"on{depth}", [], BOOL), f"w{depth}" if depth else "v0"])

    weights = {"many": np.array(4000), "true": np.array(True), "v": np.ones(I, np.float32)}
    nodes = [node("Loop", "many true v", "w", body=nest(3)), node("Add", "X w", "Y")]
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights), tmp_path)
    with pytest.raises(UnsupportedError, match="nodes after branches and loops"):
        load(path)
