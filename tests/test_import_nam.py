# SPDX-License-Identifier: MIT
"""Neural Amp Modeler files: written here with NumPy, computed here in float64; everything else refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_MODEL
from undertow import FormatError, ShapeError, UnsupportedError


def capture(rng, n_in=1, hidden=5, n_layers=1, n_out=1):
    """The arrays of one capture: per layer [W R], b, h0, c0, then the head."""
    layers = [
        [
            rng.normal(0, 0.5, shape)
            for shape in ((4 * hidden, (hidden if k else n_in) + hidden), (4 * hidden,), (hidden,), (hidden,))
        ]
        for k in range(n_layers)
    ]
    return layers, [rng.normal(0, 0.5, (n_out, hidden)), rng.normal(0, 0.5, n_out)]


def as_file(layers, head, **changes):
    hidden = len(layers[0][2])
    flat = np.concatenate([a.ravel() for a in (*(a for layer in layers for a in layer), *head)])
    config = {"input_size": layers[0][0].shape[1] - hidden, "hidden_size": hidden, "num_layers": len(layers)}
    if len(head[1]) != 1:
        config |= {"in_channels": config["input_size"], "out_channels": len(head[1])}
    return {
        "version": "0.5.4",
        "metadata": {"name": "a test", "gain": 0.1},
        "architecture": "LSTM",
        "config": config,
        "weights": flat.tolist(),
        "sample_rate": 48000,
    } | changes


def save(tmp_path, table, name="amp.nam"):
    path = tmp_path / name
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return path


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def truth(layers, head, X):
    """Float64, written from the description of the format."""
    states = [(h.copy(), c.copy()) for _, _, h, c in layers]
    rows = []
    for x in X.astype(np.float64):
        for k, (w, b, _, _) in enumerate(layers):
            h, c = states[k]
            i, f, g, o = np.split(w @ np.concatenate([x, h]) + b, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            states[k] = (x := sigmoid(o) * np.tanh(c), c)
        rows.append(head[0] @ x + head[1])
    return np.array(rows), states


@pytest.mark.parametrize(
    "sizes", [{}, {"hidden": 16, "n_layers": 2}, {"n_in": 3, "n_layers": 3, "n_out": 2}], ids=["one", "two", "channels"]
)
def test_captures_equal_float64(tmp_path, sizes):
    rng = np.random.default_rng(11)
    layers, head = capture(rng, **sizes)
    # what the file's decimals are once they are float32
    layers = [[a.astype(np.float32).astype(np.float64) for a in layer] for layer in layers]
    head = [a.astype(np.float32).astype(np.float64) for a in head]
    model = undertow.load(save(tmp_path, as_file(layers, head)))
    X = rng.normal(0, 1, (200, layers[0][0].shape[1] - len(layers[0][2]))).astype(np.float32)
    want, states = truth(layers, head, X)
    stream = model.stream()
    got = np.stack([stream.step(x) for x in X])
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_MODEL)
    np.testing.assert_array_equal(model.run(X), got)
    for k, (h, c) in enumerate(states):
        np.testing.assert_allclose(stream.state[f"lstm_{k + 1}"][0], h, rtol=0, atol=FLOAT32_MODEL)
        np.testing.assert_allclose(stream.state[f"lstm_{k + 1}"][1], c, rtol=0, atol=FLOAT32_MODEL)
    assert "48000 Hz" in str(model)


def test_a_rate_need_not_be_stated(tmp_path):
    layers, head = capture(np.random.default_rng(1))
    for rate in (None, -1, -1.0):
        assert "not stated" in str(undertow.load(save(tmp_path, as_file(layers, head, sample_rate=rate))))


def changed(**changes):
    return as_file(*capture(np.random.default_rng(2)), **changes)


def config(**changes):
    table = changed()
    return table | {"config": table["config"] | changes}


REFUSED = [
    (changed(architecture="ConvNet"), UnsupportedError, "'ConvNet' is not supported; expected 'LSTM' or 'WaveNet'"),
    (changed(architecture=["LSTM"]), UnsupportedError, "architecture"),
    (changed(version="0.4.0"), UnsupportedError, r"version '0\.4\.0'"),
    (changed(version="1.0.0"), UnsupportedError, r"version '1\.0\.0'"),
    (changed(version="0.5"), FormatError, "version must look like"),
    (changed(version=5), FormatError, "version must look like"),
    (changed(extra=1), UnsupportedError, "'extra' = 1"),
    (changed(sample_rate="fast"), FormatError, "sample_rate"),
    (changed(sample_rate=-5), FormatError, "sample_rate"),
    (changed(config=[1]), FormatError, "config must be an object"),
    (changed(weights={"a": 1}), ShapeError, "need 156 numbers, got a dict"),
    (changed(weights=[0.0] * 155), ShapeError, "need 156 numbers, got 155"),
    (changed(weights=[0.0] * 155 + [True]), FormatError, r"weights\[155\].*True"),
    (changed(weights=[0.0] * 155 + [1e39]), FormatError, r"weights\[155\]"),
    (changed(weights=[0.0] * 155 + [10**400]), FormatError, r"weights\[155\]"),
    (config(hidden_size=0), FormatError, "hidden_size must be"),
    (config(hidden_size=2.0), FormatError, "hidden_size must be"),
    (config(hidden_size=10**9), FormatError, "hidden_size must be"),
    (config(hidden_size=65536, num_layers=100), ShapeError, "need .* numbers"),
    (config(num_layers=0), FormatError, "num_layers must be"),
    (config(in_channels=2), UnsupportedError, "in_channels = 2"),
    (config(bidirectional=True), UnsupportedError, "'bidirectional' = True"),
    (json.dumps(changed()).replace("0.5.4", "0.5.4", 1)[:-40], FormatError, "not valid JSON"),
    (json.dumps(changed(weights=[0.0] * 155)).replace("[0.0,", "[NaN, 0.0,"), FormatError, r"weights\[0\]"),
    ("[1]", FormatError, "is a list"),
    ("[" * 100_000, FormatError, "nested too deeply"),
    ('{"weights": [1]}', FormatError, "'version' is missing"),
    ("", FormatError, "the file is empty"),
    (" ", FormatError, "not valid JSON"),
]


@pytest.mark.parametrize(("table", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_everything_else_is_refused_by_name(tmp_path, table, error, message):
    with pytest.raises(error, match=message) as found:
        undertow.load(save(tmp_path, table))
    assert "amp.nam" in str(found.value)
    assert len(str(found.value)) < 1000


# -- WaveNet --------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": sigmoid,
    "SiLU": lambda x: x * sigmoid(x),
    "Softsign": lambda x: x / (1 + abs(x)),
}


def function(activation):
    table = activation if isinstance(activation, dict) else {"type": activation}
    if table["type"] == "LeakyReLU":
        return lambda x: np.where(x > 0, x, table.get("negative_slope", 0.01) * x)
    return FUNCTIONS[table["type"]]


def stack(n_in, channels, head, dilations, kernel=3, activation="Tanh", gated=False, bias=False, **more):
    return {
        "input_size": n_in,
        "condition_size": 1,
        "head_size": head,
        "channels": channels,
        "kernel_size": kernel,
        "dilations": dilations,
        "activation": activation,
        "gated": gated,
        "head_bias": bias,
    } | more


def settings(s):
    """(taps of each layer, its activation, (width, taps, dilation, bias) of the head), from either way of writing."""
    n = len(s["dilations"])
    sizes = s.get("kernel_sizes") or [s["kernel_size"]] * n
    activations = s["activation"] if isinstance(s["activation"], list) else [s["activation"]] * n
    head = s.get("head")
    if head is None:
        return sizes, activations, (s["head_size"], 1, 1, s["head_bias"])
    return sizes, activations, (head["out_channels"], head["kernel_size"], head.get("head_dilation", 1), head["bias"])


def wavenet(rng, stacks, **changes):
    """A file with random weights: as many as its layers take, and the scale behind them."""
    n = 1
    for s in stacks:
        sizes, _, (width, taps, _, bias) = settings(s)
        c, wide = s["channels"], s["channels"] * (2 if s.get("gated") else 1)
        n += c * s["input_size"] + width * (c * taps + bias)
        n += sum(wide * c * size + wide + wide + c * c + c for size in sizes)
    return {
        "version": "0.5.4",
        "metadata": None,
        "architecture": "WaveNet",
        "config": {"layers": stacks, "head": None, "head_scale": 0.02},
        "weights": [*rng.normal(0, 0.5, n - 1).astype(np.float32).tolist(), 1.25],
        "sample_rate": 48000,
    } | changes


def wavenet_truth(table, X, rested=True):
    """Float64: the whole sequence, with silence before it, one convolution after the other."""
    stacks, weights = table["config"]["layers"], iter(table["weights"])

    def take(*shape):
        return np.array([next(weights) for _ in range(int(np.prod(shape)))]).reshape(shape)

    def convolved(W, x, dilation):
        y = np.zeros((len(W), x.shape[1]))
        for k in range(W.shape[2]):
            shift = dilation * (W.shape[2] - 1 - k)
            for t in range(shift, x.shape[1]):
                y[:, t] += W[:, :, k] @ x[:, t - shift]
        return y

    silence = 200 if rested else 0  # longer than any of them looks back
    audio = np.concatenate([np.zeros(silence), X[:, 0].astype(np.float64)])
    x, head = audio[None], None
    for s in stacks:
        c = s["channels"]
        wide = 2 * c if s.get("gated") else c
        sizes, activations, (width, taps, head_dilation, bias) = settings(s)
        x = take(c, s["input_size"]) @ x
        total = np.zeros((c, len(audio))) if head is None else head
        for size, dilation, activation in zip(sizes, s["dilations"], activations, strict=True):
            W, b, M, V, v = take(wide, c, size), take(wide), take(wide), take(c, c), take(c)
            z = b[:, None] + M[:, None] * audio + convolved(W, x, dilation)
            f = function(activation)(z[:c])
            z = f * sigmoid(z[c:]) if s.get("gated") else f
            total, x = total + z, x + V @ z + v[:, None]
        head = convolved(take(width, c, taps), total, head_dilation)
        if bias:
            head = head + take(width)[:, None]
    scale = next(weights)
    assert next(weights, None) is None
    return (scale * head)[:, silence:].T


LATER = {
    "bottleneck": 3,
    "groups_input": 1,
    "groups_input_mixin": 1,
    "layer1x1": {"active": True, "groups": 1},
    "head1x1": {"active": False, "out_channels": 1, "groups": 1},
    "conv_pre_film": False,
    "activation_post_film": {"active": False, "shift": True, "groups": 1},
    "activation": {"type": "Softsign"},
}
A2 = {
    "input_size": 1,
    "condition_size": 1,
    "channels": 3,
    "head": {"out_channels": 1, "kernel_size": 5, "bias": True},
    "kernel_sizes": [4, 1, 6],
    "dilations": [1, 9, 3],
    "activation": [{"type": "LeakyReLU", "negative_slope": 0.3}, {"type": "LeakyReLU"}, "Tanh"],
    "gating_mode": ["none", "none", "none"],
    "secondary_activation": [None, None, None],
    "slimmable": None,
}
HEADS = [
    A2 | {"head": {"out_channels": 2, "kernel_size": 3, "bias": True, "head_dilation": 4}},
    A2 | {"input_size": 3, "channels": 2, "kernel_sizes": [2, 2, 2], "activation": "ReLU"},
]
STACKS = {
    "A2": [A2],
    "heads": HEADS,
    "one": [stack(1, 4, 1, [1, 2, 4])],
    "two": [stack(1, 4, 3, [1, 2, 5]), stack(4, 3, 1, [8, 1], kernel=2, activation="ReLU", bias=True)],
    "gated": [stack(1, 3, 2, [1, 3], gated=True, activation="SiLU"), stack(3, 2, 2, [2], gated=True, bias=True)],
    "later": [stack(1, 3, 1, [1, 7], kernel=1, activation="Sigmoid"), stack(3, 1, 1, [1]), stack(1, 1, 1, [2])],
    "neutral": [stack(1, 3, 1, [1, 2, 3]) | LATER],
}


@pytest.mark.parametrize("stacks", STACKS.values(), ids=STACKS)
def test_wavenets_equal_float64_from_the_first_sample(tmp_path, stacks):
    rng = np.random.default_rng(7)
    table = wavenet(rng, stacks)
    model = undertow.load(save(tmp_path, table))
    X = rng.normal(0, 1, (60, 1)).astype(np.float32)
    want = wavenet_truth(table, X)
    # a start with zeros in every window would show
    assert stacks[0].get("kernel_size") == 1 or abs(wavenet_truth(table, X, rested=False) - want)[0].max() > 0.01
    assert model.latency == 0
    stream = model.stream()
    got = np.stack([stream.step(x) for x in X])
    np.testing.assert_array_equal(model.run(X), got)
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_MODEL)
    assert "WaveNet, 48000 Hz" in str(model)


def test_a_wavenet_rests_in_silence(tmp_path):
    model = undertow.load(save(tmp_path, wavenet(np.random.default_rng(3), STACKS["two"])))
    y = model.run(np.zeros((40, 1), np.float32))
    assert np.ptp(y, axis=0).max() < 1e-6 < abs(y).max()


def altered(*path, value, stacks="two"):
    table = json.loads(json.dumps(wavenet(np.random.default_rng(4), STACKS[stacks])))
    *way, last = path
    place = table
    for key in way:
        place = place[key]
    place[last] = value
    return table


IN = ("config", "layers", 1)
REFUSED_WAVENETS = [
    (altered("config", "head", value={"channels": 2}), UnsupportedError, "head = a dict of 1"),
    (altered("config", "condition_dsp", value={}), UnsupportedError, "'condition_dsp'"),
    (altered("config", "in_channels", value=2), UnsupportedError, "in_channels = 2"),
    (altered("config", "layers", value=[]), FormatError, "layers must be a list"),
    (altered("config", "layers", value=[3]), FormatError, r"layers\[0\] must be an object"),
    (altered(*IN, "condition_size", value=2), UnsupportedError, "condition_size = 2"),
    (altered(*IN, "slimmable", value={"method": "x"}), UnsupportedError, "'slimmable'"),
    (altered(*IN, "groups_input", value=3), UnsupportedError, "'groups_input' = 3"),
    (altered(*IN, "groups_input", value=True), UnsupportedError, "'groups_input' = True"),
    (altered(*IN, "bottleneck", value=6), UnsupportedError, "'bottleneck' = 6"),
    (altered(*IN, "gating_mode", value="blended"), UnsupportedError, "'gating_mode' = 'blended'"),
    (altered(*IN, "conv_pre_film", value={"active": True}), UnsupportedError, "'conv_pre_film'"),
    (altered(*IN, "head1x1", value={"active": True}), UnsupportedError, "'head1x1'"),
    (altered(*IN, "activation", value="Fasttanh"), UnsupportedError, "activation 'Fasttanh'"),
    (altered(*IN, "activation", value={"type": "PReLU", "negative_slope": 0.1}), UnsupportedError, "activation a dict"),
    (altered(*IN, "channels", value=0), FormatError, "channels must be"),
    (altered(*IN, "channels", value=4), FormatError, r"layers\[1\] has 4 channels, the head before 3"),
    (altered(*IN, "input_size", value=3), FormatError, r"layers\[1\] takes 3 inputs"),
    (altered(*IN, "kernel_size", value=10**9), FormatError, "kernel sizes must be"),
    (altered(*IN, "kernel_sizes", value=[1, 2]), FormatError, "either kernel_size or kernel_sizes"),
    (altered(*IN, "head", value={"out_channels": 1}), FormatError, "without head_size beside it"),
    (altered(*IN, "kernel_sizes", value=[1, 2], stacks="heads"), FormatError, "2 entries for 3 dilations"),
    (altered(*IN, "activation", value=["Tanh"], stacks="heads"), FormatError, "1 entries for 3 dilations"),
    (altered(*IN, "head", "bias", value=1, stacks="heads"), FormatError, "bias must be true or false"),
    (altered(*IN, "head", "groups", value=2, stacks="heads"), UnsupportedError, "head: 'groups' = 2"),
    (altered(*IN, "gating_mode", value=["none", "gated", "none"], stacks="heads"), UnsupportedError, "'gating_mode'"),
    (altered(*IN, "dilations", value=[1, 0]), FormatError, "dilations must be whole numbers"),
    (altered(*IN, "dilations", value=[1 << 20, 1]), UnsupportedError, "look back"),
    (altered(*IN, "dilations", value="1"), FormatError, "dilations must be a list"),
    (altered(*IN, "gated", value=1), FormatError, "gated must be true or false"),
    (altered(*IN, "gated", value=True), ShapeError, "need .* numbers"),
    (altered("weights", value=[0.0] * 7), ShapeError, "numbers, got 7"),
    (altered("weights", 0, value="x"), FormatError, r"weights\[0\]"),
]


@pytest.mark.parametrize(("table", "error", "message"), REFUSED_WAVENETS, ids=range(len(REFUSED_WAVENETS)))
def test_other_wavenets_are_refused_by_name(tmp_path, table, error, message):
    with pytest.raises(error, match=message) as found:
        undertow.load(save(tmp_path, table))
    assert "amp.nam" in str(found.value)


# -- containers -----------------------------------------------------------------------------------------------------


def container(rng):
    models = [as_file(*capture(rng)), wavenet(rng, STACKS["two"]), wavenet(rng, STACKS["A2"])]
    submodels = [{"max_value": (i + 1) / 3, "model": model} for i, model in enumerate(models)]
    table = {"version": "0.7.0", "architecture": "SlimmableContainer", "config": {"submodels": submodels}}
    return models, table | {"weights": [], "sample_rate": 48000}


def test_a_container_gives_its_full_size_or_the_one_asked_for(tmp_path):
    rng = np.random.default_rng(9)
    models, table = container(rng)
    X = rng.normal(0, 1, (20, 1)).astype(np.float32)
    path = save(tmp_path, table)
    for k, model in enumerate(models):
        want = undertow.load(save(tmp_path, model, "one.nam"))
        np.testing.assert_array_equal(undertow.load(path, submodel=k).run(X), want.run(X))
    whole = undertow.load(path)
    np.testing.assert_array_equal(whole.run(X), want.run(X))
    assert "WaveNet (capture 3 of 3)" in str(whole)


def test_containers_that_are_none(tmp_path):
    _, table = container(np.random.default_rng(9))
    for wrong in (3, -1, "x"):
        with pytest.raises(ValueError, match="the file holds 3; expected 0 to 2"):
            undertow.load(save(tmp_path, table), submodel=wrong)
    with pytest.raises(ValueError, match="no container: its architecture is 'LSTM'"):
        undertow.load(save(tmp_path, changed()), submodel=0)
    for config, message in (
        ({"submodels": []}, "must have a list"),
        ({"submodels": [{"model": 3}]}, "the JSON is a int"),
        ({"submodels": [{"model": {}}]}, "'version' is missing"),
        ({"submodels": [7]}, r"submodels\[0\] must be an object"),
        (None, "must have a list"),
    ):
        with pytest.raises(FormatError, match=message):
            undertow.load(save(tmp_path, table | {"config": config}))
    nested = table["config"]["submodels"][0] | {"model": table}
    with pytest.raises(UnsupportedError, match="'SlimmableContainer' is not supported"):
        undertow.load(save(tmp_path, table | {"config": {"submodels": [nested]}}))
    with pytest.raises(UnsupportedError, match="'blend' = 1"):
        undertow.load(save(tmp_path, table | {"config": table["config"] | {"blend": 1}}))
