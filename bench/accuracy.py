# SPDX-License-Identifier: MIT
"""Accuracy of reduced weights: real models over long streams, against the same models in float32.

The models belong to other projects: UNDERTOW_MODELS names their folder. Each runs on the data that came with it, over
and over; where that is text, on text of its kind; the guitar amplifier on plucked notes. The first half of the data is
there to fit the rounding of weights to; errors are measured on the other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import undertow
from undertow import GRU, LSTM, Dense, Embedding, Model, ScaleShift, Sequential, Softmax
from undertow.accuracy import calibrate
from undertow.accuracy.drift import distances, repeated
from undertow.passes.mixture import mixed

from . import models, whole
from .clock import Statement, measure
from .report import Goal, Table

#: int8, and int16 where that costs least (`undertow.passes.mixture`)
MIXED = "int8 and int16"
PRECISIONS = ("float16", "int16", "int8", MIXED, "fixed8", "int4")
#: Per cent of the output's RMS that the RMS error of int16 stays under.
INT16_LIMIT = 0.8
#: What int8 had with frames of 8 bits and one scale for a row: where that is above 1 %, it is to fall to a third.
INT8_BEFORE = {
    "unitree-g1": 3.72,
    "anydrive": 0.80,
    "noaa-sugar-creek": 6.08,
    "klon-centaur": 0.73,
    "ethnicolr": 0.75,
    "ml5-charrnn": 2.74,
    "g2p-en encoder": 2.66,
    "g2p-en decoder": 1.20,
    "silero_vad": 2.62,
    "dtln-mask": 7.66,
    "nsnet2-plc": 22.6,
}
INT8_WORST = 4.0
#: On so many of the models int16 stays under so many per cent.
CLOSE, CLOSE_MODELS = 0.3, 9
#: Precisions whose rounding can be fitted to data.
FITTED = ("int16", "int8", MIXED, "int4")
#: A step of MIXED by one of int8 in Python.
MIXED_STEP = 1.2
STEP_SECONDS = 0.2
#: The error of the last stretch of a stream, in per cent, is at most this many times that of the stretch before.
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


def whole_model(name: str) -> Callable[[Path], Case]:
    """One of those that `bench models` times, by its name there."""
    (case,) = (case for case in whole.CASES if case.name == name)

    def make(folder: Path) -> Case:
        model, X = case.load(folder), case.frames(folder)
        ((_, value),) = model.inputs.items()
        return model, np.ascontiguousarray(X.reshape(len(X), *value.shape))

    return make


CASES: dict[str, tuple[str, Callable[[Path], Case]]] = {
    "unitree-g1": ("stage1/unitree-g1", unitree_g1),
    "anydrive": ("stage1/anydrive", anydrive),
    "noaa-sugar-creek": ("stage1/noaa-sugar-creek", noaa_sugar_creek),
    "klon-centaur": ("stage1/klon-centaur", klon_centaur),
    "ethnicolr": ("stage1/ethnicolr", ethnicolr),
    "ml5-charrnn": ("stage1/ml5-charrnn", ml5_charrnn),
    "g2p-en encoder": ("stage1/g2p-en", g2p_encoder),
    "g2p-en decoder": ("stage1/g2p-en", g2p_decoder),
    "silero_vad": ("stage2", whole_model("silero_vad, openvino 16k")),
    "dtln-mask": ("stage2", whole_model("dtln-mask")),
    "nsnet2-plc": ("stage2", whole_model("nsnet2-plc")),
}


def _input(folder: Path) -> np.ndarray:
    with np.load(next(folder.glob("*expected_numpy64.npz"))) as data:
        return data["input"].astype(np.float32)


def tables(n_steps: int) -> Iterator[Table]:
    """One table for each precision, over streams of n_steps."""
    folder = Path(os.environ.get("UNDERTOW_MODELS", ""))
    if "UNDERTOW_MODELS" not in os.environ or not folder.is_dir():
        yield Table("Accuracy", ["model"], notes=["not measured: UNDERTOW_MODELS is not set to the folder of models"])
        return
    marks = [mark for mark in (1_000, 10_000, 100_000) if mark <= n_steps]
    missing: list[str] = []
    found = {}
    for name, (place, make) in CASES.items():
        with models.optional(name, missing):
            found[name] = make(folder / place)
    for precision in PRECISIONS:
        columns = ["model", "KiB float32", f"KiB {precision}", "%", *(f"% to frame {mark:,}" for mark in marks)]
        columns += ["last / before", "% weights alone", "% fitted", "largest error", "output RMS"]
        if precision == MIXED:
            columns.append("step / int8's")
        table = Table(f"Accuracy of {precision}: RMS error in per cent of the RMS of the output", columns)
        for name, (model, X) in found.items():
            table.rows.append([name, *_row(model, precision, X, marks, limit(name, precision))])
            print(f"  accuracy: {precision} {name} done", file=sys.stderr)
        if precision == "int16":
            table.rows.append(_close(table))
        table.notes.append(
            "%: on the second half of the data, once; to frame n: the same repeated, from the mark before"
        )
        table.notes.append("last / before: the errors in per cent of the last two stretches")
        table.notes.append(
            "weights alone: frames are not rounded; once, as is fitted: rounded for the first half of the data"
        )
        table.notes += missing
        yield table


def limit(name: str, precision: str) -> float | None:
    """Per cent that the error of a model is to stay under."""
    if precision == "int16":
        return INT16_LIMIT
    if precision == MIXED:
        before = INT8_BEFORE[name]
        return min(INT8_WORST, round(before / 3, 2)) if before > 1 else 1.0
    return None


def _close(table: Table) -> list[Any]:
    """The row that counts models below CLOSE per cent, plain and fitted."""
    row: list[Any] = [None] * len(table.columns)
    row[0] = f"models below {CLOSE:g} %"
    for column in map(table.columns.index, ("%", "% fitted")):
        row[column] = Goal(float(sum(cells[column].value < CLOSE for cells in table.rows)), CLOSE_MODELS)
    return row


def _row(model: Model, precision: str, X: np.ndarray, marks: list[int], most: float | None) -> list[Any]:
    (name,), half = model.inputs, len(X) // 2
    feed = repeated({name: X[half:]})
    weights = mixed(model.graph, "int8", "int16") if precision == MIXED else precision
    reduced = model.with_weights(weights)

    def once(other: Model) -> float:
        (error,) = distances(other, model, feed, [len(X) - half])
        return 100 * error.relative

    errors = distances(reduced, model, feed, marks)
    shares: list[Any] = [once(reduced), *(100 * error.relative for error in errors)]
    growth: Any = shares[-1] / shares[-2]
    fitted: Any = None
    if precision in FITTED:
        fitted = once(Model.from_graph(calibrate.fit(model.graph, weights, {name: X[:half]})))
    if most is not None:
        shares[0], fitted = (Goal(share, most, at_most=True) for share in (shares[0], fitted))
    if precision in ("int16", "int8", MIXED):
        growth = Goal(growth, NO_DRIFT, at_most=True)
    largest, rms = max(error.max for error in errors), float(np.sqrt(errors[-1].exact_squares / errors[-1].n))
    sizes = [model.file_bytes / 1024, reduced.file_bytes / 1024]
    alone = once(reduced.with_weights("float32"))
    row = [*sizes, *shares, growth, alone, fitted, f"{largest:.3g}", f"{rms:.3g}"]
    return [*row, _step_ratio(reduced, model.with_weights("int8"), X)] if precision == MIXED else row


def _step_ratio(model: Model, other: Model, X: np.ndarray) -> Goal:
    statements = [Statement("y = step(x)", {"step": m.stream().step, "x": X[len(X) // 2]}) for m in (model, other)]
    ours, theirs = measure(statements, STEP_SECONDS)
    return Goal(ours.times_slower_than(theirs), MIXED_STEP, at_most=True)
