# SPDX-License-Identifier: MIT
"""Attention over rows of keys and values, and over the past frames that a stream keeps in a ring."""

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, cut
from onnx_files import model_of, node, onnxruntime, save
from undertow import passes, reference
from undertow.errors import ShapeError
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes.attention import attend as find_attention

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")


def past(heads=1, width=16, rows=7, key_width=None, first=None, cap=0.0, kept=False):
    """A query, and attention over the last `rows` frames of another input; `kept`: the window is an output too."""
    g = Graph("past")
    key_width = key_width or width // heads
    q, x = g.input("q", heads * key_width), g.input("x", width)
    first = 1 - rows if first is None else first
    taps = tuple(range(first, first + rows))
    states = [g.state("seen", (-first, width))] if first < 0 else []
    seen = g.add("window", [x], name="seen", attrs={"taps": taps}, states=states)
    places = (0, width, width // heads)
    attrs = {
        "heads": heads,
        "shared": heads,
        "rows": rows,
        "key_width": key_width,
        "value_width": width // heads,
        "scale": 0.5,
        "cap": cap,
        "key_places": places,
        "value_places": places,
    }
    g.output("y", g.add("attend", [q, seen, seen], name="it", attrs=attrs))
    if kept:
        g.output("seen", seen)
    return g


def feed(g, *lead, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(*lead, *g.shape(name))).astype(np.float32) for name in g.inputs}


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


SIZES = [
    (1, 8, 8, 1),
    (1, 64, 64, 33),
    (2, 5, 3, 16),
    (4, 17, 20, 7),
    (1, 130, 150, 40),
    (3, 1, 1, 2),
    (1, 16, 16, 1000),
]


@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("biases", [0, 1, 2])
@pytest.mark.parametrize(("heads", "key_width", "value_width", "rows"), SIZES)
def test_it_is_what_numpy_computes(heads, key_width, value_width, rows, biases, cap, isa):
    g = Graph("one")
    names = [
        g.input("q", (heads, key_width)),
        g.input("k", (heads, rows, key_width)),
        g.input("v", (rows, heads, value_width)),
    ]
    if biases:
        names.append(g.input("b", (heads, rows) if biases == 2 else rows))
    scale = key_width**-0.5
    attrs = {"heads": heads, "shared": heads, "rows": rows, "key_width": key_width, "value_width": value_width}
    places = {"value_places": (0, heads * value_width, value_width), "scale": scale, "cap": cap}
    g.output("y", g.add("attend", names, attrs={**attrs, **places}))
    X = feed(g, 3)
    q, k, v, *b = (X[name].astype(np.float64) for name in names)
    s = np.einsum("thd,thnd->thn", q, k) * np.float64(np.float32(scale))
    s = cap * np.tanh(s / cap) if cap else s
    s = s + (b[0].reshape(3, -1, rows) if b else 0)
    expected = np.einsum("thn,tnhe->the", softmax(s), v)
    np.testing.assert_allclose(Model.from_graph(g, isa=isa).run(X), expected, rtol=3e-5, atol=3e-6)
    np.testing.assert_allclose(reference.run(g, X), expected, rtol=1e-9, atol=1e-12)


def test_bits_are_those_that_the_format_says():
    """Sixteen chains joined by halves, then one chain over the rows."""
    g = past(rows=5, width=40)
    X = feed(g, 9)
    stream = Model.from_graph(g).stream()
    got = stream.run(X)
    softmax_of = Graph("softmax")
    softmax_of.output("y", softmax_of.add("softmax", [softmax_of.input("x", 5)]))
    shares_of = Model.from_graph(softmax_of)

    def fma(a, b, c):  # exact but for one rounding: two float32 fit a product in 48 bits
        return np.float32(np.longdouble(a) * np.longdouble(b) + np.longdouble(c))

    seen = np.concatenate([np.zeros((4, 40), np.float32), X["x"]])
    for t in range(9):
        scores = []
        for j in range(5):
            part = np.zeros(16, np.float32)
            for d in range(40):
                part[d % 16] = fma(X["q"][t, d], seen[t + j, d], part[d % 16])
            for n in (8, 4, 2, 1):
                part[:n] = part[:n] + part[n : 2 * n]
            scores.append(part[0] * np.float32(0.5))
        shares = shares_of.run(np.float32(scores)[None])[0]
        y = np.zeros(40, np.float32)
        for j in range(5):
            y = np.float32([fma(shares[j], seen[t + j, e], y[e]) for e in range(40)])
        assert_same_bits(got[t].reshape(-1), y)


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 50])
@pytest.mark.parametrize(("heads", "width"), [(1, 16), (4, 32), (1, 5), (2, 6), (1, 3), (1, 100)])
def test_a_ring_gives_the_bits_of_a_window(rows, heads, width, isa):
    """Streams read the ring; a model that shows its window, whole sequences and pools do not."""
    g = past(heads, width, rows)
    X = feed(g, 70)
    model = Model.from_graph(g, isa=isa)
    expected = Model.from_graph(past(heads, width, rows, kept=True), isa=isa).stream().run(X)["y"]
    assert_same_bits(model.run(X), expected, "whole")
    assert_same_bits(model.stream().run(X), expected, "blocks")
    for sizes in ([1] * 70, [3, 60, 7], [2] * 35):
        stream, at = model.stream(), 0
        for n in sizes:
            y = stream.run(cut(X, np.s_[at : at + n])) if n > 1 else stream.step(cut(X, at))[None]
            assert_same_bits(y, expected[at : at + n], f"{sizes[:3]} at {at}")
            at += n
    with model.pool(3) as pool:
        ids = pool.open(3)
        both = {name: np.stack([x, x, x]) for name, x in X.items()}
        assert_same_bits(pool.run(ids, both), np.stack([expected] * 3), "pool")


@pytest.mark.parametrize("block", [1, 2, 5, 16])
def test_blocks_of_any_size(block):
    g = past(2, 32, 9)
    X = feed(g, 64)
    model = Model.from_graph(g)
    assert_same_bits(model.stream(block=block).run(X), model.run(X))


@pytest.mark.parametrize("first", [-9, -5])
def test_rows_that_end_before_now(first):
    g = past(1, 16, 5, first=first)
    X = feed(g, 40)
    model = Model.from_graph(g)
    seen = np.concatenate([np.zeros((-first, 16)), X["x"]]).astype(np.float64)
    expected = []
    for t in range(40):
        rows = seen[t : t + 5]
        expected.append(softmax(rows @ X["q"][t] * 0.5) @ rows)
    np.testing.assert_allclose(model.stream().run(X)[:, 0], expected, atol=1e-5)


def test_snapshots_forks_and_resets():
    g = past(2, 32, 9)
    X = feed(g, 40)
    model = Model.from_graph(g)
    expected = model.run(X)
    stream = model.stream()
    stream.run(cut(X, np.s_[:13]))
    taken, fork = stream.snapshot(), stream.fork()
    rest = cut(X, np.s_[13:])
    assert_same_bits(stream.run(rest), expected[13:])
    assert_same_bits(fork.run(rest), expected[13:])
    stream.restore(taken)
    assert_same_bits(stream.run(rest), expected[13:])
    stream.reset()
    assert_same_bits(stream.run(X), expected)
    stream.restore(taken)
    stream.propose(cut(X, 20))
    stream.rollback()
    assert_same_bits(stream.run(rest), expected[13:])


def test_a_state_that_is_set_by_hand_is_read():
    g = past(1, 16, 4)
    model = Model.from_graph(g)
    X = feed(g, 12)
    stream = model.stream()
    stream.run(cut(X, np.s_[:5]))
    seen = np.random.default_rng(5).normal(size=(3, 16)).astype(np.float32)
    stream.state["seen"] = seen
    x, q = X["x"][5], X["q"][5].astype(np.float64)
    rows = np.concatenate([seen, x[None]]).astype(np.float64)
    np.testing.assert_allclose(stream.step(cut(X, 5))[0], softmax(rows @ q * 0.5) @ rows, atol=1e-5)
    assert_same_bits(np.asarray(stream.state["seen"]), np.concatenate([seen[1:], x[None]]))


def test_gaps_of_nan_pass():
    """A frame of NaN makes results NaN as long as the window has it, and no longer."""
    g = past(1, 16, 4)
    X = feed(g, 30)
    clean = Model.from_graph(g).run(X)
    X["x"][10] = np.nan
    y = Model.from_graph(g).stream().run(X)
    assert np.isnan(y[10:14]).all()
    assert_same_bits(np.delete(y, np.s_[10:14], 0), np.delete(clean, np.s_[10:14], 0))


def test_rows_that_are_masked_have_no_share_and_all_masked_are_nan():
    g = Graph("masked")
    names = [g.input("q", 4), g.input("k", (3, 4)), g.input("v", (3, 4)), g.input("b", 3)]
    g.output("y", g.add("attend", names, attrs={"rows": 3, "key_width": 4, "value_width": 4}))
    X = feed(g, 2)
    X["b"][:] = [[0, -np.inf, -np.inf], [-np.inf] * 3]
    y = Model.from_graph(g).run(X)
    assert_same_bits(y[0, 0], X["v"][0, 0])
    assert np.isnan(y[1]).all()


def test_two_layers_read_one_window():
    """Keys in one half of a frame, values in the other, and a second layer over some of the rows."""
    g = Graph("two")
    q, x = g.input("q", 8), g.input("x", 16)
    seen = g.add("window", [x], name="seen", attrs={"taps": (-5, -4, -3, -2, -1, 0)}, states=[g.state("seen", (5, 16))])
    size = {"key_width": 8, "value_width": 8}
    g.output(
        "a",
        g.add(
            "attend", [q, seen, seen], attrs={**size, "rows": 6, "key_places": (0, 16, 0), "value_places": (8, 16, 0)}
        ),
    )
    g.output(
        "b",
        g.add(
            "attend", [q, seen, seen], attrs={**size, "rows": 3, "key_places": (40, 16, 0), "value_places": (48, 16, 0)}
        ),
    )
    X = feed(g, 30)
    model = Model.from_graph(g)
    got, whole = model.stream().run(X), model.run(X)
    assert_same_bits(got, whole)
    frames = np.concatenate([np.zeros((5, 16)), X["x"]]).astype(np.float64)
    for t in (0, 9, 29):
        six = frames[t : t + 6]
        q = X["q"][t].astype(np.float64)
        np.testing.assert_allclose(got["a"][t, 0], softmax(six[:, :8] @ q) @ six[:, 8:], atol=1e-5)
        some = six[2:5]
        np.testing.assert_allclose(got["b"][t, 0], softmax(some[:, 8:] @ q) @ six[3:6, :8], atol=1e-5)


@pytest.mark.parametrize(
    ("attrs", "says"),
    [
        ({"rows": 0}, "rows is 0, expected 1 to"),
        ({"heads": 2, "shared": 3}, "2 heads, expected a multiple of the 3"),
        ({"heads": 2}, "have shape .* expected 2 x 4"),
        ({"key_places": (0, 3, 0)}, "rows of 4 elements overlap"),
        ({"key_places": (1, 4, 0)}, "rows leave 'k', which has 12 elements"),
        ({"value_places": (0, 5, 0)}, "rows leave 'v'"),
        ({"cap": -1.0}, "cap is -1.0, expected 0"),
        ({"cap": np.nan}, "cap is nan, expected 0"),
    ],
)
def test_what_does_not_fit_is_refused(attrs, says):
    g = Graph("wrong")
    names = [g.input("q", 4), g.input("k", (3, 4)), g.input("v", (3, 4))]
    with pytest.raises(ShapeError, match=says):
        g.add("attend", names, attrs={"rows": 3, "key_width": 4, "value_width": 4, **attrs})


def test_a_bias_that_does_not_fit_is_refused():
    g = Graph("wrong")
    names = [g.input("q", 4), g.input("k", (3, 4)), g.input("v", (3, 4)), g.input("b", 4)]
    with pytest.raises(ShapeError, match="bias 'b' has 4 elements, expected 3 or 3"):
        g.add("attend", names, attrs={"rows": 3, "key_width": 4, "value_width": 4})


# -- what the pass finds ----------------------------------------------------------------------------------------------

SCALES = ["none", "div", "mul", "affine", "bias", "bias by head", "value", "cap"]


def formula(kind, heads=1, rows=6, width=8, transposed=False, each=1, values=None):
    """Attention as an exporter writes it: keys and values are in rows (rows, heads, width), `each` heads share them."""
    g = Graph("formula")
    shared = heads // each
    q, x = g.input("q", (heads, 1, width)), g.input("x", (rows, shared * width))
    at = np.arange(rows * shared * width).reshape(rows, shared, width)
    of_head = np.repeat(at.transpose(1, 0, 2), each, axis=0)
    v = g.add("select", [x], weights={"indices": of_head})
    if transposed:
        k = g.add("select", [x], weights={"indices": of_head})
        q = g.add("reshape", [q], attrs={"shape": (heads, width, 1)})
        s = g.add("matmul", [k, q])
        s = g.add("reshape", [s], attrs={"shape": (heads, 1, rows)})
    else:
        k = g.add("select", [x], weights={"indices": of_head.transpose(0, 2, 1).copy()})
        s = g.add("matmul", [q, k])
    shape = (heads, 1, rows)

    def number(n):
        return g.add("constant", weights={"value": np.full(shape, n)})

    rng = np.random.default_rng(3)
    if kind == "div":
        s = g.add("div", [s, number(3.0)])
    if kind == "mul":
        s = g.add("mul", [number(0.3), s])
    if kind == "affine":
        s = g.add("affine", [s], weights={"scale": np.full(shape, 0.5), "shift": rng.normal(size=shape)})
    if kind == "cap":
        s = g.add("mul", [s, number(0.7 / 2.0)])
        s = g.add("mul", [g.add("activation", [s], attrs={"activation": Activation("tanh")}), number(2.0)])
    if kind in ("bias", "cap"):
        s = g.add("add", [s, g.add("constant", weights={"value": np.broadcast_to(rng.normal(size=rows), shape)})])
    if kind == "bias by head":
        s = g.add("add", [g.add("constant", weights={"value": rng.normal(size=shape)}), s])
    if kind == "value":
        s = g.add("add", [g.input("b", shape), s])
    p = g.add("softmax", [s])
    if transposed:
        p = g.add("reshape", [p], attrs={"shape": (heads, rows, 1)})
        vt = g.add("select", [x], weights={"indices": of_head.transpose(0, 2, 1).copy()})
        y = g.add("matmul", [vt, p])
    else:
        y = g.add("matmul", [p, v])
    g.output("y", g.add("reshape", [y], attrs={"shape": (heads * width,)}))
    return g


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("heads", "each"), [(1, 1), (4, 1), (4, 2), (3, 3)])
@pytest.mark.parametrize("kind", SCALES)
def test_attention_is_found_in_its_formula(kind, heads, each, transposed):
    g = formula(kind, heads, transposed=transposed, each=each)
    X = feed(g, 5)
    expected = reference.run(g, X)
    whole = formula(kind, heads, transposed=transposed, each=each)
    passes.run(whole)
    model = Model.from_graph(whole)
    assert find_attention(g)
    (it,) = [n for n in g.nodes if n.op == "attend"]
    assert (it.attrs["heads"], it.attrs["shared"]) == (heads, heads // each)
    assert it.inputs[1:3] == ("x", "x")
    assert (len(it.inputs) == 4) == (kind in ("affine", "bias", "bias by head", "value", "cap"))
    assert it.attrs["cap"] == (2.0 if kind == "cap" else 0.0)
    assert not [n for n in g.nodes if n.op in ("softmax", "matmul")]
    np.testing.assert_allclose(reference.run(g, X), expected, rtol=1e-6, atol=1e-6)
    assert [n.op for n in model.graph.nodes if n.op in ("softmax", "matmul", "attend", "select")] == ["attend"]
    np.testing.assert_allclose(model.run(X), expected, atol=1e-5)


def shown(g, value):
    g.output("shown", value)


@pytest.mark.parametrize("op", ["matmul", "softmax"])
def test_what_is_read_elsewhere_stays(op):
    g = formula("div")
    (first, *_) = [n for n in g.nodes if n.op == op]
    shown(g, first.outputs[0])
    before = [n.op for n in g.nodes]
    assert not find_attention(g)
    assert [n.op for n in g.nodes] == before


def test_factors_that_differ_stay():
    g = Graph("differ")
    q, k, v = g.input("q", (1, 4)), g.input("k", (4, 3)), g.input("v", (3, 4))
    s = g.add("mul", [g.add("matmul", [q, k]), g.add("constant", weights={"value": np.float32([[1, 2, 3]])})])
    g.output("y", g.add("matmul", [g.add("softmax", [s]), v]))
    assert not find_attention(g)


@pytest.mark.parametrize(("n", "is_found"), [(1, True), (4, True), (5, False), (40, False)])
def test_many_queries_of_the_same_keys_stay_products_of_matrices(n, is_found):
    g = Graph("clip")
    q, x = g.input("q", (2, n, 8)), g.input("x", (2, 7, 8))
    at = np.arange(112).reshape(2, 7, 8)
    s = g.add("matmul", [q, g.add("select", [x], weights={"indices": at.transpose(0, 2, 1).copy()})])
    g.output("y", g.add("matmul", [g.add("softmax", [s]), x]))
    X = feed(g, 3)
    expected = reference.run(g, X)
    assert bool(find_attention(g)) == is_found
    np.testing.assert_allclose(Model.from_graph(g).run(X), expected, atol=1e-5)


def test_keys_that_lie_in_columns_stay():
    g = Graph("columns")
    q, k, v = g.input("q", (1, 4)), g.input("k", (4, 3)), g.input("v", (3, 4))
    g.output("y", g.add("matmul", [g.add("softmax", [g.add("matmul", [q, k])]), v]))
    assert not find_attention(g)


# -- files of others --------------------------------------------------------------------------------------------------


def window_of_states(D=16, N=12, heads=1):
    """A recurrent step, and attention of its state over the last N."""
    rng = np.random.default_rng(0)
    w = D // heads
    weights = {
        "W": (rng.normal(size=(D, D)) * 0.3).astype(np.float32),
        "U": (rng.normal(size=(D, D)) * 0.3).astype(np.float32),
        "Q": (rng.normal(size=(D, D)) * 0.3).astype(np.float32),
        "one": np.int64([1]),
        "end": np.int64([N]),
        "scale": np.float32(w**0.5),
        "q_shape": np.int64([1, heads, 1, w]),
        "rows": np.int64([1, N, heads, w]),
        "y_shape": np.int64([1, D]),
    }
    nodes = [
        node("MatMul", "x W", "xw"),
        node("MatMul", "h U", "hu"),
        node("Add", "xw hu", "s"),
        node("Tanh", "s", "h_out"),
        node("Slice", "cache one end one", "kept"),
        node("Unsqueeze", "h_out one", "row"),
        node("Concat", "kept row", "cache_out", axis=1),
        node("MatMul", "h_out Q", "query"),
        node("Reshape", "query q_shape", "q"),
        node("Reshape", "cache_out rows", "by_head"),
        node("Transpose", "by_head", "k", perm=[0, 2, 3, 1]),
        node("Transpose", "by_head", "v", perm=[0, 2, 1, 3]),
        node("MatMul", "q k", "scores"),
        node("Div", "scores scale", "scaled"),
        node("Softmax", "scaled", "p", axis=-1),
        node("MatMul", "p v", "read"),
        node("Reshape", "read y_shape", "y"),
    ]
    inputs = {"x": [1, D], "h": [1, D], "cache": [1, N, D]}
    outputs = {"y": [1, D], "h_out": [1, D], "cache_out": [1, N, D]}
    return model_of(nodes, inputs, outputs, weights)


@pytest.mark.parametrize("heads", [1, 4])
def test_a_window_of_states_gives_what_onnx_runtime_gives(heads, tmp_path):
    path = save(window_of_states(heads=heads), tmp_path)
    states = {"h": "h_out", "cache": "cache_out"}
    model = undertow.load(path, states=states)
    ops = [n.op for n in model.graph.nodes]
    assert ops.count("attend") == 1 and ops.count("window") == 1 and not {"softmax", "matmul", "select"} & {*ops}
    session = onnxruntime().InferenceSession(str(path))
    now = {"h": np.zeros((1, 16), np.float32), "cache": np.zeros((1, 12, 16), np.float32)}
    X = np.random.default_rng(1).normal(size=(40, 1, 16)).astype(np.float32)
    stream = model.stream()
    for x in X:
        y, now["h"], now["cache"] = session.run(["y", "h_out", "cache_out"], {"x": x, **now})
        np.testing.assert_allclose(stream.step(x.reshape(model.inputs["x"].shape)).reshape(1, 16), y, atol=1e-5)
    with_all = undertow.load(path, states=states).run(X.reshape(40, *model.inputs["x"].shape))
    assert with_all.shape[0] == 40
