# SPDX-License-Identifier: MIT
"""Reading a state gives a copy: it cannot be written to, and says what to write instead."""

import copy
import pickle
import re

import numpy as np
import pytest

import undertow
from networks import single
from undertow.model import Model
from undertow.states import StateArray


@pytest.fixture(params=["stream", "pool"])
def state(request):
    """A name in whose place the state of a stream stands: its view, and the field h."""
    model = Model.from_graph(single(np.random.default_rng(1), "lstm", 3, 4))
    X = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)
    name = next(iter(model.states))
    if request.param == "stream":
        stream = model.stream()
        stream.run(X)
        return {"stream": stream}, lambda: stream.state, name
    pool = model.pool(2)
    (id,) = pool.open(1)
    pool.run([id], X[None])
    return {"pool": pool, "id": id}, lambda: pool.state(id), name


def writes(h):
    yield lambda: h.__setitem__(0, 5)
    yield lambda: h.__setitem__(slice(None), 5)
    yield lambda: h[1:].__setitem__(0, 5)
    yield lambda: h.reshape(2, 2).__setitem__((0, 0), 5)
    for name in ("__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__"):
        yield lambda name=name: getattr(h, name)(2)


def test_every_write_is_refused_and_changes_nothing(state):
    _, view, name = state
    before = view()[name].copy()
    for write in writes(view()[name]):
        with pytest.raises(undertow.StateError, match=r"is a read-only copy, and writing to it would change no stream"):
            write()
    for write in (lambda h: h.fill(1), lambda h: np.add(h, 1, out=h), lambda h: h.sort()):  # NumPy's own
        with pytest.raises(ValueError, match="read-only"):
            write(view()[name])
    np.testing.assert_array_equal(view()[name], before)


def test_a_state_stays(state):
    _, view, name = state
    for key in (name, name.rpartition(".")[0]):
        with pytest.raises(undertow.StateError, match="belongs to a layer and cannot be deleted"):
            del view()[key]
    with pytest.raises(KeyError, match="no state 'x'"):
        del view()["x"]
    assert name in view()


def test_a_notebook_shows_the_numbers(state):
    _, view, name = state
    h = view()[name]
    shown = re.sub(r"<[^>]*>", " ", view()._repr_html_())
    for word in (name, "(4,)", f"{h.min():.3g}", f"{h.max():.3g}", f"{np.sqrt(np.mean(h**2)):.3g}"):
        assert word in shown


def test_the_advice_works(state):
    names, view, name = state
    with pytest.raises(undertow.StateError) as error:
        view()[name][0] = 5
    take, put = re.search(r"take (h = .+?), write to h, and set (.+)$", str(error.value)).groups()
    exec(take, names)
    names["h"][0] = 5
    exec(put, names)
    assert view()[name][0] == 5
    view()[name] = 0.5 * view()[name]
    assert view()[name][0] == 2.5


def test_what_is_computed_of_it_is_an_ordinary_array(state):
    _, view, name = state
    h = view()[name]
    plain = np.array(h)
    assert isinstance(h, StateArray) and type(plain) is np.ndarray and repr(h) == repr(plain)
    for result in (
        h + 1,
        np.tanh(h),
        h.copy(),
        -h,
        h * h,
        np.concatenate([h, h]),
        h == h,
        pickle.loads(pickle.dumps(h)),
    ):
        assert type(result) is np.ndarray and result.flags.writeable
    assert type(h[0]) is np.float32 and type(h.sum()) in (np.float32, np.ndarray)
    copied = copy.deepcopy(h)
    copied[0] = 7  # nobody takes that for the state
    assert copied[0] == 7
    np.testing.assert_array_equal(view()[name], plain)


def test_a_layer_of_several_fields(state):
    _, view, name = state
    h, c = view()[name.rpartition(".")[0]]
    with pytest.raises(undertow.StateError, match=re.escape(f"[{name!r}]")):
        h[0] = 1
    with pytest.raises(undertow.StateError, match=re.escape(f"[{name[:-1] + 'c'!r}]")):
        c[0] = 1
