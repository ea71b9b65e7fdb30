# SPDX-License-Identifier: MIT
"""Loops that count their rounds themselves, as loops of a number of rounds.

Exporters of `while i < n` write a Loop without a trip count, or with the largest one, that carries a counter and n, and
whose condition compares them. What stays the same is taken from outside instead, the counter becomes the number of the
round, and where the condition compares the two, the number of rounds is computed before the loop begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ..file.nodes import Body, OnnxNode, needed, wrap
from ..traits import traits

#: operator set of the nodes that are added, in which Min and Max take integers
_OPSET = 13
#: more rounds than any sequence has timesteps
_ENDLESS = 2**31 - 1
#: dtypes of counters, as ONNX numbers them: uint8, int8, uint16, int16, int32, int64, uint32, uint64
_COUNTERS = (2, 3, 4, 5, 6, 7, 12, 13)
#: what leaves a number as it is, in another dtype or shape
_SAME_NUMBER = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze")
Types = Callable[[str], Any]

#: comparison -> (whether the counter stands on the right, what is added to the limit)
_NEGATED = {"Less": "GreaterOrEqual", "LessOrEqual": "Greater", "Greater": "LessOrEqual", "GreaterOrEqual": "Less"}
_COMPARISONS = {
    "Less": (False, 0),
    "LessOrEqual": (False, 1),
    "Greater": (True, 0),
    "GreaterOrEqual": (True, 1),
}


def counted(onnx: Any, node: OnnxNode, constants: dict[str, np.ndarray], types: Types) -> list[OnnxNode]:
    """A Loop with what counts its rounds taken out of it, and the nodes that are needed before and behind it; the Loop
    alone, where it counts nothing. types: the TypeProto of a value, None where it is not known.
    """
    return _Loop(onnx, node, constants, types).rewritten()


@dataclass
class _Counter:
    """What a round adds `step` to, 1 or -1; `value`: what it starts with, where that is known."""

    start: str
    step: int
    value: int | None
    dtype: Any
    shape: tuple[int, ...]


@dataclass
class _Limit:
    """A loop ends after `value` - `number` rounds, of a value that is rounded down or up, and after one at least."""

    value: str
    number: int
    down: bool = False


@dataclass
class _Loop:
    onnx: Any
    node: OnnxNode
    constants: dict[str, np.ndarray]
    types: Types
    before: list[OnnxNode] = field(default_factory=list)
    behind: list[OnnxNode] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.body = self.node.bodies["body"]
        self.makers = {name: maker for maker in self.body.nodes for name in maker.outputs if name}
        self.n_carried = max(len(self.node.inputs) - 2, 0)

    def rewritten(self) -> list[OnnxNode]:
        body, node = self.body, self.node
        if len(body.inputs) != 2 + self.n_carried or len(body.outputs) < 1 + self.n_carried:
            return [node]  # the walk refuses it
        same = {i: node.inputs[2 + i] for i in range(self.n_carried) if self._is_same(i)}
        counters = {i: c for i in range(self.n_carried) if i not in same and (c := self._counter(i))}
        outside = {body.inputs[2 + i]: name for i, name in same.items()}
        limits = self._limits({body.inputs[2 + i]: c for i, c in counters.items()}, outside)
        rounds = "" if limits is None else self._rounds(limits)
        if not rounds:  # how often it runs is not known, so neither is where a counter ends
            counters, limits, rounds = {}, None, node.inputs[0]
        if not same and not counters and not limits:
            return [node]
        inner = [self._node("Identity", [name], body.inputs[2 + i]) for i, name in same.items()]
        for i, counter in counters.items():
            inner += self._number(counter, body.inputs[2 + i])
            self._end(counter, rounds, node.outputs[i] if i < len(node.outputs) else "")
        for i, name in same.items():
            if i < len(node.outputs) and node.outputs[i]:
                self.behind.append(self._node("Identity", [name], node.outputs[i]))
        kept = [i for i in range(self.n_carried) if i not in same and i not in counters]
        outputs = [*node.outputs, *[""] * self.n_carried]
        node.outputs = [*(outputs[i] for i in kept), *node.outputs[self.n_carried :]]
        node.inputs = [rounds, *node.inputs[1:2], *(node.inputs[2 + i] for i in kept)]
        goes_on = body.outputs[0]
        if limits:
            goes_on = self._constant("goes_on", np.array(True))
        body.inputs = [*body.inputs[:2], *(body.inputs[2 + i] for i in kept)]
        results = [goes_on, *(body.outputs[1 + i] for i in kept), *body.outputs[1 + self.n_carried :]]
        node.bodies["body"] = Body(body.inputs, needed([*inner, *body.nodes], results), results)
        return [*self.before, node, *self.behind]

    # -- what is carried ------------------------------------------------------------------------------------------

    def _is_same(self, i: int) -> bool:
        """Whether a carried value comes out as it went in."""
        return self._root(self.body.outputs[1 + i], ("Identity",)) == self.body.inputs[2 + i]

    def _counter(self, i: int) -> _Counter | None:
        """A carried integer that grows, or falls, by 1 in each round."""
        start, steps = self.node.inputs[2 + i], self._steps(self.body.outputs[1 + i], self.body.inputs[2 + i])
        if steps not in (1, -1):
            return None
        array = self.constants.get(start)
        if array is not None:
            if array.dtype.kind not in "iu" or array.size != 1:
                return None
            dtype = self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            return _Counter(start, steps, int(array.reshape(())), dtype, array.shape)
        kind = self.types(start)
        if kind is None or not kind.tensor_type.HasField("shape") or kind.tensor_type.elem_type not in _COUNTERS:
            return None
        shape = tuple(d.dim_value for d in kind.tensor_type.shape.dim)  # 0 where it is open
        return _Counter(start, steps, None, kind.tensor_type.elem_type, shape) if prod(shape) == 1 else None

    def _steps(self, value: str, counter: str) -> int | None:
        """By how much a value is more than a counter; None where it is no such sum."""
        total = 0
        for _ in range(len(self.body.nodes) + 1):
            value = self._root(value, _SAME_NUMBER)
            if value == counter:
                return total
            maker = self.makers.get(value)
            if maker is None or maker.op not in ("Add", "Sub"):
                return None
            known = [self._integer(name) for name in maker.inputs]
            if known[1] is not None:
                total, value = total + (known[1] if maker.op == "Add" else -known[1]), maker.inputs[0]
            elif known[0] is not None and maker.op == "Add":
                total, value = total + known[0], maker.inputs[1]
            else:
                return None
        return None

    def _integer(self, name: str) -> int | None:
        array = self.constants.get(name)
        if (
            array is None
            or array.size != 1
            or (array.dtype.kind == "f" and array.reshape(()) != int(array.reshape(())))
        ):
            return None
        return int(array.reshape(()))

    def _root(self, name: str, through: tuple[str, ...]) -> str:
        while (maker := self.makers.get(name)) is not None and maker.op in through:
            name = maker.inputs[0]
        return name

    # -- how often it runs ----------------------------------------------------------------------------------------

    def _limits(self, counters: Mapping[str, _Counter], outside: Mapping[str, str]) -> list[_Limit] | None:
        """A limit for each comparison that the condition is made of; None where it is made of anything else."""
        zero = self._constant("zero", np.array(0, np.int64))
        counters = {self.body.inputs[0]: _Counter(zero, 1, 0, self.onnx.TensorProto.INT64, ()), **counters}
        pairs: list[_Limit] = []
        waiting = [(self.body.outputs[0], False)]
        while waiting:
            name, negated = waiting.pop()
            name = self._root(name, ("Identity", "Reshape", "Squeeze", "Unsqueeze"))
            known = self.constants.get(name)
            if (name == self.body.inputs[1] and not negated) or (known is not None and bool((known != negated).all())):
                continue
            maker = self.makers.get(name)
            if maker is not None and maker.op == "Not":
                waiting.append((maker.inputs[0], not negated))
                continue
            if maker is not None and maker.op == ("Or" if negated else "And"):
                waiting += [(used, negated) for used in maker.inputs]
                continue
            limit = None if maker is None else self._limit(maker, negated, counters, outside)
            if limit is None:
                return None
            pairs.append(limit)
        return pairs

    def _limit(
        self, maker: OnnxNode, negated: bool, counters: Mapping[str, _Counter], outside: Mapping[str, str]
    ) -> _Limit | None:
        if maker.op not in _COMPARISONS:
            return None
        turned, more = _COMPARISONS[_NEGATED[maker.op] if negated else maker.op]
        for (number, limit), grows in ((maker.inputs, 1), (maker.inputs[::-1], -1)):
            for name, counter in counters.items():
                steps = self._steps(number, name)
                if steps is None or counter.step != (-grows if turned else grows):
                    continue
                hoisted = self._hoisted(limit, outside)
                if hoisted is None:
                    return None
                first = steps * counter.step - 1 - more
                if counter.step == 1 and counter.value is not None:
                    return _Limit(hoisted, counter.value + first, more == 1)
                return _Limit(self._distance(counter, hoisted), first, more == 1)
        return None

    def _distance(self, counter: _Counter, limit: str) -> str:
        """The value that says how far a limit is from where a counter starts."""
        known = self.constants.get(limit)
        if counter.value is not None and known is not None and known.size == 1:
            distance = float(known.reshape(())) - counter.value
            return self._constant(f"far_{len(self.before)}_{limit}", np.array(distance * counter.step))
        start, end, far = (self._new(f"{what}_{len(self.before)}") for what in ("start", "end", "far"))
        double = self.onnx.TensorProto.DOUBLE
        self.before += [
            self._node("Cast", [counter.start], start, to=double),
            self._node("Cast", [limit], end, to=double),
        ]
        self.before.append(self._node("Sub", [end, start] if counter.step == 1 else [start, end], far))
        return far

    def _hoisted(self, value: str, outside: Mapping[str, str]) -> str | None:
        """A value that is the same in all rounds, computed before the loop; None where it is not."""
        if value in outside:
            return outside[value]
        if value in self.body.inputs:
            return None
        maker = self.makers.get(value)
        if maker is None:
            return value
        if maker.bodies or not traits(maker.op).pure:
            return None
        hoisted = [self._hoisted(name, outside) if name else "" for name in maker.inputs]
        inputs = [name for name in hoisted if name is not None]
        if len(inputs) < len(hoisted):
            return None
        outputs = [self._new(f"before_{name}") if name else "" for name in maker.outputs]
        proto = type(maker.proto)()
        proto.CopyFrom(maker.proto)
        del proto.input[:], proto.output[:]
        proto.input.extend(inputs)
        proto.output.extend(outputs)
        self.before.append(wrap(self.onnx, proto, maker.opset))
        return outputs[maker.outputs.index(value)]

    def _rounds(self, limits: list[_Limit]) -> str:
        """The value that holds the number of rounds; "" where it has no bound, or a sequence could outrun one of them.

        A loop that ends at the length of the sequence, or at 1,000, ends for a long one where a stream goes on.
        """
        given = self.node.inputs[0]
        if not limits:
            return given
        parts, known = [], []
        array = self.constants.get(given)
        if array is None:
            parts += [given] if given else []
        elif array.size == 1:
            known.append(max(min(int(array.reshape(())), _ENDLESS), 0))
        rest: list[_Limit] = []
        for limit in limits:
            array = self.constants.get(limit.value)
            if array is None:
                rest.append(limit)
            elif array.size != 1 or not np.isfinite(array).all():
                return ""
            else:
                end = np.floor(array.reshape(())) if limit.down else np.ceil(array.reshape(()))
                known.append(max(min(int(end), _ENDLESS) - limit.number, 1))
        if not parts and not rest:
            return self._constant("rounds", np.array(min(known), np.int64))
        if min(known, default=_ENDLESS) < _ENDLESS:
            return ""
        for i, limit in enumerate(rest):
            whole, rounded, integer, one, fewer, rounds = (
                self._new(f"{what}_{i}") for what in ("whole", "rounded", "integer", "one", "fewer", "rounds")
            )
            scalar = self._constant(f"scalar_{i}", np.zeros(0, np.int64))
            taken = self._constant(f"taken_{i}", np.array(limit.number, np.int64))
            lowest = self._constant(f"lowest_{i}", np.array(1, np.int64))
            kinds = self.onnx.TensorProto
            self.before += [  # a limit may be 2.5
                self._node("Cast", [limit.value], whole, to=kinds.DOUBLE),
                self._node("Floor" if limit.down else "Ceil", [whole], rounded),
                self._node("Cast", [rounded], integer, to=kinds.INT64),
                self._node("Reshape", [integer, scalar], one),
                self._node("Sub", [one, taken], fewer),
                self._node("Max", [fewer, lowest], rounds),
            ]
            parts.append(rounds)
        if len(parts) > 1:
            name = self._new("rounds")
            self.before.append(self._node("Min", parts, name))
            return name
        return parts[0] if parts else ""

    # -- what stands in its place ---------------------------------------------------------------------------------

    def _number(self, counter: _Counter, name: str) -> list[OnnxNode]:
        """The counter in a round: where it starts, and the number of the round more, or fewer."""
        cast, shaped = (self._new(f"{name}_{what}") for what in ("number", "shaped"))
        shape = self._constant(f"{name}_shape", np.array(counter.shape, np.int64))
        return [
            self._node("Cast", [self.body.inputs[0]], cast, to=counter.dtype),
            self._node("Reshape", [cast, shape], shaped),
            self._node("Add" if counter.step == 1 else "Sub", [counter.start, shaped], name),
        ]

    def _end(self, counter: _Counter, rounds: str, output: str) -> None:
        """What the counter is behind the loop."""
        if not output:
            return
        going = self.node.inputs[1] if len(self.node.inputs) > 1 else ""
        cast = self._new(f"{output}_rounds")
        if going and self.constants.get(going) is None:  # it may not have begun
            none, run = self._constant(f"{output}_none", np.array(0, np.int64)), self._new(f"{output}_run")
            self.behind.append(self._node("Where", [going, rounds, none], run))
            rounds = run
        self.behind += [
            self._node("Cast", [rounds], cast, to=counter.dtype),
            self._node("Add" if counter.step == 1 else "Sub", [counter.start, cast], output),
        ]

    def _new(self, what: str) -> str:
        return f"{self.node.name}.{what}"

    def _constant(self, what: str, array: np.ndarray) -> str:
        name = self._new(what)
        self.constants[name] = array
        return name

    def _node(self, op: str, inputs: list[str], output: str, **attrs: Any) -> OnnxNode:
        return wrap(self.onnx, self.onnx.helper.make_node(op, inputs, [output], name=output, **attrs), _OPSET)


__all__ = ["counted"]
