# SPDX-License-Identifier: MIT
"""ONNX's Attention in files of one step, over the last frames that they take and give: heads, masks and caches that do
not grow, against ONNX Runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import BOOL, FLOAT, INT64, helper, info, model_of, node, onnxruntime, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow.errors import FormatError, ShapeError

onnxruntime()
D, ROWS, T = 8, 5, 13
NAMES = ("pk", "pk_out", "pv", "pv_out")


def heads_of(name: str, n: int, size: int) -> tuple[list[Any], dict[str, Any]]:
    nodes = [
        node("Reshape", f"{name} s{name}", f"{name}r"),
        node("Transpose", f"{name}r", f"{name}4", perm=[0, 2, 1, 3]),
    ]
    return nodes, {f"s{name}": np.array([1, 1, n, size])}


def step(
    n_q: int = 2,
    n_k: int = 2,
    size: int = 4,
    opset: int = 23,
    rank: int = 3,
    names: tuple[str, ...] = NAMES,
    ends: tuple[str, str] = ("x", "y"),
    scores: bool = False,
    **attrs: Any,
) -> Any:
    """x -> q, k, v -> attention over the last rows and the new one -> a layer; the oldest row is dropped."""
    rng = np.random.default_rng(0)
    x, y = ends
    past_k, new_k, past_v, new_v = names
    widths = {"q": n_q * size, "k": n_k * size, "v": n_k * size}
    weights: dict[str, Any] = {f"w{name}": random(rng, D, width) / 2 for name, width in widths.items()}
    weights |= {"wo": random(rng, n_q * size, D) / 2}
    weights |= {"first": np.array([-ROWS]), "last": np.array([2**31]), "axis": np.array([2])}
    nodes = [node("MatMul", f"{x} w{name}", name) for name in widths]
    given, gives = "q k v", "a"
    if rank == 4:
        for name, n in (("q", n_q), ("k", n_k), ("v", n_k)):
            more, arrays = heads_of(name, n, size)
            nodes, weights, given = nodes + more, weights | arrays, "q4 k4 v4"
        weights["flat"] = np.array([1, 1, -1])
        gives = "r"
    own = {} if rank == 4 else {"q_num_heads": n_q, "kv_num_heads": n_k}
    results = [gives if rank == 3 else "a4", "all_k", "all_v", *(["scores"] if scores else [])]
    nodes.append(
        helper.make_node("Attention", [*given.split(), "", past_k, past_v], results, name="look", **own, **attrs)
    )
    if rank == 4:
        nodes += [node("Transpose", "a4", "at", perm=[0, 2, 1, 3]), node("Reshape", "at flat", "r")]
    nodes += [node("MatMul", f"{gives} wo", y)]
    nodes += [node("Slice", f"{whole} first last axis", new) for whole, new in (("all_k", new_k), ("all_v", new_v))]
    past = [1, n_k, ROWS, size]
    outputs = [info(y, [1, 1, D]), info(new_k, past), info(new_v, past), *([info("scores")] if scores else [])]
    return model_of(nodes, [info(x, [1, 1, D]), info(past_k, past), info(past_v, past)], outputs, weights, opset)


def carried(file: Any, X: np.ndarray, returned: dict[str, str], outputs: tuple[str, ...] = ("y",)) -> list[np.ndarray]:
    session, rows = session_of(file), []
    names = [o.name for o in session.get_outputs()]
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    feed = {i.name: np.zeros(i.shape, types[i.type]) for i in session.get_inputs()}
    (x,) = feed.keys() - returned.keys()
    for frame in X:
        made = dict(zip(names, session.run(None, {**feed, x: frame[None, None]}), strict=True))
        feed |= {name: made[output] for name, output in returned.items()}
        rows.append([made[name].ravel() for name in outputs])
    return [np.stack(column) for column in zip(*rows, strict=True)]


FORMS: dict[str, dict[str, Any]] = {
    **{f"operator set {opset}": {"opset": opset} for opset in (23, 24, 25, 26, 27, 28)},
    "grouped heads": {"n_q": 4, "n_k": 2},
    "one head of keys": {"n_q": 4, "n_k": 1},
    "four axes": {"rank": 4},
    "four axes, grouped": {"rank": 4, "n_q": 4},
    "scale": {"scale": 0.3},
    "cap": {"softcap": 2.0},
    "causal": {"is_causal": 1},
    "window": {"opset": 25, "is_causal": 1, "left_window_size": 3},
    "names of others": {"names": ("past_key", "present_key", "past_value", "present_value")},
    "names that say nothing": {"names": ("a0", "b0", "a1", "b1")},
    "a frame called like a state": {"ends": ("hidden_states", "y")},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_window_is_found_and_is_attention(form, tmp_path) -> None:
    options = FORMS[form]
    file, X = step(**options), random(np.random.default_rng(1), T, D)
    past_k, new_k, past_v, new_v = options.get("names", NAMES)
    (expected,) = carried(file, X, {past_k: new_k, past_v: new_v})
    model = undertow.load(save(file, tmp_path))
    assert len(model.inputs) == 1 and [*model.outputs] == ["y"]
    ops = [n.op for n in model.graph.nodes]
    assert ops.count("attend") == 1 and ops.count("window") == 2 and not {"softmax", "matmul", "select"} & set(ops)
    y = model.run(X.reshape(T, *next(iter(model.inputs.values())).shape)).reshape(T, -1)
    np.testing.assert_allclose(y, expected, rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize(("kind", "opset"), [(BOOL, 23), (FLOAT, 24), (BOOL, 28)])
@pytest.mark.parametrize("shape", [[1, 1, 1, ROWS + 1], [1, ROWS + 1]])
def test_a_mask_that_comes_with_each_step(shape, kind, opset, tmp_path, rng) -> None:
    file, X = step(opset=opset), random(rng, T, D)
    (look,) = (one for one in file.graph.node if one.op_type == "Attention")
    look.input[3] = "mask"
    file.graph.input.append(info("mask", shape, kind))
    masks = random(rng, T, ROWS + 1)
    if kind == BOOL:
        masks = (masks > 0) | (np.arange(ROWS + 1) == ROWS)
    session, held, expected = session_of(file), [np.zeros((1, 2, ROWS, 4), np.float32)] * 2, []
    for x, mask in zip(X, masks, strict=True):
        given = mask.reshape(shape).astype(bool if kind == BOOL else np.float32)
        y, *held = session.run(None, {"x": x[None, None], "pk": held[0], "pv": held[1], "mask": given})
        expected.append(y.ravel())
    model = undertow.load(save(file, tmp_path))
    assert sorted(model.states) == ["pk_window.past", "pv_window.past"]
    frames = {"x": X.reshape(T, *model.inputs["x"].shape)}
    frames["mask"] = masks.reshape(T, *model.inputs["mask"].shape).astype(np.float32)
    np.testing.assert_allclose(model.run(frames).reshape(T, -1), expected, rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("mode", range(4))
def test_scores_are_an_output(mode, tmp_path) -> None:
    file = step(scores=True, qk_matmul_output_mode=mode, softcap=1.5, opset=24)
    X = random(np.random.default_rng(1), T, D)
    y, scores = carried(file, X, {"pk": "pk_out", "pv": "pv_out"}, ("y", "scores"))
    outputs = undertow.load(save(file, tmp_path)).run(X)
    np.testing.assert_allclose(outputs["y"].reshape(T, -1), y, rtol=0, atol=FLOAT32_PEER)
    np.testing.assert_allclose(outputs["scores"].reshape(T, -1), scores, rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("opset", [24, 28])
def test_a_ring_that_is_written_by_tensor_scatter(opset, tmp_path, rng) -> None:
    """ONNX's own way of caches that do not grow: a position, and how many rows are filled."""
    n_q, n_k, size = 4, 2, 4
    widths = {"q": n_q * size, "k": n_k * size, "v": n_k * size}
    weights: dict[str, Any] = {f"w{name}": random(rng, D, width) / 2 for name, width in widths.items()}
    weights |= {"wo": random(rng, n_q * size, D) / 2, "flat": np.array([1, 1, -1])}
    weights |= {"one": np.array([1]), "most": np.array([ROWS])}
    nodes = [node("MatMul", f"x w{name}", name) for name in widths]
    for name, n in (("q", n_q), ("k", n_k), ("v", n_k)):
        more, arrays = heads_of(name, n, size)
        nodes, weights = nodes + more, weights | arrays
    for name in "kv":
        nodes.append(node("TensorScatter", f"c{name} {name}4 pos", f"c{name}_out", mode="circular", axis=2))
    nodes += [node("Add", "pos one", "pos_out"), node("Min", "pos_out most", "filled")]
    nodes.append(helper.make_node("Attention", ["q4", "ck_out", "cv_out", "", "", "", "filled"], ["a4"]))
    nodes += [
        node("Transpose", "a4", "at", perm=[0, 2, 1, 3]),
        node("Reshape", "at flat", "r"),
        node("MatMul", "r wo", "y"),
    ]
    cache = [1, n_k, ROWS, size]
    inputs = [info("x", [1, 1, D]), info("ck", cache), info("cv", cache), info("pos", [1], INT64)]
    outputs = [info("y", [1, 1, D]), info("ck_out", cache), info("cv_out", cache), info("pos_out", [1], INT64)]
    file, X = model_of(nodes, inputs, outputs, weights, opset), random(rng, T, D)
    (expected,) = carried(file, X, {name: f"{name}_out" for name in ("ck", "cv", "pos")})
    model = undertow.load(save(file, tmp_path))
    assert sorted(model.states) == ["ck.value", "cv.value", "pos.value"]
    assert "attend" in {n.op for n in model.graph.nodes}
    np.testing.assert_allclose(model.run(X).reshape(T, -1), expected, rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize(
    ("changed", "kind", "told"),
    [
        ({"n_q": 3, "n_k": 2}, FormatError, "has 3 heads of queries and 2 of keys, expected a multiple"),
        ({"qk_matmul_output_mode": 7}, FormatError, "qk_matmul_output_mode=7, expected 0 to 3"),
        ({"left_window_size": -2, "opset": 25}, FormatError, "left_window_size=-2, expected -1 or more"),
        ({"softcap": -1.0}, FormatError, "softcap=-1.0, expected 0 or more"),
        ({"q_num_heads": 3}, ShapeError, "query has 8 channels, which attribute q_num_heads=3 does not divide"),
        ({"kv_num_heads": 0}, FormatError, "kv_num_heads=0, expected 1 or more with inputs of 3 axes"),
        ({"pk": [1, 2, ROWS, 3]}, ShapeError, r"past_key has shape \[1, 2, 5, 3\], expected \[any, 2, any, 4\]"),
        ({"pv": None}, FormatError, "has one of past_key and past_value, expected both or none"),
    ],
)
def test_what_is_wrong_with_attention_is_named(changed, kind, told, tmp_path) -> None:
    own = {name: changed[name] for name in ("q_num_heads", "kv_num_heads") if name in changed}
    file = step(**{name: value for name, value in changed.items() if name not in (*own, "pk", "pv")})
    (look,) = (one for one in file.graph.node if one.op_type == "Attention")
    for attribute in (one for one in look.attribute if one.name in own):
        attribute.i = own[attribute.name]
    if "pk" in changed:
        file.graph.input[1].CopyFrom(info("pk", changed["pk"]))
    if "pv" in changed:
        look.input[5] = ""
    with pytest.raises(kind, match=f"Attention node 'look': (its |its input |attribute )?{told}"):
        undertow.load(save(file, tmp_path))
