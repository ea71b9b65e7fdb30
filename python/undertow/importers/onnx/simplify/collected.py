# SPDX-License-Identifier: MIT
"""Carried values that grow by a part in each round of a Loop, as what the Loop collects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..file.nodes import Body, OnnxNode, needed, wrap

Sizes = Callable[[str], "list[int | None] | None"]


def collect(loop: OnnxNode, parts: Mapping[int, str], fresh: Callable[[str], str]) -> dict[int, str]:
    """Let a Loop collect parts, of places among the values that it carries, in place of carrying them.

    fresh: gives a name that no value has. Gives the names of what is collected; "" where nobody reads it.
    """
    body, n = loop.bodies["body"], len(loop.inputs) - 2
    kept = [i for i in range(n) if i not in parts]
    outputs = [*loop.outputs, *[""] * (len(body.outputs) - 1 - len(loop.outputs))]
    rows = {i: fresh(f"{outputs[i]}.rows") if outputs[i] else "" for i in parts}
    loop.inputs = [*loop.inputs[:2], *(loop.inputs[2 + i] for i in kept)]
    loop.outputs = [*(outputs[i] for i in kept), *outputs[n:], *rows.values()]
    results = [body.outputs[0], *(body.outputs[1 + i] for i in kept), *body.outputs[1 + n :], *parts.values()]
    inputs = [*body.inputs[:2], *(body.inputs[2 + i] for i in kept)]
    loop.bodies["body"] = Body(inputs, needed(body.nodes, results), results)
    return rows


@dataclass
class _Part:
    """What a Concat joins to a carried tensor: along which axis of how many, and whether before it."""

    row: str
    axis: int
    rank: int
    before: bool


class Grown:
    """Tensors that a Loop carries and joins a row to in each round. sizes: the shape of a value, as far as known."""

    def __init__(self, onnx: Any, constants: dict[str, np.ndarray], sizes: Sizes, fresh: Callable[[str], str]) -> None:
        self.onnx, self.constants, self.sizes, self.fresh = onnx, constants, sizes, fresh

    def collect(self, loop: OnnxNode) -> list[OnnxNode]:
        """Let a Loop collect such rows; gives the nodes behind it that make the tensors of them."""
        body, n = loop.bodies["body"], len(loop.inputs) - 2
        if n < 1 or len(body.inputs) != 2 + n or len(body.outputs) < 1 + n:
            return []  # the walk refuses it
        parts = {i: part for i in range(n) if (part := self._part(loop, body, i)) is not None}
        if not parts:
            return []
        starts, outputs = {i: loop.inputs[2 + i] for i in parts}, [*loop.outputs, *[""] * n]
        named = {i: outputs[i] for i in parts}
        rows = collect(loop, {i: part.row for i, part in parts.items()}, self.fresh)
        return [
            node
            for i, part in parts.items()
            if rows[i]
            for node in self._joined(loop, part, rows[i], starts[i], named[i])
        ]

    def _part(self, loop: OnnxNode, body: Body, i: int) -> _Part | None:
        name, start = body.inputs[2 + i], self.sizes(loop.inputs[2 + i])
        makers = {result: node for node in body.nodes for result in node.outputs}
        maker = makers.get(body.outputs[1 + i])
        while maker is not None and maker.op == "Identity":
            maker = makers.get(maker.inputs[0])
        if maker is None or maker.op != "Concat" or len(maker.inputs) != 2 or not start:
            return None
        if (
            maker.inputs.count(name) != 1
            or [n for n in body.nodes if name in n.uses] != [maker]
            or name in body.outputs
        ):
            return None
        grown = {result for node in body.nodes if maker.outputs[0] in node.uses for result in node.outputs}
        if grown and (grown != {body.outputs[1 + i]} or body.outputs.count(maker.outputs[0])):
            return None  # the tensor so far is used in a round
        rank, axis = len(start), int(maker.attrs["axis"])
        if body.outputs.count(body.outputs[1 + i]) != 1 or not -rank <= axis < rank or start[axis] is None:
            return None
        row = next(one for one in maker.inputs if one != name)
        inner = makers.get(row)
        given = None if inner is None or inner.op != "Unsqueeze" else self._axes(inner)
        if inner is not None and given is not None and [a % rank for a in given] == [axis % rank]:
            return _Part(inner.inputs[0], axis % rank, rank, maker.inputs[1] == name)
        sizes = self.sizes(row)
        if sizes is None or len(sizes) != rank or sizes[axis] != 1:
            return None
        squeezed = self.fresh(f"{row}.squeezed")
        body.nodes.append(self._node("Squeeze", row, squeezed, loop.opset, axes=[axis % rank]))
        return _Part(squeezed, axis % rank, rank, maker.inputs[1] == name)

    def _axes(self, node: OnnxNode) -> list[int] | None:
        if len(node.inputs) < 2:
            return list(node.attrs.get("axes", []))
        axes = self.constants.get(node.inputs[1])
        return None if axes is None else axes.ravel().tolist()

    def _joined(self, loop: OnnxNode, part: _Part, rows: str, start: str, result: str) -> list[OnnxNode]:
        """The nodes that make the tensor of its rows, which the Loop collects along axis 0."""
        axis, sizes, opset = part.axis, self.sizes(start), loop.opset
        perm = [*range(1, axis + 1), 0, *range(axis + 1, part.rank)]
        is_empty = sizes is not None and sizes[axis] == 0
        steps: list[tuple[str, dict[str, Any]]] = [("Transpose", {"perm": perm})]
        if part.before:
            steps.append(("Slice", {"starts": [-1], "ends": [-(2**31 - 1)], "axes": [axis], "steps": [-1]}))
        nodes, name = [], rows
        for number, (op, attrs) in enumerate(steps):
            last = number == len(steps) - 1 and is_empty
            target = result if last else self.fresh(f"{result}.{op}")
            nodes.append(self._node(op, name, target, opset, **attrs))
            name = target
        if not is_empty:
            joined = [name, start] if part.before else [start, name]
            proto = self.onnx.helper.make_node("Concat", joined, [result], name=loop.name, axis=axis)
            nodes.append(wrap(self.onnx, proto, opset))
        return nodes

    def _node(self, op: str, name: str, result: str, opset: int, **given: list[int]) -> OnnxNode:
        """A node on one tensor; what operator sets from 13 on take as inputs, Slice from 10 on, are constants."""
        inputs, attrs = [name], given
        if op == "Slice" or (op == "Squeeze" and opset >= 13):
            attrs = {}
            for key, numbers in given.items():
                constant = self.fresh(f"{result}.{key}")
                self.constants[constant] = np.array(numbers, np.int64)
                inputs.append(constant)
        return wrap(self.onnx, self.onnx.helper.make_node(op, inputs, [result], name=result, **attrs), max(opset, 10))


__all__ = ["Grown", "collect"]
