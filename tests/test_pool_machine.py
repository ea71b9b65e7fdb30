# SPDX-License-Identifier: MIT
"""Any sequence of calls leaves a pool as it would leave as many plain streams."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from frames import assert_same_bits, cut, frames
from networks import counter, single, zoo
from undertow import PoolError, StateError
from undertow.model import Model

MODELS = {
    "zoo": Model.from_graph(zoo()),
    "counter": Model.from_graph(counter()),
    "lstm": Model.from_graph(single(np.random.default_rng(2), "lstm", 3, 170, start=True)),
}
CAPACITY = 14


class Machine(RuleBasedStateMachine):
    @initialize(name=st.sampled_from(sorted(MODELS)), threads=st.integers(1, 3))
    def start(self, name, threads):
        self.model = MODELS[name]
        self.pool = self.model.pool(CAPACITY, threads)
        self.streams, self.pending, self.closed, self.seed = {}, {}, set(), 0

    def teardown(self):
        if hasattr(self, "pool"):
            self.pool.shutdown()

    def frames(self, *lead):
        self.seed += 1
        return frames(self.model, *lead, seed=self.seed)

    def some(self, data, ids, least=1):
        """Some of these ids, in any order, without repeats."""
        return data.draw(st.lists(st.sampled_from(sorted(ids)), min_size=least, unique=True), label="ids")

    @property
    def settled(self):
        return sorted(set(self.streams) - set(self.pending))

    def adopt(self, ids, streams):
        for i, stream in zip(map(int, ids), streams, strict=True):
            assert i not in self.streams and i not in self.closed
            self.streams[i] = stream

    @rule(n=st.integers(0, CAPACITY))
    def open(self, n):
        if n > CAPACITY - len(self.streams):
            with pytest.raises(PoolError):
                self.pool.open(n)
        else:
            self.adopt(self.pool.open(n), [self.model.stream() for _ in range(n)])

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def close(self, data):
        ids = self.some(data, self.streams)
        self.pool.close(ids)
        self.closed.update(ids)
        for i in ids:
            del self.streams[i]
            self.pending.pop(i, None)

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def step(self, data):
        ids = self.some(data, self.settled)
        X = self.frames(len(ids))
        Y = self.pool.step(np.array(ids), X)
        for row, i in enumerate(ids):
            assert_same_bits(cut(Y, row), self.streams[i].step(cut(X, row)))

    @precondition(lambda self: self.settled)
    @rule(data=st.data(), T=st.integers(0, 9))
    def run_frames(self, data, T):
        ids = self.some(data, self.settled)
        X = self.frames(len(ids), T)
        Y = self.pool.run(ids, X)
        for row, i in enumerate(ids):
            assert_same_bits(cut(Y, row), self.streams[i].run(cut(X, row)))

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def propose(self, data):
        ids = self.some(data, self.settled)
        X = self.frames(len(ids))
        Y = self.pool.propose(ids, X)
        for row, i in enumerate(ids):
            self.pending[i] = self.streams[i].fork()
            assert_same_bits(cut(Y, row), self.streams[i].step(cut(X, row)))

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), keep=st.booleans())
    def settle(self, data, keep):
        ids = self.some(data, self.pending)
        if keep:
            self.pool.commit(ids)
        else:
            self.pool.rollback(ids)
        for i in ids:
            before = self.pending.pop(i)
            if not keep:
                self.streams[i] = before

    @precondition(lambda self: self.settled and len(self.streams) < CAPACITY)
    @rule(data=st.data())
    def fork(self, data):
        most = CAPACITY - len(self.streams)
        ids = data.draw(st.lists(st.sampled_from(self.settled), min_size=1, max_size=most), label="ids")
        self.adopt(self.pool.fork(ids), [self.streams[i].fork() for i in ids])

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def reset(self, data):
        ids = self.some(data, self.settled)
        self.pool.reset(ids)
        for i in ids:
            self.streams[i].reset()

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def restore(self, data):
        to, source = (data.draw(st.sampled_from(self.settled), label=what) for what in ("to", "from"))
        self.pool.restore(to, self.streams[source].snapshot())
        self.streams[to].restore(self.pool.snapshot(source))

    @precondition(lambda self: self.closed or self.pending)
    @rule(data=st.data())
    def refuse(self, data):
        wrong = data.draw(st.sampled_from(sorted(self.closed | set(self.pending))), label="wrong")
        ids = [*self.settled, wrong]
        with pytest.raises(StateError if wrong in self.pending else PoolError):
            self.pool.step(ids, self.frames(len(ids)))

    @invariant()
    def pool_is_its_streams(self):
        if not hasattr(self, "pool"):
            return
        assert len(self.pool) == len(self.streams)
        for i in self.settled:
            assert self.pool.snapshot(i) == self.streams[i].snapshot()
        assert not any(i in self.pool for i in self.closed)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_sequence_of_calls = Machine.TestCase
