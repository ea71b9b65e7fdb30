// SPDX-License-Identifier: MIT
// Numbers, precisions, lists of sparse matrices, and tensors in one another's place.
#include <string.h>

#include <algorithm>

#include "tow_changes.h"

namespace ut_fuzz {

namespace {

// A tensor that holds something.
Tensor* any_tensor(File* f, Random* random) {
  for (int tries = 0; tries < 8 && !f->tensors.empty(); ++tries) {
    Tensor& t = f->tensors[random->below(f->tensors.size())];
    if (t.bytes.size() >= 4) return &t;
  }
  return nullptr;
}

void put_number(Tensor* t, uint64_t i, float x) {
  const uint32_t bits = ut_test::as_bits(x);
  uint16_t half = static_cast<uint16_t>(bits >> 16);
  if (t->dtype == kFloat16) {  // what float32 has odd, in its place
    static const uint16_t kOdd[] = {0x0000, 0x8000, 0x7e00, 0x7c00, 0xfc00, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x3c00};
    half = kOdd[bits % 10];
  }
  if (t->dtype == kFloat16 || t->dtype == kBfloat16)
    memcpy(t->bytes.data() + 2 * i, &half, 2);
  else
    memcpy(t->bytes.data() + 4 * i, &bits, 4);
}

// Of tensors of bytes: any four of them, which are a scale now and then.
bool odd_numbers(File* f, Random* random) {
  Tensor* t = any_tensor(f, random);
  if (!t) return false;
  const uint64_t n = t->bytes.size() / (t->dtype == kFloat16 || t->dtype == kBfloat16 ? 2 : 4);
  for (size_t k = 1 + random->below(4); k != 0; --k) put_number(t, random->below(n), odd_number(random));
  return true;
}
bool all_numbers(File* f, Random* random) {
  Tensor* t = any_tensor(f, random);
  if (!t || t->dtype == kInt32 || t->dtype > kBfloat16) return false;
  const float x = odd_number(random);
  for (uint64_t i = 0; i < t->n(); ++i) put_number(t, i, x);
  return true;
}
bool scale_numbers(File* f, Random* random) {
  Tensor* t = any_tensor(f, random);
  if (!t || t->dtype != kFloat32) return false;
  const float by = ut_test::as_float(static_cast<uint32_t>(1 + random->below(254)) << 23);
  for (uint64_t i = 0; i < t->n(); ++i) {
    float x;
    memcpy(&x, t->bytes.data() + 4 * i, 4);
    put_number(t, i, x * by);
  }
  return true;
}
bool bits(File* f, Random* random) {
  Tensor* t = any_tensor(f, random);
  if (!t) return false;
  for (size_t k = 1 + random->below(8); k != 0; --k) {
    uint8_t& byte = t->bytes[random->below(t->bytes.size())];
    byte = static_cast<uint8_t>(one_in(random, 2) ? random->bits() : byte ^ 1u << random->below(8));
  }
  return true;
}

// A matrix of integers as the format says they are not: -128, more than columns allow, or a sum of something else.
bool wrong_integers(File* f, Random* random) {
  static const int16_t kLarge[] = {2896, 2897, -2897, 5793, 11585, 11586, -11586, 32767, -32767, -32768};
  Tensor* t = any_tensor(f, random);
  if (!t || !has_integers(t->dtype)) return false;
  if (t->dtype == kInt16) {
    memcpy(t->bytes.data() + 2 * random->below(t->n()), &kLarge[random->below(10)], 2);
    return true;
  }
  if (t->dtype == kFixed8 && one_in(random, 2)) {  // a scale that is none
    static const float kScales[] = {-0.5f, -0.0f, 1.0f + 0x1p-15f, 0x1p-140f, 0x1p100f};
    const float scale = one_in(random, 2) ? odd_number(random) : kScales[random->below(5)];
    memcpy(t->bytes.data() + t->bytes.size() - 4 * (1 + random->below(16)), &scale, 4);
    return true;
  }
  if (one_in(random, 2)) {
    for (size_t k = 1 + random->below(16); k != 0; --k) t->bytes[random->below(t->bytes.size())] = 0x80;
    return true;
  }
  const uint64_t word = random->below(t->bytes.size() / 4);
  uint32_t sum;
  memcpy(&sum, t->bytes.data() + 4 * word, 4);
  sum += static_cast<uint32_t>(random->below(5)) - 2;
  memcpy(t->bytes.data() + 4 * word, &sum, 4);
  return true;
}

// Factors of a smoothed matrix that are none, or others.
bool factors(File* f, Random* random) {
  static const float kFactors[] = {0.0f, -0.0f, -1.0f, 3.0f, 0.75f, 2.0f, 0x1p-41f, 0x1p-40f, 0x1p-39f, 1.0f, 0.5f};
  Tensor* t = any_tensor(f, random);
  if (!t || t->flags == 0) return false;
  const float x = one_in(random, 4) ? odd_number(random) : kFactors[random->below(11)];
  put_number(t, random->below(std::min<uint64_t>(t->bytes.size() / 4, 8)), x);
  return true;
}

// Factors where there were none, or none where there were; now and then beside numbers that have none.
bool smoothed(File* f, Random* random) {
  Tensor* t = any_tensor(f, random);
  if (!t || (!may_be_smoothed(t->dtype) && !one_in(random, 16))) return false;
  t->flags = one_in(random, 16) ? static_cast<uint32_t>(random->bits()) : 1 - (t->flags & 1);
  return true;
}

// Words at the start of a sparse matrix: flags, starts, columns.
bool sparse_lists(File* f, Random* random) {
  Tensor* t = any_tensor(f, random);
  if (!t || !is_sparse(t->dtype)) return false;
  const uint64_t at = random->below(std::min<uint64_t>(t->bytes.size(), 192) / 2);
  uint16_t word;
  memcpy(&word, t->bytes.data() + 2 * at, 2);
  word = static_cast<uint16_t>(one_in(random, 3) ? random->bits() : word + random->below(3) - 1);
  memcpy(t->bytes.data() + 2 * at, &word, 2);
  return true;
}

Node* node_with_tensors(File* f, Random* random) {
  for (int tries = 0; tries < 8 && !f->nodes.empty(); ++tries) {
    Node& node = f->nodes[random->below(f->nodes.size())];
    if (!node.tensors.empty()) return &node;
  }
  return nullptr;
}

bool precision(File* f, Random* random) {
  static const uint32_t kDtypes[] = {kFloat32, kFloat16, kBfloat16, kInt8, kInt4, kSparseFloat32, kSparseInt8, kInt16, kFixed8};
  Node* node = node_with_tensors(f, random);
  if (node && node->kind == kDepthwise) {
    node->tensors[0] = blank(f, one_in(random, 2) ? kInt16 : kFloat32);
    return true;
  }
  if (!node || (node->kind != kDense && node->kind != kEmbedding && !is_cell(node->kind))) return false;
  const bool all = one_in(random, 2);
  const uint32_t dtype = kDtypes[random->below(9)], flags = may_be_smoothed(dtype) && one_in(random, 2);
  const size_t which = random->below(node->tensors.size());
  const CellFormat* cell = cell_format(node->kind);
  for (size_t slot = 0; slot < node->tensors.size(); ++slot) {
    const bool is_vector = slot == 1 || (cell && slot == (cell->kind == kLstm ? 3 : cell->kind == kGru ? 4 : 1));
    if (node->tensors[slot] == kNone || is_vector || (!all && slot != which)) continue;
    node->tensors[slot] = blank(f, dtype);
    f->tensors.back().flags = node->kind == kEmbedding ? 0 : flags;
  }
  return true;
}

// What may be left out is, or what was left out comes.
bool optional_tensor(File* f, Random* random) {
  Node* node = node_with_tensors(f, random);
  if (!node) return false;
  uint32_t& t = node->tensors[random->below(node->tensors.size())];
  t = t == kNone ? blank(f, kFloat32) : kNone;
  return true;
}

bool other_tensor(File* f, Random* random) {
  Node* node = node_with_tensors(f, random);
  if (!node || f->tensors.empty()) return false;
  node->tensors[random->below(node->tensors.size())] = static_cast<uint32_t>(random->below(f->tensors.size()));
  return true;
}

// Two nodes with one tensor, or two tensors with one piece of the file.
bool shared_bytes(File* f, Random* random) {
  if (f->tensors.size() < 2) return false;
  for (int tries = 0; tries < 20; ++tries) {
    const size_t j = 1 + random->below(f->tensors.size() - 1), i = random->below(j);
    Tensor &host = f->tensors[i], &guest = f->tensors[j];
    if (guest.bytes.empty() || host.bytes.size() < guest.bytes.size() || host.dtype != guest.dtype) continue;
    if (host.bytes.size() == guest.bytes.size() && one_in(random, 2)) {
      for (Node& node : f->nodes)
        for (uint32_t& t : node.tensors)
          if (t == j) t = static_cast<uint32_t>(i);
      return true;
    }
    guest.inside = static_cast<uint32_t>(i);
    guest.at = random->below((host.bytes.size() - guest.bytes.size()) / 64 + 1) * 64;
    guest.bytes.assign(host.bytes.begin() + static_cast<ptrdiff_t>(guest.at),
                       host.bytes.begin() + static_cast<ptrdiff_t>(guest.at + guest.bytes.size()));
    return true;
  }
  return false;
}

}  // namespace

std::vector<Change> changes_of_weights() {
  return {{"odd numbers", 6, kNothing, odd_numbers},
          {"all numbers", 2, kNothing, all_numbers},
          {"scaled numbers", 2, kNothing, scale_numbers},
          {"bits of weights", 2, kNothing, bits},
          {"wrong integers", 1, kIntegers, wrong_integers},
          {"factors", 1, kIntegers, factors},
          {"smoothed", 2, kNothing, smoothed},
          {"sparse lists", 1, kNothing, sparse_lists},
          {"precision", 6, kNothing, precision},
          {"optional tensor", 4, kNothing, optional_tensor},
          {"other tensor", 1, kNothing, other_tensor},
          {"shared bytes", 1, kOverlaps, shared_bytes}};
}

}  // namespace ut_fuzz
