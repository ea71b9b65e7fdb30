// SPDX-License-Identifier: MIT
// Windows over time, the gate that tells frames of a sequence from those of a flush, and the state registers.
#include "ring.h"

namespace undertow {

namespace {

// How far a tap may reach, so that spans and offsets fit whatever they are added to.
constexpr int32_t kMaxTap = 1 << 20;

// --- window: weights[0] the taps, in the file's words; sizes (ring.h) how many, frames of its state, width -----------
// Row i of the output is the frame taps[i] later. The state holds the last frames in the order in which they came; without
// one the window belongs to a whole sequence, and looks wherever it wants.

ut_status check_window(Check& c) {
  const NodeView& node = c.node();
  c.counts(node.n_inputs, 1, node.n_states, 0, node.n_params);
  c.require(node.n_params != 0, "has no taps");
  c.require(node.n_states <= 1, "has more than one state");
  c.gate(1);
  const size_t n_in = c.input(0);
  c.require(c.output(0) == uint64_t{n_in} * node.n_params, "output is not a frame for each tap");
  if (c.status() != UT_OK) return c.status();
  OpPlan* p = c.plan();
  p->weights[0] = node.params;
  p->sizes[kTaps] = node.n_params;
  const int32_t first = tap_at(node.params, 0), last = tap_at(node.params, node.n_params - 1);
  for (uint32_t i = 1; i < node.n_params; ++i) c.require(tap_at(node.params, i - 1) < tap_at(node.params, i), "taps do not ascend");
  c.require(first >= -kMaxTap && last <= kMaxTap, "a tap lies more than 2^20 frames away");
  if (c.status() != UT_OK) return c.status();
  if (node.n_states != 0) {
    c.require(first < 0 && last <= 0, "has a state, but its taps are not in the past");
    if (c.status() != UT_OK) return c.status();
    p->sizes[kSpan] = static_cast<size_t>(-first);
    p->sizes[kWidth] = n_in;
    p->has_ring = !p->gate;
    c.require(c.state(0) == uint64_t{p->sizes[kSpan]} * n_in, "state is not a frame for each timestep back to its first tap");
  }
  p->whole_sequence = node.n_states == 0 && (first != 0 || last != 0);
  return c.status();
}

// Copies a frame of x, or zeros where its gate is shut.
void put(const OpPlan& op, const Block& b, float* to, size_t t, size_t width) {
  const uint32_t x = op.inputs[0];
  if (op.gate && !b.open(op, t))
    memset(to, 0, width * sizeof(float));
  else
    copy_floats(to, b.row(x, t), width);
}

// n frames from row `first` on, `step` rows apart, of one stream whose state is `past`, or of a whole sequence (null).
void window_frames(const OpPlan& op, const Block& b, float* past, size_t first, size_t step, size_t n) {
  const size_t width = b.value(op.inputs[0]).width, span = op.sizes[kSpan], n_taps = op.sizes[kTaps];
  for (size_t t = 0; t < n; ++t) {
    float* to = b.row(op.output, first + t * step);
    for (size_t i = 0; i < n_taps; ++i, to += width) {
      const ptrdiff_t from = static_cast<ptrdiff_t>(t) + tap_at(op.weights[0], i);
      if (from >= 0 && from < static_cast<ptrdiff_t>(n))
        put(op, b, to, first + static_cast<size_t>(from) * step, width);
      else if (past)
        copy_floats(to, past + (static_cast<ptrdiff_t>(span) + from) * static_cast<ptrdiff_t>(width), width);
      else
        memset(to, 0, width * sizeof(float));
    }
  }
  if (!past) return;
  const size_t kept = n < span ? span - n : 0;
  for (size_t k = 0, by = (span - kept) * width; k < kept * width; ++k) past[k] = past[k + by];
  for (size_t i = kept; i < span; ++i) put(op, b, past + i * width, first + (n - span + i) * step, width);
}

// The frames of a stream that has rings.
void window_of_ring(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0];
  Ring ring(op, b.rings, b.chunk);
  ring.put({b.row(x), b.stride(x), 1, op.sizes[kWidth]}, b.n);
  for (size_t t = 0; t < b.n && !op.only_ring; ++t) {
    float* to = b.row(op.output, t);
    for (size_t i = 0; i < op.sizes[kTaps]; ++i) {
      const Piece from = ring.frames(static_cast<ptrdiff_t>(t) + tap_at(op.weights[0], i));
      for (size_t k = 0; !UT_SMALLEST && from.step != 1 && k < from.width; ++k) to[k] = from.x[k * from.step];
      if (UT_SMALLEST || from.step == 1) copy_floats(to, from.x, from.width);
      to += from.width;
    }
  }
  ring.advance(b.n);
}

void run_window(const OpPlan& op, const Block& b) {
  if (b.rings && op.has_ring) return window_of_ring(op, b);
  const bool has_past = op.sizes[kSpan] != 0;
  if (UT_SMALLEST || !b.states) return window_frames(op, b, has_past ? b.state_at(op.states[0]) : nullptr, 0, 1, b.n);
  const size_t n = b.batch() ? b.n : b.abreast;
  for (size_t i = 0; i < n; ++i)
    window_frames(op, b, has_past ? b.state_at(op.states[0], i) : nullptr, i, n, b.batch() ? 1 : b.lengths[i]);
}

// --- present: 1 for the frames of a sequence, 0 for those of a flush ---------------------------------------------------

ut_status check_present(Check& c) {
  c.counts(0, 1, 0, 0, 1);
  c.require(c.output(0) == 1, "output has more than one element");
  c.plan()->latency = c.param(0);
  c.require(c.plan()->latency <= uint32_t{kMaxTap}, "latency is more than 2^20 frames");
  return c.status();
}

void run_present(const OpPlan& op, const Block& b) {
  for (size_t t = 0; t < b.n; ++t) b.row(op.output)[t * b.stride(op.output)] = b.flush ? 0.0f : 1.0f;
}

// --- state_read, state_write -------------------------------------------------------------------------------------------

ut_status check_state_read(Check& c) {
  c.counts(0, 1, 1, 0, 0);
  c.require(c.state(0) == c.output(0), "state and output differ in size");
  return c.status();
}

void run_state_read(const OpPlan& op, const Block& b) {
  const size_t bytes = b.value(op.output).width * sizeof(float);
  for (size_t i = 0; i < b.n; ++i)
    memcpy(b.row(op.output, i), b.batch() ? b.state_at(op.states[0], i) : b.state_at(op.states[0]), bytes);
}

ut_status check_state_write(Check& c) {
  c.counts(c.node().n_inputs, 0, 1, 0, 0);
  c.gate(1);
  c.require(c.state(0) == c.input(0), "state and input differ in size");
  return c.status();
}

void run_state_write(const OpPlan& op, const Block& b) {
  const size_t bytes = b.value(op.inputs[0]).width * sizeof(float);
  for (size_t i = 0; i < b.n; ++i)
    if (!op.gate || b.open(op, i))
      memcpy(b.batch() ? b.state_at(op.states[0], i) : b.state_at(op.states[0]), b.row(op.inputs[0], i), bytes);
}

constexpr OpType kOps[] = {
    {15, "state_read", check_state_read, run_state_read, kRegister},
    {16, "state_write", check_state_write, run_state_write, kRegister},
    {23, "window", check_window, run_window, 0},
    {27, "present", check_present, run_present, kPresence},
};

}  // namespace

const OpList kTimeOps = kOps;

}  // namespace undertow
