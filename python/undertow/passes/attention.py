# SPDX-License-Identifier: MIT
"""Attention becomes one node: a product of queries and keys, a softmax over it, and its product with values.

Keys and values are read where they lie: what only turns rows into columns is looked through, so nothing is copied for
it, and a window of past states is read in the ring that a stream keeps it in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from .edit import replace_value, sort_nodes

#: elements of keys or values of one head up to which is looked
_MOST = 1 << 22
#: queries that ask the same keys; of more, products of matrices take several at once and are faster
_MOST_QUERIES = 4
#: a value, or the numbers of a constant
Bias = str | np.ndarray | None


def attend(graph: Graph) -> list[str]:
    """Replace attention in place; gives the names of the new nodes."""
    names = []
    for node in [n for n in graph.nodes if n.op == "softmax"]:
        if name := _Search(graph).replace(node):
            names.append(name)
    if names:
        sort_nodes(graph)
    return names


@dataclass
class _Scores:
    """What stands between the product of queries and keys and the softmax, as an attend has it."""

    product: Node
    scale: float
    cap: float = 0.0
    bias: Bias = None
    within: list[Node] = field(default_factory=list)


@dataclass
class _Rows:
    """Rows (of keys or values) of all heads in a value: number offsets[head] + j row + d is element d of row j;
    `factor` times, of keys.
    """

    value: str
    offsets: np.ndarray
    row: int
    width: int
    factor: float = 1.0


class _Search:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producer = {v: n for n in graph.nodes for v in n.outputs}
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for v in node.inputs:
                self.readers.setdefault(v, []).append(node)
        self.shown = set(graph.outputs.values())

    def replace(self, softmax: Node) -> str:
        graph = self.graph
        shape = graph.shape(softmax.inputs[0])
        rows = shape[-1] if shape else 1
        heads = prod(shape) // rows
        scores = self._scores(softmax.inputs[0], heads, rows)
        shares, views, last = self._reader(softmax.outputs[0])
        if scores is None or last is None or last.op != "matmul":
            return ""
        first = scores.product
        keys = self._keys(first, heads, rows)
        values = self._values(last, shares, heads, rows)
        if keys is None or values is None:
            return ""
        query, key_rows = keys
        shared = _shared(heads, key_rows.offsets, values.offsets)
        if shared is None:
            return ""
        n_shared, key_head, value_head = shared
        attrs = {
            "heads": heads,
            "shared": n_shared,
            "rows": rows,
            "key_width": key_rows.width,
            "value_width": values.width,
            "scale": scores.scale * key_rows.factor,
            "cap": scores.cap,
            "key_places": (int(key_rows.offsets[0]), key_rows.row, key_head),
            "value_places": (int(values.offsets[0]), values.row, value_head),
        }
        bias = scores.bias
        if isinstance(bias, np.ndarray):
            bias = str(graph.add("constant", weights={"value": np.ascontiguousarray(bias, np.float32)}))
        inputs = [query, key_rows.value, values.value, *([bias] if bias is not None else [])]
        name = graph.unique_name(f"{softmax.name}_attend")
        y = graph.add("attend", inputs, name=name, attrs=attrs)
        replace_value(graph, last.outputs[0], y)
        within = {n.name: name for n in (first, *scores.within, softmax, *views, last)}
        graph.origin.within |= within
        graph.nodes = [n for n in graph.nodes if n.name not in within]
        return name

    def _alone(self, value: str) -> bool:
        return len(self.readers.get(value, ())) == 1 and value not in self.shown

    def _reader(self, value: str) -> tuple[str, list[Node], Node | None]:
        """The node that alone reads a value, the views between them, and as which value it reads it."""
        views: list[Node] = []
        while self._alone(value):
            (node,) = self.readers[value]
            if not OPS[node.op].is_view:
                return value, views, node
            views.append(node)
            (value,) = node.outputs
        return value, views, None

    # -- from the softmax back to the product ---------------------------------------------------------------------

    def _scores(self, value: str, heads: int, rows: int) -> _Scores | None:
        """Steps back from a value: a bias, a cap, a scale, then the product; each where it is there."""
        before, after, alpha = 1.0, 1.0, None  # factors before and behind a tanh, and its own
        bias: Bias = None
        within: list[Node] = []
        while self._alone(value) and value in self.producer:
            node = self.producer[value]
            if node.op == "matmul":
                return self._of_factors(node, before, after, alpha, bias, within)
            within.append(node)
            if OPS[node.op].is_view:
                (value,) = node.inputs
                continue
            if node.op == "activation" and alpha is None:
                act = node.attrs["activation"]
                if act.kind not in ("tanh", "scaled_tanh"):
                    return None
                own, inner = (1.0, 1.0) if act.kind == "tanh" else (act.alpha, act.beta)
                alpha, before, after = own, inner, before
                (value,) = node.inputs
                continue
            scaled = before != 1.0 or alpha is not None
            step = self._step(node, heads, rows)
            if step is None or (step[2] is not None and (bias is not None or scaled)):
                return None
            value, factor, added = step
            before *= factor
            bias = added if added is not None else bias
        return None

    def _of_factors(
        self,
        product: Node,
        before: float,
        after: float,
        alpha: float | None,
        bias: Bias,
        within: list[Node],
    ) -> _Scores | None:
        if alpha is None:
            return _Scores(product, before, 0.0, bias, within)
        cap = float(np.float32(after * alpha))
        if not np.finfo(np.float32).tiny <= cap <= np.finfo(np.float32).max:
            return None
        return _Scores(product, before * cap, cap, bias, within)

    def _step(self, node: Node, heads: int, rows: int) -> tuple[str, float, Bias] | None:
        """(what a node scales or adds to, factor, bias); None of another node."""
        if node.op == "affine":
            scale, shift = node.weights["scale"], node.weights["shift"]
            if (scale != scale.flat[0]).any():
                return None
            (value,) = node.inputs
            return value, float(scale.flat[0]), _of_each(shift, rows) if shift.any() else None
        if node.op in ("mul", "div"):
            a, b = node.inputs
            if (number := self._number(b)) is None and node.op == "mul":
                a, number = b, self._number(a)
            if node.op == "div":
                number = 1.0 / number if number else None
            return None if number is None else (a, number, None)
        if node.op == "add" and node.inputs[0] != node.inputs[1]:
            a, b = node.inputs
            if self._leads_to_product(b) and not self._leads_to_product(a):
                a, b = b, a
            return a, 1.0, self._bias(b, heads, rows)
        return None

    def _leads_to_product(self, value: str) -> bool:
        """Whether scores may come from there: a product behind factors and views, which nobody else reads."""
        while self._alone(value) and value in self.producer:
            node = self.producer[value]
            if node.op == "matmul":
                return True
            if node.op in ("mul", "div"):
                known = [v for v in node.inputs if self._number(v) is None]
                if len(known) != 1:
                    return False
                (value,) = known
            elif OPS[node.op].is_view or node.op in ("affine", "activation"):
                value = node.inputs[0]
            else:
                return False
        return False

    def _number(self, value: str) -> float | None:
        """The number that is every element of a constant."""
        source, places = self._source(value)
        node = self.producer.get(source)
        if node is None or node.op != "constant":
            return None
        numbers = node.weights["value"].reshape(-1)[places]
        return float(numbers[0]) if (numbers == numbers[0]).all() else None

    def _bias(self, value: str, heads: int, rows: int) -> str | np.ndarray:
        """A bias of all heads, or what it repeats for each of them."""
        source, places = self._source(value)
        node = self.producer.get(source)
        if node is not None and node.op == "constant":
            return _of_each(node.weights["value"].reshape(-1)[places], rows)
        same = self.graph.values[source].size == rows and (places.reshape(heads, rows) == np.arange(rows)).all()
        return source if same else value

    # -- where rows lie ---------------------------------------------------------------------------------------------

    def _sources(self, value: str, scaled: bool = False) -> list[tuple[str, np.ndarray, float]]:
        """A value, and what it shows through nodes of one input that move: of each, where its elements lie there, and
        how many times they are taken. scaled: also through those that multiply all elements by one number.
        """
        places, factor = np.arange(self.graph.values[value].size), 1.0
        steps = [(value, places, factor)]
        while (node := self.producer.get(value)) is not None and len(node.inputs) == 1:
            if OPS[node.op].moves:
                taken = OPS[node.op].taken(node)
                places = places if taken is None else taken.reshape(-1)[places]
            elif scaled and node.op == "affine" and (step := self._step(node, 1, 1)) and step[2] is None:
                factor *= step[1]
            else:
                break
            (value,) = node.inputs
            steps.append((value, places, factor))
        return steps

    def _source(self, value: str) -> tuple[str, np.ndarray]:
        return self._sources(value)[-1][:2]

    def _rows(self, value: str, order: np.ndarray, scaled: bool = False) -> _Rows | None:
        """order (heads, rows, width): numbers of elements of a value. Rows of the value furthest back that has them."""
        if order.size > _MOST:
            return None
        for source, places, factor in reversed(self._sources(value, scaled)):
            at = places[order]
            _, n, width = at.shape
            row = int(at[0, 1, 0] - at[0, 0, 0]) if n > 1 else width
            offsets = at[:, 0, 0]
            expected = offsets[:, None, None] + np.arange(n)[:, None] * row + np.arange(width)
            if row >= width and np.array_equal(at, expected):
                return _Rows(source, offsets, row, width, factor)
        return None

    def _keys(self, product: Node, heads: int, rows: int) -> tuple[str, _Rows] | None:
        """The value with the queries, head by head, and the rows of their keys."""
        a, b = product.inputs
        *lead, I, K = self.graph.shape(a)
        J = self.graph.shape(b)[-1]
        n = prod(lead)
        if rows == J and n * I == heads and I <= _MOST_QUERIES:
            columns = np.arange(n * K * J).reshape(n, K, J).transpose(0, 2, 1)
            lying = self._rows(b, np.repeat(columns, I, axis=0), scaled=True) if columns.size * I <= _MOST else None
            if lying is not None:
                return a, lying
        if J == 1 and rows == I and n == heads:
            lying = self._rows(a, np.arange(n * I * K).reshape(n, I, K), scaled=True)
            if lying is not None:
                return b, lying
        return None

    def _values(self, product: Node, shares: str, heads: int, rows: int) -> _Rows | None:
        a, b = product.inputs
        *lead, I, K = self.graph.shape(a)
        J = self.graph.shape(b)[-1]
        n = prod(lead)
        if a == shares != b and rows == K and n * I == heads and n * K * J * I <= _MOST:
            return self._rows(b, np.repeat(np.arange(n * K * J).reshape(n, K, J), I, axis=0))
        if b == shares != a and rows == K and J == 1 and n == heads:
            return self._rows(a, np.arange(n * I * K).reshape(n, I, K).transpose(0, 2, 1))
        return None


def _of_each(numbers: np.ndarray, rows: int) -> np.ndarray:
    """A bias of all heads (heads, rows), or (rows) where all have the same."""
    by_head = numbers.reshape(-1, rows)
    return by_head[0] if (by_head == by_head[:1]).all() else by_head


def _shared(heads: int, *offsets: np.ndarray) -> tuple[int, int, int] | None:
    """How many heads of keys and values there are, each for as many neighbours, and the strides of both."""
    for shared in (n for n in range(1, heads + 1) if heads % n == 0):
        strides = []
        for at in offsets:
            of_each = at.reshape(shared, -1)
            stride = int(of_each[1, 0] - of_each[0, 0]) if shared > 1 else 0
            if stride >= 0 and (of_each == at[0] + stride * np.arange(shared)[:, None]).all():
                strides.append(stride)
        if len(strides) == len(offsets):
            return shared, strides[0], strides[1]
    return None


__all__ = ["attend"]
