# SPDX-License-Identifier: MIT
"""Whether what was imported remembers anything from one frame to the next, and the warning where it does not."""

from __future__ import annotations

import sys
import warnings

from .._text import MAX_LINE, shown
from ..errors import ModelWarning
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from ..ir.ops.cells import Cell


def remembers(graph: Graph) -> bool:
    """Whether a frame of an output depends on others than its own of the inputs."""
    return bool(graph.states) or any(OPS[node.op].taps(node) != (0,) for node in graph.nodes)


def cells_in_frames(graph: Graph) -> list[Node]:
    """Cells that go through the rows of each frame, starting anew in each: not one row, from what the caller brings."""
    cells = [n for n in graph.nodes if isinstance(OPS[n.op], Cell) and not n.states]
    return [n for n in cells if len(n.inputs) == 1 or graph.shape(n.inputs[0])[0] > 1]


def goes_through_rows(what: str, pools: bool = False) -> str:
    """That a recurrence ends with each frame. what: that it is of, as a user knows it. pools: frames are pooled."""
    kept = "nothing but a pool" if pools else "nothing"
    return (
        f"{kept} is remembered from one frame to the next: {what} goes through the rows of each frame and starts anew "
        "in the next"
    )


def warn(graph: Graph, text: str, *lines: str) -> None:
    """Warn whoever called the package, and note it. lines: below the text, in the warning alone."""
    graph.note(f"warning: {text}")
    message = "\n".join([text, *(shown(line, MAX_LINE) for line in lines)])
    warnings.warn(message, ModelWarning, stacklevel=_caller())


def _caller() -> int:
    """The `stacklevel`, for `warn`, of the line that called the package."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level


__all__ = ["cells_in_frames", "goes_through_rows", "remembers", "warn"]
