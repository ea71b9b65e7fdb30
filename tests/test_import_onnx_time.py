# SPDX-License-Identifier: MIT
"""Convolutions, pools and padding along time in ONNX models: a stream, flushed, gives what ONNX Runtime does."""

import numpy as np
import pytest

import undertow
from onnx_files import Chain, save, session_of


def frames_first(a, shape):
    """An ONNX tensor [.., T, ..] with a batch of 1 as (T, *frame)."""
    return np.moveaxis(np.asarray(a)[0], shape.index("T") - 1, 0)


def check(chain, tmp_path, latency, missing=0, T=(1, 2, 5, 40), optimise=True):
    model = undertow.load(save(chain, tmp_path))
    assert model.latency == latency
    session = session_of(chain, optimise)
    for n in T:
        shape = [n if s == "T" else s for s in chain.shape]
        x = np.random.default_rng(n).normal(size=shape).astype(np.float32)
        if n <= missing:
            continue
        expected = frames_first(session.run(None, {"x": x})[0], chain.shape)
        X = np.ascontiguousarray(frames_first(x, chain.shape))
        stream = model.stream()
        rows = np.concatenate([*(stream.step(frame)[None] for frame in X), stream.flush()])[latency:]
        np.testing.assert_allclose(rows[missing:].reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
        assert rows.tobytes() == np.ascontiguousarray(model.run(X)).tobytes()
    return model


SAME = {
    "3": (1, (3,), {"pads": [1, 1]}),
    "5 dilated": (4, (5,), {"pads": [4, 4], "dilations": [2]}),
    "even": (2, (4,), {"pads": [1, 2]}),
    "causal": (0, (3,), {"pads": [2, 0]}),
    "ahead": (2, (3,), {"pads": [0, 2]}),
    "same upper": (2, (4,), {"auto_pad": "SAME_UPPER"}),
    "same lower": (1, (4,), {"auto_pad": "SAME_LOWER"}),
    "groups": (1, (3,), {"pads": [1, 1], "group": 2}),
    "depthwise": (1, (3,), {"pads": [1, 1], "group": 4}),
}


@pytest.mark.parametrize("name", SAME)
def test_convolutions_of_as_many_frames(name, tmp_path):
    latency, kernel, attrs = SAME[name]
    c = Chain(1, 4, "T")
    c.conv(8, 4, *kernel, **attrs)
    c.add("Relu")
    check(c, tmp_path, latency)


def test_a_stack_with_a_short_cut_and_a_cell(tmp_path):
    c = Chain(1, 4, "T")
    a = c.conv(6, 4, 3, pads=[1, 1])
    c.add("Tanh")
    c.conv(6, 6, 3, pads=[2, 2], dilations=[2])
    c.add("Add", of=[c.last, a])
    c.gru(6, 5)
    c.conv(3, 5, 3, pads=[1, 1])
    c.add("Sigmoid")
    check(c, tmp_path, 4)


def test_padding_before_and_chomping_behind(tmp_path):
    c = Chain(1, 4, "T")
    c.pad(0, 0, 2, 0, 0, 0)
    c.conv(6, 4, 3)
    c.add("Relu")
    c.conv(6, 6, 3, pads=[4, 4], dilations=[2])  # as many frames once the last four are cut off
    c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (0, -4, 2)))
    c.gru(6, 5)
    check(c, tmp_path, 0)


def test_two_dimensions_of_which_one_is_time(tmp_path):
    c = Chain(1, 2, "T", 9)
    c.conv(4, 2, 3, 3, pads=[1, 1, 1, 1])
    c.add("Relu")
    c.conv(4, 4, 3, 3, pads=[2, 1, 0, 0], strides=[1, 2], group=4)
    c.conv(3, 4, 1, 2)
    check(c, tmp_path, 1)


def test_time_last_of_two_dimensions(tmp_path):
    c = Chain(1, 1, 8, "T")
    c.conv(3, 1, 4, 3, pads=[1, 1, 2, 1], strides=[2, 1])
    c.add("LeakyRelu", alpha=0.2)
    check(c, tmp_path, 1)


def test_without_padding_the_first_frames_are_missing(tmp_path):
    c = Chain(1, 4, "T")
    c.conv(6, 4, 3)
    c.add("Relu")
    c.conv(3, 6, 2)
    model = check(c, tmp_path, 0, missing=3, T=(4, 5, 40))
    assert "none for the first 3 frames" in model.source


@pytest.mark.parametrize(
    ("op", "attrs", "latency"),
    [
        ("MaxPool", {"kernel_shape": [3], "pads": [1, 1]}, 1),
        ("MaxPool", {"kernel_shape": [3], "pads": [2, 0]}, 0),
        ("MaxPool", {"kernel_shape": [3], "pads": [2, 2], "dilations": [2]}, 2),
        ("AveragePool", {"kernel_shape": [3], "pads": [1, 1]}, 1),
        ("AveragePool", {"kernel_shape": [4], "pads": [2, 1], "count_include_pad": 1}, 1),
        ("AveragePool", {"kernel_shape": [3], "pads": [2, 0]}, 0),
        ("LpPool", {"kernel_shape": [3], "pads": [1, 1]}, 1),
    ],
)
def test_pools(op, attrs, latency, tmp_path):
    c = Chain(1, 4, "T")
    c.add(op, **attrs)
    check(c, tmp_path, latency)


def test_pools_of_two_dimensions(tmp_path):
    c = Chain(1, 2, "T", 9)
    c.add("MaxPool", kernel_shape=[3, 2], pads=[1, 1, 1, 0], strides=[1, 2])
    c.add("AveragePool", kernel_shape=[3, 2], pads=[2, 1, 0, 0])
    check(c, tmp_path, 1)


def test_cells_and_padding_behind_what_is_missing(tmp_path):
    """A cell starts where its sequence does, and what is missing before it is padding to what comes next."""
    c = Chain(1, 4, "T")
    c.conv(4, 4, 3)
    c.gru(4, 4)
    check(c, tmp_path, 0, missing=2)
    c.conv(4, 4, 3, pads=[1, 1])
    c.add("Tanh")
    c.conv(4, 4, 5, pads=[4, 0])
    c.gru(4, 4)
    check(c, tmp_path, 1, missing=2, T=(3, 4, 40))
    c = Chain(1, 4, "T")
    c.conv(4, 4, 4, pads=[0, 2])
    c.gru(4, 4)
    c.conv(4, 4, 2)
    c.gru(4, 4)
    check(c, tmp_path, 2, missing=2, T=(3, 5, 40))


def test_states_end_with_the_sequence(tmp_path):
    """A cell that starts late does not move in the frames of a flush either, which are there for who looks ahead."""
    c = Chain(1, 4, "T")
    c.conv(4, 4, 3)
    c.gru(4, 4)
    x = np.random.default_rng(1).normal(size=(1, 4, 9)).astype(np.float32)
    last = session_of(c).run(None, {"x": x})[0][0, :, -1]
    c.conv(4, 4, 4, pads=[0, 3])
    model = check(c, tmp_path, 3, missing=2)
    _, state = model.run_with_state(np.ascontiguousarray(x[0].T))
    np.testing.assert_allclose(state["gru_1.h"], last, atol=1e-6)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("pads", [(2, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("own", [0, 1])
def test_zeros_of_a_padding_node_are_numbers_to_a_pool(op, pads, own, tmp_path):
    """Unlike the pool's own padding. (ONNX Runtime's optimiser takes them for the latter, so it is switched off.)"""
    c = Chain(1, 3, "T")
    c.add("Sub", c.constant(np.float32(5)))  # below zero, which is so the maximum
    c.pad(0, 0, pads[0], 0, 0, pads[1])
    c.add(op, kernel_shape=[3 + 2 * own], pads=[own, own])
    check(c, tmp_path, pads[1] + own, optimise=False)


REFUSED = {
    "padding with a number": (
        lambda c: (c.pad(0, 0, 2, 0, 0, 0, value=1.0), c.add("Relu")),
        "output 'v2' cannot be given",
    ),
    "padding with the edge": (lambda c: (c.pad(0, 0, 2, 0, 0, 0, mode="edge"), c.add("Relu")), "Relu"),
    "reflect": (lambda c: (c.pad(0, 0, 2, 0, 0, 2, mode="reflect"), c.conv(4, 4, 5)), "mode='reflect'"),
    "padding alone": (lambda c: (c.pad(0, 0, 2, 0, 0, 0), c.add("Relu")), "output 'v2' cannot be given"),
    "too many frames": (lambda c: c.conv(4, 4, 3, pads=[2, 2]), "goes on for 2 frames behind the last"),
    "a cell over padding": (lambda c: (c.pad(0, 0, 1, 0, 0, 1), c.gru(4, 4)), "GRU"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_streamed_is_refused_by_name(name, tmp_path):
    build, message = REFUSED[name]
    c = Chain(1, 4, "T")
    build(c)
    path = save(c, tmp_path)
    with pytest.raises(undertow.UnsupportedError, match=message):
        undertow.load(path)
