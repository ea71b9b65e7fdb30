# SPDX-License-Identifier: MIT
"""Advice in the words of whoever reads it: of Python, of the shell, of from_torch; and it works when it is followed."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import undertow
from onnx_files import graph_of, node, random, reading_memory, save
from undertow.cli import main
from undertow.cli._words import in_shell
from undertow.errors import Error, ShapeError, UnsupportedError
from undertow.loading import IMPORTERS

I, H = 4, 8


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("bind it: load(..., fixed={'sr': 16000}); the rest", "bind it: --fixed sr=16000; the rest"),
        ("with shapes={'x': [1, t, 5], 'y': [None, 3]}, with", "with --shape x=1,t,5 --shape y=?,3, with"),
        ("give one with shapes={'x': [...]}", "give one with --shape x=N,N"),
        ("say states={input: output}", "say --states input=output"),
        ("say it with states={'h': 'h_out', 'c': 'c_out'} if", "say it with --states h=h_out --states c=c_out if"),
        ("there are none: states={}", "there are none: --states none"),
        ("give the clip's size: shapes=", "give the clip's size: --shape INPUT=N,N"),
        ("undertow.load(path, weights='int8') quantises it", "--weights int8 quantises it"),
        ("load it with assume_as_wired=True where", "load it with --option assume_as_wired=true where"),
        ("load(..., assume_unmasked=True)", "--option assume_unmasked=true"),
        ("time_axis={'x': 1, 'k': None}", """--option 'time_axis={"x": 1, "k": null}'"""),
        ("fixed={'a b': [1, 2]}", "--fixed 'a b=[1,2]'"),
        ("what has none of them stays", "what has none of them stays"),
        ("attribute axis=3 of shape=[2]", "attribute axis=3 of shape=[2]"),
    ],
)
def test_arguments_become_options(said, told):
    assert in_shell(said) == told


def test_load_knows_every_option_of_every_importer():
    known = inspect.signature(undertow.load).parameters
    for module in set(IMPORTERS.values()):
        importer = __import__(f"undertow.importers.{module}", fromlist=["load"])
        for parameter in inspect.signature(importer.load).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                assert parameter.name in known, module
                assert f"        {parameter.name}: (" in inspect.getdoc(undertow.load).replace("\n    ", "\n        ")


def linear(folder: Path, rng: np.random.Generator) -> Path:
    graph = graph_of([node("MatMul", "x W", "y")], {"x": ["T", I]}, {"y": ["T", 3]}, {"W": random(rng, I, 3)})
    return save(graph, folder)


def test_a_wrong_option_lists_the_right_ones(tmp_path, rng):
    path = linear(tmp_path, rng)
    with pytest.raises(TypeError, match=r"load\(\) has no option shape; options: .*; did you mean shapes\?"):
        undertow.load(path, shape={"x": [1, I]})
    with pytest.raises(TypeError, match=r"takes no submodel=; it takes fixed, shapes, states, starts, time_axis"):
        undertow.load(path, submodel=1)


# -- advice that is followed -----------------------------------------------------------------------------------------


def memory(folder: Path, rng: np.random.Generator) -> Path:
    nodes = [
        *reading_memory("y"),
        node("Add", "x h", "h_out"),
    ]
    inputs = {"x": [1, H], "h": [1, H], "memory": [1, "src", H]}
    return save(graph_of(nodes, inputs, {"y": [1, H], "h_out": [1, H]}, {"axis": np.array([1])}), folder)


def test_advice_in_the_shell_works_in_the_shell(tmp_path, rng, capsys):
    path = memory(tmp_path, rng)
    assert main(["info", str(path)]) == 3
    said = capsys.readouterr().err
    option = re.search(r"--shape \S+?N\S*?(?=,? )", said)
    assert option, said
    given = shlex.split(option[0].replace("N", "10").rstrip(","))
    assert main(["info", str(path), *given]) == 0


def twins(folder: Path, rng: np.random.Generator) -> Path:
    """Two inputs that could both be the state."""
    nodes = [node("MatMul", "p A", "a"), node("MatMul", "q B", "b"), node("Add", "a b", "s"), node("Tanh", "s", "r"),
             node("MatMul", "r C", "y")]  # fmt: skip
    weights = {name: random(rng, H, H) for name in "ABC"}
    return save(graph_of(nodes, {"p": [1, H], "q": [1, H]}, {"y": [1, H], "r": [1, H]}, weights), folder)


def test_an_ambiguous_step_prints_what_to_paste(tmp_path, rng):
    path = twins(tmp_path, rng)
    with pytest.raises(UnsupportedError, match="every input could be a state") as told:
        undertow.load(path)
    states = re.search(r"say it with states=(\{[^}]*\}) if that is so", str(told.value))
    assert states
    assert "q" in undertow.load(path, states=eval(states[1])).source


def test_the_axis_of_time_can_be_said(tmp_path, rng):
    """Nothing walks either axis, so both fit: what is computed is the same, and how it is fed is not."""
    path = save(graph_of([node("Tanh", "x", "y")], {"x": ["a", "b", I]}, {"y": ["a", "b", I]}), tmp_path)
    for axis, batch in ((0, 1), (1, 0)):
        for said in (axis, {"x": axis}, axis - 3):
            model = undertow.load(path, time_axis=said)
            assert f"time: axis {axis} of 'x'" in model.source
            assert f"batch: axis {batch} of 'x'" in model.source
    for wrong, message in ((5, "no input has that axis"), ({"z": 1}, "no input 'z'"), ({"x": 3}, "has 3 axes")):
        with pytest.raises(ShapeError, match=message):
            undertow.load(path, time_axis=wrong)
    with pytest.raises(Error, match="time_axis=2 does not go with the inputs"):
        undertow.load(path, time_axis=2)


def test_states_start_with_what_is_given(tmp_path, rng):
    nodes = [
        node("MatMul", "h R", "b"),
        node("Add", "x b", "s"),
        node("Tanh", "s", "h_out"),
        node("MatMul", "h_out V", "y"),
    ]
    weights = {"R": random(rng, H, H), "V": random(rng, H, 3)}
    path = save(graph_of(nodes, {"x": [1, H], "h": [1, H]}, {"y": [1, 3], "h_out": [1, H]}, weights), tmp_path)
    start, x = random(rng, 1, H), random(rng, H)
    stream = undertow.load(path, starts={"h": start}).stream()
    expected = np.tanh(x + start[0] @ weights["R"]) @ weights["V"]
    for _ in range(2):
        np.testing.assert_allclose(stream.step(x), expected, atol=1e-5)
        stream.reset()
    with pytest.raises(ShapeError, match=r"starts: 'h' was given shape \(8,\), expected \(1, 8\)"):
        undertow.load(path, starts={"h": start[0]})
    with pytest.raises(ShapeError, match="starts: input 'x' was not found to be a state"):
        undertow.load(path, starts={"x": start})
