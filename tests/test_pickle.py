# SPDX-License-Identifier: MIT
"""Models, streams and pools go through pickle, copy and other processes, and go on to the bit."""

import copy
import operator
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, cut, frames
from networks import GRAPHS, single, zoo
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.states import checksum

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
#: written by `write_golden`
GOLDEN = Path(__file__).parent / "data" / "golden.pickle"

WAYS = {f"pickle{n}": lambda what, n=n: pickle.loads(pickle.dumps(what, n)) for n in PROTOCOLS}
WAYS |= {"copy": copy.copy, "deepcopy": copy.deepcopy}


def gru(seed=5, isa=None):
    return Model.from_graph(single(np.random.default_rng(seed), "gru", 5, 21), isa)


def damaged(data, old, new):
    assert data.count(old) == 1 and len(old) == len(new)
    return data.replace(old, new)


# -- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_model_is_what_it_was(name, way):
    model = Model.from_graph(GRAPHS[name]())
    again = WAYS[way](model)
    assert (again.hash, again.isa, again.file_bytes) == (model.hash, model.isa, model.file_bytes)
    X = frames(model, 30)
    assert_same_bits(again.run(X), model.run(X))
    assert str(again) == str(model)


def test_a_copy_of_a_model_is_the_model():
    model = gru()
    assert copy.copy(model) is model
    assert copy.deepcopy({"a": [model]})["a"][0] is model


def test_what_an_importer_noted_travels():
    model = undertow.Sequential([undertow.RNN(np.eye(2), np.zeros((2, 2)))])
    again = pickle.loads(pickle.dumps(model))
    assert again.origin == model.origin
    assert again.origin.contents


def test_a_mapped_file_may_be_gone(tmp_path):
    path = tmp_path / "gru.tow"
    gru().save(path)
    model = undertow.load(path)
    assert model.mapped
    data = pickle.dumps(model)
    del model
    path.unlink()
    again = pickle.loads(data)
    assert not again.mapped
    X = frames(again, 9)
    assert_same_bits(again.run(X), gru().run(X))


def test_a_mapped_file_that_has_changed_is_told_where_it_is_pickled(tmp_path):
    path = tmp_path / "gru.tow"
    gru().save(path)
    model = undertow.load(path)
    with open(path, "r+b") as file:
        file.seek(-64, 2)
        file.write(b"\xaa" * 16)
    with pytest.raises(undertow.FormatError, match="damaged"):
        pickle.dumps(model)


def test_weights_of_every_precision_travel():
    for precision in ("float16", "bfloat16", "int16", "int8", "int4", "fixed8"):
        model = gru().with_weights(precision)
        again = pickle.loads(pickle.dumps(model))
        X = frames(model, 9)
        assert_same_bits(again.run(X), model.run(X), precision)


def test_a_model_that_cannot_be_streamed_travels():
    graph = single(np.random.default_rng(0), "lstm", 3, 4, reverse=True)
    model = Model.from_graph(graph)
    X = frames(model, 9)
    assert_same_bits(pickle.loads(pickle.dumps(model)).run(X), model.run(X))


def test_an_instruction_set_that_was_forced_is_forced_there(isa, monkeypatch):
    monkeypatch.delenv("UT_ISA", raising=False)
    assert pickle.loads(pickle.dumps(gru(isa=isa))).isa == isa
    assert pickle.loads(pickle.dumps(gru(isa=isa).with_weights("int8"))).isa == isa


def test_an_instruction_set_that_cannot_run_there_is_named(monkeypatch):
    monkeypatch.delenv("UT_ISA", raising=False)
    data = pickle.dumps(gru(isa="scalar"), 2)
    with pytest.raises(undertow.ISAError, match="sca1ar"):
        pickle.loads(damaged(data, b"scalar", b"sca1ar"))


def test_the_best_instruction_set_is_chosen_there(monkeypatch):
    monkeypatch.delenv("UT_ISA", raising=False)
    model = gru()
    data, small = pickle.dumps(model), pickle.dumps(model.with_weights("int8"))
    monkeypatch.setenv("UT_ISA", "scalar")
    assert pickle.loads(data).isa == "scalar"
    forced_by_environment = pickle.dumps(gru())
    monkeypatch.delenv("UT_ISA")
    assert pickle.loads(forced_by_environment).isa == pickle.loads(small).isa == model.isa


def test_bytes_may_travel_beside_the_pickle():
    model, buffers = gru(), []
    data = pickle.dumps(model, 5, buffer_callback=buffers.append)
    assert len(data) < 400
    again = pickle.loads(data, buffers=[bytearray(buffer) for buffer in buffers])
    assert not again.mapped
    X = frames(model, 9)
    assert_same_bits(again.run(X), model.run(X))


def test_pickles_of_one_model_are_alike():
    assert pickle.dumps(gru()) == pickle.dumps(gru())


@pytest.mark.parametrize("protocol", PROTOCOLS[3:])
def test_damaged_weights_are_found(protocol):
    model = gru()
    file = bytes(model._file())
    data = pickle.dumps(model, protocol)
    for at in (0, 20, 70, len(file) // 2, len(file) - 1):
        bad = bytearray(file)
        bad[at] ^= 0x10
        with pytest.raises((undertow.FormatError, undertow.UnsupportedError)):
            pickle.loads(data.replace(file, bytes(bad)))


# -- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_stream_goes_on(name, way):
    model = Model.from_graph(GRAPHS[name]())
    X = frames(model, 40)
    stream = model.stream()
    stream.run(cut(X, slice(17)))
    again = WAYS[way](stream)
    assert again is not stream
    assert again.position == 17
    tail = again.run(cut(X, slice(17, 40)))
    assert stream.position == 17, "the two are apart"
    assert_same_bits(tail, stream.run(cut(X, slice(17, 40))))
    assert again.snapshot() == stream.snapshot()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_stream_settled_on_travels(way):
    stream = gru().stream()
    stream.settle(np.zeros(5, np.float32), 50)
    settled = stream.snapshot()
    stream.run(frames(stream.model, 3))
    again = WAYS[way](stream)
    again.reset(to="settled")
    assert again.snapshot() == settled


def test_streams_of_one_model_share_it():
    model = gru()
    streams = [model.stream() for _ in range(100)]
    for again in (pickle.loads(pickle.dumps(streams)), copy.deepcopy(streams)):
        assert len({id(stream.model) for stream in again}) == 1
    assert len(pickle.dumps(streams)) < model.file_bytes + 100 * (model.state_bytes + 200)
    assert copy.deepcopy(streams)[0].model is model
    one, other = pickle.loads(pickle.dumps([streams[0], streams[0]]))
    assert one is other
    stream, its_model, pool = pickle.loads(pickle.dumps((model.stream(), model, model.pool(2))))
    assert stream.model is its_model is pool.model


def test_a_block_and_threads_travel():
    model = gru()
    assert pickle.loads(pickle.dumps(model.stream(block=1))).run(frames(model, 3)).shape == (3, 21)
    wide = Model.from_graph(single(np.random.default_rng(1), "gru", 64, 256))
    stream = undertow.Stream(wide, 0, 2, False)
    stream.run(frames(wide, 3))
    again = copy.deepcopy(stream)
    X = frames(wide, 5, seed=1)
    assert_same_bits(again.run(X), stream.run(X))
    assert again.threads == min(2, undertow._threads.usable_cpus())


def test_threads_that_are_not_there_are_done_without(monkeypatch):
    wide = Model.from_graph(single(np.random.default_rng(1), "gru", 64, 256))
    data = pickle.dumps(undertow.Stream(wide, 0, 2, False))
    monkeypatch.setattr(undertow._threads, "usable_cpus", lambda: 1)
    assert pickle.loads(data).threads == 1


def test_a_proposal_is_settled_first():
    stream = gru().stream()
    stream.propose(np.zeros(5, np.float32))
    for way in WAYS.values():
        with pytest.raises(undertow.StateError, match="a proposal is pending"):
            way(stream)
    stream.rollback()
    assert pickle.loads(pickle.dumps(stream)).position == 0


def test_a_view_of_the_state_travels_with_its_stream():
    stream = gru().stream()
    stream.run(frames(stream.model, 3))
    view = copy.deepcopy(stream.state)
    before = {name: value.copy() for name, value in stream.state.items()}
    stream.run(frames(stream.model, 3))
    assert all(np.array_equal(view[name], before[name]) for name in before)


def test_a_damaged_state_is_found():
    stream = gru().stream()
    stream.run(frames(stream.model, 3))
    snapshot = stream.snapshot()
    for at in (0, 10, len(snapshot) - 1):
        bad = bytearray(snapshot)
        bad[at] ^= 0x10
        with pytest.raises(undertow.StateError):
            pickle.loads(damaged(pickle.dumps(stream), snapshot, bytes(bad)))


def test_a_snapshot_of_another_model_is_refused():
    stream, other = gru().stream(), gru(seed=6).stream()
    make, args, _ = stream.__reduce__()
    assert make(*args).snapshot() == stream.snapshot()
    with pytest.raises(undertow.StateError, match="another model"):
        make(*other.__reduce__()[1])


def test_damaged_settings_are_found():
    make, (cls, parts, total), _ = gru().stream(block=3).__reduce__()
    for i, value in ((0, 4), (0, -1), (1, 2), (2, 1), (3, True), (5, b"settled"), (6, 17)):
        with pytest.raises(undertow.StateError, match="the stream in the pickle is damaged"):
            make(cls, (*parts[:i], value, *parts[i + 1 :]), total)


def test_a_class_made_of_stream_keeps_its_attributes():
    stream = Named(gru())
    stream.label = "left"
    stream.run(frames(stream.model, 3))
    for way in WAYS.values():
        again = way(stream)
        assert (type(again), again.label, again.snapshot()) == (Named, "left", stream.snapshot())


class Named(undertow.Stream):
    pass


def test_a_stream_at_work_is_refused_or_stands_between_two_steps():
    wide = Model.from_graph(single(np.random.default_rng(1), "gru", 64, 256))
    X = frames(wide, 300)
    stream, snapshots = wide.stream(), [wide.stream().snapshot()]
    reference = wide.stream()
    for x in X:
        reference.step(x)
        snapshots.append(reference.snapshot())
    worker = threading.Thread(target=lambda: [stream.step(x) for x in X])
    worker.start()
    copies = []
    while worker.is_alive():
        try:
            copies.append(copy.copy(stream))
        except RuntimeError as error:
            assert "at work in another thread" in str(error)
    worker.join()
    copies.append(copy.copy(stream))
    assert all(again.snapshot() == snapshots[again.position] for again in copies)


# -- pools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_pool_goes_on_with_the_same_ids(name, way):
    model = Model.from_graph(GRAPHS[name]())
    pool = model.pool(12, threads=2)
    ids = pool.open(8)
    pool.step(ids, frames(model, 8))
    pool.close(ids[[0, 3]])
    ids = np.concatenate([np.delete(ids, [0, 3]), pool.open(1)])
    again = WAYS[way](pool)
    assert (again.capacity, again.threads, again.n_open, again.advanced) == (12, 2, 7, 1)
    X = frames(model, 7, 5, seed=1)
    assert_same_bits(again.run(ids[::-1], X), pool.run(ids[::-1], X))
    assert [again.snapshot(i) for i in ids] == [pool.snapshot(i) for i in ids]


def test_a_copied_pool_has_all_its_room_and_new_ids_of_its_own():
    pool = gru().pool(5)
    ids = pool.open(4)
    pool.close(ids[[1, 2]])
    again = pickle.loads(pickle.dumps(pool))
    new, others = again.open(3), pool.open(3)
    assert again.n_open == 5
    assert not set(new) & {*others, *ids}
    with pytest.raises(undertow.PoolError, match="no stream of this pool"):
        again.snapshot(ids[1])
    with pytest.raises(undertow.PoolError, match="no room"):
        again.open()
    assert_same_bits(*(p.step(np.r_[ids[[0, 3]], n], frames(p.model, 5)) for p, n in ((again, new), (pool, others))))


def test_an_empty_pool_travels():
    again = pickle.loads(pickle.dumps(gru().pool(3)))
    assert (again.n_open, len(again.open(3))) == (0, 3)


def test_a_pool_that_cannot_be_copied_says_why():
    pool = gru().pool(3)
    ids = pool.open(2)
    pool.propose(ids[1:], np.zeros((1, 5), np.float32))
    with pytest.raises(undertow.StateError, match=f"{ids[1]} has a proposal pending"):
        pickle.dumps(pool)
    pool.commit(ids[1:])
    assert copy.copy(pool).n_open == 2
    pool.shutdown()
    with pytest.raises(undertow.PoolError, match="shut down"):
        copy.deepcopy(pool)


def test_a_pool_at_work_is_refused_or_stands_between_two_steps():
    wide = Model.from_graph(single(np.random.default_rng(1), "gru", 64, 256))
    pool, reference = wide.pool(2), wide.stream()
    ids = pool.open(2)
    X = frames(wide, 500)
    snapshots = [reference.snapshot()]
    for x in X:
        reference.step(x)
        snapshots.append(reference.snapshot())
    worker = threading.Thread(target=lambda: [pool.step(ids, np.stack([x, x])) for x in X])
    worker.start()
    copies = []
    while worker.is_alive():
        try:
            copies.append(copy.copy(pool))
        except RuntimeError as error:
            assert "at work in another thread" in str(error)
    worker.join()
    copies.append(copy.copy(pool))
    for again in copies:
        left, right = (again.snapshot(i) for i in ids)
        assert left == right
        assert left in snapshots


def test_a_damaged_pool_is_found():
    pool = gru().pool(3)
    ids = pool.open(2)
    make, (cls, parts, total), _ = pool.__reduce__()
    assert make(cls, parts, total).n_open == 2
    states = parts[3]
    bad = states[:-1] + bytes([states[-1] ^ 1])
    for i, value in ((0, 4), (1, 2), (2, ids[::-1]), (2, ids[:1]), (3, bad), (3, states[:-1]), (4, 7)):
        with pytest.raises(undertow.StateError, match="the pool in the pickle is damaged"):
            make(cls, (*parts[:i], value, *parts[i + 1 :]), total)


def test_a_pool_that_no_pool_gives_is_refused():
    pool = gru().pool(3)
    ids = pool.open(2)
    make, (cls, (capacity, threads, _, states, advanced), _), _ = pool.__reduce__()

    def made(capacity, ids, states):
        parts = capacity, threads, np.array(ids), states, advanced
        return make(cls, parts, checksum(parts))

    assert made(capacity, ids, states).n_open == 2
    for wrong in ([ids[0], ids[0]], [ids[0], -1], [ids[0], (1 << 32) + 3]):
        with pytest.raises(undertow.PoolError, match="no id of a pool or stands there twice"):
            made(capacity, wrong, states)
    for capacity, wrong, some in ((3, ids, states[:-1]), (3, ids[:1], states), (1, ids, states)):
        with pytest.raises(undertow.StateError, match="expected at most"):
            made(capacity, wrong, some)


def test_a_view_of_one_stream_of_a_pool_travels():
    pool = gru().pool(3)
    ids = pool.open(2)
    pool.step(ids, frames(pool.model, 2))
    view = pickle.loads(pickle.dumps(pool.state(ids[1])))
    assert all(np.array_equal(view[name], pool.state(ids[1])[name]) for name in view)


# -- beside them -----------------------------------------------------------------------------------------------------


def test_what_else_a_user_holds_travels():
    model = Model.from_graph(zoo())
    graph = pickle.loads(pickle.dumps(model.graph))
    assert isinstance(graph, Graph)
    assert Model.from_graph(graph).hash == Model.from_graph(model.graph).hash
    trace = pickle.loads(pickle.dumps(model.stream().trace(frames(model, 4))))
    assert trace.n_steps == 4
    for held in (model.inputs, model.states, undertow.Activation("clip", -2, 2)):
        assert pickle.loads(pickle.dumps(held)) == copy.deepcopy(held) == held
    for kind in (undertow.FormatError, undertow.LimitError, undertow.ISAError, undertow.PoolError):
        error = pickle.loads(pickle.dumps(kind("layer 'a'", "  at line 2")))
        assert (type(error), str(error)) == (kind, "layer 'a'\n  at line 2")


def test_processes_that_are_started_anew_take_models_streams_and_pools():
    model = gru()
    X = frames(model, 20)
    stream, pool = model.stream(), model.pool(2)
    stream.run(X[:5])
    ids = pool.open(2)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        whole = executor.submit(operator.methodcaller("run", X), model)
        tail = executor.submit(operator.methodcaller("run", X[5:]), stream)
        crowd = executor.submit(operator.methodcaller("step", ids, X[:2]), pool)
        back = executor.submit(copy.copy, stream)
        refused = executor.submit(operator.methodcaller("step", X), stream)
        assert_same_bits(whole.result(), model.run(X))
        assert_same_bits(crowd.result(), pool.step(ids, X[:2]))
        assert back.result().snapshot() == stream.snapshot()
        with pytest.raises(undertow.ShapeError, match=r"use run\(X\)"):
            refused.result()
    assert_same_bits(tail.result(), stream.run(X[5:]))


def write_golden():
    """Written once, by the first version that pickles: what later ones must read."""
    model = Model.from_graph(single(np.random.default_rng(5), "gru", 2, 3))
    stream, pool, X = model.stream(), model.pool(4), frames(model, 9)
    stream.settle(X[0], 5)
    ids = pool.open(3)
    pool.step(ids, X[:3])
    pool.close(ids[:1])
    stream.run(X[:4])
    held = {"stream": stream, "pool": pool, "ids": ids[1:], "X": X}
    data = pickle.dumps(held, 4)
    expected = stream.run(X[4:]), pool.step(ids[1:], X[:2]), model.run(X)
    GOLDEN.write_bytes(data + pickle.dumps(expected, 4))


def test_old_pickles_go_on():
    with open(GOLDEN, "rb") as file:
        held, (tail, crowd, whole) = pickle.load(file), pickle.load(file)
    stream, X = held["stream"], held["X"]
    assert stream.model is held["pool"].model
    assert stream.position == 4
    assert_same_bits(stream.run(X[4:]), tail)
    assert_same_bits(held["pool"].step(held["ids"], X[:2]), crowd)
    assert_same_bits(stream.model.run(X), whole)
    stream.reset(to="settled")
