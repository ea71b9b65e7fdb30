// SPDX-License-Identifier: MIT
// Recurrent layers behind a gate: where it is shut, the frame is none of the sequence, so no state moves and outputs are
// zeros. Nothing else of a layer knows of it.
#include "op.h"

namespace undertow {

namespace {

void silence(const OpPlan& op, const Block& b, size_t t) {
  for (uint32_t v = op.output; v < op.output + op.n_outputs; ++v)
    memset(b.row(v) + t * b.stride(v), 0, b.stride(v) * sizeof(float));
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

}  // namespace

// Of a stream, a block's gates are all open or all shut (Block::singles).
void run_gated(const OpPlan& op, const Block& b) {
  if (b.batch()) return run_rows(op, b);
  if (b.open(op, 0)) return op.type->run(op, b);
  for (size_t t = 0; b.leads() && t < b.n; ++t) silence(op, b, t);
  b.meet();
}

}  // namespace undertow
