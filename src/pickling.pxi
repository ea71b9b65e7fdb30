# SPDX-License-Identifier: MIT
# What pickle and copy take streams and pools apart into, and how these resume. A part of stream.pyx.
#
# The other half stands in model.py: an object is made by a method of its model, which pickle writes once for all of them.

from .states import checksum


cdef tuple taken_apart(object made_by, object it, tuple parts):
    """For `__reduce__`; the attributes are those of a class that somebody made of Stream or Pool."""
    return made_by, (type(it), parts, checksum(parts)), getattr(it, "__dict__", None)


cdef tuple stream_parts(Stream stream):
    """Of `Model._resumed_stream`."""
    cdef double gain = (<Helpers*> stream._helpers).gain() if stream._helpers else INFINITY
    with cython.critical_section(stream):
        snapshot = saved(stream)
        position, settled = stream.position, stream._settled
    parts = stream._block, stream.threads, stream._least, gain < INFINITY, snapshot, settled, position
    return (*parts, stream._most_kept) if stream._most_kept else parts


cdef int resume_stream(Stream stream, object snapshot, object settled, Py_ssize_t position) except -1:
    Stream.restore(stream, snapshot)
    stream._settled = settled
    stream.position = position
    return 0


cdef tuple pool_parts(Pool pool):
    """Of `Model._resumed_pool`: ids in the order of their places, and a snapshot of each, one after the other."""
    cdef Py_ssize_t each = 32 + pool._state_bytes, place, n = pool.n_open, i = 0
    cdef cnp.npy_intp size = n
    cdef int64_t* to
    cdef tuple most = (pool._most_kept,) if pool._most_kept else ()
    pool._enter()
    states = PyBytes_FromStringAndSize(NULL, n * each)
    ids = cnp.PyArray_SimpleNew(1, &size, cnp.NPY_INT64)
    with cython.critical_section(pool):
        pool._enter()  # again: making them may have let another thread in
        if n != pool.n_open:
            raise RuntimeError("this pool is at work in another thread; give each thread its own: model.pool()")
        to = <int64_t*> cnp.PyArray_DATA(<cnp.ndarray> ids)
        for place in range(pool._n_used):
            if not pool._live[place]:
                continue
            if pool._pending[place]:
                raise StateError(f"stream {pool._live[place]} has a proposal pending: commit(ids) or rollback(ids) first")
            to[i] = pool._live[place]
            ut_state_save(pool._m, pool._block(place), PyBytes_AS_STRING(states) + i * each)
            i += 1
        return pool.capacity, pool.threads, ids, states, pool.advanced, *most


cdef int resume_pool(Pool pool, object ids, bytes states, Py_ssize_t advanced) except -1:
    cdef Py_ssize_t each = 32 + pool._state_bytes, place, i, n
    cdef int64_t id
    cdef ut_error err
    ids = pool._ids(ids, False)
    n = cnp.PyArray_DIM(<cnp.ndarray> ids, 0)
    if n > pool.capacity or len(states) != n * each:
        raise StateError(f"the pool in the pickle has {n} streams of {len(states)} bytes in all, expected at most "
                         f"{pool.capacity} of {each} each")
    for i in range(n):
        id = (<int64_t*> cnp.PyArray_DATA(<cnp.ndarray> ids))[i]
        place = id & 0xffffffff
        if id <= 0 or place >= pool.capacity or pool._live[place]:
            raise PoolError(f"the pool in the pickle has a stream {id}, which is no id of a pool or stands there twice")
        if ut_state_load(pool._m, pool._block(place), PyBytes_AS_STRING(states) + i * each, each, &err) != 0:
            raise StateError(err.detail.decode())
        pool._live[place] = id
        pool._n_used = max(pool._n_used, place + 1)
    for place in range(pool._n_used - 1, -1, -1):
        if not pool._live[place]:
            pool._free[pool._n_free] = place
            pool._n_free += 1
    pool.n_open = n
    pool.advanced = advanced
    return 0
