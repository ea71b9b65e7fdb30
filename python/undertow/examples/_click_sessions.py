# SPDX-License-Identifier: MIT
"""A made web shop and its visitors: sessions of clicks for the example "clicks" and for training its model.

Each visitor is of one of four kinds that nobody sees, and carries two moods that nobody sees either. Frustration rises
with every search that finds nothing and every page that hangs, and fades with every page that works. Interest wanes
with every page seen, faster for some; as it does, the visitor looks at each page for a shorter time. Both drive people
away. What is seen is the page, the time spent on the one before, and whether the page failed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PAGES = ("home", "search", "results", "product", "reviews", "cart", "help", "checkout")
HOME, SEARCH, RESULTS, PRODUCT, REVIEWS, CART, HELP, CHECKOUT = range(8)
LONGEST = 80  # clicks

#: kind of visitor -> how often it comes; where it goes from each page, in the order of PAGES
KINDS = ("decided", "strolling", "comparing", "lost")
SHARES = (0.25, 0.35, 0.2, 0.2)
WAYS = np.array(
    [
        [  # decided
            [0, 7, 1, 2, 0, 0, 0, 0],
            [0, 1, 9, 0, 0, 0, 0, 0],
            [0, 1, 1, 8, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 6, 0, 0],
            [0, 0, 1, 4, 1, 4, 0, 0],
            [0, 1, 0, 1, 0, 1, 0, 7],
            [1, 4, 1, 2, 0, 2, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 1],
        ],
        [  # strolling
            [1, 2, 5, 3, 0, 0, 0, 0],
            [1, 1, 8, 0, 0, 0, 0, 0],
            [1, 1, 3, 6, 0, 0, 0, 0],
            [1, 1, 5, 3, 1, 0.4, 0, 0],
            [1, 0, 3, 4, 1, 0.4, 0, 0],
            [1, 0, 3, 3, 0, 1, 0, 1],
            [4, 2, 2, 2, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 1],
        ],
        [  # comparing
            [0, 4, 3, 2, 0, 0, 0, 0],
            [0, 1, 9, 0, 0, 0, 0, 0],
            [0, 1, 1, 8, 0, 0, 0, 0],
            [0, 0, 2, 3, 5, 0.6, 0, 0],
            [0, 0, 1, 7, 2, 0.8, 0, 0],
            [0, 0, 0, 4, 2, 1, 0, 2],
            [0, 3, 2, 3, 2, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 1],
        ],
        [  # lost
            [2, 6, 2, 0, 0, 0, 1, 0],
            [1, 3, 6, 0, 0, 0, 0.5, 0],
            [2, 5, 2, 2, 0, 0, 0.5, 0],
            [2, 4, 2, 1, 0.5, 0.3, 0.5, 0],
            [2, 3, 1, 2, 0, 0.2, 0, 0],
            [2, 1, 0, 2, 0, 1, 2, 1],
            [2, 4, 1, 1, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 1],
        ],
    ],
    float,
)
WAYS /= WAYS.sum(-1, keepdims=True)
#: by kind: logarithm of the seconds on a page, what a failure adds to frustration, what a page takes off the interest
LOG_DWELL = np.array([2.4, 3.2, 3.0, 2.7])
TEMPER = np.array([1.2, 0.5, 0.8, 1.0])
MISSES = np.array([0.25, 0.45, 0.35, 0.6])  # of the products
BOREDOM = np.array([0.05, 0.07, 0.03, 0.05])
FAILS = np.array([0.02, 0.02, 0.16, 0.05, 0.04, 0.03, 0.02, 0.04])  # by page; three times as often for the lost


class Sessions(NamedTuple):
    """Clicks of `n` sessions, one after the other, each in its own order: arrays of one length, but for `first`.

    Attributes:
        session: which, from 0 on.
        time: seconds since the shop opened, of the first session's first hour.
        page: the page that was asked for, an index of PAGES.
        dwell: seconds spent on the page before; 0 for the first.
        failed: the page hung, or the search found nothing.
        left: clicks that follow before the visitor leaves for good without buying; LONGEST if he buys.
        kind: of the visitor, an index of KINDS: never an input.
    """

    session: np.ndarray
    time: np.ndarray
    page: np.ndarray
    dwell: np.ndarray
    failed: np.ndarray
    left: np.ndarray
    kind: np.ndarray


def sessions(n: int, seed: int, seconds: float = 600.0) -> Sessions:
    """Visits of n people, who arrive within so many seconds."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(len(KINDS), n, p=SHARES)
    time = rng.uniform(0, seconds, n)
    page = rng.choice([HOME, SEARCH, RESULTS, PRODUCT], n, p=[0.4, 0.2, 0.15, 0.25])
    pace = rng.normal(0, 0.5, n)
    interest = np.clip(rng.normal(1, 0.25, n), 0.3, None)
    frustration, dwell = np.zeros(n), np.zeros(n)
    here = np.arange(n)
    clicks: list[tuple[np.ndarray, ...]] = []
    bought = np.zeros(n, bool)
    for _ in range(LONGEST):
        k, p = kind[here], page[here]
        fails = rng.uniform(size=len(here)) < FAILS[p] * np.where(k == 3, 3, 1)
        frustration[here] = np.where(fails, frustration[here] + TEMPER[k], 0.85 * frustration[here])
        poor = (p == PRODUCT) & (rng.uniform(size=len(here)) < MISSES[k])
        frustration[here] += np.where(poor, 0.7 * TEMPER[k], 0)
        interest[here] -= BOREDOM[k] * rng.uniform(0.3, 1.7, len(here))
        clicks.append((here, time[here], p, dwell[here], fails))
        bought[here] = (p == CHECKOUT) & ~fails
        urge = -5.5 + 1.9 * frustration[here] + 9 * np.clip(0.45 - interest[here], 0, None) - 1.0 * (p >= CART)
        stays = ~bought[here] & (rng.uniform(size=len(here)) > 1 / (1 + np.exp(-urge)))
        here, k, p, poor = here[stays], k[stays], p[stays], poor[stays]
        ways = WAYS[k, p].cumsum(-1)
        page[here] = np.minimum((ways < rng.uniform(size=(len(here), 1))).sum(-1), len(PAGES) - 1)
        look = LOG_DWELL[k] + pace[here] + 1.5 * (interest[here] - 0.8) - 1.6 * poor
        look += np.where(p == PRODUCT, 0.3, 0.7) * rng.normal(size=len(here))
        dwell[here] = np.minimum(2 + np.exp(look), 600)
        time[here] += dwell[here]
    columns = [np.concatenate(parts) for parts in zip(*clicks, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    session, when, seen, spent, failed = (column[order] for column in columns)
    ends = np.flatnonzero(np.diff(session, append=n))  # each session's last click
    left = ends[session] - np.arange(len(session))
    left = np.where(bought[session], LONGEST, left)
    return Sessions(session, when, seen, spent, failed, left, kind[session])


def what_is_seen(page: np.ndarray, dwell: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Clicks as the network takes them: one of PAGES, logarithm of the dwell, failure; (n, 10) float32."""
    seen = np.zeros((len(page), len(PAGES) + 2), np.float32)
    seen[np.arange(len(page)), page] = 1
    seen[:, -2], seen[:, -1] = np.log1p(dwell) / 4, failed
    return seen


def last_clicks(visits: Sessions, k: int = 3) -> np.ndarray:
    """What a model without memory can be given: the last k clicks, and sums over the session so far.

    The sums are its clicks, failures, and the mean logarithm of its dwells. (n, 10 k + 4) float32.
    """
    seen = what_is_seen(visits.page, visits.dwell, visits.failed)
    n_clicks = np.bincount(visits.session)
    first = np.repeat(np.cumsum(n_clicks) - n_clicks, n_clicks)
    place = np.arange(len(seen)) - first
    columns = [np.where((place >= i)[:, None], np.roll(seen, i, 0), 0) for i in range(k)]
    so_far = seen[:, -2:].cumsum(0)
    so_far -= so_far[first] - seen[first, -2:]
    count = place[:, None] + 1
    sums = [count / 20, np.log(count), so_far[:, 1:], so_far[:, :1] / count]
    return np.concatenate([*columns, *sums], 1).astype(np.float32)
