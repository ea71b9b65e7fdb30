# SPDX-License-Identifier: MIT
"""Find RNN, GRU and LSTM cells that somebody took apart into products, sums and registers, and put them together.

An exporter that knows no LSTM writes its formulas: a product with [x, h], slices, sigmoid and tanh, and the next h
and c as what the model returns. In a Graph that is a region of frame ops between state registers: right, and slow.
Here the next value of every register is expanded into a polynomial of gates and held against the formulas of the
cells; only where all of it fits does a cell take its place, so anything else (a clamp, another activation per gate,
minGRU) stays as it is and streams through its registers.

Formulas, with s the gates' activation:

* lstm: c' = f c + i g and h' = o tanh(c'), or f = 1 - i; h' may be projected; peepholes from c to i and f, from c' to o
* gru: h' = (1 - z) n + z h, or z and 1 - z the other way round when s is the sigmoid; r before or after R h
* rnn: h' = activation(W x + R h + b)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..budget import Budget, TooMuch
from ..ir.activations import IDENTITY, SIGMOID, Activation
from ..ir.graph import Graph
from ..ir.ops import OPS
from .algebra import Formulas, Linear, NoFormula, Vector
from .linear import NotDiagonal
from .vectors import Index, table

#: what a node costs that is only passed over, in elements
_EACH_NODE = 2**5


@dataclass
class Part:
    """Elements of a register: where they are read, and the vector that is written there next.

    gate: a value that is 0 in the first frames, in which the register stays as it is; held: the value that is written.
    """

    state: str
    positions: Index
    next: Vector
    before: Vector
    gate: str = ""
    held: str = ""


@dataclass
class Cell:
    """A cell that was found; weights by gate in undertow's order.

    parts: of h, and of c for an lstm. gates: what goes into each gate. recurrent: what multiplies the hidden state in
    each of them, as a form and the elements that stand for the state there. own: elements that are no input of the
    cell: its state, and what is made from it.
    """

    op: str
    parts: list[Part]
    attrs: dict[str, Any]
    gates: list[Linear]
    recurrent: list[tuple[Linear, Vector]]
    own: list[Vector]
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def find(graph: Graph, budget: Budget, none: set[tuple[str, str]]) -> Cell | None:
    """The first cell that is taken apart in a graph.

    none: (state, value that is written there) of parts that begin no cell, which are passed over; it grows.

    Raises:
        Spent: the budget's work is done.
    """
    budget.spend(len(graph.nodes) * _EACH_NODE)
    formulas = Formulas(graph, budget)
    parts = _parts(graph, formulas)
    for part in parts:
        key = part.state, part.next.source
        if key in none:
            continue
        for match in (_lstm, _gru, _rnn):
            try:
                cell = match(formulas, part, parts)
            except (NoFormula, NotDiagonal, TooMuch):
                continue
            if (
                cell is not None
                and len({p.gate for p in cell.parts}) == 1
                and not _loops(formulas, cell)
                and 8 * _n_weights(cell) <= budget.memory
            ):
                return cell
        none.add(key)
    return None


def _n_weights(cell: Cell) -> int:
    """Numbers in W and R."""
    width = sum(vector.size for vector in inputs_of(cell))
    return sum(form.size * (width + of.size) for form, of in cell.recurrent)


def _parts(graph: Graph, formulas: Formulas) -> list[Part]:
    """Registers, cut by what is written to them; only parts that are written by one whole value."""
    parts, reads = [], set(formulas.reads.values())
    for node in graph.nodes:
        if not OPS[node.op].writes_register or node.states[0] not in formulas.reads:
            continue
        state, value = node.states[0], node.inputs[0]
        late = _late(formulas, value, state)
        gate, held, value = late or ("", "", value)
        for vector, positions in formulas.origins(value, range(graph.values[value].size)):
            if vector == Vector(vector.source, range(graph.values[vector.source].size)) and vector.source not in reads:
                before = Vector(formulas.reads[state], positions)
                whole = late is None or vector.size == graph.values[value].size
                parts += [Part(state, positions, vector, before, gate, held)] if whole else []
    return parts


def _late(formulas: Formulas, value: str, state: str) -> tuple[str, str, str] | None:
    """Where a register stays as it is in the first frames of a sequence: (gate, what is written, what else is written).

    A cell with a gate gives zeros where its gate is 0, which frames that are not there may be, and no others.
    """
    source = _whole(formulas, value)
    choice = formulas.producer.get(source or "")
    if choice is None or choice.op != "where" or _whole(formulas, choice.inputs[2]) != formulas.reads[state]:
        return None
    graph = formulas.graph
    origins = formulas.origins(choice.inputs[0], range(graph.values[choice.inputs[0]].size))
    window = formulas.producer.get(origins[0][0].source)
    one = formulas.producer.get(window.inputs[0]) if window is not None and window.op == "window" else None
    if len(origins) > 1 or window is None or one is None or one.op != "constant" or (one.weights["value"] != 1).any():
        return None
    shaped = (node.outputs[0] for node in graph.nodes if tuple(node.inputs) == tuple(window.outputs))
    gate = next((value for value in shaped if graph.values[value].shape == (1,)), None)
    if gate is None:
        return None
    return gate, choice.outputs[0], choice.inputs[1]


def _whole(formulas: Formulas, value: str) -> str | None:
    """The value that another one is, in any shape."""
    n = formulas.graph.values[value].size
    origins = formulas.origins(value, range(n))
    source = origins[0][0].source if len(origins) == 1 else ""
    return source if source and origins[0][0] == Vector(source, range(formulas.graph.values[source].size)) else None


def _gate(formulas: Formulas, vector: Vector, stop: Vector | None = None) -> tuple[Activation, Linear]:
    """(activation, what goes into it) of a gate."""
    activated = formulas.activation(vector)
    act, inside = activated or (IDENTITY, vector)
    return act, formulas.linear(inside, activated is not None and inside == vector, frozenset([stop] if stop else []))


def _lstm(formulas: Formulas, c: Part, parts: list[Part]) -> Cell | None:
    terms = formulas.polynomial(c.next)
    products = {key: factor for key, factor in terms.items() if len(key) == 2}
    coupled = terms.get((c.before,)) == 1.0
    if len(products) != 2 or len(terms) != 2 + coupled:
        return None
    remembered = [key for key in products if c.before in key]
    if len(remembered) != 1 or products[remembered[0]] != (-1.0 if coupled else 1.0):
        return None
    forget = _other(remembered[0], c.before)
    (entered,) = [key for key in products if key != remembered[0]]
    if products[entered] != 1.0 or (coupled and forget not in entered):
        return None
    h = _hidden(formulas, c, parts)
    if h is None:
        return None
    part, out_gate, act_out, projection = h
    act, _ = _gate(formulas, forget)
    first = forget if coupled else next((v for v in entered if _gate(formulas, v)[0] == act), entered[0])
    named = [first, forget, _other(entered, first), out_gate]
    gates = [_gate(formulas, v, c.next) for v in named]
    if any(gates[k][0] != act for k in (0, 1, 3)):
        return None
    linear = [form for _, form in gates]
    peepholes = [linear[k].diagonal(c.before if k < 2 else c.next) for k in (0, 1, 3)]
    if not all(form.is_zero(c.before) for form in linear[2:]) or not all(form.is_zero(c.next) for form in linear[:3]):
        return None
    attrs = {"activations": (act, gates[2][0], act_out), "input_forget": coupled}
    own = [part.before, c.before, c.next]
    cell = Cell("lstm", [part, c], attrs, linear, [(form, part.before) for form in linear], own)
    if any(p.any() for p in peepholes):
        cell.weights["peephole"] = np.stack(peepholes)
    if projection is not None:
        cell.weights["projection"] = projection
    return None if all(form.is_zero(of) for form, of in cell.recurrent) else cell


def _other(pair: tuple[Vector, ...], one: Vector) -> Vector:
    a, b = pair
    return b if a == one else a


def _hidden(
    formulas: Formulas, c: Part, parts: list[Part]
) -> tuple[Part, Vector, Activation, np.ndarray | None] | None:
    """(h, output gate, activation of c', projection) of an LSTM whose c was found."""
    for part in parts:
        product, projection = part.next, None
        node = formulas.producer.get(part.next.source)
        if node is not None and node.op == "dense" and node.attrs["activation"] == IDENTITY and "b" not in node.weights:
            product = formulas.vector(node.inputs[0])
            projection = node.weights["W"]
        if part is c or product.size != c.next.size:
            continue
        try:
            terms = formulas.polynomial(product)
        except NoFormula:
            continue
        pair = next(iter(terms), ())
        if len(terms) != 1 or terms[pair] != 1.0 or len(pair) != 2:
            continue
        for vector in pair:
            activated = formulas.activation(vector)
            if activated is not None and activated[1] == c.next:
                return part, _other(pair, vector), activated[0], projection
    return None


def _gru(formulas: Formulas, part: Part, parts: list[Part]) -> Cell | None:
    h = part.before
    terms = formulas.polynomial(part.next)
    singles = [key[0] for key, factor in terms.items() if len(key) == 1 and factor == 1.0]
    pairs = {key: factor for key, factor in terms.items() if len(key) == 2}
    if len(terms) != 3 or len(singles) != 1 or len(pairs) != 2 or sorted(pairs.values()) != [-1.0, 1.0]:
        return None
    (taken,) = (key for key, factor in pairs.items() if factor == -1.0)  # the product with what stands alone
    (given,) = (key for key, factor in pairs.items() if factor == 1.0)
    if singles[0] not in taken:
        return None
    z = _other(taken, singles[0])
    flipped = singles[0] == h  # h' = h - z h + z n
    if z not in given or (not flipped and _other(given, z) != h):
        return None
    n = _other(given, z) if flipped else singles[0]
    act, z_form = _gate(formulas, z)
    if flipped:
        if act != SIGMOID:
            return None
        z_form = z_form.negated()
    act_n, n_form = _gate(formulas, n)
    reset = _reset(formulas, n_form, h)
    if reset is None:
        return None
    r, after, R_n, product = reset
    act_r, r_form = _gate(formulas, r)
    if act_r != act:
        return None
    attrs = {"activations": (act, act_n), "reset_after": after}
    cell = Cell(
        "gru", [part], attrs, [z_form, r_form, n_form], [(z_form, h), (r_form, h), R_n], [h, product, part.next]
    )
    if not n_form.is_zero(h):
        return None  # h enters the candidate beside the reset gate
    if after:
        cell.weights["rb_n"] = R_n[0].bias
    return None if R_n[0].is_zero(R_n[1]) else cell


def _reset(formulas: Formulas, n: Linear, h: Vector) -> tuple[Vector, bool, tuple[Linear, Vector], Vector] | None:
    """(r, reset after R h, R of the candidate, the product with r) of what a candidate is made."""
    for source in dict.fromkeys(vector.source for vector in n.pieces()):
        node = formulas.producer.get(source)
        if node is None or node.op != "mul":
            continue
        product = Vector(source, range(h.size))
        if formulas.graph.values[source].size != h.size:
            continue
        factors = [formulas.vector(node.inputs[slot]) for slot in (0, 1)]
        for r, other in (factors, factors[::-1]):
            if formulas.activation(r) is None:
                continue
            if other == h:
                return r, False, (n, product), product
            inner = formulas.linear(other)
            if inner.reads_only(h) and n.is_identity(product):
                return r, True, (inner, h), product
    return None


def _rnn(formulas: Formulas, part: Part, parts: list[Part]) -> Cell | None:
    h = part.before
    act, form = _gate(formulas, part.next)
    if form.is_zero(h) or (h.size > 1 and form.is_diagonal(h)):
        return None  # units that do not see each other are faster as they are
    if act == IDENTITY and (form.matrix([h]) == 1).all():
        return None  # a sum or a count, which must not be rounded with a cell's weights
    return Cell("rnn", [part], {"activations": (act,)}, [form], [(form, h)], [h, part.next])


def inputs_of(cell: Cell) -> list[Vector]:
    """The elements that a cell takes besides its own state: of each value in ascending order, none twice."""
    indices: dict[str, list[np.ndarray]] = {}
    for form in cell.gates:
        for vector in form.inputs(cell.own):
            indices.setdefault(vector.source, []).append(table(vector.index))
    return [Vector(source, np.unique(np.concatenate(parts))) for source, parts in indices.items()]


def _loops(formulas: Formulas, cell: Cell) -> bool:
    """Whether an input of the cell is computed from what the cell gives at the same timestep; or it has no input."""
    inputs = inputs_of(cell)
    todo = [vector.source for vector in inputs]
    results = {part.next.source for part in cell.parts}
    seen: set[str] = set()
    while todo:
        value = todo.pop()
        if value in results:
            return True
        node = formulas.producer.get(value)
        if value not in seen and node is not None:
            todo += node.inputs
        seen.add(value)
    return not inputs


__all__ = ["Cell", "Part", "find", "inputs_of"]
