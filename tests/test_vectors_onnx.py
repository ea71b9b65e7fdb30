# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""Test vectors of ONNX, onnx2c and ONNX Runtime for RNN, GRU and LSTM, by `undertow.onnx_backend` and sessions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tolerances import ONNX_NODE_ATOL, ONNX_NODE_RTOL, PRINTED_VECTORS

onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")

import undertow.onnx_backend as backend
from undertow.compat import InferenceSession

_ROOT = os.environ.get("UNDERTOW_MODELS")
VECTORS = Path(_ROOT) / "vectors" if _ROOT else None
pytestmark = pytest.mark.skipif(VECTORS is None, reason="needs vectors: set UNDERTOW_MODELS to their folder")

#: printed rounded, and some of them beyond their last digit
PEER_FLOAT = 1e-5


def _folders() -> list[Path]:
    if VECTORS is None:
        return []
    return sorted(p.parent for kind in ("onnx-node", "onnx-lstm-cases") for p in (VECTORS / kind).glob("*/model.onnx"))


def _kernels() -> list[dict]:
    if VECTORS is None:
        return []
    return [
        case
        for op in ("rnn", "gru", "lstm")
        for case in json.loads((VECTORS / "ort-kernels" / f"{op}.json").read_text())
    ]


def _tensors(folder: Path, kind: str, names: list[str]) -> list[np.ndarray]:
    files = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
    assert len(files) == len(names)
    return [onnx.numpy_helper.to_array(onnx.load_tensor(str(f))) for f in files]


@pytest.mark.parametrize("folder", _folders(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_onnx_files(folder: Path) -> None:
    """By the backend and in a session, which is fed with weights as with frames."""
    model = onnx.load(str(folder / "model.onnx"))
    inputs = _tensors(folder, "input", [v.name for v in model.graph.input])
    expected = _tensors(folder, "output", [v.name for v in model.graph.output])
    session = InferenceSession(folder / "model.onnx")
    fed = session.run(None, {value.name: array for value, array in zip(model.graph.input, inputs, strict=True)})
    for results in (backend.prepare(model).run(inputs), fed):
        for value, y, e in zip(model.graph.output, results, expected, strict=True):
            assert y.shape == e.shape and y.dtype == e.dtype, value.name
            atol = max(ONNX_NODE_ATOL, PEER_FLOAT)
            np.testing.assert_allclose(y, e, rtol=ONNX_NODE_RTOL, atol=atol, err_msg=value.name)


def _case_arrays(case: dict) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    """Arrays by slot in the order of the operator, and the shapes of its outputs."""
    T, N, I = case["seq_length"], case["batch"], case["input_size"]
    H, D = case["hidden_size"], case["num_directions"]
    G = {"RNN": 1, "GRU": 3, "LSTM": 4}[case["op"]]
    shapes = {
        "X": (T, N, I), "W": (D, G * H, I), "R": (D, G * H, H), "B": (D, 2 * G * H), "sequence_lens": (N,),
        "initial_h": (D, N, H), "initial_c": (D, N, H), "P": (D, 3 * H),
    }  # fmt: skip
    arrays = {
        key: np.array(case[key], np.int32 if key == "sequence_lens" else np.float32).reshape(shape)
        for key, shape in shapes.items()
        if case[key] is not None
    }
    return arrays, {"Y": (T, D, N, H), "Y_h": (D, N, H), "Y_c": (D, N, H)}


@pytest.mark.parametrize("case", _kernels(), ids=lambda c: f"{c['op']}-{c['name']}")
@pytest.mark.parametrize("layout", [0, 1])
def test_onnx_runtime_kernels(case: dict, layout: int) -> None:
    """layout=1, which ONNX Runtime does not have, is the same with batch and time exchanged."""
    arrays, shapes = _case_arrays(case)
    slots = ["X", "W", "R", "B", "sequence_lens", "initial_h", *(["initial_c", "P"] if case["op"] == "LSTM" else [])]
    names = [key if key in arrays else "" for key in slots]
    while not names[-1]:
        names.pop()
    wanted = [key if case[key] is not None else "" for key in shapes if key != "Y_c" or case["op"] == "LSTM"]
    attrs = {"hidden_size": case["hidden_size"], **case["attrs"], **({"layout": 1} if layout else {})}
    node = onnx.helper.make_node(case["op"], names, wanted, **attrs)
    given = [
        np.ascontiguousarray(arrays[key].swapaxes(0, 1))
        if layout and key in ("X", "initial_h", "initial_c")
        else arrays[key]
        for key in slots
        if key in arrays
    ]
    made = backend.run_node(node, given, opset_version=14)
    for key, y in zip([key for key in wanted if key], made, strict=True):
        e = np.array(case[key], np.float32).reshape(shapes[key])
        if layout:
            e = e.transpose(2, 0, 1, 3) if key == "Y" else e.swapaxes(0, 1)
        np.testing.assert_allclose(y, e, rtol=0, atol=PRINTED_VECTORS, err_msg=f"{case['op']} {case['name']} {key}")
