# SPDX-License-Identifier: MIT
"""Products of constants that may be R h of a recurrence's first step, where h is what it starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..file.nodes import OnnxNode
from .resolve import Resolver


def is_row(array: np.ndarray) -> bool:
    """Whether it is a matrix of one row of several numbers."""
    return array.ndim == 2 and array.shape[0] == 1 < array.shape[1]


def computed_from(resolver: Resolver, names: set[str]) -> set[str]:
    """Constants, and those that were computed from them."""
    computed = set(names)
    for node in resolver.origins.values() if names else ():
        if not computed.isdisjoint(node.inputs):
            computed.update(filter(None, node.outputs))
    return computed


def of_one_place(nodes: Iterable[OnnxNode], constants: Mapping[str, np.ndarray]) -> set[str]:
    """What is computed from one place along an axis, as a loop over time takes timesteps."""
    picked: set[str] = set()
    for node in nodes:
        index = constants.get(node.inputs[1]) if node.op == "Gather" else None
        if (index is not None and index.ndim == 0) or not picked.isdisjoint(node.uses):
            picked.update(filter(None, node.outputs))
    return picked


def folded_products(
    resolver: Resolver, nodes: list[OnnxNode], bound: set[str], picked: set[str]
) -> list[tuple[OnnxNode, list[np.ndarray]]]:
    """Products of a matrix with zeros that are added to something, or with a row that are added to what is computed of
    one timestep (picked), and are of as many numbers or a multiple: which the file holds, not the caller has bound.
    """
    sums = [node.inputs for node in nodes if node.op == "Add"]
    sums += [[node.inputs[0], node.inputs[2]] for node in nodes if node.op == "Gemm" and len(node.inputs) > 2]
    added = _made_of(resolver, {name for inputs in sums for name in inputs})
    added_to_one = _made_of(resolver, {name for inputs in sums if picked & set(inputs) for name in inputs})
    products = []
    for node in {id(node): node for node in resolver.origins.values()}.values():
        if node.op in ("MatMul", "Gemm") and resolver.constants.keys() >= set(node.inputs[:2]):
            arrays = [resolver.constants[name] for name in node.inputs[:2]]
            of_zeros = any(a.size > 1 and not a.any() for a in arrays) and not added.isdisjoint(node.outputs)
            of_row = is_row(arrays[0]) and arrays[1].size % arrays[0].size ** 2 == 0
            of_row = of_row and not added_to_one.isdisjoint(node.outputs)
            if (of_zeros or of_row) and bound.isdisjoint(node.inputs[:2]):
                products.append((node, arrays))
    return products


def _made_of(resolver: Resolver, names: set[str]) -> set[str]:
    """The constants that others were computed from, themselves included."""
    waiting, seen = list(names), set(names)
    while waiting:
        node = resolver.origins.get(waiting.pop())
        new = set(node.inputs) - seen if node is not None else set()
        waiting += new
        seen |= new
    return seen


__all__ = ["computed_from", "folded_products", "is_row", "of_one_place"]
