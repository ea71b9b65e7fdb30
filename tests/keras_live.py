# SPDX-License-Identifier: MIT
"""Models that live in Keras, saved in both of its forms, loaded, and compared with what Keras gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import undertow
from keras_files import streamed
from tolerances import FLOAT32_MODEL

#: timesteps where a model leaves their number open
T = 8


def saved(model: Any, folder: Path) -> list[Path]:
    """Both files that Keras writes; biases get numbers of their own."""
    rng = np.random.default_rng(4)
    model.set_weights([w + rng.normal(0, 0.3, w.shape).astype(w.dtype) for w in model.get_weights()])
    for suffix in ("keras", "h5"):
        model.save(folder / f"m.{suffix}")
    return [folder / "m.keras", folder / "m.h5"]


def numbers(tensor: Any) -> np.ndarray:
    """For an input of a model: ids without the one that says padding, masks that hide nothing."""
    rng = np.random.default_rng(5)
    shape = [n or T for n in tensor.shape[1:]]
    if tensor.dtype == "int32":
        return rng.integers(1, 7, shape).astype(np.int32)
    return np.ones(shape, bool) if tensor.dtype == "bool" else rng.normal(size=shape).astype(np.float32)


def given_by(model: Any) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    X = {tensor._keras_history.operation.name: numbers(tensor) for tensor in model.inputs}
    found = model([x[None] for x in X.values()])
    return X, [np.asarray(y.detach())[0] for y in (found if isinstance(found, (list, tuple)) else [found])]


def compared(model: Any, folder: Path, **options: Any) -> list[undertow.Model]:
    """Both files, loaded, against Keras: whole, and step by step where that is possible."""
    loaded = []
    for path in saved(model, folder):
        X, want = given_by(model)
        ours = undertow.load(path, **options)
        inputs = {name: X[name] for name in ours.graph.inputs}
        clip = all(ours.graph.shape(name) == x.shape for name, x in inputs.items())
        inputs = {name: x[None] for name, x in inputs.items()} if clip else inputs
        if not clip:  # what comes once per sequence is given with every frame
            n = T // ours.frames_in
            inputs = {k: np.tile(x, (n, 1)) if ours.graph.shape(k) == x.shape else x for k, x in inputs.items()}
        one = next(iter(inputs.values()))
        given = ours.run(inputs if len(inputs) > 1 else one)
        rows = list(given.values()) if isinstance(given, dict) else [given]
        if ours.streamable and not clip and ours.latency == 0 and ours.frames_in == 1:
            steps = stepped(ours, inputs)
            for y, in_steps in zip(rows, steps, strict=True):
                np.testing.assert_array_equal(in_steps, y)
        elif ours.streamable and not clip and len(inputs) == len(rows) == 1:
            np.testing.assert_array_equal(streamed(ours, one).ravel(), rows[0].ravel())
        for y, expected in zip(rows, want, strict=True):
            y = y.reshape(-1, *y.shape[2:]) if not clip and ours.frames_in == 1 < ours.frames_out else y
            y = y[-1] if y.ndim > expected.ndim else y
            late = len(y) - len(expected) if y.ndim and not clip else 0
            np.testing.assert_allclose(y[late:] if late else y, expected, rtol=0, atol=FLOAT32_MODEL)
        loaded.append(ours)
    return loaded


def stepped(model: undertow.Model, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What a stream gives for the frames one by one, each output on end."""
    stream, rows = model.stream(), []
    for t in range(len(next(iter(inputs.values())))):
        frame = {name: x[t] for name, x in inputs.items()}
        given = stream.step(frame if len(frame) > 1 else next(iter(frame.values())))
        rows.append([np.array(y) for y in (given.values() if isinstance(given, dict) else [given])])
    return [np.stack(y) for y in zip(*rows, strict=True)]
