# SPDX-License-Identifier: MIT
"""Attention of each timestep to those before it, in files whose axis of time is open: a window where a mask is one."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from onnx_files import FLOAT, helper, info, model_of, node, peer, save
from tolerances import FLOAT32_PEER
from undertow import UnsupportedError

D, LENGTHS = 4, (1, 2, 3, 4, 5, 9, 24)

#: positions (T) of rows and columns; ends in `i` (T, 1) and `j` (1, T)
POSITIONS = [
    node("Shape", "x", "sizes"),
    node("Gather", "sizes one", "length"),
    node("Range", "zero length one", "positions"),
    node("Unsqueeze", "positions ones", "i"),
    node("Unsqueeze", "positions zeros", "j"),
]
NUMBERS = {
    "zero": np.int64(0), "one": np.int64(1), "two": np.int64(2), "width": np.int64(3), "before": np.int64(-3),
    "zeros": np.array([0]), "ones": np.array([1]), "axes": np.array([0, 1]), "heads": np.array([0, 0, 2, 2]),
    "flat": np.array([0, 0, 4]), "none": np.float32(-np.inf), "low": np.float32(-1e9), "ten": np.float32(-10),
    "least": np.finfo(np.float32).min, "root": np.float32(2), "nought": np.float32(0), "slope": np.float32(-0.5),
    "table": np.tri(64, dtype=np.float32) - np.tri(64, k=-3, dtype=np.float32), "much": np.float32(5e5),
}  # fmt: skip


def later(offset="zero"):
    return [node("Add", f"i {offset}", "i_more"), node("Greater", "j i_more", "later")]


def banded(hidden="hidden"):
    """hidden (T, T): whether column j is later than row i, or `width` or more before it."""
    return [
        *POSITIONS,
        *later(),
        node("Sub", "i width", "last"),
        node("LessOrEqual", "j last", "long_ago"),
        node("Or", "later long_ago", hidden),
    ]


def triangles():
    """The same, as torch's triu and tril of ones write it: 1 where it is seen."""
    square = [
        node("Shape", "scores", "square"),
        node("ConstantOfShape", "square", "all_ones", value=helper.make_tensor("v", FLOAT, [1], [1])),
    ]
    return [
        *square,
        node("Trilu", "all_ones", "lower", upper=0),
        node("Trilu", "all_ones before", "lowest", upper=0),
        node("Sub", "lower lowest", "band"),
        node("Equal", "band nought", "hidden"),
    ]


WHERE = [node("Where", "hidden low scaled", "masked")]
ADDED = [
    node("Cast", "hidden", "is_hidden", to=FLOAT),
    node("Where", "hidden none nought", "added"),
    node("Add", "scaled added", "masked"),
]
MASKS = {
    "less, or, where -1e9": [*banded(), *WHERE],
    "where -inf": [*banded(), node("Where", "hidden none scaled", "masked")],
    "where the smallest": [*banded(), node("Where", "hidden least scaled", "masked")],
    "seen, not hidden": [*banded(), node("Not", "hidden", "seen"), node("Where", "seen scaled low", "masked")],
    "added": [*banded(), *ADDED],
    "added in front": [*banded(), *ADDED[:2], node("Add", "added scaled", "masked")],
    "triangles": [*triangles(), *WHERE],
    "a table of the file": [
        *POSITIONS[:2],
        node("Unsqueeze", "length zeros", "lengths"),
        node("Concat", "lengths lengths", "until", axis=0),
        node("Slice", "table axes0 until axes", "band"),
        node("Equal", "band nought", "hidden"),
        *WHERE,
    ],
    "and a bias by distance": [
        *banded(),
        node("Sub", "i j", "apart"),
        node("Cast", "apart", "distance", to=FLOAT),
        node("Mul", "distance slope", "bias"),
        node("Add", "scaled bias", "biased"),
        node("Where", "hidden low biased", "masked"),
    ],
    "1 - seen, times a low number": [
        *banded(),
        node("Cast", "hidden", "is_hidden", to=FLOAT),
        node("Mul", "is_hidden much", "lower"),
        node("Mul", "lower ten", "added"),
        node("Add", "scaled added", "masked"),
    ],
    "two masks": [
        *POSITIONS,
        *later(),
        node("Sub", "i width", "last"),
        node("LessOrEqual", "j last", "long_ago"),
        node("Where", "later low scaled", "half"),
        node("Where", "long_ago none half", "masked"),
    ],
    "every other": [
        *banded("band_hidden"),
        node("Sub", "i j", "apart"),
        node("Mod", "apart two", "odd"),
        node("Equal", "odd one", "is_odd"),
        node("Or", "band_hidden is_odd", "hidden"),
        *WHERE,
    ],
    "a guard for rows that see nothing": [*banded(), *WHERE],
}  # fmt: skip

#: of one head; of two, that stand in front of time; the same as Einsums
QKV = [node("MatMul", f"h W{k}", k) for k in "qkv"]
ONE = (
    [
        *QKV,
        node("Transpose", "k", "columns", perm=[0, 2, 1]),
        node("MatMul", "q columns", "scores"),
        node("Div", "scores root", "scaled"),
    ],
    [node("Softmax", "masked", "weights", axis=-1), node("MatMul", "weights v", "c")],
)
TWO = [
    *QKV,
    *[node("Reshape", f"{k} heads", f"{k}4") for k in "qkv"],
    *[node("Transpose", f"{k}4", f"{k}h", perm=[0, 2, 3, 1] if k == "k" else [0, 2, 1, 3]) for k in "qkv"],
    node("MatMul", "qh kh", "scores"),
    node("Div", "scores root", "scaled"),
], [
    node("Softmax", "masked", "weights", axis=-1),
    node("MatMul", "weights vh", "ch"),
    node("Transpose", "ch", "c4", perm=[0, 2, 1, 3]),
    node("Reshape", "c4 flat", "c"),
]  # fmt: skip
EINSUM = [
    *QKV,
    *[node("Reshape", f"{k} heads", f"{k}4") for k in "qkv"],
    node("Einsum", "k4 q4", "scores", equation="aecd,abcd->acbe"),
    node("Mul", "scores scale", "scaled"),
], [
    node("Softmax", "masked", "weights", axis=-1),
    node("Einsum", "weights v4", "c4", equation="acbe,aecd->abcd"),
    node("Reshape", "c4 flat", "c"),
]  # fmt: skip
FORMS = {"one head": ONE, "two heads": TWO, "einsum": EINSUM}


def attention(rng, mask, form=ONE, batch="N", guard=False):
    """y [N, T, 2] of x [N, T, 4]: a dense layer of what each timestep sees of those before it."""
    weights = {f"W{k}": rng.normal(size=(D, D)).astype(np.float32) for k in "qkv"}
    weights |= {"V": rng.normal(size=(D, D)).astype(np.float32), "out": rng.normal(size=(D, 2)).astype(np.float32)}
    before, behind = form
    if guard:
        nan = [node("IsNaN", "weights", "is_nan"), node("Where", "is_nan nought weights", "safe")]
        rename = {"weights": "safe"}
        behind = [behind[0], *nan, *[_reading(n, rename) for n in behind[1:]]]
    nodes = [
        node("MatMul", "x V", "hx"),
        node("Tanh", "hx", "h"),
        *before,
        *mask,
        *behind,
        node("MatMul", "c out", "y"),
    ]
    numbers = NUMBERS | {"scale": np.float32(0.5), "axes0": np.array([0, 0])}
    return model_of(nodes, {"x": [batch, "T", D]}, [info("y", [batch, "T", 2])], weights | numbers)


def _reading(old, names):
    new = type(old)()
    new.CopyFrom(old)
    new.input[:] = [names.get(name, name) for name in old.input]
    return new


def stepwise(model, X):
    stream = model.stream()
    return np.array([stream.step(x) for x in X])


def agrees(model, file, rng, lengths=LENGTHS):
    """Each prefix of a sequence through the file, and the rows of one stream."""
    X = rng.normal(size=(max(lengths), D)).astype(np.float32)
    Y = stepwise(model, X)
    np.testing.assert_array_equal(Y, model.run(X))
    for n in lengths:
        (expected,) = peer(file, {"x": X[None, :n]})["y"]
        np.testing.assert_allclose(Y[:n], expected, rtol=0, atol=FLOAT32_PEER, err_msg=f"{n} timesteps")


@pytest.mark.parametrize("form", FORMS)
def test_a_band_is_a_window_in_each_form(form, rng, tmp_path):
    file = attention(rng, MASKS["added"], FORMS[form])
    model = undertow.load(save(file, tmp_path))
    assert [n.attrs["rows"] for n in model.graph.nodes if n.op == "attend"] == [3]
    assert model.inputs["x"].shape == (D,) and model.state_bytes < 500
    agrees(model, file, rng)


@pytest.mark.parametrize("mask", MASKS)
def test_a_band_however_it_is_written(mask, rng, tmp_path):
    file = attention(rng, MASKS[mask], guard="guard" in mask)
    agrees(undertow.load(save(file, tmp_path)), file, rng)


def test_the_window_of_a_mask_may_be_longer_than_what_is_tried(rng, tmp_path):
    file = attention(rng, MASKS["where -inf"])
    for tensor in file.graph.initializer:
        if tensor.name == "width":
            tensor.CopyFrom(helper.make_tensor("width", tensor.data_type, [], [90]))
    model = undertow.load(save(file, tmp_path))
    assert [n.attrs["rows"] for n in model.graph.nodes if n.op == "attend"] == [90]
    agrees(model, file, rng, (1, 80, 90, 91, 120))


def test_a_window_that_sees_ahead_is_late_by_that(rng, tmp_path):
    mask = [*POSITIONS, *later("one"), node("Sub", "i width", "last"), node("LessOrEqual", "j last", "long_ago")]
    file = attention(rng, [*mask, node("Or", "later long_ago", "hidden"), *WHERE])
    model = undertow.load(save(file, tmp_path))
    assert model.latency == 1
    X = rng.normal(size=(9, D)).astype(np.float32)
    for n in (1, 2, 5, 9):
        (expected,) = peer(file, {"x": X[None, :n]})["y"]
        np.testing.assert_allclose(model.run(X[:n]), expected, rtol=0, atol=FLOAT32_PEER)


REFUSED = {
    "no mask": ([node("Identity", "scaled", "masked")], "every timestep is weighed for every timestep, later ones"),
    "the past alone": (
        [*POSITIONS, node("GreaterOrEqual", "j i", "later"), node("Where", "later low scaled", "masked")],
        "masks each timestep for itself",
    ),
    "all that is later": (
        [*POSITIONS, node("Less", "j i", "earlier"), node("Where", "earlier low scaled", "masked")],
        "weighs all later timesteps",
    ),
    "a weak mask": ([*banded(), node("Where", "hidden ten scaled", "masked")], "puts -10 in place of scores"),
    "pieces": (
        [
            *POSITIONS,
            *later(),
            *[node("Div", f"{k} width", f"piece_{k}") for k in "ij"],
            node("Equal", "piece_i piece_j", "same"),
            node("Not", "same", "others"),
            node("Or", "later others", "hidden"),
            *WHERE,
        ],
        "no function of how far they are apart",
    ),
    "by the length": (
        [
            *POSITIONS,
            *later(),
            node("Div", "length two", "part"),
            node("Add", "part one", "half"),
            node("Sub", "i half", "last"),
            node("LessOrEqual", "j last", "long_ago"),
            node("Or", "later long_ago", "hidden"),
            *WHERE,
        ],
        "is another one for",
    ),
    "scaled behind the mask": (
        [*banded(), node("Where", "hidden low scaled", "half"), node("Mul", "half root", "masked")],
        "stands between a mask and the softmax",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_sees_more_than_was_there_is_refused(what, rng, tmp_path):
    mask, message = REFUSED[what]
    with pytest.raises(UnsupportedError, match=message):
        undertow.load(save(attention(rng, mask), tmp_path))


def test_weights_along_the_other_axis_are_refused(rng, tmp_path):
    other = ONE[0], [node("Softmax", "masked", "weights", axis=1), ONE[1][1]]
    with pytest.raises(UnsupportedError, match="a softmax along its last axis"):
        undertow.load(save(attention(rng, MASKS["added"], other), tmp_path))


def of_operator(rng, opset, mask=(), inputs="", kv_heads=2, **attrs):
    """ONNX's own operator, over a sequence of open length."""
    sizes = {"q": D, "k": D // 2 * kv_heads, "v": D // 2 * kv_heads}
    weights = {f"W{k}": rng.normal(size=(D, n)).astype(np.float32) for k, n in sizes.items()}
    own = node("Attention", f"q k v {inputs}", "y", q_num_heads=2, kv_num_heads=kv_heads, **attrs)
    nodes = [*[node("MatMul", f"x W{k}", k) for k in "qkv"], *mask, own]
    return model_of(nodes, {"x": [1, "T", D]}, [info("y", [1, "T", D])], weights | NUMBERS, opset)


@pytest.mark.parametrize("opset", [23, 24])
def test_the_operator_takes_a_band_as_its_mask(opset, rng, tmp_path):
    file = of_operator(rng, opset, [*banded(), node("Not", "hidden", "seen")], "seen")
    model = undertow.load(save(file, tmp_path))
    assert [n.attrs["rows"] for n in model.graph.nodes if n.op == "attend"] == [3]
    agrees(model, file, rng)
