# SPDX-License-Identifier: MIT
"""Which output returns which state, by names: only beside shapes and paths, and never for what names of frames say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import model_of, node, random, save, stepped
from undertow import reference
from undertow.importers.onnx.search.names import by_names, same_state

PAIRS = """
    h h_out / h_in h_out / past_h present_h / cache_0 new_cache_0 / state stateN / s s_out / past.1 present.1 / h0 hn
    past_key_values.0.key present.0.key / h hn / h_prev h_next / prev_hidden hidden / hidden_state new_hidden_state
    h_t h_t1 / conv_cache conv_cache_out / in_state out_state / rnn.h0 rnn.hn / h_0 h_n / memory memory_next / m m_out
    state_in_3 state_out_3 / hiddenIn hiddenOut / h_tm1 h_t / lstm1_h lstm1_h_out / H_prev H / states.0 new_states.0
    c_prev c_cur / old_memory updated_memory / init_state final_state / S S_out / ssm_state_in ssm_state_out
    h h2 / h.1 h.5 / hidden hidden.7
"""
NO_PAIRS = """
    x y / input output / x_in x_out / audio_in audio_out / h c_out / cache_0 new_cache_1 / h y / input_1 output_1
    input_2 Identity_1 / h_in c_out / frame_in frame_out / x1 x2 / 1 2 / in out / noisy enhanced / h h
    past.0 present.1 / state_in_3 state_out_4 / features_prev features_next / obs_t obs_t1
"""


def split(text: str) -> list[tuple[str, str]]:
    pairs = [pair.split() for line in text.strip().splitlines() for pair in line.split(" / ")]
    assert all(len(pair) == 2 for pair in pairs)
    return [(name, output) for name, output in pairs]


@pytest.mark.parametrize(("name", "output"), split(PAIRS))
def test_names_of_states_are_told(name: str, output: str) -> None:
    assert same_state(name, output)


@pytest.mark.parametrize(("name", "output"), split(NO_PAIRS))
def test_names_of_frames_or_of_others_are_not(name: str, output: str) -> None:
    assert not same_state(name, output)


def test_one_input_has_one_output() -> None:
    assert by_names({"h": ["h_out", "h_next"]}) == {}
    assert by_names({"h": ["h_out"], "h_in": ["h_out"]}) == {}
    assert by_names({"h_in": ["h_out", "c_out"], "c_in": ["h_out", "c_out"]}) == {"h_in": "h_out", "c_in": "c_out"}
    assert by_names({"h.1": ["h.3", "h.4"], "h.2": ["h.3", "h.4"]}) == {}, "numbers alone say nothing of two"
    assert by_names({"h": ["y"], "c": ["h_out"]}) == {}, "names never override shapes or paths"


# -- single steps whose frames are as large as their states ------------------------------------------------------------

N = 6


def independent(rng: Any) -> tuple[list[Any], dict[str, np.ndarray]]:
    """h = relu(W x + u h): with x for the state it would be a cell"""
    nodes = [node("MatMul", "x W", "a"), node("Mul", "h u", "b"), node("Add", "a b", "s"), node("Relu", "s", "h_out")]
    return [*nodes, node("Identity", "h_out", "y")], {"W": random(rng, N, N), "u": random(rng, N)}


def leaky(rng: Any) -> tuple[list[Any], dict[str, np.ndarray]]:
    """h = 0.9 h + tanh(W x)"""
    nodes = [node("MatMul", "x W", "a"), node("Tanh", "a", "t"), node("Mul", "h u", "b"), node("Add", "t b", "h_out")]
    return [*nodes, node("Identity", "h_out", "y")], {"W": random(rng, N, N), "u": np.float32(0.9)}


def residual(rng: Any) -> tuple[list[Any], dict[str, np.ndarray]]:
    """h = tanh(W x + U h), y = x + h"""
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h U", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", "h_out"),
    ]
    weights = {"W": random(rng, N, N), "U": random(rng, N, N) / np.float32(3)}
    return [*nodes, node("Add", "x h_out", "y")], weights


@pytest.mark.parametrize("make", [independent, leaky, residual])
def test_the_input_is_the_one_whose_name_is_no_states(make: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes, weights = make(rng)
    shape = [1, N]
    model = model_of(nodes, {"x": shape, "h": shape}, {"y": shape, "h_out": shape}, weights)
    path = save(model, tmp_path)
    loaded = undertow.load(path)
    assert list(loaded.inputs) == ["x"]
    X = random(rng, 12, 1, N)
    expected = stepped(path, {"x": X}, {"h": ("h_out", (1, N))})["y"][:, 0]
    np.testing.assert_allclose(loaded.run(X[:, 0]), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(reference.run(loaded.graph, X[:, 0]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [independent, leaky, residual])
def test_without_names_it_is_asked_for(make: Any, tmp_path: Path) -> None:
    """Both could be the state: what makes a cell of it is no evidence."""
    rng = np.random.default_rng(0)
    nodes, weights = make(rng)
    shape = [1, N]
    model = model_of(nodes, {"x": shape, "h": shape}, {"y": shape, "h_out": shape}, weights)
    for old, new in (("x", "a0"), ("h", "b0"), ("y", "c0"), ("h_out", "d0")):
        for part in (*model.graph.input, *model.graph.output):
            part.name = new if part.name == old else part.name
        for n in model.graph.node:
            for names in (n.input, n.output):
                names[:] = [new if name == old else name for name in names]
    path = save(model, tmp_path)
    with pytest.raises(undertow.UnsupportedError, match=r"cannot tell which inputs.*say it with states=\{"):
        undertow.load(path)
    loaded = undertow.load(path, states={"b0": "d0"})
    X = random(rng, 12, 1, N)
    expected = stepped(path, {"a0": X}, {"b0": ("d0", (1, N))})["c0"][:, 0]
    np.testing.assert_allclose(loaded.run(X[:, 0]), expected, rtol=0, atol=1e-5)


def test_a_pair_whose_name_is_no_states_beside_an_input_whose_is(tmp_path: Path) -> None:
    """cur and cur_out: what comes next to the frame, or what its state becomes?"""
    rng = np.random.default_rng(0)
    nodes = [
        node("MatMul", "cur W", "a"),
        node("MatMul", "prev U", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", "cur_out"),
    ]
    weights, shape = {"W": random(rng, N, N), "U": random(rng, N, N)}, [1, N]
    for more in ({}, {"y": shape}):
        wired = [*nodes, node("Add", "cur cur_out", "y")] if more else nodes
        path = save(model_of(wired, {"cur": shape, "prev": shape}, {"cur_out": shape, **more}, weights), tmp_path)
        with pytest.raises(undertow.UnsupportedError, match=r"'prev'.* is called like a state"):
            undertow.load(path)
        assert list(undertow.load(path, states={"prev": "cur_out"}).inputs) == ["cur"]


def test_a_path_tells_more_than_a_name(tmp_path: Path) -> None:
    """h_next has nothing of h, so h_out alone returns it; seen is overwritten by each frame, and its name says so."""
    rng = np.random.default_rng(0)
    nodes, weights = residual(rng)
    nodes += [node("Relu", "x", "h_next"), node("Sigmoid", "x", "seen_out"), node("Add", "y seen", "z")]
    shape = [1, N]
    inputs, outputs = ("x", "h", "seen"), ("z", "h_out", "h_next", "seen_out")
    path = save(model_of(nodes, dict.fromkeys(inputs, shape), dict.fromkeys(outputs, shape), weights), tmp_path)
    loaded = undertow.load(path)
    assert list(loaded.inputs) == ["x"] and list(loaded.outputs) == ["z", "h_next"]
    X = random(rng, 12, 1, N)
    states = {"h": ("h_out", (1, N)), "seen": ("seen_out", (1, N))}
    expected = stepped(path, {"x": X}, states)["z"][:, 0]
    np.testing.assert_allclose(loaded.run(X[:, 0])["z"], expected, rtol=0, atol=1e-5)


def test_an_output_feeds_one_state(tmp_path: Path) -> None:
    """A recurrent node's state claims the output that returns it, though a frame has its shape and its path."""
    rng = np.random.default_rng(0)
    weights = {"W": random(rng, 1, 3 * N, N), "R": random(rng, 1, 3 * N, N), "V": random(rng, N, 2)}
    weights["time"] = np.array([0])
    nodes = [node("GRU", "x W R   h", "Y y_h", hidden_size=N)]
    nodes = [nodes[0].__class__()]
    nodes[0].CopyFrom(node("GRU", "x W R", "Y h_out", hidden_size=N))
    nodes[0].input.extend(["", "", "h"])
    nodes += [node("Squeeze", "h_out time", "flat"), node("MatMul", "flat V", "y")]
    shape = [1, 1, N]
    model = model_of(nodes, {"x": shape, "h": shape}, {"y": [1, 2], "h_out": shape}, weights)
    path = save(model, tmp_path)
    loaded = undertow.load(path)
    assert list(loaded.inputs) == ["x"] and "y" in loaded.outputs
    X = random(rng, 8, 1, 1, N)
    expected = stepped(path, {"x": X}, {"h": ("h_out", (1, 1, N))})["y"][:, 0]
    np.testing.assert_allclose(loaded.run(X[:, 0, 0]), expected, rtol=0, atol=1e-5)
