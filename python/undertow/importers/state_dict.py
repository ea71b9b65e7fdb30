# SPDX-License-Identifier: MIT
"""Files that hold weights without a wiring (state_dict, TorchScript, .npz): wire the obvious, else say what to write.

Sizes and names say which layers a file has; they do not say what stands between them. So only this is wired: one
LSTM or GRU, alone, or (in one direction) with one Linear layer behind it, and not a single tensor more; nor, in a whole
module or TorchScript archive, anything that computes without tensors. Two Linear
layers in a row have an unknown activation between them, an RNN may be tanh or relu: those end in an error that
lists what was found and prints the lines of Python to start from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._text import MAX_LINE, listed, quoted, shown
from ..errors import UnsupportedError
from ..ir.graph import Graph
from ..layers import GRU, LSTM, Dense, Layer, build_sequential
from ..weights import read_beside
from ..weights.archive import members
from ..weights.in_memory import InMemory, as_path

Weights = dict[str, np.ndarray]

#: First parts of names that belong to training: what they hold never takes part in inference.
TRAINING = {
    "optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict", "optimizer_weights",
    "optim", "optim_state_dict", "lr_scheduler", "lr_schedulers", "scheduler", "scheduler_state_dict",
}  # fmt: skip
_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l(\d{1,4})(_reverse)?)?")
_KERAS = {"kernel", "recurrent_kernel", "bias", "embeddings", "gamma", "beta", "moving_mean", "moving_variance"}
_TANH = ', nonlinearity="tanh"'
_MAX_LISTED = 60
#: of a cell whose names say nothing
_BY_SIZE = "by the sizes of its matrices"


@dataclass
class Group:
    """Tensors that make one layer.

    Attributes:
        prefix: what stands in front of their names.
        kind: LSTM, GRU, RNN, Linear ..., or "tensor" for one that explains itself in no layer.
        n_in, n_out: sizes of a frame before and behind the layer, when it can stand in a chain.
        line: Python that makes the layer, or empty.
    """

    prefix: str
    kind: str
    names: list[str]
    n_in: int | None = None
    n_out: int | None = None
    line: str = ""
    bidirectional: bool = False
    note: str = ""
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __str__(self) -> str:
        what = f"{self.kind} {self.n_in} -> {self.n_out}" if self.n_in is not None else f"{self.kind} {self.shapes[0]}"
        return f"{shown(self.prefix) or '(no prefix)'}: {what}{f', {self.note}' if self.note else ''}"


def load(path: str | os.PathLike[str], *, name: str | None = None) -> Graph:
    """Wire a weights-only file when there is one way to do it.

    Args:
        path: a file that `undertow.read_weights` reads.
        name: of the graph; the file's name unless given.

    Raises:
        UnsupportedError: there is more than one way; the message lists the layers found and the lines to write.
        FormatError, ShapeError: as `read_weights` and `LSTM.from_torch`.
    """
    path = as_path(path)
    arrays, beside = read_beside(path)
    weights = {key: w for key, w in arrays.items() if not _is_training(key)}
    groups = find_groups(weights)
    reason = _ambiguity(groups)
    if not reason and beside:
        some = listed(beside[:5]) + (" ..." if len(beside) > 5 else "")
        reason = f"holds weights and no wiring that can be read, but says that there is more than its layers: {some}"
    if reason:
        raise UnsupportedError(f"{path}: {reason}", *describe(groups), *suggest(groups, path))
    for key, w in weights.items():
        if w.dtype.kind not in "fiub":
            raise UnsupportedError(f"{path}: {quoted(key)} has dtype {w.dtype}, expected real numbers")
    graph = build_sequential([_layer(group, weights) for group in _recurrent_first(groups)], name or path.stem)
    chain = " -> ".join(str(group) for group in _recurrent_first(groups))
    graph.note(f"{shown(path.name)}: {chain}, wired by size")
    return graph


def _is_training(key: str) -> bool:
    first, second, *_ = [*key.replace("/", ".").split(".", 2), ""]
    return first in TRAINING or second in TRAINING  # in a zip of files the first part is the file


def find_groups(weights: Weights) -> list[Group]:
    """The layers that the names and shapes speak of, in the order of the file."""
    by_prefix: dict[str, list[str]] = {}
    for key in weights:
        by_prefix.setdefault(_split(key)[0], []).append(key)
    groups: list[Group] = []
    for prefix, names in by_prefix.items():
        groups += _cell_of_tensors(_group(prefix, names, weights))
    return groups


def _split(key: str) -> tuple[str, str]:
    """(prefix, last part) of a PyTorch name (a.b.weight) or a path (a/b/kernel:0)."""
    separator = "/" if "/" in key else "."
    prefix, _, last = key.rpartition(separator)
    return prefix, last.removesuffix(":0")


def _group(prefix: str, names: list[str], weights: Weights) -> list[Group]:
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
        layer = _same_size(prefix, "BatchNorm", shape["running_mean"], f"BatchNorm.from_torch(w, {prefix!r})")
    elif "weight" in shape:
        used = last.keys() & {"weight", "bias"}
        layer = _weight_and_bias(prefix, shape)
    elif prefix.endswith("vars") and all(part.isdigit() for part in last) and (layer := _numbered(prefix, shape)):
        used = set(last)
    elif "/" in names[0] or _KERAS & last.keys():
        used = last.keys() & _KERAS
        layer = _keras(prefix, shape)
    if layer is None:
        used = set()
    else:
        layer.names = [last[part] for part in last if part in used]
        layer.shapes = [weights[name].shape for name in layer.names]
    rest = [
        Group(name, "tensor", [name], shapes=[weights[name].shape]) for part, name in last.items() if part not in used
    ]
    return ([layer] if layer else []) + rest


def _recurrent(prefix: str, parts: set[str], shape: dict[str, tuple[int, ...]]) -> Group | None:
    matches = [_RECURRENT.fullmatch(part) for part in parts]
    suffixes = sorted({m[3] or "" for m in matches if m}, key=lambda s: (len(s.split("_")), s))
    first = suffixes[0]
    W, R = shape.get(f"weight_ih{first}", ()), shape.get(f"weight_hh{first}", ())
    if len(W) != 2 or len(R) != 2 or not all((*W, *R)):
        return None
    projection = shape.get(f"weight_hr{first}", ())
    hidden = projection[1] if len(projection) == 2 else R[1]
    kind = {1: "RNN", 3: "GRU", 4: "LSTM"}.get(R[0] // hidden if hidden and R[0] % hidden == 0 else 0)
    if kind is None:
        return None
    both = any(suffix.endswith("_reverse") for suffix in suffixes)
    n_layers = len({suffix.removesuffix("_reverse") for suffix in suffixes})
    notes = [f"{n_layers} layers"] * (n_layers > 1) + ["bidirectional"] * both
    notes += [f"{hidden} hidden projected to {R[1]}"] * bool(projection)
    line = f"{kind}.from_torch(w, {prefix!r}{_TANH if kind == 'RNN' else ''})"
    return Group(prefix, kind, [], W[1], R[1] * (2 if both else 1), line, both, ", ".join(notes))


def _weight_and_bias(prefix: str, shape: dict[str, tuple[int, ...]]) -> Group | None:
    weight, bias = shape["weight"], shape.get("bias")
    if len(weight) == 2:
        if bias is None:
            # Nothing tells the two apart, and an embedding is the commoner one without a bias.
            line = f"Embedding.from_torch(w, {prefix!r})"
            return Group(
                prefix, "Embedding or Linear without bias", [], weight[1], weight[0], line, note=f"weight {weight}"
            )
        if bias == weight[:1]:
            return Group(
                prefix, "Linear", [], weight[1], weight[0], f"Dense.from_torch(w, {prefix!r}, activation=None)"
            )
    elif len(weight) == 1 and bias in (None, weight):
        return _same_size(prefix, "LayerNorm or another norm", weight, f"LayerNorm.from_torch(w, {prefix!r})")
    elif len(weight) in (3, 4):
        rank = len(weight) - 2
        line = f"FrameConv{rank}D.from_torch(w, {prefix!r}, stride=1, padding=0, activation=None)"
        return Group(prefix, f"Conv{rank}d", [], line=line)
    return None


def _same_size(prefix: str, kind: str, shape: tuple[int, ...], line: str) -> Group | None:
    return Group(prefix, kind, [], shape[0], shape[0], line) if len(shape) == 1 else None


def _keras(prefix: str, shape: dict[str, tuple[int, ...]]) -> Group | None:
    kernel, recurrent = shape.get("kernel", ()), shape.get("recurrent_kernel", ())
    if len(kernel) == 2 and len(recurrent) == 2 and recurrent[0]:
        kind = {1: "RNN", 3: "GRU", 4: "LSTM"}.get(recurrent[1] // recurrent[0])
        if kind:
            return Group(prefix, kind, [], kernel[0], recurrent[0], f"{kind}.from_keras(w, {prefix!r})", note="Keras")
    elif len(kernel) == 2 and not recurrent:
        return Group(
            prefix, "Dense", [], kernel[0], kernel[1], f"Dense.from_keras(w, {prefix!r}, activation=None)", note="Keras"
        )
    elif len(embeddings := shape.get("embeddings", ())) == 2:
        return Group(
            prefix, "Embedding", [], embeddings[0], embeddings[1], f"Embedding.from_keras(w, {prefix!r})", note="Keras"
        )
    return None


def _numbered(prefix: str, shape: dict[str, tuple[int, ...]]) -> Group | None:
    """A layer of Keras 3, which numbers its arrays: layers/lstm/cell/vars/0."""
    owner = prefix.removesuffix("vars").removesuffix("/")
    first, second, third = (shape.get(str(number), ()) for number in range(3))
    gates = {1: "RNN", 3: "GRU", 4: "LSTM"}
    if len(first) == len(second) == 2 and second[0] and first[1] == second[1] and len(third) < 3:
        kind = gates.get(second[1] // second[0]) if second[1] % second[0] == 0 else None
        if kind:
            owner = owner.removesuffix("cell").removesuffix("/")
            return Group(owner, kind, [], first[0], second[0], f"{kind}.from_keras(w, {owner!r})", note="Keras")
    if len(first) == 2 and second == first[1:] and len(shape) == 2:
        line = f"Dense.from_keras(w, {owner!r}, activation=None)"
        return Group(owner, "Dense", [], first[0], first[1], line, note="Keras")
    return None


def _cell_of_tensors(groups: list[Group]) -> list[Group]:
    """Groups of one prefix, where two matrices among tensors of any names can only be the weights of a cell: their
    sizes tell which. Of matrices that are alike the one whose name says so multiplies the hidden state.
    """
    loose = [group for group in groups if group.kind == "tensor"]
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
        if W.shapes[0][0] == rows and rows % hidden == 0 and rows // hidden in (1, 3, 4):
            fitting.append((W, R))
    fitting = [pair for pair in fitting if is_hidden(pair[1])] or fitting
    if len(fitting) != 1 or any(v.shapes[0] != fitting[0][1].shapes[0][:1] for v in vectors):
        return groups
    ((W, R),) = fitting
    hidden = R.shapes[0][1]
    kind = {1: "RNN", 3: "GRU", 4: "LSTM"}[R.shapes[0][0] // hidden]
    biases = sorted(vectors, key=is_hidden)
    given = [f"w[{_literal(group.names[0])}]" for group in (W, R, *biases)]
    if len(biases) == 2:
        given[3] = f"recurrent_bias={given[3]}"
    given += {"RNN": ['activation="tanh"'], "GRU": ["reset_after=True", 'gate_order="zrn"'], "LSTM": []}[kind]
    given += ['gate_order="ifgo"'] if kind == "LSTM" else []
    prefix = _split(W.names[0])[0]
    cell = Group(prefix, kind, [n for g in (W, R, *biases) for n in g.names], W.shapes[0][1], hidden, note=_BY_SIZE)
    cell.line, cell.shapes = f"{kind}({', '.join(given)})", [g.shapes[0] for g in (W, R, *biases)]
    return [cell]


def _ambiguity(groups: list[Group]) -> str:
    """Why these groups cannot be wired without guessing; empty when they can."""
    start = "holds weights but no wiring, and "
    recurrent = [g for g in groups if g.kind in ("LSTM", "GRU", "RNN")]
    others = [g for g in groups if g not in recurrent]
    if not recurrent:
        return start + "no LSTM, GRU or RNN with PyTorch's or Keras's names in it"
    if len(recurrent) > 1:
        return start + f"it has {len(recurrent)} recurrent modules: {', '.join(g.prefix for g in recurrent)}"
    (cell,) = recurrent
    if cell.note == "Keras":
        return start + f"Keras's activations ({cell.prefix}) are not in it; load the whole .keras or .h5 model"
    if cell.note == _BY_SIZE:
        return start + f"the order of the gates of {cell.prefix or 'the cell'} is not in it"
    if cell.kind == "RNN":
        return start + f"it does not say whether {cell.prefix or 'the RNN'} uses tanh or relu"
    if not others:
        return ""
    strangers = [g for g in others if g.kind != "Linear"]
    if strangers:
        return start + f"{strangers[0].prefix!r} ({strangers[0].kind}) can stand in several places"
    if len(others) > 1:
        return start + f"the activations between {' and '.join(repr(g.prefix) for g in others[:2])} are not in it"
    (head,) = others
    if cell.bidirectional:
        return start + f"{head.prefix!r} may read every frame or the two last states of {cell.prefix!r}"
    if head.n_in != cell.n_out:
        return start + f"{head.prefix!r} takes {head.n_in} inputs, but {cell.prefix!r} gives {cell.n_out}"
    if head.n_out == cell.n_in:
        return start + f"{head.prefix!r} fits before {cell.prefix!r} as well as behind it"
    return ""


def _recurrent_first(groups: list[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: group.kind == "Linear")


def _layer(group: Group, weights: Weights) -> Layer:
    name = group.prefix.rsplit(".", 1)[-1] or None
    if group.kind == "Linear":
        return Dense.from_torch(weights, group.prefix, name=name)
    return (LSTM if group.kind == "LSTM" else GRU).from_torch(weights, group.prefix, name=name)


# -- words for the reader -----------------------------------------------------------------------------------------


def describe(groups: list[Group]) -> list[str]:
    """What was found, one layer or loose tensor a line."""
    lines = [f"  {group}" for group in groups[:_MAX_LISTED]]
    if len(groups) > _MAX_LISTED:
        lines.append(f"  ... and {len(groups) - _MAX_LISTED} more")
    return ["It holds:", *lines]


def suggest(groups: list[Group], path: Path) -> list[str]:
    """Lines of Python to start from: layers in the order in which their sizes fit, else in the file's."""
    chain = [g for g in groups if g.line][:_MAX_LISTED]
    if all(g.note == "Keras" and g.prefix.startswith("layers/") for g in chain):  # which its files sort by name
        chain.sort(key=lambda g: g.kind not in ("LSTM", "GRU", "RNN"))
    left_out = [g for g in groups if not g.line][:_MAX_LISTED]
    order, is_only = _order(chain)
    given = "data" if isinstance(path, InMemory) and path.nameless else repr(str(path))
    lines = [
        "Write the wiring, for example:",
        f"    w = undertow.read_weights({given})",
        "    model = undertow.Sequential([",
    ]
    if not is_only and len(chain) > 1:
        what = "one order in which their sizes fit, of several" if order else "the order of the file; sizes do not tell"
        lines.append(f"        # {what}")
    for i, group in enumerate(order or chain):
        notes = []
        if _TANH in group.line:
            notes.append('or "relu": the file does not say')
        if "activation=None" in group.line and i + 1 < len(chain):
            notes.append('activation: "relu", "elu", "tanh" ...; the file does not say')
        if group.kind.startswith("Conv"):
            along = "; along time: undertow.Conv1D" if group.kind == "Conv1d" else ""
            notes.append(f"over axes of a frame (channels, *axes){along}; stride and padding are not in the file")
        if group.note == _BY_SIZE and group.kind != "RNN":
            notes.append(f"gate_order{' and reset_after' * (group.kind == 'GRU')} as in your training code")
        if group.kind.startswith("Embedding or"):
            notes.append("or undertow.Dense.from_torch")
        lines.append(f"        undertow.{group.line},{'  # ' + '; '.join(notes) if notes else ''}")
    if not chain:
        lines.append(
            "        # undertow.LSTM, GRU, RNN, Dense ... from the arrays of w, gate order as in your training code:"
        )
        lines.append('        undertow.LSTM(W, R, b, recurrent_bias=None, gate_order="ifgo"),')
    lines.append("    ])")
    for group in left_out:
        place = f"  (w[{_literal(group.names[0])}])" if group.kind == "tensor" else ""
        lines.append(f"    # not placed: {group}{place}")
    if any(member.filename.endswith("/constants.pkl") for member in members(path)):
        given = "io.BytesIO(data)" if given == "data" else given
        lines.append(
            f"Or, with torch, take the TorchScript as a whole: undertow.from_torch(torch.jit.load({given}), example)"
        )
    # Cut in its middle, a line could end a string where the name has a quote, and make code of the rest.
    return [
        line if len(line) <= MAX_LINE else "        # (a name that is too long to be written here)" for line in lines
    ]


def _literal(name: str) -> str:
    """A name as Python reads it: in double quotes, if nothing in it can end them."""
    return f'"{name}"' if name.isprintable() and not set(name) & {'"', "\\"} else repr(name)


def _order(chain: list[Group]) -> tuple[list[Group] | None, bool]:
    """An order in which every layer takes what the one before gives, the nearest to the file's, and whether it is the
    only one; (None, False) where there is none.
    """
    if not 2 <= len(chain) <= 8 or any(group.n_in is None for group in chain):
        return None, False
    orders: list[list[Group]] = []

    def sizes(group: Group) -> tuple[int | None, int | None]:
        # An embedding takes ids, which no layer gives.
        return (None, group.n_in) if group.kind.startswith("Embedding") else (group.n_in, group.n_out)

    def extend(done: list[Group], rest: Iterable[Group]) -> None:
        rest = list(rest)
        if not rest:
            orders.append(done)
        for i, group in enumerate(rest):
            if len(orders) > 1:
                return
            if not done or sizes(done[-1])[1] == sizes(group)[0]:
                extend([*done, group], rest[:i] + rest[i + 1 :])

    extend([], chain)
    return (orders[0], len(orders) == 1) if orders else (None, False)
