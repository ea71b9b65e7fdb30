# SPDX-License-Identifier: MIT
"""The order of elements is chosen where nobody sees it: the graph computes what it did, and copies longer pieces."""

import numpy as np
import pytest

from undertow import reference
from undertow.ir.activations import RELU, Activation
from undertow.ir.graph import Graph
from undertow.passes.layout import cost, order
from undertow.passes.unused import tidy


def _ordered(graph, frames=5, seed=0):
    """The graph after `order` and `tidy`; what it gives must be what it gave."""
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(frames, *graph.shape(name))) for name in graph.inputs}
    X = X if len(X) > 1 else X[graph.inputs[0]]
    before = reference.run(graph, X)
    new = graph.copy()
    order(new)
    tidy(new)
    after = reference.run(new, X)
    for name in graph.outputs:
        a, b = (r[name] if isinstance(r, dict) else r for r in (before, after))
        assert a.shape == b.shape
        assert np.array_equal(np.isnan(a), np.isnan(b))
        assert np.abs(np.nan_to_num(a - b)).max() <= 1e-12 * max(1, np.abs(np.nan_to_num(a)).max())
    return new


def _copied(graph):
    return sum(cost(node.weights["indices"]) for node in graph.nodes if node.op == "select")


def _node(graph, name):
    return next(node for node in graph.nodes if node.name == name)


def _magnitudes(rng, bins=20, places=6, shown=False):
    """Spectra as rows of real and imaginary parts, their magnitudes as (bin, place), and a convolution over places."""
    g = Graph()
    x = g.input("x", (places, 16))
    spectra = g.add("dense", [x], weights={"W": rng.normal(size=(2 * bins, 16))})
    at = np.arange(places) * 2 * bins
    parts = []
    for first in (0, bins):
        indices = (np.arange(first, first + bins)[:, None] + at).reshape(-1)
        part = g.add("select", [spectra], weights={"indices": indices})
        parts.append(g.add("mul", [part, part]))
    squares = g.add("add", parts)
    scaled = g.add("affine", [squares], weights={k: rng.uniform(1, 2, bins * places) for k in ("scale", "shift")})
    magnitude = g.add("activation", [scaled], attrs={"activation": Activation("sqrt")})
    zero = g.add("constant", weights={"value": np.zeros(1)})
    padded = np.full((bins, places + 2), 0)
    padded[:, 1:-1] = 1 + np.arange(bins * places).reshape(bins, places)
    windows = np.stack([padded[:, i : i + 3].reshape(-1) for i in range(places)])
    rows = g.add("select", [zero, magnitude], name="windows", weights={"indices": windows})
    y = g.add(
        "dense", [rows], name="convolution", attrs={"activation": RELU}, weights={"W": rng.normal(size=(8, 3 * bins))}
    )
    g.output("y", y)
    if shown:
        g.output("magnitude", magnitude)
    return g


def test_a_spectrum_is_held_as_its_convolution_reads_it():
    graph = _magnitudes(np.random.default_rng(1))
    new = _ordered(graph)
    assert _copied(new) < 0.35 * _copied(graph)
    assert set(np.diff(_node(new, "windows").weights["indices"][2]).tolist()) == {1}  # one piece of three places


def test_what_is_shown_keeps_its_order():
    graph = _magnitudes(np.random.default_rng(2), shown=True)
    new = _ordered(graph)
    assert [n.op for n in new.nodes].count("select") == 3


@pytest.mark.parametrize("op", ["reduce", "softmax", "layer_norm"])
def test_what_works_along_an_axis_keeps_its_order(op):
    g = Graph()
    x = g.input("x", (3, 20))
    transposed = g.add("select", [x], weights={"indices": np.arange(60).reshape(3, 20).T})
    y = g.add("mul", [transposed, transposed])
    y = g.add("reshape", [y], attrs={"shape": (20, 3, 1)}) if op == "reduce" else y
    y = g.add(op, [y], attrs={"kind": "max"} if op == "reduce" else {"eps": 1e-5} if op == "layer_norm" else {})
    g.output("y", y)
    assert _copied(_ordered(g)) == _copied(g)


def _cells(rng, op):
    gates, width, places = {"rnn": 1, "gru": 3, "lstm": 4}[op], 12, 5
    g = Graph()
    x = g.input("x", (width, places))
    rows = g.add("select", [x], name="rows", weights={"indices": np.arange(60).reshape(width, places).T})
    rows = g.add("select", [g.add("mul", [rows, rows])], weights={"indices": np.arange(60).reshape(5, 12)[:, ::-1]})
    state = [g.state(f"{op}.{s}", (places, 4)) for s in ("hc" if op == "lstm" else "h")]
    W, R = rng.normal(size=(gates, 4, width)), rng.normal(size=(gates, 4, 4))
    h = g.add(op, [rows], name=op, weights={"W": W, "R": R}, states=state)
    g.output("y", h[0] if op == "lstm" else h)
    return g


@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_a_cell_reads_its_columns_as_they_lie(op):
    graph = _cells(np.random.default_rng(3), op)
    new = _ordered(graph)
    assert _copied(new) < _copied(graph)
    assert [n.op for n in new.nodes].count("select") == 1  # the second one moves nothing any more


def test_columns_of_padding_go_unless_a_weight_there_is_not_finite():
    rng = np.random.default_rng(4)
    for special in (None, np.inf, np.nan):
        g = Graph()
        x = g.input("x", (10,))
        zero = g.add("constant", weights={"value": np.zeros(1)})
        windows = np.concatenate([np.full(10, 10), np.arange(10), np.full(10, 10)])
        rows = g.add("select", [x, zero], name="windows", weights={"indices": windows})
        W = rng.normal(size=(4, 30))
        if special is not None:
            W[1, 25] = special
        g.output("y", g.add("dense", [rows], name="head", weights={"W": W}))
        new = _ordered(g)
        assert _node(new, "head").weights["W"].shape == (4, 10 if special is None else 11)
        assert ("constant" in [n.op for n in new.nodes]) == (special is not None)


def test_a_layer_that_sees_nothing_but_padding_keeps_one_column():
    g = Graph()
    x = g.input("x", (4,))
    zero = g.add("constant", weights={"value": np.zeros(1)})
    rows = g.add("select", [x, zero], weights={"indices": np.full(6, 4)})
    g.output("y", g.add("add", [x, g.add("dense", [rows], name="d", weights={"W": np.ones((4, 6)), "b": np.ones(4)})]))
    assert _node(_ordered(g), "d").weights["W"].shape == (4, 1)


def test_a_model_that_rounds_sums_in_the_order_of_its_file():
    graph = _magnitudes(np.random.default_rng(5))
    y = graph.add("activation", [graph.outputs.pop("y")], attrs={"activation": Activation("round")})
    graph.output("y", y)
    new = _ordered(graph)
    assert np.array_equal(_node(new, "convolution").weights["W"], _node(graph, "convolution").weights["W"])


_BINARY = ("add", "sub", "mul", "max", "min", "greater", "less_equal")


def _transposed(rng, n):
    """Places of n elements that were an image; some are read twice, or another way round."""
    across = int(rng.choice([k for k in range(2, n) if n % k == 0]))
    indices = np.arange(n).reshape(-1, across).T.reshape(-1)
    if rng.integers(4) == 0:
        indices[rng.integers(0, n, 3)] = rng.integers(0, n, 3)
    return indices[::-1] if rng.integers(4) == 0 else indices


def _random_graph(rng):
    """Stages of selections, elementwise nodes and selections of those, between dense layers that fix an order."""
    n = int(rng.choice([24, 40, 60]))
    g = Graph()
    frames = [g.input("x", (n,)), g.input("z", (2, n // 2))]
    for _ in range(int(rng.integers(1, 4))):
        region = [
            g.add("select", [str(rng.choice(frames))], weights={"indices": _transposed(rng, n)}) for _ in range(2)
        ]
        if rng.integers(2):
            region.append(g.add("constant", weights={"value": rng.choice([0.0, 1.0, -2.0], n)}))
        for _ in range(int(rng.integers(2, 7))):
            pick = [str(v) for v in rng.choice(region, 3)]
            kind = rng.choice(["binary", "affine", "activation", "where", "reshape"])
            if kind == "reshape":
                pair = g.add("reshape", pick[:1], attrs={"shape": (2, n // 2)})
                region.append(g.add("reshape", [pair], attrs={"shape": (n,)}))
            elif kind == "affine":
                region.append(g.add("affine", pick[:1], weights={k: rng.normal(size=n) for k in ("scale", "shift")}))
            elif kind == "activation":
                region.append(g.add("activation", pick[:1], attrs={"activation": Activation("tanh")}))
            else:
                op = "where" if kind == "where" else str(rng.choice(_BINARY))
                region.append(g.add(op, pick if op == "where" else pick[:2]))
        zero = g.add("constant", weights={"value": np.zeros(1)})
        for value in rng.choice(region[2:], 2):
            inputs = list(dict.fromkeys([str(value), region[-1]]))
            indices = np.concatenate([k * n + _transposed(rng, n) for k in range(len(inputs))])
            indices = np.concatenate([np.full(4, len(inputs) * n), indices]).reshape(4, -1)
            rows = g.add("select", [*inputs, zero], weights={"indices": indices})
            W = rng.normal(size=(n // 4, indices.shape[1])) / n
            frames.append(g.add("reshape", [g.add("dense", [rows], weights={"W": W})], attrs={"shape": (n,)}))
    for i, value in enumerate(frames[-2:]):
        g.output(f"y{i}", value)
    tidy(g)
    return g


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_compute_what_they_did(seed):
    g = _random_graph(np.random.default_rng(seed))
    assert _copied(_ordered(g, seed=seed)) <= _copied(g)


def test_most_of_the_random_graphs_are_changed():
    graphs = [_random_graph(np.random.default_rng(seed)) for seed in range(60)]
    assert sum(_copied(_ordered(g)) < _copied(g) for g in graphs) >= 40


def test_columns_that_somebody_else_reads_keep_their_order():
    """Shown, or the start of a cell as well as its input."""
    rng = np.random.default_rng(6)
    indices = np.arange(60).reshape(5, 12)[:, ::-1]
    for also in ("nobody", "output", "start"):
        g = Graph()
        rows = g.add("select", [g.input("x", (12, 5))], name="rows", weights={"indices": indices})
        if also == "output":
            g.output("rows", rows)
        if also != "start":
            y = g.add("dense", [rows], weights={"W": rng.normal(size=(4, 12))})
        else:
            W, R = rng.normal(size=(1, 12, 12)), rng.normal(size=(1, 12, 12))
            y = g.add("rnn", [rows, rows], weights={"W": W, "R": R})
        g.output("y", y)
        kept = [np.array_equal(n.weights["indices"], indices) for n in _ordered(g).nodes if n.op == "select"]
        assert kept == ([] if also == "nobody" else [True])


def test_columns_that_share_scales_stay_together():
    """int4 has a scale for 32 columns: in another order its numbers would be others."""
    for precision, moves in (("int4", False), ("int8", True)):
        g = Graph()
        rows = g.add(
            "select", [g.input("x", (2, 64))], weights={"indices": np.arange(128).reshape(2, 64).T.reshape(-1)}
        )
        W = np.random.default_rng(7).normal(size=(4, 128))
        g.output("y", g.add("dense", [rows], name="d", weights={"W": W}, precisions={"W": precision}))
        assert np.array_equal(_node(_ordered(g), "d").weights["W"], g.nodes[-1].weights["W"]) != moves


def test_a_selection_stays_once_or_always():
    """Of a frame that is given once and one of every timestep: without the second it would be given once itself."""
    g = Graph()
    x = g.input("x", (4,))
    flipped = g.add("rnn", [x], weights={"W": np.ones((1, 3, 4)), "R": np.eye(3)[None]}, attrs={"reverse": True},
                    states=[g.state("h", (3,))])  # fmt: skip
    last = g.add("last", [flipped], attrs={"reverse": True})
    g.output("y", g.add("select", [last, x], weights={"indices": np.arange(3)}))
    _ordered(g)


def _windows(channels, height, width, kernel, padded, taps_last=False):
    """Places of the elements that each window of an image (channels, height, width) has; 0 is the padding before it."""
    image = 1 + np.arange(channels * height * width).reshape(channels, height, width)
    reach = kernel // 2 if padded else 0
    image = np.pad(image, ((0, 0), (reach, reach), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(image, (kernel, kernel), (1, 2))
    order = (1, 2, 0, 3, 4) if taps_last else (1, 2, 3, 4, 0)
    return windows.transpose(order).reshape(-1, kernel * kernel * channels)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kernel, channels", [(3, 12), (5, 4), (3, 1)])
def test_windows_of_an_image_are_taken_from_one_in_their_order(kernel, channels, padded):
    rng = np.random.default_rng(kernel)
    g = Graph()
    zero, x = g.add("constant", weights={"value": np.zeros(1)}), g.input("x", (channels, 8, 8))
    indices = _windows(channels, 8, 8, kernel, padded)
    rows = g.add("select", [zero, x], name="windows", weights={"indices": indices})
    W = rng.normal(size=(4, indices.shape[1]))
    g.output("y", g.add("dense", [rows], weights={"W": W}))
    new = _ordered(g)
    names = [node.name for node in new.nodes if node.op == "select"]
    if channels == 1:
        assert names == ["windows"]
        return
    assert names == ["windows_order", "windows"]
    first = _node(new, "windows_order").weights["indices"].reshape(64, channels)
    assert np.array_equal(first, np.arange(64 * channels).reshape(channels, 64).T), "channels of a pixel are not last"
    assert _copied(new) < 0.6 * _copied(g)


@pytest.mark.parametrize("seed", range(20))
def test_elements_that_are_read_often_stand_as_they_are_read(seed):
    """Rows that repeat, go round, turn and mix inputs: the frame between has each element once, and bits stay."""
    rng = np.random.default_rng(seed)
    g = Graph()
    zeros = np.zeros(3) if seed % 2 else rng.normal(size=3)
    inputs = [g.input("a", 40), g.add("constant", weights={"value": zeros}), g.input("b", (4, 30))]
    length = int(rng.integers(4, 20))
    pieces = rng.permutation(163)[: 8 * length].reshape(8, length)
    if seed % 3 == 0:
        pieces[:, -1] = pieces[:, 0]  # each goes round
    rows = np.stack([np.roll(pieces[k], rng.integers(length)) for k in rng.integers(0, 8, 50)])
    if seed % 4 == 0:
        rows = np.concatenate([rows, rows[:, ::-1]], axis=1)
    taken = g.add("select", inputs, name="taken", weights={"indices": rows})
    g.output("y", g.add("dense", [taken], weights={"W": rng.normal(size=(3, rows.shape[1]))}))
    g.output("shown", taken)
    new = _ordered(g)
    assert np.array_equal(_expanded(new), _expanded(g))
    if order := [node for node in new.nodes if node.name == "taken_order"]:
        indices = order[0].weights["indices"]
        assert np.unique(indices).size == indices.size
        assert _copied(new) < _copied(g)


def _expanded(graph):
    X = {name: np.random.default_rng(5).normal(size=(2, *graph.shape(name))) for name in graph.inputs}
    return reference.run(graph, X)["shown"]


def test_most_windows_change():
    changed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pieces = rng.permutation(160)[:128].reshape(8, 16)
        g = Graph()
        taken = g.add("select", [g.input("x", 160)], name="taken", weights={"indices": pieces[rng.integers(0, 8, 60)]})
        g.output("y", g.add("dense", [taken], weights={"W": rng.normal(size=(3, 16))}))
        changed += len(_ordered(g).nodes) > len(g.nodes)
    assert changed == 20
