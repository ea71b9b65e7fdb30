# SPDX-License-Identifier: MIT
"""Smoothing vectors and balanced rounding: what they cost and gain, in products that are rounded here, in float64."""

from fractions import Fraction

import numpy as np
import pytest

import undertow
from undertow.errors import ShapeError, UnsupportedError
from undertow.ir.balance import balanced
from undertow.passes import precisions, smoothing


def rounded(v, limit):
    """Rows of numbers, each row rounded to integers up to `limit` times a scale of its own."""
    scale = np.abs(v).max(axis=-1, keepdims=True) / limit
    return np.rint(np.divide(v, scale, out=np.zeros_like(v), where=scale > 0)) * scale


def mean_square(w, X, exponents, limit):
    """The mean square of what rounding moves the products of w and X by."""
    factors = 2.0 ** exponents.astype(np.float64)
    products = rounded(X / factors, limit) @ rounded(w * factors, limit).T
    return np.mean((products - X @ w.T) ** 2)


def unequal(seed, n=400, rows=30, K=48, inverse=False):
    """Weights and frames whose columns differ by up to 2^3 either way; `inverse`: weights make up for the frames."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.uniform(-3, 3, (2, K))
    sizes[1] = 1 / sizes[0] if inverse else sizes[1]
    return rng.normal(size=(rows, K)) * sizes[0], rng.normal(size=(n, K)) * sizes[1]


@pytest.mark.parametrize("limit", [127, 2896])
def test_the_expected_error_is_the_measured_one(limit):
    w, X = unequal(0)
    chosen = smoothing.from_data(w, X)
    assert chosen.any()
    for exponents in (np.zeros(48, np.int8), chosen, smoothing.from_weights(w)):
        expected = smoothing.expected_error(w, X, exponents, limit)
        assert expected == pytest.approx(mean_square(w, X, exponents, limit), rel=0.1)


def test_chosen_from_data_it_errs_far_less_on_frames_not_seen():
    for inverse, gain in ((False, 1.5), (True, 20)):
        for seed in range(3):
            w, X = unequal(seed, n=800, inverse=inverse)
            chosen, none = smoothing.from_data(w, X[:400]), np.zeros(48, np.int8)
            assert mean_square(w, X[400:], none, 127) > gain * mean_square(w, X[400:], chosen, 127)


def test_a_loud_column_and_a_heavy_one():
    rng = np.random.default_rng(1)
    w, X = rng.normal(size=(20, 32)), rng.normal(size=(300, 32))
    X[:, 5] *= 200
    w[:, 9] *= 300
    chosen = smoothing.from_data(w, X)
    assert chosen[5] > np.delete(chosen, [5, 9]).max() and chosen[9] < np.delete(chosen, [5, 9]).min()
    alone = smoothing.from_weights(w)
    assert alone[9] == 0 and set(np.delete(alone, 9)) == {alone[5]} and alone[5] >= 1


def test_columns_that_are_alike_are_left_alone():
    rng = np.random.default_rng(2)
    w, X = rng.normal(size=(3, 20, 32)), rng.normal(size=(300, 32))
    for exponents in (smoothing.from_data(w, X), smoothing.from_weights(w)):
        assert exponents.dtype == np.int8 and exponents.shape == (32,) and not exponents.any()
    assert not smoothing.from_data(w[..., :1], X[:, :1]).any()


def test_data_and_weights_that_say_nothing():
    w, X = unequal(3)
    for silent in (np.zeros((5, 48)), X[:0], np.full((5, 48), np.nan)):
        assert not smoothing.from_data(w, silent).any()
        assert smoothing.expected_error(w, silent, np.ones(48, np.int8), 127) == 0
    assert not smoothing.from_data(np.zeros((4, 48)), X).any() and not smoothing.from_weights(np.zeros((4, 48))).any()
    infinite = np.concatenate([X, X * np.inf])
    assert np.array_equal(smoothing.from_data(w, infinite), smoothing.from_data(w, X))


def test_quiet_columns_may_be_loud_another_day():
    w, X = unequal(4)
    later = X.copy()
    X[:, :4] = 0
    X[:, 8:12] *= 1e-20
    chosen = smoothing.from_data(w, X)
    assert chosen.any() and chosen.min() == 0 and chosen.max() <= smoothing.RANGE
    assert (chosen[:4] == np.median(chosen)).all()  # of these nothing is known
    worst = 4.0 ** (smoothing.RANGE / 2)
    assert mean_square(w, later, chosen, 127) < worst * mean_square(w, later, np.zeros(48, np.int8), 127)


def test_columns_of_zeros_cost_no_other_bits():
    w, X = unequal(4)
    w[:, 20:24] = 0
    alike = mean_square(w, X, np.zeros(48, np.int8), 127)
    X[:, 20:24] *= 1e6
    chosen = smoothing.from_data(w, X)
    assert set(chosen[20:24]) == {smoothing.UNUSED} and np.delete(chosen, slice(20, 24)).max() <= smoothing.RANGE
    assert mean_square(w, X, chosen, 127) < alike


def test_bad_input():
    w, X = unequal(5)
    with pytest.raises(ShapeError, match=r"shape \(400, 47\), expected \(n, 48\): the weight is \(30, 48\)"):
        smoothing.from_data(w, X[:, 1:])
    with pytest.raises(ShapeError, match=r"expected \(n, 48\)"):
        smoothing.from_data(w, X[0])
    for value in (np.nan, np.inf):
        w[3, 7] = value
        for choose in (lambda: smoothing.from_weights(w), lambda: smoothing.from_data(w, X)):
            with pytest.raises(UnsupportedError, match=rf"weight\[3, 7\] is {value}; .* store it as float32"):
                choose()
    with pytest.raises(ValueError, match="expected 4 finite numbers"):
        balanced(np.ones((2, 4)), np.array([1, 2, np.nan, 4]))


# -- balanced rounding ------------------------------------------------------------------------------------------------


def in_steps(rng, rows, K, limit):
    w = rng.normal(size=(rows, K))
    return w / np.abs(w).max(axis=1, keepdims=True) * limit


@pytest.mark.parametrize("K", [1, 2, 33, 700])
@pytest.mark.parametrize("limit", [7, 127, 2896])
def test_rows_keep_their_sums_and_their_scales(K, limit):
    rng = np.random.default_rng(K + limit)
    wanted = in_steps(rng, 50, K, limit)
    q = balanced(wanted)
    assert np.array_equal(q, np.rint(q)) and np.abs(q - wanted).max() < 1
    assert (np.abs(q).max(axis=1) == limit).all()
    held = np.abs(wanted) > limit - 0.5  # which keep their integers
    assert np.array_equal(q[held], np.rint(wanted)[held])
    if K > 100:
        assert np.abs((q - wanted).sum(axis=1)).max() <= 0.5
        nearest = np.rint(wanted) - wanted
        assert np.mean((q - wanted) ** 2) < 1.1 * np.mean(nearest**2)
    assert np.array_equal(balanced(q * (1 + 2.0**-24)), q)


def test_against_every_choice_of_integers():
    """Of all ways to round up or down that keep the sum to half a step, it takes one of the least squared error."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        wanted = np.append(np.round(rng.uniform(-5, 5, 7), 3), 6.0)
        exact = [Fraction(str(v)) for v in wanted]
        q = balanced(wanted)
        choices = np.array([[int(i) >> k & 1 for k in range(8)] for i in range(256)]) + np.floor(wanted)
        sums = [abs(sum(int(n) - v for n, v in zip(choice, exact, strict=True))) for choice in choices]
        fit = [choice for choice, s in zip(choices, sums, strict=True) if s <= Fraction(1, 2) and choice[7] == 6]
        least = min(((choice - wanted) ** 2).sum() for choice in fit)
        assert abs((q - wanted).sum()) <= 0.5 + 1e-9
        assert ((q - wanted) ** 2).sum() == pytest.approx(least, abs=1e-9)


def test_many_rows_are_rounded_as_each_by_itself():
    wanted = in_steps(np.random.default_rng(2), 150, 1000, 127).reshape(2, 75, 1000)  # more than are looked at at once
    means = np.random.default_rng(3).uniform(-1, 2, 1000)
    one_by_one = [balanced(row, means) for row in wanted.reshape(-1, 1000)]
    assert np.array_equal(balanced(wanted, means).reshape(-1, 1000), one_by_one)
    for shape in ((0, 5), (3, 0), (0, 0)):
        assert balanced(np.zeros(shape)).shape == shape


def test_equal_weights_do_not_err_all_the_same_way():
    """A row that takes a mean: rounded to the nearest, all of its errors are one, and inputs above zero show it."""
    rng = np.random.default_rng(1)
    wanted = np.full((1, 400), 12.4)
    wanted[0, 0] = 127
    X = rng.uniform(0.5, 1.5, (200, 400))
    errors = [np.sqrt(np.mean((X @ (q - wanted).T) ** 2)) for q in (np.rint(wanted), balanced(wanted))]
    assert errors[0] > 100 and errors[1] < errors[0] / 20
    means = 2.0 ** rng.integers(-4, 4, 400)
    assert abs(((balanced(wanted, means) - wanted) @ means).item()) <= means.max() / 2


def test_weights_that_come_to_int8_are_smoothed_by_themselves():
    """Columns far from equal alone; of what is stored so already, no bit changes."""
    rng = np.random.default_rng(3)
    W = rng.normal(size=(40, 24)).astype(np.float32)
    X = rng.normal(size=(200, 24)).astype(np.float32)
    loud = W.copy()
    loud[:, 3] *= 1000
    X[:, 3] /= 1000
    alike = undertow.Sequential([undertow.Dense(W, name="d")])
    model = undertow.Sequential([undertow.Dense(loud, name="d")])
    assert not alike.with_weights("int8").graph.nodes[0].smoothing
    small = model.with_weights("int8")
    (node,) = small.graph.nodes
    assert node.smoothing["W"][3] < np.delete(node.smoothing["W"], 3).min()
    plain = undertow.Model.from_graph(precisions.with_weights(model.graph, "int8"))
    assert not plain.graph.nodes[0].smoothing
    exact = model.run(X)
    errors = [np.sqrt(np.mean((m.run(X) - exact) ** 2)) for m in (plain, small)]
    assert errors[0] > 2 * errors[1]
    assert np.array_equal(small.with_weights("int8").run(X), small.run(X))
    assert np.array_equal(plain.with_weights("int8").run(X), plain.run(X))
    assert not plain.with_weights("int8").graph.nodes[0].smoothing
    for name in ("int16", "float16"):
        assert not model.with_weights(name).graph.nodes[0].smoothing
