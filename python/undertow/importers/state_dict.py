# SPDX-License-Identifier: MIT
"""Files that hold weights without a wiring (state_dict, TorchScript, .npz): wire the obvious, else say what to write.

Sizes and names say which layers a file has; they do not say what stands between them. So only this is wired: one
LSTM or GRU, alone, or (in one direction) with one Linear layer behind it, and not a single tensor more; nor, in a whole
module or TorchScript archive, anything that computes without tensors. Of parts of a module a warning says where it
may have more. Two Linear layers in a row have an unknown activation between them, an RNN may be tanh or relu: those
end in an error that lists what was found and prints the lines of Python to start from.
"""

from __future__ import annotations

import os

from .._text import listed, quoted, shown
from ..errors import UnsupportedError
from ..ir.graph import Graph
from ..layers import GRU, LSTM, Dense, Layer, build_sequential
from ..weights import read_beside
from ..weights.in_memory import as_path
from .state_dict_groups import RECURRENT, Group, Weights, find_groups
from .state_dict_lines import describe, say_as_wired, suggest

#: First parts of names that belong to training: what they hold never takes part in inference.
TRAINING = {
    "optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict", "optimizer_weights",
    "optim", "optim_state_dict", "lr_scheduler", "lr_schedulers", "scheduler", "scheduler_state_dict",
}  # fmt: skip


def load(
    path: str | os.PathLike[str],
    can_promise: bool = True,
    *,
    name: str | None = None,
    assume_as_wired: bool = False,
) -> Graph:
    """Wire a weights-only file when there is one way to do it.

    Args:
        path: a file that `undertow.read_weights` reads.
        can_promise: whoever called `undertow.load` may give it `assume_as_wired` for this file.
        name: of the graph; the file's name unless given.
        assume_as_wired: promise that the model computes nothing but these layers: no activation between or behind them,
            no sum with what went in. Then nothing is warned of.

    Warns:
        ModelWarning: the layers are parts of a module, and the file does not say what it applies between and behind
            them; the message holds lines to write.

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
        raise UnsupportedError(f"{path}: {reason}", *describe(groups), *suggest(groups, path, weights))
    for key, w in weights.items():
        if w.dtype.kind not in "fiub":
            raise UnsupportedError(f"{path}: {quoted(key)} has dtype {w.dtype}, expected real numbers")
    row = sorted(groups, key=lambda group: group.kind == "Linear")
    graph = build_sequential([_layer(group, weights) for group in row], name or path.stem).plain()
    graph.note(f"{shown(path.name)}: {' -> '.join(map(str, row))}, wired by size")
    say_as_wired(graph, row, path, weights, assume_as_wired, can_promise)
    return graph


def _is_training(key: str) -> bool:
    first, second, *_ = [*key.replace("/", ".").split(".", 2), ""]
    # In a zip of files the first part is the file; Keras keeps the random numbers of its dropouts.
    return first in TRAINING or second in TRAINING or "seed_generator" in key.split("/")


def _ambiguity(groups: list[Group]) -> str:
    """Why these groups cannot be wired without guessing, and what else is not in the file; empty when they can."""
    recurrent = [group for group in groups if group.kind in RECURRENT]
    reasons = [*filter(None, [_unwired(recurrent, [group for group in groups if group.kind not in RECURRENT])])]
    untold = [group for group in recurrent if group.kind == "RNN" and group.by != "Keras"]
    if untold:
        names = " and ".join(group.prefix or "the RNN" for group in untold[:3])
        reasons.append(f"it does not say whether {names} {'uses' if len(untold) == 1 else 'use'} tanh or relu")
    if any(group.by == "Keras" for group in groups):
        whose = f" ({recurrent[0].prefix})" if len(recurrent) == 1 else ""
        reasons.append(f"Keras's activations{whose} are not in it; load the whole .keras or .h5 model")
    return f"holds weights but no wiring, and {', and '.join(reasons)}" if reasons else ""


def _unwired(recurrent: list[Group], others: list[Group]) -> str:
    """Why it cannot be told how these layers follow each other."""
    if not recurrent:
        return "no LSTM, GRU or RNN with PyTorch's or Keras's names in it"
    if len(recurrent) > 1:
        return f"it has {len(recurrent)} recurrent modules: {', '.join(group.prefix for group in recurrent)}"
    (cell,) = recurrent
    if cell.by == "Keras":
        return ""  # its activations are reason enough
    if cell.by == "sizes":
        return f"the order of the gates of {cell.prefix or 'the cell'} is not in it" if cell.kind != "RNN" else ""
    strangers = [group for group in others if group.kind != "Linear"]
    if strangers:
        return f"{strangers[0].prefix!r} ({strangers[0].kind}) can stand in several places"
    if len(others) > 1:
        return f"the activations between {' and '.join(repr(group.prefix) for group in others[:2])} are not in it"
    for head in others:
        if cell.bidirectional:
            return f"{head.prefix!r} may read every frame or the two last states of {cell.prefix!r}"
        if head.n_in != cell.n_out:
            return f"{head.prefix!r} takes {head.n_in} inputs, but {cell.prefix!r} gives {cell.n_out}"
        if head.n_out == cell.n_in:
            return f"{head.prefix!r} fits before {cell.prefix!r} as well as behind it"
    return ""


def _layer(group: Group, weights: Weights) -> Layer:
    name = group.prefix.rsplit(".", 1)[-1] or None
    if group.kind == "Linear":
        return Dense.from_torch(weights, group.prefix, name=name)
    return (LSTM if group.kind == "LSTM" else GRU).from_torch(weights, group.prefix, name=name)
