# SPDX-License-Identifier: MIT
"""Weights without a wiring: PyTorch, safetensors, NumPy and HDF5 files read into plain arrays.

Nothing in a file is executed or imported, whatever it says. What a hostile file may cost is bounded by `limits`.

>>> import undertow
>>> w = undertow.read_weights("policy.pt")                                            # doctest: +SKIP
>>> w["memory.weight_ih_l0"].shape                                                    # doctest: +SKIP
(256, 47)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import FormatError
from . import contents, others
from .archive import Archive
from .in_memory import Source, as_path
from .limits import Budget

__all__ = ["read_weights"]

_TORCH = (".pth", ".pt")


def read_weights(path: Source, *, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Read every tensor of a weights file: name -> array, in the order of the file.

    Reads `.pt` and `.pth` (``torch.save`` of a state_dict, of anything that holds tensors in dicts, lists and modules,
    in today's zip form or the older one; TorchScript archives), `.safetensors`, `.npz`, `.h5` / `.hdf5` /
    `.weights.h5` / `.keras`, pickles of NumPy arrays, JSON (RTNeural, lists of numbers), RNNoise's weights (`.rnnn`,
    `DNNw`, `.c`), and zips of torch files (Stable-Baselines3: ``policy.lstm_actor.weight_ih_l0``). The first bytes
    decide, then the suffix: `.jit`, `.ckpt`, `.tar`, `.bin` and any other will do.

    Names are those of the file (PyTorch: ``lstm.weight_ih_l0``); a dict or module inside another joins its key with
    a dot (``state_dict.lstm.weight_ih_l0``), HDF5 names are paths (``lstm/lstm_cell/kernel:0``). The dtype is that of
    the file, except that bfloat16, which NumPy lacks, is widened exactly to float32. Arrays are yours to change.

    Args:
        path: the file; or its bytes, or an open file, which is read from where it stands.
        max_bytes: refuse to unpack more than this; the default grows with the file (`limits.Budget`).

    Raises:
        FormatError: the file is damaged, truncated, hostile, or of no known format.
        UnsupportedError: it holds a tensor that NumPy cannot hold (quantised, sparse ...); the message names it.
        FileNotFoundError, OSError: it cannot be opened.
        TypeError: it is neither a path nor bytes nor an open binary file.

    >>> w = undertow.read_weights(undertow.example("digits").with_suffix(".safetensors"))
    >>> {name: array.shape for name, array in w.items()}
    {'head.bias': (10,), 'head.weight': (10, 48), ...}
    """
    return _some(as_path(path), max_bytes, None)


def read_beside(path: Source) -> tuple[dict[str, np.ndarray], list[str]]:
    """As `read_weights`, and names of what a PyTorch file says it computes beside its tensors (see `forward`)."""
    beside: list[str] = []
    return _some(as_path(path), None, beside), beside


def _some(path: Path, max_bytes: int | None, beside: list[str] | None) -> dict[str, np.ndarray]:
    arrays = _read(path, max_bytes, beside)
    if not arrays:
        raise FormatError(f"{path}: no tensors found")
    return arrays


def _read(path: Path, max_bytes: int | None, beside: list[str] | None) -> dict[str, np.ndarray]:
    with contents.open_file(path) as file:
        size = contents.bytes_of(file)
        head = file.read(contents.HEAD)
    budget = Budget(path, size, max_bytes)
    if not head:
        raise FormatError(f"{path}: the file is empty")
    if what := others.by_head(path, head) or contents.stranger(head):
        raise FormatError(f"{path}: {what}")
    kind = contents.kind(head)
    if kind == "zip":
        with Archive(path, budget) as archive:
            return read_archive(archive, beside)
    if kind == "hdf5":
        from .hdf5 import read_hdf5

        return read_hdf5(path, budget)
    if kind == "rnnoise" or path.suffix in (".rnnn", ".c"):
        from .rnnoise import read_rnnoise

        return read_rnnoise(path, budget)
    if kind == "safetensors" or path.suffix == ".safetensors":
        from .safetensors import read_safetensors

        return read_safetensors(path, budget)
    if kind == "json":
        from .json_file import read_json

        return read_json(path, budget)
    if kind in ("onnx", "tflite"):
        raise FormatError(
            f"{path}: looks like {'an ONNX' if kind == 'onnx' else 'a TensorFlow Lite'} model, not weights alone; "
            "whole models are for undertow.load"
        )
    if kind == "pickle" or path.suffix in (".pt", ".pth", ".pkl", ".pickle"):
        from .torch_file import read_legacy

        return read_legacy(path, budget, beside=beside)
    if what := others.by_name(path):
        raise FormatError(f"{path}: {what}")
    raise FormatError(
        f"{path}: not a weights file that undertow knows (.pt .pth .safetensors .npz .h5 .pkl .json); "
        f"it starts with {head[:8]!r}"
    )


def read_archive(archive: Archive, beside: list[str] | None, inside: bool = False) -> dict[str, np.ndarray]:
    """Every tensor of a zip archive: torch, NumPy, Keras, or one of torch files (`inside`: it is one of those)."""
    path, names = archive.path, archive.names
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        from .torch_file import read_torch_zip

        return read_torch_zip(archive, beside)
    if "model.weights.h5" in names:  # a .keras file
        from .hdf5 import read_hdf5

        return read_hdf5(path, archive.budget, archive.read("model.weights.h5"))
    if any(name.endswith(".npy") for name in names) or (path.suffix == ".npz" and not inside):
        from .npz import read_npz

        return read_npz(archive)
    if not inside and any(name.endswith(_TORCH) for name in names):
        return _read_bundle(archive, beside)
    if any(name.endswith("/model.json") or name.startswith("models/") for name in names):
        raise FormatError(f"{path}: a torch.export archive; save the weights with torch.save(model.state_dict(), ...)")
    raise FormatError(
        f"{path}: a zip archive, but no torch, NumPy or Keras one (no data.pkl, *.npy, model.weights.h5, *.pth)"
    )


def _read_bundle(archive: Archive, beside: list[str] | None) -> dict[str, np.ndarray]:
    """A zip of torch files (Stable-Baselines3): the name of each member, less its suffix, stands before its names."""
    from .torch_file import read_legacy

    arrays: dict[str, np.ndarray] = {}
    for name in archive.names:
        if not name.endswith(_TORCH):
            continue
        data, where = archive.read(name), Path(f"{archive.path}, {name}")
        if contents.kind(data[: contents.HEAD]) == "zip":
            with Archive(where, archive.budget, data) as member:
                tensors = read_archive(member, beside, inside=True)
        else:
            tensors = read_legacy(where, archive.budget, data, beside)
        for key, array in tensors.items():
            full = f"{name.rpartition('.')[0]}.{key}"
            if full in arrays:
                raise FormatError(f"{archive.path}: two tensors are named {full!r}")
            arrays[full] = array
    return arrays
