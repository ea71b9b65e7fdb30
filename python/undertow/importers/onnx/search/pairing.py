# SPDX-License-Identifier: MIT
"""Which output returns which input, in a model whose caller carries states: by evidence, or asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ....errors import ShapeError, UnsupportedError
from ..advice import Advice, Refusal
from ..simplify.ports import Port
from ..simplify.program import Program
from .hints import sizes_of_step
from .names import (
    Strength,
    by_names,
    is_aside,
    is_before,
    is_beside,
    is_choice,
    is_frame,
    is_input,
    is_letter,
    is_no_memory,
    is_state,
    is_time,
    say_when,
    strength,
)
from .possible import Possible, Sizes, by_cells, returned_integers, sizes, values_of

#: pairs that are tried as advice
_TRIED = 4
#: ways to pair that are tried, and partial ones that are looked at for them
_MATCHINGS, _LOOKED_AT = 4, 2000
#: no evidence
_ALONE = "no other pair is possible"
#: of a state that does not come back as a node left it
CHANGES = (
    "a state that changes between a recurrent node and the next step is not supported; export the cell as products and "
    "activations (of torch, GRUCell or LSTMCell)"
)
_EITHER = "are called alike, but may be a frame and what is made of it"


@dataclass
class Pair:
    """A state input and the output that returns it (None: only the start can be given). why: the evidence, in words."""

    input: str
    output: str | None
    why: str = ""


def candidates(program: Program) -> list[Pair]:
    """Pairs of a single-step model that no recurrent node tells: equal shapes, and the output depends on the input.

    Names decide where they tell pairs (`Possible.named`), also of a state that is overwritten without being read for
    it, as the frame before; a letter does where a frame and a result are left beside it (`_letters`). Of other inputs
    those are states of which an output has elements and new ones (`Possible.caches`); or their own name says so, and
    one output alone could return them. That shapes leave one pair is no evidence: it may be a frame and what is made of
    it. Empty when no pair is possible.

    Raises:
        Refusal: a pair is possible, and nothing tells whether it is one, or which; with the line to paste.
    """
    possible = Possible(program)
    fits = possible.fits
    known = len(program.state_inputs)
    named = possible.named()
    if len(program.inputs) + known < 2:
        alone = {**by_names(possible.alike, Strength.LETTER), **named}
        states = [strength(n, o) is Strength.STATE or say_when(n, o) for n, o in alone.items()]
        if any(states) or any(is_letter(n) and strength(n, o) is Strength.ALIKE for n, o in alone.items()):
            raise _ambiguous(
                possible,
                "names say that every input is a state, so that no frame comes in; a stream takes one in each step, "
                "and a model that makes its own is none",
            )
    if not (fits or named) or len(program.inputs) + known < 2:
        _check_alike(possible, named)
        _check_flags(possible, {})
        return []
    if len(program.outputs) == 1:
        return _returned_alone(possible, by_names(fits))
    if len(named) == len(program.inputs) and not known:
        if by_names(fits) == named:
            raise _ambiguous(possible, "names say that every input is a state")
        named = {}  # one at least brings the frames: names that say otherwise say nothing
    named |= _letters(possible, named)
    if named:
        return _beside_names(possible, named)
    caches = possible.caches()
    if known and len(fits) == len(program.inputs) == 1:
        return []
    if known:  # a recurrent node has a state: what is called like a frame, or what stands beside one, is that
        fits = {name: outputs for name, outputs in fits.items() if name in caches or not is_no_memory(name)}
        if not fits:
            _check_alike(possible, {})
            _check_copies(possible, {})
            _check_flags(possible, {})
            return []
    if len(fits) == len(program.inputs):
        if len(caches) != len(fits) - 1:
            raise _ambiguous(possible, "every input could be a state")
        fits = caches
    pairs = _assigned(possible, fits, {}, caches)
    if len(pairs) == len(program.outputs):
        raise _ambiguous(possible, "every output could be a state")
    _check_copies(possible, _returned(pairs))
    _check_flags(possible, _returned(pairs))
    for pair in pairs:
        if pair.why == _ALONE:  # so may be a frame and what is made of it
            why = f"{pair.input!r} and {pair.output!r} have one shape, and nothing else says that they are one"
            raise _ambiguous(possible, why)
    return pairs


def _beside_names(possible: Possible, named: Mapping[str, str]) -> list[Pair]:
    """The pairs that names tell, and caches beside them.

    Raises:
        Refusal: the names are those of frames too, or leave an input that could be a state.
    """
    for name, output in named.items():
        rivals = [n for n, outputs in possible.alike.items() if n not in named and is_state(n) and output in outputs]
        if rivals and not is_state(name):
            why = f"{name!r} and {output!r} are called alike, but {rivals[0]!r} is called like a state, of that shape"
            raise _ambiguous(possible, why)
    _check_named(possible, named)
    possible.fits |= {name: [output] for name, output in named.items()}
    possible.leave_out(named)
    caches = {name: outputs for name, outputs in possible.caches().items() if name not in named}
    _check_alike(possible, named)
    _check_left(possible, named, caches)
    fits = {name: outputs for name, outputs in possible.fits.items() if name in named or name in caches}
    pairs = _assigned(possible, fits, named, caches)
    _check_copies(possible, _returned(pairs))
    _check_flags(possible, _returned(pairs))
    _check_integers(possible, pairs)
    return pairs


def _assigned(
    possible: Possible, fits: Mapping[str, list[str]], named: Mapping[str, str], caches: Mapping[str, list[str]]
) -> list[Pair]:
    """An output for each input, with why it is that.

    Raises:
        Refusal: an input has several, or two have one.
    """
    pairs: list[Pair] = []
    of_time = {port.name for port in possible.program.inputs if any(is_time(n) for n in port.dims)}
    for name, outputs in fits.items():
        of_cells = by_cells(possible.program, name, outputs)
        if name in possible.program.counted:
            why = "the one is the other and a number, counted round and round"
        elif name in possible.told:
            why = "its operator says so"
        elif name in named:
            why = "by name and shape"
        elif name in caches:
            why = "its elements are moved there"
        elif of_cells:
            why = "a recurrent node starts from the one and ends with the other"
        else:
            why = "by its name, and no other output could return it" if is_state(name) else _ALONE
            if is_state(name) and name in of_time:
                raise _ambiguous(possible, f"{name!r} is called like a state, but has an axis called time")
        left = caches.get(name) or of_cells or outputs
        if len(left) > 1 or any(left[0] == pair.output for pair in pairs):
            raise _ambiguous(possible, f"{name!r} could be returned by {left}")
        pairs.append(Pair(name, left[0], why))
    return pairs


def check_memoryless(program: Program) -> None:
    """Refuse a model that was found to remember nothing, where an output could return an input: it may be one step. An
    axis that is called time says that it is none; where the caller has said what is time, names alone are asked for.

    Raises:
        Refusal: with how to say which it is, and the sizes of open axes beside the batch.
    """
    if any(is_time(n) for port in program.inputs for n in port.dims):
        return
    try:
        pairs = candidates(program)
    except Refusal as asked:
        if program.time_axis is not None:
            return
        refusal = asked
    else:
        if not pairs:
            return
        why = f"nothing is remembered as the axes were read, and {pairs[0].input!r} and {pairs[0].output!r} {_EITHER}"
        refusal = _ambiguous(Possible(program), why, doubted={p.input: p.output for p in pairs if p.output})
    likely, sized, *rest = refusal.advice
    refusal.advice = [[*(one for one in sized if one.states), *likely], *rest]
    raise refusal


def are_all_named(program: Program) -> bool:
    """Whether names pair every input with an output."""
    return len(by_names(Possible(program).alike, Strength.LETTER)) == len(program.inputs)


def may_change(name: str, output: str) -> tuple[str, list[list[Advice]]]:
    """That an output may return a state that was changed behind a recurrent node; and what to say if it does not."""
    why = (
        f"input {name!r} starts a recurrent node, and output {output!r}, of its shape, is made of what comes of it: it "
        f"may be what the next call starts from, and {CHANGES}"
    )
    return why, [[Advice("say it", " if nothing returns the state", states={})]]


def check_starts(program: Program) -> None:
    """Refuse a clip of which a recurrent node starts from an input, where an output could return that.

    Raises:
        Refusal: with how to say that it is a whole sequence.
    """
    for port in program.state_inputs:
        for output in program.outputs:
            fits = Sizes.of(program, output).fits(sizes(port.dims))
            if fits and port.name in values_of(program, output):
                why, advice = may_change(port.name, output)
                raise Refusal(UnsupportedError(why), advice)


def check_same(program: Program, same: Collection[str], returned: Mapping[str, str], timeless: Collection[str]) -> None:
    """Refuse an input that is the same at all timesteps, beside states that the caller carries, where an output that is
    none of timesteps could return it. same: such inputs; returned: the states; timeless: outputs that are no sequences.

    Raises:
        Refusal: as `candidates`.
    """
    possible = Possible(program)
    for name in same:
        left = [o for o in possible.alike.get(name, []) if o in timeless and o not in returned.values()]
        if left and (is_before(name) or not is_aside(name)):
            why = f"{name!r} could be returned by {left[0]!r}, which is of one timestep, and no name tells"
            raise _ambiguous(possible, why, doubted={**returned, name: left[0]})


def in_sequences(program: Program) -> list[Pair]:
    """Pairs of a model with an axis beside the batch that is open, which may be time: those that are called like a
    state, or which a piece of an input overwrites, or caches, where no axis of theirs is called time.

    Raises:
        Refusal: as `candidates`.
    """
    possible = Possible(program)
    timeless = {p.name for p in program.inputs if not any(is_time(n) for n in p.dims)}
    named = {name: output for name, output in possible.named().items() if name in timeless}
    sure = {
        n: o
        for n, o in named.items()
        if n in possible.told or strength(n, o) is Strength.STATE or possible.pieces.get(o, n) != n
    }
    if of_time := [
        (n, o) for n, o in possible.named().items() if n not in timeless and strength(n, o) is Strength.STATE
    ]:
        name, output = of_time[0]
        raise _ambiguous(possible, f"{name!r} and {output!r} are called like a state, but have an axis called time")
    caches = {name: outputs[0] for name, outputs in possible.caches().items() if len(outputs) == 1 and name in timeless}
    told = {**{n: o for n, o in caches.items() if o not in sure.values()}, **sure}
    told |= _of_one_shape(possible, told, named)
    most = max(len(port.dynamic) for port in program.inputs)
    short = {p.name for p in program.inputs if p.name in timeless and len(p.dynamic) < most}
    alike = {n: o for n, o in possible.called_alike(told).items() if n in short and strength(n, o) > Strength.FRAME}
    if alike:
        name, output = next(iter(alike.items()))
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}", doubted={**told, **alike})
    if len(told) == len(program.inputs) and not program.state_inputs:
        return []
    why = {n: "by name and shape" if named.get(n) == o else "its elements are moved there" for n, o in told.items()}
    return [Pair(n, o, why[n]) for n, o in told.items()]


def _of_one_shape(possible: Possible, told: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """Pairs beside those that are told, which are called alike and of the shape of a state: c and c_out beside h and
    h_out.

    Raises:
        Refusal: no frame is left beside them.
    """
    dims = {port.name: port.dims for port in possible.program.inputs}
    left = [(n, o) for n, o in named.items() if n not in told and o not in told.values()]
    more = {n: o for n, o in left if any(dims[n] == dims[state] for state in told)}
    if more and not dims.keys() - told.keys() - more.keys():
        name, output = next(iter(more.items()))
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}", doubted={**told, **more})
    return more


def _letters(possible: Possible, named: Mapping[str, str]) -> dict[str, str]:
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


def _check_named(possible: Possible, named: Mapping[str, str]) -> None:
    """Refuse pairs that are called alike, but not like states, where nothing that is called a frame comes in beside
    them, and nothing else comes out, or what could return it: width_in and width_out beside a height. Words beside a
    state are no states where nothing else comes out, and what comes in may stand beside a frame: a speaker, a mask. Of
    what an output has elements and new ones, names and elements say one thing.
    """
    inputs, outputs = possible.beside(named)
    caches = possible.caches()
    doubtful = [(n, o) for n, o in named.items() if strength(n, o) is not Strength.STATE and o not in caches.get(n, ())]
    other = not outputs or any(o in outputs for n in inputs for o in possible.alike.get(n, []))
    if doubtful and other and not any(map(is_frame, inputs)):
        name, output = doubtful[0]
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}")
    dims = {port.name: port.dims for port in possible.program.inputs}
    frames = [n for n, o in possible.called_alike(named).items() if strength(n, o) is Strength.FRAME]
    for name, output in doubtful:
        twins = [n for n in frames if dims[n] == dims[name] and not is_letter(name)]
        if twins:
            why = f"{name!r} and {output!r} are called alike as {twins[0]!r} is and what is made of it, of that shape"
            raise _ambiguous(possible, why, doubted=dict(named))
    words = [(n, o) for n, o in doubtful if not is_letter(n)]
    if words and len(doubtful) < len(named) and not (outputs or any(map(is_input, inputs))):
        name, output = words[0]
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}")


def _check_alike(possible: Possible, named: Mapping[str, str]) -> None:
    """Refuse an input and an output that are called alike, but not told, where something else that may be a frame
    comes in, and something else comes out; or called so by words for before and behind, beside others that are called
    alike by in and out.
    """
    alike = possible.called_alike(named)
    whens = {n: o for n, o in alike.items() if say_when(n, o)}
    if 0 < len(whens) < len(alike):
        alike = whens
    inputs, outputs = possible.beside({**named, **alike})
    before = {n: o for n, o in alike.items() if is_before(n) or (not is_input(n) and any(map(is_input, inputs)))}
    alike = alike if outputs else before
    if alike and not all(map(is_beside, inputs)):
        name, output = next(iter(alike.items()))
        raise _ambiguous(possible, f"{name!r} and {output!r} {_EITHER}", doubted={**named, **alike})


def _check_left(possible: Possible, named: Mapping[str, str], caches: Mapping[str, list[str]]) -> None:
    """Refuse an input that an output beside the named pairs could return, where no name says that it is a frame."""
    taken = set(named.values()) | {o for outputs in caches.values() for o in outputs}
    for name, outputs in possible.fits.items():
        left = [o for o in outputs if o not in taken and (is_before(name) or not is_aside(o))]
        if left and not (name in named or name in caches or is_aside(name)):
            why = f"{name!r} could be returned by {left[0]!r}, and no name tells"
            raise _ambiguous(possible, why, doubted={name: left[0]})


def _returned(pairs: list[Pair]) -> dict[str, str]:
    return {pair.input: pair.output for pair in pairs if pair.output}


def _check_copies(possible: Possible, paired: Mapping[str, str]) -> None:
    """Refuse an input beside the pairs, where an output gives another input as it came, or the same in every step: what
    else should that be for than to be that input in the next step.
    """
    for output in possible.free:
        source = possible.pieces.get(output, "")
        if output in paired.values() or not (source or output in possible.program.constants):
            continue
        left = [n for n, outputs in possible.alike.items() if output in outputs and n not in paired and n != source]
        left = [name for name in left if not (is_frame(name) or is_aside(name))]
        if left:
            what = f"input {source!r}" if source else "a constant"
            why = f"{left[0]!r} could be returned by {output!r}, which is {what}"
            raise _ambiguous(possible, why, doubted={**paired, left[0]: output})


def _check_flags(possible: Possible, paired: Mapping[str, str]) -> None:
    """Refuse an input of bools beside the pairs that an output of bools could return, and which is called no mask."""
    for name, outputs in possible.flags().items():
        left = [output for output in outputs if output not in paired.values()]
        if left and name not in paired and not is_aside(name):
            why = f"{name!r} and {left[0]!r} are bools of one shape, and no name tells whether they are one"
            raise _ambiguous(possible, why, doubted={**paired, name: left[0]})


def _check_integers(possible: Possible, pairs: list[Pair]) -> None:
    """Refuse an input of integers beside states and frames that comes back under a name that pairs: a counter, the word
    before.
    """
    states = _returned(pairs)
    for name, output in returned_integers(possible.program):
        frames = [port.name for port in possible.program.inputs if port.name not in (*states, name)]
        if frames and strength(name, output) > Strength.NONE:
            error = UnsupportedError(
                f"input {name!r} holds integers and output {output!r} is called like what returns it; a stream carries "
                "no integers from step to step, so its caller would bring it"
            )
            raise Refusal(error, [[Advice("say it", " if the caller brings it", states=states)]])


def _returned_alone(possible: Possible, named: dict[str, str]) -> list[Pair]:
    """The state of a cell whose one output is its result too: by both names. An input that alone is called like a state
    may be one, or what a decoder looks at.
    """
    fits = possible.fits
    if not any(map(is_state, named)):
        called = [name for name in fits if is_state(name) and name not in named]
        told = named or possible.program.state_inputs
        doubtful = called or ([] if told else [name for name in fits if _may_be_state(possible, name)])
        if doubtful:
            how = "is called like a state, and" if called else "is not called like a frame, and"
            why = f"input {doubtful[0]!r} {how} the only output could return it"
            raise _ambiguous(possible, why, {name: fits[name] for name in doubtful[:1]})
    _check_named(possible, named)
    return [Pair(name, output, "by name and shape") for name, output in named.items()]


def _may_be_state(possible: Possible, name: str) -> bool:
    """Whether an input that the only output could return may be its state: where it is called like no frame, and like
    nothing that stands beside one; or is called alike, mel_in and mel_out, beside another that is the frame. Logits are
    the state of an input alone that is called of the step before, or like them.
    """
    (output,) = possible.program.outputs
    if is_choice(output) and not is_before(name) and strength(name, output) is Strength.NONE:
        return False
    if not is_no_memory(name):
        return True
    beside = [port.name for port in possible.program.inputs if port.name != name]
    alike = strength(name, output) > Strength.NONE
    return alike and not is_input(name) and any(map(is_input, beside))


def _ambiguous(
    possible: Possible, why: str, fits: Mapping[str, list[str]] | None = None, doubted: Mapping[str, str] | None = None
) -> Refusal:
    """A refusal with lines to paste. doubted: a pair that the names do not tell."""
    fits = possible.fits if fits is None else fits
    if ids := dict.fromkeys(name for name, _ in returned_integers(possible.program)):
        why += f"; {', '.join(map(repr, ids))}: integers, which the caller brings in every step"
    error = UnsupportedError(f"cannot tell which inputs are states: {why} (equal shapes: {fits})")
    named = possible.named()
    alike = by_names(possible.alike, Strength.FRAME)
    sure = {n: o for n, o in named.items() if strength(n, o) is Strength.STATE}
    rest = {n: o for n, o in alike.items() if n not in named and o not in named.values()}
    lines = [{**named, **doubted}] if doubted else []
    lines += [named, {**alike, **named}, {**sure, **rest}]
    asides = {n for n in fits if is_beside(n) or is_frame(n)}
    able = fits if asides >= fits.keys() else {n: o for n, o in fits.items() if n not in asides}
    alike_or_moved = {**possible.alike, **possible.caches()}
    lines += [_in_order(list(possible.program.inputs), shapes) for shapes in (alike_or_moved, able)]
    lines += _matchings(possible, {**possible.flags(), **able})
    told = [*possible.program.caller.likely, *((states, " if that is so") for states in lines)]
    place = {port.name: i for i, port in enumerate(possible.program.inputs)}
    likely = [
        Advice("say it", after, states=dict(sorted(states.items(), key=lambda pair: place.get(pair[0], -1))))
        for states, after in told
        if states
    ]
    if doubted and named and not doubted.keys() <= named.keys():
        brought = ", ".join(repr(name) for name in doubted if name not in named)
        likely.append(Advice("say it", f" if the caller brings {brought}", states=dict(named)))
    none = Advice("say it", " if there are none", states={})
    shapes = sizes_of_step(possible.program)
    sized = [replace(advice, shapes=shapes) for advice in [*likely, none]] if shapes else []
    return Refusal(error, [[*likely, none], sized, alone(fits)])


def _matchings(possible: Possible, fits: Mapping[str, list[str]]) -> list[dict[str, str]]:
    """Some of the ways to give as many inputs as can be an output of their own each; not all where no frame is left."""
    ways: list[dict[str, str]] = []
    names, budget = list(fits), _LOOKED_AT

    def go(at: int, told: dict[str, str]) -> None:
        nonlocal budget
        budget -= 1
        if at == len(names):
            ways.append(dict(told))
        elif budget > 0:
            for output in fits[names[at]]:
                if output not in told.values():
                    go(at + 1, {**told, names[at]: output})
            go(at + 1, told)

    go(0, {})
    every = len(possible.program.inputs) if not possible.program.state_inputs else len(fits) + 1
    able = [told for told in ways if told and len(told) < every]
    most = max(map(len, able), default=0)
    # What comes first in a list of inputs is most often the frame, and of outputs the result.
    places = {port.name: i for i, port in enumerate(possible.program.inputs)}
    places |= {output: i for i, output in enumerate(possible.program.outputs)}
    able = [told for told in able if len(told) == most]
    able.sort(key=lambda told: (-sum(places[n] for n in told), -sum(places[o] for o in told.values())))
    return able[:_MATCHINGS]


def alone(fits: Mapping[str, list[str]]) -> list[Advice]:
    """Every pair by itself."""
    pairs = [(name, output) for name, outputs in fits.items() for output in reversed(outputs)]
    return [Advice("say it", " if that is so", states={name: output}) for name, output in pairs[:_TRIED]]


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
        if ports[name].dtype not in ("float32", "bool"):
            raise UnsupportedError(f"states: input {name!r} has dtype {ports[name].dtype}, expected float32 or bool")
    if len(set(states.values())) < len(states):
        raise ShapeError(f"states: two inputs are paired with one output in {states}")
    if len(states) > 1 and set(states) == {port.name for port in program.inputs} and not program.state_inputs:
        raise ShapeError(f"states: {states} has every input; expected one at least that brings the frames")


__all__ = [
    "CHANGES",
    "Pair",
    "alone",
    "are_all_named",
    "candidates",
    "check_given",
    "check_memoryless",
    "check_same",
    "check_starts",
    "in_sequences",
    "may_change",
    "with_states",
]
