# SPDX-License-Identifier: MIT
"""Public Cython API: `from undertow.stream cimport Stream`; no headers or libraries needed.

A stream belongs to one thread at a time. c_step, c_run and c_flush need no GIL, cannot fail, and allocate nothing;
between propose and rollback they are undone with the proposal. (In a stream of several threads they may lock, sleep and
wake: see Stream.) They are for models with one input and one output: n_inputs and n_outputs are the elements (4 bytes
each) of their frames, or -1 where there are several, and then none of the three may be called.
"""


cdef struct Slot:
    int typenum
    int n_dims
    Py_ssize_t dims[9]
    Py_ssize_t size
    long long n_ids


cdef class Stream:
    cdef readonly object model
    """The `Model` whose stream it is.

    >>> stream.model is model
    True
    """
    cdef readonly Py_ssize_t n_inputs
    """Elements of the only input frame: 8 for a shape of (8,), 514 for (257, 2); -1 where there are several inputs.

    >>> stream.n_inputs, model.inputs["input"].shape
    (8, (8,))
    """
    cdef readonly Py_ssize_t n_outputs
    """Elements of the only output frame, or -1 where there are several outputs.

    >>> stream.n_outputs, model.outputs["output"].shape
    (10, (10,))
    """
    cdef void* _memory
    cdef void* _stream
    cdef Slot* _slots_in
    cdef Slot* _slots_out
    cdef const void** _x
    cdef void** _y
    cdef int _n_in, _n_out
    cdef bint _single, _release
    cdef int _busy
    cdef void* _helpers
    cdef readonly Py_ssize_t threads
    """Threads that share a step, the caller's included: 1 where more would not pay, however many were asked for.

    >>> model.stream(threads=1).threads
    1
    """
    cdef Py_ssize_t _block
    cdef size_t _least
    cdef object _names_in, _names_out, _settled
    cdef Py_ssize_t _latency, _bound, _most
    cdef readonly long long position
    """Frames that the stream has taken since it was made, reset, restored or settled.

    A `run` that Ctrl-C ends has taken whole frames, and this many.

    >>> Y = stream.run(X)
    >>> stream.position
    8
    """
    cdef unsigned long long _multiply_adds
    cdef Py_ssize_t _whole_block  # frames that a run works on at a time
    cdef void* _places   # the memory of _slots_in to _y
    cdef size_t _n_bytes  # of _memory
    cdef void* _history_memory
    cdef void* _history
    cdef Py_ssize_t _most_kept
    cdef object __weakref__

    cdef void c_step(self, const void* x, void* y) noexcept nogil
    cdef void c_run(self, Py_ssize_t n_frames, const void* x, void* y) noexcept nogil
    cdef void c_flush(self, void* y) noexcept nogil  # the last Model.latency output frames

    # Private.
    cdef int _share(self, Py_ssize_t threads, bint measure, size_t least, double gain) except -1
    cdef void _prepare(self, Py_ssize_t n_frames) noexcept nogil
    cdef int _enter(self) except -1
    cdef object _input(self, object x, int i, int lead)
    cdef object _output(self, object out, int i, int lead, Py_ssize_t n)
    cdef int _settle_proposal(self, str how) except -1
    cdef void _write_states(self, list numbers, list arrays)
