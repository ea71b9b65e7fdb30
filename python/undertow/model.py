# SPDX-License-Identifier: MIT
"""A loaded model: immutable weights and plan, shared by any number of streams and threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from numbers import Real
from operator import index
from pickle import PickleBuffer
from typing import Any

import numpy as np

from . import _batches, _core, _files, _proof, _threads, tow
from ._inputs import by_name, coerce, refuse_full, refuse_ids, refuse_lengths
from ._text import quoted
from .compile import compile_graph
from .errors import FormatError, ISAError, LimitError, ShapeError, UnsupportedError
from .graph import Graph as Handwritten
from .inspect import describe, notebook
from .ir import superframes
from .ir.graph import Graph, State, Value
from .ir.most import bound_of
from .ir.ops import OPS
from .ir.origin import Origin
from .passes.handwritten import finish
from .passes.precisions import Precisions, warn_of_lost, with_weights
from .passes.sparsify import with_blocks
from .states import checked, expand
from .stream import Pool, Stream

#: attributes of a Model that `limits` may bound
LIMITS = (
    "file_bytes",
    "model_bytes",
    "state_bytes",
    "scratch_bytes",
    "stream_bytes",
    "step_bytes",
    "multiply_adds",
    "bytes_per_step",
)


class Model:
    """A recurrent network, ready to run. Made by `undertow.load`, `undertow.Sequential` or `Model.from_graph`.

    Attributes:
        name: of the model.
        inputs, outputs: name -> `Value` with the shape and dtype of one timestep.
        states: name -> `State`, every field that a stream remembers.
        isa: the instruction set in use, one of `undertow.isas()`.
        streamable: False if some layer needs the whole sequence; then only `run` works.
        latency: frames by which the outputs of a stream come later, because some layer looks ahead; see `Stream.flush`.
        frames_in, frames_out: timesteps of the inputs in one frame, and of the outputs. Both are 1 unless the model
            strides along time. With strides of S in all, S timesteps make one frame of shape (S, *timestep), and what
            it gives is (frames_out, *timestep), or one timestep without that axis where frames_out is 1. `Stream.step`
            takes one such frame, `Stream.run` (n, S, *timestep), and latency counts frames.
        sample_rate: samples per second of the sound that it hears, where the file says so (a Neural Amp Modeler's, an
            .onnx whose input of that name is bound with `fixed=`), for `undertow.audio.load`; else None.
        state_bytes, scratch_bytes: what each stream holds; stream_bytes: all that it takes; step_bytes: all that one
            takes in a C program that only steps.
        model_bytes: what the plan takes, beside the weights.
        file_bytes: size of the .tow form, weights included.
        multiply_adds: of a timestep, about: those of every product, and one for each element of other ops.
        bytes_per_step: weights that a timestep reads, and its frames and states.
        source: where the model came from and what the importer did.
        hash: 16 bytes that identify graph and weights; snapshots carry it.

    A model never changes: `copy.copy` and `copy.deepcopy` give the model itself, and so do copies of what holds it.
    `pickle` takes its .tow form, wherever it came from, and so do joblib, multiprocessing and executors; processes that
    can see one .tow file had better load that, for then they share its weights. An instruction set that was forced with
    `isa=` is forced where the pickle is read too, and is an ISAError where it cannot run; any other model takes the
    best there is. What was asked of the load alone (`mapped`, `limits`) does not travel, and weights are copied. A
    stranger's pickle can run any code: ask for a .tow file, and `undertow.load` it.

    >>> model = undertow.load(undertow.example("digits"))
    >>> model.inputs["input"].shape, model.states["memory.h"].shape
    ((8,), (48,))
    >>> model.run(np.zeros((100, 8), np.float32)).shape
    (100, 10)
    """

    def __init__(
        self,
        blob: Any,
        isa: str | None = None,
        *,
        mapped: bool = True,
        check: bool = False,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        """
        Args:
            blob: the bytes of a .tow file, or any C-contiguous buffer of them. What may be written to is copied.
            isa: force an instruction set; None for the value of UT_ISA in the environment, or else the best there is.
            mapped: use the weights of a read-only buffer, such as a mapped file, where they lie; whoever changes them
                afterwards makes numbers wrong, and whoever cuts a mapped file short ends the program (SIGBUS). False:
                copy them.
            check: compare the hash in the file with one of its metadata and weights; and where it holds a proof (see
                `save`), let the model compute that, to the bit.
            limits: what the model may ask for at most, by attribute: file_bytes, model_bytes, state_bytes,
                scratch_bytes, stream_bytes, step_bytes, multiply_adds or bytes_per_step.

        Raises:
            FormatError, UnsupportedError: the bytes are damaged or not for this library.
            LimitError: the model asks for more than `limits` allows.
            BufferError: the bytes of the buffer do not follow each other.
            InternalError: with `check`, and a proof: on this CPU, the instruction set gives other bits than it says.
            ISAError: `isa` cannot run here.
        """
        #: what an importer noted; empty for a .tow file
        self.origin = Origin()
        self._forced = isa or None
        isa = isa or os.environ.get("UT_ISA") or None
        if isa is not None and not (isinstance(isa, str) and isa.isascii() and isa.isprintable()):
            raise ISAError(f"isa {isa!r:.60} is not one of {', '.join(name for name, _ in _core.isas())}")
        self._core = _core.Model(blob, isa, mapped)
        self._capsule = self._core.capsule()
        info = self._core.info
        self.isa: str = info["isa"]
        self.streamable: bool = info["streamable"]
        self.latency: int = info["latency"]
        self.state_bytes: int = info["state_bytes"]
        self.scratch_bytes: int = info["scratch_bytes"]
        self.stream_bytes: int = info["stream_bytes"]
        self.step_bytes: int = info["step_bytes"]
        self.file_bytes: int = info["file_bytes"]
        self.block: int = info["block"]
        self.hash: bytes = info["hash"]
        self.name: str = self._core.name
        self.source: str = self._core.source
        self.frames_in, self.frames_out = tow.frames(
            info["version"], info["frames_in"], info["frames_out"], self.source
        )
        self.sample_rate: int | None = info["sample_rate"] or None
        self.model_bytes: int = info["model_bytes"]
        self.multiply_adds: int = info["multiply_adds"]
        self.bytes_per_step: int = info["bytes_per_step"]
        self._keep_within(limits or {})
        if check:
            tow.check_hash(memoryview(self._core))
        self.inputs = {
            name: Value(name, shape, dtype, once, n_ids) for name, shape, dtype, once, n_ids in self._core.inputs
        }
        self.outputs = {name: Value(name, shape, dtype, once) for name, shape, dtype, once, _ in self._core.outputs}
        self.states = {name: State(name, shape) for name, shape, *_ in self._core.states}
        if check and (proof := _proof.read(self, memoryview(self._core))):
            _proof.check(self, proof)

    def _keep_within(self, limits: Mapping[str, int]) -> None:
        unknown = sorted(set(limits) - set(LIMITS))
        if unknown:
            raise TypeError(f"limits: {unknown[0]!r} is not a limit; there are: {', '.join(LIMITS)}")
        for name, most in limits.items():
            if not isinstance(most, Real) or most != most:
                raise TypeError(f"limits: {name} is {most!r}, expected a number")
            if (asked := getattr(self, name)) > most:
                raise LimitError(
                    f"{self.name!r} asks for {name} = {asked:,}, limits allow {most:,}; "
                    f"if you trust it, load it with limits={{{name!r}: {asked}}} or without this limit"
                )

    @classmethod
    def from_graph(cls, graph: Graph, isa: str | None = None, *, limits: Mapping[str, int] | None = None) -> Model:
        """Compile a graph. One that was written by hand, an `undertow.Graph`, goes through all passes first: small ops
        become expressions, which own the states that they alone read.

        Args:
            graph: which stays as it is.
            isa, limits: as of `undertow.load`.

        Raises:
            ShapeError: it has no input or no output, or reads a state that it does not write.
            UnsupportedError, LimitError: it cannot be compiled, or asks for too much.

        >>> undertow.Model.from_graph(model.graph).hash == model.hash
        True
        """
        if isinstance(graph, Handwritten):
            graph = finish(graph.plain())
        model = cls(compile_graph(graph), isa, limits=limits)
        model.origin = graph.origin
        return model

    def with_weights(self, weights: Precisions, *, sparse: str | bool = "auto") -> Model:
        """This model with its weights stored in other precisions; this one stays as it is.

        What a precision costs is seen on your own data: `undertow convert --weights auto` measures it. Weights are
        rounded from the numbers that this model holds: what an earlier precision lost stays lost.

        Args:
            weights: "float32", "float16", "bfloat16", "int16", "int8" or "int4" for all matrices and embedding
                tables; "fixed8" for recurrent cells that compute in integers alone, "int8" for everything else; or a
                mapping from the name of a layer to one of them, or to a mapping of weight keys ("W", "R",
                "projection", "table") to them. Layers and keys that a mapping does not name stay as they are. "auto" is
                int16 for every weight that it can hold; "int8+int16" is int8, and int16 for tables and the matrices
                that cost least, up to a fifth of all multiply-adds. Filters of depthwise layers have "float32" and
                "int16" alone: what else is for all leaves them as they are. What comes to int8 is smoothed
                where its columns are far from equal: by powers of two, which frames are divided by before rounding.
            sparse: how to store matrices of float32 and int8 that were pruned in blocks of 8 or 16 rows and 4 columns:
                "auto" without their zeros where that is faster; True always; False never. int8 gives the same bits
                either way, float32 the same within rounding.

        Raises:
            UnsupportedError: a precision, layer or key does not exist; or a weight does not fit its precision (it is
                NaN, infinite or too large), and is named.

        Warns:
            ModelWarning: rows of a weight are so small that this precision stores zeros for them.

        >>> model.with_weights("int8").file_bytes < model.file_bytes / 2
        True
        >>> mixed = model.with_weights({"memory": {"W": "int8", "R": "float16"}})
        """
        graph = self.graph
        reduced = with_weights(graph, weights, smooth=True)
        warn_of_lost(graph, reduced)
        model = Model.from_graph(with_blocks(reduced, sparse), self.isa)
        model._forced = self._forced
        return model

    @cached_property
    def graph(self) -> Graph:
        """The model as a Graph with unpadded weights (copies); float32 whatever precision they are stored in.

        Raises:
            FormatError: the model lies in a mapped file that has changed since it was loaded.

        >>> [node.op for node in model.graph.nodes]
        ['gru', 'dense', 'softmax']
        """
        return tow.read(self._file())

    def _file(self) -> memoryview:
        """The .tow form, as it was when it was loaded.

        Raises:
            FormatError: it lies in a mapped file that has changed since.
        """
        view = memoryview(self._core)
        if not self.mapped:
            return view
        copy = _core.Model(view, "scalar", False)  # of bytes that no longer change: checked again
        if copy.info["hash"] != self.hash:
            raise FormatError(f"{self.name!r} lies in a file that has changed since it was loaded")
        return memoryview(copy)

    @property
    def mapped(self) -> bool:
        """True if the weights are used where the file lies, False if they were copied.

        >>> model.mapped, undertow.load(undertow.example("digits"), mapped=False).mapped
        (True, False)
        """
        return self._core.mapped

    @property
    def n_parameters(self) -> int:
        """Numbers that were learnt.

        >>> model.n_parameters
        8746
        """
        return self.graph.n_parameters

    def stream(
        self,
        snapshot: bytes | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        block: int | None = None,
        threads: int = 1,
        measure: bool = True,
        rewind: int = 0,
    ) -> Stream:
        """Start a stream.

        Args:
            snapshot: continue from one.
            state: fields to start from (by layer or field name); the others start as the model says.
            block: frames that `run` works on at a time, 1 to `Model.block` (the default). 1 saves most of the memory
                where thousands of streams only step; bits do not depend on it.
            threads: that share large layers (128 KiB of weights and more) among them, the caller's included: each keeps
                its part of the weights in the cache of its own core. Bits do not depend on it. Each needs a core for
                itself while the stream is at work, for they wait for each other by spinning. `Stream.threads` says how
                many are in use: 1 if the model has no large layer, or if a step would be less than a tenth faster.
            measure: find that out now, which takes some ten milliseconds, or 20 steps if those take longer; later calls
                then go on alone for a while where a helper has lost its core to another program. False: take the
                threads unseen and always wait for them.
            rewind: timesteps that `Stream.rewind` can undo, the last ones: takes memory for one state more than
                that, and with each timestep a copy of the state (of windows over time, of a frame).

        Raises:
            ValueError: threads, block or rewind is out of range; at most as many threads as CPUs that this process may
                use.
            UnsupportedError: the model needs the whole sequence; names the node.
            StateError: the snapshot is damaged or of another model.

        >>> stream = model.stream()
        >>> stream.step(np.zeros(8, np.float32)).shape
        (10,)
        >>> other = model.stream(stream.snapshot())             # goes on where that one stands
        >>> ready = model.stream(state={"memory": np.full(48, 0.1)})
        """
        self._require_streamable()
        if block is not None and not 1 <= block <= self.block:
            raise ValueError(f"block is {block}, expected 1 to {self.block} for {quoted(self.name)}")
        if (rewind := index(rewind)) < 0:
            raise ValueError(f"rewind is {rewind}, expected the number of timesteps to keep, 0 or more")
        stream = Stream(self, block or 0, _threads.checked(threads), measure, rewind=rewind)
        if snapshot is not None:
            stream.restore(snapshot)
        if state is not None:
            fields = stream.state
            for name, value in expand(self, state).items():
                fields[name] = value
        return stream

    def pool(self, capacity: int, threads: int = 1, *, rewind: int = 0) -> Pool:
        """A pool of streams that advance together: one read of the weights serves many of them.

        Args:
            capacity: streams that may be open at a time; memory for all of them is set aside now.
            threads: that share the streams of a call among them, the caller's included. Bits do not depend on it.
            rewind: timesteps of each stream that `Pool.rewind` can undo, as of `stream`.

        Raises:
            UnsupportedError: the model needs the whole sequence; names the node.
            ValueError: capacity is not 1 to 2^31 - 1, threads not 1 to 256, or rewind negative.

        >>> pool = model.pool(1000)
        >>> ids = pool.open(64)
        >>> pool.step(ids, np.zeros((64, 8), np.float32)).shape
        (64, 10)
        """
        self._require_streamable()
        return Pool(self, capacity, threads, rewind)

    def _require_streamable(self) -> None:
        if not self.streamable:
            node, reason = self.graph.whole_sequence_nodes()[0]
            raise UnsupportedError(
                f"{quoted(self.name)} cannot be streamed: {node.op} {quoted(node.name)}: {reason}; "
                "use model.run(X) with the whole sequence"
            )

    def run(
        self,
        X: Any,
        *,
        state: Mapping[str, Any] | None = None,
        length: int | Sequence[int] | None = None,
        threads: int = 1,
    ) -> Any:
        """Run a whole sequence from a fresh state, or several, each from its own.

        Args:
            X: (T, *frame), or a dict of such arrays. Where the model strides along time and a frame is several
                timesteps, it may also be (T, *timestep), T a multiple of `frames_in`. Of several sequences (B, T,
                *frame), or a list of arrays (T, *frame) of any lengths.
            state: fields to start from, by layer or field name; of several sequences, what each starts from.
            length: frames that layers with sequence lengths consume (ONNX sequence_lens), of several sequences one for
                each or for all; T when omitted. Rows behind them hold what the layers give there, zeros of a recurrent
                one, so what the exported model gives once per sequence stands in row length - 1.
            threads: that share several sequences among them, the caller's included. Bits do not depend on it.

        Returns: (T, *output frame) for every output, as an array or a dict by name; row t is that of frame t, whatever
            the latency of a stream. A model that cannot be streamed gives outputs that exist once per sequence without
            the time axis. For an X of timesteps, (T / frames_in * frames_out, *output timestep). Of (B, T, *frame) an
            array with a first axis of B, of a list a list; the bits are those of each sequence alone.

        Raises:
            ShapeError, TypeError: X does not fit.
            UnsupportedError: a length below T for a model that has no layer with sequence lengths, that looks ahead, or
                that keeps what goes on from frame to frame (a mean so far).
            ValueError: threads is out of range; at most as many threads as CPUs that this process may use.

        >>> X = np.zeros((100, 8), np.float32)
        >>> model.run(X).shape
        (100, 10)
        >>> model.run(np.stack([X] * 32)).shape         # 32 sequences, each from a fresh state
        (32, 100, 10)
        """
        threads = _threads.checked(threads)
        if (sequences := _batches.apart(X, self.inputs, self.frames_in)) is None:
            outputs, _ = self.run_with_state(X, state=state, length=length)  # type: ignore[arg-type]
            return outputs
        items, is_array = sequences
        if not items:
            return _batches.none(X, self.outputs, is_array)
        results: list[Any] = []
        if state is None and length is None:
            checked = _batches.each(items, lambda item, _: self._frames(item))
            frames = [] if any(of_timesteps for _, of_timesteps in checked) else [xs for xs, _ in checked]
            if self.streamable:
                results = _batches.through_a_pool(self, frames, self._by_name, threads)
            elif all(len(xs[0]) for xs in frames):
                whole = _batches.side_by_side(self, frames, self._by_name, is_array, threads)
                if whole is not None:
                    return whole
        if not results:
            lengths = length if isinstance(length, Sequence | np.ndarray) else [length] * len(items)
            if len(lengths) != len(items):
                raise ShapeError(f"length has {len(lengths)} numbers, X has {len(items)} sequences")
            results = _batches.each(items, lambda item, i: self.run(item, state=state, length=lengths[i]))
        return _batches.together(results, is_array)

    def run_with_state(
        self, X: Any, *, state: Mapping[str, Any] | None = None, length: int | None = None
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """As `run`, of one sequence `X` (T, *frame), and give the final state too.

        Args:
            X, state, length: as of `run`, for one sequence.

        Returns: (what `run` gives, field name -> float32 array of its shape).

        Raises: as `run`.

        >>> Y, final = model.run_with_state(np.zeros((100, 8), np.float32))
        >>> Y.shape, final["memory.h"].shape
        ((100, 10), (48,))
        >>> rest = model.run(np.zeros((50, 8), np.float32), state=final)      # goes on from there
        """
        xs, of_timesteps = self._frames(X)
        T = len(xs[0])
        if T == 0 and any(v.once for v in self.outputs.values()):
            raise ShapeError(
                f"X has no frames, but {quoted(self.name)} gives one result per sequence: at least one is needed"
            )
        length = T if length is None else index(length)
        if not 0 <= length <= T:
            raise ShapeError(f"length is {length}, expected 0 to {T} (the frames of X)")
        if length != T and (why := self._heeds_no_length()):
            raise UnsupportedError(
                f"length is {length} of {T} frames, but {quoted(self.name)} {why}; run the frames before it alone"
            )
        fields = expand(self, state or {})
        if self.streamable and length == T:
            ys, final = self._run_as_stream(xs, T, fields)
        else:
            ys, finals = self._core.run_sequence(xs, T, length, [fields.get(name) for name in self.states])
            final = dict(zip(self.states, finals, strict=True))
        if of_timesteps:
            each = zip(ys, self.outputs.values(), strict=True)
            ys = [superframes.as_timesteps(y, value, self.frames_out) for y, value in each]
        return self._by_name(ys), final

    def _heeds_no_length(self) -> str:
        """Why frames behind a length would be more than padding; "" where they are that."""
        if self.latency:
            return f"looks {self.latency} frames ahead, into what would be padding"
        nodes = self.graph.nodes
        if not any(node.attrs.get("masked") for node in nodes):
            return "has no layer with sequence lengths, so all frames would count"
        if any(OPS[node.op].writes_register for node in nodes):
            return "keeps what goes on from frame to frame, as a mean does, for which all frames would count"
        return ""

    def _frames(self, X: Any, what: str = "X") -> tuple[list[np.ndarray], bool]:
        """The frames of each input of one sequence, and whether they were given as timesteps."""
        names = list(self.inputs)
        xs, of_timesteps = [], False
        for value, given in zip(self.inputs.values(), by_name(X, names, what), strict=True):
            x = superframes.as_frames(given, value, self.frames_in)
            of_timesteps = of_timesteps or x is not given
            x = coerce(x, value, 1)
            if value.dtype == "int32" and x.size and (x.min() < 0 or x.max() >= (value.n_ids or 0)):
                refuse_ids(x, value)
            xs.append(x)
        if any(len(x) != len(xs[0]) for x in xs):
            refuse_lengths(names, [len(x) for x in xs])
        if self.max_frames and len(xs[0]) > self.max_frames:
            refuse_full(self.max_frames, 0, len(xs[0]))
        return xs, of_timesteps

    def _run_as_stream(
        self, xs: list[np.ndarray], T: int, fields: dict[str, np.ndarray]
    ) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Constant memory however long the sequence; the same bits."""
        stream = self.stream(state=fields)
        X = xs[0] if len(xs) == 1 else dict(zip(self.inputs, xs, strict=True))
        rows = [np.empty((T + self.latency, *v.shape), v.dtype) for v in self.outputs.values()]
        stream.run(X, out=self._by_name([y[:T] for y in rows]))
        if self.latency:
            stream.flush(out=self._by_name([y[T:] for y in rows]))
        return [y[self.latency :] for y in rows], {name: stream.state[name] for name in self.states}

    def _by_name(self, ys: list[np.ndarray]) -> Any:
        return ys[0] if len(ys) == 1 else dict(zip(self.outputs, ys, strict=True))

    @property
    def max_frames(self) -> int | None:
        """Frames that a sequence has at most, as `load(max_frames=)` has said; None where there is no bound.

        >>> print(model.max_frames)
        None
        """
        return bound_of(self.states)[1] or None

    @cached_property
    def proof_frames(self) -> int:
        """Frames of the proof that the model's file holds (see `save`), 0 where it holds none.

        Raises:
            FormatError: the proof is damaged.

        >>> model.proof_frames
        0
        """
        proof = _proof.read(self, memoryview(self._core))
        return proof.n_frames if proof else 0

    def save(self, path: str | os.PathLike[str], *, proof: Any = None) -> None:
        """Write the model to `path` as a .tow file, which needs no importer and whose weights are mapped, not read.

        The file appears whole or not at all, whoever else reads or writes it, and may be the one that the model was
        loaded from. A file that was there before leaves its permission bits; a symbolic link is replaced, not followed.

        Args:
            proof: 1 to 256 frames, as `run` takes them: (T, *frame), or a dict. The file holds them, and digests of the
                outputs and states that they lead to, from a fresh start. `load(path, check=True)` then computes them
                frame by frame, in one call and in a pool, and compares every bit: so file, kernels and CPU are proven
                together, on whatever machine it is. The hash of the model, and so its snapshots, are those of a file
                without. None keeps the proof of the file that the model was loaded from, if that has one.

        Raises:
            OSError: it cannot be written; what was there before stays as it is.
            FormatError: the model lies in a mapped file that has changed since.
            ShapeError, TypeError, KeyError: `proof` does not fit, or all of it leads to NaN.

        >>> undertow.load("model.onnx").save("model.tow")             # doctest: +SKIP
        >>> undertow.load("model.onnx").save("model.tow", proof=X[:16])   # doctest: +SKIP
        """
        file: Any = self._file()
        if proof is not None:
            file = tow.attach(file, _proof.make(self, self._frames(proof, "proof")[0]))
        _files.write(path, file)

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Model], tuple[Any, ...]]:
        file = self._file()
        tow.check_hash(file)  # now, not where it is read
        # From protocol 5 on the bytes are not copied once more, and may travel beside the pickle.
        blob = PickleBuffer(file) if protocol >= 5 else bytes(file)
        return _resumed, (blob, self._forced, self.origin.plain())

    def _resumed_stream(self, cls: type[Stream], parts: tuple[Any, ...], total: int) -> Stream:
        """A stream, or one of a class made of Stream, from the parts that its `__reduce__` gave, here or elsewhere.

        Raises:
            StateError: the parts are damaged, or of another model.
        """
        checked("stream", parts, total)
        block, threads, least, measure, snapshot, settled, position, *kept = parts
        stream = cls.__new__(
            cls, self, block, min(threads, _threads.usable_cpus()), measure, least, rewind=kept[0] if kept else 0
        )
        stream._resume(snapshot, settled, position)
        return stream

    def _resumed_pool(self, cls: type[Pool], parts: tuple[Any, ...], total: int) -> Pool:
        """As `_resumed_stream`, of a pool. Raises PoolError, too."""
        checked("pool", parts, total)
        capacity, threads, ids, states, advanced, *kept = parts
        pool = cls.__new__(cls, self, capacity, threads, *kept)
        pool._resume(ids, states, advanced)
        return pool

    def __repr__(self) -> str:
        return f"<undertow.Model {quoted(self.name)}, {self.n_parameters} parameters, {self.isa}>"

    def __str__(self) -> str:
        return describe.text(describe.describe(self))

    def _repr_html_(self) -> str:
        """What a notebook shows: the tables of `print(model)`, and the graph."""
        return notebook.model_html(self)


def _resumed(blob: Any, isa: str | None, origin: Mapping[str, dict[str, Any]]) -> Model:
    """A model from the parts that `Model.__reduce_ex__` gave; a pickle calls this by its name.

    Raises:
        FormatError, UnsupportedError: the bytes are damaged, or for a later library.
        ISAError: the instruction set that was forced cannot run here.
    """
    model = Model(blob, isa, mapped=False, check=True)
    model.origin = Origin.of_plain(origin)
    return model
