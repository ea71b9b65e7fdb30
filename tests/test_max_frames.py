# SPDX-License-Identifier: MIT
"""Attention of each timestep to all before it, with max_frames=: exact for so many frames, and an error behind them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import undertow
from onnx_files import node, onnxruntime, save
from test_import_onnx_past import FORMS, MASKS, POSITIONS, D, agrees, attention, later, of_operator
from tolerances import FLOAT32_PEER
from undertow import StateError, UnsupportedError, reference
from undertow.accuracy.verify import verify

MOST = 6
CAUSAL = [*POSITIONS, *later(), node("Where", "later none scaled", "masked")]
TABLE = [node("Cast", "band", "seen", to=9), node("Where", "seen scaled low", "masked")]


@pytest.fixture
def file(rng):
    return attention(rng, CAUSAL, FORMS["two heads"])


@pytest.fixture
def model(file, tmp_path):
    return undertow.load(save(file, tmp_path), max_frames=MOST)


@pytest.mark.parametrize("form", FORMS)
def test_each_prefix_is_what_the_file_gives(form, rng, tmp_path):
    file = attention(rng, CAUSAL, FORMS[form], guard=form == "one head")
    model = undertow.load(save(file, tmp_path), max_frames=24)
    assert model.max_frames == 24
    assert [n.attrs["rows"] for n in model.graph.nodes if n.op == "attend"] == [24]
    agrees(model, file, rng)


OPERATORS = {
    "as it is": {},
    "heads share keys": {"kv_heads": 1},
    "a cap on scores": {"softcap": 3.0},
    "a scale": {"scale": 0.3},
}


@pytest.mark.parametrize("form", OPERATORS)
def test_the_operator_that_is_causal(form, rng, tmp_path):
    file = of_operator(rng, 23 if form == "a scale" else 24, is_causal=1, **OPERATORS[form])
    agrees(undertow.load(save(file, tmp_path), max_frames=24), file, rng)


def test_weights_by_distance_are_computed_for_all_of_them(rng, tmp_path):
    """A bias that goes on falling: its nodes are asked for as many timesteps as there may be."""
    mask = MASKS["and a bias by distance"]
    mask = [*POSITIONS, *later(), *[n for n in mask if n.output[0] in ("apart", "distance", "bias", "biased")]]
    file = attention(rng, [*mask, node("Where", "later low biased", "masked")])
    agrees(undertow.load(save(file, tmp_path), max_frames=90), file, rng, (1, 5, 70, 90))


def test_one_frame_more_is_refused_and_changes_nothing(model, rng):
    X = rng.normal(size=(MOST + 2, D)).astype(np.float32)
    stream = model.stream()
    Y = stream.run(X[:MOST])
    snapshot = stream.snapshot()
    for call in (stream.step, stream.propose, lambda x: stream.run(x[None])):
        with pytest.raises(StateError, match=r"has had 6 frames, and 1 more are beyond the 6 .*max_frames=.*reset"):
            call(X[MOST])
    assert stream.snapshot() == snapshot and stream.position == MOST
    stream.reset()
    with pytest.raises(StateError, match="7 frames are beyond the 6"):
        stream.run(X[: MOST + 1])
    assert stream.position == 0
    np.testing.assert_array_equal(stream.run(X[:MOST]), Y)
    stream.restore(snapshot)
    with pytest.raises(StateError, match="beyond"):
        stream.step(X[MOST])


def test_a_proposal_that_is_undone_takes_no_room(model, rng):
    X = rng.normal(size=(MOST, D)).astype(np.float32)
    stream = model.stream()
    stream.run(X[:-1])
    for _ in range(3):
        stream.propose(X[-1])
        stream.rollback()
    y = stream.propose(X[-1])
    stream.commit()
    np.testing.assert_array_equal(y, model.run(X)[-1])
    with pytest.raises(StateError, match="beyond"):
        stream.propose(X[-1])


def test_copies_go_on_counting(model, rng, tmp_path):
    X = rng.normal(size=(MOST, D)).astype(np.float32)
    stream = model.stream()
    stream.run(X[:4])
    for copy in (stream.fork(), pickle.loads(pickle.dumps(stream)), model.stream(snapshot=stream.snapshot())):
        np.testing.assert_array_equal(copy.run(X[4:]), model.run(X)[4:])
        with pytest.raises(StateError, match="beyond"):
            copy.step(X[0])
    model.save(tmp_path / "model.tow")
    again = undertow.load(tmp_path / "model.tow")
    assert again.max_frames == MOST
    with pytest.raises(StateError, match="7 frames are beyond the 6"):
        again.stream().run(np.zeros((MOST + 1, D), np.float32))


def test_streams_of_a_pool_are_counted_one_by_one(model, rng):
    X = rng.normal(size=(3, MOST, D)).astype(np.float32)
    pool = model.pool(4)
    ids = pool.open(3)
    Y = np.empty((3, MOST, 2), np.float32)
    Y[:2, :4] = pool.run(ids[:2], X[:2, :4])
    before = [pool.snapshot(i) for i in ids]
    with pytest.raises(StateError, match="stream 1 of the call has had 4 frames, and 3 more are beyond the 6"):
        pool.run(ids[[2, 0]], X[:2, :3])
    assert [pool.snapshot(i) for i in ids] == before
    Y[2] = pool.run(ids[2:], X[2:])[0]
    Y[:2, 4:] = pool.run(ids[:2], X[:2, 4:])
    for sequence, expected in zip(X, Y, strict=True):
        np.testing.assert_array_equal(model.run(sequence), expected)
    for call in (pool.step, pool.propose):
        with pytest.raises(StateError, match="beyond"):
            call(ids, X[:, 0])
    pool.reset(ids[:1])
    pool.step(ids[:1], X[:1, 0])


def test_sequences_beyond_it_are_refused_and_graphs_compute_nan(model, rng):
    X = rng.normal(size=(MOST + 2, D)).astype(np.float32)
    for call in (model.run, lambda X: model.run(np.stack([X, X]))):
        with pytest.raises(StateError, match="8 frames are beyond the 6"):
            call(X)
    (Y,) = reference.evaluate(model.graph, X).outputs.values()
    assert np.isnan(Y[MOST:]).all() and np.isfinite(Y[:MOST]).all()


def test_without_it_the_advice_is_what_works(file, tmp_path):
    path = save(file, tmp_path)
    with pytest.raises(
        UnsupportedError, match=r"weighs all earlier timesteps.* load with max_frames=N, with your"
    ) as told:
        undertow.load(path)
    assert told.value.options == [{"max_frames": "N"}]
    assert undertow.load(path, max_frames=1).run(np.zeros((1, D), np.float32)).shape == (1, 2)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (0, ValueError, "max_frames is 0, expected 1 to 1048576"),
        (-3, ValueError, "max_frames is -3"),
        (2**21, ValueError, "max_frames is 2097152"),
        (2.0, TypeError, "max_frames is 2.0, expected a number"),
        (True, TypeError, "max_frames is True"),
        ("6", TypeError, "max_frames is '6'"),
    ],
)
def test_what_is_no_number_of_frames_is_refused(given, error, message, file, tmp_path):
    with pytest.raises(error, match=message):
        undertow.load(save(file, tmp_path), max_frames=given)


def test_a_file_in_which_nothing_grows_takes_none(rng, tmp_path):
    path = save(attention(rng, MASKS["added"]), tmp_path)
    with pytest.raises(UnsupportedError, match="max_frames=9: nothing in the file grows"):
        undertow.load(path, max_frames=9)
    undertow.load(path).save(tmp_path / "model.tow")
    with pytest.raises(TypeError, match=r"a \.tow file takes no importer options, got max_frames"):
        undertow.load(tmp_path / "model.tow", max_frames=9)


def test_a_mask_that_the_file_holds_goes_no_further(rng, tmp_path):
    """A table of 64 timesteps: more than that the file itself does not take."""
    file = attention(rng, [*MASKS["a table of the file"][:5], *TABLE])
    for tensor in file.graph.initializer:
        if tensor.name == "table":
            tensor.raw_data = np.tri(64, dtype=np.float32).tobytes()
    agrees(undertow.load(save(file, tmp_path), max_frames=64), file, rng, (1, 9, 64))
    with pytest.raises(UnsupportedError, match="a mask of at most 64 timesteps, max_frames is 65"):
        undertow.load(save(file, tmp_path), max_frames=65)


def test_verify_takes_no_more_frames_than_there_may_be(file, model, tmp_path):
    onnxruntime()
    report = verify(model, save(file, tmp_path), exact=model)
    assert report.ok and report.n_steps == MOST and report.against.startswith("ONNX Runtime")
    assert [(d.first, d.last) for d in report.growth] == [(1, MOST)]


@pytest.mark.parametrize("most", [3, 20])
def test_a_torch_module_is_held_against_it_for_so_many_frames_alone(most):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")

    class Causal(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.project = torch.nn.Linear(D, D)

        def forward(self, x):
            q = self.project(x)
            later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
            scores = (q @ x.transpose(1, 2)).masked_fill(later, -torch.inf)
            return torch.softmax(scores, -1) @ x

    module, X = Causal().eval(), torch.randn(most, D)
    with pytest.raises(UnsupportedError, match="load with max_frames=N"):
        undertow.from_torch(module, torch.zeros(1, 8, D), time_axis=1)
    model = undertow.from_torch(module, torch.zeros(1, 8, D), time_axis=1, max_frames=most)
    with torch.no_grad():
        expected = module(X[None])[0].numpy()
    np.testing.assert_allclose(model.run(X.numpy()), expected, rtol=0, atol=FLOAT32_PEER)
