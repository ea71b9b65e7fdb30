// SPDX-License-Identifier: MIT
// The C entry points of what streams remember, and the way between rings and states.
#include "ops/ring.h"
#include "run.h"
#include "stream.h"

using namespace undertow;

namespace {

constexpr uint8_t kSnapshotMagic[8] = {'U', 'T', 'S', 'N', 'A', 'P', 0, 1};

// For each window of a stream that has a ring, the ring and where its state stands in a block of states.
template <class F>
void for_rings(const ut_stream& s, const F& f) {
  for (const OpPlan *op = s.model->ops, *end = op + s.model->file.n_nodes; op != end; ++op)
    if (op->has_ring) f(Ring(*op, s.rings, s.block), s.model->states[op->states[0]].offset);
}

}  // namespace

namespace undertow {

void save_state(const ut_stream& s, float* to) {
  if (to != s.state) memcpy(to, s.state, state_bytes(*s.model));
  if (s.in_rings) for_rings(s, [&](const Ring& ring, size_t at) { ring.save(to + at); });
}

void load_state(ut_stream& s, const float* from) {
  if (from != s.state) memcpy(s.state, from, state_bytes(*s.model));
  s.in_rings = false;
}

void settle(ut_stream& s) {
  save_state(s, s.state);
  s.in_rings = false;
}

float* rings_of(ut_stream& s) {
  if (s.rings && !s.in_rings) {
    for_rings(s, [&](Ring ring, size_t at) { ring.load(s.state + at); });
    s.in_rings = true;
  }
  return s.rings;
}

}  // namespace undertow

void ut_stream_reset(ut_stream* s) {
  reset_state(*s->model, s->state);
  s->in_rings = false;
}

float* ut_stream_state(ut_stream* s, size_t i) {
  float* field = ut_state_field(s->model, s->state, i);
  if (!s->rings || !field) return field;
  bool has_ring = false;
  for_rings(*s, [&](const Ring&, size_t at) { has_ring = has_ring || s->state + at == field; });
  if (has_ring) {  // the caller may keep this
    settle(*s);
    s->rings = nullptr;
  }
  return field;
}

void ut_stream_get(const ut_stream* s, size_t i, float* to) {
  const float* field = ut_state_field(s->model, s->state, i);
  if (!field) return;
  memcpy(to, field, s->model->states[i].width * sizeof(float));
  if (s->in_rings)
    for_rings(*s, [&](const Ring& ring, size_t at) {
      if (s->state + at == field) ring.save(to);
    });
}

void ut_stream_set(ut_stream* s, size_t i, const float* from) {
  float* field = ut_state_field(s->model, s->state, i);
  if (!field) return;
  settle(*s);
  memcpy(field, from, s->model->states[i].width * sizeof(float));
}

void ut_snapshot_save(const ut_stream* s, void* bytes) {
  ut_state_save(s->model, s->state, bytes);
  if (s->in_rings)
    for_rings(*s, [&](const Ring& ring, size_t at) {
      ring.save(static_cast<uint8_t*>(bytes) + kSnapshotHeader + at * sizeof(float));
    });
}

ut_status ut_snapshot_load(ut_stream* s, const void* bytes, size_t n, ut_error* err) {
  if (!s) return Message(err, UT_E_ARGUMENT) << "stream is NULL";
  const ut_status status = ut_state_load(s->model, s->state, bytes, n, err);
  if (status == UT_OK) s->in_rings = false;
  return status;
}

ut_status ut_stream_copy(ut_stream* to, const ut_stream* from) {
  if (!to || !from) return UT_E_ARGUMENT;
  if (to->model != from->model) return UT_E_STATE;
  if (to == from) return UT_OK;
  save_state(*from, to->state);
  to->in_rings = false;
  return UT_OK;
}

void ut_state_reset(const ut_model* m, float* state) { reset_state(*m, state); }

float* ut_state_field(const ut_model* m, float* state, size_t i) {
  return i < m->file.n_states ? state + m->states[i].offset : nullptr;
}

void ut_state_save(const ut_model* m, const float* state, void* bytes) {
  uint8_t* p = static_cast<uint8_t*>(bytes);
  const size_t n_state = state_bytes(*m);
  const uint64_t n = n_state;
  memcpy(p, kSnapshotMagic, 8);
  memcpy(p + 8, m->file.hash, 16);
  memcpy(p + 24, &n, 8);
  uint8_t* fields = p + kSnapshotHeader;
  memset(fields, 0, n_state);
  for (uint32_t i = 0; i < m->file.n_states; ++i) {
    const StatePlan& f = m->states[i];
    memcpy(fields + f.offset * sizeof(float), state + f.offset, f.width * sizeof(float));
  }
}

ut_status ut_state_load(const ut_model* m, float* state, const void* bytes, size_t n, ut_error* err) {
  if (!m || !state || !bytes) return Message(err, UT_E_ARGUMENT) << "model, state or bytes is NULL";
  const uint8_t* p = static_cast<const uint8_t*>(bytes);
  const size_t expected = state_bytes(*m);
  uint64_t claimed = 0;
  if (n < kSnapshotHeader || memcmp(p, kSnapshotMagic, 8) != 0)
    return Message(err, UT_E_STATE) << "not a snapshot of version 1";
  if (memcmp(p + 8, m->file.hash, 16) != 0)
    return Message(err, UT_E_STATE) << "the snapshot belongs to another model than " << m->file.name;
  memcpy(&claimed, p + 24, 8);
  if (claimed != expected || n - kSnapshotHeader != expected)
    return Message(err, UT_E_STATE) << "the snapshot has " << uint64_t{n - kSnapshotHeader} << " bytes of state and says "
                                    << claimed << ", expected " << expected;
  memcpy(state, p + kSnapshotHeader, expected);
  return UT_OK;
}
