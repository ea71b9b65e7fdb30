# SPDX-License-Identifier: MIT
"""From a Graph to the bytes of a .tow file."""

from __future__ import annotations

from . import tow
from .errors import ShapeError
from .ir import superframes
from .ir.graph import Graph
from .ir.ops import OPS
from .passes.latency import lower
from .passes.unused import prune


def compile_graph(graph: Graph) -> bytes:
    """Give the .tow bytes of a graph.

    Raises:
        ShapeError: the graph has no input or no output, or no file can say how many timesteps its frames hold.
        UnsupportedError: it mixes state registers, which go frame by frame, with whole-sequence layers; a loop over a
            state looks ahead; or weights do not fit their precision.
    """
    if not graph.inputs or not graph.outputs:
        raise ShapeError(
            f"graph {graph.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "it needs one of each"
        )
    if said := superframes.wrong(graph):
        raise ShapeError(f"graph {graph.name!r}: {said}")
    graph = prune(graph)
    for node in graph.nodes:
        OPS[node.op].check_precisions(node)
    graph.check_registers()
    return tow.write(prune(lower(graph)))
