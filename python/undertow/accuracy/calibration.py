# SPDX-License-Identifier: MIT
"""What `undertow.accuracy.calibrate` has found: precisions and their costs, as a table and as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._text import listed, shown
from ..inspect.describe import human_bytes, table
from ..ir.graph import Graph
from .drift import Distance
from .judge import Judge

#: Timesteps over which a choice must hold; the data is repeated to reach them.
LONG = 10_000
#: The last of them, whose error is shown apart: what is left of a drift.
LATE = 1_000


@dataclass
class Cost:
    """What a set of precisions does to the output, and to the time of a step.

    Attributes:
        data: distance from float32 over the data, once.
        late: the same over the last 1,000 of 10,000 timesteps; None where the model cannot be streamed, or the data is
            several sequences.
        longest: largest error in all of them.
        judged: the worst that the judge finds in any of them.
        step_us: median microseconds of one step from Python; of a run, by frames, where it cannot be streamed.
    """

    data: Distance
    late: Distance | None
    longest: float
    judged: float
    step_us: float

    def facts(self) -> dict[str, Any]:
        """All of it for JSON; `late` is the largest error there."""
        return {
            "max": self.data.max,
            "rms": self.data.rms,
            "relative": self.data.relative,
            "late": None if self.late is None else self.late.max,
            "longest": self.longest,
            "judged": {"data": _judged(self.data), "late": _judged(self.late), "worst": self.judged},
            "step_us": self.step_us,
        }


def _judged(distance: Distance | None) -> float | None:
    return None if distance is None or distance.tally is None else distance.tally.measured


@dataclass
class Layer:
    """One layer with weights that have a precision. `alone`: when this is the only layer that is not float32."""

    name: str
    precision: str
    bytes_before: int
    bytes_after: int
    alone: Cost | None


@dataclass
class Calibration:
    """What was chosen, and what it costs. `str` of it is a table.

    Attributes:
        graph: the graph with `Node.precisions` set.
        layers: in the order of the graph.
        total: all layers together.
        step_us: of float32.
        n_frames, n_sequences: of the data; frames of all sequences together.
        tolerance, judge: what the outputs had to keep, in the judge's measure.
        refused: what stays float32 (a layer, or one weight of it) -> what smaller precisions would have cost.
        notes: what the data could not tell.
    """

    graph: Graph
    layers: list[Layer]
    total: Cost
    step_us: float
    n_frames: int
    tolerance: float | None = None
    refused: dict[str, str] = field(default_factory=dict)
    n_sequences: int = 1
    judge: Judge = field(default_factory=Judge)
    notes: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """All but the graph for JSON."""
        return {
            "frames": self.n_frames,
            "sequences": self.n_sequences,
            "judge": str(self.judge),
            "tolerance": self.tolerance,
            "layers": [
                {
                    "name": layer.name,
                    "precision": layer.precision,
                    "bytes_before": layer.bytes_before,
                    "bytes_after": layer.bytes_after,
                    "alone": None if layer.alone is None else layer.alone.facts(),
                }
                for layer in self.layers
            ],
            "all": self.total.facts(),
            "float32_step_us": self.step_us,
            "refused": self.refused,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        several = f" in {self.n_sequences:,} sequences" if self.n_sequences > 1 else ""
        frames = "frame" if self.n_frames == 1 else "frames"
        own = [] if self.judge.kind in ("max", "rms") else [self.judge.heading]
        long = [] if several else [f"after {LONG:,} steps"]  # sequences are never that long
        rows = [["layer", "precision", "before", "after", "max error", "RMS %", *own, *long, "us a step"]]
        for layer in self.layers:
            sizes = [human_bytes(layer.bytes_before), human_bytes(layer.bytes_after)]
            rows.append([shown(layer.name), layer.precision, *sizes, *self._cells(layer.alone, own, long)])
        before, after = (sum(getattr(layer, key) for layer in self.layers) for key in ("bytes_before", "bytes_after"))
        rows.append(["all together", "", human_bytes(before), human_bytes(after), *self._cells(self.total, own, long)])
        float32 = ["float32", "", human_bytes(before), human_bytes(before), *self._cells(None, own, long)]
        rows.append([*float32[:-1], f"{self.step_us:.2f}"])
        lines = [
            f"errors are |output - float32 output| on {self.n_frames:,} {frames}{several} of calibration data"
            + ("" if self.tolerance is None else f"; tolerance {self.judge.said_of_tolerance(self.tolerance)}"),
            table(rows),
            "  a layer's row: only that layer is reduced. RMS %: of the errors, by that of the output."
            + (f" agree: decisions of judge {self.judge}." if own == ["agree"] else ""),
        ]
        if long:
            what = {"max error": "largest error"}.get(self.judge.heading, self.judge.heading)
            lines.append(f"  after: {what} in the last {LATE:,} of {LONG:,} steps, the data repeated")
        by_reason: dict[str, list[str]] = {}
        for name, why in self.refused.items():
            by_reason.setdefault(why, []).append(name)
        for why, names in by_reason.items():
            lines.append(f"  {listed(names)} {'stays' if len(names) == 1 else 'stay'} float32: {why}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _cells(self, cost: Cost | None, own: list[str], long: list[str]) -> list[str]:
        """What a row says of errors and the time of a step; None: there are none."""
        if cost is None:
            best = self.judge.said(self.judge.best)
            return ["0", "0", *[best for _ in own], *[best for _ in long], ""]
        said = [
            "-" if distance is None or distance.tally is None else self.judge.said(distance.tally.measured)
            for distance in (cost.data, cost.late)
        ]
        errors = [f"{cost.data.max:.2g}", f"{100 * cost.data.relative:.2g}"]
        return [*errors, *said[: len(own)], *[said[1] for _ in long], f"{cost.step_us:.2f}"]


__all__ = ["LATE", "LONG", "Calibration", "Cost", "Layer"]
