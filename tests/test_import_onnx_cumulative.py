# SPDX-License-Identifier: MIT
"""Sums, counts and differences along time in ONNX models: registers of a stream, which gives what ONNX Runtime does."""

import numpy as np
import pytest

import strides
import undertow
from onnx_files import FLOAT, INT64, Chain, graph_of, node, numpy_helper, save, session_of
from strides import arange, cumsum, length, load
from strides import check_timesteps as check
from undertow.errors import UnsupportedError


def sums_of(X, exclusive=False):
    """(T, ...) in float64."""
    total = np.cumsum(X.astype(np.float64), axis=0)
    return total - X if exclusive else total


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize(("shape", "axis"), [((1, 3, "T"), 2), ((1, 3, "T"), -1), ((1, "T", 3), 1), ((1, "T"), 1)])
def test_sums(shape, axis, exclusive, tmp_path):
    c = Chain(*shape)
    cumsum(c, axis, exclusive=exclusive)
    model = check(c, tmp_path)
    X = np.random.default_rng(0).normal(size=(200, *next(iter(model.inputs.values())).shape)).astype(np.float32)
    np.testing.assert_allclose(model.run(X), sums_of(X, exclusive), atol=1e-4)
    # What rounding takes from a sum goes into the next term; ONNX Runtime adds one float32 to the next.
    sizes = np.cumsum(np.abs(X, dtype=np.float64), axis=0)
    assert (np.abs(model.run(X) - sums_of(X, exclusive)) <= 2.0**-23 * sizes).all()
    x = np.moveaxis(X[None], 1, shape.index("T"))
    expected = np.moveaxis(session_of(c).run(None, {"x": x})[0][0], shape.index("T") - 1, 0)
    np.testing.assert_allclose(model.run(X), expected, atol=1e-5)


def test_many_streams_each_with_its_sum(tmp_path):
    c = Chain("N", 3, "T")
    cumsum(c, 2)
    c.add("Tanh")
    model = load(c, tmp_path)
    X = np.random.default_rng(1).normal(size=(5, 40, 3)).astype(np.float32)
    expected = np.moveaxis(session_of(c).run(None, {"x": np.moveaxis(X, 1, 2)})[0], 2, 1)
    alone = np.stack([model.run(x) for x in X])
    np.testing.assert_allclose(alone, expected, atol=1e-6)
    np.testing.assert_allclose(expected, np.tanh(np.cumsum(X.astype(np.float64), axis=1)), atol=1e-5)
    pool = model.pool(5)
    ids = pool.open(5)
    rows = np.stack([pool.step(ids, np.ascontiguousarray(X[:, t])) for t in range(40)], axis=1)
    assert rows.tobytes() == alone.tobytes()


def test_a_count_for_all_of_a_batch(tmp_path):
    """Ones as large as the input, whose batch is open too."""
    c = Chain("N", 3, "T")
    sums = cumsum(c, 2)
    ones_like(c, "x")
    cumsum(c, 2)
    c.add("Div", c.last, of=[sums])
    model = load(c, tmp_path)
    X = np.random.default_rng(1).normal(size=(4, 30, 3)).astype(np.float32)
    expected = np.moveaxis(session_of(c).run(None, {"x": np.moveaxis(X, 1, 2)})[0], 2, 1)
    np.testing.assert_allclose(np.stack([model.run(x) for x in X]), expected, atol=1e-6)


def test_behind_look_ahead(tmp_path):
    """Frames before the first and after the last, which hold what biases make of zeros, are not summed up."""
    for exclusive in (0, 1):
        c = Chain(1, 4, "T")
        c.conv(3, 4, 3, pads=[1, 1])
        c.add("Sigmoid")
        cumsum(c, 2, exclusive=exclusive)
        c.conv(3, 3, 5, pads=[2, 2])
        check(c, tmp_path, latency=3)


def test_behind_what_leaves_frames_out(tmp_path):
    c = Chain(1, 4, "T")
    c.conv(3, 4, 3)
    c.add("Sigmoid")
    cumsum(c, 2)
    check(c, tmp_path, missing=2)


def test_a_moving_sum_of_differences(tmp_path):
    """sums[t] - sums[t - 4], with zeros in front."""
    c = Chain(1, 2, "T")
    sums = cumsum(c, 2)
    c.pad(0, 0, 4, 0, 0, 0)
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (0, -4, 2)))
    c.add("Sub", of=[sums, c.last])
    check(c, tmp_path)


@pytest.mark.parametrize("exclusive", [0, 1])
def test_zeros_in_front_stay_zeros(exclusive, tmp_path):
    c = Chain(1, 2, "T")
    c.pad(0, 0, 2, 0, 0, 0)
    cumsum(c, 2, exclusive=exclusive)
    c.conv(3, 2, 3)
    check(c, tmp_path)


def test_products_by_way_of_logarithms(tmp_path):
    c = Chain(1, 2, "T")
    c.add("Sigmoid")
    c.add("Log")
    cumsum(c, 2)
    c.add("Exp")
    model = check(c, tmp_path)
    X = np.random.default_rng(2).normal(size=(9, 2)).astype(np.float32)
    np.testing.assert_allclose(model.run(X), np.cumprod(1 / (1 + np.exp(-X.astype(np.float64))), axis=0), rtol=1e-5)


@pytest.mark.parametrize("exclusive", [0, 1])
def test_several_timesteps_in_a_frame(exclusive, tmp_path):
    """Before a stride, and behind it, where a transposed convolution multiplies the rows again."""
    c = Chain(1, 2, "T")
    cumsum(c, 2, exclusive=exclusive)
    c.conv(3, 2, 4, strides=[2], pads=[1, 1])
    c.add("Tanh")
    cumsum(c, 2)
    c.conv(4, 3, 6, strides=[3], pads=[2, 1])
    strides.check(c, tmp_path, 6, 1)


def test_rows_that_the_first_frame_lacks(tmp_path):
    c = Chain(1, 2, "T")
    c.conv(3, 2, 2)
    cumsum(c, 2)
    c.conv(4, 3, 3, strides=[2])
    strides.check(c, tmp_path, 2, 1, missing=1, n=(2, 3, 5, 40))


# -- counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Gather", "Slice"])
def test_a_running_mean(op, tmp_path):
    """torch.cumsum(x, -1) / torch.arange(1, T + 1)"""
    c = Chain(1, 3, "T")
    sums = cumsum(c, 2)
    c.add("Div", arange(c, "x", 2, op=op), of=[sums])
    model = check(c, tmp_path)
    X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    expected = np.cumsum(X.astype(np.float64), axis=0) / np.arange(1, 301)[:, None]
    np.testing.assert_allclose(model.run(X), expected, atol=1e-5)


def ones_like(c, of):
    shape = c.add("Shape", of=[of])
    one = numpy_helper.from_array(np.ones(1, np.float32))
    return c.add("ConstantOfShape", of=[shape], value=one)


@pytest.mark.parametrize("kind", ["ones like", "expand", "reciprocal", "last axis", "exclusive"])
def test_a_running_mean_by_other_counts(kind, tmp_path):
    c = Chain(1, 3, "T") if kind != "last axis" else Chain(1, "T", 3)
    axis = c.shape.index("T")
    sums = cumsum(c, axis)
    if kind == "ones like":
        ones_like(c, "x")
        cumsum(c, 2)
        c.add("Div", c.last, of=[sums])
    elif kind == "exclusive":
        ones_like(c, "x")
        cumsum(c, 2, exclusive=1)
        c.add("Add", c.constant(np.float32(1)))
        c.add("Div", c.last, of=[sums])
    elif kind == "expand":
        n = length(c, "x", 2)
        c.add("Unsqueeze", c.constant(np.array([0], np.int64)), of=[n])
        c.add("Expand", c.last, of=[c.constant(np.ones(1, np.int64))])
        cumsum(c, 0)
        c.add("Cast", to=FLOAT)
        c.add("Div", c.last, of=[sums])
    elif kind == "reciprocal":
        arange(c, "x", 2)
        c.add("Reciprocal")
        c.add("Reshape", c.constant(np.array([1, 1, -1], np.int64)))
        c.add("Mul", c.last, of=[sums])
    else:
        arange(c, "x", 1, start=0)
        c.add("Add", c.constant(np.float32(1)))
        c.add("Unsqueeze", c.constant(np.array([0, 2], np.int64)))
        c.add("Div", c.last, of=[sums])
    check(c, tmp_path)


def test_cumulative_layer_norm(tmp_path):
    """Conv-TasNet's: mean and variance over channels and all timesteps so far."""
    c = Chain(1, 4, "T")
    c.conv(6, 4, 1)
    c.add("PRelu", c.constant(np.full((1, 1), 0.25, np.float32)))
    x = c.last
    count = c.add("Unsqueeze", c.constant(np.array([0, 1], np.int64)), of=[arange(c, x, 2, 6, 6)])
    c.add("ReduceSum", c.constant(np.array([1], np.int64)), of=[x])
    mean = c.add("Div", count, of=[cumsum(c, 2)])
    c.add("Mul", x, of=[x])
    c.add("ReduceSum", c.constant(np.array([1], np.int64)))
    powers = c.add("Div", count, of=[cumsum(c, 2)])
    c.add("Mul", mean, of=[mean])
    c.add("Sub", c.last, of=[powers])
    c.add("Add", c.constant(np.float32(1e-3)))
    deviation = c.add("Sqrt")
    c.add("Sub", mean, of=[x])
    c.add("Div", deviation, of=[c.last])
    c.add("Mul", c.constant(np.linspace(0.5, 2, 6, dtype=np.float32).reshape(1, 6, 1)))
    normed = c.last
    model = check(c, tmp_path)
    weights = {w.name: numpy_helper.to_array(w).astype(np.float64) for w in c.weights}
    X = np.random.default_rng(3).normal(size=(120, 4)).astype(np.float32)
    y = X.astype(np.float64) @ weights["w0"][:, :, 0].T + weights["w1"]
    y = np.where(y < 0, 0.25 * y, y)
    counts = 6 * np.arange(1, 121)[:, None]
    means = np.cumsum(y.sum(1, keepdims=True), 0) / counts
    variance = np.cumsum((y**2).sum(1, keepdims=True), 0) / counts - means**2
    expected = (y - means) / np.sqrt(variance + 1e-3) * np.linspace(0.5, 2, 6)
    np.testing.assert_allclose(model.run(X), expected, atol=1e-4)
    assert normed == c.last


def test_counts_behind_look_ahead(tmp_path):
    """The first timestep is number 1, however late it comes."""
    c = Chain(1, 4, "T")
    x = c.conv(3, 4, 5, pads=[2, 2])
    sums = cumsum(c, 2)
    c.add("Div", arange(c, x, 2), of=[sums])
    c.conv(3, 3, 3, pads=[1, 1])
    check(c, tmp_path, latency=3)


def test_counts_of_what_leaves_frames_out(tmp_path):
    c = Chain(1, 4, "T")
    x = c.conv(3, 4, 4)
    sums = cumsum(c, 2)
    c.add("Div", arange(c, x, 2), of=[sums])
    check(c, tmp_path, missing=3)


def test_counts_of_rows_of_a_frame(tmp_path):
    """Each of the timesteps that a stride takes together has its number, and so has the one that comes of them."""
    c = Chain(1, 2, "T")
    sums = cumsum(c, 2)
    c.add("Div", arange(c, "x", 2), of=[sums])
    x = c.conv(3, 2, 4, strides=[2], pads=[1, 1])
    sums = cumsum(c, 2)
    c.add("Div", arange(c, x, 2), of=[sums])
    strides.check(c, tmp_path, 2, 1)


def test_a_count_that_stops(tmp_path):
    """Nobody may take min(t, 9) for t, because 7 timesteps, or 11, look like it."""
    c = Chain(1, 3, "T")
    arange(c, "x", 2)
    c.add("Min", c.constant(np.float32(9)))
    c.add("Mul", c.last, of=["x"])
    check(c, tmp_path)


def test_a_position_as_a_channel(tmp_path):
    c = Chain(1, 3, "T")
    arange(c, "x", 2, start=0)
    c.add("Mul", c.constant(np.float32(0.1)))
    c.add("Sin")
    c.add("Unsqueeze", c.constant(np.array([0, 1], np.int64)))
    c.add("Concat", c.last, of=["x"], axis=1)
    c.conv(4, 4, 3, pads=[2, 0])
    check(c, tmp_path)


def test_counts_beyond_what_float32_holds(tmp_path):
    """The float32 next to the true number: an addition of 1 would stay at 2^24 for ever."""
    c = Chain(1, 1, "T")
    zeros = c.add("Mul", c.constant(np.float32(0)))
    c.add("Add", arange(c, "x", 2), of=[zeros])
    stream = load(c, tmp_path).stream()
    for high in (1, 4095, 4096, 2**20):
        stream.state["timestep_1.high"] = np.float32([high])
        stream.state["timestep_1.low"] = np.float32([4094])
        first = high * 4096 + 4094
        Y = stream.run(np.zeros((6, 1), np.float32))[:, 0]
        np.testing.assert_array_equal(Y, (first + 1 + np.arange(6, dtype=np.int64)).astype(np.float32))


def test_counts_are_never_guessed(tmp_path):
    """Times that are a share of the length, and whole numbers that are no progression by their formula."""
    c = Chain(1, 3, "T")
    count = arange(c, "x", 2)
    total = c.add("Cast", of=[length(c, "x", 2)], to=FLOAT)
    c.add("Div", total, of=[count])
    c.add("Mul", c.last, of=["x"])
    with pytest.raises(UnsupportedError, match="the result depends on the number of timesteps"):
        load(c, tmp_path)
    c = Chain(1, 3, "T")
    arange(c, "x", 2)
    c.add("Mul", c.constant(np.float32(0.5)))
    c.add("Cast", to=INT64)
    c.add("Cast", to=FLOAT)
    c.add("Mul", c.last, of=["x"])
    with pytest.raises(UnsupportedError, match="Mul node 'Mul_10': a constant differs between timesteps"):
        load(c, tmp_path)


@pytest.mark.parametrize(("step", "fits"), [(4000, True), (5000, False)])
def test_counts_in_large_steps(step, fits, tmp_path):
    """A part of the number times the step must be exact in float32."""
    c = Chain(1, 1, "T")
    zeros = c.add("Mul", c.constant(np.float32(0)))
    c.add("Add", arange(c, "x", 2, start=0, step=step), of=[zeros])
    if not fits:
        with pytest.raises(UnsupportedError, match="a constant differs between timesteps"):
            load(c, tmp_path)
        return
    Y = load(c, tmp_path).run(np.zeros((9000, 1), np.float32))[:, 0]
    np.testing.assert_array_equal(Y, (step * np.arange(9000, dtype=np.int64)).astype(np.float32))


INTEGERS = {
    "the number halved": lambda c: c.add("Div", c.constant(np.array(2, np.int64))),
    "beyond 2^24": lambda c: c.add("Add", c.constant(np.array(2**24 + 1, np.int64))),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_that_no_frame_counts(name, tmp_path):
    """Whole numbers are refused where frames of float32 would give others."""
    c = Chain(1, 3, "T")
    arange(c, "x", 2)
    c.nodes.pop()  # the Cast
    c.last = c.nodes[-1].output[0]
    INTEGERS[name](c)
    c.add("Cast", to=FLOAT)
    c.add("Mul", c.last, of=["x"])
    with pytest.raises(UnsupportedError, match="a constant differs between timesteps"):
        load(c, tmp_path)


def test_numbers_of_timesteps_ahead(tmp_path):
    """Longer than the sequence, and cut again: look-ahead, and zeros behind the end."""
    c = Chain(1, 3, "T")
    arange(c, "x", 2)
    c.nodes.pop()  # the Cast
    c.last = c.nodes[-1].output[0]
    c.add("Concat", c.constant(np.array([0, 0], np.int64)), axis=0)
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (2, 2**31 - 1, 0)))
    c.add("Cast", to=FLOAT)
    c.add("Mul", c.last, of=["x"])
    check(c, tmp_path, latency=2)


def test_sums_of_the_next_frames(tmp_path):
    c = Chain(1, 2, "T")
    c.pad(0, 0, -1, 0, 0, 1)
    cumsum(c, 2)
    check(c, tmp_path, latency=1)


def test_sums_of_a_part_are_summed_up(tmp_path):
    """One tenth for each timestep."""
    c = Chain(1, 3, "T")
    ones_like(c, "x")
    c.add("Mul", c.constant(np.float32(0.1)))
    cumsum(c, 2)
    c.add("Mul", c.last, of=["x"])
    model = load(c, tmp_path)
    X = np.random.default_rng(4).normal(size=(500, 3)).astype(np.float32)
    expected = X * np.cumsum(np.full((500, 1), np.float32(0.1), np.float64), axis=0)
    np.testing.assert_allclose(model.run(X), expected, rtol=2e-7)
    np.testing.assert_allclose(expected.T, session_of(c).run(None, {"x": X.T[None]})[0][0], rtol=1e-5)


def test_a_table_of_the_length_of_the_file_is_no_count(tmp_path):
    """Where time is fixed nothing tells what comes after it: the file is a clip of so many timesteps."""
    c = Chain(1, 3, 10)
    c.conv(3, 3, 3, pads=[2, 0])
    c.add("Mul", c.constant(np.arange(10, dtype=np.float32)))
    model = load(c, tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 3, 10)).astype(np.float32)
    np.testing.assert_allclose(model.run(x), session_of(c).run(None, {"x": x})[0], atol=1e-5)
    assert not model.graph.states


def test_refused(tmp_path):
    c = Chain(1, 2, "T")
    cumsum(c, 2, reverse=1)
    with pytest.raises(UnsupportedError, match=r"CumSum node 'CumSum_1': attribute reverse=1 along axis 2"):
        load(c, tmp_path)
    c = Chain(1, 2, "T")
    c.pad(0, 0, 0, 0, 0, 2)
    cumsum(c, 2)
    c.conv(3, 2, 3)
    with pytest.raises(UnsupportedError, match=r"CumSum node 'CumSum_2': sums up timesteps -1 to"):
        load(c, tmp_path)


@pytest.mark.parametrize("along", ["a constant", "time"])
def test_an_axis_that_is_an_array_of_one(along, tmp_path):
    """As torch's exporter writes it, and ONNX Runtime takes it."""
    nodes = [node("CumSum", "ones axis" if along == "a constant" else "x axis", "sums"), node("Add", "x sums", "y")]
    weights = {"ones": np.ones((1, 1, 4), np.float32), "axis": np.array([2 if along == "a constant" else 0])}
    path = save(graph_of(nodes, {"x": ["time", 1, 4]}, {"y": None}, weights), tmp_path)
    X = np.random.default_rng(2).normal(size=(9, 1, 4)).astype(np.float32)
    (expected,) = session_of(path).run(None, {"x": X})
    np.testing.assert_allclose(undertow.load(path).run(X[:, 0]), expected[:, 0], atol=1e-6)
