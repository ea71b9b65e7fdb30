// SPDX-License-Identifier: MIT
// Recurrent layers on frames of shape ([L,] [B,] I): B rows side by side, L timesteps inside a frame. Bits are those of
// B ordinary layers, or of L ordinary timesteps.
// What can go side by side does: the rows of a frame; those of the streams of a batch; and those of all frames of a block
// where the cell forgets at the end of each. Frames that hand on their state come one after another. A frame's rows stand
// close together and may be shorter than a panel; kernels write whole panels, so they work in scratch.
#include "recurrent.h"

namespace undertow {

namespace {

// One call of an op. Scratch: for each row that goes side by side what step_rows takes, its h inside, then its c, if any;
// for each row and step of every frame what `Layout` has for a frame; for a row on its own its states at every step.
struct Framed {
  const OpPlan& op;
  const Block& b;
  const Layout layout{op};
  const size_t L = op.sizes[kSteps], B = op.sizes[kRows], F = op.sizes[kFedBack], H = op.sizes[kHidden];
  const size_t Fp = padded(F), Hp = padded(H);
  const bool has_c = op.cell_type->has_c(), gives_c = op.n_outputs > 1;
  const bool steps_back = (op.flags & kFlagReverse) && (op.flags & kFlagSteps);
  const bool frames_back = (op.flags & kFlagReverse) && !(op.flags & kFlagSteps);
  const bool parallel = op.forgets || b.batch();  // frames do not wait for each other

  // b + W x of row j at step l of frame f stands at row f * frame + l * step + j.
  struct Order {
    size_t frame, step;
  };

  size_t row_floats() const { return layout.row() + (has_c ? Hp : 0); }
  size_t history_floats() const { return B == 1 && op.fused ? Fp + (has_c ? Hp : 0) : 0; }
  float* frame(uint32_t v, size_t f) const { return b.row(v, f); }

  // b + W x of m frames, in as few products as their places allow.
  void input_half(float* a, float* quantized, const Order& order, size_t first, size_t m) const {
    const size_t I = op.sizes[kInputs], x_frame = b.stride(op.inputs[0]);
    const float* x = frame(op.inputs[0], first);
    const auto product = [&](size_t at, size_t a_stride, const float* from, size_t x_stride, size_t n) {
      b.model->kernels->products[op.precisions[kW]]->dense[op.cell_type->n_gates](
          {a + at * layout.a, a_stride * layout.a, from, x_stride, op.weights[kW], floats(op.weights[kB]),
           op.cell.n_panels, I, quantized, 0, op.scaling[kW]},
          n);
    };
    const size_t run = UT_SMALLEST || order.step == B ? L * B : B;  // rows that follow each other in x and in a
    if (run == L * B && (UT_SMALLEST || m == 1 || x_frame == run * I)) return product(0, 1, x, I, m * run);
    if (m > run) {
      for (size_t l = 0; l < L; ++l)
        for (size_t j = 0; j < B; ++j) product(l * order.step + j, order.frame, x + (l * B + j) * I, x_frame, m);
      return;
    }
    for (size_t f = 0; f < m; ++f)
      for (size_t l = 0; l < L; l += run / B)
        product(f * order.frame + l * order.step, 1, x + f * x_frame + l * B * I, I, run);
  }

  float* state(uint32_t which, size_t f) const {
    return b.batch() ? b.state_at(op.states[which], f) : b.state_at(op.states[which]);
  }

  // What n frames start from, as rows of panels.
  void start(float* to, uint32_t which, size_t first, size_t n) const {
    const size_t width = which == 0 ? F : H, stride = padded(width);
    memset(to, 0, n * B * stride * sizeof(float));
    if (op.forgets && op.n_inputs == 1) return;
    for (size_t f = first; f < first + n; ++f) {
      const float* from = op.forgets ? frame(op.inputs[1 + which], f) : state(which, f);
      for (size_t j = 0; j < B; ++j, to += stride, from += width) copy_floats(to, from, width);
    }
  }

  // n rows of panels, close together.
  static void pack(float* to, const float* from, size_t width, size_t n) {
    for (size_t j = 0; j < n; ++j, to += width, from += padded(width)) copy_floats(to, from, width);
  }

  void keep(const float* from, uint32_t which, size_t first, size_t n) const {
    const size_t width = which == 0 ? F : H;
    for (size_t f = 0; f < n && !op.forgets; ++f) pack(state(which, first + f), from + f * B * padded(width), width, B);
  }

  // The recurrence over m frames, a timestep of all rows in two halves.
  void walk(float* scratch, const float* a, const Order& order, size_t first, size_t m) const {
    const size_t side = parallel && !UT_SMALLEST ? m : 1, serial = parallel || UT_SMALLEST ? 1 : m, n = side * B;
    float *h = scratch + n * layout.q, *c = scratch + n * layout.row();
    start(h, 0, first, side);
    if (has_c) start(c, 1, first, side);
    for (size_t s = 0; s < serial; ++s)
      for (size_t i = 0; i < L; ++i) {
        const size_t f = frames_back ? serial - 1 - s : s, l = steps_back ? L - 1 - i : i;
        const float* a_step = a + (f * order.frame + l * order.step) * layout.a;
        step_rows(op, b, {n, a_step, h, layout.h, h, layout.h, nullptr, c, Hp, scratch});
        for (size_t k = 0; k < side; ++k) {
          pack(frame(op.output, first + f + k) + l * B * F, h + k * B * Fp, F, B);
          if (gives_c) pack(frame(op.output + 1, first + f + k) + l * B * H, c + k * B * Hp, H, B);
        }
      }
    keep(h, 0, first, side);
    if (has_c) keep(c, 1, first, side);
  }

  // The same for one row with float32 state, whose frames come one after another: by a kernel that walks time itself.
  // `history`: rows of panels, for states whose rows in a frame are shorter.
  void walk_alone(float* scratch, const float* a, float* history, size_t first, size_t m) const {
    float *h = scratch + layout.q, *c = has_c ? scratch + layout.row() : nullptr;
    float* y = F == Fp ? frame(op.output, first) : history;
    float* y_c = !gives_c ? nullptr : H == Hp ? frame(op.output + 1, first) : history + m * L * Fp;
    start(h, 0, first, 1);
    if (has_c) start(c, 1, first, 1);
    // Steps that run backwards turn round at the end of each frame.
    const size_t piece = (steps_back ? 1 : m) * L;
    const bool back = steps_back || frames_back;
    const ptrdiff_t way = back ? -1 : 1;
    const float* last = h;
    for (size_t at = 0; at < m * L; at += piece) {
      const size_t from = back ? at + piece - 1 : at;
      kernels_of(op, b).walk(
          op.cell,
          {a + from * layout.a, way * static_cast<ptrdiff_t>(layout.a), last, y + from * Fp,
           way * static_cast<ptrdiff_t>(Fp), c, y_c ? y_c + from * Hp : nullptr, way * static_cast<ptrdiff_t>(Hp),
           scratch + layout.q + layout.h},
          piece);
      last = y + (back ? at : at + piece - 1) * Fp;
    }
    keep(last, 0, first, 1);
    if (has_c) keep(c, 1, first, 1);
    for (size_t f = 0; f < m; ++f) {
      if (F != Fp) pack(frame(op.output, first + f), y + f * L * Fp, F, L);
      if (gives_c && H != Hp) pack(frame(op.output + 1, first + f), y_c + f * L * Hp, H, L);
    }
  }

  void run() const {
    const size_t n = op.forgets ? b.rows(op.output) : b.n;
    for (size_t done = 0; done < n && !b.stopped();) {
      const size_t m = UT_SMALLEST ? 1 : n - done < b.chunk ? n - done : b.chunk;
      const size_t first = frames_back && !parallel ? n - done - m : done;
      const size_t n_rows = m * L * B;
      float* a = b.scratch + (parallel ? m : 1) * B * row_floats();
      float* quantized = a + n_rows * layout.a;
      // The frames of a step side by side, or the steps of a frame one after another.
      const Order order = parallel && L > 1 && m > 1 ? Order{B, m * B} : Order{L * B, B};
      input_half(a, quantized, order, first, m);
      if (!UT_SMALLEST && B == 1 && op.fused && (!parallel || m == 1))
        walk_alone(b.scratch, a, quantized + n_rows * layout.quantized_x, first, m);
      else
        walk(b.scratch, a, order, first, m);
      done += m;
    }
  }
};

}  // namespace

void run_framed_layer(const OpPlan& op, const Block& b) { Framed{op, b}.run(); }

ut_status check_framed_layer(Check& c) {
  if (const ut_status s = check_cell(c, true)) return s;
  OpPlan* p = c.plan();
  const Block none = {};
  const Framed framed{*p, none};
  const uint64_t rows = uint64_t{framed.B} * framed.row_floats();
  const uint64_t frame = uint64_t{framed.L} * (uint64_t{framed.B} * framed.layout.frame() + framed.history_floats());
  c.require(rows + frame <= kMaxTotalFloats, "rows and steps of a frame take too many elements");
  p->scratch_floats = p->forgets ? 0 : static_cast<size_t>(rows);
  p->scratch_floats_per_frame = static_cast<size_t>(frame + (p->forgets ? rows : 0));
  p->scratch_floats_per_row = static_cast<size_t>(frame + rows);
  p->matrix_bytes = 0;  // a team's workers do not share it
  return c.status();
}

}  // namespace undertow
