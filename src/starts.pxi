# SPDX-License-Identifier: MIT
# Streams of a pool that start from arrays of states. A part of stream.pyx.

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
            pool._kept[pool._at[i]] = 0
            ut_state_reset(pool._m, pool._block(pool._at[i]))
        for k in range(len(numbers)):
            array = arrays[k]
            size = field_of(pool._m, numbers[k]).size
            for i in range(n):
                memcpy(ut_state_field(pool._m, pool._block(pool._at[i]), numbers[k]),
                       <const float*> cnp.PyArray_DATA(array) + i * size, size * sizeof(float))
