# SPDX-License-Identifier: MIT
"""Recurrences that ONNX and ONNX Runtime have as operators, each said in small ones.

ONNX's own definitions go with some operator sets only, and check nothing; one here serves both domains and all sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..traits import RUNTIME
from .definitions import Parts

_RULES = ("linear", "gated", "delta", "gated_delta")
_ACTIVATIONS = ("none", "silu", "swish")
_FLOAT, _END = 1, 2**31 - 1
_MOST_HEADS = 1 << 16


def check_input(parts: Parts, i: int, what: str, *expected: int | None) -> None:
    """Refuse an input of which a size is known that is not the expected one; None: any."""
    dims = parts.dims(parts.slot(i))
    if dims is None:
        return
    fits = len(dims) == len(expected) and all(None in (a, b) or a == b for a, b in zip(dims, expected, strict=True))
    if not fits:
        shown = ["?" if n is None else n for n in dims]
        wanted = ["any" if n is None else n for n in expected]
        parts.node.shape_error(f"its input {what} has shape {_list(shown)}, expected {_list(wanted)}")


def _list(sizes: list[Any]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def heads(parts: Parts, name: str) -> int:
    """An attribute that says how many heads there are."""
    n = parts.node.attrs.get(name)
    if not isinstance(n, int) or not 1 <= n <= _MOST_HEADS:
        parts.node.format_error(f"attribute {name}={n}, expected 1 to {_MOST_HEADS}")
    return n


def each(parts: Parts, i: int, what: str, name: str, n_heads: int) -> int | None:
    """The size of a head of an input (batch, time, heads times size); None where it is open."""
    check_input(parts, i, what, None, None, None)
    dims = parts.dims(parts.slot(i))
    size = dims[2] if dims is not None else None
    if size is not None and size % n_heads:
        parts.node.shape_error(
            f"its input {what} has {size} channels, which attribute {name}={n_heads} does not divide"
        )
    return None if size is None else size // n_heads


@dataclass
class _Linear:
    """A LinearAttention. n_queries: heads of queries; heads: of states. dk, dv: sizes of a key and of a value."""

    parts: Parts
    rule: str
    n_queries: int
    heads: int
    dk: int | None
    dv: int | None
    scale: float

    @property
    def decays(self) -> bool:
        return self.rule in ("gated", "gated_delta")

    @property
    def is_delta(self) -> bool:
        return self.rule in ("delta", "gated_delta")

    def step(self, parts: Parts, S: str, q: str, k: str, v: str, rest: list[str], lead: list[int]) -> tuple[str, str]:
        """What a timestep gives, of shape (*lead, heads times dv), and the state behind it."""
        rest = list(rest)
        keys = parts.reshape(k, 0, self.heads, -1, 1)
        if self.decays:
            S = parts.add("Mul", S, parts.add("Exp", parts.reshape(rest.pop(0), 0, self.heads, -1, 1)))
        values = parts.reshape(v, 0, self.heads, 1, -1)
        if self.is_delta:
            held = parts.add("MatMul", parts.reshape(k, 0, self.heads, 1, -1), S)
            values = parts.add("Mul", parts.reshape(rest.pop(0), 0, -1, 1, 1), parts.add("Sub", values, held))
        S = parts.add("Add", S, parts.add("Mul", keys, values))
        if self.n_queries < self.heads:  # a query for several states
            copies = [parts.reshape(q, 0, self.n_queries, 1, -1)] * (self.heads // self.n_queries)
            q = parts.add("Concat", *copies, axis=2)
        read = parts.add("MatMul", parts.reshape(q, 0, self.heads, max(self.n_queries // self.heads, 1), -1), S)
        if self.scale != 1:
            read = parts.add("Mul", read, self._factor(parts, k))
        return parts.reshape(read, *lead, -1), S

    def _factor(self, parts: Parts, k: str) -> str:
        if self.scale:
            return parts.constant(np.float32(self.scale))
        if self.dk is not None:
            return parts.constant(np.float32(1 / np.sqrt(self.dk)))
        dims = parts.add("Shape", k)
        last = parts.add("Gather", dims, parts.constant(np.int64(-1)), axis=0)
        size = parts.add("Div", last, parts.constant(np.int64(self.heads)))
        return parts.add("Reciprocal", parts.add("Sqrt", parts.add("Cast", size, to=_FLOAT)))


def linear_attention(parts: Parts) -> None:
    """S = exp(decay) S + beta k (v - k S), y = scale q S, timestep by timestep; what a rule has not is left out.

    q (batch, time, q_num_heads dk), k (.., kv_num_heads dk), v (.., kv_num_heads dv), S (batch, kv_num_heads, dk, dv).
    """
    node = parts.node
    node.allow("chunk_size", "kv_num_heads", "q_num_heads", "scale", "update_rule", "state_window")
    attrs = node.attrs
    if attrs.get("state_window"):
        node.unsupported(f"attribute state_window={attrs['state_window']} is not supported; supported: 0")
    rule = attrs.get("update_rule", "gated_delta")
    if rule not in _RULES:
        node.format_error(f"attribute update_rule={rule!r}, expected one of {', '.join(_RULES)}")
    n_queries, n_heads = heads(parts, "q_num_heads"), heads(parts, "kv_num_heads")
    if n_queries % n_heads and (node.proto.domain != RUNTIME or n_heads % n_queries):
        node.format_error(f"attribute q_num_heads={n_queries} is no multiple of kv_num_heads={n_heads}")
    of_query = each(parts, 0, "query", "q_num_heads", n_queries)
    of_key = each(parts, 1, "key", "kv_num_heads", n_heads)
    dk = of_query if of_key is None else of_key
    dv = each(parts, 2, "value", "kv_num_heads", n_heads)
    check_input(parts, 0, "query", None, None, None if dk is None else dk * n_queries)
    scale = float(attrs.get("scale", 0.0))
    linear = _Linear(parts, rule, n_queries, n_heads, dk, dv, scale)
    if parts.slot(3):
        check_input(parts, 3, "past_state", None, n_heads, dk, dv)
    rest = []
    for i, what, used in ((4, "decay", linear.decays), (5, "beta", linear.is_delta)):
        if used and not parts.slot(i):
            node.format_error(f"lacks its input {what}, which update_rule={rule!r} needs")
        if used:
            _check_gate(parts, i, what, n_heads, dk)
            rest.append(parts.slot(i))
    _walk(linear, rest)


def _check_gate(parts: Parts, i: int, what: str, n_heads: int, dk: int | None) -> None:
    check_input(parts, i, what, None, None, None)
    dims = parts.dims(parts.slot(i))
    size = None if dims is None else dims[2]
    if what == "beta":
        allowed = {1: "one for all heads", n_heads: "one for each head"}
    else:
        allowed = {n_heads: "one for each head", n_heads * (dk or 0): "one for each channel of a key"}
    if size is not None and size not in allowed and (dk is not None or what == "beta"):
        kinds = " or ".join(f"{n} ({text})" for n, text in allowed.items())
        parts.node.shape_error(f"its input {what} has {size} channels, expected {kinds}")


def _walk(linear: _Linear, rest: list[str]) -> None:
    parts = linear.parts
    q, k, v, past = (parts.slot(i) for i in range(4))
    given = parts.dims(q)
    y, present = [*parts.node.outputs, ""][:2]
    S = past or _zeros(linear)
    if given is not None and given[1] == 1:
        read, S = linear.step(parts, S, q, k, v, rest, [0, 1])
        parts.add("Identity", read, gives=y)
        if present:
            parts.add("Identity", S, gives=present)
        return
    inner = parts.inside()
    names = [inner.name(of) for of in ("S", "q", "k", "v", *("gate" for _ in rest))]
    held, q_t, k_t, v_t, *gates = names
    read, state = linear.step(inner, held, q_t, k_t, v_t, gates, [0])
    body = inner.graph(names, [state, read])
    sequences = [q, k, v, *rest]
    axes = [1] * len(sequences)
    parts.put(
        parts.helper.make_node(
            "Scan",
            [S, *sequences],
            [present or parts.name("present"), y],
            body=body,
            num_scan_inputs=len(sequences),
            scan_input_axes=axes,
            scan_output_axes=[1],
        )
    )


def _zeros(linear: _Linear) -> str:
    parts = linear.parts
    sizes = []
    for i, axis, n_heads in ((0, 0, 0), (1, 2, linear.heads), (2, 2, linear.heads)):
        axes = parts.constant(np.array([axis]))
        size = parts.add("Gather", parts.add("Shape", parts.slot(i)), axes, axis=0)
        sizes.append(parts.add("Div", size, parts.constant(np.array([n_heads]))) if n_heads else size)
    sizes.insert(1, parts.constant(np.array([linear.heads])))
    return parts.add("ConstantOfShape", parts.add("Concat", *sizes, axis=0))


def causal_conv(parts: Parts) -> None:
    """activation(Conv(past and x)), a kernel for each channel, and the last frames of what went in.

    x (batch, channels, time), kernel (channels, 1, k), past (batch, channels, k - 1); ONNX Runtime's may have channels
    last in x and past.
    """
    node = parts.node
    extended = {"state_update_capacity": 0, "state_channels_last": -1, "state_window": 0, "state_length": 0}
    extended |= {"input_channel_offset": 0, "input_channels": 0, "ndim": 1}
    own = ("dilation", "channels_last", *extended) if node.proto.domain == RUNTIME else ()
    node.allow("activation", *own)
    attrs = node.attrs
    kind = attrs.get("activation", "none")
    if kind not in _ACTIVATIONS:
        node.format_error(f"attribute activation={kind!r}, expected one of {', '.join(_ACTIVATIONS)}")
    for name, only in extended.items():
        if attrs.get(name, only) != only:
            node.unsupported(f"attribute {name}={attrs[name]} is not supported; supported: {only}")
    dilation = attrs.get("dilation", 1)
    if not isinstance(dilation, int) or dilation < 1:
        node.format_error(f"attribute dilation={dilation}, expected 1 or more")
    kernel = parts.dims(parts.slot(1))
    if kernel is None or None in kernel:
        node.unsupported("the shape of its input weight is open, expected [channels, 1, k]")
    check_input(parts, 1, "weight", None, 1, None)
    channels, _, size = (n or 0 for n in kernel)
    if not size:
        node.shape_error(f"its input weight has shape {_list(list(kernel))}, expected a kernel of 1 or more")
    last = attrs.get("channels_last", 0)
    if last not in (0, 1):
        node.format_error(f"attribute channels_last={last}, expected 0 or 1")
    turned = (0, 2, 1) if last else (0, 1, 2)
    shapes = (None, channels, None), (None, channels, (size - 1) * dilation)
    of_x, of_past = (tuple(shape[a] for a in turned) for shape in shapes)
    check_input(parts, 0, "input", *of_x)
    if parts.slot(2):
        check_input(parts, 2, "bias", channels)
    if parts.slot(3):
        check_input(parts, 3, "past_state", *of_past)
    _Conv(kind, channels, size, dilation, bool(last)).put(parts)


@dataclass
class _Conv:
    """A CausalConvWithState, of a kernel of `size` for each channel; last: channels are the last axis."""

    kind: str
    channels: int
    size: int
    dilation: int
    last: bool

    @property
    def behind(self) -> int:
        """Frames that it looks back on."""
        return (self.size - 1) * self.dilation

    def put(self, parts: Parts) -> None:
        x, past = parts.slot(0), parts.slot(3)
        y, present = [*parts.node.outputs, ""][:2]
        dims = parts.dims(x)
        is_open = dims is None or dims[1 if self.last else 2] is None
        if self.last:
            x, past = (parts.add("Transpose", name, perm=[0, 2, 1]) if name else "" for name in (x, past))
            ends = {name: parts.name("turned") for name in (y, present) if name}
            self._put(parts, x, past, ends[y], ends.get(present, ""), is_open)
            for name, result in ends.items():
                parts.add("Transpose", result, gives=name, perm=[0, 2, 1])
            return
        self._put(parts, x, past, y, present, is_open)

    def _put(self, parts: Parts, x: str, past: str, y: str, present: str, is_open: bool) -> None:
        if present and not past and self.behind and is_open:
            self._walk(parts, x, y, present)
            return
        if past:
            x = parts.add("Concat", past, x, axis=2)
        elif present:
            x = parts.add("Pad", x, parts.constant(np.array([0, 0, self.behind, 0, 0, 0])))
        self._convolved(parts, x, [0 if past or present else self.behind, 0], y)
        if present:
            self._cut(parts, x, -self.behind or _END, present)

    def _walk(self, parts: Parts, x: str, y: str, present: str) -> None:
        """From zeros to what is left at the end of a sequence of any length, timestep by timestep."""
        inner = parts.inside()
        names = [inner.name("held"), inner.name("x")]
        frames = inner.add("Concat", names[0], inner.reshape(names[1], 0, 0, 1), axis=2)
        held = self._cut(inner, frames, 1)
        body = inner.graph(names, [held, inner.reshape(self._convolved(inner, frames, [0, 0]), 0, -1)])
        batch = parts.add("Gather", parts.add("Shape", x), parts.constant(np.array([0])), axis=0)
        sizes = parts.add("Concat", batch, parts.constant(np.array([self.channels, self.behind])), axis=0)
        start = parts.add("ConstantOfShape", sizes)
        axes = {"scan_input_axes": [2], "scan_output_axes": [2]}
        parts.put(parts.helper.make_node("Scan", [start, x], [present, y], body=body, num_scan_inputs=1, **axes))

    def _convolved(self, parts: Parts, x: str, pads: list[int], gives: str = "") -> str:
        weights = [parts.slot(1), *filter(None, [parts.slot(2)])]
        attrs = {"group": self.channels, "kernel_shape": [self.size], "dilations": [self.dilation], "pads": pads}
        plain = self.kind == "none"
        y = parts.add("Conv", x, *weights, gives=gives if plain else "", **attrs)
        return y if plain else parts.add("Mul", y, parts.add("Sigmoid", y), gives=gives)

    def _cut(self, parts: Parts, x: str, first: int, gives: str = "") -> str:
        """What lies from `first` on along time."""
        return parts.add("Slice", x, *(parts.constant(np.array([n])) for n in (first, _END, 2)), gives=gives)


__all__ = ["causal_conv", "check_input", "each", "heads", "linear_attention"]
