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

from .activations import IDENTITY, SIGMOID, Activation
from .algebra import Formulas, Linear, NoFormula, Vector
from .graph import Graph

Ids = list[tuple[str, int]]


@dataclass
class Part:
    """Elements of a register: where they are read, and the vector that is written there next."""

    state: str
    positions: np.ndarray
    next: Vector
    before: Vector


@dataclass
class Cell:
    """A cell that was found; weights by gate in undertow's order. `parts`: of h, and of c for an lstm."""

    op: str
    parts: list[Part]
    attrs: dict[str, Any]
    gates: list[Linear]
    R: list[np.ndarray]
    own: set[tuple[str, int]]  # elements that are no input: its state, and what is made from it
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def find(graph: Graph) -> Cell | None:
    """The first cell that is taken apart in a graph."""
    formulas = Formulas(graph)
    parts = _parts(graph, formulas)
    for part in parts:
        for match in (_lstm, _gru, _rnn):
            try:
                cell = match(formulas, part, parts)
            except NoFormula:
                continue
            if cell is not None and not _loops(graph, formulas, cell):
                return cell
    return None


def _parts(graph: Graph, formulas: Formulas) -> list[Part]:
    """Registers, cut by what is written to them; only parts that are written by one whole value."""
    found = []
    for node in graph.nodes:
        if node.op != "state_write" or node.states[0] not in formulas.reads:
            continue
        state = node.states[0]
        origins = formulas.origins(node.inputs[0], np.arange(graph.values[node.inputs[0]].size))
        for source in dict.fromkeys(source for source, _ in origins):
            positions = np.array([i for i, (s, _) in enumerate(origins) if s == source])
            index = tuple(origins[i][1] for i in positions)
            if index != tuple(range(graph.values[source].size)) or source in formulas.reads.values():
                continue
            before = Vector(formulas.reads[state], tuple(positions.tolist()))
            found.append(Part(state, positions, Vector(source, index), before))
    return found


def _ids(vector: Vector) -> Ids:
    return [(vector.source, i) for i in vector.index]


def _gate(formulas: Formulas, vector: Vector, stop: Vector | None = None) -> tuple[Activation, Linear]:
    """(activation, what goes into it) of a gate."""
    found = formulas.activation(vector)
    act, inside = found or (IDENTITY, vector)
    return act, formulas.linear(inside, found is not None and inside == vector, frozenset([stop] if stop else []))


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    """The diagonal of a matrix that has nothing else.

    Raises:
        NoFormula: it has.
    """
    diagonal = np.diag(matrix)
    if (matrix != np.diag(diagonal)).any():
        raise NoFormula("c goes through a full matrix")
    return diagonal


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
    peepholes = [_diagonal(linear[k].columns(_ids(c.before if k < 2 else c.next))) for k in (0, 1, 3)]
    strays = linear[2].columns(_ids(c.before)).any() or linear[3].columns(_ids(c.before)).any()
    if strays or any(form.columns(_ids(c.next)).any() for form in linear[:3]):
        return None
    attrs = {"activations": (act, gates[2][0], act_out), "input_forget": coupled}
    own = {*_ids(part.before), *_ids(c.before), *_ids(c.next)}
    cell = Cell("lstm", [part, c], attrs, linear, [form.columns(_ids(part.before)) for form in linear], own)
    if any(p.any() for p in peepholes):
        cell.weights["peephole"] = np.stack(peepholes)
    if projection is not None:
        cell.weights["projection"] = projection
    return cell if any(R.any() for R in cell.R) else None


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
            found = formulas.activation(vector)
            if found is not None and found[1] == c.next:
                return part, _other(pair, vector), found[0], projection
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
        z_form = Linear(-z_form.bias, -z_form.matrix, z_form.ids)
    act_n, n_form = _gate(formulas, n)
    reset = _reset(formulas, n_form, h)
    if reset is None:
        return None
    r, after, R_n, rb_n, product = reset
    act_r, r_form = _gate(formulas, r)
    if act_r != act:
        return None
    attrs = {"activations": (act, act_n), "reset_after": after}
    R = [z_form.columns(_ids(h)), r_form.columns(_ids(h)), R_n]
    own = {*_ids(h), *_ids(product), *_ids(part.next)}
    cell = Cell("gru", [part], attrs, [z_form, r_form, n_form], R, own)
    if n_form.columns(_ids(h)).any():
        return None  # h enters the candidate beside the reset gate
    if after:
        cell.weights["rb_n"] = rb_n
    return cell if R_n.any() else None


def _reset(formulas: Formulas, n: Linear, h: Vector) -> tuple[Vector, bool, np.ndarray, np.ndarray, Vector] | None:
    """(r, reset after R h, R of the candidate, its recurrent bias, the product with r) of what a candidate is made."""
    for source in dict.fromkeys(source for source, _ in n.ids):
        node = formulas.producer.get(source)
        if node is None or node.op != "mul":
            continue
        product = Vector(source, tuple(range(h.size)))
        if formulas.graph.values[source].size != h.size:
            continue
        columns = n.columns(_ids(product))
        factors = [formulas.vector(node.inputs[slot]) for slot in (0, 1)]
        for r, other in (factors, factors[::-1]):
            if formulas.activation(r) is None:
                continue
            if other == h:
                return r, False, columns, np.zeros(h.size), product
            inner = formulas.linear(other)
            if set(inner.ids) <= set(_ids(h)) and (columns == np.eye(h.size)).all():
                return r, True, inner.columns(_ids(h)), inner.bias, product
    return None


def _rnn(formulas: Formulas, part: Part, parts: list[Part]) -> Cell | None:
    h = part.before
    act, form = _gate(formulas, part.next)
    R = form.columns(_ids(h))
    if not R.any() or (h.size > 1 and (np.diag(np.diag(R)) == R).all()):
        return None  # units that do not see each other are faster as they are
    if act == IDENTITY and (R == 1).all():
        return None  # a sum or a count, which must not be rounded with a cell's weights
    return Cell("rnn", [part], {"activations": (act,)}, [form], [R], {*_ids(h), *_ids(part.next)})


def inputs_of(cell: Cell) -> Ids:
    """The elements that a cell takes besides its own state, in the order of their values."""
    every = dict.fromkeys(key for form in cell.gates for key in form.ids if key not in cell.own)
    order = {source: i for i, source in enumerate(dict.fromkeys(source for source, _ in every))}
    return sorted(every, key=lambda key: (order[key[0]], key[1]))


def _loops(graph: Graph, formulas: Formulas, cell: Cell) -> bool:
    """Whether an input of the cell is computed from what the cell gives at the same timestep; or it has no input."""
    ids = inputs_of(cell)
    todo = [source for source, _ in dict.fromkeys(ids)]
    made = {part.next.source for part in cell.parts}
    seen: set[str] = set()
    while todo:
        value = todo.pop()
        if value in made:
            return True
        node = formulas.producer.get(value)
        if value not in seen and node is not None:
            todo += node.inputs
        seen.add(value)
    return not ids


__all__ = ["Cell", "Part", "find", "inputs_of"]
