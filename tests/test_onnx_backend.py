# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""ONNX's own node tests, judged by ONNX's own runner, the page of operators, and the backend's manners."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import onnx.backend.test
    from onnx.backend.test.loader import load_model_tests

import undertow.onnx_backend as backend
from onnx_cases import excluded
from onnx_files import model_of, node
from undertow.errors import FormatError, ShapeError, UnsupportedError
from undertow.importers.keras.traits import COMPUTED_LAYERS
from undertow.importers.onnx.traits import COMPUTED, FOLDED_ONLY, MOVEMENT, REFUSED, RUNTIME_OPERATORS
from undertow.importers.operators_page import operators_page
from undertow.ir.activations import KINDS

NAMES = re.compile(r"^test_.*_cpu$")


with warnings.catch_warnings():  # cases compute with inf while they are made
    warnings.simplefilter("ignore")
    CASES = load_model_tests(kind="node")
REASONS = {case.name: excluded(case) for case in CASES}


def _required(which):
    """The runner's class of node tests, without those that `onnx_cases` excludes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = onnx.backend.test.BackendTest(which, __name__).test_cases["OnnxBackendNodeModelTest"]
    for name in [n for n in vars(tests) if n.startswith("test_")]:
        if not NAMES.match(name) or REASONS[name.removesuffix("_cpu")]:
            delattr(tests, name)
    return tests


OnnxBackendNodeTest = _required(backend.UndertowBackend)


def test_what_is_excluded():
    counts = Counter(REASONS.values())
    print(f"ONNX node tests: {counts['']} must pass, {counts.total() - counts['']} are excluded:")
    for reason, n in counts.most_common():
        print(f"{n:6}  {reason or '(must pass)'}")
    assert counts[""] >= 1100
    assert sum(bool(NAMES.match(n)) for n in vars(OnnxBackendNodeTest)) == counts[""]


def test_every_operator_of_onnx_is_in_one_group():
    groups = [COMPUTED, FOLDED_ONLY, frozenset(REFUSED)]
    known = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}
    assert known <= frozenset().union(*groups), "an operator of this onnx has no row in importers/onnx/traits.py"
    assert sum(map(len, groups)) == len(frozenset().union(*groups))
    for op in sorted(REFUSED):
        assert not backend.is_compatible(_model(node(op, "x", "y"), {"x": [2]}, ["y"])), op


#: what 28 files of 12 published recurrent networks are made of
OF_REAL_MODELS = """
    Add BatchNormalization Cast Concat Constant ConstantOfShape Conv ConvTranspose DequantizeLinear Div Equal Expand GRU
    Gather Gemm Identity If LSTM LeakyRelu Less Log Loop MatMul Max MaxPool Min Mul Neg Not PRelu Pad Pow QLinearConv
    QuantizeLinear Range ReduceMax ReduceMean ReduceSum Relu Reshape Scan ScatterND Shape Sigmoid Size Slice Split Sqrt
    Squeeze Sub Tanh Tile Transpose Unsqueeze Where
"""


#: those whose own cases are all excluded; tests/test_onnx_operators.py has some
ELSEWHERE = {"Cast": "they convert from or to dtypes without frames", "Not": "they are of operator set 1"}


@pytest.mark.parametrize("op", sorted({*OF_REAL_MODELS.split()} - {*ELSEWHERE}))
def test_operators_of_real_models_have_node_tests(op):
    """Each operator that published recurrent models use is the only one of a case that must pass."""
    alone = [case.name for case in CASES if {n.op_type for n in case.model.graph.node} == {op}]
    assert any(not REASONS[name] for name in alone), {name: REASONS[name] for name in alone}


def test_operators_page_is_up_to_date():
    root = Path(__file__).parent.parent
    assert (root / "OPERATORS.md").read_text(encoding="utf-8") == operators_page(), (
        "run: python -m undertow.importers.operators_page > OPERATORS.md"
    )
    readme = (root / "README.md").read_text(encoding="utf-8")
    for words, n in {
        r"\[(\d+) operators\]\(OPERATORS\.md\)": len(COMPUTED - MOVEMENT),
        r"and (\d+) of ONNX Runtime's": len(RUNTIME_OPERATORS),
        r"\[(\d+) layers\]\(OPERATORS\.md#keras-layers\)": len(COMPUTED_LAYERS),
        r"any of (\d+) activations": len(KINDS),
    }.items():
        said = re.search(words, readme)
        assert said and int(said[1]) == n, f"README.md says another number than {n}: {words}"


def _model(one, inputs, outputs):
    return model_of([one], inputs, outputs, opset=22)


def test_weights_may_change_between_runs():
    rng = np.random.default_rng(1)
    rnn = node("RNN", "X W R", "Y", hidden_size=2)
    prepared = backend.prepare(_model(rnn, {"X": [3, 2, 4], "W": [1, 2, 4], "R": [1, 2, 2]}, ["Y"]))
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((3, 2, 4), (1, 2, 4), (1, 2, 2))]
    (a,) = prepared.run(arrays)
    (b,) = prepared.run([arrays[0], -arrays[1], arrays[2]])
    (c,) = prepared.run(dict(zip(["X", "W", "R"], arrays, strict=True)))
    assert a.shape == (3, 1, 2, 2) and a.dtype == np.float32
    np.testing.assert_array_equal(a, c)
    np.testing.assert_allclose(a, -b, atol=1e-7)  # tanh is odd


def test_run_node():
    x = np.array([[-1.0, 2.0]], np.float32)
    (y,) = backend.run_node(node("Relu", "x", "y"), [x])
    np.testing.assert_array_equal(y, [[0.0, 2.0]])
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA:0")


def test_refusals_are_the_importers_own():
    model = _model(node("Det", "x", "y"), {"x": [2, 2]}, ["y"])
    assert not backend.is_compatible(model)
    with pytest.raises(UnsupportedError, match="Det node 'y'"):
        backend.prepare(model).run([np.eye(2, dtype=np.float32)])
    with pytest.raises(FormatError, match="checker"):
        backend.prepare(_model(node("Relu", "x x", "y"), {"x": [2, 2]}, ["y"]))
    relu = _model(node("Relu", "x", "y"), {"x": [2, 2]}, ["y"])
    with pytest.raises(ShapeError, match="2 arrays were given"):
        backend.prepare(relu).run([np.eye(2, dtype=np.float32)] * 2)
    with pytest.raises(UnsupportedError, match="CUDA"):
        backend.prepare(relu, "CUDA")
