# SPDX-License-Identifier: MIT
"""Expressions: programs over a space give the bits of the ops that they stand for, on every instruction set."""

from dataclasses import replace

import numpy as np
import pytest

import programs
import undertow
from frames import assert_same_bits
from undertow import reference
from undertow.ir.graph import Graph
from undertow.ir.ops.programs import (
    CODES,
    INPUT,
    OUTPUT,
    Instruction,
    Operand,
    Program,
    dense_strides,
    reduced_axis,
)
from undertow.model import Model

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

SEEDS = range(120)


def pair(seed: int, most: int = 300):
    """(the expression, its parts as separate ops), as models of the same inputs."""
    rng = np.random.default_rng([seed, 41])
    n_states = int(rng.integers(0, 3))
    inputs = [int(rng.choice((1, 4, 16, 17, 40, 90))) for _ in range(int(rng.integers(1, 4)))]
    program, states, shapes = programs.random_program(rng, inputs, n_states, most=most)
    starts = [rng.normal(size=n).astype(np.float32) if rng.random() < 0.5 else None for n in states]
    graphs = []
    for whole in (True, False):
        g = Graph(f"program_{seed}")
        xs = [g.input(f"x{i}", n) for i, n in enumerate(inputs)]
        names = [g.state(f"s{i}.value", n, start) for i, (n, start) in enumerate(zip(states, starts, strict=True))]
        if whole:
            made = g.add("expression", xs, attrs={"program": program, "shapes": shapes}, states=names)
            outputs = [made] if isinstance(made, str) else list(made or ())
        else:
            outputs = programs.apart(g, program, xs, names)
        g.output("first", xs[0])
        for i, value in enumerate(outputs):
            g.output(f"y{i}", g.add("reshape", [value], attrs={"shape": (g.values[value].size,)}))
        graphs.append(g)
    return *graphs, program


def named(y):
    """Outputs by name, of models with one too."""
    return y if isinstance(y, dict) else {"first": y}


def frames(g, rng, T=11):
    return {name: rng.normal(size=(T, *g.shape(name))).astype(np.float32) for name in g.inputs}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_program_gives_the_bits_of_its_ops(seed, isa):
    fused, separate, _ = pair(seed)
    X = frames(fused, np.random.default_rng(seed))
    made, expected = Model.from_graph(fused, isa=isa), Model.from_graph(separate, isa=isa)
    a, b = made.stream(), expected.stream()
    assert_same_bits(a.run(X), b.run(X))
    for name in made.states:
        assert_same_bits(np.asarray(a.state[name]), np.asarray(b.state[name]))


@pytest.mark.parametrize("seed", range(8))
def test_a_large_space_goes_in_tiles(seed):
    fused, separate, _ = pair(1000 + seed, most=40000)
    X = frames(fused, np.random.default_rng(seed), 3)
    assert_same_bits(Model.from_graph(fused).run(X), Model.from_graph(separate).run(X))


@pytest.mark.parametrize("sizes", [(1, 2, 300, 20), (1, 1, 70, 40), (2, 1, 3, 2500), (1, 1, 2000, 3)])
def test_reductions_go_on_from_tile_to_tile(sizes, isa, rng):
    """More rows, and longer ones, than a tile has; a slot keeps tiles as small as they are with several of them."""
    n, space, codes = int(np.prod(sizes)), dense_strides(sizes), [c for c in CODES if reduced_axis(c) is not None]
    operands = [Operand(INPUT, 0, 0, space), Operand(INPUT, 1, 0, space)]
    operands += [Operand(OUTPUT, i, 0, dense_strides(sizes, reduced_axis(code))) for i, code in enumerate(codes)]
    slots = range(len(operands), len(operands) + 6)
    steps = [Instruction("mul", slots[0], (0, 1)), *(Instruction("add", y, (y - 1, 0)) for y in slots[1:])]
    arguments = (slots[-1], 1, 0, slots[0])
    steps += [Instruction(code, 2 + i, arguments[: CODES[code][1]]) for i, code in enumerate(codes)]
    program = Program(sizes, len(slots), tuple(operands), tuple(steps))
    shapes = [(n // sizes[reduced_axis(code)],) for code in codes]
    graphs = []
    for whole in (True, False):
        g = Graph("reductions")
        xs = [g.input(name, n) for name in "ab"]
        attrs = {"program": program, "shapes": shapes}
        made = g.add("expression", xs, attrs=attrs) if whole else programs.apart(g, program, xs, [])
        for code, value in zip(codes, made, strict=True):
            g.output(code, value)
        graphs.append(g)
    X = {name: rng.normal(size=(2, n)).astype(np.float32) for name in "ab"}
    assert_same_bits(*(Model.from_graph(g, isa=isa).run(X) for g in graphs))


@pytest.mark.parametrize("seed", range(40))
def test_the_reference_computes_it_as_its_ops(seed):
    fused, separate, _ = pair(seed)
    X = frames(fused, np.random.default_rng(seed))
    made, expected = named(reference.run(fused, X)), named(reference.run(separate, X))
    for name in made:
        np.testing.assert_allclose(made[name], expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_blocks_steps_and_pools_give_the_same_bits(seed):
    g, _, _ = pair(seed)
    X, model = frames(g, np.random.default_rng(seed), 9), Model.from_graph(g)
    expected = named(model.stream().run(X))
    stream = model.stream()
    steps = [named(stream.step({name: x[t] for name, x in X.items()})) for t in range(9)]
    assert_same_bits({name: np.stack([step[name] for step in steps]) for name in expected}, expected)
    with model.pool(3) as pool:
        ids = pool.open(3)
        y = named(pool.run(ids, {name: np.stack([x] * 3) for name, x in X.items()}))
        for k in range(3):
            assert_same_bits({name: y[name][k] for name in expected}, expected)


@pytest.mark.parametrize("seed", range(60))
def test_a_file_says_it_again(seed):
    _, _, program = pair(seed)
    words = program.pack(4, 2)
    assert Program.unpack(words, 4, 2) == program


def test_the_graph_and_the_reader_refuse_the_same_programs():
    """One change each to random programs: where the Graph takes it, so does the engine."""
    rng, refused = np.random.default_rng(5), 0
    for seed in range(150):
        g, _, program = pair(seed)
        node = next(n for n in g.nodes if n.op == "expression")
        k = int(rng.integers(len(program.operands)))
        o = program.operands[k]
        s = int(rng.integers(len(program.instructions)))
        change = int(rng.integers(5))
        if change == 0:
            strides = tuple(int(n) for n in rng.integers(0, 3, 4))
            changed = replace(
                program, operands=(*program.operands[:k], replace(o, strides=strides), *program.operands[k + 1 :])
            )
        elif change == 1:
            offset = int(rng.integers(0, 200))
            changed = replace(
                program, operands=(*program.operands[:k], replace(o, offset=offset), *program.operands[k + 1 :])
            )
        elif change == 2:
            y = int(rng.integers(len(program.operands) + program.n_slots))
            changed = replace(
                program,
                instructions=(
                    *program.instructions[:s],
                    replace(program.instructions[s], y=y),
                    *program.instructions[s + 1 :],
                ),
            )
        elif change == 3:
            changed = replace(program, instructions=tuple(i for n, i in enumerate(program.instructions) if n != s))
        else:
            changed = replace(program, n_slots=int(rng.integers(0, 5)))
        node.attrs["program"] = changed
        try:
            undertow.ir.ops.OPS["expression"].infer(g, node)
            taken = True
        except undertow.ShapeError:
            taken = False
        try:
            Model.from_graph(g)
            assert taken, changed
        except undertow.FormatError:
            assert not taken, changed
        refused += not taken
    assert 40 < refused < 140
