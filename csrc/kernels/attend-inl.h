// SPDX-License-Identifier: MIT
// Attention of one query over n rows (attention.h). Compiled once per ISA.
// A score is 16 partial sums, joined as those of a frame; a result one chain over the rows in their order. So rows may stand
// in pieces, and how many are computed at once changes no bit.

namespace {

// Rows whose partial sums are in registers at once.
constexpr int kScoresAtOnce = kCompact ? 1 : kLanes == 8 ? 4 : kLanes;

// Partial sums of kRows rows, each as one vector: what is left of 16 when those are joined down to kLanes.
template <int kRows>
UT_INLINE_FN void products_with_rows(V* sums, const float* q, const float* rows, size_t stride, size_t width) {
  V parts[kRows][kChunkVectors];
  for (int r = 0; r < kRows; ++r)
    for (V& part : parts[r]) part = set1(0.0f);
  size_t d = 0;
  for (; d + kPanel <= width; d += kPanel)
    for (int v = 0; v < kChunkVectors; ++v) {
      const size_t at = d + static_cast<size_t>(v) * kLanes;
      const V a = load(q + at);
      for (int r = 0; r < kRows; ++r) parts[r][v] = mul_add(a, load(rows + static_cast<size_t>(r) * stride + at), parts[r][v]);
    }
  for (int v = 0; v < kChunkVectors && d < width; ++v, d += kLanes) {
    const size_t some = width - d;
    const bool whole = some >= kLanes;
    const V a = whole ? load(q + d) : load_some(q + d, some);
    for (int r = 0; r < kRows; ++r) {
      const float* row = rows + static_cast<size_t>(r) * stride + d;
      parts[r][v] = mul_add(a, whole ? load(row) : load_some(row, some), parts[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int n = kChunkVectors / 2; n != 0; n /= 2)
      for (int v = 0; v < n; ++v) parts[r][v] = add(parts[r][v], parts[r][v + n]);
    sums[r] = parts[r][0];
  }
}

void write_scores(float* y, const AttendArgs& a, const HeadRows& keys) {
  const float* rows = keys.x;
  for (size_t i = 0; i < keys.n;) {
    V sums[kLanes];
    const size_t some = keys.n - i < kLanes ? keys.n - i : kLanes;
    size_t r = 0;
    for (; r + kScoresAtOnce <= some; r += kScoresAtOnce, rows += kScoresAtOnce * keys.stride)
      products_with_rows<kScoresAtOnce>(sums + r, a.q, rows, keys.stride, a.key_width);
    for (; r < some; ++r, rows += keys.stride) products_with_rows<1>(sums + r, a.q, rows, keys.stride, a.key_width);
    for (; r < kLanes; ++r) sums[r] = sums[0];
    join_halves<kLanes>(kReduceSum, sums);
    some == kLanes ? store(y + i, sums[0]) : store_some(y + i, sums[0], some);
    i += some;
  }
}

// Elements d to d + NV * kLanes - 1 of the result; NV 1 where kWhole is not.
template <int NV, bool kWhole>
UT_INLINE_FN void weigh_values(const AttendArgs& a, size_t d) {
  V acc[NV];
  for (V& v : acc) v = set1(0.0f);
  const float* share = a.scores;
  for (const HeadRows& piece : a.values) {
    const float* row = piece.x + d;
    for (size_t i = 0; i < piece.n; ++i, row += piece.stride) {
      const V p = set1(*share++);
      for (int v = 0; v < NV; ++v) acc[v] = mul_add(p, kWhole ? load(row + v * kLanes) : load_some(row, a.value_width - d), acc[v]);
    }
  }
  for (int v = 0; v < NV; ++v) kWhole ? store(a.y + d + v * kLanes, acc[v]) : store_some(a.y + d, acc[v], a.value_width - d);
}

void attend(const AttendArgs& a) {
  size_t n = 0;
  for (const HeadRows& piece : a.keys) {
    if (piece.n != 0) write_scores(a.scores + n, a, piece);
    n += piece.n;
  }
  const V scale = set1(a.scale), cap = set1(a.cap);
  for (size_t i = 0; i < n; i += kLanes) {  // up to a whole panel, of which nobody reads the end
    V score = mul(load(a.scores + i), scale);
    if (a.cap != 0.0f) score = mul(cap, vtanh(div(score, cap)));
    if (a.bias) score = add(score, n - i < kLanes ? load_some(a.bias + i, n - i) : load(a.bias + i));
    store(a.scores + i, score);
  }
  softmax(a.scores, a.scores, n, false);
  size_t d = 0;
  constexpr int kFew = UT_SMALLEST ? 1 : 4;
  for (; kFew > 1 && d + kFew * kLanes <= a.value_width; d += kFew * kLanes) weigh_values<kFew, true>(a, d);
  for (; d + kLanes <= a.value_width; d += kLanes) weigh_values<1, true>(a, d);
  if (kLanes > 1 && d < a.value_width) weigh_values<1, false>(a, d);
}

}  // namespace
