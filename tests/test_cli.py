# SPDX-License-Identifier: MIT
"""The command line: what it prints, what it writes, and how it fails."""

import io
import json
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import undertow
from tolerances import VERIFY_DEFAULT
from undertow import audio, reference
from undertow.inspect.describe import human_bytes
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

RNG = np.random.default_rng(5)


def draw(*shape):
    return RNG.normal(size=shape, scale=0.5)


def memory(n_in=2, n_hidden=3, n_out=2, **attrs):
    """A GRU and a dense layer; `attrs` of the GRU."""
    g = Graph("memory")
    x, h = g.input("x", (n_in,)), g.state("gru.h", (n_hidden,))
    weights = {"W": draw(3, n_hidden, n_in), "R": draw(3, n_hidden, n_hidden), "b": draw(3, n_hidden)}
    y = g.add("gru", [x], name="gru", weights=weights, attrs=attrs, states=[h])
    g.output("y", g.add("dense", [y], name="head", weights={"W": draw(n_out, n_hidden), "b": draw(n_out)}))
    return g


def saved(graph, folder, name="model.tow"):
    path = folder / name
    undertow.Model.from_graph(graph).save(path)
    return str(path)


@pytest.fixture
def model(tmp_path):
    return saved(memory(), tmp_path)


def failed(result, code, *words):
    """The command ended with this code and one line of error that has all the words."""
    got, _, err = result
    assert got == code, err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("undertow: error: "), err
    for word in words:
        assert word in lines[0], f"{word!r} is not in: {err}"


# -- usage -----------------------------------------------------------------------------------------------------------


def test_help_of_every_command_has_examples(cli):
    assert cli("--help")[0] == 0
    for command in (
        "info", "run", "verify", "convert", "export", "bench", "trace", "compare", "certify", "doctor", "completion",
    ):  # fmt: skip
        code, out, _ = cli(command, "--help")
        assert code == 0
        assert "examples:" in out
        assert f"undertow {command}" in out


def test_wrong_usage_is_2(cli, model):
    assert cli()[0] == 2
    assert cli("dance")[0] == 2
    assert cli("verify", model, "--frames", "0")[0] == 2
    failed(cli("info", "--isa", "scalar"), 2, "MODEL")
    failed(cli("info", model, "--option", "oops"), 2, "NAME=VALUE")
    failed(cli("info", model, "--isa", "sse9"), 2, "sse9")
    failed(cli("info", model, "--option", "steps=1"), 2, "steps")
    failed(cli("run", model, "input.doc"), 2, "input.doc")


def test_version(cli):
    assert cli("--version")[:2] == (0, f"undertow {undertow.__version__}\n")


def test_unusable_file_is_3(cli, tmp_path, model):
    failed(cli("info", tmp_path / "none.onnx"), 3, "none.onnx", "no such file")
    broken = tmp_path / "broken.tow"
    broken.write_bytes(Path(model).read_bytes()[:-7])
    failed(cli("info", broken), 3, "broken.tow")


def test_debug_shows_the_traceback(cli):
    for argv in (["--debug", "info", "none.tow"], ["info", "none.tow", "--debug"]):
        code, _, err = cli(*argv)
        assert code == 3 and err.startswith("Traceback") and "FileNotFoundError" in err.splitlines()[-1]


def test_module_runs_as_a_program(model):
    done = subprocess.run([sys.executable, "-m", "undertow", "info", model], capture_output=True, text=True, check=True)
    assert "gru" in done.stdout


# -- info ------------------------------------------------------------------------------------------------------------


def test_info_tells_every_variant(cli, tmp_path):
    g = Graph("variants")
    x = g.input("x", (2,))
    lstm = {"W": draw(4, 3, 2), "R": draw(4, 3, 2), "peephole": draw(3, 3), "projection": draw(2, 3)}
    attrs = {
        "activations": tuple(Activation(k) for k in ("hard_sigmoid", "relu", "tanh")),
        "clip": 3,
        "input_forget": 1,
    }
    states = [g.state("cell.h", (2,)), g.state("cell.c", (3,))]
    h, _ = g.add("lstm", [x], name="cell", weights=lstm, attrs=attrs, states=states)
    state = [g.state("gru.h", (3,), [1, 2, 3])]
    weights = {"W": draw(3, 3, 2), "R": draw(3, 3, 3), "b": draw(3, 3), "rb_n": draw(3)}
    y = g.add("gru", [h], name="gru", weights=weights, attrs={"reset_after": True}, states=state)
    g.output("y", g.add("dense", [y], weights={"W": draw(1, 3)}, attrs={"activation": Activation("leaky_relu", 0.3)}))
    code, out, _ = cli("info", saved(g, tmp_path))
    assert code == 0
    for words in (
        "hard_sigmoid relu tanh", "no bias", "peephole", "projection to 2", "input_forget", "clip 3",
        "reset after, sigmoid tanh", "leaky_relu, 0.3", "gru.h (3,) starts from the model", "scratch",
        "streams     yes", f"{g.n_parameters:,}",
    ):  # fmt: skip
        assert words in out, f"{words!r} is not in:\n{out}"


def test_info_json(cli, model):
    facts = json.loads(cli("info", model, "--json")[1])
    assert facts["inputs"] == [{"name": "x", "shape": [2], "dtype": "float32"}]
    assert facts["state_bytes"] >= 12
    assert facts["state"][0]["name"] == "gru.h"
    assert facts["streamable"] is True
    assert facts["isa"] in undertow.isas()


def test_info_forces_the_isa(cli, model):
    assert json.loads(cli("info", model, "--isa", "scalar", "--json")[1])["isa"] == "scalar"


def test_info_says_why_a_model_does_not_stream(cli, tmp_path):
    out = cli("info", saved(memory(reverse=True), tmp_path))[1]
    assert "no: gru 'gru': it runs backwards" in out


def test_info_warns_about_weights_that_are_not_numbers(cli, tmp_path):
    g = memory()
    g.nodes[0].weights["W"][0, 0, 1] = np.nan
    g.nodes[1].weights["b"][0] = np.inf
    code, _, err = cli("info", saved(g, tmp_path))
    assert code == 0
    assert "1 of 18 numbers of W are NaN" in err
    assert "1 of 2 numbers of b are infinite" in err


def test_info_of_the_machine(cli):
    facts = json.loads(cli("info", "--json")[1])
    assert facts["isas"][facts["picked"]] is True
    out = cli("info")[1]
    assert "scalar" in out
    assert "<-- picked" in out


# -- run -------------------------------------------------------------------------------------------------------------


def expected(path, X):
    return reference.run(undertow.load(path).graph, X)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_run_reads_and_writes_files(cli, tmp_path, model, suffix):
    X = draw(700, 2).astype(np.float32)
    np.save(tmp_path / "x.npy", X.astype(np.float64))  # a file may be of any real dtype
    np.savez(tmp_path / "x.npz", x=X, other=X[:3])
    (tmp_path / "x.csv").write_text("left,right\n" + "".join(f"{a!s},{b!s}\n" for a, b in X))
    out = tmp_path / ("y" + suffix)
    assert cli("run", model, tmp_path / ("x" + suffix), "-o", out) == (0, "", "")
    if suffix == ".npz":
        with np.load(out) as arrays:
            Y = arrays["y"]
    else:
        Y = np.load(out) if suffix == ".npy" else np.loadtxt(out, delimiter=",")
    assert np.abs(Y - expected(model, X)).max() < VERIFY_DEFAULT


def test_run_prints_lines_without_an_output(cli, tmp_path, model):
    X = draw(5, 2).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    code, out, _ = cli("run", model, tmp_path / "x.npy")
    assert code == 0
    Y = np.array([[float(v) for v in line.split(",")] for line in out.splitlines()])
    assert np.abs(Y - expected(model, X)).max() < VERIFY_DEFAULT
    assert np.array_equal(Y.astype(np.float32), undertow.load(model).run(X)), "a line must give the very float32"


def test_run_answers_each_line_at_once(model):
    """Write a line, read its answer, and only then write the next: a pipe between two machines."""
    with subprocess.Popen(
        [sys.executable, "-m", "undertow", "run", model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in ("0.5 -0.5", "0.5, 1e-3  # a comment"):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert len(process.stdout.readline().split(",")) == 2
        process.stdin.close()
        assert process.wait(20) == 0


def test_run_waits_for_the_whole_sequence_where_it_must(cli, tmp_path, monkeypatch):
    path = saved(memory(reverse=True), tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("1 2\n\n3 4\n5 6\n"))
    code, out, _ = cli("run", path)
    assert code == 0
    assert len(out.splitlines()) == 3


def test_run_with_several_inputs_and_outputs(cli, tmp_path, monkeypatch):
    g = Graph()
    x, i = g.input("x", (2,)), g.input("i", (), "int32")
    e = g.add("embedding", [i], weights={"table": np.arange(8.0).reshape(4, 2)})
    g.output("sum", g.add("add", [x, e]))
    g.output("difference", g.add("sub", [x, e]))
    path = saved(g, tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("x0,x1,id\n1,2,3\n"))
    assert cli("run", path)[1] == "7.0,9.0,-5.0,-5.0\n"
    np.savez(tmp_path / "x.npz", x=np.ones((2, 2)), i=np.array([0, 1]))
    assert cli("run", path, tmp_path / "x.npz", "-o", tmp_path / "y.npz")[0] == 0
    with np.load(tmp_path / "y.npz") as arrays:
        assert np.array_equal(arrays["sum"], [[1, 2], [3, 4]])
    failed(cli("run", path, tmp_path / "x.npz", "-o", tmp_path / "y.npy"), 2, "y.npy", "2 outputs")
    monkeypatch.setattr("sys.stdin", io.StringIO("1,2,2.5\n"))
    failed(cli("run", path), 3, "line 1", "whole numbers")
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    failed(cli("run", path, tmp_path / "x.npy"), 3, "x.npy", ".npz")


def test_run_empty_input(cli, tmp_path, model, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli("run", model) == (0, "", "")
    np.save(tmp_path / "x.npy", np.zeros((0, 2), np.float32))
    assert cli("run", model, tmp_path / "x.npy", "-o", tmp_path / "y.npy")[0] == 0
    assert np.load(tmp_path / "y.npy").shape == (0, 2)


def test_run_refuses_input_that_does_not_fit(cli, tmp_path, model, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((2, 9)))
    failed(cli("run", model, tmp_path / "x.npy"), 3, "x.npy", "(2, 9)", "(T, 2)")
    np.save(tmp_path / "x.npy", np.array(["a"]))
    failed(cli("run", model, tmp_path / "x.npy"), 3, "real numbers")
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    failed(cli("run", model, tmp_path / "x.npy"), 3, "x.npy")
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 but not really")
    failed(cli("run", model, tmp_path / "x.npz"), 3, "x.npz")
    for text, *words in (("1 2\n3\n", "line 2", "1 numbers", "2 (x)"), ("1 2\n3 four\n", "line 2", "'four'")):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        code, _, err = cli("run", model)
        assert code == 3
        assert all(word in err for word in words), err
    failed(cli("run", model, tmp_path / "none.npy"), 3, "none.npy")
    failed(cli("run", model, "-o", tmp_path / "no" / "y.npy"), 2, "no folder")
    failed(cli("run", model, "-o", tmp_path / "y.wav"), 2, "sound")


# -- sound -----------------------------------------------------------------------------------------------------------


def amp(folder):
    g = Graph("amp")
    x, h = g.input("x", (1,)), g.state("rnn.h", (1,))
    weights = {"W": np.full((1, 1, 1), 0.5), "R": np.zeros((1, 1, 1))}
    linear = {"activations": (Activation("identity"),)}
    g.output("y", g.add("rnn", [x], name="rnn", weights=weights, attrs=linear, states=[h]))
    return saved(g, folder, "amp.tow")


def pcm(path, values, bits, rate=8000, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        whole = [round(v * 2 ** (bits - 1)) + (128 if bits == 8 else 0) for v in values]
        file.writeframes(b"".join(v.to_bytes(bits // 8, "little", signed=bits != 8) for v in whole))
    return path


VALUES = [0.0, 0.25, -0.5, -1.0]


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_pcm_of_every_size(tmp_path, bits):
    samples, rate = audio.read(pcm(tmp_path / "x.wav", VALUES, bits))
    assert rate == 8000
    assert samples.dtype == np.float32
    assert samples[:, 0].tolist() == VALUES


def test_wav_channels_and_extensible_and_float(tmp_path):
    samples, _ = audio.read(pcm(tmp_path / "x.wav", VALUES, 16, channels=2))
    assert samples.tolist() == [[0.0, 0.25], [-0.5, -1.0]]
    data = np.array(VALUES, "<f4").tobytes()
    for code, extra in ((3, b""), (0xFFFE, struct.pack("<HHIH14x", 22, 32, 0, 3))):
        header = struct.pack("<HHIIHH", code, 1, 8000, 32000, 4, 32) + extra
        junk = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # chunks are padded to even sizes
        body = (
            b"WAVEfmt " + struct.pack("<I", len(header)) + header + junk + b"data" + struct.pack("<I", len(data)) + data
        )
        (tmp_path / "f.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
        assert audio.read(tmp_path / "f.wav")[0][:, 0].tolist() == VALUES


def test_every_truncation_of_a_wav_is_an_error(tmp_path):
    whole = pcm(tmp_path / "x.wav", VALUES, 16).read_bytes()
    for n in range(len(whole)):
        (tmp_path / "cut.wav").write_bytes(whole[:n])
        with pytest.raises(undertow.FormatError, match=r"cut\.wav"):
            audio.read(tmp_path / "cut.wav")


def test_compressed_wav_is_refused(tmp_path):
    data = bytearray(pcm(tmp_path / "x.wav", VALUES, 16).read_bytes())
    data[20] = 2  # ADPCM
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(undertow.UnsupportedError, match="encoding 2"):
        audio.read(tmp_path / "x.wav")


def test_run_sound_to_sound(cli, tmp_path):
    path = amp(tmp_path)
    pcm(tmp_path / "x.wav", VALUES, 24, rate=44100)
    assert cli("run", path, tmp_path / "x.wav", "--rate", 44100, "-o", tmp_path / "y.wav") == (0, "", "")
    samples, rate = audio.read(tmp_path / "y.wav")
    assert rate == 44100
    assert samples[:, 0].tolist() == [v / 2 for v in VALUES]
    pcm(tmp_path / "x.wav", VALUES, 16, channels=2)
    failed(cli("run", path, tmp_path / "x.wav"), 3, "2 channels", "(1,)")


def test_sound_beyond_full_scale_is_cut_and_said(tmp_path):
    assert audio.write(tmp_path / "y.wav", np.array([0.0, 1.5, -2.0, np.nan]), 8000) == 2
    assert audio.read(tmp_path / "y.wav")[0][:, 0].tolist() == [0.0, 32767 / 32768, -1.0, 0.0]


@pytest.mark.parametrize(
    ("samples", "rate", "error", "words"),
    [
        (np.array([100, -100], np.int16), 8000, TypeError, "of int16: x / 32768"),
        (np.zeros((2, 3, 4)), 8000, undertow.ShapeError, "(T,) or (T, channels)"),
        (np.zeros(3), 0, undertow.UnsupportedError, "0 Hz"),
        (np.zeros(3), 1 << 33, undertow.UnsupportedError, "Hz cannot be"),
        (np.zeros(3), 16000.7, TypeError, "integer"),
    ],
)
def test_what_is_no_sound_is_not_written(tmp_path, samples, rate, error, words):
    with pytest.raises(error) as said:
        audio.write(tmp_path / "y.wav", samples, rate)
    assert words in str(said.value) and not (tmp_path / "y.wav").exists()


def test_sound_in_blocks(cli, tmp_path, model):
    pcm(tmp_path / "x.wav", [*VALUES, 0.5], 16)
    code, out, _ = cli("run", model, tmp_path / "x.wav")
    assert code == 0
    Y = np.array([[float(v) for v in line.split(",")] for line in out.splitlines()])
    padded = np.array([*VALUES, 0.5, 0.0], np.float32).reshape(3, 2)
    assert np.abs(Y - expected(model, padded)).max() < VERIFY_DEFAULT


# -- verify, convert -------------------------------------------------------------------------------------------------


def test_verify_against_the_reference(cli, model):
    code, out, _ = cli("verify", model, "--frames", 50)
    assert code == 0
    assert out.count("same bits as whole") == 2
    assert "float64 reference" in out
    assert out.splitlines()[-1].startswith("ok: largest error")


def test_verify_fails_above_the_tolerance_and_says_where(cli, model):
    code, out, _ = cli("verify", model, "--tolerance", 1e-12)
    assert code == 1
    assert "at output 'y', frame" in out
    assert "expected" in out
    assert out.splitlines()[-1].startswith("FAILED: largest error")


def test_verify_finds_a_wrong_number(monkeypatch):
    """The test of the test: spoil one number of one way of running, and each is found with its place."""
    from undertow.accuracy.verify import verify

    model = undertow.Model.from_graph(memory())
    plain = type(model).run

    def spoiled(self, X, *args, **kwargs):
        Y = plain(self, X, *args, **kwargs)
        Y[17, 1] += 0.25
        return Y

    monkeypatch.setattr(type(model), "run", spoiled)
    report = verify(model, frames=30)
    worst = report.checks[0].worst
    assert not report.ok
    assert (worst.output, worst.frame, worst.element) == ("y", 17, (1,))
    assert worst.got - worst.expected == pytest.approx(0.25, abs=1e-5)
    assert [check.same_bits for check in report.checks] == [None, False, False]


def test_verify_does_not_pass_nan():
    from undertow.accuracy.verify import worst_error

    model = undertow.Model.from_graph(memory())
    good, bad = np.zeros((4, 2)), np.zeros((4, 2))
    bad[2, 1] = np.nan
    assert worst_error({"y": good}, {"y": bad}, model).error == np.inf
    assert worst_error({"y": bad}, {"y": bad.copy()}, model).error == 0
    assert worst_error({"y": good[-1]}, {"y": good + np.array([[9.0], [9.0], [9.0], [0.0]])}, model).error == 0


def test_verify_whole_sequence_models(cli, tmp_path):
    code, out, _ = cli("verify", saved(memory(reverse=True), tmp_path))
    assert code == 0
    assert "random chunks" not in out


def test_verify_against_onnxruntime_needs_an_onnx_file(cli, model):
    failed(cli("verify", model, "--against", "onnxruntime"), 2, ".onnx")


def test_convert(cli, tmp_path, model):
    out = tmp_path / "copy.tow"
    code, text, _ = cli("convert", model, "-o", out)
    assert code == 0
    assert "parameters" in text
    assert cli("verify", out)[0] == 0
    failed(cli("convert", model), 2, "the model itself")
    failed(cli("convert", model, "-o", tmp_path / "x.onnx"), 2, ".tow")
    for i, argv in enumerate([("{}",), ("{}", "--weights", "int8"), ("--weights", "int8", "{}")]):
        named = tmp_path / f"named_{i}.tow"
        code, text, _ = cli("convert", model, *(word.format(named) for word in argv))
        assert code == 0 and str(named) in text and named.is_file()
    before = out.read_bytes()
    failed(cli("convert", model, tmp_path / "other.tow", "-o", out), 2, "two files to write; give one of them")
    failed(cli("convert", model, tmp_path / "second.onnx"), 2, "ends in .tow; one model is converted")
    assert not (tmp_path / "other.tow").exists() and out.read_bytes() == before


@pytest.mark.parametrize("n", [(1, "1 byte"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")])
def test_human_bytes(n):
    assert human_bytes(n[0]) == n[1]


def test_an_error_stands_behind_what_was_printed_before_it():
    """Where both go to one pipe, in which Python buffers only standard output."""
    program = """
from undertow import cli, errors

def show(args):
    print("a table")
    raise errors.FormatError("damaged")

cli.info.info = show
raise SystemExit(cli.main(["info", "m.tow"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()) == (3, ["a table", "undertow: error: damaged"])
