# SPDX-License-Identifier: MIT
"""Tables with targets, as Markdown and as plain data."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Half the range between the quartiles, as a share of the median, from which a number is called noisy.
NOISE = 0.1


@dataclass
class Goal:
    """A number that has a target: a ratio to reach, or (`at_most`) a limit to stay under."""

    value: float
    target: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.target if self.at_most else self.value >= self.target

    def __str__(self) -> str:
        return (
            f"{number(self.value)} ({'<' if self.at_most else '>'} {self.target:g}: {'met' if self.met else 'MISSED'})"
        )


@dataclass
class Table:
    """Rows of cells: text, numbers or goals."""

    title: str
    columns: Sequence[str]
    rows: list[list[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", "| " + " | ".join(self.columns) + " |"]
        lines.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(self.columns))) + "|")
        lines += ["| " + " | ".join(_cell(c) for c in row) + " |" for row in self.rows]
        return "\n".join([*lines, *(["", *(f"- {note}" for note in self.notes)] if self.notes else []), ""])

    def data(self) -> dict[str, Any]:
        rows = [{column: _plain(c) for column, c in zip(self.columns, row, strict=True)} for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": self.notes}

    def mark_noise(self, row: str, spreads: Sequence[float]) -> None:
        """Says so where quartiles lie further apart than a machine at rest lets them."""
        if max(spreads, default=0.0) > NOISE:
            self.notes.append(f"{row}: not a quiet machine, +-{max(spreads):.0%} between quartiles")

    def goals(self) -> list[Goal]:
        return [c for row in self.rows for c in row if isinstance(c, Goal)]


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - max(0, len(str(int(abs(value)))) - 1))}f}"


def tables_alone() -> None:
    """What libraries print goes to stderr from here on, and only what Python prints is left in stdout."""
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


def summary(tables: Sequence[Table]) -> str:
    goals = [goal for table in tables for goal in table.goals()]
    return f"{sum(goal.met for goal in goals)} of {len(goals)} targets met"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Goal):
        return {"value": value.value, "target": value.target, "at_most": value.at_most, "met": value.met}
    return value
