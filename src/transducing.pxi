# SPDX-License-Identifier: MIT
# Transducers: a predictor is fed the symbols so far, a joiner says from its output and a frame of an encoder what comes next.
# A part of stream.pyx; undertow/decode.py checks what it is given.

cdef class Joined:
    """What both searches know of their models.

    Args: numbers of inputs and outputs; a frame for each input that is fixed.
    """

    cdef object predictor_model, joiner_model
    cdef list predictor_fixed, joiner_fixed
    cdef Py_ssize_t ids_input, prediction, frame_input, prediction_input, logits
    cdef Py_ssize_t n, n_frame, n_prediction
    cdef int32_t start, blank
    cdef Py_ssize_t max_symbols
    cdef readonly long long n_frames  # taken since the last reset
    cdef int _busy
    cdef bint _release
    cdef unsigned long long _multiply_adds  # of a frame that gives one symbol
    cdef Slot _slot  # of a frame
    cdef Slot _ids_slot
    cdef object _frame_name
    cdef vector[int32_t] ids  # that no frame to come will change

    def __cinit__(self, predictor, joiner, list predictor_fixed, list joiner_fixed, Py_ssize_t ids_input,
                  Py_ssize_t prediction, Py_ssize_t frame_input, Py_ssize_t prediction_input, Py_ssize_t logits,
                  int32_t start, int32_t blank, Py_ssize_t max_symbols, *_):
        cdef const ut_model* m = <const ut_model*> PyCapsule_GetPointer(predictor._capsule, b"undertow.model.1")
        cdef const ut_model* other = <const ut_model*> PyCapsule_GetPointer(joiner._capsule, b"undertow.model.1")
        cdef ut_info info
        self.predictor_model, self.joiner_model = predictor, joiner
        self._release = predictor.file_bytes + joiner.file_bytes > 262144
        ut_model_info(m, &info)
        self._multiply_adds = info.multiply_adds
        ut_model_info(other, &info)
        self._multiply_adds += 2 * info.multiply_adds
        self.predictor_fixed, self.joiner_fixed = predictor_fixed, joiner_fixed
        self.ids_input, self.prediction = ids_input, prediction
        self.frame_input, self.prediction_input, self.logits = frame_input, prediction_input, logits
        self.start, self.blank, self.max_symbols = start, blank, max_symbols
        self.n = ut_output(other, logits).size
        fill_slot(&self._slot, ut_input(other, frame_input))
        self._frame_name = tuple(joiner.inputs)[frame_input]
        self.n_frame = ut_input(other, frame_input).size
        self.n_prediction = ut_output(m, prediction).size
        fill_slot(&self._ids_slot, ut_input(m, ids_input))
        if not takes_ids(&self._ids_slot) or <Py_ssize_t> ut_input(other, prediction_input).size != self.n_prediction:
            raise InternalError("a transducer's models do not fit as they were checked to")

    cdef int _enter(self) except -1:
        with cython.critical_section(self):
            if self._busy:
                raise RuntimeError("this transducer is at work in another thread; give each thread its own: fork()")
            self._busy = WORKING
        return 0

    cdef void _restart(self) noexcept nogil:
        pass

    cdef int _frame(self, const float* frame) except -1 nogil:
        return DONE

    def reset(self):
        self._enter()
        self._restart()
        self.ids.clear()
        self.n_frames = 0
        self._busy = 0

    def push(self, frames):
        """Take frames, or one.

        Returns: the ids that are settled now, and how it ended, as `TextLoop.choose` says it.
        """
        cdef Py_ssize_t before, n = 1
        cdef int how = DONE
        cdef const float* frame
        if not fits(frames, &self._slot, 0):
            if not fits(frames, &self._slot, 1):
                frames = _inputs.coerce(frames, self.joiner_model.inputs[self._frame_name], 1)
            n = cnp.PyArray_DIM(<cnp.ndarray> frames, 0)
        frame = <const float*> cnp.PyArray_DATA(<cnp.ndarray> frames)
        self._enter()
        try:
            before = self.ids.size()
            if n == 1 and not self._release:  # as a step: giving up the GIL would cost as much
                how = self._frames(frame, 1)
            else:
                how = self._look_and_go(frame, n)
            return self._settled(before), how
        finally:
            self._busy = 0

    cdef int _look_and_go(self, const float* frame, Py_ssize_t n) except -1:
        """Frames without the GIL; between them Ctrl-C is answered."""
        cdef Py_ssize_t some
        cdef int how = DONE
        cdef Slices slices
        slices.begin(self._multiply_adds, 1)
        with nogil:
            while n and how == DONE:
                some = slices.next(n)
                how = self._frames(frame, some)
                frame += some * self.n_frame
                n -= some
                if n and slices.look():
                    with gil:
                        PyErr_CheckSignals()
        return how

    cdef int _frames(self, const float* frame, Py_ssize_t n) except -1 nogil:
        cdef int how = DONE
        while n and how == DONE:
            how = self._frame(frame)
            self.n_frames += how == DONE
            frame += self.n_frame
            n -= 1
        return how

    cdef object _array(self, const vector[int32_t]& more, Py_ssize_t first):
        """Settled ids from the `first` on, and more."""
        cdef cnp.npy_intp n = self.ids.size() - first + more.size()
        cdef Py_ssize_t n_settled = self.ids.size() - first
        out = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_INT32)
        cdef int32_t* to = <int32_t*> cnp.PyArray_DATA(<cnp.ndarray> out)
        if n_settled:
            memcpy(to, self.ids.data() + first, n_settled * sizeof(int32_t))
        if more.size():
            memcpy(to + n_settled, more.data(), more.size() * sizeof(int32_t))
        return out

    cdef object _settled(self, Py_ssize_t first):
        cdef vector[int32_t] none
        return self._array(none, first)

    cdef list _all(self):
        return [(self._settled(0), None)]

    cdef int _keep_best(self) except -1:
        return 0

    def hypotheses(self):
        """A pair for each, best first: its ids, and its score or None."""
        self._enter()
        try:
            return self._all()
        finally:
            self._busy = 0

    def finish(self):
        """Go on from the best alone. Returns the ids that are settled by that."""
        cdef Py_ssize_t before
        self._enter()
        try:
            before = self.ids.size()
            self._keep_best()
            return self._settled(before)
        finally:
            self._busy = 0


cdef class GreedyTransducer(Joined):
    """The largest logit at each call of the joiner."""

    cdef Stream _predictor, _joiner
    cdef void* _fed  # a frame of the input of ids
    cdef float* _prediction
    cdef float* _z

    def __cinit__(self, *_):
        self._predictor, self._joiner = Stream(self.predictor_model, 1), Stream(self.joiner_model, 1)
        self._prediction = <float*> calloc(self.n_prediction, sizeof(float))
        self._z = <float*> calloc(self.n, sizeof(float))
        self._fed = calloc(self._ids_slot.size, 4)
        if not self._fed or not self._prediction or not self._z:
            raise MemoryError
        point_at(self._predictor._x, self.predictor_fixed, self._predictor._n_in, self._predictor._slots_in, self.ids_input)
        self._predictor._x[self.ids_input] = self._fed
        self._predictor._y[self.prediction] = self._prediction
        cdef Py_ssize_t i
        for i in range(self._joiner._n_in):
            if self.joiner_fixed[i] is not None:
                self._joiner._x[i] = cnp.PyArray_DATA(<cnp.ndarray> self.joiner_fixed[i])
        self._joiner._x[self.prediction_input] = self._prediction
        self._joiner._y[self.logits] = self._z
        self._restart()

    def __dealloc__(self):
        free(self._fed)
        free(self._prediction)
        free(self._z)

    cdef void _predict(self, int32_t id) noexcept nogil:
        put_id(self._fed, &self._ids_slot, id)
        ut_run(<ut_stream*> self._predictor._stream, 1, self._predictor._x, self._predictor._y)

    cdef void _restart(self) noexcept nogil:
        ut_stream_reset(<ut_stream*> self._predictor._stream)
        self._predict(self.start)

    cdef int _frame(self, const float* frame) except -1 nogil:
        cdef Py_ssize_t i, id
        self._joiner._x[self.frame_input] = frame
        for i in range(self.max_symbols):
            ut_run(<ut_stream*> self._joiner._stream, 1, self._joiner._x, self._joiner._y)
            id = first_largest(self._z, self.n)
            if id < 0:
                return NO_NUMBERS
            if id == self.blank:
                break
            self.ids.push_back(id)
            self._predict(id)
        return DONE

    def copy_from(self, GreedyTransducer other):
        other._enter()
        try:
            ut_stream_copy(<ut_stream*> self._predictor._stream, <ut_stream*> other._predictor._stream)
            memcpy(self._prediction, other._prediction, self.n_prediction * sizeof(float))
            self.ids = other.ids
            self.n_frames = other.n_frames
        finally:
            other._busy = 0


cdef class BeamTransducer(Joined):
    """The best `width` texts of the frames so far, none of which emits more than max_symbols in a frame.

    Each call of the joiner extends the hypotheses that have not had a blank in this frame, by a symbol or a blank, and the
    best of these and of those that had one are kept.
    """

    cdef Rows _predictor, _joiner
    cdef Heirs _heirs
    cdef Py_ssize_t width, _n_hypotheses
    cdef bint _merge, _probabilities
    cdef Ranking _ranking
    cdef double* _d
    cdef double* _score
    cdef uint8_t* _open      # whether a hypothesis waits for its blank
    cdef float* _predictions  # one for each block of state
    cdef vector[vector[int32_t]] _texts, _next  # behind what is settled

    def __cinit__(self, *given):
        self.width, self._merge, self._probabilities = given[12], given[13], given[14]
        self._multiply_adds *= self.width
        self._predictor = Rows(self.predictor_model, self.width, self.prediction, self.predictor_fixed)
        self._joiner = Rows(self.joiner_model, self.width, self.logits, self.joiner_fixed)
        self._heirs = Heirs(self.width)
        self._ranking.width = self.width
        self._ranking.best = <Candidate*> calloc(self.width, sizeof(Candidate))
        self._d = <double*> calloc(self.n, sizeof(double))
        self._score = <double*> calloc(self.width, sizeof(double))
        self._open = <uint8_t*> calloc(self.width, sizeof(uint8_t))
        self._predictions = <float*> calloc(self.width * self.n_prediction, sizeof(float))
        if not (self._ranking.best and self._d and self._score and self._open and self._predictions):
            raise MemoryError
        self._texts.resize(self.width)
        self._next.resize(self.width)
        cdef Py_ssize_t row
        for row in range(self.width):
            self._joiner.at[row] = self._joiner.block(row)
        self._restart()

    def __dealloc__(self):
        free(self._ranking.best)
        free(self._d)
        free(self._score)
        free(self._open)
        free(self._predictions)

    cdef inline float* _prediction(self, Py_ssize_t block) noexcept nogil:
        return self._predictions + block * self.n_prediction

    cdef void _predict(self, Py_ssize_t row, Py_ssize_t block, int32_t id) noexcept nogil:
        """Makes a state a row of the predictor's next step."""
        self._predictor.put_id(self.ids_input, row, id)
        self._predictor.at[row] = self._predictor.block(block)

    cdef void _restart(self) noexcept nogil:
        ut_state_reset(self._predictor._m, self._predictor.block(0))
        self._predict(0, 0, self.start)
        self._predictor.step(1)
        memcpy(self._prediction(0), self._predictor.y[self.prediction], self.n_prediction * sizeof(float))
        self._n_hypotheses = 1
        self._heirs.block[0] = 0
        self._score[0] = 0
        self._texts[0].clear()

    cdef int _frame(self, const float* frame) except -1 nogil:
        cdef Py_ssize_t h, n, i
        cdef int how
        for h in range(self.width):
            self._joiner.put(self.frame_input, h, frame)
            self._open[h] = True
        for i in range(self.max_symbols):
            n = 0
            for h in range(self._n_hypotheses):
                if self._open[h]:
                    self._joiner.put(self.prediction_input, n, self._prediction(self._heirs.block[h]))
                    n += 1
            if n == 0:
                break
            self._joiner.step(n)
            how = self._rank()
            if how == DONE:
                self._inherit(i == self.max_symbols - 1)
            else:
                return how
        if self._merge:
            self._merge_equals()
        self._settle()
        return DONE

    cdef int _rank(self) noexcept nogil:
        cdef Py_ssize_t h
        cdef const float* z = <const float*> self._joiner.y[self.logits]
        self._ranking.n = 0
        for h in range(self._n_hypotheses):
            if not self._open[h]:
                offer(self._ranking, Candidate(self._score[h], self._score[h], h, -1))
                continue
            if not log_probabilities(z, self.n, self._probabilities, self._d):
                return NO_NUMBERS
            offer_all(self._ranking, self._d, self.n, self._score[h], 1, h)
            z += self.n
        return DONE

    cdef int _inherit(self, bint last) except -1 nogil:
        """Makes candidates hypotheses; those with a new symbol step the predictor."""
        cdef Py_ssize_t i, n = 0
        cdef const Candidate* c = self._ranking.best
        cdef int32_t block
        self._n_hypotheses = self._ranking.n
        self._heirs.begin()
        for i in range(self._n_hypotheses):
            if c[i].id < 0 or c[i].id == self.blank:
                self._heirs.keep(i, c[i].parent)
        for i in range(self._n_hypotheses):
            self._next[i] = self._texts[c[i].parent]
            self._score[i] = c[i].score
            self._open[i] = False
            if c[i].id < 0 or c[i].id == self.blank:
                continue
            self._next[i].push_back(c[i].id)
            self._open[i] = not last
            self._heirs.keep(i, c[i].parent)
        for i in range(self._n_hypotheses):
            self._heirs.copy(i, c[i].parent, self._predictor)
        self._heirs.end()
        self._texts.swap(self._next)
        for i in range(self._n_hypotheses):
            if c[i].id >= 0 and c[i].id != self.blank:
                self._predict(n, self._heirs.block[i], c[i].id)
                n += 1
        if n:
            self._predictor.step(n)
        n = 0
        for i in range(self._n_hypotheses):
            if c[i].id >= 0 and c[i].id != self.blank:
                memcpy(self._prediction(self._heirs.block[i]),
                       <const float*> self._predictor.y[self.prediction] + n * self.n_prediction,
                       self.n_prediction * sizeof(float))
                n += 1
        return 0

    cdef void _move(self, Py_ssize_t to, Py_ssize_t source) noexcept nogil:
        """Swaps two hypotheses."""
        self._score[to], self._score[source] = self._score[source], self._score[to]
        self._heirs.block[to], self._heirs.block[source] = self._heirs.block[source], self._heirs.block[to]
        self._texts[to].swap(self._texts[source])

    cdef void _merge_equals(self) noexcept nogil:
        """One hypothesis for each text, with the sum of the probabilities; best first again."""
        cdef Py_ssize_t h, other, n = 0, at
        for h in range(self._n_hypotheses):
            other = 0
            while other < n and self._texts[other] != self._texts[h]:
                other += 1
            if other < n:
                self._score[other] = log_add(self._score[other], self._score[h])
                at = other
            else:
                self._move(n, h)
                at = n
                n += 1
            while at and self._score[at] > self._score[at - 1]:
                self._move(at, at - 1)
                at -= 1
        self._n_hypotheses = n

    cdef int _settle(self) except -1 nogil:
        """What all hypotheses begin with does not change any more."""
        cdef size_t common = self._texts[0].size(), i
        cdef Py_ssize_t h
        for h in range(1, self._n_hypotheses):
            i = 0
            while i < common and i < self._texts[h].size() and self._texts[h][i] == self._texts[0][i]:
                i += 1
            common = i
        if common:
            self.ids.insert(self.ids.end(), self._texts[0].begin(), self._texts[0].begin() + common)
            for h in range(self._n_hypotheses):
                self._texts[h].erase(self._texts[h].begin(), self._texts[h].begin() + common)
        return 0

    def copy_from(self, BeamTransducer other):
        cdef Py_ssize_t h
        other._enter()
        try:
            for h in range(self.width):
                memcpy(self._predictor.block(h), other._predictor.block(h), self._predictor.state_bytes)
                self._heirs.block[h] = other._heirs.block[h]
                self._score[h] = other._score[h]
            memcpy(self._predictions, other._predictions, self.width * self.n_prediction * sizeof(float))
            self._texts = other._texts
            self._n_hypotheses = other._n_hypotheses
            self.ids = other.ids
            self.n_frames = other.n_frames
        finally:
            other._busy = 0

    cdef list _all(self):
        return [(self._array(self._texts[h], 0), self._score[h]) for h in range(self._n_hypotheses)]

    cdef int _keep_best(self) except -1:
        self._n_hypotheses = 1
        self._settle()
        return 0
