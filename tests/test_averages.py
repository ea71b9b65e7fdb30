# SPDX-License-Identifier: MIT
"""Averages over time as a stream keeps them, against their definition in float64."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_CELL, FLOAT64_AGREE
from undertow import AttentionAverage, Average, Sequential, ShapeError, build_sequential, reference


def check(layer, X, want, limit):
    graph = build_sequential([layer], input_shape=X.shape[1])
    np.testing.assert_allclose(reference.run(graph, X), want, rtol=0, atol=FLOAT64_AGREE)
    model = undertow.Model.from_graph(graph)
    whole = model.run(X)
    np.testing.assert_allclose(whole, want, rtol=0, atol=limit)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in X]), whole)


@pytest.mark.parametrize("scale", [1.0, 40.0], ids=["mild", "huge"])
def test_averages_so_far(scale):
    """Float64 from the definition, at every timestep; scores of some hundred would overflow an exp in float32."""
    rng = np.random.default_rng(9)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    w = (scale * rng.normal(size=4)).astype(np.float32)
    score = X.astype(np.float64) @ w
    plain = np.array([X[: t + 1].astype(np.float64).mean(axis=0) for t in range(len(X))])
    weighted = []
    for t in range(len(X)):
        share = np.exp(score[: t + 1] - score[: t + 1].max())
        weighted.append((share[:, None] * X[: t + 1]).sum(axis=0) / (share.sum() + 1e-7))
    check(Average(return_sequences=True), X, plain, FLOAT32_CELL)
    # a score of 200 is off by 1e-5 in float32, and its exp with it
    error = FLOAT32_CELL * max(1.0, scale)
    average = AttentionAverage.from_keras({"m/attention_W:0": w[:, None]}, return_sequences=True)
    check(average, X, np.array(weighted), error)
    for layer, want in ((Average(), plain), (AttentionAverage(w, epsilon=1e-7), np.array(weighted))):
        model = Sequential([layer], input_shape=4)
        np.testing.assert_allclose(model.run(X)[-1], want[-1], rtol=0, atol=error)


def test_averages_are_refused():
    with pytest.raises(ShapeError, match=r"2 arrays \(a_W, b_W\)"):
        AttentionAverage.from_keras({"a_W": np.ones((2, 1)), "b_W": np.ones((2, 1))})
    with pytest.raises(ShapeError, match=r"expected \(width, 1\)"):
        AttentionAverage.from_keras([np.ones((2, 2))])
    with pytest.raises(ValueError, match="epsilon"):
        AttentionAverage([1.0], epsilon=-1)
    with pytest.raises(ShapeError, match="empty"):
        AttentionAverage([])
