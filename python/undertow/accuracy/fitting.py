# SPDX-License-Identifier: MIT
"""Rounding of integer weights to the data they will multiply, rather than each to its nearest integer.

The error of a weight is made up for by the weights of the same row that are not rounded yet, so that the product with
the frames seen, not the weight, errs least. Columns go one after another; what column k leaves over is spread by the
Cholesky factor of the inverse of X^T X: E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", 2022, equations 2 to 5. Scales, layout and speed stay as they are.

The same frames tell how columns are smoothed (`undertow.passes.smoothing`); rounding comes after that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import HIDDEN, INPUT, OPS
from ..ir.precision import GROUP, INTEGERS, quantise
from ..passes import smoothing as choose
from ..reference.nodes import states_before

Arrays = dict[str, np.ndarray]

#: Added to X^T X, as a share of its mean diagonal, beside K / n: directions that frames hardly show, or that few frames
#: show, are not leant on.
DAMPING = 0.01
#: Columns after which the remaining ones are corrected, in one matrix product.
_BLOCK = 64


def compensated(
    w: np.ndarray, X: np.ndarray, precision: str, what: str = "weight", smoothing: np.ndarray | None = None
) -> np.ndarray:
    """The float32 numbers that a file stores of `w`, rounded so that w x errs little for the frames of X.

    Args:
        w: (rows, K) float32.
        X: (n, K) what the matrix multiplies; rows that are not finite count for nothing.
        precision: "int16", "int8" or "int4".
        what: names the weight in errors.
        smoothing: (K,) exponents: the integers are those of w 2^smoothing, for frames X 2^-smoothing.

    Returns:
        (rows, K) float32, which `quantise` finds again: the largest weight of each scale keeps its integer.

    Raises:
        UnsupportedError: as `quantise`.
    """
    if smoothing is not None:
        exponents = smoothing.astype(np.int32)
        integers = compensated(np.ldexp(w, exponents), np.ldexp(X, -exponents), precision, what)
        return np.ldexp(integers, -exponents)
    nearest = quantise(w, precision, what)
    rows, K = w.shape
    size = GROUP if precision == "int4" else K
    wide = nearest.scale.astype(np.float64).reshape(rows, -1)
    scale = np.repeat(wide, size, axis=1)[:, :K]
    starts = np.arange(0, K, size)
    limit = np.repeat(np.maximum.reduceat(np.abs(nearest.q), starts, axis=1), size, axis=1)[:, :K]
    held = np.abs(nearest.q) == limit

    X = X[np.isfinite(X).all(axis=1)].astype(np.float64)
    H = X.T @ X / max(len(X), 1)
    mean = np.trace(H) / K
    if not (np.isfinite(mean) and mean > 0):
        return nearest.values()
    H[np.diag_indices(K)] += (DAMPING + K / len(X)) * mean
    U = np.linalg.cholesky(np.linalg.inv(H)).T

    left, q = w.astype(np.float64), np.zeros((rows, K))
    for start in range(0, K, _BLOCK):
        stop = min(start + _BLOCK, K)
        errors = np.zeros((rows, stop - start))
        for k in range(start, stop):
            wanted = np.divide(left[:, k], scale[:, k], out=np.zeros(rows), where=scale[:, k] > 0)
            integer = np.clip(np.rint(wanted), -limit[:, k], limit[:, k])
            q[:, k] = np.where(held[:, k], nearest.q[:, k], integer)
            errors[:, k - start] = (left[:, k] - q[:, k] * scale[:, k]) / U[k, k]
            left[:, k + 1 : stop] -= np.outer(errors[:, k - start], U[k, k + 1 : stop])
        left[:, stop:] -= errors @ U[start:stop, stop:]
    return (q * scale).astype(np.float32)


def fitted(
    node: Node,
    precisions: Mapping[str, str],
    graph: Graph,
    sequences: Sequence[Arrays],
    smoothing: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """New weights for those of `precisions` that are integers and multiply frames that are known.

    A table multiplies nothing, and what a projection multiplies is seen nowhere: these stay rounded to the nearest.

    Args:
        node: a dense or recurrent layer.
        precisions: weight key -> precision.
        graph, sequences: the graph, and every value of it over time (`undertow.accuracy.layerwise.inner_values`), for
            each sequence, which starts afresh.
        smoothing: weight key -> exponents (K,) by which its columns are smoothed.
    """
    op, new_weights = OPS[node.op], {}
    for weight in op.weights:
        key = weight.key
        w, precision = node.weights.get(key), precisions.get(key, "float32")
        if w is None or not weight.multiplies or precision not in INTEGERS:
            continue
        what = f"{node.op} {node.name!r}: {key}"
        pairs = [_multiplied(node, graph, values, weight.multiplies == HIDDEN) for values in sequences]
        x, h = (np.concatenate([a.reshape(-1, a.shape[-1]) for a in side]) for side in zip(*pairs, strict=True))
        exponents = (smoothing or {}).get(key)
        parts = [
            compensated(w[part].reshape(-1, w.shape[-1]), vectors, precision, what, exponents).reshape(w[part].shape)
            for part, vectors in op.factors(node, key, x, h)
        ]
        new_weights[key] = np.concatenate(parts)
    return new_weights


def smoothed_for(node: Node, keys: Iterable[str], graph: Graph, sequences: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Exponents (K,) for those weights of a node that multiply its input and err less by them, by key.

    Hidden states need none (`undertow.passes.smoothing`), and what a projection multiplies is seen nowhere.

    Args:
        node: a dense or recurrent layer.
        keys: of the weights to look at.
        graph, sequences: as of `fitted`.
    """
    exponents = {}
    for weight in OPS[node.op].weights:
        if weight.key in keys and weight.multiplies == INPUT and weight.key in node.weights and sequences:
            frames = [_multiplied(node, graph, values, hidden=False)[0] for values in sequences]
            x = np.concatenate([a.reshape(-1, a.shape[-1]) for a in frames])
            chosen = choose.from_data(node.weights[weight.key], x)
            if chosen.any():
                exponents[weight.key] = chosen
    return exponents


def _multiplied(node: Node, graph: Graph, values: Arrays, hidden: bool) -> tuple[np.ndarray, np.ndarray]:
    """Frames, and the hidden states before them, of a sequence; twice the frames where no hidden state counts."""
    x = h = values[node.inputs[0]]
    if hidden:
        h = states_before(graph, node, _in_time(node, graph, values))[0]
        x = np.broadcast_to(x, (*h.shape[:-1], x.shape[-1]))
    return x, h


def _in_time(node: Node, graph: Graph, values: Arrays) -> Arrays:
    """The values of a node with a time axis, also those that are given once."""
    names = [*node.inputs, *node.outputs]
    return {name: values[name].reshape(-1, *graph.shape(name)) for name in names}
