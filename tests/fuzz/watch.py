# SPDX-License-Identifier: MIT
"""Notes what reading a file must never do: start programs, load classes by name, open files that are not its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_NEVER = {
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "subprocess.Popen", "pty.spawn"),
    *("pickle.find_class", "ctypes.dlopen", "socket.connect", "socket.bind", "urllib.Request"),
    *("os.remove", "os.rmdir", "os.symlink", "os.chmod"),
}
#: what the machine says of itself
_SYSTEM = ("/proc/self/", "/proc/cpuinfo", "/sys/devices/system/cpu", "/dev/null")


class Watch:
    """A context in which Python's audit events are looked at. `seen` are those that must not be.

    Files may be opened in `folder`, and where Python's modules lie, which may be loaded late.
    """

    _now: Watch | None = None
    _installed = False

    def __init__(self, folder: Path) -> None:
        self.seen: list[str] = []
        places = {sys.prefix, sys.base_prefix, *(p for p in sys.path if p), os.fspath(Path(__file__).parents[2])}
        self._allowed = (*(os.path.realpath(p) + os.sep for p in {*places, folder}), *_SYSTEM)

    def __enter__(self) -> Watch:
        if not Watch._installed:  # a hook cannot be taken out again
            Watch._installed = True
            sys.addaudithook(lambda event, args: Watch._now and Watch._now._look(event, args))
        Watch._now = self
        return self

    def __exit__(self, *_: object) -> None:
        Watch._now = None

    def _look(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _NEVER:
            self.seen.append(f"{event} {str(args)[:80]}")
        elif event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            path = os.path.abspath(os.fsdecode(args[0]))
            if not (path + os.sep).startswith(self._allowed):
                self.seen.append(f"opened {path}")
