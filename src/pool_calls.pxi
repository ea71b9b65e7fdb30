# SPDX-License-Identifier: MIT
# A call of a pool, from arrays that are checked to frames that are run; and one stream of it. A part of stream.pyx.

cdef object frames_of(Pool pool, object x, int i, int lead, Py_ssize_t n):
    """x itself if it can be used as it is, a copy of ids, or a clear error."""
    cdef Slot* slot = &pool._slots_in[i]
    if not fits(x, slot, lead) or cnp.PyArray_DIM(<cnp.ndarray> x, 0) != n:
        x = _inputs.coerce(x, pool.model.inputs[pool._names_in[i]], lead, n)
    if slot.typenum == cnp.NPY_INT32 and not ids_in_range(x, slot, cnp.PyArray_SIZE(<cnp.ndarray> x) // slot.size):
        _inputs.refuse_ids(x, pool.model.inputs[pool._names_in[i]])
    return x


cdef object outputs_of(Pool pool, object out, int i, int lead, Py_ssize_t n, Py_ssize_t T):
    cdef Slot* slot = &pool._slots_out[i]
    if out is None:
        return new_array(slot, lead, n, T)
    if (not fits(out, slot, lead) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out)
            or cnp.PyArray_DIM(<cnp.ndarray> out, 0) != n
            or (lead == 2 and cnp.PyArray_DIM(<cnp.ndarray> out, 1) != T)):
        _inputs.refuse_out(out, pool.model.outputs[pool._names_out[i]], *((n, T)[:lead]))
    return out


cdef object new_ids(Pool pool, Py_ssize_t n):
    """Ids for n new streams; their places are in _at, their states still anything."""
    cdef cnp.npy_intp size = n
    cdef Py_ssize_t i
    cdef uint32_t place
    if n > pool.capacity - pool.n_open:
        raise PoolError(f"no room for {n} more: {pool.n_open} of {pool.capacity} streams are open; "
                        "close some, or make a larger pool")
    ids = cnp.PyArray_SimpleNew(1, &size, cnp.NPY_INT64)
    cdef int64_t* to = <int64_t*> cnp.PyArray_DATA(<cnp.ndarray> ids)
    for i in range(n):
        if pool._n_free:
            pool._n_free -= 1
            place = pool._free[pool._n_free]
        else:
            place = pool._n_used
            pool._n_used += 1
        pool._generation = pool._generation % N_GENERATIONS + 1
        to[i] = pool._live[place] = pool._generation << 32 | place
        pool._at[i] = place
        pool._kept[place] = 0
    pool.n_open += n
    return ids


cdef int check_rooms(Pool pool, Py_ssize_t n, Py_ssize_t T) except -1:
    """Refuse T frames more of the n streams in _blocks where one of them has no room for so many."""
    cdef Py_ssize_t k
    cdef float seen
    for k in range(n):
        seen = ut_state_field(pool._m, pool._blocks[k], pool._bound)[0]
        if not seen + T <= pool._most:
            _inputs.refuse_full(pool._most, int(seen) if seen == seen else pool._most, T, f"stream {k} of the call")
    return 0


cdef object advance(Pool pool, object ids, object X, object out, int lead, bint proposal):
    """One timestep of streams (lead 1), which may be undone, or several (lead 2)."""
    cdef Py_ssize_t n, T = 1, k
    cdef int i, j
    cdef Slot* sx
    cdef Slot* sy
    cdef list xs = [], ys = []
    pool._enter()
    ids = pool._ids(ids, False)
    n = cnp.PyArray_DIM(<cnp.ndarray> ids, 0)
    frames = in_order(X, pool._names_in, "X")
    outs = in_order(out, pool._names_out, "out", True)
    for i in range(pool._n_in):
        xs.append(frames_of(pool, frames[i], i, lead, n))
        if lead == 2:
            if i and cnp.PyArray_DIM(<cnp.ndarray> xs[i], 1) != T:
                _inputs.refuse_lengths(pool._names_in, [x.shape[1] for x in xs])
            T = cnp.PyArray_DIM(<cnp.ndarray> xs[i], 1)
    for i in range(pool._n_out):
        ys.append(outputs_of(pool, outs[i], i, lead, n, T))
    with cython.critical_section(pool):
        pool._pick(ids, SETTLED)  # last: nothing runs Python code from here on
        for i in range(pool._n_in):
            pool._x[i] = cnp.PyArray_DATA(<cnp.ndarray> xs[i])
        for i in range(pool._n_out):
            pool._y[i] = cnp.PyArray_DATA(<cnp.ndarray> ys[i])
        if out is not None:
            for i in range(pool._n_in):
                for j in range(pool._n_out):
                    sx, sy = &pool._slots_in[i], &pool._slots_out[j]
                    if spoils(pool._x[i], sx, pool._y[j], sy, n * T) or (
                            pool._x[i] == pool._y[j] and sx.size != sy.size and n * T > 1):
                        refuse_overlap(pool._names_in[i], pool._names_out[j])
        if out is not None and overlapping(pool._y, pool._slots_out, pool._n_out, n * T, &i, &j):
            refuse_shared(pool._names_out, j, i)
        pool._find_blocks(n)
        if pool._most:
            check_rooms(pool, n, T)
        pool._busy = WORKING
        for k in range(n if proposal else 0):
            pool._pending[pool._at[k]] = 1
        run_pool(pool, n, T, pool._x, 0, T, pool._most_kept + proposal)
    return named(pool._names_out, ys, out)


cdef object flush_streams(Pool pool, object ids, object out):
    cdef Py_ssize_t n
    cdef int i, j
    cdef list ys = []
    pool._enter()
    ids = pool._ids(ids, False)
    n = cnp.PyArray_DIM(<cnp.ndarray> ids, 0)
    outs = in_order(out, pool._names_out, "out", True)
    for i in range(pool._n_out):
        ys.append(outputs_of(pool, outs[i], i, 2, n, pool._latency))
    with cython.critical_section(pool):
        pool._pick(ids, SETTLED)  # last: nothing runs Python code from here on
        for i in range(pool._n_out):
            pool._y[i] = cnp.PyArray_DATA(<cnp.ndarray> ys[i])
        if out is not None and overlapping(pool._y, pool._slots_out, pool._n_out, n * pool._latency, &i, &j):
            refuse_shared(pool._names_out, j, i)
        pool._busy = WORKING
        pool._find_blocks(n)
        if pool._latency:
            run_pool(pool, n, pool._latency, NULL, 0, pool._latency, 0)
        pool._busy = 0
    return named(pool._names_out, ys, out)


class Member:
    """One stream of a pool, as `StateView` needs it."""

    def __init__(self, Pool pool, id):
        self.model, self._pool, self._id = pool.model, pool, id

    def _get_state(self, int i):
        cdef Pool pool = self._pool
        cdef Slot slot
        fill_slot(&slot, field_of(pool._m, i))
        out = new_array(&slot, 0, 1)
        ids = pool._ids(self._id, True)
        with cython.critical_section(pool):
            memcpy(cnp.PyArray_DATA(<cnp.ndarray> out), ut_state_field(pool._m, pool._block(pool._one(ids)), i),
                   slot.size * sizeof(float))
        return out

    def _set_states(self, list numbers, list arrays):
        cdef Pool pool = self._pool
        check_fields(pool._m, numbers, arrays)
        ids = pool._ids(self._id, True)
        with cython.critical_section(pool):
            pool._write(pool._block(pool._one(ids)), numbers, arrays)
            pool._kept[pool._at[0]] = 0
