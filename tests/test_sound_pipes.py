# SPDX-License-Identifier: MIT
"""Sound through pipes: raw samples and WAVs in, raw samples out, each frame answered as it comes; and its files."""

import io
import json
import struct
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import undertow
from sounds import detect, detector, failed, noise, save, written_out
from test_sound import mirror
from tolerances import FLOAT32_MODEL
from undertow import audio
from undertow.audio import wav
from undertow.cli import main

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

RUN = [sys.executable, "-c", "import sys; from undertow.cli import main; sys.exit(main(sys.argv[1:]))", "run"]


class Dribble(io.RawIOBase):
    """A pipe into which somebody writes so many bytes at a time."""

    def __init__(self, data, n):
        self._data, self._n = data, n

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self._data[: min(self._n, len(buffer))]
        self._data = self._data[len(part) :]
        buffer[: len(part)] = part
        return len(part)


@pytest.fixture
def piped(monkeypatch, capsys):
    """The command with these bytes on standard input: exit code, bytes of standard output, standard error."""

    def run(data, *argv, n=1 << 20):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Dribble(data, n))))
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
        code = main(["run", *map(str, argv)])
        sys.stdout.flush()
        return code, out.getvalue(), capsys.readouterr().err

    return run


def rows(text):
    return np.array([[np.float32(v) for v in line.split(",")] for line in text.decode().splitlines()], np.float32)


def samples_of(x):
    return np.rint(x * 32768).astype("<i2").tobytes()


@pytest.mark.parametrize("n", [1, 7, 4096, 1 << 20])
def test_raw_samples_are_heard_as_those_of_a_file(piped, cli, tmp_path, n):
    model, x = detector(tmp_path), save(tmp_path / "x.wav", noise(333))[:, 0]
    of_file = cli("run", model, tmp_path / "x.wav", "--frame", 8)[1]
    code, out, err = piped(samples_of(x), model, "-", "--raw", "s16le,8000", "--frame", 8, n=n)
    assert (code, err, out.decode()) == (0, "", of_file)
    assert np.abs(rows(out) - detect(written_out(x, 8, 4, 8, True))[0]).max() < FLOAT32_MODEL
    wave = (tmp_path / "x.wav").read_bytes()
    if n >= 4:  # a WAV is told by its first four bytes, which whoever writes one writes at once
        assert piped(wave, model, "--frame", 8, n=n) == (0, out, "")
    floats = x.astype("<f4").tobytes()
    assert piped(floats, model, "--raw", "FLOAT_LE", "--rate", 8000, "--frame", 8, n=n) == (0, out, "")
    (tmp_path / "x.pcm").write_bytes(floats)
    assert piped(b"", model, tmp_path / "x.pcm", "--raw", "f32le,8000", "--frame", 8) == (0, out, "")


@pytest.mark.parametrize("n", [3, 1 << 20])
def test_sound_goes_out_as_raw_samples(piped, tmp_path, n):
    x = save(tmp_path / "x.wav", noise(333) / 4)[:, 0]
    model = mirror(tmp_path, (5, 2))
    given = [model, "-", "--raw", "s16le,8000", "--stft", "8,4", "-o", "-"]
    code, out, err = piped(samples_of(x), *given, n=n)
    assert (code, err) == (0, "")
    assert len(out) == 2 * 333 and np.abs(np.frombuffer(out, "<i2") / 32768 - x).max() < 2 / 32768
    code, out, _ = piped(x.astype("<f4").tobytes(), *given[:2], "--raw", "f32le,8000", *given[4:], n=n)
    assert code == 0 and np.abs(np.frombuffer(out, "<f4") - x).max() < 1e-6
    code, out, err = piped(b"", model, tmp_path / "x.wav", "--raw", "mulaw", *given[4:])
    assert (code, err) == (0, "") and len(out) == 333
    loud = piped((8 * x).astype("<f4").tobytes(), *given, n=n)
    assert loud[0] == 0
    code, out, err = piped((noise(50) * 40).astype("<f4").tobytes(), model, "--raw", "f32le,8000", *given[4:])
    assert (code, err) == (0, ""), "floats are not cut"


def test_channels_and_blocks_go_out(piped, tmp_path):
    x = noise(60, 2) / 4
    model = mirror(tmp_path, (2,))
    code, out, err = piped(x.astype("<f4").tobytes(), model, "--raw", "f32le,8000,2", "-o", "-")
    assert (code, err) == (0, "") and np.array_equal(np.frombuffer(out, "<f4").reshape(-1, 2), x)
    code, out, err = piped(x.astype("<f4").tobytes(), mirror(tmp_path, (4,), "four"), "--raw", "f32le,8000,2",
                           "--channel", 1, "--frame", 2, "--context", 2, "--overlap-add", "-o", "-")  # fmt: skip
    assert (code, err) == (0, "")
    expected = np.zeros(64)
    for k, block in enumerate(written_out(x[:, 1], 2, 2, 2, True)):
        expected[2 * k : 2 * k + 4] += block
    assert np.abs(np.frombuffer(out, "<f4") - expected[:60]).max() < 1e-6


@pytest.mark.skipif(find_spec("soxr") is None, reason="needs soxr: pip install soxr")
@pytest.mark.parametrize("n", [1000, 1 << 20])
def test_raw_samples_at_another_rate(piped, tmp_path, n):
    x = noise(4410)
    model = mirror(tmp_path, (4,), rate=16000)
    code, out, err = piped(x.tobytes(), model, "--raw", "f32le,44100", "--frame", 4, "-o", "-", n=n)
    assert code == 0 and "from 44100 Hz to 16000 Hz" in err and "f32le at 16000 Hz" in err
    assert np.array_equal(np.frombuffer(out, "<f4"), audio.resample(x, 44100, 16000))
    failed((*piped(b"", model, "--raw", "s16le", "--rate", 44100, "--frame", 4),), 2, "16000 Hz", "--raw s16le,44100")


def test_each_frame_is_answered_as_it_comes(tmp_path):
    """A process that waits for each answer before it says more."""
    model, x = detector(tmp_path), noise(40)
    expected, _ = detect(written_out(x, 8, 4, 8, True))
    for options in (["--raw", "f32le,8000", "--frame", "8"], ["--raw", "f32le,8000", "--frame", "8", "-o", "-"]):
        process = subprocess.Popen([*RUN, model, "-", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for k in range(5):
            process.stdin.write(x[8 * k : 8 * k + 8].tobytes())
            process.stdin.flush()
            if "-o" in options:
                got = np.frombuffer(process.stdout.read(32), "<f4")
            else:
                got = rows(process.stdout.readline())[0]
            assert np.abs(got - expected[k]).max() < FLOAT32_MODEL
        process.stdin.close()
        assert process.stdout.read() == b"" and process.wait() == 0
        process.stdout.close()


def test_bytes_that_are_no_whole_sample_are_told(piped, tmp_path):
    code, out, err = piped(samples_of(noise(8)) + b"\0", detector(tmp_path), "--raw", "s16le,8000", "--frame", 8)
    assert code == 0 and len(rows(out)) == 1 and "1 bytes of 2" in err


def test_options_of_raw_samples(piped, cli, tmp_path):
    model = detector(tmp_path)
    save(tmp_path / "x.wav", noise(40))
    np.save(tmp_path / "x.npy", noise(3, 12))
    for argv, code, *words in (
        (["-", "--raw", "s16le", "--frame", 8], 2, "do not say their rate", "--raw s16le,HZ"),
        ([tmp_path / "x.wav", "--raw", "s16le,8000", "--frame", 8], 2, "x.wav says itself"),
        ([tmp_path / "x.npy", "--raw", "s16le,8000"], 2, "--raw", "holds numbers"),
        ([tmp_path / "x.wav", "--frame", 8, "-o", "-"], 2, "-o - --raw s16le"),
        ([tmp_path / "x.npy", "-o", "-", "--raw", "s16le"], 2, "--raw"),
        ([tmp_path, "--frame", 8], 2, "a folder", "for f in", "/*.wav; do undertow run", "done"),
    ):
        failed((*piped(b"", model, *argv),), code, *words)
    for text in ("pcm", "s16le,0", "s16le,a", "s16le,8000,1,1", "s16le,8000,"):
        code, _, err = cli("run", model, "-", "--raw", text)
        assert code == 2 and "--raw" in err, text
    failed((*piped(b"fLaC" * 99, model, "--frame", 8),), 2, ".flac", "ffmpeg -i - -f wav -")
    failed((*piped(b"1 2 3\n", model, "--frame", 8),), 2, "--frame", "standard input")


def test_lines_of_numbers_stay_lines(piped, tmp_path):
    X = noise(3, 12)
    text = "\n".join(" ".join(map(str, row)) for row in X).encode()
    code, out, _ = piped(text, detector(tmp_path), n=5)
    assert code == 0 and np.abs(rows(out) - detect(X)[0]).max() < FLOAT32_MODEL


# -- WAVs as they come ------------------------------------------------------------------------------------------------


def unsized(data, size):
    """A WAV as a program leaves it that cannot go back to its header."""
    at = data.index(b"data") + 4
    return data[:at] + size.to_bytes(4, "little") + data[at + 4 :]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0x7FFFFFFF])
def test_a_wav_whose_size_is_not_known(piped, tmp_path, size):
    save(tmp_path / "x.wav", noise(333))
    model, data = detector(tmp_path), (tmp_path / "x.wav").read_bytes()
    expected = piped(data, model, "--frame", 8)
    assert expected[0] == 0 and len(rows(expected[1])) == 42
    assert piped(unsized(data, size), model, "--frame", 8, n=50) == expected


def test_a_wav_that_is_cut_short(piped, tmp_path):
    save(tmp_path / "x.wav", noise(333))
    data = (tmp_path / "x.wav").read_bytes()
    code, out, err = piped(data[:-100], detector(tmp_path), "--frame", 8)
    assert code == 3 and "cut short: 566 bytes of samples, expected 666" in err
    assert len(rows(out)) == (333 - 50) // 8, "what came was answered"
    (tmp_path / "x.wav").write_bytes(data[:-100])
    with pytest.raises(undertow.FormatError, match="cut short: 566 bytes of samples, expected 666"):
        audio.read(tmp_path / "x.wav")
    code, _, err = piped(data[:20], detector(tmp_path), "--frame", 8)
    assert code == 3 and "standard input" in err and "fmt chunk" in err


@pytest.mark.parametrize("n", [1, 3, 64, 10_000])
def test_a_wav_in_pieces_is_that_of_the_whole(tmp_path, n):
    x = save(tmp_path / "x.wav", noise(100, 3))
    data = (tmp_path / "x.wav").read_bytes()
    data = data[:12] + b"LIST" + (5).to_bytes(4, "little") + b"abcde\0" + data[12:]
    reader = wav.Reader("x", io.BytesIO(data), len(data))
    assert (reader.rate, reader.channels, reader.n_samples) == (8000, 3, 100)
    got = [reader.read(n) for _ in range(-(-100 // n) + 1)]
    assert len(got[-1]) == 0 and np.array_equal(np.concatenate(got), x)
    reader = wav.Reader("x", io.BufferedReader(Dribble(data, n)))
    got = []
    while len(part := reader.read_ready(n)):
        assert len(part) <= n
        got.append(part)
    assert np.array_equal(np.concatenate(got), x)


def test_an_encoding_that_only_a_file_can_have(piped, tmp_path):
    data = bytearray((save(tmp_path / "x.wav", noise(9)), (tmp_path / "x.wav").read_bytes())[1])
    data[20:22] = (49).to_bytes(2, "little")  # GSM
    code, _, err = piped(bytes(data), mirror(tmp_path, (1,)))
    assert code == 3 and "WAV encoding 49" in err and "given by its name" in err and "ffmpeg" in err


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("s16le,16000,99999999999", "99999999999 channels cannot be; expected 1 to 256"),
        ("s16le,16000,257", "257 channels"),
        ("s16le,100000001", "100000001 Hz cannot be; expected 1 to 100000000"),
        (f"s16le,{'9' * 5000}", "Hz cannot be"),
        ("s16le,00", "expected FORMAT, FORMAT,HZ"),
    ],
)
def test_sizes_of_raw_sound_that_cannot_be(cli, tmp_path, raw, words):
    code, _, err = cli("run", mirror(tmp_path, (1,)), "-", "--raw", raw)
    assert code == 2 and words in err.replace("\n", " ")
    assert cli("run", mirror(tmp_path, (1,)), "-", "--rate", 10**9)[0] == 2


# -- files of other formats -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["flac", "w64", "aiff", "au", "caf", "rf64", "ogg", "opus", "mp3"])
def test_sound_is_written_as_its_suffix_says(cli, tmp_path, suffix):
    soundfile = pytest.importorskip("soundfile", reason="needs soundfile: pip install soundfile")
    tone = np.sin(np.arange(8000) / 9) * 0.3
    x = save(tmp_path / "x.wav", tone)[:, 0]
    path = tmp_path / f"y.{suffix}"
    assert cli("run", mirror(tmp_path, (1,)), tmp_path / "x.wav", "-o", path) == (0, "", "")
    y, rate = soundfile.read(path)
    assert rate == 8000 and sorted(p.name for p in tmp_path.iterdir()) == sorted(["mirror.tow", "x.wav", path.name])
    if suffix in ("ogg", "opus", "mp3"):
        spectrum = np.abs(np.fft.rfft(y[:8000]))
        assert abs(int(spectrum.argmax()) - round(8000 / 9 / 2 / np.pi)) <= 1 and 0.1 < np.abs(y).max() < 0.5
    else:
        assert soundfile.info(path).subtype == "PCM_16" and np.array_equal(y.astype(np.float32), x)
    before = path.read_bytes()
    (tmp_path / "bad.wav").write_bytes(unsized((tmp_path / "x.wav").read_bytes(), 99999))
    assert cli("run", mirror(tmp_path, (1,)), tmp_path / "bad.wav", "-o", path)[0] == 3
    assert path.read_bytes() == before, "what was there stays where something fails"


def test_sound_without_samples_is_no_file_that_nothing_reads(cli, tmp_path):
    pytest.importorskip("soundfile", reason="needs soundfile: pip install soundfile")
    save(tmp_path / "x.wav", noise(0))
    given = ["run", mirror(tmp_path, (1,)), tmp_path / "x.wav", "-o"]
    for suffix in (".flac", ".opus", ".mp3"):
        path = tmp_path / f"y{suffix}"
        failed(cli(*given, path), 3, path.name, "there are no samples", "write a .wav")
        assert not path.exists()
    for suffix in (".wav", ".ogg", ".aiff", ".w64"):
        assert cli(*given, tmp_path / f"y{suffix}")[0] == 0
        assert audio.read(tmp_path / f"y{suffix}")[0].shape == (0, 1)


def test_formats_that_cannot_be_written(cli, tmp_path, monkeypatch):
    model = mirror(tmp_path, (1,), rate=44100)
    save(tmp_path / "x.wav", noise(99), 44100)
    failed(cli("run", model, tmp_path / "x.wav", "-o", tmp_path / "y.doc"), 2, "y.doc", ".wav, .flac")
    if find_spec("soundfile"):
        failed(cli("run", model, tmp_path / "x.wav", "-o", tmp_path / "y.opus"), 3, "44100 Hz", "48000", "write a .wav")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    failed(cli("run", model, tmp_path / "x.wav", "-o", tmp_path / "y.flac"), 3, 'pip install "undertow[audio]"', ".wav")
    assert not list(tmp_path.glob("y*"))


# -- segments ---------------------------------------------------------------------------------------------------------


def loudness(folder, rate=16000):
    """A detector of sound: how loud four samples are."""
    from undertow.ir.graph import Graph

    g = Graph("loudness")
    x = g.input("x", (4,))
    squares = g.add("mul", [x, x])
    g.output("p", g.add("dense", [squares], weights={"W": np.full((1, 4), 0.25)}))
    g.sample_rate = rate
    undertow.Model.from_graph(g).save(folder / "loudness.tow")
    return folder / "loudness.tow"


def test_segments_of_a_file(cli, piped, tmp_path):
    x = np.zeros(16000, np.float32)
    x[3000:9000] = x[12000:] = 0.9
    model, wave = loudness(tmp_path), tmp_path / "talk.wav"
    x = save(wave, x[:15998], 16000)[:, 0]
    given = [model, wave, "--frame", 4, "--min-speech", 20, "--speech-pad", 10, "--threshold", 0.6]
    p = (written_out(x, 4, 0, 4, True).astype(np.float64) ** 2).mean(1)
    rules = {"min_speech_duration_ms": 20, "speech_pad_ms": 10, "threshold": 0.6}
    expected = audio.segments(p, 4, 16000, n_samples=15998, **rules)
    assert [(s.start, s.end) for s in expected] == [(2840, 9160), (11840, 15998)]
    assert cli("run", *given, "--segments", tmp_path / "y.rttm") == (0, "", "")
    assert (tmp_path / "y.rttm").read_text().splitlines() == [
        "SPEAKER talk 1 0.177 0.395 <NA> <NA> speech <NA> <NA>",
        "SPEAKER talk 1 0.740 0.260 <NA> <NA> speech <NA> <NA>",
    ]
    assert cli("run", *given, "--segments", "-") == (0, "0.177 0.573\n0.740 1.000\n", "")
    assert cli("run", *given, "--segments", "-", "-o", tmp_path / "p.npy")[0] == 0
    assert np.abs(np.load(tmp_path / "p.npy")[:, 0] - p).max() < FLOAT32_MODEL
    raw = samples_of(x)
    assert piped(raw, model, "--raw", "s16le,16000", *given[2:], "--segments", "-")[1].decode() == (
        "0.177 0.573\n0.740 1.000\n"
    )


def test_segments_that_cannot_be_told(cli, tmp_path):
    model, wave = loudness(tmp_path), tmp_path / "x.wav"
    save(wave, noise(99), 16000)
    np.save(tmp_path / "x.npy", noise(3, 4))
    failed(cli("run", model, wave, "--frame", 4, "--threshold", 0.3), 2, "--threshold", "--segments")
    failed(cli("run", model, wave, "--frame", 4, "--segments", "y.doc"), 2, "y.doc", ".srt")
    failed(cli("run", model, wave, "--frame", 4, "--segments", tmp_path / "no" / "y.srt"), 2, "no folder")
    failed(cli("run", model, tmp_path / "x.npy", "--segments", "-"), 2, "audio.segments")
    failed(cli("run", mirror(tmp_path, (4,)), wave, "--frame", 4, "--segments", "-"), 2, "[4] numbers")
    failed(cli("run", model, wave, "--frame", 4, "--segments", "-", "--threshold", 2), 2, "threshold is 2")
    save(wave, np.full(99, -3.0), 16000)
    data = bytearray(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 3, 1, 16000, 64000, 4, 32))
    wave.write_bytes(data + b"data" + (16).to_bytes(4, "little") + np.full(4, 3, "<f4").tobytes())
    failed(cli("run", model, wave, "--frame", 4, "--segments", "-"), 3, "0 to 1", "got 9", "logits")


def test_a_voice_detector_writes_the_segments_of_silero_vad(models_dir, cli, tmp_path):
    """Those of silero-vad's own `get_speech_timestamps` on its own test file, as its package 6.2.3 gives them."""
    folder = models_dir / "stage2" / "silero-vad"
    given = ["--fixed", "sr=16000", "--shape", "input=1,576", "--frame", 512, "--segments", tmp_path / "y.json"]
    assert cli("run", folder / "silero_vad.onnx", folder / "test_16k.wav", *given) == (0, "", "")
    got = [(round(16000 * s["start"]), round(16000 * s["end"])) for s in json.loads((tmp_path / "y.json").read_text())]
    assert got == [
        (32, 32736), (42528, 75232), (79392, 110048), (149024, 213472), (216608, 241632), (245280, 253920),
        (260640, 286688), (293920, 313824), (325152, 521696), (523296, 569824), (571936, 602080), (607264, 623072),
        (637984, 692704), (697888, 714208), (720416, 749024), (781344, 799712), (817184, 867808), (871456, 918496),
        (920096, 953312),
    ]  # fmt: skip
