# SPDX-License-Identifier: MIT
"""`weights="auto"` and its like in `undertow.load` and the command: with frames of somebody's own, and without."""

import json

import numpy as np
import pytest

import undertow
from networks import counter
from test_calibrate import frames, stack
from undertow.accuracy import calibrate
from undertow.accuracy.judge import Judge
from undertow.errors import ShapeError, ToleranceError, UnsupportedError
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes.precisions import AUTO, with_weights

pytestmark = pytest.mark.usefixtures("quick_times")


@pytest.fixture
def files(tmp_path):
    Model.from_graph(stack(hidden=64)).save(tmp_path / "model.tow")
    np.save(tmp_path / "data.npy", frames()["x"])
    return tmp_path


def precisions(model):
    return {node.name: node.precisions for node in model.graph.nodes if node.precisions}


# -- without frames ---------------------------------------------------------------------------------------------------


def test_auto_without_frames_is_one_precision_for_all(cli, files):
    path = files / "model.tow"
    model = undertow.load(path, weights="auto")
    assert model.hash == undertow.load(path, weights=AUTO).hash == undertow.load(path).with_weights("auto").hash
    code, text, _ = cli("convert", path, "-o", files / "auto.tow", "--weights", "auto")
    assert code == 0 and f"auto: every weight is in {AUTO}; with --calibrate FRAMES and --tolerance" in text
    assert undertow.load(files / "auto.tow").hash == model.hash
    assert json.loads(cli("info", path, "--weights", "auto", "--json")[1])["dtype"] == AUTO


def test_auto_leaves_alone_what_it_cannot_hold(cli, tmp_path):
    g = stack()
    g.nodes[1].weights["R"][0, 1, 2] = np.nan
    assert with_weights(g, "auto").nodes[1].precisions == {"W": AUTO}
    with pytest.raises(UnsupportedError, match=r"narrow.*: R\[0, 1, 2\] is nan"):
        Model.from_graph(with_weights(g, AUTO))
    Model.from_graph(g).save(tmp_path / "model.tow")
    code, text, _ = cli("convert", tmp_path / "model.tow", "-o", tmp_path / "auto.tow", "--weights", "auto")
    assert code == 0 and f"every weight is in {AUTO}, but narrow R, which it cannot hold; with" in text
    assert not any(node.precisions for node in with_weights(counter(), "auto").nodes)


# -- with frames ------------------------------------------------------------------------------------------------------


def test_load_takes_what_search_finds(files, bytes_decide):
    path, X = files / "model.tow", frames()
    model = undertow.load(path, weights="auto", calibrate=X["x"], tolerance=2e-2)
    searched = calibrate.search(undertow.load(path).graph, X, 2e-2).graph
    assert model.hash == Model.from_graph(searched).hash and precisions(model)
    assert np.abs(model.run(X["x"]) - undertow.load(path).run(X["x"])).max() <= 2e-2
    judged = undertow.load(path, weights="auto", calibrate=X, tolerance=90, judge="sisdr")
    fine = calibrate.search(undertow.load(path).graph, X, 90, judge=Judge.parse("sisdr")).graph
    assert judged.hash == Model.from_graph(fine).hash != model.hash


def test_load_rounds_for_frames(files):
    path, X = files / "model.tow", frames()
    fitted = undertow.load(path, weights="int8", calibrate=X["x"])
    assert fitted.hash == Model.from_graph(calibrate.fit(undertow.load(path).graph, "int8", X)).hash
    assert fitted.hash != undertow.load(path, weights="int8").hash
    assert undertow.load(path, weights="int8", calibrate=X["x"], tolerance=1.0).hash == fitted.hash
    sequences = undertow.load(path, weights="int4", calibrate=X["x"].reshape(6, 10, 6))
    of_sequences = calibrate.fit(undertow.load(path).graph, "int4", {"x": X["x"].reshape(6, 10, 6)})
    assert sequences.hash == Model.from_graph(of_sequences).hash
    with pytest.raises(ToleranceError, match=r"'stack': these weights change the output by up to .*, tolerance 1e-06"):
        undertow.load(path, weights="int8", calibrate=X["x"], tolerance=1e-6)


def test_load_of_other_formats_and_forced_instruction_sets(tmp_path):
    weights = {
        "net.weight_ih_l0": (128, 8),
        "net.weight_hh_l0": (128, 32),
        "net.bias_ih_l0": (128,),
        "net.bias_hh_l0": (128,),
    }
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "net.npz", **{k: rng.normal(0, 0.2, shape).astype(np.float32) for k, shape in weights.items()})
    x = rng.normal(size=(50, 8)).astype(np.float32)
    options = {"assume_as_wired": True}
    model = undertow.load(tmp_path / "net.npz", "scalar", weights="auto", calibrate=x, tolerance=2e-2, **options)
    assert model.isa == "scalar" and precisions(model)
    assert np.abs(model.run(x) - undertow.load(tmp_path / "net.npz", **options).run(x)).max() <= 2e-2


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"calibrate": 1}, TypeError, "weights= is missing"),
        ({"weights": "auto", "tolerance": 0.1}, TypeError, r"give them, calibrate=x with x of shape \(T, \*frame\)"),
        ({"weights": "auto", "calibrate": 1}, TypeError, "needs tolerance="),
        ({"weights": "int8", "judge": "argmax"}, TypeError, "tolerance= is missing"),
        ({"weights": "int8", "calibrate": [[0.0] * 6], "tolerance": 1}, TypeError, "x must be a NumPy array"),
        ({"weights": "int8", "calibrate": np.zeros((5, 7), np.float32)}, ShapeError, r"\(5, 7\)"),
        ({"weights": "int8", "calibrate": np.zeros((0, 6), np.float32)}, ShapeError, "has no frames"),
        (
            {"weights": "int8", "calibrate": frames()["x"], "tolerance": -1},
            UnsupportedError,
            "expected a number above 0",
        ),
        (
            {"weights": "int8", "calibrate": frames()["x"], "tolerance": 1, "judge": "argmin"},
            UnsupportedError,
            "'argmin' is no judge",
        ),
    ],
)
def test_load_refuses(files, options, error, words):
    with pytest.raises(error, match=words):
        undertow.load(files / "model.tow", **options)


def test_timesteps_are_put_together_to_frames(tmp_path):
    """Of a model that strides along time, as `Model.run` takes them."""
    g = Graph("pairs")
    x = g.input("x", (2, 8))
    g.output("y", g.add("dense", [x], name="only", weights={"W": np.random.default_rng(0).normal(size=(48, 8))}))
    g.frames_in = g.frames_out = 2
    Model.from_graph(g).save(tmp_path / "model.tow")
    rng = np.random.default_rng(1)  # columns that go together: rounding for them is another than to the nearest
    x = (rng.normal(size=(60, 1)) + 0.1 * rng.normal(size=(60, 8))).astype(np.float32)
    models = [
        undertow.load(tmp_path / "model.tow", weights="int4", calibrate=data) for data in (x, x.reshape(30, 2, 8))
    ]
    assert models[0].hash == models[1].hash != undertow.load(tmp_path / "model.tow", weights="int4").hash
    with pytest.raises(ShapeError, match="has 59 timesteps"):
        undertow.load(tmp_path / "model.tow", weights="int4", calibrate=x[1:])


# -- the command ------------------------------------------------------------------------------------------------------


def test_convert_by_a_judge(cli, files):
    model, out, data = (files / name for name in ("model.tow", "out.tow", "data.npy"))
    argv = ("convert", model, "-o", out, "--calibrate", data)
    code, text, _ = cli(*argv, "--weights", "auto", "--tolerance", 40, "--judge", "sisdr")
    assert code == 0 and "tolerance 40 dB of SI-SDR" in text and "SI-SDR dB" in text
    expected = calibrate.search(undertow.load(model).graph, frames(), 40, judge=Judge.parse("sisdr")).graph
    assert undertow.load(out).hash == Model.from_graph(expected).hash
    code, text, _ = cli(*argv, "--weights", "int8", "--judge", "threshold=0.1:y", "--json")
    facts = json.loads(text)["calibration"]
    assert code == 0 and facts["judge"] == "threshold=0.1:y" and facts["all"]["judged"]["data"] <= 1
    out.unlink()
    for more, code, words in (
        (
            ["--weights", "int4", "--tolerance", 99, "--judge", "sisdr"],
            1,
            " dB of SI-SDR (judge sisdr:y), tolerance 99 dB of SI-SDR",
        ),
        (
            ["--weights", "int8", "--tolerance", 2, "--judge", "argmax"],
            2,
            "--tolerance 2: judge argmax takes the least",
        ),
        (["--weights", "int8", "--judge", "argmin"], 2, "argument --judge: 'argmin' is no judge"),
        (["--weights", "int8", "--judge", "threshold=x"], 2, "'x' is no finite number"),
        (["--weights", "int8", "--judge", "argmax:z"], 3, "there is no output 'z'; outputs: y"),
    ):
        got, _, err = cli(*argv, *more)
        assert got == code and words in err, (more, err)
        assert not out.exists()
    code, _, err = cli("convert", model, "-o", out, "--weights", "auto", "--judge", "argmax")
    assert code == 2 and "--judge needs --calibrate" in err


def test_the_shell_is_told_to_name_an_output(cli, tmp_path):
    g = stack()
    g.output("also", g.add("dense", [g.nodes[0].outputs[0]], name="more", weights={"W": np.ones((1, 24))}))
    Model.from_graph(g).save(tmp_path / "model.tow")
    np.save(tmp_path / "x.npy", frames(4)["x"])
    argv = ("compare", tmp_path / "model.tow", "--weights", "int8", "--data", tmp_path / "x.npy", "--seconds", 0.01)
    code, _, err = cli(*argv, "--judge", "sisdr")
    assert code == 3 and "several outputs, y, also; say of which one: --judge sisdr:y" in err
    code, text, _ = cli(*argv, "--judge", "sisdr:also", "--tolerance", 60)
    assert code == 1 and "FAILED: judge sisdr:also: " in text and " dB of SI-SDR, tolerance 60 dB of SI-SDR" in text
    code, text, _ = cli(*argv, "--judge", "argmax", "--tolerance", 0.01, "--json")
    assert code == 0 and json.loads(text)["judge"] == "argmax:y" and 0 < json.loads(text)["judged"] <= 1


def test_verify_shows_what_a_judge_finds(cli, files):
    model, small = files / "model.tow", files / "small.tow"
    undertow.load(model, weights="int4").save(small)
    argv = ("verify", small, "--against", model, "--frames", 20)
    code, text, _ = cli(*argv, "--judge", "argmax")
    head = next(line for line in text.splitlines() if "max error" in line)
    assert code == 0 and head.split()[-1] == "agree" and text.count(" %\n") >= 3
    growth = json.loads(cli(*argv, "--judge", "sisdr", "--json")[1])["growth"]
    assert all(0 < stretch["judged"] < 60 for stretch in growth)
    assert all(stretch["judged"] is None for stretch in json.loads(cli(*argv, "--json")[1])["growth"])
    code, _, err = cli("verify", model, "--frames", 20, "--judge", "argmax")
    assert code == 2 and "--judge is of streams of reduced weights" in err
