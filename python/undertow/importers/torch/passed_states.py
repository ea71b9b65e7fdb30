# SPDX-License-Identifier: MIT
"""States that a PyTorch module takes as arguments and returns, by the structure of both: `states=` that nobody gave."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import Error
from ...ir.graph import Graph
from .structure import leaves, rebuilt, result_names

#: the evidence of a state that is told
IN_ONE_STRUCTURE = "as it comes in and goes out in one structure"


@dataclass(frozen=True)
class Pairs:
    """Inputs and the outputs that return them. likely: no more than that; what is told is not among them."""

    told: dict[str, str] = field(default_factory=dict)
    likely: dict[str, str] = field(default_factory=dict)

    def likely_states(self) -> list[tuple[dict[str, str], str]]:
        """`states=` to try where it cannot be told which they are, and what to say behind them."""
        lines = [({**self.told, **self.likely}, " if that is so"), (self.told, " if the others are none")]
        return lines if self.likely else []


@dataclass(frozen=True)
class _Subtree:
    """A tuple, list or dict of several tensors. form: its structure, with the shapes and dtypes of its tensors; places:
    of these among all; both with the keys of a dict in their order.
    """

    form: Any
    places: tuple[int, ...]

    def meets(self, others: Sequence[_Subtree]) -> bool:
        return any(set(self.places) & set(other.places) for other in others)


def has_groups(arguments: tuple[Any, ...]) -> bool:
    """Whether an argument behind the first holds several tensors."""
    return any(True for argument in arguments[1:] for _ in _subtrees(argument, 0))


def pairs_of(arguments: tuple[Any, ...], names: Sequence[str], result: Any) -> Pairs:
    """What comes in as a tuple, list or dict of several tensors and goes out as one of the same structure and shapes is
    a state, where no other does. The first argument is none: it brings the frames. A tuple that is all that is returned
    says little, for every function of several results returns one; so does the shape of a single tensor.
    """
    tensors, results = list(leaves(arguments)), list(leaves(result))
    outputs = result_names(len(results))
    n_first = len(list(leaves(arguments[0])))
    incoming, outgoing = list(_subtrees(arguments[1:], n_first))[1:], list(_subtrees(result, 0))
    pairs = Pairs()
    taken_in: list[_Subtree] = []
    taken_out: list[_Subtree] = []
    for subtree in incoming:
        mine = [s for s in incoming if s.form == subtree.form and not s.meets(taken_in)]
        theirs = [s for s in outgoing if s.form == subtree.form and not s.meets(taken_out)]
        if mine == [subtree] and len(theirs) == 1:
            taken_in += mine
            taken_out += theirs
            is_all = type(result) is tuple and len(theirs[0].places) == len(results)
            matched = zip(subtree.places, theirs[0].places, strict=True)
            (pairs.likely if is_all else pairs.told).update({names[i]: outputs[at] for i, at in matched})
    taken = {**pairs.told, **pairs.likely}
    if not taken:
        return pairs  # of single tensors the importer knows more
    for name, tensor in zip(names[n_first:], tensors[n_first:], strict=True):
        free = [at for at in (*range(1, len(results)), 0) if outputs[at] not in taken.values()]
        fits = [outputs[at] for at in free if _form(results[at]) == _form(tensor)]
        if fits and name not in taken:
            taken[name] = pairs.likely[name] = fits[0]
    return pairs


def _items(value: Any) -> list[tuple[Any, Any]]:
    """What a tuple, list or dict holds, under its keys."""
    return sorted(value.items(), key=lambda item: str(item[0])) if isinstance(value, dict) else list(enumerate(value))


def _form(value: Any) -> Any:
    if isinstance(value, (tuple, list, dict)):
        return tuple((key, _form(item)) for key, item in _items(value))
    return (tuple(value.shape), value.dtype) if hasattr(value, "shape") else type(value)


def _subtrees(value: Any, first: int) -> Iterator[_Subtree]:
    """Those of several tensors, large ones before their parts. first: the place of the first tensor."""

    def below(value: Any, places: Any) -> Iterator[_Subtree]:
        if isinstance(value, (tuple, list, dict)):
            subtree = _Subtree(_form(value), tuple(_places(places)))
            if len(subtree.places) > 1:
                yield subtree
            for key, item in _items(value):
                yield from below(item, places[key])

    yield from below(value, rebuilt(value, itertools.count(first)))


def _places(tree: Any) -> Iterator[int]:
    if not isinstance(tree, (tuple, list, dict)):
        yield tree
        return
    for _, item in _items(tree):
        yield from _places(item)


def read_with(read: Callable[[Mapping[str, str]], Graph], pairs: Pairs, first: str) -> Graph:
    """What `read` makes of a file with further `states=`: with those that are told, where it makes nothing without
    them, or takes the first input for a state.
    """
    refusal: Error | None = None
    try:
        graph = read({})
    except Error as error:
        refusal = error
    else:
        n_inputs = sum(name in graph.inputs for name in pairs.told)
        if first in graph.inputs and n_inputs in (0, len(pairs.told)):
            return graph
    if pairs.told and not pairs.likely:
        try:
            return read(pairs.told)
        except Error as error:
            raise refusal or error from None
    if refusal is None:
        return graph
    raise refusal


__all__ = ["IN_ONE_STRUCTURE", "Pairs", "has_groups", "pairs_of", "read_with"]
