# SPDX-License-Identifier: MIT
"""What the importers of Keras-like files share: weight layouts, and layers made of several ops.

Keras keeps kernels as (inputs, gates * units) with gates i f c o (LSTM) and z r h (GRU): undertow's order already, so
only the axes move. Sums of biases are made in float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..budget import room
from ..errors import FormatError, ShapeError
from ..ir.activations import RELU
from ..ir.graph import Graph
from ..weights import json_text
from ..weights.contents import bytes_of, open_file

#: most elements in one frame: a network that widens itself without weights must not exhaust memory
MAX_FRAME = 1 << 22


def gates_first(kernel: np.ndarray, n_gates: int) -> np.ndarray:
    """(inputs, gates * units) -> (gates, units, inputs)."""
    n_in, width = kernel.shape
    return kernel.reshape(n_in, n_gates, width // n_gates).transpose(1, 2, 0)


def gated_weights(
    op: str, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray | None, reset_after: bool = False
) -> dict[str, np.ndarray]:
    """Weights of an `rnn`, `gru` or `lstm` node from Keras arrays.

    Args:
        op: "rnn", "gru" or "lstm".
        kernel: (inputs, gates * units).
        recurrent: (units, gates * units).
        bias: (gates * units,); (2, gates * units) for a GRU with reset_after; None without bias.
        reset_after: the GRU applies its reset gate after the recurrent product.
    """
    n_gates = {"rnn": 1, "gru": 3, "lstm": 4}[op]
    weights = {"W": gates_first(kernel, n_gates), "R": gates_first(recurrent, n_gates)}
    if bias is None:
        return weights
    if op == "gru" and reset_after:
        b, rb = np.asarray(bias, np.float64).reshape(2, 3, -1)
        with np.errstate(over="ignore"):  # two huge biases may sum to Inf, which is what float32 would say too
            weights["b"] = np.stack([b[0] + rb[0], b[1] + rb[1], b[2]]).astype(np.float32)
        weights["rb_n"] = rb[2]
    else:
        weights["b"] = bias.reshape(n_gates, -1)
    return weights


def add_cell(
    graph: Graph,
    op: str,
    x: str,
    *,
    name: str,
    weights: dict[str, np.ndarray],
    attrs: dict[str, Any] | None = None,
    gate: Iterable[str] = (),
    forgets: bool = False,
    starts: Iterable[str] = (),
) -> tuple[str, ...]:
    """Add a recurrent node with its states; give its outputs, (h,) or (h, c).

    Args:
        gate: the value that tells frames of the sequence from others, or nothing.
        forgets: with attr `steps`, every frame starts from zero: no states.
        starts: values that it starts from then, in place of zero.
    """
    name = graph.unique_name(name)
    units = weights["R"].shape[1]
    if forgets:
        outputs = graph.add(op, [x, *starts], name=name, attrs=attrs, weights=weights)
        return (outputs,) if isinstance(outputs, str) else tuple(outputs)
    states = [graph.state(f"{name}.{letter}", (units,)) for letter in ("hc" if op == "lstm" else "h")]
    outputs = graph.add(op, [x, *gate], name=name, attrs=attrs, weights=weights, states=states)
    return (outputs,) if isinstance(outputs, str) else tuple(outputs)


def prelu(graph: Graph, x: str, slope: np.ndarray, name: str) -> str:
    """max(x, 0) - slope * max(-x, 0): exact, since one of the two terms is always zero."""
    shape = graph.shape(x)
    zero, one = np.zeros(shape), np.ones(shape)
    above = graph.add("activation", [x], name=name, attrs={"activation": RELU})
    mirrored = graph.add("affine", [x], name=f"{name}_mirror", weights={"scale": -one, "shift": zero})
    below = graph.add("activation", [mirrored], name=f"{name}_below", attrs={"activation": RELU})
    scaled = graph.add(
        "affine", [below], name=f"{name}_slope", weights={"scale": -np.broadcast_to(slope, shape), "shift": zero}
    )
    return graph.add("add", [above, scaled], name=f"{name}_sum")


def batch_norm(
    graph: Graph,
    x: str,
    name: str,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
) -> str:
    """Batch normalisation with its stored statistics, as one scale and shift; parameters broadcast to the frame."""
    with np.errstate(all="ignore"):  # NaN and Inf weights are the model's own affair
        scale = 1.0 / np.sqrt(np.asarray(variance, np.float64) + epsilon)
        if gamma is not None:
            scale = scale * gamma
        shift = -np.asarray(mean, np.float64) * scale
        if beta is not None:
            shift = shift + beta
        return scale_shift(graph, x, name, scale, shift)


def scale_shift(graph: Graph, x: str, name: str, scale: Any, shift: Any) -> str:
    """y = x * scale + shift; both broadcast to the frame."""
    shape = graph.shape(x)
    with np.errstate(all="ignore"):
        weights = {
            key: np.broadcast_to(np.asarray(w, np.float64), shape).astype(np.float32)
            for key, w in (("scale", scale), ("shift", shift))
        }
    return graph.add("affine", [x], name=name, weights=weights)


def rearrange(graph: Graph, x: str, indices: np.ndarray, name: str) -> str:
    """y.flat = x.flat[indices], as a plain reshape where nothing moves."""
    if indices.size == int(np.prod(graph.shape(x), dtype=np.int64)) and np.array_equal(
        indices.ravel(), np.arange(indices.size)
    ):
        return (
            x
            if indices.shape == graph.shape(x)
            else graph.add("reshape", [x], name=name, attrs={"shape": indices.shape})
        )
    return graph.add("select", [x], name=name, weights={"indices": indices.astype(np.int32)})


def positions(shape: tuple[int, ...]) -> np.ndarray:
    """An array of `shape` that counts its own elements: what `rearrange` takes after any NumPy reordering."""
    return np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)


def past(graph: Graph, x: str, n_frames: int, name: str) -> str:
    """The last `n_frames` frames, oldest first, as one frame of shape (n_frames, *frame); zeros before the first."""
    frames: str = graph.add("window", [x], name=name, attrs={"taps": tuple(range(1 - n_frames, 1))})
    return frames


def check_frame(where: str, size: int) -> None:
    """Refuse frames above MAX_FRAME before anything of their size is made."""
    if size > MAX_FRAME:
        raise ShapeError(f"{where}: a frame of {size} elements, expected at most {MAX_FRAME}")


def parse_json(text: bytes, where: str) -> Any:
    """The values of a JSON text, whose memory is counted before they are made. Every failure begins with `where`.

    Raises:
        FormatError: no valid JSON, or nested too deeply.
        TooMuch: its values take more memory than the file may hold.
    """
    room(json_text.parsed_bytes(text), 1, where, "its JSON, once parsed,")
    return json_text.parse(text, where)


def read_limited(path: str | Path, limit: int) -> bytes:
    """The bytes of a file that must not be larger than `limit`."""
    with open_file(path) as file:
        # a read of n bytes takes memory for n bytes first, however short the file is
        data = file.read(min(limit, bytes_of(file)) + 1)
    if len(data) > limit:
        raise FormatError(f"{path}: larger than {limit >> 20} MiB, expected a smaller file")
    return data
