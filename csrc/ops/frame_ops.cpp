// SPDX-License-Identifier: MIT
// Frame ops that compute: they look at one frame at a time.
#include "op.h"

namespace undertow {

namespace {

size_t axis(const ValueView& v, uint32_t i) { return i < v.n_dims ? v.dims[i] : 1; }
size_t last_axis(const ValueView& v) { return v.n_dims == 0 ? 1 : v.dims[v.n_dims - 1]; }

bool same_axes(const ValueView& a, const ValueView& b, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i)
    if (a.dims[i] != b.dims[i]) return false;
  return true;
}

// --- dense: sizes K, panels, rows in a frame, M; weights W, b; acts[0] -------------------------------------------------

// Rows of frames of several that take scratch at once: a multiple of every tile's (kernels/matvec-inl.h).
constexpr size_t kRowsAtOnce = 48;
// Rows of a whole sequence between two looks whether it shall go on.
constexpr size_t kRowsAtATime = 48 * 24;

size_t rows_in_scratch(const OpPlan& op) { return op.sizes[2] < kRowsAtOnce ? op.sizes[2] : kRowsAtOnce; }

// OpPlan::step of a small one: one panel of float32 weights.
[[maybe_unused]] void step_small_dense(const OpPlan& op, const Block& b) {
  float* y = b.values + op.at.y;
  b.model->kernels->tiny_of(op.sizes[3]).dense(y, b.values + op.at.x, static_cast<const float*>(op.weights[0]),
                                static_cast<const float*>(op.weights[1]), op.sizes[0], op.sizes[3]);
  if (op.acts[0].kind != kActIdentity) b.model->kernels->frames->activation(y, y, kPanel, op.acts[0]);
}

ut_status check_dense(Check& c) {
  c.counts(1, 1, 0, 2, 3);
  if (c.status() != UT_OK) return c.status();
  OpPlan* p = c.plan();
  const ValueView x = c.input_view(0), y = c.output_view(0);
  c.require(x.n_dims != 0 && x.n_dims == y.n_dims && same_axes(x, y, x.n_dims - 1), "input and output differ in their rows");
  const size_t K = last_axis(x), M = last_axis(y), rows = c.input(0) / K;
  c.output(0);
  p->sizes[0] = K;
  p->sizes[1] = padded(M) / kPanel;
  p->sizes[2] = rows;
  p->sizes[3] = M;
  c.matrix(0, M, K, 1);
  p->multiply_adds *= rows;
  c.weight(1, padded(M), true);
  p->acts[0] = c.act(0);
  if (rows != 1) p->row_in = K, p->row_out = M;
  if (!UT_SMALLEST && rows == 1 && M <= kPanel && p->precisions[0] == kFloat32) p->step = step_small_dense;
  const size_t quantized = quantized_floats(p->precisions[0], K);
  if (rows == 1)
    p->scratch_floats_per_frame = quantized;
  else
    p->scratch_floats = rows_in_scratch(*p) * (quantized + (M % kPanel == 0 ? 0 : padded(M)));
  return c.status();
}

// n rows from x to y, rows of both K and M floats apart. Kernels write whole panels: where that is more than M, they
// write them into scratch.
void dense_rows(const OpPlan& op, const Block& b, const DenseArgs& rows, size_t n) {
  const KernelTable& k = *b.model->kernels;
  const size_t M = op.sizes[3];
  DenseArgs d = rows;
  const bool compact = rows.y_stride < padded(M);
  if (compact) {
    d.y = b.scratch;
    d.y_stride = padded(M);
    d.quantized = b.scratch + rows_in_scratch(op) * padded(M);
  }
  k.products[op.precisions[0]]->dense[1](d, n);
  if (op.acts[0].kind != kActIdentity) {
    // All rows at once where they are of one piece.
    const size_t first = d.first * kPanel, width = d.n_panels * kPanel - first, pieces = b.team ? n : 1;
    for (size_t t = 0; t < pieces; ++t) {
      float* some = d.y + t * d.y_stride + first;
      k.frames->activation(some, some, b.team ? width : n * d.y_stride, op.acts[0]);
    }
  }
  if (!compact) return;
  const size_t first = d.first * kPanel, end = d.n_panels * kPanel < M ? d.n_panels * kPanel : M;
  for (size_t t = 0; first < end && t < n; ++t)
    copy_floats(rows.y + t * rows.y_stride + first, d.y + t * d.y_stride + first, end - first);
}

// The same, `most` rows at once.
void dense_in_pieces(const OpPlan& op, const Block& b, const DenseArgs& rows, size_t n, size_t most) {
  for (size_t r = 0; r < n && !b.stopped(); r += most) {
    DenseArgs some = rows;
    some.x += r * rows.x_stride;
    some.y += r * rows.y_stride;
    dense_rows(op, b, some, n - r < most ? n - r : most);
  }
}

void part_of_dense(const OpPlan& op, const Block& b, Parts& parts, size_t first, size_t n, float* to) {
  const size_t K = op.sizes[0], M = op.sizes[3], rows = n / M;
  const float* x = part_of(b, op.inputs[0], parts, first / M * K, rows * K);
  const DenseArgs d = {to, M, x, K, op.weights[0], static_cast<const float*>(op.weights[1]), op.sizes[1], K, b.scratch, 0,
                       op.scaling[0]};
  dense_in_pieces(op, b, d, rows, op.scratch_floats ? rows_in_scratch(op) : rows);
}

void run_dense(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const size_t K = op.sizes[0], per_frame = op.sizes[2], M = op.sizes[3];
  const Panels mine = b.mine(op.sizes[1]);
  DenseArgs d = {b.row(y), b.stride(y), b.row(x), b.stride(x), op.weights[0], static_cast<const float*>(op.weights[1]),
                 mine.end, K, b.scratch, mine.first, op.scaling[0]};
  size_t frames = 1, n = b.rows(y) * per_frame, most = op.scratch_floats_per_frame ? b.chunk : n;
  if (b.watch && most > kRowsAtATime) most = kRowsAtATime;
  d.y_stride = padded(b.value(y).width);
  if (per_frame != 1) {
    d.x_stride = K;
    d.y_stride = M;
    if (op.scratch_floats) most = rows_in_scratch(op);
    // Frames that are not padded follow each other like the rows of one.
    if (per_frame * K % kPanel != 0 || per_frame * M % kPanel != 0) {
      frames = b.rows(y);
      n = per_frame;
    }
  }
  for (size_t t = 0; t < frames && !b.stopped(); ++t, d.x += b.stride(x), d.y += padded(b.value(y).width))
    dense_in_pieces(op, b, d, n, most);
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
  b.model->kernels->frames->activation(b.row(y), b.row(x), b.rows(y) * padded(b.value(y).width), op.acts[0]);
}

// --- add sub mul div max min and comparisons: flags which --------------------------------------------------------------

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
  const auto kernel = b.model->kernels->frames->binary[op.flags];
  const size_t rows = b.rows(y), width = padded(b.value(y).width);
  if (b.stride(l) == width && b.stride(r) == width) {
    kernel(b.row(y), b.row(l), b.row(r), rows * width);
    return;
  }
  for (size_t t = 0; t < rows; ++t)
    kernel(b.row(y) + t * width, b.row(l, t), b.row(r, t), width);
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
    b.model->kernels->frames->affine(b.row(y) + t * width, b.row(x, t),
                                     static_cast<const float*>(op.weights[0]),
                                     static_cast<const float*>(op.weights[1]), width);
}

// --- softmax, log_softmax over the last axis: sizes[0] its length, flags 1 log ----------------------------------------

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
      b.model->kernels->frames->softmax(b.row(y, t) + j, b.row(x, t) + j, n,
                                        op.flags != 0);
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
      b.model->kernels->frames->layer_norm(b.row(y, t) + j, b.row(x, t) + j,
                                   static_cast<const float*>(op.weights[0]), static_cast<const float*>(op.weights[1]),
                                   n, op.number);
}

// --- where -----------------------------------------------------------------------------------------------------------

ut_status check_where(Check& c) {
  c.counts(3, 1, 0, 0, 0);
  const size_t n = c.output(0);
  for (uint32_t i = 0; i < 3; ++i) c.require(c.input(i) == n, "inputs and output differ in size");
  return c.status();
}

void run_where(const OpPlan& op, const Block& b) {
  const uint32_t *x = op.inputs, y = op.output;
  const size_t width = padded(b.value(y).width);
  for (size_t t = 0; t < b.rows(y); ++t)
    b.model->kernels->frames->where(b.row(y) + t * width, b.row(x[0], t),
                                    b.row(x[1], t), b.row(x[2], t), width);
}

// --- depthwise: sizes rows, taps, channels; weights W (float32 or int16), b; acts[0] ------------------------------------

ut_status check_depthwise(Check& c) {
  c.counts(1, 1, 0, 2, 3);
  if (c.status() != UT_OK) return c.status();
  const ValueView x = c.input_view(0), y = c.output_view(0);
  c.input(0);
  c.output(0);
  c.require(x.n_dims == 3 && y.n_dims == 2 && y.dims[0] == x.dims[0] && y.dims[1] == x.dims[2],
            "input is not (rows, taps, channels), or output not (rows, channels)");
  for (uint32_t i = 0; i < 3; ++i) c.plan()->sizes[i] = axis(x, i);
  c.plan()->row_in = axis(x, 1) * axis(x, 2);
  c.plan()->row_out = axis(x, 2);
  c.filters(0, axis(x, 1), axis(x, 2));
  c.plan()->multiply_adds = c.input(0);
  c.weight(1, padded(axis(x, 2)), true);
  c.plan()->acts[0] = c.act(0);
  return c.status();
}

void part_of_depthwise(const OpPlan& op, const Block& b, Parts& parts, size_t first, size_t n, float* to) {
  const FrameKernels& k = *b.model->kernels->frames;
  const size_t n_taps = op.sizes[1];
  const auto kernel = op.precisions[0] == kInt16 ? k.depthwise_int16 : k.depthwise;
  kernel({to, part_of(b, op.inputs[0], parts, first * n_taps, n * n_taps), op.weights[0],
          static_cast<const float*>(op.weights[1]), n / op.sizes[2], n_taps, op.sizes[2]});
  if (op.acts[0].kind != kActIdentity) k.activation(to, to, n, op.acts[0]);
}

// --- reduce: sizes A, N, B; flags which --------------------------------------------------------------------------------

ut_status check_reduce(Check& c) {
  c.counts(1, 1, 0, 0, 1);
  if (c.status() != UT_OK) return c.status();
  const ValueView x = c.input_view(0), y = c.output_view(0);
  c.input(0);
  c.output(0);
  c.require(x.n_dims == 3 && y.n_dims == 2 && y.dims[0] == x.dims[0] && y.dims[1] == x.dims[2],
            "input has not three axes, or output not the first and the last of them");
  for (uint32_t i = 0; i < 3; ++i) c.plan()->sizes[i] = axis(x, i);
  c.plan()->row_in = axis(x, 1) * axis(x, 2);
  c.plan()->row_out = axis(x, 2);
  c.plan()->multiply_adds = c.input(0);
  c.plan()->flags = c.param(0);
  c.require(c.plan()->flags < kNumReduces, "unknown kind of reduction");
  return c.status();
}

void part_of_reduce(const OpPlan& op, const Block& b, Parts& parts, size_t first, size_t n, float* to) {
  const size_t N = op.sizes[1], B = op.sizes[2];
  b.model->kernels->frames->reduce[op.flags](to, part_of(b, op.inputs[0], parts, first * N, n * N), n / B, N, B);
}

// --- matmul: sizes products in a frame, I, K, J ------------------------------------------------------------------------

ut_status check_matmul(Check& c) {
  c.counts(2, 1, 0, 0, 0);
  if (c.status() != UT_OK) return c.status();
  const ValueView l = c.input_view(0), r = c.input_view(1), y = c.output_view(0);
  c.input(0);
  c.input(1);
  const size_t n = c.output(0);
  const uint32_t d = l.n_dims;
  c.require(d >= 2 && r.n_dims == d && y.n_dims == d && same_axes(l, r, d - 2) && same_axes(l, y, d - 1) &&
                l.dims[d - 1] == r.dims[d - 2] && r.dims[d - 1] == y.dims[d - 1],
            "inputs and output are not (..., I, K), (..., K, J) and (..., I, J)");
  if (c.status() != UT_OK) return c.status();
  size_t* sizes = c.plan()->sizes;
  sizes[1] = l.dims[d - 2];
  sizes[2] = l.dims[d - 1];
  sizes[3] = r.dims[d - 1];
  sizes[0] = n / (sizes[1] * sizes[3]);
  c.plan()->multiply_adds = uint64_t{n} * sizes[2];
  return c.status();
}

void run_matmul(const OpPlan& op, const Block& b) {
  const uint32_t l = op.inputs[0], r = op.inputs[1], y = op.output;
  const size_t I = op.sizes[1], K = op.sizes[2], J = op.sizes[3];
  for (size_t t = 0; t < b.rows(y); ++t)
    for (size_t i = 0; i < op.sizes[0]; ++i)
      b.model->kernels->frames->matmul(b.row(y, t) + i * I * J, b.row(l, t) + i * I * K,
                               b.row(r, t) + i * K * J, I, K, J);
}

constexpr OpType kOps[] = {
    {1, "dense", check_dense, run_dense, kFramewise, nullptr, UT_SMALLEST ? nullptr : part_of_dense},
    {2, "activation", check_activation, run_activation, kFramewise},
    {3, "binary", check_binary, run_binary, kFramewise},
    {4, "affine", check_affine, run_affine, kFramewise},
    {5, "softmax", check_softmax, run_softmax, kFramewise},
    {6, "layer_norm", check_layer_norm, run_layer_norm, kFramewise},
    {19, "depthwise", check_depthwise, run_at_once, kFramewise, nullptr, part_of_depthwise},
    {20, "reduce", check_reduce, run_at_once, kFramewise, nullptr, part_of_reduce},
    {21, "matmul", check_matmul, run_matmul, kFramewise},
    {22, "where", check_where, run_where, kFramewise},
};

}  // namespace

const OpList kFrameOps = kOps;

}  // namespace undertow
