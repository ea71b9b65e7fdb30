# SPDX-License-Identifier: MIT
"""One stream on two cores: forced, and as `model.stream(threads=2)` decides when the stream is made."""

from __future__ import annotations

import sys
import time

import numpy as np

from undertow.stream import Stream

from . import clock, models
from .clock import Statement, measure
from .models import Contender, Weights
from .report import Goal, Table
from .weights import small

CELLS = ("gru", "lstm")
SIZES = (64, 128, 256, 512, 1024)
PRECISIONS = models.known("float32", "int16", "int8")
THREADS = 2
#: A stream that chooses is never slower than one thread by more than this.
LIMIT = 1.05


def contender(name: str, stream: Stream, x: np.ndarray) -> Contender:
    out = np.empty(stream.n_outputs, np.float32)

    def answer(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return np.array([stream.step(row) for row in X])

    statement = Statement("step(x, out=out)", {"step": stream.step, "x": x, "out": out})
    return Contender(name, statement, answer, (0.0, 0.0))  # the same bits on any number of threads


def table(seconds: float) -> Table:
    """seconds: for each cell, size and precision. On every core that this process may use, by the clock on the wall."""
    columns = ["layer", "1 thread us", f"{THREADS} threads us", "times faster", "decision", "decided us", "vs 1 thread"]
    result = Table(f"One stream on {THREADS} cores, a step from Python (median, on the wall)", columns)
    rng = np.random.default_rng(9)
    with clock.unpinned() as cores:
        if cores < THREADS:
            result.notes.append(f"not measured: this process may use {cores} core")
            return result
        for cell in CELLS:
            for size in SIZES:
                X = rng.standard_normal((20, size)).astype(np.float32)
                for precision in PRECISIONS:
                    model = small(Weights.random(cell, size, size), precision)
                    streams = {
                        "one": model.stream(),
                        "forced": Stream(model, 0, THREADS, measure=False),
                        "decided": model.stream(threads=THREADS),
                    }
                    contenders = [contender(name, stream, X[0].copy()) for name, stream in streams.items()]
                    models.check(contenders, X)
                    one, forced, decided = measure([c.statement for c in contenders], seconds, time.perf_counter)
                    name = f"{cell} {size} {precision}"
                    result.mark_noise(name, [one.spread, forced.spread, decided.spread])
                    large = streams["forced"].threads > 1
                    threads = streams["decided"].threads
                    result.rows.append(
                        [
                            name,
                            one.median,
                            forced.median if large else None,
                            one.times_slower_than(forced) if large else None,
                            f"{threads} thread{'s' if threads > 1 else ''}",
                            decided.median,
                            Goal(decided.times_slower_than(one), LIMIT, at_most=True),
                        ]
                    )
                print(f"  cores: {cell} {size} done", file=sys.stderr)
    result.notes.append("no number of forced threads: the layer is too small to be shared")
    return result
