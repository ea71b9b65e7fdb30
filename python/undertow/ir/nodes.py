# SPDX-License-Identifier: MIT
"""What a Graph consists of: values, states and nodes, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Value:
    """A frame that flows between nodes: its shape is that of one timestep."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    once: bool = False
    #: an int32 value holds ids below this (the rows of the embedding it selects from)
    n_ids: int | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass
class State:
    """What a stream remembers between timesteps: float32, zeros unless `init` says otherwise."""

    name: str
    shape: tuple[int, ...]
    init: np.ndarray | None = None


@dataclass
class Node:
    """One operation. `weights` are unpadded arrays in undertow's gate order; see `undertow.ir.ops` for each op."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    states: tuple[str, ...] = ()
    #: how a file stores a weight: weight key -> "float16", "bfloat16", "int8" or "int4"; float32 where absent
    precisions: dict[str, str] = field(default_factory=dict)

    @property
    def n_parameters(self) -> int:
        """Numbers that were learnt, or could have been: integers, which say where elements lie, are none."""
        return sum(w.size for w in self.weights.values() if w.dtype.kind == "f")


class Scope(Protocol):
    """What an op sees of the graph that it is added to."""

    values: dict[str, Value]
    states: dict[str, State]
    nodes: list[Node]
