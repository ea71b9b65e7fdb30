# SPDX-License-Identifier: MIT
"""Matrices pruned in blocks: how a file stores them (csrc/FORMAT.md, "Sparse"), and which of a graph's are worth it.

A Graph keeps its weights as they are, zeros among them, and says "sparse float32" or "sparse int8" in
`Node.precisions`: the numbers of float32 and int8, stored without the blocks of 8 rows and 4 columns that are all zero.
The diagonal of a square matrix is set aside where that saves blocks, because pruning spares it (Narang et al.,
"Block-sparse recurrent neural networks", 2017; RNNoise).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UnsupportedError
from ..ir.graph import Node
from ..ir.ops import OPS
from ..ir.precision import MAX_COLUMNS, SPARSE_CODES, Quantised, numbers, quantise

PANEL, HALF, COLUMNS = 16, 8, 4
ALIGN = 64
DIAGONAL = 1

#: Bytes of a tensor, by precision; the field's name tells them from those of int4.
DTYPES = {name: np.dtype([(name.replace(" ", "_"), "u1")]) for name in SPARSE_CODES}


@dataclass(frozen=True)
class Blocks:
    """A matrix (G, rows, K) as lists of blocks, one list for each panel and gate, panels outside.

    Attributes:
        starts: (lists + 1,) where each list begins among the blocks.
        columns: (blocks, 2) block column of the upper and the lower 8 rows; ascending within a list.
        weights: (blocks, 16, 4).
        diagonal: (lists, 16), or None where it stands in the blocks.
        n_columns: block columns of the matrix.
    """

    starts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    diagonal: np.ndarray | None
    n_columns: int

    @property
    def density(self) -> float:
        """The share of the matrix that is stored and multiplied."""
        return len(self.columns) / ((len(self.starts) - 1) * self.n_columns)


@np.errstate(invalid="ignore")  # a signalling NaN is no zero, and that is all that is asked
def split(W: np.ndarray) -> Blocks:
    """Find the blocks of a matrix (G, rows, K) that are not all zero."""
    G, rows, K = W.shape
    whole = _in_blocks(W)
    diagonal = None
    if rows == K:
        at = np.arange(K)
        spared = W.copy()
        spared[:, at, at] = 0
        others = _in_blocks(spared)
        if _counts(others).sum() < _counts(whole).sum():
            whole = others
            diagonal = _fill(W[:, at, at], 1, PANEL).reshape(G, -1, PANEL).transpose(1, 0, 2).reshape(-1, PANEL)
    counts = _counts(whole)  # (panels, G)
    n_columns = whole.shape[3]
    # The half that needs fewer blocks takes some that are zero, at its first free columns: both stay ascending.
    used = whole.any(axis=(4, 5))
    order = np.argsort(~used, axis=-1, kind="stable")
    wanted = np.arange(n_columns) < counts[..., None, None]
    order = np.sort(np.where(wanted, order, n_columns), axis=-1)
    columns = order.transpose(0, 1, 3, 2)[wanted[:, :, 0]]  # (blocks, half)
    lists = np.repeat(np.arange(counts.size), counts.reshape(-1))
    halves = whole.reshape(-1, *whole.shape[2:])  # (lists, half, block column, 8 rows, 4)
    weights = np.concatenate([halves[lists, half, columns[:, half]] for half in (0, 1)], axis=1)
    starts = np.concatenate([[0], np.cumsum(counts.reshape(-1))])
    return Blocks(starts, columns, weights, diagonal, n_columns)


def join(blocks: Blocks, G: int, rows: int, K: int) -> np.ndarray:
    """Inverse of `split`."""
    n_lists = len(blocks.starts) - 1
    halves = np.zeros((n_lists, 2, blocks.n_columns, HALF, COLUMNS), blocks.weights.dtype)
    lists = np.repeat(np.arange(n_lists), np.diff(blocks.starts))
    for half in (0, 1):
        halves[lists, half, blocks.columns[:, half]] = blocks.weights[:, half * HALF : (half + 1) * HALF]
    W = halves.reshape(-1, G, 2, blocks.n_columns, HALF, COLUMNS).transpose(1, 0, 2, 4, 3, 5)
    W = np.ascontiguousarray(W.reshape(G, n_lists // G * PANEL, -1)[:, :rows, :K])
    if blocks.diagonal is not None:
        at = np.arange(K)
        diagonal = blocks.diagonal.reshape(-1, G, PANEL).transpose(1, 0, 2).reshape(G, -1)[:, :K]
        W[:, at, at] = np.where(W[:, at, at] == 0, diagonal, W[:, at, at] + diagonal)  # a sum would lose the sign of -0
    return W


def _in_blocks(W: np.ndarray) -> np.ndarray:
    """(G, rows, K) -> [panel][gate][half][block column][8 rows][4], padded with zeros."""
    padded = _fill(_fill(W, 1, PANEL), 2, COLUMNS)
    G, rows, K = padded.shape
    return padded.reshape(G, rows // PANEL, 2, HALF, K // COLUMNS, COLUMNS).transpose(1, 0, 2, 4, 3, 5)


def _counts(whole: np.ndarray) -> np.ndarray:
    counts: np.ndarray = whole.any(axis=(4, 5)).sum(axis=3).max(axis=2)
    return counts


# --- tensors -------------------------------------------------------------------------------------------------------


def pack(W: np.ndarray, precision: str, what: str = "weight") -> np.ndarray:
    """(G, rows, K) float32 -> the flat tensor of "sparse float32" or "sparse int8".

    Raises:
        UnsupportedError: too many columns, or a weight that int8 refuses; `what` names the matrix.
    """
    _refuse_columns(W, precision, what)
    parts: list[np.ndarray]
    if precision == "sparse int8":
        w = quantise(W, "int8", what)
        blocks = split(w.q)
        sums = np.add.reduceat(
            np.concatenate([blocks.weights.sum(axis=2, dtype=np.int32), np.zeros((1, PANEL), np.int32)]),
            blocks.starts[:-1],
        )
        sums[np.diff(blocks.starts) == 0] = 0
        scale = _fill(w.scale, 1, PANEL).reshape(len(W), -1, PANEL).transpose(1, 0, 2)
        parts = [scale.astype("<f4"), sums.astype("<i4")]
        weights, diagonal = blocks.weights, blocks.diagonal
    else:
        blocks = split(W)
        parts = []
        weights = blocks.weights.transpose(0, 2, 1).astype("<f4")
        diagonal = None if blocks.diagonal is None else blocks.diagonal.astype("<f4")
    head = np.concatenate([[DIAGONAL * (diagonal is not None)], blocks.starts]).astype("<u4")
    columns = blocks.columns.astype("<u2")
    parts = [head, columns, *([] if diagonal is None else [diagonal]), *parts, weights]
    return np.concatenate([_bytes(part) for part in parts]).view(DTYPES[precision])


def unpack(flat: np.ndarray, G: int, rows: int, K: int) -> np.ndarray:
    """Inverse of `pack`: the float32 weights that a tensor stores."""
    blocks, scale = _read(flat, G, rows, K)
    W = join(blocks, G, rows, K)
    return W if scale is None else Quantised(W, scale).values()


def density(flat: np.ndarray, G: int, rows: int, K: int) -> float:
    """The share of the matrix that a sparse tensor stores."""
    return _read(flat, G, rows, K)[0].density


def _read(flat: np.ndarray, G: int, rows: int, K: int) -> tuple[Blocks, np.ndarray | None]:
    integers = flat.dtype == DTYPES["sparse int8"]
    raw = flat.view(np.uint8)
    n_lists = -(-rows // PANEL) * G
    at = 0

    def take(n: int, dtype: str) -> np.ndarray:
        nonlocal at
        size = n * np.dtype(dtype).itemsize
        at += size + -size % ALIGN
        return raw[at - size - -size % ALIGN :][:size].view(dtype)

    head = take(2 + n_lists, "<u4").astype(np.int64)
    starts, n_blocks = head[1:], int(head[-1])
    columns = take(2 * n_blocks, "<u2").reshape(-1, 2).astype(np.int64)
    diagonal = None
    if head[0] & DIAGONAL:
        diagonal = take(n_lists * PANEL, "i1" if integers else "<f4").reshape(-1, PANEL)
    scale = None
    if integers:
        scale = take(n_lists * PANEL, "<f4").reshape(-1, G, PANEL).transpose(1, 0, 2).reshape(G, -1)[:, :rows]
        take(n_lists * PANEL, "<i4")
    weights = take(n_blocks * PANEL * COLUMNS, "i1" if integers else "<f4")
    weights = (
        weights.reshape(-1, PANEL, COLUMNS) if integers else weights.reshape(-1, COLUMNS, PANEL).transpose(0, 2, 1)
    )
    return Blocks(starts, columns, weights, diagonal, -(-K // COLUMNS)), scale


def _refuse_columns(W: np.ndarray, precision: str, what: str) -> None:
    if W.shape[-1] > MAX_COLUMNS:
        raise UnsupportedError(
            f"{what} has {W.shape[-1]} columns; {precision} takes at most {MAX_COLUMNS}: "
            f"store it as {precision.removeprefix('sparse ')}"
            + (", float16 or float32" if precision == "sparse int8" else "")
        )


def _fill(array: np.ndarray, axis: int, multiple: int) -> np.ndarray:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, widths)


def _bytes(part: np.ndarray) -> np.ndarray:
    raw = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    return _fill(raw, 0, ALIGN)


def densities(node: Node) -> dict[str, float]:
    """Of each matrix that a file stores in blocks, the share that is stored."""
    return {key: density_of(node, key, numbers(name)) for key, name in node.precisions.items() if name in SPARSE_CODES}


def tensor_bytes(W: np.ndarray, precision: str) -> int:
    """Size of a packed matrix (G, rows, K)."""
    return pack(_finite(W), precision).nbytes


def _finite(W: np.ndarray) -> np.ndarray:
    """W for counting blocks: a damaged file may hold what could not be stored anew."""
    return np.where(np.isfinite(W), W, 1)


def density_of(node: Node, key: str, precision: str) -> float:
    """Over the tensors that a file makes of this matrix: a GRU with reset_before keeps its candidate apart."""
    op = OPS[node.op]
    parts = [W for weight, W in zip(op.stored, op.split(node), strict=True) if weight.key == key and W is not None]
    blocks = []
    for part in parts:
        W = part.reshape(-1, *part.shape[-2:])
        blocks.append(split(W if precision == "float32" else quantise(_finite(W), "int8").q))
    return sum(len(b.columns) for b in blocks) / sum((len(b.starts) - 1) * b.n_columns for b in blocks)
