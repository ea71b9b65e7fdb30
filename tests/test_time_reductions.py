# SPDX-License-Identifier: MIT
"""Reductions over time in ONNX models: of the frames so far in a stream, of all where the whole sequence is needed."""

import numpy as np
import pytest

import undertow
from onnx_files import Chain, TensorProto, session_of
from strides import END, load
from undertow.errors import UnsupportedError

OPS = ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum"]
OPS.append("ReduceLogSumExp")


def reduce(c, op, axes, **attrs):
    """In operator set 18 and later all take their axes as an input."""
    c.opset = 18
    return c.add(op, c.constant(np.array(axes, np.int64)), **attrs)


def bidirectional(c, n_in, hidden):
    """[1, n_in, T] -> [1, 2 hidden, T]"""
    c.add("Transpose", perm=[2, 0, 1])
    W, R = (c.rng.normal(size=(2, 4 * hidden, n)).astype(np.float32) / 2 for n in (n_in, hidden))
    c.add("LSTM", c.constant(W), c.constant(R), hidden_size=hidden, direction="bidirectional")
    c.add("Transpose", perm=[2, 1, 3, 0])
    c.add("Reshape", c.constant(np.array([1, 2 * hidden, -1])))


def check(c, tmp_path, *, streams=True, lengths=(1, 2, 3, 5, 40), missing=0):
    """Every length of [1, n_in, T] in a sequence of its own, and in a stream all lengths in turn."""
    model, session = load(c, tmp_path), session_of(c)
    assert model.streamable == streams
    rng, time, per = np.random.default_rng(0), c.shape.index("T"), model.frames_in
    x = rng.normal(size=[per * max(lengths) if s == "T" else s for s in c.shape]).astype(np.float32)
    frames = np.moveaxis(x[0], time - 1, 0)
    frames = np.ascontiguousarray(frames).reshape(max(lengths), *model.inputs["x"].shape)
    stream = model.stream() if streams else None
    given = 0
    for n in lengths:
        if n <= missing:
            continue
        want = session.run(None, {"x": x.take(np.arange(per * n), time)})[0]
        whole = model.run(frames[:n])
        np.testing.assert_allclose((whole[-1] if streams else whole).ravel(), want.ravel(), atol=2e-5, rtol=1e-5)
        if stream is not None:
            so_far = stream.run(frames[given:n])[-1]
            given = n
            if model.latency:
                so_far = model.stream(stream.snapshot()).flush()[-1]
            assert so_far.tobytes() == whole[-1].tobytes()
    return model


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("keep", [0, 1])
def test_behind_a_cell(op, keep, tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    c.add("Softplus")
    reduce(c, op, [2], keepdims=keep)
    c.add("Tanh")
    check(c, tmp_path)


@pytest.mark.parametrize("op", OPS)
def test_behind_a_layer_that_needs_all(op, tmp_path):
    c = Chain(1, 4, "T")
    bidirectional(c, 4, 3)
    c.add("Softplus")
    reduce(c, op, [-1], keepdims=0)
    c.add("MatMul", c.constant(c.rng.normal(size=(6, 2)).astype(np.float32)))
    check(c, tmp_path, streams=False)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("axes", [[1, 2], [2, 1, 0]])
def test_over_elements_of_a_frame_too(op, axes, tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    reduce(c, op, axes, keepdims=1)
    check(c, tmp_path)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_pools_over_all_of_time(op, tmp_path):
    c = Chain(1, 4, "T")
    c.conv(3, 4, 3, pads=[2, 0])
    c.gru(3, 5)
    c.add(op)
    c.add("Flatten")
    check(c, tmp_path)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
def test_behind_what_leaves_frames_out(op, tmp_path):
    """The first frames have no rows: nothing is counted for them."""
    c = Chain(1, 4, "T")
    c.conv(3, 4, 3)
    c.add("Sub", c.constant(np.float32(50)))
    reduce(c, op, [2], keepdims=0)
    model = check(c, tmp_path, missing=2)
    assert any("the model gives none for the first 2 frames" in line for line in model.graph.notes)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
def test_behind_look_ahead(op, tmp_path):
    """Frames of a flush, which hold what a bias makes of zeros, are not counted."""
    c = Chain(1, 4, "T")
    c.conv(3, 4, 5, pads=[2, 2])
    c.add("Softplus")
    reduce(c, op, [2], keepdims=0)
    assert check(c, tmp_path).latency == 2


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
def test_behind_strides(op, tmp_path):
    """Several rows in a frame."""
    c = Chain(1, 4, "T")
    c.conv(6, 4, 4, strides=[4])
    c.add("Sigmoid")
    W = c.rng.normal(size=(6, 3, 2)).astype(np.float32)
    c.add("ConvTranspose", c.constant(W), strides=[2])
    reduce(c, op, [2], keepdims=0)
    assert check(c, tmp_path).frames_in == 4


def test_a_mean_that_comes_back_to_the_frames_needs_all_of_them(tmp_path):
    """Squeeze and excitation over time: each frame is scaled by what later ones hold."""
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    frames = c.last
    reduce(c, "ReduceMean", [2], keepdims=1)
    c.add("Sigmoid")
    c.add("Mul", frames)
    with pytest.raises(UnsupportedError, match="shapes="):
        load(c, tmp_path)
    assert load(c, tmp_path, shapes={"x": [1, 4, 9]}).inputs["x"].shape == (4, 9)


def test_what_no_register_keeps_is_refused(tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    reduce(c, "ReduceProd", [2])
    with pytest.raises(UnsupportedError, match=r"ReduceProd node .* works along axis 2 of .*, which is time"):
        load(c, tmp_path)


def attention(c, how, n, scale=1.0):
    """[1, n, T] -> a sum of the frames, weighed by a softmax over time of what a dense layer makes of each."""
    x = c.last
    c.opset = 18
    c.add("Transpose", perm=[0, 2, 1])
    rows = c.last
    c.add("MatMul", c.constant(scale * c.rng.normal(size=(n, 3 if how == "heads" else 1)).astype(np.float32)))
    if how == "sum":
        c.add("Softmax", axis=1)
        c.add("Mul", rows)
        return c.add("ReduceSum", c.constant(np.array([1])), keepdims=0)
    if how == "heads":
        c.add("Transpose", perm=[0, 2, 1])
        c.add("Softmax", axis=2)
        return c.add("MatMul", rows)
    if how == "columns":
        c.add("Softmax", axis=1)
        return c.add("MatMul", c.last, of=[x])
    if how == "einsum":
        c.add("Squeeze", c.constant(np.array([2])))
        c.add("Softmax", axis=-1)
        return c.add("Einsum", rows, equation="bt,bth->bh")
    c.add("Softmax", axis=1)  # each channel for itself, and a factor besides
    c.add("Mul", rows)
    c.add("Mul", rows)
    return c.add("ReduceSum", c.constant(np.array([1, 2])), keepdims=1)


@pytest.mark.parametrize("how", ["sum", "heads", "columns", "einsum", "squares"])
@pytest.mark.parametrize("before", ["cell", "backwards", "late", "ahead"])
def test_a_softmax_over_time_weighs_frames(how, before, tmp_path):
    c = Chain(1, 4, "T")
    if before == "cell":
        c.gru(4, 5)
    elif before == "backwards":
        bidirectional(c, 4, 3)
    else:
        c.conv(5, 4, 3, pads=[1, 1] if before == "ahead" else [0, 0])
    attention(c, how, 6 if before == "backwards" else 5, scale=4.0)
    check(c, tmp_path, streams=before != "backwards", missing=2 * (before == "late"))


def test_scores_of_any_size_overflow_nothing(tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    attention(c, "sum", 5, scale=300.0)
    check(c, tmp_path)


@pytest.mark.parametrize("use", ["Sigmoid", "output", "two"])
def test_shares_that_are_not_summed_up_are_refused(use, tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    c.add("Softmax", axis=2)
    if use == "Sigmoid":
        c.add("Sigmoid")
    if use == "two":
        c.add("Mul", c.last)
    said = (
        "is a softmax over time" if use == "output" else f"{'Mul' if use == 'two' else use} node .* softmax over time"
    )
    with pytest.raises(UnsupportedError, match=said):
        load(c, tmp_path)


def test_padding_in_front_counts_in_a_mean_and_is_refused(tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    c.pad(0, 0, 2, 0, 0, 0)
    reduce(c, "ReduceMean", [2])
    with pytest.raises(UnsupportedError, match="begins with padding"):
        load(c, tmp_path)


def test_a_slice_of_time_is_no_mean_of_all(tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (3, END, 2)))
    reduce(c, "ReduceMean", [2])
    session = session_of(c)
    model = load(c, tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 4, 30)).astype(np.float32)
    want = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(model.run(x[0].T)[-1].ravel(), want.ravel(), atol=1e-5)


def test_ten_million_frames(tmp_path):
    """float32 alone would be off by 9 %."""
    c = Chain(1, 1, "T")
    c.add("CumSum", c.constant(np.array(2, np.int64)))
    sums, n = load(c, tmp_path).stream(), 10**5
    c = Chain(1, 1, "T")
    c.gru(1, 1)
    c.add("Mul", c.constant(np.float32(0)))
    c.add("Add", "x")
    reduce(c, "ReduceMean", [2])
    means = load(c, tmp_path).stream()
    X = np.full((n, 1), 0.1, np.float32)
    for _ in range(100):
        total, mean = sums.run(X)[-1].item(), means.run(X)[-1].item()
    assert abs(total / (100 * n * float(X[0, 0])) - 1) < 1e-6
    assert abs(mean / float(X[0, 0]) - 1) < 1e-6


@pytest.mark.parametrize(
    "op, first",
    [
        *[(op, None) for op in ("ReduceSum", "ReduceL2", "ReduceLogSumExp")],
        *[(op, -4) for op in ("ReduceMean", "ReduceMax")],
    ],
)
def test_of_a_file_of_fixed_sizes_what_may_need_their_number_is_of_clips(op, first, tmp_path):
    """A sum of all timesteps may be divided by their number afterwards; the last timesteps are no frames so far."""
    c = Chain(1, 4, 12)
    c.gru(4, 5)
    if first is not None:
        c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (first, END, 2)))
    reduce(c, op, [2], keepdims=0)
    with pytest.warns(undertow.ModelWarning, match="goes through the rows of each frame"):
        clip = load(c, tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 4, 12)).astype(np.float32)
    want = session_of(c).run(None, {"x": x})[0]
    np.testing.assert_allclose(clip.run(x).ravel(), want.ravel(), atol=1e-5)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_of_a_file_of_fixed_sizes_means_go_on(op, tmp_path):
    c = Chain(1, 4, 12)
    c.gru(4, 5)
    reduce(c, op, [2], keepdims=0)
    x = np.random.default_rng(0).normal(size=(1, 4, 12)).astype(np.float32)
    want = session_of(c).run(None, {"x": x})[0]
    np.testing.assert_allclose(load(c, tmp_path).run(x[0].T)[-1].ravel(), want.ravel(), atol=1e-5)


# -- of booleans and whole numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceSum"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2], [1, 2], [1]])
def test_any_all_and_how_many(op, keep, axes, tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    c.add("Greater", c.constant(np.float32(0.05)))
    c.add("Cast", to=TensorProto.INT64)
    reduce(c, op, axes, keepdims=keep)
    c.add("Cast", to=TensorProto.FLOAT)
    if 2 in axes:
        check(c, tmp_path)
    else:
        model, x = load(c, tmp_path), np.random.default_rng(0).normal(size=(1, 4, 9)).astype(np.float32)
        want = session_of(c).run(None, {"x": x})[0]
        np.testing.assert_array_equal(model.run(np.ascontiguousarray(x[0].T)).ravel(), np.moveaxis(want, -1, 0).ravel())


def test_a_bool_of_all_that_came(tmp_path):
    """torch's any() in operator set 20: ReduceMax of booleans."""
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    c.add("Less", c.constant(np.float32(-0.1)))
    reduce(c, "ReduceMax", [2], keepdims=0)
    c.opset = 20
    c.add("Not")
    c.add("Cast", to=TensorProto.FLOAT)
    check(c, tmp_path)


# -- variance ---------------------------------------------------------------------------------------------------------


def variance(c, op="ReduceMean", square="Mul", keep=0):
    x = c.last
    mean = reduce(c, "ReduceMean", [2], keepdims=1)
    apart = c.add("Sub", of=[x, mean])
    c.add("Mul", of=[apart, apart]) if square == "Mul" else c.add("Pow", c.constant(np.float32(2)))
    return reduce(c, op, [2], keepdims=keep)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_variance_of_what_came_so_far(op, square, keep, tmp_path):
    c = Chain(1, 4, "T")
    c.gru(4, 5)
    variance(c, op, square, keep)
    check(c, tmp_path)


def test_a_standard_deviation_as_torch_writes_it(tmp_path):
    """The mean of squares times n over n - 1: of one timestep it is no number."""
    c = Chain(1, 4, "T")
    x = c.gru(4, 5)
    variance(c)
    spread = c.last
    c.add("Shape", of=[x])
    c.add("Gather", c.constant(np.array([2])))
    reduce(c, "ReduceProd", [0], keepdims=0)
    n = c.add("Cast", to=TensorProto.FLOAT)
    c.add("Mul", n, of=[spread])
    less = c.add("Sub", c.constant(np.float32(1)), of=[n])
    c.add("Div", less, of=[c.nodes[-2].output[0]])
    c.add("Sqrt")
    check(c, tmp_path)


@pytest.mark.parametrize("make", ["behind a layer that needs all", "behind a convolution", "behind a stride"])
def test_variances_elsewhere(make, tmp_path):
    c = Chain(1, 4, "T")
    streams, missing = True, 0
    if make == "behind a layer that needs all":
        bidirectional(c, 4, 3)
        streams = False
    elif make == "behind a convolution":
        c.conv(3, 4, 3)
        missing = 2
    else:
        c.conv(3, 4, 4, strides=[2], pads=[1, 1])
    variance(c)
    check(c, tmp_path, streams=streams, missing=missing)


def test_mean_and_deviation_together(tmp_path):
    """Statistics pooling."""
    c = Chain(1, 4, "T")
    x = c.gru(4, 5)
    variance(c)
    deviation = c.add("Sqrt")
    mean = reduce(c, "ReduceMean", [2], keepdims=0, of=[x])
    c.add("Concat", deviation, of=[mean], axis=1)
    check(c, tmp_path)


def test_a_variance_far_from_zero_is_one_after_a_million_frames(tmp_path):
    """Sums of squares would have nothing left of it in float32."""
    c = Chain(1, 1, "T")
    variance(c)
    model = load(c, tmp_path)
    x = (100 + np.random.default_rng(0).normal(size=(10**6, 1))).astype(np.float32)
    np.testing.assert_allclose(model.run(x)[-1].item(), x.astype(np.float64).var(), rtol=1e-5)


OF_DEVIATIONS = {
    "each timestep less the mean": lambda c, apart: c.add("Relu", of=[apart]),
    "their size": lambda c, apart: reduce(c, "ReduceMean", [2], of=[c.add("Abs", of=[apart])]),
    "their squares alone": lambda c, apart: c.add("Mul", of=[apart, apart]),
    "their squares over more": lambda c, apart: reduce(c, "ReduceMean", [1, 2], of=[c.add("Mul", of=[apart, apart])]),
    "the differences alone": lambda c, apart: apart,
}


@pytest.mark.parametrize("case", OF_DEVIATIONS)
def test_what_else_takes_a_mean_away_is_refused(case, tmp_path):
    c = Chain(1, 4, "T")
    x = c.gru(4, 5)
    mean = reduce(c, "ReduceMean", [2], keepdims=1)
    OF_DEVIATIONS[case](c, c.add("Sub", of=[x, mean]))
    with pytest.raises(UnsupportedError, match=r"known only at the end|known with the last timestep"):
        load(c, tmp_path)


def test_a_mean_of_something_else_is_refused(tmp_path):
    c = Chain(1, 4, "T")
    x = c.gru(4, 5)
    c.add("Tanh")
    mean = reduce(c, "ReduceMean", [2], keepdims=1)
    apart = c.add("Sub", of=[x, mean])
    c.add("Mul", of=[apart, apart])
    reduce(c, "ReduceMean", [2])
    with pytest.raises(UnsupportedError, match="known only at the end"):
        load(c, tmp_path)
