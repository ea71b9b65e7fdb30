# SPDX-License-Identifier: MIT
"""ONNX operators on quantised numbers, exactly: integers are float32 frames, whose sums stay below 2^24.

Sums of products are exact in any order as long as no partial sum can reach 2^24. What could is refused, with the bound.
Scales are multiplied in float32 and halves rounded to even, before the zero point is added: as ONNX Runtime does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, provenance
from ..frames.builder import Builder
from ..frames.context import Walk
from ..frames.integers import FLOAT, RANGES, UNROUNDED, WHOLE, numbers, take, take_kind, together, whole
from ..frames.padded import beside_constants
from ..frames.provenance import Layout, Mixed, Tensor
from .convolution import CONV, conv
from .elementwise import take_apart
from .matrix import matmul

_QUANTISED = ("int8", "uint8", "int16", "uint16")


def _scalar_or_axis(node: OnnxNode, array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A scale or zero point, one for all or one for each place of attribute `axis`, to broadcast to `shape`."""
    if array.size == 1:
        return array.reshape(())
    axis = int(node.attrs.get("axis", 1))
    if array.ndim != 1 or not -len(shape) <= axis < len(shape) or array.size != shape[axis]:
        node.unsupported(
            f"{what} has shape {array.shape} for an input of shape {shape}; expected one number, or one for each place "
            f"of axis {axis}"
        )
    return array.reshape([-1 if a == axis % len(shape) else 1 for a in range(len(shape))])


def _constant(walk: Walk, node: OnnxNode, layout: Layout, array: np.ndarray) -> np.ndarray:
    """Element numbers of a constant, broadcast to a layout's frame."""
    frame = provenance.frame_of(array, layout)
    if frame is None:
        node.unsupported("a scale or zero point differs between timesteps or batch items")
    return walk.builder.constant(frame)


def _refuse_blocks(node: OnnxNode) -> None:
    for key in ("block_size", "output_dtype", "precision"):
        if node.attrs.get(key, 0):
            node.unsupported(f"attribute {key}={node.attrs[key]} is not supported")


def _slot(operands: list[Any], i: int) -> Any:
    return operands[i] if len(operands) > i else None


# -- one by one -----------------------------------------------------------------------------------------------------


def dequantize(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """(x - zero point) * scale"""
    node.allow("axis", "block_size", "output_dtype")
    _refuse_blocks(node)
    x, scale, zero = operands[0], operands[1], _slot(operands, 2)
    layout, elements = take(node, x, (*_QUANTISED, WHOLE, UNROUNDED))
    walk.count(node, layout.shape, layout.outer)
    if isinstance(scale, Tensor) or isinstance(zero, Tensor):
        node.unsupported("its scale or zero point is computed at run time, expected a constant")
    builder = walk.builder
    if zero is not None and np.any(zero):
        shift = provenance.frame_of(
            _scalar_or_axis(node, numbers(node, zero, "the zero point"), x.shape, "zero"), layout
        )
        if shift is None:
            node.unsupported("the zero point differs between timesteps or batch items")
        elements = emit.affine(builder, elements, 1.0, -shift)
    factor = _scalar_or_axis(node, float_constant(node, scale, "the scale"), x.shape, "the scale")
    scaled = emit.elementwise(builder, "mul", [elements, _constant(walk, node, layout, factor)])
    return [layout.tensor(scaled, FLOAT)]


def quantize(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """round(x / scale) + zero point, kept within the range of its dtype"""
    node.allow("axis", "saturate", "block_size", "output_dtype", "precision")
    given = node.attrs.get("output_dtype", 0)
    x, scale, zero = operands[0], operands[1], _slot(operands, 2)
    if isinstance(scale, Tensor) or isinstance(zero, Tensor):
        node.unsupported("its scale or zero point is computed at run time, expected a constant")
    name = "uint8" if zero is None else str(zero.dtype)
    if given and zero is None:
        name = str(walk.evaluator.onnx.helper.tensor_dtype_to_np_dtype(given))
    if name not in _QUANTISED:
        node.unsupported(f"gives {name}; supported: {', '.join(_QUANTISED)}")
    for key in ("block_size", "precision"):
        if node.attrs.get(key, 0):
            node.unsupported(f"attribute {key}={node.attrs[key]} is not supported")
    layout, elements = take_apart(walk, node, x)
    walk.count(node, layout.shape, layout.outer)
    factor = _scalar_or_axis(node, float_constant(node, scale, "the scale"), x.shape, "the scale")
    divided = emit.elementwise(walk.builder, "div", [elements, _constant(walk, node, layout, factor)])
    shift = np.zeros(()) if zero is None else _scalar_or_axis(node, numbers(node, zero, "zero"), x.shape, "zero")
    return [_rounded(walk, node, layout, divided, shift, name)]


def _rounded(walk: Walk, node: OnnxNode, layout: Layout, elements: np.ndarray, zero: np.ndarray, dtype: str) -> Tensor:
    builder = walk.builder
    rounded = emit.activation(builder, elements, "round")
    if zero.any():
        shift = provenance.frame_of(zero, layout)
        if shift is None:
            node.unsupported("the zero point differs between timesteps or batch items")
        rounded = emit.affine(builder, rounded, 1.0, shift)
    low, high = RANGES[dtype]
    return layout.tensor(emit.activation(builder, rounded, "clip", low, high), dtype)


def dynamic_quantize(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """To uint8, with scale and zero point from the smallest and largest number of the frame and 0.

    Where the range is that of a whole sequence, no stream knows it in time: the numbers go on as they are, of scale 1.
    """
    node.allow()
    x = operands[0]
    take_kind(node, x, (FLOAT,))
    if (x.steps >= 0).any():
        if walk.reading.fixed:
            node.unsupported(f"works along time, of an input of shape {x.shape}")
        walk.builder.unrounded.append(node.where)
        return [Tensor(x.codes, x.labels, UNROUNDED), np.array(1, np.float32), np.array(0, np.uint8)]
    layout, elements = x.split()
    walk.count(node, layout.shape, layout.outer)
    y, scale, point = rounded_to_bytes(walk.builder, elements)
    return [layout.tensor(y, "uint8"), Tensor(scale, ()), Tensor(point, (), "uint8")]


def rounded_to_bytes(builder: Builder, elements: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What DynamicQuantizeLinear gives of the elements of a frame: bytes, the scale, the zero point."""
    zero, one = (builder.constant(np.float32(v)) for v in (0.0, 1.0))
    axes = range(elements.ndim)
    high = emit.elementwise(builder, "max", [emit.reduce(builder, "max", elements, axes), zero])
    low = emit.elementwise(builder, "min", [emit.reduce(builder, "min", elements, axes), zero])
    width = emit.elementwise(builder, "sub", [high, low])
    # Of a frame of zeros the scale is 1 / 255.
    width = emit.elementwise(builder, "where", [emit.elementwise(builder, "equal", [high, low]), one, width])
    scale = emit.elementwise(builder, "div", [width, builder.constant(np.float32(255.0))])
    point = emit.elementwise(builder, "div", [emit.affine(builder, low, -1.0, 0.0), scale])
    point = emit.activation(builder, emit.activation(builder, point, "clip", 0.0, 255.0), "round")
    spread = [np.broadcast_to(t, elements.shape) for t in (scale, point)]
    y = emit.activation(builder, emit.elementwise(builder, "div", [elements, spread[0]]), "round")
    y = emit.activation(builder, emit.elementwise(builder, "add", [y, spread[1]]), "clip", 0.0, 255.0)
    return y, scale, point


# -- products -------------------------------------------------------------------------------------------------------


def _centred(walk: Walk, node: OnnxNode, x: Any, zero: Any, what: str) -> Any:
    """An operand without its zero point, as float32."""
    if isinstance(x, np.ndarray):
        if isinstance(zero, Tensor):
            node.unsupported(f"the zero point of the constant {what} is computed at run time")
        return numbers(node, x.astype(np.int64) - (0 if zero is None else _point(node, zero, x)), what)
    if isinstance(x, Tensor) and x.dtype == UNROUNDED:
        return Tensor(x.codes, x.labels, FLOAT)
    take_kind(node, x, _QUANTISED, what)
    if zero is None:
        return Tensor(x.codes, x.labels, FLOAT)
    if isinstance(zero, Tensor):
        layout, tables = together(walk, node, [x, zero], _QUANTISED)
        return layout.tensor(emit.elementwise(walk.builder, "sub", tables), FLOAT)
    if zero.size != 1:
        node.unsupported(f"the zero point of {what} has shape {zero.shape}, expected one number")
    point = float(zero.reshape(()))

    def centred(tensor: Tensor) -> Tensor:
        layout, elements = take(node, tensor, _QUANTISED, what)
        return layout.tensor(emit.affine(walk.builder, elements, 1.0, -point) if point else elements, FLOAT)

    try:
        return centred(x)
    except Mixed:
        result = beside_constants(walk.builder, x, centred, lambda numbers: numbers - np.float32(point))
        if result is None:
            raise
        return result


def _point(node: OnnxNode, zero: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A constant matrix's zero point, one for all or one for each column."""
    zero = zero.astype(np.int64)
    if zero.size == 1:
        return zero.reshape(())
    if zero.ndim == 1 and x.ndim >= 2 and zero.size == x.shape[-1]:
        return zero
    return node.unsupported(f"a zero point has shape {zero.shape}, expected one number, or one for each column")


def _largest(x: Any, zero: Any) -> int:
    """How far a number of a computed operand can be from its zero point."""
    low, high = RANGES[x.dtype]
    if isinstance(zero, np.ndarray):
        point = int(zero.reshape(-1)[0]) if zero.size else 0
        return max(high - point, point - low)
    return high - low if zero is not None else max(high, -low)


def _integer_product(walk: Walk, node: OnnxNode, a: Any, a_zero: Any, b: Any, b_zero: Any) -> tuple[Tensor, str]:
    """matmul(a - a_zero, b - b_zero), exactly, as float32; and the dtype that it stands for."""
    x, y = _centred(walk, node, a, a_zero, "A"), _centred(walk, node, b, b_zero, "B")
    if UNROUNDED in (a.dtype, b.dtype):
        return matmul(walk, node, x, y), FLOAT
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        dtype = whole(node, float(a.shape[-1]) * _largest(a, a_zero) * _largest(b, b_zero))
    elif isinstance(x, Tensor):
        dtype = whole(node, float(np.abs(y).sum(axis=-2 if y.ndim > 1 else 0).max(initial=0)) * _largest(a, a_zero))
    else:
        dtype = whole(node, float(np.abs(x).sum(axis=-1).max(initial=0)) * _largest(b, b_zero))
    return matmul(walk, node, x, y), dtype


def _scaled(walk: Walk, node: OnnxNode, product: Tensor, scales: list[Any], zero: Any, shape: list[int]) -> Tensor:
    """round(product * (a_scale * b_scale / y_scale)) + zero point, in the range of the zero point's dtype."""
    a, b, y = (float_constant(node, s, "a scale") for s in scales)
    if a.size != 1 or y.size != 1 or (b.size != 1 and b.ndim != 1):
        node.unsupported(f"its scales have shapes {a.shape}, {b.shape}, {y.shape}, expected one number, or a row for B")
    factor = (a.reshape(()) * b.reshape(shape if b.size > 1 else ())) / y.reshape(())
    layout, elements = take_apart(walk, node, product)
    scaled = emit.elementwise(walk.builder, "mul", [elements, _constant(walk, node, layout, factor)])
    if not isinstance(zero, np.ndarray) or zero.size != 1 or str(zero.dtype) not in _QUANTISED:
        node.unsupported("the zero point of its output is no single constant of int8, uint8, int16 or uint16")
    return _rounded(walk, node, layout, scaled, numbers(node, zero, "zero").reshape(()), str(zero.dtype))


def qlinear_matmul(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = operands
    product, _ = _integer_product(walk, node, a, a_zero, b, b_zero)
    return [_scaled(walk, node, product, [a_scale, b_scale, y_scale], y_zero, [-1])]


def matmul_integer(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    a, b = operands[:2]
    product, dtype = _integer_product(walk, node, a, _slot(operands, 2), b, _slot(operands, 3))
    return [Tensor(product.codes, product.labels, dtype)]


def _integer_conv(
    walk: Walk, node: OnnxNode, x: Any, x_zero: Any, W: Any, w_zero: Any, bias: Any = None
) -> tuple[Tensor, str]:
    if not isinstance(W, np.ndarray) or isinstance(w_zero, Tensor):
        node.unsupported("its kernel is computed at run time, expected a constant")
    point = np.zeros((), np.int64) if w_zero is None else w_zero.astype(np.int64)
    point = point.reshape(()) if point.size == 1 else point.reshape(-1, *[1] * (W.ndim - 1))
    kernel = numbers(node, W.astype(np.int64) - point, "W")
    b = None if bias is None else numbers(node, bias, "B")
    centred = _centred(walk, node, x, x_zero, "X")
    if not isinstance(centred, Tensor):
        node.unsupported("its input is a constant, expected a computed tensor")
    dtype = FLOAT
    if x.dtype != UNROUNDED:
        sums = np.abs(kernel).reshape(len(kernel), -1).sum(axis=1) * _largest(x, x_zero)
        dtype = whole(node, float((sums + (0 if b is None else np.abs(b))).max(initial=0)))
    (result,) = conv(walk, node, [centred, kernel, b])
    return result, dtype


def qlinear_conv(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow(*CONV)
    x, x_scale, x_zero, W, w_scale, w_zero, y_scale, y_zero = operands[:8]
    product, _ = _integer_conv(walk, node, x, x_zero, W, w_zero, _slot(operands, 8))
    shape = [1, -1, *[1] * (len(x.shape) - 2)]
    return [_scaled(walk, node, product, [x_scale, w_scale, y_scale], y_zero, shape)]


def conv_integer(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow(*CONV)
    product, dtype = _integer_conv(walk, node, operands[0], _slot(operands, 2), operands[1], _slot(operands, 3))
    return [Tensor(product.codes, product.labels, dtype)]
