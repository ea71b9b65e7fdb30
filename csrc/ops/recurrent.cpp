// SPDX-License-Identifier: MIT
// rnn, gru and lstm: the input half of a block of frames as one matrix product, then the recurrence step by step.
#include <string.h>

#include "op.h"

namespace undertow {

namespace {

// Places in OpPlan::weights and sizes.
enum { kW, kB, kR, kX1, kX2 };  // kX1: gru R_n, lstm peephole; kX2: gru rb_n, lstm projection
enum { kInputs, kHidden, kFedBack };

constexpr uint32_t kFlags = kFlagReverse | kFlagVariant | kFlagMasked;

// What all three cells have: `n_acts` activations, then flags and clip; returns padded(H).
size_t check_cell(Check& c, uint32_t n_gates, uint32_t n_acts, uint32_t n_states, uint32_t n_tensors) {
  const uint32_t n_outputs = c.node().n_outputs;
  c.require(n_outputs >= 1 && n_outputs <= n_states, "outputs are h, and for an lstm c");
  c.counts(1, n_outputs, n_states, n_tensors, 3 * n_acts + 2);
  OpPlan* p = c.plan();
  const size_t H = c.state(n_states - 1), I = c.input(0), F = c.state(0), Hp = padded(H);
  p->sizes[kInputs] = I;
  p->sizes[kHidden] = H;
  p->sizes[kFedBack] = F;
  c.require(c.output(0) == F, "hidden state and output differ in size");
  c.weight(kW, uint64_t{Hp} * n_gates * I);
  c.weight(kB, uint64_t{Hp} * n_gates, true);
  for (uint32_t i = 0; i < n_acts; ++i) p->acts[i] = c.act(3 * i);
  p->flags = c.param(3 * n_acts);
  p->number = c.param_f32(3 * n_acts + 1);
  c.require((p->flags & ~kFlags) == 0, "unknown flags");
  c.require(p->number >= 0.0f, "clip is negative or not a number");
  p->whole_sequence = p->flags & kFlagReverse;
  p->scratch_floats_per_frame = n_gates * Hp;
  p->scratch_floats = 2 * Hp;
  return Hp;
}

// Default activations and no extras: the kernels' fast path, with the same formulas.
bool is_plain(const OpPlan& op, uint32_t n_acts) {
  static constexpr uint32_t kDefaults[] = {kActSigmoid, kActTanh, kActTanh};
  const uint32_t* defaults = n_acts == 1 ? kDefaults + 1 : kDefaults;
  for (uint32_t i = 0; i < n_acts; ++i)
    if (op.acts[i].kind != defaults[i]) return false;
  return op.number == 0.0f;
}

ut_status check_rnn(Check& c) {
  const size_t Hp = check_cell(c, 1, 1, 1, 3);
  c.weight(kR, uint64_t{Hp} * c.plan()->sizes[kFedBack]);
  c.require(!(c.plan()->flags & kFlagVariant), "unknown flags");
  c.plan()->plain = is_plain(*c.plan(), 1);
  return c.status();
}

ut_status check_gru(Check& c) {
  const size_t Hp = check_cell(c, 3, 2, 1, 5);
  const bool reset_after = c.plan()->flags & kFlagVariant;
  c.plan()->plain = is_plain(*c.plan(), 2);
  const size_t H = c.plan()->sizes[kHidden];
  c.weight(kR, uint64_t{Hp} * (reset_after ? 3 : 2) * H);
  c.require(c.has_weight(kX1) == !reset_after && c.has_weight(kX2) == reset_after,
            "R_n belongs to reset-before, rb_n to reset-after");
  if (reset_after)
    c.weight(kX2, Hp);
  else
    c.weight(kX1, uint64_t{Hp} * H);
  return c.status();
}

ut_status check_lstm(Check& c) {
  const size_t Hp = check_cell(c, 4, 3, 2, 5);
  const size_t H = c.plan()->sizes[kHidden], F = c.plan()->sizes[kFedBack];
  c.require(c.node().n_outputs < 2 || c.output(1) == H, "cell state and output differ in size");
  c.require(F == H || c.has_weight(kX2), "hidden and cell state differ in size without a projection");
  c.weight(kR, uint64_t{Hp} * 4 * F);
  c.weight(kX1, uint64_t{3} * Hp, true);
  c.weight(kX2, uint64_t{padded(F)} * H, true);
  const OpPlan& p = *c.plan();
  c.plan()->plain = is_plain(p, 3) && !p.weights[kX1] && !p.weights[kX2] && !(p.flags & kFlagVariant);
  return c.status();
}

using Kernel = void (*)(const CellArgs&, size_t, bool);

// Runs `kernel` over the block, `b.chunk` frames at a time: the input half of that many fits the scratch.
void run_cell(const OpPlan& op, const Block& b, int n_gates, Kernel kernel, CellArgs& args) {
  const KernelTable& k = *b.model->kernels;
  const uint32_t x = op.inputs[0], y = op.output;
  const size_t Hp = padded(op.sizes[kHidden]), F = op.sizes[kFedBack], width = n_gates * Hp;
  const bool reverse = op.flags & kFlagReverse, wants_c = op.n_outputs > 1;
  const size_t n = op.flags & kFlagMasked ? b.n_valid : b.n, chunk = b.chunk;
  const ptrdiff_t y_row = static_cast<ptrdiff_t>(b.stride(y));
  const ptrdiff_t c_row = wants_c ? static_cast<ptrdiff_t>(b.stride(y + 1)) : 0;
  float *h = b.state_at(op.states[0]), *a = b.scratch + op.scratch_floats;

  args.R = static_cast<const float*>(op.weights[kR]);
  args.n_panels = Hp / kPanel;
  args.n_hidden = op.sizes[kHidden];
  args.n_fed_back = F;
  args.scratch = b.scratch;
  for (int i = 0; i < 3; ++i) args.acts[i] = op.acts[i];
  args.clip = op.number;
  args.h0 = h;
  for (size_t done = 0; done < n;) {
    const size_t m = n - done < chunk ? n - done : chunk;
    const size_t first = reverse ? n - done - m : done;  // earliest timestep of the chunk
    k.dense[n_gates]({a, width, b.row(x) + first * b.stride(x), b.stride(x), static_cast<const float*>(op.weights[kW]),
                      static_cast<const float*>(op.weights[kB]), args.n_panels, op.sizes[kInputs]},
                     m);
    const size_t start = reverse ? first + m - 1 : first;
    args.a = reverse ? a + (m - 1) * width : a;
    args.a_step = reverse ? -static_cast<ptrdiff_t>(width) : static_cast<ptrdiff_t>(width);
    args.y = b.row(y) + start * b.stride(y);
    args.y_stride = reverse ? -y_row : y_row;
    args.c_rows = wants_c ? b.row(y + 1) + start * b.stride(y + 1) : nullptr;
    args.c_stride = reverse ? -c_row : c_row;
    kernel(args, m, op.plain);
    args.h0 = b.row(y) + (reverse ? first : first + m - 1) * b.stride(y);
    done += m;
  }
  if (n != 0) memcpy(h, args.h0, F * sizeof(float));
  for (size_t t = n; t < b.n; ++t) {
    memset(b.row(y) + t * b.stride(y), 0, F * sizeof(float));
    if (wants_c) memset(b.row(y + 1) + t * b.stride(y + 1), 0, op.sizes[kHidden] * sizeof(float));
  }
}

void run_rnn(const OpPlan& op, const Block& b) {
  CellArgs args{};
  run_cell(op, b, 1, b.model->kernels->rnn, args);
}

void run_gru(const OpPlan& op, const Block& b) {
  CellArgs args{};
  args.R_n = static_cast<const float*>(op.weights[kX1]);
  args.rb_n = static_cast<const float*>(op.weights[kX2]);
  const KernelTable& k = *b.model->kernels;
  run_cell(op, b, 3, op.flags & kFlagVariant ? k.gru_reset_after : k.gru_reset_before, args);
}

void run_lstm(const OpPlan& op, const Block& b) {
  CellArgs args{};
  args.peephole = static_cast<const float*>(op.weights[kX1]);
  args.projection = static_cast<const float*>(op.weights[kX2]);
  args.n_projection_panels = padded(op.sizes[kFedBack]) / kPanel;
  args.input_forget = op.flags & kFlagVariant;
  args.c = b.state_at(op.states[1]);
  run_cell(op, b, 4, b.model->kernels->lstm, args);
}

}  // namespace

const OpType kRnn = {12, "rnn", check_rnn, run_rnn, false};
const OpType kGru = {13, "gru", check_gru, run_gru, false};
const OpType kLstm = {14, "lstm", check_lstm, run_lstm, false};

}  // namespace undertow
