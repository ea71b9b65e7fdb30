# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""`undertow.compat.silero_vad` in silero-vad's own functions, beside that package's own model on ONNX Runtime."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install onnxruntime")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    package = pytest.importorskip("silero_vad", reason="needs silero-vad: pip install --no-deps silero-vad packaging")

import undertow
import undertow.compat
from tolerances import FLOAT32_MODEL

CHUNK = {16000: 512, 8000: 256}


@pytest.fixture(scope="module")
def theirs():
    return package.load_silero_vad(onnx=True)


@pytest.fixture(scope="module")
def ours():
    return undertow.compat.silero_vad()


@pytest.fixture(scope="module")
def speech(models_dir):
    """A minute of it, at 16000 samples per second."""
    return undertow.audio.load(models_dir / "stage2/silero-vad/test_16k.wav", rate=16000)


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


#: what is done to the sound, which is not what the file's own segments were told of
CHANGED = {
    "as it is": lambda x: x,
    "quiet": lambda x: x * np.float32(0.05),
    "clipped": lambda x: np.clip(x * np.float32(8), -1, 1),
    "in noise": lambda x: x + np.float32(0.02) * noise(len(x)),
    "in loud noise": lambda x: x + np.float32(0.2) * noise(len(x), 1),
    "cut": lambda x: np.concatenate([x[12345:100000], np.zeros(30000, np.float32), x[200001:300000]]),
    "a part of a chunk": lambda x: x[:777],
    "nobody speaks": lambda x: np.float32(0.01) * noise(60000, 2),
}


@pytest.mark.parametrize("rate", [16000, 8000])
@pytest.mark.parametrize("change", CHANGED)
def test_get_speech_timestamps_finds_the_same_segments(change, rate, speech, theirs, ours):
    sound = CHANGED[change](speech if change == "as it is" else speech[:320000])
    if rate == 8000:
        sound = sound[::2]
    sound = torch.from_numpy(np.ascontiguousarray(sound))
    for settings in ({}, {"threshold": 0.3, "min_silence_duration_ms": 300, "speech_pad_ms": 60}):
        segments = [
            package.get_speech_timestamps(sound, model, sampling_rate=rate, **settings) for model in (theirs, ours)
        ]
        assert segments[0] == segments[1]
    if change == "as it is":
        assert len(segments[0]) > 5


@pytest.mark.parametrize("rate", [16000, 8000])
def test_vad_iterator_says_the_same(rate, speech, theirs, ours):
    sound = torch.from_numpy(np.ascontiguousarray(speech[:: 16000 // rate]))
    events = []
    for model in (theirs, ours):
        iterator = package.VADIterator(model, sampling_rate=rate, min_silence_duration_ms=200)
        n = CHUNK[rate]
        events.append([iterator(sound[i : i + n]) for i in range(0, len(sound) // 2 // n * n, n)])
    assert events[0] == events[1]
    assert sum(event is not None for event in events[0]) > 5


def test_likelihoods_chunk_by_chunk(speech, theirs, ours):
    """Both rates in turn, several sequences at a time; each change begins a sequence anew, as silero-vad does."""
    largest, at = 0.0, 0
    calls = [(16000, 1)] * 5 + [(8000, 1)] * 4 + [(16000, 3)] * 4 + [(16000, 1)] * 3 + ["reset"] + [(16000, 2)] * 4
    for model in (theirs, ours):
        model.reset_states()
    for call in calls:
        if call == "reset":
            theirs.reset_states()
            ours.reset_states()
            continue
        rate, n = call
        x = torch.from_numpy(speech[at : at + n * CHUNK[rate]].reshape(n, CHUNK[rate]).copy())
        at += 4000
        a, b = theirs(x, rate), ours(x, rate)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        largest = max(largest, float((a - b).abs().max()))
        assert ours(x.numpy().copy(), rate).shape == (n, 1)  # arrays come back as arrays ...
        theirs(x, rate)
    print(f"silero_vad, chunk by chunk: largest error {largest:.1e}")
    assert largest < FLOAT32_MODEL


@pytest.mark.parametrize("n_items", [1, 3])
def test_audio_forward(n_items, speech, theirs, ours):
    sound = torch.from_numpy(speech[: n_items * 20000].reshape(n_items, 20000).copy())
    for rate in (16000, 8000, 32000):
        if n_items == 1 or rate == 16000:
            a, b = theirs.audio_forward(sound, rate), ours.audio_forward(sound, rate)
            assert a.shape == b.shape and float((a - b).abs().max()) < FLOAT32_MODEL
    x = sound[:, :512]
    ours.audio_forward(sound[:, :1024], 16000)
    after = ours(x, 16000)  # it goes on from there
    whole = ours.audio_forward(torch.cat([sound[:, :1024], x], dim=1), 16000)
    assert after.numpy().tobytes() == whole[:, -1:].contiguous().numpy().tobytes()


def test_what_is_refused(ours):
    chunk = np.zeros(512, np.float32)
    with pytest.raises(ValueError, match="number of samples is 500"):
        ours(chunk[:500], 8000)
    with pytest.raises(ValueError, match="sampling rates"):
        ours(chunk, 44100)
    with pytest.raises(ValueError, match="too short"):
        ours(chunk[:100], 16000)
    with pytest.raises(undertow.ShapeError, match="too short: 0 samples"):
        ours(chunk[:0], 16000)
    with pytest.raises(undertow.ShapeError, match=r"\(0, 512\), expected one sequence"):
        ours(np.zeros((0, 512), np.float32), 16000)
    with pytest.raises(ValueError, match="dimensions"):
        ours(chunk.reshape(1, 1, 512), 16000)
    with pytest.raises(TypeError, match="/ 32768"):
        ours(np.zeros(512, np.int16), 16000)
    with pytest.raises(TypeError, match=r"x\.float\(\)"):
        ours(torch.zeros(512, dtype=torch.float64), 16000)
    with pytest.raises(undertow.UnsupportedError, match="expected 576"):
        undertow.compat.silero_vad(undertow.load(undertow.example("digits")))


def test_files_and_models(speech, ours, tmp_path):
    from pathlib import Path

    path = Path(package.__file__).parent / "data" / "silero_vad.onnx"
    model = undertow.load(path, fixed={"sr": 16000}, shapes={"input": [1, 576]})
    model.save(tmp_path / "vad.tow")
    sound = speech[:16000]
    expected = ours.audio_forward(sound, 16000)
    for source in (path, str(path), model, undertow.load(tmp_path / "vad.tow")):
        assert undertow.compat.silero_vad(source).audio_forward(sound, 16000).tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match=r"\[16000\]"):
        undertow.compat.silero_vad(model)(sound[:256], 8000)
    fixed = undertow.compat.silero_vad(path.with_name("silero_vad_openvino_16k.onnx"))
    np.testing.assert_allclose(fixed.audio_forward(sound, 16000), expected, rtol=0, atol=FLOAT32_MODEL)
    with pytest.raises(undertow.UnsupportedError, match="versions 5 and 6"):
        from onnx_files import model_of, node, save

        undertow.compat.silero_vad(save(model_of([node("Tanh", "x", "y")], {"x": [1, 3]}, {"y": [1, 3]}), tmp_path))


def test_their_own_wrapper_of_onnx_runtime(speech, theirs, monkeypatch):
    """In place of the package that it imports."""
    import undertow.compat.onnxruntime as face

    monkeypatch.setitem(sys.modules, "onnxruntime", face)
    wrapped = package.load_silero_vad(onnx=True)
    assert type(wrapped.session) is face.InferenceSession
    sound = torch.from_numpy(speech[:64000].copy())
    for rate in (16000, 8000):
        a, b = wrapped.audio_forward(sound[None], rate), theirs.audio_forward(sound[None], rate)
        assert float((a - b).abs().max()) < FLOAT32_MODEL


def test_arrays_need_no_torch(monkeypatch):
    from importlib.util import find_spec

    assert find_spec("silero_vad") is not None
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises
    assert undertow.compat.silero_vad()(np.zeros(512, np.float32), 16000).shape == (1, 1)
    monkeypatch.setattr("undertow.compat._silero.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install silero-vad"):
        undertow.compat.silero_vad()
