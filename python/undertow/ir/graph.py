# SPDX-License-Identifier: MIT
"""The graph that importers fill and the compiler lowers: frames, states and the nodes between them.

A value is a **frame**: the part of a tensor that belongs to one timestep (batch and time axes removed), of dtype
float32, or int32 for the ids of an embedding. A value marked `once` is given once per sequence instead of once per
timestep (a constant, or the last frame of a whole sequence). Nodes are held in an order in which they can run.

>>> from undertow.ir.graph import Graph
>>> import numpy as np
>>> g = Graph("demo")
>>> x = g.input("x", (3,))
>>> y = g.add("dense", [x], name="head", weights={"W": np.ones((2, 3)), "b": np.zeros(2)})
>>> g.output("y", y)
>>> g
Graph 'demo'
  input   x  (3,) float32
  head  dense  x -> head.out  (2,) float32
  output  y = head.out
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from .._text import escaped, listed, nearest, quoted, shown
from ..budget import WEIGHT_BYTES, room, watch
from ..errors import ShapeError, UnsupportedError
from . import loops
from .activations import KINDS
from .nodes import Node, State, Value
from .ops import OPS
from .origin import Origin

AnyGraph = TypeVar("AnyGraph", bound="Graph")


class Graph:
    """A recurrent network as nodes over frames, whose values are names: what importers make and `Model.graph` gives.
    One to write by hand, whose values have operators, is `undertow.Graph`.

    Build it with `input`, `state`, `add` (or a layer's `add_to(graph, value)`) and `output`; `Model.from_graph` takes
    it as it stands.

    Args:
        name: of the model that it becomes.

    Attributes:
        inputs: names of the values that are given from outside.
        outputs: name that the user sees -> value.
        values, states: name -> `Value`, `State`.
        nodes: in an order in which they can run.

    >>> from undertow.ir.graph import Graph
    >>> g = Graph("differences")
    >>> x = g.input("x", 2)
    >>> before = g.add("state_read", states=[g.state("before", 2)])
    >>> g.add("state_write", [x], states=["before"])
    >>> g.output("y", g.add("sub", [x, before]))
    >>> undertow.Model.from_graph(g).run(np.float32([[1, 1], [4, 3]]))
    array([[1., 1.],
           [3., 2.]], dtype=float32)
    """

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self.values: dict[str, Value] = {}
        self.states: dict[str, State] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        #: name that the user sees -> value
        self.outputs: dict[str, str] = {}
        #: timesteps of the inputs and of the outputs in one frame, more than 1 where the model strides along time
        self.frames_in = self.frames_out = 1
        #: samples per second of the sound that the model hears; None where that is not known, or there is none
        self.sample_rate: int | None = None
        #: where the model came from and what was found in it, a line each
        self.notes: tuple[str, ...] = ()
        #: names of the passes that it has been through (`undertow.passes`)
        self.passed: list[str] = []
        #: what the file held, and which node was made from what
        self.origin = Origin()
        self._read: set[str] = set()  # states that a state_read reads
        self._written: set[str] = set()  # states that a layer owns or a state_write writes
        self._taken: set[str] = set()  # names of nodes, and of what values are named after
        self._stateful: set[str] = set()  # names that states are named after, before their node exists
        watch(self)

    @property
    def source(self) -> str:
        """`notes` as one text, for people; its lines are the notes.

        >>> Graph("g").source
        ''
        """
        return "\n".join(self.notes)

    @source.setter
    def source(self, text: str) -> None:
        self.notes = tuple(text.split("\n")) if text else ()

    def note(self, *notes: str) -> None:
        """Add to `notes`, which say where a graph came from. Each becomes one line, whatever text of a file it quotes.

        >>> g.note("made by hand")
        >>> g.source
        'made by hand'
        """
        self.notes += tuple(map(escaped, notes))

    # -- building ---------------------------------------------------------------------------------------------

    def input(self, name: str, shape: int | Iterable[int], dtype: str = "float32") -> str:
        """Add an input frame, and give the name of its value.

        Args:
            name: by which frames are given to the model.
            shape: of one timestep, without batch and time.
            dtype: "float32", or "int32" for the ids of an embedding.

        Raises:
            UnsupportedError: another dtype. ShapeError: an axis is empty, or the name is taken.

        >>> Graph("g").input("ids", (), dtype="int32")
        'ids'
        """
        if dtype not in ("float32", "int32"):
            raise UnsupportedError(f"input {name!r}: dtype {dtype} is not supported; expected float32 or int32")
        self._new_value(Value(name, _as_shape(shape), dtype))
        self.inputs.append(name)
        return name

    def state(self, name: str, shape: int | Iterable[int], init: np.ndarray | None = None) -> str:
        """Add a state field, and give its name.

        Args:
            name: by which `stream.state` knows it; "layer.h" for the field h of a layer.
            shape: of it.
            init: of the same shape: where a fresh stream starts; zeros unless given.

        Raises:
            ShapeError: the name is taken, or `init` has another shape.

        >>> g.state("memory.level", (2, 3), init=np.ones((2, 3)))
        'memory.level'
        """
        shape = _as_shape(shape)
        if name in self.states:
            raise ShapeError(f"state {name!r} exists already; state names must differ")
        if init is not None:
            init = np.asarray(init, np.float32)
            if init.shape != shape:
                raise ShapeError(f"state {name!r}: initial value has shape {init.shape}, expected {shape}")
        self.states[name] = State(name, shape, init)
        self._stateful.add(name.rpartition(".")[0] or name)
        return name

    def add(
        self,
        op: str,
        inputs: Iterable[str] = (),
        *,
        name: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray | None] | None = None,
        states: Iterable[str] = (),
        precisions: Mapping[str, str] | None = None,
        smoothing: Mapping[str, np.ndarray] | None = None,
    ) -> Any:
        """Add a node and give the name of its output (a tuple of names where an op has several, None for none).

        Args:
            op: its kind; `sorted(undertow.ir.ops.OPS)` lists them, and csrc/FORMAT.md says what each computes.
            inputs: names of values, in the op's order.
            name: of the node; made of the op's unless given, and made unique.
            attrs: settings of the op, by name.
            weights: arrays by name, floats stored as float32; one that is None is left out.
            states: names of the states that it owns, or a register that it reads or writes.
            precisions, smoothing: how a file stores a weight, by its name; see `Node`.

        Raises:
            ShapeError: an input, weight or attribute does not fit; the message names the node.
            UnsupportedError: the op, one of its settings or a precision does not exist.

        >>> half = g.add("affine", [x], name="half", weights={"scale": [0.5, 0.5], "shift": [0, 0]})
        >>> half, g.shape(half)
        ('half.out', (2,))
        """
        if op not in OPS:
            is_kind = f"; it is an activation: op 'activation' with attrs={{'activation': {op!r}}}."
            advice = is_kind if op in KINDS else nearest(op, OPS) or ";"
            raise UnsupportedError(f"op {op!r} does not exist{advice} ops: {', '.join(sorted(OPS))}")
        kind = OPS[op]
        name = self.unique_name(name or op)
        inputs = tuple(inputs)
        for value in inputs:
            if value not in self.values:
                raise ShapeError(f"{op} {quoted(name)}: input {quoted(value)} does not exist")
        for state in states:
            if state not in self.states:
                raise ShapeError(f"{op} {quoted(name)}: state {quoted(state)} does not exist")
            # A layer owns its states; a register may be read often, but written once.
            if (not kind.reads_register and state in self._written) or (not kind.is_register and state in self._read):
                raise ShapeError(
                    f"{op} {quoted(name)}: state {quoted(state)} belongs to another node; give each its own"
                )
        # float64 weights (typed-in examples) become float32 here, once, for every importer alike.
        integers = {weight.key for weight in kind.weights if weight.integers}
        arrays = {
            key: np.asarray(
                w, np.int32 if key in integers and np.asarray(w).dtype.kind in "iu" else np.float32, order="C"
            )
            for key, w in (weights or {}).items()
            if w is not None
        }
        for key, array in arrays.items():
            room(array.size, array.itemsize if key in integers else WEIGHT_BYTES)
        node = Node(
            op,
            name,
            inputs,
            (),
            dict(attrs or {}),
            arrays,
            tuple(states),
            dict(precisions or {}),
            dict(smoothing or {}),
        )
        outputs = kind.infer(self, node)
        kind.check_precisions(node)
        node.outputs = tuple(f"{name}.{suffix}" for suffix, _ in outputs)
        for output, (_, inferred) in zip(node.outputs, outputs, strict=True):
            self._new_value(Value(output, inferred.shape, inferred.dtype, inferred.once))
        self.nodes.append(node)
        self.origin.note(name)
        (self._read if kind.reads_register else self._written).update(node.states)
        self._taken.add(name)
        if len(node.outputs) == 1:
            return node.outputs[0]
        return node.outputs or None

    def output(self, name: str, value: str) -> None:
        """Make a value an output of the model.

        Args:
            name: by which users see it.
            value: name of the value, as `input` and `add` give it.

        Raises:
            ShapeError: no such value, or the name is taken.

        >>> g.output("same", x)
        >>> list(g.outputs)
        ['y', 'same']
        """
        if value not in self.values:
            raise ShapeError(f"output {name!r}: value {value!r} does not exist")
        if name in self.outputs:
            raise ShapeError(f"output {name!r} exists already")
        self.outputs[name] = value

    def unique_name(self, name: str) -> str:
        """`name`, or name_2, name_3 ... when a node, value or another layer's state has it already.

        >>> g.unique_name("sub"), g.unique_name("add")
        ('sub_2', 'add')
        """
        candidate, n = name, 2
        while candidate in self._taken or (n > 2 and candidate in self._stateful):
            candidate, n = f"{name}_{n}", n + 1
        return candidate

    def _new_value(self, value: Value) -> None:
        if value.name in self.values:
            raise ShapeError(f"value {value.name!r} exists already; names must differ")
        self.values[value.name] = value
        self._taken.add(value.name.rpartition(".")[0] or value.name)

    def copy(self) -> Graph:
        """A graph that can be changed without changing this one; the arrays of weights are shared.

        >>> twin = g.copy()
        >>> twin.output("more", x)
        >>> len(twin.outputs), len(g.outputs)
        (2, 1)
        """
        return self._copy_into(Graph(self.name))

    def _copy_into(self, twin: AnyGraph) -> AnyGraph:
        """A new graph, given all that it can hold of this one."""
        for key in vars(twin):
            value = getattr(self, key)
            setattr(twin, key, value if value is None or isinstance(value, (str, int, tuple)) else value.copy())
        twin.states = {name: replace(state) for name, state in self.states.items()}
        twin.nodes = [
            replace(
                node,
                attrs=dict(node.attrs),
                weights=dict(node.weights),
                precisions=dict(node.precisions),
                smoothing=dict(node.smoothing),
            )
            for node in self.nodes
        ]
        return twin

    def blank(self) -> Graph:
        """A graph without values and nodes, of which the same is said.

        >>> len(g.blank().nodes), g.blank().name
        (0, 'differences')
        """
        twin = Graph(self.name)
        twin.frames_in, twin.frames_out, twin.notes = self.frames_in, self.frames_out, self.notes
        twin.sample_rate = self.sample_rate
        return twin

    # -- asking -----------------------------------------------------------------------------------------------

    def shape(self, value: str) -> tuple[int, ...]:
        """The shape of the frame that is named `value`: a tuple, () of one number.

        Raises:
            KeyError: there is no such value.

        >>> g.shape(x)
        (2,)
        """
        return self.values[value].shape

    def whole_sequence_nodes(self) -> list[tuple[Node, str]]:
        """The nodes that need the whole sequence, each with the reason: none of them can be streamed.

        >>> g.whole_sequence_nodes()
        []
        """
        return [(node, reason) for node in self.nodes if (reason := OPS[node.op].needs_whole_sequence(node))]

    def check_registers(self) -> None:
        """Refuse a register whose next value is made, of what it was, by a node that needs the whole sequence; in a
        model that needs it anywhere, by one that looks at other frames, and a register that nothing writes.

        Raises:
            UnsupportedError: names both.

        >>> g.check_registers()                     # nothing to refuse
        """
        if not self.whole_sequence_nodes():
            return
        read, written = (
            {state for node in self.nodes if getattr(OPS[node.op], trait) for state in node.states}
            for trait in ("reads_register", "writes_register")
        )
        if never := sorted(read - written):
            raise UnsupportedError(
                f"state {never[0]!r} is read and never written, beside nodes that need the whole sequence"
            )
        for group in loops.loops(self.nodes):
            for node in group:
                if reason := loops.needs_other_frames(node):
                    state = next(n.states[0] for n in group if OPS[n.op].is_register)
                    raise UnsupportedError(
                        f"{node.op} {node.name!r} needs the whole sequence ({reason}), but state {state!r} is carried "
                        "through it frame by frame"
                    )

    @property
    def latency(self) -> int:
        """Frames by which a stream's outputs come later: of a graph that `passes.latency` has lowered; else 0.

        >>> g.latency
        0
        """
        return next((node.attrs["latency"] for node in self.nodes if node.op == "present"), 0)

    @property
    def n_parameters(self) -> int:
        """Numbers that were learnt, of all nodes.

        >>> undertow.load(undertow.example("digits")).graph.n_parameters
        8746
        """
        return sum(node.n_parameters for node in self.nodes)

    @property
    def n_bytes(self) -> int:
        """About what the arrays of all nodes take until there is a model.

        >>> undertow.load(undertow.example("digits")).graph.n_bytes
        104952
        """
        integers = sum(w.nbytes for node in self.nodes for w in node.weights.values() if w.dtype.kind == "i")
        return integers + WEIGHT_BYTES * self.n_parameters

    def __repr__(self) -> str:
        def show(value: str) -> str:
            v = self.values[value]
            return f"{v.shape} {v.dtype}{' once' if v.once else ''}"

        lines = [f"Graph {quoted(self.name)}"]
        lines += [f"  input   {shown(name)}  {show(name)}" for name in self.inputs]
        lines += [
            f"  state   {shown(s.name)}  {s.shape}{'' if s.init is None else '  (learned start)'}"
            for s in self.states.values()
        ]
        for node in self.nodes:
            shapes = ", ".join(show(v) for v in node.outputs)
            lines.append(
                f"  {shown(node.name)}  {node.op}  {listed(node.inputs)} -> {listed(node.outputs)}  {shapes}"
                + "".join(f"  {key} {precision}" for key, precision in node.precisions.items())
            )
        lines += [f"  output  {shown(name)} = {shown(value)}" for name, value in self.outputs.items()]
        return "\n".join(lines)


def _as_shape(shape: int | Iterable[int]) -> tuple[int, ...]:
    shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    if any(n < 1 for n in shape):
        raise ShapeError(f"a frame of shape {shape} is empty; every axis must be at least 1")
    return shape
