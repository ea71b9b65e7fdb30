# SPDX-License-Identifier: MIT
"""Conv1D along time: against PyTorch and Keras where they are installed, and a definition by loops."""

import numpy as np
import pytest

import undertow
from undertow import GRU, Conv1D

SETTINGS = [
    # window, channels, outputs, dilation, padding, groups, latency
    (3, 4, 6, 1, "causal", 1, 0),
    (3, 4, 6, 1, "same", 1, 1),
    (4, 4, 6, 1, "same", 1, 2),
    (3, 4, 6, 2, "same", 2, 2),
    (3, 4, 4, 1, 1, 4, 1),
    (3, 4, 8, 2, 0, 4, 0),
    (5, 4, 6, 1, "valid", 2, 0),
    (5, 4, 6, 1, 1, 1, 1),
    (1, 4, 6, 1, "causal", 1, 0),
]


def by_loops(x, W, b, dilation, padding, groups, stride=1):
    """The frames that PyTorch gives, in float64; causal is `same` with all zeros in front. With a stride, `same` is
    Keras's, for a whole number of strides."""
    window, taken, n_out = W.shape
    reach = (window - 1) * dilation
    same = max(0, reach + 1 - stride)
    before, after = {"causal": (reach, 0), "same": (same // 2, same - same // 2), "valid": (0, 0)}.get(
        padding, (padding, padding)
    )
    padded = np.concatenate([np.zeros((before, x.shape[1])), x, np.zeros((after, x.shape[1]))])
    y = np.zeros((max(0, len(padded) - reach), n_out))
    for t in range(len(y)):
        for m in range(n_out):
            first = m // (n_out // groups) * taken
            for k in range(window):
                y[t, m] += W[k, :, m] @ padded[t + k * dilation, first : first + taken]
    return (y + b)[::stride]


@pytest.mark.parametrize("case", SETTINGS, ids=str)
def test_conv1d(case):
    window, channels, n_out, dilation, padding, groups, latency = case
    rng = np.random.default_rng(0)
    W = rng.normal(size=(window, channels // groups, n_out)).astype(np.float32)
    b = rng.normal(size=n_out).astype(np.float32)
    model = undertow.Sequential([Conv1D(W, b, dilation=dilation, padding=padding, groups=groups)])
    assert model.latency == latency
    for T in (1, 3, 9, 60):
        x = rng.normal(size=(T, channels)).astype(np.float32)
        expected = by_loops(x, W, b, dilation, padding, groups)
        np.testing.assert_allclose(model.run(x)[T - len(expected) :], expected, atol=1e-5)
        stream = model.stream()
        rows = np.concatenate([*(stream.step(f)[None] for f in x), stream.flush()])
        assert rows[latency:].tobytes() == np.ascontiguousarray(model.run(x)).tobytes()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", [c for c in SETTINGS if c[4] != "causal"], ids=str)
def test_from_torch(case):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    window, channels, n_out, dilation, padding, groups, _ = case
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(channels, n_out, window, dilation=dilation, padding=padding, groups=groups)
    layer = Conv1D.from_torch(conv.state_dict(), dilation=dilation, padding=padding, groups=groups)
    x = np.random.default_rng(1).normal(size=(20, channels)).astype(np.float32)
    with torch.no_grad():
        expected = conv(torch.from_numpy(x.T.copy())[None])[0].T.numpy()
    got = undertow.Sequential([layer]).run(x)
    np.testing.assert_allclose(got[len(x) - len(expected) :], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("padding", ["causal", "same", "valid"])
def test_from_keras(padding):
    keras = pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")
    layer = keras.layers.Conv1D(6, 4, padding=padding, dilation_rate=2, activation="tanh")
    x = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(layer(x[None]))[0]
    arrays = {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}
    ours = Conv1D.from_keras(arrays, dilation=2, padding=padding, activation="tanh")
    got = undertow.Sequential([ours]).run(x)
    np.testing.assert_allclose(got[len(x) - len(expected) :], expected, atol=1e-5)


def test_in_front_of_a_cell():
    rng = np.random.default_rng(2)
    conv = Conv1D(rng.normal(size=(3, 4, 6)), padding="same", activation="relu")
    cell = GRU(rng.normal(size=(3, 5, 6)) * 0.4, rng.normal(size=(3, 5, 5)) * 0.4, reset_after=True)
    model = undertow.Sequential([conv, cell])
    assert model.latency == 1
    x = rng.normal(size=(30, 4)).astype(np.float32)
    middle = undertow.Sequential([conv]).run(x)
    expected = undertow.Sequential([cell]).run(np.ascontiguousarray(middle))
    assert np.array_equal(model.run(x), expected)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"padding": 2}, undertow.UnsupportedError, "more frames than there are"),
        ({"padding": "reflect"}, ValueError, "padding is 'reflect'"),
        ({"padding": -1}, ValueError, "padding is -1"),
        ({"dilation": 0}, ValueError, "dilation is 0"),
        ({"groups": 4}, ValueError, "groups is 4"),
    ],
)
def test_what_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Conv1D(np.ones((3, 2, 6)), **settings)
    with pytest.raises(undertow.ShapeError, match="expected \\(window"):
        Conv1D(np.ones((3, 2)))


STRIDES = [
    # window, stride, dilation, padding, groups, latency
    (4, 2, 1, "causal", 1, 0),
    (4, 2, 1, "same", 1, 1),
    (5, 3, 1, "same", 2, 1),
    (3, 4, 1, "same", 1, 0),
    (4, 4, 1, "valid", 1, 0),
    (8, 4, 1, 2, 1, 1),
    (9, 4, 1, 0, 1, 0),
    (10, 5, 1, "valid", 1, 0),
    (3, 2, 3, 3, 4, 1),
    (3, 2, 1, 0, 1, 0),
    (1, 3, 1, "causal", 1, 0),
]


@pytest.mark.parametrize("case", STRIDES, ids=str)
def test_strides(case):
    window, stride, dilation, padding, groups, latency = case
    rng = np.random.default_rng(0)
    W = rng.normal(size=(window, 4 // groups, 8)).astype(np.float32)
    b = rng.normal(size=8).astype(np.float32)
    layer = Conv1D(W, b, dilation=dilation, stride=stride, padding=padding, groups=groups)
    model = undertow.Sequential([layer])
    assert (model.frames_in, model.frames_out, model.latency) == (stride, 1, latency)
    for T in (1, 2, 5, 60):
        x = rng.normal(size=(T * stride, 4)).astype(np.float32)
        expected = by_loops(x, W, b, dilation, padding, groups, stride)
        reach, p = (window - 1) * dilation, {"valid": 0}.get(padding, padding)
        missing = 0 if isinstance(p, str) else -((2 * p - reach - 1) // stride) - 1
        assert len(expected) == max(0, T - missing)
        np.testing.assert_allclose(model.run(x)[T - len(expected) :], expected, atol=1e-5)
        stream = model.stream()
        rows = np.concatenate([*(stream.step(f)[None] for f in x.reshape(T, stride, 4)), stream.flush()])
        assert rows[latency:].tobytes() == model.run(x).tobytes()


def test_several_strides_and_a_cell():
    """Two layers with strides, one without between them, and what is behind them takes one timestep a frame."""
    rng = np.random.default_rng(1)
    kernels = [rng.normal(size=shape).astype(np.float32) / 3 for shape in ((5, 2, 4), (3, 4, 4), (4, 4, 6))]
    biases = [rng.normal(size=k.shape[2]).astype(np.float32) for k in kernels]
    cell = GRU(rng.normal(size=(3, 5, 6)) * 0.4, rng.normal(size=(3, 5, 5)) * 0.4, reset_after=True)
    first, second, third = (
        Conv1D(W, b, activation="tanh", **settings)
        for W, b, settings in zip(
            kernels, biases, ({"stride": 2, "steps": 3}, {"steps": 3, "padding": "same"}, {"stride": 3}), strict=True
        )
    )
    model = undertow.Sequential([first, second, third, cell])
    assert (model.frames_in, model.frames_out, model.latency) == (6, 1, 1)
    x = rng.normal(size=(54, 2)).astype(np.float32)
    y = np.tanh(by_loops(x, kernels[0], biases[0], 1, "causal", 1, 2))
    y = np.tanh(by_loops(y, kernels[1], biases[1], 1, "same", 1))
    y = np.tanh(by_loops(y, kernels[2], biases[2], 1, "causal", 1, 3))
    expected = undertow.Sequential([cell]).run(y.astype(np.float32))
    np.testing.assert_allclose(model.run(x), expected, atol=1e-5)
    inner = undertow.Sequential([first, second])
    assert (inner.frames_in, inner.frames_out) == (6, 3)
    assert inner.run(x).shape == (27, 4)
    with pytest.raises(undertow.ShapeError, match=r"takes frames of shape \(3, 4\)"):
        undertow.Sequential([Conv1D(kernels[0], stride=2), Conv1D(kernels[1], stride=3)])
    with pytest.raises(undertow.ShapeError, match="a multiple of 6"):
        model.run(x[:53])


@pytest.mark.parametrize("padding", [0, 1])
def test_strides_from_torch(padding):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    conv = torch.nn.Conv1d(3, 5, 4, stride=2, padding=padding)
    layer = Conv1D.from_torch(conv.state_dict(), stride=2, padding=padding)
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    expected = conv(torch.from_numpy(x.T[None].copy())).detach().numpy()[0].T
    np.testing.assert_allclose(undertow.Sequential([layer]).run(x)[20 - len(expected) :], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("padding", ["causal", "same", "valid"])
def test_strides_from_keras(padding):
    keras = pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")
    layer = keras.layers.Conv1D(6, 5, padding=padding, strides=3, activation="tanh")
    x = np.random.default_rng(1).normal(size=(30, 2)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(layer(x[None]))[0]
    arrays = {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}
    ours = Conv1D.from_keras(arrays, stride=3, padding=padding, activation="tanh")
    np.testing.assert_allclose(undertow.Sequential([ours]).run(x)[10 - len(expected) :], expected, atol=1e-5)
