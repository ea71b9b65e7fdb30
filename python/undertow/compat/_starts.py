# SPDX-License-Identifier: MIT
"""A file whose recurrent layers start from what it computes, as two: what computes that, and what starts from it.

Then a sequence of any length has one model, where the file as a whole would need one for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

#: operator -> places of what it starts from
_STARTS = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}
#: what tells of a tensor's shape alone
_SHAPES = {"Shape", "Size"}


def taken_apart(onnx: Any, model: Any) -> tuple[Any, Any, list[str]] | None:
    """Two models, and the tensors that the first gives and the second takes; None where no layer of the main graph
    starts from what is computed of inputs.

    Of layers whose starts follow from each other, the second model keeps all but the first.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    starts = [
        node.input[place]
        for node in graph.node
        for place in _STARTS.get(node.op_type, ())
        if place < len(node.input) and node.input[place] in makers
    ]
    computed = [name for name in dict.fromkeys(starts) if _behind(makers, [name], through_shapes=False) & inputs]
    first = [n for n in computed if not (_behind(makers, makers[n].input) & set(computed))]
    if not first or any(_has_graphs(node) for node in graph.node):
        return None
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    if any(name not in known for name in first):
        return None
    ports = [known[name] for name in first]
    outputs = [value.name for value in graph.output]
    if set(outputs) & set(first):
        return None
    before = _part(model, _behind(makers, first), [], ports)
    return before, _part(model, _behind(makers, outputs, first), ports, None), first


def _behind(
    makers: dict[str, Any], names: Iterable[str], ends: Collection[str] = (), *, through_shapes: bool = True
) -> set[str]:
    """These tensors and all that they follow from, but nothing behind `ends`."""
    reached, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in makers and name not in ends and (through_shapes or makers[name].op_type not in _SHAPES):
            waiting += makers[name].input
    return reached


def _part(model: Any, kept: set[str], more: list[Any], outputs: list[Any] | None) -> Any:
    """The nodes that make tensors of `kept`, with further inputs, and other outputs than those of the file."""
    part, given = type(model)(), {value.name for value in more}
    part.CopyFrom(model)
    graph = part.graph
    _keep(graph.node, lambda node: any(name in kept and name not in given for name in node.output))
    _keep(graph.initializer, lambda tensor: tensor.name in kept)
    if outputs is not None:  # the second part takes all inputs, as its callers give them
        _keep(graph.input, lambda value: value.name in kept)
        del graph.output[:]
        graph.output.extend(outputs)
    graph.input.extend(more)
    del graph.value_info[:]
    return part


def _keep(entries: Any, wanted: Any) -> None:
    left = [entry for entry in entries if wanted(entry)]
    del entries[:]
    entries.extend(left)


def _has_graphs(node: Any) -> bool:
    """Whether a node has a body, which may use any tensor."""
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


__all__ = ["taken_apart"]
