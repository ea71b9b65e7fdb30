# SPDX-License-Identifier: MIT
"""Neural Amp Modeler files: written here with NumPy, computed here in float64; everything else refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_MODEL
from undertow import FormatError, ShapeError, UnsupportedError


def capture(rng, n_in=1, hidden=5, n_layers=1, n_out=1):
    """The arrays of one capture: per layer [W R], b, h0, c0, then the head."""
    layers = [
        [
            rng.normal(0, 0.5, shape)
            for shape in ((4 * hidden, (hidden if k else n_in) + hidden), (4 * hidden,), (hidden,), (hidden,))
        ]
        for k in range(n_layers)
    ]
    return layers, [rng.normal(0, 0.5, (n_out, hidden)), rng.normal(0, 0.5, n_out)]


def as_file(layers, head, **changes):
    hidden = len(layers[0][2])
    flat = np.concatenate([a.ravel() for a in (*(a for layer in layers for a in layer), *head)])
    config = {"input_size": layers[0][0].shape[1] - hidden, "hidden_size": hidden, "num_layers": len(layers)}
    if len(head[1]) != 1:
        config |= {"in_channels": config["input_size"], "out_channels": len(head[1])}
    return {
        "version": "0.5.4",
        "metadata": {"name": "a test", "gain": 0.1},
        "architecture": "LSTM",
        "config": config,
        "weights": flat.tolist(),
        "sample_rate": 48000,
    } | changes


def save(tmp_path, table, name="amp.nam"):
    path = tmp_path / name
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return path


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def truth(layers, head, X):
    """Float64, written from the description of the format."""
    states = [(h.copy(), c.copy()) for _, _, h, c in layers]
    rows = []
    for x in X.astype(np.float64):
        for k, (w, b, _, _) in enumerate(layers):
            h, c = states[k]
            i, f, g, o = np.split(w @ np.concatenate([x, h]) + b, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            states[k] = (x := sigmoid(o) * np.tanh(c), c)
        rows.append(head[0] @ x + head[1])
    return np.array(rows), states


@pytest.mark.parametrize(
    "sizes", [{}, {"hidden": 16, "n_layers": 2}, {"n_in": 3, "n_layers": 3, "n_out": 2}], ids=["one", "two", "channels"]
)
def test_captures_equal_float64(tmp_path, sizes):
    rng = np.random.default_rng(11)
    layers, head = capture(rng, **sizes)
    # what the file's decimals are once they are float32
    layers = [[a.astype(np.float32).astype(np.float64) for a in layer] for layer in layers]
    head = [a.astype(np.float32).astype(np.float64) for a in head]
    model = undertow.load(save(tmp_path, as_file(layers, head)))
    X = rng.normal(0, 1, (200, layers[0][0].shape[1] - len(layers[0][2]))).astype(np.float32)
    want, states = truth(layers, head, X)
    stream = model.stream()
    got = np.stack([stream.step(x) for x in X])
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_MODEL)
    np.testing.assert_array_equal(model.run(X), got)
    for k, (h, c) in enumerate(states):
        np.testing.assert_allclose(stream.state[f"lstm_{k + 1}"][0], h, rtol=0, atol=FLOAT32_MODEL)
        np.testing.assert_allclose(stream.state[f"lstm_{k + 1}"][1], c, rtol=0, atol=FLOAT32_MODEL)
    assert "48000 Hz" in str(model)


def test_a_rate_need_not_be_stated(tmp_path):
    layers, head = capture(np.random.default_rng(1))
    for rate in (None, -1, -1.0):
        assert "not stated" in str(undertow.load(save(tmp_path, as_file(layers, head, sample_rate=rate))))


def changed(**changes):
    return as_file(*capture(np.random.default_rng(2)), **changes)


def config(**changes):
    table = changed()
    return table | {"config": table["config"] | changes}


REFUSED = [
    (changed(architecture="WaveNet"), UnsupportedError, "'WaveNet' is not supported"),
    (changed(architecture=["LSTM"]), UnsupportedError, "architecture"),
    (changed(version="0.4.0"), UnsupportedError, r"version '0\.4\.0'"),
    (changed(version="1.0.0"), UnsupportedError, r"version '1\.0\.0'"),
    (changed(version="0.5"), FormatError, "version must look like"),
    (changed(version=5), FormatError, "version must look like"),
    (changed(extra=1), UnsupportedError, "'extra' = 1"),
    (changed(sample_rate="fast"), FormatError, "sample_rate"),
    (changed(sample_rate=-5), FormatError, "sample_rate"),
    (changed(config=[1]), FormatError, "config must be an object"),
    (changed(weights={"a": 1}), ShapeError, "need 156 numbers, got a dict"),
    (changed(weights=[0.0] * 155), ShapeError, "need 156 numbers, got 155"),
    (changed(weights=[0.0] * 155 + [True]), FormatError, r"weights\[155\].*True"),
    (changed(weights=[0.0] * 155 + [1e39]), FormatError, r"weights\[155\]"),
    (changed(weights=[0.0] * 155 + [10**400]), FormatError, r"weights\[155\]"),
    (config(hidden_size=0), FormatError, "hidden_size must be"),
    (config(hidden_size=2.0), FormatError, "hidden_size must be"),
    (config(hidden_size=10**9), FormatError, "hidden_size must be"),
    (config(hidden_size=65536, num_layers=100), ShapeError, "need .* numbers"),
    (config(num_layers=0), FormatError, "num_layers must be"),
    (config(in_channels=2), UnsupportedError, "in_channels = 2"),
    (config(bidirectional=True), UnsupportedError, "'bidirectional' = True"),
    (json.dumps(changed()).replace("0.5.4", "0.5.4", 1)[:-40], FormatError, "not valid JSON"),
    (json.dumps(changed(weights=[0.0] * 155)).replace("[0.0,", "[NaN, 0.0,"), FormatError, r"weights\[0\]"),
    ("[1]", FormatError, "is a list"),
    ("[" * 100_000, FormatError, "nested too deeply"),
    ('{"weights": [1]}', FormatError, "'version' is missing"),
    ("", FormatError, "not valid JSON"),
]


@pytest.mark.parametrize(("table", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_everything_else_is_refused_by_name(tmp_path, table, error, message):
    with pytest.raises(error, match=message) as found:
        undertow.load(save(tmp_path, table))
    assert "amp.nam" in str(found.value)
    assert len(str(found.value)) < 1000
