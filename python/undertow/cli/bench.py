# SPDX-License-Identifier: MIT
"""`undertow bench`: this model, on this machine, beside ONNX Runtime in one run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..describe import table
from ..peer import CannotFeed, OnnxRuntime, random_inputs
from ..verify import one_or_all
from ._common import add_command, add_model, load_model, positive_float, positive_int

#: Contenders take turns this often, so that a slow spell of the machine meets all of them.
_ROUNDS = 10


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "bench",
        bench,
        "time a model beside ONNX Runtime",
        "Time single steps and whole calls from Python, on one thread, beside ONNX Runtime where MODEL is an\n"
        ".onnx file. Prints median, 99th percentile and maximum of one call in microseconds, and the ratio of the\n"
        "medians.",
        "  undertow bench model.onnx\n  taskset -c 0 undertow bench model.onnx --seconds 5      one core, held\n",
    )
    add_model(parser)
    parser.add_argument(
        "--seconds", type=positive_float, default=1.0, help="to spend on each of the measurements (default: 1)"
    )
    parser.add_argument("--frames", type=positive_int, default=100, help="in a whole call (default: 100)")


def bench(args: argparse.Namespace) -> int:
    model = load_model(args)
    rng = np.random.default_rng(0)
    X = random_inputs(model, args.frames, rng)
    whole, one = one_or_all(X), one_or_all({name: x[0, ...] for name, x in X.items()})
    peer, note = None, ""
    if Path(args.model).suffix.lower() == ".onnx":
        try:
            peer = OnnxRuntime(args.model, model)
        except (CannotFeed, ImportError) as error:
            note = f"ONNX Runtime is not measured: {error}"
    theirs = f"onnxruntime {peer.version}" if peer else ""
    ours = f"undertow {model.isa}"

    rows = [["", "", "median", "p99", "max", "us per call"]]
    if model.streamable:
        stream = model.stream()
        step = stream.step
        calls: dict[str, Callable[[], Any]] = {ours: lambda: step(one)}
        note = _add_peer(calls, theirs, lambda: peer.stepper(X), note) if peer else note
        rows += _rows("one step", calls, args.seconds)
        stream = model.stream()
        calls = {ours: lambda: stream.run(whole)}
    else:
        calls = {ours: lambda: model.run(whole)}
    note = _add_peer(calls, theirs, lambda: peer.sequencer(X), note) if peer else note
    rows += _rows(f"{args.frames} frames", calls, args.seconds)
    if peer and peer.carries_state:
        note = f"ONNX Runtime takes one frame of this file a call: {args.frames} frames are {args.frames} calls"
    print(f"{args.model}: {model.n_parameters:,} parameters, one thread")
    print(table(rows))
    if note:
        print(f"  note: {note}")
    return 0


def _add_peer(calls: dict[str, Callable[[], Any]], name: str, make: Callable[[], Callable[[], Any]], note: str) -> str:
    try:
        calls[name] = make()
    except CannotFeed as error:
        return f"ONNX Runtime: {error}"
    return note


def _rows(what: str, calls: dict[str, Callable[[], Any]], seconds: float) -> list[list[str]]:
    times = measure(list(calls.values()), seconds)
    rows = []
    base = float(np.median(times[0]))
    for i, (name, t) in enumerate(zip(calls, times, strict=True)):
        median, p99, most = float(np.median(t)), float(np.quantile(t, 0.99)), float(t.max())
        ratio = "" if i == 0 else f"{median / base:.1f}x the time of undertow"
        rows.append([what if i == 0 else "", name, f"{median:.2f}", f"{p99:.2f}", f"{most:.2f}", ratio])
    return rows


def measure(calls: list[Callable[[], Any]], seconds: float) -> list[np.ndarray]:
    """Microseconds of every single call, contenders taking turns, `seconds` for each of them in all."""
    clock = time.perf_counter_ns
    found: list[list[int]] = [[] for _ in calls]
    for call in calls:  # caches, lazily made buffers, frequency
        end = clock() + int(5e7)
        call()
        while clock() < end:
            call()
    for _ in range(_ROUNDS):
        for call, times in zip(calls, found, strict=True):
            end = clock() + int(seconds * 1e9 / _ROUNDS)
            after = 0
            while after < end:
                before = clock()
                call()
                after = clock()
                times.append(after - before)
    return [np.array(times) / 1e3 for times in found]
