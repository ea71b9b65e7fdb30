# SPDX-License-Identifier: MIT
"""How a command ends when it is told to: Ctrl-C, and what service managers, `timeout` and closed terminals send.

SIGTERM and SIGHUP are raised as Ctrl-C is, so files under construction are dropped by whoever writes them, and the exit
code is that of a program that the signal has ended. Where sound comes from outside and what came of it goes to a file,
the first signal ends the sound instead, and the file is kept (`Stop`); the second one ends the program.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Answer = TypeVar("Answer")

#: Not every system has them all.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C asked the program to end; `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(name_of(number))
        self.signal = number


def name_of(number: int) -> str:
    """Such as SIGTERM."""
    return signal.Signals(number).name


def exit_code(number: int) -> int:
    """That of a program which a signal has ended, as shells count."""
    return 128 + number


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def raised() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise `Terminated`, unless somebody has said what they do (as `nohup`)."""
    if not _in_main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise Terminated(number)

    ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


class _Ended(BaseException):
    """Nothing more is waited for."""


class Stop:
    """While it watches, the first signal that would end the program ends what it waits for.

    Attributes:
        signal: number of the one that came; None: none.
    """

    def __init__(self, watches: bool = True) -> None:
        """watches: False where nothing is kept, and signals may end the program at once."""
        self.signal: int | None = None
        self._watches, self._waits = watches, False

    @property
    def asked(self) -> bool:
        return self.signal is not None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The second signal does what the first would have done without this."""
        if not self._watches or not _in_main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
        ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

        def again() -> None:
            for number in ours:
                signal.signal(number, before[number])

        def first(number: int, _: FrameType | None) -> None:
            self.signal = number
            again()
            if self._waits:
                raise _Ended

        for number in ours:
            signal.signal(number, first)
        try:
            yield
        finally:
            again()

    def unless(self, wait: Callable[[], Answer], otherwise: Answer) -> Answer:
        """What `wait` gives, which may last; `otherwise`, if a signal came before or meanwhile."""
        if self.asked:
            return otherwise
        answer = otherwise
        try:
            self._waits = True
            if not self.asked:  # since the look above
                answer = wait()
            self._waits = False
        except _Ended:
            pass
        finally:
            self._waits = False
        return answer


__all__ = ["Stop", "Terminated", "exit_code", "name_of", "raised"]
