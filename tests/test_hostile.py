# SPDX-License-Identifier: MIT
"""Hostile model files: small ones that ask for much memory or time, graphs that cannot be: each is a typed error."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import layer, sequential, write_h5
from onnx_files import BOOL, FLOAT, INT64, graph_of, helper, info, model_of, node, numpy_helper, onnx, save
from undertow.errors import Error, FormatError, ShapeError, UnsupportedError
from undertow.importers.onnx.file import limits

Case = tuple[Any, type[Error], str]
CASES: dict[str, Callable[[], Case]] = {}


def case(function: Callable[[], Case]) -> Callable[[], Case]:
    CASES[function.__name__] = function
    return function


def model(nodes: list[Any], inputs: Any = None, outputs: Any = None, opset: int = 17, **weights: Any) -> Any:
    """A graph from x, by default (time, 1, 4), to y."""
    outputs = {"y": None} if outputs is None else outputs
    return model_of(nodes, inputs or {"x": ["T", 1, 4]}, outputs, weights, opset)


def added(nodes: list[Any], **weights: Any) -> Any:
    """A constant c that is computed while loading, added to x as its sum."""
    return model([*nodes, node("ReduceSum", "c", "sum", keepdims=0), node("Add", "x sum", "y")], **weights)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def loop(body: list[Any], trips: int, rows: tuple[str, ...] = (), start: Any = None, **weights: Any) -> list[Any]:
    """A Loop that carries c, which the body makes c2 of, to r; weights are constants beside it."""
    inputs = [info("n", [], INT64), info("go", [], BOOL), info("c")]
    outputs = [info("go2", [], BOOL), info("c2"), *[info(row) for row in rows]]
    graph = graph_of([node("Identity", "go", "go2"), *body], inputs, outputs)
    names = " ".join(f"rows{i}" for i in range(len(rows)))
    return [
        node("Constant", "", "trips", value=numpy_helper.from_array(np.array(trips, np.int64))),
        node("Constant", "", "true", value=numpy_helper.from_array(np.array(True))),
        node("Loop", "trips true start", f"r {names}", body=graph, name="loop"),
    ]


# -- constants that are computed while loading ------------------------------------------------------------------------

FILL = node("ConstantOfShape", "k", "s")
IDS = node("ConstantOfShape", "k2", "i", value=helper.make_tensor("zero", INT64, [1], [0]))
ONES = node("ConstantOfShape", "k", "s", value=helper.make_tensor("one", INT64, [1], [2]))
TOO_LARGE = "elements while loading"
BOMBS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "one hot": (
        [node("OneHot", "i d v", "c")],
        {"i": ints(*range(4)), "d": ints(2**40).reshape(()), "v": np.array([0, 1], np.float32)},
    ),
    "gather": ([FILL, IDS, node("Gather", "s i", "c")], {"k": ints(1, 2**13), "k2": ints(2**14)}),
    "gather nd": ([FILL, IDS, node("GatherND", "s i", "c")], {"k": ints(1, 2**13), "k2": ints(2**14, 1)}),
    "gather nd in batches": (
        [FILL, IDS, node("GatherND", "s i", "c", batch_dims=1)],
        {"k": ints(2**10, 1, 2**14), "k2": ints(2**10, 2**10, 1)},
    ),
    "matrix product": (
        [FILL, node("ConstantOfShape", "k2", "t"), node("MatMul", "s t", "c")],
        {"k": ints(1000, 1, 1, 1), "k2": ints(1000, 1, 2000)},
    ),
    "sums of integers": ([ONES, node("MatMul", "s s", "m"), node("Cast", "m", "c", to=FLOAT)], {"k": ints(4000, 4000)}),
    "one by one": ([FILL, node("Erf", "s", "c")], {"k": ints(2**22)}),
    "a chain": (
        [FILL, *[node("Sin", f"s{i}" if i else "s", f"s{i + 1}" if i < 99 else "c") for i in range(100)]],
        {"k": ints(2**21)},
    ),
    "a loop that doubles": (
        [*loop([node("Concat", "c c", "c2", axis=0)], 60), node("Identity", "r", "c")],
        {"start": np.ones(4, np.float32)},
    ),
    "a loop that collects": (
        [
            node("ConstantOfShape", "k", "start"),
            *loop([node("Identity", "c", "c2")], 4000, ("c",)),
            node("Identity", "rows0", "c"),
        ],
        {"k": ints(2**20)},
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_constants_are_bounded(name: str, tmp_path: Path) -> None:
    nodes, weights = BOMBS[name]
    refused(added(nodes, **weights), UnsupportedError, TOO_LARGE, tmp_path)


def refused(proto: Any, error: type[Error], message: str, tmp_path: Path) -> None:
    path = save(proto, tmp_path, "hostile.onnx")
    with pytest.raises(error, match=message):
        undertow.load(path)


# -- loops, branches, functions ---------------------------------------------------------------------------------------


@case
def loop_of_many_rounds() -> Case:
    nodes = [*loop([node("Identity", "c", "c2")], 2**62), node("Add", "x r", "y")]
    return model(nodes, start=np.ones(4, np.float32)), UnsupportedError, "Loop node 'loop': runs 4611686018427387904"


@case
def loop_without_end() -> Case:
    nodes = loop([node("Identity", "c", "c2")], 1)
    nodes[-1].input[0] = ""
    made = model([*nodes, node("Add", "x r", "y")], start=np.ones(4, np.float32))
    return made, UnsupportedError, "did not end after 4096 rounds"


@case
def rounds_over_frames() -> Case:
    nodes = [*loop([node("Add", "c x", "c2"), node("Tanh", "c2", "row")], 4000, ("row",)), node("Identity", "r", "y")]
    made = model(nodes, {"x": ["T", 1, 4096]}, start=np.ones((1, 1, 4096), np.float32))
    return made, UnsupportedError, "elements"


@case
def scan_of_many_rounds() -> Case:
    body = graph_of(
        [node("Add", "c f", "c2"), node("Identity", "c2", "row")],
        {"c": [4], "f": [4]},
        {"c2": [4], "row": [4]},
    )
    nodes = [FILL, node("Scan", "z s", "r rows", body=body, num_scan_inputs=1), node("Add", "x r", "y")]
    return model(nodes, k=ints(2**20, 4), z=np.zeros(4, np.float32)), UnsupportedError, "runs 1048576 times"


@case
def nested_branches() -> Case:
    inner = graph_of([node("Identity", "x", "i0")], [], ["i0"])
    for depth in range(1, 20):
        made = node("If", "c", f"i{depth}", then_branch=inner, else_branch=_identity(f"e{depth}"))
        inner = graph_of([made], [], [f"i{depth}"])
    nodes = [node("If", "c", "y", then_branch=inner, else_branch=_identity("e"))]
    return model(nodes, c=np.array(True)), UnsupportedError, "levels of nested graphs"


def _identity(name: str) -> Any:
    return graph_of([node("Identity", "x", name)], [], [name])


def _calls(n_calls: int, nodes: list[Any]) -> Any:
    """Calls of one function, one behind the other."""
    chain = ["x", *[f"v{i}" for i in range(n_calls - 1)], "y"]
    made = model([helper.make_node("f", [a], [b], domain="own") for a, b in itertools.pairwise(chain)])
    made.functions.append(helper.make_function("own", "f", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)]))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


@case
def functions_that_multiply() -> Case:
    nodes = [node("Neg", f"t{i}" if i else "a", f"t{i + 1}" if i < 499 else "b") for i in range(500)]
    return _calls(500, nodes), UnsupportedError, "250000 nodes"


@case
def functions_that_multiply_weights() -> Case:
    value = helper.make_tensor("v", FLOAT, [2**16], np.zeros(2**16, np.float32).tobytes(), raw=True)
    nodes = [node("Constant", "", "t", value=value), node("Add", "a t", "b")]
    return _calls(2000, nodes), UnsupportedError, "bytes of functions"


@case
def data_outside_in_a_function() -> Case:
    value = onnx.TensorProto(name="v", data_type=FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="../../etc/passwd")
    return _calls(1, [node("Constant", "", "t", value=value), node("Add", "a t", "b")]), FormatError, "passwd"


# -- readings and states ----------------------------------------------------------------------------------------------


def _sum(n: int, shape: list[Any]) -> Any:
    names = [f"x{i}" for i in range(n)]
    return model([node("Sum", " ".join(names), "y")], {name: shape for name in names})


@case
def many_inputs() -> Case:
    return _sum(40, [1, 1, 4]), UnsupportedError, "too many others to try them all"


@case
def open_inputs() -> Case:
    return _sum(24, ["", "", 4]), UnsupportedError, "too many others to try them all|more than 400 ways"


@case
def many_states() -> Case:
    names = [f"h{i}" for i in range(24)]
    nodes = [node("Add", f"{h} x", f"o_{h}") for h in names]
    nodes.append(node("Sum", " ".join(f"o_{h}" for h in names), "y"))
    shapes = {"x": [1, 4], **{h: [1, 4] for h in names}}
    made = model(nodes, shapes, {"y": [1, 4], **{f"o_{h}": [1, 4] for h in names}})
    return made, UnsupportedError, "cannot tell which inputs are states"


def _ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


# -- computed tensors, windows ----------------------------------------------------------------------------------------


@case
def doubling() -> Case:
    nodes = [node("Concat", f"a{i} a{i}" if i else "x x", f"a{i + 1}", axis=2) for i in range(40)]
    return model([*nodes, node("Relu", "a40", "y")]), UnsupportedError, "elements|too many others"


@case
def tile() -> Case:
    return model([node("Tile", "x r", "y")], r=ints(2**20, 1, 1)), UnsupportedError, "elements"


@case
def pad_that_crops_all() -> Case:
    made = model([node("Pad", "x p", "y")], p=ints(0, 0, -(2**60), 0, 0, 2**60 + 1))
    return made, UnsupportedError, "pads .* expected at most"


@case
def pad_of_time() -> Case:
    made = model([node("Pad", "x p", "y")], {"x": [1, 1, "T"]}, p=ints(0, 0, 2**24, 0, 0, 0))
    return made, UnsupportedError, "elements"


def _conv(op: str, shape: list[Any], kernel: int = 3, axes: int = 1, **attrs: Any) -> Any:
    return model([node(op, "x W", "y", name="conv", **attrs)], {"x": shape}, W=_ones(4, 4, *[kernel] * axes))


TIME: list[Any] = [1, 4, "T"]
PICTURE: list[Any] = ["T", 4, 30, 30]


@case
def dilation_of_time() -> Case:
    return _conv("Conv", TIME, dilations=[2**23], pads=[2**24, 0]), Error, "expected at most|beyond"


@case
def dilation_beyond() -> Case:
    return _conv("Conv", TIME, dilations=[2**40], pads=[2**41, 0]), UnsupportedError, "dilations"


@case
def strides_beyond() -> Case:
    return _conv("Conv", PICTURE, axes=2, strides=[2**62, 1]), UnsupportedError, "strides"


@case
def pads_beyond() -> Case:
    return _conv("Conv", PICTURE, axes=2, pads=[2**22] * 4), UnsupportedError, "elements"


@case
def pads_below_zero() -> Case:
    return _conv("Conv", PICTURE, axes=2, pads=[-1] * 4), UnsupportedError, "pads"


@case
def transposed_strides() -> Case:
    return _conv("ConvTranspose", ["T", 4, 1], strides=[2**22]), UnsupportedError, "strides"


@case
def transposed_into_a_plane() -> Case:
    return _conv("ConvTranspose", PICTURE, axes=2, output_shape=[2**14, 2**14]), UnsupportedError, "elements"


@case
def pool_of_time() -> Case:
    nodes = [node("AveragePool", "x", "y", kernel_shape=[2**20], pads=[2**19, 2**19], count_include_pad=1)]
    return model(nodes, {"x": TIME}), UnsupportedError, "timesteps"


@case
def pool_of_a_picture() -> Case:
    nodes = [node("AveragePool", "x", "y", kernel_shape=[2**12] * 2, pads=[2**11] * 4, count_include_pad=1)]
    return model(nodes, {"x": PICTURE}), UnsupportedError, "elements"


@case
def einsum() -> Case:
    made = model([node("Einsum", "x x x", "y", equation="tnc,tnd,tne->tncde")], {"x": ["T", 1, 512]})
    return made, UnsupportedError, "equation"


@case
def window_of_many_elements() -> Case:
    made = model(
        [node("Conv", "x W", "y", dilations=[2**23], pads=[2**23, 0])], {"x": [1, 32, "T"]}, W=_ones(32, 32, 2)
    )
    return made, UnsupportedError, "134217728 elements"


@case
def groups_one_by_one() -> Case:
    made = model([node("Conv", "x W", "y", group=257)], {"x": [1, 514, "T"]}, W=_ones(514, 2, 1))
    return made, UnsupportedError, "group=257 is not supported, expected at most 256"


@case
def sums_along_a_frame() -> Case:
    made = model([node("CumSum", "x a", "y")], {"x": ["T", 1, 4097]}, a=np.array(2))
    return made, UnsupportedError, "sums along 4097 elements, at most 4096"


@case
def many_exponents() -> Case:
    made = model([node("Pow", "x p", "y")], {"x": ["T", 1, 17]}, p=np.arange(17, dtype=np.float32))
    return made, UnsupportedError, "has 17 different exponents, at most 16"


@case
def large_exponent() -> Case:
    made = model([node("Pow", "x p", "y")], p=np.float32(65))
    return made, UnsupportedError, "exponent 65.* is not supported, expected whole numbers up to 64"


@case
def large_norm() -> Case:
    nodes = [node("LpPool", "x", "y", kernel_shape=[2], p=65)]
    return model(nodes, {"x": ["T", 4, 8]}), UnsupportedError, "p=65 is not supported, expected 1 to 64"


@case
def many_axes() -> Case:
    return model([node("Relu", "x", "y")], {"x": ["T", *[1] * 16]}), UnsupportedError, "more than 16 axes"


# -- graphs that cannot be --------------------------------------------------------------------------------------------


@case
def cycle() -> Case:
    nodes = [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]
    return model(nodes), FormatError, "topologically sorted"


@case
def undeclared() -> Case:
    return model([node("Add", "x nothing", "y")]), FormatError, "nothing"


@case
def name_twice() -> Case:
    return model([node("Relu", "x", "a"), node("Tanh", "a", "a"), node("Relu", "a", "y")]), FormatError, "'a'"


@case
def no_output() -> Case:
    return model([node("Relu", "x", "y")], outputs={}), ShapeError, "0 outputs"


@case
def empty_weight() -> Case:
    return model([node("MatMul", "x w", "y")], w=np.ones((4, 0), np.float32)), Error, "MatMul|empty"


@case
def empty_slice() -> Case:
    made = model([node("Slice", "x a a b", "s"), node("Relu", "s", "y")], a=ints(2), b=ints(2))
    return made, UnsupportedError, "empty"


@case
def too_many_axes() -> Case:
    return model([node("Unsqueeze", "x a", "y")], a=ints(*range(80))), ShapeError, "Unsqueeze"


@case
def wrong_permutation() -> Case:
    return model([node("Transpose", "x", "y", perm=[0, 0, 0])]), ShapeError, "Transpose"


@case
def wrong_hidden_size() -> Case:
    made = model([node("GRU", "x W R", "y", hidden_size=2**40)], W=_ones(1, 12, 4), R=_ones(1, 12, 4))
    return made, ShapeError, "hidden_size"


@case
def axis_outside() -> Case:
    """onnx's own shape inference would write outside of its memory."""
    made = model([node("LayerNormalization", "x s", "y", axis=2**31)], {"x": [2, 3, 4]}, s=_ones(4))
    return made, ShapeError, "LayerNormalization"


@case
def index_outside() -> Case:
    made = model([node("GatherElements", "x i", "y", axis=2)], {"x": [1, 1, 4]}, i=ints(7).reshape(1, 1, 1))
    return made, ShapeError, "outside"


@case
def input_of_all_memory() -> Case:
    return model([node("Relu", "x", "y")], {"x": ["T", 1, 2**62]}), UnsupportedError, "elements"


@pytest.mark.parametrize("name", CASES)
def test_hostile_graphs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_EFFORT", 2**25)  # the same errors, sooner
    refused(*CASES[name](), tmp_path)


def test_states_of_other_shapes(tmp_path: Path) -> None:
    nodes = [node("Concat", "h x", "both", axis=1), node("MatMul", "both w", "o"), node("Tanh", "o", "y")]
    made = model(nodes, {"x": [1, 4], "h": [1, 3]}, {"y": [1, 2], "o": [1, 2]}, w=_ones(7, 2))
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    for states in ({"h": "o"}, {"h": "nothing"}, {"nothing": "o"}):
        with pytest.raises((ShapeError, UnsupportedError), match=r"nothing|shape"):
            undertow.load(tmp_path / "m.onnx", states=states)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    data = model([node("Relu", "x", "y", name="a name to damage")]).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data.replace(b"a name to damage", b"a \xff\xfe\xfd to damage"))
    with pytest.raises(FormatError):
        undertow.load(tmp_path / "m.onnx")


def test_a_loop_computes_what_its_outputs_need(tmp_path: Path) -> None:
    """Nodes that nobody asks for cost nothing, however often a loop over constants runs."""
    dead = [node("Cast", "n", "z0", to=FLOAT), *[node("Neg", f"z{i}", f"z{i + 1}") for i in range(2000)]]
    nodes = [*loop([node("Add", "c one", "c2"), *dead], 1000), node("Add", "x r", "y")]
    made = model(nodes, start=np.zeros(4, np.float32), one=np.ones(4, np.float32))
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    y = undertow.load(tmp_path / "m.onnx").run(np.zeros((3, 4), np.float32))
    assert np.asarray(y).reshape(-1).tolist() == [1000.0] * 12


@pytest.mark.parametrize("op", ["GatherElements", "ScatterElements"])
def test_indices_along_a_long_axis(op: str, tmp_path: Path) -> None:
    """Of more rows than numpy.choose takes, which onnx's evaluator is made of."""
    rng = np.random.default_rng(3)
    table, index = rng.normal(size=(100, 4)).astype(np.float32), rng.permuted(np.tile(np.arange(100), (4, 1)), axis=1).T
    inputs = "t i" if op == "GatherElements" else "t i t"
    made = model([node(op, inputs, "c", axis=0), node("Add", "x c", "y")], {"x": ["T", 100, 4]}, t=table, i=index)
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    expected = np.take_along_axis(table, index, 0)
    if op == "ScatterElements":
        np.put_along_axis(expected := table.copy(), index, table, 0)
    y = undertow.load(path).run(np.zeros((1, 100, 4), np.float32))
    np.testing.assert_array_equal(np.asarray(y).reshape(100, 4), expected)


def test_keras_layers_without_weights_are_bounded(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    pool = {"pool_size": 200, "strides": 1, "padding": "same"}
    layers = [layer("InputLayer", "x", batch_input_shape=[None, None, 2**12, 16], dtype="float32")]
    layers += [layer("TimeDistributed", f"t{i}", layer=layer("MaxPooling1D", f"p{i}", **pool)) for i in range(100)]
    with pytest.raises(UnsupportedError, match=r"p0: a tensor of \d+ elements takes more memory"):
        undertow.load(write_h5(tmp_path / "m.h5", sequential(*layers), {}))
