# SPDX-License-Identifier: MIT
"""OpenVINO on one thread: in float32, and on its defaults, where it takes the precision that suits the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import models
from .clock import Statement
from .models import Contender, Weights

#: precision -> least and largest difference from float32 outputs in [-1, 1]
ERRORS = {"f32": (0.0, models.AGREE), "bf16": (1e-5, 4e-2), "f16": (1e-6, 5e-3)}


def compiled(model: bytes | Path, default: bool = False, shapes: Mapping[str, Sequence[int]] | None = None) -> Any:
    """Compiled for latency on one thread; in float32, or as it likes best.

    shapes: of inputs whose sizes the file leaves open.
    """
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    if not default:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    core = ov.Core()
    read = core.read_model(model)
    if shapes is not None:
        read.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
    return core.compile_model(read, "CPU", settings)


def precision(compiled_model: Any) -> str:
    """The one that it computes in: "f32", "bf16" or "f16"."""
    return compiled_model.get_property("INFERENCE_PRECISION_HINT").to_string()


def runs(w: Weights, X: np.ndarray, default: bool = False) -> list[Contender]:
    """All timesteps X (T, I) in one call: one request, reused, its input tensor set once."""
    import openvino as ov

    model = compiled(w.onnx(len(X), ("Y",)), default)
    request = model.create_infer_request()
    x = X[:, None, :].copy()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))

    def answer(X: np.ndarray) -> np.ndarray:
        x[:, 0] = X
        request.infer()
        return request.get_output_tensor().data.reshape(len(X), -1).copy()

    return [_contender(Statement("infer()", {"infer": request.infer}), answer, model, default)]


def steps(w: Weights, X: np.ndarray, default: bool = False) -> list[Contender]:
    """One timestep of one stream X (I,) or of a batch of them X (batch, I).

    Two requests: each writes its state into the memory that the other one reads.
    """
    import openvino as ov

    outputs = tuple(f"Y_{s}" for s in w.states)
    batch = X.size // w.n_inputs
    model = compiled(w.onnx(1, outputs, batch), default)
    x = X.reshape(1, batch, -1).copy()
    arrays = [[np.zeros((1, batch, w.n_hidden), np.float32) for _ in w.states] for _ in range(2)]
    requests = []
    for now, then in ((0, 1), (1, 0)):
        request = model.create_infer_request()
        request.set_tensor("x", ov.Tensor(x, shared_memory=True))
        for i, (name, output) in enumerate(zip(w.states, outputs, strict=True)):
            request.set_tensor(name, ov.Tensor(arrays[now][i], shared_memory=True))
            request.set_tensor(output, ov.Tensor(arrays[then][i], shared_memory=True))
        requests.append(request)

    def answer(X: np.ndarray) -> np.ndarray:
        keep = x.copy()
        for a in arrays[0]:
            a[...] = 0
        rows = []
        for t, row in enumerate(X):
            x[0] = row
            requests[t % 2].infer()
            rows.append(arrays[1 - t % 2][0].reshape(*row.shape[:-1], w.n_hidden).copy())
        x[...] = keep
        return np.array(rows)

    names = {"there": requests[0].infer, "back": requests[1].infer}
    return [_contender(Statement("there(); back()", names, per=2 * batch), answer, model, default)]


def _contender(statement: Statement, answer: Any, model: Any, default: bool) -> Contender:
    chosen = precision(model)
    if chosen not in ERRORS:
        raise SystemExit(f"OpenVINO computes in {chosen!r}: say in bench/openvino_peer.py how far that may be off")
    return Contender("OpenVINO default" if default else "OpenVINO", statement, answer, ERRORS[chosen])


def default_precision() -> str:
    """What it takes on this CPU when nobody asks for another."""
    return precision(compiled(Weights.random("gru", 4, 4).onnx(1, ("Y",)), default=True))
