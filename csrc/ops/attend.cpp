// SPDX-License-Identifier: MIT
// Attention of queries over rows of keys and values (FORMAT.md, "Attention"). Where those are what a window of a stream shows,
// they are read in its ring: nothing is copied, and nothing moves from frame to frame.
#include "ring.h"

namespace undertow {

namespace {

// weights[0] the params, in the file's words; sizes:
enum AttendSize { kHeads, kShared, kRowsSeen, kKeyWidth, kValueWidth };

// Where rows of keys or values stand in their frame.
struct Rows {
  uint32_t offset, row, head;
};
struct AttendParams {
  uint32_t heads, shared, n, key_width, value_width;
  float scale, cap;
  Rows keys, values;
};
static_assert(sizeof(AttendParams) == 52, "they are read where they lie in the file");

AttendParams params_of(const void* words) {
  AttendParams p;
  memcpy(&p, words, sizeof p);
  return p;
}

ut_status check_attend(Check& c) {
  const NodeView& node = c.node();
  c.counts(node.n_inputs, 1, 0, 0, sizeof(AttendParams) / 4);
  c.require(c.version() >= kFirstWithExpressions, "is not of this version of the format");
  c.require(node.n_inputs == 3 || node.n_inputs == 4, "has neither three inputs nor four");
  if (c.status() != UT_OK) return c.status();
  OpPlan* op = c.plan();
  op->weights[0] = node.params;
  const AttendParams p = params_of(node.params);
  const uint32_t all_sizes[] = {p.heads, p.shared, p.n, p.key_width, p.value_width};
  for (const uint32_t size : all_sizes)
    c.require(size != 0 && size <= kMaxFrame, "has a size of 0, or too large a one");
  c.require(c.status() != UT_OK || p.heads % p.shared == 0, "its heads are no multiple of those of its keys");
  c.require(uint64_t{p.heads} * p.key_width == c.input(0), "queries are not one for each head");
  c.require(uint64_t{p.heads} * p.value_width == c.output(0), "output is not one row for each head");
  const auto fits = [&](uint32_t input, const Rows& r, uint32_t width) {
    c.require(p.n == 1 || r.row >= width, "rows overlap");
    c.require(r.offset + uint64_t{p.n - 1} * r.row + uint64_t{p.shared - 1} * r.head + width <= c.input(input), "rows leave their input");
  };
  fits(1, p.keys, p.key_width);
  fits(2, p.values, p.value_width);
  if (node.n_inputs == 4) {
    const size_t n_bias = c.input(3);
    c.require(n_bias == p.n || n_bias == uint64_t{p.heads} * p.n, "bias is neither of the rows nor of heads and rows");
  }
  c.require(p.cap == 0.0f || (p.cap >= 1.17549435e-38f && p.cap < UT_INFINITY), "its cap is neither 0 nor a positive number");
  op->sizes[kHeads] = p.heads;
  op->sizes[kShared] = p.shared;
  op->sizes[kRowsSeen] = p.n;
  op->sizes[kKeyWidth] = p.key_width;
  op->sizes[kValueWidth] = p.value_width;
  op->scratch_floats = padded(p.n);
  op->multiply_adds = uint64_t{p.n} * p.heads * (uint64_t{p.key_width} + p.value_width);
  return c.status();
}

// Rows of one head in a frame.
void rows_in_frame(HeadRows* to, const float* frame, const Rows& r, size_t head, size_t n) {
  to[0] = {frame + r.offset + head * r.head, n, r.row};
  to[1] = {to[0].x, 0, 0};
}

// The same in the ring of a window that has gone `passed` frames beyond this one, its own among them. A row is a frame of it.
void rows_in_ring(HeadRows* to, const OpPlan& window, const Block& b, size_t passed, const Rows& r, size_t head, size_t n) {
  const Ring ring(window, b.rings, b.chunk);
  const size_t width = window.sizes[kWidth], first = r.offset / width, within = r.offset % width + head * r.head;
  const ptrdiff_t at = tap_at(window.weights[0], first) - static_cast<ptrdiff_t>(passed);
  const size_t before_end = ring.ahead_of_end(at), some = n < before_end ? n : before_end;
  to[0] = {ring.frames(at).x + within, some, width};
  to[1] = {to[0].x, 0, 0};
  if (some < n) to[1] = {ring.frames(at + static_cast<ptrdiff_t>(some)).x + within, n - some, width};
}

void run_attend(const OpPlan& op, const Block& b) {
  const uint32_t y = op.output;
  const AttendParams p = params_of(op.weights[0]);
  AttendArgs args = {};
  args.n = p.n;
  args.key_width = p.key_width;
  args.value_width = p.value_width;
  args.scale = p.scale;
  args.cap = p.cap;
  args.scores = b.scratch;
  const size_t n_bias = op.n_inputs == 4 ? b.value(op.inputs[3]).width : 0, rows = b.rows(y);
  const auto kernel = b.model->kernels->frames->attend;
  const auto find = [&](HeadRows* to, uint32_t input, size_t t, const Rows& r, size_t head) {
    const OpPlan* window = UT_SMALLEST || !b.rings ? nullptr : op.rings[input - 1];
    if (window)
      rows_in_ring(to, *window, b, rows - t, r, head, p.n);
    else
      rows_in_frame(to, b.row(op.inputs[input], t), r, head, p.n);
  };
  for (size_t t = 0; t < rows; ++t)
    for (size_t h = 0; h < p.heads; ++h) {
      const size_t of_keys = h / (p.heads / p.shared);
      args.q = b.row(op.inputs[0], t) + h * p.key_width;
      args.y = b.row(y, t) + h * p.value_width;
      if (n_bias != 0) args.bias = b.row(op.inputs[3], t) + (n_bias == p.n ? 0 : h * p.n);
      find(args.keys, 1, t, p.keys, of_keys);
      find(args.values, 2, t, p.values, of_keys);
      kernel(args);
    }
}

constexpr OpType kOps[] = {
    {29, "attend", check_attend, run_attend, kFramewise},
};

// Whether rows are frames of a window that stand one behind the other in its ring.
bool reads_frames(const OpPlan& window, const Rows& r, const AttendParams& p, size_t key_or_value_width) {
  const size_t width = window.sizes[kWidth], n_taps = window.sizes[kTaps], first = r.offset / width;
  const size_t last_element = r.offset % width + size_t{p.shared - 1} * r.head + key_or_value_width;
  if ((p.n != 1 && r.row != width) || last_element > width || first + p.n > n_taps) return false;
  return tap_at(window.weights[0], first + p.n - 1) - tap_at(window.weights[0], first) == static_cast<int32_t>(p.n - 1);
}

}  // namespace

const OpList kAttendOps = kOps;

void mark_attention(ut_model& m) {
  OpPlan* const end = m.ops + m.file.n_nodes;
  // The window whose ring has the rows of an input, or null. Outputs ascend with their nodes.
  const auto window_of = [&](const OpPlan& op, uint32_t k) -> OpPlan* {
    const AttendParams p = params_of(op.weights[0]);
    const uint32_t v = m.values[op.inputs[k + 1]].origin;
    OpPlan* first = m.ops;
    for (size_t n = m.file.n_nodes; n > 1;) {
      const size_t half = n / 2;
      if (first[half].output <= v) first += half;
      n -= half;
    }
    if (!first->has_ring || first->output != v || Ring::is_planar(*first)) return nullptr;
    return reads_frames(*first, k ? p.values : p.keys, p, k ? p.value_width : p.key_width) ? first : nullptr;
  };
  const auto each = [&](const auto& f) {
    for (OpPlan* op = m.ops; op < end; ++op)
      for (uint32_t k = 0; op->type == kOps && k < 2; ++k)
        if (OpPlan* window = window_of(*op, k)) f(*op, k, *window);
  };
  each([](OpPlan&, uint32_t, OpPlan& window) { ++window.n_ring_readings; });
  each([&](OpPlan& op, uint32_t k, OpPlan& window) {
    if (window.n_ring_readings != m.values[window.output].n_readings) return;
    window.only_ring = true;
    op.rings[k] = &window;
  });
}

}  // namespace undertow
