# SPDX-License-Identifier: MIT
"""States of one shape in a step whose cell was taken apart: names say which is which, whatever the cell does."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_files
import undertow
from onnx_files import lstm_step, model_of, node, onnx, stepped
from tolerances import FLOAT32_PEER

H = 5


def save(folder, nodes, inputs, outputs, weights):
    """inputs, outputs: name -> width"""
    sides = ({name: [1, n] for name, n in side.items()} for side in (inputs, outputs))
    weights = {n: np.asarray(w, np.int64 if n == "parts" else np.float32) for n, w in weights.items()}
    model = model_of(nodes, *sides, weights)
    onnx.checker.check_model(model)
    return onnx_files.save(model, folder)


@pytest.mark.parametrize("hidden, memory", [("h", "c"), ("c", "h"), ("state_2", "state_1")])
def test_lstm_step(tmp_path, hidden, memory):
    n_in = 3
    rng = np.random.default_rng(0)
    nodes = [
        node("Gemm", "x W b", "a", transB=1),
        *lstm_step(hidden, memory, f"{hidden}_out", f"{memory}_out", recurrent="R rb"),
        node("MatMul", f"{hidden}_out V", "y"),
    ]
    weights = {"W": rng.normal(size=(4 * H, n_in)), "R": rng.normal(size=(4 * H, H)), "V": rng.normal(size=(H, 2))}
    weights |= {"b": rng.normal(size=4 * H), "rb": rng.normal(size=4 * H), "parts": np.full(4, H)}
    path = save(
        tmp_path,
        nodes,
        {"x": n_in, **dict.fromkeys(sorted([hidden, memory]), H)},
        {"y": 2, **dict.fromkeys(sorted([f"{hidden}_out", f"{memory}_out"]), H)},
        weights,
    )
    stream = undertow.load(path).stream()
    X = rng.normal(size=(20, n_in)).astype(np.float32)
    states = {name: (f"{name}_out", (1, H)) for name in (hidden, memory)}
    for x, y in zip(X, stepped(path, {"x": X[:, None]}, states)["y"], strict=True):
        np.testing.assert_allclose(stream.step(x), y[0], rtol=0, atol=FLOAT32_PEER)
