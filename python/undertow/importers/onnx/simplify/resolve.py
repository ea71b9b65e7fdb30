# SPDX-License-Identifier: MIT
"""Fold what is known while loading, and take the branches and loops that this decides, before any axis is read.

One pass in the order of the nodes: constants are computed, sizes are followed as far as they are fixed (onnx's own
shape inference, node by node; shapes that the file declares for values inside the graph are never looked at), an `If`
whose condition becomes known is replaced by the branch that it takes, a `Loop` or `Scan` over constants by what it
gives. Everything comes out in one flat namespace. An `If`, `Loop` or `Scan` that is still open keeps its graphs as
`Body`s, for the walk, which knows all sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ....errors import UnsupportedError
from ..file import limits
from ..file.nodes import Body, OnnxNode, wrap
from ..file.nodes import needed as needed_nodes
from ..file.protos import Scope, free_names, identity, needed, wrong_number
from ..traits import EACH, traits
from .collected import Grown
from .constant_loops import run_constant
from .counted_loops import counted
from .equations import lettered
from .fold import Evaluator, check_outputs
from .patterns import recompose
from .sequences import Sequences

Sizes = list[int | None]

#: largest constant whose value shape inference is told: shapes, axes, pads, not weights
_INFERENCE_DATA = 64
#: an equation of Einsum; onnx's shape inference does not come back from some that are none
_TERM = r"[A-Za-z ]*(\.\.\.[A-Za-z ]*)?"
_EQUATION = re.compile(f"{_TERM}(,{_TERM})*(->{_TERM})?")
#: stands for an open size where ops that move elements are run on sizes
_OPEN = -(2**40)


class Resolver:
    """Holds what is known: `constants` (flat name -> array) and `types` (flat name -> TypeProto) grow as it goes."""

    def __init__(self, evaluator: Evaluator, opset: int, constants: dict[str, np.ndarray]) -> None:
        self.evaluator, self.onnx = evaluator, evaluator.onnx
        self.opset, self.constants = opset, constants
        self.types: dict[str, Any] = {}
        #: integer vectors of which some entries are open
        self.partial: dict[str, Sizes] = {}
        #: constant -> the node that it was computed by
        self.origins: dict[str, OnnxNode] = {}
        self._opsets = [self.onnx.helper.make_opsetid("", opset)]
        #: (dtype, shape) -> the type of constants
        self._constant_types: dict[tuple[Any, tuple[int, ...]], Any] = {}
        self.sequences = Sequences(self.onnx, constants, self.sizes, self._stacks)
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}  # name -> the number that its last namesake got
        self._n_nodes = 0
        #: what shape inference is told of a node -> the types of its outputs, None where they cannot be told
        self._inferred: dict[tuple[Any, ...], list[Any] | None] = {}

    # -- the pass -------------------------------------------------------------------------------------------------

    def run(self, graph: Any) -> list[OnnxNode]:
        """The nodes of a GraphProto that are left; `types` and `constants` hold its inputs and initializers."""
        self._graph = graph
        outputs = [v.name for v in graph.output]
        kept = needed(graph.node, outputs)
        names = [o for node in kept for o in node.output if o]
        self._taken |= {*self.constants, *self.types, *names}
        scope = Scope({name: name for name in self._taken})
        return self._resolve(kept, scope)

    def _resolve(self, protos: Iterable[Any], scope: Scope) -> list[OnnxNode]:
        rest: list[OnnxNode] = []
        for proto in protos:
            node = self._wrap(proto, scope)
            if node.bodies or node.op in ("If", "Loop", "Scan"):
                rest += self._structure(node, proto, scope)
                continue
            if node.op == "Split":
                node = self._without_empty(node, proto)
            elif node.op == "Concat" and len(parts := self._elements_of(node)) < len(node.inputs):
                node = self._joined(node, parts)
            elif node.op == "Einsum":
                node = self._lettered(node)
            for plain in self.sequences.spelled_out(node):
                if self._is_sort_of_one(plain):
                    rest += self._sorted(plain)
                elif not self._fold(plain):
                    self._follow(plain)
                    rest.append(plain)
        return recompose(rest, self.constants)

    def _wrap(self, proto: Any, scope: Scope) -> OnnxNode:
        """The node with flat names, its outputs entered into the scope."""
        self.count(len(proto.input) + len(proto.output))
        node = wrap(self.onnx, proto, self.opset)
        for name in node.inputs:
            if name and name not in scope:
                node.format_error(f"input {name!r} does not exist")
        node.inputs = [scope[name] if name else "" for name in node.inputs]
        node.outputs = [self._define(name, scope) if name else "" for name in node.outputs]
        renamed = node.inputs != list(proto.input) or node.outputs != list(proto.output)
        if renamed and node.op not in ("Constant", "If", "Loop", "Scan"):
            node.proto = type(proto)()
            node.proto.CopyFrom(proto)
            del node.proto.input[:], node.proto.output[:]
            node.proto.input.extend(node.inputs)
            node.proto.output.extend(node.outputs)
        return node

    def count(self, n_ports: int = 0) -> None:
        """Refuse to go on beyond the limit of nodes; a round of a loop is one as well."""
        self._n_nodes += limits.nodes_of(n_ports)
        if self._n_nodes > limits.MAX_NODES:
            raise UnsupportedError(f"more than {limits.MAX_NODES} nodes after branches and loops are written out")

    def _define(self, name: str, scope: Scope) -> str:
        """A flat name for a value of the innermost graph; the name itself where nobody else has it."""
        if len(scope.maps) == 1:
            return name
        flat = name
        while flat in self._taken:
            self._last[name] = self._last.get(name, 1) + 1
            flat = f"{name}_{self._last[name]}"
        self._taken.add(flat)
        scope.maps[0][name] = flat
        return flat

    def _fresh(self, name: str) -> str:
        """A flat name that no value has."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _is_sort_of_one(self, node: OnnxNode) -> bool:
        """Whether a TopK picks the only number there is, as PyTorch sorts sequences by their lengths."""
        if node.op != "TopK" or node.inputs[0] in self.constants:
            return False
        sizes, k = self.sizes(node.inputs[0]), self.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        axis = int(node.attrs.get("axis", -1))
        if sizes is None or None in sizes or k is None or k.size != 1 or not -len(sizes) <= axis < len(sizes):
            return False
        return sizes[axis] == 1 and int(k.reshape(())) == 1

    def _without_empty(self, node: OnnxNode, proto: Any) -> OnnxNode:
        """A Split without parts of no elements that nobody reads, as tf2onnx leaves of a GRU that it has simplified."""
        given = self.constants.get(node.inputs[1]) if len(node.inputs) > 1 else node.attrs.get("split")
        sizes = [] if given is None else np.ravel(given).tolist()
        if 0 not in sizes or len(sizes) != len(node.outputs):
            return node
        kept = [i for i, (n, name) in enumerate(zip(sizes, proto.output, strict=True)) if n or name in self._read]
        if not kept or len(kept) == len(sizes):
            return node
        outputs, inputs = [node.outputs[i] for i in kept], node.inputs[:1]
        attrs = {key: value for key, value in node.attrs.items() if key == "axis"}
        if node.opset < 13:
            attrs["split"] = [sizes[i] for i in kept]
        else:
            inputs = [*inputs, self._fresh(f"{outputs[0]}.sizes")]
            self.constants[inputs[1]] = np.array([sizes[i] for i in kept], np.int64)
        return wrap(
            self.onnx, self.onnx.helper.make_node("Split", inputs, outputs, name=node.name, **attrs), node.opset
        )

    def _elements_of(self, node: OnnxNode) -> list[str]:
        """The parts of a Concat that have elements, as a cache of one frame without its first has none; all where
        none has.
        """
        axis = int(node.attrs.get("axis", 0))
        parts = []
        for name in node.inputs:
            sizes = self.sizes(name)
            if sizes is None or not -len(sizes) <= axis < len(sizes) or sizes[axis] != 0:
                parts.append(name)
        return parts or node.inputs

    def _lettered(self, node: OnnxNode) -> OnnxNode:
        """An Einsum without ellipses, where it is told how many axes they stand for."""
        equation, sizes = str(node.attrs.get("equation", "")), [self.sizes(name) for name in node.inputs]
        if not _EQUATION.fullmatch(equation) or None in sizes:
            return node
        plain = lettered(equation, [len(s) for s in sizes if s is not None])
        if plain == equation:
            return node
        proto = self.onnx.helper.make_node("Einsum", node.inputs, node.outputs, name=node.name, equation=plain)
        return wrap(self.onnx, proto, node.opset)

    def _joined(self, node: OnnxNode, parts: list[str]) -> OnnxNode:
        op, attrs = ("Identity", {}) if len(parts) == 1 else ("Concat", {"axis": node.attrs["axis"]})
        proto = self.onnx.helper.make_node(op, parts, node.outputs, name=node.name, **attrs)
        return wrap(self.onnx, proto, node.opset)

    @cached_property
    def _read(self) -> set[str]:
        """The names that some graph reads or gives."""
        names: set[str] = set()
        waiting = [self._graph]
        while waiting:
            graph = waiting.pop()
            names.update(value.name for value in graph.output)
            for proto in graph.node:
                names.update(proto.input)
                waiting += [attribute.g for attribute in proto.attribute if attribute.HasField("g")]
        return names

    def _sorted(self, node: OnnxNode) -> list[OnnxNode]:
        values, places = (*node.outputs, "")[:2]
        if places:
            sizes = self.sizes(node.inputs[0]) or []
            self.constants[places] = np.zeros([n for n in sizes if n is not None], np.int64)
        return self._alias(node, node.inputs[:1], [values])

    # -- constants and sizes --------------------------------------------------------------------------------------

    def _fold(self, node: OnnxNode) -> bool:
        """Compute a node whose inputs are known."""
        if traits(node.op).asks_shape:
            return self._shape(node)
        if not traits(node.op).pure:
            return False
        if all(not name or name in self.constants for name in node.inputs):
            results = self.evaluator.run(node, [self.constants[name] if name else None for name in node.inputs])
            self.constants.update({name: a for name, a in zip(node.outputs, results, strict=False) if name})
            self.origins.update(dict.fromkeys(node.outputs, node))
            return True
        if traits(node.op).on_sizes and any(name in self.partial for name in node.inputs):
            return self._fold_sizes(node)
        return False

    def _shape(self, node: OnnxNode) -> bool:
        (name, *_), (out, *_) = node.inputs, node.outputs
        sizes = list(self.constants[name].shape) if name in self.constants else self.sizes(name)
        if sizes is None:
            return False
        if node.op == "Size":
            if None in sizes:
                return False
            self.constants[out] = np.array(np.prod([n for n in sizes if n is not None], dtype=np.int64))
            return True
        sizes = sizes[node.attrs.get("start", 0) : node.attrs.get("end", None)]
        return self._know(out, sizes)

    def _know(self, name: str, sizes: Sizes) -> bool:
        """Keep an integer vector; whether all of it is known."""
        if None in sizes:
            self.partial[name] = sizes
            return False
        self.constants[name] = np.array(sizes, np.int64)
        return True

    def _fold_sizes(self, node: OnnxNode) -> bool:
        """An op that moves entries of shapes, some of them open: what is picked may be known."""
        arrays: list[np.ndarray | None] = []
        for name in node.inputs:
            if name in self.partial:
                arrays.append(np.array([_OPEN if n is None else n for n in self.partial[name]], np.int64))
            elif name and name not in self.constants:
                return False
            else:
                arrays.append(self.constants[name] if name else None)
        moved = arrays[:1] if node.op != "Concat" else arrays
        if any(a is None or a.dtype.kind != "i" for a in moved):
            return False
        if any((a == _OPEN).any() for a in arrays[len(moved) :] if a is not None):
            return False  # an open size chooses what is moved
        if node.op == "Cast" and node.attrs.get("to") != self.onnx.TensorProto.INT64:
            return False
        (result,) = self.evaluator.run(node, arrays)[:1]
        if not (result == _OPEN).any():
            self.constants[node.outputs[0]] = result
            return True
        if result.ndim == 1:
            self.partial[node.outputs[0]] = [None if n == _OPEN else int(n) for n in result]
        return False

    def sizes(self, name: str) -> Sizes | None:
        """The shape of a value, None where a size is open; None where not even the rank is known."""
        if name in self.constants:
            return list(self.constants[name].shape)
        kind = self.types.get(name)
        if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
            return None
        return [d.dim_value if d.HasField("dim_value") else None for d in kind.tensor_type.shape.dim]

    def _stacks(self, rows: str, part: str) -> None:
        """Let a value have the shape of another, with an axis of open size before it."""
        kind, sizes = self._type(part), self.sizes(part)
        if kind is not None and sizes is not None:
            self.types[rows] = self.onnx.helper.make_tensor_type_proto(kind.tensor_type.elem_type, [None, *sizes])

    def set_type(self, name: str, dtype: Any, sizes: Iterable[int | None]) -> None:
        self.types[name] = self._made_type(dtype, list(sizes))

    def _made_type(self, dtype: Any, sizes: Sizes) -> Any:
        helper = self.onnx.helper
        return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), sizes)

    def _type(self, name: str) -> Any:
        if name in self.constants and name not in self.types:
            array = self.constants[name]
            key = array.dtype, array.shape
            try:
                if key not in self._constant_types:
                    self._constant_types[key] = self._made_type(array.dtype, list(array.shape))
            except (KeyError, ValueError, TypeError):
                return None
            self.types[name] = self._constant_types[key]
        return self.types.get(name)

    def _follow(self, node: OnnxNode) -> None:
        """Shapes of a node's outputs, as far as they can be told."""
        if node.op == "Reshape" and len(node.inputs) > 1 and node.inputs[1] in self.partial:
            self._reshaped(node)
            return
        if node.op == "ConstantOfShape" and node.inputs[0] in self.partial:
            value = node.attrs.get("value")
            dtype = np.float32 if value is None else self.onnx.helper.tensor_dtype_to_np_dtype(value.data_type)
            self.set_type(node.outputs[0], dtype, self.partial[node.inputs[0]])
            return
        if node.op == "Einsum" and not _EQUATION.fullmatch(equation := str(node.attrs.get("equation", ""))):
            node.format_error(f"attribute equation={equation!r} is not letters for each operand, and for the result")
        check_outputs(node)
        types = [self._type(name) if name else None for name in node.inputs]
        if any(name and kind is None for name, kind in zip(node.inputs, types, strict=True)):
            return
        known = {} if traits(node.op).rows == EACH else self.constants  # elementwise, the numbers tell nothing
        data = [
            known[name] if name and name in known and known[name].size <= _INFERENCE_DATA else None
            for name in node.inputs
        ]
        shapes = [None if kind is None else kind.SerializeToString() for kind in types]
        told = [None if array is None else (array.dtype.str, array.shape, *array.ravel().tolist()) for array in data]
        key = node.op, node.settings, tuple(map(bool, node.outputs)), tuple(shapes), tuple(told)
        if key not in self._inferred:
            self._inferred[key] = self._infer(node, types, data)
        kinds = self._inferred[key]
        if kinds is not None:
            pairs = zip(node.outputs, kinds, strict=True)
            self.types.update({name: kind for name, kind in pairs if name and kind is not None})

    def _infer(self, node: OnnxNode, types: list[Any], data: list[np.ndarray | None]) -> list[Any] | None:
        """The types of a node's outputs for those of its inputs, and of these what is known; None where onnx fails."""
        given = [kind for name, kind in zip(node.inputs, types, strict=True) if name]
        if not _axes_exist(node, given):
            return None
        arrays = {name: array for name, array in zip(node.inputs, data, strict=True) if array is not None}
        try:
            inferred = self.onnx.shape_inference.infer_node_outputs(
                self.onnx.defs.get_schema(node.op, self.opset),
                node.proto,
                {name: kind for name, kind in zip(node.inputs, types, strict=True) if name},
                {name: self.onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()},
                opset_imports=self._opsets,
            )
        except Exception:
            return None  # whether the node is right is for the walk to say; here its sizes are not known, that is all
        return [inferred.get(name) if name else None for name in node.outputs]

    def _reshaped(self, node: OnnxNode) -> None:
        """A Reshape to sizes of which some are open: -1 is open as well."""
        old = self.sizes(node.inputs[0])
        wanted = self.partial[node.inputs[1]]
        kind = self._type(node.inputs[0])
        if kind is None or (0 in wanted and (old is None or node.attrs.get("allowzero", 0))):
            return
        sizes: Sizes = []
        for i, n in enumerate(wanted):
            sizes.append(old[i] if n == 0 and old is not None and i < len(old) else None if n == -1 else n)
        self.types[node.outputs[0]] = self.onnx.helper.make_tensor_type_proto(kind.tensor_type.elem_type, sizes)

    # -- If, Loop, Scan -------------------------------------------------------------------------------------------

    def _structure(self, node: OnnxNode, proto: Any, scope: Scope) -> list[OnnxNode]:
        graphs = {a.name: a.g for a in proto.attribute if a.HasField("g")}
        wanted = ("then_branch", "else_branch") if node.op == "If" else ("body",)
        if node.op not in ("If", "Loop", "Scan"):
            node.unsupported("this operator is not supported (it holds a graph)")
        if set(graphs) != set(wanted):
            node.format_error(f"holds graphs {sorted(graphs)}, expected {list(wanted)}")
        for key in wanted:
            node.attrs.pop(key)
        if node.op == "If":
            return self._branch(node, graphs, scope)
        captured = {scope[name] for name in free_names(graphs["body"]) if name in scope}
        if all(not name or name in self.constants for name in {*node.inputs, *captured}):
            run_constant(self, node, graphs["body"], scope)
            return []
        self._note_dtypes(node, graphs["body"])
        if node.op == "Scan":
            node.bodies = {"body": self.body(node, graphs["body"], scope)}
            return [node]
        lists = any(self.sequences.begins_empty(name) for name in node.inputs[2:])
        node.bodies = {"body": self.body(node, graphs["body"], scope, ranked=node.inputs[2:] if lists else ())}
        if lists:
            self.sequences.collect(node, self._fresh)
        behind = Grown(self.onnx, self.constants, self.sizes, self._fresh).collect(node)
        return [*counted(self.onnx, node, self.constants, self._type), *behind]

    def _note_dtypes(self, node: OnnxNode, graph: Any) -> None:
        """Note of what dtypes the results of a loop are, that is enough to tell their sizes behind a Reshape; and the
        ranks of what a Loop carries, which are those before it.
        """
        is_loop = node.op == "Loop"
        before = [self.sizes(name) if name else None for name in node.inputs[2:]] if is_loop else []
        results = graph.output[1 if is_loop else 0 :]
        for i, (name, value) in enumerate(zip(node.outputs, results, strict=False)):
            dtype, rank = value.type.tensor_type.elem_type, before[i] if i < len(before) else None
            if name and dtype:
                sizes = None if rank is None else [None] * len(rank)
                self.types[name] = self.onnx.helper.make_tensor_type_proto(dtype, sizes)

    def _branch(self, node: OnnxNode, graphs: Mapping[str, Any], scope: Scope) -> list[OnnxNode]:
        condition = self.constants.get(node.inputs[0]) if node.inputs else None
        if condition is None:
            node.bodies = {key: self.body(node, graph, scope) for key, graph in graphs.items()}
            for body in node.bodies.values():
                if len(body.outputs) != len(node.outputs):
                    wrong_number(node, len(body.outputs), len(node.outputs))
            for name, *either in zip(node.outputs, *(body.outputs for body in node.bodies.values()), strict=True):
                self._join(name, either)
            return [node]
        if condition.size != 1:
            node.shape_error(f"its condition has shape {condition.shape}, expected one element")
        body = self.body(node, graphs["then_branch" if condition.reshape(()) else "else_branch"], scope)
        if len(body.outputs) != len(node.outputs):
            wrong_number(node, len(body.outputs), len(node.outputs))
        return [*body.nodes, *self._alias(node, body.outputs, node.outputs)]

    def _join(self, name: str, either: Sequence[str]) -> None:
        """Let a value have the shape that others share: of either branch, with sizes that differ open."""
        kinds, sizes = [self._type(one) for one in either], [self.sizes(one) for one in either]
        if None in kinds or None in sizes or len({len(one or ()) for one in sizes}) > 1:
            return
        if len({kind.tensor_type.elem_type for kind in kinds}) == 1:
            shape = [n if n == m else None for n, m in zip(*sizes, strict=True)]
            self.types[name] = self.onnx.helper.make_tensor_type_proto(kinds[0].tensor_type.elem_type, shape)

    def body(
        self,
        node: OnnxNode,
        graph: Any,
        scope: Scope,
        given: Mapping[str, np.ndarray] | None = None,
        protos: Iterable[Any] | None = None,
        ranked: Sequence[str] = (),
    ) -> Body:
        """A graph inside of a node, resolved; `given`: its inputs where they are known, by the graph's own names;
        protos: the nodes that its outputs need, where somebody knows them already; ranked: values of which those that a
        Loop carries have the ranks.
        """
        inner: Scope = scope.new_child()
        inputs = [self._define(v.name, inner) for v in graph.input]
        if ranked and inputs:
            self.set_type(inputs[0], np.int64, [])  # the number of the round
        for flat, name in zip(inputs[2:], ranked, strict=False):
            kind, sizes = self._type(name), self.sizes(name)
            if kind is not None and sizes is not None:
                open_sizes: Sizes = [None] * len(sizes)
                self.types[flat] = self.onnx.helper.make_tensor_type_proto(kind.tensor_type.elem_type, open_sizes)
        for value, flat in zip(graph.input, inputs, strict=True):
            if given is not None:
                self.constants[flat] = given[value.name]
        for tensor in graph.initializer:
            if tensor.name not in inner.maps[0]:
                self.constants[self._define(tensor.name, inner)] = self.evaluator.to_array(tensor, tensor.name)
        outputs = [v.name for v in graph.output]
        nodes = self._resolve(needed(graph.node, outputs) if protos is None else protos, inner)
        for name in outputs:
            if name not in inner:
                node.format_error(f"its graph {graph.name!r} gives {name!r}, which does not exist")
        results = [inner[name] for name in outputs]
        return Body(inputs, needed_nodes(nodes, results), results)

    def _alias(self, node: OnnxNode, values: list[str], names: list[str]) -> list[OnnxNode]:
        """Let `names` be `values`: constants at once, others through Identity."""
        identities = []
        for value, name in zip(values, names, strict=True):
            if not name:
                continue
            if value in self.constants:
                self.constants[name] = self.constants[value]
                continue
            if value in self.types:
                self.types[name] = self.types[value]
            if value in self.partial:
                self.partial[name] = self.partial[value]
            identities.append(identity(self.onnx, value, name, self.opset))
        return identities


def _axes_exist(node: OnnxNode, types: Iterable[Any]) -> bool:
    """Whether attributes name axes that the inputs have; onnx's shape inference looks at others without a check."""
    keys = [key for key in ("axis", "axes", "perm", "batch_dims") if key in node.attrs]
    named = [n for key in keys for n in np.ravel(node.attrs[key])]
    if not named:
        return True
    rank = next((len(t.tensor_type.shape.dim) for t in types), 0)  # of the first input
    rank += len(named) if node.op in ("Unsqueeze", "OneHot") else 0
    end = node.op in ("Flatten", "Softmax", "LogSoftmax", "Hardmax")  # which have an axis behind the last one
    return all(-rank <= int(n) < rank + end for n in named)


__all__ = ["Resolver"]
