# SPDX-License-Identifier: MIT
"""Reduced weights on the command line: `convert`, `info` and `verify`."""

import json

import numpy as np
import pytest

import undertow
from test_calibrate import frames, stack
from undertow.model import Model
from undertow.tow.sizes import weight_bytes

pytestmark = pytest.mark.usefixtures("quick_times")


@pytest.fixture
def files(tmp_path):
    Model.from_graph(stack()).save(tmp_path / "model.tow")
    np.save(tmp_path / "data.npy", frames()["x"].astype(np.float64))
    return tmp_path


def test_convert_with_weights(cli, files):
    model, out = files / "model.tow", files / "small.tow"
    code, text, _ = cli("convert", model, "--weights", "int8", "-o", out)
    assert code == 0 and "small.tow" in text
    assert undertow.load(out).hash == undertow.load(model, weights="int8").hash
    assert out.stat().st_size < model.stat().st_size
    code, text, _ = cli("convert", model, "--weights", '{"wide": {"R": "int4"}}', "-o", out)
    assert code == 0 and undertow.load(out).graph.nodes[0].precisions == {"R": "int4"}
    code, text, _ = cli("convert", model, "--weights", "int8", "--calibrate", files / "data.npy", "-o", out)
    assert code == 0 and "all together" in text and "after 10,000 steps" in text


def test_convert_takes_sequences(cli, files, tmp_path):
    model, out = files / "model.tow", tmp_path / "small.tow"
    (value,) = undertow.load(model).inputs.values()
    X = np.random.default_rng(0).normal(size=(4, 5, *value.shape))
    np.save(tmp_path / "many.npy", X)
    argv = ("convert", model, "--weights", "int8", "-o", out, "--calibrate")
    code, text, _ = cli(*argv, tmp_path / "many.npy")
    assert code == 0 and "20 frames in 4 sequences" in text
    np.save(tmp_path / "more.npy", X[None])
    code, _, err = cli(*argv, tmp_path / "more.npy")
    assert code == 3 and "T frames of shape" in err and "N sequences" in err
    code, _, err = cli("run", model, tmp_path / "many.npy")
    assert code == 3 and "N sequences" not in err


def test_convert_auto(cli, files, bytes_decide):
    model, out, data = files / "model.tow", files / "auto.tow", files / "data.npy"
    code, text, _ = cli("convert", model, "--weights", "auto", "--tolerance", 1e-2, "--calibrate", data, "-o", out)
    assert code == 0 and "tolerance 0.01" in text and "wide" in text
    x = np.load(data).astype(np.float32)
    assert 0 < np.abs(undertow.load(out).run(x) - undertow.load(model).run(x)).max() <= 1e-2


def test_convert_writes_nothing_where_the_tolerance_is_missed(cli, files, bytes_decide):
    model, out, data = files / "model.tow", files / "out.tow", files / "data.npy"
    for weights, tolerance, words in (
        ("int8", 1e-6, "change the output by"),
        ("auto", 1e-9, "none of the faster"),
    ):
        code, _, err = cli(
            "convert", model, "--weights", weights, "--tolerance", tolerance, "--calibrate", data, "-o", out
        )
        *table, line = err.splitlines()
        assert code == 1 and words in line and line.startswith("undertow: error: 'stack'")
        assert [row.split()[:1] for row in table[2:5]] == (
            [["wide"], ["narrow"], ["head"]] if weights == "int8" else []
        )
        assert not out.exists()
    assert {p.name for p in files.iterdir()} == {"model.tow", "data.npy"}


def test_convert_refuses(cli, files):
    model, out, data = files / "model.tow", files / "out.tow", files / "data.npy"
    np.save(files / "wrong.npy", np.zeros((5, 7)))
    np.save(files / "empty.npy", np.zeros((0, 6)))
    np.save(files / "silent.npy", np.zeros((5, 6)))
    np.save(files / "words.npy", np.array(["a"]))
    for argv, code, words in (
        (["--weights", "int7"], 2, "'int7' is no precision"),
        (["--weights", "{nonsense"], 2, "is not JSON"),
        (["--weights", '{"deep": "int8"}'], 3, "layer 'deep' has no weights"),
        (["--weights", '{"wide": 8}'], 3, "precision 8 does not exist"),
        (["--weights", "auto", "--calibrate", data], 2, "--weights auto with --calibrate needs --tolerance"),
        (["--weights", "auto", "--tolerance", "0.1"], 2, "--tolerance needs --calibrate"),
        (["--weights", "int8", "--tolerance", "0.1"], 2, "--tolerance needs --calibrate"),
        (["--tolerance", "0.1", "--calibrate", data], 2, "--weights is missing"),
        (["--weights", "int8", "--calibrate", data, "--tolerance", "-1"], 2, "expected a number above 0"),
        (["--weights", "int8", "--calibrate", data, "--tolerance", "much"], 2, "'much' is no number"),
        (["--weights", '{"wide": "int8", "wide": "int4"}'], 2, "'wide' is given twice"),
        (["--weights", '{"wide": ["int8"]}'], 3, "precision ['int8'] does not exist; precisions: float32, "),
        (["--weights", "int16+int8"], 2, "names the more exact one first; write 'int8+int16'"),
        (["--weights", "int8+int8"], 2, "one for all weights is 'int8'"),
        (["--weights", "float32+int8"], 2, "two reduced precisions that differ"),
        (["--weights", "int8", "--calibrate", files / "silent.npy"], 3, "the calibration data is silent"),
        (["--weights", "int8", "--calibrate", files / "wrong.npy"], 3, "(5, 7)"),
        (["--weights", "int8", "--calibrate", files / "empty.npy"], 3, "has no frames"),
        (["--weights", "int8", "--calibrate", files / "words.npy"], 3, "real numbers"),
        (["--weights", "int8", "--calibrate", files / "none.npy"], 3, "none.npy"),
    ):
        got, _, err = cli("convert", model, "-o", out, *argv)
        assert got == code and words in err, (argv, err)
        assert not out.exists()


def test_info_shows_precisions_and_bytes(cli, files):
    code, text, _ = cli("info", files / "model.tow", "--weights", '{"wide": {"R": "int4"}, "head": "float16"}')
    assert code == 0 and "W float32, R int4" in text and "float16" in text and "bytes" in text
    facts = json.loads(cli("info", files / "model.tow", "--weights", "int8", "--json")[1])
    assert [layer["precision"] for layer in facts["layers"]] == ["int8"] * 3
    nodes = undertow.load(files / "model.tow", weights="int8").graph.nodes
    assert [layer["bytes"] for layer in facts["layers"]] == [weight_bytes(node) for node in nodes]
    assert facts["dtype"] == "int8" and facts["weight_bytes"] == sum(map(weight_bytes, nodes))


def test_verify_shows_how_errors_grow(cli, files):
    model, small = files / "model.tow", files / "small.tow"
    undertow.load(model, weights="int8").save(small)
    for argv, against in (
        ([small], "the same weights in float32"),
        ([small, "--against", model], "against 'stack'"),
        ([model, "--weights", "int8"], "against 'stack'"),
    ):
        code, text, _ = cli("verify", *argv, "--frames", 40)
        assert code == 0, text
        assert against in text and "1,001 to 10,000" in text and "every node" in text
    code, _, err = cli("verify", small, "--against", files / "none.tow")
    assert code == 2 and "none.tow" in err
    code, _, err = cli("verify", small, "--against", "onnxruntime")
    assert code == 2
    assert "1,001 to 10,000" not in cli("verify", model)[1]
