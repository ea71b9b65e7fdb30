# SPDX-License-Identifier: MIT
"""What the command refuses before the work, in the words of a shell, with nothing on standard output."""

import builtins
import json

import numpy as np
import pytest

from networks import single
from undertow.ir.graph import Graph
from undertow.model import Model

#: what no message of a shell says
PYTHON = ("model.run(", "load(", "=True", "=False", "shapes=", "states=", "fixed=")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Models: one with a state, one without, one that runs backwards; and frames."""
    graph = single(np.random.default_rng(1), "gru", 4, 16)
    Model.from_graph(graph).save(tmp_path / "m.tow")
    graph = single(np.random.default_rng(1), "gru", 4, 16)
    graph.nodes[0].attrs["reverse"] = True
    Model.from_graph(graph).save(tmp_path / "back.tow")
    g = Graph("none")
    g.output("y", g.add("dense", [g.input("x", (4,))], weights={"W": np.eye(4)}))
    Model.from_graph(g).save(tmp_path / "none.tow")
    np.save(tmp_path / "x.npy", np.zeros((5, 4), np.float32))
    np.save(tmp_path / "empty.npy", np.zeros((0, 4), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "words", "argv"),
    [
        (2, "--plot t.bmp: expected a name that ends in .png", "trace m.tow x.npy --plot t.bmp"),
        (2, "--plot no/t.png: there is no folder no", "trace m.tow x.npy --plot no/t.png"),
        (2, "-o no/t.npz: there is no folder no", "trace m.tow x.npy -o no/t.npz"),
        (2, "--plot t.png: nothing to draw, the model has no state", "trace none.tow x.npy --plot t.png"),
        (3, "--plot t.png: nothing to draw, the input has no frames", "trace m.tow empty.npy --plot t.png"),
        (3, "use `undertow run`, which takes the whole sequence", "trace back.tow x.npy"),
        (2, "--segments - and --json both take standard output", "run m.tow x.npy --segments - --json"),
        (2, "--graph g.bmp: expected a name that ends in .svg", "info m.tow --graph g.bmp"),
        (2, "--graph no/g.svg: there is no folder no", "info m.tow --graph no/g.svg"),
        (2, "--graph shows a MODEL; none is given", "info --graph"),
        (2, "-o no/c.html: there is no folder no", "certify m.tow -o no/c.html"),
        (2, "-o no/c.tow: there is no folder no", "convert m.tow -o no/c.tow"),
        (2, "--proof empty.npy: has no frames", "convert m.tow -o c.tow --proof empty.npy"),
        (3, "nope.npy: No such file", "convert m.tow -o c.tow --proof nope.npy"),
        (2, "-o x.npy: is a file, expected a folder", "export m.tow -o x.npy"),
        (2, "--name: name is 'a-b', expected an identifier of C", "export m.tow --name a-b"),
        (3, "cannot be exported to C, it runs backwards in time", "export back.tow"),
        (3, "has no frames; at least one", "compare m.tow --weights int8 --data empty.npy"),
        (3, "do not take and give the same frames", "compare m.tow none.tow"),
    ],
)
def test_refused_with_nothing_done(cli, here, code, words, argv):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    before = sorted(p.name for p in here.iterdir())
    got, out, err = cli(*argv.split())
    assert got == code and (not out or "--json" in argv) and words in err and len(err.splitlines()) == 1, err
    assert not any(python in err for python in PYTHON), err
    assert sorted(p.name for p in here.iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "extra"), [("info m.tow --graph g.svg", "graph"), ("trace m.tow x.npy --plot t.png", "plot")]
)
def test_a_package_that_is_missing_is_all_that_is_said(cli, here, monkeypatch, argv, extra):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.partition(".")[0] in ("graphviz", "matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    code, out, err = cli(*argv.split())
    assert (code, out) == (3, "") and f'pip install "undertow[{extra}]"' in err
    code, out, _ = cli(*argv.split(), "--json")
    assert code == 3 and list(json.loads(out)) == ["error"]
