# SPDX-License-Identifier: MIT
"""Bytes that weights take in a file."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.graph import Node
from ..ir.ops import OPS
from ..ir.precision import SMOOTHED
from .packing import LAYOUTS


def weight_bytes(node: Node, precisions: Mapping[str, str] | None = None) -> int:
    """Bytes of a node's weights in a file, padding of rows included; in its own precisions where none are given."""
    precisions = node.precisions if precisions is None else precisions
    op = OPS[node.op]
    return sum(
        LAYOUTS[weight.layout].n_bytes(
            array, name := precisions.get(weight.key, "float32"), weight.key in node.smoothing and name in SMOOTHED
        )
        for weight, array in zip(op.stored, op.split(node), strict=True)
        if array is not None
    )
