# SPDX-License-Identifier: MIT
"""How well float32 can know what a model gives: how far its outputs move where all of its numbers are off by a little.

A network may multiply small errors, most where it decides between two answers. An engine in float32 rounds every
product, sum, activation and state by up to 2^-24 of itself, so no engine is nearer to the exact outputs than the model
lets it. The float64 reference tells how near that is: it computes the sequence again with every weight, input, state
and result of a node off by up to `OFF` of itself, at random, which stands for the roundings inside of a node.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import reference
from .._progress import telling
from ..ir.graph import Graph
from ..ir.ops import OPS

Arrays = dict[str, np.ndarray]

#: Four roundings of float32: of a product, of the sum that takes it, and two of an activation.
OFF = 2.0**-22
#: How often that is done, and what the farthest of these may be missed by: three draws are no bound.
_TIMES, _CHANCE = 3, 2.0
#: Where float32 may err by more than this, a wrong model looks alike, and larger errors are said for nothing.
MOST = 1e-2


def measured(error: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Errors of an output, by the size of its numbers: |error| / max(s, |want|), s the largest |want|, or 1 if that is
    larger, or 0. So an output that stays small is held to its own size, and its zeros to that of the others.
    """
    sizes = np.abs(want)
    largest = sizes[np.isfinite(sizes)].max(initial=0.0)
    return np.abs(error) / np.maximum(largest if 0 < largest < 1 else 1.0, sizes)


def room(graph: Graph, X: Mapping[str, np.ndarray]) -> Arrays:
    """Output name -> the error that float32 may make of each of its frames, `measured`. Outputs that are given once
    have one number. In a stream no frame is known better than those before it.

    Args:
        graph: with weights in float32.
        X: input name -> (T, *frame).
    """
    rng = np.random.default_rng(0)

    def off(a: np.ndarray) -> np.ndarray:
        return a * (1 + OFF * rng.uniform(-1, 1, np.shape(a)))

    with telling("what float32 can know"), np.errstate(all="ignore"):
        exact = reference.evaluate(graph, X).outputs
        others = [reference.evaluate(graph, X, off=off).outputs for _ in range(_TIMES)]
    forwards = not any(OPS[node.op].needs_whole_sequence(node) for node in graph.nodes)
    known: Arrays = {}
    for name, want in exact.items():
        moved = np.max([measured(other[name] - want, want) for other in others], axis=0)
        in_time = want.ndim > len(graph.shape(graph.outputs[name]))
        moved = moved.reshape(len(moved), -1).max(axis=1, initial=0.0) if in_time else moved.max(initial=0.0)[None]
        moved = np.maximum.accumulate(moved) if forwards else np.full(moved.shape, moved.max(initial=0.0))
        known[name] = _CHANCE * np.where(np.isnan(moved), np.inf, moved)
    return known


__all__ = ["MOST", "OFF", "measured", "room"]
