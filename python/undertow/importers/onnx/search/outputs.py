# SPDX-License-Identifier: MIT
"""Make the outputs of an ONNX model those of the Graph: whole timesteps in order, all of them or without the first."""

from __future__ import annotations

import numpy as np

from ....errors import UnsupportedError
from ..frames import provenance
from ..frames.context import Deviations, Pairs, Place, Shares, Walk, Weighed
from ..frames.provenance import Layout, Mixed, Tensor
from ..frames.superframes import rate_of, rows
from ..simplify.program import ID_TYPES, NUMBER_TYPES


def _is_tail(times: np.ndarray, n_steps: int) -> bool:
    return bool((times == np.arange(n_steps - times.size, n_steps)).all())


def output(walk: Walk, name: str) -> Place:
    """Make an ONNX output one of the Graph."""
    builder, operand = walk.builder, walk.values.get(name)
    if isinstance(operand, np.ndarray):
        if str(operand.dtype) not in (*NUMBER_TYPES, *ID_TYPES):
            raise UnsupportedError(f"output {name!r} is a constant of dtype {operand.dtype}, expected float32")
        operand = Tensor(builder.constant(_exact(name, operand)), ("",) * operand.ndim)
    if isinstance(operand, Shares):
        raise UnsupportedError(f"output {name!r} is a softmax over time, which is known with the last timestep only")
    if isinstance(operand, Deviations):
        raise UnsupportedError(f"output {name!r} takes the mean over time, which is known with the last timestep only")
    if isinstance(operand, Pairs):
        why = f"output {name!r} is computed of it, and has as many numbers as there are different timesteps"
        raise UnsupportedError(f"{operand.node.where}: multiplies every timestep with every timestep; {why}")
    if isinstance(operand, Weighed):
        raise UnsupportedError(
            f"output {name!r} has weights of every timestep for every timestep, as many as there are"
        )
    if not isinstance(operand, Tensor):
        raise UnsupportedError(f"output {name!r} is not computed by the model")
    if operand.dtype == "int32":
        raise UnsupportedError(f"output {name!r} holds ids (integers), expected float32 numbers")
    rate = rate_of(walk, operand)
    try:
        if rate is None:
            layout, elements = provenance.split(operand.codes, operand.labels)
        else:
            layout, parts = rows(operand, *rate, whole=False)
            elements = np.stack(parts)
    except Mixed as error:
        raise UnsupportedError(f"output {name!r} cannot be given frame by frame: {error}") from None
    walk.rates[name] = 1 if rate is None else rate[1]
    if not _in_order(layout):
        raise UnsupportedError(f"output {name!r} holds the items of the batch in another order than the inputs")
    if builder.sequence and (layout.steps >= 0).any():
        times = np.unique(layout.steps)
        ordered = [a for a in range(layout.steps.ndim) if (np.diff(layout.steps, axis=a) < 0).any()]
        n_items = max(1, int(layout.items.max()) + 1)
        late = builder.n_steps - times.size
        if (
            late > walk.left_out
            or not _is_tail(times, builder.n_steps)
            or layout.origin.size != times.size * n_items
            or (ordered and n_items == 1)
        ):
            raise UnsupportedError(_not_all(name, times, builder.n_steps))
        late *= walk.rates[name]
        if rate is not None:
            late += -operand.shape[rate[0]] % rate[1]
        if late:
            walk.missing[name] = late
        if builder.is_final(elements) and not builder.is_constant(elements):
            raise UnsupportedError(
                f"output {name!r} joins what is known at the end of the sequence with every timestep"
            )
    if walk.begins_at and builder.is_final(elements) and not builder.is_constant(elements):
        walk.missing[name] = walk.begins_at  # of a pool over frames that a window leaves out
    gone = {*layout.outer, *(a for a, label in enumerate(layout.labels) if label), *_declared(walk, name, layout)}
    frame = tuple(n for a, n in enumerate(layout.shape) if a not in gone)
    frame = frame if rate is None else (rate[1], *frame)
    value = builder.value(elements, frame)
    if value in builder.graph.inputs or value in builder.graph.outputs.values():
        value = builder.add("reshape", [value], attrs={"shape": frame})
    builder.graph.output(name, value)
    return Place(layout, name, frame)


def _in_order(layout: Layout) -> bool:
    """Whether rows are those of one item after another, or of one timestep after another, each with items in order."""
    items, steps = layout.items.ravel().astype(np.int64), layout.steps.ravel().astype(np.int64)
    if items.size == 0 or items.max() < 1:
        return True
    most = max(int(items.max()), int(steps.max())) + 2
    return any(bool((np.diff(a * most + b) >= 0).all()) for a, b in ((items, steps), (steps, items)))


def _not_all(name: str, times: np.ndarray, n_steps: int) -> str:
    if times[-1] >= n_steps:
        return (
            f"output {name!r} goes on for {times[-1] + 1 - n_steps} frames behind the last of {n_steps} frames; a "
            "convolution or pool along time pads more than its window needs, or a transposed one is not cut off; cut "
            "the end off in the model"
        )
    return f"output {name!r} holds {times.size} of {n_steps} timesteps, or another order of them"


def _exact(name: str, array: np.ndarray) -> np.ndarray:
    """A constant output as float32."""
    rounded = array.astype(np.float32)
    if array.dtype.kind in "iu" and (rounded.astype(np.int64) != array).any():
        raise UnsupportedError(f"output {name!r} is a constant of dtype {array.dtype}, beyond float32's exact range")
    return rounded


def _declared(walk: Walk, name: str, layout: Layout) -> set[int]:
    """Axes of size 1 that are time or batch although a reshape hid it: by the name that the file gives an input's
    axis, too, or by their place, when time is where the inputs have it.
    """
    shape, ports = layout.shape, walk.program.inputs
    axes = [walk.reading.axes[p.name] for p in ports]
    names = {p.dims[a] for p, both in zip(ports, axes, strict=True) for a in both if a is not None} - {""}
    dims = walk.program.output_dims[name]
    hidden = (
        {a for a, n in enumerate(dims) if isinstance(n, str) and n in names and shape[a] == 1}
        if len(dims) == len(shape)
        else set()
    )
    if "N" not in layout.labels and len(set(axes)) == 1 and layout.outer == (axes[0][0],):
        batch = axes[0][1]
        if batch is not None and batch < len(shape) and shape[batch] == 1 and len(shape) == len(ports[0].dims):
            hidden.add(batch)
    return hidden


__all__ = ["output"]
