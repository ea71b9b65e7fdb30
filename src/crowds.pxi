# SPDX-License-Identifier: MIT
# Several texts of one model at once, which share each read of the weights. A part of stream.pyx; undertow/decode checks what
# it is given.

cdef Py_ssize_t UNBOUNDED = 1 << 62


cdef class CrowdLoop:
    """As many streams as prompts, each fed its prompt and then what it says, until it ends.

    Args:
        prompts: int32 arrays of ids of the model's range, at least one each.
        fixed: for each other input a frame, or one for each prompt.
        generators: None to take the largest, or a numpy.random.Generator for each.
    """

    cdef Rows rows
    cdef list _prompts, _generators
    cdef Py_ssize_t _ids_input, _output, _n, _n_live
    cdef long long _n_ids
    cdef Sampling _how
    cdef int32_t* _live    # the prompt of each row
    cdef int32_t* _at      # how many ids each has been fed
    cdef const int32_t** _given
    cdef int32_t* _n_given
    cdef bitgen_t** _bits
    cdef double* _d
    cdef uint32_t* _order
    cdef vector[vector[int32_t]] _texts
    cdef readonly Py_ssize_t failed  # the prompt whose text could not go on

    def __cinit__(self, model, list prompts, Py_ssize_t ids_input, Py_ssize_t output, list fixed, list generators,
                  double temperature=1, size_t top_k=0, double top_p=1, bint probabilities=False):
        cdef Py_ssize_t n = len(prompts), i
        self.rows = Rows(model, n, output, fixed)
        self._prompts, self._generators = prompts, generators
        self._ids_input, self._output = ids_input, output
        self._n = self.rows.slots_out[output].size
        self._n_ids = n_ids_of(&self.rows.slots_in[ids_input])
        self._how = Sampling(temperature, top_k, top_p, probabilities)
        self._live = <int32_t*> calloc(n, sizeof(int32_t))
        self._at = <int32_t*> calloc(n, sizeof(int32_t))
        self._given = <const int32_t**> calloc(n, sizeof(int32_t*))
        self._n_given = <int32_t*> calloc(n, sizeof(int32_t))
        self._bits = <bitgen_t**> calloc(n, sizeof(bitgen_t*))
        self._d = <double*> calloc(2 * self._n, sizeof(double))
        self._order = <uint32_t*> calloc(self._n, sizeof(uint32_t))
        if not (self._live and self._at and self._given and self._n_given and self._bits and self._d and self._order):
            raise MemoryError
        self._texts.resize(n)
        self._n_live = n
        for i in range(n):
            self._live[i] = i
            self._given[i] = <const int32_t*> cnp.PyArray_DATA(<cnp.ndarray> prompts[i])
            self._n_given[i] = cnp.PyArray_SIZE(<cnp.ndarray> prompts[i])
            if generators is not None:
                self._bits[i] = bits_of(generators[i])

    def __dealloc__(self):
        free(self._live)
        free(self._at)
        free(self._given)
        free(self._n_given)
        free(self._bits)
        free(self._d)
        free(self._order)

    def run(self, Py_ssize_t n_steps, long long end):
        """Choose at most n_steps ids for each. Returns: how it ended, as `TextLoop.choose` says it."""
        cdef int how = DONE
        cdef Py_ssize_t some
        cdef Slices slices
        slices.begin(self.rows.multiply_adds, 1)
        with nogil:
            while self._n_live and n_steps and how == DONE:
                some = slices.next(UNBOUNDED)
                while some and self._n_live and how == DONE:
                    how = self._advance(n_steps, end)
                    some -= 1
                if slices.look():
                    with gil:
                        PyErr_CheckSignals()
        return how

    cdef int _advance(self, Py_ssize_t n_steps, long long end) except -1 nogil:
        cdef Py_ssize_t row = 0, text
        cdef int32_t id
        cdef const float* z = <const float*> self.rows.y[self._output]
        for row in range(self._n_live):
            text = self._live[row]
            id = self._given[text][self._at[text]] if self._at[text] < self._n_given[text] else self._texts[text].back()
            if id >= self._n_ids:
                self.failed = text
                return NO_SUCH_ID
            self.rows.put_id(self._ids_input, row, id)
            self.rows.at[row] = self.rows.block(text)
            self._at[text] += 1
        self.rows.step(self._n_live)
        # From the last row on: what takes the place of a text that ends has been seen to.
        for row in range(self._n_live - 1, -1, -1):
            text = self._live[row]
            if self._at[text] < self._n_given[text]:
                continue
            id = self._choose(z + row * self._n, self._bits[text])
            if id < 0:
                self.failed = text
                return NO_NUMBERS
            self._texts[text].push_back(id)
            if id == end or <Py_ssize_t> self._texts[text].size() == n_steps:
                self._leave(row)
        return DONE

    cdef int32_t _choose(self, const float* z, bitgen_t* bits) noexcept nogil:
        if not bits:
            return first_largest(z, self._n)
        return draw(z, self._n, self._how, bits.next_double(bits.state), self._d, self._d + self._n, self._order)

    cdef void _leave(self, Py_ssize_t row) noexcept nogil:
        """The last row takes the place of one that has ended, with its frames."""
        cdef int i
        self._n_live -= 1
        if row == self._n_live:
            return
        self._live[row] = self._live[self._n_live]
        for i in range(self.rows._n_in):
            self.rows.put(i, row, <char*> self.rows.x[i] + 4 * self._n_live * self.rows.slots_in[i].size)

    def texts(self):
        cdef Py_ssize_t i
        cdef cnp.npy_intp n
        cdef list arrays = []
        for i in range(<Py_ssize_t> self._texts.size()):
            n = self._texts[i].size()
            array = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_INT32)
            if n:
                memcpy(cnp.PyArray_DATA(<cnp.ndarray> array), self._texts[i].data(), n * sizeof(int32_t))
            arrays.append(array)
        return arrays
