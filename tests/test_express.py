# SPDX-License-Identifier: MIT
"""Passes that make recurrences cheap: registers that shift become windows, sums of them filters, layers of one input
one, small ops between layers expressions that own registers. Results have the bits of what was there before, but where
a sum goes another way.
"""

import numpy as np
import pytest

import random_models
from frames import assert_same_bits
from undertow import passes, reference
from undertow.ir.activations import SIGMOID, TANH, Activation
from undertow.ir.graph import Graph
from undertow.ir.ops import OPS
from undertow.model import Model
from undertow.passes.express import express
from undertow.passes.filters import depthwise
from undertow.passes.join_dense import join
from undertow.passes.outer_products import apart
from undertow.passes.shifts import window
from undertow.passes.unused import tidy

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")


def ops(graph):
    return sorted(n.op for n in graph.nodes)


def outputs(model, X):
    y = model.stream().run(X)
    return y if isinstance(y, dict) else {"y": y}


def assert_equal(before, after, X):
    """The same numbers, a zero of either sign among them."""
    a, b = (outputs(Model.from_graph(g), X) for g in (before, after))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], name)


# -- expressions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(150))
def test_a_random_graph_gives_the_same_numbers(seed):
    made = random_models.make(seed)
    graph = made.graph.copy()
    tidy(graph)
    if graph.whole_sequence_nodes() or not graph.nodes:
        return
    after = graph.copy()
    express(after)
    X = random_models.frames(made.graph, np.random.default_rng([seed, 3]), 9)
    assert_equal(graph, after, X)


def recurrence(g, x, n, name="h"):
    """h = z h + (1 - z) tanh(x), with z = sigmoid(x)."""
    h = g.add("state_read", states=[g.state(f"{name}.value", n)])
    z = g.add("activation", [x], attrs={"activation": SIGMOID})
    rest = g.add("affine", [z], weights={"scale": -np.ones(n), "shift": np.ones(n)})
    new = g.add(
        "add", [g.add("mul", [z, h]), g.add("mul", [rest, g.add("activation", [x], attrs={"activation": TANH})])]
    )
    g.add("state_write", [new], states=[f"{name}.value"])
    return new


def test_a_recurrence_owns_its_register_and_goes_through_a_block_by_itself(rng):
    g = Graph("minimal")
    x = g.add("dense", [g.input("x", 8)], weights={"W": rng.normal(size=(20, 8))})
    g.output("y", g.add("dense", [recurrence(g, x, 20)], weights={"W": rng.normal(size=(3, 20))}))
    after = g.copy()
    assert express(after) == [after.nodes[-2].name]
    assert ops(after) == ["constant", "dense", "dense", "expression"]
    X = rng.normal(size=(100, 8)).astype(np.float32)
    assert_equal(g, after, X)
    model = Model.from_graph(after)
    assert list(model.states) == ["h.value"] and model.stream().state["h.value"].shape == (20,)


def test_equal_numbers_stand_in_a_file_once(rng):
    """The rounds of a solver that is written out have the same weights."""
    g = Graph("rounds")
    h = g.input("x", 40)
    w = {"scale": rng.normal(size=40), "shift": rng.normal(size=40)}
    for _ in range(3):
        h = g.add("activation", [g.add("affine", [h], weights=w)], attrs={"activation": TANH})
        h = g.add("dense", [h], weights={"W": rng.normal(size=(40, 40))})
    g.output("y", h)
    after = g.copy()
    express(after)
    assert ops(after) == ["constant"] + ["dense"] * 3 + ["expression"] * 3
    assert_equal(g, after, rng.normal(size=(9, 40)).astype(np.float32))


def test_registers_that_hand_on_are_read_before_they_are_written(rng):
    """A chain of delays in one expression, in any order of writing, and two that change places."""
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        g = Graph("delays")
        x = g.input("x", 12)
        reads = [g.add("state_read", states=[g.state(f"d{i}", 12, rng.normal(size=12))]) for i in range(3)]
        new = g.add("mul", [g.add("add", [x, reads[2]]), g.add("add", [reads[0], reads[1]])])
        new = g.add("activation", [new], attrs={"activation": TANH})
        written = [new, reads[0], reads[1]]
        for i in order:
            g.add("state_write", [written[i]], states=[f"d{i}"])
        g.output("y", new)
        after = g.copy()
        express(after)
        assert ops(after) == ["expression"]
        assert_equal(g, after, rng.normal(size=(9, 12)).astype(np.float32))
    g = Graph("swap")
    x = g.input("x", 12)
    a, b = (g.add("state_read", states=[g.state(n, 12, rng.normal(size=12))]) for n in "ab")
    g.output("y", g.add("sub", [g.add("mul", [a, x]), b]))
    g.add("state_write", [b], states=["a"])
    g.add("state_write", [a], states=["b"])
    after = g.copy()
    express(after)
    assert ops(after) == ["expression"]
    assert_equal(g, after, rng.normal(size=(9, 12)).astype(np.float32))


def test_groups_that_wait_for_each_other_stay_apart(rng):
    """What goes out of a group and comes back through a layer is no part of it."""
    g = Graph("apart")
    x = g.input("x", 16)
    a = g.add("mul", [x, x])
    b = g.add("add", [g.add("dense", [a], weights={"W": rng.normal(size=(16, 16))}), a])
    c = g.add("mul", [g.add("dense", [b], weights={"W": rng.normal(size=(16, 16))}), b])
    g.output("y", g.add("add", [g.add("sub", [c, a]), g.add("mul", [a, x])]))
    after = g.copy()
    express(after)
    assert ops(after).count("dense") == 2
    assert_equal(g, after, rng.normal(size=(5, 16)).astype(np.float32))


@pytest.mark.parametrize("kind", ["outputs", "sources", "numbers", "side by side", "alive at once", "states"])
def test_what_is_too_much_for_one_expression_is_several_or_none(kind, rng):
    g, n = Graph("many"), 12
    xs = [g.input(f"x{i}", n) for i in range(3)]
    y = g.add("mul", xs[:2])
    if kind == "outputs":
        for i in range(70):
            y = g.add("add", [y, xs[i % 3]])
            g.output(f"y{i}", y)
    elif kind == "sources":
        for i in range(90):
            x = g.add("dense", [xs[i % 3]], weights={"W": rng.normal(size=(n, n)) / n})
            y = g.add("add", [g.add("mul", [y, x]), x])
    elif kind == "numbers":
        for _ in range(80):
            y = g.add("affine", [y], weights={"scale": rng.normal(size=n), "shift": rng.normal(size=n)})
            y = g.add("max", [y, xs[2]])
    elif kind == "side by side":
        for _ in range(40):
            wide = {"scale": rng.normal(size=n), "shift": rng.normal(size=n)}
            x = g.add("dense", [g.add("affine", [xs[0]], weights=wide)], weights={"W": rng.normal(size=(n, n))})
            y = g.add("add", [y, x])
    elif kind == "alive at once":
        many = [g.add(("add", "sub", "max", "min")[i % 4], [xs[i % 3], xs[(i // 3) % 3]]) for i in range(45)]
        for other in many[::-1] + many:
            y = g.add("sub", [y, other])
    else:
        for i in range(40):
            h = g.add("state_read", states=[g.state(f"h{i}", n, rng.normal(size=n))])
            y = g.add("activation", [g.add("add", [h, y])], attrs={"activation": TANH})
            g.add("state_write", [y], states=[f"h{i}"])
    g.output("y", y)
    after = g.copy()
    express(after)
    assert_equal(g, after, {f"x{i}": rng.normal(size=(7, n)).astype(np.float32) for i in range(3)})


def matrix_state(g, rng, H=2, K=16, V=16):
    """S = d S + k v, y = q S, of heads, as torch writes it: outer products and vectors times matrices."""
    q, k, v = (g.input(name, H * n) for name, n in (("q", K), ("k", K), ("v", V)))
    S = g.add("state_read", states=[g.state("S", (H, K, V))])
    outer = g.add(
        "matmul",
        [
            g.add("reshape", [k], attrs={"shape": (H, K, 1)}),
            g.add("reshape", [v], attrs={"shape": (H, 1, V)}),
        ],
    )
    decay = np.repeat(rng.random(H), K * V).reshape(H, K, V)
    new = g.add("add", [g.add("affine", [S], weights={"scale": decay, "shift": np.zeros((H, K, V))}), outer])
    g.add("state_write", [new], states=["S"])
    y = g.add("matmul", [g.add("reshape", [q], attrs={"shape": (H, 1, K)}), new])
    g.output("y", g.add("reshape", [y], attrs={"shape": (H * V,)}))


def test_a_matrix_state_is_one_walk(rng):
    g = Graph("retention")
    matrix_state(g, rng)
    after = g.copy()
    express(after)
    tidy(after)
    (node,) = (n for n in after.nodes if n.op == "expression")
    program = node.attrs["program"]
    assert [s.code for s in program.instructions] == ["mul_plus_mul", "rows_dot"] and program.n_slots == 0
    X = {n: rng.normal(size=(20, 32)).astype(np.float32) for n in "qkv"}
    assert_equal(g, after, X)


@pytest.mark.parametrize("view", ["turned", "repeated"])
def test_a_register_beside_a_view_of_it_that_is_no_even_map_stays(view, rng):
    """h + h[indices]: the selection is a node of its own, which reads the register."""
    g = Graph("turned")
    x = g.input("x", 12)
    h = g.add("state_read", states=[g.state("h", 12, rng.normal(size=12))])
    indices = np.arange(12)[::-1] if view == "turned" else np.array([1, 0, 3, 2] * 3)
    g.output("y", g.add("add", [g.add("select", [h], weights={"indices": indices.astype(np.int32)}), h]))
    g.add("state_write", [g.add("add", [g.add("activation", [h], attrs={"activation": TANH}), x])], states=["h"])
    after = g.copy()
    passes.run(after)
    assert_equal(g, after, rng.normal(size=(9, 12)).astype(np.float32))


def test_what_is_read_elsewhere_stays_a_register(rng):
    g = Graph("shared")
    x = g.input("x", 16)
    new = recurrence(g, x, 16)
    held = next(n for n in g.nodes if n.op == "state_read").outputs[0]
    g.output("before", g.add("dense", [held], weights={"W": rng.normal(size=(4, 16))}))
    g.output("y", new)
    after = g.copy()
    assert express(after) == []
    assert ops(after).count("state_write") == 1
    assert_equal(g, after, rng.normal(size=(7, 16)).astype(np.float32))


# -- shifts -----------------------------------------------------------------------------------------------------------


def shifting(g, x, n, taps, init=None):
    """A register of the last `taps` frames, oldest first, and what it becomes."""
    held = g.add("state_read", states=[g.state("cache.value", (taps * n,), init)])
    indices = np.concatenate([np.arange(n, taps * n), taps * n + np.arange(n)])
    new = g.add("select", [held, x], weights={"indices": indices})
    g.add("state_write", [new], states=["cache.value"])
    return held, new


@pytest.mark.parametrize("shown", ["held", "new", "both"])
@pytest.mark.parametrize("starts", [False, True])
def test_a_register_that_shifts_is_a_window(shown, starts, rng):
    g = Graph("cache")
    x = g.add("activation", [g.input("x", 3)], attrs={"activation": TANH})
    held, new = shifting(g, x, 3, 4, rng.normal(size=12) if starts else None)
    for name, value in (("held", held), ("new", new)):
        if shown in (name, "both"):
            g.output(name, g.add("dense", [value], weights={"W": rng.normal(size=(2, 12))}))
    after = g.copy()
    names, moved = window(after)
    tidy(after)
    assert names == ["cache_window"] and "state_write" not in ops(after) and ops(after).count("window") == 1
    ((past, where),) = moved["cache.value"]
    assert (
        after.states[past].shape == ((3 if shown == "new" else 4), 3) and where.size == after.states[past].shape[0] * 3
    )
    assert_equal(g, after, rng.normal(size=(9, 3)).astype(np.float32))


@pytest.mark.parametrize("starts", [False, True])
def test_a_register_that_holds_an_element_twice_stays(starts, rng):
    """Its start, or a state that a program sets, may be two numbers."""
    g = Graph("twice")
    x = g.input("x", 1)
    held = g.add("state_read", states=[g.state("held", 4, rng.normal(size=4) if starts else None)])
    new = g.add("select", [held, x], weights={"indices": np.array([2, 3, 4, 4], np.int32)})
    g.output("y", held)
    g.add("state_write", [new], states=["held"])
    after = g.copy()
    assert window(after)[0] == []
    stream = Model.from_graph(after).stream()
    stream.state["held"] = np.float32([1, 2, 3, 4])
    np.testing.assert_array_equal(stream.step(np.float32([5])), [1, 2, 3, 4])
    np.testing.assert_array_equal(stream.step(np.float32([6])), [3, 4, 5, 5])


def test_a_channel_of_its_own_for_each_row_shifts_too(rng):
    """(channels, taps), as convolutions keep it: elements of a channel are neighbours."""
    g, C, K = Graph("conv"), 5, 4
    x = g.input("x", C)
    held = g.add("state_read", states=[g.state("conv.value", (C, K), rng.normal(size=(C, K)))])
    grid = np.arange(C * K).reshape(C, K)
    indices = np.concatenate([grid[:, 1:], C * K + np.arange(C)[:, None]], axis=1)
    new = g.add("select", [held, x], weights={"indices": indices})
    g.add("state_write", [new], states=["conv.value"])
    scaled = g.add("affine", [new], weights={"scale": rng.normal(size=(C, K)), "shift": rng.normal(size=(C, K))})
    rows = g.add("reshape", [scaled], attrs={"shape": (C, K, 1)})
    g.output("y", g.add("reduce", [rows], attrs={"kind": "sum"}))
    after = g.copy()
    window(after)
    tidy(after)
    assert_equal(g, after, rng.normal(size=(9, C)).astype(np.float32))
    assert depthwise(after)
    tidy(after)
    assert ops(after) == ["depthwise", "reshape", "reshape", "window"]
    X = rng.normal(size=(9, C)).astype(np.float32)
    np.testing.assert_allclose(
        Model.from_graph(after).stream().run(X), Model.from_graph(g).stream().run(X), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["round", "stays", "depends", "two sources"])
def test_what_does_not_only_shift_stays_a_register(kind, rng):
    g = Graph("not a shift")
    x = g.input("x", 3)
    held = g.add("state_read", states=[g.state("r", 6, rng.normal(size=6))])
    if kind == "depends":  # what comes in is made of what is there
        x = g.add("add", [x, g.add("select", [held], weights={"indices": np.arange(3)})])
    indices = {"round": [3, 4, 5, 0, 1, 6], "stays": [0, 3, 4, 6, 7, 8]}.get(kind, [3, 4, 5, 6, 7, 8])
    inputs = (
        [held, x] if kind != "two sources" else [held, g.add("select", [x], weights={"indices": [0]}), g.input("z", 2)]
    )
    new = g.add("select", inputs, weights={"indices": np.array(indices)})
    g.add("state_write", [new], states=["r"])
    g.output("y", new)
    after = g.copy()
    names, moved = window(after)
    assert (names, moved) == ([], {}) and repr(after) == repr(g)


# -- layers of one input ----------------------------------------------------------------------------------------------


def test_layers_that_expressions_read_are_one(rng):
    g = Graph("gates")
    x = g.input("x", 9)
    z = g.add(
        "dense", [x], weights={"W": rng.normal(size=(7, 9)), "b": rng.normal(size=7)}, attrs={"activation": SIGMOID}
    )
    h = g.add("dense", [x], weights={"W": rng.normal(size=(7, 9))})
    g.output("y", g.add("mul", [z, h]))
    after = g.copy()
    assert join(after)
    express(after)
    tidy(after)
    assert ops(after) == ["dense", "expression"]
    assert_same_bits(
        outputs(Model.from_graph(g), X := rng.normal(size=(6, 9)).astype(np.float32)),
        outputs(Model.from_graph(after), X),
    )


def test_a_layer_that_others_read_stays_itself(rng):
    g = Graph("not joined")
    x = g.input("x", 9)
    a, b = (g.add("dense", [x], weights={"W": rng.normal(size=(7, 9))}) for _ in range(2))
    g.output("a", a)
    g.output("y", g.add("softmax", [b]))
    assert not join(g)


# -- the pipeline -----------------------------------------------------------------------------------------------------


def test_the_pipeline_keeps_what_a_recurrence_computes(rng):
    """A step of Mamba's kind: a convolution over time, a scan with a state for each channel, a gate."""
    g, D, N, K = Graph("scan"), 16, 8, 4
    x = g.add("dense", [g.input("x", 6)], weights={"W": rng.normal(size=(2 * D, 6))})
    u, z = (g.add("select", [x], weights={"indices": np.arange(D) + i * D}) for i in (0, 1))
    held = g.add("state_read", states=[g.state("conv", (D, K))])
    grid = np.arange(D * K).reshape(D, K)
    new = g.add(
        "select", [held, u], weights={"indices": np.concatenate([grid[:, 1:], D * K + np.arange(D)[:, None]], axis=1)}
    )
    g.add("state_write", [new], states=["conv"])
    scaled = g.add("affine", [new], weights={"scale": rng.normal(size=(D, K)), "shift": np.zeros((D, K))})
    u = g.add("reduce", [g.add("reshape", [scaled], attrs={"shape": (D, K, 1)})], attrs={"kind": "sum"})
    u = g.add("activation", [g.add("reshape", [u], attrs={"shape": (D,)})], attrs={"activation": Activation("silu")})
    bc = g.add("dense", [u], weights={"W": rng.normal(size=(2 * N, D))})
    dt = g.add("dense", [u], weights={"W": rng.normal(size=(D, D))}, attrs={"activation": Activation("softplus")})
    rows, columns = np.repeat(np.arange(D), N), np.tile(np.arange(N), D)
    wide = lambda value, indices: g.add("select", [value], weights={"indices": indices})  # noqa: E731
    A = {"scale": -np.tile(np.arange(1.0, N + 1), D), "shift": np.zeros(D * N)}
    decay = g.add("activation", [g.add("affine", [wide(dt, rows)], weights=A)], attrs={"activation": Activation("exp")})
    s = g.add("state_read", states=[g.state("scan", D * N)])
    fed = g.add("mul", [wide(g.add("mul", [dt, u]), rows), wide(bc, columns)])
    s = g.add("add", [g.add("mul", [s, decay]), fed])
    g.add("state_write", [s], states=["scan"])
    y = g.add("mul", [s, wide(bc, N + columns)])
    y = g.add("reduce", [g.add("reshape", [y], attrs={"shape": (D, N, 1)})], attrs={"kind": "sum"})
    gate = g.add("activation", [z], attrs={"activation": SIGMOID})
    g.output("y", g.add("mul", [g.add("reshape", [y], attrs={"shape": (D,)}), gate]))
    X = rng.normal(size=(50, 6)).astype(np.float32)
    expected = reference.run(g, X)
    after = g.copy()
    passes.run(after)
    assert "state_read" not in ops(after) and ops(after).count("window") == 1 == ops(after).count("depthwise")
    assert not any(OPS[n.op].is_register for n in after.nodes)
    np.testing.assert_allclose(reference.run(after, X), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(Model.from_graph(after).stream().run(X), expected, rtol=1e-4, atol=1e-5)


# -- products with vectors --------------------------------------------------------------------------------------------


def assert_near(before, after, X):
    a, b = (reference.run(g, X) for g in (before, after))
    for name in before.outputs:
        x, y = (r[name] if isinstance(r, dict) else r for r in (a, b))
        np.testing.assert_allclose(y, x, rtol=0, atol=1e-12 * np.abs(x).max(), err_msg=name)


def outer(g, u, v, shape, by):
    """u v^T for u (lead, K) and v (lead, J)."""
    lead, K, J = shape
    if by == "matmul":
        columns = g.add("reshape", [u], attrs={"shape": (lead, K, 1)})
        return g.add("matmul", [columns, g.add("reshape", [v], attrs={"shape": (lead, 1, J)})])
    i = np.arange(lead * K * J).reshape(shape)
    places = [(i // J).astype(np.int32), (i // (K * J) * J + i % J).astype(np.int32)]
    factors = [g.add("select", [x], weights={"indices": p}) for x, p in zip((u, v), places, strict=True)]
    return g.add("mul", factors if by == "mul" else factors[::-1])


@pytest.mark.parametrize("by", ["matmul", "mul", "mul, exchanged"])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("lead", [1, 3])
def test_a_matrix_times_an_outer_product_is_two_products_with_vectors(by, side, lead, rng):
    K, J, n = 12, 9, 10
    g = Graph("outer")
    u, v = g.input("u", (lead, K)), g.input("v", (lead, J))
    other = g.input("s", (lead, n, K) if side else (lead, J, n))
    both = [other, outer(g, u, v, (lead, K, J), by)]
    g.output("y", g.add("matmul", both if side else both[::-1]))
    after = g.copy()
    assert apart(after) == [g.nodes[-1].name]
    tidy(after)
    products = [n for n in after.nodes if n.op == "matmul"]
    assert len(products) == 2 and all(
        1 in (*after.shape(p.inputs[0])[1:], *after.shape(p.inputs[1])[1:]) for p in products
    )
    X = {name: rng.normal(size=(4, *g.shape(name))).astype(np.float32) for name in g.inputs}
    assert_near(g, after, X)


def test_what_is_no_outer_product_stays(rng):
    g = Graph("stays")
    a, b = g.input("a", (12, 12)), g.input("b", (12, 12))
    s = g.input("s", (12, 12))
    for x in (
        g.add("mul", [a, b]),
        g.add("matmul", [a, b]),
        g.add("mul", [a, g.add("select", [b], weights={"indices": np.repeat(np.arange(12), 12).reshape(12, 12)})]),
    ):
        g.output(f"y{len(g.outputs)}", g.add("matmul", [s, x]))
    vectors = [g.add("select", [s], weights={"indices": np.arange(12) + k}) for k in (0, 12)]
    thin = outer(g, *vectors, (1, 12, 12), "matmul")
    one_row = g.add("reshape", [g.add("select", [a], weights={"indices": np.arange(12)})], attrs={"shape": (1, 1, 12)})
    g.output("row", g.add("matmul", [one_row, thin]))  # no fewer products, and a sum that is not needed
    assert apart(g.copy()) == []


@pytest.mark.parametrize("lead, rows, inner", [(1, 20, 16), (3, 12, 24), (4, 1, 32), (1, 9, 9)])
def test_a_matrix_times_a_vector_is_a_walk_over_its_rows(lead, rows, inner, rng):
    """With the sum that makes the matrix in the same walk, so that its register is the expression's own."""
    g = Graph("rows")
    x = g.add("dense", [g.input("x", 8)], weights={"W": rng.normal(size=(lead * rows * inner, 8))})
    S = g.add("state_read", states=[g.state("S", (lead * rows * inner,))])
    half = {"scale": np.full(1, 0.5), "shift": np.zeros(1)}
    half = {k: np.repeat(v, lead * rows * inner) for k, v in half.items()}
    new = g.add("add", [g.add("affine", [S], weights=half), x])
    g.add("state_write", [new], states=["S"])
    r = g.add("dense", [g.inputs[0]], weights={"W": rng.normal(size=(lead * inner, 8))})
    matrix = g.add("reshape", [new], attrs={"shape": (lead, rows, inner)})
    y = g.add("matmul", [matrix, g.add("reshape", [r], attrs={"shape": (lead, inner, 1)})])
    g.output("y", y)
    after = g.copy()
    express(after)
    tidy(after)
    assert [n.op for n in after.nodes if n.op in ("matmul", "state_read")] == []
    X = rng.normal(size=(30, 8)).astype(np.float32)
    assert_near(g, after, X)
    a, b = (outputs(Model.from_graph(m), X)["y"] for m in (g, after))
    np.testing.assert_allclose(b, a, rtol=0, atol=2e-6 * np.abs(a).max())


def test_a_model_that_rounds_keeps_the_order_of_its_sums(rng):
    g = Graph("rounds")
    a, b = g.input("a", (12, 12)), g.input("b", (12, 1))
    y = g.add("matmul", [a, b])
    g.output("y", g.add("activation", [y], attrs={"activation": Activation("round")}))
    passes.run(g)
    assert "matmul" in ops(g)


def test_the_delta_rule_as_it_is_written_is_one_of_vectors(rng):
    """state * w + state @ (a b^T) + v k^T; y = state r: one walk for state a, one for all else."""
    H, N = 2, 16
    g = Graph("delta")
    x = g.input("x", 8)
    r, w, k, v, a, b = (g.add("dense", [x], weights={"W": rng.normal(size=(H * N, 8)) / 4}) for _ in range(6))
    S = g.add("reshape", [g.add("state_read", states=[g.state("S", H * N * N)])], attrs={"shape": (H, N, N)})
    i = np.arange(H * N * N)
    decay = g.add("select", [w], weights={"indices": (i // (N * N) * N + i % N).reshape(H, N, N)})
    new = g.add("add", [g.add("mul", [S, decay]), g.add("matmul", [S, outer(g, a, b, (H, N, N), "matmul")])])
    new = g.add("add", [new, outer(g, v, k, (H, N, N), "matmul")])
    g.add("state_write", [g.add("reshape", [new], attrs={"shape": (H * N * N,)})], states=["S"])
    g.output("y", g.add("matmul", [new, g.add("reshape", [r], attrs={"shape": (H, N, 1)})]))
    after = g.copy()
    passes.run(after)
    assert [op for op in ops(after) if op not in ("reshape", "select")] == [
        "dense",
        "expression",
        "expression",
        "state_read",
        "state_write",
    ]
    assert_near(g, after, rng.normal(size=(12, 8)).astype(np.float32) / 4)
