// SPDX-License-Identifier: MIT
// Recurrent layers behind a gate: where it is shut, the frame is none of the sequence, so no state moves and outputs are
// zeros. Nothing else of a layer knows of it.
#include "op.h"

namespace undertow {

namespace {

void silence(const OpPlan& op, const Block& b, size_t t) {
  for (uint32_t v = op.output; v < op.output + op.n_outputs; ++v)
    memset(b.row(v, t), 0, b.stride(v) * sizeof(float));
}

// One timestep of each stream of a batch: all are computed, and what was shut is undone.
void run_rows(const OpPlan& op, const Block& b) {
  float* const saved = b.scratch + b.n * (op.scratch_floats_per_row - op.saved_floats);
  const auto move = [&](bool back) {
    float* at = saved;
    for (size_t i = 0; i < b.n; ++i)
      for (uint32_t s = 0; s < op.n_states && !b.open(op, i); ++s) {
        float* state = b.state_at(op.states[s], i);
        const size_t n = b.model->states[op.states[s]].width;
        copy_floats(back ? state : at, back ? at : state, n);
        at += padded(n);
      }
  };
  move(false);
  op.type->run(op, b);
  move(true);
  for (size_t i = 0; i < b.n; ++i)
    if (!b.open(op, i)) silence(op, b, i);
}

void swap_rows(const Block& b, uint32_t v, size_t t) {
  float *first = b.row(v), *other = first + t * b.stride(v);
  for (size_t i = 0; i < b.stride(v); ++i) {
    const float x = first[i];
    first[i] = other[i];
    other[i] = x;
  }
}

// A block of a stream of which only some frames belong to the sequence: one frame at a time, each as the first of a block.
void run_some(const OpPlan& op, const Block& b) {
  Block one = b;
  one.n = 1;
  for (size_t t = 0; t < b.n; ++t) {
    one.n_valid = t < b.n_valid;
    if (!b.open(op, t)) {
      if (b.leads()) silence(op, b, t);
      continue;
    }
    // The first frame's outputs wait in frame t's place.
    const auto exchange = [&] {
      if (t == 0 || !b.leads()) return;
      swap_rows(b, op.inputs[0], t);
      for (uint32_t v = op.output; v < op.output + op.n_outputs; ++v) swap_rows(b, v, t);
    };
    exchange();
    b.meet();
    op.type->run(op, one);
    b.meet();
    exchange();
  }
  b.meet();
}

}  // namespace

void run_gated(const OpPlan& op, const Block& b) {
  if (b.batch()) return run_rows(op, b);
  size_t n_open = 0;
  for (size_t t = 0; t < b.n; ++t) n_open += b.open(op, t);
  if (n_open == b.n) return op.type->run(op, b);
  run_some(op, b);
}

}  // namespace undertow
