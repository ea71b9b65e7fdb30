# SPDX-License-Identifier: MIT
"""What ops that only move elements do with their operands: which of them move, and where labelled axes go."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..simplify.fold import Evaluator
from ..traits import EVERY, traits
from .provenance import Tensor, Uncut


def data_slots(node: OnnxNode) -> tuple[int, ...]:
    """Slots whose elements move."""
    moves = traits(node.op).moves or ()
    return tuple(range(len(node.inputs))) if moves is EVERY else moves


def labels_after(node: OnnxNode, operands: list[Any], data: Tensor, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Where the labelled axes of size 1 have gone: exact for ops on axes, the same leading places for a reshape."""
    labels, rank = list(data.labels), len(data.shape)
    axes = node.attrs.get(
        "axes",
        operands[1].tolist()
        if node.op in ("Squeeze", "Unsqueeze") and len(operands) > 1 and operands[1] is not None
        else None,
    )
    if node.op == "Transpose":
        labels = [labels[a] for a in node.attrs.get("perm", range(rank)[::-1])]
    elif node.op == "Squeeze":
        gone = {a % rank for a in axes} if axes is not None else {a for a in range(rank) if data.shape[a] == 1}
        labels = [label for a, label in enumerate(labels) if a not in gone]
    elif node.op == "Unsqueeze":
        new, old = {a % len(shape) for a in axes or ()}, iter(labels)
        labels = ["" if a in new else next(old) for a in range(len(shape))]
    elif node.op == "Gather" and isinstance(operands[1], np.ndarray):
        axis = int(node.attrs.get("axis", 0)) % rank
        labels[axis : axis + 1] = [labels[axis]] if operands[1].ndim == 1 else [""] * operands[1].ndim
    labels = (labels + [""] * len(shape))[: len(shape)]
    return tuple(label if n == 1 else "" for label, n in zip(labels, shape, strict=True))


def cut(evaluator: Evaluator, node: OnnxNode, operands: list[Any]) -> Tensor | None:
    """A slice that leaves out rows at the ends of a tensor which is made of fewer instead, where it is that."""
    data = operands[0]
    if not isinstance(data, Uncut) or data.cut is None:
        return None
    n = data.shape[data.axis]
    rows = np.arange(n).reshape([n if a == data.axis else 1 for a in range(len(data.shape))])
    (kept,) = evaluator.run(node, [np.broadcast_to(rows, data.shape), *operands[1:]])
    others = [(m, k) for a, (m, k) in enumerate(zip(data.shape, kept.shape, strict=True)) if a != data.axis]
    if kept.size == 0 or any(m != k for m, k in others):
        return None
    row = np.moveaxis(kept, data.axis, 0).reshape(kept.shape[data.axis], -1)[:, 0]
    return data.cut(int(row[0]), n - 1 - int(row[-1])) if (np.diff(row) == 1).all() else None


__all__ = ["cut", "data_slots", "labels_after"]
