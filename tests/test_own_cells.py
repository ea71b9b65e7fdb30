# SPDX-License-Identifier: MIT
"""Cells that people type as mathematics: operators and functions of values against the same source run by NumPy in
float64, states, `scan`, and everything that a newcomer may get wrong.
"""

import copy
import doctest
import math
import pickle

import numpy as np
import pytest

import undertow
from frames import assert_same_bits
from tolerances import FLOAT32_CELL, FLOAT32_MODEL
from undertow import Cell, Graph, Model, Sequential, ShapeError, UnsupportedError, scan
from undertow import graph as G
from undertow.graph import functions, moves
from undertow.ir.activations import KINDS, Activation

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")


def numbers(*shape, seed=0, scale=1.0):
    """Numbers that float32 holds, in float64."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32).astype(np.float64)


def ops(model):
    return [node.op for node in model.graph.nodes]


def evaluate(cell, X, states):
    """The cell's own source on arrays: outputs (T, ...) and the states behind them."""
    ys, states = [], list(states)
    for x in X.astype(np.float64):
        y, *states = cell(x, *states) if states else (cell(x),)
        ys.append(y)
    return np.array(ys), states


def check(cell, X, limit=FLOAT32_CELL, **states):
    """The model of a cell: `run`, steps, a pool and chunks have the same bits, and NumPy's numbers."""
    model = scan(cell, x=X.shape[1:], **states)
    starts = [s.astype(np.float64) if isinstance(s, np.ndarray) else np.zeros(s) for s in states.values()]
    expected, after = evaluate(cell, X, starts)
    stream = model.stream()
    y = stream.run(X)
    assert np.abs(y - expected).max() < limit * max(1, np.abs(expected).max())
    for name, value in zip(states, after, strict=True):
        if model.states[name].shape == value.shape:
            assert np.abs(stream.state[name] - value).max() < limit * max(1, np.abs(value).max()), name
    stepped = model.stream()
    assert_same_bits(np.stack([stepped.step(np.array(x)) for x in X]), y)
    assert_same_bits(model.run(X), y)
    with model.pool(3) as pool:
        ids = pool.open(3)
        assert_same_bits(pool.run(ids, np.stack([X, X[::-1], X]))[2], y)
    return model


# -- programs ---------------------------------------------------------------------------------------------------------

CONSTANTS = [
    numbers(4, 6, seed=1),
    numbers(6, seed=2),
    numbers(4, 1, seed=3),
    np.float64(0.75),
    -2,
    numbers(6, 6, seed=4),
]


def program(seed):
    """A random cell over frames (4, 6), with a state of that shape and one of a vector."""
    rng = np.random.default_rng(seed)
    plan = [tuple(rng.integers(1 << 20, size=4)) for _ in range(14)]

    def cell(x, h, v):
        pool = [x, h, v, x[1], h[:, 2], G.sum(x, 0)]
        for kind, a, b, c in plan:
            p, q = pool[a % len(pool)], pool[b % len(pool)]
            constant = CONSTANTS[c % len(CONSTANTS)]
            pool.append(STEPS[kind % len(STEPS)](p, q, constant, c))
        after = [p for p in pool if p.shape == (4, 6)]
        rows = [p for p in pool if p.shape == (6,)]
        return G.tanh(after[-1]) + G.sigmoid(rows[-1]), G.tanh(after[-1] - 0.5 * h), 0.5 * v + G.tanh(rows[-1])

    return cell


def fitting(p, q, combine):
    """combine(p, q), where NumPy's rules let it; else of p alone."""
    try:
        np.broadcast_shapes(p.shape, np.shape(q))
    except ValueError:
        return combine(p, p)
    return combine(p, q)


STEPS = [
    lambda p, q, c, k: fitting(p, q, lambda a, b: a + b),
    lambda p, q, c, k: fitting(p, q, lambda a, b: a - b),
    lambda p, q, c, k: G.tanh(fitting(p, q, lambda a, b: a * b)),
    lambda p, q, c, k: fitting(p, q, lambda a, b: a / (1 + b * b)),
    lambda p, q, c, k: fitting(p, c, lambda a, b: b - a),
    lambda p, q, c, k: fitting(p, c, lambda a, b: b * a),
    lambda p, q, c, k: fitting(p, c, lambda a, b: a / (2 + abs(b))),
    lambda p, q, c, k: np.maximum(p, 0.1) if k % 2 else G.minimum(0.3, p),
    lambda p, q, c, k: G.where(p > 0.2, p, -0.5 * p),
    lambda p, q, c, k: fitting(p, q, lambda a, b: np.where((a > b) & ~(b > 1.0), a, b)),
    lambda p, q, c, k: np.exp(-abs(p)) ** (1 + k % 3),
    lambda p, q, c, k: G.softmax(p) if p.shape else p,
    lambda p, q, c, k: p.reshape(-1, 2)[::-1].reshape(p.shape) if math.prod(p.shape) % 2 == 0 else p,
    lambda p, q, c, k: p.T if len(p.shape) == 2 and p.shape[0] == p.shape[1] else p,
    lambda p, q, c, k: G.tanh(p @ CONSTANTS[5]) if p.shape[-1:] == (6,) else p,
    lambda p, q, c, k: G.mean(p, -1, keepdims=True) if p.shape else p,
    lambda p, q, c, k: G.concat(G.split(p, 2)[::-1]) if p.shape[-1:] == (6,) else p,
    lambda p, q, c, k: G.sigmoid(p),
    lambda p, q, c, k: p[..., None] * 1.0 if len(p.shape) < 2 else p[0],
]


@pytest.mark.parametrize("seed", range(24))
def test_a_random_program_gives_what_numpy_gives(seed):
    X = numbers(7, 4, 6, seed=seed).astype(np.float32)
    check(program(seed), X, FLOAT32_MODEL, h=(4, 6), v=numbers(6, seed=seed).astype(np.float32))


SHAPES = [(), (1,), (6,), (4, 1), (4, 6), (2, 1, 6), (1, 1, 1)]
OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "<": lambda a, b: (a < b) * 1.0,
    ">=": lambda a, b: (a >= b) * 1.0,
    "maximum": np.maximum,
    "where": lambda a, b: G.where(a > 0, b, 2.0),
}


@pytest.mark.parametrize("sign", OPERATORS)
def test_shapes_are_broadcast_as_numpy_does_it(sign):
    """Values with values, arrays on either side."""
    f = OPERATORS[sign]
    g = Graph("pairs")
    frames, expected = {}, {}
    for i, a in enumerate(SHAPES):
        for j, b in enumerate(SHAPES):
            p, q = numbers(*a, seed=i), numbers(*b, seed=20 + j)
            x, y = (g.input(f"{i} {j} {k}", shape) for k, shape in enumerate((a, b)))
            frames |= {f"{i} {j} 0": p.astype(np.float32), f"{i} {j} 1": q.astype(np.float32)}
            for k, made in enumerate((f(x, y), f(p, y), f(x, q), f(x, float(q.flat[0])))):
                want = np.asarray(f(p, float(q.flat[0]) if k == 3 else q), np.float64)
                assert made.shape == want.shape, (a, b, k)
                expected[f"{i} {j} {k}"] = want
                g.output(f"{i} {j} {k}", made)
    given = Model.from_graph(g).stream().step(frames)
    for name, want in expected.items():
        np.testing.assert_allclose(given[name], want, 1e-6, 1e-7, err_msg=name)


KEYS = [
    np.s_[1],
    np.s_[-1, 2],
    np.s_[:, 2],
    np.s_[::-1],
    np.s_[1:3, ::2],
    np.s_[..., None],
    np.s_[:, None, 1:2],
    np.s_[None],
    np.s_[[2, 0, 0]],
    np.s_[[0, 1], [3, 2]],
    np.s_[np.arange(24).reshape(4, 6) % 5 == 0],
    np.s_[3, 5],
]


def test_elements_are_taken_as_numpy_takes_them():
    x = numbers(4, 6)
    g = Graph("elements")
    of = g.input("x", (4, 6))
    moves = {f"key {i}": (lambda a, key=key: a[key]) for i, key in enumerate(KEYS)}
    moves |= {
        "reshape": lambda a: a.reshape(2, -1, 3),
        "transpose": lambda a: G.transpose(a.reshape(2, 3, 4), (1, 2, 0)),
        "T": lambda a: a.T,
        "concat 0": lambda a: G.concat([a, a[:1], np.ones((2, 6))], 0),
        "concat 1": lambda a: G.concat([a[:, :2], 2 * a]),
        "concat flat": lambda a: G.concat([a[0], a[1]]),
        "concat one": lambda a: G.concat([a]),
        "stack": lambda a: G.stack([a[0], a[1] + 1, np.zeros(6)], 1),
        "stack numbers": lambda a: G.stack([a[0, 0], a[1, 1]]),
        "split": lambda a: G.split(a, [1, 3, 2])[1],
        "split 0": lambda a: G.split(a, 2, axis=0)[1],
        "broadcast": lambda a: G.broadcast_to(a[:, :1], (2, 4, 6)),
    }
    for name, f in moves.items():
        y = f(of)
        assert y.shape == f(x).shape, name
        g.output(name, y)
    given = Model.from_graph(g).stream().step(x.astype(np.float32))
    for name, f in moves.items():
        np.testing.assert_allclose(given[name], f(x), 1e-6, 1e-7, err_msg=name)


PRODUCTS = [
    *(((6,), (6, 3)), ((3, 6), (6,)), ((4, 6), (6, 3)), ((6,), (6,)), ((1, 4), (4, 1)), ((2, 4, 6), (6, 3))),
    *(((2, 4, 6), (2, 6, 3)), ((4, 6), (2, 6, 3)), ((2, 1, 4, 6), (3, 6, 5)), ((6,), (2, 6, 3)), ((2, 4, 6), (6,))),
]


def test_products_have_numpys_rules():
    g, frames, expected = Graph("products"), {}, {}
    for i, (a, b) in enumerate(PRODUCTS):
        p, q = numbers(*a, seed=i), numbers(*b, seed=30 + i)
        x, y = g.input(f"{i} x", a), g.input(f"{i} y", b)
        frames |= {f"{i} x": p.astype(np.float32), f"{i} y": q.astype(np.float32)}
        for k, made in enumerate((x @ y, p @ y, x @ q, np.matmul(x, y))):
            assert made.shape == (p @ q).shape, (a, b, k)
            expected[f"{i} {k}"] = p @ q
            g.output(f"{i} {k}", made)
    given = Model.from_graph(g).stream().step(frames)
    for name, want in expected.items():
        np.testing.assert_allclose(given[name], want, 1e-5, 1e-6, err_msg=name)


W, TABLE = numbers(3, 6, seed=5), numbers(6, 6, seed=6)
PLAIN = (
    *("abs", "ceil", "cos", "elu", "erf", "exp", "floor", "gelu", "hard_sigmoid", "leaky_relu", "relu", "round"),
    *("sigmoid", "sign", "silu", "sin", "softmax", "softplus", "softsign", "square", "tanh", "log_softmax"),
    *("layer_norm", "rms_norm", "max", "min", "sum", "mean", "prod", "transpose"),
)
#: every function of `undertow.graph`, of a frame (4, 6)
FUNCTIONS = {
    **{name: getattr(G, name) for name in PLAIN},
    "log": lambda x: G.log(abs(x) + 1),
    "sqrt": lambda x: G.sqrt(abs(x) + 0.1),
    "reciprocal": lambda x: G.reciprocal(abs(x) + 0.5),
    "gelu tanh": lambda x: G.gelu(x, "tanh"),
    "elu alpha": lambda x: G.elu(x, 0.5),
    "clip": lambda x: G.clip(x, -0.5, 0.7),
    "clip values": lambda x: G.clip(x, -abs(x[0]), numbers(4, 1) ** 2),
    "maximum": lambda x: G.maximum(x, x[::-1]),
    "minimum": lambda x: G.minimum(x, 0.1),
    "equal": lambda x: G.equal(x, x[:, :1]) * 1.0,
    "where": lambda x: G.where(x > x.mean(), x, 0),
    "where of a known mask": lambda x: G.where(np.arange(6) > 2, x, x[::-1]),
    "where of numbers": lambda x: G.where(x > 0.1, 1.0, -1.0),
    "conditions": lambda x: ((x > 0) | (x < -1) & ~(x < -2)) * 1.0,
    "softmax 0": lambda x: G.softmax(x, 0),
    "layer_norm scaled": lambda x: G.layer_norm(x, numbers(6), numbers(6, seed=1), eps=1e-3),
    "layer_norm of values": lambda x: G.layer_norm(x, x[0], x[1]),
    "rms_norm scaled": lambda x: G.rms_norm(x, numbers(6)),
    "dense": lambda x: G.dense(x, W, numbers(3)),
    "dense activated": lambda x: G.dense(x, W, activation="sigmoid"),
    "dense gelu": lambda x: G.dense(x, W, activation="gelu"),
    "dense function": lambda x: G.dense(x, W, activation=lambda y: y * y),
    "dense of values": lambda x: G.dense(x, x[:3], x[0, :3], activation=Activation("tanh")),
    "matmul": lambda x: G.matmul(x, x.T),
    "concat": lambda x: G.concat([x, x]),
    "stack": lambda x: G.stack([x, x]),
    "split": lambda x: G.split(x, 3)[1],
    "reshape": lambda x: G.reshape(x, (3, 8)),
    "broadcast_to": lambda x: G.broadcast_to(x, (2, 4, 6)),
    "sum of two axes": lambda x: G.sum(x.reshape(2, 2, 6), (0, 2)),
    "sum kept": lambda x: x.sum(0, keepdims=True),
    "max of an axis": lambda x: x.max(1),
    "mean of an axis": lambda x: x.mean(0),
    "sum of a size of 1": lambda x: G.sum(x[:, :1], 1),
    "power": lambda x: x**3 + x**2 + x**0 + (abs(x) + 1) ** -2 + (abs(x)) ** 0.5 + (abs(x)) ** 1.5,
    "power of a number": lambda x: 2.0**x + np.array([1.0, 0.5] * 3) ** x,
    "numpy": lambda x: np.tanh(np.where(x > 0, np.sqrt(np.abs(x)), -np.square(x))) + np.concatenate([x[:1], x[1:]]),
    "numpy scalars": lambda x: np.float64(2) * x + np.float32(0.5) - np.int64(1) / (1 + x * x),
    "lists": lambda x: [1, 2, 3, 4, 5, 6] * x + (1,) * 6,
    "signs": lambda x: -x + +x - abs(x),
}  # fmt: skip
#: what needs more than a frame
OTHERS = {"embedding", "window"}


def test_every_activation_is_a_function():
    assert KINDS.keys() - set(G.__all__) == {"identity", "affine", "scaled_tanh", "thresholded_relu"}


def test_every_function_gives_what_it_gives_of_arrays():
    tried = {name.split()[0] for name in FUNCTIONS}
    assert tried >= set(G.__all__) - OTHERS - {"Graph", "Node", "Register", "State", "Symbol", "Value"}
    x = numbers(4, 6)
    g = Graph("functions")
    of = g.input("x", (4, 6))
    for name, f in FUNCTIONS.items():
        y, want = f(of), f(x)
        assert y.shape == want.shape, name
        g.output(name, y)
    given = Model.from_graph(g).stream().step(x.astype(np.float32))
    for name, f in FUNCTIONS.items():
        np.testing.assert_allclose(given[name], f(x), 3e-6, 1e-6, err_msg=name)


def test_examples_of_functions_give_what_they_say():
    names = {"np": np, "undertow": undertow}
    for module in (functions, moves):
        examples = [e for e in doctest.DocTestFinder().find(module, globs=names) if e.examples]
        runner, shared = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE), dict(vars(module))
        for example in sorted(examples, key=lambda e: e.lineno):
            example.globs = shared  # each goes on where the one before ended
            assert not runner.run(example, clear_globs=False).failed, example.name
        assert len(examples) >= 6


def test_an_embedding_and_a_window():
    table = numbers(10, 4)

    def cell(ids):
        frames = G.window(G.embedding(ids, table), 3)
        return G.sum(frames * np.array([[0.5], [0.25], [0.125]]), 0)

    model = scan(cell, ids=G.Value("ids", (), "int32"))
    given = model.run(np.array([1, 2, 3], np.int32))
    np.testing.assert_allclose(given[2], 0.5 * table[1] + 0.25 * table[2] + 0.125 * table[3], rtol=1e-5)
    assert "depthwise" in ops(model)
    np.testing.assert_array_equal(G.embedding([1, 1], table), table[[1, 1]])


# -- cells ------------------------------------------------------------------------------------------------------------

D, N = 16, 8
A = {name: numbers(*shape, seed=i, scale=0.3) for i, (name, shape) in enumerate({
    "z": (D, D), "h": (D, D), "b": (D,), "in": (64, D), "x": (4 + 2 * N, 32), "dt": (32, 4), "out": (D, 32),
    "conv": (32, 4), "B": (2 * D, D), "C": (D, D), "Ci": (D, D), "q": (D, D), "k": (D, D), "v": (D, D), "f": (1, D),
    "i": (1, D),
}.items())}  # fmt: skip
X = numbers(20, D).astype(np.float32)


def min_gru(x, h):
    z = G.sigmoid(G.dense(x, A["z"], A["b"]))
    h = (1 - z) * h + z * G.dense(x, A["h"], A["b"])
    return h, h


def rwkv4(x, last, a, b, p):
    """The time mix: sums weighted by exp(k), kept below overflow by their largest exponent."""
    mix, w, u = np.abs(A["b"]), -np.abs(A["b"]) - 0.1, A["b"]
    x = G.layer_norm(x)
    k, v = (G.dense(mix * x + (1 - mix) * last, A[name]) for name in "kv")
    r = G.dense(x, A["q"], activation="sigmoid")
    m = G.maximum(p, u + k)
    e, f = G.exp(p - m), G.exp(u + k - m)
    y = r * (e * a + f * v) / (e * b + f)
    m = G.maximum(p + w, k)
    e, f = G.exp(p + w - m), G.exp(k - m)
    return G.dense(y, A["C"]), x, e * a + f * v, e * b + f, m


def lru(x, re, im):
    """A complex diagonal recurrence, in its real and imaginary parts."""
    radius, angle = np.exp(-np.exp(A["b"] - 1)), A["z"][0]
    c, s = (np.float32(radius * part(angle)).astype(float) for part in (np.cos, np.sin))
    u, v = G.split(G.dense(x, A["B"]), 2)
    re, im = c * re - s * im + u, c * im + s * re + v
    return G.dense(re, A["C"]) - G.dense(im, A["Ci"]) + x, re, im


def mamba(x, conv, s):
    """A selective scan behind a convolution over the last four frames."""
    u, z = G.split(G.dense(x, A["in"]), 2)
    conv = G.concat([conv[:, 1:], u[:, None]])
    u = G.silu(G.sum(conv * A["conv"], -1))
    dt, B, C = G.split(G.dense(u, A["x"]), [4, N, N])
    dt = G.softplus(G.dense(dt, A["dt"]))[:, None]
    s = s * G.exp(dt * -np.arange(1.0, N + 1)) + dt * u[:, None] * B
    return G.dense((G.sum(s * C, -1) + u) * G.silu(z), A["out"]), conv, s


def gla(x, S):
    """Gated linear attention: a state that is a matrix."""
    q, k, v = (G.dense(x, A[name]) for name in "qkv")
    S = G.dense(x, A["f"], activation="sigmoid") * S + k[:, None] * v[None, :]
    return q @ S, S


def mlstm(x, C, n, m):
    """xLSTM's matrix memory with its normaliser and stabiliser."""
    q, k, v = G.dense(x, A["q"]), G.dense(x, A["k"]) / np.sqrt(D), G.dense(x, A["v"])
    i, f = G.dense(x, A["i"])[0], -G.softplus(-G.dense(x, A["f"])[0])
    top = G.maximum(f + m, i)
    keep, add = G.exp(f + m - top), G.exp(i - top)
    C = keep * C + add * v[:, None] * k
    n = keep * n + add * k
    return (C @ q) / G.maximum(abs(G.sum(n * q)), 1.0), C, n, top


def lif(x, v):
    """Leaky integrate and fire."""
    v = 0.875 * v + x
    spikes = v > 1
    return spikes * 1.0, G.where(spikes, 0.0, v)


CELLS = {
    min_gru: {"h": D},
    rwkv4: {"last": D, "a": D, "b": D, "p": np.full(D, -1e30, np.float32)},
    lru: {"re": D, "im": D},
    mamba: {"conv": (32, 4), "s": (32, N)},
    gla: {"S": (D, D)},
    mlstm: {"C": (D, D), "n": D, "m": ()},
    lif: {"v": D},
}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_a_cell_gives_what_its_source_gives_in_numpy(cell):
    model = check(cell, X, FLOAT32_MODEL, **CELLS[cell])
    assert sorted(model.states) == sorted(CELLS[cell])
    owned = {state for node in model.graph.nodes if node.op in ("expression", "window") for state in node.states}
    assert owned == set(CELLS[cell])


def test_small_ops_become_one_expression_that_owns_the_state():
    model = scan(min_gru, x=D, h=D)
    assert ops(model) == ["dense", "constant", "expression"]
    assert [node.states for node in model.graph.nodes] == [(), (), ("h",)]
    g = Graph("filter")
    a, b, x = (g.input(name, D) for name in "abx")
    h = g.state("h", D)
    h.next = a * h + b * x
    g.output("y", h.next)
    (node,) = Model.from_graph(g).graph.nodes
    assert node.op == "expression" and node.states == ("h",)
    assert [i.code for i in node.attrs["program"].instructions] == ["mul_plus_mul", "copy"]  # to the output
    assert len(g.nodes) == 5 and not g.passed, "the graph stays as it was"


def test_nodes_by_name_broadcast_as_well():
    g = Graph("nodes")
    x, a = g.input("x", 4), g.input("a", (1,))
    g.output("y", g.add("where", [a, g.add("mul", [x, a]), "x"]))
    y = Model.from_graph(g).stream().step({"x": np.arange(4, dtype=np.float32), "a": np.float32([2])})
    assert y.tolist() == [0, 2, 4, 6]
    with pytest.raises(ShapeError, match=r"mul 'mul_2': 'x' \(4,\) and 'b' \(3,\) do not go together"):
        g.add("mul", [x, g.input("b", 3)])


def test_the_old_way_of_registers_is_fused_as_well():
    g = Graph("minGRU")
    x = g.input("x", (D,))
    g.state("h", (D,))
    h = g.add("state_read", states=["h"])
    z = g.add("dense", [x], attrs={"activation": Activation("sigmoid")}, weights={"W": A["z"], "b": A["b"]})
    n = g.add("dense", [x], weights={"W": A["h"], "b": A["b"]})
    rest = g.add("activation", [z], attrs={"activation": Activation("affine", -1.0, 1.0)})
    y = g.add("add", [g.add("mul", [rest, h]), g.add("mul", [z, n])])
    g.add("state_write", [y], states=["h"])
    g.output("y", y)
    model = Model.from_graph(g)
    assert ops(model) == ["dense", "expression"]
    assert np.abs(model.run(X) - evaluate(min_gru, X, [np.zeros(D)])[0]).max() < FLOAT32_CELL


def test_states_keep_their_names_where_a_cell_or_window_is_recognised():
    R = {gate: numbers(D, D, seed=40 + i, scale=0.3) for i, gate in enumerate("ifgo")}

    def lstm(x, hidden, memory):
        i, f, o = (G.sigmoid(G.dense(x, A["z"]) + G.dense(hidden, R[gate])) for gate in "ifo")
        memory = f * memory + i * G.tanh(G.dense(x, A["h"]) + G.dense(hidden, R["g"]))
        hidden = o * G.tanh(memory)
        return hidden, hidden, memory

    model = check(lstm, X, FLOAT32_MODEL, hidden=D, memory=numbers(D, seed=3).astype(np.float32))
    assert ops(model) == ["lstm"] and list(model.states) == ["hidden", "memory"]

    def before(x, hidden, memory):  # which gives what it was as well: no lstm has that
        y, after, memory = lstm(x, hidden, memory)
        return y + hidden, after, memory

    model = check(before, X, FLOAT32_MODEL, hidden=D, memory=D)
    assert sorted(model.states) == ["hidden", "memory"]
    assert scan(mamba, x=D, conv=(32, 4), s=(32, N)).states["conv"].shape == (3, 32), "the last frames"


def oldest_first(x, past):
    past = G.concat([past[1:], x[None]], 0)
    return past.sum(0) + 2 * past[0], past


def newest_first(x, past):
    past = G.concat([x[None], past[:-1]], 0)
    return past[::2].sum(0), past


def half_of_a_state(x, past):
    """A GRU in a row of its state, beside what is none."""
    h = past[0]
    z, r = (G.sigmoid(G.dense(x, A[w]) + G.dense(h, A[v])) for w, v in ("zq", "hk"))
    h = (1 - z) * G.tanh(G.dense(x, A["v"]) + r * G.dense(h, A["C"])) + z * h
    return h, G.stack([h, 0.5 * past[1] + x])


def in_turn(x, past, other):
    return past[0] + other, other[None] * 1.0, past[0] + x


@pytest.mark.parametrize("cell", [oldest_first, newest_first, half_of_a_state, in_turn], ids=lambda cell: cell.__name__)
def test_states_start_from_arrays_under_their_names_whatever_passes_make_of_them(cell):
    rows = {half_of_a_state: 2, in_turn: 1}.get(cell, 5)
    states = {"past": numbers(rows, D, seed=9).astype(np.float32)}
    if cell is in_turn:
        states["other"] = numbers(D, seed=8).astype(np.float32)
    model = check(cell, X, FLOAT32_MODEL, **states)
    assert sorted(model.states) == sorted(states)
    assert ("window" in ops(model)) == cell.__name__.endswith("_first")


# -- states -----------------------------------------------------------------------------------------------------------


def test_a_state_that_is_read_and_never_written_is_an_error():
    g = Graph("forgotten")
    x, h = g.input("x", 4), g.state("h", 4)
    g.output("y", x + h)
    with pytest.raises(ShapeError, match=r"state 'h' is read and never written.*h\.next = value.*constant=True"):
        Model.from_graph(g)
    old = Graph("old")
    old.state("h", 4)
    old.output("y", old.add("add", [old.input("x", 4), old.add("state_read", states=["h"])]))
    with pytest.raises(ShapeError, match="state 'h' is read and never written"):
        Model.from_graph(old)


def test_a_constant_state_stays_until_somebody_sets_it():
    g = Graph("speaker")
    speaker = g.state("speaker", 4, init=np.ones(4), constant=True)
    g.output("y", g.input("x", 4) * speaker)
    stream = Model.from_graph(g).stream()
    x = np.ones(4, np.float32)
    assert stream.step(x).tolist() == [1] * 4
    stream.state["speaker"] = np.arange(4)
    assert stream.step(x).tolist() == stream.step(x).tolist() == [0, 1, 2, 3]


def test_states_that_no_output_needs_are_there_to_be_looked_at():
    g = Graph("meter")
    x = g.input("x", 4)
    level, last = g.state("level", ()), g.state("last", 4)
    level.next = 0.5 * level + 0.5 * G.mean(abs(x))
    last.next = x
    g.output("y", 2 * x)
    stream = Model.from_graph(g).stream()
    stream.run(np.full((2, 4), -2, np.float32))
    assert stream.state["level"] == 1.5 and stream.state["last"].tolist() == [-2] * 4


def test_what_a_state_is_before_and_after_the_timestep():
    g = Graph("counter")
    n = g.state("n", ())
    with pytest.raises(AttributeError, match="has no next value yet"):
        n.next  # noqa: B018
    n.next = n + 1
    assert n.next == "affine.out" and n.next.shape == n.shape == ()
    g.output("before", n)
    g.output("after", n.next)
    g.output("x", g.input("x", ()))
    y = Model.from_graph(g).run(np.zeros(3, np.float32))
    assert y["before"].tolist() == [0, 1, 2] and y["after"].tolist() == [1, 2, 3]


def test_a_state_may_become_a_number_or_an_array():
    g = Graph("reset")
    a, b, x = g.state("a", 2, init=np.ones(2)), g.state("b", 2), g.input("x", 2)
    a.next, b.next = 0.5, np.array([3, 4])
    g.output("y", a + b + 0 * x)
    assert Model.from_graph(g).run(np.zeros((2, 2), np.float32)).tolist() == [[1, 1], [3.5, 4.5]]


# -- scan and layers --------------------------------------------------------------------------------------------------


def test_inputs_and_outputs_by_name():
    def cell(given, total, *, gain=2.0):
        total = total + given["a"] * gain + given["b"][0]
        return {"total": total, "twice": 2 * given["b"]}, total

    model = scan(cell, given={"a": (), "b": (2,)}, total=(), name="named")
    assert model.name == "named" and list(model.inputs) == ["a", "b"] and list(model.outputs) == ["total", "twice"]
    y = model.run({"a": np.ones(3, np.float32), "b": np.ones((3, 2), np.float32)})
    assert y["total"].tolist() == [3, 6, 9] and y["twice"].tolist() == [[2, 2]] * 3


def test_a_cell_may_be_anything_that_is_called():
    class Leaky:
        def __init__(self, a):
            self.a = a

        def __call__(self, x, *levels):
            levels = [self.a * level + (1 - self.a) * x for level in levels]
            return levels[-1], *levels

        def step(self, x, /, slow, *, fast):
            return slow + fast, self.a * slow + x, x

    model = scan(Leaky(0.5), x=2, first=2, second=2)
    assert sorted(model.states) == ["first", "second"] and model.name == "Leaky"
    assert model.run(np.ones((2, 2), np.float32)).tolist() == [[0.5] * 2, [0.75] * 2]
    assert sorted(scan(Leaky(0.5).step, x=2, slow=2, fast=2).states) == ["fast", "slow"]
    assert scan(lambda x: x + 1, x=()).run(np.zeros(2, np.float32)).tolist() == [1, 1]


def test_a_cell_is_a_layer():
    layers = [undertow.Dense(A["z"]), Cell(min_gru, x=D, h=D, name="memory"), Cell(lif, x=D, v=D), Cell(lif, x=D, v=D)]
    model = Sequential(layers)
    assert sorted(model.states) == ["lif_1.v", "lif_2.v", "memory.h"]
    expected = X.astype(float) @ A["z"].T
    for cell in (min_gru, lif, lif):
        expected = evaluate(cell, expected, [np.zeros(D)])[0]
    assert np.abs(model.run(X) - expected).max() < FLOAT32_CELL


def test_a_layer_of_ones_own_may_use_operators():
    class Doubled(undertow.Layer):
        def add_to(self, graph, x):
            kept = graph.state("kept", graph.shape(x))
            kept.next = x
            return 2 * x + kept

    assert Sequential([Doubled()], input_shape=1).run(np.float32([[1], [2]])).tolist() == [[2], [5]]


def test_layers_join_a_graph_of_values():
    g = Graph("mixed")
    x = g.input("x", D)
    y = undertow.GRU(numbers(3 * D, D, scale=0.3), numbers(3 * D, D, seed=1), reset_after=True).add_to(g, 2 * x)
    g.output("y", undertow.Dense(A["z"]).add_to(g, y * G.sigmoid(x)) - y[::-1])
    assert Model.from_graph(g).run(X).shape == (20, D)


# -- texts and copies -------------------------------------------------------------------------------------------------


def test_a_value_is_a_text_for_whoever_takes_names():
    g = Graph("names")
    x, h = g.input("x", 4), g.state("cell.h", 4)
    assert isinstance(x, str) and x == "x" and hash(x) == hash("x") and {"x": 1}[x] == 1 and x in g.values
    assert x != "y" and x + "_2" == "x_2" and "a" + x == "ax" and f"{h}!" == "cell.h!"
    assert h.rpartition(".")[0] == "cell" and repr(x) == "'x'" and "ce" in h and x < "y" and x > "a"
    g.output(x, x)
    assert type(g.inputs[0]) is type(next(iter(g.outputs))) is type(g.outputs["x"]) is str
    assert all(type(v) is str for n in g.nodes for v in n.inputs)
    assert g.add("mul", ["x", x]) == "mul.out" and g.add("activation", "x", attrs={"activation": "tanh"}).shape == (4,)
    assert len(g.input("m", (3, 2))) == 3


def test_values_and_graphs_are_copied_and_pickled():
    g = Graph("copied")
    x, h = g.input("x", 2), g.state("h", 2)
    h.next = x + h
    product = h.next * x
    twin = g.copy()
    twin.output("y", product)
    g.output("z", x)
    assert list(twin.outputs) == ["y"] and list(g.outputs) == ["z"]
    late = 3 * x
    with pytest.raises(ShapeError, match="another graph"):
        twin.output("late", late)
    for again in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        other, y, k = again((g, x, h))
        assert y.graph is other and other is not g and type(k) is G.Register and k.next == h.next
        other.output("more", y * k)
        assert len(g.outputs) == 1
        assert Model.from_graph(other).run(np.ones((2, 2), np.float32))["more"].tolist() == [[0, 0], [1, 1]]
    assert copy.copy(x).graph is g


# -- what is refused --------------------------------------------------------------------------------------------------


def values():
    g = Graph("t")
    return g, g.input("x", 4), g.state("h", 4)


ELSEWHERE = Graph("u").input("x", 4)
W24, AXIS, SIGMIOD = np.ones((2, 4)), {"axis": 1}, {"activation": "sigmiod"}

#: name -> (what is wrong, error, its words)
WRONG = {
    "shapes": (lambda g, x, h: x * g.input("m", (4, 3)), ShapeError, r"'x' \(4,\) and 'm' \(4, 3\) do .*\[:, None\]"),
    "array": (lambda g, x, h: np.ones(3) + x, ShapeError, r"an array \(3,\) and 'x' \(4,\) do not go together"),
    "graphs": (lambda g, x, h: x + ELSEWHERE, ShapeError, "'x' of graph 't' and 'x' of graph 'u'"),
    "graph of a node": (lambda g, x, h: g.add("add", [x, ELSEWHERE]), ShapeError, "value of another graph, 'u'"),
    "graph of an output": (lambda g, x, h: g.output("y", ELSEWHERE), ShapeError, "output 'y'.*another graph, 'u'"),
    "if": (lambda g, x, h: x if x > 0 else h, TypeError, r"`if`.*where\(condition, a, b\)"),
    "and": (lambda g, x, h: (x > 0) and (x < 1), TypeError, "& | ~"),
    "not": (lambda g, x, h: not x, TypeError, "no numbers while"),
    "loop": (lambda g, x, h: list(x), TypeError, r"'x' \(4,\).*split"),
    "loop back": (lambda g, x, h: list(reversed(x)), TypeError, "go through"),
    "math": (lambda g, x, h: math.exp(x), TypeError, "`math`.*undertow.graph has exp"),
    "int": (lambda g, x, h: int(x), TypeError, "floor"),
    "round": (lambda g, x, h: round(x), TypeError, "undertow.graph.round"),
    "index": (lambda g, x, h: [1, 2][x], TypeError, "embedding"),
    "len": (lambda g, x, h: len(x[0]), TypeError, "no length"),
    "in": (lambda g, x, h: 2 in x, TypeError, "`in`"),
    "== number": (lambda g, x, h: x == 0, TypeError, r"equal\(a, b\)"),
    "!= array": (lambda g, x, h: x != np.ones(4), TypeError, r"equal\(a, b\)"),
    "where ==": (lambda g, x, h: G.where(x == h, x, h), TypeError, r"equal\(a, b\)"),
    "no condition": (lambda g, x, h: x & h, TypeError, r"'x' \(4,\) is no condition"),
    "not of a number": (lambda g, x, h: ~x, TypeError, r"~\(x > 0\)"),
    "%": (lambda g, x, h: x % 2, TypeError, "floor"),
    "//": (lambda g, x, h: 2 // x, TypeError, "floor"),
    "**": (lambda g, x, h: x**h, TypeError, r"exp\(y \* log\(x\)\)"),
    "** array": (lambda g, x, h: x ** np.ones(4), TypeError, "expected one number"),
    "** 1.3": (lambda g, x, h: x**1.3, TypeError, r"exp\(1.3 \* log\(x\)\)"),
    "negative **": (lambda g, x, h: (-2) ** x, TypeError, "positive"),
    "text": (lambda g, x, h: x * "a", TypeError, "'a' is a text"),
    "None": (lambda g, x, h: x * None, TypeError, "got None"),
    "ragged": (lambda g, x, h: x * [[1], [1, 2]], TypeError, "no array of numbers"),
    "list of values": (lambda g, x, h: x * [x, h], TypeError, "stack"),
    "1j": (lambda g, x, h: x * 1j, TypeError, "imaginary"),
    "1e300": (lambda g, x, h: x * 1e300, ValueError, r"1e\+300 is beyond float32"),
    "far index": (lambda g, x, h: x[9], ShapeError, "out of bounds"),
    "no elements": (lambda g, x, h: x[4:], ShapeError, "no elements"),
    "index by value": (lambda g, x, h: x[h], TypeError, "indexed by the value 'h'"),
    "index by text": (lambda g, x, h: x["a"], TypeError, "the text 'a'"),
    "elements": (lambda g, x, h: x.__setitem__(0, 1.0), TypeError, r"where\(mask, new, x\)"),
    "@": (lambda g, x, h: np.ones((3, 5)) @ x, ShapeError, r"an array \(3, 5\) and 'x' \(4,\).*5.*4"),
    "@ number": (lambda g, x, h: x @ 2.0, ShapeError, r"write \*"),
    "in place": (lambda g, x, h: np.zeros(4).__iadd__(x), TypeError, "a = a \\+ x"),
    "cumsum": (lambda g, x, h: np.cumsum(x), TypeError, "numpy.cumsum is not known"),
    "arctan": (lambda g, x, h: np.arctan(x), TypeError, "numpy.arctan is not known.*tanh"),
    "ufunc method": (lambda g, x, h: np.add.reduce(x), TypeError, "numpy.add.reduce"),
    "asarray": (lambda g, x, h: G.exp(np.asarray(x)), TypeError, "array of names"),
    "next": (lambda g, x, h: setattr(h, "next", x[:2]), ShapeError, r"state 'h': next is .* \(2,\), expected \(4,\)"),
    "next twice": (lambda g, x, h: [setattr(h, "next", v) for v in (x, h)], ShapeError, "'x' already"),
    "nxt": (lambda g, x, h: setattr(h, "nxt", x), AttributeError, "nxt"),
    "next of others": (lambda g, x, h: setattr(h, "next", ELSEWHERE), ShapeError, "state 'h': next.*another graph"),
    "number as input": (lambda g, x, h: g.add("mul", [x, 2.0]), TypeError, "graph.constant"),
    "op": (lambda g, x, h: g.add("multiply", [x, h]), UnsupportedError, "'multiply' .*; did you mean 'mul'"),
    "op in typos": (lambda g, x, h: g.add("sotfmax", [x]), UnsupportedError, "did you mean 'softmax'"),
    "an activation": (lambda g, x, h: g.add("tanh", [x]), UnsupportedError, "attrs={'activation': 'tanh'}"),
    "attribute": (lambda g, x, h: g.add("mul", [x, h], attrs=AXIS), UnsupportedError, "attribute 'axis'; it has none"),
    "another": (lambda g, x, h: g.add("reduce", [x], attrs=AXIS), UnsupportedError, "'axis'; it has 'kind'"),
    "weight": (lambda g, x, h: g.add("dense", [x], weights={"w": W24}), UnsupportedError, "'w'; it has 'W', 'b'"),
    "activation": (lambda g, x, h: g.add("activation", [x], attrs=SIGMIOD), UnsupportedError, "'sigmoid'"),
    "gelu as an attribute": (lambda g, x, h: Activation("gelu"), UnsupportedError, r"undertow\.graph\.gelu\(x\)"),
    "swish": (lambda g, x, h: Activation("swish"), UnsupportedError, "is called 'silu' here"),
    "no activation": (lambda g, x, h: g.add("activation", [x], attrs={"activation": 1}), TypeError, "or the name"),
    "activation of dense": (lambda g, x, h: G.dense(x, W24, activation="tahn"), UnsupportedError, "'tanh'.*gelu"),
    "odd activation": (lambda g, x, h: G.dense(x, W24, activation=3), TypeError, "a name, a function"),
    "W.T": (lambda g, x, h: G.dense(x, np.ones((4, 3))), ShapeError, r"\(4, 3\), \(outputs, inputs\); W.T would fit"),
    "W": (lambda g, x, h: G.dense(x, np.ones(4)), ShapeError, r"expected two axes"),
    "b": (lambda g, x, h: G.dense(x, np.ones((3, 4)), np.ones(4)), ShapeError, r"b is an array \(4,\), .* \(3,\)"),
    "concat": (lambda g, x, h: G.concat([x, x[:, None]]), ShapeError, "cannot be joined along axis -1"),
    "concat of one": (lambda g, x, h: G.concat(x), TypeError, "list of values"),
    "concat of none": (lambda g, x, h: G.concat([]), ShapeError, "empty"),
    "stack": (lambda g, x, h: G.stack([x, x[:2]]), ShapeError, "expected one shape"),
    "split": (lambda g, x, h: G.split(x, 3), ShapeError, "3 equal parts"),
    "sizes": (lambda g, x, h: G.split(x, [1, 2]), ShapeError, r"\[1, 2\].*4"),
    "reshape": (lambda g, x, h: x.reshape(3, -1), ShapeError, r"cannot have the shape \(3, -1\)"),
    "transpose": (lambda g, x, h: G.transpose(x, (0, 1)), ShapeError, r"no axes \(0, 1\)"),
    "broadcast": (lambda g, x, h: G.broadcast_to(x, (4, 2)), ShapeError, r"repeated into \(4, 2\)"),
    "axis": (lambda g, x, h: x.sum(1), ShapeError, "has no axis 1"),
    "softmax": (lambda g, x, h: G.softmax(x[0]), ShapeError, "expected an axis"),
    "norm": (lambda g, x, h: G.layer_norm(x, np.ones(3)), ShapeError, r"scale is an array \(3,\), expected \(4,\)"),
    "bounds": (lambda g, x, h: G.clip(x, 1, 0), ShapeError, "the lower one first"),
    "window": (lambda g, x, h: G.window(x, 0), ShapeError, "at least 1"),
    "constant": (lambda g, x, h: g.constant(x), TypeError, "a value already"),
    "gelu": (lambda g, x, h: G.gelu(x, "erf"), UnsupportedError, "'none' or 'tanh'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name):
    f, error, words = WRONG[name]
    with pytest.raises(error, match=f"(?s){words}"):
        f(*values())


#: name -> (function, shapes, error, its words)
WRONG_CELLS = {
    "no return": (lambda x, h: None, {"x": 4, "h": 4}, TypeError, "returns nothing.*return y, h"),
    "one": (lambda x, h: x + h, {"x": 4, "h": 4}, ShapeError, "returns 1 value, expected 2.*return y, h"),
    "three": (lambda x, h: (x, h, h), {"x": 4, "h": 4}, ShapeError, "returns 3 values, expected 2"),
    "shape": (lambda x, h: (x, x[:2]), {"x": 4, "h": 4}, ShapeError, r"state 'h': next .*\(2,\), expected \(4,\)"),
    "no shape": (lambda x, h: (x, h), {"x": 4}, TypeError, r"state 'h' has no shape; give it as h=\(size,\)"),
    "no input": (lambda x, h: (x, h), {"h": 4}, TypeError, "input 'x' has no shape"),
    "unknown": (lambda x, h: (x, h), {"x": 4, "h": 4, "hh": 4}, TypeError, "no parameter 'hh'"),
    "a typo": (lambda x, hidden: (x, hidden), {"x": 4, "hidden": 4, "hiden": 4}, TypeError, "did you mean 'hidden'"),
    "pair": (lambda x, h: ((x, x), h), {"x": 4, "h": 4}, TypeError, "several outputs are a dict"),
    "constant": (lambda x, h: (1.0, h), {"x": 4, "h": 4}, TypeError, "the same at every timestep"),
    "float": (lambda x, h: (x, h), {"x": 4.0, "h": 4}, TypeError, r"input 'x': got 4.0, expected a shape"),
    "list": (lambda x, h: (x, h), {"x": 1, "h": [0.5]}, TypeError, "an array gives what it starts from"),
    "array": (lambda x, h: (x, h), {"x": np.ones(4), "h": 4}, TypeError, "input 'x': got array"),
    "empty": (lambda x, h: (x, h), {"x": 0, "h": 4}, ShapeError, "is empty"),
    "no inputs": (lambda x, h: (x, h), {"x": {}, "h": 4}, TypeError, "empty dict"),
    "elsewhere": (lambda x, h: (ELSEWHERE, h), {"x": 4, "h": 4}, ShapeError, "another graph, 'u'"),
    "state of elsewhere": (lambda x, h: (x, ELSEWHERE), {"x": 4, "h": 4}, ShapeError, "state 'h'.*another graph, 'u'"),
    "if": (lambda x, h: (x, h if x[0] > 0 else x), {"x": 4, "h": 4}, TypeError, "where"),
    "called name": (lambda x, name: (x, name), {"x": 4, "name": 4}, TypeError, "cannot be called 'name'.*rename"),
    "nothing": (lambda: 0, {}, TypeError, "no parameters"),
    "no function": ("a", {"x": 4}, TypeError, "a cell is a function"),
}


@pytest.mark.parametrize("name", WRONG_CELLS)
def test_what_is_wrong_with_a_cell_is_said(name):
    cell, shapes, error, words = WRONG_CELLS[name]
    with pytest.raises(error, match=f"(?s){words}"):
        scan(cell, **shapes)


def test_cells_as_layers_are_refused_where_they_do_not_fit():
    identity = Cell(lambda x, h: (x, h), x=4, h=4)
    with pytest.raises(ShapeError, match=r"layer 1 .*takes frames of shape \(4,\)"):
        Sequential([undertow.Dense(np.ones((3, 2))), identity])
    with pytest.raises(TypeError, match=r"needs an undertow\.Graph"):
        identity.add_to(undertow.load(undertow.example("digits")).graph, "input")
    with pytest.raises(TypeError, match=r"outputs by name.*undertow\.scan"):
        Sequential([Cell(lambda x: {"y": x}, x=4)])
    with pytest.raises(TypeError, match=r"inputs by name.*undertow\.scan"):
        Cell(lambda x: x["a"], x={"a": 4}).add_to(Graph(), "a")


def test_activations_by_name_in_every_op_that_has_them():
    g = Graph("names")
    x = g.input("x", 4)
    W, R = numbers(3, 4, 4), numbers(3, 4, 4, seed=1)
    for i, activations in enumerate((("sigmoid", "softsign"), (Activation("sigmoid"), Activation("softsign")))):
        states = [g.state(f"gru{i}.h", 4)]
        y = g.add("gru", [x], attrs={"activations": activations}, weights={"W": W, "R": R}, states=states)
        g.output(f"y{i}", y)
    y = Model.from_graph(g).run(X[:, :4].copy())
    assert_same_bits(y["y0"], y["y1"])
    with pytest.raises(UnsupportedError, match=r"gru 'gru_3': activation 'sigm' .*did you mean 'sigmoid'"):
        g.add("gru", [x], attrs={"activations": ("sigm", "tanh")}, weights={"W": W, "R": R}, states=[g.state("q", 4)])
