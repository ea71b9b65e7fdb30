# SPDX-License-Identifier: MIT
"""Which function imports which ONNX operator. Ops that only move elements are in `fold.MOVEMENT` and need none."""

from __future__ import annotations

from .frames.context import Handler
from .handlers import (
    argmax,
    control_flow,
    conv_transpose,
    convolution,
    cumulative,
    elementwise,
    logic,
    matrix,
    normalise,
    pooling,
    powers,
    quantized,
    recurrent,
    reduce,
)
from .simplify.fold import FOLDABLE, MOVEMENT

HANDLERS: dict[str, Handler] = {
    **elementwise.HANDLERS,
    **powers.HANDLERS,
    **logic.HANDLERS,
    **matrix.HANDLERS,
    **reduce.HANDLERS,
    **cumulative.HANDLERS,
    **argmax.HANDLERS,
    **normalise.HANDLERS,
    **convolution.HANDLERS,
    **conv_transpose.HANDLERS,
    **pooling.HANDLERS,
    **quantized.HANDLERS,
    **recurrent.HANDLERS,
    **control_flow.HANDLERS,
}

#: computed while loading, refused when their inputs are frames
FOLDED_ONLY = FOLDABLE - MOVEMENT - set(HANDLERS)
#: computed at run time, or nothing to compute because they only move elements
COMPUTED = frozenset(HANDLERS) | MOVEMENT
