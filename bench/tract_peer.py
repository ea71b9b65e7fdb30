# SPDX-License-Identifier: MIT
"""tract, in float32 on one thread: tensors that go from call to call, and its own streaming with the state inside."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .clock import Statement
from .models import Contender, Weights

NAME = "tract"


def _model(file: bytes, *facts: str) -> Any:
    """facts: shapes and type of the inputs, where the file's own are not meant."""
    import tract

    with tempfile.TemporaryDirectory() as folder:  # it reads files by their names alone
        path = Path(folder) / "layer.onnx"
        path.write_bytes(file)
        model = tract.onnx().load(path)
        for i, fact in enumerate(facts):
            model.set_input_fact(i, fact)
        return model.into_model()


def runs(w: Weights, X: np.ndarray) -> list[Contender]:
    """All timesteps X (T, I) in one call, from a zero state: a state of its own that is used again would go on."""
    import tract

    run = _model(w.onnx(len(X), ("Y",))).into_runnable().run
    tensor = tract.Tensor.from_numpy

    def answer(X: np.ndarray) -> np.ndarray:
        return run([tensor(X[:, None, :].copy())])[0].to_numpy().reshape(len(X), -1)

    x = tensor(X[:, None, :].copy())
    return [Contender(NAME, Statement("run([x])", {"run": run, "x": x}), answer)]


def steps(w: Weights, X: np.ndarray) -> list[Contender]:
    """One timestep of one stream X (I,) or of a batch of them X (batch, I). The frame is there as a tensor already."""
    batch = X.size // w.n_inputs
    return [_carried(w, X, batch), _streaming(w, X, batch)]


def _carried(w: Weights, X: np.ndarray, batch: int) -> Contender:
    """The state comes out of one call and goes into the next."""
    import tract

    tensor = tract.Tensor.from_numpy
    run = _model(w.onnx(1, tuple(f"Y_{s}" for s in w.states), batch)).into_runnable().spawn_state().run
    zeros = [tensor(np.zeros((1, batch, w.n_hidden), np.float32)) for _ in w.states]

    def answer(X: np.ndarray) -> np.ndarray:
        state, rows = zeros, []
        for row in X:
            state = run([tensor(row.reshape(1, batch, -1).copy()), *state])
            rows.append(state[0].to_numpy().reshape(*row.shape[:-1], w.n_hidden))
        return np.array(rows)

    names = {"run": run, "x": tensor(X.reshape(1, batch, -1).copy()), "zeros": zeros}
    code = f"{', '.join(w.states)}, = run([x, {', '.join(w.states)}])"
    setup = f"{', '.join(w.states)}, = zeros"
    return Contender(NAME, Statement(code, names, setup, per=batch), answer)


def _streaming(w: Weights, X: np.ndarray, batch: int) -> Contender:
    """Its transform `Pulse`: a model over S timesteps becomes one of a timestep that keeps its state."""
    import onnx
    import tract

    tensor = tract.Tensor.from_numpy
    file = onnx.load_from_string(w.onnx(2, ("Y",), batch))
    for value in (*file.graph.input, *file.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "S"
    model = _model(file.SerializeToString(), f"S,{batch},{w.n_inputs},f32")
    model.transform(tract.Pulse("1"))
    runnable = model.into_runnable()

    def answer(X: np.ndarray) -> np.ndarray:
        fresh = runnable.spawn_state()
        rows = [fresh.run([tensor(row.reshape(1, batch, -1).copy())])[0].to_numpy() for row in X]
        return np.array(rows).reshape(*X.shape[:-1], w.n_hidden)

    names = {"run": runnable.spawn_state().run, "x": tensor(X.reshape(1, batch, -1).copy())}
    return Contender(NAME, Statement("y = run([x])", names, per=batch), answer)
