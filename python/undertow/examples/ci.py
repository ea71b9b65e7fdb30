# SPDX-License-Identifier: MIT
"""Trouble before it comes: the health of a CI pipeline
====================================================

A service that all builds share leaks memory. For days nothing is red: requests get a little
slower, a few more tests need a second try, at first by less than on any Monday noon. Then it
falls over. Can one see it coming?

A small recurrent network has learnt what is normal, from healthy weeks alone. As a build
begins, it says what its five metrics will be, and how surely; what then comes out differently
is surprise. One surprise means nothing; surprise that goes on in one direction is a drift.
Thresholds on the metrics and the charts of classical quality control are judged beside it,
all at the same rate of false alarms.

The pipeline is made, in ``_pipeline.py`` beside this script, and so is its leak: read the
numbers as what the method finds in such a world, not as what you will get in yours.
"""

import numpy as np

import undertow
from undertow.examples._pipeline import METRICS, Builds, builds, inputs

model = undertow.load(undertow.example("ci"))
print("A service leaks memory until it falls over. A network that knows healthy weeks")
print("alone says, as each build begins, what its five metrics will be.")

# %%
# Build by build
# --------------
# One run of the pipeline: two healthy weeks, then the leak, then the outage. As each build
# begins, one step of the stream says what to expect of it; at its end we compare. The
# surprise is in units of standard deviations.
run = builds(1, 1300, seed=77, healthy=False)
hours, metrics = run.hours[0], run.metrics[0]
stream = model.stream()
expected, spread = np.empty_like(metrics), np.empty_like(metrics)
for t, x in enumerate(inputs(run)[0]):
    expected[t], log_spread = np.split(stream.step(x), 2)
    spread[t] = np.exp(log_spread)
surprise = (metrics - expected) / spread
calm = hours < run.drift[0]
within = float((np.abs(surprise[calm]) < 1.645).mean())
print(f"\nBefore the leak, {within:.0%} of them are in the interval that should hold 90 %.")
print("How much each varies (standard deviation of logarithms, for retries of roots),")
print("and how much around what the network said:")
by_itself, around = metrics[calm].std(0), (metrics - expected)[calm].std(0)
for name, of_all, of_rest in zip(METRICS, by_itself, around, strict=True):
    print(f"  {name:14}  {of_all:.2f}  {of_rest:.2f}")


# %%
# From surprise to alarm
# ----------------------
# Each detector gives one number for every build, and raises an alarm where that passes a
# limit:
#
# * threshold: the largest metric, in standard deviations from its mean;
# * EWMA: the mean of the metrics, likewise, averaged over about fifty builds with weights
#   that fade;
# * CUSUM: how far that mean is above a quarter, summed up, and never below zero;
# * adjusted: the EWMA of what a linear regression on all that is known as a build begins
#   (time of day, size, load) leaves unexplained: the chart of a good statistician;
# * network: the same EWMA, of the network's surprise.
def ewma(z: np.ndarray, fade: float = 0.02) -> np.ndarray:
    levels = np.zeros(z.shape[:2])
    for t in range(z.shape[1]):
        levels[:, t] = (1 - fade) * levels[:, t - 1] + fade * z[:, t].mean(-1)
    return levels


def cusum(z: np.ndarray) -> np.ndarray:
    totals = np.zeros(z.shape[:2])
    for t in range(z.shape[1]):
        totals[:, t] = np.maximum(0, totals[:, t - 1] + z[:, t].mean(-1) - 0.25)
    return totals


ONE_MORE = ((0, 0), (0, 0), (0, 1))  # the constant of the regression
healthy = builds(60, 1100, seed=100)  # three weeks each: for the charts and the limits
flat = healthy.metrics.reshape(-1, len(METRICS))
known = np.pad(healthy.context, ONE_MORE, constant_values=1)
fit = np.linalg.lstsq(known.reshape(len(flat), -1), flat, rcond=None)[0]
unexplained = (healthy.metrics - known @ fit).std((0, 1))


def scores(runs: Builds) -> dict[str, np.ndarray]:
    raw = (runs.metrics - flat.mean(0)) / flat.std(0)
    linear = np.pad(runs.context, ONE_MORE, constant_values=1) @ fit
    means, log_spreads = np.split(model.run(inputs(runs)), 2, axis=-1)
    return {
        "threshold": raw.max(-1),
        "EWMA": ewma(raw),
        "CUSUM": cusum(raw),
        "adjusted": ewma((runs.metrics - linear) / unexplained),
        "network": ewma((runs.metrics - means) / np.exp(log_spreads)),
    }


# %%
# The same patience for all
# -------------------------
# Each limit is set on healthy weeks so that it is passed on one day in four weeks. Then come
# sixty other runs, each with a leak: the lead is the time from the first alarm after its
# beginning to the outage, 0 where there is none.
def worst_of_days(score: np.ndarray, hours: np.ndarray) -> np.ndarray:
    """The highest score of each run on each of its days."""
    worst = np.full((len(score), int(hours.max() // 24) + 1), -np.inf)
    np.maximum.at(worst, (np.arange(len(score))[:, None], (hours // 24).astype(int)), score)
    return worst


n_allowed = int(healthy.hours[:, -1].sum() / 168 / 4)
limits = {}
for name, score in scores(healthy).items():
    limits[name] = np.sort(worst_of_days(score, healthy.hours), axis=None)[-1 - n_allowed]
ill = builds(60, 1300, seed=200, healthy=False)
drift, outage = ill.drift[:, None], ill.outage[:, None]
lead, false_alarms = {}, {}  # hours, of each run; days with an alarm, a week
n_leaks = len(drift)
print(f"\n{n_leaks} leaks. How many raise an alarm a day before the outage, how long before")
print("(the median), and how often is there a false one? By a limit on the metrics, by")
print("charts of their mean, one adjusted to the load, and by the network's surprise:")
print("              a day early   hours before   false, a week")
for name, score in scores(ill).items():
    seen = (score > limits[name]) & (ill.hours >= drift) & (ill.hours < outage)
    lead[name] = np.where(seen, outage - ill.hours, 0).max(1)
    before = np.where(ill.hours < drift, score, -np.inf)
    n_days = (worst_of_days(before, ill.hours) > limits[name]).sum()
    false_alarms[name] = float(n_days / drift.sum() * 168)
    early, median = np.mean(lead[name] >= 24), np.median(lead[name])
    print(f"  {name:10} {early:11.0%} {median:14.0f} {false_alarms[name]:14.2f}")

# %%
# The leaks take 72 to 144 hours, and there is nothing to see in the first of them. What the
# network has over the charts is that it knows what is normal *now*: that the cache is cold,
# that a test is flaky since Tuesday, that the suite has grown. The chart of its surprise is
# quieter, so its limit lies closer, and a drift passes it a day sooner. Another memory of the
# chart changes little: with weights that fade over five builds or a hundred, the order stays
# the same.
import matplotlib.pyplot as plt

days, of_run, shown = hours / 24, scores(run), (hours > 240) & (hours < run.outage[0])
figure, axes = plt.subplots(3, figsize=(10, 9), height_ratios=[3, 2, 2], layout="constrained")
j = METRICS.index("ms a request")
middle, half = expected[shown, j], 1.645 * spread[shown, j]
blue = {"color": "tab:blue", "alpha": 0.3, "lw": 0, "label": "expected, 90 %"}
axes[0].fill_between(days[shown], middle - half, middle + half, **blue)
axes[0].plot(days[shown], metrics[shown, j], ".", color="0.25", ms=3, label="what came")
axes[0].set(title="time of a request, and what was expected", ylabel="log ms, shifted")
colours = {"EWMA": "tab:red", "adjusted": "tab:orange", "network": "tab:blue"}
for name, colour in colours.items():
    over = of_run[name][0, shown] / limits[name]
    axes[1].plot(days[shown], over, color=colour, lw=1.2, label=name)
axes[1].axhline(1, color="0.3", lw=0.8, ls="--")
axes[1].set_title("three detectors on this run: an alarm is above the dashed line")
axes[1].set(xlabel="day", ylabel="score / limit")
red = {"color": "tab:red", "alpha": 0.07, "lw": 0, "label": "the leak"}
for axis in axes[:2]:
    axis.axvspan(run.drift[0] / 24, run.outage[0] / 24, **red)
    axis.legend(loc="upper left")
jitter = np.random.default_rng(0).uniform(-0.22, 0.22, len(ill.hours))
for row, name in enumerate(reversed(lead)):
    colour = "tab:blue" if name == "network" else "0.5"
    axes[2].plot(lead[name], row + jitter, ".", color=colour, alpha=0.6)
    axes[2].vlines(np.median(lead[name]), row - 0.35, row + 0.35, color="black", lw=2)
axes[2].set_yticks(range(len(lead)), reversed(lead))
axes[2].set_title("hours from the first alarm to the outage: sixty runs, and the median")
plt.show()
