# SPDX-License-Identifier: MIT
# One frame of a stream whose states the caller hands on, as the arrays of a call. A part of stream.pyx.

cdef enum:  # what an array of a call is
    FRAME = 0    # an input frame, read where it lies
    STATE = 1    # states, copied in
    BOUND = 2    # what the model was made for: it must be this again
    UNUSED = 3   # nothing that the model reads

cdef struct Part:  # a state field, and the elements of an array that it starts from
    float* field
    Py_ssize_t n, first
    const int64_t* where  # NULL: from `first` on

cdef struct Fed:
    int kind, typenum, n_dims
    cnp.npy_intp dims[8]
    Py_ssize_t n_bytes
    int input, first_part, n_parts
    int32_t* ids          # where those of 64 bits go
    const char* bound

cdef struct Given:
    int n_dims
    cnp.npy_intp dims[8]


cdef class Call:
    """One timestep of a stream as one call of arrays by name, where the caller hands on the states: what the arrays that the
    call takes say of states is copied into the stream, and a step gives arrays of their own.

    Args:
        stream: of which the call has the sole use.
        fed: for each array of a call (name, kind, array, more), where `array` has its dtype and shape. kind and more: "frame"
            and the number of an input; "state" and a list of (number of a field, positions of its elements in the array);
            "bound" (the array is what must be given) and "unused" and None.
        given: for each output of the model, in order: (name, shape).
        reset: whether states that are not given start as the model says, in each call.
    """

    cdef readonly Stream stream
    cdef Fed* _fed
    cdef Given* _given
    cdef Part* _parts
    cdef const void** _x
    cdef void** _y
    cdef int _n_fed
    cdef bint _reset
    cdef tuple _names
    cdef dict _numbers
    cdef list _kept

    def __cinit__(self, Stream stream, list fed, list given, bint reset):
        cdef int i, k, n_parts = sum([len(more) for _, kind, _, more in fed if kind == "state"])
        cdef Fed* f
        cdef Part* part
        cdef cnp.ndarray array
        if len(given) != stream._n_out:
            raise InternalError(f"a model of {stream._n_out} outputs is described by {len(given)}")
        self.stream, self._reset = stream, reset
        self._n_fed = len(fed)
        self._fed = <Fed*> calloc(len(fed) + 1, sizeof(Fed))
        self._given = <Given*> calloc(stream._n_out, sizeof(Given))
        self._parts = <Part*> calloc(n_parts + 1, sizeof(Part))
        self._x = <const void**> calloc(stream._n_in, sizeof(void*))
        self._y = <void**> calloc(stream._n_out, sizeof(void*))
        if not (self._fed and self._given and self._parts and self._x and self._y):
            raise MemoryError
        self._names = tuple([name for name, _, _, _ in fed])
        self._numbers = {name: i for i, (name, _) in enumerate(given)}
        self._kept = []
        n_parts = 0
        for i, (_, kind, array, more) in enumerate(fed):
            f = &self._fed[i]
            f.kind = ["frame", "state", "bound", "unused"].index(kind)
            f.typenum, f.n_dims = cnp.PyArray_TYPE(array), cnp.PyArray_NDIM(array)
            f.n_bytes = cnp.PyArray_NBYTES(array)
            if f.n_dims > 8:
                raise ShapeError(f"{f.n_dims} axes, expected at most 8")
            for k in range(f.n_dims):
                f.dims[k] = cnp.PyArray_DIM(array, k)
            if f.kind == FRAME:
                f.input = more
                self._check_frame(f, cnp.PyArray_SIZE(array))
            elif f.kind == BOUND:
                self._kept.append(array)
                f.bound = <const char*> cnp.PyArray_DATA(array)
            elif f.kind == STATE:
                f.first_part, f.n_parts = n_parts, len(more)
                if f.typenum != cnp.NPY_FLOAT32:
                    raise InternalError("states are float32")
                for number, where in more:
                    part = &self._parts[n_parts]
                    self._set_part(part, number, where, cnp.PyArray_SIZE(array))
                    n_parts += 1
        for i, (_, shape) in enumerate(given):
            self._given[i].n_dims = len(shape)
            if len(shape) > 8 or _product(shape) != stream._slots_out[i].size:
                raise InternalError(f"output {i} has {stream._slots_out[i].size} elements, not a shape of {shape}")
            for k in range(len(shape)):
                self._given[i].dims[k] = shape[k]

    cdef int _check_frame(self, Fed* f, Py_ssize_t size) except -1:
        if not 0 <= f.input < self.stream._n_in or self.stream._slots_in[f.input].size != size:
            raise InternalError(f"input {f.input} does not take {size} elements")
        if self.stream._slots_in[f.input].typenum == cnp.NPY_INT32:
            if f.typenum != cnp.NPY_INT64 and f.typenum != cnp.NPY_INT32:
                raise InternalError("ids are int32 or int64")
            f.ids = <int32_t*> calloc(size, sizeof(int32_t))
            if not f.ids:
                raise MemoryError
        elif f.typenum != cnp.NPY_FLOAT32:
            raise InternalError("frames are float32")
        return 0

    cdef int _set_part(self, Part* part, int number, where, Py_ssize_t size) except -1:
        cdef ut_tensor field = field_of(<const ut_model*> PyCapsule_GetPointer(self.stream.model._capsule, b"undertow.model.1"), number)
        cdef cnp.ndarray positions = where
        cdef const int64_t* at
        cdef Py_ssize_t i
        cdef bint in_a_row = True
        if (cnp.PyArray_TYPE(positions) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(positions)
                or cnp.PyArray_SIZE(positions) != <Py_ssize_t> field.size):
            raise InternalError(f"state {number} has {field.size} elements, not {positions!r:.80}")
        part.field = ut_stream_state(<ut_stream*> self.stream._stream, number)
        part.n = field.size
        at = <const int64_t*> cnp.PyArray_DATA(positions)
        for i in range(part.n):
            if not 0 <= at[i] < size:
                raise InternalError(f"state {number} starts from element {at[i]} of {size}")
            in_a_row = in_a_row and at[i] == at[0] + i
        part.first = at[0] if part.n else 0
        if not in_a_row:
            self._kept.append(positions)
            part.where = at
        return 0

    def __dealloc__(self):
        cdef int i
        if self._fed:
            for i in range(self._n_fed):
                free(self._fed[i].ids)
        free(self._fed)
        free(self._given)
        free(self._parts)
        free(self._x)
        free(self._y)

    cdef bint _takes(self, object array, Fed* f):
        """Whether it is an array as the call takes it; a frame's data is noted."""
        cdef int k
        cdef Py_ssize_t i, n
        cdef const int64_t* wide
        cdef const int32_t* ids
        cdef long long n_ids
        if not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(<cnp.ndarray> array) != f.typenum:
            return False
        if cnp.PyArray_NDIM(<cnp.ndarray> array) != f.n_dims or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array):
            return False
        for k in range(f.n_dims):
            if cnp.PyArray_DIM(<cnp.ndarray> array, k) != f.dims[k]:
                return False
        if f.kind == BOUND:
            return memcmp(cnp.PyArray_DATA(<cnp.ndarray> array), f.bound, f.n_bytes) == 0
        if f.kind != FRAME:
            return True
        if f.ids == NULL:
            self._x[f.input] = cnp.PyArray_DATA(<cnp.ndarray> array)
            return True
        n, n_ids = cnp.PyArray_SIZE(array), self.stream._slots_in[f.input].n_ids
        if f.typenum == cnp.NPY_INT64:
            wide = <const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> array)
            for i in range(n):
                if not 0 <= wide[i] < n_ids:
                    return False
                f.ids[i] = <int32_t> wide[i]
        else:
            ids = <const int32_t*> cnp.PyArray_DATA(<cnp.ndarray> array)
            for i in range(n):
                if not 0 <= ids[i] < n_ids:
                    return False
                f.ids[i] = ids[i]
        self._x[f.input] = f.ids
        return True

    cdef void _write(self, const float* source, Fed* f) noexcept nogil:
        cdef int k
        cdef Py_ssize_t i
        cdef Part* part
        for k in range(f.first_part, f.first_part + f.n_parts):
            part = &self._parts[k]
            if part.where == NULL:
                memcpy(part.field, source + part.first, part.n * sizeof(float))
            else:
                for i in range(part.n):
                    part.field[i] = source[part.where[i]]

    def __call__(self, feeds, names=None):
        """The outputs as new arrays, in the order of the model, or those that `names` (a list) names, or None.

        None: `feeds` is no dict of just these arrays, each contiguous and of its dtype and shape, with what is
        bound; ids are out of range, a name is that of no output, or the stream is at work in another thread.
        """
        if type(feeds) is not dict or len(<dict> feeds) != self._n_fed:
            return None
        with cython.critical_section(self):
            if self.stream._busy:
                return None
            self.stream._busy = WORKING  # at once: reading the feeds and making arrays may let another thread in
        try:
            return self._run(feeds, names)
        finally:
            self.stream._busy = 0

    cdef object _run(self, dict feeds, names):
        cdef Stream stream = self.stream
        cdef int i
        cdef list arrays = [], results = []
        for i in range(self._n_fed):
            array = feeds.get(self._names[i])
            if array is None or not self._takes(array, &self._fed[i]):
                return None
            arrays.append(array)  # which holds it while other threads may change the dict
        for i in range(stream._n_out):
            array = cnp.PyArray_SimpleNew(self._given[i].n_dims, self._given[i].dims, cnp.NPY_FLOAT32)
            self._y[i] = cnp.PyArray_DATA(<cnp.ndarray> array)
            results.append(array)
        asked = results if names is None or not len(names) else self._named(results, names)
        if asked is None:
            return None
        if self._reset:
            ut_stream_reset(<ut_stream*> stream._stream)
        for i in range(self._n_fed):
            if self._fed[i].kind == STATE:
                self._write(<const float*> cnp.PyArray_DATA(<cnp.ndarray> arrays[i]), &self._fed[i])
        if stream._release:
            with nogil:
                ut_run(<ut_stream*> stream._stream, 1, self._x, self._y)
        else:
            ut_run(<ut_stream*> stream._stream, 1, self._x, self._y)
        return asked

    cdef list _named(self, list results, names):
        """Those that are asked for, or None."""
        cdef list asked = []
        if type(names) is not list and type(names) is not tuple:
            return None
        for name in names:
            number = self._numbers.get(name)
            if number is None:
                return None
            asked.append(results[number])
        return asked


cdef Py_ssize_t _product(shape) except -1:
    cdef Py_ssize_t n = 1
    for size in shape:
        n *= size
    return n


def start_from(Pool pool, ids, list numbers, list arrays):
    """Reset streams of a pool, and copy states into them: arrays (n, *field), float32, row i for stream ids[i]."""
    cdef Py_ssize_t n, i, k, size
    cdef cnp.ndarray array
    ids = pool._ids(ids, False)
    for k in range(len(numbers)):
        array = arrays[k]
        if (cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32 or not cnp.PyArray_ISCARRAY_RO(array)
                or cnp.PyArray_SIZE(array) != len(ids) * <Py_ssize_t> field_of(pool._m, numbers[k]).size):
            raise ShapeError(f"state {numbers[k]} of {len(ids)} streams does not take this: {array!r:.80}")
    with cython.critical_section(pool):
        n = pool._pick(ids, SETTLED)
        for i in range(n):
            ut_state_reset(pool._m, pool._block(pool._at[i]))
        for k in range(len(numbers)):
            array = arrays[k]
            size = field_of(pool._m, numbers[k]).size
            for i in range(n):
                memcpy(ut_state_field(pool._m, pool._block(pool._at[i]), numbers[k]),
                       <const float*> cnp.PyArray_DATA(array) + i * size, size * sizeof(float))
