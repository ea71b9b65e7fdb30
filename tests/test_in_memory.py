# SPDX-License-Identifier: MIT
"""`load` and `read_weights` take the bytes of a file and open files, of every format that they take the path of."""

from __future__ import annotations

import gzip
import io
import json
import mmap
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, frames
from onnx_files import bytes_of, helper, model_of, node, onnx, peer, random, save
from test_import_nam import as_file, capture, container
from test_import_rnnoise import SMALL, as_c, as_text, integers
from tflite_files import files
from tolerances import FLOAT32_PEER
from undertow import FormatError, UnsupportedError
from undertow.importers.onnx.file import limits
from undertow.loading import IMPORTERS

DATA = Path(__file__).parent / "data"
rng = np.random.default_rng(3)


def gru_proto(name: str = "main_graph") -> Any:
    W, R, B = random(rng, 1, 12, 3), random(rng, 1, 12, 4), random(rng, 1, 24)
    layer = node("GRU", "x W R B", "y h", hidden_size=4)
    model = model_of([layer], {"x": ["T", 1, 3]}, {"y": ["T", 1, 1, 4]}, {"W": W, "R": R, "B": B})
    model.graph.name = name
    return model


def torch_like() -> bytes:
    """A .npz with the names of a GRU of PyTorch."""
    file = io.BytesIO()
    np.savez(file, **{"g.weight_ih_l0": random(rng, 12, 3), "g.weight_hh_l0": random(rng, 12, 4)})
    return file.getvalue()


def dense() -> dict[str, Any]:
    weights = [rng.normal(size=(2, 3)).tolist(), [0.0, 1.0, 2.0]]
    layer = {"type": "dense", "activation": "tanh", "shape": [None, None, 3], "weights": weights}
    return {"in_shape": [None, None, 2], "layers": [layer]}


#: suffix -> the bytes of a file
FILES = {
    ".tow": (DATA / "tow" / "lstm.tow").read_bytes(),
    ".onnx": bytes_of(gru_proto()),
    ".tflite": files()["net_wake_gru"],
    ".json": json.dumps(dense()).encode(),
    ".nam": json.dumps(as_file(*capture(rng))).encode(),
    ".rnnn": as_text(SMALL, integers(rng, SMALL)).encode(),
    ".keras": (DATA / "keras" / "cells.keras").read_bytes(),
    ".h5": gzip.decompress((DATA / "keras" / "cells.h5.gz").read_bytes()),
    ".pt": (DATA / "formats" / "state_dict.pt").read_bytes(),
    ".pth": (DATA / "formats" / "legacy.pt").read_bytes(),
    ".npz": torch_like(),
    ".safetensors": undertow.example("digits").with_suffix(".safetensors").read_bytes(),
}


#: suffix -> options of a file that is warned of without
OPTIONS: dict[str, Any] = {suffix: {"assume_as_wired": True} for suffix in (".pt", ".pth", ".npz", ".safetensors")}


def same(model: Any, other: Any) -> None:
    assert model.isa == other.isa
    X = frames(model, 12)
    assert_same_bits(model.run(X), other.run(X))


def test_every_importer_has_its_files() -> None:
    assert {IMPORTERS[suffix] for suffix in FILES if suffix != ".tow"} == set(IMPORTERS.values())


@pytest.mark.parametrize("suffix", FILES)
def test_bytes_are_what_the_file_is(tmp_path: Path, suffix: str) -> None:
    data, options = FILES[suffix], OPTIONS.get(suffix, {})
    path = tmp_path / f"file{suffix}"
    path.write_bytes(data)
    expected = undertow.load(path, **options)
    for source in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8), io.BytesIO(data)):
        model = undertow.load(source, **options)
        same(model, expected)
        assert suffix != ".tow" or not model.mapped
    with open(path, "rb") as file:
        same(undertow.load(file, **options), expected)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        same(undertow.load(view, **options), expected)
    if suffix != ".tow":
        same(undertow.load(data, weights="float16", **options), undertow.load(path, weights="float16", **options))


@pytest.mark.parametrize("suffix", FILES)
def test_a_file_is_read_from_where_it_stands(suffix: str) -> None:
    data, options = FILES[suffix], OPTIONS.get(suffix, {})
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    same(undertow.load(file, **options), undertow.load(data, **options))
    assert file.tell() == 6 + len(data)
    assert not file.closed


def test_what_else_can_be_read(tmp_path: Path) -> None:
    data, expected = FILES[".onnx"], undertow.load(FILES[".onnx"])
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("inner/model.onnx", data)
    with zipfile.ZipFile(archive) as reader, reader.open("inner/model.onnx") as member:
        same(undertow.load(member), expected)
    same(undertow.load(zipfile.Path(archive, "inner/model.onnx")), expected)
    packed = tmp_path / "model.onnx.gz"
    packed.write_bytes(gzip.compress(data))
    with gzip.open(packed) as unpacked:
        same(undertow.load(unpacked), expected)
    with tempfile.TemporaryFile() as nameless, tempfile.SpooledTemporaryFile() as spooled:
        for file in (nameless, spooled):
            file.write(data)
            file.seek(0)
            same(undertow.load(file), expected)

    class Response:
        def read(self) -> bytes:
            return data

    same(undertow.load(Response()), expected)


def test_bytes_may_change_afterwards() -> None:
    data = bytearray(FILES[".tow"])
    model = undertow.load(data)
    X = frames(model, 5)
    before = model.run(X)
    data[-64:] = bytes(64)
    assert_same_bits(model.run(X), before)


def test_options_go_on() -> None:
    assert undertow.load(FILES[".pt"], name="mine", **OPTIONS[".pt"]).name == "mine"
    with pytest.raises(TypeError, match=r"<bytes>: a \.tow file takes no importer options, got fixed"):
        undertow.load(FILES[".tow"], fixed={"x": 1})
    with pytest.raises(undertow.LimitError, match="file_bytes"):
        undertow.load(FILES[".tow"], limits={"file_bytes": 10})
    two = json.dumps(container(np.random.default_rng(0))[1]).encode()
    assert undertow.load(two, submodel=0).hash != undertow.load(two).hash
    assert undertow.load(FILES[".onnx"], time_axis=0).inputs["x"].shape == (3,)


def test_names(tmp_path: Path) -> None:
    assert undertow.load(FILES[".pt"], **OPTIONS[".pt"]).name == "model"
    file = io.BytesIO(FILES[".onnx"])
    assert undertow.load(file).name == "model"
    file.seek(0)
    file.name = "/far/away/voice.onnx"
    assert undertow.load(file).name == "voice"
    assert undertow.load(bytes_of(gru_proto("own"))).name == "own"


def test_what_has_no_signature_is_told_by_a_name() -> None:
    source = as_c(SMALL, integers(rng, SMALL)).encode()
    with pytest.raises(UnsupportedError, match=r"<bytes>: its first bytes .* give the path"):
        undertow.load(source)
    file = io.BytesIO(source)
    file.name = "weights.c"
    assert set(undertow.load(file).outputs) == {"gains", "vad"}


def test_weights_come_from_bytes_too(tmp_path: Path) -> None:
    for suffix in (".pt", ".pth", ".npz", ".safetensors", ".h5", ".json", ".rnnn"):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(FILES[suffix])
        expected = undertow.read_weights(path)
        with open(path, "rb") as file:
            for weights in (undertow.read_weights(FILES[suffix]), undertow.read_weights(file)):
                assert list(weights) == list(expected)
                assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def test_lines_to_paste_call_bytes_data() -> None:
    file = io.BytesIO()
    np.savez(file, **{name: random(rng, 8, 8) for name in ("a.weight", "b.weight")})
    with pytest.raises(UnsupportedError, match=r"w = undertow.read_weights\(data\)"):
        undertow.load(file.getvalue())


# -- ModelProto ------------------------------------------------------------------------------------------------------


def test_a_model_proto_is_loaded_and_left_as_it_is() -> None:
    proto = gru_proto()
    before = proto.SerializeToString()
    same(undertow.load(proto), undertow.load(before))
    assert proto.SerializeToString() == before
    assert undertow.load(proto).name == "model"
    same(undertow.load(proto, shapes={"x": [None, 1, 3]}, weights="int8"), undertow.load(before, weights="int8"))


def test_an_empty_model_proto_is_refused() -> None:
    with pytest.raises(FormatError, match="<ModelProto>: not an ONNX model: it has no graph"):
        undertow.load(onnx.ModelProto())


def test_a_model_proto_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100)
    with pytest.raises(UnsupportedError, match=r"<ModelProto>: .* bytes, at most 100 are read"):
        undertow.load(gru_proto())


def test_a_model_proto_that_cannot_be_written_is_refused() -> None:
    class ModelProto:
        class DESCRIPTOR:
            full_name = "onnx.ModelProto"

        def SerializeToString(self) -> bytes:
            raise ValueError("exceeds maximum protobuf size of 2GB")

    with pytest.raises(UnsupportedError, match=r"<ModelProto>: exceeds maximum.*save it to a file"):
        undertow.load(ModelProto())


# -- data in other files ---------------------------------------------------------------------------------------------


def apart(folder: Path) -> Path:
    """An .onnx file with its weights in another one."""
    path = folder / "apart.onnx"
    onnx.save_model(gru_proto(), path, save_as_external_data=True, location="apart.data", size_threshold=0)
    return path


def test_data_beside_an_open_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = apart(tmp_path)
    with open(path, "rb") as file:
        same(undertow.load(file), undertow.load(path))
    monkeypatch.chdir(tmp_path)
    with open("apart.onnx", "rb") as file:
        same(undertow.load(file), undertow.load(path))


def test_data_beside_bytes_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = apart(tmp_path)
    monkeypatch.chdir(tmp_path)
    data = path.read_bytes()
    named = io.BytesIO(data)
    named.name = str(path)
    bare = onnx.load(path, load_external_data=False)
    for source, name in ((data, "<bytes>"), (named, str(path)), (bare, "<ModelProto>")):
        with pytest.raises(UnsupportedError) as caught:
            undertow.load(source)
        assert f"{name}: tensor 'W': its data lies in 'apart.data', but nothing tells in which folder" in str(
            caught.value
        )
    same(undertow.load(onnx.load(path)), undertow.load(path))


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FILES)
def test_truncated_bytes_end_in_typed_errors(suffix: str) -> None:
    data = FILES[suffix]
    for n in (0, 1, 7, len(data) // 2, len(data) - 9):
        with pytest.raises(undertow.Error) as caught:
            undertow.load(data[:n])
        assert "<bytes>" in str(caught.value)


def test_what_is_no_source_is_told_what_to_call() -> None:
    model = undertow.load(FILES[".tow"])
    for wrong, message in (
        (None, "expected a path, the bytes of a file, or an open file, got 'NoneType'"),
        (3, "got 'int': 3"),
        (io.BytesIO, "got 'type'"),
        (io.StringIO("x"), "<StringIO>: reading it gives text, expected bytes: open it with mode rb"),
        (np.zeros(3), "a buffer of items of 8 bytes"),
        ({"w": 1}, "layers take weights by name"),
        (model, "it is loaded already"),
        (model.graph, r"undertow.Model.from_graph\(graph\)"),
        (helper.make_graph([], "g", [], []), r"load the onnx\.ModelProto that it belongs to"),
    ):
        with pytest.raises(TypeError, match=message):
            undertow.load(wrong)


def test_a_module_of_torch_is_for_from_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    with pytest.raises(TypeError, match=r"undertow.from_torch\(module, example\) takes it"):
        undertow.load(torch.nn.GRU(2, 3))
    with pytest.raises(TypeError, match="layers take weights by name"):
        undertow.load(torch.nn.GRU(2, 3).state_dict())


def test_a_model_of_keras_is_saved_whatever_backend_it_has() -> None:
    """With that of torch it is a torch.nn.Module as well, which `from_torch` does not take."""
    module = type("Module", (), {"__module__": "torch.nn.modules.module"})
    base = type("Layer", (module,), {"__module__": "keras.src.layers.layer"})
    model = type("Model", (base,), {"__module__": "keras.src.models.model"})
    with pytest.raises(TypeError, match=r"^load\(\) takes files, got Net: save it with model\.save\('model\.keras'\)"):
        undertow.load(type("Net", (model,), {})())
    with pytest.raises(TypeError, match=r"make a keras\.Model of it"):
        undertow.load(type("LSTM", (base,), {})())
    with pytest.raises(TypeError, match=r"undertow\.from_torch\(module, example\) takes it"):
        undertow.load(type("Net", (module,), {})())


def test_other_forms_of_onnx_models_say_how_to_get_one() -> None:
    onnx_ir = pytest.importorskip("onnx_ir", reason="needs onnx_ir: pip install onnx-ir")
    proto = gru_proto()
    with pytest.raises(TypeError, match=r"load\(onnx_ir\.to_proto\(model\)\)"):
        undertow.load(onnx_ir.from_proto(proto))
    same(undertow.load(onnx_ir.to_proto(onnx_ir.from_proto(proto))), undertow.load(proto))


def test_text_files_and_spent_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(FILES[".json"])
    with open(path) as file, pytest.raises(TypeError, match=r"m\.json: reading it gives text.*mode rb"):
        undertow.load(file)
    with open(path, "rb") as file:
        undertow.load(file)
        with pytest.raises(FormatError, match=rf"m\.json: nothing is left to read from byte {len(FILES['.json'])} on"):
            undertow.load(file)
    for nothing, name in ((b"", "<bytes>"), (io.BytesIO(), "<BytesIO>")):
        with pytest.raises(FormatError, match=f"{name}: the file is empty"):
            undertow.load(nothing)
    with pytest.raises(FormatError, match="<bytes>: the file is empty"):
        undertow.read_weights(b"")


def test_a_path_in_bytes_is_no_model(tmp_path: Path) -> None:
    path = save(gru_proto(), tmp_path)
    with pytest.raises(UnsupportedError, match=r"there is a file of this name: load\('.*model\.onnx'\)"):
        undertow.load(str(path).encode())


def test_names_of_files_are_shown_and_not_obeyed() -> None:
    file = io.BytesIO(b"nothing")
    file.name = "a\x1b[2J\n.onnx"
    with pytest.raises(FormatError) as caught:
        undertow.load(file)
    assert str(caught.value).isprintable()


def test_errors_of_a_file_are_its_own() -> None:
    class Broken:
        def read(self) -> bytes:
            raise ConnectionResetError("the server has gone")

    with pytest.raises(ConnectionResetError, match="the server has gone"):
        undertow.load(Broken())


def test_onnx_runtime_agrees_with_what_was_loaded_from_bytes() -> None:
    proto = gru_proto()
    X = rng.normal(size=(9, 1, 3)).astype(np.float32)
    expected = peer(proto, {"x": X})["y"]
    given = undertow.load(proto.SerializeToString()).run(X[:, 0])
    np.testing.assert_allclose(given.reshape(-1), expected.reshape(-1), rtol=0, atol=FLOAT32_PEER)
