# SPDX-License-Identifier: MIT
"""Inputs that say how long each sequence of a padded batch is: of one sequence, the number of its timesteps.

A stream has no padding, and a whole sequence comes as it is, so such an input follows from the sizes of another. What
is made of it (masks, the row of the last timestep, divisors) then goes the way of everything that follows from sizes.
An input that is nothing but sequence_lens of recurrent nodes stays: its value is given when the model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..file import limits
from ..file.nodes import OnnxNode, wrap
from ..traits import traits
from .ports import ID_TYPES, Port

#: what keeps lengths what they are, element by element or in another shape
_KEEP = frozenset(
    [
        *("Cast", "Clip", "Expand", "Flatten", "Identity", "Max", "Min", "ReduceMax", "Reshape", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze"),
    ]
)
#: what makes indices of the last timesteps ready for a Gather
_JOIN = frozenset(("Add", "Concat", "Where"))
#: what tells positions of a sequence from those behind its end; that an id is equal to one is another thing
_COMPARE = frozenset(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"))
_PICK = frozenset(("Gather", "GatherElements", "GatherND"))
_CELLS = frozenset(("GRU", "LSTM", "RNN"))


@dataclass(frozen=True)
class FullLength:
    """Whose size a length is, and the shape of its input for one sequence."""

    of: str
    axis: int
    shape: tuple[int, ...]


class FullLengths:
    """Which inputs are lengths, and the nodes by which they follow from sizes.

    names: these inputs, and of which axis. nodes, constants: what computes them, under the inputs' names.
    """

    def __init__(
        self,
        onnx: Any,
        opset: int,
        nodes: Sequence[OnnxNode],
        ports: list[Port],
        constants: Mapping[str, np.ndarray],
        sizes: Callable[[str], list[int | None] | None],
    ) -> None:
        self.onnx, self.opset = onnx, opset
        self.names: dict[str, FullLength] = {}
        self.nodes: list[OnnxNode] = []
        self.constants: dict[str, np.ndarray] = {}
        inputs = {port.name for port in ports}
        for port in ports:
            if port.dtype not in ID_TYPES or len(port.dims) > 2 or sum(n != 1 for n in port.dims) > 1:
                continue
            uses = _Uses(port.name, nodes, inputs - {port.name}, constants, sizes)
            if uses.are_of_lengths:
                self._follow(port, [p for p in ports if p.dtype not in ID_TYPES and len(p.dims) > 1], uses)

    def _follow(self, port: Port, others: list[Port], uses: _Uses) -> None:
        """Compute lengths from the size of the axis of another input that is open and not theirs; of an open batch of
        sequences that are as long as the file says, from that size.
        """
        batch = next((n for n in port.dims if n != 1), 1)
        for other in others:
            if isinstance(batch, str) and batch not in other.dims:
                continue
            times = [axis for axis in other.dynamic if other.dims[axis] != batch]
            fixed = uses.sizes & set(other.dims)
            if len(times) != 1 and (times or len(fixed) != 1 or not isinstance(batch, str) or len(other.dims) < 3):
                continue  # of one call of fixed sizes, the caller may bind it; of one frame it may be a scale
            axis = times[0] if times else other.dims.index(next(iter(fixed)))
            one = tuple(1 if isinstance(n, str) else n for n in port.dims)
            self.names[port.name] = FullLength(other.name, axis, one)
            self._compute(port, other, batch, times, fixed)
            return

    def _compute(self, port: Port, other: Port, batch: int | str, times: list[int], fixed: set[int]) -> None:
        """The nodes that give a length in the place of its input: a size of the other one, for each item."""

        def constant(numbers: Sequence[int]) -> str:
            name = f"{port.name}/sizes_{len(self.constants)}"
            self.constants[name] = np.array(numbers, np.int64)
            return name

        def add(op: str, *inputs: str, gives: str = "", **attrs: Any) -> str:
            gives = gives or f"{port.name}/{op}_{len(self.nodes)}"
            proto = self.onnx.helper.make_node(op, inputs, [gives], name=gives, **attrs)
            self.nodes.append(wrap(self.onnx, proto, self.opset))
            return gives

        shape = add("Shape", other.name)
        length = add("Gather", shape, constant(times)) if times else add("Identity", constant([*fixed]))
        if isinstance(batch, str):
            length = add("Expand", length, add("Gather", shape, constant([other.dims.index(batch)])))
        elif batch > 1:
            length = add("Expand", length, constant([batch]))
        if port.dtype != "int64":
            length = add("Cast", length, to=self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype)))
        add("Reshape", length, constant([-1 if isinstance(n, str) else n for n in port.dims]), gives=port.name)


class _Uses:
    """What is done with an input: whether that is what is done with lengths, and which sizes it says that they have."""

    def __init__(
        self,
        name: str,
        nodes: Sequence[OnnxNode],
        data: set[str],
        constants: Mapping[str, np.ndarray],
        sizes_of: Callable[[str], list[int | None] | None],
    ) -> None:
        same, last, data = {name}, set[str](), set(data)
        places = {n for n, array in constants.items() if _positions(array)}
        compared = picked = walked = elsewhere = False
        self.sizes: set[int] = set()
        for node in nodes:
            taken, results = set(node.inputs), set(node.outputs)
            if not traits(node.op).asks_shape and node.uses & data:
                data |= results
            if node.op == "Range" or (node.op in _KEEP and node.inputs[0] in places):
                places |= results
            if not (taken | node.uses) & (same | last):
                continue
            if node.op in _KEEP and node.inputs[0] in same | last:
                (same if node.inputs[0] in same else last).update(results)
            elif _is_one_less(node, same, constants) or (node.op in _JOIN and taken & last):
                last |= results
            elif node.op in _COMPARE:
                compared = compared or bool(taken & places)
                elsewhere = True
                self.sizes |= {n for operand in taken if (n := _positions(constants.get(operand)))}
            elif node.op in _PICK and node.inputs[1] in last and node.inputs[0] in data:
                picked = elsewhere = True
                self.sizes |= _picked_from(node, sizes_of)
            elif node.op in _CELLS and (taken - set(node.inputs[4:5])).isdisjoint(same | last):
                walked = True
            elif not traits(node.op).asks_shape:
                elsewhere = True
        #: compared with positions, which row is the last one, or sequence_lens and something else
        self.are_of_lengths = compared or picked or (walked and elsewhere)


def _positions(array: np.ndarray | None) -> int:
    """How many positions a constant counts from 0, or from 1; 0 where it does not."""
    if array is None or array.ndim == 0 or array.size < 2 or array.size > limits.MAX_TRIPS:
        return 0
    first = array.ravel()[0]
    return array.size if first in (0, 1) and np.array_equal(array.ravel(), np.arange(array.size) + first) else 0


def _picked_from(node: OnnxNode, sizes_of: Callable[[str], list[int | None] | None]) -> set[int]:
    """The size of the axis of which a node picks rows."""
    sizes, index = sizes_of(node.inputs[0]) or [], sizes_of(node.inputs[1]) or [None]
    axis = int(node.attrs.get("axis", 0))
    if node.op == "GatherND":
        axis = int(node.attrs.get("batch_dims", 0)) + (index[-1] or 0) - 1
    n = sizes[axis] if -len(sizes) <= axis < len(sizes) else None
    return set() if n is None else {n}


def _is_one_less(node: OnnxNode, lengths: set[str], constants: Mapping[str, np.ndarray]) -> bool:
    """Whether a node takes 1 from lengths."""
    if node.op not in ("Add", "Sub") or node.inputs[0] not in lengths:
        return False
    number = constants.get(node.inputs[1])
    return number is not None and number.size == 1 and int(number.reshape(())) == (1 if node.op == "Sub" else -1)


__all__ = ["FullLength", "FullLengths"]
