# SPDX-License-Identifier: MIT
"""Sizes that a file leaves open and yet has fixed: torch.export takes the length of its example for good behind an
LSTM or GRU, and the file still calls the input's axis open. Its outputs tell: there the same axis has a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

from ...._text import quoted
from ..simplify.ports import Port
from ..simplify.program import Program
from .search import Imported

#: sizes that are tried
MAX_TRIED = 6


def wired_shapes(program: Program) -> Iterator[dict[str, list[int | None]]]:
    """Shapes of inputs with an open axis fixed to the size that outputs of at least as many axes have in its place.

    Only axes count whose name no output has: any other is as open behind the file's nodes as it is in front of them.
    So a file must name all sizes that it leaves open.
    """
    declared = list(program.declared.values())
    if len(declared) < len(set(program.outputs)) or any(n == "" for dims in declared for n in dims):
        return
    named = {n for dims in declared for n in dims if isinstance(n, str)}
    ports = [port for port in program.inputs if port.dynamic]
    sizes = [list(_sizes(port, program, named)) for port in ports]
    for choice in islice(product(*sizes), MAX_TRIED):
        shapes = {p.name: shape for p, shape in zip(ports, choice, strict=True) if any(shape[a] for a in p.dynamic)}
        if shapes:
            yield shapes


def _sizes(port: Port, program: Program, named: set[str]) -> Iterator[list[int | None]]:
    """The shapes that a port may have; as it is, when there is nothing to tell."""
    rank = len(port.dims) + (port.dtype != "float32")  # ids have no axis of features
    wide = [dims for dims in program.declared.values() if len(dims) >= rank]
    options: list[list[int | None]] = []
    for axis, n in enumerate(port.dims):
        known: set[int] = set()
        if isinstance(n, int):
            known = {n}
        elif n not in named:
            known = {size for dims in wide if isinstance(size := dims[axis], int) and size > 1}
        options.append([*sorted(known, reverse=True)] or [None])
    yield from (list(shape) for shape in product(*options))


def longer(program: Program, shapes: dict[str, list[int | None]]) -> dict[str, list[int | None]]:
    """Those shapes, the sizes that were found one larger."""
    dynamic = {port.name: port.dynamic for port in program.inputs}
    return {
        name: [n + 1 if n is not None and axis in dynamic[name] else n for axis, n in enumerate(shape)]
        for name, shape in shapes.items()
    }


def keeps_time(imported: Imported, program: Program, shapes: dict[str, list[int | None]]) -> bool:
    """Whether the axes whose sizes were found are time, in the inputs and in an output that told them."""
    axes: set[int] = set()
    for port in program.inputs:
        if port.name in shapes:
            time = imported.reading.axes.get(port.name, (None, None))[0]
            if time is None or time not in port.dynamic or shapes[port.name][time] is None:
                return False
            axes.add(time)
    layouts = [place.layout for place in imported.outputs.values()]
    outer = [(axis, layout.steps, i) for layout in layouts for i, axis in enumerate(layout.outer)]
    return axes <= {axis for axis, steps, i in outer if (steps != steps.take([0], i)).any()}


def of_some_timesteps(imported: Imported, program: Program, shapes: Mapping[str, Sequence[int | None]]) -> str:
    """What to say of a file that calls time open and computes one number of timesteps."""
    dynamic = {port.name: port.dynamic for port in program.inputs}
    axes = {name: time for name, (time, _) in imported.reading.axes.items() if time is not None and name in shapes}
    n_steps = max(shapes[name][time] or 0 for name, time in axes.items())
    called = " and ".join(f"axis {time} of {quoted(name)}" for name, time in axes.items() if time in dynamic[name])
    return f"the file is of {n_steps} timesteps alone, though it calls {called} open; a stream goes on behind them"


__all__ = ["keeps_time", "longer", "of_some_timesteps", "wired_shapes"]
