# SPDX-License-Identifier: MIT
"""What the rows of importers/onnx/traits.py say of operators is so, row by row."""

from __future__ import annotations

import inspect
import re
import warnings
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='needs the onnx package: pip install "undertow[onnx]"')
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

import undertow  # noqa: E402
from onnx_cases import excluded  # noqa: E402
from onnx_files import Chain, save  # noqa: E402
from strides import check  # noqa: E402
from undertow.errors import UnsupportedError  # noqa: E402
from undertow.importers.onnx.file import limits  # noqa: E402
from undertow.importers.onnx.file.nodes import wrap  # noqa: E402
from undertow.importers.onnx.operators import HANDLERS  # noqa: E402
from undertow.importers.onnx.simplify.fold import Evaluator  # noqa: E402
from undertow.importers.onnx.traits import (  # noqa: E402
    ACROSS,
    ALONG,
    COLUMNS,
    MOVEMENT,
    OPERATORS,
    REFUSED,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CASES = load_model_tests(kind="node")
#: operator -> ONNX's own cases of one node
ALONE: dict[str, list[Any]] = defaultdict(list)
for _case in CASES:
    if len(_case.model.graph.node) == 1 and _case.data_sets:
        ALONE[_case.model.graph.node[0].op_type].append(_case)


def _add_case(op: str, x: np.ndarray, y: np.ndarray) -> None:
    """Of an operator of which ONNX has none in the operator sets that are read."""
    infos = [
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)]
        for name, a in (("x", x), ("y", y))
    ]
    model = helper.make_model(helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", *infos))
    model.opset_import[0].version = 17
    ALONE[op].append(SimpleNamespace(name=f"test_{op}", model=model, data_sets=[([x], [y])]))


_x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
_add_case("Not", _x > 0, _x <= 0)
_add_case("GlobalLpPool", _x, np.sqrt(np.square(_x).sum((2, 3), keepdims=True)))


def test_every_handler_is_there() -> None:
    assert HANDLERS.keys() == {op.name for op in OPERATORS.values() if op.handler}
    for op, function in HANDLERS.items():
        assert len(inspect.signature(function).parameters) == 3, op


def test_rows_do_not_contradict_themselves() -> None:
    for op in OPERATORS.values():
        assert not (op.refused and (op.pure or op.handler or op.moves)), op
        assert not (op.whole or op.chosen_by) or op.moves is not None or op.carries, op
        assert not set(op.chosen_by) & set(op.moves or ()), op


# -- pure -------------------------------------------------------------------------------------------------------------

PURE = sorted(op.name for op in OPERATORS.values() if op.pure)
#: cases of what is no inference, of what is refused by name, or of nothing that NumPy holds
_OTHERS = re.compile(
    r"\w*(training|dropout_default_mask|empty_set|zero_size|out_of_bounds|float8|float4|bfloat16|e8m0|int4|int2"
    r"|scatter\w*_(add|multiply|mul|max|min|duplicate_indices))\w*"
)


def _array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def arrays_of(case: Any) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    feeds, expected = ([_array(a) for a in side] for side in case.data_sets[0])
    return dict(zip((v.name for v in case.model.graph.input), feeds, strict=True)), expected


def cases_of(op: str) -> list[Any]:
    """ONNX's cases of an operator, of any dtype that NumPy has."""
    return [case for case in ALONE[op] if not _OTHERS.fullmatch(case.name.lower()) and _plain(case)]


def _plain(case: Any) -> bool:
    arrays = [a for side in case.data_sets[0] for a in side]
    if any(isinstance(a, list) or a is None for a in arrays):
        return False
    kinds = {_array(a).dtype.kind for a in arrays}
    opset = next(o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx"))
    return kinds <= set("fiub") and opset >= limits.MIN_OPSET and case.model.graph.node[0].domain in ("", "ai.onnx")


@pytest.mark.parametrize("op", PURE)
def test_pure_operators_are_computed_while_loading(op: str) -> None:
    """Each case gives what ONNX says that it gives."""
    seen = 0
    for case in cases_of(op):
        feeds, expected = arrays_of(case)
        opset = next(o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx"))
        node = wrap(onnx, case.model.graph.node[0], opset)
        found = Evaluator().run(node, [feeds[name] if name else None for name in node.inputs])
        named = dict(zip(node.outputs, found, strict=True))
        for value, want in zip(case.model.graph.output, expected, strict=True):
            got = named[value.name]
            assert got.shape == want.shape, case.name
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-6, err_msg=case.name)
        seen += 1
    assert seen, "no case of this operator was tried"


#: takes no input
THROUGH = [op for op in PURE if op != "Constant"]


#: all of whose cases have outputs or dtypes that a frame has not; bound, they may
ALL_EXCLUDED = {op for op in THROUGH if all(map(excluded, cases_of(op)))}


@pytest.mark.parametrize("op", THROUGH)
def test_what_inputs_that_are_bound_decide_is_computed(op: str, tmp_path: Path) -> None:
    """`fixed=` refuses nothing that an input computes: x + the sum of what the operator gives of bound inputs."""
    case = next(c for c in cases_of(op) if not excluded(c) or op in ALL_EXCLUDED)
    feeds, expected = arrays_of(case)
    graph = onnx.GraphProto()
    graph.CopyFrom(case.model.graph)
    first = graph.output[0].name
    opset = next(o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx"))
    graph.node.append(helper.make_node("Cast", [first], ["as_float"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("ReduceMax", ["as_float"], ["most"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["frames", "most"], ["shifted"]))
    del graph.output[:]
    graph.input.append(helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["T", 1, 2]))
    graph.output.append(helper.make_tensor_value_info("shifted", TensorProto.FLOAT, ["T", 1, 2]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    used = {name for node in graph.node for name in node.input}
    fixed = {name: array for name, array in feeds.items() if name in used}
    loaded = undertow.load(save(model, tmp_path), fixed=fixed)
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    most = np.float32(np.maximum.reduce(expected[0].astype(np.float32), axis=None))
    np.testing.assert_allclose(
        loaded.run(X), X + most, rtol=1e-3, atol=1e-5 * max(1, np.nan_to_num(abs(most), posinf=1))
    )


# -- rows along time --------------------------------------------------------------------------------------------------

HALF = np.float32(0.5)
#: operator -> further inputs, attributes, of those that need any; "same": the operand again
MORE: dict[str, tuple[list[Any], dict[str, Any]]] = {
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"], ([np.full((1, 4, 1), HALF)], {})),
    "PRelu": ([np.linspace(0.1, 0.6, 4, dtype=np.float32).reshape(4, 1)], {}),
    "Pow": ([np.float32(2)], {}),
    "Clip": ([np.float32(-0.5), HALF], {}),
    "Cast": ([], {"to": TensorProto.FLOAT}),
    "CastLike": ([HALF], {}),
    "MatMul": ([np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)], {}),
    "BatchNormalization": ([np.full(4, v, np.float32) for v in (0.5, 0.1, 0.2, 1.5)], {}),
    "LayerNormalization": ([np.linspace(0.5, 1.5, 4, dtype=np.float32)], {}),
    "RMSNormalization": ([np.linspace(0.5, 1.5, 4, dtype=np.float32)], {}),
    "LpNormalization": ([], {"axis": -1}),
}
COMPARED = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
OPSETS = {"Gelu": 20, "Mish": 18}
#: operator -> what ONNX Runtime cannot say of it
NO_PEER = {"Swish": "no kernel of it", "RMSNormalization": "no kernel of it"}
BY_ROWS = sorted(op.name for op in OPERATORS.values() if op.rows and op.name not in NO_PEER)


def behind_a_stride(op: str) -> Chain:
    """Two rows of time in a frame where the operator is, and one behind it."""
    c = Chain(1, 3, "T")
    c.opset = OPSETS.get(op, 17)
    c.conv(4, 3, 4, strides=[2], pads=[1, 1])
    rows, (more, attrs) = OPERATORS[op].rows, MORE.get(op, ([], {}))
    of = [c.last]
    if op in ("Sqrt", "Log", "Pow", "Reciprocal"):
        of = [c.add("Abs")]
        of = [c.add("Add", c.constant(HALF))]
    if rows in (COLUMNS, ALONG, ACROSS):
        of = [c.add("Transpose", perm=[0, 2, 1])]
    if op == "Gemm":
        of = [c.add("Reshape", c.constant(np.array([-1, 4])))]
        more = [np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)]
    if rows == ALONG and "axis" not in attrs:
        attrs = {**attrs, "axis": -1}
    if rows == ACROSS:
        c.add(op, of=of, axes=[2], keepdims=1) if OPERATORS[op].name != "ReduceSum" else c.add(
            op, c.constant(np.array([2])), of=of, keepdims=1
        )
        c.add("Concat", *[c.last] * 3, axis=2)
    elif op in COMPARED:
        c.add(op, c.constant(HALF), of=of)
    elif op in ("And", "Or", "Xor", "Not", "Where"):
        first = c.add("Greater", c.constant(HALF), of=of)
        second = c.add("Less", c.constant(-HALF), of=of)
        if op == "Where":
            c.add(op, *of, c.constant(np.float32(2)), of=[first])
        else:
            c.add(op, of=[first] if op == "Not" else [first, second])
    else:
        c.add(op, *(c.constant(array) for array in more), of=of, **attrs)
    if OPERATORS[op].boolean:
        c.add("Cast", to=TensorProto.FLOAT)
    if op == "Gemm":
        c.add("Reshape", c.constant(np.array([1, -1, 4])))
    if rows in (COLUMNS, ALONG, ACROSS):
        c.add("Transpose", perm=[0, 2, 1])
    c.conv(2, 4, 2, strides=[2])
    return c


@pytest.mark.parametrize("op", BY_ROWS)
def test_operators_of_rows_load_behind_a_stride(op: str, tmp_path: Path) -> None:
    check(behind_a_stride(op), tmp_path, 4, 1)


# -- what moves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", sorted(MOVEMENT))
def test_what_moves_gives_elements_that_it_was_given(op: str) -> None:
    """Of a table of numbers that differ, each element of the result is one, or zero where it fills."""
    seen = 0
    for case in cases_of(op):
        feeds, _ = arrays_of(case)
        opset = next(o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx"))
        node = wrap(onnx, case.model.graph.node[0], opset)
        moves = OPERATORS[op].moves or ()
        arrays, at = [], 1
        for slot, name in enumerate(node.inputs):
            array = feeds[name] if name else None
            if array is not None and slot in moves:
                array = np.arange(at, at + array.size, dtype=np.int64).reshape(array.shape)
                at += array.size
            arrays.append(array)
        found = Evaluator().run(node, arrays)
        given = np.concatenate([a.ravel() for slot, a in enumerate(arrays) if slot in moves and a is not None])
        for result in found:
            assert np.isin(result, [0, *given]).all(), case.name
            if OPERATORS[op].whole and len(found) == 1:
                assert sorted(result.ravel()) == sorted(given), case.name
        seen += 1
    assert seen


# -- refused ----------------------------------------------------------------------------------------------------------


_SAME = helper.make_graph(
    [helper.make_node("Identity", ["i"], ["o"])],
    "same",
    [helper.make_tensor_value_info("i", TensorProto.FLOAT, None)],
    [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
)
#: what the checker asks of operators without a case
ATTRIBUTES = {"ConcatFromSequence": {"axis": 0}, "SequenceMap": {"body": _SAME}}


@pytest.mark.parametrize("op", sorted(REFUSED))
def test_refused_operators_are_refused_by_name(op: str, tmp_path: Path) -> None:
    """Where ONNX has a case of it; what takes sequences, text or optional values is refused for its inputs."""
    for case in ALONE[op][:3]:
        with pytest.raises(undertow.Error) as raised:
            undertow.load(save(case.model, tmp_path))
        says = str(raised.value)
        other = r"is no tensor|has dtype|operator set|expected float32|data type"
        assert op in says or re.search(other, says), (case.name, says)
    if not ALONE[op]:
        graph = helper.make_graph(
            [helper.make_node(op, ["x"], ["y"], name="it", **ATTRIBUTES.get(op, {}))],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", 1, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(HALF, "unused")],
        )
        with pytest.raises((UnsupportedError, undertow.FormatError), match=op):
            undertow.load(save(helper.make_model(graph, ir_version=8), tmp_path))
