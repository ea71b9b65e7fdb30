# SPDX-License-Identifier: MIT
"""Does the engine compute what the model says? Whole, in random chunks and step by step, against a second opinion.

A model with weights in less than float32 is asked two things apart: whether the engine computes what its file says
(node by node, see `undertow.accuracy.layerwise`), and how far that is from float32, as streams get longer
(`undertow.accuracy.drift`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .. import reference
from .._text import MAX_LINE, quoted, shown
from ..errors import Error
from ..inspect.describe import table
from ..ir.precision import numbers
from .condition import MOST, OFF, measured, room
from .drift import Distance, check_same_frames, distances
from .judge import Judge
from .layerwise import node_errors
from .peer import CannotFeed, NoItems, OnnxRuntime, distinct_length, first_line, random_inputs

Arrays = dict[str, np.ndarray]

#: Largest error that passes where the caller says none.
TOLERANCE = 1e-5
#: Lengths of a stream up to which errors of reduced weights are shown.
MARKS = (10, 100, 1_000, 10_000)
#: frames of each sequence of a batch; lengths of sequences beside the one that was asked for
_BATCH_FRAMES, _LENGTHS = 20, (1, 2, 5, 13, 34)


@dataclass(frozen=True)
class Worst:
    """The largest error of one comparison, `condition.measured`: |got - expected| / max(s, |expected|)."""

    error: float = 0.0
    output: str = ""
    frame: int | None = None  # None: the output is given once per sequence
    element: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0
    where: str = "output"

    @property
    def plain(self) -> float:
        """The error where small outputs count like those of 1."""
        return float(abs(self.got - self.expected) / max(1.0, abs(self.expected)))

    def __str__(self) -> str:
        if not self.output:
            return "every number is equal"
        if np.isinf(self.error) and self.frame is None and not self.element:
            return f"{self.where} {quoted(self.output)} is something else than the model gives: see the notes"
        frame = "" if self.frame is None else f", frame {self.frame}"
        element = f", element {self.element}" if self.element else ""
        return (
            f"largest error {self.error:.3g} at {self.where} {quoted(self.output)}{frame}{element}: "
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
    """What `verify` found. `str(report)` says it in lines.

    `growth`: where weights are reduced, the distance from `exact` in each stretch of a stream. `explained`: the largest
    error of each comparison that is above the tolerance and no larger than float32 may make it of this model.
    """

    against: str
    n_steps: int
    seed: int
    tolerance: float
    isa: str = ""
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    growth: list[Distance] = field(default_factory=list)
    exact: str = ""
    explained: list[Worst] = field(default_factory=list)

    @property
    def worst(self) -> Worst:
        return max((check.worst for check in self.checks), key=lambda worst: worst.error, default=Worst())

    @property
    def ok(self) -> bool:
        # Written so that a NaN does not pass.
        return all(c.worst.error <= self.tolerance and c.same_bits is not False for c in self.checks)

    def data(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "ok": self.ok,
            "against": self.against,
            "isa": self.isa,
            "frames": self.n_steps,
            "seed": self.seed,
            "tolerance": self.tolerance,
            "largest_error": self.worst.error,
            "checks": [
                {
                    "name": check.name,
                    "ok": check.worst.error <= self.tolerance and check.same_bits is not False,
                    "same_bits": check.same_bits,
                    **asdict(check.worst),
                }
                for check in self.checks
            ],
            "notes": self.notes,
            "explained": [asdict(worst) for worst in self.explained],
            "exact": self.exact,
            "growth": [
                {
                    "first": d.first,
                    "last": d.last,
                    "max": d.max,
                    "rms": d.rms,
                    "relative": d.relative,
                    "judged": None if d.tally is None else d.tally.measured,
                }
                for d in self.growth
            ],
        }

    def __str__(self) -> str:
        lines = [f"{self.n_steps} random frames (seed {self.seed}) on {self.isa} against {self.against}"]
        lines += [f"  note: {shown(note, MAX_LINE)}" for note in [*self.notes, *self._explanation()]]
        for check in self.checks:
            good = check.worst.error <= self.tolerance and check.same_bits is not False
            bits = {None: "", True: "; same bits as whole", False: "; BITS DIFFER FROM WHOLE"}[check.same_bits]
            lines.append(f"  {check.name:15} {'ok  ' if good else 'FAIL'}  {check.worst}{bits}")
        sign, verdict = ("<=", "ok") if self.worst.error <= self.tolerance else (">", "FAILED")
        largest = f"largest error {self.worst.error:.3g} {sign} {self.tolerance:g}"
        if self.explained:
            largest += f", and up to {max(worst.error for worst in self.explained):.3g} where float32 can do no better"
        lines.append(f"{verdict if self.ok else 'FAILED'}: {largest}")
        return "\n".join([*lines, *self._growth_lines()])

    def _explanation(self) -> list[str]:
        if not self.explained:
            return []
        largest = max(self.explained, key=lambda worst: worst.error)
        by = f"2^{int(np.log2(OFF))}"
        return [f"{largest}: that far do outputs of this model move where its numbers are off by {by} of themselves"]

    def _growth_lines(self) -> list[str]:
        if not self.growth:
            return []
        tally = self.growth[0].tally
        rows = [["frames", "max error", "RMS error", "of output RMS", *([tally.judge.heading] if tally else [])]]
        for d in self.growth:
            said = [d.tally.judge.said(d.tally.measured)] if d.tally else []
            rows.append([f"{d.first:,} to {d.last:,}", f"{d.max:.3g}", f"{d.rms:.3g}", f"{d.relative:.2%}", *said])
        lines = [f"what the reduced weights change, against {self.exact}:", table(rows)]
        if len(self.growth) > 2:
            before, last = self.growth[-2:]
            grows = last.rms > 1.25 * before.rms
            ratio = f" ({last.rms / before.rms:.2f} times the RMS of the stretch before)" if before.rms else ""
            lines.append(f"  the error {'grows' if grows else 'does not grow'} with the length of the stream{ratio}")
        return lines


def verify(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    frames: int = 200,
    seed: int = 0,
    tolerance: float | None = None,
    against: str = "auto",
    exact: Any = None,
    options: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
) -> Report:
    """Run random frames through `model` in three ways and compare them with another program.

    With ONNX Runtime also what one sequence of one length cannot show, so that a file whose axes or states were taken
    for others fails: different sequences side by side in one call, where the file takes a batch, other lengths, more
    rows along every axis that it leaves open, and states fed back as the file's own names say. `Report.notes` tells by
    what each state was paired.

    Args:
        model: a `Model`.
        path: the .onnx file it was loaded from, which ONNX Runtime reads too; None for the float64 reference.
        frames: length of the sequence; a model that fixes its length has its own, and one with a bound at most that.
        seed: of inputs (standard normal; valid ids) and of the chunks.
        tolerance: the largest |got - expected| / max(s, |expected|) that passes, s being the largest |expected| of the
            output, and 1 at most. None for `TOLERANCE`, and for more where the model multiplies roundings by so much
            that no float32 is nearer: `undertow.accuracy.condition` computes how far its outputs move where its numbers
            are off by a little, and `Report.explained` tells.
        against: "onnxruntime", "reference" (float64), or "auto": ONNX Runtime where it can be fed, else the reference.
            Reduced weights are always compared with the reference, which knows them.
        exact: the `Model` from which errors of reduced weights are measured over a long stream; None for the model
            itself with the numbers that it stores in float32, so that only the rounding of frames is left.
        options: of `undertow.load` that the model was imported with (`fixed`, `shapes`, `states`, `starts`), for ONNX
            Runtime.
        judge: what to say of reduced weights, or against `exact`, beside errors.

    Raises:
        ImportError, CannotFeed: against="onnxruntime", and that is not possible.
        UnsupportedError, ShapeError: as `Judge.of`.
        ShapeError: `exact` has other inputs or outputs.
    """
    reduced = any(numbers(p) != "float32" for node in model.graph.nodes for p in node.precisions.values())
    judge = None if judge is None else judge.of(model.outputs)
    if exact is not None:
        check_same_frames(model, exact, "the model to compare with")
    frames = _within(model, frames)
    if reduced:
        if against == "onnxruntime":
            raise CannotFeed("ONNX Runtime does not know these weights; compare with the reference")
        return _verify_reduced(model, exact, frames, seed, TOLERANCE if tolerance is None else tolerance, judge)
    notes = [note.removeprefix("warning: ") for note in model.graph.notes if note.startswith("warning: ")]
    peer = None
    if against == "onnxruntime" and path is None:
        raise CannotFeed("only an .onnx file can be verified against ONNX Runtime")
    if against != "reference" and path is not None:
        try:
            peer = OnnxRuntime(path, model, options)
            notes += peer.notes
        except (CannotFeed, ImportError) as error:
            if against == "onnxruntime":
                raise
            notes.append(f"ONNX Runtime not used: {error}")
    if peer is not None and peer.n_steps is not None and peer.n_steps != frames:
        frames = peer.n_steps
        notes.append(f"the file fixes the length of a sequence to {frames}")
    elif peer is not None:
        frames = _within(model, distinct_length(model, frames))

    rng = np.random.default_rng(seed)
    X = peer.inputs(frames, rng) if peer else random_inputs(model, frames, rng)
    expected = None
    if peer is not None:
        try:
            expected = peer.run(X)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            if against == "onnxruntime":
                raise CannotFeed(f"it does not run {frames} frames: {first_line(error)}") from None
            notes.append(f"ONNX Runtime not used: it does not run {frames} frames: {first_line(error)}")
            peer = None
    against = f"ONNX Runtime {peer.version}" if peer else "the float64 reference"
    report = Report(against, frames, seed, TOLERANCE if tolerance is None else tolerance, model.isa, notes=notes)
    if expected is None:
        expected = by_name(reference.run(model.graph, one_or_all(X)), model.outputs)
    whole = by_name(model.run(one_or_all(X)), model.outputs)
    errors = _Errors(model, report, 0 if tolerance is not None else 1 if peer is None else 2)
    report.checks.append(Check("whole sequence", errors.worst([(X, expected, whole)])))
    for name, want in expected.items():
        if np.ndim(want) == np.ndim(whole[name]) and len(want) < len(whole[name]):
            notes.append(f"the file has no row of output {name!r} for the first {frames - len(want)} frames")
    report.checks += _streamed(errors, X, frames, whole, expected, rng)
    if peer is not None:
        _check_reading(errors, peer, rng)
    if exact is not None:
        if model.streamable:
            report.growth, report.exact = _growth(model, exact, seed, judge), quoted(exact.name)
        else:
            notes.append(_not_a_stream(exact))
    return report


def _within(model: Any, frames: int) -> int:
    """So many frames, or as many as a sequence of the model has at most."""
    return min(frames, model.max_frames or frames)


class _Errors:
    """Errors of a model, without those that float32 may make of it.

    n_float32: how many of the two that are compared compute in float32; 0 where the tolerance alone decides.
    """

    def __init__(self, model: Any, report: Report, n_float32: int) -> None:
        self.model, self.report, self._n_float32 = model, report, n_float32

    def worst(self, triples: Iterable[tuple[Arrays, Arrays, Arrays]]) -> Worst:
        """The largest error of several (inputs, expected, got)."""
        return max((self._worst(*triple) for triple in triples), key=lambda worst: worst.error)

    def _worst(self, X: Arrays, expected: Arrays, got: Arrays) -> Worst:
        worst, tolerance = worst_error(expected, got, self.model), self.report.tolerance
        if self._n_float32 == 0 or worst.error <= tolerance:
            return worst
        most = self._n_float32 * MOST
        if worst.error > most and worst.plain > tolerance:
            return worst
        with suppress(Error):  # what the reference does not compute explains nothing
            known = {name: self._n_float32 * error for name, error in room(self.model.graph, X).items()}
            left = worst_error(expected, got, self.model, known, tolerance, most)
            if left.error <= tolerance:
                self.report.explained.append(worst)
            return left
        return worst


def _streamed(
    errors: _Errors, X: Arrays, frames: int, whole: Arrays, expected: Arrays, rng: np.random.Generator
) -> list[Check]:
    checks, model = [], errors.model
    if model.streamable:
        for name, run in (("random chunks", _in_chunks(rng)), ("step by step", _in_steps)):
            Y = run(model, X, frames)
            same = all(Y[o].tobytes() == np.ascontiguousarray(whole[o]).tobytes() for o in whole)
            checks.append(Check(name, errors.worst([(X, expected, Y)]), same))
    return checks


def _check_reading(errors: _Errors, peer: OnnxRuntime, rng: np.random.Generator) -> None:
    """What one sequence of one length cannot show: whether the file's axes and states are what the model took them for.

    Different sequences side by side, other lengths, and the states that the file's own names tell.
    """
    model, report = errors.model, errors.report
    for name, output in peer.told.items():
        if name in model.inputs and not peer.passes_on(name, output):
            report.notes.append(f"the names say that output {output!r} returns state {name!r}, which is an input here")
            report.checks.append(Check("states", Worst(np.inf, output)))
    for name, output in peer.states.items():
        how = "by their names" if name in peer.told else "by shapes alone, so nothing proves it"
        how = "as was said" if name in peer.said else how
        report.notes.append(f"state {name!r} was fed with output {output!r}, {how}")
    for name, axis in peer.unvaried():
        with suppress(Exception):  # the file may have fixed inside what it calls open
            X = peer.inputs(peer.n_steps or 1, rng)
            if output := peer.depends_on_size(name, axis, X):
                report.notes.append(
                    f"axis {axis} of input {name!r} is open, and output {output!r} depends on all of it, but the model "
                    "has it in one size"
                )
                report.checks.append(Check("open axes", Worst(np.inf, output)))
    if peer.open_batch or peer.n_items > 1:
        _check_batch(errors, peer, rng)
    if peer.n_steps is None and not peer.carries_state:
        _check_lengths(errors, peer, rng)


def _check_batch(errors: _Errors, peer: OnnxRuntime, rng: np.random.Generator) -> None:
    """Different sequences in one call, each as the model gives it alone."""
    model, report = errors.model, errors.report
    sizes = {n for value in (*model.inputs.values(), *model.outputs.values()) for n in value.shape}
    n_items = peer.n_items if peer.n_items > 1 else next(n for n in range(2, 99) if n not in sizes)
    n = peer.n_steps or _within(model, distinct_length(model, _BATCH_FRAMES))
    items = peer.batch(n_items, _within(model, n + (n == n_items)), rng)
    name = f"batch of {n_items}"
    try:
        expected = peer.run_batch(items)
    except NoItems as error:
        report.notes.append(f"what was taken for the batch is none: {error}")
        report.checks.append(Check(name, Worst(np.inf, next(iter(model.outputs)))))
        return
    except Exception as error:  # the file may have fixed inside what it calls open
        report.notes.append(f"ONNX Runtime runs no batch of {n_items}: {first_line(error)}")
        return
    report.checks.append(Check(name, _worst_of(errors, zip(items, expected, strict=True))))


def _check_lengths(errors: _Errors, peer: OnnxRuntime, rng: np.random.Generator) -> None:
    """Sequences of other lengths, where the file takes them."""
    pairs = []
    for n in sorted({_within(errors.model, n) for n in _LENGTHS}):
        X = peer.inputs(n, rng)
        with suppress(Exception):  # shorter than a window
            pairs.append((X, peer.run(X)))
    if pairs:
        lengths = ", ".join(str(len(next(iter(X.values())))) for X, _ in pairs)
        errors.report.checks.append(Check(f"lengths {lengths}", _worst_of(errors, pairs)))


def _worst_of(errors: _Errors, pairs: Iterable[tuple[Arrays, Arrays]]) -> Worst:
    model = errors.model
    return errors.worst((X, want, by_name(model.run(one_or_all(X)), model.outputs)) for X, want in pairs)


def _verify_reduced(model: Any, exact: Any, frames: int, seed: int, tolerance: float, judge: Judge | None) -> Report:
    """Node by node against the reference, which rounds frames as the engine does; then how far that is from float32."""
    rng = np.random.default_rng(seed)
    X = random_inputs(model, frames, rng)
    report = Report("the reference, node by node", frames, seed, tolerance, model.isa)
    errors, same = node_errors(model, X, tolerance)
    largest = max(errors, key=lambda e: e.error, default=None)
    worst = Worst()
    if largest is not None and largest.error:
        worst = Worst(
            largest.error, largest.node, largest.frame, largest.element, largest.expected, largest.got, "layer"
        )
    report.checks.append(Check("every node", worst, same))
    explained = sum(e.explained for e in errors)
    if explained:
        report.notes.append(f"in {explained} frames float32 decides to which integer a number inside a cell is rounded")
    whole = by_name(model.run(one_or_all(X)), model.outputs)
    report.checks += _streamed(_Errors(model, report, 0), X, frames, whole, whole, rng)
    if model.streamable:
        report.exact = "the same weights in float32 (rounding of frames alone)"
        if exact is not None:
            report.exact = quoted(exact.name)
        report.growth = _growth(model, exact or model.with_weights("float32"), seed, judge)
    elif exact is not None:
        report.notes.append(_not_a_stream(exact))
    return report


def _not_a_stream(exact: Any) -> str:
    return (
        f"not held against {quoted(exact.name)}: that is done over a long stream, and this model needs whole "
        "sequences; undertow compare does it"
    )


def _growth(model: Any, exact: Any, seed: int, judge: Judge | None) -> list[Distance]:
    rng = np.random.default_rng([seed, 1])
    marks = tuple(sorted({_within(model, n) for n in MARKS}))
    return distances(model, exact, lambda start, stop: random_inputs(model, stop - start, rng), marks, judge)


def worst_error(
    expected: Arrays,
    got: Arrays,
    model: Any,
    known: Arrays | None = None,
    tolerance: float = 0.0,
    most: float = MOST,
) -> Worst:
    """The largest error over all outputs. Where only the last frame, or all but the first, are expected, these are
    compared.

    known: output name -> up to where errors of each frame (or of all) above the tolerance are none, see `room`. Where
        that is more than `most`, float32 knows too little of an output, and errors count like those of outputs of 1.
    """
    worst = Worst()
    for name, want in expected.items():
        y = np.asarray(got[name], np.float64)
        first = 0
        if y.ndim > want.ndim:
            first = len(y) - 1
            y = y[-1]
        elif y.ndim == want.ndim and y.ndim > len(model.outputs[name].shape) and len(want) < len(y):
            first = len(y) - len(want)
            y = y[first:]
        want = np.asarray(want, np.float64)
        if want.shape == (1, *y.shape):  # of one timestep, what is given once cannot be told from what is given of each
            want = want[0]
        if y.shape != want.shape:
            return Worst(np.inf, name, None, y.shape, np.nan, np.nan)
        with np.errstate(all="ignore"):
            error, plain = measured(y - want, want), np.abs(y - want) / np.maximum(1.0, np.abs(want))
        error = np.where((y == want) | (np.isnan(y) & np.isnan(want)), 0.0, np.where(np.isnan(error), np.inf, error))
        if known is not None and error.size:
            limits = known[name][-len(error) :] if want.ndim > len(model.outputs[name].shape) else known[name][-1:]
            limits = limits.reshape(-1, *[1] * (error.ndim - 1))
            fine = np.where(limits <= most, error <= limits, plain <= tolerance)
            error = np.where((error > tolerance) & fine, 0.0, error)
        if error.size and error.max() > worst.error:
            at = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
            in_time = np.ndim(got[name]) > len(model.outputs[name].shape)
            has_row = want.ndim > len(model.outputs[name].shape)
            frame = (at[0] + first if has_row else first) if in_time else None
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
    rows: list[Arrays] = []  # and a flush, which gives several
    for t in range(n):
        y = by_name(stream.step(one_or_all({name: x[t, ...] for name, x in X.items()})), model.outputs)
        rows.append({name: np.array(row)[None] for name, row in y.items()})
    return _as_whole(model, [*rows, by_name(stream.flush(), model.outputs)])


def _in_chunks(rng: np.random.Generator) -> Callable[[Any, Arrays, int], Arrays]:
    def run(model: Any, X: Arrays, n: int) -> Arrays:
        cuts = np.unique(rng.integers(0, n + 1, max(2, n // 16)))
        stream = model.stream()
        parts = []
        for start, end in zip([0, *cuts], [*cuts, n], strict=True):
            Y = by_name(stream.run(one_or_all({name: x[start:end] for name, x in X.items()})), model.outputs)
            parts.append({name: np.array(y) for name, y in Y.items()})
        return _as_whole(model, [*parts, by_name(stream.flush(), model.outputs)])

    return run


def _as_whole(model: Any, parts: list[Arrays]) -> Arrays:
    """The outputs of a stream, flush included, as those of the whole sequence."""
    return {name: np.concatenate([part[name] for part in parts])[model.latency :] for name in model.outputs}
