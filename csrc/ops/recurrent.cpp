// SPDX-License-Identifier: MIT
// Recurrent layers: the input half of a block of frames as one matrix product, then the recurrence step by step.
// Float32 layers of one stream have kernels that walk time themselves; reduced weights, batches of streams, and teams take
// a timestep in two halves: R h of all rows as one product, then the cell update of each row. The bits are the same.
// The workers of a team take the same panels in both halves, so each waits for the others only before it reads all of h.
#include "recurrent.h"

namespace undertow {

namespace {

// b + W x of m frames.
void input_half(const OpPlan& op, const Block& b, float* a, float* quantized, size_t first, size_t m) {
  const uint32_t x = op.inputs[0];
  const size_t n_gates = op.cell_type->n_gates;
  const Panels mine = b.mine(op.cell.n_panels);
  b.model->kernels->products[op.precisions[kW]]->dense[n_gates](
      {a, n_gates * op.cell.n_panels * kPanel, b.row(x, first), b.stride(x), op.weights[kW],
       floats(op.weights[kB]), mine.end, op.sizes[kInputs], quantized, mine.first, op.scaling[kW]},
      m);
}

}  // namespace

namespace {

// The kernel that takes a timestep of one row in one piece, or null.
StepKernels::Kernel reduced_kernel(const OpPlan& op, const Block& b) {
  const Products& products = *b.model->kernels->products[op.precisions[kR]];
  return op.reduced && !b.team ? products.step[op.cell_type->kind] : StepKernels::Kernel{};
}

DenseArgs product_of_h(const OpPlan& op, const float* h, float* quantized) {
  return {nullptr, 0, h, 0, op.weights[kR], op.cell.rb, op.cell.n_panels, op.cell.n_fed_back, quantized, 0, op.scaling[kR]};
}

}  // namespace

void step_rows(const OpPlan& op, const Block& b, const Rows& rows) {
  const Products* const* products = b.model->kernels->products;
  const CellKernels& kernels = kernels_of(op, b);
  const CellType& type = *op.cell_type;
  const Cell& cell = op.cell;
  const Layout layout(op);
  const size_t Hp = cell.n_panels * kPanel, H = cell.n_hidden, n = rows.n;
  const size_t units_at = n * (layout.q + layout.h), q_stride = type.n_recurrent_gates * Hp;
  float *q = rows.scratch, *quantized = q + units_at + n * layout.units;
  float* units = (b.team ? b.team->scratch() : q) + units_at;
  // In small code a stream has asked before, and rows inside a frame have h where y is.
  const auto one_row = !UT_SMALLEST && n == 1 && rows.y != rows.h ? reduced_kernel(op, b) : StepKernels::Kernel{};
  if (one_row) {
    float* c = !type.has_c() ? nullptr : rows.states ? rows.states[0] + b.model->states[op.states[1]].offset : rows.c;
    return one_row(cell, {{}, product_of_h(op, rows.h, quantized), rows.a, rows.y, c, b.back});
  }
  const Panels mine = b.mine(cell.n_panels);
  const void* second = type.second_matrix ? op.weights[type.second_matrix] : nullptr;

  // y: where rows y_stride apart are written.
  const auto update = [&](void (*kernel)(const Cell&, const CellRow&), float* y, size_t y_stride) {
    for (size_t i = 0; i < n; ++i) {
      float* c = !type.has_c() ? nullptr
                 : rows.states ? rows.states[i] + b.model->states[op.states[1]].offset
                               : rows.c + i * rows.c_stride;
      kernel(cell, {mine.first, mine.end, rows.a + i * layout.a, q + i * q_stride, rows.h + i * rows.h_stride,
                    y + i * y_stride, c, units + i * layout.units + Hp});
    }
  };
  products[op.precisions[kR]]->dense[type.n_recurrent_gates](
      {q, q_stride, rows.h, rows.h_stride, op.weights[kR], cell.rb, mine.end, cell.n_fed_back, quantized, mine.first,
       op.scaling[kR]},
      n);
  if (!second) return update(kernels.update, rows.y, rows.y_stride);
  update(kernels.update, units, layout.units);
  b.meet();
  const bool to_units = kernels.finish != nullptr;  // or to the hidden state
  const Panels panels = to_units ? mine : b.mine(cell.n_projection_panels);
  products[op.precisions[type.second_matrix]]->dense[1](
      {to_units ? q : rows.y, to_units ? q_stride : rows.y_stride, units, layout.units, second, nullptr, panels.end, H,
       quantized, panels.first, op.scaling[type.second_matrix]},
      n);
  if (to_units) update(kernels.finish, rows.y, rows.y_stride);
}

namespace {

// The recurrence over m timesteps of one stream, in two halves each.
void walk_in_halves(const OpPlan& op, const Block& b, const Steps& s, size_t m) {
  const float *a = s.a, *h = s.h0;
  float *y = s.y, *c_row = s.c_rows;
  for (size_t t = 0; t < m; ++t, h = y, y += s.y_stride, a += s.a_step) {
    step_rows(op, b, {1, a, h, 0, y, 0, &b.state, nullptr, 0, b.scratch});
    if (c_row) {
      const Panels mine = b.mine(op.cell.n_panels);
      copy_floats(c_row + mine.first * kPanel, s.c + mine.first * kPanel, mine.n() * kPanel);
      c_row += s.c_stride;
    }
    b.meet();
  }
}

// Timesteps `first` to first + n - 1 of a tiny layer of one stream. False: it is none here.
inline bool run_tiny(const OpPlan& op, const Block& b, size_t first, size_t n) {
  if (UT_SMALLEST || !op.tiny || b.team || (n != 1 && op.n_outputs > 1)) return false;
  const uint32_t x = op.inputs[0], y = op.output;
  const bool reverse = op.flags & kFlagReverse;
  const ptrdiff_t x_stride = static_cast<ptrdiff_t>(b.stride(x)), y_stride = static_cast<ptrdiff_t>(b.stride(y));
  const ptrdiff_t start = static_cast<ptrdiff_t>(reverse ? first + n - 1 : first), way = reverse ? -1 : 1;
  float* c = op.cell_type->has_c() ? b.state_at(op.states[1]) : nullptr;
  op.tiny(op.cell,
          {b.row(x) + start * x_stride, way * x_stride, b.state_at(op.states[0]), b.row(y) + start * y_stride,
           way * y_stride, c},
          n);
  if (op.n_outputs > 1) copy_floats(b.row(y + 1, first), c, op.cell.n_hidden);
  return true;
}

// One timestep of one row by the kernel that takes both halves in one piece, if there is one.
inline bool step_at_once(const OpPlan& op, const Block& b, const float* x, const float* h, float* y, float* c) {
  const auto step = reduced_kernel(op, b);
  if (!step) return false;
  const Cell& cell = op.cell;
#if UT_SMALLEST
  float *quantized = b.scratch + op.at.x, *quantized_h = b.scratch + op.at.h;
#else
  const Layout layout(op);
  float *quantized = b.scratch + layout.row(), *quantized_h = quantized - layout.quantized_h;
#endif
  const DenseArgs of_x = {nullptr, 0, x, 0, op.weights[kW], floats(op.weights[kB]), cell.n_panels, cell.n_inputs, quantized, 0,
                          op.scaling[kW]};
  step(cell, {of_x, product_of_h(op, h, quantized_h), nullptr, y, c, b.back});
  return true;
}

// One stream: the block is taken `b.chunk` frames at a time, for that many input halves fit the scratch.
void run_stream(const OpPlan& op, const Block& b) {
  const uint32_t y = op.output;
  const size_t F = op.sizes[kFedBack], width = op.cell_type->n_gates * op.cell.n_panels * kPanel;
  const bool reverse = op.flags & kFlagReverse, wants_c = op.n_outputs > 1;
  const size_t n = op.flags & kFlagMasked ? b.n_valid : b.n, chunk = UT_SMALLEST ? 1 : b.chunk;
  const ptrdiff_t way = reverse ? -1 : 1;
  float *h = b.state_at(op.states[0]), *a = b.scratch + (b.team ? Layout(op).row() : op.scratch_floats);

  Steps s;
  s.a_step = way * static_cast<ptrdiff_t>(width);
  s.h0 = h;
  s.y_stride = way * static_cast<ptrdiff_t>(b.stride(y));
  s.c = op.cell_type->has_c() ? b.state_at(op.states[1]) : nullptr;
  s.c_stride = wants_c ? way * static_cast<ptrdiff_t>(b.stride(y + 1)) : 0;
  s.scratch = b.scratch;
  const bool may_be_tiny = n == 1 || op.n_outputs == 1;  // for all chunks, or none: between them h is elsewhere
  for (size_t done = 0, m; done < n && !b.stopped(); done += m) {
    m = n - done < chunk ? n - done : chunk;
    const size_t first = reverse ? n - done - m : done;  // earliest timestep of the chunk
    if (may_be_tiny && run_tiny(op, b, first, m)) continue;
    const size_t start = reverse ? first + m - 1 : first;
    s.y = b.row(y, start);
    s.c_rows = wants_c ? b.row(y + 1, start) : nullptr;
    if (UT_SMALLEST && step_at_once(op, b, b.row(op.inputs[0], start), s.h0, s.y, s.c)) {
      if (wants_c) copy_floats(s.c_rows, s.c, op.cell.n_hidden);
      s.h0 = s.y;
      continue;
    }
    input_half(op, b, a, a + chunk * width, first, m);
    s.a = reverse ? a + (m - 1) * width : a;
    if (!UT_SMALLEST && op.fused && !b.team)
      kernels_of(op, b).walk(op.cell, s, m);
    else
      walk_in_halves(op, b, s, m);
    s.h0 = b.row(y, reverse ? first : first + m - 1);
  }
  if (s.h0 != h && b.leads()) copy_floats(h, s.h0, F);
  for (size_t t = n; t < b.n; ++t) {
    memset(b.row(y, t), 0, F * sizeof(float));
    if (wants_c) memset(b.row(y + 1, t), 0, op.sizes[kHidden] * sizeof(float));
  }
}

#if !UT_SMALLEST

// One timestep of one stream whose cell has a kernel for it: run_stream without what only blocks need.
void run_one(const OpPlan& op, const Block& b) {
  if (run_tiny(op, b, 0, 1)) return;
  const Cell& cell = op.cell;
  const CellType& type = *op.cell_type;
  const CellKernels& kernels = kernels_of(op, b);
  const uint32_t y = op.output;
  float *h = b.state_at(op.states[0]), *h_next = b.row(y), *c = type.has_c() ? b.state_at(op.states[1]) : nullptr;
  if (op.joint && kernels.step) {
    kernels.step(cell, {b.row(op.inputs[0]), h, h_next, c, b.back});
    if (op.n_outputs > 1) copy_floats(b.row(y + 1), c, cell.n_hidden);
    return;
  }
  if (step_at_once(op, b, b.row(op.inputs[0]), h, h_next, c)) {
    copy_floats(h, h_next, cell.n_fed_back);
    if (op.n_outputs > 1) copy_floats(b.row(y + 1), c, cell.n_hidden);
    return;
  }
  float* a = b.scratch + op.scratch_floats;
  input_half(op, b, a, a + type.n_gates * cell.n_panels * kPanel, 0, 1);
  kernels.walk(cell, {a, 0, h, h_next, 0, c, op.n_outputs > 1 ? b.row(y + 1) : nullptr, 0, b.scratch}, 1);
  copy_floats(h, h_next, cell.n_fed_back);
}

// OpPlan::step of a tiny layer.
void step_tiny(const OpPlan& op, const Block& b) {
  float* c = b.state + op.at.c;  // h, of a cell that has none
  op.tiny(op.cell, {b.values + op.at.x, 0, b.state + op.at.h, b.values + op.at.y, 0, c}, 1);
  if (op.n_outputs > 1) copy_floats(b.row(op.output + 1), c, op.cell.n_hidden);
}

// One timestep of each stream of a batch.
void run_batch(const OpPlan& op, const Block& b) {
  const Layout layout(op);
  const uint32_t y = op.output;
  const size_t n = b.n, F = op.sizes[kFedBack];
  float *h = b.scratch + n * layout.q, *a = b.scratch + n * layout.row();
  input_half(op, b, a, a + n * layout.a, 0, n);
  for (size_t i = 0; i < n; ++i) copy_floats(h + i * layout.h, b.state_at(op.states[0], i), F);
  step_rows(op, b, {n, a, h, layout.h, b.row(y), b.stride(y), b.states, nullptr, 0, b.scratch});
  for (size_t i = 0; i < n; ++i) {
    copy_floats(b.state_at(op.states[0], i), b.row(y, i), F);
    if (op.n_outputs > 1)
      copy_floats(b.row(y + 1, i), b.state_at(op.states[1], i), op.sizes[kHidden]);
  }
}

// Whole sequences side by side: a timestep of all that have it at a time. Where one begins, as backwards at its end, what it
// starts from is put into the row before, which is of no timestep of it.
void run_abreast(const OpPlan& op, const Block& b) {
  const Layout layout(op);
  const bool reverse = op.flags & kFlagReverse, wants_c = op.n_outputs > 1;
  const uint32_t y = op.output;
  const size_t n = b.abreast, n_steps = b.n / n, chunk = b.chunk / n, F = op.sizes[kFedBack], stride = b.stride(y);
  const size_t first_going = n_steps ? b.going(reverse ? n_steps - 1 : 0) : 0;
  float *start = b.scratch + first_going * layout.q, *a = b.scratch + n * layout.row();  // h where step_rows leaves room for it
  for (size_t i = 0; i < first_going; ++i) copy_floats(start + i * layout.h, b.state_at(op.states[0], i), F);
  const float* h = start;
  size_t h_stride = layout.h, begun = 0;
  for (size_t done = 0; done < n_steps && !b.stopped();) {
    const size_t m = n_steps - done < chunk ? n_steps - done : chunk;
    const size_t first = reverse ? n_steps - done - m : done;  // earliest timestep of the chunk
    input_half(op, b, a, a + chunk * n * layout.a, first * n, m * n);
    for (size_t i = 0; i < m; ++i) {
      const size_t t = reverse ? first + m - 1 - i : first + i, going = b.going(t);
      float* rows = b.row(y) + t * n * stride;
      if (h != start)
        for (; begun < going; ++begun) copy_floats(const_cast<float*>(h) + begun * stride, b.state_at(op.states[0], begun), F);
      begun = going > begun ? going : begun;
      if (going != 0) {
        step_rows(op, b, {going, a + (t - first) * n * layout.a, h, h_stride, rows, stride, b.states, nullptr, 0, b.scratch});
        for (size_t k = 0; wants_c && k < going; ++k)
          copy_floats(b.row(y + 1, t * n + k), b.state_at(op.states[1], k), op.sizes[kHidden]);
      }
      h = rows;
      h_stride = stride;
    }
    done += m;
  }
}

#endif

}  // namespace

void run_layer(const OpPlan& op, const Block& b) {
#if UT_SMALLEST
  run_stream(op, b);
#else
  if (b.abreast != 1)
    run_abreast(op, b);
  else if (b.batch())
    run_batch(op, b);
  else if (b.n == 1 && b.n_valid == 1 && !b.team && (op.fused || reduced_kernel(op, b)))
    run_one(op, b);
  else
    run_stream(op, b);
#endif
}

void bind_cell(OpPlan& op, [[maybe_unused]] const KernelTable& kernels) {
#if UT_LOOKS_FOR_SUBNORMALS
  const uint32_t second = op.cell_type->second_matrix;
  const float of_r = op.scaling[kR].least, of_second = second && op.weights[second] ? op.scaling[second].least : of_r;
  op.cell.least_x = op.scaling[kW].least;
  op.cell.least_h = of_r == 0.0f || of_second == 0.0f ? 0.0f : of_r > of_second ? of_r : of_second;
#endif
#if UT_SMALLEST
  const Layout layout(op);
  op.at.x = layout.row();
  op.at.h = layout.row() - layout.quantized_h;
#else
  const TinyKernels& tiny = kernels.tiny_of(op.cell.n_hidden);
  if (op.type->run != run_layer || !op.joint) return;
  if (op.cell.n_hidden > tiny.most_units || op.cell.n_inputs > kMostTinyInputs) return;
  op.tiny = tiny.cells[op.cell_type->kind];
  if (op.tiny) op.step = step_tiny;
#endif
}

ut_status check_layer(Check& c) {
  if (const ut_status s = check_cell(c, false)) return s;
  OpPlan* p = c.plan();
  const Layout layout(*p);
  p->scratch_floats = p->fused ? layout.units : layout.row();
  p->scratch_floats_per_frame = layout.frame();
  p->scratch_floats_per_row = layout.row() + layout.frame();
  return UT_OK;
}

}  // namespace undertow
