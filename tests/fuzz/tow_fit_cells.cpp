// SPDX-License-Identifier: MIT
#include "fitter.h"

namespace ut_fuzz {

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

// Whether it is a cell that may be fixed8.
bool Fitter::is_plain(const CellFormat& format, size_t n_flags) const {
  static const uint32_t kTanh = 2, kSigmoid = 3;
  bool plain = node.params[n_flags + 1] == 0;
  for (uint32_t k = 0; k < format.n_acts; ++k)
    plain = plain && node.params[3 * k] == (k == 0 && format.n_acts != 1 ? kSigmoid : kTanh);
  if (format.kind != kLstm) return plain;
  return plain && !(node.params[n_flags] & kVariant) && node.tensors[3] == kNone && node.tensors[4] == kNone;
}

bool Fitter::cell() {
  const uint32_t kind = node.kind;
  const CellFormat& format = *cell_format(kind);
  const uint32_t G = format.n_gates, acts = format.n_acts;
  const bool gru = format.kind == kGru, lstm = format.kind == kLstm;
  const size_t n_states = format.n_states, n_flags = 3 * acts, n_params = n_flags + (is_framed(kind) ? 3 : 2);
  const bool starts = is_framed(kind) && node.states.empty() && node.inputs.size() == 1 + n_states;
  if (starts ? !inputs(1 + n_states) : !gated(!is_framed(kind) || !node.states.empty())) return false;
  if (node.params.size() != n_params) {
    static const uint32_t kDefaults[] = {3, 2, 2};
    node.params.assign(n_params, 0);
    for (uint32_t k = 0; k < acts; ++k) node.params[3 * k] = kDefaults[acts == 1 ? 1 : k];
    if (gru && one_in(r, 2)) node.params[n_flags] = kVariant;
  }
  for (uint32_t k = 0; k < acts; ++k) act(3 * k);
  uint32_t& flags = node.params[n_flags];
  flags &= kReverse | kMasked | (gru || lstm ? kVariant : 0) | (is_framed(kind) ? kSteps : 0);
  const uint32_t clip = node.params[n_flags + 1];
  if (clip < 0x00800000u || clip > 0x7f800000u) node.params[n_flags + 1] = 0;
  if (is_framed(kind) ? !framed_sizes(n_flags, n_states) : (states(n_states), false)) return false;
  if (!node.states.empty()) states(n_states);
  if (node.inputs.size() == 2 && !node.states.empty() && !(flags & kSteps)) flags &= ~kReverse;  // there is a gate
  counts(node.states.size(), format.n_tensors, n_params);
  outputs(std::min<size_t>(std::max<uint32_t>(node.n_outputs, 1), n_states));

  CellSizes s = sizes_of_cell(f, i_);
  const bool may_differ = lstm && node.tensors[4] != kNone;
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
  if (gru) {
    const bool after = flags & kVariant;
    if (after) node.tensors[3] = kNone;
    if (!after) node.tensors[4] = kNone;
    if (after) vector(4, padded(s.H) * 3);
  }
  if (lstm) vector(3, padded(s.H) * 3, true);
  const bool fixed = is_plain(format, n_flags) && node.tensors[0] != kNone && f.tensors[node.tensors[0]].dtype == kFixed8;
  for (const Matrix& m : matrices(f, i_)) {
    if (!matrix(m)) return false;
    const bool is_fixed = f.tensors[node.tensors[m.slot]].dtype == kFixed8;
    if (fixed != is_fixed) set_tensor(m.slot, make_matrix(fixed ? kFixed8 : kInt8, 0, m, r));
    if (gru && m.slot == 3) like(2, m);
  }
  return true;
}

// Gives a matrix the precision and the factors of another that has as many columns.
void Fitter::like(size_t slot, const Matrix& m) {
  const Tensor other = f.tensors[node.tensors[slot]];
  const Tensor& old = f.tensors[node.tensors[m.slot]];
  if (old.dtype != other.dtype || old.flags != other.flags) set_tensor(m.slot, make_matrix(other.dtype, other.flags, m, r));
  Tensor& t = f.tensors[node.tensors[m.slot]];
  if (t.flags != 0) std::copy_n(other.bytes.begin(), padded(m.K) * 4, t.bytes.begin());
}

}  // namespace ut_fuzz
