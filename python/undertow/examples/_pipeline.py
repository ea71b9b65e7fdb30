# SPDX-License-Identifier: MIT
"""A made CI pipeline: builds as they come, for the example "ci" and for training its model.

People push by day, so builds wait and slow each other down. The cache goes cold where nobody builds for hours. Some
tests are flaky, for days on end and then no longer. The test suite grows in steps. All of that is normal. Trouble is a
leak in a service that all builds share: over days the memory fills, requests slow down, more tests need a second try,
until the service falls over. For most of that time a metric moves by less than between a night and a Monday noon.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

METRICS = ("seconds waited", "seconds built", "GB in use", "ms a request", "tests retried")
CONTEXT = 7


class Builds(NamedTuple):
    """Builds of `n` runs of the pipeline, T in each.

    Attributes:
        hours: since a Monday, 0:00, at which each began (n, T).
        context: what is known as each begins (n, T, CONTEXT): time of day as sine and cosine, weekend, logarithm of the
            hours since the last one, how busy the last half hour was, logarithm of the lines changed, a deploy.
        metrics: what is known at its end (n, T, 5), as METRICS, on a scale on which one is about a day's spread:
            logarithms of the times, gigabytes, square roots of counts.
        drift: start of the leak, hours (n,); infinity where there is none.
        outage: when the service falls over, hours (n,); infinity where it does not.
    """

    hours: np.ndarray
    context: np.ndarray
    metrics: np.ndarray
    drift: np.ndarray
    outage: np.ndarray


def builds(n: int, T: int, seed: int, healthy: bool = True) -> Builds:
    """n runs of T builds (about 370 a week); the ill ones begin to leak in their third week."""
    rng = np.random.default_rng(seed)
    drift = np.full(n, np.inf) if healthy else rng.uniform(14 * 24, 16 * 24, n)
    days = rng.uniform(3, 6, n)
    now = rng.uniform(0, 24, n)
    busy, suite, flaky, slow, heap = np.zeros(n), np.zeros(n), np.zeros(n, bool), np.zeros(n), np.zeros(n)
    hours, context, metrics = np.empty((n, T)), np.empty((n, T, CONTEXT)), np.empty((n, T, len(METRICS)))
    for t in range(T):
        day, clock = now // 24 % 7, now % 24
        rate = np.where(day >= 5, 1.0, np.select([(clock > 9) & (clock < 18), (clock > 7) & (clock < 23)], [5, 2], 0.7))
        gap = np.minimum(rng.exponential(1 / rate), 8)
        now = now + gap
        day, clock = now // 24 % 7, now % 24
        busy = busy * np.exp(-2 * gap) + 1
        lines, deploy = rng.normal(0, 1, n), rng.uniform(size=n) < 0.03
        cold = gap > 2.5

        # hidden, and normal: a suite that grows and is pruned, flaky tests that come and go, a machine that slows down
        suite = suite + np.where(deploy & (rng.uniform(size=n) < 0.35), rng.normal(0.05, 0.25, n) - 0.3 * suite, 0)
        flaky = np.where(rng.uniform(size=n) < np.where(flaky, 0.02, 0.006), ~flaky, flaky)
        slow = 0.9 * slow + 0.12 * rng.normal(size=n)
        heap = 0.97 * np.where(deploy, 0, heap) + 0.05 * rng.normal(size=n)
        ill = np.clip((now - drift) / (24 * days), 0, 1)

        noise = rng.normal(size=(n, 5))
        waited = 0.55 * np.maximum(busy - 1.5, 0) ** 1.3 + 0.35 * noise[:, 0] + 0.15 * slow
        built = suite + 0.2 * lines + 0.7 * cold + 0.08 * busy * (1 + slow) + slow + 0.15 * noise[:, 1] + 0.3 * ill
        memory = heap + 0.35 * np.sqrt(busy) + 0.3 * suite + 0.12 * noise[:, 2] + 0.9 * ill
        request = 0.3 * busy + 0.5 * slow + 0.25 * cold + 0.2 * noise[:, 3] + 1.0 * ill * (0.5 + 0.25 * busy)
        retried = np.sqrt(rng.poisson(np.where(flaky, 2.5, 0.25) * (1 + 2.5 * ill)))
        hours[:, t], metrics[:, t] = now, np.stack([waited, built, memory, request, retried], -1)
        angle = 2 * np.pi * clock / 24
        calendar = np.sin(angle), np.cos(angle), day >= 5
        context[:, t] = np.stack([*calendar, np.log(gap + 0.02), np.log(busy), lines, deploy], -1)
    return Builds(hours, context, metrics, drift, drift + 24 * days)


def inputs(runs: Builds) -> np.ndarray:
    """What is known as each build begins: its context, and the metrics of the one before; (n, T, 12) float32."""
    before = np.concatenate([np.zeros_like(runs.metrics[:, :1]), runs.metrics[:, :-1]], 1)
    return np.concatenate([runs.context, before], -1).astype(np.float32)
