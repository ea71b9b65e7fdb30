# SPDX-License-Identifier: MIT
"""Exported models as their projects publish them, streamed as their projects stream them, through the public API.

The files belong to other projects and lie outside the repository: UNDERTOW_MODELS names their folder. Expected outputs
are ONNX Runtime's unless a folder's own note says otherwise.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import session_of
from tolerances import FLOAT32_MODEL


@dataclass
class Whole:
    """One file of a folder, how it is bound, and frames with what they must give."""

    file: str
    data: Callable[[Path], tuple[Any, np.ndarray]]
    options: dict[str, Any] = field(default_factory=dict)
    #: largest absolute error, and of how many elements in a thousand it may be up to ten times as much
    atol: float = FLOAT32_MODEL
    per_mille: float = 0.0
    #: frames that are also given one by one and in chunks
    n_streamed: int = 100
    ops: set[str] = field(default_factory=set)


def _wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def _vad(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames of 512 new samples behind the last 64 of the frame before."""
    with np.load(folder / "expected_ort_16k.npz") as data:
        prob = data["prob"]
    new = _wav(folder / "test_16k.wav")[: 512 * len(prob)].reshape(len(prob), 512)
    context = np.concatenate([np.zeros((1, 64), np.float32), new[:-1, -64:]])
    return np.concatenate([context, new], axis=1), prob


def _arrays(name: str, x: str = "input", y: str = "output") -> Callable[[Path], tuple[np.ndarray, np.ndarray]]:
    def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
        with np.load(folder / name) as data:
            return data[x], data[y]

    return read


def _spectra(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / "expected_ort_simple.npz") as data:
        return np.moveaxis(data["spec_in"], 1, 0), np.moveaxis(data["spec_out"], 1, 0)


def _clip(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    with np.load(folder / "plcmos_v2_expected_ort.npz") as data:
        return {name: data[name] for name in ("degraded_audio", "rater_embed")}, data["output"].reshape(1)


AT_16K = {"fixed": {"sr": 16000}, "shapes": {"input": [1, 576]}}
MODELS = {
    "silero-vad/openvino": Whole("silero_vad_openvino_16k.onnx", _vad, n_streamed=400, ops={"lstm"}),
    "silero-vad/nested-if": Whole("silero_vad.onnx", _vad, AT_16K, n_streamed=400, ops={"lstm"}),
    "silero-vad/decomposed": Whole("silero_vad_op18_ifless.onnx", _vad, AT_16K, n_streamed=400, ops={"lstm"}),
    "dtln-mask": Whole("model_1.onnx", _arrays("expected_ort.npz"), ops={"lstm"}),
    # It divides (a, b) by its length, where a = 2 sigmoid - 1 has cancelled: ONNX Runtime's own float32 is off by up to
    # 3.1e-5 from a float64 evaluation, and by more than 1e-5 in 1.08 of a thousand elements; the engine in 1.10.
    "nsnet2-plc": Whole("nsnetv2_converted.onnx", _arrays("expected_ort.npz"), per_mille=2.0, ops={"gru"}),
    "gtcrn": Whole("gtcrn_simple.onnx", _spectra, n_streamed=40, ops={"gru", "state_write"}),
    "qlstm-scan": Whole("model.onnx", _arrays("io.npz"), atol=0.0, ops={"state_write"}),
    "plcmos": Whole("plcmos_v2.onnx", _clip, {"shapes": {"degraded_audio": [1, 1, 100, 257]}}, ops={"gru"}),
}
_FRAMES: dict[str, tuple[dict[str, np.ndarray], np.ndarray]] = {}
_GRAPHS: dict[str, undertow.Graph] = {}
_BITS: dict[str, dict[str, np.ndarray]] = {}


def load(name: str, models_dir: Path, isa: str) -> undertow.Model:
    """The model of a folder; imported once, compiled for each instruction set."""
    case, folder = MODELS[name], models_dir / "stage2" / name.partition("/")[0]
    if name not in _GRAPHS:
        model = undertow.load(folder / case.file, **case.options)
        _GRAPHS[name] = model.graph
        X, expected = case.data(folder)
        _FRAMES[name] = (X if isinstance(X, dict) else {model.graph.inputs[0]: X}), expected
    graph = _GRAPHS[name]
    frames, expected = _FRAMES[name]
    frames = {key: np.ascontiguousarray(x).reshape(len(x), *graph.shape(key)) for key, x in frames.items()}
    _FRAMES[name] = frames, expected
    return undertow.Model.from_graph(graph, isa)


def one_output(made: Any) -> np.ndarray:
    return next(iter(made.values())) if isinstance(made, dict) else made


def taken(frames: dict[str, np.ndarray], rows: Any) -> Any:
    """Rows of all inputs, as a model takes them: an array where there is one input."""
    picked = {key: x[rows] for key, x in frames.items()}
    return picked if len(picked) > 1 else next(iter(picked.values()))


def in_chunks(model: undertow.Model, frames: dict[str, np.ndarray], n: int) -> np.ndarray:
    """The first n frames through a stream, in pieces of some lengths, 0 and 1 among them."""
    stream, parts, done = model.stream(), [], 0
    sizes = [1, 0, 2, 17, 64]
    while done < n:
        size = min(sizes[len(parts) % len(sizes)], n - done)
        parts.append(one_output(stream.run(taken(frames, slice(done, done + size)))))
        done += size
    return np.concatenate(parts)


@pytest.mark.parametrize("name", MODELS)
def test_whole_model(name: str, models_dir: Path, isa: str) -> None:
    """Whole, step by step, in chunks: equal bits, on every instruction set; close to what the project's peer gives."""
    case = MODELS[name]
    model = load(name, models_dir, isa)
    assert case.ops <= {node.op for node in model.graph.nodes}
    frames, expected = _FRAMES[name]
    whole = one_output(model.run(taken(frames, slice(None))))
    n = min(case.n_streamed, len(whole))
    stream = model.stream()
    steps = np.stack([one_output(stream.step(taken(frames, t))) for t in range(n)])
    np.testing.assert_array_equal(steps, whole[:n])
    np.testing.assert_array_equal(in_chunks(model, frames, n), whole[:n])

    error = np.abs(whole.reshape(expected.shape).astype(np.float64) - expected)
    print(f"\n{name} [{isa}]: largest error {error.max():.3g}, outputs up to {np.abs(expected).max():.3g}")
    assert error.max() <= case.atol * (10 if case.per_mille else 1)
    assert (error > case.atol).mean() * 1000 <= case.per_mille
    for other, bits in _BITS.setdefault(name, {}).items():
        np.testing.assert_array_equal(whole, bits, err_msg=f"{isa} and {other} differ")
    _BITS[name][isa] = whole


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("silero-vad")])
def test_states_of_the_voice_detector(name: str, models_dir: Path, isa: str) -> None:
    """h and c after some frames are the rows of the state that the project carries."""
    model = load(name, models_dir, isa)
    frames, _ = _FRAMES[name]
    with np.load(models_dir / "stage2" / "silero-vad" / "expected_ort_16k.npz") as data:
        stream, done = model.stream(), 0
        for index, state in zip(data["state_idx"], data["state_after"], strict=True):
            stream.run(taken(frames, slice(done, index + 1)))
            done = index + 1
            for mine, theirs in zip(stream.state["lstm_1"], state[:, 0], strict=True):
                # c grows to 15, where ONNX Runtime's own is 7e-6 from float64
                np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=FLOAT32_MODEL)


def test_last_states_of_the_mask(models_dir: Path) -> None:
    """One tensor [1, layer, unit, 2] holds h and c of both layers on its last axis."""
    model = load("dtln-mask", models_dir, next(name for name, runs in undertow.isas().items() if runs))
    frames, _ = _FRAMES["dtln-mask"]
    stream = model.stream()
    stream.run(taken(frames, slice(None)))
    with np.load(models_dir / "stage2" / "dtln-mask" / "expected_ort.npz") as data:
        for layer in (0, 1):
            for k, mine in enumerate(stream.state[f"lstm_{layer + 1}"]):
                want = data["state_last"][0, layer, :, k]  # c grows to 230, where float32 numbers are 1.5e-5 apart
                np.testing.assert_allclose(mine, want, rtol=2e-6, atol=FLOAT32_MODEL)


@pytest.mark.parametrize("file", ["silero_vad.onnx", "silero_vad_op18_ifless.onnx"])
def test_the_other_rate_of_the_voice_detector(file: str, models_dir: Path) -> None:
    """8 kHz: frames of 256 new samples behind 32 of the frame before, another network of the same file."""
    path = models_dir / "stage2" / "silero-vad" / file
    model = undertow.load(path, fixed={"sr": 8000}, shapes={"input": [1, 288]})
    rng = np.random.default_rng(8)
    X = (rng.standard_normal((40, 288)) * 0.1).astype(np.float32)
    session, state, expected = session_of(path), np.zeros((2, 1, 128), np.float32), []
    for x in X:
        y, state = session.run(None, {"input": x[None], "state": state, "sr": np.array(8000, np.int64)})
        expected.append(y[0])
    error = np.abs(model.run(X) - expected)
    print(f"\n{file} at 8 kHz: largest error {error.max():.3g}")
    assert error.max() <= FLOAT32_MODEL


def test_what_a_file_needs_is_said(models_dir: Path) -> None:
    vad, quality = models_dir / "stage2/silero-vad/silero_vad.onnx", models_dir / "stage2/plcmos/plcmos_v2.onnx"
    with pytest.raises(undertow.UnsupportedError, match=r"input 'sr' must be bound.*'sr': 16000"):
        undertow.load(vad)
    with pytest.raises(undertow.Error, match=r"shapes=\{'degraded_audio': \[1, 1, frames, 257\]"):
        undertow.load(quality)
