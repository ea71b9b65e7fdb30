# SPDX-License-Identifier: MIT
"""Many streams over one model: `pool.step` against batches of its peers, and on two threads."""

from __future__ import annotations

import sys
import time
import warnings
from functools import partial

import numpy as np

from . import clock, core, fewer, mnn_peer, models, openvino_peer, step, tract_peer
from .clock import Statement, measure
from .models import GATES, Contender, Weights
from .report import Goal, Table
from .weights import ERRORS, small

CELLS = ("gru", "lstm")
N_STREAMS = 64
#: input = hidden -> how many times faster than the best of the others
TARGETS = {64: 2.2, 128: 1.5, 256: 1.15, 512: 1.15}
FEWER_TARGETS = fewer.Targets(float32=1.75, default=1, openvino=2)
#: streams, units and threads of the second table, and how many times faster than one thread
MANY, MANY_SIZE, THREADS, THREADS_TARGET = 4096, 64, 2, 1.8


def undertow_pool(w: Weights, X: np.ndarray, threads: int = 1, precision: str = "float32") -> Contender:
    """X: (batch, I)"""
    model = small(w, precision)
    pool = model.pool(len(X), threads=threads)
    ids = pool.open(len(X))
    out = np.empty((len(X), w.n_hidden), np.float32)

    def answer(X: np.ndarray) -> np.ndarray:
        fresh = model.pool(X.shape[1], threads=threads)
        opened = fresh.open(X.shape[1])
        return np.array([fresh.step(opened, row, out=out).copy() for row in X])

    names = {"step": pool.step, "ids": ids, "X": X, "out": out}
    error = ERRORS.get(precision, (0.0, models.AGREE))
    return Contender(models.ours(precision), Statement("step(ids, X, out=out)", names, per=len(X)), answer, error)


def ort_batches(w: Weights, X: np.ndarray) -> list[Contender]:
    """The state as arrays that come out of one call and go into the next, and bound in turn."""
    found = [step.ort_run(w, X, exported=False), step.ort_ping_pong(w, X)]
    for contender in found:
        contender.name = "ORT"
        contender.statement.per *= len(X)
    return found


def torch_batches(w: Weights, X: np.ndarray) -> list[Contender]:
    """Eager, and traced and frozen; both under `models.inference_mode`."""
    import torch

    torch.set_num_threads(1)
    module = w.torch()
    h = torch.zeros(1, len(X), w.n_hidden)
    zeros = (h, h) if w.cell == "lstm" else h
    x = torch.from_numpy(X[None].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(module, (x, zeros)))
    for _ in range(3):
        frozen(x, zeros)  # it specialises itself on its first calls

    def contender(run):  # type: ignore[no-untyped-def]
        def answer(X: np.ndarray) -> np.ndarray:
            state, rows = zeros, []
            for row in X:
                y, state = run(torch.from_numpy(row[None].copy()), state)
                rows.append(y[0].numpy().copy())
            return np.array(rows)

        names = {"run": run, "x": x, "zeros": zeros}
        statement = Statement("y, state = run(x, state)", names, setup="state = zeros", per=len(X))
        return Contender("PyTorch", statement, answer)

    return [contender(module), contender(frozen)]


PEERS = {
    "ORT": ort_batches,
    "PyTorch": torch_batches,
    "OpenVINO": openvino_peer.steps,
    "tract": tract_peer.steps,
    "MNN": mnn_peer.steps,
}


def peak_gflops(isa: str, seconds: float) -> float:
    """What this core multiplies and adds in registers; 0 where that is not measured."""
    return float(core.output([str(core.build("bench_peak")), f"{seconds:g}", isa]))


def layer_tables(seconds: float) -> list[Table]:
    """Of one run: in float32, and with small weights. seconds: for each cell and size."""
    rng = np.random.default_rng(7)
    isa = models.isa()
    peak = peak_gflops(isa, min(seconds, 0.5))
    names = ["undertow", *PEERS]
    what = f"A step of {N_STREAMS} streams from Python ({isa}; us for each stream, median)"
    result = Table(
        what,
        ["cell, input = hidden", *names, "vs the best of them", "that ratio at the peak", "GFLOP/s", "of the peak"],
    )
    beside = fewer.table(what.replace(" from", ", small weights, from"), "cell, input = hidden")
    missing: list[str] = []
    for cell in CELLS:
        for size, target in TARGETS.items():
            w = Weights.random(cell, size, size)
            X = rng.standard_normal((20, N_STREAMS, size)).astype(np.float32)
            contenders = [undertow_pool(w, X[0])]
            contenders += [undertow_pool(w, X[0], precision=precision) for precision in fewer.PRECISIONS]
            missing.clear()
            for name, make in (PEERS | {"OpenVINO default": partial(openvino_peer.steps, default=True)}).items():
                with models.optional(name, missing):
                    contenders += make(w, X[0])
            with models.inference_mode():
                models.check(contenders, X)
                contenders = models.fastest_ways(contenders)
                times = measure([c.statement for c in contenders], seconds)
            best = models.best_ways(contenders, times)
            peers = [best[name] for name in PEERS if name in best]
            result.mark_noise(f"{cell} {size}", [t.spread for t in times])
            kiloflops = 2e-3 * GATES[cell] * size * 2 * size  # of the matrices alone
            rate = kiloflops / times[0].median
            ratio = Goal(min(t.times_slower_than(times[0]) for t in peers), target) if peers else None
            limit = min(t.median for t in peers) * peak / kiloflops if peers and peak else None
            medians = [best[name].median if name in best else None for name in names]
            row = [f"{cell} {size}", *medians, ratio, limit, rate]
            result.rows.append([*row, f"{rate / peak:.0%}" if peak else None])
            beside.rows.append(fewer.row(f"{cell} {size}", best, FEWER_TARGETS))
            print(f"  pool: {cell} {size} done", file=sys.stderr)
    if peak:
        result.notes.append(f"the peak of this core is {peak:.0f} GFLOP/s: independent multiply-adds on registers")
    result.notes += missing
    beside.notes += fewer.notes(missing)
    return [result, beside]


def threads_table(seconds: float) -> Table:
    """seconds: for each cell. On every core that this process may use, and by the clock on the wall."""
    columns = [f"{MANY} streams", "1 thread us", f"{THREADS} threads us", "times faster"]
    result = Table(f"A step of {MANY} streams of {MANY_SIZE} units, in all (median, on the wall)", columns)
    rng = np.random.default_rng(8)
    with clock.unpinned() as cores:
        if cores < THREADS:
            result.notes.append(f"not measured: this process may use {cores} core")
            return result
        for cell in CELLS:
            w = Weights.random(cell, MANY_SIZE, MANY_SIZE)
            X = rng.standard_normal((3, MANY, MANY_SIZE)).astype(np.float32)
            contenders = [undertow_pool(w, X[0], threads) for threads in (1, THREADS)]
            contenders[1].error = (0.0, 0.0)  # results do not depend on the number of threads
            models.check(contenders, X)
            one, two = measure([c.statement for c in contenders], seconds, time.perf_counter)
            result.mark_noise(cell, [one.spread, two.spread])
            ratio = Goal(one.times_slower_than(two), THREADS_TARGET)
            result.rows.append([f"{cell} {MANY_SIZE}", one.median * MANY, two.median * MANY, ratio])
    return result


def tables(seconds: float) -> list[Table]:
    return [*layer_tables(seconds), threads_table(seconds)]
