# SPDX-License-Identifier: MIT
"""What a Graph consists of: values, states and nodes, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Value:
    """A frame that flows between nodes: its shape is that of one timestep.

    Args:
        name: by which nodes refer to it; of an input or output of a model, by which users do.
        shape: of one timestep, () of one number.
        dtype: "float32" or "int32".
        once: whether there is one for each sequence, and not one for each timestep.
        n_ids: an int32 value holds ids below this (the rows of the embedding it selects from); None of any other.

    >>> undertow.load(undertow.example("digits")).inputs["input"]
    Value(name='input', shape=(8,), dtype='float32', once=False, n_ids=None)
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    once: bool = False
    n_ids: int | None = None

    @property
    def size(self) -> int:
        """Number of elements of a frame.

        >>> undertow.graph.Value("spectrum", (257, 2)).size
        514
        """
        return prod(self.shape)


@dataclass
class State:
    """What a stream remembers between timesteps: float32.

    Args:
        name: by which `stream.state` knows it.
        shape: of it.
        init: of the same shape: where a fresh stream starts; None for zeros. (None of `Model.states`, too.)

    >>> undertow.load(undertow.example("digits")).states["memory.h"].shape
    (48,)
    """

    name: str
    shape: tuple[int, ...]
    init: np.ndarray | None = None


@dataclass
class Node:
    """One operation, as `Graph.add` makes it.

    Args:
        op: its kind; csrc/FORMAT.md says what each computes.
        name: unlike that of any other node.
        inputs, outputs: names of values.
        attrs: settings, by name.
        weights: unpadded arrays by key, float32 (int32 where they say where elements lie), in undertow's gate order.
        states: names of the states that it owns, or of the register that it reads or writes.
        precisions: how a file stores a weight: key -> "float16", "int16", "bfloat16", "int8", "int4" or "fixed8";
            float32 where absent.
        smoothing: for matrices in int16 or int8: key -> exponents (K,), 0 to 40. Before column k of a frame becomes an
            integer it is divided by 2^exponent, and weights in that column are multiplied by it: a number that is large
            beside others costs them fewer bits. No result changes but by rounding.

    >>> [node.name for node in undertow.load(undertow.example("digits")).graph.nodes]
    ['memory', 'head', 'softmax_1']
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    states: tuple[str, ...] = ()
    precisions: dict[str, str] = field(default_factory=dict)
    smoothing: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_parameters(self) -> int:
        """Numbers that were learnt, or could have been: integers, which say where elements lie, are none.

        >>> [node.n_parameters for node in undertow.load(undertow.example("digits")).graph.nodes]
        [8256, 490, 0]
        """
        return sum(w.size for w in self.weights.values() if w.dtype.kind == "f")


class Scope(Protocol):
    """What an op sees of the graph that it is added to."""

    values: dict[str, Value]
    states: dict[str, State]
    nodes: list[Node]
