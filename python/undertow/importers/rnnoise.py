# SPDX-License-Identifier: MIT
"""RNNoise's noise suppressor: the network between its features and its gains, from the files that hold its weights.

Two networks share the name. Before 0.2: a dense layer, three GRUs (voice, noise, gains) that see each other's outputs
and the features again, reset before the recurrent product, weights in steps of 1/256. From 0.2 on: two convolutions
over 3 frames, three GRUs one after the other (reset after), and both outputs from all of them; weights in float32, or
int8 with a scale for each output, sparse in blocks of 8 outputs and 4 inputs, with the diagonals kept apart.

What is computed is the trained network. RNNoise's own run time approximates tanh and sigmoid, and with int8 weights it
rounds the input of each layer to steps of 1/127; neither is imitated, so outputs differ from its by those errors.
Features and gains (pitch, bands, FFT) are signal processing around the network and no part of it.
"""

from __future__ import annotations

import os

import numpy as np

from ..errors import FormatError, ShapeError, UnsupportedError
from ..ir.activations import SIGMOID, TANH, as_activation
from ..ir.graph import Graph
from ..layers import GRU, Dense
from ..weights.in_memory import as_path, size_of
from ..weights.limits import Budget
from ..weights.rnnoise import LAYERS, Layer, parse
from . import _blocks as blocks

#: frames that a convolution sees; RNNoise's sources fix it
TAPS = 3
#: int8 weights meet inputs in steps of 1/127: a stored scale is for the product of the two
INPUT_STEPS = 127.0
#: outputs and inputs of one block of a sparse matrix
ROWS, COLUMNS = 8, 4
_STEMS = (
    "conv1", "conv2", "gru1_input", "gru1_recurrent", "gru2_input", "gru2_recurrent", "gru3_input", "gru3_recurrent",
    "dense_out", "vad_dense",
)  # fmt: skip
_PARTS = ("bias", "subias", "scale", "weights_int8", "weights_float", "weights_idx", "weights_diag")

Arrays = dict[str, np.ndarray]


def load(path: str | os.PathLike[str]) -> Graph:
    """Read RNNoise's weights: ``rnnoise-nu`` text, a ``DNNw`` blob, or the C source that its trainers write.

    Args:
        path: the file.

    Returns:
        A graph with input "features" and outputs "gains" (one per band) and "vad" (probability of voice), 100 frames a
        second.

    Raises:
        FormatError: the file is damaged or of no known form.
        ShapeError: sizes of layers that do not fit together.
        UnsupportedError: a version, type, activation or array that is not known; the message names it.
    """
    path = as_path(path)
    layers, arrays = parse(path, Budget(path, size_of(path)))
    graph = Graph(path.stem)
    if layers:
        _first_network(graph, layers, str(path))
        graph.note("RNNoise before 0.2")
    else:
        _second_network(graph, arrays, str(path))
        graph.note("RNNoise 0.2")
    return graph


# -- before 0.2 -----------------------------------------------------------------------------------------------------


def _first_network(graph: Graph, layers: dict[str, Layer], where: str) -> None:
    if set(layers) != set(LAYERS):
        raise FormatError(f"{where}: its layers are {', '.join(layers)}; expected {', '.join(LAYERS)}")

    def add(name: str, *inputs: str) -> str:
        layer = layers[name]
        n_in, n_given = layer.arrays["kernel"].shape[0], sum(graph.values[v].size for v in inputs)
        if n_in != n_given:
            raise ShapeError(f"{where}: {name} takes {n_in} inputs, but the layers before it give {n_given}")
        x = inputs[0] if len(inputs) == 1 else graph.add("concat", inputs, name=f"{name}_in")
        if "recurrent_kernel" not in layer.arrays:
            return Dense.from_keras(layer.arrays, activation=layer.activation, name=name).add_to(graph, x)
        gru = GRU.from_keras(layer.arrays, reset_after=False, activation=layer.activation, name=name)
        return gru.add_to(graph, x)

    x = graph.input("features", (layers["input_dense"].arrays["kernel"].shape[0],))
    dense = add("input_dense", x)
    vad = add("vad_gru", dense)
    noise = add("noise_gru", dense, vad, x)
    denoise = add("denoise_gru", vad, noise, x)
    graph.output("gains", add("denoise_output", denoise))
    graph.output("vad", add("vad_output", vad))


# -- from 0.2 on ----------------------------------------------------------------------------------------------------


def _second_network(graph: Graph, arrays: Arrays, where: str) -> None:
    for stem in _STEMS:
        if f"{stem}_bias" not in arrays:
            raise UnsupportedError(
                f"{where}: array '{stem}_bias' is missing; the network of RNNoise 0.2 has {', '.join(_STEMS)}"
            )
    known = {f"{stem}_{part}" for stem in _STEMS for part in _PARTS}
    strangers = [name for name in arrays if name not in known]
    if strangers:
        raise UnsupportedError(f"{where}: array {strangers[0]!r} belongs to no layer of RNNoise 0.2")

    first = matrix(arrays, "conv1", None, where)[0].shape[1]
    if first % TAPS:
        raise ShapeError(f"{where}: conv1 takes {first} inputs, expected {TAPS} frames")
    x = graph.input("features", (first // TAPS,))
    for stem in ("conv1", "conv2"):
        x = blocks.past(graph, x, TAPS, f"{stem}_frames")
        x = blocks.rearrange(graph, x, blocks.positions((graph.values[x].size,)), f"{stem}_in")
        W, b = matrix(arrays, stem, graph.values[x].size, where)
        x = Dense(W, b, activation=TANH, name=stem).add_to(graph, x)
    outputs = [x]
    for stem in ("gru1", "gru2", "gru3"):
        W, b = matrix(arrays, f"{stem}_input", graph.values[outputs[-1]].size, where)
        units, rest = divmod(W.shape[0], 3)
        R, rb = matrix(arrays, f"{stem}_recurrent", units, where)
        if rest or R.shape[0] != W.shape[0]:
            raise ShapeError(f"{where}: {stem} has {W.shape[0]} input and {R.shape[0]} recurrent rows")
        gru = GRU(W, R, b, recurrent_bias=rb, gate_order="zrn", reset_after=True, name=stem)
        outputs.append(gru.add_to(graph, outputs[-1]))
    joined = graph.add("concat", outputs, name="all")
    for name, stem in (("gains", "dense_out"), ("vad", "vad_dense")):
        W, b = matrix(arrays, stem, graph.values[joined].size, where)
        graph.output(name, Dense(W, b, activation=as_activation(SIGMOID), name=stem).add_to(graph, joined))


def matrix(arrays: Arrays, stem: str, n_in: int | None, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(W (outputs, inputs), bias) of one linear layer in float64; float weights win over int8, as in RNNoise.

    `n_in` is None for the first layer, whose number of inputs its size tells.
    """
    where = f"{where}: {stem}"
    parts = {part: arrays[f"{stem}_{part}"] for part in _PARTS if f"{stem}_{part}" in arrays}
    bias, diagonal, idx = parts["bias"], parts.get("weights_diag"), parts.get("weights_idx")
    for part, a in parts.items():
        kind = {"weights_int8": "i1", "weights_idx": "i4"}.get(part, "f4")
        if a.dtype.str[1:] != kind:
            raise FormatError(f"{where}_{part} has elements of {a.dtype}, expected {np.dtype(kind)}")
        if a.dtype.kind == "f" and not np.isfinite(a).all():
            raise FormatError(f"{where}_{part} holds NaN or infinity")
    n_out = bias.size
    is_float = "weights_float" in parts
    if not is_float and "weights_int8" not in parts:
        raise FormatError(f"{where} has neither float nor int8 weights")
    stored = parts["weights_float" if is_float else "weights_int8"].astype(np.float64)
    if n_in is None:
        n_in, rest = divmod(stored.size, n_out)
        if rest or idx is not None:
            raise ShapeError(f"{where}: {stored.size} weights for {n_out} outputs, expected a multiple, and no blocks")
    if idx is not None:
        W = _from_blocks(stored, idx, n_out, n_in, is_float, where)
    elif stored.size != n_in * n_out:
        raise ShapeError(f"{where}: {stored.size} weights, expected {n_in} inputs x {n_out} outputs")
    elif is_float:
        W = stored.reshape(n_in, n_out).T
    elif n_in % COLUMNS or n_out % ROWS:
        raise ShapeError(f"{where}: int8 weights of {n_in} inputs and {n_out} outputs, expected multiples of 4 and 8")
    else:
        tiles = stored.reshape(n_out // ROWS, n_in // COLUMNS, ROWS, COLUMNS)
        W = tiles.transpose(0, 2, 1, 3).reshape(n_out, n_in)
    if not is_float:
        scale = parts.get("scale")
        if scale is None or scale.size != n_out:
            raise FormatError(f"{where}: int8 weights need {n_out} scales")
        W = W * (scale.astype(np.float64) * INPUT_STEPS)[:, None]
    if diagonal is not None:
        if diagonal.size != n_out or n_out != 3 * n_in:
            raise ShapeError(f"{where}: a diagonal of {diagonal.size} for {n_in} inputs and {n_out} outputs")
        W = W + np.concatenate([np.diag(part) for part in diagonal.astype(np.float64).reshape(3, n_in)])
    return W, bias.astype(np.float64)


def _from_blocks(stored: np.ndarray, idx: np.ndarray, n_out: int, n_in: int, is_float: bool, where: str) -> np.ndarray:
    """The full matrix of a sparse one: for each 8 outputs a count, then where each of so many blocks begins."""
    size = ROWS * COLUMNS
    if n_out % ROWS or stored.size % size:
        raise ShapeError(f"{where}: {n_out} outputs and {stored.size} weights do not make blocks of 8 x 4")
    tiles = stored.reshape(-1, COLUMNS, ROWS).transpose(0, 2, 1) if is_float else stored.reshape(-1, ROWS, COLUMNS)
    W = np.zeros((n_out, n_in))
    at = used = 0
    for row in range(0, n_out, ROWS):
        count = int(idx[at]) if at < idx.size else -1
        starts = idx[at + 1 : at + 1 + count] if count >= 0 else idx[:0]
        at, used = at + 1 + count, used + count
        if count < 0 or len(starts) != count or used > len(tiles):
            raise FormatError(f"{where}_weights_idx does not fit {len(tiles)} blocks")
        if count and (starts.min() < 0 or starts.max() > n_in - COLUMNS or (starts % COLUMNS).any()):
            raise FormatError(f"{where}_weights_idx has blocks outside of {n_in} inputs, or not at multiples of 4")
        for tile, start in zip(tiles[used - count : used], starts, strict=True):
            W[row : row + ROWS, start : start + COLUMNS] += tile
    if at != idx.size or used != len(tiles):
        raise FormatError(f"{where}_weights_idx ends at {at} of {idx.size}, with {used} of {len(tiles)} blocks")
    return W
