# SPDX-License-Identifier: MIT
"""Scales, shifts and activations move into the layer before them, or stay where something would change."""

import numpy as np
import pytest

from undertow import reference
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.passes.fuse import fuse

RNG = np.random.default_rng(0)
SCALE = ("affine", {"weights": {"scale": np.full(5, 0.3), "shift": np.ones(5)}})
HUGE = {"weights": {"scale": np.full(5, 3e38), "shift": np.ones(5)}}
RELU = {"activation": Activation("relu")}


def chain(shape, *steps, shown=()):
    """A graph of nodes one after another; `shown`: numbers of nodes whose values are outputs too."""
    g = Graph("chain")
    value = g.input("x", shape)
    for i, (op, settings) in enumerate(steps):
        value = g.add(op, [value], **settings)
        if i in shown:
            g.output(f"y{i}", value)
    g.output("y", value)
    return g


def weights(**shapes):
    return {"weights": {key: RNG.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}}


def rows(n, m):
    """A scale and a shift that are equal in each of n rows of m."""
    return {"weights": {key: np.tile(RNG.normal(size=m), (n, 1)).astype(np.float32) for key in ("scale", "shift")}}


def ops(graph):
    return [node.op for node in graph.nodes]


def check(graph, expected_ops):
    X = RNG.normal(size=(6, *graph.shape("x"))).astype(np.float32)
    before = reference.run(graph, X)
    fused = graph.copy()
    fuse(fused)
    assert ops(fused) == expected_ops
    after = reference.run(fused, X)
    for name in graph.outputs:
        a, b = (y[name] if isinstance(y, dict) else y for y in (before, after))
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [{}, {"b": (5,)}])
def test_a_batch_norm_and_an_activation_move_into_a_dense_layer_of_rows(bias):
    dense = ("dense", weights(W=(5, 4), **bias))
    check(chain((3, 4), dense, ("affine", rows(3, 5)), ("activation", {"attrs": RELU})), ["dense"])


def test_they_move_into_a_depthwise_layer():
    layer = ("depthwise", weights(W=(3, 5), b=(5,)))
    check(chain((4, 3, 5), layer, ("affine", rows(4, 5)), ("activation", {"attrs": RELU})), ["depthwise"])


def test_reshapes_are_seen_through():
    flat = ("reshape", {"attrs": {"shape": (15,)}})
    scale = {"weights": {key: w.reshape(15) for key, w in rows(3, 5)["weights"].items()}}
    steps = [("dense", weights(W=(5, 4))), flat, ("affine", scale), ("activation", {"attrs": RELU})]
    check(chain((3, 4), *steps), ["dense", "reshape"])


def test_scales_of_a_norm_and_of_each_other_are_one():
    scale, other = weights(scale=(7,), shift=(7,)), weights(scale=(7,), shift=(7,))
    check(chain((7,), ("layer_norm", {}), ("affine", scale), ("affine", other)), ["layer_norm"])
    check(chain((7,), ("layer_norm", weights(scale=(7,), shift=(7,))), ("affine", scale)), ["layer_norm"])
    two = ("affine", weights(scale=(2, 7), shift=(2, 7))), ("affine", weights(scale=(2, 7), shift=(2, 7)))
    check(chain((2, 7), *two), ["affine"])


def test_what_changes_nothing_goes():
    nothing = {"weights": {"scale": np.ones(5), "shift": np.zeros(5)}}
    check(chain((4,), ("dense", {**weights(W=(5, 4)), "attrs": RELU}), ("affine", nothing)), ["dense"])
    check(chain((5,), ("affine", nothing)), ["affine"])  # an output that is an input would be no model


@pytest.mark.parametrize(
    "graph",
    [
        chain((3, 4), ("dense", weights(W=(5, 4))), ("affine", weights(scale=(3, 5), shift=(3, 5)))),
        chain((4,), ("dense", weights(W=(5, 4))), ("affine", weights(scale=(5,), shift=(5,))), shown=[0]),
        chain((4,), ("dense", {**weights(W=(5, 4)), "attrs": RELU}), ("affine", weights(scale=(5,), shift=(5,)))),
        chain((4,), ("dense", {"weights": {"W": np.ones((5, 4))}}), ("affine", weights(scale=(5,), shift=(5,)))),
        chain((4,), ("dense", {**weights(W=(5, 4)), "attrs": RELU}), ("activation", {"attrs": RELU})),
        chain((4,), ("dense", {"weights": {"W": np.full((5, 4), 7.5)}}), ("affine", HUGE)),
        chain((4,), ("dense", {**weights(W=(5, 4)), "precisions": {"W": "int8"}}), SCALE),
    ],
    ids=["rows differ", "seen twice", "behind an activation", "integers", "two activations", "infinite", "int8"],
)  # fmt: skip
def test_what_must_stay_stays(graph):
    fused = graph.copy()
    fuse(fused)
    assert ops(fused) == ops(graph)


def test_a_model_that_rounds_keeps_its_scales():
    rounding = ("activation", {"attrs": {"activation": Activation("round")}})
    g = chain((4,), ("dense", weights(W=(5, 4))), ("affine", weights(scale=(5,), shift=(5,))), rounding)
    fused = g.copy()
    fuse(fused)
    assert ops(fused) == ["dense", "affine", "activation"]


def test_nodes_of_a_copy_are_its_own():
    g = chain((4,), ("dense", weights(W=(5, 4))), ("affine", weights(scale=(5,), shift=(5,))))
    W = g.nodes[0].weights["W"].copy()
    fuse(g.copy())
    assert ops(g) == ["dense", "affine"] and np.array_equal(g.nodes[0].weights["W"], W)
