# SPDX-License-Identifier: MIT
"""Random models against every law (tests/laws.py): 200 of them, which have everything that a model may have.

More of them, and one of them again: see laws.py.
"""

from collections import Counter

import numpy as np
import pytest

import laws
import random_models
from bounds import Ball, Floats, Integers, U, activation, exact, mul_add, total
from law_case import Broken, Case, bits
from truths import matrix_of
from undertow import tow
from undertow.compile import compile_graph
from undertow.ir.activations import KINDS, Activation

SEEDS = range(200)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_model_keeps_every_law(seed):
    _, broken = laws.check(seed)
    assert not broken, "\n".join(broken)


@pytest.fixture(scope="module")
def covered():
    found, laws_of = Counter(), Counter()
    for seed in SEEDS:
        model = random_models.make(seed)
        lowered = tow.read(compile_graph(model.graph))
        found.update(random_models.features(model, lowered))
        laws_of[bool(lowered.whole_sequence_nodes())] += 1
    return found, laws_of


def test_the_random_models_have_everything(covered):
    """Every op, option and activation of each gate, size, precision and way to wire a model, none of them refused."""
    found, of_kind = covered
    assert not random_models.expected_features() - set(found)
    assert min(of_kind.values()) > 20, "both models that stream and models of whole sequences"


def test_a_seed_is_one_model():
    for seed in (3, 11, 58):
        first, again = (compile_graph(random_models.make(seed).graph) for _ in range(2))
        assert first == again
        a, b = (Case(seed) for _ in range(2))
        assert all(np.array_equal(bits(a.X[name]), bits(b.X[name])) for name in a.X)


# -- the laws themselves: what breaks them is found, and said ---------------------------------------------------------


def test_one_bit_is_seen_and_said():
    case = Case(4)
    case.law = "steps"
    rows, state = case.rows
    name, y = next(iter(rows.items()))
    off = y.copy()
    at = tuple(n // 2 for n in y.shape)
    off.view(np.uint32)[at] ^= 1
    with pytest.raises(Broken) as found:
        case.same(rows | {name: off}, rows, "by hand")
    said = str(found.value)
    assert "seed 4 breaks 'steps': by hand" in said and f"{name}{list(at)} expected" in said
    assert "1 of" in said and repr(case.made.graph) in said and said.endswith("python tests/laws.py --seed 4")
    with pytest.raises(Broken, match="snapshot"):
        case.same_state(state[:-64] + bytes([state[-64] ^ 1]) + state[-63:], state, "by hand")


def test_every_nan_is_a_nan_and_no_zero_is_another():
    case = Case(4)
    odd = np.array([0x7FC00000, 0xFFC00000, 0x7F800001], np.uint32).view(np.float32)
    case.same({"y": odd}, {"y": odd[::-1].copy()}, "NaN")
    with pytest.raises(Broken):
        case.same({"y": np.float32([0.0])}, {"y": np.float32([-0.0])}, "zeros")


def test_a_command_line(capsys):
    assert laws.main(["--models", "2", "--first", "7", "--law", "steps", "--law", "files"]) == 0
    said = capsys.readouterr().out
    assert "seeds 7 to 8: 2 models" in said and "failed: none" in said and "not covered: " in said
    assert laws.main(["--seed", "7", "--law", "chunks"]) == 0
    assert "keeps all of them" in capsys.readouterr().out


# -- bounds: float32 stays inside, and what is wrong does not ---------------------------------------------------------


def inside(got: np.ndarray, ball: Ball) -> np.ndarray:
    return np.abs(got.astype(np.float64) - ball.v) <= ball.e


def test_bounds_hold_what_numpy_computes_in_float32():
    rng = np.random.default_rng(0)
    W, x, b = (rng.normal(size=s).astype(np.float32) for s in ((33, 130), (20, 130), (33,)))
    ball = Floats(W).times(exact(x), b)
    assert inside(x @ W.T + b, ball).all()
    assert (ball.e < 140 * U * (np.abs(x) @ np.abs(W).T + np.abs(b))).all(), "and are no wider than they must be"
    wrong = W.copy()
    wrong[7, 129] = 0
    assert not inside(x @ wrong.T + b, ball)[:, 7].any() and inside(x @ wrong.T + b, ball)[:, :7].all()
    assert inside(x.sum(axis=1, keepdims=True), total(exact(x), 1)).all()
    assert inside(x * x + x, mul_add(exact(x), exact(x), exact(x))).all()


def test_an_activation_carries_both_ends_of_a_ball():
    x = np.linspace(-3, 3, 61)
    off = 1e-3
    for kind in KINDS:
        act = Activation(kind)
        with np.errstate(all="ignore"):
            ball = activation(act, Ball(x, np.full(x.shape, off)))
        for step in (-0.999 * off, -off / 3, 0.0, 0.999 * off):
            with np.errstate(all="ignore"):
                y = activation(act, exact(x + step)).v
            known = np.isfinite(ball.e) & np.isfinite(ball.v) & np.isfinite(y)
            assert known.sum() > 20 and inside(y[known], ball[known]).all(), kind
    jump = activation(Activation("floor"), Ball(np.array([1.9999, 1.5]), np.array([1e-3, 1e-3])))
    assert jump.e[0] >= 1 and jump.e[1] < 1e-6
    for kind in KINDS:  # of what may have overflowed, and be NaN, nothing is known
        with np.errstate(all="ignore"):
            assert np.isinf(activation(Activation(kind), Ball(np.array([1.0, -1.0]), np.full(2, np.inf))).e).all(), kind


def test_integers_know_which_numbers_may_go_either_way():
    rng = np.random.default_rng(1)
    W = rng.normal(size=(5, 70)).astype(np.float32)
    x = rng.normal(size=(4, 70))
    for name in ("int16", "int8", "int4"):
        matrix = matrix_of(W, name)
        sure = matrix.times(exact(x), 0.0)
        assert (sure.e < 1e-30).all()
        off = Ball(x, np.full(x.shape, 1e-6))
        ball = matrix.times(off, 0.0)
        for seed in range(20):
            near = x + np.random.default_rng(seed).uniform(-1e-6, 1e-6, x.shape)
            assert (np.abs(matrix.times(exact(near), 0.0).v - ball.v) <= ball.e).all()
        assert ball.e.max() < np.abs(W).sum(axis=1).max() * np.abs(x).max() / 127
    smoothing = np.arange(70) % 7
    for name in ("int16", "int8"):
        same = matrix_of((W * 2.0**smoothing).astype(np.float32), name).times(exact(x * 2.0**-smoothing), 0.0)
        assert np.array_equal(matrix_of(W, name, smoothing).times(exact(x), 0.0).v, same.v)
    huge = Integers(np.full((1, 2), 127), np.full((1, 1), 1e30, np.float32))
    assert np.isinf(huge.times(Ball(np.full((1, 2), 2e4), np.full((1, 2), 2e4)), 0.0).e).all(), "it may overflow"
