// SPDX-License-Identifier: MIT
#include "tow_fit.h"

#include <string.h>

#include <algorithm>

namespace ut_fuzz {

namespace {

constexpr uint64_t kMostElements = 4096, kMostWeights = 1 << 16;  // of what is made anew
constexpr uint32_t kMostTap = 1 << 20;

// One node while it is made to fit.
class Fitter {
 public:
  Fitter(File* file, size_t i, Random* random)
      : f(*file), node(file->nodes[i]), i_(i), first_(file->first_output(i)), r(random) {}

  bool run();

 private:
  const Shape& shape(size_t input) const { return f.values[node.inputs[input]].shape; }
  uint64_t size(size_t input) const { return size_of(shape(input)); }
  Value& output(size_t k) { return f.values[first_ + k]; }
  bool usable(uint32_t value, uint32_t dtype) const { return value < first_ && f.values[value].dtype == dtype; }
  uint32_t small() { return 1 + static_cast<uint32_t>(r->below(one_in(r, 4) ? 40 : 6)); }

  // n inputs of that dtype; those that are missing are the first once more.
  bool inputs(size_t n, uint32_t dtype = kFloat32) {
    node.inputs.resize(std::min(n, node.inputs.size()));
    for (uint32_t& v : node.inputs)
      if (!usable(v, dtype) && !find(&v, dtype, 0)) return false;
    while (node.inputs.size() < n) {
      uint32_t v = node.inputs.empty() ? kNone : node.inputs[0];
      if (v == kNone && !find(&v, dtype, 0)) return false;
      node.inputs.push_back(v);
    }
    return true;
  }

  // Some value before this node, of n elements if n is not 0.
  bool find(uint32_t* value, uint32_t dtype, uint64_t n) {
    const uint32_t start = first_ ? static_cast<uint32_t>(r->below(first_)) : 0;
    for (uint32_t k = 0; k < first_; ++k) {
      const uint32_t v = (start + k) % first_;
      if (!usable(v, dtype) || (n != 0 && size_of(f.values[v].shape) != n)) continue;
      *value = v;
      return true;
    }
    return false;
  }

  // Outputs from k on become one of that shape; another shape of as many elements may stay.
  bool outputs(size_t n) {
    set_outputs(&f, i_, static_cast<uint32_t>(n));
    return true;
  }
  bool output(size_t k, const Shape& wanted, bool exactly, uint32_t dtype = kFloat32) {
    Value& v = output(k);
    v.dtype = dtype;
    if (dtype == kFloat32) v.n_ids = 0;
    if (exactly ? v.shape != wanted : size_of(v.shape) != size_of(wanted)) v.shape = wanted;
    return size_of(v.shape) <= std::max(kMostElements, node.inputs.empty() ? 0 : size(0) * 4);
  }

  void set_tensor(size_t slot, Tensor t) {
    f.tensors.push_back(std::move(t));
    node.tensors[slot] = static_cast<uint32_t>(f.tensors.size() - 1);
  }
  void vector(size_t slot, uint64_t n, bool optional = false) {
    const uint32_t t = node.tensors[slot];
    if (t == kNone && optional) return;
    if (t != kNone && f.tensors[t].dtype == kFloat32 && f.tensors[t].n() == n) return;
    Tensor made;
    if (t != kNone && f.tensors[t].dtype == kFloat32) made.bytes = f.tensors[t].bytes;
    made.bytes.resize(std::min<uint64_t>(made.bytes.size() / 4, n) * 4);
    add_numbers(&made.bytes, kFloat32, n - made.bytes.size() / 4, r);
    set_tensor(slot, std::move(made));
  }
  bool matrix(const Matrix& m, bool optional = false) {
    const uint32_t t = node.tensors[m.slot];
    if ((t == kNone && optional) || (t != kNone && is_matrix(f.tensors[t], m))) return true;
    if (m.M == 0 || m.K == 0 || padded(m.M) * m.K * m.G > kMostWeights) return false;
    const uint32_t dtype = t == kNone || f.tensors[t].dtype == kInt32 ? kFloat32 : f.tensors[t].dtype;
    set_tensor(m.slot, make_matrix(dtype, m, r));
    return true;
  }
  void state(size_t k, uint64_t n) {
    State& s = f.states[node.states[k]];
    if (size_of(s.shape) != n) s.shape = {static_cast<uint32_t>(n)};
    if (s.init == kNone || (f.tensors[s.init].dtype == kFloat32 && f.tensors[s.init].n() == padded(n))) return;
    Tensor made;
    add_numbers(&made.bytes, kFloat32, padded(n), r);
    f.tensors.push_back(std::move(made));
    s.init = static_cast<uint32_t>(f.tensors.size() - 1);
  }
  void states(size_t n) {
    node.states.resize(std::min(n, node.states.size()));
    while (node.states.size() < n) {
      State s;
      s.name = "state " + std::to_string(f.states.size());
      s.shape = {small()};
      f.states.push_back(s);
      node.states.push_back(static_cast<uint32_t>(f.states.size() - 1));
    }
  }
  void act(size_t first) { node.params[first] %= 26; }
  void counts(size_t n_states, size_t n_tensors, size_t n_params) {
    states(n_states);
    node.tensors.resize(n_tensors, kNone);
    node.params.resize(n_params);
  }
  // A second input that is a gate stays.
  bool gated(bool possible) {
    uint32_t gate = possible && node.inputs.size() > 1 ? node.inputs[1] : kNone;
    if (gate != kNone && (!usable(gate, kFloat32) || size_of(f.values[gate].shape) != 1)) gate = kNone;
    if (!inputs(1)) return false;
    if (gate != kNone) node.inputs.push_back(gate);
    return true;
  }

  bool elementwise(size_t n_inputs, size_t n_tensors, size_t n_params) {
    if (!inputs(n_inputs) || !outputs(1)) return false;
    counts(0, n_tensors, n_params);
    for (uint32_t& v : node.inputs)
      if (size_of(f.values[v].shape) != size(0) && !find(&v, kFloat32, size(0))) return false;
    return output(0, shape(0), false);
  }
  bool dense();
  bool select();
  bool reshape();
  bool embedding();
  bool window();
  bool matmul();
  bool cell();
  bool framed_sizes(size_t n_flags, size_t n_states);

  File& f;
  Node& node;
  const size_t i_;
  const uint32_t first_;
  Random* r;
};

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
  if (node.inputs.empty() ? !inputs(1) : !inputs(1, node.inputs[0] < first_ ? f.values[node.inputs[0]].dtype : kFloat32))
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
  if (t != kNone && f.tensors[t].dtype != kInt32 && f.tensors[t].dtype < kSparseFloat32 && !f.tensors[t].bytes.empty() &&
      f.tensors[t].bytes.size() % table_row_bytes(f.tensors[t].dtype, width) == 0)
    return output(0, y, false);
  const uint32_t dtype = t == kNone || f.tensors[t].dtype == kInt32 || f.tensors[t].dtype >= kSparseFloat32 ? kFloat32 : f.tensors[t].dtype;
  set_tensor(0, make_table(dtype, small(), width, r));
  return output(0, y, false);
}

bool Fitter::window() {
  if (!gated(true) || !outputs(1)) return false;
  counts(std::min<size_t>(node.states.size(), 1), 0, std::max<size_t>(node.params.size(), 1));
  std::vector<int32_t> taps;
  for (const uint32_t p : node.params) {
    int32_t tap = static_cast<int32_t>(p);
    if (tap > static_cast<int32_t>(kMostTap) || tap < -static_cast<int32_t>(kMostTap)) tap %= 16;
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

// Flags, inputs and states of a framed cell that go together.
bool Fitter::framed_sizes(size_t n_flags, size_t n_states) {
  uint32_t& flags = node.params[n_flags];
  uint32_t& H = node.params[n_flags + 2];
  if (H == 0 || H > 256) H = small();
  flags &= ~kMasked;
  const size_t rank = shape(0).size();
  if (rank == 0 || rank > 3) return false;
  if (rank == 1) flags &= ~kSteps;
  if (rank == 3) flags |= kSteps;
  if (node.states.empty() && !(flags & kSteps) && node.inputs.size() == 1) states(n_states);
  if (node.states.empty() && !(flags & kSteps)) flags &= ~kReverse;
  return true;
}

bool Fitter::cell() {
  const uint32_t kind = node.kind, G = n_gates(kind), acts = n_acts(kind);
  const size_t n_states = G == 4 ? 2 : 1, n_flags = 3 * acts, n_params = n_flags + (is_framed(kind) ? 3 : 2);
  const bool starts = is_framed(kind) && node.states.empty() && node.inputs.size() == 1 + n_states;
  if (starts ? !inputs(1 + n_states) : !gated(!is_framed(kind) || !node.states.empty())) return false;
  if (node.params.size() != n_params) {
    static const uint32_t kDefaults[] = {3, 2, 2};
    node.params.assign(n_params, 0);
    for (uint32_t k = 0; k < acts; ++k) node.params[3 * k] = kDefaults[acts == 1 ? 1 : k];
    if (G == 3 && one_in(r, 2)) node.params[n_flags] = kVariant;
  }
  for (uint32_t k = 0; k < acts; ++k) act(3 * k);
  uint32_t& flags = node.params[n_flags];
  flags &= kReverse | kMasked | (G == 1 ? 0 : kVariant) | (is_framed(kind) ? kSteps : 0);
  if (!(ut_test::as_float(node.params[n_flags + 1]) >= 0.0f)) node.params[n_flags + 1] = 0;
  if (is_framed(kind) ? !framed_sizes(n_flags, n_states) : (states(n_states), false)) return false;
  if (!node.states.empty()) states(n_states);
  if (node.inputs.size() == 2 && !node.states.empty() && !(flags & kSteps)) flags &= ~kReverse;  // there is a gate
  counts(node.states.size(), G == 1 ? 3 : 5, n_params);
  outputs(std::min<size_t>(std::max<uint32_t>(node.n_outputs, 1), n_states));

  CellSizes s = sizes_of_cell(f, i_);
  const bool may_differ = G == 4 && node.tensors[4] != kNone;
  if (s.F == 0 || s.F > 256 || !may_differ) s.F = s.H;
  const uint64_t widths[2] = {s.F, n_states == 1 ? s.F : s.H};
  if (s.H == 0 || s.H > 256 || s.B * s.L * std::max(s.F, s.H) > kMostElements) return false;
  for (size_t k = 0; k < n_states; ++k) {
    if (!node.states.empty()) state(k, widths[k] * s.B);
    if (starts && size(1 + k) != widths[k] * s.B && !find(&node.inputs[1 + k], kFloat32, widths[k] * s.B)) return false;
  }
  for (size_t k = 0; k < node.n_outputs; ++k) {
    Shape y = {static_cast<uint32_t>(widths[k])};
    if (is_framed(kind)) y.insert(y.begin(), shape(0).begin(), shape(0).end() - 1);
    if (!output(k, y, is_framed(kind))) return false;
  }
  vector(1, padded(s.H) * G, true);
  if (G == 3) {
    const bool after = flags & kVariant;
    if (after) node.tensors[3] = kNone;
    if (!after) node.tensors[4] = kNone;
    if (after) vector(4, padded(s.H) * 3);
  }
  if (G == 4) vector(3, padded(s.H) * 3, true);
  for (const Matrix& m : matrices(f, i_))
    if (!matrix(m)) return false;
  return true;
}

bool Fitter::run() {
  switch (node.kind) {
    case kDense: return dense();
    case kActivation: return elementwise(1, 0, 3) && (act(0), true);
    case kBinary: return elementwise(2, 0, 1) && (node.params[0] %= 11, true);
    case kWhere: return elementwise(3, 0, 0);
    case kSoftmax: return elementwise(1, 0, 1) && (node.params[0] %= 2, true);
    case kLast: return elementwise(1, 0, 1) && (node.params[0] &= kReverse | kMasked, true);
    case kFlip: return elementwise(1, 0, 0);
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
    case kSelect: return select();
    case kReshape: return reshape();
    case kEmbedding: return embedding();
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
      vector(0, x[1] * padded(x[2]));
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
    case kMatmul: return matmul();
    case kWindow: return window();
    case kPresent:
      node.inputs.clear();
      if (!outputs(1)) return false;
      counts(0, 0, 1);
      node.params[0] %= 16;
      return output(0, {1}, false);
    case kRnn: case kGru: case kLstm: case kRnnFramed: case kGruFramed: case kLstmFramed: return cell();
  }
  return false;
}

}  // namespace

bool fit(File* file, size_t node, Random* random) { return Fitter(file, node, random).run(); }

}  // namespace ut_fuzz
