# SPDX-License-Identifier: MIT
"""LinearAttention and CausalConvWithState, of ONNX and of ONNX Runtime: random ones against the formulas of their
definitions, in float64, against ONNX Runtime and onnx's evaluator.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import helper, model_of, node, onnx, onnxruntime, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow.errors import FormatError, ShapeError, UnsupportedError

onnxruntime()
RUNTIME = "com.microsoft"
T = 6
RULES = ("linear", "gated", "delta", "gated_delta")
#: heads of queries, of keys, and the sizes of a key and of a value
HEADS = ((1, 1, 4, 3), (2, 2, 3, 5), (4, 2, 3, 3), (6, 2, 2, 4), (4, 1, 3, 2))


def model_with(nodes: list[Any], inputs: Any, outputs: Any, weights: Any = None, opset: int = 27) -> Any:
    model = model_of(nodes, inputs, outputs, weights, opset)
    if any(n.domain == RUNTIME for n in nodes):
        model.opset_import.append(helper.make_opsetid(RUNTIME, 1))
    return model


def attention_formula(feed, rule, n_queries, n_heads, scale):
    """y and the state behind the last timestep, head by head."""
    q, k, v = (feed[name].astype(np.float64)[0] for name in "qkv")
    dk, dv = q.shape[1] // n_queries, v.shape[1] // n_heads
    n = max(n_queries, n_heads)
    S = feed["past"].astype(np.float64)[0] if "past" in feed else np.zeros((n_heads, dk, dv))
    y = np.zeros((len(q), n, dv))
    for t, i in product(range(len(q)), range(n_heads)):
        key, value = k[t].reshape(n_heads, dk)[i], v[t].reshape(n_heads, dv)[i]
        if rule.startswith("gated"):
            S[i] *= np.exp(feed["decay"].astype(np.float64)[0, t].reshape(n_heads, -1)[i])[:, None]
        if rule.endswith("delta"):
            beta = feed["beta"].astype(np.float64)[0, t]
            value = beta[i % len(beta)] * (value - key @ S[i])
        S[i] += np.outer(key, value)
        for j in range(n):
            if j * n_heads // n == i:
                y[t, j] = (scale or dk**-0.5) * q[t].reshape(n_queries, dk)[j * n_queries // n] @ S[i]
    return y.reshape(len(q), -1), S[None]


def attention(rng, rule, heads, steps, past, domain, opset, gates, scale=0.0, outputs="y present"):
    """A file of one node, and arrays for T timesteps."""
    n_queries, n_heads, dk, dv = heads
    of_head, of_all = gates
    widths = {"q": n_queries * dk, "k": n_heads * dk, "v": n_heads * dv}
    if rule.startswith("gated"):
        widths["decay"] = n_heads * (1 if of_head else dk)
    if rule.endswith("delta"):
        widths["beta"] = 1 if of_all else n_heads
    inputs = {name: [1, steps, width] for name, width in widths.items()}
    feed = {name: random(rng, 1, T, width) for name, width in widths.items()}
    feed |= {name: -np.abs(feed[name]) for name in ("decay",) if name in feed}
    feed |= {name: 1 / (1 + np.exp(-feed[name])) for name in ("beta",) if name in feed}
    if past:
        inputs["past"] = [1, n_heads, dk, dv]
    given = ["q", "k", "v", *(name if name in inputs else "" for name in ("past", "decay", "beta"))]
    attrs = {"q_num_heads": n_queries, "kv_num_heads": n_heads, "update_rule": rule}
    attrs |= {"scale": scale} if scale else {}
    one = helper.make_node("LinearAttention", given, outputs.split(), name="look back", domain=domain, **attrs)
    shapes = {"y": [1, steps, max(n_queries, n_heads) * dv], "present": [1, n_heads, dk, dv]}
    return model_with([one], inputs, {o: shapes[o] for o in outputs.split()}, opset=opset), feed


def streamed(model, feed):
    """y of T timesteps, in a call and step by step, which have the same bits."""
    frames = {name: feed[name].reshape(T, *value.shape) for name, value in model.inputs.items()}
    given = frames if len(frames) > 1 else next(iter(frames.values()))
    whole = model.stream().run(given)
    stream = model.stream()
    rows = [stream.step({n: a[t] for n, a in frames.items()} if len(frames) > 1 else given[t]) for t in range(T)]
    if isinstance(whole, dict):
        whole, rows = whole["y"], [row["y"] for row in rows]
    np.testing.assert_array_equal(whole, np.stack(rows))
    return whole.reshape(T, -1)


@pytest.mark.parametrize("seed", range(24))
def test_random_linear_attention(seed, tmp_path) -> None:
    rng = np.random.default_rng([7, seed])
    rule, heads = RULES[seed % 4], HEADS[seed // 4 % 5]
    steps, past = ((1, True), ("T", True), ("T", False))[seed % 3]
    domain, opset = (("", 27), ("", 28), (RUNTIME, 12), (RUNTIME, 21))[rng.integers(4)]
    gates, scale = rng.integers(2, size=2), (0.0, 0.7)[rng.integers(2)]
    file, feed = attention(rng, rule, heads, steps, past, domain, opset, gates, scale)
    expected, state = attention_formula(feed, rule, *heads[:2], scale)
    open_file, _ = attention(rng, rule, heads, "T", past, domain, opset, gates, scale)
    zeros = {"past": np.zeros((1, heads[1], *heads[2:]), np.float32)} if past else {}
    judged = [session_of(open_file).run(None, {**feed, **zeros})] if opset != 12 else []
    if (domain, opset) == ("", 27):
        judged.append(onnx.reference.ReferenceEvaluator(open_file).run(None, {**feed, **zeros}))
    for y, S in judged:
        np.testing.assert_allclose(y[0], expected, rtol=0, atol=FLOAT32_PEER)
        np.testing.assert_allclose(S, state, rtol=0, atol=FLOAT32_PEER)
    model = undertow.load(save(file, tmp_path))
    assert len(model.states) == 1 and model.inputs.keys() == feed.keys()
    np.testing.assert_allclose(streamed(model, feed), expected, rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("steps", [1, "T"])
def test_several_states_of_a_query(steps, tmp_path, rng) -> None:
    """Of ONNX Runtime alone."""
    args = "gated", (2, 4, 3, 2), steps, True, RUNTIME, 21, (0, 0)
    file, feed = attention(rng, *args)
    expected, state = attention_formula(feed, "gated", 2, 4, 0.0)
    judge = session_of(attention(rng, *args[:2], "T", *args[3:])[0])
    y, S = judge.run(None, {**feed, "past": np.zeros((1, 4, 3, 2), np.float32)})
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=FLOAT32_PEER)
    np.testing.assert_allclose(S, state, rtol=0, atol=FLOAT32_PEER)
    np.testing.assert_allclose(streamed(undertow.load(save(file, tmp_path)), feed), expected, rtol=0, atol=FLOAT32_PEER)
    plain = attention(rng, *args[:4], "", 27, (0, 0))[0]
    with pytest.raises(FormatError, match=r"q_num_heads=2 is no multiple of kv_num_heads=4"):
        undertow.load(save(plain, tmp_path))


def test_a_clip_and_a_start_that_is_no_zeros(tmp_path, rng) -> None:
    """Of a fixed number of timesteps, behind layers that make queries, keys and values of one input."""
    heads, D = (2, 2, 3, 5), 7
    weights = {name: random(rng, D, width) for name, width in (("wq", 6), ("wk", 6), ("wv", 10), ("wb", 2))}
    nodes = [node("MatMul", f"x w{name}", name) for name in "qkvb"] + [node("Sigmoid", "b", "beta")]
    attrs = {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "delta"}
    nodes.append(helper.make_node("LinearAttention", ["q", "k", "v", "past", "", "beta"], ["y", "present"], **attrs))
    sides = {"x": [1, T, D], "past": [1, 2, 3, 5]}, {"y": [1, T, 10], "present": [1, 2, 3, 5]}
    path, start = save(model_of(nodes, *sides, weights, 27), tmp_path), random(rng, 1, 2, 3, 5)
    X = random(rng, T, D) / 8
    feed = {name: (X @ weights[f"w{name}"])[None] for name in "qkv"} | {"past": start}
    feed["beta"] = 1 / (1 + np.exp(-(X @ weights["wb"])[None]))
    expected, _ = attention_formula(feed, "delta", *heads[:2], 0.0)
    np.testing.assert_allclose(
        session_of(path).run(None, {"x": X[None], "past": start})[0][0], expected, rtol=0, atol=FLOAT32_PEER
    )
    model = undertow.load(path, starts={"past": start})
    np.testing.assert_allclose(model.run(X), expected, rtol=0, atol=FLOAT32_PEER)


def test_the_step_is_few_expressions(tmp_path, rng) -> None:
    """No select copies what is repeated, and no product is an op of its own."""
    file, _ = attention(rng, "gated_delta", (4, 4, 32, 32), 1, True, "", 27, (1, 0))
    ops = [n.op for n in undertow.load(save(file, tmp_path)).graph.nodes]
    assert ops.count("expression") <= 3 and not {"select", "matmul", "mul", "add"} & set(ops)


def bad_attention(**changed: Any) -> Any:
    """A node with one thing changed: an attribute, or the width of an input ("": it is missing)."""
    widths: dict[str, Any] = {"q": 8, "k": 8, "v": 6, "past": (2, 4, 3), "decay": 2, "beta": 2}
    attrs: dict[str, Any] = {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "gated_delta"}
    attrs |= {name: value for name, value in changed.items() if name not in widths}
    widths |= {name: value for name, value in changed.items() if name in widths}
    given = [name if width else "" for name, width in widths.items()]
    one = helper.make_node("LinearAttention", given, ["y", "present"], name="look back", domain=RUNTIME, **attrs)
    shapes = {n: [1, *w] if isinstance(w, tuple) else [1, 1, w] for n, w in widths.items() if w}
    return model_with([one], shapes, ["y", "present"], opset=21)


@pytest.mark.parametrize(
    ("changed", "kind", "told"),
    [
        (
            {"update_rule": "gate"},
            FormatError,
            r"update_rule='gate', expected one of linear, gated, delta, gated_delta",
        ),
        ({"q_num_heads": 0}, FormatError, "q_num_heads=0, expected 1 to 65536"),
        ({"q_num_heads": 3, "kv_num_heads": 2, "q": 12}, FormatError, "q_num_heads=3 is no multiple of kv_num_heads=2"),
        ({"q": 9}, ShapeError, "query has 9 channels, which attribute q_num_heads=2 does not divide"),
        ({"v": 7}, ShapeError, "value has 7 channels, which attribute kv_num_heads=2 does not divide"),
        ({"k": 6}, ShapeError, r"query has shape \[1, 1, 8\], expected \[any, any, 6\]"),
        ({"past": (2, 4, 4)}, ShapeError, r"past_state has shape \[1, 2, 4, 4\], expected \[any, 2, 4, 3\]"),
        ({"decay": 3}, ShapeError, r"decay has 3 channels, expected 2 \(one for each head\) or 8"),
        ({"beta": 8}, ShapeError, r"beta has 8 channels, expected 1 \(one for all heads\) or 2"),
        ({"decay": ""}, FormatError, "lacks its input decay, which update_rule='gated_delta' needs"),
        ({"beta": ""}, FormatError, "lacks its input beta, which update_rule='gated_delta' needs"),
        ({"state_window": 2}, UnsupportedError, "state_window=2 is not supported; supported: 0"),
    ],
)
def test_what_is_wrong_with_linear_attention_is_named(changed, kind, told, tmp_path) -> None:
    with pytest.raises(kind, match=rf"LinearAttention node 'look back'.*{told}"):
        undertow.load(save(bad_attention(**changed), tmp_path))


# -- CausalConvWithState ----------------------------------------------------------------------------------------------

C = 5


def conv_formula(x, kernel, bias, kind, dilation=1):
    """x (C, T) behind zeros."""
    behind = (kernel.shape[2] - 1) * dilation
    padded = np.pad(x.astype(np.float64), [(0, 0), (behind, 0)])
    taps = (kernel[:, 0, j, None] * padded[:, j * dilation :][:, : x.shape[1]] for j in range(kernel.shape[2]))
    y = sum(taps) + (0 if bias is None else bias[:, None])
    return y if kind == "none" else y / (1 + np.exp(-y))


def conv(kernel, bias, kind, steps, past, domain="", opset=27, outputs="y present", **attrs):
    behind = (kernel.shape[2] - 1) * attrs.get("dilation", 1)
    given = ["x", "w", "b" if bias is not None else "", "past" if past else ""]
    attrs |= {"activation": kind} if kind else {}
    one = helper.make_node("CausalConvWithState", given, outputs.split(), name="taps", domain=domain, **attrs)
    inputs = {"x": [1, len(kernel), steps], **({"past": [1, len(kernel), behind]} if past else {})}
    shapes = {"y": [1, len(kernel), steps], "present": [1, len(kernel), behind]}
    weights = {"w": kernel, **({} if bias is None else {"b": bias})}
    return model_with([one], inputs, {o: shapes[o] for o in outputs.split() if behind or o == "y"}, weights, opset)


@pytest.mark.parametrize("steps", [1, T, "T"])
@pytest.mark.parametrize("seed", range(8))
def test_random_causal_convolutions(seed, steps, tmp_path) -> None:
    rng = np.random.default_rng([8, seed])
    n_taps, kind = (1, 2, 4, 3)[seed % 4], (None, "none", "silu", "swish")[seed // 2 % 4]
    domain, opset = (("", 27), ("", 28), (RUNTIME, 21))[rng.integers(3)]
    dilation = {"dilation": 2} if domain and rng.integers(2) else {}
    past = n_taps > 1 and (steps == 1 or bool(rng.integers(2)))
    kernel, bias = random(rng, C, 1, n_taps), random(rng, C) if rng.integers(2) else None
    file = conv(kernel, bias, kind, steps, past, domain, opset, **dilation)
    X = random(rng, C, T)
    expected = conv_formula(X, kernel, bias, kind or "none", **dilation)
    if steps != 1:
        zeros = {"past": np.zeros_like(X[None, :, :1]).repeat((n_taps - 1) * dilation.get("dilation", 1), 2)}
        y, *_ = session_of(file).run(None, {"x": X[None], **(zeros if past else {})})
        np.testing.assert_allclose(y[0], expected, rtol=0, atol=FLOAT32_PEER)
    model = undertow.load(save(file, tmp_path))
    frames = X.T.reshape(T, *model.inputs["x"].shape) if steps == 1 or model.inputs["x"].size == C else X[None]
    y = model.stream().run(frames)
    y = y["y"] if isinstance(y, dict) else y
    np.testing.assert_allclose(y.reshape(expected.T.shape if len(y) == T else expected.shape),
                               expected.T if len(y) == T else expected, rtol=0, atol=FLOAT32_PEER)  # fmt: skip


@pytest.mark.parametrize(("steps", "past"), [(1, True), ("T", True), ("T", False), (T, False)])
def test_channels_that_lie_last(steps, past, tmp_path, rng) -> None:
    """Of ONNX Runtime alone."""
    kernel, bias, behind = random(rng, C, 1, 3), random(rng, C), 4
    given = ["x", "w", "b", "past" if past else ""]
    attrs = {"activation": "silu", "dilation": 2, "channels_last": 1}
    one = helper.make_node("CausalConvWithState", given, ["y", "present"], domain=RUNTIME, **attrs)
    inputs = {"x": [1, steps, C], **({"past": [1, behind, C]} if past else {})}
    outputs = {"y": [1, steps, C], "present": [1, behind, C]}
    file = model_with([one], inputs, outputs, {"w": kernel, "b": bias}, 21)
    X = random(rng, T, C)
    expected = conv_formula(X.T, kernel, bias, "silu", 2).T
    if steps != 1:
        zeros = {"past": np.zeros((1, behind, C), np.float32)} if past else {}
        (y, held) = session_of(file).run(None, {"x": X[None], **zeros})
        np.testing.assert_allclose(y[0], expected, rtol=0, atol=FLOAT32_PEER)
        np.testing.assert_array_equal(held[0], X[-behind:])
    model = undertow.load(save(file, tmp_path))
    frames = X.reshape(-1, *model.inputs["x"].shape)
    y = model.stream().run(frames)
    y = y["y"] if isinstance(y, dict) else y
    np.testing.assert_allclose(y.reshape(T, C), expected, rtol=0, atol=FLOAT32_PEER)


def test_a_step_of_a_causal_convolution_is_a_depthwise_layer(tmp_path, rng) -> None:
    path = save(conv(random(rng, C, 1, 4), random(rng, C), "silu", 1, True), tmp_path)
    assert {"window", "depthwise"} <= {n.op for n in undertow.load(path).graph.nodes}


def test_what_is_wrong_with_a_causal_convolution_is_named(tmp_path, rng) -> None:
    kernel, bias = random(rng, C, 1, 4), random(rng, C)
    wrong = [
        ({"kind": "relu"}, FormatError, "activation='relu', expected one of none, silu, swish"),
        ({"bias": random(rng, C + 1)}, ShapeError, r"bias has shape \[6\], expected \[5\]"),
        ({"kernel": random(rng, C, 2, 4)}, ShapeError, r"weight has shape \[5, 2, 4\], expected \[any, 1, any\]"),
        ({"ndim": 2}, UnsupportedError, "ndim=2 is not supported; supported: 1"),
        ({"dilation": 0}, FormatError, "dilation=0, expected 1 or more"),
        ({"channels_last": 2}, FormatError, "channels_last=2, expected 0 or 1"),
        ({"channels_last": 1}, ShapeError, r"input has shape \[1, 5, 1\], expected \[any, any, 5\]"),
    ]
    for changed, kind, told in wrong:
        options = {"kernel": kernel, "bias": bias, "kind": "silu", "steps": 1, "past": True, **changed}
        with pytest.raises(kind, match=rf"CausalConvWithState node 'taps'.*{told}"):
            undertow.load(save(conv(domain=RUNTIME, opset=21, **options), tmp_path))
    short = conv(kernel, bias, "silu", 1, True, RUNTIME, 21)
    short.graph.input[1].type.tensor_type.shape.dim[2].dim_value = 2
    with pytest.raises(ShapeError, match=r"past_state has shape \[1, 5, 2\], expected \[any, 5, 3\]"):
        undertow.load(save(short, tmp_path))


@pytest.mark.parametrize("steps", [1, "T"])
@pytest.mark.parametrize("op", ["LinearAttention", "CausalConvWithState"])
def test_states_of_operators_need_no_names(op, steps, tmp_path, rng) -> None:
    """Which slots of an operator are its state says more than names, of frames like x and y among them."""
    if op == "LinearAttention":
        attrs = {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "linear"}
        one, held = helper.make_node(op, ["x", "x", "x", "one"], ["y", "other"], **attrs), [1, 2, 3, 3]
        shape, weights = [1, steps, 6], {}
    else:
        one, held = helper.make_node(op, ["x", "w", "", "one"], ["y", "other"]), [1, 6, 2]
        shape, weights = [1, 6, steps], {"w": random(rng, 6, 1, 3)}
    file = model_of([one], {"x": shape, "one": held}, {"y": shape, "other": held}, weights, 27)
    model = undertow.load(save(file, tmp_path))
    assert list(model.inputs) == ["x"] and list(model.outputs) == ["y"] and len(model.states) == 1
    X, zeros = random(rng, T, 6) / 4, {"one": np.zeros(held, np.float32)}
    rows, session = [], session_of(file)
    for x in X:
        y, state = session.run(None, {"x": x.reshape([1, 1, 6] if len(held) == 4 else [1, 6, 1]), **zeros})
        zeros = {"one": state}
        rows.append(y.ravel())
    np.testing.assert_allclose(streamed(model, {"x": X}), rows, rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("steps", [1, "T"])
@pytest.mark.parametrize("order", ["convolution first", "attention first"])
def test_a_block_of_both_with_a_state_each(order, steps, tmp_path, rng) -> None:
    """As Gated DeltaNet has it: a file that takes a prompt as it takes a timestep."""
    D, first = 6, order == "convolution first"
    weights = {"taps": random(rng, D, 1, 3), "M": random(rng, D, D) / 2}
    attention = helper.make_node(
        "LinearAttention",
        [*["h" if first else "m"] * 3, "past_state"],
        ["y" if first else "h", "present_state"],
        q_num_heads=2,
        kv_num_heads=2,
        update_rule="linear",
    )
    taps = helper.make_node(
        "CausalConvWithState", ["lines", "taps", "", "past_conv"], ["c", "present_conv"], activation="silu"
    )
    conv = [
        node("Transpose", "m" if first else "h", "lines", perm=[0, 2, 1]),
        taps,
        node("Transpose", "c", "h" if first else "y", perm=[0, 2, 1]),
    ]
    nodes = [node("MatMul", "x M", "m"), *(conv if first else []), attention, *([] if first else conv)]
    states = {"conv": [1, D, 2], "state": [1, 2, 3, 3]}
    inputs = {"x": [1, steps, D], **{f"past_{name}": shape for name, shape in states.items()}}
    outputs = {"y": [1, steps, D], **{f"present_{name}": shape for name, shape in states.items()}}
    file, X = model_of(nodes, inputs, outputs, weights, 27), random(rng, T, D) / 4
    carried = {f"past_{name}": np.zeros(shape, np.float32) for name, shape in states.items()}
    expected, session = [], session_of(file)
    for x in X:
        y, *after = session.run(None, {"x": x[None, None], **carried})
        carried = dict(zip(carried, after, strict=True))
        expected.append(y[0, 0])
    model = undertow.load(save(file, tmp_path))
    assert len(model.states) == 2 and list(model.inputs) == ["x"]
    np.testing.assert_allclose(streamed(model, {"x": X[None]}), expected, rtol=0, atol=FLOAT32_PEER)
