# SPDX-License-Identifier: MIT
"""Sound that nobody said how to hear: rates that models state, frames that are no samples, files of all kinds."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import undertow
from sounds import detect, detector, failed, noise, save, written_out
from test_import_nam import as_file, capture
from tolerances import FLOAT32_MODEL
from undertow import audio
from undertow.audio.writing import FORMATS
from undertow.compile import compile_graph
from undertow.importers._rates import bound_rate, stated_rate, whole_rate
from undertow.ir.graph import Graph

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

needs_soundfile = pytest.mark.skipif(find_spec("soundfile") is None, reason="needs soundfile: pip install soundfile")
needs_soxr = pytest.mark.skipif(find_spec("soxr") is None, reason="needs soxr: pip install soxr")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install onnx")


def mirror(folder, shape, name="mirror", rate=8000):
    """A model that gives its frames back."""
    g = Graph(name)
    x = g.input("x", shape)
    g.output("y", g.add("affine", [x], weights={"scale": np.ones(shape), "shift": np.zeros(shape)}))
    g.sample_rate = rate
    undertow.Model.from_graph(g).save(folder / f"{name}.tow")
    return folder / f"{name}.tow"


def model_of(inputs, outputs, nodes, constants, notes=()):
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for key, value in notes:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model


def scaled(rate_name="sr", notes=()):
    """y = x * rate / 16000, of frames (time, 4)."""
    node = onnx.helper.make_node
    return model_of(
        [("x", onnx.TensorProto.FLOAT, ["time", 4]), (rate_name, onnx.TensorProto.INT64, [])],
        [("y", ["time", 4])],
        [
            node("Cast", [rate_name], ["hz"], to=onnx.TensorProto.FLOAT),
            node("Div", ["hz", "full"], ["gain"]),
            node("Mul", ["x", "gain"], ["scaled"]),
            node("Transpose", ["scaled"], ["y"], perm=[0, 1]),
        ],
        {"full": np.float32(16000)},
        notes,
    )


def opened():
    """A step of a detector whose frames have any size: h from the mean of (1, n), mirrored by 2 at the end."""
    node = onnx.helper.make_node
    return model_of(
        [("input", onnx.TensorProto.FLOAT, [1, "n"]), ("h_in", onnx.TensorProto.FLOAT, [1, 4])],
        [("prob", [1, 4]), ("h_out", [1, 4])],
        [
            node("Pad", ["input", "pads"], ["padded"], mode="reflect"),
            node("ReduceMean", ["padded"], ["mean"], axes=[1], keepdims=1),
            node("MatMul", ["mean", "W"], ["heard"]),
            node("MatMul", ["h_in", "R"], ["kept"]),
            node("Add", ["heard", "kept"], ["sum"]),
            node("Tanh", ["sum"], ["h_out"]),
            node("Sigmoid", ["h_out"], ["prob"]),
        ],
        {"pads": np.int64([0, 0, 0, 2]), "W": noise(1, 4) * 5, "R": noise(4, 4)},
        [("sample_rate", "8000")],
    )


# -- rates -----------------------------------------------------------------------------------------------------------


def test_names_and_numbers_that_are_rates():
    names = "sr fs rate sample_rate sampling_rate samplerate sampleRate SampleRate audio_sr sr_hz sr:0 input_sr"
    for name in names.split():
        assert bound_rate(name, np.array([16000])) == 16000, name
    for name in [
        "steps",
        "srf",
        "offset",
        "rate_of_speech",
        "bit_rate",
        "learning_rate",
        "frame_rate",
        "iterate",
        "src",
        "frames",
        "hz_per_bin",
    ]:
        assert bound_rate(name, 16000) is None, name
    for value in (1, 0, -16000, 16000.5, [16000, 8000], np.nan, True, 1e12):
        assert bound_rate("sr", value) is None, value
    assert whole_rate(44100.0) == 44100 and whole_rate(44100.5) is None and whole_rate("44100") is None
    assert stated_rate([("sample_rate", "16000"), ("n_fft", "512")]) == 16000
    assert stated_rate([("sample_rate", "16000"), ("sr", "8000")]) is None
    assert stated_rate([("sample_rate", "fast"), ("model", "16000")]) is None


def test_what_states_a_rate(tmp_path):
    path = tmp_path / "x.onnx"
    for name in ("sr", "sampling_rate"):
        onnx.save(scaled(name), path)
        assert undertow.load(path, fixed={name: 8000}).sample_rate == 8000
    onnx.save(scaled("n"), path)
    assert undertow.load(path, fixed={"n": 8000}).sample_rate is None
    onnx.save(scaled("sr", [("sample_rate", "48000")]), path)
    assert undertow.load(path, fixed={"sr": 16000}).sample_rate == 16000, "what is bound goes first"
    onnx.save(scaled("n", [("sample_rate", "48000")]), path)
    assert undertow.load(path, fixed={"n": 16000}).sample_rate == 48000
    for rate, expected in ((48000, 48000), (44100.0, 44100), (None, None), (-1, None), (22050.5, None)):
        (tmp_path / "a.nam").write_text(json.dumps(as_file(*capture(np.random.default_rng(0)), sample_rate=rate)))
        assert undertow.load(tmp_path / "a.nam").sample_rate == expected
    layers = [{"type": "dense", "shape": [None, None, 1], "activation": "", "weights": [[[0.5]], [0.0]]}]
    for place in ({"samplerate": 44100}, {"metadata": {"samplerate": 44100}}):
        (tmp_path / "a.json").write_text(json.dumps({"in_shape": [None, None, 1], "layers": layers, **place}))
        assert undertow.load(tmp_path / "a.json").sample_rate == 44100


def test_the_file_of_before_says_none_and_the_new_one_does(tmp_path):
    g = Graph("g")
    g.output("y", g.add("activation", [g.input("x", 2)], attrs={"activation": undertow.Activation("tanh")}))
    old = compile_graph(g)
    g.sample_rate = 16000
    new = compile_graph(g)
    assert (old[8], new[8]) == (1, 3)
    assert {i for i in range(len(old)) if old[i] != new[i]} <= {8, *range(28, 32), *range(48, 60)}
    model = undertow.Model(new)
    assert (model.sample_rate, model.graph.sample_rate, model.with_weights("int8").sample_rate) == (16000,) * 3
    assert undertow.Model(old).sample_rate is None and model.hash == undertow.Model(old).hash
    assert "16,000 Hz" in str(model) and compile_graph(model.graph) == new
    for wrong in (0, -1, 1 << 32):
        g.sample_rate = wrong
        with pytest.raises(undertow.ShapeError, match=f"sample_rate is {wrong}, expected 1 to 4,294,967,295 Hz"):
            compile_graph(g)


@needs_soxr
def test_sound_at_another_rate_is_resampled_and_said(cli, tmp_path):
    model, wav, out = mirror(tmp_path, (4,), rate=16000), tmp_path / "x.wav", tmp_path / "y.npy"
    x = save(wav, noise(4410), 44100)[:, 0]
    code, said, err = cli("run", model, wav, "--frame", 4, "-o", out)
    assert (code, said) == (0, "")
    assert "x.wav: resampled from 44100 Hz to 16000 Hz" in err and len(err.splitlines()) == 1
    assert np.array_equal(np.load(out), audio.frames(audio.resample(x, 44100, 16000), 4))
    assert cli("run", model, wav, "--frame", 4, "-o", tmp_path / "y.wav")[0] == 0
    assert audio.read(tmp_path / "y.wav")[1] == 16000
    failed(cli("run", model, wav, "--frame", 4, "--rate", 44100, "-o", out), 2, "16000 Hz", "leave --rate out")
    save(wav, noise(40), 16000)
    for options in ([], ["--rate", 16000]):
        assert cli("run", model, wav, "--frame", 4, *options, "-o", out) == (0, "", "")
    onnx.save(scaled(), tmp_path / "sr.onnx")
    save(wav, noise(4410, 2), 44100)
    bound = ["--fixed", "sr=8000", "--frame", 4, "--channel", 1]
    assert "from 44100 Hz to 8000 Hz" in cli("run", tmp_path / "sr.onnx", wav, *bound, "-o", out)[2]
    assert len(np.load(out)) == 200
    assert "from 44100 Hz" in cli("trace", tmp_path / "sr.onnx", wav, *bound)[2]
    assert cli("convert", tmp_path / "sr.onnx", "--fixed", "sr=8000", "-o", tmp_path / "sr.tow")[0] == 0
    assert "from 44100 Hz to 8000 Hz" in cli("run", tmp_path / "sr.tow", wav, *bound[2:], "-o", out)[2]


def test_without_a_resampler_another_rate_is_refused(cli, tmp_path, monkeypatch):
    for name in ("soxr", "scipy.signal"):
        monkeypatch.setitem(sys.modules, name, None)
    save(tmp_path / "x.wav", noise(40), 44100)
    failed(cli("run", mirror(tmp_path, (4,), rate=16000), tmp_path / "x.wav", "--frame", 4), 3, "44100 Hz", "soxr")


def test_a_rate_that_nothing_states_is_told_once(cli, tmp_path):
    wav, out = tmp_path / "x.wav", tmp_path / "y.npy"
    save(wav, noise(40), 22050)
    unknown, known = mirror(tmp_path, (4,), rate=None), mirror(tmp_path, (4,), "known", 22050)
    code, _, err = cli("run", unknown, wav, "--frame", 4, "-o", out)
    assert code == 0 and len(err.splitlines()) == 1
    assert "x.wav: heard at its 22050 Hz" in err and "--rate HZ" in err
    assert "heard at its 22050 Hz" in cli("trace", unknown, wav, "--frame", 4)[2]
    assert cli("run", unknown, wav, "--frame", 4, "--rate", 22050, "-o", out) == (0, "", "")
    assert cli("run", known, wav, "--frame", 4, "-o", out) == (0, "", "")
    np.save(tmp_path / "x.npy", noise(3, 4))
    assert cli("run", unknown, tmp_path / "x.npy", "-o", out) == (0, "", "")


# -- frames that are no samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((257, 2), "--stft 512,256, or another hop"),
        ((1, 257, 1, 2), "--stft 512,256, or another hop"),
        ((5, 2), "--stft 8,4"),
        ((1, 161, 2), "--stft 320,160"),
        ((2, 257), "no row of samples"),
        ((3, 4), "no row of samples"),
        ((1, 2, 257), "no row of samples"),
        ((257,), "as magnitudes of spectra of 512 samples"),
        ((1, 129), "as magnitudes of spectra of 256 samples"),
    ],
)
def test_frames_that_look_like_spectra_are_refused(cli, tmp_path, shape, says):
    x = save(tmp_path / "x.wav", noise(1999))[:, 0]
    model, out, n = mirror(tmp_path, shape), tmp_path / "y.npy", int(np.prod(shape))
    for command in ("run", "trace"):
        failed(cli(command, model, tmp_path / "x.wav"), 2, "x.wav", str(shape), says, f"--frame {n}")
    assert not out.exists()
    assert cli("run", model, tmp_path / "x.wav", "--frame", n, "-o", out) == (0, "", "")
    assert np.array_equal(np.load(out).reshape(-1, n), audio.frames(x, n))


def test_other_frames_of_several_numbers_are_warned_of(cli, tmp_path):
    save(tmp_path / "x.wav", noise(1999))
    for shape in ((40,), (1, 512), (3, 1)):
        code, _, err = cli("run", mirror(tmp_path, shape), tmp_path / "x.wav", "-o", tmp_path / "y.npy")
        assert code == 0 and f"say --frame {max(shape)} if that is right" in err and "mel bands" in err
    assert cli("run", mirror(tmp_path, (1,)), tmp_path / "x.wav", "-o", tmp_path / "y.npy") == (0, "", "")
    save(tmp_path / "x.wav", noise(90, 3))
    assert cli("run", mirror(tmp_path, (3,)), tmp_path / "x.wav", "-o", tmp_path / "y.npy") == (0, "", "")


def test_frames_of_timesteps_are_samples(cli, tmp_path):
    g = Graph("strided")
    g.sample_rate = 8000
    g.output("y", g.add("reshape", [g.input("x", (4, 1))], attrs={"shape": (4,)}))
    g.frames_in = 4
    undertow.Model.from_graph(g).save(tmp_path / "s.tow")
    save(tmp_path / "x.wav", noise(80))
    assert cli("run", tmp_path / "s.tow", tmp_path / "x.wav", "-o", tmp_path / "y.npy") == (0, "", "")


def test_stft_auto(cli, tmp_path):
    save(tmp_path / "x.wav", noise(333))
    given = [mirror(tmp_path, (1, 5, 1, 2)), tmp_path / "x.wav"]
    code, _, err = cli("run", *given, "--stft", "auto", "-o", tmp_path / "a.npy")
    assert code == 0 and "--stft 8,4" in err and "another hop" in err
    assert cli("run", *given, "--stft", "8,4", "-o", tmp_path / "b.npy") == (0, "", "")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    failed(cli("run", mirror(tmp_path, (12,)), tmp_path / "x.wav", "--stft", "auto"), 2, "(12,)", "(SIZE / 2 + 1, 2)")


def several(folder, n_in, n_out, name="several", rate=8000):
    """A model of n_in numbers a frame to n_out: sums of them, times 1, 2 ..."""
    g = Graph(name)
    x = g.input("x", (n_in,))
    W = np.arange(1, n_out + 1, dtype=np.float32)[:, None] / n_out * np.ones((1, n_in), np.float32)
    g.output("y", g.add("dense", [x], weights={"W": W}))
    g.sample_rate = rate
    undertow.Model.from_graph(g).save(folder / f"{name}.tow")
    return folder / f"{name}.tow"


@pytest.mark.parametrize("n_out", [1, 2, 3])
def test_channels_come_out_as_channels(cli, tmp_path, n_out):
    x = save(tmp_path / "x.wav", noise(90, 2) / 4)
    assert cli("run", several(tmp_path, 2, n_out), tmp_path / "x.wav", "-o", tmp_path / "y.wav") == (0, "", "")
    y, rate = audio.read(tmp_path / "y.wav")
    assert (rate, y.shape) == (8000, (90, n_out))
    assert np.abs(y - x.sum(1, keepdims=True) * np.arange(1, n_out + 1) / n_out).max() < 1 / 32768


@pytest.mark.parametrize(
    ("n_in", "n_out", "options", "words"),
    [
        (1, 2, [], ("channels or a higher rate",)),
        (4, 4, ["--frame", 2], ("frames overlap", "--overlap-add")),
        (4, 4, ["--frame", 4, "--hop", 2], ("frames overlap",)),
        (4, 4, ["--frame", 4, "--hop", 8], ("of which it hears 4", "gaps")),
        (4, 1, ["--frame", 4, "--overlap-add"], ("--overlap-add", "1 numbers", "4 samples apart")),
        (4, 4, ["--frame", 4, "--hop", 8, "--overlap-add"], ("4 numbers", "8 samples apart")),
    ],
)
def test_outputs_that_are_no_sound(cli, tmp_path, n_in, n_out, options, words):
    save(tmp_path / "x.wav", noise(90))
    model, out = several(tmp_path, n_in, n_out), tmp_path / "y.wav"
    failed(cli("run", model, tmp_path / "x.wav", *options, "-o", out), 2, *words)
    assert not out.exists()
    if "--overlap-add" not in options:
        assert cli("run", model, tmp_path / "x.wav", *options, "-o", tmp_path / "y.npy") == (0, "", "")


def test_a_frame_that_leaves_spectra_half_old(cli, tmp_path):
    save(tmp_path / "x.wav", noise(1999))
    for shape, frame in (((257, 2), 257), ((129,), 128), ((2, 6), 6)):
        failed(cli("run", mirror(tmp_path, shape), tmp_path / "x.wav", "--frame", frame), 2, str(shape))
        n = int(np.prod(shape))
        given = ["--frame", frame, "--context", n - frame, "-o", tmp_path / "y.npy"]
        assert cli("run", mirror(tmp_path, shape), tmp_path / "x.wav", *given) == (0, "", "")


def test_an_empty_sound_of_spectra(cli, tmp_path):
    save(tmp_path / "x.wav", noise(0))
    given = [mirror(tmp_path, (5, 2)), tmp_path / "x.wav", "--stft", "8,4", "-o", tmp_path / "y.wav"]
    assert cli("run", *given) == (0, "", "") and len(audio.read(tmp_path / "y.wav")[0]) == 0


def test_options_that_are_none(cli, tmp_path):
    save(tmp_path / "x.wav", noise(9))
    for option, value, word in (
        ("--stft", "512", "SIZE,HOP"), ("--stft", "a,b", "no whole number"), ("--channel", "left", "no channel"),
        ("--rate", "fast", "no whole number"), ("--frame", "x", "no whole number"),
    ):  # fmt: skip
        code, _, err = cli("run", mirror(tmp_path, (1,)), tmp_path / "x.wav", option, value)
        assert code == 2 and word in err and "_" not in err.rpartition("error:")[2], err


@pytest.mark.parametrize("value", [16000.5, "16000", [16000.5], 2**70, np.nan])
def test_a_bound_rate_that_its_input_does_not_hold(tmp_path, value):
    onnx.save(scaled(), tmp_path / "x.onnx")
    with pytest.raises(undertow.UnsupportedError, match="fixed: 'sr' is"):
        undertow.load(tmp_path / "x.onnx", fixed={"sr": value})
    assert undertow.load(tmp_path / "x.onnx", fixed={"sr": 16000.0}).sample_rate == 16000


# -- sizes that a file leaves open -----------------------------------------------------------------------------------


def test_frame_and_context_tell_a_size(cli, tmp_path):
    model, wav, out = tmp_path / "open.onnx", tmp_path / "x.wav", tmp_path / "y.npz"
    onnx.save(opened(), model)
    save(wav, noise(96))
    with pytest.raises(undertow.UnsupportedError) as refused:
        undertow.load(model)
    (options,) = refused.value.options
    assert list(options) == ["shapes"] and options["shapes"]["input"][0] == 1
    assert isinstance(options["shapes"]["input"][1], str), "a number of the user's"
    failed(cli("run", model, wav, "-o", out), 3, "--shape input=1,", "or with --frame and --context")
    failed(cli("run", model, wav, "--frame", 8, "-o", out), 3, "or with --frame and --context", "--context is missing")
    failed(cli("run", model, wav, "--context", 4, "-o", out), 3, "or with --frame and --context", "--frame is missing")
    code, _, err = cli("run", model, wav, "--frame", 8, "--context", 4, "-o", out)
    assert code == 0 and err.strip().endswith("--shape input=1,12, as --frame 8 and --context 4 tell")
    told = np.load(out)["prob"]
    assert cli("run", model, wav, "--frame", 8, "--context", 4, "--shape", "input=1,12", "-o", out) == (0, "", "")
    assert np.array_equal(told, np.load(out)["prob"]) and told.shape == (12, 4)
    assert cli("trace", model, wav, "--frame", 8, "--context", 4)[0] == 0
    code, _, err = cli("run", model, wav, "--frame", 1, "--context", 1, "-o", out)
    assert code == 2 and "--frame 1 and --context 1 make it --shape input=1,2: " in err and "Pad" in err


# -- files that soundfile reads --------------------------------------------------------------------------------------


@needs_soundfile
@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_telephone_wavs(tmp_path, subtype, monkeypatch):
    import soundfile

    x = (np.sin(np.arange(8000) / 9) * 0.3).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", x, 8000, subtype=subtype)
    samples, rate = audio.read(tmp_path / "x.wav")
    expected, _ = soundfile.read(tmp_path / "x.wav", dtype="float32", always_2d=True)
    assert rate == 8000 and np.array_equal(samples, expected)
    assert np.corrcoef(samples[400:8000, 0], x[400:])[0, 1] > 0.9
    monkeypatch.setitem(sys.modules, "soundfile", None)
    if subtype in ("ULAW", "ALAW"):
        assert np.array_equal(audio.read(tmp_path / "x.wav")[0], expected), "a table of 256 values needs no package"
        return
    with pytest.raises(undertow.UnsupportedError, match=r'WAV encoding .*pip install "undertow\[audio\]"'):
        audio.read(tmp_path / "x.wav")


@needs_soundfile
@pytest.mark.parametrize("suffix", ["w64", "rf64", "flac", "aiff", "au", "caf", "ogg"])
def test_other_files_on_the_command_line(cli, tmp_path, suffix):
    import soundfile

    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, noise(333), 8000, format=suffix.upper())
    x, rate = audio.read(path)
    assert rate == 8000 and len(x) == 333
    assert cli("run", detector(tmp_path), path, "--frame", 8, "-o", tmp_path / "y.npy") == (0, "", "")
    assert np.abs(np.load(tmp_path / "y.npy") - detect(written_out(x[:, 0], 8, 4, 8, True))[0]).max() < FLOAT32_MODEL


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@needs_soundfile
def test_an_empty_sound_is_read_back_or_refused(tmp_path, suffix):
    path = tmp_path / f"empty{suffix}"
    try:
        audio.write(path, np.zeros((0, 2), np.float32), 16000)
    except undertow.UnsupportedError as error:
        assert f"there are no samples, and no {suffix} is empty; write a .wav" in str(error)
        assert not list(tmp_path.iterdir())
        return
    samples, rate = audio.read(path)
    assert samples.shape == (0, 2) and rate == 16000


def test_what_nobody_reads_says_so(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"neither RIFF nor anything else" * 10)
    with pytest.raises(undertow.FormatError, match=r"x\.wav: not a WAV file"):
        audio.read(tmp_path / "x.wav")


# -- pictures --------------------------------------------------------------------------------------------------------


def test_a_notebook_shows_a_trace():
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    trace = undertow.load(undertow.example("digits")).stream().trace(np.ones((8, 8), np.float32))
    picture = trace.plot()._repr_png_()
    assert picture.startswith(b"\x89PNG\r\n") and len(picture) > 5000
