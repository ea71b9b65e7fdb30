# SPDX-License-Identifier: MIT
"""The Graph under construction: numbers the elements of its values, makes real what movement ops left to be read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ....budget import room
from ....errors import UnsupportedError
from ....ir.graph import Graph
from ....ir.ops import OPS
from ..file import limits
from ..retry import TooLarge
from . import provenance
from .provenance import Layout, Tensor

#: element number of "zero", for movement ops that fill
ZERO = 0


@dataclass
class Source:
    """Numbers [base, base + size) are the elements of `name`: a Graph value, or a state input of the ONNX model."""

    base: int
    size: int
    name: str
    is_state: bool = False


class Builder:
    """Holds the Graph and knows which numbers its values' elements have.

    n_steps, n_items: sizes of time and batch that this walk tries.
    sequence: time has more than one step, so codes tell timesteps apart, and a value without a timestep is final
    (it exists once per sequence); otherwise everything belongs to the one step that the model computes.
    """

    def __init__(self, name: str, n_steps: int, n_items: int) -> None:
        self.graph = Graph(name)
        self.n_steps, self.n_items = n_steps, n_items
        self.sequence = n_steps > 1
        #: states that hold what is pooled over time, of which the order does not count
        self.pooled: set[str] = set()
        #: nodes, for messages, that round to 8 bits in the file and not here, for the range is a whole sequence's
        self.unrounded: list[str] = []
        self.sources: list[Source] = [Source(ZERO, 1, "")]
        self._bases: list[int] = [ZERO]
        self._has_states = False
        self._of_value: dict[str, Source] = {}
        #: digest of element numbers, shape -> the value made of them
        self._made: dict[tuple[bytes, tuple[int, ...] | None], str] = {}
        self._counts: dict[str, int] = {}
        self._derived: dict[tuple[str, str | bytes, bool], Source] = {}
        self._gates: dict[int, str] = {}
        #: numbers of the constants that `constant` has made, by name
        self.numbers: dict[str, np.ndarray] = {}
        #: values that are known while loading, among the outputs of the first nodes
        self._known: set[str] = set()
        self._n_seen = 0
        #: reads elements of a state input as a frame: given by `states`
        self.read_state: Callable[[np.ndarray], np.ndarray] | None = None

    # -- names and numbers ----------------------------------------------------------------------------------------

    def name(self, op: str) -> str:
        """The next free name for a node: lstm_1, lstm_2 ..."""
        while True:
            self._counts[op] = self._counts.get(op, 0) + 1
            name = f"{op}_{self._counts[op]}"
            if self.graph.unique_name(name) == name:
                return name

    def source(self, value: str) -> Source:
        """The source of a Graph value, numbered when first asked for."""
        if value not in self._of_value:
            self._of_value[value] = self.new_source(value, self.graph.values[value].size)
        return self._of_value[value]

    def new_source(self, name: str, size: int, is_state: bool = False) -> Source:
        last = self.sources[-1]
        source = Source(last.base + last.size, size, name, is_state)
        if source.base + size >= provenance.MAX_ELEMENTS:
            raise UnsupportedError(f"the graph has more than {provenance.MAX_ELEMENTS} elements in its values")
        self.sources.append(source)
        self._has_states |= is_state
        self._bases.append(source.base)
        return source

    def elements(self, value: str) -> np.ndarray:
        """Element numbers of a Graph value, in its shape."""
        source = self.source(value)
        room(source.size)
        return np.arange(source.base, source.base + source.size).reshape(self.graph.shape(value))

    def sources_of(self, elements: np.ndarray) -> list[Source]:
        """The sources of element numbers, in order of first appearance."""
        if elements.size == 0:
            return []
        low, high = (bisect_right(self._bases, int(e)) - 1 for e in (elements.min(), elements.max()))
        if low == high:
            return [self.sources[low]]
        flat = elements.reshape(-1)
        bases = np.array(self._bases[low : high + 1])
        first: dict[int, int] = {}
        for part in provenance.parts(flat.size):
            places = np.searchsorted(bases, flat[part], side="right") - 1
            for place in np.flatnonzero(np.bincount(places)).tolist():
                if place not in first:
                    first[place] = part.start + int((places == place).argmax())
        return [self.sources[low + place] for place in sorted(first, key=first.__getitem__)]

    def source_at(self, element: int) -> Source:
        return self.sources[bisect_right(self._bases, element) - 1]

    # -- making values --------------------------------------------------------------------------------------------

    def add(self, op: str, inputs: list[str], **settings: object) -> str:
        """Add a node of one output, named after its op."""
        return self.graph.add(op, inputs, name=self.name(op), **settings)  # type: ignore[arg-type]

    def constant(self, array: np.ndarray) -> np.ndarray:
        """Element numbers of a constant, in its shape; equal numbers inside it share one element where many are."""
        array = np.asarray(array, np.float32)
        unique, inverse = np.unique(array, return_inverse=True)
        if 2 * unique.size > array.size:  # in its own order it need not be gathered, frame after frame
            unique, inverse = array.ravel(), np.arange(array.size)
        key = ("constant", unique.tobytes(), False)
        if key not in self._derived:
            self._derived[key] = self.source(self.add("constant", [], weights={"value": unique}))
            self.numbers[self._derived[key].name] = unique
        return self._derived[key].base + inverse.reshape(array.shape)

    def value(self, elements: np.ndarray, shape: tuple[int, ...] | None = None, dtype: str = "float32") -> str:
        """A Graph value with these elements: of `shape`, or of any shape with that order of elements when None.

        Whole values are used as they are, several of them become `concat`, parts of one or several `select`.
        """
        if self._has_states and self.read_state is not None and any(s.is_state for s in self.sources_of(elements)):
            elements = self.read_state(elements)
        room(elements.size, elements.itemsize + 4)
        flat = elements.reshape(-1)
        source = self.source_at(int(flat[0])) if flat.size else self.sources[ZERO]
        is_whole = (
            source.base != ZERO and flat.size == source.size and flat[0] == source.base and provenance.is_run(flat)
        )
        if is_whole and (shape is None or self.graph.shape(source.name) == shape):
            return source.name
        hashed = blake2b()
        for part in provenance.parts(flat.size):
            hashed.update(np.ascontiguousarray(flat[part], np.int64).data)
        digest = hashed.digest()
        key: tuple[bytes, tuple[int, ...] | None] = (digest, None)
        if key not in self._made:
            self._made[key] = source.name if is_whole else self._gather(flat, shape, dtype)
        value = self._made[key]
        if shape is None or self.graph.shape(value) == shape:
            return value
        key = (digest, shape)
        if key not in self._made:
            self._made[key] = self.add("reshape", [value], attrs={"shape": shape})
        return self._made[key]

    def _gather(self, flat: np.ndarray, shape: tuple[int, ...] | None, dtype: str) -> str:
        sources, zero = self.sources_of(flat), ZERO
        if any(s.base == ZERO for s in sources):
            zero = int(self.constant(np.zeros(1))[0])
            with_zero = [self.source_at(zero) if s.base == ZERO else s for s in sources]
            sources = list({s.base: s for s in with_zero}.values())
        names, starts = [s.name for s in sources], np.cumsum([0, *(s.size for s in sources)])
        bases = np.array(sorted(s.base for s in sources))
        moved = {s.base: int(start) - s.base for s, start in zip(sources, starts, strict=False)}
        shift = np.array([moved[int(base)] for base in bases])
        local = np.empty(flat.size, np.int32)
        for part in provenance.parts(flat.size):
            mine = flat[part].astype(np.int64)
            mine[mine == ZERO] = zero
            local[part] = mine + shift[np.searchsorted(bases, mine, side="right") - 1]
        whole = local.size == starts[-1] and provenance.is_run(local) and local[0] == 0
        if whole and len(names) == 1:
            return names[0]
        if any(self.graph.values[name].dtype != "float32" for name in names):
            raise UnsupportedError(
                f"ids {names[0]!r} are sliced, joined or reordered before their embedding, which is not supported"
            )
        if whole:
            return self.add("concat", names)
        return self.add("select", names, weights={"indices": local.reshape(shape or flat.shape)})

    def computed(self, layout: Layout, value: str) -> Tensor:
        """The tensor whose frame is a Graph value, elements in order."""
        shape = layout.frame_shape
        return layout.tensor(self.elements(value).reshape(shape), self.graph.values[value].dtype)

    # -- time -----------------------------------------------------------------------------------------------------

    def derive(self, op: str, elements: np.ndarray, reverse: bool = False, masked: bool = False) -> np.ndarray:
        """Element numbers after op `last` or `flip` on every value that takes part."""
        result = elements.copy()
        for source in self.sources_of(elements):
            if source.base == ZERO or (not source.is_state and self.graph.values[source.name].once):
                continue
            key = (op, f"{source.name}/{reverse}", masked)
            if key not in self._derived:
                attrs = {"reverse": reverse, "masked": masked} if op == "last" else {}
                self._derived[key] = self.source(self.add(op, [source.name], attrs=attrs))
            mine = (elements >= source.base) & (elements < source.base + source.size)
            result[mine] = elements[mine] - source.base + self._derived[key].base
        return result

    def exists(self, tap: int) -> str:
        """A value (1,) that is 1 where the frame `tap` frames after this one is one of the sequence, else 0."""
        if tap not in self._gates:
            one = self.add("constant", [], weights={"value": np.ones(1, np.float32)})
            window = self.add("window", [one], attrs={"taps": (tap,)})
            self._gates[tap] = self.add("reshape", [window], attrs={"shape": (1,)})
        return self._gates[tap]

    def is_final(self, elements: np.ndarray) -> bool:
        """Whether some element exists only once per sequence, and is no constant."""
        if not self.sequence:
            return False
        return any(
            s.base != ZERO and (s.is_state or (self.graph.values[s.name].once and not self._value_is_constant(s.name)))
            for s in self.sources_of(elements)
        )

    def is_constant(self, elements: np.ndarray) -> bool:
        """Whether all elements are known while loading."""
        return all(
            s.base == ZERO or (not s.is_state and self._value_is_constant(s.name)) for s in self.sources_of(elements)
        )

    def _value_is_constant(self, value: str) -> bool:
        for node in self.graph.nodes[self._n_seen :]:
            op = OPS[node.op]
            of_time = node.states or op.whole_sequence or op.taps(node) != (0,)
            if not of_time and self._known.issuperset(node.inputs):
                self._known.update(node.outputs)
        self._n_seen = len(self.graph.nodes)
        return value in self._known

    def check_size(self, shape: tuple[int, ...], where: str) -> None:
        """Refuse a computed tensor beyond the limit."""
        if provenance.n_elements(shape) > limits.MAX_TRACED_ELEMENTS:
            raise TooLarge(f"{where}: a tensor of shape {shape} is beyond {limits.MAX_TRACED_ELEMENTS} elements")
