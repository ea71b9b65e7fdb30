# SPDX-License-Identifier: MIT
"""Does a graph compute what the module does that it was exported from? An exporter may have dropped a change in place,
kept a branch, or missed what the module keeps elsewhere; a few calls show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import reference
from ..ir.graph import Graph
from ._torch_structure import leaves, rebuilt

#: calls of a module that computes a step; how large random numbers are in each
_CALLS, _SCALES = 5, (1.0, 3.0)
#: numbers of timesteps besides the example's: what Python computed with that is fixed to it
_LENGTHS = (3, 12, 40)
#: of the largest number, far above what float32 loses
_TOLERANCE = 1e-3


def differs(
    torch: Any, module: Any, arguments: tuple[Any, ...], names: Sequence[str], axes: dict[str, dict[int, str]],
    graph: Graph, fed: Mapping[str, str],
) -> str:  # fmt: skip
    """What is another than the module gives, in words: an output, "" if there is none, or it cannot be told.

    module: a copy, which is called. names: of the tensors in `arguments`; axes: of time, as torch's dynamic_axes.
    fed: of a step, arguments that a call takes from the results of the one before, by their names.
    """
    rng = np.random.default_rng(0)
    goes_on = not axes and all(name in graph.inputs or name in fed for name in names)
    n_calls = _CALLS if goes_on else 1
    if name := _differs(torch, module, arguments, names, axes, graph, rng, n_calls, "output", fed):
        return f"{name!r}"
    for n_steps in _LENGTHS if axes else ():
        resized = (_resized(torch, x, axes.get(name, {}), n_steps) for name, x in _named(names, arguments))
        longer = rebuilt(arguments, resized)
        if name := _differs(torch, module, longer, names, axes, graph, rng, 1, "", {}):
            return f"{name!r} for {n_steps} timesteps"
    return ""


def _differs(
    torch: Any, module: Any, arguments: tuple[Any, ...], names: Sequence[str], axes: dict[str, dict[int, str]],
    graph: Graph, rng: np.random.Generator, n_calls: int, refused: str,
    fed: Mapping[str, str],
) -> str:  # fmt: skip
    """refused: what is given where the module does not take the first call. It ran with the example before the export:
    something of that is left in what it keeps elsewhere; of other lengths it may take none.
    """
    calls: list[tuple[dict[str, np.ndarray], list[np.ndarray]]] = []
    returned = {name: at for name, output in fed.items() if (at := _place(output)) is not None}
    for number in range(n_calls):
        scale = _SCALES[number % len(_SCALES)]
        drawn = (_drawn(torch, x, name in graph.inputs, rng, scale) for name, x in _named(names, arguments))
        held = calls[-1][1] if calls else []
        carried = {name: torch.from_numpy(held[at]) for name, at in returned.items() if at < len(held)}
        inputs = rebuilt(arguments, (carried.get(name, x) for name, x in zip(names, drawn, strict=True)))
        try:
            with torch.no_grad():
                result = module(*inputs)
            # copies, for the next call may write into what this one returned
            wanted = [leaf.detach().clone().numpy() for leaf in leaves(result) if isinstance(leaf, torch.Tensor)]
        except Exception:
            return refused if number == 0 else ""
        frames = {}
        for name, tensor in _named(names, inputs):
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
        at = _place(name)
        if at is None or at >= len(calls[0][1]) or graph.values[value].once:
            continue
        per_call = [results[at].astype(np.float64) for _, results in calls]
        streamed = np.asarray(outputs[name])
        if not _agree(streamed, per_call, len(calls), next(iter(lengths))):
            return name
    return ""


def _place(output: str) -> int | None:
    """Which of the results an output is."""
    name, _, number = output.partition("_")
    return None if name != "output" or (number and not number.isdigit()) else int(number or 0)


def _named(names: Sequence[str], arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    return zip(names, leaves(arguments), strict=True)


def _resized(torch: Any, value: Any, axes: Mapping[int, str], n_steps: int) -> Any:
    """A tensor with another number of timesteps: its first one, repeated."""
    for axis in axes:
        value = torch.cat([value.narrow(axis, 0, 1)] * n_steps, axis)
    return value


def _drawn(torch: Any, value: Any, is_input: bool, rng: np.random.Generator, scale: float) -> Any:
    """Random numbers in place of a tensor's; ids, and what starts a state, stay zeros or as they are."""
    if not is_input:
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
