# SPDX-License-Identifier: MIT
"""Accuracy of reduced weights: real models over long streams, against the same models in float32.

The models belong to other projects: UNDERTOW_MODELS names their folder (its stage1). Each runs on the data that came
with it, over and over; where that is text, on text of its kind; the guitar amplifier on plucked notes. The first half
of the data is there to fit the rounding of weights to; errors are measured on the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import undertow
from undertow import GRU, LSTM, Dense, Embedding, Model, ScaleShift, Sequential, Softmax
from undertow.accuracy import calibrate
from undertow.accuracy.drift import distances, repeated

from .report import Goal, Table

PRECISIONS = ("float16", "int8", "int4")
#: Share of the output's RMS that the RMS error of int8 stays under.
TARGET = 0.01
#: The RMS error of the last stretch of a stream is at most this many times that of the stretch before.
NO_DRIFT = 1.25

#: The beginning of what the character network was trained on.
TEXT = """First Citizen:
Before we proceed any further, hear me speak.

All:
Speak, speak.

First Citizen:
You are all resolved rather to die than to famish?

All:
Resolved. resolved.

First Citizen:
First, you know Caius Marcius is chief enemy to the people.

All:
We know't, we know't.

First Citizen:
Let us kill him, and we'll have corn at our own price. Is't a verdict?

All:
No more talking on't; let it be done: away, away!

Second Citizen:
One word, good citizens.

First Citizen:
We are accounted poor citizens, the patricians good. What authority surfeits on would relieve us: if they would
yield us but the superfluity, while it were wholesome, we might guess they relieved us humanely; but they think we
are too dear: the leanness that afflicts us, the object of our misery, is as an inventory to particularise their
abundance; our sufferance is a gain to them. Let us revenge this with our pikes, ere we become rakes: for the gods
know I speak this in hunger for bread, not in thirst for revenge.
"""

Case = tuple[Model, np.ndarray]


def unitree_g1(folder: Path) -> Case:
    w = undertow.read_weights(folder / "g1_motion.pt")
    layers = [
        LSTM.from_torch(w, "memory"),
        Dense.from_torch(w, "actor.0", activation="elu"),
        Dense.from_torch(w, "actor.2"),
    ]
    return Sequential(layers), _input(folder)


def anydrive(folder: Path) -> Case:
    w = undertow.read_weights(folder / "anydrive_v3_lstm.pt")
    layers = [
        ScaleShift(w["in_scale"].ravel()),
        LSTM.from_torch(w, "lstm"),
        Dense.from_torch(w, "linear"),
        ScaleShift(w["out_scale"]),
    ]
    return Sequential(layers), _input(folder)


def noaa_sugar_creek(folder: Path) -> Case:
    return undertow.load(folder / "sugar_creek_trained.pt", assume_as_wired=True), _input(folder)


def klon_centaur(folder: Path) -> Case:
    rng = np.random.default_rng(0)
    t = np.arange(12_000) / 48_000
    notes = [
        a * np.sin(2 * np.pi * f * t) * np.exp(-3 * t)
        for f, a in zip(rng.uniform(80, 1000, 8), rng.uniform(0.1, 0.8, 8), strict=True)
    ]
    sound = np.concatenate(notes)
    knobs = np.full((len(sound), 2), 0.5)
    return undertow.load(folder / "klon_centaur_large.json"), np.column_stack([sound, knobs]).astype(np.float32)


def ethnicolr(folder: Path) -> Case:
    with np.load(folder / "census2010_expected_numpy64.npz") as data:
        return undertow.load(folder / "census2010_ln_lstm.h5"), data["input"].reshape(-1).astype(np.int32)


def ml5_charrnn(folder: Path) -> Case:
    manifest = json.loads((folder / "manifest.json").read_text())
    w = {
        key: np.fromfile(folder / e["filename"], "<f4").reshape(e["shape"]) for key, e in manifest.items() if e["shape"]
    }
    cells = [LSTM.from_tf(w, f"rnnlm/multi_rnn_cell/cell_{k}/basic_lstm_cell", forget_bias=1.0) for k in range(2)]
    head = Dense.from_tf([w["rnnlm/softmax_w"], w["rnnlm/softmax_b"]])
    vocabulary = json.loads((folder / "vocab.json").read_text())
    ids = [vocabulary[c] for c in TEXT if c in vocabulary]
    return Sequential([Embedding(w["embedding"]), *cells, head, Softmax()]), np.array(ids, np.int32)


def _g2p(folder: Path, side: str) -> GRU:
    w = undertow.read_weights(folder / "checkpoint20.npz")
    return GRU(
        w[f"{side}_w_ih"], w[f"{side}_w_hh"], w[f"{side}_b_ih"], recurrent_bias=w[f"{side}_b_hh"],
        gate_order="rzn", reset_after=True, name=side,
    )  # fmt: skip


def g2p_encoder(folder: Path) -> Case:
    w = undertow.read_weights(folder / "checkpoint20.npz")
    letters = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
    words = "".join(c if c.isalpha() else " " for c in TEXT.lower()).split()
    ids = [letters.index(letter) for word in words for letter in [*word, "</s>"]]
    return Sequential([Embedding(w["enc_emb"]), _g2p(folder, "enc")]), np.array(ids, np.int32)


def g2p_decoder(folder: Path) -> Case:
    w = undertow.read_weights(folder / "checkpoint20.npz")
    ids = np.random.default_rng(0).integers(4, len(w["dec_emb"]), 500).astype(np.int32)
    return Sequential([Embedding(w["dec_emb"]), _g2p(folder, "dec"), Dense(w["fc_w"], w["fc_b"])]), ids


CASES: dict[str, tuple[str, Callable[[Path], Case]]] = {
    "unitree-g1": ("unitree-g1", unitree_g1),
    "anydrive": ("anydrive", anydrive),
    "noaa-sugar-creek": ("noaa-sugar-creek", noaa_sugar_creek),
    "klon-centaur": ("klon-centaur", klon_centaur),
    "ethnicolr": ("ethnicolr", ethnicolr),
    "ml5-charrnn": ("ml5-charrnn", ml5_charrnn),
    "g2p-en encoder": ("g2p-en", g2p_encoder),
    "g2p-en decoder": ("g2p-en", g2p_decoder),
}


def _input(folder: Path) -> np.ndarray:
    with np.load(next(folder.glob("*expected_numpy64.npz"))) as data:
        return data["input"].astype(np.float32)


def tables(n_steps: int) -> Iterator[Table]:
    """One table for each precision, over streams of n_steps."""
    folder = Path(os.environ.get("UNDERTOW_MODELS", "")) / "stage1"
    if "UNDERTOW_MODELS" not in os.environ or not folder.is_dir():
        yield Table("Accuracy", ["model"], notes=["not measured: UNDERTOW_MODELS is not set to the folder of models"])
        return
    marks = [mark for mark in (1_000, 10_000, 100_000) if mark <= n_steps]
    found = {name: make(folder / place) for name, (place, make) in CASES.items()}
    for precision in PRECISIONS:
        columns = ["model", "KiB float32", f"KiB {precision}", *(f"% to frame {mark:,}" for mark in marks)]
        columns += ["last / before", "% weights alone", "% fitted", "largest error", "output RMS"]
        table = Table(f"Accuracy of {precision}: RMS error in per cent of the RMS of the output", columns)
        for name, (model, X) in found.items():
            table.rows.append([name, *_row(model, precision, X, marks)])
        table.notes.append("on the second half of the data, repeated; to frame n: from the frame of the column before")
        table.notes.append("last / before: RMS errors of the last two stretches; weights alone: frames are not rounded")
        table.notes.append("fitted: weights rounded for the first half of the data (`--calibrate`), last stretch")
        yield table


def _row(model: Model, precision: str, X: np.ndarray, marks: list[int]) -> list[Any]:
    (name,), half = model.inputs, len(X) // 2
    feed = repeated({name: X[half:]})
    reduced = model.with_weights(precision)
    errors = distances(reduced, model, feed, marks)
    (alone,) = distances(reduced.with_weights("float32"), model, feed, marks[:1])
    shares: list[Any] = [100 * error.relative for error in errors]
    growth: Any = errors[-1].rms / errors[-2].rms
    fitted: Any = None
    if precision in ("int8", "int4"):
        graph = calibrate.fit(model.graph, precision, {name: X[:half]})
        fitted = 100 * distances(Model.from_graph(graph), model, feed, marks)[-1].relative
    if precision == "int8":
        shares[-1], fitted = (Goal(share, 100 * TARGET, at_most=True) for share in (shares[-1], fitted))
        growth = Goal(growth, NO_DRIFT, at_most=True)
    largest, rms = max(error.max for error in errors), float(np.sqrt(errors[-1].exact_squares / errors[-1].n))
    sizes = [model.file_bytes / 1024, reduced.file_bytes / 1024]
    return [*sizes, *shares, growth, 100 * alone.relative, fitted, f"{largest:.3g}", f"{rms:.3g}"]
