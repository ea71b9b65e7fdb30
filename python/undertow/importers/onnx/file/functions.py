# SPDX-License-Identifier: MIT
"""Operators that ONNX itself defines by others, as functions: the others take their place before anything is read."""

from __future__ import annotations

from typing import Any

from ....errors import UnsupportedError
from ..traits import traits
from .attention import check_attention
from .nodes import part_of, wrap
from .read import check_size_of, graphs_of, require_onnx

#: where the functions stand until they are inlined
_DOMAIN = "undertow.expanded"


def expanded(model: Any) -> Any:
    """A checked model in which other nodes stand for those whose row says so (`Operator.expands`), and for those whose
    further outputs only their definition gives. The same model where there are none.

    Raises:
        UnsupportedError: what is expanded is beyond a limit, or ONNX's definition does not go with its types.
    """
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node if _is_expanded(node)]
    if not nodes:
        return model
    onnx = require_onnx()
    from onnx import inliner

    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    types = _types(onnx, model)
    for number, node in enumerate(nodes):
        if node.op_type == "Attention":
            check_attention(wrap(onnx, node, opset), lambda name: _dims(types.get(name)))
        function = _definition(onnx, node, opset, types)
        if function is None:
            raise UnsupportedError(
                f"{node.op_type} node {node.name or node.output[0]!r}: ONNX's definition of it does not go with the "
                f"types of its inputs, or with operator set {opset}"
            )
        for needed in function.opset_import:
            needed.version = opset if needed.domain in ("", "ai.onnx") else needed.version
        function.name, function.domain = f"{node.op_type}_{number}", _DOMAIN
        for at, inner in enumerate(function.node):
            inner.name = f"{node.name or node.output[0]}/{inner.op_type}_{at}"
            inner.doc_string = part_of(node)
        node.op_type, node.domain = function.name, _DOMAIN
        model.functions.append(function)
    model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    model = inliner.inline_local_functions(model)
    check_size_of(model.graph, "what ONNX defines its operators by")
    return model


def _is_expanded(node: Any) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    return traits(node.op_type).expands or (node.op_type == "LayerNormalization" and any(node.output[1:]))


def _types(onnx: Any, model: Any) -> dict[str, Any]:
    """Value -> its type, as far as ONNX's shape inference knows it."""
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {}
    for graph in graphs_of(inferred.graph):
        types.update({value.name: value.type for value in (*graph.input, *graph.output, *graph.value_info)})
        for tensor in graph.initializer:
            types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return types


def _dims(kind: Any) -> list[int | None] | None:
    """The sizes of a type, None for open ones; None where it has no shape."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else None for d in kind.tensor_type.shape.dim]


def _definition(onnx: Any, node: Any, opset: int, types: dict[str, Any]) -> Any:
    """The function that an operator set defines a node by; None where it does not."""
    unknown = onnx.TypeProto()
    given = [types.get(name, unknown).SerializeToString() for name in node.input]
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        own = {attribute.name for attribute in node.attribute}
        defaults = (a.default_value for a in schema.attributes.values() if a.name not in own)
        node.attribute.extend(default for default in defaults if default.type)
        # Newer sets give no definition where an operator in it has gained types since.
        data = next(
            filter(None, (_data(schema, node, given, v) for v in range(opset, schema.since_version - 1, -1))), None
        )
    except Exception:  # of onnx's C++: no type of its own
        return None
    if data is None:
        return None
    return onnx.FunctionProto.FromString(data if isinstance(data, bytes) else data.SerializeToString())


def _data(schema: Any, node: Any, given: list[bytes], version: int) -> Any:
    if schema.has_context_dependent_function:
        return schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), given)
    return schema.get_function_with_opset_version(version)


__all__ = ["expanded"]
