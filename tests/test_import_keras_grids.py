# SPDX-License-Identifier: MIT
"""Convolution, pooling and recurrences inside a frame, and convolution along time, against Keras itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import check, layer, sequential, write_h5
from tolerances import FLOAT32_CELL, FLOAT32_MODEL
from undertow import FormatError, ShapeError, UnsupportedError
from undertow.importers import keras as importer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # Keras's own

T = 12


@pytest.fixture(scope="module")
def keras() -> Any:
    pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    return pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")


def models(keras: Any) -> dict[str, tuple[tuple[int | None, ...], list[Any]]]:
    """Name -> shape of the input without its batch, layers."""
    k, td = keras.layers, keras.layers.TimeDistributed
    return {
        "beat tracker": (
            (None, 20, 1),
            [
                td(k.Conv1D(2, 5, activation="relu")),
                td(k.MaxPooling1D(2)),
                td(k.Flatten()),
                k.Dense(6, activation="tanh"),
                k.LSTM(5, return_sequences=True),
                k.Dense(3),
            ],
        ),
        "pictures": (
            (None, 9, 8, 2),
            [
                td(k.Conv2D(3, (3, 2), strides=(2, 1), padding="same", activation="elu")),
                td(k.BatchNormalization()),
                td(k.DepthwiseConv2D(3, depth_multiplier=2, padding="valid")),
                td(k.AveragePooling2D(3, strides=1, padding="same")),
                td(k.GlobalMaxPooling2D()),
                k.GRU(4, return_sequences=True),
            ],
        ),
        "separable": (
            (None, 15, 4),
            [
                td(k.SeparableConv1D(6, 3, depth_multiplier=2, activation="softmax")),
                td(k.Conv1D(4, 3, dilation_rate=2, groups=2, padding="same", use_bias=False)),
                td(k.DepthwiseConv1D(2, strides=2)),
                td(k.GlobalAveragePooling1D(keepdims=True)),
                td(k.Flatten()),
                k.SimpleRNN(3, return_sequences=True),
            ],
        ),
        "edges": (
            (None, 6, 5, 2),
            [
                td(k.ZeroPadding2D(((1, 2), (0, 3)))),
                td(k.Conv2D(3, 2, dilation_rate=(2, 1))),
                td(k.Cropping2D(((1, 0), (2, 1)))),
                td(k.UpSampling2D((2, 1))),
                td(k.Permute((2, 1, 3))),
                td(k.LayerNormalization()),
                td(k.Reshape((-1, 6))),
                td(k.Dense(4, activation="relu")),
                td(k.ZeroPadding1D(1)),
                td(k.UpSampling1D(2)),
                td(k.Cropping1D((1, 2))),
                td(k.MaxPooling1D(3, strides=2, padding="same")),
                td(k.Flatten()),
                k.Dense(3),
            ],
        ),
        "over frequency": (
            (None, 7, 3),
            [
                td(k.Bidirectional(k.GRU(4, return_sequences=True))),
                td(k.LSTM(5, go_backwards=True, return_sequences=True)),
                td(k.Bidirectional(k.LSTM(2), merge_mode="sum")),
                k.GRU(3, return_sequences=True, reset_after=False),
            ],
        ),
        "causal": (
            (None, 5),
            [
                k.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu"),
                k.ZeroPadding1D((1, 0)),
                k.Conv1D(4, 2),
                k.ZeroPadding1D((2, 0)),
                k.DepthwiseConv1D(3),
                k.Conv1D(4, 1, padding="same", activation="tanh"),
                k.LSTM(5, return_sequences=True),
            ],
        ),
        "causal pictures": (
            (None, 10, 1),
            [
                k.ZeroPadding2D(((2, 0), (0, 0))),
                k.Conv2D(3, 3, strides=(1, 2), activation="relu"),
                k.MaxPooling2D((1, 2)),
                k.BatchNormalization(),
                td(k.Flatten()),
                k.GRU(4, return_sequences=True),
            ],
        ),
        "means so far": ((None, 5), [k.LSTM(4, return_sequences=True), k.GlobalAveragePooling1D(), k.Dense(2)]),
        "maxima so far": ((None, 5), [k.Dense(4), k.GlobalMaxPooling1D(), k.Dense(2)]),
    }


NAMES = [
    "beat tracker", "pictures", "separable", "edges", "over frequency", "causal", "causal pictures", "means so far",
    "maxima so far",
]  # fmt: skip


def build(keras: Any, shape: tuple[int | None, ...], layers: list[Any]) -> Any:
    """A model whose norms and biases have numbers of their own."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Input(shape), *layers])
    rng = np.random.default_rng(4)
    model.set_weights([np.abs(w + rng.normal(0, 0.2, w.shape)) if w.ndim == 1 else w for w in model.get_weights()])
    return model


def test_the_list_is_complete(keras: Any) -> None:
    assert list(models(keras)) == NAMES


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", NAMES)
def test_models_equal_keras(keras: Any, name: str, suffix: str, tmp_path: Path) -> None:
    shape, layers = models(keras)[name]
    model = build(keras, shape, layers)
    path = tmp_path / f"m.{suffix}"
    model.save(path)
    X = np.random.default_rng(5).normal(size=(T, *shape[1:])).astype(np.float32)
    want = np.asarray(model(X[None]).detach())[0]
    graph = importer.load(path)
    check(graph, {graph.inputs[0]: X}, {next(iter(graph.outputs)): want}, FLOAT32_MODEL, label=name)


def test_looking_ahead_is_latency(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    layers = [
        k.Conv1D(4, 4, padding="same", activation="tanh"),
        k.GRU(3, return_sequences=True),
        k.Conv1D(2, 3, padding="same"),
    ]
    model = build(keras, (None, 5), layers)
    model.save(tmp_path / "m.keras")
    X = np.random.default_rng(6).normal(size=(T, 5)).astype(np.float32)
    want = np.asarray(model(X[None]).detach())[0]
    ours = undertow.load(tmp_path / "m.keras")
    assert ours.latency == 3  # 2 frames of the window of 4, 1 of the window of 3
    whole = ours.run(X)
    np.testing.assert_allclose(whole, want, rtol=0, atol=FLOAT32_MODEL)
    stream = ours.stream()
    rows = [stream.step(x).copy() for x in X]
    np.testing.assert_array_equal(np.concatenate([np.stack(rows), stream.flush()])[3:], whole)


def test_clips_are_one_frame(keras: Any, tmp_path: Path) -> None:
    """Strides and pools over time, a GRU over what is left, one score: with sizes fixed it is all one frame."""
    k = keras.layers
    x = k.Input((None, 12, 1), name="clip")
    y = k.Conv2D(3, 3, strides=2, activation="relu")(x)
    y = k.MaxPooling2D((2, 1))(y)
    y = k.Reshape((-1, 15))(y)
    y = k.Bidirectional(k.GRU(4, return_sequences=True))(y)
    y = k.TimeDistributed(k.Dense(5, activation="tanh"))(y)
    y = k.Concatenate()([k.GlobalAveragePooling1D()(y), k.GlobalMaxPooling1D()(y), k.LSTM(3)(y)])
    model = keras.Model(x, k.Dense(1)(y))
    model.save(tmp_path / "m.keras")
    X = np.random.default_rng(7).normal(size=(4, 21, 12, 1)).astype(np.float32)
    want = np.asarray(model(X).detach())
    ours = undertow.load(tmp_path / "m.keras", shapes={"clip": (1, 21, 12, 1)})
    np.testing.assert_allclose(ours.run(X), want, rtol=0, atol=FLOAT32_MODEL)  # four clips are four frames
    with pytest.raises(UnsupportedError, match=r"1 outputs fewer, where 2 are in a frame.*shapes="):
        undertow.load(tmp_path / "m.keras")
    with pytest.raises(ShapeError, match="shapes= says"):
        undertow.load(tmp_path / "m.keras", shapes={"clip": (1, 21, 13, 1)})
    with pytest.raises(ShapeError, match="shapes= names 'other'"):
        importer.load(tmp_path / "m.keras", shapes={"clip": (1, 21, 12, 1), "other": (1,)})


def test_a_kernel_of_keras_2_by_hand(tmp_path: Path) -> None:
    """What lies where, without Keras: kernel (window, channels, filters), depthwise (window, channels, multiplier)."""
    pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    rng = np.random.default_rng(8)
    W, b = rng.normal(size=(3, 2, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    D = rng.normal(size=(2, 4, 2)).astype(np.float32)
    conv = layer(
        "Conv1D", "c", filters=4, kernel_size=[3], strides=[1], padding="valid", activation="relu", use_bias=True
    )
    depth = layer("DepthwiseConv1D", "d", kernel_size=[2], depth_multiplier=2, padding="valid", use_bias=False)
    table = sequential(
        layer("TimeDistributed", "tc", layer=conv, batch_input_shape=[None, None, 9, 2]),
        layer("TimeDistributed", "td", layer=depth),
    )
    arrays = {"tc": [("tc/kernel:0", W), ("tc/bias:0", b)], "td": [("td/depthwise_kernel:0", D)]}
    graph = importer.load(write_h5(tmp_path / "m.h5", table, arrays))
    X = rng.normal(size=(T, 9, 2)).astype(np.float32)
    inner = np.stack([np.einsum("tkc,kcm->tm", X[:, i : i + 3].astype(np.float64), W) + b for i in range(7)], axis=1)
    inner = np.maximum(inner, 0)
    want = np.stack([np.einsum("tkc,kcm->tcm", inner[:, i : i + 2], D).reshape(T, 8) for i in range(6)], axis=1)
    check(graph, {graph.inputs[0]: X}, {"td": want}, 4 * FLOAT32_CELL)


CONV = {"filters": 2, "kernel_size": [3], "batch_input_shape": [None, None, 3], "activation": "linear"}
POOL = {"pool_size": [2], "strides": [2], "batch_input_shape": [None, None, 3]}
REFUSED = [
    (layer("Conv1D", "c", **CONV, padding="causal", strides=[5000]), UnsupportedError, "strides of 5000 along time"),
    (layer("Conv1D", "c", **CONV, data_format="channels_first"), UnsupportedError, "data_format"),
    (layer("Conv1D", "c", **CONV, padding="reflect"), UnsupportedError, "padding = 'reflect'"),
    (layer("Conv1D", "c", **CONV, groups=2), FormatError, "groups = 2 for 3 channels"),
    (layer("Conv1D", "c", **{**CONV, "kernel_size": [3, 3]}), FormatError, "kernel_size must be 1 whole numbers"),
    (layer("Conv1D", "c", **{**CONV, "kernel_size": [10**9]}), FormatError, "kernel_size"),
    (layer("Conv1D", "c", **{**CONV, "kernel_size": [1 << 24]}, padding="causal"), UnsupportedError, "16777216 frames"),
    (
        layer("MaxPooling1D", "p", pool_size=9000, strides=1, batch_input_shape=[None, 20000], padding="valid"),
        UnsupportedError,
        "expected 1",
    ),
    (
        layer(
            "TimeDistributed",
            "t",
            layer=layer("MaxPooling1D", "p", pool_size=2000, strides=1),
            batch_input_shape=[None, None, 10000, 400],
        ),
        UnsupportedError,
        "p: a tensor of 16002000 elements takes more memory",
    ),
    (layer("Conv2D", "c", **{**CONV, "kernel_size": [3, 3]}), UnsupportedError, r"frames of shape \(3,\)"),
    (layer("Conv1D", "c", **CONV, padding="causal", extra=1), UnsupportedError, "extra = 1"),
    (layer("Conv1D", "c", **CONV, padding="causal"), ShapeError, r"expected kernel \(3, 3, 2\), bias \(2,\)"),
    (layer("MaxPooling1D", "p", **{**POOL, "strides": [3]}), UnsupportedError, "pool_size = 2 and strides = 3 along"),
    (layer("Cropping1D", "p", cropping=[0, 1], batch_input_shape=[None, None, 3]), UnsupportedError, "behind the end"),
    (
        layer("UpSampling1D", "p", size=2, interpolation="linear", batch_input_shape=[None, None, 3]),
        UnsupportedError,
        "interpolation",
    ),
    (
        layer("ZeroPadding1D", "p", padding=[1, 0], batch_input_shape=[None, None, 3]),
        UnsupportedError,
        "ends in padding",
    ),
    (
        layer("ZeroPadding1D", "p", padding=[1, 0, 2], batch_input_shape=[None, None, 3]),
        FormatError,
        "padding must say",
    ),
    (layer("GlobalMaxPooling2D", "p", batch_input_shape=[None, None, 3]), UnsupportedError, "expected 2 axes"),
]


@pytest.mark.parametrize(("table", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_the_rest_is_refused_by_name(table: Any, error: Any, message: str, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    with pytest.raises(error, match=message):
        undertow.load(write_h5(tmp_path / "m.h5", sequential(table), {}))


def test_padding_in_time_must_be_used(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    padding = layer("ZeroPadding1D", "p", padding=[2, 0], batch_input_shape=[None, None, 3])
    for behind, message in [
        (layer("Activation", "a", activation="exponential"), "takes frames of padding in time"),
        (layer("Conv1D", "c", filters=2, kernel_size=2, padding="valid"), "behind \\(2, 0\\) frames of padding"),
        (layer("Conv1D", "c", filters=2, kernel_size=3, padding="causal"), "behind \\(2, 0\\) frames of padding"),
    ]:
        with pytest.raises(UnsupportedError, match=message):
            undertow.load(write_h5(tmp_path / "m.h5", sequential(padding, behind), {}))
