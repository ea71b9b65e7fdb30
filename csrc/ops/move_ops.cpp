// SPDX-License-Identifier: MIT
// Ops that move elements and compute nothing: joins, selections, table look-ups, constants, and the two that pick or
// reorder timesteps of a whole sequence.
#include "op.h"

namespace undertow {

namespace {

// --- concat ----------------------------------------------------------------------------------------------------------

ut_status check_concat(Check& c) {
  c.counts(c.node().n_inputs, 1, 0, 0, 0);
  c.require(c.node().n_inputs != 0, "has no inputs");
  uint64_t n = 0;
  for (uint32_t i = 0; i < c.node().n_inputs; ++i) n += c.input(i);
  c.require(n == c.output(0), "inputs do not add up to the output");
  return c.status();
}

void run_concat(const OpPlan& op, const Block& b) {
  const uint32_t y = op.output;
  size_t at = 0;
  for (uint32_t i = 0; i < op.n_inputs; ++i) {
    const uint32_t x = op.inputs[i];
    const size_t n = b.value(x).width;
    for (size_t t = 0; t < b.rows(y); ++t)
      memcpy(b.row(y, t) + at, b.row(x, t), n * sizeof(float));
    at += n;
  }
}

// --- select: weights runs, sizes[0] how many --------------------------------------------------------------------------

// `times` runs of `count` elements: element j of run i is start + i * step + j * stride of the input.
struct Runs {
  int32_t input, start, count, stride, times, step;
};
static_assert(sizeof(Runs) == 24, "runs are read where they lie in the file");

ut_status check_select(Check& c) {
  c.counts(c.node().n_inputs, 1, 0, 1, 1);
  c.require(c.node().n_inputs != 0, "has no inputs");
  for (uint32_t i = 0; i < c.node().n_inputs; ++i) c.input(i);
  const size_t n = c.output(0), n_runs = c.param(0);
  c.require(n_runs != 0 && n_runs <= n, "has no runs, or more than elements");
  if (c.status() != UT_OK) return c.status();
  c.weight(0, padded(n_runs * (sizeof(Runs) / sizeof(int32_t))), false, UT_INT32);
  if (c.status() != UT_OK) return c.status();
  const Runs* runs = static_cast<const Runs*>(c.list(c.plan()->weights[0], n_runs * sizeof(Runs)));
  c.plan()->weights[0] = runs;
  uint64_t total = 0;
  for (size_t i = 0; i < n_runs && c.status() == UT_OK; ++i) {
    const Runs r = runs[i];
    c.require(r.input >= 0 && static_cast<uint32_t>(r.input) < c.node().n_inputs, "a run takes from an input that is not there");
    c.require(r.count > 0 && r.times > 0 && total + uint64_t(r.count) * uint64_t(r.times) <= n, "runs are empty, or more than the output");
    if (c.status() != UT_OK) break;
    total += uint64_t(r.count) * uint64_t(r.times);
    const int64_t across = int64_t{r.count - 1} * r.stride, along = int64_t{r.times - 1} * r.step;
    const int64_t first = r.start + (across < 0 ? across : 0) + (along < 0 ? along : 0);
    const int64_t last = r.start + (across > 0 ? across : 0) + (along > 0 ? along : 0);
    c.require(first >= 0 && last < static_cast<int64_t>(c.input(static_cast<uint32_t>(r.input))), "a run leaves its input");
  }
  c.require(total == n, "runs do not add up to the output");
  c.plan()->sizes[0] = n_runs;
  c.plan()->row_out = 1;
  return c.status();
}

// Strides that the compiler makes vectors of when it knows them.
template <ptrdiff_t kStride>
void copy_strided(float* __restrict to, const float* __restrict from, ptrdiff_t n) {
  for (ptrdiff_t j = 0; j < n; ++j) to[j] = from[j * kStride];
}

// `times` times `count` elements, `stride` apart.
UT_NOINLINE void copy_apart(float* to, const float* from, ptrdiff_t count, ptrdiff_t stride, ptrdiff_t times,
                                          ptrdiff_t step) {
  if (UT_SMALLEST) {
    for (; times != 0; --times, to += count, from += step)
      for (ptrdiff_t j = 0; j < count; ++j) to[j] = from[j * stride];
  } else if (stride == 0 && times == 1 && count < 8) {
    for (ptrdiff_t j = 0; j < count; ++j) memcpy(to + j, from, sizeof(float));
  } else if ((stride == -1 || stride == 0) && count >= 8) {
    const auto copy = stride == 0 ? copy_strided<0> : copy_strided<-1>;
    for (ptrdiff_t i = 0; i < times; ++i) copy(to + i * count, from + i * step, count);
  } else if (times > count) {  // the longer of the two loops inside
    for (ptrdiff_t j = 0; j < count; ++j)
      for (ptrdiff_t i = 0; i < times; ++i) to[i * count + j] = from[i * step + j * stride];
  } else {
    for (ptrdiff_t i = 0; i < times; ++i)
      for (ptrdiff_t j = 0; j < count; ++j) to[i * count + j] = from[i * step + j * stride];
  }
}

// Neighbours are copied here: the windows of an image are many short runs, and a call costs as much as one of them.
inline void copy_runs(float* to, const float* from, const Runs& r) {
  from += r.start;
  if (r.stride != 1 || (r.count < 8 && r.times > r.count)) return copy_apart(to, from, r.count, r.stride, r.times, r.step);
  const ptrdiff_t count = r.count, step = r.step;
  for (ptrdiff_t i = 0; i < r.times; ++i) copy_floats(to + i * count, from + i * step, static_cast<size_t>(count));
}

// n elements of one record from element `done` on: the end of a run, whole runs, the beginning of one.
void copy_some(float* to, const float* from, const Runs& r, size_t done, size_t n) {
  while (n != 0) {
    const int32_t i = static_cast<int32_t>(done) / r.count, j = static_cast<int32_t>(done) % r.count, most = static_cast<int32_t>(n);
    Runs some = r;
    some.start += i * r.step + j * r.stride;
    some.times = j == 0 && most >= r.count ? most / r.count : 1;
    if (some.times == 1) some.count = most < r.count - j ? most : r.count - j;
    copy_runs(to, from, some);
    const size_t copied = static_cast<size_t>(some.count) * static_cast<size_t>(some.times);
    to += copied;
    done += copied;
    n -= copied;
  }
}

// The next n elements.
void part_of_select(const OpPlan& op, const Block& b, Parts& parts, size_t, size_t n, float* to) {
  const Runs* r = static_cast<const Runs*>(parts.at ? parts.at : op.weights[0]);
  size_t done = parts.done;
  while (n != 0) {
    const uint32_t x = op.inputs[r->input];
    const float* from = b.row(x) + parts.t * b.stride(x);
    const size_t left = static_cast<size_t>(r->count) * static_cast<size_t>(r->times) - done, some = left < n ? left : n;
    if (UT_SMALLEST || (done == 0 && some == left))  // whole frames, where nothing is written in parts
      copy_runs(to, from, *r);
    else
      copy_some(to, from, *r, done, some);
    to += some;
    n -= some;
    done = some == left ? 0 : done + some;
    if (some == left) ++r;
  }
  parts.at = r;
  parts.done = done;
}

// --- reshape: the output is the input's memory -----------------------------------------------------------------------

ut_status check_reshape(Check& c) {
  c.counts(1, 1, 0, 0, 0);
  if (c.status() != UT_OK) return c.status();
  c.require(c.input(0, c.output_view(0).dtype) == c.output_view(0).size, "input and output differ in size");
  return c.status();
}

// --- embedding: weights table, sizes[0] rows, sizes[1] width ----------------------------------------------------------

ut_status check_embedding(Check& c) {
  c.counts(1, 1, 0, 1, 0);
  const size_t n_ids = c.input(0, UT_INT32), n_out = c.output(0);
  c.require(n_ids != 0 && n_out % n_ids == 0, "output is not a whole number of rows");
  if (c.status() != UT_OK) return c.status();
  const size_t width = n_out / n_ids;
  c.plan()->sizes[0] = c.table(0, width);
  c.plan()->sizes[1] = width;
  if (c.status() == UT_OK) c.plan()->read_bytes = n_ids * table_row_bytes(c.plan()->precisions[0], width);
  return c.status();
}

void run_embedding(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const auto row = b.model->kernels->products[op.precisions[0]]->table_row;
  const size_t width = op.sizes[1];
  for (size_t t = 0; t < b.rows(y); ++t) {
    const float* ids = b.row(x, t);
    float* to = b.row(y, t);
    for (size_t i = 0; i < b.value(x).width; ++i, to += width) {
      int32_t id;
      memcpy(&id, ids + i, sizeof id);
      if (id >= 0 && static_cast<size_t>(id) < op.sizes[0])
        row(to, op.weights[0], static_cast<size_t>(id), width);
      else
        for (size_t j = 0; j < width; ++j) to[j] = UT_NAN;
    }
  }
}

// --- constant: the value's frame is the tensor itself -----------------------------------------------------------------

ut_status check_constant(Check& c) {
  c.counts(0, 1, 0, 1, 0);
  c.weight(0, padded(c.output(0)));
  return c.status();
}

// --- last, flip: whole sequences -------------------------------------------------------------------------------------

ut_status check_last(Check& c) {
  c.counts(1, 1, 0, 0, 1);
  c.require(c.input(0) == c.output(0), "input and output differ in size");
  c.plan()->flags = c.param(0);
  c.require((c.plan()->flags & ~(kFlagReverse | kFlagMasked)) == 0, "unknown flags");
  c.plan()->whole_sequence = c.plan()->flags & kFlagReverse;  // the first timestep is not the one so far
  return c.status();
}

void run_last(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const size_t bytes = b.value(y).width * sizeof(float);
  for (size_t k = 0; k < b.abreast; ++k) {
    const size_t n = b.lengths ? b.lengths[k] : op.flags & kFlagMasked ? b.n_valid : b.n;
    const bool is_first = op.flags & kFlagReverse || n == 0 || b.value(x).once;  // of what is given once, there is one row
    const size_t at = is_first ? k : (n - 1) * b.abreast + k;
    float* to = b.row(y, k);
    if (n == 0)
      memset(to, 0, bytes);
    else
      memcpy(to, b.row(x, at), bytes);
  }
}

ut_status check_flip(Check& c) {
  c.counts(1, 1, 0, 0, 0);
  c.require(c.input(0) == c.output(0), "input and output differ in size");
  c.plan()->whole_sequence = true;
  return c.status();
}

void run_flip(const OpPlan& op, const Block& b) {
  const uint32_t x = op.inputs[0], y = op.output;
  const size_t bytes = b.value(y).width * sizeof(float);
  for (size_t k = 0; k < b.abreast; ++k) {
    const size_t n = b.value(y).once ? 1 : b.length(k);
    for (size_t t = 0; t < n; ++t)
      memcpy(b.row(y, t * b.abreast + k), b.row(x) + ((n - 1 - t) * b.abreast + k) * b.stride(x), bytes);
  }
}

constexpr OpType kOps[] = {
    {7, "concat", check_concat, run_concat, kFramewise},
    {8, "select", check_select, run_at_once, kFramewise, nullptr, part_of_select},
    {9, "reshape", check_reshape, nullptr, kFramewise | kIsInput},
    {10, "embedding", check_embedding, run_embedding, kFramewise},
    {11, "constant", check_constant, nullptr, kIsTensor},
    {17, "last", check_last, run_last, kIsLatest},
    {18, "flip", check_flip, run_flip, kFramewise},
};

}  // namespace

const OpList kMoveOps = kOps;

}  // namespace undertow
