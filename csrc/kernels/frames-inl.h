// SPDX-License-Identifier: MIT
// Frame ops other than dense. Compiled once per ISA.
// Sums over a frame have one order: 16 partial sums (element j goes to sum j mod 16), joined pairwise.

namespace {

void activation(float* y, const float* x, size_t n, const Act& act) {
  for (size_t j = 0; j < n; j += kLanes) store(y + j, activate(act, load(x + j)));
}

// max and min give v where u is NaN; |u| > -1 fails for NaN alone, and then u itself comes out.
inline V max_or_nan(V u, V v) { return flushed(select_lt(set1(-1.0f), vabs(u), max(u, v), u)); }
inline V min_or_nan(V u, V v) { return flushed(select_lt(set1(-1.0f), vabs(u), min(u, v), u)); }

// 1 where neither is NaN, else 0.
inline V ordered(V u, V v) {
  const V one = set1(1.0f), zero = set1(0.0f), below = set1(-1.0f);
  return select_lt(below, vabs(u), select_lt(below, vabs(v), one, zero), zero);
}

UT_OF_ANY_KIND V binary_of(uint32_t kind, V u, V v) {
  const V one = set1(1.0f), zero = set1(0.0f);
  switch (kind) {
    case kBinAdd: return add(u, v);
    case kBinSub: return sub(u, v);
    case kBinMul: return mul(u, v);
    case kBinDiv: return div(u, v);
    case kBinMax: return max_or_nan(u, v);
    case kBinMin: return min_or_nan(u, v);
    case kBinGreater: return select_lt(v, u, one, zero);
    case kBinLess: return select_lt(u, v, one, zero);
    case kBinEqual: return select_lt(u, v, zero, select_lt(v, u, zero, ordered(u, v)));
    case kBinGreaterEqual: return select_lt(u, v, zero, ordered(u, v));
    default: return select_lt(v, u, zero, ordered(u, v));
  }
}
UT_OF_ANY_KIND void binary_any(uint32_t kind, float* y, const float* a, const float* b, size_t n) {
  for (size_t j = 0; j < n; j += kLanes) store(y + j, binary_of(kind, load(a + j), load(b + j)));
}
template <uint32_t kKind>
void binary(float* y, const float* a, const float* b, size_t n) {
  binary_any(kKind, y, a, b, n);
}

void where(float* y, const float* cond, const float* a, const float* b, size_t n) {
  const V least = set1(1.17549435e-38f);  // a condition of NaN is not below it, and not zero
  for (size_t j = 0; j < n; j += kLanes)
    store(y + j, flushed(select_lt(vabs(load(cond + j)), least, load(b + j), load(a + j))));
}

void affine(float* y, const float* x, const float* scale, const float* shift, size_t n) {
  for (size_t j = 0; j < n; j += kLanes) store(y + j, mul_add(load(x + j), load(scale + j), load(shift + j)));
}

struct Sums {
  V v[kPanel / kLanes];
  void clear() {
    for (V& s : v) s = set1(0.0f);
  }
  void add_to(int i, V x) { v[i] = add(v[i], x); }
  float total() const {
    float s[kPanel];
    for (int i = 0; i < static_cast<int>(kPanel) / kLanes; ++i) store(s + i * kLanes, v[i]);
    for (size_t width = kPanel / 2; width != 0; width /= 2)
      for (size_t i = 0; i < width; ++i) s[i] += s[i + width];
    return s[0];
  }
};

// The largest of n numbers as `softmax` has it, where the sign of a zero does not matter: x[0] where that is NaN, else no NaN.
inline float largest(const float* x, size_t n) {
  V top = set1(x[0]);
  visit(x, n, -UT_INFINITY, [&](size_t, int, V v) { top = select_lt(top, v, v, top); });
  float s[kLanes];
  store(s, top);
  for (int i = 1; i < kLanes; ++i) s[0] = s[i] > s[0] ? s[i] : s[0];
  return s[0];
}

// softmax: y = e^(x - max) / sum; log_softmax: y = (x - max) - log(sum).
void softmax(float* y, const float* x, size_t n, bool log) {
  float top = x[0];
  if (log || kLanes == 1 || kCompact)
    for (size_t j = 1; j < n; ++j) top = x[j] > top ? x[j] : top;
  else
    top = largest(x, n);
  const V shift = set1(top);
  Sums sums;
  sums.clear();
  const float nothing = -UT_INFINITY;  // e^(nothing - max) is 0 whatever the maximum
  if (log) {
    visit(x, n, nothing, [&](size_t, int i, V v) { sums.add_to(i, vexp(sub(v, shift))); });
    const V log_sum = vlog(set1(sums.total()));
    map(y, x, n, 0.0f, [&](size_t, int, V v) { return sub(sub(v, shift), log_sum); });
  } else {
    map(y, x, n, nothing, [&](size_t, int i, V v) {
      const V e = vexp(sub(v, shift));
      sums.add_to(i, e);
      return e;
    });
    const V total = set1(sums.total());
    map(y, y, n, 0.0f, [&](size_t, int, V v) { return div(v, total); });
  }
}

// y = (x - mean) / sqrt(variance + eps) * scale + shift; variance with 1/n. scale and shift may be null.
void layer_norm(float* y, const float* x, const float* scale, const float* shift, size_t n, float eps) {
  Sums sums;
  sums.clear();
  visit(x, n, 0.0f, [&](size_t, int i, V v) { sums.add_to(i, v); });
  const float mean = sums.total() / static_cast<float>(n);
  const V m = set1(mean);
  sums.clear();
  visit(x, n, mean, [&](size_t, int i, V v) {
    const V d = sub(v, m);
    sums.add_to(i, mul(d, d));
  });
  const V inv = div(set1(1.0f), square_root(set1(sums.total() / static_cast<float>(n) + eps)));
  map(y, x, n, 0.0f, [&](size_t j, int i, V v) {
    const size_t at = j + static_cast<size_t>(i) * kLanes;
    V w = mul(sub(v, m), inv);
    if (scale) w = mul(w, load(scale + at));
    if (shift) w = add(w, load(shift + at));
    return w;
  });
}

}  // namespace
