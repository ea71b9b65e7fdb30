# SPDX-License-Identifier: MIT
"""What ends one reading of a file and may not end another. It is no `undertow.Error`, and never reaches a user."""

from __future__ import annotations

from ...errors import Error, UnsupportedError


class Retry(Exception):
    """This reading does not go through; its argument says why, in a user's words."""

    #: what a user is told with, where no reading goes through
    public: type[Error] = UnsupportedError

    def error(self) -> Error:
        """The error for the user."""
        return self.public(str(self))


class TooLarge(Retry):
    """A table of this reading is beyond the memory or the elements that one may have."""


__all__ = ["Retry", "TooLarge"]
