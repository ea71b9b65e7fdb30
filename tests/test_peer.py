# SPDX-License-Identifier: MIT
"""ONNX Runtime as judge: its inputs and outputs are matched with frames whatever way the file lays them out."""

import json

import numpy as np
import pytest

import undertow
from networks import single
from onnx_files import cell, graph_of, helper, model_of, node, onnx, onnxruntime, random, reading_memory, save
from undertow.accuracy.peer import CannotFeed, OnnxRuntime
from undertow.accuracy.verify import verify
from undertow.cli import main
from undertow.importers import onnx as importer
from undertow.importers.onnx.search import attempt
from undertow.importers.onnx.search.proof import Proof
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph

onnxruntime()

N_IN, N_HIDDEN = 3, 4


def weights(op, n_directions=1):
    """The same whatever ran before: how near a wrong layout comes to a wrong model depends on them."""
    return cell(np.random.default_rng(21), op, N_IN, N_HIDDEN, n_directions, bias=True)


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


def both_ends(folder):
    """X (T, B, I) -> (B, 2 H): the final states of both directions."""
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "B"], ["", "ends"], hidden_size=N_HIDDEN, direction="bidirectional"),
        helper.make_node("Transpose", ["ends"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["turned", "shape"], ["y"]),
    ]
    constants = {**weights("GRU", 2), "shape": np.array([0, -1])}
    return saved(folder, nodes, {"x": ["time", "batch", N_IN]}, {"y": ["batch", 2 * N_HIDDEN]}, constants)


CASES = {
    "sequence": sequence,
    "rnn": lambda folder: sequence(folder, "RNN"),
    "fixed length": lambda folder: sequence(folder, length=7),
    "bidirectional": lambda folder: sequence(folder, direction="bidirectional"),
    "batch first": batch_first,
    "single step": single_step,
    "last only": last_only,
    "both ends": both_ends,
}


@pytest.mark.parametrize("case", CASES)
def test_verify_against_onnxruntime(tmp_path, capsys, case):
    path = CASES[case](tmp_path)
    assert main(["verify", str(path), "--against", "onnxruntime", "--frames", "40"]) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert "against ONNX Runtime" in out
    assert ("7 random frames" in out) == (case == "fixed length")
    assert ("random chunks" in out) == (case not in ("bidirectional", "both ends"))


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


# -- a wrong reading fails, although it agrees on one sequence of one length -------------------------------------------


def accept(monkeypatch):
    """Let the importer accept whatever goes through."""
    monkeypatch.setattr(attempt, "prove", lambda *_: Proof())
    monkeypatch.setattr(importer, "check_calls", lambda *_: None)


def failed(report):
    assert not report.ok
    return {check.name for check in report.checks if not check.worst.error <= report.tolerance}


def test_a_batch_that_is_walked_is_noticed(tmp_path):
    """h_i = tanh(x_i + h_(i - 1)) along axis 0; a model without memory is right for one item."""
    body = graph_of(
        [node("Add", "x h", "s"), node("Tanh", "s", "h_next"), node("Identity", "h_next", "row")],
        ["h", "x"],
        ["h_next", "row"],
    )
    scan = node("Scan", "h_0 x", "h_n y", body=body, num_scan_inputs=1)
    shape = ["items", "time", N_IN]
    start = [node("Gather", "x zero", "first", axis=0), node("Mul", "first zeros", "h_0")]
    constants = {"zero": np.array(0), "zeros": np.zeros(N_IN, np.float32)}
    path = save(model_of([*start, scan], {"x": shape}, {"y": shape}, constants), tmp_path)
    graph = undertow.Graph("forgets")
    graph.output("y", graph.add("activation", [graph.input("x", N_IN)], attrs={"activation": Activation("tanh")}))
    assert failed(verify(undertow.Model.from_graph(graph), path)) == {"batch of 2"}


def test_a_memory_of_one_row_is_noticed(tmp_path, monkeypatch):
    accept(monkeypatch)
    nodes = [
        *reading_memory("y"),
        node("Add", "x h", "h_out"),
    ]
    shapes = {"x": [1, N_IN], "h": [1, N_IN], "memory": [1, "src", N_IN]}
    outputs = {"y": [1, N_IN], "h_out": [1, N_IN]}
    path = saved(tmp_path, nodes, shapes, outputs, {"axis": np.array([1])})
    report = verify(undertow.load(path), path)
    assert failed(report) == {"open axes"}
    assert any("axis 1 of input 'memory' is open" in note for note in report.notes)


def elman(folder):
    """h_out = tanh(W x + U h), where x is as large as h."""
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h U", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", "h_out"),
        node("MatMul", "h_out V", "y"),
    ]
    shapes, outputs = {"x": [1, N_IN], "h": [1, N_IN]}, {"y": [1, N_IN], "h_out": [1, N_IN]}
    rng = np.random.default_rng(21)
    constants = {name: rng.normal(size=(N_IN, N_IN)).astype(np.float32) for name in "WUV"}
    return saved(folder, nodes, shapes, outputs, constants)


def test_a_state_that_is_another_input_is_noticed(tmp_path):
    path = elman(tmp_path)
    report = verify(undertow.load(path), path)
    assert report.ok
    assert "state 'h' was fed with output 'h_out', by their names" in report.notes
    report = verify(undertow.load(path, states={"x": "h_out"}), path)
    assert failed(report) == {"states"}
    assert any("returns state 'h', which is an input here" in note for note in report.notes)


@pytest.mark.parametrize("length", ["time", 1])
def test_a_fixed_batch_is_fed_with_different_sequences(length, tmp_path):
    """Four rows of a batch of four, each a sequence of its own."""
    shape = [1, 4, N_HIDDEN]
    gru = helper.make_node("GRU", ["x", "W", "R", "B", "", "h"], ["y4", "hn"], hidden_size=N_HIDDEN)
    squeeze = helper.make_node("Squeeze", ["y4", "axes"], ["y"])
    path = saved(
        tmp_path,
        [gru, squeeze],
        {"x": [length, 4, N_IN], "h": shape},
        {"y": [length, 4, N_HIDDEN], "hn": shape},
        {**weights("GRU"), "axes": np.array([1], np.int64)},
    )
    report = verify(undertow.load(path), path)
    assert report.ok, report
    assert "batch of 4" in {check.name for check in report.checks}


def test_lengths_and_batches_are_tried(tmp_path):
    path = batch_first(tmp_path)
    report = verify(undertow.load(path), path)
    assert report.ok, report
    assert {"batch of 2", "lengths 1, 2, 5, 13, 34"} <= {check.name for check in report.checks}


@pytest.mark.parametrize("shape", [["batch", 4], [1, 4]], ids=["of each item", "of all"])
def test_what_stays_the_same_in_a_sequence_is_fed_once(tmp_path, shape):
    """y_t = GRU(x)_t + c W, where c has no axis of time, and may have one of the batch or not."""
    nodes = [
        node("GRU", "x W R B", "Y", hidden_size=N_HIDDEN),
        node("Squeeze", "Y one", "h"),
        node("MatMul", "c V", "v"),
        node("Add", "h v", "y"),
    ]
    rng = np.random.default_rng(0)
    constants = {**weights("GRU"), "one": np.array([1]), "V": random(rng, 4, N_HIDDEN)}
    path = saved(tmp_path, nodes, {"x": ["time", "batch", N_IN], "c": shape}, {"y": ["time", "n", N_HIDDEN]}, constants)
    model = undertow.load(path)
    report = verify(model, path, against="onnxruntime")
    assert report.ok, report
    assert [check.name for check in report.checks][-2:] == ["batch of 2", "lengths 1, 2, 5, 13, 34"]
    graph = model.graph
    dense = next(node for node in graph.nodes if node.op == "dense" and node.inputs[0] == "c")
    dense.weights["W"] = dense.weights["W"] + 0.01
    assert not verify(undertow.Model.from_graph(graph), path, against="onnxruntime").ok


def test_an_input_that_is_passed_on_is_no_state(tmp_path):
    """enc_out is called like what returns enc, and is enc: whether it is fed back is the same."""
    nodes = [
        node("Add", "x enc", "a"),
        node("Add", "a h", "s"),
        node("Tanh", "s", "h_out"),
        node("Identity", "enc", "enc_out"),
    ]
    shape = [1, N_IN]
    path = saved(
        tmp_path, nodes, dict.fromkeys(("x", "h", "enc"), shape), dict.fromkeys(("h_out", "enc_out"), shape), {}
    )
    model = undertow.load(path)
    assert sorted(model.inputs) == ["enc", "x"]
    assert verify(model, path, against="onnxruntime").ok


def test_frames_without_a_row_are_left_out(tmp_path):
    """A convolution along time without padding: the first two frames have no row in the file."""
    nodes = [
        node("Transpose", "x", "columns", perm=[1, 2, 0]),
        node("Conv", "columns K", "rows"),
        node("Transpose", "rows", "y", perm=[2, 0, 1]),
    ]
    kernel = random(np.random.default_rng(0), 2, N_IN, 3)
    path = saved(tmp_path, nodes, {"x": ["time", 1, N_IN]}, {"y": ["rows", 1, 2]}, {"K": kernel})
    model = undertow.load(path)
    report = verify(model, path, against="onnxruntime")
    assert report.ok, report
    assert any("no row of output 'y' for the first 2 frames" in note for note in report.notes)
    graph = model.graph
    layer = next(node for node in graph.nodes if node.weights)
    layer.weights = {name: array * 1.01 for name, array in layer.weights.items()}
    assert not verify(undertow.Model.from_graph(graph), path, against="onnxruntime").ok


def test_states_start_with_what_the_caller_says(tmp_path, capsys):
    nodes = [node("Add", "x h", "s"), node("Tanh", "s", "h_out"), node("Neg", "h_out", "y")]
    shape = [1, N_IN]
    path = saved(tmp_path, nodes, {"x": shape, "h": shape}, {"y": shape, "h_out": shape}, {})
    starts = {"h": np.full(shape, 0.5, np.float32)}
    model = undertow.load(path, starts=starts)
    assert verify(model, path, against="onnxruntime", options={"starts": starts}).ok
    assert not verify(model, path, against="onnxruntime").ok
    option = "starts=" + json.dumps({"h": starts["h"].tolist()})
    assert main(["verify", str(path), "--against", "onnxruntime", "--option", option]) == 0, capsys.readouterr()


def written_out(folder, n_steps=6):
    """A loop over [batch, time, I] that an exporter wrote out for the length of its example, and called open."""
    rng = np.random.default_rng(0)
    nodes = [node("Shape", "x", "size"), node("Gather", "size first", "n"), node("Concat", "n units", "of_h", axis=0)]
    nodes.append(node("ConstantOfShape", "of_h", "h-1"))
    constants = {f"i{t}": np.int64(t) for t in range(n_steps)} | {"first": np.array([0]), "units": np.array([N_HIDDEN])}
    constants |= {"W": random(rng, N_IN, N_HIDDEN), "R": random(rng, N_HIDDEN, N_HIDDEN), "axis": np.array([1])}
    for t in range(n_steps):
        nodes += [node("Gather", f"x i{t}", f"x{t}", axis=1), node("MatMul", f"x{t} W", f"a{t}")]
        nodes += [node("MatMul", f"h{t - 1} R", f"b{t}"), node("Add", f"a{t} b{t}", f"s{t}")]
        nodes += [node("Tanh", f"s{t}", f"h{t}"), node("Unsqueeze", f"h{t} axis", f"y{t}")]
    nodes.append(node("Concat", " ".join(f"y{t}" for t in range(n_steps)), "y", axis=1))
    sizes = {"x": ["batch", "time", N_IN]}, {"y": ["batch", n_steps, N_HIDDEN]}
    return saved(folder, nodes, *sizes, constants)


def test_a_loop_that_was_written_out_is_compared_at_its_length(tmp_path):
    path = written_out(tmp_path)
    model = undertow.load(path)
    assert [node.op for node in model.graph.nodes] == ["rnn"]
    report = verify(model, path, against="onnxruntime")
    assert report.ok and report.n_steps == 6 and "the file fixes the length of a sequence to 6" in report.notes
    graph = model.graph
    graph.nodes[0].weights["R"] = graph.nodes[0].weights["R"] + 0.01
    assert not verify(undertow.Model.from_graph(graph), path, against="onnxruntime").ok


# -- models that multiply roundings ---------------------------------------------------------------------------------


def test_an_error_that_float32_must_make_is_none(capsys):
    digits = undertow.load(undertow.example("digits"))
    report = verify(digits, seed=11)
    (largest,) = {worst.error for worst in report.explained}
    assert report.ok and 1e-5 < largest < 1e-4 and report.worst.error <= 1e-5
    assert "numbers are off by 2^-22 of themselves" in str(report) and report.data()["explained"][0]["error"] == largest
    assert main(["verify", str(undertow.example("digits")), "--seed", "4"]) == 0
    assert "ok: largest error" in capsys.readouterr().out
    assert not verify(digits, seed=11, tolerance=1e-5).ok  # what is said is kept to


@pytest.mark.parametrize("off", [1e-2, 1e-3, 1e-4])
def test_a_model_that_multiplies_roundings_may_still_be_wrong(off):
    """The same comparison, where the reference knows other weights than those that the engine computes with."""
    digits = undertow.load(undertow.example("digits"))
    wrong = digits.graph.copy()
    cell = next(node for node in wrong.nodes if node.op == "gru")
    cell.weights["R"] = cell.weights["R"] * np.float32(1 + off)
    engine = undertow.Model.from_graph(wrong)
    engine.__dict__["graph"] = digits.graph
    report = verify(engine, seed=11)
    assert not report.ok and report.worst.error > 1e-5


@pytest.mark.parametrize(("off", "ok"), [(0.0, True), (1e-3, False)])
def test_small_outputs_are_held_to_their_own_size(rng, off, ok):
    """Numbers of a millionth, which differ from any other small ones by less than 1e-5."""
    graph = single(rng, "rnn", 6, 8, activations=(undertow.Activation("identity"),))
    weights = graph.nodes[0].weights
    weights["W"], weights["b"] = weights["W"] * np.float32(1e-6), weights["b"] * np.float32(1e-6)
    wrong = graph.copy()
    wrong.nodes[0].weights["W"] = wrong.nodes[0].weights["W"] * np.float32(1 + off)
    engine = undertow.Model.from_graph(wrong)
    engine.__dict__["graph"] = graph
    assert np.abs(engine.run(rng.normal(size=(200, 6)).astype(np.float32))).max() < 1e-4
    assert verify(engine).ok == ok


def test_outputs_that_are_rounding_alone_pass(rng):
    """Of the difference of two numbers that are nearly alike float32 knows a digit: no more can be asked than 1e-5."""
    row = rng.normal(size=(1, 6))
    graph = Graph("difference")
    both = graph.add("dense", [graph.input("x", 6)], name="both", weights={"W": np.vstack([row, row * (1 + 2.0**-20)])})
    graph.output("y", graph.add("dense", [both], name="apart", weights={"W": np.array([[1.0, -1.0]])}))
    report = verify(undertow.Model.from_graph(graph))
    assert report.ok and report.explained[0].error > 1e-2
