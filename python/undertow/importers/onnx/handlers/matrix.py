# SPDX-License-Identifier: MIT
"""ONNX products of matrices: with constants, which become dense layers, and of two computed tensors."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, provenance
from ..frames.context import Walk
from ..frames.integers import check_final
from ..frames.provenance import Layout, Tensor
from .elementwise import affine, combine, take_apart
from .pairs import are_pairs, einsum_pairs, product


def dense(walk: Walk, node: OnnxNode, x: Any, W: np.ndarray, b: np.ndarray | None = None) -> Tensor:
    """W (M, K) applied along the last axis of x, which must belong to the frame; b (M,)."""
    layout, elements = take_apart(walk, node, x)
    n_out, n_in = W.shape
    if not x.shape or x.shape[-1] != n_in:
        node.shape_error(f"input has shape {x.shape}, weight takes {n_in}")
    if len(x.shape) - 1 in layout.outer:
        node.unsupported("it sums over time (or over the batch)")
    shape = (*x.shape[:-1], n_out)
    walk.count(node, shape, layout.outer)
    result = emit.dense(walk.builder, elements, W, b)
    return Layout(shape, layout.outer, layout.origin, (*x.labels[:-1], "")).tensor(result)


def swap(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    labels = [*x.labels[:-2], x.labels[-1], x.labels[-2]]
    return Tensor(np.swapaxes(x.codes, -1, -2), tuple(labels), x.dtype)


def _reshaped(x: Tensor, shape: tuple[int, ...], labels: tuple[str, ...]) -> Tensor:
    return Tensor(x.codes.reshape(shape), labels, x.dtype)


def matmul(walk: Walk, node: OnnxNode, a: Any, b: Any) -> Tensor:
    """numpy.matmul of two operands, at least one of them computed."""
    if not a.shape or not b.shape:
        node.shape_error(f"inputs have shapes {a.shape} and {b.shape}, expected an axis at least")
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _two_computed(walk, node, a, b)
    W = float_constant(node, b if isinstance(a, Tensor) else a, "the matrix")
    x: Tensor = a if isinstance(a, Tensor) else b
    while W.ndim > 2 and W.shape[0] == 1 and len(x.shape) >= W.ndim:
        W = W[0]
    if W.ndim > 2:  # a stack of matrices is a frame like any other
        constant = Tensor(walk.builder.constant(W), ("",) * W.ndim)
        return _two_computed(walk, node, *((a, constant) if x is a else (constant, b)))
    if x is a:
        result = dense(walk, node, a, W.T if W.ndim == 2 else W[None])
        return result if W.ndim == 2 else _reshaped(result, result.shape[:-1], result.labels[:-1])
    if len(x.shape) == 1:
        result = dense(walk, node, x, W if W.ndim == 2 else W[None])
        return result if W.ndim == 2 else _reshaped(result, (), ())
    result = swap(dense(walk, node, swap(x), W if W.ndim == 2 else W[None]))
    if W.ndim == 1:
        shape = (*result.shape[:-2], result.shape[-1])
        result = _reshaped(result, shape, (*result.labels[:-2], result.labels[-1]))
    return result


def _two_computed(walk: Walk, node: OnnxNode, a: Tensor, b: Tensor) -> Tensor:
    """Products inside a frame; time and batch may be among the leading axes, a's rows or b's columns."""
    vector = len(a.shape) == 1, len(b.shape) == 1
    if vector[0]:
        a = _reshaped(a, (1, *a.shape), ("", *a.labels))
    if vector[1]:
        b = _reshaped(b, (*b.shape, 1), (*b.labels, ""))
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        lead = None
    if lead is None or a.shape[-1] != b.shape[-2]:
        node.shape_error(f"inputs of shapes {a.shape} and {b.shape} cannot be multiplied")
    walk.count(node, (*lead, a.shape[-2], b.shape[-1]))
    outer = [take_apart(walk, node, x)[0].outer for x in (a, b)]
    for x, axes, summed in ((a, outer[0], -1), (b, outer[1], -2)):
        if len(x.shape) + summed in axes:
            node.unsupported("it sums over time (or over the batch)")
    if (
        len(a.shape) - 2 in outer[0]
    ):  # each row belongs to a timestep (or batch item) of its own, and is its frame's one
        rows = _reshaped(a, (*a.shape[:-1], 1, a.shape[-1]), (*a.labels[:-1], "", a.labels[-1]))
        beside = _reshaped(b, (*b.shape[:-2], 1, *b.shape[-2:]), (*b.labels[:-2], "", *b.labels[-2:]))
        by_row = _two_computed(walk, node, rows, beside)
        result = _reshaped(by_row, (*lead, a.shape[-2], b.shape[-1]), (*by_row.labels[:-2], by_row.labels[-1]))
        return _without_vectors(result, vector)
    if len(b.shape) - 1 in outer[1]:
        return _without_vectors(swap(_two_computed(walk, node, swap(b), swap(a))), vector)
    corners = [Tensor(x.codes[..., :1, :1], (*x.labels[:-2], "", "")) for x in (a, b)]
    layout, _ = provenance.broadcast(corners, (*lead, 1, 1))
    tables = []
    for x in (a, b):
        spread = np.broadcast_to(x.elements, (*lead, *x.shape[-2:]))
        tables.append(spread[tuple(0 if i in layout.outer else slice(None) for i in range(spread.ndim))])
    check_final(walk, node, tables)
    product = emit.matmul(walk.builder, *tables)
    shape = (*lead, a.shape[-2], b.shape[-1])
    return _without_vectors(Layout(shape, layout.outer, layout.origin, layout.labels).tensor(product), vector)


def _without_vectors(result: Tensor, vector: tuple[bool, bool]) -> Tensor:
    """The product without the axes that made matrices of vectors."""
    for is_vector, axis in ((vector[1], len(result.shape) - 1), (vector[0], len(result.shape) - 2)):
        if is_vector:
            kept = [i for i in range(len(result.shape)) if i != axis]
            result = _reshaped(result, tuple(result.shape[i] for i in kept), tuple(result.labels[i] for i in kept))
    return result


def matrix_product(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    if are_pairs(walk, *operands[:2]):
        return [product(node, *operands[:2])]
    return [matmul(walk, node, *operands[:2])]


def gemm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("alpha", "beta", "transA", "transB")
    a, b = operands[:2]
    c = operands[2] if len(operands) > 2 else None
    for x in (a, b):
        if len(x.shape) != 2:
            node.shape_error(f"inputs have shapes {a.shape} and {b.shape}, expected two axes each")
    if node.attrs.get("transA"):
        a = swap(a) if isinstance(a, Tensor) else a.T
    if node.attrs.get("transB"):
        b = swap(b) if isinstance(b, Tensor) else b.T
    alpha, beta = np.float32(node.attrs.get("alpha", 1.0)), np.float32(node.attrs.get("beta", 1.0))
    if c is not None:
        expected = (a.shape[0], b.shape[1])
        if len(c.shape) > 2 or any(n not in (1, m) for n, m in zip(c.shape[::-1], expected[::-1], strict=False)):
            node.shape_error(f"C has shape {tuple(c.shape)}, expected {expected}, or 1 along an axis")
    bias_is_row = False
    if isinstance(c, np.ndarray):
        c = float_constant(node, c, "C") * beta
        bias_is_row = c.ndim < 2 or c.shape[0] == 1
    elif c is not None and beta != 1:
        c = affine(walk, node, c, beta, 0.0)
    if not (isinstance(a, Tensor) or isinstance(b, Tensor)):  # only C is computed
        product = float_constant(node, a, "A") @ float_constant(node, b, "B") * alpha
        return [combine(walk, node, "add", c, product)]
    if isinstance(a, Tensor) and isinstance(b, np.ndarray):
        W = float_constant(node, b, "B").T * alpha
        if isinstance(c, np.ndarray) and bias_is_row:
            if c.size not in (1, len(W)):
                node.shape_error(f"C has shape {c.shape}, expected {len(W)} elements or one")
            return [dense(walk, node, a, W, np.broadcast_to(c.reshape(-1), (len(W),)))]
        result = dense(walk, node, a, W)
    elif isinstance(a, np.ndarray):
        result = matmul(walk, node, float_constant(node, a, "A") * alpha, b)
    else:
        result = matmul(walk, node, a, b)
        if alpha != 1:
            result = affine(walk, node, result, alpha, 0.0)
    return [result if c is None else combine(walk, node, "add", result, c)]


# -- Einsum ---------------------------------------------------------------------------------------------------------


def einsum(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """One or two operands as a matrix product: common letters lead, summed ones meet, others are rows and columns."""
    node.allow("equation")
    equation = str(node.attrs.get("equation", "")).replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands) or len(terms) > 2:
        node.unsupported(f"attribute equation={equation!r} for {len(operands)} operands; supported: one or two")
    if len(operands) == 2 and (scores := einsum_pairs(walk, node, *operands)) is not None:
        return [scores]
    for term, operand in zip(terms, operands, strict=True):
        if "." in term or len(set(term)) != len(term) or len(term) != len(operand.shape):
            node.unsupported(f"attribute equation={equation!r}: {term!r} is not one letter for each axis")
    if not arrow:
        out = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    if len(set(out)) != len(out) or not set(out) <= set(left):
        node.unsupported(f"attribute equation={equation!r} gives {out!r}, expected different letters of its operands")
    tensors = [
        o
        if isinstance(o, Tensor)
        else Tensor(walk.builder.constant(float_constant(node, o, "an operand")), ("",) * o.ndim)
        for o in operands
    ]
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for letter, n in zip(term, tensor.shape, strict=True):
            if sizes.setdefault(letter, n) != n:
                node.shape_error(f"axis {letter!r} of equation={equation!r} has sizes {sizes[letter]} and {n}")
    summed = [_sum_alone(walk, node, t, tensor, set(out), terms) for t, tensor in zip(terms, tensors, strict=True)]
    if len(summed) == 1:
        term, tensor = summed[0]
        return [_moved(tensor, term, out)]
    (a, x), (b, y) = summed
    outer = {*_outer_letters(walk, node, a, x), *_outer_letters(walk, node, b, y)} & set(out)
    # Time and batch lead even where one operand has them alone; the other is the same in all of their frames.
    common = [c for c in a + b.translate({ord(c): None for c in a}) if c in out and (c in outer or (c in a and c in b))]
    met = [c for c in a if c in b and c not in out]
    rows, columns = ([c for c in own if c not in other and c not in outer] for own, other in ((a, b), (b, a)))

    def as_matrix(tensor: Tensor, term: str, first: list[str], last: list[str]) -> Tensor:
        moved = _moved(tensor, term, "".join([c for c in common if c in term] + first + last))
        labels = dict(zip(term, tensor.labels, strict=True))
        lead = tuple(sizes[c] if c in term else 1 for c in common)
        shape = (*lead, prod(sizes[c] for c in first), prod(sizes[c] for c in last))
        return _reshaped(moved, shape, (*(labels.get(c, "") for c in common), "", ""))

    kept = dict(zip(a, x.labels, strict=True)) | dict(zip(b, y.labels, strict=True))
    product = _two_computed(walk, node, as_matrix(x, a, rows, met), as_matrix(y, b, met, columns))
    letters = "".join(common + rows + columns)
    labels = (*product.labels[: len(common)], *(kept[c] for c in rows + columns))
    return [_moved(_reshaped(product, tuple(sizes[c] for c in letters), labels), letters, out)]


def _outer_letters(walk: Walk, node: OnnxNode, term: str, tensor: Tensor) -> set[str]:
    """Letters that stand for time or the batch."""
    layout, _ = take_apart(walk, node, tensor)
    return {c for i, c in enumerate(term) if i in layout.outer or tensor.labels[i]}


def _sum_alone(
    walk: Walk, node: OnnxNode, term: str, tensor: Tensor, out: set[str], terms: list[str]
) -> tuple[str, Tensor]:
    """Sum over letters that nothing else has."""
    alone = [i for i, c in enumerate(term) if c not in out and sum(c in t for t in terms) == 1]
    if not alone:
        return term, tensor
    layout, elements = take_apart(walk, node, tensor)
    if set(alone) & set(layout.outer):
        node.unsupported("it sums over time (or over the batch)")
    frame = list(layout.frame)
    sums = emit.reduce(walk.builder, "sum", elements, [frame.index(a) for a in alone])
    kept = [i for i in range(len(term)) if i not in alone]
    whole = Layout(
        tuple(1 if i in alone else n for i, n in enumerate(tensor.shape)), layout.outer, layout.origin, tensor.labels
    ).tensor(sums)
    labels = tuple(tensor.labels[i] for i in kept)
    return "".join(term[i] for i in kept), _reshaped(whole, tuple(tensor.shape[i] for i in kept), labels)


def _moved(tensor: Tensor, term: str, out: str) -> Tensor:
    order = [term.index(c) for c in out]
    return Tensor(tensor.codes.transpose(order), tuple(tensor.labels[i] for i in order), tensor.dtype)
