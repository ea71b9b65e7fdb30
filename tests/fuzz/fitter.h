// SPDX-License-Identifier: MIT
// One node while it is made to fit: what tow_fit.cpp and tow_fit_cells.cpp share.
#ifndef UNDERTOW_TESTS_FUZZ_FITTER_H_
#define UNDERTOW_TESTS_FUZZ_FITTER_H_

#include <algorithm>

#include "tow_fit.h"

namespace ut_fuzz {

constexpr uint64_t kMostElements = 4096, kMostWeights = 1 << 16;  // of what is made anew

class Fitter {
 public:
  Fitter(File* file, size_t i, Random* random)
      : f(*file), node(file->nodes[i]), i_(i), first_(file->first_output(i)), r(random) {}

  bool run() { return fits() && !too_large_; }

 private:
  bool fits();

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
    too_large_ = too_large_ || n > kMostWeights;
    if (too_large_) return;
    Tensor made;
    if (t != kNone && f.tensors[t].dtype == kFloat32) made.bytes = f.tensors[t].bytes;
    made.bytes.resize(std::min<uint64_t>(made.bytes.size() / 4, n) * 4);
    add_numbers(&made.bytes, kFloat32, n - made.bytes.size() / 4, r);
    set_tensor(slot, std::move(made));
  }
  bool is_plain(const CellFormat& format, size_t n_flags) const;
  bool may_have(uint32_t dtype) const { return dtype != kFixed8 || is_cell(node.kind); }
  bool matrix(const Matrix& m, bool optional = false) {
    const uint32_t t = node.tensors[m.slot];
    if ((t == kNone && optional) || (t != kNone && is_matrix(f.tensors[t], m) && may_have(f.tensors[t].dtype))) return true;
    if (m.M == 0 || m.K == 0 || padded(m.M) * m.K * m.G > kMostWeights) return false;
    const uint32_t dtype =
        t == kNone || f.tensors[t].dtype == kInt32 || !may_have(f.tensors[t].dtype) ? kFloat32 : f.tensors[t].dtype;
    set_tensor(m.slot, make_matrix(dtype, t == kNone ? 0 : f.tensors[t].flags, m, r));
    return true;
  }
  void state(size_t k, uint64_t n) {
    State& s = f.states[node.states[k]];
    if (size_of(s.shape) != n) s.shape = {static_cast<uint32_t>(n)};
    if (s.init == kNone || (f.tensors[s.init].dtype == kFloat32 && f.tensors[s.init].n() == padded(n))) return;
    too_large_ = too_large_ || n > kMostWeights;
    if (too_large_) return;
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
  bool attend();
  bool expression();
  void operands(struct Program* program);
  bool cell();
  void like(size_t slot, const Matrix& m);
  bool framed_sizes(size_t n_flags, size_t n_states);

  File& f;
  Node& node;
  const size_t i_;
  const uint32_t first_;
  Random* r;
  bool too_large_ = false;  // something that would have to be made
};

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_FITTER_H_
