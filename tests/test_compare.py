# SPDX-License-Identifier: MIT
"""`undertow compare` and `certify`: errors, decisions, speed, memory and bits, and the page that says them."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import undertow
from networks import single, zoo
from tolerances import VERIFY_DEFAULT
from undertow import reference
from undertow.accuracy import certificate
from undertow.accuracy.certificate_page import as_page
from undertow.accuracy.comparison import compare
from undertow.cli._common import as_json
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.model import Model

RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 4)).astype(np.float32)


def head(seed=1, n_out=3, name="y", x="x", activation=None):
    rng = np.random.default_rng(seed)
    g = single(rng, "gru", 4, 16)
    value = next(iter(g.outputs.values()))
    g.outputs.clear()
    y = g.add("dense", [value], name="head", weights={"W": rng.normal(size=(n_out, 16))})
    g.output(name, y if activation is None else g.add("activation", [y], attrs={"activation": Activation(activation)}))
    return Model.from_graph(g)


@pytest.fixture
def saved(tmp_path):
    def save(model, name):
        model.save(tmp_path / name)
        return tmp_path / name

    return save


def input_name(model):
    return next(iter(model.inputs))


# -- compare ----------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_numpy():
    a = head()
    b = a.with_weights("int8")
    report = compare(a, b, {input_name(a): X}, seconds=0.01)
    ya, yb = (np.asarray(m.run(X), np.float64) for m in (a, b))
    (row,) = report.outputs
    error = np.abs(ya - yb)
    assert row.max == error.max() > 0
    assert row.frame == int(error.max(axis=1).argmax())
    assert row.rms == pytest.approx(np.sqrt((error**2).mean()), rel=1e-12)
    assert row.relative == pytest.approx(np.sqrt((error**2).sum() / (ya**2).sum()), rel=1e-12)
    assert (row.decision, row.n_decisions) == ("argmax", 60)
    assert row.n_agree == (ya.argmax(axis=1) == yb.argmax(axis=1)).sum()
    assert report.sizes["file_bytes"] == (a.file_bytes, b.file_bytes)
    assert report.sizes["state_bytes"] == (a.state_bytes, b.state_bytes)


def test_equal_models_have_no_errors():
    a = head()
    (row,) = compare(a, Model.from_graph(a.graph), {input_name(a): X}, tolerance=1e-30, seconds=0.01).outputs
    assert (row.max, row.rms, row.relative, row.agreement) == (0.0, 0.0, 0.0, 1.0)


def test_single_numbers_decide_by_a_threshold():
    a, b = head(n_out=1, activation="sigmoid"), head(n_out=1, activation="sigmoid", seed=5)
    (row,) = compare(a, b, {input_name(a): X}, seconds=0.01).outputs
    assert row.decision == "above 0.5" and 0 < row.n_agree < 60
    assert row.n_agree == ((a.run(X) > 0.5) == (b.run(X) > 0.5)).sum()
    (row,) = compare(a, b, {input_name(a): X}, threshold=0.9, seconds=0.01).outputs
    assert row.decision == "above 0.9" and row.n_agree == ((a.run(X) > 0.9) == (b.run(X) > 0.9)).sum()
    a = head(n_out=1)
    assert compare(a, a, {input_name(a): X}, seconds=0.01).outputs[0].decision == "above 0"


def test_a_nan_is_an_error_without_bound():
    a = head()
    graph = a.graph.copy()
    graph.nodes[-1].weights["W"][1, 2] = np.nan
    report = compare(a, Model.from_graph(graph), {input_name(a): X}, tolerance=1e9, seconds=0.01)
    assert report.outputs[0].max == np.inf and not report.ok
    assert json.loads(as_json(report.data()))["outputs"][0]["max"] == "Infinity"


def test_other_names_are_paired_in_order():
    a, b = head(), head(name="logits")
    report = compare(a, b, {input_name(a): X}, seconds=0.01)
    assert report.outputs[0].max == 0 and report.outputs[0].other == "logits"
    assert any("y with logits" in note for note in report.notes)


def test_other_frames_are_refused():
    a = head()
    with pytest.raises(undertow.ShapeError, match=r"outputs y \(3,\) float32; .* y \(2,\) float32"):
        compare(a, head(n_out=2), {input_name(a): X})
    with pytest.raises(undertow.ShapeError, match="no frames"):
        compare(a, a, {input_name(a): X[:0]})


def test_models_of_whole_sequences():
    graph = single(np.random.default_rng(2), "gru", 4, 5)
    graph.nodes[0].attrs["reverse"] = True
    a = Model.from_graph(graph)
    report = compare(a, a.with_weights("float16"), {input_name(a): X}, seconds=0.01)
    assert report.speed.what == "run" and report.outputs[0].max > 0


def test_models_of_single_ids(cli, saved, tmp_path):
    g = Graph("words")
    ids = g.input("ids", (), "int32")
    g.output(
        "y", g.add("embedding", [ids], name="table", weights={"table": np.random.default_rng(0).normal(size=(9, 4))})
    )
    model = Model.from_graph(g)
    report = compare(model, model.with_weights("int8"), {"ids": np.arange(9, dtype=np.int32)}, seconds=0.01)
    assert report.speed.what == "step" and 0 < report.outputs[0].max < 0.1
    argv = ("--seconds", 0.01, "--frames", 9, "-o", tmp_path / "page.html")
    assert cli("certify", saved(model, "words.tow"), *argv)[0] == 0


def test_compare_from_the_shell(cli, saved, tmp_path):
    path = saved(head(), "a.tow")
    np.save(tmp_path / "x.npy", X)
    quick = ("--seconds", "0.01", "--data", tmp_path / "x.npy")
    code, out, _ = cli("compare", path, "--weights", "int8", *quick, "--json")
    facts = json.loads(out)
    want = np.abs(head().run(X).astype(float) - head().with_weights("int8").run(X)).max()
    assert code == 0 and facts["ok"] and facts["outputs"][0]["max"] == want and facts["frames"] == 60
    assert cli("compare", path, "--weights", "int8", *quick, "--tolerance", want / 2)[0] == 1
    code, out, _ = cli("compare", path, "--weights", "int8", *quick, "--tolerance", want * 2)
    assert code == 0 and out.splitlines()[-1].startswith("ok: largest error")
    other = saved(head(seed=9), "b.tow")
    code, out, _ = cli("compare", path, other, *quick, "--frames", "10")
    assert code == 0 and "the first of 60" in out
    code, out, _ = cli("compare", path, other, "--seconds", "0.01")
    assert code == 0 and "random (seed 0), for want of --data" in out
    for words, argv in (
        ("name another model", (path,)),
        ("has 60", (path, other, *quick, "--frames", "61")),
        ("--data, which is missing", (path, other, "--rate", "8000")),
    ):
        code, _, err = cli("compare", *argv)
        assert code == 2 and words in err


# -- certify ----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The text of a page, and the tags in it."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.open = [], set(), []
        self.feed(html)
        assert not self.open, "a tag is not closed"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def certified(cli, path, tmp_path, *more):
    np.save(tmp_path / "x.npy", X)
    page = tmp_path / "report.html"
    result = cli("certify", path, "--data", tmp_path / "x.npy", "--seconds", "0.01", "-o", page, *more)
    return result, Page(page.read_text()), json.loads(page.with_suffix(".json").read_text())


def test_a_certificate_says_what_was_measured(cli, saved, tmp_path):
    model = head()
    path = saved(model, "a.tow")
    (code, out, _), page, facts = certified(cli, path, tmp_path)
    assert code == 0 and out.startswith("ok: 3 of 3 laws hold")
    assert facts["model"]["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["data"]["file_sha256"] == hashlib.sha256((tmp_path / "x.npy").read_bytes()).hexdigest()
    assert facts["model"]["hash"] == model.hash.hex()
    rows = {row["precision"]: row for row in facts["precisions"]}
    assert list(rows) == ["as in the file", *certificate.PRECISIONS]
    expected = reference.run(model.graph, X)
    for name, row in rows.items():
        subject = model if name == "as in the file" else model.with_weights(name)
        assert row["outputs"][0]["max"] == np.abs(np.asarray(subject.run(X), float) - expected).max()
        assert set(row["bits"]) == {isa for isa, runs in undertow.isas().items() if runs}
        assert len(set(row["bits"].values())) == 1
        assert row["us"]["p50"] <= row["us"]["max"]
    assert rows["float32"]["outputs"][0]["max"] < VERIFY_DEFAULT < rows["int4"]["outputs"][0]["max"]
    assert len({row["bits"]["scalar"] for row in rows.values()}) == 6  # as stored is float32
    for words in (model.hash.hex(), facts["data"]["file_sha256"], "p99.9", "bfloat16", rows["int8"]["bits"]["scalar"]):
        assert words in page.text
    assert sum(facts["histogram"]["n_calls"]) == rows["as in the file"]["us"]["n_calls"]


def test_a_certificate_of_an_onnx_file_asks_onnxruntime(cli, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install onnxruntime")
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install onnx")

    from onnx_files import model_of, node, random

    rng = np.random.default_rng(4)
    weights = {"W": random(rng, 1, 20, 4), "R": random(rng, 1, 20, 5)}
    lstm = node("LSTM", "x W R", "Y", hidden_size=5)
    flat = node("Squeeze", "Y one", "y")
    weights["one"] = np.array([1])
    path = tmp_path / "lstm.onnx"
    onnx.save(model_of([lstm, flat], {"x": ["T", "N", 4]}, {"y": ["T", "N", 5]}, weights), path)
    (code, _, _), page, facts = certified(cli, path, tmp_path)
    assert code == 0
    assert facts["onnxruntime"]["version"] and 0 <= facts["onnxruntime"]["outputs"][0]["max"] < VERIFY_DEFAULT
    assert "ONNX Runtime" in page.text and "same file, same frames" in page.text


def test_a_tolerance_that_is_missed_fails(cli, saved, tmp_path):
    (code, out, _), page, facts = certified(cli, saved(head(), "a.tow"), tmp_path, "--tolerance", "1e-12")
    assert code == 1 and out.startswith("FAILED") and not facts["ok"] and not facts["tolerance"]["holds"]
    assert "FAILED" in page.text


def test_laws_that_are_broken_are_said(cli, saved, tmp_path, monkeypatch):
    path = saved(head(), "a.tow")
    right = certificate.on_every_isa
    monkeypatch.setattr(certificate, "on_every_isa", lambda m, X: {**right(m, X), "scalar": "0" * 32})
    monkeypatch.setattr(certificate, "_same_in_steps", lambda *_: False)
    (code, _, _), page, facts = certified(cli, path, tmp_path)
    assert code == 1 and [law["holds"] for law in facts["laws"]] == [False, False, True]
    assert page.text.count("BROKEN") == 2 and page.text.count("DIFFERENT") == 7


def test_steps_are_compared_with_the_whole():
    model = head()
    whole = {"y": model.run(X)}
    assert certificate._same_in_steps(model, {input_name(model): X}, whole)
    whole["y"][33, 1] = np.nextafter(whole["y"][33, 1], np.float32(9))
    assert not certificate._same_in_steps(model, {input_name(model): X}, whole)


def test_what_is_not_finite_breaks_a_law(cli, saved, tmp_path):
    graph = head().graph.copy()
    graph.nodes[-1].weights["W"][0, 0] = np.inf
    (code, _, _), page, facts = certified(cli, saved(Model.from_graph(graph), "a.tow"), tmp_path)
    assert code == 1 and facts["laws"][2]["holds"] is False
    refused = {row["precision"] for row in facts["precisions"] if "refused" in row}
    assert refused and "infinite" in page.text


def test_names_from_the_file_are_text_on_the_page(cli, saved, tmp_path):
    bad = "<script>alert(1)</script>\x1b[2J&\"'"
    g = Graph(bad)
    g.source = bad
    x = g.input(bad, (4,))
    g.output(bad, g.add("dense", [x], name=bad, weights={"W": RNG.normal(size=(2, 4))}))
    (code, _, _), page, _ = certified(cli, saved(Model.from_graph(g), "a.tow"), tmp_path)
    assert code == 0
    assert "script" not in page.tags and "<script>alert(1)</script>" in page.text and "\x1b" not in page.text


def test_json_alone_writes_nothing(cli, saved, tmp_path, monkeypatch):
    path = saved(head(), "a.tow")
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("certify", path, "--seconds", "0.01", "--json")
    assert code == 0 and json.loads(out)["data"]["file_sha256"] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tow"]
    assert cli("certify", path, "--seconds", "0.01")[0] == 0
    assert (tmp_path / "a.tow.certificate.html").exists()
    for words, option in (("ends in .html", "x.pdf"), ("no folder", "no/x.html")):
        code, _, err = cli("certify", path, "-o", option)
        assert code == 2 and words in err


def test_several_inputs_outputs_and_whole_sequences():
    for graph in (zoo(), single(np.random.default_rng(3), "lstm", 4, 5)):
        if graph.name != "zoo":
            graph.nodes[0].attrs["reverse"] = True
        model = Model.from_graph(graph)
        rng = np.random.default_rng(0)
        frames = {
            name: rng.integers(0, v.n_ids or 1, (9, *v.shape)).astype(np.int32)
            if v.dtype == "int32"
            else rng.normal(size=(9, *v.shape)).astype(np.float32)
            for name, v in model.inputs.items()
        }
        facts = certificate.certify(model, Path("none.tow"), frames, version="0", seconds=0.01)
        assert facts["ok"], facts["laws"]
        assert Page(as_page(facts)).text
        assert facts["model"]["file_sha256"] is None
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["date"])
