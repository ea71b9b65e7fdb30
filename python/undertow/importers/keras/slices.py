# SPDX-License-Identifier: MIT
"""Slices of tensors, `x[:, -1]` and its kin: elements of a frame, the last timestep, timesteps cut off at the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from ...errors import FormatError, UnsupportedError
from ...ir.grids import gather
from .. import _blocks as blocks
from .builder import Builder, NeedsClip, Tensor
from .config import Config, brief
from .registers import first_so_far
from .tables import Layer
from .weights import Weights

#: what stands between two commas of a slice
Item: TypeAlias = int | slice | None

_ALL = slice(None)


def get_item(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    """x[item], as NumPy means it; the batch stays whole."""
    given = config.required(layer.row.call[0])
    config.finish()
    shape, along = b.graph.shape(x.value), x.time and not x.rows
    items = _items(layer, given, 1 + along + len(shape))
    if items[0] != _ALL:
        raise UnsupportedError(f"{layer.where}: {_text(items)} takes some of the batch; expected ':' there")
    time, frame = items[1] if x.time else _ALL, items[1 + x.time :]
    if x.time and time is None:
        raise UnsupportedError(f"{layer.where}: {_text(items)} puts an axis before time; expected none there")
    try:
        taken = blocks.positions(shape)[(_ALL, *frame) if x.rows and x.time else tuple(frame)]
    except IndexError as error:
        raise FormatError(f"{layer.where}: {_text(items)} of frames {shape}: {error}") from None
    if not taken.size:
        raise FormatError(f"{layer.where}: {_text(items)} of frames {shape} leaves nothing")
    blocks.check_frame(layer.where, taken.size)
    return _of_time(b, layer, x.like(gather(b.graph, x.value, taken, layer.name)), time, items)


def _of_time(b: Builder, layer: Layer, x: Tensor, time: Item, items: list[Item]) -> Tensor:
    """The timesteps that an item takes."""
    n = x.length
    if isinstance(time, slice):
        start, stop, step = time.start or 0, time.stop, time.step or 1
        to_the_end = stop is None or (n is not None and stop >= n)
        if to_the_end and step == 1 and start == 0:
            return x
        if to_the_end and step == 1 and start > 0 and not x.rows and (n is None or start < n):
            return replace(x, length=None if n is None else n - start, late=x.late + start)
        if stop is None and step == 1 and start == -1:
            last = _last(b, layer, x)
            return last.like(gather(b.graph, last.value, blocks.positions((1, *b.graph.shape(last.value))), layer.name))
    elif time in (-1, None if n is None else n - 1):
        return _last(b, layer, x)
    elif time in (0, None if n is None else -n) and not x.rows:
        first = first_so_far(b, layer, x)
        return Tensor(b.graph.add("last", [first], name=f"{layer.name}_last"), time=False)
    raise NeedsClip(
        f"{layer.where}: {_text(items)} takes timesteps that a stream cannot tell from others; expected all, the last "
        "one (-1), the first one (0), or all from one on; or give the clip's size: shapes="
    )


def _last(b: Builder, layer: Layer, x: Tensor) -> Tensor:
    """The last timestep; in a stream the one that is there."""
    value = x.value
    if x.rows:
        rows = blocks.positions(b.graph.shape(value))
        value = gather(b.graph, value, rows[-1], f"{layer.name}_step")
    return Tensor(b.graph.add("last", [value], name=f"{layer.name}_last"), time=False)


# -- reading --------------------------------------------------------------------------------------------------------


def _items(layer: Layer, given: Any, rank: int) -> list[Item]:
    """An item for each axis of a tensor, and None for each new one."""
    tuples = isinstance(given, dict) and given.get("class_name") == "__tuple__"
    listed = given.get("items") if tuples else given if isinstance(given, list) else [given]
    if not isinstance(listed, list):
        raise FormatError(f"{layer.where}: item must be a list, got {brief(given)}")
    ellipses = [i for i, item in enumerate(listed) if _is(item, "__ellipsis__")]
    if len(ellipses) > 1:
        raise FormatError(f"{layer.where}: item has {len(ellipses)} ellipses, expected one at most")
    at = ellipses[0] if ellipses else len(listed)
    before, behind = ([_item(layer, item) for item in part] for part in (listed[:at], listed[at + 1 :]))
    left = rank - sum(item is not None for item in (*before, *behind))
    if left < 0:
        raise FormatError(f"{layer.where}: item has {rank - left} axes, but what it is taken of has {rank}")
    return [*before, *[_ALL] * left, *behind]


def _item(layer: Layer, item: Any) -> Item:
    if item is None or type(item) is int:
        return item
    ends = item.get("config", item) if _is(item, "__slice__") or (isinstance(item, dict) and "start" in item) else None
    if isinstance(ends, dict):
        parts = [ends.get(key) for key in ("start", "stop", "step")]
        if all(part is None or type(part) is int for part in parts) and parts[2] != 0:
            return slice(*parts)
    raise UnsupportedError(
        f"{layer.where}: item holds {brief(item)}, which is not supported; expected numbers, slices, ... and None"
    )


def _is(item: Any, kind: str) -> bool:
    return isinstance(item, dict) and item.get("class_name") == kind


def _text(items: list[Item]) -> str:
    """[:, -1], as it was written."""

    def one(item: Item) -> str:
        if not isinstance(item, slice):
            return str(item)
        start, stop = ("" if end is None else str(end) for end in (item.start, item.stop))
        return f"{start}:{stop}" + (f":{item.step}" if item.step not in (None, 1) else "")

    return f"[{', '.join(map(one, items))}]"
