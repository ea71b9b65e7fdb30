# SPDX-License-Identifier: MIT
"""Random networks for tests: one recurrent layer with any of its options, and a zoo with every op."""

import numpy as np

from undertow.ir.activations import Activation
from undertow.ir.graph import Graph

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
N_ACTS = {"rnn": 1, "gru": 2, "lstm": 3}


def weights(rng, op, n_in, hidden, fed_back=None, bias=True):
    """Weights under which a cell neither dies nor explodes."""
    fed_back = fed_back or hidden
    w = {
        "W": rng.normal(size=(GATES[op], hidden, n_in)) / np.sqrt(n_in),
        "R": rng.normal(size=(GATES[op], hidden, fed_back)) / np.sqrt(fed_back),
    }
    if bias:
        w["b"] = rng.normal(size=(GATES[op], hidden)) * 0.5
    return w


def cell(
    graph,
    rng,
    op,
    x,
    hidden,
    name="cell",
    *,
    peephole=False,
    projection=None,
    start=False,
    given=None,
    bias=True,
    **attrs,
):
    """Add a recurrent layer; gives its outputs as a tuple.

    `given`: values that each frame starts from, in place of states.
    """
    shape = graph.shape(x)
    n_in, rows = shape[-1], shape[int(bool(attrs.get("steps"))) : -1]
    w = weights(rng, op, n_in, hidden, projection, bias)
    if attrs.get("reset_after"):
        w["rb_n"] = rng.normal(size=hidden)
    if peephole:
        w["peephole"] = rng.normal(size=(3, hidden))
    if projection:
        w["projection"] = rng.normal(size=(projection, hidden)) / np.sqrt(hidden)
    sizes = {"h": projection or hidden, **({"c": hidden} if op == "lstm" else {})}
    states = []
    for s, n in sizes.items() if given is None else ():
        init = rng.uniform(-0.9, 0.9, (*rows, n)) if start else None
        states.append(graph.state(f"{name}.{s}", (*rows, n), init))
    out = graph.add(op, [x, *(given or ())], name=name, weights=w, states=states, attrs=attrs)
    return out if isinstance(out, tuple) else (out,)


def single(rng, op, n_in, hidden, **options):
    """A graph of one recurrent layer with outputs y (and c)."""
    graph = Graph(op)
    outputs = cell(graph, rng, op, graph.input("x", n_in), hidden, **options)
    for name, value in zip(("y", "c"), outputs, strict=False):
        graph.output(name, value)
    return graph


def zoo(seed=0):
    """Every op that can be streamed, but for state registers (see `counter`), in one DAG of two inputs and outputs."""
    rng = np.random.default_rng(seed)
    g = Graph("zoo")
    x, ids = g.input("x", 7), g.input("ids", (2,), "int32")
    e = g.add(
        "reshape", [g.add("embedding", [ids], weights={"table": rng.normal(size=(11, 5))})], attrs={"shape": (10,)}
    )
    h, c = cell(g, rng, "lstm", g.add("concat", [x, e]), 20, "lstm_1", start=True)
    k = g.add("constant", weights={"value": rng.normal(size=20)})
    s = g.add("add", [g.add("mul", [h, c]), k])
    (p,) = cell(g, rng, "gru", s, 19, "gru_1", reset_after=True)
    (q,) = cell(g, rng, "gru", p, 20, "gru_2")
    (r,) = cell(g, rng, "rnn", q, 20, "rnn_1", activations=(Activation("softsign"),), clip=2.0)
    t = g.add("max", [g.add("min", [r, h]), g.add("sub", [r, c])])
    n = g.add("layer_norm", [t], weights={"scale": rng.normal(size=20), "shift": rng.normal(size=20)})
    a = g.add("affine", [n], weights={"scale": rng.normal(size=20), "shift": rng.normal(size=20)})
    b = g.add("activation", [a], attrs={"activation": Activation("softplus")})
    d = g.add("div", [a, g.add("add", [b, g.add("activation", [a], attrs={"activation": Activation("exp")})])])
    y = g.add(
        "dense",
        [g.add("select", [d], weights={"indices": np.array([3, 0, 0, 19, 7])})],
        weights={"W": rng.normal(size=(6, 5))},
    )
    g.output("soft", g.add("softmax", [g.add("reshape", [y], attrs={"shape": (2, 3)})]))
    g.output("log", g.add("log_softmax", [y]))
    g.output("rows", _frame_ops(g, rng, x, h))
    return g


def _frame_ops(g, rng, x, h):
    """Convolution, attention and masks: frame ops over frames of several axes; x (7,), h (20,)."""
    zero = g.add("constant", weights={"value": np.zeros(1)})
    padded = np.concatenate([[27], np.arange(27), [27, 27, 27]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 7)[::2]
    rows = g.add("select", [x, h, zero], weights={"indices": windows})
    a = g.add("dense", [rows], weights={"W": rng.normal(size=(5, 7)) * 0.3, "b": rng.normal(size=5)})
    b = g.add("dense", [rows], weights={"W": rng.normal(size=(16, 7))}, attrs={"activation": Activation("erf")})
    c = g.add("matmul", [g.add("reshape", [a], attrs={"shape": (5, 13)}), b])
    deep = g.add("select", [c, b], weights={"indices": rng.integers(0, 80 + 13 * 16, (4, 3, 17))})
    e = g.add("depthwise", [deep], weights={"W": rng.normal(size=(3, 17)) * 0.4, "b": rng.normal(size=17)})
    parts = [g.add("activation", [e], attrs={"activation": Activation(kind)}) for kind in ("abs", "sin", "cos", "sign")]
    above = g.add("activation", [e], attrs={"activation": Activation("softplus")})
    parts += [g.add("activation", [above], attrs={"activation": Activation(k)}) for k in ("sqrt", "log", "reciprocal")]
    parts += [g.add("activation", [e], attrs={"activation": Activation(k)}) for k in ("round", "floor", "ceil")]
    masks = [g.add(op, [e, p]) for op, p in zip(("greater", "less", "equal", "greater_equal"), parts, strict=False)]
    parts += [g.add("where", [mask, parts[0], e]) for mask in (*masks, g.add("less_equal", [parts[1], e]))]
    joined = g.add("reshape", [g.add("concat", parts)], attrs={"shape": (1, len(parts), 68)})
    folded = [g.add("reduce", [joined], attrs={"kind": kind}) for kind in ("sum", "max", "min")]
    near = g.add("activation", [g.add("concat", folded)], attrs={"activation": Activation("scaled_tanh", 1.5, 0.1)})
    return g.add("reduce", [g.add("reshape", [near], attrs={"shape": (34, 6, 1)})], attrs={"kind": "prod"})


def zoo_input(T, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(T, 7)).astype(np.float32), "ids": rng.integers(0, 11, (T, 2)).astype(np.int32)}


def counter():
    """y_t = 0.5 y_{t-1} + x_t, written with state registers."""
    g = Graph("counter")
    x = g.input("x", 3)
    state = g.state("sum.value", (3,), np.ones(3))
    before = g.add("state_read", states=[state])
    half = g.add("affine", [before], weights={"scale": np.full(3, 0.5), "shift": np.zeros(3)})
    y = g.add("add", [half, x])
    g.add("state_write", [y], states=[state])
    g.output("y", y)
    return g


def round_trip_graphs():
    """Every kind of recurrent layer that the file format has a flag or tensor for."""
    rng = np.random.default_rng(9)
    options = [
        ("rnn", {"reverse": True, "bias": False}),
        ("gru", {"reset_after": True, "start": True}),
        ("gru", {"clip": 1.25, "masked": True}),
        ("lstm", {"peephole": True, "projection": 3, "input_forget": True}),
        (
            "lstm",
            {"activations": (Activation("hard_sigmoid"), Activation("elu", 0.5, 2.0), Activation("affine", 2, 3))},
        ),
    ]
    graphs = []
    for i, (op, option) in enumerate(options):
        graph = single(rng, op, 5, 18, **option)
        graph.name, graph.source = f"{op}_{i}", "round trip"
        graphs.append(graph)
    return graphs


def framed(seed=4):
    """Cells with rows and steps inside a frame, with states and without: what an enhancer does over bands and time."""
    rng = np.random.default_rng(seed)
    g = Graph("framed")
    x = g.input("x", (5, 3))  # bands, channels
    (a,) = cell(g, rng, "gru", x, 4, "up", given=[], steps=True, reset_after=True)
    (b,) = cell(g, rng, "gru", x, 4, "down", given=[], steps=True, reset_after=True, reverse=True)
    flat = g.add("concat", [g.add("reshape", [v], attrs={"shape": (20,)}) for v in (a, b)])
    h, c = cell(g, rng, "lstm", g.add("reshape", [flat], attrs={"shape": (5, 8)}), 17, "over_time", start=True)
    start = g.add("select", [flat], weights={"indices": np.arange(18).reshape(2, 9)})
    two = g.add("select", [h], weights={"indices": np.arange(80).reshape(4, 2, 10)})
    (d,) = cell(g, rng, "rnn", two, 9, "given", given=[start], steps=True)
    (e,) = cell(g, rng, "gru", d, 16, "kept", start=True, steps=True)
    last = g.add("reshape", [e], attrs={"shape": (128,)})
    g.output("y", g.add("dense", [last], weights={"W": rng.normal(size=(40, 128)) / 8}))
    g.output("h", e)
    g.output("c", c)
    return g


def cached():
    """A cell whose state the file keeps in a cache of its own: read, sliced, and written back."""
    rng = np.random.default_rng(5)
    g = Graph("cached")
    x = g.input("x", (3, 4))
    state = g.state("cache.value", (2, 3, 6), rng.uniform(-1, 1, (2, 3, 6)))
    before = g.add("state_read", states=[state])
    h0, c0 = (g.add("select", [before], weights={"indices": np.arange(18).reshape(3, 6) + 18 * i}) for i in range(2))
    h, c = cell(g, rng, "lstm", x, 6, given=[h0, c0])
    after = g.add("concat", [g.add("reshape", [v], attrs={"shape": (18,)}) for v in (h, c)])
    following = g.add("reshape", [after], attrs={"shape": (2, 3, 6)})
    g.output("h", h)
    g.output("y", g.add("dense", [after], weights={"W": rng.normal(size=(40, 36)) / 4}))
    g.add("state_write", [following], states=[state])
    return g


#: networks that between them hold every kind of state: of a cell, learned, in registers, windows and superframes
GRAPHS = {
    "gru": lambda: single(np.random.default_rng(5), "gru", 5, 21),
    "lstm": lambda: single(np.random.default_rng(5), "lstm", 5, 21, start=True),
    "zoo": zoo,
    "counter": counter,
    "framed": framed,
    "cached": cached,
}
