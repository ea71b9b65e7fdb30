# SPDX-License-Identifier: MIT
"""Copies of a loop's body that an exporter has written out, step after step: whether they are copies, and of what.

The values of all copies are held against each other, node by node, from what they give back to what they take. They
are one loop where all are the same operators with the same constants, on timestep t of the same tensors and on what
copy t - 1 made. Only the first copy may differ, where it was computed in advance from what the loop starts with; and
the last one may lack what only another would have used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..file.nodes import OnnxNode
from .unrolled_given import MIN_TRIPS, Given, NoLoop, Pick, alike

#: timestep -> what a value is called there, as far as that is known
Names = Mapping[int, str]


@dataclass(eq=False)
class Column:
    """A value of the loop, at all timesteps: picked, output `slot` of copies of `model`, or what `before` was at the
    timestep before.

    uses: what it is computed of, for each input of the operator; a name where that is the same in all copies.
    """

    names: dict[int, str] = field(default_factory=dict)
    pick: Pick | None = None
    model: OnnxNode | None = None
    slot: int = 0
    uses: list[Column | str] = field(default_factory=list)
    before: Column | None = None
    after: Column | None = None
    #: timesteps that are not looked at yet
    waiting: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is called in the loop's body."""
        if self.before is not None:
            return f"{self.before.name}.before"
        return self.names[1] if self.model is None else self.model.outputs[self.slot]

    @property
    def is_known(self) -> bool:
        return self.before is not None or self.pick is not None or self.model is not None


class Copies:
    """What is known of the copies of one loop.

    late: whether what only needs the copy before counts as computed where it is used, if it is made of what is known
    there; else it is made there, and carried, if more than the first copy made it.
    """

    def __init__(self, given: Given, n: int, late: bool) -> None:
        self.given, self.n, self.levels, self.late = given, n, given.levels(n), late
        self.columns: list[Column] = []
        #: with a timestep at which the file has it computed in advance
        self.folded: list[tuple[Column, int]] = []
        #: what an exporter has left out of the first copy, because it adds zeros there
        self.left_out: list[Column] = []
        self.nodes: dict[int, OnnxNode] = {}
        self._at: dict[tuple[str, int], Column] = {}
        # What only needs the copy before waits, for where it was made is told by what else is known; and longer, where
        # nothing has told it.
        self._todo: tuple[deque[Column], ...] = (deque(), deque(), deque())

    @property
    def picked(self) -> list[Column]:
        return [column for column in self.columns if column.pick is not None]

    @property
    def carried(self) -> list[Column]:
        """What the copies take of the one before."""
        return [column for column in self.columns if column.before is not None]

    def match(self, seeds: Iterable[Names]) -> None:
        """Follow values back through the copies. Raises `NoLoop`."""
        for names in seeds:
            if isinstance(self._use(names), str):
                raise NoLoop
        self._look_at_all()
        while self._extend():
            self._look_at_all()
        for column in self.columns:  # the last copies lack what only others would have used
            later = [t for t in column.names if t]
            if column.before is None and (not later or len(later) < max(later)):
                raise NoLoop

    def at(self, name: str, t: int) -> Column | None:
        """What a name is at timestep t."""
        return self._at.get((name, t))

    def name_outputs(self, used: Collection[str]) -> None:
        """Enter the outputs of the last copy's nodes that nothing in the loop asks for, but others do."""
        makers = {id(self.given.producer[c.names[self.n - 1]]): c for c in self.columns if self.n - 1 in c.names}
        for key, column in makers.items():
            if (model := column.model) is None:
                continue
            for slot, name in enumerate(self.nodes[key].outputs if key in self.nodes else ()):
                if name in used and (name, self.n - 1) not in self._at and model.outputs[slot]:
                    other = Column({self.n - 1: name}, model=model, slot=slot, uses=column.uses)
                    self._at[name, self.n - 1] = other
                    self.columns.append(other)

    # -- one value ------------------------------------------------------------------------------------------------

    def _use(self, names: Names) -> Column | str:
        """The column of a value, or its name where all copies take the same."""
        if (shared := self._captured(names)) is not None:
            return shared
        column = self._find(names)
        self._name(column, names)
        return column

    def _find(self, names: Names) -> Column:
        """The column that has these names, or a new one. What it is called before the first copy may be several's."""
        for t, name in names.items():
            if (t or len(names) == 1) and (column := self._at.get((name, t))) is not None:
                return column
        column = Column()
        self.columns.append(column)
        return column

    def _captured(self, names: Names) -> str | None:
        """The name of what all copies take."""
        later = [name for t, name in names.items() if t]
        known = [name for name in later if name in self.given.constants]
        if not later:
            if names[0] in self.given.constants:
                raise NoLoop  # which may be of the first copy alone
            return None
        first = later[0]
        if len(known) < len(later) and (self.levels.get(first, -1) >= 0 or set(later) != {first}):
            return None
        if not all(self.given.same(name, first) for name in names.values()):
            raise NoLoop
        return first

    def _name(self, column: Column, names: Names) -> None:
        """Enter what a column is called."""
        idle = not column.waiting
        for t, name in names.items():
            known = column.names.get(t)
            if known is not None:
                if known != name and not self.given.same(known, name):
                    raise NoLoop
                continue
            known_here = t or self.levels.get(name, -1) >= 0
            if known_here and self._at.setdefault((name, t), column) is not column and t:
                raise NoLoop
            column.names[t] = name
            column.waiting.append(t)
        if idle and column.waiting:
            self._todo[not column.is_known and self._is_late(column)].append(column)

    def _is_late(self, column: Column) -> bool:
        """Whether nothing of it is of the timestep at which it is used."""
        levels = [(t, self.levels.get(name, -1)) for t, name in column.names.items() if t]
        if all(level < 0 for _, level in levels):
            return False
        late = {level < t for t, level in levels}
        if len(late) != 1:
            raise NoLoop
        return late.pop()

    def _look_at_all(self) -> None:
        first, second, third = self._todo
        while queue := first or second or third:
            column = queue.popleft()
            self.given.looks -= len(column.waiting)
            if self.given.looks < 0:
                raise NoLoop
            if not column.is_known:
                if queue is second and not self._is_told(column):
                    third.append(column)
                    continue
                self._decide(column)
            new, column.waiting = column.waiting, []
            for t in new:
                self._look(column, t, column.names[t])

    def _decide(self, column: Column) -> None:
        """What kind of value it is."""
        if self._is_late(column) and not self._is_made_of_known(column):
            column.before = self._find({t - 1: name for t, name in column.names.items() if t})
            if column.before is column or column.before.after is not None:
                raise NoLoop
            column.before.after = column
            for t, name in column.before.names.items():
                if t + 1 < self.n:
                    self._name(column, {t + 1: name})
            return
        t, name = self._model_of(column)
        pick, column.model = self.given.timestep(name, self.n), self.given.producer.get(name)
        if pick is not None and pick.index == t and self.levels.get(pick.source, -1) < 0:
            column.pick, column.model = pick, None
            return
        if column.model is None or column.model.bodies:
            raise NoLoop
        column.slot = column.model.outputs.index(name)
        later = [t for t in column.names if t or not self._may_lack(column)] or list(column.names)
        makers = {t: maker for t in later if (maker := self._maker(column, t)) is not None}
        for i, used in enumerate(column.model.inputs):
            names = {t: maker.inputs[i] for t, maker in makers.items() if maker.inputs[i]}
            if len(names) != (len(makers) if used else 0):
                raise NoLoop
            column.uses.append(self._use(names) if used else "")
        if len(makers) == 1:
            self._check_alone(column, *makers)

    def _model_of(self, column: Column) -> tuple[int, str]:
        """A timestep at which a column is computed, by no copy that knows what the loop starts with."""
        later = [(t, name) for t, name in sorted(column.names.items()) if t]
        return next(((t, name) for t, name in later if name not in self.given.constants), (0, column.names.get(0, "")))

    def _check_alone(self, column: Column, t: int) -> None:
        """Refuse a constant of one copy alone, that of timestep t, that may be what one before has made of zeros."""
        sizes = self.given.sizes(column.names[t])
        for use in column.uses:
            array = self.given.constants.get(use) if isinstance(use, str) else None
            if isinstance(use, Column) or array is None or (array.dtype.kind in "iu" and array.ndim < 2):
                continue
            origin = self.given.origins.get(use)
            is_computed = origin is not None and origin.op not in ("Constant", "Identity")
            if not array.any() or is_computed or sizes in (None, list(array.shape)):
                raise NoLoop

    def _is_told(self, column: Column) -> bool:
        known = any((name, t - 1) in self._at for t, name in column.names.items() if t)
        return known or self._is_made_of_known(column)

    def _is_made_of_known(self, column: Column) -> bool:
        """Whether it can be computed, at its own timestep, of what is known of the one before."""
        t, name = max(column.names.items())
        if (t > 1 and not self.late) or (name, t - 1) in self._at:
            return False
        waiting, seen = [name], set()
        while waiting:
            if (name := waiting.pop()) in seen or name in self.given.constants or self.levels.get(name, -1) < 0:
                continue
            seen.add(name)
            self.given.looks -= 1
            known, node = self._at.get((name, t - 1)), self.given.producer.get(name)
            if known is None and node is not None and not node.bodies and self.given.looks > 0:
                waiting += filter(None, node.inputs)
            elif known is None or known.pick is not None:
                return False
        return True

    def _maker(self, column: Column, t: int) -> OnnxNode | None:
        """The copy of the model that makes a column at timestep t; None where that was computed in advance, or left
        out.
        """
        name, model = column.names[t], column.model
        assert model is not None
        maker = self.given.producer.get(name) or self.given.origins.get(name)
        if maker is not None and alike(model, maker) and maker.outputs.index(name) == column.slot:
            return maker
        if name not in self.given.constants and (t or not self._may_lack(column)):
            raise NoLoop
        return None

    def _may_lack(self, column: Column) -> bool:
        """Whether the first copy of a column may be one of two addends alone."""
        return column.model is not None and column.model.op == "Add" and self.n > MIN_TRIPS

    def _is_left_out(self, column: Column, maker: OnnxNode) -> bool:
        """Whether a node that is like the sum is one of its addends in the first copy: it is made of more of what that
        one is made of.
        """
        if not self._may_lack(column):
            return False
        like = [use for use in column.uses if isinstance(use, Column) and self._is_copy(use, maker)]
        if len(like) != 1:
            return False
        addend, whole = (self.given.producer[c.names[max(c.names)]] for c in (like[0], column))
        return self._agreement(addend, maker) > self._agreement(whole, maker)

    def _agreement(self, node: OnnxNode, other: OnnxNode) -> int:
        """How many inputs of two nodes are made alike."""
        given, agree = self.given, 0
        for a, b in zip(node.inputs, other.inputs, strict=True):
            maker, peer = given.producer.get(a), given.producer.get(b)
            if maker is None or peer is None:
                agree += a == b or given.same(a, b)
            else:
                agree += alike(maker, peer) and given.same_constants(maker, peer, False)
        return agree

    def _leave_out(self, column: Column, name: str) -> None:
        """Take the first copy of a sum for one of its two addends, where it is made like that one alone; the other has
        to be zeros, as a product with zeros is.
        """
        given = self.given
        maker, sizes = given.producer.get(name), given.sizes(column.names[min(t for t in column.names if t)])
        addends = [use for use in column.uses if isinstance(use, Column)]
        alone = [maker is not None and self._is_copy(use, maker) for use in addends]
        if len(addends) != 2 or sum(alone) != 1 or sizes is None or sizes != given.sizes(name):
            raise NoLoop
        self._name(addends[alone.index(True)], {0: name})
        self.left_out.append(addends[alone.index(False)])

    def _is_copy(self, column: Column, node: OnnxNode) -> bool:
        """Whether a node is like those that make a column in later copies."""
        makers = [self.given.producer.get(name) for t, name in column.names.items() if t]
        return all(m is not None and alike(m, node) and self.given.same_constants(m, node, False) for m in makers)

    def _look(self, column: Column, t: int, name: str) -> None:
        """Look at what a column is at timestep t."""
        if column.after is not None and t + 1 < self.n:
            self._name(column.after, {t + 1: name})
        if column.before is not None:
            if t:
                self._name(column.before, {t - 1: name})
        elif column.pick is not None:
            pick = self.given.pick(name)
            if pick != Pick(column.pick.source, column.pick.axis, t, column.pick.keeps):
                raise NoLoop
            self.nodes[id(self.given.producer[name])] = self.given.producer[name]
        elif (maker := self._maker(column, t)) is None or (not t and self._is_left_out(column, maker)):
            if name in self.given.constants:
                self.folded.append((column, t))
            else:
                self._leave_out(column, name)
        else:
            self.nodes[id(maker)] = maker
            for used, own in zip(maker.inputs, column.uses, strict=True):
                if isinstance(own, Column):
                    self._name(own, {t: used})
                elif own != used and not self.given.same(own, used):
                    raise NoLoop

    # -- the last copy --------------------------------------------------------------------------------------------

    def _extend(self) -> bool:
        """Name what the last copy computes, though nothing in the loop asks for it; whether there is more of it."""
        extended = False
        for column in self.columns:
            is_missing = self.n - 1 not in column.names and column.model is not None
            if is_missing and (name := self._last_of(column)) is not None:
                self._name(column, {self.n - 1: name})
                extended = True
        return extended

    def _last_of(self, column: Column) -> str | None:
        used = [use if isinstance(use, str) else use.names.get(self.n - 1) for use in column.uses]
        own = [last for last, use in zip(used, column.uses, strict=True) if isinstance(use, Column)]
        if None in used or not own or column.model is None:
            return None
        for node in self.given.users.get(own[0] or "", ()):
            if alike(node, column.model) and all(self.given.same(a, b) for a, b in zip(node.inputs, used, strict=True)):
                return node.outputs[column.slot]
        return None


__all__ = ["Column", "Copies", "Names"]
