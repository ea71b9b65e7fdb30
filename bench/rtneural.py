# SPDX-License-Identifier: MIT
"""The core step in C against RTNeural's forward(), each of its backends, through the C++ benchmark in bench/cpp."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from . import core
from .models import Weights
from .report import Goal, Table

#: input = hidden -> how many times faster than the best backend (256: both wait for the cache)
TARGETS = {16: 1.4, 40: 1.4, 64: 1.4, 128: 1.4, 256: 1.0}
CELLS = ("gru", "lstm")
BACKENDS = ("eigen", "eigen run-time", "xsimd", "xsimd run-time", "stl", "stl run-time")


def write(w: Weights, path: Path) -> None:
    """The layer as bench_rtneural reads it."""
    with path.open("wb") as file:
        file.write(np.array([w.cell == "lstm", w.n_inputs, w.n_hidden], np.int32).tobytes())
        for a in (w.W, w.R, w.b, w.rb):
            file.write(a.tobytes())


def table(seconds: float) -> Table:
    """seconds: for each cell and size. Needs the environment variable RTNEURAL: a checkout, with its submodules."""
    columns = ["cell, input = hidden", "undertow", *BACKENDS, "vs the best of them", "that ratio at the roofline"]
    result = Table("The core step in C against RTNeural (ns, medians)", columns)
    checkout = os.environ.get("RTNEURAL")
    if not checkout:
        result.notes.append("RTNeural is not measured: the environment variable RTNEURAL names no checkout of it")
        return result
    program = core.build("bench_rtneural", UT_RTNEURAL=str(Path(checkout).resolve()))
    with tempfile.TemporaryDirectory() as folder:
        model, weights = Path(folder) / "layer.tow", Path(folder) / "layer.weights"
        for cell in CELLS:
            for size, target in TARGETS.items():
                w = Weights.random(cell, size, size)
                w.undertow().save(model)
                write(w, weights)
                found = {}
                for line in core.output([str(program), f"{seconds:g}", str(model), str(weights)]).splitlines():
                    name, ns, ratio = line.split("\t")
                    found[name] = float(ns), float(ratio)
                ours, _ = found.pop("undertow")
                times = [found[name][0] if name in found else None for name in BACKENDS]
                roof, _ = found.pop("roofline", (0.0, 0.0))
                best = min(ratio for _, ratio in found.values())
                limit = min(ns for ns, _ in found.values()) / roof if roof else None
                result.rows.append([f"{cell} {size}", ours, *times, Goal(best, target), limit])
                print(f"  rtneural: {cell} {size} done", file=sys.stderr)
    return result
