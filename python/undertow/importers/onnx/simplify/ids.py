# SPDX-License-Identifier: MIT
"""Ids that were computed to be what they are: rows of a table that the input itself picks as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ....budget import TooMuch
from ....errors import Error
from ..file.nodes import OnnxNode
from ..traits import EACH, traits
from .fold import Evaluator

#: nodes between an input and a table that are looked through
_MOST = 32


class Ids:
    """What picks rows of tables. dtypes: of the inputs that hold ids."""

    def __init__(
        self,
        nodes: list[OnnxNode],
        constants: Mapping[str, np.ndarray],
        dtypes: Mapping[str, str],
        evaluator: Evaluator,
    ) -> None:
        self.nodes, self.constants, self.dtypes, self.evaluator = nodes, constants, dtypes, evaluator
        self.places = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}

    def plain(self) -> list[OnnxNode]:
        """The nodes, with Gathers that take an input for what is computed from it, where both pick the same row.

        Keras 3 adds the number of rows to ids below 0, in arithmetic that a frame of ids has none of. It is run on all
        ids that a Gather takes.
        """
        return [self._plain(node) if node.op == "Gather" else node for node in self.nodes]

    def _plain(self, node: OnnxNode) -> OnnxNode:
        table, picked = self.constants.get(node.inputs[0]), node.inputs[1]
        if table is None or table.ndim == 0 or node.attrs.get("axis", 0) != 0 or picked not in self.places:
            return node
        path, names = self._path(picked)
        if len(names) != 1 or not names <= self.dtypes.keys():
            return node
        (name,) = names
        rows = np.arange(-len(table), len(table)).astype(self.dtypes[name])
        try:
            same = np.array_equal(self._computed(path, {name: rows}, picked) % len(table), rows % len(table))
        except (Error, TooMuch):
            return node
        return replace(node, inputs=[node.inputs[0], name]) if same else node

    def _path(self, picked: str) -> tuple[list[OnnxNode], set[str]]:
        """The nodes between inputs and a value, in order, and these inputs; none where a node does more than to
        compute with each number alone.
        """
        path: set[int] = set()
        names: set[str] = set()
        waiting = [picked]
        while waiting:
            name = waiting.pop()
            place = self.places.get(name)
            if place is None:
                array = self.constants.get(name)
                if array is not None and array.ndim:  # a number with axes might give the ids more of them
                    return [], set()
                names |= set() if array is not None else {name}
            elif place not in path:
                node = self.nodes[place]
                if len(path) == _MOST or traits(node.op).rows != EACH or not traits(node.op).pure:
                    return [], set()
                path.add(place)
                waiting += [used for used in node.inputs if used]
        return [self.nodes[place] for place in sorted(path)], names

    def _computed(self, path: list[OnnxNode], known: dict[str, np.ndarray], picked: str) -> np.ndarray:
        for node in path:
            arrays = [(known[n] if n in known else self.constants[n]) if n else None for n in node.inputs]
            known.update(zip(node.outputs, self.evaluator.run(node, arrays), strict=True))
        return known[picked]


__all__ = ["Ids"]
