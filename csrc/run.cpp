// SPDX-License-Identifier: MIT
#include "run.h"

#include <string.h>

#include "cpu.h"

namespace undertow {

namespace {

void copy_in(const Block& b, size_t first, const void* const* x) {
  for (uint32_t i = 0; i < b.model->file.n_inputs; ++i) {
    const size_t width = b.value(i).width, stride = b.stride(i);
    const float* from = static_cast<const float*>(x[i]) + first * width;
    for (size_t t = 0; t < b.n; ++t) copy_floats(b.row(i) + t * stride, from + t * width, width);
  }
}

void copy_out(const Block& b, size_t first, void* const* y) {
  for (uint32_t i = 0; i < b.model->file.n_outputs; ++i) {
    if (!y[i]) continue;
    const uint32_t v = b.model->file.output(i).value;
    const size_t width = b.value(v).width, stride = b.stride(v);
    // A constant of a streamed model is an output at every timestep; only a whole sequence has outputs given once.
    const bool once = b.value(v).once && !b.model->measures.streamable;
    float* to = static_cast<float*>(y[i]) + (once ? 0 : first * width);
    for (size_t t = 0; t < (once ? 1 : b.n); ++t) copy_floats(to + t * width, b.row(v) + t * stride, width);
  }
}

}  // namespace

void reset_state(const ut_model& model, float* state) {
  for (uint32_t s = 0; s < model.file.n_states; ++s) {
    const StatePlan& p = model.states[s];
    float* field = state + p.offset;
    if (p.init)
      memcpy(field, p.init, padded(p.width) * sizeof(float));
    else
      memset(field, 0, padded(p.width) * sizeof(float));
  }
}

void run_frames(Block b, size_t n_frames, const void* const* x, void* const* y) {
  const FloatMode mode;
  for (size_t first = 0; first < n_frames; first += b.capacity) {
    b.n = n_frames - first < b.capacity ? n_frames - first : b.capacity;
    if (n_frames > b.capacity) b.n_valid = b.n;
    copy_in(b, first, x);
    for (uint32_t i = 0; i < b.model->file.n_nodes; ++i) {
      const OpPlan& op = b.model->ops[i];
      if (op.run) op.run(op, b);
    }
    copy_out(b, first, y);
  }
}

}  // namespace undertow
