# SPDX-License-Identifier: MIT
"""Gemms as the products and sums that an exporter has made them of, for the search for written out loops.

Of x W + h R + b, tf2onnx makes Gemm(x, W, h R) + b; of the first copy, where h is zeros and h R is left out,
Gemm(x, W, b). Taken apart, they are copies again.
"""

from __future__ import annotations

from ..file.nodes import OnnxNode, wrap
from .unrolled_given import Given


def with_sums(given: Given) -> Given:
    """The same nodes with plain Gemms taken apart; the same object where there are none."""
    if not any(_is_plain(node) for node in given.nodes):
        return given
    helper = given.evaluator.onnx.helper
    nodes: list[OnnxNode] = []
    sums: dict[str, str] = {}
    for node in given.nodes:
        if not _is_plain(node):
            nodes.append(node)
            continue
        a, b, c = node.inputs
        (result,) = node.outputs
        known, product = given.constants.get(c), given.fresh(f"{result}.product")
        if known is not None and known.ndim == 2 and len(known) == 1:  # a row, as what was folded into it was
            c = given.fresh(f"{result}.row")
            given.constants[c] = known[0]
        sums[product] = result
        for op, inputs, output in (("MatMul", [a, b], product), ("Add", [product, c], result)):
            proto = helper.make_node(op, inputs, [output], name=node.name)
            nodes.append(wrap(given.evaluator.onnx, proto, node.opset))
    return Given(
        nodes,
        given.constants,
        lambda name: given.sizes(sums.get(name, name)),
        given.outputs,
        given.evaluator,
        given.origins,
    )


def _is_plain(node: OnnxNode) -> bool:
    """Whether it is A B + C."""
    if node.op != "Gemm" or len(node.inputs) != 3 or not all(node.inputs):
        return False
    settings = {"alpha": 1, "beta": 1, "transA": 0, "transB": 0}
    return all(settings.get(key) == value for key, value in node.attrs.items())


__all__ = ["with_sums"]
