# SPDX-License-Identifier: MIT
"""What the operators of ONNX Runtime's quantiser compute, each said in ONNX's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .definitions import Parts

#: of an LSTM that stands for DynamicQuantizeLSTM: the scales of its integer weights. It rounds x and h to 8 bits, each
#: by the smallest and largest number of what is there in one product, as DynamicQuantizeLinear does
SCALES = ("W_scale", "R_scale")
_FLOAT = 1  # of TensorProto
_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides")
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


# -- products of what is rounded while it runs ------------------------------------------------------------------------


def dynamic_quantize_matmul(parts: Parts) -> None:
    """A, rounded to 8 bits by its smallest and largest number; then as MatMulIntegerToFloat."""
    parts.node.allow()
    rounded, scale, point = (parts.model.new_name(f"{parts.node.outputs[0]}/A") for _ in range(3))
    parts.put(parts.helper.make_node("DynamicQuantizeLinear", [parts.slot(0)], [rounded, scale, point]))
    b, b_scale, b_zero, bias = (parts.slot(i) for i in range(1, 5))
    _float_product(parts, [rounded, b, point, b_zero], scale, b_scale, bias)


def matmul_integer_to_float(parts: Parts) -> None:
    """(A - zero point) (B - zero point), a product of integers, times both scales, and a bias."""
    parts.node.allow()
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (parts.slot(i) for i in range(7))
    _float_product(parts, [a, b, a_zero, b_zero], a_scale, b_scale, bias)


def _float_product(parts: Parts, operands: list[str], a_scale: str, b_scale: str, bias: str) -> None:
    product = parts.add("Cast", _integer_product(parts, operands), to=_FLOAT)
    scale, result = parts.add("Mul", a_scale, b_scale), parts.node.outputs[0]
    if bias:
        parts.add("Add", parts.add("Mul", product, scale), bias, gives=result)
    else:
        parts.add("Mul", product, scale, gives=result)


def _integer_product(parts: Parts, operands: list[str]) -> str:
    while not operands[-1]:
        operands = operands[:-1]
    return parts.add("MatMulInteger", *operands)


def dynamic_quantize_lstm(parts: Parts) -> None:
    """An LSTM of the numbers that its integer weights stand for; what it rounds besides, its handler knows."""
    node = parts.node
    known = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget")
    node.allow(*known)
    given = [parts.slot(i) for i in range(8)]
    settings = parts.settings(*known)
    for key, at, scale_at in ((SCALES[0], 1, 8), (SCALES[1], 2, 10)):
        weights, scale, zero = (parts.known(i, "a weight") for i in (at, scale_at, scale_at + 1))
        n, columns = (weights.shape[0], weights.shape[2]) if weights.ndim == 3 else (0, 0)
        if scale.shape not in ((n,), (n, columns)) or zero.shape != scale.shape:
            node.shape_error(
                f"weights of shape {weights.shape} have scales {scale.shape} and zero points {zero.shape}; expected "
                "one for each direction, or for each column of it"
            )
        row = parts.constant(np.array([n, 1, -1]))
        zeros, scales = (parts.slot(i) for i in (scale_at + 1, scale_at))
        shift = parts.add("Reshape", parts.add("Cast", zeros, to=_FLOAT), row)
        centred = parts.add("Sub", parts.add("Cast", given[at], to=_FLOAT), shift)
        scaled = parts.add("Mul", centred, parts.add("Reshape", scales, row))
        given[at] = parts.add("Transpose", scaled, perm=[0, 2, 1])
        settings[key] = np.broadcast_to(scale.reshape(n, -1), (n, columns)).ravel().tolist()
    parts.put(parts.helper.make_node("LSTM", given, node.outputs, **settings))


# -- of numbers that stand for others: taken to float32, computed, and rounded again ----------------------------------


def _numbers(parts: Parts, at: int) -> str:
    """What the three inputs from `at` on stand for: x, its scale and its zero point."""
    given = [parts.slot(at), parts.slot(at + 1), parts.slot(at + 2)]
    return parts.add("DequantizeLinear", *(given if given[2] else given[:2]))


def _rounded(parts: Parts, value: str, at: int) -> None:
    """The result: a value in the scale and with the zero point of the inputs from `at` on."""
    given = [value, parts.slot(at), parts.slot(at + 1)]
    parts.add("QuantizeLinear", *(given if given[2] else given[:2]), gives=parts.node.outputs[0])


def _pairwise(parts: Parts, op: str) -> None:
    parts.node.allow()
    _rounded(parts, parts.add(op, _numbers(parts, 0), _numbers(parts, 3)), 6)


def add(parts: Parts) -> None:
    _pairwise(parts, "Add")


def multiply(parts: Parts) -> None:
    _pairwise(parts, "Mul")


def sigmoid(parts: Parts) -> None:
    parts.node.allow()
    _rounded(parts, parts.add("Sigmoid", _numbers(parts, 0)), 3)


def leaky_relu(parts: Parts) -> None:
    parts.node.allow("alpha")
    _rounded(parts, parts.add("LeakyRelu", _numbers(parts, 0), alpha=parts.node.attrs.get("alpha", 0.01)), 3)


def softmax(parts: Parts) -> None:
    """Along one axis since operator set 13, before over all axes from that one on."""
    parts.node.allow("axis", "opset")
    axis, opset = parts.node.attrs.get("axis", -1), parts.node.attrs.get("opset", 13)
    x = _numbers(parts, 0)
    if axis != -1 and (opset < 13) != (parts.node.opset < 13) and axis != parts.rank(parts.slot(0)) - 1:
        parts.node.unsupported(
            f"attributes axis={axis} and opset={opset} in a file of operator set {parts.node.opset}, which defines "
            "Softmax otherwise; expected the last axis"
        )
    _rounded(parts, parts.add("Softmax", x, axis=axis), 3)


def concat(parts: Parts) -> None:
    """Scale and zero point of the result come first, then the three of each operand."""
    parts.node.allow("axis")
    if len(parts.given) < 5 or len(parts.given) % 3 != 2:
        parts.node.format_error(f"has {len(parts.given)} inputs, expected two, and three for each operand")
    operands = [_numbers(parts, at) for at in range(2, len(parts.given), 3)]
    _rounded(parts, parts.add("Concat", *operands, axis=parts.node.attrs.get("axis", 0)), 0)


def average_pool(parts: Parts) -> None:
    parts.node.allow(*_POOL, "channels_last")
    pool = parts.settings(*_POOL)
    rank = 2 + len(parts.node.attrs.get("kernel_shape", ()))
    _rounded(parts, _in_order(parts, rank, _numbers(parts, 0), lambda x: parts.add("AveragePool", x, **pool)), 3)


def global_average_pool(parts: Parts) -> None:
    parts.node.allow("channels_last")
    last = parts.node.attrs.get("channels_last", 0)
    rank = parts.rank(parts.slot(0)) if last else 0
    _rounded(parts, _in_order(parts, rank, _numbers(parts, 0), lambda x: parts.add("GlobalAveragePool", x)), 3)


def _in_order(parts: Parts, rank: int, x: str, compute: Callable[[str], str], gives: str = "") -> str:
    """What is computed of x with its channels on axis 1, though attribute `channels_last` says that they come last."""
    if not parts.node.attrs.get("channels_last", 0):
        return compute(x)
    inside = range(2, rank)
    result = compute(parts.add("Transpose", x, perm=[0, rank - 1, *(axis - 1 for axis in inside)]))
    return parts.add("Transpose", result, perm=[0, *inside, 1], gives=gives)


def where(parts: Parts) -> None:
    parts.node.allow()
    _rounded(parts, parts.add("Where", parts.slot(0), _numbers(parts, 1), _numbers(parts, 4)), 7)


def max_pool(parts: Parts) -> None:
    """Of channels that come last; the largest is the same in any scale."""
    parts.node.allow(*(key for key in _POOL if key != "count_include_pad"))
    parts.node.attrs["channels_last"] = 1
    pool = parts.settings(*_POOL)
    rank, result = 2 + len(parts.node.attrs.get("kernel_shape", ())), parts.node.outputs[0]
    _in_order(parts, rank, parts.slot(0), lambda x: parts.add("MaxPool", x, **pool), result)


def convolution(parts: Parts) -> None:
    """ONNX's QLinearConv; the optimiser's may have its channels last."""
    parts.node.allow(*_CONV, "channels_last")
    settings = parts.settings(*_CONV)
    rank, rest = parts.known(3, "its kernel").ndim, parts.given[1:]
    result = parts.node.outputs[0]
    if parts.node.attrs.get("channels_last", 0):
        _in_order(parts, rank, parts.slot(0), lambda x: parts.add("QLinearConv", x, *rest, **settings), result)
    else:
        parts.add("QLinearConv", parts.slot(0), *rest, gives=result, **settings)


def gemm(parts: Parts) -> None:
    """alpha a_scale b_scale ((A - zero point) (B - zero point) + C), of integers; rounded, where a scale says how."""
    node, result = parts.node, parts.node.outputs[0]
    node.allow("alpha", "transA", "transB")
    a, b = (
        parts.add("Transpose", parts.slot(at), perm=[1, 0]) if node.attrs.get(key, 0) else parts.slot(at)
        for at, key in ((0, "transA"), (3, "transB"))
    )
    product = _integer_product(parts, [a, b, parts.slot(2), parts.slot(5)])
    if parts.slot(6):
        product = parts.add("Add", product, parts.slot(6))
    scale = parts.add("Mul", parts.slot(1), parts.slot(4))
    if (alpha := node.attrs.get("alpha", 1.0)) != 1:
        scale = parts.add("Mul", scale, parts.constant(np.float32(alpha)))
    rounded = bool(parts.slot(7))
    scaled = parts.add("Mul", parts.add("Cast", product, to=_FLOAT), scale, gives="" if rounded else result)
    if rounded:
        _rounded(parts, scaled, 7)


def quantize(parts: Parts) -> None:
    """ONNX's QuantizeLinear or DequantizeLinear, of integers that older operator sets lack."""
    parts.node.allow("axis")
    op = parts.node.op.rpartition(".")[2]
    parts.add(op, *parts.given, gives=parts.node.outputs[0], **parts.settings("axis"))
