# SPDX-License-Identifier: MIT
"""Random models against the laws that ARCHITECTURE.md lists: whatever a model holds and however it is run.

    python tests/laws.py --seed 1234                     one model, law by law, with its graph
    python tests/laws.py --models 5000 --first 1000      many, and what they covered
    python tests/laws.py --models 100000 --seconds 1200  as many as there is time for

tests/test_laws_random.py runs 200 of them.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import laws_crowds
import laws_float64
import laws_models
import laws_streams
import random_models
from law_case import ISAS, Broken, Case


@dataclass(frozen=True)
class Rule:
    """A law and the models it is of: those that can be streamed, those that cannot, or (None) all."""

    check: Callable
    streamable: bool | None = True


LAWS: dict[str, Rule] = {
    "steps": Rule(laws_streams.steps),
    "chunks": Rule(laws_streams.chunks),
    "instruction sets": Rule(laws_streams.isas),
    "late": Rule(laws_streams.late),
    "undone": Rule(laws_streams.undone),
    "rewound": Rule(laws_streams.rewound),
    "carried": Rule(laws_streams.carried),
    "fresh": Rule(laws_streams.fresh),
    "started": Rule(laws_streams.started),
    "goes on": Rule(laws_streams.goes_on),
    "sequence": Rule(laws_streams.sequence),
    "in place": Rule(laws_streams.in_place),
    "traced": Rule(laws_streams.traced),
    "hard": Rule(laws_streams.hard, None),
    "pool": Rule(laws_crowds.pool),
    "rewound pool": Rule(laws_crowds.rewound),
    "sick pool": Rule(laws_crowds.sick_pool),
    "team": Rule(laws_crowds.team),
    "abreast": Rule(laws_crowds.abreast, False),
    "files": Rule(laws_models.files, None),
    "stable files": Rule(laws_models.tow_is_stable, None),
    "ids": Rule(laws_models.ids, None),
    "whole on every set": Rule(laws_models.sets, False),
    "numbers alone": Rule(laws_models.numbers_alone, None),
    "turned": Rule(laws_models.turned, False),
    "padded": Rule(laws_models.padded, None),
    "timesteps": Rule(laws_models.timesteps, None),
    "nodes": Rule(laws_float64.nodes, None),
    "whole": Rule(laws_float64.whole, None),
    "lowered": Rule(laws_float64.lowered, None),
}


def check(seed: int, laws=LAWS, said=lambda law, seconds: None) -> tuple[Case, list[str]]:
    """Hold a random model to the laws; gives what to say of each one that it breaks.

    Raises:
        undertow.Error: the model is refused, which none may be.
    """
    case, broken = Case(seed), []
    for name in laws:
        rule = LAWS[name]
        if rule.streamable is not None and rule.streamable != case.model.streamable:
            continue
        case.law, start = name, time.perf_counter()
        try:
            rule.check(case, case.rng(name))
        except Broken as found:
            broken.append(str(found))
        except Exception:
            broken.append(str(case.broken(traceback.format_exc())))
        case.notes[f"law {name}"] += 1
        said(name, time.perf_counter() - start)
    return case, broken


def one(seed: int, laws) -> int:
    case = Case(seed)
    print(case.made.graph)
    print(case.model)
    case, broken = check(seed, laws, lambda law, seconds: print(f"  {law:20} {1e3 * seconds:8.1f} ms"))
    print({name: n for name, n in case.notes.items() if not name.startswith("law ")})
    print("\n".join(broken) or "keeps all of them")
    return bool(broken)


def many(first: int, n: int, seconds: float, laws) -> int:
    notes, covered, spent = Counter(), Counter(), Counter()
    failed: list[int] = []
    refused: list[int] = []
    start, done = time.monotonic(), 0
    for seed in range(first, first + n):
        if time.monotonic() - start > seconds:
            break
        done += 1
        try:
            case, broken = check(seed, laws, lambda law, s: spent.update({law: s}))
        except Exception:
            refused.append(seed)
            print(f"seed {seed} is refused: {traceback.format_exc()}", flush=True)
            continue
        if broken:
            failed.append(seed)
            print("\n".join(broken), flush=True)
        for name, value in case.notes.items():
            notes[name] = max(notes[name], value) if name.startswith("worst") else notes[name] + value
        covered.update(random_models.features(case.made, case.lowered))
    print(table(covered, notes, spent))
    taken = time.monotonic() - start
    print(f"seeds {first} to {first + done - 1}: {done} models on {', '.join(ISAS)} in {taken:.0f} s")
    missing = sorted(random_models.expected_features() - set(covered))
    print(*textwrap.wrap(f"not covered: {', '.join(missing) or 'nothing'}", 116), sep="\n")
    print(f"refused: {', '.join(map(str, refused)) or 'none'}")
    print(f"failed: {', '.join(map(str, failed)) or 'none'}")
    return bool(failed or refused)


def table(covered: Counter, notes: Counter, spent: Counter) -> str:
    """How many models each law was put to, and how many had what."""
    lines = [f"{'law':22}{'models':>8}{'seconds':>10}"]
    lines += [f"{name:22}{notes[f'law {name}']:8}{spent[name]:10.1f}" for name in LAWS if notes[f"law {name}"]]
    lines += ["", f"{'models with':14}" + "".join(f"{p:>16}" for p in random_models.PRECISIONS[1:])]
    for op in (*random_models.CELLS, "dense", "embedding"):
        lines.append(f"{op:14}" + "".join(f"{covered[f'{op} in {p}']:16}" for p in random_models.PRECISIONS[1:]))
    groups: dict[str, list[str]] = {}
    for name, n in sorted(covered.items()):
        group, _, what = name.partition(" ")
        if group not in SHOWN:
            group, what = "others", name
        if not what.startswith("in "):
            groups.setdefault(group, []).append(f"{what} {n}")
    groups["numbers"] = [f"{n} {k:.4g}" for n, k in sorted(notes.items()) if not n.startswith("law ")]
    for group in (*SHOWN, "others", "numbers"):
        lines += ["", f"{group}:", *textwrap.wrap(", ".join(groups.get(group, ["none"])), 116)]
    return "\n".join(lines)


#: what the features of models are grouped by, in their order
SHOWN = ("theme", "precision", "op", "rnn", "gru", "lstm", "dense", "activation", "depthwise")


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="one model, law by law")
    parser.add_argument("--models", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--law", action="append", choices=sorted(LAWS), help="this one alone; may be given again")
    given = parser.parse_args(args)
    warnings.simplefilter("error")  # as pytest has it
    laws = given.law or list(LAWS)
    return one(given.seed, laws) if given.seed is not None else many(given.first, given.models, given.seconds, laws)


if __name__ == "__main__":
    sys.exit(main())
