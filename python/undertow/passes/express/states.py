# SPDX-License-Identifier: MIT
"""Which registers become states of an expression: those that it alone reads, and writes element by element."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.graph import Graph, Node
from .groups import Group, Groups, is_view


@dataclass
class Owned:
    """A register of a group: the nodes that it replaces, and what is written to each slice of the group's size."""

    state: str
    read: Node
    write: Node
    slices: list[str]


def owned(graph: Graph, groups: Groups) -> dict[int, list[Owned]]:
    """The registers of each group, by its number."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node)
    reads = {n.states[0]: n for n in graph.nodes if n.op == "state_read"}
    several = {n.states[0] for n in graph.nodes if n.op == "state_read" and reads[n.states[0]] is not n}
    candidates: dict[str, tuple[Group, Owned]] = {}
    handed: dict[str, set[str]] = {}  # register -> those that take it over as it is
    for write in graph.nodes:
        if write.op != "state_write" or len(write.inputs) != 1 or write.states[0] in several:
            continue
        read = reads.get(write.states[0])
        if read is None or read.outputs[0] in graph.outputs.values():
            continue
        users = _users(read.outputs[0], readers, groups)
        if users is None or len(users[0]) != 1:
            continue
        (group,) = users[0]
        slices = _slices(groups, group, write.inputs[0])
        size = graph.values[read.outputs[0]].size
        if slices is not None and size == group.n * len(slices) and _aligned(group, read.outputs[0], size):
            candidates[write.states[0]] = group, Owned(write.states[0], read, write, slices)
            handed[write.states[0]] = users[1]
    while True:  # who takes a register over must be of the same expression
        lost = [
            state
            for state, (group, _) in candidates.items()
            if any(other not in candidates or candidates[other][0] is not group for other in handed[state])
        ]
        if not lost:
            break
        for state in lost:
            del candidates[state]
    result: dict[int, list[Owned]] = {}
    for group, register in candidates.values():
        result.setdefault(group.number, []).append(register)
    return result


def _users(value: str, readers: dict[str, list[Node]], groups: Groups) -> tuple[list[Group], set[str]] | None:
    """The groups that read a value, also through views, and registers that are given it; None where others read it."""
    users: dict[int, Group] = {}
    registers: set[str] = set()
    base, todo = value, [value]
    while todo:
        name = todo.pop()
        if name in groups.graph.outputs.values():
            return None
        for node in readers.get(name, ()):
            group = groups.of.get(node.name)
            reads = {r.value for m in group.members if m.node is node for r in m.reads} if group is not None else set()
            if groups.behind_reshapes(name) in reads - {base}:
                return None  # a view that is read as it is
            if group is not None and base in reads:
                users[group.number] = group
            elif group is None and is_view(node) and len(node.inputs) == 1:
                todo.append(node.outputs[0])
            elif node.op == "state_write" and len(node.inputs) == 1:
                registers.add(node.states[0])
            else:
                return None
    return list(users.values()), registers


def _aligned(group: Group, value: str, size: int) -> bool:
    """Whether a group reads of a register nothing but slices of its own size, one behind the other."""
    for member in group.members:
        for read in member.reads:
            if read.value != value:
                continue
            if read.axes is None and size != group.n:
                return False
            if read.axes is not None and (read.axes != ((group.n, 1),) or read.offset % group.n):
                return False
    return True


def _slices(groups: Groups, group: Group, value: str) -> list[str] | None:
    """What is written to a register, as values over the group's elements; None where they are none of its own."""
    value = groups.behind_reshapes(value)
    maker = groups.producer.get(value)
    parts = [groups.behind_reshapes(v) for v in maker.inputs] if maker is not None and maker.op == "concat" else [value]
    known = {m.node.outputs[0] for m in group.members if not m.reduces}
    known |= {r.value for m in group.members for r in m.reads if r.axes is None}
    return parts if set(parts) <= known else None


__all__ = ["Owned", "owned"]
