# SPDX-License-Identifier: MIT
"""Bytes that weights take in a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir import precision, runs
from ..ir.graph import Node
from ..ir.ops import OPS
from . import codec, packing, sparse


def weight_bytes(node: Node, precisions: Mapping[str, str] | None = None) -> int:
    """Bytes of a node's weights in a file, padding of rows included; in its own precisions where none are given."""
    precisions = node.precisions if precisions is None else precisions
    total = 0
    for key, w in node.weights.items():
        if key == "table":
            total += packing.table_bytes(len(w), w.shape[1], precisions.get(key, "float32"))
        elif key in OPS[node.op].reducible:
            gates, rows, columns = w.reshape(-1, *w.shape[-2:]).shape
            parts = (2, 1) if node.op == "gru" and key == "R" and not node.attrs["reset_after"] else (gates,)
            name = precisions.get(key, "float32")
            if name in precision.SPARSE_CODES:
                pieces = np.split(w.reshape(gates, rows, columns), np.cumsum(parts)[:-1])
                total += sum(sparse.tensor_bytes(piece, name) for piece in pieces)
            else:
                total += sum(packing.matrix_bytes(G, rows, columns, name) for G in parts)
        elif node.op in codec.CELLS or (node.op == "depthwise" and key == "W"):
            rows = 3 if key == "rb_n" else len(w)
            total += 4 * rows * packing.PANEL * packing.panels(w.shape[-1])
        else:
            n = runs.WORDS * len(runs.find(w, node.attrs["sizes"])) if key == "indices" else w.size
            total += 4 * packing.PANEL * packing.panels(n)
    return total
