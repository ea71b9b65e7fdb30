# SPDX-License-Identifier: MIT
"""Differences along time, and padding in front that is not zeros, in ONNX models: what ONNX Runtime gives, streamed."""

import numpy as np
import pytest

import strides
from onnx_files import Chain, numpy_helper, session_of
from strides import END, cut, difference, load
from strides import check_timesteps as check
from undertow.errors import UnsupportedError


def frames(n=50, width=3):
    return np.random.default_rng(n).normal(size=(n, width)).astype(np.float32)


def test_differences(tmp_path):
    """The first frame has none."""
    c = Chain(1, 3, "T")
    difference(c)
    model = check(c, tmp_path, missing=1)
    X = frames()
    np.testing.assert_allclose(model.run(X)[1:], np.diff(X.astype(np.float64), axis=0), atol=1e-6)


def test_second_differences(tmp_path):
    c = Chain(1, 3, "T")
    difference(c, difference(c))
    model = check(c, tmp_path, missing=2)
    X = frames()
    np.testing.assert_allclose(model.run(X)[2:], np.diff(X.astype(np.float64), n=2, axis=0), atol=1e-6)


def test_differences_and_a_cell(tmp_path):
    """A cell begins where its sequence does."""
    c = Chain(1, 3, "T")
    difference(c)
    c.gru(3, 4)
    check(c, tmp_path, missing=1)


@pytest.mark.parametrize("how", ["pad", "concat", "frame", "constant", "pad behind look-ahead"])
def test_differences_behind_a_first_frame(how, tmp_path):
    c = Chain(1, 3, "T")
    x = "x"
    if how.endswith("look-ahead"):
        x = c.conv(3, 3, 3, pads=[1, 1])
    d = difference(c, x)
    first = np.zeros(3)
    if how.startswith("pad"):
        c.pad(0, 0, 1, 0, 0, 0)
    elif how == "frame":
        c.add("Concat", d, of=[cut(c, 0, 1, [x])], axis=2)
    else:
        first = np.arange(3) if how == "constant" else first
        c.add("Concat", d, of=[c.constant(first.astype(np.float32).reshape(1, 3, 1))], axis=2)
    c.add("Tanh")
    c.conv(4, 3, 2, pads=[1, 0])
    c.gru(4, 3)
    check(c, tmp_path, latency=int(how.endswith("look-ahead")))


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("how", ["zeros", "number", "edge", "first frame"])
def test_the_frame_before(how, k, tmp_path):
    """x[t] - x[t - k], of which something stands in place of what is before the first frame."""
    c = Chain(1, 3, "T")
    if how == "first frame":
        earlier, first = cut(c, 0, -k, ["x"]), cut(c, 0, 1, ["x"])
        if k > 1:
            first = c.add("Expand", c.constant(np.array([1, 3, k], np.int64)), of=[first])
        c.add("Concat", earlier, of=[first], axis=2)
    else:
        c.pad(0, 0, k, 0, 0, 0, mode="edge" if how == "edge" else "constant", value=0.5 if how == "number" else None)
        cut(c, 0, -k)
    c.add("Sub", c.last, of=["x"])
    model = strides.check(c, tmp_path, 1, 1, n=(4, 5, 40))
    X = frames().astype(np.float64)
    start = {"zeros": np.zeros((k, 3)), "number": np.full((k, 3), 0.5)}.get(how, np.repeat(X[:1], k, 0))
    np.testing.assert_allclose(model.run(frames()), X - np.concatenate([start, X[:-k]]), atol=1e-6)


def test_differences_of_a_padded_sequence(tmp_path):
    """numpy.diff(x, prepend=x[:1])"""
    c = Chain(1, 3, "T")
    difference(c, c.pad(0, 0, 1, 0, 0, 0, mode="edge"))
    check(c, tmp_path)


@pytest.mark.parametrize(
    ("pads", "kernel", "dilation", "latency"),
    [((2, 0), 3, 1, 0), ((4, 0), 3, 2, 0), ((1, 1), 3, 1, 1), ((2, 4), 4, 2, 4), ((0, 2), 3, 1, 2), ((9, 0), 10, 1, 0)],
)
@pytest.mark.parametrize("mode", ["edge", "constant"])
def test_convolutions_of_padding(mode, pads, kernel, dilation, latency, tmp_path):
    c = Chain(1, 3, "T")
    c.pad(0, 0, pads[0], 0, 0, pads[1], mode=mode, value=-0.75 if mode == "constant" else None)
    c.conv(5, 3, kernel, dilations=[dilation])
    model = check(c, tmp_path, latency)
    W, b = (np.asarray(a, np.float64) for a in weights_of(c))
    X = frames()
    padded = np.pad(
        X.astype(np.float64), (pads, (0, 0)), mode, **({"constant_values": -0.75} if mode == "constant" else {})
    )
    expected = b + sum(padded[k * dilation : k * dilation + len(X)] @ W[:, :, k].T for k in range(kernel))
    np.testing.assert_allclose(model.run(X), expected, atol=1e-5)


def weights_of(c):
    return [a for a in map(numpy_helper.to_array, c.weights) if a.dtype == np.float32 and a.ndim in (1, 3)]


def test_a_stack_of_padded_convolutions(tmp_path):
    """Every layer repeats the edges of its own sequence, those behind look-ahead too."""
    c = Chain(1, 3, "T")
    for _ in range(3):
        c.pad(0, 0, 2, 0, 0, 1, mode="edge")
        c.conv(3, 3, 4)
        c.add("Sigmoid")
    check(c, tmp_path, latency=3)


def test_a_padded_convolution_that_leaves_frames_out(tmp_path):
    """The first frame that there is stands for those before it."""
    c = Chain(1, 3, "T")
    c.conv(3, 3, 3)
    c.add("Sigmoid")
    c.pad(0, 0, 2, 0, 0, 0, mode="edge")
    c.conv(4, 3, 3)
    check(c, tmp_path, missing=2)


def test_a_learned_frame_in_front(tmp_path):
    c = Chain(1, 3, "T")
    token = c.constant(np.linspace(-1, 1, 3, dtype=np.float32).reshape(1, 3, 1))
    c.add("Concat", "x", of=[token], axis=2)
    c.conv(4, 3, 2)
    check(c, tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("mode", ["edge", "constant"])
def test_pools_of_padding(op, mode, tmp_path):
    c = Chain(1, 3, "T")
    c.pad(0, 0, 2, 0, 0, 1, mode=mode, value=0.5 if mode == "constant" else None)
    c.add(op, kernel_shape=[4])
    check(c, tmp_path, latency=1)


def test_a_picture_padded_at_all_its_edges(tmp_path):
    c = Chain(1, 2, "T", 4)
    c.pad(0, 0, 1, 1, 0, 0, 1, 1, mode="edge")
    c.conv(3, 2, 3, 3)
    check(c, tmp_path, latency=1)


def bidirectional(c, n_in, hidden):
    """[1, n_in, T] -> [T, 2 * hidden]"""
    c.add("Transpose", perm=[2, 0, 1])
    W, R = (c.rng.normal(size=(2, 3 * hidden, n)).astype(np.float32) * np.float32(0.4) for n in (n_in, hidden))
    c.add("GRU", c.constant(W), c.constant(R), hidden_size=hidden, direction="bidirectional", linear_before_reset=1)
    c.add("Transpose", perm=[0, 2, 1, 3])
    return c.add("Reshape", c.constant(np.array([-1, 2 * hidden], np.int64)))


def test_the_ends_of_both_directions_are_no_first_frame(tmp_path):
    """What a backward layer ends with is at the first timestep."""
    c = Chain(1, 3, "T")
    both = bidirectional(c, 3, 4)
    last, first = cut(c, -1, END, [both], 0), cut(c, 0, 1, [both], 0)
    forwards, backwards = cut(c, 0, 4, [last], 1), cut(c, 4, 8, [first], 1)
    c.add("Concat", backwards, of=[forwards], axis=1)
    model = load(c, tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 3, 20)).astype(np.float32)
    expected = session_of(c).run(None, {"x": x})[0]
    np.testing.assert_allclose(model.run(np.ascontiguousarray(x[0].T)), expected, atol=1e-5)
    c = Chain(1, 3, "T")
    both = bidirectional(c, 3, 4)
    last, first = cut(c, -1, END, [both], 0), cut(c, 0, 1, [both], 0)
    c.add("Concat", first, of=[last], axis=1)
    model = load(c, tmp_path)
    expected = session_of(c).run(None, {"x": x})[0]
    np.testing.assert_allclose(model.run(np.ascontiguousarray(x[0].T)).reshape(expected.shape), expected, atol=1e-5)


def test_sums_behind_a_layer_that_needs_all(tmp_path):
    """A register goes frame by frame, behind a backward layer that goes through the whole sequence before it."""
    c = Chain(1, 3, "T")
    bidirectional(c, 3, 4)
    c.add("CumSum", c.constant(np.array(0, np.int64)))
    model = load(c, tmp_path)
    assert not model.streamable
    for n in (1, 2, 20):
        x = np.random.default_rng(n).normal(size=(1, 3, n)).astype(np.float32)
        expected = session_of(c).run(None, {"x": x})[0]
        np.testing.assert_allclose(model.run(x[0].T).reshape(expected.shape), expected, atol=1e-5)


def test_differences_behind_a_layer_that_needs_all(tmp_path):
    """In Model.run."""
    c = Chain(1, 3, "T")
    both = bidirectional(c, 3, 4)
    now, before = cut(c, 1, END, [both], 0), cut(c, 0, -1, [both], 0)
    c.add("Sub", before, of=[now])
    model = load(c, tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 3, 20)).astype(np.float32)
    expected = session_of(c).run(None, {"x": x})[0]
    np.testing.assert_allclose(model.run(np.ascontiguousarray(x[0].T))[1:], expected, atol=1e-5)


def test_rows_that_repeat_are_no_padding(tmp_path):
    """Every timestep twice, as an upsampling does, before a convolution."""
    c = Chain(1, 3, "T")
    c.add("Unsqueeze", c.constant(np.array([3], np.int64)))
    c.add("Expand", c.constant(np.array([1, 3, 1, 2], np.int64)))
    c.add("Reshape", c.constant(np.array([1, 3, -1], np.int64)))
    c.conv(4, 3, 3, pads=[2, 0])
    c.conv(4, 4, 2, strides=[2])
    model = load(c, tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 3, 24)).astype(np.float32)
    expected = session_of(c).run(None, {"x": x})[0][0].T
    frames = x[0].T.reshape(-1, *next(iter(model.inputs.values())).shape)
    np.testing.assert_allclose(model.run(frames).reshape(expected.shape), expected, atol=1e-5)


def test_refused(tmp_path):
    c = Chain(1, 3, "T")
    c.pad(0, 0, 2, 0, 0, 0, mode="reflect")
    c.conv(4, 3, 3)
    with pytest.raises(UnsupportedError, match=r"Pad node 'Pad_1': pads axis 2 .* time .* mode='reflect'"):
        load(c, tmp_path)
    c = Chain(1, 3, "T")
    c.pad(0, 0, 2, 0, 0, 0, mode="edge")
    c.conv(4, 3, 4, strides=[2])
    with pytest.raises(UnsupportedError, match=r"Pad node 'Pad_1': pads axis 2 .* mode='edge' in frames of several"):
        load(c, tmp_path)
    c = Chain(1, 3, "T")
    c.pad(0, 0, 2, 0, 0, 0, value=0.5)
    c.conv(4, 3, 4, strides=[2])
    with pytest.raises(UnsupportedError, match=r"Conv node 'Conv_2': pads time .* in front .* frames of several"):
        load(c, tmp_path)
    c = Chain(1, 3, "T")
    c.pad(0, 0, 2, 0, 0, 0, mode="edge")
    c.conv(4, 3, 4, pads=[1, 0])
    with pytest.raises(UnsupportedError, match=r"Conv node 'Conv_2': .* and with zeros of its own"):
        load(c, tmp_path)
    c = Chain(1, 3, "T")
    c.pad(0, 0, 0, 0, 0, 300, mode="edge")
    c.conv(4, 3, 301)
    with pytest.raises(UnsupportedError, match=r"Conv node 'Conv_2': repeats the last frame for 300 frames"):
        load(c, tmp_path)
