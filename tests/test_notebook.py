# SPDX-License-Identifier: MIT
"""What a notebook shows: models, graphs, streams and pools as HTML, pictures without %matplotlib."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import undertow
from networks import framed, single, zoo
from undertow.inspect import notebook
from undertow.ir.graph import Graph
from undertow.model import Model

BAD = "<script>alert(1)</script>\x1b[2J\n\"'&amp;</svg>"


def parsed(html):
    """The fragment as a tree: it is well-formed, and loads and runs nothing."""
    plain = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    plain = re.sub(r"<(th|td) class=n>", r'<\1 class="n">', plain).replace("<p class=dim>", '<p class="dim">')
    root = ElementTree.fromstring(plain)
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in {
            "div", "h2", "table", "tr", "th", "td", "p", "ul", "li", "details", "summary", "figure", "span", "code",
            "svg", "rect", "text", "path", "defs", "marker",
        }, tag  # fmt: skip
        assert not any(name.startswith("on") or name.endswith(("href", "src")) for name in element.attrib)
    return root


def words(html):
    return " ".join(" ".join(parsed(html).itertext()).split())


def memory():
    return Model.from_graph(single(np.random.default_rng(1), "lstm", 4, 16))


def test_a_model_says_what_print_says():
    model = memory()
    said = words(model._repr_html_())
    (state, _) = model.states
    name = next(iter(model.inputs))
    for part in (f"input {name} (4,) float32", f"state {state} (16,)", f"{model.n_parameters:,}", model.isa, "lstm"):
        assert part in said, part
    assert "proof" not in said


def test_a_proof_is_said(tmp_path):
    memory().save(tmp_path / "m.tow", proof=np.zeros((3, 4), np.float32))
    assert "proof 3 frames" in words(undertow.load(tmp_path / "m.tow")._repr_html_())


@pytest.mark.parametrize("graph", [zoo(), framed()], ids=lambda g: g.name)
def test_every_input_state_and_output_is_shown(graph):
    model = Model.from_graph(graph)
    for html in (model._repr_html_(), graph._repr_html_()):
        said = words(html)
        assert all(name in said for name in (*graph.inputs, *graph.states, *graph.outputs))


def test_lines_of_the_picture_are_those_of_the_graph():
    g = Graph("skips")
    x = g.input("x", (3,))
    a = g.add("activation", [x], name="a")
    b = g.add("activation", [a], name="b")
    g.output("y", g.add("add", [b, x], name="c"))
    boxes = notebook._boxes(g)
    assert [box.title for box in boxes] == ["x", "a", "b", "c", "y"]
    assert [box.reads for box in boxes] == [set(), {0}, {1}, {0, 2}, {3}]
    svg = str(notebook.graph_svg(g))
    assert svg.count("<rect") == 5 and svg.count("marker-end") == 5


def test_a_graph_that_is_too_large_is_not_drawn():
    g = Graph("long")
    value = g.input("x", (3,))
    for _ in range(60):
        value = g.add("dense", [value], weights={"W": np.eye(3)})
    g.output("y", value)
    said = words(Model.from_graph(g)._repr_html_())
    assert "undertow info MODEL --graph" in said and "more rows: print(model)" in said


def test_names_of_the_file_are_text():
    g = Graph(BAD)
    g.source = BAD
    x = g.input(BAD, (2,))
    h = g.state(BAD + ".h", (2,))
    weights = {"W": np.ones((1, 2, 2)), "R": np.ones((1, 2, 2))}
    g.output(BAD, g.add("rnn", [x], name=BAD, weights=weights, states=[h]))
    model = Model.from_graph(g)
    stream = model.stream()
    for html in (model._repr_html_(), g._repr_html_(), stream._repr_html_(), model.pool(2)._repr_html_()):
        assert "<script" not in html and "\x1b" not in html
        assert "<script>alert(1)</script>" in words(html)


def test_a_stream_shows_where_it_stands():
    stream = memory().stream()
    X = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    stream.run(X)
    said = words(stream._repr_html_())
    assert "frames taken 9" in said
    for name, state in stream.state.items():
        assert f"{name} (16,) {state.min():.3g} {state.max():.3g}" in said
    stream.propose(X[0])
    assert "a proposal is pending" in words(stream._repr_html_())
    stream.rollback()
    stream.state[next(iter(stream.state))] = np.full(16, np.nan)
    assert "rgb(128, 128, 128)" in stream._repr_html_()


def test_a_pool_shows_how_full_it_is():
    pool = memory().pool(10)
    pool.open(3)
    assert "open 3 of 10 streams" in words(pool._repr_html_())


def test_an_executed_notebook_shows_models_and_pictures(monkeypatch, tmp_path):
    """No %matplotlib, nothing imported but undertow and NumPy."""
    client = pytest.importorskip("nbclient", reason="needs a notebook: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="needs a notebook: pip install nbclient ipykernel")
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    nbformat = pytest.importorskip("nbformat", reason="needs a notebook: pip install nbformat")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [
        "import numpy as np, undertow\nmodel = undertow.load(undertow.example('digits'))\nmodel",
        "stream = model.stream()\nstream.trace(np.ones((20, 8), np.float32)).plot()",
        "stream",
        "model.graph",
        "model.pool(4)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client.NotebookClient(book, timeout=60, kernel_name="python3").execute()
    shown = [cell.outputs[-1].data for cell in book.cells]
    assert "image/png" in shown[1] and len(shown[1]["image/png"]) > 1000
    for i, part in ((0, "multiply-adds"), (2, "frames taken"), (3, "softmax"), (4, "0 of 4 streams")):
        assert part in shown[i]["text/html"], i
