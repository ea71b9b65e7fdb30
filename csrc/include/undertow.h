/* SPDX-License-Identifier: MIT
 *
 * undertow.h - streaming inference for recurrent networks (RNN, LSTM, GRU and what stands beside them). C99.
 * Needs nothing but this header and libundertow.
 *
 * Whole life of a model (every call but the steps returns a ut_status to check):
 *
 *     ut_info info; ut_error err; const ut_model* model; ut_stream* stream;
 *     ut_check(blob, n, &err);                                         is it undamaged? for files that travelled
 *     ut_probe(blob, n, NULL, &info, &err);                            what it needs, which shapes it has
 *     ut_model_init(mem, info.model_bytes, blob, n, NULL, &model, &err);
 *     ut_stream_init(mem2, info.stream_bytes, model, &stream);
 *     ut_step(stream, x, y);                                           as often as you like
 *
 * Memory   All memory comes from you, aligned to UT_ALIGN; there is nothing to free. `blob` (the bytes of a .tow file,
 *          see FORMAT.md) must outlive the model, which uses it in place, and stay as it is; ut_model_init_mapped is for one
 *          that may change. The model must outlive its streams.
 * Threads  A model is read-only after ut_model_init: share it. A stream belongs to one thread at a time.
 * Time     ut_step, ut_run, ut_flush and those of a batch cannot fail, allocate nothing, take no lock, make no system call and have no
 *          loop without a bound: the same operations for every frame, a number that depends on the model and not on what
 *          the frames hold. Left to the machine are its caches, and page faults where a blob that is mapped is touched first.
 *          Calls of a stream that was given a team (ut_team_init) do wait, for its helpers.
 * Numbers  Same bits on every instruction set with fused multiply-add, and however a sequence is cut into calls.
 *          Subnormals are flushed to zero inside a call. The caller's floating-point mode (rounding, traps) has no
 *          influence and is restored.
 * Strings  Names are UTF-8, not NUL-terminated: they point into the blob and come with their size. */
#ifndef UNDERTOW_H_
#define UNDERTOW_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define UT_VERSION_MAJOR 0
#define UT_VERSION_MINOR 1
#define UT_VERSION_PATCH 0

#define UT_ALIGN 64      /* alignment of blob, model and stream memory, in bytes */
#define UT_MAX_DIMS 8    /* axes of a frame */
#define UT_MAX_WORKERS 64 /* threads of a team */

typedef enum ut_status {
  UT_OK = 0,
  UT_E_ARGUMENT = -1,    /* NULL, or a size that makes no sense                          */
  UT_E_ALIGN = -2,       /* memory not aligned to UT_ALIGN                              */
  UT_E_MEMORY = -3,      /* memory smaller than asked for                               */
  UT_E_FORMAT = -4,      /* not a .tow file, truncated, inconsistent, or seen to be damaged */
  UT_E_VERSION = -5,     /* a .tow format version that this library does not read       */
  UT_E_UNSUPPORTED = -6, /* well-formed, but this build cannot run it                   */
  UT_E_ISA = -7,         /* forced instruction set unknown, not built, or not on this CPU */
  UT_E_STATE = -8,       /* a snapshot of another model or size; no snapshot; more than a history keeps */
  UT_E_WHOLE = -9,       /* the model needs whole sequences and cannot be streamed      */
  UT_E_STOPPED = -10     /* the caller's own function ended the run                      */
} ut_status;             /* values never change; new ones are appended                  */

/* What went wrong and where. `detail` is a NUL-terminated sentence; `offset` the byte of the blob, or 0. */
typedef struct ut_error {
  ut_status status;
  uint32_t offset;
  char detail[208];
} ut_error;

typedef struct ut_model ut_model;   /* weights and plan, read-only */
typedef struct ut_stream ut_stream; /* one sequence in flight      */
typedef struct ut_batch ut_batch;   /* workspace of one thread that advances many sequences together */
typedef struct ut_team ut_team;     /* several threads that advance one sequence together */
typedef struct ut_history ut_history; /* what a stream remembered before its last timesteps */

typedef struct ut_string {
  const char* data;
  size_t size;
} ut_string;

typedef struct ut_info {
  size_t model_bytes;   /* memory for ut_model_init                                    */
  size_t mapped_bytes;  /* memory for ut_model_init_mapped                             */
  size_t stream_bytes;  /* memory for a stream: state twice or thrice, scratch ...     */
  size_t step_bytes;    /* the same where a program only steps: ut_stream_bytes(m, 1)  */
  size_t state_bytes;   /* of these, what a stream remembers between timesteps         */
  size_t scratch_bytes; /* of these, frames in flight                                  */
  size_t snapshot_bytes;
  uint32_t n_inputs, n_outputs, n_states;
  uint32_t streamable;  /* 0: some layer needs the whole sequence; only ut_sequence_run */
  uint32_t latency;     /* frames by which a stream's outputs come later; see ut_flush   */
  uint32_t block;       /* frames that ut_run works on at a time                       */
  uint32_t batch_rows;  /* streams that ut_batch_run works on at a time                */
  uint8_t hash[16];     /* of the model, as written in the file                        */
  const char* isa;      /* "scalar", "avx2", ...                                       */
  uint64_t multiply_adds;  /* of a timestep, about: of every product, one for each element of other ops */
  uint64_t bytes_per_step; /* weights that a timestep reads, and its frames and states                  */
  uint32_t version;        /* of the file's format                                                      */
  uint32_t frames_in;      /* see below                                                                 */
  uint32_t frames_out;
  uint32_t sample_rate;    /* of the sound that the model hears, Hz; 0: the file does not say          */
} ut_info;

/* ut_info.frames_in, frames_out - how many timesteps of a sequence one frame of the inputs holds, and how many one of the
 * outputs: both 1, unless the model strides along time (sound through convolutions that keep every second sample, say).
 * Then what this header calls a timestep, one ut_step, takes frames_in of the sequence's own, one after the other in the
 * frames of inputs that have them as their first axis, and gives frames_out of them. A file of format version 1 has no such
 * numbers and counts as 1 and 1: where its ut_model_source says else, `undertow convert` makes one that has them. */

typedef enum ut_dtype { UT_FLOAT32 = 0, UT_INT32 = 1 } ut_dtype;

/* One input, output or state field. Shapes are those of one timestep. */
typedef struct ut_tensor {
  ut_string name;
  ut_dtype dtype;
  uint32_t once;            /* outputs of models that are not streamable: one frame per sequence, not one per timestep */
  uint32_t n_ids;           /* UT_INT32: valid ids are 0 to n_ids - 1                                                  */
  uint32_t n_dims;
  uint32_t dims[UT_MAX_DIMS];
  size_t size;              /* elements, 4 bytes each                                                                 */
} ut_tensor;

/* ut_version - "major.minor.patch" of the library that was linked. */
const char* ut_version(void);

/* ut_status_text - one sentence for a status; "unknown status" for any other number. */
const char* ut_status_text(ut_status status);

/* ut_isa - the i-th instruction set that is built in, best first; NULL past the last one.
 *   runnable  set to 1 if this CPU can run it, else 0; may be NULL */
const char* ut_isa(size_t i, int* runnable);

/* ut_probe - validate all of a blob that steps rely on, and say what it needs: metadata whole, and of weights what kernels must
 * not be lied to about. Any other number may be a weight, so a changed one is not seen here: ut_check sees it.
 *   blob  the bytes of a .tow file, aligned to UT_ALIGN
 *   isa   NULL for the best that this CPU has, or a name such as "avx2"
 *   err   may be NULL; filled on failure
 *   returns UT_OK, UT_E_ARGUMENT, UT_E_ALIGN, UT_E_FORMAT, UT_E_VERSION, UT_E_UNSUPPORTED or UT_E_ISA */
ut_status ut_probe(const void* blob, size_t n, const char* isa, ut_info* info, ut_error* err);

/* ut_check - whether a blob is what was written, to the last bit: the hashes in it (of metadata and weights, and of a proof) are
 * computed again. Some 2 ms for each megabyte, on a desktop; call it once, where a file comes from a disk, a network or
 * a radio. Only programs that call it link it. Says nothing about who wrote a blob, and does not replace ut_probe.
 *
 *     if (ut_check(blob, n, &err) != UT_OK) return complain(err.detail);
 *
 *   blob  as in ut_probe; must not change meanwhile
 *   err   may be NULL; filled on failure: where a hash is not that of the bytes, `offset` is where it stands, 32 for the model's
 *   returns UT_OK, UT_E_ARGUMENT, UT_E_ALIGN, UT_E_FORMAT, UT_E_VERSION or UT_E_UNSUPPORTED */
ut_status ut_check(const void* blob, size_t n, ut_error* err);

/* ut_model_init - as ut_probe, and build the model in `mem`. All of the blob is used where it lies (in flash, say): nobody may
 * change a byte of it while the model is in use, for steps find their way by what was checked once.
 *   mem   `bytes` >= ut_info.model_bytes, aligned to UT_ALIGN
 *   returns as ut_probe, or UT_E_MEMORY; *out is untouched on failure */
ut_status ut_model_init(void* mem, size_t bytes, const void* blob, size_t n, const char* isa, const ut_model** out,
                        ut_error* err);

/* ut_model_init_mapped - the same for a blob that others may change: a mapped file, or memory that is shared. All that steps
 * find their way by (metadata, indices, the lists of sparse weights) is copied into `mem` first, and the copy is what is
 * checked and used. Only weights stay in the blob. If somebody overwrites them, numbers are wrong, perhaps on each CPU in
 * another way, and nothing else happens. If a mapped file is cut short, the system ends the program (SIGBUS) where a step
 * reads what is gone: copy the file where that may happen.
 *   mem   `bytes` >= ut_info.mapped_bytes, aligned to UT_ALIGN
 *   returns as ut_model_init, and UT_E_FORMAT or UT_E_MEMORY where the blob changes meanwhile */
ut_status ut_model_init_mapped(void* mem, size_t bytes, const void* blob, size_t n, const char* isa, const ut_model** out,
                               ut_error* err);

/* ut_model_info and those after it - ask a model. i counts from 0 and must be below n_inputs,
 * n_outputs or n_states of its ut_info; else the result has a NULL name. */
void ut_model_info(const ut_model* model, ut_info* info);
ut_string ut_model_name(const ut_model* model);
ut_string ut_model_source(const ut_model* model); /* where it came from, for people */
ut_tensor ut_input(const ut_model* model, size_t i);
ut_tensor ut_output(const ut_model* model, size_t i);
ut_tensor ut_state(const ut_model* model, size_t i);

/* ut_stream_bytes - memory for a stream that works on at most `block` frames at a time (1 to ut_info.block; more counts
 * as that). ut_info.stream_bytes is that of the full block. A program that only steps needs a block of 1. */
size_t ut_stream_bytes(const ut_model* model, size_t block);

/* ut_stream_init - place a stream in `mem` and reset it. It gets the largest block that `bytes` allows: speed depends on
 * that where ut_run gets many frames, bits never do.
 *   mem     `bytes` >= ut_stream_bytes(model, 1), aligned to UT_ALIGN; yours again when you stop using *out
 *   returns UT_OK, UT_E_ARGUMENT, UT_E_ALIGN, UT_E_MEMORY or UT_E_WHOLE; *out is untouched on failure */
ut_status ut_stream_init(void* mem, size_t bytes, const ut_model* model, ut_stream** out);

/* ut_stream_reset - back to the model's initial state. Cannot fail. */
void ut_stream_reset(ut_stream* stream);

/* ut_step - one timestep of a model with one input and one output. Cannot fail.
 *   x  one input frame, y  one output frame (4-byte elements; no alignment needed; may overlap) */
void ut_step(ut_stream* stream, const void* x, void* y);

/* ut_run - n_frames timesteps. Cannot fail. Equal, to the bit, to as many calls with one frame.
 *   x  n_inputs pointers, each to n_frames frames one after the other; NULL for timesteps without a frame, as those of ut_flush
 *   y  n_outputs pointers likewise; an entry may be NULL if that output is not wanted
 * An id outside 0 .. n_ids - 1 selects a frame of NaN. */
void ut_run(ut_stream* stream, size_t n_frames, const void* const* x, void* const* y);

/* ut_flush - the end of a sequence: the last ut_info.latency output frames. Cannot fail.
 * Where a model looks ahead, output frame t comes with input frame t + latency; before, outputs are zeros. A flush stands for
 * that many further timesteps without a frame: windows over time see zeros, and recurrent layers do not move (ut_run without
 * x takes as many of them as a program wants before it looks whether it shall go on). What was run and flushed, less its first `latency` output frames, is the output of the whole sequence. Then reset the stream; one that
 * goes on instead continues its recurrent layers, behind a gap of `latency` frames of which its windows see zeros.
 *   y  n_outputs pointers, each to room for `latency` frames; an entry may be NULL if that output is not wanted */
void ut_flush(ut_stream* stream, void* const* y);

/* ut_propose - one timestep that may be undone. Cannot fail. x and y as in ut_run.
 * ut_commit keeps it; ut_rollback makes the stream what it was before, to the bit. Whatever is done to the stream between
 * ut_propose and ut_rollback is undone with it, further proposals too. Both cost at most one copy of the state, and do
 * nothing to a stream without a proposal. */
void ut_propose(ut_stream* stream, const void* const* x, void* const* y);
void ut_commit(ut_stream* stream);
void ut_rollback(ut_stream* stream);

/* ut_stream_get, ut_stream_set - copy the i-th state field of a stream, ut_state(model, i).size floats, to `to` or from
 * `from`, between calls. They do nothing if there is no such field. */
void ut_stream_get(const ut_stream* stream, size_t i, float* to);
void ut_stream_set(ut_stream* stream, size_t i, const float* from);

/* ut_stream_state - where that field lies, to read or write between calls for as long as there is the stream; NULL if there is
 * none. If it is what a window saw, such as a convolution's, that moves along with every timestep from now on, for it may be
 * looked at: ut_stream_get and ut_stream_set cost less. */
float* ut_stream_state(ut_stream* stream, size_t i);

/* ut_snapshot_save, ut_snapshot_load - a stream's whole state as ut_info.snapshot_bytes bytes, the same on every
 * instruction set, with format version and model hash. Load looks at these and at the size; numbers of the state are taken as they
 * are, NaN too, so a program that keeps snapshots where bytes may change puts a checksum beside them.
 *   load returns UT_OK, UT_E_ARGUMENT, or UT_E_STATE with the stream unchanged */
void ut_snapshot_save(const ut_stream* stream, void* bytes);
ut_status ut_snapshot_load(ut_stream* stream, const void* bytes, size_t n, ut_error* err);

/* ut_stream_copy - make `to` remember what `from` does. Both must be streams of one model, else UT_E_STATE. */
ut_status ut_stream_copy(ut_stream* to, const ut_stream* from);

/* --- going back -------------------------------------------------------------------------------------------------------
 * A history keeps what a stream remembered before each of its last k timesteps, so that they can be undone:
 *
 *     ut_history_init(mem, ut_history_bytes(model, 4), stream, 4, &history);
 *     ut_history_run(history, 1, &x, &y);           in place of ut_step or ut_run
 *     ut_history_rewind(history, 2);                as if the last two timesteps had not been taken, to the bit
 *
 * A timestep costs one copy of the state more; of a window, such as a convolution's or a cache that attention reads, one copy of a
 * frame. What else changes the stream (ut_step, ut_run, ut_flush, ut_stream_reset, ut_stream_set, ut_snapshot_load,
 * ut_stream_copy, a write where ut_stream_state points) a history does not see: call ut_history_trim(history, 0) then. It belongs to
 * its stream's thread, and only programs that call it link it. Streams of a batch are blocks of states: copy those. */

/* ut_history_bytes - memory for a history of k >= 1 timesteps; 0 if k is 0, or if that does not fit a size_t. */
size_t ut_history_bytes(const ut_model* model, size_t k);

/* ut_history_init - place a history in `mem`: the stream's, from now on, with nothing kept.
 *   mem     `bytes` >= ut_history_bytes(model, k), aligned to UT_ALIGN; yours again when you stop using *out
 *   returns UT_OK, UT_E_ARGUMENT, UT_E_ALIGN or UT_E_MEMORY; *out is untouched on failure */
ut_status ut_history_init(void* mem, size_t bytes, ut_stream* stream, size_t k, ut_history** out);

/* ut_history_run - ut_run of its stream, to the bit, of which the last k timesteps can be undone. Cannot fail. Of n_frames > k
 * the first n_frames - k are one call of ut_run, which forgets what was kept, and each of the others is one of its own: where the stream
 * has a team, its helpers come to each. */
void ut_history_run(ut_history* history, size_t n_frames, const void* const* x, void* const* y);

/* ut_history_kept - timesteps that can be undone, at most k. */
size_t ut_history_kept(const ut_history* history);

/* ut_history_trim - forget all but the last `most` of them; 0: all. */
void ut_history_trim(ut_history* history, size_t most);

/* ut_history_rewind - undo the last n timesteps: ut_history_kept is n less. A time that does not depend on how many timesteps the stream
 * has taken: one copy of a state; of a window n copies of a frame.
 *   returns UT_OK, or UT_E_STATE if fewer are kept: the stream is as it was */
ut_status ut_history_rewind(ut_history* history, size_t n);

/* ut_history_copy - after ut_stream_copy from its stream to that of `to`: make `to` keep the same timesteps, or the last of them where
 * it has less room. Both must be of one model, else UT_E_STATE. */
ut_status ut_history_copy(ut_history* to, const ut_history* from);

/* --- several threads for one stream -----------------------------------------------------------------------------------
 * A team advances one stream: worker 0 is whoever calls ut_step, ut_run, ut_flush or ut_propose, workers 1 to n_workers - 1 are
 * threads of yours that help:
 *
 *     while (working) if (ut_team_called(team, 1)) ut_team_help(team, 1);
 *
 * Each worker computes its share of the rows of every large weight, the same ones at every timestep, so that they stay in
 * the cache of its core. Small layers, and whatever else there is, are worker 0's. Bits are those of the stream alone.
 * Workers wait for each other by spinning, so each needs a core of its own; a call returns only if all helpers come. */

/* ut_shared_bytes - bytes of the weights that a team shares: of layers that have at least `least` bytes of them. About
 * 128 KiB is worth two waits for a cache line; 0 shares every layer with weights. */
size_t ut_shared_bytes(const ut_model* model, size_t least);

/* ut_team_bytes - memory for a team of n_workers (2 to UT_MAX_WORKERS) for a stream. */
size_t ut_team_bytes(const ut_stream* stream, size_t n_workers);

/* ut_team_init - place a team in `mem`; from now on calls of the stream need its helpers.
 *   mem     `bytes` >= ut_team_bytes(stream, n_workers), aligned to UT_ALIGN; yours again after ut_team_use(team, 0)
 *   least   as for ut_shared_bytes
 *   pause   NULL, or what a worker that has spun for a while calls, with `context`, again and again: to yield, or to see
 *           that a helper is late
 *   returns UT_OK, UT_E_ALIGN, UT_E_MEMORY, or UT_E_ARGUMENT, also where there is nothing to share; *out is untouched on
 *           failure */
ut_status ut_team_init(void* mem, size_t bytes, ut_stream* stream, size_t n_workers, size_t least,
                       void (*pause)(void* context, size_t worker), void* context, ut_team** out);

/* ut_team_use - whether the stream's next calls need the helpers (1, as after ut_team_init) or are worker 0's alone (0), as
 * they were without a team. For worker 0, between calls, at any time; helpers are then simply not called. */
void ut_team_use(ut_team* team, int together);

/* ut_team_called - 1 if worker 0 is in a call that this worker has not helped in, else 0. For that worker. */
int ut_team_called(const ut_team* team, size_t worker);

/* ut_team_help - do a worker's share of one call of ut_step, ut_run, ut_flush or ut_propose with at least one frame; waits for that
 * call to begin. Each worker (1 to n_workers - 1) is one thread at a time. */
void ut_team_help(ut_team* team, size_t worker);

/* --- many streams of one model ---------------------------------------------------------------------------------------
 * A stream of a batch is nothing but its state: ut_info.state_bytes bytes of yours, best aligned to UT_ALIGN, that you may
 * copy as you like. What a batch needs beside them is one workspace for each thread. */

/* ut_state_reset - make a state block of any bytes the model's initial state. Cannot fail. */
void ut_state_reset(const ut_model* model, float* state);

/* ut_state_field - where the i-th field lies in a state block, as ut_stream_state says it of a stream. */
float* ut_state_field(const ut_model* model, float* state, size_t i);

/* ut_state_save, ut_state_load - as ut_snapshot_save and ut_snapshot_load, with the same bytes. */
void ut_state_save(const ut_model* model, const float* state, void* bytes);
ut_status ut_state_load(const ut_model* model, float* state, const void* bytes, size_t n, ut_error* err);

/* ut_batch_bytes - memory for a workspace that takes n_rows streams at a time (1 to ut_info.batch_rows; more counts as
 * that). */
size_t ut_batch_bytes(const ut_model* model, size_t n_rows);

/* ut_batch_init - place a workspace in `mem`. It takes as many streams at a time as `bytes` allows: speed depends on that,
 * bits never do. It remembers nothing between calls.
 *   mem     `bytes` >= ut_batch_bytes(model, 1), aligned to UT_ALIGN; yours again when you stop using *out
 *   returns UT_OK, UT_E_ARGUMENT, UT_E_ALIGN, UT_E_MEMORY or UT_E_WHOLE; *out is untouched on failure */
ut_status ut_batch_init(void* mem, size_t bytes, const ut_model* model, ut_batch** out);

/* ut_batch_run - n_frames timesteps of each of n_streams streams, as many of them as you like. Cannot fail. Equal, to the
 * bit, to ut_run of each stream alone. A workspace belongs to one thread at a time; threads may run different streams.
 *   states  one block per stream, each made by ut_state_reset, ut_state_load or a copy; no block twice
 *   x       n_inputs pointers, each to n_streams sequences one after the other, of n_frames frames each
 *   y       n_outputs pointers likewise; an entry may be NULL if that output is not wanted */
void ut_batch_run(ut_batch* batch, size_t n_streams, float* const* states, size_t n_frames, const void* const* x,
                  void* const* y);

/* ut_batch_run_part - `count` of these timesteps, from number `first` on: calls that follow each other are one ut_batch_run, to
 * the bit, between which a program may look whether it shall go on. x and y as there, with room for all n_frames; x NULL for
 * timesteps of ut_batch_flush, which has ut_info.latency of them. */
void ut_batch_run_part(ut_batch* batch, size_t n_streams, float* const* states, size_t n_frames, size_t first, size_t count,
                       const void* const* x, void* const* y);

/* ut_batch_flush - ut_flush of each of n_streams streams; y points to n_streams sequences of ut_info.latency frames each. */
void ut_batch_flush(ut_batch* batch, size_t n_streams, float* const* states, void* const* y);

/* --- whole sequences ------------------------------------------------------------------------------------------------- */

/* ut_sequence_bytes - memory that ut_sequence_run needs for n_frames frames; 0 if that does not fit a size_t. */
size_t ut_sequence_bytes(const ut_model* model, size_t n_frames);

/* ut_sequence_run - a whole sequence at once, from the initial state; the only way to run a model that is not streamable.
 *   mem     `bytes` >= ut_sequence_bytes(model, n_frames), aligned to UT_ALIGN
 *   length  frames that masked layers (ONNX sequence_lens) consume, at most n_frames; n_frames if there is no padding, and
 *           in models with latency
 *   states  NULL, or n_states pointers: fields to start from; an entry may be NULL for the model's own initial value
 *   x, y    as ut_run; an output marked `once` takes a single frame, and output frame t is that of input frame t in a
 *           model with latency too
 *   finals  NULL, or n_states pointers that take the state after the last frame; entries may be NULL
 *   returns UT_OK, UT_E_ARGUMENT, UT_E_ALIGN or UT_E_MEMORY */
ut_status ut_sequence_run(void* mem, size_t bytes, const ut_model* model, size_t n_frames, size_t length,
                          const float* const* states, const void* const* x, void* const* y, float* const* finals);

/* ut_sequence_run_until - the same, with a function that may end it: to answer a signal, say.
 *   stop    called with `context` between layers, and within them every thousand frames or so of a large one, more often in
 *           recurrent layers. Once it gives another number than 0, so must it from then on
 *   returns as ut_sequence_run, or UT_E_STOPPED: y and finals then hold anything */
ut_status ut_sequence_run_until(void* mem, size_t bytes, const ut_model* model, size_t n_frames, size_t length,
                                const float* const* states, const void* const* x, void* const* y, float* const* finals,
                                int (*stop)(void* context), void* context);

/* ut_sequences_bytes - memory that ut_sequences_run needs for n_sequences, of which the longest has n_frames frames; 0 if that
 * does not fit a size_t, if there are fewer than two, or for a model whose sequences do not go side by side: one that can be
 * streamed (of which a batch does the same), one that joins a result of the sequence with each of its frames, or has gates. */
size_t ut_sequences_bytes(const ut_model* model, size_t n_sequences, size_t n_frames);

/* ut_sequences_run - whole sequences side by side: equal, to the bit, to ut_sequence_run of each alone, and each weight is read
 * once for all of them.
 *   mem      `bytes` >= ut_sequences_bytes(model, n_sequences, lengths[0]), aligned to UT_ALIGN
 *   lengths  frames of each sequence, the longest first
 *   states   NULL, or n_states pointers for each sequence, as for ut_sequence_run
 *   x, y     n_inputs pointers for each sequence, and n_outputs; each as for ut_sequence_run
 *   stop     NULL, or as for ut_sequence_run_until
 *   returns UT_OK, UT_E_ARGUMENT, UT_E_ALIGN, UT_E_MEMORY or UT_E_STOPPED */
ut_status ut_sequences_run(void* mem, size_t bytes, const ut_model* model, size_t n_sequences, const size_t* lengths,
                           const float* const* states, const void* const* x, void* const* y, int (*stop)(void* context), void* context);

#if defined(__cplusplus)
}
#endif

#endif /* UNDERTOW_H_ */
