# SPDX-License-Identifier: MIT
"""Expressions: one nest of loops over the elements of a space."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from ...ir.nodes import Node
from ...ir.ops.programs import INPUT, LAST, ROWS, STATE, Instruction, Operand, reduced_axis
from ...ir.ops.programs import Program as Code
from . import helium
from .base import Export
from .elementwise import BINARY, ORDERED, maximum
from .frames import sums
from .program import Place, Program, title
from .text import literal

_INDICES = "ijkl"
#: code -> formula of a, b, c and d, and what it needs of the headers
_FORMULAS = {
    "mul_add": ("mul_add({a}, {b}, {c})", ["mul_add"]),
    "mul_plus": ("add(mul({a}, {b}), {c})", ["add", "mul"]),
    "mul_minus": ("sub(mul({a}, {b}), {c})", ["sub", "mul"]),
    "minus_mul": ("sub({c}, mul({a}, {b}))", ["sub", "mul"]),
    "mul_plus_mul": ("add(mul({a}, {b}), mul({c}, {d}))", ["add", "mul"]),
    "mul_minus_mul": ("sub(mul({a}, {b}), mul({c}, {d}))", ["sub", "mul"]),
    "sum_mul": ("mul({a}, {b})", ["mul"]),
}


class Expression(Export):
    """A slot is a local variable, a sum over the last axis 16 of them."""

    def place(self, program: Program, node: Node) -> None:
        for value in node.outputs:
            if program.is_used(value):
                program.new(value)
            else:
                program.places[value] = program.buffer(program.size(value))
        for state in node.states:
            program.field_of(state)

    def emit(self, program: Program, node: Node) -> None:
        lines, gate = program.step, self.gate(program, node)
        lines(title(node, program.graph))
        if gate:
            program.need("is_open")
            lines(f"if (is_open(*{program.at(gate).operand})) {{")
        else:
            lines("{")
        _Loops(program, node).write()
        if gate:
            lines("} else {")
            for value in node.outputs:
                lines(f"memset({program.at(value).text}, 0, {program.size(value)} * sizeof(float));")
        lines("}")


@dataclass
class _Loops:
    program: Program
    node: Node
    names: dict[int, str] = field(default_factory=dict)  # of operands that are pointers in a row, or numbers
    literals: dict[int, str] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)  # of slots and operands that were written, in one element

    def __post_init__(self) -> None:
        code: Code = self.node.attrs["program"]
        self.code, self.sizes, self.lines = code, code.sizes, self.program.step
        for n, operand in enumerate(code.operands):
            if (number := self._constant(operand)) is not None:
                self.literals[n] = literal(number)

    def _place(self, o: Operand) -> Place:
        if o.kind == STATE:
            return Place(f"s->{self.program.field_of(self.node.states[o.index])}")
        return self.program.at(self.node.inputs[o.index] if o.kind == INPUT else self.node.outputs[o.index])

    def _constant(self, o: Operand) -> float | None:
        """The number of an operand that is one constant number."""
        if o.kind != INPUT or any(s and n > 1 for s, n in zip(o.strides, self.sizes, strict=True)):
            return None
        value = self.node.inputs[o.index]
        maker = next((n for n in self.program.graph.nodes if value in n.outputs), None)
        if maker is None or maker.op != "constant":
            return None
        number = float(maker.weights["value"].reshape(-1)[o.offset])
        return number if np.isfinite(number) else None

    def write(self) -> None:
        lines, outer = self.lines, [a for a in range(LAST) if self.sizes[a] > 1]
        indices = [_INDICES[a] for a in (*outer, LAST)]
        lines(f"size_t {', '.join(indices)};")
        self._start_rows()
        for axis in outer:
            i = _INDICES[axis]
            lines(f"for ({i} = 0; {i} < {self.sizes[axis]}; ++{i}) {{")
        self._row()
        for _ in outer:
            lines("}")

    def _start_rows(self) -> None:
        """What is joined over rows starts in the output."""
        for s in self.code.instructions:
            if reduced_axis(s.code) == ROWS:
                o = self.code.operands[s.y]
                n = prod(self.sizes) // self.sizes[ROWS]
                y = self._place(o)
                start = self._join(s.code.removeprefix("rows_"))[1]
                self.lines(f"for (l = 0; l < {n}; ++l) {y.operand}[l] = {start};")

    def _join(self, kind: str) -> tuple[str, str]:
        """The function that joins two partial results, and what they start from."""
        kind = kind.split("_")[0]
        if kind in ("max", "min"):
            return maximum(self.program, kind), "-UT_INFINITY" if kind == "max" else "UT_INFINITY"
        op, start = ("mul", "1.0f") if kind == "prod" else ("add", "0.0f")
        self.program.need(op)
        return op, start

    def _row(self) -> None:
        lines, code = self.lines, self.code
        steps = _needed(code)
        used = {k for _, s in steps for k in (s.y, *s.x)}
        written = {s.y for s in code.instructions}
        scalars = False
        for n, o in enumerate(code.operands):
            if n not in used or n in self.literals:
                continue
            at = " + ".join(
                [self._place(o).at(o.offset).text]
                + [
                    f"{s} * {_INDICES[a]}"
                    for a, (s, size) in enumerate(zip(o.strides[:LAST], self.sizes, strict=False))
                    if s and size > 1
                ]
            )
            name = self.names[n] = f"p{n}"
            const = "" if n in written else "const "
            if o.strides[LAST] or n in written:
                lines(f"{const}float* {name} = {at};")
            else:
                scalars = True
                lines(f"const float {name} = *({at});")
        reductions = [s for s in code.instructions if reduced_axis(s.code) == LAST]
        for s in reductions:
            start = self._join(s.code.removeprefix("last_"))[1]
            lines(f"float part{s.y}[16];", f"for (l = 0; l < 16; ++l) part{s.y}[l] = {start};")
        each = [line for i, s in steps for line in self._instruction(i, s)]
        if scalars or reductions or any(reduced_axis(s.code) is not None for s in code.instructions):
            lines(f"for (l = 0; l < {self.sizes[LAST]}; ++l) {{", *each, "}")
        else:
            helium.loop(self.program, lines, "l", self.sizes[LAST], [], each, self.sizes[LAST] % 4 == 0)
        for s in reductions:
            op = self._join(s.code.removeprefix("last_"))[0]
            lines(f"*{self.names[s.y]} = {sums(self.program, op)}(part{s.y});")

    def _argument(self, k: int) -> str:
        if k in self.values:
            return self.values[k]
        if k in self.literals:
            return self.literals[k]
        return f"{self.names[k]}[l]" if self.code.operands[k].strides[LAST] else self.names[k]

    def _instruction(self, i: int, s: Instruction) -> list[str]:
        x = dict(zip("abcd", map(self._argument, s.x), strict=False))
        axis = reduced_axis(s.code)
        kind = s.code if axis is None else s.code.split("_", 1)[1]
        if kind == "dot":
            self.program.need("mul_add")
            return [f"{self.names[s.y]}[l] = mul_add({x['a']}, {x['b']}, {self.names[s.y]}[l]);"]
        formula = self._formula(s, kind.removeprefix("sum_") if kind.count("_") > 1 and axis is not None else kind, x)
        if axis is not None:
            op = self._join(kind)[0]
            at = f"part{s.y}[l % 16]" if axis == LAST else f"{self.names[s.y]}[l]"
            return [f"{at} = {op}({at}, {formula});"]
        name = f"v{i}"
        self.values[s.y] = name
        result = [f"const float {name} = {formula};"]
        if s.y < len(self.code.operands):
            result.append(f"{self.names[s.y]}[l] = {name};")
        return result

    def _formula(self, s: Instruction, kind: str, x: dict[str, str]) -> str:
        program = self.program
        if s.activation is not None:
            name = program.activation(s.activation)
            return f"{name}({x['a']})" if name else x["a"]
        if kind == "where":
            program.need("flushed", "vabs", "is_less")
            return f"flushed(is_less(vabs({x['a']}), 1.17549435e-38f) ? {x['c']} : {x['b']})"
        if kind in _FORMULAS:
            formula, needs = _FORMULAS[kind]
            text = formula.format(**x)
        elif kind in BINARY and len(s.x) == 2:
            formula, needs = BINARY[kind]
            if kind in ("max", "min"):
                maximum(program, kind)
            if "ordered" in formula:
                program.function("ordered", ORDERED)
            text = formula.format(u=x["a"], v=x["b"])
        else:
            return x["a"]
        program.need(*needs)
        # A compiler adds 0 and multiplies by 1 by doing nothing, which leaves subnormals.
        constants = any(k in self.literals or self._is_constant(k) for k in s.x)
        if constants and "?" not in text and kind not in ("max", "min"):
            program.need("flushed")
            text = f"flushed({text})"
        return text

    def _is_constant(self, k: int) -> bool:
        if k in self.values or k >= len(self.code.operands):
            return False
        o = self.code.operands[k]
        return o.kind == INPUT and self.program.may_be_constant(self.node.inputs[o.index])


def _needed(code: Code) -> list[tuple[int, Instruction]]:
    """The instructions of which something is read: compilers warn of variables without a use. With their numbers."""
    steps, read = [], set[int]()
    for i, s in reversed([*enumerate(code.instructions)]):
        if s.y < len(code.operands) or s.y in read:
            read = (read - {s.y}) | set(s.x)
            steps.append((i, s))
    return steps[::-1]


__all__ = ["Expression"]
