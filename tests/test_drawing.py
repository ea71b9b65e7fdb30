# SPDX-License-Identifier: MIT
"""`info` of models with many layers, and what became of a file: tables and pictures."""

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import undertow
from undertow.inspect import drawing
from undertow.ir.graph import Graph

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

CAN_DRAW = find_spec("graphviz") is not None and shutil.which("dot") is not None


def tower(n_blocks, name="tower"):
    """Blocks of a dense layer, three activations and a permutation."""
    g = Graph(name)
    x = g.input("x", (4,))
    for _ in range(n_blocks):
        x = g.add("dense", [x], weights={"W": np.eye(4)})
        for kind in ("tanh", "relu", "sigmoid"):
            x = g.add("activation", [x], attrs={"activation": undertow.Activation(kind)})
        x = g.add("select", [x], weights={"indices": np.arange(4)[::-1]})
    g.output("y", x)
    return undertow.Model.from_graph(g)


def layer_rows(out):
    return [line for line in out.split("\n\n")[2].splitlines() if line.startswith("  ")][1:]


def test_small_nodes_of_large_models_share_a_line(cli, tmp_path):
    tower(6).save(tmp_path / "large.tow")
    code, out, _ = cli("info", tmp_path / "large.tow")
    assert code == 0
    rows = layer_rows(out)
    assert len(rows) == 12
    assert sum(" dense " in row for row in rows) == 6
    assert sum("4 nodes" in row and "3 activation, select" in row for row in rows) == 6
    assert "30 nodes; undertow info --all" in out
    assert len(layer_rows(cli("info", tmp_path / "large.tow", "--all")[1])) == 30
    assert len(json.loads(cli("info", tmp_path / "large.tow", "--json")[1])["layers"]) == 30
    tower(4).save(tmp_path / "small.tow")
    assert len(layer_rows(cli("info", tmp_path / "small.tow")[1])) == 20


def test_where_elements_lie_is_no_parameter():
    assert tower(3).n_parameters == 3 * 16


def row_of(table, name):
    return next(line.split(None, 3) for line in table.splitlines() if line.split()[:1] == [name])


def onnx_file(path):
    """What exporters write: a size computed from constants, a branch chosen by one, a recurrent cell, an activation."""
    from onnx_files import model_of, node, onnx

    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(size=(1, 12, 3)), "R": rng.normal(size=(1, 12, 4)), "gain": rng.normal(size=4)}
    weights = {name: a.astype(np.float32) for name, a in weights.items()} | {"one": [1], "minus": [-1]}
    nodes = [
        node("Add", "one one", "two"),
        node("Mul", "two two", "four"),
        node("Concat", "minus four", "shape", axis=0),
        node("GRU", "x W R", "Y", hidden_size=4, name="memory"),
        node("Reshape", "Y shape", "flat"),
        node("Sigmoid", "flat", "open"),
        node("Mul", "open gain", "scaled"),
        node("Mul", "scaled flat", "y"),
    ]
    onnx.save(model_of(nodes, {"x": ["t", 1, 3]}, {"y": ["t", 4]}, weights), path)
    return path


def test_what_became_of_an_onnx_file(cli, tmp_path):
    path = onnx_file(tmp_path / "exported.onnx")
    code, out, _ = cli("info", path, "--graph")
    assert code == 0
    before, after = out.split("\n\n")
    assert row_of(before, "GRU") == ["GRU", "1", "1", "gru"]
    assert row_of(before, "Mul")[:3] == ["Mul", "3", "2"], "the one of two constants is known while loading"
    assert row_of(before, "Mul")[3] == "expression"
    assert row_of(before, "Concat")[1:] == ["1", "0", "(known while loading)"]
    assert row_of(before, "Sigmoid")[1:] == ["1", "1", "expression"]
    assert row_of(before, "all")[1:3] == ["8", "5"]
    assert {line.split()[0] for line in after.splitlines()[1:]} == {"gru", "constant", "expression"}
    facts = json.loads(cli("info", path, "--graph", "--json")[1])["graph"]
    assert facts["before"]["Mul"] == {"in_file": 3, "computed": 2, "became": {"expression": 1}}
    assert facts["after"]["gru"]["parameters"] == 12 * 7


def test_layers_of_other_formats_are_counted_too(cli, tmp_path):
    layer = {"type": "dense", "activation": "tanh", "shape": [None, 2], "weights": [np.eye(2).tolist(), [0.5, 0.5]]}
    (tmp_path / "model.json").write_text(json.dumps({"in_shape": [None, 2], "layers": [layer, layer]}))
    out = cli("info", tmp_path / "model.json", "--graph")[1]
    assert row_of(out, "dense")[:3] == ["dense", "2", "2"]
    model = undertow.Sequential([undertow.Dense(np.eye(2)), undertow.Dense(np.eye(2), activation="relu")])
    assert drawing.census(model)["before"]["Dense"]["in_file"] == 2
    tower(2).save(tmp_path / "tower.tow")
    out = cli("info", tmp_path / "tower.tow", "--graph")[1]
    assert "in the file" not in out
    assert row_of(out, "activation")[1] == "6"


def edges(description):
    return set(re.findall(r"^  (\w+) -> (\w+) ", description, re.M))


def test_the_drawing_has_every_node_and_every_way(tmp_path):
    g = Graph("both")
    x, y = g.input("x", (3,)), g.input("y", (3,))
    s = g.state("kept", (3,))
    old = g.add("state_read", states=[s])
    total = g.add("add", [x, y])
    g.add("state_write", [total], states=[s])
    g.output("sum", g.add("add", [total, old]))
    g.output("old", old)
    text = drawing.dot(undertow.Model.from_graph(g))
    ids = {name: re.search(rf'^  (\w+) \[label="{name}', text, re.M)[1] for name in ("x", "y", "sum", "old", "kept")}
    nodes = {node.name: f"n{i}" for i, node in enumerate(undertow.Model.from_graph(g).graph.nodes)}
    read, write = nodes["state_read"], nodes["state_write"]
    assert edges(text) == {
        (ids["x"], nodes["add"]), (ids["y"], nodes["add"]), (nodes["add"], write), (nodes["add"], nodes["add_2"]),
        (read, nodes["add_2"]), (nodes["add_2"], ids["sum"]), (read, ids["old"]),
        (ids["kept"], read), (write, ids["kept"]),
    }  # fmt: skip


@pytest.mark.parametrize("backwards", [False, True])
def test_cells_that_walk_a_frame_are_drawn_with_their_steps_and_rows(backwards):
    g = Graph()
    x = g.input("x", (6, 2, 3))
    weights = {"W": np.ones((1, 4, 3)), "R": np.zeros((1, 4, 4))}
    g.output("h", g.add("rnn", [x], weights=weights, attrs={"steps": True, "reverse": backwards}))
    label = re.search(r'label="rnn\\n([^"]*)"', drawing.dot(undertow.Model.from_graph(g)))[1]
    assert label.startswith(f"6 steps of a frame, 2 rows, {'backwards' if backwards else 'forwards'}")


HOSTILE = 'a"]; b [label="\\\n\x00{<|>}'


def test_names_from_a_file_stay_inside_their_quotes(tmp_path):
    g = Graph(HOSTILE)
    x = g.input(HOSTILE, (2,))
    g.output(HOSTILE, g.add("dense", [x], name=HOSTILE + "1", weights={"W": np.eye(2)}))
    text = drawing.dot(undertow.Model.from_graph(g))
    outside = re.sub(r'"(\\.|[^"\\])*"', "", text)
    assert '"' not in outside
    assert "{<" not in outside
    assert "\x00" not in text
    if CAN_DRAW:
        drawing.write(undertow.Model.from_graph(g), tmp_path / "x.svg")


def test_pictures(cli, tmp_path, monkeypatch):
    tower(2).save(tmp_path / "tower.tow")
    assert cli("info", tmp_path / "tower.tow", "--graph", tmp_path / "x.dot")[0] == 0
    assert (tmp_path / "x.dot").read_text().startswith("digraph")
    for out, words in (("x.bmp", ".svg"), (Path("no") / "x.svg", "no folder")):
        code, _, err = cli("info", tmp_path / "tower.tow", "--graph", tmp_path / out)
        assert code == 2
        assert words in err
    assert cli("info", "--graph")[0] == 2
    assert cli("info", "--graph", tmp_path / "tower.tow")[0] == 0
    monkeypatch.setattr(drawing, "MAX_NODES", 3)
    code, _, err = cli("info", tmp_path / "tower.tow", "--graph", tmp_path / "x.dot")
    assert code == 3
    assert "10 nodes" in err
    monkeypatch.setattr(drawing, "MAX_NODES", 2000)
    monkeypatch.setitem(__import__("sys").modules, "graphviz", None)
    code, _, err = cli("info", tmp_path / "tower.tow", "--graph", tmp_path / "x.svg")
    assert code == 3
    assert "undertow[graph]" in err


@pytest.mark.skipif(not CAN_DRAW, reason="needs Graphviz and its program dot: pip and apt install graphviz")
@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_pictures_that_dot_draws(cli, tmp_path, suffix, monkeypatch):
    tower(2).save(tmp_path / "tower.tow")
    out = tmp_path / f"x{suffix}"
    assert cli("info", tmp_path / "tower.tow", "--graph", out)[0] == 0
    assert out.read_bytes()[:5].startswith((b"<?xml", b"\x89PNG", b"%PDF"))
    monkeypatch.setenv("PATH", "")
    code, _, err = cli("info", tmp_path / "tower.tow", "--graph", out)
    assert code == 3
    assert "the program dot" in err


def test_rows_in_the_middle_of_very_many_share_a_line(cli, tmp_path):
    tower(60).save(tmp_path / "tower.tow")
    rows = layer_rows(cli("info", tmp_path / "tower.tow")[1])
    assert len(rows) == 61
    assert "150 nodes" in rows[40] and "90 activation, 30 dense, 30 select" in rows[40]
    assert sum(" dense " in row for row in rows) == 30
    assert len(layer_rows(cli("info", tmp_path / "tower.tow", "--all")[1])) == 300
