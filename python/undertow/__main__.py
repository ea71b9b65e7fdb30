# SPDX-License-Identifier: MIT
"""`python -m undertow`, and the program `undertow`: the command line in a process of its own."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

#: exit codes from here on say that a signal has ended it
_BY_SIGNAL = 128


def program() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        from .cli import main  # half of the time until a command begins: Ctrl-C ends that without a traceback, too

        code = main()
    except KeyboardInterrupt:
        code = 130
    if code > _BY_SIGNAL:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        # Files are closed. Whoever pressed Ctrl-C need not wait while an interpreter frees all that was loaded.
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
