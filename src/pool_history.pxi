# SPDX-License-Identifier: MIT
# Timesteps of the streams of a pool, and how they are undone: proposals, and what `rewind` keeps. A part of stream.pyx.

cdef inline char* before(Pool pool, Py_ssize_t place, Py_ssize_t slot) noexcept nogil:
    return pool._before + (place * (pool._most_kept + 1) + slot) * pool._state_bytes


cdef inline void trim_place(Pool pool, Py_ssize_t place, Py_ssize_t most) noexcept nogil:
    if pool._kept[place] > most:
        pool._kept[place] = most


cdef void keep(Pool pool, Py_ssize_t n) noexcept nogil:
    """Of the n streams of a call their states, before a timestep."""
    cdef Py_ssize_t i, place
    for i in range(n):
        place = pool._at[i]
        memcpy(before(pool, place, pool._next[place]), pool._blocks[i], pool._state_bytes)
        pool._next[place] = 0 if pool._next[place] == pool._most_kept else pool._next[place] + 1
        pool._kept[place] += 1


cdef void trim(Pool pool, Py_ssize_t n, Py_ssize_t most) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        trim_place(pool, pool._at[i], most)


cdef void bring_back(Pool pool, Py_ssize_t place, Py_ssize_t n) noexcept nogil:
    """The state before the last n timesteps of a stream, 1 or more, which are kept."""
    cdef Py_ssize_t slot = pool._next[place] - n
    if slot < 0:
        slot += pool._most_kept + 1
    memcpy(pool._block(place), before(pool, place, slot), pool._state_bytes)
    pool._next[place] = slot
    pool._kept[place] -= n


cdef void copy_place(Pool pool, Py_ssize_t to, Py_ssize_t place) noexcept nogil:
    """Make the stream at `to` remember and keep what the one at `place` does."""
    cdef Py_ssize_t back, slot
    memcpy(pool._block(to), pool._block(place), pool._state_bytes)
    pool._next[to], pool._kept[to] = pool._next[place], pool._kept[place]
    for back in range(1, pool._kept[place] + 1):
        slot = pool._next[place] - back
        if slot < 0:
            slot += pool._most_kept + 1
        memcpy(before(pool, to, slot), before(pool, place, slot), pool._state_bytes)


cdef int run_pool(Pool pool, Py_ssize_t n, Py_ssize_t T, const void** x, Py_ssize_t first, Py_ssize_t room,
                  Py_ssize_t most) except -1:
    """T timesteps of the n streams in _blocks, all at once; between them Ctrl-C is answered. x: NULL to flush. They stand in x
    and _y from the `first` of `room` on. The last `most` are kept, and of what was kept before no more than that is left.
    """
    cdef Slices slices
    cdef Py_ssize_t some, early = T - most if T > most else 0
    if pool._most_kept and early:
        trim(pool, n, 0)
    if T == 1:  # a step, which is not cut
        with nogil:
            if not early:
                keep(pool, n)
            pool._crew.run(n, pool._blocks, room, first, 1, x, pool._y)
            if not early:
                trim(pool, n, most)
        pool.advanced = 1
    else:
        slices.begin(pool._multiply_adds * <unsigned long long> n, 1)
        pool.advanced = 0
        try:
            with nogil:
                while True:
                    if pool.advanced < early or not T:
                        some = slices.next(early - pool.advanced)
                    else:
                        some = 1
                        keep(pool, n)
                        trim(pool, n, most)
                    pool._crew.run(n, pool._blocks, room, first + pool.advanced, some, x, pool._y)
                    pool.advanced += some
                    if pool.advanced == T:
                        break
                    if slices.look():
                        with gil:
                            PyErr_CheckSignals()
        finally:
            pool._busy = 0
    pool._busy = 0
    return 0


cdef int settle_streams(Pool pool, object ids, bint back) except -1:
    """Commit what was proposed, or roll it back."""
    cdef Py_ssize_t n, i
    ids = pool._ids(ids, True)
    with cython.critical_section(pool):
        n = pool._pick(ids, PROPOSED)
        for i in range(n):
            pool._pending[pool._at[i]] = 0
            if back:
                bring_back(pool, pool._at[i], 1)
        trim(pool, n, pool._most_kept)
    return 0


cdef object fork_streams(Pool pool, object ids):
    cdef Py_ssize_t n, i
    pool._enter()
    ids = pool._ids(ids, True)
    n = cnp.PyArray_DIM(<cnp.ndarray> ids, 0)
    with cython.critical_section(pool):
        pool._enter()  # again: reading them may have let another thread in
        if n <= pool.capacity:  # more are refused by new_ids
            pool._pick(ids, SETTLED, True)
            for i in range(n):  # new_ids writes to _at
                pool._blocks[i] = <float*> <size_t> pool._at[i]
        new = new_ids(pool, n)
        for i in range(n):
            copy_place(pool, pool._at[i], <size_t> pool._blocks[i])
    return new


cdef int rewind_streams(Pool pool, object ids, object n) except -1:
    cdef Py_ssize_t count, i
    cdef list numbers
    ids = pool._ids(ids, True)
    count = cnp.PyArray_DIM(<cnp.ndarray> ids, 0)
    numbers = [n] * count if type(n) is int else _inputs.timesteps(n, count)
    with cython.critical_section(pool):
        pool._pick(ids, SETTLED)
        for i in range(count):
            if not 0 <= numbers[i] <= pool._kept[pool._at[i]]:
                refuse_rewind(f"rewind of ids[{i}] by {numbers[i]}", numbers[i], pool._kept[pool._at[i]], pool._most_kept,
                              "model.pool")
        for i in range(count):
            if numbers[i]:
                bring_back(pool, pool._at[i], numbers[i])
    return 0


cdef object kept_of_streams(Pool pool, object ids):
    cdef Py_ssize_t i
    cdef cnp.npy_intp n
    ids = pool._ids(ids, True)
    n = cnp.PyArray_DIM(<cnp.ndarray> ids, 0)
    kept = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_INT64)
    with cython.critical_section(pool):
        pool._pick(ids, SETTLED)
        for i in range(n):
            (<int64_t*> cnp.PyArray_DATA(<cnp.ndarray> kept))[i] = pool._kept[pool._at[i]]
    return kept
