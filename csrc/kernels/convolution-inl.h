// SPDX-License-Identifier: MIT
// A product whose frames stand in pieces, the taps of a convolution say, with what a residual network does to its output at
// once: an activation, a running sum, and a second product that is added to something. Compiled once per ISA. Every output is
// one chain of fused multiply-adds in ascending k that starts at the bias, as that of `dense`; so are those of the second.

namespace {

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
          a = mul_add(xk, weight[v], a);
        });
      });
    });
  }
  return w;
}

inline float* at(const Elements& rows, size_t t) { return rows.y + t * rows.stride; }

// NT frames from t on, of the first NV vectors of the panel.
template <int NV, int NT>
inline void convolution_tile(const ConvolutionArgs& c, size_t t) {
  V acc[NT * NV];
  for (int i = 0; i < NT; ++i)
    for (int v = 0; v < NV; ++v) acc[i * NV + v] = c.b ? load(c.b + v * kLanes) : set1(0.0f);
  const float* w = c.W;
  for (const Piece *p = c.pieces, *end = p + c.n_pieces; p != end; ++p) switch (p->stride) {
      case 1: w = columns<NV, NT, 1>(acc, *p, t, w); break;
      case 8: w = columns<NV, NT, 8>(acc, *p, t, w); break;
      case 16: w = columns<NV, NT, 16>(acc, *p, t, w); break;
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
  if (row == NV * kLanes) {
    columns<NV, NT, NV * kLanes>(acc, {z, row, 1, M}, 0, c.mix_W);
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
    if (2 * widest <= NV * kLanes) return convolution_of<NV / 2>(c, T, widest);
  constexpr int most = kRegisters >= 32 ? 16 : 8;
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
      each<NF>([&](auto f) UT_INLINE { acc[m * NF + f] = mul_add(xs[f], weight, acc[m * NF + f]); });
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
  if constexpr (NM > 1)
    if (widest < NM) return planes<NM - 1>(c, T, widest);
  size_t t = 0;
  for (; t + kLanes < T; t += 2 * kLanes) planes_tile<NM, 2>(c, t, T - t < 2 * kLanes ? T - t : 2 * kLanes);
  for (; t < T; t += kLanes) planes_tile<NM, 1>(c, t, T - t < kLanes ? T - t : kLanes);
}

void convolution(const ConvolutionArgs& c, size_t T) {
  const size_t widest = c.mix_y.y && c.mix_outputs > c.n_outputs ? c.mix_outputs : c.n_outputs;
  if (c.planes) return planes<kNarrow>(c, T, widest);
  convolution_of<kVectors<1>>(c, T, widest);
}

}  // namespace
