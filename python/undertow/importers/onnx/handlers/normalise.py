# SPDX-License-Identifier: MIT
"""ONNX operators along an axis of one frame: softmax, layer norm, embeddings; and the shapes of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, provenance
from ..frames.context import Shares, Walk
from ..frames.movement import move
from ..frames.provenance import Layout, Tensor
from ..traits import traits
from .cumulative import along_time
from .elementwise import take_apart
from .reduce import check_axes


def _rowwise(walk: Walk, node: OnnxNode, x: Any, axes: list[int], op: str, **settings: Any) -> Tensor:
    """An op that works along `axes`, taken as one."""
    layout, elements = take_apart(walk, node, x)
    check_axes(walk, node, x, layout, axes)
    walk.count(node, x.shape)
    frame = list(layout.frame)
    order = [frame.index(a) for a in frame if a not in axes] + [frame.index(a) for a in axes]
    moved = elements.transpose(order)
    rows = moved.reshape(*moved.shape[: len(frame) - len(axes)], -1)
    result = emit.rowwise(walk.builder, op, rows, **settings).reshape(moved.shape)
    return layout.tensor(result.transpose(np.argsort(order)))


def softmax(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("axis")
    x = operands[0]
    rank = len(x.shape)
    # Before operator set 13 everything from `axis` on was one row.
    axis = int(node.attrs.get("axis", 1 if node.opset < 13 else -1))
    axis += rank if axis < 0 else 0
    axes = list(range(axis, rank)) if node.opset < 13 else [axis]
    if not 0 <= axis < max(rank, 1):
        node.shape_error(f"attribute axis={node.attrs.get('axis')} does not fit an input of shape {x.shape}")
    if isinstance(x, Tensor) and node.op == "Softmax" and len(axes) == 1 and along_time(walk, x, axis):
        return [Shares(x)]
    return [_rowwise(walk, node, x, axes, traits(node.op).of)]


def layer_norm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("axis", "axes", "epsilon", "stash_type")
    if any(node.outputs[1:]):
        node.unsupported("its outputs Mean and InvStdDev are not supported")
    x = operands[0]
    rank = len(x.shape)
    axis = int(node.attrs.get("axis", -1))
    if any(not -rank <= int(a) < rank for a in [axis, *node.attrs.get("axes", [])]):
        node.shape_error(f"its axes {node.attrs.get('axes', axis)} do not fit an input of shape {x.shape}")
    axes = sorted({int(a) % max(rank, 1) for a in node.attrs.get("axes", range(axis % max(rank, 1), rank))})
    weights = {}
    for key, slot in (("scale", 1), ("shift", 2)):
        if len(operands) > slot and operands[slot] is not None:
            array = float_constant(node, operands[slot], "Scale" if slot == 1 else "B")
            try:
                weights[key] = np.broadcast_to(array, [x.shape[a] for a in axes]).reshape(-1)
            except ValueError:
                node.unsupported(
                    f"{'Scale' if slot == 1 else 'B'} has shape {array.shape}; expected {[x.shape[a] for a in axes]}"
                )
    epsilon = float(node.attrs.get("epsilon", 1e-5))
    return [_rowwise(walk, node, x, axes, "layer_norm", attrs={"eps": epsilon}, weights=weights)]


def gather(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """Rows of a constant table chosen by ids are an embedding; known places in a computed tensor are movement."""
    node.allow("axis")
    table, ids = operands
    if not isinstance(ids, Tensor):
        return list(move(walk, node, operands))
    if isinstance(table, Tensor) or ids.dtype != "int32":
        node.unsupported("picks by a computed index; only ids of a graph input into a constant table are supported")
    table = float_constant(node, table, "the table")
    if int(node.attrs.get("axis", 0)) % max(table.ndim, 1) != 0 or table.ndim < 1:
        node.unsupported(f"attribute axis={node.attrs.get('axis')} is not supported with computed ids, expected 0")
    layout, elements = ids.split()
    shape = (*ids.shape, *table.shape[1:])
    walk.count(node, shape)
    builder = walk.builder
    value = builder.add(
        "embedding", [builder.value(elements, None, "int32")], weights={"table": table.reshape(len(table), -1)}
    )
    labels = (*ids.labels, *[""] * (table.ndim - 1))
    out = Layout(shape, layout.outer, layout.origin, labels)
    return [out.tensor(builder.elements(value).reshape(out.frame_shape))]


def shape(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("start", "end")
    shape = operands[0].shape[node.attrs.get("start", 0) : node.attrs.get("end", None)]
    return [np.array(shape, np.int64)]


def size(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    return [np.array(provenance.n_elements(operands[0].shape), np.int64)]
