# SPDX-License-Identifier: MIT
"""Model formats that are not read: what a file or folder is, in a line, and the way to one that is."""

from __future__ import annotations

import os
import re
import shlex
from itertools import islice
from pathlib import Path

from .._text import shown
from .in_memory import InMemory

_TF2ONNX = "python -m tf2onnx.convert"
_SOURCE = "load the .onnx file that it was made from, or export that from the model that was trained"
_GRAPH_DEF = f"a graph of TensorFlow: {_TF2ONNX} --input {{path}} --inputs NAME:0 --outputs NAME:0 --output model.onnx"
_SAVED_MODEL = (
    f"a SavedModel of TensorFlow: {_TF2ONNX} --saved-model {{folder}} --output model.onnx, or save the model where it "
    "was trained with model.save('model.keras')"
)
_CHECKPOINT = (
    "a checkpoint of TensorFlow: save the model with model.save('model.keras'), or "
    f"{_TF2ONNX} --checkpoint MODEL.meta --inputs NAME:0 --outputs NAME:0 --output model.onnx"
)
_TFJS = f"a model of TensorFlow.js: {_TF2ONNX} --tfjs {{path}} --output model.onnx"
_PADDLE = (
    "a model of PaddlePaddle: paddle2onnx --model_dir FOLDER --model_filename MODEL.pdmodel "
    "--params_filename MODEL.pdiparams --save_file model.onnx"
)
_CORE_ML = "a Core ML model: export ONNX, or .keras, from the model that it was converted from"
_EXECUTORCH = (
    "a program of ExecuTorch: undertow.from_torch(module, example) takes the PyTorch module that it was made from"
)
_ORT = f"a model in ONNX Runtime's own format: {_SOURCE}"
_TENSORRT = f"an engine of TensorRT, compiled for one GPU: {_SOURCE}"
_OPENVINO = f"a model of OpenVINO: {_SOURCE}"
_NCNN = f"a model of ncnn: {_SOURCE}"
_GGUF = "weights of llama.cpp (GGUF): load the .safetensors or .pt file that they were made from"
_ARRAY = (
    "one NumPy array: the layers of undertow.Sequential take arrays, np.savez('weights.npz', name=array, ...) keeps "
    "several"
)
_MATLAB = "a file of MATLAB: exportONNXNetwork(net, 'model.onnx') writes a network of its Deep Learning Toolbox"
_NEMO = "a model of NeMo: model.export('model.onnx') writes ONNX"
_FLAX = "weights of Flax: np.savez('weights.npz', name=array, ...) keeps its arrays"
_SOUND = "a sound, not a model: undertow.audio.load reads it"

#: where in a file, what stands there, what that makes it
_SIGNATURES = (
    (4, b"ORTM", _ORT),
    (4, b"ET12", _EXECUTORCH),
    (0, b"ptrt", _TENSORRT),
    (0, b"ftrt", _TENSORRT),
    (0, b"GGUF", _GGUF),
    (0, b"\x93NUMPY", _ARRAY),
    (0, b"MATLAB ", _MATLAB),
    (0, b"7767517\n", _NCNN),
    (8, b"WAVE", _SOUND),
)
#: end of a name -> what such a file is, where its first bytes do not tell
_ENDS = {
    ".pb": _GRAPH_DEF,
    ".pbtxt": _GRAPH_DEF,
    ".mlmodel": _CORE_ML,
    ".engine": _TENSORRT,
    ".plan": _TENSORRT,
    ".trt": _TENSORRT,
    ".pte": _EXECUTORCH,
    ".ort": _ORT,
    ".pdmodel": _PADDLE,
    ".pdiparams": _PADDLE,
    ".mat": _MATLAB,
    ".nemo": _NEMO,
    ".msgpack": _FLAX,
    ".mnn": f"a model of MNN: {_SOURCE}",
    ".dlc": f"a model of Qualcomm's SNPE: {_SOURCE}",
    ".caffemodel": f"a model of Caffe: {_SOURCE}",
    ".prototxt": f"a model of Caffe: {_SOURCE}",
    ".kmodel": f"a model of nncase: {_SOURCE}",
    ".om": f"a model of Ascend: {_SOURCE}",
    ".circle": f"a model of Samsung's ONE: {_SOURCE}",
    ".rknn": f"a model of Rockchip's NPU: {_SOURCE}",
    ".hef": f"a model of Hailo: {_SOURCE}",
    ".vmfb": f"a module of IREE: {_SOURCE}",
}
#: what a folder holds -> what that makes it
_IN_FOLDER = (
    ("saved_model.pb", _SAVED_MODEL),
    ("saved_model.pbtxt", _SAVED_MODEL),
    ("coremldata.bin", _CORE_ML),
)
#: what follows the name of a checkpoint of TensorFlow in those of its files with weights
_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
#: the second field of two kinds of files that begin as .onnx does: a message, and no name as there
_MESSAGE = 0x0A
#: files of a folder that a message names, and that are looked at
_NAMED, _SEEN = 5, 1000


def by_head(path: Path, head: bytes) -> str | None:
    """What a file is by its first bytes, and the way out; None where these say nothing, or that it is read."""
    for at, magic, what in _SIGNATURES:
        if head[at : at + len(magic)] == magic:
            return _told(what, path)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<") and b"<net " in head:
        return _told(_OPENVINO, path)
    if start.startswith(b"{") and (b'"modelTopology"' in head or b'layers-model"' in head or b'graph-model"' in head):
        return _told(_TFJS, path)
    if path.name == "saved_model.pb":
        return _told(_SAVED_MODEL, path)
    if path.suffix.lower() == ".mlmodel":
        return _told(_CORE_ML, path)
    if path.suffix.lower() == ".nemo" and (head[:2] == b"\x1f\x8b" or head[257:262] == b"ustar"):
        return _told(_NEMO, path)
    if head[:1] == b"\x08" and head[2:3] == b"\x12":
        size_bytes = next((n for n in range(1, 6) if head[2 + n : 3 + n] < b"\x80"), 0)
        if head[3 + size_bytes : 4 + size_bytes] == bytes([_MESSAGE]):
            return _told(_SAVED_MODEL if head[1] == 1 else _CORE_ML, path)
    return None


def by_name(path: Path) -> str | None:
    """What a file is by its name alone, and the way out."""
    name = path.name.lower()
    if _SHARD.search(name) or (
        path.suffix in (".index", ".meta")
        and any(_SHARD.search(p.name) for p in path.parent.glob("*.data-*") if p.name.startswith(path.stem))
    ):
        return _told(_CHECKPOINT, path)
    if path.suffix == ".bin" and path.with_suffix(".xml").is_file():
        return _told(_OPENVINO, path)
    return next((_told(what, path) for end, what in _ENDS.items() if name.endswith(end)), None)


def folder(path: Path) -> tuple[str, bool]:
    """What a folder is, in a line; and whether that is a model, rather than a folder with anything in it."""
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in islice(entries, _SEEN))
    except OSError:
        names = []
    for name, what in _IN_FOLDER:
        if name in names:
            return _told(what, path / name), True
    if path.suffix.lower() in (".mlpackage", ".mlmodelc"):
        return _told(_CORE_ML, path), True
    if any(_SHARD.search(name) for name in names):
        return _told(_CHECKPOINT, path), True
    if any(name.endswith(".pdmodel") for name in names):
        return _told(_PADDLE, path), True
    members = [name for name in ("config.json", "metadata.json", "model.weights.h5") if name in names]
    if {"config.json", "model.weights.h5"} <= {*members}:
        files = " ".join(shlex.quote(str(path / name)) for name in members)
        return f"an unpacked .keras file: python -m zipfile -c model.keras {files}", True
    shows = [name for name in names if not name.startswith(".")]
    first = ", ".join(shown(name) for name in shows[:_NAMED]) + (" ..." if len(shows) > _NAMED else "")
    return f"a folder, expected a file; it holds {first or 'no files'}", False


def _told(what: str, path: Path) -> str:
    if isinstance(path, InMemory) and path.nameless:
        return what.format(path="FILE", folder="FOLDER")
    return what.format(path=shlex.quote(str(path)), folder=shlex.quote(str(path.parent)))
