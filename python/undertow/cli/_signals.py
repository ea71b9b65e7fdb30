# SPDX-License-Identifier: MIT
"""How a command ends when it is told to: Ctrl-C, and what service managers, `timeout` and closed terminals send.

SIGTERM and SIGHUP are raised as Ctrl-C is, so files under construction are dropped by whoever writes them, and the exit
code is that of a program that the signal has ended. Where sound comes from outside and what came of it goes to a file,
the first signal ends the sound instead, and the file is kept (`Stop`); the second one ends the program.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Answer = TypeVar("Answer")

#: Seconds until a signal that could not be raised where it came is raised again.
_AGAIN = 0.01

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


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _send(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # so that what the main thread waits for is interrupted
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)


def _later(number: int) -> None:
    timer = threading.Timer(_AGAIN, _send, (number,))
    timer.daemon = True
    timer.start()


@contextmanager
def raised() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise `Terminated`, unless somebody has said what they do (as `nohup`).

    Nothing is raised within an import, for extension modules that begin in C++ may end the process at an exception, nor
    lost where Python ignores what is raised, as in callbacks of weak references: it is raised a little later. So is
    Ctrl-C.
    """
    if not _in_main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            _later(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise Terminated(number)

    def ignored(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            _later(getattr(unraisable.exc_value, "signal", signal.SIGINT))
        else:
            hook(unraisable)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    ours = [number for number, old in before.items() if old in (signal.SIG_DFL, signal.default_int_handler)]
    hook = sys.unraisablehook
    for number in ours:
        signal.signal(number, stop)
    sys.unraisablehook = ignored
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        sys.unraisablehook = hook


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
