// SPDX-License-Identifier: MIT
#include "tow_program.h"

#include <algorithm>

namespace ut_fuzz {

namespace {

constexpr size_t kHeadWords = 7, kRowWords = 6;
constexpr uint32_t kFirstActivation = 32, kEndOfActivations = kFirstActivation + 26;
constexpr uint64_t kMostOfSpace = 600;  // of one made anew

}  // namespace

uint32_t n_arguments(uint32_t code) {
  static const uint32_t kElements[] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 1};
  static const uint32_t kLast[] = {1, 1, 1, 1, 2, 4, 4}, kRows[] = {1, 1, 1, 1, 2, 2};
  if (code < 19) return kElements[code];
  if (code >= kFirstActivation && code < kEndOfActivations) return 1;
  if (code >= 64 && code < 71) return kLast[code - 64];
  return code >= 72 && code < 78 ? kRows[code - 72] : 0;
}

size_t reduced_axis(uint32_t code) { return code < 64 ? kNoAxis : code < 72 ? kLastAxis : kRowsAxis; }

uint32_t any_code(Random* random) {
  if (one_in(random, 4)) return kFirstActivation + static_cast<uint32_t>(random->below(26));
  const uint32_t code = static_cast<uint32_t>(random->below(78));
  return n_arguments(code) ? code : 18;
}

std::array<int32_t, kAxes> Program::dense(size_t without) const {
  std::array<int32_t, kAxes> strides = {};
  uint64_t stride = 1;
  for (size_t a = kAxes; a-- > 0;) {
    if (a == without) continue;
    strides[a] = sizes[a] == 1 && a != kLastAxis ? 0 : static_cast<int32_t>(stride);
    stride *= sizes[a];
  }
  return strides;
}

bool Program::is_dense(const ProgramOperand& p, size_t without) const {
  const auto wanted = dense(without);
  for (size_t a = 0; a < kAxes; ++a)
    if (p.strides[a] != wanted[a] && (sizes[a] != 1 || a == without)) return false;
  return true;
}

int64_t Program::last(const ProgramOperand& p) const {
  int64_t last = p.offset;
  for (size_t a = 0; a < kAxes; ++a) last += int64_t{sizes[a] - 1} * p.strides[a];
  return last;
}

uint32_t Program::add(const ProgramOperand& p) {
  const uint32_t n = static_cast<uint32_t>(operands.size());
  operands.push_back(p);
  for (ProgramStep& s : steps) {
    s.y += s.y >= n;
    for (uint32_t k = 0; k < n_arguments(s.code); ++k) s.x[k] += s.x[k] >= n;
  }
  return n;
}

Program program_of(const std::vector<uint32_t>& params) {
  Program p;
  if (params.size() < kHeadWords) return p;
  std::copy(params.begin(), params.begin() + kAxes, p.sizes.begin());
  p.n_slots = params[4];
  const size_t n_rows = (params.size() - kHeadWords) / kRowWords;
  const size_t n_operands = std::min<size_t>(n_rows, params[5]), n_steps = std::min<size_t>(n_rows - n_operands, params[6]);
  const uint32_t* row = params.data() + kHeadWords;
  for (size_t i = 0; i < n_operands; ++i, row += kRowWords) {
    ProgramOperand o;
    o.base = row[0], o.offset = row[1];
    for (size_t a = 0; a < kAxes; ++a) o.strides[a] = static_cast<int32_t>(row[2 + a]);
    p.operands.push_back(o);
  }
  for (size_t i = 0; i < n_steps; ++i, row += kRowWords) p.steps.push_back({row[0], row[1], {row[2], row[3], row[4], row[5]}});
  return p;
}

std::vector<uint32_t> params_of(const Program& p) {
  std::vector<uint32_t> words(p.sizes.begin(), p.sizes.end());
  for (const size_t n : {size_t{p.n_slots}, p.operands.size(), p.steps.size()}) words.push_back(static_cast<uint32_t>(n));
  for (const ProgramOperand& o : p.operands) {
    words.push_back(o.base);
    words.push_back(o.offset);
    for (const int32_t stride : o.strides) words.push_back(static_cast<uint32_t>(stride));
  }
  for (const ProgramStep& s : p.steps) {
    words.push_back(s.code);
    words.push_back(s.y);
    words.insert(words.end(), s.x.begin(), s.x.end());
  }
  return words;
}

ProgramOperand random_operand(const Program& p, uint32_t base, Random* random) {
  ProgramOperand o;
  o.base = base;
  o.strides = p.dense(one_in(random, 3) ? kAxes : random->below(kAxes));
  if (one_in(random, 4)) o.strides[random->below(kAxes)] = static_cast<int32_t>(random->below(4));
  if (one_in(random, 4)) o.offset = static_cast<uint32_t>(random->below(20));
  return o;
}

ProgramStep random_step(const Program& p, Random* random) {
  ProgramStep s;
  const size_t n = p.operands.size() + p.n_slots;
  s.code = any_code(random);
  s.y = static_cast<uint32_t>(random->below(n));
  for (uint32_t& x : s.x) x = static_cast<uint32_t>(random->below(n));
  if (s.code >= kFirstActivation && s.code < kEndOfActivations)
    s.x[2] = ut_test::as_bits(random->unit()), s.x[3] = ut_test::as_bits(random->unit() + 1);
  return s;
}

Program random_program(const std::vector<uint64_t>& inputs, uint32_t n_states, Random* random) {
  static const uint32_t kSizes[] = {1, 1, 1, 2, 3, 5, 8, 15, 16, 17, 33, 70};
  Program p;
  const uint32_t n_inputs = static_cast<uint32_t>(inputs.size()), n_outputs = 1 + static_cast<uint32_t>(random->below(3));
  const uint64_t wide = inputs.empty() ? 1 : inputs[random->below(inputs.size())];
  if (one_in(random, 2) && wide <= kMostOfSpace) p.sizes[kLastAxis] = static_cast<uint32_t>(wide);
  for (size_t a = kAxes; a-- > 0;) {
    const uint32_t size = kSizes[random->below(12)];
    if (p.sizes[a] == 1 && p.n_elements() * size <= kMostOfSpace) p.sizes[a] = size;
  }
  p.n_slots = static_cast<uint32_t>(random->below(5));
  for (uint32_t base = 0; base < n_inputs; ++base)
    for (size_t k = 1 + random->below(2); k != 0; --k) p.operands.push_back(random_operand(p, base, random));
  for (uint32_t k = 0; k < n_states; ++k)
    for (size_t part = 0; part < 1 + random->below(2); ++part)
      p.operands.push_back({n_inputs + k, static_cast<uint32_t>(part * p.n_elements()), p.dense(kNoAxis)});
  static const size_t kForms[] = {kNoAxis, kNoAxis, kLastAxis, kRowsAxis};
  for (uint32_t k = 0; k < n_outputs; ++k)
    p.operands.push_back({n_inputs + n_states + k, 0, p.dense(kForms[random->below(4)])});
  for (size_t k = 1 + random->below(10); k != 0; --k) p.steps.push_back(random_step(p, random));
  return p;
}

}  // namespace ut_fuzz
