# SPDX-License-Identifier: MIT
"""Who is about to leave: ten thousand click sessions at once
==========================================================

A shop would like to know, after each click, whether this visitor is about to give up, and offer help while there is
time. What tells is less the last click than the way there: searches that found nothing, products put back after a
glance. A small recurrent network keeps a state for each visitor, ten thousand of them in one pool, and takes their
clicks as they come, in the order of time.

The shop is made, and so are its visitors: ``_click_sessions.py``, beside this script, gives them hidden kinds and
moods. So the numbers below say how well a network finds out what was put in there. Real visitors are harder.
"""

import time

import numpy as np

import undertow
from undertow.examples._click_sessions import LONGEST, PAGES, last_clicks, sessions, what_is_seen

model = undertow.load(undertow.example("clicks"))
print(model)

VISITORS, SOON = 10_000, 3
visits = sessions(VISITORS, seed=2026)  # the network was trained on others
bought = np.zeros(VISITORS, bool)
bought[visits.session[visits.left == LONGEST]] = True
print(f"{len(visits.session):,} clicks of {VISITORS:,} visitors, {bought.mean():.0%} of whom buy")

# %%
# One pool, clicks in the order of time
# -------------------------------------
# All that a session costs is its state. A visitor gets one with the first click, and it is closed when half an hour has
# passed without another, for a shop does not see anybody leave. The clicks of one second go into one call, whoever they
# are from; nobody here clicks twice in a second, and who did would have to wait for the next call.
seen = what_is_seen(visits.page, visits.dwell, visits.failed)
order = np.argsort(visits.time, kind="stable")
ticks = np.split(order, np.flatnonzero(np.diff(visits.time[order].astype(int))) + 1)

pool = model.pool(VISITORS)
ids = np.full(VISITORS, -1)  # of each visitor in the pool
last_seen = np.full(VISITORS, np.inf)
leaving = np.empty((len(seen), 2), np.float32)  # at once, and within the next three clicks
most_open, busy = 0, 0.0
for tick in ticks:
    who, now = visits.session[tick], visits.time[tick[-1]]
    began = time.perf_counter()
    gone = np.flatnonzero(last_seen < now - 1800)
    pool.close(ids[gone])
    last_seen[gone] = np.inf
    new = who[ids[who] < 0]
    ids[new] = pool.open(len(new))
    leaving[tick] = pool.step(ids[who], seen[tick])
    busy += time.perf_counter() - began
    last_seen[who] = now
    most_open = max(most_open, pool.n_open)
print(
    f"{most_open:,} sessions open at once, {model.state_bytes} bytes each: {most_open * model.state_bytes / 1e6:.1f} MB"
)
print(f"{len(seen) / busy:,.0f} clicks a second on one core, opening and closing included")


# %%
# Does it know?
# -------------
# The rival is a logistic regression that sees the last three clicks and counts over the whole session: clicks,
# failures, mean time on a page. AUC is the chance that, of a click of somebody about to leave and one of somebody who
# stays, the first gets the higher probability. And probabilities should be what they say.
def auc(p: np.ndarray, truth: np.ndarray) -> float:
    ranks = np.empty(len(p))
    ranks[np.argsort(p, kind="stable")] = np.arange(1, len(p) + 1)
    n = truth.sum()
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * (~truth).sum()))


def by_tenths(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Rows of mean probability, part that leaves, and share of the clicks."""
    tenth = np.minimum((p * 10).astype(int), 9)
    n = np.maximum(np.bincount(tenth, minlength=10), 1)
    return np.stack([np.bincount(tenth, p, 10) / n, np.bincount(tenth, truth, 10) / n, n / len(p)], 1)


soon = visits.left < SOON
weights = np.load(undertow.example("clicks").with_suffix(".npz"))["last_clicks"]
rival = 1 / (1 + np.exp(-(last_clicks(visits) @ weights[:-1] + weights[-1])))
areas, tables, off = {}, {}, {}
for name, p in {"network": leaving[:, 1], "last three clicks": rival}.items():
    areas[name], tables[name] = auc(p, soon), by_tenths(p, soon)
    off[name] = float((np.abs(tables[name][:, 0] - tables[name][:, 1]) * tables[name][:, 2]).sum())
    print(f"{name:18s} AUC {areas[name]:.3f}, probabilities off by {off[name]:.1%} on average")
print(f"leaves at the very next click: AUC {auc(leaving[:, 0], visits.left == 0):.3f}")


# %%
# Help, offered in time
# ---------------------
# We offer help once a session, at the first click after which the probability passes 0.6. It comes in time if the
# visitor would indeed leave within three clicks, and is an annoyance otherwise. Whether an offer keeps anybody,
# recorded sessions cannot tell: for that one would leave it out for some visitors, by lot, and compare.
def offers(p: np.ndarray, threshold: float) -> np.ndarray:
    """The first click of each session after which p passes the threshold."""
    over = np.flatnonzero(p > threshold)
    return over[np.unique(visits.session[over], return_index=True)[1]]


offered = offers(leaving[:, 1], 0.6)
threshold = min(np.linspace(0.1, 0.95, 300), key=lambda level: abs(len(offers(rival, level)) - len(offered)))
by_rival = offers(rival, threshold)  # as many, so that they can be compared
in_time, reached = {}, {}
for name, clicks in {"network": offered, "last three clicks": by_rival}.items():
    in_time[name], reached[name] = float(soon[clicks].mean()), float(soon[clicks].sum() / (~bought).sum())
    print(f"{name:18s} {len(clicks):,} offers, {in_time[name]:.0%} in time: {reached[name]:.0%} of all who leave")

# %%
# Left, one session as it went: a point for every click, red where the page failed, with the time spent on the page.
# Right, whether probabilities are what they say: of clicks that were given 40 %, about 40 % should precede leaving.
import matplotlib.pyplot as plt

n_clicks = np.bincount(visits.session)
in_time_for = visits.session[offered[visits.left[offered] == 2]]  # the offer comes two clicks before they leave
one = np.flatnonzero(visits.session == in_time_for[np.isin(n_clicks[in_time_for], (14, 15, 16))][0])
figure, axes = plt.subplots(1, 2, figsize=(11, 5), width_ratios=[1.5, 1], layout="constrained")
axes[0].plot(leaving[one, 1], color="tab:blue", lw=1.5, zorder=1)
axes[0].scatter(range(len(one)), leaving[one, 1], c=np.where(visits.failed[one], "tab:red", "tab:blue"), s=40, zorder=2)
axes[0].axhline(0.6, color="0.4", lw=0.8, ls="--")
pages = [
    f"{PAGES[page]}, {spent:.0f} s" for page, spent in zip(visits.page[one], [*visits.dwell[one[1:]], 0], strict=True)
]
axes[0].set_xticks(range(len(one)), [*pages[:-1], PAGES[visits.page[one[-1]]]], rotation=60, ha="right")
axes[0].set(title="one visitor: leaves within three clicks?", ylim=(0, 1), ylabel="probability")
axes[1].plot([0, 1], [0, 1], color="0.6", lw=0.8)
for (name, table), marker in zip(tables.items(), "os", strict=True):
    filled = table[table[:, 2] > 0.001]
    axes[1].plot(filled[:, 0], filled[:, 1], marker=marker, label=f"{name}, AUC {areas[name]:.2f}")
axes[1].set(title="all clicks", xlabel="probability given", ylabel="part that leaves", xlim=(0, 1), ylim=(0, 1))
axes[1].legend(loc="upper left")
plt.show()
