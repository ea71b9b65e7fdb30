# SPDX-License-Identifier: MIT
"""Which function imports which ONNX operator. Ops that only move elements are in `fold.MOVEMENT` and need none."""

from __future__ import annotations

from . import (
    choice,
    convolution,
    elementwise,
    frame_ops,
    logic,
    loops,
    matrix,
    pooling,
    powers,
    quantized,
    recurrent,
    reduce,
    transposed,
)
from .fold import FOLDABLE, MOVEMENT
from .walk import Handler

HANDLERS: dict[str, Handler] = {
    **elementwise.HANDLERS,
    **powers.HANDLERS,
    **logic.HANDLERS,
    **matrix.HANDLERS,
    **reduce.HANDLERS,
    **choice.HANDLERS,
    **frame_ops.HANDLERS,
    **convolution.HANDLERS,
    **transposed.HANDLERS,
    **pooling.HANDLERS,
    **quantized.HANDLERS,
    **recurrent.HANDLERS,
    **loops.HANDLERS,
}

#: computed while loading, refused when their inputs are frames
FOLDED_ONLY = FOLDABLE - MOVEMENT - set(HANDLERS)
#: computed at run time, or nothing to compute because they only move elements
COMPUTED = frozenset(HANDLERS) | MOVEMENT
