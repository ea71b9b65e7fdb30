# SPDX-License-Identifier: MIT
"""The catalogue of ops. A class holds all that is true of one: what it takes, gives and requires of its weights, how
a file stores it, what it computes in float64, how it is shown, and what passes may count on. `base.Op` has the terms.

* `elementwise`: activation; add sub mul div max min; greater less equal greater_equal less_equal; where; affine
* `moves`: concat select reshape
* `frames`: dense depthwise matmul; reduce softmax log_softmax layer_norm; embedding constant
* `cells`: rnn gru lstm
* `expressions`: expression
* `attention`: attend
* `time`: state_read state_write; window present; and, legal in `Model.run` only, last (of a sequence) flip

Frame ops look at one frame at a time. Ops of time remember; the states of a cell come first in `Node.states`.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import attention, cells, elementwise, expressions, frames, moves, time
from .base import HIDDEN, INPUT, Frames, Layout, Op, Span, Weight
from .cells import Cell
from .time import MAX_TAP

_ROOMS = (elementwise, moves, frames, cells, expressions, attention, time)
OPS: dict[str, Op] = {op.name: op for room in _ROOMS for op in room.OPS}


def of_kind(kind: int, params: Sequence[int]) -> Op:
    """The op that a .tow file means by a number and its parameters."""
    family = _FAMILIES[kind]
    return family[params[0] if len(family) > 1 else 0]


_FAMILIES: dict[int, list[Op]] = {}
for _op in OPS.values():
    for _kind in _op.kinds:
        _FAMILIES.setdefault(_kind, []).append(_op)

__all__ = ["HIDDEN", "INPUT", "MAX_TAP", "OPS", "Cell", "Frames", "Layout", "Op", "Span", "Weight", "of_kind"]
