# SPDX-License-Identifier: MIT
"""`OrtValue` and `IOBinding` as ONNX Runtime's: arrays that are fed and filled where they lie, on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ._errors import InvalidArgument

#: NumPy's name of a dtype -> ONNX Runtime's
TYPES = {
    "float32": "tensor(float)", "float64": "tensor(double)", "float16": "tensor(float16)", "bool": "tensor(bool)",
    "bfloat16": "tensor(bfloat16)", "object": "tensor(string)",
    **{f"{sign}int{bits}": f"tensor({sign}int{bits})" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def type_name(dtype: np.dtype | None) -> str:
    """What ONNX Runtime calls a tensor of a dtype."""
    return TYPES.get(str(dtype), f"tensor({dtype})")


class OrtValue:
    """A tensor, which is an array in the memory of the CPU.

    >>> OrtValue.ortvalue_from_numpy(np.zeros((1, 2), np.float32)).data_type()
    'tensor(float)'
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    @staticmethod
    def ortvalue_from_numpy(numpy_obj: np.ndarray, device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        """A value of its own, a copy of the array."""
        _check_device(device_type)
        return OrtValue(np.array(numpy_obj, order="C"))

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int], element_type: Any, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """A value of which only the shape and the dtype are known yet."""
        _check_device(device_type)
        return OrtValue(np.zeros(tuple(shape), element_type))

    def numpy(self) -> np.ndarray:
        """A copy."""
        return self._array.copy()

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def data_type(self) -> str:
        return type_name(self._array.dtype)

    def element_type(self) -> int:
        from onnx import helper

        return int(helper.np_dtype_to_tensor_dtype(self._array.dtype))

    def data_ptr(self) -> int:
        return int(self._array.ctypes.data)

    def device_name(self) -> str:
        return "cpu"

    def has_value(self) -> bool:
        return True

    def is_tensor(self) -> bool:
        return True

    def is_tensor_sequence(self) -> bool:
        return False

    def is_sparse_tensor(self) -> bool:
        return False

    def update_inplace(self, np_arr: np.ndarray) -> None:
        """Put other numbers of the same dtype and shape in.

        Raises:
            InvalidArgument: they have others.
        """
        if np_arr.shape != self._array.shape or np_arr.dtype != self._array.dtype:
            raise InvalidArgument(
                f"the value has dtype {self._array.dtype} and shape {self._array.shape}, got {np_arr.dtype} and "
                f"{np_arr.shape}"
            )
        self._array[...] = np_arr

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._array, dtype)


class IOBinding:
    """What `InferenceSession.io_binding` gives: inputs and outputs that are said once, for many calls.

    An output that is bound without memory of its own has a new array after each call, which `get_outputs` gives.
    """

    def __init__(self, session: Any) -> None:
        """session: an `InferenceSession`, whose calls are bound."""
        self._session = session
        self._feeds: dict[str, np.ndarray] = {}
        self._outputs: dict[str, np.ndarray | None] = {}
        self._results: dict[str, OrtValue] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: np.ndarray) -> None:
        """The array is read where it lies in each call, if it is contiguous."""
        self._known(name, self._session.get_inputs(), "input")
        self._feeds[name] = np.asarray(arr_on_cpu, order="C")

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """The memory at `buffer_ptr`, which must stay where it is."""
        _check_device(device_type)
        self._known(name, self._session.get_inputs(), "input")
        self._feeds[name] = _at(buffer_ptr, element_type, shape)

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        self._known(name, self._session.get_inputs(), "input")
        self._feeds[name] = ortvalue._array

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Without `buffer_ptr`, an array for each call."""
        _check_device(device_type)
        self._known(name, self._session.get_outputs(), "output")
        self._outputs[name] = None if buffer_ptr is None else _at(buffer_ptr, element_type, shape or ())

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        self._known(name, self._session.get_outputs(), "output")
        self._outputs[name] = ortvalue._array

    def synchronize_inputs(self) -> None:
        """There is nothing to wait for."""

    def synchronize_outputs(self) -> None:
        """There is nothing to wait for."""

    def get_outputs(self) -> list[OrtValue]:
        """What the last call gave, in the order in which outputs were bound."""
        return [self._results[name] for name in self._outputs if name in self._results]

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        """As `get_outputs`, as arrays."""
        return [value.numpy() for value in self.get_outputs()]

    def clear_binding_inputs(self) -> None:
        self._feeds.clear()

    def clear_binding_outputs(self) -> None:
        self._outputs.clear()
        self._results.clear()

    def _known(self, name: str, nodes: Sequence[Any], what: str) -> None:
        names = [node.name for node in nodes]
        if name not in names:
            raise InvalidArgument(f"the file has no {what} {name!r}, expected one of {names}")

    def _run(self, run_options: Any) -> None:
        names = list(self._outputs)
        results = self._session.run(names, self._feeds, run_options) if names else []
        for name, result in zip(names, results, strict=True):
            target = self._outputs[name]
            if target is None:
                self._results[name] = OrtValue(result)
                continue
            if target.shape != result.shape or target.dtype != result.dtype:
                raise InvalidArgument(
                    f"output {name!r} has dtype {result.dtype} and shape {result.shape}, it was bound to memory of "
                    f"dtype {target.dtype} and shape {target.shape}"
                )
            target[...] = result
            self._results[name] = OrtValue(target)


def arrays_of(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Values among the feeds as their arrays."""
    return {name: value._array if isinstance(value, OrtValue) else value for name, value in feeds.items()}


def _check_device(device_type: str) -> None:
    if str(device_type).lower() not in ("cpu", "cpu_pinned"):
        raise UnsupportedError(f"device {device_type!r} is not supported, expected 'cpu'")


def _at(pointer: int, element_type: Any, shape: Sequence[int]) -> np.ndarray:
    """The array that lies at an address."""
    dtype, dims = np.dtype(element_type), tuple(int(n) for n in shape)
    buffer = (ctypes.c_char * (prod(dims) * dtype.itemsize)).from_address(int(pointer))
    return np.frombuffer(buffer, dtype).reshape(dims)


__all__ = ["IOBinding", "OrtValue", "arrays_of", "type_name"]
