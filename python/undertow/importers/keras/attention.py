# SPDX-License-Identifier: MIT
"""Attention of Keras, between the rows of frames: products of rows with rows, which a clip has and a stream has not."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ...errors import FormatError, UnsupportedError
from ...ir.activations import TANH
from ...ir.grids import gather
from .. import _blocks as blocks
from .builder import Builder, NeedsClip, Output, Tensor
from .config import Config, brief
from .tables import Layer
from .weights import Weights

#: what hides a score from a softmax: Keras takes it off, and nothing is left of any score beside it
HIDDEN = 1e9


@dataclass
class _Settings:
    """What every kind of attention may say of the pairs of rows it looks at."""

    causal: bool
    scores_too: bool
    reach: int | None


def attention(b: Builder, layer: Layer, config: Config, inputs: list[Tensor], weights: Weights) -> list[Output]:
    """softmax(scores of query and key) value; scores are products, or tanh(query + key) weighted and summed up.

    inputs: query, value and, if it is another, key.
    """
    settings = _settings(config)
    additive = layer.row.of == "additive"
    mode = "additive" if additive else config.expect("score_mode", "dot", "concat")
    scaled = config.flag("use_scale", additive)
    config.finish()
    query, _, key = shapes = _rows(b, layer, inputs)
    if query[1] != key[1]:
        raise FormatError(f"{layer.where}: query, value and key of shapes {list(shapes)} do not fit together")
    width, alone = query[1], () if mode != "additive" else query[1:]
    spec = layer.row.spec(scale=alone if scaled else None, concat_score_weight=() if mode == "concat" else None)
    arrays = dict(zip((role for role, _ in spec), weights.take(layer.where, spec), strict=True)) if spec else {}
    scale = arrays.get("scale", np.ones(alone)).astype(np.float64)
    q, v, k = (t.value for t in (*inputs, inputs[1])[:3])
    if mode == "dot":
        q = q if not scaled else blocks.scale_shift(b.graph, q, f"{layer.name}_scale", scale, 0.0)
        turned = blocks.rearrange(b.graph, k, blocks.positions(key).T, f"{layer.name}_key")
        scores = b.graph.add("matmul", [q, turned], name=f"{layer.name}_scores")
    else:
        weight, inner = arrays.get("concat_score_weight", np.ones(())), np.ones(())
        weight, inner = (scale, inner) if mode == "additive" else (weight, scale)
        row = np.broadcast_to(np.asarray(weight, np.float64), (1, width))
        scores = _summed(b, layer, (q, k), (query, key), row, inner)
    shares = _shares(b, layer, scores, settings)
    y = inputs[0].like(b.graph.add("matmul", [shares, v], name=layer.name))
    return [y, inputs[0].like(shares)] if settings.scores_too else [y]


def multi_head(b: Builder, layer: Layer, config: Config, inputs: list[Tensor], weights: Weights) -> list[Output]:
    """MultiHeadAttention, and with fewer heads for keys and values than for queries GroupQueryAttention."""
    settings = _settings(config, "sliding_window")
    if layer.row.of == "grouped":
        heads, groups, width = (config.count(k) for k in ("num_query_heads", "num_key_value_heads", "head_dim"))
        of_value, shape = width, None
    else:
        heads, width = config.count("num_heads"), config.count("key_dim")
        groups, shape = heads, config.get("output_shape")
        of_value = width if config.get("value_dim") is None else config.count("value_dim")
        axes = config.get("attention_axes")
        if axes not in (None, 1, [1]):
            raise UnsupportedError(f"{layer.where}: attention_axes = {brief(axes)} is not supported; expected [1]")
    biased = config.flag("use_bias", True)
    config.finish()
    query, _, key = _rows(b, layer, inputs)
    if heads % groups:
        raise FormatError(f"{layer.where}: {heads} heads of queries for {groups} of keys and values")
    n_out = shape[0] if isinstance(shape, list) and len(shape) == 1 else query[1] if shape is None else shape
    if type(n_out) is not int or n_out < 1:
        raise UnsupportedError(f"{layer.where}: output_shape = {brief(shape)} is not supported; expected one axis")

    def projected(part: str, x: str, n_heads: int, size: int, scale: float = 1.0) -> str:
        """(rows, inputs) -> (heads, rows, size)"""
        (n, n_in), name = b.graph.shape(x), f"{layer.name}_{part}"
        spec = [("kernel", (n_in, n_heads, size)), *([("bias", (n_heads, size))] if biased else [])]
        kernel, *bias = weights.part(f"{part}_dense").take(layer.where, spec)
        blocks.check_frame(layer.where, n * n_heads * size)
        named = {"W": (kernel.reshape(n_in, -1).T * scale).astype(np.float32)}
        if bias:
            named["b"] = (bias[0].reshape(-1) * scale).astype(np.float32)
        y = b.graph.add("dense", [x], name=name, weights=named)
        order = blocks.positions((n, n_heads, size)).transpose(1, 0, 2)
        return gather(b.graph, y, np.repeat(order, heads // n_heads, axis=0), f"{name}_heads")

    names = (*(t.value for t in inputs), inputs[1].value)[:3]
    q = projected("query", names[0], heads, width, 1.0 / np.sqrt(width))
    k = projected("key", names[2], groups, width)
    v = projected("value", names[1], groups, of_value)
    turned = blocks.positions(b.graph.shape(k)).transpose(0, 2, 1)
    blocks.check_frame(layer.where, heads * query[0] * key[0])
    scores = b.graph.add("matmul", [q, gather(b.graph, k, turned, f"{layer.name}_turned")], name=f"{layer.name}_scores")
    shares = _shares(b, layer, scores, settings)
    mixed = b.graph.add("matmul", [shares, v], name=f"{layer.name}_mixed")
    joined = blocks.positions(b.graph.shape(mixed)).transpose(1, 0, 2).reshape(query[0], -1)
    spec = [("kernel", (heads, of_value, n_out)), *([("bias", (n_out,))] if biased else [])]
    kernel, *bias = weights.part("output_dense").take(layer.where, spec)
    named = {"W": kernel.reshape(-1, n_out).T, **({"b": bias[0]} if bias else {})}
    y = b.graph.add("dense", [gather(b.graph, mixed, joined, f"{layer.name}_joined")], name=layer.name, weights=named)
    return [inputs[0].like(y), inputs[0].like(shares)] if settings.scores_too else [inputs[0].like(y)]


def dot(b: Builder, layer: Layer, config: Config, inputs: list[Tensor], weights: Weights) -> Tensor:
    """Products of two tensors, summed over an axis of each."""
    given = config.required("axes")
    config.finish()
    if any(t.time for t in inputs):
        raise NeedsClip.of(layer.where)
    shapes = [b.graph.shape(t.value) for t in inputs]
    axes = [given] * 2 if type(given) is int else given
    if not isinstance(axes, list) or len(axes) != 2 or not all(type(axis) is int for axis in axes):
        raise FormatError(f"{layer.where}: axes must be one number or two, got {brief(given)}")
    places = [axis - 1 if axis >= 0 else axis + len(shape) for axis, shape in zip(axes, shapes, strict=True)]
    if not all(0 <= place < len(shape) for place, shape in zip(places, shapes, strict=True)):
        raise FormatError(f"{layer.where}: axes = {brief(given)} of frames {shapes}; the batch is axis 0 and stays")
    n = {shape[place] for place, shape in zip(places, shapes, strict=True)}
    if len(n) > 1:
        raise FormatError(f"{layer.where}: axes = {brief(given)} of frames {shapes} have different sizes")
    left = [[m for i, m in enumerate(shape) if i != place] for place, shape in zip(places, shapes, strict=True)]
    blocks.check_frame(layer.where, prod(left[0]) * prod(left[1]))
    values = [
        gather(b.graph, t.value, np.moveaxis(blocks.positions(shape), place, to).reshape(size), f"{layer.name}_in{i}")
        for i, (t, shape, place, to, size) in enumerate(
            zip(inputs, shapes, places, (-1, 0), ((-1, *n), (*n, -1)), strict=True)
        )
    ]
    y = b.graph.add("matmul", values, name=layer.name)
    frame = [*left[0], *left[1]] or [1]
    return inputs[0].like(gather(b.graph, y, np.arange(prod(frame)).reshape(frame), f"{layer.name}_frame"))


# -- details --------------------------------------------------------------------------------------------------------


def _settings(config: Config, reach: str = "") -> _Settings:
    causal, scores_too = config.flag("use_causal_mask"), config.flag("return_attention_scores")
    window = config.get(reach) if reach else None
    return _Settings(causal, scores_too, None if window is None else config.count(reach))


def _rows(b: Builder, layer: Layer, inputs: list[Tensor]) -> tuple[tuple[int, ...], ...]:
    """The shapes of query, value and key, each (rows, features)."""
    if not 2 <= len(inputs) <= 3:
        raise FormatError(f"{layer.where}: takes two or three inputs, got {len(inputs)}")
    if any(t.time for t in inputs):
        raise NeedsClip.of(layer.where)
    shapes = [b.graph.shape(t.value) for t in (*inputs, inputs[1])[:3]]
    if any(len(shape) != 2 for shape in shapes) or shapes[1][0] != shapes[2][0]:
        raise FormatError(f"{layer.where}: query, value and key of shapes {shapes} do not fit together")
    blocks.check_frame(layer.where, shapes[0][0] * shapes[2][0])
    return tuple(shapes)


def _summed(
    b: Builder,
    layer: Layer,
    values: tuple[str, str],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    row: np.ndarray,
    inner: np.ndarray,
) -> str:
    """row . tanh(inner (query + key)), of every query and key."""
    (n, width), (m, _) = shapes
    blocks.check_frame(layer.where, n * m * width)
    orders = (blocks.positions(shapes[0])[:, None], blocks.positions(shapes[1])[None])
    pair = [
        gather(b.graph, value, np.broadcast_to(order, (n, m, width)), f"{layer.name}_{what}")
        for value, order, what in zip(values, orders, ("queries", "keys"), strict=True)
    ]
    total = b.graph.add("add", pair, name=f"{layer.name}_pairs")
    if inner != 1:
        total = blocks.scale_shift(b.graph, total, f"{layer.name}_scale", inner, 0.0)
    squashed = b.graph.add("activation", [total], name=f"{layer.name}_tanh", attrs={"activation": TANH})
    scores = b.graph.add("dense", [squashed], name=f"{layer.name}_scores", weights={"W": row.astype(np.float32)})
    return gather(b.graph, scores, blocks.positions((n, m)), f"{layer.name}_grid")


def _shares(b: Builder, layer: Layer, scores: str, settings: _Settings) -> str:
    """softmax(scores) over keys, (..., queries, keys), without the pairs that are hidden."""
    *_, n, m = shape = b.graph.shape(scores)
    query, key = np.arange(n)[:, None], np.arange(m)
    hidden = (key > query) & settings.causal
    if settings.reach is not None:
        hidden = hidden | (abs(query - key) >= settings.reach)
    if hidden.all(axis=1).any():
        raise UnsupportedError(f"{layer.where}: a query without a key: {n} queries, {m} keys, and the rest is hidden")
    if hidden.any():
        shift = np.broadcast_to(np.where(hidden, -HIDDEN, 0.0), shape)
        scores = blocks.scale_shift(b.graph, scores, f"{layer.name}_hidden", 1.0, shift)
    shares: str = b.graph.add("softmax", [scores], name=f"{layer.name}_shares")
    return shares
