// SPDX-License-Identifier: MIT
// Checks of rnn, gru and lstm: ordinary layers, and those with rows and steps inside a frame.
#include "recurrent.h"

namespace undertow {

namespace {

// Sizes of an ordinary layer follow from its states.
void read_sizes(Check& c, const CellCounts& kind) {
  OpPlan* p = c.plan();
  p->sizes[kInputs] = c.input(0);
  p->sizes[kHidden] = c.state(kind.n_states - 1);
  p->sizes[kFedBack] = c.state(0);
  p->sizes[kRows] = p->sizes[kSteps] = 1;
}

// Sizes of a layer with rows and steps: those of the input say how many, a param how many units.
void read_framed_sizes(Check& c, const CellCounts& kind) {
  OpPlan* p = c.plan();
  const uint32_t n_starts = c.node().n_inputs - 1;
  const size_t size = c.input(0), H = c.param(3 * kind.n_acts + 2), steps_axes = p->flags & kFlagSteps ? 1 : 0;
  const bool stateful = c.node().n_states != 0;
  c.require(!stateful || n_starts == 0, "has states and inputs to start from");
  c.require(stateful || n_starts != 0 || steps_axes, "has neither states, nor inputs to start from, nor steps");
  c.require(!(p->flags & kFlagReverse) || stateful || steps_axes, "runs backwards without states and steps");
  c.require(!(p->flags & kFlagMasked), "is masked and has rows or steps");
  c.require(H != 0 && H <= kMaxFrame, "has no units, or too many");
  if (c.status() != UT_OK) return;
  const ValueView x = c.input_view(0);
  c.require(x.n_dims == steps_axes + 1 || x.n_dims == steps_axes + 2, "input has the wrong number of axes");
  if (c.status() != UT_OK) return;
  const size_t n_in = x.dims[x.n_dims - 1], L = steps_axes ? x.dims[0] : 1, B = size / n_in / L;
  const size_t F = c.output(0) / (B * L);
  p->sizes[kInputs] = n_in;
  p->sizes[kHidden] = H;
  p->sizes[kFedBack] = F;
  p->sizes[kRows] = B;
  p->sizes[kSteps] = L;
  const size_t widths[2] = {F, kind.n_states == 1 ? F : H};
  c.require(F != 0 && c.output(0) == F * B * L, "output does not fit the rows and steps of the input");
  c.require(kind.n_states == 2 || F == H, "output does not fit the units");
  for (uint32_t i = 0; i < kind.n_states; ++i) {
    if (stateful) c.require(c.state(i) == widths[i] * B, "a state does not fit rows and units");
    if (n_starts) c.require(c.input(1 + i) == widths[i] * B, "an input to start from does not fit rows and units");
  }
}

// What all three cells have; returns padded(H).
size_t check_common(Check& c, const CellCounts& kind, bool framed) {
  const NodeView& node = c.node();
  OpPlan* p = c.plan();
  c.require(node.n_outputs >= 1 && node.n_outputs <= kind.n_states, "outputs are h, and for an lstm c");
  const bool starts = framed && node.n_inputs == 1 + kind.n_states, stateless = framed && node.n_states == 0;
  c.counts(starts ? node.n_inputs : 1, node.n_outputs, stateless ? 0 : kind.n_states, kind.n_tensors,
           3 * kind.n_acts + (framed ? 3 : 2));
  if (c.status() != UT_OK) return 1;
  p->flags = c.param(3 * kind.n_acts);
  framed ? read_framed_sizes(c, kind) : read_sizes(c, kind);
  if (c.status() != UT_OK) return 1;
  const size_t H = p->sizes[kHidden], I = p->sizes[kInputs], n = p->sizes[kRows] * p->sizes[kSteps];
  c.require(c.output(0) == p->sizes[kFedBack] * n, "hidden state and output differ in size");
  c.require(node.n_outputs < 2 || c.output(1) == H * n, "cell state and output differ in size");
  c.matrix(kW, H, I, kind.n_gates);
  c.weight(kB, uint64_t{padded(H)} * kind.n_gates, true);
  for (uint32_t i = 0; i < kind.n_acts; ++i) p->cell.acts[i] = c.act(3 * i);
  p->cell.clip = c.param_f32(3 * kind.n_acts + 1);
  const uint32_t known =
      kFlagReverse | kFlagMasked | (kind.n_gates == 1 ? 0 : kFlagVariant) | (framed ? kFlagSteps : 0);
  c.require((p->flags & ~known) == 0, "unknown flags");
  c.require(p->cell.clip >= 0.0f, "clip is negative or not a number");
  p->whole_sequence = p->flags & kFlagReverse && !(p->flags & kFlagSteps);
  p->forgets = stateless;
  return padded(H);
}

void check_gru(Check& c, size_t Hp) {
  OpPlan* p = c.plan();
  const bool reset_after = p->flags & kFlagVariant;
  const size_t H = p->sizes[kHidden];
  c.require(p->sizes[kFedBack] == H, "hidden state and units differ in number");
  c.matrix(kR, H, H, reset_after ? 3 : 2);
  c.require(c.has_weight(kX1) == !reset_after && c.has_weight(kX2) == reset_after,
            "R_n belongs to reset-before, rb to reset-after");
  if (reset_after)
    c.weight(kX2, uint64_t{Hp} * 3);
  else
    c.matrix(kX1, H, H, 1);
  p->cell.R_n = floats(p->weights[kX1]);
  p->cell.rb = floats(p->weights[kX2]);
}

void check_lstm(Check& c, size_t Hp) {
  OpPlan* p = c.plan();
  const size_t H = p->sizes[kHidden], F = p->sizes[kFedBack];
  c.require(F == H || c.has_weight(kX2), "hidden and cell state differ in size without a projection");
  c.matrix(kR, H, F, 4);
  c.weight(kX1, uint64_t{3} * Hp, true);
  c.matrix(kX2, F, H, 1, true);
  p->cell.peephole = floats(p->weights[kX1]);
  p->cell.projection = floats(p->weights[kX2]);
  p->cell.n_projection_panels = padded(F) / kPanel;
  p->cell.input_forget = p->flags & kFlagVariant;
}

// Default activations and no extras: the kernels' fast path, with the same formulas.
bool is_plain(const Cell& cell, uint32_t n_acts) {
  static constexpr uint32_t kDefaults[] = {kActSigmoid, kActTanh, kActTanh};
  const uint32_t* defaults = n_acts == 1 ? kDefaults + 1 : kDefaults;
  for (uint32_t i = 0; i < n_acts; ++i)
    if (cell.acts[i].kind != defaults[i]) return false;
  return cell.clip == 0.0f && !cell.peephole && !cell.projection && !cell.input_forget;
}

size_t larger(size_t a, size_t b) { return a > b ? a : b; }

}  // namespace

Layout::Layout(const OpPlan& op, size_t n_gates) {
  const size_t H = op.sizes[kHidden], F = op.sizes[kFedBack], Hp = padded(H);
  const size_t of_units = larger(quantized_floats(op.precisions[kX1], H), quantized_floats(op.precisions[kX2], H));
  q = a = n_gates * Hp;
  h = padded(F);
  units = 2 * Hp;
  quantized_h = larger(quantized_floats(op.precisions[kR], F), of_units);
  quantized_x = quantized_floats(op.precisions[kW], op.sizes[kInputs]);
}

ut_status check_cell(Check& c, const CellCounts& kind, bool framed) {
  const size_t Hp = check_common(c, kind, framed);
  if (c.status() != UT_OK) return c.status();
  OpPlan* p = c.plan();
  if (kind.n_gates == 1)
    c.matrix(kR, p->sizes[kHidden], p->sizes[kFedBack], 1);
  else
    kind.n_gates == 3 ? check_gru(c, Hp) : check_lstm(c, Hp);
  p->multiply_adds *= p->sizes[kRows] * p->sizes[kSteps];
  Cell& cell = p->cell;
  cell.W = floats(p->weights[kW]);
  cell.b = floats(p->weights[kB]);
  cell.R = floats(p->weights[kR]);
  cell.n_panels = Hp / kPanel;
  cell.n_inputs = p->sizes[kInputs];
  cell.n_fed_back = p->sizes[kFedBack];
  cell.n_hidden = p->sizes[kHidden];
  cell.plain = is_plain(cell, kind.n_acts);
  p->fused = p->precisions[kR] == kFloat32 && p->precisions[kX1] == kFloat32 && p->precisions[kX2] == kFloat32;
  p->joint = p->fused && cell.plain && p->precisions[kW] == kFloat32 && (kind.n_gates != 3 || p->flags & kFlagVariant);
  return c.status();
}

}  // namespace undertow
