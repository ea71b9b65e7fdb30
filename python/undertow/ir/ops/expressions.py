# SPDX-License-Identifier: MIT
"""What small ops compute between layers, as one op; and recurrences that multiply by no matrix."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..nodes import Node, Scope, Value
from .base import Arrays, Frames, Op, Params, Stored, Weights
from .checks import Outputs, fail, inputs
from .programs import INPUT, MAX_OPERANDS, Program


class Expression(Op):
    """Outputs, and the next values of its states, by a `Program` over the elements of a space. With states its last
    input may be a gate. `shapes` are those of its outputs.
    """

    name, kinds = "expression", (28,)
    n_inputs: int | tuple[int, ...] | None = tuple(range(MAX_OPERANDS + 1))
    attrs = ("program", "shapes")

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        values = inputs(graph, node)
        program = node.attrs.get("program")
        if not isinstance(program, Program):
            raise TypeError(f"{node.op} {node.name!r}: program must be a Program, got {program!r}")
        shapes = node.attrs["shapes"] = tuple(tuple(int(n) for n in shape) for shape in node.attrs.get("shapes", ()))
        gate = values[-1:] if self.is_gated(node) else []
        if gate and gate[0].shape != (1,):
            fail(node, f"gate {gate[0].name!r} has shape {gate[0].shape}, expected (1,)")
        data = values[: len(values) - len(gate)]
        states = [prod(graph.states[s].shape) for s in node.states]
        if said := program.wrong([v.size for v in data], states, [prod(shape) for shape in shapes]):
            fail(node, said)
        once = not node.states and all(v.once for v in values)
        return [(f"out{i}" if i else "out", Value("", shape, once=once)) for i, shape in enumerate(shapes)]

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        program: Program = node.attrs["program"]
        return program.pack(len(frames.inputs), len(frames.states))

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        return {
            "program": Program.unpack(params, len(frames.inputs), len(frames.states)),
            "shapes": tuple(frames.outputs),
        }

    def _evaluate(self, node: Node, xs: Sequence[np.ndarray], states: Sequence[np.ndarray]) -> tuple[Arrays, Arrays]:
        program: Program = node.attrs["program"]
        shapes = node.attrs["shapes"]
        n = len(xs[0]) if xs else 1
        data = [x.reshape(n, prod(x.shape[1:])) for x in xs[: program.count(INPUT)]]
        given, after = program.evaluate(data, [s.reshape(1, s.size) for s in states], [prod(shape) for shape in shapes])
        outputs = tuple(y.reshape(n, *shape) for y, shape in zip(given, shapes, strict=True))
        return outputs, tuple(a.reshape(s.shape) for a, s in zip(after, states, strict=True))

    def formula(self, node: Node, w: Weights, *xs: np.ndarray) -> Arrays:
        return self._evaluate(node, xs, ())[0]

    def step(self, node: Node, w: Weights, xs: Sequence[np.ndarray], states: Arrays) -> tuple[Arrays, Arrays]:
        outputs, after = self._evaluate(node, [x[-1:] for x in xs], states)
        return tuple(y[0] for y in outputs), after

    def words(self, node: Node, shapes: Sequence[tuple[int, ...]]) -> list[str]:
        program: Program = node.attrs["program"]
        sizes = [n for n in program.sizes if n != 1] or [1]
        return [f"{len(program.instructions)} instructions over {' x '.join(map(str, sizes))}"]

    def may_be_gated(self, node: Node) -> bool:
        return bool(node.states)

    def is_gated(self, node: Node) -> bool:
        return self.may_be_gated(node) and len(node.inputs) == node.attrs["program"].count(INPUT) + 1


OPS: tuple[Op, ...] = (Expression(),)
