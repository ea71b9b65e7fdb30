// SPDX-License-Identifier: MIT
// The cells: what each is, what it reads from a file, and its ops. Formulas: kernels/cells-inl.h.
#include "recurrent.h"

namespace undertow {

namespace {

size_t units(Check& c) { return c.plan()->sizes[kHidden]; }

// Fields of a CellType: kind; gates of W, of R; activations; states; tensors, second matrix; flags, variant; bind.

// --- rnn -------------------------------------------------------------------------------------------------------------

constexpr CellType kRnnCell = {kCellRnn, 1, 1, 1, {kActTanh}, 1, 3, 0, 0, nullptr, nullptr};

// --- gru: gates z, r, n ----------------------------------------------------------------------------------------------
// With reset after, r multiplies rb_n + R_n h, and R has all gates. With reset before, it multiplies h, and R_n comes then.

enum { kR_n = kOwn1, kRecurrentBias = kOwn2 };
constexpr const char* kOneOfBoth = "R_n belongs to reset-before, rb to reset-after";

void bind_gru_after(Check& c) {
  c.require(!c.has_weight(kR_n) && c.has_weight(kRecurrentBias), kOneOfBoth);
  c.weight(kRecurrentBias, uint64_t{3} * padded(units(c)));
  c.plan()->cell.rb = floats(c.plan()->weights[kRecurrentBias]);
}

void bind_gru_before(Check& c) {
  c.require(c.has_weight(kR_n) && !c.has_weight(kRecurrentBias), kOneOfBoth);
  c.matrix(kR_n, units(c), units(c), 1);
  c.alike(kR, kR_n, units(c), "R and R_n");
  c.plan()->cell.R_n = floats(c.plan()->weights[kR_n]);
}

constexpr CellType kGruAfterCell = {
    kCellGruAfter, 3, 3, 2, {kActSigmoid, kActTanh}, 1, 5, 0, kFlagVariant, nullptr, bind_gru_after};
constexpr CellType kGruBeforeCell = {
    kCellGruBefore, 3, 2, 2, {kActSigmoid, kActTanh}, 1, 5, kR_n, kFlagVariant, &kGruAfterCell, bind_gru_before};

// --- lstm: gates i, f, g, o ------------------------------------------------------------------------------------------

enum { kPeephole = kOwn1, kProjection = kOwn2 };

void bind_lstm(Check& c) {
  OpPlan* p = c.plan();
  const size_t H = units(c), F = p->sizes[kFedBack];
  c.require(F == H || c.has_weight(kProjection), "hidden and cell state differ in size without a projection");
  c.weight(kPeephole, uint64_t{3} * padded(H), true);
  c.matrix(kProjection, F, H, 1, true);
  p->cell.peephole = floats(p->weights[kPeephole]);
  p->cell.projection = floats(p->weights[kProjection]);
  p->cell.n_projection_panels = padded(F) / kPanel;
  p->cell.input_forget = p->flags & kFlagVariant;
}

constexpr CellType kLstmCell = {
    kCellLstm, 4, 4, 3, {kActSigmoid, kActTanh, kActTanh}, 2, 5, kProjection, kFlagVariant, nullptr, bind_lstm};

constexpr OpType kOps[] = {
    {12, "rnn", check_layer, run_layer, 0, &kRnnCell},
    {13, "gru", check_layer, run_layer, 0, &kGruBeforeCell},
    {14, "lstm", check_layer, run_layer, 0, &kLstmCell},
    {24, "rnn", check_framed_layer, run_framed_layer, kRowsInside, &kRnnCell},
    {25, "gru", check_framed_layer, run_framed_layer, kRowsInside, &kGruBeforeCell},
    {26, "lstm", check_framed_layer, run_framed_layer, kRowsInside, &kLstmCell},
};

}  // namespace

const OpList kCellOps = kOps;

}  // namespace undertow
