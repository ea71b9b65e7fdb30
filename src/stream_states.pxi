# SPDX-License-Identifier: MIT
# What a stream remembers: saved, restored, started anew, copied. A part of stream.pyx.

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
        stream.position = 0
    return 0


cdef Stream fork_of(Stream stream):
    cdef Stream other
    cdef double gain = (<Helpers*> stream._helpers).gain() if stream._helpers else 0.0
    stream._enter()
    other = Stream(stream.model, stream._block, stream.threads, False, stream._least, gain)
    with cython.critical_section(stream):
        stream._enter()  # again: making it may have let another thread in
        ut_stream_copy(<ut_stream*> other._stream, <ut_stream*> stream._stream)
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
