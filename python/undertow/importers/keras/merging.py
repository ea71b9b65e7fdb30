# SPDX-License-Identifier: MIT
"""Layers of Keras that make one tensor of several."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ...errors import FormatError, UnsupportedError
from .. import _blocks as blocks
from .builder import Builder, Tensor
from .config import Config, brief
from .tables import Layer
from .weights import Weights


def arithmetic(b: Builder, layer: Layer, config: Config, inputs: list[Tensor], weights: Weights) -> Tensor:
    """Add and its kin, element by element."""
    config.finish()
    inputs = _with_numbers(b, layer, inputs)
    inputs = inputs if layer.is_operation else _in_time(inputs)
    shapes = _shapes(b, layer, inputs, any_rank=not layer.is_operation)
    lengths = {t.length for t in inputs}
    if 1 in lengths and len(lengths) > 1:
        raise UnsupportedError(f"{layer.where}: an input of a single timestep meets all of another; not supported")
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise FormatError(f"{layer.where}: frames of shapes {shapes} do not fit together") from None
    blocks.check_frame(layer.where, prod(shape))
    values = [
        t.value
        if s == shape
        else blocks.rearrange(b.graph, t.value, np.broadcast_to(blocks.positions(s), shape), f"{layer.name}_in{i}")
        for i, (t, s) in enumerate(zip(inputs, shapes, strict=True))
    ]
    y = values[0]
    for i, value in enumerate(values[1:]):
        name = layer.name if i == len(values) - 2 else f"{layer.name}_part{i}"
        y = b.graph.add(layer.row.of, [y, value], name=name)
    return inputs[0].like(y)


def average(b: Builder, layer: Layer, config: Config, inputs: list[Tensor], weights: Weights) -> Tensor:
    total = arithmetic(b, layer, config, inputs, weights)
    return total.like(blocks.scale_shift(b.graph, total.value, f"{layer.name}_mean", 1.0 / len(inputs), 0.0))


def concatenate(b: Builder, layer: Layer, config: Config, inputs: list[Tensor], weights: Weights) -> Tensor:
    axis = config.required("axis") if layer.is_operation else config.get("axis", -1)
    config.finish()
    shapes = _shapes(b, layer, inputs)
    lead = 2 if inputs[0].time else 1
    rank = len(shapes[0]) + lead
    if type(axis) is not int or not -rank <= axis < rank:
        raise FormatError(f"{layer.where}: axis must be a whole number from {-rank} to {rank - 1}, got {brief(axis)}")
    inner = axis % rank - lead
    if inner < 0 or (inner == 0 and inputs[0].rows):
        raise UnsupportedError(
            f"{layer.where}: axis = {axis} joins {'timesteps' if axis % rank == 1 else 'batches'}, "
            "which is not supported"
        )
    blocks.check_frame(layer.where, sum(map(prod, shapes)))
    y = b.graph.add("concat", [t.value for t in inputs], name=layer.name)
    starts = np.cumsum([0, *map(prod, shapes)])
    try:
        order = np.concatenate(
            [start + blocks.positions(s) for start, s in zip(starts[:-1], shapes, strict=True)], axis=inner
        )
    except ValueError:
        raise FormatError(f"{layer.where}: frames of shapes {shapes} do not fit together on axis {axis}") from None
    return inputs[0].like(blocks.rearrange(b.graph, y, order, f"{layer.name}_order"))


def _with_numbers(b: Builder, layer: Layer, inputs: list[Tensor]) -> list[Tensor]:
    """Numbers that an operation is called with as constants, of the frames that they meet."""
    tensor = next((t for t in inputs if t.number is None), None)
    if tensor is None:
        raise FormatError(f"{layer.where}: called with numbers alone, expected a tensor of the model")
    shape = b.graph.shape(tensor.value)
    blocks.check_frame(layer.where, prod(shape))

    def constant(number: float) -> Tensor:
        weights = {"value": np.full(shape, number, np.float32)}
        return tensor.like(b.graph.add("constant", [], name=f"{layer.name}_number", weights=weights))

    return [t if t.number is None else constant(t.number) for t in inputs]


def _in_time(inputs: list[Tensor]) -> list[Tensor]:
    """What is the same at every timestep goes with each of another input: a layer puts the axes that a tensor lacks
    behind the batch.
    """
    timed = next((t for t in inputs if t.time), None)
    if timed is None:
        return inputs
    along = {"time": True, "length": timed.length, "late": timed.late}
    return [replace(t, **along) if t.static and not t.time else t for t in inputs]  # type: ignore[arg-type]


def _shapes(b: Builder, layer: Layer, inputs: list[Tensor], any_rank: bool = False) -> list[tuple[int, ...]]:
    """The shapes of frames that belong to the same timesteps, and have as many axes unless they may have any.

    Raises:
        FormatError: too few of them.
        UnsupportedError: they have no common clock.
    """
    if len(inputs) < 2:
        raise FormatError(f"{layer.where}: takes at least 2 inputs, got {len(inputs)}")
    shapes = [b.graph.shape(t.value) for t in inputs]
    if len({t.time for t in inputs}) > 1 or (not any_rank and len({len(s) for s in shapes}) > 1):
        raise UnsupportedError(
            f"{layer.where}: its inputs differ in their axes (frames {shapes}, time {[t.time for t in inputs]})"
        )
    lengths = [t.length for t in inputs if t.length is not None]
    if len(set(lengths)) > 1:
        raise UnsupportedError(f"{layer.where}: its inputs have different numbers of timesteps: {lengths}")
    if len({t.rows for t in inputs}) > 1:
        raise UnsupportedError(
            f"{layer.where}: its inputs have {[t.rows for t in inputs]} timesteps in a frame; expected the same number"
        )
    if len({t.late for t in inputs}) > 1:
        raise UnsupportedError(
            f"{layer.where}: of its inputs the first {[t.late for t in inputs]} frames are missing, so they differ in "
            "length; expected the same number"
        )
    return shapes
