# SPDX-License-Identifier: MIT
"""What the examples claim: each runs from an empty folder, and its results are what its prose says of them."""

import contextlib
import io
import runpy
from pathlib import Path

import numpy as np
import pytest

from undertow.cli import _examples

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs an example, once, in a folder of its own; gives its variables, what it printed, and that folder."""
    finished = {}

    def variables(name):
        if name not in finished:
            import matplotlib.pyplot as plt

            folder = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
                patch.chdir(folder)
                patch.setattr(plt, "show", lambda: None)
                plt.switch_backend("agg")
                finished[name] = runpy.run_path(str(_examples.script(name))), printed, folder
            for number in plt.get_fignums():  # a text without a glyph, or a layout that fails, warns here
                plt.figure(number).canvas.draw()
            plt.close("all")
        return finished[name]

    return variables


# -- lesson -----------------------------------------------------------------------------------------------------------


def test_lesson_remembers_what_it_says(run):
    lesson, printed, _ = run("lesson")
    assert lesson["sums"] == [1, 3, 6, 10]
    assert [f"{h:.2f}" for h in lesson["clamped"]] == ["0.80", "2.00", "2.00"]
    squashed, h = [], 0.0
    for _ in range(3):
        h = np.tanh(0.5 + h)
        squashed.append(f"{h:.4f}")
    assert [f"{h:.4f}" for h in lesson["squashed"]] == squashed and squashed[0] == "0.4621"
    for said in ("[1.0, 3.0, 6.0, 10.0]", "0.80, 2.00, 2.00", "0.4621, 0.7452"):
        assert said in printed.getvalue()


def test_lesson_opens_and_shuts_doors(run):
    """The gates that it draws are those that the engine used: with them c and h follow, in float64."""
    lesson, _, _ = run("lesson")
    c = 0.0
    for order, value, (i, f, o), cell, shown in zip(
        lesson["orders"], lesson["values"], lesson["gates"], lesson["cell"], lesson["shown"], strict=True
    ):
        assert (i > 0.5, f > 0.5, o > 0.5) == (order == "write", order != "erase", order == "read")
        c = f * c + i * np.tanh(value)
        assert cell == pytest.approx(c, abs=1e-6) and shown == pytest.approx(o * np.tanh(c), abs=1e-6)
    cell = dict(zip(range(12), lesson["cell"], strict=True))
    assert cell[5] == pytest.approx(np.tanh(0.9), abs=0.02) and abs(cell[6]) < 0.01  # kept through noise, then erased
    assert cell[11] == pytest.approx(np.tanh(-0.8), abs=0.02)


def test_lesson_fades_as_the_formulas_say(run):
    lesson, _, _ = run("lesson")
    left = lesson["left"]
    for name, factor in (("RNN, R = 0.5", 0.5), ("RNN, R = 0.9", 0.9)):
        h = [np.tanh(1.0)]
        for _ in range(100):
            h.append(np.tanh(factor * h[-1]))
        np.testing.assert_allclose(left[name], np.array(h) / h[0], rtol=1e-4)
    z, f = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-5))
    assert f"{z:.3f} {f:.3f}" == "0.982 0.993"  # what the names say
    steps = np.arange(101)
    np.testing.assert_allclose(left["GRU, gate 0.982"], z**steps, rtol=1e-4)
    c = f**steps * np.tanh(1) / (1 + np.exp(-6))
    np.testing.assert_allclose(left["LSTM, gate 0.993"], np.tanh(c) / np.tanh(c[0]), rtol=1e-4)
    assert f**100 == pytest.approx(0.5, abs=0.02)  # "half after a hundred"


# -- spotlight --------------------------------------------------------------------------------------------------------


def test_spotlight_finds_the_coat(run):
    spotlight, _, _ = run("spotlight")
    assert len(spotlight["right"]) > 1500
    assert spotlight["with_light"] > 0.97
    assert spotlight["without"] < spotlight["with_light"] - 0.1
    assert spotlight["on_the_coat"] > 0.8


def test_spotlight_has_light_on_the_past_only(run):
    spotlight, _, _ = run("spotlight")
    light = spotlight["light"]
    assert light.shape == (30, 30) and (np.triu(light, 1) == 0).all()
    np.testing.assert_allclose(light.sum(1), 1)


def test_spotlight_asks_for_the_last_coat_only(run):
    """The task is the one that it tells of: the truth is the visitor's last coat, counted here anew."""
    spotlight, _, _ = run("spotlight")
    twice = 0
    for seed in range(30):
        frames, truth = spotlight["evening"](np.random.default_rng(seed))
        hung: dict[int, list[tuple[int, int]]] = {}
        for t, (frame, at) in enumerate(zip(frames, truth, strict=True)):
            visitor, hook, asks = frame[:12], frame[12:20], frame[20]
            assert visitor.sum() == 1 and hook.sum() == 1 - asks
            coats = hung.setdefault(int(visitor.argmax()), [])
            if asks:
                assert at == coats[-1]
                twice += len(coats) > 1
            else:
                assert at is None
                coats.append((t, int(hook.argmax())))
    assert twice > 50


def test_all_are_small():
    sizes = {path.name: path.stat().st_size for path in _examples.FOLDER.iterdir() if path.is_file()}
    assert sum(n for name, n in sizes.items() if name.startswith(("text", "music"))) < 400_000
    assert sum(n for name, n in sizes.items() if name.startswith(("lesson", "spotlight"))) < 50_000
    assert not [name for name in sizes if Path(name).suffix not in (".py", ".md", ".tow", ".npz", ".safetensors")]
