# SPDX-License-Identifier: MIT
"""What the versions of the format say of the timesteps in a frame, and of their rate (csrc/FORMAT.md, "Versions")."""

from __future__ import annotations

import re

#: how writers said it before version 2, in a line of the source
_LINE = re.compile(r"^strides along time: ([1-9]\d{0,5}) timesteps in a frame, ([1-9]\d{0,5}) out$", re.MULTILINE)


def frames(version: int, frames_in: int, frames_out: int, source: str) -> tuple[int, int]:
    """Timesteps in one frame of the inputs and of the outputs, of a file with this header and source."""
    if version > 1:
        return frames_in, frames_out
    match = _LINE.search(source)
    return (int(match[1]), int(match[2])) if match else (1, 1)


def header(
    frames_in: int, frames_out: int, sample_rate: int | None, source: str, newest: int = 1
) -> tuple[int, int, int, int]:
    """The first version that says it, and its three numbers in the header. newest: that of the newest tensor or op."""
    if newest > 3:
        return newest, frames_in, frames_out, sample_rate or 0
    if sample_rate is not None:
        return 3, frames_in, frames_out, sample_rate
    if (frames_in, frames_out) == (1, 1) == frames(1, 0, 0, source):
        return 1, 0, 0, 0
    return 2, frames_in, frames_out, 0


def of_tensor(code: int, flags: int) -> int:
    """The first version that has such a tensor."""
    return 5 if code > 8 else 4 if code == 8 or flags else 1


def of_kind(kind: int) -> int:
    """The first version that has such a node."""
    return 6 if kind > 27 else 1


__all__ = ["frames", "header", "of_kind", "of_tensor"]
