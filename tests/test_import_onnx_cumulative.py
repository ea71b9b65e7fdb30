# SPDX-License-Identifier: MIT
"""Sums, counts and differences along time in ONNX models: registers of a stream, which gives what ONNX Runtime does."""

import numpy as np
import pytest

from undertow.errors import UnsupportedError

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

import strides  # noqa: E402
from strides import Chain, load, session_of  # noqa: E402


def cumsum(c, axis, **attrs):
    return c.add("CumSum", c.constant(np.array(axis, np.int64)), **attrs)


def check(c, tmp_path, latency=0, missing=0, **options):
    """Whole, step by step, in chunks, proposed, restored, in the float64 reference; see strides.check."""
    model = strides.check(c, tmp_path, 1, 1, missing, **options)
    assert model.latency == latency
    return model


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
    # ONNX Runtime adds one float32 to the next as well, so not a bit differs.
    x = np.moveaxis(X[None], 1, shape.index("T"))
    expected = np.moveaxis(session_of(c).run(None, {"x": x})[0][0], shape.index("T") - 1, 0)
    np.testing.assert_array_equal(model.run(X), expected)


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
