# SPDX-License-Identifier: MIT
"""Which precision of a weight makes a step fastest: a model of the time, not a measurement.

A choice that hangs on a stopwatch would be another one on every run and on every machine, and so would the file. So
times are computed, from shapes alone, with figures that were measured once (Intel Sapphire Rapids, AVX-512 VNNI, one
core, `python -m bench choices`, which also says what the choice costs where the model of the time is wrong). Other
CPUs have other figures, but hardly another order, and only the order counts here.

A weight multiplies one frame in a step, or many, as that of a layer inside a frame does. The first frame finds the
weights in the second-level cache and waits for them; for the others they are at hand. Where frames are rounded first,
that has a price of its own, and so has the second kernel of a recurrent layer that is not float32 throughout: a tiny
layer is fastest in float32. And what does not fit the cache, with all of the model in this precision, comes from
further away, byte by byte: there, and in a table, float16 gains what its conversion costs elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..ir.graph import Graph, Node
from ..ir.ops import HIDDEN, OPS, Layout
from ..tow.packing import LAYOUTS, PANEL, panels

#: bytes of weights that are near: in the second-level cache, or a third-level one that is fast
NEAR = 2 << 20
#: picoseconds to fetch a byte that lies further away
_FAR_BYTE = 14.0
#: picoseconds that a recurrent layer takes longer for each of its two weights that is not float32
_APART = 20_000.0
#: for a multiply-add of a filter, in float32 and in int16: frames are rounded for it alone
_FILTER, _FILTER_ROUNDED = 31.0, 115.0


@dataclass(frozen=True)
class Work:
    """Picoseconds that a precision takes.

    Attributes:
        first: for a multiply-add of the first frame of a step; again: of the others.
        frame, frame_again: to round a frame; column: for each number of it. ragged: where those fill no last panel.
    """

    first: float
    again: float
    frame: float = 0.0
    frame_again: float = 0.0
    column: float = 0.0
    ragged: float = 0.0


_ROUNDED = {"frame": 18_000.0, "frame_again": 8_000.0, "column": 130.0, "ragged": 13_000.0}
WORK = {
    "float32": Work(27.5, 12.0),
    "float16": Work(30.0, 13.5),
    "bfloat16": Work(30.0, 13.5),
    "int16": Work(11.0, 7.4, **_ROUNDED),
    "int8": Work(6.5, 4.5, **_ROUNDED),
    "int4": Work(10.8, 7.6, **_ROUNDED),
}


def step_ps(graph: Graph, node: Node, key: str, precision: str, model_bytes: int) -> float:
    """Picoseconds that a weight takes of a step.

    Args:
        key: of the weight, one that has a precision.
        precision: one of `WORK`.
        model_bytes: of all weights of the model in this precision.
    """
    work, op = WORK[precision], OPS[node.op]
    n_frames = prod(graph.shape(node.inputs[0])[:-1])
    recurrent = any(weight.multiplies == HIDDEN for weight in op.weights)
    ps = _APART if recurrent and precision != "float32" else 0.0
    for weight, array in zip(op.stored, op.split(node), strict=True):
        if weight.key != key or array is None or weight.layout is Layout.TABLE:
            continue  # of which a step reads a row
        if weight.layout is Layout.FILTERS:
            ps += n_frames * array.size * (_FILTER if precision == "float32" else _FILTER_ROUNDED)
            continue
        G, rows, K = (1, *array.shape)[-3:]
        multiply_adds = G * panels(rows) * PANEL * K
        ragged = work.ragged * (K % PANEL != 0)
        ps += multiply_adds * work.first + work.frame + work.column * K + ragged
        ps += (n_frames - 1) * (multiply_adds * work.again + work.frame_again + work.column * K + ragged)
        if model_bytes > NEAR:
            ps += _FAR_BYTE * LAYOUTS[weight.layout].n_bytes(array, precision, False)
    return ps


__all__ = ["NEAR", "WORK", "Work", "step_ps"]
