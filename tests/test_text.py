# SPDX-License-Identifier: MIT
"""Text of files is shown and never obeyed: no control character and no forged line in a message, table or picture."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
import traceback
import warnings
import xml.dom.minidom
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest

import undertow
from evil import EVIL, EVIL_PATH, harmless
from onnx_files import cell, helper, model_of, random, save
from undertow import Graph, errors
from undertow.cli import main
from undertow.inspect import drawing

LONG = "\x9b" * 100_000 + "end"


def lstm(text: str, op: str = "MatMul") -> Any:
    """An ONNX model in which every name, and what names the model, ends with `text`."""
    rng = np.random.default_rng(0)
    names = [name + text for name in ("x", "h", "s", "y", "K")]
    x, h, s, y, K = names
    nodes = [
        helper.make_node("LSTM", [x, "W", "R"], [h], hidden_size=4, name=f"lstm{text}"),
        helper.make_node("Squeeze", [h, "axis"], [s], name=f"squeeze{text}"),
        helper.make_node(op, [s, K], [y], name=f"matmul{text}"),
    ]
    weights = {**cell(rng, "LSTM", 3, 4), "axis": np.array([1]), K: random(rng, 4, 2)}
    model = model_of(nodes, {x: [f"T{text}", 1, 3]}, {y: None}, weights)
    model.graph.name, model.producer_name, model.producer_version = f"g{text}", f"p{text}", f"v{text}"
    return model


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", random(np.random.default_rng(1), 6, 3))
    return save(lstm(EVIL), tmp_path)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; what it prints, ONNX Runtime's own words included, must be harmless."""

    def run(*argv: Any, code: int = 0) -> str:
        assert main([str(a) for a in argv]) == code
        said = capfd.readouterr()
        return harmless(said.out + said.err)

    return run


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_what_is_not_printable_is_escaped() -> None:
    from undertow._text import escaped, lines, listed, quoted, shown

    text = "größe\t\x1b\x9b\u202e\u2028\ud800\n\\ x"
    assert shown(text) == "größe\\t\\x1b\\x9b\\u202e\\u2028\\ud800\\n\\ x"
    assert shown(shown(text)) == shown(text) == escaped(text)
    assert lines(text) == "größe\\t\\x1b\\x9b\\u202e\\u2028\\ud800\n\\ x"
    assert quoted(text) == repr(text)
    assert listed(["a\n", "b"]) == "a\\n, b"
    for show in (shown, quoted):
        cut = show("start" + "\x1b" * 10**6 + "end")
        assert "start" in cut and "end" in cut and "..." in cut and len(cut) <= 202 and cut.isprintable()


def test_errors_escape_what_they_are_made_of() -> None:
    for cls in [errors.Error, *errors.Error.__subclasses__()]:
        error = cls(f"file: {EVIL}", "  a line of ours")
        first, second = str(error).split("\n")
        assert first.isprintable() and EVIL.partition(" ")[2].split("\r")[0] in first and second == "  a line of ours"
        assert all(arg.isprintable() for arg in error.args)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        error.args = (f"{error.args[0]}; {EVIL}",)
        harmless(str(error))
    assert str(errors.FormatError("a file: no such layer")) == "a file: no such layer"
    assert str(errors.Error()) == ""
    cut = str(errors.Error(f"file: {LONG}: do that"))
    assert len(cut) <= 2000 and cut.startswith("file: ") and cut.endswith("end: do that")


def test_no_way_out_but_through_these() -> None:
    """What leaves the package is an Error, which escapes its message, or printed by `say`."""
    package, prints = Path(undertow.__file__).parent, {"print", "sys.stdout.write", "sys.stderr.write"}
    caught = {"NoLoop", "NoFormula", "NoRank", "NotDiagonal", "NotExported", "NotTheModule", "Refusal", "Retry",
              "Spent", "TooMuch", "Unbounded", "Unclear", "Failure"}  # fmt: skip
    # of their own, and of what they know
    programs = {"importers/operators_page.py", *(f"examples/{path.name}" for path in package.glob("examples/*.py"))}
    found, strangers = {}, set()
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in prints and name not in programs:
                found[name] = found.get(name, 0) + 1
            if isinstance(node, ast.ClassDef) and name != "errors.py":
                bases = {ast.unparse(base) for base in node.bases}
                if (
                    bases & {"Exception", "ValueError", "TypeError", "KeyError", "RuntimeError"}
                    and "Error" not in bases
                ):
                    strangers.add(node.name)
    assert found == {"cli/_common.py": 2}
    assert strangers == caught


def test_what_a_terminal_cannot_encode_is_escaped(tmp_path: Path) -> None:
    path = save(lstm("ü"), tmp_path)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "undertow", "info", str(path)]
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"g\\xfc" in done.stdout and b"x\\xfc" in done.stdout


def test_warnings_of_others_are_escaped(cli: Any, evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        warnings.warn(f"odd: {EVIL}", UserWarning, stacklevel=1)
        return np.zeros((2, 3), np.float32)

    monkeypatch.setattr(np, "load", load)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert "UserWarning: odd: \\x1b[2J" in cli("run", evil, evil.parent / "x.npy")


# -- commands ---------------------------------------------------------------------------------------------------------


def test_every_command(cli: Any, evil: Path) -> None:
    folder, X = evil.parent, evil.parent / "x.npy"
    small, large = folder / "small.tow", folder / "large.tow"
    for form in ([], ["--all"], ["--graph"], ["--json"]):
        cli("info", evil, *form)
    cli("convert", evil, "-o", large)
    cli("convert", evil, "-o", small, "--weights", "int8", "--calibrate", X)
    said = cli("convert", evil, "-o", small, "--weights", "int4", "--calibrate", X, "--tolerance", "1e-9", code=1)
    assert "errors are" in said and "\n  layer " in said  # a table of ours, above the error
    assert "\n  source  ONNX opset 17 p\\x1b" in cli("info", large)
    cli("verify", evil)
    cli("verify", small, "--against", evil)
    cli("run", evil, X)
    cli("run", evil, X, "-o", folder / "y.npz")
    cli("trace", evil, X, "-o", folder / "trace.npz")
    cli("bench", evil, "--seconds", "0.001", "--cold-calls", "0", "--json", folder / "bench.json")


def test_every_command_that_fails(cli: Any, evil: Path) -> None:
    folder, X, name = evil.parent, evil.parent / "x.npy", EVIL_PATH
    broken = save(lstm(EVIL, "No" + EVIL), folder, "broken.onnx")
    for command in (["info"], ["convert", "-o", folder / "y.tow"], ["verify"], ["run", X], ["trace", X], ["bench"]):
        cli(command[0], broken, *command[1:], code=3)
    assert "Traceback" in cli("--debug", "info", broken, code=3)
    (folder / f"{name}.tow").write_bytes(evil.read_bytes())
    cli("info", folder / f"{name}.tow", code=3)
    cli("info", folder / f"none{name}", code=3)
    cli("info", f"--{name.replace(' ', '')}", code=2)
    cli(name, code=2)
    cli("info", evil, "--isa", name, code=2)
    cli("info", evil, "--weights", f'{{"{name}": 1', code=2)
    for option in ("--fixed", "--shape", "--states"):
        cli("info", evil, option, f"{name}=1", code=3)
        cli("info", evil, option, name, code=2)
    cli("info", evil, "--graph", folder / name / "g.png", code=2)
    cli("run", evil, X, "-o", name, code=2)
    cli("run", evil, f"{name}.npy", code=3)
    np.savez(folder / "x.npz", **{name: np.zeros((2, 3)), "b": np.zeros(3)})
    (folder / "words.csv").write_text(f"1,2,3\n1,{EVIL.split()[0]},3\n")
    (folder / "short.csv").write_text("1,2\n")
    (folder / "header.npy").write_bytes((folder / "x.npy").read_bytes().replace(b"'<f4'", b"'\\\x1b\x9b'"))
    for file in ("x.npz", "words.csv", "short.csv", "header.npy"):
        cli("run", evil, folder / file, code=3)


def test_long_names_do_not_fill_a_terminal(cli: Any, tmp_path: Path) -> None:
    path = save(lstm(LONG), tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((5, 4), np.float32))
    for command in (["info"], ["info", "--graph", tmp_path / "g.dot"], ["verify"]):
        assert len(cli(command[0], path, *command[1:])) < 5000
    assert len((tmp_path / "g.dot").read_text()) < 5000
    assert len(cli("run", path, tmp_path / "x.npy", code=3)) < 5000
    assert len(cli("info", save(lstm(LONG, "No" + LONG), tmp_path), code=3)) < 5000


# -- pictures ---------------------------------------------------------------------------------------------------------


def svg(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    harmless(text.replace("\t", " "))
    document = xml.dom.minidom.parseString(text.encode())
    assert not document.getElementsByTagName("script")


def test_plots_are_what_they_say(cli: Any, evil: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    folder, X = evil.parent, evil.parent / "x.npy"
    named = folder / f"{EVIL_PATH}.onnx"
    named.write_bytes(evil.read_bytes())
    cli("run", evil, X, "--plot", folder / "run.svg")
    cli("trace", evil, X, "--plot", folder / "trace.svg")
    cli("bench", named, "--seconds", "0.001", "--cold-calls", "0", "--plot", folder / "bench.svg")
    for name in ("run", "trace", "bench"):
        svg(folder / f"{name}.svg")


def test_a_graph_cannot_be_left(evil: Path) -> None:
    """What graphviz reads of a name is one string, and shows what the name holds."""
    text = drawing.dot(undertow.load(evil))
    (label,) = [line.split("label=")[1] for line in text.splitlines() if line.startswith("  i0 [")]
    string = label[: label.rindex('", shape')]
    assert string.startswith('"x\\\\x1b[2J') and "&amp;#27;&amp;lt;" in string and "\\\\N\\\\l" in string
    assert '"' not in string[1:].replace('\\"', "")


@pytest.mark.skipif(
    not (find_spec("graphviz") and which("dot")),
    reason="needs Graphviz and its program dot: pip and apt install graphviz",
)
def test_a_drawing_is_what_it_says(cli: Any, evil: Path) -> None:
    cli("info", evil, "--graph", evil.parent / "g.svg")
    svg(evil.parent / "g.svg")
    assert "&amp;#27;&amp;lt;" in (evil.parent / "g.svg").read_text()


# -- what stays -------------------------------------------------------------------------------------------------------


def test_names_stay_the_keys_that_they_are(evil: Path) -> None:
    model = undertow.load(evil)
    model.save(evil.parent / "m.tow")
    for m in (model, undertow.load(evil.parent / "m.tow")):
        assert (list(m.inputs), list(m.outputs)) == ([f"x{EVIL}"], [f"y{EVIL}"])
        assert m.name == m.graph.name == f"g{EVIL}"
        assert m.run({f"x{EVIL}": np.zeros((2, 3), np.float32)}).shape == (2, 2)


def test_messages_about_arrays_that_do_not_fit(evil: Path) -> None:
    model = undertow.load(evil)
    X = np.zeros((2, 3), np.float32)
    calls = [
        lambda: model.run(X[:, :2]),
        lambda: model.run(X.astype(np.float64)),
        lambda: model.run([1.0]),
        lambda: model.run({"x": X}),
        lambda: model.stream().run(X, out=X),
        lambda: model.stream().state[EVIL],
        lambda: model.run(X, state={EVIL: 1}),
        lambda: model.with_weights({EVIL: "int8"}),
    ]
    for call in calls:
        with pytest.raises((undertow.Error, TypeError, KeyError)) as caught:
            call()
        harmless(str(caught.value) + "".join(traceback.format_exception(caught.value)))


def test_a_source_passes_for_nothing_else() -> None:
    graph = Graph("m")
    graph.output("y", graph.add("dense", [graph.input("x", 2)], weights={"W": np.ones((2, 2))}))
    graph.source = "ONNX\nstreams     forged\n  streams     forged\r" + "\n" * 500
    model = undertow.Model.from_graph(graph)
    lines = str(model).split("\n")
    assert lines[:4] == ["m", "  source  ONNX", *[" " * 10 + "streams forged"] * 2]
    assert len(lines) < 150 and model.source == graph.source


def test_the_length_of_a_frame_is_kept_behind_long_names(tmp_path: Path) -> None:
    """A .tow file keeps 4096 characters of the source."""
    line = "strides along time: 7 timesteps in a frame, 7 out"
    rng, forged = np.random.default_rng(0), f"\n{line}\n{'n' * 150}"
    nodes = [
        helper.make_node("Conv", ["x", "C"], ["c"], kernel_shape=[2], strides=[2]),
        helper.make_node("Transpose", ["c"], ["y0"], perm=[2, 0, 1]),
        helper.make_node("Squeeze", ["h5", "axis"], ["y"]),
    ]
    weights = {"C": random(rng, 3, 3, 2), "axis": np.array([1])}
    ins, outs = {}, {}
    for i in range(5):
        start, end = ([f"{name}{i}{forged}" for name in names] for names in (("h0", "c0"), ("hn", "cn")))
        weights |= {f"{key}{i}": array for key, array in cell(rng, "LSTM", 3, 3).items()}
        nodes.insert(
            -1,
            helper.make_node("LSTM", [f"y{i}", f"W{i}", f"R{i}", "", "", *start], [f"h{i + 1}", *end], hidden_size=3),
        )
        nodes.insert(-1, helper.make_node("Squeeze", [f"h{i + 1}", "axis"], [f"y{i + 1}"]))
        ins |= {name: [1, 1, 3] for name in start}
        outs |= {name: [1, 1, 3] for name in end}
    model = undertow.load(save(model_of(nodes, {"x": [1, 3, "T"], **ins}, {"y": None, **outs}, weights), tmp_path))
    assert (model.frames_in, model.frames_out) == (2, 1)
    assert len(model.source) == 4096 and len(model.states) == 10


def test_half_characters(tmp_path: Path) -> None:
    graph = Graph("m\ud800")
    graph.output("y", graph.add("dense", [graph.input("x", 2)], weights={"W": np.ones((2, 2))}))
    assert undertow.Model.from_graph(graph).name == "m\\ud800"
    graph.output("y\udfff", graph.outputs["y"])
    with pytest.raises(undertow.FormatError, match=r"the name 'y\\udfff' cannot be stored"):
        undertow.Model.from_graph(graph)


# -- code to write ----------------------------------------------------------------------------------------------------


def test_suggested_code_is_no_code_of_the_file(tmp_path: Path) -> None:
    """What an error proposes to write is pasted into programs: a name in it is a string, whatever it holds."""
    quotes = "'\"" * 600
    names = [f"a{EVIL_PATH}", 'b"]); import os #', "c'", f"{quotes}__import__('os'){quotes}", "d\nimport os"]
    loose = [f"t{name}" for name in names]
    path = tmp_path / f"{EVIL_PATH}.npz"
    arrays = {f"{name}.weight": np.ones((4, 4)) for name in names} | {name: np.ones(3) for name in loose}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(undertow.UnsupportedError, match="Write the wiring") as caught:
        undertow.load(path)
    code = harmless(str(caught.value)).partition("Write the wiring, for example:\n")[2]
    assert 'w["tc\'"]' in code and "d\\nimport os" in code
    tree = ast.parse("\n".join(line[4:] for line in code.split("\n")))
    assert {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} <= {"undertow", "w", "model"}
    assert not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree))
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert strings >= {str(path), *names[:3], names[4]}
