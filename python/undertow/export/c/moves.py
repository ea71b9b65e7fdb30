# SPDX-License-Identifier: MIT
"""Ops that give elements of their inputs in another order or shape: views where they can be, else copies."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...ir import runs
from ...ir.nodes import Node
from .base import Export
from .program import Program, title

#: runs that stand in the code as loops; more are a table
_FEW = 3


class View(Export):
    """The numbers of the input, as they are: another shape, or the frame so far."""

    def shown(self, program: Program, node: Node) -> str | None:
        return node.inputs[0]

    def place(self, program: Program, node: Node) -> None:
        program.show(node.outputs[0], node.inputs[0])


class Concat(Export):
    def emit(self, program: Program, node: Node) -> None:
        (y,) = node.outputs
        if not program.is_used(y):
            return
        program.step(title(node, program.graph))
        at = 0
        for x in node.inputs:
            size = program.size(x)
            program.step(f"memcpy({program.at(y, at).text}, {program.at(x).text}, {size} * sizeof(float));")
            at += size


class Select(Export):
    """Runs of elements; a slice is a view."""

    def place(self, program: Program, node: Node) -> None:
        if not program.is_used(node.outputs[0]):
            return
        own = self._own(program, node)
        own["runs"] = runs.find(node.weights["indices"], node.attrs["sizes"]).tolist()
        (which, start, count, stride, times, step), *more = own["runs"]
        own["is_slice"] = not more and (stride == 1 or count == 1) and (times == 1 or step == count)
        if own["is_slice"] and not program.is_direct(node.outputs[0]):
            program.show(node.outputs[0], node.inputs[which], start)
        else:
            own["is_slice"] = False
            program.new(node.outputs[0])

    def emit(self, program: Program, node: Node) -> None:
        (y,) = node.outputs
        own = self._own(program, node)
        if not program.is_used(y) or own["is_slice"]:
            return
        lines = program.step
        lines(title(node, program.graph), "{", f"float* y = {program.at(y).text};")
        if len(own["runs"]) <= _FEW:
            lines("size_t i, j;" if any(r[2] > 1 and r[4] > 1 for r in own["runs"]) else "size_t j;")
            for run in own["runs"]:
                self._run(program, node, run)
        else:
            self._table(program, node)
        lines("}")

    def _run(self, program: Program, node: Node, run: list[int]) -> None:
        which, start, count, stride, times, step = run
        lines, x = program.step, program.at(node.inputs[which], start).operand
        along = lambda base, *terms: base + "".join(_term(n, name) for n, name in terms)  # noqa: E731
        if times == 1 or count == 1:
            n, apart = (count, stride) if times == 1 else (times, step)
            lines(f"for (j = 0; j < {n}; ++j) y[j] = *({along(x, (apart, 'j'))});", f"y += {n};")
            return
        lines(f"for (i = 0; i < {times}; ++i)")
        lines(f"  for (j = 0; j < {count}; ++j) *y++ = *({along(x, (step, 'i'), (stride, 'j'))});")

    def _table(self, program: Program, node: Node) -> None:
        lines, rows = program.step, self._own(program, node)["runs"]
        changes = sum(row[0] != before[0] for before, row in pairwise(rows))
        own_column = changes > _FEW  # which input a run is of; else runs of one input are a call
        table = np.array([run[1 - own_column :] for run in rows], np.int64)
        small = table.min() >= -(2**15) and table.max() < 2**15
        c_type = np.dtype(np.int16 if small else np.int32)
        columns = f"{'input, ' * own_column}start, count, stride, times, step of each run"
        name = program.constant(program.unique(f"{node.name}_runs"), table.astype(c_type), columns)
        copy = self._copy(program, c_type.itemsize * 8, own_column)
        elements = [count * times for _, _, count, _, times, _ in rows]
        if own_column:
            lines(f"const float* inputs[{len(node.inputs)}];")
            lines(*(f"inputs[{i}] = {program.at(x).text};" for i, x in enumerate(node.inputs)))
            program.turns[name] = sum(elements)
            lines(f"(void){copy}(y, inputs, {name}, {len(rows)});")
            return
        at = 0
        while at < len(rows):
            end = next((i for i in range(at, len(rows)) if rows[i][0] != rows[at][0]), len(rows))
            x, first = program.at(node.inputs[rows[at][0]]).text, f"{name} + {5 * at}" if at else name
            program.turns[first] = sum(elements[at:end])
            assign = "y = " if end < len(rows) else "(void)"
            lines(f"{assign}{copy}(y, {x}, {first}, {end - at});")
            at = end

    @staticmethod
    def _copy(program: Program, bits: int, own_column: bool) -> str:
        """The function that copies the runs of a table. Gives the name."""
        name, x, begin = f"copy_runs_{bits}", "const float* x", ""
        if own_column:
            name, x = f"copy_runs_of_inputs_{bits}", "const float* const* inputs"
            begin = "    const float* x = inputs[*run++];\n"
        text = f"""\
/* Runs of elements{" of several inputs" * own_column}, one after another: repetition i of a run has the elements
 * start + i step + j stride. */
static float* {name}(float* y, {x}, const int{bits}_t* run, size_t n) {{
  for (; n != 0; --n, run += 5) {{
{begin}    ptrdiff_t i, j;
    for (i = 0; i < run[3]; ++i)
      for (j = 0; j < run[1]; ++j) *y++ = x[run[0] + i * run[4] + j * run[2]];
  }}
  return y;
}}
"""
        return program.function(name, text)


def _term(n: int, name: str) -> str:
    if n == 0:
        return ""
    product = name if abs(n) == 1 else f"{abs(n)} * {name}"
    return f" {'+' if n > 0 else '-'} {product}"
