# SPDX-License-Identifier: MIT
"""What ends one reading of a file and may not end another. It is no `undertow.Error`, and never reaches a user."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import Error, UnsupportedError
from .advice import Advice


class Retry(Exception):
    """This reading does not go through; its argument says why, in a user's words. advice: see `Refusal`."""

    #: what a user is told with, where no reading goes through
    public: type[Error] = UnsupportedError

    def __init__(self, message: str = "", advice: Sequence[Sequence[Advice]] = ()) -> None:
        super().__init__(message)
        self.advice = advice

    def error(self) -> Error:
        """The error for the user."""
        return self.public(str(self))


class OtherRounds(Retry):
    """A loop of open length whose rounds are not the timesteps of this reading."""


class TooLarge(Retry):
    """A table of this reading is beyond the memory or the elements that one may have."""


class TooManyNodes(Retry):
    """This reading takes more nodes than are walked, loops written out; with more timesteps it does too."""


__all__ = ["OtherRounds", "Retry", "TooLarge", "TooManyNodes"]
