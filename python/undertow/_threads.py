# SPDX-License-Identifier: MIT
"""How many threads a call may ask for."""

from __future__ import annotations

import os
from operator import index


def usable_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked(threads: int) -> int:
    """As an int. Raises ValueError where it is not 1 to as many as there are CPUs."""
    threads, cpus = index(threads), usable_cpus()
    if not 1 <= threads <= cpus:
        raise ValueError(f"threads is {threads}, expected 1 to {cpus}, the CPUs that this process may use")
    return threads
