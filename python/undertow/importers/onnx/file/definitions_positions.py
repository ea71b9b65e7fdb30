# SPDX-License-Identifier: MIT
"""Operators that go by positions in a sequence: rotations of queries and keys, and what is written into a cache."""

from __future__ import annotations

import numpy as np

from ..traits import RUNTIME
from .definitions import Parts
from .definitions_recurrent import check_input

_FLOAT, _BOOL = 1, 9
#: of tables of masks
_MOST_ELEMENTS = 1 << 24
_MODES = ("linear", "circular")


def rotary_embedding(parts: Parts) -> None:
    """Pairs of channels of each head, turned by the angle of their position.

    x (batch, time, heads times size) or (batch, heads, time, size); cos, sin (positions, pairs), or without positions
    (batch, time, pairs). ONNX Runtime's has its inputs in another order, and may take the first position alone.
    """
    node, attrs = parts.node, parts.node.attrs
    own = node.proto.domain == RUNTIME
    node.allow("interleaved", "num_heads", "rotary_embedding_dim", *(("scale", "is_packed_batching") if own else ()))
    for name, only in (("scale", 1.0), ("is_packed_batching", 0)):
        if attrs.get(name, only) != only:
            node.unsupported(f"attribute {name}={attrs[name]} is not supported; supported: {only}")
    x = parts.slot(0)
    ids, cos, sin = (parts.slot(i) for i in ((1, 2, 3) if own else (3, 1, 2)))
    rank = parts.rank(x)
    if rank not in (3, 4):
        node.shape_error(f"its input has {rank} axes, expected 3 or 4")
    pairs = _pairs(parts, cos, sin, bool(ids))
    head = _head(parts, rank, pairs, own)
    angles = [_angle(parts, table, ids, rank, pairs) for table in (cos, sin)]
    if rank == 3:
        x = parts.reshape(x, 0, 0, -1, head)
    _turn(parts, x, angles, pairs, head, rank)


def _pairs(parts: Parts, cos: str, sin: str, picked: bool) -> int:
    """How many pairs of channels are turned: the width of both tables."""
    widths = []
    for name, what in ((cos, "cos_cache"), (sin, "sin_cache")):
        dims = parts.dims(name)
        expected = 2 if picked else 3
        if dims is not None and len(dims) != expected:
            why = "with" if picked else "without"
            parts.node.shape_error(f"its input {what} has {len(dims)} axes, expected {expected} {why} position_ids")
        if dims is None or dims[-1] is None:
            parts.node.unsupported(f"the last size of its input {what} is open, expected a number")
        widths.append(dims[-1])
    if widths[0] != widths[1]:
        parts.node.shape_error(f"its inputs cos_cache and sin_cache have rows of {widths[0]} and {widths[1]}")
    return int(widths[0])


def _head(parts: Parts, rank: int, pairs: int, own: bool) -> int:
    """The size of a head."""
    node, attrs = parts.node, parts.node.attrs
    turned, n_heads = attrs.get("rotary_embedding_dim", 0), attrs.get("num_heads", 0)
    dims = parts.dims(parts.slot(0)) or [None]
    size = dims[-1]
    if rank == 3 and not (own and not turned):
        if n_heads < 1:
            node.format_error(f"attribute num_heads={n_heads}, expected 1 or more with an input of 3 axes")
        if size is not None and size % n_heads:
            node.shape_error(f"its input has {size} channels, which attribute num_heads={n_heads} does not divide")
        size = None if size is None else size // n_heads
    elif rank == 3:
        size = 2 * pairs  # ONNX Runtime tells heads by the tables
        if dims[-1] is not None and dims[-1] % size:
            node.shape_error(f"its input has {dims[-1]} channels, which heads of {size} do not divide")
    if size is None:
        node.unsupported("the last size of its input is open, expected a number")
    if not 0 <= turned <= size or turned % 2:
        node.format_error(f"attribute rotary_embedding_dim={turned}, expected an even number up to {size}")
    if 2 * pairs != (turned or size):
        what = f"attribute rotary_embedding_dim={turned}" if turned else f"heads of {size}"
        node.shape_error(f"its input cos_cache has rows of {pairs}, expected half of {what}")
    return size


def _angle(parts: Parts, table: str, ids: str, rank: int, pairs: int) -> str:
    """The rows of a table at the positions, beside x."""
    rows = table
    if ids:
        positions = _positions(parts, ids, parts.dims(table))
        rows = parts.add("Gather", table, positions, axis=0)
    return parts.reshape(rows, *((0, -1, 1, pairs) if rank == 3 else (0, 1, -1, pairs)))


def _positions(parts: Parts, ids: str, table: list[int | None] | None) -> str:
    """Positions (batch, time)."""
    known, dims = parts.model.array(ids), parts.dims(ids)
    n_rows = table[0] if table else None
    if len(dims or [None] * 2) == 1:  # of the first timestep; others count on from it
        x = parts.dims(parts.slot(0)) or []
        time = x[-2 if len(x) == 4 else 1] if len(x) > 2 else None
        if known is not None and time is not None:
            if n_rows is not None and time > n_rows:
                parts.node.shape_error(f"its input has {time} timesteps, cos_cache {n_rows} rows")
            known = known.reshape(1, -1) + np.arange(time)
        elif time != 1:
            parts.node.unsupported("its input position_ids is the first position alone, and computed at run time; "
                                   "expected one for each timestep")  # fmt: skip
    if known is None:
        return parts.reshape(ids, 1, 1) if len(dims or [None] * 2) == 1 else ids
    if n_rows is not None and known.size and not (known.min() >= 0 and known.max() < n_rows):
        wrong = int(known.min() if known.min() < 0 else known.max())
        parts.node.shape_error(f"its input position_ids has {wrong}, expected 0 to {n_rows - 1}, the rows of cos_cache")
    return parts.constant(known)


def _turn(parts: Parts, x: str, angles: list[str], pairs: int, head: int, rank: int) -> None:
    interleaved, cos, sin = bool(parts.node.attrs.get("interleaved", 0)), *angles

    def cut(first: int, last: int, step: int = 1) -> str:
        return parts.add("Slice", x, *(parts.constant(np.array([n])) for n in (first, last, -1, step)))

    halves = ((0, 2 * pairs, 2), (1, 2 * pairs, 2)) if interleaved else ((0, pairs, 1), (pairs, 2 * pairs, 1))
    a, b = (cut(*half) for half in halves)
    real = parts.add("Sub", parts.add("Mul", cos, a), parts.add("Mul", sin, b))
    imaginary = parts.add("Add", parts.add("Mul", sin, a), parts.add("Mul", cos, b))
    if interleaved:
        columns = [parts.reshape(part, 0, 0, 0, pairs, 1) for part in (real, imaginary)]
        turned = [parts.reshape(parts.add("Concat", *columns, axis=-1), 0, 0, 0, 2 * pairs)]
    else:
        turned = [real, imaginary]
    left = [cut(2 * pairs, head)] if 2 * pairs < head else []
    y = parts.node.outputs[0]
    if rank == 4:
        parts.add("Concat", *turned, *left, axis=-1, gives=y)
        return
    joined = parts.add("Concat", *turned, *left, axis=-1) if len(turned + left) > 1 else turned[0]
    parts.add("Reshape", joined, parts.constant(np.array([0, 0, -1])), gives=y)


def rms_norm(parts: Parts) -> None:
    """SimplifiedLayerNormalization: ONNX's RMSNormalization, before it had one."""
    parts.node.allow("axis", "epsilon", "stash_type")
    if any(parts.node.outputs[1:]):
        parts.node.unsupported("its second output (inverse deviation) serves training")
    given = parts.settings("axis", "epsilon")
    parts.add("RMSNormalization", parts.slot(0), parts.slot(1), gives=parts.node.outputs[0], **given)


def tensor_scatter(parts: Parts) -> None:
    """A cache with other rows from a position on; `circular`: those beyond its end from its beginning on.

    cache (batch, ..., rows, ...), update (batch, ..., new rows, ...), positions (batch). A position that is brought
    picks rows of a table of masks, so one beyond the cache is refused when it comes.
    """
    node = parts.node
    node.allow("axis", "mode")
    mode = node.attrs.get("mode", "linear")
    if mode not in _MODES:
        node.format_error(f"attribute mode={mode!r}, expected one of {', '.join(_MODES)}")
    cache, update, positions = (parts.slot(i) for i in range(3))
    rank, given = parts.rank(cache), node.attrs.get("axis", -2)
    if not -rank <= given < rank or given % rank == 0:
        node.format_error(f"attribute axis={given}, expected an axis of {rank} behind the batch")
    axis = given % rank
    sizes = list(parts.dims(cache) or [])
    n_new = (parts.dims(update) or [None] * rank)[axis]
    check_input(parts, 1, "update", *(None if a == axis else n for a, n in enumerate(sizes)))
    n_rows = sizes[axis]
    if n_rows is None or n_new is None:
        node.unsupported(f"the size of axis {axis} of its inputs is open, expected a number")
    if not 0 < n_new <= n_rows:
        node.shape_error(f"its input update has {n_new} rows, the cache {n_rows}; expected 1 to as many")
    circular = mode == "circular"
    at = _written(parts, positions, n_rows, n_new, circular, sizes[0])
    n_places = n_rows if circular else n_rows - n_new + 1
    if not isinstance(at, str) and n_new < n_rows and (at == at[0]).all() and at[0] + n_new <= n_rows:
        _put(parts, cache, update, axis, int(at[0]), n_new, n_rows)
        return
    n_places = n_places if isinstance(at, str) else at.size
    if n_rows * n_places * n_new > _MOST_ELEMENTS:
        node.unsupported(f"writes {n_new} of {n_rows} rows at {n_places} places, which takes too large a table")
    places = np.arange(n_places) if isinstance(at, str) else at
    for row in range(n_new):
        masks = np.arange(n_rows) == ((places + row) % n_rows)[:, None]
        mask = parts.constant(masks.astype(np.float32))
        mask = parts.add("Gather", mask, at, axis=0) if isinstance(at, str) else mask
        behind = [1] * (rank - axis - 1)
        mask = parts.add("Cast", parts.reshape(mask, -1, *[1] * (axis - 1), n_rows, *behind), to=_BOOL)
        bounds = (parts.constant(np.array([n])) for n in (row, row + 1, axis))
        new = parts.add("Slice", update, *bounds) if n_new > 1 else update
        cache = parts.add("Where", mask, new, cache, gives=node.outputs[0] if row == n_new - 1 else "")


def _put(parts: Parts, cache: str, update: str, axis: int, at: int, n_new: int, n_rows: int) -> None:
    """The update between what lies before and behind it, the same place in each item."""

    def cut(first: int, last: int) -> list[str]:
        bounds = [parts.constant(np.array([n])) for n in (first, last, axis)]
        return [parts.add("Slice", cache, *bounds)] if first < last else []

    parts.add("Concat", *cut(0, at), update, *cut(at + n_new, n_rows), axis=axis, gives=parts.node.outputs[0])


def _written(
    parts: Parts, positions: str, n_rows: int, n_new: int, circular: bool, batch: int | None
) -> str | np.ndarray:
    """Where each item's rows are written from: what is known, or the value that says it."""
    known = np.zeros(1, np.int64) if not positions else parts.model.array(positions)
    if known is None:
        check_input(parts, 2, "write_indices", batch)
        n = parts.constant(np.int64(n_rows))
        return parts.add("Mod", positions, n) if circular else positions
    known = known.reshape(-1)
    if positions and (not known.size or batch not in (None, known.size)):
        parts.node.shape_error(f"its input write_indices has {known.size} numbers, expected one for each item")
    if circular:
        known = known % n_rows
    elif known.size and not (known.min() >= 0 and known.max() + n_new <= n_rows):
        wrong = int(known.min() if known.min() < 0 else known.max())
        parts.node.shape_error(
            f"its input write_indices has {wrong}, expected 0 to {n_rows - n_new}: {n_new} rows into a cache of "
            f"{n_rows}"
        )
    return known


__all__ = ["rms_norm", "rotary_embedding", "tensor_scatter"]
