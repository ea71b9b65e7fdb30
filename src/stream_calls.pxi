# SPDX-License-Identifier: MIT
# Calls of a stream by names, of several inputs or outputs, and the end of a sequence. A part of stream.pyx.

cdef int check_room(Stream stream, Py_ssize_t n) except -1:
    """Refuse n frames more of a model of which a sequence has at most so many."""
    cdef float seen
    ut_stream_get(<ut_stream*> stream._stream, stream._bound, &seen)
    if not seen + n <= stream._most:
        _inputs.refuse_full(stream._most, int(seen) if seen == seen else stream._most, n)
    return 0


cdef object many_frames(Stream stream, object x, object out, int lead, bint proposal=False):
    cdef Py_ssize_t n = 1
    cdef int i, j
    cdef list xs = [], ys = []
    frames = in_order(x, stream._names_in, "input")
    outs = in_order(out, stream._names_out, "out", True)
    for i in range(stream._n_in):
        xs.append(stream._input(frames[i], i, lead))
        if lead:
            if i and cnp.PyArray_DIM(<cnp.ndarray> xs[i], 0) != n:
                from ._inputs import refuse_lengths
                refuse_lengths(stream._names_in, [len(a) for a in xs])
            n = cnp.PyArray_DIM(<cnp.ndarray> xs[i], 0)
    for i in range(stream._n_out):
        ys.append(stream._output(outs[i], i, lead, n))
    with cython.critical_section(stream):
        stream._enter()  # again: reading the dicts may have let another thread in
        for i in range(stream._n_in):
            stream._x[i] = cnp.PyArray_DATA(<cnp.ndarray> xs[i])
        for i in range(stream._n_out):
            stream._y[i] = cnp.PyArray_DATA(<cnp.ndarray> ys[i])
        if out is not None and overlapping(stream._y, stream._slots_out, stream._n_out, n, &i, &j):
            refuse_shared(stream._names_out, j, i)
        if lead and out is not None:
            for i in range(stream._n_in):
                for j in range(stream._n_out):
                    if spoils(stream._x[i], &stream._slots_in[i], stream._y[j], &stream._slots_out[j], n):
                        refuse_overlap(stream._names_in[i], stream._names_out[j])
        if proposal:
            propose_frame(stream)
        else:
            run_frames(stream, n)
    return named(stream._names_out, ys, out)


cdef object flush_stream(Stream stream, object out):
    cdef int i, j
    cdef list ys = []
    stream._enter()
    outs = in_order(out, stream._names_out, "out", True)
    for i in range(stream._n_out):
        ys.append(stream._output(outs[i], i, 1, stream._latency))
    with cython.critical_section(stream):
        stream._enter()  # again: reading the dict may have let another thread in
        for i in range(stream._n_out):
            stream._y[i] = cnp.PyArray_DATA(<cnp.ndarray> ys[i])
        if out is not None and overlapping(stream._y, stream._slots_out, stream._n_out, stream._latency, &i, &j):
            refuse_shared(stream._names_out, j, i)
        if stream._latency:
            run_frames(stream, stream._latency, True)
    return named(stream._names_out, ys, out)
