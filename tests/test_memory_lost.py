# SPDX-License-Identifier: MIT
"""What a model forgets is warned of, and each line that the warning tells is pasted, and remembers."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import layer, sequential, write_h5
from onnx_files import graph_of, node, random, save, session_of

H = 6
CONSTANTS = {"second": np.array([1]), "zero": np.array(0)}
LINE = re.compile(r"shapes=\{[^{}]*\}(?:, time_axis=\{[^{}]*\})?")


def told(path: Path) -> tuple[undertow.Model, str, list[dict[str, Any]]]:
    """What a file loads as, what is warned of, and the lines in it."""
    with pytest.warns(undertow.ModelWarning) as caught:
        model = undertow.load(path)
    (text,) = (str(one.message) for one in caught)
    assert f"warning: {text}"[:200] in model.source
    return model, text, [eval(f"dict({line})", {"N": 4}) for line in LINE.findall(text)]


def loads(path: Path, options: dict[str, Any]) -> undertow.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return undertow.load(path, **options)


def gru(rng: np.random.Generator, number: int) -> dict[str, np.ndarray]:
    return {f"W{number}": random(rng, 1, 3 * H, H), f"R{number}": random(rng, 1, 3 * H, H)}


def carried(folder: Path, rng: np.random.Generator, then: list[Any]) -> Path:
    """A GRU whose state the caller carries, over x of [1, time, H]; and what goes on from its rows `y` of [time, 1, H]
    to "ends" of that shape.
    """
    nodes = [
        node("Transpose", "x", "rows", perm=[1, 0, 2]),
        node("GRU", "rows W0 R0 none none h", "Y0 h_out", hidden_size=H),
        node("Squeeze", "Y0 second", "y"),
        *then,
        node("Transpose", "ends", "out", perm=[1, 0, 2]),
    ]
    for one in nodes:
        one.input[:] = ["" if name == "none" else name for name in one.input]
    weights = {**gru(rng, 0), **gru(rng, 1), "K": random(rng, H, H, 3), **CONSTANTS}
    used = {name: array for name, array in weights.items() if any(name in one.input for one in nodes)}
    inputs = {"x": [1, "time", H], "h": [1, 1, H]}
    return save(graph_of(nodes, inputs, {"out": [1, "time", H], "h_out": [1, 1, H]}, used), folder)


LATER: dict[str, tuple[list[Any], str, bool]] = {
    "another GRU": ([node("GRU", "y W1 R1", "Y1", hidden_size=H), node("Squeeze", "Y1 second", "ends")], "gru", False),
    "a convolution without a cache": (
        [
            node("Transpose", "y", "channels", perm=[1, 2, 0]),
            node("Conv", "channels K", "convolved", pads=[2, 0]),
            node("Transpose", "convolved", "ends", perm=[2, 0, 1]),
        ],
        "window",
        True,
    ),
    "a sum": ([node("CumSum", "y zero", "ends")], "state_read", True),
}


@pytest.mark.parametrize("kind", LATER)
def test_memory_that_starts_anew_in_each_call_beside_a_state_that_goes_on_is_warned_of(kind, tmp_path, rng):
    nodes, name, has_one = LATER[kind]
    path = carried(tmp_path, rng, nodes)
    model, text, lines = told(path)
    assert f"carries 'h' from call to call, and {name} '" in text
    x = rng.standard_normal((12, H)).astype(np.float32)
    session = session_of(path)
    h = np.zeros((1, 1, H), np.float32)
    np.testing.assert_allclose(model.run(x), session.run(None, {"x": x[None], "h": h})[0][0], atol=2e-6)
    assert [line["shapes"]["x"][1] for line in lines] == ([1, 4] if has_one else [4])
    for line in lines:
        n = line["shapes"]["x"][1]
        stream, h = loads(path, line).stream(), np.zeros((1, 1, H), np.float32)
        for frame in x.reshape(-1, n, H):
            out, h = session.run(None, {"x": frame[None], "h": h})
            got = stream.step(frame if n > 1 else frame[0])
            np.testing.assert_allclose(np.reshape(got, (n, H)), out[0], atol=2e-6)


def test_a_state_that_changes_nothing_is_warned_of(tmp_path, rng):
    """torch.export of a cell whose two states were one tensor of zeros: one input is read for both."""
    nodes = [node("Add", "x c_in", "h_out"), node("Tanh", "h_out", "c_out"), node("Mul", "c_out x", "y")]
    shapes = {name: [1, H] for name in ("x", "h_in", "c_in")}
    path = save(graph_of(nodes, shapes, {name: [1, H] for name in ("y", "h_out", "c_out")}, {}), tmp_path)
    model, text, lines = told(path)
    assert text.startswith(
        "input 'h_in' changes nothing in the file, and output 'h_out' is called like what returns it"
    )
    assert list(model.inputs) == ["x"] and not lines


def test_one_timestep_of_an_open_length_says_how_to_export_it(tmp_path, rng):
    """Of Keras with torch as its backend: the loop of a layer is written out for the one timestep that it traced."""
    weights = {"zero": np.array(0), "K": random(rng, H, H), "b": random(rng, H)}
    nodes = [
        node("Gather", "x zero", "first", axis=1),
        node("MatMul", "first K", "product"),
        node("Add", "product b", "gate"),
        node("Tanh", "gate", "y"),
    ]
    path = save(graph_of(nodes, {"x": ["batch", "length", H]}, {"y": ["batch", H]}, weights), tmp_path)
    with pytest.raises(undertow.UnsupportedError, match="one timestep whose loop was written out") as refused:
        undertow.load(path)
    message = str(refused.value)
    assert "Export it with an open time axis" in message and "Of Keras, load the .keras file" in message
    assert f"if the size of that axis is 1, give it with shapes={{'x': [None, 1, {H}]}}" in message


def test_an_error_says_too_which_state_changes_nothing(tmp_path, rng):
    nodes = [node("GRU", "x W0 R0", "Y h_out", hidden_size=H), node("ReduceMax", "Y", "y", axes=[0], keepdims=0)]
    for one in nodes[:1]:
        one.input.extend(["", "", "c_in"])
    inputs = {"x": [1, 1, H], "h_in": [1, 1, H], "c_in": [1, 1, H]}
    outputs = {"y": None, "h_out": [1, 1, H], "c_out": [1, 1, H]}
    path = save(graph_of([*nodes, node("Tanh", "h_out", "c_out")], inputs, outputs, gru(rng, 0)), tmp_path)
    with pytest.raises(undertow.UnsupportedError) as refused:
        undertow.load(path)
    cause, rest = str(refused.value).split("; as the file is, ")
    assert cause.startswith("model.onnx: input 'h_in' changes nothing in the file") and "one tensor" in cause
    assert "'c_in'" in rest


def test_a_state_that_alone_goes_on_is_no_reason_to_warn(tmp_path, rng):
    model = loads(carried(tmp_path, rng, [node("Tanh", "y", "ends")]), {})
    assert list(model.states) == ["gru_1.h"]


@pytest.mark.parametrize("n_steps", [1, 8, 40])
def test_of_a_clip_in_strides_the_warning_tells_how_it_streams(n_steps, tmp_path, rng):
    """Two timesteps in a frame show with an open axis alone."""
    nodes = [
        node("Conv", "x K", "convolved", pads=[2, 0], strides=[2]),
        node("Transpose", "convolved", "rows", perm=[2, 0, 1]),
        node("GRU", "rows W0 R0", "Y", hidden_size=H),
        node("Squeeze", "Y second", "y"),
        node("Transpose", "y", "out", perm=[1, 2, 0]),
    ]
    weights = {**gru(rng, 0), "K": random(rng, H, H, 3), "second": np.array([1])}
    rows = (n_steps + 1) // 2
    path = save(graph_of(nodes, {"x": [1, H, n_steps]}, {"out": [1, H, rows]}, weights), tmp_path)
    model, text, lines = told(path)
    assert model.state_bytes == 0 and "GRU node 'Y'" in text
    (line,) = [line for line in lines if None in line["shapes"]["x"]]
    streaming = loads(path, line)
    assert (streaming.frames_in, streaming.state_bytes > 0) == (2, True)
    if n_steps > 1:
        x = rng.standard_normal((1, H, n_steps)).astype(np.float32)
        want = session_of(path).run(None, {"x": x})[0]
        got = streaming.run(x[0].T.reshape(-1, 2, H))
        np.testing.assert_allclose(np.reshape(got, (rows, H)), want[0].T, atol=2e-6)


@pytest.mark.parametrize("options", [{}, {"time_axis": 2}, {"time_axis": {"x": 2}}, {"shapes": {"x": [1, H, None]}}])
def test_time_of_a_fixed_size_behind_the_channels_is_walked(options, tmp_path, rng):
    nodes = [
        node("Conv", "x K", "convolved", pads=[2, 0]),
        node("Transpose", "convolved", "rows", perm=[2, 0, 1]),
        node("GRU", "rows W0 R0", "Y", hidden_size=H),
        node("Squeeze", "Y second", "y"),
        node("Transpose", "y", "out", perm=[1, 2, 0]),
    ]
    weights = {**gru(rng, 0), "K": random(rng, H, H, 3), "second": np.array([1])}
    path = save(graph_of(nodes, {"x": [1, H, 9]}, {"out": [1, H, 9]}, weights), tmp_path)
    model = loads(path, options)
    x = rng.standard_normal((1, H, 9)).astype(np.float32)
    np.testing.assert_allclose(model.run(x[0].T), session_of(path).run(None, {"x": x})[0][0].T, atol=2e-6)


def test_a_keras_layer_that_walks_the_rows_of_each_frame_is_warned_of(tmp_path, rng):
    """Permute turns time of a fixed length into features, so all of it is one frame."""
    pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    turned = layer("Permute", "p", dims=[2, 1], batch_input_shape=[None, 4, H])
    cell = layer("SimpleRNN", "r", units=3, activation="tanh", return_sequences=True)
    arrays = {"r/kernel:0": random(rng, 4, 3), "r/recurrent_kernel:0": random(rng, 3, 3), "r/bias:0": random(rng, 3)}
    path = write_h5(tmp_path / "m.h5", sequential(turned, cell), {"p": [], "r": list(arrays.items())})
    model, text, lines = told(path)
    assert model.state_bytes == 0 and "rnn 'r' goes through the rows of each frame" in text
    (line,) = lines
    x, h = rng.standard_normal((4, H)).astype(np.float32), np.zeros(3)
    want = []
    for row in x.T:
        h = np.tanh(row @ arrays["r/kernel:0"] + h @ arrays["r/recurrent_kernel:0"] + arrays["r/bias:0"])
        want.append(h)
    np.testing.assert_allclose(loads(path, line).stream().step(x), want, atol=2e-6)


@pytest.mark.parametrize("batch", [3, "batch"])
def test_a_clip_that_saying_so_does_not_make_one_is_not_told(batch, tmp_path, rng):
    """Of several rooms of each item, read as time where the batch is open; with fixed sizes it is a clip."""
    nodes = [
        node("Transpose", "x", "turned", perm=[2, 0, 1, 3]),
        node("Reshape", "turned apart", "rows"),
        node("GRU", "rows W0 R0", "Y", hidden_size=H),
        node("ReduceProd", "Y", "y", axes=[0], keepdims=0),
    ]
    weights = {**gru(rng, 0), "apart": np.array([7, -1, H])}
    path = save(graph_of(nodes, {"x": [batch, 2, 7, H]}, {"y": None}, weights), tmp_path)
    model, text, lines = told(path)
    assert "GRU node 'Y' goes through the rows of each frame" in text
    if batch == 3:
        (line,) = lines
        assert model.inputs["x"].shape == loads(path, line).inputs["x"].shape == (3, 2, 7, H)
    else:
        assert model.inputs["x"].shape == (7, H) and not lines


@pytest.mark.parametrize("told_sizes", [False, True])
def test_features_are_no_time_of_a_loop_that_walks_another_axis(told_sizes, tmp_path, rng):
    """A decay treats each feature alone, so that nothing goes along their axis; the loop starts from the first row."""
    nodes, h = [node("Gather", "x zero", "row0", axis=1), node("Mul", "row0 none", "h0")], "h0"
    for t in range(4):
        nodes += [
            node("Gather", f"x at{t}", f"x{t}", axis=1),
            node("Mul", f"{h} keep", f"k{t}"),
            node("Mul", f"x{t} new", f"n{t}"),
            node("Add", f"k{t} n{t}", f"h{t + 1}"),
            node("Unsqueeze", f"h{t + 1} second", f"r{t}"),
        ]
        h = f"h{t + 1}"
    nodes.append(node("Concat", "r0 r1 r2 r3", "y", axis=1))
    weights = {"zero": np.array(0), "second": np.array([1]), "none": np.float32(0), "keep": np.float32(0.9)}
    weights |= {"new": np.float32(0.1), **{f"at{t}": np.array(t) for t in range(4)}}
    path = save(graph_of(nodes, {"x": [1, 4, H]}, {"y": [1, 4, H]}, weights), tmp_path)
    model = loads(path, {"shapes": {"x": [1, 4, H]}}) if told_sizes else told(path)[0]
    x = random(rng, 1, 4, H)
    assert model.inputs["x"].shape == (4, H)
    np.testing.assert_allclose(model.stream().step(x[0]), session_of(path).run(None, {"x": x})[0][0], atol=1e-6)


def test_a_file_of_one_timestep_that_sums_along_time(tmp_path, rng):
    """The sum starts anew in each call of it, and goes on in a stream."""
    path = save(
        graph_of([node("CumSum", "x one", "y")], {"x": [1, 1, H]}, {"y": [1, 1, H]}, {"one": np.array(1)}), tmp_path
    )
    with pytest.warns(undertow.ModelWarning, match="of one timestep, and what looks back along time starts anew"):
        undertow.load(path)


def test_layers_are_no_timesteps(tmp_path, rng):
    """Attention takes its queries, keys and values as three places of one product; each layer has a copy of what scales
    them.
    """
    nodes, x = [], "x"
    for layer_ in range(3):
        k = str(layer_)
        nodes += [
            node("MatMul", f"{x} W{k}", f"p{k}"),
            node("Reshape", f"p{k} apart", f"s{k}"),
            *(node("Gather", f"s{k} at{i}", f"g{k}{i}", axis=2) for i in range(3)),
            *(node("Mul", f"g{k}{i} scale", f"m{k}{i}") for i in range(2)),
            node("Transpose", f"m{k}1", f"t{k}", perm=[0, 2, 1]),
            node("MatMul", f"m{k}0 t{k}", f"scores{k}"),
            node("Softmax", f"scores{k}", f"shares{k}", axis=-1),
            node("MatMul", f"shares{k} g{k}2", f"y{k}"),
        ]
        x = f"y{k}"
    weights = {f"W{k}": random(rng, H, 3 * H) for k in range(3)}
    weights |= {"apart": np.array([1, 9, 3, H]), "scale": np.float32(0.7), **{f"at{i}": np.array(i) for i in range(3)}}
    path = save(graph_of(nodes, {"x": [1, 9, H]}, {x: [1, 9, H]}, weights), tmp_path)
    model, X = loads(path, {}), random(rng, 1, 9, H)
    np.testing.assert_allclose(model.stream().step(X[0]), session_of(path).run(None, {"x": X})[0][0], atol=1e-5)


def first_step(kind: str, rng: np.random.Generator) -> tuple[list[Any], dict[str, np.ndarray]]:
    """What is left of a recurrence of one timestep, [1, 1, H] -> [1, 1, H]: a * h + x and so on, h a constant."""
    weights = {"zero": np.array(0), "second": np.array([1]), "W": random(rng, H, H)}
    nodes = [node("Gather", "x zero", "x0", axis=1), node("MatMul", "x0 W", "wx")]
    if kind == "a sum with zeros":
        weights["ah"] = np.zeros((1, H), np.float32)
        nodes.append(node("Add", "wx ah", "h"))
    elif kind == "a sum with zeros that are broadcast":
        weights |= {"ah": np.zeros((1, H, 2), np.float32), "last": np.array([2])}
        nodes += [node("Unsqueeze", "wx last", "column"), node("Add", "column ah", "s")]
        nodes.append(node("ReduceSum", "s last", "h", keepdims=0))
    elif kind == "a learned start":
        weights |= {"h0": random(rng, 1, H), "R": random(rng, H, H)}
        nodes += [node("MatMul", "h0 R", "rh"), node("Add", "wx rh", "s"), node("Tanh", "s", "h")]
    elif kind == "a learned start, computed in advance":
        weights["rh"] = random(rng, 1, H)
        nodes += [node("Add", "wx rh", "s"), node("Tanh", "s", "h")]
    elif kind == "a learned start behind a gate":
        weights["h0"] = random(rng, 1, H)
        nodes += [node("Sigmoid", "wx", "z"), node("Mul", "z h0", "h")]
    elif kind == "a bias":
        weights["b"] = np.zeros(H, np.float32)
        nodes.append(node("Add", "wx b", "h"))
    nodes.append(node("Unsqueeze", "h second", "y"))
    return nodes, {name: array for name, array in weights.items() if any(name in one.input for one in nodes)}


LOST = ["a sum with zeros", "a sum with zeros that are broadcast", "a learned start"]
LOST += ["a learned start, computed in advance", "a learned start behind a gate"]


@pytest.mark.parametrize("kind", [*LOST, "a bias"])
def test_what_is_left_of_a_recurrence_of_one_timestep(kind, tmp_path, rng):
    nodes, weights = first_step(kind, rng)
    path = save(graph_of(nodes, {"x": [1, 1, H]}, {"y": [1, 1, H]}, weights), tmp_path)
    if kind == "a bias":
        loads(path, {})
        return
    _, text, lines = told(path)
    assert text.startswith("the file remembers nothing") == (kind == "a learned start")
    assert "remember" in text and "as if it were the first" in text
    for line in lines:
        if "if it is of none" in text and line["shapes"] == {"x": [1, 1, H]}:
            loads(path, line)


def test_numbers_that_the_caller_binds_are_no_start(tmp_path, rng):
    nodes, weights = first_step("a sum with zeros", rng)
    start = weights.pop("ah")
    path = save(graph_of(nodes, {"x": [1, 1, H], "ah": [1, H]}, {"y": [1, 1, H]}, weights), tmp_path)
    loads(path, {"fixed": {"ah": start}})


@pytest.mark.parametrize("n", [1, 5])
def test_positions_that_are_zeros_are_no_start(n, tmp_path, rng):
    """A table that is added to all tokens, and a head on the first of them."""
    nodes = [
        node("Add", "x table", "placed"),
        node("MatMul", "placed W", "mixed"),
        node("Gather", "mixed zero", "y", axis=1),
    ]
    weights = {"table": np.zeros((1, n, H), np.float32), "W": random(rng, H, H), "zero": np.array(0)}
    loads(save(graph_of(nodes, {"x": [1, n, H]}, {"y": [1, H]}, weights), tmp_path), {})
