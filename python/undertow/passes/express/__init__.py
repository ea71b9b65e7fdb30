# SPDX-License-Identifier: MIT
"""Small ops between layers become expressions: one walk over the elements of a frame in place of one for each op.

* `maps`: which elements of a frame belong to the elements of a space, as strides along its axes
* `groups`: which nodes become one expression
* `states`: which registers are its own, so that a recurrence goes through a block of frames by itself
* `emit`: the program of a group

A result keeps its operations and their order, so that it keeps its bits (the sign of a zero aside), but for a matrix
times a vector, whose sums are those of a row. Selections that only repeat, cut or reorder elements are looked through:
nothing is copied for them.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace

import numpy as np

from ...ir.graph import Graph, Node, Value
from ...ir.ops import OPS
from .emit import Emitted, Emitter
from .groups import Group, Groups
from .states import Owned, owned

#: nodes of a graph up to which groups are looked for
_MOST_NODES = 4000


def express(graph: Graph) -> list[str]:
    """Replace groups of nodes by expressions, in place; gives the names of those that have states."""
    if len(graph.nodes) > _MOST_NODES:
        return []
    groups = Groups(graph)
    registers = owned(graph, groups)
    chosen = [g for g in groups.groups if _is_worth(graph, g, registers.get(g.number, []))]
    while chosen:
        rewrite = _Rewrite(graph, groups, chosen, registers)
        if not (large := rewrite.too_large()):
            return rewrite.run()
        chosen = [g for g in chosen if g.number not in large]
    return []


def _is_worth(graph: Graph, group: Group, registers: list[Owned]) -> bool:
    looks_through = any(r.axes is not None for m in group.members for r in m.reads)
    return len(group.members) > 1 or bool(registers) or looks_through


@dataclass
class _Rewrite:
    graph: Graph
    groups: Groups
    chosen: list[Group]
    registers: dict[int, list[Owned]]
    renamed: dict[str, str] = field(default_factory=dict)  # what members gave -> what expressions give
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[bytes, str] = field(default_factory=dict)  # numbers -> the value that has them
    plain: list[Node] = field(init=False)  # nodes that stay
    emitted: list[tuple[Group, Emitted]] = field(init=False)  # of groups that anything needs

    def __post_init__(self) -> None:
        gone = {m.node.name for g in self.chosen for m in g.members}
        gone |= {n.name for g in self.chosen for o in self._own(g) for n in (o.read, o.write)}
        self.plain = [n for n in self.graph.nodes if n.name not in gone]
        needed = self._needed()
        self.emitted = [
            (g, Emitter(self.graph, g, self._own(g), needed, self._numbers(g) + ".out").emit())
            for g in self.chosen
            if self._own(g) or needed.intersection(g.results())
        ]

    def _own(self, group: Group) -> list[Owned]:
        return self.registers.get(group.number, [])

    def _numbers(self, group: Group) -> str:
        """The name of a constant."""
        return self.graph.unique_name(f"{group.members[-1].node.name}.numbers")

    def too_large(self) -> set[int]:
        """Groups with more outputs, states or numbers at once than an expression has room for."""
        return {g.number for g, e in self.emitted if not e.program.has_room}

    def run(self) -> list[str]:
        graph = self.graph
        new: list[tuple[int, Node]] = []
        for group, emitted in self.emitted:
            name = group.members[-1].node.name
            at = max(self.groups.index[m.node.name] for m in group.members)
            new += [(at, node) for node in self._nodes(name, self._numbers(group), emitted)]
            graph.origin.within |= {m.node.name: name for m in group.members if m.node.name != name}
        nodes = [*((self.groups.index[n.name], n) for n in self.plain), *new]
        for _, node in nodes:
            node.inputs = tuple(self.renamed.get(v, v) for v in node.inputs)
        graph.outputs = {name: self.renamed.get(v, v) for name, v in graph.outputs.items()}
        kept = {v for _, node in nodes for v in node.outputs} | set(graph.inputs)
        graph.values = {name: v for name, v in {**graph.values, **self.values}.items() if name in kept}
        graph.nodes = _sorted(nodes)
        return [group.members[-1].node.name for group, _ in self.emitted if self._own(group)]

    def _needed(self) -> set[str]:
        """Values that are read by others than the group that makes them."""
        graph = self.graph
        units = [(set(n.outputs), set(n.inputs), not n.outputs) for n in self.plain]
        for g in self.chosen:
            own = self._own(g)
            reads = g.read() | {v for o in own for v in o.slices}
            reads -= {o.read.outputs[0] for o in own}
            units.append((g.results(), reads - g.results(), bool(own)))
        needed = set(graph.outputs.values())
        alive: set[int] = set()
        while True:
            more = [i for i, (outs, _, always) in enumerate(units) if i not in alive and (always or outs & needed)]
            if not more:
                return needed
            for i in more:
                alive.add(i)
                needed |= units[i][1]

    def _nodes(self, name: str, constant: str, e: Emitted) -> list[Node]:
        """An expression, and the constant of its numbers where there is none like it."""
        graph, nodes, inputs = self.graph, [], list(e.inputs)
        if e.constants is not None:
            array, numbers = np.asarray(e.constants, np.float32), f"{constant}.out"
            same = self.constants.setdefault(array.tobytes(), numbers)
            inputs[inputs.index(numbers)] = same
            if same == numbers:
                self.values[numbers] = graph.values[numbers] = Value(numbers, array.shape, once=True)
                nodes.append(Node("constant", constant, (), (numbers,), weights={"value": array}))
        attrs = {"program": e.program, "shapes": tuple(graph.shape(v) for v in e.outputs)}
        expression = Node("expression", name, tuple(inputs), (), attrs, states=tuple(e.states))
        inferred = OPS["expression"].infer(graph, expression)
        expression.outputs = tuple(f"{name}.{suffix}" for suffix, _ in inferred)
        for old, output, (_, value) in zip(e.outputs, expression.outputs, inferred, strict=True):
            self.renamed[old] = output
            self.values[output] = replace(value, name=output)
        return [*nodes, expression]


def _sorted(placed: list[tuple[int, Node]]) -> list[Node]:
    """Nodes in an order in which they can run, near the one that they had."""
    nodes = [node for _, node in placed]
    maker = {v: i for i, node in enumerate(nodes) for v in node.outputs}
    waits = [len({maker[v] for v in node.inputs if v in maker}) for node in nodes]
    users: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        for k in {maker[v] for v in node.inputs if v in maker}:
            users.setdefault(k, []).append(i)
    ready = [(OPS[nodes[i].op].turn, placed[i][0], i) for i, n in enumerate(waits) if n == 0]
    heapq.heapify(ready)
    result = []
    while ready:
        *_, i = heapq.heappop(ready)
        result.append(nodes[i])
        for k in users.get(i, ()):
            waits[k] -= 1
            if waits[k] == 0:
                heapq.heappush(ready, (OPS[nodes[k].op].turn, placed[k][0], k))
    assert len(result) == len(nodes), "groups wait for each other"
    return result


__all__ = ["express"]
