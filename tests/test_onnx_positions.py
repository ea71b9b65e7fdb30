# SPDX-License-Identifier: MIT
"""RotaryEmbedding and TensorScatter, of ONNX and of ONNX Runtime, against it and the pseudocode of their definitions;
operators that ONNX defines by others, in operator sets that give no definition any more.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import INT64, helper, info, model_of, node, onnx, onnxruntime, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow.errors import FormatError, ShapeError, UnsupportedError

onnxruntime()
RUNTIME = "com.microsoft"
T, HEADS, ROWS = 5, 2, 12


def with_runtime(model: Any) -> Any:
    model.opset_import.append(helper.make_opsetid(RUNTIME, 1))
    return model


# -- RotaryEmbedding --------------------------------------------------------------------------------------------------


def turned(x, cos, sin, interleaved, pairs):
    """x (T, heads, size); cos, sin (T, pairs)."""
    y, (cos, sin) = x.astype(np.float64), (a.astype(np.float64)[:, None] for a in (cos, sin))
    halves = (
        (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)) if interleaved else (slice(0, pairs), slice(pairs, 2 * pairs))
    )
    a, b = (x[..., half].astype(np.float64) for half in halves)
    y[..., halves[0]], y[..., halves[1]] = cos * a - sin * b, sin * a + cos * b
    return y


def rotation(rng, size, dim, interleaved, rank, positions, domain="", opset=23, steps: Any = T, **changed: Any):
    """A file, and its tables. positions: "input", or an array, or None."""
    pairs = (dim or size) // 2
    weights = {"cos": random(rng, ROWS, pairs), "sin": random(rng, ROWS, pairs)}
    if positions is None:
        weights = {name: table[None, :steps] for name, table in weights.items()}
    inputs: list[Any] = [info("x", [1, steps, HEADS * size] if rank == 3 else [1, HEADS, steps, size])]
    if isinstance(positions, str):
        inputs.append(info("p", [1, steps], INT64))
    elif positions is not None:
        weights["p"] = positions
    given = ["x", *([] if positions is None else ["p"]), "cos", "sin"] if domain else ["x", "cos", "sin"]
    given += ["p"] if not domain and positions is not None else []
    attrs = {"interleaved": interleaved, "num_heads": HEADS, "rotary_embedding_dim": dim, **changed}
    weights |= {name: attrs.pop(name) for name in weights if name in attrs}
    one = helper.make_node("RotaryEmbedding", given, ["y"], name="turn", domain=domain, **attrs)
    model = model_of([one], inputs, ["y"], weights, opset)
    return with_runtime(model) if domain else model, weights


@pytest.mark.parametrize("seed", range(32))
def test_random_rotations(seed, tmp_path) -> None:
    rng = np.random.default_rng([9, seed])
    interleaved, rank, brought = seed % 2, 3 + seed // 2 % 2, seed // 4 % 2
    size, dim = ((4, 0), (6, 0), (6, 4), (8, 2))[rng.integers(4)]
    domain, opset = (("", 23), ("", 24), ("", 28), (RUNTIME, 17))[rng.integers(4)]
    steps: Any = (T, "T")[rng.integers(2)] if brought else T
    positions = rng.integers(0, ROWS, (1, T))
    how = "input" if brought else (None if not domain and rng.integers(2) else positions)
    file, weights = rotation(rng, size, dim, interleaved, rank, how, domain, opset, steps)
    X = random(rng, T, HEADS, size)
    rows = (weights[name][0] if how is None else weights[name][positions[0]] for name in ("cos", "sin"))
    expected = turned(X, *rows, interleaved, (dim or size) // 2)
    feed = {"x": X.reshape(1, T, -1) if rank == 3 else X.transpose(1, 0, 2)[None]}
    feed |= {"p": positions} if brought else {}
    (peers,) = session_of(file).run(None, feed)
    peers = peers.reshape(T, HEADS, size) if rank == 3 else peers[0].transpose(1, 0, 2)
    np.testing.assert_allclose(peers, expected, rtol=0, atol=FLOAT32_PEER)
    model = undertow.load(save(file, tmp_path))
    if brought:
        y = model.run({"x": X.reshape(T, *model.inputs["x"].shape), "p": positions[0].astype(np.int32)})
        np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=0, atol=FLOAT32_PEER)
        with pytest.raises(ValueError, match=f"p holds ids of 0 to {ROWS - 1}, got {ROWS}"):
            model.stream().step({"x": X[0].reshape(model.inputs["x"].shape), "p": np.int32(ROWS)})
    else:
        y = model.run(feed["x"].reshape(-1, *model.inputs["x"].shape))
        y = y.reshape(T, HEADS, size) if rank == 3 else y.reshape(HEADS, T, size).transpose(1, 0, 2)
        np.testing.assert_allclose(y, expected, rtol=0, atol=FLOAT32_PEER)


def test_the_first_position_alone(tmp_path, rng) -> None:
    """Of ONNX Runtime: others count on from it."""
    file, weights = rotation(rng, 4, 0, 0, 3, np.array([3]), RUNTIME, 17)
    X = random(rng, T, HEADS, 4)
    expected = turned(X, weights["cos"][3 : 3 + T], weights["sin"][3 : 3 + T], 0, 2)
    (peers,) = session_of(file).run(None, {"x": X.reshape(1, T, -1)})
    np.testing.assert_allclose(peers.reshape(X.shape), expected, rtol=0, atol=FLOAT32_PEER)
    y = undertow.load(save(file, tmp_path)).run(X.reshape(1, T, -1))
    np.testing.assert_allclose(y.reshape(X.shape), expected, rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize(
    ("changed", "kind", "told"),
    [
        ({"num_heads": 3}, ShapeError, "has 8 channels, which attribute num_heads=3 does not divide"),
        ({"num_heads": 0}, FormatError, "num_heads=0, expected 1 or more with an input of 3 axes"),
        ({"rotary_embedding_dim": 3}, FormatError, "rotary_embedding_dim=3, expected an even number up to 4"),
        ({"rotary_embedding_dim": 6}, FormatError, "rotary_embedding_dim=6, expected an even number up to 4"),
        ({"cos": np.ones((ROWS, 3), np.float32), "sin": np.ones((ROWS, 3), np.float32)}, ShapeError,
         "cos_cache has rows of 3, expected half of heads of 4"),
        ({"sin": np.ones((ROWS, 1), np.float32)}, ShapeError, "have rows of 2 and 1"),
        ({"cos": np.ones((1, ROWS, 2), np.float32)}, ShapeError, "cos_cache has 3 axes, expected 2 with position_ids"),
        ({"p": np.full((1, T), ROWS)}, ShapeError, f"position_ids has {ROWS}, expected 0 to {ROWS - 1}"),
        ({"p": np.full((1, T), -1)}, ShapeError, "position_ids has -1, expected 0 to 11"),
        ({"scale": 2.0, "domain": RUNTIME}, UnsupportedError, "scale=2.0 is not supported; supported: 1.0"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rotation_is_named(changed, kind, told, tmp_path, rng) -> None:
    file, _ = rotation(rng, 4, 0, 0, 3, np.zeros((1, T), np.int64), **changed)
    with pytest.raises(kind, match=rf"RotaryEmbedding node 'turn'.*{told}"):
        undertow.load(save(file, tmp_path))


# -- TensorScatter ----------------------------------------------------------------------------------------------------

CACHE = [1, 2, 5, 4]


def scatter(axis, n_new, mode, positions, opset=24, cache=tuple(CACHE), new=None):
    """A step that writes into a cache, and adds up what it has then. positions: "input", or an array, or None."""
    cache = [*cache]
    update = [n_new if a == axis % 4 else n for a, n in enumerate(cache)] if new is None else new
    inputs: list[Any] = [info("x", update), info("cache", cache)]
    inputs += [info("w", [1], INT64)] if isinstance(positions, str) else []
    weights = {"w": positions} if isinstance(positions, np.ndarray) else {}
    given = "cache x" if positions is None else "cache x w"
    nodes = [
        node("TensorScatter", given, "cache_out", name="write", mode=mode, axis=axis),
        node("ReduceMax", "cache_out axes", "y"),
    ]
    return model_of(nodes, inputs, ["y", "cache_out"], {**weights, "axes": np.array([1])}, opset)


def scattered(cache, update, axis, at, circular):
    """The pseudocode of the definition."""
    result, n_rows = cache.copy(), cache.shape[axis]
    for prefix in np.ndindex(cache.shape[:axis]):
        for row in range(update.shape[axis]):
            to = (at + row) % n_rows if circular else at + row
            result[(*prefix, to)] = update[(*prefix, row)]
    return result


WRITES = [*product(("none", "known"), ("linear", "circular"), (-2, 1, -1), (1, 2))]
WRITES += [*product(("input",), ("linear",), (-2, 1, -1), (1, 2))]


@pytest.mark.parametrize(("how", "mode", "axis", "n_new"), WRITES)
def test_a_cache_that_is_written_into(how, mode, axis, n_new, tmp_path, rng) -> None:
    most = CACHE[axis] - 1 if mode == "circular" else CACHE[axis] - n_new
    places = rng.integers(0, most + 1, T) if how == "input" else np.full(T, most if how == "known" else 0)
    positions = {"none": None, "known": np.array([most]), "input": "input"}[how]
    file = scatter(axis, n_new, mode, positions, (24, 28)[n_new - 1])
    shape = [n.dim_value for n in file.graph.input[0].type.tensor_type.shape.dim]
    X, cache, expected = random(rng, T, *shape), np.zeros(CACHE, np.float32), []
    session = session_of(file)
    for x, at in zip(X, places, strict=True):
        feed = {"x": x, "cache": cache, **({"w": np.array([at])} if how == "input" else {})}
        y, peers = session.run(None, feed)
        cache = scattered(cache, x, axis % 4, int(at), mode == "circular")
        np.testing.assert_array_equal(peers, cache)
        expected.append(y)
    model = undertow.load(save(file, tmp_path))
    assert [*model.states] == (
        ["cache.value"] if how == "input" or n_new < CACHE[axis] else []
    )  # else nothing of it is left
    frames = {"x": X.reshape(T, *model.inputs["x"].shape)}
    if how == "input":
        assert model.inputs["w"].n_ids == most + 1
        frames["w"] = places.astype(np.int32).reshape(T, *model.inputs["w"].shape)
    y = model.stream().run(frames if how == "input" else frames["x"])
    np.testing.assert_array_equal(y.reshape(T, -1), np.reshape(expected, (T, -1)))
    if how == "input" and model.states:
        stream = model.stream()
        before = stream.state["cache.value"].copy()
        beyond = {"x": frames["x"][0], "w": np.full_like(frames["w"][0], most + 1)}
        with pytest.raises(ValueError, match=f"w holds ids of 0 to {most}, got {most + 1}"):
            stream.step(beyond)
        np.testing.assert_array_equal(stream.state["cache.value"], before)


@pytest.mark.parametrize(
    ("changed", "kind", "told"),
    [
        ({"mode": "ring"}, FormatError, "mode='ring', expected one of linear, circular"),
        ({"axis": 0}, FormatError, "axis=0, expected an axis of 4 behind the batch"),
        ({"axis": 4}, FormatError, "axis=4, expected an axis of 4 behind the batch"),
        ({"positions": np.array([4])}, ShapeError, "write_indices has 4, expected 0 to 3: 2 rows into a cache of 5"),
        ({"positions": np.array([-1])}, ShapeError, "write_indices has -1, expected 0 to 3"),
        ({"n_new": 6}, ShapeError, "update has 6 rows, the cache 5; expected 1 to as many"),
        ({"positions": np.array([1, 2])}, ShapeError, "write_indices has 2 numbers, expected one for each item"),
        ({"n_new": 0}, ShapeError, "update has 0 rows, the cache 5; expected 1 to as many"),
        ({"cache": (1, 1, 2**20, 1), "n_new": 1, "positions": "input"}, UnsupportedError, "too large a table"),
        ({"new": [1, 3, 2, 4]}, ShapeError, r"update has shape \[1, 3, 2, 4\], expected \[1, 2, any, 4\]"),
    ],
)
def test_what_is_wrong_with_a_write_is_named(changed, kind, told, tmp_path) -> None:
    """onnx's own inference of shapes refuses some of it first, by the same name."""
    file = scatter(**{"axis": -2, "n_new": 2, "mode": "linear", "positions": None, **changed})
    with pytest.raises(kind, match=rf"TensorScatter node 'write'.*{told}"):
        undertow.load(save(file, tmp_path))


# -- others -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [26, 27, 28])
def test_attention_of_operator_sets_that_do_not_define_it(opset, tmp_path, rng) -> None:
    """Of which onnx gives no definition any more, since an operator in it has gained types."""
    attention = node("Attention", "x x x", "y", q_num_heads=2, kv_num_heads=2, is_causal=1)
    file, X = model_of([attention], {"x": [1, T, 8]}, {"y": [1, T, 8]}, {}, opset), random(rng, 1, T, 8)
    expected = session_of(file).run(None, {"x": X})[0]
    y = undertow.load(save(file, tmp_path)).run(X)
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=0, atol=FLOAT32_PEER)


def test_the_middle_of_a_frame(tmp_path, rng) -> None:
    file = model_of([node("CenterCropPad", "x size", "y", axes=[2])], {"x": [1, "T", 8]}, ["y"],
                    {"size": np.array([5])}, 24)  # fmt: skip
    X = random(rng, T, 8)
    (expected,) = onnx.reference.ReferenceEvaluator(file).run(None, {"x": X[None]})
    np.testing.assert_array_equal(undertow.load(save(file, tmp_path)).run(X), expected[0])


@pytest.mark.parametrize("domain", ["", RUNTIME])
def test_root_mean_squares_before_onnx_had_them(domain, tmp_path, rng) -> None:
    """ONNX Runtime writes SimplifiedLayerNormalization into ONNX's own domain."""
    one = helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"], axis=-1, epsilon=1e-3, domain=domain)
    scale, X = random(rng, 8), random(rng, T, 8)
    model = model_of([one], {"x": [1, "T", 8]}, {"y": [1, "T", 8]}, {"g": scale}, 17)
    file = with_runtime(model) if domain else model
    x = X.astype(np.float64)
    expected = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-3) * scale
    if not domain:
        np.testing.assert_allclose(session_of(file).run(None, {"x": X[None]})[0][0], expected, atol=FLOAT32_PEER)
    np.testing.assert_allclose(undertow.load(save(file, tmp_path)).run(X), expected, rtol=0, atol=FLOAT32_PEER)
