# SPDX-License-Identifier: MIT
"""Does a graph compute what the module does that it was exported from? An exporter may have dropped a change in place,
kept a branch, or missed what the module keeps elsewhere; a few calls show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ... import reference
from ...ir.graph import Graph
from ...ir.most import bound_of
from .code import integers
from .given import copied
from .structure import leaves, rebuilt

#: calls of a module that computes a step; how large random numbers are in each
_CALLS, _SCALES = 5, (1.0, 3.0)
#: numbers of timesteps besides the example's: what Python computed with that is fixed to it
_LENGTHS = (3, 12, 40)
#: how far from a number in the code lengths are tried, the most telling first; how large it may be
_AROUND, _LARGEST = (5, 1, 0, -1), 2000
#: what those lengths may cost together: timesteps, and these times parameters, a node and an element of its outputs
#: counting as so many (about half a second)
_TIMESTEPS, _COST, _COST_OF_NODE, _COST_OF_ELEMENT = 3000, 5 * 10**8, 40_000, 20
#: integers in one tensor of a file: bounds and sizes, no table
_FEW = 8
#: of the largest number, far above what float32 loses
_TOLERANCE = 1e-3


@dataclass
class Check:
    """A graph held against the module that it was exported from.

    Args:
        module: a copy, which is called.
        names: of the tensors in `arguments`.
        axes: of time, as torch's dynamic_axes.
        fed: of a step, arguments that a call takes from the results of the one before, by their names.
        keeps: whether calls change the module.
        numbers: integers of the exported file.
    """

    torch: Any
    module: Any
    arguments: tuple[Any, ...]
    names: Sequence[str]
    axes: Mapping[str, Mapping[int, str]]
    graph: Graph
    fed: Mapping[str, str]
    keeps: bool = False
    numbers: Iterable[int] = ()
    _surplus: dict[str, int] = field(default_factory=dict)
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def difference(self) -> str:
        """What is another than the module gives, in words: an output, "" if there is none, or it cannot be told."""
        self.axes = self.axes or self._walked()
        goes_on = not self.axes and all(name in self.graph.inputs or name in self.fed for name in self.names)
        # The module ran with the example before the export: where it does not, something of that is left elsewhere.
        fits = self._fits(self._of_example())
        if fits and (name := self._difference(self.arguments, _CALLS if goes_on else 1, "output")):
            return f"{name!r}"
        for n_steps in filter(self._fits, self._lengths()):
            resized = (_resized(self.torch, x, self.axes.get(name, {}), n_steps) for name, x in self._named())
            if name := self._difference(rebuilt(self.arguments, resized), 1, ""):
                return f"{name!r} for {n_steps} timesteps"
        return ""

    def _of_example(self) -> int:
        """How many timesteps the example has; 0 where it has no axis of time."""
        return next((x.shape[axis] for name, x in self._named() for axis in self.axes.get(name, ())), 0)

    def _fits(self, n_steps: int) -> bool:
        """Whether a sequence of the graph may have so many timesteps."""
        most = bound_of(self.graph.states)[1]
        return not most or n_steps <= most

    def _walked(self) -> dict[str, dict[int, str]]:
        """The axes of time that the importer read in an example of more than one timestep."""
        axes = {}
        for name, tensor in self._named():
            if name in self.graph.inputs:
                n_steps, rest = divmod(tensor.numel(), int(np.prod(self.graph.shape(name), dtype=np.int64)))
                places = [axis for axis, size in enumerate(tensor.shape) if size == n_steps]
                if rest or n_steps < 2 or len(places) != 1:
                    return {}
                axes[name] = {places[0]: "time"}
        return axes

    def _lengths(self) -> Iterator[int]:
        """Numbers of timesteps to try: around the integers that the code and the file hold, as the cost allows."""
        if not self.axes:
            return
        example = self._of_example()
        numbers = sorted({n for n in (*integers(self.torch, self.module), *self.numbers) if 2 <= n <= _LARGEST})
        further = [4 * example + 3, *(n + by for by in _AROUND for n in numbers)]
        elements = sum(int(np.prod(value.shape, dtype=np.int64)) for value in self.graph.values.values())
        nodes = _COST_OF_NODE * len(self.graph.nodes) + _COST_OF_ELEMENT * elements
        left = min(_TIMESTEPS, _COST // (self.graph.n_parameters + nodes))
        yield from (*_LENGTHS, bound_of(self.graph.states)[1] or _LENGTHS[0])
        for n_steps in dict.fromkeys(further):
            if n_steps <= left and n_steps not in _LENGTHS:
                left -= n_steps
                yield n_steps

    def _named(self) -> Iterator[tuple[str, Any]]:
        return zip(self.names, leaves(self.arguments), strict=True)

    def _difference(self, arguments: tuple[Any, ...], n_calls: int, refused: str) -> str:
        """refused: what is given where the module does not take the first call; of other lengths it may take none."""
        calls: list[tuple[dict[str, np.ndarray], list[np.ndarray]]] = []
        module = copied(self.module) if self.keeps else self.module
        for number in range(n_calls):
            inputs = self._drawn(arguments, _SCALES[number % len(_SCALES)], calls[-1][1] if calls else [])
            try:
                with self.torch.no_grad():
                    result = module(*inputs)
                # copies, for the next call may write into what this one returned
                wanted = [x.detach().clone().numpy() for x in leaves(result) if isinstance(x, self.torch.Tensor)]
            except Exception:
                return refused if number == 0 else ""
            frames = {}
            for name, tensor in zip(self.names, leaves(inputs), strict=True):
                if name in self.graph.inputs:
                    time = next(iter(self.axes.get(name, ())), None)
                    laid = _frames(tensor.numpy(), time, self.graph.shape(name))
                    if laid is None:
                        return ""
                    frames[name] = laid
            calls.append((frames, wanted))
        lengths = {len(x) for frames, _ in calls for x in frames.values()}
        if len(lengths) != 1 or (not self.axes and lengths != {1}):
            return ""
        X = {name: np.concatenate([frames[name] for frames, _ in calls]) for name in self.graph.inputs}
        outputs = reference.evaluate(self.graph, X).outputs
        for name, value in self.graph.outputs.items():
            at = _place(name)
            if at is None or at >= len(calls[0][1]):
                continue
            per_call = [results[at].astype(np.float64) for _, results in calls]
            rows = np.asarray(outputs[name]).reshape(-1, int(np.prod(self.graph.shape(value), dtype=np.int64)))
            if self.axes:
                alike = self._is_sequence(name, rows, per_call[0], *lengths)
            else:
                alike = self.graph.values[value].once or _agree(rows, per_call)
            if not alike:
                return name
        return ""

    def _is_sequence(self, name: str, rows: np.ndarray, wanted: np.ndarray, n_steps: int) -> bool:
        """Whether rows of an output are what a call gave for a sequence, whichever of its axes is time."""
        n_wanted, rest = divmod(wanted.size, rows.shape[1])
        if rest or not n_wanted:
            return True
        surplus = len(rows) - n_wanted
        if n_wanted == 1 and surplus:  # the last row alone
            return self.graph.latency > 0 or _agree(rows[-1:], [wanted], 1)
        if len(rows) != n_steps:  # of strides the sizes tell nothing
            return surplus != 0 or _agree(rows, [wanted], n_wanted)
        if self._surplus.setdefault(name, surplus) != surplus:
            return False
        # Windows without padding give as many rows less for every length.
        return surplus < 0 or any(_agree(rows[k : k + n_wanted], [wanted], n_wanted) for k in range(surplus + 1))

    def _drawn(self, arguments: tuple[Any, ...], scale: float, held: Sequence[np.ndarray]) -> tuple[Any, ...]:
        """Random numbers in place of the tensors in arguments; ids, and what starts a state, stay zeros or as they are.

        held: the results of the call before.
        """

        def drawn(name: str, value: Any) -> Any:
            at = _place(self.fed.get(name, ""))
            if at is not None and at < len(held):
                return self.torch.from_numpy(held[at])
            if name not in self.graph.inputs:
                return self.torch.zeros_like(value)
            if not value.is_floating_point():
                return value
            numbers = (scale * self._rng.standard_normal(tuple(value.shape))).astype(np.float32)
            return self.torch.from_numpy(numbers).to(value.dtype)

        filled: tuple[Any, ...] = rebuilt(arguments, map(drawn, self.names, leaves(arguments)))
        return filled


def _place(output: str) -> int | None:
    """Which of the results an output is."""
    name, _, number = output.partition("_")
    return None if name != "output" or (number and not number.isdigit()) else int(number or 0)


def _resized(torch: Any, value: Any, axes: Mapping[int, str], n_steps: int) -> Any:
    """A tensor with another number of timesteps: its first one, repeated."""
    for axis in axes:
        value = torch.cat([value.narrow(axis, 0, 1)] * n_steps, axis)
    return value


def _frames(array: np.ndarray, time: int | None, frame: tuple[int, ...]) -> np.ndarray | None:
    """A tensor as frames, along its axis of time."""
    rows = array[None] if time is None else np.moveaxis(array, time, 0)
    size = int(np.prod(frame, dtype=np.int64))
    if rows.size != len(rows) * size:
        return None
    return rows.reshape(len(rows), *frame)


def _agree(rows: np.ndarray, per_call: list[np.ndarray], n_steps: int | None = None) -> bool:
    """Whether rows are what the calls gave; of a sequence of n_steps, whichever axis is time. What has another size
    cannot be told.
    """
    if rows.size != sum(w.size for w in per_call):
        return True
    limit = _TOLERANCE * max(1.0, float(np.nanmax(np.abs(np.concatenate([w.ravel() for w in per_call])), initial=0.0)))
    for axis in (None, *(a for a, n in enumerate(per_call[0].shape) if n == n_steps)):
        flat = np.concatenate([(w if axis is None else np.moveaxis(w, axis, 0)).ravel() for w in per_call])
        close = np.abs(rows.ravel() - flat) <= limit
        if (close | ~np.isfinite(flat)).all():
            return True
    return False


def numbers_of(path: Path) -> set[int]:
    """The integers that an .onnx file holds as tensors of few."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    numbers: set[int] = set()
    for part in _parts(graph):
        tensors = [*part.initializer, *(a.t for node in part.node for a in node.attribute if a.HasField("t"))]
        for tensor in tensors:
            if tensor.data_type == onnx.TensorProto.INT64 and np.prod(tensor.dims, dtype=np.int64) <= _FEW:
                numbers.update(onnx.numpy_helper.to_array(tensor).ravel().tolist())
    return numbers


def needed_of(path: Path) -> set[str]:
    """The tensors of an .onnx file that its outputs are computed from."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    needed = {output.name for output in graph.output}
    for node in reversed(graph.node):
        if needed & set(node.output):
            bodies = [part for a in node.attribute if a.HasField("g") for part in _parts(a.g)]
            needed.update(node.input, *(inner.input for part in bodies for inner in part.node))
            needed.update(output.name for part in bodies for output in part.output)
    return needed


def _parts(graph: Any) -> list[Any]:
    """An ONNX graph and those in its nodes."""
    parts = [graph]
    for part in parts:
        parts += [a.g for node in part.node for a in node.attribute if a.HasField("g")]
    return parts


__all__ = ["Check", "needed_of", "numbers_of"]
