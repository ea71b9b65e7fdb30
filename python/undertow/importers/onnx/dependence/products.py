# SPDX-License-Identifier: MIT
"""Products of matrices."""

from __future__ import annotations

from math import prod

import numpy as np

from ....budget import room
from ..file.nodes import OnnxNode
from .reach import Context, Operand, Reach, Unclear, broadcast, join, reach, with_settings

#: rows of a known matrix whose zeros are looked at
MAX_LOOKED_AT = 1024


def matmul(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    return [product(operands[0], operands[1])]


def matmul_integer(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Zeros are none, for what is subtracted of them first."""
    return [with_settings(product(reach(operands[0]), reach(operands[1])), operands[2:])]


def qlinear_matmul(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    return [with_settings(product(reach(operands[0]), reach(operands[3])), [*operands[1:3], *operands[4:]])]


def gemm(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    a, b = (_turned(o) if node.attrs.get(key) else o for o, key in zip(operands[:2], ("transA", "transB"), strict=True))
    rest = [o for o in operands[2:3] if o is not None]
    return [broadcast([product(a, b), *rest])]


def _turned(operand: Operand) -> Operand:
    return operand.T if isinstance(operand, np.ndarray) else reach(operand).transpose([1, 0])


def product(left: Operand, right: Operand) -> Reach:
    """Of a matrix product: rows of the left one with columns of the right one; zeros of a known one keep out."""
    a, b = reach(left), reach(right)
    if not a.shape or not b.shape:
        raise Unclear("a number is no matrix")
    row, column = len(a.shape) == 1, len(b.shape) == 1
    a = a.reshape([1, *a.shape]) if row else a
    b = b.reshape([*b.shape, 1]) if column else b
    if a.shape[-1] != b.shape[-2]:
        raise Unclear(f"{a.shape} and {b.shape} do not fit in a product")
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    seen = _seen(left, b.transpose([*range(len(b.shape) - 2), len(b.shape) - 1, len(b.shape) - 2]))
    if seen is not None:
        joined = join(shape, [Reach((*b.shape[:-2], shape[-1], shape[-2]), seen).transpose(_swap(len(b.shape)))])
    elif (seen := _seen(right.T if isinstance(right, np.ndarray) else None, a)) is not None:
        joined = join(shape, [Reach((*a.shape[:-2], shape[-2], shape[-1]), seen)])
    elif (seen := _weighed(left, b)) is not None:
        joined = join(shape, [a.over([-1]), Reach(shape, seen)])
    else:
        joined = join(shape, [a.over([-1]), b.over([-2])])
    gone = [a for a, drop in ((len(shape) - 2, row), (len(shape) - 1, column)) if drop]
    return joined.reshape([n for a, n in enumerate(shape) if a not in gone])


def _weighed(weights: Operand, rows: Reach) -> np.ndarray | None:
    """Bits of (..., I, J) for `rows` (..., K, J) that are multiplied with weights (..., I, K) of which some are 0."""
    zero = weights.zero if isinstance(weights, Reach) else None
    if zero is None or zero.ndim < 2 or rows.bits.shape[-2] == 1:
        return None
    lead = np.broadcast_shapes(zero.shape[:-2], rows.bits.shape[:-2])
    room(prod(lead) * zero.shape[-2] * rows.bits.shape[-1], 16)
    bits = np.zeros((*lead, zero.shape[-2], rows.bits.shape[-1]), np.uint64)
    for k in range(zero.shape[-1]):
        bits |= np.where(zero[..., :, k, None], np.uint64(0), rows.bits[..., k, None, :])
    return bits


def _swap(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _seen(matrix: Operand, rows: Reach) -> np.ndarray | None:
    """Bits of (..., I, J) for `rows` (..., I, K) and a known matrix (J, K), where what lies along K differs."""
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or rows.bits.shape[-1] == 1:
        return None
    if matrix.shape[1] > MAX_LOOKED_AT or matrix.all():
        return None
    room(rows.bits.size // rows.bits.shape[-1] * matrix.shape[0], 16)
    bits = np.zeros((*rows.bits.shape[:-1], matrix.shape[0]), np.uint64)
    for k in range(matrix.shape[1]):
        bits |= np.where(matrix[:, k] != 0, rows.bits[..., k : k + 1], np.uint64(0))
    return bits


def einsum(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Of letters that stay, each element on all that is summed up for it."""
    terms, arrow, result = str(node.attrs.get("equation", "")).replace(" ", "").partition("->")
    names, reaches = terms.split(","), [reach(o) for o in operands]
    if len(names) != len(reaches):
        raise Unclear("the equation does not fit")
    spelled = [_spelled(name, len(one.shape)) for name, one in zip(names, reaches, strict=True)]
    letters = [letter for name in spelled for letter in name]
    dots = sorted({x for x in letters if x.isdigit()}, reverse=True)
    if arrow:
        before, dotted, after = result.partition("...")
        wanted = [*before, *(dots if dotted else []), *after]
    else:
        wanted = [*dots, *sorted(x for x in set(letters) - set(dots) if letters.count(x) == 1)]
    sizes: dict[str, int] = {}
    for name, one in zip(spelled, reaches, strict=True):
        if len(set(name)) < len(name):
            raise Unclear("the equation takes a diagonal")
        for letter, n in zip(name, one.shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), n)
    shape = [sizes[x] for x in wanted]
    bits = np.zeros((1,) * len(shape), np.uint64)
    if (seen := _weighed_by_letters(spelled, reaches, wanted)) is not None:
        return [Reach.of(shape, seen)]
    for name, one in zip(spelled, reaches, strict=True):
        gone = [a for a, x in enumerate(name) if x not in wanted]
        kept = [x for x in name if x in wanted]
        mine = one.over(gone, keep=False).bits
        order = sorted(range(len(kept)), key=lambda a: wanted.index(kept[a]))
        at = {kept[a]: n for a, n in zip(order, mine.transpose(order).shape, strict=True)}
        bits = bits | mine.transpose(order).reshape([at.get(x, 1) for x in wanted])
    return [Reach.of(shape, bits)]


def _weighed_by_letters(spelled: list[list[str]], reaches: list[Reach], wanted: list[str]) -> np.ndarray | None:
    """The bits of an Einsum of weights of which some are 0, and rows; None of another one."""
    if len(spelled) != 2:
        return None
    at = 0 if reaches[0].zero is not None else 1
    (mine, other), (weights, rows) = (spelled[at], spelled[1 - at]), (reaches[at], reaches[1 - at])
    met = [x for x in mine if x in other and x not in wanted]
    if weights.zero is None or len(met) != 1 or any(x not in [*wanted, *met] for x in [*mine, *other]):
        return None
    letters = [*wanted, *met]

    def lying(table: np.ndarray, name: list[str]) -> np.ndarray:
        order = sorted(range(len(name)), key=lambda a: letters.index(name[a]))
        sizes = dict(zip([name[a] for a in order], table.transpose(order).shape, strict=True))
        return table.transpose(order).reshape([sizes.get(x, 1) for x in letters])

    zero, bits = lying(weights.zero, mine), lying(rows.bits, other)
    lead = np.broadcast_shapes(zero.shape[:-1], bits.shape[:-1])
    room(prod(lead), 16)
    seen = lying(weights.bits, mine)
    seen = np.bitwise_or.reduce(np.broadcast_to(seen, (*lead, seen.shape[-1])), axis=-1)
    for k in range(zero.shape[-1]):
        seen = seen | np.where(zero[..., k], np.uint64(0), bits[..., k if bits.shape[-1] > 1 else 0])
    return seen


def _spelled(term: str, rank: int) -> list[str]:
    """A letter for each axis; those of the dots are digits, counted from the last."""
    before, dotted, after = term.partition("...")
    n_dots = rank - len(before) - len(after)
    if n_dots < 0 or (n_dots and not dotted) or n_dots > 9:
        raise Unclear("the equation does not fit")
    return [*before, *(str(n_dots - 1 - i) for i in range(n_dots)), *after]


__all__ = ["einsum", "gemm", "matmul", "matmul_integer", "product", "qlinear_matmul"]
