# SPDX-License-Identifier: MIT
"""States of one shape in a step whose cell was taken apart: told apart by the cell, never by their names."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_files
import undertow
from onnx_files import model_of, node, onnx, stepped
from tolerances import FLOAT32_PEER
from undertow.errors import UnsupportedError
from undertow.importers.onnx.search.state_pairing import only_cells
from undertow.ir.graph import Graph

H = 5


def save(folder, nodes, inputs, outputs, weights):
    """inputs, outputs: name -> width"""
    sides = ({name: [1, n] for name, n in side.items()} for side in (inputs, outputs))
    weights = {n: np.asarray(w, np.int64 if n == "parts" else np.float32) for n, w in weights.items()}
    model = model_of(nodes, *sides, weights)
    onnx.checker.check_model(model)
    return onnx_files.save(model, folder)


@pytest.mark.parametrize("hidden, memory", [("h", "c"), ("c", "h"), ("state_2", "state_1")])
def test_lstm_step(tmp_path, hidden, memory):
    n_in = 3
    rng = np.random.default_rng(0)
    nodes = [
        node("Gemm", "x W b", "a", transB=1),
        node("Gemm", f"{hidden} R rb", "q", transB=1),
        node("Add", "a q", "s"),
        node("Split", "s parts", "s_i s_f s_g s_o", axis=1),
        *[node("Tanh" if k == "g" else "Sigmoid", f"s_{k}", k) for k in "ifgo"],
        node("Mul", f"f {memory}", "fc"),
        node("Mul", "i g", "ig"),
        node("Add", "fc ig", f"{memory}_out"),
        node("Tanh", f"{memory}_out", "t"),
        node("Mul", "o t", f"{hidden}_out"),
        node("MatMul", f"{hidden}_out V", "y"),
    ]
    weights = {"W": rng.normal(size=(4 * H, n_in)), "R": rng.normal(size=(4 * H, H)), "V": rng.normal(size=(H, 2))}
    weights |= {"b": rng.normal(size=4 * H), "rb": rng.normal(size=4 * H), "parts": np.full(4, H)}
    path = save(
        tmp_path,
        nodes,
        {"x": n_in, **dict.fromkeys(sorted([hidden, memory]), H)},
        {"y": 2, **dict.fromkeys(sorted([f"{hidden}_out", f"{memory}_out"]), H)},
        weights,
    )
    stream = undertow.load(path).stream()
    X = rng.normal(size=(20, n_in)).astype(np.float32)
    states = {name: (f"{name}_out", (1, H)) for name in (hidden, memory)}
    for x, y in zip(X, stepped(path, {"x": X[:, None]}, states)["y"], strict=True):
        np.testing.assert_allclose(stream.step(x), y[0], rtol=0, atol=FLOAT32_PEER)


def test_an_input_as_wide_as_the_state_is_refused(tmp_path):
    """tanh(W x + R h): nothing but a name says which of the two is the input."""
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h R", "q"),
        node("Add", "a q", "s"),
        node("Tanh", "s", "h_out"),
    ]
    nodes += [node("MatMul", "h_out V", "y")]
    rng = np.random.default_rng(1)
    weights = {"W": rng.normal(size=(H, H)), "R": rng.normal(size=(H, H)), "V": np.ones((H, 2))}
    path = save(tmp_path, nodes, {"x": H, "h": H}, {"y": 2, "h_out": H}, weights)
    with pytest.raises(UnsupportedError, match="every input could be a state"):
        undertow.load(path)
    graph = undertow.load(path, states={"h": "h_out"}).graph
    assert [node.op for node in graph.nodes] == ["rnn", "dense"], graph


def test_what_no_cell_tells_apart_is_refused(tmp_path):
    nodes = [
        node("Mul", "a p", "pa"),
        node("Add", "pa x", "a_out"),
        node("Mul", "b q", "qb"),
        node("Add", "qb x", "b_out"),
        node("Add", "a_out b_out", "s"),
        node("MatMul", "s V", "y"),
    ]
    sides = {"x": H, "a": H, "b": H}, {"y": 2, "a_out": H, "b_out": H}
    path = save(tmp_path, nodes, *sides, {"p": 0.9, "q": 0.5, "V": np.ones((H, 2))})
    with pytest.raises(UnsupportedError, match="cannot tell which inputs are states"):
        undertow.load(path)
    assert set(undertow.load(path, states={"a": "a_out", "b": "b_out"}).inputs) == {"x"}


def test_stacked_cells_are_told_by_few_trials():
    """What a layer returns depends on the layers below, so only the two states of each layer can change places."""
    names = [f"{letter}{layer}" for layer in range(4) for letter in "hc"]
    fits = {name: [f"{o}_out" for o in names if o[1] >= name[1]] for name in names}
    right, tried = {name: f"{name}_out" for name in names}, []

    def build(pairing):
        tried.append(pairing)
        if pairing != right:
            raise UnsupportedError("no cells")
        graph = Graph()
        graph.state("h", (1,))
        return graph

    assert only_cells(fits, 9, 9, 100, build, lambda graph: graph) is not None
    assert len(tried) == 2**4 and all(len(pairing) == 8 for pairing in tried)
    assert only_cells(fits, 9, 9, 100_000, build, lambda graph: graph) is None  # too large for trials


class Counted(list):
    """Options of an input, which count how often they are looked at."""

    looks = 0

    def __iter__(self):
        Counted.looks += 1
        return super().__iter__()


def test_trials_of_pairings_have_a_limit(monkeypatch):
    """Eight layers have 2^8 pairings, however small the model is; and what fits is found without long search."""
    names = [f"{letter}{layer}" for layer in range(8) for letter in "hc"]
    fits = {name: Counted(f"{o}_out" for o in names if o[1] >= name[1]) for name in names}
    tried = []
    monkeypatch.setattr(Counted, "looks", 0)

    def build(pairing):
        tried.append(pairing)
        raise UnsupportedError("no cells")

    assert only_cells(fits, 17, 17, 1, build, lambda graph: graph) is None
    assert len(tried) == 120 and all(list(pairing) == names for pairing in tried)
    assert Counted.looks < 20 * 120
