# SPDX-License-Identifier: MIT
"""A model says why each axis, input and output is what it was taken for; and what it forgets."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import undertow
from onnx_files import graph_of, model_of, node, onnxruntime, peer, random, save, session_of

I, H = 4, 8


def lines(path: Path, **options) -> list[str]:
    return undertow.load(path, **options).source.split("\n")


def test_time_is_what_a_node_walks(tmp_path, rng):
    weights = {"W": random(rng, 1, 4 * H, I), "R": random(rng, 1, 4 * H, H)}
    nodes = [node("LSTM", "X W R", "Y", name="memory", hidden_size=H)]
    path = save(graph_of(nodes, {"X": ["T", "N", I]}, {"Y": ["T", 1, "N", H]}, weights), tmp_path)
    said = lines(path)
    assert "time: axis 0 of 'X', walked by LSTM node 'memory'" in said
    assert "batch: axis 1 of 'X'" in said


def test_a_window_is_not_a_walk(tmp_path, rng):
    nodes = [node("Conv", "X K", "Y", pads=[2, 0])]
    path = save(graph_of(nodes, {"X": [1, I, "T"]}, {"Y": [1, H, "T"]}, {"K": random(rng, H, I, 3)}), tmp_path)
    assert "time: axis 2 of 'X', along which windows go" in lines(path)


def test_what_windows_alone_go_along_may_be_a_frame(tmp_path, rng):
    """An image, or a patch of a spectrogram: nothing but its size or its name tells which axis is time."""
    nodes, weights = [node("Conv", "X K", "Y", pads=[1, 1, 1, 1])], {"K": random(rng, 2, 1, 3, 3)}
    session = {}
    for name, shape in {"fixed": [1, 1, 8, 9], "open": [1, 1, "t", 9], "named": [1, 1, "mel_bins", 9]}.items():
        (tmp_path / name).mkdir()
        session[name] = save(graph_of(nodes, {"X": shape}, {"Y": [1, 2, *shape[2:]]}, weights), tmp_path / name)
    assert undertow.load(session["fixed"]).inputs["X"].shape == (1, 8, 9)
    streams = undertow.load(session["fixed"], time_axis={"X": 2})
    assert (streams.inputs["X"].shape, streams.latency) == ((1, 9), 1)
    assert undertow.load(session["open"]).latency == 1
    with pytest.raises(undertow.UnsupportedError, match=r"called 'mel_bins'.*time_axis=.*shapes=") as told:
        undertow.load(session["named"])
    assert "shapes={'X': [1, 1, N, 9]}" in str(told.value)
    assert undertow.load(session["named"], time_axis={"X": 2}).latency == 1
    assert undertow.load(session["named"], shapes={"X": [1, 1, 8, 9]}).latency == 0


@pytest.mark.parametrize("op", ["CumSum", "Conv"])
def test_along_what_is_called_batch_nothing_goes_unasked(op, tmp_path, rng):
    """A sum over, or a difference of, items that a file calls a batch."""
    nodes = {
        "CumSum": [node("CumSum", "X zero", "Y")],
        "Conv": [
            node("Transpose", "X", "columns", perm=[1, 0]),
            node("Unsqueeze", "columns first", "one"),
            node("Conv", "one K", "conv", pads=[2, 0]),
            node("Squeeze", "conv first", "rows"),
            node("Transpose", "rows", "Y", perm=[1, 0]),
        ],
    }[op]
    weights = {"zero": np.array(0)} if op == "CumSum" else {"K": random(rng, H, I, 3), "first": np.array([0])}
    for size in ("batch", "t"):
        path = save(graph_of(nodes, {"X": [size, I]}, {"Y": None}, weights), tmp_path)
        if size == "t":
            assert undertow.load(path).states
            continue
        with pytest.raises(
            undertow.UnsupportedError, match=r"'batch'.*where axis 0 of 'X' is time.*time_axis=\{'X': 0\}"
        ):
            undertow.load(path)
        assert undertow.load(path, time_axis={"X": 0}).states


@pytest.mark.parametrize("T", [7, 9])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_length_that_nodes_hold_is_walked(T, batch, tmp_path, rng):
    """A Reshape with the length of the example: the cell walks time all the same, of that length alone."""
    weights = {"W": random(rng, 1, 3 * H, I), "R": random(rng, 1, 3 * H, H), "to": np.array([-1, T, H])}
    nodes = [
        node("Transpose", "X", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R", "h", name="memory", hidden_size=H),
        node("Transpose", "h", "items", perm=[2, 0, 1, 3]),
        node("Reshape", "items to", "Y"),
    ]
    path = save(graph_of(nodes, {"X": [batch, T, I]}, {"Y": [batch, T, H]}, weights), tmp_path)
    said = lines(path)
    assert "time: axis 1 of 'X', walked by GRU node 'memory'" in said
    assert f"the file is of {T} timesteps alone; a stream goes on behind them" in said
    model, x = undertow.load(path), random(rng, 1, T, I)
    (expected,) = onnxruntime().InferenceSession(str(path)).run(None, {"X": x})
    np.testing.assert_allclose(model.stream().run(x[0]), expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_recurrence_inside_of_a_frame_is_warned_of(batch, tmp_path, rng):
    """A product over seven timesteps: a clip is a frame, and of the one before nothing is remembered."""
    weights = {"W": random(rng, 1, 3 * H, I), "R": random(rng, 1, 3 * H, H)}
    nodes = [
        node("Transpose", "X", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R", "h", hidden_size=H),
        node("ReduceProd", "h", "Y", axes=[0, 1], keepdims=0),
    ]
    path = save(graph_of(nodes, {"X": [batch, 7, I]}, {"Y": [batch, H]}, weights), tmp_path)
    with pytest.warns(
        undertow.ModelWarning, match="nothing is remembered from one frame to the next: GRU node"
    ) as told:
        model = undertow.load(path)
    assert not model.states and "warning: nothing is remembered" in model.source
    (shapes,) = re.findall(r"shapes=(\{.*\})", str(told[0].message))
    assert undertow.load(path, shapes=eval(shapes)).inputs["X"].shape == (7, I)  # and no warning


@pytest.mark.parametrize("batch", [1, 2, 4, "batch"])
@pytest.mark.parametrize("layout", ["bft", "fbt", "ftb"])
@pytest.mark.parametrize("n_steps", [5, 4])
def test_a_scan_over_the_last_axis_walks_it(n_steps, layout, batch, tmp_path, rng):
    """Where as many items, features and timesteps are, too; along a batch nothing meets."""
    n_features, n_items = 4, 1 if batch == "batch" else batch
    body = graph_of(
        [node("MatMul", "row W", "a"), node("MatMul", "h R", "b"), node("Add", "a b", "s"), node("Tanh", "s", "h_next"),
         node("Identity", "h_next", "out")],
        {"h": ["n", H], "row": ["n", n_features]}, {"h_next": ["n", H], "out": ["n", H]}, {},
    )  # fmt: skip
    to, back = [layout.index(axis) for axis in "tbf"], ["tbf".index(axis) for axis in layout]
    nodes = [
        node("Transpose", "x", "rows", perm=to),
        node("Scan", "start rows", "end many", body=body, num_scan_inputs=1),
        node("Transpose", "many", "y", perm=back),
    ]
    weights = {"W": random(rng, n_features, H), "R": random(rng, H, H), "start": np.zeros((n_items, H), np.float32)}
    if batch == "batch":
        nodes[:0] = [
            node("Shape", "x", "sizes"),
            node("Gather", "sizes items", "n"),
            node("Concat", "n wide", "shape", axis=0),
            node("ConstantOfShape", "shape", "start"),
        ]
        weights |= {"items": np.array([layout.index("b")]), "wide": np.array([H])}
        del weights["start"]
    dims = [{"b": batch, "f": n_features, "t": n_steps}[axis] for axis in layout]
    path = save(graph_of(nodes, {"x": dims}, {"y": None}, weights), tmp_path)
    model = undertow.load(path)
    assert f"time: axis {layout.index('t')} of 'x', walked by Scan" in model.source
    assert model.state_bytes
    x = rng.standard_normal([n_items if n == "batch" else n for n in dims]).astype(np.float32)
    (want,) = peer(path, {"x": x}).values()
    frames, rows = x.transpose(to), want.transpose(to)
    if len(model.inputs["x"].shape) == 2:  # all items in a frame, as the file has them
        got = model.run(np.moveaxis(x, layout.index("t"), 0))
        np.testing.assert_allclose(got, np.moveaxis(want, layout.index("t"), 0), atol=2e-6)
    else:  # an item each
        for item in range(n_items):
            np.testing.assert_allclose(model.run(frames[:, item]), rows[:, item], atol=2e-6)


@pytest.mark.parametrize("n_steps", [5, 7, 10])
@pytest.mark.parametrize("n_items", [1, 2, 3])
def test_a_cell_of_each_band_walks_time(n_items, n_steps, tmp_path, rng):
    """[B, T, F] -> [B F, T, 1] with its sizes in the file: along the bands nothing meets, of however many timesteps."""
    n_bands = 6
    nodes = [
        node("Transpose", "x", "turned", perm=[1, 0, 2]),
        node("Reshape", "turned apart", "rows"),
        node("GRU", "rows W R", "Y", hidden_size=H),
        node("Squeeze", "Y second", "h"),
        node("Reshape", "h together", "y"),
    ]
    weights = {
        "W": random(rng, 1, 3 * H, 1),
        "R": random(rng, 1, 3 * H, H),
        "apart": np.array([n_steps, n_items * n_bands, 1]),
        "second": np.array([1]),
        "together": np.array([n_steps, n_items, n_bands, H]),
    }
    path = save(graph_of(nodes, {"x": [n_items, n_steps, n_bands]}, {"y": None}, weights), tmp_path)
    model = undertow.load(path)
    assert "time: axis 1 of 'x', walked by GRU" in model.source and model.state_bytes
    x = rng.standard_normal((n_items, n_steps, n_bands)).astype(np.float32)
    (want,) = peer(path, {"x": x}).values()
    frames = x.transpose(1, 0, 2).reshape(n_steps, *model.inputs["x"].shape)
    np.testing.assert_allclose(np.reshape(model.run(frames), want.shape), want, atol=2e-6)


@pytest.mark.parametrize("n_steps", ["T", 7])
@pytest.mark.parametrize("mixed", [False, True])
def test_rows_that_share_a_cell_stay_rows_beside_a_batch_of_one(mixed, n_steps, tmp_path, rng):
    """[1, T, bands, F]: the bands are no batch, for the axis before them is one, whether or not they meet later on."""
    n_bands, F = 3, 4
    nodes = [
        node("Squeeze", "x first", "rows"),
        node("GRU", "rows W R", "Y", hidden_size=H),
        node("Transpose", "Y", "turned", perm=[1, 0, 2, 3]),
        node("ReduceSum" if mixed else "Tanh", "turned bands" if mixed else "turned", "y"),
    ]
    weights = {
        "W": random(rng, 1, 3 * H, F),
        "R": random(rng, 1, 3 * H, H),
        "first": np.array([0]),
        "bands": np.array([2]),
    }
    path = save(graph_of(nodes, {"x": [1, n_steps, n_bands, F]}, {"y": None}, weights), tmp_path)
    model = undertow.load(path)
    assert model.inputs["x"].shape == (n_bands, F) and "batch" not in model.source
    x = random(rng, 1, 7, n_bands, F)
    (want,) = peer(path, {"x": x}).values()
    np.testing.assert_allclose(np.reshape(model.run(x[0]), want.shape), want, atol=2e-6)


@pytest.mark.parametrize(
    ("size", "told"), [("T", ""), ("N", "is called 'N'"), (7, "has size 7"), ("", "is pooled over")]
)
def test_what_is_pooled_alone_may_be_a_set(size, told, tmp_path, rng):
    """The largest of points, of which nothing says that they come one after another."""
    nodes = [node("MatMul", "x W", "points"), node("ReduceMax", "points", "y", axes=[1], keepdims=0)]
    path = save(graph_of(nodes, {"x": [1, size, 3]}, {"y": None}, {"W": random(rng, 3, H)}), tmp_path)
    if size == 7:
        assert undertow.load(path).inputs["x"].shape == (7, 3)
        return
    if told:
        with pytest.raises(undertow.UnsupportedError, match=told) as error:
            undertow.load(path)
        assert "time_axis={'x': 1}" in str(error.value)
    model = undertow.load(path, **({"time_axis": {"x": 1}} if told else {}))
    assert "time: axis 1 of 'x', over which it pools" in model.source
    x = random(rng, 1, 9, 3)
    (want,) = peer(path, {"x": x}).values()
    np.testing.assert_allclose(model.run(x[0])[-1], want[0], atol=1e-6)


def test_pictures_are_no_sequences(tmp_path, rng):
    """Windows and a pool over both axes of an image: a clip, though each could be time."""
    nodes = [node("Conv", "x W", "c", pads=[1, 1, 1, 1]), node("GlobalAveragePool", "c", "y")]
    path = save(graph_of(nodes, {"x": [1, 3, 8, 8]}, {"y": None}, {"W": random(rng, 4, 3, 3, 3)}), tmp_path)
    assert undertow.load(path).inputs["x"].shape == (3, 8, 8)


def step_file(folder: Path, rng: np.random.Generator, state: str, returned: str) -> Path:
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", f"{state} R", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", returned),
        node("MatMul", f"{returned} V", "y"),
    ]
    weights = {"W": random(rng, I, H), "R": random(rng, H, H), "V": random(rng, H, 3)}
    return save(graph_of(nodes, {"x": [1, I], state: [1, H]}, {"y": [1, 3], returned: [1, H]}, weights), folder)


def test_states_say_by_what_they_are_told(tmp_path, rng):
    named = step_file(tmp_path, rng, "h_in", "h_out")
    said = lines(named)
    assert "time: the file is one step" in said
    assert "state: input 'h_in', output 'h_out', by name and shape" in said
    assert "state: input 'h_in', output 'h_out', as the caller says" in lines(named, states={"h_in": "h_out"})
    alone = step_file(tmp_path, rng, "hidden", "q")
    assert "state: input 'hidden', output 'q', by its name, and no other output could return it" in lines(alone)


def test_one_pair_of_one_shape_is_no_evidence(tmp_path, rng):
    """It may be a frame and what is made of it: a query and its context, a noisy frame and a clean one."""
    path = step_file(tmp_path, rng, "p", "q")
    with pytest.raises(undertow.UnsupportedError, match=r"with states=\{'p': 'q'\} if that .* with states=\{\} if"):
        undertow.load(path)
    assert "as the caller says" in undertow.load(path, states={"p": "q"}).source
    model = undertow.load(path, states={})
    assert sorted(model.inputs) == ["p", "x"]
    assert not model.states


def cell_file(folder: Path, rng: np.random.Generator, state: str, returned: str) -> Path:
    """A cell whose one output is its result and its state."""
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", f"{state} R", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", returned),
    ]
    weights = {"W": random(rng, I, H), "R": random(rng, H, H)}
    return save(graph_of(nodes, {"x": [1, I], state: [1, H]}, {returned: [1, H]}, weights), folder)


def test_the_only_output_is_a_state_too_where_both_names_say_so(tmp_path, rng):
    path = cell_file(tmp_path, rng, "h_in", "h_out")
    assert "state: input 'h_in', output 'h_out', by name and shape" in lines(path)
    model = undertow.load(path)
    assert (sorted(model.inputs), sorted(model.outputs)) == (["x"], ["h_out"])


def test_the_only_output_may_be_what_an_input_called_like_a_state_is_asked_for(tmp_path, rng):
    path = cell_file(tmp_path, rng, "hidden", "context")
    with pytest.raises(
        undertow.UnsupportedError, match=r"'hidden' is called like a state.*states=\{'hidden': 'context'\}"
    ):
        undertow.load(path)
    assert sorted(undertow.load(path, states={"hidden": "context"}).inputs) == ["x"]
    assert sorted(undertow.load(path, states={}).inputs) == ["hidden", "x"]
    assert sorted(undertow.load(cell_file(tmp_path, rng, "query", "context")).inputs) == ["query", "x"]


@pytest.mark.parametrize("name", ["onnx::Gemm_1", "ctx", "aux", "last", "m"])
def test_what_is_called_like_no_frame_may_be_the_state_that_the_only_output_is(name, tmp_path, rng):
    """torch.onnx.export of a GRUCell alone, say."""
    path = cell_file(tmp_path, rng, name, "25")
    with pytest.raises(undertow.UnsupportedError, match="the only output could return it") as told:
        undertow.load(path)
    assert f"states={{{name!r}: '25'}} if that is so" in str(told.value)
    assert list(undertow.load(path, states={name: "25"}).inputs) == ["x"]


@pytest.mark.parametrize("name", ["pred", "m", "query", "ctx"])
def test_logits_are_no_state(name, tmp_path, rng):
    """The joiner of a transducer: what a choice is made of is given back to no step, whatever its size."""
    for returned in ("logits", "joint_logit"):
        model = undertow.load(cell_file(tmp_path, rng, name, returned))
        assert (sorted(model.inputs), list(model.states)) == (sorted([name, "x"]), [])


@pytest.mark.parametrize(("name", "returned"), [("last", "logits"), ("previous", "logits"), ("hidden", "logits")])
def test_logits_may_be_the_state_of_what_is_of_the_step_before(name, returned, tmp_path, rng):
    path = cell_file(tmp_path, rng, name, returned)
    with pytest.raises(undertow.UnsupportedError, match="the only output could return it"):
        undertow.load(path)
    assert list(undertow.load(path, states={name: returned}).inputs) == ["x"]


# -- recurrences that end with their first step -----------------------------------------------------------------------


def traced(folder: Path, rng: np.random.Generator, n_steps: int, first: str = "zeros") -> Path:
    """h = tanh(W x_t + R h), traced with so many timesteps."""
    nodes, rows, h = [], [], first
    for t in range(n_steps):
        nodes += [
            node("Gather", f"X at_{t}", f"x_{t}", axis=1),
            node("MatMul", f"x_{t} W", f"a_{t}"),
            node("MatMul", f"{h} R", f"b_{t}"),
            node("Add", f"a_{t} b_{t}", f"s_{t}"),
            node("Tanh", f"s_{t}", f"h_{t}"),
            node("Unsqueeze", f"h_{t} one", f"row_{t}"),
        ]
        rows, h = [*rows, f"row_{t}"], f"h_{t}"
    nodes.append(node("Concat", " ".join(rows), "Y", axis=1))
    weights = {
        "W": random(rng, I, H),
        "R": random(rng, H, H),
        "one": np.array([1]),
        **{f"at_{t}": np.array(t) for t in range(n_steps)},
    }
    inputs = {"X": [1, n_steps, I]}
    if first == "zeros":
        weights["zeros"] = np.zeros((1, H), np.float32)
    else:
        inputs[first] = [1, H]
    return save(graph_of(nodes, inputs, {"Y": [1, n_steps, H]}, weights), folder)


def test_a_recurrence_of_one_timestep_is_warned_of(tmp_path, rng):
    path = traced(tmp_path, rng, 1)
    with pytest.warns(undertow.ModelWarning, match=r"remembers nothing of what MatMul node '\w+' belongs to") as told:
        model = undertow.load(path)
    assert told[0].filename == __file__
    assert model.state_bytes == 0
    assert any(line.startswith("warning: the file remembers nothing") for line in model.source.split("\n"))


def test_a_gate_on_a_cell_of_zeros_is_warned_of(tmp_path, rng):
    """c = i g + f 0, where an exporter has computed R 0 itself."""
    nodes = [
        node("MatMul", "x W", "f"),
        node("Sigmoid", "f", "gate"),
        node("Mul", "gate zeros", "kept"),
        node("Tanh", "f", "new"),
        node("Mul", "gate new", "added"),
        node("Add", "kept added", "y"),
    ]
    weights = {"W": random(rng, I, H), "zeros": np.zeros((1, H), np.float32)}
    path = save(graph_of(nodes, {"x": [1, I]}, {"y": [1, H]}, weights), tmp_path)
    with pytest.warns(undertow.ModelWarning, match="Mul node 'kept'"):
        undertow.load(path)


def test_a_difference_from_a_state_of_zeros_is_warned_of(tmp_path, rng):
    """h' = n + z (0 - n), where an exporter has computed R 0 itself."""
    nodes = [
        node("MatMul", "x W", "a"),
        node("Sigmoid", "a", "z"),
        node("Tanh", "a", "n"),
        node("Sub", "zeros n", "d"),
        node("Mul", "d z", "zd"),
        node("Add", "zd n", "y"),
    ]
    weights = {"W": random(rng, I, H), "zeros": np.zeros((1, H), np.float32)}
    path = save(graph_of(nodes, {"x": [1, I]}, {"y": [1, H]}, weights), tmp_path)
    with pytest.warns(undertow.ModelWarning, match="Sub node 'd'"):
        undertow.load(path)


_IH = "(%x, %p_r_weight_ih_l0, %p_r_bias_ih_l0)"


@pytest.mark.parametrize(
    ("call", "weight"), [(_IH, "W"), ("(%tanh, %p_r_weight_hh_l0)", "W"), (_IH, "r.weight_hh_l0_quantized")]
)
def test_a_layer_that_the_exporter_names_and_of_which_nothing_goes_on_is_warned_of(call, weight, tmp_path, rng):
    """torch.onnx.export(dynamo=True) of nn.RNN: with one timestep all that is left of R and h is a bias. A quantiser
    puts nodes without notes in place of products, whose weights keep their names.
    """
    nodes = [node("MatMul", f"x {weight}", "a"), node("Tanh", "a", "y")]
    model = model_of(nodes, {"x": [1, I]}, {"y": [1, H]}, {weight: random(rng, I, H)})
    notes = {
        "class_hierarchy": "['net.Model', 'torch.nn.modules.rnn.RNN', 'aten.linear.default']",
        "name_scopes": "['', 'r', 'linear']",
        "fx_node": f"%linear : [num_users=1] = call_function[target=torch.ops.aten.linear.default](args = {call})",
    }
    for key, value in notes.items():
        model.graph.node[0].metadata_props.add(key=f"pkg.torch.onnx.{key}", value=value)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        undertow.load(save(model, tmp_path))
    assert [str(w.message)[:60] for w in told] == (
        ["the file remembers nothing of what MatMul node 'a' belongs to"[:60]] if (call, weight) == (_IH, "W") else []
    )


@pytest.mark.parametrize("n_steps", [1, 3])
def test_a_cell_of_one_timestep_in_a_clip_is_warned_of(n_steps, tmp_path, rng):
    """A Reshape fixes what is the time of the cell, so that no other number of timesteps goes through."""
    weights = {"W": random(rng, 1, 4 * H, I), "R": random(rng, 1, 4 * H, H), "shape": np.array([1, n_steps * H])}
    nodes = [node("LSTM", "X W R", "Y", name="memory", hidden_size=H), node("Reshape", "Y shape", "flat")]
    path = save(graph_of(nodes, {"X": [n_steps, 1, I]}, {"flat": [1, n_steps * H]}, weights), tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = undertow.load(path)
    assert "time: none, all of each input is one frame" in model.source
    lost = "remembers nothing of what LSTM node 'memory'"
    assert [lost in str(w.message) for w in told] == [n_steps == 1]


@pytest.mark.parametrize("n_steps", [2, 5])
def test_a_recurrence_that_goes_on_is_not(n_steps, tmp_path, rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        undertow.load(traced(tmp_path, rng, n_steps))


def test_scales_of_zeros_are_no_recurrence(tmp_path, rng):
    """As norms in front of a residual connection begin."""
    nodes = [node("MatMul", "x W", "a"), node("Mul", "a zeros", "b"), node("Mul", "a a", "c"), node("Add", "b c", "y")]
    weights = {"W": random(rng, I, H), "zeros": np.zeros(H, np.float32)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        undertow.load(save(graph_of(nodes, {"x": ["T", I]}, {"y": ["T", H]}, weights), tmp_path))


def test_zeros_that_the_caller_gives_are_his(tmp_path, rng):
    path = traced(tmp_path, rng, 1, "h")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        undertow.load(path, fixed={"h": np.zeros((1, H))})


def test_an_open_axis_of_which_one_row_is_used_is_neither(tmp_path, rng):
    """As Keras's exporter leaves it: the loop ran once, and the file calls its axis open."""
    path = traced(tmp_path, rng, 1)
    onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
    model = onnx.load(path)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_param, dims[1].dim_param = "batch", "time"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(undertow.UnsupportedError, match=r"only number 0 is used.*shapes=\{'X': \[None, 1, 4\]\}$"):
        undertow.load(path)
    with pytest.warns(undertow.ModelWarning, match="remembers nothing"):
        undertow.load(path, shapes={"X": [None, 1, I]})


def test_a_batch_that_is_called_time_is_asked_about(tmp_path, rng):
    """A recurrence over the bands of a frame, whose frames the file leaves open: no batch of sequences of bands."""
    weights = {"W": random(rng, 1, 3 * H, I), "R": random(rng, 1, 3 * H, H)}
    nodes = [node("Transpose", "x", "bands", perm=[1, 0, 2]), node("GRU", "bands W R", "y", hidden_size=H)]
    path = save(graph_of(nodes, {"x": ["frames", 6, I]}, {"y": [6, 1, "frames", H]}, weights), tmp_path)
    with pytest.raises(
        undertow.UnsupportedError,
        match=r"called 'frames'.*axis 0 of 'x' is time, load with time_axis=\{'x': 0\}.*time_axis=\{'x': 1\}",
    ):
        undertow.load(path)
    assert undertow.load(path, time_axis={"x": 0}).inputs["x"].shape == (6, I)
    assert undertow.load(path, time_axis={"x": 1}).inputs["x"].shape == (I,)
    unnamed = save(graph_of(nodes, {"x": ["N", 6, I]}, {"y": [6, 1, "N", H]}, weights), tmp_path)
    assert undertow.load(unnamed).inputs["x"].shape == (I,)


@pytest.mark.parametrize("batch", [1, 6, "other"])
def test_time_that_is_called_a_batch_is_asked_about(batch, tmp_path, rng):
    """A layer of torch that was not told that the batch comes first."""
    weights = {"W": random(rng, 1, 3 * H, I), "R": random(rng, 1, 3 * H, H)}
    nodes = [node("GRU", "x W R", "y", hidden_size=H)]
    path = save(graph_of(nodes, {"x": ["batch_size", batch, I]}, {"y": None}, weights), tmp_path)
    with pytest.raises(
        undertow.UnsupportedError, match=r"called 'batch_size', and GRU node 'y' walks it.*time_axis=\{'x': 0\}"
    ):
        undertow.load(path)
    assert undertow.load(path, time_axis={"x": 0}).states["gru_1.h"].shape[-1] == H


def test_windows_over_bands_that_a_cell_walks_in_the_frame(tmp_path, rng):
    """[batch, bands, time] of which windows take bands, and the rows of all bands share a cell: one item tells time."""
    bands, n = 9, 12
    weights = {"W": random(rng, 1, 4 * H, 3), "R": random(rng, 1, 4 * H, H), "C": np.eye(3)[:, None].astype(np.float32)}
    weights |= {"rows": np.array([-1, 3, n]), "second": np.array([1]), "back": np.array([-1, bands, n])}
    weights |= {
        "apart": np.array([-1, 1, bands, n]),
        "V": random(rng, H, 1),
        "C": np.eye(3, dtype=np.float32)[:, None, :, None],
    }
    nodes = [
        node("Reshape", "x apart", "plane"),
        node("Conv", "plane C", "near", pads=[1, 0, 1, 0]),
        node("Transpose", "near", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned rows", "of_band"),
        node("Transpose", "of_band", "steps", perm=[2, 0, 1]),
        node("LSTM", "steps W R", "Y", hidden_size=H),
        node("Squeeze", "Y second", "ys"),
        node("MatMul", "ys V", "scaled"),
        node("Transpose", "scaled", "outside", perm=[1, 0, 2]),
        node("Reshape", "outside back", "y"),
    ]
    path = save(graph_of(nodes, {"x": ["batch", bands, n]}, {"y": ["batch", bands, n]}, weights), tmp_path)
    with pytest.raises(
        undertow.UnsupportedError, match=r"axis 2 is time, load with shapes=\{'x': \[1, 9, 12\]\}, time_axis=\{'x': 2\}"
    ):
        undertow.load(path)
    model = undertow.load(path, shapes={"x": [1, bands, n]}, time_axis={"x": 2})
    assert model.states["lstm_1.h"].shape == (bands, H)


@pytest.mark.parametrize("sizes", [(7, 6), (20, 16), (8, 8)], ids=str)
@pytest.mark.parametrize("along_time", ["CumSum", "Conv"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_bands_that_a_cell_walks_beside_timesteps_that_are_summed_are_asked_about(
    direction, along_time, sizes, tmp_path, rng
):
    """[1, 1, time, bands], all sizes given: a GRU over the bands of each frame, and what looks back in time."""
    T, F = sizes
    n = 2 if direction == "bidirectional" else 1
    weights = {
        "axis": np.array(2),
        "K": random(rng, 1, 1, 3, 1),
        "rows": np.array([T, F, 1]),
        "W": random(rng, n, 3 * H, 1),
        "R": random(rng, n, 3 * H, H),
        "shape": np.array([F, n * H, T]),
        "out": np.array([1, T, F, n * H]),
    }
    back = {
        "CumSum": node("CumSum", "x axis", "a"),
        "Conv": node("Conv", "x K", "a", pads=[2, 0, 0, 0]),
    }[along_time]
    nodes = [
        back,
        node("Reshape", "a rows", "b"),
        node("Transpose", "b", "bands", perm=[1, 0, 2]),
        node("GRU", "bands W R", "Y", hidden_size=H, direction=direction),
        node("Transpose", "Y", "c", perm=[2, 0, 1, 3]),
        node("Reshape", "c out", "y"),
    ]
    used = {name: array for name, array in weights.items() if any(name in one.input for one in nodes)}
    path = save(graph_of(nodes, {"x": [1, 1, T, F]}, {"y": [1, T, F, n * H]}, used), tmp_path)
    with pytest.raises(
        undertow.UnsupportedError, match=r"which axis is time: GRU node 'Y' walks axis 3, and along axis 2"
    ):
        undertow.load(path)
    model = undertow.load(path, time_axis={"x": 2})
    assert model.inputs["x"].shape == (1, F)
    X = random(rng, 1, 1, T, F)
    want = session_of(path).run(None, {"x": X})[0]
    stream = model.stream()
    stepped = np.stack([stream.step(X[0, :, t]) for t in range(T)])
    np.testing.assert_allclose(stepped.reshape(want[0].shape), want[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("first", ["first", "mean of the first"])
def test_an_axis_called_time_does_not_become_the_batch(first, tmp_path, rng):
    """A result for each timestep, and one of the first alone, which no stream of that axis tells."""
    nodes = [node("MatMul", "x W", "y"), node("Gather", "x zero", "start", axis=1)]
    nodes.append(node("MatMul", "start W", "z") if first == "first" else node("ReduceMean", "start", "z", axes=[1]))
    weights = {"W": random(rng, I, 3), "zero": np.array(0)}
    path = save(graph_of(nodes, {"x": ["batch", "time", I]}, {"y": ["batch", "time", 3], "z": None}, weights), tmp_path)
    with pytest.raises(undertow.UnsupportedError, match="takes timestep 0 of"):
        undertow.load(path)
