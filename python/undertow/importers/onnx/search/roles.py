# SPDX-License-Identifier: MIT
"""What was found, in words: which axis is time and why, which the batch, which output returns which state, and what of
the model is else than one would think. The notes of a Graph.
"""

from __future__ import annotations

from ...._text import quoted, shown
from ....ir import superframes
from ....ir.graph import Graph
from ....ir.ops import OPS
from ....ir.ops.cells import Cell
from ..frames.context import Reading
from ..simplify.ports import Port
from ..simplify.program import Program
from .imported import Imported

#: axes that share a line, and nodes that are named of those that walk them
_AXES, _NODES = 4, 2


def note(program: Program, imported: Imported) -> None:
    """Make them the notes of the Graph. A .tow file keeps the first 4,096 characters."""
    graph, reading = imported.graph, imported.reading
    lines = [program.origin]
    if imported.has_rates:
        lines.append(superframes.note(graph))
    lines += _time(program, imported)
    lines += _batch(program, reading)
    lines += [
        f"state: input {quoted(p.input)}" + (f", output {quoted(p.output)}, {p.why}" if p.output else "")
        for p in imported.pairs
    ]
    lines += [
        f"output {quoted(name)}: the model gives none for the first {n} "
        f"{'timesteps' if imported.has_rates else 'frames'}"
        for name, n in imported.missing.items()
    ]
    held = [p.name for p in program.inputs if imported.is_sequence and reading.axes[p.name][0] is None]
    lines += [f"input {quoted(name)}: the same at all timesteps of the file, here a frame of each" for name in held]
    lines += [f"lengths: input {quoted(name)}" for name in program.length_inputs]
    lines += imported.notes
    registers = [node.states[0] for node in graph.nodes if OPS[node.op].writes_register]
    lines += [f"register: {shown(name)} {graph.states[name].shape}, written by frame ops" for name in registers]
    graph.notes = ()
    graph.note(*lines)


def forgets(program: Program, imported: Imported, meant: bool) -> str:
    """What to warn of, where a recurrence was cut off behind its first step, or ends with each frame though the caller
    has not given the sizes of a clip or said what is time (meant); else nothing.
    """
    lost, graph = imported.proof.lost, imported.graph
    if lost is None:
        cells = [n for n in graph.nodes if isinstance(OPS[n.op], Cell) and not n.states and len(n.inputs) == 1]
        if not cells or meant or remembers(graph):
            return ""
        cell = cells[0]
        return (
            f"nothing is remembered from one frame to the next: {cell.op} {quoted(cell.name)} goes through the rows of "
            "each frame and starts anew in the next. If these are timesteps to be streamed, export with an open time "
            "axis (dynamic_axes= or dynamic_shapes= of torch.onnx.export); if a frame is a whole clip, say so with "
            f"shapes={_declared(program)}"
        )
    return (
        f"the file remembers nothing of what {lost.where} belongs to: a recurrence that was exported with one "
        "timestep starts from zeros and ends there, so every frame is computed as if it were the first. Export it with "
        "an open time axis (dynamic_axes= or dynamic_shapes= of torch.onnx.export, of a layer, not of a Python loop), "
        "with several timesteps, or as one step whose states are inputs and outputs. Of Keras, load the .keras file"
    )


def remembers(graph: Graph) -> bool:
    """Whether a frame of an output depends on others than its own of the inputs."""
    return bool(graph.states) or any(OPS[node.op].taps(node) != (0,) for node in graph.nodes)


def _declared(program: Program) -> str:
    """The sizes that the file declares, as `shapes=` takes them."""
    sizes = {p.name: [None if isinstance(n, str) else n for n in p.dims] for p in program.inputs}
    return shown(sizes)


def _time(program: Program, imported: Imported) -> list[str]:
    reading = imported.reading
    if reading.clip:
        return ["time: none, all of each input is one frame"]
    graph, proof = imported.graph, imported.proof
    axes = _axes(program.inputs, reading, 0, bool(proof.walks))
    if reading.carried:
        along = f", along {_some(axes, _AXES)}" if axes else ""
        return [f"time: the file is one step{along}"]
    if not axes:
        return []
    names = [node.where for node in proof.walks]
    if names:
        walks = f", walked by {_some(names, _NODES)}"
    elif remembers(graph):
        walks = ", along which sums go" if graph.states else ", along which windows go"
    else:
        walks = ", along which nothing meets, as along a batch"
    times = [(p, reading.axes[p.name][0]) for p in program.inputs]
    one = bool(names) and all(axis is None or p.dims[axis] == 1 for p, axis in times)
    more = ["the file has one timestep and starts anew in every call; a stream carries the state on"] if one else []
    return [f"time: {_some(axes, _AXES)}{walks}", *more]


def _batch(program: Program, reading: Reading) -> list[str]:
    axes = _axes(program.inputs, reading, 1, False)
    return [f"batch: {_some(axes, _AXES)}"] if axes else []


def _axes(ports: list[Port], reading: Reading, kind: int, every: bool) -> list[str]:
    """Axes of that kind; those of size 1, which could be of any, only where asked for."""
    port_axes = [(port, reading.axes[port.name][kind]) for port in ports]
    return [
        f"axis {axis} of {quoted(port.name)}" + (" (of size 1)" if port.dims[axis] == 1 else "")
        for port, axis in port_axes
        if axis is not None and (every or port.dims[axis] != 1)
    ]


def _some(names: list[str], n: int) -> str:
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more


__all__ = ["forgets", "note", "remembers"]
