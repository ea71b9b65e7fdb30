# SPDX-License-Identifier: MIT
"""Sequences of tensors, where every place in them is known: a split and what is taken of it are slices, and what is
put together and joined is a Concat. Exporters write them where a size is open. A sequence that a Loop appends to in
each round is a tensor that it collects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..file.nodes import Body, OnnxNode, wrap
from .collected import collect

_END = 2**31 - 1
#: what makes a sequence that a Loop collects; its input is the tensor, its attribute the rank of a part
_COLLECTED = "Collected"


class Sequences:
    """What the values are that hold sequences.

    sizes: the shape of a value, as far as it is known. stacks: is told of a value that holds another one of each round.
    """

    def __init__(
        self,
        onnx: Any,
        constants: dict[str, np.ndarray],
        sizes: Callable[[str], list[int | None] | None],
        stacks: Callable[[str, str], None],
    ) -> None:
        self.onnx, self.constants, self.sizes, self.stacks = onnx, constants, sizes, stacks
        self._makers: dict[str, OnnxNode] = {}

    def begins_empty(self, name: str) -> bool:
        maker = self._makers.get(name)
        return maker is not None and maker.op == "SequenceEmpty"

    def collect(self, loop: OnnxNode, fresh: Callable[[str], str]) -> None:
        """Let a Loop collect what it appends to sequences that are empty before it, in place of carrying them.

        fresh: gives a name that no value has.
        """
        body, n = loop.bodies["body"], max(len(loop.inputs) - 2, 0)
        if len(body.inputs) != 2 + n or len(body.outputs) < 1 + n:
            return  # the walk refuses it
        appended = {i: part for i in range(n) if (part := self._appended(loop, body, i))}
        if not appended:
            return
        outputs = [*loop.outputs, *[""] * n]
        named = {i: outputs[i] for i in appended}
        parts = {i: part for i, (part, _) in appended.items()}
        for i, rows in collect(loop, parts, fresh).items():
            if rows:
                self.stacks(rows, parts[i])
                sizes = self.sizes(parts[i])
                attrs: dict[str, Any] = {"front": appended[i][1], **({} if sizes is None else {"sizes": sizes})}
                self._makers[named[i]] = OnnxNode(None, _COLLECTED, loop.name, [rows], [named[i]], attrs, loop.opset)

    def _appended(self, loop: OnnxNode, body: Body, i: int) -> tuple[str, bool] | None:
        """What each round puts at the end of a carried sequence that starts empty, and for nothing else; or at the
        front, which is told.
        """
        name, makers = body.inputs[2 + i], {result: node for node in body.nodes for result in node.outputs}
        maker = makers.get(body.outputs[1 + i])
        while maker is not None and maker.op == "Identity":
            maker = makers.get(maker.inputs[0])
        if maker is None or maker.op != "SequenceInsert" or not self.begins_empty(loop.inputs[2 + i]):
            return None
        if [node for node in body.nodes if name in node.uses] != [maker] or maker.inputs[0] != name:
            return None
        if len(maker.inputs) == 2 or not maker.inputs[2]:
            return maker.inputs[1], False
        place = self.constants.get(maker.inputs[2])
        return (maker.inputs[1], True) if place is not None and place.size == 1 and not place.any() else None

    def spelled_out(self, node: OnnxNode) -> list[OnnxNode]:
        """The nodes on tensors in place of one that takes from a sequence, where that is known; else the node."""
        if node.op in ("SplitToSequence", "SequenceConstruct", "SequenceEmpty"):
            self._makers[node.outputs[0]] = node
        maker = self._makers.get(node.inputs[0]) if node.inputs else None
        if maker is not None and maker.op == _COLLECTED:
            return self._of_collected(node, maker) or [node]
        of_ones = self._of_ones(node, maker) if maker is not None and maker.op == "SplitToSequence" else None
        if of_ones is not None:
            return of_ones
        if maker is None or node.op not in ("SequenceAt", "ConcatFromSequence"):
            return [node]
        if node.op == "ConcatFromSequence":
            return self._joined(node, maker) or [node]
        at = self.constants.get(node.inputs[1])
        if at is None or at.size != 1:
            return [node]
        place = int(at.reshape(()))
        if maker.op == "SplitToSequence":
            return self._piece(node, maker, place) or [node]
        if not -len(maker.inputs) <= place < len(maker.inputs):
            node.shape_error(f"takes place {place} of a sequence of {len(maker.inputs)}")
        return [self._node("Identity", [maker.inputs[place]], node)]

    def _of_collected(self, node: OnnxNode, maker: OnnxNode) -> list[OnnxNode] | None:
        """The nodes on the tensor that a Loop has collected, whose first axis counts the rounds."""
        if node.op == "SequenceLength":
            return self._size(node, maker.inputs[0], 0)
        if maker.attrs["front"]:
            return self._turned(node, maker)
        (rows,), sizes = maker.inputs, maker.attrs.get("sizes")
        if node.op == "SequenceAt":
            return [self._node("Gather", [rows, node.inputs[1]], node, axis=0)]
        if node.op != "ConcatFromSequence" or sizes is None:
            return None
        is_new, rank = bool(node.attrs.get("new_axis", 0)), len(sizes)
        axis = int(node.attrs["axis"]) % (rank + is_new)
        perm = [*range(1, axis + 1), 0, *range(axis + 1, rank + 1)]
        if is_new:
            return [self._node("Transpose", [rows], node, perm=perm)]
        if sizes[axis] != 1:
            return None
        moved = f"{node.outputs[0]}.moved"
        proto = self.onnx.helper.make_node("Transpose", [rows], [moved], name=moved, perm=perm)
        given = [self._constant(node, "axes", np.array([axis + 1]))] if node.opset >= 13 else []
        attrs = {} if given else {"axes": [axis + 1]}
        return [wrap(self.onnx, proto, node.opset), self._node("Squeeze", [moved, *given], node, **attrs)]

    def _turned(self, node: OnnxNode, maker: OnnxNode) -> list[OnnxNode] | None:
        """The nodes on what a Loop has put at the front of a sequence: it collects that backwards."""
        at = self.constants.get(node.inputs[1]) if node.op == "SequenceAt" else None
        if at is not None and at.size == 1 and not at.any():
            place = self._constant(node, "at", np.array(-1))
            return [self._node("Gather", [*maker.inputs, place], node, axis=0)]
        rows = f"{node.outputs[0]}.turned"
        ends = (("starts", -1), ("ends", -_END), ("axes", 0), ("steps", -1))
        given = [self._constant(node, what, np.array([n])) for what, n in ends]
        proto = self.onnx.helper.make_node("Slice", [*maker.inputs, *given], [rows], name=rows)
        straight = replace(maker, inputs=[rows], attrs={**maker.attrs, "front": False})
        rest = self._of_collected(node, straight)
        return None if rest is None else [wrap(self.onnx, proto, node.opset), *rest]

    def _size(self, node: OnnxNode, tensor: str, axis: int) -> list[OnnxNode]:
        shape = f"{node.outputs[0]}.shape"
        proto = self.onnx.helper.make_node("Shape", [tensor], [shape], name=shape)
        place = self._constant(node, "place", np.array(axis))
        return [wrap(self.onnx, proto, node.opset), self._node("Gather", [shape, place], node, axis=0)]

    def _of_ones(self, node: OnnxNode, maker: OnnxNode) -> list[OnnxNode] | None:
        """The nodes in place of a part of a sequence, one of all places along an axis, or of how many there are."""
        axis, sizes = int(maker.attrs.get("axis", 0)), maker.inputs[1] if len(maker.inputs) > 1 else ""
        known = self.constants.get(sizes)
        if sizes and (known is None or known.ndim or int(known) != 1):
            return None
        if node.op == "SequenceLength":
            return self._size(node, maker.inputs[0], axis)
        if node.op != "SequenceAt" or node.inputs[1] in self.constants:
            return None  # as of any other
        if not self._keeps_axis(maker):
            return [self._node("Gather", [maker.inputs[0], node.inputs[1]], node, axis=axis)]
        at = f"{node.outputs[0]}.at"
        proto = self.onnx.helper.make_node(
            "Reshape", [node.inputs[1], self._constant(node, "one", np.array([1]))], [at], name=at
        )
        return [wrap(self.onnx, proto, node.opset), self._node("Gather", [maker.inputs[0], at], node, axis=axis)]

    def _keeps_axis(self, maker: OnnxNode) -> bool:
        """Whether parts of a split have its axis. ONNX ignores keepdims beside sizes; PyTorch's unbind writes a size of
        1 and keepdims=0, ONNX Runtime heeds it, and what follows expects it.
        """
        known = self.constants.get(maker.inputs[1]) if len(maker.inputs) > 1 and maker.inputs[1] else np.array(1)
        return bool(maker.attrs.get("keepdims", 1)) or known is None or known.ndim > 0 or int(known) != 1

    def _piece(self, node: OnnxNode, maker: OnnxNode, place: int) -> list[OnnxNode] | None:
        axis = int(maker.attrs.get("axis", 0))
        sizes = maker.inputs[1] if len(maker.inputs) > 1 else ""
        if not self._keeps_axis(maker):
            at = self._constant(node, "at", np.array(place))
            return [self._node("Gather", [maker.inputs[0], at], node, axis=axis)]
        if not sizes:
            start, end = place, place + 1 or _END
        else:
            known = self.constants.get(sizes)
            if known is None:
                return None
            if known.ndim == 0:
                if place < 0:
                    return None
                start, end = place * int(known), (place + 1) * int(known)
            else:
                if not -known.size <= place < known.size:
                    node.shape_error(f"takes place {place} of a sequence of {known.size}")
                ends = np.cumsum(known)
                start, end = int(ends[place] - known[place]), int(ends[place])
        given = [
            self._constant(node, what, np.array([n])) for what, n in (("start", start), ("end", end), ("axis", axis))
        ]
        return [self._node("Slice", [maker.inputs[0], *given], node)]

    def _joined(self, node: OnnxNode, maker: OnnxNode) -> list[OnnxNode] | None:
        if maker.op != "SequenceConstruct":
            return None
        axis, parts, unsqueezed = int(node.attrs["axis"]), list(maker.inputs), []
        if node.attrs.get("new_axis", 0):
            given = [self._constant(node, "axes", np.array([axis]))] if node.opset >= 13 else []
            attrs = {} if given else {"axes": [axis]}
            for i, part in enumerate(parts):
                parts[i] = f"{node.outputs[0]}.{i}"
                proto = self.onnx.helper.make_node("Unsqueeze", [part, *given], [parts[i]], name=parts[i], **attrs)
                unsqueezed.append(wrap(self.onnx, proto, node.opset))
        return [*unsqueezed, self._node("Concat", parts, node, axis=axis)]

    def _constant(self, node: OnnxNode, what: str, array: np.ndarray) -> str:
        name = f"{node.outputs[0]}.{what}"
        self.constants[name] = array
        return name

    def _node(self, op: str, inputs: list[str], node: OnnxNode, **attrs: Any) -> OnnxNode:
        proto = self.onnx.helper.make_node(op, inputs, [node.outputs[0]], name=node.name, **attrs)
        return wrap(self.onnx, proto, node.opset)


__all__ = ["Sequences"]
