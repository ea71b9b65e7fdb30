# SPDX-License-Identifier: MIT
# A model as a function of arrays that a file names: states in and out among them, nothing kept. A part of stream.pyx.

include "call_parts.pxi"


cdef class Call:
    """A model as one call of arrays by name, where the caller hands on the states: what the arrays say of states is copied
    to where sequences start, and the outputs are arrays of their own. Any number of timesteps and items will do where an
    axis of an array is that of time or of the batch.

    Args:
        model: to be called.
        fed: for each array of a call (name, kind, dtype, dims, (axis of time, axis of the batch), more): dims are sizes, -1
            for any; axes -1 where there is none. kind and more: "frame" and the number of an input; "state" and a list of
            (number of a field, positions of its elements in one item); "bound" and the array that must be given;
            "lengths", "full" (lengths that are all timesteps) and "unused" and None.
        given: for each output of the model, in order: (name, dtype, dims, axes that are none of the frame, axes of the
            frame, (axis of time, axis of the batch), (first timestep, -1 for the last or -2 for that which counts, first item),
            rows). rows: None, or which row of (items x timesteps) each element of the axes that are none of the frame is.
        sizes: timesteps and items of each call, -1 where its arrays say them.
    """

    cdef readonly object model
    cdef const ut_model* _m
    cdef Stream _step, _run_of_one   # made when they are needed, as the pool
    cdef Pool _pool
    cdef Slot* _slots_in
    cdef Slot* _slots_out
    cdef Fed* _fed
    cdef Given* _given
    cdef Part* _parts
    cdef const void** _x
    cdef void** _y
    cdef float** _starts      # of whole sequences, for each its states
    cdef const void** _of_items  # pointers to the frames of whole sequences, and to what comes of them
    cdef size_t _lengths[TOGETHER]
    cdef void* _room
    cdef size_t _room_bytes
    cdef Glances _glances
    cdef Watch _watch
    cdef Py_ssize_t _n_begun  # streams of the pool that were reset once
    cdef int _n_fed, _n_parts, _n_in, _n_out, _n_states, _busy
    cdef bint _reset, _streams, _pools, _release, _cuts
    cdef Py_ssize_t _n_steps, _n_items, _T, _N
    cdef Py_ssize_t _latency, _late  # frames that streams are behind; those of a call that stand before its outputs
    cdef tuple _names
    cdef dict _numbers
    cdef list _kept, _rows
    cdef object _raised, _lengths_now

    def __cinit__(self, model, list fed, list given, tuple sizes):
        cdef int i, k, n_parts = sum([len(each[5]) for each in fed if each[1] == "state"])
        cdef Fed* f
        cdef ut_info info
        self.model = model
        self._m = <const ut_model*> PyCapsule_GetPointer(model._capsule, b"undertow.model.1")
        ut_model_info(self._m, &info)
        self._n_in, self._n_out, self._n_states = info.n_inputs, info.n_outputs, info.n_states
        self._latency = info.latency if info.streamable else 0
        self._streams = info.streamable and not info.latency
        self._release = model.file_bytes > 262144
        if len(given) != self._n_out:
            raise InternalError(f"a model of {self._n_out} outputs is described by {len(given)}")
        self._n_fed, self._n_parts = len(fed), n_parts
        self._n_steps, self._n_items = sizes
        self._slots_in = <Slot*> calloc(self._n_in, sizeof(Slot))
        self._slots_out = <Slot*> calloc(self._n_out, sizeof(Slot))
        self._fed = <Fed*> calloc(len(fed) + 1, sizeof(Fed))
        self._given = <Given*> calloc(self._n_out, sizeof(Given))
        self._parts = <Part*> calloc(n_parts + 1, sizeof(Part))
        self._x = <const void**> calloc(self._n_in, sizeof(void*))
        self._y = <void**> calloc(self._n_out, sizeof(void*))
        self._starts = <float**> calloc(TOGETHER * self._n_states + 1, sizeof(float*))
        self._of_items = <const void**> calloc(TOGETHER * (self._n_in + self._n_out), sizeof(void*))
        self._watch.glances, self._watch.call = &self._glances, <void*> self
        if not (self._slots_in and self._slots_out and self._fed and self._given and self._parts and self._x and self._y
                and self._starts and self._of_items):
            raise MemoryError
        for i in range(self._n_in):
            fill_slot(&self._slots_in[i], ut_input(self._m, i))
        for i in range(self._n_out):
            fill_slot(&self._slots_out[i], ut_output(self._m, i))
        self._names = tuple([each[0] for each in fed])
        self._numbers = {each[0]: i for i, each in enumerate(given)}
        self._kept, self._rows = [], []
        n_parts = 0
        for i, (_, kind, dtype, dims, (steps, items), more) in enumerate(fed):
            f = &self._fed[i]
            f.kind = ["frame", "state", "bound", "unused", "lengths", "full"].index(kind)
            f.typenum, f.n_dims, f.steps, f.items = dtype.num, len(dims), steps, items
            if len(dims) > 7:
                raise ShapeError(f"{len(dims)} axes, expected at most 7")
            for k in range(f.n_dims):
                f.dims[k] = dims[k]
            if f.kind == FRAME:
                f.input = more
                if not 0 <= f.input < self._n_in:
                    raise InternalError(f"input {f.input} of {self._n_in}")
            elif f.kind == BOUND:
                self._kept.append(more)
                f.bound, f.n_bytes = <const char*> cnp.PyArray_DATA(<cnp.ndarray> more), cnp.PyArray_NBYTES(more)
            elif f.kind == STATE:
                f.first_part, f.n_parts = n_parts, len(more)
                for number, where in more:
                    self._set_part(&self._parts[n_parts], number, where)
                    n_parts += 1
        self._reset = len({number for each in fed if each[1] == "state" for number, _ in each[5]}) < self._n_states
        for i, (_, dtype, dims, outer, frame, axes, first, rows) in enumerate(given):
            self._given[i].once = ut_output(self._m, i).once != 0 and info.streamable == 0
            self._set_given(&self._given[i], dtype, dims, outer, frame, axes, first)
            self._rows.append(rows)
        self._cuts = not model._heeds_no_length()
        self._pools = info.streamable and (not self._latency or all([rows is None for rows in self._rows]))

    cdef int _set_part(self, Part* part, int number, where) except -1:
        cdef cnp.ndarray positions = where
        cdef const int64_t* at
        cdef Py_ssize_t i
        cdef bint in_a_row = True
        part.number, part.n = number, field_of(self._m, number).size
        if (cnp.PyArray_TYPE(positions) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(positions)
                or cnp.PyArray_SIZE(positions) != part.n):
            raise InternalError(f"state {number} has {part.n} elements, not {positions!r:.80}")
        at = <const int64_t*> cnp.PyArray_DATA(positions)
        for i in range(part.n):
            if at[i] < 0:
                raise InternalError(f"state {number} starts from element {at[i]}")
            in_a_row = in_a_row and at[i] == at[0] + i
        part.first = at[0] if part.n else 0
        if not in_a_row:
            self._kept.append(positions)
            part.where = at
        return 0

    cdef int _set_given(self, Given* g, dtype, dims, outer, frame, axes, first) except -1:
        cdef int k
        if len(dims) > 8 or sorted([*outer, *frame]) != list(range(len(dims))):
            raise InternalError(f"axes {outer} and {frame} of {dims}")
        g.typenum, g.n_dims, g.n_outer = dtype.num, len(dims), len(outer)
        g.steps, g.items = axes
        g.step, g.item = first
        for k, axis in enumerate([*outer, *frame]):
            g.axes[k] = axis
            g.dims[axis] = dims[axis]
        return 0

    def __dealloc__(self):
        cdef int i
        if self._starts:
            for i in range(TOGETHER * self._n_states):
                free(self._starts[i])
        aligned_free(self._room)
        free(self._slots_in)
        free(self._slots_out)
        free(self._fed)
        free(self._given)
        free(self._parts)
        free(self._x)
        free(self._y)
        free(self._starts)
        free(self._of_items)

    cdef bint _takes(self, object array, Fed* f):
        """Whether it is an array as the call takes it; its timesteps and items are noted."""
        cdef int k
        cdef cnp.npy_intp n
        if not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(<cnp.ndarray> array) != f.typenum:
            return False
        if cnp.PyArray_NDIM(<cnp.ndarray> array) != f.n_dims or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array):
            return False
        for k in range(f.n_dims):
            n = cnp.PyArray_DIM(<cnp.ndarray> array, k)
            if n != f.dims[k] and f.dims[k] >= 0:
                return False
            if k == f.steps and self._n_steps < 0:
                if self._T != n and self._T >= 0:
                    return False
                self._T = n
            elif k == f.items and self._n_items < 0:
                if self._N != n and self._N >= 0:
                    return False
                self._N = n
        return f.kind != BOUND or memcmp(cnp.PyArray_DATA(<cnp.ndarray> array), f.bound, f.n_bytes) == 0

    cdef object _in_order(self, object array, Fed* f, int typenum):
        """The array as (items, timesteps, *frame) of a dtype: itself where it lies so."""
        cdef cnp.npy_intp dims[10]
        cdef cnp.npy_intp strides[10]
        cdef int k, n_dims = 2, before = -1
        cdef bint is_so = f.typenum == typenum
        dims[0], strides[0] = 1, 0
        dims[1], strides[1] = 1, 0
        if f.items >= 0:
            dims[0] = cnp.PyArray_DIM(<cnp.ndarray> array, f.items)
            strides[0] = cnp.PyArray_STRIDE(<cnp.ndarray> array, f.items)
            before = f.items if dims[0] > 1 else -1
        elif f.kind == FRAME:
            dims[0] = self._N
            is_so = is_so and self._N == 1
        if f.steps >= 0:
            dims[1] = cnp.PyArray_DIM(<cnp.ndarray> array, f.steps)
            strides[1] = cnp.PyArray_STRIDE(<cnp.ndarray> array, f.steps)
            if dims[1] > 1:
                is_so = is_so and f.steps > before
                before = f.steps
        elif f.kind == FRAME:
            dims[1] = self._T
            is_so = is_so and self._T == 1
        for k in range(f.n_dims):
            if k == f.items or k == f.steps:
                continue
            dims[n_dims], strides[n_dims] = cnp.PyArray_DIM(<cnp.ndarray> array, k), cnp.PyArray_STRIDE(<cnp.ndarray> array, k)
            if dims[n_dims] > 1:
                is_so = is_so and k > before
                before = k
            n_dims += 1
        if is_so:
            return array
        view = cnp.PyArray_New(cnp.ndarray, n_dims, dims, f.typenum, strides, cnp.PyArray_DATA(<cnp.ndarray> array), 0, 0, None)
        copy = cnp.PyArray_SimpleNew(n_dims, dims, typenum)
        cnp.PyArray_CopyInto(<cnp.ndarray> copy, <cnp.ndarray> view)
        return copy

    cdef object _frames(self, object array, Fed* f):
        """The frames of an input as the engine takes them, or None: ids are out of range."""
        cdef Slot* slot = &self._slots_in[f.input]
        cdef Py_ssize_t i
        cdef cnp.npy_intp n
        cdef const int64_t* wide
        cdef int32_t* ids
        if slot.typenum != cnp.NPY_INT32:
            array = self._in_order(array, f, cnp.NPY_FLOAT32)
        else:
            array = self._in_order(array, f, cnp.NPY_INT64)
            n = cnp.PyArray_SIZE(array)
            narrow = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_INT32)
            wide = <const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> array)
            ids = <int32_t*> cnp.PyArray_DATA(<cnp.ndarray> narrow)
            for i in range(n):
                if not 0 <= wide[i] < slot.n_ids:
                    return None
                ids[i] = <int32_t> wide[i]
            array = narrow
        if cnp.PyArray_SIZE(array) != self._N * self._T * slot.size:
            raise InternalError(f"input {f.input} does not take {cnp.PyArray_SIZE(array)} elements")
        if self._late:
            array = self._with_room(array, slot.size, slot.typenum)
        self._x[f.input] = cnp.PyArray_DATA(<cnp.ndarray> array)
        return array

    cdef object _with_room(self, object array, Py_ssize_t size, int typenum):
        """Frames with room behind each sequence for those in which it is flushed."""
        cdef cnp.npy_intp n = self._N * (self._T + self._late) * size
        cdef Py_ssize_t item, n_bytes = 4 * self._T * size
        wider = cnp.PyArray_SimpleNew(1, &n, typenum)
        for item in range(self._N):
            memcpy(<char*> cnp.PyArray_DATA(<cnp.ndarray> wider) + item * 4 * (self._T + self._late) * size,
                   <const char*> cnp.PyArray_DATA(<cnp.ndarray> array) + item * n_bytes, n_bytes)
        return wider

    cdef int _shape(self, Given* g, cnp.npy_intp* dims) noexcept nogil:
        """The sizes of an output."""
        cdef int k
        for k in range(g.n_dims):
            dims[k] = g.dims[k]
            if dims[k] < 0:
                dims[k] = self._T - g.step if k == g.steps else self._N
        return 0

    cdef Py_ssize_t _lay(self, Given* g, Slot* slot, const cnp.npy_intp* dims, cnp.npy_intp* strides) noexcept nogil:
        """Where the elements of an output lie in (items, timesteps, *frame) of the engine: strides in bytes, and the first."""
        cdef Py_ssize_t of_step = 0 if g.once else 4 * slot.size
        cdef Py_ssize_t of_item = 4 * slot.size if g.once else 4 * slot.size * (self._T + self._late)
        cdef Py_ssize_t first = 0, stride = 4
        cdef int k, axis
        for k in range(g.n_dims - 1, -1, -1):
            axis = g.axes[k]
            if k >= g.n_outer:
                strides[axis] = stride
                stride *= dims[axis]
            else:
                strides[axis] = of_step if axis == g.steps else of_item if axis == g.items else 0
        if g.steps >= 0 or 0 <= g.step < self._T:
            first = g.step * of_step
        else:
            first = (self._T - 1) * of_step
        first += self._late * of_step
        return first if g.items >= 0 else first + g.item * of_item

    cdef bint _is_whole(self, Given* g, Slot* slot, const cnp.npy_intp* dims, const cnp.npy_intp* strides) noexcept nogil:
        """Whether what the engine gives is the output as it lies."""
        cdef Py_ssize_t expected = 4
        cdef int k
        for k in range(g.n_dims - 1, -1, -1):
            if dims[k] != 1 and strides[k] != expected:
                return False
            expected *= dims[k]
        return expected == 4 * slot.size * self._N * (1 if g.once else self._T) and g.typenum == slot.typenum

    cdef object _tensor(self, object rows, object y, Given* g, Slot* slot):
        """An output as the file has it, of (items, timesteps, *frame)."""
        cdef cnp.npy_intp dims[8]
        cdef cnp.npy_intp strides[8]
        cdef Py_ssize_t first = 0, stride = 4
        cdef int k
        self._shape(g, dims)
        if rows is None:
            first = self._lay(g, slot, dims, strides)
        else:
            y = y.reshape(-1, slot.size).take(rows, 0)
            for k in range(g.n_dims - 1, -1, -1):
                strides[g.axes[k]] = stride
                stride *= dims[g.axes[k]]
        view = cnp.PyArray_New(cnp.ndarray, g.n_dims, dims, slot.typenum, strides,
                               <char*> cnp.PyArray_DATA(<cnp.ndarray> y) + first, 0, 0, None)
        tensor = cnp.PyArray_SimpleNew(g.n_dims, dims, g.typenum)
        cnp.PyArray_CopyInto(<cnp.ndarray> tensor, <cnp.ndarray> view)
        return tensor

    def __call__(self, feeds, names=None):
        """The outputs as new arrays, in the order of the model, or those that `names` (a list) names, or None.

        None: `feeds` is no dict of just these arrays, each contiguous and of its dtype and shape, with what is
        bound; ids are out of range, a name is that of no output, or the call is at work in another thread.

        Raises: KeyboardInterrupt, or what else a handler of signals raises.
        """
        if type(feeds) is not dict or len(<dict> feeds) != self._n_fed:
            return None
        with cython.critical_section(self):
            if self._busy:
                return None
            self._busy = WORKING  # at once: reading the feeds and making arrays may let another thread in
        try:
            return self._run(feeds, names)
        finally:
            self._busy = 0

    cdef object _run(self, dict feeds, names):
        cdef int i
        cdef Given* g
        cdef cnp.npy_intp dims[8]
        cdef cnp.npy_intp n
        cdef list arrays = [], results = []
        cdef bint whole = True, fits
        self._T, self._N = self._n_steps, self._n_items
        for i in range(self._n_fed):
            array = feeds.get(self._names[i])
            if array is None or not self._takes(array, &self._fed[i]):
                return None
            arrays.append(array)  # which holds it while other threads may change the dict
        if self._T <= 0 or self._N <= 0:
            return None
        self._lengths_now = None
        for i in range(self._n_fed):
            if self._fed[i].kind == LENGTHS or self._fed[i].kind == FULL:
                array = lengths_of(arrays[i], self._N, self._T)
                if array is None or (self._fed[i].kind == FULL and not all_of(array, self._T)):
                    return None
                if self._lengths_now is not None and not same_lengths(self._lengths_now, array):
                    return None
                self._lengths_now = array
        if self._lengths_now is not None and all_of(self._lengths_now, self._T):
            self._lengths_now = None
        elif self._lengths_now is not None and not self._cuts:
            return None
        self._late = self._latency if self._N > 1 and self._pools else 0
        for i in range(self._n_fed):
            if self._fed[i].kind == FRAME:
                array = self._frames(arrays[i], &self._fed[i])
                if array is None:
                    return None
                arrays[i] = array
            elif self._fed[i].kind == STATE:
                arrays[i] = self._in_order(arrays[i], &self._fed[i], cnp.NPY_FLOAT32)
        for i in range(self._n_out):
            g = &self._given[i]
            fits = self._is_direct(i, dims)
            if g.steps >= 0 and dims[g.steps] <= 0:
                return None  # shorter than what the file leaves out at the start
            if fits:
                array = cnp.PyArray_SimpleNew(g.n_dims, dims, g.typenum)
            else:
                n = self._N * (1 if g.once else self._T + self._late) * self._slots_out[i].size
                array = cnp.PyArray_SimpleNew(1, &n, self._slots_out[i].typenum)
                whole = False
            self._y[i] = cnp.PyArray_DATA(<cnp.ndarray> array)
            results.append(array)
        asked = self._named(names) if names is not None and len(names) else None
        if asked is None and names is not None and len(names):
            return None
        if self._lengths_now is not None:
            self._run_whole(arrays)
        elif self._N > 1 and self._pools:
            self._run_batch(arrays)
        elif self._streams:
            self._run_stream(arrays)
        else:
            self._run_whole(arrays)
        if not whole:
            for i in range(self._n_out):
                if not self._is_direct(i, dims):
                    g, rows = &self._given[i], self._rows[i]
                    if self._is_cut(g):
                        rows = last_rows(self._lengths_now, self._T, -1 if g.items >= 0 else g.item)
                    results[i] = self._tensor(rows, results[i], g, &self._slots_out[i])
        return results if asked is None else [results[number] for number in asked]

    cdef bint _is_direct(self, int i, cnp.npy_intp* dims):
        """Whether the engine writes an output as it lies; its sizes are given."""
        cdef cnp.npy_intp strides[8]
        cdef Given* g = &self._given[i]
        self._shape(g, dims)
        if self._rows[i] is not None or self._is_cut(g) or self._lay(g, &self._slots_out[i], dims, strides):
            return False
        return self._is_whole(g, &self._slots_out[i], dims, strides)

    cdef bint _is_cut(self, Given* g):
        """Whether an output is the last timestep of each item that counts, which the items have not at one place."""
        return g.step == COUNTS and not g.once and self._lengths_now is not None

    cdef list _named(self, names):
        """The numbers of those that are asked for, or None."""
        cdef list asked = []
        if type(names) is not list and type(names) is not tuple:
            return None
        for name in names:
            number = self._numbers.get(name)
            if number is None:
                return None
            asked.append(number)
        return asked

    cdef int _run_stream(self, list arrays) except -1:
        """A sequence, in a stream that starts from the states."""
        cdef Stream stream
        cdef Part* part
        cdef int i, k
        if self._T == 1:
            if self._step is None:
                self._step = Stream(self.model, 1)
                for k in range(self._n_parts):
                    self._parts[k].field = ut_stream_state(<ut_stream*> self._step._stream, self._parts[k].number)
            stream = self._step
        else:
            if self._run_of_one is None:
                self._run_of_one = Stream(self.model)
            stream = self._run_of_one
        if self._reset:
            ut_stream_reset(<ut_stream*> stream._stream)
        for i in range(self._n_fed):
            if self._fed[i].kind != STATE:
                continue
            for k in range(self._fed[i].first_part, self._fed[i].first_part + self._fed[i].n_parts):
                part = &self._parts[k]
                write_part(part.field if self._T == 1 else ut_stream_state(<ut_stream*> stream._stream, part.number),
                            <const float*> cnp.PyArray_DATA(<cnp.ndarray> arrays[i]), part)
        if self._T > 1:
            memcpy(stream._x, self._x, self._n_in * sizeof(void*))
            memcpy(stream._y, self._y, self._n_out * sizeof(void*))
            run_frames(stream, self._T)
        elif self._release:
            with nogil:
                ut_run(<ut_stream*> stream._stream, 1, self._x, self._y)
        else:
            ut_run(<ut_stream*> stream._stream, 1, self._x, self._y)
        return 0

    cdef int _run_batch(self, list arrays) except -1:
        """Sequences, each in a stream of a pool."""
        cdef Pool pool
        cdef Part* part
        cdef const float* source
        cdef Py_ssize_t item, n, of_item
        cdef int i, k
        if self._pool is None or self._pool.capacity < self._N:
            self._pool = None  # which gives its memory back
            self._pool, self._n_begun = Pool(self.model, self._N), 0
        pool, n = self._pool, self._N
        for item in range(n):
            pool._blocks[item] = pool._block(item)
            if self._reset or item >= self._n_begun:  # of a field, what fills it up to a whole panel
                ut_state_reset(self._m, pool._blocks[item])
        self._n_begun = max(self._n_begun, n)
        for i in range(self._n_fed):
            if self._fed[i].kind != STATE:
                continue
            source = <const float*> cnp.PyArray_DATA(<cnp.ndarray> arrays[i])
            of_item = cnp.PyArray_SIZE(arrays[i]) // n if self._fed[i].items >= 0 else 0
            for k in range(self._fed[i].first_part, self._fed[i].first_part + self._fed[i].n_parts):
                part = &self._parts[k]
                for item in range(n):
                    write_part(ut_state_field(self._m, pool._blocks[item], part.number), source + item * of_item, part)
        memcpy(pool._x, self._x, self._n_in * sizeof(void*))
        memcpy(pool._y, self._y, self._n_out * sizeof(void*))
        pool._busy = WORKING
        run_pool(pool, n, self._T, pool._x, 0, self._T + self._late, 0)
        if self._late:
            pool._busy = WORKING
            run_pool(pool, n, self._late, NULL, self._T, self._T + self._late, 0)
        return 0

    cdef int _run_whole(self, list arrays) except -1:
        """Sequences of a model that needs them whole, or that looks ahead: side by side where that can be."""
        cdef Py_ssize_t first = 0, item, n, of_item, n_tiles = (self._N + TOGETHER - 1) // TOGETHER
        cdef Py_ssize_t some = (self._N + n_tiles - 1) // n_tiles
        cdef const float* source
        cdef float** start
        cdef Part* part
        cdef int i, k
        if self._lengths_now is not None or (some > 1 and ut_sequences_bytes(self._m, some, self._T) == 0):
            some = 1
        while first < self._N:
            n = min(self._N - first, some)
            for i in range(self._n_fed):
                if self._fed[i].kind != STATE:
                    continue
                of_item = cnp.PyArray_SIZE(arrays[i]) // self._N if self._fed[i].items >= 0 else 0
                for k in range(self._fed[i].first_part, self._fed[i].first_part + self._fed[i].n_parts):
                    part = &self._parts[k]
                    for item in range(n):
                        start = &self._starts[item * self._n_states + part.number]
                        if start[0] == NULL:
                            start[0] = <float*> calloc(part.n, sizeof(float))
                            if start[0] == NULL:
                                raise MemoryError
                        source = <const float*> cnp.PyArray_DATA(<cnp.ndarray> arrays[i]) + (first + item) * of_item
                        write_part(start[0], source, part)
            self._run_some(first, n)
            first += n
        return 0

    cdef int _run_some(self, Py_ssize_t first, Py_ssize_t n) except -1:
        """Whole sequences side by side, or one, from the states that stand in _starts."""
        cdef size_t n_bytes = ut_sequences_bytes(self._m, n, self._T) if n > 1 else ut_sequence_bytes(self._m, self._T)
        cdef const void** x = self._of_items
        cdef void** y = <void**> x + n * self._n_in
        cdef ut_status status
        cdef Py_ssize_t k, length = self._T if self._lengths_now is None else numbers(self._lengths_now)[first]
        cdef int i
        self._make_room(n_bytes)
        for k in range(n):
            self._lengths[k] = self._T
            for i in range(self._n_in):
                x[k * self._n_in + i] = <const char*> self._x[i] + 4 * (first + k) * self._T * self._slots_in[i].size
            for i in range(self._n_out):
                y[k * self._n_out + i] = (<char*> self._y[i]
                                          + 4 * (first + k) * (1 if self._given[i].once else self._T) * self._slots_out[i].size)
        self._glances.begin()
        self._watch.raised = False
        with nogil:
            if n > 1:
                status = ut_sequences_run(self._room, n_bytes, self._m, n, self._lengths, self._starts, x, y, stop_of_call,
                                          &self._watch)
            else:
                status = ut_sequence_run_until(self._room, n_bytes, self._m, self._T, length, self._starts, x, y, NULL,
                                               stop_of_call, &self._watch)
        if self._room_bytes > ROOM:
            aligned_free(self._room)
            self._room, self._room_bytes = NULL, 0
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        if status != 0:
            raise InternalError(f"whole sequences ended with status {status}")
        return 0

    cdef int _look(self):
        """Whether a handler of signals raised something."""
        if self._raised is None:
            try:
                PyErr_CheckSignals()
            except BaseException as error:
                self._raised = error
        return self._raised is not None

    cdef int _make_room(self, size_t n_bytes) except -1:
        if n_bytes == 0:
            raise MemoryError
        if self._room_bytes < n_bytes:
            aligned_free(self._room)
            self._room_bytes = 0
            self._room = aligned_memory(HUGE_PAGE if n_bytes >= 2 * HUGE_PAGE else 64, n_bytes)
            if self._room == NULL:
                raise MemoryError
            if n_bytes >= 2 * HUGE_PAGE:
                advise_huge_pages(self._room, n_bytes)
            self._room_bytes = n_bytes
        return 0


cdef int stop_of_call(void* context) noexcept nogil:
    """Asked during a long run."""
    cdef Watch* watch = <Watch*> context
    if not watch.raised and watch.glances.due():
        with gil:
            watch.raised = (<Call> watch.call)._look()
    return watch.raised
