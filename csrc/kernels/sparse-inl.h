// SPDX-License-Identifier: MIT
// Sparse matrices times frames: lists of blocks of 16 rows and 4 columns (FORMAT.md, "Sparse"). Compiled once per ISA.
// The halves of a block may stand at different columns, so that a matrix pruned in blocks of 8 rows costs what it keeps.
// Order of sums, whatever the vector width or the number of frames in flight: float32 adds column i of each block to
// chain i of four, which end as (0 + 1) + (2 + 3); int8 gives the bits of the dense kernel, its sums being exact.

namespace {

// One list and some vectors of its panel, for NT frames from t on.
struct Walk {
  size_t list, panel, t;
  int vector;  // the first of NV
};

constexpr int at_least_1(int n) { return n < 1 ? 1 : n; }
// Vectors of a panel that a walk takes at once: all of them where four chains of each leave half of the registers free.
constexpr int kSparseVectors = UT_SMALLEST ? 1 : kVectors<1> < kRegisters / 8 ? kVectors<1> : kRegisters / 8;

// x from j on, as far as it reaches: rows of one frame are not padded.
inline V load_diagonal(const float* x, size_t j, size_t K) {
  return j + kLanes <= K ? load(x + j) : j < K ? load_some(x + j, K - j) : set1(0.0f);
}

struct SparseFloats {
  static constexpr int kFrames = at_least_1(kRegisters / (8 * kSparseVectors));
  static void prepare(const DenseArgs&, size_t) {}

  template <int NT>
  using Chains = V[NT][kSparseBlock][kSparseVectors];

  // x: where column 0 of each half of this block is, for each frame.
  template <int NT>
  UT_INLINE static inline void block(Chains<NT>& acc, const float* w, const float* const (&low)[NT],
                                                          const float* const (&high)[NT], int vector) {
    for (size_t i = 0; i < kSparseBlock; ++i) {
      V weight[kSparseVectors];
      for (int v = 0; v < kSparseVectors; ++v) weight[v] = load(w + i * kPanel + (vector + v) * kLanes);
      for (int t = 0; t < NT; ++t)
        for (int v = 0; v < kSparseVectors; ++v)
          acc[t][i][v] = mul_add(broadcast_halves(low[t] + i, high[t] + i, vector + v), weight[v], acc[t][i][v]);
    }
  }

  template <int NT>
  static inline void walk(const DenseArgs& d, const SparseMatrix& lists, const Walk& at) {
    const size_t column = static_cast<size_t>(at.vector) * kLanes, first = at.list * kPanel + column;
    const float* diagonal = lists.diagonal ? reinterpret_cast<const float*>(lists.diagonal) + first : nullptr;
    const float* x[NT];
    Chains<NT> acc;
    for (int t = 0; t < NT; ++t) {
      x[t] = d.x + (at.t + t) * d.x_stride;
      for (int v = 0; v < kSparseVectors; ++v) {
        V start = bias_at(d, first + v * kLanes);
        if (lists.diagonal)
          start = mul_add(load_diagonal(x[t], at.panel * kPanel + column + v * kLanes, d.K), load(diagonal + v * kLanes), start);
        acc[t][0][v] = start;
        acc[t][1][v] = acc[t][2][v] = acc[t][3][v] = set1(0.0f);
      }
    }
    const float* blocks = reinterpret_cast<const float*>(lists.blocks);
    const size_t end = lists.starts[at.list + 1], tail = d.K % kSparseBlock;
    size_t b = lists.starts[at.list];
    const float *low[NT], *high[NT];
    const auto find = [&] {
      for (int t = 0; t < NT; ++t) {
        low[t] = x[t] + kSparseBlock * lists.columns[2 * b];
        high[t] = x[t] + kSparseBlock * lists.columns[2 * b + 1];
      }
    };
    for (; !UT_SMALLEST && b + (tail != 0) < end; ++b) {
      find();
      block<NT>(acc, blocks + b * kPanel * kSparseBlock, low, high, at.vector);
    }
    for (; b < end; ++b) {
      find();
      float last[NT][kSparseBlock] = {};
      for (int t = 0; t < NT && b + 1 == end; ++t) {  // the only block that may reach beyond K, where x holds anything
        const float* from = x[t] + d.K - tail;
        for (size_t i = 0; i < tail; ++i) last[t][i] = from[i];
        if (tail != 0 && low[t] == from) low[t] = last[t];
        if (tail != 0 && high[t] == from) high[t] = last[t];
      }
      block<NT>(acc, blocks + b * kPanel * kSparseBlock, low, high, at.vector);
    }
    for (int t = 0; t < NT; ++t)
      for (int v = 0; v < kSparseVectors; ++v)
        store(d.y + (at.t + t) * d.y_stride + first + v * kLanes,
              add(add(acc[t][0][v], acc[t][1][v]), add(acc[t][2][v], acc[t][3][v])));
  }
};

struct SparseInt8 {
  static constexpr int kFrames = at_least_1(kRegisters / (4 * kSparseVectors));
  static void prepare(const DenseArgs& d, size_t T) { quantize_frames<kSparseInt8>(d, T); }

  template <int NT>
  static inline void walk(const DenseArgs& d, const SparseMatrix& lists, const Walk& at) {
    constexpr int NC = NT > 1 || UT_SMALLEST ? 1 : 2;  // chains: with the next list's, enough to hide the latency of a product
    const size_t column = static_cast<size_t>(at.vector) * kLanes, first = at.list * kPanel + column;
    const size_t stride = quantized_bytes(kSparseInt8, d.K);
    const int8_t* x = quantized_frame<kSparseInt8>(d, at.t);
    VI acc[NT][NC][kSparseVectors];
    for (int t = 0; t < NT; ++t)
      for (int c = 0; c < NC; ++c)
        for (int v = 0; v < kSparseVectors; ++v) acc[t][c][v] = c ? zero_int() : dot_start(lists.sums + first + v * kLanes);
    const int8_t* blocks = reinterpret_cast<const int8_t*>(lists.blocks) + 4 * column;
    const auto block = [&](size_t b, int c) {
      const int8_t *low = x + kSparseBlock * lists.columns[2 * b], *high = x + kSparseBlock * lists.columns[2 * b + 1];
      for (int t = 0; t < NT; ++t)
        for (int v = 0; v < kSparseVectors; ++v) {
          const size_t frame = static_cast<size_t>(t) * stride;
          acc[t][c][v] = dot(acc[t][c][v], blocks + b * kPanel * kSparseBlock + v * 4 * kLanes,
                             quad_halves(low + frame, high + frame, at.vector + v));
        }
    };
    const size_t end = lists.starts[at.list + 1];
    size_t b = lists.starts[at.list];
    for (; b + NC <= end; b += NC)
      for (int c = 0; c < NC; ++c) block(b + static_cast<size_t>(c), c);
    for (; b < end; ++b) block(b, 0);
    for (int t = 0; t < NT; ++t) {
      const int8_t* frame = x + static_cast<size_t>(t) * stride;
      int32_t products[kSparseVectors * kLanes] = {};
      if (lists.diagonal) {
        const int8_t* diagonal = reinterpret_cast<const int8_t*>(lists.diagonal) + first;
        for (int i = 0; i < kSparseVectors * kLanes; ++i)
          products[i] = diagonal[i] * frame[at.panel * kPanel + column + static_cast<size_t>(i)];
      }
      const V scale = scale_of<kSparseInt8>(frame, d.K);
      for (int v = 0; v < kSparseVectors; ++v) {
        const size_t j = first + v * kLanes;
        VI sum = add_int(load_int(products + v * kLanes), acc[t][0][v]);
        for (int c = 1; c < NC; ++c) sum = add_int(sum, acc[t][c][v]);
        store(d.y + (at.t + t) * d.y_stride + j, mul_add(mul(to_float(sum), load(lists.scales + j)), scale, bias_at(d, j)));
      }
    }
  }
};

// Every list for NT frames from t on.
template <class Weights, int G, int NT>
UT_NOINLINE void walk_lists(const DenseArgs& d, const SparseMatrix& lists, size_t p, size_t n_panels, size_t t) {
  for (; p < n_panels; ++p)
    for (size_t g = 0; g < G; ++g)
      for (int v = 0; v < kVectors<1>; v += kSparseVectors) Weights::template walk<NT>(d, lists, {p * G + g, p, t, v});
}

#if UT_SMALLEST
template <class Weights>
UT_NOINLINE void sparse_of_gates(uint32_t gates, const DenseArgs& d, size_t T) {
  Weights::prepare(d, T);
  const SparseMatrix& lists = *static_cast<const SparseMatrix*>(d.W);
  for (size_t t = 0; t < T; ++t)
    for (size_t list = 0; list < d.n_panels * gates; ++list)
      for (int v = 0; v < kVectors<1>; v += kSparseVectors) Weights::template walk<1>(d, lists, {list, list / gates, t, v});
}
#endif

template <class Weights, int G>
void sparse(const DenseArgs& d, size_t T) {
  Weights::prepare(d, T);
  const SparseMatrix lists = *static_cast<const SparseMatrix*>(d.W);
  if (T == 1) return walk_lists<Weights, G, 1>(d, lists, 0, d.n_panels, 0);
  // Panels outside, frames inside: the blocks of a panel stay in cache while the frames pass.
  for (size_t p = 0; p < d.n_panels; ++p) {
    size_t t = 0;
    if constexpr (Weights::kFrames > 1)
      for (; t + Weights::kFrames <= T; t += Weights::kFrames) walk_lists<Weights, G, Weights::kFrames>(d, lists, p, p + 1, t);
    for (; t < T; ++t) walk_lists<Weights, G, 1>(d, lists, p, p + 1, t);
  }
}

}  // namespace
