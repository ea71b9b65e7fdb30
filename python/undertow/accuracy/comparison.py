# SPDX-License-Identifier: MIT
"""Two models, or one in two precisions, on the same frames: errors, decisions, speed, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from .._text import quoted, shown
from ..errors import ShapeError
from ..inspect.describe import human_bytes, table
from . import timing
from .drift import Distance, n_of_numbers, said_of_frames
from .judge import Judge, Tally, agreement
from .verify import by_name, one_or_all

Arrays = Mapping[str, np.ndarray]

#: What is compared of two models beside their numbers: attribute -> what people call it.
SIZES = {
    "file_bytes": "file",
    "model_bytes": "plan",
    "state_bytes": "state of a stream",
    "scratch_bytes": "scratch of a stream",
    "bytes_per_step": "read in a step",
}


@dataclass(frozen=True)
class OutputErrors:
    """What B's output differs from A's.

    Attributes:
        name: of A's output. other: of B's, where it has another name.
        max, rms: of |a - b|, in the units of the output. relative: RMS as a share of the RMS of A's output.
        frame: where the largest error is; None for what is given once per sequence.
        decision: "argmax" along the last axis of several numbers; else "above THRESHOLD".
        n_decisions, n_agree: how many there are, and in how many the two agree.
    """

    name: str
    other: str
    max: float
    rms: float
    relative: float
    frame: int | None
    decision: str
    n_decisions: int
    n_agree: int

    @property
    def agreement(self) -> float:
        """Share of decisions in which the two agree."""
        return self.n_agree / self.n_decisions if self.n_decisions else 1.0

    def data(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {**asdict(self), "agreement": self.agreement}


@dataclass(frozen=True)
class Speed:
    """Calls of A and B in turns.

    Attributes:
        what: "step", or "run" of all frames where one of the two cannot be streamed.
        a_us, b_us: median microseconds of a call. a_p99_us, b_p99_us: None where too few calls were made.
        ratio: median over the turns of B's median by A's; low, high: the quartiles of that.
    """

    what: str
    a_us: float
    b_us: float
    a_p99_us: float | None
    b_p99_us: float | None
    ratio: float
    low: float
    high: float


@dataclass
class Comparison:
    """What `compare` found; `str` of it is tables, `data()` plain data."""

    n_frames: int
    data_from: str
    outputs: list[OutputErrors]
    speed: Speed
    sizes: dict[str, tuple[int, int]]
    models: tuple[dict[str, Any], dict[str, Any]]
    tolerance: float | None = None
    notes: list[str] = field(default_factory=list)
    tally: Tally | None = None

    @property
    def ok(self) -> bool:
        """Whether the largest error, or what the judge found, keeps the tolerance, where there is one; NaN does not."""
        if self.tolerance is None:
            return True
        if self.tally is not None:
            return self.tally.judge.passes(self.tally.measured, self.tolerance)
        return all(o.max <= self.tolerance for o in self.outputs)

    def data(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "ok": self.ok,
            "tolerance": self.tolerance,
            "judge": None if self.tally is None else str(self.tally.judge),
            "judged": None if self.tally is None else self.tally.measured,
            "frames": self.n_frames,
            "data": self.data_from,
            "a": self.models[0],
            "b": self.models[1],
            "outputs": [o.data() for o in self.outputs],
            "speed": asdict(self.speed),
            "sizes": {key: {"a": a, "b": b} for key, (a, b) in self.sizes.items()},
            "notes": self.notes,
        }

    def __str__(self) -> str:
        lines = [f"{self.n_frames:,} {'frame' if self.n_frames == 1 else 'frames'}: {self.data_from}"]
        lines += [f"  {letter}  {_title(facts)}" for letter, facts in zip("AB", self.models, strict=True)]
        lines += [f"  note: {shown(note)}" for note in self.notes]
        rows = [["output", "max |A - B|", "at frame", "RMS", "of RMS of A", "decisions", "agree"]]
        for o in self.outputs:
            at = "-" if o.frame is None else f"{o.frame:,}"
            n_apart = o.n_decisions - o.n_agree
            agree = (
                f"{o.agreement:.4%}, all but {n_apart:,} of {o.n_decisions:,}" if n_apart else f"all {o.n_decisions:,}"
            )
            rows.append([shown(o.name), f"{o.max:.3g}", at, f"{o.rms:.3g}", f"{o.relative:.3%}", o.decision, agree])
        lines += ["", table(rows), ""]
        s = self.speed
        rows = [["", "A", "B", "B by A"]]
        spread = f"{s.ratio:.2f} (half of the turns {s.low:.2f} to {s.high:.2f})"
        rows.append([f"median of a {s.what}", f"{s.a_us:.2f} us", f"{s.b_us:.2f} us", spread])
        if s.a_p99_us is not None and s.b_p99_us is not None:
            rows.append(["p99", f"{s.a_p99_us:.2f} us", f"{s.b_p99_us:.2f} us", f"{s.b_p99_us / s.a_p99_us:.2f}"])
        for key, (a, b) in self.sizes.items():
            rows.append([SIZES[key], human_bytes(a), human_bytes(b), f"{b / a:.2f}" if a else "-"])
        lines.append(table(rows))
        if self.tally is not None:
            judge = self.tally.judge
            measured = f"judge {judge}: {judge.said(self.tally.measured)}{judge.unit}"
        else:
            judge = Judge()
            measured = f"largest error {max((o.max for o in self.outputs), default=0.0):.3g}"
        if self.tolerance is not None:
            tolerance = judge.said_of_tolerance(self.tolerance)
            lines.append(f"{'ok' if self.ok else 'FAILED'}: {measured}, tolerance {tolerance}")
        elif self.tally is not None:
            lines.append(measured)
        return "\n".join(lines)


def compare(
    a: Any,
    b: Any,
    X: Arrays,
    *,
    data_from: str = "given",
    tolerance: float | None = None,
    threshold: float | None = None,
    seconds: float = 0.5,
    judge: Judge | None = None,
) -> Comparison:
    """Run the frames X through both models, from a fresh state, and time their steps in turns.

    Args:
        a, b: `Model`s whose inputs and outputs are alike: by name, or else one after the other.
        X: input name of a -> (T, *frame), T at least 1.
        data_from: what to call X.
        tolerance: with which `ok` is true: the largest |a - b|, in the units of the outputs, or in the judge's measure.
        threshold: of the decision that an output of one number makes; None: 0.5 where all of A's lie in 0 to 1, else 0.
        seconds: about, to spend on the steps of each.
        judge: what to say of B beside errors, by the names of A's outputs.

    Raises:
        ShapeError: they take or give other frames, or X has none, or none for which outputs of A are numbers.
        UnsupportedError, ShapeError: as `Judge.of` and `Judge.checked`.
    """
    judge = None if judge is None else judge.of(a.outputs)
    if tolerance is not None:
        (judge or Judge()).checked(tolerance)
    notes: list[str] = []
    inputs, outputs = (_paired(a, b, kind, notes) for kind in ("inputs", "outputs"))
    n_frames = len(next(iter(X.values())))
    if n_frames == 0:
        raise ShapeError("there are no frames to compare on; at least one is needed")
    of_b = {inputs[name]: x for name, x in X.items()}
    rows_a, rows_b = (by_name(m.run(one_or_all(dict(x))), m.outputs) for m, x in ((a, X), (b, of_b)))
    n_good = n_of_numbers(rows_a, a.outputs, n_frames)
    on = said_of_frames(n_good, n_frames)
    if n_good < n_frames:
        notes.append(f"errors and decisions are on {on}")
    errors = [
        output_errors(name, other, rows_a[name], rows_b[other], a.outputs[name].shape, threshold)
        for name, other in outputs.items()
    ]
    tally = None
    if judge is not None:
        tally = Tally(judge)
        tally.add({name: rows_b[other] for name, other in outputs.items()}, rows_a)
    if a.latency != b.latency:
        notes.append(f"as streams, outputs of A come {a.latency} frames late, those of B {b.latency}")
    return Comparison(
        n_frames,
        data_from,
        errors,
        _speed(a, b, X, of_b, seconds),
        {key: (getattr(a, key), getattr(b, key)) for key in SIZES},
        (_facts(a), _facts(b)),
        tolerance,
        notes,
        tally,
    )


def _paired(a: Any, b: Any, kind: str, notes: list[str]) -> dict[str, str]:
    """Name in a -> name in b."""
    ours, theirs = ({name: (v.shape, v.dtype) for name, v in getattr(m, kind).items()} for m in (a, b))
    if ours == theirs:
        return {name: name for name in ours}
    if list(ours.values()) != list(theirs.values()):
        raise ShapeError(
            f"the two do not take and give the same frames: A, {quoted(a.name)}, has {kind} {_listed(ours)}; "
            f"B, {quoted(b.name)}, has {_listed(theirs)}"
        )
    pairs = dict(zip(ours, theirs, strict=True))
    notes.append(f"{kind} were paired in order: " + ", ".join(f"{shown(x)} with {shown(y)}" for x, y in pairs.items()))
    return pairs


def _listed(frames: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{shown(name)} {shape} {dtype}" for name, (shape, dtype) in frames.items())


def output_errors(
    name: str, other: str, ya: np.ndarray, yb: np.ndarray, shape: tuple[int, ...], threshold: float | None = None
) -> OutputErrors:
    """How yb differs from ya, outputs (T, *shape) or, given once per sequence, of `shape`.

    Raises:
        ShapeError: their shapes differ.
    """
    if ya.shape != yb.shape:
        raise ShapeError(f"output {quoted(name)} of A is {ya.shape}, B gives {yb.shape}")
    distance = Distance(1, len(ya) if ya.ndim > len(shape) else 1)
    distance.add({name: yb}, {name: ya})
    frame = None
    if ya.ndim > len(shape) and ya.size:
        a, b = (np.asarray(y, np.float64).reshape(len(y), -1) for y in (ya, yb))
        with np.errstate(invalid="ignore"):
            error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        frame = int(np.where(np.isnan(error), np.inf, error).max(axis=1).argmax())
    decision, agree = _decisions(ya, yb, shape, threshold)
    return OutputErrors(
        name, other, distance.max, distance.rms, distance.relative, frame, decision, agree.size, int(agree.sum())
    )


def _decisions(
    ya: np.ndarray, yb: np.ndarray, shape: tuple[int, ...], threshold: float | None
) -> tuple[str, np.ndarray]:
    """What is decided by an output, and where both decide alike."""
    if shape and shape[-1] > 1 and threshold is None:
        return "argmax", agreement(yb, ya)
    if threshold is None:
        numbers = ya[np.isfinite(ya)]
        threshold = 0.5 if numbers.size and numbers.min() >= 0 and numbers.max() <= 1 else 0.0
    return f"above {threshold:g}", agreement(yb, ya, threshold)


def _speed(a: Any, b: Any, X: Arrays, of_b: Arrays, seconds: float) -> Speed:
    what = "step" if a.streamable and b.streamable else "run"
    if what == "step":
        calls = [
            partial(m.stream().step, one_or_all({name: np.array(x[0, ...]) for name, x in frames.items()}))
            for m, frames in ((a, X), (b, of_b))
        ]
    else:
        calls = [partial(m.run, one_or_all(dict(frames))) for m, frames in ((a, X), (b, of_b))]
    # Whole rounds, so that each is one turn of both.
    n = [max(timing.calls_in(call, seconds) // timing.ROUNDS, 1) * timing.ROUNDS for call in calls]
    times = timing.record(calls, n)
    series = [timing.Series(what, who, "warm", t) for who, t in zip("AB", times, strict=True)]
    turns = [np.median(t.reshape(timing.ROUNDS, -1), axis=1) for t in times]
    low, ratio, high = np.percentile(turns[1] / np.maximum(turns[0], 1), (25, 50, 75))
    (a_us, b_us), (a_p99, b_p99) = ([s.percentile(q) for s in series] for q in (50, 99))
    return Speed(what, a_us or 0.0, b_us or 0.0, a_p99, b_p99, float(ratio), float(low), float(high))


def _facts(model: Any) -> dict[str, Any]:
    precisions = dict.fromkeys(p for node in model.graph.nodes for p in node.precisions.values())
    return {
        "name": model.name,
        "hash": model.hash.hex(),
        "isa": model.isa,
        "parameters": model.n_parameters,
        "precisions": list(precisions) or ["float32"],
        "multiply_adds": model.multiply_adds,
        "streamable": model.streamable,
        "latency": model.latency,
    }


def _title(facts: Mapping[str, Any]) -> str:
    return (
        f"{shown(facts['name'])}: {facts['parameters']:,} parameters, {', '.join(facts['precisions'])}, "
        f"{facts['isa']}, hash {facts['hash'][:12]}"
    )


__all__ = ["SIZES", "Comparison", "OutputErrors", "Speed", "compare", "output_errors"]
