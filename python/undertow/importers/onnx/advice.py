# SPDX-License-Identifier: MIT
"""What may help where a file is refused: options of `load`, told only where a load with them comes to its end, and in
the words of whoever called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import Error
from ...ir.origin import Origin

#: what stands for a number of the user's while it is tried: even, for strides, and longer than windows
SIZES = (16, 64)


@dataclass(frozen=True)
class Advice:
    """Options that may help, and what to say of them.

    before, after: words around the options, "with" and punctuation apart. shapes: as for `load`, but a size that is a
    name stands for a number of the user's; sizes: those that it is tried with, and told where they are others than
    `SIZES`. work: of those that are others, where twice as much works too, so that none is the only one. fixed: input
    -> shape of the array that the user is to give. max_frames: a name for the user's number. walks: how many a try may
    take.
    """

    before: str
    after: str = ""
    shapes: Mapping[str, Sequence[int | str | None]] | None = None
    states: Mapping[str, str] | None = None
    time_axis: Mapping[str, int | None] | None = None
    fixed: Mapping[str, tuple[int, ...]] | None = None
    max_frames: str | None = None
    sizes: tuple[int, ...] = SIZES
    walks: int = 40
    work: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        """What stands for numbers of the user's."""
        sizes = (n for shape in (self.shapes or {}).values() for n in shape)
        return list(dict.fromkeys(n for n in (*sizes, self.max_frames) if isinstance(n, str)))

    @property
    def given(self) -> tuple[Any, ...]:
        """The options alone."""
        return self.shapes, self.states, self.time_axis, self.fixed, self.max_frames

    def options(self, size: int | None = None) -> dict[str, Any]:
        """Arguments of `load`, with a number in place of every name; without one names stay."""
        given: dict[str, Any] = {}
        if self.shapes is not None:
            put = lambda n: size if size is not None and isinstance(n, str) else n  # noqa: E731
            given["shapes"] = {k: [put(n) for n in s] for k, s in self.shapes.items()}
        if self.states is not None:
            given["states"] = dict(self.states)
        if self.time_axis is not None:
            given["time_axis"] = dict(self.time_axis)
        if self.fixed is not None:
            given["fixed"] = {name: np.zeros(shape, np.float32) for name, shape in self.fixed.items()}
        if self.max_frames is not None:
            given["max_frames"] = self.max_frames if size is None else size
        return given

    def told(self, size: int) -> str:
        """The sentence, with arguments of `load`, after a load with that size for every name."""
        line = [f"shapes={self.told_shapes(size)}"] if self.shapes else []
        line += [f"states={self.states}"] if self.states is not None else []
        line += [f"time_axis={self.time_axis}"] if self.time_axis is not None else []
        line += [f"fixed={{{', '.join(f'{name!r}: array' for name in self.fixed)}}}"] if self.fixed is not None else []
        line += [f"max_frames={self.max_frames if self._any(size) else size}"] if self.max_frames else []
        return f"{self.before} with {', '.join(line)}{self.after}{self.told_names(size)}" if line else ""

    def told_shapes(self, size: int) -> str:
        """The shapes as they are told after a load with that size: it, or names where any number of the user's does."""
        told = {k: ", ".join(str(n if self._any(size) or not isinstance(n, str) else size) for n in s)
                for k, s in (self.shapes or {}).items()}  # fmt: skip
        return "{" + ", ".join(f"{name!r}: [{sizes}]" for name, sizes in told.items()) + "}"

    def told_names(self, size: int) -> str:
        """What to put in place of the names in those."""
        names = self.names if self._any(size) else []
        tried = f" ({' and '.join(map(str, self.work))} load; what it was trained with, its documentation says)"
        numbers = "number" if len(names) == 1 else "numbers"
        return f", with your {numbers} for {', '.join(names)}{tried if self.work else ''}" if names else ""

    def _any(self, size: int) -> bool:
        return size in SIZES or bool(self.work)


@dataclass
class Caller:
    """Who loads a file: how options are told to them, and what they know of its states. This one calls `load`.

    likely: pairs that may be states, and what to say behind them. evidence: of states that are given, by input.
    """

    likely: Sequence[tuple[Mapping[str, str], str]] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)

    def told(self, advice: Advice, size: int) -> str:
        """What helped with that size for every name; "" where nothing is to be said of it."""
        return advice.told(size)

    def words(self, text: str) -> str:
        """A message about nodes in the words of what was loaded."""
        return text

    def take(self, origin: Origin, op: str, name: str) -> None:
        """Note that a node is computed."""
        origin.take(op)

    def streamed(self) -> str:
        """What to do where timesteps are inside of a frame."""
        return (
            "export with an open time axis (dynamic_axes= or dynamic_shapes= of torch.onnx.export, of a layer, not "
            "of a Python loop), or as one step whose states are inputs and outputs"
        )

    def remembering(self) -> str:
        """What to do about a recurrence of one timestep."""
        return (
            "Export it with an open time axis (dynamic_axes= or dynamic_shapes= of torch.onnx.export, of a layer, not "
            "of a Python loop), with several timesteps, or as one step whose states are inputs and outputs. Of Keras, "
            "load the .keras file"
        )


class Refusal(Exception):
    """A refusal whose advice is still to be tried. It is no `undertow.Error`, and never reaches a user.

    advice: in stages; a stage is tried where those before it do not help. Of several with the same words the first that
    helps is told.
    """

    def __init__(self, error: Error, advice: Sequence[Sequence[Advice]]) -> None:
        self.error, self.advice = error, advice


def helpful(
    stages: Sequence[Sequence[Advice]], load: Callable[[dict[str, Any], int], object], caller: Caller
) -> tuple[list[str], list[Advice]]:
    """The advice that helps, as the caller is told it, and itself; or why the `states=` of it do not, and none.

    load: of the file, with more options and in so many walks; raises Error or Refusal where they do not help.
    """
    told: dict[str, str] = {}
    helps: list[Advice] = []
    tried: list[tuple[Any, ...]] = []
    failed = ""
    for stage in stages:
        for advice in stage:
            if advice.before + advice.after in told or (advice.given, advice.sizes) in tried:
                continue
            tried.append((advice.given, advice.sizes))
            for size in advice.sizes if advice.names else SIZES[:1]:
                try:
                    load(advice.options(size), advice.walks)
                except (Error, Refusal) as error:
                    if advice.states is not None and not failed:
                        cause = error.error if isinstance(error, Refusal) else error
                        failed = f"with states={advice.states}: {cause}"
                    continue
                if size not in SIZES and advice.names and _loads(load, advice, 2 * size):
                    advice = replace(advice, work=(size, 2 * size))
                told[advice.before + advice.after] = caller.told(advice, size)
                helps.append(advice)
                break
        if told:
            break
    return [line for line in list(told.values()) or [failed] if line], helps


def _loads(load: Callable[[dict[str, Any], int], object], advice: Advice, size: int) -> bool:
    try:
        load(advice.options(size), advice.walks)
    except (Error, Refusal):
        return False
    return True


__all__ = ["SIZES", "Advice", "Caller", "Refusal", "helpful"]
