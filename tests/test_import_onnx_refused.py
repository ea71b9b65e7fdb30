# SPDX-License-Identifier: MIT
"""ONNX models that are refused by name, and files that are damaged, point outside of their folder or ask for much."""

from __future__ import annotations

import os

import numpy as np
import pytest

from onnx_files import GATES, TensorProto, cell, helper, model_of, node, random, save
from undertow.errors import Error, FormatError, ShapeError, UnsupportedError
from undertow.importers.onnx import load
from undertow.importers.onnx.file import limits

# -- refusals -------------------------------------------------------------------------------------------------------


def _cell_model(op="LSTM", drop=(), weights=None, inputs=None, opset=14, dtype=np.float32, **attrs):
    rng, G = np.random.default_rng(0), GATES[op]
    w = {"W": random(rng, 1, G * 3, 2).astype(dtype), "R": random(rng, 1, G * 3, 3).astype(dtype), **(weights or {})}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made = helper.make_node(op, ["X", "W", "R"], ["Y"], **{"hidden_size": 3, **attrs})
    model = model_of(
        [made],
        inputs or {"X": (["T", "N", 2], kind)},
        {"Y": None},
        {k: v for k, v in w.items() if k not in drop},
        opset,
    )
    model.graph.output[0].type.tensor_type.elem_type = kind
    return model


REFUSED = {
    "activation": (
        lambda: _cell_model(activations=["Sigmoid", "Mish", "Tanh"]),
        UnsupportedError,
        "LSTM node 'Y'.*'Mish'",
    ),
    "activation count": (
        lambda: _cell_model(activations=["Sigmoid"]),
        UnsupportedError,
        "activations=.*1 names, expected 3",
    ),
    "alpha left over": (
        lambda: _cell_model(activation_alpha=[0.5]),
        UnsupportedError,
        "activation_alpha=.*1 values more",
    ),
    "clip": (lambda: _cell_model(clip=0.0), UnsupportedError, "clip=0"),
    "subnormal clip": (lambda: _cell_model(clip=1e-40), UnsupportedError, "clip=.*e-41.* 2\\^-126 at least"),
    "direction": (lambda: _cell_model(direction="sideways"), UnsupportedError, "direction='sideways'"),
    "layout": (lambda: _cell_model(layout=2), UnsupportedError, "layout=2"),
    "hidden_size": (lambda: _cell_model(hidden_size=4), ShapeError, "hidden_size=4"),
    "weights": (lambda: _cell_model(weights={"W": np.zeros((1, 12, 5), np.float32)}), ShapeError, "X has shape"),
    "one gate short": (lambda: _cell_model(weights={"W": np.zeros((1, 11, 2), np.float32)}), ShapeError, "W has shape"),
    "old operator set": (lambda: _cell_model(opset=6), UnsupportedError, "operator set 6"),
    "weights as inputs": (
        lambda: _cell_model(drop=("W",), inputs={"X": ["T", "N", 2], "W": [1, 12, 2]}),
        UnsupportedError,
        "W is computed at run time.*fixed=",
    ),
    "features from time": (
        lambda: model_of(
            [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Softmax", "t", "y")], {"x": ["N", "T", 4]}, {"y": None}
        ),
        UnsupportedError,
        "output 'y' is a softmax over time",
    ),
    "unknown operator": (
        lambda: model_of([node("Det", "x", "y")], {"x": ["T", 3, 3]}, {"y": None}),
        UnsupportedError,
        "Det node 'y'",
    ),
    "attention": (
        lambda: model_of(
            [node("Transpose", "x", "k", perm=[0, 2, 1]), node("MatMul", "x k", "y")], {"x": ["N", "T", 3]}, {"y": None}
        ),
        UnsupportedError,
        "MatMul node 'y'.*time",
    ),
    "product over time": (
        lambda: model_of([node("ReduceProd", "x", "y", axes=[0])], {"x": ["T", "N", 3]}, {"y": None}),
        UnsupportedError,
        "ReduceProd node 'y'",
    ),
    "time shifted": (
        lambda: model_of(
            [node("Slice", "x a b z", "s"), node("Tanh", "s", "y")],
            {"x": ["T", "N", 3]},
            {"y": None},
            {"a": np.array([1]), "b": np.array([2**31 - 1]), "z": np.array([0])},
        ),
        UnsupportedError,
        "y",
    ),
    "cast": (
        lambda: model_of([node("Cast", "x", "y", to=8)], {"x": ["T", "N", 3]}, {"y": None}),
        UnsupportedError,
        "Cast node 'y'.*STRING",
    ),
    "projection, as torch writes it": (
        lambda: model_of(
            [helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y"], hidden_size=4)],
            {"x": ["T", 1, 3]},
            {"y": None},
            {
                **cell(np.random.default_rng(0), "LSTM", 3, 4, bias=True),
                "h": np.zeros((1, 1, 4), np.float32),
                "c": np.zeros((1, 1, 6), np.float32),
            },
        ),
        FormatError,
        "its memory has 6 numbers and its hidden state 4, .*from_torch.module, example. takes the module",
    ),
    "length baked in": (
        lambda: model_of(
            [node("Add", "x p", "y")], {"x": ["T", "N", 3]}, {"y": None}, {"p": np.ones((7, 1, 3), np.float32)}
        ),
        ShapeError,
        "Add node 'y'.*11 timesteps",
    ),
    "position": (
        lambda: model_of(
            [
                node("Shape", "x", "s"),
                node("Gather", "s z", "n"),
                node("Cast", "n", "f", to=1),
                node("Mul", "x f", "y"),
            ],
            {"x": ["T", "N", 3]},
            {"y": None},
            {"z": np.array(0)},
        ),
        UnsupportedError,
        "depends on the number of timesteps",
    ),
    "training dropout": (
        lambda: model_of(
            [node("Dropout", "x r t", "y")],
            {"x": ["T", "N", 3]},
            {"y": None},
            {"r": np.float32(0.5), "t": np.array(True)},
        ),
        UnsupportedError,
        "Dropout node 'y'.*training",
    ),
    "string input": (
        lambda: model_of([node("Identity", "x", "y")], {"x": (["T"], TensorProto.STRING)}, {"y": None}),
        UnsupportedError,
        "'x'",
    ),
    "too many open axes": (
        lambda: model_of([node("Tanh", "x", "y")], {"x": ["a", "b", "c"]}, {"y": None}),
        UnsupportedError,
        "shapes=",
    ),
}


@pytest.mark.parametrize("name", [*REFUSED])
def test_refused_by_name(name, tmp_path):
    build, error, message = REFUSED[name]
    with pytest.raises(error, match=message) as caught:
        load(save(build(), tmp_path))
    assert "model.onnx" in str(caught.value)


def test_options(tmp_path):
    model = _cell_model(drop=("W",), inputs={"X": ["T", "N", 2], "W": [1, 12, 2]})
    W = random(np.random.default_rng(0), 1, 12, 2)
    assert load(save(model, tmp_path), fixed={"W": W}).inputs == ["X"]
    with pytest.raises(ShapeError, match="no input 'V'"):
        load(save(model, tmp_path), fixed={"V": W})
    with pytest.raises(ShapeError, match="declares"):
        load(save(model, tmp_path), fixed={"W": W[0]})
    with pytest.raises(ShapeError, match="declares"):
        load(save(model, tmp_path), fixed={"W": W}, shapes={"X": [2, 2]})
    open_ = model_of([node("Tanh", "x", "y")], {"x": ["a", "b", "c"]}, {"y": None})
    assert load(save(open_, tmp_path), shapes={"x": [10, 1, 5]}).shape("x") == (5,)
    assert load(save(open_, tmp_path), shapes={"x": [None, None, 5]}).shape("x") == (5,)
    assert load(save(open_, tmp_path), shapes={"x": [None, 4, 5]}).shape("x") == (4, 5)


# -- hostile files --------------------------------------------------------------------------------------------------


def test_damaged_files_end_in_typed_errors(tmp_path):
    data = _cell_model().SerializeToString()
    rng = np.random.default_rng(0)
    damaged = [data[:n] for n in range(0, len(data), 7)]
    for _ in range(400):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    path = tmp_path / "damaged.onnx"
    for piece in damaged:
        path.write_bytes(piece)
        try:
            load(path)  # flipped weights are still a model
        except Error as error:
            assert "damaged.onnx" in str(error)
    path.write_bytes(b"\x80 this is no protobuf")
    with pytest.raises(FormatError, match=r"damaged\.onnx"):
        load(path)


def _external(tmp_path, location, **more):
    model = _cell_model()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    return save(model, folder), data


def test_external_data(tmp_path):
    path, data = _external(tmp_path, "deep/weights.bin", offset=4, length=96)
    (path.parent / "deep").mkdir()
    (path.parent / "deep" / "weights.bin").write_bytes(b"skip" + data)
    np.testing.assert_array_equal(
        load(path).nodes[0].weights["W"], load(save(_cell_model(), tmp_path)).nodes[0].weights["W"]
    )
    (path.parent / "deep" / "weights.bin").write_bytes(b"skip" + data[:-1])
    with pytest.raises(FormatError, match="99 bytes, expected 100"):
        load(path)
    (path.parent / "deep" / "weights.bin").unlink()
    (path.parent / "model.onnx.data").write_bytes(data)
    with pytest.raises(FormatError, match=r"keep its name; found 'model.onnx.data'"):
        load(path)


@pytest.mark.parametrize(
    "location",
    [
        *("../w.bin", "/etc/hostname", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", ""),
        *("link", "hard", "linked/w.bin", "pipe"),
    ],
)
def test_external_data_must_stay_inside(location, tmp_path):
    path, data = _external(tmp_path, location)
    (tmp_path / "w.bin").write_bytes(data)
    (path.parent / "a").mkdir()
    os.symlink(tmp_path / "w.bin", path.parent / "link")
    os.symlink(tmp_path, path.parent / "linked")
    os.link(tmp_path / "w.bin", path.parent / "hard")
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(FormatError, match=r"inside the model's folder|link"):
        load(path)


@pytest.mark.parametrize(("key", "value"), [("length", 10**12), ("offset", -4), ("offset", "x"), ("length", 95)])
def test_external_data_with_odd_places(key, value, tmp_path):
    path, data = _external(tmp_path, "w.bin", **{key: value})
    (path.parent / "w.bin").write_bytes(data)
    with pytest.raises(FormatError, match="offset"):
        load(path)


def _bomb(nodes, weights, **inputs):
    return model_of(nodes, {"x": ["T", "N", 2], **inputs}, {"y": None}, weights)


BOMBS = {
    "ConstantOfShape": ([node("ConstantOfShape", "s", "c"), node("Add", "x c", "y")], {"s": np.array([10**6, 10**6])}),
    "Expand": ([node("Expand", "c s", "e"), node("Add", "x e", "y")], {"c": np.float32(1), "s": np.array([10**9, 2])}),
    "Tile": (
        [node("Tile", "c s", "e"), node("Add", "x e", "y")],
        {"c": np.ones(2, np.float32), "s": np.array([10**10])},
    ),
    "Range": (
        [node("Range", "a b c", "e"), node("Add", "x e", "y")],
        {"a": np.float32(0), "b": np.float32(1e12), "c": np.float32(1)},
    ),
    "Pad": (
        [node("Pad", "c s", "e"), node("Add", "x e", "y")],
        {"c": np.ones(2, np.float32), "s": np.array([0, 10**11])},
    ),
    "outer": (
        [node("Mul", "c r", "m"), node("Add", "x m", "y")],
        {"c": np.ones((10**5, 1), np.float32), "r": np.ones((1, 10**5), np.float32)},
    ),
    "computed": ([node("Expand", "x s", "y")], {"s": np.array([10**8, 1, 1, 1])}),
    "combined": ([node("Add", "x c", "y")], {"c": np.ones((10**6, 1, 1, 1, 1), np.float32)}),
}


@pytest.mark.parametrize("name", [*BOMBS])
def test_small_files_cannot_ask_for_much_memory(name, tmp_path):
    with pytest.raises(UnsupportedError, match="elements"):
        load(save(_bomb(*BOMBS[name]), tmp_path))


def test_limits(tmp_path, monkeypatch):
    path = save(_cell_model(), tmp_path)
    for name, message in (
        ("MAX_FILE_BYTES", "bytes"),
        ("MAX_NODES", "nodes"),
        ("MAX_TENSOR_BYTES", "'W'"),
        ("MAX_TOTAL_BYTES", "bytes of tensors"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, 0)
            with pytest.raises(UnsupportedError, match=message):
                load(path)
    model = _cell_model()
    model.graph.initializer[0].dims[1] = 10**15
    with pytest.raises(Error, match="'W'"):
        load(save(model, tmp_path))
    model = _cell_model()
    graph = model.graph
    for _ in range(limits.MAX_NESTING + 1):
        inner = helper.make_graph([], "inner", [], [])
        graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner))
        graph = graph.node[-1].attribute[0].g
    with pytest.raises(UnsupportedError, match="nested graphs"):
        load(save(model, tmp_path))
