# SPDX-License-Identifier: MIT
"""What a stream keeps for layers that look at the first timestep of the sequence."""

from __future__ import annotations

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
    shape = b.graph.shape(x.value)
    flags = is_first(b, layer, x, shape)
    name = b.graph.unique_name(f"{layer.name}_held")
    state = b.graph.state(f"{name}.frame", shape)
    before = b.graph.add("state_read", [], name=f"{name}_before", states=[state])
    first: str = b.graph.add("where", [flags, x.value, before], name=name)
    b.graph.add("state_write", [first, *b.gate(layer, x)], name=f"{name}_next", states=[state])
    return first
