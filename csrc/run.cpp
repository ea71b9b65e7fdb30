// SPDX-License-Identifier: MIT
#include "run.h"

#include "cpu.h"

namespace undertow {

namespace {

// Row r of the block is frame first + r * step of x and y. Frames of a flush are zeros.
void copy_in(const Block& b, size_t first, size_t step, const void* const* x) {
  for (uint32_t i = 0; b.flush && i < b.model->file.n_inputs; ++i)
    memset(b.row(i), 0, b.n * b.stride(i) * sizeof(float));
  for (uint32_t i = 0; !b.flush && i < b.model->file.n_inputs; ++i) {
    const size_t width = b.value(i).width, stride = b.stride(i);
    const float* from = static_cast<const float*>(x[i]) + first * width;
    for (size_t r = 0; r < b.n; ++r) copy_floats(b.row(i) + r * stride, from + r * step * width, width);
  }
}

// The first `skip` rows are not wanted: `first` is the frame of the one after them.
void copy_out(const Block& b, size_t first, size_t step, void* const* y, size_t skip = 0) {
  for (uint32_t i = 0; i < b.model->file.n_outputs; ++i) {
    if (!y[i]) continue;
    const uint32_t v = b.model->file.output(i).value;
    const size_t width = b.value(v).width, stride = b.stride(v);
    // A constant of a streamed model is an output at every timestep; only a whole sequence has outputs given once.
    const bool once = b.value(v).once && !b.model->measures.streamable;
    float* to = static_cast<float*>(y[i]) + (once ? 0 : first * width);
    for (size_t r = skip; r < (once ? 1 : b.n); ++r) copy_floats(to + (r - skip) * step * width, b.row(v) + r * stride, width);
  }
}

// Row t of a value of a whole sequence, or of several side by side, and the frame of a loop: from the one to the other.
void carry(const Block& whole, const Block& frame, uint32_t v, size_t t, bool in) {
  const ValuePlan& value = whole.value(v);
  if (value.fixed) return;
  const size_t width = padded(value.width), first = value.once ? 0 : t * whole.abreast;
  float *row = whole.row(v) + first * width, *at = frame.row(v);
  copy_floats(in ? at : row, in ? row : at, (value.once ? 1 : frame.n) * width);
}

// The nodes of a loop, `begin` to `end`, frame by frame. The frame stands behind those of the sequence.
void walk_loop(const Block& b, uint32_t begin, uint32_t end) {
  const OpPlan *ops = b.model->ops, &last = ops[end - 1];
  const uint32_t first_value = ops[begin].output, end_value = last.output + last.n_outputs;
  Block frame = b;
  frame.values = b.values + b.model->measures.value_floats * b.capacity;
  frame.capacity = b.abreast;
  frame.abreast = frame.n = frame.n_valid = 1;
  frame.watch = nullptr;
  for (size_t t = 0; t < b.n / b.abreast && !b.stopped(); ++t) {
    if (b.lengths) frame.n = b.going(t);
    for (uint32_t i = begin; i < end; ++i) {
      const OpPlan& op = ops[i];
      for (uint32_t k = 0; k < op.n_inputs; ++k)
        if (op.inputs[k] < first_value) carry(b, frame, op.inputs[k], t, true);
      if (op.alone) op.alone(op, frame);
    }
    for (uint32_t v = first_value; v < end_value; ++v)
      if (b.value(v).leaves) carry(b, frame, v, t, false);
  }
}

void walk(const Block& b) {
  const uint32_t n_nodes = b.model->file.n_nodes;
  for (uint32_t i = 0; i < n_nodes && !b.stopped(); ++i) {
    const OpPlan& op = b.model->ops[i];
    if (op.loop_end != 0) {
      walk_loop(b, i, op.loop_end);
      i = op.loop_end - 1;
    } else if (op.alone) {
      op.alone(op, b);
    }
  }
}

#if UT_THREADS

// As `walk`, of all workers of a team: what is not worth sharing is worker 0's, and the others wait for it where they come
// to a shared op. `begun`: worker 0 has been waited for already.
void walk_together(const Block& b, bool begun) {
  Block alone = b;
  alone.team = nullptr;
  bool behind = !begun, first = true;
  for (uint32_t i = 0; i < b.model->file.n_nodes; ++i) {
    const OpPlan& op = b.model->ops[i];
    if (!op.run) continue;
    if (b.team->shares(op.matrix_bytes)) {
      if (behind) b.team->follow();
      op.run(op, b);
      behind = first = false;
    } else {
      if (b.leads()) op.run(op, alone);
      behind = !(begun && first);
    }
  }
}

#endif

// Frames of the blocks of a call: all that there is room for, or where blocks want whole tiles, about as many in each.
size_t block_frames(const Block& b, size_t n_frames) {
  if (!b.model->measures.convolves || n_frames <= b.capacity) return b.capacity;
  const size_t n_blocks = (n_frames + b.capacity - 1) / b.capacity;
  const size_t even = round_up((n_frames + n_blocks - 1) / n_blocks, kTileOfConvolution);
  return even < b.capacity ? even : b.capacity;
}

// n_frames frames of x and y from `begin` on, all of one stream.
void run_stream(Block b, size_t begin, size_t n_frames, const void* const* x, void* const* y) {
  const size_t most = block_frames(b, n_frames);
  for (size_t done = 0; done < n_frames; done += b.n) {
    b.n = n_frames - done < most ? n_frames - done : most;
    if (b.n != n_frames) b.n_valid = b.n;
    copy_in(b, begin + done, 1, x);
    walk(b);
    if (b.stopped()) return;
    copy_out(b, begin + done, 1, y);
  }
}

// Tiles of a batch are of nearly one size, and whole multiples of this: kernels take so many rows at once.
constexpr size_t kRowsAtOnce = 12;

size_t tile_rows(size_t n_streams, size_t rows) {
  const size_t n_tiles = (n_streams + rows - 1) / rows;
  const size_t even = ((n_streams + n_tiles - 1) / n_tiles + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce;
  return even < rows ? even : rows;
}

}  // namespace

void reset_state(const ut_model& model, float* state) {
  for (uint32_t s = 0; s < model.file.n_states; ++s) {
    const StatePlan& p = model.states[s];
    float* field = state + p.offset;
    if (p.init)
      memcpy(field, p.init, padded(p.width) * sizeof(float));
    else
      memset(field, 0, padded(p.width) * sizeof(float));
  }
}

namespace {

// Arrays of callers have any alignment.
inline void copy_frame(float* to, const float* from, size_t n) {
  n == 1 ? void(memcpy(to, from, sizeof(float))) : copy_floats(to, from, n);
}

inline void one_step(const Block& b, const void* const* x, void* const* y, size_t t) {
  const ut_model& m = *b.model;
  for (uint32_t i = 0, n = m.file.n_inputs; i < n; ++i) {
    const ValuePlan& value = m.values[i];
    copy_frame(b.values + value.offset, static_cast<const float*>(x[i]) + t * value.width, value.width);
  }
  for (const OpPlan *op = m.ops, *end = op + m.file.n_nodes; op != end; ++op)
    if (op->step) op->step(*op, b);
  for (uint32_t i = 0, n = m.file.n_outputs; i < n; ++i) {
    if (!y[i]) continue;
    const ValuePlan& value = m.values[m.file.output_value(i)];
    const float* row = value.fixed ? value.fixed : b.values + value.offset;
    copy_frame(static_cast<float*>(y[i]) + t * value.width, row, value.width);
  }
}

}  // namespace

// Apart from run_frames, for a small step is little more than what surrounds it: a tiny layer's next chain begins when the
// CPU has looked past all of this.
void run_step(const Block& b, const void* const* x, void* const* y) {
  const FloatMode mode;
  one_step(b, x, y, 0);
}

void run_steps(const Block& b, size_t n_frames, const void* const* x, void* const* y) {
  const FloatMode mode;
  for (size_t t = 0; t < n_frames; ++t) one_step(b, x, y, t);
}

void run_frames(Block b, size_t n_frames, const void* const* x, void* const* y) {
  const FloatMode mode;
  b.flush = !x;
  run_stream(b, 0, n_frames, x, y);
}

void run_whole(Block b, size_t n_frames, const void* const* x, void* const* y) {
  const FloatMode mode;
  const size_t latency = b.model->measures.latency, end = n_frames + latency;
  for (size_t done = 0; done < end; done += b.n) {
    b.flush = done >= n_frames;
    const size_t left = (b.flush ? end : n_frames) - done;
    b.n = b.n_valid = left < b.capacity ? left : b.capacity;
    copy_in(b, done, 1, x);
    walk(b);
    if (b.stopped()) return;
    if (done + b.n <= latency) continue;
    const size_t skip = done < latency ? latency - done : 0;
    copy_out(b, done + skip - latency, 1, y, skip);
  }
}

void run_abreast(Block b, const void* const* x, void* const* y) {
  const FloatMode mode;
  const File& file = b.model->file;
  for (size_t k = 0; k < b.abreast; ++k)
    for (uint32_t i = 0; i < file.n_inputs; ++i) {
      const size_t width = b.value(i).width, step = b.abreast * b.stride(i);
      const float* from = static_cast<const float*>(x[k * file.n_inputs + i]);
      float* to = b.row(i, k);
      for (size_t t = 0; t < b.lengths[k]; ++t) copy_floats(to + t * step, from + t * width, width);
    }
  walk(b);
  if (b.stopped()) return;
  for (size_t k = 0; k < b.abreast; ++k)
    for (uint32_t i = 0; i < file.n_outputs; ++i) {
      const uint32_t v = file.output(i).value;
      const size_t width = b.value(v).width, step = b.abreast * b.stride(v);
      const float* from = b.row(v, k);
      float* to = static_cast<float*>(y[k * file.n_outputs + i]);
      const size_t n = b.value(v).once && b.lengths[k] != 0 ? 1 : b.lengths[k];  // of no frames there is no result
      for (size_t t = 0; to && t < n; ++t) copy_floats(to + t * width, from + t * step, width);
    }
}

#if UT_THREADS

void lead_frames(Block b, size_t n_frames, const void* const* x, void* const* y) {
  const FloatMode mode;
  b.flush = !x;
  for (size_t done = 0; done < n_frames; done += b.n) {
    b.n = b.n_valid = n_frames - done < b.capacity ? n_frames - done : b.capacity;
    copy_in(b, done, 1, x);
    walk_together(b, false);
    copy_out(b, done, 1, y);
  }
}

void help_frames(Block b, size_t n_frames) {
  const FloatMode mode;
  for (size_t done = 0; done < n_frames; done += b.n) {
    b.n = b.n_valid = n_frames - done < b.capacity ? n_frames - done : b.capacity;
    walk_together(b, done == 0);
  }
}

#endif

void run_batch(const ut_model& model, float* values, float* scratch, size_t rows, size_t n_streams, float* const* states,
               const Part& part, const void* const* x, void* const* y) {
  if (n_streams == 0 || part.n == 0) return;
  const FloatMode mode;
  const size_t most = UT_SMALLEST ? 1 : tile_rows(n_streams, rows);
  for (size_t first = 0; first < n_streams; first += most) {
    const size_t n = n_streams - first < most ? n_streams - first : most, begin = first * part.of + part.first;
    if (UT_SMALLEST || n == 1) {  // a lone stream goes through time in blocks
      const size_t block = model.measures.frame_by_frame ? 1 : part.n < rows ? part.n : rows;
      Block b = {&model, values, block, block, block, states[first], scratch, rows, nullptr};
      b.flush = !x;
      run_stream(b, begin, part.n, x, y);
      continue;
    }
    Block b = {&model, values, n, n, n, nullptr, scratch, rows, states + first};
    b.flush = !x;
    for (size_t t = 0; t < part.n; ++t) {
      copy_in(b, begin + t, part.of, x);
      walk(b);
      copy_out(b, begin + t, part.of, y);
    }
  }
}

}  // namespace undertow
