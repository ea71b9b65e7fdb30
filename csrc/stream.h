// SPDX-License-Identifier: MIT
// A stream in memory, and where it has what it remembers.
#ifndef UNDERTOW_STREAM_H_
#define UNDERTOW_STREAM_H_

#include "include/undertow.h"
#include "ops/op.h"
#include "plan.h"

struct ut_stream {
  const ut_model* model;
  float* state;
  float* values;
  float* scratch;
  size_t block;  // frames that values and scratch were sized for
  float* before;  // the state before what is proposed
  bool proposed;
  float* rings;     // where its windows have their past; null: in `state`, for it has none or somebody may look there at any time
  bool in_rings;    // what `state` says of these windows is old
  ut_team* team;  // that its calls need; null: none
  undertow::Block step;  // of one timestep; `back`: the direction in which the last one walked weights
};

namespace undertow {

constexpr size_t kSnapshotHeader = 32;

inline size_t state_bytes(const ut_model& m) { return static_cast<size_t>(m.measures.state_floats) * sizeof(float); }

// What a stream remembers, as a block of states, and back.
void save_state(const ut_stream& s, float* to);
void load_state(ut_stream& s, const float* from);
// Before something that works on the state itself.
void settle(ut_stream& s);
// A call of a stream that has a team, by its worker 0.
void lead(ut_team& team, size_t n_frames, const void* const* x, void* const* y);
// Before a walk that finds the past of windows in rings: these, or null.
float* rings_of(ut_stream& s);

}  // namespace undertow

#endif  // UNDERTOW_STREAM_H_
