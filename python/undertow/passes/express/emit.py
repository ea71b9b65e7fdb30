# SPDX-License-Identifier: MIT
"""From a group of nodes to the program of one expression."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...ir.activations import Activation
from ...ir.graph import Graph
from ...ir.ops.programs import (
    INPUT,
    LAST,
    OUTPUT,
    STATE,
    Instruction,
    Operand,
    Program,
    dense_strides,
    reduced_axis,
)
from . import maps
from .groups import Group, Member, Source
from .states import Owned

Space = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Memory:
    """An operand, of an input by name, of a state, or of the constants."""

    kind: int
    name: str
    offset: int
    strides: Space


@dataclass
class _Step:
    code: str
    x: list[int | _Memory]
    value: str
    activation: Activation | None = None


@dataclass
class Emitted:
    """An expression in the making."""

    program: Program
    inputs: list[str]
    states: list[str]
    outputs: list[str]
    constants: np.ndarray | None


#: what a product is together with a sum that alone reads it: (sum, which of its arguments are products) -> code
_WITH_PRODUCTS = {
    ("add", (True, False)): "mul_plus",
    ("add", (False, True)): "mul_plus",
    ("add", (True, True)): "mul_plus_mul",
    ("sub", (True, False)): "mul_minus",
    ("sub", (False, True)): "minus_mul",
    ("sub", (True, True)): "mul_minus_mul",
}
_SUMS_OF = {
    ("last_sum", "mul"): "last_sum_mul",
    ("last_sum", "mul_plus_mul"): "last_sum_mul_plus_mul",
    ("last_sum", "mul_minus_mul"): "last_sum_mul_minus_mul",
    ("rows_sum", "mul"): "rows_sum_mul",
}
#: first arguments of pairs that may change places
_EXCHANGED = {
    **dict.fromkeys(
        ("add", "mul", "mul_add", "mul_plus", "mul_minus", "minus_mul", "last_sum_mul", "rows_sum_mul", "rows_dot"),
        (0,),
    ),
    **dict.fromkeys(("mul_plus_mul", "mul_minus_mul", "last_sum_mul_plus_mul", "last_sum_mul_minus_mul"), (0, 2)),
}


class Emitter:
    """The program of a group.

    needed: values that others read. constants: the name of the value that will hold the numbers of affine nodes.
    """

    def __init__(self, graph: Graph, group: Group, registers: list[Owned], needed: set[str], constants: str) -> None:
        self.graph, self.group, self.registers, self.needed, self.constants = graph, group, registers, needed, constants
        space = maps.sizes(group.ends)
        assert space is not None
        self.space = space
        self.numbers: list[np.ndarray] = []
        self.n_numbers = 0
        self.state_of = {o.read.outputs[0]: o for o in registers}
        self.steps: list[_Step] = []
        self.step_of: dict[str, int] = {}
        for member in group.members:
            self._add(member)
        self._combine()
        self._scalars_first()

    # -- steps ----------------------------------------------------------------------------------------------------

    def argument(self, source: Source) -> int | _Memory:
        if source.axes is None and source.value in self.step_of:
            return self.step_of[source.value]
        if register := self.state_of.get(source.value):
            return _Memory(STATE, register.state, source.offset, dense_strides(self.space))
        axes = [(self.group.n, 1)] if source.axes is None else list(source.axes)
        return _Memory(INPUT, source.value, source.offset, maps.strides(axes, self.space))

    def _constant(self, numbers: np.ndarray) -> _Memory:
        array, strides = maps.compressed(numbers, self.space)
        if strides[LAST] > 1:
            array, strides = numbers.reshape(-1), dense_strides(self.space)
        for i, known in enumerate(self.numbers):
            if np.array_equal(known.view(np.int32), array.view(np.int32)):
                return _Memory(INPUT, self.constants, sum(a.size for a in self.numbers[:i]), strides)
        self.numbers.append(array)
        self.n_numbers += array.size
        return _Memory(INPUT, self.constants, self.n_numbers - array.size, strides)

    def _add(self, member: Member) -> None:
        node, x = member.node, [self.argument(read) for read in member.reads]
        act, code = None, node.op
        if node.op == "affine":
            scale, shift = node.weights["scale"], node.weights["shift"]
            if not shift.any():
                code, x = "mul", [*x, self._constant(scale)]
            elif (scale == 1).all():
                code, x = "add", [*x, self._constant(shift)]
            elif (scale == -1).all():
                code, x = "sub", [self._constant(shift), *x]
            else:
                code, x = "mul_add", [*x, self._constant(scale), self._constant(shift)]
        elif node.op == "activation":
            act = node.attrs["activation"]
        elif node.op == "reduce":
            assert member.reduces is not None
            code = f"{'last' if member.reduces[1] == 1 else 'rows'}_{node.attrs['kind']}"
        elif node.op == "matmul":
            code = "mul" if member.reduces is None else "last_sum_mul" if member.reduces[1] == 1 else "rows_dot"
        self.step_of[node.outputs[0]] = len(self.steps)
        self.steps.append(_Step(code, x, node.outputs[0], act))

    def _scalars_first(self) -> None:
        """Of two factors or terms the one that is one number for a row comes first: kernels are made for that."""

        def scalar(k: int | _Memory) -> bool:
            return isinstance(k, _Memory) and k.strides[LAST] == 0 and self.space[LAST] != 1

        for step in self.steps:
            pairs = _EXCHANGED.get(step.code, ())
            for i in pairs:
                if scalar(step.x[i + 1]) and not scalar(step.x[i]):
                    step.x[i], step.x[i + 1] = step.x[i + 1], step.x[i]

    def _alone(self, i: int) -> bool:
        """Whether one step alone needs the result of another."""
        written = any(v == self.steps[i].value for o in self.registers for v in o.slices)
        uses = sum(k == i for step in self.steps for k in step.x if isinstance(k, int))
        return uses == 1 and not written and self.steps[i].value not in self.needed

    def _combine(self) -> None:
        """Let products be made where they are added up: an instruction less, to the bit the same."""
        gone: set[int] = set()

        def only(k: int | _Memory, codes: tuple[str, ...]) -> _Step | None:
            return self.steps[k] if isinstance(k, int) and self.steps[k].code in codes and self._alone(k) else None

        for step in self.steps:
            if step.code in ("add", "sub") and step.x[0] != step.x[1]:
                products = [only(k, ("mul",)) for k in step.x]
                code = _WITH_PRODUCTS.get((step.code, (products[0] is not None, products[1] is not None)))
                if code:
                    gone |= {k for k, p in zip(step.x, products, strict=True) if p is not None and isinstance(k, int)}
                    of_products = [x for p in products if p is not None for x in p.x]
                    others = [k for k, p in zip(step.x, products, strict=True) if p is None]
                    step.code, step.x = code, [*of_products, *others]
            elif step.code in ("last_sum", "rows_sum"):
                before = only(step.x[0], ("mul", "mul_plus_mul", "mul_minus_mul"))
                code = _SUMS_OF.get((step.code, before.code)) if before is not None else None
                if before is not None and code and isinstance(step.x[0], int):
                    gone.add(step.x[0])
                    step.code, step.x = code, list(before.x)
        kept = [i for i in range(len(self.steps)) if i not in gone]
        number = {old: new for new, old in enumerate(kept)}
        self.steps = [self.steps[i] for i in kept]
        for step in self.steps:
            step.x = [number[k] if isinstance(k, int) else k for k in step.x]
        self.step_of = {v: number[i] for v, i in self.step_of.items() if i in number}

    # -- the program ----------------------------------------------------------------------------------------------

    def emit(self) -> Emitted:
        return _Layout(self).emitted()


@dataclass
class _Layout:
    """Where each result goes: to an output, into a state as soon as nobody reads what it was, or to a slot."""

    of: Emitter
    memory: list[_Memory] = field(default_factory=list)

    def emitted(self) -> Emitted:
        of = self.of
        outputs = [s.value for s in of.steps if s.value in of.needed]
        last_read: dict[int | _Memory, int] = {}
        for i, step in enumerate(of.steps):
            last_read.update(dict.fromkeys(step.x, i))
        places: dict[int, _Memory] = {}  # of results that have one
        copies: list[tuple[int | _Memory, _Memory]] = []
        for i, step in enumerate(of.steps):
            if step.value in of.needed:
                axis = reduced_axis(step.code)
                places[i] = _Memory(OUTPUT, step.value, 0, dense_strides(of.space, axis))
        written = [
            (value, _Memory(STATE, register.state, k * of.group.n, dense_strides(of.space)))
            for register in of.registers
            for k, value in enumerate(register.slices)
        ]
        n_steps = len(of.steps)
        for value, to in written:  # what a state was is read last by whoever takes it over as it is
            if value not in of.step_of and (source := of.argument(Source(value))) != to:
                copies.append((source, to))
                last_read[source] = n_steps
        for value, to in written:
            if (at := of.step_of.get(value)) is None:
                continue
            if at in places or last_read.get(to, -1) > at:
                copies.append((at, to))
                last_read[at] = n_steps
            else:
                places[at] = to
        names = [m.name for m in self._all(places, copies) if m.kind == INPUT]
        inputs = list(dict.fromkeys(name for name in names if name != of.constants))
        inputs += [of.constants] if of.n_numbers else []
        states = [r.state for r in of.registers]
        index = {INPUT: inputs, STATE: states, OUTPUT: outputs}
        operands = tuple(Operand(m.kind, index[m.kind].index(m.name), m.offset, m.strides) for m in self.memory)
        instructions, n_slots = self._instructions(places, copies, last_read)
        program = Program(of.space, n_slots, operands, instructions)
        return Emitted(program, inputs, states, outputs, np.concatenate(of.numbers) if of.numbers else None)

    def _all(self, places: dict[int, _Memory], copies: list[tuple[int | _Memory, _Memory]]) -> list[_Memory]:
        seen: dict[_Memory, None] = {}
        for i, step in enumerate(self.of.steps):
            for k in (*step.x, *([places[i]] if i in places else [])):
                if isinstance(k, _Memory):
                    seen.setdefault(k)
        for x, to in copies:
            for k in (x, to):
                if isinstance(k, _Memory):
                    seen.setdefault(k)
        self.memory = list(seen)
        return self.memory

    def _instructions(
        self,
        places: dict[int, _Memory],
        copies: list[tuple[int | _Memory, _Memory]],
        last_read: dict[int | _Memory, int],
    ) -> tuple[tuple[Instruction, ...], int]:
        of, number = self.of, {m: i for i, m in enumerate(self.memory)}
        at: dict[int, int] = {i: number[m] for i, m in places.items()}
        free: list[int] = []
        n_slots = 0
        written = []
        for i, step in enumerate(of.steps):
            x = tuple(at[k] if isinstance(k, int) else number[k] for k in step.x)
            for k in dict.fromkeys(step.x):
                if isinstance(k, int) and k not in places and last_read[k] == i:
                    free.append(at[k])
            if i not in at:
                if not free:
                    free.append(len(self.memory) + n_slots)
                    n_slots += 1
                at[i] = free.pop()
            written.append(Instruction(step.code, at[i], x, step.activation))
        sources = []
        for k, _ in copies:
            if isinstance(k, _Memory) and k.kind == STATE:  # kept before any state is written
                written.append(Instruction("copy", len(self.memory) + n_slots, (number[k],)))
                sources.append(len(self.memory) + n_slots)
                n_slots += 1
            else:
                sources.append(at[k] if isinstance(k, int) else number[k])
        for source, (_, to) in zip(sources, copies, strict=True):
            written.append(Instruction("copy", number[to], (source,)))
        return tuple(written), n_slots


__all__ = ["Emitted", "Emitter"]
