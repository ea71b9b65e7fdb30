# SPDX-License-Identifier: MIT
"""What a load of an ONNX file does grows with its nodes, not with their square: counted, so no clock can fail it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_files import graph_of, model_of, node, onnx, random, save
from undertow.errors import UnsupportedError
from undertow.importers.onnx import load
from undertow.importers.onnx.driver import Driver
from undertow.importers.onnx.file import limits
from undertow.importers.onnx.frames import provenance
from undertow.importers.onnx.search import names
from undertow.importers.onnx.simplify import fold
from undertow.passes import cells

trace = import_module("undertow.importers.onnx.dependence.trace")  # its room gives the function of that name

#: what is counted: name -> (where it stands, what it is called there)
COUNTED: dict[str, tuple[Any, str]] = {
    "walks": (Driver, "run"),
    "nodes walked": (Driver, "walk_node"),
    "nodes traced": (trace._Run, "run"),
    "tensors taken apart": (provenance, "split"),
    "evaluators made": (import_module("onnx.reference").ReferenceEvaluator, "__init__"),
    "shapes inferred": (import_module("onnx.shape_inference"), "infer_node_outputs"),
    "names compared": (names, "strength"),
    "cells tried": (cells, "_rnn"),
}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What has been called how often."""
    counter: Counter[str] = Counter()

    def counted(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **settings: Any) -> Any:
            counter[what] += 1
            return call(*args, **settings)

        return count

    for what, (where, name) in COUNTED.items():
        monkeypatch.setattr(where, name, counted(what, getattr(where, name)))
    fold._runner.cache_clear()
    return counter


def chain(n: int) -> Any:
    """n Adds of constants of their own, one behind the other, along [batch, time, 6]."""
    rng = np.random.default_rng(0)
    nodes = [node("Add", f"v{i} c{i}", f"v{i + 1}") for i in range(n)]
    nodes += [node("Identity", "v0", "v0_"), node("Identity", f"v{n}", "y")]
    shape = ["batch", "time", 6]
    return model_of(nodes, {"v0": shape}, {"y": shape}, {f"c{i}": random(rng, 6) for i in range(n)})


def slices(n: int) -> Any:
    """A delay of n, of which each element is cut out by itself."""
    weights = {"axis": np.array([1]), **{f"n{i}": np.array([i]) for i in range(n + 1)}}
    nodes = [node("Slice", f"h n{i} n{i + 1} axis", f"s{i}") for i in range(n)]
    nodes += [node("Concat", " ".join([*(f"s{i}" for i in range(1, n)), "x"]), "h_out", axis=1)]
    nodes += [node("Identity", "s0", "y")]
    return model_of(nodes, {"x": [1, 1], "h": [1, n]}, {"y": [1, 1], "h_out": [1, n]}, weights)


def cells_in_a_row(n: int, before: str, after: str) -> Any:
    """One step of n cells, each of which takes what the one before gives; `before` and `after`: names of states."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], {}, "x"
    for i in range(n):
        weights |= {f"W{i}": random(rng, 3, 3), f"R{i}": random(rng, 3, 3)}
        nodes += [node("MatMul", f"{last} W{i}", f"w{i}"), node("MatMul", f"{before}{i} R{i}", f"r{i}")]
        nodes += [node("Add", f"w{i} r{i}", f"s{i}"), node("Tanh", f"s{i}", after.format(i))]
        last = after.format(i)
    nodes += [node("Neg", last, "y")]
    states = {f"{before}{i}": [1, 3] for i in range(n)}
    outputs = {"y": [1, 3], **{after.format(i): [1, 3] for i in range(n)}}
    return model_of(nodes, {"x": [1, 3], **states}, outputs, weights)


def of(counts: Counter[str], model: Any, tmp_path: Path) -> Counter[str]:
    """What one load counts."""
    counts.clear()
    load(save(model, tmp_path))
    return Counter(counts)


def test_a_chain(counts: Counter[str], tmp_path: Path) -> None:
    """Both orders of time and batch fit: what names say is walked twice, the other one once, and one is traced."""
    small, large = (of(counts, chain(n), tmp_path) for n in (50, 100))
    assert large["walks"] == small["walks"] == 3
    assert large["nodes walked"] == 3 * (100 + 1)
    assert large["nodes traced"] == 100 + 1
    for what in ("tensors taken apart", "evaluators made", "shapes inferred"):
        assert large[what] == small[what] < 10, what


def test_nodes_that_ask_for_sizes_are_traced_at_others(counts: Counter[str], tmp_path: Path) -> None:
    """So that the last test counts what it means to."""
    nodes = [node("Shape", "x", "s"), node("ConstantOfShape", "s", "z"), node("Add", "x z", "y")]
    assert of(counts, model_of(nodes, {"x": ["N", "T", 2]}, {"y": None}), tmp_path)["nodes traced"] > 3 * len(nodes)


def test_slices(counts: Counter[str], tmp_path: Path) -> None:
    small, large = (of(counts, slices(n), tmp_path) for n in (50, 100))
    assert large["evaluators made"] <= small["evaluators made"] + 1 < 10
    assert large["nodes walked"] < 2.1 * small["nodes walked"]


def test_states_that_names_tell(counts: Counter[str], tmp_path: Path) -> None:
    small, large = (of(counts, cells_in_a_row(n, "h", "h{}_out"), tmp_path) for n in (10, 20))
    for what in ("names compared", "cells tried"):
        assert 0 < large[what] <= 2.2 * small[what], what
    assert large["cells tried"] <= 20 + 2


def test_states_that_nothing_tells(counts: Counter[str], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot tell which inputs are states"):
        of(counts, cells_in_a_row(20, "a", "b_of_{}"), tmp_path)
    assert counts["names compared"] < 20 * 20


def test_readings_beyond_the_limit_are_not_walked(counts: Counter[str], tmp_path: Path) -> None:
    inputs = {f"x{i}": [f"a{i}", f"b{i}", 2] for i in range(10)}
    model = model_of([node("Concat", " ".join(inputs), "y", axis=2)], inputs, {"y": None})
    with pytest.raises(UnsupportedError, match=f"more than {limits.MAX_READINGS} ways"):
        of(counts, model, tmp_path)
    assert counts["walks"] == 0


def loops(outer: int, inner: int, going: str = "alive") -> Any:
    """Rounds of rounds of a product, on one frame."""
    weights = {"outer": np.array(outer), "inner": np.array(inner), "true": np.array(True), "W": np.eye(2, dtype="f")}
    turns = [node("Identity", "going", "going_out"), node("MatMul", "v W", "v_out")]
    kinds = {"int64": onnx.TensorProto.INT64, "bool": onnx.TensorProto.BOOL}
    inside = graph_of(
        turns,
        {"round": ([], kinds["int64"]), "going": ([], kinds["bool"]), "v": [1, 2]},
        {"going_out": ([], kinds["bool"]), "v_out": [1, 2]},
    )
    around = graph_of(
        [node("Identity", going, "alive_out"), node("Loop", "inner true u", "u_out", body=inside)],
        {"turn": ([], kinds["int64"]), "alive": ([], kinds["bool"]), "u": [1, 2]},
        {"alive_out": ([], kinds["bool"]), "u_out": [1, 2]},
    )
    nodes = [node("Tanh", "x", "t"), node("Loop", "outer true t", "y", body=around)]
    return model_of(nodes, {"x": [1, 2]}, {"y": None}, weights)


def test_loops_beyond_the_limit_are_not_walked(counts: Counter[str], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"'y'.*beyond {limits.MAX_NODES} nodes, loops written out"):
        of(counts, loops(100, 100), tmp_path)
    assert 0 < counts["nodes walked"] < 200


def test_the_budget_lets_a_chain_of_thousands_be_walked_as_often_as_it_must() -> None:
    """Three walks and a trace of 8,000 nodes, in a file of 32 bytes for each."""
    n = 8000
    work = min(limits.MAX_EFFORT, limits.EFFORT + limits.EFFORT_EACH * 32 * n)
    assert n * (2 * limits.ELEMENTS_PER_NODE + trace._EACH) < work
    assert 3 * n * limits.ELEMENTS_PER_NODE < work + limits.EFFORT
