# SPDX-License-Identifier: MIT
"""`undertow bench`: what single calls of this model take, on this machine, beside ONNX Runtime in one run."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import _files
from .._text import escaped
from ..accuracy import timing
from ..accuracy.peer import CannotFeed, OnnxRuntime, random_inputs
from ..accuracy.timing import Call, Cold, Series
from ..accuracy.verify import one_or_all
from ..inspect import machine
from ..inspect.describe import table
from ..inspect.picture import figure_class
from ._common import (
    UsageError,
    add_command,
    add_model,
    as_json,
    importer_options,
    load_model,
    positive_float,
    positive_int,
    tell,
)

_DESCRIPTION = """\
Time single calls from Python, on one thread, beside ONNX Runtime where MODEL is an .onnx file:
  step    one timestep of one stream
  chunk   --frames timesteps of one stream in one call
  pool    one timestep of each of --streams streams in one call
Every call is timed by itself. Prints percentiles in microseconds, and the ratio of the medians.
warm: calls follow each other. cold: before each call a pause, and a walk through memory that empties the caches
of this core. A percentile that too few calls were made for is left out."""

_EXAMPLES = """\
  undertow bench model.onnx
  taskset -c 0 undertow bench model.onnx --steps 1000000     one core, held; p99.9 of a step from 10^6 calls
  undertow bench model.tow --pause 10 --sweep 64             as between two blocks of sound on a busy machine
  undertow bench model.onnx --json numbers.json --plot histogram.png
"""


_KEYS = """\
  model, n_parameters, machine (cpu, system), python, timer_ns, cold (pause_ms, sweep_bytes), notes
  series         what, who, cache, n_frames, n_streams, n_calls, us (min, p50, p90, p99, p99.9, max), histogram
                 (edges_us, n_calls); a percentile that too few calls were made for is null
"""
#: Most cold calls that a time asks for: enough for p99.9.
_COLD = 1000


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "bench", bench, "time single calls of a model beside ONNX Runtime", _DESCRIPTION, _EXAMPLES
    )
    parser.epilog = f"{parser.epilog}\nkeys of --json:\n{_KEYS}"
    parser.set_defaults(has_json=True)
    add_model(parser, nargs="?")
    add = parser.add_argument
    add(
        "--seconds",
        type=positive_float,
        default=1.0,
        help="to spend on each library in each measurement, warm and cold (default: 1)",
    )
    add("--steps", type=positive_int, metavar="N", help="warm single steps to time, however long it takes")
    add("--frames", type=positive_int, default=100, metavar="N", help="timesteps of a chunk (default: 100)")
    add("--streams", type=positive_int, default=64, metavar="N", help="streams of the pool (default: 64)")
    add(
        "--cold-calls",
        type=not_negative_int,
        metavar="N",
        help="cold calls to time, however long it takes; 0: warm only (default: those of --seconds, 1000 at the most)",
    )
    add("--pause", type=not_negative_float, default=1.0, metavar="MS", help="before a cold call (default: 1)")
    add(
        "--sweep",
        type=not_negative_float,
        metavar="MIB",
        help="memory to read before a cold call (default: four times the second-level cache)",
    )
    add(
        "--json", nargs="?", const=True, default=argparse.SUPPRESS, metavar="OUT",
        help="write percentiles, histograms and the machine there; without OUT print them, and nothing else",
    )  # fmt: skip
    add(
        "--plot",
        type=Path,
        metavar="OUT",
        help="draw how many calls take longer than so many us, needs matplotlib: .png, .svg, .pdf",
    )


def not_negative_float(text: str) -> float:
    """argparse type: a finite number, 0 or more."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 upwards")
    return number


def not_negative_int(text: str) -> int:
    """argparse type: a whole number, 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def bench(args: argparse.Namespace) -> int:
    if args.model is None and isinstance(args.json, str):
        args.model, args.json = args.json, True  # `bench --json MODEL`
    if args.model is None:
        raise UsageError("MODEL is missing")
    if isinstance(args.json, str):
        args.json = Path(args.json)
    _check_outputs(args)
    model = load_model(args)
    cold = None
    if args.cold_calls != 0:
        cold = Cold(args.pause, None if args.sweep is None else int(args.sweep * 2**20))
        if not cold.pause_ms and not cold.sweep_bytes:
            raise UsageError("--pause 0 --sweep 0 leaves caches as they are; leave cold calls out with --cold-calls 0")
    notes: list[str] = []
    peer = _peer(args, model, notes)
    timer = timing.timer_cost()
    series: list[Series] = []
    for what, calls in _contenders(args, model, peer, notes).items():
        n = [timing.calls_in(call, args.seconds) for call in calls.values()]
        if what == "step" and args.steps:
            n = [args.steps] * len(calls)
        shape = {"n_frames": args.frames if what == "chunk" else 1, "n_streams": args.streams if what == "pool" else 1}
        measured = [("warm", timing.record(list(calls.values()), n, what=f"{what}, warm"))]
        if cold:
            n = [args.cold_calls or min(timing.calls_in(call, args.seconds, cold), _COLD) for call in calls.values()]
            measured.append(("cold", timing.record(list(calls.values()), n, cold, f"{what}, cold")))
        for cache, times in measured:
            series += [Series(what, who, cache, t, **shape) for who, t in zip(calls, times, strict=True)]

    lines = [
        f"{escaped(args.model)}: {model.n_parameters:,} parameters, one thread",
        table(_rows(series)),
        f"  timer: {timer:.0f} ns of every number are the clock's own",
        *([f"  cold: {cold}"] if cold else []),
        *(f"  note: {escaped(note)}" for note in notes),
    ]
    report = {
        "model": str(args.model),
        "n_parameters": model.n_parameters,
        "machine": {"cpu": machine.cpu_name(), "system": f"{platform.system()} {platform.release()}"},
        "python": platform.python_version(),
        "timer_ns": timer,
        "cold": {"pause_ms": cold.pause_ms, "sweep_bytes": cold.sweep_bytes} if cold else None,
        "notes": notes,
        "series": [s.data() for s in series],
    }
    tell(args, report, "\n".join(lines))
    if isinstance(args.json, Path):
        _files.write(args.json, as_json(report) + "\n")
    if args.plot:
        timing.plot(series, args.plot, str(args.model))
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse what cannot be written before the minutes are spent."""
    if args.plot:
        if args.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise UsageError(f"--plot {args.plot}: expected a name that ends in .png, .svg or .pdf")
        figure_class()
    for option, path in (("--json", args.json if isinstance(args.json, Path) else None), ("--plot", args.plot)):
        if path and path.is_dir():
            raise UsageError(f"{option} {path}: is a folder, expected the name of a file")
        if path and not path.parent.is_dir():
            raise UsageError(f"{option} {path}: there is no folder {path.parent}")


def _peer(args: argparse.Namespace, model: Any, notes: list[str]) -> OnnxRuntime | None:
    if Path(args.model).suffix.lower() != ".onnx":
        return None
    try:
        peer = OnnxRuntime(args.model, model, importer_options(args))
    except (CannotFeed, ImportError) as error:
        notes.append(f"ONNX Runtime is not measured: {error}")
        return None
    if peer.carries_state:
        notes.append(f"ONNX Runtime takes one frame of this file a call: {args.frames} frames are {args.frames} calls")
    return peer


def _contenders(
    args: argparse.Namespace, model: Any, peer: OnnxRuntime | None, notes: list[str]
) -> dict[str, dict[str, Call]]:
    """What is measured -> library -> call. undertow comes first."""
    rng = np.random.default_rng(0)
    X = random_inputs(model, args.frames, rng)
    ours, theirs = f"undertow {model.isa}", f"onnxruntime {peer.version}" if peer else ""
    whole = one_or_all(X)
    contenders: dict[str, dict[str, Call]] = {}
    makers: dict[str, Callable[[OnnxRuntime], Call]] = {}
    if model.streamable:
        contenders["step"] = {
            ours: partial(model.stream().step, one_or_all({name: x[0, ...] for name, x in X.items()}))
        }
        makers["step"] = lambda peer: peer.stepper(X)
        contenders["chunk"] = {ours: partial(model.stream().run, whole)}
    else:
        contenders["chunk"] = {ours: partial(model.run, whole)}
    makers["chunk"] = lambda peer: peer.sequencer(X)
    if model.streamable and hasattr(model, "pool"):
        pool = model.pool(args.streams, threads=1)
        ids = pool.open(args.streams)
        frames = one_or_all(random_inputs(model, args.streams, rng))
        contenders["pool"] = {ours: partial(pool.step, ids, frames, out=pool.step(ids, frames))}
        makers["pool"] = lambda peer: peer.batch_stepper(X, args.streams)
    for what, calls in contenders.items():
        if peer:
            try:
                calls[theirs] = makers[what](peer)
            except CannotFeed as error:
                notes.append(f"ONNX Runtime, {what}: {error}")
    return contenders


def _rows(series: list[Series]) -> list[list[str]]:
    names = [f"p{q:g}" for q in timing.PERCENTILES]
    rows = [["", "", "caches", "calls", *names, "max", "us per call"]]
    base: dict[tuple[str, str], float] = {}
    for s in series:
        median = s.percentile(50)
        key, ratio = (s.what, s.cache), ""
        if median and key in base:
            ratio = f"{median / base[key]:.1f}x the time of undertow"
        elif median:
            base[key] = median
        numbers = [_us(s.percentile(q)) for q in timing.PERCENTILES] + [_us(s.max)]
        rows.append(
            [s.label if s.cache == "warm" and not ratio else "", s.who, s.cache, f"{len(s.times):,}", *numbers, ratio]
        )
    return rows


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
