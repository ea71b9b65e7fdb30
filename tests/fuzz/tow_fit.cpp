// SPDX-License-Identifier: MIT
#include <string.h>

#include "fitter.h"

namespace ut_fuzz {

constexpr int32_t kMostTap = 1 << 20;

bool Fitter::dense() {
  if (!inputs(1) || !outputs(1)) return false;
  counts(0, 2, 3);
  act(0);
  if (shape(0).empty()) return false;
  Shape y = output(0).shape;
  const uint32_t M = y.empty() || y.back() == 0 ? small() : y.back();
  y = shape(0);
  const uint32_t K = y.back();
  y.back() = M;
  vector(1, padded(M), true);
  return output(0, y, true) && matrix({0, M, K, 1});
}

bool Fitter::select() {
  if (node.inputs.empty() ? !inputs(1) : !inputs(node.inputs.size())) return false;
  if (!outputs(1)) return false;
  counts(0, 1, 1);
  const auto sound = [&](const int32_t* run) {
    if (run[0] < 0 || run[0] >= static_cast<int32_t>(node.inputs.size()) || run[2] <= 0 || run[4] <= 0) return false;
    const int64_t across = int64_t{run[2] - 1} * run[3], along = int64_t{run[4] - 1} * run[5];
    const int64_t low = run[1] + std::min<int64_t>(across, 0) + std::min<int64_t>(along, 0);
    const int64_t high = run[1] + std::max<int64_t>(across, 0) + std::max<int64_t>(along, 0);
    return low >= 0 && high < static_cast<int64_t>(size(static_cast<size_t>(run[0])));
  };
  std::vector<int32_t> runs;
  uint64_t total = 0;
  const uint32_t t = node.tensors[0];
  const bool there = t != kNone && f.tensors[t].dtype == kInt32 && node.params[0] <= f.tensors[t].n() / 6;
  for (uint32_t k = 0; there && k < node.params[0]; ++k) {
    int32_t run[6];
    memcpy(run, f.tensors[t].bytes.data() + 24 * k, 24);
    const uint64_t more = sound(run) ? uint64_t(run[2]) * uint64_t(run[4]) : kMostElements;
    if (total + more > kMostElements) continue;
    total += more;
    runs.insert(runs.end(), run, run + 6);
  }
  for (int tries = 0; runs.empty() && tries < 20; ++tries) {
    const int32_t input = static_cast<int32_t>(r->below(node.inputs.size()));
    const int32_t n = static_cast<int32_t>(size(static_cast<size_t>(input)));
    const auto upto = [&](int32_t most) { return static_cast<int32_t>(r->below(static_cast<size_t>(most))); };
    const int32_t run[6] = {input, upto(n), 1 + upto(n), upto(4) - 1, 1 + upto(4), upto(5) - 2};
    if (tries == 19 || sound(run)) runs.assign(run, run + 6);
  }
  if (runs.empty() || !sound(runs.data())) return false;
  total = 0;
  for (size_t k = 0; k < runs.size(); k += 6) total += uint64_t(runs[k + 2]) * uint64_t(runs[k + 4]);
  node.params[0] = static_cast<uint32_t>(runs.size() / 6);
  runs.resize(padded(runs.size()));
  Tensor made;
  made.dtype = kInt32;
  made.bytes.resize(4 * runs.size());
  memcpy(made.bytes.data(), runs.data(), made.bytes.size());
  if (!there || made.bytes != f.tensors[t].bytes) set_tensor(0, std::move(made));
  return output(0, {static_cast<uint32_t>(total)}, false);
}

bool Fitter::reshape() {
  if (node.inputs.empty() ? !inputs(1)
                          : !inputs(1, node.inputs[0] < first_ ? f.values[node.inputs[0]].dtype : kFloat32))
    return false;
  if (!outputs(1)) return false;
  counts(0, 0, 0);
  uint32_t left = static_cast<uint32_t>(size(0));
  Shape wanted;
  for (uint32_t d = 2 + static_cast<uint32_t>(r->below(4)); wanted.size() < 3 && d > 1; --d)
    if (left % d == 0) wanted.push_back(d), left /= d;
  wanted.insert(wanted.begin() + static_cast<ptrdiff_t>(r->below(wanted.size() + 1)), left);
  const Value& x = f.values[node.inputs[0]];
  output(0).n_ids = x.n_ids;
  return output(0, wanted, false, x.dtype);
}

bool Fitter::embedding() {
  if (!inputs(1, kInt32) || !outputs(1)) return false;
  counts(0, 1, 0);
  const uint64_t n_ids = size(0), n_out = size_of(output(0).shape);
  const uint32_t t = node.tensors[0];
  uint32_t width = n_out % n_ids == 0 && n_out <= kMostElements ? static_cast<uint32_t>(n_out / n_ids) : small();
  Shape y = shape(0);
  y.push_back(width);
  if (y.size() > 8) y = {static_cast<uint32_t>(n_ids * width)};
  if (t != kNone && f.tensors[t].dtype != kInt32 && !is_sparse(f.tensors[t].dtype) && may_have(f.tensors[t].dtype) &&
      f.tensors[t].flags == 0 &&
      !f.tensors[t].bytes.empty() && f.tensors[t].bytes.size() % table_row_bytes(f.tensors[t].dtype, width) == 0)
    return output(0, y, false);
  const uint32_t dtype = t == kNone || f.tensors[t].dtype == kInt32 || is_sparse(f.tensors[t].dtype) ||
                                 !may_have(f.tensors[t].dtype)
                             ? kFloat32
                             : f.tensors[t].dtype;
  set_tensor(0, make_table(dtype, small(), width, r));
  return output(0, y, false);
}

bool Fitter::window() {
  if (!gated(true) || !outputs(1)) return false;
  counts(std::min<size_t>(node.states.size(), 1), 0, std::max<size_t>(node.params.size(), 1));
  std::vector<int32_t> taps;
  for (const uint32_t p : node.params) {
    int32_t tap = static_cast<int32_t>(p);
    if (tap > kMostTap || tap < -kMostTap) tap %= 16;
    taps.push_back(!node.states.empty() && tap > 0 ? -tap : tap);
  }
  std::sort(taps.begin(), taps.end());
  taps.erase(std::unique(taps.begin(), taps.end()), taps.end());
  if (!node.states.empty() && taps[0] == 0) taps.insert(taps.begin(), -1 - static_cast<int32_t>(r->below(4)));
  node.params.assign(taps.begin(), taps.end());
  if (!node.states.empty()) {
    const uint64_t span = static_cast<uint64_t>(-int64_t{taps[0]});
    if (span * size(0) > 4 * kMostElements) return false;
    state(0, span * size(0));
  }
  Shape y = shape(0);
  y.insert(y.begin(), static_cast<uint32_t>(taps.size()));
  if (y.size() > 8) y = {static_cast<uint32_t>(size(0) * taps.size())};
  return output(0, y, false);
}

bool Fitter::matmul() {
  if (!inputs(2) || !outputs(1)) return false;
  counts(0, 0, 0);
  const auto agree = [&](const Shape& a, const Shape& b) {
    const size_t d = a.size();
    return d >= 2 && b.size() == d && std::equal(a.begin(), a.end() - 2, b.begin()) && a[d - 1] == b[d - 2];
  };
  for (uint32_t v = 0; v < first_ && !agree(shape(0), shape(1)); ++v)
    if (usable(v, kFloat32)) node.inputs[1] = v;
  if (!agree(shape(0), shape(1))) return false;
  Shape y = shape(0);
  y.back() = shape(1).back();
  return output(0, y, true);
}

// heads, shared, n, D, E, scale, cap; offset, row and head of K and of V
bool Fitter::attend() {
  if (!inputs(node.inputs.size() == 4 ? 4 : 3) || !outputs(1)) return false;
  counts(0, 0, 13);
  std::vector<uint32_t>& p = node.params;
  float cap;
  memcpy(&cap, &p[6], sizeof cap);
  const auto rows_fit = [&](size_t input, size_t at, uint64_t width) {
    const uint64_t last = p[at] + uint64_t{p[2] - 1} * p[at + 1] + uint64_t{p[1] - 1} * p[at + 2] + width;
    return (p[2] == 1 || p[at + 1] >= width) && last <= size(input);
  };
  bool fits = cap == 0.0f || (cap >= 1.17549435e-38f && cap < __builtin_inff());
  for (size_t i = 0; i < 5; ++i) fits = fits && p[i] != 0 && p[i] <= kMaxFrame;
  fits = fits && p[0] % p[1] == 0 && uint64_t{p[0]} * p[3] == size(0) && rows_fit(1, 7, p[3]) && rows_fit(2, 10, p[4]);
  fits = fits && uint64_t{p[0]} * p[4] <= kMaxFrame;
  if (fits && node.inputs.size() == 4) fits = size(3) == p[2] || size(3) == uint64_t{p[0]} * p[2];
  if (!fits) {
    const uint32_t width = static_cast<uint32_t>(size(0));
    if (width > size(1) || !inputs(3)) return false;
    p = {1, 1, 1, width, 1, p[5], 0, 0, width, 0, 0, 1, 0};
  }
  return output(0, {p[0], p[4]}, true);
}

bool Fitter::fits() {
  switch (node.kind) {
    case kDense:
      return dense();
    case kActivation:
      return elementwise(1, 0, 3) && (act(0), true);
    case kBinary:
      return elementwise(2, 0, 1) && (node.params[0] %= 11, true);
    case kWhere:
      return elementwise(3, 0, 0);
    case kSoftmax:
      return elementwise(1, 0, 1) && (node.params[0] %= 2, true);
    case kLast:
      return elementwise(1, 0, 1) && (node.params[0] &= kReverse | kMasked, true);
    case kFlip:
      return elementwise(1, 0, 0);
    case kAffine:
      if (!elementwise(1, 2, 0)) return false;
      vector(0, padded(size(0)));
      vector(1, padded(size(0)));
      return true;
    case kLayerNorm: {
      if (!elementwise(1, 2, 1)) return false;
      const Shape& y = output(0).shape;
      vector(0, padded(y.empty() ? 1 : y.back()), true);
      vector(1, padded(y.empty() ? 1 : y.back()), true);
      if (!(ut_test::as_float(node.params[0]) >= 0.0f)) node.params[0] = 0x3a83126f;
      return true;
    }
    case kConcat: {
      if (!inputs(std::max<size_t>(node.inputs.size(), 1)) || !outputs(1)) return false;
      counts(0, 0, 0);
      uint64_t n = 0;
      for (size_t k = 0; k < node.inputs.size(); ++k) n += size(k);
      return output(0, {static_cast<uint32_t>(n)}, false);
    }
    case kSelect:
      return select();
    case kReshape:
      return reshape();
    case kEmbedding:
      return embedding();
    case kConstant:
      node.inputs.clear();
      if (!outputs(1)) return false;
      counts(0, 1, 0);
      if (size_of(output(0).shape) > kMostElements) output(0).shape = {small()};
      vector(0, padded(size_of(output(0).shape)));
      return output(0, output(0).shape, true);
    case kStateRead:
      node.inputs.clear();
      if (!outputs(1)) return false;
      counts(1, 0, 0);
      return output(0, f.states[node.states[0]].shape, false);
    case kStateWrite:
      if (!gated(true) || !outputs(0)) return false;
      counts(1, 0, 0);
      state(0, size(0));
      return true;
    case kDepthwise: {
      if (!inputs(1) || !outputs(1) || shape(0).size() != 3) return false;
      counts(0, 2, 3);
      act(0);
      const Shape x = shape(0);
      if (has_filters(f, node)) {
        f.tensors[node.tensors[0]].flags = 0;
        if (!matrix({0, x[2], x[1], 1})) return false;
      } else {
        vector(0, x[1] * padded(x[2]));
      }
      vector(1, padded(x[2]), true);
      return output(0, {x[0], x[2]}, true);
    }
    case kReduce: {
      if (!inputs(1) || !outputs(1) || shape(0).size() != 3) return false;
      counts(0, 0, 1);
      node.params[0] %= 4;
      const Shape x = shape(0);
      return output(0, {x[0], x[2]}, true);
    }
    case kMatmul:
      return matmul();
    case kWindow:
      return window();
    case kAttend:
      return attend();
    case kExpression:
      return expression();
    case kPresent:
      node.inputs.clear();
      if (!outputs(1)) return false;
      counts(0, 0, 1);
      node.params[0] %= 16;
      return output(0, {1}, false);
  }
  return is_cell(node.kind) && cell();
}

bool fit(File* file, size_t node, Random* random) { return Fitter(file, node, random).run(); }

}  // namespace ut_fuzz
