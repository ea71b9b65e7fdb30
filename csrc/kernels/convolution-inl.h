// SPDX-License-Identifier: MIT
// A product whose frames stand in pieces, the taps of a convolution say, with what a residual network does to its output at
// once: an activation, a running sum, and a second product that is added to something. Compiled once per ISA. Every output is
// one chain of fused multiply-adds in ascending k that starts at the bias, as that of `dense`; so are those of the second.

namespace {

#if UT_ISA_FLUSHES
UT_NOINLINE V multiply_add(V a, V b, V c) { return mul_add(a, b, c); }  // one copy of what looks for subnormals
#else
inline V multiply_add(V a, V b, V c) { return mul_add(a, b, c); }
#endif

// acc += the columns of one piece, NV vectors of weights each, for NT frames `stride` apart. kStride: a stride that is known
// while compiling, so that an address is an offset; 0: it is not.
template <int NV, int NT, size_t kStride>
UT_INLINE inline const float* columns(V (&acc)[NT * NV], const Piece& piece, size_t t, const float* w) {
  const size_t stride = kStride ? kStride : piece.stride, step = kStride > 1 ? 1 : piece.step;
  const float* x = piece.x + t * stride;
  for (size_t k = 0; k < piece.width; ++k, x += step, w += kPanel) {
    V weight[NV];
    each<NV>([&](auto v) UT_INLINE { weight[v] = load(w + v * kLanes); });
    constexpr int kSome = NT < 8 ? NT : 8;  // as many as `each` unrolls
    each<NT / kSome>([&](auto more) UT_INLINE {
      each<kSome>([&](auto i) UT_INLINE {
        const V xk = set1(x[(more * kSome + i) * stride]);
        each<NV>([&](auto v) UT_INLINE {
          V& a = acc[(more * kSome + i) * NV + v];
          a = multiply_add(xk, weight[v], a);
        });
      });
    });
  }
  return w;
}

// The next smaller number of vectors that a kernel is compiled for.
template <int NV>
constexpr int kFewer = kCompact ? 1 : NV / 2;

inline float* at(const Elements& rows, size_t t) { return rows.y + t * rows.stride; }

// NT frames from t on, of the first NV vectors of the panel.
template <int NV, int NT>
inline void convolution_tile(const ConvolutionArgs& c, size_t t) {
  V acc[NT * NV];
  for (int i = 0; i < NT; ++i)
    for (int v = 0; v < NV; ++v) acc[i * NV + v] = c.b ? load(c.b + v * kLanes) : set1(0.0f);
  const float* w = c.W;
  for (const Piece *p = c.pieces, *end = p + c.n_pieces; p != end; ++p) switch (kCompact ? 0 : p->stride) {
      case 1: w = columns<NV, NT, kCompact ? 0 : 1>(acc, *p, t, w); break;
      case 8: w = columns<NV, NT, kCompact ? 0 : 8>(acc, *p, t, w); break;
      case 16: w = columns<NV, NT, kCompact ? 0 : 16>(acc, *p, t, w); break;
      default: w = columns<NV, NT, 0>(acc, *p, t, w); break;
    }
  // Narrow rows stand close together while they go through the activation. What a store leaves behind its row is
  // overwritten by the next one.
  const size_t M = c.n_outputs, row = NT > 1 && 2 * M <= kLanes ? M : NV * kLanes;
  float z[(NT + 1) * kPanel];
  for (int i = 0; i < NT; ++i)
    for (int v = 0; v < NV; ++v) store(z + i * row + v * kLanes, NT == 1 ? activate(c.act, acc[i * NV + v]) : acc[i * NV + v]);
  if (NT > 1 && c.act.kind != kActIdentity) {
    store(z + NT * row, set1(0.0f));  // the last vector of these may end there
    activation(z, z, NT * row, c.act);
  }
  for (size_t i = 0; i < NT; ++i) {
    const float* from = z + i * row;
    for (int v = 0; c.y.y && v < NV; ++v) store(at(c.y, t + i) + v * kLanes, load(from + v * kLanes));
    for (int v = 0; c.sum_y.y && v < NV; ++v)
      store(at(c.sum_y, t + i) + v * kLanes, add(load(at(c.sum_x, t + i) + v * kLanes), load(from + v * kLanes)));
  }
  if (!c.mix_y.y) return;
  for (int i = 0; i < NT; ++i)
    for (int v = 0; v < NV; ++v) acc[i * NV + v] = c.mix_b ? load(c.mix_b + v * kLanes) : set1(0.0f);
  if (!kCompact && row == NV * kLanes) {
    columns<NV, NT, kCompact ? 0 : NV * kLanes>(acc, {z, row, 1, M}, 0, c.mix_W);
  } else {
    columns<NV, NT, 0>(acc, {z, row, 1, M}, 0, c.mix_W);
  }
  for (size_t i = 0; i < NT; ++i)
    for (int v = 0; v < NV; ++v)
      store(at(c.mix_y, t + i) + v * kLanes, add(load(at(c.mix_x, t + i) + v * kLanes), acc[i * NV + v]));
}

template <int NV, int NT>
inline void convolution_frames(const ConvolutionArgs& c, size_t t, size_t T) {
  for (; t + NT <= T; t += NT) convolution_tile<NV, NT>(c, t);
  if constexpr (NT > 1) convolution_frames<NV, NT / 2>(c, t, T);
}

// The vectors of a panel that its outputs take: all, or half of them, and so on.
template <int NV>
inline void convolution_of(const ConvolutionArgs& c, size_t T, size_t widest) {
  if constexpr (NV > 1)
    if (widest <= kFewer<NV> * kLanes) return convolution_of<kFewer<NV>>(c, T, widest);
  constexpr int most = kCompact ? NV : kRegisters >= 32 ? 16 : 8;
  constexpr int NT = most > NV ? most / NV : 1;
  convolution_frames<NV, NT>(c, 0, T);
}

// --- narrow frames: lanes run over timesteps, which stand in planes ---------------------------------------------------

// n timesteps of M elements from planes of T, to those from t on of y, with what x has there added.
template <int NM, size_t T>
inline void put_planes(const float* from, size_t M, size_t n, size_t t, const Elements* x, const Elements& y) {
  if (y.stride == 1 && (!x || x->stride == 1)) {
    for (size_t m = 0; m < M; ++m)
      for (size_t i = 0; i < n; i += kLanes) {
        V v = load(from + m * T + i);
        if (x) v = add(load(x->y + m * x->step + t + i), v);
        store_up_to(y.y + m * y.step + t + i, v, n - i);
      }
    return;
  }
  for (size_t i = 0; i < n; ++i)
    for (size_t m = 0; m < NM; ++m) {
      if (NM > 1 && m >= M) break;
      const float v = from[m * T + i];
      y.y[(t + i) * y.stride + m * y.step] = x ? x->y[(t + i) * x->stride + m * x->step] + v : v;
    }
}

// At most NF vectors of timesteps: the first `n` from t on.
template <int NM, int NF>
inline void planes_tile(const ConvolutionArgs& c, size_t t, size_t n) {
  constexpr size_t T = static_cast<size_t>(NF) * kLanes;
  V acc[NM * NF];
  each<NM>([&](auto m) UT_INLINE {
    each<NF>([&](auto f) UT_INLINE { acc[m * NF + f] = set1(c.b ? c.b[m] : 0.0f); });
  });
  const auto multiply = [&](const float* x, const float* w) UT_INLINE {
    V xs[NF];
    each<NF>([&](auto f) UT_INLINE { xs[f] = load(x + f * kLanes); });
    each<NM>([&](auto m) UT_INLINE {
      const V weight = set1(w[m]);
      each<NF>([&](auto f) UT_INLINE { acc[m * NF + f] = multiply_add(xs[f], weight, acc[m * NF + f]); });
    });
  };
  const float* w = c.W;
  for (const Piece *p = c.pieces, *end = p + c.n_pieces; p != end; ++p)
    for (size_t k = 0; k < p->width; ++k, w += kPanel) {
      const float* x = p->x + t * p->stride + k * p->step;
      if (p->stride == 1) {
        multiply(x, w);
      } else {
        float column[T] = {};
        for (size_t i = 0; i < n; ++i) column[i] = x[i * p->stride];
        multiply(column, w);
      }
    }
  float z[NM * T], q[NM * T];
  each<NM * NF>([&](auto i) UT_INLINE { store(z + i * kLanes, acc[i]); });
  if (c.act.kind != kActIdentity) activation(z, z, NM * T, c.act);
  const size_t M = c.n_outputs;
  if (c.y.y) put_planes<NM, T>(z, M, n, t, nullptr, c.y);
  if (c.sum_y.y) put_planes<NM, T>(z, M, n, t, &c.sum_x, c.sum_y);
  if (!c.mix_y.y) return;
  each<NM>([&](auto m) UT_INLINE {
    each<NF>([&](auto f) UT_INLINE { acc[m * NF + f] = set1(c.mix_b ? c.mix_b[m] : 0.0f); });
  });
  for (size_t k = 0; k < M; ++k) multiply(z + k * T, c.mix_W + k * kPanel);
  each<NM * NF>([&](auto i) UT_INLINE { store(q + i * kLanes, acc[i]); });
  put_planes<NM, T>(q, c.mix_outputs, n, t, &c.mix_x, c.mix_y);
}

// Of layers with at most NM outputs.
template <int NM>
inline void planes(const ConvolutionArgs& c, size_t T, size_t widest) {
  if constexpr (NM > 1 && !kCompact)
    if (widest < NM) return planes<NM - 1>(c, T, widest);
  size_t t = 0;
  if constexpr (!kCompact)
    for (; t + kLanes < T; t += 2 * kLanes) planes_tile<NM, 2>(c, t, T - t < 2 * kLanes ? T - t : 2 * kLanes);
  for (; t < T; t += kLanes) planes_tile<NM, 1>(c, t, T - t < kLanes ? T - t : kLanes);
}

void convolution(const ConvolutionArgs& c, size_t T) {
  const size_t widest = c.mix_y.y && c.mix_outputs > c.n_outputs ? c.mix_outputs : c.n_outputs;
  if (c.planes) return planes<kNarrow>(c, T, widest);
  convolution_of<kVectors<1>>(c, T, widest);
}

// --- one frame --------------------------------------------------------------------------------------------------------

struct OpenRing {
  OpenRing(const RingPlan& plan, const StreamMemory& memory)
      : next(memory.rings + plan.ring + plan.ring_per_frame * memory.block), n(plan.span + memory.block) {
    uint32_t place;
    memcpy(&place, next, sizeof place);
    at = place;
  }
  const float* rows() const { return next + kPanel; }
  size_t stride(const RingPlan& plan) const { return plan.planes ? 1 : plan.width; }
  size_t step(const RingPlan& plan, const StreamMemory& memory) const { return plan.planes ? n + memory.block : 1; }

  float* next;
  size_t n, at;
};

// N of them side by side: each hides the latency of the others.
template <int NV, int N, bool kPlanes>
inline void past_of(const Past* p, const StreamMemory& memory, size_t n_outputs) {
  if constexpr (NV > 1)
    if (n_outputs <= kFewer<NV> * kLanes) return past_of<kFewer<NV>, N, kPlanes>(p, memory, n_outputs);
  V acc[N * NV];
  const float *w[N], *rows[N];
  size_t at[N], n[N], step[N], n_taps = p->n_taps;
  for (int j = 0; j < N; ++j) {
    const OpenRing ring(p[j].ring, memory);
    w[j] = p[j].W;
    rows[j] = ring.rows();
    at[j] = ring.at;
    n[j] = ring.n;
    step[j] = ring.step(p[j].ring, memory);
    if (p[j].n_taps < n_taps) n_taps = p[j].n_taps;
    for (int v = 0; v < NV; ++v) acc[j * NV + v] = p[j].b ? load(p[j].b + v * kLanes) : set1(0.0f);
  }
  const size_t width = p->ring.width, stride = kPlanes ? 1 : width;
  const auto frame = [&](size_t j, size_t i) UT_INLINE {
    int32_t tap;
    memcpy(&tap, static_cast<const int32_t*>(p[j].taps) + i, sizeof tap);
    const ptrdiff_t place = static_cast<ptrdiff_t>(at[j]) + tap;
    return rows[j] + static_cast<size_t>(place < 0 ? place + static_cast<ptrdiff_t>(n[j]) : place) * stride;
  };
  const auto multiply = [&](auto j, const float* x, const float* weights) UT_INLINE {
    const V xk = set1(*x);
    each<NV>([&](auto v) UT_INLINE { acc[j * NV + v] = multiply_add(xk, load(weights + v * kLanes), acc[j * NV + v]); });
  };
  size_t column = 0;
  for (size_t i = 0; i < n_taps; ++i) {
    const float* x[N];
    each<N>([&](auto j) UT_INLINE { x[j] = frame(j, i); });
    for (size_t k = 0; k < width; ++k, column += kPanel)
      each<N>([&](auto j) UT_INLINE {
        multiply(j, kPlanes ? x[j] : x[j] + k, w[j] + column);
        if (kPlanes) x[j] += step[j];
      });
  }
  each<N>([&](auto j) UT_INLINE {  // what one has more than another
    const float* weights = w[j] + column;
    for (size_t i = n_taps; i < p[j].n_taps; ++i)
      for (size_t k = 0; k < width; ++k, weights += kPanel) multiply(j, frame(j, i) + k * (kPlanes ? step[j] : 1), weights);
    each<NV>([&](auto v) UT_INLINE { store(memory.values + p[j].y * memory.capacity + v * kLanes, acc[j * NV + v]); });
  });
}

template <int N>
inline void pasts_of(const Past* p, size_t n, const StreamMemory& memory, size_t n_outputs) {
  if constexpr (N > 1)
    if (n < N) return pasts_of<N - 1>(p, n, memory, n_outputs);
  p->ring.planes ? past_of<kVectors<1>, N, true>(p, memory, n_outputs) : past_of<kVectors<1>, N, false>(p, memory, n_outputs);
}

void past(const Past* p, size_t n, const StreamMemory& memory) {
  constexpr size_t most = kLanes == 1 || kCompact ? 1 : 4;  // without vectors nothing waits
  for (const Past* end = p + n; p != end;) {
    size_t alike = 1, n_outputs = p->n_outputs;
    for (; alike < most && p + alike != end; ++alike) {
      const Past& next = p[alike];
      if (next.ring.width != p->ring.width || 4 * next.n_taps < 3 * p->n_taps) break;  // of which it would hide little
      if (next.n_outputs > n_outputs) n_outputs = next.n_outputs;
    }
    pasts_of<most>(p, alike, memory, n_outputs);
    p += alike;
  }
}

// A frame of at most a panel into a ring.
inline void put_frame(const RingPlan& plan, const StreamMemory& memory, const float* x) {
  const OpenRing ring(plan, memory);
  float* rows = ring.next + kPanel;
  const size_t stride = ring.stride(plan), step = ring.step(plan, memory);
  const auto put = [&](float* to) UT_INLINE {
    if (step == 1)
      for (size_t k = 0; k < plan.width; k += kLanes) store_up_to(to + k, load(x + k), plan.width - k);
    else
      for (size_t k = 0; k < plan.width; ++k) to[k * step] = x[k];
  };
  put(rows + ring.at * stride);
  if (ring.at < memory.block) put(rows + (ring.n + ring.at) * stride);
  const uint32_t next = ring.at + 1 == ring.n ? 0 : static_cast<uint32_t>(ring.at + 1);
  memcpy(ring.next, &next, sizeof next);
}

// The first NV vectors of the panels.
template <int NV>
inline void finish_of(const Finish& c, const StreamMemory& memory) {
  if constexpr (NV > 1)
    if (c.widest <= kFewer<NV> * kLanes) return finish_of<kFewer<NV>>(c, memory);
  const auto row = [&](size_t place) UT_INLINE { return memory.values + place * memory.capacity; };
  V acc[NV];
  float* y = row(c.y);
  each<NV>([&](auto v) UT_INLINE { acc[v] = c.begun ? load(y + v * kLanes) : c.b ? load(c.b + v * kLanes) : set1(0.0f); });
  const auto multiply = [&](const float* x, const float* w, size_t n) UT_INLINE {
    for (size_t k = 0; k < n; ++k) {
      const V xk = set1(x[k]);
      each<NV>([&](auto v) UT_INLINE { acc[v] = multiply_add(xk, load(w + k * kPanel + v * kLanes), acc[v]); });
    }
  };
  const float* w = c.W;
  for (size_t i = 0; i < c.n_pieces; w += c.widths[i++] * kPanel) multiply(row(c.pieces[i]), w, c.widths[i]);
  each<NV>([&](auto v) UT_INLINE {
    acc[v] = c.act.kind == kActLeakyRelu ? activate_as<kActLeakyRelu>(c.act, acc[v]) : activate(c.act, acc[v]);
    store(y + v * kLanes, acc[v]);
  });
  put_frame(c.ring, memory, row(c.x));
  if (c.sums)
    each<NV>([&](auto v) UT_INLINE { store(row(c.sum_y) + v * kLanes, add(load(row(c.sum_x) + v * kLanes), acc[v])); });
  if (!c.mix_W) return;
  each<NV>([&](auto v) UT_INLINE { acc[v] = c.mix_b ? load(c.mix_b + v * kLanes) : set1(0.0f); });
  multiply(y, c.mix_W, c.n_outputs);
  each<NV>([&](auto v) UT_INLINE { store(row(c.mix_y) + v * kLanes, add(load(row(c.mix_x) + v * kLanes), acc[v])); });
}

void finish(const Finish& c, const StreamMemory& memory) { finish_of<kVectors<1>>(c, memory); }

}  // namespace
