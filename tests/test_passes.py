# SPDX-License-Identifier: MIT
"""One list of passes for every importer: a network has the same nodes wherever it comes from, and gives the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import random_models
import undertow
from keras_files import layer, sequential, write_keras
from networks import zoo, zoo_input
from onnx_files import model_of, node, save
from undertow import passes, reference
from undertow.ir.check import check
from undertow.ir.graph import Graph
from undertow.ir.nodes import Node, Value
from undertow.passes.unused import tidy

U, N = 24, 3


def arrays() -> dict[str, np.ndarray]:
    """A network of dense layers, each with a batch norm and a relu behind it, and a GRU."""
    rng = np.random.default_rng(0)
    made = {}
    for i in range(N):
        made[f"W{i}"], made[f"b{i}"] = rng.normal(size=(U, U)) / 5, rng.normal(size=U) / 9
        made[f"gamma{i}"], made[f"beta{i}"] = rng.uniform(0.5, 1.5, U), rng.normal(size=U)
        made[f"mean{i}"], made[f"variance{i}"] = rng.normal(size=U), rng.uniform(0.5, 1.5, U)
    made["W"], made["R"] = rng.normal(size=(3, U, U)) / 5, rng.normal(size=(3, U, U)) / 5
    made["bW"], made["bR"] = rng.normal(size=(3, U)), rng.normal(size=(3, U))
    return {key: array.astype(np.float32) for key, array in made.items()}


def from_keras(a: dict[str, np.ndarray], folder: Path) -> undertow.Model:
    layers, weights = [layer("InputLayer", "input", batch_shape=[None, None, U], dtype="float32")], {}
    for i in range(N):
        end = f"_{i}" if i else ""
        layers.append(layer("Dense", f"dense{end}", units=U, activation="linear", use_bias=True))
        layers.append(
            layer("BatchNormalization", f"batch_normalization{end}", axis=-1, epsilon=1e-3, center=True, scale=True)
        )
        layers.append(layer("ReLU", f"re_lu{end}", max_value=None, negative_slope=0.0, threshold=0.0))
        norm = (a[f"{key}{i}"] for key in ("gamma", "beta", "mean", "variance"))
        weights |= {f"layers/dense{end}/vars/0": a[f"W{i}"].T, f"layers/dense{end}/vars/1": a[f"b{i}"]}
        weights |= {f"layers/batch_normalization{end}/vars/{k}": w for k, w in enumerate(norm)}
    cell = "layers/gru/cell/vars/"
    weights |= {f"{cell}{k}": a[key].reshape(3 * U, U).T for k, key in enumerate("WR")}
    weights[f"{cell}2"] = np.stack([a["bW"].ravel(), a["bR"].ravel()])
    layers.append(
        layer(
            "GRU",
            "gru",
            units=U,
            activation="tanh",
            recurrent_activation="sigmoid",
            return_sequences=True,
            reset_after=True,
            use_bias=True,
        )
    )
    return undertow.load(write_keras(folder / "m.keras", sequential(*layers), weights))


def from_onnx(a: dict[str, np.ndarray], folder: Path) -> undertow.Model:
    nodes, x = [], "x"
    weights = {key: (w.T if key[0] == "W" and len(key) == 2 else w) for key, w in a.items() if key[-1].isdigit()}
    for i in range(N):
        nodes += [node("MatMul", f"{x} W{i}", f"m{i}"), node("Add", f"m{i} b{i}", f"a{i}")]
        nodes += [node("Transpose", f"a{i}", f"t{i}", perm=[1, 2, 0])]
        norm = " ".join(f"{key}{i}" for key in ("gamma", "beta", "mean", "variance"))
        nodes += [node("BatchNormalization", f"t{i} {norm}", f"n{i}", epsilon=1e-3)]
        nodes += [node("Transpose", f"n{i}", f"u{i}", perm=[2, 0, 1]), node("Relu", f"u{i}", f"r{i}")]
        x = f"r{i}"
    weights |= {"W": a["W"].reshape(1, 3 * U, U), "R": a["R"].reshape(1, 3 * U, U)}
    weights["B"] = np.concatenate([a["bW"].ravel(), a["bR"].ravel()])[None]
    nodes += [node("GRU", f"{x} W R B", "Y", hidden_size=U, linear_before_reset=1)]
    nodes += [node("Squeeze", "Y one", "y")]
    weights["one"] = np.array([1])
    model = model_of(nodes, {"x": ["T", 1, U]}, {"y": ["T", 1, U]}, weights)
    return undertow.load(save(model, folder))


def from_rtneural(a: dict[str, np.ndarray], folder: Path) -> undertow.Model:
    shape = [None, None, U]
    layers: list[dict[str, Any]] = []
    for i in range(N):
        layers.append({"type": "dense", "activation": "", "shape": shape})
        layers[-1]["weights"] = [a[f"W{i}"].T.tolist(), a[f"b{i}"].tolist()]
        norm = [a[f"{key}{i}"].tolist() for key in ("gamma", "beta", "mean", "variance")]
        layers.append({"type": "batchnorm", "activation": "", "shape": shape, "epsilon": 1e-3, "weights": norm})
        layers.append({"type": "activation", "activation": "relu", "shape": shape, "weights": []})
    biases = [a["bW"].ravel().tolist(), a["bR"].ravel().tolist()]
    weights = [*(a[key].reshape(3 * U, U).T.tolist() for key in "WR"), biases]
    layers.append({"type": "gru", "activation": "", "shape": shape, "weights": weights})
    path = folder / "m.json"
    path.write_text(json.dumps({"in_shape": shape, "layers": layers}))
    return undertow.load(path)


def from_layers(a: dict[str, np.ndarray], folder: Path) -> undertow.Model:
    layers: list[Any] = []
    for i in range(N):
        norm = (a[f"{key}{i}"] for key in ("mean", "variance", "gamma", "beta"))
        layers += [undertow.Dense(a[f"W{i}"], a[f"b{i}"]), undertow.BatchNorm(*norm, eps=1e-3)]
        layers += [undertow.Activate("relu")]
    cell = undertow.GRU(a["W"], a["R"], a["bW"], recurrent_bias=a["bR"], reset_after=True)
    return undertow.Sequential([*layers, cell])


SOURCES: dict[str, Callable[[dict[str, np.ndarray], Path], undertow.Model]] = {
    "keras": from_keras,
    "onnx": from_onnx,
    "rtneural": from_rtneural,
    "layers": from_layers,
}


def test_a_network_has_the_same_nodes_wherever_it_comes_from(tmp_path: Path) -> None:
    a = arrays()
    models = {name: make(a, tmp_path) for name, make in SOURCES.items()}
    X = np.random.default_rng(1).normal(size=(30, U)).astype(np.float32)
    expected = models["onnx"].run(X)
    for name, model in models.items():
        assert [n.op for n in model.graph.nodes] == ["dense"] * N + ["gru"], name
        assert [n.attrs["activation"].kind for n in model.graph.nodes[:N]] == ["relu"] * N, name
        np.testing.assert_allclose(model.run(X), expected, atol=1e-5, err_msg=name)
        assert [w.shape for n in model.graph.nodes for w in n.weights.values()] == [
            w.shape for n in models["onnx"].graph.nodes for w in n.weights.values()
        ]


def test_a_module_of_torch_goes_through_them() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(nn.Linear(U, U), nn.ReLU(), nn.Linear(U, U), nn.Tanh()).eval()
    model = undertow.from_torch(module, torch.zeros(1, 5, U))
    assert [n.op for n in model.graph.nodes] == ["dense", "dense"]


# -- what a pass may do -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph_computes_the_same(seed: int) -> None:
    """Up to the rounding of weights that were multiplied; `check` looks at the graph after every pass."""
    made = random_models.make(seed)
    before = made.graph
    X = random_models.frames(before, np.random.default_rng([seed, 9]), made.n_frames)
    graph = before.copy()
    passes.run(graph)
    if bool(before.whole_sequence_nodes()) != bool(graph.whole_sequence_nodes()):
        tidy(before)  # a loop that nobody reads wanted the whole sequence, without which `last` is the frame so far
    assert list(graph.outputs) == list(before.outputs)
    expected, found = (reference.evaluate(g, X).outputs for g in (before, graph))
    for name, y in expected.items():
        with np.errstate(all="ignore"):
            scale = np.abs(y[np.isfinite(y)]).max(initial=1.0)
            near = np.isclose(found[name], y, rtol=1e-5, atol=1e-5 * scale, equal_nan=True)
        assert near.all(), f"seed {seed}: output {name}: {np.count_nonzero(~near)} of {y.size} differ"


def test_a_graph_goes_through_once() -> None:
    graph = zoo()
    passes.run(graph)
    once = repr(graph)
    assert graph.passed == [step.name for step in passes.PIPELINE]
    assert passes.run(graph).notes == [] and passes.run(graph.copy()).work == 0
    assert repr(graph) == once
    assert undertow.Model.from_graph(graph).run(zoo_input(3))


def test_part_of_the_pipeline_is_not_run_again() -> None:
    graph = Graph()
    x = graph.add("dense", [graph.input("x", 2)], weights={"W": np.full((2, 2), 0.3)})
    graph.output("y", graph.add("affine", [x], weights={"scale": np.full(2, 3.0), "shift": np.ones(2)}))
    passes.run(graph, passes.ESSENTIAL)
    assert [n.op for n in graph.nodes] == ["dense", "affine"]
    seen: list[str] = []
    passes.watchers.append(lambda _, name: seen.append(name))
    try:
        passes.run(graph)
    finally:
        passes.watchers.pop()
    assert seen == [step.name for step in passes.PIPELINE[len(passes.ESSENTIAL) :]]
    assert [n.op for n in graph.nodes] == ["dense"]


def test_a_graph_of_ones_own_stays_as_it_was_written() -> None:
    graph = Graph()
    x = graph.add("dense", [graph.input("x", 2)], weights={"W": np.eye(2)})
    graph.output("y", graph.add("activation", [x], attrs={"activation": undertow.Activation("tanh")}))
    assert [n.op for n in undertow.Model.from_graph(graph).graph.nodes] == ["dense", "activation"]


# -- what is no graph -------------------------------------------------------------------------------------------------


def drop_value(graph: Graph) -> None:
    del graph.values[graph.nodes[0].outputs[0]]


def wrong_shape(graph: Graph) -> None:
    name = graph.nodes[0].outputs[0]
    graph.values[name] = Value(name, (7,))


def left_over(graph: Graph) -> None:
    graph.values["ghost"] = Value("ghost", (1,))


def twice(graph: Graph) -> None:
    graph.nodes.append(graph.nodes[0])


def made_twice(graph: Graph) -> None:
    first = graph.nodes[0]
    graph.nodes.append(Node(first.op, "other", first.inputs, first.outputs, first.attrs, first.weights))


def shared_state(graph: Graph) -> None:
    cell = next(n for n in graph.nodes if n.states)
    outputs = tuple(f"other.{i}" for i in range(len(cell.outputs)))
    graph.nodes.append(Node(cell.op, "other", cell.inputs, outputs, cell.attrs, cell.weights, cell.states))
    graph.values.update({new: graph.values[old] for new, old in zip(outputs, cell.outputs, strict=True)})


def idle_state(graph: Graph) -> None:
    graph.state("idle", 3)


def no_state(graph: Graph) -> None:
    cell = next(n for n in graph.nodes if n.states)
    del graph.states[cell.states[0]]


def bad_output(graph: Graph) -> None:
    graph.outputs["z"] = "nowhere"


def bad_input(graph: Graph) -> None:
    graph.nodes.reverse()


def no_frames(graph: Graph) -> None:
    graph.frames_in = 0


def too_long_frames(graph: Graph) -> None:
    graph.frames_out = (1 << 24) + 1


def two_notes_in_one(graph: Graph) -> None:
    graph.notes = ("a", "b\nc")


BROKEN: list[tuple[Callable[[Graph], None], str]] = [
    (drop_value, "an output has no value"),
    (wrong_shape, r"is \(\(7,\), 'float32', False\), it gives"),
    (left_over, "values that are made and those that are known differ: ghost"),
    (twice, "another node has this name"),
    (made_twice, "as well"),
    (shared_state, "is another node's as well"),
    (idle_state, "state 'idle': no node has it"),
    (no_state, "does not exist"),
    (bad_output, "output 'z': nothing makes 'nowhere'"),
    (bad_input, "is not made before"),
    (no_frames, "frames_in is 0, expected 1 to 16,777,216"),
    (too_long_frames, "frames_out is 16777217, expected 1 to 16,777,216"),
    (two_notes_in_one, r"a note of several lines: 'b\\nc'"),
]


@pytest.mark.parametrize(("breaks", "says"), BROKEN, ids=[breaks.__name__ for breaks, _ in BROKEN])
def test_what_is_no_graph_is_found(breaks: Callable[[Graph], None], says: str) -> None:
    graph = Graph()
    x = graph.add("dense", [graph.input("x", 2)], weights={"W": np.eye(2)})
    graph.output("y", undertow.GRU(np.ones((3, 2, 2)), np.ones((3, 2, 2)), reset_after=False).add_to(graph, x))
    check(graph)
    breaks(graph)
    with pytest.raises(undertow.InternalError, match=says):
        check(graph)
