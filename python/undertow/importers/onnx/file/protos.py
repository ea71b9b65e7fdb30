# SPDX-License-Identifier: MIT
"""Names in the graphs of a file: what uses which, and which nodes its outputs need."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable
from typing import Any, NoReturn

from .nodes import OnnxNode

#: name in a graph -> the name of its value among those of all graphs; the innermost graph first
Scope = ChainMap[str, str]


def identity(onnx: Any, value: str, name: str, opset: int) -> OnnxNode:
    proto = onnx.helper.make_node("Identity", [value], [name], name=name)
    return OnnxNode(proto, "Identity", name, [value], [name], {}, opset)


def free_names(graph: Any) -> set[str]:
    """Names that a GraphProto uses and does not define itself."""
    defined = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    defined |= {name for node in graph.node for name in node.output}
    return (_used(graph.node) | {v.name for v in graph.output}) - defined - {""}


def _used(protos: Iterable[Any]) -> set[str]:
    used: set[str] = set()
    for node in protos:
        used |= set(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                used |= free_names(attribute.g)
    return used


def needed(protos: Iterable[Any], outputs: Iterable[str]) -> list[Any]:
    """The nodes that `outputs` are computed from."""
    names, kept = set(outputs), []
    for node in reversed(list(protos)):
        if names & set(node.output):
            names |= _used([node]) - {""}
            kept.append(node)
    return kept[::-1]


def wrong_number(node: OnnxNode, number: int, expected: int, what: str = "outputs") -> NoReturn:
    node.format_error(f"its graph has {number} {what}, the node needs {expected}")


__all__ = ["Scope", "free_names", "identity", "needed", "wrong_number"]
