# SPDX-License-Identifier: MIT
"""What long work says of itself while it lasts, to whoever listens; nobody does unless asked.

Work tells what it is doing and how far it is, and knows nothing of bars; the command listens and draws one
(cli/_progress_bar.py). To tell without a listener costs some ten nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Whoever is told."""

    def __call__(self, what: str, done: int, total: int, still: bool = False) -> None:
        """what: is being done, "" at the end. done, total: how much of it; 0 out of 0 where that is not known. still:
        time is being measured, so say it now if at all, and then keep still until there is more.
        """


_listener: ContextVar[Listener | None] = ContextVar("undertow progress", default=None)


def tell(what: str, done: int = 0, total: int = 0, still: bool = False) -> None:
    """Say what is being done; "": nothing any more."""
    if (listener := _listener.get()) is not None:
        listener(what, done, total, still)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While this lasts, `listener` is told, in this thread and what it starts of its own context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def told_to(function: Callable[[str, int, int], object] | None) -> Iterator[None]:
    """While this lasts, a function of a user's is told, if there is one; else whoever listens already."""
    if function is None:
        yield
        return
    call = function

    def listener(what: str, done: int, total: int, still: bool = False) -> None:
        call(what, done, total)

    with listening(listener):
        yield


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Work with a beginning and an end; others may tell more of it meanwhile."""
    tell(what)
    try:
        yield
    finally:
        tell("")


__all__ = ["Listener", "listening", "tell", "telling", "told_to"]
