# SPDX-License-Identifier: MIT
"""The examples speech, forecast, clicks and ci: each runs, and what its page claims is so."""

import tracemalloc
from statistics import NormalDist

import numpy as np
import pytest

import undertow
from example_runs import ran

EXAMPLES = undertow.example("digits").parent
NAMES = ("speech", "forecast", "clicks", "ci")


def fixture_of(name):
    @pytest.fixture(name=name)
    def names():
        run = ran(name)
        assert not list(run.folder.iterdir()), "it writes nothing"
        return run.names

    return names


speech, forecast, clicks, ci = map(fixture_of, NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_a_script_are_small(name):
    assert sum(path.stat().st_size for path in EXAMPLES.glob(f"{name}.*") if path.suffix != ".py") < 130_000
    assert (EXAMPLES / f"train_{name}.py").exists()


# -- speech -----------------------------------------------------------------------------------------------------------


def test_speech_is_found_where_a_threshold_fails(speech):
    network, threshold = speech["network_right"], speech["threshold_right"]
    assert list(network) == [20, 10, 5, 0, -5]
    assert all(network[decibels] > threshold[decibels] + 0.08 for decibels in (10, 5, 0, -5))
    assert network[20] > max(0.94, threshold[20]) and network[5] > 0.9


def test_the_rival_of_speech_is_the_best_of_all_thresholds(speech):
    for decibels, frames in speech["frames_at"].items():
        power = np.square(frames).mean(1)
        right = [((power > limit) == speech["truth"]).mean() for limit in [-1, *power]]
        assert speech["threshold_right"][decibels] == pytest.approx(max(right), abs=1e-9)


def test_the_street_is_as_loud_as_it_says(speech):
    clean, street = speech["clean"].astype(float), speech["street"]
    for decibels in (20, 0):
        parts = np.stack([clean, street], 1)
        of_voice, of_street = np.linalg.lstsq(parts, speech["mixed"](decibels).astype(float), rcond=None)[0]
        voice = np.square(of_voice * clean[np.abs(clean) > 0.01]).mean()
        assert 10 * np.log10(voice / np.square(of_street * street).mean()) == pytest.approx(decibels, abs=0.1)


def test_live_speech_has_the_segments_of_the_recording(speech):
    assert speech["live"] == speech["whole"] and len(speech["live"]) == 7 and speech["overlap"] > 0.85
    said = np.zeros(len(speech["clean"]), bool)
    for segment in speech["live"]:
        said[segment.start : segment.end] = True
    true = np.zeros(len(said), bool)
    for start, end in np.rint(speech["data"]["segments"] * speech["rate"]).astype(int):
        true[start:end] = True
    assert (said & true).sum() / (said | true).sum() == pytest.approx(speech["overlap"], abs=0.02)


def test_the_callback_touches_little_memory(speech):
    block = np.zeros((512, 1), np.float32)
    speech["callback"](block, 512, None, None)
    tracemalloc.start()
    try:
        for _ in range(50):
            speech["callback"](block, 512, None, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


# -- forecast ---------------------------------------------------------------------------------------------------------


def test_forecasts_beat_the_baselines_at_every_distance(forecast):
    mae, crps = forecast["mae"], forecast["crps"]
    assert list(mae) == ["network", "Kalman", "last value", "yesterday"] and len(mae["network"]) == 12
    for name in ("last value", "yesterday"):
        assert (mae["network"] < 0.85 * mae[name]).all() and (crps["network"] < 0.85 * crps[name]).all()
    assert (mae["network"] < mae["Kalman"]).all() and (crps["network"] < crps["Kalman"]).all()
    assert (crps["network"][5:] < 0.9 * crps["Kalman"][5:]).all()


def test_intervals_hold_what_they_promise_and_are_narrower(forecast):
    assert (np.abs(forecast["coverage"]["network"] - 0.9) < 0.06).all()
    assert (forecast["width"]["network"][2:] < 0.8 * forecast["width"]["Kalman"][2:]).all()


def test_crps_is_that_of_the_definition(forecast):
    """Of a normal distribution there is a formula of it."""
    levels, normal = forecast["levels"], NormalDist()
    np.testing.assert_allclose(forecast["normal"], [normal.inv_cdf(level) for level in levels])
    for y in (-1.0, 0.3, 2.0):
        exact = y * (2 * normal.cdf(y) - 1) + 2 * normal.pdf(y) - 1 / np.sqrt(np.pi)
        error = y - forecast["normal"]
        assert 2 * np.maximum(levels * error, (levels - 1) * error).mean() == pytest.approx(exact, rel=0.15)


def test_forecasts_know_nothing_of_what_comes(forecast):
    """From the readings up to an origin alone, the first quantiles are those of the exact distribution."""
    model, glucose, minute = forecast["model"], forecast["glucose"], forecast["minute"]
    i = 40
    origin = int(forecast["origins"][i])
    start = origin
    while start and glucose[start - 1] > 0:
        start -= 1
    g, m = glucose[start : origin + 1], minute[start + 1 : origin + 1]
    X = np.concatenate([forecast["inputs"](g[k : k + 1], g[k - 1 : k], m[k - 1]) for k in range(1, len(g))])
    chances = model.run(X)[-1]
    changes = np.sort(forecast["network"][i, 0] - glucose[origin])
    middle = np.searchsorted(chances.cumsum(), 0.5) - 20
    assert abs(changes[9] - middle) <= 1.0  # of a hundred draws


# -- clicks -----------------------------------------------------------------------------------------------------------


def test_clicks_tell_who_leaves(clicks):
    areas, off = clicks["areas"], clicks["off"]
    assert areas["network"] > areas["last three clicks"] + 0.01 and areas["network"] > 0.82
    assert max(off.values()) < 0.02


def test_auc_is_the_chance_of_the_right_order(clicks):
    rng = np.random.default_rng(3)
    p, truth = rng.uniform(size=200), rng.uniform(size=200) < 0.3
    pairs = (p[truth][:, None] > p[~truth]).mean()
    assert clicks["auc"](p, truth) == pytest.approx(pairs)


def test_ten_thousand_sessions_in_one_pool_are_each_as_if_alone(clicks):
    visits, model = clicks["visits"], clicks["model"]
    assert clicks["most_open"] > 9_000 and model.state_bytes <= 128
    assert np.isfinite(clicks["leaving"]).all()
    for visitor in (0, 17, 4_321, 9_999):
        own = visits.session == visitor
        np.testing.assert_array_equal(model.run(clicks["seen"][own]), clicks["leaving"][own])


def test_help_is_offered_once_and_in_time_more_often(clicks):
    visits, offered = clicks["visits"], clicks["offered"]
    assert len(np.unique(visits.session[offered])) == len(offered) > 500
    first = {int(visits.session[i]): i for i in reversed(np.flatnonzero(clicks["leaving"][:, 1] > 0.6))}
    assert sorted(first.values()) == sorted(offered)
    assert clicks["in_time"]["network"] > clicks["in_time"]["last three clicks"] + 0.03
    assert abs(len(clicks["by_rival"]) - len(offered)) < 0.05 * len(offered)


def test_what_a_session_leaves_is_counted_to_its_end(clicks):
    visits, longest = clicks["visits"], clicks["LONGEST"]
    for visitor in range(50):
        left = visits.left[visits.session == visitor]
        assert (left == longest).all() or left.tolist() == list(range(len(left)))[::-1]
        assert (np.diff(visits.time[visits.session == visitor]) > 0).all()


# -- ci ---------------------------------------------------------------------------------------------------------------


def test_drift_is_seen_before_failure_and_earlier_than_by_charts(ci):
    lead = ci["lead"]
    for name in ("threshold", "EWMA", "CUSUM", "adjusted"):
        assert np.median(lead["network"]) > np.median(lead[name]) + 12
    assert (lead["network"] >= 24).mean() > 0.95
    assert (lead["network"] <= (ci["outage"] - ci["drift"])[:, 0]).all()


def test_false_alarms_are_as_rare_for_all(ci):
    assert all(rate < 0.4 for rate in ci["false_alarms"].values())
    healthy = ci["scores"](ci["healthy"])
    weeks = ci["healthy"].hours[:, -1].sum() / 168
    for name, score in healthy.items():
        days = {
            (run, int(h // 24))
            for run, t in np.argwhere(score > ci["limits"][name])
            for h in [ci["healthy"].hours[run, t]]
        }
        assert len(days) / weeks == pytest.approx(0.25, abs=0.01)


def test_the_network_knows_what_is_normal(ci):
    assert 0.85 < ci["within"] < 0.95
    rest = (ci["metrics"] - ci["expected"])[ci["calm"]].std(0)
    assert (rest < 0.85 * ci["metrics"][ci["calm"]].std(0)).all()


def test_the_stream_says_what_the_run_says(ci):
    means, _ = np.split(ci["model"].run(ci["inputs"](ci["run"]))[0], 2, axis=-1)
    np.testing.assert_array_equal(means, ci["expected"].astype(np.float32))


def test_leaks_are_slow_and_healthy_runs_have_none(ci):
    hours = ci["outage"] - ci["drift"]
    assert hours.min() >= 72 and hours.max() <= 144
    assert not np.isfinite(ci["healthy"].drift).any() and not np.isfinite(ci["healthy"].outage).any()
