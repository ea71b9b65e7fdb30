# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""`undertow.compat.onnxruntime` beside ONNX Runtime: glue code that is run with either gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_files import (
    BOOL,
    FLOAT,
    INT64,
    TensorProto,
    bytes_of,
    cell,
    graph_of,
    helper,
    lstm_step,
    model_of,
    node,
    onnxruntime,
    random,
)
from tolerances import FLOAT32_MODEL, FLOAT32_PEER

peer = onnxruntime()
import undertow
import undertow.compat.onnxruntime as ours
from sessions import H, X, both, feeds, recurrent, same, shapes_of, told


def packed():
    """A step whose states all lie in one tensor, h and c of two layers on its last axis: [1, 2, H, 2]."""
    rng = np.random.default_rng(4)
    one = np.array([1], np.int64)
    nodes, weights, x = [], {"axis": one, "axis0": np.array([0], np.int64), "parts": np.array([H] * 4, np.int64)}, "x"
    for k in range(2):
        weights |= {f"at{k}": np.array(k, np.int64), f"W{k}": random(rng, 4 * H, X if k == 0 else H) / 2}
        weights |= {f"R{k}": random(rng, 4 * H, H) / 2, f"b{k}": random(rng, 4 * H) / 2}
        nodes += [
            node("Gather", f"states at{k}", f"of{k}", axis=1),
            node("Gather", f"of{k} at0", f"h{k}", axis=2),
            node("Gather", f"of{k} at1", f"c{k}", axis=2),
            node("Gemm", f"{x} W{k} b{k}", f"a{k}", transB=1),
        ]
        step = lstm_step(f"h{k}", f"c{k}", f"hn{k}", f"cn{k}", recurrent=f"R{k} zero")
        for n in step:  # each layer has names of its own
            for names in (n.input, n.output):
                for i, name in enumerate(names):
                    if name not in (f"h{k}", f"c{k}", f"hn{k}", f"cn{k}", f"R{k}", "zero", "parts"):
                        names[i] = f"{name}{k}" if name != "a" else f"a{k}"
        nodes += step
        nodes += [
            node("Unsqueeze", f"hn{k} axis3", f"hu{k}"),
            node("Unsqueeze", f"cn{k} axis3", f"cu{k}"),
            node("Concat", f"hu{k} cu{k}", f"hc{k}", axis=2),
            node("Unsqueeze", f"hc{k} axis", f"row{k}"),
        ]
        x = f"hn{k}"
    weights |= {"axis3": np.array([2], np.int64), "zero": np.zeros(4 * H, np.float32)}
    nodes += [node("Concat", "row0 row1", "states_out", axis=1), node("Sigmoid", "hn1", "y")]
    return model_of(nodes, {"x": [1, X], "states": [1, 2, H, 2]}, {"y": [1, H], "states_out": [1, 2, H, 2]}, weights)


def cached():
    """A step of a convolution over the last frames, which its caller keeps: [1, X, 3]."""
    rng = np.random.default_rng(5)
    weights = {"W": random(rng, H, X, 4) / 2, "b": random(rng, H), "starts": np.array([1], np.int64)}
    weights |= {"ends": np.array([4], np.int64), "axes": np.array([2], np.int64)}
    nodes = [
        node("Concat", "cache x", "all", axis=2),
        node("Conv", "all W b", "y"),
        node("Slice", "all starts ends axes", "cache_out"),
    ]
    return model_of(nodes, {"x": [1, X, 1], "cache": [1, X, 3]}, {"y": [1, H, 1], "cache_out": [1, X, 3]}, weights)


STEPS = {
    "lstm": (lambda: recurrent("LSTM", 1, 1), {"h": "hn", "c": "cn"}),
    "gru": (lambda: recurrent("GRU", 1, 1), {"h": "hn"}),
    "rnn of any length": (lambda: recurrent("RNN", "T", 1), {"h": "hn"}),
    "packed": (packed, {"states": "states_out"}),
    "cached": (cached, {"cache": "cache_out"}),
}


# -- states in the feeds and in the results --------------------------------------------------------------------------


def glue(session, states, rng, n_frames=25):
    """What people write around a session: the states of one call go into the next; of two streams in turn, one of which
    starts anew in the middle, in the arrays where its states lie.
    """
    names, rows = [o.name for o in session.get_outputs()], []
    start = {n: np.zeros(s, np.float32) for n, s in shapes_of(session, T=1).items() if n in states}
    of_streams = [{n: a.copy() for n, a in start.items()}, {n: random(rng, *a.shape) for n, a in start.items()}]
    for t in range(n_frames):
        for number, carried in enumerate(of_streams):
            frame = {n: random(rng, *s) for n, s in shapes_of(session, T=1).items() if n not in states}
            if t == 13 and number == 1:
                for array in carried.values():
                    array[...] = 0
            made = dict(zip(names, session.run(None, {**frame, **carried}), strict=True))
            of_streams[number] = carried = {name: made[output] for name, output in states.items()}
            rows.append({name: array.copy() for name, array in made.items()})
    return rows


@pytest.mark.parametrize("name", STEPS)
def test_glue_code_that_carries_states_gives_the_same_numbers(name):
    make, states = STEPS[name]
    mine, theirs = both(make())
    assert told(mine) == told(theirs)
    rows = [glue(session, states, np.random.default_rng(1)) for session in (mine, theirs)]
    for a, b in zip(*rows, strict=True):
        assert list(a) == list(b)
        same(a.values(), b.values())
    assert isinstance(mine._call, undertow.stream.Call)  # one step, and no more


@pytest.mark.parametrize("name", STEPS)
def test_a_call_depends_on_its_arrays_alone(name, rng):
    mine = ours.InferenceSession(bytes_of(STEPS[name][0]()))
    feed = feeds(rng, mine, T=1)
    first = mine.run(None, feed)
    kept = [a.copy() for a in first]
    for _ in range(3):
        again = mine.run(None, feed)
        for a, b, c in zip(first, kept, again, strict=True):
            assert a.tobytes() == b.tobytes() == c.tobytes()  # to the bit, in arrays of its own
            assert not np.shares_memory(a, c)
        mine.run(None, feeds(rng, mine, T=1))


@pytest.mark.parametrize("name", STEPS)
def test_the_short_way_is_the_long_one(name, rng):
    mine = ours.InferenceSession(bytes_of(STEPS[name][0]()))
    for _ in range(5):
        feed = feeds(rng, mine, T=1)
        short = mine.run(None, feed)
        plan = mine._file.plan(mine._checked(feed))
        long = plan._run(feed, 1, 1)
        for a, b in zip(short, long.values(), strict=True):
            assert (a.shape, a.tobytes()) == (b.shape, b.tobytes())


def test_every_instruction_set(isa, rng):
    mine, theirs = both(packed(), isa=isa)
    feed = feeds(rng, mine)
    same(mine.run(None, feed), theirs.run(None, feed))
    assert mine._file.plan(feed).model.isa == isa


def test_what_is_bound_is_compared_in_every_call(rng):
    """A file that chooses by a number, as silero's does by `sr`, gives what the number of each call says."""
    branches = [
        graph_of([node("Mul", f"x {k}", f"out{k}")], [], {f"out{k}": [1, X]}, name=f"branch{k}") for k in ("two", "ten")
    ]
    nodes = [
        node("Equal", "sr rate", "is"),
        helper.make_node("If", ["is"], ["scaled"], then_branch=branches[0], else_branch=branches[1]),
        node("Add", "scaled h", "hn"),
        node("Tanh", "hn", "y"),
    ]
    weights = {"rate": np.array(16000), "two": np.float32([2]), "ten": np.float32([10])}
    source = model_of(nodes, {"x": [1, X], "h": [1, X], "sr": ([], INT64)}, {"y": [1, X], "hn": [1, X]}, weights)
    mine, theirs = both(source)
    for rate in (16000, 8000, 16000, 16000, 8000, 4):
        feed = {"x": random(rng, 1, X), "h": random(rng, 1, X), "sr": np.array(rate)}
        same(mine.run(None, feed), theirs.run(None, feed))
    feed["sr"] = np.array([8000])  # of another shape, which ONNX Runtime takes for a single number, too
    same(mine.run(None, feed), theirs.run(None, feed))


# -- sizes and types -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_sequences_and_batches_of_any_size(op, rng):
    mine, theirs = both(recurrent(op, "T", "N"))
    for T, N in ((1, 1), (1, 3), (9, 1), (9, 4), (2, 7), (1, 1), (1, 4)):
        feed = feeds(rng, theirs, T=T, N=N)
        same(mine.run(None, feed), theirs.run(None, feed))


def test_lengths_of_sequences(rng):
    mine, theirs = both(recurrent("GRU", "T", "N", lengths=True))
    feed = {"x": random(rng, 7, 3, X), "h": random(rng, 1, 3, H), "n": np.array([7, 2, 5], np.int32)}
    same(mine.run(None, feed), theirs.run(None, feed))
    with pytest.raises(ours.InvalidArgument, match="gives length 9, expected 0 to 7"):
        mine.run(None, {**feed, "n": np.array([7, 9, 5], np.int32)})


def test_layers_that_need_the_whole_sequence(rng):
    weights = cell(rng, "LSTM", X, H, directions=2)
    nodes = [node("LSTM", "x W R", "Y", hidden_size=H, direction="bidirectional")]
    mine, theirs = both(model_of(nodes, {"x": ["T", "N", X]}, {"Y": ["T", 2, "N", H]}, weights))
    for T, N in ((4, 1), (11, 2)):
        feed = feeds(rng, theirs, T=T, N=N)
        same(mine.run(None, feed), theirs.run(None, feed))


@pytest.mark.parametrize("kind", [INT64, TensorProto.INT32])
def test_ids_of_an_embedding(kind, rng):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [node("Gather", "table id", "x"), *recurrent("GRU", 1, 1).graph.node]
    weights = {"table": random(rng, 9, X), **cell(rng, "GRU", X, H, bias=True)}
    source = model_of(nodes, {"id": ([1, 1], kind), "h": [1, 1, H]}, {"Y": [1, 1, 1, H], "hn": [1, 1, H]}, weights)
    mine, theirs = both(source)
    h = [np.zeros((1, 1, H), np.float32)] * 2
    for i in (0, 8, 3, 3, -1, -9):
        a = mine.run(None, {"id": np.array([[i]], dtype), "h": h[0]})
        b = theirs.run(None, {"id": np.array([[i]], dtype), "h": h[1]})
        same(a, b)
        h = [a[1], b[1]]
    for i in (9, -10, 2**31 - 1):
        with pytest.raises(ours.InvalidArgument, match="id"):
            mine.run(None, {"id": np.array([[i]], dtype), "h": h[0]})
    if kind == INT64:
        with pytest.raises(ours.InvalidArgument, match="id"):  # which 32 bits would take for id 1
            mine.run(None, {"id": np.array([[2**32 + 1]], dtype), "h": h[0]})


def test_bools_and_small_integers(rng):
    nodes = [
        node("Cast", "b", "bf", to=FLOAT),
        node("Cast", "k", "kf", to=FLOAT),
        node("Mul", "x bf", "m"),
        node("Add", "m kf", "y"),
        node("Greater", "y zero", "p"),
    ]
    inputs = {"x": [1, X], "b": ([1, X], BOOL), "k": ([1, X], TensorProto.INT8)}
    mine, theirs = both(model_of(nodes, inputs, {"y": [1, X], "p": ([1, X], BOOL)}, {"zero": np.float32(0)}))
    for _ in range(3):
        feed = {"x": random(rng, 1, X), "b": rng.random((1, X)) < 0.5, "k": rng.integers(-9, 9, (1, X), np.int8)}
        same(mine.run(None, feed), theirs.run(None, feed))


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_other_floats_come_and_go_as_the_file_declares_them(kind, rng):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = {name: (w / 4).astype(dtype) for name, w in cell(rng, "GRU", X, H).items()}
    nodes = [helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["Y", "hn"], hidden_size=H)]
    inputs = {"x": ([1, 1, X], kind), "h": ([1, 1, H], kind)}
    source = model_of(nodes, inputs, {"Y": ([1, 1, 1, H], kind), "hn": ([1, 1, H], kind)}, weights)
    mine = ours.InferenceSession(bytes_of(source))
    feed = {name: random(rng, *shape).astype(dtype) for name, shape in shapes_of(mine).items()}
    wide = {name: array.astype(np.float64) for name, array in feed.items()}
    W, R = (weights[name][0].astype(np.float64) for name in "WR")
    z, r, n = np.split(W @ wide["x"].ravel(), 3)
    h = wide["h"].ravel()
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    z, r = sigmoid(z + R[:H] @ h), sigmoid(r + R[H : 2 * H] @ h)
    expected = (1 - z) * np.tanh(n + R[2 * H :] @ (r * h)) + z * h
    Y, hn = mine.run(None, feed)
    assert Y.dtype == hn.dtype == dtype and Y.shape == (1, 1, 1, H)
    limit = FLOAT32_PEER if kind == TensorProto.DOUBLE else np.finfo(np.float16).eps  # of the last rounding
    np.testing.assert_allclose(hn.ravel().astype(np.float64), expected, rtol=0, atol=limit)


def test_arrays_as_numpy_makes_them(rng):
    mine, theirs = both(recurrent("LSTM", "T", "N"))
    wide = random(rng, 6, 4, 2 * X)
    states = {"h": random(rng, 1, 4, H), "c": np.asfortranarray(random(rng, 1, 4, H))}
    read_only = np.ascontiguousarray(wide[..., :X])
    read_only.flags.writeable = False
    for x in (wide[..., ::2], wide[::-1, :, :X], np.asfortranarray(wide[..., :X]), read_only):
        same(mine.run(None, {"x": x, **states}), theirs.run(None, {"x": x, **states}))
    swapped = wide[..., :X].astype(">f4")  # of which ONNX Runtime reads the bytes as they are
    same(mine.run(None, {"x": swapped, **states}), mine.run(None, {"x": read_only, **states}), 0)


# -- what is asked for, and what is refused ------------------------------------------------------------------------


def test_outputs_by_name(rng):
    mine, theirs = both(recurrent("LSTM", 1, 1))
    feed = feeds(rng, mine)
    for names in (None, [], ["cn"], ("Y",), ["cn", "Y", "cn"], ["hn", "cn", "Y"]):
        for _ in range(2):  # the long way, then the short one
            same(mine.run(names, feed), theirs.run(names, feed))
    for session, error in ((mine, ours.InvalidArgument), (theirs, Exception)):
        with pytest.raises(error, match="Invalid output name"):
            session.run(["nope"], feed)
        with pytest.raises(TypeError):
            session.run("Y", feed)


WRONG = {
    "a name that is none": lambda f: {**f, "z": f["x"]},
    "a missing input": lambda f: {"x": f["x"], "h": f["h"]},
    "nothing": lambda f: {},
    "another dtype": lambda f: {**f, "x": f["x"].astype(np.float64)},
    "integers": lambda f: {**f, "h": f["h"].astype(np.int64)},
    "an axis less": lambda f: {**f, "x": f["x"][0]},
    "another size": lambda f: {**f, "x": f["x"][..., 1:]},
    "a state of another size": lambda f: {**f, "c": np.concatenate([f["c"], f["c"]])},
    "a text": lambda f: {**f, "x": "x"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_onnx_runtime_refuses_is_refused_in_its_kind(wrong, rng):
    mine, theirs = both(recurrent("LSTM", 1, 1))
    feed = feeds(rng, mine)
    before = mine.run(None, feed)
    with pytest.raises(Exception) as expected:
        theirs.run(None, WRONG[wrong](feed))
    with pytest.raises(undertow.ShapeError) as error:  # of undertow's errors
        mine.run(None, WRONG[wrong](feed))
    assert isinstance(error.value, ours.InvalidArgument)
    if isinstance(expected.value, ValueError):
        assert isinstance(error.value, ValueError)
    if expected.type.__name__ == "InvalidArgument":
        begins = str(expected.value).partition("INVALID_ARGUMENT : ")[2][:20]
        assert str(error.value).startswith(begins)
    same(mine.run(None, feed), before, 0)


def test_messages_name_the_input_what_it_got_and_what_was_expected(rng):
    mine = ours.InferenceSession(bytes_of(recurrent("LSTM", "T", 1)))
    feed = feeds(rng, mine, T=2)
    with pytest.raises(
        ours.InvalidArgument, match=r"'x' .* index: 2 Got: 4 Expected: 5; .* \(2, 1, 4\), expected \(T, 1, 5\)"
    ):
        mine.run(None, {**feed, "x": feed["x"][..., 1:]})
    with pytest.raises(ours.InvalidArgument, match=r"'h'.*tensor\(double\).*tensor\(float\).*astype\(np.float32\)"):
        mine.run(None, {**feed, "h": feed["h"].astype(float)})
    with pytest.raises(ours.capi.onnxruntime_pybind11_state.InvalidArgument, match=r"\['c'\]"):
        mine.run(None, {"x": feed["x"], "h": feed["h"]})


def test_files_that_are_none_and_files_that_are_refused(tmp_path):
    with pytest.raises(ours.NoSuchFile, match="no such file"):
        ours.InferenceSession(str(tmp_path / "none.onnx"))
    errors = ours.capi.onnxruntime_pybind11_state
    graphless = model_of([node("Relu", "x", "y")], {"x": [1]}, {"y": [1]})
    graphless.ClearField("graph")
    dangling = model_of([node("Add", "x nobody", "y")], {"x": [1]}, {"y": [1]})
    circular = model_of([node("Relu", "y", "y")], {"x": [1]}, {"y": [1]})
    for data in (b"abc", b"", *(source.SerializeToString() for source in (graphless, dangling, circular))):
        with pytest.raises(Exception) as error:
            peer.InferenceSession(data)
        with pytest.raises(getattr(errors, error.type.__name__)) as error:
            ours.InferenceSession(data)
        assert isinstance(error.value, undertow.FormatError)
    with pytest.raises(TypeError, match="path"):
        ours.InferenceSession(5)
    with pytest.raises(undertow.UnsupportedError, match=r"undertow\.load"):
        ours.InferenceSession(undertow.example("digits"))
    refused = model_of([node("Erf", "x", "a"), node("Det", "a", "y")], {"x": [1, 3, 3]}, {"y": [1]})
    with pytest.raises(ours.NotImplemented, match="Det"):
        ours.InferenceSession(bytes_of(refused))
    open_sizes = model_of([node("Det", "x", "y")], {"x": ["N", 3, 3]}, {"y": ["N"]})
    with pytest.raises(ours.NotImplemented, match="Det"):  # with the first call at the latest
        ours.InferenceSession(bytes_of(open_sizes)).run(None, {"x": np.zeros((2, 3, 3), np.float32)})


def test_a_path_and_external_data(tmp_path, rng):
    source = recurrent("LSTM", 1, 1)
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes_of(source))
    by_path, by_bytes = ours.InferenceSession(path), ours.InferenceSession(bytes_of(source))
    feed = feeds(rng, by_path)
    same(by_path.run(None, feed), by_bytes.run(None, feed), 0)


# -- real models -----------------------------------------------------------------------------------------------------

#: file -> sizes of what it leaves open, what stays the same, and states
REAL = {
    "silero-vad/silero_vad.onnx": ({"input": [1, 576]}, {"sr": np.array(16000)}, {"state": "stateN"}),
    "silero-vad/silero_vad_op18_ifless.onnx": ({"input": [1, 576]}, {"sr": np.array(16000)}, {"state": "stateN"}),
    "silero-vad/silero_vad_openvino_16k.onnx": ({}, {}, {"state": "stateN"}),
    "dtln-mask/model_1.onnx": ({}, {}, {"input_3": "tf_op_layer_stack_2"}),
    "nsnet2-plc/nsnetv2_converted.onnx": ({}, {}, {"h01": "hn1", "h02": "hn2"}),
    "gtcrn/gtcrn_simple.onnx": ({}, {}, {n: f"{n}_out" for n in ("conv_cache", "tra_cache", "inter_cache")}),
    "qlstm-scan/model.onnx": ({"input": [12, 3]}, {}, {}),
}


@pytest.mark.parametrize("file", REAL)
def test_real_models(file, models_dir, rng):
    sizes, still, states = REAL[file]
    mine, theirs = both(models_dir / "stage2" / file)
    assert told(mine) == told(theirs)
    shapes = {n: sizes.get(n, [1 if not isinstance(k, int) else k for k in s]) for n, s in shapes_of(theirs).items()}
    frames = [n for n in shapes if n not in states and n not in still]
    names = [o.name for o in theirs.get_outputs()]
    carried = [{n: np.zeros(shapes[n], np.float32) for n in states} for _ in range(2)]
    largest = 0.0
    for t in range(40):
        if t == 20:
            carried = [{n: random(rng, *shapes[n]) * np.float32(0.1) for n in states}] * 2
        frame = {n: random(rng, *shapes[n]) * np.float32(0.1) for n in frames}
        rows = []
        for number, session in enumerate((mine, theirs)):
            made = dict(zip(names, session.run(None, {**frame, **still, **carried[number]}), strict=True))
            carried[number] = {n: made[o] for n, o in states.items()} if t != 20 else carried[number]
            rows.append(made)
        for name, a in rows[0].items():
            b = rows[1][name]
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            # of numbers far above 1 the last bits are larger
            largest = max(largest, float(np.abs(a - b).max() / max(1.0, np.abs(b).max())))
    print(f"{file}: largest error {largest:.1e}")
    assert largest < FLOAT32_MODEL


def test_a_clip_of_a_real_model(models_dir, rng):
    mine, theirs = both(models_dir / "stage2/plcmos/plcmos_v2.onnx")
    feed = {"degraded_audio": random(rng, 1, 1, 40, 257), "rater_embed": random(rng, 1, 64)}
    same(mine.run(None, feed), theirs.run(None, feed), FLOAT32_MODEL)
