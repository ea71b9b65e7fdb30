// SPDX-License-Identifier: MIT
// rnn, gru and lstm: the input half of a block of frames as one matrix product, then the recurrence step by step.
// Float32 layers of one stream have kernels that walk time themselves; reduced weights, and batches of streams, take a
// timestep in two halves: R h of all rows as one product, then the cell update of each row. The bits are the same.
#include <string.h>

#include "op.h"

namespace undertow {

namespace {

// Places in OpPlan::weights and sizes.
enum { kW, kB, kR, kX1, kX2 };  // kX1: gru R_n, lstm peephole; kX2: gru rb, lstm projection
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
  c.matrix(kW, H, I, n_gates);
  c.weight(kB, uint64_t{Hp} * n_gates, true);
  for (uint32_t i = 0; i < n_acts; ++i) p->acts[i] = c.act(3 * i);
  p->flags = c.param(3 * n_acts);
  p->number = c.param_f32(3 * n_acts + 1);
  c.require((p->flags & ~kFlags) == 0, "unknown flags");
  c.require(p->number >= 0.0f, "clip is negative or not a number");
  p->whole_sequence = p->flags & kFlagReverse;
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

// --- scratch ---------------------------------------------------------------------------------------------------------
// For each row: R h, h, two vectors of units, the quantised h; then for each frame: b + W x, the quantised x.

size_t larger(size_t a, size_t b) { return a > b ? a : b; }

size_t quantized_h_floats(const OpPlan& op) {
  const size_t H = op.sizes[kHidden];
  const size_t of_units = larger(quantized_floats(op.precisions[kX1], H), quantized_floats(op.precisions[kX2], H));
  return larger(quantized_floats(op.precisions[kR], op.sizes[kFedBack]), of_units);
}

struct Layout {
  size_t q, h, units, quantized_h;  // floats for each row
  size_t a, quantized_x;            // floats for each frame

  Layout(const OpPlan& op, size_t n_gates) {
    const size_t Hp = padded(op.sizes[kHidden]);
    q = a = n_gates * Hp;
    h = padded(op.sizes[kFedBack]);
    units = 2 * Hp;
    quantized_h = quantized_h_floats(op);
    quantized_x = quantized_floats(op.precisions[kW], op.sizes[kInputs]);
  }
  size_t row() const { return q + h + units + quantized_h; }
  size_t frame() const { return a + quantized_x; }
};

bool has_float32_state(const OpPlan& op) {
  return op.precisions[kR] == kFloat32 && op.precisions[kX1] == kFloat32 && op.precisions[kX2] == kFloat32;
}

void size_scratch(OpPlan* p, size_t n_gates) {
  const Layout layout(*p, n_gates);
  p->scratch_floats = has_float32_state(*p) ? layout.units : layout.row();
  p->scratch_floats_per_frame = layout.frame();
  p->scratch_floats_per_row = layout.row() + layout.frame();
}

// --- checks ----------------------------------------------------------------------------------------------------------

ut_status check_rnn(Check& c) {
  check_cell(c, 1, 1, 1, 3);
  c.matrix(kR, c.plan()->sizes[kHidden], c.plan()->sizes[kFedBack], 1);
  c.require(!(c.plan()->flags & kFlagVariant), "unknown flags");
  c.plan()->plain = is_plain(*c.plan(), 1);
  size_scratch(c.plan(), 1);
  return c.status();
}

ut_status check_gru(Check& c) {
  const size_t Hp = check_cell(c, 3, 2, 1, 5);
  const bool reset_after = c.plan()->flags & kFlagVariant;
  c.plan()->plain = is_plain(*c.plan(), 2);
  const size_t H = c.plan()->sizes[kHidden];
  c.matrix(kR, H, H, reset_after ? 3 : 2);
  c.require(c.has_weight(kX1) == !reset_after && c.has_weight(kX2) == reset_after,
            "R_n belongs to reset-before, rb to reset-after");
  if (reset_after)
    c.weight(kX2, uint64_t{Hp} * 3);
  else
    c.matrix(kX1, H, H, 1);
  size_scratch(c.plan(), 3);
  return c.status();
}

ut_status check_lstm(Check& c) {
  const size_t Hp = check_cell(c, 4, 3, 2, 5);
  const size_t H = c.plan()->sizes[kHidden], F = c.plan()->sizes[kFedBack];
  c.require(c.node().n_outputs < 2 || c.output(1) == H, "cell state and output differ in size");
  c.require(F == H || c.has_weight(kX2), "hidden and cell state differ in size without a projection");
  c.matrix(kR, H, F, 4);
  c.weight(kX1, uint64_t{3} * Hp, true);
  c.matrix(kX2, F, H, 1, true);
  const OpPlan& p = *c.plan();
  c.plan()->plain = is_plain(p, 3) && !p.weights[kX1] && !p.weights[kX2] && !(p.flags & kFlagVariant);
  size_scratch(c.plan(), 4);
  return c.status();
}

// --- running ---------------------------------------------------------------------------------------------------------

struct Cell {
  int n_gates;
  void (*kernel)(const CellArgs&, size_t, bool);
};

const float* floats(const void* weights) { return static_cast<const float*>(weights); }

void fill_args(const OpPlan& op, CellArgs& args) {
  args.n_hidden = op.sizes[kHidden];
  args.n_panels = padded(op.sizes[kHidden]) / kPanel;
  args.n_fed_back = op.sizes[kFedBack];
  args.R = floats(op.weights[kR]);
  for (int i = 0; i < 3; ++i) args.acts[i] = op.acts[i];
  args.clip = op.number;
}

// b + W x of m frames.
void input_half(const OpPlan& op, const Block& b, const Cell& cell, const CellArgs& args, float* a, float* quantized,
                size_t first, size_t m) {
  const uint32_t x = op.inputs[0];
  b.model->kernels->dense[op.precisions[kW]][cell.n_gates](
      {a, cell.n_gates * padded(op.sizes[kHidden]), b.row(x) + first * b.stride(x), b.stride(x), op.weights[kW],
       floats(op.weights[kB]), args.n_panels, op.sizes[kInputs], quantized},
      m);
}

// One timestep of n rows whose input halves are done. Row i: a and y (strides as given), c in states[i].
struct Rows {
  size_t n;
  const float *a, *h;
  size_t h_stride;
  float* y;
  size_t y_stride;
  float* const* states;
  float* scratch;  // n * Layout::row()
};

void step_rows(const OpPlan& op, const ut_model& model, const Cell& cell, const CellArgs& args, const Rows& rows) {
  const KernelTable& k = *model.kernels;
  const Layout layout(op, static_cast<size_t>(cell.n_gates));
  const size_t Hp = padded(op.sizes[kHidden]), H = op.sizes[kHidden], n = rows.n;
  float *q = rows.scratch, *units = q + n * (layout.q + layout.h), *quantized = units + n * layout.units;
  const bool lstm = op.type == &kLstm, gru = op.type == &kGru, reset_after = gru && op.flags & kFlagVariant;
  const bool projects = lstm && op.weights[kX2];
  const int R_gates = gru && !reset_after ? 2 : cell.n_gates;
  const size_t q_stride = static_cast<size_t>(R_gates) * Hp;
  k.dense[op.precisions[kR]][R_gates]({q, q_stride, rows.h, rows.h_stride, op.weights[kR],
                                       reset_after ? floats(op.weights[kX2]) : nullptr, args.n_panels, args.n_fed_back,
                                       quantized},
                                      n);
  const auto row = [&](size_t i) {
    float* mine = units + i * layout.units;
    float* c = lstm ? rows.states[i] + model.states[op.states[1]].offset : nullptr;
    float* y = projects ? mine : rows.y + i * rows.y_stride;
    return CellRow{rows.a + i * layout.a, q + i * q_stride, rows.h + i * rows.h_stride, y, c, mine, mine + Hp};
  };
  const auto update = lstm          ? k.lstm_update
                      : reset_after ? k.gru_after_update
                      : gru         ? k.gru_before_gates
                                    : k.rnn_update;
  for (size_t i = 0; i < n; ++i) update(args, row(i), op.plain);
  if (projects)
    k.dense[op.precisions[kX2]][1]({rows.y, rows.y_stride, units, layout.units, op.weights[kX2], nullptr,
                                    padded(op.sizes[kFedBack]) / kPanel, H, quantized},
                                   n);
  if (!gru || reset_after) return;
  k.dense[op.precisions[kX1]][1]({q, q_stride, units + Hp, layout.units, op.weights[kX1], nullptr, args.n_panels, H, quantized},
                                 n);
  for (size_t i = 0; i < n; ++i) k.gru_before_candidate(args, row(i), op.plain);
}

// The recurrence over m timesteps of one stream, in two halves each.
void walk(const OpPlan& op, const Block& b, const Cell& cell, const CellArgs& args, size_t m) {
  const float *a = args.a, *h = args.h0;
  float *y = args.y, *c_row = args.c_rows;
  for (size_t t = 0; t < m; ++t, h = y, y += args.y_stride, a += args.a_step) {
    step_rows(op, *b.model, cell, args, {1, a, h, 0, y, 0, &b.state, b.scratch});
    if (c_row) {
      memcpy(c_row, args.c, args.n_hidden * sizeof(float));
      c_row += args.c_stride;
    }
  }
}

// One stream: the block is taken `b.chunk` frames at a time, for that many input halves fit the scratch.
void run_stream(const OpPlan& op, const Block& b, const Cell& cell, CellArgs& args) {
  const uint32_t y = op.output;
  const size_t F = op.sizes[kFedBack], width = cell.n_gates * args.n_panels * kPanel;
  const bool reverse = op.flags & kFlagReverse, wants_c = op.n_outputs > 1, fused = has_float32_state(op);
  const size_t n = op.flags & kFlagMasked ? b.n_valid : b.n, chunk = b.chunk;
  const ptrdiff_t y_row = static_cast<ptrdiff_t>(b.stride(y));
  const ptrdiff_t c_row = wants_c ? static_cast<ptrdiff_t>(b.stride(y + 1)) : 0;
  float *h = b.state_at(op.states[0]), *a = b.scratch + op.scratch_floats;

  args.scratch = b.scratch;
  args.h0 = h;
  for (size_t done = 0; done < n;) {
    const size_t m = n - done < chunk ? n - done : chunk;
    const size_t first = reverse ? n - done - m : done;  // earliest timestep of the chunk
    input_half(op, b, cell, args, a, a + chunk * width, first, m);
    const size_t start = reverse ? first + m - 1 : first;
    args.a = reverse ? a + (m - 1) * width : a;
    args.a_step = reverse ? -static_cast<ptrdiff_t>(width) : static_cast<ptrdiff_t>(width);
    args.y = b.row(y) + start * b.stride(y);
    args.y_stride = reverse ? -y_row : y_row;
    args.c_rows = wants_c ? b.row(y + 1) + start * b.stride(y + 1) : nullptr;
    args.c_stride = reverse ? -c_row : c_row;
    if (fused)
      cell.kernel(args, m, op.plain);
    else
      walk(op, b, cell, args, m);
    args.h0 = b.row(y) + (reverse ? first : first + m - 1) * b.stride(y);
    done += m;
  }
  if (n != 0) memcpy(h, args.h0, F * sizeof(float));
  for (size_t t = n; t < b.n; ++t) {
    memset(b.row(y) + t * b.stride(y), 0, F * sizeof(float));
    if (wants_c) memset(b.row(y + 1) + t * b.stride(y + 1), 0, op.sizes[kHidden] * sizeof(float));
  }
}

// One timestep of each stream of a batch.
void run_batch(const OpPlan& op, const Block& b, const Cell& cell, const CellArgs& args) {
  const Layout layout(op, static_cast<size_t>(cell.n_gates));
  const uint32_t y = op.output;
  const size_t n = b.n, F = op.sizes[kFedBack];
  float *h = b.scratch + n * layout.q, *a = b.scratch + n * layout.row();
  input_half(op, b, cell, args, a, a + n * layout.a, 0, n);
  for (size_t i = 0; i < n; ++i) memcpy(h + i * layout.h, b.state_at(op.states[0], i), F * sizeof(float));
  step_rows(op, *b.model, cell, args, {n, a, h, layout.h, b.row(y), b.stride(y), b.states, b.scratch});
  for (size_t i = 0; i < n; ++i) {
    memcpy(b.state_at(op.states[0], i), b.row(y) + i * b.stride(y), F * sizeof(float));
    if (op.n_outputs > 1)
      memcpy(b.row(y + 1) + i * b.stride(y + 1), b.state_at(op.states[1], i), op.sizes[kHidden] * sizeof(float));
  }
}

void run_cell(const OpPlan& op, const Block& b, const Cell& cell, CellArgs& args) {
  fill_args(op, args);
  if (b.batch())
    run_batch(op, b, cell, args);
  else
    run_stream(op, b, cell, args);
}

void run_rnn(const OpPlan& op, const Block& b) {
  CellArgs args{};
  run_cell(op, b, {1, b.model->kernels->rnn}, args);
}

void run_gru(const OpPlan& op, const Block& b) {
  CellArgs args{};
  args.R_n = floats(op.weights[kX1]);
  args.rb = floats(op.weights[kX2]);
  const KernelTable& k = *b.model->kernels;
  run_cell(op, b, {3, op.flags & kFlagVariant ? k.gru_reset_after : k.gru_reset_before}, args);
}

void run_lstm(const OpPlan& op, const Block& b) {
  CellArgs args{};
  args.peephole = floats(op.weights[kX1]);
  args.projection = floats(op.weights[kX2]);
  args.n_projection_panels = padded(op.sizes[kFedBack]) / kPanel;
  args.input_forget = op.flags & kFlagVariant;
  args.c = b.batch() ? nullptr : b.state_at(op.states[1]);
  run_cell(op, b, {4, b.model->kernels->lstm}, args);
}

}  // namespace

const OpType kRnn = {12, "rnn", check_rnn, run_rnn, false};
const OpType kGru = {13, "gru", check_gru, run_gru, false};
const OpType kLstm = {14, "lstm", check_lstm, run_lstm, false};

}  // namespace undertow
