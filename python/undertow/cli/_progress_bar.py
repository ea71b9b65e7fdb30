# SPDX-License-Identifier: MIT
"""A bar on a terminal for work that lasts, drawn by tqdm, and nothing anywhere else.

tqdm and not rich, for it needs no other package and is a tenth of the size. The work itself draws nothing: it says
where it is (`undertow._progress`), and a thread looks at that some times a second. So the bar shows that time passes,
too, while a single call takes long.
"""

from __future__ import annotations

import threading
import time
from typing import Any, TextIO

from .._text import shown

#: seconds until something is drawn, and from one drawing to the next
_PATIENCE, _EVERY = 0.5, 0.15


#: bars that may stand on the terminal, the last on top
_shown: list[Bar] = []


def clear() -> None:
    """Take what is drawn from the terminal, so that a line can be printed; it is drawn anew a little later."""
    for bar in _shown:
        bar.clear()


class Bar:
    """A listener of `_progress.listening`: draws while it is entered, if `stream` is a terminal and tqdm is there."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._now: tuple[str, int, int] = ("", 0, 0)
        self._still = False
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self.note = ""  # stands behind the bar
        self.unit = "it"
        self._bar: Any = None
        self._drawn = ("", 0)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._make: Any = _tqdm() if stream.isatty() else None

    def __call__(self, what: str, done: int, total: int, still: bool = False) -> None:
        self._now, self._still = (what, done, total), still
        if (still or not what) and self._thread is not None:
            self._look()

    def __enter__(self) -> Bar:
        if self._make is not None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
            _shown.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            _shown.remove(self)
            self._stop.set()
            self._thread.join()
            self._close()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY):
            if not self._still:
                self._look()

    def _look(self) -> None:
        with self._lock:
            what, done, total = self._now
            if not what:
                self._close()
                self._start = time.monotonic()
            elif time.monotonic() - self._start >= _PATIENCE:
                self._draw(what, done, total)

    def clear(self) -> None:
        """Leave the line empty until the next drawing."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()

    def _draw(self, what: str, done: int, total: int) -> None:
        if self._drawn != (what, total):
            self._close()
            self._bar = self._make(
                total=total or None, desc=shown(what, 60), unit=self.unit, unit_scale=total >= 1000, leave=False,
                file=self._stream, dynamic_ncols=True,
                bar_format=None if total else "{desc} {elapsed}",
            )  # fmt: skip
            self._bar.start_t -= time.monotonic() - self._start  # since when it is at work
            self._drawn = (what, total)
        self._bar.n = done
        if self.note:
            self._bar.set_postfix_str(self.note, refresh=False)
        self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._drawn = None, ("", 0)


def _tqdm() -> Any:
    """tqdm's class without a thread of its own, or None."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return type("Quiet", (tqdm,), {"monitor_interval": 0})


__all__ = ["Bar", "clear"]
