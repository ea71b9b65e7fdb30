# SPDX-License-Identifier: MIT
# Pools: many streams of one model that advance together. A part of stream.pyx, so that both use one copy of the library.

cdef extern from "crew.h" nogil:
    cdef cppclass Crew:
        Crew(const ut_model*, size_t, size_t) except +
        void run(size_t, float* const*, size_t, size_t, size_t, const void* const*, void* const*)
        void flush(size_t, float* const*, void* const*)
        @staticmethod
        void dismiss(Crew*)

cdef enum:  # what _pick asks of streams: a proposal, or one of these
    SETTLED = 0
    EITHER = -1

cdef int64_t N_GENERATIONS = 0x7fffffff


cdef class Pool:
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

    cdef readonly object model
    """The `Model` whose streams they are.

    >>> pool.model is model
    True
    """
    cdef readonly Py_ssize_t capacity
    """Streams that may be open at a time, for which memory is set aside.

    >>> pool.capacity
    1000
    """
    cdef readonly Py_ssize_t threads
    """Threads that share the streams of a call, the caller's included, as `Model.pool` was asked for them.

    >>> pool.threads
    1
    """
    cdef readonly Py_ssize_t n_open
    """Streams that are open, as `len(pool)` says too.

    >>> pool.n_open
    64
    """
    cdef readonly Py_ssize_t advanced
    """Frames that the last call of `step`, `run`, `propose` or `flush` took each of its streams on.

    All of them, unless Ctrl-C ended it: then all its streams stand behind as many frames, and this many.

    >>> Y = pool.run(ids, np.zeros((64, 5, 8), np.float32))
    >>> pool.advanced
    5
    """
    cdef unsigned long long _multiply_adds
    cdef const ut_model* _m
    cdef Crew* _crew
    cdef int _busy, _n_in, _n_out
    cdef size_t _state_bytes
    cdef Py_ssize_t _latency, _bound, _most
    cdef char* _states      # a block for each place, and a spare one
    cdef Py_ssize_t _most_kept  # timesteps that `rewind` may undo
    cdef char* _before      # for each place a ring of blocks, as they were before its last timesteps: one more, for a proposal
    cdef Py_ssize_t* _kept  # how many of them there are
    cdef Py_ssize_t* _next  # and which is the next
    cdef uint8_t* _pending  # whether the last timestep is a proposal
    cdef int64_t* _live     # the id of the stream at each place, or 0
    cdef int64_t* _named    # the call that last named the place
    cdef uint32_t* _free    # places of closed streams
    cdef Py_ssize_t _n_free, _n_used  # places from _n_used on have never held a stream
    cdef int64_t _generation, _call
    cdef uint32_t* _at      # places of the streams that this call names
    cdef float** _blocks    # and their states
    cdef Slot* _slots_in
    cdef Slot* _slots_out
    cdef const void** _x
    cdef void** _y
    cdef object _names_in, _names_out
    cdef object __weakref__

    def __cinit__(self, model, capacity, threads=1, rewind=0):
        cdef ut_info info
        cdef int i
        capacity, threads, rewind = index(capacity), index(threads), index(rewind)
        if not 1 <= capacity <= N_GENERATIONS:
            raise ValueError(f"capacity is {capacity}, expected 1 to 2^31 - 1 streams")
        if not 1 <= threads <= 256:
            raise ValueError(f"threads is {threads}, expected 1 to 256")
        if not 0 <= rewind <= N_GENERATIONS:
            raise ValueError(f"rewind is {rewind}, expected the number of timesteps to keep, 0 to 2^31 - 1")
        self._m = <const ut_model*> PyCapsule_GetPointer(model._capsule, b"undertow.model.1")
        ut_model_info(self._m, &info)
        if not info.streamable:
            model.pool(capacity)  # raises, naming the node
        self.model = model
        self.capacity = capacity
        self.threads = threads
        self._n_in = info.n_inputs
        self._n_out = info.n_outputs
        self._state_bytes = info.state_bytes
        self._latency = info.latency
        self._bound, self._most = bound_of(model.states)
        self._multiply_adds = info.multiply_adds
        self._most_kept = rewind
        if (capacity + 1) * (rewind + 1) * info.state_bytes >= 1 << 62:
            raise MemoryError
        # Not touched until a stream opens there, or proposes: until then the system need not give the pages.
        self._states = <char*> aligned_memory(64, (self.capacity + 1) * self._state_bytes)
        self._before = <char*> aligned_memory(64, self.capacity * (self._most_kept + 1) * self._state_bytes)
        self._kept = <Py_ssize_t*> calloc(self.capacity, sizeof(Py_ssize_t))
        self._next = <Py_ssize_t*> calloc(self.capacity, sizeof(Py_ssize_t))
        self._pending = <uint8_t*> calloc(self.capacity, sizeof(uint8_t))
        self._live = <int64_t*> calloc(self.capacity, sizeof(int64_t))
        self._named = <int64_t*> calloc(self.capacity, sizeof(int64_t))
        self._free = <uint32_t*> calloc(self.capacity, sizeof(uint32_t))
        self._at = <uint32_t*> calloc(self.capacity, sizeof(uint32_t))
        self._blocks = <float**> calloc(self.capacity, sizeof(float*))
        self._slots_in = <Slot*> calloc(self._n_in, sizeof(Slot))
        self._slots_out = <Slot*> calloc(self._n_out, sizeof(Slot))
        self._x = <const void**> calloc(self._n_in, sizeof(void*))
        self._y = <void**> calloc(self._n_out, sizeof(void*))
        if not (self._states and self._before and self._kept and self._next and self._pending and self._live
                and self._named and self._free and self._at and self._blocks and self._slots_in and self._slots_out and self._x and self._y):
            raise MemoryError
        for i in range(self._n_in):
            fill_slot(&self._slots_in[i], ut_input(self._m, i))
        for i in range(self._n_out):
            fill_slot(&self._slots_out[i], ut_output(self._m, i))
        self._names_in = names_of(model.inputs, self._n_in)
        self._names_out = names_of(model.outputs, self._n_out)
        self._generation = int.from_bytes(urandom(4), "little") % N_GENERATIONS
        self._crew = new Crew(self._m, self.threads, model.file_bytes)

    def __dealloc__(self):
        self._give_back()
        free(self._kept)
        free(self._next)
        free(self._pending)
        free(self._live)
        free(self._named)
        free(self._free)
        free(self._at)
        free(self._blocks)
        free(self._slots_in)
        free(self._slots_out)
        free(self._x)
        free(self._y)

    cdef void _give_back(self) noexcept:
        with nogil:
            Crew.dismiss(self._crew)
        aligned_free(self._states)
        aligned_free(self._before)
        self._crew = NULL
        self._states = self._before = NULL

    cdef int _enter(self) except -1:
        if self._busy == SHUT_DOWN:
            raise PoolError("this pool was shut down")
        if self._busy:
            raise RuntimeError("this pool is at work in another thread; give each thread its own: model.pool()")
        return 0

    cdef inline float* _block(self, Py_ssize_t place) noexcept nogil:
        return <float*> (self._states + place * self._state_bytes)

    cdef object _ids(self, object ids, bint one):
        """ids as an int64 array that can be read in place. May run Python code."""
        if (cnp.PyArray_Check(ids) and cnp.PyArray_TYPE(<cnp.ndarray> ids) == cnp.NPY_INT64
                and cnp.PyArray_NDIM(<cnp.ndarray> ids) == 1 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> ids)):
            return ids
        return _inputs.stream_ids(ids, one)

    cdef Py_ssize_t _pick(self, object ids, int proposed, bint twice=False) except -1:
        """Writes the places of the streams to _at, and their number is the result; refuses what is not all right."""
        cdef Py_ssize_t n = cnp.PyArray_DIM(<cnp.ndarray> ids, 0), i
        cdef const int64_t* given = <const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> ids)
        cdef int64_t id, place
        self._enter()
        self._call += 1
        for i in range(n):
            id = given[i]
            place = id & 0xffffffff
            if id <= 0 or place >= self.capacity or self._live[place] != id:
                raise PoolError(f"ids[{i}] is {id}: no stream of this pool; it was closed, or belongs to another pool")
            if self._named[place] == self._call and not twice:
                raise PoolError(f"ids[{i}] is {id}, which stands there twice: name each stream once in a call")
            if self._pending[place] and proposed == SETTLED:
                raise StateError(f"ids[{i}] is {id}, which has a proposal pending: commit(ids) or rollback(ids) first")
            if not self._pending[place] and proposed == PROPOSED:
                raise StateError(f"ids[{i}] is {id}, which has no proposal; propose(ids, X) makes one")
            self._named[place] = self._call
            self._at[i] = place
        return n

    cdef Py_ssize_t _one(self, object ids, int proposed=SETTLED) except -1:
        """The place of a single stream, from what _ids made of its id."""
        if cnp.PyArray_DIM(<cnp.ndarray> ids, 0) != 1:
            raise ShapeError(f"expected one id, got {len(ids)}")
        self._pick(ids, proposed)
        return self._at[0]

    cdef int _fill_spare(self, bytes snapshot, list numbers, list arrays) except -1:
        """Prepares in the spare block what streams are to start from."""
        cdef float* spare
        self._enter()  # again: reading them may have let another thread in
        spare = self._block(self.capacity)
        if snapshot is None:
            ut_state_reset(self._m, spare)
        else:
            self._load(spare, snapshot)
        self._write(spare, numbers, arrays)
        return 0

    cdef int _load(self, float* block, bytes data) except -1:
        cdef ut_error err
        if ut_state_load(self._m, block, PyBytes_AS_STRING(data), len(data), &err) != 0:
            raise StateError(err.detail.decode())
        return 0

    cdef void _write(self, float* block, list numbers, list arrays):
        cdef Py_ssize_t k
        cdef cnp.ndarray array
        for k in range(len(numbers)):
            array = <cnp.ndarray> arrays[k]
            memcpy(ut_state_field(self._m, block, numbers[k]), cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array))

    def open(self, n=1, *, state=None, snapshot=None):
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
        cdef Py_ssize_t count = index(n), i
        cdef bytes data
        cdef list numbers, arrays
        if count < 0:
            raise ValueError(f"open({count}): expected the number of streams")
        self._enter()
        data, numbers, arrays = start_of(self.model, state, snapshot)
        with cython.critical_section(self):
            self._fill_spare(data, numbers, arrays)
            ids = new_ids(self, count)
            for i in range(count):
                memcpy(self._block(self._at[i]), self._block(self.capacity), self._state_bytes)
        return ids

    def close(self, ids):
        """End streams, and their proposals: their places are free for others.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.

        Raises:
            PoolError: a stream is closed already, of another pool, or stands there twice.

        >>> pool.close(ids[:32])
        >>> pool.n_open, ids[0] in pool
        (32, False)
        """
        cdef Py_ssize_t n, i
        ids = self._ids(ids, True)
        with cython.critical_section(self):
            n = self._pick(ids, EITHER)
            for i in range(n):
                self._live[self._at[i]] = 0
                self._pending[self._at[i]] = 0
                self._free[self._n_free] = self._at[i]
                self._n_free += 1
            self.n_open -= n

    def step(self, ids, X, out=None):
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
        return advance(self, ids, X, out, 1, False)

    def run(self, ids, X, out=None):
        """Advance streams by T timesteps in one call; equal, to the bit, to T calls of `step`.

        Args, returns, raises: as `Pool.step`, with a time axis: `X` (n, T, *frame), `out` (n, T, *output frame); and
            KeyboardInterrupt, or what else a handler of signals raises, between frames: `advanced` says between which.

        >>> pool.run(ids, np.zeros((64, 5, 8), np.float32)).shape
        (64, 5, 10)
        """
        return advance(self, ids, X, out, 2, False)

    def propose(self, ids, X, out=None):
        """Advance streams by one timestep that may be undone; then either `commit` or `rollback` must follow for each.

        Constant time (one more copy of each state) and, with out, no allocation. Until then, everything that reads or
        changes one of these streams raises StateError, except `close`.

        Args, returns, raises: as `Pool.step`.

        >>> y = pool.propose(ids, x)
        >>> likely = y.max(axis=1) > 0.5
        >>> pool.commit(ids[likely])
        >>> pool.rollback(ids[~likely])
        """
        return advance(self, ids, X, out, 1, True)

    def flush(self, ids, out=None):
        """End the sequences of streams: the last `Model.latency` output frames of each, as `Stream.flush` gives them.

        Args:
            ids: as `step`.
            out: (n, latency, *output frame), or a dict, to write to: then nothing is allocated.

        Returns: (n, latency, *output frame) (`out` itself if given), or a dict of them.

        Raises: as `run`.

        >>> pool.flush(ids).shape                       # a model that does not look ahead has none
        (64, 0, 10)
        """
        return flush_streams(self, ids, out)

    def commit(self, ids):
        """Keep what `propose` did.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.

        Raises:
            StateError: one of them has no proposal. PoolError: as of `close`.

        >>> y = pool.propose(ids, x)
        >>> pool.commit(ids)
        """
        settle_streams(self, ids, False)

    def rollback(self, ids):
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
        settle_streams(self, ids, True)

    def rewind(self, ids, n=1):
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
        rewind_streams(self, ids, n)

    def kept(self, ids):
        """Timesteps that `rewind` can undo now, at most the k of `Model.pool(..., rewind=k)`.

        Args:
            ids: int64 array (n,), no stream twice; or a list, or one integer.

        Returns: int64 array (n,).

        Raises:
            PoolError: as of `close`. StateError: a stream has a proposal pending.

        >>> pool.kept(ids[:2])
        array([0, 0])
        """
        return kept_of_streams(self, ids)

    cdef void _find_blocks(self, Py_ssize_t n) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(n):
            self._blocks[i] = self._block(self._at[i])

    def reset(self, ids, to=None):
        """Back to the start.

        Args:
            ids: as `step`.
            to: None for the model's initial state, a dict of states by layer or field name, or a snapshot.

        Raises: as `open`, and PoolError: a stream is closed, of another pool, or stands there twice. StateError: one
            has a proposal pending.

        >>> pool.reset(ids)
        >>> pool.reset(ids[:2], {"memory": np.zeros(48)})
        """
        cdef Py_ssize_t n, i
        cdef bytes data
        cdef list numbers, arrays
        self._enter()
        ids = self._ids(ids, True)
        state, snapshot = (to, None) if isinstance(to, dict) else (None, to)
        data, numbers, arrays = start_of(self.model, state, snapshot)
        with cython.critical_section(self):
            self._fill_spare(data, numbers, arrays)
            n = self._pick(ids, SETTLED)
            for i in range(n):
                self._kept[self._at[i]] = 0
                memcpy(self._block(self._at[i]), self._block(self.capacity), self._state_bytes)

    def fork(self, ids):
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
        return fork_streams(self, ids)

    def snapshot(self, id):
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
        out = PyBytes_FromStringAndSize(NULL, 32 + self._state_bytes)
        ids = self._ids(id, True)
        with cython.critical_section(self):
            ut_state_save(self._m, self._block(self._one(ids)), PyBytes_AS_STRING(out))
        return out

    def restore(self, id, snapshot):
        """Continue one stream from a snapshot.

        Args:
            id: of the stream, an integer.
            snapshot: bytes that `Stream.snapshot` or `Pool.snapshot` gave.

        Raises:
            StateError: the snapshot is damaged or of another model, or the stream has a proposal pending.
            PoolError: there is no such stream.

        >>> pool.restore(ids[1], pool.snapshot(ids[0]))
        """
        cdef bytes data = bytes(memoryview(snapshot))
        ids = self._ids(id, True)
        with cython.critical_section(self):
            self._load(self._block(self._one(ids)), data)
            self._kept[self._at[0]] = 0

    def __reduce__(self):
        """For pickle, copy.copy and copy.deepcopy: the model, the ids of the open streams, and their states."""
        return taken_apart(self.model._resumed_pool, self, pool_parts(self))

    def _resume(self, ids, states, advanced):
        resume_pool(self, ids, states, advanced)

    def state(self, id):
        """The hidden state of one stream by name, to read and write: as `Stream.state`, an `undertow.states.StateView`.

        Args:
            id: of the stream, an integer.

        Raises:
            PoolError: there is no such stream; at once, and later if it is closed meanwhile.

        >>> pool.state(ids[0])["memory.h"].shape
        (48,)
        >>> pool.state(ids[0])["memory"] = np.zeros(48)
        """
        from .states import StateView
        ids = self._ids(id, True)
        with cython.critical_section(self):
            self._one(ids, EITHER)
        return StateView(Member(self, index(id)))

    def shutdown(self):
        """End the pool's threads and give its memory back; whatever is asked of it afterwards is a PoolError.

        The end of a `with` block does it too. Raises RuntimeError: the pool is at work in another thread.

        >>> pool.shutdown()
        >>> pool.n_open
        0
        """
        with cython.critical_section(self):
            if self._busy == SHUT_DOWN:
                return
            self._enter()
            self._busy = SHUT_DOWN
            self.n_open = 0
        self._give_back()

    def __enter__(self):
        self._enter()
        return self

    def __exit__(self, *exception):
        self.shutdown()

    def __len__(self):
        return self.n_open

    def __contains__(self, id):
        try:
            number = index(id)
        except TypeError:
            return False
        cdef Py_ssize_t place = number & 0xffffffff
        return number > 0 and place < self.capacity and self._busy != SHUT_DOWN and self._live[place] == number

    def __repr__(self):
        return f"<undertow.Pool of {self.model.name!r}, {self.n_open} of {self.capacity} streams open, {self.threads} threads>"

    def _repr_html_(self):
        from .inspect.notebook import pool_html
        return pool_html(self)
