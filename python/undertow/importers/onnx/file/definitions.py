# SPDX-License-Identifier: MIT
"""Operators of ONNX Runtime's own domain, which its optimiser and its quantiser write: ONNX's take their place. So they
do for those of ONNX's whose own definition does not go with every operator set.

`definitions_float`, `definitions_int8` and `definitions_recurrent` hold one function for each of them, which its row in
`traits` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from ...._text import quoted
from ....errors import Error, UnsupportedError
from ..traits import RUNTIME, traits
from .nodes import OnnxNode, part_of, wrap
from .read import check_size_of, graphs_of, require_onnx


class Parts:
    """The nodes that stand for one node.

    node: the one. given: its inputs, "" where one is missing.
    """

    def __init__(self, model: _Model, node: OnnxNode) -> None:
        self.model, self.node, self.nodes = model, node, list[Any]()
        self.helper = require_onnx().helper

    @property
    def given(self) -> list[str]:
        return self.node.inputs

    def settings(self, *names: str) -> dict[str, Any]:
        """Attributes of the node, of these names, as far as it has them."""
        return {name: self.node.attrs[name] for name in names if name in self.node.attrs}

    def slot(self, i: int) -> str:
        return self.given[i] if i < len(self.given) else ""

    def add(self, op: str, *inputs: str, gives: str = "", **attrs: Any) -> str:
        """Another node; gives the name of its first output."""
        gives = gives or self.model.new_name(f"{self.node.outputs[0]}/{op}")
        self.put(self.helper.make_node(op, inputs, [gives], **attrs))
        return gives

    def name(self, of: str) -> str:
        """A new name of a value."""
        return self.model.new_name(f"{self.node.outputs[0] or self.node.name}/{of}")

    def reshape(self, name: str, *sizes: int) -> str:
        """As Reshape has it: 0 keeps a size, -1 is what is left."""
        return self.add("Reshape", name, self.constant(np.array(sizes)))

    def inside(self) -> Parts:
        """The nodes of a graph inside of one of these nodes."""
        return Parts(self.model, self.node)

    def graph(self, inputs: list[str], outputs: list[str]) -> Any:
        """These nodes as a graph of float32 values, of any shape."""
        infos = [[self.helper.make_tensor_value_info(n, 1, None) for n in names] for names in (inputs, outputs)]
        return self.helper.make_graph(self.nodes, self.name("body"), *infos)

    def put(self, proto: Any) -> None:
        """Add a node as it is, with a name of its own."""
        if not all(proto.input[:2]):
            self.node.format_error(f"lacks an input; it has {self.given}")
        proto.name = f"{self.node.name}/{proto.op_type}_{len(self.nodes)}"
        proto.doc_string = part_of(self.node.proto)
        self.nodes.append(proto)

    def constant(self, array: Any) -> str:
        tensor = require_onnx().numpy_helper.from_array(np.asarray(array))
        return self.add("Constant", value=tensor)

    def known(self, i: int, what: str) -> np.ndarray:
        """The array of an input, which must be in the file."""
        array = self.model.array(self.slot(i))
        if array is None:
            self.node.unsupported(f"{what} is computed at run time, expected a constant")
        return array

    def dims(self, name: str) -> list[int | None] | None:
        """The shape of a value, told from the file, with None for sizes that are open; None where nothing tells it."""
        return self.model.shapes.get(name)

    def rank(self, name: str) -> int:
        """How many axes a value has, told from the file."""
        dims = self.dims(name)
        if dims is None:
            raise NoRank(
                f"{self.node.where}: nothing tells how many axes its input {quoted(name)} has; load the file that this "
                "one was made from"
            )
        return len(dims)


class NoRank(Exception):
    """A node whose definition needs what cannot be told before others have theirs."""


class _Model:
    """What is asked of the file as a whole."""

    def __init__(self, model: Any) -> None:
        self.model, self.onnx = model, require_onnx()
        graphs = list(graphs_of(model.graph))
        nodes = [node for graph in graphs for node in graph.node]
        self.tensors = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
        for node in nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self.tensors[node.output[0]] = node.attribute[0].t
        self.names = {name for node in nodes for name in (*node.input, *node.output)}
        for graph in graphs:
            self.names |= {value.name for value in (*graph.input, *graph.initializer)}
        self.n_names = 0
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)

    def new_name(self, like: str) -> str:
        while True:
            self.n_names += 1
            name = f"{like}_{self.n_names}"
            if name not in self.names:
                return name

    def array(self, name: str) -> np.ndarray | None:
        tensor = self.tensors.get(name)
        return None if tensor is None else self.onnx.numpy_helper.to_array(tensor)

    @cached_property
    def shapes(self) -> dict[str, list[int | None]]:
        """Value -> its shape, as far as shape inference knows it; None: an open size."""
        shapes: dict[str, list[int | None]] = {}
        for graph in graphs_of(self.onnx.shape_inference.infer_shapes(self.model).graph):
            for value in (*graph.input, *graph.output, *graph.value_info):
                if value.type.tensor_type.HasField("shape"):
                    dims = value.type.tensor_type.shape.dim
                    shapes[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in dims]
        return {**shapes, **{name: [*tensor.dims] for name, tensor in self.tensors.items()}}


def in_onnx(model: Any) -> Any:
    """Put ONNX's nodes in place of those of ONNX Runtime's, and of those whose row says so, in a checked model.

    Raises:
        UnsupportedError: a node has what is not computed exactly.
    """
    left = sum(_definition(node) is not None for graph in graphs_of(model.graph) for node in graph.node)
    while left:
        whole, before, unknown = _Model(model), left, list[NoRank]()
        for graph in graphs_of(model.graph):
            copies = []
            for node in _rewritten(whole, graph.node, unknown):
                copies.append(type(node)())
                copies[-1].CopyFrom(node)
            del graph.node[:]
            graph.node.extend(copies)
        check_size_of(model.graph, "what ONNX Runtime's operators are defined by")
        left = len(unknown)
        if left == before:
            raise UnsupportedError(str(unknown[0]))
    return model


def _rewritten(whole: _Model, protos: Iterable[Any], unknown: list[NoRank]) -> Iterator[Any]:
    """Nodes, others in place of those that are defined by them; those of which that cannot be told yet stay."""
    for proto in protos:
        definition = _definition(proto)
        if definition is None:
            yield proto
            continue
        parts = Parts(whole, wrap(whole.onnx, proto, whole.opset))
        if not proto.output or not proto.output[0]:
            parts.node.format_error("has no first output")
        try:
            definition(parts)
        except NoRank as error:
            unknown.append(error)
            yield proto
        except Error:
            raise
        except (IndexError, TypeError, ValueError) as error:
            parts.node.format_error(f"is malformed: {error}")
        else:
            yield from parts.nodes


def _definition(proto: Any) -> Callable[[Parts], None] | None:
    """The function of a node's row."""
    if proto.domain not in ("", "ai.onnx", RUNTIME):
        return None
    op = f"{RUNTIME}.{proto.op_type}" if proto.domain == RUNTIME else proto.op_type
    module, _, name = traits(op).defined_in.partition(".")
    if not module:
        return None
    function: Callable[[Parts], None] = getattr(import_module(f".{module}", __package__), name)
    return function


__all__ = ["Parts", "in_onnx"]
