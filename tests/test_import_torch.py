# SPDX-License-Identifier: MIT
"""PyTorch's recurrent modules against outputs that PyTorch computed, and wiring of weights-only files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_CELL, FLOAT64_AGREE
from undertow import GRU, LSTM, RNN, Dense, Embedding, LayerNorm, ScaleShift, Sequential, build_sequential, reference
from undertow.errors import ModelWarning, ShapeError, UnsupportedError
from undertow.importers import state_dict

DATA = Path(__file__).parent / "data"
with np.load(DATA / "torch_cells.npz") as _file:
    GOLDEN = dict(_file)
X = GOLDEN["input"]
CASES = sorted({key.split("/")[0] for key in GOLDEN if "/" in key})
KINDS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


def part(case: str, what: str, prefix: str = "") -> dict[str, np.ndarray]:
    start = f"{case}/{what}/"
    return {prefix + key.removeprefix(start): a for key, a in GOLDEN.items() if key.startswith(start)}


def layer(case: str, prefix: str = "", **options):
    if "relu" in case:
        options["nonlinearity"] = "relu"
    weights = part(case, "weights", f"{prefix}." if prefix else "")
    return KINDS[case.split("_")[0]].from_torch(weights, prefix, **part(case, "state"), **options)


# -- modules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_output(case, isa):
    """PyTorch's own float64 output from given initial states; the reference sums the biases in float32 once."""
    want = GOLDEN[f"{case}/output"]
    graph = build_sequential([layer(case)])
    if "no_bias" in case:
        np.testing.assert_allclose(reference.run(graph, X), want, rtol=0, atol=FLOAT64_AGREE)
    np.testing.assert_allclose(reference.run(graph, X), want, rtol=0, atol=FLOAT32_CELL)
    model = undertow.Model.from_graph(graph, isa=isa)
    Y = model.run(X)
    np.testing.assert_allclose(Y, want, rtol=0, atol=FLOAT32_CELL)
    if "bidirectional" not in case:
        stream = model.stream()
        np.testing.assert_array_equal([stream.step(x) for x in X], Y)


@pytest.mark.parametrize("case", [case for case in CASES if f"{case}/h_n" in GOLDEN])
def test_last_output_is_torchs_h_n(case):
    h_n = GOLDEN[f"{case}/h_n"]
    bidirectional = "bidirectional" in case
    want = h_n[-2:].reshape(-1) if bidirectional else h_n[-1]
    Y = Sequential([layer(case, return_sequences=False)]).run(X)
    np.testing.assert_allclose(Y if bidirectional else Y[-1], want, rtol=0, atol=FLOAT32_CELL)


@pytest.mark.parametrize("case", CASES)
def test_prefix_names_the_nodes(case):
    bare, named = build_sequential([layer(case)]), build_sequential([layer(case, "net.memory")])
    cells = [node for node in named.nodes if node.op in ("rnn", "gru", "lstm")]
    assert all(node.name.startswith("net.memory") for node in cells)
    if len(cells) == 1:
        assert cells[0].name == "net.memory"
    np.testing.assert_array_equal(reference.run(bare, X), reference.run(named, X))


def test_state_by_name():
    stream = Sequential([layer("lstm_2_layers", "memory")]).stream()
    start = part("lstm_2_layers", "state")
    for k in range(2):
        np.testing.assert_array_equal(stream.state[f"memory_l{k}.h"], start["h0"][k])
        np.testing.assert_array_equal(stream.state[f"memory_l{k}.c"], start["c0"][k])


def test_torch_state_dict_as_it_is():
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    torch.manual_seed(0)
    net = torch.nn.ModuleDict({"rnn": torch.nn.GRU(3, 4, 2), "head": torch.nn.Linear(4, 2)})
    with torch.no_grad():
        want = net["head"](net["rnn"](torch.from_numpy(X))[0]).numpy()
    for weights in (net, net.state_dict(), {k: v.numpy() for k, v in net.state_dict().items()}):
        model = Sequential([GRU.from_torch(weights, "rnn"), Dense.from_torch(weights, "head")])
        np.testing.assert_allclose(model.run(X), want, atol=1e-6)


def test_norms_and_embedding_agree_with_torch():
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    torch.manual_seed(0)
    bn, ln = torch.nn.BatchNorm1d(3, eps=1e-4), torch.nn.LayerNorm(3)
    with torch.no_grad():
        for module in (bn, ln):
            module.weight.uniform_(0.5, 2)
            module.bias.uniform_(-1, 1)
        bn(torch.randn(64, 3) * 3 + 1)
        bn.eval()
        want = ln(bn(torch.from_numpy(X))).numpy()
    layers = [ScaleShift.from_torch_batch_norm(bn, eps=1e-4), LayerNorm.from_torch(ln.state_dict())]
    np.testing.assert_allclose(Sequential(layers).run(X), want, atol=1e-6)
    plain = {"n.running_mean": np.ones(3), "n.running_var": np.full(3, 4.0)}
    np.testing.assert_allclose(
        Sequential([ScaleShift.from_torch_batch_norm(plain, "n", eps=0)]).run(X), (X - 1) / 2, atol=1e-6
    )
    emb = torch.nn.Embedding(5, 3)
    ids = np.array([0, 4, 2], np.int32)
    np.testing.assert_array_equal(Sequential([Embedding.from_torch(emb)]).run(ids), emb.weight.detach().numpy()[ids])


def test_missing_module_lists_what_there_is():
    weights = undertow.read_weights(DATA / "formats" / "checkpoint.pt")
    with pytest.raises(ShapeError, match=r"no tensor 'rnn\.weight_ih_l0'.*'state_dict\.rnn\.weight_ih_l0'"):
        GRU.from_torch(weights, "rnn")
    assert GRU.from_torch(weights, "state_dict.rnn").name == "state_dict.rnn"


LSTM_1 = part("lstm", "weights", "m.")
BOTH = part("lstm_bidirectional_2_layers", "weights", "m.")
PROJECTED = part("lstm_projection", "weights", "m.")


def without(weights, *names):
    return {key: w for key, w in weights.items() if key not in names}


@pytest.mark.parametrize(
    ("kind", "weights", "message"),
    [
        (GRU, LSTM_1, r"'m\.weight_hh_l0' has shape \(16, 4\).*4 x 4 rows looks like an LSTM: use undertow\.LSTM"),
        (LSTM, part("gru", "weights", "m."), r"3 x 4 rows looks like a GRU: use undertow\.GRU"),
        (LSTM, part("rnn_tanh", "weights", "m."), r"1 x 4 rows looks like an RNN: use undertow\.RNN"),
        (RNN, LSTM_1, "looks like an LSTM"),
        (GRU, PROJECTED, "projection, which only an LSTM has"),
        (LSTM, without(LSTM_1, "m.weight_ih_l0"), r"no tensor 'm\.weight_ih_l0'"),
        (LSTM, without(LSTM_1, "m.weight_hh_l0"), r"no tensor 'm\.weight_hh_l0'"),
        (LSTM, without(LSTM_1, "m.bias_hh_l0"), r"'m\.bias_ih_l0' is there without its partner"),
        (LSTM, without(PROJECTED, "m.weight_hr_l0"), r"'m\.weight_hh_l0' has shape \(16, 2\)"),
        (LSTM, {**LSTM_1, "m.bias_ih_l0": np.zeros(12)}, r"'m\.bias_ih_l0' has shape \(12,\), expected \(16,\)"),
        (
            LSTM,
            {**LSTM_1, "m.weight_ih_l0": np.zeros((12, 3))},
            r"'m\.weight_ih_l0' has shape \(12, 3\), expected \(16",
        ),
        (LSTM, {**LSTM_1, "m.weight_ih_l0": np.zeros(16)}, r"'m\.weight_ih_l0' has shape \(16,\), expected 2 axes"),
        (LSTM, {**LSTM_1, "m.weight_ih_l2": np.zeros((16, 4))}, r"no tensor 'm\.weight_ih_l1'"),
        (LSTM, {**LSTM_1, "m.weight_ih_l1_reverse": np.zeros((16, 4))}, "no tensor"),
        (LSTM, {**LSTM_1, "m.weight_ih": np.zeros((16, 4))}, "of a cell .* and of layers"),
        (
            LSTM,
            {**BOTH, "m.weight_ih_l1": np.zeros((16, 4))},
            r"'m\.weight_ih_l1' has shape \(16, 4\), expected \(16, 8\)",
        ),
        (LSTM, without(BOTH, "m.weight_hh_l1_reverse"), r"no tensor 'm\.weight_hh_l1_reverse'"),
        (LSTM, {}, "no tensor"),
    ],
)
def test_shapes_that_do_not_fit(kind, weights, message):
    with pytest.raises(ShapeError, match=message):
        kind.from_torch(weights, "m")


def test_wrong_options():
    with pytest.raises(TypeError, match="'num_layers' is not an option"):
        LSTM.from_torch(LSTM_1, "m", num_layers=2)
    with pytest.raises(TypeError, match="'c0' is not an option"):
        GRU.from_torch(part("gru", "weights"), c0=np.zeros(4))
    with pytest.raises(UnsupportedError, match="sigmoid"):
        RNN.from_torch(part("rnn_tanh", "weights"), nonlinearity="sigmoid")
    with pytest.raises(ShapeError, match="h0 has shape"):
        LSTM.from_torch(BOTH, "m", h0=np.zeros((2, 4)))
    with pytest.raises(ShapeError, match="h0"):
        LSTM.from_torch(LSTM_1, "m", h0=np.zeros((1, 5)))
    with pytest.raises(ValueError, match="bidirectional"):
        LSTM.from_torch(BOTH, "m", reverse=True)
    with pytest.raises(TypeError, match="weights is a list"):
        LSTM.from_torch([1], "m")
    with pytest.raises(UnsupportedError, match="1 / 6"):
        Dense.from_torch({"weight": np.eye(2)}, activation="hard_sigmoid")


# -- weights-only files -----------------------------------------------------------------------------------------------


def save(path: Path, **weights) -> Path:
    np.savez(path, **{key.replace("__", "."): w for key, w in weights.items()})
    return path


def linear(n_in: int, n_out: int, name: str = "head") -> dict[str, np.ndarray]:
    return {f"{name}.weight": np.ones((n_out, n_in), np.float32), f"{name}.bias": np.ones(n_out, np.float32)}


@pytest.mark.parametrize(
    "case", ["lstm", "lstm_2_layers", "lstm_projection", "gru", "lstm_bidirectional_2_layers", "gru_cell"]
)
def test_one_recurrent_module_is_wired(case, tmp_path):
    """Of the layer itself the file is all there is; what stands around a part of a module it does not say."""
    path = save(tmp_path / "net.npz", **part(case, "weights", "core."))
    with pytest.warns(ModelWarning, match="nothing is applied behind 'core'"):
        model = undertow.load(path)
    assert model.name == "net" and "core" in model.source
    same = build_sequential([KINDS[case.split("_")[0]].from_torch(part(case, "weights"))])
    np.testing.assert_allclose(model.run(X), reference.run(same, X), atol=FLOAT32_CELL)
    promised = undertow.load(path, assume_as_wired=True)
    alone = undertow.load(save(tmp_path / "alone.npz", **part(case, "weights")))
    assert np.array_equal(promised.run(X), model.run(X)) and np.array_equal(alone.run(X), model.run(X))


@pytest.mark.parametrize("file", ["state_dict.pt", "legacy.pt", "module.pt", "checkpoint.pt"])
def test_one_linear_behind_it_is_wired(file):
    weights = undertow.read_weights(DATA / "formats" / file)
    prefix = "state_dict." if file == "checkpoint.pt" else ""
    with pytest.warns(
        ModelWarning, match="wired by size, and nothing is applied behind '.*rnn' .* and behind '.*head'"
    ):
        state_dict.load(DATA / "formats" / file)
    graph = state_dict.load(DATA / "formats" / file, assume_as_wired=True)
    assert [node.name for node in graph.nodes] == ["rnn", "head"]
    same = build_sequential([GRU.from_torch(weights, f"{prefix}rnn"), Dense.from_torch(weights, f"{prefix}head")])
    x = X[:, :2]
    np.testing.assert_array_equal(reference.run(graph, x), reference.run(same, x))
    assert "wired by size" in graph.source and "as the caller says" in graph.source


class Places(NamedTuple):
    """What a model may have between and behind its layers, and the changes that say so in the lines of the warning."""

    n_in: int
    forward: Callable[[np.ndarray, Callable, Callable], np.ndarray]
    changes: list[tuple[str, str]]


PLACES = {
    "sigmoid behind": Places(3, lambda x, cell, head: 1 / (1 + np.exp(-head(cell(x)))), []),
    "relu between": Places(
        3,
        lambda x, cell, head: head(np.maximum(cell(x), 0)),
        [('# undertow.Activate("relu")', 'undertow.Activate("relu")'), ('"sigmoid"', "None")],
    ),
    "skip": Places(
        4,
        lambda x, cell, head: head(cell(x) + x),
        [
            ("    undertow.GRU", "    # undertow.GRU"),
            ("# undertow.Residual", "undertow.Residual"),
            ('"sigmoid"', "None"),
        ],
    ),
    "as wired": Places(3, lambda x, cell, head: head(cell(x)), [('"sigmoid"', "None")]),
}


@pytest.mark.parametrize("case", PLACES)
def test_what_has_no_weights_is_warned_of_with_lines_that_hold_it(case, tmp_path):
    rng = np.random.default_rng(0)
    n_in, forward, changes = PLACES[case]
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    shapes = ((12, n_in), (12, 4), (12,), (12,))
    arrays = {f"r.{name}": rng.normal(size=shape).astype(np.float32) for name, shape in zip(names, shapes, strict=True)}
    arrays |= {"o.weight": rng.normal(size=(2, 4)).astype(np.float32), "o.bias": np.float32([1, -1])}
    path = save(tmp_path / "net.npz", **arrays)
    with pytest.warns(ModelWarning, match="nothing is applied behind 'r' .GRU. and behind 'o' .Linear.") as told:
        model = undertow.load(path)
    assert "warning: net.npz: wired by size" in model.source
    (message,) = (str(warning.message) for warning in told)
    for old, new in changes:
        assert old in message
        message = message.replace(old, new)
    x = rng.normal(size=(9, n_in)).astype(np.float32)
    cell, head = build_sequential([GRU.from_torch(arrays, "r")]), arrays["o.weight"].T.astype(np.float64)
    want = forward(x, lambda x: reference.run(cell, x), lambda h: h @ head + arrays["o.bias"])
    np.testing.assert_allclose(runs(message).run(x), want, rtol=0, atol=FLOAT32_CELL)
    if case == "as wired":
        np.testing.assert_array_equal(undertow.load(path, assume_as_wired=True).run(x), model.run(x))


def test_safetensors_is_wired(tmp_path):
    torch_like = pytest.importorskip("safetensors.numpy", reason="needs safetensors: pip install safetensors")
    path = tmp_path / "net.safetensors"
    torch_like.save_file({**part("lstm", "weights", "lstm."), **linear(4, 2)}, path)
    assert undertow.load(path, assume_as_wired=True).run(X).shape == (len(X), 2)


@pytest.mark.parametrize(
    ("weights", "reason", "line"),
    [
        ({**LSTM_1, **linear(4, 8, "a"), **linear(8, 2, "b")}, "activations between 'a' and 'b'", "from_torch(w, 'm')"),
        ({**LSTM_1, **linear(5, 2)}, "'head' takes 5 inputs, but 'm' gives 4", "Dense.from_torch(w, 'head'"),
        ({**LSTM_1, **linear(4, 3)}, "'head' fits before 'm' as well as behind", "Dense.from_torch"),
        ({**LSTM_1, "h0": np.zeros(4)}, r"'h0' \(tensor\) can stand", 'w["h0"]'),
        ({**LSTM_1, "m.extra": np.zeros(4)}, r"'m\.extra' \(tensor\)", 'w["m.extra"]'),
        ({**LSTM_1, "emb.weight": np.zeros((9, 3))}, r"'emb' \(Embedding or Linear", "Embedding.from_torch(w, 'emb')"),
        ({**LSTM_1, "n.weight": np.ones(3), "n.bias": np.ones(3)}, "norm", "LayerNorm.from_torch(w, 'n', eps=1e-05)"),
        (
            {**LSTM_1, **{f"n.{k}": np.ones(3) for k in ("weight", "bias", "running_mean", "running_var")}},
            "BatchNorm",
            "BatchNorm.from_torch(w, 'n', eps=1e-05)",
        ),
        ({**LSTM_1, "c.weight": np.zeros((3, 3, 2)), "c.bias": np.zeros(3)}, "Conv1d", "FrameConv1D.from_torch(w, 'c'"),
        ({**LSTM_1, **part("gru", "weights", "g.")}, "2 recurrent modules: m, g", "GRU.from_torch(w, 'g')"),
        (part("rnn_tanh", "weights", "r."), "tanh or relu", "nonlinearity=\"tanh\"),  # or \"relu\""),
        ({**BOTH, **linear(8, 2)}, "every frame or the two last states", "LSTM.from_torch(w, 'm')"),
        (linear(4, 2), "no LSTM, GRU or RNN", "Dense.from_torch"),
        ({"W": np.zeros((4, 4))}, "no LSTM, GRU or RNN", "undertow.LSTM(W, R, b"),
        (
            {"l/kernel:0": np.zeros((3, 16)), "l/recurrent_kernel:0": np.zeros((4, 16)), "l/bias:0": np.zeros(16)},
            "Keras's activations",
            "LSTM.from_keras(w, 'l', activation=\"tanh\", recurrent_activation=\"sigmoid\"),  # the file",
        ),
    ],
)  # fmt: skip
def test_ambiguous_files_say_what_to_write(weights, reason, line, tmp_path):
    path = save(tmp_path / "net.npz", **weights)
    with pytest.raises(UnsupportedError, match=reason) as caught:
        undertow.load(path)
    message = str(caught.value)
    assert line in message and "undertow.read_weights(" in message
    if reason.startswith(("'head' takes", "2 recurrent")):  # in no order do they fit
        assert "undertow.Sequential(" not in message and "undertow.from_torch(module, example)" in message
    elif "W" not in weights:
        runs(message)


def test_suggested_lines_run(tmp_path):
    """What the message says can be pasted as it stands, in the one order whose sizes fit."""
    path = save(tmp_path / "policy.npz", **linear(4, 8, "actor.0"), **linear(8, 2, "actor.2"), **LSTM_1)
    with pytest.raises(UnsupportedError) as caught:
        undertow.load(path)
    message = str(caught.value)
    for found in ("m: LSTM 3 -> 4", "actor.0: Linear 4 -> 8", "actor.2: Linear 8 -> 2"):
        assert found in message
    code = "\n".join(line[4:] for line in message.splitlines() if line.startswith("    "))
    scope = {"undertow": undertow}
    exec(code, scope)  # our own words
    assert [node.name for node in scope["model"].graph.nodes] == ["m", "actor.0", "actor.2"]


def test_a_prefix_cannot_write_code(tmp_path):
    path = save(
        tmp_path / "net.npz", **{"a'); import os; ('.weight": np.ones((2, 2)), "a'); import os; ('.bias": np.ones(2)}
    )
    with pytest.raises(UnsupportedError) as caught:
        undertow.load(path)
    assert "from_torch(w, \"a'); import os; ('\"" in str(caught.value)


def runs(message: object) -> undertow.Sequential:
    """The model of the lines that an error or a warning prints."""
    _, _, lines = str(message).partition("Write the wiring, for example:\n")
    scope: dict[str, Any] = {"undertow": undertow}
    exec(textwrap.dedent(lines), scope)
    return scope["model"]


@pytest.mark.parametrize("parts", [("weight_g", "weight_v"), ("original0", "original1")])
def test_weight_norm_is_no_cell(parts, tmp_path, rng):
    """Of a layer of 3 or 4 outputs, the sizes are those of a GRU or LSTM with one hidden number."""
    owner = "o.parametrizations.weight" if parts[0] == "original0" else "o"
    gru = {f"r.{key}": w for key, w in part("gru", "weights").items()}
    arrays = {f"{owner}.{parts[0]}": rng.normal(size=(4, 1)), f"{owner}.{parts[1]}": rng.normal(size=(4, 3))}
    with pytest.raises(UnsupportedError) as told:
        undertow.load(save(tmp_path / "w.npz", **gru, **arrays, **{"o.bias": np.zeros(4)}))
    assert "1 -> 1" not in str(told.value) and str(told.value).count("of weight_norm, which torch.nn.utils.") == 4


def test_wiring_in_an_order_in_which_sizes_fit(tmp_path):
    """An actor whose layers stand in the file before the cell that feeds them."""
    rng = np.random.default_rng(0)
    shapes = {"actor.0": (4, 4), "actor.2": (4, 4), "actor.4": (2, 4)}
    arrays = {f"{name}.weight": rng.normal(size=shape) for name, shape in shapes.items()}
    arrays |= {f"{name}.bias": rng.normal(size=shape[0]) for name, shape in shapes.items()}
    sizes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    arrays |= {f"rnn.{name}": rng.normal(size=shape) for name, shape in sizes.items()}
    np.savez(tmp_path / "m.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})
    with pytest.raises(UnsupportedError, match="one order in which their sizes fit, of several") as told:
        undertow.load(tmp_path / "m.npz")
    assert str(runs(told.value)).index("rnn") < str(runs(told.value)).index("actor.0")


@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("n_in", [5, 4])
def test_wiring_of_a_cell_by_the_sizes_of_its_matrices(kind, gates, n_in, tmp_path):
    """Names that no library gives; where both matrices are alike, the one that is called hidden is R."""
    rng = np.random.default_rng(0)
    shapes = {"weights_hidden": (4 * gates, 4), "weights_input": (4 * gates, n_in)}
    shapes |= {"biases_hidden": (4 * gates,), "biases_input": (4 * gates,)}
    np.savez(
        tmp_path / "m.npz", **{f"actor/1/{name}": rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    )
    with pytest.raises(UnsupportedError, match=f"actor/1: {kind} {n_in} -> 4, by the sizes of its matrices") as told:
        undertow.load(tmp_path / "m.npz")
    model = runs(told.value)
    assert [node.op for node in model.graph.nodes if node.states] == [kind.lower()]
    (node,) = (node for node in model.graph.nodes if node.states)
    with np.load(tmp_path / "m.npz") as arrays:
        assert np.array_equal(np.concatenate(node.weights["R"]), arrays["actor/1/weights_hidden"])


def test_wiring_of_arrays_that_keras_3_numbers(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"layers/dense/vars/0": (8, 1), "layers/dense/vars/1": (1,)}
    shapes |= {f"layers/lstm/cell/vars/{i}": s for i, s in enumerate([(1, 32), (8, 32), (32,)])}
    np.savez(tmp_path / "m.npz", **{name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()})
    with pytest.raises(UnsupportedError, match=r"Keras's activations \(layers/lstm\) are not in it") as told:
        undertow.load(tmp_path / "m.npz")
    model = runs(told.value)
    assert [node.op for node in model.graph.nodes] == ["lstm", "dense"]


def keras_3(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Arrays as Keras 3 numbers them, of layers in the order in which its files sort them."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, of_layer in shapes.items():
        for i, shape in enumerate(of_layer):
            # variances are above zero
            arrays[f"layers/{name.replace('__', '/')}/vars/{i}"] = rng.uniform(0.1, 1, shape).astype(np.float32)
    return arrays


def test_lines_of_keras_hold_what_the_file_does_not_say(tmp_path):
    shapes = {"dense": [(3, 2), (2,)]}
    shapes |= {f"{name}__cell": [(n, 3), (3, 3), (3,)] for name, n in (("simple_rnn", 4), ("simple_rnn_1", 3))}
    arrays = keras_3(**shapes)
    path = save(tmp_path / "m.npz", **{name: -w for name, w in arrays.items()})
    with pytest.raises(UnsupportedError, match=r"2 recurrent modules.*Keras's activations are not in it") as told:
        undertow.load(path)
    message = str(told.value)
    assert message.count('activation="tanh"),  # the file does not say') == 2 and "activation=None),  # or" in message
    model = runs(message.replace('"tanh"', '"relu"'))
    x, w = np.random.default_rng(1).normal(size=(7, 4)), {name: -a.astype(np.float64) for name, a in arrays.items()}
    y = x.astype(np.float32).astype(np.float64)
    for name in ("simple_rnn", "simple_rnn_1"):
        kernel, recurrent, bias = (w[f"layers/{name}/cell/vars/{i}"] for i in range(3))
        rows = [np.zeros(3)]
        for row in y:
            rows.append(np.maximum(row @ kernel + rows[-1] @ recurrent + bias, 0))
        y = np.array(rows[1:])
    want = y @ w["layers/dense/vars/0"] + w["layers/dense/vars/1"]
    np.testing.assert_allclose(model.run(x.astype(np.float32)), want, rtol=0, atol=FLOAT32_CELL)


def test_lines_of_keras_place_every_layer(tmp_path):
    cell = [(6, 16), (4, 16), (16,)]
    arrays = keras_3(
        batch_normalization=[(6,)] * 4, bidirectional__backward_layer__cell=cell,
        bidirectional__forward_layer__cell=cell, conv1d=[(3, 5, 6), (6,)], dense=[(3, 2)], dense_1=[(2, 1), (1,)],
        dropout__seed_generator=[(2,)], embedding=[(20, 5)], gru__cell=[(8, 21), (7, 21)],
        layer_normalization=[(7,)] * 2, simple_rnn__cell=[(7, 3), (3, 3), (3,)],
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as told:
        undertow.load(save(tmp_path / "m.npz", **arrays))
    message = str(told.value)
    assert "not placed" not in message
    assert message.count('recurrent_activation="sigmoid"') == 3 and "reset_after=True" in message
    ops = [node.op for node in runs(message).graph.nodes]
    assert ops[0] == "embedding" and ops[-2:] == ["dense", "dense"]
    assert [op for op in ops if op in ("lstm", "gru", "rnn")] == ["lstm", "lstm", "gru", "rnn"]


def conv(name: str, *shape: int) -> dict[str, np.ndarray]:
    return {f"{name}.weight": np.ones(shape, np.float32), f"{name}.bias": np.ones(shape[0], np.float32)}


@pytest.mark.parametrize(
    ("weights", "nodes"),
    [
        # a cell of one's own: two gates of one size beside each other
        ({**linear(15, 10, "f"), **linear(15, 10, "c"), **linear(10, 2)}, None),
        ({**conv("c", 2, 1, 10), **linear(262, 3, "i"), **LSTM_1}, None),
        ({**conv("c", 3, 6, 5), **LSTM_1}, ["Conv1D", "LSTM"]),
        ({**conv("p", 3, 2, 1), **conv("c", 3, 1, 5), **LSTM_1}, ["Conv1D", "Conv1D", "LSTM"]),  # the second: depthwise
        ({**LSTM_1, "o.weight": np.ones((2, 4), np.float32)}, ["LSTM", "Dense"]),
        ({**LSTM_1, "e.weight": np.ones((9, 3), np.float32)}, ["Embedding", "LSTM"]),
    ],
)
def test_only_a_wiring_that_fits_is_proposed(weights, nodes, tmp_path):
    with pytest.raises(UnsupportedError) as told:
        undertow.load(save(tmp_path / "net.npz", **weights))
    message = str(told.value)
    if nodes is None:
        assert "In no order do they fit in a row by their sizes" in message and "Sequential(" not in message
        return
    runs(message)
    assert [line.split(".")[1] for line in message.splitlines() if line.startswith("        undertow.")] == nodes
