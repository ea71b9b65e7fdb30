# SPDX-License-Identifier: MIT
"""Equations of Einsum with a letter for each axis, in place of those that an ellipsis stands for."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

_DOTS = "..."


def lettered(equation: str, ranks: Sequence[int]) -> str:
    """An equation over operands of so many axes, without ellipses; as it is where it does not fit them.

    >>> lettered("...ij,...j->...i", [3, 2])
    'aij,aj->ai'
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if _DOTS not in left or len(terms) != len(ranks):
        return equation
    hidden = [rank - len(t.replace(_DOTS, "")) if _DOTS in t else 0 for t, rank in zip(terms, ranks, strict=True)]
    letters = [c for c in ascii_letters if c not in equation][: max(hidden)]
    if min(hidden) < 0 or len(letters) < max(hidden):
        return equation
    spelled = [t.replace(_DOTS, "".join(letters[len(letters) - n :])) for t, n in zip(terms, hidden, strict=True)]
    if not arrow:
        alone = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        out = _DOTS + "".join(alone)
    return f"{','.join(spelled)}->{out.replace(_DOTS, ''.join(letters))}"


__all__ = ["lettered"]
