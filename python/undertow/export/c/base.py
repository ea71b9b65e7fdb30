# SPDX-License-Identifier: MIT
"""What the export of an op is: `Export`, of which every row of `ops` is an instance."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.nodes import Node
from ...ir.ops import OPS
from .program import Program


class Export:
    """How one op becomes C, in two rounds over the nodes: `place` says where frames lie and what scratch there is,
    `emit` writes the lines.
    """

    def place(self, program: Program, node: Node) -> None:
        """Give every output a place, and ask for scratch."""
        for value in node.outputs:
            if program.is_used(value):
                program.new(value)

    def emit(self, program: Program, node: Node) -> None:
        """Add the lines of one timestep to `program.step`."""

    def shown(self, program: Program, node: Node) -> str | None:
        """The input whose numbers the output shows as they are, all of them in their order; None of most ops."""
        return None

    def refusal(self, node: Node) -> str:
        """Why a node cannot be exported; "" if it can."""
        return OPS[node.op].needs_whole_sequence(node)

    @staticmethod
    def _own(program: Program, node: Node) -> dict[str, Any]:
        """What a node keeps from one round to the other."""
        return program.own.setdefault(node.name, {})

    @staticmethod
    def gate(program: Program, node: Node) -> str:
        """The value of its gate; "" of a node without."""
        gated = OPS[node.op].is_gated(node) and program.graph.shape(node.inputs[-1]) == (1,)
        return node.inputs[-1] if gated else ""

    @staticmethod
    def zeros(program: Program, n: int) -> str:
        """A constant array of at least n zeros: where chains without a bias begin."""
        program.n_zeros = max(program.n_zeros, n)
        return "frames_of_zeros"

    @staticmethod
    def vector(program: Program, node: Node, key: str) -> str:
        """The name of a weight as a constant array; "" where the node has none."""
        if key not in node.weights:
            return ""
        return program.constant(f"{node.name}_{key}", np.asarray(node.weights[key]), "")
