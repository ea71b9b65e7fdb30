# SPDX-License-Identifier: MIT
"""Sound: frames with overlap, sampling rates, and sound through the command line."""

import io
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import undertow
from sounds import detect, detector, failed, noise, save, written_out
from tolerances import FLOAT32_MODEL, VERIFY_DEFAULT
from undertow import audio
from undertow.cli._common import Progress
from undertow.ir.graph import Graph

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

RNG = np.random.default_rng(32)
SHAPES = [(512, 64, None), (4, 0, None), (4, 3, 4), (4, 3, 2), (1, 5, 1), (4, 0, 1), (3, 2, 5), (2, 0, 7), (5, 4, 11)]


# -- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frame", "context", "hop"), SHAPES)
@pytest.mark.parametrize("pad", [True, False])
def test_frames_are_those_of_the_rule(frame, context, hop, pad):
    for n in [*range(30), 511, 512, 513, 1100]:
        x = noise(n)
        got = audio.frames(x, frame, context, hop, pad=pad)
        assert got.dtype == np.float32
        assert np.array_equal(got, written_out(x, frame, context, hop or frame, pad)), n


@pytest.mark.parametrize(("frame", "context", "hop"), SHAPES)
def test_a_framer_gives_the_same_frames_however_sound_arrives(frame, context, hop):
    framer = audio.Framer(frame, context, hop)
    for n in (0, 1, 3, 4, 5, 29, 600):
        x = noise(n)
        cuts = np.sort(RNG.integers(0, n + 1, 6))
        got = [framer.push(piece) for piece in np.split(x, cuts)]
        assert all(len(rows) == 0 for piece, rows in zip(np.split(x, cuts), got, strict=True) if not len(piece))
        got.append(framer.flush())  # and starts anew
        assert np.array_equal(np.concatenate(got), audio.frames(x, frame, context, hop)), n


def test_frames_refuse_what_they_would_have_to_guess():
    with pytest.raises(TypeError, match=r"int16.*/ 32768"):
        audio.frames(np.zeros(4, np.int16))
    with pytest.raises(TypeError, match="float64"):
        audio.Framer().push(np.zeros(4))
    with pytest.raises(undertow.ShapeError, match=r"\(4, 2\).*one channel"):
        audio.frames(np.zeros((4, 2), np.float32))
    for sizes in ((0, 0, 1), (4, -1, 1), (4, 0, 0)):
        with pytest.raises(ValueError, match="at least 1, 0 and 1"):
            audio.frames(np.zeros(4, np.float32), *sizes)


def test_blocks_are_added_where_they_overlap():
    got = audio.overlap_add(np.array([[1, 2, 3], [10, 20, 30], [100, 200, 300]], np.float32), 2)
    assert got.tolist() == [1, 2, 13, 20, 130, 200, 300]
    x = noise(40)
    assert np.array_equal(audio.overlap_add(audio.frames(x, 8), 8), x)
    assert audio.overlap_add(np.zeros((0, 3)), 2).shape == (0,)
    with pytest.raises(undertow.ShapeError, match="hop above 0"):
        audio.overlap_add(np.zeros((2, 3)), 0)


# -- spectra ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "hop"), [(8, 4), (8, 2), (12, 4), (6, 1), (512, 256)])
def test_spectra_are_those_of_the_definition(size, hop):
    for n in (0, 1, hop, size, 3 * size + 1):
        x = noise(n)
        got = audio.stft(x, size, hop)
        n_frames = -(-(n + size - hop) // hop) if n else 0
        assert got.shape == (n_frames, size // 2 + 1, 2)
        w = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
        turns = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size // 2 + 1)) / size)
        for k in range(n_frames):
            at = range((k + 1) * hop - size, (k + 1) * hop)
            expected = (np.array([x[i] if 0 <= i < n else 0.0 for i in at]) * w) @ turns
            assert np.abs(got[k, :, 0] + 1j * got[k, :, 1] - expected).max() < 1e-5
        back = audio.istft(got, size, hop)
        assert back.dtype == np.float32
        assert len(back) >= n
        assert np.abs(back[:n] - x).max(initial=0.0) < 1e-6
        assert np.abs(back[n:]).max(initial=0.0) < 1e-6


def test_spectra_of_sound_that_arrives_in_pieces():
    x, framer = noise(3000), audio.Framer(256, context=256)
    rows = np.concatenate([framer.push(piece) for piece in np.split(x, [10, 700, 2500])])
    live = np.fft.rfft(rows * audio.window(512))
    whole = audio.stft(x)[: len(rows)]
    assert np.abs(whole[..., 0] + 1j * whole[..., 1] - live).max() < 1e-5


def test_sizes_that_make_no_spectra_are_refused():
    for size, hop in ((512, 512), (512, 200), (9, 3), (512, 0)):
        for call in (lambda: audio.stft(noise(8), size, hop), lambda: audio.istft(np.zeros((1, 5, 2)), size, hop)):  # noqa: B023
            with pytest.raises(ValueError, match=f"size is {size} and hop {hop}"):
                call()
    with pytest.raises(undertow.ShapeError, match=r"\(T, 257, 2\)"):
        audio.istft(np.zeros((3, 257)))


def test_spectra_through_a_model(cli, tmp_path):
    g = Graph("louder")
    g.sample_rate = 8000
    x = g.input("mix", (5, 2))
    g.output("louder", g.add("affine", [x], weights={"scale": np.full((5, 2), 1.5), "shift": np.zeros((5, 2))}))
    undertow.Model.from_graph(g).save(tmp_path / "louder.tow")
    x = save(tmp_path / "x.wav", noise(333) / 2)[:, 0]
    model, wav, out = tmp_path / "louder.tow", tmp_path / "x.wav", tmp_path / "y.wav"
    assert cli("run", model, wav, "--stft", "8,4", "-o", out) == (0, "", "")
    y, rate = audio.read(out)
    assert (rate, len(y)) == (8000, 333)
    assert np.abs(y[:, 0] - np.clip(1.5 * x, -1, 32767 / 32768)).max() < 1 / 32768
    assert cli("run", model, wav, "--stft", "8,4", "-o", tmp_path / "y.npy")[0] == 0
    assert np.load(tmp_path / "y.npy").shape == (85, 5, 2)
    failed(cli("run", model, wav, "--stft", "16,8", "-o", out), 2, "(5, 2)", "(9, 2)")
    failed(cli("run", model, wav, "--stft", "8,3", "-o", out), 2, "hop 3")
    failed(cli("run", model, wav, "--stft", "8,4", "--frame", "8"), 2, "--frame")
    failed(cli("run", model, wav, "--stft", "8,4", "--overlap-add", "-o", out), 2, "--overlap-add")
    assert cli("run", model, wav, "--stft", "8")[0] == 2


# -- channels and rates ----------------------------------------------------------------------------------------------


def test_one_channel_of_several(tmp_path):
    x = save(tmp_path / "x.wav", RNG.uniform(-0.5, 0.5, (20, 2)))
    for channel in (0, 1):
        assert np.array_equal(audio.load(tmp_path / "x.wav", 8000, channel), x[:, channel])
    mixed = audio.load(tmp_path / "x.wav", 8000, "mix")
    assert mixed.dtype == np.float32
    assert np.array_equal(mixed, ((x[:, 0].astype(float) + x[:, 1]) / 2).astype(np.float32))
    for channel, words in ((None, "2 channels"), (2, "0 to 1"), ("left", "0 to 1")):
        with pytest.raises(undertow.ShapeError, match=words) as error:
            audio.load(tmp_path / "x.wav", 8000, channel)
        assert "x.wav" in str(error.value)
    mono = save(tmp_path / "mono.wav", x[:, 0])
    assert np.array_equal(audio.load(tmp_path / "mono.wav", 8000), mono[:, 0])


def hide(monkeypatch, *packages):
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("library", ["soxr", "scipy"])
@pytest.mark.parametrize(("rate", "to"), [(48000, 16000), (44100, 16000), (8000, 16000)])
def test_a_tone_stays_that_tone_at_another_rate(library, rate, to, monkeypatch):
    pytest.importorskip(library, reason=f"needs {library}: pip install {library}")
    if library == "scipy":
        hide(monkeypatch, "soxr")
    t, end = np.arange(rate) / rate, np.arange(to) / to
    tones = np.stack([np.sin(2 * np.pi * f * t) for f in (440.0, 1000.0)], axis=1).astype(np.float32)
    got = audio.resample(tones, rate, to)
    assert got.dtype == np.float32
    assert abs(len(got) - to) <= 1
    expected = np.stack([np.sin(2 * np.pi * f * end) for f in (440.0, 1000.0)], axis=1)
    inside = slice(to // 10, -to // 10)  # the ends ring: there is nothing before and after
    assert np.abs(got[inside] - expected[: len(got)][inside]).max() < 2e-3
    assert np.array_equal(audio.resample(tones[:, 0].copy(), rate, to), got[:, 0])


@pytest.mark.parametrize("library", ["soxr", "scipy"])
def test_what_the_lower_rate_cannot_hold_does_not_come_back_as_another_tone(library, monkeypatch):
    pytest.importorskip(library, reason=f"needs {library}: pip install {library}")
    if library == "scipy":
        hide(monkeypatch, "soxr")
    tone = np.sin(2 * np.pi * 11000 * np.arange(48000) / 48000).astype(np.float32)
    assert np.abs(audio.resample(tone, 48000, 16000)[1600:-1600]).max() < 2e-3


def test_without_a_library_the_error_names_the_extra(monkeypatch):
    hide(monkeypatch, "soxr", "scipy", "scipy.signal")
    x = noise(10)
    assert audio.resample(x, 8000, 8000) is x
    with pytest.raises(ImportError, match=r"8000 Hz and 16000 Hz.*undertow\[audio\]"):
        audio.resample(x, 8000, 16000)


def test_a_rate_out_of_all_measure_is_refused():
    for rate, to in ((1, 16000), (16000, 0), (-8000, 8000)):
        with pytest.raises(undertow.UnsupportedError, match=f"from {rate} Hz to {to} Hz"):
            audio.resample(noise(4), rate, to)


# -- the command line ------------------------------------------------------------------------------------------------


def test_frames_with_context_from_a_file(cli, tmp_path):
    model, x = detector(tmp_path), save(tmp_path / "x.wav", noise(333))[:, 0]
    expected, _ = detect(written_out(x, 8, 4, 8, True))
    wav = tmp_path / "x.wav"
    for options in (["--frame", 8, "--context", 4], ["--frame", 8], ["--context", 4]):
        assert cli("run", model, wav, *options, "-o", tmp_path / "y.npy") == (0, "", "")
        assert np.abs(np.load(tmp_path / "y.npy") - expected).max() < FLOAT32_MODEL
    out = cli("run", model, wav, "--frame", 8)[1]
    printed = np.array([[float(v) for v in line.split(",")] for line in out.splitlines()])
    assert np.array_equal(printed.astype(np.float32), np.load(tmp_path / "y.npy"))
    cli("run", model, wav, "--frame", 8, "-o", tmp_path / "y.csv")
    assert (tmp_path / "y.csv").read_text() == out
    cli("run", model, wav, "--hop", 5, "-o", tmp_path / "y.npy")
    assert np.abs(np.load(tmp_path / "y.npy") - detect(written_out(x, 12, 0, 5, True))[0]).max() < FLOAT32_MODEL


def test_sound_comes_out_at_the_rate_of_what_the_model_gives(cli, tmp_path):
    x = save(tmp_path / "x.wav", noise(333))[:, 0]
    Y, _ = detect(written_out(x, 8, 4, 8, True))
    assert cli("run", detector(tmp_path), tmp_path / "x.wav", "--frame", 8, "-o", tmp_path / "y.wav")[0] == 0
    y, rate = audio.read(tmp_path / "y.wav")
    assert rate == 8000
    assert len(y) == 333, "the zeros that fill up the last frame are no sound"
    assert np.abs(y[:, 0] - Y.reshape(-1)[:333]).max() < 1 / 32768
    assert cli("run", detector(tmp_path, 4), tmp_path / "x.wav", "--frame", 8, "-o", tmp_path / "y.wav")[0] == 0
    y, rate = audio.read(tmp_path / "y.wav")
    assert (rate, len(y)) == (4000, 166)
    failed(
        cli("run", detector(tmp_path, 3), tmp_path / "x.wav", "--hop", 7, "-o", tmp_path / "y.wav"), 2,
        "3 numbers for 7 samples", ".npy",
    )  # fmt: skip


def test_blocks_that_overlap_are_joined(cli, tmp_path):
    x = save(tmp_path / "x.wav", noise(100))[:, 0]
    options = ["--frame", 4, "--context", 8, "--overlap-add"]
    assert cli("run", detector(tmp_path), tmp_path / "x.wav", *options, "-o", tmp_path / "y.wav")[0] == 0
    Y, _ = detect(written_out(x, 4, 8, 4, True))
    expected = np.zeros(200)
    for k, row in enumerate(Y):
        expected[4 * k : 4 * k + 8] += row
    y, rate = audio.read(tmp_path / "y.wav")
    assert (rate, len(y)) == (8000, 100)
    assert np.abs(y[:, 0] - expected[:100]).max() < 1 / 32768
    failed(cli("run", detector(tmp_path), tmp_path / "x.wav", *options, "-o", tmp_path / "y.npy"), 2, "--overlap-add")


def test_a_channel_and_a_rate(cli, tmp_path):
    if find_spec("soxr") is None:
        pytest.importorskip("scipy", reason="needs SciPy: pip install scipy")
    model = detector(tmp_path, rate=None)
    x = save(tmp_path / "x.wav", noise(600, 2), 48000)
    wav, out = tmp_path / "x.wav", tmp_path / "y.npy"
    failed(cli("run", model, wav), 3, "2 channels", "--channel mix")
    failed(cli("run", model, wav, "--channel", 2), 3, "x.wav", "0 to 1")
    assert cli("run", model, wav, "--channel", 1, "--rate", 16000, "--frame", 8, "-o", out)[0] == 0
    expected, _ = detect(written_out(audio.resample(x[:, 1].copy(), 48000, 16000), 8, 4, 8, True))
    assert np.abs(np.load(out) - expected).max() < FLOAT32_MODEL
    assert cli("run", model, wav, "--channel", "mix", "--rate", 16000, "--frame", 8, "-o", tmp_path / "y.wav")[0] == 0
    assert audio.read(tmp_path / "y.wav")[1] == 16000


def test_options_that_do_not_fit(cli, tmp_path, monkeypatch):
    model = detector(tmp_path)
    save(tmp_path / "x.wav", noise(40))
    wav = tmp_path / "x.wav"
    failed(cli("run", model, wav, "--frame", 8, "--context", 8), 2, "--frame 8, --context 8", "12 numbers")
    failed(cli("run", model, wav, "--frame", 16), 2, "--frame 16", "12 numbers")
    np.save(tmp_path / "x.npy", noise(3, 12))
    for command in ("run", "trace"):
        failed(cli(command, model, tmp_path / "x.npy", "--hop", 8), 2, "--hop", "no sound file")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    failed(cli("run", model, "--rate", 16000), 2, "--rate", "standard input")
    failed(cli("convert", model, "-o", tmp_path / "y.tow", "--frame", 8), 2, "--frame", "--calibrate")
    assert cli("run", model, wav, "--context", -1)[0] == 2
    assert cli("run", model, wav, "--channel", "left")[0] == 2


def test_trace_and_calibration_cut_sound_too(cli, tmp_path):
    model, x = detector(tmp_path), save(tmp_path / "x.wav", noise(333))[:, 0]
    assert cli("trace", model, tmp_path / "x.wav", "--frame", 8, "-o", tmp_path / "t.npz")[0] == 0
    with np.load(tmp_path / "t.npz") as arrays:
        assert np.abs(arrays["state/rnn.h"] - detect(written_out(x, 8, 4, 8, True))[1]).max() < FLOAT32_MODEL
    options = ["--calibrate", tmp_path / "x.wav", "--frame", 8, "--weights", "int8", "-o", tmp_path / "small.tow"]
    assert cli("convert", model, *options)[0] == 0
    assert undertow.load(tmp_path / "small.tow").graph.nodes[0].precisions


def test_a_bar_says_how_much_faster_than_live(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, now = Terminal(), [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Progress(100, stream=terminal, seconds=1000.0) as progress:
        now[0] += 2
        progress.advance(50)
        assert progress._bar.note == "250x real time"
        progress.advance(50)
    assert "100 frames, 1000.0 s of sound in 2.00 s: 500x real time" in terminal.getvalue()


@pytest.mark.parametrize("n_samples", [333, 8 * 9000])
def test_a_picture_of_input_output_and_state(cli, tmp_path, n_samples, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    import undertow.cli._picture as command

    seen = {}
    plain = command.draw

    def spy(panels, end, xlabel, path):
        seen.update({p.title: p.columns for p in panels}, end=end, xlabel=xlabel)
        return plain(panels, end, xlabel, path)

    def drawn(title, rows):
        """What a panel has of rows that are written out: the least and the largest for each column, of so many."""
        columns = seen[title]
        assert columns.n_frames == len(rows) and len(columns) == -(-len(rows) // columns.every) <= 2400
        assert len(columns) > 1200 or columns.every == 1
        parts = [rows[k * columns.every : (k + 1) * columns.every] for k in range(len(columns))]
        low, high = (np.array([f(part, axis=0) for part in parts]) for f in (np.min, np.max))
        return max(np.abs(columns.low - low).max(), np.abs(columns.high - high).max())

    monkeypatch.setattr(command, "draw", spy)
    model, x = detector(tmp_path), save(tmp_path / "x.wav", noise(n_samples))[:, 0]
    picture, out = tmp_path / "y.png", tmp_path / "y.npy"
    assert cli("run", model, tmp_path / "x.wav", "--frame", 8, "--plot", picture, "-o", out) == (0, "", "")
    assert picture.read_bytes().startswith(b"\x89PNG")
    Y, H = detect(written_out(x, 8, 4, 8, True))
    assert np.abs(np.load(out) - Y).max() < FLOAT32_MODEL
    assert (seen["end"], seen["xlabel"]) == (n_samples / 8000, "seconds")
    assert drawn("input sound", x[:, None]) == 0
    # eight numbers for eight samples: sound
    assert drawn("output y", Y.reshape(-1, 1)[:n_samples]) < FLOAT32_MODEL
    states = seen["rnn.h"]
    assert len(states) == -(-len(H) // states.every) <= 2400 and states.size == 5
    # each is the state behind some frame of its column
    for k in range(len(states)):
        part = H[k * states.every : (k + 1) * states.every]
        for bound in (states.low[k], states.high[k]):
            assert np.abs(part - bound).min(axis=0).max() < FLOAT32_MODEL


def test_sound_takes_no_more_memory_the_longer_it_is(cli, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    import tracemalloc

    import undertow.cli._picture as command

    monkeypatch.setattr(command, "draw", lambda *_: None)
    model, peaks = detector(tmp_path), []
    for n in (80_000, 320_000):  # where there are more frames than columns
        save(tmp_path / "x.wav", noise(n))
        given = ["--frame", 8, "--plot", tmp_path / "y.png", "-o", tmp_path / "y.wav"]
        tracemalloc.start()
        assert cli("run", model, tmp_path / "x.wav", *given) == (0, "", "")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 100_000


def test_a_picture_of_frames(cli, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    model = detector(tmp_path)
    np.save(tmp_path / "x.npy", noise(30, 12))
    code, out, _ = cli("run", model, tmp_path / "x.npy", "--plot", tmp_path / "y.svg")
    assert code == 0
    assert len(out.splitlines()) == 30
    assert "output y" in (tmp_path / "y.svg").read_text() or "<svg" in (tmp_path / "y.svg").read_text()
    failed(cli("run", model, tmp_path / "x.npy", "--plot", tmp_path / "y.doc"), 2, ".png")
    failed(cli("run", model, tmp_path / "x.npy", "--plot", tmp_path / "no" / "y.png"), 2, "no folder")
    np.save(tmp_path / "x.npy", noise(0, 12))
    failed(cli("run", model, tmp_path / "x.npy", "--plot", tmp_path / "y.png"), 3, "nothing to draw")


@pytest.mark.parametrize("n_frames", [0, 1, 2, 3, 300])
def test_outputs_of_a_model_that_looks_ahead_belong_to_its_frames(cli, tmp_path, n_frames, monkeypatch):
    """y_t = x_t - x_(t+2), and zeros after the end."""
    g = Graph("ahead")
    x = g.input("x", (3,))
    both = g.add("window", [x], attrs={"taps": (0, 2)})
    now, then = (g.add("select", [both], weights={"indices": np.arange(3) + 3 * i}) for i in range(2))
    g.output("y", g.add("sub", [now, then]))
    undertow.Model.from_graph(g).save(tmp_path / "ahead.tow")
    X = noise(n_frames, 3)
    expected = X - np.concatenate([X[2:], np.zeros((min(2, n_frames), 3), np.float32)])
    np.save(tmp_path / "x.npy", X)
    assert cli("run", tmp_path / "ahead.tow", tmp_path / "x.npy", "-o", tmp_path / "y.npy") == (0, "", "")
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)
    printed = cli("run", tmp_path / "ahead.tow", tmp_path / "x.npy")[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(" ".join(map(str, row)) + "\n" for row in X)))
    for text in (printed, cli("run", tmp_path / "ahead.tow")[1]):
        rows = [[np.float32(v) for v in line.split(",")] for line in text.splitlines()]
        assert np.array_equal(np.array(rows, np.float32).reshape(-1, 3), expected)


# -- options of ONNX files that every command takes --------------------------------------------------------------------


@pytest.fixture
def exported(tmp_path):
    """y = W (gain x) + V s, sn = tanh of it: one step of an exporter, its gain an input, its sizes open."""
    from onnx_files import model_of, node, onnx, save

    nodes = [
        node("Mul", "x gain", "louder"),
        node("MatMul", "louder W", "Wx"),
        node("MatMul", "s V", "Vs"),
        node("Add", "Wx Vs", "sum"),
        node("Tanh", "sum", "sn"),
        node("Identity", "sum", "y"),
    ]
    weights = {"W": noise(6, 4), "V": noise(4, 4)}
    inputs = {"x": ["n", "size"], "gain": [], "s": [1, 4]}
    model = model_of(nodes, inputs, {"y": [1, 4], "sn": [1, 4]}, weights)
    onnx.checker.check_model(model)
    return save(model, tmp_path, "step.onnx"), *weights.values()


def test_every_command_takes_what_binds_an_onnx_file(cli, tmp_path, exported):
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install onnxruntime")
    path, w, v = exported
    bound = ["--fixed", "gain=2.5", "--shape", "x=1,6", "--states", "s=sn"]
    assert cli("info", path)[0] == 3, "nothing binds its inputs"
    code, out, err = cli("info", path, *bound)
    assert code == 0, err
    assert "input   x  (6,)" in out
    code, out, err = cli("verify", path, *bound)
    assert code == 0, err
    assert "ONNX Runtime" in out
    assert "not used" not in out
    code, out, err = cli("bench", path, *bound, "--seconds", 0.01, "--cold-calls", 0)
    assert code == 0, err
    assert "onnxruntime" in out
    assert cli("convert", path, *bound, "-o", tmp_path / "step.tow")[0] == 0
    X = noise(20, 6)
    np.save(tmp_path / "x.npy", X)
    s, expected = np.zeros(4), []
    for x in X.astype(np.float64):
        y = 2.5 * x @ w + s @ v
        expected.append(y)
        s = np.tanh(y)
    for argv in ((path, *bound), (tmp_path / "step.tow",)):
        assert cli("run", argv[0], tmp_path / "x.npy", *argv[1:], "-o", tmp_path / "y.npy")[0] == 0
        assert np.abs(np.load(tmp_path / "y.npy") - expected).max() < VERIFY_DEFAULT
    np.save(tmp_path / "gain.npy", np.float32(2.5))
    same = ["--fixed", f"gain={tmp_path / 'gain.npy'}", *bound[2:]]
    assert cli("run", path, tmp_path / "x.npy", *same, "-o", tmp_path / "same.npy")[0] == 0
    assert np.array_equal(np.load(tmp_path / "same.npy"), np.load(tmp_path / "y.npy"))


def test_bindings_that_mean_nothing_are_refused(cli, exported, tmp_path):
    path, *_ = exported
    (tmp_path / "empty.npy").write_bytes(b"")
    bound = ["--fixed", "gain=2.5", "--shape", "x=1,6", "--states", "s=sn"]
    for option, value, *words in (
        ("--fixed", "gain", "INPUT=VALUE"),
        ("--fixed", "gain=loud", "'loud'"),
        ("--fixed", f"gain={tmp_path / 'empty.npy'}", "not a readable .npy file"),
        ("--fixed", "gain=[[1],[2,3]]", "gain"),
        ("--fixed", 'gain="2"', "numbers"),
        ("--fixed", "gain=2", "twice"),
        ("--shape", "y=1,x", "'1,x'"),
        ("--shape", "y=0", "'0'"),
        ("--states", "s", "IN=OUT"),
    ):
        failed(cli("info", path, *bound, option, value), 2, option, *words)
    failed(cli("info", path, "--fixed", "volume=2"), 3, "volume")
    failed(cli("info", path, *bound[:4], "--states", "s=z"), 3, "z")
    failed(cli("info", undertow.example("digits"), "--fixed", "x=1"), 2, "--fixed")
    failed(cli("info", "--fixed", "x=1"), 2, "MODEL")


# -- a voice detector on a recording ---------------------------------------------------------------------------------


def test_frames_are_those_of_a_voice_detector(models_dir):
    """Silero's own way of cutting sound: ONNX Runtime on these frames gives the probabilities that came with it."""
    ort = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install onnxruntime")
    folder = models_dir / "stage2" / "silero-vad"
    session = ort.InferenceSession(str(folder / "silero_vad_openvino_16k.onnx"), providers=["CPUExecutionProvider"])
    with np.load(folder / "expected_ort_16k.npz") as data:
        expected = data["prob"]
    speech = audio.load(folder / "test_16k.wav", 16000)
    state = np.zeros((2, 1, 128), np.float32)
    for x, probability in zip(audio.frames(speech, 512, context=64), expected, strict=False):
        y, state = session.run(None, {"input": x[None], "state": state})
        assert abs(y.item() - probability) < 1e-6


@pytest.mark.parametrize("export", ["silero_vad_openvino_16k", "silero_vad", "silero_vad_op18_ifless"])
def test_a_voice_detector_on_a_recording(models_dir, cli, tmp_path, export):
    folder = models_dir / "stage2" / "silero-vad"
    path, wav = folder / f"{export}.onnx", folder / "test_16k.wav"
    with np.load(folder / "expected_ort_16k.npz") as data:
        expected = data["prob"]
    bound = [] if "openvino" in export else ["--fixed", "sr=16000", "--shape", "input=1,576"]
    options = ["--frame", 512, "--rate", 16000, *bound]
    assert cli("run", path, wav, *options, "-o", tmp_path / "y.npy") == (0, "", "")
    got = np.load(tmp_path / "y.npy")
    assert len(got) == 1875
    error = float(np.abs(got[: len(expected), 0] - expected).max())
    print(f"{export}: largest error {error:.3g}")
    assert error < VERIFY_DEFAULT


def test_spectra_are_those_of_a_denoiser(models_dir):
    """But for its first frame: where there is zero before the sound here, it hears the sound mirrored."""
    folder = models_dir / "stage2" / "gtcrn"
    with np.load(folder / "expected_ort_simple.npz") as data:
        expected = data["spec_in"].transpose(1, 0, 2)
    got = audio.stft(audio.load(folder / "mix.wav", 16000))[: len(expected)]
    assert np.abs(got[1:] - expected[1:]).max() < 1e-5


def test_a_denoiser_on_a_recording(models_dir):
    """From sound to sound, against what the project's own streaming code made of it, a WAV of 16 bits: ONNX Runtime
    differs from that by 6.4e-4. Its code mirrors the sound before its beginning, where `stft` has zeros."""
    folder = models_dir / "stage2" / "gtcrn"
    model = undertow.load(folder / "gtcrn_simple.onnx")
    mixed, expected = audio.load(folder / "mix.wav", 16000), audio.load(folder / "enh_stream.wav", 16000)
    blocks = audio.frames(np.concatenate([mixed[256:0:-1], mixed]), 512, hop=256, pad=False)
    spectra = np.fft.rfft(blocks * audio.window(512))
    X = np.stack([spectra.real, spectra.imag], axis=-1).astype(np.float32)
    got = audio.istft(np.array(list(map(model.stream().step, X))), 512, 256)
    error = float(np.abs(got - expected[: len(got)]).max())
    print(f"gtcrn_simple, sound to sound: largest error {error:.3g}")
    assert len(got) > 150_000
    assert error < 7e-4
