# SPDX-License-Identifier: MIT
"""Which output returns which input, in a model whose caller carries states: by evidence, or asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ....errors import ShapeError, UnsupportedError
from ..advice import Advice, Refusal
from ..simplify.ports import Port
from ..simplify.program import RECURRENT, Program, carries
from ..traits import traits
from .names import Strength, by_names, is_aside, is_frame, is_input, is_letter, is_state, is_time, say_when, strength

#: pairs that are tried as advice
_TRIED = 4
#: no evidence
_ALONE = "no other pair is possible"
_EITHER = "are called alike, but may be a frame and what is made of it"


@dataclass
class Pair:
    """A state input and the output that returns it (None: only the start can be given). why: the evidence, in words."""

    input: str
    output: str | None
    why: str = ""


class _Possible:
    """What shapes and paths allow, where no recurrent node starts from an input.

    fits: input -> outputs of its shape that are computed from it. alike: of its shape. pieces: output -> input of which
    it has elements, and nothing else. free: outputs that return the state of no recurrent node.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._dims = {port.name: port.dims for port in program.inputs}
        self._open = {n for dims in self._dims.values() for n in dims if isinstance(n, str)} - {""}
        dims = {p.name: sizes(p.dims) for p in program.inputs if p.dtype == "float32"}
        names = {n for p in [*program.inputs, *program.state_inputs] for n in p.dims if isinstance(n, str)} - {""}
        outputs = {name: Sizes(program.output_dims[name], names) for name in program.outputs}
        copies = {o: _copied(program, o) for o in outputs}
        self.sources = {o: _sources(program, o) for o in outputs}
        single = {o: next(iter(of)) for o, of in self.sources.items() if len(of) == 1}
        self.pieces = {o: name for o, name in single.items() if name in dims}
        claimed = _claimed(program, outputs)
        self.free = [o for o in outputs if o not in claimed]
        self.alike = {
            name: [o for o in self.free if outputs[o].fits(shape) and copies[o] != name and self._go_together(name, o)]
            for name, shape in dims.items()
        }
        fits = {
            name: [o for o in fitting if dims[name] and program.depends(o, name) and self.pieces.get(o) != name]
            for name, fitting in self.alike.items()
        }
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
        paths = {n: [o for o in fitting if self.program.depends(o, n)] for n, fitting in self.alike.items()}
        named = by_names({n: self.fits.get(n) or fitting for n, fitting in paths.items()})
        taken = set(named.values())
        rest = {
            n: [o for o in fitting if o not in taken and (o in self.pieces or strength(n, o) is Strength.STATE)]
            for n, fitting in self.alike.items()
            if n not in named
        }
        return named | by_names(rest)

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

    def caches(self) -> dict[str, list[str]]:
        """Input -> outputs that have elements of it, and others: the oldest part dropped, or one written."""
        caches = {
            n: [o for o in fitting if n in self.sources[o] and o not in self.pieces] for n, fitting in self.fits.items()
        }
        return {name: outputs for name, outputs in caches.items() if outputs}


def candidates(program: Program) -> list[Pair]:
    """Pairs of a single-step model that no recurrent node tells: equal shapes, and the output depends on the input.

    Names decide where they tell pairs (`_Possible.named`), also of a state that is overwritten without being read for
    it, as the frame before; a letter does where a frame and a result are left beside it (`_letters`). Of other inputs
    those are states of which an output has elements and new ones (`_Possible.caches`); or their own name says so, and
    one output alone could return them. That shapes leave one pair is no evidence: it may be a frame and what is made of
    it. Empty when no pair is possible.

    Raises:
        Refusal: a pair is possible, and nothing tells whether it is one, or which; with the line to paste.
    """
    possible = _Possible(program)
    fits, alike = possible.fits, possible.alike
    known = len(program.state_inputs)
    named = possible.named()
    if len(program.inputs) + known < 2 and any(strength(n, o) is Strength.STATE for n, o in named.items()):
        raise _ambiguous(possible, "names say that every input is a state, so that no frame comes in")
    if not (fits or named) or len(program.inputs) + known < 2:
        _check_alike(possible, named)
        return []
    if len(program.outputs) == 1:
        return _returned_alone(possible, by_names(fits))
    if len(named) == len(program.inputs) and not known:
        if by_names(fits) == named:
            raise _ambiguous(possible, "names say that every input is a state")
        named = {}  # one at least brings the frames: names that say otherwise say nothing
    named |= _letters(possible, named)
    if named:
        fits |= {name: [output] for name, output in named.items()}
        for name, output in named.items():
            rivals = [n for n, outputs in alike.items() if n not in named and is_state(n) and output in outputs]
            if rivals and not is_state(name):
                why = (
                    f"{name!r} and {output!r} are called alike, but {rivals[0]!r} is called like a state, of that shape"
                )
                raise _ambiguous(possible, why)
        _check_named(possible, named)
        fits = {
            name: [named[name]] if name in named else [o for o in outputs if o not in named.values()]
            for name, outputs in fits.items()
        }
        fits = {name: outputs for name, outputs in fits.items() if outputs}
    caches = possible.caches()
    if named:
        caches = {n: left for n, outputs in caches.items() if (left := [o for o in outputs if o not in named.values()])}
        _check_alike(possible, named)
        _check_left(possible, named, caches)
        fits = {name: outputs for name, outputs in fits.items() if name in named or name in caches}
    elif len(fits) == len(program.inputs):
        if len(caches) == len(fits) - 1:
            fits = caches
        elif known and len(fits) == 1:
            return []
        else:
            raise _ambiguous(possible, "every input could be a state")
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
            raise _ambiguous(possible, f"{name!r} could be returned by {outputs}")
        chosen[name] = outputs[0]
    if len(chosen) == len(program.outputs) and not named:
        raise _ambiguous(possible, "every output could be a state")
    for name, output in chosen.items():
        if whys[name] == _ALONE:  # so may be a frame and what is made of it
            why = f"{name!r} and {output!r} have one shape, and nothing else says that they are one"
            raise _ambiguous(possible, why)
    return [Pair(name, output, whys[name]) for name, output in chosen.items()]


def in_sequences(program: Program) -> list[Pair]:
    """Pairs of a model with an axis beside the batch that is open, which may be time: those that are called like a
    state, or which a piece of an input overwrites, or caches, where no axis of theirs is called time.

    Raises:
        Refusal: as `candidates`.
    """
    possible = _Possible(program)
    timeless = {p.name for p in program.inputs if not any(is_time(n) for n in p.dims)}
    named = {name: output for name, output in possible.named().items() if name in timeless}
    sure = {n: o for n, o in named.items() if strength(n, o) is Strength.STATE or possible.pieces.get(o, n) != n}
    if of_time := [
        (n, o) for n, o in possible.named().items() if n not in timeless and strength(n, o) is Strength.STATE
    ]:
        name, output = of_time[0]
        raise _ambiguous(possible, f"{name!r} and {output!r} are called like a state, but have an axis called time")
    caches = {name: outputs[0] for name, outputs in possible.caches().items() if len(outputs) == 1 and name in timeless}
    told = {**{n: o for n, o in caches.items() if o not in sure.values()}, **sure}
    most = max(len(port.dynamic) for port in program.inputs)
    short = {p.name for p in program.inputs if p.name in timeless and len(p.dynamic) < most}
    alike = {n: o for n, o in possible.called_alike(told).items() if n in short and strength(n, o) > Strength.FRAME}
    if alike:
        name, output = next(iter(alike.items()))
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}", doubted={**told, **alike})
    if len(told) == len(program.inputs) and not program.state_inputs:
        return []
    return [Pair(n, o, "by name and shape" if n in sure else "its elements are moved there") for n, o in told.items()]


def _letters(possible: _Possible, named: Mapping[str, str]) -> dict[str, str]:
    """Pairs that are called alike by a letter, n and n_out, where an input that is called a frame and an output are
    left beside them: without these they may be the frame and what becomes of it.
    """
    letters = by_names(
        {n: [o for o in fitting if o not in named.values()] for n, fitting in possible.alike.items() if n not in named
         and any(possible.program.depends(o, n) for o in fitting)},
        Strength.LETTER,
    )  # fmt: skip
    inputs, outputs = possible.beside({**named, **letters})
    if letters and inputs and not (outputs and any(map(is_frame, inputs))):
        name, output = next(iter(letters.items()))
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}", doubted=letters)
    return letters if inputs else {}


def _check_named(possible: _Possible, named: Mapping[str, str]) -> None:
    """Refuse pairs that are called alike, but not like states, where nothing that is called a frame comes in beside
    them, and nothing else comes out, or what could return it: width_in and width_out beside a height. Words beside a
    state are no states where nothing else comes out, and what comes in may stand beside a frame: a speaker, a mask.
    """
    inputs, outputs = possible.beside(named)
    doubtful = [(n, o) for n, o in named.items() if strength(n, o) is not Strength.STATE]
    other = not outputs or any(o in outputs for n in inputs for o in possible.alike.get(n, []))
    if doubtful and other and not any(map(is_frame, inputs)):
        name, output = doubtful[0]
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}")
    words = [(n, o) for n, o in doubtful if not is_letter(n)]
    if words and len(doubtful) < len(named) and not (outputs or any(map(is_input, inputs))):
        name, output = words[0]
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}")


def _check_alike(possible: _Possible, named: Mapping[str, str]) -> None:
    """Refuse an input and an output that are called alike, but not told, where another frame comes in and something
    else comes out; or called so by words for before and behind, beside others that are called alike by in and out.
    """
    alike = possible.called_alike(named)
    whens = {n: o for n, o in alike.items() if say_when(n, o)}
    if 0 < len(whens) < len(alike):
        alike = whens
    inputs, outputs = possible.beside({**named, **alike})
    if alike and outputs and any(map(is_frame, inputs)):
        name, output = next(iter(alike.items()))
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}", doubted={**named, **alike})


def _check_left(possible: _Possible, named: Mapping[str, str], caches: Mapping[str, list[str]]) -> None:
    """Refuse an input that an output beside the named pairs could return, where no name says that it is a frame."""
    taken = set(named.values()) | {o for outputs in caches.values() for o in outputs}
    for name, outputs in possible.fits.items():
        left = [o for o in outputs if o not in taken and not is_aside(o)]
        if left and not (name in named or name in caches or is_aside(name)):
            why = f"{name!r} could be returned by {left[0]!r}, and no name tells"
            raise _ambiguous(possible, why, doubted={name: left[0]})


def _returned_alone(possible: _Possible, named: dict[str, str]) -> list[Pair]:
    """The state of a cell whose one output is its result too: by both names. An input that alone is called like a state
    may be one, or what a decoder looks at.
    """
    fits = possible.fits
    doubtful = [name for name in fits if is_state(name) and name not in named and not any(map(is_state, named))]
    if doubtful:
        why = f"input {doubtful[0]!r} is called like a state, and the only output could return it"
        raise _ambiguous(possible, why, {name: fits[name] for name in doubtful[:1]})
    _check_named(possible, named)
    return [Pair(name, output, "by name and shape") for name, output in named.items()]


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
                slots = zip(node.inputs[5:7], node.outputs[1:3], strict=False)
                ends |= {end for start, end in slots if start and end and port.name in origins(program, start)}
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
            starts = zip(node.inputs[5:7], node.outputs[1:3], strict=False)
            ends |= {end for start, end in starts if start and end and program.depends(start, name)}
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


def _by_cells(program: Program, name: str, outputs: list[str]) -> list[str]:
    """The outputs that return what a recurrent node ends with, where it starts from a value made of input `name` in the
    same slot: a state that something resets.
    """
    returning = set()
    for node in program.nodes:
        if node.op in RECURRENT:
            slots = zip(node.inputs[5:7], node.outputs[1:3], strict=False)
            ends = {end for start, end in slots if start and end and program.depends(start, name)}
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


def sizes(dims: list[int | str]) -> tuple[int, ...]:
    """A shape in which what has no size counts as 1: the batch of a single step."""
    return tuple(1 if isinstance(n, str) else n for n in dims)


class Sizes:
    """An output's shape. A size whose name an input has is that of the batch; any other that is open may be any."""

    def __init__(self, dims: list[int | str], names: set[str]) -> None:
        self.dims = [n if not isinstance(n, str) else 1 if n in names else None for n in dims]

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(self.dims) == len(shape) and all(a in (None, b) for a, b in zip(self.dims, shape, strict=True))


def _ambiguous(
    possible: _Possible, why: str, fits: Mapping[str, list[str]] | None = None, doubted: Mapping[str, str] | None = None
) -> Refusal:
    """A refusal with lines to paste. doubted: a pair that the names do not tell."""
    fits = possible.fits if fits is None else fits
    error = UnsupportedError(f"cannot tell which inputs are states: {why} (equal shapes: {fits})")
    named = possible.named()
    alike = by_names(possible.alike, Strength.FRAME)
    sure = {n: o for n, o in named.items() if strength(n, o) is Strength.STATE}
    rest = {n: o for n, o in alike.items() if n not in named and o not in named.values()}
    lines = [{**named, **doubted}] if doubted else []
    lines += [named, {**alike, **named}, {**sure, **rest}]
    lines += [_in_order(list(possible.program.inputs), shapes) for shapes in (possible.alike, fits)]
    ordered = [{p.name: states[p.name] for p in possible.program.inputs if p.name in states} for states in lines]
    likely = [Advice("say it with", "if that is so", states=states) for states in ordered if states]
    return Refusal(error, [[*likely, Advice("say it with", "if there are none", states={})], alone(fits)])


def alone(fits: Mapping[str, list[str]]) -> list[Advice]:
    """Every pair by itself."""
    pairs = [(name, output) for name, outputs in fits.items() for output in reversed(outputs)]
    return [Advice("say it with", "if that is so", states={name: output}) for name, output in pairs[:_TRIED]]


def _in_order(ports: list[Port], fits: Mapping[str, list[str]]) -> dict[str, str]:
    """The last outputs that fit, in their order, to all inputs but the first."""
    told: dict[str, str] = {}
    for port in reversed(ports[1:]):
        left = [output for output in fits.get(port.name, []) if output not in told.values()]
        if left:
            told[port.name] = left[-1]
    return dict(reversed(told.items()))


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
    if len(states) > 1 and set(states) == {port.name for port in program.inputs} and not program.state_inputs:
        raise ShapeError(f"states: {states} has every input; expected one at least that brings the frames")


__all__ = [
    "Pair",
    "Sizes",
    "alone",
    "are_returned",
    "candidates",
    "check_given",
    "in_sequences",
    "origins",
    "sizes",
    "with_states",
]
