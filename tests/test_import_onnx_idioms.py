# SPDX-License-Identifier: MIT
"""What people write around recurrent layers, streamed frame by frame and in chunks, against ONNX Runtime."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import undertow
from onnx_files import BOOL, FLOAT, INT64, cell, helper, model_of, node, onnx, random, session_of, stepped
from onnx_files import save as write
from tolerances import FLOAT32_PEER
from undertow.errors import UnsupportedError

I, H, T = 5, 4, 40


def save(tmp_path, nodes, inputs, outputs, weights):
    model = model_of(nodes, inputs, outputs, weights)
    onnx.checker.check_model(model)
    return write(model, tmp_path)


def close(made, expected):
    np.testing.assert_allclose(made, np.asarray(expected, np.float32), rtol=FLOAT32_PEER, atol=FLOAT32_PEER)


def streams_like(model, feeds, expected):
    """Whole, frame by frame, and in chunks; look-ahead is late."""
    X = feeds if len(feeds) > 1 else next(iter(feeds.values()))
    names = list(model.outputs)
    as_dict = lambda y: y if isinstance(y, dict) else {names[0]: y}  # noqa: E731
    whole = {n: np.array(y) for n, y in as_dict(model.run(X)).items()}
    for name, e in expected.items():
        close(whole[name], e)
    for sizes in ([1] * T, [3, 1, 9, T - 13]):
        stream, parts, start = model.stream(), [], 0
        for n in sizes:
            chunk = {name: x[start : start + n] for name, x in feeds.items()}
            made = as_dict(stream.run(chunk if len(chunk) > 1 else next(iter(chunk.values()))))
            parts.append({name: np.array(y) for name, y in made.items()})
            start += n
        if model.latency:
            parts.append({name: np.array(y) for name, y in as_dict(stream.flush()).items()})
        for name, y in whole.items():
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts])[model.latency :], y)


def steps_like(path, model, feeds, states):
    """A model of one step; feeds: name -> (T, *shape of the file's input), states: input -> (output, shape)."""
    expected = stepped(path, feeds, states)
    stream = model.stream()
    for t in range(T):
        X = {n: np.asarray(feeds[n][t], np.float32).reshape(1, *v.shape) for n, v in model.inputs.items()}
        made = stream.run(X if len(X) > 1 else next(iter(X.values())))
        made = made if isinstance(made, dict) else {next(iter(model.outputs)): made}
        for name, y in made.items():
            close(y[0].ravel(), expected[name][t].ravel())


# -- states ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op, way", [("GRU", "mul"), ("GRU", "where"), ("LSTM", "mul"), ("LSTM", "where")])
def test_states_that_an_input_resets(op, way, tmp_path, rng):
    """h (1 - done), or where(done, 0, h), before the cell; of an LSTM's two states the slots tell which is which."""
    states = {"h": "hn", "c": "cn"} if op == "LSTM" else {"h": "hn"}
    nodes = []
    if way == "mul":
        nodes += [node("Cast", "done", "d", to=FLOAT), node("Sub", "one d", "kept")]
        nodes += [node("Mul", f"{s} kept", f"{s}0") for s in states]
    else:
        nodes += [node("Where", f"done zeros {s}", f"{s}0") for s in states]
    starts = " ".join(f"{s}0" for s in states)
    nodes += [helper.make_node(op, ["x", "W", "R", "", "", *starts.split()], ["", *states.values()], hidden_size=H)]
    nodes += [node("Squeeze", "hn first", "h2"), node("MatMul", "h2 D", "y")]
    weights = {"one": np.float32(1), "zeros": np.zeros((1, 1, H), np.float32), "first": np.array([0])}
    weights |= {**cell(rng, op, I, H), "D": random(rng, H, 2)}
    inputs = {"x": [1, 1, I], "done": ([1], BOOL), **{name: [1, 1, H] for name in states}}
    outputs = {"y": [1, 2], **{name: [1, 1, H] for name in states.values()}}
    path = save(tmp_path, nodes, inputs, outputs, weights)
    feeds = {"x": random(rng, T, 1, 1, I), "done": rng.random((T, 1)) < 0.2}
    steps_like(path, undertow.load(path), feeds, {name: (output, (1, 1, H)) for name, output in states.items()})


def test_an_output_that_is_an_input_again_returns_the_frame_before(tmp_path, rng):
    """Differences of frames: the caller gives the last one back. It is no state of its own, that would never change."""
    nodes = [
        node("Sub", "x p", "d"),
        node("Concat", "x d", "both", axis=1),
        node("Unsqueeze", "both first", "steps"),
        helper.make_node("GRU", ["steps", "W", "R", "", "", "h"], ["", "hn"], hidden_size=H),
        node("Squeeze", "hn first", "h2"),
        node("MatMul", "h2 D", "y"),
        node("Identity", "x", "pn"),
    ]
    weights = {**cell(rng, "GRU", 2 * I, H), "D": random(rng, H, 2), "first": np.array([0])}
    held = {"p": [1, I], "h": [1, 1, H]}
    path = save(tmp_path, nodes, {"x": [1, I], **held}, {"y": [1, 2], "pn": [1, I], "hn": [1, 1, H]}, weights)
    model = undertow.load(path)
    assert list(model.inputs) == ["x"]
    steps_like(path, model, {"x": random(rng, T, 1, I)}, {"p": ("pn", (1, I)), "h": ("hn", (1, 1, H))})


def test_a_decoder_that_attends_by_the_state_before(tmp_path, rng):
    nodes = [
        node("MatMul", "memory K", "keys"),
        node("Squeeze", "h first", "q"),
        node("Unsqueeze", "q last", "query"),
        node("MatMul", "keys query", "scores"),
        node("Softmax", "scores", "w", axis=1),
        node("Mul", "w memory", "weighted"),
        node("ReduceSum", "weighted second", "context", keepdims=0),
        node("Concat", "x context", "both", axis=1),
        node("Unsqueeze", "both first", "steps"),
        helper.make_node("GRU", ["steps", "W", "R", "", "", "h"], ["", "hn"], hidden_size=H),
        node("Squeeze", "hn first", "h2"),
        node("MatMul", "h2 D", "y"),
    ]
    weights = {**cell(rng, "GRU", I + 3, H), "K": random(rng, 3, H), "D": random(rng, H, 2)}
    weights |= {"first": np.array([0]), "second": np.array([1]), "last": np.array([2])}
    inputs = {"x": [1, I], "memory": [1, 6, 3], "h": [1, 1, H]}
    path = save(tmp_path, nodes, inputs, {"y": [1, 2], "hn": [1, 1, H]}, weights)
    feeds = {"x": random(rng, T, 1, I), "memory": np.repeat(random(rng, 1, 1, 6, 3), T, 0)}
    steps_like(path, undertow.load(path), feeds, {"h": ("hn", (1, 1, H))})


def test_a_cache_of_a_convolution_over_open_time_must_be_named(tmp_path, rng):
    """The file cannot tell the size of what it gives back, and both inputs are moved there."""
    nodes = [
        node("Concat", "cache x", "both", axis=2),
        node("Conv", "both K", "y"),
        node("Slice", "both from end axis", "next"),
    ]
    weights = {"K": random(rng, 3, I, 3), "from": np.array([-2]), "end": np.array([2**62]), "axis": np.array([2])}
    path = save(
        tmp_path, nodes, {"x": [1, I, "t"], "cache": [1, I, 2]}, {"y": [1, 3, "u"], "next": [1, I, "v"]}, weights
    )
    with pytest.raises(UnsupportedError, match=r"say it with states=\{'cache': 'next'\}"):
        undertow.load(path)
    X = random(rng, 1, I, T)
    expected = session_of(path).run(["y"], {"x": X, "cache": np.zeros((1, I, 2), np.float32)})[0]
    model = undertow.load(path, states={"cache": "next"})
    y = model.outputs["y"].shape
    streams_like(model, {"x": X[0].T}, {"y": expected[0].T.reshape(T, *y)})


# -- inputs without a time axis --------------------------------------------------------------------------------------


def joined(rng):
    """A knob that the file spreads along time and joins to every frame."""
    nodes = [
        node("Shape", "x", "n", start=1, end=2),
        node("Concat", "minus n minus", "size", axis=0),
        node("Unsqueeze", "k second", "one"),
        node("Expand", "one size", "spread"),
        node("Concat", "x spread", "both", axis=2),
    ]
    return nodes, I + 3, {"minus": np.array([1]), "second": np.array([1])}


def scaled(rng):
    """Features scaled by what is computed of an input."""
    nodes = [node("MatMul", "k K", "m"), node("Unsqueeze", "m second", "one"), node("Mul", "x one", "both")]
    return nodes, I, {"K": random(rng, 3, I), "second": np.array([1])}


@pytest.mark.parametrize("use", [joined, scaled])
@pytest.mark.parametrize("batch", [1, "b"])
def test_an_input_that_is_the_same_at_every_timestep(use, batch, tmp_path, rng):
    nodes, n_in, weights = use(rng)
    nodes += [
        node("Transpose", "both", "steps", perm=[1, 0, 2]),
        helper.make_node("GRU", ["steps", "W", "R"], ["h", ""], hidden_size=H),
        node("Squeeze", "h second", "s"),
        node("Transpose", "s", "y", perm=[1, 0, 2]),
    ]
    inputs = {"x": [batch, "t", I], "k": [batch, 3]}
    path = save(tmp_path, nodes, inputs, {"y": [batch, "t", H]}, {**weights, **cell(rng, "GRU", n_in, H)})
    X, k = random(rng, 1, T, I), random(rng, 1, 3)
    (expected,) = session_of(path).run(None, {"x": X, "k": k})
    model = undertow.load(path)
    assert "input 'k': the same at all timesteps" in model.graph.source
    streams_like(model, {"x": X[0], "k": np.repeat(k, T, 0)}, {"y": expected[0]})
    streams_like(undertow.load(path, fixed={"k": k}), {"x": X[0]}, {"y": expected[0]})


@pytest.mark.parametrize("batch", [1, "b"])
def test_attention_to_a_memory_that_stays_the_same(batch, tmp_path, rng):
    """Rows of time meet one matrix, the last axis of the weights is not time: scores, and then what they choose."""
    nodes = [
        helper.make_node("GRU", ["steps", "W", "R"], ["h", ""], hidden_size=H),
        node("Squeeze", "h second", "s"),
        node("Transpose", "s", "q", perm=[1, 0, 2]),
        node("Transpose", "memory", "keys", perm=[0, 2, 1]),
        node("MatMul", "q keys", "scores"),
        node("Softmax", "scores", "w", axis=-1),
        node("Transpose", "w", "columns", perm=[0, 2, 1]),
        node("MatMul", "keys columns", "y"),
    ]
    nodes = [node("Transpose", "x", "steps", perm=[1, 0, 2]), *nodes]
    weights = {**cell(rng, "GRU", I, H), "second": np.array([1])}
    inputs = {"x": [batch, "t", I], "memory": [batch, 6, H]}
    path = save(tmp_path, nodes, inputs, {"y": [batch, H, "t"]}, weights)
    X, memory = random(rng, 1, T, I), random(rng, 1, 6, H)
    (expected,) = session_of(path).run(None, {"x": X, "memory": memory})
    feeds = {"x": X[0], "memory": np.repeat(memory, T, 0)}
    streams_like(undertow.load(path), feeds, {"y": expected[0].T})


def test_an_initial_state_that_is_computed_must_be_bound(tmp_path, rng):
    nodes = [
        node("MatMul", "k K", "m"),
        node("Unsqueeze", "m first", "h0"),
        helper.make_node("GRU", ["x", "W", "R", "", "", "h0"], ["h", ""], hidden_size=H),
        node("Squeeze", "h second", "y"),
    ]
    weights = {**cell(rng, "GRU", I, H), "K": random(rng, 3, H), "first": np.array([0]), "second": np.array([1])}
    path = save(tmp_path, nodes, {"x": ["t", 1, I], "k": [1, 3]}, {"y": ["t", 1, H]}, weights)
    with pytest.raises(UnsupportedError, match=r"initial_h is computed from other values.*fixed="):
        undertow.load(path)
    X, k = random(rng, T, 1, I), random(rng, 1, 3)
    (expected,) = session_of(path).run(None, {"x": X, "k": k})
    streams_like(undertow.load(path, fixed={"k": k}), {"x": X[:, 0]}, {"y": expected[:, 0]})


# -- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_batch", [False, True])
def test_zeros_joined_to_the_start_are_padding(open_batch, tmp_path, rng):
    batch = "b" if open_batch else 1
    nodes = [
        node("Shape", "x", "n", start=0, end=1),
        node("Concat", "n rest", "size", axis=0),
        node("ConstantOfShape", "size", "zeros"),
        node("Concat", "zeros x", "padded", axis=2),
        node("Conv", "padded K", "y"),
    ]
    weights = {"rest": np.array([I, 2]), "K": random(rng, 3, I, 3)}
    path = save(tmp_path, nodes, {"x": [batch, I, "t"]}, {"y": [batch, 3, "t"]}, weights)
    X = random(rng, 1, I, T)
    expected = session_of(path).run(None, {"x": X})[0]
    streams_like(undertow.load(path), {"x": X[0].T}, {"y": expected[0].T})


@pytest.mark.parametrize("way", ["pad", "join"])
@pytest.mark.parametrize("late", [1, 3, -2])
def test_a_sequence_shifted_by_frames(way, late, tmp_path, rng):
    """What came before, as decoders are fed while they learn; or what comes next, which is look-ahead."""
    n = abs(late)
    if way == "pad":
        nodes = [node("Pad", "x pads", "shifted")]
    else:
        order = "zeros part" if late > 0 else "part zeros"
        nodes = [
            node("Slice", "x nought few one", "like"),
            node("Shape", "like", "size"),
            node("ConstantOfShape", "size", "zeros"),
            node("Slice", "x from to one", "part"),
            node("Concat", order, "shifted", axis=1),
        ]
    nodes += [
        node("Transpose", "shifted", "steps", perm=[1, 0, 2]),
        helper.make_node("GRU", ["steps", "W", "R"], ["h", ""], hidden_size=H),
        node("Squeeze", "h one", "s"),
        node("Transpose", "s", "y", perm=[1, 0, 2]),
    ]
    first, last = (0, -n) if late > 0 else (n, 2**62)
    weights = {"nought": np.array([0]), "few": np.array([n]), "one": np.array([1])}
    weights |= {"from": np.array([first]), "to": np.array([last]), "pads": np.array([0, late, 0, 0, -late, 0])}
    path = save(tmp_path, nodes, {"x": ["b", "t", I]}, {"y": ["b", "t", H]}, {**weights, **cell(rng, "GRU", I, H)})
    X = random(rng, 1, T, I)
    (expected,) = session_of(path).run(None, {"x": X})
    model = undertow.load(path)
    assert model.latency == max(0, -late)
    streams_like(model, {"x": X[0]}, {"y": expected[0]})


def test_windows_longer_than_what_is_tried_first(tmp_path, rng):
    nodes = [
        node("Conv", "x A", "a", dilations=[4]),
        node("Relu", "a", "r"),
        node("Conv", "r B", "y", dilations=[8]),
    ]
    path = save(
        tmp_path,
        nodes,
        {"x": ["b", I, "t"]},
        {"y": ["b", 3, "u"]},
        {"A": random(rng, 4, I, 3), "B": random(rng, 3, 4, 3)},
    )
    X = random(rng, 1, I, T)
    expected = session_of(path).run(None, {"x": X})[0][0].T
    made = undertow.load(path).run(X[0].T)
    close(made[T - len(expected) :], expected)


def test_a_cell_over_frequency_before_a_convolution_over_time(tmp_path, rng):
    """The open axis is time, though a cell walks the other one: of size 1, as a batch, it would show nothing."""
    nodes = [
        node("Transpose", "x", "columns", perm=[1, 2, 0]),  # (F, t, 1)
        helper.make_node("GRU", ["columns", "W", "R"], ["h", ""], hidden_size=H),  # (F, 1, t, H)
        node("Squeeze", "h second", "s"),
        node("Transpose", "s", "maps", perm=[0, 2, 1]),  # (F, H, t)
        node("Conv", "maps K", "y", pads=[1, 1]),
    ]
    weights = {**cell(rng, "GRU", 1, H), "K": random(rng, 2, H, 3), "second": np.array([1])}
    path = save(tmp_path, nodes, {"x": [1, 6, "t"]}, {"y": [6, 2, "t"]}, weights)
    X = random(rng, 1, 6, T)
    expected = session_of(path).run(None, {"x": X})[0]
    streams_like(undertow.load(path), {"x": X[0].T}, {"y": expected.transpose(2, 0, 1)})


def test_a_frame_that_is_one_number(tmp_path, rng):
    path = save(tmp_path, [node("Sub", "one x", "y")], {"x": ["t"]}, {"y": ["t"]}, {"one": np.float32(1)})
    X = random(rng, T)
    streams_like(undertow.load(path), {"x": X}, {"y": 1 - X})


def test_two_axes_of_size_one_of_which_either_is_the_batch(tmp_path, rng):
    """A cell over time for every band, as of a picture of one channel."""
    nodes = [
        node("Reshape", "x bands", "r"),
        node("Transpose", "r", "rows", perm=[2, 0, 1]),
        helper.make_node("GRU", ["rows", "W", "R"], ["h", ""], hidden_size=H),
        node("ReduceMax", "h", "most", axes=[2], keepdims=0),
        node("Transpose", "most", "y", perm=[1, 2, 0]),
    ]
    weights = {**cell(rng, "GRU", 1, H), "bands": np.array([3, 1, -1])}
    path = save(tmp_path, nodes, {"x": [1, 1, 3, "t"]}, {"y": [1, H, "t"]}, weights)
    X = random(rng, 1, 1, 3, T)
    (expected,) = session_of(path).run(None, {"x": X})
    model = undertow.load(path)
    x, y = model.inputs["x"].shape, model.outputs["y"].shape
    streams_like(model, {"x": X[0, 0].T.reshape(T, *x)}, {"y": expected[0].T.reshape(T, *y)})


def test_an_axis_of_one_that_a_cell_walks_is_time(tmp_path, rng):
    """The open axis is the cell's batch, and the file has one timestep; one that is called time is asked about."""
    nodes = [helper.make_node("GRU", ["x", "W", "R"], ["h", ""], hidden_size=H), node("Squeeze", "h second", "y")]
    weights = {**cell(rng, "GRU", I, H), "second": np.array([1])}
    path = save(tmp_path, nodes, {"x": [1, "n", I]}, {"y": [1, "n", H]}, weights)
    with pytest.warns(undertow.ModelWarning, match=r"is of one timestep, and GRU .* load with time_axis=\{'x': 0\}"):
        model = undertow.load(path)
    assert "time: axis 0 of 'x' (of size 1), walked by GRU node 'h'" in model.source
    assert "a stream carries the state on" in model.source
    open_path = save(tmp_path, nodes, {"x": ["t", "n", I]}, {"y": ["t", "n", H]}, weights)
    X = random(rng, T, 1, I)
    (expected,) = session_of(open_path).run(None, {"x": X})
    x, y = model.inputs["x"].shape, model.outputs["y"].shape
    streams_like(model, {"x": X.reshape(T, *x)}, {"y": expected.reshape(T, *y)})
    called = save(tmp_path, nodes, {"x": [1, "t", I]}, {"y": [1, "t", H]}, weights)
    with pytest.raises(UnsupportedError, match="axis 1 of 'x' is called 't'"):
        undertow.load(called)
    assert model.source.startswith(undertow.load(called, time_axis=0).source)  # and a warning


# -- numbers and places ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_the_place_of_the_largest_score(op, last, tmp_path, rng):
    nodes = [
        helper.make_node("GRU", ["x", "W", "R"], ["h", ""], hidden_size=H),
        node("Squeeze", "h second", "s"),
        node("MatMul", "s D", "a"),
        node("Round", "a", "scores"),  # so that many are equal
        node(op, "scores", "y", axis=-1, keepdims=0, select_last_index=last),
    ]
    weights = {**cell(rng, "GRU", I, H), "D": random(rng, H, 7), "second": np.array([1])}
    path = save(tmp_path, nodes, {"x": ["t", 1, I]}, {"y": (["t", 1], INT64)}, weights)
    X = random(rng, T, 1, I)
    (expected,) = session_of(path).run(None, {"x": X})
    np.testing.assert_array_equal(undertow.load(path).run(X[:, 0]), expected[:, 0])
    assert len(np.unique(expected)) > 2


def test_letters_as_one_hot_rows(tmp_path, rng):
    nodes = [
        node("OneHot", "x depth values", "rows", axis=-1),
        helper.make_node("GRU", ["rows", "W", "R"], ["h", ""], hidden_size=H),
        node("Squeeze", "h second", "y"),
    ]
    weights = {**cell(rng, "GRU", 9, H), "depth": np.array(9), "values": np.array([0, 1], np.float32)}
    weights["second"] = np.array([1])
    path = save(tmp_path, nodes, {"x": (["t", 1], INT64)}, {"y": ["t", 1, H]}, weights)
    ids = rng.integers(0, 9, (T, 1))
    (expected,) = session_of(path).run(None, {"x": ids})
    streams_like(undertow.load(path), {"x": ids[:, 0].astype(np.int32)}, {"y": expected[:, 0]})


def test_one_hot_of_computed_numbers(tmp_path, rng):
    nodes = [node("Round", "x", "r"), node("OneHot", "r depth values", "y", axis=1)]
    weights = {"depth": np.float32(3), "values": np.array([-1, 2], np.float32)}
    path = save(tmp_path, nodes, {"x": ["t", I]}, {"y": ["t", 3, I]}, weights)
    X = 2 * random(rng, T, I)  # beyond -3 and 2, too
    (expected,) = session_of(path).run(None, {"x": X})
    streams_like(undertow.load(path), {"x": X}, {"y": expected})


def test_einsum_of_grouped_features(tmp_path, rng):
    """One operand has time and batch alone, a constant the weights of each group."""
    nodes = [node("Einsum", "x A", "y", equation="btgi,gih->btgh")]
    path = save(tmp_path, nodes, {"x": ["b", "t", 3, I]}, {"y": ["b", "t", 3, 2]}, {"A": random(rng, 3, I, 2)})
    X = random(rng, 2, T, 3, I)
    (expected,) = session_of(path).run(None, {"x": X})
    for x, y in zip(X, expected, strict=True):
        streams_like(undertow.load(path), {"x": x}, {"y": y})


@pytest.mark.parametrize("equation", ["...ij,...j->...i", "...ij,...j", "bt...j,...j->bt...", "ij...,j...->i..."])
def test_einsum_with_an_ellipsis(equation, tmp_path, rng):
    """torch.einsum keeps it; a step, whose state is a matrix of each of 2 heads."""
    h, w, y = {
        "...ij,...j->...i": ([1, 2, 3, 4], [1, 2, 4], [1, 2, 3]),
        "...ij,...j": ([1, 2, 3, 4], [1, 2, 4], [1, 2, 3]),
        "bt...j,...j->bt...": ([1, 2, 3, 4], [3, 4], [1, 2, 3]),
        "ij...,j...->i...": ([3, 4, 1, 2], [4, 1, 2], [3, 1, 2]),
    }[equation]
    nodes = [node("Einsum", "h w", "y", equation=equation), node("Add", "h x", "h_out")]
    path = save(tmp_path, nodes, {"x": h, "h": h}, {"y": y, "h_out": h}, {"w": random(rng, *w)})
    model = undertow.load(path)
    assert list(model.states) == ["h.value"]
    steps_like(path, model, {"x": random(rng, T, *h)}, {"h": ("h_out", h)})


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("way", ["cache", "roll"])
def test_a_cache_of_one_frame_leaves_nothing_of_itself(length, way, tmp_path, rng):
    """cat(cache[:, 1:], x) of a cache as long as a parameter says, and a roll by as many as an axis has."""
    nodes = [
        node("Slice", "c one end axis", "rest"),
        node("Slice", "c zero one axis", "first"),
        node("Unsqueeze", "x axis", "row"),
        node("Concat", "rest row" if way == "cache" else "rest first", "moved", axis=1),
        node("ReduceSum", "moved axis", "sum", keepdims=0),
        node("Squeeze", "first axis", "before"),
        node("Add", "sum before", "y"),
        *([node("Identity", "moved", "c_out")] if way == "cache" else [node("Add", "moved row", "c_out")]),
    ]
    weights = {name: np.array([n]) for name, n in {"zero": 0, "one": 1, "end": 2**62, "axis": 1}.items()}
    shape = [1, length, I]
    path = save(tmp_path, nodes, {"x": [1, I], "c": shape}, {"y": [1, I], "c_out": shape}, weights)
    states = {"c": ("c_out", shape)}
    model = undertow.load(path, states={"c": "c_out"})
    steps_like(path, model, {"x": random(rng, T, 1, I)}, states)


# -- what tf2onnx writes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["arithmetic", "where", "clipped"])
def test_ids_below_zero_count_from_the_end(way, tmp_path, rng):
    """Keras 3 adds the number of rows to ids below 0, as a Gather does itself; where other ids come of it, that is no
    way to write the id.
    """
    n = 6
    write_out = {
        "arithmetic": [
            node("Cast", "minus", "a", to=6),
            node("Mul", "a more", "b"),
            node("Not", "minus", "plus"),
            node("Cast", "plus", "c", to=6),
            node("Mul", "c ids", "d"),
            node("Add", "b d", "rows"),
        ],
        "where": [node("Where", "minus more ids", "rows")],
        "clipped": [node("Max", "ids zero", "rows")],
    }[way]
    nodes = [node("Less", "ids zero", "minus"), node("Add", "ids n", "more"), *write_out]
    nodes += [node("Gather", "table rows", "y", axis=0)]
    weights = {"table": random(rng, n, I), "zero": np.int32(0), "n": np.int32(n)}
    path = save(tmp_path, nodes, {"ids": ([1, "T"], onnx.TensorProto.INT32)}, {"y": [1, "T", I]}, weights)
    if way == "clipped":
        with pytest.raises(UnsupportedError, match="ids"):
            undertow.load(path)
        return
    ids = rng.integers(0, n, T).astype(np.int32)
    streams_like(
        undertow.load(path, time_axis=1), {"ids": ids}, {"y": session_of(path).run(None, {"ids": ids[None]})[0][0]}
    )


@pytest.mark.parametrize("less", [False, True], ids=["all", "all but one"])
@pytest.mark.parametrize(("length", "batch"), [(None, 2), (None, 1), (T, 1)])
def test_reverse_sequence(length, batch, less, tmp_path, rng):
    """A layer between two of all timesteps runs backwards; of all but one they are a clip, or refused."""
    count = [node("Shape", "x", "shape"), node("Slice", "shape zero one", "n"), node("Sub", "n one", "n_less")]
    layer = [node("GRU", "z W R", "y", hidden_size=H), node("Squeeze", "y one", "s")]
    turned = [node("ReverseSequence", "x lengths", "z"), *layer, node("ReverseSequence", "s lengths", "back")]
    nodes = [*count, node("Expand", "n_less items" if less else "n items", "lengths"), *turned]
    weights = {**cell(rng, "GRU", I, H), "zero": np.array([0]), "one": np.array([1]), "items": np.array([batch])}
    sizes = [length or "T", batch]
    path = save(tmp_path, nodes, {"x": [*sizes, I]}, {"back": [*sizes, H]}, weights)
    if less and length is None:
        with pytest.raises(UnsupportedError):
            undertow.load(path)
        return
    with pytest.warns(undertow.ModelWarning, match="nothing is remembered") if less else nullcontext():
        model = undertow.load(path)
    assert model.streamable == less
    for n in (1, 7, T) if length is None else (T,):
        X = random(rng, n, batch, I)
        close(np.ravel(model.run(X[None] if less else X[:, 0])), session_of(path).run(None, {"x": X})[0][:, 0].ravel())


@pytest.mark.parametrize(
    ("lengths", "attrs", "message"),
    [
        ([9, 9], {}, "lies outside of 0 to 8"),
        ([-1, 8], {}, "lies outside of 0 to 8"),
        ([8], {}, "one for each of the batch"),
        ([8, 8], {"time_axis": 1, "batch_axis": 1}, "are not 0 and 1"),
    ],
)
def test_reverse_sequence_of_lengths_that_do_not_fit(lengths, attrs, message, tmp_path, rng):
    nodes = [node("ReverseSequence", "w lengths", "v", **attrs), node("Add", "x v", "y")]
    weights = {"w": random(rng, 8, 2), "lengths": np.array(lengths)}
    path = write(model_of(nodes, {"x": [8, 2]}, ["y"], weights), tmp_path)
    with pytest.raises((UnsupportedError, undertow.errors.FormatError, undertow.errors.ShapeError), match=message):
        undertow.load(path)


@pytest.mark.parametrize("opset", [12, 17])
def test_a_part_of_a_split_that_has_no_elements(opset, tmp_path, rng):
    """tf2onnx leaves [n, n, 0] of the Split of a GRU; nobody reads the last part."""
    sizes = {"split": [I, 3, 0]} if opset < 13 else {}
    nodes = [node("Split", "x" if sizes else "x sizes", "a b none", axis=-1, **sizes), node("Tanh", "b", "y")]
    weights = {} if sizes else {"sizes": np.array([I, 3, 0])}
    path = write(model_of(nodes, {"x": [None, 1, I + 3]}, ["y"], weights, opset), tmp_path)
    X = random(rng, T, 1, I + 3)
    close(undertow.load(path, time_axis=0).run(X[:, 0]), session_of(path).run(None, {"x": X})[0][:, 0])
    path = write(model_of(nodes, {"x": [None, 1, I + 3]}, ["y", "none"], weights, opset), tmp_path)
    with pytest.raises(UnsupportedError, match="empty"):
        undertow.load(path, time_axis=0)


def test_zeros_like_what_the_first_timestep_gives(tmp_path, rng):
    """Of what is computed of it the shape alone is read."""
    first = [node("Gather", "x zero", "x_0", axis=0), node("MatMul", "x_0 V", "a"), node("Tanh", "a", "h_0")]
    zeros = [
        node("Shape", "h_0", "shape"),
        node("ConstantOfShape", "shape", "zeros"),
        node("Unsqueeze", "zeros axes", "h"),
    ]
    nodes = [*first, *zeros, node("GRU", "x W R", "y", hidden_size=H)]
    nodes[-1].input.extend(["", "", "h"])
    weights = {**cell(rng, "GRU", I, H), "V": random(rng, I, H), "zero": np.array(0), "axes": np.array([0])}
    path = save(tmp_path, nodes, {"x": ["T", "N", I]}, {"y": ["T", 1, "N", H]}, weights)
    X = random(rng, T, 1, I)
    streams_like(undertow.load(path), {"x": X[:, 0]}, {"y": session_of(path).run(None, {"x": X})[0][:, 0]})
