# SPDX-License-Identifier: MIT
"""What Python adds to a step: `stream.step` in a loop, less `ut_step` in a C loop over the same file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from . import core
from .clock import Statement, Times, measure
from .models import Weights
from .report import Goal, Table

LIMIT_US = 0.6
MODELS = (("gru", 16), ("lstm", 16), ("gru", 64), ("lstm", 64), ("lstm", 128), ("lstm", 256))


def table(seconds: float) -> Table:
    """seconds: for each model."""
    columns = ["model", "C us", "step(x) us", "step(x, out=) us", "Python adds us", "with out= us"]
    result = Table("Python's own cost on top of the core step (medians)", columns)
    program = core.build()
    rounds = 5
    with tempfile.TemporaryDirectory() as folder:
        for cell, size in MODELS:
            model = Weights.random(cell, size, size).undertow()
            path = Path(folder) / f"{cell}{size}.tow"
            model.save(path)
            rng = np.random.default_rng(0)
            names = {
                "step": model.stream().step,
                "x": rng.standard_normal(size).astype(np.float32),
                "out": np.empty(size, np.float32),
            }
            statements = [Statement("y = step(x)", names), Statement("step(x, out=out)", names)]
            found: list[list[np.ndarray]] = [[], [], []]
            for _ in range(rounds):  # C, Python, C, Python ...
                (row,) = core.run(program, [path], [model.isa], seconds / 3 / rounds)
                found[0].append(np.array([row.step_ns / 1e3]))
                for times, t in zip(found[1:], measure(statements, seconds / 1.5 / rounds), strict=True):
                    times.append(np.array([t.median]))
            c, plain, into = (Times(np.concatenate(times)) for times in found)
            adds = [float(np.median(t.rounds - c.rounds)) for t in (plain, into)]
            goals = [Goal(a, LIMIT_US, at_most=True) for a in adds]
            result.rows.append([f"{cell} {size}", c.median, plain.median, into.median, *goals])
    result.notes.append("the GIL is given up around steps of models beyond 256 KiB, which the larger ones pay for here")
    return result
