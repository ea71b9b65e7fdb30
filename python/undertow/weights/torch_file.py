# SPDX-License-Identifier: MIT
"""PyTorch files: where their pickles and tensor bytes lie, and which pickled names mean a tensor.

Three containers: the zip that ``torch.save`` writes, the zip of a TorchScript archive (the same plus code, which is
not looked at), and the older stream of pickles. Tensors stay descriptions (`Tensor`) until the whole pickle is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from . import forward, ndarrays
from .archive import Archive
from .in_memory import size_of
from .limits import MAX_DEPTH, MAX_VISITS, Budget, check_shape, short
from .pickles import Global, Machine, Record
from .tensors import DTYPES, finish, finished_bytes

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128", "UntypedStorage": None,
}  # fmt: skip
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
# Lists of the parameters that stand beside them by name already (torch.nn.RNNBase).
_DOUBLES = {"_flat_weights", "_all_weights", "_flat_weight_refs"}


#: classes that hold a tensor and no weights beside it
_WRAPPERS = {
    ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parameter", "Buffer"),
    ("torch.autograd.variable", "Variable"),
}


@dataclass(eq=False)
class Storage:
    """A run of bytes in the file; dtype None means that the tensor says how to read them."""

    key: str
    dtype: str | None
    n: int
    first: int = 0  # a view of a larger storage (very old files) starts here


@dataclass(eq=False)
class Tensor:
    """A strided view of a storage, not yet read."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False)
class Refused:
    """Something that is a tensor in PyTorch and cannot be one here."""

    why: str


class TorchReader:
    """Collects the tensors of pickles; `read_storage` gives the bytes of one."""

    def __init__(self, path: Path, budget: Budget, read_storage: Callable[[Storage], bytes | memoryview]) -> None:
        self.path, self.budget, self.read_storage = path, budget, read_storage
        self._visits = 0
        self._bytes: dict[str, bytes | memoryview] = {}
        self._arrays: dict[int, np.ndarray] = {}
        self.rebuild: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): self._ordered_dict,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor_v2,
            ("torch._utils", "_rebuild_tensor_v3"): self._tensor_v3,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
            ("torch._tensor", "_rebuild_from_type_v2"): self._from_type,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            **{
                ("torch.jit._pickle", f"build_{kind}list"): lambda values: values
                for kind in ("tensor", "int", "double", "bool")
            },
            **ndarrays.rebuilders(budget),
        }
        for name in (
            "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor", "_rebuild_nested_tensor",
            "_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass", "_rebuild_device_tensor_from_numpy",
            "_rebuild_device_tensor_from_cpu_tensor",
        ):  # fmt: skip
            self.rebuild["torch._utils", name] = lambda *_, name=name: Refused(f"a tensor made by torch._utils.{name}")

    def machine(self, data: bytes) -> Machine:
        return Machine(self.path, data, self.rebuild, self._persistent)

    # -- what the pickle calls --------------------------------------------------------------------------------

    def _ordered_dict(self, pairs: Any = ()) -> dict[Any, Any]:
        if not isinstance(pairs, (list, tuple)):
            raise ValueError("OrderedDict of something that is not a list of pairs")
        self.budget.take(200 * len(pairs), "a dict in the pickle")
        if not all(isinstance(p, (list, tuple)) and len(p) == 2 and isinstance(p[0], (str, int)) for p in pairs):
            raise ValueError("OrderedDict of something that is not a list of pairs")
        return {key: value for key, value in pairs}

    def _persistent(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":
            return key[1]  # a class with its source text, in old pickles of whole modules
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
            raise ValueError("a persistent id that is not a storage")
        _, kind, name, _, n = key[:5]
        view = key[5] if len(key) == 6 else None
        if not isinstance(kind, Global) or not isinstance(name, str) or type(n) is not int or n < 0:
            raise ValueError("a damaged storage id")
        if kind.name not in _STORAGES:
            return Refused(f"a tensor in a {kind}")
        dtype = _STORAGES[kind.name]
        if view is None:
            return Storage(name, dtype, n)
        if not isinstance(view, tuple) or len(view) != 3 or any(type(v) is not int or v < 0 for v in view[1:]):
            raise ValueError("a damaged storage view")
        if view[1] + view[2] > n:
            raise ValueError("a storage view that leaves its storage")
        return Storage(name, dtype, n, view[1])

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> Tensor | Refused:
        if isinstance(storage, Refused):
            return storage
        if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
            raise ValueError("a tensor without storage, size and stride")
        n_elements = check_shape(self.path, "a tensor", size)
        if len(stride) != len(size) or any(type(n) is not int or n < 0 for n in (offset, *stride)):
            raise ValueError(f"a tensor of shape {size} with a bad stride or offset")
        dtype = dtype or storage.dtype
        if dtype is None:
            raise ValueError("a tensor without a dtype")
        n_stored = storage.n if storage.dtype else storage.n // DTYPES[dtype].itemsize
        last = storage.first + offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if n_elements and last >= n_stored:
            raise ValueError(f"a tensor of shape {size} reaches element {short(last)} of a storage of {n_stored}")
        return Tensor(storage, dtype, storage.first + offset, size, stride)

    def _tensor_v2(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor | Refused:
        if len(rest) > 2 and rest[2]:
            return Refused("a tensor with a pending conjugation or negation")
        return self._tensor(storage, offset, size, stride)

    def _tensor_v3(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor | Refused:
        dtype = rest[2] if len(rest) > 2 else None
        if not isinstance(dtype, Global) or dtype.module != "torch" or dtype.name not in DTYPES:
            return Refused(f"a tensor of dtype {dtype if isinstance(dtype, Global) else short(dtype)}")
        if len(rest) > 3 and rest[3]:
            return Refused("a tensor with a pending conjugation or negation")
        return self._tensor(storage, offset, size, stride, dtype.name)

    def _from_type(self, function: Any, kind: Any, args: Any, state: Any) -> Any:
        """A tensor with Python attributes, or of a subclass: the tensor inside it."""
        known = self.rebuild.get((function.module, function.name)) if isinstance(function, Global) else None
        if known is None or known == self._from_type or not isinstance(args, tuple):
            return Refused(f"a tensor of class {kind if isinstance(kind, Global) else short(kind)}")
        return known(*args)

    # -- from the pickle's value to names and arrays ----------------------------------------------------------

    def collect(self, value: Any, arrays: dict[str, np.ndarray], name: str = "") -> None:
        """Put every tensor reachable from `value` into `arrays` under its dotted name."""
        self._walk(value, name, 0, set(), arrays)

    def _walk(self, value: Any, name: str, depth: int, above: set[int], arrays: dict[str, np.ndarray]) -> None:
        self._visits += 1
        if self._visits > MAX_VISITS:
            raise FormatError(f"{self.path}: more than {MAX_VISITS} values are reachable in the pickle")
        if isinstance(value, (Tensor, ndarrays.Array)):
            name = name or "tensor"
            if name in arrays:
                raise FormatError(f"{self.path}: two tensors are named {name!r}")
            arrays[name] = self._array(value, name)
        elif isinstance(value, Refused):
            raise UnsupportedError(
                f"{self.path}: {name!r} is {value.why}; NumPy cannot hold it. Save a plain tensor instead"
            )
        elif isinstance(value, (dict, list, tuple, Record)):
            if id(value) in above:
                return
            if depth > MAX_DEPTH:
                raise FormatError(f"{self.path}: {name[:80]!r}: values nest deeper than {MAX_DEPTH}")
            above.add(id(value))
            for key, child in _children(value):
                joined = key if not name else f"{name}.{key}" if key else name
                self._walk(child, joined, depth + 1, above, arrays)
            above.remove(id(value))

    def _array(self, tensor: Tensor | ndarrays.Array, name: str) -> np.ndarray:
        if id(tensor) not in self._arrays:
            self._arrays[id(tensor)] = (
                self._strided(tensor, name) if isinstance(tensor, Tensor) else tensor.read(self.budget, name)
            )
        return self._arrays[id(tensor)]

    def _strided(self, tensor: Tensor, name: str) -> np.ndarray:
        storage, raw_dtype = tensor.storage, DTYPES[tensor.dtype]
        n_elements = check_shape(self.path, f"tensor {name!r}", tensor.size)
        self.budget.take(finished_bytes(n_elements, tensor.dtype), f"tensor {name!r}")
        if n_elements == 0:
            return finish(np.zeros(tensor.size, raw_dtype), tensor.dtype)
        if storage.key not in self._bytes:
            self._bytes[storage.key] = self.read_storage(storage)
        data = self._bytes[storage.key]
        expected = storage.n * (DTYPES[storage.dtype].itemsize if storage.dtype else 1)
        if len(data) != expected:
            raise FormatError(
                f"{self.path}: storage {storage.key!r} of tensor {name!r} has {len(data)} bytes, expected {expected}"
            )
        flat = np.frombuffer(data, raw_dtype, count=len(data) // raw_dtype.itemsize)
        # In bounds: _tensor checked the last element against storage.n, and the line above storage.n against the bytes.
        # The stride of an axis of one element is any number.
        strides = [s * raw_dtype.itemsize if n > 1 else 0 for s, n in zip(tensor.stride, tensor.size, strict=True)]
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.size, strides, writeable=False)
        return finish(view, tensor.dtype)


def _wrapped(record: Record) -> Any:
    """The tensor in a Parameter or Variable as torch wrote them until 0.4: the class called with it. None of anything
    else.
    """
    maker, args = record.maker, record.args
    if not isinstance(maker, Global) or (maker.module, maker.name) not in _WRAPPERS:
        return None
    return args[0] if isinstance(args, tuple) and args and isinstance(args[0], Tensor) else None


def _children(value: Any) -> list[tuple[str, Any]]:
    """(name, value) of what a container holds; an empty name adds none."""
    if isinstance(value, dict):
        return [(str(k) if isinstance(k, (str, int)) else str(i), v) for i, (k, v) in enumerate(value.items())]
    if isinstance(value, (list, tuple)):
        return [(str(i), v) for i, v in enumerate(value)]
    if (wrapped := _wrapped(value)) is not None:
        return [("", wrapped)]
    children: list[tuple[str, Any]] = []
    if isinstance(value.state, dict):
        is_module = isinstance(value.state.get("_modules"), dict) or isinstance(value.state.get("_parameters"), dict)
        for key, child in value.state.items():
            if key in _DOUBLES:
                continue
            children.append(("" if is_module and key in ("_parameters", "_buffers", "_modules") else str(key), child))
    elif value.state is not None:
        children.append(("", value.state))
    children += _children(value.items) + _children(value.elements)
    if isinstance(value.args, tuple):
        children += [(f"args.{i}", arg) for i, arg in enumerate(value.args)]
    return children


def read_torch_zip(archive: Archive, beside: list[str] | None = None) -> dict[str, np.ndarray]:
    """A torch.save or TorchScript zip archive; `beside` gets what it computes beside its tensors (`forward`)."""
    path = archive.path
    roots = [
        name for name in archive.names if name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)
    ]
    if len(roots) != 1:
        raise FormatError(f"{path}: expected one data.pkl in the archive, got {len(roots)}")
    root = roots[0].removesuffix("data.pkl")
    if root + "byteorder" in archive:
        order = archive.read(root + "byteorder").strip()
        if order != b"little":
            raise UnsupportedError(
                f"{path}: byte order is {order[:20]!r}, expected b'little'; save it again on a little-endian machine"
            )

    def read_storage(folder: str, storage: Storage) -> bytes:
        return archive.read(root + folder + storage.key)

    arrays: dict[str, np.ndarray] = {}
    for pickled, folder, name in (("data.pkl", "data/", ""), ("constants.pkl", "constants/", "CONSTANTS")):
        if root + pickled not in archive:
            continue
        reader = TorchReader(path, archive.budget, partial(read_storage, folder))
        value, _ = reader.machine(archive.read(root + pickled)).load()
        if name and isinstance(value, (list, tuple)):  # the archive's code calls them CONSTANTS.c0, c1 ...
            value = {f"c{i}": v for i, v in enumerate(value)}
        reader.collect(value, arrays, name)
        if beside is not None and not name:
            beside += forward.silent_modules(value) + forward.other_calls(archive, root)
    return arrays


def read_legacy(
    path: Path, budget: Budget, data: bytes | None = None, beside: list[str] | None = None
) -> dict[str, np.ndarray]:
    """A stream of pickles followed by the storages (torch.save before 1.6), or one pickle of NumPy arrays.

    `data` are the bytes, already paid for, when `path` only names them; `beside` as for `read_torch_zip`.
    """
    if data is None:
        budget.take(size_of(path), "the file")
        data = path.read_bytes()
    if b"joblib.numpy_pickle" in data[:4096]:
        raise UnsupportedError(
            f"{path}: joblib writes arrays between the parts of a pickle, which is not read; save them with np.savez"
        )
    runs: dict[str, memoryview] = {}

    def read_storage(storage: Storage) -> memoryview:
        if storage.key not in runs:
            raise FormatError(f"{path}: storage {storage.key!r} is missing")
        return runs[storage.key]

    reader = TorchReader(path, budget, read_storage)
    storages: dict[str, Storage] = {}

    def persistent(key: Any) -> Any:
        value = reader._persistent(key)
        if isinstance(value, Storage):
            first = storages.setdefault(value.key, value)
            if (first.dtype, first.n) != (value.dtype, value.n):
                raise ValueError(f"storage {value.key[:40]!r} is described in two ways")
        return value

    machine = Machine(path, data, reader.rebuild, persistent)
    value, at = machine.load()
    if type(value) is int and value == _LEGACY_MAGIC:
        version, at = machine.load(at)
        if version != _LEGACY_VERSION:
            raise UnsupportedError(f"{path}: torch.save format {short(version)}, expected {_LEGACY_VERSION}")
        system, at = machine.load(at)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise UnsupportedError(f"{path}: not saved on a little-endian machine; save it again on one")
        value, at = machine.load(at)
        keys, at = machine.load(at)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise FormatError(f"{path}: damaged list of storages")
        for key in keys:
            if key not in storages or key in runs:
                raise FormatError(f"{path}: storage {key[:40]!r} belongs to no tensor or occurs twice")
            at = _run(path, data, at, storages[key], runs)
    if at != len(data):
        raise FormatError(f"{path}: {len(data) - at} bytes follow the last pickle or storage")
    arrays: dict[str, np.ndarray] = {}
    reader.collect(value, arrays)
    if beside is not None:
        beside += forward.silent_modules(value)
    return arrays


def _run(path: Path, data: bytes, at: int, storage: Storage, runs: dict[str, memoryview]) -> int:
    """Take the bytes of one storage at `at`; gives the position behind them."""
    if len(data) - at < 8:
        raise FormatError(f"{path}: cut off before storage {storage.key!r}")
    (n,) = struct.unpack_from("<q", data, at)
    n_bytes = n * (DTYPES[storage.dtype].itemsize if storage.dtype else 1)
    if n != storage.n or n_bytes > len(data) - at - 8:
        raise FormatError(
            f"{path}: storage {storage.key!r} has {n} elements, expected {storage.n}; "
            f"{len(data) - at - 8} bytes are left"
        )
    runs[storage.key] = memoryview(data)[at + 8 : at + 8 + n_bytes]
    return at + 8 + n_bytes
