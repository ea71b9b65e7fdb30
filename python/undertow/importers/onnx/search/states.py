# SPDX-License-Identifier: MIT
"""What becomes of states that a model carries through its inputs and outputs.

A state input is recognised by use: it reaches initial_h or initial_c of a recurrent node through ops that only move
elements. Its output is the one that returns, element for element, that node's final state. Such a pair vanishes into
the node. Any other pair (of a model that is a single step, see `pairing`) is kept as a register: read at the start of a
step, written at its end.
"""

from __future__ import annotations

import numpy as np

from ....errors import ShapeError, UnsupportedError
from ..advice import Advice
from ..frames import provenance
from ..frames.context import Binding, Known, Walk
from ..frames.provenance import Tensor, ascends
from ..retry import Retry
from ..simplify.program import RECURRENT, Program
from .names import same_state
from .pairing import CHANGES, Pair, alone, may_change
from .possible import Sizes, origins, sizes, starts_and_ends, values_of


def find_output(walk: Walk, name: str) -> str | None:
    """The output that returns the final states of the nodes which start from state input `name`.

    What a cell gives in a step is its state too, so several outputs may do: the last of those is it that are moved from
    the final states, or else from what the cell gives, unless the caller says that nothing returns it.
    """
    program = walk.program
    returning = []
    for output in program.outputs:
        result = walk.values.get(output)
        if isinstance(result, Tensor) and not _mismatch(walk, name, result):
            returning.append(output)
    if not returning and walk.reading.carried and not _bound(walk, name):
        shape = sizes(next(p.dims for p in program.state_inputs if p.name == name))
        ends = _ends(program, name) & walk.ends_of_a_round
        fitting = [output for output in program.outputs if Sizes.of(program, output).fits(shape)]
        returning = [output for output in fitting if ends & origins(program, output)]
    if len(returning) > 1:
        ends = {end for node in program.nodes if node.op in RECURRENT for end in node.outputs[1:] if end}
        returning.sort(key=lambda output: bool(ends & origins(program, output)))
    if program.no_states:
        returning = [output for output in returning if _ends(program, name) & origins(program, output)]
    return returning[-1] if returning else None


class NotReturned(Retry):
    """Names say which output returns a state, and the nodes that start from it say otherwise."""


def check_names(walk: Walk, name: str, output: str | None) -> None:
    """Hold what recurrent nodes say of a state (`find_output`) against names.

    Raises:
        NotReturned: an output of that shape is called like what returns it, and is not what the nodes end with.
    """
    program = walk.program
    if program.is_call:
        return
    shape = sizes(next(p.dims for p in program.state_inputs if p.name == name))
    told = [o for o in program.outputs if same_state(name, o) and Sizes.of(program, o).fits(shape)]
    if not told and not program.no_states:
        _check_ends(walk, name, output, shape)
    if not told or output in told:
        return
    if output is None:
        raise NotReturned(
            f"input {name!r} starts a recurrent node, and output {told[0]!r}, which is called like what returns it, is "
            f"not what the node ends with: {CHANGES}"
        )
    raise NotReturned(
        f"input {name!r} starts a recurrent node, which ends with output {output!r}, and output {told[0]!r} is called "
        "like what returns it",
        [[Advice("if the first does, say so", states={name: output})]],
    )


def _check_ends(walk: Walk, name: str, output: str | None, shape: tuple[int, ...]) -> None:
    """Refuse a state that may be returned changed: an output of its shape is made of what the node ends with, of
    several timesteps that begin with it, or of the state beside what the node gives, and none is what it ends with.
    """
    program, ends = walk.program, _ends(walk.program, name)
    if output is not None and ends & origins(program, output):
        return
    times = [p.dims[axis] for p in program.inputs if (axis := walk.reading.axes[p.name][0]) is not None]
    several = output is None and any(n != 1 for n in times)
    for other in program.outputs:
        if other == output or not Sizes.of(program, other).fits(shape):
            continue
        values = values_of(program, other)
        is_of_ends = ends & values and not (output and ends & origins(program, other))
        is_of_start = output is not None and name in values
        is_of_several = several and not set(program.output_dims[other]) & set(times) and program.depends(other, name)
        if is_of_ends or is_of_start or is_of_several:
            raise NotReturned(*may_change(name, other))


def _ends(program: Program, name: str) -> set[str]:
    """The final states of recurrent nodes and loops that start from a state input."""
    ends: set[str] = set()
    for node in program.nodes:
        ends |= {end for start, end in starts_and_ends(node) if start and end and name in origins(program, start)}
    return ends


def _flat(walk: Walk, tensor: Tensor) -> np.ndarray:
    """Elements of a state tensor in order, the first batch item's."""
    items = tensor.items
    if walk.builder.n_items > 1 and (items >= 0).any():
        return tensor.elements[items <= 0]
    return tensor.elements.ravel()


def _bound(walk: Walk, name: str) -> list[Binding]:
    """What recurrent nodes start from a state input."""
    source = walk.builder.sources_of(_flat(walk, walk.state_tensors[name]))[0]
    return [b for b in walk.bindings if ((b.elements >= source.base) & (b.elements < source.base + source.size)).any()]


def _mismatch(walk: Walk, name: str, result: Tensor) -> str:
    """Why an output does not return, element for element, the states that start from `name`; empty when it does."""
    start = walk.state_tensors[name]
    if start.shape != result.shape:
        return f"its shape is {result.shape}, expected {start.shape}"
    mine, theirs = _flat(walk, start), _flat(walk, result)
    if not (bound := _bound(walk, name)):
        return f"no recurrent node starts from {name!r}"
    if (result.steps >= 0).any():
        return "it has a time axis"
    place = Places(mine)
    for binding in bound:
        elements, finals = binding.elements.ravel(), binding.final.ravel()
        if elements.shape != finals.shape:
            raise ValueError(f"{elements.size} elements of a state become {finals.size}")
        at = place.of(elements)
        if (theirs[at[at >= 0]] != finals[at >= 0]).any():
            return f"it does not return the final state of {binding.node.where}"
    return ""


class Places:
    """Where elements stand in a table that has each once."""

    def __init__(self, table: np.ndarray) -> None:
        self.order = np.argsort(table, kind="stable")
        self.sorted = table[self.order]

    def of(self, elements: np.ndarray) -> np.ndarray:
        """The place of each element, -1 where the table has it not."""
        at = np.minimum(np.searchsorted(self.sorted, elements), len(self.sorted) - 1)
        return np.where(self.sorted[at] == elements, self.order[at], -1)


def needs_second_walk(walk: Walk) -> bool:
    """Whether a frame op read an element before it was known to be a recurrent node's state."""
    if not walk.bindings:
        return False
    known, bases = Known(walk.bindings), {s.name: s.base for s in walk.builder.sources if s.is_state}
    read = np.concatenate([np.zeros(0, np.int64), *(np.flatnonzero(r) + bases[n] for n, r in walk.reads.items())])
    return bool((known.has(read) & ~walk.known.has(read)).any())


def connect(walk: Walk, pairs: list[Pair]) -> list[Pair]:
    """Check pairs, and write back what something reads that is not a recurrent node's own state. What is written may be
    read of other states, which then are written back as well. Gives the pairs that nothing reads.

    Raises:
        ShapeError, UnsupportedError, Retry: an output does not return a state.
    """
    left = [pair for pair in pairs if not _connect(walk, pair)]
    while len(still := [pair for pair in left if not _connect(walk, pair)]) < len(left):
        left = still
    return left


def _connect(walk: Walk, pair: Pair) -> bool:
    """As `connect`, of one pair. Gives whether it is written back."""
    builder, start = walk.builder, walk.state_tensors[pair.input]
    mine = _flat(walk, start)
    free = ~Known(walk.bindings).has(mine)  # of recurrent nodes
    if pair.output is None:
        if pair.input in walk.reads and not walk.program.is_call:
            raise Retry(
                f"input {pair.input!r} starts a recurrent node and is used elsewhere, but no output returns it",
                [alone({pair.input: walk.program.outputs})],
            )
        return False
    result = walk.values[pair.output]
    if isinstance(result, np.ndarray) and result.dtype.kind in "fb":
        codes = provenance.encode(-1, start.items, builder.constant(np.broadcast_to(result, start.shape)))
        result = Tensor(codes, ("",) * len(start.shape), str(start.dtype))
    if not isinstance(result, Tensor) or result.shape != start.shape:
        shape = getattr(result, "shape", "none")
        raise ShapeError(f"state input {pair.input!r} has shape {start.shape}, its output {pair.output!r} has {shape}")
    if (start.dtype == "bool") != (result.dtype == "bool"):
        raise UnsupportedError(
            f"state input {pair.input!r} holds {start.dtype}, its output {pair.output!r} holds {result.dtype}"
        )
    if not free.all() and (why := _mismatch(walk, pair.input, result)):
        raise UnsupportedError(f"state input {pair.input!r} and output {pair.output!r} are no pair: {why}")
    read = walk.reads.get(pair.input)
    if read is None or not (free & read[mine - builder.sources_of(mine)[0].base]).any():
        return False
    if builder.sequence:
        raise UnsupportedError(
            f"state {pair.input!r} is used by more than recurrent nodes, in a model with a time axis; "
            "this is supported in models of one step only"
        )
    size = mine.size
    # The register holds the whole state in the input's order; what a recurrent node keeps is a copy there, never read.
    order = slice(None) if ascends(mine) else np.argsort(mine)
    written = builder.value(_flat(walk, result)[order], (size,))
    builder.graph.add("state_write", [written], name=builder.name("write"), states=[walk.register(pair.input, size)])
    return True
