# SPDX-License-Identifier: MIT
"""What streams and pools use of undertow.h."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "undertow.h" nogil:
    ctypedef int ut_status
    ctypedef struct ut_error:
        char detail[208]
    ctypedef struct ut_model:
        pass
    ctypedef struct ut_stream:
        pass
    ctypedef struct ut_history:
        pass
    ctypedef struct ut_info:
        size_t stream_bytes
        size_t step_bytes
        size_t snapshot_bytes
        size_t state_bytes
        uint32_t n_inputs
        uint32_t n_outputs
        uint32_t n_states
        uint32_t streamable
        uint32_t latency
        uint32_t block
        uint64_t multiply_adds
    ctypedef struct ut_tensor:
        int dtype
        int once
        uint32_t n_ids
        uint32_t n_dims
        uint32_t dims[8]
        size_t size
    void ut_model_info(const ut_model*, ut_info*)
    size_t ut_stream_bytes(const ut_model*, size_t)
    ut_tensor ut_input(const ut_model*, size_t)
    ut_tensor ut_output(const ut_model*, size_t)
    ut_tensor ut_state(const ut_model*, size_t)
    ut_status ut_stream_init(void*, size_t, const ut_model*, ut_stream**)
    void ut_stream_reset(ut_stream*)
    void ut_step(ut_stream*, const void*, void*)
    void ut_run(ut_stream*, size_t, const void* const*, void* const*)
    void ut_flush(ut_stream*, void* const*)
    float* ut_stream_state(ut_stream*, size_t)
    void ut_stream_get(const ut_stream*, size_t, float*)
    void ut_stream_set(ut_stream*, size_t, const float*)
    void ut_snapshot_save(const ut_stream*, void*)
    ut_status ut_snapshot_load(ut_stream*, const void*, size_t, ut_error*)
    ut_status ut_stream_copy(ut_stream*, const ut_stream*)
    void ut_propose(ut_stream*, const void* const*, void* const*)
    void ut_commit(ut_stream*)
    void ut_rollback(ut_stream*)
    size_t ut_history_bytes(const ut_model*, size_t)
    ut_status ut_history_init(void*, size_t, ut_stream*, size_t, ut_history**)
    void ut_history_run(ut_history*, size_t, const void* const*, void* const*)
    size_t ut_history_kept(const ut_history*)
    void ut_history_trim(ut_history*, size_t)
    ut_status ut_history_rewind(ut_history*, size_t)
    ut_status ut_history_copy(ut_history*, const ut_history*)
    size_t ut_shared_bytes(const ut_model*, size_t)
    void ut_state_reset(const ut_model*, float*)
    float* ut_state_field(const ut_model*, float*, size_t)
    void ut_state_save(const ut_model*, const float*, void*)
    ut_status ut_state_load(const ut_model*, float*, const void*, size_t, ut_error*)
    ctypedef struct ut_batch:
        pass
    size_t ut_batch_bytes(const ut_model*, size_t)
    ut_status ut_batch_init(void*, size_t, const ut_model*, ut_batch**)
    void ut_batch_run(ut_batch*, size_t, float* const*, size_t, const void* const*, void* const*)
    size_t ut_sequence_bytes(const ut_model*, size_t)
    size_t ut_sequences_bytes(const ut_model*, size_t, size_t)
    ut_status ut_sequence_run_until(void*, size_t, const ut_model*, size_t, size_t, const float* const*, const void* const*,
                                    void* const*, float* const*, int (*)(void*) noexcept nogil, void*)
    ut_status ut_sequences_run(void*, size_t, const ut_model*, size_t, const size_t*, const float* const*, const void* const*,
                               void* const*, int (*)(void*) noexcept nogil, void*)

cdef extern from "system.h" nogil:
    void* aligned_memory(size_t, size_t)
    void aligned_free(void*)
    void advise_huge_pages(void*, size_t)
