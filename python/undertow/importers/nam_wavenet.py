# SPDX-License-Identifier: MIT
"""The WaveNet of Neural Amp Modeler's captures ("standard" to "nano", and A2): stacks of dilated convolutions.

Stacks follow one another. One has a matrix into its channels, then layers, then a matrix from the sum of what its
layers give to its head, where that sum starts from the head of the stack before. A layer, with x its input and a the
audio: z = f(b + sum over taps k of W_k x_{t - d k} + M a), gated: z = f(upper half) * sigmoid(lower half); z is what it
gives to the head, and x + V z + v the input of the next layer. The head may be a convolution too. The flat list of
weights holds for each stack its first matrix; for each layer W (outputs, inputs, taps), b, M, V, v; the head's weights,
its bias; and behind all stacks one scale.

Before a capture starts there was silence, for the trainer (which pads with it) and for players (which feed it first).
So a hidden value is not zero before the first sample, but what silence and the biases make of it. That is a constant
c for each x, so x - c is what the windows hold: it is zero before the start, and sums of W c move into the biases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from ..ir.activations import SIGMOID, Activation
from ..ir.graph import Graph
from ..layers import Dense
from . import _blocks as blocks

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
_KEYS = {"input_size", "condition_size", "channels", "dilations", "activation", "gated", "kernel_size", "kernel_sizes"}
_KEYS |= {"head_size", "head_bias", "head"}
#: keys of later trainers, with the values that leave the network as it was (where a list: for each of its layers)
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups_input": (1,),
    "groups_input_mixin": (1,),
    "gating_mode": ("none",),
    "secondary_activation": (None, ""),
    "layer1x1": ({"active": True, "groups": 1},),
    "slimmable": (None,),
}
_SWITCHES = {
    "head1x1", "conv_pre_film", "conv_post_film", "input_mixin_pre_film", "input_mixin_post_film",
    "activation_pre_film", "activation_post_film", "layer1x1_post_film", "head1x1_post_film",
}  # fmt: skip


@dataclass(frozen=True)
class Level:
    """One layer of a stack: taps, how far apart, and its activation for the graph and for NumPy."""

    taps: int
    dilation: int
    activation: Activation
    f: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Stack:
    """The settings of one stack of layers; its head is a convolution of `head_taps`, `head_dilation` apart."""

    n_in: int
    channels: int
    levels: tuple[Level, ...]
    gated: bool
    head: int
    head_taps: int
    head_dilation: int
    head_bias: bool

    @property
    def width(self) -> int:
        return 2 * self.channels if self.gated else self.channels

    @property
    def n_weights(self) -> int:
        c, w = self.channels, self.width
        layers = sum(w * (c * level.taps + 2) + c * (c + 1) for level in self.levels)
        return c * self.n_in + layers + self.head * (c * self.head_taps + self.head_bias)

    @property
    def past(self) -> int:
        """Frames that the stack looks back."""
        return sum((level.taps - 1) * level.dilation for level in self.levels) + (
            (self.head_taps - 1) * self.head_dilation
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
    if (past := sum(stack.past for stack in stacks)) > MAX_PAST:
        raise UnsupportedError(f"config: layers look back {past} samples, expected at most {MAX_PAST}")
    return stacks


def _stack(table: Any, where: str) -> Stack:
    if not isinstance(table, dict):
        raise FormatError(f"{where} must be an object, got {_brief(table)}")
    channels = _count(table, "channels", MAX_CHANNELS, where)
    for key, value in table.items():
        neutral = key in _KEYS or (key == "bottleneck" and value == channels and type(value) is int)
        neutral |= key in _SWITCHES and (value is False or (isinstance(value, dict) and value.get("active") is False))
        allowed = _NEUTRAL.get(key, ())
        values = value if isinstance(value, list) and value else [value]
        if not neutral and not all(any(type(v) is type(n) and v == n for n in allowed) for v in values):
            raise UnsupportedError(f"{where}: {key!r} = {_brief(value)} is not supported")
    if _count(table, "condition_size", MAX_CHANNELS, where) != 1:
        raise UnsupportedError(f"{where}: condition_size = {table['condition_size']} is not supported; expected 1")
    dilations = table.get("dilations")
    if not isinstance(dilations, list) or not 0 < len(dilations) <= MAX_LAYERS:
        raise FormatError(f"{where}: dilations must be a list of 1 to {MAX_LAYERS} numbers, got {_brief(dilations)}")
    if not all(type(d) is int and 0 < d <= MAX_PAST for d in dilations):
        raise FormatError(f"{where}: dilations must be whole numbers from 1 to {MAX_PAST}")
    if ("kernel_size" in table) == ("kernel_sizes" in table):
        raise FormatError(f"{where} must have either kernel_size or kernel_sizes")
    sizes = _each(table, "kernel_sizes" if "kernel_sizes" in table else "kernel_size", len(dilations), where)
    if not all(type(size) is int and 0 < size <= MAX_TAPS for size in sizes):
        raise FormatError(f"{where}: kernel sizes must be whole numbers from 1 to {MAX_TAPS}, got {_brief(sizes[0])}")
    activations = [_activation(a, where) for a in _each(table, "activation", len(dilations), where)]
    gated = _bool(table, "gated", where)
    if gated and "gating_mode" in table:
        raise UnsupportedError(f"{where}: gated together with gating_mode is not supported")
    levels = tuple(Level(n, d, *a) for n, d, a in zip(sizes, dilations, activations, strict=True))
    return Stack(_count(table, "input_size", MAX_CHANNELS, where), channels, levels, gated, *_head(table, where))


def _head(table: Mapping[str, Any], where: str) -> tuple[int, int, int, bool]:
    """Width, taps, dilation and bias of the head, from either way of writing it."""
    head = table.get("head")
    if head is None:
        return _count(table, "head_size", MAX_CHANNELS, where), 1, 1, _bool(table, "head_bias", where)
    where = f"{where}: head"
    if not isinstance(head, dict) or "head_size" in table:
        raise FormatError(f"{where} must be an object, without head_size beside it; got {_brief(head)}")
    for key in head:
        if key not in ("out_channels", "kernel_size", "bias", "head_dilation"):
            raise UnsupportedError(f"{where}: {key!r} = {_brief(head[key])} is not supported")
    dilation = _count({"head_dilation": 1, **head}, "head_dilation", MAX_PAST, where)
    width, taps = _count(head, "out_channels", MAX_CHANNELS, where), _count(head, "kernel_size", MAX_TAPS, where)
    return width, taps, dilation, _bool(head, "bias", where)


def _activation(value: Any, where: str) -> tuple[Activation, Callable[[np.ndarray], np.ndarray]]:
    """For the graph, and for NumPy."""
    table = value if isinstance(value, dict) else {"type": value}
    kind, slope = table.get("type"), table.get("negative_slope", 0.01)
    if (
        kind == "LeakyReLU"
        and set(table) <= {"type", "negative_slope"}
        and type(slope) in (int, float)
        and abs(slope) < 1e6
    ):
        return Activation("leaky_relu", slope), lambda x: np.where(x >= 0, x, slope * x)
    if not isinstance(kind, str) or kind not in ACTIVATIONS or set(table) != {"type"}:
        raise UnsupportedError(
            f"{where}: activation {_brief(value)} is not supported; supported: LeakyReLU, {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[kind]


def _each(table: Mapping[str, Any], key: str, n: int, where: str) -> list[Any]:
    """One setting for each of `n` layers: a list of as many, or one for all."""
    value = table.get(key)
    if isinstance(value, list) and len(value) != n:
        raise FormatError(f"{where}: {key} has {len(value)} entries for {n} dilations")
    return value if isinstance(value, list) else [value] * n


def add(graph: Graph, x: str, stacks: list[Stack], take: Callable[..., np.ndarray]) -> str:
    """Add the network behind `x`, a frame of one sample; `take(*shape)` gives the next weights in float64."""
    audio, head = x, ""
    # What the file's x and head are before the start. Our x is its difference from that; the head stays as it is.
    silence, head_silence = np.zeros(1), np.zeros(0)
    for s, stack in enumerate(stacks):
        name, c = f"stack_{s + 1}", stack.channels
        rechannel = take(c, stack.n_in)
        x = Dense(rechannel, name=f"{name}_in").add_to(graph, x)
        silence = rechannel @ silence
        if not s:
            head_silence = np.zeros(c)
        for k, level in enumerate(stack.levels):
            layer = f"{name}_{k + 1}"
            W, b = take(stack.width, c, level.taps), take(stack.width)
            M, V, v = take(stack.width, 1), take(c, c), take(c)
            both, bias = np.concatenate([_taps_first(W), M], axis=1), b + W.sum(axis=2) @ silence
            seen = _seen(graph, x, level.taps, level.dilation, layer)
            seen = graph.add("concat", [seen, audio], name=f"{layer}_inputs")
            z = Dense(both[:c], bias[:c], activation=level.activation, name=layer).add_to(graph, seen)
            z_silence = level.f(bias[:c])
            if stack.gated:
                gate = Dense(both[c:], bias[c:], activation=SIGMOID, name=f"{layer}_gate").add_to(graph, seen)
                z = graph.add("mul", [z, gate], name=f"{layer}_gated")
                z_silence = z_silence / (1 + np.exp(-bias[c:]))
            head = graph.add("add", [head, z], name=f"{layer}_head") if head else z
            head_silence = head_silence + z_silence
            if (s, k) != (len(stacks) - 1, len(stack.levels) - 1):  # the last one feeds nothing
                mixed = Dense(V, -(V @ z_silence), name=f"{layer}_out").add_to(graph, z)
                x = graph.add("add", [x, mixed], name=f"{layer}_sum")
                silence = silence + V @ z_silence + v
        H = take(stack.head, c, stack.head_taps)
        bias = take(stack.head) if stack.head_bias else np.zeros(stack.head)
        all_taps = H.sum(axis=2) @ head_silence
        if stack.head_taps > 1:
            head = blocks.scale_shift(graph, head, f"{name}_head_centred", 1.0, -head_silence)
            head = _seen(graph, head, stack.head_taps, stack.head_dilation, f"{name}_head")
            head = Dense(_taps_first(H), bias + all_taps, name=f"{name}_head").add_to(graph, head)
        else:
            head = Dense(H[:, :, 0], bias, name=f"{name}_head").add_to(graph, head)
        head_silence = all_taps + bias
    return head


def _taps_first(W: np.ndarray) -> np.ndarray:
    """(outputs, inputs, taps), the oldest tap first as in PyTorch, to (outputs, taps * inputs), as `_seen` has them."""
    return W.transpose(0, 2, 1).reshape(len(W), -1)


def _seen(graph: Graph, x: str, taps: int, dilation: int, name: str) -> str:
    """The frames under the taps, as one frame."""
    (width,) = graph.shape(x)
    if taps == 1:
        return x
    ahead = tuple(dilation * tap for tap in range(1 - taps, 1))
    frames = graph.add("window", [x], name=f"{name}_window", attrs={"taps": ahead})
    return str(graph.add("reshape", [frames], name=f"{name}_taps", attrs={"shape": (taps * width,)}))


def _bool(table: Mapping[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise FormatError(f"{where}: {key} must be true or false, got {_brief(value)}")
    return value


def _count(table: Mapping[str, Any], key: str, limit: int, where: str) -> int:
    value = table.get(key)
    if type(value) is not int or not 0 < value <= limit:
        raise FormatError(f"{where}: {key} must be a whole number from 1 to {limit}, got {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, (list, dict)) else repr(value)[:80]
