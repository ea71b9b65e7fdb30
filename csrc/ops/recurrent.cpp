// SPDX-License-Identifier: MIT
// rnn, gru and lstm: the input half of a block of frames as one matrix product, then the recurrence step by step.
// Float32 layers of one stream have kernels that walk time themselves; reduced weights, batches of streams, and teams take
// a timestep in two halves: R h of all rows as one product, then the cell update of each row. The bits are the same.
// The workers of a team take the same panels in both halves, so each waits for the others only before it reads all of h.
#include <string.h>

#include "recurrent.h"

namespace undertow {

namespace {

// --- running ---------------------------------------------------------------------------------------------------------

// b + W x of m frames.
void input_half(const OpPlan& op, const Block& b, size_t n_gates, float* a, float* quantized, size_t first, size_t m) {
  const uint32_t x = op.inputs[0];
  const Panels mine = b.mine(op.cell.n_panels);
  b.model->kernels->products[op.precisions[kW]]->dense[n_gates](
      {a, n_gates * op.cell.n_panels * kPanel, b.row(x) + first * b.stride(x), b.stride(x), op.weights[kW],
       floats(op.weights[kB]), mine.end, op.sizes[kInputs], quantized, mine.first},
      m);
}

}  // namespace

void step_rows(const OpPlan& op, const Block& b, size_t n_gates, const Rows& rows) {
  const KernelTable& k = *b.model->kernels;
  const Cell& cell = op.cell;
  const Layout layout(op, n_gates);
  const size_t Hp = cell.n_panels * kPanel, H = cell.n_hidden, n = rows.n;
  const size_t units_at = n * (layout.q + layout.h);
  float *q = rows.scratch, *quantized = q + units_at + n * layout.units;
  float* units = (b.team ? b.team->scratch() : q) + units_at;
  const Panels mine = b.mine(cell.n_panels);
  const bool lstm = n_gates == 4, gru = n_gates == 3, reset_after = gru && op.flags & kFlagVariant;
  const bool projects = lstm && op.weights[kX2];
  const size_t R_gates = gru && !reset_after ? 2 : n_gates, q_stride = R_gates * Hp;
  k.products[op.precisions[kR]]->dense[R_gates]({q, q_stride, rows.h, rows.h_stride, op.weights[kR],
                                                 cell.rb, mine.end, cell.n_fed_back, quantized, mine.first},
                                                n);
  const bool passes_on = projects || (gru && !reset_after);  // a second product takes what the update leaves
  const auto row = [&](size_t i, bool last) {
    float* unit = units + i * layout.units;
    float* c = !lstm         ? nullptr
               : rows.states ? rows.states[i] + b.model->states[op.states[1]].offset
                             : rows.c + i * rows.c_stride;
    float* y = last ? rows.y + i * rows.y_stride : unit;
    const float *a = rows.a + i * layout.a, *h = rows.h + i * rows.h_stride;
    return CellRow{mine.first, mine.end, a, q + i * q_stride, h, y, c, unit + Hp};
  };
  const CellKernels& kernels = k.cells[lstm ? kCellLstm : reset_after ? kCellGruAfter : gru ? kCellGruBefore : kCellRnn];
  for (size_t i = 0; i < n; ++i) kernels.update(cell, row(i, !passes_on));
  if (projects) {
    const Panels projected = b.mine(cell.n_projection_panels);
    b.meet();
    k.products[op.precisions[kX2]]->dense[1]({rows.y, rows.y_stride, units, layout.units, op.weights[kX2], nullptr,
                                              projected.end, H, quantized, projected.first},
                                             n);
  }
  if (!gru || reset_after) return;
  b.meet();
  k.products[op.precisions[kX1]]->dense[1]({q, q_stride, units, layout.units, op.weights[kX1], nullptr, mine.end, H,
                                            quantized, mine.first},
                                           n);
  for (size_t i = 0; i < n; ++i) kernels.finish(cell, row(i, true));
}

namespace {

// The recurrence over m timesteps of one stream, in two halves each.
void walk(const OpPlan& op, const Block& b, size_t n_gates, const Steps& s, size_t m) {
  const float *a = s.a, *h = s.h0;
  float *y = s.y, *c_row = s.c_rows;
  for (size_t t = 0; t < m; ++t, h = y, y += s.y_stride, a += s.a_step) {
    step_rows(op, b, n_gates, {1, a, h, 0, y, 0, &b.state, nullptr, 0, b.scratch});
    if (c_row) {
      const Panels mine = b.mine(op.cell.n_panels);
      copy_floats(c_row + mine.first * kPanel, s.c + mine.first * kPanel, mine.n() * kPanel);
      c_row += s.c_stride;
    }
    b.meet();
  }
}

// One stream: the block is taken `b.chunk` frames at a time, for that many input halves fit the scratch.
void run_stream(const OpPlan& op, const Block& b, size_t n_gates, const CellKernels& kernels) {
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
  for (size_t done = 0; done < n && !b.stopped();) {
    const size_t m = n - done < chunk ? n - done : chunk;
    const size_t first = reverse ? n - done - m : done;  // earliest timestep of the chunk
    input_half(op, b, n_gates, a, a + chunk * width, first, m);
    const size_t start = reverse ? first + m - 1 : first;
    s.a = reverse ? a + (m - 1) * width : a;
    s.y = b.row(y) + start * b.stride(y);
    s.c_rows = wants_c ? b.row(y + 1) + start * b.stride(y + 1) : nullptr;
    if (op.fused && !b.team)
      kernels.walk(op.cell, s, m);
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
void run_one(const OpPlan& op, const Block& b, size_t n_gates, const CellKernels& kernels) {
  const Cell& cell = op.cell;
  const uint32_t y = op.output;
  float *h = b.state_at(op.states[0]), *h_next = b.row(y), *c = op.type == &kLstm ? b.state_at(op.states[1]) : nullptr;
  if (op.joint) {
    kernels.step(cell, {b.row(op.inputs[0]), h, h_next, c, b.back});
    if (op.n_outputs > 1) copy_floats(b.row(y + 1), c, cell.n_hidden);
    return;
  }
  float* a = b.scratch + op.scratch_floats;
  input_half(op, b, n_gates, a, a + n_gates * cell.n_panels * kPanel, 0, 1);
  kernels.walk(cell, {a, 0, h, h_next, 0, c, op.n_outputs > 1 ? b.row(y + 1) : nullptr, 0, b.scratch}, 1);
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
  step_rows(op, b, n_gates, {n, a, h, layout.h, b.row(y), b.stride(y), b.states, nullptr, 0, b.scratch});
  for (size_t i = 0; i < n; ++i) {
    copy_floats(b.state_at(op.states[0], i), b.row(y) + i * b.stride(y), F);
    if (op.n_outputs > 1)
      copy_floats(b.row(y + 1) + i * b.stride(y + 1), b.state_at(op.states[1], i), op.sizes[kHidden]);
  }
}

void run_cell(const OpPlan& op, const Block& b, size_t n_gates, const CellKernels& kernels) {
  if (b.batch())
    run_batch(op, b, n_gates);
  else if (b.n == 1 && b.n_valid == 1 && op.fused && !b.team)
    run_one(op, b, n_gates, kernels);
  else
    run_stream(op, b, n_gates, kernels);
}

void run_rnn(const OpPlan& op, const Block& b) {
  run_cell(op, b, 1, b.model->kernels->cells[kCellRnn]);
}

void run_gru(const OpPlan& op, const Block& b) {
  run_cell(op, b, 3, b.model->kernels->cells[op.flags & kFlagVariant ? kCellGruAfter : kCellGruBefore]);
}

void run_lstm(const OpPlan& op, const Block& b) {
  run_cell(op, b, 4, b.model->kernels->cells[kCellLstm]);
}

ut_status check(Check& c, const CellCounts& kind) {
  if (const ut_status s = check_cell(c, kind, false)) return s;
  OpPlan* p = c.plan();
  const Layout layout(*p, kind.n_gates);
  p->scratch_floats = p->fused ? layout.units : layout.row();
  p->scratch_floats_per_frame = layout.frame();
  p->scratch_floats_per_row = layout.row() + layout.frame();
  return UT_OK;
}
ut_status check_rnn(Check& c) { return check(c, kRnnCell); }
ut_status check_gru(Check& c) { return check(c, kGruCell); }
ut_status check_lstm(Check& c) { return check(c, kLstmCell); }

}  // namespace

const OpType kRnn = {12, "rnn", check_rnn, run_rnn, false};
const OpType kGru = {13, "gru", check_gru, run_gru, false};
const OpType kLstm = {14, "lstm", check_lstm, run_lstm, false};

}  // namespace undertow
