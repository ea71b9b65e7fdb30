# SPDX-License-Identifier: MIT
"""undertow.decode gives what loops of a few lines over `Stream.step` give, and refuses what they would garble."""

import hashlib
import pickle
import threading

import numpy as np
import pytest

import undertow
from undertow import decode
from undertow.graph import Graph
from undertow.ir.activations import Activation
from undertow.stream import log_probabilities_of

ISAS = [name for name, runs in undertow.isas().items() if runs]
PRECISIONS = ("float32", "int16", "int8")
V, E, H, M = 23, 6, 20, 5


def embedded(g, rng, name="ids", shape=()):
    return g.add("embedding", [g.input(name, shape, "int32")], weights={"table": rng.normal(size=(V, E))})


def recurrent(g, rng, x, n_in, op="lstm"):
    n = {"lstm": 4, "gru": 3}[op]
    w = {"W": rng.normal(size=(n, H, n_in)), "R": rng.normal(size=(n, H, H)) / 3, "b": rng.normal(size=(n, H))}
    states = [g.state(f"{op}.{s}", H) for s in ("hc" if op == "lstm" else "h")]
    out = g.add(op, [x], name=op, weights=w, states=states)
    return out[0] if isinstance(out, tuple) else out


def dense(g, rng, x, rows, n_in, scale=1.0):
    return g.add("dense", [x], weights={"W": scale * rng.normal(size=(rows, n_in)), "b": rng.normal(size=rows)})


def text_model(seed=0, shape=(), softmax=False):
    rng, g = np.random.default_rng(seed), Graph("text")
    x = g.add("reshape", [embedded(g, rng, shape=shape)], attrs={"shape": (E,)})
    z = dense(g, rng, recurrent(g, rng, x, E), V, H)
    g.output("logits", g.add("softmax", [z]) if softmax else z)
    return undertow.Model.from_graph(g)


def attending_model(seed=0):
    """Scores of 4 rows of a memory, whose mean under them joins a GRU's input; two outputs."""
    rng, g = np.random.default_rng(seed), Graph("attending")
    memory, x = g.input("memory", (4, M)), embedded(g, rng)
    before = g.add("state_read", states=[g.state("query", M)])
    scores = g.add("matmul", [memory, g.add("reshape", [before], attrs={"shape": (M, 1)})])
    shares = g.add("softmax", [g.add("reshape", [scores], attrs={"shape": (1, 4)})])
    mean = g.add("reshape", [g.add("matmul", [shares, memory])], attrs={"shape": (M,)})
    h = recurrent(g, rng, g.add("concat", [x, mean]), E + M, "gru")
    g.add("state_write", [dense(g, rng, h, M, H)], states=["query"])
    g.output("shares", shares)
    g.output("logits", dense(g, rng, h, V, H))
    return undertow.Model.from_graph(g)


def transducer_models(seed=0, blank_bias=2.0, blank=0):
    rng, g = np.random.default_rng(seed), Graph("predictor")
    g.output("prediction", dense(g, rng, recurrent(g, rng, embedded(g, rng), E), H, H, 0.5))
    j = Graph("joiner")
    both = j.add("add", [j.input("enc", H), j.input("pred", H)])
    w = {"W": rng.normal(size=(V, H)), "b": np.eye(V)[blank] * blank_bias}
    j.output(
        "logits", j.add("dense", [j.add("activation", [both], attrs={"activation": Activation("tanh")})], weights=w)
    )
    return undertow.Model.from_graph(g), undertow.Model.from_graph(j)


def frames(n, seed=3):
    return np.random.default_rng(seed).normal(size=(n, H)).astype(np.float32)


# -- the plain loops --------------------------------------------------------------------------------------------------


class Plain:
    """A stream that gives logits as an array (V,), of a model with any inputs."""

    def __init__(self, stream, ids="ids", logits="logits", **fixed):
        self.stream, self.ids, self.logits, self.fixed = stream, ids, logits, fixed

    def __call__(self, id):
        shape = self.stream.model.inputs[self.ids].shape
        y = self.stream.step({self.ids: np.full(shape, id, np.int32), **self.fixed})
        return (y[self.logits] if isinstance(y, dict) else y).reshape(-1)

    def fork(self):
        return Plain(self.stream.fork(), self.ids, self.logits, **self.fixed)


def log_softmax(z):
    d = z.astype(np.float64) - z.max()
    return d - np.log(np.exp(d).sum())


def plain_greedy(step, prompt, steps, end=None):
    ids = []
    for id in prompt[:-1]:
        step(id)
    id = prompt[-1]
    while len(ids) < steps and not (ids and id == end):
        id = int(step(id).argmax())
        ids.append(id)
    return ids


def plain_choice(z, temperature, top_k, top_p, u):
    z = z.astype(np.float64)
    kept = np.lexsort((np.arange(len(z)), -z))[: top_k or len(z)]
    w = np.zeros(len(z))
    w[kept] = np.exp((z[kept] - z.max()) / temperature)
    if top_p is not None:
        total, n = w.sum(), 0
        while n < len(kept) and w[kept[:n]].sum() < top_p * total:
            n += 1
        w[kept[n:]] = 0
    return int(np.flatnonzero(np.cumsum(w) > u * np.cumsum(w)[-1])[0])


def plain_sample(step, prompt, steps, seed, temperature=1.0, top_k=None, top_p=None, end=None):
    rng, ids = np.random.default_rng(seed), []
    for id in prompt[:-1]:
        step(id)
    id = prompt[-1]
    while len(ids) < steps and not (ids and id == end):
        id = plain_choice(step(id), temperature, top_k, top_p, rng.random())
        ids.append(id)
    return ids


def plain_beam(step, prompt, end, width, steps, penalty=0.0):
    for id in prompt[:-1]:
        step(id)
    beams = [((), 0.0, 0.0, step, prompt[-1])]
    for n in range(1, steps + 1):
        if n > 1 and all(last == end for *_, last in beams):
            break
        candidates = []
        for parent, (ids, score, rank, at, last) in enumerate(beams):
            if ids and last == end:
                candidates.append((-rank, parent, -1, ids, score, at))
                continue
            at = at.fork()
            d = log_softmax(at(last))
            for id in range(len(d)):
                sum_ = score + d[id]
                candidates.append((-sum_ / n**penalty, parent, id, (*ids, id), sum_, at))
        best = sorted(candidates, key=lambda c: c[:3])[:width]
        beams = [(ids, score, -rank, at, end if id < 0 else id) for rank, _, id, ids, score, at in best]
    return [(list(ids), score) for ids, score, *_ in beams]


def plain_transducer(step, join, X, blank, max_symbols, start):
    prediction, ids = step(start), []
    for x in X:
        for _ in range(max_symbols):
            id = int(join(x, prediction).argmax())
            if id == blank:
                break
            ids.append(id)
            prediction = step(id)
    return ids


def plain_transducer_beam(step, join, X, blank, max_symbols, start, width, merge):
    beams = [((), 0.0, step, step(start))]
    for x in X:
        waiting = [True] * len(beams)
        for n in range(1, max_symbols + 1):
            candidates = []
            for parent, (_, score, _, prediction) in enumerate(beams):
                if not waiting[parent]:
                    candidates.append((-score, parent, -1))
                    continue
                d = log_softmax(join(x, prediction))
                candidates += [(-(score + d[id]), parent, id) for id in range(len(d))]
            following, waiting_next = [], []
            for score, parent, id in sorted(candidates)[:width]:
                ids, _, at, prediction = beams[parent]
                if id not in (-1, blank):
                    at = at.fork()
                    ids, prediction = (*ids, id), at(id)
                following.append((ids, -score, at, prediction))
                waiting_next.append(id not in (-1, blank) and n < max_symbols)
            beams, waiting = following, waiting_next
            if not any(waiting):
                break
        if merge:
            texts = {}
            for ids, score, at, prediction in beams:
                before = texts.get(ids)
                texts[ids] = (ids, score if before is None else np.logaddexp(before[1], score), at, prediction)
            beams = sorted(texts.values(), key=lambda b: -b[1])
    return [(list(ids), score) for ids, score, *_ in beams]


def check_hypotheses(ours, plain):
    assert [h.ids.tolist() for h in ours] == [ids for ids, _ in plain]
    assert all(h.ids.dtype == np.int32 for h in ours)
    np.testing.assert_allclose([h.score for h in ours], [score for _, score in plain], rtol=1e-12, atol=1e-12)


# -- the same text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_text_as_plain_loops(isa, precision):
    model = text_model()
    if precision != "float32":
        model = model.with_weights(precision)
    model = undertow.Model.from_graph(model.graph, isa)
    step = lambda: Plain(model.stream())  # noqa: E731
    assert decode.greedy(model, 3, 200).tolist() == plain_greedy(step(), [3], 200)
    for how in ({}, {"temperature": 0.6}, {"top_k": 4}, {"top_p": 0.7}, {"temperature": 1.7, "top_k": 9, "top_p": 0.8}):
        assert decode.sample(model, 3, 200, seed=5, **how).tolist() == plain_sample(step(), [3], 200, 5, **how), how
    check_hypotheses(decode.beam(model, [4, 1], 7, 4, 30), plain_beam(step(), [4, 1], 7, 4, 30))


def test_isas_give_the_same_ids():
    graph = text_model(2).graph
    models = [undertow.Model.from_graph(graph, isa) for isa in ISAS]
    assert len({decode.sample(m, 1, 300, temperature=0.9, top_p=0.95, seed=8).tobytes() for m in models}) == 1
    assert len({tuple(h.score for h in decode.beam(m, 1, width=5, steps=40)) for m in models}) == 1


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_ids_of_any_shape_of_one_element(shape):
    model = text_model(shape=shape)
    assert decode.greedy(model, [1, 2, 3], 50).tolist() == plain_greedy(Plain(model.stream()), [1, 2, 3], 50)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_layers_that_remember_frames(cell):
    """Windows over the past move along in a state, which hypotheses copy."""
    rng = np.random.default_rng(len(cell))
    W, R = (rng.normal(size=({"rnn": 1, "gru": 3, "lstm": 4}[cell], H, n)) / np.sqrt(n) for n in (E, H))
    layer = {
        "rnn": lambda: undertow.RNN(W, R),
        "gru": lambda: undertow.GRU(W, R, reset_after=False),
        "lstm": lambda: undertow.LSTM(W, R),
    }[cell]()
    past = [undertow.Conv1D(rng.normal(size=(4, E, E)), padding="causal") for _ in range(2)]
    last = undertow.Dense(3 * rng.normal(size=(V, H)))
    model = undertow.Sequential([undertow.Embedding(rng.normal(size=(V, E))), *past, layer, last])
    step = lambda: Plain(model.stream(), "input", "output")  # noqa: E731
    assert decode.greedy(model, 3, 100).tolist() == plain_greedy(step(), [3], 100)
    check_hypotheses(decode.beam(model, [4, 1], 7, 5, 25), plain_beam(step(), [4, 1], 7, 5, 25))
    texts = decode.batch(model, [[1, 2], 5, 9], 30, temperature=1.0, seed=1)
    for prompt, seed, ids in zip([[1, 2], [5], [9]], np.random.default_rng(1).spawn(3), texts, strict=True):
        assert ids.tolist() == plain_sample(step(), prompt, 30, seed)


def test_ids_as_the_place_of_a_one():
    """The rows of a table, picked by W x in place of an embedding."""
    rng, table = np.random.default_rng(3), np.random.default_rng(4).normal(size=(V, E)).astype(np.float32)
    W, R = rng.normal(size=(4, H, E)), rng.normal(size=(4, H, H)) / 3
    rest = [undertow.LSTM(W, R), undertow.Dense(3 * rng.normal(size=(V, H)))]
    hot = undertow.Sequential([undertow.Dense(table.T), *rest])
    ids = undertow.Sequential([undertow.Embedding(table), *rest])
    given = {"input": "input"}
    assert decode.greedy(hot, [3, 1, 2], 80, **given).tolist() == decode.greedy(ids, [3, 1, 2], 80).tolist()
    how = {"temperature": 0.9, "seed": 3}
    assert decode.sample(hot, 3, 80, **how, **given).tolist() == decode.sample(ids, 3, 80, **how).tolist()
    for a, b in zip(decode.beam(hot, [3, 1], 5, 4, 30, **given), decode.beam(ids, [3, 1], 5, 4, 30), strict=True):
        assert a.ids.tolist() == b.ids.tolist() and a.score == b.score
    starts = [[1, 2], 3, [4, 5, 6]]
    for a, b in zip(decode.batch(hot, starts, 30, end=7, **given), decode.batch(ids, starts, 30, end=7), strict=True):
        assert a.tolist() == b.tolist()
    with pytest.raises(ValueError, match=r"no input of one id, .*; input= names one of float32 that takes 1"):
        decode.greedy(hot)
    with pytest.raises(ValueError, match="start has the id 23: input input takes 0 to 22"):
        decode.greedy(hot, 23, **given)


@pytest.mark.parametrize("width", [1, 3])
def test_a_predictor_that_takes_the_place_of_a_one(width):
    rng, (_, joiner) = np.random.default_rng(3), transducer_models()
    table = rng.normal(size=(V, E)).astype(np.float32)
    cell = undertow.GRU(rng.normal(size=(3, H, E)), rng.normal(size=(3, H, H)) / 3, reset_after=False)
    hot, ids = (undertow.Sequential([first, cell]) for first in (undertow.Dense(table.T), undertow.Embedding(table)))
    texts = []
    for predictor, given in ((hot, {"input": "input"}), (ids, {})):
        t = decode.Transducer(predictor, joiner, width=width, max_symbols=3, **given)
        t.push(frames(30))
        texts.append([h.ids.tolist() for h in t.hypotheses])
    assert texts[0] == texts[1] and len(set(texts[0][0])) > 3


def test_models_that_see_what_is_to_come_are_refused():
    rng = np.random.default_rng(0)
    table, dense = undertow.Embedding(rng.normal(size=(V, E))), undertow.Dense(rng.normal(size=(V, E)))
    ahead = undertow.Sequential([table, undertow.Conv1D(rng.normal(size=(3, E, E)), padding="same"), dense])
    both = undertow.Sequential([
        table,
        undertow.Bidirectional(*(undertow.RNN(np.ones((H, E)), np.eye(H), reverse=r) for r in (False, True))),
        undertow.Dense(rng.normal(size=(V, 2 * H))),
    ])  # fmt: skip
    for call in (decode.greedy, decode.beam, lambda m: decode.batch(m, [1])):
        with pytest.raises(ValueError, match="looks 1 frames ahead: it cannot be fed what it says"):
            call(ahead)
        with pytest.raises(undertow.UnsupportedError, match="backward"):
            call(both)


def test_a_text_ends_with_its_end():
    model = text_model()
    whole = decode.greedy(model, 3, 100).tolist()
    end = whole[20]
    first = whole.index(end)
    assert decode.greedy(model, 3, 100, end=end).tolist() == whole[: first + 1]
    assert decode.greedy(model, 3, first, end=end).tolist() == whole[:first]
    never = next(id for id in range(V) if id not in whole)
    assert decode.greedy(model, 3, 100, end=never).tolist() == whole
    assert list(decode.tokens(model, 3, end=end)) == whole[: first + 1]
    assert decode.greedy(model, 3, 0).tolist() == []


def test_a_start_that_is_the_end_too():
    """As of models of which one id stands between texts."""
    model = text_model()
    end = int(decode.greedy(model, 3, 100)[20])
    assert decode.greedy(model, end, 100, end=end).tolist() == plain_greedy(Plain(model.stream()), [end], 100, end)
    assert decode.batch(model, [end], 100, end=end)[0].tolist() == decode.greedy(model, end, 100, end=end).tolist()
    assert list(decode.tokens(model, end, 100, end=end)) == decode.greedy(model, end, 100, end=end).tolist()
    check_hypotheses(decode.beam(model, end, end, 3, 20), plain_beam(Plain(model.stream()), [end], end, 3, 20))


def test_longer_than_the_room_that_is_taken_at_first():
    model = text_model()
    assert decode.sample(model, 3, 5000, seed=1).tolist() == plain_sample(Plain(model.stream()), [3], 5000, 1)


def test_streams_go_on_from_where_they_stand():
    model = text_model()
    whole = decode.greedy(model, 3, 60)
    stream = model.stream()
    first = decode.greedy(stream, 3, 20)
    assert stream.position == 20
    snapshot = stream.snapshot()
    check_hypotheses(
        decode.beam(stream, whole[19], width=3, steps=9), plain_beam(Plain(stream.fork()), [whole[19]], None, 3, 9)
    )
    assert stream.snapshot() == snapshot and stream.position == 20
    rest = decode.greedy(stream, first[-1], 40)
    assert np.array_equal(np.concatenate([first, rest]), whole)
    stream.reset()
    pieces = decode.tokens(stream, 3)
    assert [next(pieces) for _ in range(60)] == whole.tolist()


def test_what_a_stream_keeps_can_be_undone():
    """Ids are timesteps like any other: of 9, the last 4 are kept, whether they were chosen or of a prompt."""
    model = text_model()
    stream, plain = model.stream(rewind=4), model.stream()
    ids = decode.greedy(stream, [3, 1, 4], steps=7)
    assert stream.kept == 4
    fed = [3, 1, 4, *ids.tolist()][:9]
    for id in fed[:6]:
        plain.step(np.int32(id))
    stream.rewind(3)
    for id in fed[6:]:
        np.testing.assert_array_equal(stream.step(np.int32(id)), plain.step(np.int32(id)))


def test_a_bound_on_frames_is_kept():
    g = Graph("bounded")
    rng = np.random.default_rng(0)
    logits = dense(g, rng, recurrent(g, rng, embedded(g, rng), E), V, H)
    seen = g.state("seen.at_most_6", (1,))
    seen.next = seen + 1
    g.output("logits", logits)
    model = undertow.Model.from_graph(g)
    assert model.max_frames == 6
    ids = decode.greedy(model, [1, 2], steps=5)
    assert len(ids) == 5
    stream = model.stream()
    with pytest.raises(undertow.StateError, match="has had 1 frames, and 6 more are beyond the 6"):
        decode.greedy(stream, [1, 2], steps=6)
    stream = model.stream()
    for _, id in zip(range(5), decode.tokens(stream, [1, 2]), strict=False):
        assert id == ids[_]
    with pytest.raises(undertow.UnsupportedError, match="at most 6 frames"):
        decode.beam(model, 1, width=2, steps=2, end=0)


def test_a_generator_is_drawn_from_once_for_each_id():
    model, rng = text_model(), np.random.default_rng(3)
    ids = decode.sample(model, 3, 17, seed=rng)
    assert np.array_equal(ids, decode.sample(model, 3, 17, seed=3))
    other = np.random.default_rng(3)
    other.random(17)
    assert rng.random() == other.random()
    mt = [np.random.Generator(np.random.MT19937(4)) for _ in range(2)]
    assert np.array_equal(
        decode.sample(model, 3, 9, seed=mt[0]), list(decode.tokens(model, 3, 9, temperature=1.0, seed=mt[1]))
    )


@pytest.mark.parametrize("n", [2, 64, 65, 66, 200])
def test_long_prompts(n):
    model, prompt = text_model(4), np.random.default_rng(n).integers(0, V, n)
    stream = model.stream()
    assert decode.greedy(stream, prompt, 20).tolist() == plain_greedy(Plain(model.stream()), prompt.tolist(), 20)
    assert stream.position == n + 19
    (best, *_) = decode.beam(model, prompt, width=2, steps=9)
    check_hypotheses([best], plain_beam(Plain(model.stream()), prompt.tolist(), None, 2, 9)[:1])


def test_tokens_are_those_of_the_loops():
    model = text_model()
    how = {"temperature": 0.7, "top_k": 5, "seed": 2}
    assert list(decode.tokens(model, [2, 5], 40)) == decode.greedy(model, [2, 5], 40).tolist()
    assert list(decode.tokens(model, [2, 5], 40, **how)) == decode.sample(model, [2, 5], 40, **how).tolist()
    assert all(type(id) is int for id in decode.tokens(model, 2, 5))


def test_of_equal_logits_the_lower_id():
    table = np.zeros((4, 4))
    table[0] = [1, 3, 3, 3]
    table[1] = [-0.0, 0.0, -5, 0]
    model = undertow.Sequential([undertow.Embedding(table)])
    assert decode.greedy(model, 0, 3).tolist() == [1, 0, 1]
    assert set(decode.sample(model, 0, 50, top_k=1, seed=0).tolist()) == {0, 1}
    assert [h.ids.tolist() for h in decode.beam(model, 2, width=6, steps=1)] == [[0], [1], [2], [3]]
    pairs = [h.ids.tolist() for h in decode.beam(model, 2, width=6, steps=2)]
    assert pairs == [ids for ids, _ in plain_beam(Plain(model.stream(), "input", "output"), [2], None, 6, 2)]


def test_ids_without_a_probability():
    model = undertow.Sequential(
        [undertow.Embedding(np.float32([[-np.inf, 2, -np.inf], [1, -np.inf, -np.inf], [0, 0, 0]]))]
    )
    assert decode.sample(model, 0, 6, seed=0, temperature=1e-3).tolist() == [1, 0, 1, 0, 1, 0]
    assert decode.sample(model, 0, 6, seed=0, top_k=2, temperature=1e9).tolist() == [1, 0, 1, 0, 1, 0]
    assert [(h.ids.tolist(), h.score) for h in decode.beam(model, 0, width=3, steps=4)] == [([1, 0, 1, 0], 0.0)]


def test_memories_and_outputs_by_name():
    model, rng = attending_model(), np.random.default_rng(4)
    memory = rng.normal(size=(4, M)).astype(np.float32)
    step = lambda: Plain(model.stream(), memory=memory)  # noqa: E731
    given = {"output": "logits", "inputs": {"memory": memory}}
    assert decode.greedy(model, 1, 80, **given).tolist() == plain_greedy(step(), [1], 80)
    assert decode.sample(model, 1, 80, seed=1, **given).tolist() == plain_sample(step(), [1], 80, 1)
    check_hypotheses(decode.beam(model, 1, 2, 4, 25, **given), plain_beam(step(), [1], 2, 4, 25))
    other = {"output": "logits", "inputs": {"memory": -memory}}
    assert decode.greedy(model, 1, 80, **other).tolist() != plain_greedy(step(), [1], 80)
    expected, tokens = plain_greedy(step(), [1], 80), decode.tokens(model, 1, 80, **given)
    memory[:] = 7  # after it was given
    assert list(tokens) == expected


# -- several texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 70])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_texts_in_company_are_those_alone(n, precision):
    model = text_model()
    if precision != "float32":
        model = model.with_weights(precision)
    rng = np.random.default_rng(n)
    starts = [rng.integers(0, V, size=rng.integers(1, 9)).tolist() for _ in range(n)]
    end = int(decode.sample(model, starts[0], 20, seed=1)[-1])
    together = decode.batch(model, starts, 40, end=end)
    assert [ids.tolist() for ids in together] == [decode.greedy(model, s, 40, end=end).tolist() for s in starts]
    how = {"temperature": 0.8, "top_k": 11, "top_p": 0.95}
    together = decode.batch(model, starts, 40, end=end, seed=4, **how)
    seeds = np.random.default_rng(4).spawn(n)
    alone = [decode.sample(model, s, 40, end=end, seed=seed, **how) for s, seed in zip(starts, seeds, strict=True)]
    assert [ids.tolist() for ids in together] == [ids.tolist() for ids in alone]
    assert n < 3 or len({len(ids) for ids in alone}) > 1


def test_each_text_has_a_memory_of_its_own_or_all_have_one():
    model, rng = attending_model(), np.random.default_rng(4)
    memories = rng.normal(size=(9, 4, M)).astype(np.float32)
    starts, how = rng.integers(0, V, 9), {"output": "logits", "end": 3}
    alone = [decode.greedy(model, s, 30, inputs={"memory": m}, **how) for s, m in zip(starts, memories, strict=True)]
    together = decode.batch(model, starts, 30, inputs={"memory": memories}, **how)
    assert [ids.tolist() for ids in together] == [ids.tolist() for ids in alone]
    assert len({len(ids) for ids in alone}) > 1
    one = decode.batch(model, starts, 30, inputs={"memory": memories[0]}, **how)
    assert [ids.tolist() for ids in one] == [
        decode.greedy(model, s, 30, inputs={"memory": memories[0]}, **how).tolist() for s in starts
    ]
    with pytest.raises(undertow.ShapeError, match=r"memory must be float32 with shape \(9, 4, 5\)"):
        decode.batch(model, starts, inputs={"memory": memories[:4]}, **how)


def test_batches_that_are_refused():
    model = numbers_that_go_wrong()
    with pytest.raises(undertow.DecodeError, match=r"starts\[1\], step 2: output holds NaN") as said:
        decode.batch(model, [4, 1], 9)
    assert said.value.ids.tolist() == [2, 3]
    for starts, error, words in (
        ([], ValueError, "starts is empty"),
        ([[1], []], ValueError, r"starts\[1\]: start is empty"),
        ([1, 6], ValueError, r"starts\[1\]: start has the id 6: input input takes 0 to 5"),
        ([1, "a"], TypeError, r"starts\[1\]: start must be"),
        (3, TypeError, "starts must be a sequence of ids or of prompts, got int"),
    ):
        with pytest.raises(error, match=words):
            decode.batch(model, starts)
    with pytest.raises(TypeError, match=r"expected an undertow.Model, got Stream"):
        decode.batch(model.stream(), [1])
    assert [ids.size for ids in decode.batch(model, [1, 2], 0)] == [0, 0]


# -- beams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_beams_of_any_width(width, penalty):
    model = text_model(width)
    ours = decode.beam(model, 3, 5, width, 20, length_penalty=penalty)
    check_hypotheses(ours, plain_beam(Plain(model.stream()), [3], 5, width, 20, penalty))
    assert all((h.ids[:-1] != 5).all() for h in ours)


def test_a_beam_of_one_is_greedy():
    model = text_model()
    (only,) = decode.beam(model, 3, width=1, steps=100)
    assert only.ids.tolist() == decode.greedy(model, 3, 100).tolist()


def test_probabilities_are_taken_as_such():
    logits, softmax = text_model(6), text_model(6, softmax=True)
    a, b = (decode.beam(m, 3, 5, 4, 20) for m in (logits, softmax))
    assert [h.ids.tolist() for h in a] == [h.ids.tolist() for h in b]
    np.testing.assert_allclose([h.score for h in a], [h.score for h in b], rtol=1e-5)
    assert np.array_equal(
        decode.sample(logits, 3, 60, temperature=0.7, seed=2), decode.sample(softmax, 3, 60, temperature=0.7, seed=2)
    )
    as_logits = decode.sample(softmax, 3, 60, temperature=0.7, seed=2, probabilities=False)
    assert as_logits.tolist() == plain_sample(Plain(softmax.stream()), [3], 60, 2, 0.7)


# -- transducers ------------------------------------------------------------------------------------------------------


def models_and_plain(seed=0, blank=0):
    predictor, joiner = transducer_models(seed, blank=blank)
    stream = joiner.stream()
    return predictor, joiner, Plain(predictor.stream()), lambda x, p: stream.step({"enc": x, "pred": p})


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("max_symbols", [1, 3])
def test_transducers_give_the_text_of_plain_loops(isa, precision, max_symbols):
    models = transducer_models()
    if precision != "float32":
        models = [m.with_weights(precision) for m in models]
    predictor, joiner = (undertow.Model.from_graph(m.graph, isa) for m in models)
    stream, X = joiner.stream(), frames(60)
    join = lambda x, p: stream.step({"enc": x, "pred": p})  # noqa: E731
    expected = plain_transducer(Plain(predictor.stream()), join, X, 0, max_symbols, 0)
    t = decode.Transducer(predictor, joiner, max_symbols=max_symbols)
    assert t.push(X).tolist() == expected and t.ids.tolist() == expected and len(set(expected)) > 5
    for merge in (False, True):
        t = decode.Transducer(predictor, joiner, width=4, max_symbols=max_symbols, merge=merge)
        t.push(X[:25])
        plain = plain_transducer_beam(Plain(predictor.stream()), join, X[:25], 0, max_symbols, 0, 4, merge)
        check_hypotheses(t.hypotheses, plain)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_frames_as_they_come(width):
    predictor, joiner, *_ = models_and_plain(1)
    X = frames(50)
    whole = decode.Transducer(predictor, joiner, width=width, max_symbols=2)
    settled = whole.push(X)
    t = decode.Transducer(predictor, joiner, width=width, max_symbols=2)
    parts = [t.push(x) for x in X[:20]] + [t.push(X[20:20])] + [t.push(X[20:33]), t.push(X[33:])]
    assert np.concatenate(parts).tolist() == settled.tolist()
    assert t.n_frames == whole.n_frames == 50
    for a, b in zip(t.hypotheses, whole.hypotheses, strict=True):
        assert a.ids.tolist() == b.ids.tolist() and (a.score == b.score or width == 1)
        assert a.ids[: len(settled)].tolist() == settled.tolist()
    best = t.ids
    assert np.concatenate([settled, t.finish()]).tolist() == best.tolist()
    assert t.finish().size == 0 and len(t.hypotheses) == 1


@pytest.mark.parametrize("width", [1, 3])
def test_forks_and_resets(width):
    predictor, joiner, *_ = models_and_plain(2)
    X = frames(40)
    t = decode.Transducer(predictor, joiner, width=width, max_symbols=2)
    t.push(X[:20])
    other = t.fork()
    other.push(frames(5, seed=9))
    t.push(X[20:])
    whole = decode.Transducer(predictor, joiner, width=width, max_symbols=2)
    whole.push(X)
    assert t.ids.tolist() == whole.ids.tolist() and other.n_frames == 25
    other.reset()
    assert other.ids.size == 0 and other.n_frames == 0
    other.push(X)
    assert other.ids.tolist() == whole.ids.tolist()
    np.testing.assert_equal([h.score for h in other.hypotheses], [h.score for h in whole.hypotheses])


def test_a_blank_that_is_last_and_a_start_of_its_own():
    predictor, joiner, step, join = models_and_plain(3, blank=V - 1)
    X = frames(30)
    t = decode.Transducer(predictor, joiner, blank=V - 1, start=4, max_symbols=2)
    assert t.push(X).tolist() == plain_transducer(step, join, X, V - 1, 2, 4)


def test_the_input_of_frames_is_told_by_name_or_order():
    predictor, _ = transducer_models()
    X = frames(9)
    texts = []
    for names in (("enc", "dec"), ("dec_out", "enc_out"), ("a", "b")):
        j, rng = Graph("joiner"), np.random.default_rng(1)
        values = {name: j.input(name, H) for name in names}
        frame = next((n for n in names if n.startswith("enc")), names[0])
        other = next(n for n in names if n != frame)
        mixed = j.add("concat", [values[frame], values[other]])
        j.output("logits", dense(j, rng, mixed, V, 2 * H))
        joiner = undertow.Model.from_graph(j)
        texts.append(decode.Transducer(predictor, joiner, max_symbols=2).push(X).tolist())
        texts.append(decode.Transducer(predictor, joiner, encoder=frame, max_symbols=2).push(X).tolist())
    assert texts.count(texts[0]) == 6 and texts[0]
    swapped = decode.Transducer(predictor, joiner, encoder="b", max_symbols=2).push(X).tolist()
    assert swapped != texts[0]


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 1000])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0, 2000.0])
def test_log_probabilities_are_those_of_float64(n, spread):
    z = (np.random.default_rng(n).normal(size=n) * spread).astype(np.float32)
    ours = log_probabilities_of(z)
    np.testing.assert_allclose(ours, log_softmax(z), rtol=4e-16, atol=1e-15)
    p = np.exp(log_softmax(z)).astype(np.float32)
    if p.min() > 1e-30:
        np.testing.assert_allclose(
            log_probabilities_of(p, True), np.log(p / p.sum(dtype=np.float64)), rtol=1e-14, atol=1e-13
        )


def test_the_bits_of_log_probabilities_are_the_same_everywhere():
    z = np.random.Generator(np.random.PCG64(1)).integers(-(2**20), 2**20, 4096).astype(np.float32) / 2**15
    digest = hashlib.sha256(log_probabilities_of(z).astype("<f8").tobytes()).hexdigest()
    assert digest == DIGEST


DIGEST = "4b978a72ab049ecf2565aa4e2046dc96f060e56f7b99169200b445152d2c9c29"


@pytest.mark.parametrize("z", [[np.nan, 1], [np.inf, 1], [-np.inf, -np.inf]])
def test_what_says_nothing_has_no_log_probabilities(z):
    assert log_probabilities_of(np.float32(z)) is None
    assert log_probabilities_of(np.float32([0, 0]), True) is None
    assert log_probabilities_of(np.float32([-0.5, 1]), True) is None


# -- what is refused --------------------------------------------------------------------------------------------------


def numbers_that_go_wrong(at=3, value=np.nan):
    """0 -> 1 -> 2 ..., until id `at` gives nothing."""
    table = np.roll(np.eye(6), 1, axis=1)
    table[at] = value
    return undertow.Sequential([undertow.Embedding(table)])


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_numbers_that_say_nothing_are_refused_and_the_step_is_named(value):
    model = numbers_that_go_wrong(value=value)
    calls = [
        lambda: decode.sample(model, 0, 9, temperature=1e-2, seed=0),
        lambda: decode.beam(model, 0, width=1, steps=9),
    ]
    if np.isnan(value):
        calls.append(lambda: decode.greedy(model, 0, 9))
    for call in calls:
        with pytest.raises(
            undertow.DecodeError, match=r"step 3.*: output holds NaN, or nothing to choose from"
        ) as said:
            call()
        assert said.value.ids.tolist() == [1, 2, 3]
        assert pickle.loads(pickle.dumps(said.value)).ids.tolist() == [1, 2, 3]
    ids = decode.tokens(model, 0, temperature=1e-2)
    assert [next(ids) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(undertow.DecodeError, match="step 3"):
        next(ids)


def test_ids_that_cannot_be_fed_are_refused_unless_they_end():
    table = np.zeros((3, 5))
    table[0, 1] = table[1, 4] = 9
    model = undertow.Sequential([undertow.Embedding(table)])
    assert decode.greedy(model, 0, 9, end=4).tolist() == [1, 4]
    assert decode.beam(model, 0, 4, width=1)[0].ids.tolist() == [1, 4]
    assert decode.greedy(model, 0, 2).tolist() == [1, 4]
    with pytest.raises(
        undertow.DecodeError, match=r"step 2: output, of 5 ids, gave id 4 .* input takes 0 to 2; .*end="
    ):
        decode.greedy(model, 0, 9)
    with pytest.raises(undertow.DecodeError, match=r"step 2 of beam search: .* cannot be fed"):
        decode.beam(model, 0, width=1, steps=9)


def test_frames_that_lead_to_nan_are_refused_and_named():
    predictor, joiner, *_ = models_and_plain()
    for width in (1, 3):
        t = decode.Transducer(predictor, joiner, width=width)
        t.push(frames(4))
        X = frames(4)
        X[2, 0] = np.nan
        with pytest.raises(undertow.DecodeError, match="frame 6: the joiner's logits holds NaN"):
            t.push(X)
        assert t.n_frames == 6
        t.reset()
        t.push(frames(4))


def ids_again():
    g = Graph("again")
    g.output("same", g.input("ids", (), "int32"))
    return undertow.Model.from_graph(g)


def text_pairs():
    rng, g = np.random.default_rng(0), Graph("pairs")
    g.output("logits", g.add("reshape", [embedded(g, rng, shape=(2,))], attrs={"shape": (2 * E,)}))
    return undertow.Model.from_graph(g)


MODEL = text_model()
PREDICTOR, JOINER = transducer_models()
REFUSED = {
    "no model": (lambda: decode.greedy("x.onnx"), TypeError, "expected an undertow.Model or a Stream of one, got str"),
    "a pool": (lambda: decode.greedy(MODEL.pool(2)), TypeError, r"got Pool; batch\(model, starts\) decodes several"),
    "ids of several elements": (
        lambda: decode.greedy(text_pairs(), input="ids"),
        ValueError,
        r"input ids takes int32 \(2,\); expected one id",
    ),
    "no logits": (
        lambda: decode.greedy(ids_again()),
        ValueError,
        r"output same gives int32 \(\), expected float32: logits to choose from",
    ),
    "no ids": (
        lambda: decode.greedy(undertow.load(undertow.example("digits"))),
        ValueError,
        r"'digits' has no input of one id, int32 of one element: input takes float32 \(8,\)",
    ),
    "start out of range": (
        lambda: decode.greedy(MODEL, 23),
        ValueError,
        "start has the id 23: input ids takes 0 to 22",
    ),
    "start below": (lambda: decode.greedy(MODEL, [3, -1]), ValueError, "start has the id -1"),
    "no start": (lambda: decode.greedy(MODEL, []), ValueError, "start is empty"),
    "start of floats": (lambda: decode.greedy(MODEL, 1.5), TypeError, "whole numbers, got float64"),
    "end out of range": (lambda: decode.beam(MODEL, 0, 23), ValueError, "end is 23, expected one of 0 to 22"),
    "steps": (lambda: decode.greedy(MODEL, 0, -1), ValueError, "steps is -1"),
    "width 0": (lambda: decode.beam(MODEL, 0, width=0), ValueError, "width is 0, expected 1 to 1024"),
    "penalty": (lambda: decode.beam(MODEL, 0, length_penalty=-1), ValueError, "length_penalty is -1"),
    "temperature": (lambda: decode.sample(MODEL, temperature=0), ValueError, "temperature is 0, expected above 0"),
    "temperature NaN": (lambda: decode.sample(MODEL, temperature=float("nan")), ValueError, "temperature is nan"),
    "top_k": (lambda: decode.sample(MODEL, top_k=0), ValueError, "top_k is 0"),
    "top_p": (lambda: decode.sample(MODEL, top_p=1.5), ValueError, "top_p is 1.5"),
    "tokens without temperature": (lambda: decode.tokens(MODEL, top_k=3), ValueError, "give temperature=1.0"),
    "no such input": (
        lambda: decode.greedy(MODEL, inputs={"memory": 1}),
        KeyError,
        "expected none, got memory; ids takes",
    ),
    "no such ids": (lambda: decode.greedy(MODEL, input="x"), KeyError, "expected one of ids, got x"),
    "no such output": (lambda: decode.greedy(MODEL, output="x"), KeyError, "expected one of logits, got x"),
    "several outputs": (
        lambda: decode.greedy(attending_model(), inputs={"memory": np.zeros((4, M), np.float32)}),
        ValueError,
        "has the outputs shares, logits: say which, as output=",
    ),
    "no memory": (
        lambda: decode.greedy(attending_model(), output="logits"),
        KeyError,
        "inputs: expected memory, got none; ids takes the ids",
    ),
    "memory of another shape": (
        lambda: decode.beam(attending_model(), output="logits", inputs={"memory": np.zeros((3, M), np.float32)}),
        undertow.ShapeError,
        r"memory must be float32 with shape \(4, 5\), got float32 \(3, 5\)",
    ),
    "memory of another dtype": (
        lambda: decode.greedy(attending_model(), output="logits", inputs={"memory": np.zeros((4, M))}),
        TypeError,
        "memory must be float32",
    ),
    "blank": (
        lambda: decode.Transducer(PREDICTOR, JOINER, blank=V),
        ValueError,
        "blank is 23, expected one of 0 to 22",
    ),
    "blank below": (lambda: decode.Transducer(PREDICTOR, JOINER, blank=-1), ValueError, "blank is -1"),
    "first": (
        lambda: decode.Transducer(PREDICTOR, JOINER, start=V),
        ValueError,
        "start is 23, expected one of 0 to 22, the ids of input ids",
    ),
    "symbols": (lambda: decode.Transducer(PREDICTOR, JOINER, max_symbols=0), ValueError, "max_symbols is 0"),
    "width": (lambda: decode.Transducer(PREDICTOR, JOINER, width=0), ValueError, "width is 0"),
    "joiner with states": (lambda: decode.Transducer(PREDICTOR, MODEL), ValueError, "has the states lstm.h, lstm.c"),
    "one input": (
        lambda: decode.Transducer(PREDICTOR, JOINER, inputs={"enc": frames(1)[0]}),
        ValueError,
        "has 1 inputs beside inputs=: pred; expected two",
    ),
    "unknown input": (lambda: decode.Transducer(PREDICTOR, JOINER, inputs={"x": 1}), KeyError, "neither .* has x"),
    "unknown encoder": (
        lambda: decode.Transducer(PREDICTOR, JOINER, encoder="x"),
        KeyError,
        "expected one of enc, pred",
    ),
    "predictor": (lambda: decode.Transducer(JOINER, JOINER), ValueError, "'joiner' has no input of one id"),
    "prediction of another size": (
        lambda: decode.Transducer(MODEL, JOINER),
        undertow.ShapeError,
        r"the joiner's input pred takes float32 \(20,\), but the predictor's output logits is float32 \(23,\)",
    ),
    "frames": (
        lambda: decode.Transducer(PREDICTOR, JOINER).push(np.zeros((3, 4), np.float32)),
        undertow.ShapeError,
        r"enc must be float32 with shape \(T, 20\), got float32 \(3, 4\)",
    ),
    "frames of doubles": (
        lambda: decode.Transducer(PREDICTOR, JOINER).push(np.zeros((3, H))),
        TypeError,
        "enc must be",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_refused(what):
    call, error, words = REFUSED[what]
    with pytest.raises(error, match=words):
        call()


def test_inputs_of_ids_are_told_apart():
    rng, g = np.random.default_rng(0), Graph("two")
    both = g.add("concat", [embedded(g, rng, "ids"), embedded(g, rng, "speaker")])
    g.output("logits", dense(g, rng, recurrent(g, rng, both, 2 * E), V, H))
    model = undertow.Model.from_graph(g)
    with pytest.raises(ValueError, match="ids, speaker take ids: say which is fed what the model says, as input='ids'"):
        decode.greedy(model)
    with pytest.raises(KeyError, match="expected speaker, got none"):
        decode.greedy(model, input="ids")
    with pytest.raises(ValueError, match="speaker holds ids of 0 to 22, got 99"):
        decode.greedy(model, inputs={"speaker": 99})
    step = Plain(model.stream(), speaker=np.int32(4).reshape(()))
    expected = plain_greedy(step, [2], 30)
    assert decode.greedy(model, 2, 30, inputs={"speaker": 4}).tolist() == expected
    assert decode.greedy(model, 2, 30, input="ids", inputs={"speaker": np.int64(4)}).tolist() == expected


def test_a_pending_proposal_is_refused():
    stream = MODEL.stream()
    stream.propose(np.zeros((), np.int32))
    before = stream.position
    for call in (decode.greedy, decode.sample, decode.beam):
        with pytest.raises(undertow.StateError, match="a proposal is pending"):
            call(stream, 0)
    stream.rollback()
    assert stream.position == before - 1


def test_a_refused_call_leaves_a_stream_as_it_was():
    stream = MODEL.stream()
    decode.greedy(stream, 3, 5)
    snapshot = stream.snapshot()
    for bad in ({"start": V}, {"end": -2}, {"steps": -1}, {"output": "x"}, {"inputs": {"x": 1}}):
        with pytest.raises((ValueError, KeyError)):
            decode.greedy(stream, **bad)
    assert stream.snapshot() == snapshot and stream.position == 5


@pytest.mark.parametrize("width", [1, 3])
def test_one_transducer_in_several_threads_is_refused_or_whole(width):
    t, taken, errors = decode.Transducer(PREDICTOR, JOINER, width=width), [], []

    def work():
        for x in np.split(frames(400), 20):
            try:
                t.push(x)
                taken.append(len(x))
                assert len(t.hypotheses) <= width
            except RuntimeError as e:
                errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert t.n_frames == sum(taken) and len(taken) + len(errors) >= 80
    assert all("at work in another thread" in str(e) for e in errors)


def test_one_stream_in_several_threads_is_refused_or_whole():
    stream, texts, errors = MODEL.stream(), [], []

    def work():
        try:
            texts.append(decode.greedy(stream, 3, 3000))
        except RuntimeError as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(texts) + len(errors) == 4 and all(len(t) == 3000 for t in texts)
    assert all("at work in another thread" in str(e) for e in errors)
