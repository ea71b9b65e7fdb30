# SPDX-License-Identifier: MIT
"""`load`: a model of any known format, told by its first bytes and then by its suffix; a path, bytes or a file."""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import numpy as np

from . import _progress, passes, tow
from ._text import MAX_LINE, escaped, shown
from .budget import MEMORY, Held, TooMuch, too_much
from .errors import Error, FormatError, ModelWarning, UnsupportedError
from .ir.graph import Graph
from .ir.most import checked_bound
from .model import Model
from .passes.precisions import Precisions, warn_of_lost, with_weights
from .passes.sparsify import with_blocks
from .weights import contents, others
from .weights.archive import members
from .weights.in_memory import InMemory, Source, as_path, size_of

#: suffix -> module under undertow.importers
IMPORTERS = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".json": "rtneural",
    ".aidax": "rtneural",
    ".nam": "nam",
    ".rnnn": "rnnoise",
    ".c": "rnnoise",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".pt": "state_dict",
    ".pth": "state_dict",
    ".safetensors": "state_dict",
    ".npz": "state_dict",
    ".pkl": "state_dict",
    ".pickle": "state_dict",
}

#: `contents.kind` that leaves no doubt -> module under undertow.importers, whatever the suffix
BY_CONTENT = {
    "rnnoise": "rnnoise",
    "hdf5": "keras",
    "onnx": "onnx",
    "tflite": "tflite",
    "pickle": "state_dict",
    "safetensors": "state_dict",
}

#: how much larger than itself an archive may be, unpacked, and still count as that large
_UNPACKED = 8

#: "package.Class" -> what to call instead of `load`, of objects that are models or weights and no files
_INSTEAD = {
    # before torch's, for with that backend they are modules as well
    "keras.Model": "save it with model.save('model.keras') and load that",
    "keras.Layer": "make a keras.Model of it, save that with model.save('model.keras') and load it",
    "torch.Module": "undertow.from_torch(module, example) takes it",
    "torch.ExportedProgram": "undertow.from_torch(program, example) takes it",
    "torch.ONNXProgram": "load(program.model_proto) takes what it holds",
    "onnxruntime.InferenceSession": "load the .onnx file that it was made of",
    "onnx_ir.Model": "load(onnx_ir.to_proto(model)) takes what it holds",
    "onnx.GraphProto": "load the onnx.ModelProto that it belongs to; onnx.helper.make_model(graph) makes one",
    "undertow.Model": "it is loaded already",
    "undertow.Graph": "undertow.Model.from_graph(graph) takes it",
    "builtins.dict": "layers take weights by name: undertow.Sequential([undertow.LSTM.from_torch(weights, name)])",
}


class ModelProto(Protocol):
    """An `onnx.ModelProto`."""

    def SerializeToString(self) -> bytes: ...


def load(
    path: Source | ModelProto,
    isa: str | None = None,
    *,
    weights: Precisions | None = None,
    calibrate: Any = None,
    tolerance: float | None = None,
    judge: str | None = None,
    sparse: str | bool = "auto",
    mapped: bool = True,
    check: bool = False,
    limits: Mapping[str, int] | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    fixed: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Iterable[int | None]] | None = None,
    states: Mapping[str, str] | None = None,
    starts: Mapping[str, Any] | None = None,
    time_axis: int | Mapping[str, int | None] | None = None,
    max_frames: int | None = None,
    capacity: int | None = None,
    keras_version: str | None = None,
    assume_unmasked: bool | None = None,
    submodel: int | None = None,
    name: str | None = None,
    assume_as_wired: bool | None = None,
    **unknown: NoReturn,
) -> Model:
    """Load an exported model.

    Args:
        path: .tow, .onnx, .tflite, .keras, .h5, .json (RTNeural), .nam (Neural Amp Modeler), RNNoise's weights
            (text, binary or C), or a weights-only file (.pt, .pth, .safetensors, .npz) of which sizes leave one wiring.
            Under any other name (.jit, .ckpt, .tar, .bin ...) the first bytes tell which of these it is. Or the bytes
            of such a file (bytes, bytearray, memoryview); or an open one, which is anything that has `read`, from where
            it stands to its end; or an `onnx.ModelProto`. Bytes are copied where they might change. What an .onnx file
            keeps in other files is found beside a path, and beside an open file on a disk.
        isa: force an instruction set, such as "avx2"; None for the best that this CPU has.
        weights: precisions to store weights in, such as "int8", as in `Model.with_weights`; None leaves those of the
            file. "auto" is int16 for all of them; with `calibrate` and `tolerance`, the fastest for each:
            `undertow convert --weights auto` says which, and what each costs.
        calibrate: frames to round int16, int8 and int4 weights for, and to hold errors against `tolerance` on: one
            stream (T, *frame), or N sequences of one length (N, T, *frame), or a list, each from a fresh start; where
            the model strides along time, *timestep in place of *frame. On these frames the outputs then err, by
            RMS, at most by as much as with weights rounded to the nearest; of "auto" it is `tolerance` that holds.
            Takes minutes where a model is large and `weights` is "auto".
        tolerance: how far the outputs on these frames, and on 10,000 steps of them repeated, may be from those of the
            weights that the file holds, widened to float32, whatever those had lost before: the largest error, in the
            units of the outputs, or in the measure of `judge`.
        judge: "rms" (per cent of the RMS of the outputs), "argmax" (least share of frames whose largest number is the
            same), "threshold=0.5" (least share of numbers on the same side of 0.5), "sisdr" (least SI-SDR in dB); of
            several outputs one is named, "argmax:NAME".
        sparse: "auto" stores matrices that were pruned in blocks without their zeros where that is faster, as in
            `Model.with_weights`; True does so with all, False with none. A .tow file stays as it is unless `weights`
            or `sparse` says otherwise. With `calibrate`, int8 need not give the same bits either way: weights are
            rounded by what the model computes, which blocks of float32 change in the last bits.
        mapped: use the weights of a .tow file where it lies: processes share them, and loading reads little. Replace
            such a file by renaming another over it, as `Model.save` does. If it is overwritten, numbers are wrong; if
            it is cut short, the system ends the program (SIGBUS). False: copy it, as is done with bytes.
        check: compare the hash in a .tow file with one of its bytes, which finds any damage; and where it holds a
            proof (see `Model.save`), let the model compute that, to the bit. (Other formats have neither.)
        limits: what the model may ask for at most, such as {"stream_bytes": 1 << 20, "multiply_adds": 10**8}; see
            `Model`. For files of strangers: a small file may ask for a large stream, or a step of seconds.
        progress: called now and then with what is being done, how much of it is, and out of how much (0 and 0 where
            that is not known), as progress=print; a last call says "". Nothing is said otherwise.
        fixed: (.onnx, .tflite) input name -> array: bind inputs as constants, such as one that selects a branch.
        shapes: (.onnx, .tflite) input name -> shape: sizes that the file leaves open or declares wrong; None for time,
            or what else stays open. (.keras, .h5) such an input is a whole clip, and one frame; with None for axis 1
            it is streamed along that, whatever number of timesteps the file declares.
        states: (.onnx, .tflite) input name -> output name: pairs of tensors that carry a state, where they are not
            recognised. An empty dict says that there are none.
        starts: (.onnx, .tflite) state input -> array of its shape: what a sequence starts with, zeros where not given.
        time_axis: (.onnx, .tflite) the axis of time of every input that has one; or input name -> axis, None for an
            input without. Where nothing in the file tells.
        max_frames: (.onnx, .tflite) how many frames a sequence has at most, where each looks back at all before it, as
            in causal attention: a stream remembers so many, and one more is a StateError.
        capacity: (.onnx) how many rows the caches of a step have at most, which come back with one more each time: a
            stream takes so many steps, and one more is a StateError.
        keras_version: (.keras, .h5) the version that wrote a file which does not say it, such as "2" or "3.4".
        assume_unmasked: (.keras, .h5) promise that masks never hide a timestep of your input.
        submodel: (.nam) which capture of a container to take, from 0; the last one unless given.
        name: (weights alone) of the graph; the file's name unless given.
        assume_as_wired: (weights alone) promise that the model applies nothing between and behind the layers that the
            file was wired of: no activation, no sum with what went in. Without it, a warning says where they may stand.

    Warns:
        ModelWarning: the file holds a recurrence that an exporter cut off behind its first step; or one that starts
            anew in each frame, or in each call of a file whose other states go on. With options that make it go on, or
            do as the file does, where some do. Or it is weights alone, wired by their sizes, which does not show what
            has no weights. Or rows of a weight are 0 in the precision that it is to have; or frames of `calibrate` are
            too few, hold infinity, or show a judge one decision only.

    Raises:
        TypeError: an option that this format does not take; lists those that it does. Or `path` is nothing that is
            read, such as a file that is open for text. Or one of `weights`, `calibrate` and `tolerance` lacks another.
        ToleranceError: the weights miss the tolerance; of "auto", some precision is faster than float32, and none of
            those that were tried keeps it.
        ShapeError: frames of `calibrate` do not fit, there are none, all are 0, or what they lead to is no number.
        FormatError: the file is damaged or not of its format.
        InternalError: with `check`, and a proof: on this CPU, the instruction set gives other bits than it says.
        UnsupportedError: it holds something that cannot be computed exactly; names node, attribute and value. Or it is
            a model of a format that is not read (a SavedModel, Core ML, TensorRT ...); says the way to one that is.
        LimitError: the model asks for more than `limits` allows.
        ISAError: `isa` cannot run here.
        OSError: the file cannot be read, or is a folder.
        ImportError: the format needs an extra that is not installed.

    >>> import undertow
    >>> model = undertow.load(undertow.example("digits"))
    >>> stream = model.stream()
    """
    path = _path_of(path)
    given = {
        "fixed": fixed, "shapes": shapes, "states": states, "starts": starts, "time_axis": time_axis,
        "max_frames": checked_bound("load", max_frames),
        "capacity": checked_bound("load", capacity, "capacity"),
        "keras_version": keras_version, "assume_unmasked": assume_unmasked, "submodel": submodel, "name": name,
        "assume_as_wired": assume_as_wired,
    }  # fmt: skip
    if unknown:
        raise TypeError(
            f"load() has no option {', '.join(unknown)}; options: isa, weights, calibrate, tolerance, judge, sparse, "
            f"mapped, check, limits, progress, {', '.join(given)}{_meant(next(iter(unknown)), given)}"
        )
    _check_calibration(weights, calibrate, tolerance, judge)
    reduced = weights if calibrate is None else None
    options = {option: value for option, value in given.items() if value is not None}
    with contents.open_file(path) as file, _progress.told_to(progress), _progress.telling(f"reading {path.name}"):
        head = file.read(contents.HEAD)
        with told_of(path):
            if head[: len(tow.MAGIC)] == tow.MAGIC:
                _refuse_options(path, options)
                stays = reduced is None and sparse == "auto"
                blob: Any
                if isinstance(path, InMemory):
                    blob, mapped = path.data, False
                elif mapped:
                    blob = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                else:
                    blob = head + file.read()
                model = Model(blob, isa, mapped=mapped, check=check, limits=limits)
                model = model if stays else model.with_weights(reduced or {}, sparse=sparse)
            else:
                importer = _importer(path, head, options)
                _check_options(path, importer, options)
                model = built(path, lambda: importer.load(path, **options), isa, reduced, sparse, limits)
        if calibrate is None or weights is None:
            return model
        graph = _calibrated(model, weights, calibrate, tolerance, judge, isa)
        return Model.from_graph(with_blocks(graph, sparse), isa, limits=limits)


def _check_calibration(weights: Precisions | None, calibrate: Any, tolerance: float | None, judge: str | None) -> None:
    """Refuse arguments that say what weights may cost where one of them lacks another."""
    if calibrate is not None and weights is None:
        raise TypeError("calibrate= is frames on which weights= may cost something; weights= is missing")
    if tolerance is not None and calibrate is None:
        raise TypeError("tolerance= is measured on frames of yours: give them, calibrate=x with x of shape (T, *frame)")
    if judge is not None and tolerance is None:
        raise TypeError("judge= says in which measure tolerance= is; tolerance= is missing")
    if weights == "auto" and calibrate is not None and tolerance is None:
        raise TypeError("weights='auto' with calibrate= needs tolerance=, how far the outputs may be from float32")


def _calibrated(
    model: Model, weights: Precisions, X: Any, tolerance: float | None, judge: str | None, isa: str | None
) -> Graph:
    """The graph of a model with the weights that its frames ask for."""
    from .accuracy import calibrate
    from .accuracy.judge import Judge

    arrays = calibrate.as_arrays(model, X)
    asked = None if judge is None else Judge.parse(judge)
    graph, notes = calibrate.reduced(model.graph, weights, arrays, tolerance, isa, asked)
    for note in notes:
        warnings.warn(f"calibrate: {note}", ModelWarning, stacklevel=3)
    return graph


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """What is read while this lasts is of this file, and errors say so."""
    try:
        with np.errstate(all="ignore"):  # NaN and infinite weights are the model's own affair; `info` counts them
            yield
    except Error as error:
        if escaped(str(path)) in str(error) or str(error).startswith(f"{escaped(path.name)}:"):
            raise
        raise type(error)(f"{path}: {error}") from error


def built(
    path: Path,
    make: Callable[[], Graph],
    isa: str | None = None,
    weights: Precisions | None = None,
    sparse: str | bool = "auto",
    limits: Mapping[str, int] | None = None,
) -> Model:
    """The model of the graph that an importer makes of a file, within the memory that the file may take."""
    held = Held.of_file(_size(path))
    with within(path, held):
        graph = make()
    # Weights may lie outside of the file.
    left = Held(max(held.limit, graph.n_bytes + MEMORY // 4), lambda: graph.n_bytes)
    with within(path, left):
        passes.run(graph)
        reduced = with_weights(graph, weights or {}, smooth=True)
        warn_of_lost(graph, reduced)
        return Model.from_graph(with_blocks(reduced, sparse), isa, limits=limits)


@contextmanager
def within(path: Path, held: Held | None = None) -> Iterator[None]:
    """What is counted while this lasts must fit: memory that is bounded by the file's size."""
    held = held or Held.of_file(_size(path))
    try:
        with held:
            yield
    except TooMuch as error:
        raise UnsupportedError(f"{error.where or shown(path.name)}: {too_much(error, held.limit)}") from None


def _path_of(source: Source | ModelProto) -> Path:
    """What is to be loaded as the path of a file.

    Raises:
        TypeError: it is nothing that is read; says what to call instead.
        UnsupportedError: a ModelProto that protobuf cannot write, as one beyond 2 GiB.
    """
    descriptor = getattr(source, "DESCRIPTOR", None)
    if getattr(descriptor, "full_name", None) == "onnx.ModelProto":
        try:
            data = cast(ModelProto, source).SerializeToString()
        except Exception as error:  # of protobuf; which one differs between its versions
            raise UnsupportedError(f"<ModelProto>: {error}; save it to a file, its weights as external data") from None
        return InMemory.of("<ModelProto>", data, kind="onnx")
    kinds = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(source).__mro__}
    for kind, instead in _INSTEAD.items():
        if kind in kinds:
            raise TypeError(f"load() takes files, got {shown(type(source).__name__)}: {instead}")
    return as_path(cast(Source, source))


def _size(path: Path) -> int:
    """Bytes of a file, of a zip archive as it is unpacked, as long as no bomb says so."""
    size = size_of(path)
    return max(size, min(sum(member.file_size for member in members(path)), _UNPACKED * size))


def _importer(path: Path, head: bytes, options: Mapping[str, Any]) -> Any:
    """The module that reads a file: by its contents, or by its suffix where several formats share a container."""
    suffix = path.suffix.lower()
    if isinstance(path, InMemory) and path.kind:
        return import_module(f".importers.{BY_CONTENT[path.kind]}", __package__)
    if not head:
        perhaps = others.by_name(path)
        raise FormatError("the file is empty" + (f"; its name is that of {perhaps}" if perhaps else ""))
    if suffix == ".tow":
        raise FormatError("not a .tow file (no .tow signature in its first bytes)")
    if what := others.by_head(path, head):
        raise UnsupportedError(f"{path}: {what}")
    if what := contents.stranger(head):
        raise FormatError(what)
    kind = contents.kind(head)
    name = BY_CONTENT.get(kind or "") or IMPORTERS.get(suffix)
    if name is None and kind == "zip":
        names = [member.filename for member in members(path)]
        if any(name.endswith("/archive_format") for name in names):
            raise UnsupportedError(
                "holds a program of torch.export: undertow.from_torch(torch.export.load(path)) computes it, with torch"
            )
        name = "keras" if "model.weights.h5" in names else "state_dict"
    if name is None and kind == "json":
        name = "nam" if "submodel" in options else "rtneural"  # which reads captures, too
    if name is None and path.name.endswith(".onnx.data"):
        raise UnsupportedError(f"holds the weights of {path.name.removesuffix('.data')!r}: load that file")
    if name is None and (what := others.by_name(path)):
        raise UnsupportedError(f"{path}: {what}")
    if name is None and isinstance(path, InMemory) and path.nameless:
        raise UnsupportedError(
            f"its first bytes {head[:8]!r} are not known; .c and old pickles are told by their name: give the path, or "
            f"an open file that has one{_perhaps_a_path(path.data)}"
        )
    if name is None:
        raise UnsupportedError(
            f"suffix {suffix!r} is not known, and neither are its first bytes {head[:8]!r}; known: .tow "
            f"{' '.join(IMPORTERS)}"
        )
    return import_module(f".importers.{name}", __package__)


def _perhaps_a_path(data: bytes) -> str:
    """What to say of bytes that name a file, as other functions take it."""
    with suppress(ValueError, OSError):
        if len(data) < MAX_LINE and os.path.exists(data):
            return f"; there is a file of this name: load({os.fsdecode(data)!r})"
    return ""


def _meant(option: str, known: Iterable[str]) -> str:
    close = get_close_matches(option, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _check_options(path: Path, importer: Any, options: Mapping[str, Any]) -> None:
    """Refuse what the format's importer does not take."""
    takes = [p.name for p in signature(importer.load).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in takes:
            known = f"it takes {', '.join(takes)}" if takes else "it takes none"
            raise TypeError(f"{shown(path, MAX_LINE)}: a file of this format takes no {option}=; {known}")


def _refuse_options(path: Path, options: dict[str, Any]) -> None:
    if options:
        raise TypeError(f"{shown(path, MAX_LINE)}: a .tow file takes no importer options, got {', '.join(options)}")
