// SPDX-License-Identifier: MIT
// Expressions over the elements of a space (FORMAT.md, "Expressions"): what small ops between layers compute, in one walk, and
// with states of its own what a recurrence without matrices does in a timestep.
#include "op.h"

namespace undertow {

namespace {

// Floats of a slot: tiles of all slots stay in the first-level cache.
constexpr size_t kSlotFloats = UT_SMALL ? kPanel : 1024, kAllSlotsFloats = UT_SMALL ? kPanel : 6144;

// Sizes of an expression's plan.
enum ExpressionSize { kRows, kWidth };

const ExpressionHead& head_of(const OpPlan& op) { return *static_cast<const ExpressionHead*>(op.weights[0]); }
const Operand* operands_of(const OpPlan& op) { return reinterpret_cast<const Operand*>(&head_of(op) + 1); }
const Instruction* instructions_of(const OpPlan& op) { return reinterpret_cast<const Instruction*>(operands_of(op) + head_of(op).n_operands); }

// What an operand is of, and how it may be used.
enum Use : uint32_t { kInput, kState, kWhole, kOverLast, kOverRows };

class CheckExpression {
 public:
  explicit CheckExpression(Check& c) : c_(c), op_(*c.plan()), node_(c.node()) {}

  ut_status run() {
    constexpr uint32_t kHeadWords = sizeof(ExpressionHead) / 4;
    c_.require(c_.version() >= kFirstWithExpressions && node_.n_params >= kHeadWords && node_.n_tensors == 0,
               "is not of this version of the format, or has no space");
    if (c_.status() != UT_OK) return c_.status();
    op_.weights[0] = node_.params;
    const ExpressionHead& head = head_of(op_);
    const uint32_t n_frames = node_.n_inputs + node_.n_states + node_.n_outputs, n_records = head.n_operands + head.n_instructions;
    c_.require(head.n_slots <= kMaxSlots && head.n_operands - 1 < kMaxOperands && head.n_instructions - 1 < kMaxInstructions &&
                   n_frames <= kMaxOperands && node_.n_params == kHeadWords + 6 * n_records,
               "has too many slots, operands, instructions or frames, or none");
    uint64_t n = 1;
    for (const uint32_t size : head.sizes) n = size != 0 && n != 0 && size <= kMaxFrame && n * size <= kMaxFrame ? n * size : 0;
    c_.require(n != 0, "its space is empty or too large");
    n_elements_ = static_cast<uint32_t>(n);
    for (uint32_t i = 0; i < node_.n_inputs; ++i) c_.input(i);
    for (uint32_t i = 0; i < node_.n_outputs; ++i) c_.output(i);
    for (uint32_t i = 0; i < head.n_operands && c_.status() == UT_OK; ++i) c_.require(operand_fits(i), "an operand leaves its frame, or has another form than it must");
    if (c_.status() == UT_OK) check_gate();
    for (uint32_t i = 0; i < head.n_instructions && c_.status() == UT_OK; ++i)
      c_.require(instruction_fits(instructions_of(op_)[i]), "an instruction is not known, reads what was not written, or writes to another form");
    for (uint32_t i = 0; i < head.n_operands && c_.status() == UT_OK; ++i)
      c_.require(use_of(i) < kWhole || written_[i], "an output is not written");
    if (c_.status() == UT_OK) lay_out();
    return c_.status();
  }

 private:
  uint32_t first_output() const { return node_.n_inputs + node_.n_states; }
  const Operand& operand(uint32_t i) const { return operands_of(op_)[i]; }

  // Whether strides are those of the space with rows on rows, but for one axis without a stride (kSpaceAxes: none).
  bool is_dense(const Operand& p, size_t without) const {
    uint32_t stride = 1;
    for (size_t a = kSpaceAxes; a-- > 0;) {
      const uint32_t size = head_of(op_).sizes[a];
      if (a == without ? p.strides[a] != 0 : size != 1 && p.strides[a] != stride) return false;
      if (a != without) stride *= size;
    }
    return true;
  }
  // The axis that an operand of this use lacks.
  static size_t lacks(uint32_t use) { return use == kOverLast ? kSpaceAxes - 1 : use == kOverRows ? kSpaceAxes - 2 : kSpaceAxes; }
  uint32_t use_of(uint32_t i) const {
    const Operand& p = operand(i);
    if (p.base < node_.n_inputs) return kInput;
    if (p.base < first_output()) return kState;
    return is_dense(p, kSpaceAxes) ? kWhole : is_dense(p, lacks(kOverLast)) ? kOverLast : kOverRows;
  }

  bool operand_fits(uint32_t i) {
    const Operand& p = operand(i);
    const uint32_t* sizes = head_of(op_).sizes;
    if (p.base >= first_output() + node_.n_outputs || p.strides[kSpaceAxes - 1] > 1) return false;
    if ((p.strides[0] | p.strides[1] | p.strides[2]) >> 31 != 0) return false;  // negative
    uint64_t last = p.offset;
    for (size_t a = 0; a < kSpaceAxes; ++a) last += uint64_t{sizes[a] - 1} * p.strides[a];
    const uint32_t use = use_of(i);
    bool fits = true, other = false;
    for (uint32_t k = 0; k < i; ++k) {
      const Operand& q = operand(k);
      const uint32_t apart = p.offset < q.offset ? q.offset - p.offset : p.offset - q.offset;
      if (q.base == p.base) other = true, fits = fits && (apart == 0 || apart >= n_elements_);
    }
    if (use == kInput) return last < c_.input(p.base);
    if (use == kState) return fits && is_dense(p, kSpaceAxes) && last < c_.own_state(p.base - node_.n_inputs);
    const size_t axis = lacks(use);
    const uint32_t n = axis == kSpaceAxes ? n_elements_ : n_elements_ / sizes[axis];
    return !other && p.offset == 0 && is_dense(p, axis) && n == c_.output(p.base - first_output());
  }

  // Every frame has an operand but the gate, the last input.
  void check_gate() {
    uint32_t lacking = 0, last = 0;
    for (uint32_t base = 0; base < first_output() + node_.n_outputs; ++base) {
      bool has = false;
      for (uint32_t i = 0; i < head_of(op_).n_operands; ++i) has = has || operand(i).base == base;
      if (!has) ++lacking, last = base;
    }
    if (lacking == 1 && last + 1 == node_.n_inputs && last != 0 && node_.n_states != 0) return c_.gate(last);
    c_.require(lacking == 0, "a frame has no operand");
  }

  bool instruction_fits(const Instruction& s) {
    const uint32_t n = s.code < kNumCodes ? n_arguments(s.code) : 0, n_operands = head_of(op_).n_operands;
    const uint32_t n_all = n_operands + head_of(op_).n_slots;
    if (n == 0 || s.y >= n_all || (is_activation(s.code) && s.code - kFirstActivation >= kNumActs)) return false;
    for (uint32_t k = 0; k < n; ++k) {
      const uint32_t x = s.x[k];
      if (x >= n_all) return false;
      const uint32_t use = x < n_operands ? use_of(x) : uint32_t{kWhole};
      if (use > kWhole || (use == kWhole && !written_[x])) return false;
    }
    const uint32_t wanted = reduces_last(s.code) ? kOverLast : reduces_rows(s.code) ? kOverRows : kWhole;
    bool fits = wanted == kWhole;
    if (s.y < n_operands) {
      const uint32_t use = use_of(s.y);
      fits = use == kState ? wanted == kWhole
                           : use >= kWhole && is_dense(operand(s.y), lacks(wanted)) && (wanted == kWhole || !written_[s.y]);
    }
    reduces_last_ = reduces_last_ || wanted == kOverLast;
    written_[s.y] = true;
    return fits;
  }

  void lay_out() {
    const ExpressionHead& head = head_of(op_);
    const size_t width = head.sizes[3], n_slots = head.n_slots ? head.n_slots : 1;
    size_t most = kAllSlotsFloats / n_slots / kPanel * kPanel;
    most = most < kPanel ? kPanel : most > kSlotFloats ? kSlotFloats : most;
    op_.sizes[kWidth] = width <= most || reduces_last_ ? width : most;
    const size_t pitch = padded(op_.sizes[kWidth]), rows = most / pitch;
    op_.sizes[kRows] = rows < 1 ? 1 : rows < head.sizes[2] ? rows : head.sizes[2];
    op_.scratch_floats = head.n_slots * op_.sizes[kRows] * pitch;
    op_.multiply_adds = uint64_t{n_elements_} * head.n_instructions;
    op_.forgets = node_.n_states == 0;
  }

  Check& c_;
  OpPlan& op_;
  const NodeView& node_;
  uint32_t n_elements_ = 0;
  bool written_[kMaxOperands + kMaxSlots] = {};
  bool reduces_last_ = false;
};

ut_status check_expression(Check& c) { return CheckExpression(c).run(); }

void run_expression(const OpPlan& op, const Block& b) {
  float* bases[kMaxOperands];
  const ExpressionArgs args = {&head_of(op), operands_of(op), instructions_of(op), op.sizes[kRows], op.sizes[kWidth], bases, b.scratch};
  const auto kernel = b.model->kernels->frames->expression;
  const uint32_t n_inputs = op.n_inputs - (op.gate ? 1 : 0);
  float** const states = bases + op.n_inputs;
  float** const outputs = states + op.n_states;
  const size_t rows = op.forgets && op.n_outputs != 0 ? b.rows(op.output) : b.n;
  for (size_t t = 0; t < rows; ++t) {
    const size_t k = b.abreast == 1 ? t : t % b.abreast;
    if (b.lengths && b.abreast != 1 && !op.forgets && t / b.abreast >= b.lengths[k]) continue;
    for (uint32_t i = 0; i < op.n_outputs; ++i) outputs[i] = b.row(op.output + i, t);
    if (op.gate && !b.open(op, t)) {
      for (uint32_t i = 0; i < op.n_outputs; ++i) memset(outputs[i], 0, b.stride(op.output + i) * sizeof(float));
      continue;
    }
    for (uint32_t i = 0; i < n_inputs; ++i) bases[i] = b.row(op.inputs[i], t);
    for (uint32_t i = 0; i < op.n_states; ++i) states[i] = b.states ? b.state_at(op.states[0] + i, k) : b.state_at(op.states[0] + i);
    kernel(args);
  }
}

constexpr OpType kOps[] = {
    {28, "expression", check_expression, run_expression, 0},
};

}  // namespace

const OpList kExpressionOps = kOps;

}  // namespace undertow
