# SPDX-License-Identifier: MIT
"""What one load of an ONNX file may take and has taken, so that a small file cannot keep it busy for hours, or fill
the memory. Both limits grow with the file.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from ....budget import MEMORY, MEMORY_EACH, Budget, Held
from ..file import limits
from ..retry import Retry


class Exhausted(Retry):
    """All walks together have become too long. No other reading or pairing is worth a try."""


class Effort(Budget):
    """The budget of a load, in elements of tensors; a node counts as `limits.ELEMENTS_PER_NODE` of them.

    n_bytes: of the file, its weights as float32. share: of the work, by what it is divided.
    """

    def __init__(self, n_bytes: int = 0, share: int = 1) -> None:
        work = min(limits.MAX_EFFORT, limits.EFFORT + limits.EFFORT_EACH * n_bytes)
        super().__init__(MEMORY + MEMORY_EACH * n_bytes, work // share)
        self.n_bytes = n_bytes
        self.n_walks = 0
        self.max_walks = inf
        #: how the walk ended that got furthest, and at which node
        self.furthest: tuple[int, Exception | None] = (0, None)

    def held(self, live: Callable[[], int]) -> Held:
        """What counts the bytes of a part of the load, of which `live` are left; it may hold all of them."""
        return Held(self.memory, live)

    def check(self) -> None:
        """Refuse another walk when those before took more than is allowed.

        Raises:
            Exhausted: they did.
        """
        if self.used > self.work or self.n_walks >= self.max_walks:
            _, error = self.furthest
            ended = f"; the one that got furthest ended with: {error}" if error else ""
            raise Exhausted(
                f"no way to read the axes of the inputs was found in {self.n_walks} walks through the graph, and there "
                f"are too many others to try them all{ended}"
            )

    def add_option(self, n_inputs: int) -> None:
        """A reading of so many inputs that is looked at. Raises as `check`."""
        self.used += n_inputs * limits.ELEMENTS_PER_OPTION
        self.check()

    def add(self, n_elements: int, n_nodes: int, error: Exception | None = None, position: int = 0) -> None:
        """A walk that has ended, with an error at some node if it has failed."""
        self.n_walks += 1
        self.used += n_elements + n_nodes * limits.ELEMENTS_PER_NODE
        if error is not None and position >= self.furthest[0]:
            self.furthest = position, error


__all__ = ["Effort", "Exhausted"]
