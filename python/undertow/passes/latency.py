# SPDX-License-Identifier: MIT
"""Look-ahead as latency: a Graph whose windows reach into the future, rewritten so that a stream can run it.

In a Graph, frame t of a window may hold frames after t. A stream has not seen them: it gives frame t when the last of
them is there. Every value so gets a latency, the number of frames by which a stream computes it later. Where values of
different latency meet, a window with one tap in the past delays the earlier one, and all outputs end at one latency.

Frames before the first and after the last are none of the sequence, but a stream computes something there: zeros that
`flush` pushes, and what biases make of them. Where that could be seen, a gate tells the frames of the sequence from the
others: `present` is 1 for the frames that a stream was given, and delayed by d it is the gate of what is d frames late.
"""

from __future__ import annotations

from ..errors import UnsupportedError
from ..ir.graph import Graph, Node
from ..ir.ops import MAX_TAP, OPS

#: latency by value name; None: a constant, which is never late
Latencies = dict[str, int | None]


def lower(graph: Graph) -> Graph:
    """Give a graph that computes what `graph` does, `latency` frames later with windows of the past alone.

    A graph with whole-sequence ops, whose windows see everything anyway, and one without windows are given back as they
    are; so is one that was lowered before.

    Raises:
        UnsupportedError: a loop over a state looks ahead; or a frame of ids would have to be delayed. Both by name.
    """
    raw = [node for node in graph.nodes if not node.states and OPS[node.op].taps(node) != (0,)]
    if not raw or graph.whole_sequence_nodes():
        return graph
    if any(node.op == "present" for node in graph.nodes):
        raise UnsupportedError(
            f"{raw[0].op} {raw[0].name!r}: was added to a graph that knows its latency already; add it before compiling"
        )
    return _Lowering(graph).lowered()


def latencies(graph: Graph) -> Latencies:
    """The latency of every value of a graph that has not been lowered.

    Raises:
        UnsupportedError: a loop over a state looks ahead, so no latency is enough; names the state.
    """
    of_state = dict.fromkeys(graph.states, 0)
    most = sum(max(0, OPS[node.op].taps(node)[-1]) for node in graph.nodes)
    while True:
        late = _walk(graph, of_state)
        raised = False
        for node in graph.nodes:
            if not OPS[node.op].writes_register:
                continue
            (state,) = node.states
            needed = late[node.inputs[0]] or 0
            if needed > most:
                raise UnsupportedError(
                    f"state {state!r}: what is written to it looks ahead of what was read from it, so the next frame "
                    "would be needed before this one; look-ahead cannot stand inside a loop over a state"
                )
            if needed > of_state[state]:
                of_state[state], raised = needed, True
        if not raised:
            return late


def _walk(graph: Graph, of_state: dict[str, int]) -> Latencies:
    late: Latencies = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        known = [d for d in (late[v] for v in node.inputs) if d is not None]
        d = max(known, default=None)
        op = OPS[node.op]
        if op.reads_register:
            d = of_state[node.states[0]]
        elif op.may_be_gated(node):
            d = max(0, (d or 0) + op.taps(node)[-1])
        late.update(dict.fromkeys(node.outputs, d))
    return late


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.old = graph
        self.late = latencies(graph)
        self.latency = max(self.late[value] or 0 for value in graph.outputs.values())
        self.anything_late = any(self.late.values())
        self.new = graph.blank()
        self.reserved = {node.name for node in graph.nodes} | set(graph.inputs)
        self.values: dict[str, str] = {}  # of the old graph -> of the new one
        self.delayed: dict[tuple[str, int], str] = {}
        self.gates: dict[int, str] = {}
        if self.latency > MAX_TAP:
            raise UnsupportedError(f"graph {graph.name!r}: a latency of {self.latency} frames, at most {MAX_TAP}")

    def lowered(self) -> Graph:
        for name in self.old.inputs:
            self.new.input(name, self.old.values[name].shape, self.old.values[name].dtype)
            self.new.values[name] = self.old.values[name]
            self.values[name] = name
        for state in self.old.states.values():
            self.new.state(state.name, state.shape, state.init)
        if self.anything_late:
            self.gates[0] = self.new.add("present", name=self._name("present"), attrs={"latency": self.latency})
        for node in self.old.nodes:
            self._add(node)
        for name, value in self.old.outputs.items():
            self.new.output(name, self._output(value))
        return self.new

    def _add(self, node: Node) -> None:
        inputs = [self.values[v] for v in node.inputs]
        known = [d for d in (self.late[v] for v in node.inputs) if d is not None]
        d = max(known, default=0)
        attrs, states = dict(node.attrs), node.states
        if node.op == "window" and not node.states:
            to = self.late[node.outputs[0]] or 0
            attrs["taps"] = tuple(tap + d - to for tap in node.attrs["taps"])
            states = self._past(node.name, attrs["taps"], self.old.shape(node.inputs[0]))
        inputs = [  # those of a window too, which may have a gate that comes earlier, or later, than what it gates
            self._delay(value, d - from_) if (from_ := self.late[old]) is not None else value
            for old, value in zip(node.inputs, inputs, strict=True)
        ]
        op = OPS[node.op]
        zeros_outside = not op.rests and node.inputs[0] in self.old.inputs  # what a flush pushes
        if op.may_be_gated(node) and not zeros_outside and (gate := self._gate(d)):
            if op.is_gated(node):  # a product would leave a gate of NaN or of infinity open behind the end
                gate = [self.new.add("where", [*gate, inputs.pop(), *gate], name=self._name("gate"))]
            inputs += gate
        self.new.add(
            node.op,
            inputs,
            name=node.name,
            attrs=attrs,
            weights=node.weights,
            states=states,
            precisions=node.precisions,
            smoothing=node.smoothing,
        )
        self.values.update({v: v for v in node.outputs})

    def _output(self, old: str) -> str:
        """An output at the latency of all, zeros until its first frame is there."""
        if self.latency == 0:
            return self.values[old]
        if self.old.values[old].dtype != "float32":
            raise UnsupportedError(f"value {old!r}: ids cannot be an output that comes {self.latency} frames later")
        late = self.late[old] or 0
        taps = (late - self.latency,)
        gate = [] if old in self.old.inputs else self._gate(late)
        states = self._past(name := self._name("output"), taps, self.old.shape(old))
        window = self.new.add("window", [self.values[old], *gate], name=name, attrs={"taps": taps}, states=states)
        return str(self.new.add("reshape", [window], name=self._name("output"), attrs={"shape": self.old.shape(old)}))

    def _delay(self, value: str, by: int) -> str:
        """`value` by some frames later; what it is outside of the sequence is for whoever takes it to gate."""
        if by == 0:
            return value
        if (value, by) not in self.delayed:
            shape = self.new.shape(value)
            if self.new.values[value].dtype != "float32":
                raise UnsupportedError(f"value {value!r}: ids meet what comes {by} frames later, and cannot wait")
            taps = (-by,)
            states = self._past(name := self._name("delay"), taps, shape)
            late = self.new.add("window", [value], name=name, attrs={"taps": taps}, states=states)
            self.delayed[value, by] = self.new.add("reshape", [late], name=self._name("delay"), attrs={"shape": shape})
        return self.delayed[value, by]

    def _gate(self, d: int) -> list[str]:
        """The gate of what is d frames late, where there are frames that are none of the sequence."""
        if not self.anything_late or (d == 0 and self.latency == 0):
            return []
        if d not in self.gates:
            states = self._past(name := self._name("gate"), (-d,), (1,))
            late = self.new.add("window", [self.gates[0]], name=name, attrs={"taps": (-d,)}, states=states)
            self.gates[d] = self.new.add("reshape", [late], name=self._name("gate"), attrs={"shape": (1,)})
        return [self.gates[d]]

    def _past(self, name: str, taps: tuple[int, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        return (self.new.state(f"{name}.past", (-taps[0], *shape)),) if taps[0] < 0 else ()

    def _name(self, name: str) -> str:
        """A name that no node of the old graph has."""
        candidate, n = name, 2
        while candidate in self.reserved or self.new.unique_name(candidate) != candidate:
            candidate, n = f"{name}_{n}", n + 1
        self.reserved.add(candidate)
        return candidate
