# SPDX-License-Identifier: MIT
"""Run single ONNX nodes on known arrays: constants, shape arithmetic, and the tables of `codes` through movement ops.

onnx's own reference evaluator does the work, so that each operator set's rules hold. Only ops of an allow-list are
run, and the size of their result is bounded before it is made.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...._text import cause
from ....budget import TooMuch, room
from ....errors import FormatError, ShapeError, UnsupportedError
from ..file import limits
from ..file.nodes import OnnxNode
from ..file.read import require_onnx
from . import gathers

#: ops that move elements and change none: their result on a table of origins is again a table of origins
MOVEMENT = frozenset(
    [
        "Identity",
        "Transpose",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Slice",
        "Split",
        "Concat",
        "Gather",
        "Expand",
        "Tile",
        "GatherElements",
        "GatherND",
        "DepthToSpace",
        "SpaceToDepth",
        "ScatterND",
        "ScatterElements",
        "Where",
    ]
)

#: ops that are computed when all their inputs are known
FOLDABLE = MOVEMENT | frozenset(
    [
        "Constant",
        "ConstantOfShape",
        "Shape",
        "Size",
        "Range",
        "Cast",
        "CastLike",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
        "Not",
        "And",
        "Or",
        "Xor",
        "Min",
        "Max",
        "Sum",
        "Mean",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Mod",
        "Pow",
        "Neg",
        "Abs",
        "Sqrt",
        "Exp",
        "Log",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Reciprocal",
        "Clip",
        "Sin",
        "Cos",
        "Erf",
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL2",
        "ReduceSumSquare",
        "Trilu",
        "EyeLike",
        "OneHot",
        "CumSum",
        "Pad",
        "NonZero",
        "IsNaN",
        "IsInf",
        "ArgMax",
        "ArgMin",
        "MatMul",
        "Gemm",
        "Relu",
        "Tanh",
        "Sigmoid",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Softplus",
        "Softsign",
        "HardSigmoid",
        "Softmax",
        "LogSoftmax",
        "BatchNormalization",
        "LayerNormalization",
        "DequantizeLinear",
        "QuantizeLinear",
        "Dropout",
    ]
)


#: ops that onnx's evaluator has from this operator set on, and which older ones define alike
_EVALUATED_FROM = {"DequantizeLinear": 19, "QuantizeLinear": 19}


#: how much slower an element is than one of other ops, where onnx's evaluator computes them one by one
_COSTS = {"Erf": 16}

#: ops that give booleans
_TRUE_OR_FALSE = frozenset("Equal Less LessOrEqual Greater GreaterOrEqual Not And Or Xor IsNaN IsInf".split())  # noqa: SIM905


class Evaluator:
    """Runs nodes one by one; counts what it made, and what is held of it, against the limits."""

    def __init__(self) -> None:
        self.onnx = require_onnx()
        self.n_made = 0

    def charge(
        self, node: OnnxNode, size: int, limit: int = limits.MAX_FOLDED_ELEMENTS, cost: int = 1, item_bytes: int = 8
    ) -> None:
        """Count elements that are about to be made; refuse too many. cost: how much slower they are than others."""
        self.n_made += size * cost
        if size * cost > limit or self.n_made > limits.MAX_FOLDED_TOTAL:
            node.unsupported(
                f"makes a tensor of {size * cost} elements while loading; at most {limit} in one and "
                f"{limits.MAX_FOLDED_TOTAL} elements together are computed"
            )
        try:
            room(size, item_bytes)
        except TooMuch:
            node.unsupported(
                f"makes a tensor of {size} elements while loading, which with all else that is held takes more memory "
                "than a file of this size may; let it be computed from smaller inputs (shapes=, fixed=), or export the "
                "model with its result"
            )

    def run(
        self, node: OnnxNode, arrays: list[np.ndarray | None], limit: int = limits.MAX_FOLDED_ELEMENTS, copies: int = 1
    ) -> list[np.ndarray]:
        """The outputs of `node` for its inputs (None where an optional input is missing).

        copies: how many tables of that size the caller makes of them, the outputs counted.
        """
        if node.op not in FOLDABLE:
            node.unsupported("this operator is not supported")
        n = node.attrs.get("num_outputs", len(node.outputs)) if node.op == "Split" else len(node.outputs)
        if n != len(node.outputs):
            node.format_error(f"num_outputs is {n}, expected {len(node.outputs)}, the number of its outputs")
        cost, item_bytes = _COSTS.get(node.op, 1), copies * self._item_bytes(node, arrays)
        self.charge(node, _result_size(node, arrays), limit, cost, item_bytes)
        if node.op == "Constant":
            return [self._constant(node)]
        if node.op in gathers.OPS:
            return [gathers.run(node, arrays)]
        helper, names = self.onnx.helper, dict(zip(node.inputs, arrays, strict=True))
        anything = self.onnx.TypeProto()
        graph = helper.make_graph(
            [node.proto],
            "one",
            [helper.make_value_info(name, anything) for name in names if name],
            [helper.make_value_info(name, anything) for name in node.outputs if name],
        )
        opset = max(node.opset, _EVALUATED_FROM.get(node.op, 0))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        try:
            with np.errstate(all="ignore"):
                results = self.onnx.reference.ReferenceEvaluator(model).run(None, {k: v for k, v in names.items() if k})
        except NotImplementedError as error:
            raise UnsupportedError(f"{node.where}: cannot be computed while loading: {error}") from cause(error)
        except Exception as error:
            shapes = [None if a is None else a.shape for a in arrays]
            raise ShapeError(f"{node.where}: does not fit its inputs of shapes {shapes}: {error}") from cause(error)
        made = iter(results)
        return [np.asarray(next(made)) if name else np.zeros(0) for name in node.outputs]

    def _item_bytes(self, node: OnnxNode, arrays: list[np.ndarray | None]) -> int:
        """Bytes of an element of the result."""
        if node.op in _TRUE_OR_FALSE:
            return 1
        if node.op == "ConstantOfShape":
            value = node.attrs.get("value")
            return 4 if value is None else self.to_array(value, node.name).itemsize
        if node.op == "Cast":
            kind = self.onnx.TensorProto.DataType
            wide = int(node.attrs.get("to", 0)) in (kind.Value("INT64"), kind.Value("DOUBLE"), kind.Value("UINT64"))
            return 8 if wide else 4
        return max((a.itemsize for a in arrays if a is not None), default=8)

    def _constant(self, node: OnnxNode) -> np.ndarray:
        node.allow("value", "value_float", "value_floats", "value_int", "value_ints")
        if len(node.attrs) != 1:
            node.format_error(f"has attributes {sorted(node.attrs)}, expected one value")
        ((kind, value),) = node.attrs.items()
        if kind == "value":
            return self.to_array(value, node.name)
        return np.array(value, np.float32 if "float" in kind else np.int64)

    def to_array(self, tensor: Any, name: str) -> np.ndarray:
        """The array of a TensorProto."""
        try:
            return self.onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise FormatError(f"tensor {tensor.name or name!r} is damaged: {error}") from cause(error)


def _result_size(node: OnnxNode, arrays: list[np.ndarray | None]) -> int:
    """About how many elements the node's result has: an upper bound, exact where it can grow beyond its inputs."""
    known = [a for a in arrays if a is not None]
    total = sum(a.size for a in known)
    if node.op == "ConstantOfShape":
        return _product(known[0]) if known else 0
    if node.op == "Expand":
        shape = tuple(abs(int(n)) for n in known[1].ravel()) if len(known) > 1 else ()
        return _broadcast_size([known[0].shape, shape])
    if node.op == "Tile":
        return known[0].size * _product(known[1]) if len(known) > 1 else total
    if node.op == "Range":
        start, limit, delta = (
            (float(a.ravel()[0]) for a in known[:3]) if all(a.size for a in known[:3]) else (0.0, 0.0, 1.0)
        )
        return (
            int(min(abs((limit - start) / delta), 2.0**62)) + 1
            if delta and np.isfinite([start, limit, delta]).all()
            else 2**62
        )
    if node.op == "Pad":
        pads = node.attrs.get("pads", known[1] if len(known) > 1 else [])
        grown = sum(abs(int(p)) for p in np.asarray(pads).ravel())
        return prod(n + grown for n in known[0].shape) if known else 0
    if node.op == "OneHot":
        return known[0].size * abs(int(known[1].ravel()[0])) if len(known) > 1 and known[1].size else total
    if node.op == "Gather" and len(known) > 1:
        axis = int(node.attrs.get("axis", 0))
        width = known[0].shape[axis] if -known[0].ndim <= axis < known[0].ndim else 1
        return known[1].size * (known[0].size // max(1, width))
    if node.op == "GatherND" and len(known) > 1 and known[1].ndim:
        depth = int(node.attrs.get("batch_dims", 0)) + known[1].shape[-1]
        return prod(known[1].shape[:-1]) * prod(known[0].shape[max(0, depth) :])
    if node.op in ("MatMul", "Gemm") and len(known) > 1:
        return _product_size(node, known)
    if node.op in ("ScatterND", "ScatterElements"):
        return total
    if node.op == "Where":
        return _broadcast_size([a.shape for a in known])
    if node.op == "NonZero":
        return known[0].size * max(1, known[0].ndim)
    if node.op in (
        "Slice",
        "Split",
        "Concat",
        "Transpose",
        "Identity",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Reshape",
        "Constant",
    ):
        return total
    return max(total, _broadcast_size([a.shape for a in known]))


def _product_size(node: OnnxNode, known: list[np.ndarray]) -> int:
    """Elements of a matrix product, or what its sums cost as so many elements."""
    a, b = (x.shape if x.ndim > 1 else (1, x.size) for x in known[:2])
    a = (*a[:-2], a[-1], a[-2]) if node.attrs.get("transA") else a
    b = (b[1], b[0]) if known[1].ndim == 1 else (*b[:-2], b[-1], b[-2]) if node.attrs.get("transB") else b
    size = _broadcast_size([a[:-2] or (1,), b[:-2] or (1,)]) * a[-2] * b[-1]
    return max(size, size * a[-1] // (64 if known[0].dtype.kind == "f" else 4))


def _product(shape: np.ndarray) -> int:
    return prod(abs(int(n)) for n in shape.ravel())


def _broadcast_size(shapes: list[tuple[int, ...]]) -> int:
    rank = max((len(s) for s in shapes), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    return prod(max(column) for column in zip(*padded, strict=True)) if padded else 0
