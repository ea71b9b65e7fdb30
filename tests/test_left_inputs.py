# SPDX-License-Identifier: MIT
"""Inputs beside the states that were found: what an output could return is a state too, or asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import undertow
from onnx_files import BOOL, FLOAT, INT64, helper, lstm_step, model_of, node, onnx, random, save, stepped
from tolerances import FLOAT32_PEER

H = 4
NUMBERS = {"one": np.array([1]), "zero": np.array([0]), "decay": np.float32(0.5)}


def step(folder: Path, nodes, inputs, outputs, weights=None, after=()) -> Path:
    """A step with h -> h_out, of the value `into` that nodes make, and what is made of it after."""
    rng = np.random.default_rng(0)
    weights = {**NUMBERS, "W": random(rng, H, H), "R": random(rng, H, H), **(weights or {})}
    cell = [
        node("MatMul", "into W", "a"),
        node("MatMul", "h R", "b"),
        node("Add", "a b", "sum"),
        node("Tanh", "sum", "h_out"),
    ]
    cell.append(node("Neg", "h_out", "y"))
    inputs = {"x": [1, H], "h": [1, H], **inputs}
    return save(model_of([*nodes, *cell, *after], inputs, {"y": [1, H], "h_out": [1, H], **outputs}, weights), folder)


def check(path: Path, pairs: dict[str, tuple[str, tuple[int, ...]]], **options) -> None:
    model = undertow.load(path, **options)
    assert list(model.inputs) == ["x"] and list(model.outputs) == ["y"]
    X = random(np.random.default_rng(1), 9, 1, H)
    want = stepped(path, {"x": X}, {"h": ("h_out", (1, H)), **pairs})["y"]
    stream = model.stream()
    for x, y in zip(X, want, strict=True):
        np.testing.assert_allclose(stream.step(x[0]), y[0], atol=FLOAT32_PEER)


@pytest.mark.parametrize("name", ["x1", "x_1", "in1", "frame1", "mel_1", "input_1", "u1"])
@pytest.mark.parametrize("returned", ["{}_out", "new_{}"])
@pytest.mark.parametrize("op", ["Identity", "Tanh"])
def test_what_is_made_of_the_frame_is_the_frame_before(op, name, returned, tmp_path):
    """Names of frames, but what comes out is made of another input alone."""
    returned = returned.format(name)
    nodes = [node("Mul", f"{name} decay", "half"), node("Sub", "x half", "into"), node(op, "x", returned)]
    check(step(tmp_path, nodes, {name: [1, H]}, {returned: [1, H]}), {name: (returned, (1, H))})


def test_the_form_of_a_filter(tmp_path):
    """x1 = x, x2 = x1, y1 = y, y2 = y1."""
    taps = ["x", "x1", "x2", "y1", "y2"]
    weights = {f"{tap}_w": np.float32(w) for tap, w in zip(taps, (0.5, 0.3, 0.2, 0.4, -0.1), strict=True)}
    nodes = [node("Mul", f"{tap} {tap}_w", f"{tap}_p") for tap in taps]
    nodes.append(node("Sum", " ".join(f"{tap}_p" for tap in taps), "y1_out"))
    nodes += [node("Identity", of, to) for of, to in (("x", "x1_out"), ("x1", "x2_out"), ("y1", "y2_out"))]
    nodes.append(node("Tanh", "y1_out", "out"))
    shapes = {tap: [1, H] for tap in taps}
    path = save(
        model_of(nodes, shapes, {f"{tap}_out": [1, H] for tap in taps[1:]} | {"out": [1, H]}, weights), tmp_path
    )
    model = undertow.load(path)
    assert list(model.inputs) == ["x"] and list(model.outputs) == ["out"]
    X = random(np.random.default_rng(1), 9, 1, H)
    want = stepped(path, {"x": X}, {tap: (f"{tap}_out", (1, H)) for tap in taps[1:]})["out"]
    np.testing.assert_allclose(model.run(X[:, 0]), want[:, 0], atol=FLOAT32_PEER)


def level(folder: Path, name: str, returned: str) -> Path:
    """A level without axes, that frames are divided by."""
    nodes = [
        node("Abs", "x", "sizes"),
        node("ReduceMean", "sizes", "mean", keepdims=0),
        node("Mul", f"{name} decay", "kept"),
        node("Add", "kept mean", returned),
        node("Div", f"x {returned}", "into"),
    ]
    return step(folder, nodes, {name: []}, {returned: []})


def test_a_state_without_axes(tmp_path):
    check(level(tmp_path, "level", "level_out"), {"level": ("level_out", ())})
    with pytest.raises(undertow.UnsupportedError, match="'g' could be returned by 'add_3'"):
        undertow.load(level(tmp_path, "g", "add_3"))


def test_a_state_that_becomes_a_constant(tmp_path):
    """Whether a step is the first: 0 before it, 1 ever after."""
    nodes = [
        node("Mul", "x init", "seen"),
        node("Add", "seen x", "into"),
        node("ConstantOfShape", "size", "init_out", value=helper.make_tensor("value", FLOAT, [1], [1.0])),
    ]
    path = step(tmp_path, nodes, {"init": [1, 1]}, {"init_out": [1, 1]}, {"size": np.array([1, 1])})
    with pytest.raises(undertow.UnsupportedError, match=r"states=\{'h': 'h_out', 'init': 'init_out'\} if that is so"):
        undertow.load(path)
    check(path, {"init": ("init_out", (1, 1))}, states={"h": "h_out", "init": "init_out"})
    nodes = [node("Mul", "x g", "seen"), node("Add", "seen x", "into"), node("Identity", "ones", "k")]
    path = step(tmp_path, nodes, {"g": [1, 1]}, {"k": [1, 1]}, {"ones": np.ones((1, 1), np.float32)})
    with pytest.raises(
        undertow.UnsupportedError, match=r"'g' could be returned by 'k', which is a constant .* 'g': 'k'"
    ):
        undertow.load(path)
    assert list(undertow.load(path, states={"h": "h_out", "g": "k"}).inputs) == ["x"]


def test_a_copy_beside_the_states_is_asked_about(tmp_path):
    """Two delays of which names tell one: s is what q returns, and p may be what r does."""
    nodes = [node("Sum", "x p s", "into"), node("Identity", "x", "r"), node("Identity", "p", "s_out")]
    path = step(tmp_path, nodes, {"p": [1, H], "s": [1, H]}, {"r": [1, H], "s_out": [1, H]})
    with pytest.raises(
        undertow.UnsupportedError, match=r"'p' could be returned by 'r', which is input 'x' .* 'p': 'r'"
    ):
        undertow.load(path)


@pytest.mark.parametrize(
    "pair", ["token token_out", "prev_token token", "last_id last_id_out", "past_token present_token"]
)
def test_a_word_that_comes_back_is_no_state(pair, tmp_path):
    name, returned = pair.split()
    nodes = [node("Gather", f"table {name}", "embedded"), node("Add", "embedded x", "into")]
    after = [node("ArgMax", "h_out", returned, axis=1, keepdims=0)]
    weights = {"table": random(np.random.default_rng(3), 12, H)}
    path = step(tmp_path, nodes, {name: ([1], INT64)}, {returned: ([1], INT64)}, weights, after)
    with pytest.raises(
        undertow.UnsupportedError, match=f"input '{name}' holds integers and output '{returned}'"
    ) as told:
        undertow.load(path)
    assert "states={'h': 'h_out'}" in str(told.value)
    assert sorted(undertow.load(path, states={"h": "h_out"}).inputs) == sorted(["x", name])


def word(folder: Path, name: str, returned: str, frames: bool) -> Path:
    """The word before is looked up, beside a frame or as the frame; the next one is the largest of the state."""
    nodes = [node("Gather", f"table {name}", "word"), node("Add", "word x", "into") if frames else
             node("Identity", "word", "into")]  # fmt: skip
    after = [node("ArgMax", "h_out", returned, axis=1, keepdims=0)]
    weights = {"table": random(np.random.default_rng(3), 12, H)}
    path = step(folder, nodes, {name: ([1], INT64)}, {returned: ([1], INT64)}, weights, after)
    if not frames:
        model = onnx.load(path)
        del model.graph.input[0]  # x
        save(model, folder)
    return path


@pytest.mark.parametrize("names", ["previous best", "token choice"])
def test_a_word_that_may_come_back_is_warned_of(names, tmp_path):
    name, returned = names.split()
    path = word(tmp_path, name, returned, True)
    with pytest.warns(undertow.ModelWarning, match=f"'{name}' holds integers, of the shape of output '{returned}'"):
        model = undertow.load(path)
    assert sorted(model.inputs) == sorted(["x", name])
    assert sorted(undertow.load(path, states={"h": "h_out"}).inputs) == sorted(["x", name])  # said, so not warned of


def test_words_that_are_the_frames_are_no_states(tmp_path):
    model = undertow.load(word(tmp_path, "token", "next_token", False))
    assert list(model.inputs) == ["token"] and list(model.states) == ["rnn_1.h"]


def test_integers_of_a_step_without_names_are_the_callers(tmp_path):
    """What else is asked about says so."""
    nodes = [node("Gather", "table ids", "word"), node("Add", "word x", "s"), node("Add", "s g", "into")]
    after = [node("ArgMax", "h_out", "choice", axis=1, keepdims=0), node("Sub", "g x", "add_7")]
    path = step(
        tmp_path,
        nodes,
        {"ids": ([1], INT64), "g": [1, H]},
        {"choice": ([1], INT64), "add_7": [1, H]},
        {"table": random(np.random.default_rng(3), 12, H)},
        after,
    )
    with pytest.raises(undertow.UnsupportedError, match="'ids': integers, which the caller brings in every step"):
        undertow.load(path)


def test_an_input_that_changes_nothing_may_have_been_one_of_two(tmp_path):
    """torch.export of f(z, z): one input is read for both."""
    rng = np.random.default_rng(0)
    nodes = [node("MatMul", "u W", "a"), node("Tanh", "a", "v")]
    path = save(model_of(nodes, {"x": [1, H], "u": [1, H]}, {"v": [1, H]}, {"W": random(rng, H, H)}), tmp_path)
    with pytest.warns(
        undertow.ModelWarning, match="input 'x' changes nothing in the file, and input 'u' has its shape"
    ):
        undertow.load(path)


@pytest.mark.parametrize("behind", ["", "ReduceL2", "Softmax", "Conv", "InstanceNormalization"])
@pytest.mark.parametrize("shape", [[1, 12, 9], [3, 12, 9]])
def test_a_cell_over_the_last_axis_of_rows(shape, behind, tmp_path):
    """Bands of each frame, or timesteps of each channel: nothing tells, however the rows meet behind the cell."""
    rng = np.random.default_rng(0)
    weights = {"W": random(rng, 1, 3 * H, 1), "R": random(rng, 1, 3 * H, H)}
    weights |= {"apart": np.array([-1, shape[2], 1]), "second": np.array([1]), "together": np.array([*shape, H])}
    nodes = [
        node("Reshape", "x apart", "rows"),
        node("Transpose", "rows", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R", "Y", hidden_size=H),
        node("Squeeze", "Y second", "ys"),
        node("Transpose", "ys", "turned", perm=[1, 0, 2]),
        node("Reshape", "turned together", "rows_of_bands" if behind else "y"),
    ]
    if behind:
        nodes.append(node("Slice", "rows_of_bands minus end three", "last"))
        nodes.append(node("Squeeze", "last three", "z"))
        weights |= {"minus": np.array([-1]), "end": np.array([2**31]), "three": np.array([2])}
        weights |= {"C": random(rng, 2, shape[1], 3), "ones": np.ones(shape[1]), "zeros": np.zeros(shape[1])}
        weights = {n: w.astype(np.float32) if w.dtype == np.float64 else w for n, w in weights.items()}
        inputs, attrs = {
            "Softmax": ("z", {"axis": 1}),
            "ReduceL2": ("z", {"axes": [1]}),
            "Conv": ("z C", {"pads": [1, 1]}),
            "InstanceNormalization": ("z ones zeros", {}),
        }[behind]
        nodes.append(node(behind, inputs, "y", **attrs))
    path = save(model_of(nodes, {"x": shape}, {"y": None}, weights), tmp_path)
    with pytest.raises(
        undertow.UnsupportedError, match=r"walks axis 2, (and along axis . nothing meets|each row of axis 1 by itself)"
    ) as told:
        undertow.load(path)
    assert "time_axis={'x': 2}" in str(told.value)
    assert undertow.load(path, time_axis={"x": 2}).state_bytes


@pytest.mark.parametrize("names", ["onnx::Gemm_1 onnx::Mul_2 onnx::Gemm_25 onnx::Tanh_23", "h c mul_2 add_1"])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_line_to_paste_is_what_makes_a_cell(names, swapped, tmp_path):
    """An LSTM step under names of the exporter's: which output is h and which c, its gates say, whatever the order."""
    h, c, h_out, c_out = names.split()
    rng = np.random.default_rng(0)
    weights = {"W": random(rng, 4 * H, H), "R": random(rng, 4 * H, H), "b": random(rng, 4 * H), "parts": np.full(4, H)}
    nodes = [
        node("Gemm", "x W b", "a", transB=1),
        *lstm_step(h, c, h_out, c_out),
        node("Neg", h_out, "y"),
    ]
    returned = [c_out, h_out] if swapped else [h_out, c_out]
    outputs = {name: [1, H] for name in ("y", *returned)}
    path = save(model_of(nodes, {name: [1, H] for name in ("x", h, c)}, outputs, weights), tmp_path)
    with pytest.raises(undertow.UnsupportedError) as told:
        undertow.load(path)
    states = {h: h_out, c: c_out}
    assert f"states={states} if that is so, as its cells say" in str(told.value)
    assert [n.op for n in undertow.load(path, states=states).graph.nodes if n.states] == ["lstm"]


@pytest.mark.parametrize("batch", [1, "batch"])
def test_planes_of_a_sequence_are_no_states(batch, tmp_path):
    """Two inputs and two outputs of one shape, with an axis that is called time and that a cell walks."""
    rng = np.random.default_rng(0)
    weights = {"W": random(rng, 1, 3 * H, H), "R": random(rng, 1, 3 * H, H), "second": np.array([1])}
    nodes = [
        node("Mul", "re im", "both"),
        node("Transpose", "both", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R", "Y", hidden_size=H),
        node("Squeeze", "Y second", "ys"),
        node("Transpose", "ys", "mask", perm=[1, 0, 2]),
        node("Mul", "re mask", "ore"),
        node("Mul", "im mask", "oim"),
    ]
    shape = [batch, "time", H]
    path = save(model_of(nodes, {"re": shape, "im": shape}, {"ore": shape, "oim": shape}, weights), tmp_path)
    model = undertow.load(path)
    assert sorted(model.inputs) == ["im", "re"] and list(model.states) == ["gru_1.h"]


@pytest.mark.parametrize("names", ["armed latched", "was_speech is_speech", "f or_1"])
def test_a_bool_that_another_could_return_is_asked_about(names, tmp_path):
    name, returned = names.split()
    nodes = [node("Where", f"{name} x one_x", "into"), node("Greater", "x one_x", "loud")]
    nodes.append(node("Or", f"loud {name}", returned))
    shape = ([1, H], BOOL)
    path = step(tmp_path, nodes, {name: shape}, {returned: shape}, {"one_x": np.ones((1, H), np.float32)})
    with pytest.raises(undertow.UnsupportedError, match=f"'{name}' and '{returned}' are bools of one shape") as told:
        undertow.load(path)
    assert f"'{name}': '{returned}'" in str(told.value)
    check(path, {name: (returned, (1, H))}, states={"h": "h_out", name: returned})


@pytest.mark.parametrize("names", ["seen seen_out", "f or_1"])
def test_a_bool_without_axes(names, tmp_path):
    name, returned = names.split()
    nodes = [node("Where", f"{name} x one_x", "into"), node("ReduceMax", "x", "largest", keepdims=0)]
    nodes += [node("Greater", "largest most", "loud"), node("Or", f"loud {name}", returned)]
    weights = {"one_x": np.ones((1, H), np.float32), "most": np.float32(1)}
    path = step(tmp_path, nodes, {name: ([], BOOL)}, {returned: ([], BOOL)}, weights)
    if name == "seen":
        return check(path, {name: (returned, ())})
    with pytest.raises(undertow.UnsupportedError, match=r"states=\{'h': 'h_out', 'f': 'or_1'\} if that is so"):
        undertow.load(path)
    check(path, {name: (returned, ())}, states={"h": "h_out", name: returned})


def test_a_bool_that_is_overwritten_is_asked_about(tmp_path):
    """Whether the step before was loud, which nothing of this step's answer is made of."""
    nodes = [node("Where", "active x one_x", "into"), node("Greater", "x one_x", "loud")]
    shape = ([1, H], BOOL)
    path = step(tmp_path, nodes, {"active": shape}, {"loud": shape}, {"one_x": np.ones((1, H), np.float32)})
    with pytest.raises(undertow.UnsupportedError, match="'active' and 'loud' are bools of one shape"):
        undertow.load(path)
    check(path, {"active": ("loud", (1, H))}, states={"h": "h_out", "active": "loud"})


def test_a_mask_is_no_state(tmp_path):
    nodes = [node("Where", "mask x zeros", "into"), node("Not", "mask", "rest")]
    shape = ([1, H], BOOL)
    path = step(tmp_path, nodes, {"mask": shape}, {"rest": shape}, {"zeros": np.zeros((1, H), np.float32)})
    assert sorted(undertow.load(path).inputs) == ["mask", "x"]


@pytest.mark.parametrize("pair", ["h h_out", "state new_state"])
@pytest.mark.parametrize("names", ["x knobs -> y", "mic ref -> out", "audio cond -> out", "noisy far -> enhanced"])
def test_frames_beside_a_recurrent_node_are_frames(names, pair, tmp_path):
    """An output as large as the frame is made of it, where a GRU has the state and names say what the frame is."""
    rng = np.random.default_rng(0)
    (frame, beside), (y,) = (side.split() for side in names.split(" -> "))
    state, returned = pair.split()
    weights = {"W": random(rng, 1, 3 * H, 2 * H), "R": random(rng, 1, 3 * H, H), "first": np.array([1])}
    nodes = [
        node("Concat", f"{frame} {beside}", "both", axis=2),
        helper.make_node("GRU", ["both", "W", "R", "", "", state], ["Y", returned], hidden_size=H),
        node("Squeeze", "Y first", "rows"),
        node("Mul", f"rows {frame}", y),
    ]
    shape = [1, 1, H]
    inputs = {frame: shape, beside: shape, state: shape}
    path = save(model_of(nodes, inputs, {y: shape, returned: shape}, weights), tmp_path)
    model = undertow.load(path)
    assert sorted(model.inputs) == sorted([frame, beside]) and list(model.states) == ["gru_1.h"]


@pytest.mark.parametrize(
    "names", ["input_1 input_2 -> output_1", "x x_1 -> y", "data data2 -> out", "frame context -> out"]
)
def test_a_cell_that_names_hide_is_asked_about(names, tmp_path):
    """A GRU step under names of frames, of which the only output is the state."""
    rng = np.random.default_rng(0)
    (frame, state), (returned,) = (side.split() for side in names.split(" -> "))
    weights = {"W": random(rng, 3 * H, H), "R": random(rng, 3 * H, H), "b": random(rng, 3 * H)}
    weights |= {"one": np.float32(1), "parts": np.full(3, H)}
    nodes = [
        node("Gemm", f"{frame} W b", "a", transB=1),
        node("Gemm", f"{state} R b", "q", transB=1),
        node("Split", "a parts", "a_r a_z a_n", axis=1),
        node("Split", "q parts", "q_r q_z q_n", axis=1),
        *[n for k in "rz" for n in (node("Add", f"a_{k} q_{k}", f"s_{k}"), node("Sigmoid", f"s_{k}", k))],
        node("Mul", "r q_n", "rq"),
        node("Add", "a_n rq", "s_n"),
        node("Tanh", "s_n", "n"),
        node("Sub", "one z", "rest"),
        node("Mul", "rest n", "new"),
        node("Mul", f"z {state}", "kept"),
        node("Add", "new kept", returned),
    ]
    path = save(model_of(nodes, {frame: [1, H], state: [1, H]}, {returned: [1, H]}, weights), tmp_path)
    line = f"states={{{state!r}: {returned!r}}} as its cells say"
    with pytest.raises(
        undertow.UnsupportedError, match=r"the file has LSTMs or GRUs|the only output could return"
    ) as told:
        undertow.load(path)
    assert line in str(told.value) or f"states={{{state!r}: {returned!r}}} if that is so" in str(told.value)
    assert [n.op for n in undertow.load(path, states={state: returned}).graph.nodes if n.states] == ["gru"]


def test_names_that_cross_what_a_cell_holds_are_asked_about(tmp_path):
    """h_out is the new c, and c_out the new h: names of outputs in the wrong order."""
    rng = np.random.default_rng(0)
    weights = {"W": random(rng, 4 * H, H), "R": random(rng, 4 * H, H), "b": random(rng, 4 * H), "parts": np.full(4, H)}
    nodes = [
        node("Gemm", "x W b", "a", transB=1),
        *lstm_step("h", "c", "c_out", "h_out"),
        node("Neg", "c_out", "y"),
    ]
    outputs = {name: [1, H] for name in ("y", "c_out", "h_out")}
    path = save(model_of(nodes, {name: [1, H] for name in ("x", "h", "c")}, outputs, weights), tmp_path)
    with pytest.raises(
        undertow.UnsupportedError, match=r"states=\{'h': 'c_out', 'c': 'h_out'\} as its cells say; .* as the names do"
    ):
        undertow.load(path)
    assert undertow.load(path, states={"h": "h_out", "c": "c_out"}).state_bytes


@pytest.mark.parametrize("names", ["input_1 input_2 -> output_1", "x x_1 -> y", "in0 in1 -> out0", "0 1 -> 2"])
@pytest.mark.parametrize("kind", ["shifted", "averaged"])
def test_what_is_numbered_may_be_the_state_that_the_only_output_is(kind, names, tmp_path):
    """Frames and states alike, as exporters number them: a window of frames, a mean that forgets."""
    (frame, state), (returned,) = (side.split() for side in names.split(" -> "))
    nodes = {
        "shifted": [
            node("Slice", f"{state} one_of two_of last_axis", "kept"),
            node("Unsqueeze", f"{frame} last_axis", "new"),
            node("Concat", "kept new", returned, axis=2),
        ],
        "averaged": [
            node("Mul", f"{state} decay", "kept"),
            node("Add", f"kept {frame}", returned),
        ],
    }[kind]
    weights = {**NUMBERS, "one_of": np.array([1]), "two_of": np.array([2]), "last_axis": np.array([2])}
    used = {name for n in nodes for name in n.input}
    wide = [1, H, 2] if kind == "shifted" else [1, H]
    weights = {name: array for name, array in weights.items() if name in used}
    path = save(model_of(nodes, {frame: [1, H], state: wide}, {returned: wide}, weights), tmp_path)
    with pytest.raises(undertow.UnsupportedError, match="the only output could return it") as told:
        undertow.load(path)
    assert f"states={{{state!r}: {returned!r}}}" in str(told.value)
    assert undertow.load(path, states={state: returned}).state_bytes
