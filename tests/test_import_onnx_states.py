# SPDX-License-Identifier: MIT
"""States that an ONNX model of one step takes and returns, against ONNX Runtime driven by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import BOOL, agree, helper, model_of, node, random, save, session_of, stepped
from tolerances import FLOAT32_PEER
from undertow import Model, reference
from undertow.accuracy.verify import verify
from undertow.errors import ShapeError, UnsupportedError
from undertow.importers.onnx import load


def test_single_step_with_states(tmp_path):
    """h and c of two layers stacked in one tensor each, batch axis of size 1, names that say nothing."""
    rng = np.random.default_rng(8)
    weights = {f"{k}{i}": random(rng, 1, 12, 4 if k == "W" and i == 0 else 3) for k in "WR" for i in (0, 1)}
    weights |= {"one": np.array([1]), "zero": np.array([0]), "D": random(rng, 3, 2)}
    nodes = [
        node("Unsqueeze", "x zero", "u"),
        node("Split", "p", "h0 h1", axis=0),
        node("Split", "q", "c0 c1", axis=0),
        helper.make_node("LSTM", ["u", "W0", "R0", "", "", "h0", "c0"], ["Y0", "hn0", "cn0"], hidden_size=3),
        node("Squeeze", "Y0 one", "y0"),
        helper.make_node("LSTM", ["y0", "W1", "R1", "", "", "h1", "c1"], ["Y1", "hn1", "cn1"], hidden_size=3),
        node("Squeeze", "hn1 zero", "last"),
        node("MatMul", "last D", "y"),
        node("Concat", "hn0 hn1", "r", axis=0),
        node("Concat", "cn0 cn1", "s", axis=0),
    ]
    inputs = {"x": [1, 4], "p": [2, 1, 3], "q": [2, 1, 3]}
    model = model_of(nodes, inputs, {"s": [2, 1, 3], "y": [1, 2], "r": [2, 1, 3]}, weights, opset=13)
    graph = load(save(model, tmp_path))
    assert graph.inputs == ["x"] and list(graph.outputs) == ["y"]
    assert sorted(graph.states) == ["lstm_1.c", "lstm_1.h", "lstm_2.c", "lstm_2.h"]
    assert [n.op for n in graph.nodes] == ["lstm", "lstm", "dense"]
    assert "state: input 'p', output 'r'" in graph.source and "state: input 'q', output 's'" in graph.source
    X = random(rng, 6, 1, 4)
    expected = stepped(model, {"x": X}, {"p": ("r", (2, 1, 3)), "q": ("s", (2, 1, 3))})
    agree(graph, X[:, 0], {"y": expected["y"][:, 0]})


def test_state_that_frame_ops_read_too(tmp_path):
    """A head that looks at the state before the step, which the cell keeps for itself: a register beside it."""
    rng = np.random.default_rng(9)
    weights = {"W": random(rng, 1, 9, 4), "R": random(rng, 1, 9, 3), "one": np.array([1])}
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["Y", "hn"], hidden_size=3),
        node("Squeeze", "Y one", "a"),
        node("Sub", "a h", "y"),
    ]
    model = model_of(nodes, {"x": [1, 1, 4], "h": [1, 1, 3]}, {"y": [1, 1, 3], "hn": [1, 1, 3]}, weights)
    graph = load(save(model, tmp_path))
    assert sorted(graph.states) == ["gru_1.h", "gru_1.h.before"]
    X = random(rng, 5, 1, 1, 4)
    expected = stepped(model, {"x": X}, {"h": ("hn", (1, 1, 3))})["y"][:, 0, 0]
    agree(graph, X[:, 0, 0], {"y": expected})
    np.testing.assert_allclose(Model.from_graph(graph).run(X[:, 0, 0]), expected, rtol=0, atol=FLOAT32_PEER)


def _textbook_cell(outputs):
    """h2 = tanh(x W + h R), y = h2 D, of plain frame ops."""
    rng = np.random.default_rng(10)
    weights = {"W": random(rng, 2, 3), "R": random(rng, 3, 3), "D": random(rng, 3, 2)}
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h R", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", "h2"),
        node("MatMul", "h2 D", "y"),
    ]
    return model_of(nodes, {"x": [1, 2], "h": [1, 3]}, outputs, weights)


def test_plain_recurrence_becomes_a_register(tmp_path):
    model = _textbook_cell({"y": [1, 2], "h2": [1, 3]})
    X = random(np.random.default_rng(1), 7, 1, 2)
    expected = {"y": stepped(model, {"x": X}, {"h": ("h2", (1, 3))})["y"][:, 0]}
    graph = load(save(model, tmp_path), states={"h": "h2"})
    agree(graph, X[:, 0], expected)
    told = load(save(model, tmp_path))  # x has y's shape, but only h and h2 make a cell
    assert told.inputs == ["x"]
    agree(told, X[:, 0], expected)
    plain = load(save(model, tmp_path), states={})
    assert plain.inputs == ["x", "h"] and not plain.states


def test_plain_recurrence_is_found_by_shape(tmp_path):
    rng = np.random.default_rng(12)
    weights = {
        "W": random(rng, 4, 3),
        "R": random(rng, 3, 3),
        "D": random(rng, 3, 2),
        "lo": np.float32(-2),
        "hi": np.float32(2),
    }
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h R", "b"),
        node("Add", "a b", "s"),
        node("Clip", "s lo hi", "h2"),
        node("MatMul", "h2 D", "y"),
    ]
    model = model_of(nodes, {"x": ["N", 4], "h": ["N", 3]}, {"y": ["N", 2], "h2": ["N", 3]}, weights)
    graph = load(save(model, tmp_path))
    assert graph.inputs == ["x"] and list(graph.states) == ["rnn_1.h"] and list(graph.outputs) == ["y"]
    X = random(rng, 7, 1, 4)
    agree(graph, X[:, 0], {"y": stepped(model, {"x": X}, {"h": ("h2", (1, 3))})["y"][:, 0]})


@pytest.mark.parametrize(
    ("states", "error", "message"),
    [
        ({"nothing": "h2"}, ShapeError, "no input 'nothing'"),
        ({"h": "nothing"}, ShapeError, "no output 'nothing'"),
        ({"h": "y"}, ShapeError, "state input 'h' has shape"),
        ({"h": "h2", "x": "h2"}, ShapeError, "one output"),
    ],
)
def test_states_that_do_not_fit(states, error, message, tmp_path):
    with pytest.raises(error, match=message):
        load(save(_textbook_cell({"y": [1, 2], "h2": [1, 3]}), tmp_path), states=states)


def test_a_cell_beside_carried_states_must_not_forget(tmp_path):
    rng = np.random.default_rng(13)
    weights = {
        "W": random(rng, 1, 9, 4),
        "R": random(rng, 1, 9, 3),
        "W2": random(rng, 1, 3, 3),
        "R2": random(rng, 1, 3, 3),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["Y", "hn"], hidden_size=3),
        node("Squeeze", "Y one", "a"),
        node("RNN", "a W2 R2", "_ y", hidden_size=3),
    ]
    nodes[-1].output[:] = ["", "y"]
    twice = node("Concat", "hn hn", "other", axis=2)  # and no output returns the state: not a pair
    model = model_of(nodes, {"x": [1, 1, 4], "h": [1, 1, 3]}, {"y": [1, 1, 3], "hn": [1, 1, 3]}, weights)
    with pytest.raises(UnsupportedError, match=r"RNN node 'y': initial_h .* forget"):
        load(save(model, tmp_path))
    graph = load(save(model, tmp_path), shapes={"x": [None, 1, 4]})
    assert sorted(graph.states) == ["gru_1.h", "rnn_1.h"]
    # Where no output returns the state, the caller gives it for each timestep, and the other node forgets.
    outputs = {"y": [1, 1, 3], "other": [1, 1, 6]}
    model = model_of([*nodes, twice], {"x": [1, 1, 4], "h": [1, 1, 3]}, outputs, weights)
    with pytest.warns(undertow.ModelWarning, match="RNN node 'y'"):
        assert load(save(model, tmp_path)).inputs == ["x", "h"]


def test_real_models(models_dir):
    """A denoiser whose two LSTM states lie in one tensor, on its last axis."""
    folder = models_dir / "stage2" / "dtln-mask"
    graph = load(folder / "model_1.onnx")
    with np.load(folder / "expected_ort.npz") as expected:
        X, Y = expected["input"].reshape(-1, 257), expected["output"].reshape(-1, 257)
    np.testing.assert_allclose(reference.run(graph, X), Y, atol=1e-5)


def gru_step(outputs: dict[str, Any], nodes: list[Any], rng: np.random.Generator, steps: int | str = 1) -> Any:
    """x [steps, 1, 4] and h into a GRU, what it ends with being hn; `nodes` make the outputs of it."""
    weights = {"W": random(rng, 1, 9, 4), "R": random(rng, 1, 9, 3), "half": np.float32(0.5), "one": np.array([1])}
    gru = node("GRU", "x W R", "Y hn", hidden_size=3)
    gru.input[:] = ["x", "W", "R", "", "", "h"]
    return model_of([gru, *nodes], {"x": [steps, 1, 4], "h": [1, 1, 3]}, outputs, weights)


@pytest.mark.parametrize("steps", [1, "T"])
def test_a_state_that_changes_behind_its_node_is_refused(steps, tmp_path, rng):
    """The stream would carry what the node ends with, and the names say that the file's steps do not."""
    nodes = [node("Mul", "hn half", "h_out"), node("Squeeze", "Y one", "y")]
    path = save(gru_step({"y": [steps, 1, 3], "h_out": [1, 1, 3]}, nodes, rng, steps), tmp_path)
    with pytest.raises(UnsupportedError, match=r"'h_out',? (which )?is called like what returns it"):
        load(path)


def test_names_and_nodes_that_tell_two_outputs_are_refused(tmp_path, rng):
    nodes = [node("Mul", "hn half", "h_out"), node("Identity", "hn", "y")]
    path = save(gru_step({"y": [1, 1, 3], "h_out": [1, 1, 3]}, nodes, rng), tmp_path)
    with pytest.raises(UnsupportedError, match=r"ends with output 'y', and output 'h_out' .*states=\{'h': 'y'\}"):
        load(path)
    assert load(path, states={"h": "y"}).inputs == ["x"]


def test_a_state_that_nothing_returns_is_an_input_of_a_step(tmp_path, rng):
    path = save(gru_step({"y": [1, 1, 1, 3]}, [node("Identity", "Y", "y")], rng), tmp_path)
    assert load(path).inputs == ["x", "h"]
    sequence = save(gru_step({"y": ["T", 1, 1, 3]}, [node("Identity", "Y", "y")], rng, "T"), tmp_path)
    assert load(sequence).inputs == ["x"]


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("read", ["the last tap", "the last tap as it is", "all taps"])
def test_a_delay_line_of_states(n, read, tmp_path):
    """d0 <- x, d1 <- d0, ...: most of them are read by nothing but what overwrites the next."""
    past, present = [f"past_{i}" for i in range(n)], [f"present_{i}" for i in range(n)]
    moves = [node("Identity", value, name) for value, name in zip(["x", *past], present, strict=False)]
    weights = {"half": np.float32(0.5)}
    nodes = {
        "the last tap": [node("Mul", f"{past[-1]} half", "echo"), node("Add", "x echo", "y")],
        "the last tap as it is": [node("Identity", past[-1], "y")],
        "all taps": [node("Concat", " ".join(past), "y", axis=1)],
    }[read]
    weights = weights if read == "the last tap" else {}
    width = 3 * n if read == "all taps" else 3
    inputs = {name: [1, 3] for name in ["x", *past]}
    model = model_of([*nodes, *moves], inputs, {"y": [1, width], **{name: [1, 3] for name in present}}, weights)
    X = random(np.random.default_rng(4), 9, 1, 3)
    expected = stepped(model, {"x": X}, {a: (b, (1, 3)) for a, b in zip(past, present, strict=True)})["y"]
    graph = load(save(model, tmp_path))
    agree(graph, X[:, 0], {"y": expected.reshape(9, *graph.shape(graph.outputs["y"]))})


@pytest.mark.parametrize("n_steps", [1, 4, "T"])
@pytest.mark.parametrize("change", ["of what it ends with", "of both", "of what came in"])
@pytest.mark.parametrize("names", ["hidden carry", "b p"])
def test_a_state_that_is_returned_changed_is_asked_about(names, change, n_steps, tmp_path, rng):
    name, returned = names.split()
    weights = {"W": random(rng, 1, 9, 4), "R": random(rng, 1, 9, 3), "one": np.array([1]), "half": np.float32(0.5)}
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "", "", name], ["Y", "hn"], hidden_size=3),
        node("Squeeze", "Y one", "y"),
        {
            "of what it ends with": node("Mul", "hn half", returned),
            "of both": node("Add", f"hn {name}", returned),
            "of what came in": node("Mul", f"{name} half", returned),
        }[change],
    ]
    used = {k: a for k, a in weights.items() if change != "of both" or k != "half"}
    outputs = {"y": [n_steps, 1, 3], returned: [1, 1, 3]}
    path = save(model_of(nodes, {"x": [n_steps, 1, 4], name: [1, 1, 3]}, outputs, used), tmp_path)
    asked = f"input '{name}' starts a recurrent node, and output '{returned}'"
    with pytest.raises(
        UnsupportedError, match=f"{asked}|output '{returned}' of one call of 4 timesteps is another one"
    ):
        load(path)
    if change == "of what it ends with" and n_steps != 1:
        graph = load(path, states={})
        assert list(graph.states) == ["gru_1.h"] and list(graph.outputs) == ["y", returned]


@pytest.mark.parametrize(
    ("names", "message"), [("prev next", "every input is a state"), ("prev next n", "names pair the states")]
)
def test_names_that_leave_no_frame_or_no_use_of_the_states(names, message, tmp_path):
    """prev and h are called like states, and so is all that comes in."""
    nodes = [node("Add", "prev h", "next"), node("Mul", "prev h", "h_new")]
    inputs, outputs = {"prev": [1, 3], "h": [1, 3]}, {"next": [1, 3], "h_new": [1, 3]}
    if names.endswith("n"):
        nodes.append(node("Add", "n n", "n_new"))
        inputs["n"], outputs["n_new"] = [1, 1], [1, 1]
    with pytest.raises(UnsupportedError, match=message):
        load(save(model_of(nodes, inputs, outputs), tmp_path))


def test_states_by_name_that_leave_no_frame(tmp_path):
    """A frame that is called a state: what comes in and the cache are both paired."""
    weights = {"one": np.array([1]), "zero": np.array([0]), "end": np.array([99])}
    nodes = [
        node("Slice", "in0 zero one one", "oldest"),
        node("Squeeze", "oldest one", "state_out"),
        node("Slice", "in0 one end one", "rest"),
        node("Unsqueeze", "state_in one", "new"),
        node("Concat", "rest new", "out0", axis=1),
    ]
    inputs, outputs = {"state_in": [1, 3], "in0": [1, 5, 3]}, {"state_out": [1, 3], "out0": [1, 5, 3]}
    path = save(model_of(nodes, inputs, outputs, weights), tmp_path)
    with pytest.raises(UnsupportedError, match="no frame comes in: "):
        load(path)
    assert load(path, states={"in0": "out0"}).inputs == ["state_in"]


def test_a_state_that_keeps_what_a_recurrent_node_started_from(tmp_path, rng):
    """d' = h: nothing else in the file reads h."""
    weights = {"W": random(rng, 1, 9, 4), "R": random(rng, 1, 9, 3), "one": np.array([1])}
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "", "", "past_0"], ["Y", "present_0"], hidden_size=3),
        node("Squeeze", "Y one", "a"),
        node("Add", "a past_1", "y"),
        node("Identity", "past_0", "present_1"),
    ]
    inputs = {"x": [1, 1, 4], "past_0": [1, 1, 3], "past_1": [1, 1, 3]}
    model = model_of(nodes, inputs, {name: [1, 1, 3] for name in ("y", "present_0", "present_1")}, weights)
    X = random(rng, 7, 1, 1, 4)
    pairs = {"past_0": ("present_0", (1, 1, 3)), "past_1": ("present_1", (1, 1, 3))}
    graph = load(save(model, tmp_path))
    expected = stepped(model, {"x": X}, pairs)["y"].reshape(7, *graph.shape(graph.outputs["y"]))
    agree(graph, X[:, 0, 0], {"y": expected})


@pytest.mark.parametrize("move", ["rolled", "turned round"])
def test_a_state_whose_elements_change_places(move, tmp_path, rng):
    """a' = 0.9 move(a) + W x, of which the search for a cell took one table of places for another."""
    order = np.roll(np.arange(5), 1) if move == "rolled" else np.arange(5)[::-1].copy()
    weights = {"W": random(rng, 4, 5), "order": order, "decay": np.float32(0.9)}
    nodes = [
        node("Gather", "past order", "moved", axis=1),
        node("Mul", "moved decay", "kept"),
        node("MatMul", "x W", "wx"),
        node("Add", "kept wx", "present"),
        node("Tanh", "present", "y"),
    ]
    model = model_of(nodes, {"x": [1, 4], "past": [1, 5]}, {"y": [1, 5], "present": [1, 5]}, weights)
    X = random(rng, 7, 1, 4)
    expected = stepped(model, {"x": X}, {"past": ("present", (1, 5))})["y"][:, 0]
    agree(load(save(model, tmp_path)), X[:, 0], {"y": expected})


@pytest.mark.parametrize("name", ["on", "t"])
def test_a_flag_that_is_carried_on(name, tmp_path, rng):
    """h stands still until a frame has set a bool, which stays set; names tell that state, and nothing else does."""
    weights = {"W": random(rng, 4, 3), "R": random(rng, 3, 3), "V": random(rng, 4, 3), "bar": np.array(1, np.float32)}
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h R", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", "moved"),
        node("Where", f"{name} moved h", "h_out"),
        node("MatMul", "x V", "level"),
        node("Greater", "level bar", "loud"),
        node("Or", f"loud {name}", f"{name}_out"),
        node("Neg", "h_out", "y"),
    ]
    inputs = {"x": [1, 4], "h": [1, 3], name: ([1, 3], BOOL)}
    outputs = {"y": [1, 3], "h_out": [1, 3], f"{name}_out": ([1, 3], BOOL)}
    path = save(model_of(nodes, inputs, outputs, weights), tmp_path)
    model = undertow.load(path)
    assert list(model.inputs) == ["x"] and list(model.outputs) == ["y"]
    assert f"state: input '{name}', output '{name}_out', by name and shape" in model.source
    session, h, flag, flags = session_of(path), np.zeros((1, 3), np.float32), np.zeros((1, 3), bool), []
    stream = model.stream()
    for x in random(rng, 12, 1, 4):
        y, h, flag = session.run(None, {"x": x, "h": h, name: flag})
        np.testing.assert_allclose(stream.step(x[0]), y[0], atol=FLOAT32_PEER)
        flags += flag.ravel().tolist()
    assert not all(flags) and any(flags)
    report = verify(model, path)
    assert report.ok and any(f"state '{name}' was fed with output '{name}_out'" in note for note in report.notes)
    with pytest.raises(UnsupportedError, match="holds bool, its output 'y' holds float32"):
        load(path, states={name: "y"})
