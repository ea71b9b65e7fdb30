# SPDX-License-Identifier: MIT
"""Files are told by what they hold: other suffixes, wrong ones, and files that were never fetched or unpacked."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import undertow
from undertow import FormatError, UnsupportedError

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

DATA = Path(__file__).parent / "data"
rng = np.random.default_rng(8)


def lstm(n_in: int = 3, hidden: int = 4) -> dict[str, np.ndarray]:
    return {
        "lstm.weight_ih_l0": rng.normal(size=(4 * hidden, n_in)).astype(np.float32),
        "lstm.weight_hh_l0": rng.normal(size=(4 * hidden, hidden)).astype(np.float32),
        "lstm.bias_ih_l0": rng.normal(size=4 * hidden).astype(np.float32),
        "lstm.bias_hh_l0": rng.normal(size=4 * hidden).astype(np.float32),
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def walked(w: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """torch.nn.LSTM in float64: gates i f g o."""
    W, R, b, rb = (a.astype(np.float64) for a in w.values())
    n = R.shape[1]
    h, c, rows = np.zeros(n), np.zeros(n), []
    for x in X.astype(np.float64):
        a = W @ x + b + R @ h + rb
        c = sigmoid(a[n : 2 * n]) * c + sigmoid(a[:n]) * np.tanh(a[2 * n : 3 * n])
        h = sigmoid(a[3 * n :]) * np.tanh(c)
        rows.append(h)
    return np.array(rows)


def as_safetensors(w: dict[str, np.ndarray]) -> bytes:
    header, body = {}, b""
    for key, a in w.items():
        header[key] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(body), len(body) + a.nbytes]}
        body += a.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def as_npz(w: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **w)
    return out.getvalue()


def as_torch(w: dict[str, np.ndarray], legacy: bool = False) -> bytes:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    out = io.BytesIO()
    tensors = {key: torch.from_numpy(a) for key, a in w.items()}
    torch.save(tensors, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


class Net(torch.nn.Module if torch else object):  # type: ignore[misc, name-defined]
    def __init__(self, end: str) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)
        self.head = torch.nn.Linear(4, 2)
        self.end = getattr(torch.nn, end)() if hasattr(torch.nn, end) else torch.nn.Identity()

    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        return self.end(self.head(y))


class Sigmoid(Net):
    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        return torch.sigmoid(self.head(y))


class Scaled(Net):
    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        return self.head(y) * 2.0 + 1.0


class Shifted(Net):
    def forward(self, x):  # type: ignore[no-untyped-def]
        y, _ = self.lstm(x)
        return self.head(y) + 1.0


HEADS = {
    "nothing": lambda _: Net("Identity").eval(),
    "Dropout": lambda _: Net("Dropout").eval(),
    "Tanh": lambda _: Net("Tanh").eval(),
    "sigmoid": lambda _: Sigmoid("Identity").eval(),
    "scaled": lambda _: Scaled("Identity").eval(),
    "shifted": lambda _: Shifted("Identity").eval(),
}

FORMS = {
    "torch": as_torch,
    "old torch": lambda w: as_torch(w, legacy=True),
    "pickle": lambda w: pickle.dumps(w, protocol=4),
    "safetensors": as_safetensors,
    "npz": as_npz,
    "json": lambda w: json.dumps({key: a.tolist() for key, a in w.items()}).encode(),
    "pickle, latest": lambda w: pickle.dumps(w, protocol=5),
    "json, marked": lambda w: json.dumps({key: a.tolist() for key, a in w.items()}).encode("utf-8-sig"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["net.ckpt", "net.tar", "net", "NET.BIN", "net.epoch-3"])
def test_weights_under_any_name(tmp_path: Path, form: str, name: str) -> None:
    w = lstm()
    path = tmp_path / name
    path.write_bytes(FORMS[form](w))
    read = undertow.read_weights(path)
    assert list(read) == list(w)
    for key, a in w.items():
        np.testing.assert_array_equal(read[key].astype(np.float32), a)
    X = rng.normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_allclose(undertow.load(path, assume_as_wired=True).run(X), walked(w, X), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("cells.keras", "m.jit"),
        ("cells.keras", "m"),
        *(("cells.h5.gz", f"m{s}") for s in ("", ".pt", ".json", ".keras")),
    ],
)
def test_whole_keras_models_under_any_name(tmp_path: Path, file: str, name: str) -> None:
    content = (DATA / "keras" / file).read_bytes()
    content = gzip.decompress(content) if file.endswith(".gz") else content
    for other in (name, "m.h5"):
        (tmp_path / other).write_bytes(content)
    found, expected = undertow.load(tmp_path / name), undertow.load(tmp_path / "m.h5")
    assert (found.graph.source, found.state_bytes) == (expected.graph.source, expected.state_bytes)


def test_onnx_under_another_name(tmp_path: Path) -> None:
    from onnx_files import cell, model_of, node, onnx

    lstm = node("LSTM", "x W R", "y", hidden_size=3)
    model = model_of([lstm], {"x": ["t", 1, 2]}, {"y": ["t", 1, 1, 3]}, cell(rng, "LSTM", 2, 3))
    model.producer_name = "t"
    X = rng.normal(size=(5, 2)).astype(np.float32)
    rows = []
    for name in ("m.onnx", "m.bin", "m.pt"):
        onnx.save(model, tmp_path / name)
        rows.append(undertow.load(tmp_path / name).run(X))
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])
    with pytest.raises(FormatError, match=r"m\.bin: looks like an ONNX model.*undertow\.load"):
        undertow.read_weights(tmp_path / "m.bin")


def test_a_zip_of_torch_files(tmp_path: Path) -> None:
    """Stable-Baselines3: the policy, its optimizer, and often an empty dict of further variables."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    w, out = lstm(), io.BytesIO()
    torch.save({}, out)
    path = tmp_path / "agent.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", as_torch(w))
        archive.writestr("policy.optimizer.pth", as_torch({"state.0.exp_avg": np.ones((3, 2), np.float32)}, True))
        archive.writestr("pytorch_variables.pth", out.getvalue())
    read = undertow.read_weights(path)
    assert list(read) == [*(f"policy.{key}" for key in w), "policy.optimizer.state.0.exp_avg"]
    X = rng.normal(size=(9, 3)).astype(np.float32)
    model = undertow.load(path, assume_as_wired=True)
    np.testing.assert_allclose(model.run(X), walked(w, X), rtol=0, atol=1e-6)
    layer = undertow.LSTM.from_torch(read, "policy.lstm")
    np.testing.assert_array_equal(undertow.Sequential([layer]).run(X), model.run(X))


def test_a_zip_of_torch_files_costs_what_is_in_it(tmp_path: Path) -> None:
    w = {"a": np.zeros((1000, 1000), np.float32)}
    path = tmp_path / "agent.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", as_torch(w))
    with pytest.raises(FormatError, match=r"policy\.pth.*needs 40\d+ bytes"):
        undertow.read_weights(path, max_bytes=1 << 20)
    with pytest.raises(FormatError, match=r"agent\.zip, policy\.pth"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("policy.pth", as_torch(w)[:-100])
        undertow.read_weights(path)


def test_json_that_begins_like_safetensors(tmp_path: Path) -> None:
    """Eight bytes and a brace: but as the length of a header they are absurd."""
    text = '{"lstm":{"bias_hh_l0":[1,2,3,4]}}'
    (tmp_path / "m.bin").write_text(text)
    assert text[8] == "{"
    np.testing.assert_array_equal(undertow.read_weights(tmp_path / "m.bin")["lstm.bias_hh_l0"], [1, 2, 3, 4])


def test_json_of_layers(tmp_path: Path) -> None:
    """The arrays of a Keras layer stay apart, even where they have one shape; numbers and text are none."""
    square, more = np.ones((2, 2)), np.zeros((2, 2))
    layers = [
        {"type": "rnn", "shape": [None, 2], "weights": [square.tolist(), more.tolist(), [1, 2]], "epsilon": 0.1},
        {"type": "batchnorm", "weights": [[1, 2], [3, 4]]},
    ]
    path = tmp_path / "amp.json"
    path.write_text(json.dumps({"in_shape": [None, 1], "layers": layers, "ragged": [[1], [2, 3]], "name": "x"}))
    read = undertow.read_weights(path)
    assert {key: a.shape for key, a in read.items()} == {
        "layers.0.weights.0": (2, 2),
        "layers.0.weights.1": (2, 2),
        "layers.0.weights.2": (2,),
        "layers.1.weights.0": (2,),
        "layers.1.weights.1": (2,),
        "ragged.0": (1,),
        "ragged.1": (2,),
    }
    np.testing.assert_array_equal(read["layers.1.weights.1"], [3, 4])
    path.write_text('{"a": ' + "[" * 100 + "1, null" + "]" * 100 + "}")
    with pytest.raises(FormatError, match="nest deeper"):
        undertow.read_weights(path)
    path.write_text('{"a": [1' + "0" * 400 + "]}")
    with pytest.raises(FormatError, match="too large"):
        undertow.read_weights(path)
    path.write_text('{"a": 1}')
    with pytest.raises(FormatError, match="no tensors"):
        undertow.read_weights(path)


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"))
    return out.getvalue()


STRANGERS = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "html": (b"<!DOCTYPE html>\n<html lang=en>", "download the raw file"),
    "gzip": (gzip.compress(b"weights"), "gzip: unpack it first"),
    "tar": (tar(), "tar archive: unpack"),
}


@pytest.mark.parametrize("name", ["m.pt", "m.onnx", "m.h5", "m.json", "m.nam", "m.bin", "m"])
@pytest.mark.parametrize("kind", STRANGERS)
def test_what_was_never_fetched_or_unpacked(tmp_path: Path, kind: str, name: str) -> None:
    content, message = STRANGERS[kind]
    path = tmp_path / name
    path.write_bytes(content)
    for read in (undertow.load, undertow.read_weights):
        with pytest.raises(FormatError, match=message) as found:
            read(path)
        assert str(path) in str(found.value)


def test_what_nothing_fits(tmp_path: Path) -> None:
    path = tmp_path / "m.weights"
    path.write_bytes(b"nothing that is known")
    with pytest.raises(UnsupportedError, match=r"'\.weights' is not known.*b'nothing '"):
        undertow.load(path)
    with pytest.raises(FormatError, match="not a weights file"):
        undertow.read_weights(path)
    path.write_bytes(b"\x08\x07\x00 which is no ONNX model")
    with pytest.raises(UnsupportedError, match=r"'\.weights' is not known"):
        undertow.load(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(FormatError, match="a zip archive, but no torch, NumPy or Keras one"):
        undertow.load(path)
    for name in ("m.tflite", "m.bin"):
        (tmp_path / name).write_bytes(b"\x1c\0\0\0TFL3\x14\0 ")
        with pytest.raises(FormatError, match="damaged: Model lies at byte 28"):
            undertow.load(tmp_path / name)


@pytest.mark.filterwarnings("ignore")  # torch would rather not have TorchScript
@pytest.mark.parametrize("end", HEADS)
@pytest.mark.parametrize("saved", ["whole", "old", "scripted", "traced"])
def test_modules_that_do_more_than_their_layers_are_not_wired(tmp_path: Path, end: str, saved: str) -> None:
    """A whole module says that it has a Tanh, and TorchScript code what it calls: neither is in the tensors."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    path = tmp_path / "net.pt"
    net = HEADS[end](torch)
    if saved in ("whole", "old"):
        torch.save(net, path, _use_new_zipfile_serialization=saved == "whole")
    else:
        example = torch.zeros(1, 4, 3)
        (torch.jit.script(net) if saved == "scripted" else torch.jit.trace(net, example)).save(str(path))
    # what a class computes in its own forward is in the code of TorchScript alone
    named = {"Tanh": "Tanh|activation|tanh", "sigmoid": "sigmoid", "scaled": "mul|add", "shifted": "add"}.get(end)
    if named is None or (saved in ("whole", "old") and end != "Tanh"):
        X = rng.normal(size=(5, 3)).astype(np.float32)
        wired = undertow.load(path).run(X)
        if named is None:
            with torch.no_grad():
                np.testing.assert_allclose(wired, net(torch.from_numpy(X[None]))[0].numpy(), rtol=0, atol=1e-6)
    else:
        with pytest.raises(
            UnsupportedError, match=rf"(more than its layers: .*({named})|CONSTANTS)(.|\n)*undertow\.Seq"
        ):
            undertow.load(path)
    assert {"lstm.weight_ih_l0", "head.weight"} <= undertow.read_weights(path).keys()


def test_joblib_is_named(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="needs joblib: pip install joblib")
    joblib.dump({"a": np.ones(5)}, tmp_path / "m.pkl")
    with pytest.raises(UnsupportedError, match=r"joblib .* np\.savez"):
        undertow.read_weights(tmp_path / "m.pkl")


def test_a_pickle_that_executes_is_refused_under_any_name(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    path = tmp_path / "m.ckpt"
    path.write_bytes(pickle.dumps(Evil()))
    for read in (undertow.load, undertow.read_weights):
        with pytest.raises(FormatError):
            read(path)
    assert not (tmp_path / "executed").exists()


BROKEN = {
    "onnx": b"\x08\x08\x12\x01t\x3a\x02\x0a\x00",
    "tow": b"\x89TOW\r\n\x1a\n" + bytes(200),
    "npz": as_npz(lstm())[:-30],
    "safetensors": as_safetensors(lstm())[:-3],
    "pkl": b"\x80\x04\x95",
    "h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "json": b'{"layers": 3}',
    "nam": b'{"architecture": "LSTM"}',
    "rnnn": b"rnnoise-nu model file version 1\n5",
    "weights": b"nothing that is known",
    "zip": b"",
}


@pytest.mark.parametrize("suffix", BROKEN)
def test_an_error_names_the_file_once(tmp_path: Path, suffix: str) -> None:
    """Importers name it or leave that to `load`; nobody reads it twice."""
    path = tmp_path / f"broken_model.{suffix}"
    path.write_bytes(BROKEN[suffix])
    if suffix == "onnx":
        pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
    with pytest.raises(undertow.Error) as caught:
        undertow.load(path)
    assert str(caught.value).count("broken_model") == 1, caught.value
    assert str(caught.value).startswith((str(path), path.name)), caught.value


@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "m.tow", "m.json", "m"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(FormatError, match="the file is empty"):
        undertow.load(tmp_path / name)


def test_a_refusal_of_an_importer_names_the_file_once(tmp_path: Path) -> None:
    from onnx_files import model_of, node, save

    path = save(model_of([node("Det", "x", "y")], {"x": ["T", 3, 3]}, {"y": None}), tmp_path, "broken_model.onnx")
    with pytest.raises(UnsupportedError, match="Det node 'y'") as caught:
        undertow.load(path)
    assert str(caught.value).count("broken_model") == 1, caught.value
