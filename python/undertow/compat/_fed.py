# SPDX-License-Identifier: MIT
"""What a call may feed to a file beside frames and states: weights, and single numbers with axes around them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

#: operator -> places of its inputs that are weights, which a model has before it is called; products take any numbers
_WEIGHTS = {
    **dict.fromkeys(("RNN", "GRU", "LSTM"), (1, 2, 3, 7)),
    **dict.fromkeys(("Conv", "ConvTranspose"), (1, 2)),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), (1, 2)),
    "BatchNormalization": (1, 2, 3, 4),
    "PRelu": (1,),
}


def weights_fed(graph: Any) -> list[str]:
    """Inputs of floats of an onnx.GraphProto that bring the weights of a node, as they are or computed with."""
    held = {tensor.name for tensor in graph.initializer}
    makers = {name: node for node in _nodes(graph) for name in node.output if name}
    waiting = [
        node.input[place]
        for node in _nodes(graph)
        for place in _WEIGHTS.get(node.op_type, ())
        if place < len(node.input)
    ]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += makers[name].input if name in makers else []
    floats = {1, 10, 11, 16}  # of onnx.TensorProto: float, float16, double, bfloat16
    inputs = [value for value in graph.input if value.name in reached and value.name not in held]
    return [value.name for value in inputs if value.type.tensor_type.elem_type in floats]


def fed_anew(model: Any, weights: Collection[str], ranks: Mapping[str, int]) -> Any:
    """A copy of an `onnx.ModelProto` whose caller feeds weights that have a value in the file, and single numbers as
    arrays of some rank.
    """
    copied = type(model)()
    copied.CopyFrom(model)
    graph = copied.graph
    kept = [tensor for tensor in graph.initializer if tensor.name not in weights]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for value in graph.input:
        for _ in range(ranks.get(value.name, 0)):
            value.type.tensor_type.shape.dim.add().dim_value = 1
    if ranks:  # sizes behind them were written down for numbers without axes
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    return copied


def are_alike(model: Any, other: Any) -> bool:
    """Whether two models have the same operators, and inputs of the same types."""

    def kinds(graph: Any) -> tuple[Any, ...]:
        types = [value.type.tensor_type.elem_type for value in graph.input]
        return types, [(node.domain, node.op_type) for node in _nodes(graph)]

    return kinds(model.graph) == kinds(other.graph)


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes, those of bodies and branches among them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g) if attribute.HasField("g") else ()


__all__ = ["are_alike", "fed_anew", "weights_fed"]
