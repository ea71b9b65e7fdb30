# SPDX-License-Identifier: MIT
"""A node of an ONNX file with its attributes as Python values, and the errors that name it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from ...._text import quoted, shown
from ....errors import FormatError, ShapeError, UnsupportedError

#: what the text of a node begins with that stands, with others, for one of the file
_PART_OF = "undertow: part of "


@dataclass
class Body:
    """A graph inside of a node (a branch, the body of a loop): its names are unique in the whole model."""

    inputs: list[str]
    nodes: list[OnnxNode]
    outputs: list[str]

    @property
    def captures(self) -> set[str]:
        """Values from outside that it uses."""
        own, used = set(self.inputs), set(self.outputs)
        for node in self.nodes:
            used |= node.uses
            own |= set(node.outputs)
        return used - own - {""}


@dataclass
class OnnxNode:
    """One node; `proto` is the original, `opset` the version of its operator set, `bodies` the graphs that it holds."""

    proto: Any
    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    opset: int
    bodies: dict[str, Body] = field(default_factory=dict)

    @property
    def uses(self) -> set[str]:
        """Everything that it reads: its inputs, and what its bodies take from outside."""
        used = {name for name in self.inputs if name}
        return used.union(*(body.captures for body in self.bodies.values())) if self.bodies else used

    @cached_property
    def settings(self) -> tuple[bytes, ...]:
        """The attributes of `proto`, one by one."""
        return tuple(attribute.SerializeToString() for attribute in self.proto.attribute)

    @cached_property
    def where(self) -> str:
        """Operator and name, for messages; of a node that stands for one of the file, that one's."""
        if (text := getattr(self.proto, "doc_string", "")).startswith(_PART_OF):
            return f"{shown(text.removeprefix(_PART_OF))} ({shown(self.op)} in its definition)"
        return f"{shown(self.op)} node {quoted(self.name)}"

    def unsupported(self, message: str) -> NoReturn:
        raise UnsupportedError(f"{self.where}: {message}")

    def shape_error(self, message: str) -> NoReturn:
        raise ShapeError(f"{self.where}: {message}")

    def format_error(self, message: str) -> NoReturn:
        raise FormatError(f"{self.where}: {message}")

    def allow(self, *names: str) -> None:
        """Refuse every attribute that is not in `names`."""
        for name in sorted(set(self.attrs) - set(names)):
            self.unsupported(f"attribute {name}={self.attrs[name]!r} is not supported")


def part_of(proto: Any) -> str:
    """The text of the nodes that stand for a node of the file, by which errors name that one."""
    if proto.doc_string.startswith(_PART_OF):
        return str(proto.doc_string)
    return f"{_PART_OF}{proto.op_type} node {quoted(proto.name or next((o for o in proto.output if o), ''))}"


def needed(nodes: Iterable[OnnxNode], outputs: Iterable[str]) -> list[OnnxNode]:
    """The nodes that values are computed by, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if wanted & set(node.outputs):
            wanted |= node.uses
            kept.append(node)
    return kept[::-1]


def flat(nodes: Iterable[OnnxNode]) -> Iterator[OnnxNode]:
    """The nodes, with those of both branches in place of every If, for asking what a value is used for."""
    for node in nodes:
        if node.op != "If":
            yield node
            continue
        for body in node.bodies.values():
            yield from flat(body.nodes)
            for value, name in zip(body.outputs, node.outputs, strict=True):
                yield OnnxNode(None, "Identity", node.name, [value], [name], {}, node.opset)


def wrap(onnx: Any, proto: Any, opset: int) -> OnnxNode:
    """Wrap an `onnx.NodeProto`."""
    name = proto.name or next((o for o in proto.output if o), "")
    attrs: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            value = [v.decode("utf-8", "replace") for v in value]
        attrs[attribute.name] = value
    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    return OnnxNode(proto, op, name, list(proto.input), list(proto.output), attrs, opset)


def float_constant(node: OnnxNode, array: Any, what: str) -> np.ndarray:
    """A constant that takes part in the model's arithmetic: float32, anything else is refused by name."""
    if not isinstance(array, np.ndarray):
        node.unsupported(f"{what} is computed at run time, expected a constant")
    if array.dtype != np.float32:
        node.unsupported(f"{what} has dtype {array.dtype}, expected float32; convert the model to float32")
    return array
