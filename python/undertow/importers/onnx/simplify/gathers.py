# SPDX-License-Identifier: MIT
"""GatherND, GatherElements, ScatterND, ScatterElements and ReverseSequence on known arrays.

onnx's evaluator walks their indices one by one, wraps some that lie outside, and takes others from the wrong row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode

OPS = frozenset(["GatherElements", "GatherND", "ReverseSequence", "ScatterElements", "ScatterND"])


def run(node: OnnxNode, arrays: list[Any]) -> np.ndarray:
    """The output for known inputs.

    Raises:
        ShapeError: shapes that do not fit together, or an index outside of the data.
    """
    n_inputs = 3 if node.op.startswith("Scatter") else 2
    if len(arrays) != n_inputs or any(a is None for a in arrays):
        node.format_error(f"has inputs {node.inputs}, expected {n_inputs}")
    data, indices, *updates = arrays
    if indices.dtype.kind != "i":
        node.format_error(f"its indices have dtype {indices.dtype}, expected int64")
    if node.op == "ReverseSequence":
        return _backwards(node, data, indices)
    place = _places(node, data, indices) if node.op.endswith("ND") else _along(node, data, indices)
    if not updates:
        return np.asarray(data[place])
    (values,) = updates
    rest = data.shape[indices.shape[-1] :] if node.op == "ScatterND" else indices.shape[-1:]
    expected = (*indices.shape[:-1], *rest)
    if values.shape != expected:
        node.shape_error(f"its updates have shape {values.shape}, expected {expected}")
    if node.attrs.get("reduction", "none") != "none":
        node.unsupported(f"attribute reduction={node.attrs['reduction']!r} is not supported, expected none")
    result = data.copy()
    result[place] = values
    return result


def _backwards(node: OnnxNode, data: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Of each item, as many rows as it has, from the last to the first; those behind them stay."""
    time, batch = int(node.attrs.get("time_axis", 0)), int(node.attrs.get("batch_axis", 1))
    if {time, batch} != {0, 1}:
        node.format_error(f"attributes time_axis={time} and batch_axis={batch} are not 0 and 1")
    if data.ndim < 2 or lengths.shape != (data.shape[batch],):
        node.shape_error(f"its data has shape {data.shape}, its lengths {lengths.shape}, one for each of the batch")
    n = data.shape[time]
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= n:
        node.shape_error(f"a length lies outside of 0 to {n}, the rows of its data")
    steps = np.arange(n)[:, None]
    rows = np.where(steps < lengths, lengths - 1 - steps, steps)
    rows = (rows if time == 0 else rows.T).reshape(*data.shape[:2], *[1] * (data.ndim - 2))
    return np.take_along_axis(data, rows, time)


def _along(node: OnnxNode, data: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    axis = int(node.attrs.get("axis", 0))
    if data.ndim != indices.ndim or not -data.ndim <= axis < data.ndim:
        node.shape_error(f"its data has shape {data.shape}, its indices {indices.shape}, with axis={axis}")
    axis %= data.ndim
    if any(m > n for a, (m, n) in enumerate(zip(indices.shape, data.shape, strict=True)) if a != axis):
        node.shape_error(f"its indices of shape {indices.shape} do not fit into data of shape {data.shape}")
    place: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    place[axis] = _inside(node, indices, data.shape[axis])
    return tuple(place)


def _places(node: OnnxNode, data: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    n_batch = int(node.attrs.get("batch_dims", 0))
    depth = indices.shape[-1] if indices.ndim else 0
    if (
        not 0 <= n_batch < max(indices.ndim, 1)
        or indices.shape[:n_batch] != data.shape[:n_batch]
        or not 1 <= depth <= data.ndim - n_batch
    ):
        shapes = f"its data has shape {data.shape}, its indices {indices.shape}"
        node.shape_error(f"{shapes}, which do not fit together (batch_dims={n_batch})")
    batch = np.indices(indices.shape[:-1], sparse=True)[:n_batch]
    return (*batch, *(_inside(node, indices[..., i], data.shape[n_batch + i]) for i in range(depth)))


def _inside(node: OnnxNode, indices: np.ndarray, size: int) -> np.ndarray:
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        node.shape_error(f"an index lies outside of an axis of {size} elements")
    return indices
