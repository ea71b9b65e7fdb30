# SPDX-License-Identifier: MIT
"""Which precisions of a layer's weights make a step fastest: a model of the time, not a measurement.

A choice that hangs on a stopwatch would be another one on every run and on every machine, and so would the file. So
times are computed, from shapes alone, with figures that were measured once (AMD Zen 4, AVX-512 VNNI, one core, least of
25 turns: chains of square dense layers, LSTM and GRU of 20 to 128 units; `python -m bench choices` says what the choice
costs where the model of the time is wrong). Other CPUs have other figures, but hardly another order (on an Intel
Sapphire Rapids all were two thirds of these, within a fifth, but for int4, which stands between the two), and only the
order counts here.

A weight multiplies one frame in a step, or many, as that of a layer inside a frame does. The first frame finds the
weights in the second-level cache and waits for them; for the others they are at hand. Where frames are rounded first,
that has a price of its own: a tiny layer is fastest in float32. The weights of a recurrent layer are priced together:
in float32 the state stays in one kernel, and a plain LSTM or GRU has one where W and R both are int8, or both int16
(csrc/ops/recurrent.cpp); any other pair takes two and what lies between. And what does not fit the cache, with all of
the model in this precision, comes from further away, byte by byte: there, and in a table, float16 gains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..ir.graph import Graph, Node
from ..ir.ops import OPS, Cell, Layout
from ..tow.packing import LAYOUTS, PANEL, panels

#: bytes of weights that are near: in the second-level cache, or a third-level one that is fast
NEAR = 2 << 20
#: picoseconds to fetch a byte that lies further away
_FAR_BYTE = 14.0
#: picoseconds that a recurrent layer takes longer whose weights are not taken in one kernel: 20,000 to 95,000
_APART = 50_000.0
#: for a multiply-add of a plain layer in one kernel: in float32, chains of W x and R h stand side by side; of at most
#: `_TINY_UNITS` units, weights are nearer
_JOINT = {"float32": 35.0}
_TINY_JOINT = {"float32": 29.0, "int16": 15.0}
_TINY_UNITS = 32
#: picoseconds that a tiny layer takes longer in less: a model of such layers has steps of its own (`ut_model::small`)
_LEFT = 12_000.0
#: for the update of a unit
_UPDATE = 1_500.0
#: picoseconds of a step from Python besides those of its weights, at least
STEP = 120_000.0
#: for a multiply-add of a filter, in float32 and in int16: frames are rounded for it alone
_FILTER, _FILTER_ROUNDED = 31.0, 115.0


@dataclass(frozen=True)
class Work:
    """Picoseconds that a precision takes.

    Attributes:
        first: for a multiply-add of the first frame of a step; again: of the others.
        frame, frame_again: besides, for a frame: to round it, most of all. column: for each number of the first.
    """

    first: float
    again: float
    frame: float = 0.0
    frame_again: float = 0.0
    column: float = 0.0


WORK = {
    "float32": Work(43.0, 18.7),
    "float16": Work(43.0, 20.3, 8_000.0),
    "bfloat16": Work(43.0, 20.3, 8_000.0),
    "int16": Work(20.5, 11.0, 28_000.0, 9_000.0, 100.0),
    "int8": Work(10.0, 5.8, 28_000.0, 9_000.0, 100.0),
    "int4": Work(14.0, 10.0, 28_000.0, 18_000.0, 100.0),
}


def layer_ps(graph: Graph, node: Node, precisions: Mapping[str, str], model_bytes: Mapping[str, int]) -> float:
    """Picoseconds that some weights of a layer take of a step.

    Args:
        precisions: weight key -> one of `WORK`; of a recurrent layer all weights that have a precision.
        model_bytes: precision -> bytes of all weights of the model in it.
    """
    op = OPS[node.op]
    n_frames = prod(graph.shape(node.inputs[0])[:-1])
    ps, joint = _around(graph, node, precisions, n_frames)
    for weight, array in zip(op.stored, op.split(node), strict=True):
        if weight.key not in precisions or array is None or weight.layout is Layout.TABLE:
            continue  # of which a step reads a row
        precision = precisions[weight.key]
        work = WORK[precision]
        if weight.layout is Layout.FILTERS:
            ps += n_frames * array.size * (_FILTER if precision == "float32" else _FILTER_ROUNDED)
            continue
        G, rows, K = (1, *array.shape)[-3:]
        multiply_adds = G * panels(rows) * PANEL * K
        first = joint.get(precision, work.first)
        ps += multiply_adds * first + work.frame + work.column * K
        ps += (n_frames - 1) * (multiply_adds * work.again + work.frame_again)
        if model_bytes[precision] > NEAR:
            ps += _FAR_BYTE * LAYOUTS[weight.layout].n_bytes(array, precision, False)
    return ps


def _around(
    graph: Graph, node: Node, precisions: Mapping[str, str], n_frames: int
) -> tuple[float, Mapping[str, float]]:
    """Picoseconds that a layer takes besides its products, and precision -> those of a multiply-add in one kernel."""
    op, used = OPS[node.op], {*precisions.values()}
    n_units = graph.shape(node.outputs[0])[-1]
    if not isinstance(op, Cell):
        return (_LEFT if n_units <= PANEL and n_frames == 1 and used != {"float32"} else 0.0), {}
    plain = n_frames == 1 and op.is_plain(node)
    tiny = plain and n_units <= _TINY_UNITS
    ps = n_frames * n_units * _UPDATE + (_LEFT if tiny and used != {"float32"} else 0.0)
    if plain and len(used) == 1 and used <= {"float32", *op.in_one}:
        return ps, _TINY_JOINT if tiny else _JOINT
    return ps + (0.0 if used == {"float32"} else _APART), {}


__all__ = ["NEAR", "STEP", "WORK", "Work", "layer_ps"]
