# SPDX-License-Identifier: MIT
"""100 timesteps in one call, batch 1, against the best of ONNX Runtime, PyTorch and OpenVINO on one thread."""

from __future__ import annotations

import warnings

import numpy as np

from . import models
from .clock import Statement, measure
from .models import Contender, Weights
from .report import Goal, Table

N_STEPS = 100
#: input = hidden -> how many times faster than the best of the others
TARGETS = {16: 5, 64: 2, 128: 1.5, 256: 1.05, 512: 1.05, 1024: 1.1}


def undertow_run(w: Weights, X: np.ndarray) -> Contender:
    stream = w.undertow().stream()
    out = np.empty((len(X), w.n_hidden), np.float32)

    def answer(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return stream.run(X)

    names = {"reset": stream.reset, "run": stream.run, "X": X, "out": out}
    return Contender("undertow", Statement("reset(); run(X, out=out)", names), answer)


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


def openvino_runs(w: Weights, X: np.ndarray) -> list[Contender]:
    """One request, reused, its input tensor set once."""
    import openvino as ov

    request = models.openvino_model(w.onnx(len(X), ("Y",))).create_infer_request()
    x = X[:, None, :].copy()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))

    def answer(X: np.ndarray) -> np.ndarray:
        x[:, 0] = X
        request.infer()
        return request.get_output_tensor().data.reshape(len(X), -1).copy()

    return [Contender("OpenVINO", Statement("infer()", {"infer": request.infer}), answer)]


PEERS = {"ORT": ort_runs, "PyTorch": torch_runs, "OpenVINO": openvino_runs}


def table(seconds: float) -> Table:
    """seconds: for each cell and size."""
    rng = np.random.default_rng(2)
    names = ["undertow", *PEERS]
    result = Table(
        f"{N_STEPS} timesteps in one call, batch 1 (us, median)",
        ["cell, input = hidden", *names, "vs the best of them"],
    )
    missing: list[str] = []
    for cell in models.CELLS:
        for size, target in TARGETS.items():
            w = Weights.random(cell, size, size)
            X = rng.standard_normal((N_STEPS, size)).astype(np.float32)
            contenders = [undertow_run(w, X)]
            missing.clear()
            for name, make in PEERS.items():
                with models.optional(name, missing):
                    contenders += make(w, X)
            with models.inference_mode():
                models.check(contenders, X)
                times = measure([c.statement for c in contenders], seconds)
            best = {
                name: min(
                    (t for c, t in zip(contenders, times, strict=True) if c.name == name),
                    key=lambda t: t.median,
                    default=None,
                )
                for name in names
            }
            peers = [t for name, t in best.items() if t and name != "undertow"]
            result.mark_noise(f"{cell} {size}", [t.spread for t in times])
            ratio = Goal(min(t.times_slower_than(times[0]) for t in peers), target) if peers else None
            result.rows.append([f"{cell} {size}", *(t and t.median for t in best.values()), ratio])
    result.notes += missing
    return result
