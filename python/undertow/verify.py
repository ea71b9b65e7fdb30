# SPDX-License-Identifier: MIT
"""Does the engine compute what the model says? Whole, in random chunks and step by step, against a second opinion."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import reference
from .peer import CannotFeed, OnnxRuntime, distinct_length, random_inputs

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Worst:
    """The largest error of one comparison: |got - expected| / max(1, |expected|)."""

    error: float = 0.0
    output: str = ""
    frame: int | None = None  # None: the output is given once per sequence
    element: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0

    def __str__(self) -> str:
        if not self.output:
            return "every number is equal"
        frame = "" if self.frame is None else f", frame {self.frame}"
        element = f", element {self.element}" if self.element else ""
        return (
            f"largest error {self.error:.3g} at output {self.output!r}{frame}{element}: "
            f"expected {self.expected:.9g}, got {self.got:.9g}"
        )


@dataclass
class Check:
    """One way of running the sequence. `same_bits`: as the whole sequence (None: it is the whole sequence)."""

    name: str
    worst: Worst
    same_bits: bool | None = None


@dataclass
class Report:
    """What `verify` found. `str(report)` says it in lines."""

    against: str
    n_steps: int
    seed: int
    tolerance: float
    isa: str = ""
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Worst:
        return max((check.worst for check in self.checks), key=lambda worst: worst.error, default=Worst())

    @property
    def ok(self) -> bool:
        # Written so that a NaN does not pass.
        return all(c.worst.error <= self.tolerance and c.same_bits is not False for c in self.checks)

    def __str__(self) -> str:
        lines = [f"{self.n_steps} random frames (seed {self.seed}) on {self.isa} against {self.against}"]
        lines += [f"  note: {note}" for note in self.notes]
        for check in self.checks:
            good = check.worst.error <= self.tolerance and check.same_bits is not False
            bits = {None: "", True: "; same bits as whole", False: "; BITS DIFFER FROM WHOLE"}[check.same_bits]
            lines.append(f"  {check.name:15} {'ok  ' if good else 'FAIL'}  {check.worst}{bits}")
        sign, verdict = ("<=", "ok") if self.worst.error <= self.tolerance else (">", "FAILED")
        lines.append(
            f"{verdict if self.ok else 'FAILED'}: largest error {self.worst.error:.3g} {sign} {self.tolerance:g}"
        )
        return "\n".join(lines)


def verify(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    frames: int = 200,
    seed: int = 0,
    tolerance: float = 1e-5,
    against: str = "auto",
) -> Report:
    """Run random frames through `model` in three ways and compare them with another program.

    Args:
        model: a `Model`.
        path: the .onnx file it was loaded from, which ONNX Runtime reads too; None for the float64 reference.
        frames: length of the sequence; a model that fixes its length has its own.
        seed: of inputs (standard normal; valid ids) and of the chunks.
        tolerance: the largest |got - expected| / max(1, |expected|) that passes.
        against: "onnxruntime", "reference" (float64), or "auto": ONNX Runtime where it can be fed, else the reference.

    Raises:
        ImportError, CannotFeed: against="onnxruntime", and that is not possible.
    """
    notes: list[str] = []
    peer = None
    if against == "onnxruntime" and path is None:
        raise CannotFeed("only an .onnx file can be verified against ONNX Runtime")
    if against != "reference" and path is not None:
        try:
            peer = OnnxRuntime(path, model)
        except (CannotFeed, ImportError) as error:
            if against == "onnxruntime":
                raise
            notes.append(f"ONNX Runtime not used: {error}")
    if peer is not None and peer.n_steps is not None and peer.n_steps != frames:
        frames = peer.n_steps
        notes.append(f"the file fixes the length of a sequence to {frames}")
    elif peer is not None:
        frames = distinct_length(model, frames)

    rng = np.random.default_rng(seed)
    X = random_inputs(model, frames, rng)
    judge = f"ONNX Runtime {peer.version}" if peer else "the float64 reference"
    report = Report(judge, frames, seed, tolerance, model.isa, notes=notes)
    expected = peer.run(X) if peer else by_name(reference.run(model.graph, one_or_all(X)), model.outputs)
    whole = by_name(model.run(one_or_all(X)), model.outputs)
    report.checks.append(Check("whole sequence", worst_error(expected, whole, model)))
    if model.streamable:
        for name, run in (("random chunks", _in_chunks(rng)), ("step by step", _in_steps)):
            Y = run(model, X, frames)
            same = all(Y[o].tobytes() == np.ascontiguousarray(whole[o]).tobytes() for o in whole)
            report.checks.append(Check(name, worst_error(expected, Y, model), same))
    return report


def worst_error(expected: Arrays, got: Arrays, model: Any) -> Worst:
    """The largest error over all outputs. Where only the last frame is expected, the last frame is compared."""
    worst = Worst()
    for name, want in expected.items():
        y = np.asarray(got[name], np.float64)
        first = 0
        if y.ndim > want.ndim:
            first = len(y) - 1
            y = y[-1]
        want = np.asarray(want, np.float64)
        if y.shape != want.shape:
            return Worst(np.inf, name, None, y.shape, np.nan, np.nan)
        with np.errstate(all="ignore"):
            error = np.abs(y - want) / np.maximum(1.0, np.abs(want))
        error = np.where((y == want) | (np.isnan(y) & np.isnan(want)), 0.0, np.where(np.isnan(error), np.inf, error))
        if error.size and error.max() > worst.error:
            at = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
            in_time = np.ndim(got[name]) > len(model.outputs[name].shape)
            has_row = want.ndim > len(model.outputs[name].shape)
            frame = (at[0] if has_row else first) if in_time else None
            worst = Worst(float(error.max()), name, frame, at[1:] if has_row else at, float(want[at]), float(y[at]))
    return worst


def by_name(Y: Any, outputs: Any) -> Arrays:
    """Outputs as a dict, also where a model has only one."""
    return dict(Y) if isinstance(Y, dict) else {next(iter(outputs)): Y}


def one_or_all(X: Arrays) -> Any:
    """What a model takes: the array of its only input, or a dict of several."""
    return X if len(X) != 1 else next(iter(X.values()))


def _in_steps(model: Any, X: Arrays, n: int) -> Arrays:
    stream = model.stream()
    rows: list[Arrays] = []
    for t in range(n):
        y = by_name(stream.step(one_or_all({name: x[t, ...] for name, x in X.items()})), model.outputs)
        rows.append({name: np.array(row) for name, row in y.items()})
    return {name: np.stack([row[name] for row in rows]) for name in model.outputs}


def _in_chunks(rng: np.random.Generator) -> Callable[[Any, Arrays, int], Arrays]:
    def run(model: Any, X: Arrays, n: int) -> Arrays:
        cuts = np.unique(rng.integers(0, n + 1, max(2, n // 16)))
        stream = model.stream()
        parts = []
        for start, end in zip([0, *cuts], [*cuts, n], strict=True):
            Y = by_name(stream.run(one_or_all({name: x[start:end] for name, x in X.items()})), model.outputs)
            parts.append({name: np.array(y) for name, y in Y.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in model.outputs}

    return run
