# SPDX-License-Identifier: MIT
"""`weights="auto"` and its like in `undertow.load` and the command: with frames of somebody's own, and without."""

import json

import numpy as np
import pytest

import undertow
from networks import counter
from test_calibrate import frames, stack
from undertow.accuracy import calibrate, choice
from undertow.accuracy.fitting import compensated
from undertow.accuracy.judge import Judge
from undertow.accuracy.step_cost import WORK, layer_ps
from undertow.accuracy.trials import Trials
from undertow.errors import ShapeError, ToleranceError, UnsupportedError
from undertow.ir.activations import Activation
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
    several = undertow.load(tmp_path / "model.tow", weights="int4", calibrate=x.reshape(6, 10, 8))
    of_frames = undertow.load(tmp_path / "model.tow", weights="int4", calibrate=x.reshape(6, 5, 2, 8))
    assert several.hash == of_frames.hash, "sequences of timesteps"
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


# -- what is chosen ---------------------------------------------------------------------------------------------------


def dense(K, seed=0):
    g = Graph("square")
    x = g.input("x", K)
    W = np.random.default_rng(seed).normal(size=(K, K))
    g.output("y", g.add("dense", [x], name="only", weights={"W": W}))
    return g


def recurrent(op, n_in, hidden, **attrs):
    rng = np.random.default_rng(2)
    g = Graph(op)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[op]
    weights = {
        "W": rng.normal(size=(gates, hidden, n_in)) / np.sqrt(n_in),
        "R": rng.normal(size=(gates, hidden, hidden)) / np.sqrt(hidden),
    }
    states = [g.state(name, hidden) for name in (["h", "c"] if op == "lstm" else ["h"])]
    g.add(op, [g.input("x", n_in)], name="cell", weights=weights, states=states, attrs=attrs)
    g.output("y", g.nodes[0].outputs[0])
    return g


def noise(n_in, T=200):
    return {"x": np.random.default_rng(1).normal(size=(T, n_in)).astype(np.float32)}


RMS = Judge.parse("rms")


@pytest.mark.parametrize("graph, n_in", [(dense(40), 40), (dense(32), 32), (recurrent("lstm", 8, 32), 8)])
def test_what_is_smaller_and_hardly_slower_is_taken(graph, n_in):
    """Where int8 errs by too much, and what is more exact is no faster than float32, or by little."""
    found = calibrate.search(graph, noise(n_in), 0.1, judge=RMS)
    assert set(found.graph.nodes[0].precisions.values()) in ({"int16"}, {"float16"})
    assert not found.refused and found.total.judged <= 0.1
    (layer,) = found.layers
    assert layer.bytes_after < 0.6 * layer.bytes_before


def test_a_layer_that_gains_nothing_stays_float32():
    """However far the tolerance is out of reach, there is nothing that was hoped for."""
    found = calibrate.search(dense(12), noise(12), 1e-9, judge=RMS)
    assert found.graph.nodes[0].precisions == {} and found.total.data.max == 0
    assert found.refused == {"only": choice.NONE_BETTER}
    found = calibrate.search(recurrent("lstm", 2, 24), noise(2), 0.1, judge=RMS)
    assert found.graph.nodes[0].precisions == {} and "cell stays float32: int8 gives 0." in str(found)


def test_refusals_say_what_was_tried_and_what_would_do(monkeypatch):
    with pytest.raises(ToleranceError) as caught:
        calibrate.search(dense(64), noise(64), 1e-6, judge=RMS)
    words = str(caught.value)
    assert "'square': none of the faster precisions keeps the output within 1e-06 % of the RMS (only: " in words
    assert all(f"{precision} gives " in words for precision in ("int8", "int16")) and "keeps it" not in words
    trial = Trials(dense(64), noise(64), None, RMS, 0.1)
    assert choice.Choice(trial, 0.1).plain_that_keeps() == "float16"
    assert choice.Choice(trial, 1e-6).plain_that_keeps() is None
    monkeypatch.setattr(choice.Choice, "picked", lambda self: {part: self.ladder(part) for part in self.parts[1:]})
    with pytest.raises(ToleranceError, match="weights='float16' keeps it, smaller but not faster; or allow more"):
        calibrate.search(dense(64), noise(64), 0.1, judge=RMS)


@pytest.mark.parametrize("op, n_in, hidden", [("lstm", 8, 20), ("lstm", 11, 64), ("gru", 6, 64)])
@pytest.mark.parametrize("tolerance, precision", [(50, "int8"), (0.05, "int16")])
def test_halves_of_a_cell_that_share_a_kernel_are_chosen_together(op, n_in, hidden, tolerance, precision):
    attrs = {"reset_after": True} if op == "gru" else {}
    found = calibrate.search(recurrent(op, n_in, hidden, **attrs), noise(n_in), tolerance, judge=RMS)
    chosen = found.graph.nodes[0].precisions
    assert chosen == {"W": precision, "R": precision} or (chosen == {} and hidden == 20 and precision == "int16")


def test_prices_of_the_halves_of_a_cell():
    """One kernel for equal halves, where a cell has it; what lies between has its price for all others."""

    def ps(graph, W, R):
        return layer_ps(graph, graph.nodes[0], {"W": W, "R": R}, dict.fromkeys(WORK, 0))

    plain = recurrent("lstm", 8, 32)
    pairs = [("float32", "int8"), ("int8", "float32"), ("int16", "int8"), ("float16", "float16")]
    assert all(ps(plain, *pair) > 1.1 * ps(plain, "int8", "int8") for pair in pairs)
    for other in (recurrent("lstm", 8, 32, clip=1.0), recurrent("lstm", 8, 32, input_forget=True)):
        assert ps(other, "int8", "int8") > 1.1 * ps(plain, "int8", "int8")
    before, after = recurrent("gru", 8, 32), recurrent("gru", 8, 32, reset_after=True)
    assert ps(before, "int16", "int16") > ps(after, "int16", "int16")
    assert ps(recurrent("rnn", 8, 32), "int16", "int16") > ps(recurrent("rnn", 8, 32), "float32", "float32")


def normalised():
    """A model without a weight that has a precision."""
    g = Graph("plain")
    g.output(
        "y", g.add("layer_norm", [g.input("x", 8)], name="norm", weights={"scale": np.ones(8), "shift": np.ones(8)})
    )
    return g


def test_a_model_without_weights_to_reduce_stays_as_it_is(cli, tmp_path):
    found = calibrate.search(normalised(), noise(8), 1e-9)
    assert found.total.data.max == 0 and "note: the model has no weights with a precision to choose" in str(found)
    model, out, data = (tmp_path / name for name in ("model.tow", "out.tow", "x.npy"))
    Model.from_graph(normalised()).save(model)
    np.save(data, noise(8)["x"])
    argv = ("convert", model, "-o", out, "--weights", "auto")
    code, text, _ = cli(*argv, "--calibrate", data, "--tolerance", 1e-9)
    assert code == 0 and "no weights with a precision to choose" in text
    assert undertow.load(out).hash == undertow.load(model).hash
    code, text, _ = cli(*argv)
    assert code == 0 and "auto: the model has no weights with a precision to choose" in text and "int16" not in text


# -- what data cannot tell --------------------------------------------------------------------------------------------


def test_silent_data_is_refused(files):
    for shape in ((5, 6), (2, 5, 6)):
        with pytest.raises(ShapeError, match="the calibration data is silent: every number of every frame is 0"):
            undertow.load(files / "model.tow", weights="int8", calibrate=np.zeros(shape, np.float32))
    g = Graph("table")
    ids = g.input("ids", (), "int32")
    g.output("y", g.add("embedding", [ids], name="words", weights={"table": np.ones((9, 64))}))
    assert calibrate.measure(g, "int8", {"ids": np.zeros(3, np.int32)}).total.data.max < 1e-6, "0 is an id like others"


def test_data_that_has_no_effect_is_said_to_have_none(cli, files):
    path, x = files / "model.tow", frames()["x"]
    for few, part in ((x[:1], "frame"), (x[None, :9], "sequence")):
        with pytest.warns(undertow.ModelWarning, match=f"calibrate: one {part} is too little to round for"):
            model = undertow.load(path, weights="int8", calibrate=few)
        assert model.hash == undertow.load(path, weights="int8").hash
    np.save(files / "one.npy", x[:1])
    argv = ("convert", path, "-o", files / "out.tow", "--weights", "int8", "--calibrate", files / "one.npy")
    code, text, _ = cli(*argv)
    assert code == 0 and "on 1 frame of calibration data" in text and "note: one frame is too little" in text
    assert "one frame is too little" in json.loads(cli(*argv, "--json")[1])["calibration"]["notes"][0]


def test_frames_that_are_not_finite_are_left_out_of_rounding():
    """Infinity, where a later layer makes a number of it again; NumPy warns of nothing."""
    rng = np.random.default_rng(0)
    g = Graph("bounded")
    x = g.add("dense", [g.input("x", 6)], name="first", weights={"W": np.abs(rng.normal(size=(8, 6)))})
    x = g.add("activation", [x], attrs={"activation": Activation("tanh")})
    g.output("y", g.add("dense", [x], name="last", weights={"W": rng.normal(size=(3, 8))}))
    X = frames()["x"]
    X[7, 2] = np.inf
    found = calibrate.measure(g, "int8", {"x": X})
    assert "1 of 60 frames hold NaN or infinity; rounding looks at the others" in found.notes
    w, without = g.nodes[0].weights["W"], np.delete(X, 7, axis=0)
    assert np.array_equal(compensated(w, X, "int4"), compensated(w, without, "int4"))


def test_judges_that_can_hardly_fail_are_said_to(cli, files):
    path, x = files / "model.tow", frames()["x"]
    options = {"weights": "int8", "calibrate": x, "tolerance": 0.9}
    with pytest.warns(
        undertow.ModelWarning, match="no number of output 'y' is above 1000 on these frames: judge thresh"
    ):
        undertow.load(path, **options, judge="threshold=1000")
    argv = ("convert", path, "-o", files / "out.tow", "--weights", "int8", "--calibrate", files / "data.npy")
    assert "every number of output 'y' is above -1000" in cli(*argv, "--judge", "threshold=-1000")[1]
    assert "hardly fail" not in cli(*argv, "--judge", "threshold=0")[1]
    judge = Judge.parse("argmax").of(undertow.load(path).outputs)
    assert judge.undecided({"y": np.float32([[0, 1], [1, 2]])}) == "number 1 of output 'y' is always the largest"
    assert judge.undecided({"y": np.float32([[0, 1], [2, 1]])}) is None


def test_rounding_for_data_never_errs_more_on_it_than_the_nearest():
    for seed in range(12):
        g, X = stack(seed), frames(40, seed=seed)
        exact = Model.from_graph(g).run(X["x"])
        for precision in ("int8", "int4"):
            nearest, fitted = (
                np.sqrt(np.mean((Model.from_graph(other).run(X["x"]) - exact) ** 2))
                for other in (with_weights(g, precision), calibrate.fit(g, precision, X))
            )
            assert fitted <= nearest * (1 + 1e-6), (seed, precision)


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"tolerance": "1"}, TypeError, "tolerance must be a number, got str"),
        ({"tolerance": [1]}, TypeError, "tolerance must be a number, got list"),
        ({"tolerance": True}, TypeError, "tolerance must be a number, got bool"),
        ({"tolerance": 1, "judge": 5}, TypeError, "judge must be a text such as 'rms'"),
        ({"weights": ["int8"]}, UnsupportedError, r"precision \['int8'\] does not exist"),
        ({"weights": {"wide": ["int8"]}}, UnsupportedError, r"precision \['int8'\] does not exist; .* int4, fixed8$"),
        ({"calibrate": np.zeros((0, 30, 6), np.float32)}, ShapeError, r"shape \(0, 30, 6\): no sequences"),
        (
            {"calibrate": [frames()["x"][:5], frames()["x"][:7]]},
            ShapeError,
            "sequences of 5 to 7 frames; .* one length",
        ),
    ],
)
def test_what_is_no_argument(files, options, error, words):
    with pytest.raises(error, match=words):
        undertow.load(files / "model.tow", **{"weights": "int8", "calibrate": frames()["x"], **options})


def test_a_list_of_sequences_is_one_of_an_array(files):
    path, x = files / "model.tow", frames()["x"].reshape(6, 10, 6)
    models = [undertow.load(path, weights="int4", calibrate=data) for data in (x, list(x), tuple(x))]
    assert models[0].hash == models[1].hash == models[2].hash


def test_a_tolerance_of_decibels_may_be_below_zero(cli, files):
    argv = ("convert", files / "model.tow", "-o", files / "out.tow", "--weights", "int8", "--calibrate")
    for given in (("--tolerance=-5",), ("--tolerance", -5)):
        assert cli(*argv, files / "data.npy", "--judge", "sisdr", *given)[0] == 0
    undertow.load(files / "model.tow", weights="int8", calibrate=frames()["x"], tolerance=-5, judge="sisdr")
    code, _, err = cli(*argv, files / "data.npy", "--tolerance=-5")
    assert code == 2 and "--tolerance -5: expected a number above 0" in err
