# SPDX-License-Identifier: MIT
"""Elements of values in another order or shape: indexing, reshaping, joining and cutting, by NumPy's rules."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from ..errors import ShapeError
from .operands import Named, Operand, as_value, home, operand, places, said, select, shape_of, spread


def taken(x: Operand, indices: np.ndarray) -> Any:
    """The elements of a value at `indices`, an array of places counted row by row."""
    if isinstance(x, np.ndarray):
        return x.reshape(-1)[indices]
    own = places(shape_of(x))
    if indices.size == own.size and (indices.reshape(-1) == own.reshape(-1)).all():
        return x if indices.shape == own.shape else x.graph.add("reshape", [x], attrs={"shape": indices.shape})
    return select([x], indices)


def item(x: Named, key: Any) -> Any:
    """x[key]: integers, slices, ..., None, and arrays of integers or bools that are known."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if isinstance(part, Named):
            raise TypeError(
                f"[]: {said(x)} is indexed by the value {said(part)}; which elements are taken must be known while the "
                "graph is built. where(condition, a, b) chooses by a value, and embedding(ids, table) takes rows"
            )
        if isinstance(part, str):
            raise TypeError(f"[]: {said(x)} is indexed by the text {str(part)!r}, expected integers, slices or arrays")
    if isinstance(key, list):
        key = np.asarray(key)
    try:
        indices = places(shape_of(x))[key]
    except IndexError as error:
        raise ShapeError(f"[]: {said(x)} has no such elements: {error}") from None
    if not np.size(indices):
        raise ShapeError(f"[]: {said(x)} has no elements there; a value has at least one")
    return taken(x, np.asarray(indices))


def reshape(x: Any, *shape: Any) -> Any:
    """The same elements in another shape, row by row; one size may be -1, which takes what is left.

    Raises:
        ShapeError: it has another number of elements.

    >>> import numpy as np, undertow
    >>> x = undertow.Graph("demo").input("x", (2, 3))
    >>> reshape(x, 3, 2).shape, reshape(x, (-1,)).shape
    ((3, 2), (6,))
    """
    x = operand(x, "reshape")
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
    try:
        return taken(x, places(shape_of(x)).reshape(tuple(index(n) for n in sizes)))
    except ValueError:
        raise ShapeError(f"reshape: {said(x)} cannot have the shape {tuple(sizes)}") from None


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """`x` with its axes in another order, the reversed one unless given.

    Raises:
        ShapeError: `axes` are not all axes, each once.

    >>> import numpy as np, undertow
    >>> x = undertow.Graph("demo").input("x", (2, 3))
    >>> transpose(x).shape
    (3, 2)
    """
    x = operand(x, "transpose")
    try:
        return taken(x, places(shape_of(x)).transpose(axes))
    except ValueError:
        raise ShapeError(f"transpose: {said(x)} has no axes {axes}") from None


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """`x` repeated into a shape, by NumPy's rules.

    Raises:
        ShapeError: they do not let it.

    >>> import numpy as np, undertow
    >>> x = undertow.Graph("demo").input("x", (2, 3))
    >>> broadcast_to(x, (4, 2, 3)).shape
    (4, 2, 3)
    """
    x = operand(x, "broadcast_to")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    try:
        np.broadcast_to(places(shape_of(x)), shape)
    except ValueError:
        raise ShapeError(f"broadcast_to: {said(x)} cannot be repeated into {shape}") from None
    return spread(x, shape)


def concat(values: Sequence[Any], axis: int = -1) -> Any:
    """Values behind each other along an axis, the last one unless given.

    Raises:
        ShapeError: their other axes differ, or there is none. TypeError: it is no list.

    >>> import numpy as np, undertow
    >>> x = undertow.Graph("demo").input("x", (2, 3))
    >>> concat([x, x]).shape, concat([x, np.zeros((1, 3))], 0).shape
    ((2, 6), (3, 3))
    """
    parts = _several(values, "concat")
    shapes = [shape_of(x) for x in parts]
    try:
        joined = _joined(shapes, lambda pieces: np.concatenate(pieces, axis))
    except ValueError:
        raise ShapeError(
            f"concat: {', '.join(map(said, parts))} cannot be joined along axis {axis}; their other axes must be equal"
        ) from None
    return _from(parts, joined, "concat")


def stack(values: Sequence[Any], axis: int = 0) -> Any:
    """Values of one shape along a new axis, the first one unless given.

    Raises:
        ShapeError: their shapes differ, or there is none. TypeError: it is no list.

    >>> import numpy as np, undertow
    >>> x = undertow.Graph("demo").input("x", (2, 3))
    >>> stack([x, x]).shape
    (2, 2, 3)
    """
    parts = _several(values, "stack")
    try:
        joined = _joined([shape_of(x) for x in parts], lambda pieces: np.stack(pieces, axis))
    except ValueError:
        raise ShapeError(
            f"stack: {', '.join(map(said, parts))} cannot be stacked along axis {axis}; expected one shape"
        ) from None
    return _from(parts, joined, "stack")


def split(x: Any, sizes: int | Sequence[int], axis: int = -1) -> tuple[Any, ...]:
    """`x` cut along an axis, the last one unless given: into so many equal parts, or into parts of these sizes.

    Raises:
        ShapeError: the axis cannot be cut so.

    >>> import numpy as np, undertow
    >>> x = undertow.Graph("demo").input("x", (2, 3))
    >>> [part.shape for part in split(x, 3)], [part.shape for part in split(x, [1, 2])]
    ([(2, 1), (2, 1), (2, 1)], [(2, 1), (2, 2)])
    """
    x = operand(x, "split")
    own = places(shape_of(x))
    if not -own.ndim <= axis < own.ndim:
        raise ShapeError(f"split: {said(x)} has no axis {axis}")
    n = own.shape[axis]
    if isinstance(sizes, (int, np.integer)):
        if sizes < 1 or n % sizes:
            raise ShapeError(f"split: axis {axis} of {said(x)} cannot be cut into {sizes} equal parts")
        sizes = [n // int(sizes)] * int(sizes)
    elif sum(sizes) != n or min(sizes, default=0) < 1:
        raise ShapeError(f"split: sizes {list(sizes)} are not what axis {axis} of {said(x)} has, {n}")
    return tuple(taken(x, part) for part in np.split(own, np.cumsum(sizes)[:-1], axis))


def _several(values: Any, what: str) -> list[Operand]:
    if isinstance(values, (Named, str)) or not isinstance(values, (list, tuple)):
        raise TypeError(
            f"{what}: got {said(values) if isinstance(values, Named) else repr(values):.60}, expected a list of values"
        )
    if not values:
        raise ShapeError(f"{what}: the list is empty, expected one value or more")
    return [operand(x, what) for x in values]


def _joined(shapes: Sequence[tuple[int, ...]], join: Any) -> np.ndarray:
    """Where the elements of what is joined lie in all of its parts, one behind the other."""
    pieces, first = [], 0
    for shape in shapes:
        pieces.append(places(shape, first))
        first += pieces[-1].size
    result: np.ndarray = join(pieces)
    return result


def _from(parts: list[Operand], joined: np.ndarray, what: str) -> Any:
    graph = home(what, parts)
    if graph is None:
        return np.concatenate([np.asarray(x, np.float64).reshape(-1) for x in parts if isinstance(x, np.ndarray)])[
            joined
        ]
    values = [as_value(graph, x) for x in parts]
    if len(values) == 1:
        return taken(values[0], joined)
    if (joined.reshape(-1) != np.arange(joined.size)).any():
        return select(values, joined)
    flat = graph.add("concat", values)
    return flat if joined.ndim == 1 else graph.add("reshape", [flat], attrs={"shape": joined.shape})
