# SPDX-License-Identifier: MIT
"""Sequences of tensors, where every place in them is known: a split and what is taken of it are slices, and what is
put together and joined is a Concat. Exporters write them where a size is open.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, wrap

_END = 2**31 - 1


class Sequences:
    """What the values are that hold sequences."""

    def __init__(self, onnx: Any, constants: dict[str, np.ndarray]) -> None:
        self.onnx, self.constants = onnx, constants
        self._makers: dict[str, OnnxNode] = {}

    def spelled_out(self, node: OnnxNode) -> list[OnnxNode]:
        """The nodes on tensors in place of one that takes from a sequence, where that is known; else the node."""
        if node.op in ("SplitToSequence", "SequenceConstruct"):
            self._makers[node.outputs[0]] = node
        maker = self._makers.get(node.inputs[0]) if node.inputs else None
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

    def _piece(self, node: OnnxNode, maker: OnnxNode, place: int) -> list[OnnxNode] | None:
        axis = int(maker.attrs.get("axis", 0))
        sizes = maker.inputs[1] if len(maker.inputs) > 1 else ""
        if not sizes:
            if not maker.attrs.get("keepdims", 1):
                at = self._constant(node, "at", np.array(place))
                return [self._node("Gather", [maker.inputs[0], at], node, axis=axis)]
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
