# SPDX-License-Identifier: MIT
# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, embedsignature=True
# cython: freethreading_compatible=True
"""Streams: one sequence in flight each, and pools of them. The implementation of the public undertow/stream.pxd.

What the GIL does for an object, its critical section does where there is none: from the look at `_busy` to the end of
the work nobody else is in it, unless `nogil` lets others in, and these find it busy. What runs Python code stands
before, for that may wait for anybody.
"""

from operator import index
from os import urandom

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

cimport cython
cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer

from arrays cimport fill_slot, fits, ids_in_range, new_array, overlapping, spoils
from capi cimport *

from . import _inputs
from .errors import InternalError, PoolError, ShapeError, StateError, UnsupportedError
from .ir.most import bound_of

cnp.import_array()

cdef extern from "helpers.h" nogil:
    cdef cppclass Helpers:
        Helpers(const ut_model*, ut_stream*, size_t, size_t, double) except +
        double measure() except +
        double gain()
        void prepare(size_t)
        @staticmethod
        void dismiss(Helpers*)

cdef extern from "slices.h" nogil:
    cdef cppclass Slices:
        void begin(unsigned long long, size_t)
        size_t next(size_t)
        bint look()

cdef double SHARE_BELOW = 0.9  # a timestep of all threads as a share of that of one, from which the others are not worth having

cdef enum:  # what _busy says beside 0
    WORKING = 1
    PROPOSED = 2
    SHUT_DOWN = 3


include "checks.pxi"
include "stream_calls.pxi"
include "stream_states.pxi"
include "stream_history.pxi"


cdef class Stream:
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

    def __cinit__(self, model, Py_ssize_t block=0, Py_ssize_t threads=1, bint measure=True, size_t least=131072,
                  double gain=INFINITY, Py_ssize_t rewind=0):
        cdef Stream like = model if isinstance(model, Stream) else None  # of which it shall be a fork, all but what it remembers
        self.model = model if like is None else like.model
        cdef const ut_model* m = <const ut_model*> PyCapsule_GetPointer(self.model._capsule, b"undertow.model.1")
        describe_stream(self, m, block) if like is None else describe_alike(self, like)
        self._memory = aligned_memory(64, self._n_bytes)
        if not self._memory:
            raise MemoryError
        if ut_stream_init(self._memory, self._n_bytes, m, <ut_stream**> &self._stream) != 0:
            raise InternalError("ut_stream_init refused a model that Model.stream had accepted")
        self.threads = 1
        if rewind:
            keep_history(self, m, rewind)
        if threads != 1:
            self._share(threads, measure, least, gain)

    def __dealloc__(self):
        Helpers.dismiss(<Helpers*> self._helpers)
        aligned_free(self._memory)
        aligned_free(self._history_memory)
        free(self._places)

    cdef int _share(self, Py_ssize_t threads, bint measure, size_t least, double gain) except -1:
        """Take `threads` threads for the layers that have at least `least` bytes of weights, if that pays."""
        cdef const ut_model* m = <const ut_model*> PyCapsule_GetPointer(self.model._capsule, b"undertow.model.1")
        cdef Helpers* helpers
        cdef double ratio = 0
        if not 1 <= threads <= 64:
            raise ValueError(f"threads is {threads}, expected 1 to 64")
        self._least = least
        if ut_shared_bytes(m, least) == 0:
            return 0
        helpers = new Helpers(m, <ut_stream*> self._stream, threads, least, gain)
        self._helpers = helpers
        if measure:
            with nogil:
                ratio = helpers.measure()
        if ratio > SHARE_BELOW:
            self._helpers = NULL
            with nogil:
                Helpers.dismiss(helpers)
        else:
            self.threads = threads
            self._release = True  # others may use the time that is spent waiting
        return 0

    cdef void _prepare(self, Py_ssize_t n_frames) noexcept nogil:
        (<Helpers*> self._helpers).prepare(n_frames)

    cdef void c_step(self, const void* x, void* y) noexcept nogil:
        take(self, 1, &x, &y)
        self.position += 1

    cdef void c_run(self, Py_ssize_t n_frames, const void* x, void* y) noexcept nogil:
        cdef Py_ssize_t early = n_frames, done
        cdef const void* x_at
        cdef void* y_at
        if self._history:
            early = forget_before(self, n_frames)
        if early or not n_frames:
            run_unkept(self, early, &x, &y)
        for done in range(early, n_frames):
            x_at, y_at = <const char*> x + 4 * done * self.n_inputs, <char*> y + 4 * done * self.n_outputs
            take(self, 1, &x_at, &y_at)
        self.position += n_frames

    cdef void c_flush(self, void* y) noexcept nogil:
        if self._latency:
            forget(self)
            run_unkept(self, self._latency, NULL, &y)

    cdef int _enter(self) except -1:
        if self._busy == PROPOSED:
            raise StateError("a proposal is pending: commit() or rollback() first")
        if self._busy:
            raise RuntimeError("this stream is at work in another thread; give each thread its own: model.stream()")
        return 0

    cdef int _settle_proposal(self, str how) except -1:
        if self._busy != PROPOSED:
            self._enter()
            raise StateError(f"{how}: there is no proposal; propose(x) makes one")
        self._busy = 0
        return 0

    cdef object _input(self, object x, int i, int lead):
        """x itself if it can be used as it is, an int32 copy of ids, or a clear error."""
        cdef Slot* slot = &self._slots_in[i]
        if not fits(x, slot, lead):
            from ._inputs import coerce
            x = coerce(x, self.model.inputs[self._names_in[i]], lead)
        if slot.typenum == cnp.NPY_INT32 and not ids_in_range(x, slot, cnp.PyArray_DIM(x, 0) if lead else 1):
            from ._inputs import refuse_ids
            refuse_ids(x, self.model.inputs[self._names_in[i]])
        return x

    cdef object _output(self, object out, int i, int lead, Py_ssize_t n):
        cdef Slot* slot = &self._slots_out[i]
        if out is None:
            return new_array(slot, lead, n)
        if not fits(out, slot, lead) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out) or (
                lead and cnp.PyArray_DIM(<cnp.ndarray> out, 0) != n):
            from ._inputs import refuse_out
            refuse_out(out, self.model.outputs[self._names_out[i]], *((n,) if lead else ()))
        return out

    def step(self, x, out=None):
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
        if self._busy:
            self._enter()
        if not self._single:
            return many_frames(self, x, out, 0)
        if not fits(x, self._slots_in, 0) or self._slots_in[0].typenum == cnp.NPY_INT32:
            x = self._input(lone(x, self._names_in, "input"), 0, 0)
        if out is None:
            out = new_array(self._slots_out, 0, 1)
        else:
            out = self._output(lone(out, self._names_out, "out", True), 0, 0, 1)
        cdef const void* px = cnp.PyArray_DATA(<cnp.ndarray> x)
        cdef void* py = cnp.PyArray_DATA(<cnp.ndarray> out)
        with cython.critical_section(self):
            if self._busy:  # converting x may have let another thread in
                self._enter()
            if self._most:
                check_room(self, 1)
            if self._release:
                self._busy = WORKING
                with nogil:
                    take(self, 1, &px, &py)
                self._busy = 0
            else:
                take(self, 1, &px, &py)
            self.position += 1
        return out

    def propose(self, x, out=None):
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
        self._enter()
        if not self._single:
            return many_frames(self, x, out, 0, True)
        x = self._input(lone(x, self._names_in, "input"), 0, 0)
        out = self._output(lone(out, self._names_out, "out", True), 0, 0, 1)
        with cython.critical_section(self):
            self._enter()  # again: converting x may have let another thread in
            self._x[0] = cnp.PyArray_DATA(<cnp.ndarray> x)
            self._y[0] = cnp.PyArray_DATA(<cnp.ndarray> out)
            propose_frame(self)
        return out

    @cython.critical_section
    def commit(self):
        """Keep what `propose` did.

        Raises:
            StateError: there is no proposal.

        >>> y = stream.propose(x)
        >>> stream.commit()
        >>> stream.position
        1
        """
        self._settle_proposal("commit()")
        commit_frame(self)

    @cython.critical_section
    def rollback(self):
        """Undo what `propose` did, to the bit.

        Raises:
            StateError: there is no proposal.

        >>> y = stream.propose(x)
        >>> stream.rollback()
        >>> stream.position
        0
        """
        self._settle_proposal("rollback()")
        roll_frame_back(self)

    def rewind(self, n=1):
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
        rewind_stream(self, index(n))

    def run(self, X, out=None):
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
        self._enter()
        if not self._single:
            return many_frames(self, X, out, 1)
        X = self._input(lone(X, self._names_in, "input"), 0, 1)
        cdef Py_ssize_t n = cnp.PyArray_DIM(<cnp.ndarray> X, 0)
        out = self._output(lone(out, self._names_out, "out", True), 0, 1, n)
        cdef const void* px = cnp.PyArray_DATA(<cnp.ndarray> X)
        cdef void* py = cnp.PyArray_DATA(<cnp.ndarray> out)
        if spoils(px, self._slots_in, py, self._slots_out, n):
            refuse_overlap(self._names_in[0], self._names_out[0])
        with cython.critical_section(self):
            self._enter()  # again: converting X may have let another thread in
            self._x[0], self._y[0] = px, py
            run_frames(self, n)
        return out

    def flush(self, out=None):
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
        return flush_stream(self, out)

    def reset(self, to=None):
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
        reset_stream(self, to)


    def settle(self, x, steps):
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
        return settle_stream(self, x, steps)


    def snapshot(self):
        """The whole state as bytes: for `restore`, `Model.stream(snapshot)`, a file, another machine.

        Returns: the same number of bytes whatever came before: the state, and the hash of the model that it fits.

        Raises:
            StateError: a proposal is pending.

        >>> snapshot = stream.snapshot()
        >>> rest = stream.run(X)
        >>> bool(np.all(model.stream(snapshot).run(X) == rest))     # goes on to the bit
        True
        """
        with cython.critical_section(self):
            return saved(self)

    def restore(self, snapshot):
        """Continue from a `snapshot`, the bytes that `Stream.snapshot` or `Pool.snapshot` gave.

        Raises:
            StateError: it is damaged or belongs to another model; the stream is as before. Or a proposal is pending.

        >>> snapshot = stream.snapshot()
        >>> Y = stream.run(X)
        >>> stream.restore(snapshot)
        >>> bool(np.all(stream.run(X) == Y))
        True
        """
        restore_stream(self, snapshot)


    def fork(self):
        """A new stream of the same model, with as many threads, that continues from here.

        Returns: a `Stream`; neither changes the other.

        Raises:
            StateError: a proposal is pending.

        >>> Y = stream.run(X)
        >>> other = stream.fork()
        >>> bool(np.all(other.step(x) == stream.step(x))), other.position
        (True, 9)
        """
        return fork_of(self)


    def __reduce__(self):
        """For pickle, copy.copy and copy.deepcopy: the model, and the state, `position` and settings of this stream."""
        return taken_apart(self.model._resumed_stream, self, stream_parts(self))

    def _resume(self, snapshot, settled, position):
        resume_stream(self, snapshot, settled, position)

    @property
    def kept(self):
        """Timesteps that `rewind` can undo now, at most the k of `Model.stream(rewind=k)`.

        A `run` that Ctrl-C ends may have left fewer than k.

        >>> draft = model.stream(rewind=4)
        >>> Y = draft.run(X)
        >>> draft.kept
        4
        """
        return kept_of(self)

    @property
    def state(self):
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
        from .states import StateView
        return StateView(self)

    def trace(self, X):
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
        from .inspect.trace import trace
        return trace(self, X)

    def _get_state(self, int i):
        return field_array(self, i)

    def _set_states(self, list numbers, list arrays):
        """All of these fields or none; float32 arrays that lie in one piece."""
        check_fields(<const ut_model*> PyCapsule_GetPointer(self.model._capsule, b"undertow.model.1"), numbers, arrays)
        with cython.critical_section(self):
            self._enter()
            forget(self)
            self._write_states(numbers, arrays)

    cdef void _write_states(self, list numbers, list arrays):
        cdef Py_ssize_t k
        cdef cnp.ndarray array
        for k in range(len(numbers)):
            array = <cnp.ndarray> arrays[k]
            ut_stream_set(<ut_stream*> self._stream, numbers[k], <const float*> cnp.PyArray_DATA(array))

    def __repr__(self):
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"<undertow.Stream of {self.model.name!r}, {self.model.state_bytes} bytes of state{threads}>"

    def _repr_html_(self):
        from .inspect.notebook import stream_html
        return stream_html(self)


include "pool.pxi"
include "pool_history.pxi"
include "pool_calls.pxi"
include "pickling.pxi"
include "starts.pxi"
include "calls.pxi"
include "decoding.pxi"
