# SPDX-License-Identifier: MIT
"""Copies of a loop's body that an exporter has written out, step after step: whether they are copies, and of what.

The values of all copies are held against each other, node by node, from what they give back to what they take. They
are one loop where all are the same operators with the same constants, on timestep t of the same tensors and on what
copy t - 1 made. Only the first copy may differ, where it was computed in advance from what the loop starts with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, wrap
from .fold import Evaluator

#: copies from which on it counts as a loop; most nodes on a path through one
MIN_TRIPS, MAX_DEPTH = 3, 300
#: names that are looked at, for each node of the model, before the search gives up
MAX_LOOKS = 64

#: what one value of the loop is called at each timestep; None: at the first one it was computed in advance
Names = tuple[str | None, ...]
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


@dataclass
class Copies:
    """What is known of the copies of one loop."""

    given: Given
    n: int
    seen: set[Names] = field(default_factory=set)
    #: values that copies compute or pick, in no order
    values: list[Names] = field(default_factory=list)
    picked: dict[Names, Pick] = field(default_factory=dict)
    #: a value without its last timestep -> the value
    ahead: dict[Names, Names] = field(default_factory=dict)
    #: a value that the next copy uses -> its name before the first one, where that is known
    carried: dict[Names, str | None] = field(default_factory=dict)
    #: values of the first timestep that were computed in advance
    folded: list[Names] = field(default_factory=list)
    nodes: dict[int, OnnxNode] = field(default_factory=dict)

    def match(self, names: Names, depth: int = 0) -> None:
        """Follow a value back through the copies. Raises `NoLoop`."""
        if names in self.seen:
            return
        self.given.looks -= self.n
        if depth > MAX_DEPTH or self.given.looks < 0:
            raise NoLoop
        self.seen.add(names)
        if self._is_captured(names):
            return
        if (value := self.ahead.get(names[1:])) is not None:
            self._carry(value, names[0])
            return
        self.ahead[names[:-1]] = names
        self.values.append(names)
        if (pick := self._pick(names)) is not None:
            self.picked[names] = pick
        else:
            self._compute(names, depth)

    def _is_captured(self, names: Names) -> bool:
        """Whether a value is the same for all copies."""
        first, *later = names[1:]
        if all(name == first for name in later):
            same = names[0] in (None, first)
        elif all(name in self.given.constants for name in names[1:]):
            same = all(self.given.same(name, first) for name in later)
            same = same and (names[0] is None or self.given.same(names[0], first))
        else:
            return False
        if not same:
            raise NoLoop
        return True

    def _carry(self, value: Names, start: str | None) -> None:
        known = self.carried.get(value)
        if known is not None and start is not None and known != start and not self.given.same(known, start):
            raise NoLoop
        self.carried[value] = known or start

    def _pick(self, names: Names) -> Pick | None:
        picks = [None if name is None else self.given.pick(name) for name in names]
        first = picks[0]
        if first is None or self.given.size(first.source, first.axis) != self.n:
            return None
        if any(p != Pick(first.source, first.axis, t, first.keeps) for t, p in enumerate(picks)):
            return None
        return first

    def _compute(self, names: Names, depth: int) -> None:
        makers = [self.given.producer.get(name or "") for name in names]
        model = makers[1]
        if model is None or model.bodies:
            raise NoLoop
        slot = model.outputs.index(names[1] or "")
        for name, maker in zip(names[2:], makers[2:], strict=True):
            if maker is None or not alike(model, maker) or maker.outputs.index(name or "") != slot:
                raise NoLoop
        head = makers[0] or self.given.origins.get(names[0] or "")
        if head is not None and (not alike(model, head) or head.outputs.index(names[0] or "") != slot):
            head = None
        if head is None and names[0] is not None:
            if names[0] not in self.given.constants:
                raise NoLoop
            self.folded.append(names)
        self.nodes.update({id(maker): maker for maker in makers if maker is not None})
        for i, used in enumerate(model.inputs):
            column = (head.inputs[i] if head else None, *(maker.inputs[i] for maker in makers[1:] if maker))
            if used:
                self.match(column, depth + 1)
            elif any(column):
                raise NoLoop


class Given:
    """The nodes of a model, asked for what the search needs; origins: by what constants were computed."""

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
        self.producer = {name: node for node in nodes for name in node.outputs if name}
        self._slots = {name: slot for node in nodes if node.op == "Split" for slot, name in enumerate(node.outputs)}

    def same(self, a: str | None, b: str | None) -> bool:
        """Whether two constants hold the same."""
        if a == b:
            return True
        x, y = self.constants.get(a or ""), self.constants.get(b or "")
        return x is not None and y is not None and x.dtype == y.dtype and np.array_equal(x, y)

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

    def makers(self, value: Names) -> list[OnnxNode]:
        return [self.producer[name] for name in value if name]

    def join_axis(self, join: OnnxNode) -> int:
        """The axis of a Concat, of which its inputs have one place each."""
        sizes = self.sizes(join.inputs[1])
        axis = int(join.attrs["axis"])
        if sizes is None or not -len(sizes) <= axis < len(sizes) or sizes[axis] != 1:
            raise NoLoop
        return axis % len(sizes)

    def moved(self, op: str, source: str, target: str, axis: int, opset: int) -> OnnxNode:
        """A Squeeze or Unsqueeze of one axis."""
        helper, axes = self.evaluator.onnx.helper, f"{target}.axes"
        if opset < 13:
            return wrap(self.evaluator.onnx, helper.make_node(op, [source], [target], axes=[axis], name=target), opset)
        self.constants[axes] = np.array([axis])
        return wrap(self.evaluator.onnx, helper.make_node(op, [source, axes], [target], name=target), opset)

    def last(self, source: str, target: str, n: int, opset: int) -> OnnxNode:
        """The last of n rows."""
        self.constants[f"{target}.at"] = np.array(n - 1)
        proto = self.evaluator.onnx.helper.make_node("Gather", [source, f"{target}.at"], [target], name=target, axis=0)
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


__all__ = ["MAX_DEPTH", "MIN_TRIPS", "Copies", "Given", "Names", "NoLoop", "Sizes", "alike"]
