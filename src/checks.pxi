# SPDX-License-Identifier: MIT
# What streams and pools ask of names, states and arrays before they touch them. A part of stream.pyx.

cdef ut_tensor field_of(const ut_model* m, int i) except *:
    """The i-th state field of a model."""
    cdef ut_info info
    ut_model_info(m, &info)
    if not 0 <= i < info.n_states:
        raise IndexError(f"state {i} of a model that has {info.n_states}")
    return ut_state(m, i)


cdef int check_fields(const ut_model* m, list numbers, list arrays) except -1:
    """Whether arrays hold, element for element, what goes into these state fields."""
    cdef Py_ssize_t k
    if len(numbers) != len(arrays):
        raise ShapeError(f"{len(numbers)} states, but {len(arrays)} arrays")
    for k in range(len(numbers)):
        array = arrays[k]
        if (not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(<cnp.ndarray> array) != cnp.NPY_FLOAT32
                or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array)
                or cnp.PyArray_SIZE(<cnp.ndarray> array) != <Py_ssize_t> field_of(m, numbers[k]).size):
            raise ShapeError(f"state {numbers[k]} does not take this: {array!r:.80}")
    return 0


cdef tuple start_of(object model, object state, object snapshot):
    """What streams are to start from: the bytes of a snapshot or None, and fields by number."""
    from .states import flat_fields
    numbers, arrays = flat_fields(model, state)
    return None if snapshot is None else bytes(memoryview(snapshot)), numbers, arrays


cdef tuple names_of(object values, Py_ssize_t n):
    """The names in a dict of inputs or outputs, of which the library counts n."""
    names = tuple(values)
    if len(names) != n:
        raise InternalError(f"a model of {n} inputs or outputs is described by {len(names)} names")
    return names


cdef object lone(object x, tuple names, str what, bint optional=False):
    """An array, or the only entry of a dict."""
    if isinstance(x, dict) and len(<dict> x) == 1 and names[0] in <dict> x:
        return (<dict> x)[names[0]]
    return x if x is None or cnp.PyArray_Check(x) else _inputs.by_name(x, names, what, optional)[0]


cdef object MISSING = object()


cdef list in_order(object x, tuple names, str what, bint optional=False):
    """Entries in the order of `names`: arrays, and a dict that has these and no others, at once; else as `_inputs.by_name`."""
    cdef list entries = []
    if x is None and optional:
        return [None] * len(names)
    if len(names) == 1 and cnp.PyArray_Check(x):
        return [x]
    if type(x) is dict and len(<dict> x) == len(names):
        for name in names:
            entry = (<dict> x).get(name, MISSING)
            if entry is MISSING:
                break
            entries.append(entry)
        else:
            return entries
    return _inputs.by_name(x, names, what, optional)


cdef object named(tuple names, list arrays, object out):
    """What a call gives back: its only output, the dict that was given for them, or a new one."""
    cdef dict outputs
    cdef Py_ssize_t k
    if len(names) == 1:
        return arrays[0]
    if type(out) is dict and len(<dict> out) == len(names):
        return out
    outputs = {}
    for k in range(len(names)):
        outputs[names[k]] = arrays[k]
    return outputs


cdef int refuse_shared(tuple names, int one, int other) except -1:
    _inputs.refuse_shared(names[one], names[other])
    return 0


cdef int refuse_overlap(object name_in, object name_out) except -1:
    _inputs.refuse_overlap(name_in, name_out)
    return 0
