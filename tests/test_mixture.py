# SPDX-License-Identifier: MIT
"""Which weights take the finer of two precisions: those of fewest multiply-adds, up to a share."""

import numpy as np
import pytest

import undertow
from undertow.errors import UnsupportedError
from undertow.ir.graph import Graph
from undertow.passes.mixture import mixed
from undertow.passes.precisions import with_weights


def model():
    """Multiply-adds: table 0, rows 3 * 8 * 8 = 192, W 3 * 10 * 24 = 720, R 3 * 10 * 10 = 300, head 2 * 10 = 20."""
    rng = np.random.default_rng(0)
    g = Graph("mixed")
    embedded = g.add(
        "embedding", [g.input("id", (), "int32")], name="table", weights={"table": rng.normal(size=(50, 24))}
    )
    rows = g.add("reshape", [embedded], name="as rows", attrs={"shape": (3, 8)})
    rows = g.add("dense", [rows], name="rows", weights={"W": rng.normal(size=(8, 8)), "b": rng.normal(size=8)})
    flat = g.add("reshape", [rows], name="flat", attrs={"shape": (24,)})
    weights = {"W": rng.normal(size=(3, 10, 24)), "R": rng.normal(size=(3, 10, 10))}
    h = g.add("gru", [flat], name="gru", weights=weights, states=[g.state("h", 10)])
    g.output("y", g.add("dense", [h], name="head", weights={"W": rng.normal(size=(2, 10))}))
    return g


@pytest.mark.parametrize(
    ("share", "finer"),
    [
        (0.0, {"table"}),
        (19.5 / 1232, {"table"}),
        (20.5 / 1232, {"table", "head"}),
        (212.5 / 1232, {"table", "head", "rows"}),
        (511.5 / 1232, {"table", "head", "rows"}),
        (512.5 / 1232, {"table", "head", "rows", "gru R"}),
        (1.0, {"table", "head", "rows", "gru R", "gru W"}),
    ],
)
def test_the_cheapest_weights_are_finer(share, finer):
    g = model()
    keys = {"table": ("table", "table"), "head": ("head", "W"), "rows": ("rows", "W")}
    keys |= {"gru R": ("gru", "R"), "gru W": ("gru", "W")}
    chosen = mixed(g, "int8", "float16", share)
    assert {name for name, (layer, key) in keys.items() if chosen[layer][key] == "float16"} == finer
    assert {precision for layer in chosen.values() for precision in layer.values()} <= {"int8", "float16"}
    graph = with_weights(g, chosen)
    assert {node.name: node.precisions for node in graph.nodes if node.precisions} == chosen


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share):
    with pytest.raises(UnsupportedError, match=f"share is {share}, expected 0 to 1"):
        mixed(model(), "int8", "float16", share)


def test_a_pair_is_a_precision():
    model = undertow.load(undertow.example("digits"))
    chosen = mixed(model.graph, "int8", "int16")
    assert model.with_weights("int8+int16").hash == model.with_weights(chosen).hash
    assert {p for keys in chosen.values() for p in keys.values()} == {"int8", "int16"}
    for wrong in ("int8+", "int8+int16+int4", "int8+int3", "sparse int8+int16", "+"):
        with pytest.raises(undertow.UnsupportedError, match=r"precision '.*' does not exist|is no pair, a coarse"):
            model.with_weights(wrong)


def test_a_pair_in_the_shell(cli, tmp_path):
    out = tmp_path / "small.tow"
    assert cli("convert", undertow.example("digits"), "-o", out, "--weights", "int8+int16")[0] == 0
    assert undertow.load(out).hash == undertow.load(undertow.example("digits"), weights="int8+int16").hash
    code, _, err = cli("convert", undertow.example("digits"), "-o", out, "--weights", "int8+int9")
    assert code == 2 and "'int8+int9' is no precision; precisions: float32," in err and "as int8+int16" in err


@pytest.mark.parametrize(
    "pair, words",
    [
        ("int16+int8", "names the more exact one first; write 'int8+int16'"),
        ("float16+int4", "write 'int4+float16'"),
        ("int8+int8", "two reduced precisions that differ, as 'int8+int16'; one for all weights is 'int8'"),
        ("float32+int8", "one for all weights is 'int8'"),
        ("int8+float32", "one for all weights is 'int8'"),
    ],
)
def test_pairs_that_are_none(pair, words):
    with pytest.raises(UnsupportedError) as caught:
        with_weights(model(), pair)
    assert repr(pair) in str(caught.value) and words in str(caught.value)
