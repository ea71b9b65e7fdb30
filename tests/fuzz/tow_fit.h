// SPDX-License-Identifier: MIT
// What csrc/FORMAT.md says that an op needs around it: how many inputs, states, tensors and params, of which sizes.
#ifndef UNDERTOW_TESTS_FUZZ_TOW_FIT_H_
#define UNDERTOW_TESTS_FUZZ_TOW_FIT_H_

#include "tow_weights.h"

namespace ut_fuzz {

// What csrc/FORMAT.md says of a cell: its kinds, in ordinary layers and in those with rows and steps, and how many of each
// it has. Flags stand behind the activations of a node, then clip, then (framed) the number of units.
struct CellFormat {
  uint32_t kind, framed, n_gates, n_acts, n_states, n_tensors;
};
constexpr CellFormat kCellFormats[] = {
    {kRnn, kRnnFramed, 1, 1, 1, 3}, {kGru, kGruFramed, 3, 2, 1, 5}, {kLstm, kLstmFramed, 4, 3, 2, 5}};

// That of a node's kind, or null where that is no cell.
inline const CellFormat* cell_format(uint32_t kind) {
  for (const CellFormat& format : kCellFormats)
    if (kind == format.kind || kind == format.framed) return &format;
  return nullptr;
}
inline bool is_cell(uint32_t kind) { return cell_format(kind) != nullptr; }
inline bool is_framed(uint32_t kind) { return is_cell(kind) && cell_format(kind)->framed == kind; }
inline bool is_register(uint32_t kind) { return kind == kStateRead || kind == kStateWrite; }

// Units, width of the hidden state, inputs, rows and steps of a cell, as the shapes around it say.
struct CellSizes {
  uint64_t H, F, I, B, L;
};
CellSizes sizes_of_cell(const File& file, size_t node);

// Whether the filters of a depthwise layer are integers: a matrix of a row for each channel, which nothing smooths.
bool has_filters(const File& file, const Node& node);
// The matrices that a node has, as the shapes around it say.
std::vector<Matrix> matrices(const File& file, size_t node);

// About how many multiplications a timestep takes, and how many floats its frames and states do.
uint64_t work(const File& file);
uint64_t floats(const File& file);

// Makes a node's outputs, states, tensors and params fit its kind and its inputs; what fits already stays as it is.
// False where no change of those can help.
bool fit(File* file, size_t node, Random* random);

// As many outputs as that; numbers of values behind them follow.
void set_outputs(File* file, size_t node, uint32_t n);

// States in their order: those of layers as the nodes come, each once, then those of registers.
void order_states(File* file);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_TOW_FIT_H_
