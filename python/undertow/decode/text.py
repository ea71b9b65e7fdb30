# SPDX-License-Identifier: MIT
"""Ids that a model is fed as it says them: greedy, sampled, by beam search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._text import shown
from ..errors import DecodeError
from ..model import Model
from ..stream import BeamLoop, CrowdLoop, Stream, TextLoop
from .given import (
    Fed,
    Sampling,
    are_probabilities,
    checked_steps,
    checked_width,
    end_of,
    fed_of,
    model_of,
    n_ids_of,
    prompt_of,
    prompts_of,
    sampling_of,
    takes,
)

#: ids that a loop has room for at first; twice as many each time that they do not do
_ROOM = 1024


class Hypothesis(NamedTuple):
    """What a model may go on with.

    Attributes:
        ids: int32 array (n,), what was fed first left out; the last is the id that ends, where it came to that.
        score: the sum of the logarithms of the probabilities of these ids, and in a transducer of the blanks between
            them; NaN of a transducer of width 1, which does not look at them.

    >>> Hypothesis(np.int32([3, 1]), -0.25).score
    -0.25
    """

    ids: np.ndarray
    score: float


def greedy(
    source: Model | Stream,
    start: int | Sequence[int] | np.ndarray = 0,
    steps: int = 100,
    *,
    end: int | None = None,
    input: str | None = None,
    output: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """What a model says if it is fed its likeliest id again and again: at each step the largest logit, of equal ones
    that of the lowest id, as `np.argmax` has it.

    Args:
        source: a model, from its initial state; or a stream of one, which goes on from where it stands, and stands
            behind what it was fed afterwards. The last id that comes is not fed: to go on, it is the next `start`.
        start: what is fed first: an id, or a prompt of several, of which the last leads to the first id.
        steps: ids to choose at most.
        end: the id that ends the text; it is the last one then. Without it, or if it does not come, there are `steps`.
        input: the input that takes ids, where the model has several of whole numbers, or none: one of float32 is given
            1 at the place of the id and 0 elsewhere.
        output: the output that holds the logits, where there are several.
        inputs: a frame for each other input, the same at each step: an encoder's memory, a speaker.

    Returns: int32 array (n,), n at most `steps`.

    Raises:
        ValueError: no input takes single ids, or several may; several outputs; start, end or steps out of range.
        KeyError: inputs are missing, or the model has none of that name.
        ShapeError, TypeError: an input has another shape or dtype, or `source` is neither model nor stream.
        DecodeError: logits are NaN, or the id that came cannot be fed.
        StateError, RuntimeError: as of `Stream.step`.

    >>> model = undertow.Sequential([undertow.Embedding(np.roll(np.eye(5), 1, axis=1))])     # of an id, the next one
    >>> decode.greedy(model, start=0, steps=7)
    array([1, 2, 3, 4, 0, 1, 2], dtype=int32)
    >>> decode.greedy(model, start=[3, 1], steps=7, end=4)
    array([2, 3, 4], dtype=int32)
    """
    return _text(_loop(source, input, output, inputs), start, steps, end)


def sample(
    source: Model | Stream,
    start: int | Sequence[int] | np.ndarray = 0,
    steps: int = 100,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Any = None,
    end: int | None = None,
    input: str | None = None,
    output: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    probabilities: bool | None = None,
) -> np.ndarray:
    """What a model says if it is fed ids that are drawn from the probabilities it gives.

    At each step, in doubles: w[i] = exp((z[i] - max(z)) / temperature). Of these the `top_k` largest are left, of
    equal ones the lower ids; then of those, largest first, the fewest that sum up to `top_p` of them. With u =
    `numpy.random.default_rng(seed).random()`, one for each id, the id is the first at which the sum of the w that are
    left, in the order of ids, exceeds u times all of it. exp is the library's own, and no sum is in another order
    anywhere: a seed gives the same ids on every platform and instruction set.

    Args:
        temperature: above 0; below 1 the likely ids become likelier.
        top_k: ids to choose from at most.
        top_p: the share of the probability to choose from, above 0 and at most 1.
        seed: as `numpy.random.default_rng` takes it: a whole number, None for another text each time, or a Generator,
            which is drawn from once for each id.
        probabilities: whether the output holds probabilities in place of logits: their logarithms are z then. None
            looks whether a softmax makes it.
        source, start, steps, end, input, output, inputs: as of `greedy`.

    Returns: int32 array (n,), n at most `steps`.

    Raises: as `greedy`; ValueError: temperature, top_k or top_p is out of range. DecodeError: logits are NaN or
        infinite, or all -inf; probabilities below 0, or all 0.

    >>> model = undertow.Sequential([undertow.Embedding(9 * np.roll(np.eye(5), 1, axis=1))])
    >>> decode.sample(model, start=0, steps=7, temperature=2.0, top_k=3, seed=4)
    array([1, 2, 3, 4, 0, 1, 2], dtype=int32)
    """
    how = sampling_of(temperature, top_k, top_p, seed)
    return _text(_loop(source, input, output, inputs, how, probabilities), start, steps, end)


def tokens(
    source: Model | Stream,
    start: int | Sequence[int] | np.ndarray = 0,
    steps: int | None = None,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Any = None,
    end: int | None = None,
    input: str | None = None,
    output: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    probabilities: bool | None = None,
) -> Iterator[int]:
    """The ids of `greedy`, or of `sample` where a temperature is given, one by one as they are chosen.

    Args:
        temperature: None to take the largest logit.
        steps: None for an iterator without an end of its own.
        source, start, end, input, output, inputs, top_k, top_p, seed, probabilities: as of `sample`.

    Returns: an iterator of Python integers. Between two of them a stream that was given is free for other calls.

    Raises: as `sample`, at once where it is about arguments.

    >>> model = undertow.Sequential([undertow.Embedding(np.roll(np.eye(5), 1, axis=1))])
    >>> for id in decode.tokens(model, start=2, end=0):
    ...     print(id)
    3
    4
    0
    """
    fed, loop = _loop(source, input, output, inputs, _how(temperature, top_k, top_p, seed), probabilities)
    prompt, last = prompt_of(start, fed.ids), end_of(end, fed.logits)
    return _one_by_one(fed, loop, prompt, None if steps is None else checked_steps(steps), last)


def batch(
    model: Model,
    starts: Sequence[Any] | np.ndarray,
    steps: int = 100,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Any = None,
    end: int | None = None,
    input: str | None = None,
    output: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    probabilities: bool | None = None,
) -> list[np.ndarray]:
    """The texts of several prompts at once: what `greedy` gives for each, or `sample` where a temperature is given.

    All of them advance together, so that each weight is read once for all; a text that has ended leaves the others.

    Args:
        starts: an id or a prompt for each text.
        seed: text i is that of `sample` with seed=numpy.random.default_rng(seed).spawn(len(starts))[i].
        inputs: a frame for each other input, or n of them in one array, for each text its own: (n, *frame).
        model, steps, temperature, top_k, top_p, end, input, output, probabilities: as of `tokens` and `greedy`.

    Returns: an int32 array for each, of at most `steps` ids.

    Raises: as `sample`. A DecodeError names the prompt, and has the ids of its text.

    >>> model = undertow.Sequential([undertow.Embedding(np.roll(np.eye(5), 1, axis=1))])
    >>> [ids.tolist() for ids in decode.batch(model, [0, [3, 1]], steps=7, end=4)]
    [[1, 2, 3, 4], [2, 3, 4]]
    """
    if not isinstance(model, Model):
        raise TypeError(f"expected an undertow.Model, got {type(model).__name__}")
    n = len(starts) if hasattr(starts, "__len__") else None
    fed = fed_of(model, input, output, inputs, n=n)
    prompts, n_steps, last = prompts_of(starts, fed.ids), checked_steps(steps), end_of(end, fed.logits)
    how = _how(temperature, top_k, top_p, seed)
    if how is None:
        loop = CrowdLoop(model, prompts, fed.ids_input, fed.output, fed.fixed, None)
    else:
        generators, given = how[0].spawn(len(prompts)), are_probabilities(fed, probabilities)
        loop = CrowdLoop(model, prompts, fed.ids_input, fed.output, fed.fixed, generators, *how[1:], given)
    ended = loop.run(n_steps, last)
    texts = loop.texts()
    if ended:
        ids = texts[loop.failed]
        raise _refusal(ended, fed, f"starts[{loop.failed}], step {len(ids)}", ids, int(ids[-1]) if len(ids) else None)
    return texts


def beam(
    source: Model | Stream,
    start: int | Sequence[int] | np.ndarray = 0,
    end: int | None = None,
    width: int = 4,
    steps: int = 100,
    *,
    length_penalty: float = 0.0,
    input: str | None = None,
    output: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    probabilities: bool | None = None,
) -> list[Hypothesis]:
    """The likeliest texts that beam search finds.

    In each step all extensions of the hypotheses by one id compete with the hypotheses that have ended, and the best
    `width`
    stay: those of the highest rank, of equal ones those whose parent ranked higher, then those of the lower id. It is
    over when all have ended, or after `steps`. Scores are sums of d[i] = (z[i] - max(z)) - log(sum(exp(z - max(z))))
    in doubles, with exp and log of the library's own: the same on every platform.

    Args:
        source: as of `greedy`; a stream stays as it is.
        end: the id that ends a hypothesis; None: all have `steps` ids.
        width: hypotheses to keep, 1 to 1024. With 1 it is `greedy` with a score.
        length_penalty: the rank of a hypothesis of n ids is score / n ** length_penalty: 0 for the score, 1 for the
            mean over its ids, which is kinder to long ones. Up to 10.
        start, steps, input, output, inputs, probabilities: as of `sample`.

    Returns: at most `width` hypotheses, the highest rank first.

    Raises: as `sample`, and ValueError: width or length_penalty is out of range.

    >>> model = undertow.Sequential([undertow.Embedding(np.log([[0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.9, 0.05, 0.05]]))])
    >>> [(h.ids.tolist(), round(float(np.exp(h.score)), 3)) for h in decode.beam(model, start=0, steps=2, width=2)]
    [([2, 0], 0.27), ([1, 0], 0.24)]
    """
    model = model_of(source)
    fed = fed_of(model, input, output, inputs)
    n, width, prompt, last = (
        checked_steps(steps),
        checked_width(width),
        prompt_of(start, fed.ids),
        end_of(end, fed.logits),
    )
    if not 0 <= length_penalty <= 10:
        raise ValueError(f"length_penalty is {length_penalty}, expected 0 to 10")
    stream = source if isinstance(source, Stream) else None
    given = are_probabilities(fed, probabilities)
    loop = BeamLoop(model, stream, width, fed.ids_input, fed.output, fed.fixed, length_penalty, given)
    how = loop.run(prompt, n, last)
    pairs = [Hypothesis(np.array(ids, np.int32), score) for ids, score in loop.hypotheses()]
    if how:
        raise _refusal(how, fed, f"step {loop.n_steps} of beam search", pairs[0].ids)
    return pairs


def _loop(
    source: Model | Stream,
    input: str | None,
    output: str | None,
    inputs: Mapping[str, Any] | None,
    how: Sampling | None = None,
    probabilities: bool | None = None,
) -> tuple[Fed, TextLoop]:
    fed = fed_of(model_of(source), input, output, inputs)
    stream = source if isinstance(source, Stream) else fed.model.stream()
    if how is None:
        return fed, TextLoop(stream, fed.ids_input, fed.output, fed.fixed)
    given = are_probabilities(fed, probabilities)
    return fed, TextLoop(stream, fed.ids_input, fed.output, fed.fixed, *how, given)


def _how(temperature: float | None, top_k: int | None, top_p: float | None, seed: Any) -> Sampling | None:
    """None to take the largest logit."""
    if temperature is not None:
        return sampling_of(temperature, top_k, top_p, seed)
    if (top_k, top_p, seed) != (None, None, None):
        raise ValueError("top_k, top_p and seed are for sampling: give temperature=1.0 with them")
    return None


def _text(fed_loop: tuple[Fed, TextLoop], start: Any, steps: int, end: int | None) -> np.ndarray:
    fed, loop = fed_loop
    prompt, n, last = prompt_of(start, fed.ids), checked_steps(steps), end_of(end, fed.logits)
    loop.prompt(prompt)
    parts: list[np.ndarray] = []
    room = _ROOM
    while True:
        out = np.empty(min(room, n), np.int32)
        chosen, how = loop.choose(out, last)
        parts.append(out[:chosen])
        n -= chosen
        if how:
            raise _refusal(how, fed, f"step {loop.n_chosen}", np.concatenate(parts), loop.id)
        if n == 0 or (chosen and out[chosen - 1] == last):
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        room *= 2


def _one_by_one(fed: Fed, loop: TextLoop, prompt: np.ndarray, n: int | None, last: int) -> Iterator[int]:
    out = np.empty(1, np.int32)
    loop.prompt(prompt)
    while n is None or loop.n_chosen < n:
        _, how = loop.choose(out, last)
        if how:
            raise _refusal(how, fed, f"step {loop.n_chosen}", None, loop.id)
        yield loop.id
        if loop.id == last:
            return


def _refusal(how: int, fed: Fed, where: str, ids: np.ndarray | None, id: int | None = None) -> DecodeError:
    """How the loop ended that says 1 or 2 of itself."""
    name = shown(fed.logits.name)
    if how == 1:
        return DecodeError(f"{where}: {name} holds NaN, or nothing to choose from", ids=ids)
    said = "an id" if id is None else f"id {id}"
    return DecodeError(
        f"{where}: {name}, of {fed.logits.size} ids, gave {said} that cannot be fed: {takes(fed.ids)} 0 to "
        f"{n_ids_of(fed.ids) - 1}; where it ends a text, say end=",
        ids=ids,
    )
