# SPDX-License-Identifier: MIT
"""Frame ops beside dense layers of one row: what they compute, against NumPy written out here, and what they refuse."""

import math

import numpy as np
import pytest

import undertow
from undertow import reference
from undertow.accuracy import calibrate
from undertow.accuracy.layerwise import node_errors
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes.precisions import with_weights
from undertow.stream import Stream

NAN, INF = math.nan, math.inf


def graph_of(op, shapes, **settings):
    """A graph of one node whose inputs are the inputs of the model."""
    g = Graph(op)
    g.output("y", g.add(op, [g.input(f"x{i}", shape) for i, shape in enumerate(shapes)], **settings))
    return g


def random_inputs(shapes, T=5, seed=0):
    rng = np.random.default_rng(seed)
    return {f"x{i}": rng.normal(size=(T, *shape)).astype(np.float32) for i, shape in enumerate(shapes)}


@pytest.fixture(params=["reference", *(name for name, runs in undertow.isas().items() if runs)])
def run(request):
    """Runs a graph: in float64 by the reference, or on an instruction set."""
    if request.param == "reference":
        return reference.run
    return lambda graph, X: Model.from_graph(graph, request.param).run(X)


def rows_times(x, W, b):
    """(T, ..., K) times (M, K), one number at a time."""
    flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
    y = np.array([[math.fsum(w.astype(np.float64) * row) for w in W] for row in flat]) + b
    return y.reshape(*x.shape[:-1], len(W))


ROWS = [(3, 5), (1, 16), (4, 256), (33, 16), (2, 3, 7), (5, 1), (17, 33)]


@pytest.mark.parametrize("shape", ROWS, ids=str)
@pytest.mark.parametrize("n_out", [1, 16, 19, 48])
def test_dense_goes_along_the_rows_of_a_frame(shape, n_out, run):
    rng = np.random.default_rng(n_out)
    W = (rng.normal(size=(n_out, shape[-1])) / math.sqrt(shape[-1])).astype(np.float32)
    b = rng.normal(size=n_out).astype(np.float32)
    g = graph_of("dense", [shape], weights={"W": W, "b": b}, attrs={"activation": Activation("relu")})
    X = random_inputs([shape], T=3)
    expected = np.maximum(rows_times(X["x0"], W, b.astype(np.float64)), 0)
    np.testing.assert_allclose(run(g, X), expected, rtol=1e-5, atol=2e-6)
    assert g.values[g.outputs["y"]].shape == (*shape[:-1], n_out)


PRECISIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int4", "sparse float32", "sparse int8")


def pruned(rng, n_out, n_in):
    """A matrix of which a file may store blocks: a third of its blocks of 8 x 4, and its diagonal if it is square."""
    W = rng.normal(size=(n_out, n_in)) / math.sqrt(n_in)
    keep = np.kron(rng.random((-(-n_out // 8), -(-n_in // 4))) < 0.35, np.ones((8, 4)))[:n_out, :n_in]
    return W * np.maximum(keep, np.eye(n_out, n_in))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "shape, n_out", [((3, 17), 17), ((2, 40), 23), ((60, 9), 32), ((5, 32), 16), ((1, 8), 5), ((4, 33), 64)]
)
def test_rows_of_a_frame_have_the_bits_of_frames(shape, n_out, precision, isa):
    rng = np.random.default_rng(n_out)
    weights = {"W": pruned(rng, n_out, shape[1]), "b": rng.normal(size=n_out)}
    settings = {"weights": weights, "attrs": {"activation": Activation("tanh")}, "precisions": {"W": precision}}
    rows = Model.from_graph(graph_of("dense", [shape], **settings), isa)
    alone = Model.from_graph(graph_of("dense", [shape[1:]], **settings), isa)
    x = rng.normal(size=(13, *shape)).astype(np.float32)
    x[3, 0], x[5, -1, 1], x[6] = 0, NAN, 1e-30
    expected = np.concatenate([alone.run(frame) for frame in x]).reshape(13, *shape[:1], n_out)
    stream = rows.stream()
    for got in (rows.run(x), np.stack([stream.step(frame) for frame in x])):
        assert (np.isnan(got) == np.isnan(expected)).all()
        assert np.array_equal(np.nan_to_num(got).view(np.uint32), np.nan_to_num(expected).view(np.uint32))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_dense_rows_of_every_precision_against_the_reference(precision, isa):
    rng = np.random.default_rng(5)
    weights = {"W": pruned(rng, 21, 37), "b": rng.normal(size=21)}
    g = graph_of("dense", [(2, 3, 37)], weights=weights, precisions={"W": precision})
    X = random_inputs([(2, 3, 37)], T=20)
    expected = reference.run(g, X, rounding=True)
    # A number that float32 and float64 round to different sides moves an output by a step of one weight.
    limit = 2e-2 if "int" in precision else 5e-6
    got = Model.from_graph(g, isa).run(X)
    assert np.abs(got - expected).max() < limit
    assert np.quantile(np.abs(got - expected), 0.95) < 5e-6


@pytest.mark.parametrize("n_out", [40, 48])
@pytest.mark.parametrize("precision", PRECISIONS[:5])
def test_a_team_shares_the_rows_of_a_frame(n_out, precision, isa):
    rng = np.random.default_rng(n_out)
    weights = {"W": rng.normal(size=(n_out, 30)) / 5, "b": rng.normal(size=n_out)}
    settings = {"attrs": {"activation": Activation("sigmoid")}, "precisions": {"W": precision}}
    model = Model.from_graph(graph_of("dense", [(7, 30)], weights=weights, **settings), isa)
    x = random_inputs([(7, 30)], T=50)["x0"]
    stream = Stream(model, 0, 2, measure=False, least=0)
    assert stream.threads == 2
    assert np.array_equal(stream.run(x), model.stream().run(x))
    assert np.array_equal(np.stack([stream.step(frame) for frame in x]), model.run(x))


@pytest.mark.parametrize("shape", [(33, 9, 16), (1, 3, 5), (7, 1, 1), (4, 3, 40), (12, 2, 17)], ids=str)
def test_depthwise_has_weights_of_its_own_for_each_channel(shape, run):
    rng = np.random.default_rng(1)
    N, K, C = shape
    W, b = rng.normal(size=(K, C)).astype(np.float32), rng.normal(size=C).astype(np.float32)
    X = random_inputs([shape])
    x = X["x0"].astype(np.float64)
    plain = np.zeros((len(x), N, C))
    for k in range(K):
        plain += x[:, :, k] * W[k].astype(np.float64)
    g = graph_of("depthwise", [shape], weights={"W": W, "b": b}, attrs={"activation": Activation("tanh")})
    np.testing.assert_allclose(run(g, X), np.tanh(plain + b), rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(run(graph_of("depthwise", [shape], weights={"W": W}), X), plain, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize(
    "a, b",
    [((3, 4), (4, 5)), ((1, 1), (1, 1)), ((2, 3, 7), (2, 7, 2)), ((5, 33), (33, 17)), ((2, 2, 9, 16), (2, 2, 16, 33))],
    ids=str,
)
def test_matmul_of_two_computed_frames(a, b, run):
    X = random_inputs([a, b])
    x, y = (X[k].astype(np.float64) for k in ("x0", "x1"))
    expected = (x[..., :, :, None] * y[..., None, :, :]).sum(axis=-2)
    np.testing.assert_allclose(run(graph_of("matmul", [a, b]), X), expected, rtol=1e-5, atol=5e-6)


def fold(kind, x):
    """The reduction of (T, A, N, B) over N, one after another."""
    y = x[:, :, 0].astype(np.float64)
    for n in range(1, x.shape[2]):
        with np.errstate(all="ignore"):
            step = x[:, :, n].astype(np.float64)
            y = {"sum": y + step, "prod": y * step, "max": np.maximum(y, step), "min": np.minimum(y, step)}[kind]
    return y


@pytest.mark.parametrize("kind", ["sum", "max", "min", "prod"])
@pytest.mark.parametrize("shape", [(3, 5, 1), (1, 40, 1), (2, 7, 16), (4, 9, 21), (1, 1, 3), (5, 16, 2)], ids=str)
def test_reduce_over_the_middle_axis(kind, shape, run):
    X = random_inputs([shape])
    g = graph_of("reduce", [shape], attrs={"kind": kind})
    np.testing.assert_allclose(run(g, X), fold(kind, X["x0"]), rtol=1e-5, atol=5e-6)
    X["x0"][2, 0, shape[1] // 2, 0] = NAN
    X["x0"][3, 0, 0, 0] = -INF
    got, expected = run(g, X), fold(kind, X["x0"])
    assert math.isnan(got[2, 0, 0]) and (np.isnan(got) == np.isnan(expected)).all()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=5e-6)


ODD = np.array([0.0, -0.0, 1.0, -1.0, 2.5, INF, -INF, NAN], np.float32)
PAIRS = {"x0": np.repeat(ODD, 8).reshape(1, 64), "x1": np.tile(ODD, 8).reshape(1, 64)}


@pytest.mark.parametrize(
    "op, holds",
    [
        ("greater", lambda a, b: a > b),
        ("less", lambda a, b: a < b),
        ("equal", lambda a, b: a == b),
        ("greater_equal", lambda a, b: a >= b),
        ("less_equal", lambda a, b: a <= b),
    ],
)
def test_comparisons_give_0_or_1_and_0_for_nan(op, holds, run):
    expected = [[float(holds(float(a), float(b))) for a, b in zip(PAIRS["x0"][0], PAIRS["x1"][0], strict=True)]]
    assert np.array_equal(run(graph_of(op, [(64,), (64,)]), PAIRS), expected)


def test_where_takes_the_third_frame_where_the_first_is_zero(run):
    cond = np.tile(ODD, 3)[None]
    X = {"x0": cond, "x1": np.arange(24, dtype=np.float32)[None], "x2": -np.arange(24, dtype=np.float32)[None] - 0.5}
    got = run(graph_of("where", [(24,)] * 3), X)
    assert np.array_equal(got, [[i if cond[0, i] != 0 or math.isnan(cond[0, i]) else -i - 0.5 for i in range(24)]])


@pytest.mark.parametrize(
    "indices",
    [
        np.arange(24).reshape(4, 6).T,  # a transpose over all three
        np.lib.stride_tricks.sliding_window_view(np.arange(24), 9)[::3],  # windows
        np.array([0, 0, 0, 0, 23, 22, 21, 20, 5]),
        np.array([23]),
        np.arange(24)[::-2],
    ],
    ids=["transpose", "windows", "repeats", "one", "backwards"],
)
def test_select_takes_elements_of_several_frames(indices, run):
    shapes = [(2, 4), (5,), (11,)]
    X = random_inputs(shapes)
    joined = np.concatenate([X[f"x{i}"].reshape(5, -1) for i in range(3)], axis=1)
    g = graph_of("select", shapes, weights={"indices": indices})
    assert np.array_equal(run(g, X), joined[:, indices])
    assert g.nodes[0].attrs["sizes"] == (8, 5, 11)


def test_select_pads_with_a_constant_of_one_element(run):
    g = Graph("padded")
    x, zero = g.input("x", (3,)), g.add("constant", weights={"value": np.zeros(1)})
    g.output("y", g.add("select", [x, zero], weights={"indices": np.array([[3, 0, 1, 2, 3]])}))
    assert np.array_equal(run(g, np.array([[1, 2, 3]], np.float32)), [[[0, 1, 2, 3, 0]]])


NUMBERS = np.array(
    [0.0, -0.0, 0.3, -0.3, 0.5, -0.5, 1.5, 2.5, -2.5, 0.7, -0.7, 3.0, 1e10, -1e10, 2**23 - 0.5, INF, -INF, NAN],
    np.float32,
)
FORMULAS = {
    "sqrt": lambda v: math.sqrt(v) if v >= 0 else NAN,
    "log": lambda v: math.log(v) if v > 0 else (-INF if v == 0 else NAN),
    "abs": abs,
    "round": lambda v: float(round(v)) if math.isfinite(v) else v,
    "floor": lambda v: float(math.floor(v)) if math.isfinite(v) else v,
    "ceil": lambda v: float(math.ceil(v)) if math.isfinite(v) else v,
    "sign": lambda v: v if math.isnan(v) else float((v > 0) - (v < 0)),
    "reciprocal": lambda v: 1 / v if v else math.copysign(INF, v),
    "erf": math.erf,
    "sin": lambda v: math.sin(v) if abs(v) <= 2**20 else NAN,
    "cos": lambda v: math.cos(v) if abs(v) <= 2**20 else NAN,
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_activations_of_frames(kind, run):
    g = graph_of("activation", [(len(NUMBERS),)], attrs={"activation": Activation(kind)})
    expected = [math.nan if math.isnan(v) else FORMULAS[kind](float(v)) for v in NUMBERS]
    np.testing.assert_allclose(run(g, {"x0": NUMBERS[None]})[0], expected, rtol=1e-6, atol=0)


REFUSED = [
    ("dense", [(3, 4)], {"weights": {"W": np.ones((2, 3))}}, r"x0' has shape \(3, 4\), expected \(\.\.\., 3\)"),
    ("depthwise", [(4, 3)], {"weights": {"W": np.ones((4, 3))}}, r"\(4, 3\), expected \(rows, taps, channels\)"),
    ("depthwise", [(5, 4, 3)], {"weights": {"W": np.ones((3, 4))}}, r"W has shape \(3, 4\), expected \(4, 3\)"),
    ("matmul", [(3, 4), (3, 4)], {}, r"cannot be multiplied"),
    ("matmul", [(2, 3, 4), (4, 5)], {}, r"equal leading axes"),
    ("where", [(3,), (3,), (4,)], {}, r"differ in shape"),
    ("greater", [(3,), (4,)], {}, r"differ in shape"),
    ("reduce", [(3, 4)], {"attrs": {"kind": "sum"}}, r"expected three axes"),
    ("reduce", [(3, 4, 1)], {"attrs": {"kind": "mean"}}, r"kind is 'mean', expected one of"),
    ("select", [(3,), (4,)], {"weights": {"indices": np.array([7])}}, r"from 7 to 7, expected 0 to 6"),
    ("select", [(3,), (4,)], {"weights": {"indices": np.array([-1, 0])}}, r"from -1 to 0"),
]


@pytest.mark.parametrize("op, shapes, settings, message", REFUSED)
def test_what_does_not_fit_is_refused_by_name(op, shapes, settings, message):
    with pytest.raises((undertow.ShapeError, undertow.UnsupportedError), match=f"{op} '{op}': .*{message}"):
        graph_of(op, shapes, **settings)


@pytest.mark.parametrize("precision", ["int16", "int8", "int4"])
def test_rows_are_calibrated_verified_and_described(precision):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 6, 40)).astype(np.float32)
    g = graph_of("dense", [(6, 40)], weights={"W": rng.normal(size=(24, 40)) / 6, "b": rng.normal(size=24)})
    found = calibrate.fit(g, {"dense": precision}, {"x0": x})
    model = Model.from_graph(found)
    errors, same = node_errors(model, {"x0": x[:30]}, 1e-5)
    assert same and all(e.error <= 1e-5 for e in errors)
    exact = rows_times(x[60:], g.nodes[0].weights["W"], g.nodes[0].weights["b"].astype(np.float64))
    nearest = Model.from_graph(with_weights(g, precision))
    rms = [np.sqrt(((m.run(x[60:]) - exact) ** 2).mean()) for m in (model, nearest)]
    assert rms[0] <= rms[1] < {"int16": 5e-4, "int8": 0.02, "int4": 0.2}[precision]
    assert "(6, 40)  (6, 24)" in str(model)
