# SPDX-License-Identifier: MIT
"""Loops over registers (state_read, state_write), and the order in which a whole sequence goes through nodes.

What a register's next value is made of, and of what the register was, goes frame by frame. All else of a model that
needs the whole sequence goes through all frames at once, before the loop or behind it. In a file a loop goes from a
state_read to the state_writes that follow (csrc/FORMAT.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from .nodes import Node
from .ops import OPS


def groups(nodes: Sequence[Node]) -> list[list[Node]]:
    """The nodes in groups that run one after another, each over the whole sequence.

    Nodes that a state ties into a loop (what is written now is read at the next timestep) form one group, whose nodes
    advance together frame by frame; every other node is a group of its own. Groups are strongly connected components
    of the graph in which the users of one state all depend on each other.
    """
    producer = {value: i for i, node in enumerate(nodes) for value in node.outputs}
    needs: list[set[int]] = [{producer[v] for v in node.inputs if v in producer} for node in nodes]
    users: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in node.states:
            users.setdefault(name, []).append(i)
    for together in users.values():
        for a, b in zip(together, together[1:] + together[:1], strict=True):
            needs[a].add(b)
    return [[nodes[i] for i in sorted(group)] for group in _components(needs)]


def _components(needs: list[set[int]]) -> list[list[int]]:
    """Tarjan's strongly connected components, each after those it needs; iterative, so depth is not limited."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    components: list[list[int]] = []
    for root in range(len(needs)):
        if root in index:
            continue
        work = [(root, iter(sorted(needs[root])))]
        while work:
            node, rest = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            for other in rest:
                if other not in index:
                    work.append((other, iter(sorted(needs[other]))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    components.append(component)
    return components


def loops(nodes: Sequence[Node]) -> list[list[Node]]:
    """The groups in which a register is written."""
    return [group for group in groups(nodes) if len(group) > 1 and any(OPS[node.op].is_register for node in group)]


def needs_other_frames(node: Node) -> str:
    """Why a node cannot go frame by frame while others go through the whole sequence, "" if it can."""
    op = OPS[node.op]
    reason = op.needs_whole_sequence(node)
    if not reason and (op.whole_sequence or node.attrs.get("masked")):
        reason = "it asks how long the sequence is"
    if not reason and not node.states and op.taps(node) != (0,):
        reason = "it looks at other frames"
    return reason


def in_order(nodes: Sequence[Node]) -> list[Node]:
    """The nodes in an order that a file may have: what registers were is read first, and their next values are written
    last; of a model that needs the whole sequence, first and last in their loop.
    """

    def by_turn(nodes: Sequence[Node]) -> list[Node]:
        return sorted(nodes, key=lambda node: OPS[node.op].turn)

    ops = [(OPS[node.op], node) for node in nodes]
    if any(op.is_register for op, _ in ops) and any(op.needs_whole_sequence(node) for op, node in ops):
        return [node for group in groups(nodes) for node in by_turn(group)]
    return by_turn(nodes)
