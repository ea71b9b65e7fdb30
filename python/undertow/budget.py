# SPDX-License-Identifier: MIT
"""What a piece of work may take, in bytes and in elements of arrays: a file of few bytes can ask for any number.

All of it is counted, none measured, so the same file ends at the same place on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Protocol
from weakref import WeakSet

#: bytes that a load may hold at one time, and so many more for each of the file: constants that are computed, tables of
#: where elements come from, what is made of them. An array that is about to be made counts with its copies on the way.
MEMORY, MEMORY_EACH = 5 * 2**23, 6
#: bytes that a float32 weight takes until there is a model: in the graph, as it is written, in the file's bytes
WEIGHT_BYTES = 12


class TooMuch(Exception):
    """An array would be larger than the budget allows; smaller ones may fit.

    Its argument: the elements of it. where: what asked for it, if it said so. what: what it is, if no array.
    """

    where, what = "", ""


class Spent(Exception):
    """All work that the budget allows is done."""


class Budget:
    """What may be done and held.

    memory: bytes that are held at one time. work: elements of all arrays that are made or looked through, where each
    time counts as `EACH` elements as well, about what its overhead takes.

    >>> budget = Budget(memory=800, work=10_000)
    >>> budget.spend(50)
    >>> budget.used
    1074
    """

    EACH = 2**10

    def __init__(self, memory: int, work: int) -> None:
        self.memory, self.work, self.used = memory, work, 0

    def spend(self, n_elements: int) -> None:
        """Count elements that are looked through, or are about to be made.

        Raises:
            Spent: there is no work left.
        """
        self.used += n_elements + self.EACH
        if self.used > self.work:
            raise Spent

    def take(self, n_bytes: int) -> None:
        """Count an array that is about to be made, of numbers of 8 bytes.

        Raises:
            TooMuch: it has more bytes than are allowed.
            Spent: there is no work left.
        """
        if n_bytes > self.memory:
            raise TooMuch(n_bytes // 8)
        self.spend(n_bytes // 8)


class HasBytes(Protocol):
    """What holds memory."""

    @property
    def n_bytes(self) -> int: ...


class Held:
    """Bytes that are held at one time. Everything that is made adds up; only when that is too much, `live` is asked how
    much of it is left, which else is what `watch` was told of. As a context it is what these count for.

    >>> held = Held(100, lambda: 0)
    >>> held.add(70)
    >>> held.add(70)  # the first 70 are gone
    >>> held.add(101)
    Traceback (most recent call last):
    undertow.budget.TooMuch: 101
    """

    def __init__(self, limit: int, live: Callable[[], int] | None = None) -> None:
        self.limit, self.n_bytes = limit, 0
        self.live = live or (lambda: sum(watched.n_bytes for watched in self._watched))
        self._watched: WeakSet[HasBytes] = WeakSet()
        self._tokens: list[Token[Held | None]] = []

    def add(self, n_elements: int, n_bytes: int = 1) -> None:
        """Count what is about to be made, of so many bytes for each element.

        Raises:
            TooMuch: with what is left of all before, it is more than the limit.
        """
        self.n_bytes += n_elements * n_bytes
        if self.n_bytes > self.limit:
            self.n_bytes = self.live() + n_elements * n_bytes
        if self.n_bytes > self.limit:
            raise TooMuch(n_elements)

    @classmethod
    def of_file(cls, n_bytes: int) -> Held:
        """For what is made of a file of so many bytes: the graphs that begin meanwhile."""
        return cls(MEMORY + MEMORY_EACH * n_bytes)

    def __enter__(self) -> Held:
        self._tokens.append(_HELD.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _HELD.reset(self._tokens.pop())


_HELD: ContextVar[Held | None] = ContextVar("held", default=None)


def room(n_elements: int, n_bytes: int = 8, where: str = "", what: str = "") -> None:
    """Count an array that is about to be made, of so many bytes for each element, where something counts them.

    where: what asks for it. what: what is made, if it is no array.

    Raises:
        TooMuch: as `Held.add`.
    """
    held = _HELD.get()
    if held is None:
        return
    try:
        held.add(n_elements, n_bytes)
    except TooMuch as error:
        error.where, error.what = where, what
        raise


def watch(watched: HasBytes) -> None:
    """Count the bytes of something that grows, as long as it is there, where something counts them."""
    held = _HELD.get()
    if held is not None:
        held._watched.add(watched)


def too_much(error: TooMuch, limit: int) -> str:
    """What to say of an array that is not made."""
    what = error.what or f"a tensor of {error.args[0]} elements"
    return (
        f"{what} takes more memory, with what is there already, than the {limit >> 20} MiB that a file of this size "
        "may hold while it is loaded"
    )


__all__ = ["MEMORY", "MEMORY_EACH", "WEIGHT_BYTES", "Budget", "Held", "Spent", "TooMuch", "room", "too_much", "watch"]
