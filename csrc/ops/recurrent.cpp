// SPDX-License-Identifier: MIT
// rnn, gru and lstm: the input half of a block of frames as one matrix product, then the recurrence step by step.
// Float32 layers of one stream have kernels that walk time themselves; reduced weights, batches of streams, and teams take
// a timestep in two halves: R h of all rows as one product, then the cell update of each row. The bits are the same.
// The workers of a team take the same panels in both halves, so each waits for the others only before it reads all of h.
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
  for (uint32_t i = 0; i < n_acts; ++i) p->cell.acts[i] = c.act(3 * i);
  p->flags = c.param(3 * n_acts);
  p->cell.clip = c.param_f32(3 * n_acts + 1);
  c.require((p->flags & ~kFlags) == 0, "unknown flags");
  c.require(p->cell.clip >= 0.0f, "clip is negative or not a number");
  p->whole_sequence = p->flags & kFlagReverse;
  return Hp;
}

// Default activations and no extras: the kernels' fast path, with the same formulas.
bool is_plain(const Cell& cell, uint32_t n_acts) {
  static constexpr uint32_t kDefaults[] = {kActSigmoid, kActTanh, kActTanh};
  const uint32_t* defaults = n_acts == 1 ? kDefaults + 1 : kDefaults;
  for (uint32_t i = 0; i < n_acts; ++i)
    if (cell.acts[i].kind != defaults[i]) return false;
  return cell.clip == 0.0f && !cell.peephole && !cell.projection && !cell.input_forget;
}

const float* floats(const void* weights) { return static_cast<const float*>(weights); }

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

// What is left once the weights are bound.
ut_status finish(Check& c, uint32_t n_gates, uint32_t n_acts) {
  OpPlan* p = c.plan();
  Cell& cell = p->cell;
  cell.R = floats(p->weights[kR]);
  cell.n_panels = padded(p->sizes[kHidden]) / kPanel;
  cell.n_fed_back = p->sizes[kFedBack];
  cell.n_hidden = p->sizes[kHidden];
  cell.plain = is_plain(cell, n_acts);
  const Layout layout(*p, n_gates);
  p->fused = p->precisions[kR] == kFloat32 && p->precisions[kX1] == kFloat32 && p->precisions[kX2] == kFloat32;
  p->scratch_floats = p->fused ? layout.units : layout.row();
  p->scratch_floats_per_frame = layout.frame();
  p->scratch_floats_per_row = layout.row() + layout.frame();
  return c.status();
}

// --- checks ----------------------------------------------------------------------------------------------------------

ut_status check_rnn(Check& c) {
  check_cell(c, 1, 1, 1, 3);
  c.matrix(kR, c.plan()->sizes[kHidden], c.plan()->sizes[kFedBack], 1);
  c.require(!(c.plan()->flags & kFlagVariant), "unknown flags");
  return finish(c, 1, 1);
}

ut_status check_gru(Check& c) {
  const size_t Hp = check_cell(c, 3, 2, 1, 5);
  OpPlan* p = c.plan();
  const bool reset_after = p->flags & kFlagVariant;
  const size_t H = p->sizes[kHidden];
  c.matrix(kR, H, H, reset_after ? 3 : 2);
  c.require(c.has_weight(kX1) == !reset_after && c.has_weight(kX2) == reset_after,
            "R_n belongs to reset-before, rb to reset-after");
  if (reset_after)
    c.weight(kX2, uint64_t{Hp} * 3);
  else
    c.matrix(kX1, H, H, 1);
  p->cell.R_n = floats(p->weights[kX1]);
  p->cell.rb = floats(p->weights[kX2]);
  return finish(c, 3, 2);
}

ut_status check_lstm(Check& c) {
  const size_t Hp = check_cell(c, 4, 3, 2, 5);
  OpPlan* p = c.plan();
  const size_t H = p->sizes[kHidden], F = p->sizes[kFedBack];
  c.require(c.node().n_outputs < 2 || c.output(1) == H, "cell state and output differ in size");
  c.require(F == H || c.has_weight(kX2), "hidden and cell state differ in size without a projection");
  c.matrix(kR, H, F, 4);
  c.weight(kX1, uint64_t{3} * Hp, true);
  c.matrix(kX2, F, H, 1, true);
  p->cell.peephole = floats(p->weights[kX1]);
  p->cell.projection = floats(p->weights[kX2]);
  p->cell.n_projection_panels = padded(F) / kPanel;
  p->cell.input_forget = p->flags & kFlagVariant;
  return finish(c, 4, 3);
}

// --- running ---------------------------------------------------------------------------------------------------------

// b + W x of m frames.
void input_half(const OpPlan& op, const Block& b, size_t n_gates, float* a, float* quantized, size_t first, size_t m) {
  const uint32_t x = op.inputs[0];
  const Panels mine = b.mine(op.cell.n_panels);
  b.model->kernels->dense[op.precisions[kW]][n_gates](
      {a, n_gates * op.cell.n_panels * kPanel, b.row(x) + first * b.stride(x), b.stride(x), op.weights[kW],
       floats(op.weights[kB]), mine.end, op.sizes[kInputs], quantized, mine.first},
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

void step_rows(const OpPlan& op, const Block& b, size_t n_gates, const Rows& rows) {
  const KernelTable& k = *b.model->kernels;
  const Cell& cell = op.cell;
  const Layout layout(op, n_gates);
  const size_t Hp = cell.n_panels * kPanel, H = cell.n_hidden, n = rows.n;
  const size_t units_at = n * (layout.q + layout.h);
  float *q = rows.scratch, *quantized = q + units_at + n * layout.units;
  float* units = (b.team ? b.team->scratch() : q) + units_at;
  const Panels mine = b.mine(cell.n_panels);
  const bool lstm = op.type == &kLstm, gru = op.type == &kGru, reset_after = gru && op.flags & kFlagVariant;
  const bool projects = lstm && op.weights[kX2];
  const size_t R_gates = gru && !reset_after ? 2 : n_gates, q_stride = R_gates * Hp;
  k.dense[op.precisions[kR]][R_gates]({q, q_stride, rows.h, rows.h_stride, op.weights[kR],
                                       cell.rb, mine.end, cell.n_fed_back, quantized, mine.first},
                                      n);
  const auto row = [&](size_t i) {
    float* unit = units + i * layout.units;
    float* c = lstm ? rows.states[i] + b.model->states[op.states[1]].offset : nullptr;
    float* y = projects ? unit : rows.y + i * rows.y_stride;
    const float *a = rows.a + i * layout.a, *h = rows.h + i * rows.h_stride;
    return CellRow{mine.first, mine.end, a, q + i * q_stride, h, y, c, unit, unit + Hp};
  };
  const auto update = lstm          ? k.lstm_update
                      : reset_after ? k.gru_after_update
                      : gru         ? k.gru_before_gates
                                    : k.rnn_update;
  for (size_t i = 0; i < n; ++i) update(cell, row(i));
  if (projects) {
    const Panels projected = b.mine(cell.n_projection_panels);
    b.meet();
    k.dense[op.precisions[kX2]][1]({rows.y, rows.y_stride, units, layout.units, op.weights[kX2], nullptr, projected.end,
                                    H, quantized, projected.first},
                                   n);
  }
  if (!gru || reset_after) return;
  b.meet();
  k.dense[op.precisions[kX1]][1]({q, q_stride, units + Hp, layout.units, op.weights[kX1], nullptr, mine.end, H,
                                  quantized, mine.first},
                                 n);
  for (size_t i = 0; i < n; ++i) k.gru_before_candidate(cell, row(i));
}

// The recurrence over m timesteps of one stream, in two halves each.
void walk(const OpPlan& op, const Block& b, size_t n_gates, const Steps& s, size_t m) {
  const float *a = s.a, *h = s.h0;
  float *y = s.y, *c_row = s.c_rows;
  for (size_t t = 0; t < m; ++t, h = y, y += s.y_stride, a += s.a_step) {
    step_rows(op, b, n_gates, {1, a, h, 0, y, 0, &b.state, b.scratch});
    if (c_row) {
      const Panels mine = b.mine(op.cell.n_panels);
      copy_floats(c_row + mine.first * kPanel, s.c + mine.first * kPanel, mine.n() * kPanel);
      c_row += s.c_stride;
    }
    b.meet();
  }
}

using Kernel = void (*)(const Cell&, const Steps&, size_t);

// One stream: the block is taken `b.chunk` frames at a time, for that many input halves fit the scratch.
void run_stream(const OpPlan& op, const Block& b, size_t n_gates, Kernel kernel) {
  const uint32_t y = op.output;
  const size_t F = op.sizes[kFedBack], width = n_gates * op.cell.n_panels * kPanel;
  const bool reverse = op.flags & kFlagReverse, wants_c = op.n_outputs > 1;
  const size_t n = op.flags & kFlagMasked ? b.n_valid : b.n, chunk = b.chunk;
  const ptrdiff_t way = reverse ? -1 : 1;
  float *h = b.state_at(op.states[0]), *a = b.scratch + (b.team ? Layout(op, n_gates).row() : op.scratch_floats);

  Steps s;
  s.a_step = way * static_cast<ptrdiff_t>(width);
  s.h0 = h;
  s.y_stride = way * static_cast<ptrdiff_t>(b.stride(y));
  s.c = op.type == &kLstm ? b.state_at(op.states[1]) : nullptr;
  s.c_stride = wants_c ? way * static_cast<ptrdiff_t>(b.stride(y + 1)) : 0;
  s.scratch = b.scratch;
  for (size_t done = 0; done < n;) {
    const size_t m = n - done < chunk ? n - done : chunk;
    const size_t first = reverse ? n - done - m : done;  // earliest timestep of the chunk
    input_half(op, b, n_gates, a, a + chunk * width, first, m);
    const size_t start = reverse ? first + m - 1 : first;
    s.a = reverse ? a + (m - 1) * width : a;
    s.y = b.row(y) + start * b.stride(y);
    s.c_rows = wants_c ? b.row(y + 1) + start * b.stride(y + 1) : nullptr;
    if (op.fused && !b.team)
      kernel(op.cell, s, m);
    else
      walk(op, b, n_gates, s, m);
    s.h0 = b.row(y) + (reverse ? first : first + m - 1) * b.stride(y);
    done += m;
  }
  if (n != 0 && b.leads()) copy_floats(h, s.h0, F);
  for (size_t t = n; t < b.n; ++t) {
    memset(b.row(y) + t * b.stride(y), 0, F * sizeof(float));
    if (wants_c) memset(b.row(y + 1) + t * b.stride(y + 1), 0, op.sizes[kHidden] * sizeof(float));
  }
}

// One timestep of one stream with float32 state: run_stream without what only blocks need.
void run_one(const OpPlan& op, const Block& b, size_t n_gates, Kernel kernel) {
  const Cell& cell = op.cell;
  const uint32_t y = op.output;
  float *h = b.state_at(op.states[0]), *h_next = b.row(y), *a = b.scratch + op.scratch_floats;
  input_half(op, b, n_gates, a, a + n_gates * cell.n_panels * kPanel, 0, 1);
  kernel(cell,
         {a, 0, h, h_next, 0, op.type == &kLstm ? b.state_at(op.states[1]) : nullptr,
          op.n_outputs > 1 ? b.row(y + 1) : nullptr, 0, b.scratch},
         1);
  copy_floats(h, h_next, cell.n_fed_back);
}

// One timestep of each stream of a batch.
void run_batch(const OpPlan& op, const Block& b, size_t n_gates) {
  const Layout layout(op, n_gates);
  const uint32_t y = op.output;
  const size_t n = b.n, F = op.sizes[kFedBack];
  float *h = b.scratch + n * layout.q, *a = b.scratch + n * layout.row();
  input_half(op, b, n_gates, a, a + n * layout.a, 0, n);
  for (size_t i = 0; i < n; ++i) copy_floats(h + i * layout.h, b.state_at(op.states[0], i), F);
  step_rows(op, b, n_gates, {n, a, h, layout.h, b.row(y), b.stride(y), b.states, b.scratch});
  for (size_t i = 0; i < n; ++i) {
    copy_floats(b.state_at(op.states[0], i), b.row(y) + i * b.stride(y), F);
    if (op.n_outputs > 1)
      copy_floats(b.row(y + 1) + i * b.stride(y + 1), b.state_at(op.states[1], i), op.sizes[kHidden]);
  }
}

void run_cell(const OpPlan& op, const Block& b, size_t n_gates, Kernel kernel) {
  if (b.batch())
    run_batch(op, b, n_gates);
  else if (b.n == 1 && b.n_valid == 1 && op.fused && !b.team)
    run_one(op, b, n_gates, kernel);
  else
    run_stream(op, b, n_gates, kernel);
}

void run_rnn(const OpPlan& op, const Block& b) { run_cell(op, b, 1, b.model->kernels->rnn); }

void run_gru(const OpPlan& op, const Block& b) {
  const KernelTable& k = *b.model->kernels;
  run_cell(op, b, 3, op.flags & kFlagVariant ? k.gru_reset_after : k.gru_reset_before);
}

void run_lstm(const OpPlan& op, const Block& b) { run_cell(op, b, 4, b.model->kernels->lstm); }

}  // namespace

const OpType kRnn = {12, "rnn", check_rnn, run_rnn, false};
const OpType kGru = {13, "gru", check_gru, run_gru, false};
const OpType kLstm = {14, "lstm", check_lstm, run_lstm, false};

}  // namespace undertow
