# SPDX-License-Identifier: MIT
"""Strides along time in ONNX models: a stream of frames of several timesteps gives what ONNX Runtime does."""

import numpy as np
import pytest

import undertow
from onnx_files import Chain, onnxruntime, session_of
from strides import check, encoder, load, up
from undertow.accuracy.verify import verify
from undertow.model import Model

CONVS = {
    "even": (8, 4, {"pads": [2, 2]}),
    "odd": (3, 2, {"pads": [1, 1]}),
    "no overlap": (4, 4, {}),
    "causal": (5, 2, {"pads": [4, 0]}),
    "ahead": (5, 2, {"pads": [0, 4]}),
    "gaps": (2, 5, {}),
    "dilated": (3, 2, {"pads": [4, 4], "dilations": [4]}),
    "groups": (4, 2, {"pads": [1, 1], "group": 2}),
    "depthwise": (4, 2, {"pads": [1, 1], "group": 4}),
    "same upper": (5, 3, {"auto_pad": "SAME_UPPER"}),
    "same lower": (4, 3, {"auto_pad": "SAME_LOWER"}),
}


@pytest.mark.parametrize("name", CONVS)
def test_a_strided_convolution_and_a_cell(name, tmp_path):
    kernel, stride, attrs = CONVS[name]
    c = Chain(1, 4, "T")
    c.conv(4, 4, kernel, strides=[stride], **attrs)
    c.add("Relu")
    c.gru(4, 5)
    check(c, tmp_path, stride, 1)


def test_strides_multiply_and_rates_in_between_work(tmp_path):
    """Raw audio, as an encoder of it does: everything between the strides has several rows in a frame."""
    c = Chain(1, 1, "T")
    c.conv(6, 1, 8, strides=[4], pads=[2, 2])
    c.add("Relu")
    c.conv(6, 6, 3, pads=[1, 1])
    c.add("PRelu", c.constant(np.linspace(0.1, 0.6, 6, dtype=np.float32).reshape(6, 1)))
    c.conv(8, 6, 1)
    c.add("Mul", c.constant(np.linspace(0.5, 2, 8, dtype=np.float32).reshape(1, 8, 1)))
    c.conv(8, 8, 4, strides=[2], pads=[1, 1])
    c.gru(8, 5)
    model = check(c, tmp_path, 8, 1)
    assert next(iter(model.inputs.values())).shape == (8, 1)
    assert "8 timesteps of the inputs, 1 of the outputs" in str(model)
    again = Model.from_graph(model.graph)
    assert (again.frames_in, again.frames_out) == (8, 1)


@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_a_cell_at_a_finer_rate(op, tmp_path):
    """Several steps of a recurrent layer in a frame, before the last stride."""
    c = Chain(1, 3, "T")
    c.conv(4, 3, 4, strides=[2], pads=[1, 1])
    c.add("Transpose", perm=[2, 0, 1])
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[op]
    W, R = (c.rng.normal(size=(1, gates * 5, n)).astype(np.float32) * np.float32(0.4) for n in (4, 5))
    b = c.rng.normal(size=(1, 2 * gates * 5)).astype(np.float32)
    c.add(op.upper(), *map(c.constant, (W, R, b)), hidden_size=5)
    c.add("Squeeze", c.constant(np.array([1], np.int64)))
    c.add("Transpose", perm=[1, 2, 0])
    c.conv(4, 5, 3, strides=[3], pads=[1, 0])
    c.gru(4, 5)
    check(c, tmp_path, 6, 1)


def test_ops_behind_the_last_stride(tmp_path):
    """Where a frame has one row again."""
    c = Chain(1, 4, "T")
    fine = c.conv(4, 4, 4, strides=[2], pads=[1, 1])
    c.gru(4, 4)
    c.add("Add", of=[c.last, fine])
    c.add("Transpose", perm=[0, 2, 1])
    c.add("MatMul", c.constant(c.rng.normal(size=(4, 3)).astype(np.float32)))
    c.add("LayerNormalization", *(c.constant(c.rng.normal(size=3).astype(np.float32)) for _ in range(2)))
    c.add("Softmax", axis=-1)
    c.add("Transpose", perm=[0, 2, 1])
    check(c, tmp_path, 2, 1)


def test_a_second_stride_that_does_not_divide_the_first(tmp_path):
    c = Chain(1, 2, "T")
    c.conv(4, 2, 3, strides=[3])
    c.add("Sigmoid")
    c.add("MaxPool", kernel_shape=[2], strides=[2])
    c.gru(4, 3)
    check(c, tmp_path, 6, 1)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("MaxPool", {"kernel_shape": [2], "strides": [2]}),
        ("MaxPool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
        ("MaxPool", {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}),
        ("AveragePool", {"kernel_shape": [4], "strides": [4]}),
        ("AveragePool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
        ("AveragePool", {"kernel_shape": [4], "strides": [2], "pads": [1, 1], "count_include_pad": 1}),
        ("LpPool", {"kernel_shape": [4], "strides": [2], "pads": [1, 1]}),
    ],
)
def test_pools(op, attrs, tmp_path):
    c = Chain(1, 3, "T")
    c.add(op, **attrs)
    c.conv(4, 3, 3, strides=[2], pads=[1, 1])
    c.gru(4, 3)
    check(c, tmp_path, 2 * attrs["strides"][0], 1)


def test_pictures_of_time_and_frequency(tmp_path):
    """Convolution and pooling over both, normalised in between, a cell over what is left."""
    c = Chain(1, 1, "T", 8)
    c.conv(3, 1, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2])
    scale = [c.constant(c.rng.uniform(0.5, 1, 3).astype(np.float32)) for _ in range(4)]
    c.add("BatchNormalization", *scale)
    c.add("Relu")
    c.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    c.add("Transpose", perm=[0, 2, 1, 3])
    c.add("Reshape", c.constant(np.array([0, -1, 6], np.int64)))
    c.add("Transpose", perm=[0, 2, 1])
    c.gru(6, 4)
    c.add("Unsqueeze", c.constant(np.array([3], np.int64)))
    check(c, tmp_path, 4, 1)


def test_padding_in_a_node_of_its_own(tmp_path):
    c = Chain(1, 3, "T")
    c.pad(0, 0, 6, 0, 0, 0)
    c.conv(4, 3, 8, strides=[2])
    c.pad(0, 0, 2, 0, 0, 0)
    c.conv(4, 4, 3)
    c.gru(4, 3)
    model = check(c, tmp_path, 2, 1)
    assert model.latency == 0


def test_padding_by_a_concat_with_zeros(tmp_path):
    c = Chain(1, 3, "T")
    c.conv(4, 3, 4, strides=[2], pads=[1, 1])
    c.add("Concat", of=[c.constant(np.zeros((1, 4, 3), np.float32)), c.last], axis=2)
    c.conv(4, 4, 5, strides=[2])
    c.gru(4, 3)
    check(c, tmp_path, 4, 1)


def test_padding_at_both_ends_of_a_finer_rate(tmp_path):
    c = Chain(1, 3, "T")
    c.conv(4, 3, 4, strides=[2], pads=[1, 1])
    c.pad(0, 0, 3, 0, 0, 3)
    c.conv(4, 4, 8, strides=[2])
    c.gru(4, 3)
    check(c, tmp_path, 4, 1)


def test_windows_much_longer_than_their_stride(tmp_path):
    """As a spectrum is taken: frames of 400 samples, every 160."""
    c = Chain(1, 1, "T")
    c.pad(0, 0, 240, 0, 0, 0)
    c.conv(6, 1, 400, strides=[160])
    c.add("Abs")
    c.gru(6, 4)
    model = check(c, tmp_path, 160, 1, n=(1, 4, 9))
    assert model.latency == 0


def test_rows_that_are_missing_at_the_start(tmp_path):
    """Without padding there is nothing for the first timesteps."""
    c = Chain(1, 3, "T")
    c.conv(4, 3, 6, strides=[2])
    c.conv(4, 4, 3)
    model = check(c, tmp_path, 2, 1, missing=4)
    assert model.latency == 0


def test_cells_start_where_their_sequence_does(tmp_path):
    """An encoder without any padding, as most are: what is missing at the start is in no frame of the cell."""
    c = Chain(1, 1, "T")
    c.conv(6, 1, 10, strides=[5])
    c.add("Relu")
    c.conv(6, 6, 3, strides=[2])
    c.add("Tanh")
    c.conv(6, 6, 2, strides=[2])
    c.gru(6, 4)
    c.conv(4, 4, 3, pads=[2, 0])  # to which it is padding
    model = check(c, tmp_path, 20, 1, missing=1)
    assert model.latency == 0


def test_a_cell_at_a_finer_rate_starts_where_its_sequence_does(tmp_path):
    c = Chain(1, 2, "T")
    c.conv(4, 2, 5)
    c.gru(4, 4)
    c.conv(4, 4, 2, strides=[2])
    check(c, tmp_path, 2, 1, missing=2)


def test_frames_of_which_the_first_timesteps_are_missing(tmp_path):
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4)
    c.add("Sigmoid")
    c.conv(4, 4, 1)
    c.conv(4, 4, 3, strides=[2], pads=[2, 0])  # over 2 n - 3: n - 1 rows
    c.gru(4, 3)
    model = check(c, tmp_path, 2, 1, missing=1)
    assert "none for the first 1 timesteps" in model.source
    c = Chain(1, 2, "T")
    c.conv(4, 2, 5, strides=[2])
    up(c, 4, 3, 3, 2, pads=[1, 1])  # 2 (n - 2) - 1
    c.add("Tanh")
    model = check(c, tmp_path, 2, 2, missing=5, n=(3, 4, 40))
    assert "none for the first 5 timesteps" in model.source


def test_norms_that_an_exporter_took_apart(tmp_path):
    """Over channels, at a finer rate."""
    c = Chain(1, 1, "T")
    x = c.conv(6, 1, 4, strides=[2], pads=[1, 1])
    mean = c.add("ReduceMean", axes=[1])
    centred = c.add("Sub", of=[x, mean])
    c.add("Pow", c.constant(np.float32(2)))
    c.add("ReduceMean", axes=[1])
    c.add("Add", c.constant(np.float32(1e-5)))
    c.add("Sqrt")
    c.add("Div", of=[centred, c.last])
    c.add("ReduceL2", axes=[1], keepdims=1)
    c.add("Mul", of=[centred, c.last])
    c.conv(4, 6, 4, strides=[2], pads=[1, 1])
    c.gru(4, 3)
    check(c, tmp_path, 4, 1)


def test_several_timesteps_out(tmp_path):
    """What a branch strides away is repeated, so outputs have the finer rate."""
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4, strides=[4])
    model = check(c, tmp_path, 4, 1)
    assert model.latency == 0
    c = Chain(1, 2, "T")
    c.conv(4, 2, 6, strides=[2], pads=[2, 2])
    c.add("Tanh")
    fine = c.last
    c.conv(4, 4, 2, strides=[2])
    c.gru(4, 4)
    # Rows of the coarse rate are repeated: [1, 4, T] -> [1, 4, T, 2] -> [1, 4, 2 T].
    c.add("Unsqueeze", c.constant(np.array([3], np.int64)))
    c.add("Concat", of=[c.last, c.last], axis=3)
    c.add("Reshape", c.constant(np.array([1, 4, -1], np.int64)))
    c.add("Add", of=[c.last, fine])
    c.add("Transpose", perm=[0, 2, 1])
    c.add("MatMul", c.constant(c.rng.normal(size=(4, 3)).astype(np.float32)))
    c.add("Add", c.constant(c.rng.normal(size=3).astype(np.float32)))
    c.add("LayerNormalization", *(c.constant(c.rng.normal(size=3).astype(np.float32)) for _ in range(2)))
    c.add("Softmax", axis=-1)
    c.add("Transpose", perm=[0, 2, 1])
    model = check(c, tmp_path, 4, 2)
    assert next(iter(model.outputs.values())).shape == (2, 3)


def test_matrices_of_two_axes(tmp_path):
    """Gemm over rows that are time."""
    c = Chain(1, 2, "T")
    c.conv(4, 2, 2, strides=[2])
    c.add("Squeeze", c.constant(np.array([0], np.int64)))
    c.add("Transpose", perm=[1, 0])
    c.add(
        "Gemm", c.constant(c.rng.normal(size=(5, 4)).astype(np.float32)), c.constant(np.ones(5, np.float32)), transB=1
    )
    c.add("Transpose", perm=[1, 0])
    c.add("Unsqueeze", c.constant(np.array([0], np.int64)))
    c.conv(3, 5, 4, strides=[2], pads=[1, 1])
    c.gru(3, 3)
    check(c, tmp_path, 4, 1)


def test_every_second_timestep(tmp_path):
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4, strides=[2], pads=[2, 0])
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (1, 2**31 - 1, 2, 2)))
    c.gru(4, 3)
    check(c, tmp_path, 4, 1)


def test_timesteps_stacked_by_a_reshape(tmp_path):
    """As encoders for speech do: two timesteps become one with features side by side, and again."""
    c = Chain(1, "T", 3)
    for n in (6, 12):
        c.add("Reshape", c.constant(np.array([1, -1, n], np.int64)))
        c.add("Tanh")
    W, R = (c.rng.normal(size=(1, 15, n)).astype(np.float32) * np.float32(0.4) for n in (12, 5))
    c.add("Transpose", perm=[1, 0, 2])
    c.add("GRU", c.constant(W), c.constant(R), hidden_size=5)
    c.add("Squeeze", c.constant(np.array([1], np.int64)))
    c.add("Transpose", perm=[1, 0, 2])
    check(c, tmp_path, 4, 1)


def test_the_last_timestep_of_a_finer_rate(tmp_path):
    """What the last step gives is one row of the last frame."""
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4, strides=[2], pads=[1, 1])
    fine = c.last
    c.conv(4, 4, 2, strides=[2])
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (-1, 2**31 - 1, 2)), of=[fine])
    model = load(c, tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 2, 24)).astype(np.float32)
    expected = session_of(c).run(None, {"x": x})[0]
    y = model.run(np.ascontiguousarray(x[0].T).reshape(-1, model.frames_in, 2))
    np.testing.assert_allclose(y[-1].ravel(), expected.ravel(), atol=1e-5)


def test_timesteps_of_another_width_are_refused(tmp_path):
    """As many numbers as frames have, but others."""
    model = load(encoder(), tmp_path)
    assert model.run(np.zeros((8, 2), np.float32)).shape == (4, 3)
    for shape in ((8, 4), (4, 4), (16, 1), (16,)):
        with pytest.raises(undertow.ShapeError, match=r"expected|must be"):
            model.run(np.zeros(shape, np.float32))


def test_a_sequence_that_is_no_whole_number_of_frames_is_refused(tmp_path):
    model = load(encoder(), tmp_path)
    with pytest.raises(undertow.ShapeError, match=r"7 timesteps.*a multiple of 2"):
        model.run(np.zeros((7, 2), np.float32))
    with pytest.raises(undertow.ShapeError, match=r"\(T, 2, 2\)"):
        model.run(np.zeros((4, 3, 2), np.float32))
    with pytest.raises(undertow.ShapeError, match=r"\(2, 2\)"):
        model.stream().step(np.zeros((1, 2), np.float32))


def test_verify_knows_how_the_file_has_them(tmp_path):
    onnxruntime()
    model = load(encoder(), tmp_path)
    report = verify(model, path=tmp_path / "model.onnx", against="onnxruntime")
    assert report.ok, str(report)


def test_models_without_strides_have_one_timestep_in_a_frame(tmp_path):
    c = Chain(1, 2, "T")
    c.conv(4, 2, 3, pads=[1, 1])
    model = load(c, tmp_path)
    assert (model.frames_in, model.frames_out) == (1, 1)
