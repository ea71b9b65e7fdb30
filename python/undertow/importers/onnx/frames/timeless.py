# SPDX-License-Identifier: MIT
"""What has no timestep, beside what has: as if of each timestep."""

from __future__ import annotations

from typing import Any

from . import provenance
from .builder import Builder
from .provenance import Mixed, Tensor


def at_every_step(builder: Builder, operands: list[Any], like: Tensor, axis: int) -> list[Any]:
    """What is the same at all timesteps, spread along them by the file, joined along `axis` to what is not: as if of
    each timestep; others as they are.
    """
    try:
        layout, _ = provenance.split(like.codes, like.labels)
    except Mixed:
        return operands
    steps = like.steps
    at = [a for a in layout.outer if (steps != steps.take([0], a)).any()]
    if not builder.sequence or not at or axis % len(like.shape) in layout.outer:
        return operands
    steps = steps.take([0], axis)

    def spread(tensor: Tensor) -> Tensor:
        if not (tensor.steps < 0).all() or builder.is_final(tensor.elements) or len(tensor.shape) != len(like.shape):
            return tensor
        if any(tensor.shape[a] != like.shape[a] or (tensor.codes != tensor.codes.take([0], a)).any() for a in at):
            return tensor
        return Tensor(provenance.encode(steps, tensor.items, tensor.elements), tensor.labels, tensor.dtype)

    return [spread(o) if isinstance(o, Tensor) else o for o in operands]


__all__ = ["at_every_step"]
