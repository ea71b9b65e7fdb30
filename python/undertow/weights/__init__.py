# SPDX-License-Identifier: MIT
"""Weights without a wiring: PyTorch, safetensors, NumPy and HDF5 files read into plain arrays.

Nothing in a file is executed or imported, whatever it says. What a hostile file may cost is bounded by `limits`.

>>> import undertow
>>> w = undertow.read_weights("policy.pt")                                            # doctest: +SKIP
>>> w["memory.weight_ih_l0"].shape                                                    # doctest: +SKIP
(256, 47)
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import FormatError
from .limits import Budget

__all__ = ["read_weights"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


def read_weights(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Read every tensor of a weights file: name -> array, in the order of the file.

    Reads `.pt` and `.pth` (``torch.save`` of a state_dict, of anything that holds tensors in dicts, lists and modules,
    in today's zip form or the older one; TorchScript archives), `.safetensors`, `.npz`, `.h5` / `.hdf5` /
    `.weights.h5` / `.keras`, pickles of NumPy arrays, and RNNoise's weights (`.rnnn`, `DNNw`, `.c`). The first bytes
    decide, then the suffix.

    Names are those of the file (PyTorch: ``lstm.weight_ih_l0``); a dict or module inside another joins its key with
    a dot (``state_dict.lstm.weight_ih_l0``), HDF5 names are paths (``lstm/lstm_cell/kernel:0``). The dtype is that of
    the file, except that bfloat16, which NumPy lacks, is widened exactly to float32. Arrays are yours to change.

    Args:
        path: the file.
        max_bytes: refuse to unpack more than this; the default grows with the file (`limits.Budget`).

    Raises:
        FormatError: the file is damaged, truncated, hostile, or of no known format.
        UnsupportedError: it holds a tensor that NumPy cannot hold (quantised, sparse ...); the message names it.
        FileNotFoundError, OSError: it cannot be opened.
    """
    path = Path(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(64)
    budget = Budget(path, size, max_bytes)
    if not head:
        raise FormatError(f"{path}: the file is empty")
    if head.startswith(_ZIP_MAGIC):
        return _read_zip(path, budget)
    if head.startswith(_HDF5_MAGIC):
        from .hdf5 import read_hdf5

        return read_hdf5(path, budget)
    if head.startswith((b"DNNw", b"rnnoise-nu")) or path.suffix in (".rnnn", ".c"):
        from .rnnoise import read_rnnoise

        return read_rnnoise(path, budget)
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        from .safetensors import read_safetensors

        return read_safetensors(path, budget)
    if head[0] == 0x80 or path.suffix in (".pt", ".pth", ".pkl", ".pickle"):
        from .torch_file import read_legacy

        return read_legacy(path, budget)
    raise FormatError(
        f"{path}: not a weights file that undertow knows (.pt .pth .safetensors .npz .h5 .pkl); "
        f"it starts with {head[:8]!r}"
    )


def _read_zip(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    from .archive import Archive

    with Archive(path, budget) as archive:
        names = archive.names
        if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
            from .torch_file import read_torch_zip

            return read_torch_zip(archive)
        if "model.weights.h5" in names:  # a .keras file
            from .hdf5 import read_hdf5

            return read_hdf5(path, budget, archive.read("model.weights.h5"))
        if (names and any(name.endswith(".npy") for name in names)) or path.suffix == ".npz":
            from .npz import read_npz

            return read_npz(archive)
        if any(name.endswith("/model.json") or name.startswith("models/") for name in names):
            raise FormatError(
                f"{path}: a torch.export archive; save the weights with torch.save(model.state_dict(), ...)"
            )
    raise FormatError(
        f"{path}: a zip archive, but neither a torch, NumPy nor Keras one (no data.pkl, *.npy or model.weights.h5)"
    )
