# SPDX-License-Identifier: MIT
"""Recurrent cells: the gates of a few units at a time, in one pass over their weights; then the update of these units.

Both products of a group stay on the stack, so that a step needs no more scratch than the hidden state to come.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod

import numpy as np

from ...ir.nodes import Node
from . import fixed, helium
from .base import Export
from .kernels import INTEGER_ROWS, ROWS
from .products import Product, product
from .program import Lines, Place, Program, title
from .sparse import Sparse
from .text import literal


class _Pass:
    """One walk over the units: products of x and of a recurrent vector, and what `update` makes of them.

    gates: numbers of those whose units it makes.
    """

    def __init__(self, program: Program, node: Node, name: str, gates: slice, start: np.ndarray | None) -> None:
        w = node.weights
        self.program, self.node, self.name, self.gates = program, node, name, gates
        of_x, of_h = w["W"][gates], w["R"][gates]
        self.n_gates, self.units, _ = of_x.shape
        keys = {"W": of_x, "R": of_h}
        n = max(1, ROWS // self.n_gates)
        if n > (few := INTEGER_ROWS // gcd(INTEGER_ROWS, self.n_gates)):
            n -= n % few  # whole groups of rows
        self.at_once = min(n, self.units)
        self.b = self._vector("b", w["b"][gates] if "b" in w else None, "W")
        self.start = self._vector("rb", start, "R")
        self.products: dict[str, Product | Sparse] = {}
        for key, rows in keys.items():
            ordered = rows if "sparse" in node.precisions.get(key, "") else rows.transpose(1, 0, 2)
            p = self.products[key] = product(program, node, key, ordered, f"{name}_{key}")
            if isinstance(p, Product):
                p.store(self.at_once * self.n_gates)

    def _vector(self, key: str, rows: np.ndarray | None, of: str) -> str:
        """Where chains begin (gates, units), in the order of their product; "" where that is zero."""
        if rows is None:
            return ""
        ordered = rows if "sparse" in self.node.precisions.get(of, "") else rows.T
        return self.program.constant(f"{self.name}_{key}", np.ascontiguousarray(ordered))

    @property
    def n_chains(self) -> int:
        return self.at_once * self.n_gates

    def buffer_sizes(self) -> dict[str, int]:
        """Scratch: products of a matrix in blocks, and copies of what it multiplies."""
        sizes = {}
        for key, p in self.products.items():
            if isinstance(p, Sparse):
                sizes[f"{self.name}.{key}"] = self.n_gates * self.units
                if p.copy_size:
                    sizes[f"{self.name}.{key}.x"] = p.copy_size
        return sizes


def _pass(node: Node) -> type[_Pass] | type[fixed.Pass]:
    """How its units are made."""
    return fixed.Pass if fixed.is_fixed(node) else _Pass


class Cell(Export):
    """What the three cells share: rows and steps of a frame, gates, states and starts."""

    #: whether it has a state c besides h
    has_c = False

    def place(self, program: Program, node: Node) -> None:
        own, rows = self._own(program, node), self._rows(program, node)
        own["passes"] = self._passes(program, node)
        for p in own["passes"]:
            own.update({key: program.buffer(size) for key, size in p.buffer_sizes().items()})
            program.frame(sum(q.frame_size for q in p.products.values()))
        own.update({key: program.buffer(size) for key, size in self._scratch(node).items()})
        self._place_projection(program, node)
        own["states"] = [Place(f"s->{program.field_of(state)}") for state in node.states]
        if not node.states:
            own["states"] = [program.buffer(rows * width) for width in self._widths(node)]
        self._place_outputs(program, node)

    def _place_projection(self, program: Program, node: Node) -> None:
        own, w = self._own(program, node), node.weights.get("projection")
        own["projection"] = None
        if w is None:
            return
        p = own["projection"] = product(program, node, "projection", w, program.unique(f"{node.name}_projection"))
        if isinstance(p, Product):
            p.store(min(ROWS, len(w)))
        elif p.copy_size:
            own["projection.x"] = program.buffer(p.copy_size)
        program.frame(p.frame_size)

    def _place_outputs(self, program: Program, node: Node) -> None:
        """Outputs are the states after the step, but for those behind a gate, of steps, or of the caller's."""
        own, states = self._own(program, node), self._own(program, node)["states"]
        h, *c = node.outputs
        is_state = bool(node.states) and not self.gate(program, node) and not node.attrs["steps"]
        if is_state and not program.is_direct(h):
            own["next"] = program.buffer(program.size(h))
            program.places[h] = states[0]
        else:
            own["next"] = program.new(h)
        own["keeps_c"] = False
        for value in c:
            program.places[value] = states[1]
            if program.is_used(value) and (not is_state or program.is_direct(value)):
                program.new(value)
                own["keeps_c"] = True

    def _rows(self, program: Program, node: Node) -> int:
        shape = program.graph.shape(node.inputs[0])
        return prod(shape[int(node.attrs["steps"]) : -1])

    def _widths(self, node: Node) -> list[int]:
        """Numbers of a row of h, and of c."""
        return [node.weights["R"].shape[2], node.weights["W"].shape[1]][: 1 + self.has_c]

    def _passes(self, program: Program, node: Node) -> list[_Pass | fixed.Pass]:
        return [_pass(node)(program, node, program.unique(node.name), slice(None), None)]

    def refusal(self, node: Node) -> str:
        vectors = [node.weights[key] for key in ("b", "rb_n") if key in node.weights and fixed.is_fixed(node)]
        if not all(np.isfinite(v).all() for v in vectors):
            return "a bias that meets integers is no number"
        return super().refusal(node)

    def _scratch(self, node: Node) -> dict[str, int]:
        return {"units": node.weights["W"].shape[1]} if "projection" in node.weights else {}

    def emit(self, program: Program, node: Node) -> None:
        own, lines = self._own(program, node), program.step
        shape = program.graph.shape(node.inputs[0])
        n_steps, rows, widths = (shape[0] if node.attrs["steps"] else 1), self._rows(program, node), self._widths(node)
        states: list[Place] = own["states"]
        gate = self.gate(program, node)
        lines(title(node, program.graph), "{")
        if gate:
            program.need("is_open")
            lines(f"if (is_open(*{program.at(gate).operand})) {{")
        self._start(program, node, rows)
        loops = 0
        if n_steps > 1:
            way = f"l = {n_steps}; l-- != 0;" if node.attrs["reverse"] else f"l = 0; l < {n_steps}; ++l"
            lines("size_t l;", f"for ({way}) {{")
            loops += 1
        if rows > 1:
            lines("size_t r;", f"for (r = 0; r < {rows}; ++r) {{")
            loops += 1
        row = "r" if rows > 1 else ""
        index = (f"({rows} * l + r)" if row else "l") if n_steps > 1 else row
        at = lambda place, i, width: f"{place.operand} + {width} * {i}" if i else place.text  # noqa: E731
        lines(f"const float* x = {at(program.at(node.inputs[0]), index, shape[-1])};")
        for letter, state, width in zip("hc", states, widths, strict=False):
            lines(f"float* {letter} = {at(state, row, width)};")
        lines(f"float* y = {at(own['next'], index, widths[0])};")
        of_x = own["passes"][0].products["W"]
        if isinstance(of_x, fixed.Matrix):
            hidden = node.weights["W"].shape[1]
            lines(*fixed.begin(program, of_x, shape[-1], hidden, "yc" if self.has_c else "y"))
            self._fixed(program, node, lines)
            lines("}")
        else:
            if isinstance(of_x, Product):
                lines(*of_x.prepare("x", 0, "s_x"))
            self._one(program, node, lines)
        lines(f"memcpy(h, y, {widths[0]} * sizeof(float));")
        if own["keeps_c"]:
            to = at(program.at(node.outputs[1]), index, widths[1])
            lines(f"memcpy({to}, c, {widths[1]} * sizeof(float));")
        lines(*["}"] * loops)
        if gate:
            lines("} else {")
            for value in [node.outputs[0], *(node.outputs[1:] if own["keeps_c"] else ())]:
                lines(f"memset({program.at(value).text}, 0, {program.size(value)} * sizeof(float));")
            lines("}")
        lines("}")

    def _start(self, program: Program, node: Node, rows: int) -> None:
        """What a cell without states starts from: an input each, or zeros."""
        if node.states:
            return
        for i, (state, width) in enumerate(zip(self._own(program, node)["states"], self._widths(node), strict=True)):
            size = f"{rows * width} * sizeof(float)"
            if len(node.inputs) > 1:
                program.step(f"memcpy({state.text}, {program.at(node.inputs[1 + i]).text}, {size});")
            else:
                program.step(f"memset({state.text}, 0, {size});")

    def _one(self, program: Program, node: Node, lines: Lines) -> None:
        """One timestep of one row: x, h and c to y and c."""
        own = self._own(program, node)
        target = "y"
        if own["projection"] is not None:
            lines(f"float* units = {own['units'].text};")
            target = "units"
        self._walk(program, node, lines, own["passes"][0], "h", self.update(program, node, target))
        self._project(program, node, lines)

    def _fixed(self, program: Program, node: Node, lines: Lines) -> None:
        """The same in fixed8."""
        program.need("fixed_put", "fixed_number")
        (only,) = self._own(program, node)["passes"]
        only.walk(lines, "h", self.update_fixed(program, node))

    def update_fixed(self, program: Program, node: Node) -> list[str]:
        """Lines that make y[j] of {A0}, {Q0} ..., which are integers."""
        raise NotImplementedError

    def _project(self, program: Program, node: Node, lines: Lines) -> None:
        own = self._own(program, node)
        p, hidden = own["projection"], "units"
        if p is None:
            return
        n = len(node.weights["projection"])
        if isinstance(p, Sparse):
            copy = own["projection.x"].text if p.copy_size else ""
            more, x = p.prepare(hidden, 0, "s_p", copy)
            lines(*more, p.whole("y", "NULL", x, "s_p"))
            return
        lines(*p.prepare(hidden, 0, "s_p"))
        width = min(ROWS, n)
        zeros = self.zeros(program, width)
        lines("{", "size_t m;", f"for (m = 0; m + {width} <= {n}; m += {width}) {{")
        lines(*p.group("y + m", zeros, "m", width, hidden, 0, "s_p"), "}", "}")
        if n % width:
            row = n - n % width
            lines(*p.group(f"y + {row}", zeros, row, n % width, hidden, 0, "s_p"))

    def _walk(self, program: Program, node: Node, lines: Lines, p: _Pass, recurrent: str, update: list[str]) -> None:
        """Lines of a pass; `update` takes A(g) and Q(g), the products of unit j, written {A0} {Q0} and so on.

        Where x meets weights of integers, it is made of integers before: a second pass takes the same.
        """
        own = self._own(program, node)
        G, H, n = p.n_gates, p.units, p.at_once
        sides = {"W": ("x", "a", "s_x", p.b, 0), "R": (recurrent, "q", "s_h", p.start, p.products["W"].frame_size)}
        calls: dict[int, list[str]] = {n * G: [], H % n * G: []}
        read: dict[str, str] = {}
        lines("{")
        lines("size_t u, i;")
        for key, (x, name, scale, start, frame) in sides.items():
            of = p.products[key]
            letter = name.upper()
            if isinstance(of, Sparse):
                place = own[f"{p.name}.{key}"].text
                lines(f"float* {name} = {place};")
                copy = own[f"{p.name}.{key}.x"].text if of.copy_size else ""
                more, multiplied = of.prepare(x, frame, scale, copy)
                lines(*more, of.whole(name, start or "NULL", multiplied, scale))
                read |= {f"{letter}{g}": f"{name}[{f'{g * H} + ' if g else ''}j]" for g in range(G)}
                continue
            lines(f"float {name}[{n * G}];")
            if key == "R":
                lines(*of.prepare(x, frame, scale))
            for width in calls:
                if width:
                    begin = f"{start} + {G} * u" if start and G > 1 else f"{start} + u" if start else ""
                    begin = begin or self.zeros(program, width)
                    row = "u" if G == 1 else f"({G} * u)"
                    calls[width] += of.group(name, begin, row, width, x, frame, scale)
            at = "i" if G == 1 else f"{G} * i"
            read |= {f"{letter}{g}": f"{name}[{at}{f' + {g}' if g else ''}]" for g in range(G)}
        if n == 1:
            lines(f"for (u = 0; u < {H}; ++u) {{", *calls[G])
        elif H % n:
            lines(f"for (u = 0; u < {H}; u += {n}) {{", f"const size_t some = u + {n} <= {H} ? {n} : {H % n};")
            if calls[n * G]:
                lines(f"if (some == {n}) {{", *calls[n * G], "} else {", *calls[H % n * G], "}")
        else:
            lines(f"for (u = 0; u < {H}; u += {n}) {{", *calls[n * G])
        some = "some" if n > 1 and H % n else n
        one = [line.format_map(_Slots(read)) for line in update]
        helium.loop(program, lines, "i", some, ["const size_t j = u + i;"], one, H % 4 == 0)
        lines("}", "}")

    def update(self, program: Program, node: Node, y: str) -> list[str]:
        """Lines that make y[j] of {A0}, {Q0} ..."""
        raise NotImplementedError

    def gate_function(self, program: Program, node: Node, which: int) -> Callable[[str], str]:
        """The activation of a gate as a function of an expression, behind the clip."""
        act, clip = node.attrs["activations"][which], node.attrs["clip"]
        name = program.activation(act)
        program.need("add")
        if clip is None:
            return lambda x: f"{name}({x})" if name else x
        program.need("min", "max")
        bound = literal(clip)
        inner = lambda x: f"min({bound}, max(-{bound}, {x}))"  # noqa: E731
        return lambda x: f"{name}({inner(x)})" if name else inner(x)


class _Slots(dict):
    """Fills {A0} and the like, and leaves other braces of C alone."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


class Rnn(Cell):
    def update(self, program: Program, node: Node, y: str) -> list[str]:
        f = self.gate_function(program, node, 0)
        return [f"{y}[j] = {f('add({A0}, {Q0})')};"]

    def update_fixed(self, program: Program, node: Node) -> list[str]:
        program.need("fixed_tanh")
        return ["fixed_put(y + j, fixed_number(fixed_tanh({A0} + {Q0}), 15));"]


class Lstm(Cell):
    has_c = True

    def update(self, program: Program, node: Node, y: str) -> list[str]:
        f1, f2 = self.gate_function(program, node, 0), self.gate_function(program, node, 1)
        name = program.activation(node.attrs["activations"][2])
        program.need("add", "mul", "mul_add")
        inputs = ["add({A%d}, {Q%d})" % (g, g) for g in range(4)]  # noqa: UP031
        if "peephole" in node.weights:
            for letter, gate, w in zip("ifo", (0, 1, 3), node.weights["peephole"], strict=True):
                if letter == "f" and node.attrs["input_forget"]:
                    continue
                of = program.constant(f"{node.name}_peephole_{letter}", w)
                inputs[gate] = f"mul_add({of}[j], {'after' if letter == 'o' else 'before'}, {inputs[gate]})"
        if node.attrs["input_forget"]:
            program.need("sub")
            forget = "sub(1.0f, in)"
        else:
            forget = f1(inputs[1])
        return [
            "const float before = c[j];",
            f"const float in = {f1(inputs[0])};",
            f"const float forget = {forget};",
            f"const float cell = {f2(inputs[2])};",
            "const float after = mul_add(forget, before, mul(in, cell));",
            f"const float out = {f1(inputs[3])};",
            "c[j] = after;",
            f"{y}[j] = mul(out, {f'{name}(after)' if name else 'after'});",
        ]

    def update_fixed(self, program: Program, node: Node) -> list[str]:
        program.need("fixed_lstm", "fixed_count", "fixed_word", "FIXED_OF_Z", "FIXED_MOST_C")
        gates = ", ".join("{A%d} + {Q%d}" % (g, g) for g in range(4))  # noqa: UP031
        return [
            "const uint32_t before = fixed_word(c + j);",
            "if ((before & 0x7f800000u) == 0x7f800000u) {",
            "fixed_put(c + j, 0x7fc00000u);",
            "fixed_put(y + j, 0x7fc00000u);",
            "} else {",
            "int32_t cell = fixed_count(before, FIXED_OF_Z, FIXED_MOST_C);",
            f"fixed_put(y + j, fixed_number(fixed_lstm({gates}, &cell), 15));",
            "fixed_put(c + j, fixed_number(cell, 16));",
            "}",
        ]


class Gru(Cell):
    def _passes(self, program: Program, node: Node) -> list[_Pass | fixed.Pass]:
        name, make = program.unique(node.name), _pass(node)
        if node.attrs["reset_after"]:
            start = None
            if node.weights.get("rb_n") is not None:
                start = np.zeros(node.weights["R"].shape[:2], np.float32)
                start[2] = node.weights["rb_n"]
            return [make(program, node, name, slice(None), start)]
        return [
            make(program, node, f"{name}_zr", slice(2), None),
            make(program, node, f"{name}_n", slice(2, 3), None),
        ]

    def _scratch(self, node: Node) -> dict[str, int]:
        hidden = node.weights["W"].shape[1]
        return {} if node.attrs["reset_after"] else {"z": hidden, "rh": hidden}

    def update(self, program: Program, node: Node, y: str) -> list[str]:
        f1, f2 = self.gate_function(program, node, 0), self.gate_function(program, node, 1)
        program.need("mul_add", "sub", "mul")
        return [
            f"const float keep = {f1('add({A0}, {Q0})')};",
            f"const float reset = {f1('add({A1}, {Q1})')};",
            f"const float next = {f2('mul_add(reset, {Q2}, {A2})')};",
            f"{y}[j] = mul_add(keep, sub(h[j], next), next);",
        ]

    def _fixed(self, program: Program, node: Node, lines: Lines) -> None:
        program.need(
            "fixed_put", "fixed_number", "fixed_gru", "fixed_multiply", "fixed_sigmoid", "fixed_count", "fixed_word"
        )
        program.need("FIXED_OF_H", "FIXED_MOST_COUNT")
        own = self._own(program, node)
        reset, before = "fixed_sigmoid({A1} + {Q1})", "fixed_count(fixed_word(h + j), FIXED_OF_H, FIXED_MOST_COUNT)"
        hidden = lambda z, n: f"fixed_put(y + j, fixed_number(fixed_gru({z}, {n}, {before}), 15));"  # noqa: E731
        if node.attrs["reset_after"]:
            n = f"{{A2}} + fixed_multiply({{Q2}}, {reset})"
            return own["passes"][0].walk(lines, "h", [hidden("{A0} + {Q0}", n)])
        lines(f"float* z = {own['z'].text};", f"float* rh = {own['rh'].text};")
        first, second = own["passes"]
        kept = "fixed_put(z + j, (uint32_t)({A0} + {Q0}));"
        first.walk(lines, "h", [kept, f"fixed_put(rh + j, fixed_number(fixed_multiply({before}, {reset}), 15));"])
        second.walk(lines, "rh", [hidden("(int32_t)fixed_word(z + j)", "{A0} + {Q0}")])
        return None

    def _one(self, program: Program, node: Node, lines: Lines) -> None:
        if node.attrs["reset_after"]:
            return super()._one(program, node, lines)
        own = self._own(program, node)
        f1, f2 = self.gate_function(program, node, 0), self.gate_function(program, node, 1)
        program.need("mul_add", "sub", "mul")
        lines(f"float* z = {own['z'].text};", f"float* rh = {own['rh'].text};")
        gates = [f"z[j] = {f1('add({A0}, {Q0})')};", f"rh[j] = mul({f1('add({A1}, {Q1})')}, h[j]);"]
        candidate = [f"const float next = {f2('add({A0}, {Q0})')};", "y[j] = mul_add(z[j], sub(h[j], next), next);"]
        first, second = own["passes"]
        self._walk(program, node, lines, first, "h", gates)
        self._walk(program, node, lines, second, "rh", candidate)
        return None
