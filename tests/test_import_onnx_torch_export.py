# SPDX-License-Identifier: MIT
"""What torch.export and onnxscript write into files, against ONNX Runtime: each test is one such pattern."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_files
import undertow
from onnx_files import FLOAT, INT64, TensorProto, cell, helper, info, model_of, node, random
from undertow.accuracy.verify import verify
from undertow.errors import Error, ShapeError, UnsupportedError

T, K, J = 6, 3, 4


def save(tmp_path, nodes, inputs, outputs, weights=None, opset=18):
    return onnx_files.save(model_of(nodes, inputs, outputs, weights, opset), tmp_path)


def peer(path, feeds):
    """The first output."""
    return next(iter(onnx_files.peer(path, feeds).values()))


def check(path, X, batch_axis=0):
    """The one output of a model of one input, as a stream; gives the model."""
    model = undertow.load(path)
    want = np.squeeze(peer(path, {"x": np.expand_dims(X, batch_axis)}), batch_axis)
    stream = model.stream()
    made = np.stack([stream.step(x) for x in X])
    np.testing.assert_allclose(made, want, rtol=0, atol=1e-6)
    return model


# -- a length that the file calls open, and has fixed ---------------------------------------------------------------


def behind_a_gru(rng, tmp_path, dims, out, nodes, **weights):
    """[B, T, K], its sizes as in `dims`, through a GRU to h of [B, T, J], and on to y"""
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R B", "Y", hidden_size=J, linear_before_reset=1),
        node("Transpose", "Y", "rows", perm=[0, 2, 1, 3]),
        node("Reshape", "rows size", "flat"),
        node("Transpose", "flat", "h", perm=[1, 0, 2]),
        *nodes,
    ]
    weights = {**cell(rng, "GRU", K, J, bias=True), "size": np.array([T, -1, J]), **weights}
    return save(tmp_path, nodes, [info("x", dims)], [info("y", out)], weights)


@pytest.mark.parametrize("dims", [[1, "s27", K], ["s77", "s27", K]])
def test_the_length_of_the_example_is_found(dims, tmp_path, rng):
    path = behind_a_gru(rng, tmp_path, dims, [dims[0], T, J], [node("Tanh", "h", "y")])
    model = check(path, random(rng, T, K))
    assert model.inputs["x"].shape == (K,)
    assert f"the file is of {T} timesteps alone, though it calls axis 1 of 'x' open" in model.source
    report = verify(model, path, against="onnxruntime")
    assert report.ok and report.n_steps == T, report


def test_a_length_that_is_open_stays_so(tmp_path, rng):
    """An output whose size has a name of an input's axis takes any; what fails then, fails as before."""
    path = behind_a_gru(rng, tmp_path, [1, "t", K], [1, "t", J], [node("TopK", "h k", "y i")], k=np.array([J]))
    with pytest.raises(Error) as caught:
        undertow.load(path)
    assert "it loads with" not in str(caught.value)


def test_a_length_that_is_declared_and_not_fixed(tmp_path, rng):
    """As torch.export declares what its GRU gives; something is divided by the length of x, which is open."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "n", axis=0),
        node("Cast", "n", "length", to=FLOAT),
        node("Div", "x length", "less"),
        node("Transpose", "less", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R B", "Y", hidden_size=J, linear_before_reset=1),
        node("Squeeze", "Y second", "rows"),
        node("Transpose", "rows", "y", perm=[1, 0, 2]),
    ]
    weights = {**cell(rng, "GRU", K, J, bias=True), "one": np.array(1), "second": np.array([1])}
    path = save(tmp_path, nodes, [info("x", ["s77", "s27", K])], [info("y", ["s77", T, J])], weights)
    with pytest.raises(UnsupportedError, match="depends on the number of timesteps"):
        undertow.load(path)


def test_a_clip_of_the_length_is_for_the_user_to_ask_for(tmp_path, rng):
    """Positions of their own, T of them: no stream, and not what somebody meant who left the axis open."""
    path = behind_a_gru(
        rng, tmp_path, [1, "s27", K], [1, T, J], [node("Add", "h places", "y")], places=random(rng, 1, T, J)
    )
    with pytest.raises((ShapeError, UnsupportedError), match=r"it loads with shapes=\{'x': \[1, 6, 3\]\}"):
        undertow.load(path)
    X = random(rng, T, K)
    made = undertow.load(path, shapes={"x": [1, T, K]}).run(X[None])
    np.testing.assert_allclose(made[0], peer(path, {"x": X[None]})[0], rtol=0, atol=1e-6)


# -- sequences of tensors -------------------------------------------------------------------------------------------


def whole_gru(rng, tmp_path, nodes, n_in, **weights):
    """[T, 1, K] through `nodes` to f of [T, 1, n_in], through a GRU"""
    nodes = [
        *nodes,
        node("GRU", "f W R B", "Y", hidden_size=J, linear_before_reset=1),
        node("Squeeze", "Y one", "y"),
    ]
    weights = {
        **cell(rng, "GRU", n_in, J, bias=True),
        "one": np.array([1]),
        "last": np.array(-1),
        "first": np.array(0),
        **weights,
    }
    return save(tmp_path, nodes, [info("x", ["T", 1, K])], [info("y", ["T", 1, J])], weights)


@pytest.mark.parametrize(
    ("pieces", "split"),
    [("a b", np.array([1, 2])), ("b a", np.array(2)), ("b a", np.array([2, 1]))],
)
def test_pieces_of_a_split_to_a_sequence(pieces, split, tmp_path, rng):
    nodes = [
        node("SplitToSequence", "x sizes", "pieces", axis=2),
        node("SequenceAt", "pieces first", "a"),
        node("SequenceAt", "pieces second", "b"),
        node("Concat", pieces, "f", axis=2),
    ]
    path = whole_gru(rng, tmp_path, nodes, K, sizes=split, second=np.array(1))
    check(path, random(rng, T, K), batch_axis=1)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_single_places_of_a_sequence(keepdims, tmp_path, rng):
    nodes = [
        node("SplitToSequence", "x", "pieces", axis=-1, keepdims=keepdims),
        node("SequenceAt", "pieces last", "a"),
        node("SequenceAt", "pieces first", "b"),
        node("SequenceConstruct", "a b a", "three"),
        node("ConcatFromSequence", "three", "f", axis=2, new_axis=1 - keepdims),
    ]
    check(whole_gru(rng, tmp_path, nodes, 3), random(rng, T, K), batch_axis=1)


def test_a_place_that_a_sequence_does_not_have(tmp_path, rng):
    nodes = [node("SequenceConstruct", "x x", "two"), node("SequenceAt", "two second", "f")]
    path = whole_gru(rng, tmp_path, nodes, K, second=np.array(2))
    with pytest.raises(ShapeError, match="takes place 2 of a sequence of 2"):
        undertow.load(path)


def test_a_sequence_whose_place_is_computed(tmp_path, rng):
    nodes = [
        node("SplitToSequence", "x", "pieces", axis=2),
        node("ArgMax", "x", "places", axis=2, keepdims=0),
        node("ReduceMax", "places", "place", keepdims=0),
        node("SequenceAt", "pieces place", "f"),
    ]
    with pytest.raises(UnsupportedError, match=r"Gather node 'f': picks by a computed index"):
        undertow.load(whole_gru(rng, tmp_path, nodes, 1))


# -- one-hot rows ---------------------------------------------------------------------------------------------------


def test_ids_compared_with_all_places(tmp_path, rng):
    """F.one_hot, as torch.export writes it."""
    nodes = [
        node("Unsqueeze", "x last", "column"),
        node("Equal", "column places", "same"),
        node("Cast", "same", "whole", to=INT64),
        node("Cast", "whole", "rows", to=FLOAT),
        node("Transpose", "rows", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R B", "Y", hidden_size=J, linear_before_reset=1),
        node("Squeeze", "Y one", "h"),
        node("Transpose", "h", "y", perm=[1, 0, 2]),
    ]
    weights = {
        **cell(rng, "GRU", 5, J, bias=True),
        "places": np.arange(5),
        "one": np.array([1]),
        "last": np.array([-1]),
    }
    path = save(tmp_path, nodes, [info("x", [1, "T"], INT64)], [info("y", [1, "T", J])], weights)
    model = check(path, rng.integers(0, 5, T))
    assert model.inputs["x"].n_ids == 5
    weights["places"] = np.array([0, 1, 2, 4, 3])
    path = save(tmp_path, nodes, [info("x", [1, "T"], INT64)], [info("y", [1, "T", J])], weights)
    with pytest.raises(UnsupportedError, match=r"Equal.*ids \(integers\)"):
        undertow.load(path)


@pytest.mark.parametrize("op", ["Equal", "Less", "GreaterOrEqual"])
@pytest.mark.parametrize("swapped", [False, True])
def test_ids_compared_with_one_number(op, swapped, tmp_path, rng):
    """A mask of padding, from the ids that an embedding reads."""
    nodes = [
        node(op, "limit x" if swapped else "x limit", "mask"),
        node("Not", "mask", "kept"),
        node("Unsqueeze", "kept last", "column"),
        node("Gather", "table x", "rows"),
        node("Where", "column rows zero", "y"),
    ]
    weights = {"table": random(rng, 5, K), "limit": np.array(2), "last": np.array([-1]), "zero": np.float32(0)}
    path = save(tmp_path, nodes, [info("x", [1, "T"], INT64)], [info("y", [1, "T", K])], weights)
    check(path, np.arange(T) % 5)
    weights["limit"] = np.arange(5)  # of all lengths but one, a comparison with the number of the timestep
    path = save(tmp_path, nodes, [info("x", [1, 5], INT64)], [info("y", [1, 5, K])], weights)
    with pytest.raises(Error, match=op):
        undertow.load(path)


# -- what a step returns twice --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", ["h h", "h copy"])
def test_a_state_that_is_the_output_too(outputs, tmp_path, rng):
    """`return h, h`: the older exporter names one value twice, the newer one makes a copy."""
    nodes = [
        node("Concat", "x state", "both", axis=1),
        node("MatMul", "both W", "sum"),
        node("Tanh", "sum", "h"),
        node("Identity", "h", "copy"),
    ]
    given = [info("x", [1, K]), info("state", [1, J])]
    path = save(tmp_path, nodes, given, [info(n, [1, J]) for n in outputs.split()], {"W": random(rng, K + J, J) / 2})
    model = undertow.load(path)
    assert list(model.outputs) == ["h"] and list(model.inputs) == ["x"]
    stream, state = model.stream(), np.zeros((1, J), np.float32)
    for x in random(rng, T, K):
        state = peer(path, {"x": x[None], "state": state})
        np.testing.assert_allclose(stream.step(x), state[0], rtol=0, atol=1e-6)


def test_an_output_that_is_named_twice(tmp_path, rng):
    path = save(tmp_path, [node("Relu", "x", "y")], [info("x", ["T", K])], [info("y", ["T", K])] * 2)
    X = random(rng, T, K)
    made = undertow.load(path).run(X)
    assert list(made) == ["y", "y_2"]
    for y in made.values():
        np.testing.assert_array_equal(y, np.maximum(X, 0))


# -- inputs without time beside a sequence of fixed length ----------------------------------------------------------


@pytest.mark.parametrize("shape", [[1, 2], [1, 1, 2]])
def test_a_condition_of_a_sequence_of_fixed_length(shape, tmp_path, rng):
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R B", "Y", hidden_size=J, linear_before_reset=1),
        node("Squeeze", "Y one", "h"),
        node("Transpose", "h", "rows", perm=[1, 0, 2]),
        node("MatMul", "knob M", "scale"),
        *([node("Unsqueeze", "scale one", "wide")] if len(shape) == 2 else [node("Identity", "scale", "wide")]),
        node("Mul", "rows wide", "y"),
    ]
    weights = {**cell(rng, "GRU", K, J, bias=True), "one": np.array([1]), "M": random(rng, 2, J)}
    path = save(tmp_path, nodes, [info("x", [1, T, K]), info("knob", shape)], [info("y", [1, T, J])], weights)
    X, knob = random(rng, T, K), random(rng, 2)
    want = peer(path, {"x": X[None], "knob": knob.reshape(shape)})[0]
    model = undertow.load(path)
    stream = model.stream()
    made = [stream.step({"x": x, "knob": knob.reshape(model.inputs["knob"].shape)}) for x in X]
    np.testing.assert_allclose(np.reshape(made, want.shape), want, rtol=0, atol=1e-6)


# -- casts that change nothing --------------------------------------------------------------------------------------


def test_a_cast_between_padding_and_its_convolution(tmp_path, rng):
    """Keras's exporter casts what it has to what it is, at every turn."""
    nodes = [
        node("Transpose", "x", "c", perm=[0, 2, 1]),
        node("Pad", "c pads", "p"),
        node("Cast", "p", "f", to=FLOAT),
        node("Conv", "f C", "d"),
        node("Transpose", "d", "y", perm=[0, 2, 1]),
    ]
    weights = {"pads": np.array([0, 0, 2, 0, 0, 0]), "C": random(rng, J, K, 3)}
    check(save(tmp_path, nodes, [info("x", [1, "T", K])], [info("y", [1, "T", J])], weights), random(rng, T, K))


# -- a norm of rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [["T", 4], ["T", 4, 2]])
def test_a_group_norm_of_rows(dims, tmp_path, rng):
    """Of features alone, or of all that a timestep has of each channel."""
    weights = {"s": random(rng, 4), "b": random(rng, 4)}
    nodes = [node("GroupNormalization", "x s b", "y", num_groups=2, epsilon=1e-3)]
    path = save(tmp_path, nodes, [info("x", dims)], [info("y", dims)], weights, opset=21)
    X = random(rng, T, *dims[1:])
    shaped = X.reshape(T, 2, -1).astype(np.float64)
    normed = (shaped - shaped.mean(-1, keepdims=True)) / np.sqrt(shaped.var(-1, keepdims=True) + 1e-3)
    wide = [-1, *[1] * (len(dims) - 2)]
    want = normed.reshape(X.shape) * weights["s"].reshape(wide) + weights["b"].reshape(wide)
    np.testing.assert_allclose(undertow.load(path).stream().run(X), want, rtol=0, atol=1e-6)


# -- files that ONNX Runtime or a converter has changed -------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "advice"),
    [
        ("DecoderMaskedMultiHeadAttention", "the file that this one was made from"),
        ("DynamicQuantizeMatMulFp8", "weights='int8'"),
    ],
)
def test_operators_of_onnx_runtime(op, advice, tmp_path):
    """Said before anything else: without knowing the operator, nothing tells states from inputs."""
    fused = helper.make_node(op, ["x", "h"], ["y", "hn"], name="fused", domain="com.microsoft")
    graph = helper.make_graph([fused], "g", [info(n, [1, J]) for n in "xh"], [info(n, [1, J]) for n in ("y", "hn")])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    with pytest.raises(UnsupportedError, match=rf"com\.microsoft\.{op} node 'fused'.*{advice}"):
        undertow.load(path)


@pytest.mark.parametrize("keeps_inputs", [False, True])
def test_float16(keeps_inputs, tmp_path):
    half = TensorProto.FLOAT16
    nodes = [node("Cast", "x", "x16", to=half), node("Tanh", "x16", "y16"), node("Cast", "y16", "y", to=FLOAT)]
    path = save(tmp_path, nodes, [info("x", ["T", K], FLOAT if keeps_inputs else half)], [info("y", ["T", K])])
    model, X = undertow.load(path), random(np.random.default_rng(0), 5, K)
    assert "numbers are float16; they are computed in float32" in model.source
    np.testing.assert_allclose(model.run(X), np.tanh(X), atol=1e-6)


# -- which of two axes of fixed size is time ------------------------------------------------------------------------


def test_the_axis_along_which_it_can_go_on_is_time(tmp_path, rng):
    """[1, T, F, K]: both ways over the bands of a timestep, then forwards over time for each band."""
    F = 5
    both = {name: np.concatenate([w, w[..., ::-1]]) for name, w in cell(rng, "GRU", K, J, bias=True).items()}
    nodes = [
        node("Reshape", "x bands", "rows"),
        node("Transpose", "rows", "r", perm=[1, 0, 2]),
        node("GRU", "r V S C", "Y1", hidden_size=J, linear_before_reset=1, direction="bidirectional"),
        node("Transpose", "Y1", "y1", perm=[2, 0, 1, 3]),  # [T, F, 2, J]
        node("Reshape", "y1 joined", "steps"),
        node("GRU", "steps W R B", "Y2", hidden_size=J, linear_before_reset=1),
        node("Reshape", "Y2 split", "y"),
    ]
    weights = {**cell(rng, "GRU", 2 * J, J, bias=True), **dict(zip("VSC", both.values(), strict=True))}
    weights |= {"bands": np.array([T, F, K]), "joined": np.array([T, F, 2 * J]), "split": np.array([1, T, F, J])}
    path = save(tmp_path, nodes, [info("x", [1, T, F, K])], [info("y", [1, T, F, J])], weights)
    model = check(path, random(rng, T, F, K))
    assert model.inputs["x"].shape == (F, K)
