# SPDX-License-Identifier: MIT
"""`undertow doctor`: what is there, what is missing, and whether every instruction set computes what it must."""

import importlib.metadata
import json
import platform
import re
from pathlib import Path

import numpy as np
import pytest

import oracle
import undertow
from undertow.accuracy import self_check
from undertow.accuracy.bits import fingerprint
from undertow.inspect import machine

ROOT = Path(__file__).resolve().parent.parent


def test_all_is_well_here(cli):
    code, out, _ = cli("doctor", "--json")
    facts = json.loads(out)
    assert (code, facts["ok"], facts["problems"]) == (0, True, [])
    assert facts["versions"]["undertow"] == undertow.__version__
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["numpy"] == np.__version__
    assert {row["name"]: row["runs"] for row in facts["isas"]} == undertow.isas()
    assert [row["ok"] for row in facts["isas"] if row["runs"]] == [True] * sum(undertow.isas().values())
    assert all(row["hash"] is None for row in facts["isas"] if not row["runs"])
    packages = {p["name"]: p for p in facts["packages"]}
    assert packages["numpy"]["version"] == importlib.metadata.version("numpy")
    code, out, _ = cli("doctor")
    assert code == 0 and out.splitlines()[-1] == "all is well" and "the right bits" in out


def test_packages_are_those_that_the_project_asks_for():
    """Versions and extras stand in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text() if (ROOT / "pyproject.toml").exists() else ""
    extras = dict(re.findall(r"^(\w+) = \[([^\]]*)\]", text.partition("[project.optional-dependencies]")[2], re.M))
    extras[""] = text.partition("dependencies = [")[2].partition("]")[0]
    if not text:
        pytest.skip("needs the source tree")
    for package in machine.PACKAGES:
        if package.extra or package.name == "numpy":
            assert f'"{package.name}>={package.least}"' in extras[package.extra], package
    known = {p.name for p in machine.PACKAGES}
    for extra, listed in extras.items():
        for name in re.findall(r'"([\w-]+)[>=]', listed):
            if extra not in ("test", "bench", "docs", "all"):
                assert name in known, f"{name} of extra {extra}: doctor does not look for it"


def test_what_is_missing_is_said_with_the_line_that_installs_it(cli, monkeypatch):
    there = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: None if name == "onnx" else there(name))
    code, out, _ = cli("doctor")
    assert code == 0  # not installed is no fault
    assert 'does not read .onnx .tflite: pip install "undertow[onnx]"' in out
    facts = json.loads(cli("doctor", "--json")[1])
    assert {f["suffix"]: f["reads"] for f in facts["formats"]}[".keras"] is True
    assert {f["suffix"]: f["reads"] for f in facts["formats"]}[".onnx"] is False


def test_what_is_too_old_or_broken_is_a_problem(cli, monkeypatch):
    there = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: "1.9.3" if name == "onnx" else there(name))
    code, out, _ = cli("doctor")
    assert code == 1
    assert 'problem: onnx 1.9.3 is older than 1.16: pip install "undertow[onnx]"' in out
    monkeypatch.setattr(machine, "_version", lambda name: "9.0" if name == "soundfile" else there(name))

    def broken(name):
        if name == "soundfile":
            raise SystemError("built for\nanother Python")

    monkeypatch.setattr(machine.importlib, "import_module", broken)
    code, out, _ = cli("doctor")
    assert code == 1 and "problem: soundfile does not import: SystemError: built for another Python" in out


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "apt install libportaudio2"),
        ({"ID": "fedora"}, "dnf install portaudio"),
        ({"ID": "alpine"}, "apk add portaudio"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "zypper install portaudio"),
        ({"ID": "slackware"}, "the system's package portaudio, as apt install libportaudio2"),
    ],
)
def test_a_library_that_the_system_lacks_is_a_note(cli, monkeypatch, release, line):
    """Nobody who installs all extras asks for a microphone, say."""
    there = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: "0.5" if name == "sounddevice" else there(name))
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(machine.platform, "freedesktop_os_release", lambda: release)

    def without(name):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")

    monkeypatch.setattr(machine.importlib, "import_module", without)
    code, out, _ = cli("doctor")
    note = f"  note: sounddevice lacks portaudio of the system (PortAudio library not found): {line}"
    assert code == 0 and out.splitlines()[-2:] == [note, "all is well"]
    facts = json.loads(cli("doctor", "--json")[1])
    assert facts["ok"] and facts["notes"] == [note.removeprefix("  note: ")]


@pytest.mark.parametrize(("version", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("1.16rc1", (1, 16, 1)), ("4", (4,))])
def test_versions_are_numbers(version, numbers):
    assert machine._numbers(version) == numbers


def test_a_wrong_kernel_is_found(cli, monkeypatch):
    right = self_check.results
    spoiled = next(iter(undertow.isas()))

    def wrong(model, X):
        given = right(model, X)
        if model.isa == spoiled:
            given["output/output"].view(np.uint32)[5, 3] ^= 1
        return given

    monkeypatch.setattr(self_check, "results", wrong)
    code, out, _ = cli("doctor")
    assert code == 1 and f"problem: {spoiled} gives other numbers" in out and "OTHER BITS" in out


def test_an_instruction_set_that_is_forced_and_does_not_run_is_a_problem(cli, monkeypatch):
    monkeypatch.setenv("UT_ISA", "sse9")
    code, out, _ = cli("doctor")
    assert code == 1 and "unset UT_ISA" in out
    monkeypatch.setenv("UT_ISA", "scalar")
    facts = json.loads(cli("doctor", "--json")[1])
    assert facts["ok"] and facts["environment"]["UT_ISA"] == "scalar"
    assert [row["name"] for row in facts["isas"] if row["picked"]] == ["scalar"]


def test_the_expected_hash_is_of_the_right_numbers():
    """The hash is our own output; that this is right, the oracle says, which shares no code with the package."""
    graph = undertow.load(undertow.example("digits")).graph
    gru, head = (node.weights for node in graph.nodes[:2])
    X = self_check.frames()["input"]
    assert X.shape == (64, 8) and X.max() <= 16 and np.array_equal(X, np.floor(X))
    given = undertow.load(undertow.example("digits")).run(X)
    b = np.concatenate([gru["b"].reshape(-1), np.zeros(96), gru["rb_n"]])
    W, R = (gru[key].reshape(1, 144, -1) for key in ("W", "R"))
    h, _ = oracle.gru(X[:, None], W, R, b[None], linear_before_reset=1)
    probabilities = oracle.softmax(oracle.dense(h[:, 0, 0], head["W"], head["b"]))
    assert np.abs(given - probabilities).max() < self_check.TOLERANCE


def test_fingerprints_tell_bits_apart_and_no_nans():
    a = np.float32([0.0, 1.0, np.nan])
    b = np.array([0x0, 0x3F800000, 0xFFC00001], np.uint32).view(np.float32)  # another NaN
    assert fingerprint({"y": a}) == fingerprint({"y": b})
    c = np.float32([-0.0, 1.0, np.nan])
    assert len({fingerprint(x) for x in ({"y": a}, {"y": c}, {"z": a}, {"y": a[None]}, {"y": a[:2]})}) == 5
