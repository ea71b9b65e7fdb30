# SPDX-License-Identifier: MIT
"""Layers of Keras that look at one frame at a time."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedError
from ...ir.activations import IDENTITY, Activation
from .. import _blocks as blocks
from .activations import LAYERS as ACTIVATION_LAYERS
from .activations import activation
from .builder import Builder, NeedsClip, Output, Tensor, activate
from .config import Config, brief
from .tables import Layer, leaves
from .traits import EACH, names
from .weights import Spec, Weights


def activation_layer(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    """Activation, ReLU and its kin, Softmax."""
    function = ACTIVATION_LAYERS[layer.row.of](config)
    if layer.row.of == "softmax":
        return _softmax(b, layer, config, x)
    config.finish()
    return activate(b, layer, x, function)


def _softmax(b: Builder, layer: Layer, config: Config, x: Tensor) -> Tensor:
    """Over any axis of a frame."""
    axis = config.get("axis", -1)
    config.finish()
    shape = b.graph.shape(x.value)
    lead = 1 + x.time - x.outer
    one = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    rank = lead + len(shape)
    if type(one) is not int or not -rank <= one < rank or one % rank == 0:
        raise UnsupportedError(f"{layer.where}: axis = {brief(axis)} is not supported; expected 1 to {rank - 1}, or -1")
    place = one % rank - lead
    if place < x.outer + (x.rows > 0):
        raise NeedsClip.of(f"{layer.where}: axis = {brief(axis)}")
    if place == len(shape) - 1:
        return activate(b, layer, x, "softmax")
    turned = np.moveaxis(blocks.positions(shape), place, -1)
    turned_back = np.moveaxis(blocks.positions(turned.shape), -1, place)
    inner = blocks.rearrange(b.graph, x.value, turned, f"{layer.name}_turned")
    shares = b.graph.add("softmax", [inner], name=layer.name)
    return x.like(blocks.rearrange(b.graph, shares, turned_back, f"{layer.name}_back"))


def time_distributed(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> list[Output]:
    inner = b.layer(config.required("layer"), layer)
    config.finish()
    if x.rows and inner.cls == "Flatten":
        of_rows = b.config(inner)
        of_rows.expect("data_format", "channels_last", None)
        of_rows.finish()
        shape = b.graph.shape(x.value)
        order = blocks.positions(shape).reshape(shape[0], -1)
        return [x.like(blocks.rearrange(b.graph, x.value, order, layer.name))]
    if (x.rows or not x.time) and (inner.row.rows != EACH or len(b.graph.shape(x.value)) < 2):
        has = "has several timesteps in a frame" if x.rows else "has no time axis"
        alone = ", ".join(sorted(names(lambda row: row.rows == EACH)))
        raise UnsupportedError(
            f"{layer.where}: its input {has}, and a {inner.cls} inside of one frame is not supported; "
            f"supported there: {alone}"
        )
    with b.nested(layer):  # the inner layer sees (batch * time, *frame): a frame without a time axis
        outer = x.outer + (x.rows > 0 or not x.time)
        outputs = b.call(inner, [replace(x, time=False, rows=0, outer=outer)], [], weights.part("layer"))
    return [
        replace(b.resolve(o), time=x.time, length=x.length, late=x.late, rows=x.rows, outer=x.outer) for o in outputs
    ]


def dense(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    units, act = config.count("units"), activation(config)
    shape = b.graph.shape(x.value)
    if not shape:
        raise UnsupportedError(f"{layer.where}: it would mix timesteps; expected frames with an axis of features")
    spec = layer.row.spec(kernel=(shape[-1], units), bias=(units,) if config.flag("use_bias", True) else None)
    config.finish()
    kernel, *bias = weights.take(layer.where, spec)
    fused = act if isinstance(act, Activation) else IDENTITY
    named = {"W": kernel.T, **({"b": bias[0]} if bias else {})}
    value = b.graph.add("dense", [x.value], name=layer.name, attrs={"activation": fused}, weights=named)
    return x.like(value) if isinstance(act, Activation) else activate(b, layer, x.like(value), act)


def embedding(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    n_ids, width = config.count("input_dim"), config.count("output_dim")
    if b.graph.values[x.value].dtype != "int32":
        raise UnsupportedError(f"{layer.where}: its ids are computed by another layer; expected an input of the model")
    config.finish()
    (table,) = weights.take(layer.where, layer.row.spec(embeddings=(n_ids, width)))
    blocks.check_frame(layer.where, b.graph.values[x.value].size * width)
    return x.like(b.graph.add("embedding", [x.value], name=layer.name, weights={"table": table}))


def batch_norm(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    _last_axis(b, config, x, config.get("axis", -1))
    epsilon, center, scale = config.number("epsilon"), config.flag("center", True), config.flag("scale", True)
    one = b.graph.shape(x.value)[-1:]
    spec = layer.row.spec(
        gamma=one if scale else None, beta=one if center else None, moving_mean=one, moving_variance=one
    )
    config.finish()
    arrays = _named(layer, weights, spec)
    mean, variance = arrays["moving_mean"], arrays["moving_variance"]
    return x.like(
        blocks.batch_norm(
            b.graph, x.value, layer.name, mean, variance, epsilon, arrays.get("gamma"), arrays.get("beta")
        )
    )


def layer_norm(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    _last_axis(b, config, x, config.get("axis", -1))
    epsilon, center, scale = config.number("epsilon"), config.flag("center", True), config.flag("scale", True)
    one = b.graph.shape(x.value)[-1:]
    spec = layer.row.spec(gamma=one if scale else None, beta=one if center else None)
    config.finish()
    arrays = _named(layer, weights, spec)
    named = {ours: arrays[role] for role, ours in (("gamma", "scale"), ("beta", "shift")) if role in arrays}
    return x.like(b.graph.add("layer_norm", [x.value], name=layer.name, attrs={"eps": epsilon}, weights=named))


def normalization(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    _last_axis(b, config, x, config.get("axis", -1))
    width = b.graph.shape(x.value)[-1]
    mean, variance = (
        np.asarray(flat, np.float64) for flat in (_numbers(layer, config, k) for k in ("mean", "variance"))
    )
    config.finish()
    if mean.ndim == 0 and np.isnan(mean):  # not given: learnt by adapt()
        spec, counted = (layer.row.spec(mean=(width,), variance=(width,), count=n) for n in (None, ()))
        mean, variance, *_ = weights.take(layer.where, counted, spec)
    if mean.size not in (1, width) or variance.size != mean.size:
        raise UnsupportedError(
            f"{layer.where}: mean of {mean.size} and variance of {variance.size} elements for {width} features"
        )
    # Keras divides by max(sqrt(variance), 1e-7)
    with np.errstate(all="ignore"):
        scale = 1.0 / np.maximum(np.sqrt(variance.reshape(-1).astype(np.float64)), 1e-7)
    return x.like(blocks.scale_shift(b.graph, x.value, layer.name, scale, -mean.reshape(-1) * scale))


def rescaling(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    return x.like(
        blocks.scale_shift(b.graph, x.value, layer.name, config.number("scale"), config.number("offset", 0.0))
    )


def prelu(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    shared = config.get("shared_axes") or []
    shape = b.graph.shape(x.value)
    first = 2 if x.time else 1
    along = x.time or x.rows > 0
    if not isinstance(shared, list) or not all(type(a) is int for a in shared) or (along and 1 not in shared):
        raise UnsupportedError(
            f"{layer.where}: shared_axes = {brief(shared)} is not supported; expected the time axis (1) among them"
        )
    slope = tuple(1 if axis + first in shared else n for axis, n in enumerate(shape))
    config.finish()
    (alpha,) = weights.take(layer.where, layer.row.spec(alpha=((1,) if x.time else ()) + slope))
    return x.like(blocks.prelu(b.graph, x.value, alpha.reshape(slope), layer.name))


def flatten(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    shape = b.graph.shape(x.value)
    if x.time:
        raise UnsupportedError(
            f"{layer.where}: it joins all timesteps into one, which a stream has not; give the clip's size: shapes="
        )
    if len(shape) > 1:
        config.expect("data_format", "channels_last", None)
    config.get("data_format")  # of no meaning otherwise
    return x.like(blocks.rearrange(b.graph, x.value, np.arange(prod(shape)), layer.name))


def repeat_vector(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    """(features,) -> (n, features): rows inside of a frame."""
    n = config.required("n")
    config.finish()
    if type(n) is not int or n < 1:
        raise FormatError(f"{layer.where}: n must be a number of rows, got {brief(n)}")
    shape = b.graph.shape(x.value)
    if x.time or len(shape) != 1:
        what = "timesteps" if x.time else f"frames of shape {shape}"
        raise UnsupportedError(f"{layer.where}: its input is {what}, expected (batch, features)")
    blocks.check_frame(layer.where, n * shape[0])
    order = np.tile(np.arange(shape[0]), (n, 1))
    return x.like(blocks.rearrange(b.graph, x.value, order, layer.name))


def reshape(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    target = config.required("target_shape")
    shape = b.graph.shape(x.value)
    if not isinstance(target, list) or not all(type(n) is int and n >= -1 for n in target) or target.count(-1) > 1:
        raise FormatError(f"{layer.where}: target_shape must be a list of axes, got {brief(target)}")
    frame = target[1:] if x.time else target
    if x.rows and target[:1] != [-1]:
        raise UnsupportedError(f"{layer.where}: target_shape {target} moves the time axis")
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


def permute(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
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


# -- details --------------------------------------------------------------------------------------------------------


def _named(layer: Layer, weights: Weights, spec: Spec) -> dict[str, np.ndarray]:
    return dict(zip((role for role, _ in spec), weights.take(layer.where, spec), strict=True))


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
    flat = list(leaves(value))
    if not flat or len(flat) > 1 << 20 or not all(type(v) in (int, float) and abs(v) < 1e38 for v in flat):
        if flat == [None] or flat[:1] == [None]:
            return np.nan
        raise FormatError(f"{layer.where}: {key} must be numbers, got {brief(value)}")
    return flat
