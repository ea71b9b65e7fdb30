# SPDX-License-Identifier: MIT
"""What the search gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from ....ir.graph import Graph
from ....ir.ops import OPS
from ..frames.context import Place, Reading
from ..simplify.program import Program
from .proof import Proof
from .states import Pair


@dataclass
class Imported:
    """A Graph, and how its inputs, outputs and states lie in the tensors of the ONNX model.

    state_inputs: ONNX input -> [(Graph state, positions of its elements in one batch item of the input, flattened)].
    """

    graph: Graph
    reading: Reading
    inputs: dict[str, Place]
    outputs: dict[str, Place]
    pairs: list[Pair]
    length_inputs: list[str]
    rates: dict[str, int]
    #: output -> how many of the first frames it does not have
    missing: dict[str, int]
    #: whether the file has a time axis; whether a frame has several timesteps of it
    is_sequence: bool
    has_rates: bool
    state_inputs: dict[str, list[tuple[str, np.ndarray]]] = field(default_factory=dict)
    state_layouts: dict[str, tuple[tuple[int, ...], int | None]] = field(default_factory=dict)
    #: of the passes
    notes: list[str] = field(default_factory=list)
    proof: Proof = field(default_factory=Proof)
    #: states that hold what is pooled over time
    pooled: set[str] = field(default_factory=set)
    #: inputs of ids below 0 that count from the end -> of how many
    from_the_end: dict[str, int] = field(default_factory=dict)
    #: inputs that are taken to be the size of an axis of another one: which, and which axis
    full_lengths: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: nodes, for messages, that round to 8 bits in the file and not here
    unrounded: list[str] = field(default_factory=list)

    def looks_back(self) -> bool:
        """Whether a frame of an output depends on others than its own, and on their order: what is merely pooled may be
        the rows of a frame, or a set.
        """
        return bool(self.graph.states.keys() - self.pooled) or any(
            OPS[node.op].taps(node) != (0,) for node in self.graph.nodes
        )

    def timeless(self) -> list[str]:
        """The outputs of a sequence that are none of timesteps."""
        steps = {name: place.layout.steps for name, place in self.outputs.items()}
        return [name for name, of in steps.items() if not of.size or (of == of.flat[0]).all()]

    def is_clip(self, program: Program) -> bool:
        """Whether all of each input is one frame, but for the batch."""
        return all(
            prod(self.graph.shape(p.name)) >= prod(n for n in p.dims[1:] if isinstance(n, int))
            for p in program.inputs
            if p.name in self.inputs
        )


__all__ = ["Imported"]
