# SPDX-License-Identifier: MIT
"""Operators that ONNX defines by others: along time, and what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import cell, model_of, node, onnx, onnxruntime, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow.errors import UnsupportedError

onnxruntime()
K, T = 8, 9
#: h [N, T, K] of a GRU over x [N, T, K]
CELL = [
    node("Transpose", "x", "xt", perm=[1, 0, 2]),
    node("GRU", "xt W R", "Y", hidden_size=K),
    node("Squeeze", "Y one", "s"),
    node("Transpose", "s", "h", perm=[1, 0, 2]),
]


def pooled(rng: np.random.Generator, batch: Any, opset: int, **attrs: Any) -> Any:
    """A constant query over all timesteps."""
    attention = node("Attention", "q h h", "y", name="pool", kv_num_heads=2, **{"q_num_heads": 2, **attrs})
    query = random(rng, 1, 2, K)
    nodes = [*CELL, attention]
    weights = {**cell(rng, "GRU", K, K), "one": np.array([1]), "q": query}
    if batch != 1:
        nodes[-1:] = [
            node("Shape", "x", "items", start=0, end=1),
            node("Concat", "items sizes", "shape", axis=0),
            node("Expand", "q0 shape", "q"),
            attention,
        ]
        del weights["q"]
        weights |= {"q0": query, "sizes": np.array([2, K])}
    return model_of(nodes, {"x": [batch, "T", K]}, ["y"], weights, opset)


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("attrs", [{}, {"scale": 0.3}, {"softcap": 2.0}], ids=["plain", "scale", "softcap"])
def test_attention_of_a_constant_query_pools_what_came_so_far(attrs, batch, opset, tmp_path, rng) -> None:
    path = save(pooled(rng, batch, opset, **attrs), tmp_path)
    model, X = undertow.load(path), random(rng, T, K)
    judge = onnx.reference.ReferenceEvaluator(onnx.load(path))  # ONNX Runtime has not all of it
    for t in (1, 4, T):
        (expected,) = judge.run(None, {"x": X[None, :t]})
        np.testing.assert_allclose(model.run(X)[t - 1], expected[0], rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("dim", [0, 4])
def test_rotation_of_all_or_part_of_a_clip(dim, interleaved, tmp_path, rng) -> None:
    n = dim or K // 2
    rotation = node("RotaryEmbedding", "x c s p", "y", num_heads=1 if dim else 2, interleaved=interleaved)
    if dim:
        rotation.attribute.append(onnx.helper.make_attribute("rotary_embedding_dim", dim))
    weights = {"c": random(rng, 16, n // 2), "s": random(rng, 16, n // 2), "p": np.arange(T)[None]}
    path = save(model_of([rotation], {"x": [1, T, K]}, {"y": [1, T, K]}, weights, 23), tmp_path)
    X = random(rng, 3, T, K)
    session = session_of(path)
    expected = np.concatenate([session.run(None, {"x": x[None]})[0] for x in X])
    np.testing.assert_allclose(undertow.load(path).run(X).reshape(3, T, K), expected, rtol=0, atol=FLOAT32_PEER)


def test_a_split_may_leave_nothing(tmp_path, rng) -> None:
    """Which a Concat takes no notice of."""
    nodes = [node("Split", "x sizes", "a b", axis=2), node("Relu", "a", "r"), node("Concat", "r b", "y", axis=2)]
    path = save(model_of(nodes, {"x": [1, "T", K]}, {"y": [1, "T", K]}, {"sizes": np.array([K, 0])}), tmp_path)
    X = random(rng, T, K)
    np.testing.assert_array_equal(undertow.load(path).run(X), np.maximum(X, 0))


def test_what_is_refused_inside_names_the_node_of_the_file(tmp_path, rng) -> None:
    """Causal attention over all timesteps keeps them all."""
    attention = node("Attention", "h h h", "y", name="look back", q_num_heads=2, kv_num_heads=2)
    weights = {**cell(rng, "GRU", K, K), "one": np.array([1])}
    path = save(model_of([*CELL, attention], {"x": [1, "T", K]}, ["y"], weights, 23), tmp_path)
    with pytest.raises(UnsupportedError, match=r"Attention node 'look back' \(\w+ in its definition\)"):
        undertow.load(path)
