# SPDX-License-Identifier: MIT
"""Which function imports which ONNX operator. Ops that only move elements are in `fold.MOVEMENT` and need none."""

from __future__ import annotations

from . import elementwise, frame_ops, loops, recurrent
from .walk import Handler

HANDLERS: dict[str, Handler] = {
    **elementwise.HANDLERS,
    **frame_ops.HANDLERS,
    **recurrent.HANDLERS,
    **loops.HANDLERS,
}
