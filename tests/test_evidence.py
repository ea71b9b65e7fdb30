# SPDX-License-Identifier: MIT
"""Which inputs are states: told by names, moved elements or recurrent nodes, or asked for; never by what is left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import graph_of, helper, node, onnxruntime, random, save

H = 6
K = {
    "k": np.float32(0.9),
    "one": np.float32(1),
    "second": np.array([1]),
    "end": np.array([2**62]),
    "minus": np.array([-1]),
}


def file_of(folder: Path, nodes: list[Any], inputs: Any, outputs: Any, weights: dict[str, Any] | None = None) -> Path:
    used = {name for n in nodes for name in n.input}
    constants = {name: array for name, array in {**K, **(weights or {})}.items() if name in used}
    return save(graph_of(nodes, inputs, outputs, constants), folder)


def mixing(folder: Path, names: str, shape: tuple[int, ...] = (1, H)) -> Path:
    """A step "in in -> out out" whose outputs are of one shape and depend on every input; what is called side_* has
    another shape.
    """
    inputs, outputs = (side.split() for side in names.split(" -> "))
    shapes = {name: [1, 1] if name.startswith("side") else list(shape) for name in inputs}
    nodes, value = [], inputs[0]
    for i, name in enumerate(inputs[1:]):
        nodes.append(node("Add", f"{value} {name}", f"sum{i}"))
        value = f"sum{i}"
    nodes.append(node("Tanh", value, "t"))
    for i, output in enumerate(outputs):
        nodes += [node("Mul", "t k", f"scaled{i}"), node("Add", f"scaled{i} {inputs[i % len(inputs)]}", output)]
    return file_of(folder, nodes, shapes, {name: list(shape) for name in outputs})


TOLD = {
    "x h -> y h_out": "h",
    "x n acc -> y n_out acc_out": "n acc",
    "x z1 z2 -> y z1_out z2_out": "z1 z2",
    "x h0 h1 h2 -> y hn0 hn1 hn2": "h0 h1 h2",
    "audio_in h_in -> audio_out h_out": "h_in",
    "mag h side_snr -> mag_out h_out": "h",
    "x past -> y present": "past",
    "x v h -> y v2 h_out": "v h",
    "x lag -> y lag_": "lag",
    "z h -> z_out h_out": "h",
    "x h speaker -> y h_out": "h",
    "x hx cx -> y hy cy": "hx cx",
    "X initial_h initial_c -> Y Y_h Y_c": "initial_h initial_c",
    "input hx0 hx1 -> output hy0 hy1": "hx0 hx1",
    "mic_in ref_in h_in -> mic_out h_out": "h_in",
    "src side_mel h -> src_out h_out": "h",
    "left_in right_in side_cond h_in -> left_out right_out h_out": "h_in",
    "x side_speaker h level -> h_out level_out": "h level",
    "side_speaker x h c -> h_out c_out": "h c",
    "x side_speaker sum_before ema_before -> prob sum_after ema_after": "sum_before ema_before",
    "x side_mask held_i h_i -> y held_o h_o": "held_i h_i",
    "x h0 ema0 cache0 -> y hn eman cachen": "h0 ema0 cache0",
    "mic lpb h -> mic_out lpb_out h_out": "h",
    "x integral last_error -> y integral_out error": "integral last_error",
}
ASKED = [
    "z x P -> y x_out P_out",
    "u x s -> y x_next s_next",
    "meas x_in P_in -> y x_out P_out",
    "left_in right_in side_width -> left_out right_out",
    "outer side_mel h -> outer_out h_out",
    "outer_in side_speaker h c -> outer_out h_out c_out",
    "emb h side_cond -> emb_out h_out",
    "hidden_states state side_mask -> hidden_states_out state_out",
    "pos h side_dt -> pos_out h_out",
    "x level h -> y smoothed h_out",
    "z cond h -> z_out h_out vad",
    "a b -> c d",
    "dec_in hidden context -> dec_out new_hidden new_context",
    "noisy prev_mask h -> yy mask h_out",
    "noisy context h -> yy new_context h_out",
    "noisy frame_in h -> yy frame_out h_out",
    "x frames index -> y new_frames new_index",
    "x prev_output h -> output h_out",
    "x last_mel h -> mel h_out",
    "x mel_in h -> mel_out h_out",
    "x prev h -> out h_out",
    "audio wind h -> audio_out wind_out h_out",
    "x old_y -> new_y",
    "x last_y -> y",
    "x y_in -> y_out",
    "x u -> new_u",
    "x ctx -> z",
    "x p -> z",
]


@pytest.mark.parametrize("names", TOLD)
def test_what_evidence_tells(names: str, tmp_path: Path) -> None:
    states = TOLD[names].split()
    model = undertow.load(mixing(tmp_path, names))
    told = re.findall(r"state: input '(\w+)'", model.source)
    assert told == states
    assert sorted([*model.inputs, *states]) == sorted(names.split(" -> ")[0].split())


@pytest.mark.parametrize(
    "names", ["h -> h_out", "past -> present", "z -> z_next", "state -> new_state", "s -> s_out", "s0 -> s0_out"]
)
def test_a_model_that_makes_its_own_frames_is_no_stream(names: str, tmp_path: Path) -> None:
    """Nor is it told to load with the state that leaves no input."""
    path = mixing(tmp_path, names)
    with pytest.raises(undertow.UnsupportedError, match="every input is a state, so that no frame comes in") as told:
        undertow.load(path)
    assert re.findall(r"states=(\{.*?\})", str(told.value)) == ["{}"]
    assert undertow.load(path, states={}).state_bytes == 0


def test_a_delay_is_paired_by_its_name(tmp_path: Path) -> None:
    """next_error is as large as error, and made of it; prev_error has no path to it."""
    nodes = [
        node("Add", "integral error", "next_integral"),
        node("Sub", "error prev_error", "change"),
        node("Add", "change next_integral", "u"),
        node("Mul", "error one", "next_error"),
    ]
    inputs = {name: [1, H] for name in ("error", "integral", "prev_error")}
    path = file_of(tmp_path, nodes, inputs, {name: [1, H] for name in ("u", "next_integral", "next_error")})
    with pytest.raises(undertow.UnsupportedError, match="cannot tell which inputs are states") as told:
        undertow.load(path)
    states = {"integral": "next_integral", "prev_error": "next_error"}
    assert f"say it with states={states} if that is so" in str(told.value)
    stream, before, total = undertow.load(path, states=states).stream(), 0.0, 0.0
    for error in (1.0, 3.0, -2.0):
        total += error
        got = stream.step(np.full(H, error, np.float32))
        np.testing.assert_allclose(got, error - before + total)
        before = error


@pytest.mark.parametrize("names", ["x s -> y s_new", "a b -> c d", "frame mem -> out upd"])
@pytest.mark.parametrize("shape", [[4, 4, H], [2, 2, H], [2, 3, H], ["batch", "bands", H], [2, 2, 2, H]])
def test_a_model_that_remembers_nothing_may_be_a_step(shape: Any, names: str, tmp_path: Path, rng: Any) -> None:
    """Along the axes of several items nothing meets, so each could be time of a model without memory."""
    (x, h), (y, h_out) = (side.split() for side in names.split(" -> "))
    nodes = [
        node("MatMul", f"{x} W", "of_x"),
        node("MatMul", f"{h} R", "of_h"),
        node("Add", "of_x of_h", "sum"),
        node("Tanh", "sum", h_out),
        node("Mul", f"{h_out} k", y),
    ]
    weights = {"W": random(rng, H, H), "R": random(rng, H, H)}
    path = file_of(tmp_path, nodes, {x: shape, h: shape}, {y: shape, h_out: shape}, weights)
    with pytest.raises(undertow.UnsupportedError, match="cannot tell which inputs are states") as told:
        undertow.load(path)
    lines = re.findall(r"say it with ((?:\w+=\{[^}]*\}(?:, )?)+)", str(told.value))
    loaded = [undertow.load(path, **eval(f"dict({line})", {"bands": 3})) for line in lines]
    assert list(loaded[0].inputs) == [x] and loaded[0].state_bytes
    for model in loaded[1:]:  # as a model without memory, where it is not open as well which axis is time
        assert list(model.inputs) == [x, h] and not model.state_bytes
    stream, state = loaded[0].stream(), np.zeros(loaded[0].inputs[x].shape, np.float32)
    for _ in range(3):
        frame = rng.standard_normal(state.shape).astype(np.float32)
        state = np.tanh(frame @ weights["W"] + state @ weights["R"])
        got = stream.step(frame)
        np.testing.assert_allclose(got[y] if isinstance(got, dict) else got, state * K["k"], atol=2e-6)


def test_time_by_name_is_no_step(tmp_path: Path, rng: Any) -> None:
    nodes = [node("Add", "a b", "c"), node("Mul", "a b", "d")]
    shape = ["batch", "frames", H]
    model = undertow.load(file_of(tmp_path, nodes, {"a": shape, "b": shape}, {"c": shape, "d": shape}))
    assert list(model.inputs) == ["a", "b"] and model.state_bytes == 0


@pytest.mark.parametrize("returned", ["{}_out", "new_{}", "n{}"])
def test_all_pairs_of_numbered_names_are_told(returned: str, tmp_path: Path) -> None:
    states = {name: returned.format(name) for name in ("x1", "x2", "y1", "y2")}
    path = mixing(tmp_path, f"x {' '.join(states)} -> y {' '.join(states.values())}")
    with pytest.raises(undertow.UnsupportedError, match="cannot tell") as told:
        undertow.load(path)
    assert f"say it with states={states} if that is so" in str(told.value)
    assert list(undertow.load(path, states=states).inputs) == ["x"]


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 2, 4), (4, 4, 4), (3, 2, 5, 6), (1, 2, 4, 4)])
@pytest.mark.parametrize(
    "names", ["h c -> h_out c_out", "h_in c_in -> h_out c_out", "h0 c0 -> hn cn", "hidden cell -> hidden_new cell_new",
              "state ctx -> state_out ctx_out"],
)  # fmt: skip
def test_a_state_of_the_shape_of_another(names: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Of several items, so that an axis could be time."""
    before, after = names.split(" -> ")
    model = undertow.load(mixing(tmp_path, f"x {before} -> y {after}", shape))
    assert re.findall(r"state: input '(\w+)'", model.source) == before.split()
    assert list(model.inputs) == ["x"]


@pytest.mark.parametrize("names", ASKED)
def test_what_nothing_tells_is_asked(names: str, tmp_path: Path) -> None:
    path = mixing(tmp_path, names)
    with pytest.raises(undertow.UnsupportedError, match="cannot tell which inputs are states") as told:
        undertow.load(path)
    lines = re.findall(r"states=(\{[^}]*\})", str(told.value))
    assert lines
    for line in lines:
        undertow.load(path, states=eval(line))


def run_apart(path: Path, X: np.ndarray, states: dict[str, tuple[str, list[int]]], axis: int) -> np.ndarray:
    """The first output of ONNX Runtime, a timestep of X in each call, states handed on."""
    session = onnxruntime().InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    feed = {name: np.zeros(shape, np.float32) for name, (_, shape) in states.items()}
    rows = []
    for t in range(X.shape[axis]):
        got = dict(zip(names, session.run(None, {"x": X.take([t], axis), **feed}), strict=True))
        feed = {name: got[output] for name, (output, _) in states.items()}
        rows.append(got["y"])
    return np.concatenate(rows, axis)


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("names", ["h h_out", "prev prev_out", "last last_out"])
@pytest.mark.parametrize("op", ["Slice", "Identity"])
def test_a_state_that_a_piece_of_the_input_overwrites(op, names, batch, tmp_path, rng):
    """y = x - 0.9 prev, where prev becomes x: no path leads from it to what returns it."""
    state, returned = names.split()
    nodes = [
        node("Mul", f"{state} k", "a"),
        node("Sub", "x a", "y"),
        node("Slice", "x minus end second", returned) if op == "Slice" else node("Identity", "x", returned),
    ]
    shape = [batch, 1, H]
    path = file_of(tmp_path, nodes, {"x": shape, state: shape}, {"y": shape, returned: shape})
    model, X = undertow.load(path), random(rng, 1, 9, H)
    assert list(model.inputs) == ["x"]
    expected = run_apart(path, X, {state: (returned, [1, 1, H])}, 1)
    np.testing.assert_allclose(model.stream().run(X[0]), expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_cache_beside_a_recurrent_node_over_open_time(batch, tmp_path, rng):
    """A convolution with a cache in front of a GRU, in calls of any number of timesteps."""
    weights = {"C": random(rng, H, H, 3), "W": random(rng, 1, 3 * H, H), "R": random(rng, 1, 3 * H, H)}
    nodes = [
        node("Concat", "cache x", "all", axis=2),
        node("Conv", "all C", "conv"),
        node("Transpose", "conv", "steps", perm=[2, 0, 1]),
        helper.make_node("GRU", ["steps", "W", "R", "", "", "h"], ["Y", "h_out"], hidden_size=H),
        node("Squeeze", "Y second", "rows"),
        node("Transpose", "rows", "y", perm=[1, 2, 0]),
        node("Slice", "all from end two", "cache_out"),
    ]
    weights |= {"from": np.array([-2]), "two": np.array([2])}
    inputs = {"x": [batch, H, "time"], "cache": [batch, H, 2], "h": [1, batch, H]}
    outputs = {"y": [batch, H, "time"], "h_out": [1, batch, H], "cache_out": [batch, H, 2]}
    path = file_of(tmp_path, nodes, inputs, outputs, weights)
    model, X = undertow.load(path), random(rng, 1, H, 11)
    assert list(model.inputs) == ["x"]
    expected = run_apart(path, X, {"cache": ("cache_out", [1, H, 2]), "h": ("h_out", [1, 1, H])}, 2)
    np.testing.assert_allclose(model.stream().run(X[0].T.copy()), expected[0].T, rtol=0, atol=1e-5)


def test_a_cache_beside_a_recurrent_node_that_starts_anew_is_refused_for_that(tmp_path, rng):
    """A step of which the convolution's cache comes back, and the state of the GRU does not."""
    weights = {"C": random(rng, H, H, 3), "W": random(rng, 1, 3 * H, H), "R": random(rng, 1, 3 * H, H)}
    nodes = [
        node("Concat", "cache_in x", "all", axis=2),
        node("Conv", "all C", "conv"),
        node("Transpose", "conv", "steps", perm=[2, 0, 1]),
        node("GRU", "steps W R", "Y", hidden_size=H),
        node("Squeeze", "Y second", "rows"),
        node("Transpose", "rows", "y", perm=[1, 2, 0]),
        node("Slice", "all from end two", "cache_out"),
    ]
    weights |= {"from": np.array([-2]), "two": np.array([2])}
    inputs = {"x": [1, H, 1], "cache_in": [1, H, 2]}
    path = file_of(tmp_path, nodes, inputs, {"y": [1, H, 1], "cache_out": [1, H, 2]}, weights)
    with pytest.raises(undertow.UnsupportedError, match="initial_h is no input of the model, while other states are"):
        undertow.load(path)


@pytest.mark.parametrize("names", ["h h_out", "past_h present_h", "state_in state_out"])
def test_a_state_of_two_open_axes_is_no_input(names, tmp_path):
    """Bands, agents, graph nodes: one of the axes is the batch, and of the other the size is asked for."""
    state, returned = names.split()
    nodes = [node("Add", f"x {state}", "s"), node("Tanh", "s", returned), node("Mul", f"{returned} k", "y")]
    shape = ["batch", "bands", H]
    path = file_of(tmp_path, nodes, {"x": shape, state: shape}, {"y": shape, returned: shape})
    with pytest.raises(undertow.UnsupportedError, match="no axis of the inputs can be time and batch") as told:
        undertow.load(path)
    assert f"shapes={{'x': [1, bands, 6], '{state}': [1, bands, 6]}}" in str(told.value)
    sized = undertow.load(path, shapes={"x": [None, 5, H], state: [None, 5, H]})
    assert (list(sized.inputs), sized.inputs["x"].shape) == (["x"], (5, H))


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("what", ["softmax", "first", "last"])
def test_a_memory_of_open_length_is_not_time(what, batch, tmp_path, rng):
    nodes = {
        "softmax": [
            node("Transpose", "memory", "keys", perm=[1, 0]),
            node("MatMul", "h keys", "scores"),
            node("Softmax", "scores", "shares", axis=-1),
            node("MatMul", "shares memory", "read"),
        ],
        "first": [node("Slice", "memory zero second zero", "read")],
        "last": [node("Slice", "memory minus end zero", "read")],
    }[what]
    nodes += [
        node("Add", "x read", "a"),
        node("Add", "a h", "s"),
        node("Tanh", "s", "h_out"),
        node("Mul", "h_out k", "y"),
    ]
    shape = [batch, H]
    inputs = {"x": shape, "memory": ["rows", H], "h": shape}
    path = file_of(tmp_path, nodes, inputs, {"y": shape, "h_out": shape}, {"zero": np.array([0])})
    with pytest.raises(undertow.UnsupportedError, match=r"axis 0 of 'memory'.*shapes=\{'memory': \[N, 6\]\}"):
        undertow.load(path)
    assert undertow.load(path, shapes={"memory": [5, H]}).inputs["memory"].shape == (5, H)


CALLS = {
    "once in a call": [node("Mul", "h k", "h_out"), node("Add", "x h", "y")],
    "toggled": [node("Neg", "h", "h_out"), node("Add", "x h", "y")],
    "of the first frame": [node("Slice", "x zero second second", "h_out"), node("Add", "x h", "y")],
    "of the frame before": [
        node("Concat", "h x", "all", axis=1),
        node("Slice", "all zero minus second", "late"),
        node("Slice", "all minus end second", "h_out"),
        node("Sub", "x late", "y"),
    ],
}


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("case", CALLS)
def test_calls_of_one_timestep_are_held_against_one_of_several(case, batch, tmp_path):
    """A state that a call changes once, however many timesteps it has, is none of a timestep."""
    nodes, shape = CALLS[case], [batch, "time", H]
    inputs, outputs = {"x": shape, "h": [batch, 1, H]}, {"y": shape, "h_out": [batch, 1, H]}
    path = file_of(tmp_path, nodes, inputs, outputs, {"zero": np.array([0])})
    if case == "of the frame before":
        assert list(undertow.load(path).inputs) == ["x"]
        return
    with pytest.raises(
        undertow.UnsupportedError, match="one call of 4 timesteps is another one than that of 4 calls"
    ) as told:
        undertow.load(path)
    (_, several) = re.findall(r"shapes=(\{[^}]*\})", str(told.value))[:2] if batch == 1 else ("", "")
    shapes = {"x": [None if batch != 1 else 1, 4, H]}
    assert list(undertow.load(path, shapes=shapes).inputs) == ["x"]
    assert not several or "N" in several


@pytest.mark.parametrize("time", [1, "time"])
@pytest.mark.parametrize("names", ["n n_out", "count new_count", "gain_in gain_out"])
@pytest.mark.parametrize("kind", ["counted", "scaled", "the last output"])
def test_what_is_called_alike_beside_a_recurrent_node(kind, names, time, tmp_path, rng):
    state, returned = names.split()
    wide = H if kind == "the last output" else 1
    weights = {"W": random(rng, 1, 3 * H, H), "R": random(rng, 1, 3 * H, H), "first": np.array([0])}
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        helper.make_node("GRU", ["steps", "W", "R", "", "", "h"], ["Y", "h_out"], hidden_size=H),
        node("Squeeze", "Y second", "rows"),
        node("Transpose", "rows", "all", perm=[1, 0, 2]),
        node("Mul", f"all {state}", "y"),
        {
            "counted": node("Add", f"{state} one", returned),
            "scaled": node("Mul", f"{state} k", returned),
            "the last output": node("Squeeze", "h_out first", returned),
        }[kind],
    ]
    inputs = {"x": [1, time, H], "h": [1, 1, H], state: [1, wide]}
    path = file_of(tmp_path, nodes, inputs, {"y": [1, time, H], "h_out": [1, 1, H], returned: [1, wide]}, weights)
    if time == 1 and kind != "the last output":
        assert list(undertow.load(path).inputs) == ["x"]
        return
    with pytest.raises(undertow.UnsupportedError, match=f"'{state}' and '{returned}' are called|states={{'{state}'"):
        undertow.load(path)


def test_a_difference_of_single_numbers(tmp_path, rng):
    """A frame of one number, padded along time and the batch beside it."""
    nodes = [
        node("Pad", "x pads", "late"),
        node("Slice", "late zero minus second", "before"),
        node("Sub", "x before", "y"),
    ]
    weights = {"pads": np.array([0, 1, 0, 0]), "zero": np.array([0])}
    path = file_of(tmp_path, nodes, {"x": ["batch", "time"]}, {"y": ["batch", "time"]}, weights)
    X = random(rng, 9)
    np.testing.assert_array_equal(undertow.load(path).run(X), X - np.append(np.float32(0), X[:-1]))


def test_of_two_axes_of_size_one_either_is_the_time_of_a_step(tmp_path, rng):
    """A frame [batch, 1, 1, H] of a step with a cache and a GRU: both axes of size 1 say the same."""
    weights = {"C": random(rng, 2, 1, 2, 3), "W": random(rng, 1, 3 * H, 2 * H), "R": random(rng, 1, 3 * H, H)}
    nodes = [
        node("Concat", "cache x", "all", axis=2),
        node("Conv", "all C", "conv", pads=[0, 1, 0, 1]),
        node("Transpose", "conv", "maps", perm=[0, 2, 1, 3]),
        node("Shape", "maps", "shape"),
        node("Slice", "shape zero two zero", "sizes"),
        node("Concat", "sizes minus", "to", axis=0),
        node("Reshape", "maps to", "rows"),
        node("Transpose", "rows", "steps", perm=[1, 0, 2]),
        helper.make_node("GRU", ["steps", "W", "R", "", "", "h"], ["Y", "h_out"], hidden_size=H),
        node("Squeeze", "Y second", "units"),
        node("Transpose", "units", "mask", perm=[1, 0, 2]),
        node("Unsqueeze", "mask second", "wide"),
        node("Mul", "wide x", "y"),
        node("Slice", "all second end two", "cache_out"),
    ]
    weights |= {"zero": np.array([0]), "two": np.array([2])}
    inputs = {"x": ["batch", 1, 1, H], "cache": ["batch", 1, 1, H], "h": [1, "batch", H]}
    outputs = {"y": ["batch", 1, 1, H], "h_out": [1, "batch", H], "cache_out": ["batch", 1, 1, H]}
    path = file_of(tmp_path, nodes, inputs, outputs, weights)
    model, X = undertow.load(path), random(rng, 1, 1, 9, H)
    assert list(model.inputs) == ["x"]
    states = {"cache": ("cache_out", [1, 1, 1, H]), "h": ("h_out", [1, 1, H])}
    expected = run_apart(path, X, states, 2)
    np.testing.assert_allclose(model.stream().run(X[0].transpose(1, 0, 2)).ravel(), expected.ravel(), atol=1e-6)


@pytest.mark.parametrize("name", ["hidden_states", "state", "h", "prev"])
def test_an_axis_called_time_is_none_of_a_state(name, tmp_path, rng):
    """Encoder outputs beside a frame: one result of their shape, and another."""
    nodes = [
        node("MatMul", "x A", "p"),
        node("Add", f"{name} p", "s"),
        node("Tanh", "s", "features"),
        node("MatMul", "features B", "q"),
        node("Softmax", "q", "logits", axis=-1),
    ]
    weights = {"A": random(rng, 3, H), "B": random(rng, H, 4)}
    inputs = {name: [1, "time", H], "x": [1, "time", 3]}
    path = file_of(tmp_path, nodes, inputs, {"logits": [1, "time", 4], "features": [1, "time", H]}, weights)
    with pytest.raises(undertow.UnsupportedError, match=r"has an axis called time|states=\{\} if there are none"):
        undertow.load(path)
    assert list(undertow.load(path, states={}).inputs) == [name, "x"]


@pytest.mark.parametrize(("before", "last"), [("x_prev", "x_last"), ("args_1", "output_1"), ("mem", "kept")])
def test_what_is_the_same_in_a_call_may_be_of_the_call_before(before, last, tmp_path, rng):
    """Chunks of open length with an LSTM's states, and the last frame of the chunk before."""
    nodes = [
        node("Add", f"x {before}", "s"),
        node("Transpose", "s", "rows", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["rows", "W", "R", "", "", "h", "c"], ["Y", "h_out", "c_out"], hidden_size=H),
        node("Squeeze", "Y second", "units"),
        node("Transpose", "units", "y", perm=[1, 0, 2]),
        node("Slice", "x minus end second", last),
    ]
    weights = {"W": random(rng, 1, 4 * H, H), "R": random(rng, 1, 4 * H, H)}
    state = [1, 1, H]
    inputs = {"x": [1, "time", H], before: [1, 1, H], "h": state, "c": state}
    outputs = {"y": [1, "time", H], last: [1, 1, H], "h_out": state, "c_out": state}
    path = file_of(tmp_path, nodes, inputs, outputs, weights)
    with pytest.raises(undertow.UnsupportedError, match=f"'{before}' could be returned by '{last}', which is of one"):
        undertow.load(path)


def test_a_cell_whose_frame_is_called_like_its_state(tmp_path, rng):
    """A GRU cell of which x is the state and h the frame."""
    weights = {f"{k}{g}": random(rng, H, H) for k in "WR" for g in "rzn"} | {"O": random(rng, H, H)}
    nodes = [node("MatMul", f"h W{g}", f"a{g}") for g in "rzn"] + [node("MatMul", f"x R{g}", f"b{g}") for g in "rzn"]
    nodes += [
        node("Add", "ar br", "sr"), node("Sigmoid", "sr", "r"), node("Add", "az bz", "sz"), node("Sigmoid", "sz", "z"),
        node("Mul", "r bn", "rb"), node("Add", "an rb", "sn"), node("Tanh", "sn", "n"), node("Sub", "x n", "d"),
        node("Mul", "z d", "zd"), node("Add", "n zd", "h_out"), node("MatMul", "h_out O", "x_out"),
    ]  # fmt: skip
    path = file_of(tmp_path, nodes, {"h": [1, H], "x": [1, H]}, {"x_out": [1, H], "h_out": [1, H]}, weights)
    with pytest.raises(undertow.UnsupportedError, match=r"states=\{'x': 'h_out'\} as its cells say"):
        undertow.load(path)
    assert "gru" in [n.op for n in undertow.load(path, states={"x": "h_out"}).graph.nodes]


def test_lines_that_are_told_keep_to_what_is_moved(tmp_path, rng):
    """Two caches that come back in another order, beside a frame and a mean whose names say nothing."""
    nodes = [
        node("Mul", "b k", "kept"), node("Add", "kept a", "o1"), node("Sub", "a o1", "off"),
        node("MatMul", "off K", "key"), node("MatMul", "off V", "value"),
        node("Unsqueeze", "key second", "key1"), node("Unsqueeze", "value second", "value1"),
        node("Slice", "c second end second", "c_tail"), node("Slice", "d second end second", "d_tail"),
        node("Concat", "c_tail key1", "o3", axis=1), node("Concat", "d_tail value1", "o2", axis=1),
        node("ReduceMean", "o3", "m", axes=[1], keepdims=0), node("ReduceMean", "o2", "n", axes=[1], keepdims=0),
        node("Mul", "m n", "mn"), node("MatMul", "mn O", "o0"),
    ]  # fmt: skip
    weights = {"K": random(rng, 8, 4), "V": random(rng, 8, 4), "O": random(rng, 4, 8)}
    inputs = {"a": [1, 8], "b": [1, 8], "c": [1, 3, 4], "d": [1, 3, 4]}
    path = file_of(tmp_path, nodes, inputs, {"o0": [1, 8], "o1": [1, 8], "o2": [1, 3, 4], "o3": [1, 3, 4]}, weights)
    with pytest.raises(undertow.UnsupportedError) as refused:
        undertow.load(path)
    lines = re.findall(r"states=(\{[^}]+\})", str(refused.value))
    assert lines and all("'c': 'o3', 'd': 'o2'" in line for line in lines)
