# SPDX-License-Identifier: MIT
"""Tell apart states of one shape by what they do: the hidden and the memory state of a cell that was taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from ...errors import Error
from ...graph import Graph

#: pairings of inputs with outputs that are tried
MAX_TRIED = 120

Found = TypeVar("Found")


def only_cells(
    fits: Mapping[str, Sequence[str]],
    n_inputs: int,
    n_outputs: int,
    build: Callable[[dict[str, str]], Found],
    graph_of: Callable[[Found], Graph],
) -> Found | None:
    """What `build` makes of the one pairing under which every state belongs to a recurrent cell.

    fits: input -> outputs that could return it. One input and one output at least are left. None where no pairing, or
    more than one, leaves no state that is a mere register, or where there are too many to try.
    """
    found = []
    for n, pairing in enumerate(_pairings(list(fits.items()), n_inputs - 1, n_outputs - 1)):
        if n == MAX_TRIED:
            return None
        try:
            made = build(pairing)
        except Error:
            continue
        graph = graph_of(made)
        if graph.states and not any(node.op == "state_write" for node in graph.nodes):
            found.append((len(pairing), made))
    most = max((n for n, _ in found), default=0)
    best = [made for n, made in found if n == most]
    return best[0] if len(best) == 1 else None


def _pairings(fits: list[tuple[str, Sequence[str]]], most: int, outputs_left: int) -> Iterator[dict[str, str]]:
    """Every way to give some inputs an output of their own, none twice."""

    def extend(rest: list[tuple[str, Sequence[str]]], chosen: dict[str, str]) -> Iterator[dict[str, str]]:
        if not rest:
            if chosen:
                yield dict(chosen)
            return
        (name, options), *others = rest
        if len(chosen) < min(most, outputs_left):
            for output in options:
                if output not in chosen.values():
                    yield from extend(others, {**chosen, name: output})
        yield from extend(others, chosen)

    yield from extend(fits, {})
