# SPDX-License-Identifier: MIT
"""Who is about to leave: ten thousand click sessions at once
==========================================================

A shop would like to know, after each click, whether this visitor is about to give up, and
offer help while there is time. What tells is less the last click than the way there: searches
that found nothing, products put back after a glance. A small recurrent network keeps a state
for each visitor, ten thousand of them in one pool, and takes their clicks as they come, in
the order of time.

The shop is made, and so are its visitors: ``_click_sessions.py``, beside this script, gives
them hidden kinds and moods. So the numbers below say how well a network finds out what was
put in there. Real visitors are harder.
"""

import time

import numpy as np

import undertow
from undertow.examples import _click_sessions as shop
from undertow.examples._click_sessions import LONGEST, PAGES, sessions

model = undertow.load(undertow.example("clicks"))
VISITORS, SOON = 10_000, 3
visits = sessions(VISITORS, seed=2026)  # the network was trained on others
bought = np.zeros(VISITORS, bool)
bought[visits.session[visits.left == LONGEST]] = True
print(f"{VISITORS:,} visitors of a shop click {len(visits.session):,} times;")
print(f"{bought.mean():.0%} of them buy, the others leave. After each click a network says")
print("how likely they are to leave soon.")

# %%
# One pool, clicks in the order of time
# -------------------------------------
# All that a session costs is its state. A visitor gets one with the first click, and it is
# closed when half an hour has passed without another, for a shop does not see anybody leave.
# The clicks of one second go into one call, whoever they are from; nobody here clicks twice
# in a second, and who did would have to wait for the next call.
seen = shop.what_is_seen(visits.page, visits.dwell, visits.failed)
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
megabytes = most_open * model.state_bytes / 1e6
print(f"\n{most_open:,} sessions are open at once, {megabytes:.1f} MB of states in all.")
print(f"The pool takes {len(seen) / busy:,.0f} clicks a second on one core.")


# %%
# Does it know?
# -------------
# The rival is a logistic regression that sees the last three clicks and counts over the whole
# session: clicks, failures, mean time on a page. AUC is the chance that, of a click of
# somebody about to leave and one of somebody who stays, the first gets the higher
# probability. And probabilities should be what they say.
def auc(p: np.ndarray, truth: np.ndarray) -> float:
    ranks = np.empty(len(p))
    ranks[np.argsort(p, kind="stable")] = np.arange(1, len(p) + 1)
    n = truth.sum()
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * (~truth).sum()))


def by_tenths(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Rows of mean probability, part that leaves, and share of the clicks."""
    tenth = np.minimum((p * 10).astype(int), 9)
    n = np.maximum(np.bincount(tenth, minlength=10), 1)
    given, leaves = np.bincount(tenth, p, 10) / n, np.bincount(tenth, truth, 10) / n
    return np.stack([given, leaves, n / len(p)], 1)


soon = visits.left < SOON
weights = np.load(undertow.example("clicks").with_suffix(".npz"))["last_clicks"]
rival = 1 / (1 + np.exp(-(shop.last_clicks(visits) @ weights[:-1] + weights[-1])))
areas, tables, off = {}, {}, {}
print("\nWho leaves within three clicks? The network remembers the session; a regression")
print("sees the last three clicks, and counts. AUC: 0.5 is a guess, 1 is never wrong.")
for name, p in {"network": leaving[:, 1], "last three clicks": rival}.items():
    areas[name], tables[name] = auc(p, soon), by_tenths(p, soon)
    given, leaves, share = tables[name].T
    off[name] = float((np.abs(given - leaves) * share).sum())
    wrong_by = f"probabilities off by {off[name]:.1%} on average"
    print(f"  {name:18} AUC {areas[name]:.3f}, {wrong_by}")
at_once = auc(leaving[:, 0], visits.left == 0)
print(f"Who leaves at once, with the next click? The network: AUC {at_once:.3f}.")


# %%
# Help, offered in time
# ---------------------
# We offer help once a session, at the first click after which the probability passes 0.6. It
# comes in time if the visitor would indeed leave within three clicks, and is an annoyance
# otherwise. Whether an offer keeps anybody, recorded sessions cannot tell: for that one would
# leave it out for some visitors, by lot, and compare.
def offers(p: np.ndarray, threshold: float) -> np.ndarray:
    """The first click of each session after which p passes the threshold."""
    over = np.flatnonzero(p > threshold)
    return over[np.unique(visits.session[over], return_index=True)[1]]


offered = offers(leaving[:, 1], 0.6)
levels, n = np.linspace(0.1, 0.95, 300), len(offered)
threshold = min(levels, key=lambda level: abs(len(offers(rival, level)) - n))
by_rival = offers(rival, threshold)  # as many, so that they can be compared
in_time, reached = {}, {}
print("\nHelp is offered once to those who seem to leave, as often by both. In time is")
print("an offer to somebody who does leave within three clicks.")
for name, clicks in {"network": offered, "last three clicks": by_rival}.items():
    in_time[name] = float(soon[clicks].mean())
    reached[name] = float(soon[clicks].sum() / (~bought).sum())
    counted = f"{len(clicks):,} offers, {in_time[name]:.0%} in time"
    print(f"  {name:18} {counted}: {reached[name]:.0%} of all who leave")

# %%
# Left, one session as it went: a point for every click, red where the page failed, with the
# time spent on the page. Right, whether probabilities are what they say: of clicks that were
# given 40 %, about 40 % should precede leaving.
import matplotlib.pyplot as plt

helped = visits.session[offered[visits.left[offered] == 2]]  # two clicks before they leave
fits = np.isin(np.bincount(visits.session)[helped], (14, 15, 16))
one = np.flatnonzero(visits.session == helped[fits][0])
plt.rcParams["figure.constrained_layout.use"] = True
figure, axes = plt.subplots(1, 2, figsize=(11, 5), width_ratios=[3, 2])
axes[0].plot(leaving[one, 1], color="tab:blue", lw=1.5, zorder=1)
colors = np.where(visits.failed[one], "tab:red", "tab:blue")
axes[0].scatter(range(len(one)), leaving[one, 1], c=colors, s=40, zorder=2)
axes[0].axhline(0.6, color="0.4", lw=0.8, ls="--")
pages, spent = [PAGES[page] for page in visits.page[one]], visits.dwell[one[1:]]
labels = [f"{page}, {s:.0f} s" for page, s in zip(pages[:-1], spent, strict=True)]
axes[0].set_xticks(range(len(one)), [*labels, pages[-1]], rotation=60, ha="right")
axes[0].set(title="one visitor: leaves within three clicks?", ylim=(0, 1))
axes[0].set_ylabel("probability")
axes[1].plot([0, 1], [0, 1], color="0.6", lw=0.8)
for (name, table), marker in zip(tables.items(), "os", strict=True):
    filled = table[table[:, 2] > 0.001]
    label = f"{name}, AUC {areas[name]:.2f}"
    axes[1].plot(filled[:, 0], filled[:, 1], marker=marker, label=label)
axes[1].set(title="all clicks", xlabel="probability given", ylabel="part that leaves")
axes[1].set(xlim=(0, 1), ylim=(0, 1))
axes[1].legend(loc="upper left")
plt.show()
