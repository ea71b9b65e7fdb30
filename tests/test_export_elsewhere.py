# SPDX-License-Identifier: MIT
"""Models exported to C on other systems, under an emulator, and called with another rounding mode."""

import shutil
import subprocess

import numpy as np
import pytest

import undertow
from networks import cell
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.model import Model

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

_MAIN = """\
#include <fenv.h>
#include <stdio.h>
#include <string.h>
#include "m.h"
static const uint32_t given[] = {@given@};
int main(void) {
  static m_state state;
  float x[@n_in@], gate[1], y[@n_out@];
  uint32_t bits;
  size_t t, i, at = 0;
  fesetround(FE_UPWARD);
  m_reset(&state);
  for (t = 0; t < @n@; ++t) {
    for (i = 0; i < @n_in@; ++i) memcpy(x + i, given + at++, 4);
    memcpy(gate, given + at++, 4);
    m_step(&state, x@gate@, y);
    for (i = 0; i < @n_out@; ++i) {
      memcpy(&bits, y + i, 4);
      printf("%08x ", (unsigned)bits);
    }
  }
  return fegetround() != FE_UPWARD;
}
"""


def _run_elsewhere(folder, system, model, X, gates, optimize):
    """Output bits of a model that a cross compiler has made a program of, called with another rounding mode."""
    triple, emulator, *flags = system
    undertow.export_c(model, folder, "m")
    rows = [[*x.view(np.uint32), g] for x, g in zip(X, gates.view(np.uint32), strict=True)]
    words = {
        "given": ", ".join(f"{int(word):#x}u" for row in rows for word in row),
        "n_in": X.shape[1],
        "n_out": model.outputs["y"].size,
        "n": len(X),
        "gate": ", gate" if "gate" in model.inputs else "",
    }
    text = _MAIN
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    (folder / "main.c").write_text(text)
    command = [f"{triple}-gcc", *flags, optimize, "-static", "-frounding-math", "main.c", "m.c", "-o", "program", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    compiled = [f"{triple}-gcc", *flags, optimize, "-c", "m.c", "-o", "m.o"]
    subprocess.run(compiled, cwd=folder, check=True)
    missing = subprocess.run([f"{triple}-nm", "-u", "m.o"], cwd=folder, check=True, capture_output=True, text=True)
    known = {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}
    assert {*missing.stdout.split()} - {"U"} <= known, "it needs a library"
    done = subprocess.run([emulator, "program"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, "the caller's rounding mode is not what it was"
    return np.array([int(word, 16) for word in done.stdout.split()], np.uint32).reshape(len(X), -1)


def _elsewhere(name, *system, values=()):
    missing = not (shutil.which(f"{system[0]}-gcc") and shutil.which(system[1]))
    reason = f"needs {system[0]}-gcc and {system[1]}: apt install gcc-{system[0]} qemu-user"
    return pytest.param(system, *values, id="-".join([name, *values]), marks=pytest.mark.skipif(missing, reason=reason))


_NAMES = {
    "aarch64": ("aarch64-linux-gnu", "qemu-aarch64"),
    "rv64": ("riscv64-linux-gnu", "qemu-riscv64"),
    "armhf": ("arm-linux-gnueabihf", "qemu-arm"),
    "i686": ("i686-linux-gnu", "qemu-i386", "-msse2", "-mfpmath=sse"),
    "s390x": ("s390x-linux-gnu", "qemu-s390x"),
}
SYSTEMS = [_elsewhere(name, *system) for name, system in _NAMES.items()]
#: all on the one that compilers have gone wrong on, one on others
_VECTORS = [("aarch64", p) for p in ("float32", "float16", "bfloat16", "int16", "int8", "int4", "fixed8")]
_VECTORS += [(name, "int16") for name in _NAMES if name != "aarch64"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_gates_and_rounding_modes_elsewhere(tmp_path, system):
    """A subnormal gate is shut, though comparisons see it where nothing flushes; the caller's rounding is his own."""
    rng = np.random.default_rng(5)
    g = Graph("m")
    x, gate = g.input("x", 3), g.input("gate", 1)
    weights = {"W": rng.normal(size=(4, 6, 3)), "R": rng.normal(size=(4, 6, 6)), "b": rng.normal(size=(4, 6))}
    h, _ = g.add("lstm", [x, gate], weights=weights, states=[g.state("h", 6), g.state("c", 6)])
    window = g.add("window", [h, gate], attrs={"taps": (-2, 0)}, states=[g.state("past", (2, 6))])
    seen = g.add("reshape", [window], attrs={"shape": (12,)})
    g.output("y", g.add("dense", [seen], weights={"W": rng.normal(size=(2, 12))}))
    model = Model.from_graph(g)
    X = rng.normal(size=(8, 3)).astype(np.float32)
    gates = np.float32([1, 1e-40, 1, np.nan, -1e-41, 0, 1, 1e-38])
    wanted = model.stream().run({"x": X, "gate": gates[:, None]})
    assert np.array_equal(_run_elsewhere(tmp_path, system, model, X, gates, "-O2"), wanted.view(np.uint32))


@pytest.mark.parametrize(
    ("system", "precision"), [_elsewhere(name, *_NAMES[name], values=[precision]) for name, precision in _VECTORS]
)
def test_loops_that_gcc_makes_vectors_of(tmp_path, system, precision):
    """One to seven rows of columns that leave any rest of a vector, at the level that makes vectors."""
    rng = np.random.default_rng(6)
    g = Graph("m")
    x = g.input("x", 300)
    parts = []
    for columns in (12, 14, 15, 33, 40, 72, 300):
        some = g.add("select", [x], weights={"indices": np.arange(columns)})
        parts += [g.add("dense", [some], weights={"W": rng.normal(size=(rows, columns))}) for rows in range(1, 8)]
    few = g.add("select", [x], weights={"indices": np.arange(22)})
    parts += [cell(g, rng, op, few, hidden, f"{op}_{hidden}")[0] for op in ("gru", "lstm") for hidden in (5, 6)]
    parts.append(
        g.add(
            "depthwise", [g.add("reshape", [x], attrs={"shape": (1, 100, 3)})], weights={"W": rng.normal(size=(100, 3))}
        )
    )
    g.output("y", g.add("concat", parts))
    model = Model.from_graph(g).with_weights(precision)
    X = rng.normal(size=(3, 300)).astype(np.float32)
    got = _run_elsewhere(tmp_path, system, model, X, np.ones(3, np.float32), "-O3")
    assert np.array_equal(got, model.stream().run(X).view(np.uint32))


@pytest.mark.parametrize("optimize", ["-O0", "-O2"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_roots_need_no_library_of_mathematics(tmp_path, system, optimize):
    rng = np.random.default_rng(7)
    g = Graph("m")
    x = g.input("x", 9)
    n = g.add("layer_norm", [x], weights={"scale": rng.normal(size=9), "shift": rng.normal(size=9)})
    g.output("y", g.add("concat", [n, g.add("activation", [x], attrs={"activation": Activation("sqrt")})]))
    model = Model.from_graph(g)
    X = (rng.normal(size=(6, 9)) ** 2 * 10.0 ** rng.integers(-30, 30, (6, 9))).astype(np.float32)
    X[0, :5] = 0, -0.0, np.inf, 1e-40, 2
    X[1] = rng.uniform(0.1, 4, 9)
    got = _run_elsewhere(tmp_path, system, model, X, np.ones(6, np.float32), optimize).view(np.float32)
    expected = model.stream().run(X)
    assert np.array_equal(got.view(np.uint32)[1:], expected.view(np.uint32)[1:])
    assert np.array_equal(got[0], expected[0], equal_nan=True)
