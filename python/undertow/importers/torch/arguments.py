# SPDX-License-Identifier: MIT
"""The tensors that a PyTorch module takes: their names, as its forward has them, and their axes of time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import UnsupportedError
from .structure import leaf_names


def input_names(torch: Any, module: Any, arguments: tuple[Any, ...]) -> Iterator[str]:
    for i, argument in enumerate(arguments):
        parameters = _parameters(torch, module)
        yield from leaf_names(parameters[i] if i < len(parameters) else f"input_{i}", argument)


def _parameters(torch: Any, module: Any) -> list[str]:
    """The names of what forward takes."""
    if isinstance(module, torch.jit.ScriptModule):
        if not hasattr(module, "forward"):  # of several signatures, as nn.LSTM has them
            raise UnsupportedError(
                "from_torch: the scripted module has no forward of its own, so it cannot be called; script a module "
                "that holds it, or pass the module as it was before"
            )
        return [argument.name for argument in module.forward.schema.arguments][1:]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds]


def time_axes(torch: Any, module: Any, names: list[str], tensors: list[Any], axis: Any) -> dict[str, dict[int, str]]:
    """torch's dynamic_axes of the inputs."""
    if axis == "auto":
        kinds = ("RNN", "GRU", "LSTM")  # of scripted layers, which are of no class
        layers = [
            m
            for m in module.modules()
            if isinstance(m, torch.nn.RNNBase)
            or (getattr(m, "original_name", "") in kinds and hasattr(m, "batch_first"))
        ]
        orders = {bool(m.batch_first) for m in layers}
        if len(orders) > 1:
            raise UnsupportedError(
                "from_torch: the module has recurrent layers with batch_first and without; say time_axis"
            )
        batched = tensors[0].ndim >= (3 if tensors[0].is_floating_point() else 2)
        axis = None if not layers else int(orders == {True} and batched)
    if axis is None:
        return {}
    if isinstance(axis, Mapping):
        ranks = {name: tensor.ndim for name, tensor in zip(names, tensors, strict=True)}
        for name, at in axis.items():
            if name not in ranks or not (at is None or -ranks[name] <= at < ranks[name]):
                raise ValueError(f"from_torch: time_axis has {at!r} for {name!r}; numbers of axes: {ranks}")
        return {name: {at % ranks[name]: "time"} for name, at in axis.items() if at is not None}
    first = tensors[0]
    if not isinstance(axis, int) or not -first.ndim <= axis < first.ndim:
        raise ValueError(
            f"from_torch: time_axis is {axis!r}, expected {-first.ndim} to {first.ndim - 1}, None or 'auto'"
        )
    axes = {}
    for name, tensor in zip(names, tensors, strict=True):
        if not -tensor.ndim <= axis < tensor.ndim:
            continue
        at, n_steps = axis % tensor.ndim, tensor.shape[axis]
        # a state has (layers, batch, hidden): the same axis is time only where everything in front of it agrees
        agrees = n_steps == first.shape[axis] and n_steps > 1 and tensor.shape[:at] == first.shape[:at]
        if name == names[0] or agrees:
            axes[name] = {at: "time"}
    return axes


__all__ = ["input_names", "time_axes"]
