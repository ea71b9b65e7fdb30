# SPDX-License-Identifier: MIT
"""What is known while an ONNX graph is walked, and how the tensors of its inputs lie under a reading of their axes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....budget import TooMuch, room, too_much
from ....errors import UnsupportedError
from ..file import limits
from ..file.nodes import OnnxNode
from ..retry import Retry, TooLarge, TooManyNodes
from ..simplify.fold import Evaluator
from ..simplify.ports import Port
from ..simplify.program import ID_TYPES, Program
from . import provenance
from .builder import Builder, Source
from .counters import Counters
from .provenance import Layout, Mixed, Tensor
from .uses import joined, shapes_alone


class Forgets(Retry):
    """A recurrent node starts anew at every step of a model whose other states are carried."""


class Length:
    """Stands for the sequence_lens of a graph input: its value is given when the model is run."""


@dataclass(frozen=True)
class Iteration:
    """Stands for the number of the round, or `backwards` for that times -1, plus `offset`, inside of a Loop over time;
    `shape` of one element. late: how many of the first frames are no rounds, as a convolution without padding left them
    out. dtype: that of the file.
    """

    offset: int = 0
    shape: tuple[int, ...] = ()
    backwards: bool = False
    late: int = 0
    dtype: str = "int64"


@dataclass(frozen=True)
class Shares:
    """Stands for a softmax over time of `scores`, times `values`: known with the last timestep only."""

    scores: Tensor
    values: Tensor | None = None


@dataclass(frozen=True)
class Mean:
    """`result` is the mean of x over its axis of time."""

    x: Tensor
    time: int
    result: Tensor


@dataclass(frozen=True, eq=False)
class Deviations:
    """Stands for x minus its mean over time, or the squares of that: known with the last timestep only. node: of which
    that is the result."""

    node: OnnxNode
    x: Tensor
    time: int
    squared: bool = False


@dataclass(frozen=True, eq=False)
class Pairs:
    """Stands for products of every timestep's query (..., T, d) with every timestep's key (..., T, d), of `shape`
    (..., T, T), and for what `steps` make of them: nodes with their operands. node: that multiplies."""

    node: OnnxNode
    query: Tensor
    keys: Tensor
    shape: tuple[int, ...]
    steps: tuple[tuple[OnnxNode, tuple[Any, ...]], ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True, eq=False)
class Weighed:
    """Stands for weights of `shape` (..., T, T): `shares` (..., 1, lags) are the elements of those of a frame, for the
    frames that are `lags` before it; `layout` is theirs. asked: stands for whether they are NaN."""

    shape: tuple[int, ...]
    layout: Layout
    shares: np.ndarray
    lags: np.ndarray
    asked: bool = False
    dtype: str = "float32"


Operand = np.ndarray | Tensor | Length | Iteration | Shares | Deviations | Pairs | Weighed | None
Handler = Callable[["Walk", OnnxNode, list[Any]], list[Any]]


@dataclass(frozen=True)
class Reading:
    """How the inputs' axes are read, and the sizes tried for time and batch.

    axes: input or state input -> (axis of time or None, axis of batch or None). carried: the model is a single step
    whose states the caller carries, so a recurrent node without one forgets at every step. open_batch: the file
    leaves the size of the batch open, and n_items is one of many. inside: recurrent nodes may walk axes of a frame,
    which without it are taken for time and batch. clip: there is no time, all of every input is one frame.
    fixed: the file leaves no size open. fixed_time: it fixes the number of timesteps. frames: so many timesteps of the
    inputs belong to one frame of the Graph, and n_steps counts those; see `rates`.
    """

    n_steps: int
    n_items: int
    axes: dict[str, tuple[int | None, int | None]]
    carried: bool = False
    open_batch: bool = False
    inside: bool = False
    clip: bool = False
    fixed: bool = False
    fixed_time: bool = False
    frames: int = 1


@dataclass
class Binding:
    """Elements of a state input that are the initial state of a recurrent node's state."""

    state: str
    elements: np.ndarray
    final: np.ndarray
    node: OnnxNode


class Known:
    """The elements of state inputs that are some recurrent node's state: of which, and where there."""

    def __init__(self, bindings: Sequence[Binding] = ()) -> None:
        #: (state of a recurrent node, its shape)
        self.states = [(binding.state, binding.elements.shape) for binding in bindings]
        parts = [binding.elements.ravel() for binding in bindings]
        flat = np.concatenate([np.zeros(0, np.int64), *parts])[::-1]  # what is bound twice is the last one's
        self.elements, last = np.unique(flat, return_index=True)
        owner = np.repeat(np.arange(len(parts)), np.array([part.size for part in parts], np.int64))[::-1]
        place = np.concatenate([np.zeros(0, np.int64), *(np.arange(part.size) for part in parts)])[::-1]
        self.owner, self.place = owner[last], place[last]

    def has(self, elements: np.ndarray) -> np.ndarray:
        """Which elements are such."""
        if not self.elements.size:
            return np.zeros(elements.shape, bool)
        return np.isin(elements, self.elements, kind="sort")

    def where(self, elements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(number of the state, place there) of elements that are such."""
        at = np.searchsorted(self.elements, elements)
        return self.owner[at], self.place[at]


@dataclass
class Place:
    """How a Graph input or output lies in its ONNX tensor: the tensor's layout, the Graph's name and frame shape."""

    layout: Layout
    name: str
    frame: tuple[int, ...]
    dtype: str = "float32"


@dataclass
class Walk(ABC):
    """What a handler is given: the reading, the Graph under construction, every value so far.

    `position` is the index of the node in work, so that the search can tell which reading got furthest.
    """

    program: Program
    reading: Reading
    #: found by a walk before
    known: Known = field(default_factory=Known)

    def __post_init__(self) -> None:
        self.values: dict[str, Operand] = dict(self.program.constants)
        self.held = self.program.effort.held(self._live)
        self.builder = Builder(self.program.name, self.reading.n_steps, self.reading.n_items)
        self.builder.read_state = self._read_state
        self.counters = Counters(self.builder)
        self.evaluator = Evaluator()
        self.position = 0
        self.n_traced = 0
        self.n_walked = 0
        #: whether a recurrent node was refused for what it may do where `reading.inside`
        self.wants_inside = False
        #: what Scans of one round end with, which are walked as their nodes
        self.ends_of_a_round: set[str] = set()
        self.inputs: dict[str, Place] = {}
        self.state_tensors: dict[str, Tensor] = {}
        #: what is known to be a mean over time
        self.means: list[Mean] = []
        self.bindings: list[Binding] = []
        #: how many of the first frames a convolution along time without padding has left out
        self.left_out = 0
        #: how many of the first frames something that goes on from frame to frame has not been given
        self.begins_at = 0
        #: output -> how many of the first frames it does not have
        self.missing: dict[str, int] = {}
        #: whether a frame may have several rows of a tensor's time; see `rates`
        self.has_rates = self.reading.frames > 1
        #: by how much longer frames may make sense of what a slice or reshape did
        self.factor = 1
        #: output -> how many timesteps of it a frame of the Graph has
        self.rates: dict[str, int] = {}
        self.shapes_alone = shapes_alone(self.program)
        self.joined = joined(self.program)
        #: state inputs that frame ops read -> which of their elements
        self.reads: dict[str, np.ndarray] = {}

    def _live(self) -> int:
        """Bytes that are held: tables, constants, what the graph has been given."""
        tables = sum(v.n_bytes if isinstance(v, Tensor) else getattr(v, "nbytes", 0) for v in self.values.values())
        return tables + self.builder.graph.n_bytes

    @property
    def n_elements(self) -> int:
        """What the walk has cost so far, nodes aside."""
        return self.n_traced + self.evaluator.n_made

    @property
    def n_nodes(self) -> int:
        """How many nodes were walked, or made of them."""
        return max(self.n_walked, len(self.builder.graph.nodes))

    def count_node(self, node: OnnxNode) -> None:
        """Refuse to go on beyond the limit of nodes, rounds of loops counted as well."""
        self.n_walked += limits.nodes_of(len(node.inputs) + len(node.outputs))
        self.check_nodes(node)
        self._check_work(node)

    def check_nodes(self, node: OnnxNode, n_more: int = 0) -> None:
        """Refuse to walk so many nodes more."""
        if self.n_walked + n_more > limits.MAX_NODES:
            raise TooManyNodes(f"{node.where}: is beyond {limits.MAX_NODES} nodes, loops written out")

    # -- given by the driver, which knows every operator ---------------------------------------------------------------

    @abstractmethod
    def walk_node(self, node: OnnxNode) -> None:
        """Walk one node: of the model, or of a graph inside of one."""

    @abstractmethod
    def made_with(self, name: str) -> set[int]:
        """The numbers that a constant which grows with the length is made with, and the sizes of its tables."""

    @abstractmethod
    def longer(self, name: str, n: int) -> np.ndarray | None:
        """What a constant is with n timesteps more, n below 0 with fewer; None where its nodes do not tell."""

    @abstractmethod
    def apply(self, node: OnnxNode, operands: list[Operand]) -> list[Any]:
        """The results of a node for its operands."""

    def time_axis(self, operand: Any) -> int | None:
        """The axis of a computed tensor along which timesteps lie, if there is one and only one."""
        if not isinstance(operand, Tensor) or not self.builder.sequence or 0 in operand.shape:
            return None
        axes = operand.axes_of_time()
        return axes[0] if len(axes) == 1 else None

    # -- inputs ---------------------------------------------------------------------------------------------------

    def _tensor_of(self, port: Port, base: int, dtype: str) -> Tensor:
        time, batch = self.reading.axes[port.name]
        frames = 1 if time is None else self.reading.frames
        shape = [0] * len(port.dims)
        for axis, n in enumerate(port.dims):
            fixed = {time: self.reading.n_steps * frames, batch: self.reading.n_items}.get(axis, n)
            if isinstance(fixed, str):
                raise UnsupportedError(
                    f"input {port.name!r}: axis {axis} ({fixed or 'no name'}) is neither time nor batch"
                )
            shape[axis] = fixed
        self.builder.check_size(tuple(shape), f"input {port.name!r}")
        room(provenance.n_elements(tuple(n for a, n in enumerate(shape) if a not in (time, batch))), 8)
        self.n_traced += provenance.n_elements(tuple(shape))
        outer = tuple(a for a, n in enumerate(shape) if a in (time, batch) and n > 1)
        places = np.indices([shape[a] for a in outer], sparse=True)
        index: dict[int | None, np.ndarray] = dict(zip(outer, places, strict=True))
        origin = provenance.encode(index[time] // frames if time in index else -1, index.get(batch, -1), 0)
        size = provenance.n_elements(tuple(n for a, n in enumerate(shape) if a not in outer))
        frame = np.arange(base, base + size)
        labels = tuple(
            "T" if a == time and shape[a] == 1 else "N" if a == batch and shape[a] == 1 else ""
            for a in range(len(shape))
        )
        layout = Layout(tuple(shape), outer, origin, labels)
        if time is None or frames == 1:
            return layout.tensor(frame, dtype)
        # a timestep has several rows, one behind the other
        inner = frame.reshape([1 if a in outer else n for a, n in enumerate(shape)])
        row = index[time] % frames * frame.size
        row = row.reshape([-1 if a == time else 1 for a in range(len(shape))])
        origin = origin.reshape([n if a in outer else 1 for a, n in enumerate(shape)])
        return Tensor(np.broadcast_to(origin | (inner + row), shape), labels, dtype)

    def take_inputs(self) -> None:
        """Give every input its tensor."""
        for port in self.program.inputs:
            self._input(port)
        for port in self.program.state_inputs:
            self._state_input(port)
        for name in self.program.length_inputs:
            self.values[name] = Length()

    def _input(self, port: Port) -> None:
        dtype = "int32" if port.dtype in ID_TYPES else "float32"
        time, batch = self.reading.axes[port.name]
        frame = tuple(n for a, n in enumerate(port.dims) if a not in (time, batch))
        if any(isinstance(n, str) for n in frame):
            raise UnsupportedError(
                f"input {port.name!r} has shape {port.dims}: an axis is neither fixed, nor time, nor batch"
            )
        rows = (self.reading.frames,) if time is not None and self.reading.frames > 1 else ()
        frame = (*rows, *frame)
        value = self.builder.graph.input(port.name, frame, dtype)  # type: ignore[arg-type]
        held = "int32" if port.dtype in ID_TYPES else port.dtype
        tensor = self.values[port.name] = self._tensor_of(port, self.builder.source(value).base, held)
        if time is not None and rows:
            one = tensor.codes[(slice(None),) * time + (slice(None, None, self.reading.frames),)]
            tensor = Tensor(one, tensor.labels, held)
        self.inputs[port.name] = Place(tensor.split()[0], value, frame, dtype)  # type: ignore[arg-type]

    def _state_input(self, port: Port) -> None:
        batch = self.reading.axes[port.name][1]
        size = 1
        for axis, n in enumerate(port.dims):
            if axis != batch:
                if isinstance(n, str):
                    raise UnsupportedError(f"state input {port.name!r} has shape {port.dims}: axis {axis} has no size")
                size *= n
        if size > limits.MAX_TRACED_ELEMENTS:
            raise UnsupportedError(
                f"state input {port.name!r} has {size} elements, at most {limits.MAX_TRACED_ELEMENTS}"
            )
        source = self.builder.new_source(port.name, size, is_state=True)
        self.values[port.name] = self.state_tensors[port.name] = self._tensor_of(port, source.base, port.dtype)

    def _read_state(self, elements: np.ndarray) -> np.ndarray:
        """Replace elements of state inputs, used in a frame op, by elements of `state_read` values."""
        builder, result = self.builder, elements.astype(np.int64)
        for source in builder.sources_of(elements):
            if not source.is_state:
                continue
            if builder.sequence:
                raise Mixed(
                    f"state input {source.name!r} is used for more than the initial state of a recurrent node, "
                    "in a model with a time axis"
                )
            mine: Any = (elements >= source.base) & (elements < source.base + source.size)
            if mine.all():
                mine = ...
            self._note_read(source, elements[mine])
            if not self.known.elements.size:
                own = builder.source(self._reader(self.register(source.name, source.size), (source.size,)))
                result[mine] += own.base - source.base
                continue
            read, inverse = provenance.distinct(elements[mine].ravel())
            known = self.known.has(read)
            replaced = np.empty(read.size, np.int64)
            owner, place = self.known.where(read[known])
            for number in dict.fromkeys(owner.tolist()):
                state, shape = self.known.states[number]
                table = builder.elements(self._reader(f"{state}.before", shape)).ravel()
                replaced[np.flatnonzero(known)[owner == number]] = table[place[owner == number]]
            if not known.all():
                own = builder.source(self._reader(self.register(source.name, source.size), (source.size,)))
                replaced[~known] = read[~known] + (own.base - source.base)
            result[mine] = replaced[inverse].reshape(result[mine].shape)
        return result

    def _note_read(self, source: Source, elements: np.ndarray) -> None:
        read = self.reads.setdefault(source.name, np.zeros(source.size, bool))
        for part in provenance.parts(elements.size):
            read[elements.reshape(-1)[part] - source.base] = True

    def register(self, name: str, size: int) -> str:
        """The Graph state that holds a state input whole."""
        state = f"{name}.value"
        if state not in self.builder.graph.states:
            self.builder.graph.state(state, (size,))
        return state

    def keep_before(self) -> None:
        """Write what frame ops read of recurrent nodes' states, which are their own, into registers beside them."""
        builder = self.builder
        for binding in self.bindings:
            state = f"{binding.state}.before"
            if state in builder.graph.states:
                value = builder.value(binding.final, binding.elements.shape)
                builder.graph.add("state_write", [value], name=builder.name("write"), states=[state])

    def _reader(self, state: str, shape: tuple[int, ...]) -> str:
        graph = self.builder.graph
        for node in graph.nodes:
            if node.op == "state_read" and node.states == (state,):
                return node.outputs[0]
        if state not in graph.states:
            graph.state(state, shape)
        return graph.add("state_read", [], name=self.builder.name("read"), states=[state])

    # -- limits and sizes -----------------------------------------------------------------------------------------

    def stands_for_more(self, x: Tensor, axis: int) -> bool:
        """Whether an axis of size 1 is time or batch of which the model takes more than the one of a step."""
        one_step = self.reading.carried and self.reading.fixed_time
        return x.labels[axis] == "N" or (x.labels[axis] == "T" and not one_step)

    def say_too_much(self, error: TooMuch) -> str:
        """What to say of an array that is not made."""
        return too_much(error, self.held.limit)

    def count(self, node: OnnxNode, shape: tuple[int, ...], outer: tuple[int, ...] = ()) -> None:
        """Refuse what would need too much memory or time. outer: axes along which nothing is done."""
        self.builder.check_size(shape, f"{node.where}")
        self.n_traced += provenance.n_elements(tuple(n for a, n in enumerate(shape) if a not in outer))
        if self.n_traced > limits.MAX_TRACED_TOTAL:
            message = f"the tensors up to here have more than {limits.MAX_TRACED_TOTAL} elements together"
            raise TooLarge(f"{node.where}: {message}")
        self._check_work(node)

    def _check_work(self, node: OnnxNode) -> None:
        """Refuse to go on where this walk, after all before, takes much more than the load may."""
        effort = self.program.effort
        spent = effort.used + self.n_elements + self.n_walked * limits.ELEMENTS_PER_NODE
        if spent > effort.work + limits.EFFORT:
            node.unsupported(
                "the nodes and elements of tensors up to here are more work than a file of this size may be"
            )
