# SPDX-License-Identifier: MIT
"""Attention: loops over heads and rows, as csrc/kernels/attend-inl.h has them."""

from __future__ import annotations

from ...ir.nodes import Node
from .base import Export
from .frames import softmax, sums
from .program import Program, title
from .text import literal


class Attend(Export):
    def place(self, program: Program, node: Node) -> None:
        super().place(program, node)
        if program.is_used(node.outputs[0]):
            self._own(program, node)["scores"] = program.buffer(node.attrs["rows"])

    def emit(self, program: Program, node: Node) -> None:
        (y,) = node.outputs
        if not program.is_used(y):
            return
        q, keys, values, *bias = node.inputs
        a, lines = node.attrs, program.step
        heads, rows, width, n_out = a["heads"], a["rows"], a["key_width"], a["value_width"]
        (key, key_row, key_head), (value, value_row, value_head) = a["key_places"], a["value_places"]
        each = heads // a["shared"]
        program.need("mul_add", "mul", "add")
        lines(title(node, program.graph), "{")
        lines(f"const float* q = {program.at(q).text};", f"float* y = {program.at(y).text};")
        lines(f"float* score = {self._own(program, node)['scores'].text};", "size_t h, j, d;")
        lines(f"for (h = 0; h < {heads}; ++h, q += {width}, y += {n_out}) {{")
        head = f"h / {each}" if each > 1 else "h"
        lines(f"const float* k = {program.at(keys, key).text} + {key_head} * ({head});")
        lines(f"const float* v = {program.at(values, value).text} + {value_head} * ({head});")
        if bias:
            by_head = program.size(bias[0]) != rows
            lines(f"const float* bias = {program.at(bias[0]).text}{f' + {rows} * h' if by_head else ''};")
        lines(f"for (j = 0; j < {rows}; ++j, k += {key_row}) {{", "float part[16] = {0.0f}, dot;")
        lines(f"for (d = 0; d < {width}; ++d) part[d % 16] = mul_add(q[d], k[d], part[d % 16]);")
        lines(f"dot = mul({sums(program)}(part), {literal(a['scale'])});")
        if a["cap"]:
            program.need("div", "vtanh")
            cap = literal(a["cap"])
            lines(f"dot = mul({cap}, vtanh(div(dot, {cap})));")
        lines("score[j] = add(dot, bias[j]);" if bias else "score[j] = dot;", "}")
        lines(f"{softmax(program)}(score, score, {rows});")
        lines(f"for (d = 0; d < {n_out}; ++d) y[d] = 0.0f;")
        lines(f"for (j = 0; j < {rows}; ++j, v += {value_row})")
        lines(f"for (d = 0; d < {n_out}; ++d) y[d] = mul_add(score[j], v[d], y[d]);")
        lines("}", "}")
