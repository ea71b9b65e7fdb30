# SPDX-License-Identifier: MIT
# cython: boundscheck=False, wraparound=False
"""Compiled code that steps an undertow stream without the GIL, one frame at a time or many."""

from undertow.stream cimport Stream


cdef int check(Stream stream, Py_ssize_t n_inputs, Py_ssize_t n_outputs, Py_ssize_t n_x, Py_ssize_t n_y) except -1:
    """c_step and c_run believe their pointers, so sizes are checked here, once, before the loop."""
    if len(stream.model.inputs) != 1 or len(stream.model.outputs) != 1:
        raise ValueError("the model must have one input and one output")
    if n_inputs != stream.n_inputs or n_outputs != stream.n_outputs or n_x != n_y:
        raise ValueError(
            f"expected X (T, {stream.n_inputs}) and Y (T, {stream.n_outputs}), got ({n_x}, {n_inputs}) and ({n_y}, {n_outputs})")
    return 0


def step_all(Stream stream not None, const float[:, ::1] X, float[:, ::1] Y):
    """Y[t] = step(X[t]) for every t, in one loop without the GIL."""
    cdef Py_ssize_t t
    check(stream, X.shape[1], Y.shape[1], X.shape[0], Y.shape[0])
    with nogil:
        for t in range(X.shape[0]):
            stream.c_step(&X[t, 0], &Y[t, 0])


def run_all(Stream stream not None, const float[:, ::1] X, float[:, ::1] Y):
    """Y = run(X)."""
    check(stream, X.shape[1], Y.shape[1], X.shape[0], Y.shape[0])
    if X.shape[0]:
        with nogil:
            stream.c_run(X.shape[0], &X[0, 0], &Y[0, 0])


def step_ids(Stream stream not None, const int[::1] ids, float[:, ::1] Y):
    """Y[t] = step(ids[t]) for a model that begins with an embedding of one id; ids must be in range."""
    cdef Py_ssize_t t
    check(stream, 1, Y.shape[1], ids.shape[0], Y.shape[0])
    with nogil:
        for t in range(ids.shape[0]):
            stream.c_step(&ids[t], &Y[t, 0])


def feed_back(Stream stream not None, float[::1] x, Py_ssize_t steps):
    """x = step(x), `steps` times, in place: what a filter in a feedback loop does."""
    cdef Py_ssize_t t
    check(stream, x.shape[0], x.shape[0], 1, 1)
    with nogil:
        for t in range(steps):
            stream.c_step(&x[0], &x[0])
