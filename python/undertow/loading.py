# SPDX-License-Identifier: MIT
"""`load`: a model file of any known format, told by its first bytes and then by its suffix."""

from __future__ import annotations

import mmap
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from . import tow
from .compile import Precisions, with_weights
from .errors import Error, FormatError, UnsupportedError
from .model import Model
from .sparse import with_blocks

#: suffix -> module under undertow.importers
IMPORTERS = {
    ".onnx": "onnx",
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
}


def load(
    path: str | os.PathLike[str],
    isa: str | None = None,
    *,
    weights: Precisions | None = None,
    sparse: str | bool = "auto",
    **options: Any,
) -> Model:
    """Load an exported model.

    Args:
        path: .tow, .onnx, .keras, .h5, .json (RTNeural), .nam (Neural Amp Modeler), RNNoise's weights
            (text, binary or C), or a weights-only file (.pt, .pth, .safetensors, .npz) whose wiring is unambiguous.
        isa: force an instruction set, such as "avx2"; None for the best that this CPU has.
        weights: precisions to store weights in, such as "int8", as in `Model.with_weights`; None leaves those of the
            file.
        sparse: "auto" stores matrices that were pruned in blocks without their zeros where that is faster, as in
            `Model.with_weights`; True does so with all, False with none. A .tow file stays as it is unless `weights`
            or `sparse` says otherwise.
        options: for the importer of the format, such as `states=` for ONNX.

    Raises:
        FormatError: the file is damaged or not of its format.
        UnsupportedError: it holds something that cannot be computed exactly; names node, attribute and value.
        ISAError: `isa` cannot run here.
        ImportError: the format needs an extra that is not installed.

    >>> import undertow
    >>> model = undertow.load(undertow.example("digits"))
    >>> stream = model.stream()
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(16)
        try:
            if head[: len(tow.MAGIC)] == tow.MAGIC:
                _refuse_options(path, options)
                model = Model(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), isa)
                stays = weights is None and sparse == "auto"
                return model if stays else model.with_weights(weights or {}, sparse=sparse)
            graph = _importer(path, head).load(path, **options)
            return Model.from_graph(with_blocks(with_weights(graph, weights or {}), sparse), isa)
        except Error as error:
            if path.name in str(error):
                raise
            raise type(error)(f"{path}: {error}") from error


def _importer(path: Path, head: bytes) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".tow":
        raise FormatError("not a .tow file (no .tow signature in its first bytes)" if head else "the file is empty")
    if head.startswith((b"DNNw", b"rnnoise-nu")):  # these files come as .bin, .txt, or without a suffix
        return import_module(".importers.rnnoise", __package__)
    if suffix not in IMPORTERS:
        raise UnsupportedError(f"suffix {suffix!r} is not known; known: .tow {' '.join(IMPORTERS)}")
    return import_module(f".importers.{IMPORTERS[suffix]}", __package__)


def _refuse_options(path: Path, options: dict[str, Any]) -> None:
    if options:
        raise TypeError(f"{path}: a .tow file takes no importer options, got {', '.join(options)}")
