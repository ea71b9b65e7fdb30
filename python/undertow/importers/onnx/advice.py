# SPDX-License-Identifier: MIT
"""What may help where a file is refused: options of `load`, told only where a load with them comes to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import Error

#: what stands for a number of the user's while it is tried: even, for strides, and longer than windows
SIZES = (16, 64)


@dataclass(frozen=True)
class Advice:
    """Options that may help, and what to say of them.

    before, after: words around the options. shapes: as for `load`, but a size that is a name stands for a number of
    the user's; sizes: those that it is tried with, and told where they are others than `SIZES`. fixed: input -> shape
    of the array that the user is to give. walks: how many a try may take.
    """

    before: str
    after: str = ""
    shapes: Mapping[str, Sequence[int | str | None]] | None = None
    states: Mapping[str, str] | None = None
    time_axis: Mapping[str, int | None] | None = None
    fixed: Mapping[str, tuple[int, ...]] | None = None
    sizes: tuple[int, ...] = SIZES
    walks: int = 40

    @property
    def names(self) -> list[str]:
        """What stands for numbers of the user's."""
        sizes = (n for shape in (self.shapes or {}).values() for n in shape)
        return list(dict.fromkeys(n for n in sizes if isinstance(n, str)))

    @property
    def given(self) -> tuple[Any, ...]:
        """The options alone."""
        return self.shapes, self.states, self.time_axis, self.fixed

    def options(self, size: int) -> dict[str, Any]:
        """Arguments of `load`, with a number in place of every name."""
        given: dict[str, Any] = {}
        if self.shapes is not None:
            given["shapes"] = {k: [size if isinstance(n, str) else n for n in s] for k, s in self.shapes.items()}
        if self.states is not None:
            given["states"] = dict(self.states)
        if self.time_axis is not None:
            given["time_axis"] = dict(self.time_axis)
        if self.fixed is not None:
            given["fixed"] = {name: np.zeros(shape, np.float32) for name, shape in self.fixed.items()}
        return given

    def told(self, size: int) -> str:
        """The sentence, after a load with that size for every name."""
        names = self.names if size in SIZES else []
        shapes = {k: [n if n in names else size if isinstance(n, str) else n for n in s]
                  for k, s in (self.shapes or {}).items()}  # fmt: skip
        numbers = f", with {'your number' if len(names) == 1 else 'your numbers'} for {', '.join(names)}"
        line = [f"shapes={_braces(shapes)}"] if self.shapes is not None else []
        line += [f"states={self.states}"] if self.states is not None else []
        line += [f"time_axis={self.time_axis}"] if self.time_axis is not None else []
        line += [f"fixed={{{', '.join(f'{name!r}: array' for name in self.fixed)}}}"] if self.fixed is not None else []
        words = " ".join(filter(None, [self.before, ", ".join(line), self.after]))
        return words + (numbers if names else "")


def _braces(shapes: Mapping[str, Iterable[Any]]) -> str:
    return "{" + ", ".join(f"{name!r}: [{', '.join(map(str, sizes))}]" for name, sizes in shapes.items()) + "}"


class Refusal(Exception):
    """A refusal whose advice is still to be tried. It is no `undertow.Error`, and never reaches a user.

    advice: in stages; a stage is tried where those before it do not help. Of several with the same words the first that
    helps is told.
    """

    def __init__(self, error: Error, advice: Sequence[Sequence[Advice]]) -> None:
        self.error, self.advice = error, advice

    def after(self, load: Callable[[dict[str, Any], int], object]) -> Error:
        """The error with the advice that helps; see `helpful`."""
        self.error.args = ("; ".join([str(self.error), *helpful(self.advice, load)]),)
        return self.error


def helpful(stages: Sequence[Sequence[Advice]], load: Callable[[dict[str, Any], int], object]) -> list[str]:
    """The advice that helps, in words; or why the `states=` of it do not.

    load: of the file, with more options and in so many walks; raises Error or Refusal where they do not help.
    """
    told: dict[str, str] = {}
    helped: list[tuple[Any, ...]] = []
    failed = ""
    for stage in stages:
        for advice in stage:
            if advice.before + advice.after in told or advice.given in helped:
                continue
            for size in advice.sizes if advice.names else SIZES[:1]:
                try:
                    load(advice.options(size), advice.walks)
                except (Error, Refusal) as error:
                    if advice.states is not None and not failed:
                        cause = error.error if isinstance(error, Refusal) else error
                        failed = f"with states={advice.states}: {cause}"
                    continue
                told[advice.before + advice.after] = advice.told(size)
                helped.append(advice.given)
                break
        if told:
            break
    return list(told.values()) or ([failed] if failed else [])


__all__ = ["SIZES", "Advice", "Refusal", "helpful"]
