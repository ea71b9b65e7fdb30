// SPDX-License-Identifier: MIT
// Checks of recurrent layers: ordinary ones, and those with rows and steps inside a frame.
#include "recurrent.h"

namespace undertow {

namespace {

// Sizes of an ordinary layer follow from its states.
void read_sizes(Check& c, const CellType& cell) {
  OpPlan* p = c.plan();
  p->sizes[kInputs] = c.input(0);
  p->sizes[kHidden] = c.state(cell.n_states - 1);
  p->sizes[kFedBack] = c.state(0);
  p->sizes[kRows] = p->sizes[kSteps] = 1;
}

// Sizes of a layer with rows and steps: those of the input say how many, a param how many units.
void read_framed_sizes(Check& c, const CellType& cell) {
  OpPlan* p = c.plan();
  const uint32_t n_starts = c.node().n_inputs - 1;
  const size_t size = c.input(0), H = c.param(3 * cell.n_acts + 2), steps_axes = p->flags & kFlagSteps ? 1 : 0;
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
  const size_t widths[2] = {F, cell.has_c() ? H : F};
  c.require(F != 0 && c.output(0) == F * B * L, "output does not fit the rows and steps of the input");
  c.require(cell.has_c() || F == H, "output does not fit the units");
  for (uint32_t i = 0; i < cell.n_states; ++i) {
    if (stateful) c.require(c.state(i) == widths[i] * B, "a state does not fit rows and units");
    if (n_starts) c.require(c.input(1 + i) == widths[i] * B, "an input to start from does not fit rows and units");
  }
}

// What all cells have.
void check_common(Check& c, bool framed) {
  const NodeView& node = c.node();
  OpPlan* p = c.plan();
  const CellType* type = p->type->cell;
  c.require(node.n_outputs >= 1 && node.n_outputs <= type->n_states, "outputs are h, and for an lstm c");
  const bool starts = framed && node.n_inputs == 1 + type->n_states, stateless = framed && node.n_states == 0;
  c.counts(starts ? node.n_inputs : 1, node.n_outputs, stateless ? 0 : type->n_states, type->n_tensors,
           3 * type->n_acts + (framed ? 3 : 2));
  if (c.status() != UT_OK) return;
  p->flags = c.param(3 * type->n_acts);
  if (type->variant && p->flags & kFlagVariant) type = type->variant;
  p->cell_type = type;
  framed ? read_framed_sizes(c, *type) : read_sizes(c, *type);
  if (c.status() != UT_OK) return;
  const size_t H = p->sizes[kHidden], I = p->sizes[kInputs], n = p->sizes[kRows] * p->sizes[kSteps];
  c.require(c.output(0) == p->sizes[kFedBack] * n, "hidden state and output differ in size");
  c.require(node.n_outputs < 2 || c.output(1) == H * n, "cell state and output differ in size");
  c.matrix(kW, H, I, type->n_gates);
  c.weight(kB, uint64_t{padded(H)} * type->n_gates, true);
  for (uint32_t i = 0; i < type->n_acts; ++i) p->cell.acts[i] = c.act(3 * i);
  p->cell.clip = c.param_f32(3 * type->n_acts + 1);
  const uint32_t clip = c.param(3 * type->n_acts + 1);
  const uint32_t known = kFlagReverse | kFlagMasked | type->flags | (framed ? kFlagSteps : 0);
  c.require((p->flags & ~known) == 0, "unknown flags");
  // By its bits: the caller's floating-point mode may take what is subnormal for 0, as kernels do.
  c.require(clip == 0 || (clip >= 0x00800000u && clip <= 0x7f800000u), "clip is negative, subnormal or not a number");
  p->whole_sequence = p->flags & kFlagReverse && !(p->flags & kFlagSteps);
  p->forgets = stateless;
}

// Default activations and no extras: the kernels' fast path, with the same formulas.
bool is_plain(const Cell& cell, const CellType& type) {
  for (uint32_t i = 0; i < type.n_acts; ++i)
    if (cell.acts[i].kind != type.plain_acts[i]) return false;
  return cell.clip == 0.0f && !cell.peephole && !cell.projection && !cell.input_forget;
}

size_t larger(size_t a, size_t b) { return a > b ? a : b; }

}  // namespace

Layout::Layout(const OpPlan& op) {
  const size_t H = op.sizes[kHidden], F = op.sizes[kFedBack], Hp = padded(H);
  const uint32_t second = op.cell_type->second_matrix;
  q = a = op.cell_type->n_gates * Hp;
  h = padded(F);
  units = 2 * Hp;
  quantized_h = larger(quantized_floats(op.precisions[kR], F), second ? quantized_floats(op.precisions[second], H) : 0);
  quantized_x = quantized_floats(op.precisions[kW], op.sizes[kInputs]);
}

ut_status check_cell(Check& c, bool framed) {
  check_common(c, framed);
  if (c.status() != UT_OK) return c.status();
  OpPlan* p = c.plan();
  const CellType& type = *p->cell_type;
  c.matrix(kR, p->sizes[kHidden], p->sizes[kFedBack], type.n_recurrent_gates);
  if (type.bind) type.bind(c);
  p->multiply_adds *= p->sizes[kRows] * p->sizes[kSteps];
  Cell& cell = p->cell;
  cell.W = floats(p->weights[kW]);
  cell.b = floats(p->weights[kB]);
  cell.R = floats(p->weights[kR]);
  cell.n_panels = padded(p->sizes[kHidden]) / kPanel;
  cell.n_inputs = p->sizes[kInputs];
  cell.n_fed_back = p->sizes[kFedBack];
  cell.n_hidden = p->sizes[kHidden];
  cell.plain = is_plain(cell, type);
  cell.fixed = p->precisions[kR] == kFixed8;
  c.require(cell.fixed == (p->precisions[kW] == kFixed8), "one of W and R is fixed8, and the other is not");
  c.require(!cell.fixed || cell.plain, "fixed8 is for cells with their own activations, without clip, peephole, projection or input_forget");
  p->scaling[kR].hidden = true;
  if (type.second_matrix) p->scaling[type.second_matrix].hidden = true;
  p->fused = !UT_SMALLEST && p->precisions[kR] == kFloat32 && (!type.second_matrix || p->precisions[type.second_matrix] == kFloat32);
  p->joint = p->fused && cell.plain && p->precisions[kW] == kFloat32;
  p->reduced = cell.plain && p->precisions[kW] == p->precisions[kR] && !p->joint && !cell.fixed;
  if (UT_SMALLEST) p->reduced = p->reduced && type.n_gates == type.n_recurrent_gates;
  return c.status();
}

}  // namespace undertow
