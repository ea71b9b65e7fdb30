# SPDX-License-Identifier: MIT
"""py.typed is true: a user's program passes mypy --strict and pyright, wrong uses do not, and the program runs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import typed_program
import undertow

PROGRAM = Path(typed_program.__file__)
HOME = Path(undertow.__file__).parents[1]

#: line -> what is wrong with it
WRONG = {
    "undertow.load(5)": "a number is no file",
    "undertow.load('m.onnx', fixxed={})": "there is no such option",
    "model.pool('many')": "a capacity is a number",
    "model.stream(snapshot='text')": "a snapshot is bytes",
    "model.stream().position = 3": "the position is read-only",
    "model.latency.upper()": "the latency is a number",
    "model.nothing": "there is no such attribute",
    "undertow.audio.frames(5)": "sound is an array",
    "x: int = undertow.audio.load('a.wav', rate=16000)": "sound is an array",
    "model.stream().snapshot() + 'text'": "a snapshot is bytes",
    "undertow.Dense()": "a dense layer has weights",
}


def checker(name):
    if importlib.util.find_spec(name) is None:
        assert not os.environ.get("UNDERTOW_TEST_TYPES"), f"{name} is missing"
        pytest.skip(f"needs {name}: pip install {'pyright[nodejs]' if name == 'pyright' else name}")
    return [sys.executable, "-m", name]


def run(command, folder, **env):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **env}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def mypy(program, folder):
    """What mypy --strict says of a program that uses the package as an installed one, which it reports nothing of."""
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(folder / "cache"), "--config-file="]
    where = {} if HOME.name in ("site-packages", "dist-packages") else {"MYPYPATH": str(HOME)}  # it knows those
    return run([*checker("mypy"), *options, str(program)], folder, **where)


def pyright(program, folder):
    """What pyright says in its strict mode."""
    settings = {"typeCheckingMode": "strict", "include": [program.name], "reportUnnecessaryIsInstance": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return run([*checker("pyright"), "--pythonpath", sys.executable, "-p", str(folder)], folder)


def test_program_runs(tmp_path):
    typed_program.main(tmp_path)


@pytest.mark.parametrize("check", [mypy, pyright], ids=lambda c: c.__name__)
def test_program_passes(check, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
    status, said = check(program, tmp_path)
    assert status == 0, said


@pytest.mark.parametrize("check", [mypy, pyright], ids=lambda c: c.__name__)
def test_wrong_uses_are_seen(check, tmp_path):
    program = tmp_path / "program.py"
    head = ["import undertow", "model = undertow.load('model.tow')"]
    program.write_text("\n".join([*head, *WRONG]) + "\n", encoding="utf-8")
    _, said = check(program, tmp_path)
    for number, (line, why) in enumerate(WRONG.items(), len(head) + 1):
        assert f"program.py:{number}:" in said, f"{line}: {why}\n{said}"


def test_package_says_that_it_is_typed():
    assert (HOME / "undertow" / "py.typed").exists()
