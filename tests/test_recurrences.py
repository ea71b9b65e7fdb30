# SPDX-License-Identifier: MIT
"""Layers of modern recurrences: against their equations in NumPy float64, and against golden files of PyTorch."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import recurrence_formulas
import undertow
from exported import agree, build, needs_compiler
from recurrence_cases import LAYERS, golden
from tolerances import FLOAT32_CELL, FLOAT64_AGREE
from undertow.layers.recurrence import Recurrence

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

CASES = golden()
#: nodes of a compiled layer, at most, beside constants: its dense layers, and expressions
NODES = {"delta_net": 20, "gated_delta_net": 20, "rwkv6": 28, "rwkv7": 26, "ltc": 20, "conv_lstm": 20, "conv_gru": 22}
NODES |= {"transformer_block": 18, "transformer_block_norm_first": 18}
#: what int8 weights, which are off by half of 1 / 127, may change, relative to the largest output: products and gates
#: of a dozen terms, in states that gather them
INT8 = 0.25


def model_of(case):
    weights, x, _ = CASES[case]
    return undertow.Sequential([LAYERS[case](weights)], input_shape=x.shape[1:])


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
    pieces = model.stream()
    np.testing.assert_array_equal(np.concatenate([pieces.run(x[a:b]) for a, b in ((0, 2), (2, 7), (7, 9))]), whole)
    for isa in undertow.isas():
        np.testing.assert_array_equal(undertow.Model.from_graph(model.graph, isa=isa).run(x), whole, err_msg=isa)
    ops = [node.op for node in model.graph.nodes if node.op != "constant"]
    assert {"expression", "rnn", "attend"} & set(ops) and len(ops) <= NODES.get(case, 14), ops


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


@pytest.mark.parametrize("case", set(CASES) - {"lif"})  # whose weights may have any shape
def test_a_wrong_shape_is_named(case):
    """Each array in turn, with an axis too many; every error names an array, what is expected and what it got."""
    weights = CASES[case][0]
    for name, array in weights.items():
        with pytest.raises(undertow.ShapeError, match=r"has shape .*expected") as told:
            LAYERS[case]({**weights, name: np.stack([array, array])})
        assert {type(LAYERS[case](weights)).__name__, "Attention"} & set(re.findall(r"\w+", str(told.value)))


@pytest.mark.parametrize("case", CASES)
def test_a_missing_array_is_named(case):
    weights = CASES[case][0]
    for name in weights:
        rest = {k: a for k, a in weights.items() if k != name}
        try:
            LAYERS[case](rest)
        except (undertow.ShapeError, undertow.UnsupportedError) as error:
            assert name in str(error) or "expected" in str(error) or ".bias" in str(error) or "without" in str(error)
        except (TypeError, KeyError) as error:  # the constructor's own argument
            assert name in str(error)


def test_settings_that_make_no_sense():
    one, neurons = np.ones((4, 4)), [*np.ones((3, 4)), *np.ones((4, 4, 4)), *np.ones((4, 2, 4))]
    attend = undertow.Attention
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
        lambda: undertow.CfC(one, one, one, one): "takes 4 numbers, expected inputs and 4 units",
        lambda: undertow.LTC(*neurons, unfolds=0): "unfolds is 0",
        lambda: undertow.LTC(*neurons, positive="no"): "positive is 'no'",
        lambda: undertow.LTC(*neurons, output_w=np.ones(5)): "at most 4",
        lambda: undertow.ESN(one, one, lr=0): "lr is 0, expected a number above 0 and at most 1",
        lambda: undertow.ESN(one, one, b_out=one[0]): "without Wout",
        lambda: undertow.LIF(0.5, reset="down"): "reset is 'down'",
        lambda: undertow.LIF([0.5, 0.5], [1, 1, 1]): r"threshold has shape \(3,\), expected \(2,\)",
        lambda: undertow.ConvLSTM(np.ones((8, 3, 2, 3)), size=(4, 5)): "a window of 2 x 3, expected odd",
        lambda: undertow.ConvLSTM(np.ones((8, 3, 3, 3)), size=(0, 5)): r"size is \(0, 5\)",
        lambda: undertow.ConvGRU(np.ones((4, 2, 3, 3)), np.ones((2, 2, 3, 3)), size=(4, 5)): "W takes 2 channels",
        lambda: undertow.LSTM(np.ones((16, 3)), np.ones((16, 4)), cell_clip=0): "cell_clip is 0",
        lambda: undertow.LSTM(np.ones((16, 3)), np.ones((16, 4)), proj_clip=np.nan): "proj_clip is nan",
        lambda: attend(one, one, one, window=0): "window is 0, expected 1 to",
        lambda: attend(one, one, one, window=4, heads=3): "heads is 3, expected a divisor of 4",
        lambda: attend(one, one, one, window=4, heads=4, shared=3): "shared is 3, expected a divisor of 4",
        lambda: undertow.Attention(
            one, one, one, window=4, heads=4, shared=2
        ): r"W_k has shape \(4, 4\), expected \(2, 4\)",
        lambda: undertow.Attention(
            one, one, one, np.ones((2, 3)), window=4
        ): r"W_o has shape \(2, 3\), expected \(2, 4\)",
        lambda: attend(one, one, one, window=4, bias=np.ones(3)): r"bias has shape \(3,\), expected \(4,\)",
        lambda: undertow.Attention(
            one, one, one, window=4, additive=one[0], heads=2
        ): "additive scores are of one head",
        lambda: attend(one, one, one, window=4, cap=-1): "cap is -1",
        lambda: undertow.TransformerBlock(None, one, one): "expected an undertow.Attention",
        lambda: undertow.TransformerBlock(attend(one, one, one[:2], window=2), one, one): "as of linear1",
        lambda: undertow.IndRNN([["a"]], one[0]): "W has dtype",
    }.items():
        with pytest.raises((ValueError, TypeError), match=words):
            make()
    with pytest.raises(ValueError, match="mix in values of the model's first block"):
        undertow.RWKV7.from_torch(CASES["rwkv7"][0] | {"v0": np.ones(6)})
    apart = {k.replace("g_norm_swish_gate", "g_norm"): a for k, a in CASES["gla"][0].items()}
    assert "norm" in undertow.GLA.from_torch(apart, heads=2).w
    with pytest.raises(undertow.UnsupportedError, match=r"'rest', 'q_conv1d.bias' would change what"):
        undertow.DeltaNet.from_torch(CASES["delta_net"][0] | {"rest": one, "q_conv1d.bias": one[0]})
    with pytest.raises(undertow.ShapeError, match=r"graded_spikes_factor has shape \(2,\), expected one number"):
        undertow.LIF(0.5, graded_spikes_factor=[1, 2])
    with pytest.raises(undertow.ShapeError, match="no size of its own"):
        undertow.LIF(0.5).output_size  # noqa: B018
    for layer in (undertow.ESN, undertow.SLSTM):
        with pytest.raises(undertow.UnsupportedError, match="no package has names for it"):
            layer.from_torch({})
    with pytest.raises(undertow.UnsupportedError, match="cell_clip is not supported with reverse=True"):
        undertow.LSTM(np.ones((16, 3)), np.ones((16, 4)), cell_clip=1, reverse=True)
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
    c, rows = np.zeros(4), []
    for t in range(9):
        c = f[t] * c + (1 - f[t]) * new[t]
        rows.append(i[t] * np.tanh(c) + (1 - i[t]) * 1.5 * x[t])
    weight = {"weight": np.stack([W[2], W[0], W[1]]).transpose(2, 1, 0).reshape(4, 12), "bias": np.zeros(8)}
    layer = undertow.SRU.from_torch(weight | {"scale_x": np.float32([1.5])}, activation="tanh")
    np.testing.assert_allclose(run(layer), rows, atol=FLOAT32_CELL * 8)
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


def test_bounds_go_with_the_other_settings_of_an_lstm(rng):
    """Bounds that nothing reaches change nothing: peepholes, a clip, coupled gates, starts, the last output alone."""
    W, R = rng.normal(size=(16, 3)).astype(np.float32), rng.normal(size=(16, 4)).astype(np.float32)
    x = rng.normal(size=(9, 3)).astype(np.float32)
    settings = {"b": rng.normal(size=16), "peephole": rng.normal(size=(3, 4)), "clip": 1.5}
    settings |= {"h0": rng.normal(size=4) / 3, "c0": rng.normal(size=4) / 3, "gate_order": "ifco"}
    tf = undertow.LSTM.from_tf([np.ones((3 + 4, 16)), np.zeros(16)], cell_clip=0.5)
    assert tf.cell_clip == 0.5 and tf.proj_clip is None
    assert undertow.Sequential([tf]).run(np.ones((40, 3), np.float32)).max() < np.tanh(0.5)
    for more in ({}, {"input_forget": True}, {"return_sequences": False}, {"activations": ("sigmoid", "relu", "tanh")}):
        plain, bounded = (
            undertow.Sequential([undertow.LSTM(W, R, **settings, **more, **bound)]).run(x)
            for bound in ({}, {"cell_clip": 1e3, "proj_clip": 1e3})
        )
        np.testing.assert_allclose(bounded, plain, atol=FLOAT32_CELL * 4, err_msg=str(more))


def attended(q, k, v, window, heads, shared, bias, cap=0.0):
    """Grouped heads over the last frames, by their definition."""
    rows, width = [], q.shape[1] // heads
    for t in range(len(q)):
        seen, y = range(max(0, t - window + 1), t + 1), []
        for n in range(heads):
            of = slice(n // (heads // shared) * width, (n // (heads // shared) + 1) * width)
            scores = np.array([q[t, n * width : (n + 1) * width] @ k[s, of] for s in seen]) / np.sqrt(width)
            scores = cap * np.tanh(scores / cap) if cap else scores
            y.append(recurrence_formulas.softmax(scores + bias[n, window - len(seen) :]) @ v[list(seen), of])
        rows.append(np.concatenate(y))
    return np.array(rows)


@pytest.mark.parametrize("window", [1, 2, 7, 40])
def test_attention_with_shared_heads_bias_and_cap(window, rng):
    W = [rng.normal(size=(n, 5)).astype(np.float32) for n in (12, 6, 6)]
    x, bias = rng.normal(size=(12, 5)).astype(np.float32), rng.normal(size=(4, window)).astype(np.float32)
    q, k, v = (x.astype(np.float64) @ w.T.astype(np.float64) for w in W)
    for more in ({"bias": bias}, {"bias": bias[0]}, {"cap": 2.0}):
        layer = undertow.Attention(*W, window=window, heads=4, shared=2, **more)
        want = attended(
            q, k, v, window, 4, 2, np.broadcast_to(more.get("bias", 0.0), (4, window)), more.get("cap", 0.0)
        )
        model = undertow.Sequential([layer])
        np.testing.assert_allclose(model.run(x), want, atol=FLOAT32_CELL * 10, err_msg=str(more))
        stream = model.stream()
        np.testing.assert_array_equal(np.stack([stream.step(frame) for frame in x]), model.run(x))


@pytest.mark.parametrize("reset", ["zero", "none"])
def test_neurons_reset_as_told(reset, rng):
    x, v, rows = rng.normal(size=(40, 3)).astype(np.float32), np.zeros(3), []
    for frame in x.astype(np.float64):
        fired = v > 0.75
        v = 0.5 * v + frame
        v = np.where(fired, 0.0, v) if reset == "zero" else v
        rows.append(v)
    layer = undertow.LIF([0.5, 0.5, 0.5], 0.75, reset=reset, membrane=True)
    np.testing.assert_allclose(undertow.Sequential([layer]).run(x), rows, atol=FLOAT32_CELL)
    tensors = {"beta": np.float32(0.5), "threshold": np.float32(0.75), "graded_spikes_factor": np.float32(3)}
    tensors["reset_mechanism_val"] = np.int64({"zero": 1, "none": 2}[reset])
    spiking = undertow.LIF.from_torch(tensors)
    assert spiking.reset == reset
    spikes = undertow.Sequential([spiking], input_shape=3).run(x)
    np.testing.assert_array_equal(spikes, np.where(np.array(rows) > 0.75, 3.0, 0.0))
    assert undertow.LIF.from_torch(tensors, reset="subtract").reset == "subtract"


def test_more_forms_of_cells_in_continuous_time(rng):
    """Without a backbone, with two layers of it, without the gate's factor; neurons whose weights are as they are."""
    x = rng.normal(size=(9, 3)).astype(np.float32)
    W = rng.normal(size=(4, 2, 5)).astype(np.float32)
    deep = [rng.normal(size=n).astype(np.float32) for n in ((6, 5), (6,), (7, 6), (7,))]
    heads = rng.normal(size=(4, 2, 7)).astype(np.float32)
    for layer, through, matrices in (
        (undertow.CfC(*W, timespan=0.5, gated=False), [], W),
        (
            undertow.CfC(*heads, backbone=zip(deep[::2], deep[1::2], strict=True), timespan=0.5, gated=False),
            deep,
            heads,
        ),
    ):
        h, rows = np.zeros(2), []
        for frame in x.astype(np.float64):
            z = np.append(frame, h)
            for w, b in zip(through[::2], through[1::2], strict=True):
                z = 1.7159 * np.tanh(0.666 * (w @ z + b))
            one, two, a, b = (w @ z for w in matrices)
            h = np.tanh(one) + np.tanh(two) * recurrence_formulas.sig(0.5 * a + b)
            rows.append(h)
        np.testing.assert_allclose(undertow.Sequential([layer]).run(x), rows, atol=FLOAT32_CELL * 4)
    arrays = {k: np.abs(a) for k, a in CASES["ltc"][0].items()}
    straight = {k: np.log1p(np.exp(a)) if k in ("gleak", "cm", "w", "sensory_w") else a for k, a in arrays.items()}
    a, b = (
        undertow.Sequential([undertow.LTC(**w, unfolds=3, positive=p)]).run(CASES["ltc"][1])
        for w, p in ((arrays, "softplus"), (straight, "as is"))
    )
    np.testing.assert_allclose(a, b, atol=FLOAT32_CELL * 4)


def test_the_page_is_what_the_layers_say():
    """Made anew by `python docs/_ext/recurrence_table.py > docs/recurrences.md`."""
    script = ROOT / "docs" / "_ext" / "recurrence_table.py"
    if not script.exists():
        pytest.skip("needs the source tree")
    text = runpy.run_path(str(script))["page"]()
    assert text == (ROOT / "docs" / "recurrences.md").read_text(encoding="utf-8")
    classes = {name for name in undertow.layers.__all__ if is_recurrence(getattr(undertow, name))}
    assert classes == set(re.findall(r"^## (\w+)$", text, re.M))


def is_recurrence(thing):
    return isinstance(thing, type) and issubclass(thing, Recurrence)


def test_later_blocks_of_rwkv7_mix_in_values_of_the_first(rng):
    w, x, _ = CASES["rwkv7"]
    more = {k: rng.normal(size=n).astype(np.float32) for k, n in (("v0", (1, 1, 6)), ("v1", (6, 2)), ("v2", (2, 6)))}
    first = undertow.RWKV7.from_torch(w, name="first")
    second = undertow.RWKV7.from_torch(w | more, first=first, name="second")
    model = undertow.Sequential([first, second])
    w64, more = ({k: a.astype(np.float64) for k, a in d.items()} for d in (w, more))
    values = []
    between = recurrence_formulas.rwkv7(w64, x.astype(np.float64), values_of=values.append)
    taken = iter(values)

    def mixed(v, at):
        return v + (next(taken) - v) * recurrence_formulas.sig(more["v0"].ravel() + at @ more["v1"] @ more["v2"])

    want = recurrence_formulas.rwkv7(w64, between, mixed=mixed)
    np.testing.assert_allclose(model.run(x), want, atol=FLOAT32_CELL * 20 * largest(want))
    with pytest.raises(undertow.ShapeError, match="must be added to the graph before"):
        undertow.Sequential([second])


def test_a_sparse_cfc_is_masked(rng):
    w, x, _ = CASES["cfc"]
    mask = (rng.random((5, 7)) > 0.5).astype(np.float32)
    masked = {**w, "ff1.weight": w["ff1.weight"] * mask, "ff2.weight": w["ff2.weight"] * mask}
    a, b = (undertow.Sequential([undertow.CfC.from_torch(d)]).run(x) for d in (w | {"sparsity_mask": mask}, masked))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(undertow.ShapeError, match=r"'sparsity_mask' has shape \(7, 5\), expected \(5, 7\)"):
        undertow.CfC.from_torch(w | {"sparsity_mask": mask.T})
    bent = undertow.CfC.from_torch(w, activation="relu")
    h = np.zeros(5)
    for frame in x.astype(np.float64):
        z = np.maximum(w["backbone.0.weight"] @ np.append(frame, h) + w["backbone.0.bias"], 0)
        one, two, p, q = (w[f"{k}.weight"] @ z + w[f"{k}.bias"] for k in ("ff1", "ff2", "time_a", "time_b"))
        h = np.tanh(one) * recurrence_formulas.sig(-p - q) + np.tanh(two) * recurrence_formulas.sig(p + q)
    np.testing.assert_allclose(undertow.Sequential([bent]).run(x)[-1], h, atol=FLOAT32_CELL)
