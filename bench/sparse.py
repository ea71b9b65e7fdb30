# SPDX-License-Identifier: MIT
"""Matrices pruned in blocks, stored without their zeros, against the same matrices stored whole."""

from __future__ import annotations

import numpy as np

from undertow.tow.sparse import densities

from .clock import Statement, measure
from .models import Weights
from .report import Goal, Table

SIZES = (256, 384)
#: Rows of the blocks that training pruned; they have 4 columns.
BLOCKS = (16, 8)
KEPT = 0.3
PRECISIONS = ("float32", "int8")
T = 100
#: dense / sparse: what is stored in blocks must be the faster for it.
TARGET = 1.0


def pruned(size: int, rows: int) -> Weights:
    """A GRU of which 30 % of the blocks are left, and the diagonals of R."""
    w = Weights.random("gru", size, size)
    rng = np.random.default_rng(1)
    for name in ("W", "R"):
        whole = getattr(w, name).reshape(3, size, size)
        keep = rng.random((3, size // rows, size // 4)) < KEPT
        left = np.where(keep.repeat(rows, axis=1).repeat(4, axis=2), whole, np.float32(0))
        if name == "R":
            left[:, range(size), range(size)] = whole[:, range(size), range(size)]
        setattr(w, name, left.reshape(3 * size, size))
    return w


def table(seconds: float) -> Table:
    """seconds: for each size, kind of block and precision."""
    columns = ["model", "stored", "dense KiB", "sparse KiB", "dense us", "sparse us", "dense / sparse"]
    result = Table(f"Pruned in blocks, {KEPT:.0%} left: a step from Python", [*columns, f"dense / sparse, run of {T}"])
    rng = np.random.default_rng(0)
    for size in SIZES:
        X = rng.normal(size=(T, size)).astype(np.float32)
        for rows in BLOCKS:
            source = pruned(size, rows).undertow()
            for precision in PRECISIONS:
                whole, blocks = (source.with_weights(precision, sparse=sparse) for sparse in (False, "auto"))
                if np.abs(whole.run(X) - blocks.run(X)).max() > 1e-6:
                    raise SystemExit(f"gru {size} {precision}: sparse and dense weights give other outputs")
                found = densities(blocks.graph.nodes[0])
                if set(found) != {"W", "R"}:
                    raise SystemExit(
                        f"gru {size} {precision}: stored in blocks is only {', '.join(found) or 'nothing'}"
                    )
                out, Y = np.empty(size, np.float32), np.empty_like(X)
                statements = []
                for model in (whole, blocks):
                    stream = model.stream()
                    names = {"step": stream.step, "run": stream.run, "x": X[0], "X": X, "out": out, "Y": Y}
                    statements += [Statement("step(x, out=out)", names), Statement("run(X, out=Y)", names)]
                dense, dense_run, sparse, sparse_run = measure(statements, seconds)
                row = f"gru-h{size} {rows}x4 {precision}"
                result.rows.append(
                    [
                        row,
                        f"{np.mean(list(found.values())):.0%}",
                        f"{whole.file_bytes / 1024:,.0f}",
                        f"{blocks.file_bytes / 1024:,.0f}",
                        dense.median,
                        sparse.median,
                        Goal(dense.times_slower_than(sparse), TARGET),
                        dense_run.times_slower_than(sparse_run),
                    ]
                )
                result.mark_noise(row, [t.spread for t in (dense, sparse)])
    return result
