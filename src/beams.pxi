# SPDX-License-Identifier: MIT
# Beam search over the ids that a model is fed. A part of stream.pyx; undertow/decode.py checks what it is given.

from libcpp.vector cimport vector


cdef class Heirs:
    """Which block of state each hypothesis of the next round takes: its parent's, or a copy where that has another heir."""

    cdef Py_ssize_t n
    cdef int32_t* block   # of each hypothesis
    cdef int32_t* _next
    cdef uint8_t* _claimed

    def __cinit__(self, Py_ssize_t n):
        self.n = n
        self.block = <int32_t*> calloc(n, sizeof(int32_t))
        self._next = <int32_t*> calloc(n, sizeof(int32_t))
        self._claimed = <uint8_t*> calloc(n, sizeof(uint8_t))
        if not self.block or not self._next or not self._claimed:
            raise MemoryError

    def __dealloc__(self):
        free(self.block)
        free(self._next)
        free(self._claimed)

    cdef void begin(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n):
            self._claimed[i] = 0
            self._next[i] = -1

    cdef void keep(self, Py_ssize_t child, Py_ssize_t parent) noexcept nogil:
        """The child takes its parent's block, if no other has."""
        cdef int32_t block = self.block[parent]
        if not self._claimed[block]:
            self._claimed[block] = 1
            self._next[child] = block

    cdef int32_t free_block(self) noexcept nogil:
        cdef int32_t block = 0
        while self._claimed[block]:
            block += 1
        self._claimed[block] = 1
        return block

    cdef void copy(self, Py_ssize_t child, Py_ssize_t parent, Rows rows) noexcept nogil:
        """A block for a child that has none yet."""
        if self._next[child] < 0:
            self._next[child] = self.free_block()
            rows.copy_block(self._next[child], self.block[parent])

    cdef void end(self) noexcept nogil:
        self.block, self._next = self._next, self.block


cdef class BeamLoop:
    """Hypotheses of what a model goes on with: in each step the best `width` of all that have ended and all extensions."""

    cdef Rows rows
    cdef Heirs _heirs
    cdef Py_ssize_t width, _n_hypotheses, _n, _ids_input
    cdef readonly long long n_steps
    cdef long long _n_ids
    cdef int _output
    cdef double _penalty
    cdef bint _probabilities
    cdef Ranking _ranking
    cdef double* _d
    cdef double* _score
    cdef double* _rank
    cdef int32_t* _last      # id of each hypothesis, -1 for one that has ended
    cdef vector[int32_t] _parents, _ids  # of each step, `width` of them

    def __cinit__(self, model, Stream stream, Py_ssize_t width, Py_ssize_t ids_input, Py_ssize_t output, list fixed,
                  double penalty, bint probabilities):
        self.rows = Rows(model, width, output, fixed)
        self._heirs = Heirs(width)
        self.width, self._ids_input, self._output = width, ids_input, output
        self._n = self.rows.slots_out[output].size
        self._n_ids = n_ids_of(&self.rows.slots_in[ids_input])
        self._penalty, self._probabilities = penalty, probabilities
        self._ranking.width = width
        self._ranking.best = <Candidate*> calloc(width, sizeof(Candidate))
        self._d = <double*> calloc(self._n, sizeof(double))
        self._score = <double*> calloc(width, sizeof(double))
        self._rank = <double*> calloc(width, sizeof(double))
        self._last = <int32_t*> calloc(width, sizeof(int32_t))
        if not (self._ranking.best and self._d and self._score and self._rank and self._last):
            raise MemoryError
        if stream is not None:
            self.rows.load(0, stream)
        self._n_hypotheses = 1

    def __dealloc__(self):
        free(self._ranking.best)
        free(self._d)
        free(self._score)
        free(self._rank)
        free(self._last)

    def run(self, cnp.ndarray prompt, Py_ssize_t n_steps, long long end):
        """Feed int32 ids of the model's range, then search.

        Returns: how it ended, as `TextLoop.choose` says it.
        """
        cdef const int32_t* given = <const int32_t*> cnp.PyArray_DATA(prompt)
        cdef Py_ssize_t n = cnp.PyArray_SIZE(prompt) - 1, done = 0
        cdef int how = DONE
        cdef Slices slices
        slices.begin(self.rows.multiply_adds, 1)
        self.rows.at[0] = self.rows.block(0)
        self._last[0] = given[n]
        with nogil:
            while done < n:
                self._feed(given + done, slices.next(n - done), &done)
                if done < n and slices.look():
                    with gil:
                        PyErr_CheckSignals()
            while self.n_steps < n_steps and how == DONE and self._alive():
                how = self._search(slices.next(n_steps - self.n_steps), end)
                if how == DONE and self.n_steps < n_steps and slices.look():
                    with gil:
                        PyErr_CheckSignals()
        return how

    cdef void _feed(self, const int32_t* ids, Py_ssize_t n, Py_ssize_t* done) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(n):
            self.rows.put_id(self._ids_input, 0, ids[i])
            self.rows.step(1)
        done[0] += n

    cdef int _search(self, Py_ssize_t n, long long end) except -1 nogil:
        cdef int how = DONE
        while n and how == DONE and self._alive():
            how = self._advance(end)
            self.n_steps += how == DONE
            n -= 1
        return how

    cdef bint _alive(self) noexcept nogil:
        cdef Py_ssize_t h
        for h in range(self._n_hypotheses):
            if self._last[h] >= 0:
                return True
        return False

    cdef int _advance(self, long long end) except -1 nogil:
        cdef Py_ssize_t h, n = 0
        cdef const float* z = <const float*> self.rows.y[self._output]
        cdef double length = power_of(self.n_steps + 1, self._penalty)
        for h in range(self._n_hypotheses):
            if self._last[h] < 0:
                continue
            if self._last[h] >= self._n_ids:
                return NO_SUCH_ID
            self.rows.put_id(self._ids_input, n, self._last[h])
            self.rows.at[n] = self.rows.block(self._heirs.block[h])
            n += 1
        self.rows.step(n)
        self._ranking.n = 0
        for h in range(self._n_hypotheses):
            if self._last[h] < 0:
                offer(self._ranking, Candidate(self._rank[h], self._score[h], h, -1))
                continue
            if not log_probabilities(z, self._n, self._probabilities, self._d):
                return NO_NUMBERS
            offer_all(self._ranking, self._d, self._n, self._score[h], length, h)
            z += self._n
        self._inherit(end)
        return DONE

    cdef int _inherit(self, long long end) except -1 nogil:
        """Makes candidates hypotheses."""
        cdef Py_ssize_t i
        cdef Candidate c
        self._heirs.begin()
        for i in range(self.width):
            c = self._ranking.best[i] if i < <Py_ssize_t> self._ranking.n else Candidate(0, 0, 0, -1)
            self._parents.push_back(c.parent)
            self._ids.push_back(c.id)
            self._last[i] = c.id if c.id != end else -1
            self._score[i], self._rank[i] = c.score, c.rank
            if self._last[i] >= 0:
                self._heirs.keep(i, c.parent)
        self._n_hypotheses = self._ranking.n
        for i in range(self._n_hypotheses):
            if self._last[i] >= 0:
                self._heirs.copy(i, self._ranking.best[i].parent, self.rows)
        self._heirs.end()
        return 0

    def hypotheses(self):
        """A pair for each, best first: a list of ids, and the sum of the logs of their probabilities."""
        cdef Py_ssize_t h, at
        cdef long long t
        cdef list pairs = [], ids
        for h in range(self._n_hypotheses):
            ids, at = [], h
            for t in range(<long long> (self._ids.size() // self.width) - 1, -1, -1):
                if self._ids[t * self.width + at] >= 0:
                    ids.append(self._ids[t * self.width + at])
                at = self._parents[t * self.width + at]
            ids.reverse()
            pairs.append((ids, self._score[h]))
        return pairs
