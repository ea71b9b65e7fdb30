# SPDX-License-Identifier: MIT
"""Branches in ONNX models, by an input that is bound or by a size, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from decomposed import H, I, N, T, sequence_agrees
from onnx_files import INT64, graph_of, info, node, peer, random, save
from tolerances import FLOAT32_PEER
from undertow import reference
from undertow.errors import UnsupportedError
from undertow.importers.onnx import load


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
    with pytest.raises(UnsupportedError, match="If node 'Y': combines what is known only at the end of the sequence"):
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
