# SPDX-License-Identifier: MIT
"""How weights lie in a .tow file (csrc/FORMAT.md, "Weights" and "Precisions"): arrays to tensors and back.

A tensor is a flat array whose NumPy dtype says its dtype in the file (`DTYPES`). Matrices have shape (gates, rows, K),
tables (ids, width).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from ..ir.ops import Layout
from ..ir.precision import (
    ALL_CODES,
    CODES,
    FIXED,
    FIXED_CODES,
    GROUP,
    SPARSE_CODES,
    Quantised,
    narrow,
    quantise,
    smoothed,
    unsmoothed,
    widen,
)
from . import sparse

PANEL = 16
ALIGN = 64
#: dtype of a tensor's array, by its code in the file; bfloat16 as bits, small integers and sparse ones as bytes
DTYPES = (
    *(np.dtype(name) for name in ("<f4", "<i4", "<f2", "<u2", "i1", "u1")),
    *sparse.DTYPES.values(),
    np.dtype("<i2"),
    np.dtype([(FIXED, "i1")]),
)
#: the same of tensors that begin with factors of frames (flag 1); the field's name tells them from the others
SMOOTHED = {code: np.dtype([("smoothed", DTYPES[code].str)]) for code in (CODES["int8"], CODES["int16"])}

_NAMES = {code: name for name, code in ALL_CODES.items()}


def kind_of(dtype: np.dtype) -> tuple[int, int]:
    """The code in the file, and the flags, of a tensor whose array has this dtype."""
    dtype = dtype if dtype.names else dtype.newbyteorder("<")
    return next(((code, 1) for code, it in SMOOTHED.items() if it == dtype), None) or (DTYPES.index(dtype), 0)


def dtype_of(code: int, flags: int) -> np.dtype:
    """Inverse of `kind_of`."""
    return SMOOTHED[code] if flags else DTYPES[code]


def precision_of(tensor: np.ndarray) -> str:
    """ "float32", "int8" ...: how this tensor stores its weights."""
    return _NAMES[kind_of(tensor.dtype)[0]]


def smoothing_of(tensor: np.ndarray, K: int) -> np.ndarray | None:
    """The exponents (K,) by which the columns of a matrix in a tensor are smoothed (`Node.smoothing`), if they are."""
    if kind_of(tensor.dtype)[1] == 0:
        return None
    factors = tensor.view(np.uint8)[: 4 * K].view("<f4")
    return (1 - np.frexp(factors)[1]).astype(np.int8)


def panels(n: int) -> int:
    return -(-n // PANEL)


def pad(array: np.ndarray, axis: int = -1) -> np.ndarray:
    """Zeros behind `axis` up to a multiple of PANEL."""
    return _fill(array, axis, PANEL, 0)


def pack_bias(b: np.ndarray) -> np.ndarray:
    """(gates, rows) -> [panel][gate][16 rows]."""
    return np.ascontiguousarray(pad(b).reshape(b.shape[0], -1, PANEL).transpose(1, 0, 2))


def unpack_bias(flat: np.ndarray, G: int, rows: int) -> np.ndarray:
    """Inverse of `pack_bias`."""
    return np.ascontiguousarray(flat.reshape(panels(rows), G, PANEL).transpose(1, 0, 2).reshape(G, -1)[:, :rows])


# --- matrices ------------------------------------------------------------------------------------------------------


def pack(
    W: np.ndarray, precision: str = "float32", what: str = "weight", smoothing: np.ndarray | None = None
) -> np.ndarray:
    """(gates, rows, K) or (rows, K) float32 -> flat tensor, rows padded with zeros.

    Raises:
        UnsupportedError: the weights do not fit the precision; `what` names them.
    """
    if smoothing is not None:
        flat = pack(smoothed(W, smoothing, what), precision, what)
        factors = pad(np.ldexp(np.float32(1), -smoothing.astype(np.int32)).astype("<f4"))
        whole = np.concatenate([factors.view(np.uint8), flat.view(np.uint8)])
        return whole.view(SMOOTHED[CODES[precision]])
    if precision in SPARSE_CODES:
        return sparse.pack(W.reshape(-1, *W.shape[-2:]), precision, what)
    if precision in _PACKERS:
        w = quantise(W, precision, what)
        if W.ndim == 2:
            w = Quantised(w.q[None], w.scale[None])
        return _PACKERS[precision](w)
    numbers = W if precision == "float32" else narrow(W, precision, what)
    numbers = numbers.reshape(-1, *W.shape[-2:])
    G, _, K = numbers.shape
    blocks = pad(numbers, 1).reshape(G, -1, PANEL, K).transpose(1, 3, 0, 2)  # [panel][k][gate][16 rows]
    return np.ascontiguousarray(blocks).reshape(-1)


def unpack(flat: np.ndarray, G: int, rows: int, K: int) -> np.ndarray:
    """Inverse of `pack`: the float32 weights that a tensor stores."""
    if flat.dtype in sparse.DTYPES.values():
        return sparse.unpack(flat, G, rows, K)
    smoothing = smoothing_of(flat, K)
    if smoothing is not None:
        plain = flat.view(np.uint8)[4 * PANEL * panels(K) :].view(DTYPES[kind_of(flat.dtype)[0]])
        return unsmoothed(unpack(plain, G, rows, K), smoothing)
    P = panels(rows)
    if flat.dtype == DTYPES[CODES["int8"]]:
        return _unpack_int8(flat.reshape(P, -1), G, rows, K)
    if flat.dtype == DTYPES[CODES["int16"]]:
        return _unpack_int16(flat.reshape(P, -1), G, rows, K)
    if flat.dtype == DTYPES[CODES["int4"]]:
        return _unpack_int4(flat.reshape(P, -1), G, rows, K)
    if flat.dtype == DTYPES[FIXED_CODES[FIXED]]:
        return _unpack_fixed8(flat.view("i1").reshape(P, -1), G, rows, K)
    blocks = flat.reshape(P, K, G, PANEL).transpose(2, 0, 3, 1).reshape(G, -1, K)[:, :rows]
    return np.ascontiguousarray(blocks) if flat.dtype == DTYPES[0] else widen(np.ascontiguousarray(blocks))


def _pack_int8(w: Quantised) -> np.ndarray:
    G = len(w.q)
    q = _fill(pad(w.q, 1), 2, 4, 0)
    blocks = q.reshape(G, -1, PANEL, q.shape[2] // 4, 4).transpose(1, 3, 0, 2, 4)  # [panel][k / 4][gate][16 rows][4]
    sums = pack_bias(w.q.sum(axis=2, dtype=np.int32))
    return _join(blocks, pack_bias(w.scale.astype("<f4")), sums.astype("<i4")).view("i1")


def _unpack_int8(panel: np.ndarray, G: int, rows: int, K: int) -> np.ndarray:
    n = -(-K // 4) * G * PANEL * 4
    q = panel[:, :n].reshape(len(panel), -1, G, PANEL, 4).transpose(2, 0, 3, 1, 4).reshape(G, len(panel) * PANEL, -1)
    scale = np.ascontiguousarray(panel[:, n : n + 4 * G * PANEL]).view("<f4")
    return Quantised(q[:, :rows, :K], unpack_bias(scale, G, rows)).values()


def _pack_int16(w: Quantised) -> np.ndarray:
    G = len(w.q)
    q = _fill(pad(w.q, 1), 2, 2, 0)
    blocks = q.reshape(G, -1, PANEL, q.shape[2] // 2, 2).transpose(1, 3, 0, 2, 4)  # [panel][k / 2][gate][16 rows][2]
    return _join(blocks.astype("<i2"), pack_bias(w.scale.astype("<f4"))).view("<i2")


def _unpack_int16(panel: np.ndarray, G: int, rows: int, K: int) -> np.ndarray:
    n = -(-K // 2) * G * PANEL * 2
    q = panel[:, :n].reshape(len(panel), -1, G, PANEL, 2).transpose(2, 0, 3, 1, 4).reshape(G, len(panel) * PANEL, -1)
    scale = np.ascontiguousarray(panel[:, n:]).view("<f4")
    return Quantised(q[:, :rows, :K], unpack_bias(scale, G, rows)).values()


def _pack_int4(w: Quantised) -> np.ndarray:
    G, _, groups = w.scale.shape
    q = _fill(_fill(w.q, 1, PANEL, 0), 2, GROUP, 0)
    # k = 32 group + 8 vector + 4 half + byte
    halves = (q + 8).astype(np.uint8).reshape(G, -1, PANEL, groups, 4, 2, 4)
    data = halves[..., 0, :] | halves[..., 1, :] << 4
    scale = pad(w.scale, 1).reshape(G, -1, PANEL, groups).transpose(1, 3, 0, 2)  # [panel][group][gate][16 rows]
    # [panel][group][gate][vector][16 rows][byte]
    return _join(data.transpose(1, 3, 0, 4, 2, 5), scale.astype("<f2"), multiple=ALIGN)


def _unpack_int4(panel: np.ndarray, G: int, rows: int, K: int) -> np.ndarray:
    P, groups = len(panel), -(-K // GROUP)
    n = groups * G * 4 * PANEL * 4
    data = panel[:, :n].reshape(P, groups, G, 4, PANEL, 4).transpose(2, 0, 4, 1, 3, 5)
    q = np.stack([data & 15, data >> 4], axis=-2).astype(np.int8) - 8
    scale = np.ascontiguousarray(panel[:, n : n + 2 * groups * G * PANEL]).view("<f2").reshape(P, groups, G, PANEL)
    scale = scale.transpose(2, 0, 3, 1).reshape(G, P * PANEL, groups)
    return Quantised(q.reshape(G, P * PANEL, -1)[:, :rows, :K], scale[:, :rows]).values()


def _pack_fixed8(w: Quantised) -> np.ndarray:
    G, _, K = w.q.shape
    blocks = pad(w.q, 1).reshape(G, -1, PANEL, K).transpose(1, 3, 0, 2)  # [panel][k][gate][16 rows]
    return _join(blocks, pack_bias(w.scale.astype("<f4"))).view(DTYPES[FIXED_CODES[FIXED]])


def _unpack_fixed8(panel: np.ndarray, G: int, rows: int, K: int) -> np.ndarray:
    n = K * G * PANEL
    q = panel[:, :n].reshape(len(panel), K, G, PANEL).transpose(2, 0, 3, 1).reshape(G, len(panel) * PANEL, K)
    scale = np.ascontiguousarray(panel[:, n:]).view("<f4")
    return Quantised(q[:, :rows], unpack_bias(scale, G, rows)).values()


_PACKERS = {"int16": _pack_int16, "int8": _pack_int8, "int4": _pack_int4, FIXED: _pack_fixed8}


# --- tables --------------------------------------------------------------------------------------------------------


def pack_table(table: np.ndarray, precision: str = "float32", what: str = "table") -> np.ndarray:
    """(ids, width) float32 -> flat tensor, rows one after another.

    Raises:
        UnsupportedError: the weights do not fit the precision; `what` names them.
    """
    if precision == "int8":
        w = quantise(table, precision, what)
        return _join(_fill(w.q, 1, 4, 0), w.scale.astype("<f4")[:, None]).view("i1")
    if precision == "int16":
        w = quantise(table, precision, what)
        return _join(_fill(w.q, 1, 2, 0).astype("<i2"), w.scale.astype("<f4")[:, None]).view("<i2")
    if precision == "int4":
        w = quantise(table, precision, what)
        pairs = (_fill(w.q, 1, GROUP, 0) + 8).astype(np.uint8).reshape(len(table), -1, 2)
        return _join(pairs[..., 0] | pairs[..., 1] << 4, w.scale.astype("<f2"), multiple=4)
    return (table if precision == "float32" else narrow(table, precision, what)).reshape(-1)


def unpack_table(flat: np.ndarray, width: int) -> np.ndarray:
    """Inverse of `pack_table`."""
    if flat.dtype == DTYPES[CODES["int8"]]:
        n = -(-width // 4) * 4
        rows = flat.reshape(-1, n + 4)
        return Quantised(rows[:, :width], np.ascontiguousarray(rows[:, n:]).view("<f4")[:, 0]).values()
    if flat.dtype == DTYPES[CODES["int16"]]:
        n = -(-width // 2) * 2
        rows = flat.reshape(-1, n + 2)
        return Quantised(rows[:, :width], np.ascontiguousarray(rows[:, n:]).view("<f4")[:, 0]).values()
    if flat.dtype == DTYPES[CODES["int4"]]:
        groups = -(-width // GROUP)
        rows = flat.reshape(-1, -(-groups * 18 // 4) * 4)
        data = rows[:, : 16 * groups]
        q = np.stack([data & 15, data >> 4], axis=-1).astype(np.int8).reshape(len(rows), -1) - 8
        scale = np.ascontiguousarray(rows[:, 16 * groups : 18 * groups]).view("<f2")
        return Quantised(q[:, :width], scale).values()
    rows = flat.reshape(-1, width)
    return rows if flat.dtype == DTYPES[0] else widen(rows)


# --- bytes ---------------------------------------------------------------------------------------------------------


def matrix_bytes(G: int, rows: int, K: int, precision: str) -> int:
    """Size of a packed matrix."""
    if precision == "int8":
        return panels(rows) * G * PANEL * (-(-K // 4) * 4 + 8)
    if precision == "int4":
        groups = -(-K // GROUP)
        return panels(rows) * -(-groups * G * PANEL * 18 // ALIGN) * ALIGN
    if precision == "int16":
        return panels(rows) * G * PANEL * (-(-K // 2) * 4 + 4)
    if precision == FIXED:
        return panels(rows) * G * PANEL * (K + 4)
    return panels(rows) * PANEL * G * K * (4 if precision == "float32" else 2)


def table_bytes(n: int, width: int, precision: str) -> int:
    """Size of a packed table."""
    if precision == "int8":
        return n * (-(-width // 4) * 4 + 4)
    if precision == "int4":
        return n * -(-(-(-width // GROUP) * 18) // 4) * 4
    if precision == "int16":
        return n * (-(-width // 2) * 4 + 4)
    return n * width * (4 if precision == "float32" else 2)


def _padded_bytes(array: np.ndarray) -> int:
    """Size of an array of which each row is padded."""
    return 4 * PANEL * panels(array.shape[-1]) * prod(array.shape[:-1])


def _fill(array: np.ndarray, axis: int, multiple: int, value: int) -> np.ndarray:
    shape = list(array.shape)
    shape[axis] += -shape[axis] % multiple
    filled = np.full(shape, value, array.dtype)
    filled[tuple(map(slice, array.shape))] = array
    return filled


def _join(*parts: np.ndarray, multiple: int = 1) -> np.ndarray:
    """Arrays of one first axis as bytes, joined row by row; each row is filled with zeros up to a multiple."""
    rows = [np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8) for part in parts]
    return _fill(np.concatenate(rows, axis=1), 1, multiple, 0).reshape(-1)


# --- layouts of ops --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packing:
    """A layout in bytes.

    Attributes:
        pack: (array, precision, what errors call it, smoothing or None) -> flat tensor.
        unpack: (flat tensor, shape of the array) -> array.
        n_bytes: (array, precision, whether it is smoothed) -> size of the tensor.
    """

    pack: Callable[[np.ndarray, str, str, np.ndarray | None], np.ndarray]
    unpack: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
    n_bytes: Callable[[np.ndarray, str, bool], int]


def _unpack_matrix(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    matrices = unpack(flat, *(1, *shape)[-3:])
    return matrices if len(shape) == 3 else matrices[0]


def _pack_filters(W: np.ndarray, precision: str, what: str, _: np.ndarray | None) -> np.ndarray:
    return pad(W) if precision == "float32" else pack(W.T, precision, f"{what}.T")


def _unpack_filters(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    taps, channels = shape
    if flat.dtype == DTYPES[0]:
        return flat.reshape(taps, -1)[:, :channels]
    return np.ascontiguousarray(unpack(flat, 1, channels, taps)[0].T)


def _filters_bytes(W: np.ndarray, precision: str, _: bool) -> int:
    taps, channels = W.shape
    return _padded_bytes(W) if precision == "float32" else matrix_bytes(1, channels, taps, precision)


def _matrix_bytes(W: np.ndarray, precision: str, is_smoothed: bool) -> int:
    G, rows, K = (1, *W.shape)[-3:]
    if precision in SPARSE_CODES:
        return sparse.tensor_bytes(W.reshape(G, rows, K), precision)
    return matrix_bytes(G, rows, K, precision) + (4 * PANEL * panels(K) if is_smoothed else 0)


LAYOUTS = {
    Layout.MATRIX: Packing(pack, _unpack_matrix, _matrix_bytes),
    Layout.TABLE: Packing(
        lambda w, precision, what, _: pack_table(w, precision, what),
        lambda t, shape: unpack_table(t, shape[-1]),
        lambda w, precision, _: table_bytes(len(w), w.shape[1], precision),
    ),
    Layout.FILTERS: Packing(_pack_filters, _unpack_filters, _filters_bytes),
    Layout.VECTOR: Packing(
        lambda w, *_: pad(w.reshape(-1)),
        lambda t, shape: t[: prod(shape)].reshape(shape),
        lambda w, *_: _padded_bytes(w.reshape(-1)),
    ),
    Layout.ROWS: Packing(
        lambda w, *_: pad(w),
        lambda t, shape: t.reshape(shape[0], -1)[:, : shape[1]],
        lambda w, *_: _padded_bytes(w),
    ),
    Layout.GATES: Packing(
        lambda w, *_: pack_bias(w), lambda t, shape: unpack_bias(t, *shape), lambda w, *_: _padded_bytes(w)
    ),
}
