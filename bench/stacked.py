# SPDX-License-Identifier: MIT
"""Two LSTM layers of 128 units: the int8 step in C against a limit, and against reading its weights at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import undertow

from . import core, models
from .clock import Statement
from .models import Contender, Weights
from .report import Goal, Table
from .weights import ERRORS, turns

SIZE = 128
LIMIT_US = 7
PRECISIONS = models.known("float32", "float16", "int16", "int8", "int4")


def model(precision: str) -> undertow.Model:
    layers = [Weights.random("lstm", SIZE, SIZE, seed) for seed in (0, 1)]
    built = undertow.Sequential(
        [undertow.LSTM(w.W, w.R, w.b, recurrent_bias=w.rb, gate_order="ifgo") for w in layers], name="two LSTM layers"
    )
    return built if precision == "float32" else built.with_weights(precision)


def contender(precision: str) -> Contender:
    stream = model(precision).stream()

    def answer(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return stream.run(X)

    return Contender(precision, Statement("pass"), answer, ERRORS.get(precision, (0.0, models.AGREE)))


def table(seconds: float) -> Table:
    columns = ["weights", "KiB", "from", "us a step", "vs float32", "roofline us", "step / roofline"]
    result = Table(f"Two stacked LSTM layers of {SIZE} units, one step in C (medians)", columns)
    X = np.random.default_rng(6).standard_normal((20, SIZE)).astype(np.float32)
    models.check([contender(precision) for precision in PRECISIONS], X)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / precision for precision in PRECISIONS]
        for path in paths:
            model(path.name).save(path)
        for turn in turns(core.build("bench_turns"), paths, model("float32").isa, seconds):
            us = turn.step_ns / 1e3
            row = [turn.file, f"{turn.weight_bytes / 1024:,.0f}", core.cache_level(turn.weight_bytes)]
            row += [Goal(us, LIMIT_US, at_most=True) if turn.file == "int8" else us, turn.gain]  # type: ignore[list-item]
            result.rows.append([*row, turn.roof_ns / 1e3 or None, turn.distance or None])
    return result
