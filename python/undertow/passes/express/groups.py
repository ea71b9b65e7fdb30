# SPDX-License-Identifier: MIT
"""Which nodes become one expression: those over as many elements as each other, between which nothing else stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import prod

import numpy as np

from ...ir.graph import Graph, Node
from ...ir.ops import OPS
from ...ir.ops.programs import LAST, ROWS
from ..fuse import rounds
from . import maps

#: elements of a frame up to which its selections are looked through
MOST_ELEMENTS = 1 << 18
MOST_MEMBERS = 48
#: operands of a group; an expression may have some more, of states and outputs
MOST_OPERANDS = 40
#: elements of the last axis of a space below which a row costs more than its elements
LEAST_ROW = 8


#: (axis, size) that reductions want of a space
Fixed = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Source:
    """What a node reads, seen through views: elements of a value; `axes` of the map, None where it is all of them in
    order.
    """

    value: str
    offset: int = 0
    axes: tuple[tuple[int, int], ...] | None = None


@dataclass
class Member:
    """A node of a group. `reads`: its arguments over the space; `reduces`: (size, behind) of a reduction over `size`
    elements, each `behind` elements after the one before.
    """

    node: Node
    reads: tuple[Source, ...]
    reduces: tuple[int, int] | None = None


@dataclass
class Group:
    """Members in an order in which they can run, over `n` elements; `needs`: nodes before them, of the group or not."""

    number: int
    n: int
    members: list[Member] = field(default_factory=list)
    ends: frozenset[int] = frozenset()
    fixed: Fixed = frozenset()
    needs: set[str] = field(default_factory=set)

    def results(self) -> set[str]:
        return {m.node.outputs[0] for m in self.members}

    def read(self) -> set[str]:
        return {r.value for m in self.members for r in m.reads}

    def operands(self) -> int:
        """At most so many has an expression of it, but for what it writes to states."""
        results = self.results()
        sources = {r for m in self.members for r in m.reads if r.axes is not None or r.value not in results}
        numbers = sum(len(m.node.weights) for m in self.members)
        return len(sources) + numbers + sum(m.reduces is not None for m in self.members)


class Groups:
    """The groups of a graph.

    >>> import undertow
    >>> g = undertow.Graph("gate")
    >>> x, z = g.input("x", 4), g.input("z", 4)
    >>> g.output("y", g.add("add", [g.add("mul", [x, z]), x]))
    >>> [[m.node.op for m in group.members] for group in Groups(g).groups]
    [['mul', 'add']]
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.exact = rounds(graph)
        self.producer = {output: node for node in graph.nodes for output in node.outputs}
        self.index = {node.name: i for i, node in enumerate(graph.nodes)}
        self.of: dict[str, Group] = {}  # by name of a node
        self.groups: list[Group] = []
        self._near: dict[str, dict[int, Group]] = {}  # value -> groups that make or read it, by number
        self._numbers = count()
        self._needs: dict[str, list[str]] = {
            n.name: [self.producer[v].name for v in n.inputs if v in self.producer] for n in graph.nodes
        }
        for node in graph.nodes:
            for member, n, ends, fixed in self._forms(node):
                if self._join(member, n, ends, fixed):
                    break

    # -- what a node would be in a group --------------------------------------------------------------------------

    def _forms(self, node: Node) -> Iterator[tuple[Member, int, frozenset[int], Fixed]]:
        """A node as a member, the elements of its group, where axes of the space end, and sizes that some must have."""
        values = self.graph.values
        if any(values[v].dtype != "float32" for v in (*node.inputs, *node.outputs)):
            return
        none: Fixed = frozenset()
        if OPS[node.op].in_expressions and OPS[node.op].elementwise:
            n = values[node.outputs[0]].size
            reads = tuple(self.source(v, n) for v in node.inputs)
            yield Member(node, reads), n, self._ends(reads, n), none
        elif node.op == "reduce":
            _, size, behind = self.graph.shape(node.inputs[0])
            n = values[node.inputs[0]].size
            reads = (self.source(node.inputs[0], n),)
            if size > 1:
                fixed = {(LAST, size)} if behind == 1 else {(LAST, behind), (ROWS, size)}
                ends = {size, n} if behind == 1 else {behind, size * behind, n}
                yield Member(node, reads, (size, behind)), n, self._ends(reads, n) | ends, frozenset(fixed)
        elif node.op == "matmul":
            yield from self._product(node)

    def _product(self, node: Node) -> Iterator[tuple[Member, int, frozenset[int], Fixed]]:
        a, b = (self.graph.shape(v) for v in node.inputs)
        (rows, inner), columns = a[-2:], b[-1]
        lead = prod(a[:-2])
        if inner == 1:  # an outer product
            n = lead * rows * columns
            i = np.arange(n)
            reads = (
                self.source(node.inputs[0], n, i // columns),
                self.source(node.inputs[1], n, i // (rows * columns) * columns + i % columns),
            )
            yield Member(node, reads), n, self._ends(reads, n), frozenset()
        elif rows == 1 and columns > 1 and inner > 1:  # a vector times a matrix
            n = lead * inner * columns
            reads = (self.source(node.inputs[0], n, np.arange(n) // columns), self.source(node.inputs[1], n))
            ends = self._ends(reads, n) | {columns, inner * columns, n}
            yield Member(node, reads, (inner, columns)), n, ends, frozenset({(LAST, columns), (ROWS, inner)})
        elif columns == 1 and not self.exact:  # a matrix times a vector: its sum has another order than the product's
            n = lead * rows * inner
            i = np.arange(n)
            reads = (
                self.source(node.inputs[0], n),
                self.source(node.inputs[1], n, i // (rows * inner) * inner + i % inner),
            )
            yield Member(node, reads, (inner, 1)), n, self._ends(reads, n) | {inner, n}, frozenset({(LAST, inner)})

    def source(self, value: str, n: int, indices: np.ndarray | None = None) -> Source:
        """What n elements of a value are, those at `indices` or all, behind views whose maps are even."""
        best, best_indices = self.behind_reshapes(value), indices
        result = Source(best, *self._even(indices)) if indices is not None else Source(best)
        while (node := self.producer.get(best)) is not None and node.op == "select" and n <= MOST_ELEMENTS:
            taken = node.weights["indices"].reshape(-1)
            taken = taken if best_indices is None else taken[best_indices]
            sizes = np.cumsum([0, *node.attrs["sizes"]])
            which = int(np.searchsorted(sizes, taken[0], "right")) - 1
            if taken.min() < sizes[which] or taken.max() >= sizes[which + 1]:
                break
            best, best_indices = self.behind_reshapes(node.inputs[which]), taken - sizes[which]
            if (axes := maps.levels(best_indices)) is None or (axes and axes[0][1] > 1):
                continue
            whole = (
                best_indices.size == self.graph.values[best].size and axes in ([], [(n, 1)]) and best_indices[0] == 0
            )
            result = Source(best) if whole else Source(best, int(best_indices[0]), tuple(axes))
        return result

    @staticmethod
    def _even(indices: np.ndarray) -> tuple[int, tuple[tuple[int, int], ...]]:
        axes = maps.levels(indices)
        assert axes is not None
        return int(indices[0]), tuple(axes)

    def behind_reshapes(self, value: str) -> str:
        while (node := self.producer.get(value)) is not None and node.op == "reshape":
            value = node.inputs[0]
        return value

    def _ends(self, reads: tuple[Source, ...], n: int) -> frozenset[int]:
        return frozenset({n}).union(*(maps.ends(r.axes) for r in reads if r.axes is not None))

    # -- joining --------------------------------------------------------------------------------------------------

    def _join(self, member: Member, n: int, ends: frozenset[int], fixed: Fixed) -> bool:
        """Put a member where what it reads is made or read, and join all groups that so belong together."""
        values = {r.value for r in member.reads}
        name = member.node.name
        group = Group(next(self._numbers), n, [member], ends, fixed, set(self._needs[name]))
        if not self._fits(group, ends, fixed):
            return False
        near = {number: g for v in values for number, g in self._near.get(v, {}).items() if g.n == n}
        self.groups.append(group)
        self.of[name] = group
        for other in sorted(near.values(), key=lambda g: -g.number):
            if self._together(other, group):
                self._merge(other, group)
                group = other
        for value in group.read() | group.results():
            self._near.setdefault(value, {})[group.number] = group
        return True

    def _merge(self, into: Group, other: Group) -> None:
        into.members = sorted(into.members + other.members, key=lambda m: self.index[m.node.name])
        into.ends, into.fixed, into.needs = into.ends | other.ends, into.fixed | other.fixed, into.needs | other.needs
        self.groups.remove(other)
        self.of.update({m.node.name: into for m in other.members})
        for value in other.read() | other.results():
            self._near.get(value, {}).pop(other.number, None)

    def _together(self, a: Group, b: Group) -> bool:
        few = len(a.members) + len(b.members) <= MOST_MEMBERS and a.operands() + b.operands() <= MOST_OPERANDS
        return few and self._fits(a, b.ends, b.fixed) and self._apart(a, b) and self._apart(b, a)

    @staticmethod
    def _fits(group: Group, ends: frozenset[int], fixed: Fixed) -> bool:
        space = maps.sizes(group.ends | ends)
        if space is None or any(space[axis] != size for axis, size in group.fixed | fixed):
            return False
        return space[LAST] >= LEAST_ROW or prod(space) <= 4 * LEAST_ROW

    def _apart(self, group: Group, later: Group) -> bool:
        """Whether nothing outside of both stands on the way from a group to another, which reads no reduction of it and
        no elements in another order.
        """
        makers = {m.node.outputs[0]: m for m in group.members}
        names = {m.node.name for m in group.members}
        inside = names | {m.node.name for m in later.members}
        todo = []
        for read in (r for m in later.members for r in m.reads):
            if (maker := makers.get(read.value)) is not None:
                if maker.reduces or read.axes is not None:
                    return False
            elif read.value in self.producer and self.producer[read.value].name not in inside:
                todo.append(self.producer[read.value].name)
        # Sources hide views, which stand nowhere: the way back goes through groups as wholes.
        seen: set[str | int] = set()
        while todo:
            name = todo.pop()
            if name in names:
                return False
            together = self.of.get(name)
            key = name if together is None else together.number
            if key not in seen:
                seen.add(key)
                todo += self._needs[name] if together is None else together.needs
        return True


def is_view(node: Node) -> bool:
    return OPS[node.op].is_view or node.op == "select"
