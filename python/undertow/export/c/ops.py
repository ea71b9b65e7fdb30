# SPDX-License-Identifier: MIT
"""Every op and how it becomes C: one row each. An op without a row is refused by name."""

from __future__ import annotations

from ...ir.nodes import Node
from ...ir.ops import OPS
from . import attention, cells, elementwise, expressions, frames, moves, time
from .base import Export


class Refused(Export):
    """An op of whole sequences."""

    def refusal(self, node: Node) -> str:
        return super().refusal(node) or "it has no form in C"


_VIEW, _BINARY, _SOFTMAX = moves.View(), elementwise.Binary(), frames.Softmax()

EXPORTS: dict[str, Export] = {
    "dense": frames.Dense(),
    "activation": elementwise.Activate(),
    **{name: _BINARY for name, op in OPS.items() if op.kinds == (3,)},
    "affine": elementwise.Affine(),
    "softmax": _SOFTMAX,
    "log_softmax": _SOFTMAX,
    "layer_norm": frames.LayerNorm(),
    "concat": moves.Concat(),
    "select": moves.Select(),
    "reshape": _VIEW,
    "embedding": frames.Embedding(),
    "constant": frames.Constant(),
    "rnn": cells.Rnn(),
    "gru": cells.Gru(),
    "lstm": cells.Lstm(),
    "state_read": time.StateRead(),
    "state_write": time.StateWrite(),
    "last": _VIEW,
    "flip": Refused(),
    "depthwise": frames.Depthwise(),
    "reduce": frames.Reduce(),
    "matmul": frames.Matmul(),
    "where": elementwise.Where(),
    "window": time.Window(),
    "present": time.Present(),
    "expression": expressions.Expression(),
    "attend": attention.Attend(),
}


def of(node: Node) -> Export:
    """The row of a node's op."""
    return EXPORTS.get(node.op, Refused())
