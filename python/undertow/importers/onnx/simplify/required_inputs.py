# SPDX-License-Identifier: MIT
"""What must be bound before a model can be read: inputs whose values choose a branch or a number of rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from ....errors import UnsupportedError
from ..file.nodes import OnnxNode, flat
from ..traits import MOVEMENT, traits
from .ports import Port

_COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


def check_bound(nodes: list[OnnxNode], ports: list[Port], constants: Mapping[str, np.ndarray]) -> None:
    """Refuse branches that an input's value chooses, and loops that it or frames do; what only its shape chooses, and
    branches that frames do, are for the walk.

    Raises:
        UnsupportedError: names the node and the input, says how to bind it, and what the graph compares it with.
    """
    every = list(flat(nodes))
    inner = [n for node in every for body in node.bodies.values() for n in flat(body.nodes)]
    producer = {name: node for node in [*every, *inner] for name in node.outputs if name}
    by_name = {port.name: port for port in ports}
    for node in _structures(nodes):
        chooses = node.inputs[:1] if node.op == "If" else node.inputs[:2]
        for name in chooses:
            for source in sorted(_sources(name, producer) & set(by_name)):
                if node.op != "If" or not _is_frames(by_name[source]):
                    _refuse(node, by_name[source], [*every, *inner], constants)


def _structures(nodes: list[OnnxNode]) -> list[OnnxNode]:
    structures = [node for node in nodes if node.op in ("If", "Loop")]
    for node in nodes:
        for body in node.bodies.values():
            structures += _structures(body.nodes)
    return structures


def _sources(name: str, producer: Mapping[str, OnnxNode]) -> set[str]:
    """What a value is computed from, leaving out values of which only the shape is used."""
    sources: set[str] = set()
    todo = [name]
    while todo:
        value = todo.pop()
        if value and value not in sources:
            sources.add(value)
            node = producer.get(value)
            if node is not None and not traits(node.op).asks_shape:
                todo += node.uses
    return sources


def _is_frames(port: Port) -> bool:
    return port.dtype == "float32" and len(port.dims) > 0


def _refuse(node: OnnxNode, port: Port, nodes: list[OnnxNode], constants: Mapping[str, np.ndarray]) -> NoReturn:
    if _is_frames(port):
        node.unsupported(
            f"input {port.name!r} decides at run time how often it runs: a number of rounds that depends on the frames "
            "themselves is not supported"
        )
    seen = _compared(port.name, nodes, constants)
    example = "[" * len(port.dims) + str(seen[0] if seen else "...") + "]" * len(port.dims)
    values = f"; the graph compares it with {', '.join(map(str, seen))}" if seen else ""
    what = "which branch is taken" if node.op == "If" else "how often it runs"
    raise UnsupportedError(
        f"input {port.name!r} must be bound, for its value decides {what} by {node.where}: "
        f"load(..., fixed={{{port.name!r}: {example}}}){values}"
    )


def _compared(name: str, nodes: list[OnnxNode], constants: Mapping[str, np.ndarray]) -> list[float | int]:
    """The constants that a value is compared with, after moves and casts."""
    same = {name}
    numbers: list[float | int] = []
    for node in nodes:
        if (node.op in MOVEMENT or traits(node.op).carries) and same & set(node.inputs):
            same |= set(node.outputs)
        elif node.op in _COMPARISONS and same & set(node.inputs):
            for other in node.inputs:
                array = constants.get(other)
                if array is not None and array.size == 1 and array.reshape(()).item() not in numbers:
                    numbers.append(array.reshape(()).item())
    return numbers


__all__ = ["check_bound"]
