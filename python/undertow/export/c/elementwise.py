# SPDX-License-Identifier: MIT
"""Ops whose element i is made of element i of each input: one loop each."""

from __future__ import annotations

import numpy as np

from ...ir.nodes import Node
from . import helium
from .base import Export
from .program import Program, title

_MAX = """\
/* {which}, NaN where either is. */
static inline float {which}_or_nan(float u, float v) {{ return u != u ? u : flushed({which}(u, v)); }}
"""
ORDERED = """\
/* 1 where neither is NaN, else 0. */
static inline float ordered(float u, float v) { return u == u && v == v ? 1.0f : 0.0f; }
"""


def maximum(program: Program, which: str) -> str:
    """The function max or min with which NaN wins."""
    return program.function(f"{which}_or_nan", _MAX.format(which=which), [which, "flushed"])


class Elementwise(Export):
    """y[k] = `formula` of x[k] ..., where y may lie on what it is made of."""

    def place(self, program: Program, node: Node) -> None:
        y = node.outputs[0]
        if not program.is_used(y):
            return
        if not program.is_direct(y):
            for x in node.inputs:
                others = [v for v in node.inputs if program.at(v).buffer is program.at(x).buffer]
                apart = any(program.at(v).offset != program.at(x).offset for v in others)
                if program.ends(x) and program.size(x) == program.size(y) and not apart:
                    program.show(y, x)
                    return
        program.new(y)

    def formula(self, program: Program, node: Node, inputs: list[str]) -> str:
        """An expression of the elements `inputs`, with k their number."""
        raise NotImplementedError

    def emit(self, program: Program, node: Node) -> None:
        y = node.outputs[0]
        lines, n = program.step, program.size(y)
        names = [f"x{i}" for i in range(len(node.inputs))] if len(node.inputs) > 1 else ["x"]
        formula = self.formula(program, node, [f"{name}[k]" for name in names])
        lines(title(node, program.graph), "{")
        for name, x in dict(zip(names, node.inputs, strict=True)).items():
            lines(f"const float* {name} = {program.at(x).text};")
        lines(f"float* y = {program.at(y).text};", "size_t k;")
        helium.loop(program, lines, "k", n, [], [f"y[k] = {formula};"], n % 4 == 0)
        lines("}")


class Activate(Elementwise):
    def shown(self, program: Program, node: Node) -> str | None:
        return node.inputs[0] if node.attrs["activation"].kind == "identity" else None

    def place(self, program: Program, node: Node) -> None:
        if self.shown(program, node):
            program.show(node.outputs[0], node.inputs[0])
        else:
            super().place(program, node)

    def emit(self, program: Program, node: Node) -> None:
        if not self.shown(program, node):
            super().emit(program, node)

    def formula(self, program: Program, node: Node, inputs: list[str]) -> str:
        return f"{program.activation(node.attrs['activation'])}({inputs[0]})"


#: op -> formula of u and v, and what it needs of the headers
BINARY = {
    "add": ("add({u}, {v})", ["add"]),
    "sub": ("sub({u}, {v})", ["sub"]),
    "mul": ("mul({u}, {v})", ["mul"]),
    "div": ("div({u}, {v})", ["div"]),
    "max": ("max_or_nan({u}, {v})", []),
    "min": ("min_or_nan({u}, {v})", []),
    "greater": ("is_less({v}, {u}) ? 1.0f : 0.0f", ["is_less"]),
    "less": ("is_less({u}, {v}) ? 1.0f : 0.0f", ["is_less"]),
    "equal": ("is_less({u}, {v}) || is_less({v}, {u}) ? 0.0f : ordered({u}, {v})", ["is_less"]),
    "greater_equal": ("is_less({u}, {v}) ? 0.0f : ordered({u}, {v})", ["is_less"]),
    "less_equal": ("is_less({v}, {u}) ? 0.0f : ordered({u}, {v})", ["is_less"]),
}


class Binary(Elementwise):
    def formula(self, program: Program, node: Node, inputs: list[str]) -> str:
        formula, needs = BINARY[node.op]
        program.need(*needs)
        if node.op in ("max", "min"):
            maximum(program, node.op)
        if "ordered" in formula:
            program.function("ordered", ORDERED)
        formula = formula.format(u=inputs[0], v=inputs[1])
        if node.op in ("add", "sub", "mul", "div") and any(map(program.may_be_constant, node.inputs)):
            program.need("flushed")
            formula = f"flushed({formula})"  # a compiler adds 0 and multiplies by 1 by doing nothing
        return formula


class Where(Elementwise):
    def formula(self, program: Program, node: Node, inputs: list[str]) -> str:
        program.need("flushed", "vabs", "is_less")
        condition, there, otherwise = inputs
        return f"flushed(is_less(vabs({condition}), 1.17549435e-38f) ? {otherwise} : {there})"


class Affine(Elementwise):
    def formula(self, program: Program, node: Node, inputs: list[str]) -> str:
        program.need("mul_add")
        scale, shift = self.vector(program, node, "scale"), self.vector(program, node, "shift")
        formula = f"mul_add({inputs[0]}, {scale}[k], {shift}[k])"
        w_scale, w_shift = node.weights["scale"], node.weights["shift"]
        if ((np.abs(w_scale) == 1) & (w_shift == 0)).any():
            program.need("flushed")
            formula = f"flushed({formula})"  # as above
        return formula
