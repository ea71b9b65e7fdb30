# SPDX-License-Identifier: MIT
"""What may help, as a caller of `from_torch` can follow it: sizes are those of the example, an axis is open that
`time_axis` says, and nothing is told that was not tried.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...errors import Error
from ..onnx.advice import Advice, Caller

_ONE_FRAME = "an example with time_axis=None is read as one frame, or one step, of its size"
#: values of time_axis that are tried, each by an export
_TRIED = 3


@dataclass
class ModuleCaller(Caller):
    """A caller of `from_torch`.

    axes: input -> its axis of time, None of a program, whose axes are as it was exported. sizes: input -> those of the
    example. untried: what to say -> the time_axis that it stands on.
    """

    axes: Mapping[str, int] | None = None
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    untried: dict[str, Mapping[str, int] | None] = field(default_factory=dict)

    def told(self, advice: Advice, size: int) -> str:
        if advice.shapes is None:
            return super().told(advice, size)
        if self.axes is None:
            return f"it loads as a program of sizes {advice.told_shapes(size)}{advice.told_names(size)}"
        opened = {name: list(sizes).index(None) for name, sizes in advice.shapes.items() if None in sizes}
        axes = {name: axis for name, axis in self.axes.items() if name not in advice.shapes} | opened
        words = f"{advice.before} with time_axis={axes}{advice.after}" if axes else _ONE_FRAME
        if axes != self.axes:
            self.untried[words] = axes or None
        return ""

    def doubt_axis(self) -> None:
        """Have other axes tried, where one argument alone has time."""
        if self.axes and len(self.axes) == 1:
            ((name, axis),) = self.axes.items()
            for other, size in enumerate(self.sizes[name]):
                if size > 1 and other != axis:
                    self.untried[f"if its axis {other} is time, with time_axis={ {name: other} }"] = {name: other}

    def doubt_time(self) -> None:
        """Have the example read as one step, where it has one timestep alone."""
        if self.axes and all(self.sizes[name][axis] == 1 for name, axis in self.axes.items()):
            self.untried.setdefault(_ONE_FRAME, None)

    def streamed(self) -> str:
        return "say which axis they are along with time_axis="

    def remembering(self) -> str:
        return (
            "Give an example of several timesteps and say time_axis=, or export one step whose states are inputs and "
            "outputs"
        )

    def tried(self, load: Callable[[Mapping[str, int] | None], object]) -> list[str]:
        """What helps of what is untried, with the states that are to be said then. load: of the module, with that
        time_axis.
        """
        helping = []
        for words, axes in list(self.untried.items())[:_TRIED]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    load(axes)
                except Error as error:
                    states = _states(error)
                    if words == _ONE_FRAME and states:
                        helping.append(f"as one step it loads with time_axis=None, states={states}, if that is so")
                    continue
            helping.append(words)
        return helping


def _states(error: BaseException) -> Mapping[str, str]:
    """States with which a load was tried that ended in this error, and comes to its end."""
    at: BaseException | None = error
    while isinstance(at, Error):
        for options in at.options:
            if set(options) == {"states"} and options["states"]:
                states: Mapping[str, str] = options["states"]
                return states
        at = at.__cause__
    return {}


__all__ = ["ModuleCaller"]
