# SPDX-License-Identifier: MIT
"""What a written out loop carries, where nobody joins what its copies give: only the last one's result is used."""

from __future__ import annotations

from collections.abc import Iterator

from ..file.nodes import OnnxNode
from .unrolled_match import MAX_DEPTH, MIN_TRIPS, Given, Names, alike

#: how many nodes may lie between what a copy carries and where the next one uses it
MAX_MADE = 4


def carried_values(given: Given) -> Iterator[Names]:
    """Values that may go from copy to copy, over all timesteps: guesses, which `Copies.match` has to judge."""
    places: dict[tuple[str, int], dict[str, int]] = {}
    for node in given.nodes:
        for name in node.outputs:
            pick = given.pick(name) if name else None
            if pick is not None:
                places.setdefault((pick.source, pick.axis), {})[name] = pick.index
    for (source, axis), picks in places.items():
        n = given.size(source, axis)
        if given.looks < 0:
            return
        if n is not None and n >= MIN_TRIPS and set(picks.values()) == set(range(n)):
            yield from _Levels(given, picks, n).carried()


class _Levels:
    """How late in the sequence each value is: the last timestep that it depends on."""

    def __init__(self, given: Given, picks: dict[str, int], n: int) -> None:
        self.given, self.picks, self.n = given, picks, n
        self.level = dict(picks)
        self.users: dict[str, list[OnnxNode]] = {}
        self.failed: set[str] = set()
        self.given.looks -= len(given.nodes)
        for node in given.nodes:
            level = max((self.level.get(name, -1) for name in node.uses), default=-1)
            for name in node.outputs:
                self.level.setdefault(name, level)
            for name in node.uses:
                self.users.setdefault(name, []).append(node)

    def carried(self) -> Iterator[Names]:
        handed: list[list[str]] = [[] for _ in range(self.n - 1)]
        for node in self.given.nodes:
            level = max((self.level.get(name, -1) for name in node.outputs), default=-1)
            for name in node.inputs:
                at = self.level.get(name, -1)
                if 0 <= at == level - 1 and name not in self.picks and name not in handed[at]:
                    handed[at].append(name)
        if self.given.looks < 0 or len({len(names) for names in handed}) != 1:
            return
        before, last = handed[-2], handed[-1]
        following = dict(zip(before, last, strict=True))
        for i in range(len(last)):
            # what is handed on may be made of what is carried: W h of the next copy, of this one's h
            column: list[str] | None = [names[i] for names in handed]
            for _ in range(MAX_MADE):
                if column is None:
                    break
                if (end := self._next(column[-1], following, 0)) is not None:
                    yield (*column, end)
                column = self._source(column)

    def _source(self, column: list[str]) -> list[str] | None:
        """What the copies make a value of."""
        makers = [self.given.producer.get(name) for name in column]
        model = makers[-1]
        if model is None or any(maker is None or not alike(model, maker) for maker in makers):
            return None
        for i in range(len(model.inputs)):
            source = [maker.inputs[i] for maker in makers if maker]
            if all(self.level.get(name, -1) == t for t, name in enumerate(source)):
                return source
        return None

    def _next(self, name: str, following: dict[str, str], depth: int) -> str | None:
        """What a value of the last copy but one is called in the last."""
        level = self.level.get(name, -1)
        if name in following:
            return following[name]
        if level < self.n - 2 or name in self.failed or depth > MAX_DEPTH:
            return name if level < 0 else None
        if name in self.picks:
            index = self.picks[name] + 1
            return next((other for other, at in self.picks.items() if at == index), None)
        node = self.given.producer[name]
        inputs = [self._next(used, following, depth + 1) if used else "" for used in node.inputs]
        for used in filter(None, inputs):
            for other in self.users.get(used, []):
                if alike(node, other) and all(self._same(a, b) for a, b in zip(inputs, other.inputs, strict=True)):
                    following.update(zip(node.outputs, other.outputs, strict=True))
                    return following[name]
        self.failed.add(name)
        return None

    def _same(self, a: str | None, b: str) -> bool:
        return a == b or self.given.same(a, b)


__all__ = ["carried_values"]
