# SPDX-License-Identifier: MIT
"""Sound that arrives in pieces: spectra, blocks that overlap, rates and bytes are those of the whole, to the bit."""

import io
import sys

import numpy as np
import pytest

import undertow
from sounds import noise
from undertow import audio
from undertow.audio import pcm

RNG = np.random.default_rng(40)


def cut(x, n_cuts=6):
    return np.split(x, np.sort(RNG.integers(0, len(x) + 1, n_cuts)))


# -- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "hop"), [(8, 4), (8, 3), (8, 8), (3, 5), (1, 1), (5, 1), (512, 128)])
def test_blocks_that_come_one_by_one(size, hop):
    joined = audio.OverlapAdd(size, hop)
    assert joined.latency == max(0, size - hop)
    for n in (0, 1, 2, 3, 17):
        blocks = noise(n, size)
        expected = np.zeros((n - 1) * hop + size if n else 0)
        for k, block in enumerate(blocks):
            expected[k * hop : k * hop + size] += block
        got, n_out = [], 0
        for piece in [*cut(blocks, 4), blocks[:0]]:
            got.append(joined.push(piece))
            n_out += len(got[-1])
        assert n_out == (max(0, (n - 1) * hop + min(size, hop)) if n else 0), "what no later block reaches is there"
        got.append(joined.flush())
        assert np.array_equal(np.concatenate(got), expected.astype(np.float32))
        assert np.array_equal(audio.overlap_add(blocks, hop), expected.astype(np.float32))
    assert np.array_equal(joined.push(noise(1, size)[0] * 0), np.zeros(min(size, hop), np.float32)), "one block"


def test_blocks_of_another_size_are_refused():
    with pytest.raises(undertow.ShapeError, match=r"\(2, 3\), expected \(n, 4\)"):
        audio.OverlapAdd(4, 2).push(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="size is 4 and hop 0"):
        audio.OverlapAdd(4, 0)


# -- spectra ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "hop"), [(8, 4), (8, 2), (12, 4), (6, 1), (512, 256), (400, 100)])
def test_spectra_are_those_of_the_whole_sound(size, hop):
    spectra = audio.Spectra(size, hop)
    assert spectra.latency == size - hop
    for n in (0, 1, hop - 1, hop, size, 3 * size + 1, 1999):
        x = noise(n)
        whole = audio.stft(x, size, hop)
        gains = RNG.normal(size=whole.shape).astype(np.float32)
        frames, sound = [], []
        for piece in [*cut(x), None]:  # and it starts anew by itself
            frames.append(spectra.flush() if piece is None else spectra.push(piece))
            at = sum(map(len, frames))
            part = frames[-1] * gains[at - len(frames[-1]) : at]
            for k in range(len(part)) if n < 100 else ():
                sound.append(spectra.join(part[k]))
            if n >= 100:
                sound.append(spectra.join(part))
        assert np.array_equal(np.concatenate(frames), whole)
        got = np.concatenate([*sound, np.zeros(0, np.float32)])
        assert np.array_equal(got, audio.istft(whole * gains, size, hop)[:n]), n
        assert len(got) == n and got.dtype == np.float32


def test_each_spectrum_comes_with_its_last_sample_and_sound_a_latency_later():
    spectra, x = audio.Spectra(16, 4), noise(100)
    n_frames = n_sound = 0
    for t in range(100):
        part = spectra.push(x[t : t + 1])
        n_frames += len(part)
        assert n_frames == (t + 1) // 4
        n_sound += len(spectra.join(part))
        assert n_sound == max(0, n_frames * 4 - spectra.latency)


def test_spectra_that_nobody_pushed_become_sound():
    frames = audio.stft(noise(300), 16, 4)
    spectra = audio.Spectra(16, 4)
    got = np.concatenate([spectra.join(part) for part in np.array_split(frames, 7)])
    assert np.array_equal(got, audio.istft(frames, 16, 4))


def test_another_sound_begins_behind_the_end_and_after_a_reset():
    spectra, x = audio.Spectra(8, 4), noise(50)
    spectra.join(spectra.push(noise(9)))
    spectra.reset()
    for _ in range(2):
        got = [spectra.join(spectra.push(x)), spectra.join(spectra.flush()), spectra.join(spectra.flush())]
        assert np.abs(np.concatenate(got) - x).max() < 1e-6


def test_what_makes_no_spectra_is_refused():
    with pytest.raises(ValueError, match="size is 9 and hop 3"):
        audio.Spectra(9, 3)
    for call in (audio.Spectra().push, audio.stft):
        with pytest.raises(TypeError, match=r"int16.*/ 32768"):
            call(np.zeros(4, np.int16))
        with pytest.raises(undertow.ShapeError, match=r"\(4, 2\).*one channel"):
            call(np.zeros((4, 2), np.float32))
    with pytest.raises(undertow.ShapeError, match=r"\(T, 257, 2\)"):
        audio.Spectra().join(np.zeros((3, 129, 2)))


def test_a_framer_and_spectra_hear_the_same():
    x, spectra, framer = noise(3000), audio.Spectra(512, 256), audio.Framer(256, context=256)
    for piece in cut(x):
        rows, got = framer.push(piece), spectra.push(piece)
        expected = np.fft.rfft(rows * audio.window(512))
        assert np.array_equal(got, np.stack([expected.real, expected.imag], -1).astype(np.float32))


# -- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "to"), [(48000, 16000), (44100, 16000), (8000, 16000), (16000, 44100), (8000, 8000)])
@pytest.mark.parametrize("channels", [1, 2])
def test_another_rate_is_that_of_the_whole_sound(rate, to, channels):
    pytest.importorskip("soxr", reason="needs soxr: pip install soxr")
    resampler = audio.Resampler(rate, to, channels)
    for n in (0, 1, 7, 1000, 20000):
        x = noise(n, channels) if channels > 1 else noise(n)
        got = [resampler.push(piece) for piece in cut(x, 20)]
        assert resampler.delay >= 0
        got.append(resampler.flush())  # and starts anew
        assert np.array_equal(np.concatenate(got), audio.resample(x, rate, to)), n
    resampler.push(x)
    resampler.reset()
    x = x[:500]
    assert np.array_equal(np.concatenate([resampler.push(x), resampler.flush()]), audio.resample(x, rate, to))


def test_what_was_pushed_comes_out_after_a_delay():
    pytest.importorskip("soxr", reason="needs soxr: pip install soxr")
    resampler, n_out = audio.Resampler(48000, 16000), 0
    for i in range(1, 200):
        n_out += len(resampler.push(noise(480)))
        assert abs(i * 0.01 - n_out / 16000 - resampler.delay) < 1e-3
        assert resampler.delay < 0.06


def test_samples_of_another_kind_are_refused():
    pytest.importorskip("soxr", reason="needs soxr: pip install soxr")
    with pytest.raises(TypeError, match=r"int16.*/ 32768"):
        audio.Resampler(8000, 16000).push(np.zeros(4, np.int16))
    with pytest.raises(undertow.ShapeError, match=r"\(4, 2\).*one channel"):
        audio.Resampler(8000, 16000).push(np.zeros((4, 2), np.float32))
    with pytest.raises(undertow.ShapeError, match=r"\(4, 3\), expected \(T, 2\)"):
        audio.Resampler(8000, 16000, 2).push(np.zeros((4, 3), np.float32))
    with pytest.raises(undertow.ShapeError, match=r"\(4,\), expected \(T, channels\)"):
        audio.Resampler(8000, 16000, 2).push(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="channels is 0"):
        audio.Resampler(8000, 16000, 0)
    with pytest.raises(undertow.UnsupportedError, match="from 1 Hz to 16000 Hz"):
        audio.Resampler(1, 16000)


def test_without_soxr_a_stream_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(ImportError, match=r"8000 Hz and 16000 Hz.*undertow\[audio\]"):
        audio.Resampler(8000, 16000)
    same = audio.Resampler(8000, 8000)
    x = noise(9)
    assert np.array_equal(same.push(x), x) and same.flush().shape == (0,) and same.delay == 0.0


# -- raw samples ------------------------------------------------------------------------------------------------------

SUBTYPES = {
    "u8": "PCM_U8", "s8": "PCM_S8", "s16le": "PCM_16", "s16be": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32",
    "s32be": "PCM_32", "f32le": "FLOAT", "f32be": "FLOAT", "f64le": "DOUBLE", "f64be": "DOUBLE", "mulaw": "ULAW",
    "alaw": "ALAW",
}  # fmt: skip


@pytest.mark.parametrize("name", pcm.NAMES)
def test_raw_samples_are_those_of_libsndfile(name):
    soundfile = pytest.importorskip("soundfile", reason="needs soundfile: pip install soundfile")
    raw = RNG.integers(0, 256, 2400, dtype=np.uint8).tobytes()
    if name[0] == "f":
        raw = RNG.normal(size=300).astype(f"{'>' if name.endswith('be') else '<'}f{int(name[1:3]) // 8}").tobytes()
    given = {"format": "RAW", "channels": 2, "samplerate": 8000, "subtype": SUBTYPES[name]}
    given["endian"] = "BIG" if name.endswith("be") else "LITTLE"
    expected, _ = soundfile.read(io.BytesIO(raw), dtype="float32", always_2d=True, **given)
    assert np.array_equal(pcm.decode(name, raw, 2), expected)
    if name not in ("s32le", "s32be", "f64le", "f64be", "mulaw"):  # beyond float32; and mu-law has two zeros
        assert pcm.encode(name, expected) == (raw, 0)
    x = RNG.uniform(-1, 1, 2000)
    data, n_cut = pcm.encode(name, x)
    own = np.unique(pcm.decode(name, bytes(range(256)))) if name in ("u8", "s8", "mulaw", "alaw") else None
    error = np.abs(pcm.decode(name, data)[:, 0] - x).max()
    nearest = np.abs(own[:, None] - x).min(0).max() if own is not None else 0.51 / 32768
    assert error <= nearest + 1e-7 and n_cut <= 20


def test_beyond_full_scale_is_cut_and_counted():
    x = np.array([0.0, 2.0, -2.0, np.nan, 1.0, -1.0])
    for name in ("u8", "s8", "s16le", "s24le", "s32le"):
        data, n_cut = pcm.encode(name, x)
        assert n_cut == 3, "1.0 is one step beyond"
        assert np.abs(pcm.decode(name, data)[:, 0] - np.clip(np.nan_to_num(x), -1, 1)).max() < 0.01
    assert pcm.encode("mulaw", x)[1] == pcm.encode("alaw", x)[1] == 2
    assert pcm.encode("mulaw", np.zeros(2))[0] == b"\xff\xff", "silence as telephones send it"
    data, n_cut = pcm.encode("f32le", x)
    assert n_cut == 0 and np.array_equal(np.frombuffer(data, "<f4"), x.astype(np.float32), equal_nan=True)


def test_names_of_formats():
    for text, name in (("S16_LE", "s16le"), ("FLOAT_LE", "f32le"), ("MU_LAW", "mulaw"), ("A_LAW", "alaw"),
                       ("u8", "u8"), ("S24_3LE", "s24le"), ("S32_LE", "s32le"), (" s16le ", "s16le")):  # fmt: skip
        assert pcm.format_name(text) == name
    assert pcm.sample_bytes("s24le") == 3 and pcm.sample_bytes("f64be") == 8
    with pytest.raises(undertow.UnsupportedError, match="'mp3' is no format of raw samples; expected one of u8, s8"):
        pcm.format_name("mp3")


# -- a denoiser, live -------------------------------------------------------------------------------------------------


def test_a_denoiser_live_is_the_same_as_on_a_file(models_dir):
    folder = models_dir / "stage2" / "gtcrn"
    model = undertow.load(folder / "gtcrn_simple.onnx")
    mixed = audio.load(folder / "mix.wav", 16000)[:48000]
    whole = audio.istft(model.run(audio.stft(mixed)))[: len(mixed)]
    stream, spectra, got = model.stream(), audio.Spectra(512, 256), []
    for piece in [*np.split(mixed, range(441, len(mixed), 441)), None]:
        for x in spectra.flush() if piece is None else spectra.push(piece):
            got.append(spectra.join(stream.step(x)))
    assert np.array_equal(np.concatenate(got), whole)
