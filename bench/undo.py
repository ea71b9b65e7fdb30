# SPDX-License-Identifier: MIT
"""What decoders do with states: going back, and forks, of 16 KB of state, beside one copy of as many bytes."""

from __future__ import annotations

import numpy as np

from undertow.ir.graph import Graph
from undertow.model import Model

from .clock import Statement, measure
from .report import Goal, Table

FLOATS = 4096
LIMIT_US = 1.0


def model() -> Model:
    """A running sum of as many elements, of which a step costs little more than its state."""
    graph = Graph("sum")
    x = graph.input("x", FLOATS)
    state = graph.state("sum.value", (FLOATS,), np.zeros(FLOATS))
    y = graph.add("add", [graph.add("state_read", states=[state]), x])
    graph.add("state_write", [y], states=[state])
    graph.output("y", y)
    return Model.from_graph(graph)


def table(seconds: float) -> Table:
    """seconds: for the whole table."""
    made = model()
    stream, kept, pool = made.stream(), made.stream(rewind=8), made.pool(4, rewind=8)
    ids = pool.open(1)
    x, out = np.ones(FLOATS, np.float32), np.empty(FLOATS, np.float32)
    X, rows = x[None], out[None].copy()
    names = {"step": stream.step, "fork": stream.fork, "kept": kept, "pool": pool, "ids": ids, "x": x, "out": out}
    names |= {"X": X, "rows": rows, "copy": np.copyto, "a": x.copy(), "b": x.copy()}
    texts = {
        "copy": "copy(a, b)",
        "step": "step(x, out=out)",
        "step, kept": "kept.step(x, out=out)",
        "step, rewind": "kept.step(x, out=out); kept.rewind(1)",
        "pool step": "pool.step(ids, X, out=rows)",
        "pool step, rewind": "pool.step(ids, X, out=rows); pool.rewind(ids, 1)",
        "fork": "fork()",
        "pool fork": "pool.close(pool.fork(ids))",
    }
    times = dict(zip(texts, measure([Statement(text, names) for text in texts.values()], seconds), strict=True))

    def more(than: str, one: str) -> float:
        return float(np.median(times[than].rounds - times[one].rounds))

    result = Table(f"Going back, and forks: {made.state_bytes:,} bytes of state", ["call", "us", "x a copy"])
    for call, us, limit in (
        ("stream.rewind(1)", more("step, rewind", "step, kept"), LIMIT_US),
        ("pool.rewind(id, 1)", more("pool step, rewind", "pool step"), LIMIT_US),
        ("stream.fork()", times["fork"].median, LIMIT_US),
        ("pool.fork(id), and close", times["pool fork"].median, None),
        ("what rewind=8 adds to a step", more("step, kept", "step"), None),
    ):
        result.rows.append([call, us if limit is None else Goal(us, limit, at_most=True), us / times["copy"].median])
    result.notes.append(
        "a copy is np.copyto of as many bytes; a fork is made and dropped; forks of the pool's stream keep 8 states"
    )
    return result
