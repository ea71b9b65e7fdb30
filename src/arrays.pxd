# SPDX-License-Identifier: MIT
# cython: boundscheck=False, wraparound=False, cdivision=True
"""Checks of arrays in place."""

from libc.stdint cimport int32_t, uint32_t

cimport numpy as cnp

from capi cimport ut_tensor
from undertow.stream cimport Slot


cdef inline void fill_slot(Slot* slot, ut_tensor t) noexcept:
    cdef uint32_t i
    slot.typenum = cnp.NPY_INT32 if t.dtype == 1 else cnp.NPY_FLOAT32
    slot.n_dims = t.n_dims
    slot.dims[0] = 1
    for i in range(t.n_dims):
        slot.dims[i + 1] = t.dims[i]
    slot.size = t.size
    slot.n_ids = t.n_ids


# Whether x is a C-contiguous, aligned, native array of the slot's dtype with `lead` axes before the frame's.
cdef inline bint fits(object x, const Slot* slot, int lead):
    cdef int i
    if not cnp.PyArray_Check(x):
        return False
    if cnp.PyArray_TYPE(<cnp.ndarray> x) != slot.typenum or cnp.PyArray_NDIM(<cnp.ndarray> x) != slot.n_dims + lead:
        return False
    if not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> x):
        return False
    for i in range(slot.n_dims):
        if cnp.PyArray_DIM(<cnp.ndarray> x, i + lead) != slot.dims[i + 1]:
            return False
    return True


cdef inline bint ids_in_range(object x, const Slot* slot, Py_ssize_t n):
    cdef const int32_t* ids = <const int32_t*> cnp.PyArray_DATA(<cnp.ndarray> x)
    cdef Py_ssize_t i
    for i in range(n * slot.size):
        if ids[i] < 0 or ids[i] >= slot.n_ids:
            return False
    return True


# Whether writing y block by block would change x before it is read: they overlap, other than frame on frame in place.
cdef inline bint spoils(const void* x, const Slot* sx, const void* y, const Slot* sy, Py_ssize_t n) noexcept:
    cdef const char* a = <const char*> x
    cdef const char* b = <const char*> y
    if a == b and sy.size <= sx.size:
        return False
    return a < b + 4 * n * sy.size and b < a + 4 * n * sx.size


# Whether two of the outputs share memory, and which: arrays of n frames each.
cdef inline bint overlapping(void* const* y, const Slot* slots, int n_out, Py_ssize_t n, int* first, int* other) noexcept:
    cdef int i, j
    for i in range(1, n_out):
        for j in range(i):
            if (<const char*> y[i] < <const char*> y[j] + 4 * n * slots[j].size
                    and <const char*> y[j] < <const char*> y[i] + 4 * n * slots[i].size):
                first[0], other[0] = i, j
                return True
    return False


# An array of the slot's dtype: frames with `lead` axes before them, of n and T entries.
cdef inline object new_array(const Slot* slot, int lead, Py_ssize_t n, Py_ssize_t T=1):
    cdef cnp.npy_intp dims[10]
    cdef int i
    dims[0] = n
    dims[1] = T
    for i in range(slot.n_dims):
        dims[i + lead] = slot.dims[i + 1]
    return cnp.PyArray_SimpleNew(slot.n_dims + lead, dims, slot.typenum)
