// SPDX-License-Identifier: MIT
// What the files of recurrent layers share: where a plan keeps what, the check of a node, and one timestep of some rows.
#ifndef UNDERTOW_OPS_RECURRENT_H_
#define UNDERTOW_OPS_RECURRENT_H_

#include "op.h"

namespace undertow {

// Places in OpPlan::weights and sizes.
enum { kW, kB, kR, kX1, kX2 };  // kX1: gru R_n, lstm peephole; kX2: gru rb, lstm projection
enum { kInputs, kHidden, kFedBack, kRows, kSteps };  // kRows and kSteps: of a frame; 1 in an ordinary layer

inline const float* floats(const void* weights) { return static_cast<const float*>(weights); }

// Scratch. For each row: R h, h, two vectors of units, the quantised h; then for each frame: b + W x, the quantised x.
struct Layout {
  size_t q, h, units, quantized_h;  // floats for each row
  size_t a, quantized_x;            // floats for each frame

  Layout(const OpPlan& op, size_t n_gates);
  size_t row() const { return q + h + units + quantized_h; }
  size_t frame() const { return a + quantized_x; }
};

// How many of each a cell has.
struct CellCounts {
  uint32_t n_gates, n_acts, n_states, n_tensors;
};
constexpr CellCounts kRnnCell = {1, 1, 1, 3}, kGruCell = {3, 2, 1, 5}, kLstmCell = {4, 3, 2, 5};

// The check of an ordinary layer, and of one with rows and steps; both leave their plan ready but for scratch.
ut_status check_cell(Check& c, const CellCounts& kind, bool framed);

// One timestep of n rows whose input halves are done. Row i: a, h and y with their strides; c in states[i], or where that
// is null at c. y may be h.
struct Rows {
  size_t n;
  const float *a, *h;
  size_t h_stride;
  float* y;
  size_t y_stride;
  float* const* states;
  float* c;
  size_t c_stride;
  float* scratch;  // n * Layout::row()
};
void step_rows(const OpPlan& op, const Block& b, size_t n_gates, const Rows& rows);

}  // namespace undertow

#endif  // UNDERTOW_OPS_RECURRENT_H_
