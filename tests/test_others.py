# SPDX-License-Identifier: MIT
"""Models of formats that are not read: each is named in one line, with the way to one that is."""

from __future__ import annotations

import gzip
import io
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_PEER
from undertow import FormatError, UnsupportedError
from undertow.weights import contents

DATA = Path(__file__).parent / "data"


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message: its number and kind, a length, and so many bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def saved_model() -> bytes:
    meta = field(1, field(4, b"serve") + field(5, b"2.15.0"))
    return b"\x08\x01" + field(2, meta + field(2, b"x" * 300))


def core_ml(version: int) -> bytes:
    feature = field(1, b"audio") + field(3, b"\x2a\x00")
    return bytes([8, version]) + field(2, field(1, feature) + field(10, feature) + field(100, b"y" * 200))


#: name of a file -> its bytes, and what is said of it, whatever its name
BY_HEAD = {
    "saved_model": (saved_model(), "a SavedModel of TensorFlow: python -m tf2onnx.convert --saved-model"),
    "core_ml": (core_ml(4), "a Core ML model: export ONNX"),
    "core_ml_8": (core_ml(8), "a Core ML model: export ONNX"),
    "ort": (b"\x18\0\0\0ORTM\0\0", r"ONNX Runtime's own format: load the \.onnx file"),
    "executorch": (b"\x1c\0\0\0ET12eh00", r"ExecuTorch: undertow\.from_torch\(module, example\)"),
    "tensorrt": (b"ftrt\0\0\0\0", r"TensorRT, compiled for one GPU: load the \.onnx file"),
    "old_tensorrt": (b"ptrt\0\0\0\0", "TensorRT, compiled for one GPU"),
    "openvino": (b'<?xml version="1.0"?>\n<net name="torch_jit" version="11">', r"OpenVINO: load the \.onnx file"),
    "tfjs": (b'{"format": "layers-model", "generatedBy": "keras v2.4.0"', "tf2onnx.convert --tfjs"),
    "tfjs_graph": (b'{\n "format":"graph-model",', "tf2onnx.convert --tfjs"),
    "tfjs_old": (b'{"modelTopology": {"keras_version": "2.1.6"', "tf2onnx.convert --tfjs"),
    "gguf": (b"GGUF\x03\0\0\0", r"llama\.cpp"),
    "ncnn": (b"7767517\n3 3\n", "a model of ncnn"),
    "npy": (b"\x93NUMPY\x01\0v\0{'descr'", "one NumPy array: .*np.savez"),
    "matlab": (b"MATLAB 5.0 MAT-file, Platform", "exportONNXNetwork"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt ", r"a sound, not a model: undertow\.audio\.load"),
}
#: name -> what is said of a file that begins with nothing known
BY_NAME = {
    "frozen_graph.pb": r"--input .*frozen_graph\.pb --inputs NAME:0 --outputs NAME:0 --output model\.onnx",
    "graph.pbtxt": "a graph of TensorFlow",
    "model.ckpt.data-00000-of-00002": "a checkpoint of TensorFlow",
    "net.mlmodel": "a Core ML model",
    "net.engine": "TensorRT",
    "net.PLAN": "TensorRT",
    "net.trt": "TensorRT",
    "net.pte": "ExecuTorch",
    "net.ort": "ONNX Runtime",
    "net.pdmodel": "paddle2onnx",
    "net.pdiparams": "paddle2onnx",
    "asr.nemo": r"model\.export\('model\.onnx'\)",
    "params.msgpack": "Flax",
    "net.mnn": r"a model of MNN: load the \.onnx file that it was made from",
    "net.rknn": "Rockchip",
    "net.hef": "Hailo",
    "net.dlc": "SNPE",
    "net.vmfb": "IREE",
    "net.caffemodel": "Caffe",
    "net.prototxt": "Caffe",
    "net.kmodel": "nncase",
    "net.om": "Ascend",
    "net.circle": "ONE",
}


@pytest.mark.parametrize("name", ["model", "model.bin", "model.pb", "model.onnx"])
@pytest.mark.parametrize("kind", BY_HEAD)
def test_first_bytes_tell_what_a_file_is(tmp_path: Path, kind: str, name: str) -> None:
    data, message = BY_HEAD[kind]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match=message) as caught:
        undertow.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(UnsupportedError, match=f"<bytes>: .*{message}"):
        undertow.load(data)
    for source in (path, data):
        with pytest.raises(FormatError, match=message):
            undertow.read_weights(source)


@pytest.mark.parametrize("name", BY_NAME)
def test_names_tell_what_first_bytes_do_not(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x0a\x2anothing that is known")
    with pytest.raises(UnsupportedError, match=BY_NAME[name]) as caught:
        undertow.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match=BY_NAME[name]):
        undertow.read_weights(path)


def test_an_empty_file_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "net.pb"
    path.touch()
    with pytest.raises(FormatError, match="the file is empty; its name is that of a graph of TensorFlow"):
        undertow.load(path)


def test_weights_of_openvino_lie_beside_the_model(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(b"\x0a\x2anothing")
    with pytest.raises(UnsupportedError, match=r"suffix '\.bin' is not known"):
        undertow.load(path)
    (tmp_path / "net.xml").touch()
    with pytest.raises(UnsupportedError, match="a model of OpenVINO"):
        undertow.load(path)


def test_a_name_says_nothing_against_the_first_bytes(tmp_path: Path) -> None:
    data = (DATA / "formats" / "state_dict.pt").read_bytes()
    for name in ("model.pb", "model.engine", "model.pte", "model.ort"):
        (tmp_path / name).write_bytes(data)
        assert undertow.load(tmp_path / name, assume_as_wired=True).run(np.zeros((3, 2), np.float32)).shape[0] == 3
        assert undertow.read_weights(tmp_path / name)


def test_what_onnx_begins_with_is_no_other_format() -> None:
    """ONNX, SavedModel and Core ML begin alike: with a version, and then a name or a message."""
    onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
    for producer in ("", "x", "pytorch", "p" * 10, "q" * 200):
        for version in (1, 3, 8, 13):
            proto = onnx.ModelProto(ir_version=version, producer_name=producer, producer_version="2.0")
            with pytest.raises(FormatError, match="not an ONNX model: it has no graph"):
                undertow.load(proto.SerializeToString() or b"\x08")


def test_an_archive_of_nemo_is_not_to_be_unpacked(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model_config.yaml"))
    for data in (file.getvalue(), gzip.compress(file.getvalue())):
        (tmp_path / "asr.nemo").write_bytes(data)
        with pytest.raises(UnsupportedError, match="a model of NeMo"):
            undertow.load(tmp_path / "asr.nemo")
        (tmp_path / "net.engine").write_bytes(data)
        with pytest.raises(FormatError, match="unpack it first"):
            undertow.load(tmp_path / "net.engine")


def test_a_checkpoint_is_known_by_the_files_beside_it(tmp_path: Path) -> None:
    for name in ("m.ckpt-7.index", "m.ckpt-7.meta"):
        (tmp_path / name).write_bytes(b"\0\0\0 nothing")
        with pytest.raises(UnsupportedError, match=r"suffix '\.(index|meta)' is not known"):
            undertow.load(tmp_path / name)
    (tmp_path / "m.ckpt-7.data-00000-of-00001").write_bytes(b"1234")
    for name in ("m.ckpt-7.index", "m.ckpt-7.meta", "m.ckpt-7.data-00000-of-00001", "."):
        with pytest.raises(UnsupportedError, match="a checkpoint of TensorFlow"):
            undertow.load(tmp_path / name)


@pytest.mark.parametrize(
    ("folder", "files", "message"),
    [
        ("saved", ["saved_model.pb", "variables"], "a SavedModel of TensorFlow: .*--saved-model .*saved --output"),
        ("saved", ["saved_model.pbtxt"], "--saved-model .*saved --output"),
        ("net.mlpackage", ["Manifest.json", "Data"], "a Core ML model: export ONNX"),
        ("net.mlmodelc", ["coremldata.bin"], "a Core ML model"),
        ("compiled", ["coremldata.bin", "model.mil"], "a Core ML model"),
        ("paddle", ["inference.pdmodel", "inference.pdiparams"], "paddle2onnx --model_dir"),
    ],
)
def test_folders_that_are_models(tmp_path: Path, folder: str, files: list[str], message: str) -> None:
    path = tmp_path / folder
    path.mkdir()
    for name in files:
        (path / name).touch()
    for read in (undertow.load, undertow.read_weights):
        with pytest.raises(UnsupportedError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_the_file_of_a_saved_model_leads_to_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(saved_model())
    with pytest.raises(UnsupportedError) as caught:
        undertow.load(folder / "saved_model.pb")
    words = shlex.split(str(caught.value).partition("SavedModel of TensorFlow: ")[2])
    assert words[words.index("--saved-model") + 1] == str(folder)
    (folder / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UnsupportedError, match="a SavedModel of TensorFlow"):
        undertow.load(folder)


def test_other_folders_say_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="a folder, expected a file; it holds no files"):
        undertow.load(tmp_path)
    for name in ("model.onnx", "config.yaml", ".hidden", "é\x1b[2J"):
        (tmp_path / name).touch()
    with pytest.raises(IsADirectoryError, match=r"it holds config\.yaml, model\.onnx, é\\x1b\[2J") as caught:
        undertow.load(tmp_path)
    assert caught.value.filename == str(tmp_path)
    for n in range(9):
        (tmp_path / f"a{n}").touch()
    with pytest.raises(IsADirectoryError, match=r"it holds a0, a1, a2, a3, a4 \.\.\."):
        undertow.read_weights(tmp_path)


def test_the_line_for_an_unpacked_keras_file_packs_it(tmp_path: Path) -> None:
    folder = tmp_path / "my cells"
    with zipfile.ZipFile(DATA / "keras" / "cells.keras") as archive:
        archive.extractall(folder)
    with pytest.raises(UnsupportedError, match=r"an unpacked \.keras file: python -m zipfile") as caught:
        undertow.load(folder)
    line = shlex.split(str(caught.value).partition("keras file: ")[2])
    subprocess.run([sys.executable, *line[1:]], cwd=tmp_path, check=True)
    assert undertow.load(tmp_path / "model.keras").hash == undertow.load(DATA / "keras" / "cells.keras").hash


@pytest.mark.parametrize("kind", ["scripted", "traced"])
def test_torchscript_leads_to_from_torch(kind: str) -> None:
    path = DATA / "formats" / f"{kind}.pt"
    with pytest.raises(UnsupportedError, match="Or, with torch, take the TorchScript as a whole") as caught:
        undertow.load(path)
    assert f"undertow.from_torch(torch.jit.load({str(path)!r}), example)" in str(caught.value)
    with pytest.raises(UnsupportedError, match=r"torch\.jit\.load\(io\.BytesIO\(data\)\)"):
        undertow.load(path.read_bytes())
    with pytest.raises(UnsupportedError) as caught:
        undertow.load(DATA / "formats" / "list.pt")
    assert "TorchScript" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # torch would rather not have TorchScript
def test_the_line_for_torchscript_loads_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 2)).eval()
    example = torch.zeros(1, 5, 3)
    path = tmp_path / "net.torchscript"
    torch.jit.trace(module, example).save(str(path))
    X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    expected = module(torch.from_numpy(X)[None])[0].detach().numpy()
    for source in (path, path.read_bytes()):
        with pytest.raises(UnsupportedError) as caught:
            undertow.load(source)
        line = str(caught.value).splitlines()[-1].partition("as a whole: ")[2]
        names = {"undertow": undertow, "torch": torch, "io": io, "data": source, "example": example}
        np.testing.assert_allclose(eval(line, names).run(X), expected, rtol=0, atol=FLOAT32_PEER)


def test_the_command_says_it_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from undertow.cli import main

    (tmp_path / "saved_model.pb").touch()
    assert main(["info", str(tmp_path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "a SavedModel of TensorFlow" in line


def test_no_file_that_is_read_is_taken_for_another() -> None:
    from undertow.weights import others

    for path in sorted([*DATA.rglob("*.*"), *Path(undertow.__file__).parent.rglob("examples/*.*")]):
        if path.is_file():
            head = path.read_bytes()[: contents.HEAD]
            assert others.by_head(path, head) is None, path
