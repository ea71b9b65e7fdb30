# SPDX-License-Identifier: MIT
"""Where the nodes of a Graph come from: what importers note while they read a file, for `undertow info --graph`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Origin:
    """What a file held, and which node was made from what. A .tow file does not keep it.

    Attributes:
        contents: type of node or layer -> how many of them the file holds, graphs inside of nodes included.
        taken: type -> how many were not known while loading, loops written out; the others were computed, or chosen
            between, once and for all.
        made: node of the Graph -> type that was at work when it was added.
        within: node that was taken into another one -> that.
    """

    contents: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    made: dict[str, str] = field(default_factory=dict)
    current: str = ""
    within: dict[str, str] = field(default_factory=dict)

    def take(self, kind: str) -> None:
        """What is added from now on comes from a node or layer of this type."""
        self.taken[kind] += 1
        self.current = kind

    def leave(self) -> None:
        """What is added from now on comes from no node of the file: it joins what was made."""
        self.current = ""

    def note(self, name: str) -> None:
        """A node has been added."""
        if self.current:
            self.made[name] = self.current

    def copy(self) -> Origin:
        return Origin(self.contents.copy(), self.taken.copy(), dict(self.made), self.current, dict(self.within))

    def plain(self) -> dict[str, dict[str, Any]]:
        """As dicts of text and numbers, which stay what they are in a pickle, whatever becomes of this class."""
        return {
            "contents": dict(self.contents),
            "taken": dict(self.taken),
            "made": dict(self.made),
            "within": dict(self.within),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, dict[str, Any]]) -> Origin:
        """What `plain` was made of."""
        within = dict(plain.get("within", {}))  # which earlier versions do not have
        return cls(Counter(plain["contents"]), Counter(plain["taken"]), dict(plain["made"]), within=within)

    def became(self, kind: str, ops: dict[str, str]) -> Counter[str]:
        """op -> how many nodes were made from nodes of this type; ops: node -> op, of those that are still there."""
        names = {self.within.get(name, name) for name, made_from in self.made.items() if made_from == kind}
        return Counter(ops[name] for name in names if name in ops)
