# SPDX-License-Identifier: MIT
"""Which output returns which state, by their names: h_in and h_out, past.0.key and present.0.key, state and stateN.

Names are evidence beside shapes and a path from one to the other, never against them. Whoever asks has looked at
shapes; a state that each step overwrites has no path, and counts beside one that has (`states.candidates`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

Words = tuple[str, ...]

#: what an input's name says of the state before a step, and an output's of that behind it; one is taken off each name
_BEFORE: tuple[Words, ...] = (
    ("past", "key", "values"), ("past",), ("in",), ("input",), ("prev",), ("previous",), ("old",), ("last",),
    ("init",), ("initial",), ("0",), ("t", "0"), ("tm", "1"), ("t", "minus", "1"), ("t",), ("pre",),
)  # fmt: skip
_AFTER: tuple[Words, ...] = (
    ("present",), ("out",), ("output",), ("next",), ("new",), ("updated",), ("final",), ("n",), ("t", "1"), ("tp", "1"),
    ("t", "plus", "1"), ("t",), ("1",), ("post",), ("cur",), ("current",),
)  # fmt: skip
#: those of them that go with a number alone
_PAST, _PRESENT = _BEFORE[:2], _AFTER[:1]
#: what names of frames say: x_in and x_out are a frame and what a model makes of it
_FRAMES = frozenset(
    re.findall(
        r"\w+",
        """x y z t i o u v in out input output data frame frames audio wave waveform signal speech noisy clean
        enhanced mix sample samples spec spectrum spectrogram mag magnitude phase mel feat feats feature features image
        img obs observation action token tokens id ids text embedding embeddings vector sequence seq value values
        tensor node result""",
    )
)


def by_names(fits: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The pairs that names tell: each input of one output alone, which is of that input alone.

    fits: input -> outputs that could return it.

    >>> by_names({"x": ["y", "h_out"], "h": ["y", "h_out"]})
    {'h': 'h_out'}
    >>> by_names({"audio_in": ["audio_out"], "cache_0": ["new_cache_0", "new_cache_1"]})
    {'cache_0': 'new_cache_0'}
    """
    named = {name: [output for output in outputs if same_state(name, output)] for name, outputs in fits.items()}
    taken = Counter(output for outputs in named.values() for output in outputs)
    return {name: outputs[0] for name, outputs in named.items() if len(outputs) == 1 and taken[outputs[0]] == 1}


#: what names of axes say of time
_TIMES = frozenset(re.findall(r"\w+", "time times timestep timesteps steps frame frames seq sequence length len t"))
#: what they say of a batch, and of frames
_NO_TIMES = frozenset(
    re.findall(
        r"\w+",
        """batch batches n bs height h width w freq freqs frequency frequencies mel mels bin bins band bands channel
        channels c feature features feat feats dim hidden units""",
    )
)
#: what names of states say by themselves
_STATES = frozenset(
    [
        "state",
        "states",
        "hidden",
        "hx",
        "cx",
        "h",
        "h0",
        "hn",
        "carry",
        "cache",
        "caches",
        "past",
        "prev",
        "previous",
        "memory",
        "mem",
        "history",
        "hist",
        "buffer",
        "buf",
        "rnn",
        "gru",
        "lstm",
        "recurrent",
    ]
)


def is_state(name: str) -> bool:
    """Whether a name says that it is a state's, without another name beside it.

    >>> is_state("encoder_hidden"), is_state("query")
    (True, False)
    """
    return bool(_STATES & set(_words(name)))


def is_time(dim: int | str) -> bool:
    """Whether an axis is called time; what has a size has no name.

    >>> is_time("seq_len"), is_time("batch"), is_time(7)
    (True, False, False)
    """
    return isinstance(dim, str) and bool(_TIMES & set(_words(dim)))


def is_no_time(dim: str) -> bool:
    """Whether an axis is called what time is not: the batch, or an axis of a frame.

    >>> is_no_time("mel_bins"), is_no_time("n_frames"), is_no_time("unk__1")
    (True, False, False)
    """
    return bool(_NO_TIMES & set(_words(dim))) and not is_time(dim)


def same_state(name: str, output: str) -> bool:
    """Whether an input and an output are called the same, but for one word each that says before or behind a step."""
    befores, afters = _stems(name, _BEFORE), _stems(output, _AFTER)
    return any(_tells(stem, befores[stem], afters[stem]) for stem in befores.keys() & afters.keys())


def _tells(stem: Words, before: Words, after: Words) -> bool:
    """Whether a common stem is that of a state. before, after: what was taken off the names."""
    if not stem or not (before or after):
        return False
    if all(word.isdigit() for word in stem):
        return before in _PAST and after in _PRESENT
    return not all(word in _FRAMES or word.isdigit() for word in stem)


def _stems(name: str, affixes: Iterable[Words]) -> dict[Words, Words]:
    """The words of a name, and those that are left without one affix -> the affix."""
    words = _words(name)
    affix_of: dict[Words, Words] = {words: ()}
    for affix in affixes:
        for at in range(len(words) - len(affix) + 1):
            if words[at : at + len(affix)] == affix:
                affix_of.setdefault((*words[:at], *words[at + len(affix) :]), affix)
    if len(words) > 1 and words[-1].isdigit():  # h and h2, h.1 and h.5: of one input and one output alone
        affix_of.setdefault(words[:-1], words[-1:])
    # hn, cn: what a recurrent layer ends with
    if affixes is _AFTER and words and len(words[-1]) == 2 and words[-1].endswith("n"):
        affix_of.setdefault((*words[:-1], words[-1][0]), ("n",))
    return affix_of


def _words(name: str) -> Words:
    """A name in lower case, taken apart at signs, at changes of case, and between letters and digits."""
    return tuple(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name))


__all__ = ["by_names", "is_no_time", "is_state", "is_time", "same_state"]
