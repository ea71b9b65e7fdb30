# SPDX-License-Identifier: MIT
"""What begins late is not lost: delays longer than a walk, masks, factors and loops that a length decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import BOOL, INT64, graph_of, info, node, onnxruntime, random, save
from undertow.errors import UnsupportedError

I = 4
SIZES = [node("Shape", "x", "shape"), node("Gather", "shape one", "n", axis=0)]
NUMBERS = {"zero": np.array(0), "one": np.array(1), "first": np.array([0]), "second": np.array([1])}


def file_of(folder, nodes: list[Any], weights: dict[str, Any], batch: Any = 1):
    graph = graph_of(nodes, {"x": [batch, "T", I]}, {"y": [batch, "T", I]}, {**NUMBERS, **weights})
    return save(graph, folder)


def agrees(path, rng, lengths=(1, 2, 9, 40, 130)):
    session, model = onnxruntime().InferenceSession(str(path)), undertow.load(path)
    for n in lengths:
        x = random(rng, 1, n, I)
        (expected,) = session.run(None, {"x": x})
        np.testing.assert_allclose(model.run(x[0]), expected[0], atol=1e-5)
    return model


@pytest.mark.parametrize("k", [3, 6, 7, 10, 11, 12, 13, 30, 64, 100])
def test_a_delay_is_a_window_however_long(k, tmp_path, rng):
    """x + 0.5 x delayed by k, as padding in front and a slice at the end."""
    nodes = [
        node("Pad", "x pads", "padded"),
        node("Slice", "padded first end second", "late"),
        node("Mul", "late half", "echo"),
        node("Add", "x echo", "y"),
    ]
    weights = {"pads": np.array([0, k, 0, 0, 0, 0]), "end": np.array([-k]), "half": np.float32(0.5)}
    model = agrees(file_of(tmp_path, nodes, weights), rng)
    assert [node.op for node in model.graph.nodes].count("window") == 1


@pytest.mark.parametrize("k", [5, 12, 70])
def test_a_moving_sum(k, tmp_path, rng):
    """What was summed up, less the same k timesteps ago, which zeros joined in front delay."""
    nodes = [
        node("CumSum", "x one", "sum"),
        node("Concat", "zeros sum", "both", axis=1),
        node("Slice", "both first end second", "late"),
        node("Sub", "sum late", "y"),
    ]
    weights = {"zeros": np.zeros((1, k, I), np.float32), "end": np.array([-k])}
    model = agrees(file_of(tmp_path, nodes, weights), rng)
    assert "window" in [node.op for node in model.graph.nodes]


#: what refuses: other lengths, a longer walk, or timesteps that differ
OF_LENGTH = (
    "depends on a size|depends on the number of timesteps|frame by frame|keeps timesteps|runs as often as|"
    "differs between timesteps"
)
POSITIONS = [*SIZES, node("Range", "zero n one", "at")]
DEPENDS = {
    "a mask of positions": (
        [
            *POSITIONS,
            node("Less", "at k", "early"),
            node("Cast", "early", "mask", to=1),
            node("Unsqueeze", "mask second", "column"),
            node("Mul", "x column", "y"),
        ],
        [2, 11, 12, 20, 100],
    ),
    "a factor": (
        [
            *SIZES,
            node("Greater", "n k", "long"),
            node("Cast", "long", "factor", to=1),
            node("Mul", "x factor", "y"),
        ],
        [1, 3, 6, 20, 100],
    ),
    "a bound": (
        [
            *SIZES,
            node("Min", "n k", "used"),
            node("Cast", "used", "number", to=1),
            node("Mul", "x number", "y"),
        ],
        [20, 100],
    ),
}


@pytest.mark.parametrize(("kind", "k"), [(kind, k) for kind, (_, numbers) in DEPENDS.items() for k in numbers])
def test_what_depends_on_the_length_is_refused(kind, k, tmp_path):
    path = file_of(tmp_path, DEPENDS[kind][0], {"k": np.array(k)})
    with pytest.raises(UnsupportedError, match=OF_LENGTH):
        undertow.load(path)


LATE = {
    "a quotient": [node("Div", "n k", "q"), node("Cast", "q", "late", to=1), node("Add", "x late", "y")],
    "a remainder": [
        node("Mod", "n k", "rest"),
        node("Equal", "rest zero", "even"),
        node("Cast", "even", "late", to=1),
        node("Add", "x late", "y"),
    ],
    "one length": [node("Equal", "n k", "is"), node("Cast", "is", "late", to=1), node("Add", "x late", "y")],
    "positions in parts": [
        node("Range", "zero n one", "at"),
        node("Div", "at k", "part"),
        node("Cast", "part", "number", to=1),
        node("Unsqueeze", "number second", "late"),
        node("Add", "x late", "y"),
    ],
    "a table that begins with zeros": [
        node("Unsqueeze", "n first", "end"),
        node("Slice", "table first end first", "late"),
        node("Add", "x late", "y"),
    ],
    "a delay": [
        node("Div", "n k", "by"),
        node("Unsqueeze", "by first", "before"),
        node("Concat", "first before first nothing", "pads", axis=0),
        node("Pad", "x pads", "padded"),
        node("Unsqueeze", "n first", "end"),
        node("Slice", "padded first end second", "y"),
    ],
}


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("k", [12, 30, 100])
def test_what_is_nothing_for_short_sequences_is_seen(kind, k, tmp_path):
    table = np.zeros((2000, I), np.float32)
    table[k:] = 1
    weights = {"k": np.array(k), "table": table, "nothing": np.zeros(3, np.int64)}
    with pytest.raises(UnsupportedError, match=OF_LENGTH):
        undertow.load(file_of(tmp_path, [*SIZES, *LATE[kind]], weights))


@pytest.mark.parametrize("k", [2, 12])
def test_a_branch_that_the_length_takes_is_seen(k, tmp_path):
    """If T // k > 12: the sum over time, else x."""
    branches = {
        "then_branch": graph_of([node("CumSum", "x one", "summed")], [], ["summed"]),
        "else_branch": graph_of([node("Identity", "x", "same")], [], ["same"]),
    }
    nodes = [*SIZES, node("Div", "n k", "q"), node("Greater", "q twelve", "long"), node("If", "long", "y", **branches)]
    with pytest.raises(UnsupportedError, match=r"If node 'y' depends on a size .* 'long', which follows from sizes"):
        undertow.load(file_of(tmp_path, nodes, {"k": np.array(k), "twelve": np.array(12)}))


@pytest.mark.parametrize("rows", [1200, 5000])
def test_the_last_rows_of_a_table_are_seen(rows, tmp_path):
    table = np.zeros((rows, I), np.float32)
    table[-1] = 1
    kind = "a table that begins with zeros"
    with pytest.raises(UnsupportedError, match=f"for {rows} timesteps 'late', which follows from sizes"):
        undertow.load(file_of(tmp_path, [*SIZES, *LATE[kind]], {"table": table}))


@pytest.mark.parametrize("k", [20, 100])
def test_a_loop_that_ends_at_a_number_is_refused(k, tmp_path, rng):
    """As many rounds as there are timesteps, and k at most."""
    body = graph_of(
        [node("Gather", "rows i", "row", axis=0), node("Add", "h row", "h_next"), node("Identity", "on", "on_next")],
        [info("i", [], INT64), info("on", [], BOOL), "h"],
        [info("on_next", [], BOOL), "h_next"],
    )
    nodes = [
        *SIZES,
        node("Min", "n k", "trips"),
        node("Transpose", "x", "rows", perm=[1, 0, 2]),
        node("Loop", "trips true h_0", "y", body=body),
    ]
    weights = {"k": np.array(k), "true": np.array(True), "h_0": np.zeros((1, I), np.float32)}
    inputs, outputs = {"x": [1, "T", I]}, {"y": [1, I]}
    with pytest.raises(UnsupportedError, match=OF_LENGTH):
        undertow.load(save(graph_of(nodes, inputs, outputs, {**NUMBERS, **weights}), tmp_path))
    nodes[2] = node("Identity", "n", "trips")
    undertow.load(save(graph_of(nodes, inputs, outputs, {**NUMBERS, **weights}), tmp_path))


def test_a_batch_of_one_decides_as_one(tmp_path, rng):
    """Items are added to 1 where there are several of them: a stream is one."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "items", axis=0),
        node("Greater", "items one", "several"),
        node("Cast", "several", "more", to=1),
        node("CumSum", "x one", "sum"),
        node("Add", "sum more", "y"),
    ]
    message = r"Greater node 'several' depends on a size that is open: for a batch of 1 it decides otherwise"
    with pytest.raises(UnsupportedError, match=message):
        undertow.load(file_of(tmp_path, nodes, {}, "N"))
    graph = graph_of(nodes, {"x": [1, "T", I]}, {"y": [1, "T", I]}, NUMBERS)
    agrees(save(graph, tmp_path), rng)


@pytest.mark.parametrize("batch", [1, "N"])
def test_one_timestep_that_a_cell_walks_is_time(batch, tmp_path, rng):
    """The default of exporters: the example's one timestep is fixed, the batch may be open."""
    weights = {"W": random(rng, 1, 3 * I, I), "R": random(rng, 1, 3 * I, I)}
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("GRU", "t W R", "g", hidden_size=I),
        node("Squeeze", "g second", "s"),
        node("Transpose", "s", "y", perm=[1, 0, 2]),
    ]
    graph = graph_of(nodes, {"x": [batch, 1, I]}, {"y": [batch, 1, I]}, {**NUMBERS, **weights})
    path = save(graph, tmp_path)
    with pytest.warns(undertow.ModelWarning, match="the file is of one timestep, and GRU node 'g' starts anew"):
        undertow.load(path)
    model = undertow.load(path, time_axis={"x": 1})
    assert "time: axis 1 of 'x' (of size 1), walked by GRU" in model.source
    open_graph = graph_of(nodes, {"x": [1, "T", I]}, {"y": [1, "T", I]}, {**NUMBERS, **weights})
    session = onnxruntime().InferenceSession(str(save(open_graph, tmp_path, "open.onnx")))
    x = random(rng, 1, 12, I)
    np.testing.assert_allclose(model.run(x[0]), session.run(None, {"x": x})[0][0], atol=1e-5)


# -- the size of the batch, and which item is which --------------------------------------------------------------------

BATCH = [node("Shape", "x", "shape"), node("Gather", "shape zero", "n", axis=0)]


@pytest.mark.parametrize("k", [1, 2, 3, 20])
def test_what_the_size_of_the_batch_decides_is_refused(k, tmp_path, rng):
    """Nothing tells time from the batch here, so neither may decide it."""
    nodes = [*BATCH, node("Greater", "n k", "many"), node("Neg", "x", "minus"), node("Where", "many x minus", "y")]
    with pytest.raises(UnsupportedError, match="depends on a size that is open"):
        undertow.load(file_of(tmp_path, nodes, {"k": np.array(k)}, "N"))


def walked(nodes: list[Any], weights: dict[str, Any], rng: np.random.Generator):
    """h [T, N, I] of a GRU, and y of it."""
    more = {"W": random(rng, 1, 3 * I, I), "R": random(rng, 1, 3 * I, I), "axis": np.array([1]), **NUMBERS}
    cell = [node("GRU", "x W R", "Y", hidden_size=I), node("Squeeze", "Y axis", "h")]
    return graph_of([*cell, *nodes], {"x": ["T", "N", I]}, {"y": ["T", "N", I]}, {**more, **weights})


def test_items_that_change_places_are_refused(tmp_path, rng):
    nodes = [node("Slice", "h last before second back", "y")]
    weights = {"last": np.array([-1]), "before": np.array([-(2**31)]), "back": np.array([-1])}
    with pytest.raises(UnsupportedError, match="items of the batch in another order"):
        undertow.load(save(walked(nodes, weights, rng), tmp_path))


def test_a_table_with_a_row_for_each_item_is_refused(tmp_path, rng):
    """A positional table that is sliced along the batch, of a layer that took the batch for time."""
    nodes = [
        node("Shape", "h", "shape", start=1, end=2),
        node("Slice", "table first shape second", "rows"),
        node("Add", "h rows", "y"),
    ]
    with pytest.raises(UnsupportedError, match="depends on which item of the batch it is"):
        undertow.load(save(walked(nodes, {"table": random(rng, 1, 64, I)}, rng), tmp_path))
