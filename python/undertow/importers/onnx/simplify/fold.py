# SPDX-License-Identifier: MIT
"""Run single ONNX nodes on known arrays: constants, shape arithmetic, and the tables of `codes` through movement ops.

onnx's own reference evaluator does the work, so that each operator set's rules hold. Only ops of an allow-list are
run, and the size of their result is bounded before it is made.
"""

from __future__ import annotations

from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np

from ...._text import cause
from ....budget import TooMuch, room
from ....errors import FormatError, ShapeError, UnsupportedError
from ..file import limits
from ..file.nodes import OnnxNode
from ..file.read import require_onnx
from ..traits import traits, why_refused
from . import gathers
from .result_size import result_size


def check_outputs(node: OnnxNode) -> None:
    """Refuse a Split that says another number of outputs than it has: onnx would write beyond them."""
    n = node.attrs.get("num_outputs", len(node.outputs)) if node.op == "Split" else len(node.outputs)
    if n != len(node.outputs):
        node.format_error(f"num_outputs is {n}, expected {len(node.outputs)}, the number of its outputs")


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
                "than a file of this size may; let it be computed from smaller inputs (their sizes, or fixed=), or "
                "export the model with its result"
            )

    def run(
        self, node: OnnxNode, arrays: list[np.ndarray | None], limit: int = limits.MAX_FOLDED_ELEMENTS, copies: int = 1
    ) -> list[np.ndarray]:
        """The outputs of `node` for its inputs (None where an optional input is missing).

        copies: how many tables of that size the caller makes of them, the outputs counted.
        """
        if not traits(node.op).pure:
            node.unsupported(f"this operator is not supported{why_refused(node.op)}")
        check_outputs(node)
        cost, item_bytes = traits(node.op).cost, copies * self._item_bytes(node, arrays)
        self.charge(node, result_size(node, arrays), limit, cost, item_bytes)
        if node.op == "Constant":
            return [self._constant(node)]
        if node.op == "Identity" and arrays[0] is not None:
            return [arrays[0]]
        if node.op in gathers.OPS:
            return [gathers.run(node, arrays)]
        if node.op == "CumSum" and arrays[1] is not None and arrays[1].size == 1:
            arrays = [arrays[0], arrays[1].reshape(())]  # torch's exporter writes [axis], which ONNX Runtime takes
        if node.op == "GlobalLpPool":
            return [_global_norm(node, arrays[0])]
        return self.evaluate(node, arrays)

    def evaluate(self, node: OnnxNode, arrays: list[np.ndarray | None]) -> list[np.ndarray]:
        """As `run`, of any operator and without a limit: by onnx's evaluator."""
        opset = max(node.opset, traits(node.op).evaluated_from)
        dtypes = tuple(None if a is None else a.dtype for a in arrays)
        given = tuple(map(bool, node.outputs))
        try:
            runner = _runner(get_ident(), node.proto.op_type, node.proto.domain, opset, node.settings, dtypes, given)
            with np.errstate(all="ignore"):
                results = runner.run(None, {f"i{k}": a for k, a in enumerate(arrays) if a is not None})
        except NotImplementedError as error:
            raise UnsupportedError(f"{node.where}: cannot be computed while loading: {error}") from cause(error)
        except Exception as error:
            shapes = [None if a is None else a.shape for a in arrays]
            if node.op == "Reshape" and arrays[0] is not None and arrays[1] is not None:
                raise ShapeError(
                    f"{node.where}: its input of shape {arrays[0].shape} cannot take the shape "
                    f"{tuple(int(n) for n in arrays[1].ravel())}; sizes that an exporter has fixed take no others"
                ) from cause(error)
            raise ShapeError(f"{node.where}: does not fit its inputs of shapes {shapes}: {error}") from cause(error)
        rest = iter(results)
        return [np.asarray(next(rest)) if name else np.zeros(0) for name in node.outputs]

    def _item_bytes(self, node: OnnxNode, arrays: list[np.ndarray | None]) -> int:
        """Bytes of an element of the result."""
        if traits(node.op).boolean:
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


@lru_cache(2**8)
def _runner(
    thread: int,
    op: str,
    domain: str,
    opset: int,
    settings: tuple[bytes, ...],
    dtypes: tuple[np.dtype[Any] | None, ...],
    given: tuple[bool, ...],
) -> Any:
    """onnx's evaluator of one node, which serves all that are alike; each thread has its own, for some keep something
    while they run.
    """
    onnx = require_onnx()
    helper, anything = onnx.helper, onnx.TypeProto()
    inputs = ["" if dtype is None else f"i{k}" for k, dtype in enumerate(dtypes)]
    outputs = [f"o{k}" if is_given else "" for k, is_given in enumerate(given)]
    node = helper.make_node(op, inputs, outputs, domain=domain)
    for setting in settings:
        node.attribute.add().ParseFromString(setting)
    types = [helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(d), None) for d in dtypes if d is not None]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_value_info(name, kind) for name, kind in zip(filter(None, inputs), types, strict=True)],
        [helper.make_value_info(name, anything) for name in filter(None, outputs)],
    )
    return onnx.reference.ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def _global_norm(node: OnnxNode, x: np.ndarray | None) -> np.ndarray:
    """(sum |x|^p)^(1/p) over all but the first two axes; onnx's evaluator has no GlobalLpPool."""
    if x is None or x.ndim < 3:
        node.shape_error(f"its input has shape {None if x is None else x.shape}, expected [batch, channels, ...]")
    p = float(node.attrs.get("p", 2))
    axes = tuple(range(2, x.ndim))
    norm: np.ndarray = (np.abs(x.astype(np.float64)) ** p).sum(axes, keepdims=True) ** (1 / p)
    return norm.astype(x.dtype)
