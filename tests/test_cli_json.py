# SPDX-License-Identifier: MIT
"""`--json`: one object on standard output and nothing else, with the keys that --help lists; errors too."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

import undertow
from networks import single
from undertow.cli._common import as_json
from undertow.cli._summary import Numbers
from undertow.model import Model

X = np.random.default_rng(3).normal(size=(300, 4)).astype(np.float32)
COMMANDS = ("info", "run", "verify", "convert", "export", "bench", "trace", "compare", "certify", "doctor")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model and frames."""
    Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16)).save(tmp_path / "m.tow")
    np.save(tmp_path / "x.npy", X)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(cli, *argv):
    """Exit code and the one object on standard output."""
    code, out, _ = cli(*argv, "--json")
    return code, json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


ARGUMENTS = {
    "info": ("m.tow",),
    "run": ("m.tow", "x.npy"),
    "verify": ("m.tow",),
    "convert": ("m.tow", "-o", "c.tow"),
    "export": ("m.tow",),
    "bench": ("m.tow", "--seconds", "0.002", "--cold-calls", "2", "--pause", "0.1", "--sweep", "0.1"),
    "trace": ("m.tow", "x.npy"),
    "compare": ("m.tow", "--weights", "int8", "--seconds", "0.002"),
    "certify": ("m.tow", "--data", "x.npy", "--seconds", "0.002"),
    "doctor": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_keys_are_those_of_the_help(cli, here, command):
    code, facts = answer(cli, command, *ARGUMENTS[command])
    assert code == 0
    said = cli(command, "--help")[1].partition("keys of --json:")[2].replace(",", " ").split()
    assert not {key for key in facts if key not in said}, "--help says every key"
    assert not {key.rstrip(":") for key in facts} & {"error"}


@pytest.mark.parametrize("command", COMMANDS)
def test_errors_are_json_too(cli, here, command):
    argv = {"doctor": ("extra",), "run": ("none.tow", "x.npy"), "trace": ("none.tow", "x.npy")}.get(command)
    argv = argv or (("none.tow", *ARGUMENTS[command][1:]))
    code, facts = answer(cli, command, *argv)
    _, out, err = cli(command, *argv)
    assert list(facts) == ["error"] and facts["error"]["exit_code"] == code == (2 if command == "doctor" else 3)
    assert not out and facts["error"]["message"] in err, "the sentence is that of standard error"
    code, facts = answer(cli, command, "--nonsense")
    assert code == facts["error"]["exit_code"] == 2 and facts["error"]["kind"] == "UsageError"


def test_without_a_command(cli):
    assert answer(cli, "--version") == (0, {"version": undertow.__version__})
    code, facts = answer(cli)
    assert code == 2 and "COMMAND" in facts["error"]["message"]


def test_a_command_without_an_answer_in_json_says_so(cli):
    code, out, _ = cli("--json", "completion", "bash")
    assert code == 2 and "`undertow completion` has no answer in JSON" in json.loads(out)["error"]["message"]


def test_verify_says_whether_there_was_a_proof(cli, here):
    assert answer(cli, "verify", "m.tow")[1]["proof"] == {"frames": 0, "ok": None}
    assert cli("verify", "m.tow")[1].splitlines()[1].startswith("  proof: the file holds none")
    undertow.load("m.tow").save("p.tow", proof=X[:5])
    assert answer(cli, "verify", "p.tow")[1]["proof"] == {"frames": 5, "ok": True}
    assert answer(cli, "verify", "p.tow", "--weights", "int8")[1]["proof"] == {"frames": 5, "ok": True}
    assert "proof: the file's own 5 frames give the bits that it says" in cli("verify", "p.tow")[1]
    blob = bytearray((here / "p.tow").read_bytes())
    blob[-1] ^= 1
    (here / "p.tow").write_bytes(blob)
    code, facts = answer(cli, "verify", "p.tow")
    assert code == 3 and "proof" in facts["error"]["message"]


def test_codes_are_those_without(cli, here):
    code, facts = answer(cli, "verify", "m.tow", "--tolerance", "1e-12")
    assert code == 1 and facts["ok"] is False and facts["checks"][0]["ok"] is False
    code, facts = answer(cli, "convert", "m.tow", "-o", "c.tow", "--weights", "int4", "--tolerance", "1e-9",
                         "--calibrate", "x.npy")  # fmt: skip
    assert code == 1 and facts["error"]["kind"] == "ToleranceError"
    code, facts = answer(cli, "info", "m.tow", "--isa", "sse9")
    assert code == 2 and facts["error"]["kind"] == "ISAError"


def test_an_interrupt_is_said(cli, here, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(undertow, "load", interrupted)
    code, facts = answer(cli, "info", "m.tow")
    assert code == 130 and facts["error"]["kind"] == "KeyboardInterrupt"


def test_a_program_reads_nothing_else(here):
    """Warnings and all else go to standard error, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "undertow", "run", "m.tow", "x.npy", "-o", "y.npy", "--json"],
        capture_output=True, text=True, check=True, cwd=here,
    )  # fmt: skip
    assert json.loads(done.stdout)["output"] == "y.npy" and done.stderr == ""


def test_run_in_short(cli, here, monkeypatch):
    y = undertow.load("m.tow").run(X).astype(np.float64)
    name = next(iter(undertow.load("m.tow").outputs))
    for argv in (("x.npy",), ("x.npy", "-o", "y.npy")):
        facts = answer(cli, "run", "m.tow", *argv)[1]
        row = facts["outputs"][name]
        assert facts["frames"] == 300 and row["shape"] == [300, 16] and row["not_finite"] == 0
        assert (row["min"], row["max"]) == (y.min(), y.max())
        assert row["mean"] == pytest.approx(y.mean()) and row["rms"] == pytest.approx(np.sqrt((y**2).mean()))
    assert np.array_equal(np.load("y.npy"), undertow.load("m.tow").run(X))
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(" ".join(map(str, x)) + "\n" for x in X)))
    facts = answer(cli, "run", "m.tow")[1]
    assert facts["frames"] == 300 and facts["outputs"][name]["shape"] == [300, 16]
    assert facts["outputs"][name]["rms"] == pytest.approx(row["rms"])


def test_trace_and_convert_in_short(cli, here):
    facts = answer(cli, "trace", "m.tow", "x.npy", "-o", "t.npz")[1]
    with np.load("t.npz") as arrays:
        for name, row in facts["states"].items():
            assert row["max"] == arrays[f"state/{name}"].max() and row["shape"][0] == 300
    argv = ("m.tow", "-o", "c.tow", "--weights", "int8", "--calibrate", "x.npy", "--proof", "x.npy")
    facts = answer(cli, "convert", *argv)[1]
    written = undertow.load("c.tow", check=True)
    assert facts["hash"] == written.hash.hex() and facts["proof_frames"] == written.proof_frames == 32
    assert facts["file_bytes"] == (here / "c.tow").stat().st_size
    assert set(facts["precisions"].values()) == {"int8"}
    (layer,) = facts["calibration"]["layers"]
    exact, got = undertow.load("m.tow").run(X), written.run(X)
    assert facts["calibration"]["all"]["max"] == np.abs(got.astype(float) - exact).max()
    assert layer["bytes_after"] < layer["bytes_before"]


def test_bench_writes_or_prints(cli, here):
    quick = ARGUMENTS["bench"][1:]
    code, out, _ = cli("bench", "m.tow", *quick, "--json", "numbers.json")
    assert code == 0 and "us per call" in out
    written = json.loads((here / "numbers.json").read_text())
    code, out, _ = cli("bench", "--json", "m.tow", *quick)
    assert code == 0 and json.loads(out).keys() == written.keys()
    assert json.loads(out)["model"] == "m.tow"
    assert cli("bench", *quick)[0] == 2


def test_numbers_that_json_has_not():
    text = as_json(
        {"a": np.float32(np.nan), "b": [np.inf, -np.inf], "c": np.int64(3), "d": (1.5,), "e": np.bool_(True)}
    )
    assert json.loads(text) == {"a": "NaN", "b": ["Infinity", "-Infinity"], "c": 3, "d": [1.5], "e": True}


def test_numbers_in_short():
    numbers = Numbers()
    assert numbers.data() == {"shape": [], "min": None, "max": None, "mean": None, "rms": None, "not_finite": 0}
    numbers.add(np.array([[1.0, np.nan]]))
    numbers.add(np.array([[3.0, -np.inf], [5.0, 7.0]]))
    assert numbers.data() == {
        "shape": [3, 2], "min": 1.0, "max": 7.0, "mean": 4.0, "rms": pytest.approx(21**0.5), "not_finite": 2,
    }  # fmt: skip
