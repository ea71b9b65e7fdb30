# SPDX-License-Identifier: MIT
"""Small networks as people build them in Keras, for tests/data/generate_keras_matrix.py: each a function of Keras's
layers that gives a model. tests/test_keras_matrix.py reads what Keras made of them, without Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers as L

Model = keras.Model


def stacked_lstm() -> Model:
    return keras.Sequential(
        [
            L.Input((20, 4), name="x"),
            L.LSTM(5, return_sequences=True, dropout=0.2),
            L.Dropout(0.3),
            L.LSTM(4),
            L.Dense(3, activation="softmax"),
        ]
    )


def both_grus() -> Model:
    return keras.Sequential(
        [
            L.Input((None, 4), name="x"),
            L.GRU(5, return_sequences=True, reset_after=True),
            L.GRU(4, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid"),
            L.Dense(2),
        ]
    )


def characters() -> Model:
    return keras.Sequential(
        [
            L.Input((None,), dtype="int32", name="ids"),
            L.Embedding(12, 4),
            L.SimpleRNN(6, return_sequences=True),
            L.Dense(12, activation="softmax"),
        ]
    )


def tagger() -> Model:
    return keras.Sequential(
        [
            L.Input((None,), dtype="int32", name="ids"),
            L.Embedding(12, 4, mask_zero=True),
            L.SpatialDropout1D(0.2),
            L.Bidirectional(L.LSTM(3, return_sequences=True, recurrent_dropout=0.1)),
            L.TimeDistributed(L.Dense(5, activation="softmax")),
        ]
    )


def sentiment() -> Model:
    ids = L.Input((None,), dtype="int32", name="ids")
    h = L.Bidirectional(L.GRU(3, return_sequences=True))(L.Embedding(12, 4, mask_zero=True)(ids))
    return Model(ids, L.Dense(1, activation="sigmoid")(L.GlobalMaxPooling1D()(h)))


def keywords() -> Model:
    x = L.Input((None, 6), name="mfcc")
    h = x
    for _ in range(2):
        h = L.Conv1D(5, 3, padding="causal", use_bias=False)(h)
        h = L.ReLU()(L.BatchNormalization()(h))
    return Model(x, L.Dense(3, activation="softmax")(L.GRU(4)(h)))


def crnn() -> Model:
    x = L.Input((None, 8, 1), name="spectrogram")
    h = L.Conv2D(3, 3, padding="same", activation="relu")(x)
    h = L.MaxPooling2D((1, 2))(L.BatchNormalization()(h))
    h = L.Conv2D(2, (3, 3), padding="same", activation="elu")(h)
    h = L.TimeDistributed(L.Flatten())(h)
    return Model(x, L.Dense(4, activation="softmax")(L.Bidirectional(L.GRU(3, return_sequences=True))(h)))


def strided_speech() -> Model:
    x = L.Input((None, 4), name="x")
    h = L.Conv1D(5, 4, strides=2, padding="causal", activation="relu")(x)
    h = L.LSTM(4, return_sequences=True)(L.AveragePooling1D(2)(h))
    return Model(x, L.Dense(3)(h))


def activity() -> Model:
    """The classifier of sensors in every tutorial."""
    return keras.Sequential(
        [
            L.Input((24, 3), name="x"),
            L.Conv1D(4, 3, activation="relu"),
            L.Conv1D(4, 3, activation="relu"),
            L.Dropout(0.5),
            L.MaxPooling1D(2),
            L.LSTM(4),
            L.Dense(3, activation="softmax"),
        ]
    )


def video() -> Model:
    return keras.Sequential(
        [
            L.Input((None, 6, 6, 1), name="frames"),
            L.TimeDistributed(L.Conv2D(2, 3, activation="relu")),
            L.TimeDistributed(L.MaxPooling2D(2)),
            L.TimeDistributed(L.Flatten()),
            L.LSTM(4),
            L.Dense(2, activation="softmax"),
        ]
    )


def masked_series() -> Model:
    x = L.Input((None, 3), name="x")
    return Model(x, L.Dense(1)(L.LSTM(4)(L.LSTM(4, return_sequences=True)(L.Masking(0.0)(x)))))


def residual() -> Model:
    x = L.Input((None, 4), name="x")
    h = L.Dense(5)(x)
    for _ in range(2):
        h = L.Add()([h, L.GRU(5, return_sequences=True)(L.LayerNormalization()(h))])
    return Model(x, L.Dense(2, activation="tanh")(h))


def attention_pool() -> Model:
    x = L.Input((10, 4), name="x")
    h = L.LSTM(5, return_sequences=True)(x)
    shares = L.Softmax(axis=1)(L.Dense(1, activation="tanh")(h))
    return Model(x, L.Dense(2)(L.Flatten()(L.Dot(axes=1)([shares, h]))))


def flat_attention() -> Model:
    """Attention as it is written since 2016: scores turned into rows that weigh."""
    x = L.Input((10, 4), name="x")
    h = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
    shares = L.Activation("softmax")(L.Flatten()(L.Dense(1, activation="tanh")(h)))
    weighed = L.Multiply()([h, L.Permute([2, 1])(L.RepeatVector(6)(shares))])
    return Model(x, L.Dense(1, activation="sigmoid")(L.GlobalAveragePooling1D()(weighed)))


def translator() -> Model:
    source, target = L.Input((7,), dtype="int32", name="source"), L.Input((5,), dtype="int32", name="target")
    memory, h, c = L.LSTM(4, return_sequences=True, return_state=True)(L.Embedding(12, 4)(source))
    rows = L.LSTM(4, return_sequences=True)(L.Embedding(12, 4)(target), initial_state=[h, c])
    mixed = L.Concatenate()([rows, L.Attention()([rows, memory])])
    return Model([source, target], L.Dense(12, activation="softmax")(mixed))


def open_translator() -> Model:
    source, target = L.Input((None, 4), name="source"), L.Input((None, 4), name="target")
    _, *states = L.GRU(4, return_state=True, name="encoder")(source)
    rows = L.GRU(4, return_sequences=True, name="decoder")(target, initial_state=states)
    return Model([source, target], L.Dense(3)(rows))


def autoencoder() -> Model:
    return keras.Sequential(
        [
            L.Input((8, 3), name="x"),
            L.LSTM(5, activation="relu"),
            L.RepeatVector(8),
            L.LSTM(5, activation="relu", return_sequences=True),
            L.TimeDistributed(L.Dense(3)),
        ]
    )


def forecaster() -> Model:
    x = L.Input((None, 3), name="x")
    last, h, c = L.LSTM(4, return_state=True)(x)
    rows = L.LSTM(4, return_sequences=True)(L.RepeatVector(3)(last), initial_state=[h, c])
    return Model(x, L.TimeDistributed(L.Dense(1))(rows))


def stateful() -> Model:
    return keras.Sequential(
        [
            L.Input(batch_shape=(1, None, 3), name="x"),
            L.GRU(4, return_sequences=True, stateful=True),
            L.LSTM(3, return_sequences=True, stateful=True),
            L.Dense(1),
        ]
    )


def patient() -> Model:
    """A series of measurements, and what is known of who was measured."""
    series, person = L.Input((None, 4), name="series"), L.Input((3,), name="person")
    both = L.Concatenate()([L.LSTM(4)(series), L.Dense(3, activation="relu")(person)])
    return Model([series, person], L.Dense(1, activation="sigmoid")(L.Dense(4, activation="relu")(both)))


def conditioned() -> Model:
    notes, style = L.Input((None, 4), name="notes"), L.Input((3,), name="style")
    h = L.GRU(5, return_sequences=True)(notes, initial_state=L.Dense(5, activation="tanh")(style))
    return Model([notes, style], L.Dense(4, activation="softmax")(h))


def states_too() -> Model:
    x = L.Input((None, 3), name="x")
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True, name="cell")(x)
    return Model(x, {"y": L.Dense(2)(y), "h": h, "c": c})


def pictures_in_time() -> Model:
    return keras.Sequential(
        [
            L.Input((None, 5, 5, 1), name="radar"),
            L.ConvLSTM2D(2, 3, padding="same", return_sequences=True),
            L.BatchNormalization(),
            L.ConvLSTM2D(2, 3, padding="same", return_sequences=True),
            L.TimeDistributed(L.Conv2D(1, 3, padding="same", activation="sigmoid")),
        ]
    )


def encoder_block() -> Model:
    x = L.Input((9, 4), name="x")
    h = L.LayerNormalization(epsilon=1e-6)(L.Add()([x, L.MultiHeadAttention(2, 3, dropout=0.1)(x, x)]))
    h = L.LayerNormalization(epsilon=1e-6)(L.Add()([h, L.Dense(4)(L.Dense(6, activation="relu")(h))]))
    return Model(x, L.Dense(2, activation="softmax")(L.GlobalAveragePooling1D()(h)))


def temporal_convolutions() -> Model:
    x = L.Input((None, 4), name="x")
    h = L.Conv1D(5, 1)(x)
    for dilation in (1, 2, 4):
        y = L.Conv1D(5, 2, padding="causal", dilation_rate=dilation, activation="relu")(h)
        h = L.Add()([h, L.SpatialDropout1D(0.1)(y)])
    return Model(x, L.Dense(1)(h))


def gated_convolutions() -> Model:
    x = L.Input((None, 1), name="audio")
    h, skips = L.Conv1D(3, 2, padding="causal")(x), []
    for dilation in (1, 2, 4):
        settings: dict[str, Any] = {"padding": "causal", "dilation_rate": dilation}
        gate = L.Multiply()(
            [L.Conv1D(3, 2, activation="tanh", **settings)(h), L.Conv1D(3, 2, activation="sigmoid", **settings)(h)]
        )
        skips.append(L.Conv1D(3, 1)(gate))
        h = L.Add()([h, skips[-1]])
    return Model(x, L.Conv1D(1, 1)(L.Activation("relu")(L.Add()(skips))))


def last_slice() -> Model:
    x = L.Input((None, 4), name="x")
    h = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
    return Model(x, L.Dense(2)(L.GRU(3, return_sequences=True)(h)[:, -1, :]))


def split_features() -> Model:
    x = L.Input((None, 6), name="x")
    h = L.Concatenate()([L.LSTM(3, return_sequences=True)(x[..., :4]), L.GRU(2, return_sequences=True)(x[:, :, 4:])])
    return Model(x, L.Dense(2)(h))


def activations() -> Model:
    x = L.Input((None, 3), name="x")
    h = L.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid", return_sequences=True)(x)
    h = L.LeakyReLU(0.1)(L.Dense(4)(h))
    h = L.GRU(4, activation="softsign", return_sequences=True)(h)
    h = L.PReLU(shared_axes=[1])(L.Dense(4, activation="swish")(h))
    return Model(x, L.Dense(2, activation="selu")(L.ELU(0.5)(L.Dense(3, activation="softplus")(h))))


def folded() -> Model:
    x = L.Input((None, 8), name="x")
    h = L.Permute((1, 3, 2))(L.Reshape((-1, 4, 2))(x))
    h = L.Reshape((-1, 8))(L.TimeDistributed(L.Dense(4, activation="tanh"))(h))
    return Model(x, L.SimpleRNN(3, return_sequences=True)(h))


def waves() -> Model:
    """Down, a cell, and up again."""
    x = L.Input((None, 2), name="audio")
    h = L.Conv1D(4, 4, strides=2, padding="same", activation="relu")(x)
    h = L.GRU(4, return_sequences=True)(h)
    h = L.Conv1DTranspose(2, 4, strides=2, padding="same")(h)
    return Model(x, L.Add()([x, h]))


def resampled() -> Model:
    x = L.Input((None, 3), name="x")
    h = L.AveragePooling1D(2)(L.Conv1D(4, 3, padding="same", activation="relu")(x))
    h = L.UpSampling1D(2)(L.LSTM(4, return_sequences=True)(h))
    return Model(x, L.Dense(1)(h))


def cells_in_a_row() -> Model:
    x = L.Input((None, 3), name="x")
    return Model(x, L.Dense(2)(L.RNN([L.LSTMCell(4), L.GRUCell(3)], return_sequences=True)(x)))


def separable() -> Model:
    x = L.Input((None, 6, 1), name="mel")
    h = L.Conv2D(3, (3, 3), padding="same", activation="relu")(x)
    h = L.DepthwiseConv2D((3, 3), padding="same")(h)
    h = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(4, 1, use_bias=False)(h)))
    h = L.TimeDistributed(L.GlobalAveragePooling2D())(L.Reshape((-1, 6, 1, 4))(h))
    return Model(x, L.Dense(3, activation="softmax")(L.GRU(4)(h)))


def normalised() -> Model:
    x = L.Input((None, 3), name="x")
    h = L.Normalization(mean=[0.5, -1.0, 2.0], variance=[1.0, 4.0, 0.25])(L.Rescaling(0.5, offset=0.1)(x))
    h = L.GaussianNoise(0.1)(h)
    return Model(x, L.LayerNormalization()(L.GRU(4, return_sequences=True)(h)))


def denoiser() -> Model:
    """Gains for bands of a spectrum, and whether somebody speaks."""
    x = L.Input((None, 6), name="bands")
    h = L.Dense(5, activation="tanh")(x)
    voice = L.GRU(3, return_sequences=True)(h)
    noise = L.GRU(4, activation="relu", return_sequences=True)(L.Concatenate()([h, voice, x]))
    gains = L.Dense(6, activation="sigmoid")(noise)
    return Model(x, {"clean": L.Multiply()([x, gains]), "voice": L.Dense(1, activation="sigmoid")(voice)})


def merged_ways() -> Model:
    x = L.Input((None, 3), name="x")
    h = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum")(x)
    h = L.Bidirectional(L.SimpleRNN(3, return_sequences=True), merge_mode="ave")(h)
    return Model(x, L.Dense(2)(L.GlobalAveragePooling1D()(h)))


def nested() -> Model:
    inner = keras.Sequential([L.Input((None, 4)), L.Dense(4, activation="tanh"), L.GRU(4, return_sequences=True)])
    a, b = L.Input((None, 4), name="a"), L.Input((None, 4), name="b")
    return Model([a, b], L.Dense(1)(L.Subtract()([inner(a), inner(b)])))


def with_code() -> Model:
    x = L.Input((None, 4), name="x")
    return Model(x, L.Dense(2)(L.Lambda(lambda t: t * 2.0, name="doubled")(L.LSTM(3)(x))))


NETS: dict[str, Callable[[], Model]] = {
    build.__name__: build
    for build in (
        *(stacked_lstm, both_grus, characters, tagger, sentiment, keywords, crnn, strided_speech, activity, video),
        *(masked_series, residual, attention_pool, flat_attention, translator, open_translator, autoencoder),
        *(forecaster, stateful, patient, conditioned, states_too, pictures_in_time, encoder_block),
        *(temporal_convolutions, gated_convolutions, last_slice, split_features, activations, folded, waves),
        *(resampled, cells_in_a_row, separable, normalised, denoiser, merged_ways, nested, with_code),
    )
}
