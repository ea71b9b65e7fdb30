// SPDX-License-Identifier: MIT
// What csrc/FORMAT.md says that an op needs around it: how many inputs, states, tensors and params, of which sizes.
#ifndef UNDERTOW_TESTS_FUZZ_TOW_FIT_H_
#define UNDERTOW_TESTS_FUZZ_TOW_FIT_H_

#include "tow_weights.h"

namespace ut_fuzz {

inline bool is_cell(uint32_t kind) {
  return (kind >= kRnn && kind <= kLstm) || (kind >= kRnnFramed && kind <= kLstmFramed);
}
inline bool is_framed(uint32_t kind) { return kind >= kRnnFramed && kind <= kLstmFramed; }
inline bool is_register(uint32_t kind) { return kind == kStateRead || kind == kStateWrite; }
inline uint32_t n_gates(uint32_t kind) { return (kind - kRnn) % 12 == 0 ? 1 : (kind - kRnn) % 12 == 1 ? 3 : 4; }
// Activations of a cell; its flags stand behind them, then clip, then (framed) the number of units.
inline uint32_t n_acts(uint32_t kind) { return n_gates(kind) == 1 ? 1 : n_gates(kind) - 1; }

// Units, width of the hidden state, inputs, rows and steps of a cell, as the shapes around it say.
struct CellSizes {
  uint64_t H, F, I, B, L;
};
CellSizes sizes_of_cell(const File& file, size_t node);

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
