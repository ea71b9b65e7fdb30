# SPDX-License-Identifier: MIT
"""Positions that a step takes and gives as integers: rings that are written where they say, masks of what is filled,
tables; against ONNX Runtime, which carries them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import INT64, TensorProto, info, model_of, node, onnxruntime, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow.errors import Error, UnsupportedError

onnxruntime()
D, N, T = 4, 5, 23
I64 = np.int64


def file_of(
    nodes: list[Any],
    states: dict[str, list[int]],
    weights: dict[str, Any],
    pos: tuple[list[int], int] = ([1], INT64),
    step: int = 1,
    names: tuple[str, str] = ("pos", "pos_out"),
) -> Any:
    """A step that takes x [1, D], states, and a position that grows."""
    shape, kind = pos
    count = node("Add", f"{names[0]} step", names[1], name="count")
    dtype = np.int32 if kind == TensorProto.INT32 else I64
    inputs = [info("x", [1, D]), *(info(n, s) for n, s in states.items()), info(names[0], shape, kind)]
    outputs = [info("y", None), *(info(f"{n}_out", s) for n, s in states.items()), info(names[1], shape, kind)]
    return model_of([*nodes, count], inputs, outputs, {**weights, "step": np.array(step, dtype)}, 18)


def carried(file: Any, X: np.ndarray, start: int = 0, names: tuple[str, str] = ("pos", "pos_out")) -> np.ndarray:
    """y of every step, in ONNX Runtime."""
    session, rows = session_of(file), []
    types = {"tensor(float)": np.float32, "tensor(int64)": I64, "tensor(int32)": np.int32}
    feed = {i.name: np.zeros(i.shape, types[i.type]) for i in session.get_inputs()}
    feed[names[0]] += start
    outputs = [o.name for o in session.get_outputs()]
    for x in X:
        given = dict(zip(outputs, session.run(None, {**feed, "x": x[None]}), strict=True))
        rows.append(given["y"].ravel())
        feed |= {n: given[names[1] if n == names[0] else f"{n}_out"] for n in feed if n != "x"}
    return np.stack(rows)


def check(file: Any, tmp_path: Any, states: Any = None, start: int = 0, **options: Any) -> undertow.Model:
    model = undertow.load(save(file, tmp_path), **({} if states is None else {"states": states}))
    X, stream = random(np.random.default_rng(3), T, D), model.stream()
    assert list(model.inputs) == ["x"]
    if start:
        (name,) = (name for name in model.states if name.startswith("pos"))
        stream.state[name] = np.full(model.states[name].shape, start, np.float32)
    y = np.stack([stream.step(x.reshape(model.inputs["x"].shape)).ravel() for x in X])
    np.testing.assert_allclose(y, carried(file, X, start, **options), rtol=0, atol=FLOAT32_PEER)
    if not start:
        np.testing.assert_array_equal(model.run(X).reshape(y.shape), y)
    return model


def ring(kind: str, shape: list[int] | None = None, dtype: int = INT64) -> Any:
    """The last N frames, each where its position says, and attention over those that are there."""
    size = [1] if shape is None else shape
    ints = I64 if dtype == INT64 else np.int32
    weights: dict[str, Any] = {"n": np.array(N, ints), "places": np.arange(N, dtype=ints), "low": np.float32(-1e9)}
    weights |= {"one": np.array([1]), "flat": np.array([-1]), "line": np.array([-1, 1])}
    weights |= {"column": np.array([1, 1, 1]), "wide": np.array([1, 1, D])}
    nodes = [node("Mod", "pos n", "at"), node("Reshape", "at flat", "at1"), node("Unsqueeze", "x one", "new")]
    if kind == "ScatterElements":
        nodes += [node("Reshape", "at1 column", "at3"), node("Expand", "at3 wide", "index")]
        nodes += [node("ScatterElements", "cache index new", "cache_out", axis=1)]
    elif kind == "ScatterND":
        nodes += [node("Cast", "at1", "at64", to=INT64), node("Reshape", "at64 line", "index")]
        nodes += [node("Transpose", "cache", "rows", perm=[1, 0, 2]), node("ScatterND", "rows index new", "written")]
        nodes += [node("Transpose", "written", "cache_out", perm=[1, 0, 2])]
    else:
        weights["hot"] = np.arange(N, dtype=ints).reshape(1, N, 1)
        nodes += [node("Equal", "hot at1", "here"), node("Where", "here new cache", "cache_out")]
    nodes += [
        node("LessOrEqual", "places pos", "filled"),
        node("Transpose", "cache_out", "keys", perm=[0, 2, 1]),
        node("MatMul", "new keys", "scores"),
        node("Where", "filled scores low", "masked"),
        node("Softmax", "masked", "weights", axis=-1),
        node("MatMul", "weights cache_out", "context"),
        node("Reshape", "context flat", "y"),
    ]
    return file_of(nodes, {"cache": [1, N, D]}, weights, (size, dtype))


@pytest.mark.parametrize("kind", ["ScatterElements", "ScatterND", "Where"])
@pytest.mark.parametrize("said", [False, True])
def test_a_ring_that_is_written_where_a_position_says(said, kind, tmp_path) -> None:
    model = check(ring(kind), tmp_path, {"cache": "cache_out", "pos": "pos_out"} if said else None)
    assert sorted(model.states) == ["cache.value", "pos.value"]
    assert "matmul" not in {n.op for n in model.graph.nodes}  # of a row of booleans and a table


@pytest.mark.parametrize(("shape", "dtype"), [([], INT64), ([1, 1], INT64), ([1], TensorProto.INT32)])
def test_positions_of_any_shape_and_width(shape, dtype, tmp_path) -> None:
    check(ring("Where", shape, dtype), tmp_path)


@pytest.mark.parametrize("start", [1, N, 13, 99_998, 3 * 2**20 + 1])
def test_a_stream_may_begin_at_any_position(start, tmp_path) -> None:
    check(ring("ScatterElements"), tmp_path, start=start)


def test_a_position_stays_small(tmp_path) -> None:
    """So that it is exact however long a stream goes on."""
    stream = undertow.load(save(ring("Where"), tmp_path)).stream()
    stream.run(np.zeros((1000, D), np.float32))
    assert 0 < stream.state["pos.value"].max() <= 2 * N + 2


def test_steps_of_several_positions(tmp_path, rng) -> None:
    nodes = [
        node("Mod", "pos n", "at"),
        node("Gather", "table at", "row", axis=0),
        node("Mul", "x row", "y"),
    ]
    weights = {"n": np.array(6), "table": random(rng, 6, D)}
    check(file_of(nodes, {}, weights, step=4), tmp_path, {"pos": "pos_out"})


def test_a_circular_write_of_tensor_scatter(tmp_path) -> None:
    nodes = [
        node("Unsqueeze", "x one", "new"),
        node("TensorScatter", "cache new pos", "cache_out", mode="circular"),
        node("ReduceMax", "cache_out one", "y"),
    ]
    file = file_of(nodes, {"cache": [1, N, D]}, {"one": np.array([1])})
    file.opset_import[0].version = 24
    check(file, tmp_path)


def test_a_rotation_by_a_position(tmp_path, rng) -> None:
    """Of queries and keys, by tables that a position goes round in."""
    nodes = [
        node("Mod", "pos n", "at"),
        node("Reshape", "at two", "ids"),
        node("Unsqueeze", "x one", "x3"),
        node("RotaryEmbedding", "x3 cos sin ids", "y", num_heads=2),
    ]
    weights = {"n": np.array(7), "two": np.array([1, 1]), "one": np.array([1])}
    weights |= {"cos": random(rng, 7, 1), "sin": random(rng, 7, 1)}
    file = file_of(nodes, {}, weights)
    file.opset_import[0].version = 23
    check(file, tmp_path, {"pos": "pos_out"})


def test_what_lay_where_a_position_says(tmp_path) -> None:
    """A delay: the row is read before it is overwritten."""
    nodes = [
        node("Mod", "pos n", "at"),
        node("Gather", "cache at", "old", axis=1),
        node("Reshape", "at column", "at3"),
        node("Expand", "at3 wide", "index"),
        node("Unsqueeze", "x one", "new"),
        node("ScatterElements", "cache index new", "cache_out", axis=1),
        node("Add", "old new", "y"),
    ]
    weights = {"n": np.array(N), "one": np.array([1]), "column": np.array([1, 1, 1]), "wide": np.array([1, 1, D])}
    check(file_of(nodes, {"cache": [1, N, D]}, weights), tmp_path)


def random_formula(rng: np.random.Generator) -> tuple[list[Any], dict[str, Any]]:
    """Booleans and numbers that are the same again, of a position, in a sum with x."""
    nodes, weights, terms = [], {}, []
    for k in range(int(rng.integers(1, 4))):
        a, b, n, m = (int(i) for i in rng.integers(1, 7, 4))
        weights |= {f"a{k}": np.array(a), f"b{k}": np.array(b), f"n{k}": np.array(n), f"m{k}": np.array(m + 9)}
        nodes += [node("Mul", f"pos a{k}", f"p{k}"), node(("Add", "Sub")[k % 2], f"p{k} b{k}", f"q{k}")]
        kind = ("remainder", "below", "equal", "least", "between", "both")[rng.integers(6)]
        if kind == "remainder":
            nodes += [node("Mod", f"q{k} n{k}", f"i{k}"), node("Cast", f"i{k}", f"f{k}", to=1)]
        elif kind in ("below", "equal"):
            op = ("Less", "GreaterOrEqual")[rng.integers(2)] if kind == "below" else "Equal"
            nodes += [node(op, f"q{k} m{k}", f"t{k}"), node("Cast", f"t{k}", f"f{k}", to=1)]
        elif kind == "least":
            nodes += [node("Min", f"q{k} m{k}", f"i{k}"), node("Cast", f"i{k}", f"f{k}", to=1)]
        elif kind == "between":
            nodes += [node("Clip", f"q{k} b{k} m{k}", f"i{k}"), node("Cast", f"i{k}", f"f{k}", to=1)]
        else:
            nodes += [node("Mod", f"q{k} n{k}", f"i{k}"), node("Less", f"i{k} a{k}", f"u{k}")]
            nodes += [node("Greater", f"q{k} m{k}", f"v{k}"), node("And", f"u{k} v{k}", f"t{k}")]
            nodes += [node("Cast", f"t{k}", f"f{k}", to=1)]
        terms.append(f"f{k}")
    return [*nodes, node("Sum", " ".join(["x", *terms]), "y")], weights


@pytest.mark.parametrize("seed", range(20))
def test_random_formulas_of_a_position(seed, tmp_path) -> None:
    nodes, weights = random_formula(np.random.default_rng([4, seed]))
    check(file_of(nodes, {}, weights), tmp_path, {"pos": "pos_out"})


# -- what is not counted ----------------------------------------------------------------------------------------------

AS_FACTOR = [node("Cast", "i", "f", to=1), node("Mul", "x f", "y")]
UNBOUNDED = {
    "a row of a table": ([node("Gather", "table pos", "row", name="pick"), node("Mul", "x row", "y")], "Gather"),
    "a number": ([node("Cast", "pos", "f", to=1, name="pick"), node("Mul", "x f", "y")], "Cast"),
    "the larger": ([node("Max", "pos n", "i", name="pick"), *AS_FACTOR], "Max"),
    "falling": ([node("Sub", "n pos", "d"), node("Min", "d n", "i", name="pick"), *AS_FACTOR], "Min"),
    "a quotient": ([node("Div", "pos n", "i", name="pick"), *AS_FACTOR], "Div"),
}


@pytest.mark.parametrize("kind", UNBOUNDED)
def test_what_grows_without_bound_is_refused(kind, tmp_path) -> None:
    nodes, op = UNBOUNDED[kind]
    weights = {"table": np.ones((9, D), np.float32)} if op == "Gather" else {"n": np.array(3)} if op != "Cast" else {}
    path = save(file_of(nodes, {}, weights), tmp_path)
    with pytest.raises(UnsupportedError, match=rf"{op} node 'pick': depends on how large position 'pos' is.*states="):
        undertow.load(path, states={"pos": "pos_out"})
    if op != "Gather":
        with pytest.raises(Error):
            undertow.load(path)


def test_a_position_that_nothing_bounds_may_be_brought(tmp_path, rng) -> None:
    """As ids are, of which each is checked; the position after it, which no frame holds, is left out."""
    nodes = [
        *UNBOUNDED["a row of a table"][0],
        node("Unsqueeze", "y one", "new"),
        node("Concat", "cache new", "all", axis=1),
        node("Slice", "all one last one", "cache_out"),
    ]
    weights = {"table": random(rng, 9, D), "one": np.array([1]), "last": np.array([99])}
    path = save(file_of(nodes, {"cache": [1, N, D]}, weights), tmp_path)
    with pytest.raises(UnsupportedError, match=r"with states=\{'cache': 'cache_out'\}"):
        undertow.load(path)
    model = undertow.load(path, states={"cache": "cache_out"})
    assert model.inputs["pos"].n_ids == 9 and [*model.outputs] == ["y"]
    assert any("'pos' is a position, which the caller brings" in line for line in model.graph.notes)
    X = random(rng, 9, D)
    frames = {"x": X.reshape(9, *model.inputs["x"].shape), "pos": np.arange(9, dtype=np.int32)}
    frames["pos"] = frames["pos"].reshape(9, *model.inputs["pos"].shape)
    np.testing.assert_array_equal(model.run(frames).reshape(9, D), X * weights["table"])
    with pytest.raises(ValueError, match="pos holds ids of 0 to 8, got 9"):
        model.stream().step({"x": frames["x"][0], "pos": np.full_like(frames["pos"][0], 9)})


def test_several_rows_that_a_position_mixes_are_refused(tmp_path) -> None:
    """Which of two new rows goes to a place is another thing each time."""
    nodes = [
        node("Add", "pos pair", "two"),
        node("Mod", "two n", "at"),
        node("Reshape", "at column", "index"),
        node("Reshape", "x halves", "new"),
        node("ScatterND", "cache index new", "cache_out", name="write"),
        node("ReduceMax", "cache_out axes", "y"),
    ]
    weights = {"pair": np.arange(2), "n": np.array(3), "column": np.array([2, 1]), "halves": np.array([2, 2])}
    path = save(file_of(nodes, {"cache": [3, 2]}, {**weights, "axes": np.array([0])}), tmp_path)
    with pytest.raises(UnsupportedError, match="ScatterND node 'write'"):
        undertow.load(path, states={"pos": "pos_out", "cache": "cache_out"})


def test_rounds_that_are_too_long_are_refused(tmp_path) -> None:
    nodes = [node("Mod", "pos n", "i"), node("Cast", "i", "f", to=1), node("Mul", "x f", "y")]
    path = save(file_of(nodes, {}, {"n": np.array(5000)}), tmp_path)
    with pytest.raises(UnsupportedError, match="the same again after 5000 steps; at most 4096 are counted"):
        undertow.load(path, states={"pos": "pos_out"})
