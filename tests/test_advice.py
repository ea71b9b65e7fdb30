# SPDX-License-Identifier: MIT
"""What a refusal tells to load with does load: each printed line is pasted, with a number for every name in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import INT64, graph_of, helper, node, random, reading_memory, save
from undertow.importers import onnx
from undertow.importers.onnx.advice import Advice, Caller

I, H = 6, 8
LINE = re.compile(r"(?:\b(?:shapes|states|time_axis|fixed)=\{[^{}]*\}(?:, )?)+")


def gru(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "W": random(rng, 1, 3 * H, I),
        "R": random(rng, 1, 3 * H, H),
        "one": np.array([1]),
        "to": np.array([6, 1, I]),
    }


def started(result: str) -> Any:
    return helper.make_node("GRU", ["x", "W", "R", "", "", "h0"], [result, "hn"], hidden_size=H)


CELL = node("GRU", "x W R", "Y Yh", hidden_size=H)
SQUEEZED = node("Squeeze", "Y one", "y")

#: name -> (nodes, inputs, outputs, more weights, what the refusal must tell)
REFUSED: dict[str, tuple[Any, ...]] = {
    "a timestep of its own": (
        [CELL, SQUEEZED, node("Gather", "y zero", "z", axis=0)],
        {"x": ["time", "batch", I]},
        {"z": None},
        {"zero": np.array(0)},
        ["shapes={'x': [time, 1, 6]}, with your number for time"],
    ),
    "the axes have no names": (
        [CELL, SQUEEZED, node("Gather", "y zero", "z", axis=0)],
        {"x": ["", "", I]},
        {"z": None},
        {"zero": np.array(0)},
        ["shapes={'x': [N, 1, 6]}, with your number for N"],
    ),
    "the first frame is dropped": (
        [node("Slice", "x one far zeros", "y")],
        {"x": ["time", 1, I]},
        {"y": None},
        {"far": np.array([2**60]), "zeros": np.array([0])},
        ["shapes={'x': [time, 1, 6]}, with your number for time"],
    ),
    "features are open": (
        [CELL, SQUEEZED],
        {"x": ["time", 1, "features"]},
        {"y": None},
        {},
        ["give the size of axis 2 of 'x' with shapes={'x': [None, 1, 6]}"],
    ),
    "fixed inside": (
        [node("Reshape", "x to", "r"), node("GRU", "r W R", "Y Yh", hidden_size=H), SQUEEZED],
        {"x": ["time", 1, I]},
        {"y": None},
        {},
        ["it loads with shapes={'x': [6, 1, 6]}"],
    ),
    "a memory of open length": (
        [*reading_memory("read"), node("Add", "read h", "s"), node("Tanh", "s", "h_out")],
        {"x": [1, H], "h": [1, H], "memory": [1, "src", H]},
        {"h_out": [1, H]},
        {"axis": np.array([1])},
        ["shapes={'memory': [1, N, 8]}, with your number for N"],
    ),
    "which is the state, beside a memory of open length": (
        [
            node("Add", "b c", "asked"),
            *reading_memory("read", "asked"),
            node("Add", "read a", "s"),
            node("Tanh", "s", "o2"),
            node("Mul", "o2 read", "o1"),
        ],
        {"a": [1, H], "b": [1, H], "c": [1, H], "memory": [1, "src", H]},
        {"o1": [1, H], "o2": [1, H]},
        {"axis": np.array([1])},
        [
            "say it with shapes={'memory': [1, src, 8]}, states={",
            "states={} if there are none, with your number for src",
        ],
    ),
    "a mask of open length, and an output as wide as a frame": (
        [
            node("Transpose", "memory", "keys", perm=[0, 2, 1]),
            node("Unsqueeze", "x axis", "query"),
            node("MatMul", "query keys", "scores"),
            node("Squeeze", "scores axis", "flat"),
            node("Mul", "flat mask", "masked"),
            node("Softmax", "masked", "shares", axis=1),
            node("Unsqueeze", "shares axis", "row"),
            node("MatMul", "row memory", "rows"),
            node("Squeeze", "rows axis", "read"),
            node("Add", "read h", "s"),
            node("Tanh", "s", "h_out"),
        ],
        {"x": [1, H], "h": [1, H], "memory": [1, "src", H], "mask": [1, "src"]},
        {"h_out": [1, H]},
        {"axis": np.array([1])},
        ["shapes={'memory': [1, src, 8], 'mask': [1, src]}, with your number for src"],
    ),
    "which is the state": (
        [node("Add", "p q", "s"), node("Tanh", "s", "t"), node("Neg", "t", "u")],
        {"p": [1, H], "q": [1, H]},
        {"t": [1, H], "u": [1, H]},
        {},
        ["states={'q': 'u'} if that is so", "states={} if there are none"],
    ),
    "the frame before": (
        [node("Sub", "x before", "y"), node("Identity", "x", "kept")],
        {"x": [1, I], "before": [1, I]},
        {"y": [1, I], "kept": [1, I]},
        {},
        ["states={'before': 'kept'} if that is so"],
    ),
    "two cells, one of which forgets": (
        [CELL, SQUEEZED, started("Z"), node("Squeeze", "Z one", "z")],
        {"x": [1, 1, I], "h0": [1, 1, H]},
        {"y": [1, 1, H], "z": [1, 1, H], "hn": [1, 1, H]},
        {},
        ["shapes={'x': [None, 1, 6]}"],
    ),
    "which is time": (
        [node("Transpose", "x", "bands", perm=[1, 0, 2]), node("GRU", "bands W R", "y", hidden_size=H)],
        {"x": ["frames", 6, I]},
        {"y": [6, 1, "frames", H]},
        {},
        ["where axis 0 of 'x' is time, load with time_axis={'x': 0}", "load with time_axis={'x': 1}"],
    ),
    "a mean over time in front of the batch": (
        [node("ReduceMean", "x", "mean", axes=[0]), node("Sub", "x mean", "y")],
        {"x": ["time", "batch", I]},
        {"y": ["time", "batch", I]},
        {},
        ["shapes={'x': [time, 1, 6]}, with your number for time"],
    ),
    "a start that nothing returns": (
        [started("Y"), SQUEEZED, node("Tanh", "y", "z")],
        {"x": [1, "N", I], "h0": [1, "N", H]},
        {"z": [1, "N", H]},
        {},
        ["where it stays the same, bind it with shapes={'x': [1, 1, 6]}, fixed={'h0': array}"],
    ),
    "weights that are an input": (
        [node("GRU", "x kernel R", "Y Yh", hidden_size=H), SQUEEZED],
        {"x": ["time", 1, I], "kernel": [1, 3 * H, I]},
        {"y": None},
        {},
        ["where 'kernel' stays the same, bind it with fixed={'kernel': array}"],
    ),
    "all weights are inputs": (
        [node("GRU", "x kernel recurrent_kernel", "Y Yh", hidden_size=H), SQUEEZED],
        {"x": ["time", 1, I], "kernel": [1, 3 * H, I], "recurrent_kernel": [1, 3 * H, H]},
        {"y": None},
        {},
        ["where they stay the same, bind them with fixed={'kernel': array, 'recurrent_kernel': array}"],
    ),
    "an integer that is added": (
        [CELL, SQUEEZED, node("Cast", "level", "shift", to=1), node("Add", "y shift", "z")],
        {"x": ["time", 1, I], "level": ([1], INT64)},
        {"z": None},
        {},
        ["where 'level' stays the same, bind it with fixed={'level': array}"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_told_loads(case: str, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, inputs, outputs, weights, expected = REFUSED[case]
    used = {name for n in nodes for name in n.input}
    constants = {name: array for name, array in {**gru(rng), **weights}.items() if name in used}
    path = save(graph_of(nodes, inputs, outputs, constants), tmp_path)
    with pytest.raises(undertow.Error) as told:
        undertow.load(path)
    message = str(told.value)
    for words in expected:
        assert words in message
    lines = LINE.findall(message)
    assert len(lines) == len({*lines}) >= len(expected)
    for line in lines:
        names = re.findall(r"(?<!')\b[A-Za-z]\w*(?!\w*['=])", line)
        given = eval(f"dict({line})", {**dict.fromkeys(names, 13), "array": None})
        for name in given.get("fixed", {}):
            shape, dtype = inputs[name] if isinstance(inputs[name], tuple) else (inputs[name], None)
            array = np.ones([1 if isinstance(n, str) else n for n in shape])
            given["fixed"][name] = array.astype(np.int64 if dtype == INT64 else np.float32)
        assert undertow.load(path, **given).inputs


def test_what_does_not_help_is_not_told(tmp_path: Path) -> None:
    """Integers are no frames, whichever input is the state: why no `states=` helps is told instead."""
    nodes = [node("Add", "n one", "n_out"), node("Cast", "n_out", "f", to=1), node("Mul", "x f", "y")]
    inputs = {"x": [1, I], "n": ([1], INT64)}
    path = save(graph_of(nodes, inputs, {"y": [1, I], "n_out": ([1], INT64)}, {"one": np.array([1])}), tmp_path)
    with pytest.raises(undertow.UnsupportedError, match=r"with states=\{.*\}: .*holds ids") as told:
        undertow.load(path)
    assert "if that is so" not in str(told.value)


def test_no_size_is_told_that_does_not_help(tmp_path: Path, rng: np.random.Generator) -> None:
    """Five rows and four never multiply, whatever the open size."""
    weights = {"W": random(rng, 5, 3)}
    nodes = [node("Concat", "x x", "two", axis=2), node("MatMul", "two W", "y")]
    path = save(graph_of(nodes, {"x": ["time", 1, 2]}, {"y": None}, weights), tmp_path)
    with pytest.raises(undertow.Error) as told:
        undertow.load(path)
    assert "shapes=" not in str(told.value)


def test_a_size_that_only_loads_is_not_the_size_that_is_told(tmp_path: Path, rng: np.random.Generator) -> None:
    """Mirrored samples at both ends take a minimum, above which any number does."""
    pads, ends = np.array([0, 80, 0, 80]), np.array([100])
    weights = {"pads": pads, "zero": np.array([0]), "ends": ends, "one": np.array([1]), "K": random(rng, 100, 3)}
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["wide"], mode="reflect"),
        node("Slice", "wide zero ends one", "cut"),
        node("MatMul", "cut K", "y"),
    ]
    path = save(graph_of(nodes, {"x": [1, "n"]}, {"y": [1, 3]}, weights), tmp_path)
    with pytest.raises(undertow.Error) as told:
        undertow.load(path)
    assert "shapes={'x': [1, n]}, with your number for n (100 and 200 load; " in str(told.value)
    assert undertow.load(path, shapes={"x": [1, 144]}).inputs["x"].shape == (144,)


#: what turns queries, keys and values of all timesteps into the sums that they weigh
ATTENTION = [
    node("Transpose", "keys", "columns", perm=[0, 2, 1]),
    node("MatMul", "queries columns", "products"),
    node("Mul", "products scale", "scores"),
    node("Softmax", "scores", "shares", axis=-1),
    node("MatMul", "shares values", "heads"),
    node("MatMul", "heads O", "y"),
]


def attention(rng: np.random.Generator, n_steps: int | None) -> Any:
    """Of a sequence to itself; n_steps: of an exporter's example, that its Reshape holds."""
    projected = [
        node("MatMul", f"x {w}", name) for w, name in zip("QKV", ("queries", "all_keys", "values"), strict=True)
    ]
    keys = node("Identity", "all_keys", "keys") if n_steps is None else node("Reshape", "all_keys sizes", "keys")
    weights = {name: random(rng, I, I) for name in "QKVO"} | {"scale": np.array(0.4, np.float32)}
    weights |= {} if n_steps is None else {"sizes": np.array([1, n_steps, I])}
    return graph_of([*projected, keys, *ATTENTION], {"x": [1, "time", I]}, {"y": None}, weights)


def test_attention_along_time_is_called_so(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(
        undertow.UnsupportedError,
        match=r"it belongs to attention \(Softmax node 'shares'\).*not computed in a stream.*your number for",
    ):
        undertow.load(save(attention(rng, None), tmp_path))
    path = save(attention(rng, 10), tmp_path)
    with pytest.raises(undertow.ShapeError) as told:
        undertow.load(path)
    message = str(told.value)
    assert "Reshape node 'keys': its input of shape (1, 7, 6) cannot take the shape (1, 10, 6)" in message
    assert "it stands beside attention (Softmax node 'shares')" in message
    assert "it loads with shapes={'x': [1, 10, 6]}" in message
    assert undertow.load(path, shapes={"x": [1, 10, I]}).inputs["x"].shape == (10, I)


def test_what_is_no_attention_is_not_called_so(tmp_path: Path, rng: np.random.Generator) -> None:
    """A product of timesteps without a softmax, and one whose query is a weight, beside what is refused."""
    weights = {"K": random(rng, I, I), "q": random(rng, I, 1)}
    crossed = [node("Transpose", "x", "columns", perm=[0, 2, 1]), node("MatMul", "x columns", "y")]
    pooled = [
        node("MatMul", "x q", "scores"),
        node("Softmax", "scores", "shares", axis=-1),
        node("Transpose", "x", "columns", perm=[0, 2, 1]),
        node("MatMul", "columns shares", "y"),
        node("MatMul", "x columns", "z"),
    ]
    for nodes, output in ((crossed, "y"), (pooled, "z")):
        used = {name: array for name, array in weights.items() if any(name in n.input for n in nodes)}
        path = save(graph_of(nodes, {"x": [1, "time", I]}, {output: None}, used), tmp_path)
        with pytest.raises(undertow.UnsupportedError, match="different timesteps") as told:
            undertow.load(path)
        assert "attention" not in str(told.value)


class Silent(Caller):
    def told(self, advice: Advice, size: int) -> str:
        return ""


@pytest.mark.parametrize("case", REFUSED)
def test_who_has_no_such_options_is_told_of_none(case: str, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, inputs, outputs, weights, _ = REFUSED[case]
    used = {name for n in nodes for name in n.input}
    constants = {name: array for name, array in {**gru(rng), **weights}.items() if name in used}
    path = save(graph_of(nodes, inputs, outputs, constants), tmp_path)
    with pytest.raises(undertow.Error) as told:
        onnx.load(path, Silent())
    assert not re.search(r"\b(shapes|states|time_axis|fixed)=|; *$", str(told.value))
