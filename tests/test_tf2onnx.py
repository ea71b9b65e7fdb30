# SPDX-License-Identifier: MIT
"""Recurrent nets of Keras 2 and Keras 3 that tf2onnx has exported (tests/data/generate_tf2onnx.py), against what
TensorFlow gave for them; files of open sizes against ONNX Runtime too, in a batch and for other lengths.
"""

from __future__ import annotations

import io
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import onnx, session_of
from tolerances import FLOAT32_PEER
from undertow.errors import UnsupportedError

FOLDER = Path(__file__).parent / "data" / "tf2onnx"
VERSIONS = (2, 3)
NETS = (
    *("simple_rnn", "simple_rnn_last", "gru_reset_after", "gru_reset_before", "gru_backwards", "gru_state"),
    *("gru_masked", "lstm", "lstm_last", "lstm_masked", "lstm_recurrent_dropout", "lstm_unrolled", "lstm_stateful"),
    *("lstm_options", "stacked_list", "stacked_cells", "bidirectional", "bidirectional_last", "bidirectional_merged"),
    *("time_distributed", "conv_gru", "embedding_lstm", "conv_lstm"),
)
#: what Keras has for one length, or one batch, alone
FIXED_ALONE = ("lstm_unrolled", "lstm_stateful")
#: what reads a sequence from its end as well
WHOLE = ("gru_backwards", "bidirectional", "bidirectional_last", "bidirectional_merged")
#: what tf2onnx does not make of it what Keras computes: ONNX Runtime gives other numbers too
WRONG = [(3, "time_distributed", "open")]
FILES = [
    (version, net, form)
    for version in VERSIONS
    for net in NETS
    for form in ("fixed", "open")
    if form == "fixed" or net not in FIXED_ALONE
]
RIGHT = [file for file in FILES if file not in WRONG]
#: cells that become one node of the Graph, with what stands behind and before them, and how many nodes that is
ONE_CELL = {
    "simple_rnn": 1,
    "gru_reset_after": 1,
    "gru_reset_before": 1,
    "lstm": 2,
    "lstm_recurrent_dropout": 1,
    "lstm_unrolled": 1,
    "lstm_stateful": 1,
    "stacked_list": 2,
    "time_distributed": 3,
    "embedding_lstm": 3,
}


@cache
def members(version: int) -> dict[str, bytes]:
    with tarfile.open(FOLDER / f"keras{version}.tar.xz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def file_of(version: int, net: str, form: str) -> bytes:
    return members(version)[f"{net}_{form}.onnx"]


@cache
def loaded(version: int, net: str, form: str) -> undertow.Model:
    return undertow.load(file_of(version, net, form))


def golden(version: int, net: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Frames of N sequences, and what TensorFlow gives."""
    with np.load(io.BytesIO(members(version)[f"{net}.npz"])) as arrays:
        return arrays["x"], [arrays[f"y{i}"] for i in range(len(arrays.files) - 1)]


def outputs_of(model: undertow.Model, x: np.ndarray) -> list[np.ndarray]:
    result = model.run(x.reshape(len(x), *model.inputs["x"].shape))
    return list(result.values()) if isinstance(result, dict) else [result]


def agree(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Of a whole sequence; what the file gives once, a stream gives so far in each frame."""
    assert len(found) == len(expected)
    for array, want in zip(found, expected, strict=True):
        last = array if array.size == want.size else array[-1]
        np.testing.assert_allclose(last.reshape(want.shape), want, atol=FLOAT32_PEER, rtol=FLOAT32_PEER)


def test_all_files_are_tried() -> None:
    for version in VERSIONS:
        names = {f"{net}_{form}.onnx" for v, net, form in FILES if v == version} | {f"{net}.npz" for net in NETS}
        assert members(version).keys() == names


@pytest.mark.parametrize(("version", "net", "form"), RIGHT)
def test_runs_and_streams(version: int, net: str, form: str) -> None:
    data = file_of(version, net, form)
    model = loaded(version, net, form)
    x, expected = golden(version, net)
    for item, *wanted in zip(x, *expected, strict=True):
        found = outputs_of(model, item)
        agree(found, wanted)
        if net not in WHOLE:
            stream = model.stream()
            rows = [stream.step(frame.reshape(model.inputs["x"].shape)) for frame in item]
            for name, array in zip(model.outputs, found, strict=True):
                steps = [np.array(row[name] if isinstance(row, dict) else row) for row in rows]
                np.testing.assert_array_equal(np.stack(steps).reshape(array.shape), array)
    assert model.streamable == (net not in WHOLE)
    if net in ONE_CELL:
        assert len(model.graph.nodes) <= ONE_CELL[net]
    assert not [line for line in model.graph.notes if line.startswith("warning")]
    if net != "conv_lstm":  # whose convolutions are matrices
        weights = [
            onnx.numpy_helper.to_array(t) for g in graphs(onnx.load_from_string(data).graph) for t in g.initializer
        ]
        assert model.n_parameters <= sum(array.size for array in weights if array.dtype == np.float32) + SPARE


#: numbers that stand for no weights: starts that are zeros, limits, factors of masks
SPARE = 64


def graphs(graph: Any) -> list[Any]:
    """A graph and those inside of its nodes."""
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph, *(deeper for g in inner for deeper in graphs(g))]


@pytest.mark.parametrize(("version", "net"), [(v, net) for v, net, form in RIGHT if form == "open"])
def test_other_lengths(version: int, net: str, rng: np.random.Generator) -> None:
    """What ONNX Runtime gives for a batch of other lengths; the rounds of a loop are timesteps, and no items."""
    data = file_of(version, net, "open")
    model, session = loaded(version, net, "open"), session_of(onnx.load_from_string(data))
    (port,) = session.get_inputs()
    x, _ = golden(version, net)
    for length in (1, 2, 17):
        shape = (3, length, *x.shape[2:])
        X = rng.integers(0, 11, shape).astype(np.int32) if net == "embedding_lstm" else rng.normal(size=shape)
        X = X.astype(x.dtype)
        if net.endswith("masked"):
            X[:, rng.integers(0, length, length // 2)] = 0
        for item, *wanted in zip(X, *session.run(None, {port.name: X}), strict=True):
            agree(outputs_of(model, item), wanted)


def test_what_tf2onnx_gets_wrong_is_refused() -> None:
    """TimeDistributed of Keras 3 over an open length goes through a Loop that computes with its rounds."""
    for version, net, form in WRONG:
        data = file_of(version, net, form)
        x, (expected,) = golden(version, net)
        session = session_of(onnx.load_from_string(data))
        (found,) = session.run(None, {session.get_inputs()[0].name: x[:1]})
        assert np.abs(found - expected[:1]).max() > 0.1
        with pytest.raises(UnsupportedError, match="computes with the number of a round of a loop over time"):
            undertow.load(data)
