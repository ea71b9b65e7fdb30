// SPDX-License-Identifier: MIT
// Frame ops that compute: they look at one frame at a time.
#include "op.h"

namespace undertow {

namespace {

// --- dense: sizes[0] K, sizes[1] panels; weights W, b; acts[0] -------------------------------------------------------

ut_status check_dense(Check& c) {
  c.counts(1, 1, 0, 2, 3);
  OpPlan* p = c.plan();
  const size_t K = c.input(0), M = c.output(0);
  p->sizes[0] = K;
  p->sizes[1] = padded(M) / kPanel;
  c.matrix(0, M, K, 1);
  c.weight(1, padded(M), true);
  p->acts[0] = c.act(0);
  p->scratch_floats_per_frame = quantized_floats(p->precisions[0], K);
  return c.status();
}

void run_dense(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const KernelTable& k = *b.model->kernels;
  const size_t rows = b.rows(y), width = padded(b.value(y).width);
  const Panels mine = b.mine(op.sizes[1]);
  // Quantised frames take scratch, which is sized for a chunk of them.
  const size_t most = op.scratch_floats_per_frame ? b.chunk : rows;
  for (size_t t = 0; t < rows; t += most)
    k.dense[op.precisions[0]][1]({b.row(y) + t * width, width, b.row(x) + t * b.stride(x), b.stride(x), op.weights[0],
                                  static_cast<const float*>(op.weights[1]), mine.end, op.sizes[0], b.scratch, mine.first},
                                 rows - t < most ? rows - t : most);
  if (op.acts[0].kind != kActIdentity) {
    // All rows at once where they are of one piece.
    const size_t n = b.team ? rows : 1, n_floats = b.team ? mine.n() * kPanel : rows * width;
    for (size_t t = 0; t < n; ++t) {
      float* some = b.row(y) + t * width + mine.first * kPanel;
      k.activation(some, some, n_floats, op.acts[0]);
    }
  }
  b.meet();
}

// --- activation: acts[0] ---------------------------------------------------------------------------------------------

ut_status check_activation(Check& c) {
  c.counts(1, 1, 0, 0, 3);
  c.require(c.input(0) == c.output(0), "input and output differ in size");
  c.plan()->acts[0] = c.act(0);
  return c.status();
}

void run_activation(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  b.model->kernels->activation(b.row(y), b.row(x), b.rows(y) * padded(b.value(y).width), op.acts[0]);
}

// --- add sub mul div max min: flags which ----------------------------------------------------------------------------

ut_status check_binary(Check& c) {
  c.counts(2, 1, 0, 0, 1);
  const size_t n = c.output(0);
  c.require(c.input(0) == n && c.input(1) == n, "inputs and output differ in size");
  c.plan()->flags = c.param(0);
  c.require(c.plan()->flags < kNumBinaries, "unknown binary operation");
  return c.status();
}

void run_binary(const OpPlan& op, const Block& b) {
  const uint32_t l = op.inputs[0], r = op.inputs[1], y = op.output;
  const auto kernel = b.model->kernels->binary[op.flags];
  const size_t rows = b.rows(y), width = padded(b.value(y).width);
  if (b.stride(l) == width && b.stride(r) == width) {
    kernel(b.row(y), b.row(l), b.row(r), rows * width);
    return;
  }
  for (size_t t = 0; t < rows; ++t)
    kernel(b.row(y) + t * width, b.row(l) + t * b.stride(l), b.row(r) + t * b.stride(r), width);
}

// --- affine: weights scale, shift ------------------------------------------------------------------------------------

ut_status check_affine(Check& c) {
  c.counts(1, 1, 0, 2, 0);
  const size_t n = c.output(0);
  c.require(c.input(0) == n, "input and output differ in size");
  c.weight(0, padded(n));
  c.weight(1, padded(n));
  return c.status();
}

void run_affine(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const size_t width = padded(b.value(y).width);
  for (size_t t = 0; t < b.rows(y); ++t)
    b.model->kernels->affine(b.row(y) + t * width, b.row(x) + t * b.stride(x), static_cast<const float*>(op.weights[0]),
                             static_cast<const float*>(op.weights[1]), width);
}

// --- softmax, log_softmax over the last axis: sizes[0] its length, flags 1 log ----------------------------------------

size_t last_axis(const ValueView& v) { return v.n_dims == 0 ? 1 : v.dims[v.n_dims - 1]; }

ut_status check_softmax(Check& c) {
  c.counts(1, 1, 0, 0, 1);
  c.require(c.input(0) == c.output(0), "input and output differ in size");
  if (c.status() == UT_OK) c.plan()->sizes[0] = last_axis(c.output_view(0));
  c.plan()->flags = c.param(0);
  c.require(c.plan()->flags < 2, "unknown kind of softmax");
  return c.status();
}

void run_softmax(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const size_t n = op.sizes[0];
  for (size_t t = 0; t < b.rows(y); ++t)
    for (size_t j = 0; j < b.value(y).width; j += n)
      b.model->kernels->softmax(b.row(y) + t * b.stride(y) + j, b.row(x) + t * b.stride(x) + j, n, op.flags != 0);
}

// --- layer_norm over the last axis: sizes[0] its length, weights scale, shift, number eps -----------------------------

ut_status check_layer_norm(Check& c) {
  c.counts(1, 1, 0, 2, 1);
  c.require(c.input(0) == c.output(0), "input and output differ in size");
  if (c.status() != UT_OK) return c.status();
  const size_t n = last_axis(c.output_view(0));
  c.plan()->sizes[0] = n;
  c.weight(0, padded(n), true);
  c.weight(1, padded(n), true);
  c.plan()->number = c.param_f32(0);
  c.require(c.plan()->number >= 0.0f, "eps is negative or not a number");
  return c.status();
}

void run_layer_norm(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const size_t n = op.sizes[0];
  for (size_t t = 0; t < b.rows(y); ++t)
    for (size_t j = 0; j < b.value(y).width; j += n)
      b.model->kernels->layer_norm(b.row(y) + t * b.stride(y) + j, b.row(x) + t * b.stride(x) + j,
                                   static_cast<const float*>(op.weights[0]), static_cast<const float*>(op.weights[1]),
                                   n, op.number);
}

}  // namespace

const OpType kDense = {1, "dense", check_dense, run_dense, true};
const OpType kActivation = {2, "activation", check_activation, run_activation, true};
const OpType kBinary = {3, "binary", check_binary, run_binary, true};
const OpType kAffine = {4, "affine", check_affine, run_affine, true};
const OpType kSoftmax = {5, "softmax", check_softmax, run_softmax, true};
const OpType kLayerNorm = {6, "layer_norm", check_layer_norm, run_layer_norm, true};

}  // namespace undertow
