# SPDX-License-Identifier: MIT
"""Which outputs could return which inputs: what shapes, paths and moved elements allow, before names are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..file.nodes import OnnxNode
from ..simplify.program import ID_TYPES, RECURRENT, Program, carries
from ..traits import traits
from .names import Strength, by_names, strength


class Possible:
    """What shapes and paths allow, where no recurrent node starts from an input.

    fits: input -> outputs of its shape that are computed from it. alike: of its shape. pieces: output -> input of which
    it has elements, and nothing else. free: outputs that return the state of no recurrent node.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._dims = {port.name: port.dims for port in program.inputs}
        self._open = {n for dims in self._dims.values() for n in dims if isinstance(n, str)} - {""}
        flags = {p.name for p in program.inputs if p.dtype == "bool"}
        dims = {p.name: sizes(p.dims) for p in program.inputs if p.dtype == "float32" or p.name in flags}
        outputs = {name: Sizes.of(program, name) for name in program.outputs}
        copies = {o: _copied(program, o) for o in outputs}
        self.sources = {o: _sources(program, o) for o in outputs}
        single = {o: next(iter(of)) for o, of in self.sources.items() if len(of) == 1}
        self.pieces = {o: name for o, name in single.items() if name in dims}
        claimed = _claimed(program, outputs)
        self.free = [o for o in outputs if o not in claimed]
        self.alike = {
            name: [
                o
                for o in self.free
                if outputs[o].fits(shape)
                and copies[o] != name
                and self._go_together(name, o)
                and (name in flags) == (o in program.booleans)
                and (name not in flags or strength(name, o) > Strength.FRAME)  # else it may be a mask
            ]
            for name, shape in dims.items()
        }
        fits = {
            name: [o for o in fitting if program.depends(o, name) and self.pieces.get(o) != name]
            for name, fitting in self.alike.items()
        }
        #: states that need no name: positions that count, and what an operator calls its state
        carried = {n: o for n, o in program.carried_on.items() if o in self.alike.get(n, ())}
        self.told = {**carried, **program.counted}
        # A piece of an input does not return that one, which would never change, but the frame before.
        pieces = self.pieces.values()
        late = {
            name: [o for o in fitting if dims[name] and o in self.pieces and self.pieces[o] != name]
            for name, fitting in self.alike.items()
            if not fits[name] and name not in pieces
        }
        fits = {name: fitting for name, fitting in {**fits, **late}.items() if fitting}
        self.fits = {name: _of_its_cell(program, name, _last_copies(copies, fitting)) for name, fitting in fits.items()}

    def _go_together(self, name: str, output: str) -> bool:
        """Whether no open axis has one name here and another there, of which inputs have both."""
        pairs = zip(self._dims[name], self.program.output_dims[output], strict=True)
        return all(a == b or not {a, b} <= self._open for a, b in pairs)

    def named(self) -> dict[str, str]:
        """The pairs that names tell. One that is overwritten without being read for it has no path: it is called like a
        state, or what overwrites it is a piece of an input.
        """
        sure = by_names(
            {n: [o for o in fitting if strength(n, o) is Strength.STATE] for n, fitting in self.alike.items()}
        )
        sure = {n: o for n, o in sure.items() if n not in self.told and o not in self.told.values()} | self.told
        paths = {
            n: [o for o in self.fits.get(n) or fitting if self.program.depends(o, n) and o not in sure.values()]
            for n, fitting in self.alike.items()
            if n not in sure
        }
        named = sure | by_names(paths)
        taken = set(named.values())
        rest = {
            n: [o for o in fitting if o not in taken and (o in self.pieces or strength(n, o) is Strength.STATE)]
            for n, fitting in self.alike.items()
            if n not in named
        }
        named |= by_names(rest)
        # What is made of another input, and not of that which it is called like, is not made of a frame of that name:
        # x1 and x1_out, which is x or 0.9 x.
        others = {
            n: [o for o in fitting if o not in named.values() and self._is_of_another(n, o)]
            for n, fitting in self.alike.items()
            if n not in named
        }
        return named | by_names(others, Strength.FRAME)

    def _is_of_another(self, name: str, output: str) -> bool:
        if self.pieces.get(output, name) != name:
            return True
        program = self.program
        if strength(name, output) is not Strength.FRAME or program.depends(output, name):
            return False  # what is called alike otherwise, and has no path, is asked about
        return any(program.depends(output, p.name) for p in program.inputs)

    def called_alike(self, named: Mapping[str, str]) -> dict[str, str]:
        """Pairs beside those that are told: called alike, like a frame where a path leads from one to the other."""
        left = {
            n: [o for o in outputs if o not in named.values()] for n, outputs in self.alike.items() if n not in named
        }
        return by_names(
            {
                n: [o for o in outputs if self.program.depends(o, n) or strength(n, o) > Strength.FRAME]
                for n, outputs in left.items()
            },
            Strength.FRAME,
        )

    def beside(self, pairs: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """The inputs and outputs that are of no pair, and of no recurrent node."""
        inputs = [port.name for port in self.program.inputs if port.name not in pairs]
        return inputs, [output for output in self.free if output not in pairs.values()]

    def flags(self) -> dict[str, list[str]]:
        """Inputs of bools -> free outputs of bools, of their shape."""
        return {name: outputs for name, outputs in _of_type(self.program, ("bool",), self.program.booleans, self.free)}

    def leave_out(self, named: Mapping[str, str]) -> None:
        """Take the outputs of pairs from what could return others."""
        taken = set(named.values())
        fits = {n: [o for o in outputs if n in named or o not in taken] for n, outputs in self.fits.items()}
        self.fits = {name: outputs for name, outputs in fits.items() if outputs}

    def caches(self) -> dict[str, list[str]]:
        """Input -> outputs that have elements of it, and others: the oldest part dropped, or one written."""
        caches = {
            n: [o for o in fitting if n in self.sources[o] and o not in self.pieces] for n, fitting in self.fits.items()
        }
        return {name: outputs for name, outputs in caches.items() if outputs}


def returned_integers(program: Program) -> list[tuple[str, str]]:
    """Inputs of integers, each with every output of integers of its shape."""
    pairs = _of_type(program, ID_TYPES, program.integers, program.outputs)
    return [(name, output) for name, outputs in pairs for output in outputs]


def _of_type(
    program: Program, dtypes: Sequence[str], holding: set[str], outputs: Iterable[str]
) -> Iterator[tuple[str, list[str]]]:
    """Inputs of these types, each with those of some outputs that hold them and have its shape."""
    shapes = {output: Sizes.of(program, output) for output in outputs if output in holding}
    for port in program.inputs:
        fitting = [output for output, shape in shapes.items() if shape.fits(sizes(port.dims))]
        if port.dtype in dtypes and fitting:
            yield port.name, fitting


def _sources(program: Program, name: str) -> set[str]:
    """The inputs and computed values that an output's elements are, without a change to any; constants left out."""
    moved, producer = origins(program, name), program.producer
    return {
        value
        for value in moved
        if value not in program.constants and (value not in producer or not carries(producer[value], program.constants))
    }


def _claimed(program: Program, outputs: Mapping[str, Sizes]) -> set[str]:
    """Outputs that return the state which a recurrent node starts from: moved from what it ends with, of that shape."""
    claimed = set()
    for port in program.state_inputs:
        ends: set[str] = set()
        for node in program.nodes:
            if node.op in RECURRENT:
                pairs = starts_and_ends(node)
                ends |= {end for start, end in pairs if start and end and port.name in origins(program, start)}
        shape = sizes(port.dims)
        claimed |= {o for o, sizes in outputs.items() if sizes.fits(shape) and ends & origins(program, o)}
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
            pairs = starts_and_ends(node)
            ends |= {end for start, end in pairs if start and end and program.depends(start, name)}
    return [output for output in outputs if ends and ends & origins(program, output)] or outputs


def are_returned(program: Program) -> bool:
    """Whether an output could return a carried state: its shape, and moved from a node that starts from it."""
    ports = {p.name: sizes(p.dims) for p in program.state_inputs}
    for output in program.outputs:
        if sizes(program.output_dims[output]) in ports.values():
            moved = origins(program, output)
            for node in program.nodes:
                if not moved & set(node.outputs):
                    continue
                if node.op in RECURRENT and any(origins(program, start) & set(ports) for start in node.inputs[5:7]):
                    return True
    return False


def by_cells(program: Program, name: str, outputs: list[str]) -> list[str]:
    """The outputs that return what a recurrent node ends with, where it starts from a value made of input `name` in the
    same slot: a state that something resets.
    """
    returning = set()
    for node in program.nodes:
        if node.op in RECURRENT:
            pairs = starts_and_ends(node)
            ends = {end for start, end in pairs if start and end and program.depends(start, name)}
            returning |= {output for output in outputs if ends and ends & origins(program, output)}
    return [output for output in outputs if output in returning]


def _copied(program: Program, name: str) -> str:
    """The value whose elements, all of them and no others, are those of `name`."""
    while name in program.producer and traits(program.producer[name].op).whole:
        name = program.producer[name].inputs[0]
    return name


def origins(program: Program, name: str) -> set[str]:
    """The values that `name` is moved from, itself included, without a change to any element."""
    origins: set[str] = set()
    todo = [name]
    while todo:
        value = todo.pop()
        node = program.producer.get(value)
        if value and value not in origins:
            origins.add(value)
            todo += node.inputs if node is not None and carries(node, program.constants) else []
    return origins


def starts_and_ends(node: OnnxNode) -> list[tuple[str, str]]:
    """What a recurrent node or a loop starts each of its states from, and ends with."""
    starts, ends = [], node.outputs
    if node.op in RECURRENT:
        starts, ends = node.inputs[5:7], node.outputs[1:3]
    elif node.op == "Loop":
        starts = node.inputs[2:]
    elif node.op == "Scan":
        starts = node.inputs[: len(node.inputs) - int(node.attrs.get("num_scan_inputs", 0))]
    return list(zip(starts, ends, strict=False))


def values_of(program: Program, name: str) -> set[str]:
    """The values that `name` is computed from, itself included; of what a recurrent node or a loop gives at each
    timestep, not what it is made of.
    """
    values, todo = set(), [name]
    while todo:
        value = todo.pop()
        if value and value not in values:
            values.add(value)
            node = program.producer.get(value)
            ends = [end for _, end in starts_and_ends(node)] if node is not None else []
            if node is not None and (not ends or value in ends):
                todo += node.uses
    return values


def sizes(dims: list[int | str]) -> tuple[int, ...]:
    """A shape in which what has no size counts as 1: the batch of a single step."""
    return tuple(1 if isinstance(n, str) else n for n in dims)


class Sizes:
    """An output's shape. A size whose name an input has is that of the batch; any other that is open may be any."""

    def __init__(self, dims: list[int | str], names: set[str]) -> None:
        self.dims = [n if not isinstance(n, str) else 1 if n in names else None for n in dims]

    @classmethod
    def of(cls, program: Program, output: str) -> Sizes:
        return cls(program.output_dims[output], program.open_names)

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(self.dims) == len(shape) and all(a in (None, b) for a, b in zip(self.dims, shape, strict=True))


__all__ = [
    "Possible",
    "Sizes",
    "are_returned",
    "by_cells",
    "origins",
    "returned_integers",
    "sizes",
    "starts_and_ends",
    "values_of",
]
