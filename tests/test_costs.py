# SPDX-License-Identifier: MIT
"""`undertow info` says what each precision of a model's weights costs and saves."""

import json

import numpy as np
import pytest

import undertow
from networks import counter
from test_calibrate import frames, stack
from undertow.accuracy import calibrate, costs
from undertow.accuracy.judge import Judge
from undertow.ir.graph import Graph
from undertow.ir.precision import CODES
from undertow.model import Model

pytestmark = pytest.mark.usefixtures("quick_times")


@pytest.fixture
def files(tmp_path):
    Model.from_graph(stack()).save(tmp_path / "model.tow")
    np.save(tmp_path / "x.npy", frames()["x"])
    return tmp_path


def test_bytes_are_those_of_the_files(cli, files):
    path = files / "model.tow"
    facts = json.loads(cli("info", path, "--json")[1])
    assert [cost["precision"] for cost in facts["costs"]] == [*CODES, "fixed8"]
    for cost in facts["costs"]:
        other = json.loads(cli("info", path, "--weights", cost["precision"], "--json")[1])
        assert cost["bytes"] == other["weight_bytes"] and cost["step_us"] is cost["max"] is None
    code, text, _ = cli("info", path)
    assert code == 0 and text.splitlines()[-len(CODES) - 2].split() == ["weights", "in", "bytes", "of", "float32"]
    assert text.splitlines()[-len(CODES) - 1].split()[0] == "float32" and "100%" in text
    assert costs.sizes(counter()) == [] == costs.measured(Model.from_graph(counter()), {"x": np.ones((3, 3))})


@pytest.mark.parametrize("spread", [False, True])
def test_bytes_of_pruned_matrices(spread):
    """Whether or not the model stores them in blocks: each precision is stored as `with_weights` does it."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(128, 128)).astype(np.float32)
    if spread:
        W *= np.kron(rng.random((8, 32)) < 0.05, np.ones((16, 4)))
    else:
        W[:, 16:] = 0
    g = Graph("pruned")
    x = g.input("x", 128)
    g.output("y", g.add("dense", [x], name="only", weights={"W": W}))
    for model in (Model.from_graph(g), Model.from_graph(g).with_weights({}, sparse=True)):
        by_precision = {cost.precision: cost.bytes for cost in costs.sizes(model.graph)}
        X = {"x": np.ones((3, 128), np.float32)}
        measured = {cost.precision: cost.bytes for cost in costs.measured(model, X, seconds=0.01)}
        assert by_precision == measured and measured["float32"] < 128 * 128 and measured["int8"] < measured["float16"]
    calibration = calibrate.measure(g, "int8", {"x": rng.normal(size=(9, 128)).astype(np.float32)})
    assert calibration.layers[0].bytes_before == by_precision["float32"]
    assert calibration.layers[0].bytes_after == by_precision["int8"]


def test_errors_are_those_of_the_data():
    g, X = stack(), frames()
    model = Model.from_graph(g)
    exact = model.run(X["x"]).astype(np.float64)
    for cost in costs.measured(model, X, Judge.parse("argmax"), 0.01):
        y = model.with_weights(cost.precision).run(X["x"]).astype(np.float64)
        assert cost.max == np.abs(y - exact).max()
        assert cost.relative == pytest.approx(np.sqrt(((y - exact) ** 2).mean() / (exact**2).mean()))
        assert cost.judged == (y.argmax(-1) == exact.argmax(-1)).mean()
        assert cost.step_us > 0 and (cost.ratio == 1) == (cost.precision == "float32")


def test_weights_that_a_precision_cannot_hold():
    g = stack()
    g.nodes[0].weights["R"][0, 0, 0] = 1e6
    lines = {cost.precision: cost for cost in costs.measured(Model.from_graph(g), frames(), seconds=0.01)}
    assert "65504" in lines["float16"].refused and lines["float16"].step_us is None and not lines["int8"].refused
    text = costs.as_table(list(lines.values()))
    rows = text.splitlines()[1 : len(CODES) + 1]
    assert "not in float16: " in text and [row.split()[0] for row in rows] == list(CODES)


def test_the_command_measures(cli, files):
    path = files / "model.tow"
    code, text, _ = cli("info", path, "--costs", "--data", files / "x.npy", "--judge", "sisdr", "--seconds", 0.01)
    assert code == 0 and "SI-SDR dB" in text and "times faster" in text and "errors on 60 frames: " in text
    code, text, _ = cli("info", path, "--costs", "--frames", 30, "--seconds", 0.01, "--json")
    int8 = next(cost for cost in json.loads(text)["costs"] if cost["precision"] == "int8")
    assert code == 0 and 0 < int8["relative"] < 0.2 and int8["judged"] is None and int8["refused"] == ""
    for argv, words in (
        (["--data", files / "x.npy"], "--data says how --costs measures"),
        (["--judge", "argmax"], "--judge says how --costs measures"),
        (["--costs", "--weights", "int8"], "leave --weights out"),
        (["--costs", "--judge", "argmin"], "'argmin' is no judge"),
    ):
        code, _, err = cli("info", path, *argv)
        assert code == 2 and words in err, err
    code, _, err = cli("info", "--costs")
    assert code == 2 and "--costs measures a MODEL" in err
    code, _, err = cli("info", path, "--costs", "--judge", "argmax:z")
    assert code == 3 and "there is no output 'z'" in err


def test_models_that_need_the_whole_sequence_are_run():
    rng = np.random.default_rng(0)
    layer = undertow.Bidirectional(
        undertow.RNN(rng.normal(size=(4, 3)), rng.normal(size=(4, 4)) / 4),
        undertow.RNN(rng.normal(size=(4, 3)), rng.normal(size=(4, 4)) / 4, reverse=True),
    )
    model = undertow.Sequential([layer])
    X = {next(iter(model.inputs)): rng.normal(size=(9, 3)).astype(np.float32)}
    assert not model.streamable and all(cost.step_us for cost in costs.measured(model, X, seconds=0.01))


def poisoned():
    """An LSTM whose state, and all outputs from then on, a NaN in frame 5 makes NaN."""
    rng = np.random.default_rng(0)
    g = Graph("poisoned")
    weights = {"W": rng.normal(size=(4, 8, 6)), "R": rng.normal(size=(4, 8, 8))}
    g.add("lstm", [g.input("x", 6)], name="memory", weights=weights, states=[g.state("h", 8), g.state("c", 8)])
    g.output("y", g.nodes[0].outputs[0])
    X = frames(200)["x"]
    X[5, 0] = np.nan
    return g, X


def test_frames_that_count_are_those_of_numbers(cli, tmp_path):
    g, X = poisoned()
    model, data = tmp_path / "model.tow", tmp_path / "x.npy"
    Model.from_graph(g).save(model)
    np.save(data, X)
    argv = ("info", model, "--costs", "--seconds", 0.01, "--data", data)
    code, text, _ = cli(*argv, "--judge", "argmax")
    assert code == 0 and "errors on 5 of 200 frames, outputs of the others holding NaN or infinity: " in text
    five = costs.measured(Model.from_graph(g), {"x": X[:5]}, Judge.parse("argmax"), 0.01)
    for cost, alone in zip(
        costs.measured(Model.from_graph(g), {"x": X}, Judge.parse("argmax"), 0.01), five, strict=True
    ):
        assert (cost.max, cost.relative, cost.judged) == (alone.max, pytest.approx(alone.relative), alone.judged)
    code, text, _ = cli("compare", model, "--weights", "int8", "--data", data, "--seconds", 0.01, "--tolerance", 1)
    assert code == 0 and "note: errors and decisions are on 5 of 200 frames" in text and "all 5\n" in text
    np.save(data, X[5:])
    for command in (argv, ("compare", model, "--weights", "int8", "--data", data, "--seconds", 0.01)):
        code, _, err = cli(*command)
        assert code == 3 and "outputs are NaN or infinite in every frame of the data" in err


def test_words_of_few_frames(cli, files):
    path = files / "model.tow"
    np.save(files / "empty.npy", np.zeros((0, 6)))
    code, text, _ = cli("info", path, "--costs", "--frames", 1, "--seconds", 0.01, "--judge", "rms")
    assert code == 0 and "errors on 1 frame: " in text and text.count("RMS %") == 1
    for argv in (("info", path, "--costs"), ("certify", path, "-o", files / "page.html"), ("compare", path, path)):
        code, _, err = cli(*argv, "--data", files / "empty.npy")
        assert code == 3 and "empty.npy: has no frames; at least one is needed" in err
    with pytest.raises(undertow.ShapeError, match="no frames"):
        costs.measured(undertow.load(path), {"x": np.zeros((0, 6), np.float32)})
