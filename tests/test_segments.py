# SPDX-License-Identifier: MIT
"""Segments of speech: silero-vad's own rules, to the sample, whole and frame by frame; and their files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import undertow
from undertow import audio
from undertow.audio import Segment, Segmenter, segments, write_segments

DATA = Path(__file__).parent / "data" / "segments.npz"
SPEECH = [0.1, 0.9, 0.9] + 8 * [0.8] + 10 * [0.0]


def cases():
    with np.load(DATA) as data:
        settings = json.loads(str(data["settings"]))
        frames = np.split(data["probabilities"] / 1000, np.cumsum(data["n_frames"])[:-1])
        expected = np.split(data["found"], np.cumsum(data["n_found"])[:-1])
    for given, p, found in zip(settings, frames, expected, strict=True):
        rate, n = given.pop("sampling_rate"), given.pop("audio_length_samples")
        if given and given["max_speech_duration_s"] is None:
            given["max_speech_duration_s"] = np.inf
        yield p, 512 if rate == 16000 else 256, rate, n, given, [tuple(s) for s in found.tolist()]


def test_they_are_those_of_silero_vad():
    n_found = 0
    for p, hop, rate, n, given, expected in cases():
        got = segments(p, hop, rate, n_samples=n, **given)
        assert [(s.start, s.end) for s in got] == expected, given
        n_found += len(expected)
    assert n_found > 3000


def test_they_are_the_same_however_frames_come():
    rng = np.random.default_rng(5)
    for p, hop, rate, n, given, expected in cases():
        segmenter = Segmenter(hop, rate, **given)
        for _ in range(2):  # it starts anew by itself
            got = []
            for piece in np.split(p, np.sort(rng.integers(0, len(p) + 1, 9))):
                got += segmenter.push(piece if len(piece) != 1 else piece[0])
            got += segmenter.flush(n)
            assert [(s.start, s.end) for s in got] == expected, given


def test_each_comes_as_soon_as_nothing_can_change_it():
    """By brute force: what is given after a frame is in the result, whatever follows; and after the silence and padding
    that belong to it, it is there."""
    rng = np.random.default_rng(6)
    p = np.repeat((rng.random(150) < 0.5) * 0.9, rng.integers(1, 12, 150))[:150]
    given = {"min_speech_duration_ms": 64, "speech_pad_ms": 100}
    segmenter, got = Segmenter(**given), []
    for t in range(1, 151):
        got += segmenter.push(p[t - 1])
        for after in (np.zeros(60), np.ones(60), np.tile([1.0, 0, 0], 20)):
            whole = segments(np.concatenate([p[:t], after]), **given)
            assert whole[: len(got)] == got
        if not p[max(0, t - 12) : t].any():  # 12 frames are 384 ms
            assert got == segments(p[:t], **given)
    assert len(got) > 5


def test_silero_vads_own_package_agrees():
    utils = pytest.importorskip("silero_vad.utils_vad", reason="needs silero-vad: pip install silero-vad")
    rng = np.random.default_rng(7)
    for _ in range(200):
        p = np.repeat(rng.random(200), rng.integers(1, 20, 200))[:200]
        given = {"min_speech_duration_ms": 100, "max_speech_duration_s": 1.5, "speech_pad_ms": 60}
        expected = utils.get_speech_timestamps_from_probs(p.tolist(), **given)
        assert [(s.start, s.end) for s in segments(p, **given)] == [(s["start"], s["end"]) for s in expected]


def test_who_speaks_now():
    """As the rule says it: speech begins at the threshold, and ends where 100 ms are below the lower one."""
    p = np.array([0.0, 0.6, 0.4, 0.3, 0.3, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0])
    segmenter = Segmenter(speech_pad_ms=0)
    said = []
    for probability in p:
        segmenter.push(probability)
        said.append((segmenter.speaking, segmenter.since))
    at = 512 / 16000
    # silence begins with frame 6 and is 96 ms long before frame 9, 128 ms before frame 10
    assert said == [(False, None)] + 9 * [(True, at)] + 2 * [(False, None)]
    assert Segmenter(speech_pad_ms=500).since is None
    padded = Segmenter(speech_pad_ms=500)
    padded.push([0.0, 1.0])
    assert padded.since == 0.0, "padding ends where the sound begins"


def test_what_a_segment_is():
    (s,) = segments(SPEECH)
    assert (s.start, s.end, s.rate) == (32, 6112, 16000)
    assert (s.start_s, s.end_s, s.duration_s) == (0.002, 0.382, 0.38)
    assert segments(np.float32(SPEECH)[:, None]) == [s] == segments(np.float32(SPEECH)[:, None, None])
    assert segments([]) == []
    (s,) = segments([1.0] * 20, hop=100, rate=1000, n_samples=1930, speech_pad_ms=0)
    assert (s.start, s.end) == (0, 1930), "zeros that filled up the last frame are no speech"
    (s,) = segments([1.0, 0.0], 100, 1000, n_samples=105, speech_pad_ms=10, min_silence_duration_ms=0,
                    min_speech_duration_ms=0)  # fmt: skip
    assert s.end == 105


def test_what_makes_no_segments_is_refused():
    for wrong in ([0.5, 1.5], [-0.1], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match=r"must be 0 to 1, got .*logits"):
            segments(wrong)
    with pytest.raises(undertow.ShapeError, match=r"\(4, 2\).*one for each frame"):
        segments(np.zeros((4, 2)))
    for name in ("min_speech_duration_ms", "max_speech_duration_s", "min_silence_duration_ms", "speech_pad_ms",
                 "min_silence_at_max_speech"):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} is -1, expected at least 0"):
            segments([0.5], **{name: -1})
    with pytest.raises(ValueError, match="threshold is 2 and"):
        segments([0.5], threshold=2)
    with pytest.raises(ValueError, match=r"neg_threshold is 0\.6, above threshold 0\.5"):
        segments([0.5], neg_threshold=0.6)
    with pytest.raises(ValueError, match="hop is 0"):
        segments([0.5], 0)


@pytest.mark.parametrize("suffix", [".rttm", ".srt", ".vtt", ".json", ".csv", ".txt"])
def test_what_is_no_segment_makes_no_file(suffix, tmp_path):
    with pytest.raises(TypeError, match=r"segments has \(0\.5, 1\.5\), expected a Segment"):
        write_segments(tmp_path / f"a{suffix}", [(0.5, 1.5)])
    assert not list(tmp_path.iterdir())


# -- files ------------------------------------------------------------------------------------------------------------

TWO = [Segment(8000, 24040, 16000), Segment(16000 * 3725, 16000 * 3726 + 16, 16000)]


def written(folder, suffix, rows=TWO, **options):
    write_segments(folder / f"a talk{suffix}", rows, **options)
    return (folder / f"a talk{suffix}").read_text()


def test_files_of_segments(tmp_path):
    assert written(tmp_path, ".rttm", label="A B").splitlines() == [
        "SPEAKER a_talk 1 0.500 1.002 <NA> <NA> A_B <NA> <NA>",
        "SPEAKER a_talk 1 3725.000 1.001 <NA> <NA> A_B <NA> <NA>",
    ]
    assert written(tmp_path, ".srt") == (
        "1\n00:00:00,500 --> 00:00:01,502\nspeech\n\n2\n01:02:05,000 --> 01:02:06,001\nspeech\n\n"
    )
    assert written(tmp_path, ".vtt", TWO[:1]) == "WEBVTT\n\n00:00:00.500 --> 00:00:01.502\nspeech\n\n"
    assert json.loads(written(tmp_path, ".json", label='say "a"')) == [
        {"start": 0.5, "end": 1.5025, "label": 'say "a"'},
        {"start": 3725.0, "end": 3726.001, "label": 'say "a"'},
    ]
    assert written(tmp_path, ".csv", TWO[:1], label="a,b") == 'start,end,label\n0.500000,1.502500,"a,b"\n'
    assert written(tmp_path, ".txt", TWO[:1], label="a\tb") == "0.500000\t1.502500\ta b\n"
    assert json.loads(written(tmp_path, ".json", [])) == []
    assert "SPEAKER talk-7 1" in written(tmp_path, ".rttm", name="talk-7")


def test_an_rttm_is_read_by_the_rule_of_its_fields(tmp_path):
    for line, s in zip(written(tmp_path, ".rttm").splitlines(), TWO, strict=True):
        fields = line.split(" ")
        assert len(fields) == 10 and fields[0] == "SPEAKER"
        assert abs(float(fields[3]) - s.start / 16000) < 1e-3
        assert abs(float(fields[3]) + float(fields[4]) - s.end / 16000) < 2e-3


def test_a_file_of_segments_appears_whole_or_not_at_all(tmp_path):
    (tmp_path / "x.srt").write_text("before")

    def broken():
        yield TWO[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_segments(tmp_path / "x.srt", broken())
    assert (tmp_path / "x.srt").read_text() == "before" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(undertow.UnsupportedError, match=re.escape(".rttm, .srt, .vtt, .json, .csv, .txt")):
        write_segments(tmp_path / "x.textgrid", TWO)


# -- a voice detector -------------------------------------------------------------------------------------------------


def test_segments_of_a_recording(models_dir):
    """silero-vad's own function, over its own network in ONNX Runtime, of its own test file."""
    utils = pytest.importorskip("silero_vad.utils_vad", reason="needs silero-vad: pip install silero-vad")
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install onnxruntime")
    folder = models_dir / "stage2" / "silero-vad"
    theirs = utils.OnnxWrapper(str(folder / "silero_vad.onnx"), force_onnx_cpu=True)
    speech = audio.load(folder / "test_16k.wav", 16000)
    model = undertow.load(folder / "silero_vad.onnx", fixed={"sr": 16000}, shapes={"input": [1, 576]})
    probabilities = model.stream().run(audio.frames(speech, 512, context=64).reshape(-1, *model.inputs["input"].shape))
    for given in ({}, {"threshold": 0.3, "speech_pad_ms": 0, "max_speech_duration_s": 4.0}):
        expected = utils.get_speech_timestamps(torch.from_numpy(speech), theirs, **given)
        got = segments(probabilities, n_samples=len(speech), **given)
        assert [(s.start, s.end) for s in got] == [(s["start"], s["end"]) for s in expected]
        assert len(got) > 5
