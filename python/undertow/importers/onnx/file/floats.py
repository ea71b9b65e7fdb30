# SPDX-License-Identifier: MIT
"""Files whose numbers are float16, bfloat16 or float64: the same graph in float32, which is what is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ....errors import UnsupportedError
from .read import graphs_of, require_onnx

#: attributes that name a type, by operator; of any other operator none does, or not of what it gives
_TYPES = {
    "Cast": "to",
    **dict.fromkeys(("Bernoulli", "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform"), "dtype"),
    **dict.fromkeys(("RandomUniformLike", "SequenceEmpty"), "dtype"),
    **dict.fromkeys(("BlackmanWindow", "DequantizeLinear", "HammingWindow", "HannWindow"), "output_datatype"),
}


def in_float32(model: Any) -> str:
    """Make every floating-point number of a checked model float32, in place. Gives what to say of it; "" where nothing
    was to be done.

    Of float16 and bfloat16 no weight changes, and sums are no longer rounded to them. Of float64 weights are rounded.

    Raises:
        UnsupportedError: a float64 that is beyond float32.
    """
    onnx = require_onnx()
    types = onnx.TensorProto
    names = {types.FLOAT16: "float16", types.BFLOAT16: "bfloat16", types.DOUBLE: "float64"}
    others: set[str] = set()

    def changed(kind: int) -> int:
        if kind in names:
            others.add(names[kind])
            return int(types.FLOAT)
        return kind

    for graph in graphs_of(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for tensor_type in _tensor_types(value.type):
                tensor_type.elem_type = changed(tensor_type.elem_type)
        for tensor in graph.initializer:
            _convert(onnx, tensor, changed)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    _convert(onnx, attribute.t, changed)
                for tensor in attribute.tensors:
                    _convert(onnx, tensor, changed)
                if attribute.name == _TYPES.get(node.op_type):
                    attribute.i = changed(attribute.i)
    if not others:
        return ""
    exact = "its weights rounded" if "float64" in others else "its weights as they are"
    return f"the file's numbers are {' and '.join(sorted(others))}; they are computed in float32, {exact}"


def _tensor_types(type_proto: Any) -> Iterator[Any]:
    """The tensor types of what a type is made of."""
    if type_proto.HasField("tensor_type"):
        yield type_proto.tensor_type
    for kind in ("sequence_type", "optional_type"):
        if type_proto.HasField(kind):
            yield from _tensor_types(getattr(type_proto, kind).elem_type)


def _convert(onnx: Any, tensor: Any, changed: Any) -> None:
    if (kind := changed(tensor.data_type)) == tensor.data_type:
        return
    array = onnx.numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    lost = np.isinf(narrow) & ~np.isinf(array.astype(np.float64))
    if lost.any():
        value = array[np.unravel_index(int(np.argmax(lost)), lost.shape)] if array.ndim else array
        raise UnsupportedError(
            f"tensor {tensor.name!r} holds {value}, which is beyond float32; computed are float32 numbers"
        )
    name = tensor.name
    tensor.CopyFrom(onnx.numpy_helper.from_array(narrow, name))
    assert tensor.data_type == kind


__all__ = ["in_float32"]
