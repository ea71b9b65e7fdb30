# SPDX-License-Identifier: MIT
"""Readings that the file's own nodes contradict are none, also where a walk goes through under them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import undertow
from onnx_files import graph_of, model_of, node, onnxruntime, random, reading_memory, save
from undertow.errors import UnsupportedError
from undertow.importers.onnx.driver import Driver
from undertow.importers.onnx.frames.context import Reading
from undertow.importers.onnx.search.outputs import output
from undertow.importers.onnx.search.proof import Claim, Refuted, prove
from undertow.importers.onnx.simplify.program import Program, make_program
from undertow.ir.graph import Graph

I, H, O, T = 5, 8, 3, 7


def claim_of(program: Program, reading: Reading, states: dict[str, str] | None = None) -> Claim:
    """What a walk makes of a program under a reading, whatever it is."""
    walk = Driver(program, reading)
    walk.run()
    names = [name for name in program.outputs if name not in (states or {}).values()]
    places = {name: output(walk, name) for name in names}
    return Claim(reading, walk.builder.graph, places, walk.rates, states or {})


def reading_of(axes: dict[str, tuple[int | None, int | None]], **settings) -> Reading:
    return Reading(settings.pop("n_steps", T), settings.pop("n_items", 2), axes, **settings)


def gru(rng: np.random.Generator, direction: str = "forward") -> Program:
    """X [T, N, I] -> Y [T, directions, N, H]"""
    n = 2 if direction == "bidirectional" else 1
    weights = {"W": random(rng, n, 3 * H, I), "R": random(rng, n, 3 * H, H)}
    nodes = [node("GRU", "X W R", "Y", hidden_size=H, direction=direction)]
    return make_program(model_of(nodes, {"X": ["T", "N", I]}, {"Y": ["T", n, "N", H]}, weights))


def test_what_is_right_is_proven(rng):
    program = gru(rng)
    proof = prove(program, claim_of(program, reading_of({"X": (0, 1)})))
    assert [walked.op for walked in proof.walks] == ["GRU"]


@pytest.mark.parametrize(("direction", "found"), [("forward", "earlier"), ("reverse", "later")])
def test_a_graph_that_forgets_or_does_not_see_ahead_is_refuted(direction, found, rng):
    program = gru(rng, direction)
    claim = claim_of(program, reading_of({"X": (0, 1)}))
    frames = Graph("none")
    frames.output("Y", frames.input("X", H))
    with pytest.raises(Refuted, match=f"axis 0 of 'X' \\(T\\) is not time.* {found} than"):
        prove(program, Claim(claim.reading, frames, claim.outputs, {"Y": 1}, {}))


def test_a_window_reaches_as_far_as_it_does(rng):
    """Three taps, of which a Graph has two."""
    weights = {"K": random(rng, O, I, 3)}
    nodes = [node("Conv", "X K", "Y", pads=[2, 0])]
    program = make_program(model_of(nodes, {"X": ["N", I, "T"]}, {"Y": ["N", O, "T"]}, weights))
    claim = claim_of(program, reading_of({"X": (2, 0)}))
    for taps, right in (((-2, -1, 0), True), ((-1, 0), False)):
        graph = Graph("windows")
        graph.output("Y", graph.add("window", [graph.input("X", O)], attrs={"taps": taps}))
        told = Claim(claim.reading, graph, claim.outputs, {"Y": 1}, {})
        if right:
            prove(program, told)
            continue
        with pytest.raises(Refuted, match="at timestep 2 depends on timestep 0, which is earlier"):
            prove(program, told)


def test_items_that_meet_are_no_batch(rng):
    """The first item is added to each: of one item, no table tells."""
    nodes = [node("Gather", "X zero", "first", axis=0), node("Add", "X first", "Y")]
    program = make_program(model_of(nodes, {"X": ["a", "b", I]}, {"Y": ["a", "b", I]}, {"zero": np.array(0)}))
    one = reading_of({"X": (1, 0)}, n_items=1)
    with pytest.raises(Refuted, match=r"axis 0 of 'X' \(a\) cannot be the batch: ") as told:
        prove(program, claim_of(program, one))
    assert told.value.advice[0][0].shapes == {"X": ["N", None, 5]}


def attention(rng: np.random.Generator, folder: Path) -> Path:
    """A step over a memory [1, src, H] of open length: y = softmax(q memory^T) memory."""
    nodes = [
        *reading_memory("read"),
        node("MatMul", "read W", "y"),
        node("Add", "x h", "sum"),
        node("Tanh", "sum", "h_out"),
    ]
    weights = {"axis": np.array([1]), "W": random(rng, H, O)}
    inputs = {"x": [1, H], "h": [1, H], "memory": [1, "src", H]}
    return save(graph_of(nodes, inputs, {"y": [1, O], "h_out": [1, H]}, weights), folder)


def test_a_memory_of_open_length_is_asked_for(rng, tmp_path):
    path = attention(rng, tmp_path)
    message = r"axis 1 of 'memory' \(src\) is neither time nor batch: .* shapes=\{'memory': \[1, N, 8\]\}"
    with pytest.raises(UnsupportedError, match=message):
        undertow.load(path)
    model = undertow.load(path, shapes={"memory": [1, 10, H]})
    x, memory = random(rng, H), random(rng, 10, H)
    feeds = {"x": x[None], "h": np.zeros((1, H), np.float32), "memory": memory[None]}
    (expected,) = onnxruntime().InferenceSession(str(path)).run(["y"], feeds)
    np.testing.assert_allclose(model.stream().step({"x": x, "memory": memory}).ravel(), expected.ravel(), atol=1e-5)


def test_a_step_with_a_window_over_open_time_is_right(rng, tmp_path):
    """Given one frame at a time, or many, it says the same: an output's axis may be time without a name."""
    weights = {"K": random(rng, O, I, 3), "from": np.array([-2]), "end": np.array([2**62]), "axis": np.array([2])}
    nodes = [
        node("Concat", "cache x", "both", axis=2),
        node("Conv", "both K", "y"),
        node("Slice", "both from end axis", "cache_out"),
    ]
    inputs, outputs = {"x": [1, I, "t"], "cache": [1, I, 2]}, {"y": [1, O, "u"], "cache_out": [1, I, 2]}
    path = save(graph_of(nodes, inputs, outputs, weights), tmp_path)
    model = undertow.load(path, states={"cache": "cache_out"})
    X = random(rng, 1, I, T)
    feeds = {"x": X, "cache": np.zeros((1, I, 2), np.float32)}
    (expected,) = onnxruntime().InferenceSession(str(path)).run(["y"], feeds)
    stream = model.stream()
    found = np.stack([stream.step(X[0, :, t]).ravel() for t in range(T)])
    np.testing.assert_allclose(found, expected[0].T, atol=1e-5)


def test_an_open_axis_that_goes_with_one_and_another_size_is_neither(tmp_path, rng):
    """With 1 it would be broadcast: a frame of one number, added to every element of the state."""
    nodes = [node("Add", "x h", "sum"), node("Tanh", "sum", "h_out"), node("Mul", "h_out sum", "y")]
    ports = {"x": [1, "T"], "h": [1, 4]}, {"y": [1, 4], "h_out": [1, 4]}
    path = save(graph_of(nodes, *ports, {}), tmp_path)
    with pytest.raises(
        undertow.UnsupportedError, match=r"axis 1 of 'x' \(T\) is open and goes with size 4 or 1.*shapes="
    ):
        undertow.load(path)
    for size in (1, 4):
        assert undertow.load(path, shapes={"x": [1, size]}).inputs["x"].shape == (size,)
