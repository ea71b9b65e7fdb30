# SPDX-License-Identifier: MIT
"""Layers of Keras that look at one frame at a time."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedError
from ...ir.activations import IDENTITY, Activation
from .. import _blocks as blocks
from .builder import Builder, Tensor, activate
from .config import Config, activation_layer, brief
from .grids import GRIDS
from .tables import MERGES, NOTHING_TO_DO, Layer, flatten
from .weights import Weights

#: layers that a TimeDistributed inside one frame leaves as they are: they treat every row alike
ROW_BY_ROW = {"Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "LayerNormalization", "Rescaling", *NOTHING_TO_DO}
#: layers that treat all timesteps alike, whatever the axes of one
TIMESTEPS_ALIKE = {
    *ROW_BY_ROW,
    *MERGES,
    "BatchNormalization",
    "BatchNormalizationV1",
    "Embedding",
    "Normalization",
    "PReLU",
    "Permute",
    "Reshape",
    "Softmax",
    "ThresholdedReLU",
}
ACTIVATION_LAYERS = {"Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Softmax"}


def convert(b: Builder, layer: Layer, inputs: list[Tensor], weights: Weights) -> Tensor:
    """Add one call of a frame layer.

    Raises:
        UnsupportedError: the class, or one of its settings, has no exact counterpart here.
    """
    if layer.cls in MERGES:
        return _merge(b, layer, inputs)
    (x,) = b.exactly(layer, inputs, 1)
    config = b.config(layer)
    if layer.cls in NOTHING_TO_DO:
        return x
    if layer.cls in ACTIVATION_LAYERS:
        found = activation_layer(layer.cls, config)
        if layer.cls == "Softmax":
            _last_axis(b, config, x, config.get("axis", -1))
        config.finish()
        return activate(b, layer, x, found)
    if layer.cls in GRIDS:
        return GRIDS[layer.cls](b, layer, config, x, weights)
    if layer.cls not in LAYERS:
        supported = sorted(
            {*LAYERS, *GRIDS, *NOTHING_TO_DO, *MERGES, *ACTIVATION_LAYERS}
            | {"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "TimeDistributed"}
        )
        raise UnsupportedError(f"{layer.where}: this layer is not supported; supported: {', '.join(supported)}")
    y = LAYERS[layer.cls](b, layer, config, x, weights)
    config.finish()
    return y


# -- one function per class -----------------------------------------------------------------------------------------


def _dense(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    units, act = config.count("units"), config.activation()
    config.skip("input_dim")
    shape = b.graph.shape(x.value)
    if not shape:
        raise UnsupportedError(f"{layer.where}: it would mix timesteps; expected frames with an axis of features")
    spec = [("kernel", (shape[-1], units)), *([("bias", (units,))] if config.flag("use_bias", True) else [])]
    config.finish()
    kernel, *bias = weights.take(layer.where, spec)
    fused = act if isinstance(act, Activation) else IDENTITY
    named = {"W": kernel.T, **({"b": bias[0]} if bias else {})}
    value = b.graph.add("dense", [x.value], name=layer.name, attrs={"activation": fused}, weights=named)
    return x.like(value) if isinstance(act, Activation) else activate(b, layer, x.like(value), act)


def _embedding(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    n_ids, width = config.count("input_dim"), config.count("output_dim")
    config.skip("input_length")
    if config.flag("mask_zero"):
        _mask(b, f"{layer.where}: mask_zero = True")
    if b.graph.values[x.value].dtype != "int32":
        raise UnsupportedError(f"{layer.where}: its ids are computed by another layer; expected an input of the model")
    config.finish()
    (table,) = weights.take(layer.where, [("embeddings", (n_ids, width))])
    blocks.check_frame(layer.where, b.graph.values[x.value].size * width)
    return x.like(b.graph.add("embedding", [x.value], name=layer.name, weights={"table": table}))


def _masking(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    config.skip("mask_value")
    _mask(b, f"{layer.where}: it hides timesteps from the layers behind it, which")
    return x


def _mask(b: Builder, what: str) -> None:
    if not b.assume_unmasked:
        raise UnsupportedError(
            f"{what} is not supported: in a stream every frame counts; "
            "pass assume_unmasked=True if your input never holds padding, then it changes nothing"
        )


def _batch_norm(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    for key in ("renorm", "renorm_clipping", "virtual_batch_size", "adjustment"):
        config.expect(key, False if key == "renorm" else None)
    config.skip("momentum", "renorm_momentum", "fused", "synchronized", "mode", "beta_init", "gamma_init")
    _last_axis(b, config, x, config.get("axis", -1))
    epsilon, center, scale = config.number("epsilon"), config.flag("center", True), config.flag("scale", True)
    roles = [*(["gamma"] if scale else []), *(["beta"] if center else []), "moving_mean", "moving_variance"]
    width = b.graph.shape(x.value)[-1]
    config.finish()
    found = dict(zip(roles, weights.take(layer.where, [(role, (width,)) for role in roles]), strict=True))
    mean, variance = found["moving_mean"], found["moving_variance"]
    return x.like(
        blocks.batch_norm(b.graph, x.value, layer.name, mean, variance, epsilon, found.get("gamma"), found.get("beta"))
    )


def _layer_norm(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    config.expect("rms_scaling", False)
    _last_axis(b, config, x, config.get("axis", -1))
    epsilon, center, scale = config.number("epsilon"), config.flag("center", True), config.flag("scale", True)
    roles = [*(["gamma"] if scale else []), *(["beta"] if center else [])]
    width = b.graph.shape(x.value)[-1]
    config.finish()
    arrays = weights.take(layer.where, [(role, (width,)) for role in roles]) if roles else []
    named = {{"gamma": "scale", "beta": "shift"}[role]: a for role, a in zip(roles, arrays, strict=True)}
    return x.like(b.graph.add("layer_norm", [x.value], name=layer.name, attrs={"eps": epsilon}, weights=named))


def _normalization(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    config.expect("invert", False)
    _last_axis(b, config, x, config.get("axis", -1))
    width = b.graph.shape(x.value)[-1]
    mean, variance = (
        np.asarray(flat, np.float64) for flat in (_numbers(layer, config, k) for k in ("mean", "variance"))
    )
    config.finish()
    if mean.ndim == 0 and np.isnan(mean):  # not given: learnt by adapt()
        spec = [("mean", (width,)), ("variance", (width,))]
        mean, variance, *_ = weights.take(layer.where, [*spec, ("count", ())], spec)
    if mean.size not in (1, width) or variance.size != mean.size:
        raise UnsupportedError(
            f"{layer.where}: mean of {mean.size} and variance of {variance.size} elements for {width} features"
        )
    # Keras divides by max(sqrt(variance), 1e-7)
    with np.errstate(all="ignore"):
        scale = 1.0 / np.maximum(np.sqrt(variance.reshape(-1).astype(np.float64)), 1e-7)
    return x.like(blocks.scale_shift(b.graph, x.value, layer.name, scale, -mean.reshape(-1) * scale))


def _rescaling(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    return x.like(
        blocks.scale_shift(b.graph, x.value, layer.name, config.number("scale"), config.number("offset", 0.0))
    )


def _prelu(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    shared = config.get("shared_axes") or []
    shape = b.graph.shape(x.value)
    first = 2 if x.time else 1
    if not isinstance(shared, list) or not all(type(a) is int for a in shared) or (x.time and 1 not in shared):
        raise UnsupportedError(
            f"{layer.where}: shared_axes = {brief(shared)} is not supported; expected the time axis (1) among them"
        )
    slope = tuple(1 if axis + first in shared else n for axis, n in enumerate(shape))
    config.finish()
    (alpha,) = weights.take(layer.where, [("alpha", ((1,) if x.time else ()) + slope)])
    return x.like(blocks.prelu(b.graph, x.value, alpha.reshape(slope), layer.name))


def _flatten(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    shape = b.graph.shape(x.value)
    if x.time:
        raise UnsupportedError(f"{layer.where}: it joins all timesteps into one; not supported in a stream")
    if len(shape) > 1:
        config.expect("data_format", "channels_last", None)
    config.skip("data_format")
    return x.like(blocks.rearrange(b.graph, x.value, np.arange(prod(shape)), layer.name))


def _reshape(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    target = config.required("target_shape")
    shape = b.graph.shape(x.value)
    if not isinstance(target, list) or not all(type(n) is int and n >= -1 for n in target) or target.count(-1) > 1:
        raise FormatError(f"{layer.where}: target_shape must be a list of axes, got {brief(target)}")
    frame = target[1:] if x.time else target
    if x.time:
        # the time axis must stay what it is
        kept = bool(target) and (target[0] == -1 or target[0] == x.length)
        if not kept or (-1 in frame and target[0] == -1):
            raise UnsupportedError(
                f"{layer.where}: target_shape {target} of a sequence of frames {shape} moves the time axis"
            )
    if -1 in frame:
        rest = prod(n for n in frame if n != -1)
        frame = [prod(shape) // max(rest, 1) if n == -1 else n for n in frame]
    if prod(frame) != prod(shape) or (x.rows and frame[:1] != [x.rows]):
        raise UnsupportedError(f"{layer.where}: target_shape {target} is not supported for frames of shape {shape}")
    return x.like(blocks.rearrange(b.graph, x.value, np.arange(prod(shape)).reshape(frame), layer.name))


def _permute(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    dims = config.required("dims")
    shape = b.graph.shape(x.value)
    n = len(shape) + x.time
    if (
        not isinstance(dims, list)
        or sorted(d for d in dims if type(d) is int) != list(range(1, n + 1))
        or len(dims) != n
    ):
        raise FormatError(f"{layer.where}: dims must be an order of the axes 1 to {n}, got {brief(dims)}")
    if (x.time or x.rows) and dims[0] != 1:
        raise UnsupportedError(f"{layer.where}: dims {dims} move the time axis")
    order = [d - 1 - x.time for d in dims[x.time :]]
    return x.like(blocks.rearrange(b.graph, x.value, blocks.positions(shape).transpose(order), layer.name))


LAYERS = {
    "Dense": _dense,
    "Embedding": _embedding,
    "Masking": _masking,
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "PReLU": _prelu,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
}


# -- merging --------------------------------------------------------------------------------------------------------


def _merge(b: Builder, layer: Layer, inputs: list[Tensor]) -> Tensor:
    config = b.config(layer)
    axis = config.get("axis", -1) if layer.cls == "Concatenate" else -1
    config.finish()
    if len(inputs) < 2 or (layer.cls == "Subtract" and len(inputs) != 2):
        raise FormatError(
            f"{layer.where}: takes {'2' if layer.cls == 'Subtract' else 'at least 2'} inputs, got {len(inputs)}"
        )
    shapes = [b.graph.shape(t.value) for t in inputs]
    first = inputs[0]
    if len({t.time for t in inputs}) > 1 or len({len(s) for s in shapes}) > 1:
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
    if layer.cls == "Concatenate":
        return first.like(_concat(b, layer, inputs, shapes, axis))
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
        y = b.graph.add(
            MERGES[layer.cls], [y, value], name=layer.name if i == len(values) - 2 else f"{layer.name}_part{i}"
        )
    if layer.cls == "Average":
        y = blocks.scale_shift(b.graph, y, f"{layer.name}_mean", 1.0 / len(values), 0.0)
    return first.like(y)


def _concat(b: Builder, layer: Layer, inputs: list[Tensor], shapes: list[tuple[int, ...]], axis: Any) -> str:
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
    return blocks.rearrange(b.graph, y, order, f"{layer.name}_order")


# -- details --------------------------------------------------------------------------------------------------------


def _last_axis(b: Builder, config: Config, x: Tensor, axis: Any) -> None:
    """Refuse any axis but the last one of the frame."""
    rank = len(b.graph.shape(x.value)) + (2 if x.time else 1)
    one = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if type(one) is not int or one not in (-1, rank - 1) or not b.graph.shape(x.value):
        raise UnsupportedError(
            f"{config.where}: axis = {brief(axis)} is not supported; expected -1, the last axis of a frame"
        )


def _numbers(layer: Layer, config: Config, key: str) -> Any:
    """A number or nested lists of them; NaN when not given."""
    value = config.get(key)
    if value is None:
        return np.nan
    flat = list(flatten(value))
    if not flat or len(flat) > 1 << 20 or not all(type(v) in (int, float) and abs(v) < 1e38 for v in flat):
        if flat == [None] or flat[:1] == [None]:
            return np.nan
        raise FormatError(f"{layer.where}: {key} must be numbers, got {brief(value)}")
    return flat
