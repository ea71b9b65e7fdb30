# SPDX-License-Identifier: MIT
"""The lines of Python that wire weights, as messages print them: those alone that were tried."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from .. import layers
from .._text import MAX_LINE, quoted, shown
from ..budget import Spent, TooMuch
from ..errors import Error
from ..ir.graph import Graph
from ..layers import Layer, build_sequential
from ..weights.archive import members
from ..weights.in_memory import InMemory
from ._memory import warn
from .state_dict_groups import RECURRENT, Group, Line, Weights, literal

_MAX_LISTED = 60
#: layers of a row whose order is looked for, the steps of that, and the rows that are built
_MAX_ROW, _MAX_STEPS, _MAX_BUILT = 12, 4000, 4

Row = list[tuple[Group, Line]]


def describe(groups: list[Group]) -> list[str]:
    """What the file holds, one layer or loose tensor a line."""
    lines = [f"  {group}" for group in groups[:_MAX_LISTED]]
    if len(groups) > _MAX_LISTED:
        lines.append(f"  ... and {len(groups) - _MAX_LISTED} more")
    return ["It holds:", *lines]


@dataclass
class _Tried:
    """Layers of the lines that make one."""

    built: dict[str, Layer]
    failed: dict[str, str]  # prefix -> why none of its lines does


def suggest(groups: list[Group], path: Path, weights: Weights) -> list[str]:
    """Lines of Python to start from: layers in an order in which they fit, or, where there is none, each by itself."""
    chain = [group for group in groups if group.lines][:_MAX_LISTED]
    if all(group.by == "Keras" and group.prefix.startswith("layers/") for group in chain):
        # Its files sort by class and number, as text; cells first is likelier, and 10 comes behind 9.
        chain.sort(key=lambda group: (group.kind not in RECURRENT, *_numbered_name(group.prefix)))
    chain, tried = _try(chain, weights)
    loose = [group for group in groups if group not in chain][:_MAX_LISTED]
    row, is_only = _row(chain, tried)
    text = [*_start(path), *_row_lines(row, is_only)] if row or not chain else [*_beside(chain, path)]
    for group in loose:
        place = f"  (w[{literal(group.names[0])}])" if group.kind == "tensor" else ""
        why = f": {tried.failed[group.prefix]}" if group.prefix in tried.failed else ""
        text.append(f"    # not placed: {group}{place}{why}")
    return [*_cut(text), *_whole(path)]


def say_as_wired(
    graph: Graph, row: list[Group], path: Path, weights: Weights, promised: bool, can_promise: bool = True
) -> None:
    """Note that a graph is these layers and nothing else: as promised, or with a warning that names each place where a
    model may apply what has no weights. A layer that has no name in the file is all that was saved.

    can_promise: whoever called `undertow.load` may give it `assume_as_wired` for this file.
    """
    if len(row) == 1 and not row[0].prefix:
        return  # the file is of the layer itself
    if promised:
        graph.note("nothing else between or behind these layers, as the caller says")
        return
    places = " and ".join(f"behind {quoted(group.prefix)} ({group.kind})" for group in row)
    promise = "; where it is right so, load it with assume_as_wired=True" if can_promise else ""
    text = (
        f"{shown(path.name)}: wired by size, and nothing is applied {places}, for the file does not say: a sigmoid, a "
        f"softmax or a sum with what went in has no weights. Hold it against your model's forward(){promise}"
    )
    warn(graph, text, *_with_places(row, path, weights))


def _with_places(row: list[Group], path: Path, weights: Weights) -> list[str]:
    """The lines for layers in this order, with an activation behind the last, for who has one there."""
    told: Row = []
    for group in row:
        line = group.lines[0]
        if group is row[-1] and "activation=None" in line.code:
            code = line.code.replace("activation=None", 'activation="sigmoid"')
            line = replace(line, code=code, unsaid='or "tanh", "softmax" ...; None for none')
        told.append((group, line))
    _built(told, {line.code: layer_of(line.code, weights) for _, line in told})
    text = [*_start(path), *_row_lines(told, True, _behind)]
    return [*_cut(text), *_whole(path)]


def _behind(group: Group, line: Line) -> list[str]:
    """What may stand behind a layer, as comments to uncomment."""
    if 'activation="sigmoid"' in line.code:
        return []
    where = f"where the model has one behind {quoted(group.prefix)}"
    lines = [f'        # undertow.Activate("relu"),  # or "tanh" ..., {where}']
    if line.n_in == line.n_out:
        lines.append(f"        # undertow.Residual({line.code}),  # in place of it, where the model adds its input")
    return lines


# -- trying -------------------------------------------------------------------------------------------------------


def layer_of(code: str, weights: Mapping[str, Any]) -> Layer:
    """The layer of a line of `Line.code`: calls of undertow's layers on literals and weights, and nothing else.

    Raises:
        Error, TypeError, ValueError: as the layer.
    """
    layer: Layer = _value(ast.parse(code, mode="eval").body, weights)
    return layer


def _value(node: ast.expr, weights: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Call):
        args = [_value(arg, weights) for arg in node.args]
        return _callee(node.func)(*args, **{str(k.arg): _value(k.value, weights) for k in node.keywords})
    if isinstance(node, ast.Name) and node.id == "w":
        return weights
    if isinstance(node, ast.Subscript):
        return weights[ast.literal_eval(node.slice)]
    return ast.literal_eval(node)


def _callee(node: ast.expr) -> Callable[..., Any]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    callee: Any = layers
    for name in names:
        callee = getattr(callee, name)
    return callee  # type: ignore[no-any-return]


def _try(chain: list[Group], weights: Weights) -> tuple[list[Group], _Tried]:
    """The groups of which a line makes a layer, with these lines alone."""
    tried, able = _Tried({}, {}), []
    for group in chain:
        lines = []
        for line in group.lines:
            try:
                tried.built[line.code] = layer_of(line.code, weights)
                lines.append(line)
            except (Error, TypeError, ValueError) as error:
                tried.failed.setdefault(group.prefix, str(error).partition("\n")[0])
        if lines:
            able.append(replace(group, lines=lines))
    return able, tried


def _row(chain: list[Group], tried: _Tried) -> tuple[Row | None, bool]:
    """The groups in an order in which every layer takes what the one before gives, the nearest to the file's, and
    whether it is the only one; (None, False) where there is none.
    """
    if len(chain) > _MAX_ROW:
        of_file = [(group, group.lines[0]) for group in chain]
        return (of_file, False) if _built(of_file, tried.built) else (None, False)
    rows = list(islice(_rows(chain), _MAX_BUILT))
    fitting = (row for row in rows if _built(row, tried.built))
    return next(fitting, None), len(rows) == 1


def _rows(chain: list[Group]) -> Iterator[Row]:
    """Orders of the groups in which their sizes fit."""
    n_steps = 0

    def extend(done: Row, rest: list[Group]) -> Iterator[Row]:
        nonlocal n_steps
        if not rest:
            yield done
        for i, group in enumerate(rest):
            for line in group.lines:
                n_steps += 1
                if n_steps > _MAX_STEPS:
                    return
                if line.n_in is None and len(chain) > 1:
                    continue
                if not done or (done[-1][1].n_out == line.n_in and not line.takes_ids):
                    yield from extend([*done, (group, line)], rest[:i] + rest[i + 1 :])

    return extend([], chain) if chain else iter(())


def _built(row: Row, layer_by_code: Mapping[str, Layer]) -> bool:
    """Whether these layers make a graph."""
    try:
        build_sequential([layer_by_code[line.code] for _, line in row])
    except (TooMuch, Spent):  # sizes alone decide then
        return True
    except (Error, TypeError, ValueError):
        return False
    return True


def _numbered_name(prefix: str) -> tuple[str, int]:
    name, _, number = prefix.rpartition("_")
    return (name, int(number)) if name and number.isdecimal() and len(number) < 9 else (prefix, 0)


# -- printing -----------------------------------------------------------------------------------------------------


def _given(path: Path) -> str:
    return "data" if isinstance(path, InMemory) and path.nameless else repr(str(path))


def _start(path: Path) -> list[str]:
    return ["Write the wiring, for example:", f"    w = undertow.read_weights({_given(path)})"]


def _row_lines(row: Row | None, is_only: bool, behind: Callable[[Group, Line], list[str]] | None = None) -> list[str]:
    text = ["    model = undertow.Sequential(["]
    if row and len(row) > 1 and not is_only:
        text.append("        # one order in which their sizes fit, of several")
    for group, line in row or []:
        text.append(_commented(line))
        text += [] if behind is None else behind(group, line)
    if not row:
        text.append(
            "        # undertow.LSTM, GRU, RNN, Dense ... from the arrays of w, gate order as in your training code:"
        )
        text.append('        undertow.LSTM(W, R, b, recurrent_bias=None, gate_order="ifgo"),')
    return [*text, "    ])"]


def _beside(chain: list[Group], path: Path) -> list[str]:
    """Lines of layers that make no row, and what puts them together."""
    sized = len(chain) <= _MAX_ROW and all(line.n_in is not None for group in chain for line in group.lines[:1])
    why = "In no order do they fit in a row by their sizes" if sized else "Their sizes do not tell how they are wired"
    if all(group.by == "Keras" for group in chain):
        out = "load the whole .keras or .h5 model"
    else:
        out = "undertow.from_torch(module, example) takes the module, undertow.load an ONNX export of it"
    return [
        f"{why}: {out}; by hand, undertow.Graph and layer.add_to(graph, x) do. Lines that make the layers:",
        f"    w = undertow.read_weights({_given(path)})",
        "    layers = [",
        *(_commented(group.lines[0]) for group in chain),
        "    ]",
    ]


def _commented(line: Line) -> str:
    return f"        {line.code},{f'  # {line.unsaid}' if line.unsaid else ''}"


def _whole(path: Path) -> list[str]:
    """The way without wiring, for an archive that holds one."""
    if not any(member.filename.endswith("/constants.pkl") for member in members(path)):
        return []
    given = "io.BytesIO(data)" if _given(path) == "data" else _given(path)
    text = f"Or, with torch, take the TorchScript as a whole: undertow.from_torch(torch.jit.load({given}), example)"
    return _cut([text])


def _cut(lines: list[str]) -> list[str]:
    """Cut in its middle, a line could end a string where the name has a quote, and make code of the rest."""
    return [
        line if len(line) <= MAX_LINE else "        # (a name that is too long to be written here)" for line in lines
    ]


__all__ = ["describe", "layer_of", "say_as_wired", "suggest"]
