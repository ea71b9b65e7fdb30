# SPDX-License-Identifier: MIT
"""What was found, in words: which axis is time and why, which the batch, which output returns which state, and what of
the model is else than one would think. The notes of a Graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...._text import quoted, shown
from ....ir import superframes
from ....ir.ops import OPS
from ..._memory import cells_in_frames, goes_through_rows, remembers
from ..advice import Advice
from ..file.nodes import OnnxNode, flat
from ..frames.context import Reading
from ..simplify.ports import Port
from ..simplify.program import RECURRENT, Program, is_loop
from .hints import as_time, time_to_stream, timesteps_of_a_call
from .imported import Imported
from .names import is_before, same_state
from .possible import returned_integers


@dataclass(frozen=True)
class Warned:
    """A warning, and what to try against it."""

    text: str
    advice: list[list[Advice]] = field(default_factory=list)
    #: to say that a frame is a whole clip
    clip: Advice | None = None
    #: to say that it is meant as it was read
    meant: Advice | None = None


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
    lines += [
        f"lengths: input {quoted(name)}, of one sequence the number of its timesteps" for name in program.full_lengths
    ]
    lines += imported.notes
    registers = [node.states[0] for node in graph.nodes if OPS[node.op].writes_register]
    lines += [f"register: {shown(name)} {graph.states[name].shape}, written by frame ops" for name in registers]
    graph.notes = ()
    lines += [
        f"input: {quoted(name)} is a position, which the caller brings; output {quoted(output)}, some more, is left out"
        for name, output in program.brought.items()
    ]
    graph.note(*lines)


def forgets(program: Program, imported: Imported, meant: bool) -> Warned | None:
    """What to warn of, where a recurrence was cut off behind its first step; or, where the caller has not given the
    sizes of a clip or said what is time (meant), ends with each frame, or with each call of a file of which others go
    on; else None.
    """
    lost, graph = imported.proof.lost, imported.graph
    if said := unread(program, imported):
        return said
    if lost is None and not meant and (anew := _starts_in_calls(program, imported)):
        return anew
    if lost is None and not meant and (times := _one_timestep(program, imported)):
        walks = [walk.where for walk in imported.proof.walks] or ["what looks back along time"]
        return Warned(
            f"the file is of one timestep, and {walks[0]} starts anew in every call of it; a stream carries its state "
            "on, which gives other numbers than calls of the file from the second frame on",
            meant=as_time(times),
        )
    if lost is None:
        cells = cells_in_frames(graph)
        loops = [node.where for node in flat(program.nodes) if is_loop(node, program.constants) and _carries(node)]
        pools = bool(imported.pooled) and graph.states.keys() <= imported.pooled
        if meant or (remembers(graph) and not pools):
            return None
        if (node := program.written_out()) is not None:
            loops.append(f"{node.where}, of which each timestep has a copy that needs the one before,")
        if not (cells or loops):
            return _may_forget(program, imported)
        nodes = [node.where for node in program.nodes if node.op in RECURRENT] + loops
        cell = nodes[0] if nodes else f"{cells[0].op} {quoted(cells[0].name)}"
        read = [(port, imported.reading.axes[port.name][0]) for port in program.inputs]
        is_open = [f"axis {axis} of {quoted(port.name)}" for port, axis in read if axis in port.dynamic]
        streamed = (
            f"say so with time_axis=; as it was read, time is {is_open[0]}" if is_open else program.caller.streamed()
        )
        return Warned(
            f"{goes_through_rows(cell, pools)}. If these are timesteps to be streamed, {streamed}",
            time_to_stream(program),
            Advice("if a frame is a whole clip, say so", shapes=_declared(program)),
        )
    return Warned(
        f"the file remembers nothing of what {lost.where} belongs to: a recurrence that was exported with one "
        "timestep starts from a constant and ends there, so every frame is computed as if it were the first. "
        f"{program.caller.remembering()}",
        time_to_stream(program),
    )


def _carries(node: OnnxNode) -> bool:
    """Whether a Loop or Scan hands anything on to its next round."""
    return len(node.inputs) > (2 if node.op == "Loop" else int(node.attrs.get("num_scan_inputs", 0)))


def _may_forget(program: Program, imported: Imported) -> Warned | None:
    node = imported.proof.may_be_lost
    if node is None:
        return None
    return Warned(
        f"nothing is remembered from one frame to the next, and {node.where} takes numbers of one item, as the first "
        "timestep of a recurrence does that starts from a constant: if the file is of one, every frame is computed as "
        f"if it were the first. {program.caller.remembering()}",
        time_to_stream(program),
        Advice("if it is of none, say so", shapes=_declared(program)),
    )


def unread(program: Program, imported: Imported | None) -> Warned | None:
    """What to warn of, or to add to an error, where an input changes nothing and an output is called like what returns
    it; or another input has its shape, and an output, so that it may have been one of two.
    """
    returned = {pair.output for pair in imported.pairs} if imported is not None else set()
    one_tensor = (
        "torch.export makes one input of arguments that are one tensor; export with tensors that are each its own"
    )
    left = [output for output in program.outputs if output not in returned]
    for port in program.unused:
        told = f"input {quoted(port.name)} changes nothing in the file, and "
        for output in left:
            if same_state(port.name, output):
                return Warned(f"{told}output {quoted(output)} is called like what returns it: {one_tensor}")
        twins = [
            p.name for p in [*program.inputs, *program.state_inputs] if (p.dims, p.dtype) == (port.dims, port.dtype)
        ]
        if twins and port.dtype == "float32" and any(program.output_dims[output] == port.dims for output in left):
            return Warned(f"{told}input {quoted(twins[0])} has its shape, as an output has: {one_tensor}")
    return None


def brought(program: Program, imported: Imported) -> Warned | None:
    """What to warn of, where a step takes integers beside its frames, and gives some that the next one may take."""
    paired = {pair.input for pair in imported.pairs}
    for name, output in returned_integers(program):
        beside = [port.name for port in program.inputs if port.name not in paired and port.name != name]
        if beside and (imported.reading.carried or is_before(name)):
            return Warned(
                f"input {quoted(name)} holds integers, of the shape of output {quoted(output)}; if it is that of the "
                "step before, the caller brings it, for a stream carries no integers"
            )
    return None


def _starts_in_calls(program: Program, imported: Imported) -> Warned | None:
    """Of a file whose caller carries some of its memory from call to call: what starts anew there, and not here."""
    carried = [pair.input for pair in imported.pairs if pair.output]
    reading = imported.reading
    times = {p.name: axis for p in program.inputs if (axis := reading.axes[p.name][0]) is not None}
    if not carried or reading.carried or reading.clip:
        return None
    kept = {state for name in carried for state, _ in imported.state_inputs.get(name, ())}
    kept |= {f"{state}.before" for state in kept}
    for node in imported.graph.nodes:
        if not set(node.states) <= kept or (not node.states and OPS[node.op].taps(node) != (0,)):
            return Warned(
                f"who calls the file carries {quoted(carried[0])}{' and others' if carried[1:] else ''} from call to "
                f"call, and {node.op} {quoted(node.name)} starts anew in each; read as a sequence it goes on, as in "
                "one call of the whole",
                timesteps_of_a_call(program, times, dict.fromkeys(times)),
            )
    return None


def _declared(program: Program) -> dict[str, list[int | str | None]]:
    """The sizes that the file declares, as `shapes=` takes them."""
    return {p.name: [None if isinstance(n, str) else n for n in p.dims] for p in program.inputs}


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
        goes = "sums go" if graph.states.keys() - imported.pooled else "windows go"
        walks = f", along which {goes}" if imported.looks_back() else ", over which it pools"
    else:
        walks = ", along which nothing meets, as along a batch"
    one = _one_timestep(program, imported)
    more = ["the file has one timestep and starts anew in every call; a stream carries the state on"] if one else []
    return [f"time: {_some(axes, _AXES)}{walks}", *more]


def _one_timestep(program: Program, imported: Imported) -> dict[str, int | None]:
    """The axes of time of a file that is of one timestep, which a recurrent node walks all the same."""
    reading = imported.reading
    times = {port.name: reading.axes[port.name][0] for port in program.inputs}
    if (
        reading.carried
        or reading.clip
        or not (reading.fixed_time and remembers(imported.graph))
        or (imported.pairs and not imported.proof.walks)
    ):
        return {}
    one = all(axis is None or port.dims[axis] == 1 for port, axis in zip(program.inputs, times.values(), strict=True))
    return times if one and any(axis is not None for axis in times.values()) else {}


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


__all__ = ["brought", "forgets", "note", "unread"]
