# SPDX-License-Identifier: MIT
"""Sizes and axes of windows, as a configuration says them."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError, UnsupportedError
from .builder import Builder, Tensor
from .config import MAX_WIDTH, Config, brief
from .tables import Layer


def sizes(config: Config, key: str, rank: int, default: Any = None, least: int = 1) -> tuple[int, ...]:
    """A number for each axis, given as one number or a list."""
    stated = config.get(key)
    stated = default if stated is None else stated
    values = [stated] * rank if type(stated) is int else stated
    if (
        not isinstance(values, (list, tuple))
        or len(values) != rank
        or not all(type(n) is int and least <= n <= MAX_WIDTH for n in values)
    ):
        raise FormatError(
            f"{config.where}: {key} must be {rank} whole numbers of at least {least}, got {brief(stated)}"
        )
    return tuple(values)


def check_axes(b: Builder, layer: Layer, x: Tensor) -> int:
    """How many axes a layer's window has; frames must have these (one of them time, where there is one) and channels
    behind them."""
    rank = layer.row.rank
    if len(b.graph.shape(x.value)) + (x.time and not x.rows) != rank + 1:
        raise UnsupportedError(
            f"{layer.where}: frames of shape {b.graph.shape(x.value)} are not supported here; expected {rank} "
            f"ax{'i' if rank == 1 else 'e'}s{' (the first of them time)' if x.time else ''} and channels"
        )
    return rank
