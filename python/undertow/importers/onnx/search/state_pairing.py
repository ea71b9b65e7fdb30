# SPDX-License-Identifier: MIT
"""Tell apart states of one shape by what they do: the hidden and the memory state of a cell that was taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from ....errors import Error
from ....ir.graph import Graph
from ..file import limits
from ..simplify.budget import Exhausted

Found = TypeVar("Found")


def only_cells(
    fits: Mapping[str, Sequence[str]],
    n_inputs: int,
    n_outputs: int,
    n_nodes: int,
    build: Callable[[dict[str, str]], Found],
    graph_of: Callable[[Found], Graph],
) -> Found | None:
    """What `build` makes of the one pairing under which every state belongs to a recurrent cell.

    fits: input -> outputs that could return it. One input and one output at least are left. Of several such pairings
    the one with most states counts. None where no pairing, or more than one, leaves no state that is a mere register,
    or where there are too many to try in a model of n_nodes.
    """
    left = min(limits.MAX_PAIRINGS, limits.MAX_PAIRING_NODES // max(1, n_nodes))
    for size in range(min(len(fits), n_inputs - 1, n_outputs - 1), 0, -1):
        found = []
        for pairing in _pairings(list(fits.items()), size):
            if not left:
                return None
            left -= 1
            try:
                made = build(pairing)
            except Exhausted:
                return None
            except Error:
                continue
            graph = graph_of(made)
            if graph.states and not any(node.op == "state_write" for node in graph.nodes):
                found.append(made)
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _pairings(fits: list[tuple[str, Sequence[str]]], size: int) -> Iterator[dict[str, str]]:
    """Every way to give so many inputs an output of their own, none twice.

    Inputs of few choices come first: of stacked layers the others' outputs would be given away, and found missing late.
    """
    names = [name for name, _ in fits]

    def extend(rest: list[tuple[str, Sequence[str]]], chosen: dict[str, str]) -> Iterator[dict[str, str]]:
        if len(chosen) == size:
            yield {name: chosen[name] for name in names if name in chosen}
        elif len(chosen) + len(rest) >= size:
            (name, options), *others = rest
            for output in options:
                if output not in chosen.values():
                    yield from extend(others, {**chosen, name: output})
            yield from extend(others, chosen)

    yield from extend(sorted(fits, key=lambda item: len(item[1])), {})
