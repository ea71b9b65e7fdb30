// SPDX-License-Identifier: MIT
// Finds an op, and what checks share but for those of matrices (matrix_checks.cpp).
#include "op.h"

namespace undertow {

const OpType* find_op(uint32_t kind) {
  static constexpr const OpList* kLists[] = {&kFrameOps, &kMoveOps, &kTimeOps, &kCellOps,
#if UT_EXPRESSIONS
                                                  &kExpressionOps, &kAttendOps
#endif
  };
  for (const OpList* list : kLists)
    for (const OpType& type : *list)
      if (type.kind == kind) return &type;
  return nullptr;
}

Check::Check(const File& file, const NodeView& node, const char* op_name, OpPlan* plan, Keep* keep, ut_error* err)
    : file_(file), node_(node), op_name_(op_name), plan_(plan), keep_(keep), err_(err) {
  memset(plan, 0, sizeof *plan);
  plan->inputs = node.inputs;
  plan->n_inputs = node.n_inputs;
  plan->output = node.first_output;
  plan->n_outputs = node.n_outputs;
  plan->n_states = node.n_states;
}

Message Check::refusal(unsigned line) {
  const size_t offset = static_cast<size_t>(reinterpret_cast<const uint8_t*>(node_.inputs) - file_.bytes);
  Message m(err_, UT_E_FORMAT, offset, line);
  m.of_node(op_name_, node_.name) << ": ";
  return m;
}

void Check::refuse(unsigned line) {
  if (status_ == UT_OK) status_ = refusal(line);
}
void Check::refuse_unless(bool truth, unsigned line) {
  if (!truth) refuse(line);
}

#if UT_TEXTS
void Check::fail(const char* what, const char* more, uint64_t got, uint64_t expected, unsigned) {
  if (status_ != UT_OK) return;
  Message m = refusal();
  m << what;
  if (*more) m << more << got << ", expected " << expected;
  status_ = m;
}
#endif

void Check::counts(uint32_t n_inputs, uint32_t n_outputs, uint32_t n_states, uint32_t n_tensors, uint32_t n_params) {
  const struct {
    const char* what;
    uint32_t got, expected;
  } rows[] = {{"inputs", node_.n_inputs, n_inputs},
              {"outputs", node_.n_outputs, n_outputs},
              {"states", node_.n_states, n_states},
              {"tensors", node_.n_tensors, n_tensors},
              {"params", node_.n_params, n_params}};
  for (const auto& row : rows)
    if (row.got != row.expected) fail(row.what, ": ", row.got, row.expected);
}

#if UT_TEXTS
void Check::require(bool truth, const char* what, unsigned) {
  if (!truth) fail(what);
}
#endif

size_t Check::input(uint32_t i, uint32_t dtype) {
  if (i >= node_.n_inputs) {
    fail("an input is missing");
    return 1;
  }
  const ValueView v = file_.value(node_.inputs[i]);
  require(v.dtype == dtype, "an input has the wrong dtype");
  return v.size;
}

size_t Check::output(uint32_t i, uint32_t dtype) {
  if (i >= node_.n_outputs) {
    fail("an output is missing");
    return 1;
  }
  const ValueView v = output_view(i);
  require(v.dtype == dtype, "an output has the wrong dtype");
  return v.size;
}

size_t Check::state(uint32_t i) {
  if (i >= node_.n_states || i >= 2) {
    fail("a state is missing");
    return 1;
  }
  plan_->states[i] = node_.states[i];
  return file_.state(node_.states[i]).size;
}

size_t Check::own_state(uint32_t i) {
  plan_->states[0] = node_.states[0];
  require(node_.states[i] == node_.states[0] + i, "its states do not stand together");
  return file_.state(node_.states[i]).size;
}

uint64_t Check::weight(uint32_t i, uint64_t n, bool optional, uint32_t dtype) {
  if (!has_weight(i)) {
    require(optional, "a weight is missing");
    return 0;
  }
  const TensorView t = file_.tensor(node_.tensors[i]);
  require(t.dtype == dtype, "a weight has the wrong dtype");
  if (n != 0 && t.n != n) fail("a weight has the wrong number of elements", ": ", t.n, n);
  plan_->weights[i] = t.data;
  plan_->read_bytes += t.n * element_bytes(t.dtype);
  return t.n;
}

const void* Check::list(const void* data, size_t bytes) {
  const size_t whole = round_up(bytes, UT_ALIGN);
  plan_->list_bytes += whole;
  if (!keep_ || !keep_->copies || status_ != UT_OK) return data;
  if (static_cast<size_t>(keep_->end - keep_->at) < whole) {
    fail("the file changes while it is loaded");
    return data;
  }
  uint8_t* copy = keep_->at;
  keep_->at += whole;
  memcpy(copy, data, bytes);
  return copy;
}

void Check::gate(uint32_t i) {
  if (node_.n_inputs <= i) return;
  require(node_.n_inputs == i + 1, "has inputs behind its gate");
  require(input(i) == 1, "a gate has more than one element");
  plan_->gate = i;
}

uint32_t Check::param(uint32_t i) {
  if (i >= node_.n_params) {
    fail("a param is missing");
    return 0;
  }
  return node_.params[i];
}

float Check::param_f32(uint32_t i) {
  const uint32_t word = param(i);
  float f;
  memcpy(&f, &word, sizeof f);
  return f;
}

Act Check::act(uint32_t first_param) {
  const Act a = {param(first_param), param_f32(first_param + 1), param_f32(first_param + 2)};
  require(a.kind < kNumActs, "unknown activation code");
  return a;
}

}  // namespace undertow
