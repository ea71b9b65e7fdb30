// SPDX-License-Identifier: MIT
// An expression over the elements of a space of four axes, as a file has it (FORMAT.md, "Expressions") and as kernels read it.
#ifndef UNDERTOW_EXPRESSION_H_
#define UNDERTOW_EXPRESSION_H_

#include <stddef.h>
#include <stdint.h>

namespace undertow {

constexpr size_t kSpaceAxes = 4;
// Most of each in one expression.
constexpr uint32_t kMaxOperands = 64, kMaxSlots = 32, kMaxInstructions = 256;

// Elements of an input, a state or an output of the node, numbered in this order: that of element (i, j, k, l) of the space is
// offset + i strides[0] + ... + l strides[3] of its frame. The last stride is 0 or 1.
struct Operand {
  uint32_t base, offset, strides[kSpaceAxes];
};

// What an instruction computes of its arguments a, b, c and d.
enum InstructionCode : uint32_t {
  kFirstBinary = 0,  // BinaryKind of a, b
  kMulAdd = 11,      // a b + c, rounded once
  kWhereCode,        // a != 0 ? b : c
  kMulPlus,          // a b + c, a b - c, c - a b: a product, rounded, and a sum of it
  kMulMinus,
  kMinusMul,
  kMulPlusMul,  // a b + c d, a b - c d: both products rounded
  kMulMinusMul,
  kCopy,  // a, as it is
  kFirstActivation = 32,  // ActKind of a; in place of c and d: alpha and beta
  kFirstReduction = 64,   // ReduceKind of a over the last axis, as `reduce` has it where B = 1
  kSumOfMul = 68,         // the same sum of a b, and so on
  kSumOfMulPlusMul,
  kSumOfMulMinusMul,
  kFirstRowReduction = 72,  // ReduceKind of a over the axis before the last, as `reduce` has it where B > 1
  kRowSumOfMul = 76,        // the same sum of a b
  kRowDot,                  // as `matmul` has it: d = 0, then a b + d, rounded once
  kNumCodes
};

// y and arguments: the number of an operand, or behind them that of a slot.
struct Instruction {
  uint32_t code, y, x[4];
};

// In front of operands and instructions.
struct ExpressionHead {
  uint32_t sizes[kSpaceAxes];  // of the space
  uint32_t n_slots, n_operands, n_instructions;
};
static_assert(sizeof(Operand) == 24 && sizeof(Instruction) == 24 && sizeof(ExpressionHead) == 28, "they are read where they lie");

// How many arguments a code has; 0 for what is none.
static inline constexpr uint32_t n_arguments(uint32_t code) {
  if (code < kMulAdd) return 2;
  if (code <= kMinusMul) return 3;
  if (code <= kMulMinusMul) return 4;
  if (code == kCopy) return 1;
  if (code < kFirstActivation) return 0;
  if (code < kFirstReduction) return 1;
  if (code < kSumOfMul) return 1;
  if (code == kSumOfMul) return 2;
  if (code <= kSumOfMulMinusMul) return 4;
  if (code < kFirstRowReduction) return 0;
  if (code < kRowSumOfMul) return 1;
  return code < kNumCodes ? 2 : 0;
}
static inline constexpr bool reduces_last(uint32_t code) { return code >= kFirstReduction && code <= kSumOfMulMinusMul; }
static inline constexpr bool reduces_rows(uint32_t code) { return code >= kFirstRowReduction && code < kNumCodes; }
static inline constexpr bool is_activation(uint32_t code) { return code >= kFirstActivation && code < kFirstReduction; }

// The space is walked in tiles: `rows` of its last but one axis, each with `width` elements of the last one, for all
// instructions in turn. A row of a slot has whole panels.
struct ExpressionArgs {
  const ExpressionHead* head;
  const Operand* operands;
  const Instruction* instructions;
  size_t rows, width;
  float* const* bases;  // frames of inputs, states and outputs
  float* slots;         // one after another, rows * panels of width each
};

}  // namespace undertow

#endif  // UNDERTOW_EXPRESSION_H_
