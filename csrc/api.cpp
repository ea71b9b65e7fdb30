// SPDX-License-Identifier: MIT
// The C entry points of undertow.h: check arguments, then call inward; nothing else.
#include "cpu.h"
#include "dispatch.h"
#include "include/undertow.h"
#include "plan.h"
#include "run.h"
#include "stream.h"

using namespace undertow;

struct ut_batch {
  const ut_model* model;
  float* values;
  float* scratch;
  size_t rows;  // that values and scratch were sized for
};

namespace {

constexpr size_t aligned(size_t bytes) { return (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN; }
bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % UT_ALIGN == 0; }

size_t value_bytes(const ut_model& m, size_t frames) {
  return aligned(static_cast<size_t>(m.measures.value_floats) * frames * sizeof(float));
}
size_t scratch_bytes(const ut_model& m, size_t frames) {
  const uint64_t floats = m.measures.scratch_floats + m.measures.scratch_floats_per_frame * frames;
  return aligned(static_cast<size_t>(floats) * sizeof(float));
}
size_t ring_bytes(const ut_model& m, size_t block) {
  return aligned(static_cast<size_t>(m.measures.ring_floats + m.measures.ring_floats_per_frame * block) * sizeof(float));
}
size_t stream_bytes(const ut_model& m, size_t block) {
  return aligned(sizeof(ut_stream)) + 2 * aligned(state_bytes(m)) + value_bytes(m, block) + scratch_bytes(m, block) +
         ring_bytes(m, block);
}

// Rows of a batch. Every tile of rows reads all weights: few rows cost speed where those come from memory (LSTM 1024:
// 170 us a stream with 12 rows, 158 with 72). A matrix product looks at one column of the rows' frames at a time, so they
// need not fit the second-level cache as a whole.
[[maybe_unused]] constexpr size_t kMostRows = 96, kLeastRows = 12;
[[maybe_unused]] constexpr uint64_t kBatchBytes = 4 << 20, kLargeBytes = 64 << 20;
constexpr size_t kZeroedAtATime = size_t{1} << 24;
size_t most_rows([[maybe_unused]] const ut_model& m) {
#if UT_SMALLEST
  return 1;
#else
  const uint64_t row_bytes = sizeof(float) * (m.measures.value_floats + m.measures.scratch_floats_per_row) + 1;
  if (kLargeBytes / row_bytes < kLeastRows) return kLargeBytes / row_bytes < 2 ? 1 : static_cast<size_t>(kLargeBytes / row_bytes);
  const uint64_t rows = kBatchBytes / row_bytes / kLeastRows * kLeastRows;
  return rows < kLeastRows ? kLeastRows : rows > kMostRows ? kMostRows : static_cast<size_t>(rows);
#endif
}
size_t batch_bytes(const ut_model& m, size_t rows) {
  const size_t scratch = static_cast<size_t>(m.measures.scratch_floats_per_row) * rows * sizeof(float);
  const size_t lone = scratch_bytes(m, rows);  // a tile of one row is run as a stream
  return aligned(sizeof(ut_batch)) + value_bytes(m, rows) + (scratch > lone ? aligned(scratch) : lone);
}

// Whether whole sequences of a model can go side by side: not of one that is streamed, which has batches, nor where a result
// of a sequence goes into each of its timesteps, a layer has rows or a gate of its own, or a register is of no loop.
bool goes_abreast(const ut_model& m) {
  if (UT_SMALLEST || m.measures.streamable) return false;
  uint32_t loop_end = 0;
  for (uint32_t i = 0; i < m.file.n_nodes; ++i) {
    const OpPlan& op = m.ops[i];
    if (op.loop_end != 0) loop_end = op.loop_end;
    if (op.type->is(kRegister) && i >= loop_end) return false;
    if (op.gate != 0 || (op.type->is(kRowsInside) && !op.forgets)) return false;
    const bool once = op.n_outputs != 0 && m.values[op.output].once;
    bool fixed = op.run && once;
    for (uint32_t k = 0; k < op.n_inputs; ++k) {
      const ValuePlan& v = m.values[op.inputs[k]];
      if (v.once && !v.fixed && !once) return false;
      fixed = fixed && v.fixed;
    }
    if (fixed) return false;  // computed once for all
  }
  return true;
}

// A state that a whole sequence starts from: the model's, but for fields that are given.
void start_state(const ut_model& m, float* state, const float* const* given) {
  reset_state(m, state);
  for (uint32_t i = 0; given && i < m.file.n_states; ++i)
    if (given[i]) memcpy(state + m.states[i].offset, given[i], m.states[i].width * sizeof(float));
}

// Rows that scratch is for: some timesteps of all sequences.
size_t abreast_chunk(const ut_model& m, size_t n_sequences) {
  const size_t steps = m.measures.block / n_sequences;
  return (steps < 1 ? 1 : steps) * n_sequences;
}

// What stands before the values: the state of each sequence, and scratch.
size_t abreast_fixed_bytes(const ut_model& m, size_t n_sequences, size_t chunk) {
  const size_t rows = static_cast<size_t>(m.measures.scratch_floats_per_row) * chunk * sizeof(float), frames = scratch_bytes(m, chunk);
  return aligned(n_sequences * sizeof(float*)) + n_sequences * aligned(state_bytes(m)) + (rows > frames ? aligned(rows) : frames);
}

void fill_info(const ut_model& m, ut_info* info) {
  memset(info, 0, sizeof *info);
  info->model_bytes = model_bytes(m.file, m.measures, false);
  info->mapped_bytes = aligned(m.file.metadata_bytes()) + model_bytes(m.file, m.measures, true);
  info->multiply_adds = m.measures.multiply_adds;
  info->bytes_per_step = m.measures.bytes_per_step;
  info->state_bytes = state_bytes(m);
  info->scratch_bytes = value_bytes(m, m.measures.block) + scratch_bytes(m, m.measures.block);
  info->stream_bytes = stream_bytes(m, m.measures.block);
  info->step_bytes = stream_bytes(m, 1);
  info->snapshot_bytes = kSnapshotHeader + info->state_bytes;
  info->n_inputs = m.file.n_inputs;
  info->n_outputs = m.file.n_outputs;
  info->n_states = m.file.n_states;
  info->streamable = m.measures.streamable;
  info->latency = m.measures.latency;
  info->block = static_cast<uint32_t>(m.measures.block);
  info->batch_rows = static_cast<uint32_t>(most_rows(m));
  memcpy(info->hash, m.file.hash, sizeof info->hash);
  info->isa = m.kernels->name;
  info->version = m.file.version;
  info->frames_in = m.file.frames_in;
  info->frames_out = m.file.frames_out;
  info->sample_rate = m.file.sample_rate;
}

void clear(ut_error* err) {
  if (!err) return;
  err->status = UT_OK;
  err->offset = 0;
  err->detail[0] = '\0';
}

// metadata: the blob itself, or a copy of its first bytes.
ut_status open_model(const void* metadata, const void* blob, size_t n, const char* isa, ut_model* m, ut_error* err) {
  if (const ut_status s = File::open(metadata, blob, n, &m->file, err)) return s;
  if (const ut_status s = measure(m->file, &m->measures, err)) return s;
  const uint32_t cpu = cpu_features();
  m->kernels = pick(isa, cpu);
  if (m->kernels) return UT_OK;
  Message message(err, UT_E_ISA);
  size_t size = 0;
  while (size < 48 && isa[size]) ++size;
  message << "isa " << ut_string{isa, size} << " cannot run here; available:";
  for (size_t i = 0; built_table(i); ++i)
    if (runnable(*built_table(i), cpu)) message.word(" ").word(built_table(i)->name);
  return message;
}

// Both ways to make a model. copies: of metadata and lists, which are then what is checked.
ut_status init(uint8_t* mem, size_t bytes, const void* blob, size_t n, const char* isa, bool copies, const ut_model** out,
               ut_error* err) {
  clear(err);
  if (!mem || !out) return Message(err, UT_E_ARGUMENT) << "mem or out is NULL";
  if (!is_aligned(mem)) return Message(err, UT_E_ALIGN) << "mem is not aligned to UT_ALIGN bytes";
  size_t metadata = 0;
  if (const ut_status s = File::metadata_size(blob, n, &metadata, err)) return s;
  const auto too_small = [&](size_t expected) -> ut_status {
    return Message(err, UT_E_MEMORY) << "mem is " << uint64_t{bytes} << " bytes, expected " << uint64_t{expected};
  };
  size_t used = 0;
  if (copies) {
    used = aligned(metadata);
    if (bytes < used) return too_small(used);
    memcpy(mem, blob, metadata);
  }
  ut_model m = {};
  if (const ut_status s = open_model(copies ? mem : blob, blob, n, isa, &m, err)) return s;
  const size_t expected = used + model_bytes(m.file, m.measures, copies);
  if (bytes < expected) return too_small(expected);
  ut_model* built = nullptr;
  if (const ut_status s = build(mem + used, m.file, m.measures, *m.kernels, copies, &built, err)) return s;
  *out = built;
  return UT_OK;
}

template <class View>
ut_tensor describe(const View& view) {
  ut_tensor t = {};
  t.n_dims = view.n_dims;
  for (uint32_t i = 0; i < view.n_dims; ++i) t.dims[i] = view.dims[i];
  t.size = view.size;
  t.name = view.name;
  return t;
}

ut_tensor describe_value(const ut_model& m, uint32_t v) {
  const ValueView view = m.file.value(v);
  ut_tensor t = describe(view);
  t.dtype = static_cast<ut_dtype>(view.dtype);
  t.n_ids = view.n_ids;
  t.once = m.values[v].once && !m.measures.streamable;
  return t;
}

}  // namespace

extern "C" {

#define UT_STRING_(x) #x
#define UT_STRING(x) UT_STRING_(x)
const char* ut_version(void) {
  return UT_STRING(UT_VERSION_MAJOR) "." UT_STRING(UT_VERSION_MINOR) "." UT_STRING(UT_VERSION_PATCH);
}

const char* ut_status_text(ut_status status) {
  switch (status) {
    case UT_OK: return "ok";
    case UT_E_ARGUMENT: return "an argument is NULL or makes no sense";
    case UT_E_ALIGN: return "memory is not aligned to UT_ALIGN bytes";
    case UT_E_MEMORY: return "the memory given is smaller than asked for";
    case UT_E_FORMAT: return "not a .tow file, or truncated, damaged or inconsistent";
    case UT_E_VERSION: return "a .tow format version that this library does not read";
    case UT_E_UNSUPPORTED: return "well-formed, but this library cannot run it";
    case UT_E_ISA: return "the instruction set is unknown, not built in, or not on this CPU";
    case UT_E_STATE: return "no snapshot of this model, or fewer timesteps than that are kept";
    case UT_E_WHOLE: return "the model needs whole sequences and cannot be streamed";
    case UT_E_STOPPED: return "the caller ended the run";
  }
  return "unknown status";
}

const char* ut_isa(size_t i, int* can_run) {
  const KernelTable* table = built_table(i);
  if (!table) return nullptr;
  if (can_run) *can_run = runnable(*table, cpu_features());
  return table->name;
}

ut_status ut_probe(const void* blob, size_t n, const char* isa, ut_info* info, ut_error* err) {
  clear(err);
  if (!info) return Message(err, UT_E_ARGUMENT) << "info is NULL";
  size_t metadata = 0;
  if (const ut_status s = File::metadata_size(blob, n, &metadata, err)) return s;
  ut_model m = {};
  if (const ut_status s = open_model(blob, blob, n, isa, &m, err)) return s;
  fill_info(m, info);
  return UT_OK;
}

ut_status ut_model_init(void* mem, size_t bytes, const void* blob, size_t n, const char* isa, const ut_model** out,
                        ut_error* err) {
  return init(static_cast<uint8_t*>(mem), bytes, blob, n, isa, false, out, err);
}

ut_status ut_model_init_mapped(void* mem, size_t bytes, const void* blob, size_t n, const char* isa, const ut_model** out,
                               ut_error* err) {
  return init(static_cast<uint8_t*>(mem), bytes, blob, n, isa, true, out, err);
}

void ut_model_info(const ut_model* model, ut_info* info) { fill_info(*model, info); }

ut_string ut_model_name(const ut_model* model) { return model->file.name; }

ut_string ut_model_source(const ut_model* model) { return model->file.source; }

ut_tensor ut_input(const ut_model* model, size_t i) {
  return i < model->file.n_inputs ? describe_value(*model, static_cast<uint32_t>(i)) : ut_tensor{};
}

ut_tensor ut_output(const ut_model* model, size_t i) {
  if (i >= model->file.n_outputs) return ut_tensor{};
  const OutputView output = model->file.output(static_cast<uint32_t>(i));
  ut_tensor t = describe_value(*model, output.value);
  t.name = output.name;
  return t;
}

ut_tensor ut_state(const ut_model* model, size_t i) {
  return i < model->file.n_states ? describe(model->file.state(static_cast<uint32_t>(i))) : ut_tensor{};
}

size_t ut_stream_bytes(const ut_model* model, size_t block) {
  const size_t most = model->measures.block;
  return stream_bytes(*model, block < 1 ? 1 : block > most ? most : block);
}

ut_status ut_stream_init(void* mem, size_t bytes, const ut_model* model, ut_stream** out) {
  if (!mem || !model || !out) return UT_E_ARGUMENT;
  if (!is_aligned(mem)) return UT_E_ALIGN;
  if (!model->measures.streamable) return UT_E_WHOLE;
  size_t block = model->measures.block;
  while (block > 1 && stream_bytes(*model, block) > bytes) --block;
  if (stream_bytes(*model, block) > bytes) return UT_E_MEMORY;
  uint8_t* p = static_cast<uint8_t*>(mem) + aligned(sizeof(ut_stream));
  ut_stream* s = new (mem) ut_stream{model, nullptr, nullptr, nullptr, block, nullptr, false, nullptr, false, nullptr, {}};
  s->state = reinterpret_cast<float*>(p);
  s->before = reinterpret_cast<float*>(p += aligned(state_bytes(*model)));
  s->values = reinterpret_cast<float*>(p += aligned(state_bytes(*model)));
  s->scratch = reinterpret_cast<float*>(p += value_bytes(*model, block));
  // Padding lanes start as zeros. All else is written before it is read, as it must be where an earlier call has left its own.
  for (uint32_t v = 0; !UT_SMALLEST && v < model->file.n_values; ++v) {
    const ValuePlan& value = model->values[v];
    if (!value.fixed && value.width % kPanel != 0)
      memset(s->values + value.offset * block, 0, padded(value.width) * block * sizeof(float));
  }
  uint8_t* const zeros = UT_SMALLEST ? reinterpret_cast<uint8_t*>(s->values) : p;
  memset(zeros, 0, stream_bytes(*model, block) - static_cast<size_t>(zeros - static_cast<uint8_t*>(mem)));
  s->step = {model, s->values, 1, 1, 1, s->state, s->scratch, block, nullptr};
  if (model->measures.n_rings != 0) s->rings = reinterpret_cast<float*>(p + scratch_bytes(*model, block));
  ut_stream_reset(s);
  *out = s;
  return UT_OK;
}

// Fewer frames than this are timesteps of a small model, one after the other; from there on a block costs less.
constexpr size_t kFramesOfSmallBlock = 8;

void ut_run(ut_stream* s, size_t n_frames, const void* const* x, void* const* y) {
#if UT_THREADS
  if (s->team) return lead(*s->team, n_frames, x, y);
#endif
  if (x && (n_frames == 1 || (s->model->small && (UT_SMALLEST || n_frames < kFramesOfSmallBlock)))) {
    s->step.back = !s->step.back;
    s->step.rings = rings_of(*s);
    return n_frames == 1 ? run_step(s->step, x, y) : run_steps(s->step, n_frames, x, y);
  }
  const size_t capacity = n_frames < s->block ? (n_frames ? n_frames : 1) : s->block;
  Block b = {s->model, s->values, capacity, capacity, capacity, s->state, s->scratch, s->block, nullptr};
  b.rings = rings_of(*s);
  run_frames(b, n_frames, x, y);
}

void ut_flush(ut_stream* s, void* const* y) {
  const size_t n_frames = s->model->measures.latency;
  if (n_frames != 0) ut_run(s, n_frames, nullptr, y);
}

void ut_step(ut_stream* s, const void* x, void* y) { ut_run(s, 1, &x, &y); }

void ut_propose(ut_stream* s, const void* const* x, void* const* y) {
  if (!s->proposed) save_state(*s, s->before);
  s->proposed = true;
  ut_run(s, 1, x, y);
}

void ut_commit(ut_stream* s) { s->proposed = false; }

void ut_rollback(ut_stream* s) {
  if (s->proposed) load_state(*s, s->before);
  s->proposed = false;
}

size_t ut_batch_bytes(const ut_model* model, size_t n_rows) {
  const size_t most = most_rows(*model);
  return batch_bytes(*model, n_rows < 1 ? 1 : n_rows > most ? most : n_rows);
}

ut_status ut_batch_init(void* mem, size_t bytes, const ut_model* model, ut_batch** out) {
  if (!mem || !model || !out) return UT_E_ARGUMENT;
  if (!is_aligned(mem)) return UT_E_ALIGN;
  if (!model->measures.streamable) return UT_E_WHOLE;
  size_t rows = most_rows(*model);
  while (rows > 1 && batch_bytes(*model, rows) > bytes) --rows;
  if (batch_bytes(*model, rows) > bytes) return UT_E_MEMORY;
  memset(mem, 0, batch_bytes(*model, rows));  // padding lanes start as zeros
  uint8_t* p = static_cast<uint8_t*>(mem) + aligned(sizeof(ut_batch));
  float* values = reinterpret_cast<float*>(p);
  *out = new (mem) ut_batch{model, values, reinterpret_cast<float*>(p + value_bytes(*model, rows)), rows};
  return UT_OK;
}

void ut_batch_run(ut_batch* b, size_t n_streams, float* const* states, size_t n_frames, const void* const* x,
                  void* const* y) {
  ut_batch_run_part(b, n_streams, states, n_frames, 0, n_frames, x, y);
}

void ut_batch_run_part(ut_batch* b, size_t n_streams, float* const* states, size_t n_frames, size_t first, size_t count,
                       const void* const* x, void* const* y) {
  run_batch(*b->model, b->values, b->scratch, b->rows, n_streams, states, {first, count, n_frames}, x, y);
}

void ut_batch_flush(ut_batch* b, size_t n_streams, float* const* states, void* const* y) {
  const size_t latency = b->model->measures.latency;
  ut_batch_run_part(b, n_streams, states, latency, 0, latency, nullptr, y);
}

size_t ut_sequence_bytes(const ut_model* m, size_t n_frames) {
  if (m->measures.latency) n_frames = m->measures.block;  // goes through time as a stream does
  const uint64_t per_frame = m->measures.value_floats * sizeof(float);
  if (m->measures.loops) n_frames += n_frames < SIZE_MAX ? 1 : 0;  // the frame that a loop is in
  const uint64_t fixed = aligned(state_bytes(*m)) + scratch_bytes(*m, m->measures.block) + UT_ALIGN;
  if (kSmallSizes && fixed + per_frame * n_frames > SIZE_MAX / 2) return 0;
  if (!kSmallSizes && per_frame != 0 && n_frames > (SIZE_MAX / 2 - fixed) / per_frame) return 0;
  return static_cast<size_t>(fixed) + aligned(static_cast<size_t>(per_frame) * n_frames);
}

size_t ut_sequences_bytes(const ut_model* m, size_t n_sequences, size_t n_frames) {
  if (!goes_abreast(*m) || n_sequences < 2) return 0;
  if (n_frames >= SIZE_MAX / 2 / n_sequences - 1) return 0;
  const size_t rows = (n_frames + m->measures.loops) * n_sequences;
  const uint64_t per_row = m->measures.value_floats * sizeof(float), per_state = aligned(state_bytes(*m)) + sizeof(float*);
  const size_t chunk = abreast_chunk(*m, n_sequences);
  const uint64_t scratch = m->measures.scratch_floats_per_row + m->measures.scratch_floats_per_frame;
  if (n_sequences > SIZE_MAX / 8 / (per_state + UT_ALIGN) || chunk > SIZE_MAX / 8 / (sizeof(float) * scratch + 1)) return 0;
  if (per_row != 0 && rows > SIZE_MAX / 4 / per_row) return 0;
  return abreast_fixed_bytes(*m, n_sequences, chunk) + aligned(static_cast<size_t>(per_row) * rows);
}

ut_status ut_sequences_run(void* mem, size_t bytes, const ut_model* m, size_t n_sequences, const size_t* lengths,
                           const float* const* states, const void* const* x, void* const* y, int (*stop)(void* context),
                           void* context) {
  if (!mem || !m || !lengths || n_sequences < 2 || !goes_abreast(*m)) return UT_E_ARGUMENT;
  if ((!x && m->file.n_inputs) || (!y && m->file.n_outputs)) return UT_E_ARGUMENT;
  for (size_t k = 1; k < n_sequences; ++k)
    if (lengths[k] > lengths[k - 1]) return UT_E_ARGUMENT;
  if (!is_aligned(mem)) return UT_E_ALIGN;
  const size_t needed = ut_sequences_bytes(m, n_sequences, lengths[0]);
  if (needed == 0 || bytes < needed) return UT_E_MEMORY;
  uint8_t* p = static_cast<uint8_t*>(mem);
  const size_t chunk = abreast_chunk(*m, n_sequences), rows = lengths[0] * n_sequences;
  const size_t fixed = abreast_fixed_bytes(*m, n_sequences, chunk);
  float* values = reinterpret_cast<float*>(p + fixed);
  memset(p, 0, fixed);
  for (uint32_t v = 0; v < m->file.n_values; ++v) {  // of rows that fill their panels nothing is read that was not written
    const ValuePlan& value = m->values[v];
    if (value.fixed || value.width % kPanel == 0) continue;
    if (stop && stop(context)) return UT_E_STOPPED;
    memset(values + value.offset * rows, 0, padded(value.width) * rows * sizeof(float));
  }
  const size_t n_values = static_cast<size_t>(m->measures.value_floats) * rows;
  memset(values + n_values, 0, needed - fixed - n_values * sizeof(float));
  float** blocks = reinterpret_cast<float**>(p);
  p += aligned(n_sequences * sizeof(float*));
  for (size_t k = 0; k < n_sequences; ++k, p += aligned(state_bytes(*m)))
    start_state(*m, blocks[k] = reinterpret_cast<float*>(p), states ? states + k * m->file.n_states : nullptr);
  const Watch watch = {stop, context};
  Block b = {m, values, rows, rows, rows, nullptr, reinterpret_cast<float*>(p), chunk, blocks};
  b.abreast = n_sequences;
  b.lengths = lengths;
  if (stop) b.watch = &watch;
  run_abreast(b, x, y);
  return b.stopped() ? UT_E_STOPPED : UT_OK;
}

ut_status ut_sequence_run(void* mem, size_t bytes, const ut_model* m, size_t n_frames, size_t length,
                          const float* const* states, const void* const* x, void* const* y, float* const* finals) {
  return ut_sequence_run_until(mem, bytes, m, n_frames, length, states, x, y, finals, nullptr, nullptr);
}

ut_status ut_sequence_run_until(void* mem, size_t bytes, const ut_model* m, size_t n_frames, size_t length,
                                const float* const* states, const void* const* x, void* const* y, float* const* finals,
                                int (*stop)(void* context), void* context) {
  if (!mem || !m || (!x && m->file.n_inputs) || (!y && m->file.n_outputs) || length > n_frames) return UT_E_ARGUMENT;
  if ((m->measures.frame_by_frame || m->measures.latency) && length != n_frames) return UT_E_ARGUMENT;
  if (!is_aligned(mem)) return UT_E_ALIGN;
  const size_t needed = ut_sequence_bytes(m, n_frames);
  if (needed == 0 || bytes < needed) return UT_E_MEMORY;
  uint8_t* p = static_cast<uint8_t*>(mem);
  for (size_t done = 0; done < needed; done += kZeroedAtATime) {  // memory that is new takes about a second for each GiB
    if (stop && stop(context)) return UT_E_STOPPED;
    memset(p + done, 0, needed - done < kZeroedAtATime ? needed - done : kZeroedAtATime);
  }
  float* state = reinterpret_cast<float*>(p);
  float* scratch = reinterpret_cast<float*>(p += aligned(state_bytes(*m)));
  float* values = reinterpret_cast<float*>(p + scratch_bytes(*m, m->measures.block));
  start_state(*m, state, states);
  const size_t block = m->measures.block;
  const size_t capacity = m->measures.frame_by_frame ? 1 : m->measures.latency ? block : (n_frames ? n_frames : 1);
  const Watch watch = {stop, context};
  Block b = {m, values, capacity, n_frames, length, state, scratch, block, nullptr};
  if (stop) b.watch = &watch;
  if (m->measures.latency)
    run_whole(b, n_frames, x, y);
  else
    run_frames(b, n_frames, x, y);
  if (b.stopped()) return UT_E_STOPPED;
  for (uint32_t i = 0; finals && i < m->file.n_states; ++i)
    if (finals[i]) memcpy(finals[i], state + m->states[i].offset, m->states[i].width * sizeof(float));
  return UT_OK;
}

}  // extern "C"
