# SPDX-License-Identifier: MIT
"""What a load takes grows with its file, never with the square of a size that is a number in it.

Memory is measured in a process of its own, from the moment that everything is imported; work is what budgets counted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import layer, sequential, write_h5
from load_apart import EACH, FREE, load_apart, measured
from onnx_files import model_of, node, onnxruntime, random, save
from undertow import reference
from undertow.budget import MEMORY, MEMORY_EACH, Budget, Held, Spent, TooMuch, room
from undertow.importers.onnx import load
from undertow.importers.onnx.file.read import read_model
from undertow.importers.onnx.search import import_program
from undertow.importers.onnx.simplify.budget import Effort
from undertow.importers.onnx.simplify.program import make_program
from undertow.passes.rebuild_cells import recover

# -- models that are small files --------------------------------------------------------------------------------------


def gates(cell: str, n_in: int, hidden: int) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Nodes from x and h to p_<gate>, as PyTorch exports one step of a cell: two products, each split into gates."""
    rng, names = np.random.default_rng(0), {"rnn": "n", "gru": "rzn", "lstm": "ifgo"}[cell]
    k = len(names)
    weights = {"W": random(rng, k * hidden, n_in), "R": random(rng, k * hidden, hidden), "b": random(rng, k * hidden)}
    nodes = [node("Gemm", "x W b", "xw", transB=1), node("Gemm", "h R b", "hr", transB=1)]
    if k > 1:
        for side in ("xw", "hr"):
            nodes.append(node("Split", side, " ".join(f"{side}_{g}" for g in names), axis=1, num_outputs=k))
    return nodes, {key: w * np.float32(0.3) for key, w in weights.items()}


def step(cell: str, n: int, rows: int | None = None, n_in: int = 4, hidden: int = 5) -> Any:
    """One step of a cell over a batch of n, which its file fixes; x has as many `rows`, or one for all of them."""
    nodes, weights = gates(cell, n_in, hidden)
    states = {"h": [n, hidden], **({"c": [n, hidden]} if cell == "lstm" else {})}
    if cell == "rnn":
        nodes += [node("Add", "xw hr", "s"), node("Tanh", "s", "h_out")]
    elif cell == "gru":
        nodes += [node("Add", f"xw_{g} hr_{g}", f"s_{g}") for g in "rz"]
        nodes += [node("Sigmoid", f"s_{g}", g) for g in "rz"]
        nodes += [node("Mul", "r hr_n", "rn"), node("Add", "xw_n rn", "s_n"), node("Tanh", "s_n", "n")]
        nodes += [node("Sub", "h n", "d"), node("Mul", "d z", "zd"), node("Add", "zd n", "h_out")]
    else:
        nodes += [node("Add", f"xw_{g} hr_{g}", f"s_{g}") for g in "ifgo"]
        nodes += [node("Tanh" if g == "g" else "Sigmoid", f"s_{g}", g) for g in "ifgo"]
        nodes += [node("Mul", "f c", "fc"), node("Mul", "i g", "ig"), node("Add", "fc ig", "c_out")]
        nodes += [node("Tanh", "c_out", "t"), node("Mul", "o t", "h_out")]
    nodes += [node("Gemm", "h_out V", "y", transB=1)]
    weights["V"] = random(np.random.default_rng(1), 2, hidden)
    outputs = {"y": [n, 2], **{f"{name}_out": shape for name, shape in states.items()}}
    opset = 18 if cell != "rnn" else 17
    return model_of(nodes, {"x": [rows or n, n_in], **states}, outputs, weights, opset)


def outer_products(heads: int, n: int) -> Any:
    """Linear attention: S' = decay S + k v, y = q S', a state of heads x n x n."""
    rng, width = np.random.default_rng(0), heads * n
    weights = {name: random(rng, width, width) / np.float32(n) for name in "qkvo"}
    weights |= {"row": np.array([1, heads, 1, n]), "column": np.array([1, heads, n, 1]), "flat": np.array([1, width])}
    weights["decay"] = rng.random((1, heads, 1, 1), np.float32)
    nodes = [node("MatMul", f"x {name}", f"x{name}") for name in "qkv"]
    nodes += [node("Reshape", "xq row", "rq"), node("Reshape", "xk column", "rk"), node("Reshape", "xv row", "rv")]
    nodes += [node("Mul", "S decay", "Sd"), node("MatMul", "rk rv", "kv"), node("Add", "Sd kv", "S_out")]
    nodes += [node("MatMul", "rq S_out", "qS"), node("Reshape", "qS flat", "f"), node("MatMul", "f o", "y")]
    shape = [1, heads, n, n]
    return model_of(nodes, {"x": [1, width], "S": shape}, {"y": [1, width], "S_out": shape}, weights)


def diagonal(width: int, n: int) -> Any:
    """A diagonal state space: n states for each of the channels, h' = a h + b x, y = sum of c h'."""
    rng = np.random.default_rng(0)
    weights = {name: random(rng, width, n) / np.float32(4) for name in "abc"} | {"last": np.array([-1])}
    nodes = [node("Unsqueeze", "x last", "u"), node("Mul", "h a", "ah"), node("Mul", "u b", "bx")]
    nodes += [
        node("Add", "ah bx", "h_out"),
        node("Mul", "h_out c", "ch"),
        node("ReduceSum", "ch last", "y", keepdims=0),
    ]
    shape = [1, width, n]
    return model_of(nodes, {"x": [1, width], "h": shape}, {"y": [1, width], "h_out": shape}, weights)


def chain(n: int, *ops: str) -> Any:
    """Elementwise nodes one behind the other, on a frame of n elements and a state of as many."""
    nodes, last = [node("Add", "x h", "v")], "v"
    for i, op in enumerate(ops):
        nodes.append(node(op, f"{last} half" if op in ("Mul", "Add") else last, f"v{i}"))
        last = f"v{i}"
    nodes += [node("Identity", last, "h_out"), node("Sigmoid", last, "y")]
    weights = {"half": np.float32(0.5)}
    return model_of(nodes, {"x": [1, n], "h": [1, n]}, {"y": [1, n], "h_out": [1, n]}, weights)


def ports(n: int) -> Any:
    """Two nodes: one of n outputs, and one of n inputs."""
    names = " ".join(f"v{i}" for i in range(n))
    nodes = [node("Split", "x", names, axis=1, num_outputs=n), node("Concat", names, "y", axis=1)]
    return model_of(nodes, {"x": [1, n]}, {"y": [1, n]}, {})


def again(n: int) -> Any:
    """A number n * n times."""
    nodes = [node("Concat", " ".join(["x"] * n), "a", axis=1), node("Concat", " ".join(["a"] * n), "y", axis=1)]
    return model_of(nodes, {"x": [1, 1]}, {"y": None}, {})


def interleaved(n: int) -> Any:
    """A transposed convolution: elements that stand beside each other in its result come from far apart."""
    nodes = [node("ConvTranspose", "x W", "y", strides=[3, 2], output_padding=[1, 1])]
    weights = {"W": np.ones((1, 2, 3, 3), np.float32)}
    return model_of(nodes, {"x": [1, 1, 3, n]}, {"y": None}, weights)


#: name -> (model, states, an op that it has)
LOADED: dict[str, tuple[Any, dict[str, str], str]] = {
    "gru, a batch of 512": (step("gru", 512), {"h": "h_out"}, "dense"),
    "gru, a batch of 20000 states": (step("gru", 20000, 1), {"h": "h_out"}, "dense"),
    "lstm, a batch of 4096": (step("lstm", 4096), {"h": "h_out", "c": "c_out"}, "dense"),
    "rnn, a batch of 20000": (step("rnn", 20000), {"h": "h_out"}, "dense"),
    "one head of 64 x 64": (outer_products(1, 64), {"S": "S_out"}, "expression"),
    "four heads of 64 x 64": (outer_products(4, 64), {"S": "S_out"}, "expression"),
    "768 x 16 states": (diagonal(768, 16), {"h": "h_out"}, "expression"),
    "2^20 elements": (chain(2**20, "Tanh", "Sigmoid"), {"h": "h_out"}, "expression"),
    "an lstm of 1024 units": (step("lstm", 1, 1, 64, 1024), {"h": "h_out", "c": "c_out"}, "lstm"),
}
#: name -> (model, states, what the error says)
REFUSED: dict[str, tuple[Any, dict[str, str], str]] = {
    "2^20 elements, scaled": (
        chain(2**20, *["Mul", "Tanh"] * 20),
        {"h": "h_out"},
        r"Mul node .* a tensor of 1048576 elements takes more memory",
    ),
    "20000 ports": (ports(20000), {}, "nodes, at most 16384"),
    "2^18 columns, interleaved": (interleaved(65536), {}, "takes more memory"),
    "2^24 times the same": (again(4096), {}, "a tensor of|no way to read the axes"),
    "2^23 elements": (chain(2**23, "Tanh"), {"h": "h_out"}, "a tensor of 8388608 elements takes more memory"),
}


@measured
@pytest.mark.parametrize("name", [*LOADED, *REFUSED])
def test_memory_grows_with_the_file(name: str, tmp_path: Path) -> None:
    model, states, expected = (LOADED | REFUSED)[name]
    path = save(model, tmp_path)
    made, taken = load_apart(path, states=states)
    assert taken < FREE + EACH * path.stat().st_size, f"{taken / 2**20:.0f} MiB"
    if name in LOADED:
        assert expected in made
    else:
        assert isinstance(made, str) and re.search(expected, made), made


# -- the same models as ever ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_cell_whose_weights_are_there_is_found(cell: str, tmp_path: Path) -> None:
    """However large: what bounds the search grows with the weights."""
    hidden = 1024
    graph = load(save(step(cell, 1, 1, 16, hidden), tmp_path), states=_states(cell))
    assert [n.op for n in graph.nodes] == [cell, "dense"]
    assert graph.nodes[0].weights["R"].shape[1:] == (hidden, hidden)


def _states(cell: str) -> dict[str, str]:
    return {name: f"{name}_out" for name in ("hc" if cell == "lstm" else "h")}


def test_a_batch_of_cells_gives_what_the_file_gives(tmp_path: Path) -> None:
    """What stays as the file has it is still right."""
    n, path = 7, save(step("gru", 7), tmp_path)
    session = onnxruntime().InferenceSession(str(path))
    stream, h, rng = undertow.load(path).stream(), np.zeros((n, 5), np.float32), np.random.default_rng(3)
    for _ in range(4):
        x = random(rng, n, 4)
        y, h = session.run(["y", "h_out"], {"x": x, "h": h})
        np.testing.assert_allclose(stream.step(x), y, atol=1e-5)


def test_a_cell_of_elements_is_not_made_a_matrix(tmp_path: Path) -> None:
    """A gate that looks at one element of the state is a diagonal, of which a cell would hold the square: small ones
    become a cell, as they always did, and a large one streams as it is.
    """

    def model(n: int) -> Any:
        rng = np.random.default_rng(0)
        weights = {k: random(rng, n) / np.float32(3) for k in ("w_z", "u_z", "w_n", "u_n")} | {"one": np.float32(1)}
        nodes = [node("Mul", f"x w_{g}", f"a_{g}") for g in "zn"]
        nodes += [node("Mul", "h u_z", "c_z"), node("Add", "a_z c_z", "p_z"), node("Sigmoid", "p_z", "z")]
        nodes += [node("Mul", "h u_n", "c_n"), node("Sigmoid", "a_n", "r"), node("Mul", "r c_n", "rc")]
        nodes += [node("Add", "a_n rc", "p_n"), node("Tanh", "p_n", "n"), node("Sub", "one z", "i")]
        nodes += [node("Mul", "i n", "in"), node("Mul", "z h", "zh"), node("Add", "in zh", "h_out")]
        nodes += [node("Identity", "h_out", "y")]
        return model_of(nodes, {"x": [1, n], "h": [1, n]}, {"y": [1, n], "h_out": [1, n]}, weights)

    small, large = (load(save(model(n), tmp_path, f"{n}.onnx"), states={"h": "h_out"}) for n in (8, 4096))
    assert [n.op for n in small.nodes] == ["gru"]
    assert "gru" not in [n.op for n in large.nodes]
    X = random(np.random.default_rng(5), 3, 4096)
    session = onnxruntime().InferenceSession(str(tmp_path / "4096.onnx"))
    h = np.zeros((1, 4096), np.float32)
    for x, y in zip(X, reference.run(large, X), strict=True):
        (h,) = session.run(["h_out"], {"x": x[None], "h": h})
        np.testing.assert_allclose(y, h[0], atol=1e-5)


# -- work -------------------------------------------------------------------------------------------------------------


def work_of(model: Any, states: dict[str, str], tmp_path: Path) -> tuple[int, int]:
    """(elements that the whole load looked through, those of the search for cells alone)."""
    program = make_program(read_model(save(model, tmp_path)))
    graph = import_program(program, states).graph
    return program.effort.used, recover(graph)[1]


@pytest.mark.parametrize(
    ("make", "states"),
    [
        (lambda n: step("gru", n), {"h": "h_out"}),
        (lambda n: step("lstm", n, 1), {"h": "h_out", "c": "c_out"}),
        (lambda n: outer_products(1, n), {"S": "S_out"}),
        (lambda n: diagonal(n, 16), {"h": "h_out"}),
        (lambda n: chain(64 * n, "Tanh", "Sigmoid"), {"h": "h_out"}),
    ],
    ids=["gru", "lstm", "outer products", "diagonal", "elementwise"],
)
def test_work_grows_with_the_frame(make: Any, states: dict[str, str], tmp_path: Path) -> None:
    small, large = (work_of(make(n), states, tmp_path) for n in (64, 256))
    factor = 16 if "S" in states else 4  # of the elements of a state
    assert all(b < 1.1 * factor * a for a, b in zip(small, large, strict=True)), (small, large)


def test_sums_of_the_same_again_and_again_end(tmp_path: Path) -> None:
    """v + v, 24 times: as a sum of h it has 2^24 terms, and nobody writes them down."""
    nodes = [node("Add", f"v{i} v{i}" if i else "h h", f"v{i + 1}") for i in range(24)]
    nodes += [node("Add", "v24 x", "s"), node("Tanh", "s", "h_out"), node("Identity", "h_out", "y")]
    model = model_of(nodes, {"x": [1, 4], "h": [1, 4]}, {"y": [1, 4], "h_out": [1, 4]})
    used, search = work_of(model, {"h": "h_out"}, tmp_path)
    assert search < 2**28
    assert used < Effort(0).work + search


def test_a_budget_refuses_before_anything_is_made() -> None:
    budget = Budget(memory=800, work=3 * Budget.EACH)
    budget.take(800)
    with pytest.raises(TooMuch):
        budget.take(801)
    budget.spend(0)
    with pytest.raises(Spent):
        budget.spend(Budget.EACH)
    arrays = [np.zeros(50, np.uint8)]
    with Held(100, lambda: sum(a.nbytes for a in arrays)):
        room(60, 1)
        room(25, 2)  # the 60 have gone, the 50 are there
        with pytest.raises(TooMuch):
            room(60, 1)
    room(10**12)  # nobody counts


def test_a_load_may_take_more_of_a_larger_file() -> None:
    small, large = Effort(0), Effort(1 << 20)
    assert large.memory - small.memory == MEMORY_EACH << 20
    assert small.memory == MEMORY
    assert small.work < large.work < Effort(1 << 40).work


# -- constants, tables, windows ---------------------------------------------------------------------------------------


@measured
@pytest.mark.parametrize("op", ["ConstantOfShape", "Range", "Expand", "Tile", "Pad", "OneHot", "EyeLike"])
def test_constants_take_no_more(op: str, tmp_path: Path) -> None:
    """16 million elements of a file of 200 bytes."""
    n = 2**24
    weights: dict[str, Any] = {"n": np.array([n]), "zero": np.array(0), "one": np.array(1), "f": np.float32([1])}
    made = {
        "ConstantOfShape": [node("ConstantOfShape", "n", "c")],
        "Range": [node("Squeeze", "n", "m"), node("Range", "zero m one", "r"), node("Cast", "r", "c", to=1)],
        "Expand": [node("Expand", "f n", "c")],
        "Tile": [node("Tile", "f n", "c")],
        "Pad": [node("Concat", "z n", "p", axis=0), node("Pad", "f p", "c")],
        "OneHot": [node("Squeeze", "n", "m"), node("OneHot", "z m v", "c")],
        "EyeLike": [node("ConstantOfShape", "k", "e"), node("EyeLike", "e", "c")],
    }[op]
    weights |= {"z": np.array([0]), "v": np.float32([0, 1]), "k": np.array([2**12, 2**12])}
    nodes = [*made, node("ReduceSum", "c", "sum", keepdims=0), node("Add", "x sum", "y")]
    model = model_of(nodes, {"x": ["T", 1, 4]}, {"y": ["T", 1, 4]}, weights)
    found, taken = load_apart(save(model, tmp_path))
    assert taken < FREE, f"{taken / 2**20:.0f} MiB"
    assert "elements while loading" in found


#: what is computed of small constants -> (nodes from c [1, 1, 4096], further constants)
COSTLY: dict[str, tuple[list[Any], dict[str, np.ndarray]]] = {
    "Conv": ([node("Conv", "c K", "r", pads=[2**24, 2**24])], {"K": np.ones((1, 1, 64), np.float32)}),
    "ConvTranspose": ([node("ConvTranspose", "c K", "r", strides=[2**20])], {"K": np.ones((1, 1, 3), np.float32)}),
    "ConvTranspose, shape": (
        [node("ConvTranspose", "c K", "r", output_shape=[2**30])],
        {"K": np.ones((1, 1, 3), np.float32)},
    ),
    "AveragePool": ([node("AveragePool", "c", "r", kernel_shape=[2**14], pads=[2**13, 2**13])], {}),
    "Einsum": ([node("Squeeze", "c", "s"), node("Einsum", "s s s", "r", equation="a,b,c->")], {}),
    "QLinearConv": (
        [
            node("QuantizeLinear", "c f z", "q"),
            node("QLinearConv", "q f z K f z f z", "p", pads=[2**24, 2**24]),
            node("DequantizeLinear", "p f z", "r"),
        ],
        {"K": np.ones((1, 1, 64), np.uint8), "z": np.uint8(0), "f": np.float32(1)},
    ),
    "LSTM": (
        [node("Reshape", "c steps", "s"), node("LSTM", "s W R", "r", hidden_size=2)],
        {
            "steps": np.array([4096, 1, 1]),
            "W": np.ones((1, 8, 1), np.float32),
            "R": np.ones((1, 8, 2), np.float32),
        },
    ),
}


@measured
@pytest.mark.parametrize("op", COSTLY)
def test_what_is_computed_of_constants_costs_no_more(op: str, tmp_path: Path) -> None:
    nodes, weights = COSTLY[op]
    nodes = [node("ConstantOfShape", "n", "c"), *nodes]
    nodes += [node("ReduceMax", "r", "most", keepdims=0), node("Add", "x most", "y")]
    model = model_of(nodes, {"x": ["T", 1, 4]}, {"y": ["T", 1, 4]}, weights | {"n": np.array([1, 1, 4096])})
    found, taken = load_apart(save(model, tmp_path))
    assert "elements while loading" in found
    assert taken < FREE, f"{taken / 2**20:.0f} MiB"


@measured
def test_windows_of_a_clip_take_no_more(tmp_path: Path) -> None:
    """Convolutions over one clip of 768 x 512, whose windows would be 14 million elements and more."""
    rng = np.random.default_rng(0)
    nodes = [node("Pad", "x p", "padded")]
    nodes += [
        node("Conv", f"{a} k{i}", f"c{i}", pads=[1, 1, 1, 1], strides=[1, 4])
        for i, a in enumerate(["padded", "c0", "c1"])
    ]
    nodes += [node("ReduceMean", "c2", "y", axes=[1, 2, 3])]
    weights = {f"k{i}": random(rng, *shape) for i, shape in enumerate([(32, 1, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3)])}
    weights["p"] = np.array([0] * 6 + [728, 0])
    path = save(model_of(nodes, {"x": [1, 1, 40, 512]}, {"y": None}, weights), tmp_path)
    found, taken = load_apart(path)
    assert taken < FREE + EACH * path.stat().st_size, f"{taken / 2**20:.0f} MiB"
    assert isinstance(found, list) or "takes more memory" in found


@measured
def test_windows_of_keras_take_no_more(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    pool = {"pool_size": 200, "strides": 1, "padding": "same"}
    layers = [layer("InputLayer", "x", batch_input_shape=[None, None, 2**12, 16], dtype="float32")]
    layers += [layer("TimeDistributed", f"t{i}", layer=layer("MaxPooling1D", f"p{i}", **pool)) for i in range(20)]
    found, taken = load_apart(write_h5(tmp_path / "m.h5", sequential(*layers), {}))
    assert taken < FREE, f"{taken / 2**20:.0f} MiB"
    assert "takes more memory" in found
