# SPDX-License-Identifier: MIT
"""csrc/FORMAT.md, "What is computed", is enough: formulas written from it give the engine's bits."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import oracle_bits as bits
import undertow
from undertow.ir.activations import KINDS, Activation
from undertow.ir.graph import Graph

F32 = np.float32
PAGE = Path(__file__).parents[1] / "csrc" / "FORMAT.md"
SPECIAL = [
    0.0,
    1.0,
    0.5,
    1.5,
    2.5,
    2.0**20,
    2.0**23,
    3.4e38,
    np.inf,
    1e-45,
    1e-39,
    2.0**-126,
    88.72,
    87.33,
    89.0,
    0.5625,
]
PARAMETERS = [(), (0.3, 0.7), (-1.5, 2.5), (1e-3, -0.2)]


@pytest.fixture(autouse=True)
def quiet():
    """NaN and infinity are what some of the numbers are for."""
    with np.errstate(all="ignore"):
        yield


def numbers(seed, n=10_000):
    """Of every magnitude, most of them where functions change."""
    rng = np.random.default_rng(seed)
    anything = rng.integers(0, 2**32, n // 4, dtype=np.uint32).view(F32)
    x = [rng.normal(size=n // 2) * rng.choice([0.3, 3, 30], n // 2), anything, rng.uniform(-120, 120, n // 4)]
    return np.concatenate([*x, SPECIAL, -np.array(SPECIAL), [np.nan]]).astype(F32)


def assert_bits(got, expected, what):
    """Equal bits; NaN is NaN."""
    got, expected = np.asarray(got, F32), np.asarray(expected, F32)
    same = (got.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(got) & np.isnan(expected))
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        raise AssertionError(f"{what}: {(~same).sum()} of {same.size} differ, {at}: {got[at]!r}, not {expected[at]!r}")


def run(graph, isa, X):
    return undertow.Model.from_graph(graph, isa=isa).run(X)


@cache
def activated(kind):
    """Activations of a kind, numbers, and what each activation makes of them."""
    formula = KINDS[kind].formula
    acts = [Activation(kind, *parameters) for parameters in (PARAMETERS if "alpha" in formula else [()])]
    x = numbers(KINDS[kind].code)
    return acts, x, [bits.activation(kind, act.alpha, act.beta)(x) for act in acts]


def constants(text):
    """Numbers with enough digits to be none by chance."""
    return {float(F32(number)) for number in re.findall(r"\d\.\d{5,}(?:e-?\d+)?", text)}


@pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")
def test_the_page_has_the_constants():
    page = constants(PAGE.read_text().split("## What is computed")[1].split("\n## ")[0])
    assert page == constants(Path(bits.__file__).read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_activations(kind, isa):
    acts, x, expected = activated(kind)
    g = Graph("activations")
    value = g.input("x", 1)
    for i, act in enumerate(acts):
        g.output(f"y{i}", g.add("activation", [value], attrs={"activation": act}))
    Y = run(g, isa, x[:, None])
    for i, act in enumerate(acts):
        assert_bits((Y[f"y{i}"] if len(acts) > 1 else Y)[:, 0], expected[i], act)


TAME = ("tanh", "sigmoid", "softsign", "hard_sigmoid", "scaled_tanh", "elu", "erf", "sin", "softplus", "silu")
CELLS = {
    "rnn": ("rnn", {}, ()),
    "rnn clip": ("rnn", {"clip": 0.5}, ()),
    "gru before": ("gru", {"reset_after": False}, ()),
    "gru after": ("gru", {"reset_after": True}, ("rb_n",)),
    "gru after clip": ("gru", {"reset_after": True, "clip": 0.75}, ("rb_n",)),
    "lstm": ("lstm", {}, ()),
    "lstm peephole": ("lstm", {}, ("peephole",)),
    "lstm all": ("lstm", {"input_forget": True, "clip": 0.6}, ("peephole", "projection")),
}


@cache
def stepped(name, usual):
    """The graph of a cell, frames, and its outputs by name."""
    op, attrs, extra = CELLS[name]
    rng = np.random.default_rng(len(name) + usual)
    n_in, hidden, fed_back = 7, 19, 11 if "projection" in extra else 19
    n_gates, n_acts = {"rnn": (1, 1), "gru": (3, 2), "lstm": (4, 3)}[op]
    draw = lambda *shape: rng.normal(size=shape).astype(F32)  # noqa: E731
    w = {"W": draw(n_gates, hidden, n_in), "R": draw(n_gates, hidden, fed_back) / 4, "b": draw(n_gates, hidden)}
    shapes = {"rb_n": (hidden,), "peephole": (3, hidden), "projection": (fed_back, hidden)}
    w |= {key: draw(*shapes[key]) for key in extra}
    acts = [Activation(kind) for kind in (["sigmoid"] * (n_acts > 1) + ["tanh", "tanh"])[:n_acts]]
    if not usual:
        acts = [Activation(kind) for kind in rng.choice(TAME, n_acts)]
    g = Graph("cell")
    states = [g.state(s, (n,)) for s, n in (("h", fed_back), ("c", hidden))[: 1 + (op == "lstm")]]
    outputs = g.add(op, [g.input("x", n_in)], weights=w, attrs=attrs | {"activations": tuple(acts)}, states=states)
    for letter, value in zip("hc", [outputs] if isinstance(outputs, str) else outputs, strict=False):
        g.output(letter, value)
    X = draw(60, n_in)
    X[20:30] *= 100
    clip = attrs.get("clip")
    places = [bits.activation(a.kind, a.alpha, a.beta, clip if i < 2 else None) for i, a in enumerate(acts)]
    own = {key: attrs.get(key, False) for key in {"gru": ["reset_after"], "lstm": ["input_forget"]}.get(op, [])}
    now = [np.zeros(fed_back, F32), np.zeros(hidden, F32)][: len(states)]
    expected = []
    for x in X:
        now = getattr(bits, op)(w, places, x, *now, **own)
        expected.append(now)
    return g, X, {letter: np.stack(rows) for letter, rows in zip("hc", zip(*expected, strict=True), strict=False)}


@pytest.mark.parametrize("usual", [True, False], ids=["usual", "others"])
@pytest.mark.parametrize("name", CELLS)
def test_cells(name, usual, isa):
    graph, X, expected = stepped(name, usual)
    model = undertow.Model.from_graph(graph, isa=isa)
    stream = model.stream()
    steps = [stream.step(x) for x in X]
    for letter, rows in expected.items():
        named = len(expected) > 1
        Y = model.run(X)
        assert_bits(Y[letter] if named else Y, rows, f"{name} {letter}")
        assert_bits(np.stack([y[letter] if named else y for y in steps]), rows, f"{name} {letter}, step by step")


def larger(a, b):
    return np.where(np.isnan(a), a, bits.most(a, b))


@cache
def computed(n):
    """A graph of ops on frames of three rows of n numbers, frames, and its outputs by name."""
    rng = np.random.default_rng(n)
    w = rng.normal(size=(6, n)).astype(F32)
    g = Graph("ops")
    x = g.input("x", (3, n))
    ys = {
        "dense": g.add("dense", [x], weights={"W": w}),
        "softmax": g.add("softmax", [x]),
        "log_softmax": g.add("log_softmax", [x]),
        "layer_norm": g.add("layer_norm", [x], weights={"scale": w[0], "shift": w[1]}, attrs={"eps": 1e-5}),
        "max": g.add("max", [x, g.add("activation", [x], attrs={"activation": Activation("cos")})]),
    }
    for kind in ("sum", "max", "prod"):
        row = g.add("reshape", [x], attrs={"shape": (3, n, 1)})
        ys[f"{kind} of a row"] = g.add("reduce", [row], attrs={"kind": kind})
        column = g.add("reshape", [x], attrs={"shape": (1, 3, n)})
        ys[f"{kind} of a column"] = g.add("reduce", [column], attrs={"kind": kind})
    turned = g.add("reshape", [x], attrs={"shape": (n, 3)})
    ys["matmul"] = g.add("matmul", [x, turned])
    for key, value in ys.items():
        g.output(key, value)
    X = (rng.normal(size=(60, 3, n)) * rng.choice([0.1, 1, 30], (60, 1, 1))).astype(F32)
    X[0, 1, 0], X[1, 0, -1], X[2] = np.nan, np.inf, 1e-39
    top = X[..., 0]
    for j in range(1, n):
        top = np.where(X[..., j] > top, X[..., j], top)
    beside = bits.sub(X, top[..., None])
    e = bits.exp(beside)
    mean = bits.div(bits.total(X), n)[..., None]
    d = bits.sub(X, mean)
    variance = bits.div(bits.total(bits.mul(d, d)), n)
    inverse = bits.div(1, bits.root(bits.add(variance, F32(1e-5))))[..., None]
    expected = {
        "dense": np.stack([[bits.chain(w, row, np.zeros(6, F32)) for row in frame] for frame in X]),
        "softmax": bits.div(e, bits.total(e)[..., None]),
        "log_softmax": bits.sub(beside, bits.log(bits.total(e))[..., None]),
        "layer_norm": bits.add(bits.mul(bits.mul(d, inverse), w[0]), w[1]),
        "max": larger(X, bits.activation("cos")(X)),
        "matmul": bits.chain(X[..., None, :], np.moveaxis(X.reshape(-1, 1, n, 3), 2, 0), np.zeros((60, 3, 3), F32)),
    }
    for kind, op, start in (("sum", bits.add, 0.0), ("max", larger, -np.inf), ("prod", bits.mul, 1.0)):
        expected[f"{kind} of a row"] = bits.total(X, op, start)[..., None]
        v = np.full((60, n), start, F32)
        for row in range(3):
            v = op(v, X[:, row])
        # A column of one number each is a row.
        expected[f"{kind} of a column"] = v[:, None] if n > 1 else bits.total(X[..., 0], op, start)[:, None, None]
    return g, X, expected


@pytest.mark.parametrize("n", [1, 5, 16, 37])
def test_other_ops(n, isa):
    graph, X, expected = computed(n)
    Y = run(graph, isa, X)
    for key, y in expected.items():
        assert_bits(Y[key], y, key)
