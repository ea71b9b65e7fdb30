# SPDX-License-Identifier: MIT
"""ONNX Runtime as judge: its inputs and outputs are matched with frames whatever way the file lays them out."""

import numpy as np
import pytest

import undertow
from onnx_files import cell, helper, model_of, onnx, onnxruntime, save
from undertow.accuracy.peer import CannotFeed, OnnxRuntime
from undertow.accuracy.verify import verify
from undertow.cli import main

onnxruntime()

N_IN, N_HIDDEN = 3, 4
RNG = np.random.default_rng(21)


def weights(op, n_directions=1):
    return cell(RNG, op, N_IN, N_HIDDEN, n_directions, bias=True)


def saved(folder, nodes, inputs, outputs, constants):
    """inputs, outputs: name -> shape"""
    model = model_of(nodes, inputs, outputs, constants, opset=14)
    onnx.checker.check_model(model)
    return save(model, folder)


def sequence(folder, op="LSTM", length="time", direction="forward"):
    """X (T, B, I) -> Y (T, D, B, H)."""
    n = 2 if direction == "bidirectional" else 1
    node = helper.make_node(op, ["x", "W", "R", "B"], ["y"], hidden_size=N_HIDDEN, direction=direction)
    return saved(folder, [node], {"x": [length, 1, N_IN]}, {"y": [length, n, 1, N_HIDDEN]}, weights(op, n))


def batch_first(folder):
    """X (B, T, I) -> Y (B, T, H), as exporters of batch-first layers write it."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "W", "R", "B"], ["g"], hidden_size=N_HIDDEN, linear_before_reset=1),
        helper.make_node("Squeeze", ["g", "axes"], ["s"]),
        helper.make_node("Transpose", ["s"], ["y"], perm=[1, 0, 2]),
    ]
    return saved(
        folder,
        nodes,
        {"x": ["batch", "frames", N_IN]},
        {"y": ["batch", "frames", N_HIDDEN]},
        {**weights("GRU"), "axes": np.array([1], np.int64)},
    )


def single_step(folder):
    """One frame a call, h and c in and out."""
    shape = [1, 1, N_HIDDEN]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y4", "hn", "cn"], hidden_size=N_HIDDEN)
    squeeze = helper.make_node("Squeeze", ["y4", "axes"], ["y"])
    return saved(
        folder,
        [node, squeeze],
        {"x": [1, 1, N_IN], "h": shape, "c": shape},
        {"y": [1, 1, N_HIDDEN], "hn": shape, "cn": shape},
        {**weights("LSTM"), "axes": np.array([1], np.int64)},
    )


def last_only(folder):
    """X (T, B, I) -> Y_h (D, B, H): a classifier's use of a sequence."""
    node = helper.make_node("GRU", ["x", "W", "R", "B"], ["", "y"], hidden_size=N_HIDDEN)
    return saved(folder, [node], {"x": ["time", 1, N_IN]}, {"y": [1, 1, N_HIDDEN]}, weights("GRU"))


CASES = {
    "sequence": sequence,
    "rnn": lambda folder: sequence(folder, "RNN"),
    "fixed length": lambda folder: sequence(folder, length=7),
    "bidirectional": lambda folder: sequence(folder, direction="bidirectional"),
    "batch first": batch_first,
    "single step": single_step,
    "last only": last_only,
}


@pytest.mark.parametrize("case", CASES)
def test_verify_against_onnxruntime(tmp_path, capsys, case):
    path = CASES[case](tmp_path)
    assert main(["verify", str(path), "--against", "onnxruntime", "--frames", "40"]) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert "against ONNX Runtime" in out
    assert ("7 random frames" in out) == (case == "fixed length")
    assert ("random chunks" in out) == (case != "bidirectional")


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_would_notice(tmp_path, case):
    """The test of the test: with one weight changed a little, the same comparison fails."""
    path = CASES[case](tmp_path)
    model = undertow.load(path)
    graph = model.graph
    node = next(node for node in graph.nodes if node.op in ("rnn", "gru", "lstm"))
    node.weights["W"] = np.array(node.weights["W"])
    node.weights["W"][0, 1, 2] += 0.01
    report = verify(undertow.Model.from_graph(graph), path, frames=40, against="onnxruntime")
    assert not report.ok
    assert 1e-5 < report.worst.error < 0.1


def test_auto_falls_back_and_says_why(tmp_path):
    path = sequence(tmp_path)
    other = undertow.Model.from_graph(undertow.load(path).graph)
    assert "ONNX Runtime" in verify(other, path, frames=9).against
    path.write_bytes(b"not onnx at all")
    report = verify(other, path, frames=9)
    assert report.against == "the float64 reference"
    assert "ONNX Runtime not used" in str(report)
    assert report.ok


def test_a_file_with_other_names_is_refused(tmp_path):
    model = undertow.load(sequence(tmp_path))
    with pytest.raises(CannotFeed, match="'y'"):
        (tmp_path / "other").mkdir()
        node = helper.make_node("Relu", ["x"], ["z"])
        OnnxRuntime(saved(tmp_path / "other", [node], {"x": ["t", 1, 3]}, {"z": ["t", 1, 3]}, {}), model)


@pytest.mark.parametrize("case", ["sequence", "single step", "fixed length", "bidirectional"])
def test_bench_beside_onnxruntime(tmp_path, capsys, case):
    path = CASES[case](tmp_path)
    assert main(["bench", str(path), "--seconds", "0.02", "--frames", "10"]) == 0
    out = capsys.readouterr().out
    assert "onnxruntime" in out
    assert "x the time of undertow" in out or case == "fixed length"
