# SPDX-License-Identifier: MIT
"""A program that type checkers read (test_typing.py), and that runs: most of the public API, with its types."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import undertow
from undertow import GRU, LSTM, Activation, Dense, Graph, Model, Pool, Sequential, Stream, audio, layers
from undertow.graph import Node, Register, State, Symbol, Value, dense, sigmoid
from undertow.inspect.trace import Trace
from undertow.states import StateView

Floats = NDArray[np.float32]


def models(folder: Path) -> Model:
    """Loading, asking, storing."""
    model: Model = undertow.load(undertow.example("digits"))
    name: str = model.name
    inputs: Mapping[str, Value] = model.inputs
    shape: tuple[int, ...] = inputs["input"].shape
    states: Mapping[str, State] = model.states
    sizes: list[int] = [model.state_bytes, model.scratch_bytes, model.stream_bytes, model.model_bytes, model.file_bytes]
    numbers: tuple[int, int, int] = (model.latency, model.frames_in, model.frames_out)
    rate: int | None = model.sample_rate
    parts: tuple[bytes, str, bool, bool] = (model.hash, model.isa, model.streamable, model.mapped)
    assert name and shape == (8,) and states and min(sizes) > 0 and numbers and rate is None and all(parts)
    small: Model = model.with_weights("int8")
    mixed: Model = model.with_weights({"memory": "int8", "head": {"W": "float16"}}, sparse=False)
    model.save(folder / "digits.tow")
    model.save(str(folder / "again.tow"))
    data = (folder / "digits.tow").read_bytes()
    limits = {"stream_bytes": 1 << 20}
    for source in (folder / "digits.tow", str(folder / "digits.tow"), data, bytearray(data), memoryview(data)):
        undertow.load(source, check=True, mapped=False, limits=limits, isa="scalar")
    with open(folder / "digits.tow", "rb") as file:
        undertow.load(file, weights="int8", sparse="auto")
    again: Model = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert small.n_parameters == mixed.n_parameters == again.n_parameters
    able: dict[str, bool] = undertow.isas()
    assert able["scalar"] and Path(undertow.get_include()).name == "include"
    weights: dict[str, NDArray[np.generic]] = dict(undertow.read_weights(folder / "digits.tow")) if rate else {}
    assert not weights
    written: list[Path] = undertow.export_c(model, folder / "c", name="digits")
    assert len(written) == len(undertow.export_c(str(written[0].parent.parent / "digits.tow"), folder)) == 2
    return model


def streams(model: Model) -> None:
    """One sequence."""
    x: Floats = np.zeros(8, np.float32)
    X: Floats = np.zeros((5, 8), np.float32)
    out: Floats = np.empty(10, np.float32)
    stream: Stream = model.stream(threads=1, block=1)
    y: Floats = stream.step(x)
    stream.step(x, out=out)
    stream.step({"input": x})
    Y: Floats = stream.run(X)
    last: Floats = stream.flush()
    position: int = stream.position
    snapshot: bytes = stream.snapshot()
    other: Stream = model.stream(snapshot, state={"memory": np.zeros(48, np.float32)})
    other.restore(snapshot)
    other.reset()
    other.reset(to=snapshot)
    other.reset(to={"memory.h": np.ones(48, np.float32)})
    fork: Stream = other.fork()
    taken: int = fork.settle(x, steps=10)
    fork.reset(to="settled")
    fork.propose(x)
    fork.rollback()
    fork.propose(x, out=out)
    fork.commit()
    state: StateView = fork.state
    memory: Floats = state["memory"]
    state["memory"] = memory * 0.5
    names: list[str] = list(state)
    trace: Trace = fork.trace(X)
    whole: Floats = model.run(X, state={"memory": memory}, threads=1)
    result, final = model.run_with_state(X)
    assert y.shape == (10,) and Y.shape == whole.shape == result.shape and len(last) == 0 and trace
    assert position == 8 and taken > 0 and names == list(final)
    assert (stream.model.name, stream.threads, stream.n_inputs, stream.n_outputs) == ("digits", 1, 8, 10)


def pools(model: Model) -> None:
    """Many."""
    pool: Pool = model.pool(100, threads=1)
    ids: NDArray[np.int64] = pool.open(3)
    Y: Floats = pool.step(ids, np.zeros((3, 8), np.float32))
    pool.step(ids[::-1].tolist(), np.zeros((3, 8), np.float32), out=Y)
    pool.run(ids, np.zeros((3, 4, 8), np.float32))
    pool.propose(ids, np.zeros((3, 8), np.float32))
    pool.commit(ids[:1])
    pool.rollback(ids[1:])
    forks: NDArray[np.int64] = pool.fork(ids)
    one = int(ids[0])
    snapshot: bytes = pool.snapshot(one)
    pool.restore(one, snapshot)
    pool.reset(ids, to=snapshot)
    view: StateView = pool.state(one)
    h: Floats = view["memory.h"]
    more = pool.open(1, snapshot=snapshot)
    pool.close(forks)
    assert h.shape == (48,) and one in pool and len(pool) == pool.n_open == 4 and int(more[0]) in pool
    assert (pool.capacity, pool.threads, pool.advanced) == (100, 1, 1)
    pool.shutdown()
    with model.pool(2) as short:
        short.flush(short.open(2))


def built() -> None:
    """Layers and graphs of one's own."""

    class Doubled(undertow.Layer):
        def add_to(self, graph: Graph, x: str) -> str:
            y: str = graph.add("add", [x, x])
            return y

    rng = np.random.default_rng(0)
    lstm = LSTM(rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), b=[0.0] * 8, gate_order="ifgo", name="memory")
    gru = GRU(np.zeros((6, 2)), np.zeros((6, 2)), reset_after=True)
    head = Dense([[1.0, -1.0]], activation=Activation("clip", -1, 1))
    chain: Model = Sequential([lstm, Doubled(), layers.Residual(gru), head], name="chain", isa="scalar")
    y: Floats = chain.run(np.zeros((4, 3), np.float32))
    torch_names = {"w.weight": np.eye(2), "w.bias": np.zeros(2)}
    dense: Dense = Dense.from_torch(torch_names, "w", activation="relu")
    graph: Graph = undertow.build_sequential([dense])
    nodes: list[Node] = graph.nodes
    g = Graph("sum")
    x: str = g.input("x", 2)
    before: str = g.add("state_read", states=[g.state("s", (2,), np.zeros(2, np.float32))])
    total: str = g.add("add", [x, before])
    g.add("state_write", [total], states=["s"])
    g.output("y", total)
    model: Model = Model.from_graph(g, isa="scalar", limits={"multiply_adds": 100})
    assert y.shape == (4, 1) and len(nodes) == 1 and model.graph.n_parameters == 0 and g.latency == 0


def written() -> None:
    """Cells as mathematics."""

    def min_gru(x: Symbol, h: Symbol) -> tuple[Symbol, Symbol]:
        z: Symbol = sigmoid(dense(x, np.eye(2)))
        h = (1 - z) * h + z * np.array([1.0, 2.0]) * x
        return h, h

    model: Model = undertow.scan(min_gru, x=(2,), h=np.zeros(2), name="cell", isa="scalar")
    chain: Model = Sequential([undertow.Cell(min_gru, x=2, h=2), Dense(np.eye(2))])
    g = Graph("level")
    x: Symbol = g.input("x", 2)
    level: Register = g.state("level", (), constant=False)
    level.next = 0.5 * level + x.mean()
    larger: Symbol = x[0] > level.next
    g.output("y", larger * x.T)
    shape: tuple[int, ...] = x.shape
    assert shape == (2,) and list(model.states) == ["h"] and chain.outputs and g.nodes and level.before.ndim == 0


def sound(folder: Path) -> None:
    """Files, frames, spectra."""
    tone: Floats = (0.5 * np.sin(np.arange(1600) / 10)).astype(np.float32)
    cut: int = audio.write(folder / "tone.wav", tone, 16000)
    samples, rate = audio.read(folder / "tone.wav")
    mono: Floats = audio.to_mono(samples)
    loaded: Floats = audio.load(str(folder / "tone.wav"), rate=16000, channel="mix")
    frames: Floats = audio.frames(mono, 512, context=64, hop=256, pad=False)
    framer = audio.Framer(frame=160)
    pieces: list[Floats] = [framer.push(mono), framer.flush()]
    spectra: Floats = audio.stft(mono)
    back: Floats = audio.istft(spectra, 512, 256)
    joined: Floats = audio.overlap_add(frames, hop=256)
    same: Floats = audio.resample(mono, 16000, 16000)
    assert cut == 0 and rate == 16000 and len(loaded) == len(same) == 1600 and len(back) and len(joined)
    assert audio.window(4).shape == (4,) and len(pieces) == 2


def errors(model: Model) -> list[str]:
    """What can be caught, and as what."""
    seen: list[str] = []
    try:
        model.stream().step(np.zeros(3, np.float32))
    except undertow.ShapeError as error:
        seen.append(str(error))
    try:
        undertow.load(b"nothing")
    except (undertow.FormatError, undertow.UnsupportedError) as error:
        options: list[Mapping[str, object]] = list(error.options)
        seen += [str(error), *map(str, options)]
    kinds: list[type[undertow.Error]] = [
        undertow.ISAError,
        undertow.InternalError,
        undertow.LimitError,
        undertow.PoolError,
        undertow.StateError,
        undertow.ToleranceError,
    ]
    return [*seen, *(kind.__name__ for kind in kinds), undertow.ModelWarning.__name__]


def main(folder: Path) -> None:
    model = models(folder)
    streams(model)
    pools(model)
    built()
    written()
    sound(folder)
    assert errors(model)
