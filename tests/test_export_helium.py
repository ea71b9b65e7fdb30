# SPDX-License-Identifier: MIT
"""Exported models on an emulated Cortex-M55, 4 numbers at a time: the bits are those of the engine."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import random_models
import undertow
from exported import frames
from networks import GRAPHS, cell, single
from undertow import export
from undertow.ir.activations import KINDS, Activation
from undertow.ir.graph import Graph
from undertow.model import Model

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")
sys.path.insert(0, str(Path(__file__).parent / "targets"))
import run as targets

PRECISIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int4")
DATA = Path(__file__).parent / "data" / "tow"
TARGETS = {t.name: t for t in targets.TARGETS}


def _with(*programs):
    """Skips a compiler's tests where something is missing."""
    missing = [p for p in programs if not shutil.which(p)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(programs)}")


@pytest.fixture(
    params=[
        pytest.param(
            ("cortex-m55", "-O2 -ffp-contract=fast"),
            id="gcc",
            marks=_with("arm-none-eabi-gcc", "qemu-system-arm"),
        ),
        pytest.param(
            ("cortex-m55-clang", "-O2 -ffp-contract=fast"),
            id="clang",
            marks=_with("clang", "arm-none-eabi-gcc", "qemu-system-arm"),
        ),
    ]
)
def board(request, tmp_path):
    """name -> model and frames, to a check that the board gives what a stream does."""
    name, flags = request.param
    return lambda given: _check(tmp_path, TARGETS[name], flags.split(), given)


_CALLER = """\
#include "{name}.h"
#include "program.h"
static {name}_state state;
{arrays}
static uint32_t hashed(uint32_t hash, const uint32_t* words, size_t n, int number) {{
  size_t i;
  int k;
  for (i = 0; i < n; ++i) {{
    uint32_t u = words[i];
    if (number && (u & 0x7fffffffu) > 0x7f800000u) u = 0x7fc00000u; /* what bits a NaN has is not said */
    for (k = 0; k < 4; ++k) hash = (hash ^ (u >> 8 * k & 0xffu)) * 16777619u;
  }}
  return hash;
}}
void run_{name}(void);
void run_{name}(void) {{
  size_t t;
  {name}_reset(&state);
  put("{name}");
  for (t = 0; t < {frames}; ++t) {{
    uint32_t hash = 2166136261u;
    char text[10] = {{' '}};
    int i;
    {name}_step(&state, {arguments});
    {hashes}
    for (i = 0; i < 8; ++i) text[1 + i] = "0123456789abcdef"[hash >> (28 - 4 * i) & 15];
    put(text);
  }}
  put("\\n");
}}
"""


def _caller(name, facts, X):
    """The text of a program's part: all frames, and a line of the hashes of each one's outputs."""
    arrays, arguments, hashes = [], [], []
    for p in facts.inputs:
        words = np.ascontiguousarray(X[p.name]).reshape(-1).view(np.uint32)
        rows = "\n".join(",".join(f"0x{w:x}u" for w in words[i : i + 10]) + "," for i in range(0, words.size, 10))
        arrays.append(f"static const uint32_t x_{p.c_name}[{words.size}] = {{{rows}}};")
        arguments.append(f"(const {p.c_type}*)(const void*)(x_{p.c_name} + {p.size} * t)")
    for p in facts.outputs:
        arrays.append(f"static uint32_t y_{p.c_name}[{p.size}];")
        arguments.append(f"({p.c_type}*)(void*)y_{p.c_name}")
        hashes.append(f"hash = hashed(hash, y_{p.c_name}, {p.size}, {int(p.c_type == 'float')});")
    return _CALLER.format(
        name=name,
        arrays="\n".join(arrays),
        frames=len(next(iter(X.values()))),
        arguments=", ".join(arguments),
        hashes="\n    ".join(hashes),
    )


def _hashes(model, facts, X):
    """The same of a stream."""
    Y = model.stream().run(X)
    Y = Y if isinstance(Y, dict) else {next(iter(model.outputs)): Y}
    lines = []
    for t in range(len(next(iter(X.values())))):
        value = 2166136261
        for p in facts.outputs:
            y = np.ascontiguousarray(Y[p.name][t]).reshape(-1)
            words = np.where(np.isnan(y), np.uint32(0x7FC00000), y.view(np.uint32))
            for byte in words.astype("<u4").tobytes():
                value = (value ^ byte) * 16777619 % 2**32
        lines.append(f"{value:08x}")
    return lines


def _check(folder, target, flags, given):
    common = [*target.cc.split(), *target.flags.split(), *flags, "-Wall", "-Wextra", "-ffunction-sections"]
    includes = [f"-I{folder}", f"-I{Path(targets.HERE)}"]
    objects, expected = [], {}
    for name, (model, X) in given.items():
        source = export.source(model, name)
        (folder / f"{name}.h").write_text(source.header)
        (folder / f"{name}.c").write_text(source.code)
        (folder / f"run_{name}.c").write_text(_caller(name, source.facts, X))
        for file in (f"{name}.c", f"run_{name}.c"):
            out = folder / f"{file}.o"
            targets.sh([*common, "-Werror", *includes, "-c", str(folder / file), "-o", str(out)], folder / "log")
            # Where run.py puts models: there is more room than in the board's flash.
            targets.sh(
                ["arm-none-eabi-objcopy", "--rename-section", ".rodata=.rodata.models", str(out)], folder / "log"
            )
            objects.append(out)
        with np.errstate(all="ignore"):
            expected[name] = _hashes(model, source.facts, X)
    calls = "".join(f"  run_{name}();\n" for name in given)
    prototypes = "".join(f"void run_{name}(void);\n" for name in given)
    text = f'#include "program.h"\n{prototypes}int run(size_t n) {{\n  (void)n;\n{calls}  return 0;\n}}\n'
    (folder / "all.c").write_text(text)
    targets.sh([*common, *includes, "-c", str(folder / "all.c"), "-o", str(folder / "all.o")], folder / "log")
    program = targets.link(target, folder, [folder / "all.o", *objects], with_engine=False)
    lines = (line.split() for line in targets.run(target, program, timeout=120).splitlines())
    got = {words[0]: words[1:] for words in lines if words}
    for name, hashes in expected.items():
        differ = [t for t, (a, b) in enumerate(zip(hashes, got.get(name, ()), strict=False)) if a != b]
        assert got.get(name) == hashes, f"{target.name} {' '.join(flags)}: {name} differs, first in frame {differ[:1]}"


def test_cells_and_graphs(board):
    rng = np.random.default_rng(0)
    options = [
        {"peephole": True},
        {"projection": 3},
        {"input_forget": True, "peephole": True},
        {"clip": 0.7, "bias": False},
        {"activations": (Activation("hard_sigmoid"), Activation("elu", 0.5, 2.0), Activation("affine", 2, 3))},
        {"start": True},
    ]
    graphs = {name: make() for name, make in GRAPHS.items()}
    graphs |= {f"lstm_{i}": single(rng, "lstm", 5, 7, **option) for i, option in enumerate(options)}
    graphs["lstm_whole"] = single(rng, "lstm", 5, 8, peephole=True, clip=0.4)
    for op in ("rnn", "gru"):
        for n in (1, 2, 3, 4, 8, 13, 17):  # lanes, and what is left of them
            graphs[f"{op}_{n}"] = single(rng, op, n + 1, n, start=True)
    graphs["gru_after"] = single(rng, "gru", 3, 5, reset_after=True)
    graphs["gru_clip"] = single(rng, "gru", 3, 5, clip=0.5)
    models = {f"g_{name}": Model.from_graph(graph) for name, graph in graphs.items()}
    board({name: (model, frames(model, 12)) for name, model in models.items() if model.streamable})


def test_every_precision(board):
    rng, models = np.random.default_rng(1), {}
    for op in ("lstm", "gru", "rnn"):
        g = Graph(op)
        x = g.input("x", 70)
        (h, *_) = cell(g, rng, op, x, 37, **({"projection": 33} if op == "lstm" else {}))
        g.output("y", g.add("dense", [h], weights={"W": rng.normal(size=(6, g.shape(h)[0]))}))
        model = Model.from_graph(g)
        models |= {f"{op}_{precision}": model.with_weights(precision) for precision in PRECISIONS}
    wide = Model.from_graph(single(rng, "lstm", 600, 5))  # more columns than a stretch of sums has
    models |= {f"wide_{precision}": wide.with_weights(precision) for precision in ("int16", "int8")}
    board({name: (m, frames(m, 6, scale=3.0 if "int4" in name else 1.0)) for name, m in models.items()})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_number_of_rows_and_columns(board, precision):
    """From 1 row to more than a call takes, and columns on both sides of a word and a register."""
    rng, g = np.random.default_rng(2), Graph("m")
    x = g.input("x", 65)
    some = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65]
    for n, (rows, columns) in enumerate([*((r, 9) for r in range(1, 20)), *((7, c) for c in some)]):
        first = g.add("select", [x], weights={"indices": np.arange(columns)}) if columns < 65 else x
        weights = {"W": rng.normal(size=(rows, columns))} | ({"b": rng.normal(size=rows)} if n % 2 else {})
        g.output(f"y_{rows}_{columns}", g.add("dense", [first], weights=weights))
    model = Model.from_graph(g).with_weights(precision)
    board({"m": (model, frames(model, 4))})


def test_files(board):
    models = {f"m_{path.stem}": undertow.load(path) for path in sorted(DATA.glob("*.tow"))}
    board({name: (model, frames(model, 10)) for name, model in models.items() if model.streamable})


def test_activations_on_numbers_of_all_kinds(board):
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, (60, 61), dtype=np.uint32).view(np.float32)
    near = (rng.normal(size=(60, 61)) * 10.0 ** rng.integers(-3, 3, (60, 1))).astype(np.float32)
    odd = [0, -0.0, 1e-45, -1e-40, 1.17549435e-38, 1.1754942e-38, np.inf, -np.inf, np.nan, 0.5625, 44, -88.37]
    X = {"x": np.concatenate([bits, near, np.resize(np.float32(odd), (2, 61))])}
    g = Graph("m")
    x = g.input("x", 61)
    few = g.add("select", [x], weights={"indices": np.arange(3)})
    for kind in KINDS:
        g.output(f"y_{kind}", g.add("activation", [x], attrs={"activation": Activation(kind)}))
        once = g.add("dense", [few], weights={"W": np.eye(3)}, attrs={"activation": Activation(kind)})
        g.output(f"z_{kind}", once)
    board({"m": (Model.from_graph(g), X)})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inputs_that_are_no_numbers_or_nearly_none(board, precision):
    """What is NaN once stays it in a cell, so each kind of number has a cell of its own; subnormals count as zero."""
    rng, g = np.random.default_rng(4), Graph("m")
    odd = [np.nan, np.inf, -np.inf, 1e-42, 1e-38, 3e38, -0.0, 1e-32]
    for n in range(len(odd)):
        h = cell(g, rng, "gru" if n % 2 else "lstm", g.input(f"x{n}", 6), 9, f"cell{n}")[0]
        g.output(f"y{n}", h)
    model = Model.from_graph(g).with_weights(precision)
    X = frames(model, 12)
    for n, number in enumerate(odd):
        X[f"x{n}"][3, n % 6] = number
        X[f"x{n}"][5:7] = 0
        X[f"x{n}"][8:10] *= np.float32(1e-40)
    board({"m": (model, X)})


def test_weights_of_all_kinds(board):
    rng, g = np.random.default_rng(5), Graph("m")
    W = rng.integers(0, 2**32, (40, 9), dtype=np.uint32).view(np.float32)
    g.output("y", g.add("dense", [g.input("x", 9)], weights={"W": W, "b": rng.normal(size=40)}))
    model = Model.from_graph(g)
    board({"m": (model, frames(model, 6))})


def test_random_models(board):
    models = {f"r{seed}": Model.from_graph(random_models.make(seed).graph) for seed in range(12)}
    board({name: (m, frames(m, 4, n)) for n, (name, m) in enumerate(models.items()) if m.streamable})
