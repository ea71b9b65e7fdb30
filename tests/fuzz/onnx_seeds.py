# SPDX-License-Identifier: MIT
"""Right ONNX models to damage: ONNX's own node tests, and networks with states, branches, functions and pools."""

from __future__ import annotations

import importlib
import pkgutil
import re
import warnings
from functools import cache
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from fuzz.cases import Seeds
from onnx_files import BOOL, FLOAT, INT64, Chain, bytes_of, cell, graph_of, info, model_of, node, random

#: of ONNX's own node tests: recurrent cells, structures, windows, movement, formulas of whole layers
NODE_TESTS = re.compile(
    r"test_(lstm|gru|simple_rnn|scan9|loop|if|conv|pad|edge_pad|slice|gather|scatter|split|tile|expand|reshape|einsum|"
    r"reduce_l2|cumsum|qlinear|dequantizelinear|dynamicquantize|matmulinteger|depthtospace|layer_normalization_[34]d|"
    r"softmax_axis|group_normalization|hardswish|where|clip|matmul|gemm|range|constantofshape|onehot|causal_conv|"
    r"sequence_insert|split_to_sequence|argmax|batchnorm|instancenorm|prelu|trilu|squeeze|concat)\w*"
)
#: modules of these tests that take seconds to make their data
_SLOW = {"averagepool", "lppool", "maxpool", "image_decoder"}


@cache
def seeds() -> Seeds:
    """Small models: ONNX's node tests, all inputs but the first bound as weights, and networks."""
    from onnx.backend.test.case import node as cases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx's own, about the data of its tests
        for module in pkgutil.iter_modules(cases.__path__):
            if module.name not in _SLOW:
                importlib.import_module(f"{cases.__name__}.{module.name}")
        found = {c.name: _bound(c) for c in cases._NodeTestCases if NODE_TESTS.fullmatch(c.name)}
    files = {name: model.SerializeToString() for name, model in sorted(found.items()) if model.ByteSize() < 20_000}
    return files | networks()


def _bound(case: Any) -> Any:
    model = type(case.model)()
    model.CopyFrom(case.model)
    given = [*case.data_sets[0][0]] if case.data_sets else []
    for value, array in list(zip(model.graph.input, given, strict=False))[:0:-1]:
        if isinstance(array, np.ndarray) and value.type.HasField("tensor_type"):
            model.graph.input.remove(value)
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return model


@cache
def networks() -> Seeds:
    """Chains, cells that carry states, loops, branches, functions."""
    return {name: bytes_of(source) for name, source in _networks().items()}


def _networks() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    enhancer = Chain(1, 6, "T")
    enhancer.pad(0, 0, 2, 0, 0, 0)
    enhancer.conv(5, 6, 3)
    enhancer.add("Relu")
    enhancer.gru(5, 4)
    enhancer.conv(6, 4, 1)
    enhancer.add("Sigmoid")
    made["enhancer"] = enhancer
    strided = Chain(1, 4, "T")
    strided.conv(4, 4, 4, strides=[2], pads=[1, 1])
    strided.add("Elu")
    strided.add("ConvTranspose", strided.constant(random(rng, 4, 4, 4)), strides=[2], pads=[1, 1])
    made["strided"] = strided
    picture = Chain("T", 2, 8, 8)
    picture.conv(4, 2, 3, 3, pads=[1, 1, 1, 1], group=2)
    picture.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    picture.add("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    picture.add("GlobalAveragePool")
    picture.add("Flatten")
    made["picture"] = picture
    pooled = Chain(1, 4, "T")
    pooled.add("MaxPool", kernel_shape=[3], pads=[2, 0])
    pooled.add("AveragePool", kernel_shape=[2], pads=[1, 0], count_include_pad=1)
    made["pooled"] = pooled
    step = [
        node("Concat", "x h", "both", axis=1),
        node("Gemm", "both W b", "a"),
        node("Tanh", "a", "h_out"),
        node("MatMul", "h_out V", "y"),
    ]
    weights = {"W": random(rng, 7, 4), "b": random(rng, 4), "V": random(rng, 4, 2)}
    made["step"] = model_of(step, {"x": [1, 3], "h": [1, 4]}, {"y": [1, 2], "h_out": [1, 4]}, weights)
    lstm = cell(rng, "LSTM", 3, 4, 2, bias=True)
    both = [
        node("LSTM", "x W R B", "Y", hidden_size=4, direction="bidirectional"),
        node("Transpose", "Y", "t", perm=[0, 2, 1, 3]),
        node("Reshape", "t s", "y"),
    ]
    made["bidirectional"] = model_of(
        both, {"x": ["T", 1, 3]}, {"y": None}, {**lstm, "s": np.array([0, 0, -1], np.int64)}
    )
    carried = [
        node("LSTM", "x W R", "Y h1 c1", hidden_size=4),
        node("Squeeze", "Y one", "y"),
    ]
    carried[0].input.extend(["", "", "h0", "c0"])
    made["carried"] = model_of(
        carried,
        {"x": ["T", 1, 3], "h0": [1, 1, 4], "c0": [1, 1, 4]},
        {"y": None, "h1": [1, 1, 4], "c1": [1, 1, 4]},
        {**cell(rng, "LSTM", 3, 4), "one": np.array([1], np.int64)},
    )
    words = [node("Gather", "E ids", "e"), node("GRU", "e W R", "Y", hidden_size=4), node("Squeeze", "Y one", "y")]
    table = {"E": random(rng, 9, 3), "one": np.array([1], np.int64), **cell(rng, "GRU", 3, 4)}
    made["words"] = model_of(words, {"ids": (["T", 1], INT64)}, {"y": None}, table)
    body = graph_of(
        [node("Add", "f h", "s"), node("Tanh", "s", "h2"), node("Identity", "h2", "row")],
        {"h": [1, 4], "f": [1, 4]},
        {"h2": [1, 4], "row": [1, 4]},
    )
    scan = [node("Scan", "h0 x", "h1 y", body=body, num_scan_inputs=1)]
    made["scan"] = model_of(scan, {"x": ["T", 1, 4]}, {"y": None}, {"h0": np.zeros((1, 4), np.float32)})
    made["loop"] = _loop(rng)
    function = helper.make_function(
        "own",
        "Gate",
        ["a"],
        ["b"],
        [node("Sigmoid", "a", "g"), node("Mul", "a g", "b")],
        [helper.make_opsetid("", 17)],
    )
    gated = model_of([helper.make_node("Gate", ["x"], ["y"], domain="own")], {"x": ["T", 1, 4]}, {"y": None})
    gated.functions.append(function)
    gated.opset_import.append(helper.make_opsetid("own", 1))
    made["function"] = gated
    then, other = (graph_of([node(op, "x", f"{op}_y")], [], [f"{op}_y"]) for op in ("Relu", "Tanh"))
    branch = [node("If", "c", "y", then_branch=then, else_branch=other)]
    made["branch"] = model_of(branch, {"x": ["T", 1, 4]}, {"y": None}, {"c": np.array(True)})
    outside = model_of([node("Gemm", "x W b", "y", transB=1)], {"x": ["T", 3]}, {"y": None}, {"b": random(rng, 4)})
    outside.graph.initializer.append(numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "W"))
    made["dense"] = outside
    return made


def _loop(rng: np.random.Generator) -> Any:
    inputs = [info("i", [], INT64), info("go", [], BOOL), info("h", [1, 4], FLOAT)]
    nodes = [
        node("Identity", "go", "go2"),
        node("Gather", "x i", "f", axis=0),
        node("Add", "f h", "s"),
        node("Tanh", "s", "h2"),
        node("Identity", "h2", "row"),
    ]
    body = graph_of(nodes, inputs, [info("go2", [], BOOL), info("h2", [1, 4]), info("row", [1, 4])])
    outer = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "T"),
        node("Loop", "T true h0", "h1 y", body=body),
    ]
    table = {"zero": np.array(0), "true": np.array(True), "h0": random(rng, 1, 4)}
    return model_of(outer, {"x": ["T", 1, 4]}, {"y": None}, table)
