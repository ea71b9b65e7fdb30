# SPDX-License-Identifier: MIT
"""A sum that goes on for ever: compensated, whoever writes the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Value = TypeVar("Value")


def compensated(
    op: Callable[[str, Sequence[Value], str], Value], total: Value, excess: Value, x: Value, zero: Value
) -> tuple[Value, Value]:
    """(total + x, what rounding took from it), of a total that is off by `excess`: that goes into the next term, so
    a sum is off by at most about 2^-23 (|x_1| + ... + |x_t|), however large t is. An infinite sum is off by nothing.

    op: (operation, operands, what the result is) -> the result of a node. W. Kahan, "Further remarks on reducing
    truncation errors", 1965.

    >>> ops = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "equal": lambda a, b: a == b,
    ...        "where": lambda c, a, b: a if c else b}
    >>> compensated(lambda name, values, what: ops[name](*values), 1e16, 0.0, 1.0, 0.0)
    (1e+16, -1.0)
    """
    term = op("sub", [x, excess], "term")
    after = op("add", [total, term], "after")
    step = op("sub", [after, total], "step")
    error = op("sub", [step, term], "error")
    is_number = op("equal", [error, error], "finite")
    return after, op("where", [is_number, error, zero], "rest")


__all__ = ["compensated"]
