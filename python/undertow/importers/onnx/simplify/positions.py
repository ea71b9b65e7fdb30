# SPDX-License-Identifier: MIT
"""Positions that a file carries as integers, from step to step: they count up, and what is made of them comes again.

A stream's frames are float32, and a position grows without end. What a step makes of it alone (a row of a ring, which
rows of it are filled) is the same again every so many steps, once the first ones are over. So the state counts round
and round, in numbers that are exact, and what is made of it is a row of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd, lcm
from typing import Any

import numpy as np

from ....budget import TooMuch
from ....errors import Error, UnsupportedError
from ..file.nodes import OnnxNode, part_of, wrap
from ..traits import MOVEMENT, traits
from .fold import Evaluator
from .ports import ID_TYPES, Port

#: positions of a table, and elements of it
_MOST, _MOST_ELEMENTS = 4096, 1 << 20
#: times that a node is run for tables
_MOST_RUNS = 1 << 17
#: places that a position picks from what is computed
_MOST_PLACES = 64
_FLOAT, _BOOL = 1, 9
#: operators that give each element of one operand in its place
_PLAIN = ("Identity", "Cast", "Neg")
_COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


@dataclass
class _Line:
    """What grows with the position, element by element: slope times position, and offset."""

    slope: np.ndarray
    offset: np.ndarray


@dataclass
class _Round:
    """What is the same again `every` steps, from position `first` on."""

    first: int = 0
    every: int = 1


class Unbounded(Exception):
    """Something depends on how large a position is. Carries the node."""

    def __init__(self, node: OnnxNode) -> None:
        self.node = node


@dataclass
class Positions:
    """The nodes of a graph, in which float32 numbers count for integers.

    wanted: input -> output, as the caller says; None: found. sizes: the shape of a value, None where it is open.
    pairs: what was found: input -> output that returns it. brought: positions that the caller brings -> the output that
    would be the next one, which is left out, for integers are no frames.
    """

    nodes: list[OnnxNode]
    constants: dict[str, np.ndarray]
    outputs: list[str]
    evaluator: Evaluator
    sizes: Callable[[str], Sequence[int | None] | None]
    opset: int
    pairs: dict[str, str] = field(default_factory=dict)
    brought: dict[str, str] = field(default_factory=dict)

    def count(self, ports: list[Port], wanted: Mapping[str, str] | None) -> None:
        """Raises:
        UnsupportedError: the caller says that a position is a state which is not the same again.
        """
        for port in ports:
            if port.dtype not in ID_TYPES or any(n != 1 for n in port.dims):
                continue
            one = _Position(self, port)
            returned = next((o for o in self.outputs if one.is_next(o)), None)
            if returned is None:
                continue
            if wanted is not None and port.name not in wanted and len(self.outputs) > 1:
                self.brought[port.name] = returned
                self.outputs.remove(returned)
            if wanted is not None and wanted.get(port.name) != returned:
                continue
            try:
                self.nodes = one.counted(returned)
            except Unbounded as unbounded:
                if wanted is not None:
                    raise UnsupportedError(
                        f"{unbounded.node.where}: depends on how large position {port.name!r} is, which grows in each "
                        "step without bound; a stream counts it where it is taken modulo a number, or compared with "
                        f"one; without {port.name!r} in states= its caller brings it"
                    ) from None
            except (Error, TooMuch):
                if wanted is not None:
                    raise
            else:
                self.pairs[port.name] = returned
                port.dtype = "float32"


class _Position:
    """One position: what is computed from it and constants alone."""

    def __init__(self, graph: Positions, port: Port) -> None:
        self.graph, self.port = graph, port
        one = np.ones(tuple(1 for _ in port.dims), np.int64)
        self.kinds: dict[str, _Line | _Round] = {port.name: _Line(one, one * 0)}
        self.own: list[OnnxNode] = []
        self.stopped: dict[str, OnnxNode] = {}  # what depends on how large it is -> the node
        self.added: list[OnnxNode] = []
        for node in graph.nodes:
            if not node.bodies and traits(node.op).pure and self._is_own(node):
                self.own.append(node)
                try:
                    kind = self._kind(node)
                except (Unbounded, Error, TooMuch, ValueError):
                    cause = next((self.stopped[name] for name in node.inputs if name in self.stopped), node)
                    self.stopped.update({name: cause for name in node.outputs if name})
                    kind = _Line(one, one * 0)
                self.kinds.update({name: kind for name in node.outputs if name})

    def _is_own(self, node: OnnxNode) -> bool:
        used = {name for name in node.inputs if name}
        return bool(used & self.kinds.keys()) and used <= self.kinds.keys() | self.graph.constants.keys()

    def is_next(self, output: str) -> bool:
        """Whether an output is the position after the step: a number above 0 more."""
        kind = self.kinds.get(output)
        if output == self.port.name or output in self.stopped or not isinstance(kind, _Line):
            return False
        return bool(
            kind.slope.shape == (1,) * len(self.port.dims) and (kind.slope == 1).all() and kind.offset.min() > 0
        )

    # -- what it is once more -------------------------------------------------------------------------------------

    def _kind(self, node: OnnxNode) -> _Line | _Round:
        kinds = [self._operand(name) for name in node.inputs if name]
        if any(name in self.stopped for name in node.inputs):
            raise Unbounded(node)
        if all(isinstance(kind, _Round) for kind in kinds):
            rounds = [kind for kind in kinds if isinstance(kind, _Round)]
            return _Round(max(r.first for r in rounds), lcm(*(r.every for r in rounds)))
        lines = [self._line(name) if name else None for name in node.inputs]
        if any(name and line is None for name, line in zip(node.inputs, lines, strict=True)):
            raise Unbounded(node)  # beside what comes again
        given = [line for line in lines if line is not None]
        if node.op in ("Add", "Sub"):
            sign = 1 if node.op == "Add" else -1
            a, b = given
            return _Line(a.slope + sign * b.slope, a.offset + sign * b.offset)
        if node.op == "Mul" and not (given[0].slope.any() and given[1].slope.any()):
            a, b = given if given[0].slope.any() else given[::-1]
            return _Line(a.slope * b.offset, a.offset * b.offset)
        if node.op in _COMPARISONS:
            return _Round(_meets(given[0], given[1]), 1)
        if node.op == "Mod" and not given[1].slope.any():
            return _modulo(node, given[0], given[1].offset)
        if node.op in ("Min", "Clip"):
            return self._bounded(node, given)
        whole = node.op != "Cast" or int(node.attrs.get("to", 0)) in (6, 7)
        if whole and (node.op in _PLAIN or self._moves(node)):
            return self._moved(node, lines)
        raise Unbounded(node)

    def _operand(self, name: str) -> _Line | _Round:
        return self.kinds.get(name, _Round())

    def _line(self, name: str) -> _Line | None:
        if (kind := self.kinds.get(name)) is not None:
            return kind if isinstance(kind, _Line) else None
        array = self.graph.constants[name]
        return _Line(np.zeros(array.shape, np.int64), array) if array.dtype.kind in "iu" else None

    def _moves(self, node: OnnxNode) -> bool:
        chosen = traits(node.op).chosen_by
        known = self.graph.constants.keys()
        return node.op in MOVEMENT and all(not n or i not in chosen or n in known for i, n in enumerate(node.inputs))

    def _moved(self, node: OnnxNode, lines: list[_Line | None]) -> _Line:
        chosen = traits(node.op).chosen_by
        sides = []
        for side in ("slope", "offset"):
            arrays = [
                None if line is None else line.offset if i in chosen else np.asarray(getattr(line, side))
                for i, line in enumerate(lines)
            ]
            sides.append(self.graph.evaluator.run(node, arrays)[0])
        return _Line(*sides)

    def _bounded(self, node: OnnxNode, given: list[_Line]) -> _Round:
        """The smaller of what grows and what does not."""
        bounds = [line for line in given[1:] if not line.slope.any()]
        falls = node.op == "Min" and any((line.slope < 0).any() for line in given)
        if falls or len(bounds) < len(given) - 1 or not bounds or (node.op == "Clip" and len(given) < 3):
            raise Unbounded(node)
        return _Round(max(_meets(given[0], line) for line in bounds), 1)

    # -- a table of it --------------------------------------------------------------------------------------------

    def counted(self, returned: str) -> list[OnnxNode]:
        """The nodes of the graph, with what they read of the position from tables.

        Raises:
            Unbounded: something depends on how large it is.
            Error, TooMuch: it cannot be told while loading.
        """
        own = {id(node) for node in self.own}
        rest = [node for node in self.graph.nodes if id(node) not in own]
        read = [name for node in rest for name in node.uses if name in self.kinds]
        read = list(dict.fromkeys([*read, *(o for o in self.graph.outputs if o in self.kinds and o != returned)]))
        for name in read:
            if name in self.stopped or not isinstance(self.kinds[name], _Round):
                readers = [node for node in rest if name in node.uses]
                raise Unbounded(self.stopped.get(name) or (readers or self.own)[0])
        rounds = [kind for name in read if isinstance(kind := self.kinds[name], _Round)]
        first, every = max((r.first for r in rounds), default=0), lcm(*(r.every for r in rounds))
        n = first + every
        if n > _MOST:
            raise UnsupportedError(
                f"what is made of position {self.port.name!r} is the same again after {n} steps; at most {_MOST} are "
                "counted"
            )
        tables = self._tables(read, n)
        for ahead in (n, n + 1, 5 * n - 1, 97 * n + first):  # the rules above, held against the nodes
            again, at = self._values(read, ahead), first + (ahead - first) % every
            if not all(np.array_equal(again[name], tables[name][at]) for name in read):
                raise Unbounded(self.own[0])
        step = self.kinds[returned]
        assert isinstance(step, _Line)
        self._emit(first, every, returned, int(step.offset.reshape(-1)[0]))
        hot = _Hot(self, n)
        kept = [node for at, node in enumerate(rest) if not self._picked(node, tables, hot, at)]
        used = set(self.graph.outputs).union(*(node.uses for node in kept))
        for name in (name for name in read if name in used):
            if tables[name].dtype.kind in "iu":
                raise Unbounded(next((node for node in kept if name in node.uses), self.own[0]))
            hot.value(name, tables[name])
        return _in_order([*self.added, *kept], {*self.graph.constants})

    def _tables(self, read: list[str], n: int) -> dict[str, np.ndarray]:
        size = sum(array.size for array in self._values(read, 0).values())
        if size * n > _MOST_ELEMENTS or len(self.own) * n > _MOST_RUNS:
            raise UnsupportedError(
                f"what is made of position {self.port.name!r} takes tables of {size * n} numbers, from {len(self.own)} "
                f"nodes at {n} positions; at most {_MOST_ELEMENTS} numbers and {_MOST_RUNS} runs of a node are made"
            )
        rows = [self._values(read, at) for at in range(n)]
        return {name: np.stack([row[name] for row in rows]) for name in read}

    def _values(self, read: list[str], at: int) -> dict[str, np.ndarray]:
        known = {self.port.name: np.full([1] * len(self.port.dims), at, np.dtype(self.port.dtype))}
        for node in self.own:
            if any(name in self.stopped for name in (*node.inputs, *node.outputs)):
                continue
            arrays = [(known[n] if n in known else self.graph.constants[n]) if n else None for n in node.inputs]
            known.update(zip(node.outputs, self.graph.evaluator.run(node, arrays), strict=True))
        return {name: known[name] for name in read}

    def _emit(self, first: int, every: int, returned: str, step: int) -> None:
        """The position in its round, which is the state's but where a caller has set that, and the next one.

        Halves keep quotients away from whole numbers, so that rounding cannot move them there, up to 2^22.
        """
        beyond = self.port.name
        if first:
            beyond = self.add("Sub", self.add("Max", beyond, self.number(first)), self.number(first))
        rounds = self.add("Floor", self.add("Div", self.add("Add", beyond, self.number(0.5)), self.number(every)))
        self.at = self.add("Sub", self.port.name, self.add("Mul", rounds, self.number(every)))
        self.add("Add", self.at, self.number(step), gives=returned)

    def _picked(self, node: OnnxNode, tables: dict[str, np.ndarray], hot: _Hot, at: int) -> bool:
        """Put others in place of a node that moves elements to or from where a position says; whether that was done."""
        chosen = traits(node.op).chosen_by
        slots = [i for i, name in enumerate(node.inputs) if name in tables and i in chosen]
        if (
            not slots
            or node.op not in MOVEMENT
            or len(node.outputs) != 1
            or tables[node.inputs[slots[0]]].dtype == bool
        ):
            return False
        others = [name for i, name in enumerate(node.inputs) if name in tables and i not in slots]
        if len(slots) > 1 or others:
            raise Unbounded(node)
        table = tables[node.inputs[slots[0]]]
        if node.op.startswith("Scatter"):
            self._scattered(node, table, hot)
        else:
            self._gathered(node, slots[0], table, hot)
        return True

    def _scattered(self, node: OnnxNode, table: np.ndarray, hot: _Hot) -> None:
        """Where a position says, an element of the update; elsewhere what was there."""
        data, _, update = node.inputs
        shapes = [self.graph.sizes(name) for name in (data, update)]
        if node.attrs.get("reduction", "none") not in ("none", b"none") or any(s is None or None in s for s in shapes):
            raise Unbounded(node)
        whole, new = (tuple(int(n or 0) for n in s or ()) for s in shapes)
        n = int(np.prod(whole, dtype=np.int64))
        if (n + int(np.prod(new, dtype=np.int64))) * len(table) > _MOST_ELEMENTS:
            raise UnsupportedError(f"{node.where}: a table of where it writes takes too many elements")
        places = np.arange(n).reshape(whole), n + np.arange(np.prod(new, dtype=np.int64)).reshape(new)
        maps = np.stack([self.graph.evaluator.run(node, [places[0], row, places[1]])[0] for row in table])
        written, taken = maps >= n, np.where(maps >= n, maps - n, -1)
        source = taken.max(0)
        if (written & (taken != source)).any():
            raise Unbounded(node)  # which of several rows goes to a place depends on the position
        flat = self.add("Reshape", update, self.constant(np.array([-1])), of=node)
        rows = self.add("Gather", flat, self.constant(np.maximum(source, 0)), of=node, axis=0)
        self.add("Where", hot.mask(written), rows, data, gives=node.outputs[0], of=node)

    def _gathered(self, node: OnnxNode, slot: int, table: np.ndarray, hot: _Hot) -> None:
        """What lies where a position says, of all places that it comes to."""
        places, which = np.unique(table.reshape(len(table), -1), axis=0, return_inverse=True)
        if len(places) > _MOST_PLACES:
            raise UnsupportedError(f"{node.where}: picks {len(places)} places by a position, at most {_MOST_PLACES}")
        result = ""
        for number, place in enumerate(places):
            inputs = [*node.inputs]
            inputs[slot] = self.constant(place.reshape(table.shape[1:]))
            is_last = number == len(places) - 1
            gives = node.outputs[0] if is_last and not result else ""
            there = self.add(node.op, *inputs, gives=gives, of=node, **node.attrs)
            if result:
                here = hot.mask((which.reshape(-1) == number)[:, None])
                gives = node.outputs[0] if is_last else ""
                there = self.add("Where", here, there, result, gives=gives, of=node)
            result = there

    # -- new nodes ------------------------------------------------------------------------------------------------

    def add(self, op: str, *inputs: str, gives: str = "", of: OnnxNode | None = None, **attrs: Any) -> str:
        onnx, name = self.graph.evaluator.onnx, f"{self.port.name}/{op}_{len(self.added)}"
        proto = onnx.helper.make_node(op, inputs, [gives or name], name=name, **attrs)
        if of is not None and of.proto is not None:
            proto.doc_string = part_of(of.proto)
        self.added.append(wrap(onnx, proto, max(self.graph.opset, 13)))
        return gives or name

    def constant(self, array: np.ndarray) -> str:
        name = f"{self.port.name}/constant_{len(self.graph.constants)}"
        self.graph.constants[name] = array
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))


class _Hot:
    """Which position it is, of n in a round, as a row of booleans."""

    def __init__(self, position: _Position, n: int) -> None:
        self.of, self.n = position, n
        at = position.add("Reshape", position.at, position.constant(np.array([1])))
        self.row = position.add("Equal", at, position.constant(np.arange(n, dtype=np.float32)))
        self.numbers = ""

    def mask(self, table: np.ndarray) -> str:
        """Row of a table of booleans (n, ...), without the axes along which it does not change."""
        for axis in range(1, table.ndim):
            first = table.take([0], axis)
            table = first if (table == first).all() else table
        return self._row(table, table.shape[1:], is_bool=True)

    def value(self, name: str, table: np.ndarray) -> None:
        """The row of a table (n, ...) as the value of that name.

        What is not finite, as in masks, goes through no product: 0 times that is no number.
        """
        finite = np.isfinite(table)
        row = self._row(np.where(finite, table, 0), table.shape[1:], is_bool=table.dtype == bool)
        for number in np.unique(table[~finite]):
            here = np.isnan(table) if np.isnan(number) else table == number
            row = self.of.add("Where", self.mask(here), self.of.number(number), row)
        self.of.add("Identity", row, gives=name)

    def _row(self, table: np.ndarray, shape: tuple[int, ...], is_bool: bool) -> str:
        of, flat = self.of, table.reshape(self.n, -1).astype(bool if is_bool else np.float32)
        to_shape = of.constant(np.array(shape, np.int64))
        if (flat == flat[:1]).all():
            return of.constant(flat[0].reshape(shape))
        if is_bool and np.array_equal(flat, np.eye(self.n, dtype=bool)):
            return of.add("Reshape", self.row, to_shape)
        self.numbers = self.numbers or of.add("Cast", self.row, to=_FLOAT)
        line = of.add("Reshape", self.numbers, of.constant(np.array([1, self.n])))
        row = of.add("Reshape", of.add("MatMul", line, of.constant(flat.astype(np.float32))), to_shape)
        return of.add("Cast", row, to=_BOOL) if is_bool else row


def _meets(a: _Line, b: _Line) -> int:
    """From which position on one is above the other, or they stay as they are."""
    slope, offset = np.broadcast_arrays(a.slope - b.slope, a.offset - b.offset)
    meets = [-(o // -s) if s else 0 for s, o in zip(np.abs(slope).flat, (-offset * np.sign(slope)).flat, strict=True)]
    return int(max(0, *meets, 0)) + 1


def _modulo(node: OnnxNode, line: _Line, by: np.ndarray) -> _Round:
    slope, offset, by = (a.reshape(-1) for a in np.broadcast_arrays(line.slope, line.offset, by))
    if not by.all():
        raise Unbounded(node)
    every = lcm(*(abs(int(n)) // gcd(int(a), int(n)) for a, n in zip(slope, by, strict=True)))
    if not node.attrs.get("fmod", 0):
        return _Round(0, every)
    zero = _Line(np.zeros(1, np.int64), np.zeros(1, np.int64))
    return _Round(_meets(_Line(slope, offset), zero), every)


def _in_order(nodes: list[OnnxNode], known: set[str]) -> list[OnnxNode]:
    """The nodes, each behind those that make what it reads."""
    results = {name for node in nodes for name in node.outputs}
    kept: list[OnnxNode] = []
    done: set[str] = set()
    left = nodes
    while left:
        later = []
        for node in left:
            if all(name in done or name not in results or name in known for name in node.uses):
                kept.append(node)
                done |= set(node.outputs)
            else:
                later.append(node)
        assert len(later) < len(left)
        left = later
    return kept


__all__ = ["Positions"]
