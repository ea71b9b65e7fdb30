// SPDX-License-Identifier: MIT
// The C entry points of teams: workers that share one stream (team.h).
#include "run.h"
#include "stream.h"

using namespace undertow;

#if UT_THREADS

struct ut_team {
  ut_stream* stream;
  Mark* marks;     // one for each worker
  float* scratch;  // of worker 0; those of the others follow
  size_t n_workers, least;
  Team::Pause pause;
  void* context;
  size_t n_frames;  // of the call that worker 0 has begun
};

namespace {

constexpr size_t aligned(size_t bytes) { return (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN; }
bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % UT_ALIGN == 0; }

// A worker of a team takes every timestep in two halves, whose scratch `scratch_floats_per_row` covers.
size_t worker_bytes(const ut_model& m, size_t block) {
  const uint64_t floats = m.measures.scratch_floats_per_row + m.measures.scratch_floats_per_frame * block;
  return aligned(static_cast<size_t>(m.measures.scratch_floats + floats) * sizeof(float));
}
size_t team_bytes(const ut_stream& s, size_t n_workers) {
  return aligned(sizeof(ut_team)) + n_workers * (sizeof(Mark) + worker_bytes(*s.model, s.block));
}

// What a worker of the stream's team is during a call, and the block that it walks over.
Team worker_of(const ut_team& t, size_t worker) {
  return {t.marks, t.n_workers, worker, t.least, t.pause, t.context, t.scratch};
}
Block block_of(const ut_team& t, size_t worker, size_t n_frames, Team* team) {
  const ut_stream& s = *t.stream;
  const size_t capacity = n_frames < s.block ? n_frames : s.block;
  float* scratch = t.scratch + worker * (worker_bytes(*s.model, s.block) / sizeof(float));
  return {s.model, s.values, capacity, capacity, capacity, s.state, scratch, s.block, nullptr, team};
}

}  // namespace

void undertow::lead(ut_team& t, size_t n_frames, const void* const* x, void* const* y) {
  if (n_frames == 0) return;
  settle(*t.stream);
  Team team = worker_of(t, 0);
  t.n_frames = n_frames;
  lead_frames(block_of(t, 0, n_frames, &team), n_frames, x, y);
}

extern "C" {

size_t ut_shared_bytes(const ut_model* m, size_t least) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < m->file.n_nodes; ++i)
    if (m->ops[i].run && m->ops[i].matrix_bytes >= (least ? least : 1)) bytes += m->ops[i].matrix_bytes;
  return static_cast<size_t>(bytes);
}

size_t ut_team_bytes(const ut_stream* stream, size_t n_workers) {
  return team_bytes(*stream, n_workers < 2 ? 2 : n_workers > UT_MAX_WORKERS ? UT_MAX_WORKERS : n_workers);
}

ut_status ut_team_init(void* mem, size_t bytes, ut_stream* stream, size_t n_workers, size_t least,
                       void (*pause)(void* context, size_t worker), void* context, ut_team** out) {
  if (!mem || !stream || !out || n_workers < 2 || n_workers > UT_MAX_WORKERS) return UT_E_ARGUMENT;
  if (ut_shared_bytes(stream->model, least) == 0) return UT_E_ARGUMENT;
  if (!is_aligned(mem)) return UT_E_ALIGN;
  if (bytes < team_bytes(*stream, n_workers)) return UT_E_MEMORY;
  memset(mem, 0, team_bytes(*stream, n_workers));
  uint8_t* p = static_cast<uint8_t*>(mem) + aligned(sizeof(ut_team));
  Mark* marks = reinterpret_cast<Mark*>(p);
  for (size_t w = 0; w < n_workers; ++w) (new (marks + w) Mark)->meeting.store(0, std::memory_order_relaxed);
  float* scratch = reinterpret_cast<float*>(p + n_workers * sizeof(Mark));
  *out = new (mem) ut_team{stream, marks, scratch, n_workers, least ? least : 1, pause, context, 0};
  stream->team = *out;
  return UT_OK;
}

void ut_team_use(ut_team* t, int together) { t->stream->team = together ? t : nullptr; }

int ut_team_called(const ut_team* t, size_t worker) {
  return t->marks[0].meeting.load(std::memory_order_relaxed) != t->marks[worker].meeting.load(std::memory_order_relaxed);
}

void ut_team_help(ut_team* t, size_t worker) {
  Team team = worker_of(*t, worker);
  team.follow();
  const size_t n_frames = t->n_frames;
  help_frames(block_of(*t, worker, n_frames, &team), n_frames);
}

}  // extern "C"

#else  // one core: nobody helps

extern "C" {

size_t ut_shared_bytes(const ut_model*, size_t) { return 0; }
size_t ut_team_bytes(const ut_stream*, size_t) { return 0; }
ut_status ut_team_init(void*, size_t, ut_stream*, size_t, size_t, void (*)(void*, size_t), void*, ut_team**) { return UT_E_UNSUPPORTED; }
void ut_team_use(ut_team*, int) {}
int ut_team_called(const ut_team*, size_t) { return 0; }
void ut_team_help(ut_team*, size_t) {}

}  // extern "C"

#endif
