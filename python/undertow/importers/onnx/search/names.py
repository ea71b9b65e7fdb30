# SPDX-License-Identifier: MIT
"""Which output returns which state, by their names: h_in and h_out, past.0.key and present.0.key, state and stateN.

Names are evidence beside shapes and a path from one to the other, never against them. Whoever asks has looked at
shapes; a state that each step overwrites has no path, and counts beside one that has (`possible.Possible.named`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import lru_cache

Words = tuple[str, ...]


def _of(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


#: what an input's name says of the state before a step, and an output's of that behind it; one is taken off each name
_BEFORE: tuple[Words, ...] = (
    ("past", "key", "values"), ("past",), ("in",), ("input",), ("prev",), ("previous",), ("old",), ("last",),
    ("init",), ("initial",), ("0",), ("t", "0"), ("tm", "1"), ("t", "minus", "1"), ("t",), ("pre",), ("before",),
)  # fmt: skip
_AFTER: tuple[Words, ...] = (
    ("present",), ("out",), ("output",), ("next",), ("new",), ("updated",), ("final",), ("n",), ("t", "1"), ("tp", "1"),
    ("t", "plus", "1"), ("t",), ("1",), ("post",), ("cur",), ("current",), ("after",), ("update",),
)  # fmt: skip
#: those of them that say before a step of frames too, whose in and out are what comes and goes; and behind it
_PAST_WORDS = _of("past prev previous old last before")
_WHENS = _PAST_WORDS | _of("present next new update updated cur current after")
#: those of them that go with a number alone, and with nothing
_PAST, _PRESENT = _BEFORE[:2], _AFTER[:1]
_PASTS, _PRESENTS = (("past",), ("prev",), ("previous",), ("old",)), (("present",), ("next",), ("new",), ("updated",))
#: what names of frames say: x_in and x_out are a frame and what a model makes of it
_FRAMES = _of(
    """x in out input output data frame frames audio wave waveform signal speech noisy clean enhanced mix sample
    samples spec spectrum spectrogram mag magnitude phase mel feat feats feature features image img obs
    observation action token tokens id ids text sequence seq src source wav pcm mic block chunk left right near
    far real imag re im dec video noise ref reference lpb loopback echo sidechain pitch residual skip"""
)
#: those of them that what a step takes is called, and what stands beside it is not
_INPUTS = _of("x in input data frame frames audio wave signal obs observation token tokens id ids")
#: what may be called so beside a frame, and is one of each or the same for all
_ASIDE = _of(
    """embedding embeddings vector value values tensor node result cond condition context query key keys speaker
    style mask weight weights prob probs logits"""
)
#: what a choice is made of, which no next step is given back
_CHOICES = _of("logit logits")
#: what settings are called, where nothing else says that they come back
_SETTINGS = _of(
    """gain gains knob knobs control controls param params scale temperature goal goals command commands target
    setpoint user item pos position measurement accel gyro sensor sensors"""
)
#: single letters that are a frame's, a counter's or a state's
_LETTERS = frozenset("niouvyzt")


class Strength(IntEnum):
    """How much the names of an input and an output say of one state."""

    NONE = 0
    FRAME = 1  # called alike, and like a frame and what is made of it: x_in and x_out
    LETTER = 2  # by a letter that may be a frame's: n and n_out
    ALIKE = 3  # by anything else: s and s_out
    STATE = 4  # like a state: h_in and h_out, past.0 and present.0


def by_names(fits: Mapping[str, Iterable[str]], least: Strength = Strength.ALIKE) -> dict[str, str]:
    """The pairs that names tell: each input of one output alone, which is of that input alone.

    fits: input -> outputs that could return it.

    >>> by_names({"x": ["y", "h_out"], "h": ["y", "h_out"]})
    {'h': 'h_out'}
    >>> by_names({"audio_in": ["audio_out"], "cache_0": ["new_cache_0", "new_cache_1"]})
    {'cache_0': 'new_cache_0'}
    """
    with_stem: dict[Words, set[str]] = {}
    for output in {output for outputs in fits.values() for output in outputs}:
        for stem in _stems(output, _AFTER):
            with_stem.setdefault(stem, set()).add(output)
    alike = {name: set().union(*(with_stem.get(stem, ()) for stem in _stems(name, _BEFORE))) for name in fits}
    named = {
        name: _numbered_alike(name, [o for o in outputs if o in alike[name] and strength(name, o) >= least])
        for name, outputs in fits.items()
    }
    taken = Counter(output for outputs in named.values() for output in outputs)
    return {name: outputs[0] for name, outputs in named.items() if len(outputs) == 1 and taken[outputs[0]] == 1}


def _numbered_alike(name: str, outputs: list[str]) -> list[str]:
    """Of outputs those with the numbers of an input's name, where there are some: for y1, of y and y1_out."""
    numbers = re.findall(r"\d+", name)
    return [output for output in outputs if re.findall(r"\d+", output) == numbers] or outputs


#: what names of axes say of time
_TIMES = _of("time times timestep timesteps steps frame frames seq sequence length len t")
#: what they say of a batch, and of frames
_BATCHES = _of("batch batches bs")
_NO_TIMES = _BATCHES | _of(
    """n height h width w freq freqs frequency frequencies mel mels bin bins band bands channel
    channels c feature features feat feats dim hidden units"""
)
#: what names of states say by themselves
_STATES = _of(
    """state states hidden hx cx h h0 hn carry cache caches past prev previous memory mem history hist buffer buf
    rnn gru lstm recurrent"""
)


#: what names of weights say
_WEIGHTS = _of("kernel weight weights bias")


def is_state(name: str) -> bool:
    """Whether a name says that it is a state's, without another name beside it.

    >>> is_state("encoder_hidden"), is_state("query"), is_state("recurrent_kernel")
    (True, False, False)
    """
    words = set(_words(name))
    return bool(_STATES & words) and not (_WEIGHTS & words and _STATES & words <= {"recurrent", "hidden"})


def is_time(dim: int | str) -> bool:
    """Whether an axis is called time; what has a size has no name.

    >>> is_time("seq_len"), is_time("batch"), is_time(7)
    (True, False, False)
    """
    return isinstance(dim, str) and bool(_TIMES & set(_words(dim)))


def is_batch(dim: int | str) -> bool:
    """Whether an axis is called a batch.

    >>> is_batch("batch_size"), is_batch("n_frames"), is_batch(3)
    (True, False, False)
    """
    return isinstance(dim, str) and bool(_BATCHES & set(_words(dim))) and not is_time(dim)


def is_no_time(dim: str) -> bool:
    """Whether an axis is called what time is not: the batch, or an axis of a frame.

    >>> is_no_time("mel_bins"), is_no_time("n_frames"), is_no_time("unk__1")
    (True, False, False)
    """
    return bool(_NO_TIMES & set(_words(dim))) and not is_time(dim)


def is_frame(name: str) -> bool:
    """Whether a name says that it is a frame's.

    >>> is_frame("audio_in"), is_frame("width_in")
    (True, False)
    """
    words = set(_words(name))
    told = words if len(words) == 1 else words - {"in", "out", "input", "output"}
    return bool(_FRAMES & told) and not is_state(name)


def is_no_memory(name: str) -> bool:
    """Whether a name says that it is a frame's, or of what stands beside one, and not of the step before. Numbered
    frames may be named by an exporter, which numbers states likewise.

    >>> [is_no_memory(name) for name in ("mic", "input", "knob_1", "input_1", "prev_mask")]
    [True, True, True, False, False]
    """
    words = set(_words(name))
    told = is_frame(name) or bool(words & _ASIDE)
    numbered = any(word.isdigit() for word in words)
    return bool(words & _SETTINGS or (told and not numbered)) and not (is_before(name) or is_state(name))


def is_choice(name: str) -> bool:
    """Whether an output's name says that a choice is made of it: that no step remembers it.

    >>> is_choice("logits"), is_choice("context")
    (True, False)
    """
    return bool(_CHOICES & set(_words(name))) and not is_state(name)


def is_input(name: str) -> bool:
    """Whether a name is of what a step takes, and not of what it is given beside that.

    >>> is_input("input_frame"), is_input("mel"), is_input("speaker")
    (True, False, False)
    """
    words = set(_words(name))
    return is_frame(name) and bool(_INPUTS & (words if len(words) == 1 else words - {"in", "input"}))


def is_letter(name: str) -> bool:
    """Whether a name is one letter, numbers and what says before or behind aside.

    >>> is_letter("c_0_in"), is_letter("far_in")
    (True, False)
    """
    affixes = {word for affix in _BEFORE for word in affix if len(word) > 1}
    return all(len(word) == 1 or word.isdigit() for word in set(_words(name)) - affixes)


def say_when(name: str, output: str) -> bool:
    """Whether what two names differ in says before or behind a step.

    >>> say_when("mask", "new_mask"), say_when("mask_in", "mask_out")
    (True, False)
    """
    return bool(_WHENS & (set(_words(name)) ^ set(_words(output))))


def is_before(name: str) -> bool:
    """Whether a name says that it is of the step before.

    >>> is_before("previous_word"), is_before("word")
    (True, False)
    """
    return bool(_PAST_WORDS & set(_words(name)))


def is_beside(name: str) -> bool:
    """Whether a name says that it is of what stands beside a frame, and no frame's.

    >>> is_beside("speaker"), is_beside("u"), is_beside("mel")
    (True, False, False)
    """
    return all(word in _ASIDE or word.isdigit() for word in _words(name))


def is_aside(name: str) -> bool:
    """Whether a name says that it is a frame's, or of what stands beside one, or nothing.

    >>> is_aside("speaker"), is_aside("y"), is_aside("level")
    (True, True, False)
    """
    return all(word in _FRAMES | _ASIDE | _LETTERS or word.isdigit() for word in _words(name))


def same_state(name: str, output: str) -> bool:
    """Whether an input and an output are called the same, but for one word each that says before or behind a step."""
    return strength(name, output) >= Strength.ALIKE


def strength(name: str, output: str) -> Strength:
    """What two names say together."""
    befores, afters = _stems(name, _BEFORE), _stems(output, _AFTER)
    if output != name and output.rstrip("_'") == name:
        afters = {**afters, _words(name): ("_",)}
    told = max(
        (_told(stem, befores[stem], afters[stem]) for stem in befores.keys() & afters.keys()), default=Strength.NONE
    )
    hidden = _words(name) == ("hidden", "states")  # of a transformer: what goes through its layers
    return Strength.STATE if told == Strength.ALIKE and is_state(name) and not hidden else told


def _told(stem: Words, before: Words, after: Words) -> Strength:
    """What a common stem says. before, after: what was taken off the names."""
    if not (before or after):
        return Strength.NONE
    if all(word.isdigit() for word in stem):
        telling = before in _PAST and after in _PRESENT if stem else before in _PASTS and after in _PRESENTS
        return Strength.STATE if telling else Strength.NONE
    if before in _PAST and after in _PRESENT and not _FRAMES & set(stem):
        return Strength.STATE
    rest = [word for word in stem if not word.isdigit() and word not in _FRAMES | _ASIDE]
    if not _LETTERS.issuperset(rest):
        return Strength.ALIKE
    return Strength.LETTER if rest and not _FRAMES & set(stem) else Strength.FRAME


@lru_cache(2**10)
def _stems(name: str, affixes: Iterable[Words]) -> dict[Words, Words]:
    """The words of a name, and those that are left without one affix -> the affix."""
    words = _words(name)
    affix_of: dict[Words, Words] = {words: ()}
    for affix in affixes:
        for at in range(len(words) - len(affix) + 1):
            if words[at : at + len(affix)] == affix:
                affix_of.setdefault((*words[:at], *words[at + len(affix) :]), affix)
    ends = "o" if affixes is _AFTER else "i"
    if len(words) > 1 and words[-1] == ends:  # h_i and h_o
        affix_of.setdefault(words[:-1], (ends,))
    if len(words) > 1 and words[-1].isdigit():  # h and h2, h.1 and h.5: of one input and one output alone
        affix_of.setdefault(words[:-1], words[-1:])
    # hn, cn, hn0: what a recurrent layer ends with; hx and hy are torch's names, initial_h and Y_h those of ONNX
    at = len(words) - 1 - (len(words) > 1 and words[-1].isdigit())
    after = ("n", "hy", "cy") if affixes is _AFTER else ("hx", "cx")
    if words and len(words[at]) == 2 and words[at].endswith(after):
        affix_of.setdefault((*words[:at], words[at][0], *words[at + 1 :]), (words[at][1],))
    elif affixes is _AFTER and words and len(words[at]) > 2 and words[at].endswith("n"):  # cachen, of cache or cache0
        affix_of.setdefault((*words[:at], words[at][:-1], *words[at + 1 :]), ("n",))
    if affixes is _AFTER and words[:2] in (("y", "h"), ("y", "c")):
        affix_of.setdefault(words[1:], ("y",))
    return affix_of


@lru_cache(2**10)
def _words(name: str) -> Words:
    """A name in lower case, taken apart at signs, at changes of case, and between letters and digits; of one that
    PyTorch's exporter has made up, all of it.
    """
    if name.startswith("onnx::"):
        return (name,)
    return tuple(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name))


__all__ = [
    "Strength",
    "by_names",
    "is_aside",
    "is_batch",
    "is_before",
    "is_beside",
    "is_choice",
    "is_frame",
    "is_input",
    "is_letter",
    "is_no_memory",
    "is_no_time",
    "is_state",
    "is_time",
    "same_state",
    "say_when",
    "strength",
]
