# SPDX-License-Identifier: MIT
"""Several sequences in one call of `Model.run`, of one length or of any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ._text import listed
from .errors import ShapeError
from .ir.graph import Value

#: as many sequences and more go side by side, where each matrix is read once for all of them
_TOGETHER = 4
#: of a model that needs whole sequences, as many are computed at a time
_ABREAST = 48
#: bytes that are copied at a time, and frames all the same: some blocks of the engine's
_COPIED_BYTES, _LEAST_FRAMES = 8 << 20, 192


def apart(X: Any, inputs: Mapping[str, Value], frames_in: int) -> tuple[list[Any], bool] | None:
    """The sequences of a batch (B, T, *frame), or of a list of (T, *frame), as `Model.run` takes them one by one, and
    whether they are of one array; None where X is one sequence.

    Raises:
        ShapeError: inputs of other numbers of sequences.
    """
    given = X if isinstance(X, Mapping) else dict.fromkeys(list(inputs)[:1], X)
    if set(given) != set(inputs):
        return None  # which `run` refuses
    kinds = {name: _kind(x, inputs[name], frames_in) for name, x in given.items()}
    if set(kinds.values()) == {""}:
        return None
    if len(set(kinds.values())) > 1:
        told = " and ".join(f"{name}: {kind or 'one sequence'}" for name, kind in kinds.items())
        raise ShapeError(f"X has {told}")
    sizes = {name: len(x) for name, x in given.items()}
    if len(set(sizes.values())) > 1:
        raise ShapeError(f"inputs differ in their number of sequences: {listed(f'{k} {n}' for k, n in sizes.items())}")
    n = next(iter(sizes.values()))
    one = not isinstance(X, Mapping)
    items = [X[i] if one else {name: x[i] for name, x in given.items()} for i in range(n)]
    return items, set(kinds.values()) == {"an array of sequences"}


def _kind(x: Any, value: Value, frames_in: int) -> str:
    rank = len(value.shape)
    least = rank if frames_in > 1 and value.shape[:1] == (frames_in,) else rank + 1  # which may be timesteps
    if isinstance(x, (list, tuple)) and all(isinstance(one, np.ndarray) and one.ndim >= least for one in x):
        return "a list of sequences"
    if isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1 and x.size:
        return "a list of sequences"
    return "an array of sequences" if isinstance(x, np.ndarray) and x.ndim == rank + 2 else ""


def each(items: Sequence[Any], run: Callable[[Any, int], Any]) -> list[Any]:
    """run(item, its number) of each; errors say of which sequence."""
    results = []
    for number, item in enumerate(items):
        try:
            results.append(run(item, number))
        except (ShapeError, TypeError, ValueError) as error:
            raise type(error)(f"sequence {number}: {error}") from None
    return results


def together(results: Sequence[Any], is_array: bool) -> Any:
    """What `Model.run` gives of each sequence as one array for each output, or as a list of them."""
    if isinstance(results[0], Mapping):
        return {name: together([result[name] for result in results], is_array) for name in results[0]}
    return np.stack(results) if is_array else list(results)


def none(X: Any, outputs: Mapping[str, Value], is_array: bool) -> Any:
    """What `Model.run` gives of no sequences."""
    first = next(iter(X.values())) if isinstance(X, Mapping) else X
    n_frames = first.shape[1] if is_array else 0
    ys: dict[str, Any] = {}
    for name, value in outputs.items():
        frames = () if value.once else (n_frames,)
        ys[name] = np.zeros((0, *frames, *value.shape), value.dtype) if is_array else []
    return ys if len(ys) > 1 else next(iter(ys.values()))


def through_a_pool(
    model: Any, items: Sequence[list[np.ndarray]], named: Callable[[list[Any]], Any], threads: int
) -> list[Any]:
    """`Model.run` of each sequence, whose inputs are checked frames: those that are still going, side by side."""
    if len(items) < _TOGETHER:
        return []
    lengths = [len(xs[0]) for xs in items]
    order = sorted(range(len(items)), key=lambda i: -lengths[i])
    late, outputs = model.latency, list(model.outputs.values())
    rows = [[np.empty((n + late, *v.shape), v.dtype) for v in outputs] for n in lengths]
    begin = 0
    with model.pool(len(items), threads) as pool:
        ids = np.asarray(pool.open(len(items)))
        for end in sorted(set(lengths)):
            going = [i for i in order if lengths[i] >= end]
            step = _frames_at_a_time(model, len(going))
            for first in range(begin, end, step):
                last = min(first + step, end)
                xs = [np.stack([items[i][k][first:last] for i in going]) for k in range(len(items[0]))]
                X = xs[0] if len(xs) == 1 else dict(zip(model.inputs, xs, strict=True))
                _put(rows, going, first, last, pool.run(ids[going], X))
            ending = [i for i in going if lengths[i] == end]
            if late:
                _put(rows, ending, end, end + late, pool.flush(ids[ending]))
            begin = end
    return [named([y[late:] for y in ys]) for ys in rows]


def _frames_at_a_time(model: Any, n_streams: int) -> int:
    """Frames of so many streams that are copied to stand side by side: beside them, a batch takes little memory, and no
    copy keeps Ctrl-C waiting.
    """
    size = 4 * n_streams * sum(v.size for values in (model.inputs, model.outputs) for v in values.values())
    return max(_LEAST_FRAMES, _COPIED_BYTES // size)


def side_by_side(
    model: Any, items: Sequence[list[np.ndarray]], named: Callable[[list[Any]], Any], is_array: bool, threads: int
) -> Any:
    """`Model.run` of whole sequences, some at a time: what `together` gives; None where sequences of this model do not
    go so.
    """
    if len(items) < _TOGETHER:
        return None
    lengths = [len(xs[0]) for xs in items]
    order = sorted(range(len(items)), key=lambda i: -lengths[i])
    shapes = [lambda n, v=v: v.shape if v.once else (n, *v.shape) for v in model.outputs.values()]
    dtypes = [v.dtype for v in model.outputs.values()]
    if is_array:
        whole = [np.empty((len(items), *of(lengths[0])), dtype) for of, dtype in zip(shapes, dtypes, strict=True)]
        ys = [[y[i] for y in whole] for i in range(len(items))]
    else:
        ys = [[np.empty(of(n), dtype) for of, dtype in zip(shapes, dtypes, strict=True)] for n in lengths]
    n_tiles = max(-(-len(items) // _ABREAST), min(threads, len(items) // _TOGETHER))

    def run(tile: np.ndarray) -> bool:
        of_tile = [[items[i] for i in tile], [lengths[i] for i in tile], [ys[i] for i in tile]]
        return bool(model._core.run_sequences(*of_tile))

    tiles = np.array_split(order, n_tiles)
    if threads > 1:
        with ThreadPoolExecutor(threads) as workers:
            done = list(workers.map(run, tiles))
    else:
        done = [run(tile) for tile in tiles]
    if not all(done):
        return None
    if is_array:
        return named(whole)
    return together([named(of_one) for of_one in ys], False)


def _put(rows: list[list[np.ndarray]], which: Sequence[int], begin: int, end: int, result: Any) -> None:
    ys = list(result.values()) if isinstance(result, Mapping) else [result]
    for place, i in enumerate(which):
        for target, y in zip(rows[i], ys, strict=True):
            target[begin:end] = y[place]


__all__ = ["apart", "each", "none", "side_by_side", "through_a_pool", "together"]
