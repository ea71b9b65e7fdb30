// SPDX-License-Identifier: MIT
// What a recurrent cell is, and what the files of recurrent layers share: where a plan keeps what, the check of a node,
// and one timestep of some rows. No file but cells.cpp knows one cell from another.
#ifndef UNDERTOW_OPS_RECURRENT_H_
#define UNDERTOW_OPS_RECURRENT_H_

#include "op.h"

namespace undertow {

// A cell. Its timestep: products W x and R h, then an update of its units. Some go on with a second product, of what the
// update left: its rows go to a second update (`finish` in CellKernels), or are the hidden state where there is none.
struct CellType {
  CellKind kind;               // its kernels
  uint32_t n_gates;            // of W and b; at most 4
  uint32_t n_recurrent_gates;  // of R
  uint32_t n_acts;             // in the order of the file
  ActKind plain_acts[3];       // those of a plain layer
  uint32_t n_states;           // h; or h and c, where c has the width of the units, and h may have another
  uint32_t n_tensors;          // W, b, R, and those that `bind` reads
  uint32_t second_matrix;      // the one of these that the second product takes; 0: there is no such product
  uint32_t flags;              // that it has besides those of all cells
  const CellType* variant;     // what kFlagVariant makes of it; null: still this cell
  void (*bind)(Check& c);      // its own tensors and flags; null: it has none

  bool has_c() const { return n_states == 2; }
};

// Places in OpPlan::weights and sizes.
enum { kW, kB, kR, kOwn1, kOwn2 };  // kOwn1, kOwn2: what else a cell has (cells.cpp)
enum { kInputs, kHidden, kFedBack, kRows, kSteps };  // kRows and kSteps: of a frame; 1 in an ordinary layer

inline const float* floats(const void* weights) { return static_cast<const float*>(weights); }

// Scratch. For each row: R h, h, two vectors of units, the quantised h; then for each frame: b + W x, the quantised x.
struct Layout {
  size_t q, h, units, quantized_h;  // floats for each row
  size_t a, quantized_x;            // floats for each frame

  explicit Layout(const OpPlan& op);
  size_t row() const { return q + h + units + quantized_h; }
  size_t frame() const { return a + quantized_x; }
};

inline const CellKernels& kernels_of(const OpPlan& op, const Block& b) {
  return b.model->kernels->cells[op.cell_type->kind];
}

// Ordinary layers, and those with rows and steps inside a frame.
ut_status check_layer(Check& c);
void run_layer(const OpPlan& op, const Block& b);
ut_status check_framed_layer(Check& c);
void run_framed_layer(const OpPlan& op, const Block& b);

// What both checks begin with; it leaves the plan ready but for scratch.
ut_status check_cell(Check& c, bool framed);

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
void step_rows(const OpPlan& op, const Block& b, const Rows& rows);

}  // namespace undertow

#endif  // UNDERTOW_OPS_RECURRENT_H_
