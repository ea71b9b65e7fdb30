# SPDX-License-Identifier: MIT
"""What a stream keeps for layers of which no op of the engine owns the states: the first timestep of a sequence, and
states that begin with what other layers compute.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _blocks as blocks
from .builder import Builder, Tensor
from .tables import Layer


def is_first(b: Builder, layer: Layer, x: Tensor, shape: tuple[int, ...]) -> str:
    """A frame of ones in the first timestep that x has, of zeros later."""
    name = b.graph.unique_name(f"{layer.name}_first")
    state = b.graph.state(f"{name}.open", (1,), np.ones(1, np.float32))
    before = b.graph.add("state_read", [], name=f"{name}_open", states=[state])
    shut = b.graph.add("constant", [], name=f"{name}_shut", weights={"value": np.zeros(1, np.float32)})
    b.graph.add("state_write", [shut, *b.gate(layer, x)], name=f"{name}_next", states=[state])
    return blocks.rearrange(b.graph, before, np.zeros(shape, np.int64), f"{name}_flags")


def first_so_far(b: Builder, layer: Layer, x: Tensor) -> str:
    """The first timestep that x has, in every later one."""
    name = b.graph.unique_name(f"{layer.name}_held")
    states, (held,) = carried(b, layer, x, name, [b.graph.shape(x.value)], [x.value])
    write(b, layer, x, states, [held])
    return held


def carried(
    b: Builder, layer: Layer, x: Tensor, name: str, shapes: Sequence[tuple[int, ...]], starts: Sequence[str]
) -> tuple[list[str], list[str]]:
    """(states `name`.h and `name`.c of these shapes; what they were before this timestep, from `starts` in the first
    one where there are any, or else from zero)."""
    states = [b.graph.state(f"{name}.{letter}", shape) for letter, shape in zip("hc", shapes, strict=False)]
    values = [b.graph.add("state_read", [], name=f"{state}_before", states=[state]) for state in states]
    if starts:
        first = {shape: is_first(b, layer, x, shape) for shape in dict.fromkeys(shapes)}
        values = [
            b.graph.add("where", [first[shape], start, value], name=f"{state}_start")
            for state, shape, start, value in zip(states, shapes, starts, values, strict=True)
        ]
    return states, values


def write(b: Builder, layer: Layer, x: Tensor, states: Sequence[str], values: Sequence[str]) -> None:
    """What the states are after this timestep; nothing changes in those that x has not."""
    for state, value in zip(states, values, strict=True):
        b.graph.add("state_write", [value, *b.gate(layer, x)], name=f"{state}_next", states=[state])
