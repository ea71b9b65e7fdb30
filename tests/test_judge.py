# SPDX-License-Identifier: MIT
"""Judges of a reduced model: decisions, decibels, per cent, against sums written out here; and choices made by them."""

import math

import numpy as np
import pytest

from test_calibrate import frames, stack
from undertow.accuracy import calibrate
from undertow.accuracy.calibration import LONG
from undertow.accuracy.drift import distances, repeated
from undertow.accuracy.judge import Judge, Tally
from undertow.errors import ShapeError, ToleranceError, UnsupportedError
from undertow.ir.nodes import Value
from undertow.model import Model
from undertow.passes.precisions import with_weights

pytestmark = pytest.mark.usefixtures("quick_times")


def value(name, *shape):
    return {name: Value(name, shape, "float32")}


def judged(text, got, exact, pieces=1):
    """What a judge finds of one output, given in pieces."""
    got, exact = np.asarray(got, np.float32), np.asarray(exact, np.float32)
    tally = Tally(Judge.parse(text).of(value("y", *exact.shape[1:])))
    for a, b in zip(np.array_split(got, pieces), np.array_split(exact, pieces), strict=True):
        tally.add({"y": a}, {"y": b})
    return tally.measured


def sisdr(got, exact):
    """Le Roux et al. 2019, written as there: target a s, noise a s - got."""
    s, y = exact.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    target = (y @ s) / (s @ s) * s
    return 10 * np.log10((target @ target) / ((target - y) @ (target - y)))


# -- what they measure ------------------------------------------------------------------------------------------------


def test_judges_against_sums_by_hand():
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(200, 7)).astype(np.float32)
    got = (1.2 * exact + 0.4 * rng.normal(size=exact.shape)).astype(np.float32)
    error = got.astype(np.float64) - exact
    largest = (
        [max(range(7), key=lambda i, y=y: y[i]) for y in exact],
        [max(range(7), key=lambda i, y=y: y[i]) for y in got],
    )
    above = [(a > 0.5) == (b > 0.5) for a, b in zip(got.ravel(), exact.ravel(), strict=True)]
    for pieces in (1, 3):
        assert judged("argmax", got, exact, pieces) == np.mean([a == b for a, b in zip(*largest, strict=True)]) < 1
        assert judged("threshold=0.5", got, exact, pieces) == np.mean(above) < 1
        assert judged("sisdr", got, exact, pieces) == pytest.approx(sisdr(got, exact), abs=1e-9)
        assert judged("rms", got, exact, pieces) == pytest.approx(
            100 * np.sqrt((error**2).mean() / (exact.astype(np.float64) ** 2).mean())
        )
        assert judged("max", got, exact, pieces) == np.abs(error).max()


def test_sisdr_of_small_errors_is_not_lost_in_rounding():
    rng = np.random.default_rng(1)
    exact = rng.normal(size=(4000, 1)).astype(np.float32)
    got = np.nextafter(exact, np.float32(9))
    assert 140 < judged("sisdr", got, exact) == pytest.approx(sisdr(got, exact), abs=1e-3)
    assert judged("sisdr", 2 * exact, exact) > 300, "a scale is no error"


@pytest.mark.parametrize(
    "text, got, exact, expected",
    [
        ("sisdr", [[0], [0]], [[0], [0]], math.inf),
        ("sisdr", [[0], [1e-9]], [[0], [0]], -math.inf),  # something where there should be nothing
        ("sisdr", [[0], [0]], [[3], [1]], -math.inf),
        ("sisdr", [[-1], [3]], [[3], [1]], -math.inf),  # at right angles
        ("sisdr", [[3], [1]], [[3], [1]], math.inf),
        ("sisdr", [[3], [np.nan]], [[3], [1]], -math.inf),
        ("sisdr", [[3], [np.inf]], [[3], [np.inf]], math.inf),
        ("rms", [[0]], [[0]], 0),
        ("rms", [[1]], [[0]], math.inf),
        ("rms", [[np.nan]], [[1]], math.inf),
        ("max", [[np.inf]], [[1]], math.inf),
        ("max", [[np.nan]], [[np.nan]], 0),
        ("argmax", [[1, 2], [2, 1]], [[1, 3], [1, 2]], 0.5),
        ("argmax", [[1, np.nan], [0, np.nan]], [[0, 1], [0, np.nan]], 0),  # no decision, where there was one
        ("argmax", [[1, 2], [0, np.nan]], [[0, 1], [np.nan, 1]], 1),  # and none where there was none
        ("threshold=0.5", [[1], [np.nan]], [[1], [np.nan]], 1),
        ("argmax", [[[1, 2], [2, 1]]], [[[1, 2], [1, 2]]], 0.5),  # of each row of a frame
        ("threshold=0.5", [[0.5], [0.51]], [[0.4], [0.6]], 1),
        ("threshold=-1", [[np.nan], [0]], [[-2], [0]], 0.5),
        ("argmax", np.zeros((0, 2)), np.zeros((0, 2)), 1),
    ],
)
def test_edges(text, got, exact, expected):
    assert judged(text, got, exact) == expected


def test_tolerances_keep_what_they_say():
    argmax, sisdr, rms = (Judge.parse(text) for text in ("argmax", "sisdr", "rms"))
    assert argmax.passes(0.99, 0.99) and not argmax.passes(0.98, 0.99)
    assert sisdr.passes(math.inf, 40) and not sisdr.passes(39.9, 40) and not sisdr.passes(math.nan, 40)
    assert rms.passes(1, 1) and not rms.passes(1.01, 1) and not rms.passes(math.nan, 1)
    assert argmax.worst(1, 0.5, 0.7) == 0.5 and rms.worst(1, 3, 2) == 3
    assert argmax.said(0.999999) == "99.99 %" and argmax.said(1) == "100 %", "no share but 1 is called 100 %"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("argmin", "'argmin' is no judge; judges: max, rms, argmax, threshold=NUMBER, sisdr; did you mean argmax"),
        ("", "'' is no judge"),
        ("threshold", "the number is missing; expected threshold=NUMBER"),
        ("threshold=half", "'half' is no finite number"),
        ("threshold=nan", "'nan' is no finite number"),
        ("threshold=:y", "'' is no finite number"),
        ("argmax=3", "argmax takes no number; write argmax"),
        ("rms:y", "rms looks at all outputs"),
        ("argmax:", "expected the name of an output behind the colon"),
    ],
)
def test_judges_that_do_not_exist(text, words):
    with pytest.raises(UnsupportedError) as caught:
        Judge.parse(text)
    assert words in str(caught.value)


def test_which_output():
    both = {**value("logits", 5), **value("score", 1)}
    assert Judge.parse("argmax").of(both).output == "logits", "the only one that has a largest"
    assert Judge.parse("threshold=0.5:score").of(both).output == "score"
    assert Judge.parse("argmax:a:b").of(value("a:b", 3)).output == "a:b"
    assert str(Judge.parse("threshold=0.5:score")) == "threshold=0.5:score"
    for text, error, words in (
        ("sisdr", UnsupportedError, "there are several outputs, logits, score; say of which one: judge='sisdr:logits'"),
        ("argmax:score", ShapeError, "output 'score' has shape (1,), and the largest of one number is always the same"),
        ("argmax:scores", UnsupportedError, "there is no output 'scores'; outputs: logits, score"),
    ):
        with pytest.raises(error) as caught:
            Judge.parse(text).of(both)
        assert words in str(caught.value)
    with pytest.raises(ShapeError, match="the largest of one number"):
        Judge.parse("argmax").of(value("y"))


@pytest.mark.parametrize(
    "text, tolerance", [("argmax", 0), ("argmax", 1.01), ("sisdr", math.inf), ("rms", 0), ("max", math.nan)]
)
def test_tolerances_that_are_none(text, tolerance):
    with pytest.raises(UnsupportedError, match="tolerance"):
        calibrate.search(stack(), frames(), tolerance, judge=Judge.parse(text))


# -- choices ----------------------------------------------------------------------------------------------------------


def test_search_keeps_what_the_judge_asks(bytes_decide):
    g, X = stack(), frames()
    x = np.tile(X["x"], (-(-LONG // len(X["x"])), 1))[:LONG]
    exact = Model.from_graph(g).run(x)
    coarse = calibrate.search(g, X, 20, judge=Judge.parse("sisdr"))
    fine = calibrate.search(g, X, 85, judge=Judge.parse("sisdr"))
    decided = calibrate.search(g, X, 0.99, judge=Judge.parse("argmax"))
    for calibration, least in ((coarse, 20), (fine, 85)):
        y = Model.from_graph(calibration.graph).run(x)
        assert sisdr(y, exact) >= least and calibration.total.judged >= least
        assert calibration.total.data.tally.measured == pytest.approx(sisdr(y[:60], exact[:60]), abs=1e-6)
        assert "SI-SDR dB" in str(calibration) and f"tolerance {least} dB of SI-SDR" in str(calibration)
    assert sum(layer.bytes_after for layer in coarse.layers) < sum(layer.bytes_after for layer in fine.layers)
    y = Model.from_graph(decided.graph).run(x)
    assert (y.argmax(-1) == exact.argmax(-1)).mean() >= 0.99
    facts = decided.facts()
    assert facts["judge"] == "argmax:y" and facts["all"]["judged"]["worst"] == decided.total.judged
    assert "agree: decisions of judge argmax:y" in str(decided)


def test_what_misses_a_judge_is_refused(bytes_decide):
    g, X = stack(), frames()
    for text, tolerance, words in (
        (
            "argmax",
            1,
            r"these weights leave 9\d\.\d\d % of the decisions \(judge argmax:y\), tolerance 100 % of",
        ),
        ("sisdr", 60, r"these weights leave [123]\d\.\d dB of SI-SDR \(judge sisdr:y\), tolerance 60 dB of SI-SDR"),
        ("rms", 0.01, r"these weights change the output by [\d.]+ % of the RMS, tolerance 0.01 % of the RMS"),
    ):
        with pytest.raises(ToleranceError, match=words):
            calibrate.measure(g, "int4", X, tolerance, judge=Judge.parse(text))
    with pytest.raises(ToleranceError, match="none of the faster precisions keeps 200 dB of SI-SDR"):
        calibrate.search(g, X, 200, judge=Judge.parse("sisdr"))


def test_stretches_of_a_stream_are_judged_apart():
    g, X = stack(), frames()
    models = Model.from_graph(with_weights(g, "int4")), Model.from_graph(g)
    judge = Judge.parse("sisdr").of(models[1].outputs)
    x = np.tile(X["x"], (3, 1))[:150]
    y, exact = (model.run(x) for model in models)
    first, last = distances(*models, repeated(X), (100, 150), judge)
    assert first.tally.measured == pytest.approx(sisdr(y[:100], exact[:100]), abs=1e-6)
    assert last.tally.measured == pytest.approx(sisdr(y[100:], exact[100:]), abs=1e-6)
