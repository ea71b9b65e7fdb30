# SPDX-License-Identifier: MIT
"""Small weights: float16, int16 and int8 steps against float32, OpenVINO, ONNX Runtime and PyTorch's dynamic int8."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import undertow

from . import core, fewer, mnn_peer, models, openvino_peer, step, tract_peer
from .clock import Statement, measure
from .models import Contender, Weights
from .report import Goal, Table

CELLS = ("gru", "lstm")
#: input = hidden -> how many times faster an int8 step from Python is than ONNX Runtime's session.run in float32, and
#: than PyTorch's dynamic int8
STEP_TARGETS = {128: (18, 40), 256: (11, 18), 512: (4, 3), 1024: (6, 1.4)}
#: precision -> input = hidden -> how many times faster than our own float32, in C
CORE_TARGETS: dict[str, dict[int, float]] = {
    "float16": {128: 1, 256: 2.8, 512: 1.9, 1024: 2},
    "int8": {128: 2, 256: 7, 512: 3.5, 1024: 6},
}
#: The same for int16, by the width of the vectors: multiply-adds of pairs, and fewer bytes from memory.
INT16_TARGETS = {
    "avx512": {64: 1.8, 128: 1.8, 256: 1.8, 512: 1.8, 1024: 2.8},
    "avx2": {64: 2, 128: 2, 256: 2, 512: 2, 1024: 3},
}
WIDTHS = {"avx512vnni": "avx512", "avx512": "avx512", "avxvnni": "avx2", "avx2": "avx2"}
CORE_SIZES = (64, 128, 256, 512, 1024)
#: input = hidden of a step beside other engines
BESIDE_SIZES = (64, 128, 256, 512, 1024)
#: input = hidden -> how many times faster than PyTorch's int8 with 100 timesteps in one call
RUN_TARGETS = {512: 2, 1024: 1.6}
N_STEPS = 100

#: Least and largest difference from float32 outputs in [-1, 1] over 20 frames of these random layers. Nothing is 0.
ERRORS = {
    "float16": (1e-6, 2e-3),
    "int16": (1e-6, 2e-3),
    "bfloat16": (1e-5, 1e-2),
    "int8": (1e-5, 2e-2),
    "int4": (1e-4, 0.25),
}
#: PyTorch rounds activations to 7 bits, its x86 kernels would saturate with 8, and one scale serves a whole matrix.
TORCH_ERROR = (1e-5, 6e-2)
#: ONNX Runtime takes one scale for a whole matrix.
ORT_ERROR = (1e-5, 4e-2)


def undertow_step(w: Weights, x: np.ndarray, precision: str) -> Contender:
    """As `bench step` times it, with the weights in a precision."""
    stream = small(w, precision).stream()

    def answer(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return np.array([stream.step(row) for row in X])

    statement = Statement("y = step(x)", {"step": stream.step, "x": x})
    return Contender(models.ours(precision), statement, answer, ERRORS[precision])


def small(w: Weights, precision: str) -> undertow.Model:
    model = w.undertow()
    return model if precision == "float32" else model.with_weights(precision)


@dataclass
class DynamicInt8:
    """PyTorch's dynamic int8 layer, (T, batch, I) and state -> (T, batch, H) and state, and how it was made."""

    name: str
    run: Any
    #: a zero state for batch 1
    zeros: Any


def torch_int8(w: Weights, n_steps: int) -> list[DynamicInt8]:
    """Eager, as its users have it, and traced and frozen, which takes the Python out of it."""
    import torch
    from torch.ao.quantization import quantize_dynamic

    torch.set_num_threads(1)
    torch.backends.quantized.engine = "x86" if "x86" in torch.backends.quantized.supported_engines else "qnnpack"
    kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[w.cell]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        # Only the children of what it is given are replaced: a bare layer would stay float32 without a word.
        eager = quantize_dynamic(torch.nn.Sequential(w.torch()), {kind}, dtype=torch.qint8)[0]
        h = torch.zeros(1, 1, w.n_hidden)
        zeros = (h, h) if w.cell == "lstm" else h
        x = torch.zeros(n_steps, 1, w.n_inputs)
        frozen = torch.jit.freeze(torch.jit.trace(eager, (x, zeros)))
        for _ in range(3):
            frozen(x, zeros)  # it specialises itself on its first calls
    return [DynamicInt8("PyTorch int8", eager, zeros), DynamicInt8("PyTorch int8, traced", frozen, zeros)]


def torch_steps(w: Weights, x: np.ndarray) -> list[Contender]:
    """Batch 1, one timestep, the state carried by the caller."""
    import torch

    def contender(layer: DynamicInt8) -> Contender:
        def answer(X: np.ndarray) -> np.ndarray:
            state, rows = layer.zeros, []
            for row in X:
                y, state = layer.run(torch.from_numpy(row.reshape(1, 1, -1)), state)
                rows.append(y.numpy().ravel().copy())
            return np.array(rows)

        names = {"run": layer.run, "x": torch.from_numpy(x.reshape(1, 1, -1).copy()), "zeros": layer.zeros}
        statement = Statement("y, state = run(x, state)", names, setup="state = zeros")
        return Contender(layer.name, statement, answer, TORCH_ERROR)

    return [contender(layer) for layer in torch_int8(w, 1)]


def torch_runs(w: Weights, X: np.ndarray) -> list[Contender]:
    """All timesteps in one call, from a zero state."""
    import torch

    def contender(layer: DynamicInt8) -> Contender:
        def answer(X: np.ndarray) -> np.ndarray:
            return layer.run(torch.from_numpy(X[:, None, :].copy()), layer.zeros)[0].numpy().reshape(len(X), -1)

        names = {"run": layer.run, "x": torch.from_numpy(X[:, None, :].copy()), "zeros": layer.zeros}
        return Contender(layer.name, Statement("run(x, zeros)", names), answer, TORCH_ERROR)

    return [contender(layer) for layer in torch_int8(w, len(X))]


def ort_int8(w: Weights, x: np.ndarray) -> Contender:
    """What onnxruntime.quantization makes of the exported LSTM; it leaves a GRU as it is."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(w.onnx_exported())
        quantize_dynamic(before, after, weight_type=QuantType.QInt8)
        contender = step.ort_run_of(models.ort_session(after.read_bytes()), w, x, True)
    contender.name, contender.error = "ORT int8", ORT_ERROR
    return contender


def step_table(seconds: float) -> Table:
    """seconds: for each cell and size."""
    rng = np.random.default_rng(3)
    precisions = models.known("float16", "int16", "int8")
    columns = ["cell, input = hidden", "float32 us", *(f"{name} us" for name in precisions)]
    columns += ["ORT float32 run us", "ORT int8 run us"]
    columns += ["PyTorch int8 us", "traced us", "int8 vs ORT float32", "vs ORT int8", "vs PyTorch int8", "vs traced"]
    result = Table("One step from Python with small weights (median)", columns)
    missing: list[str] = []
    for cell in CELLS:
        for size, (ort_target, torch_target) in STEP_TARGETS.items():
            w = Weights.random(cell, size, size)
            X = rng.standard_normal((20, size)).astype(np.float32)
            x = X[0].copy()
            contenders = [step.undertow_step(w, x)[0], *(undertow_step(w, x, name) for name in precisions)]
            missing.clear()
            with models.optional("ONNX Runtime", missing):
                contenders.append(step.ort_run(w, x, True))
                if cell == "lstm":
                    contenders.append(ort_int8(w, x))
            with models.optional("PyTorch", missing):
                contenders += torch_steps(w, x)
            with models.inference_mode():
                models.check(contenders, X)
                times = dict(
                    zip((c.name for c in contenders), measure([c.statement for c in contenders], seconds), strict=True)
                )
            result.mark_noise(f"{cell} {size}", [t.spread for t in times.values()])
            peers = [times.get(name) for name in ("ORT run", "ORT int8", "PyTorch int8", "PyTorch int8, traced")]
            ours = times["undertow int8"]
            ratios = [t and t.times_slower_than(ours) for t in peers]
            goals = [ratios[0] and Goal(ratios[0], ort_target), ratios[1], ratios[2] and Goal(ratios[2], torch_target)]
            row = [times[models.ours(name)].median for name in ("float32", *precisions)]
            result.rows.append([f"{cell} {size}", *row, *(t and t.median for t in peers), *goals, ratios[3]])
            print(f"  weights, from Python: {cell} {size} done", file=sys.stderr)
    result.notes += missing
    return result


def beside_table(seconds: float) -> Table:
    """seconds: for each cell and size."""
    rng = np.random.default_rng(6)
    result = fewer.table("One step from Python beside other engines (us, median)", "cell, input = hidden")
    others = {"tract": tract_peer.steps, "MNN": mnn_peer.steps}
    columns = [*others, "float32 vs the best of them in float32"]
    result.columns = [*result.columns, *columns]
    missing: list[str] = []
    for cell in CELLS:
        for size in BESIDE_SIZES:
            w = Weights.random(cell, size, size)
            X = rng.standard_normal((20, size)).astype(np.float32)
            x = X[0].copy()
            contenders = [step.undertow_step(w, x)[0], *(undertow_step(w, x, name) for name in fewer.PRECISIONS)]
            missing.clear()
            peers = {"OpenVINO": openvino_peer.steps} | others
            for name, make in (peers | {"OpenVINO default": partial(openvino_peer.steps, default=True)}).items():
                with models.optional(name, missing):
                    contenders += make(w, x)
            models.check(contenders, X)
            contenders = models.fastest_ways(contenders)
            times = models.best_ways(contenders, measure([c.statement for c in contenders], seconds))
            result.mark_noise(f"{cell} {size}", [t.spread for t in times.values()])
            row = fewer.row(f"{cell} {size}", times, fewer.Targets(default=1))
            row += [times[name].median if name in times else None for name in others]
            ratios = [times[name].times_slower_than(times["undertow"]) for name in peers if name in times]
            result.rows.append([*row, min(ratios, default=None)])
            print(f"  weights, beside other engines: {cell} {size} done", file=sys.stderr)
    result.notes += fewer.notes(missing)
    return result


def core_target(precision: str, size: int, isa: str) -> float | None:
    """How many times faster than our own float32 a step in C is to be."""
    targets = INT16_TARGETS.get(WIDTHS.get(isa, ""), {}) if precision == "int16" else CORE_TARGETS.get(precision, {})
    return targets.get(size)


def core_table(seconds: float) -> Table:
    """seconds: for each cell and size."""
    precisions = models.known("float32", "float16", "int16", "int8", "int4")
    columns = ["model", "weights KiB", "from", "ns a step", "vs float32", "roofline ns", "step / roofline"]
    isa = models.isa()
    result = Table(f"The core step in C with small weights ({isa}, medians)", columns)
    program = core.build("bench_turns")
    with tempfile.TemporaryDirectory() as folder:
        for cell in CELLS:
            for size in CORE_SIZES:
                w = Weights.random(cell, size, size)
                X = np.random.default_rng(4).standard_normal((20, size)).astype(np.float32)
                rounded = [undertow_step(w, X[0], precision) for precision in precisions[1:]]
                models.check([step.undertow_step(w, X[0])[0], *rounded], X)
                paths = [Path(folder) / precision for precision in precisions]
                for path in paths:
                    small(w, path.name).save(path)
                for turn in turns(program, paths, isa, seconds):
                    target = core_target(turn.file, size, isa)
                    vs = None if turn.file == "float32" else turn.gain if target is None else Goal(turn.gain, target)
                    name = f"{cell} {size} {turn.file}"
                    level = core.cache_level(turn.weight_bytes)
                    row = [name, f"{turn.weight_bytes / 1024:,.0f}", level, turn.step_ns, vs]
                    result.rows.append([*row, turn.roof_ns or None, turn.distance or None])
                print(f"  weights, in C: {cell} {size} done", file=sys.stderr)
    return result


@dataclass
class Turns:
    """One line of bench_turns."""

    file: str
    weight_bytes: int
    step_ns: float
    #: step of the first file by this one's
    gain: float
    #: 0 where the instruction set has no fused multiply-add to build a roofline from; so is `distance`
    roof_ns: float
    #: step / roofline
    distance: float


def turns(program: Path, files: Sequence[Path], isa: str, seconds: float) -> list[Turns]:
    found = []
    for line in core.output([str(program), f"{seconds:g}", isa, *map(str, files)]).splitlines():
        file, n_bytes, *numbers = line.split("\t")
        found.append(Turns(Path(file).stem, int(n_bytes), *map(float, numbers)))
    return found


def run_table(seconds: float) -> Table:
    """seconds: for each cell and size."""
    rng = np.random.default_rng(5)
    precisions = models.known("float32", "int16", "int8")
    columns = ["cell, input = hidden", *precisions, "PyTorch int8", "traced", "int8 vs the best of PyTorch"]
    result = Table(f"{N_STEPS} timesteps in one call with small weights (us, median)", columns)
    missing: list[str] = []
    for cell in CELLS:
        for size, target in RUN_TARGETS.items():
            w = Weights.random(cell, size, size)
            X = rng.standard_normal((N_STEPS, size)).astype(np.float32)
            contenders = [undertow_run(w, X, precision) for precision in precisions]
            missing.clear()
            with models.optional("PyTorch", missing):
                contenders += torch_runs(w, X)
            with models.inference_mode():
                models.check(contenders, X)
                times = measure([c.statement for c in contenders], seconds)
            result.mark_noise(f"{cell} {size}", [t.spread for t in times])
            ours = times[precisions.index("int8")]
            ratios = [t.times_slower_than(ours) for t in times[len(precisions) :]]
            row = [f"{cell} {size}", *(t.median for t in times), Goal(min(ratios), target) if ratios else None]
            result.rows.append(row[:1] + row[1:-1] + [None] * (len(columns) - len(row)) + row[-1:])
            print(f"  weights, {N_STEPS} timesteps: {cell} {size} done", file=sys.stderr)
    result.notes += missing
    return result


def undertow_run(w: Weights, X: np.ndarray, precision: str) -> Contender:
    stream = small(w, precision).stream()
    out = np.empty((len(X), w.n_hidden), np.float32)

    def answer(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return stream.run(X)

    names = {"reset": stream.reset, "run": stream.run, "X": X, "out": out}
    least, most = ERRORS.get(precision, (0.0, models.AGREE))
    # No gate damps the errors of a plain RNN, which reach twice as far in 100 timesteps.
    error = (least, 2 * most if w.cell == "rnn" else most)
    return Contender(models.ours(precision), Statement("reset(); run(X, out=out)", names), answer, error)


def tables(seconds: float) -> list[Table]:
    return [step_table(seconds), beside_table(seconds), core_table(seconds), run_table(seconds)]
