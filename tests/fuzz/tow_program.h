// SPDX-License-Identifier: MIT
// The params of an expression as tables (csrc/FORMAT.md, "Expressions"), which say anything until they are made to fit.
#ifndef UNDERTOW_TESTS_FUZZ_TOW_PROGRAM_H_
#define UNDERTOW_TESTS_FUZZ_TOW_PROGRAM_H_

#include <array>

#include "tow_fit.h"

namespace ut_fuzz {

constexpr uint32_t kMostSlots = 32, kMostOperands = 64, kMostInstructions = 256;
constexpr size_t kAxes = 4, kLastAxis = 3, kRowsAxis = 2, kNoAxis = kAxes;  // what a reduction goes over

struct ProgramOperand {
  uint32_t base = 0, offset = 0;
  std::array<int32_t, kAxes> strides = {};
};
struct ProgramStep {
  uint32_t code = 0, y = 0;
  std::array<uint32_t, 4> x = {};
};

struct Program {
  std::array<uint32_t, kAxes> sizes = {1, 1, 1, 1};
  uint32_t n_slots = 0;
  std::vector<ProgramOperand> operands;
  std::vector<ProgramStep> steps;

  uint64_t n_elements() const { return size_of({sizes.begin(), sizes.end()}); }
  // Strides of an array of the space's shape without an axis.
  std::array<int32_t, kAxes> dense(size_t without) const;
  bool is_dense(const ProgramOperand& p, size_t without) const;
  // The last element that an operand is of.
  int64_t last(const ProgramOperand& p) const;
  // One more operand; slots stay what they are.
  uint32_t add(const ProgramOperand& p);
};

uint32_t n_arguments(uint32_t code);  // 0: there is no such code
size_t reduced_axis(uint32_t code);   // or kNoAxis
uint32_t any_code(Random* random);

// Tables of params; those that promise too much are cut short.
Program program_of(const std::vector<uint32_t>& params);
std::vector<uint32_t> params_of(const Program& program);

// A program for inputs and states of some sizes, as far as it can be said before it fits them.
Program random_program(const std::vector<uint64_t>& inputs, uint32_t n_states, Random* random);
ProgramOperand random_operand(const Program& program, uint32_t base, Random* random);
ProgramStep random_step(const Program& program, Random* random);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_TOW_PROGRAM_H_
