# SPDX-License-Identifier: MIT
# Decoders' loops over one stream: its ids are fed back without an array made on the way. A part of stream.pyx; what is
# public of them, with the checks of arguments, is in undertow/decode.

cdef extern from "logits.h" nogil:
    ctypedef struct Sampling:
        double temperature
        size_t top_k
        double top_p
        bint probabilities
    ctypedef struct Candidate:
        double rank
        double score
        int32_t parent
        int32_t id
    ctypedef struct Ranking:
        Candidate* best
        size_t width
        size_t n
    double log_add(double, double)
    double power_of(double, double)
    Py_ssize_t first_largest(const float*, size_t)
    bint log_probabilities(const float*, size_t, bint, double*)
    Py_ssize_t draw(const float*, size_t, const Sampling&, double, double*, double*, uint32_t*)
    void offer(Ranking&, const Candidate&)
    void offer_all(Ranking&, const double*, size_t, double, double, int32_t)

cdef extern from "numpy/random/bitgen.h" nogil:
    ctypedef struct bitgen_t:
        void* state
        double (*next_double)(void*) noexcept nogil

cdef enum:  # how a loop ended
    DONE = 0
    NO_NUMBERS = 1
    NO_SUCH_ID = 2


def log_probabilities_of(z, bint probabilities=False):
    """As decoders compute them, of a float32 array (n,); None where there are none. For tests."""
    cdef cnp.npy_intp n = z.size
    cdef cnp.ndarray logits = z
    d = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_FLOAT64)
    cdef bint valid = log_probabilities(<const float*> cnp.PyArray_DATA(logits), n, probabilities,
                                        <double*> cnp.PyArray_DATA(<cnp.ndarray> d))
    return d if valid else None


cdef bitgen_t* bits_of(object generator) except NULL:
    return <bitgen_t*> PyCapsule_GetPointer(generator.bit_generator.capsule, b"BitGenerator")


cdef long long n_ids_of(const Slot* slot) noexcept:
    """Of an input that takes an id: as a whole number, or as the place of a 1 among zeros."""
    return slot.n_ids if slot.typenum == cnp.NPY_INT32 else slot.size


cdef inline void put_id(void* frame, const Slot* slot, int32_t id) noexcept nogil:
    if slot.typenum == cnp.NPY_INT32:
        (<int32_t*> frame)[0] = id
    else:
        memset(frame, 0, 4 * slot.size)
        (<float*> frame)[id] = 1


cdef bint takes_ids(const Slot* slot) noexcept:
    return slot.size == 1 or slot.typenum != cnp.NPY_INT32


cdef int point_at(const void** x, list fixed, Py_ssize_t n_in, Slot* slots, Py_ssize_t ids_input) except -1:
    """Lets inputs other than that of ids point into arrays that are checked here once more."""
    cdef Py_ssize_t i
    if len(fixed) != n_in or not 0 <= ids_input < n_in or not takes_ids(&slots[ids_input]):
        raise InternalError("decoders are given a frame for each input, and None for the ids")
    for i in range(n_in):
        if i == ids_input:
            continue
        if not fits(fixed[i], &slots[i], 0):
            raise InternalError(f"input {i} of a decoder is not what it was checked to be")
        x[i] = cnp.PyArray_DATA(<cnp.ndarray> fixed[i])
    return 0


cdef class TextLoop:
    """A stream that is fed ids, each chosen from the logits that the one before led to.

    Args:
        ids_input, output: numbers of the input and the output.
        fixed: a frame for each other input.
        generator: None to take the largest, or a numpy.random.Generator to sample with.
    """

    cdef Stream stream
    cdef readonly long long n_chosen  # ids so far
    cdef readonly int id  # that is fed next
    cdef Py_ssize_t _n
    cdef long long _n_ids
    cdef Slot* _slot
    cdef void* _fed  # a frame of the input of ids
    cdef Sampling _how
    cdef bitgen_t* _bits
    cdef object _fixed, _generator
    cdef const void** _x
    cdef void** _y
    cdef void** _unseen  # no place for any output
    cdef float* _z
    cdef double* _d
    cdef uint32_t* _order

    def __cinit__(self, Stream stream, Py_ssize_t ids_input, Py_ssize_t output, list fixed, generator=None,
                  double temperature=1, size_t top_k=0, double top_p=1, bint probabilities=False):
        self.stream = stream
        self._fixed, self._generator = fixed, generator
        self._n = stream._slots_out[output].size
        self._slot = &stream._slots_in[ids_input]
        self._n_ids = n_ids_of(self._slot)
        self._fed = calloc(self._slot.size, 4)
        self._how = Sampling(temperature, top_k, top_p, probabilities)
        if generator is not None:
            self._bits = bits_of(generator)
        self._x = <const void**> calloc(stream._n_in, sizeof(void*))
        self._y = <void**> calloc(stream._n_out, sizeof(void*))
        self._unseen = <void**> calloc(stream._n_out, sizeof(void*))
        self._z = <float*> calloc(self._n, sizeof(float))
        self._d = <double*> calloc(2 * self._n, sizeof(double))
        self._order = <uint32_t*> calloc(self._n, sizeof(uint32_t))
        if not self._fed or not self._x or not self._y or not self._unseen or not self._z or not self._d or not self._order:
            raise MemoryError
        point_at(self._x, fixed, stream._n_in, stream._slots_in, ids_input)
        self._x[ids_input] = self._fed
        self._y[output] = self._z

    def __dealloc__(self):
        free(self._fed)
        free(self._x)
        free(self._y)
        free(self._unseen)
        free(self._z)
        free(self._d)
        free(self._order)

    cdef void _feed(self, int32_t id) noexcept nogil:
        put_id(self._fed, self._slot, id)
        take(self.stream, 1, self._x, self._y)
        self.stream.position += 1

    cdef void _feed_all(self, const int32_t* ids, Py_ssize_t n) noexcept nogil:
        """Ids of a prompt, whose outputs nobody looks at: where there is no other input, a block of frames."""
        cdef Py_ssize_t i
        cdef const void* x = ids
        if self.stream._n_in > 1 or self._slot.typenum != cnp.NPY_INT32 or self.stream._history:
            for i in range(n):
                self._feed(ids[i])
            return
        run_unkept(self.stream, n, &x, self._unseen)
        self.stream.position += n

    cdef int _begin(self, Py_ssize_t n) except -1:
        """Take the stream for n timesteps at most."""
        with cython.critical_section(self.stream):
            self.stream._enter()
            if self.stream._most:
                check_room(self.stream, n)
            self.stream._busy = WORKING
        return 0

    def prompt(self, cnp.ndarray ids):
        """Feed int32 ids of the model's range but the last, which the first choice feeds."""
        cdef const int32_t* given = <const int32_t*> cnp.PyArray_DATA(ids)
        cdef Py_ssize_t n = cnp.PyArray_SIZE(ids) - 1, done = 0, some
        cdef Slices slices
        slices.begin(self.stream._multiply_adds, self.stream._whole_block)
        self._begin(n)
        try:
            with nogil:
                while done < n:
                    some = slices.next(n - done)
                    self._feed_all(given + done, some)
                    done += some
                    if done < n and slices.look():
                        with gil:
                            PyErr_CheckSignals()
        finally:
            self.stream._busy = 0
        self.id = given[n]

    cdef int _choose(self, int32_t* out, Py_ssize_t n, Py_ssize_t* at, long long end) noexcept nogil:
        cdef Py_ssize_t chosen
        while at[0] < n:
            if self.id >= self._n_ids:
                return NO_SUCH_ID
            self._feed(self.id)
            if self._bits:
                chosen = draw(self._z, self._n, self._how, self._bits.next_double(self._bits.state), self._d,
                              self._d + self._n, self._order)
            else:
                chosen = first_largest(self._z, self._n)
            if chosen < 0:
                return NO_NUMBERS
            self.id = out[at[0]] = chosen
            at[0] += 1
            self.n_chosen += 1
            if chosen == end:
                return DONE
        return DONE

    def choose(self, cnp.ndarray out, long long end):
        """Choose ids until int32 `out` is full or one is `end`.

        Returns: how many, and how it ended: 0, or 1 for logits that say nothing, or 2 for an id that cannot be fed.
        """
        if self._generator is None:
            return self._fill(out, end)
        with self._generator.bit_generator.lock:
            return self._fill(out, end)

    cdef tuple _fill(self, cnp.ndarray out, long long end):
        cdef int32_t* ids = <int32_t*> cnp.PyArray_DATA(out)
        cdef Py_ssize_t n = cnp.PyArray_SIZE(out), at = 0
        cdef int how = DONE
        cdef Slices slices
        self._begin(n)
        try:
            if n == 1 and not self.stream._release:  # as a step: giving up the GIL would cost as much
                how = self._choose(ids, n, &at, end)
                return at, how
            slices.begin(self.stream._multiply_adds, 1)
            with nogil:
                while at < n:
                    how = self._choose(ids, at + slices.next(n - at), &at, end)
                    if how != DONE or at == n or self.id == end:
                        break
                    if slices.look():
                        with gil:
                            PyErr_CheckSignals()
        finally:
            self.stream._busy = 0
        return at, how


cdef class Rows:
    """Up to `n` streams of one model that decoders step together, whose states are blocks of bytes to copy as they like.

    Rows of a step are `at`, their frames stand in the inputs' places one after the other. Errors as of `Model.stream`.
    """

    cdef object model
    cdef const ut_model* _m
    cdef Py_ssize_t n
    cdef size_t state_bytes
    cdef unsigned long long multiply_adds  # of a step of all rows
    cdef char* _states
    cdef void* _memory
    cdef ut_batch* _batch
    cdef int _n_in, _n_out
    cdef Slot* slots_in
    cdef Slot* slots_out
    cdef void** x
    cdef void** y   # NULL but for the output that is looked at
    cdef float** at

    def __cinit__(self, model, Py_ssize_t n, Py_ssize_t output, list fixed):
        cdef ut_info info
        cdef Py_ssize_t i, row
        cdef size_t n_bytes
        self.model = model
        self._m = <const ut_model*> PyCapsule_GetPointer(model._capsule, b"undertow.model.1")
        ut_model_info(self._m, &info)
        if not info.streamable:
            model.stream()  # raises, naming the node
        if model.max_frames:
            raise UnsupportedError(f"model {model.name!r} takes at most {model.max_frames} frames in a sequence: decoders of one "
                                   "text (greedy, sample, tokens) heed that, those of several at once do not")
        self.n = n
        self.state_bytes = info.state_bytes
        self.multiply_adds = info.multiply_adds * n
        self._n_in = info.n_inputs
        self._n_out = info.n_outputs
        n_bytes = ut_batch_bytes(self._m, n)
        self._memory = aligned_memory(64, n_bytes)
        self._states = <char*> aligned_memory(64, (n + 1) * max(self.state_bytes, 64))
        self.slots_in = <Slot*> calloc(self._n_in, sizeof(Slot))
        self.slots_out = <Slot*> calloc(self._n_out, sizeof(Slot))
        self.x = <void**> calloc(self._n_in, sizeof(void*))
        self.y = <void**> calloc(self._n_out, sizeof(void*))
        self.at = <float**> calloc(n, sizeof(float*))
        if not (self._memory and self._states and self.slots_in and self.slots_out and self.x and self.y and self.at):
            raise MemoryError
        if ut_batch_init(self._memory, n_bytes, self._m, &self._batch) != 0:
            raise InternalError("ut_batch_init refused a model that Model.stream had accepted")
        for i in range(self._n_out):
            fill_slot(&self.slots_out[i], ut_output(self._m, i))
        for i in range(self._n_in):
            fill_slot(&self.slots_in[i], ut_input(self._m, i))
            self.x[i] = calloc(n * self.slots_in[i].size, 4)
            if not self.x[i]:
                raise MemoryError
            if fixed[i] is not None:
                if fits(fixed[i], &self.slots_in[i], 0):
                    for row in range(n):
                        self.put(i, row, cnp.PyArray_DATA(<cnp.ndarray> fixed[i]))
                elif fits(fixed[i], &self.slots_in[i], 1) and cnp.PyArray_DIM(<cnp.ndarray> fixed[i], 0) == n:
                    memcpy(self.x[i], cnp.PyArray_DATA(<cnp.ndarray> fixed[i]), n * self.slots_in[i].size * 4)
                else:
                    raise InternalError(f"input {i} of a decoder is not what it was checked to be")
        self.y[output] = calloc(n * self.slots_out[output].size, 4)
        if not self.y[output]:
            raise MemoryError
        for row in range(n + 1):
            ut_state_reset(self._m, self.block(row))

    def __dealloc__(self):
        cdef int i
        if self.x:
            for i in range(self._n_in):
                free(self.x[i])
        if self.y:
            for i in range(self._n_out):
                free(self.y[i])
        free(self.x)
        free(self.y)
        free(self.at)
        free(self.slots_in)
        free(self.slots_out)
        aligned_free(self._states)
        aligned_free(self._memory)

    cdef inline float* block(self, Py_ssize_t row) noexcept nogil:
        return <float*> (self._states + row * self.state_bytes)

    cdef void copy_block(self, Py_ssize_t to, Py_ssize_t source) noexcept nogil:
        memcpy(self.block(to), self.block(source), self.state_bytes)

    cdef void put(self, Py_ssize_t i, Py_ssize_t row, const void* frame) noexcept nogil:
        memcpy(<char*> self.x[i] + 4 * row * self.slots_in[i].size, frame, 4 * self.slots_in[i].size)

    cdef void put_id(self, Py_ssize_t i, Py_ssize_t row, int32_t id) noexcept nogil:
        put_id(<char*> self.x[i] + 4 * row * self.slots_in[i].size, &self.slots_in[i], id)

    cdef void step(self, Py_ssize_t n) noexcept nogil:
        ut_batch_run(self._batch, n, self.at, 1, <const void* const*> self.x, self.y)

    cdef int load(self, Py_ssize_t row, Stream stream) except -1:
        """Makes a block what a stream remembers."""
        cdef ut_error err
        cdef bytes data = stream.snapshot()
        if ut_state_load(self._m, self.block(row), PyBytes_AS_STRING(data), len(data), &err) != 0:
            raise StateError(err.detail.decode())
        return 0


include "beams.pxi"
include "crowds.pxi"
include "transducing.pxi"
