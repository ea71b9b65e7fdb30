# SPDX-License-Identifier: MIT
"""Transposed convolutions along time in ONNX models, pools and sound with them; and what cannot be streamed."""

import numpy as np
import pytest

import undertow
from onnx_files import Chain, session_of
from strides import check, encoder, load, up
from undertow.cli import main

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
    "over time": (norm_over_time, "Conv node .* takes a softmax over time"),
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
