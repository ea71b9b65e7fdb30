// SPDX-License-Identifier: MIT
// Expressions made to fit: operands to what the node has, instructions to what was written before them.
#include "fitter.h"
#include "tow_program.h"

namespace ut_fuzz {

namespace {

// Which operands and slots may be read, while steps follow each other.
class Flow {
 public:
  Flow(Program* program, uint32_t n_inputs, uint32_t n_states, Random* random)
      : p_(*program), first_state_(n_inputs), first_output_(n_inputs + n_states), r_(random) {
    written_.resize(p_.operands.size() + p_.n_slots);
  }

  // Steps that cannot be mended go.
  void mend() {
    std::vector<ProgramStep> kept;
    for (ProgramStep s : p_.steps)
      if (fits(&s)) kept.push_back(s);
    for (uint32_t k = 0; k < p_.operands.size(); ++k) {
      if (!is_output(k) || written_[k]) continue;
      const uint32_t x = any(false);
      if (x == kNone) continue;
      const uint32_t code = p_.is_dense(p_.operands[k], kNoAxis) ? 18 : p_.is_dense(p_.operands[k], kLastAxis) ? 64 : 72;
      kept.push_back({code, k, {x}});
    }
    if (kept.size() > kMostInstructions) kept.erase(kept.begin(), kept.end() - kMostInstructions);
    p_.steps = kept;
  }
  bool all_written() const {
    for (uint32_t k = 0; k < p_.operands.size(); ++k)
      if (is_output(k) && !written_[k]) return false;
    return true;
  }

 private:
  bool is_output(uint32_t k) const { return k < p_.operands.size() && p_.operands[k].base >= first_output_; }
  bool is_slot(uint32_t k) const { return k >= p_.operands.size(); }
  bool readable(uint32_t k) const {
    if (k >= written_.size()) return false;
    if (is_slot(k)) return written_[k];
    return !is_output(k) || (written_[k] && p_.is_dense(p_.operands[k], kNoAxis));
  }
  bool takes(uint32_t k, uint32_t code) const {
    const size_t axis = reduced_axis(code);
    if (k >= written_.size()) return false;
    if (is_slot(k)) return axis == kNoAxis;
    if (is_output(k)) return p_.is_dense(p_.operands[k], axis) && (axis == kNoAxis || !written_[k]);
    return p_.operands[k].base >= first_state_ && axis == kNoAxis;
  }
  // Some that may be read, or written by no reduction.
  uint32_t any(bool to_write) {
    const uint32_t n = static_cast<uint32_t>(written_.size()), start = static_cast<uint32_t>(r_->below(n));
    for (uint32_t k = 0; k < n; ++k) {
      const uint32_t at = (start + k) % n;
      if (to_write ? takes(at, 0) : readable(at)) return at;
    }
    return kNone;
  }
  bool fits(ProgramStep* s) {
    if (n_arguments(s->code) == 0) s->code = any_code(r_);
    for (uint32_t k = 0; k < n_arguments(s->code); ++k)
      if (!readable(s->x[k]) && (s->x[k] = any(false)) == kNone) return false;
    // Where an output is what is left of an axis, what writes it reduces that axis; nothing else is reduced.
    if (!takes(s->y, s->code)) {
      const bool reduced = is_output(s->y) && !p_.is_dense(p_.operands[s->y], kNoAxis);
      const uint32_t n = n_arguments(s->code);
      s->code = reduced ? (p_.is_dense(p_.operands[s->y], kLastAxis) ? 64 : 72) + static_cast<uint32_t>(r_->below(4))
                : reduced_axis(s->code) == kNoAxis ? s->code : n == 1 ? 18 : n == 2 ? 2 : 16;
      if (!takes(s->y, s->code)) {
        s->code = reduced_axis(s->code) == kNoAxis ? s->code : 18;
        s->y = any(true);
      }
    }
    if (s->y == kNone) return false;
    written_[s->y] = true;
    return true;
  }

  Program& p_;
  const uint32_t first_state_, first_output_;
  Random* r_;
  std::vector<bool> written_;
};

}  // namespace

bool Fitter::expression() {
  if (!inputs(node.inputs.size()) || node.inputs.size() + node.states.size() > kMostOperands) return false;
  std::vector<uint64_t> sizes;
  for (size_t k = 0; k < node.inputs.size(); ++k) sizes.push_back(size(k));
  node.tensors.clear();
  if (node.params.empty()) {
    if (sizes.empty() || one_in(r, 4)) states(1 + r->below(2));
    const Program made = random_program(sizes, static_cast<uint32_t>(node.states.size()), r);
    node.params = params_of(made);
    set_outputs(&f, i_, made.operands.back().base + 1 - static_cast<uint32_t>(sizes.size() + node.states.size()));
  }
  Program p = program_of(node.params);
  for (uint32_t& n : p.sizes)
    if (n == 0) n = 1;
  while (p.n_elements() > kMaxFrame) *std::max_element(p.sizes.begin(), p.sizes.end()) = small();
  p.n_slots = std::min(p.n_slots, kMostSlots);
  if (p.operands.size() > kMostOperands) p.operands.resize(kMostOperands);
  if (p.steps.size() > kMostInstructions) p.steps.resize(kMostInstructions);
  const uint32_t n_inputs = static_cast<uint32_t>(sizes.size()), n_states = static_cast<uint32_t>(node.states.size());
  if (n_inputs + n_states == 0 || n_inputs + n_states + node.n_outputs > kMostOperands) return false;
  operands(&p);
  if (p.operands.size() > kMostOperands) return false;
  Flow flow(&p, n_inputs, n_states, r);
  flow.mend();
  node.params = params_of(p);
  bool all = flow.all_written() && !p.steps.empty();
  for (const ProgramOperand& o : p.operands) {
    if (o.base < n_inputs + n_states) continue;
    const uint64_t n = p.is_dense(o, kNoAxis)     ? p.n_elements()
                       : p.is_dense(o, kLastAxis) ? p.n_elements() / p.sizes[kLastAxis]
                                                  : p.n_elements() / p.sizes[kRowsAxis];
    const uint32_t k = o.base - n_inputs - n_states;
    const bool is_so = output(k).dtype == kFloat32 && size_of(output(k).shape) == n;  // of whatever size
    all = (is_so || output(k, {static_cast<uint32_t>(n)}, false)) && all;
  }
  return all;
}

// What each operand is of stays; whatever has none gets one, but a gate.
void Fitter::operands(Program* p) {
  const uint32_t n_inputs = static_cast<uint32_t>(node.inputs.size()), n_states = static_cast<uint32_t>(node.states.size());
  const uint32_t n_bases = n_inputs + n_states + node.n_outputs;
  const uint64_t n = p->n_elements();
  std::vector<bool> had(n_bases);
  std::vector<uint64_t> needed(n_states);
  std::vector<ProgramOperand> before;
  const auto mend = [&](ProgramOperand* o) {
    if (o->base >= n_bases) o->base %= n_bases;
    if (o->base >= n_inputs + n_states && had[o->base]) o->base = static_cast<uint32_t>(r->below(n_inputs + n_states));
    had[o->base] = true;
    for (int32_t& stride : o->strides)
      if (stride < 0) stride = 0;
    o->strides[kLastAxis] = o->strides[kLastAxis] != 0;
    if (o->base < n_inputs) {
      const int64_t size_of_input = static_cast<int64_t>(size(o->base));
      if (p->last(*o) >= size_of_input) o->offset = 0;
      for (size_t a = 0; a < kAxes && p->last(*o) >= size_of_input; ++a) o->strides[a] = 0;
    } else if (o->base < n_inputs + n_states) {
      if (!p->is_dense(*o, kNoAxis)) o->strides = p->dense(kNoAxis);
      if (o->offset + n > kMaxFrame) o->offset = 0;
      for (const ProgramOperand& other : before)
        if (other.base == o->base && o->offset < other.offset + n && other.offset < o->offset + n) o->offset = other.offset;
      uint64_t& most = needed[o->base - n_inputs];
      most = std::max(most, o->offset + n);
    } else {
      o->offset = 0;
      if (!p->is_dense(*o, kNoAxis) && !p->is_dense(*o, kLastAxis) && !p->is_dense(*o, kRowsAxis))
        o->strides = p->dense(o->strides[kLastAxis] == 0 ? kLastAxis : one_in(r, 2) ? kRowsAxis : kNoAxis);
    }
    before.push_back(*o);
  };
  for (ProgramOperand& o : p->operands) mend(&o);
  for (uint32_t base = 0; base < n_bases; ++base) {
    const bool is_gate = base + 1 == n_inputs && base != 0 && n_states != 0 && size(base) == 1;
    if (had[base] || is_gate) continue;
    ProgramOperand o;
    o.base = base;
    if (base >= n_inputs) o.strides = p->dense(kNoAxis);
    mend(&o);
    p->add(o);
  }
  for (uint32_t k = 0; k < n_states; ++k)
    if (needed[k] > size_of(f.states[node.states[k]].shape)) state(k, needed[k]);
    else state(k, size_of(f.states[node.states[k]].shape));
}

}  // namespace ut_fuzz
