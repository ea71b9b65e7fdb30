# SPDX-License-Identifier: MIT
# What a Call knows of its arrays. A part of stream.pyx.

cdef enum:  # what an array of a call is
    FRAME = 0    # input frames
    STATE = 1    # states that the sequences start from
    BOUND = 2    # what the model was made for: it must be this again
    UNUSED = 3   # nothing that the model reads

cdef enum:
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
