# SPDX-License-Identifier: MIT
from collections.abc import Mapping
from types import TracebackType
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from .inspect.trace import Trace
from .model import Model
from .states import StateView

Frames = np.ndarray | Mapping[str, np.ndarray] | Any
Ids = Any  # integers; an int64 array is used in place

class Stream:
    """One sequence in flight over a model: it holds the hidden state and nothing that grows.

    Made by `Model.stream()`. A stream belongs to one thread at a time; a model may have any number of streams in any
    number of threads.

    Frames are float32 arrays (integer ids for an embedding) with the shape that the exported model gives one timestep.
    A model with one input takes an array, or a dict of it; one with several a dict by name. Outputs likewise.

    `pickle`, `copy.copy` and `copy.deepcopy` take a stream as its model and where it stands, with `position` and what
    `settle` found. The copy goes on from there to the bit, with as many threads, where the CPU has them; copies of
    several streams share one model. As with `snapshot`, a pending proposal is a StateError, and a stream that is at
    work in another thread a RuntimeError: between two of its steps it is copied as it stands.

    With threads=1 a step takes no lock and makes no system call. With more of them (`threads` says how many are at
    work), the caller and its helpers wait for each other by spinning; a helper that has had nothing to do for 0.1 ms
    sleeps, and waking it takes a lock and a system call. In a process that fork made, the caller does all the work.

    >>> model = undertow.load(undertow.example("digits"))
    >>> stream = model.stream()
    >>> x, X = np.zeros(8, np.float32), np.eye(8, dtype=np.float32)
    >>> stream.step(x).shape                # one frame
    (10,)
    >>> stream.run(X).shape                 # eight frames in one call
    (8, 10)
    >>> stream.reset()

    The examples of its methods go on from there.
    """

    @property
    def model(self) -> Model:
        """The `Model` whose stream it is.

        >>> stream.model is model
        True
        """
    @property
    def n_inputs(self) -> int:
        """Elements of the only input frame: 8 for a shape of (8,), 514 for (257, 2); -1 where there are several inputs.

        >>> stream.n_inputs, model.inputs["input"].shape
        (8, (8,))
        """
    @property
    def n_outputs(self) -> int:
        """Elements of the only output frame, or -1 where there are several outputs.

        >>> stream.n_outputs, model.outputs["output"].shape
        (10, (10,))
        """
    @property
    def threads(self) -> int:
        """Threads that share a step, the caller's included: 1 where more would not pay, however many were asked for.

        >>> model.stream(threads=1).threads
        1
        """
    @property
    def position(self) -> int:
        """Frames that the stream has taken since it was made, reset, restored or settled.

        A `run` that Ctrl-C ends has taken whole frames, and this many.

        >>> Y = stream.run(X)
        >>> stream.position
        8
        """
    def __new__(
        cls,
        model: Model,
        block: int = 0,
        threads: int = 1,
        measure: bool = True,
        least: int = 131072,
        gain: float = ...,
        rewind: int = 0,
    ) -> Self: ...
    def step(self, x: Frames, out: Any = None) -> Any:
        """Advance one timestep, or several where the model strides along time: `Model.frames_in` of them are a frame.

        Args:
            x: one input frame, with the shape that `Model.inputs` says, or a dict of them by name; of one number, also
                a Python number.
            out: array (or dict of arrays) to write the output frame to instead of making one.

        Returns: the output frame (`out` itself if given), or a dict of them.

        Raises:
            ShapeError: a frame has the wrong shape.
            TypeError: a frame has the wrong dtype. Nothing is converted in silence.
            StateError: a proposal is pending.
            RuntimeError: the stream is at work in another thread.

        >>> stream.step(x).shape
        (10,)
        >>> y = np.empty(10, np.float32)
        >>> stream.step(x, out=y) is y              # allocates nothing
        True
        """
    def propose(self, x: Frames, out: Any = None) -> Any:
        """Advance one timestep that may be undone; then either `commit` or `rollback` must follow.

        For decoders that look at an output before they know whether the timestep counts: transducers, beam search.
        Constant time (one copy of the state) and, with out, no allocation.

        Args, returns: as `Stream.step`.

        Raises: as `step`, and StateError: a proposal is pending already. Everything else that reads or changes the
            stream raises it too until the proposal is settled.

        >>> first = stream.propose(x)
        >>> stream.rollback()
        >>> again = stream.propose(x)
        >>> stream.commit()
        >>> bool(np.all(first == again))
        True
        """
    def commit(self) -> None:
        """Keep what `propose` did.

        Raises:
            StateError: there is no proposal.

        >>> y = stream.propose(x)
        >>> stream.commit()
        >>> stream.position
        1
        """
    def rollback(self) -> None:
        """Undo what `propose` did, to the bit.

        Raises:
            StateError: there is no proposal.

        >>> y = stream.propose(x)
        >>> stream.rollback()
        >>> stream.position
        0
        """
    def rewind(self, n: SupportsIndex = 1) -> None:
        """Go back n timesteps, as if they had not been taken.

        What follows is, to the bit, what a stream gives that never took them. For decoders that try several timesteps
        ahead, and keep as many of them as turn out right. Takes the time of one copy of the state, however long the
        stream is (of windows over time, n copies of a frame). `Model.stream(rewind=k)` keeps the last k timesteps, of
        `step` and `run` alike. A fork keeps the same ones, for one more copy of each; `reset`, `restore`, `settle`, a
        `flush` that gives frames and writing to `state` forget them, and a copy by pickle has none.

        Args:
            n: timesteps, 0 to `kept`.

        Raises:
            StateError: fewer are kept, or a proposal is pending. The stream is as it was.
            ValueError: n is negative.

        >>> draft = model.stream(rewind=4)
        >>> Y = draft.run(X[:4])
        >>> draft.rewind(3)
        >>> draft.position, bool(np.all(draft.run(X[1:4]) == Y[1:]))
        (1, True)
        """
    def run(self, X: Frames, out: Any = None) -> Any:
        """Advance T timesteps in one call, without the GIL; equal, to the bit, to T calls of `step`.

        Args:
            X: (T, *frame), or a dict of such arrays with one T.
            out: (T, *output frame), or a dict, to write to: then nothing is allocated. It may be X itself if frames
                have one size, but not overlap X, or another output, otherwise.

        Returns: (T, *output frame) (`out` itself if given), or a dict of them.

        Raises: as `step`; and KeyboardInterrupt, or what else a handler of signals raises, between frames: `position`
            says between which.

        >>> Y = stream.run(X)
        >>> Y.shape
        (8, 10)
        >>> stream.reset()
        >>> bool(np.all(Y == [stream.step(frame) for frame in X]))
        True
        """
    def flush(self, out: Any = None) -> Any:
        """End the sequence: the last `Model.latency` output frames of a model that looks ahead.

        Such a model gives output frame t with input frame t + latency, and zeros before. What run and flush give, one
        after the other, less its first `latency` frames, is `Model.run` of the whole sequence, to the bit. Reset the
        stream then. If it goes on instead, recurrent layers continue where they were, and windows over time see a gap
        of `latency` frames of zeros.

        Args:
            out: (latency, *output frame), or a dict, to write to: then nothing is allocated.

        Returns: (latency, *output frame) (`out` itself if given), or a dict of them; no frames without look-ahead.

        Raises:
            ShapeError: `out` does not fit.
            KeyboardInterrupt, or what else a handler of signals raises: reset the stream, which stands within the gap.

        >>> three = undertow.Sequential([undertow.Conv1D(np.ones((3, 1, 1)), padding="same")])   # looks one frame ahead
        >>> late = three.stream()
        >>> np.concatenate([late.run(np.ones((4, 1), np.float32)), late.flush()]).ravel()
        array([0., 2., 3., 3., 2.], dtype=float32)
        """
    def reset(self, to: bytes | str | dict[str, Any] | None = None) -> None:
        """Back to the start.

        Args:
            to: None for the model's initial state, a dict of states by layer or field name (the others start as the
                model says), "settled" for the state that `settle` found, or a snapshot.

        Raises:
            StateError: `to` belongs to another model, or "settled" was asked for before `settle`.
            KeyError, ShapeError: a state that the model does not have, or has in another shape.

        >>> stream.reset()
        >>> stream.reset({"memory": np.full(48, 0.1)})
        >>> stream.state["memory"][:2]
        array([0.1, 0.1], dtype=float32)
        """
    def settle(self, x: Frames, steps: int) -> int:
        """Reset, then take `steps` timesteps of a constant input: the state at rest, without a start-up transient.

        Stops early once a timestep leaves the state as it was. `reset(to="settled")` comes back here in one copy.

        Args:
            x: one input frame, as `step` takes it.
            steps: timesteps at most, 1 or more.

        Returns: the number of timesteps taken.

        Raises: as `step`; ValueError: `steps` is below 1; and KeyboardInterrupt, or what else a handler of signals
            raises. The stream is as it was then.

        >>> taken = stream.settle(x, 1000)
        >>> stream.reset("settled")                 # from now on, where a sequence starts
        """
    def snapshot(self) -> bytes:
        """The whole state as bytes: for `restore`, `Model.stream(snapshot)`, a file, another machine.

        Returns: the same number of bytes whatever came before: the state, and the hash of the model that it fits.

        Raises:
            StateError: a proposal is pending.

        >>> snapshot = stream.snapshot()
        >>> rest = stream.run(X)
        >>> bool(np.all(model.stream(snapshot).run(X) == rest))     # goes on to the bit
        True
        """
    def restore(self, snapshot: bytes) -> None:
        """Continue from a `snapshot`, the bytes that `Stream.snapshot` or `Pool.snapshot` gave.

        Raises:
            StateError: it is damaged or belongs to another model; the stream is as before. Or a proposal is pending.

        >>> snapshot = stream.snapshot()
        >>> Y = stream.run(X)
        >>> stream.restore(snapshot)
        >>> bool(np.all(stream.run(X) == Y))
        True
        """
    def fork(self) -> Stream:
        """A new stream of the same model, with as many threads, that continues from here.

        Returns: a `Stream`; neither changes the other.

        Raises:
            StateError: a proposal is pending.

        >>> Y = stream.run(X)
        >>> other = stream.fork()
        >>> bool(np.all(other.step(x) == stream.step(x))), other.position
        (True, 9)
        """
    @property
    def kept(self) -> int:
        """Timesteps that `rewind` can undo now, at most the k of `Model.stream(rewind=k)`.

        A `run` that Ctrl-C ends may have left fewer than k.

        >>> draft = model.stream(rewind=4)
        >>> Y = draft.run(X)
        >>> draft.kept
        4
        """
    @property
    def state(self) -> StateView:
        """The hidden state by name, to read and write: an `undertow.states.StateView`.

        `stream.state["memory.h"]` is a read-only copy of one field, float32 with the shape that `Model.states` says;
        `stream.state["memory"]` is that of a whole layer: h of an RNN or GRU, (h, c) of an LSTM, else a dict. Set what
        you read: arrays of that shape, of any float dtype.

        Raises:
            KeyError: the model has no such state. ShapeError: it has another shape.
            StateError: writing to what was read, which is a copy; or a proposal is pending.

        >>> list(stream.state)
        ['memory.h']
        >>> h = stream.state["memory"].copy()       # (48,)
        >>> h[:3] = 0.5
        >>> stream.state["memory"] = h
        >>> stream.state["memory.h"][:4]
        array([0.5, 0.5, 0.5, 0. ], dtype=float32)
        """
    def trace(self, X: Frames) -> Trace:
        """Step through `X`, and keep the state after every frame: memory grows with T, unlike anything else here.

        Args:
            X: (T, *frame), or a dict of such arrays with one T. The stream is advanced by all frames, as by `run`.

        Returns: an `undertow.inspect.trace.Trace`: state name -> (T, *shape), row t being the state after frame t, with
            `outputs` (name -> (T, *output frame)), `initial` (the state before), `plot()` and `save(path)`.

        Raises: as `step`.

        >>> trace = stream.trace(X)
        >>> trace["memory.h"].shape, trace.outputs["output"].shape
        ((8, 48), (8, 10))
        >>> figure = trace.plot("memory.png")       # needs matplotlib  # doctest: +SKIP
        """
    def _repr_html_(self) -> str: ...
    def _get_state(self, i: int) -> np.ndarray: ...
    def _set_states(self, numbers: list[int], arrays: list[np.ndarray]) -> None: ...
    def _resume(self, snapshot: bytes, settled: bytes | None, position: int) -> None: ...

class Pool:
    """Streams of one model that advance together: one read of the weights serves many of them.

    Made by `Model.pool(capacity, threads)`. A stream is known by its id, an integer that `open` or `fork` gives. An id
    is not used again until 2^31 streams later, so that of a closed stream is an error and not somebody else's stream;
    so is that of another pool, but for a chance of 1 in 2^31. Whatever is refused leaves every stream as it was.

    Every stream gives the bits that it would give alone, whatever the company, the order and the number of threads.

    A pool belongs to one thread at a time, as a stream does. Its own threads share out the streams of `step`, `run` and
    `propose`, which do not hold the GIL; in a process that fork made, the caller does all the work. Memory is taken
    when the pool is made, and given back by `shutdown`, at the end of a `with` block, or with the pool.

    `pickle`, `copy.copy` and `copy.deepcopy` take a pool as its model and its open streams, which keep their ids;
    streams that the copy opens have ids of their own. A pending proposal is a StateError, a pool that was shut down a
    PoolError.

    >>> model = undertow.load(undertow.example("digits"))
    >>> pool = model.pool(capacity=1000)            # or: with model.pool(1000) as pool
    >>> ids = pool.open(64)
    >>> x = np.zeros((64, 8), np.float32)           # a frame for each of them
    >>> pool.step(ids, x).shape
    (64, 10)

    The examples of its methods go on from there.
    """

    @property
    def model(self) -> Model:
        """The `Model` whose streams they are.

        >>> pool.model is model
        True
        """
    @property
    def capacity(self) -> int:
        """Streams that may be open at a time, for which memory is set aside.

        >>> pool.capacity
        1000
        """
    @property
    def threads(self) -> int:
        """Threads that share the streams of a call, the caller's included, as `Model.pool` was asked for them.

        >>> pool.threads
        1
        """
    @property
    def n_open(self) -> int:
        """Streams that are open, as `len(pool)` says too.

        >>> pool.n_open
        64
        """
    @property
    def advanced(self) -> int:
        """Frames that the last call of `step`, `run`, `propose` or `flush` took each of its streams on.

        All of them, unless Ctrl-C ended it: then all its streams stand behind as many frames, and this many.

        >>> Y = pool.run(ids, np.zeros((64, 5, 8), np.float32))
        >>> pool.advanced
        5
        """
    def __new__(
        cls, model: Model, capacity: SupportsIndex, threads: SupportsIndex = 1, rewind: SupportsIndex = 0
    ) -> Self: ...
    def open(
        self, n: SupportsIndex = 1, *, state: Mapping[str, Any] | None = None, snapshot: bytes | None = None
    ) -> NDArray[np.int64]:
        """Start n streams.

        Args:
            n: how many.
            state: fields to start from, by layer or field name; the others start as the model says.
            snapshot: continue from one, of a stream or of a pool.

        Returns: their ids, an int64 array (n,).

        Raises:
            PoolError: there is no room for so many, or the pool was shut down.
            StateError: the snapshot is damaged or of another model.
            KeyError, ShapeError: a state that the model does not have, or has in another shape.
            ValueError: n is negative.

        >>> more = pool.open(3, state={"memory": np.full(48, 0.1)})
        >>> more.shape, pool.n_open
        ((3,), 67)
        """
    def close(self, ids: Ids) -> None:
        """End streams, and their proposals: their places are free for others.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.

        Raises:
            PoolError: a stream is closed already, of another pool, or stands there twice.

        >>> pool.close(ids[:32])
        >>> pool.n_open, ids[0] in pool
        (32, False)
        """
    def step(self, ids: Ids, X: Frames, out: Any = None) -> Any:
        """Advance streams by one timestep, any of them in any order.

        Args:
            ids: int64 array (n,), no stream twice. Lists and other integers are converted.
            X: (n, *frame), row i for stream ids[i], or a dict of such arrays.
            out: (n, *output frame), or a dict, to write to: then nothing is allocated. It may be X itself if frames
                have one size, but not overlap X, or another output, otherwise.

        Returns: (n, *output frame) (`out` itself if given), or a dict of them.

        Raises:
            PoolError: a stream is closed or of another pool, or stands there twice.
            StateError: a stream has a proposal pending.
            ShapeError: an array has the wrong shape. TypeError: the wrong dtype.
            RuntimeError: the pool is at work in another thread.

        >>> pool.step(ids[[5, 2]], x[:2]).shape         # two of the streams
        (2, 10)
        """
    def run(self, ids: Ids, X: Frames, out: Any = None) -> Any:
        """Advance streams by T timesteps in one call; equal, to the bit, to T calls of `step`.

        Args, returns, raises: as `Pool.step`, with a time axis: `X` (n, T, *frame), `out` (n, T, *output frame); and
            KeyboardInterrupt, or what else a handler of signals raises, between frames: `advanced` says between which.

        >>> pool.run(ids, np.zeros((64, 5, 8), np.float32)).shape
        (64, 5, 10)
        """
    def flush(self, ids: Ids, out: Any = None) -> Any:
        """End the sequences of streams: the last `Model.latency` output frames of each, as `Stream.flush` gives them.

        Args:
            ids: as `step`.
            out: (n, latency, *output frame), or a dict, to write to: then nothing is allocated.

        Returns: (n, latency, *output frame) (`out` itself if given), or a dict of them.

        Raises: as `run`.

        >>> pool.flush(ids).shape                       # a model that does not look ahead has none
        (64, 0, 10)
        """
    def propose(self, ids: Ids, X: Frames, out: Any = None) -> Any:
        """Advance streams by one timestep that may be undone; then either `commit` or `rollback` must follow for each.

        Constant time (one more copy of each state) and, with out, no allocation. Until then, everything that reads or
        changes one of these streams raises StateError, except `close`.

        Args, returns, raises: as `Pool.step`.

        >>> y = pool.propose(ids, x)
        >>> likely = y.max(axis=1) > 0.5
        >>> pool.commit(ids[likely])
        >>> pool.rollback(ids[~likely])
        """
    def commit(self, ids: Ids) -> None:
        """Keep what `propose` did.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.

        Raises:
            StateError: one of them has no proposal. PoolError: as of `close`.

        >>> y = pool.propose(ids, x)
        >>> pool.commit(ids)
        """
    def rollback(self, ids: Ids) -> None:
        """Undo what `propose` did, to the bit.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.

        Raises:
            StateError: one of them has no proposal. PoolError: as of `close`.

        >>> y = pool.propose(ids, x)
        >>> pool.rollback(ids)
        >>> bool(np.all(pool.step(ids, x) == y))
        True
        """
    def rewind(self, ids: Ids, n: Any = 1) -> None:
        """Go back n timesteps, as if they had not been taken, to the bit: as `Stream.rewind`.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.
            n: timesteps, 0 to what `kept` says; or an integer for each of the streams.

        Raises:
            StateError: fewer are kept of one of them, or it has a proposal pending: then none goes back.
            ValueError: n is negative. ShapeError: there are not as many numbers as streams. PoolError: as of `close`.

        >>> with model.pool(2, rewind=4) as drafts:
        ...     both = drafts.open(2)
        ...     Y = drafts.run(both, np.ones((2, 4, 8), np.float32))
        ...     drafts.rewind(both, [1, 3])
        ...     drafts.kept(both)
        array([3, 1])
        """
    def kept(self, ids: Ids) -> NDArray[np.int64]:
        """Timesteps that `rewind` can undo now, at most the k of `Model.pool(..., rewind=k)`.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.

        Returns: int64 array (n,).

        Raises:
            PoolError: as of `close`. StateError: a stream has a proposal pending.

        >>> pool.kept(ids[:2])
        array([0, 0])
        """
    def reset(self, ids: Ids, to: bytes | dict[str, Any] | None = None) -> None:
        """Back to the start.

        Args:
            ids: as `step`.
            to: None for the model's initial state, a dict of states by layer or field name, or a snapshot.

        Raises: as `open`, and PoolError: a stream is closed, of another pool, or stands there twice. StateError: one
            has a proposal pending.

        >>> pool.reset(ids)
        >>> pool.reset(ids[:2], {"memory": np.zeros(48)})
        """
    def fork(self, ids: Ids) -> NDArray[np.int64]:
        """New streams that continue from where `ids` are; the same stream may be forked several times in a call.

        Args:
            ids: int64 array (n,), or a list, or one integer.

        Returns: the new ids, an int64 array (n,), in that order. What `rewind` keeps of a stream, its
            forks keep too, which takes a copy of each state that is kept.

        Raises:
            PoolError: there is no room for so many, or as of `close`. StateError: one has a proposal pending.

        >>> copies = pool.fork(ids[[0, 0, 1]])
        >>> copies.shape, pool.n_open
        ((3,), 67)
        """
    def snapshot(self, id: SupportsIndex) -> bytes:
        """The state of one stream as bytes, as `Stream.snapshot` gives them: streams and pools take both.

        Args:
            id: of the stream, an integer.

        Returns: bytes, for `restore`, `open(snapshot=...)` or `Model.stream`.

        Raises:
            PoolError: there is no such stream. StateError: it has a proposal pending.

        >>> alone = model.stream(pool.snapshot(ids[0]))
        >>> bool(np.all(alone.step(x[0]) == pool.step(ids[:1], x[:1])[0]))
        True
        """
    def restore(self, id: SupportsIndex, snapshot: bytes) -> None:
        """Continue one stream from a snapshot.

        Args:
            id: of the stream, an integer.
            snapshot: bytes that `Stream.snapshot` or `Pool.snapshot` gave.

        Raises:
            StateError: the snapshot is damaged or of another model, or the stream has a proposal pending.
            PoolError: there is no such stream.

        >>> pool.restore(ids[1], pool.snapshot(ids[0]))
        """
    def state(self, id: SupportsIndex) -> StateView:
        """The hidden state of one stream by name, to read and write: as `Stream.state`, an `undertow.states.StateView`.

        Args:
            id: of the stream, an integer.

        Raises:
            PoolError: there is no such stream; at once, and later if it is closed meanwhile.

        >>> pool.state(ids[0])["memory.h"].shape
        (48,)
        >>> pool.state(ids[0])["memory"] = np.zeros(48)
        """
    def _resume(self, ids: NDArray[np.int64], states: bytes, advanced: int) -> None: ...
    def shutdown(self) -> None:
        """End the pool's threads and give its memory back; whatever is asked of it afterwards is a PoolError.

        The end of a `with` block does it too. Raises RuntimeError: the pool is at work in another thread.

        >>> pool.shutdown()
        >>> pool.n_open
        0
        """
    def _repr_html_(self) -> str: ...
    def __enter__(self) -> Pool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __len__(self) -> int: ...
    def __contains__(self, id: object) -> bool: ...

class Member:
    model: Model
    def _get_state(self, i: int) -> np.ndarray: ...
    def _set_states(self, numbers: list[int], arrays: list[np.ndarray]) -> None: ...

class Call:
    model: Model
    def __new__(
        cls, model: Model, fed: list[tuple[Any, ...]], given: list[tuple[Any, ...]], sizes: tuple[int, ...]
    ) -> Self: ...
    def __call__(self, feeds: Any, names: Any = None) -> Any: ...

def start_from(pool: Pool, ids: Ids, numbers: list[int], arrays: list[np.ndarray]) -> None: ...

# What undertow.decode stands on.

class TextLoop:
    @property
    def n_chosen(self) -> int: ...
    @property
    def id(self) -> int: ...
    def __new__(
        cls,
        stream: Stream,
        ids_input: int,
        output: int,
        fixed: list[np.ndarray | None],
        generator: np.random.Generator | None = None,
        temperature: float = 1,
        top_k: int = 0,
        top_p: float = 1,
        probabilities: bool = False,
    ) -> Self: ...
    def prompt(self, ids: NDArray[np.int32]) -> None: ...
    def choose(self, out: NDArray[np.int32], end: int) -> tuple[int, int]: ...

class BeamLoop:
    @property
    def n_steps(self) -> int: ...
    def __new__(
        cls,
        model: Model,
        stream: Stream | None,
        width: int,
        ids_input: int,
        output: int,
        fixed: list[np.ndarray | None],
        penalty: float,
        probabilities: bool,
    ) -> Self: ...
    def run(self, prompt: NDArray[np.int32], n_steps: int, end: int) -> int: ...
    def hypotheses(self) -> list[tuple[list[int], float]]: ...

class CrowdLoop:
    @property
    def failed(self) -> int: ...
    def __new__(
        cls,
        model: Model,
        prompts: list[np.ndarray],
        ids_input: int,
        output: int,
        fixed: list[np.ndarray | None],
        generators: list[np.random.Generator] | None,
        temperature: float = 1,
        top_k: int = 0,
        top_p: float = 1,
        probabilities: bool = False,
    ) -> Self: ...
    def run(self, n_steps: int, end: int) -> int: ...
    def texts(self) -> list[NDArray[np.int32]]: ...

class Joined:
    @property
    def n_frames(self) -> int: ...
    def __new__(cls, *arguments: Any) -> Self: ...
    def push(self, frames: Any) -> tuple[NDArray[np.int32], int]: ...
    def finish(self) -> NDArray[np.int32]: ...
    def hypotheses(self) -> list[tuple[NDArray[np.int32], float | None]]: ...
    def reset(self) -> None: ...
    def copy_from(self, other: Self) -> None: ...

class GreedyTransducer(Joined): ...
class BeamTransducer(Joined): ...

def log_probabilities_of(z: NDArray[np.float32], probabilities: bool = False) -> NDArray[np.float64] | None: ...
