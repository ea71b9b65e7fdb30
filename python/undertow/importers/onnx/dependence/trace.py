# SPDX-License-Identifier: MIT
"""Follow what the inputs' cells reach through all nodes of a program, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from ....budget import TooMuch
from ....errors import Error
from ..file.nodes import Body, OnnxNode
from ..simplify.fold import Evaluator
from ..simplify.program import Program
from ..traits import EACH, OPERATORS, traits
from .elements import each
from .numbers import Numbers
from .reach import Context, Operand, Reach, Rule, Unclear
from .sizes import summary
from .zeros import Starts

#: what a node counts in a load's effort; after how many of them that is looked at
_EACH, _CHECKED = 2**9, 2**10


def _rule(spreads: str) -> Rule:
    module, _, name = spreads.partition(".")
    rule: Rule = getattr(import_module(f".{module}", __package__), name)
    return rule


#: operator type -> what its results depend on
RULES: dict[str, Rule] = {
    op.name: _rule(op.spreads or "elements.each") for op in OPERATORS.values() if op.spreads or op.rows == EACH
}
#: the same of what no frame goes through but where a handler leaves it out
_GUARDS: dict[str, Rule] = {"IsNaN": each}


@dataclass(frozen=True)
class Trace:
    """What was seen.

    outputs: what each depends on; an array where that is nothing. walked: the nodes that went from round to round.
    numbers: what lengths have met.
    """

    program: Program

    outputs: dict[str, Operand]
    walked: list[Walked]
    starts: Starts
    numbers: Numbers
    #: value -> what it is, of those that follow from sizes
    known: dict[str, np.ndarray]
    #: (place of a node, slot) -> the node, the value there that follows from sizes, what must not change with them
    met: dict[tuple[int, int], tuple[OnnxNode, str, Any]]

    @cached_property
    def lost(self) -> OnnxNode | None:
        """A node of a recurrence that ended with its first step, if there is one."""
        return self.starts.lost(self.program.nodes)

    @property
    def may_be_lost(self) -> OnnxNode | None:
        """A node that may be all that is left of such a recurrence."""
        return self.starts.may_be_lost

    @property
    def knows_sizes(self) -> bool:
        """Whether something follows from sizes, these or others."""
        return bool(self.known or self.numbers.decisions)


@dataclass(frozen=True)
class Walked:
    """A node that goes on from round to round, and what each of its rounds adds."""

    node: OnnxNode
    gained: tuple[np.uint64, ...]


class _Run(Context):
    def __init__(self, program: Program, evaluator: Evaluator) -> None:
        self.constants = program.constants.keys()
        self.values: dict[str, Operand] = dict(program.constants)
        self.evaluator, self.effort = evaluator, program.effort
        self.walked: list[Walked] = []
        self.starts = Starts(program.bound, program.picked)
        self.numbers = Numbers()
        self.depth = 0
        self.known: dict[str, np.ndarray] = {}
        self.met: dict[tuple[int, int], tuple[OnnxNode, str, Any]] = {}
        self.n_run = 0
        #: nodes of the graph itself so far, which are as many for all lengths, as rounds are not
        self.place = 0

    def live(self) -> int:
        """Bytes that are held."""
        values = {id(v): v for v in self.values.values()}.values()
        return sum(v.bits.nbytes if isinstance(v, Reach) else getattr(v, "nbytes", 0) for v in values)

    def evaluate(self, node: OnnxNode, arrays: list[np.ndarray | None]) -> list[np.ndarray]:
        return self.evaluator.run(node, arrays)

    def run_body(self, body: Body, given: Sequence[Operand]) -> list[Operand]:
        self.values.update(zip(body.inputs, given, strict=True))
        self.depth += 1
        for node in body.nodes:
            self.run(node)
        self.depth -= 1
        return [self.values[name] for name in body.outputs]

    def note_walk(self, node: OnnxNode, gained: Sequence[np.uint64]) -> None:
        self.walked.append(Walked(node, tuple(gained)))

    def run(self, node: OnnxNode) -> None:
        self.n_run += 1
        self.place += not self.depth
        self.effort.used += _EACH
        if self.n_run % _CHECKED == 0:  # rounds of a loop may be many
            self.effort.check()
        operands = [self.values[name] if name else None for name in node.inputs]
        self.starts.look(node, operands)
        known = [o for o in operands if not isinstance(o, Reach)]
        if len(known) == len(operands) and traits(node.op).pure:
            results: Sequence[Operand] = self.evaluate(node, known)
            self._note_numbers(node, known, results)
        elif rule := RULES.get(node.op) or _GUARDS.get(node.op):
            results = rule(self, node, operands)
            self.numbers.look_along(node, operands)
            if not self.depth:
                self._note_met(node, operands)
                self._note_known(node, results)
        else:
            raise Unclear(f"{node.where}: what it depends on is not known")
        for name, result in zip(node.outputs, results, strict=False):
            if name:
                self.values[name] = result

    def _note_known(self, node: OnnxNode, results: Sequence[Operand]) -> None:
        self.known.update({n: r for n, r in zip(node.outputs, results, strict=False) if isinstance(r, np.ndarray)})

    def _note_met(self, node: OnnxNode, operands: Sequence[Operand]) -> None:
        for slot, (name, operand) in enumerate(zip(node.inputs, operands, strict=True)):
            if isinstance(operand, np.ndarray) and name not in self.constants:
                self.met[self.place, slot] = node, name, summary(node, slot, operands)

    def _note_numbers(self, node: OnnxNode, known: Sequence[Operand], results: Sequence[Operand]) -> None:
        constants = [name in self.constants for name in node.inputs]
        if not all(constants):  # something of it follows from a size
            self.numbers.look(node, known, constants, results)
            if not self.depth:
                self._note_known(node, results)
            if self.depth and self.numbers.decisions and self.numbers.decisions[-1][0] is node:
                self.numbers.decisions.pop()  # of a round, not of the sequence


def trace(program: Program, inputs: Mapping[str, Reach]) -> Trace:
    """What the outputs depend on, when the inputs (of sizes that fit) do on what they are given with.

    Raises:
        Unclear: it cannot be told, or the sizes do not fit.
    """
    run = _Run(program, Evaluator())
    run.values.update(inputs)
    try:
        with program.effort.held(run.live):
            for node, arrays in program.folded_products:
                run.starts.look(node, arrays)
            for node in program.nodes:
                run.run(node)
        return Trace(
            program,
            {name: run.values[name] for name in program.outputs},
            run.walked,
            run.starts,
            run.numbers,
            run.known,
            run.met,
        )
    except (Error, TooMuch, ValueError, IndexError, KeyError, TypeError) as error:
        raise Unclear(str(error)) from error


__all__ = ["RULES", "Trace", "Walked", "trace"]
