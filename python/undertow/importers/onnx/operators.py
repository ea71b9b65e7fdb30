# SPDX-License-Identifier: MIT
"""The functions of the rows of `traits`."""

from __future__ import annotations

from importlib import import_module

from .frames.context import Handler
from .traits import OPERATORS


def _function(handler: str) -> Handler:
    module, _, name = handler.partition(".")
    function: Handler = getattr(import_module(f".handlers.{module}", __package__), name)
    return function


#: operator type -> the function that computes it on frames
HANDLERS: dict[str, Handler] = {op.name: _function(op.handler) for op in OPERATORS.values() if op.handler}
