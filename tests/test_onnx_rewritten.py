# SPDX-License-Identifier: MIT
"""ONNX files that are rewritten before they are read: other floating-point numbers, operators that ONNX defines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import undertow
from onnx_files import Chain, helper, model_of, node, numpy_helper, onnx, peer, random, save
from undertow.accuracy.verify import verify
from undertow.importers.onnx.file.floats import in_float32

H = 4
TYPES = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16, "float64": onnx.TensorProto.DOUBLE}


def network() -> onnx.ModelProto:
    """A GRU, a branch with numbers of its own, and a constant."""
    rng = np.random.default_rng(0)
    weights = {"W": random(rng, 1, 3 * H, H) / 2, "R": random(rng, 1, 3 * H, H) / 2, "yes": np.array(True)}
    weights = {name: array.astype(np.float16).astype(array.dtype) for name, array in weights.items()}
    weights |= {"yes": np.array(True), "second": np.array([1])}
    half = helper.make_tensor("half", onnx.TensorProto.FLOAT, [1], [0.5])
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=half), node("Mul", "ys k", "z")],
        "branch",
        [],
        [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)],
    )
    nodes = [
        node("GRU", "x W R", "Y", hidden_size=H),
        node("Squeeze", "Y second", "ys"),
        helper.make_node("If", ["yes"], ["scaled"], then_branch=branch, else_branch=branch),
        node("Cast", "scaled", "y", to=onnx.TensorProto.FLOAT),
    ]
    return model_of(nodes, {"x": ["T", 1, H]}, {"y": ["T", 1, H]}, weights)


def in_type(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The same with every float32 of another type."""
    twin, kind = onnx.ModelProto.FromString(model.SerializeToString()), TYPES[name]
    dtype = helper.tensor_dtype_to_np_dtype(kind)

    def convert(graph):
        for tensor in graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                value.type.tensor_type.elem_type = kind
        for one in graph.node:
            for attribute in one.attribute:
                if attribute.name == "value":
                    array = numpy_helper.to_array(attribute.t).astype(dtype)
                    attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
                if attribute.name == "to":
                    attribute.i = kind
                if attribute.HasField("g"):
                    convert(attribute.g)

    convert(twin.graph)
    return twin


@pytest.mark.parametrize("name", TYPES)
def test_numbers_of_another_type_are_computed_in_float32(name, tmp_path):
    plain = undertow.load(save(network(), tmp_path, "float32.onnx"))
    path = save(in_type(network(), name), tmp_path)
    model = undertow.load(path)
    assert f"the file's numbers are {name}; they are computed in float32" in model.source
    X = random(np.random.default_rng(1), 9, H)
    if name != "bfloat16":  # which has fewer digits than these weights
        assert model.run(X).tobytes() == plain.run(X).tobytes()
    np.testing.assert_allclose(model.run(X), plain.run(X), atol=2e-2)
    report = verify(model, path)
    assert report.ok and any("by ONNX Runtime too" in note for note in report.notes)


def test_a_number_beyond_float32_is_refused(tmp_path):
    nodes = [node("GRU", "x W R", "Y", hidden_size=H), node("Mul", "Y big", "y")]
    rng = np.random.default_rng(0)
    weights = {"W": random(rng, 1, 3 * H, H), "R": random(rng, 1, 3 * H, H), "big": np.array([1.0, 1e300, 1.0, 1.0])}
    weights |= {name: weights[name].astype(np.float64) for name in "WR"}
    model = model_of(nodes, {"x": (["T", 1, H], TYPES["float64"])}, {"y": (None, TYPES["float64"])}, weights)
    with pytest.raises(undertow.UnsupportedError, match=r"tensor 'big' holds 1e\+300, which is beyond float32"):
        undertow.load(save(model, tmp_path))


def test_a_model_of_float32_is_left_as_it_is():
    model = network()
    before = model.SerializeToString()
    assert in_float32(model) == ""
    assert model.SerializeToString() == before


def test_attention_inside_of_a_frame(tmp_path):
    """[1, T, 3 * 4] as 3 tokens of each timestep, behind which a cell walks time."""
    c = Chain(1, "T", 12)
    c.opset = 24
    c.add("Reshape", c.constant(np.array([-1, 3, 4])))
    x = c.last
    c.add("Attention", x, x, q_num_heads=2, kv_num_heads=2)
    c.add("Reshape", c.constant(np.array([1, -1, 12])))
    c.add("Transpose", perm=[0, 2, 1])
    c.gru(12, H)
    model = undertow.load(save(c, tmp_path))
    x = random(np.random.default_rng(0), 1, 9, 12)
    (want,) = peer(c, {"x": x}).values()
    np.testing.assert_allclose(model.run(x[0]), want[0].T, atol=1e-5)


def test_attention_over_time_is_refused_by_name(tmp_path):
    c = Chain(1, "T", 12)
    c.opset = 24
    c.add("Attention", "x", "x", q_num_heads=2, kv_num_heads=2)
    message = r"Attention node 'Attention_1' \(Softmax in its definition\).*later ones included"
    with pytest.raises(undertow.UnsupportedError, match=message):
        undertow.load(save(c, tmp_path))
    clip = undertow.load(save(c, tmp_path), shapes={"x": [1, 5, 12]})
    x = random(np.random.default_rng(0), 1, 5, 12)
    (want,) = peer(c, {"x": x}).values()
    np.testing.assert_allclose(clip.run(x).reshape(want.shape), want, atol=1e-5)


def test_defaults_of_what_is_taken_apart(tmp_path):
    """Of MeanVarianceNormalization the axes, which its definition refers to."""
    path = save(model_of([node("MeanVarianceNormalization", "x", "y")], {"x": [1, 3, 5, 5]}, {"y": None}), tmp_path)
    x = random(np.random.default_rng(0), 1, 3, 5, 5)
    (want,) = peer(path, {"x": x}).values()
    np.testing.assert_allclose(np.reshape(undertow.load(path).run(x[0]), want.shape), want, atol=1e-5)


def test_what_has_no_definition_is_refused(tmp_path):
    """RotaryEmbedding came with operator set 23."""
    nodes = [node("RotaryEmbedding", "x cos sin", "y")]
    weights = {"cos": np.ones((1, 4, 2), np.float32), "sin": np.zeros((1, 4, 2), np.float32)}
    path = Path(save(model_of(nodes, {"x": [1, 2, 4, 4]}, {"y": None}, weights, opset=22), tmp_path))
    with pytest.raises(undertow.Error, match="RotaryEmbedding"):
        undertow.load(path)
