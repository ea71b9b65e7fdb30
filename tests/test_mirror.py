# SPDX-License-Identifier: MIT
"""Dense layers whose rows are mirror images of themselves: half of the products, the same numbers."""

import numpy as np
import pytest

import undertow
from undertow import reference
from undertow.ir.activations import RELU
from undertow.ir.graph import Graph
from undertow.passes.symmetric_dense import halve
from undertow.passes.unused import tidy


def fourier(K, window):
    """(2 (K/2 + 1), K): cosines, then sines, under a window; exactly symmetric, as rounding leaves them."""
    k = np.arange(K)
    turns = np.outer(np.arange(K // 2 + 1), k) % K  # exact, so that the mirror images are the same floats
    low = np.minimum(turns, K - turns)
    sign = np.where(turns > K // 2, -1.0, 1.0)
    sines = np.sin(2 * np.pi * low / K) * sign
    sines[(turns == 0) | (2 * turns == K)] = 0.0
    return np.concatenate([np.cos(2 * np.pi * low / K), sines]) * window


def hann(K, periodic):
    """A Hann window that is symmetric to the bit, about K (periodic) or K - 1."""
    k = np.arange(K)
    low = np.minimum(k, K - k) if periodic else np.minimum(k, K - 1 - k)
    return 0.5 - 0.5 * np.cos(2 * np.pi * low / (K if periodic else K - 1))


def symmetric(rng, M, K, sign):
    """(M, K) about K - 1."""
    W = rng.normal(size=(M, K))
    return (W + sign * W[:, ::-1]).astype(np.float32)


def halved(graph, names=("layer",), frames=4, seed=0):
    """The graph after `halve` and `tidy`; what it gives must be what it gave."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(frames, *graph.shape(graph.inputs[0])))
    new = graph.copy()
    assert halve(new) == list(names)
    tidy(new)
    before, after = reference.run(graph, X), reference.run(new, X)
    for name in graph.outputs:
        a, b = (r[name] if isinstance(r, dict) else r for r in (before, after))
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-12 * max(1, np.abs(a).max())
    streamed = undertow.Model.from_graph(new).stream()
    got = np.stack([streamed.step(x) for x in X.astype(np.float32)])
    want = before if not isinstance(before, dict) else next(iter(before.values()))
    assert np.abs(got - want).max() <= 1e-5 * max(1, np.abs(want).max())
    return new


def one_layer(W, shape=None, **weights):
    g = Graph()
    x = g.input("x", shape or W.shape[1])
    g.output("y", g.add("dense", [x], name="layer", attrs={"activation": RELU}, weights={"W": W, **weights}))
    return g


def products(graph):
    return sum(n.weights["W"].size for n in graph.nodes if n.op == "dense")


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("shape", [None, (64,), (3, 64), (2, 3, 64)])
def test_a_windowed_fourier_basis_takes_half_of_the_products(periodic, shape):
    K = 64
    if periodic:
        W = fourier(K, hann(K, True))
    else:  # a symmetric window: cosines and sines about K - 1, as a transform of type II has them
        angle = np.pi / K * (np.arange(K // 2) + 0.5)
        half = [f(np.outer(np.arange(33), angle)) for f in (np.cos, np.sin)]
        W = np.concatenate([np.concatenate([s * h[:, ::-1], h], axis=1) for h, s in zip(half, (1, -1), strict=True)])
        W *= hann(K, False)
    W = np.float32(W)
    graph = one_layer(W, shape, b=np.random.default_rng(1).normal(size=len(W)))
    new = halved(graph)
    assert products(new) <= 0.52 * W.size


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("K", [70, 71])
def test_rows_of_one_kind(sign, K):
    """Linear-phase filters, of an even and an odd length."""
    W = symmetric(np.random.default_rng(K), 80, K, sign)
    new = halved(one_layer(W))
    assert [n.op for n in new.nodes].count("dense") == 1
    assert products(new) == 80 * ((K + 1) // 2)


def test_rows_that_are_no_mirror_images_stay_whole():
    rng = np.random.default_rng(3)
    W = np.concatenate([symmetric(rng, 60, 64, 1), rng.normal(size=(9, 64)), symmetric(rng, 43, 64, -1)])
    rng.shuffle(W)
    new = halved(one_layer(np.float32(W), (2, 64)))
    assert sorted(n.weights["W"].shape for n in new.nodes if n.op == "dense") == [(9, 64), (43, 32), (60, 32)]


def test_a_last_bit_decides():
    W = symmetric(np.random.default_rng(4), 80, 64, 1)
    W[:, 5] = np.nextafter(W[:, 5], np.float32(9))
    assert halve(one_layer(W)) == []


@pytest.mark.parametrize(
    "W",
    [
        symmetric(np.random.default_rng(5), 16, 64, 1),  # so small that sums and moves cost as much
        np.random.default_rng(5).normal(size=(80, 64)),
        np.where(np.arange(80)[:, None] < 20, symmetric(np.random.default_rng(5), 80, 64, 1), 1.0 * np.arange(64)),
        np.full((80, 64), np.inf),
    ],
    ids=["small", "no rows", "too few rows", "not finite"],
)
def test_what_is_not_worth_it_stays(W):
    assert halve(one_layer(np.float32(W))) == []


def test_selections_read_the_halves_directly():
    """Windows of a signal in, real and imaginary parts out: no element is moved twice."""
    K, hop, places = 64, 16, 3
    g = Graph()
    x = g.input("x", K + hop * (places - 1))
    windows = np.arange(places)[:, None] * hop + np.arange(K)
    rows = g.add("select", [x], weights={"indices": windows})
    W = np.float32(fourier(K, hann(K, True)))
    spectra = g.add("dense", [rows], name="layer", weights={"W": W})
    bins = K // 2 + 1
    at = np.arange(places)[:, None] * 2 * bins
    parts = []
    for first in (0, bins):
        part = g.add("select", [spectra], weights={"indices": (at + np.arange(first, first + bins)).reshape(-1)})
        parts.append(g.add("mul", [part, part]))
    g.output("power", g.add("add", parts))
    new = halved(g)
    made = {n.outputs[0]: n.op for n in new.nodes}
    assert all(made.get(v) != "select" for n in new.nodes if n.op == "select" for v in n.inputs)


def test_an_output_that_is_shown_and_read():
    W = symmetric(np.random.default_rng(7), 80, 64, 1)
    g = one_layer(W, (2, 64))
    (shown,) = g.outputs.values()
    g.output("z", g.add("select", [shown, g.inputs[0]], weights={"indices": [3, 170, 80, 1]}))
    X = np.random.default_rng(8).normal(size=(5, 2, 64))
    new = g.copy()
    assert halve(new) == ["layer"]
    before, after = reference.run(g, X), reference.run(new, X)
    for name in ("y", "z"):
        assert np.abs(before[name] - after[name]).max() < 1e-12


def test_several_layers_and_one_input():
    rng = np.random.default_rng(9)
    g = Graph()
    x = g.input("x", 64)
    ends = [
        g.add("dense", [x], name=name, weights={"W": symmetric(rng, 80, 64, sign)})
        for name, sign in zip("ab", (1, -1), strict=True)
    ]
    g.output("y", g.add("mul", ends))
    new = halved(g, ("a", "b"))
    assert products(new) == 2 * 80 * 32


def test_stored_precisions_are_left_alone():
    g = one_layer(symmetric(np.random.default_rng(10), 80, 64, 1))
    g.nodes[0].precisions["W"] = "int8"
    assert halve(g) == []


onnx = pytest.importorskip("onnx", reason="needs onnx: pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install onnxruntime")


def transform_by_convolution(K, hop, n_samples, rounded=False):
    """An STFT as a strided convolution over one frame's samples, its magnitude, and a GRU over frames would follow."""
    from onnx import TensorProto, helper, numpy_helper

    bins = K // 2 + 1
    W = np.float32(fourier(K, hann(K, True)))[:, None, :]
    constants = [
        numpy_helper.from_array(W, "W"),
        numpy_helper.from_array(np.array([1, 1, n_samples]), "signal"),
        numpy_helper.from_array(np.array([bins, bins]), "parts"),
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "signal"], ["s"]),
        helper.make_node("Conv", ["s", "W"], ["spectrum"], strides=[hop]),
        helper.make_node("Split", ["spectrum", "parts"], ["re", "im"], axis=1),
        helper.make_node("Mul", ["re", "re"], ["re2"]),
        helper.make_node("Mul", ["im", "im"], ["im2"]),
        helper.make_node("Add", ["re2", "im2"], ["power"]),
        helper.make_node("Floor" if rounded else "Sqrt", ["power"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "stft",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n_samples])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, bins, (n_samples - K) // hop + 1])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_a_file_with_a_transform_by_convolution(tmp_path):
    model = transform_by_convolution(128, 32, 224)
    onnx.save(model, tmp_path / "stft.onnx")
    loaded = undertow.load(tmp_path / "stft.onnx")
    assert "halved: " in loaded.source
    x = np.random.default_rng(11).normal(size=(1, 224)).astype(np.float32)
    (want,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    got = loaded.stream().step(x[0])
    assert np.abs(got.reshape(want.shape) - want).max() <= 1e-5 * np.abs(want).max()


def test_a_model_that_rounds_keeps_its_sums(tmp_path):
    onnx.save(transform_by_convolution(128, 32, 224, rounded=True), tmp_path / "stft.onnx")
    assert "halved: " not in undertow.load(tmp_path / "stft.onnx").source
