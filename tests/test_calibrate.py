# SPDX-License-Identifier: MIT
"""What reduced weights cost: distances over streams, the search for precisions, and `verify`."""

import numpy as np
import pytest

from networks import cached, counter, framed, round_trip_graphs, single, zoo, zoo_input
from undertow import reference
from undertow.accuracy import calibrate, calibration, choice, layerwise, step_cost, trials
from undertow.accuracy.drift import Distance, check_same_frames, distances, repeated
from undertow.accuracy.peer import CannotFeed
from undertow.accuracy.verify import verify
from undertow.errors import ShapeError, ToleranceError
from undertow.ir import products
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.ir.precision import CODES
from undertow.model import Model
from undertow.passes.precisions import with_weights
from undertow.tow import codec
from undertow.tow.sizes import weight_bytes

pytestmark = pytest.mark.usefixtures("quick_times")

REDUCED = ["float16", "bfloat16", "int16", "int8", "int4"]


def stack(seed=0, n_in=6, hidden=24):
    """Two recurrent layers and a head, of very different sizes."""
    rng = np.random.default_rng(seed)
    g = Graph("stack")
    x = g.input("x", n_in)
    for name, op, n in (("wide", "gru", hidden), ("narrow", "rnn", 5)):
        (k,) = g.shape(x)
        gates = {"gru": 3, "rnn": 1}[op]
        w = {
            "W": rng.normal(size=(gates, n, k)) / np.sqrt(k),
            "R": rng.normal(size=(gates, n, n)) / np.sqrt(n) / 2,
            "b": rng.normal(size=(gates, n)),
        }
        x = g.add(op, [x], name=name, weights=w, states=[g.state(f"{name}.h", n)])
    g.output("y", g.add("dense", [x], name="head", weights={"W": rng.normal(size=(3, 5)) / 3}))
    return g


def frames(T=60, *shape, seed=1):
    return {"x": np.random.default_rng(seed).normal(size=(T, *(shape or (6,)))).astype(np.float32)}


def longest_error(graph, other, X, steps):
    """The largest difference of two graphs' outputs when X is repeated; computed without undertow.accuracy.drift."""
    x = np.tile(X["x"], (-(-steps // len(X["x"])), 1))[:steps]
    a, b = (Model.from_graph(g).run(x).astype(np.float64) for g in (graph, other))
    return np.abs(a - b)


# -- distances --------------------------------------------------------------------------------------------------------


def test_distance_by_hand():
    d = Distance(1, 2)
    d.add({"a": np.float32([1, 2]), "b": np.float32([0])}, {"a": np.float32([1, 5]), "b": np.float32([4])})
    assert (d.max, d.squares, d.n) == (4, 25, 3)
    assert d.rms == pytest.approx(np.sqrt(25 / 3)) and d.relative == pytest.approx(5 / np.sqrt(42))
    d.add({"a": np.float32([np.nan, np.inf])}, {"a": np.float32([np.nan, np.inf])})
    assert d.max == 4
    for got in (np.nan, np.inf):
        e = Distance(1, 1)
        e.add({"a": np.float32([got])}, {"a": np.float32([1])})
        assert e.max == np.inf
    assert Distance(1, 1).relative == 0


def test_distances_between_marks():
    g, X = stack(), frames(70)
    reduced = with_weights(g, "int8")
    found = distances(Model.from_graph(reduced), Model.from_graph(g), repeated(X), (10, 100, 1234))
    error = longest_error(reduced, g, X, 1234)
    assert [(d.first, d.last) for d in found] == [(1, 10), (11, 100), (101, 1234)]
    for d in found:
        part = error[d.first - 1 : d.last]
        assert d.max == part.max() and d.rms == pytest.approx(np.sqrt((part**2).mean()))
    with pytest.raises(ShapeError, match=r"the original has inputs .*expected those of 'stack'"):
        check_same_frames(Model.from_graph(g), Model.from_graph(stack(n_in=7)), "the original")


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float32", *REDUCED])
def test_bytes_of_layers_are_those_of_the_file(name):
    for graph in (zoo(), counter(), framed(), cached(), *round_trip_graphs()):
        reduced = with_weights(graph, name)
        for node in reduced.nodes:
            _, tensors, _ = codec._encode(reduced, node)
            assert weight_bytes(node) == sum(t.nbytes for t in tensors if t is not None), f"{graph.name} {node.name}"


# -- measure and search -----------------------------------------------------------------------------------------------


def test_measure():
    g, X = stack(), frames()
    found = calibrate.measure(g, "int8", X)
    error = longest_error(found.graph, g, X, calibration.LONG)
    once = error[: len(X["x"])]
    assert found.total.data.max == once.max() and found.total.data.rms == pytest.approx(np.sqrt((once**2).mean()))
    assert found.total.late.max == error[-calibration.LATE :].max()
    assert found.total.longest == error.max()
    assert [layer.name for layer in found.layers] == ["wide", "narrow", "head"]
    for layer in found.layers:
        alone = calibrate.fit(g, {layer.name: "int8"}, X)
        assert layer.alone.data.max == longest_error(alone, g, X, len(X["x"])).max()
        assert layer.bytes_after < layer.bytes_before and layer.precision == "int8"
        assert layer.alone.step_us > 0
    text = str(found)
    for words in ("layer", "before", "after 10,000 steps", "us a step", "wide", "all together", "60 frames"):
        assert words in text
    mixed = calibrate.measure(g, {"wide": {"R": "int4"}}, X)
    assert [layer.precision for layer in mixed.layers] == ["W float32, R int4", "float32", "float32"]
    assert mixed.layers[1].alone is None


def sequences(n=9, T=7):
    return {"x": np.random.default_rng(4).normal(size=(n, T, 6)).astype(np.float32)}


def largest_alone(graph, other, X):
    """The largest difference of two graphs' outputs over sequences, each in a stream of its own."""
    errors = []
    for x in X["x"]:
        a, b = (Model.from_graph(g).stream().run(x).astype(np.float64) for g in (graph, other))
        errors.append(np.abs(a - b).max())
    return max(errors)


def test_sequences_start_afresh():
    g, X = stack(), sequences()
    found = calibrate.measure(g, "int8", X)
    assert found.total.data.max == found.total.longest == largest_alone(found.graph, g, X) > 0
    assert found.total.late is None and found.facts()["sequences"] == 9 and found.n_frames == 63
    assert "63 frames in 9 sequences" in str(found) and "10,000" not in str(found)
    joined = calibrate.measure(g, "int8", {"x": X["x"].reshape(-1, 6)})
    assert joined.total.data.max != found.total.data.max and joined.n_sequences == 1
    with pytest.raises(ToleranceError):
        calibrate.measure(g, "int8", X, found.total.data.max * 0.99)
    with pytest.raises(ShapeError, match="no frames"):
        calibrate.measure(g, "int8", {"x": X["x"][:0]})


def test_search_of_sequences(bytes_decide):
    g, X = stack(), sequences()
    found = calibrate.search(g, X, 2e-2)
    assert largest_alone(found.graph, g, X) <= 2e-2
    assert {layer.precision for layer in found.layers} != {"float32"}


def test_weights_are_rounded_for_the_first_sequences_and_judged_by_the_others(monkeypatch):
    g, X = stack(), sequences()
    seen = []

    def look(node, precisions, graph, of):
        seen.append([values["x"] for values in of])
        return {}

    monkeypatch.setattr(trials, "fitted", look)
    calibrate.fit(g, "int8", X)
    assert seen and all(len(x) == 6 and np.array_equal(x, X["x"][:6]) for x in seen)
    seen.clear()
    calibrate.fit(g, "int8", {"x": X["x"][:1]})
    assert not seen, "of one sequence, none is left to judge by"


def test_measure_refuses_what_exceeds_the_tolerance():
    g, X = stack(), frames()
    with pytest.raises(ToleranceError, match=r"'stack': these weights change the output by up to .*, tolerance 1e-06"):
        calibrate.measure(g, "int8", X, 1e-6)
    assert calibrate.measure(g, "int8", X, 1.0).tolerance == 1.0


@pytest.mark.parametrize("tolerance", [1e-3, 1e-2, 5e-2, 10.0])
def test_search_keeps_the_tolerance(tolerance, bytes_decide):
    g, X = stack(), frames()
    found = calibrate.search(g, X, tolerance)
    assert longest_error(found.graph, g, X, calibration.LONG).max() <= tolerance
    assert all(node.precisions == {} for node in g.nodes)
    after = sum(layer.bytes_after for layer in found.layers)
    for uniform in REDUCED:  # never larger than one precision for all that holds as well
        if longest_error(calibrate.fit(g, uniform, X), g, X, calibration.LONG).max() <= tolerance:
            whole = calibrate.measure(g, uniform, X)
            assert after <= sum(layer.bytes_after for layer in whole.layers), uniform
    if tolerance == 10.0:
        assert "R int4" in found.layers[0].precision
    if tolerance == 1e-3:
        assert "int4" not in {layer.precision for layer in found.layers}


def test_search_takes_what_is_fastest():
    g, X = stack(hidden=64), frames()
    found = calibrate.search(g, X, 10.0)
    wide, *small = (node.precisions for node in found.graph.nodes)
    assert wide["R"] == "int8" and wide["W"] in ("int8", "float16"), "int4 is slower"
    assert not any(small), "which are too small to be faster in less"
    assert "narrow, head stay float32: no precision that can hold it is faster, or as fast and smaller" in str(found)
    tiny = calibrate.search(stack(hidden=8), X, 10.0)
    assert {layer.precision for layer in tiny.layers} == {"float32"} and tiny.total.data.max == 0


def test_search_tells_the_halves_of_a_layer_apart():
    """One input is a thousand times the others: what 8 bits leave of a frame is for the hidden state only."""
    g, X = stack(hidden=64), frames()
    X["x"][:, 0] *= 1e3
    g.nodes[0].weights["W"][:, :, 0] /= 1e3
    found = calibrate.search(g, X, 2e-2)
    wide = found.graph.nodes[0].precisions
    assert wide.get("W", "float32") in ("float16", "float32") and wide["R"] in ("int8", "int4")
    assert longest_error(found.graph, g, X, calibration.LONG).max() <= 2e-2


def test_search_says_which_layers_stay_float32(bytes_decide):
    g = stack()
    g.nodes[-1].weights["W"] *= 1e4  # whatever else is rounded, the head errs by more than the others may
    small = Graph("two")
    x = small.input("x", 6)
    steep = np.random.default_rng(0).normal(size=(99, 64)) * 1e3
    x = small.add("dense", [x], name="before", weights={"W": np.full((64, 6), 0.01)})
    small.output("steep", small.add("dense", [x], name="steep", weights={"W": steep}))
    small.output("easy", small.add("dense", [x], name="easy", weights={"W": np.full((99, 64), 0.01)}))
    found = calibrate.search(small, frames(), 1e-3)
    assert set(found.refused) == {"before", "steep"}
    assert "steep stays float32: int4 gives " in str(found) and "float16 gives" in str(found)
    assert {layer.name: layer.precision for layer in found.layers}["steep"] == "float32"
    with pytest.raises(ToleranceError, match=r"'stack': none of the faster .* 1e-07 \(wide: .*; n.* head: "):
        calibrate.search(g, frames(), 1e-7)


def test_search_backs_off_where_the_error_grows(bytes_decide):
    """A sum over time: 20 frames err by little, 10,000 by much."""
    g = Graph("sum")
    x = g.input("x", 2)
    w = {"W": [[[0.1, 0.0377]]], "R": [[[1.0]]]}
    plain = {"activations": (Activation("identity"),)}
    g.output("sum", g.add("rnn", [x], name="sum", weights=w, attrs=plain, states=[g.state("sum.h", 1)]))
    g.output("now", g.add("dense", [x], name="now", weights={"W": np.array([[0.5, 0.25], [0.1, 0.0377]])}))
    X = {"x": np.tile(np.float32([0.01, 0.01]), (20, 1))}
    tolerance = 1e-4
    with_int8 = calibrate.measure(g, {"sum": "int8"}, X)
    assert with_int8.total.data.max <= tolerance < with_int8.total.longest
    with pytest.raises(ToleranceError, match="change the output by up to"):
        calibrate.measure(g, {"sum": "int8"}, X, tolerance)
    found = calibrate.search(g, X, tolerance)
    assert "grows beyond the tolerance" in found.refused["sum W"]
    precisions = {layer.name: layer.precision for layer in found.layers}
    assert "W float32" in precisions["sum"] or precisions["sum"] == "float32"
    assert precisions["now"] != "float32"
    assert found.total.longest <= tolerance


def ladder(graph, X):
    """The faster precisions of the only weight, fastest first."""
    options = choice.Choice(trials.Trials(graph, X, None), 1.0)
    return [precision for (precision,) in options.fast(options.parts[0])]


def test_bfloat16_stands_in_for_weights_beyond_float16(bytes_decide):
    g = Graph("large")
    x = g.input("x", 40)
    W = np.ones((96, 40), np.float32)
    W[:, 0] = 2.0**20
    g.output("y", g.add("dense", [x], name="large", weights={"W": W}))
    X = {"x": np.ones((3, 40), np.float32)}
    X["x"][:, 0] = 2.0**-20
    assert ladder(g, X) == ["int8", "bfloat16", "int16"]
    assert calibrate.search(g, X, 1e-3).layers[0].precision == "bfloat16"


def one_dense(rows, K, *lead):
    g = Graph("one")
    x = g.input("x", (*lead, K))
    g.output("y", g.add("dense", [x], name="only", weights={"W": np.ones((rows, K))}))
    return g, {"x": np.ones((3, *lead, K), np.float32)}


@pytest.mark.parametrize(
    "rows, K, lead, expected",
    [
        (16, 8, (), []),  # to round a frame takes longer than to multiply it
        (256, 256, (), ["int8", "int16"]),  # int4 takes longer than int8, as long as both are near
        (16, 32, (64,), []),
        (64, 64, (64,), ["int8", "int16"]),
        (4, 1 << 18, (), ["float16"]),  # more columns than the sums of int8 can take
    ],
)
def test_precisions_that_gain_nothing_are_passed_over(rows, K, lead, expected):
    g, X = one_dense(rows, K, *lead)
    assert ladder(g, X) == expected


def test_bytes_count_where_weights_are_far_or_only_looked_up(monkeypatch):
    monkeypatch.setattr(step_cost, "NEAR", 100_000)
    near, far = (ladder(*one_dense(n, n)) for n in (128, 512))
    assert near == ["int8", "int16"] and far == ["int4", "int8", "int16", "float16"]
    g = Graph("table")
    ids = g.input("ids", (), "int32")
    g.output("y", g.add("embedding", [ids], name="words", weights={"table": np.ones((9, 64))}))
    assert ladder(g, {"ids": np.zeros(3, np.int32)}) == ["int4", "int8", "float16"], (
        "which is smaller than int16 and more exact"
    )


def test_every_precision_that_is_tried_has_a_known_cost():
    assert {"float32", *choice.LADDER} == set(step_cost.WORK) == set(CODES)
    for precision in choice.LADDER:
        assert with_weights(stack(), precision).nodes[0].precisions["R"] == precision


@pytest.mark.parametrize("precision", ["int16", "int8"])
def test_columns_are_smoothed_where_the_data_asks_for_it(precision):
    """One input is fifty times as loud as the others, and its weights are as large: it takes the bits of all."""
    rng = np.random.default_rng(0)
    g = Graph("loud")
    x = g.input("x", 32)
    g.output("y", g.add("dense", [x], name="first", weights={"W": rng.normal(size=(48, 32))}))
    X = {"x": rng.normal(size=(300, 32)).astype(np.float32)}
    even = calibrate.fit(g, precision, X)
    assert not even.nodes[0].smoothing, "nothing is gained here"
    X["x"][:, 3] *= 50
    fitted = calibrate.fit(g, precision, X)
    assert fitted.nodes[0].smoothing["W"].argmax() == 3 and not g.nodes[0].smoothing
    for steps in (len(X["x"]), 2000):
        error, plain = (longest_error(other, g, X, steps) for other in (fitted, with_weights(g, precision)))
        assert np.sqrt((error**2).mean()) < 0.5 * np.sqrt((plain**2).mean())
    bytes_after = calibrate.measure(g, precision, X).layers[0].bytes_after
    assert bytes_after == weight_bytes(fitted.nodes[0]) > weight_bytes(even.nodes[0])


@pytest.mark.parametrize("seed", [3, 5])
def test_int4_in_one_layer_does_not_keep_int8_from_the_other(bytes_decide, seed):
    """The tolerance is what int4 costs in the larger layer; beside int8 there, the smaller one has room for int8."""
    rng = np.random.default_rng(seed)
    g = Graph("two")
    x = g.input("x", 64)
    less = g.add("select", [x], weights={"indices": np.arange(60)})
    layers = [
        g.add("dense", [value], name=name, weights={"W": rng.normal(size=(64, n))})
        for name, value, n in (("large", x, 64), ("small", less, 60))
    ]
    g.output("y", g.add("add", layers))
    X = {"x": rng.normal(size=(50, 64)).astype(np.float32)}
    four = calibrate.measure(g, {"large": "int4"}, X).total
    tolerance = max(four.data.max, four.longest)
    found = calibrate.search(g, X, tolerance)
    assert [layer.precision for layer in found.layers] in (["int8", "int8"], ["int8", "int4"])
    assert found.total.longest <= tolerance


def test_models_that_need_the_whole_sequence(bytes_decide):
    g = single(np.random.default_rng(0), "gru", 6, 9, reverse=True)
    found = calibrate.search(g, frames(), 0.05)
    assert found.total.late is None and found.total.data.max <= 0.05
    assert "all together" in str(found)


def test_calibration_data_that_does_not_fit():
    g = stack()
    with pytest.raises(ShapeError, match="has no frames"):
        calibrate.measure(g, "int8", frames(0))
    with pytest.raises(ShapeError, match=r"x must be float32 with shape \(T, 6\)"):
        calibrate.measure(g, "int8", frames(5, 7))
    with pytest.raises(TypeError, match="x must be float32"):
        calibrate.measure(g, "int8", {"x": np.zeros((5, 6))})
    with pytest.raises(ShapeError, match="'y' is NaN or infinite on the calibration data"):
        calibrate.search(g, {"x": np.full((5, 6), np.nan, np.float32)}, 0.1)


# -- verify -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCED)
def test_verify_passes_what_is_right(name, isa):
    for graph in [zoo(), framed(), *round_trip_graphs()[:4]]:
        model = Model.from_graph(with_weights(graph, name), isa)
        report = verify(model, frames=60, exact=Model.from_graph(graph))
        assert report.ok, str(report)
        assert report.checks[0].name == "every node" and report.isa == isa
        if model.streamable:
            assert len(report.checks) == 3
            assert [d.last for d in report.growth] == [10, 100, 1_000, 10_000]
            assert f"against '{graph.name}'" in str(report) and "with the length of the stream" in str(report)


def test_verify_every_node_of_every_kind_of_graph():
    graphs = [zoo(), counter(), framed(), cached(), *round_trip_graphs()]
    bidirectional = single(np.random.default_rng(1), "lstm", 5, 18, reverse=True)
    bidirectional.output("end", bidirectional.add("last", [bidirectional.nodes[0].outputs[0]], attrs={"reverse": True}))
    bidirectional.output("turned", bidirectional.add("flip", [bidirectional.nodes[0].outputs[0]]))
    for graph in [*graphs, bidirectional]:
        model = Model.from_graph(with_weights(graph, "int8"))
        X = zoo_input(30) if graph.name == "zoo" else frames(30, *graph.shape("x"))
        errors, same = layerwise.node_errors(model, X, 1e-5)
        assert same and {e.node for e in errors} == {n.name for n in model.graph.nodes if n.op != "state_write"} - {
            n.name for n in model.graph.nodes if model.graph.values[(*n.outputs, "x")[0]].dtype == "int32"
        }
        if "affine" not in str(graph.nodes[0].attrs):  # that one runs away to infinity
            assert max(e.error for e in errors) < 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: (np.rint(x * (np.float32(64) / np.abs(x).max())), np.abs(x).max() / np.float32(64)),
        lambda x: (np.floor(x * (np.float32(127) / np.abs(x).max())), np.abs(x).max() / np.float32(127)),
        lambda x: (np.asarray(x * 127, np.float64), np.float32(1 / 127)),
    ],
    ids=["coarser", "downwards", "not at all"],
)
def test_verify_finds_another_way_of_rounding(monkeypatch, wrong):
    model = Model.from_graph(with_weights(stack(), "int8"))
    monkeypatch.setattr(products, "round_frame", lambda x, most: wrong(np.asarray(x, np.float32)))
    report = verify(model, frames=30)
    assert not report.ok and "FAIL" in str(report) and "at layer '" in str(report)


def test_rounding_inside_a_cell_explains_few_frames_and_one_step():
    for options, inner in (
        ({"op": "gru"}, True),
        ({"op": "gru", "reset_after": True}, False),
        ({"op": "lstm", "projection": 4}, True),
        ({"op": "lstm"}, False),
    ):
        g = with_weights(single(np.random.default_rng(0), n_in=5, hidden=9, **options), "int8")
        node = g.nodes[0]
        w = layerwise.prepare(node, rounding=True)
        step = layerwise._inner_step(node, w)
        largest = {"gru": "R", "lstm": "projection"}[node.op]
        assert step == (pytest.approx(np.abs(node.weights[largest]).max() / 127, rel=0.01) if inner else 0)
        if not inner:
            continue
        expected = [np.zeros((200, *g.shape(name))) for name in node.outputs]
        values = {name: want.astype(np.float32) for name, want in zip(node.outputs, expected, strict=True)}
        h = values[node.outputs[0]]
        h[7, 1] = 0.9 * step
        found = layerwise._compare(node, w, values, expected, 1e-5)
        assert (found.explained, found.error) == (1, 0)
        h[9, 2] = 1.5 * step
        assert layerwise._compare(node, w, values, expected, 1e-5).error == pytest.approx(1.5 * step)
        h[9, 2] = 0
        h[20:30, 0] = 0.9 * step
        assert layerwise._compare(node, w, values, expected, 1e-5).error == pytest.approx(0.9 * step)


def test_verify_against_what(isa):
    g = stack()
    model = Model.from_graph(with_weights(g, "int8"), isa)
    assert "the same weights in float32" in str(verify(model, frames=20))
    with pytest.raises(CannotFeed, match="does not know these weights"):
        verify(model, against="onnxruntime")
    with pytest.raises(ShapeError, match="the model to compare with has inputs"):
        verify(model, exact=Model.from_graph(stack(n_in=7)))
    # Without reduced weights the table says how far two models are apart, and the check is the one there was.
    plain = verify(Model.from_graph(g, isa), frames=20, exact=Model.from_graph(g, "scalar"))
    assert plain.ok and plain.growth[-1].max == 0


def test_growth_is_named():
    report = verify(Model.from_graph(with_weights(stack(), "int8")), frames=10)
    report.growth = [Distance(1, 10, 1, 1, 1, 1), Distance(11, 100, 1, 1, 1, 1), Distance(101, 1000, 2, 4, 1, 1)]
    assert "the error grows with the length of the stream (2.00 times" in str(report)


def test_reference_alone_is_not_fooled():
    """The table of `verify` compares engines; the engine itself is held by the float64 of stored weights."""
    g = with_weights(stack(), "float16")
    X = frames()["x"]
    assert np.abs(Model.from_graph(g).run(X) - reference.run(g, X)).max() < 1e-6
