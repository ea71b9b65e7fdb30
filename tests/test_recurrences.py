# SPDX-License-Identifier: MIT
"""Layers of modern recurrences: against their equations in NumPy float64, and against golden files of PyTorch."""

import numpy as np
import pytest

import recurrence_formulas
import undertow
from exported import agree, build, needs_compiler
from recurrence_cases import LAYERS, golden
from tolerances import FLOAT32_CELL, FLOAT64_AGREE

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

CASES = golden()
#: nodes of a compiled layer, at most, beside constants: its dense layers, and expressions
NODES = {"delta_net": 20, "gated_delta_net": 20, "rwkv6": 28, "rwkv7": 26}
#: what int8 weights, which are off by half of 1 / 127, may change, relative to the largest output: products and gates
#: of a dozen terms, in states that gather them
INT8 = 0.25


def model_of(case):
    return undertow.Sequential([LAYERS[case](CASES[case][0])])


def largest(y):
    return max(1.0, np.abs(y).max())


@pytest.mark.parametrize("case", CASES)
def test_formulas_are_what_pytorch_computes(case):
    w, x, y = CASES[case]
    again = getattr(recurrence_formulas, case)({k: a.astype(np.float64) for k, a in w.items()}, x.astype(np.float64))
    np.testing.assert_allclose(again, y, rtol=0, atol=FLOAT64_AGREE * largest(y))


@pytest.mark.parametrize("case", CASES)
def test_layers_compute_their_formula(case):
    """In a block, frame by frame to the bit the same, and in a handful of nodes."""
    _, x, y = CASES[case]
    model = model_of(case)
    whole = model.run(x)
    np.testing.assert_allclose(whole, y, rtol=0, atol=FLOAT32_CELL * largest(y))
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(frame) for frame in x]), whole)
    ops = [node.op for node in model.graph.nodes if node.op != "constant"]
    assert "expression" in ops and len(ops) <= NODES.get(case, 14), ops


@pytest.mark.parametrize("case", CASES)
def test_pools_snapshots_and_small_weights(case):
    _, x, y = CASES[case]
    model = model_of(case)
    stream, pool, whole = model.stream(), model.pool(3), model.run(x)
    ids = pool.open(3)
    for t in range(4):
        stream.step(x[t])
        rows = pool.step(ids, np.stack([x[t]] * 3))
        np.testing.assert_array_equal(rows, np.stack([whole[t]] * 3))
    kept = stream.snapshot()
    later = stream.run(x[4:])
    stream.restore(kept)
    np.testing.assert_array_equal(stream.run(x[4:]), later)
    np.testing.assert_array_equal(later, whole[4:])
    for weights, limit in (("int16", 1e-2), ("int8", INT8)):
        small = model.with_weights(weights)
        np.testing.assert_allclose(small.run(x), y, rtol=0, atol=limit * largest(y), err_msg=weights)


@needs_compiler
def test_exported_c_has_the_same_bits(tmp_path):
    models = {case: model_of(case) for case in CASES}
    for case, exported in build(tmp_path / "c", models, flags=("-O0",)).items():
        agree(exported, {"input": CASES[case][1]})


def test_states_have_names_of_the_layer():
    w = CASES["min_gru"][0]
    layers = [undertow.MinGRU.from_torch(w, name="mix"), undertow.MinGRU.from_torch(w, name="mix")]
    model = undertow.Sequential(layers)
    assert list(model.states) == ["mix.h", "mix_2.h"]
    assert repr(layers[0]) == "MinGRU 'mix'(6 -> 6)" and layers[0].output_size == 6
    under = {f"blocks.0.{k}": a for k, a in w.items()}
    np.testing.assert_array_equal(
        undertow.Sequential([undertow.MinGRU.from_torch(under, "blocks.0")]).run(CASES["min_gru"][1]),
        undertow.Sequential(layers[:1]).run(CASES["min_gru"][1]),
    )


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_shape_is_named(case):
    """Each array in turn, with an axis too many; every error names an array, what is expected and what it got."""
    weights = CASES[case][0]
    for name, array in weights.items():
        with pytest.raises(undertow.ShapeError, match=r"has shape .*expected") as told:
            LAYERS[case]({**weights, name: np.stack([array, array])})
        assert type(LAYERS[case](weights)).__name__ in str(told.value)


@pytest.mark.parametrize("case", CASES)
def test_a_missing_array_is_named(case):
    weights = CASES[case][0]
    for name in weights:
        rest = {k: a for k, a in weights.items() if k != name}
        try:
            LAYERS[case](rest)
        except undertow.ShapeError as error:
            assert name in str(error) or "expected" in str(error)
        except TypeError as error:  # the constructor's own argument
            assert name in str(error)


def test_settings_that_make_no_sense():
    one = np.ones((4, 4))
    for make, words in {
        lambda: undertow.MinGRU(one, one, candidate="tanh"): "candidate is 'tanh', expected 'linear' or 'positive'",
        lambda: undertow.RetNet(one, one, one, one, one, heads=3): "heads is 3, expected a divisor of 4",
        lambda: undertow.RetNet(one, one, one, one, one, heads=0): "heads is 0, expected a divisor of 4",
        lambda: undertow.RetNet(one, one, one, one, one, heads=4): "rotary positions need pairs",
        lambda: undertow.RetNet(one, one, one, one, one, heads=2, rotary=-1.0): "rotary is -1.0",
        lambda: undertow.GLA(one, one, one, one, one, one, one, heads=2, normaliser=0): "normaliser is 0",
        lambda: undertow.DeltaNet(one, one, one, one[:2], one, q_conv=one): "go together",
        lambda: undertow.SLSTM(np.ones((16, 4)), np.ones((16, 4)), forget="relu"): "forget is 'relu'",
        lambda: undertow.MLSTM(one, one, one, one, one[:2], one[:2], cap=-1): "cap is -1",
        lambda: undertow.MLSTM(one, one, one, one, np.ones((3, 4)), np.ones((3, 4))): "the number of heads is 3",
        lambda: undertow.SRU(one[:, :3], one[:, :3], one[:, :3]): "need W_x",
        lambda: undertow.LRU(one[0], one[0], one, one, one[:2], one[:2], one[0]): "passes 4 inputs",
        lambda: undertow.QRNN.from_torch({"linear.weight": np.ones((6, 4))}, window=0): "linear.weight",
        lambda: undertow.IndRNN(None, one[0]): "W",
        lambda: undertow.IndRNN([["a"]], one[0]): "W has dtype",
    }.items():
        with pytest.raises((ValueError, TypeError), match=words):
            make()
    with pytest.raises(undertow.UnsupportedError, match="v1 mixes in values of the model's first block"):
        undertow.RWKV7.from_torch({**CASES["rwkv7"][0], "v1": one})
    with pytest.raises(undertow.ShapeError, match=r"takes frames of shape \(2,\), but 'x' has \(3,\)"):
        graph = undertow.Graph()
        undertow.IndRNN(np.ones((3, 2)), np.ones(3)).add_to(graph, graph.input("x", 3))


def test_exponential_gates_overflow_nothing():
    """Gates of some hundred, which exp takes beyond float32, and gates so low that it gives 0."""
    for offset in (300.0, -300.0):
        w = dict(CASES["s_lstm"][0])
        w["b"] = w["b"] + np.repeat(np.float32([offset, 0, 0, 0]), 8)
        y = undertow.Sequential([undertow.SLSTM(**w)]).run(CASES["s_lstm"][1])
        assert np.isfinite(y).all()
        # a factor common to all input gates cancels, whatever it is
        np.testing.assert_allclose(y, CASES["s_lstm"][2], atol=1e-4)
        w = dict(CASES["rwkv4"][0])
        x = CASES["rwkv4"][1]
        w["time_first"] = w["time_first"] + np.float32(offset)
        assert np.isfinite(undertow.Sequential([undertow.RWKV4.from_torch(w)]).run(x)).all()
    w = dict(CASES["m_lstm"][0])
    w["igate_preact.bias"] = w["igate_preact.bias"] + np.float32(200)
    assert np.isfinite(undertow.Sequential([undertow.MLSTM.from_torch(w, cap=0)]).run(CASES["m_lstm"][1])).all()


def test_more_forms_of_the_layers(rng):
    """What cases of the golden file leave out, against their equations."""
    x = rng.normal(size=(9, 4)).astype(np.float32)

    def run(layer):
        return undertow.Sequential([layer]).run(x)

    W = rng.normal(size=(3, 4, 4)).astype(np.float32)
    f, i, new = (x.astype(np.float64) @ w.T.astype(np.float64) for w in W)
    f, i = recurrence_formulas.sig(f), recurrence_formulas.sig(i)
    h, rows = np.zeros(4), []
    for t in range(9):
        h = f[t] * h + i[t] * new[t]
        rows.append(h)
    np.testing.assert_allclose(run(undertow.MinLSTM(*W, normalise=False)), rows, atol=FLOAT32_CELL * 8)
    h, rows = np.zeros(4), []
    for t in range(9):
        h = (1 - f[t]) * h + f[t] * new[t]
        rows.append(h)
    np.testing.assert_allclose(run(undertow.MinGRU(W[0], W[2])), rows, atol=FLOAT32_CELL * 8)
    # without positions and gate, and with a norm that subtracts means
    q, k, v, o = (rng.normal(size=(4, 4)).astype(np.float32) for _ in range(4))
    S, rows = np.zeros((2, 2, 2)), []
    for frame in x.astype(np.float64):
        y = np.zeros((2, 2))
        for n in range(2):
            S[n] = (1 - 2.0 ** (-5 - n)) * S[n] + np.outer((k @ frame).reshape(2, 2)[n], (v @ frame).reshape(2, 2)[n])
            y[n] = S[n].T @ (q @ frame).reshape(2, 2)[n] / np.sqrt(2)
        rows.append(o @ recurrence_formulas.head_norm(y, 1, 0, 1e-2))
    layer = undertow.RetNet(q, k, v, None, o, heads=2, rotary=None, centred=True, eps=1e-2)
    np.testing.assert_allclose(run(layer), rows, atol=FLOAT32_CELL * 8)
