# SPDX-License-Identifier: MIT
# Timesteps of a stream, and how they are undone: proposals, and what `rewind` keeps. A part of stream.pyx.
#
# A history has room for one timestep more than `rewind` may undo, for the one that is proposed.

cdef int keep_history(Stream stream, const ut_model* m, Py_ssize_t k) except -1:
    cdef size_t n_bytes
    if k < 0:
        raise ValueError(f"rewind is {k}, expected the number of timesteps to keep, 0 or more")
    n_bytes = ut_history_bytes(m, <size_t> k + 1)
    if n_bytes:
        stream._history_memory = aligned_memory(64, n_bytes)
    if not stream._history_memory:
        raise MemoryError(f"rewind={k}: there is no memory for so many states")
    if ut_history_init(stream._history_memory, n_bytes, <ut_stream*> stream._stream, <size_t> k + 1,
                       <ut_history**> &stream._history) != 0:
        raise InternalError("ut_history_init refused a stream")
    stream._most_kept = k
    return 0


cdef inline void forget(Stream stream) noexcept nogil:
    """Something other than a timestep changes the stream."""
    if stream._history:
        ut_history_trim(<ut_history*> stream._history, 0)


cdef inline Py_ssize_t forget_before(Stream stream, Py_ssize_t n) noexcept nogil:
    """How many of n timesteps come too early to be kept; with the first of them all that was kept is too old."""
    if n <= stream._most_kept:
        return 0
    ut_history_trim(<ut_history*> stream._history, 0)
    return n - stream._most_kept


cdef inline void run_unkept(Stream stream, Py_ssize_t n, const void** x, void** y) noexcept nogil:
    if stream._helpers:
        stream._prepare(n)
    ut_run(<ut_stream*> stream._stream, n, x, y)


cdef inline void take(Stream stream, Py_ssize_t n, const void** x, void** y) noexcept nogil:
    """Timesteps that a history, if there is one, keeps: one, where there are helpers."""
    if not stream._history:
        run_unkept(stream, n, x, y)
        return
    if stream._helpers:
        stream._prepare(n)
    ut_history_run(<ut_history*> stream._history, n, x, y)
    ut_history_trim(<ut_history*> stream._history, stream._most_kept)


cdef int run_frames(Stream stream, Py_ssize_t n, bint flush=False) except -1:
    """Take n frames from _x, none to flush, to _y, both of which it moves on; between them Ctrl-C is answered."""
    cdef Slices slices
    cdef const void** x = stream._x
    cdef Py_ssize_t done = 0, early = n, some
    cdef int i
    if flush:
        x = NULL
        forget(stream)
    else:
        if stream._most:
            check_room(stream, n)
        if stream._history:
            early = forget_before(stream, n)
    stream._busy = WORKING
    slices.begin(stream._multiply_adds, stream._whole_block)
    try:
        with nogil:
            while True:
                some = slices.next(early - done if done < early else n - done)
                if done < early or not n:
                    run_unkept(stream, some, x, stream._y)
                else:
                    some = min(some, 1) if stream._helpers else some
                    take(stream, some, x, stream._y)
                done += some
                if done == n:
                    break
                for i in range(0 if flush else stream._n_in):
                    stream._x[i] = <const char*> stream._x[i] + 4 * some * stream._slots_in[i].size
                for i in range(stream._n_out):
                    stream._y[i] = <char*> stream._y[i] + 4 * some * stream._slots_out[i].size
                if slices.look():
                    with gil:
                        PyErr_CheckSignals()
    finally:
        if not flush:
            stream.position += done
        stream._busy = 0
    return 0


cdef int propose_frame(Stream stream) except -1:
    """One timestep from _x to _y that may be undone; the caller has entered."""
    if stream._most:
        check_room(stream, 1)
    stream._busy = WORKING
    with nogil:
        if stream._helpers:
            stream._prepare(1)
        if stream._history:
            ut_history_run(<ut_history*> stream._history, 1, stream._x, stream._y)
        else:
            ut_propose(<ut_stream*> stream._stream, stream._x, stream._y)
    stream.position += 1
    stream._busy = PROPOSED
    return 0


cdef void commit_frame(Stream stream) noexcept:
    if stream._history:
        ut_history_trim(<ut_history*> stream._history, stream._most_kept)
    else:
        ut_commit(<ut_stream*> stream._stream)


cdef void roll_frame_back(Stream stream) noexcept:
    if stream._history:
        ut_history_rewind(<ut_history*> stream._history, 1)
    else:
        ut_rollback(<ut_stream*> stream._stream)
    stream.position -= 1


cdef Py_ssize_t kept_of(Stream stream) noexcept:
    return ut_history_kept(<ut_history*> stream._history) if stream._history else 0


cdef object refuse_rewind(str call, object n, Py_ssize_t kept, Py_ssize_t most, str make):
    if n < 0:
        raise ValueError(f"{call}: expected 0 or more timesteps")
    if not most:
        raise StateError(f"{call}: no timesteps are kept; {make}(..., rewind=k) keeps the last k")
    raise StateError(f"{call}: the last {kept} timesteps are kept, of at most {most} (rewind={most}), and those before "
                     "a reset, restore, flush or write to the state are not")


cdef int rewind_stream(Stream stream, object n) except -1:
    with cython.critical_section(stream):
        stream._enter()
        if not 0 <= n <= kept_of(stream):
            refuse_rewind(f"rewind({n})", n, kept_of(stream), stream._most_kept, "model.stream")
        if n:
            ut_history_rewind(<ut_history*> stream._history, n)
            stream.position -= n
    return 0
