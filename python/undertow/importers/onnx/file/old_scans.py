# SPDX-License-Identifier: MIT
"""The Scan of operator set 8, which has a batch and lengths, as that of later ones."""

from __future__ import annotations

from typing import Any

from .nodes import part_of
from .read import graphs_of, require_onnx

#: operators beside a Scan that mean something else in operator set 9
_CHANGED = ("BatchNormalization", "Upsample")


def newer_scans(model: Any) -> Any:
    """Let Scans of a batch of one, which is an axis before their loop, stand in a checked model of operator set 9. A
    model with others stays as it is.
    """
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node]
    opset = next((o for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    if opset is None or opset.version != 8 or not scans or any(node.op_type in _CHANGED for node in nodes):
        return model
    if len(scans) < sum(node.op_type == "Scan" for node in nodes):
        return model
    onnx = require_onnx()
    inferred = onnx.shape_inference.infer_shapes(model).graph
    batches = {
        value.name: value.type.tensor_type.shape.dim[0].dim_value
        for value in (*inferred.input, *inferred.value_info)
        if len(value.type.tensor_type.shape.dim)
    }
    batches |= {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    if any(node.input[0] or any(batches.get(name) != 1 for name in node.input[1:]) for node in scans):
        return model
    taken = {name for node in nodes for name in (*node.input, *node.output)}
    rewritten = []
    for node in model.graph.node:
        rewritten += _of_one_item(onnx, node, taken) if node.op_type == "Scan" else [node]
    copies = [type(node).FromString(node.SerializeToString()) for node in rewritten]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    opset.version = 9
    return model


def _of_one_item(onnx: Any, node: Any, taken: set[str]) -> list[Any]:
    """A Scan between nodes that take its batch away and give it back."""

    def inside(name: str) -> str:
        name = f"{name}/item"
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    names = {name: inside(name) for name in dict.fromkeys([*node.input[1:], *node.output]) if name}
    make = onnx.helper.make_node
    scan = make("Scan", [names[name] for name in node.input[1:]], [names.get(n, "") for n in node.output], node.name)
    for attribute in node.attribute:
        scan.attribute.add().CopyFrom(attribute)
        if attribute.name == "directions":
            scan.attribute[-1].name = "scan_input_directions"
    before = [make("Squeeze", [name], [names[name]], axes=[0]) for name in dict.fromkeys(node.input[1:])]
    after = [make("Unsqueeze", [names[name]], [name], axes=[0]) for name in node.output if name]
    for new in (*before, scan, *after):
        new.name = new.name or f"{node.name or node.output[0]}/{new.op_type}"
        new.doc_string = part_of(node)
    return [*before, scan, *after]


__all__ = ["newer_scans"]
