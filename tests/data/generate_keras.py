# SPDX-License-Identifier: MIT
"""Makes tests/data/keras: small models saved by Keras itself in both of its formats, with what Keras computes for them.

    KERAS_BACKEND=torch python tests/data/generate_keras.py

Seed 20240607. Made with keras 3.15.1, torch 2.13.0, h5py 3.16.0, NumPy 2.4.6. The archives are compressed afterwards
(Keras stores them plainly) and the legacy files gzipped, to keep the repository small; nothing in them is changed.
"""

from __future__ import annotations

import gzip
import itertools
import os
import tempfile
import zipfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers as L

SEED = 20240607
OUT = Path(__file__).parent / "keras"
T = 6


def cells() -> keras.Model:
    x = L.Input((None, 3), name="x")
    made = [
        L.LSTM(4, return_sequences=True, name="lstm"),
        L.LSTM(3, activation="relu", recurrent_activation="hard_sigmoid", use_bias=False, name="lstm_last"),
        L.GRU(4, return_sequences=True, name="gru"),
        L.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid", return_sequences=True, name="gru_before"),
        L.GRU(3, use_bias=False, activation="softsign", go_backwards=True, name="gru_backwards_last"),
        L.SimpleRNN(4, activation="elu", return_sequences=True, name="rnn"),
        L.LSTM(2, go_backwards=True, return_sequences=True, name="lstm_backwards"),
        L.RNN(
            [L.LSTMCell(2), L.GRUCell(3, reset_after=False), L.SimpleRNNCell(2)], return_sequences=True, name="stack"
        ),
    ]
    h, *states = L.LSTM(3, return_state=True, go_backwards=True, return_sequences=True, name="states")(x)
    return keras.Model(
        x, {**{layer.name: layer(x) for layer in made}, "h": h, "h_last": states[0], "c_last": states[1]}
    )


def bidirectional() -> keras.Model:
    x = L.Input((None, 3), name="x")
    out = {}
    for mode, sequences in itertools.product(("concat", "sum", "mul", "ave"), (True, False)):
        cell = {"concat": L.LSTM, "sum": L.GRU, "mul": L.SimpleRNN, "ave": L.GRU}[mode](2, return_sequences=sequences)
        out[f"{mode}_{int(sequences)}"] = L.Bidirectional(cell, merge_mode=mode, name=f"{mode}_{int(sequences)}")(x)
    ahead, back = L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode=None, name="both")(x)
    layer = L.Bidirectional(
        L.LSTM(2, return_sequences=True, return_state=True),
        backward_layer=L.LSTM(3, return_sequences=True, return_state=True, go_backwards=True),
        name="uneven",
    )
    y, *states = layer(x)
    turned = L.Bidirectional(
        L.SimpleRNN(2, return_sequences=True, go_backwards=True),
        backward_layer=L.SimpleRNN(2, return_sequences=True),
        name="turned",
    )(x)
    names = [f"uneven_{s}" for s in ("fh", "fc", "bh", "bc")]
    return keras.Model(
        x, {**out, "ahead": ahead, "back": back, "uneven": y, **dict(zip(names, states, strict=True)), "turned": turned}
    )


def text() -> keras.Model:
    return keras.Sequential(
        [
            L.Input((T,), dtype="int32", name="ids"),
            L.Embedding(11, 5),
            L.SpatialDropout1D(0.2),
            L.LSTM(4, return_sequences=True, dropout=0.1, recurrent_dropout=0.1),
            L.BatchNormalization(),
            L.GRU(3, return_sequences=True),
            L.LayerNormalization(),
            L.TimeDistributed(L.Dense(4, activation="selu")),
            L.Dense(3, activation="softmax"),
        ],
        name="text",
    )


def wiring() -> keras.Model:
    a, b = L.Input((None, 3), name="a"), L.Input((None, 3), name="b")
    shared = L.Dense(4, name="shared")
    p, q = shared(a), shared(b)
    inner = keras.Sequential(
        [L.Dense(4, activation=L.LeakyReLU(0.1)), L.BatchNormalization(), L.Dense(4)], name="inner"
    )
    i = L.Input((None, 4))
    nested = keras.Model(i, L.SimpleRNN(4, return_sequences=True)(i), name="nested")
    one = L.Dense(1, name="one")(p)
    cube = L.Permute((1, 3, 2))(L.Reshape((-1, 2, 2))(q))
    out = {
        "add": L.Add()([p, q, one]),
        "subtract": L.Subtract()([p, q]),
        "multiply": L.Multiply()([p, q]),
        "average": L.Average()([p, q, inner(p)]),
        "maximum": L.Maximum()([p, one]),
        "minimum": L.Minimum()([p, q]),
        "plus": p + q,
        "concat": L.Concatenate()([p, one, q]),
        "concat_inner": L.Concatenate(axis=-2)([cube, L.Reshape((-1, 1, 2))(L.Dense(2, name="two")(p))]),
        "flat": L.TimeDistributed(L.Flatten())(cube),
        "nested": nested(nested(p)),
        "prelu": L.PReLU(shared_axes=[1], alpha_initializer="random_normal")(p),
        "clipped": L.ReLU(max_value=0.5)(p),
        "above": L.ReLU(threshold=0.25)(p),
        "sloped": L.ReLU(negative_slope=0.25)(p),
        "elu": L.ELU(0.5)(q),
        "scaled": L.Rescaling(2.0, offset=-1.0)(p),
        "normal": L.Normalization(mean=[0.5, -1.0, 2.0, 0.0], variance=[1.0, 4.0, 0.25, 2.0])(p),
        "softmax": L.Softmax()(q),
        "hard": L.Activation("hard_sigmoid")(q),
    }
    return keras.Model([a, b], out, name="wiring")


def decoder() -> keras.Model:
    x, h, c = L.Input((None, 3), name="x"), L.Input((4,), name="h"), L.Input((4,), name="c")
    y, h2, c2 = L.LSTM(4, return_sequences=True, return_state=True, name="lstm")(x, initial_state=[h, c])
    return keras.Model([x, h, c], {"y": L.Dense(2, name="head")(y), "h_next": h2, "c_next": c2}, name="decoder")


def dense() -> keras.Model:
    return keras.Sequential(
        [L.Input((3,), name="x"), L.Dense(4, activation="tanh"), L.Dense(2, activation="log_softmax")], name="dense"
    )


def main() -> None:
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(SEED)
    arrays: dict[str, np.ndarray] = {}
    for build in (cells, bidirectional, text, wiring, decoder, dense):
        keras.utils.set_random_seed(SEED)
        model = build()
        for w in model.weights:
            if "seed" not in w.path and w.dtype == "float32":
                value = rng.normal(size=w.shape) * 0.6
                w.assign((abs(value) + 0.5 if "variance" in w.path else value).astype(np.float32))
        given = {}
        for x in model.inputs:
            if x.dtype == "int32":
                given[x.name] = rng.integers(0, 11, size=(T,)).astype(np.int32)
            else:
                once = build is decoder and x.name in ("h", "c")
                given[x.name] = rng.normal(size=x.shape[1:] if once else (T, x.shape[-1])).astype(np.float32)
        batched = [given[x.name] if build is dense else given[x.name][None] for x in model.inputs]
        found = model.predict(batched if len(batched) > 1 else batched[0], verbose=0)
        found = found if isinstance(found, dict) else {"y": found}
        name = build.__name__
        arrays |= {f"{name}/in/{k}": v for k, v in given.items()}
        arrays |= {f"{name}/out/{k}": v if build is dense else v[0] for k, v in found.items()}
        with tempfile.TemporaryDirectory() as folder:
            archive, legacy = Path(folder) / "m.keras", Path(folder) / "m.h5"
            model.save(archive)
            model.save(legacy)
            with (
                zipfile.ZipFile(archive) as old,
                zipfile.ZipFile(OUT / f"{name}.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
            ):
                for member in old.namelist():
                    info = zipfile.ZipInfo(member, (2024, 6, 7, 0, 0, 0))
                    info.compress_type = zipfile.ZIP_DEFLATED
                    new.writestr(info, old.read(member))
            (OUT / f"{name}.h5.gz").write_bytes(gzip.compress(legacy.read_bytes(), 9, mtime=0))
    np.savez_compressed(OUT / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
