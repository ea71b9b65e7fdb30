# SPDX-License-Identifier: MIT
"""100 timesteps in one call, batch 1, against the best of its peers on one thread; and with small weights."""

from __future__ import annotations

import sys
import warnings
from functools import partial

import numpy as np

from . import fewer, mnn_peer, models, openvino_peer, tract_peer
from .clock import Statement, measure
from .models import Contender, Weights
from .report import Goal, Table
from .weights import undertow_run

N_STEPS = 100
#: input = hidden -> how many times faster than the best of the others
TARGETS = {16: 5, 64: 2, 128: 1.5, 256: 1.05, 512: 1.05, 1024: 1.1}
#: input = hidden, from which on small weights are to pay
FEWER_FROM = 128
FEWER_TARGETS = fewer.Targets(float32=1.75, default=1, openvino=2)


def ort_runs(w: Weights, X: np.ndarray) -> list[Contender]:
    import onnxruntime as ort

    session = models.ort_session(w.onnx(len(X), ("Y",)))
    x = X[:, None, :].copy()
    y = np.zeros((len(X), 1, 1, w.n_hidden), np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("Y", ort.OrtValue.ortvalue_from_numpy(y))

    def answer(X: np.ndarray) -> np.ndarray:
        return session.run(None, {"x": X[:, None, :]})[0].reshape(len(X), -1)

    def answer_bound(X: np.ndarray) -> np.ndarray:
        x[:, 0] = X
        session.run_with_iobinding(binding)
        return y.reshape(len(X), -1).copy()

    return [
        Contender("ORT", Statement("run(None, {'x': x})", {"run": session.run, "x": x}), answer),
        Contender(
            "ORT", Statement("run(binding)", {"run": session.run_with_iobinding, "binding": binding}), answer_bound
        ),
    ]


def torch_runs(w: Weights, X: np.ndarray) -> list[Contender]:
    """Eager, and traced and frozen; both under `models.inference_mode`."""
    import torch

    torch.set_num_threads(1)
    module = w.torch()
    x = torch.from_numpy(X[:, None, :].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(module, (x,)))
    for _ in range(3):
        frozen(x)  # it specialises itself on its first calls

    def contender(run):  # type: ignore[no-untyped-def]
        def answer(X: np.ndarray) -> np.ndarray:
            return run(torch.from_numpy(X[:, None, :].copy()))[0].numpy().reshape(len(X), -1)

        return Contender("PyTorch", Statement("run(x)", {"run": run, "x": x}), answer)

    return [contender(module), contender(frozen)]


PEERS = {
    "ORT": ort_runs,
    "PyTorch": torch_runs,
    "OpenVINO": openvino_peer.runs,
    "tract": tract_peer.runs,
    "MNN": mnn_peer.runs,
}


def tables(seconds: float) -> list[Table]:
    """Of one run: in float32, and with small weights. seconds: for each cell and size."""
    rng = np.random.default_rng(2)
    names = ["undertow", *PEERS]
    result = Table(
        f"{N_STEPS} timesteps in one call, batch 1 (us, median)",
        ["cell, input = hidden", *names, "vs the best of them"],
    )
    beside = fewer.table(f"{N_STEPS} timesteps in one call, small weights (us, median)", "cell, input = hidden")
    missing: list[str] = []
    for cell in models.CELLS:
        for size, target in TARGETS.items():
            w = Weights.random(cell, size, size)
            X = rng.standard_normal((N_STEPS, size)).astype(np.float32)
            contenders = [undertow_run(w, X, precision) for precision in ("float32", *fewer.PRECISIONS)]
            missing.clear()
            for name, make in (PEERS | {"OpenVINO default": partial(openvino_peer.runs, default=True)}).items():
                with models.optional(name, missing):
                    contenders += make(w, X)
            with models.inference_mode():
                models.check(contenders, X)
                contenders = models.fastest_ways(contenders)
                times = measure([c.statement for c in contenders], seconds)
            best = models.best_ways(contenders, times)
            result.mark_noise(f"{cell} {size}", [t.spread for t in times])
            peers = [best[name] for name in PEERS if name in best]
            ratio = Goal(min(t.times_slower_than(times[0]) for t in peers), target) if peers else None
            medians = [best[name].median if name in best else None for name in names]
            result.rows.append([f"{cell} {size}", *medians, ratio])
            targets = FEWER_TARGETS if size >= FEWER_FROM else fewer.Targets()
            beside.rows.append(fewer.row(f"{cell} {size}", best, targets))
            print(f"  sequence: {cell} {size} done", file=sys.stderr)
    result.notes += missing
    beside.notes += fewer.notes(missing)
    return [result, beside]
