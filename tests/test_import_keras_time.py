# SPDX-License-Identifier: MIT
"""Layers of Keras that change how many timesteps there are: convolutions without padding, cropping, clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import layer, sequential, streamed, write_h5
from tolerances import FLOAT32_MODEL
from undertow import ShapeError, UnsupportedError
from undertow.cli._words import in_shell

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # Keras's own

T = 20


@pytest.fixture(scope="module")
def keras() -> Any:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    return pytest.importorskip("keras", reason="keras is not installed: pip install keras")


def saved(keras: Any, model: Any, path: Path) -> Path:
    """Biases get numbers of their own: what stands before the first frame is seen then."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(4)
    model.set_weights([w + rng.normal(0, 0.3, w.shape).astype(w.dtype) for w in model.get_weights()])
    model.save(path)
    return path


def behind_padding(k: Any) -> list[Any]:
    return [k.ZeroPadding1D((2, 1)), k.Conv1D(4, 7, activation="sigmoid"), k.SimpleRNN(3, return_sequences=True)]


#: name -> (frames that are missing, layers)
SHORTER: dict[str, tuple[int, Any]] = {
    "one": (4, lambda k: [k.Conv1D(6, 5), k.LSTM(4, return_sequences=True), k.Dense(2)]),
    "dilated, two": (8, lambda k: [k.Conv1D(6, 4, dilation_rate=2), k.Conv1D(3, 3), k.GRU(4, return_sequences=True)]),
    "separable": (2, lambda k: [k.SeparableConv1D(6, 3), k.GRU(4, return_sequences=True, reset_after=False)]),
    "depthwise": (2, lambda k: [k.DepthwiseConv1D(3), k.SimpleRNN(4, return_sequences=True)]),
    "a cell, and again": (
        6,
        lambda k: [
            k.Conv1D(6, 5),
            k.LSTM(4, return_sequences=True),
            k.Conv1D(3, 3, activation="sigmoid"),
            k.GRU(3, return_sequences=True),
        ],
    ),
    "cells in a row": (3, lambda k: [k.Conv1D(6, 4), k.RNN([k.LSTMCell(3), k.GRUCell(4)], return_sequences=True)]),
    "padded behind": (  # zeros stand before the first frame that is there
        4,
        lambda k: [
            k.Conv1D(6, 5, activation="sigmoid"),
            k.Conv1D(3, 3, padding="causal"),
            k.LSTM(2, return_sequences=True),
        ],
    ),
    "looking ahead behind": (
        4,
        lambda k: [
            k.Conv1D(6, 5, activation="sigmoid"),
            k.Conv1D(3, 4, padding="same"),
            k.LSTM(2, return_sequences=True),
        ],
    ),
    "partly padded": (3, behind_padding),
    "cropped": (3, lambda k: [k.LSTM(4, return_sequences=True), k.Cropping1D((3, 0)), k.GRU(2, return_sequences=True)]),
    "pools that move on by one": (
        3,
        lambda k: [
            k.MaxPooling1D(3, strides=1),
            k.AveragePooling1D(2, strides=1),
            k.MaxPooling1D(3, strides=1, padding="same"),
            k.GRU(3, return_sequences=True),
        ],
    ),
    "pictures": (
        2,
        lambda k: [
            k.Reshape((-1, 4, 2)),
            k.Conv2D(3, 3, padding="valid"),
            k.TimeDistributed(k.Flatten()),
            k.LSTM(4, return_sequences=True),
        ],
    ),
}


@pytest.mark.parametrize("name", SHORTER)
def test_first_frames_that_are_missing(keras: Any, name: str, tmp_path: Path) -> None:
    """Frame t is the one that ends with timestep t; no cell has moved before the first one that Keras gives."""
    missing, layers = SHORTER[name]
    model = keras.Sequential([keras.layers.Input((None, 8)), *layers(keras.layers)])
    ours = undertow.load(saved(keras, model, tmp_path / "m.keras"))
    X = np.random.default_rng(5).normal(size=(T, 8)).astype(np.float32)
    want = np.asarray(model(X[None]).detach())[0]
    assert len(want) == T - missing
    assert f"the model gives none for the first {missing} frames" in ours.source
    np.testing.assert_allclose(ours.run(X)[missing:], want, rtol=0, atol=FLOAT32_MODEL)
    np.testing.assert_allclose(streamed(ours, X)[missing:], want, rtol=0, atol=FLOAT32_MODEL)


def test_branches_that_pool_around_each_timestep(keras: Any, tmp_path: Path) -> None:
    """As in InceptionTime: windows look ahead, and what is not there counts as nothing, even where all is negative."""
    k = keras.layers
    y = x = k.Input((None, 4))
    for _ in range(2):
        pooled = k.Conv1D(2, 1, use_bias=False)(k.MaxPooling1D(3, strides=1, padding="same")(y))
        convolved = [k.Conv1D(2, n, padding="same", use_bias=False)(y) for n in (5, 3)]
        y = k.Activation("relu")(k.BatchNormalization()(k.Concatenate()([pooled, *convolved])))
    model = keras.Model(x, k.Dense(2)(k.GlobalAveragePooling1D()(y)))
    ours = undertow.load(saved(keras, model, tmp_path / "m.keras"))
    X = np.random.default_rng(12).normal(-5, 1, size=(T, 4)).astype(np.float32)
    want = np.asarray(model(X[None]).detach())[0]
    np.testing.assert_allclose(streamed(ours, X)[-1], want, rtol=0, atol=FLOAT32_MODEL)
    for name, pool in (("MaxPooling1D", k.MaxPooling1D), ("AveragePooling1D", k.AveragePooling1D)):
        model = keras.Model(x, pool(5, strides=1, padding="same")(x))
        ours = undertow.load(saved(keras, model, tmp_path / "m.keras"))
        want = np.asarray(model(X[None]).detach())[0]
        np.testing.assert_allclose(streamed(ours, X), want, rtol=0, atol=FLOAT32_MODEL, err_msg=name)


def test_the_last_frame_of_what_is_left(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    model = keras.Sequential([k.Input((None, 8)), k.Conv1D(6, 5), k.LSTM(4), k.Dense(2)])
    ours = undertow.load(saved(keras, model, tmp_path / "m.keras"))
    X = np.random.default_rng(6).normal(size=(T, 8)).astype(np.float32)
    np.testing.assert_allclose(
        streamed(ours, X)[-1], np.asarray(model(X[None]).detach())[0], rtol=0, atol=FLOAT32_MODEL
    )


def test_a_shortcut_is_cut_to_the_same_length(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x = k.Input((None, 6))
    y = k.Add()([k.Conv1D(6, 4, activation="tanh")(x), k.Cropping1D((3, 0))(x)])
    y = k.Concatenate()([k.GRU(3, return_sequences=True)(y), y])
    model = keras.Model(x, k.Dense(2)(y))
    ours = undertow.load(saved(keras, model, tmp_path / "m.keras"))
    X = np.random.default_rng(7).normal(size=(T, 6)).astype(np.float32)
    want = np.asarray(model(X[None]).detach())[0]
    np.testing.assert_allclose(streamed(ours, X)[3:], want, rtol=0, atol=FLOAT32_MODEL)


@pytest.mark.parametrize(
    "layers",
    [
        lambda k: [k.Conv1D(16, 12, strides=12, padding="same"), k.Conv1D(8, 6, strides=3), k.LSTM(6), k.Dense(1)],
        lambda k: [k.Conv1D(6, 5), k.MaxPooling1D(2), k.Bidirectional(k.LSTM(4)), k.Dense(3, activation="softmax")],
        lambda k: [k.Conv1D(6, 5), k.GlobalAveragePooling1D(), k.Dense(3)],
        lambda k: [k.LSTM(4, return_sequences=True), k.Flatten(), k.Dense(3)],
        lambda k: [k.Conv1D(6, 5), k.Bidirectional(k.GRU(4, return_sequences=True)), k.UpSampling1D(2), k.GRU(3)],
    ],
    ids=["strides", "pool", "mean of what is left", "flattened", "backwards behind a convolution"],
)
def test_what_mixes_time_is_a_clip_where_the_model_fixes_its_size(keras: Any, layers: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Input((100, 2)), *layers(keras.layers)])
    ours = undertow.load(saved(keras, model, tmp_path / "m.keras"))
    assert "the whole clip is one frame, for " in ours.source
    X = np.random.default_rng(8).normal(size=(3, 100, 2)).astype(np.float32)
    np.testing.assert_allclose(ours.run(X), np.asarray(model(X).detach()), rtol=0, atol=FLOAT32_MODEL)


def test_a_declared_length_that_strides_streams_where_it_is_said_to(keras: Any, tmp_path: Path) -> None:
    """As a clip, its cell forgets each frame: the line that the warning gives makes a stream of it, of any length."""
    k = keras.layers
    layers = [k.Conv1D(4, 3, padding="causal"), k.MaxPooling1D(2), k.LSTM(4, return_sequences=True), k.Dense(2)]
    model = keras.Sequential([k.Input((24, 3), name="x"), *layers])
    path = saved(keras, model, tmp_path / "m.keras")
    with pytest.warns(
        undertow.ModelWarning, match=r"to be streamed, say so with shapes=\{'x': \[1, None, 3\]\}; if"
    ) as said:
        clip = undertow.load(path)
    assert "say so with --shape x=1,?,3; if a frame is a whole clip" in in_shell(str(said[0].message))
    ours = undertow.load(path, shapes={"x": (1, None, 3)})
    assert (ours.frames_in, ours.frames_out, ours.latency, clip.frames_in) == (2, 1, 0, 1)
    X = np.random.default_rng(10).normal(size=(24, 3)).astype(np.float32)
    want = np.asarray(model(X[None]).detach())[0]
    np.testing.assert_allclose(clip.run(X[None])[0], want, rtol=0, atol=FLOAT32_MODEL)
    np.testing.assert_allclose(streamed(ours, X), want, rtol=0, atol=FLOAT32_MODEL)
    for shape in ((1, None), (1, None, None), (2, None, 3), (1, 24, None), (1, None, 4), (None, 24, 3)):
        with pytest.raises(ShapeError, match="expected a batch of 1, and None for a time axis alone"):
            undertow.load(path, shapes={"x": shape})


def test_a_clip_that_cannot_stream_is_not_said_to(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    layers = [k.LSTM(4, return_sequences=True), k.Flatten(), k.Dense(2)]
    path = saved(keras, keras.Sequential([k.Input((24, 3), name="x"), *layers]), tmp_path / "m.keras")
    with pytest.warns(undertow.ModelWarning, match=r"to be streamed, let axis 1 of the model's input be open \(None\)"):
        undertow.load(path)


def test_what_streams_stays_a_stream(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    model = keras.Sequential([k.Input((30, 8)), k.Conv1D(6, 5), k.LSTM(4), k.Dense(2)])
    ours = undertow.load(saved(keras, model, tmp_path / "m.keras"))
    assert "clip" not in ours.source
    assert ours.graph.shape(ours.graph.inputs[0]) == (8,)


def open_time(cls: str, **settings: Any) -> dict[str, Any]:
    return layer(cls, "c", **settings, batch_input_shape=[None, None, 3])


def test_a_convolution_without_padding_by_hand(tmp_path: Path) -> None:
    """Without Keras: y_t = tanh(sum over k of W[k] x_{t-2+k}), then h_t = tanh(V y_t + U h_{t-1}) from t = 2 on."""
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    rng = np.random.default_rng(9)
    W, b = rng.normal(size=(3, 3, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    V, U = rng.normal(size=(4, 2)).astype(np.float32), rng.normal(size=(2, 2)).astype(np.float32)
    table = sequential(
        open_time("Conv1D", filters=4, kernel_size=[3], strides=[1], padding="valid", activation="tanh", use_bias=True),
        layer("SimpleRNN", "r", units=2, activation="tanh", use_bias=False, return_sequences=True),
    )
    arrays = {
        "c": [("c/kernel:0", W), ("c/bias:0", b)],
        "r": [("r/kernel:0", V), ("r/recurrent_kernel:0", U)],
    }
    ours = undertow.load(write_h5(tmp_path / "m.h5", table, arrays))
    X = rng.normal(size=(T, 3)).astype(np.float32)
    h, want = np.zeros(2), []
    for t in range(2, T):
        y = np.tanh(np.einsum("kc,kcm->m", X[t - 2 : t + 1].astype(np.float64), W) + b)
        h = np.tanh(y @ V + h @ U)
        want.append(h)
    np.testing.assert_allclose(streamed(ours, X)[2:], want, rtol=0, atol=FLOAT32_MODEL)


@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (lambda k: k.Bidirectional(k.LSTM(3)), "runs backwards over time of which the first 4 frames are missing"),
        (lambda k: k.GlobalAveragePooling1D(), "time of which the first 4 frames are missing"),
    ],
    ids=["backwards", "mean"],
)
def test_what_needs_the_frames_that_are_missing(keras: Any, behind: Any, message: str, tmp_path: Path) -> None:
    k = keras.layers
    model = keras.Sequential([k.Input((None, 8)), k.Conv1D(6, 5), behind(k)])
    with pytest.raises(UnsupportedError, match=message):
        undertow.load(saved(keras, model, tmp_path / "m.keras"))


def test_inputs_of_different_lengths(keras: Any, tmp_path: Path) -> None:
    """With a fixed size Keras itself refuses them; one of unknown size it finds out when it runs."""
    k = keras.layers
    x = k.Input((None, 6))
    model = keras.Model(x, k.Add()([k.Conv1D(6, 4)(x), x]))
    with pytest.raises(UnsupportedError, match=r"the first \[3, 0\] frames are missing"):
        undertow.load(saved(keras, model, tmp_path / "m.keras"))
