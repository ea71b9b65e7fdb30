# SPDX-License-Identifier: MIT
"""Counts what the walks of one load have cost, so that a file cannot keep the search for its axes busy for hours."""

from __future__ import annotations

from ...errors import UnsupportedError
from . import limits


class Exhausted(UnsupportedError):
    """All walks together have become too long. No other reading or pairing is worth a try."""


class Effort:
    """What was spent, in elements of tensors; a node counts as `limits.ELEMENTS_PER_NODE` of them."""

    def __init__(self) -> None:
        self.n_walks = 0
        self.spent = 0
        self.last: Exception | None = None

    def check(self) -> None:
        """Refuse another walk when those before took more than is allowed.

        Raises:
            Exhausted: they did.
        """
        if self.spent > limits.MAX_EFFORT:
            ended = f"; the last one ended with: {self.last}" if self.last else ""
            raise Exhausted(
                f"no way to read the axes of the inputs was found in {self.n_walks} walks through the graph, and there "
                f"are too many others to try them all; fix sizes with shapes={{name: [...]}}, and say which inputs are "
                f"states with states={{input: output}}{ended}"
            )

    def add_option(self, n_inputs: int) -> None:
        """A reading of so many inputs that is looked at. Raises as `check`."""
        self.spent += n_inputs * limits.ELEMENTS_PER_OPTION
        self.check()

    def add(self, n_elements: int, n_nodes: int, error: Exception | None = None) -> None:
        self.n_walks += 1
        self.spent += n_elements + n_nodes * limits.ELEMENTS_PER_NODE
        self.last = error or self.last
