# SPDX-License-Identifier: MIT
# What a Call knows of its arrays. A part of stream.pyx.

cdef enum:  # what an array of a call is
    FRAME = 0    # input frames
    STATE = 1    # states that the sequences start from
    BOUND = 2    # what the model was made for: it must be this again
    UNUSED = 3   # nothing that the model reads
    LENGTHS = 4  # timesteps of each item that count
    FULL = 5     # the same, of a model for which all do

cdef enum:
    COUNTS = -2            # the timestep of an output: the last that counts
    TOGETHER = 48          # whole sequences that go side by side at a time
    ROOM = 8 << 20         # bytes for a whole sequence that one call leaves to the next
    HUGE_PAGE = 2 << 20

cdef extern from "slices.h" nogil:
    cdef cppclass Glances:
        void begin()
        bint due()

cdef struct Watch:  # what `stop_of_call` is given
    Glances* glances
    void* call
    bint raised

cdef struct Part:  # a state field, and the elements of one item of an array that it starts from
    int number
    float* field          # in the stream that steps
    Py_ssize_t n, first
    const int64_t* where  # NULL: from `first` on

cdef struct Fed:
    int kind, typenum, n_dims, steps, items  # of the axes which is time and which the batch, or -1
    cnp.npy_intp dims[8]                     # -1: any
    Py_ssize_t n_bytes
    int input, first_part, n_parts
    const char* bound

cdef struct Given:
    int typenum, n_dims, steps, items, n_outer
    int axes[8]                # those of the tensor beside the frame, then those of the frame
    cnp.npy_intp dims[8]       # -1: as many as there are
    Py_ssize_t step, item      # the first; of the axis, or at all. step -1: the last
    bint once                  # one frame for the whole sequence


cdef void write_part(float* field, const float* source, Part* part) noexcept nogil:
    cdef Py_ssize_t i
    if part.where == NULL:
        memcpy(field, source + part.first, part.n * sizeof(float))
    else:
        for i in range(part.n):
            field[i] = source[part.where[i]]


cdef inline int64_t* numbers(array) noexcept:
    return <int64_t*> cnp.PyArray_DATA(<cnp.ndarray> array)


cdef object lengths_of(array, cnp.npy_intp n_items, Py_ssize_t n_steps):
    """Integers, one for each item or for all, as an int64 array of each; None where no sequence has such a length."""
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(array)
    cdef int typenum = cnp.PyArray_TYPE(<cnp.ndarray> array)
    cdef int64_t length
    if (n != 1 and n != n_items) or (typenum != cnp.NPY_INT32 and typenum != cnp.NPY_INT64):
        return None
    lengths = cnp.PyArray_SimpleNew(1, &n_items, cnp.NPY_INT64)
    for i in range(n_items):
        if typenum == cnp.NPY_INT32:
            length = (<const int32_t*> cnp.PyArray_DATA(<cnp.ndarray> array))[i if n > 1 else 0]
        else:
            length = (<const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> array))[i if n > 1 else 0]
        if not 0 <= length <= n_steps:
            return None
        numbers(lengths)[i] = length
    return lengths


cdef bint same_lengths(one, other) noexcept:
    return memcmp(numbers(one), numbers(other), cnp.PyArray_NBYTES(<cnp.ndarray> one)) == 0


cdef bint all_of(lengths, Py_ssize_t n_steps) noexcept:
    cdef Py_ssize_t i
    for i in range(cnp.PyArray_SIZE(lengths)):
        if numbers(lengths)[i] != n_steps:
            return False
    return True


cdef object last_rows(lengths, Py_ssize_t n_steps, Py_ssize_t item):
    """Of (items x timesteps) the last row that counts of each item, or of one that is not -1; of no timesteps the first."""
    cdef cnp.npy_intp n = cnp.PyArray_SIZE(lengths) if item < 0 else 1
    cdef Py_ssize_t i, k
    rows = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_INT64)
    for i in range(n):
        k = i if item < 0 else item
        numbers(rows)[i] = k * n_steps + max(numbers(lengths)[k], 1) - 1
    return rows
