# SPDX-License-Identifier: MIT
"""The WaveNet of Neural Amp Modeler's captures ("standard", "lite", "feather", "nano"): stacks of dilated convolutions.

Stacks follow one another. One has a matrix into its channels, then layers, then a matrix from the sum of what its
layers give to its head, where that sum starts from the head of the stack before. A layer, with x its input and a the
audio: z = f(b + sum over taps k of W_k x_{t - d k} + M a), gated: z = f(upper half) * sigmoid(lower half); z is what it
gives to the head, and x + V z + v the input of the next layer. The flat list of weights holds for each stack its first
matrix; for each layer W (outputs, inputs, taps), b, M, V, v; the head's matrix, its bias; and behind all stacks one
scale.

Before a capture starts there was silence, for the trainer (which pads with it) and for players (which feed it first).
So a hidden value is not zero before the first sample, but what silence and the biases make of it. That is a constant
c for each x, so x - c is what the windows hold: it is zero before the start, and sums of W c move into the biases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..activations import SIGMOID, Activation
from ..errors import FormatError, UnsupportedError
from ..graph import Graph
from ..layers import Dense

MAX_STACKS = 16
MAX_LAYERS = 256
MAX_CHANNELS = 512
MAX_TAPS = 64
#: what one stream may have to remember, in frames
MAX_PAST = 1 << 20

ACTIVATIONS: dict[str, tuple[Activation, Callable[[np.ndarray], np.ndarray]]] = {
    "Tanh": (Activation("tanh"), np.tanh),
    "ReLU": (Activation("relu"), lambda x: np.maximum(x, 0)),
    "Sigmoid": (SIGMOID, lambda x: 1 / (1 + np.exp(-x))),
    "SiLU": (Activation("silu"), lambda x: x / (1 + np.exp(-x))),
    "Softsign": (Activation("softsign"), lambda x: x / (1 + np.abs(x))),
}
_KEYS = {"input_size", "condition_size", "head_size", "channels", "kernel_size", "dilations", "activation"}
_KEYS |= {"gated", "head_bias"}
#: keys of later trainers, with the values that leave the network as it was
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups_input": (1,),
    "groups_input_mixin": (1,),
    "gating_mode": ("none",),
    "secondary_activation": (None, ""),
    "layer1x1": ({"active": True, "groups": 1},),
    "head": (None,),
    "slimmable": (None,),
}
_SWITCHES = {
    "head1x1", "conv_pre_film", "conv_post_film", "input_mixin_pre_film", "input_mixin_post_film",
    "activation_pre_film", "activation_post_film", "layer1x1_post_film", "head1x1_post_film",
}  # fmt: skip


@dataclass(frozen=True)
class Stack:
    """The settings of one stack of layers."""

    n_in: int
    channels: int
    head: int
    taps: int
    dilations: tuple[int, ...]
    activation: str
    gated: bool
    head_bias: bool

    @property
    def width(self) -> int:
        return 2 * self.channels if self.gated else self.channels

    @property
    def n_weights(self) -> int:
        c, w = self.channels, self.width
        return (
            c * self.n_in
            + len(self.dilations) * (w * (c * self.taps + 2) + c * (c + 1))
            + self.head * (c + self.head_bias)
        )


def stacks_of(config: Mapping[str, Any]) -> list[Stack]:
    """The stacks that a file's config describes.

    Raises:
        FormatError: a setting is missing, damaged, or does not fit the others.
        UnsupportedError: a setting that changes what is computed, named.
    """
    for key in config:
        if key not in ("layers", "head", "head_scale", "in_channels"):
            raise UnsupportedError(f"config: {key!r} = {_brief(config[key])} is not supported in a WaveNet")
    if config.get("head") is not None:
        raise UnsupportedError(f"config: head = {_brief(config['head'])} is not supported; expected null")
    if config.get("in_channels", 1) != 1:
        raise UnsupportedError(f"config: in_channels = {_brief(config['in_channels'])} is not supported; expected 1")
    layers = config.get("layers")
    if not isinstance(layers, list) or not 0 < len(layers) <= MAX_STACKS:
        raise FormatError(f"config: layers must be a list of 1 to {MAX_STACKS} objects, got {_brief(layers)}")
    stacks = [_stack(table, f"config: layers[{i}]") for i, table in enumerate(layers)]
    for i, stack in enumerate(stacks):
        before = stacks[i - 1] if i else None
        if stack.n_in != (before.channels if before else 1):
            raise FormatError(f"config: layers[{i}] takes {stack.n_in} inputs, the stack before gives another number")
        if before and before.head != stack.channels:
            raise FormatError(f"config: layers[{i}] has {stack.channels} channels, the head before {before.head}")
    past = sum((stack.taps - 1) * sum(stack.dilations) for stack in stacks)
    if past > MAX_PAST:
        raise UnsupportedError(f"config: layers look back {past} samples, expected at most {MAX_PAST}")
    return stacks


def _stack(table: Any, where: str) -> Stack:
    if not isinstance(table, dict):
        raise FormatError(f"{where} must be an object, got {_brief(table)}")
    channels = _count(table, "channels", MAX_CHANNELS, where)
    for key, value in table.items():
        neutral = key in _KEYS or (key == "bottleneck" and value == channels and type(value) is int)
        neutral |= key in _NEUTRAL and any(type(value) is type(n) and value == n for n in _NEUTRAL[key])
        neutral |= key in _SWITCHES and (value is False or (isinstance(value, dict) and value.get("active") is False))
        if not neutral:
            raise UnsupportedError(f"{where}: {key!r} = {_brief(value)} is not supported")
    if _count(table, "condition_size", MAX_CHANNELS, where) != 1:
        raise UnsupportedError(f"{where}: condition_size = {table['condition_size']} is not supported; expected 1")
    dilations = table.get("dilations")
    if not isinstance(dilations, list) or not 0 < len(dilations) <= MAX_LAYERS:
        raise FormatError(f"{where}: dilations must be a list of 1 to {MAX_LAYERS} numbers, got {_brief(dilations)}")
    if not all(type(d) is int and 0 < d <= MAX_PAST for d in dilations):
        raise FormatError(f"{where}: dilations must be whole numbers from 1 to {MAX_PAST}")
    activation = table.get("activation")
    if isinstance(activation, dict) and set(activation) == {"type"}:
        activation = activation["type"]
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise UnsupportedError(
            f"{where}: activation {_brief(activation)} is not supported; supported: {', '.join(ACTIVATIONS)}"
        )
    for key in ("gated", "head_bias"):
        if not isinstance(table.get(key, False), bool):
            raise FormatError(f"{where}: {key} must be true or false, got {_brief(table[key])}")
    if table.get("gated") and "gating_mode" in table:
        raise UnsupportedError(f"{where}: gated together with gating_mode is not supported")
    return Stack(
        _count(table, "input_size", MAX_CHANNELS, where),
        channels,
        _count(table, "head_size", MAX_CHANNELS, where),
        _count(table, "kernel_size", MAX_TAPS, where),
        tuple(dilations),
        activation,
        table.get("gated", False),
        table.get("head_bias", False),
    )


def add(graph: Graph, x: str, stacks: list[Stack], take: Callable[..., np.ndarray]) -> str:
    """Add the network behind `x`, a frame of one sample; `take(*shape)` gives the next weights in float64."""
    audio, head = x, ""
    silence = np.zeros(1)  # c: what the file's x is before the start; ours is its difference from that
    for s, stack in enumerate(stacks):
        name, c = f"stack_{s + 1}", stack.channels
        rechannel = take(c, stack.n_in)
        x = Dense(rechannel, name=f"{name}_in").add_to(graph, x)
        silence = rechannel @ silence
        activation, f = ACTIVATIONS[stack.activation]
        for k, dilation in enumerate(stack.dilations):
            layer = f"{name}_{k + 1}"
            W, b = take(stack.width, c, stack.taps), take(stack.width)
            M, V, v = take(stack.width, 1), take(c, c), take(c)
            # (outputs, taps * channels), the oldest tap first, as in PyTorch
            both = np.concatenate([W.transpose(0, 2, 1).reshape(stack.width, -1), M], axis=1)
            bias = b + W.sum(axis=2) @ silence
            taps = tuple(-dilation * (stack.taps - 1 - tap) for tap in range(stack.taps))
            seen = graph.add("window", [x], name=f"{layer}_window", attrs={"taps": taps})
            seen = graph.add("reshape", [seen], name=f"{layer}_taps", attrs={"shape": (stack.taps * c,)})
            seen = graph.add("concat", [seen, audio], name=f"{layer}_inputs")
            if stack.gated:
                z = Dense(both[:c], bias[:c], activation=activation, name=layer).add_to(graph, seen)
                gate = Dense(both[c:], bias[c:], activation=SIGMOID, name=f"{layer}_gate").add_to(graph, seen)
                z = graph.add("mul", [z, gate], name=f"{layer}_gated")
                z_silence = f(bias[:c]) / (1 + np.exp(-bias[c:]))
            else:
                z = Dense(both, bias, activation=activation, name=layer).add_to(graph, seen)
                z_silence = f(bias)
            head = graph.add("add", [head, z], name=f"{layer}_head") if head else z
            if (s, k) != (len(stacks) - 1, len(stack.dilations) - 1):  # the last one feeds nothing
                mixed = Dense(V, -(V @ z_silence), name=f"{layer}_out").add_to(graph, z)
                x = graph.add("add", [x, mixed], name=f"{layer}_sum")
                silence = silence + V @ z_silence + v
        to_head = take(stack.head, c)
        head_bias = take(stack.head) if stack.head_bias else None
        head = Dense(to_head, head_bias, name=f"{name}_head").add_to(graph, head)
    return head


def _count(table: Mapping[str, Any], key: str, limit: int, where: str) -> int:
    value = table.get(key)
    if type(value) is not int or not 0 < value <= limit:
        raise FormatError(f"{where}: {key} must be a whole number from 1 to {limit}, got {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, (list, dict)) else repr(value)[:80]
