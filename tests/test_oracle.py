# SPDX-License-Identifier: MIT
"""The oracle against other people's programs, and the package's float64 reference against the oracle."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import oracle
from tolerances import FLOAT32_PEER, FLOAT64_AGREE, PRINTED_VECTORS
from undertow import reference
from undertow.ir.activations import KINDS, Activation
from undertow.ir.graph import Graph

#: undertow's gate order out of ONNX's
ORDER = {"rnn": [0], "gru": [0, 1, 2], "lstm": [0, 2, 3, 1]}
ACTIVATIONS = {"rnn": ["Tanh"], "gru": ["Sigmoid", "Tanh"], "lstm": ["Sigmoid", "Tanh", "Tanh"]}
#: one spelling of ONNX per kind that its recurrent operators know
ONNX_KINDS = {
    "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "affine": "Affine", "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu", "scaled_tanh": "ScaledTanh", "hard_sigmoid": "HardSigmoid", "elu": "Elu",
    "softsign": "Softsign", "softplus": "Softplus",
}  # fmt: skip

WITH_ALPHA = ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")
WITH_BETA = ("Affine", "ScaledTanh", "HardSigmoid")

VARIANTS = [
    pytest.param("rnn", {}, id="rnn"),
    pytest.param("rnn", {"bias": False}, id="rnn-no-bias"),
    pytest.param("rnn", {"direction": "reverse"}, id="rnn-reverse"),
    pytest.param("rnn", {"direction": "bidirectional", "lengths": [6, 3, 0]}, id="rnn-both-ragged"),
    pytest.param("rnn", {"clip": 0.3, "activations": ["Relu"]}, id="rnn-clip-relu"),
    pytest.param("gru", {}, id="gru"),
    pytest.param("gru", {"bias": False, "linear_before_reset": 1}, id="gru-after-no-bias"),
    pytest.param("gru", {"linear_before_reset": 1}, id="gru-after"),
    pytest.param("gru", {"direction": "reverse", "lengths": [6, 3, 0]}, id="gru-reverse-ragged"),
    pytest.param("gru", {"direction": "bidirectional", "linear_before_reset": 1}, id="gru-both-after"),
    pytest.param("gru", {"clip": 0.2, "linear_before_reset": 1}, id="gru-clip"),
    pytest.param("lstm", {}, id="lstm"),
    pytest.param("lstm", {"bias": False}, id="lstm-no-bias"),
    pytest.param("lstm", {"peephole": True}, id="lstm-peephole"),
    pytest.param("lstm", {"peephole": True, "direction": "bidirectional"}, id="lstm-both-peephole"),
    pytest.param("lstm", {"input_forget": 1}, id="lstm-input-forget"),
    pytest.param("lstm", {"clip": 0.2}, id="lstm-clip"),
    pytest.param("lstm", {"direction": "reverse", "lengths": [6, 3, 0]}, id="lstm-reverse-ragged"),
    pytest.param("lstm", {"activations": ["HardSigmoid", "Relu", "Softsign"]}, id="lstm-activations"),
]


def make(op, options, *, n_in=5, n_hidden=4, n_steps=6, seed=7, scale=0.6):
    """Random inputs of an ONNX recurrent operator, and its attributes: (arrays, attributes)."""
    rng = np.random.default_rng(seed)
    options = dict(options)
    D, G, B = (2 if options.get("direction") == "bidirectional" else 1), len(ORDER[op]), 3

    def draw(*shape):
        return rng.normal(size=shape, scale=scale).astype(np.float32)

    arrays = {
        "X": draw(n_steps, B, n_in), "W": draw(D, G * n_hidden, n_in), "R": draw(D, G * n_hidden, n_hidden),
        "B": draw(D, 2 * G * n_hidden), "lengths": None, "h0": draw(D, B, n_hidden),
    }  # fmt: skip
    if op == "lstm":
        arrays["c0"] = draw(D, B, n_hidden)
    if not options.pop("bias", True):
        arrays["B"] = None
    if options.pop("peephole", False):
        arrays["peephole"] = draw(D, 3 * n_hidden)
    if "lengths" in options:
        arrays["lengths"] = np.array(options.pop("lengths"), np.int32)
    return arrays, options


def onnx_model(op, arrays, options):
    """One node of ONNX, with the arrays as graph inputs, and the feed for it."""
    from onnx_files import FLOAT, TensorProto, helper, model_of

    D = arrays["W"].shape[0]
    H = arrays["R"].shape[2]
    order = ["X", "W", "R", "B", "lengths", "h0", "c0", "peephole"][: {"rnn": 6, "gru": 6, "lstm": 8}[op]]
    given = [name for name in order if arrays.get(name) is not None]
    names = [name if name in given else "" for name in order]
    while names[-1] == "":
        names.pop()
    attributes = {key: value for key, value in options.items() if key != "activations"}
    if "activations" in options:
        specs = [(s,) if isinstance(s, str) else s for s in options["activations"]]
        attributes["activations"] = [s[0] for s in specs] * D
        for k, key in ((1, "activation_alpha"), (2, "activation_beta")):
            if values := [float(s[k]) for s in specs if len(s) > k] * D:
                attributes[key] = values
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "lstm" else 2]
    node = helper.make_node(op.upper(), names, outputs, hidden_size=H, **attributes)
    inputs = {name: (arrays[name].shape, TensorProto.INT32 if name == "lengths" else FLOAT) for name in given}
    return model_of([node], inputs, outputs, opset=14), {name: arrays[name] for name in given}


def undertow_graph(op, arrays, options, d, b, masked):
    """The same layer as an undertow graph, for direction d and batch row b."""
    G = len(ORDER[op])
    H = arrays["W"].shape[1] // G
    g = Graph()
    x = g.input("x", (arrays["X"].shape[2],))

    def gates(a):
        return a.reshape(G, H, *a.shape[1:])[ORDER[op]]

    weights = {"W": gates(arrays["W"][d]), "R": gates(arrays["R"][d])}
    if options.get("projection") is not None:
        weights["projection"] = options["projection"][d]
    names = options.get("activations") or ACTIVATIONS[op]
    specs = [(s,) if isinstance(s, str) else s for s in names]
    kinds = {onnx: kind for kind, onnx in ONNX_KINDS.items()}
    attrs = {
        "activations": tuple(Activation(kinds[s[0]], *s[1:]) for s in specs),
        "clip": options.get("clip"),
        "reverse": d == 1 or options.get("direction") == "reverse",
        "masked": masked,
    }
    if op == "gru":
        attrs["reset_after"] = bool(options.get("linear_before_reset"))
    if op == "lstm":
        attrs["input_forget"] = bool(options.get("input_forget"))
        if "peephole" in arrays:
            weights["peephole"] = arrays["peephole"][d].reshape(3, H)[[0, 2, 1]]
    if arrays["B"] is not None:
        # In float64, as the reference computes: adding in float32 here would be the whole difference.
        w_side, r_side = arrays["B"][d].astype(np.float64).reshape(2, G * H)
        bias = gates(w_side + r_side)
        if attrs.get("reset_after"):
            bias[2] = gates(w_side)[2]
            weights["rb_n"] = gates(r_side)[2]
        weights["b"] = bias
    states = [g.state("cell.h", (arrays["R"].shape[2],), arrays["h0"][d, b])]
    if op == "lstm":
        states.append(g.state("cell.c", (H,), arrays["c0"][d, b]))
    out = g.add(op, [x], name="cell", weights=weights, attrs=attrs, states=states)
    for node in g.nodes:  # `add` rounds the summed bias to float32; give back what the oracle adds
        if "b" in weights:
            node.weights["b"] = weights["b"]
    g.output("y", out[0] if op == "lstm" else out)
    return g


def close(got, expected, limit, what):
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    error = np.abs(got - expected)
    if error.size and not error.max() <= limit:
        at = np.unravel_index(np.nanargmax(error), error.shape)
        pytest.fail(f"{what}: at {at} expected {expected[at]!r}, got {got[at]!r}, error {error[at]:.3g} > {limit:g}")


def run_oracle(op, arrays, options):
    return getattr(oracle, op)(**arrays, **options)


@pytest.mark.parametrize(("op", "options"), VARIANTS)
def test_oracle_is_onnxruntime(op, options):
    from onnx_files import peer

    arrays, options = make(op, options)
    theirs = peer(*onnx_model(op, arrays, options))
    for name, ours in zip(["Y", "Y_h", "Y_c"], run_oracle(op, arrays, options), strict=False):
        close(theirs[name], ours, FLOAT32_PEER, f"{op} {name}")


@pytest.mark.parametrize(
    ("op", "options"),
    [("rnn", {}), ("gru", {}), ("gru", {"linear_before_reset": 1}), ("lstm", {}), ("lstm", {"peephole": True})],
)
def test_oracle_is_onnx_reference(op, options):
    """ONNX's own evaluator, where it has the setting at all."""
    evaluator = pytest.importorskip("onnx.reference", reason="needs ONNX: pip install onnx").ReferenceEvaluator
    arrays, options = make(op, options)
    model, feed = onnx_model(op, arrays, options)
    Y, Y_h = evaluator(model).run(None, feed)[:2]
    ours = run_oracle(op, arrays, options)
    close(Y, ours[0], FLOAT32_PEER, f"{op} Y")
    close(Y_h, ours[1], FLOAT32_PEER, f"{op} Y_h")


def test_clip_leaves_the_memory_alone():
    """The specification's "input of activations" could include h(C). ONNX Runtime and OpenVINO do not clip there."""
    arrays, options = make("lstm", {"clip": 0.2})
    arrays["c0"] = np.full_like(arrays["c0"], 3.0)
    Y = run_oracle("lstm", arrays, options)[0]
    assert Y[0].max() > np.tanh(0.2)
    y = reference.run(undertow_graph("lstm", arrays, options, 0, 0, masked=False), arrays["X"][:, 0])
    close(y, Y[:, 0, 0], FLOAT64_AGREE, "reference")


@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_oracle_on_printed_vectors(op):
    """Hand-made vectors of ONNX Runtime's kernel tests: ragged and zero lengths, saturation, alpha and beta."""
    if not os.environ.get("UNDERTOW_MODELS"):
        pytest.skip("needs real models and vectors: set UNDERTOW_MODELS to their folder")
    path = Path(os.environ["UNDERTOW_MODELS"]) / "vectors" / "ort-kernels" / f"{op}.json"
    for case in json.loads(path.read_text()):
        T, B, n_in, H, D = (case[k] for k in ("seq_length", "batch", "input_size", "hidden_size", "num_directions"))
        G = len(ORDER[op])

        def array(key, *shape, case=case):
            return None if case.get(key) is None else np.array(case[key], np.float32).reshape(shape)

        attributes = dict(case["attrs"])
        alpha, beta = (list(attributes.pop(f"activation_{key}", [])) for key in ("alpha", "beta"))
        # An alpha or beta in the list belongs to the next activation that has one.
        specs = [
            (name, *(alpha[:1] and [alpha.pop(0)] if name in WITH_ALPHA else []),
             *(beta[:1] and [beta.pop(0)] if name in WITH_BETA else []))
            for name in attributes.pop("activations", ACTIVATIONS[op] * D)
        ]  # fmt: skip
        arrays = {
            "X": array("X", T, B, n_in), "W": array("W", D, G * H, n_in), "R": array("R", D, G * H, H),
            "B": array("B", D, 2 * G * H), "h0": array("initial_h", D, B, H), "lengths": case.get("sequence_lens"),
        }  # fmt: skip
        if op == "lstm":
            arrays |= {"c0": array("initial_c", D, B, H), "peephole": array("P", D, 3 * H)}
        for name, got in zip(
            ["Y", "Y_h", "Y_c"], run_oracle(op, arrays, {**attributes, "activations": specs}), strict=False
        ):
            if case.get(name) is not None:
                close(got, array(name, *got.shape), PRINTED_VECTORS, f"{case['name']} {name}")


#: cells with each of the activations in each place; parameters away from their defaults
PARAMETERS = {
    "Affine": (0.7, 0.1), "LeakyRelu": (0.3,), "ThresholdedRelu": (0.2,), "ScaledTanh": (0.9, 1.3),
    "HardSigmoid": (0.3, 0.4), "Elu": (0.8,),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ONNX_KINDS.values()))
@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_every_activation_of_onnx(op, kind):
    """Oracle, ONNX Runtime and the reference agree on each activation in each place of each cell."""
    from onnx_files import peer

    for place in range(len(ACTIVATIONS[op])):
        specs = list(ACTIVATIONS[op])
        specs[place] = (kind, *PARAMETERS.get(kind, ()))
        # Small weights: with gates that do not saturate, larger ones grow without bound.
        arrays, options = make(op, {"activations": specs}, scale=0.25)
        ours = run_oracle(op, arrays, options)
        close(peer(*onnx_model(op, arrays, options))["Y"], ours[0], FLOAT32_PEER, f"{op} {specs}")
        for b in range(3):
            y = reference.run(undertow_graph(op, arrays, options, 0, b, False), arrays["X"][:, b])
            close(y, ours[0][:, 0, b], FLOAT64_AGREE, f"reference {op} {specs}")


@pytest.mark.parametrize(("op", "options"), VARIANTS)
def test_reference_is_oracle(op, options):
    arrays, options = make(op, options)
    Y, Y_h, *Y_c = run_oracle(op, arrays, options)
    lengths = arrays["lengths"]
    for d in range(Y.shape[1]):
        for b in range(Y.shape[2]):
            g = undertow_graph(op, arrays, options, d, b, masked=lengths is not None)
            length = None if lengths is None else int(lengths[b])
            y, state = reference.run(g, arrays["X"][:, b], length=length, return_state=True)
            close(y, Y[:, d, b], FLOAT64_AGREE, f"{op} Y, direction {d}, row {b}")
            close(state["cell.h"], Y_h[d, b], FLOAT64_AGREE, f"{op} Y_h, direction {d}, row {b}")
            if Y_c:
                close(state["cell.c"], Y_c[0][d, b], FLOAT64_AGREE, f"{op} Y_c, direction {d}, row {b}")


@pytest.mark.parametrize("op", ["rnn", "gru", "lstm", "lstm-projection"])
def test_oracle_and_reference_are_torch(op):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    n_in, H, T, B = 5, 4, 6, 3
    torch.manual_seed(3)
    options = {"proj_size": 2} if op == "lstm-projection" else {}
    op = op.split("-")[0]
    layer = getattr(torch.nn, op.upper())(n_in, H, bidirectional=True, **options).double()
    x = torch.randn(T, B, n_in, dtype=torch.float64)
    expected = layer(x)[0].detach().numpy()
    w = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
    # PyTorch's gates: LSTM i f g o, GRU r z n; ours, as ONNX: i o f c and z r h.
    order = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}[op]

    def gates(name):
        both = np.stack([w[name], w[name + "_reverse"]])
        return both.reshape(2, len(order), H, *both.shape[2:])[:, order].reshape(both.shape)

    arrays = {"X": x.numpy(), "W": gates("weight_ih_l0"), "R": gates("weight_hh_l0")}
    arrays["B"] = np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")], axis=1)
    settings = {"direction": "bidirectional"}
    if op == "gru":
        settings["linear_before_reset"] = 1
    if options:
        settings["projection"] = np.stack([w["weight_hr_l0"], w["weight_hr_l0_reverse"]])
    Y = run_oracle(op, arrays, settings)[0]
    close(Y.transpose(0, 2, 1, 3).reshape(expected.shape), expected, FLOAT64_AGREE, op)

    # The graph holds float32 weights, so the reference is compared on a layer rounded to float32.
    rounded = {key: a if key == "X" else a.astype(np.float32).astype(np.float64) for key, a in arrays.items()}
    rounded |= {"lengths": None, "h0": np.zeros((2, B, rounded["R"].shape[2])), "c0": np.zeros((2, B, H))}
    if op != "lstm":
        del rounded["c0"]
    if options:
        settings["projection"] = settings["projection"].astype(np.float32)
    Y = run_oracle(op, rounded, settings)[0]
    for d in range(2):
        graph = undertow_graph(op, rounded, settings, d, 0, masked=False)
        close(reference.run(graph, rounded["X"][:, 0]), Y[:, d, 0], FLOAT64_AGREE, f"reference {op}")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_activation_formulas(kind):
    x = np.concatenate([np.linspace(-6, 6, 241), [-800.0, -40.0, 40.0]])
    x = x[:-3] if kind == "exp" else abs(x[x != 0]) if kind in ("sqrt", "log", "reciprocal") else x
    act = Activation(kind)
    expected = oracle.activation((kind, act.alpha, act.beta))(x)
    close(reference.activate(act, x), expected, FLOAT64_AGREE, kind)
    if kind == "elu":  # beta makes a SELU of it
        selu = Activation("elu", 1.6732632, 1.0507010)
        close(reference.activate(selu, x), oracle.activation(("selu", selu.alpha, selu.beta))(x), FLOAT64_AGREE, "selu")


def test_frame_ops():
    rng = np.random.default_rng(11)
    T, n = 4, 6
    X = rng.normal(size=(T, n)).astype(np.float32)
    W, b, s, t = (rng.normal(size=shape).astype(np.float32) for shape in ((3, n), (3,), (n,), (n,)))
    table = rng.normal(size=(9, 2)).astype(np.float32)
    ids = rng.integers(0, 9, size=(T, 3))

    g = Graph()
    x, i = g.input("x", (n,)), g.input("i", (3,), "int32")
    a = g.add("affine", [x], weights={"scale": s, "shift": t})
    X1 = X.astype(np.float64) * s + t
    matrix = g.add("reshape", [a], attrs={"shape": (2, 3)})
    expected = {
        "dense": oracle.dense(X, W, b, "relu"),
        "softmax": oracle.softmax(X),
        "log_softmax": oracle.log_softmax(X),
        "layer_norm": oracle.layer_norm(X, s, t, 1e-3),
        "plain_norm": oracle.layer_norm(X1.reshape(T, 2, 3)),
        "embedding": oracle.embedding(ids, table),
        "concat": np.concatenate([X, X1], axis=1),
        "select": X1[:, [5, 0, 0, 3]].reshape(T, 2, 2),
        "reshape": X1.reshape(T, 2, 3),
        "add": X + X1, "sub": X - X1, "mul": X * X1, "div": X / X1,
        "max": np.where(X1 > X, X1, X), "min": np.where(X1 < X, X1, X),
        "constant": np.broadcast_to(s.astype(np.float64), (T, n)),
    }  # fmt: skip
    for op in ("softmax", "log_softmax"):
        g.output(op, g.add(op, [x]))
    for op in ("add", "sub", "mul", "div", "max", "min", "concat"):
        g.output(op, g.add(op, [x, a]))
    g.output("dense", g.add("dense", [x], weights={"W": W, "b": b}, attrs={"activation": Activation("relu")}))
    g.output("layer_norm", g.add("layer_norm", [x], weights={"scale": s, "shift": t}, attrs={"eps": 1e-3}))
    g.output("plain_norm", g.add("layer_norm", [matrix]))
    g.output("embedding", g.add("embedding", [i], weights={"table": table}))
    g.output("select", g.add("select", [matrix], weights={"indices": [[5, 0], [0, 3]]}))
    g.output("reshape", matrix)
    g.output("constant", g.add("constant", weights={"value": s}))
    got = reference.run(g, {"x": X, "i": ids})
    assert set(got) == set(expected)
    for name, y in expected.items():
        close(got[name], y, FLOAT64_AGREE, name)


def test_explicit_state_reads_before_and_writes_after_the_timestep():
    g = Graph()
    x = g.input("x", (2,))
    delay, total = g.state("delay", (2,), [7, 8]), g.state("total", (2,))
    g.add("state_write", [x], states=[delay])  # written first, yet not read before the next timestep
    g.output("delayed", g.add("state_read", states=[delay]))
    so_far = g.add("add", [g.add("state_read", states=[total]), x])
    g.add("state_write", [so_far], states=[total])
    g.output("total", so_far)
    g.output("last", g.add("last", [so_far]))
    X = np.arange(6.0).reshape(3, 2)
    Y, state = reference.run(g, X, return_state=True)
    close(Y["delayed"], [[7, 8], [0, 1], [2, 3]], 0, "delayed")
    close(Y["total"], X.cumsum(axis=0), 0, "total")
    close(Y["last"], Y["total"], 0, "in a stream, last is the frame so far")
    close(state["delay"], X[-1], 0, "state")
    close(
        reference.run(g, X, state={"total": [10, 20]})["total"],
        X.cumsum(axis=0) + np.array([10, 20]),
        0,
        "from a state",
    )
    close(reference.evaluate(g, X).states["total"], X.cumsum(axis=0), 0, "states over time")


def test_whole_sequence_ops():
    g = Graph()
    x = g.input("x", (2,))
    f = g.add("flip", [x])
    g.output("flip", f)
    last = g.add("last", [f])
    g.output("last", last)
    g.output("first", g.add("last", [f], attrs={"reverse": True}))
    g.output("sum", g.add("add", [last, x]))
    g.output("tanh", g.add("activation", [last], attrs={"activation": Activation("tanh")}))
    X = np.arange(6.0).reshape(3, 2)
    Y = reference.run(g, X)
    close(Y["flip"], X[::-1], 0, "flip")
    close(Y["last"], X[0], 0, "last")
    close(Y["first"], X[-1], 0, "last of a reversed layer")
    close(Y["sum"], X + X[0], 0, "a value given once beside one in time")
    close(Y["tanh"], np.tanh(X[0]), 0, "a value computed once")
    assert reference.run(g, X[:0])["flip"].shape == (0, 2)


def test_textbook_cells():
    """A first lesson's examples: tanh of the input alone, and a memory that clamps instead of squashing."""
    g = Graph()
    x, h = g.input("x", (2,)), g.state("rnn.h", (2,))
    g.output("y", g.add("rnn", [x], name="rnn", weights={"W": np.eye(2)[None], "R": np.zeros((1, 2, 2))}, states=[h]))
    assert [f"{v:.4f}" for v in reference.run(g, [[0.5, -0.5]])[0]] == ["0.4621", "-0.4621"]

    g = Graph()
    x, h = g.input("x", (1,)), g.state("rnn.h", (1,))
    clamp = {"activations": (Activation("clip", -2, 2),)}
    weights = {"W": np.full((1, 1, 1), 1.0), "R": np.full((1, 1, 1), 0.5)}
    g.output("y", g.add("rnn", [x], name="rnn", weights=weights, attrs=clamp, states=[h]))
    close(reference.run(g, [[1.0], [1.0], [3.0], [-1.0]])[:, 0], [1.0, 1.5, 2.0, 0.0], 0, "clamp")


def test_reference_refuses_what_does_not_fit():
    g = Graph()
    x = g.input("x", (2,))
    g.output("y", g.add("softmax", [x]))
    for X in (np.zeros((3, 3)), np.zeros(2), {"z": np.zeros((3, 2))}):
        with pytest.raises(ValueError, match=r"x|inputs"):
            reference.run(g, X)
    with pytest.raises(ValueError, match="length is 4"):
        reference.run(g, np.zeros((3, 2)), length=4)
    with pytest.raises(ValueError, match="state 'h' does not exist"):
        reference.run(g, np.zeros((3, 2)), state={"h": np.zeros(2)})
