# SPDX-License-Identifier: MIT
"""The inputs of an ONNX graph, as the file or the caller declares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ....errors import FormatError, ShapeError, UnsupportedError
from ..file import limits

#: types of inputs that hold ids
ID_TYPES = ("int64", "int32")


@dataclass
class Port:
    """A graph input: dims are numbers, or a name (or "") where the size is not fixed."""

    name: str
    dims: list[int | str]
    dtype: str
    #: whether the file gives a shape at all
    shaped: bool = True

    @property
    def dynamic(self) -> list[int]:
        return [axis for axis, n in enumerate(self.dims) if isinstance(n, str)]


def dims_of(value: Any) -> list[int | str]:
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param
        for d in value.type.tensor_type.shape.dim
    ]


def port_of(onnx: Any, value: Any, given: set[str]) -> Port:
    if not value.type.HasField("tensor_type"):
        raise UnsupportedError(
            f"input {value.name!r} is no tensor (a sequence, map or optional), which is not supported"
        )
    shaped = value.type.tensor_type.HasField("shape")
    if not shaped and value.name not in given:
        raise UnsupportedError(f"input {value.name!r} has no shape; give one with shapes={{{value.name!r}: [...]}}")
    if len(value.type.tensor_type.shape.dim) > limits.MAX_RANK:
        raise UnsupportedError(f"input {value.name!r} has more than {limits.MAX_RANK} axes")
    dtype = dtype_of(onnx, value)
    if not dtype:
        raise FormatError(f"input {value.name!r} has no data type")
    return Port(value.name, dims_of(value), dtype, shaped)


def dtype_of(onnx: Any, value: Any) -> str:
    """The data type that a file declares, "" where it does not."""
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    except KeyError:
        return ""


def override(port: Port, shape: list[int | None]) -> list[int | str]:
    """The given shape; None keeps an axis open."""
    if (port.shaped and len(shape) != len(port.dims)) or any(n is not None and int(n) < 1 for n in shape):
        raise ShapeError(f"shapes: {port.name!r} was given {shape}, the model declares {port.dims}")
    declared = port.dims if port.shaped else [""] * len(shape)
    names = [d if isinstance(d, str) else "" for d in declared]
    return [names[a] if n is None else int(n) for a, n in enumerate(shape)]
