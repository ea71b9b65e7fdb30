# SPDX-License-Identifier: MIT
"""What every model obeys, however damaged the file was that it came from. A law that is broken is an AssertionError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import undertow
from frames import frames
from undertow.inspect import describe, drawing

#: frames that are run, and what a stream may hold and a run may write to be worth it
FRAMES = 5
MAX_BYTES = 4 << 20
#: of a file whose Graph is looked at: where elements of large frames lie in no order, that takes seconds a MiB
MAX_FILE_BYTES = 16 << 20


def obeys(model: undertow.Model, folder: Path) -> str:
    """Describe and draw a model, save and load it, and run it in every way there is; say whether it was run."""
    if model.file_bytes > MAX_FILE_BYTES:
        return "loaded, too large to look at"
    try:
        texts = [repr(model), str(model), describe.text(describe.describe(model), every=True), drawing.tables(model)]
        if len(model.graph.nodes) <= drawing.MAX_NODES:
            texts.append(drawing.dot(model))
        for text in texts:
            assert text and is_plain(text), f"a terminal would obey {text!r}"
        return _runs(model, folder)
    except undertow.Error as error:  # it was given what it asked for
        raise AssertionError(f"a model was loaded and then refused: {type(error).__name__}: {error}") from error


def runs(model: undertow.Model, folder: Path) -> str:
    """As `obeys`, but for what needs its Graph: files may say what a Graph cannot."""
    try:
        model.graph  # noqa: B018 - reading it is the test
    except undertow.Error:
        return _runs(model, folder) + ", without a Graph"
    return obeys(model, folder)


def _runs(model: undertow.Model, folder: Path) -> str:
    assert isinstance(model.name, str) and isinstance(model.source, str)
    model.save(folder / "saved.tow")
    again = undertow.load(folder / "saved.tow")
    assert again.hash == model.hash and again.file_bytes == model.file_bytes
    sizes = [v.size for v in (*model.inputs.values(), *model.outputs.values())]
    if model.stream_bytes > MAX_BYTES or 4 * FRAMES * sum(sizes) > MAX_BYTES:
        return "loaded, too large to run"
    if any(v.dtype == "int32" and not v.n_ids for v in model.inputs.values()):
        return "loaded, takes no id at all"
    X = frames(model, FRAMES, seed=1)
    Y = named(model, model.run(X))
    same(Y, named(again, again.run(X)), "a saved model gives other bits")
    if model.streamable:
        _streams(model, X, Y)
    return "loaded"


def _streams(model: undertow.Model, X: Any, Y: dict[str, np.ndarray]) -> None:
    stream = model.stream()
    start = stream.snapshot()
    whole = named(model, stream.run(X))
    flushed = [named(model, stream.flush())] if model.latency else []
    late = {name: np.concatenate([y, *(f[name] for f in flushed)])[model.latency :] for name, y in whole.items()}
    same(Y, late, "Model.run is not the stream without its latency")

    stream = model.stream()
    rows = [{k: v.copy() for k, v in named(model, stream.step(cut(X, t))).items()} for t in range(FRAMES)]
    same(whole, {name: np.stack([row[name] for row in rows]) for name in whole}, "run is not a loop of steps")
    end = stream.snapshot()

    first = model.stream()
    first.run(cut(X, slice(0, 2)))
    snapshot = first.snapshot()
    second = model.stream(snapshot, block=1)
    rest = {name: y[2:] for name, y in whole.items()}
    same(rest, named(model, second.run(cut(X, slice(2, FRAMES)))), "a stream from a snapshot gives other bits")
    assert same_bytes(second.snapshot(), end), "a stream from a snapshot ends in another state"
    first.restore(start)
    same(whole, named(model, first.run(X)), "a stream taken back to its start gives other bits")

    with model.pool(3) as pool:
        ids = pool.open(2)
        (more,) = pool.open(1, snapshot=snapshot)
        both = named(model, pool.run(ids, stacked(X, 2)))
        for i in range(2):
            same(whole, {name: y[i] for name, y in both.items()}, "a stream of a pool gives other bits")
        alone = named(model, pool.run([more], stacked(cut(X, slice(2, FRAMES)), 1)))
        same(rest, {name: y[0] for name, y in alone.items()}, "a stream of a pool from a snapshot gives other bits")
        pool.restore(int(ids[0]), snapshot)
        assert same_bytes(pool.snapshot(int(ids[0])), snapshot), "a pool gives another snapshot than it was given"


def restores(model: undertow.Model, snapshot: bytes) -> str:
    """Give a model a damaged snapshot in every way: taken by all, or refused by all and without a trace."""
    X = frames(model, FRAMES, seed=1)
    stream, other = model.stream(), model.stream()
    for s in (stream, other):
        s.run(X)
    taken = []
    with model.pool(2) as pool:
        (member,) = pool.open(1)
        for restore in (
            lambda: stream.restore(snapshot),
            lambda: pool.restore(int(member), snapshot),
            lambda: stream.reset(to=snapshot),
            lambda: model.stream(snapshot),
            lambda: pool.open(1, snapshot=snapshot),
        ):
            before = stream.snapshot(), pool.snapshot(int(member))
            try:
                restore()
                taken.append(True)
            except undertow.StateError as error:
                assert str(error)
                taken.append(False)
                assert (stream.snapshot(), pool.snapshot(int(member))) == before, "a refused snapshot has left a trace"
        assert len(set(taken)) == 1, f"taken by some and refused by others: {taken}"
        if not taken[0]:
            other.restore(other.snapshot())
            return "refused"
        assert same_bytes(pool.snapshot(int(member)), stream.snapshot())
        run = named(model, stream.run(X))
        pooled = named(model, pool.run([member], stacked(X, 1)))
        same(run, {name: y[0] for name, y in pooled.items()}, "stream and pool go on differently")
        return "restored"


def is_plain(text: str) -> bool:
    """Whether a terminal shows text and does nothing else with it."""
    return text.replace("\n", "").isprintable()


# -- comparing --------------------------------------------------------------------------------------------------------


def named(model: undertow.Model, Y: Any) -> dict[str, np.ndarray]:
    if not isinstance(Y, dict):
        Y = {next(iter(model.outputs)): Y}
    assert list(Y) == list(model.outputs), f"outputs {list(Y)}, expected {list(model.outputs)}"
    return {name: np.asarray(y) for name, y in Y.items()}


def cut(X: Any, at: Any) -> Any:
    """X[at] of an array or of every array of a dict."""
    return {name: np.array(x[at]) for name, x in X.items()} if isinstance(X, dict) else np.array(X[at])


def stacked(X: Any, n: int) -> Any:
    """X for each of n streams."""
    if isinstance(X, dict):
        return {name: np.stack([x] * n) for name, x in X.items()}
    return np.stack([X] * n)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], what: str) -> None:
    """Equal shapes and bits, but for the payload of a NaN, which is the CPU's own."""
    for name in a:
        assert a[name].shape == b[name].shape, f"{what}: {name!r} has shapes {a[name].shape} and {b[name].shape}"
        assert _bits(a[name]) == _bits(b[name]), f"{what}: {name!r}"


def _bits(y: np.ndarray) -> bytes:
    y = np.ascontiguousarray(y)
    return y.tobytes() if y.dtype != np.float32 else np.where(np.isnan(y), np.float32(np.nan), y).tobytes()


def same_bytes(a: bytes, b: bytes) -> bool:
    """Whether two snapshots are equal, but for NaN; what stands before the numbers is a multiple of their size."""
    if len(a) != len(b) or len(a) % 4:
        return a == b
    return a == b or _bits(np.frombuffer(a, np.float32)) == _bits(np.frombuffer(b, np.float32))
