# SPDX-License-Identifier: MIT
"""Does a graph compute what the module does that it was exported from? An exporter may have dropped a change in place,
kept a branch, or missed what the module keeps elsewhere; a few calls show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import reference
from ..ir.graph import Graph
from ._torch_given import leaves

#: calls of a module that computes a step; how large random numbers are in each
_CALLS, _SCALES = 5, (1.0, 3.0)
#: numbers of timesteps besides the example's: what Python computed with that is fixed to it
_LENGTHS = (3, 12, 40)
#: of the largest number, far above what float32 loses
_TOLERANCE = 1e-3


def differs(
    torch: Any, module: Any, arguments: tuple[Any, ...], names: Sequence[str], axes: dict[str, dict[int, str]],
    graph: Graph,
) -> str:  # fmt: skip
    """What is another than the module gives, in words: an output, "" if there is none, or it cannot be told.

    module: a copy, which is called. names: of the tensors in `arguments`; axes: of time, as torch's dynamic_axes.
    """
    rng = np.random.default_rng(0)
    goes_on = not axes and all(name in graph.inputs for name in names)
    if name := _differs(torch, module, arguments, names, axes, graph, rng, _CALLS if goes_on else 1, "output"):
        return f"{name!r}"
    for n_steps in _LENGTHS if axes else ():
        longer = _resized(torch, arguments, iter(names), axes, n_steps)
        if name := _differs(torch, module, longer, names, axes, graph, rng, 1, ""):
            return f"{name!r} for {n_steps} timesteps"
    return ""


def _differs(
    torch: Any, module: Any, arguments: tuple[Any, ...], names: Sequence[str], axes: dict[str, dict[int, str]],
    graph: Graph, rng: np.random.Generator, n_calls: int, refused: str,
) -> str:  # fmt: skip
    """refused: what is given where the module does not take the first call. It ran with the example before the export:
    something of that is left in what it keeps elsewhere; of other lengths it may take none.
    """
    calls = []
    for number in range(n_calls):
        scale = _SCALES[number % len(_SCALES)]
        inputs = _drawn(torch, arguments, iter(names), graph, rng, scale)
        try:
            with torch.no_grad():
                result = module(*inputs)
            # copies, for the next call may write into what this one returned
            wanted = [leaf.detach().clone().numpy() for leaf in leaves(result) if isinstance(leaf, torch.Tensor)]
        except Exception:
            return refused if number == 0 else ""
        frames = {}
        for name, tensor in zip(names, leaves(inputs), strict=True):
            if name in graph.inputs:
                laid = _frames(tensor.numpy(), next(iter(axes.get(name, ())), None), graph.shape(name))
                if laid is None:
                    return ""
                frames[name] = laid
        calls.append((frames, wanted))
    lengths = {len(x) for frames, _ in calls for x in frames.values()}
    if len(lengths) != 1 or (not axes and lengths != {1}):
        return ""
    X = {name: np.concatenate([frames[name] for frames, _ in calls]) for name in graph.inputs}
    outputs = reference.evaluate(graph, X).outputs
    for name, value in graph.outputs.items():
        at = 0 if name == "output" else int(name.rpartition("_")[2]) if name.startswith("output_") else None
        if at is None or at >= len(calls[0][1]) or graph.values[value].once:
            continue
        per_call = [results[at].astype(np.float64) for _, results in calls]
        streamed = np.asarray(outputs[name])
        if not _agree(streamed, per_call, len(calls), next(iter(lengths))):
            return name
    return ""


def _resized(torch: Any, value: Any, names: Iterator[str], axes: dict[str, dict[int, str]], n_steps: int) -> Any:
    """The example with another number of timesteps: its first one, repeated."""
    if isinstance(value, (tuple, list)):
        return tuple(_resized(torch, item, names, axes, n_steps) for item in value)
    for axis in axes.get(next(names), {}):
        value = torch.cat([value.narrow(axis, 0, 1)] * n_steps, axis)
    return value


def _drawn(torch: Any, value: Any, names: Iterator[str], graph: Graph, rng: np.random.Generator, scale: float) -> Any:
    """The example with random numbers in it; ids, and what starts a state, stay zeros or as they are."""
    if isinstance(value, (tuple, list)):
        return tuple(_drawn(torch, item, names, graph, rng, scale) for item in value)
    if next(names) not in graph.inputs:
        return torch.zeros_like(value)
    if not value.is_floating_point():
        return value
    return torch.from_numpy((scale * rng.standard_normal(tuple(value.shape))).astype(np.float32)).to(value.dtype)


def _frames(array: np.ndarray, time: int | None, frame: tuple[int, ...]) -> np.ndarray | None:
    """A tensor as frames, along its axis of time."""
    rows = array[None] if time is None else np.moveaxis(array, time, 0)
    size = int(np.prod(frame, dtype=np.int64))
    if rows.size != len(rows) * size:
        return None
    return rows.reshape(len(rows), *frame)


def _agree(streamed: np.ndarray, per_call: list[np.ndarray], n_calls: int, n_steps: int) -> bool:
    """Whether frames are what the calls gave, whichever axis is time; what has another size cannot be told."""
    if streamed.size != sum(w.size for w in per_call):
        return True
    limit = _TOLERANCE * max(1.0, float(np.nanmax(np.abs(np.concatenate([w.ravel() for w in per_call])), initial=0.0)))
    axes = [None] if n_calls > 1 else [None, *(a for a, n in enumerate(per_call[0].shape) if n == n_steps)]
    for axis in axes:
        flat = np.concatenate([(w if axis is None else np.moveaxis(w, axis, 0)).ravel() for w in per_call])
        close = np.abs(streamed.ravel() - flat) <= limit
        if (close | ~np.isfinite(flat)).all():
            return True
    return False


__all__ = ["differs"]
