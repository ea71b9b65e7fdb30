// SPDX-License-Identifier: MIT
// The table of ops, and the checks that they share.
#include <string.h>

#include "op.h"

namespace undertow {

const OpType* find_op(uint32_t kind) {
  static constexpr const OpType* kTable[] = {
      &kDense,  &kActivation, &kBinary,   &kAffine, &kSoftmax, &kLayerNorm, &kConcat,    &kSelect, &kReshape,
      &kEmbedding, &kConstant, &kRnn,     &kGru,    &kLstm,    &kStateRead, &kStateWrite, &kLast,   &kFlip,
      &kRnnFramed, &kGruFramed, &kLstmFramed, &kWindow, &kPresent, &kDepthwise, &kReduce, &kMatmul, &kWhere,
  };
  for (const OpType* type : kTable)
    if (type->kind == kind) return type;
  return nullptr;
}

namespace {

// The precision that a tensor's dtype stands for; kNumPrecisions for int32.
uint32_t precision_of(uint32_t dtype) {
  return dtype == kTensorFloat32 ? kFloat32 : dtype == kTensorInt32 ? kNumPrecisions : dtype - kTensorFloat16 + kFloat16;
}

}  // namespace

Check::Check(const File& file, const NodeView& node, const char* op_name, OpPlan* plan, ut_error* err)
    : file_(file), node_(node), op_name_(op_name), plan_(plan), err_(err) {
  memset(plan, 0, sizeof *plan);
  plan->inputs = node.inputs;
  plan->n_inputs = node.n_inputs;
  plan->output = node.first_output;
  plan->n_outputs = node.n_outputs;
  plan->n_states = node.n_states;
}

void Check::fail(const char* what, const char* more, uint64_t got, uint64_t expected) {
  if (status_ != UT_OK) return;
  const size_t offset = static_cast<size_t>(reinterpret_cast<const uint8_t*>(node_.inputs) - file_.bytes);
  Message m(err_, UT_E_FORMAT, offset);
  m << op_name_ << " " << node_.name << ": " << what;
  if (*more) m << more << got << ", expected " << expected;
  status_ = m;
}

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

void Check::require(bool truth, const char* what) {
  if (!truth) fail(what);
}

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

uint64_t Check::weight(uint32_t i, uint64_t n, bool optional, uint32_t dtype) {
  if (!has_weight(i)) {
    require(optional, "a weight is missing");
    return 0;
  }
  const TensorView t = file_.tensor(node_.tensors[i]);
  require(t.dtype == dtype, "a weight has the wrong dtype");
  if (n != 0 && t.n != n) fail("a weight has the wrong number of elements", ": ", t.n, n);
  plan_->weights[i] = t.data;
  return t.n;
}

void Check::matrix(uint32_t i, size_t M, size_t K, size_t G, bool optional) {
  if (!has_weight(i)) {
    require(optional, "a weight is missing");
    return;
  }
  const TensorView t = file_.tensor(node_.tensors[i]);
  const uint32_t precision = precision_of(t.dtype);
  require(precision < kNumPrecisions, "a matrix has the wrong dtype");
  const bool bounded = quantized_floats(precision, 1) != 0 || precision >= kNumTablePrecisions;
  require(!bounded || K <= kMaxIntegerColumns, "a matrix of integers, or a sparse one, has more than 131072 columns");
  if (status_ != UT_OK) return;
  if (precision >= kNumTablePrecisions) {
    sparse(t, precision, M, K, G);
  } else {
    const uint64_t expected = uint64_t{padded(M) / kPanel} * panel_bytes(precision, K, G) / element_bytes(t.dtype);
    if (t.n != expected) fail("a weight has the wrong number of elements", ": ", t.n, expected);
  }
  plan_->weights[i] = t.data;
  plan_->precisions[i] = static_cast<uint8_t>(precision);
  plan_->matrix_bytes += t.n * element_bytes(t.dtype);
  if (precision >= kNumTablePrecisions) plan_->whole_matrices = true;
}

// Every number that a kernel uses to find its way: starts, columns, and the size that follows from them.
void Check::sparse(const TensorView& t, uint32_t precision, uint64_t M, uint64_t K, uint64_t G) {
  const uint64_t n_lists = (M + kPanel - 1) / kPanel * G, n_columns = (K + kSparseBlock - 1) / kSparseBlock;
  if (t.n < sparse_starts_bytes(n_lists))
    return fail("a sparse weight is too short for its lists", ": ", t.n, sparse_starts_bytes(n_lists));
  const uint32_t* words = static_cast<const uint32_t*>(t.data);
  const uint32_t flags = words[0], *starts = words + 1;
  require((flags & ~kSparseDiagonal) == 0, "a sparse weight has unknown flags");
  require(flags == 0 || M == K, "a sparse weight that is not square has a diagonal");
  require(starts[0] == 0, "the first list of a sparse weight does not start at 0");
  for (uint64_t i = 0; i < n_lists && status_ == UT_OK; ++i)
    require(starts[i] <= starts[i + 1] && starts[i + 1] - starts[i] <= n_columns,
            "a list of a sparse weight is longer than a row, or its lists are out of order");
  if (status_ != UT_OK) return;
  const SparseLayout layout = sparse_layout(precision, n_lists, starts[n_lists], flags);
  if (t.n != layout.bytes) return fail("a sparse weight has the wrong number of bytes", ": ", t.n, layout.bytes);
  const uint16_t* columns = reinterpret_cast<const uint16_t*>(words + layout.columns / 4);
  for (uint64_t i = 0; i < n_lists && status_ == UT_OK; ++i)
    for (uint64_t b = starts[i]; b < starts[i + 1]; ++b)
      for (uint64_t half = 0; half < 2; ++half)
        require(columns[2 * b + half] < n_columns && (b == starts[i] || columns[2 * b + half] > columns[2 * b - 2 + half]),
                "columns of a sparse weight are out of order, or beyond its last");
}

size_t Check::table(uint32_t i, size_t width) {
  if (!has_weight(i)) {
    fail("a weight is missing");
    return 1;
  }
  const TensorView t = file_.tensor(node_.tensors[i]);
  const uint32_t precision = precision_of(t.dtype);
  require(precision < kNumTablePrecisions, "a table has the wrong dtype");
  if (status_ != UT_OK) return 1;
  const uint64_t bytes = t.n * element_bytes(t.dtype), row = table_row_bytes(precision, width);
  require(bytes != 0 && bytes % row == 0 && bytes / row <= kMaxFrame, "a table is not a whole number of rows, at most 2^24");
  plan_->weights[i] = t.data;
  plan_->precisions[i] = static_cast<uint8_t>(precision);
  return static_cast<size_t>(bytes / row);
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
