# SPDX-License-Identifier: MIT
"""States that a model carries through its inputs and outputs: which belong together, and what becomes of them.

A state input is recognised by use: it reaches initial_h or initial_c of a recurrent node through ops that only move
elements. Its output is the one that returns, element for element, that node's final state. Such a pair vanishes into
the node. Any other pair (of a model that is a single step) is recognised by names, or by elements that are moved from
the one to the other, beside shapes and dependence, and kept as a register: read at the start of a step, written at its
end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ....errors import ShapeError, UnsupportedError
from ..advice import Advice, Refusal
from ..frames.context import Known, Walk
from ..frames.provenance import Tensor, ascends
from ..retry import Retry
from ..simplify.ports import Port
from ..simplify.program import RECURRENT, Program, carries
from ..traits import traits
from .names import by_names, is_state, same_state

#: pairs that are tried as advice
_TRIED = 4
#: no evidence
_ALONE = "no other pair is possible"


@dataclass
class Pair:
    """A state input and the output that returns it (None: only the start can be given). why: the evidence, in words."""

    input: str
    output: str | None
    why: str = ""


def candidates(program: Program) -> list[Pair]:
    """Pairs of a single-step model that no recurrent node tells: equal shapes, and the output depends on the input.

    Names decide where they tell pairs (`names.by_names`); where they do, also for a state that is overwritten without
    being read for it, as the frame before. Of other inputs those are states of which an output is moved:
    a cache of which the oldest part is dropped; or their own name says so, and one output alone could return them. That
    shapes leave one pair is no evidence: it may be a frame and what is made of it. Empty when no pair is possible.

    Raises:
        Refusal: a pair is possible, and nothing tells whether it is one, or which; with the line to paste.
    """
    fits, alike = _fits(program)
    known = len(program.state_inputs)
    if not fits or len(program.inputs) + known < 2:
        return []
    named = by_names(fits)
    if len(program.outputs) == 1:
        return _returned_alone(program, fits, named)
    if len(named) == len(program.inputs) and not known:
        named = {}  # one at least brings the frames: names that say otherwise say nothing
    if named:
        taken = set(named.values())
        named |= by_names(
            {name: [o for o in outputs if o not in taken] for name, outputs in alike.items() if name not in named}
        )
        fits |= {name: [output] for name, output in named.items()}
        if len(named) == len(program.inputs) and not known:
            raise _ambiguous(program, fits, "names say that every input is a state")
        for name, output in named.items():
            rivals = [n for n, outputs in alike.items() if n not in named and is_state(n) and output in outputs]
            if rivals and not is_state(name):
                why = (
                    f"{name!r} and {output!r} are called alike, but {rivals[0]!r} is called like a state, of that shape"
                )
                raise _ambiguous(program, fits, why)
        fits = {
            name: [named[name]] if name in named else [o for o in outputs if o not in named.values()]
            for name, outputs in fits.items()
        }
        fits = {name: outputs for name, outputs in fits.items() if outputs}
    caches = {name: [o for o in outputs if name in _origins(program, o)] for name, outputs in fits.items()}
    caches = {name: outputs for name, outputs in caches.items() if outputs}
    if named:
        fits = {name: outputs for name, outputs in fits.items() if name in named or name in caches}
    elif len(fits) == len(program.inputs):
        if len(caches) == len(fits) - 1:
            fits = caches
        elif known and len(fits) == 1:
            return []
        else:
            raise _ambiguous(program, fits, "every input could be a state")
    chosen: dict[str, str] = {}
    whys: dict[str, str] = {}
    for name, outputs in fits.items():
        of_cells = _by_cells(program, name, outputs)
        whys[name] = (
            "by name and shape"
            if name in named
            else "its elements are moved there"
            if name in caches
            else "a recurrent node starts from the one and ends with the other"
            if of_cells
            else "by its name, and no other output could return it"
            if is_state(name)
            else _ALONE
        )
        outputs = caches.get(name) or of_cells or outputs
        if len(outputs) > 1 or outputs[0] in chosen.values():
            raise _ambiguous(program, fits, f"{name!r} could be returned by {outputs}")
        chosen[name] = outputs[0]
    if len(chosen) == len(program.outputs) and not named:
        raise _ambiguous(program, fits, "every output could be a state")
    for name, output in chosen.items():
        if whys[name] == _ALONE:  # so may be a frame and what is made of it
            why = f"{name!r} and {output!r} have one shape, and nothing else says that they are one"
            raise _ambiguous(program, fits, why)
    return [Pair(name, output, whys[name]) for name, output in chosen.items()]


def _returned_alone(program: Program, fits: dict[str, list[str]], named: dict[str, str]) -> list[Pair]:
    """The state of a cell whose one output is its result too: by both names. An input that alone is called like a state
    may be one, or what a decoder looks at.
    """
    doubtful = [name for name in fits if is_state(name) and name not in named and not any(map(is_state, named))]
    if doubtful:
        why = f"input {doubtful[0]!r} is called like a state, and the only output could return it"
        raise _ambiguous(program, {name: fits[name] for name in doubtful[:1]}, why)
    return [Pair(name, output, "by name and shape") for name, output in named.items()]


def _fits(program: Program) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Input -> outputs that could return it, where no recurrent node starts from it: of its shape and computed from it;
    and those of its shape alone.
    """
    dims = {p.name: sizes(p.dims) for p in program.inputs if p.dtype == "float32"}
    names = {n for p in [*program.inputs, *program.state_inputs] for n in p.dims if isinstance(n, str)} - {""}
    outputs = {name: _Sizes(program.output_dims[name], names) for name in program.outputs}
    copies = {o: _copied(program, o) for o in outputs}
    claimed = _claimed(program, outputs)
    fits = {
        name: [
            o
            for o, n in outputs.items()
            if n.fits(shape) and shape and program.depends(o, name) and copies[o] != name and o not in claimed
        ]
        for name, shape in dims.items()
    }
    # An output that is an input again does not return that one, which would never change, but the frame before.
    late = {
        name: [o for o, n in outputs.items() if n.fits(shape) and copies[o] in dims and copies[o] != name]
        for name, shape in dims.items()
        if not fits[name] and name not in copies.values()
    }
    fits = {name: fitting for name, fitting in {**fits, **late}.items() if fitting}
    fits = {name: _of_its_cell(program, name, _last_copies(copies, fitting)) for name, fitting in fits.items()}
    alike = {
        name: [o for o, n in outputs.items() if n.fits(shape) and o not in claimed and copies[o] != name]
        for name, shape in dims.items()
        if shape
    }
    return fits, alike


def _claimed(program: Program, outputs: Mapping[str, _Sizes]) -> set[str]:
    """Outputs that return the state which a recurrent node starts from: moved from what it ends with, of that shape."""
    claimed = set()
    for port in program.state_inputs:
        ends: set[str] = set()
        for node in program.nodes:
            if node.op in RECURRENT:
                slots = zip(node.inputs[5:7], node.outputs[1:3], strict=False)
                ends |= {end for start, end in slots if start and end and port.name in _origins(program, start)}
        shape = sizes(port.dims)
        claimed |= {o for o, sizes in outputs.items() if sizes.fits(shape) and ends & _origins(program, o)}
    return claimed


def _last_copies(copies: dict[str, str], outputs: list[str]) -> list[str]:
    """Of outputs that are copies of one value the last: a step gives its result, and behind it the state it became."""
    last = {copies[output]: output for output in outputs}
    return [output for output in outputs if last[copies[output]] == output]


def _of_its_cell(program: Program, name: str, outputs: list[str]) -> list[str]:
    """Of several outputs those that are the final state which a recurrent node began, by some way, from this input."""
    if len(outputs) < 2:
        return outputs
    ends: set[str] = set()
    for node in program.nodes:
        if node.op in RECURRENT:
            starts = zip(node.inputs[5:7], node.outputs[1:3], strict=False)
            ends |= {end for start, end in starts if start and end and program.depends(start, name)}
    return [output for output in outputs if ends & _origins(program, output)] or outputs


def are_returned(program: Program) -> bool:
    """Whether an output could return a carried state: its shape, and moved from a node that starts from it."""
    ports = {p.name: sizes(p.dims) for p in program.state_inputs}
    for output in program.outputs:
        if sizes(program.output_dims[output]) in ports.values():
            moved = _origins(program, output)
            for node in program.nodes:
                if not moved & set(node.outputs):
                    continue
                if node.op in RECURRENT and any(_origins(program, start) & set(ports) for start in node.inputs[5:7]):
                    return True
    return False


def _by_cells(program: Program, name: str, outputs: list[str]) -> list[str]:
    """The outputs that return what a recurrent node ends with, where it starts from a value made of input `name` in the
    same slot: a state that something resets.
    """
    returning = set()
    for node in program.nodes:
        if node.op in RECURRENT:
            slots = zip(node.inputs[5:7], node.outputs[1:3], strict=False)
            ends = {end for start, end in slots if start and end and program.depends(start, name)}
            returning |= {output for output in outputs if _origins(program, output) & ends}
    return [output for output in outputs if output in returning]


def _copied(program: Program, name: str) -> str:
    """The value whose elements, all of them and no others, are those of `name`."""
    producer = {result: node for node in program.nodes for result in node.outputs if result}
    while name in producer and traits(producer[name].op).whole:
        name = producer[name].inputs[0]
    return name


def _origins(program: Program, name: str) -> set[str]:
    """The values that `name` is moved from, itself included, without a change to any element."""
    producer = {result: node for node in program.nodes for result in node.outputs if result}
    origins: set[str] = set()
    todo = [name]
    while todo:
        value = todo.pop()
        node = producer.get(value)
        if value and value not in origins:
            origins.add(value)
            todo += node.inputs if node is not None and carries(node, program.constants) else []
    return origins


def sizes(dims: list[int | str]) -> tuple[int, ...]:
    """A shape in which what has no size counts as 1: the batch of a single step."""
    return tuple(1 if isinstance(n, str) else n for n in dims)


class _Sizes:
    """An output's shape. A size whose name an input has is that of the batch; any other that is open may be any."""

    def __init__(self, dims: list[int | str], names: set[str]) -> None:
        self.dims = [n if not isinstance(n, str) else 1 if n in names else None for n in dims]

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(self.dims) == len(shape) and all(a in (None, b) for a, b in zip(self.dims, shape, strict=True))


def _ambiguous(program: Program, fits: dict[str, list[str]], why: str) -> Refusal:
    error = UnsupportedError(f"cannot tell which inputs are states: {why} (equal shapes: {fits})")
    overwritten = by_names(_fits(program)[1])  # without being read for it
    likely = [
        Advice("say it with", "if that is so", states=states)
        for states in (by_names(fits) or overwritten, _likely(fits))
        if states
    ]
    return Refusal(error, [[*likely, Advice("say it with", "if there are none", states={})], _alone(fits)])


def _alone(fits: dict[str, list[str]]) -> list[Advice]:
    """Every pair by itself."""
    pairs = [(name, output) for name, outputs in fits.items() for output in reversed(outputs)]
    return [Advice("say it with", "if that is so", states={name: output}) for name, output in pairs[:_TRIED]]


def _likely(fits: dict[str, list[str]]) -> dict[str, str]:
    """The last outputs that fit, to all inputs but the first."""
    told: dict[str, str] = {}
    for name in list(fits)[len(fits) > 1 :]:
        left = [output for output in fits[name] if output not in told.values()]
        if left:
            told[name] = left[-1]
    return told


def with_states(program: Program, names: list[str]) -> Program:
    """The program with some inputs counted as state inputs."""
    moved = [p for p in program.inputs if p.name in names]
    return replace(
        program,
        inputs=[p for p in program.inputs if p.name not in names],
        state_inputs=[*program.state_inputs, *moved],
    )


def check_given(program: Program, states: dict[str, str]) -> None:
    """Refuse `states=` that names what the model does not have."""
    ports: dict[str, Port] = {p.name: p for p in [*program.inputs, *program.state_inputs]}
    for name, output in states.items():
        if name not in ports:
            raise ShapeError(f"states: the model has no input {name!r}; inputs: {sorted(ports)}")
        if output not in program.outputs:
            raise ShapeError(f"states: the model has no output {output!r}; outputs: {program.outputs}")
        if ports[name].dtype != "float32":
            raise UnsupportedError(f"states: input {name!r} has dtype {ports[name].dtype}, expected float32")
    if len(set(states.values())) < len(states):
        raise ShapeError(f"states: two inputs are paired with one output in {states}")


def find_output(walk: Walk, name: str) -> str | None:
    """The output that returns the final states of the nodes which start from state input `name`.

    What a cell gives in a step is its state too, so several outputs may do: the last of those is it that are moved from
    the final states, or else from what the cell gives.
    """
    program = walk.program
    returning = []
    for output in program.outputs:
        result = walk.values.get(output)
        if isinstance(result, Tensor) and not _mismatch(walk, name, result):
            returning.append(output)
    if len(returning) > 1:
        ends = {end for node in program.nodes if node.op in RECURRENT for end in node.outputs[1:] if end}
        returning.sort(key=lambda output: bool(ends & _origins(program, output)))
    return returning[-1] if returning else None


class NotReturned(Retry):
    """Names say which output returns a state, and the nodes that start from it say otherwise."""


def check_names(program: Program, name: str, output: str | None) -> None:
    """Hold what recurrent nodes say of a state (`find_output`) against names.

    Raises:
        NotReturned: an output of that shape is called like what returns it, and is not what the nodes end with.
    """
    shape = sizes(next(p.dims for p in program.state_inputs if p.name == name))
    names = {n for p in [*program.inputs, *program.state_inputs] for n in p.dims if isinstance(n, str)} - {""}
    told = [o for o in program.outputs if same_state(name, o) and _Sizes(program.output_dims[o], names).fits(shape)]
    if not told or output in told:
        return
    if output is None:
        raise NotReturned(
            f"input {name!r} starts a recurrent node, and output {told[0]!r}, which is called like what returns it, is "
            "not what the node ends with: a state that changes between a recurrent node and the next step is not "
            "supported; export the cell as products and activations (of torch, GRUCell or LSTMCell)"
        )
    raise NotReturned(
        f"input {name!r} starts a recurrent node, which ends with output {output!r}, and output {told[0]!r} is called "
        "like what returns it",
        [[Advice("if the first does, say so with", states={name: output})]],
    )


def _flat(walk: Walk, tensor: Tensor) -> np.ndarray:
    """Elements of a state tensor in order, the first batch item's."""
    items = tensor.items
    if walk.builder.n_items > 1 and (items >= 0).any():
        return tensor.elements[items <= 0]
    return tensor.elements.ravel()


def _mismatch(walk: Walk, name: str, result: Tensor) -> str:
    """Why an output does not return, element for element, the states that start from `name`; empty when it does."""
    start = walk.state_tensors[name]
    if start.shape != result.shape:
        return f"its shape is {result.shape}, expected {start.shape}"
    mine, theirs = _flat(walk, start), _flat(walk, result)
    source = walk.builder.sources_of(mine)[0]
    bound = [b for b in walk.bindings if ((b.elements >= source.base) & (b.elements < source.base + source.size)).any()]
    if not bound:
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


def connect(walk: Walk, pair: Pair) -> None:
    """Check a pair and write back what is not a recurrent node's own state.

    Raises:
        ShapeError, UnsupportedError, Retry: the output does not return the state.
    """
    builder, start = walk.builder, walk.state_tensors[pair.input]
    mine = _flat(walk, start)
    free = ~Known(walk.bindings).has(mine)  # of recurrent nodes
    if pair.output is None:
        if pair.input in walk.reads:
            raise Retry(
                f"input {pair.input!r} starts a recurrent node and is used elsewhere, but no output returns it",
                [_alone({pair.input: walk.program.outputs})],
            )
        return
    result = walk.values[pair.output]
    if not isinstance(result, Tensor) or result.shape != start.shape:
        shape = getattr(result, "shape", "none")
        raise ShapeError(f"state input {pair.input!r} has shape {start.shape}, its output {pair.output!r} has {shape}")
    if not free.all() and (why := _mismatch(walk, pair.input, result)):
        raise UnsupportedError(f"state input {pair.input!r} and output {pair.output!r} are no pair: {why}")
    read = walk.reads.get(pair.input)
    if read is None or not (free & read[mine - builder.sources_of(mine)[0].base]).any():
        return
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
