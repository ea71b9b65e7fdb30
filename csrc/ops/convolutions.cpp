// SPDX-License-Identifier: MIT
// Convolutions of a stream: a window and the product behind it, which takes its taps from the ring where they are, and what a
// residual layer does with that: an activation, a sum that goes from layer to layer, and a second product that is added to
// the layer's input. Taken node by node, each of these would be a walk over rows that hardly do anything else.
// Every element is computed as the nodes do it.
#include "ring.h"

namespace undertow {

namespace {

// Pieces of a product's frames: taps, and what stands beside them.
constexpr size_t kMostPieces = 64;

// What an addition adds to value v, where that was there before value `first`; else kNone.
uint32_t added_to(const OpPlan& op, uint32_t v, uint32_t first) {
  if (op.type->kind != kBinary || op.flags != kBinAdd || !op.alone || (op.inputs[0] != v) == (op.inputs[1] != v)) return kNone;
  const uint32_t other = op.inputs[op.inputs[0] == v ? 1 : 0];
  return other < first ? other : kNone;
}

// The convolution that begins with a window, node i; of no nodes if there is none.
Convolution convolution_at(const ut_model& m, uint32_t i) {
  const OpPlan *const window = m.ops + i, *const end = m.ops + m.file.n_nodes;
  Convolution c = {};
  if (window->sizes[kTaps] > kMostPieces) return c;
  const uint32_t first = window->output;
  uint32_t v = first;
  const OpPlan* op = window + 1;
  while (op < end && op->type->kind == kReshape && op->inputs[0] == v) v = op++->output;
  if (m.values[first].n_readings != 1) return c;
  if (op < end && op->type->kind == kConcat && op->alone && op->n_inputs + window->sizes[kTaps] <= kMostPieces) {
    uint32_t n_seen = 0;
    for (uint32_t k = 0; k < op->n_inputs; ++k) {
      if (op->inputs[k] == v) ++n_seen;
      else if (op->inputs[k] >= first) return c;
    }
    if (n_seen != 1) return c;
    v = op->output;
    if (m.values[v].n_readings != 1) return c;
    c.join = op++;
  }
  if (op == end || !op->alone || !is_narrow_product(*op) || op->inputs[0] != v) return c;
  c.product = op++;
  const uint32_t y = c.product->output;
  uint32_t n_read = 0;
  for (; op < end; ++op, ++n_read) {
    const uint32_t beside = added_to(*op, y, first);
    if (!c.sum && beside != kNone) {
      c.sum = op;
      c.sum_x = beside;
      continue;
    }
    if (c.mix || !op->alone || !is_narrow_product(*op) || op->inputs[0] != y || op->acts[0].kind != kActIdentity) break;
    if (op + 1 == end || m.values[op->output].n_readings != 1) break;
    c.mix_x = added_to(op[1], op->output, first);
    if (c.mix_x == kNone) break;
    c.mix = op++;
    c.mixed = op;
  }
  c.narrow = Ring::is_planar(*window) && c.product->sizes[3] <= kNarrow && (!c.mix || c.mix->sizes[3] <= kNarrow);
  if (!c.join || c.join->inputs[0] >= first)
    while (c.n_past < window->sizes[kTaps] && tap_at(window->weights[0], c.n_past) < 0) ++c.n_past;
  c.window = window;
  c.kept = m.values[y].n_readings != n_read;
  c.n_nodes = static_cast<uint32_t>(op - window);
  return c;
}

// Says where a single frame finds what it does not take from the past; nowhere if that is too much, or stands in the file.
void plan_finish(const ut_model& m, Convolution& c) {
  const OpPlan& window = *c.window;
  Finish& f = c.finish;
  const auto place = [&](uint32_t v, size_t& at) {
    at = m.values[v].offset;
    return !m.values[v].fixed;
  };
  const auto piece = [&](uint32_t v) {
    if (f.n_pieces == kMostFinished) return false;
    f.widths[f.n_pieces] = m.values[v].width;
    return place(v, f.pieces[f.n_pieces++]);
  };
  const size_t n_left = window.sizes[kTaps] - c.n_past;
  bool fits = n_left <= 1 && window.sizes[kWidth] <= kPanel && place(window.inputs[0], f.x) && (c.n_past != 0 || !c.join || c.join->inputs[0] >= window.output);
  if (n_left == 1) fits = fits && tap_at(window.weights[0], c.n_past) == 0 && piece(window.inputs[0]);
  for (uint32_t k = 1; fits && c.join && k < c.join->n_inputs; ++k) fits = piece(c.join->inputs[k]);
  f.ring = Ring::plan(window);
  f.begun = c.n_past != 0;
  f.W = static_cast<const float*>(c.product->weights[0]) + c.n_past * window.sizes[kWidth] * kPanel;
  f.b = static_cast<const float*>(c.product->weights[1]);
  f.n_outputs = f.widest = c.product->sizes[3];
  f.act = c.product->acts[0];
  fits = fits && place(c.product->output, f.y);
  f.sums = c.sum;
  if (c.sum) fits = fits && place(c.sum_x, f.sum_x) && place(c.sum->output, f.sum_y);
  if (c.mix) {
    f.mix_W = static_cast<const float*>(c.mix->weights[0]);
    f.mix_b = static_cast<const float*>(c.mix->weights[1]);
    if (c.mix->sizes[3] > f.widest) f.widest = c.mix->sizes[3];
    fits = fits && place(c.mix_x, f.mix_x) && place(c.mixed->output, f.mix_y);
  }
  c.quick = fits;
}

void run_convolution(const OpPlan& op, const Block& b) {
  const Convolution& c = *op.convolution;
  if (!b.rings) {
    for (const OpPlan *node = &op, *end = node + c.n_nodes; node < end; ++node)
      if (node->run) node->run(*node, b);
    return;
  }
  if (b.n == 1 && c.quick) {
    const StreamMemory memory = {b.values, b.capacity, b.rings, b.chunk};
    const FrameKernels& k = *b.model->kernels->frames;
    // What all take from the past, at once: none of it waits for the others, as their taps of now do.
    if (c.is_first) k.past(b.model->pasts, b.model->n_pasts, memory);
    return k.finish(c.finish, memory);
  }
  const bool planes = c.narrow && b.n > 1;
  const auto rows = [&](uint32_t v) -> Elements {
    if (planes && b.value(v).planes) return {b.row(v), 1, b.capacity * kPanel / kNarrow};
    return {b.row(v), b.stride(v), 1};
  };
  const auto piece_of = [&](uint32_t v) -> Piece {
    const Elements r = rows(v);
    return {r.y, r.stride, r.step, b.value(v).width};
  };
  Ring ring(op, b.rings, b.chunk);
  const Piece x = piece_of(op.inputs[0]);
  ring.put(x, b.n);
  Piece pieces[kMostPieces], *piece = pieces;
  const auto taps = [&] {
    for (size_t i = 0; i < op.sizes[kTaps]; ++i) {
      const int32_t tap = tap_at(op.weights[0], i);
      *piece++ = tap == 0 ? x : ring.frames(tap);
    }
  };
  if (!c.join) taps();
  for (uint32_t k = 0; c.join && k < c.join->n_inputs; ++k) {
    if (c.join->inputs[k] < op.output) *piece++ = piece_of(c.join->inputs[k]);
    else taps();
  }
  ConvolutionArgs args = {};
  args.pieces = pieces;
  args.n_pieces = static_cast<size_t>(piece - pieces);
  args.planes = planes;
  args.W = static_cast<const float*>(c.product->weights[0]);
  args.b = static_cast<const float*>(c.product->weights[1]);
  args.n_outputs = c.product->sizes[3];
  args.act = c.product->acts[0];
  if (c.kept) args.y = rows(c.product->output);
  if (c.sum) {
    args.sum_x = rows(c.sum_x);
    args.sum_y = rows(c.sum->output);
  }
  if (c.mix) {
    args.mix_W = static_cast<const float*>(c.mix->weights[0]);
    args.mix_b = static_cast<const float*>(c.mix->weights[1]);
    args.mix_outputs = c.mix->sizes[3];
    args.mix_x = rows(c.mix_x);
    args.mix_y = rows(c.mixed->output);
  }
  b.model->kernels->frames->convolution(args, b.n);
  ring.advance(b.n);
}

}  // namespace

void mark_convolutions(ut_model& m) {
  Convolution* next = m.convolutions;
  for (uint32_t i = 0; i < m.file.n_nodes; ++i) {
    OpPlan& op = m.ops[i];
    if (!op.has_ring || !op.alone) continue;
    const Convolution c = convolution_at(m, i);
    if (c.n_nodes == 0) continue;
    *next = c;
    plan_finish(m, *next);
    op.convolution = next++;
    op.alone = run_convolution;
    for (uint32_t k = 1; k < c.n_nodes; ++k) m.ops[i + k].alone = nullptr;
    i += c.n_nodes - 1;
  }
  for (size_t n_taps = kMostPieces; n_taps != 0; --n_taps)
    for (Convolution* c = m.convolutions; c < next; ++c) {
      if (!c->quick || c->n_past != n_taps) continue;
      const OpPlan& product = *c->product;
      m.pasts[m.n_pasts++] = {Ring::plan(*c->window), c->window->weights[0], n_taps, static_cast<const float*>(product.weights[0]),
                              static_cast<const float*>(product.weights[1]), product.sizes[3], m.values[product.output].offset};
    }
  for (Convolution* c = m.convolutions; c < next; ++c)
    if (c->quick) {
      c->is_first = true;
      break;
    }
  // What one narrow convolution writes and others alone read.
  const auto for_narrow = [&](const auto& f) {
    for (uint32_t i = 0; i < m.file.n_nodes; ++i)
      if (const Convolution* c = m.ops[i].convolution)
        if (c->narrow) f(m.ops[i], *c);
  };
  for_narrow([&](const OpPlan&, const Convolution& c) {
    m.values[c.product->output].planes = true;
    if (c.sum) m.values[c.sum->output].planes = true;
    if (c.mix) m.values[c.mixed->output].planes = true;
  });
  for_narrow([&](const OpPlan& window, const Convolution& c) {
    const auto read = [&](uint32_t v) { --m.values[v].n_readings; };
    read(window.inputs[0]);
    if (c.sum) read(c.product->output), read(c.sum_x);
    if (c.mix) read(c.product->output), read(c.mix_x);
  });
  for (uint32_t v = 0; v < m.file.n_values; ++v) m.values[v].planes = m.values[v].planes && m.values[v].n_readings == 0;
}

}  // namespace undertow
