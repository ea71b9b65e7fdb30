# SPDX-License-Identifier: MIT
"""docs/recurrences.md, made from what the classes of recurrences say of themselves and from what they are compiled to.

Write it with `python docs/_ext/recurrence_table.py > docs/recurrences.md`; tests/test_recurrences.py holds the page to
it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import undertow  # noqa: E402
from recurrence_cases import LAYERS, golden  # noqa: E402
from undertow.layers.recurrence import Recurrence  # noqa: E402

_HEAD = """<!-- Made by docs/_ext/recurrence_table.py; tests/test_recurrences.py holds it to the layers. -->
# Every recurrence

Beside {py:obj}`undertow.RNN`, {py:obj}`undertow.GRU` and {py:obj}`undertow.LSTM`, which are ops of the engine, these
recurrences are layers. Each is made of small ops, of which the compiler makes its dense layers and a few expressions
with states of their own; graphs of small ops from files go through the same passes. All of them run in streams, pools,
snapshots and exported C, and take weights in 16 and 8 bits.

`from_torch` takes the names of a recurrence's reference package, where its source says so. Each layer is tested against
its equation in NumPy float64, and against outputs of PyTorch in float64. `python -m bench recurrences` measures some of
them beside the same graph op by op and beside one dense layer of as many weights.
"""


def _part(words: str, name: str) -> str:
    """The paragraph of a docstring that begins with `name`, without it, on one line."""
    match = re.search(rf"^{name}: ((?:.+\n?)+?)(?=^[A-Z][a-z]+:|\n|\Z)", words, re.M)
    assert match, f"no {name} in {words[:60]!r}"
    return " ".join(match[1].split()).rstrip(".")


def _equation(words: str) -> list[str]:
    block = re.search(r"^Equation::\n\n((?:    .*\n|\n)+)", words, re.M)
    assert block, f"no Equation in {words[:60]!r}"
    return [line[4:].rstrip() for line in block[1].strip("\n").split("\n")]


def _compiled(layer: undertow.Layer, frame: tuple[int, ...]) -> str:
    model = undertow.Sequential([layer], input_shape=frame)
    ops = Counter(node.op for node in model.graph.nodes)
    main = ("dense", "expression", "rnn", "attend", "depthwise", "window", "layer_norm")
    named = [f"{ops[op]} {op}{'s' * (op == 'expression' and ops[op] > 1)}" for op in main if ops[op]]
    others = sum(n for op, n in ops.items() if op not in (*main, "constant", "reshape"))
    return ", ".join(named) + (f", {others} more" if others else "")


def page() -> str:
    """The text of docs/recurrences.md."""
    rows, sections, seen = [], [], set()
    for case, (weights, x, _) in golden().items():
        layer = LAYERS[case](weights)
        cls = type(layer)
        if not issubclass(cls, Recurrence) or cls in seen:
            continue
        seen.add(cls)
        words, name = inspect.getdoc(cls) or "", cls.__name__
        link = f"{{py:obj}}`undertow.{name}`"
        rows.append(f"| {link} | {_part(words, 'State')} | {_compiled(layer, x.shape[1:])} |")
        source = fill(f"Source: {_part(words, 'Source')}.", 116, break_long_words=False, break_on_hyphens=False)
        equation = ["```text", *_equation(words), "```"]
        sections.append("\n".join([f"## {name}", "", words.split("\n", 1)[0], "", *equation, "", source, ""]))
    head = "| layer | state | compiled to |\n|---|---|---|"
    return "\n".join([_HEAD, head, *rows, "", *sections])


if __name__ == "__main__":
    sys.stdout.write(page())
