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


def by_loops(x, W, b, dilation, padding, groups):
    """The frames that PyTorch gives, in float64; causal is `same` with all zeros in front."""
    window, taken, n_out = W.shape
    reach = (window - 1) * dilation
    before, after = {"causal": (reach, 0), "same": (reach // 2, reach - reach // 2), "valid": (0, 0)}.get(
        padding, (padding, padding)
    )
    padded = np.concatenate([np.zeros((before, x.shape[1])), x, np.zeros((after, x.shape[1]))])
    y = np.zeros((max(0, len(padded) - reach), n_out))
    for t in range(len(y)):
        for m in range(n_out):
            first = m // (n_out // groups) * taken
            for k in range(window):
                y[t, m] += W[k, :, m] @ padded[t + k * dilation, first : first + taken]
    return y + b


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
    torch = pytest.importorskip("torch")
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
    keras = pytest.importorskip("keras")
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
