// SPDX-License-Identifier: MIT
// What a panel of weights is made of: one type per precision, each with the innermost loop of a matrix product.
// Compiled once per ISA. The numerics contract lives here: every output is one chain of fused multiply-adds in ascending
// k that starts at the bias (integer precisions: FORMAT.md, "What is computed"), whatever the vector width, the number of
// frames or of panels in flight.

namespace {

// Vectors in a panel of G gates.
template <int G>
constexpr int kVectors = G * static_cast<int>(kPanel) / kLanes;

// Where a tile stands: NT frames from t on, NP panels from p on, NV vectors of each from `column` on.
struct Place {
  size_t t, p;
  size_t column;  // in floats
  float* y;       // of the first frame, where the first vector goes
  size_t gates = 0;  // of a tile of int4 that is not told while compiling, G being 0
};

// f(0) to f(N - 1), with numbers that are known while compiling: GCC keeps an array in registers where nothing else is its
// index. More vectors than that stand in memory anyway, as on `scalar`.
constexpr size_t kMostInRegisters = kLanes == 1 ? 16 : 12;
template <size_t kNumber>
struct Number {
  constexpr operator size_t() const { return kNumber; }
};
template <size_t N, class F>
UT_INLINE inline void each(const F& f) {
  if constexpr (N > kMostInRegisters) {
    for (size_t i = 0; i < N; ++i) f(i);
  } else if constexpr (N != 0) {
    each<N - 1>(f);
    f(Number<N - 1>());
  }
}

// Rows of one lane that go at once: as many as the registers hold sums of.
constexpr size_t kChainsAtOnce = kRegisters / 2, kSumsAtOnce = 4;

// In place of biases of a tile, where there are none.
alignas(64) constexpr float kZeros[(UT_SMALLEST ? 1 : 8) * kPanel] = {};

inline V bias_at(const DenseArgs& d, size_t at) { return d.b ? load(d.b + at) : set1(0.0f); }

// --- float32, float16, bfloat16 --------------------------------------------------------------------------------------

struct Half {
  static constexpr uint32_t kPrecision = kFloat16;
  uint16_t bits;
};
struct Bfloat {
  static constexpr uint32_t kPrecision = kBfloat16;
  uint16_t bits;
};
inline V load_weights(const float* p) { return load(p); }
inline V load_weights(const Half* p) { return load_half(&p->bits); }
inline V load_weights(const Bfloat* p) { return load_bfloat(&p->bits); }

// One lane: y[i] = start[i] + the sum over k of x[k] w[k * width + i], of N neighbours i; start may be null (zeros).
template <size_t N, class Element, bool kUnflushed = false>
inline void chains_at_once(float* y, const float* start, const float* x, const Element* w, size_t K, size_t width) {
  V sum[N];
  each<N>([&](auto i) UT_INLINE { sum[i] = start ? load(start + i) : set1(0.0f); });
  for (const float* const end = x + K; x != end; ++x, w += width) {
    const V xk = set1(*x);
    each<N>([&](auto i) UT_INLINE {
#if UT_LANE_FLUSHES
      if constexpr (kUnflushed)
        sum[i] = product_add_unflushed(xk, load_weights(w + i), sum[i]);
      else
#endif
        sum[i] = mul_add(xk, load_weights(w + i), sum[i]);
    });
  }
  each<N>([&](auto i) UT_INLINE { store(y + i, sum[i]); });
}
template <size_t N>
inline void chains_at_once(float* y, const float* start, const float* x, const float* w, size_t K, size_t width) {
#if defined(UT_CHAINS_OF_16)
  if constexpr (N == 16) return chains_of_16(y, start ? start : kZeros, x, w, K, width);
#endif
  chains_at_once<N, float>(y, start, x, w, K, width);
}

#if defined(UT_MVE)
template <size_t N>
inline void chains_at_once(float* y, const float* start, const float* x, const Half* w, size_t K, size_t width) {
  if constexpr (N == 16)
    chains_of_16(y, start ? start : kZeros, x, &w->bits, K, width);
  else
    chains_at_once<N, Half>(y, start, x, w, K, width);
}
#endif

#if UT_LANE_FLUSHES
// Whether all numbers of a frame are 0, or `least` or more and finite.
inline bool frame_is_ordinary(const float* x, size_t K, float least) {
  const uint32_t low = bits_of(least) - 1, range = 0x7f800000u - bits_of(least);
  if (least == 0.0f) return false;
  for (size_t k = 0; k < K; ++k)
    if ((bits_of(x[k]) << 1) != 0 && (bits_of(x[k]) & 0x7fffffffu) - 1 - low >= range) return false;
  return true;
}
#endif

// Of the first `n_units` rows of each gate of a panel: those that it is filled up with need no chains.
// `least`: Scaling::least of the weights.
template <class Element>
UT_NOINLINE void chains_of_rows(float* y, const float* start, const float* x, const Element* w, size_t K, size_t width, size_t n_units,
                                [[maybe_unused]] float least) {
#if UT_LANE_FLUSHES
  if (frame_is_ordinary(x, K, least)) {
    for (size_t gate = 0; gate < width; gate += kPanel)
      for (size_t i = gate; i < gate + n_units; i += 4 * kSumsAtOnce)
        chains_at_once<4 * kSumsAtOnce, Element, true>(y + i, start ? start + i : nullptr, x, w + i, K, width);
    return;
  }
#endif
  constexpr size_t N = kChainsAtOnce, some = N > 8 ? 8 : N, few = N > 4 ? 4 : N;
  for (size_t gate = 0; gate < width; gate += kPanel)
    for (size_t i = gate, end = gate + n_units, n; i < end; i += n) {
      const float* const from = start ? start + i : nullptr;
      n = end - i > some + few || (N == some && end - i > few) ? N : end - i > few ? some : few;
      if (n == N)
        chains_at_once<N>(y + i, from, x, w + i, K, width);
      else if (n == some)
        chains_at_once<some>(y + i, from, x, w + i, K, width);
      else
        chains_at_once<few>(y + i, from, x, w + i, K, width);
    }
}

#if UT_SMALLEST
// As chains_of_rows, whatever these weights are: those that no instruction widens on the way are widened some columns at a time.
UT_NOINLINE void rows_of_floats(uint32_t precision, const DenseArgs& d, size_t gates, size_t p, size_t t, float* y, size_t n_units) {
  constexpr size_t N = kChainsAtOnce, kColumns = 8;
  const size_t K = d.K, width = gates * kPanel, bytes = precision == kFloat32 ? 4 : 2;
  const float* const x = d.x + t * d.x_stride;
  const uint8_t* const W = static_cast<const uint8_t*>(d.W) + p * K * width * bytes;
#if UT_LANE_FLUSHES
  const bool ordinary = frame_is_ordinary(x, K, d.scaling.least);
#endif
  const auto some_chains = [&](float* to, const float* start, const float* from, const float* w, size_t n, size_t stride) {
#if UT_LANE_FLUSHES
    if (ordinary) return chains_at_once<N, float, true>(to, start, from, w, n, stride);
#endif
    chains_at_once<N>(to, start, from, w, n, stride);
  };
  for (size_t gate = 0; gate < width; gate += kPanel)
    for (size_t i = gate; i < gate + n_units; i += N) {
      const float* start = d.b ? d.b + p * width + i : kZeros;
      const uint8_t* w = W + i * bytes;
      if (precision == kFloat32) {
        some_chains(y + i, start, x, reinterpret_cast<const float*>(w), K, width);
        continue;
      }
#if defined(UT_CHAINS_OF_16)
      if (precision == kFloat16) {
        chains_of_16(y + i, start, x, reinterpret_cast<const uint16_t*>(w), K, width);
        continue;
      }
#endif
      for (size_t k = 0, n; k < K; k += n, start = y + i) {
        float wide[kColumns * N];
        n = K - k < kColumns ? K - k : kColumns;
        for (size_t j = 0; j < n; ++j, w += width * bytes)
          for (size_t v = 0; v < N; ++v) {
            const uint16_t* half = reinterpret_cast<const uint16_t*>(w) + v;
            wide[j * N + v] = precision == kFloat16 ? load_half(half) : load_bfloat(half);
          }
        some_chains(y + i, start, x + k, wide, n, N);
      }
    }
}
#endif

template <class Element>
constexpr uint32_t precision_of(const Element*) {
  return Element::kPrecision;
}
constexpr uint32_t precision_of(const float*) { return kFloat32; }

template <class Element>
struct Floats {
  static constexpr uint32_t kPrecision = precision_of(static_cast<const Element*>(nullptr));
  static constexpr bool kFlushes = UT_ISA_FLUSHES;
  using Number = Element;
  static constexpr size_t frame_floats(size_t) { return 0; }  // of a frame as it meets the weights, in DenseArgs::quantized
  static void prepare(const DenseArgs&, size_t) {}

  static inline void rows_of_panel(const DenseArgs& d, size_t gates, size_t p, size_t t, float* y, size_t n_units) {
#if UT_SMALLEST
    return rows_of_floats(kPrecision, d, gates, p, t, y, n_units);
#endif
    const size_t width = gates * kPanel;
    const Element* W = static_cast<const Element*>(d.W) + p * d.K * width;
    chains_of_rows(y, d.b ? d.b + p * width : nullptr, d.x + t * d.x_stride, W, d.K, width, n_units, d.scaling.least);
  }

  static inline void table_row(float* y, const void* table, size_t row, size_t D) {
    const Element* from = static_cast<const Element*>(table) + row * D;
    if (UT_SMALLEST) {
      for (size_t j = 0; j < D; ++j) store(y + j, load_weights(from + j));
      return;
    }
    for (size_t j = 0; j < D; j += kPanel) {  // the end of the table may be the end of the file
      const size_t n = D - j < kPanel ? D - j : kPanel;
      Element some[kPanel] = {};
      float wide[kPanel];
      memcpy(some, from + j, n * sizeof(Element));
      for (size_t i = 0; i < kPanel; i += kLanes) store(wide + i, load_weights(some + i));
      memcpy(y + j, wide, n * sizeof(float));
    }
  }

  // Where kFlushes, of frames that make no subnormals.
  template <int G, int NP, int NV, int NT>
  static inline void tile(const DenseArgs& d, const Place& at) {
    constexpr size_t width = G * kPanel;
    const size_t panel = d.K * width, first = at.p * width + at.column;
    const Element* w = static_cast<const Element*>(d.W) + at.p * panel + at.column;
    const size_t K = d.K, x_stride = d.x_stride, y_stride = d.y_stride;  // a vector that is stored may be anything's alias
    const float* x = d.x + at.t * x_stride;
    float* y = at.y;
    constexpr int N = NP * NV;  // vectors of weights
    V acc[NT * N];
    each<N>([&](auto i) UT_INLINE {
      const V bias = bias_at(d, first + i / NV * width + i % NV * kLanes);
      each<NT>([&](auto t) UT_INLINE { acc[t * N + i] = bias; });
    });
    for (size_t k = 0; k < K; ++k) {
      V weight[N];
      each<N>([&](auto i) UT_INLINE { weight[i] = load_weights(w + k * width + i / NV * panel + i % NV * kLanes); });
      each<NT>([&](auto t) UT_INLINE {
        const V xk = set1(x[t * x_stride + k]);
        each<N>([&](auto i) UT_INLINE { acc[t * N + i] = product_add(xk, weight[i], acc[t * N + i]); });
      });
    }
    each<NT>([&](auto t) UT_INLINE {
      each<N>([&](auto i) UT_INLINE { store(y + t * y_stride + i / NV * width + i % NV * kLanes, acc[t * N + i]); });
    });
  }
};

// --- int8, int16, int4: frames are quantised first -------------------------------------------------------------------

template <uint32_t kPrecision>
inline int8_t* quantized_frame(const DenseArgs& d, size_t t) {
  return reinterpret_cast<int8_t*>(d.quantized) + t * quantized_bytes(kPrecision, d.K);
}
template <uint32_t kPrecision>
UT_INLINE_FN V scale_of(const int8_t* frame, size_t K) {
  float scale;
  UT_COPY(&scale, frame + quantized_scale_at(kPrecision, K), sizeof scale);
  return set1(scale);
}
template <class Kind>
inline void quantize_frames_as(Kind precision, const DenseArgs& d, size_t T) {
  for (size_t t = 0; t < T; ++t) {
    int8_t* to = reinterpret_cast<int8_t*>(d.quantized) + t * quantized_bytes(precision, d.K);
    const float* x = d.x + t * d.x_stride;
    if constexpr (UT_SMALLEST)
      quantize(precision, uint32_t{d.scaling.factors != nullptr}, to, x, d.K, d.scaling);
    else if (may_be_smoothed(precision) && d.scaling.factors)
      quantize(precision, KnownKind<1>(), to, x, d.K, d.scaling);
    else
      quantize(precision, KnownKind<0>(), to, x, d.K, d.scaling);
  }
}
#if UT_SMALLEST
UT_NOINLINE void quantize_frames_of(uint32_t precision, const DenseArgs& d, size_t T) { quantize_frames_as(precision, d, T); }
#endif
template <uint32_t kPrecision>
inline void quantize_frames(const DenseArgs& d, size_t T) {
#if UT_SMALLEST
  quantize_frames_of(kPrecision, d, T);
#else
  quantize_frames_as(KnownKind<kPrecision>(), d, T);
#endif
}

// 32 bits of each row meet 32 bits of a frame: four neighbours in k of int8, two of int16. kStretch: such meetings whose
// products are summed as integers.
struct Int8Numbers {
  using Integer = int8_t;
  using Operand = Quad;
  static constexpr uint32_t kPrecision = kInt8;
  static constexpr size_t kNeighbours = 4, kStretch = ~size_t{0};
  static constexpr bool kSums = true;
  static inline Operand operand(const Integer* x) { return quad(x); }
};
struct Int16Numbers {
  using Integer = int16_t;
  using Operand = Pair;
  static constexpr uint32_t kPrecision = kInt16;
  static constexpr size_t kNeighbours = 2, kStretch = ::kStretch / kNeighbours;
  static constexpr bool kSums = false;
  static inline Operand operand(const Integer* x) { return pair(x); }
};

// One lane: sums[i] = the sum of the products of row i of n_rows neighbours, and up to 3 more, over n operands of x; `row_bytes`:
// from operand to operand of one row. They are no array meanwhile, whatever it is that the caller does with them.
template <class Numbers>
UT_NOINLINE void sums_of_rows(VI* sums, const int8_t* x_bytes, const int8_t* w_bytes, size_t n, size_t row_bytes, size_t n_rows) {
  using Integer = typename Numbers::Integer;
  const Integer *x = reinterpret_cast<const Integer*>(x_bytes), *w = reinterpret_cast<const Integer*>(w_bytes);
  const size_t row = row_bytes / sizeof(Integer);
  for (const VI* const end = sums + n_rows; sums < end; sums += kSumsAtOnce, w += kSumsAtOnce * Numbers::kNeighbours) {
#if defined(UT_SUMS_OF_4)
    sums_of_4(sums, x, w, n, row);
#else
    VI sum[kSumsAtOnce];
    each<kSumsAtOnce>([&](auto i) UT_INLINE { sum[i] = zero_int(); });
    const Integer *at = x, *from = w;
    for (const Integer* const last = x + n * Numbers::kNeighbours; at != last; at += Numbers::kNeighbours, from += row) {
      const typename Numbers::Operand q = Numbers::operand(at);
      each<kSumsAtOnce>([&](auto i) UT_INLINE { sum[i] = dot(sum[i], from + i * Numbers::kNeighbours, q); });
    }
    each<kSumsAtOnce>([&](auto i) UT_INLINE { sums[i] = sum[i]; });
#endif
  }
}

// One lane: n_units rows of each gate of panel p, to y. An operand has 4 bytes, whatever its numbers are.
UT_OF_ANY_KIND void rows_of_integers(bool is_int8, const DenseArgs& d, size_t gates, size_t p, size_t t, float* y, size_t n_units) {
  const size_t K = d.K, width = gates * kPanel, row = 4 * width;
  const size_t n = is_int8 ? (K + 3) / 4 : (K + 1) / 2, stretch = is_int8 ? n : kStretch / 2;
  const size_t panel = is_int8 ? panel_bytes(kInt8, K, gates) : panel_bytes(kInt16, K, gates);
  const size_t frame_bytes = is_int8 ? quantized_bytes(kInt8, K) : quantized_bytes(kInt16, K);
  const int8_t* w = static_cast<const int8_t*>(d.W) + p * panel;
  const float* scales = reinterpret_cast<const float*>(w + n * row);
  const int8_t* frame = reinterpret_cast<const int8_t*>(d.quantized) + t * frame_bytes;
  const V scale = is_int8 ? scale_of<kInt8>(frame, K) : scale_of<kInt16>(frame, K);
  const auto sums_of = is_int8 ? sums_of_rows<Int8Numbers> : sums_of_rows<Int16Numbers>;
  for (size_t gate = 0; gate < width; gate += kPanel) {
    const float* const b = d.b ? d.b + p * width + gate : kZeros;
    float* const to = y + gate;
    const float* before = kZeros;  // sums of the stretches before
    VI sums[kPanel];
    size_t k = 0;
    for (; UT_UNLIKELY(n - k > stretch); k += stretch, before = to) {
      sums_of(sums, frame + 4 * k, w + 4 * gate + k * row, stretch, row, n_units);
      for (size_t i = 0; i < n_units; ++i) store(to + i, add(load(before + i), to_float(sums[i])));
    }
    sums_of(sums, frame + 4 * k, w + 4 * gate + k * row, n - k, row, n_units);
    for (size_t i = 0; i < n_units; ++i) {
      const V total = add(load(before + i), to_float(sums[i]));
      store(to + i, mul_add(mul(total, load(scales + gate + i)), scale, load(b + i)));
    }
  }
}

template <class Numbers>
struct Integers {
  static constexpr bool kFlushes = false;
  using Integer = typename Numbers::Integer;
  static constexpr uint32_t kPrecision = Numbers::kPrecision;
  static constexpr size_t frame_floats(size_t K) { return quantized_floats(kPrecision, K); }

  static void prepare(const DenseArgs& d, size_t T) { quantize_frames<kPrecision>(d, T); }

  static inline void table_row(float* y, const void* table, size_t row, size_t D) {
    const uint8_t* from = static_cast<const uint8_t*>(table) + row * table_row_bytes(kPrecision, D);
    const Integer* q = reinterpret_cast<const Integer*>(from);
    float scale;
    memcpy(&scale, from + round_up(D * sizeof(Integer), 4), sizeof scale);
    for (size_t j = 0; j < D; ++j) y[j] = static_cast<float>(q[j]) * scale;
  }

  static UT_NOINLINE void rows_of_panel(const DenseArgs& d, size_t gates, size_t p, size_t t, float* y, size_t n_units) {
    rows_of_integers(kPrecision == kInt8, d, gates, p, t, y, n_units);
  }

  template <int G, int NP, int NV, int NT>
  static inline void tile(const DenseArgs& d, const Place& at) {
    constexpr size_t width = G * kPanel, row = Numbers::kNeighbours * width;  // row: in integers, as panel
    const size_t n = (d.K + Numbers::kNeighbours - 1) / Numbers::kNeighbours;
    const size_t panel = panel_bytes(kPrecision, d.K, G) / sizeof(Integer), first = at.p * width + at.column;
    const Integer* w = static_cast<const Integer*>(d.W) + at.p * panel + Numbers::kNeighbours * at.column;
    const float* scales = reinterpret_cast<const float*>(static_cast<const Integer*>(d.W) + at.p * panel + n * row) + at.column;
    const int32_t* sums = reinterpret_cast<const int32_t*>(scales + width);
    const size_t scales_panel = panel * sizeof(Integer) / sizeof(float);
    const size_t stride = quantized_bytes(kPrecision, d.K) / sizeof(Integer), y_stride = d.y_stride;
    const Integer* x = reinterpret_cast<const Integer*>(quantized_frame<kPrecision>(d, at.t));
    const float* b = d.b ? d.b + first : kZeros;
    float* y = at.y;
    for (size_t k = 0;;) {
      const size_t from = k, end = n - k > Numbers::kStretch ? k + Numbers::kStretch : n;
      VI acc[NT][NP][NV];
      for (int t = 0; t < NT; ++t)
        for (int p = 0; p < NP; ++p)
          for (int v = 0; v < NV; ++v)
            acc[t][p][v] = Numbers::kSums ? dot_start(sums + p * scales_panel + v * kLanes) : zero_int();
      for (; k < end; ++k)
        for (int t = 0; t < NT; ++t) {
          const typename Numbers::Operand q = Numbers::operand(x + static_cast<size_t>(t) * stride + Numbers::kNeighbours * k);
          each<NP * NV>([&](auto i) UT_INLINE {
            VI& sum = acc[t][i / NV][i % NV];
            sum = dot(sum, w + k * row + i / NV * panel + i % NV * Numbers::kNeighbours * kLanes, q);
          });
        }
      // `done`: how sums of this stretch go on, given where they go and which of the rows they are of.
      const auto each_sum = [&](const auto& done) UT_INLINE {
        for (int t = 0; t < NT; ++t) {
          const V scale = scale_of<kPrecision>(reinterpret_cast<const int8_t*>(x + static_cast<size_t>(t) * stride), d.K);
          for (int p = 0; p < NP; ++p)
            for (int v = 0; v < NV; ++v) {
              const size_t j = p * width + v * kLanes;
              float* to = y + static_cast<size_t>(t) * y_stride + j;
              const V weight_scale = load(scales + p * scales_panel + v * kLanes);
              store(to, done(to_float(acc[t][p][v]), to, [&](V sum) UT_INLINE { return mul_add(mul(sum, weight_scale), scale, load(b + j)); }));
            }
        }
      };
      const bool is_first = from == 0, is_last = end == n;
      if (is_first && is_last)
        return each_sum([](V sum, const float*, const auto& finish) UT_INLINE { return finish(sum); });
      if (is_last) return each_sum([](V sum, const float* to, const auto& finish) UT_INLINE { return finish(add(load(to), sum)); });
      if (is_first)
        each_sum([](V sum, const float*, const auto&) UT_INLINE { return sum; });
      else
        each_sum([](V sum, const float* to, const auto&) UT_INLINE { return add(load(to), sum); });
    }
  }
};
using Int8 = Integers<Int8Numbers>;
using Int16 = Integers<Int16Numbers>;

struct Int4 {
  static constexpr uint32_t kPrecision = kInt4;
  static constexpr bool kFlushes = false;
  static constexpr size_t frame_floats(size_t K) { return quantized_floats(kInt4, K); }
  static inline void rows_of_panel(const DenseArgs& d, size_t gates, size_t p, size_t t, float* y, size_t) {
    constexpr int NV = UT_SMALLEST ? 2 : 4;
    for (size_t v = 0; v < gates * kPanel; v += NV) tile<0, 1, NV, 1>(d, {t, p, v, y + v, gates});
  }

  static void prepare(const DenseArgs& d, size_t T) { quantize_frames<kInt4>(d, T); }

  static inline void table_row(float* y, const void* table, size_t row, size_t D) {
    const uint8_t* q = static_cast<const uint8_t*>(table) + row * table_row_bytes(kInt4, D);
    const uint8_t* scales = q + round_up(D, kGroup) / 2;
    for (size_t j = 0; j < D; ++j) {
      uint16_t bits[kLanes] = {};
      float scale[kLanes];
      memcpy(bits, scales + j / kGroup * 2, 2);
      store(scale, load_half(bits));
      y[j] = static_cast<float>((q[j / 2] >> j % 2 * 4 & 15) - 8) * scale[0];
    }
  }

  template <int G, int NP, int NV, int NT>
  static inline void tile(const DenseArgs& d, const Place& at) {
    constexpr size_t gate_bytes = kPanel * kGroup / 2;
    const size_t gates = G != 0 ? static_cast<size_t>(G) : at.gates, width = gates * kPanel;
    const size_t n_groups = (d.K + kGroup - 1) / kGroup, panel = panel_bytes(kInt4, d.K, gates);
    const size_t first = at.p * width + at.column;
    const uint8_t* w = static_cast<const uint8_t*>(d.W) + at.p * panel;
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(w + n_groups * gates * gate_bytes) + at.column;
    const size_t stride = quantized_bytes(kInt4, d.K);
    const int8_t* x = quantized_frame<kInt4>(d, at.t);
    V acc[NT][NP][NV];
    for (auto& frame : acc)
      for (auto& row : frame)
        for (V& v : row) v = set1(0.0f);
    for (size_t g = 0; g < n_groups; ++g)
      for (int t = 0; t < NT; ++t) {
        const int8_t* frame = x + static_cast<size_t>(t) * stride;
        const Group columns = group(frame + g * kGroup);
        int32_t sum;
        memcpy(&sum, frame + quantized_sums_at(kInt4, d.K) + 4 * g, sizeof sum);
        const VI offset = set1_int(8 * sum);
        for (int p = 0; p < NP; ++p)
          for (int v = 0; v < NV; ++v) {
            const size_t j = at.column + static_cast<size_t>(v) * kLanes;  // of the panel: gate j / kPanel
            const uint8_t* from = w + p * panel + (g * gates + j / kPanel) * gate_bytes + j % kPanel * 4;
            const V products = to_float(sub_int(dot_group(from, columns), offset));
            acc[t][p][v] = mul_add(products, load_half(scales + p * (panel / 2) + g * width + v * kLanes), acc[t][p][v]);
          }
      }
    for (int t = 0; t < NT; ++t) {
      const V scale = scale_of<kInt4>(x + static_cast<size_t>(t) * stride, d.K);
      for (int p = 0; p < NP; ++p)
        for (int v = 0; v < NV; ++v) {
          const size_t j = p * width + v * kLanes;
          store(at.y + static_cast<size_t>(t) * d.y_stride + j, mul_add(acc[t][p][v], scale, bias_at(d, first + j)));
        }
    }
  }
};

template <class Weights>
void table_row(float* y, const void* table, size_t row, size_t D) {
  Weights::table_row(y, table, row, D);
}

}  // namespace
