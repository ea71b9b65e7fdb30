# SPDX-License-Identifier: MIT
"""python -m bench [NAME ...] [--quick] [--isa ISA] [--json FILE] [--core N]: how fast undertow is, and beside whom"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import undertow

from . import models

models.single_thread()

from . import (  # noqa: E402
    accuracy,
    batches,
    choices,
    clock,
    core,
    cores,
    decoding,
    latency,
    load,
    load_cost,
    memory,
    nam,
    overhead,
    pool,
    recurrences,
    rtneural,
    sequence,
    sessions,
    sparse,
    stacked,
    step,
    undo,
    weights,
    whole,
)
from .report import Table, summary, tables_alone  # noqa: E402

#: name -> tables, given the seconds to spend on each cell and size
BENCHMARKS: dict[str, Callable[[float], Iterable[Table]]] = {
    "step": lambda seconds: [step.table(seconds)],
    "sequence": lambda seconds: sequence.tables(seconds),
    "batches": lambda seconds: [batches.table(seconds)],
    "sessions": lambda seconds: sessions.tables(seconds),
    "core": lambda seconds: [core.table(seconds / 2)],
    "sparse": lambda seconds: [sparse.table(seconds)],
    "weights": lambda seconds: weights.tables(seconds),
    "choices": lambda seconds: choices.tables(seconds / 2),
    "recurrences": lambda seconds: [recurrences.table(seconds)],
    "decode": lambda seconds: [decoding.table(seconds)],
    "stacked": lambda seconds: [stacked.table(seconds)],
    "pool": lambda seconds: pool.tables(seconds),
    "models": lambda seconds: whole.tables(seconds),
    "cores": lambda seconds: [cores.table(seconds)],
    "rtneural": rtneural.tables,
    "nam": lambda seconds: [nam.table(seconds)],
    "overhead": lambda seconds: [overhead.table(seconds)],
    "undo": lambda seconds: [undo.table(seconds)],
    "latency": lambda seconds: latency.tables(1_000_000 if seconds >= 1 else 100_000),
    "load": lambda seconds: [load.table(seconds), load_cost.table()],
    "accuracy": lambda seconds: accuracy.tables(100_000 if seconds >= 1 else 10_000),
    "memory": lambda seconds: memory.tables(10_000_000 if seconds >= 1 else 1_000_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="NAME", help=f"some of: {' '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each cell and size (default: 2)")
    parser.add_argument(
        "--quick", action="store_true", help="0.2 seconds, and a tenth of the timesteps for memory and latency"
    )
    parser.add_argument("--core", type=int, help="CPU to run on (default: the last one this process may use)")
    runnable = [isa for isa, runs in undertow.isas().items() if runs]
    parser.add_argument("--isa", choices=runnable, help="undertow's instruction set (default: the best one here)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    args = parser.parse_args()
    unknown = set(args.what) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {' '.join(BENCHMARKS)}")
    if args.isa:
        os.environ["UT_ISA"] = args.isa
    tables_alone()
    about = clock.machine(clock.pin(args.core)) | {"isa": models.isa()}
    print("\n".join(f"- {key}: {value}" for key, value in about.items()), end="\n\n")
    tables: list[Table] = []
    for name in args.what or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr)
        for table in BENCHMARKS[name](0.2 if args.quick else args.seconds):
            print(table.markdown(), flush=True)
            tables.append(table)
    print(summary(tables))
    if args.json:
        args.json.write_text(json.dumps({"machine": about, "tables": [t.data() for t in tables]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
