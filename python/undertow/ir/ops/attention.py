# SPDX-License-Identifier: MIT
"""Attention: what queries find in rows of keys and values, such as the past states that a window holds."""

from __future__ import annotations

from math import isfinite, prod
from typing import Any

import numpy as np

from ..nodes import Node, Scope
from .base import Frames, Op, Params, Shapes, Stored, Weights
from .checks import Outputs, fail, inputs, out
from .params import f32, from_f32

#: most of each number of an attend, and of numbers in a frame
_MOST = 1 << 24
_SIZES = ("heads", "shared", "rows", "key_width", "value_width")


class Attend(Op):
    """Queries (heads * key_width), keys, values, and a bias (rows) or (heads * rows) or none -> (heads, value_width).

    Of head h, score j is scale times the product of query h and row j of its keys; with a `cap` it becomes
    cap tanh(score / cap); then bias j is added. The output is the sum of rows of values, each times its share in a
    softmax over the scores. Keys and values lie in their frames as `key_places` and `value_places` say, each (offset,
    elements from row to row, elements from head to head); `shared` heads of them serve all `heads`, in their order.
    """

    name, kinds = "attend", (29,)
    n_inputs: int | tuple[int, ...] | None = (3, 4)
    attrs = (*_SIZES, "scale", "cap", "key_places", "value_places")
    landmark = True

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        values, attrs = inputs(graph, node), node.attrs
        for key in _SIZES:
            size = attrs[key] = int(attrs.get(key, 0 if key == "rows" else 1))
            if not 0 < size <= _MOST:
                fail(node, f"{key} is {size}, expected 1 to {_MOST}")
        heads, shared, rows, key_width, value_width = (attrs[key] for key in _SIZES)
        if heads % shared:
            fail(node, f"{heads} heads, expected a multiple of the {shared} of keys and values")
        attrs["scale"] = float(np.float32(attrs.get("scale", 1.0)))
        cap = attrs["cap"] = float(np.float32(attrs.get("cap", 0.0)))
        if cap != 0 and not (cap >= np.finfo(np.float32).tiny and isfinite(cap)):
            fail(node, f"cap is {cap}, expected 0, for none, or a positive number")
        if values[0].size != heads * key_width:
            fail(
                node,
                f"queries {values[0].name!r} have shape {values[0].shape}, expected {heads} x {key_width} elements",
            )
        for value, key, width in ((values[1], "key_places", key_width), (values[2], "value_places", value_width)):
            places = tuple(int(n) for n in attrs.get(key, (0, width, rows * width)))
            if len(places) != 3 or not all(0 <= n < 1 << 32 for n in places):
                fail(node, f"{key} is {places}, expected an offset and two strides, none below 0")
            offset, row, head = attrs[key] = places
            if rows > 1 and row < width:
                fail(node, f"{key} is {places}: rows of {width} elements overlap")
            if offset + (rows - 1) * row + (shared - 1) * head + width > value.size:
                fail(node, f"{key} is {places}: rows leave {value.name!r}, which has {value.size} elements")
        if len(values) == 4 and values[3].size not in (rows, heads * rows):
            fail(node, f"bias {values[3].name!r} has {values[3].size} elements, expected {rows} or {heads * rows}")
        return out((heads, value_width), *values)

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        a = node.attrs
        return [*(a[key] for key in _SIZES), f32(a["scale"]), f32(a["cap"]), *a["key_places"], *a["value_places"]]

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        sizes = dict(zip(_SIZES, params, strict=False))
        places = {"key_places": tuple(params[7:10]), "value_places": tuple(params[10:13])}
        return {**sizes, "scale": from_f32(params[5]), "cap": from_f32(params[6]), **places}

    def formula(self, node: Node, w: Weights, *xs: np.ndarray) -> np.ndarray:
        q, keys, values, *bias = (x.reshape(len(x), prod(x.shape[1:])) for x in xs)
        heads, rows = node.attrs["heads"], node.attrs["rows"]
        scores = node.attrs["scale"] * np.einsum(
            "thd,thnd->thn", q.reshape(len(q), heads, -1), keys[:, row_elements(node, "key")]
        )
        if cap := node.attrs["cap"]:
            scores = cap * np.tanh(scores / cap)
        for b in bias:
            scores = scores + b.reshape(len(b), -1, rows)
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares = e / e.sum(axis=-1, keepdims=True)
        return np.asarray(np.einsum("thn,thnd->thd", shares, values[:, row_elements(node, "value")]))

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        heads, shared, rows, key_width, value_width = (node.attrs[key] for key in _SIZES)
        of = f" over {shared}" if shared != heads else ""
        widths = f"{key_width}" if key_width == value_width else f"{key_width} and {value_width}"
        cap = [f"cap {node.attrs['cap']:g}"] if node.attrs["cap"] else []
        return [f"{heads} head{'s' * (heads != 1)}{of}", f"{rows} row{'s' * (rows != 1)} of {widths}", *cap]


def row_elements(node: Node, what: str) -> np.ndarray:
    """(heads, rows, width) of which numbers in their frame the keys ("key") or values ("value") of each head are."""
    heads, shared, rows = (node.attrs[key] for key in _SIZES[:3])
    offset, row, head = node.attrs[f"{what}_places"]
    of_head = np.arange(heads) // (heads // shared) * head
    within = np.arange(rows)[:, None] * row + np.arange(node.attrs[f"{what}_width"])
    return np.asarray(offset + of_head[:, None, None] + within)


OPS: tuple[Op, ...] = (Attend(),)
