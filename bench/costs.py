# SPDX-License-Identifier: MIT
"""Prices of what exported models do on small targets, fitted to models that QEMU has run, for `undertow info --target`.

    python bench/costs.py [TARGET ...] [--build FOLDER] [--check MODEL ...]

Exports networks of all cells, sizes and precisions, and random graphs of every op; counts instructions (and cycles,
where they are known) as targets.py does, and finds prices that are no less than 0 and whose relative errors are least.
Prints how far off they are, of models that a fit has not seen too, and writes python/undertow/export/costs.json. With
--check nothing is written: MODELs are measured and held against the prices that are there.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]
import random_models  # noqa: E402
import targets as bench  # noqa: E402
import undertow  # noqa: E402
import undertow.export  # noqa: E402
from undertow.export import costs  # noqa: E402
from undertow.layers import GRU, LSTM, RNN, Conv1D, Dense, FrameConv2D, FrameMaxPool, LayerNorm, Permute, Sequential  # noqa: E402

#: of weighted least squares
ROUNDS = 8
#: models that must have a thing for it to be usual
OFTEN = 15
TABLE = ROOT / "python/undertow/export/costs.json"
TARGETS = ("cortex-m4f", "cortex-m55", "cortex-m0plus", "cortex-m33", "cortex-m7", "rv32imac", "rv32imafc")
PRECISIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int4", "fixed8")
#: of random graphs; those with several rows and other rarities
SEEDS = range(100)


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
    for seed in SEEDS:
        model = undertow.Model.from_graph(random_models.make(seed).graph)
        if model.streamable:
            made[f"random_{seed}"] = model
    return made


def fit(rows: list[dict[str, float]], measured: np.ndarray) -> dict[str, float]:
    """Prices >= 0 of what `rows` count, for which the sum of relative errors is least: least squares, coordinate by
    coordinate, in rounds in which a model weighs less the further off it is. So rare things cost common ones nothing.
    """
    keys = sorted({key for row in rows for key in row})
    A = np.array([[row.get(key, 0.0) for key in keys] for row in rows]) / measured[:, None]
    size = np.linalg.norm(A, axis=0)
    A /= size
    weight, prices = np.ones(len(rows)), np.zeros(len(keys))
    for _ in range(ROUNDS):
        weighted = A * weight[:, None]
        gram, target = weighted.T @ A + 1e-7 * np.eye(len(keys)), weighted.sum(axis=0)
        for _ in range(2000):
            before = prices.copy()
            for i in range(len(keys)):
                prices[i] = max(0.0, prices[i] + (target[i] - gram[i] @ prices) / gram[i, i])
            if np.abs(prices - before).max() < 1e-7:
                break
        weight = 1 / np.maximum(np.abs(A @ prices - 1), 0.02)
    prices /= size
    return {key: float(f"{price:.4g}") for key, price in zip(keys, prices, strict=True)}


def off(prices: dict[str, float], rows: list[dict[str, float]], measured: np.ndarray) -> np.ndarray:
    """Errors of estimates as shares of what was measured."""
    guessed = np.array([sum(prices.get(key, 0.0) * n for key, n in row.items()) for row in rows])
    return np.abs(guessed / measured - 1)


def unseen(rows: list[dict[str, float]], measured: np.ndarray, parts: int = 6) -> np.ndarray:
    """Errors of each model by prices that are fitted without it and others of its part."""
    errors = np.zeros(len(rows))
    part = np.random.default_rng(0).permutation(len(rows)) % parts
    for p in range(parts):
        prices = fit([row for row, of in zip(rows, part, strict=True) if of != p], measured[part != p])
        errors[part == p] = off(
            prices, [row for row, of in zip(rows, part, strict=True) if of == p], measured[part == p]
        )
    return errors


def said(errors: np.ndarray) -> str:
    return f"median {100 * np.median(errors):.1f} %, 9 of 10 within {100 * np.quantile(errors, 0.9):.1f} %"


def prices_of(made: dict[str, bench.Exported], target: str) -> dict:
    """The row of a target in the table."""
    programs = [m.source.program for m in made.values()]
    vectors = target in costs.WITH_VECTORS
    rows = [costs.counts(program, vectors=vectors) for program in programs]
    instructions, cycles = (np.array([getattr(m, of) for m in made.values()]) for of in ("instructions", "cycles"))
    errors = unseen(rows, instructions)
    of_models = Counter(key for row in rows for key in row)
    common = sorted(key for key, n in of_models.items() if n >= OFTEN)
    usual = np.array([set(row) <= {*common} for row in rows])
    print(f"  instructions of {len(made)} models: {said(off(fit(rows, instructions), rows, instructions))};", end=" ")
    print(f"unseen: {said(errors)}; {usual.sum()} usual ones, unseen: {said(errors[usual])}")
    sizes: dict[str, list[int]] = defaultdict(list)
    texts: dict[str, int] = {}
    for m in made.values():
        for name, text in costs.functions(m.source.program).items():
            sizes[name].append(m.functions.get(name, 0))
            texts[name] = len(text)
    functions = {name: round(float(np.mean(of))) for name, of in sorted(sizes.items())}
    rest = [costs.counts(program, True, vectors) for program in programs]
    alone = np.array(
        [m.code_bytes - sum(functions[n] for n in costs.functions(m.source.program)) for m in made.values()]
    )
    step = fit(rest, np.maximum(alone, 60).astype(float))
    emitted = [name for name, n in functions.items() if n]
    price = {
        "instructions": fit(rows, instructions),
        "cycles": fit(rows, cycles) if cycles.all() else {},
        "code": {
            "step": step,
            "functions": functions,
            "per character": round(sum(functions[n] for n in emitted) / sum(texts[n] for n in emitted), 3),
        },
        "stack": int(max(m.stack_bytes - costs.stack(m.source.program) for m in made.values())),
        "usual": common,
        "error": [[round(float(np.quantile(of, q)), 3) for q in (0.5, 0.9)] for of in (errors[usual], errors)],
    }
    if cycles.all():
        print(f"  cycles: {said(off(price['cycles'], rows, cycles))}; unseen: {said(unseen(rows, cycles))}")
    guessed = off(step, rest, np.maximum(alone, 60)) * np.abs(alone) / np.array([m.code_bytes for m in made.values()])
    print(f"  code: {said(guessed)}")
    return price


def measured(target: bench.targets.Target, folder: Path, model: undertow.Model, counter: Path) -> bench.Exported:
    """As `bench.exported`; what a folder has seen before is not run again."""
    source = undertow.export.source(model, "m")
    compiled, _ = bench.exported_models.objects_of(target, folder, source, "-O2")
    seen = folder / f"{hashlib.sha256(compiled.read_bytes()).hexdigest()[:32]}.json"
    if seen.is_file():
        return bench.Exported(source=source, **json.loads(seen.read_text()))
    made = bench.exported(target, folder, model, counter, "-O2")
    facts = {field.name: getattr(made, field.name) for field in dataclasses.fields(made) if field.name != "source"}
    seen.write_text(json.dumps(facts))
    return made


def check(made: dict[str, bench.Exported], target: str) -> None:
    print("| target | model | instructions | estimated | cycles | estimated | code | estimated | stack | estimated |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, m in made.items():
        e = costs.estimate(m.source, target)
        print(
            f"| {target} | {name} | {m.instructions:,.0f} | {e.instructions:,} | {m.cycles:,.0f} | {e.cycles or 0:,} | "
            f"{m.code_bytes:,} | {e.code_bytes:,} | {m.stack_bytes} | {e.stack_bytes} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=TARGETS)
    parser.add_argument("--build", type=Path, default=ROOT / "build/targets/costs")
    parser.add_argument("--check", nargs="+", metavar="MODEL", help="files to measure instead")
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    counter, known = bench.plugin(options.build), {t.name: t for t in bench.targets.TARGETS}
    table = json.loads(TABLE.read_text()) if TABLE.is_file() else {"targets": {}}
    all_models = {Path(p).stem: undertow.load(p) for p in options.check} if options.check else models()
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
