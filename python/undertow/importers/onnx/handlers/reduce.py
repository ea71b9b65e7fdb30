# SPDX-License-Identifier: MIT
"""ONNX reductions, cumulative sums and norms over axes that lie inside one frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, provenance
from ..frames.builder import Builder
from ..frames.context import Walk
from ..frames.provenance import Layout, Tensor
from .elementwise import take_apart

Reduction = Callable[[Builder, np.ndarray, list[int]], np.ndarray]


def check_axes(walk: Walk, node: OnnxNode, x: Tensor, layout: Layout, axes: list[int]) -> None:
    """Refuse to work along time or batch; beside axes of the frame, one of size 1 does no harm."""
    alone = bool(axes) and all(walk.stands_for_more(x, a) for a in axes)
    for axis in axes:
        if axis in layout.outer or alone:
            node.unsupported(f"works along axis {axis} of {x.shape}, which is time or the batch")


def given_axes(node: OnnxNode, operands: list[Any], rank: int) -> list[int] | None:
    """The axes of a reduction, as an attribute or an input; None: it keeps its input as it is."""
    axes = node.attrs.get("axes")
    if len(operands) > 1 and operands[1] is not None:
        if not isinstance(operands[1], np.ndarray):
            node.unsupported("its axes are computed at run time")
        axes = operands[1].ravel().tolist()
    if not axes and node.attrs.get("noop_with_empty_axes"):
        return None
    if any(not -rank <= a < rank for a in axes or []):
        node.shape_error(f"its axes are {axes}, the input has {rank}")
    return sorted({int(a) % rank for a in axes} if axes else range(rank))


def _square(builder: Builder, table: np.ndarray) -> np.ndarray:
    return emit.elementwise(builder, "mul", [table, table])


def _log_sum_exp(builder: Builder, table: np.ndarray, axes: list[int]) -> np.ndarray:
    """m + log(sum(exp(x - m))), m the largest element"""
    most = emit.reduce(builder, "max", table, axes)
    spread = np.broadcast_to(np.expand_dims(most, tuple(axes)), table.shape)
    powers = emit.activation(builder, emit.elementwise(builder, "sub", [table, spread]), "exp")
    total = emit.activation(builder, emit.reduce(builder, "sum", powers, axes), "log")
    return emit.elementwise(builder, "add", [total, most])


REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": lambda b, t, axes: emit.reduce(b, "sum", t, axes),
    "ReduceMean": emit.mean,
    "ReduceMax": lambda b, t, axes: emit.reduce(b, "max", t, axes),
    "ReduceMin": lambda b, t, axes: emit.reduce(b, "min", t, axes),
    "ReduceProd": lambda b, t, axes: emit.reduce(b, "prod", t, axes),
    "ReduceL1": lambda b, t, axes: emit.reduce(b, "sum", emit.activation(b, t, "abs"), axes),
    "ReduceL2": lambda b, t, axes: emit.activation(b, emit.reduce(b, "sum", _square(b, t), axes), "sqrt"),
    "ReduceSumSquare": lambda b, t, axes: emit.reduce(b, "sum", _square(b, t), axes),
    "ReduceLogSum": lambda b, t, axes: emit.activation(b, emit.reduce(b, "sum", t, axes), "log"),
    "ReduceLogSumExp": _log_sum_exp,
}


def reduction(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("axes", "keepdims", "noop_with_empty_axes")
    x = operands[0]
    layout, elements = take_apart(walk, node, x)
    rank = len(x.shape)
    axes = given_axes(node, operands, rank)
    if axes is None and node.op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
        return [x]
    axes = axes or []
    check_axes(walk, node, x, layout, axes)
    frame = list(layout.frame)
    reduced = REDUCTIONS[node.op](walk.builder, elements, [frame.index(a) for a in axes])
    return [without(walk, node, x, layout, reduced, axes, bool(node.attrs.get("keepdims", 1)))]


def without(
    walk: Walk, node: OnnxNode, x: Tensor, layout: Layout, reduced: np.ndarray, axes: list[int], keep: bool
) -> Tensor:
    """The tensor of x after `axes` were reduced; `reduced` has the other axes of its frame."""
    one = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    walk.count(node, one)
    labels = tuple("" if a in axes else label for a, label in enumerate(x.labels))
    whole = Layout(one, layout.outer, layout.origin, labels).tensor(reduced)
    if keep:
        return whole
    rest = [a for a in range(len(x.shape)) if a not in axes]
    return Tensor(whole.codes.reshape([x.shape[a] for a in rest]), tuple(labels[a] for a in rest))


# -- along one axis, which stays ------------------------------------------------------------------------------------


def axis_of(node: OnnxNode, x: Any, default: int = 0, given: Any = None) -> int:
    if given is not None and not isinstance(given, np.ndarray):
        node.unsupported("its axis is computed at run time, expected a constant")
    axis = int(node.attrs.get("axis", default)) if given is None else int(given.reshape(()))
    rank = len(x.shape)
    if not -rank <= axis < rank:
        node.shape_error(f"axis is {axis}, the input has {rank} axes")
    return axis % rank


def lp_normal(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """x / (sum |x|^p)^(1/p) along one axis"""
    node.allow("axis", "p")
    p = int(node.attrs.get("p", 2))
    if p not in (1, 2):
        node.unsupported(f"attribute p={p} is not supported, expected 1 or 2")
    x = operands[0]
    layout, elements = take_apart(walk, node, x)
    axis = axis_of(node, x, -1)
    check_axes(walk, node, x, layout, [axis])
    walk.count(node, x.shape)
    place = layout.frame.index(axis)
    norm = REDUCTIONS[f"ReduceL{p}"](walk.builder, elements, [place])
    spread = np.broadcast_to(np.expand_dims(norm, place), elements.shape)
    # A row of zeros stays one, as in ONNX Runtime: it is divided by 1.
    builder = walk.builder
    zero, one = (np.broadcast_to(builder.constant(np.float32(v)), elements.shape) for v in (0.0, 1.0))
    is_zero = emit.elementwise(builder, "equal", [spread, zero])
    divisor = emit.elementwise(builder, "where", [is_zero, one, spread])
    return [layout.tensor(emit.elementwise(builder, "div", [elements, divisor]))]


def rms_norm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """x / sqrt(mean(x^2) + epsilon) * scale, over the axes from `axis` on"""
    node.allow("axis", "epsilon", "stash_type")
    x = operands[0]
    layout, elements = take_apart(walk, node, x)
    axes = list(range(axis_of(node, x, -1), len(x.shape)))
    check_axes(walk, node, x, layout, axes)
    walk.count(node, x.shape)
    builder, frame = walk.builder, list(layout.frame)
    places = [frame.index(a) for a in axes]
    mean = emit.mean(builder, _square(builder, elements), places)
    root = emit.activation(builder, emit.affine(builder, mean, 1.0, float(node.attrs.get("epsilon", 1e-5))), "sqrt")
    spread = np.broadcast_to(np.expand_dims(root, tuple(places)), elements.shape)
    normalised = emit.elementwise(builder, "div", [elements, spread])
    scale = provenance.frame_of(float_constant(node, operands[1], "scale"), layout)
    if scale is None:
        node.unsupported("scale differs between timesteps or batch items")
    return [layout.tensor(emit.affine(builder, normalised, scale, 0.0))]
