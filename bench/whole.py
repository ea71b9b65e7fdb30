# SPDX-License-Identifier: MIT
"""Whole models of other projects, one frame from Python: the exported file, undertow and ONNX Runtime on it in turns.

The files lie in stage2 of the folder that UNDERTOW_MODELS names. What undertow does not load is shown with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import undertow
from undertow import Model, audio

from . import models, openvino_peer
from .clock import Statement, Times, measure
from .models import Contender
from .report import Goal, Table

N_STREAMS = 64
POOL_TARGET = 2.0
#: Weights beside float32, and how many times faster than float32 a pool is with them.
PRECISIONS = models.known("int16", "int8")
SMALL_POOL_TARGETS = {"int16": 1.64}
#: Sizes of a batch that ONNX Runtime is given; its best one counts.
BATCHES = (1, 4, 8, 16, 32, 64)
#: Frames that all must agree on before any is timed.
N_CHECKED, N_CHECKED_POOL = 100, 20


@dataclass(frozen=True)
class Case:
    """One file, and how its users run it.

    Attributes:
        x: the input, and the shape of its tensor for one frame and one stream.
        states: input -> shape for one stream; the outputs after the first carry them on, in this order.
        frames: folder -> (T, *shape of x) float32, data that came with the model.
        target: how many times faster than `session.run`.
        small_target: how many times faster than float32 the faster of the small weights is.
        constants: inputs that stay the same, which undertow binds when it loads the file.
        shapes: for undertow, where the file leaves sizes open.
    """

    name: str
    file: str
    x: tuple[str, tuple[int, ...]]
    states: Mapping[str, tuple[int, ...]]
    frames: Callable[[Path], np.ndarray]
    target: float | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, list[int]] = field(default_factory=dict)
    small_target: float | None = None

    def load(self, folder: Path) -> Model:
        options: dict[str, Any] = {}
        if self.constants:
            options["fixed"] = dict(self.constants)
        if self.shapes:
            options["shapes"] = dict(self.shapes)
        return undertow.load(folder / self.file, **options)


def speech(folder: Path) -> np.ndarray:
    """512 new samples after 64 old ones."""
    return audio.frames(audio.load(folder / "silero-vad" / "test_16k.wav", 16000), 512, context=64)


def recorded(name: str, key: str) -> Callable[[Path], np.ndarray]:
    def read(folder: Path) -> np.ndarray:
        with np.load(folder / name) as data:
            return data[key]

    return read


def spectra(folder: Path) -> np.ndarray:
    return np.ascontiguousarray(recorded("gtcrn/expected_ort_simple.npz", "spec_in")(folder).transpose(1, 0, 2))


_SILERO: dict[str, Any] = {"x": ("input", (1, 576)), "states": {"state": (2, 1, 128)}, "frames": speech}
_OPEN: dict[str, Any] = {"constants": {"sr": np.int64(16000)}, "shapes": {"input": [1, 576], "state": [2, 1, 128]}}
CASES = (
    Case("silero_vad, openvino 16k", "silero-vad/silero_vad_openvino_16k.onnx", **_SILERO, target=6),
    Case("silero_vad, nested If", "silero-vad/silero_vad.onnx", **_SILERO, **_OPEN, target=7),
    Case("silero_vad, without If", "silero-vad/silero_vad_op18_ifless.onnx", **_SILERO, **_OPEN),
    Case(
        "dtln-mask", "dtln-mask/model_1.onnx", ("input_2", (1, 1, 257)), {"input_3": (1, 2, 128, 2)},
        recorded("dtln-mask/expected_ort.npz", "input"), 4,
    ),
    Case(
        "nsnet2-plc", "nsnet2-plc/nsnetv2_converted.onnx", ("input", (1, 1, 805)),
        {"h01": (1, 1, 134), "h02": (1, 1, 100)}, recorded("nsnet2-plc/expected_ort.npz", "input"), 4,
        shapes={"input": [1, 1, 805], "h01": [1, 1, 134], "h02": [1, 1, 100]},
    ),
    Case(
        "gtcrn_simple", "gtcrn/gtcrn_simple.onnx", ("mix", (1, 257, 1, 2)),
        {"conv_cache": (2, 1, 16, 16, 33), "tra_cache": (2, 3, 1, 1, 16), "inter_cache": (2, 1, 33, 16)}, spectra, 3,
        small_target=1,
    ),
)  # fmt: skip
#: Exports of one network whose batch is open, for ONNX Runtime.
DYNAMIC = CASES[1:3]


def undertow_step(name: str, model: Model, X: np.ndarray, error: tuple[float, float]) -> Contender:
    """X: (T, ...), frames of any shape."""
    ((_, value),) = model.inputs.items()
    stream = model.stream()
    rows = np.ascontiguousarray(X.reshape(len(X), *value.shape))

    def answer(X: np.ndarray) -> np.ndarray:
        stream.reset()
        return np.array([stream.step(row).ravel() for row in X.reshape(len(X), *value.shape)])

    return Contender(name, Statement("y = step(x)", {"step": stream.step, "x": rows[len(rows) // 2]}), answer, error)


def ort_run(case: Case, session: Any, X: np.ndarray, batch: int = 1) -> Contender:
    """`session.run` on the file as it is, states carried from call to call by the caller.

    X: (T, ...); with a batch (T, streams, ...), of which the first `batch` are run
    """
    name, shape = case.x
    tensor = (batch, *shape[1:])  # all files of several streams here have the batch first
    zeros = [np.zeros([batch if n == 1 and batch > 1 else n for n in s], np.float32) for s in case.states.values()]
    constants = {key: np.asarray(value) for key, value in case.constants.items()}

    def answer(X: np.ndarray) -> np.ndarray:
        state, rows = zeros, []
        for x in X:
            x = np.ascontiguousarray(x[:batch] if batch > 1 else x).reshape(tensor)
            y, *state = session.run(None, {name: x, **dict(zip(case.states, state, strict=True)), **constants})
            rows.append(y.reshape(batch, -1) if batch > 1 else y.ravel())
        return np.array(rows)

    carried = [f"s{i}" for i in range(len(zeros))]
    variables = ["x", *carried, *(f"c{i}" for i in range(len(constants)))]
    feed = ", ".join(f"{n!r}: {v}" for n, v in zip((name, *case.states, *constants), variables, strict=True))
    x = X[len(X) // 2][:batch] if batch > 1 else X[len(X) // 2]
    names = {"run": session.run, "x": np.ascontiguousarray(x).reshape(tensor)}
    names |= {f"zero{i}": z for i, z in enumerate(zeros)} | {f"c{i}": c for i, c in enumerate(constants.values())}
    setup = "; ".join(f"s{i} = zero{i}" for i in range(len(zeros)))
    code = f"y, {', '.join(carried)} = run(None, {{{feed}}})"
    return Contender("ORT run", Statement(code, names, setup, per=batch), answer)


def ort_ping_pong(case: Case, session: Any, X: np.ndarray) -> Contender:
    """Two bindings in turn: each writes its states where the other one reads; nothing is allocated or copied."""
    import onnxruntime as ort

    name, shape = case.x
    x = np.ascontiguousarray(X[len(X) // 2]).reshape(shape).copy()
    sides = [[np.zeros(s, np.float32) for s in case.states.values()] for _ in range(2)]
    constants = {key: np.asarray(value) for key, value in case.constants.items()}
    outputs = [o.name for o in session.get_outputs()]
    feed = {name: x, **dict(zip(case.states, sides[0], strict=True)), **constants}
    y = np.zeros(session.run(None, feed)[0].shape, np.float32)  # what files declare may be wrong
    bindings = []
    for now, then in ((0, 1), (1, 0)):
        binding = session.io_binding()
        feed = {name: x, **dict(zip(case.states, sides[now], strict=True)), **constants}
        for key, array in feed.items():
            binding.bind_ortvalue_input(key, ort.OrtValue.ortvalue_from_numpy(array))
        for key, array in zip(outputs, [y, *sides[then]], strict=True):
            binding.bind_ortvalue_output(key, ort.OrtValue.ortvalue_from_numpy(array))
        bindings.append(binding)

    def answer(X: np.ndarray) -> np.ndarray:
        kept, rows = x.copy(), []
        for a in sides[0]:
            a[...] = 0
        for t, row in enumerate(X):
            x[...] = row.reshape(shape)
            session.run_with_iobinding(bindings[t % 2])
            rows.append(y.ravel().copy())
        x[...] = kept
        return np.array(rows)

    names = {"run": session.run_with_iobinding, "there": bindings[0], "back": bindings[1]}
    return Contender("ORT io-binding", Statement("run(there); run(back)", names, per=2), answer)


def openvino_default(case: Case, path: Path, X: np.ndarray) -> Contender:
    """Two requests in turn, as above, in the precision that OpenVINO takes here.

    Raises:
        RuntimeError: OpenVINO does not read the file.
    """
    import openvino as ov

    (name, shape), fixed = case.x, {key: np.asarray(value) for key, value in case.constants.items()}
    shapes = {name: shape, **case.states, **{key: value.shape for key, value in fixed.items()}}
    compiled = openvino_peer.compiled(path, default=True, shapes=shapes)
    x = np.ascontiguousarray(X[len(X) // 2]).reshape(shape).copy()
    y = np.zeros(tuple(compiled.outputs[0].shape), np.float32)
    sides = [[np.zeros(s, np.float32) for s in case.states.values()] for _ in range(2)]
    requests = []
    for now, then in ((0, 1), (1, 0)):
        request = compiled.create_infer_request()
        for key, array in {name: x, **fixed, **dict(zip(case.states, sides[now], strict=True))}.items():
            request.set_tensor(key, ov.Tensor(array, shared_memory=True))
        for port, array in zip(compiled.outputs, [y, *sides[then]], strict=True):
            request.set_tensor(port, ov.Tensor(array.reshape(tuple(port.shape)), shared_memory=True))
        requests.append(request)

    def answer(X: np.ndarray) -> np.ndarray:
        kept, rows = x.copy(), []
        for a in sides[0]:
            a[...] = 0
        for t, row in enumerate(X):
            x[...] = row.reshape(shape)
            requests[t % 2].infer()
            rows.append(y.ravel().copy())
        x[...] = kept
        return np.array(rows)

    names = {"there": requests[0].infer, "back": requests[1].infer, "shared": fixed}
    return Contender("OpenVINO default", Statement("there(); back()", names, per=2), answer)


def table(folder: Path, seconds: float) -> Table:
    """seconds: for each model."""
    columns = ["model", "undertow us", "ORT run us", "io-binding us", "vs run", "vs io-binding"]
    for precision in PRECISIONS:
        columns += [f"{precision} us", *(f"{precision} {what}" for what in ("vs float32", "vs run", "RMS error %"))]
    columns.append("the faster of them vs float32")
    columns += ["OpenVINO default us", "float32 vs it", "the faster vs it", "its RMS error %"]
    result = Table("One frame of a whole model from Python (median)", columns)
    for case in CASES:
        row = [case.name, *_row(case, folder, seconds, result)]
        result.rows.append(row + [None] * (len(columns) - len(row)))
    return result


def _row(case: Case, folder: Path, seconds: float, result: Table) -> list[Any]:
    try:
        model = case.load(folder)
    except (undertow.Error, ImportError) as error:
        result.notes.append(f"{case.name} does not load: {_first_line(error)}")
        return ["does not load"]
    X = case.frames(folder)
    ours = undertow_step("undertow", model, X, (0.0, 0.0))
    expected = ours.answer(X)
    agree = models.AGREE * max(1.0, float(np.abs(expected).max()))
    # Who rounds weights differs, and a network that does nothing any more would differ as much as its output.
    rounded = (1e-9, float(np.abs(expected).max()))
    small = [undertow_step(models.ours(name), model.with_weights(name), X, rounded) for name in PRECISIONS]
    missing: list[str] = []
    peers: list[Contender] = []
    with models.optional("ONNX Runtime", missing):
        session = models.ort_session(str(folder / case.file))
        peers = [ort_run(case, session, X), ort_ping_pong(case, session, X)]
        for peer in peers:
            peer.error = (0.0, agree)
    with models.optional("OpenVINO", missing):
        try:
            peer = openvino_default(case, folder / case.file, X)
            peer.error = (0.0, agree) if openvino_peer.default_precision() == "f32" else rounded
            peers.append(peer)
        except RuntimeError as error:
            result.notes.append(f"OpenVINO does not read {case.name}: {str(error).strip().splitlines()[-1]}")
    result.notes += [note for note in missing if note not in result.notes]
    contenders = [ours, *small, *peers]
    models.check(contenders, X[:N_CHECKED])
    times = measure([c.statement for c in contenders], seconds)
    result.mark_noise(case.name, [t.spread for t in times])
    one, smaller = times[0], times[1 : 1 + len(small)]
    by_name = dict(zip((c.name for c in contenders), times, strict=True))
    run, bound, openvino = (by_name.get(name) for name in ("ORT run", "ORT io-binding", "OpenVINO default"))
    ratios: list[Any] = [t and t.times_slower_than(one) for t in (run, bound)]
    if ratios[0] and case.target is not None:
        ratios[0] = Goal(ratios[0], case.target)
    row = [one.median, *(t and t.median for t in (run, bound)), *ratios]
    for contender, t in zip(small, smaller, strict=True):
        row += [t.median, one.times_slower_than(t), run and run.times_slower_than(t), _share(contender, X, expected)]
    best = min(smaller, key=lambda t: t.median)
    ratio = one.times_slower_than(best)
    row.append(ratio if case.small_target is None else Goal(ratio, case.small_target))
    if openvino:
        row += [openvino.median, openvino.times_slower_than(one), openvino.times_slower_than(best)]
        row.append(_share(contenders[-1], X, expected))
    return row


def _share(contender: Contender, X: np.ndarray, expected: np.ndarray) -> float:
    """RMS error in per cent of the RMS of what was expected."""
    difference = contender.answer(X) - expected
    return 100 * float(np.sqrt(np.square(difference, dtype=np.float64).mean() / np.square(expected).mean()))


def pool_table(folder: Path, seconds: float) -> Table:
    """seconds: for all of it."""
    columns = ["", "undertow pool us", "ORT best us", "its batch", "vs the best"]
    for precision in PRECISIONS:
        columns += [f"{precision} pool us", f"{precision} vs float32", f"{precision} vs the best"]
    result = Table(f"A frame of {N_STREAMS} streams of silero_vad from Python (us for each stream, median)", columns)
    case, model, reasons = None, None, []
    for case in CASES[:3]:
        try:
            model = case.load(folder)
            break
        except (undertow.Error, ImportError) as error:
            reasons.append(f"{case.name} does not load: {_first_line(error)}")
    if model is None or case is None:
        result.notes += reasons
        return result
    sound = speech(folder)
    X = np.stack([sound[k * N_CHECKED_POOL : (k + 1) * N_CHECKED_POOL] for k in range(N_STREAMS)], axis=1)
    contenders = [_pool(model, X), *(_pool(model.with_weights(name), X) for name in PRECISIONS)]
    expected = contenders[0].answer(X)
    batches: list[tuple[str, int]] = []
    missing: list[str] = []
    with models.optional("ONNX Runtime", missing):
        for dynamic in DYNAMIC:
            session = models.ort_session(str(folder / dynamic.file))
            for batch in BATCHES:
                peer = ort_run(dynamic, session, X if batch > 1 else X[:, 0], batch)
                got = peer.answer(X if batch > 1 else X[:, 0]).reshape(len(X), batch, -1)
                error = float(np.abs(got - expected[:, :batch]).max())
                if error > models.AGREE:
                    raise SystemExit(f"{dynamic.name}, batch {batch}, and the pool differ by {error:.2g}")
                contenders.append(peer)
                batches.append((dynamic.name, batch))
    result.notes += missing
    times = measure([c.statement for c in contenders], seconds)
    result.mark_noise("pool", [t.spread for t in times])
    ours, small, peers = times[0], times[1 : 1 + len(PRECISIONS)], times[1 + len(PRECISIONS) :]
    which = min(range(len(peers)), key=lambda i: peers[i].median, default=None)
    best = None if which is None else peers[which]
    row: list[Any] = [case.name, ours.median, None, None, None]
    if which is not None and best is not None:
        export, batch = batches[which]
        row[2:] = [best.median, f"{batch} ({export})", Goal(best.times_slower_than(ours), POOL_TARGET)]
        by_size = [f"{batch}: {min(_of(batch, batches, peers)):.1f}" for batch in BATCHES]
        result.notes.append(f"ONNX Runtime, us for each stream by size of the batch, {', '.join(by_size)}")
    for precision, t in zip(PRECISIONS, small, strict=True):
        ratio, target = ours.times_slower_than(t), SMALL_POOL_TARGETS.get(precision)
        row += [t.median, ratio if target is None else Goal(ratio, target), best and best.times_slower_than(t)]
    result.rows.append(row)
    return result


def _of(batch: int, batches: list[tuple[str, int]], times: list[Times]) -> list[float]:
    return [t.median for (_, n), t in zip(batches, times, strict=True) if n == batch]


def _pool(model: Model, X: np.ndarray) -> Contender:
    """X: (T, streams, samples)"""
    ((_, value),) = model.inputs.items()
    ((_, output),) = model.outputs.items()
    pool = model.pool(X.shape[1])
    ids = pool.open(X.shape[1])
    out = np.empty((X.shape[1], *output.shape), np.float32)

    def rows(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x).reshape(len(x), *value.shape)

    def answer(X: np.ndarray) -> np.ndarray:
        fresh = model.pool(X.shape[1])
        opened = fresh.open(X.shape[1])
        return np.array([fresh.step(opened, rows(x)).reshape(X.shape[1], -1) for x in X])

    names = {"step": pool.step, "ids": ids, "X": rows(X[len(X) // 2]), "out": out}
    return Contender("undertow", Statement("step(ids, X, out=out)", names, per=X.shape[1]), answer)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def tables(seconds: float) -> Iterator[Table]:
    folder = Path(os.environ.get("UNDERTOW_MODELS", "")) / "stage2"
    if "UNDERTOW_MODELS" not in os.environ or not folder.is_dir():
        note = "not measured: UNDERTOW_MODELS is not set to the folder of models"
        yield Table("Whole models", ["model"], notes=[note])
        return
    yield table(folder, seconds)
    yield pool_table(folder, seconds)
