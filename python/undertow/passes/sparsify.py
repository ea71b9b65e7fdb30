# SPDX-License-Identifier: MIT
"""Choose the matrices that a file stores in blocks: those that were pruned, where that is faster."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._progress import tell
from ..ir.graph import Graph, Node
from ..ir.ops import OPS, Layout
from ..ir.precision import MAX_COLUMNS, numbers
from ..tow.sparse import density_of

#: A matrix is stored in blocks when no more than this share of it is left, counted in what is stored, and when it has
#: at least so many rows and columns: then both a step and a run are faster. Time dense / sparse of a GRU whose W and R
#: are alike, shortest of 60 turns on an AMD EPYC with AVX-512 VNNI (`python -m bench sparse` repeats it at 0.33):
#:
#:     density           0.12  0.34  0.54  0.63  0.73      runs of 96 timesteps
#:     128 float32        3.3   1.8   1.3   1.2   1.0      2.8   1.4   1.0   0.9   0.8
#:     384 float32        6.2   2.5   1.7   1.4   1.3      4.5   1.9   1.2   1.0   0.9
#:     128 int8           1.8   1.2   1.0   1.0   0.9      1.8   1.3   1.0   0.9   0.9
#:     384 int8           3.6   2.1   1.4   1.2   1.1      3.0   1.7   1.1   1.0   0.9
#:
#: With 64 units and a density of 0.39 float32 has 1.4 and 1.05, int8 0.97 and 0.90. On AVX2 float32 is the same and
#: int8 gains more (384 units: 4.0  2.1  1.4  1.2  1.1 in both).
LIMITS = {"float32": 0.5, "int8": 0.5}
LEAST = {"float32": 64, "int8": 128}


def with_blocks(graph: Graph, sparse: str | bool = "auto") -> Graph:
    """A copy of a graph whose file stores pruned matrices of float32 and int8 in blocks.

    int8 gives the same bits either way; float32 sums in another order, which changes outputs by about 1e-7.

    Args:
        graph: stays as it is.
        sparse: "auto" for matrices that are faster in blocks (`LIMITS`, from measurements), and none that are not;
            True for all matrices of float32 and int8; False for none.

    Raises:
        ValueError: `sparse` is something else.
        UnsupportedError: True, and a matrix has too many columns.
    """
    if sparse not in ("auto", True, False):
        raise ValueError(f"sparse is {sparse!r}, expected 'auto', True or False")
    changed = graph.copy()
    for i, node in enumerate(changed.nodes):
        tell("looking for blocks of zeros", i, len(changed.nodes))
        node.precisions = in_blocks(node, node.precisions, sparse)
    return changed


def in_blocks(node: Node, precisions: Mapping[str, str], sparse: str | bool = "auto") -> dict[str, str]:
    """Weight key -> precision as `with_blocks` makes of these, where a node had them."""
    stored = dict(precisions)
    for key in (weight.key for weight in OPS[node.op].weights if weight.layout is Layout.MATRIX):
        plain = numbers(precisions.get(key, "float32"))
        if key not in node.weights or plain not in LIMITS:
            continue
        if _pays(node, key, plain) if sparse == "auto" else sparse:
            stored[key] = f"sparse {plain}"
        elif plain == "float32":
            stored.pop(key, None)
        else:
            stored[key] = plain
    return stored


def _pays(node: Node, key: str, precision: str) -> bool:
    W = node.weights[key]
    if min(W.shape[-2:]) < LEAST[precision] or W.shape[-1] > MAX_COLUMNS:
        return False
    if not np.isfinite(W).all():  # int8 refuses it, naming the weight
        return False
    return density_of(node, key, precision) <= LIMITS[precision]
