# SPDX-License-Identifier: MIT
"""Walk an ONNX graph once, under one reading of its inputs' axes: each node by the row that its operator has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..._text import cause
from ...budget import TooMuch
from ...errors import Error, FormatError, ShapeError, UnsupportedError
from .file.nodes import OnnxNode
from .frames import provenance
from .frames.boundary import aligned
from .frames.context import Deviations, Iteration, Length, Operand, Pairs, Shares, Walk, Weighed
from .frames.integers import RANGES
from .frames.length_constants import Growing
from .frames.loop_index import by_iteration
from .frames.movement import move
from .frames.padded import beside_constants
from .frames.provenance import Mixed, Tensor
from .frames.uses import last_uses
from .handlers import deviations, pairs, shares
from .handlers.row_by_row import by_rows
from .operators import HANDLERS
from .retry import Retry, TooLarge
from .traits import MOVEMENT, traits, why_refused


class Driver(Walk):
    """A walk that knows every operator; handlers see the `Walk` alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.growing = Growing(self)

    def run(self) -> None:
        """Walk all nodes; afterwards `values` holds every tensor."""
        for what, n, limit in (
            ("batch items", self.reading.n_items, provenance.MAX_ITEMS),
            ("timesteps", self.reading.n_steps, provenance.MAX_STEPS),
        ):
            if n > limit:
                raise UnsupportedError(f"an input has {n} {what}, expected at most {limit}")
        with self.held:
            self.take_inputs()
            done = last_uses(self.program)
            for position, node in enumerate(self.program.nodes):
                self.position = position
                self.walk_node(node)
                for name in done[position]:
                    if name not in self.program.constants:
                        self.values.pop(name, None)
        self.builder.graph.origin.leave()

    def release(self) -> None:
        """Let go of the tables. What the walk and its helpers know of each other would keep them until a collection."""
        self.values.clear()
        self.builder.read_state = None
        del self.growing, self.held

    def walk_node(self, node: OnnxNode) -> None:
        self.count_node(node)
        self.program.caller.take(self.builder.graph.origin, node.op, node.name)
        operands = [self.values.get(name) if name else None for name in node.inputs]
        for name in node.inputs:
            if name and name not in self.values:
                node.format_error(f"input {name!r} does not exist")
        try:
            results = self.apply(node, aligned(self, node, self.growing.meet(node, operands)))
        except TooMuch as error:
            raise TooLarge(f"{node.where}: {self.say_too_much(error)}") from None
        except Mixed as error:
            if error.located:
                raise
            why = f"cannot be computed frame by frame: {error}{self._attending(node)}"
            raise Mixed(f"{node.where}: {why}", True) from None
        except ShapeError as error:
            error.args = (f"{error}{self._attending(node, beside=True)}",)
            raise
        except (Error, Retry):
            raise
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise FormatError(f"{node.where} is malformed: {error}") from cause(error)
        for name, result in zip(node.outputs, results, strict=False):
            if name:
                if isinstance(result, Tensor):
                    self.builder.check_size(result.shape, f"{node.where}")
                self.values[name] = result
        self.growing.note(node, operands, results)

    def made_with(self, name: str) -> set[int]:
        return self.growing.made_with(name)

    def longer(self, name: str, n: int) -> np.ndarray | None:
        return self.growing.longer(name, n)

    def _attending(self, node: OnnxNode, beside: bool = False) -> str:
        """What to add to a refusal of a node of an attention, or of one beside it; "" of others."""
        attention = self.program.attention
        for where, table in (("belongs to", attention.inside), ("stands beside", attention.beside if beside else {})):
            for name in node.outputs:
                if name in table:
                    return (
                        f"; it {where} attention ({table[name].where}), and that of a timestep to later ones is "
                        "not computed in a stream, only in clips of one size"
                    )
        return ""

    def _compute(self, node: OnnxNode, operands: list[Operand]) -> list[Any]:
        """By the operator's function; of a sequence with constant rows beside it, by that and by onnx's evaluator."""
        slots = [slot for slot, operand in enumerate(operands) if isinstance(operand, Tensor)]
        try:
            return HANDLERS[node.op](self, node, operands)
        except Mixed:
            result = self._beside_constants(node, operands) if slots == [0] and traits(node.op).alone else None
            if result is None:
                raise
            return [result]

    def _beside_constants(self, node: OnnxNode, operands: list[Operand]) -> Tensor | None:
        x, *rest = operands
        assert isinstance(x, Tensor)
        dtype = np.dtype(np.float32 if x.dtype not in RANGES else x.dtype)

        def known(numbers: np.ndarray) -> np.ndarray:
            (result,) = self.evaluator.run(node, [numbers.astype(dtype), *rest])  # type: ignore[list-item]
            return result.astype(np.float32)

        return beside_constants(
            self.builder, x, lambda tensor: HANDLERS[node.op](self, node, [tensor, *rest])[0], known
        )

    def apply(self, node: OnnxNode, operands: list[Operand]) -> list[Any]:
        if all(o is None or isinstance(o, np.ndarray) for o in operands) and traits(node.op).pure:
            return list(self.evaluator.run(node, operands))  # type: ignore[arg-type]
        if node.op == "Concat":
            node, operands = _without_empty(node, operands)
        for name, operand in zip(node.inputs, operands, strict=True):
            if isinstance(operand, np.ndarray) and operand.dtype.kind in "cOSU":
                node.unsupported(f"constant input {name!r} has dtype {operand.dtype}, which no frame holds")
            if isinstance(operand, np.ndarray) and operand.dtype.kind == "f" and operand.size == 0 and operand.ndim > 1:
                node.unsupported(f"constant input {name!r} of shape {operand.shape} is empty")
        if any(isinstance(o, Shares) for o in operands):
            return shares.apply(self, node, operands)
        if any(isinstance(o, Pairs | Weighed) for o in operands):
            return pairs.apply(self, node, operands)
        if any(isinstance(o, Deviations) for o in operands):
            return deviations.apply(self, node, operands)
        if self.means and (from_mean := deviations.differences(self, node, operands)):
            return from_mean
        if any(isinstance(o, Iteration) for o in operands):
            return by_iteration(self, node, operands)
        if any(isinstance(o, Length) for o in operands) and node.op in ("Identity", "Cast"):
            return [Length()]
        if node.op in HANDLERS:
            results = by_rows(self, node, operands, HANDLERS[node.op]) if self.has_rates else None
            return self._compute(node, operands) if results is None else results
        if node.op in MOVEMENT:
            return list(move(self, node, operands))
        node.unsupported(f"this operator is not supported here{why_refused(node.op)}")


def _without_empty(node: OnnxNode, operands: list[Operand]) -> tuple[OnnxNode, list[Operand]]:
    """A Concat without what has no elements, as a Split leaves it."""
    rank = next((len(o.shape) for o in operands if isinstance(o, Tensor)), None)
    full = [i for i, o in enumerate(operands) if not (isinstance(o, np.ndarray) and o.size == 0 and o.ndim == rank)]
    if len(full) == len(operands):
        return node, operands
    return replace(node, inputs=[node.inputs[i] for i in full]), [operands[i] for i in full]
