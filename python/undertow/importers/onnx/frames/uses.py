# SPDX-License-Identifier: MIT
"""Values of a program by who reads them."""

from __future__ import annotations

from ..file.nodes import Body
from ..simplify.program import Program
from ..traits import traits


def shapes_alone(program: Program) -> set[str]:
    """Values that serve to make zeros like them, and nothing else, and what only such values are computed from."""
    needed, asked = {*program.outputs}, set()
    for node in reversed(program.nodes):
        if traits(node.op).asks_shape:
            asked.update(node.inputs)
        elif not asked.issuperset(node.outputs) or not needed.isdisjoint(node.outputs):
            needed |= node.uses
        else:
            asked |= node.uses
    return asked - needed


def joined(program: Program) -> set[str]:
    """Values that are joined to others, or repeated, and nothing else: the first frame alone may become part of one."""
    of_joins = [n for n in program.nodes if n.op in ("Concat", "Expand", "Tile")]
    rest = (n.uses for n in program.nodes if n.op not in ("Concat", "Expand", "Tile"))
    return {name for node in of_joins for name in node.inputs} - {*program.outputs}.union(*rest)


def last_uses(program: Program) -> list[set[str]]:
    """Of each node, the values that no later one reads and that are no outputs: their tables are no longer needed."""
    done: list[set[str]] = []
    later = set(program.outputs)
    for node in reversed(program.nodes):
        here = node.uses.union(node.outputs, *(_made(body) for body in node.bodies.values()))
        done.append(here - later)
        later |= here
    return done[::-1]


def _made(body: Body) -> set[str]:
    """The values of a graph inside of a node."""
    nodes = set().union(*(_made(inner) for node in body.nodes for inner in node.bodies.values()))
    return nodes.union(body.inputs, *(node.outputs for node in body.nodes))
