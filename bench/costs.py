# SPDX-License-Identifier: MIT
"""Prices of what exported models do on small targets, fitted to models that QEMU has run, for `undertow info --target`.

    python bench/costs.py [TARGET ...] [--build FOLDER] [--every N] [--check MODEL ...]

Exports networks of all cells, sizes and precisions, and random graphs of every op; counts instructions (and cycles,
where they are known) as targets.py does, and finds prices that are no less than 0 and whose relative errors are least.
Prints how far off they are, of models that a fit has not seen too, and writes python/undertow/export/costs.json. With
--check nothing is written: MODELs are measured and held against the prices that are there.

The rows of cortex-m33, cortex-m7 and rv32imafc are of --every 2.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]
import random_models  # noqa: E402
import targets as bench  # noqa: E402
import undertow  # noqa: E402
import undertow.export  # noqa: E402
from undertow.export import costs  # noqa: E402
from undertow.ir.activations import KINDS  # noqa: E402
from undertow.layers import (  # noqa: E402
    GRU,
    LSTM,
    RNN,
    Activate,
    Average,
    Conv1D,
    Dense,
    Embedding,
    Flatten,
    FrameAveragePool,
    FrameConv2D,
    FrameMaxPool,
    LayerNorm,
    LogSoftmax,
    Permute,
    Sequential,
    Softmax,
)

#: of weighted least squares
ROUNDS = 5
#: models that must have a thing for it to be usual
OFTEN = 15
TABLE = ROOT / "python/undertow/export/costs.json"
TARGETS = ("cortex-m4f", "cortex-m55", "cortex-m0plus", "cortex-m33", "cortex-m7", "rv32imac", "rv32imafc")
PRECISIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int4", "fixed8")
#: those that small models come in
FEW = ("float32", "int16", "int8", "fixed8")
#: of random graphs; those with several rows and other rarities
SEEDS = range(100)


def remembered(function: Callable) -> Callable:
    """Of programs, which are looked at again in each fit."""
    known: dict = {}

    def of(program: object, *more: object, **named: object) -> object:
        key = (id(program), more, *named.items())
        if key not in known:
            known[key] = function(program, *more, **named), program  # which keeps its id
        return known[key][0]

    return of


for _name in ("counts", "functions", "places", "stack_counts"):
    setattr(costs, _name, remembered(getattr(costs, _name)))


def models() -> dict[str, undertow.Model]:
    """What prices are fitted to."""
    rng = np.random.default_rng(3)
    w = lambda *shape: rng.uniform(-0.4, 0.4, shape).astype(np.float32)  # noqa: E731
    lstm = lambda k, n: LSTM(w(4 * n, k), w(4 * n, n), w(4 * n))  # noqa: E731
    gru = lambda k, n, after: (  # noqa: E731
        GRU(w(3 * n, k), w(3 * n, n), w(3 * n), recurrent_bias=w(3 * n) if after else None, reset_after=after)
    )
    dense = lambda k, n, act=None: Dense(w(n, k), w(n), activation=act)  # noqa: E731
    stacks = {
        "lstm_8": [lstm(3, 8), dense(8, 1)],
        "lstm_20": [lstm(20, 20)],
        "lstm_64": [lstm(16, 64), dense(64, 8, "relu")],
        "gru_8": [gru(1, 8, True), dense(8, 1, "tanh")],
        "gru_24": [dense(42, 24, "tanh"), gru(24, 24, False), dense(24, 1, "sigmoid")],
        "gru_48": [gru(32, 48, True), gru(48, 16, True)],
        "rnn_16": [RNN(w(16, 4), w(16, 16), w(16)), dense(16, 3)],
        "rnn_50": [RNN(w(50, 10), w(50, 50), w(50), activation="relu"), dense(50, 50)],
        "mlp": [dense(30, 100, "relu"), dense(100, 33, "elu"), dense(33, 5, "sigmoid")],
        "conv": [Conv1D(w(5, 4, 12), w(12), activation="relu"), LayerNorm(w(12), w(12)), gru(12, 16, True)],
    }
    made = {
        f"{name}_{precision}": Sequential(layers).with_weights(precision)
        for name, layers in stacks.items()
        for precision in PRECISIONS
    }
    # of spectra, whose windows are copied
    for bins in (12, 40, 65):
        first = FrameConv2D(w(3, 3, 2, 8), w(8), padding="same", activation="relu")
        middle = FrameConv2D(w(3, 3, 1, 8), w(8), padding="same", groups=8, activation="leaky_relu")
        layers = [first, middle, FrameMaxPool((1, 2)), Permute((1, 2, 0))]
        made[f"spectrum_{bins}"] = Sequential(layers, input_shape=(5, bins, 2))
    for pool in (FrameMaxPool, FrameAveragePool):
        layers = [FrameConv2D(w(3, 3, 1, 4), w(4), padding="same", activation="relu"), pool((2, 2)), Flatten()]
        made[f"heard_{pool.__name__}"] = Sequential([*layers, gru(4 * 5 * 4, 12, True)], input_shape=(10, 8, 1))
    # of an op alone, for in a large model what a call costs is lost beside what its loop costs
    for n in (2, 4, 12, 50):
        made[f"softmax_{n}"] = Sequential([Softmax()], input_shape=n)
        made[f"log_softmax_{n}"] = Sequential([LogSoftmax()], input_shape=n)
    for n in (1, 8, 24, 64, 200):
        made[f"layer_norm_{n}"] = Sequential([LayerNorm(w(n), w(n))], input_shape=n)
        made[f"layer_norm_plain_{n}"] = Sequential([LayerNorm()], input_shape=n)
    for rows, n in ((9, 4), (30, 16)):
        made[f"embedding_{n}"] = Sequential([Embedding(w(rows, n))])
        made[f"embedding_average_{n}"] = Sequential([Embedding(w(rows, n)), Average(return_sequences=True)])
    for name in [*KINDS][1:]:
        made[f"{name}_16"] = Sequential([Activate(name)], input_shape=16)
    for precision in PRECISIONS:
        cells = {"lstm_32": [lstm(32, 32)], "gru_64": [gru(64, 64, True)]}
        if precision in FEW:
            cells |= {"small": [lstm(4, 8)], "least": [lstm(1, 1)]}
            cells |= {"gestures": [gru(3, 16, True), dense(16, 4), Softmax()]}
            cells |= {f"stack_{n}": [lstm(4, 4) for _ in range(n)] for n in (2, 4, 8)}
            if precision != "fixed8":
                cells |= {f"dense_{k}_{n}": [dense(k, n)] for k, n in ((1, 1), (8, 8), (100, 12))}
        made |= {f"{name}_{precision}": Sequential(layers).with_weights(precision) for name, layers in cells.items()}
    for seed in SEEDS:
        model = undertow.Model.from_graph(random_models.make(seed).graph)
        if model.streamable:
            made[f"random_{seed}"] = model
    return made


def fit(
    rows: list[dict[str, float]], measured: np.ndarray, besides: np.ndarray | float = 0.0, least: float = 0.02
) -> dict[str, float]:
    """Prices >= 0 of what `rows` count, for which the sum of relative errors is least, where something else takes
    `besides`: least squares in rounds in which a model weighs less the further off it is, beyond `least`. So rare
    things cost common ones nothing.
    """
    keys = sorted({key for row in rows for key in row})
    A = np.array([[row.get(key, 0.0) for key in keys] for row in rows]) / measured[:, None]
    wanted = 1 - besides / measured
    size = np.linalg.norm(A, axis=0)
    A /= size
    weight, prices = np.ones(len(rows)), np.zeros(len(keys))
    for _ in range(ROUNDS):
        weighted = A * weight[:, None]
        prices = not_negative(weighted.T @ A + 1e-6 * np.eye(len(keys)), weighted.T @ wanted)
        weight = 1 / np.maximum(np.abs(A @ prices - wanted), least)
    prices /= size
    return {key: float(f"{price:.4g}") for key, price in zip(keys, prices, strict=True)}


def not_negative(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """x >= 0 with the least x gram x / 2 - target x (Bro and de Jong, "A fast non-negativity-constrained least squares
    algorithm", 1997).
    """
    x, free = np.zeros(len(target)), np.zeros(len(target), bool)
    slope = target.copy()
    for _ in range(3 * len(target)):
        if free.all() or (best := slope[~free].max()) < 1e-9:
            break
        free |= ~free & (slope == best)
        while True:
            of_free = np.zeros(len(target))
            of_free[free] = np.linalg.solve(gram[np.ix_(free, free)], target[free])
            below = free & (of_free <= 0)
            if not below.any():
                break
            x += min(x[below] / (x[below] - of_free[below])) * (of_free - x)
            free &= x > 1e-12
            x[~free] = 0.0
        x = of_free
        slope = target - gram @ x
    return x


def sums(prices: dict[str, float], rows: list[dict[str, float]]) -> np.ndarray:
    return np.array([sum(prices.get(key, 0.0) * n for key, n in row.items()) for row in rows])


def said(errors: np.ndarray) -> str:
    return f"median {100 * np.median(errors):.1f} %, 9 of 10 within {100 * np.quantile(errors, 0.9):.1f} %"


def row_of(made: list[bench.Exported], target: str) -> dict:
    """The row of a target in the table, without errors."""
    programs, vectors = [m.source.program for m in made], target in costs.WITH_VECTORS
    rows = [costs.counts(program, vectors=vectors) for program in programs]
    instructions, cycles = (np.array([getattr(m, of) for m in made]) for of in ("instructions", "cycles"))
    price: dict = {"instructions": fit(rows, instructions), "cycles": {}}
    if cycles.all():  # no instruction takes less than one
        more = fit(rows, cycles, sums(price["instructions"], rows))
        price["cycles"] = {key: float(f"{n + price['instructions'][key]:.4g}") for key, n in more.items()}
    known, characters = functions_of(made, vectors)
    price["code"] = {"step": {}, "functions": known, "per character": characters}
    beside = np.array([costs.code_of_functions(program, price["code"], vectors) for program in programs], float)
    size = np.array([m.code_bytes for m in made], float)
    price["code"]["step"] = fit([costs.counts(program, True, vectors) for program in programs], size, beside)
    price["library"] = library_of(made)
    deep = np.array([costs.stack(program, known, vectors) for program in programs], float)
    stack = np.array([max(8, m.stack_bytes) for m in made], float)
    price["stack"] = fit([costs.stack_counts(program) for program in programs], stack, deep, 0.1)
    of_models = Counter(key for row in rows for key in row)
    price["usual"] = sorted(key for key, n in of_models.items() if n >= OFTEN)
    return price


def functions_of(made: list[bench.Exported], vectors: bool) -> tuple[dict[str, list[float]], float]:
    """Of each function, by whether it is called at several places: bytes of its code on average, and of its frame;
    bytes of code for each character of the text.
    """
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    texts: dict[str, int] = {}
    for m in made:
        at = costs.places(m.source.program, vectors)
        for name, text in costs.functions(m.source.program).items():
            row = costs.row_of(name, at[name])
            seen[row].append((m.functions.get(name, 0), m.frames.get(name, 0)))
            texts[row] = len(text)
    known = {
        row: [round(float(np.mean([n for n, _ in of])), 1), round(float(np.median([n for _, n in of])))]
        for row, of in sorted(seen.items())
    }
    emitted = [row for row, (n, _) in known.items() if n]
    return known, round(sum(known[row][0] for row in emitted) / sum(texts[row] for row in emitted), 3)


def library_of(made: list[bench.Exported]) -> dict[str, list]:
    """Of each file of the libraries its bytes, and because of what a model takes it: all models that have that do.
    The most common one first, then what says more.
    """
    has = [
        {*(key.split()[0] for key in costs.counts(m.source.program)), *costs.functions(m.source.program)} for m in made
    ]
    size = {file: n for m in made for file, n in m.library.items()}
    found: dict[str, list] = {}
    for file in sorted(size):
        without = set().union(*(names for names, m in zip(has, made, strict=True) if file not in m.library))
        left = [names - without for names, m in zip(has, made, strict=True) if file in m.library]
        because: list[str] = []
        while left := [names for names in left if names and names.isdisjoint(because)]:
            often = Counter(name for names in left for name in names)
            because.append(max(sorted(often), key=lambda name: often[name]))
        found[file] = [size[file], because]
    return found


def errors_of(made: list[bench.Exported], prices: dict, target: str) -> dict[str, np.ndarray]:
    """Of estimates, as shares of what was measured."""
    guessed = [costs.priced(m.source, target, prices | {"usual": [], "errors": {}}) for m in made]
    pairs = {
        "instructions": [(g.instructions, m.instructions) for g, m in zip(guessed, made, strict=True)],
        "cycles": [(g.cycles, m.cycles) for g, m in zip(guessed, made, strict=True) if g.cycles],
        "code": [
            (g.code_bytes + g.library_bytes, m.code_bytes + sum(m.library.values()))
            for g, m in zip(guessed, made, strict=True)
        ],
        "stack": [(g.stack_bytes, max(8, m.stack_bytes)) for g, m in zip(guessed, made, strict=True)],
    }
    return {of: np.array([abs(guess / true - 1) for guess, true in pair]) for of, pair in pairs.items() if pair}


def prices_of(made: dict[str, bench.Exported], target: str, parts: int = 3) -> dict:
    """The row of a target in the table; its errors are those of each model by prices that were fitted without it and
    others of its part.
    """
    all_made, names = [*made.values()], [*made]
    prices = row_of(all_made, target)
    for of, errors in errors_of(all_made, prices, target).items():
        print(f"  {of} of {len(made)} models: {said(errors)}")
    usual = np.array([{*costs.counts(m.source.program, vectors=target in costs.WITH_VECTORS)} <= {*prices["usual"]}
                      for m in all_made])  # fmt: skip
    part = np.random.default_rng(0).permutation(len(made)) % parts
    unseen: dict[str, np.ndarray] = {}
    for p in range(parts):
        of_others = row_of([m for m, of in zip(all_made, part, strict=True) if of != p], target)
        left = [m for m, n in zip(all_made, part, strict=True) if n == p]
        for of, errors in errors_of(left, of_others, target).items():
            unseen.setdefault(of, np.zeros(len(made)))[part == p] = errors
    for of, errors in unseen.items():
        far = ", ".join(f"{names[i]} {100 * errors[i]:.0f} %" for i in np.argsort(-errors)[:8])
        print(f"    unseen, {of}: {said(errors)}; {usual.sum()} usual ones: {said(errors[usual])}; furthest: {far}")
    prices["errors"] = {
        of: [[round(float(np.quantile(some, q)), 3) for q in (0.5, 0.9)] for some in (errors[usual], errors)]
        for of, errors in unseen.items()
    }
    return prices


def measured(target: bench.targets.Target, folder: Path, model: undertow.Model, counter: Path) -> bench.Exported:
    """As `bench.exported`; what a folder has seen before is not run again."""
    source = undertow.export.source(model, "m")
    objects = bench.exported_models.objects_of(target, folder, source, "-O2 -fstack-usage")
    seen = folder / f"{hashlib.sha256(objects[0].read_bytes()).hexdigest()[:32]}.json"
    if not seen.is_file():
        seen.write_text(json.dumps(bench.facts_of(target, folder, source, objects, counter)))
    return bench.Exported(source=source, **json.loads(seen.read_text()))


def check(made: dict[str, bench.Exported], target: str) -> None:
    print(
        "| target | model | instructions | estimated | cycles | estimated | code | estimated | library | estimated "
        "| stack | estimated |"
    )
    print(f"|{'---|' * 12}")  # fmt: skip
    for name, m in made.items():
        e = costs.estimate(m.source, target)
        print(
            f"| {target} | {name} | {m.instructions:,.0f} | {e.instructions:,} | {m.cycles:,.0f} | {e.cycles or 0:,} | "
            f"{m.code_bytes:,} | {e.code_bytes:,} | {sum(m.library.values()):,} | {e.library_bytes:,} | "
            f"{m.stack_bytes} | {e.stack_bytes} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=TARGETS)
    parser.add_argument("--build", type=Path, default=ROOT / "build/targets/costs")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth model, where time is short")
    parser.add_argument("--check", nargs="+", metavar="MODEL", help="files to measure instead")
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    counter, known = bench.plugin(options.build), {t.name: t for t in bench.targets.TARGETS}
    table = json.loads(TABLE.read_text()) if TABLE.is_file() else {"targets": {}}
    all_models = {Path(p).stem: undertow.load(p) for p in options.check} if options.check else models()
    all_models = dict([*all_models.items()][:: options.every])
    for name in options.targets:
        folder = options.build / name
        folder.mkdir(exist_ok=True)
        print(name, flush=True)
        made = {}
        for model_name, model in all_models.items():
            made[model_name] = measured(known[name], folder, model, counter)
        if options.check:
            check(made, name)
            continue
        table["targets"][name] = prices_of(made, name)
        TABLE.write_text(json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
