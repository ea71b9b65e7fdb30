# SPDX-License-Identifier: MIT
"""The nodes of a model, asked for what the search for written out loops needs of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, wrap
from .fold import Evaluator

#: copies from which on it counts as a loop
MIN_TRIPS = 2
#: names that are looked at, for each node of the model, before the search gives up
MAX_LOOKS = 64

Sizes = Callable[[str], "list[int | None] | None"]


class NoLoop(Exception):
    """The copies differ, or something else needs one of them."""


@dataclass
class Pick:
    """Timestep t of a tensor; keeps: as a slice of one, with the axis."""

    source: str
    axis: int
    index: int
    keeps: bool


class Given:
    """The nodes of a model, asked for what the search needs.

    sizes: the shape of a value, as far as it is known. outputs: of the model. origins: the nodes that constants were
    computed by.
    """

    def __init__(
        self,
        nodes: list[OnnxNode],
        constants: dict[str, np.ndarray],
        sizes: Sizes,
        outputs: Collection[str],
        evaluator: Evaluator,
        origins: Mapping[str, OnnxNode],
    ) -> None:
        self.nodes, self.constants, self.sizes, self.outputs = nodes, constants, sizes, outputs
        self.evaluator, self.origins = evaluator, origins
        self.looks = MAX_LOOKS * len(nodes)
        self._levels: dict[int, dict[str, int]] = {}
        self.producer = {name: node for node in nodes for name in node.outputs if name}
        self._slots = {name: slot for node in nodes if node.op == "Split" for slot, name in enumerate(node.outputs)}

    def of(self, nodes: list[OnnxNode]) -> Given:
        """The same of other nodes."""
        return Given(nodes, self.constants, self.sizes, self.outputs, self.evaluator, self.origins)

    def fresh(self, name: str) -> str:
        """A name that no value has."""
        while name in self.constants or name in self.producer:
            name += "_"
        return name

    def same(self, a: str | None, b: str | None) -> bool:
        """Whether two constants hold the same."""
        if a == b:
            return True
        x, y = self.constants.get(a or ""), self.constants.get(b or "")
        return x is not None and y is not None and x.dtype == y.dtype and np.array_equal(x, y)

    def same_constants(self, a: OnnxNode, b: OnnxNode, first: bool) -> bool:
        """Whether two nodes of one operator take the same constants; first: one of them may be of the first copy, which
        takes constants of what the loop starts with.
        """
        for x, y in zip(a.inputs, b.inputs, strict=True):
            known = (x in self.constants) + (y in self.constants)
            if known and not self.same(x, y) and (known == 2 or not first):
                return False
        return True

    @cached_property
    def inputs(self) -> set[str]:
        """What no node gives, and is no constant."""
        used = set().union(*(node.uses for node in self.nodes))
        return {name for name in used if name and name not in self.producer and name not in self.constants}

    @cached_property
    def users(self) -> dict[str, list[OnnxNode]]:
        """The nodes that use a value."""
        users: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in node.uses:
                users.setdefault(name, []).append(node)
        return users

    def levels(self, n: int) -> dict[str, int]:
        """Of what depends on some timestep of n that are picked: the last one it depends on. -1: on a whole sequence,
        of which a Concat has joined all timesteps.
        """
        if n not in self._levels:
            levels: dict[str, int] = {}
            rising = list(range(n))
            for node in self.nodes:
                used = [levels.get(name, -1) for name in node.inputs]
                level = max([levels.get(name, -1) for name in node.uses], default=-1)
                if node.op == "Concat" and used in (rising, rising[::-1]) and self._is_join(node):
                    level = -1
                for name in node.outputs:
                    pick = self.timestep(name, n) if name and level < 0 else None
                    levels[name] = level if pick is None else pick.index
            self._levels[n] = levels
        return self._levels[n]

    @cached_property
    def places(self) -> dict[tuple[str, int], set[int]]:
        """(tensor, axis) -> the places along it that are picked."""
        places: dict[tuple[str, int], set[int]] = {}
        for node in self.nodes:
            for name in filter(None, node.outputs):
                if (pick := self.pick(name)) is not None:
                    places.setdefault((pick.source, pick.axis), set()).add(pick.index)
        return places

    def timestep(self, name: str, n: int) -> Pick | None:
        """What a node takes of a tensor, where that is one of n places of which each is taken."""
        pick = self.pick(name)
        if pick is None or self.size(pick.source, pick.axis) != n:
            return None
        return pick if len(self.places[pick.source, pick.axis]) == n else None

    def size(self, name: str, axis: int) -> int | None:
        sizes = self.sizes(name)
        return None if sizes is None or not -len(sizes) <= axis < len(sizes) else sizes[axis]

    def pick(self, name: str) -> Pick | None:
        """What a node takes of a tensor, where that is one place along one axis."""
        node = self.producer.get(name)
        if node is None or not node.inputs or node.inputs[0] in self.constants:
            return None
        source, rank = node.inputs[0], self.sizes(node.inputs[0])
        if not rank:
            return None
        if node.op == "Split":
            axis = int(node.attrs.get("axis", 0))
            if self.size(name, axis) != 1:
                return None
            return Pick(source, axis % len(rank), self._slots[name], True)
        known = [self.constants.get(i) for i in node.inputs[1:]]
        if node.op not in ("Gather", "Slice") or any(a is None or a.size != 1 or a.dtype.kind != "i" for a in known):
            return None
        numbers = [int(a.reshape(())) for a in known if a is not None]
        if node.op == "Gather":
            axis, at = int(node.attrs.get("axis", 0)), numbers[0]
            keeps = known[0] is not None and known[0].ndim == 1
            if known[0] is None or known[0].ndim > 1 or not -len(rank) <= axis < len(rank):
                return None
            axis %= len(rank)
        elif node.op == "Slice" and 3 <= len(numbers) + 1 <= 5 and (len(numbers) < 4 or numbers[3] == 1):
            axis, at, keeps = numbers[2] if len(numbers) > 2 else 0, numbers[0], True
            if not -len(rank) <= axis < len(rank):
                return None
            axis %= len(rank)
            n = rank[axis]
            end = numbers[1] + (n if n is not None and numbers[1] < 0 else 0)
            start = at + (n if n is not None and at < 0 else 0)
            if end - start != 1 and not (start + 1 == n and end > start):
                return None
        else:
            return None
        n = rank[axis]
        return Pick(source, axis, at + n if n is not None and at < 0 else at, keeps)

    def _is_join(self, concat: OnnxNode) -> bool:
        axis = int(concat.attrs["axis"])
        return all(self.size(name, axis) == 1 for name in concat.inputs)

    def join_axis(self, join: OnnxNode) -> int:
        """The axis of a Concat, of which its inputs have one place each."""
        sizes = self.sizes(join.inputs[1])
        if sizes is None or not self._is_join(join):
            raise NoLoop
        return int(join.attrs["axis"]) % len(sizes)

    def moved(self, op: str, source: str, target: str, axis: int, opset: int) -> OnnxNode:
        """A Squeeze or Unsqueeze of one axis."""
        helper, axes = self.evaluator.onnx.helper, self.fresh(f"{target}.axes")
        if opset < 13:
            return wrap(self.evaluator.onnx, helper.make_node(op, [source], [target], axes=[axis], name=target), opset)
        self.constants[axes] = np.array([axis])
        return wrap(self.evaluator.onnx, helper.make_node(op, [source, axes], [target], name=target), opset)

    def last(self, source: str, target: str, n: int, opset: int) -> OnnxNode:
        """The last of n rows."""
        at = self.fresh(f"{target}.at")
        self.constants[at] = np.array(n - 1)
        proto = self.evaluator.onnx.helper.make_node("Gather", [source, at], [target], name=target, axis=0)
        return wrap(self.evaluator.onnx, proto, opset)


def alike(a: OnnxNode, b: OnnxNode) -> bool:
    """Whether two nodes are the same operator with the same attributes."""
    if a.op != b.op or len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs) or a.bodies or b.bodies:
        return False
    return a.attrs.keys() == b.attrs.keys() and all(_equal(value, b.attrs[key]) for key, value in a.attrs.items())


def _equal(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    return bool(a.SerializeToString() == b.SerializeToString() if hasattr(a, "dims") else a == b)


__all__ = ["MIN_TRIPS", "Given", "NoLoop", "Pick", "Sizes", "alike"]
