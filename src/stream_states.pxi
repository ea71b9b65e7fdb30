# SPDX-License-Identifier: MIT
# What a stream remembers: saved, restored, started anew, copied. A part of stream.pyx.

cdef int lay_out(Stream stream) except -1:
    """Memory for what stands beside its inputs and outputs."""
    cdef size_t n_in = stream._n_in, n_out = stream._n_out
    stream._places = calloc(n_in + n_out + 1, sizeof(Slot) + sizeof(void*))
    if not stream._places:
        raise MemoryError
    stream._slots_in = <Slot*> stream._places
    stream._slots_out = stream._slots_in + n_in
    stream._x = <const void**> (stream._slots_out + n_out)
    stream._y = <void**> stream._x + n_in
    return 0


cdef int describe_stream(Stream stream, const ut_model* m, Py_ssize_t block) except -1:
    """What a stream knows of its model, and of its own size."""
    cdef ut_info info
    cdef int i
    model = stream.model
    ut_model_info(m, &info)
    if not info.streamable:
        model.stream()  # raises, naming the node
    stream._n_in = info.n_inputs
    stream._n_out = info.n_outputs
    stream._latency = info.latency
    stream._bound, stream._most = bound_of(model.states)
    stream._n_bytes = ut_stream_bytes(m, block) if block else info.stream_bytes
    stream._block = block
    lay_out(stream)
    for i in range(stream._n_in):
        fill_slot(&stream._slots_in[i], ut_input(m, i))
    for i in range(stream._n_out):
        fill_slot(&stream._slots_out[i], ut_output(m, i))
    stream._names_in = names_of(model.inputs, stream._n_in)
    stream._names_out = names_of(model.outputs, stream._n_out)
    stream._multiply_adds = info.multiply_adds
    stream._whole_block = min(block, info.block) if block else info.block
    stream._single = stream._n_in == 1 and stream._n_out == 1
    stream.n_inputs = stream._slots_in[0].size if stream._n_in == 1 else -1
    stream.n_outputs = stream._slots_out[0].size if stream._n_out == 1 else -1
    # Giving up the GIL costs about as much as a small step; larger ones let other threads run.
    stream._release = model.file_bytes > 262144
    return 0


cdef int describe_alike(Stream stream, Stream other) except -1:
    """The same, from a stream that knows it: a fork is made in less than a microsecond."""
    stream._n_in, stream._n_out, stream._latency = other._n_in, other._n_out, other._latency
    stream._bound, stream._most = other._bound, other._most
    stream._n_bytes, stream._block, stream._whole_block = other._n_bytes, other._block, other._whole_block
    lay_out(stream)
    memcpy(stream._places, other._places, (stream._n_in + stream._n_out) * sizeof(Slot))
    stream._names_in, stream._names_out = other._names_in, other._names_out
    stream._multiply_adds, stream._single = other._multiply_adds, other._single
    stream.n_inputs, stream.n_outputs = other.n_inputs, other.n_outputs
    # With helpers the GIL is given up as well, which a fork learns from its own.
    stream._release = stream.model.file_bytes > 262144
    return 0


cdef bytes saved(Stream stream):
    """A snapshot; the caller is in the stream's critical section."""
    cdef ut_info info
    ut_model_info(<const ut_model*> PyCapsule_GetPointer(stream.model._capsule, b"undertow.model.1"), &info)
    out = PyBytes_FromStringAndSize(NULL, info.snapshot_bytes)
    stream._enter()
    ut_snapshot_save(<ut_stream*> stream._stream, PyBytes_AS_STRING(out))
    return out


cdef int reset_stream(Stream stream, object to) except -1:
    cdef list numbers = [], arrays = []
    if isinstance(to, dict):
        from .states import flat_fields
        numbers, arrays = flat_fields(stream.model, to)
    elif isinstance(to, str):
        if to != "settled" or stream._settled is None:
            raise StateError(f"reset(to={to!r}): expected None, a snapshot, or 'settled' after a call of settle(x, steps)")
        return restore_stream(stream, stream._settled)
    elif to is not None:
        return restore_stream(stream, to)
    with cython.critical_section(stream):
        stream._enter()  # last: reading `to` may have let another thread in
        forget(stream)
        ut_stream_reset(<ut_stream*> stream._stream)
        stream._write_states(numbers, arrays)
        stream.position = 0
    return 0


cdef Py_ssize_t settle_stream(Stream stream, object x, object steps) except -1:
    cdef Py_ssize_t taken = 0
    cdef Stream other
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    stream._enter()
    # Apart, so that a refused x leaves this stream as it was.
    other = Stream(stream.model, 1)
    before = other.snapshot()
    while taken < steps:
        other.step(x)
        taken += 1
        PyErr_CheckSignals()
        after = other.snapshot()
        if after == before:
            break
        before = after
    with cython.critical_section(stream):
        stream._enter()  # again: other threads may have come meanwhile
        forget(stream)
        ut_stream_copy(<ut_stream*> stream._stream, <ut_stream*> other._stream)
        stream._settled = before
        stream.position = 0
    return taken


cdef int restore_stream(Stream stream, object snapshot) except -1:
    cdef ut_error err
    cdef bytes data = bytes(memoryview(snapshot))
    with cython.critical_section(stream):
        stream._enter()
        if ut_snapshot_load(<ut_stream*> stream._stream, PyBytes_AS_STRING(data), len(data), &err) != 0:
            raise StateError(err.detail.decode())
        forget(stream)
        stream.position = 0
    return 0


cdef Stream fork_of(Stream stream):
    cdef Stream other
    cdef double gain = (<Helpers*> stream._helpers).gain() if stream._helpers else 0.0
    stream._enter()
    other = Stream(stream, stream._block, stream.threads, False, stream._least, gain, stream._most_kept)
    with cython.critical_section(stream):
        stream._enter()  # again: making it may have let another thread in
        ut_stream_copy(<ut_stream*> other._stream, <ut_stream*> stream._stream)
        if stream._history:
            ut_history_copy(<ut_history*> other._history, <ut_history*> stream._history)
        other._settled = stream._settled
        other.position = stream.position
    return other


cdef object field_array(Stream stream, int i):
    """A copy of the i-th field."""
    cdef Slot slot
    fill_slot(&slot, field_of(<const ut_model*> PyCapsule_GetPointer(stream.model._capsule, b"undertow.model.1"), i))
    out = new_array(&slot, 0, 1)
    with cython.critical_section(stream):
        stream._enter()
        ut_stream_get(<ut_stream*> stream._stream, i, <float*> cnp.PyArray_DATA(<cnp.ndarray> out))
    return out
