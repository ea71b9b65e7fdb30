// SPDX-License-Identifier: MIT
// Values that are written in parts. The windows of a convolution over a clip are many times as large as the clip: written
// whole, they would go to memory and come back. Where one op alone reads a value, and reads it row by row, it asks for as
// many rows as stay in the cache, and the ops that make them (a select; a select and a dense layer) write them to the
// start of the value's memory. Each element is computed as ever. A team walks over whole values, whose rows it shares.
#include "op.h"

namespace undertow {

namespace {

// Smaller values lie in the cache as they are.
constexpr size_t kLeast = 16 * 1024;
// Floats of all values of a chain that are written at once: they stay in the second-level cache, beside the weights.
constexpr size_t kMost = 32 * 1024;
// Rows at once are whole multiples of this where so many fit, else of the other: of tiles' frames (kernels/matvec-inl.h).
constexpr size_t kManyRows = 48, kFewRows = 12;

bool has_rows(const OpPlan& op) { return op.type->part && op.row_out != 0; }

// The value that is written in parts for an op, or null.
const ValuePlan* parts_read(const ut_model& m, const OpPlan& op) {
  if (!has_rows(op) || op.n_inputs != 1) return nullptr;
  const ValuePlan& x = m.values[op.inputs[0]];
  return x.maker ? &x : nullptr;
}

// Floats of the output that an op computes at once: so many that they and what they are made of stay in the cache.
size_t floats_at_once(const ut_model& m, const OpPlan& op) {
  size_t needed = op.row_in, all = op.row_out + needed;  // for a row of the output
  for (const ValuePlan* x = parts_read(m, op); x; x = parts_read(m, *x->maker)) {
    const OpPlan& maker = *x->maker;
    if (maker.row_in == 0) break;
    needed = needed / maker.row_out * maker.row_in;
    all += needed;
  }
  const size_t fit = kMost / all;
  return (fit >= kManyRows ? fit / kManyRows * kManyRows : fit < kFewRows ? kFewRows : fit / kFewRows * kFewRows) * op.row_out;
}

}  // namespace

void find_readers(ut_model& m) {
  constexpr uint32_t several = kNone - 1;
  const auto note = [&](uint32_t v, uint32_t reader) {
    ValuePlan& memory = m.values[m.values[v].origin];
    memory.reader = memory.reader == kNone || memory.reader == reader ? reader : several;
    ++memory.n_readings;
  };
  for (uint32_t i = 0; i < m.file.n_nodes; ++i) {
    const OpPlan& op = m.ops[i];
    if (!op.run && op.n_outputs != 0) continue;  // what it shows has readers of its own
    for (uint32_t k = 0; k < op.n_inputs; ++k) note(op.inputs[k], i);
  }
  for (uint32_t i = 0; i < m.file.n_outputs; ++i) note(m.file.output(i).value, several);
  for (uint32_t v = 0; v < m.file.n_values; ++v)
    if (m.values[v].reader == several) m.values[v].reader = kNone;
}

void mark_parts(ut_model& m) {
  for (uint32_t i = 0; i < m.file.n_nodes; ++i) {
    OpPlan& maker = m.ops[i];
    if (!has_rows(maker) || maker.n_outputs != 1) continue;
    const ValuePlan& y = m.values[maker.output];
    if (y.reader == kNone || y.width < kLeast) continue;
    OpPlan& reader = m.ops[y.reader];
    if (!has_rows(reader) || reader.n_inputs != 1 || reader.row_in == 0 || reader.row_in % maker.row_out != 0) continue;
    ValuePlan& x = m.values[reader.inputs[0]];
    if (y.leaves || x.leaves) continue;
    x.maker = &maker;
    maker.alone = nullptr;
    reader.alone = run_in_parts;
  }
  for (uint32_t i = 0; i < m.file.n_nodes; ++i)
    if (m.ops[i].alone == run_in_parts) m.ops[i].part = floats_at_once(m, m.ops[i]);
}

void run_at_once(const OpPlan& op, const Block& b) {
  const uint32_t y = op.output;
  for (size_t t = 0; t < b.rows(y); ++t) {
    Parts parts = {t, true};
    op.type->part(op, b, parts, 0, b.value(y).width, b.row(y, t));
  }
}

void run_in_parts(const OpPlan& op, const Block& b) {
  const uint32_t y = op.output;
  const size_t width = b.value(y).width;
  for (size_t t = 0; t < b.rows(y); ++t) {
    Parts parts = {t, false};
    float* to = b.row(y, t);
    for (size_t first = 0; first < width && !b.stopped(); first += op.part)
      op.type->part(op, b, parts, first, width - first < op.part ? width - first : op.part, to + first);
  }
}

}  // namespace undertow
