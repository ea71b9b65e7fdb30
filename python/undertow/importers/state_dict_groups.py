# SPDX-License-Identifier: MIT
"""The layers that names and shapes of weights speak of, and for each the lines of Python that make it.

PyTorch's names say what a layer is (weight_ih_l0), and so do Keras's (recurrent_kernel), or the paths in which Keras 3
numbers its arrays (layers/gru/cell/vars/0); of matrices with other names sizes may tell a cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .._text import shown

Weights = dict[str, np.ndarray]
Shape = tuple[int, ...]

_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l(\d{1,4})(_reverse)?)?")
_KERAS = (
    "kernel", "recurrent_kernel", "bias", "embeddings", "gamma", "beta", "moving_mean", "moving_variance"
)  # fmt: skip
#: how Keras 3 calls layers of a class, without the number
_CLASS = re.compile(r"(?:.*/)?(\w+?)(?:_\d+)?")
_WAY = re.compile(r"(?:(?<=/)|^)(?:forward|backward)_")
_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
RECURRENT = tuple(_GATES.values())

#: what no file of weights says
UNSAID = "the file does not say"
_ACTIVATION = f'or "relu", "sigmoid", "softmax" ...: {UNSAID}'
_EPS = f"eps: {UNSAID}"


@dataclass
class Line:
    """Python that makes a layer.

    Attributes:
        code: an expression of `undertow` and the weights `w`.
        n_in, n_out: sizes of the frames that it takes and gives; None where they are not those of a vector.
        unsaid: what it assumes and the file does not say; a comment.
        takes_ids: frames that it takes are ids, which no layer gives.
    """

    code: str
    n_in: int | None = None
    n_out: int | None = None
    unsaid: str = ""
    takes_ids: bool = False


@dataclass
class Group:
    """Tensors that make one layer.

    Attributes:
        prefix: what stands in front of their names.
        kind: LSTM, GRU, RNN, Linear ..., or "tensor" for one that explains itself in no layer.
        names: of the tensors.
        lines: ways to make the layer, the likeliest first.
        bidirectional: a layer of both directions.
        by: "PyTorch", "Keras", or "sizes" for a cell whose names say nothing.
        note: what else is known.
        shapes: of the tensors.
    """

    prefix: str
    kind: str
    names: list[str]
    lines: list[Line] = field(default_factory=list)
    bidirectional: bool = False
    by: str = "PyTorch"
    note: str = ""
    shapes: list[Shape] = field(default_factory=list)

    @property
    def n_in(self) -> int | None:
        return self.lines[0].n_in if self.lines else None

    @property
    def n_out(self) -> int | None:
        return self.lines[0].n_out if self.lines else None

    def __str__(self) -> str:
        sized = self.n_in is not None and not self.kind.startswith("Conv")
        what = f"{self.kind} {self.n_in} -> {self.n_out}" if sized else f"{self.kind} {self.shapes[0]}"
        notes = ["Keras"] * (self.by == "Keras") + ["by the sizes of its matrices"] * (self.by == "sizes")
        return f"{shown(self.prefix) or '(no prefix)'}: {', '.join([what, *notes, *filter(None, [self.note])])}"


def find_groups(weights: Mapping[str, np.ndarray]) -> list[Group]:
    """The layers, in the order of the file."""
    by_prefix: dict[str, list[str]] = {}
    for key in weights:
        by_prefix.setdefault(_split(key)[0], []).append(key)
    groups: list[Group] = []
    for prefix, names in by_prefix.items():
        groups += _cell_of_tensors(_group(prefix, names, weights))
    return _both_ways(groups)


def _split(key: str) -> tuple[str, str]:
    """(prefix, last part) of a PyTorch name (a.b.weight) or a path (a/b/kernel:0)."""
    separator = "/" if "/" in key else "."
    prefix, _, last = key.rpartition(separator)
    return prefix, last.removesuffix(":0")


def _group(prefix: str, names: list[str], weights: Mapping[str, np.ndarray]) -> list[Group]:
    """One layer, and a group for each tensor that does not belong to it."""
    last = {_split(name)[1]: name for name in names}
    shape = {part: weights[name].shape for part, name in last.items()}
    layer: Group | None = None
    used: set[str] = set()
    cell = {part for part in last if _RECURRENT.fullmatch(part)}
    if cell and (layer := _recurrent(prefix, cell, shape)):
        used = cell
    elif "running_mean" in shape:
        used = last.keys() & {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
        layer = _norm(prefix, "BatchNorm", shape["running_mean"], "BatchNorm.from_torch", 1e-5)
    elif "weight" in shape:
        used = last.keys() & {"weight", "bias"}
        layer = _weight_and_bias(prefix, shape)
    elif prefix.endswith("vars") and all(part.isdigit() for part in last):
        used = set(last)
        owner = prefix.removesuffix("vars").removesuffix("/")
        layer = _keras_layer(owner, _numbered(owner, [shape[str(i)] for i in range(len(shape)) if str(i) in shape]))
    elif "/" in names[0] or last.keys() & set(_KERAS):
        used = last.keys() & set(_KERAS)
        layer = _keras_layer(prefix, {part: shape[part] for part in used})
    if layer is None:
        used = set()
    else:
        layer.names = [last[part] for part in last if part in used]
        layer.shapes = [weights[name].shape for name in layer.names]
    rest = [
        Group(name, "tensor", [name], shapes=[weights[name].shape]) for part, name in last.items() if part not in used
    ]
    return ([layer] if layer else []) + rest


# -- PyTorch ------------------------------------------------------------------------------------------------------


def _recurrent(prefix: str, parts: set[str], shape: dict[str, Shape]) -> Group | None:
    matches = [_RECURRENT.fullmatch(part) for part in parts]
    suffixes = sorted({m[3] or "" for m in matches if m}, key=lambda s: (len(s.split("_")), s))
    first = suffixes[0]
    W, R = shape.get(f"weight_ih{first}", ()), shape.get(f"weight_hh{first}", ())
    if len(W) != 2 or len(R) != 2 or not all((*W, *R)):
        return None
    projection = shape.get(f"weight_hr{first}", ())
    hidden = projection[1] if len(projection) == 2 else R[1]
    kind = _GATES.get(R[0] // hidden if hidden and R[0] % hidden == 0 else 0)
    if kind is None:
        return None
    both = any(suffix.endswith("_reverse") for suffix in suffixes)
    n_layers = len({suffix.removesuffix("_reverse") for suffix in suffixes})
    notes = [f"{n_layers} layers"] * (n_layers > 1) + ["bidirectional"] * both
    notes += [f"{hidden} hidden projected to {R[1]}"] * bool(projection)
    tanh, unsaid = (', nonlinearity="tanh"', f'or "relu": {UNSAID}') if kind == "RNN" else ("", "")
    line = Line(f"undertow.{kind}.from_torch(w, {prefix!r}{tanh})", W[1], R[1] * (2 if both else 1), unsaid)
    return Group(prefix, kind, [], [line], both, note=", ".join(notes))


def _weight_and_bias(prefix: str, shape: dict[str, Shape]) -> Group | None:
    weight, bias = shape["weight"], shape.get("bias")
    if len(weight) == 2:
        dense = f"undertow.Dense.from_torch(w, {prefix!r}"
        linear = Line(f"{dense}, activation=None)", weight[1], weight[0], _ACTIVATION)
        if bias is None:
            # Nothing tells the two apart, and an embedding is the commoner one without a bias.
            code, unsaid = f"undertow.Embedding.from_torch(w, {prefix!r})", f"or {dense}): {UNSAID}"
            table = Line(code, *weight, unsaid, takes_ids=True)
            linear.unsaid = f"{_ACTIVATION}; or undertow.Embedding.from_torch(w, {prefix!r})"
            return Group(prefix, "Embedding or Linear without bias", [], [table, linear])
        if bias == weight[:1]:
            return Group(prefix, "Linear", [], [linear])
    elif len(weight) == 1 and bias in (None, weight):
        others = f"RMSNorm and PReLU look alike, GroupNorm too, and eps: {UNSAID}"
        return _norm(prefix, "LayerNorm, another norm or PReLU", weight, "LayerNorm.from_torch", 1e-5, others)
    elif len(weight) in (3, 4) and bias in (None, weight[:1]):
        return Group(prefix, f"Conv{len(weight) - 2}d", [], _convolutions(prefix, weight))
    return None


def _convolutions(prefix: str, weight: Shape) -> list[Line]:
    rank, (n_out, n_in) = len(weight) - 2, weight[:2]
    sizes = "stride=1, padding=0, activation=None"
    framed = f"undertow.FrameConv{rank}D.from_torch(w, {prefix!r}"
    unsaid = f"stride, padding, dilation, groups, activation: {UNSAID}"
    over_axes = Line(f"{framed}, {sizes})", unsaid=f"over axes of a frame (channels, *axes); {unsaid}")
    if rank > 1:
        return [over_axes]
    in_time = f"along time; over an axis of a frame: {framed}); {unsaid}"
    lines = [Line(f"undertow.Conv1D.from_torch(w, {prefix!r}, {sizes})", n_in, n_out, in_time)]
    if n_in == 1 < n_out:  # depthwise, perhaps
        lines.append(Line(f"undertow.Conv1D.from_torch(w, {prefix!r}, groups={n_out}, {sizes})", n_out, n_out, in_time))
    return [*lines, over_axes]


def _norm(prefix: str, kind: str, shape: Shape, call: str, eps: float, unsaid: str = _EPS) -> Group | None:
    if len(shape) != 1:
        return None
    return Group(prefix, kind, [], [Line(f"undertow.{call}(w, {prefix!r}, eps={eps})", *shape, *shape, unsaid)])


# -- Keras --------------------------------------------------------------------------------------------------------


def _numbered(owner: str, shapes: list[Shape]) -> dict[str, Shape]:
    """The names that Keras 3 does without: by the class that the path tells, else by the shapes."""
    cls = match[1] if (match := _CLASS.fullmatch(owner)) else ""
    ranks = [len(shape) for shape in shapes]
    if cls == "embedding":
        names = ["embeddings"]
    elif cls == "batch_normalization" and ranks == [1, 1, 1, 1]:
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
    elif cls == "layer_normalization" and ranks == [1, 1]:
        names = ["gamma", "beta"]
    elif ranks[:2] == [2, 2]:
        names = ["kernel", "recurrent_kernel", "bias"]
    elif ranks in ([2, 1], [2]) or (cls in ("conv1d", "conv2d") and ranks in ([3, 1], [3], [4, 1], [4])):
        names = ["kernel", "bias"]
    else:
        names = []
    return dict(zip(names, shapes, strict=False)) if len(shapes) <= len(names) else {}


def _keras_layer(prefix: str, shape: dict[str, Shape]) -> Group | None:
    """The layer of Keras that has arrays of these names, all of them."""
    kernel, recurrent, bias = (shape.get(part) for part in ("kernel", "recurrent_kernel", "bias"))
    where = re.sub(r"(^|/)cell$", "", prefix) if recurrent else prefix
    parts = set(shape)
    if kernel and recurrent and parts <= {"kernel", "recurrent_kernel", "bias"}:
        return _keras_recurrent(where, kernel, recurrent, bias)
    if kernel and parts <= {"kernel", "bias"} and bias in (None, kernel[-1:]):
        unsaid = f"padding, stride, dilation, activation: {UNSAID}"
        if len(kernel) == 2:
            line = Line(f"undertow.Dense.from_keras(w, {where!r}, activation=None)", *kernel, _ACTIVATION)
            return Group(where, "Dense", [], [line], by="Keras")
        if len(kernel) == 3:
            code = f'undertow.Conv1D.from_keras(w, {where!r}, padding="causal", activation=None)'
            lines = [Line(code, *kernel[1:], f"along time; {unsaid}")]
            return Group(where, "Conv1D", [], lines, by="Keras")
        if len(kernel) == 4:
            code = f'undertow.FrameConv2D.from_keras(w, {where!r}, padding="valid", activation=None)'
            return Group(where, "Conv2D", [], [Line(code, unsaid=f"over axes of a frame; {unsaid}")], by="Keras")
    group: Group | None = None
    if parts == {"embeddings"} and len(shape["embeddings"]) == 2:
        line = Line(f"undertow.Embedding.from_keras(w, {where!r})", *shape["embeddings"], takes_ids=True)
        group = Group(where, "Embedding", [], [line])
    elif parts == {"gamma", "beta", "moving_mean", "moving_variance"}:
        group = _norm(where, "BatchNormalization", shape["gamma"], "BatchNorm.from_keras", 1e-3)
    elif parts == {"gamma", "beta"}:
        group = _norm(where, "LayerNormalization", shape["gamma"], "LayerNorm.from_keras", 1e-3)
    if group is not None:
        group.by = "Keras"
    return group


def _keras_recurrent(prefix: str, kernel: Shape, recurrent: Shape, bias: Shape | None) -> Group | None:
    if len(kernel) != 2 or len(recurrent) != 2 or not recurrent[0] or kernel[1] != recurrent[1]:
        return None
    kind = _GATES.get(recurrent[1] // recurrent[0]) if recurrent[1] % recurrent[0] == 0 else None
    if kind is None:
        return None
    said, unsaid, note = ['activation="tanh"'], UNSAID, ""
    if kind != "RNN":
        said.append('recurrent_activation="sigmoid"')
    if kind == "GRU" and bias is None:
        said, unsaid = ["reset_after=True", *said], f"nor reset_after; {UNSAID}"
    if kind != "RNN" and bias == (2 * recurrent[1],):
        said, unsaid, note = [], "", "of cuDNN"  # whose activations are fixed
    call = f"undertow.{kind}.from_keras({', '.join(['w', repr(prefix), *said])})"
    return Group(prefix, kind, [], [Line(call, kernel[0], recurrent[0], unsaid)], by="Keras", note=note)


def _both_ways(groups: list[Group]) -> list[Group]:
    """Groups in which the two cells of a layer of Keras that runs both ways are one."""
    cells = {group.prefix: group for group in groups if group.by == "Keras" and group.kind in RECURRENT}
    pairs: dict[str, Group] = {}
    for prefix, forward in cells.items():
        other = _WAY.sub("backward_", prefix)
        backward = cells.get(other)
        if other == prefix or backward is None or backward.shapes != forward.shapes:
            continue
        (one,), (two,) = forward.lines, backward.lines
        code = f"undertow.Bidirectional({one.code}, {two.code[:-1]}, reverse=True))"
        line = Line(code, one.n_in, 2 * (one.n_out or 0), f'{one.unsaid}, nor merge="sum" ...'.lstrip(", "))
        name = prefix[: match.start()].rstrip("/") if (match := _WAY.search(prefix)) else prefix
        names, shapes = forward.names + backward.names, forward.shapes + backward.shapes
        pairs[prefix] = Group(name, forward.kind, names, [line], True, "Keras", "bidirectional", shapes)
        pairs[other] = pairs[prefix]
    both = [pairs.get(group.prefix, group) if group.by == "Keras" else group for group in groups]
    return list({id(group): group for group in both}.values())


# -- neither ------------------------------------------------------------------------------------------------------


#: PyTorch's names of a weight's length and direction, as hooks and as parametrizations
_NORMED = re.compile(r"weight_[gv]|original[01]")


def _cell_of_tensors(groups: list[Group]) -> list[Group]:
    """Groups of one prefix, where two matrices among tensors of any names can only be the weights of a cell: their
    sizes tell which. Of matrices that are alike the one whose name says so multiplies the hidden state.
    """
    loose = [group for group in groups if group.kind == "tensor"]
    normed = [group for group in loose if _NORMED.fullmatch(_split(group.names[0])[1])]
    for group in normed:
        new = "parametrizations" in group.prefix
        folds = "parametrize.remove_parametrizations(layer, 'weight')" if new else "remove_weight_norm(layer)"
        group.note = f"of weight_norm, which torch.nn.utils.{folds} makes one weight"
    if normed:
        return groups
    matrices = [group for group in loose if len(group.shapes[0]) == 2 and all(group.shapes[0])]
    vectors = [group for group in loose if len(group.shapes[0]) == 1]
    if len(matrices) != 2 or len(groups) != len(matrices) + len(vectors) or len(vectors) > 2:
        return groups

    def is_hidden(group: Group) -> bool:
        return bool(re.search(r"hidden|recurrent|hh|rec", group.names[0].rpartition("/")[2].rpartition(".")[2]))

    fitting = []
    for R in matrices:
        (W,) = (other for other in matrices if other is not R)
        rows, hidden = R.shapes[0]
        if W.shapes[0][0] == rows and rows % hidden == 0 and rows // hidden in _GATES:
            fitting.append((W, R))
    fitting = [pair for pair in fitting if is_hidden(pair[1])] or fitting
    if len(fitting) != 1 or any(v.shapes[0] != fitting[0][1].shapes[0][:1] for v in vectors):
        return groups
    ((W, R),) = fitting
    hidden = R.shapes[0][1]
    kind = _GATES[R.shapes[0][0] // hidden]
    biases = sorted(vectors, key=is_hidden)
    given = [f"w[{literal(group.names[0])}]" for group in (W, R, *biases)]
    if len(biases) == 2:
        given[3] = f"recurrent_bias={given[3]}"
    given += {"RNN": ['activation="tanh"'], "GRU": ["reset_after=True", 'gate_order="zrn"'], "LSTM": []}[kind]
    given += ['gate_order="ifgo"'] if kind == "LSTM" else []
    unsaid = f"gate_order{' and reset_after' * (kind == 'GRU')} as in your training code"
    unsaid = f'or "relu": {UNSAID}' if kind == "RNN" else unsaid
    cell = Group(_split(W.names[0])[0], kind, [n for g in (W, R, *biases) for n in g.names], by="sizes")
    cell.lines = [Line(f"undertow.{kind}({', '.join(given)})", W.shapes[0][1], hidden, unsaid)]
    cell.shapes = [g.shapes[0] for g in (W, R, *biases)]
    return [cell]


def literal(name: str) -> str:
    """A name as Python reads it: in double quotes, if nothing in it can end them."""
    return f'"{name}"' if name.isprintable() and not set(name) & {'"', "\\"} else repr(name)


__all__ = ["RECURRENT", "UNSAID", "Group", "Line", "Weights", "find_groups", "literal"]
