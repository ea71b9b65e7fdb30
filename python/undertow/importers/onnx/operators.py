# SPDX-License-Identifier: MIT
"""The functions of the rows of `traits`."""

from __future__ import annotations

from types import ModuleType

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
from .traits import OPERATORS

_MODULES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
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
}


def _function(handler: str) -> Handler:
    module, _, name = handler.partition(".")
    found: Handler = getattr(_MODULES[module], name)
    return found


#: operator type -> the function that computes it on frames
HANDLERS: dict[str, Handler] = {op.name: _function(op.handler) for op in OPERATORS.values() if op.handler}
