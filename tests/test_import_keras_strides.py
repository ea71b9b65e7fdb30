# SPDX-License-Identifier: MIT
"""Keras models that stride along time, streamed: `frames_in` timesteps in, `frames_out` out, and what Keras gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import layer, sequential, streamed, write_h5
from tolerances import FLOAT32_MODEL
from undertow import ShapeError, UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # Keras's own

T = 48


@pytest.fixture(scope="module")
def keras() -> Any:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    return pytest.importorskip("keras", reason="keras is not installed: pip install keras")


def causal(k: Any, *settings: Any, **more: Any) -> Any:
    return k.Conv1D(*settings, padding="causal", **more)


#: name -> (timesteps in a frame, out, latency, layers)
# fmt: off
MODELS: dict[str, tuple[int, int, int, Any]] = {
    "causal": (2, 1, 0, lambda k: [
        causal(k, 6, 4, strides=2, activation="relu"), k.GRU(5, return_sequences=True), k.Dense(3)]),
    "valid": (2, 1, 0, lambda k: [k.Conv1D(6, 5, strides=2), k.LSTM(5, return_sequences=True)]),
    "patches": (4, 1, 0, lambda k: [
        k.Conv1D(6, 4, strides=4), k.LayerNormalization(), k.LSTM(5, return_sequences=True)]),
    "same, looking ahead": (2, 1, 1, lambda k: [
        k.Conv1D(6, 5, strides=2, padding="same"), k.BatchNormalization(), k.SimpleRNN(5, return_sequences=True)]),
    "a product of strides": (6, 1, 0, lambda k: [
        causal(k, 6, 5, strides=2), k.ReLU(), k.Conv1D(4, 3, strides=3, padding="same"), k.Dropout(0.1),
        k.LSTM(5, return_sequences=True), k.Dense(3, activation="softmax")]),
    "valid twice": (4, 1, 0, lambda k: [
        k.Conv1D(6, 6, strides=2), k.Conv1D(6, 4, strides=2, activation="sigmoid"), causal(k, 3, 2),
        k.GRU(4, return_sequences=True)]),
    "cells and convolutions in front": (2, 1, 0, lambda k: [
        k.LSTM(6, return_sequences=True), causal(k, 5, 3, dilation_rate=2), causal(k, 4, 5, strides=2),
        k.GRU(4, return_sequences=True, reset_after=False)]),
    "strides and dilation": (3, 1, 0, lambda k: [
        causal(k, 5, 4, strides=1, dilation_rate=5), causal(k, 4, 2, strides=3)]),
    "pools": (8, 1, 0, lambda k: [
        causal(k, 6, 3), k.MaxPooling1D(2), k.AveragePooling1D(4), k.LSTM(5, return_sequences=True)]),
    "separable": (2, 1, 1, lambda k: [
        k.SeparableConv1D(6, 4, strides=2, padding="same"), k.GRU(4, return_sequences=True)]),
    "upwards": (1, 2, 0, lambda k: [
        k.GRU(6, return_sequences=True), k.UpSampling1D(2), causal(k, 4, 3), k.TimeDistributed(k.Dense(2))]),
    "down and up": (2, 2, 0, lambda k: [
        causal(k, 4, 4, strides=2), k.GRU(4, return_sequences=True), k.UpSampling1D(2), causal(k, 3, 3),
        k.LSTM(2, return_sequences=True)]),
    "transposed": (1, 2, 1, lambda k: [
        k.GRU(6, return_sequences=True), k.Conv1DTranspose(5, 4, strides=2, padding="same"), k.Dense(2)]),
    "transposed, odd": (1, 3, 1, lambda k: [
        k.Conv1DTranspose(5, 5, strides=3, padding="same", activation="relu"), k.LSTM(4, return_sequences=True)]),
    "transposed without strides": (1, 1, 2, lambda k: [k.Conv1DTranspose(5, 5, padding="same", use_bias=False)]),
    "transposed side by side": (1, 3, 0, lambda k: [
        k.Conv1DTranspose(5, 3, strides=3), k.SimpleRNN(4, return_sequences=True)]),
    "transposed with gaps": (1, 3, 0, lambda k: [k.Conv1DTranspose(5, 2, strides=3, activation="softmax")]),
    "down and up again": (4, 2, 1, lambda k: [
        causal(k, 4, 4, strides=4), k.LSTM(4, return_sequences=True),
        k.Conv1DTranspose(3, 6, strides=2, padding="same")]),
    "transposed behind frames that are missing": (1, 2, 1, lambda k: [
        k.Conv1D(6, 3, activation="sigmoid"), k.Conv1DTranspose(5, 4, strides=2, padding="same")]),
    "pictures, up again": (2, 2, 1, lambda k: [
        k.Reshape((-1, 4, 2)), k.Conv2D(4, 3, strides=2, padding="same"),
        k.Conv2DTranspose(3, 3, strides=2, padding="same")]),
    "more out than in": (2, 3, 0, lambda k: [
        k.MaxPooling1D(2), k.UpSampling1D(3), k.SimpleRNN(3, return_sequences=True)]),
    "pictures": (4, 1, 1, lambda k: [
        k.Reshape((-1, 4, 2)), k.Conv2D(4, 3, strides=2, padding="same"), k.MaxPooling2D((2, 1)),
        k.TimeDistributed(k.Flatten()), k.LSTM(5, return_sequences=True)]),
    "pictures, turned": (2, 1, 1, lambda k: [
        k.Reshape((-1, 4, 2)), k.Conv2D(4, 3, strides=(2, 1), padding="same"), k.Permute((1, 3, 2)),
        k.Reshape((-1, 16)), k.GRU(5, return_sequences=True)]),
}
# fmt: on


def saved(keras: Any, model: Any, path: Path) -> undertow.Model:
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(4)
    model.set_weights([np.abs(w + rng.normal(0, 0.3, w.shape)) if w.ndim == 1 else w for w in model.get_weights()])
    model.save(path)
    return undertow.load(path)


def compare(keras_model: Any, ours: undertow.Model, X: np.ndarray) -> None:
    want = np.asarray(keras_model(X[None]).detach())[0]
    whole, steps = ours.run(X), streamed(ours, X)
    if ours.frames_in == 1 < ours.frames_out:  # such an X is one of frames
        whole = whole.reshape(-1, *whole.shape[2:])
    assert len(whole) == T // ours.frames_in * ours.frames_out
    missing = len(whole) - len(want)
    assert (f"gives none for the first {missing} " in ours.source) == (missing > 0)
    np.testing.assert_allclose(whole[missing:], want, rtol=0, atol=FLOAT32_MODEL)
    np.testing.assert_array_equal(steps, whole)


@pytest.mark.parametrize("name", MODELS)
def test_strides_along_time(keras: Any, name: str, tmp_path: Path) -> None:
    frames_in, frames_out, latency, layers = MODELS[name]
    model = keras.Sequential([keras.layers.Input((None, 8)), *layers(keras.layers)])
    ours = saved(keras, model, tmp_path / "m.keras")
    assert (ours.frames_in, ours.frames_out, ours.latency) == (frames_in, frames_out, latency)
    compare(model, ours, np.random.default_rng(5).normal(size=(T, 8)).astype(np.float32))


def test_a_shortcut_around_a_slower_part(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x = k.Input((None, 5))
    fast = causal(k, 4, 3, activation="relu")(x)
    slow = k.GRU(4, return_sequences=True)(causal(k, 4, 4, strides=2)(fast))
    both = k.Concatenate()([fast, k.Add()([k.UpSampling1D(2)(slow), fast])])
    model = keras.Model(x, causal(k, 3, 3)(both))
    ours = saved(keras, model, tmp_path / "m.keras")
    assert (ours.frames_in, ours.frames_out) == (2, 2)
    compare(model, ours, np.random.default_rng(6).normal(size=(T, 5)).astype(np.float32))


@pytest.mark.parametrize("shape", [(11, 8), (7, 6, 3)], ids=["line", "picture"])
def test_transposed_convolutions_of_a_clip(keras: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    k = keras.layers
    if len(shape) == 2:
        layers = [k.Conv1DTranspose(5, 5, strides=2), k.Conv1DTranspose(3, 4, strides=3, padding="same"), k.LSTM(3)]
    else:
        layers = [
            k.Conv2DTranspose(4, (3, 4), strides=(2, 3)),
            k.Conv2DTranspose(2, (5, 2), strides=(3, 1), padding="same"),
        ]
    model = keras.Sequential([k.Input(shape), *layers])
    ours = saved(keras, model, tmp_path / "m.keras")
    X = np.random.default_rng(10).normal(size=(3, *shape)).astype(np.float32)
    np.testing.assert_allclose(ours.run(X), np.asarray(model(X).detach()), rtol=0, atol=FLOAT32_MODEL)


def test_timesteps_are_not_joined(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x = k.Input((None, 5))
    slow = causal(k, 4, 4, strides=2)(x)
    model = keras.Model(x, causal(k, 3, 2, strides=2)(k.Concatenate(axis=1)([slow, slow])))
    with pytest.raises(UnsupportedError, match="axis = 1 joins timesteps"):
        saved(keras, model, tmp_path / "m.keras")


def test_ids(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x = k.Input((None,), dtype="int32")
    y = k.LSTM(5, return_sequences=True)(causal(k, 6, 2, strides=2)(k.Embedding(20, 6)(x)))
    model = keras.Model(x, k.Dense(2)(y))
    ours = saved(keras, model, tmp_path / "m.keras")
    compare(model, ours, np.random.default_rng(7).integers(0, 20, T).astype(np.int32))


def test_the_last_output(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    model = keras.Sequential([k.Input((None, 8)), causal(k, 6, 4, strides=2), causal(k, 5, 2), k.LSTM(5), k.Dense(2)])
    ours = saved(keras, model, tmp_path / "m.keras")
    X = np.random.default_rng(8).normal(size=(T, 8)).astype(np.float32)
    np.testing.assert_allclose(
        streamed(ours, X)[-1], np.asarray(model(X[None]).detach())[0], rtol=0, atol=FLOAT32_MODEL
    )


def test_a_file_keeps_what_it_says(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    model = keras.Sequential([k.Input((None, 8)), causal(k, 6, 4, strides=4), k.UpSampling1D(2)])
    saved(keras, model, tmp_path / "m.keras").save(tmp_path / "m.tow")
    again = undertow.load(tmp_path / "m.tow")
    assert (again.frames_in, again.frames_out) == (4, 2)
    with pytest.raises(ShapeError, match="expected a multiple of 4"):
        again.run(np.zeros((6, 8), np.float32))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            lambda k: [k.Conv1D(3, 6, strides=2), k.Bidirectional(k.LSTM(3))],
            "first 2 frames are missing.*shapes=",
        ),
        (lambda k: [k.Conv1D(3, 6, strides=2), k.GlobalMaxPooling1D()], "first 2 frames are missing.*shapes="),
        (lambda k: [k.Cropping1D((1, 0))], "Cropping1D .* not supported in a model that strides"),
        (lambda k: [k.MaxPooling1D(3, strides=1)], "pool_size = 3 and strides = 1 along time"),
        (lambda k: [k.Reshape((-1, 3)), k.LSTM(3)], "target_shape"),
        (lambda k: [k.Reshape((-1, 3, 2)), k.Permute((2, 1, 3))], "move the time axis"),
        (lambda k: [k.Conv1DTranspose(3, 4, strides=2)], "kernel_size = 4 and strides = 2 along time goes on behind"),
        (lambda k: [k.Conv1DTranspose(3, 4, dilation_rate=2)], "dilation_rate = 2 is not supported"),
        (lambda k: [k.UpSampling1D(5000)], r"outputs give \[5000\] timesteps in a frame"),
        (lambda k: [k.Conv1D(3, 4, strides=1)], r"padding = 'valid' gives 3 outputs fewer, where 2 are in a frame"),
    ],
)
def test_what_stays_refused(keras: Any, layers: Any, message: str, tmp_path: Path) -> None:
    """Behind a layer that makes 2 of 4 timesteps, before one that makes 1 of 2."""
    k = keras.layers
    model = keras.Sequential([k.Input((None, 8)), causal(k, 6, 4, strides=2), *layers(k)])
    if "'valid'" in message:
        model.add(causal(k, 3, 2, strides=2))
    with pytest.raises(UnsupportedError, match=message):
        saved(keras, model, tmp_path / "m.keras")


#: name -> layers of which some run backwards, or that look at all timesteps
OVER_ALL: dict[str, Any] = {
    "both ways": lambda k: [k.MaxPooling1D(2), k.Bidirectional(k.GRU(3, return_sequences=True)), k.Dense(2)],
    "both ways, upwards": lambda k: [k.UpSampling1D(2), k.Bidirectional(k.LSTM(3, return_sequences=True))],
    "both ways, summed up": lambda k: [k.UpSampling1D(3), k.Bidirectional(k.LSTM(3), merge_mode="sum"), k.Dense(2)],
    "backwards": lambda k: [k.UpSampling1D(3), k.GRU(3, go_backwards=True, return_sequences=True)],
    "backwards, the last": lambda k: [k.UpSampling1D(3), k.SimpleRNN(3, go_backwards=True)],
    "looking ahead, both ways": lambda k: [
        k.Conv1D(4, 5, strides=2, padding="same", activation="relu"),
        k.BatchNormalization(),
        k.Bidirectional(k.GRU(3, return_sequences=True)),
        k.Bidirectional(k.LSTM(2, return_sequences=True)),
        k.GlobalAveragePooling1D(),
    ],
    "mean": lambda k: [k.MaxPooling1D(2), causal(k, 4, 4, strides=2), k.GlobalAveragePooling1D(), k.Dense(2)],
    "maximum": lambda k: [k.UpSampling1D(2), k.GRU(3, return_sequences=True), k.GlobalMaxPooling1D()],
    "maximum of pictures": lambda k: [k.Reshape((-1, 4, 2)), k.MaxPooling2D(2), k.GlobalMaxPooling2D(keepdims=True)],
}


@pytest.mark.parametrize("name", OVER_ALL)
def test_all_timesteps_of_a_model_that_strides(keras: Any, name: str, tmp_path: Path) -> None:
    """Frames are turned around, and the timesteps inside of each; what is a mean of all is one so far in a stream."""
    k = keras.layers
    model = keras.Sequential([k.Input((None, 8)), *OVER_ALL[name](k)])
    ours = saved(keras, model, tmp_path / "m.keras")
    assert ours.streamable == (name in ("mean", "maximum", "maximum of pictures"))
    X = np.random.default_rng(13).normal(size=(T, 8)).astype(np.float32)
    want = np.asarray(model(X[None]).detach())[0]
    y = ours.run(X)
    if want.shape == y.shape[1:]:
        y = y[-1]
    np.testing.assert_allclose(y.reshape(want.shape), want, rtol=0, atol=FLOAT32_MODEL)
    if ours.streamable:
        np.testing.assert_allclose(streamed(ours, X)[-1], want, rtol=0, atol=FLOAT32_MODEL)


def test_a_clip_that_fails_too_leaves_the_first_error(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    pool = layer("MaxPooling1D", "p", pool_size=2, strides=2, batch_input_shape=[None, 10**7, 3])
    with pytest.raises(UnsupportedError, match="strides = 2 along time") as raised:
        undertow.load(write_h5(tmp_path / "m.h5", sequential(pool), {}))
    assert raised.type is UnsupportedError


def test_by_hand(tmp_path: Path) -> None:
    """Without Keras: y_i = W[0] x_{2i-1} + W[1] x_{2i} + b (a causal window of 2 with stride 2), then a cell."""
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    rng = np.random.default_rng(9)
    W, b = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    V, U = rng.normal(size=(4, 2)).astype(np.float32), rng.normal(size=(2, 2)).astype(np.float32)
    settings = {"filters": 4, "kernel_size": [2], "strides": [2], "padding": "causal", "activation": "linear"}
    table = sequential(
        layer("Conv1D", "c", **settings, use_bias=True, batch_input_shape=[None, None, 3]),
        layer("SimpleRNN", "r", units=2, activation="tanh", use_bias=False, return_sequences=True),
    )
    arrays = {"c": [("c/kernel:0", W), ("c/bias:0", b)], "r": [("r/kernel:0", V), ("r/recurrent_kernel:0", U)]}
    ours = undertow.load(write_h5(tmp_path / "m.h5", table, arrays))
    assert (ours.frames_in, ours.frames_out) == (2, 1)
    X = rng.normal(size=(T, 3)).astype(np.float32)
    padded, h, want = np.concatenate([np.zeros((1, 3)), X.astype(np.float64)]), np.zeros(2), []
    for i in range(T // 2):
        h = np.tanh((padded[2 * i] @ W[0] + padded[2 * i + 1] @ W[1] + b) @ V + h @ U)
        want.append(h)
    np.testing.assert_allclose(streamed(ours, X), want, rtol=0, atol=FLOAT32_MODEL)


def test_a_transposed_convolution_by_hand(tmp_path: Path) -> None:
    """Without Keras: x_j adds W[k] x_j to output 2 j + k - 1, of a window of 4 with stride 2 and padding "same"."""
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    rng = np.random.default_rng(11)
    W, b = rng.normal(size=(4, 2, 3)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    settings = {"filters": 2, "kernel_size": [4], "strides": [2], "padding": "same", "activation": "linear"}
    table = sequential(layer("Conv1DTranspose", "c", **settings, use_bias=True, batch_input_shape=[None, None, 3]))
    ours = undertow.load(write_h5(tmp_path / "m.h5", table, {"c": [("c/kernel:0", W), ("c/bias:0", b)]}))
    assert (ours.frames_in, ours.frames_out, ours.latency) == (1, 2, 1)
    X = rng.normal(size=(T, 3)).astype(np.float32)
    want = np.zeros((2 * T + 4, 2))
    for j in range(T):
        for k in range(4):
            want[2 * j + k] += W[k].astype(np.float64) @ X[j]
    np.testing.assert_allclose(streamed(ours, X), want[1 : 2 * T + 1] + b, rtol=0, atol=FLOAT32_MODEL)
