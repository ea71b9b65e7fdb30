# SPDX-License-Identifier: MIT
"""The example model that ships with the package, and `undertow demo`."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_MODEL
from undertow.cli import demo, main

EXPECTED = Path(__file__).parent / "data" / "digits_expected.npz"
EXAMPLES = undertow.example("digits").parent


@pytest.fixture(scope="module")
def digits():
    """Held-out frames (60, 8, 8), labels, and PyTorch's beliefs after every row."""
    with np.load(EXAMPLES / "digits.npz") as data, np.load(EXPECTED) as expected:
        return data["images"] / np.float32(16), data["labels"], expected["beliefs"]


def run_demo(capsys, *argv):
    assert main(["demo", *argv]) == 0
    return capsys.readouterr().out


# -- the model --------------------------------------------------------------------------------------------------------


def test_example_equals_torch(digits, isa):
    frames, _, beliefs = digits
    model = undertow.load(undertow.example("digits"), isa=isa)
    ours = np.stack([model.run(image) for image in frames])
    assert np.abs(ours - beliefs).max() <= FLOAT32_MODEL


def test_example_is_the_weights_beside_it(digits):
    w = undertow.read_weights(EXAMPLES / "digits.safetensors")
    layers = [undertow.GRU.from_torch(w, "memory"), undertow.Dense.from_torch(w, "head"), undertow.Softmax()]
    ours, shipped = undertow.Sequential(layers), undertow.load(undertow.example("digits"))
    for image in digits[0][:5]:
        np.testing.assert_array_equal(ours.run(image), shipped.run(image))


def test_example_believes_more_with_every_row(digits):
    frames, labels, _ = digits
    assert len(frames) == demo.HELD_OUT
    model = undertow.load(undertow.example("digits"))
    beliefs = np.stack([model.run(image) for image in frames])
    assert (beliefs[:, -1].argmax(-1) == labels).mean() >= 0.95
    truth = beliefs[np.arange(len(labels)), :, labels].mean(0)  # after each row
    assert (np.diff(truth[:6]) > 0.05).all() and truth[-1] > 0.9


def test_example_is_small_and_needs_no_copy():
    assert sum(path.stat().st_size for path in EXAMPLES.glob("digits.*")) < 100_000
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir() if path.is_file()) < 1_000_000
    assert undertow.load(undertow.example("digits")).mapped


def test_unknown_example_names_the_known():
    with pytest.raises(FileNotFoundError, match="digits"):
        undertow.example("nothing")


# -- the demo ---------------------------------------------------------------------------------------------------------


def test_demo_shows_rows_beliefs_and_answers(capsys, digits):
    out = run_demo(capsys, "--digits", "3")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("│" in line for line in lines) == 3 * 8
    assert len(re.findall(r"says \d, is \d: (right|wrong)", out)) == 3
    assert re.search(r"\d of 3 right; [\d.]+ us a step \(mean of [\d,]+ calls, \w+\)", lines[-2])
    assert lines[-1] == "more examples: undertow demo --list"
    chosen = np.random.default_rng(demo.SEED).permutation(60)[:3]
    assert [int(n) for n in re.findall(r"is (\d):", out)] == digits[1][chosen].tolist()


def test_demo_counts_right_answers(capsys, digits):
    _, labels, beliefs = digits
    right = int((beliefs[:, -1].argmax(-1) == labels).sum())
    assert f"\n{right} of 60 right;" in run_demo(capsys, "--digits", "60")


def test_digits_come_in_by_their_name_too_and_are_a_script(capsys):
    def rows(*argv):
        return [line for line in run_demo(capsys, *argv).splitlines() if "│" in line]

    assert rows("digits", "--digits", "2") == rows("--digits", "2") and len(rows("--digits", "2")) == 16
    script = (EXAMPLES / "digits.py").read_text(encoding="utf-8")
    assert run_demo(capsys, "--source") == run_demo(capsys, "digits", "--source") == script


def test_demo_seed_chooses_the_digits(capsys):
    def pictures(*argv):
        return [line for line in run_demo(capsys, *argv).splitlines() if "│" in line]

    assert pictures("--digits", "2") == pictures("--digits", "2", "--seed", str(demo.SEED))
    assert pictures("--digits", "2") != pictures("--digits", "2", "--seed", "1")


def test_demo_in_a_pipe_without_utf8():
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [
        sys.executable,
        "-c",
        "import sys; from undertow.cli import main; sys.exit(main(['demo', '--digits', '1']))",
    ]
    done = subprocess.run(command, env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    out = done.stdout.decode("ascii")
    assert sum(line.startswith("  |") for line in out.splitlines()) == 8 and "##" in out and "\x1b" not in out


def test_demo_imports_nothing_but_numpy():
    heavy = ["torch", "sklearn", "onnx", "onnxruntime", "h5py", "safetensors", "matplotlib", "scipy"]
    code = (
        "import sys; from undertow.cli import main; main(['demo', '--digits', '1']); "
        f"found = [m for m in {heavy} if m in sys.modules]; assert not found, found"
    )
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_demo_waits(monkeypatch, capsys):
    naps = []
    monkeypatch.setattr(demo.time, "sleep", naps.append)
    run_demo(capsys, "--digits", "2", "--delay", "0.25")
    assert naps == [0.25] * 16


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--digits", "61"], "is not 1 to 60"),
        (["--digits", "0"], "is not 1 to 60"),
        (["--delay", "-1"], "is not 0 to 60"),
        (["--delay", "nan"], "is not 0 to 60"),
        (["--seed", "-1"], "is not 0 to"),
        (["--digits", "few"], "invalid int value"),
    ],
)
def test_demo_refuses(argv, message, capsys):
    assert main(["demo", *argv]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("glyphs", [demo.BLOCKS, demo.ASCII])
def test_bars_have_one_width_and_grow(glyphs):
    bars = [demo.draw_bar(part, glyphs) for part in np.linspace(0, 1, 101)]
    assert {len(bar) for bar in bars} == {10}
    assert bars[0] == " " * 10 and bars[-1] == glyphs.fractions[-1] * 10
    filled = [sum(glyphs.fractions.index(c) for c in bar) for bar in bars]
    assert filled == sorted(filled) and len(set(filled)) == 10 * (len(glyphs.fractions) - 1) + 1


@pytest.mark.parametrize("glyphs", [demo.BLOCKS, demo.ASCII])
def test_rows_have_one_width_and_every_shade(glyphs):
    row = demo.draw_row(np.array([0, 2, 4, 6, 8, 12, 14, 16], np.uint8), glyphs)
    assert len(row) == 18 and set(row) == set(glyphs.shades) | {glyphs.edge}


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", demo.BLOCKS), ("ascii", demo.ASCII), ("cp1252", demo.ASCII), ("latin-1", demo.ASCII)],
)
def test_glyphs_follow_the_encoding(encoding, glyphs):
    assert demo.glyphs_for(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is glyphs
