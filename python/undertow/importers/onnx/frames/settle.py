# SPDX-License-Identifier: MIT
"""Rows of frames that movement ops left, read as frames: the last one alone, all of them backwards or delayed, a
sequence behind a first frame of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import provenance
from .boundary import headed
from .builder import Builder
from .provenance import Mixed, Tensor


def settle(builder: Builder, tensor: Tensor) -> Tensor:
    """Recognise the last timestep, reversed and shifted time in what a movement op gave.

    Raises:
        Mixed: a single timestep that is neither, in a model that could otherwise be streamed.
    """
    if not builder.sequence or 0 in tensor.shape:
        return tensor
    try:
        layout, elements = tensor.split()
        times = layout.steps
    except Mixed:
        layout, times = None, tensor.steps
    low, high = int(times.min()), int(times.max())
    if high < 0:
        return tensor
    if low == high:
        return _one_step(builder, tensor, high)
    if low < 0 and (shifted := _shifted(builder, tensor)) is not None:
        return shifted
    if layout is None:
        with_head = headed(builder, tensor)
        return tensor if with_head is None else with_head  # which may yet be put right by another movement op
    axis = next((a for a in range(times.ndim) if (times != times.take([0], a)).any()), None)
    if axis is not None and times.shape[axis] == builder.n_steps:
        row = times.take(0, next(a for a in range(times.ndim) if a != axis)) if times.ndim > 1 else times
        if row.ndim == 1 and (row == np.arange(builder.n_steps)[::-1]).all():
            backwards = replace(layout, origin=np.flip(layout.origin, axis))
            return backwards.tensor(builder.derive("flip", elements), tensor.dtype)
    return tensor


def _one_step(builder: Builder, tensor: Tensor, step: int) -> Tensor:
    if step == builder.n_steps - 1:
        elements = builder.derive("last", tensor.elements)
    elif step == 0 and builder.graph.whole_sequence_nodes():
        elements = builder.derive("last", tensor.elements, reverse=True)
    else:
        raise Mixed(f"takes timestep {step} of {builder.n_steps} alone; only the last one can be told in a stream")
    return Tensor(provenance.encode(-1, tensor.items, elements), tensor.labels, tensor.dtype)


def _shifted(builder: Builder, tensor: Tensor) -> Tensor | None:
    """Frames with zeros in place of the first or the last ones, as many as timesteps: a window of one tap."""
    for axis in (a for a, n in enumerate(tensor.shape) if n == builder.n_steps):
        filled = np.flatnonzero(tensor.codes.any(axis=tuple(a for a in range(tensor.codes.ndim) if a != axis)))
        if not 0 < filled.size < builder.n_steps or (np.diff(filled) != 1).any():
            continue
        try:
            layout, frame = provenance.split(tensor.codes.take(filled, axis), tensor.labels)
        except Mixed:
            continue
        if axis not in layout.outer:
            continue
        times = np.moveaxis(layout.steps, layout.outer.index(axis), 0).reshape(filled.size, -1)
        tap = int(times[0, 0] - filled[0])
        ends = (filled[0], filled[-1]) == ((0, builder.n_steps - 1 - tap) if tap > 0 else (-tap, builder.n_steps - 1))
        if not tap or not ends or (times != filled[:, None] + tap).any() or builder.is_final(frame):
            continue
        window = builder.add("window", [builder.value(frame)], attrs={"taps": (tap,)})
        steps = np.arange(builder.n_steps).reshape([-1 if a == axis else 1 for a in range(tensor.codes.ndim)])
        shape = [1 if a in layout.outer else n for a, n in enumerate(tensor.shape)]
        items = tensor.items.take(filled[:1], axis)
        return Tensor(
            provenance.encode(steps, items, builder.elements(window).reshape(shape)), tensor.labels, tensor.dtype
        )
    return None


__all__ = ["settle"]
