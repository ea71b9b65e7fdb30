# SPDX-License-Identifier: MIT
"""The core in C against RTNeural's forward(), each of its backends, through the C++ benchmark in bench/cpp."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import undertow

from . import core
from .models import Weights
from .report import Goal, Table

#: input = hidden -> how many times faster than the best backend (256: both wait for the cache)
SQUARE = {8: 1.15, 12: 1.15, 16: 1.15, 40: 1.4, 64: 1.4, 128: 1.4, 256: 1.0}
#: units of one input and a dense layer of one output behind them, as models of amplifiers have
HEADED = {8: 1.15, 12: 1.15, 16: 1.15, 20: None, 24: None, 32: None, 40: None}
CELLS = ("gru", "lstm")
BACKENDS = ("eigen", "eigen run-time", "xsimd", "xsimd run-time", "stl", "stl run-time")
OURS = ("undertow", "undertow in blocks")


def head(n_hidden: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (1, n_hidden) and bias (1,) of the dense layer."""
    rng = np.random.default_rng(1)
    return rng.uniform(-0.5, 0.5, (1, n_hidden)).astype(np.float32), rng.uniform(-0.5, 0.5, 1).astype(np.float32)


def write(w: Weights, dense: tuple[np.ndarray, ...], path: Path) -> None:
    """The layer as bench_rtneural reads it."""
    with path.open("wb") as file:
        file.write(np.array([w.cell == "lstm", w.n_inputs, w.n_hidden, bool(dense)], np.int32).tobytes())
        for a in (w.W, w.R, w.b, w.rb, *dense):
            file.write(a.tobytes())


def tables(seconds: float) -> list[Table]:
    """seconds: for each cell and size. Needs the environment variable RTNEURAL: a checkout, with its submodules.

    With UNDERTOW_ISA=avx2 both sides are held to AVX2.
    """
    square = Table("Recurrent layers in C against RTNeural (ns a timestep, medians)", _columns("cell, input = hidden"))
    headed = Table("The same, one input and a dense layer of one output", _columns("cell, units"))
    checkout = os.environ.get("RTNEURAL")
    if not checkout:
        square.notes.append("RTNeural is not measured: the environment variable RTNEURAL names no checkout of it")
        return [square]
    isa = os.environ.get("UNDERTOW_ISA", "")
    march = {"": "native", "avx2": "haswell"}
    if isa not in march:
        raise SystemExit(f"UNDERTOW_ISA={isa}: RTNeural is measured on the best instruction set (unset) and on avx2")
    program = core.build("bench_rtneural", UT_RTNEURAL=str(Path(checkout).resolve()), UT_RTNEURAL_MARCH=march[isa])
    command = [str(program), f"{seconds:g}", isa or "best"]
    for table, targets, has_head in ((square, SQUARE, False), (headed, HEADED, True)):
        for cell in CELLS:
            for size, target in targets.items():
                w = Weights.random(cell, 1 if has_head else size, size)
                table.rows.append([f"{cell} {size}", *_row(command, w, head(size) if has_head else (), target)])
                print(f"  rtneural: {table.rows[-1][0]} done", file=sys.stderr)
    return [square, headed]


def _columns(first: str) -> list[str]:
    return [first, *OURS, *BACKENDS, "step vs the best of them", "blocks vs the best", "the best / roofline"]


def _row(
    command: list[str], w: Weights, dense: tuple[np.ndarray, ...], target: float | None
) -> list[float | Goal | None]:
    found: dict[str, Mapping[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model, weights = Path(folder) / "layer.tow", Path(folder) / "layer.weights"
        w.undertow(then=[undertow.Dense(*dense)] if dense else []).save(model)
        write(w, dense, weights)
        for line in core.output([*command, str(model), str(weights)]).splitlines():
            name, *numbers = line.split("\t")
            found[name] = dict(zip(("ns", "step", "blocks"), map(float, numbers), strict=True))
    ours = [found.pop(name)["ns"] for name in OURS]
    roof = found.pop("roofline", None)
    times = [found[name]["ns"] if name in found else None for name in BACKENDS]
    step, blocks = (min(peer[way] for peer in found.values()) for way in ("step", "blocks"))
    goals: list[float | Goal] = [step, blocks] if target is None else [Goal(step, target), Goal(blocks, target)]
    return [*ours, *times, *goals, min(peer["ns"] for peer in found.values()) / roof["ns"] if roof else None]
