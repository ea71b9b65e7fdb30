# SPDX-License-Identifier: MIT
"""Ops of time: registers, windows over past frames, and what tells frames of the sequence from those behind its end."""

from __future__ import annotations

from math import prod

import numpy as np

from ...ir.nodes import Node
from .base import Export
from .program import Place, Program, title


class StateRead(Export):
    """The state itself where nothing writes it before its last reader, else a copy."""

    def place(self, program: Program, node: Node) -> None:
        (y,), (state,) = node.outputs, node.states
        writes = [i for i, n in enumerate(program.graph.nodes) if n.op == "state_write" and n.states == (state,)]
        last = self._last_reader(program, y)
        own = self._own(program, node)
        own["copies"] = program.is_direct(y) or any(program.now < i < last for i in writes)
        if own["copies"]:
            program.new(y)
        else:
            program.places[y] = Place(f"s->{program.field_of(state)}")

    def _last_reader(self, program: Program, value: str) -> int:
        """The last node that reads a value, or what may show a part of it."""
        seen, last = {value}, program.last_use.get(value, -1)
        for node in program.graph.nodes:
            if seen & {*node.inputs}:
                views = node.op in ("reshape", "select", "last", "activation")
                seen |= {*node.outputs} if views else set()
                last = max([last, *(program.last_use.get(v, -1) for v in node.outputs if views)])
        return last

    def emit(self, program: Program, node: Node) -> None:
        (y,), (state,) = node.outputs, node.states
        if self._own(program, node)["copies"]:
            size, field = program.size(y), program.field_of(state)
            program.step(title(node, program.graph))
            program.step(f"memcpy({program.at(y).text}, s->{field}, {size} * sizeof(float));")


class StateWrite(Export):
    def place(self, program: Program, node: Node) -> None:
        program.field_of(node.states[0])

    def emit(self, program: Program, node: Node) -> None:
        x, field, lines = node.inputs[0], program.field_of(node.states[0]), program.step
        gate = self.gate(program, node)
        lines(title(node, program.graph))
        condition = f"if (is_open(*{program.at(gate).operand})) " if gate else ""
        if gate:
            program.need("is_open")
        text = program.at(x).text
        if text == f"s->{field}":
            return
        call = "memmove" if text.startswith(f"s->{field}") else "memcpy"
        lines(f"{condition}{call}(s->{field}, {text}, {program.size(x)} * sizeof(float));")


class Window(Export):
    """Past frames. Neighbours with the frame of now stand in the state in their order, so that the window is a view of
    it; of taps that lie apart the past is a ring, in which nothing moves.
    """

    def place(self, program: Program, node: Node) -> None:
        (y,), taps, own = node.outputs, node.attrs["taps"], self._own(program, node)
        width = prod(program.graph.shape(node.inputs[0]))
        if not node.states:  # its one tap is the frame itself
            if self.gate(program, node) or program.is_direct(y):
                program.new(y)
            else:
                program.show(y, node.inputs[0])
            return
        (state,) = node.states
        span = -taps[0]
        shape = program.graph.states[state].shape
        init = program.graph.states[state].init
        own["is_view"] = taps == tuple(range(-span, 1))
        if own["is_view"]:
            start = None if init is None else np.concatenate([np.zeros((1, *shape[1:]), np.float32), init])
            own["field"] = program.add_field(state, start, (span + 1, *shape[1:]))
            program.window_fields[state] = (own["field"], width, "")
            if program.is_direct(y):
                program.new(y)
            else:
                program.places[y] = Place(f"s->{own['field']}")
            return
        own["field"] = program.field_of(state)
        own["at"] = program.add_field(f"{own['field']}_at", None, (), "uint32_t")
        program.window_fields[state] = (own["field"], 0, own["at"])
        program.new(y)

    def emit(self, program: Program, node: Node) -> None:
        (y,), taps, own, lines = node.outputs, node.attrs["taps"], self._own(program, node), program.step
        x = program.at(node.inputs[0])
        width = program.size(node.inputs[0])
        size = f"{width} * sizeof(float)"
        gate = self.gate(program, node)
        shut = f"!is_open(*{program.at(gate).operand})" if gate else ""
        if gate:
            program.need("is_open")
        lines(title(node, program.graph))
        if not node.states:
            if program.at(y).text != x.text:
                self._put(program, program.at(y).text, x.text, size, shut)
            return
        span, field = -taps[0], f"s->{own['field']}"
        if own["is_view"]:
            lines(f"memmove({field}, {field} + {width}, {span} * {size});")
            self._put(program, f"{field} + {span * width}", x.text, size, shut)
            if program.is_direct(y):
                lines(f"memcpy({program.at(y).text}, {field}, {span + 1} * {size});")
            return
        at = f"s->{own['at']}"
        to = program.at(y)
        lines("{", f"const size_t now = {at} < {span} ? {at} : 0; /* the oldest frame's place, and the next one's */")
        past = [tap for tap in taps if tap]
        if past:
            back = program.constant(
                f"{own['field']}_taps", np.array([span + tap for tap in past], np.int32), "frames behind the oldest one"
            )
            lines("size_t i;", f"for (i = 0; i < {len(past)}; ++i) {{", f"size_t from = now + (size_t){back}[i];")
            lines(f"if (from >= {span}) from -= {span};")
            y_at = f"{to.operand} + {width} * i" if width > 1 else f"{to.operand} + i"
            lines(f"memcpy({y_at}, {field} + {width} * from, {size});", "}")
        if taps[-1] == 0:
            self._put(program, to.at(len(past) * width).text, x.text, size, shut)
        self._put(program, f"{field} + {width} * now" if width > 1 else f"{field} + now", x.text, size, shut)
        lines(f"{at} = now + 1 < {span} ? (uint32_t)(now + 1) : 0;", "}")

    def _put(self, program: Program, to: str, x: str, size: str, shut: str) -> None:
        if shut:
            program.step(f"if ({shut})", f"  memset({to}, 0, {size});", "else", f"  memcpy({to}, {x}, {size});")
        else:
            program.step(f"memcpy({to}, {x}, {size});")


class Present(Export):
    """1 for a frame of the sequence; 0 for one of a flush, which a call without a frame is."""

    def place(self, program: Program, node: Node) -> None:
        program.flushes = True
        program.places[node.outputs[0]] = Place("&present")
