# SPDX-License-Identifier: MIT
"""Every single step timed by itself: how far the slow ones lie from the median, and what steps cost in silence."""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

import undertow
from undertow.accuracy.timing import Series, record

from . import core
from .models import GATES, Weights
from .report import Goal, Table

LIMIT = 3
MODELS = (("lstm", 64), ("lstm", 128))
REPEATS = 3
SILENT_SIZE = 64
#: Silent steps; the state is zero after about 45,000 of them.
SILENT_STEPS = 60_000
WINDOW = 2_000
#: Windows of the first silent steps, of the last ones before zero, and of the last ones of all.
PHASE = 5
PHASES = ("first silent", "before zero", "zero")
#: Memory of a unit: what is left of its state after a silent step.
KEEPS = 0.998


def tables(n_steps: int = 1_000_000) -> list[Table]:
    """n_steps: of each model, in C and in Python, REPEATS times."""
    return [tail(n_steps), silence()]


def tail(n_steps: int) -> Table:
    columns = [
        "model",
        "from",
        "p50 us",
        "p90",
        "p99",
        "p99.9",
        "max",
        "p99.9 / p50",
        "p99.9 / loop's",
        "core lost",
        "clock ns",
    ]
    result = Table(f"Single steps, {n_steps:,} of each", columns)
    program = core.build("bench_latency")
    with tempfile.TemporaryDirectory() as folder:
        for cell, size in MODELS:
            model = Weights.random(cell, size, size).undertow()
            path = Path(folder) / f"{cell}{size}.tow"
            model.save(path)
            runs = [_in_c(program, path, model.isa, n_steps) for _ in range(REPEATS)]
            for what, of in (("C", [run[0] for run in runs]), ("C, a loop in registers", [run[1] for run in runs])):
                clock, *us, lost = sorted(of, key=_ratio)[REPEATS // 2]  # the whole run of the median ratio
                ratio = Goal(us[3] / us[0], LIMIT, at_most=True) if what == "C" else us[3] / us[0]
                beside = float(np.median([step[4] / loop[4] for step, loop in runs])) if what == "C" else None
                result.rows.append(
                    [f"{cell} {size}", what, *(u / 1e3 for u in us), ratio, beside, f"{lost:.0f}", clock]
                )
            shown, in_python = _in_python(model, n_steps)
            result.rows.append([f"{cell} {size}", "Python", *shown, in_python, None, "", None])
            ratios = ", ".join(f"{_ratio(step):.2f} ({_ratio(loop):.2f})" for step, loop in runs)
            result.notes.append(f"{cell} {size} from C, p99.9 / p50 of each run, and (of the loop): {ratios}")
    result.notes.append(f"of {REPEATS} runs, the one of the median p99.9 / p50; on the wall")
    result.notes.append(
        "the loop lasts as long as the step and touches no memory: what the machine does to any program"
    )
    result.notes.append("core lost: how often the system gave the core to another program meanwhile")
    return result


def _ratio(run: list[float]) -> float:
    return run[4] / run[1]


def _in_c(program: Path, path: Path, isa: str, n_steps: int) -> tuple[list[float], list[float]]:
    """Of the step and of the loop, in nanoseconds: the clock's own, p50, p90, p99, p99.9, max; and preemptions."""
    done = subprocess.run([program, str(n_steps), isa, path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stderr}")
    step, loop = ([float(word) for word in line.split("\t")[2:]] for line in done.stdout.splitlines())
    return step, loop


def _in_python(model: undertow.Model, n_steps: int) -> tuple[list[float], Goal]:
    """(p50, p90, p99, p99.9, max) in microseconds, and p99.9 / p50: of the runs, the one of the median ratio."""
    size = next(iter(model.inputs.values())).size
    rng = np.random.default_rng(0)
    call = partial(model.stream().step, rng.standard_normal(size).astype(np.float32), out=np.empty(size, np.float32))
    record([call], [2_000])
    runs = []
    for _ in range(REPEATS):
        s = Series("step", "undertow", "warm", record([call], [n_steps])[0])
        us = [s.percentile(q) or float("nan") for q in (50.0, 90.0, 99.0, 99.9)]
        runs.append(([*us, s.max], us[3] / us[0]))
    shown, ratio = sorted(runs, key=lambda run: run[1])[REPEATS // 2]
    return shown, Goal(ratio, LIMIT, at_most=True)


def decaying(cell: str, size: int, isa: str | None = None) -> undertow.Model:
    """A layer whose state in silence shrinks by KEEPS a step. Without flushing it would stay at a subnormal for ever:
    the product of the smallest one and KEEPS rounds to itself."""
    w = Weights.random(cell, size, size)
    R, b = w.R.reshape(GATES[cell], size, size).copy(), np.zeros((GATES[cell], size), np.float32)
    keeps = np.float32(np.log(KEEPS / (1 - KEEPS)))  # sigmoid of it is KEEPS
    if cell == "rnn":
        R[0] = KEEPS * np.eye(size, dtype=np.float32)
        layer = undertow.RNN(w.W, R[0], b[0])
    elif cell == "gru":
        R[2], b[1] = 0, keeps  # r z n: in silence n is 0, and z keeps h
        layer = undertow.GRU(w.W, R.reshape(-1, size), b.ravel(), gate_order="rzn", reset_after=True)
    else:
        R[2], b[1] = 0, keeps  # i f g o: in silence g is 0, and f keeps c
        layer = undertow.LSTM(w.W, R.reshape(-1, size), b.ravel(), gate_order="ifgo")
    return undertow.Sequential([layer], name=f"{cell}-decays", isa=isa)


def silence() -> Table:
    columns = ["model", "zero from step", "with sound us", *(f"{phase} / sound" for phase in PHASES), "worst"]
    result = Table("Steps in silence, against steps with sound", columns)
    rng = np.random.default_rng(0)
    sound, nothing = rng.standard_normal(SILENT_SIZE).astype(np.float32), np.zeros(SILENT_SIZE, np.float32)
    for cell in GATES:
        model = decaying(cell, SILENT_SIZE)
        zero_from = _zero_from(model, sound, nothing)
        streams, out = [model.stream(), model.stream()], np.empty(SILENT_SIZE, np.float32)
        for stream in streams:
            for _ in range(100):
                stream.step(sound)
        calls = [partial(streams[0].step, sound, out=out), partial(streams[1].step, nothing, out=out)]
        loud, silent = (
            np.median(times.reshape(-1, WINDOW), axis=1) / 1e3 for times in record(calls, [SILENT_STEPS] * 2)
        )
        # Each window against the sound of its own turn, in which a slow spell of the machine cancels.
        ratios, zero = silent / loud, zero_from // WINDOW
        phases = (ratios[:PHASE], ratios[zero - PHASE : zero], ratios[-PHASE:])
        numbers = [float(np.median(phase)) for phase in phases]
        result.rows.append([f"{cell} {SILENT_SIZE}", f"{zero_from:,}", float(np.median(loud)), *numbers, max(numbers)])
    result.notes += [
        f"100 steps with sound, then {SILENT_STEPS:,} silent ones, in turns with a stream that goes on hearing",
        f"in silence a state shrinks by {KEEPS} a step, through numbers below 2^-100, to zero",
        f"of the medians of {WINDOW:,} neighbouring steps, the median of {PHASE}",
    ]
    return result


def _zero_from(model: undertow.Model, sound: np.ndarray, nothing: np.ndarray) -> int:
    """The silent step after which every state is zero for good; without one, this would measure something else."""
    stream = model.stream()
    for _ in range(100):
        stream.step(sound)
    smallest, last = np.inf, 0
    for t in range(SILENT_STEPS):
        stream.step(nothing)
        if t % 100 == 99:
            state = np.concatenate([np.abs(stream.state[name]).ravel() for name in model.states])
            if state.any():
                smallest, last = min(smallest, float(state[state > 0].min())), t + 1
    if last + (PHASE + 1) * WINDOW > SILENT_STEPS or not 2.0**-126 <= smallest < 2.0**-100:
        raise SystemExit(f"{model.name}: not zero until step {last}, smallest number {smallest:g}")
    return last + 100
