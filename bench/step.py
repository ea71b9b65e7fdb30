# SPDX-License-Identifier: MIT
"""One timestep from Python, against ONNX Runtime: as its users call it, and at its best."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import models
from .clock import Statement, measure
from .models import Contender, Weights
from .report import Goal, Table

#: input = hidden -> how many times faster than session.run, and than ping-pong io-binding
TARGETS = {16: (50, 25), 40: (30, 14), 64: (20, 9), 128: (9, 4.5), 256: (1.6, 1.25), 512: (1.1, 1.1)}
CELLS = ("gru", "lstm")


def undertow_step(w: Weights, x: np.ndarray) -> list[Contender]:
    """A step that makes its output, and one that writes it to an array of the caller's."""
    stream = w.undertow().stream()
    out = np.empty(w.n_hidden, np.float32)

    def answer(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return np.array([stream.step(row) for row in X])

    def answer_into(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return np.array([stream.step(row, out=out).copy() for row in X])

    names = {"step": stream.step, "x": x, "out": out}
    return [
        Contender("undertow", Statement("y = step(x)", names), answer),
        Contender("undertow, out=", Statement("step(x, out=out)", names), answer_into),
    ]


def ort_run(w: Weights, x: np.ndarray, exported: bool) -> Contender:
    """`session.run`, the state carried from call to call by the caller: the model as PyTorch exports it, or its one
    node and no output but the state (of which the output is part).

    x: (I,), or (batch, I) if not `exported`
    """
    outputs = tuple(f"Y_{s}" for s in w.states)
    model = w.onnx_exported() if exported else w.onnx(1, outputs, x.size // w.n_inputs)
    return ort_run_of(models.ort_session(model), w, x, exported)


def ort_run_of(session: Any, w: Weights, x: np.ndarray, exported: bool) -> Contender:
    """As `ort_run`, with a session of a model with the same inputs and outputs."""
    frame, zeros = x.reshape(1, -1, w.n_inputs), np.zeros((1, x.size // w.n_inputs, w.n_hidden), np.float32)

    def answer(X: np.ndarray) -> np.ndarray:
        state, rows = [zeros] * len(w.states), []
        for row in X:
            got = session.run(None, {"x": row.reshape(frame.shape), **dict(zip(w.states, state, strict=True))})
            state = got[exported:]
            rows.append(got[0].reshape(*row.shape[:-1], w.n_hidden))
        return np.array(rows)

    # What stands in a user's loop: `h` (and `c`) come out of one call and go into the next.
    feed = ", ".join(f"'{name}': {name}" for name in ("x", *w.states))
    taken = ", ".join((*(("y",) if exported else ()), *w.states))
    names = {"run": session.run, "x": frame, "zeros": zeros}
    name = "ORT run" if exported else "ORT run, lean"
    return Contender(name, Statement(f"{taken}, = run(None, {{{feed}}})", names, setup="h = c = zeros"), answer)


def ort_ping_pong(w: Weights, x: np.ndarray) -> Contender:
    """Two sets of preallocated state and two bindings: each call writes where the next one reads. The frame is written
    in place by whoever makes it, so nothing is copied and nothing is allocated.

    x: (I,) or (batch, I)
    """
    import onnxruntime as ort

    outputs = tuple(f"Y_{s}" for s in w.states)
    batch = x.size // w.n_inputs
    session = models.ort_session(w.onnx(1, outputs, batch))
    x = np.ascontiguousarray(x.reshape(1, batch, -1)).copy()
    frame = ort.OrtValue.ortvalue_from_numpy(x)  # on a CPU: the array's own memory
    arrays = [[np.zeros((1, batch, w.n_hidden), np.float32) for _ in w.states] for _ in range(2)]
    values = [[ort.OrtValue.ortvalue_from_numpy(a) for a in side] for side in arrays]
    bindings = []
    for now, then in ((0, 1), (1, 0)):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", frame)
        for i, (name, output) in enumerate(zip(w.states, outputs, strict=True)):
            binding.bind_ortvalue_input(name, values[now][i])
            binding.bind_ortvalue_output(output, values[then][i])
        bindings.append(binding)

    def answer(X: np.ndarray) -> np.ndarray:
        keep = x.copy()
        for a in arrays[0]:
            a[...] = 0
        rows = []
        for t, row in enumerate(X):
            x[...] = row
            session.run_with_iobinding(bindings[t % 2])
            rows.append(arrays[1 - t % 2][0].reshape(*row.shape[:-1], w.n_hidden).copy())
        x[...] = keep
        return np.array(rows)

    names = {"run": session.run_with_iobinding, "there": bindings[0], "back": bindings[1]}
    return Contender("ORT io-binding", Statement("run(there); run(back)", names, per=2), answer)


def table(seconds: float) -> Table:
    """seconds: for each cell and size."""
    rng = np.random.default_rng(1)
    columns = ["cell, input = hidden", "undertow us", "out= us", "ORT run us", "lean us", "io-binding us"]
    columns += ["vs run", "vs lean run", "vs io-binding"]
    result = Table(f"One step from Python ({models.isa()}, median)", columns)
    missing: list[str] = []
    for cell in CELLS:
        for size, (run_target, binding_target) in TARGETS.items():
            w = Weights.random(cell, size, size)
            X = rng.standard_normal((20, size)).astype(np.float32)
            contenders = undertow_step(w, X[0].copy())
            missing.clear()
            with models.optional("ONNX Runtime", missing):
                contenders += [ort_run(w, X[0].copy(), True), ort_run(w, X[0].copy(), False), ort_ping_pong(w, X[0])]
            models.check(contenders, X)
            times = measure([c.statement for c in contenders], seconds)
            row = [f"{cell} {size}", *(t.median for t in times)]
            result.mark_noise(f"{cell} {size}", [t.spread for t in times])
            if len(times) == 5:
                ours, ours_into, run, lean, bound = times
                # like with like: outputs made in the call, and outputs written to memory that is there
                row += [
                    Goal(run.times_slower_than(ours), run_target),
                    lean.times_slower_than(ours),
                    Goal(bound.times_slower_than(ours_into), binding_target),
                ]
            result.rows.append(row + [None] * (len(columns) - len(row)))
    result.notes += missing
    return result
