# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""ONNX's own node tests of the recurrent operators, judged by ONNX's own runner, and the backend's manners."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import onnx.backend.test

import undertow.onnx_backend as backend
from undertow.errors import FormatError, ShapeError, UnsupportedError

RECURRENT = re.compile(r"^test_(rnn|lstm|gru|simple_rnn)_.*_cpu$")


def _recurrent_cases():
    with warnings.catch_warnings():  # cases of other operators compute with inf while they are made
        warnings.simplefilter("ignore")
        runner = onnx.backend.test.BackendTest(backend.UndertowBackend, __name__)
    case = runner.include(RECURRENT.pattern).test_cases["OnnxBackendNodeModelTest"]
    for name in [n for n in vars(case) if n.startswith("test_") and not RECURRENT.match(n)]:
        delattr(case, name)  # thousands, which would all be reported as skipped
    return case


OnnxBackendNodeModelTest = _recurrent_cases()


def test_onnx_has_as_many_recurrent_tests_as_we_think():
    names = [n for n in dir(OnnxBackendNodeModelTest) if RECURRENT.match(n)]
    assert len(names) >= 18, names


def _model(node, inputs, outputs, opset=22):
    helper = onnx.helper
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_weights_may_change_between_runs():
    rng = np.random.default_rng(1)
    node = onnx.helper.make_node("RNN", ["X", "W", "R"], ["Y"], hidden_size=2)
    prepared = backend.prepare(_model(node, {"X": [3, 2, 4], "W": [1, 2, 4], "R": [1, 2, 2]}, ["Y"]))
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((3, 2, 4), (1, 2, 4), (1, 2, 2))]
    (a,) = prepared.run(arrays)
    (b,) = prepared.run([arrays[0], -arrays[1], arrays[2]])
    (c,) = prepared.run(dict(zip(["X", "W", "R"], arrays, strict=True)))
    assert a.shape == (3, 1, 2, 2) and a.dtype == np.float32
    np.testing.assert_array_equal(a, c)
    np.testing.assert_allclose(a, -b, atol=1e-7)  # tanh is odd


def test_run_node():
    x = np.array([[-1.0, 2.0]], np.float32)
    (y,) = backend.run_node(onnx.helper.make_node("Relu", ["x"], ["y"]), [x])
    np.testing.assert_array_equal(y, [[0.0, 2.0]])
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA:0")


def test_refusals_are_the_importers_own():
    node = onnx.helper.make_node("Det", ["x"], ["y"])
    model = _model(node, {"x": [2, 2]}, ["y"])
    assert not backend.is_compatible(model)
    with pytest.raises(UnsupportedError, match="Det node 'y'"):
        backend.prepare(model).run([np.eye(2, dtype=np.float32)])
    with pytest.raises(FormatError, match="checker"):
        backend.prepare(_model(onnx.helper.make_node("Relu", ["x", "x"], ["y"]), {"x": [2, 2]}, ["y"]))
    relu = _model(onnx.helper.make_node("Relu", ["x"], ["y"]), {"x": [2, 2]}, ["y"])
    with pytest.raises(ShapeError, match="2 arrays were given"):
        backend.prepare(relu).run([np.eye(2, dtype=np.float32)] * 2)
    with pytest.raises(UnsupportedError, match="CUDA"):
        backend.prepare(relu, "CUDA")
