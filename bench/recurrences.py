# SPDX-License-Identifier: MIT
"""Recurrences without a layer of their own, of 64 channels: a step as the loader makes it, beside the same graph op by
op and beside one dense layer of as many weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import undertow
from undertow import passes
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph

from .clock import Statement, measure
from .report import Table

D, N, K, HEADS = 64, 16, 4, 4
AGREE = 1e-4


class _Maker:
    """A graph in the making, of random weights."""

    def __init__(self, name: str) -> None:
        self.g, self.rng = Graph(name), np.random.default_rng(7)
        self.x = self.g.input("x", D)

    def dense(self, x: str, rows: int) -> str:
        columns = self.g.shape(x)[-1]
        W = self.rng.normal(size=(rows, columns)) / np.sqrt(columns)
        return str(self.g.add("dense", [x], weights={"W": W, "b": np.zeros(rows)}))

    def act(self, kind: str, x: str) -> str:
        return str(self.g.add("activation", [x], attrs={"activation": Activation(kind)}))

    def op(self, name: str, *values: str) -> str:
        return str(self.g.add(name, values))

    def taken(self, indices: np.ndarray, *values: str) -> str:
        return str(self.g.add("select", values, weights={"indices": indices}))

    def shaped(self, x: str, *shape: int) -> str:
        return str(self.g.add("reshape", [x], attrs={"shape": shape}))

    def scaled(self, x: str, scale: np.ndarray) -> str:
        return str(self.g.add("affine", [x], weights={"scale": scale, "shift": np.zeros(scale.shape)}))

    def state(self, name: str, *shape: int) -> str:
        return str(self.g.add("state_read", states=[self.g.state(name, shape)]))

    def write(self, value: str, name: str) -> None:
        self.g.add("state_write", [value], states=[name])


def _min_gru(m: _Maker) -> str:
    """h = (1 - z) h + z W x"""
    z, h = m.act("sigmoid", m.dense(m.x, D)), m.state("h", D)
    kept = m.g.add("affine", [z], weights={"scale": -np.ones(D), "shift": np.ones(D)})
    new = m.op("add", m.op("mul", kept, h), m.op("mul", z, m.dense(m.x, D)))
    m.write(new, "h")
    return new


def _selective_scan(m: _Maker) -> str:
    """A convolution of 4 frames, then s = exp(dt A) s + dt u B, y = s C: a layer of Mamba."""
    E = 2 * D
    wide = m.dense(m.x, 2 * E)
    u, gate = (m.taken(np.arange(E) + i * E, wide) for i in (0, 1))
    held, grid = m.state("conv", E, K), np.arange(E * K).reshape(E, K)
    shifted = m.taken(np.concatenate([grid[:, 1:], E * K + np.arange(E)[:, None]], axis=1), held, u)
    m.write(shifted, "conv")
    weighted = m.shaped(m.scaled(shifted, m.rng.normal(size=(E, K))), E, K, 1)
    u = m.act("silu", m.shaped(str(m.g.add("reduce", [weighted], attrs={"kind": "sum"})), E))
    mixed = m.dense(u, 4 + 2 * N)
    dt = m.act("softplus", m.dense(m.taken(np.arange(4), mixed), E))
    rows, columns = np.repeat(np.arange(E), N), np.tile(np.arange(N), E)
    decay = m.act("exp", m.scaled(m.taken(rows, dt), -np.tile(np.arange(1.0, N + 1), E)))
    fed = m.op("mul", m.taken(rows, m.op("mul", dt, u)), m.taken(4 + columns, mixed))
    s = m.op("add", m.op("mul", m.state("s", E * N), decay), fed)
    m.write(s, "s")
    y = m.shaped(m.op("mul", s, m.taken(4 + N + columns, mixed)), E, N, 1)
    y = m.shaped(str(m.g.add("reduce", [y], attrs={"kind": "sum"})), E)
    return m.dense(m.op("mul", y, m.act("silu", gate)), D)


def _retention(m: _Maker) -> str:
    """S = d S + k v of 4 heads, y = q S"""
    W = D // HEADS
    q, k, v = (m.dense(m.x, D) for _ in range(3))
    fed = m.op("matmul", m.shaped(k, HEADS, W, 1), m.shaped(v, HEADS, 1, W))
    decay = np.repeat(1 - 2.0 ** (-5.0 - np.arange(HEADS)), W * W).reshape(HEADS, W, W)
    S = m.op("add", m.scaled(m.state("S", HEADS, W, W), decay), fed)
    m.write(S, "S")
    return m.dense(m.shaped(m.op("matmul", m.shaped(q, HEADS, 1, W), S), D), D)


def _window_attention(n: int) -> Callable[[_Maker], str]:
    def make(m: _Maker) -> str:
        """softmax(q K) K over the last n frames of a layer"""
        h, held = m.act("tanh", m.dense(m.x, D)), m.state("cache", n * D)
        cache = m.taken(np.concatenate([np.arange(D, n * D), n * D + np.arange(D)]), held, h)
        m.write(cache, "cache")
        keys = m.taken(np.arange(n * D).reshape(n, D).T, cache)
        score = m.scaled(m.op("matmul", m.shaped(m.dense(h, D), 1, D), keys), np.full((1, n), 1 / 8))
        shares = str(m.g.add("softmax", [score]))
        return m.shaped(m.op("matmul", shares, m.shaped(cache, n, D)), D)

    return make


CELLS: dict[str, Callable[[_Maker], str]] = {
    "minGRU": _min_gru,
    "selective scan": _selective_scan,
    "retention": _retention,
    **{f"attention over {n} frames": _window_attention(n) for n in (32, 128, 1024)},
}


def table(seconds: float) -> Table:
    columns = ["cell", "us a step", "op by op, times as long", "dense of as many weights, us", "step / dense"]
    result = Table(f"Recurrences of {D} channels, one step from Python (medians)", columns)
    for name, make in CELLS.items():
        m = _Maker(name)
        m.g.output("y", make(m))
        joined = m.g.copy()
        passes.run(joined)
        models = [undertow.Model.from_graph(g) for g in (joined, m.g)]
        X = m.rng.normal(size=(100, D)).astype(np.float32)
        a, b = (model.stream().run(X) for model in models)
        np.testing.assert_allclose(a, b, rtol=AGREE, atol=AGREE * np.abs(b).max(), err_msg=name)
        rows = max(1, sum(n.weights["W"].size for n in m.g.nodes if n.op == "dense") // D)
        layer = undertow.Sequential([undertow.Dense(m.rng.normal(size=(rows, D)).astype(np.float32))])
        streams = [model.stream() for model in (*models, layer)]
        steps = [Statement("s.step(x, y)", {"s": s, "x": X[0], "y": s.step(X[0])}) for s in streams]
        step, apart, floor = measure(steps, seconds)
        result.rows.append(
            [name, step.median, apart.times_slower_than(step), floor.median, step.times_slower_than(floor)]
        )
    return result
