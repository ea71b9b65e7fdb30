# SPDX-License-Identifier: MIT
"""Strides along time in ONNX models: a stream of frames of several timesteps gives what ONNX Runtime does."""

import numpy as np
import pytest

import undertow
from undertow import reference
from undertow.cli import main
from undertow.model import Model
from undertow.verify import verify

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from test_import_onnx_time import Chain, session_of  # noqa: E402


def load(chain, tmp_path, **options):
    path = tmp_path / "model.onnx"
    path.write_bytes(chain.bytes())
    return undertow.load(path, **options)


def whole(rows, model):
    """(frames, *frame) as timesteps of the output."""
    return rows.reshape(len(rows) * model.frames_out, *rows.shape[1 + (model.frames_out > 1) :])


def streamed(model, X, rng):
    """In chunks of any size, some of them proposed and undone first, one after a snapshot."""
    stream, parts, at = model.stream(), [], 0
    while at < len(X):
        n = int(rng.integers(1, 4))
        if n == 1:
            stream.propose(X[at])
            stream.rollback()
            parts.append(stream.propose(X[at])[None])
            stream.commit()
        else:
            parts.append(stream.run(X[at : at + n]))
        if rng.random() < 0.3:
            stream = model.stream(stream.snapshot())
        at += n
    return np.concatenate([*parts, stream.flush()])[model.latency :]


def check(chain, tmp_path, frames_in, frames_out, missing=0, n=(1, 2, 3, 5, 40), **options):
    """n: frames of `frames_in` timesteps; missing: timesteps at the start for which the model gives nothing."""
    model = load(chain, tmp_path, **options)
    assert (model.frames_in, model.frames_out) == (frames_in, frames_out)
    session = session_of(chain)
    time = chain.shape.index("T")
    for frames in n:
        if frames * frames_out <= missing:
            continue
        shape = [frames * frames_in if s == "T" else s for s in chain.shape]
        rng = np.random.default_rng(frames)
        x = rng.normal(size=shape).astype(np.float32)
        expected = np.moveaxis(session.run(None, {"x": x})[0][0], time - 1, 0)
        timesteps = np.ascontiguousarray(np.moveaxis(x[0], time - 1, 0))
        X = timesteps.reshape(frames, *next(iter(model.inputs.values())).shape)
        Y = model.run(X)
        assert whole(Y, model)[missing:].shape == expected.shape
        np.testing.assert_allclose(whole(Y, model)[missing:], expected, atol=1e-5, rtol=1e-5)
        exact = reference.run(model.graph, X)[-frames:]
        np.testing.assert_allclose(whole(exact, model)[missing:], expected, atol=1e-5, rtol=1e-5)

        stream = model.stream()
        steps = np.concatenate([*(stream.step(frame)[None] for frame in X), stream.flush()])
        assert steps[model.latency :].tobytes() == Y.tobytes()
        assert streamed(model, X, rng).tobytes() == Y.tobytes()
        assert model.run(timesteps).tobytes() == Y.tobytes()
    return model


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


def test_outputs_of_several_timesteps_in_a_frame(tmp_path):
    """Two rates beside each other that meet in a Concat, of which the slower is not in the output."""
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


# -- up again -------------------------------------------------------------------------------------------------------


def up(c, n_in, n_out, kernel, stride, cut=None, **attrs):
    W = (c.rng.normal(size=(n_in, n_out // attrs.get("group", 1), kernel)) / n_in).astype(np.float32)
    c.add(
        "ConvTranspose",
        c.constant(W),
        c.constant(c.rng.normal(size=n_out).astype(np.float32)),
        strides=[stride],
        **attrs,
    )
    if cut is not None:
        end = 2**31 - 1 if cut[1] == 0 else -cut[1]
        c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (cut[0], end, 2)))
    return c.last


UP = {
    "no overlap": (4, None, {}),
    "even": (8, None, {"pads": [2, 2]}),
    "causal": (8, None, {"pads": [0, 4]}),
    "ahead": (8, None, {"pads": [4, 0]}),
    "long": (13, None, {"pads": [4, 5]}),
    "gaps": (2, None, {"output_padding": [2]}),
    "dilated": (3, None, {"pads": [1, 4], "dilations": [4]}),
    "groups": (6, None, {"pads": [1, 1], "group": 2}),
    "same upper": (7, None, {"auto_pad": "SAME_UPPER"}),
    "cut off at the end": (8, (0, 4), {}),
    "cut off at the start": (8, (4, 0), {}),
    "cut off at both": (8, (1, 2), {"pads": [1, 0]}),
}


@pytest.mark.parametrize("name", UP)
def test_transposed_convolutions_go_back_to_the_rate_of_the_input(name, tmp_path):
    kernel, cut, attrs = UP[name]
    c = Chain(1, 2, "T")
    c.conv(4, 2, 7, strides=[4], pads=[3, 0])
    c.gru(4, 4)
    up(c, 4, 2, kernel, 4, cut, **attrs)
    model = check(c, tmp_path, 4, 4)
    assert next(iter(model.outputs.values())).shape == (4, 2)


def test_a_transposed_convolution_alone(tmp_path):
    """Frames are timesteps of the input, and those of the output are several."""
    c = Chain(1, 3, "T")
    c.gru(3, 4)
    up(c, 4, 2, 6, 3, pads=[3, 0])
    c.add("Tanh")
    c.conv(2, 2, 3, pads=[2, 0])
    model = check(c, tmp_path, 1, 3)
    assert next(iter(model.inputs.values())).shape == (3,)


def test_a_decoder_behind_an_encoder_with_steps_in_between(tmp_path):
    """Two strides down, a cell, two up, and what was at each rate is added there."""
    c = Chain(1, 1, "T")
    first = c.conv(4, 1, 4, strides=[2], pads=[1, 1])
    c.add("Relu")
    c.conv(8, 4, 4, strides=[2], pads=[1, 1])
    c.add("Relu")
    c.gru(8, 6)
    up(c, 6, 4, 4, 2, pads=[1, 1])
    c.add("Add", of=[c.last, first])
    c.gru(4, 4)
    up(c, 4, 1, 4, 2, pads=[1, 1])
    check(c, tmp_path, 4, 4)


def test_an_encoder_without_padding_and_a_decoder_that_restores_the_length(tmp_path):
    """n frames give n - 1, and these n: the mask is computed by a cell, the output begins with the input."""
    c = Chain(1, 1, "T")
    features = c.conv(6, 1, 16, strides=[8])
    c.gru(6, 6)
    c.add("Sigmoid")
    c.add("Mul", of=[c.last, features])
    up(c, 6, 1, 16, 8)
    model = check(c, tmp_path, 8, 8, n=(2, 3, 40))
    assert model.latency == 1


def test_transposed_convolutions_of_pictures(tmp_path):
    c = Chain(1, 2, "T", 6)
    c.conv(4, 2, 3, 3, pads=[2, 1, 0, 1], strides=[2, 2])
    W = c.rng.normal(size=(4, 2, 4, 4)).astype(np.float32)
    c.add("ConvTranspose", c.constant(W), strides=[2, 2], pads=[1, 1, 1, 1])
    check(c, tmp_path, 2, 2)


# -- several timesteps out, and other rates -------------------------------------------------------------------------


def test_several_timesteps_out(tmp_path):
    """A stride that only a branch has, whose last row goes out with all rows of the finer rate."""
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


def test_the_last_timestep_of_a_finer_rate(tmp_path):
    """What the last step gives is one row of the last frame."""
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4, strides=[2], pads=[1, 1])
    fine = c.last
    c.conv(4, 4, 2, strides=[2])
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (-1, 2**31 - 1, 2)), of=[fine])
    path = tmp_path / "model.onnx"
    path.write_bytes(c.bytes())
    model = undertow.load(path)
    x = np.random.default_rng(0).normal(size=(1, 2, 24)).astype(np.float32)
    expected = ort.InferenceSession(str(path)).run(None, {"x": x})[0]
    y = model.run(np.ascontiguousarray(x[0].T).reshape(-1, model.frames_in, 2))
    np.testing.assert_allclose(y[-1].ravel(), expected.ravel(), atol=1e-5)


def encoder():
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4, strides=[2], pads=[1, 1])
    c.gru(4, 3)
    return c


def test_a_sequence_that_is_no_whole_number_of_frames_is_refused(tmp_path):
    model = load(encoder(), tmp_path)
    with pytest.raises(undertow.ShapeError, match=r"7 timesteps.*a multiple of 2"):
        model.run(np.zeros((7, 2), np.float32))
    with pytest.raises(undertow.ShapeError, match=r"\(T, 2, 2\)"):
        model.run(np.zeros((4, 3, 2), np.float32))
    with pytest.raises(undertow.ShapeError, match=r"\(2, 2\)"):
        model.stream().step(np.zeros((1, 2), np.float32))


def test_verify_knows_how_the_file_has_them(tmp_path):
    model = load(encoder(), tmp_path)
    report = verify(model, path=tmp_path / "model.onnx", against="onnxruntime")
    assert report.ok, str(report)


def test_pools_of_streams(tmp_path):
    """Streams of a pool that looks ahead, each at its own place of its own sequence, give what each alone does."""
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4, strides=[2], pads=[1, 1])
    c.gru(4, 4)
    up(c, 4, 2, 4, 2, pads=[1, 1])
    model = load(c, tmp_path)
    rng = np.random.default_rng(5)
    X = rng.normal(size=(3, 6, 2, 2)).astype(np.float32)
    pool = model.pool(3)
    ids = pool.open(len(X))
    rows = [[] for _ in X]
    at = [0] * len(X)
    while any(a < 6 for a in at):
        chosen = [i for i in range(3) if at[i] < 6 and rng.random() < 0.7]
        if not chosen:
            continue
        y = pool.step(ids[chosen], np.stack([X[i, at[i]] for i in chosen]))
        for i, row in zip(chosen, y, strict=True):
            rows[i].append(row)
            at[i] += 1
    for i, last in enumerate(pool.flush(ids)):
        got = np.concatenate([np.stack(rows[i]), last])[model.latency :]
        assert got.tobytes() == model.run(X[i]).tobytes()


def test_sound_through_an_encoder_and_a_decoder_on_the_command_line(tmp_path):
    c = Chain(1, 1, "T")
    c.conv(6, 1, 16, strides=[8], pads=[8, 0])
    c.gru(6, 6)
    up(c, 6, 1, 16, 8, (0, 8))
    load(c, tmp_path)
    sound = np.random.default_rng(1).uniform(-0.1, 0.1, 803).astype(np.float32)
    undertow.audio.write(tmp_path / "in.wav", sound, 8000)
    assert main(["run", str(tmp_path / "model.onnx"), str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav")]) == 0
    x, _ = undertow.audio.read(tmp_path / "in.wav")
    y, rate = undertow.audio.read(tmp_path / "out.wav")
    filled = np.pad(x[:, 0], (0, 5))  # to whole frames
    expected = session_of(c).run(None, {"x": filled[None, None]})[0][0, 0, :803]
    assert rate == 8000
    np.testing.assert_allclose(y[:, 0], expected.clip(-1, 1), atol=5e-5)  # of 16 bits

    np.save(tmp_path / "x.npy", filled[:, None])
    assert main(["run", str(tmp_path / "model.onnx"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy").ravel()[:803], expected, atol=1e-5)


def test_saved_and_read_again(tmp_path):
    model = load(encoder(), tmp_path)
    model.save(tmp_path / "model.tow")
    again = undertow.load(tmp_path / "model.tow").with_weights("int8")
    assert (again.frames_in, again.frames_out) == (2, 1)


def test_models_without_strides_have_one_timestep_in_a_frame(tmp_path):
    c = Chain(1, 2, "T")
    c.conv(4, 2, 3, pads=[1, 1])
    model = load(c, tmp_path)
    assert (model.frames_in, model.frames_out) == (1, 1)


def bidirectional(c):
    c.conv(4, 3, 2, strides=[2])
    c.add("Transpose", perm=[2, 0, 1])
    W, R = (c.rng.normal(size=(2, 15, n)).astype(np.float32) for n in (4, 5))
    c.add("GRU", c.constant(W), c.constant(R), hidden_size=5, direction="bidirectional")
    c.add("Reshape", c.constant(np.array([0, 1, 10], np.int64)))
    c.add("Transpose", perm=[1, 2, 0])
    c.conv(4, 10, 2, strides=[2])


def norm_over_time(c):
    c.conv(4, 3, 2, strides=[2])
    c.add("Softmax", axis=2)
    c.conv(4, 4, 2, strides=[2])


def late_by_part_of_a_frame(c):
    c.conv(4, 3, 4)
    c.gru(4, 3)
    c.conv(4, 3, 2, strides=[2])


def cut_off_later(c):
    """The first rows of what a decoder gives, behind another op: nothing tells any more what they are made of."""
    up(c, 3, 2, 4, 2)
    c.add("Tanh")
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (2, 2**31 - 1, 2)))


REFUSED = {
    "backwards at a finer rate": (bidirectional, "GRU.*direction"),
    "over time": (norm_over_time, "Softmax"),
    "too many": (lambda c: [c.conv(3, 3, 65, strides=[65]), c.conv(3, 3, 65, strides=[65])], "4225 timesteps"),
    "a cell that starts inside of a frame": (late_by_part_of_a_frame, "GRU.*not complete"),
    "too much padding": (lambda c: c.conv(3, 3, 4, strides=[2], pads=[2, 2]), "goes on for 1 frames behind the last"),
    "too long": (lambda c: up(c, 3, 2, 4, 2), "goes on for 1 frames behind the last"),
    "cut off later": (cut_off_later, "Tanh|Slice|output"),
    "two rates": (
        lambda c: (c.conv(3, 3, 2, strides=[2]), c.add("Concat", of=[c.last, "x"], axis=2)),
        "v2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name, tmp_path):
    build, message = REFUSED[name]
    c = Chain(1, 3, "T")
    build(c)
    with pytest.raises(undertow.UnsupportedError, match=message):
        load(c, tmp_path)
