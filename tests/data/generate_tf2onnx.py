# SPDX-License-Identifier: MIT
"""Makes tests/data/tf2onnx: recurrent nets of Keras 2 and 3, exported by tf2onnx, and what TensorFlow gives.

    python tests/data/generate_tf2onnx.py 3
    TF_USE_LEGACY_KERAS=1 python tests/data/generate_tf2onnx.py 2

Seed 20250711. Made with tensorflow 2.21.0, keras 3.15.1, tf_keras 2.21.0, tf2onnx 1.17.0, ONNX operator set 17. Each
net is exported with batch and time open and with both fixed, where Keras has both; nothing in the files is changed.
keras<n>.tar.xz holds <net>_<open or fixed>.onnx and <net>.npz: x, the frames of N sequences, and y<i>, what the net
gives for them.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
import tf2onnx

keras = tf.keras
L = keras.layers

SEED = 20250711
OUT = Path(__file__).parent / "tf2onnx"
N, T, F = 2, 6, 3
IDS = 11
IMAGE = (4, 2)


def _one(*layers):
    """A net of layers, one behind another."""

    def net(x):
        for layer in layers:
            x = layer(x)
        return x

    return net


def _merged(x):
    cells = {"sum": L.GRU, "mul": L.SimpleRNN, "ave": L.GRU, None: L.LSTM}
    outputs = [L.Bidirectional(cell(2, return_sequences=True), merge_mode=mode)(x) for mode, cell in cells.items()]
    return [*outputs[:3], *outputs[3]]


#: name -> what makes the outputs of an input
NETS = {
    "simple_rnn": lambda: _one(L.SimpleRNN(4, return_sequences=True)),
    "simple_rnn_last": lambda: _one(L.SimpleRNN(4), L.Dense(2)),
    "gru_reset_after": lambda: _one(L.GRU(4, return_sequences=True)),
    "gru_reset_before": lambda: _one(L.GRU(4, reset_after=False, return_sequences=True)),
    "gru_backwards": lambda: _one(L.GRU(4, go_backwards=True, return_sequences=True)),
    "gru_state": lambda: _one(L.GRU(4, return_sequences=True, return_state=True)),
    "gru_masked": lambda: _one(L.Masking(), L.GRU(4, return_sequences=True)),
    "lstm": lambda: _one(L.LSTM(4, return_sequences=True), L.Dense(2, activation="sigmoid")),
    "lstm_last": lambda: _one(L.LSTM(4, return_sequences=True), L.LSTM(3)),
    "lstm_masked": lambda: _one(L.Masking(), L.LSTM(4, return_sequences=True)),
    "lstm_recurrent_dropout": lambda: _one(L.LSTM(4, dropout=0.1, recurrent_dropout=0.2, return_sequences=True)),
    "lstm_unrolled": lambda: _one(L.LSTM(4, unroll=True, return_sequences=True)),
    "lstm_stateful": lambda: _one(L.LSTM(4, stateful=True, return_sequences=True)),
    "lstm_options": lambda: _one(
        L.LSTM(
            4,
            activation="relu",
            recurrent_activation="hard_sigmoid",
            use_bias=False,
            unit_forget_bias=False,
            return_sequences=True,
        )
    ),
    "stacked_list": lambda: _one(L.RNN([L.LSTMCell(4), L.GRUCell(3)], return_sequences=True)),
    "stacked_cells": lambda: _one(
        L.RNN(
            L.StackedRNNCells([L.GRUCell(3, reset_after=False), L.SimpleRNNCell(4)]),
            return_sequences=True,
            return_state=True,
        )
    ),
    "bidirectional": lambda: _one(L.Bidirectional(L.LSTM(3, return_sequences=True)), L.Dense(2)),
    "bidirectional_last": lambda: _one(L.Bidirectional(L.GRU(3))),
    "bidirectional_merged": lambda: _merged,
    "time_distributed": lambda: _one(
        L.TimeDistributed(L.Dense(4, activation="relu")), L.GRU(3, return_sequences=True), L.TimeDistributed(L.Dense(2))
    ),
    "conv_gru": lambda: _one(
        L.Conv1D(4, 3, padding="causal", activation="relu"),
        L.BatchNormalization(),
        L.GRU(3, return_sequences=True),
        L.GlobalAveragePooling1D(),
    ),
    "embedding_lstm": lambda: _one(L.Embedding(IDS, 4), L.LSTM(3, return_sequences=True)),
    "conv_lstm": lambda: _one(L.ConvLSTM2D(2, (2, 1), padding="same", return_sequences=True)),
}


def _frame(name):
    return {"embedding_lstm": (), "conv_lstm": (*IMAGE, 2)}.get(name, (F,))


def _model(name, n_items, n_steps):
    """The same net, of the same weights, for sizes that are open or fixed."""
    keras.utils.set_random_seed(SEED)
    x = L.Input(batch_shape=(n_items, n_steps, *_frame(name)), dtype="int32" if name == "embedding_lstm" else "float32")
    model = keras.Model(x, NETS[name]()(x))
    rng = np.random.default_rng(SEED)
    model.set_weights(
        [
            rng.uniform(0.1, 0.9, w.shape) if "var" in v.name else rng.normal(0, 0.5, w.shape)
            for v, w in zip(model.weights, model.get_weights(), strict=True)
        ]
    )
    return model


def _exported(model, n_items, n_steps, name):
    kind = tf.int32 if name == "embedding_lstm" else tf.float32
    signature = [tf.TensorSpec((n_items, n_steps, *_frame(name)), kind, name="x")]
    function = tf.function(lambda x: model(x, training=False), input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
    return proto.SerializeToString()


def _sequences(name, rng):
    n = 1 if name == "lstm_stateful" else N
    if name == "embedding_lstm":
        return rng.integers(0, IDS, (n, T)).astype(np.int32)
    x = rng.normal(size=(n, T, *_frame(name))).astype(np.float32)
    if name.endswith("masked"):
        x[1, 4:] = 0  # what Masking hides
    return x


def _files(name, rng):
    """(name, bytes) of what is kept of a net."""
    x = _sequences(name, rng)
    outputs = [tf.nest.flatten(_model(name, 1, T)(item[None], training=False)) for item in x]
    rows = [np.concatenate([row.numpy() for row in rows]) for rows in zip(*outputs, strict=True)]
    arrays = io.BytesIO()
    np.savez(arrays, x=x, **{f"y{i}": array for i, array in enumerate(rows)})
    yield f"{name}.npz", arrays.getvalue()
    sizes = {"fixed": (1, T), "open": (None, None)}
    if name in ("lstm_unrolled", "lstm_stateful"):
        del sizes["open"]
    for form, (n_items, n_steps) in sizes.items():
        yield f"{name}_{form}.onnx", _exported(_model(name, n_items, n_steps), n_items, n_steps, name)


def main(version):
    is_old = keras.Model.__module__.startswith("tf_keras")
    assert version == (2 if is_old else 3), "TF_USE_LEGACY_KERAS says which Keras it is: see the lines above"
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(SEED)
    with tarfile.open(OUT / f"keras{version}.tar.xz", "w:xz", preset=9) as archive:
        for name in NETS:
            for file, data in _files(name, rng):
                member = tarfile.TarInfo(file)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main(int(sys.argv[1]))
