// SPDX-License-Identifier: MIT
#include "logits.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLog2E = 0x1.71547652b82fep+0;
// ln 2 in two parts, of which the first has 32 bits: its products with exponents are exact.
constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kSqrt2 = 0x1.6a09e667f3bcdp+0;
constexpr double kLeast = -708;  // e^x is a normal number from there on
constexpr size_t kLanes = 8, kBlock = 32;

uint64_t bits_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

double of_bits(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// 2^k e^r with |r| <= ln(2) / 2, of which the series is cut after r^13 / 13!: below 2^-57 of it.
inline double exp_normal(double x) {
  constexpr double kToInteger = 0x1.8p52;
  const double shifted = x * kLog2E + kToInteger;
  const double k = shifted - kToInteger;
  const double r = (x - k * kLn2High) - k * kLn2Low;
  double p = 1.0 / 6227020800;
  p = p * r + 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * (r * r) + r;
  return (p + 1) * of_bits((bits_of(shifted) << 52) + (uint64_t{1023} << 52));
}

// e[i] = e^x[i] of a block of numbers that are at most 0, in vectors.
void exp_block(const double* x, double* e) {
  // Three loops, for compilers take a choice in one for a branch.
  double within[kBlock];
  for (size_t i = 0; i < kBlock; ++i) within[i] = x[i] >= kLeast ? x[i] : kLeast;
  for (size_t i = 0; i < kBlock; ++i) e[i] = exp_normal(within[i]);
  for (size_t i = 0; i < kBlock; ++i) e[i] = x[i] >= kLeast ? e[i] : 0;
}

// Logits, or logs of probabilities, as doubles; gives the largest, and NaN where log_probabilities has nothing to give.
double widen(const float* z, size_t n, bool probabilities, double* d) {
  double largest = -kInfinity;
  bool valid = true;
  for (size_t i = 0; i < n; ++i) {
    double x = z[i];
    if (probabilities) {
      valid &= x >= 0 && x < kInfinity;
      x = x > 0 && x < kInfinity ? log_of(x) : -kInfinity;
    }
    valid &= x < kInfinity;
    largest = x > largest ? x : largest;
    d[i] = x;
  }
  return valid && largest > -kInfinity ? largest : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

double exp_of(double x) noexcept {
  const double e = exp_normal(x >= kLeast ? x : kLeast);
  return x >= kLeast ? e : 0;
}

double log_of(double x) noexcept {
  // x = 2^k m with m of [sqrt(1/2), sqrt(2)): log m = 2 atanh(s), of which the series is cut after s^23 / 23.
  const uint64_t bits = bits_of(x);
  double k = static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
  double m = of_bits((bits & ((uint64_t{1} << 52) - 1)) | (uint64_t{1023} << 52));
  if (m >= kSqrt2) {
    m *= 0.5;
    k += 1;
  }
  const double s = (m - 1) / (m + 1), q = s * s;
  double p = 0;
  for (int i = 23; i > 1; i -= 2) p = (p + 1.0 / i) * q;
  return k * kLn2High + (2 * s + (2 * s * p + k * kLn2Low));
}

double log_add(double a, double b) noexcept {
  const double high = a > b ? a : b, low = a > b ? b : a;
  return low == -kInfinity ? high : high + log_of(1 + exp_of(low - high));
}

double power_of(double base, double exponent) noexcept {
  const double x = exponent * log_of(base);
  return x <= 0 ? exp_of(x) : 1 / exp_of(-x);
}

ptrdiff_t first_largest(const float* z, size_t n) noexcept {
  float lanes[kLanes];
  int strange[kLanes] = {};
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      lanes[j] = z[i + j] > lanes[j] ? z[i + j] : lanes[j];
      strange[j] |= z[i + j] != z[i + j];
    }
  }
  for (; i < n; ++i) {
    lanes[0] = z[i] > lanes[0] ? z[i] : lanes[0];
    strange[0] |= z[i] != z[i];
  }
  for (size_t j = 1; j < kLanes; ++j) {
    lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    strange[0] |= strange[j];
  }
  if (strange[0]) return -1;
  for (i = 0; z[i] != lanes[0];) ++i;
  return static_cast<ptrdiff_t>(i);
}

bool log_probabilities(const float* z, size_t n, bool probabilities, double* d) noexcept {
  const double largest = widen(z, n, probabilities, d);
  if (largest != largest) return false;
  double sum = 0;
  for (size_t i = 0; i < n; ++i) d[i] -= largest;
  for (size_t i = 0; i < n; i += kBlock) {
    double x[kBlock], e[kBlock];
    const size_t some = std::min(n - i, kBlock);
    std::fill(std::copy(d + i, d + i + some, x), x + kBlock, kLeast);
    exp_block(x, e);
    for (size_t j = 0; j < some; ++j) sum += e[j];
  }
  const double log_sum = log_of(sum);
  for (size_t i = 0; i < n; ++i) d[i] -= log_sum;
  return true;
}

ptrdiff_t draw(const float* z, size_t n, const Sampling& how, double u, double* d, double* w,
               uint32_t* order) noexcept {
  const double largest = widen(z, n, how.probabilities, d);
  if (largest != largest) return -1;
  size_t kept = 0;
  if (how.top_k && how.top_k < n) {
    std::copy(d, d + n, w);
    std::nth_element(w, w + (how.top_k - 1), w + n, [](double a, double b) { return a > b; });
    const double least = w[how.top_k - 1];
    size_t equals = how.top_k;
    for (size_t i = 0; i < n; ++i) equals -= d[i] > least;
    for (size_t i = 0; i < n; ++i) {
      if (d[i] > least || (d[i] == least && equals && equals--)) order[kept++] = static_cast<uint32_t>(i);
    }
  } else {
    for (; kept < n; ++kept) order[kept] = static_cast<uint32_t>(kept);
  }
  double total = 0;
  for (size_t i = 0; i < kept; i += kBlock) {
    double x[kBlock], e[kBlock];
    const size_t some = std::min(kept - i, kBlock);
    for (size_t j = 0; j < kBlock; ++j) x[j] = j < some ? (d[order[i + j]] - largest) / how.temperature : kLeast;
    exp_block(x, e);
    for (size_t j = 0; j < some; ++j) total += w[order[i + j]] = e[j];
  }
  if (how.top_p < 1) {
    // A heap gives them largest first, and as a rule few are wanted. They gather at its end.
    const auto behind = [d](uint32_t a, uint32_t b) { return d[a] < d[b] || (d[a] == d[b] && a > b); };
    std::make_heap(order, order + kept, behind);
    const double enough = how.top_p * total;
    size_t left = kept;
    for (double sum = 0; left && sum < enough;) {
      std::pop_heap(order, order + left, behind);
      sum += w[order[--left]];
    }
    std::copy(order + left, order + kept, order);
    kept -= left;
    std::sort(order, order + kept);
    total = 0;
    for (size_t i = 0; i < kept; ++i) total += w[order[i]];
  }
  const double point = u * total;
  double sum = 0;
  uint32_t last = order[0];
  for (size_t i = 0; i < kept; ++i) {
    sum += w[order[i]];
    if (sum > point) return order[i];
    if (w[order[i]] > 0) last = order[i];
  }
  return last;
}

void offer(Ranking& ranking, const Candidate& candidate) noexcept {
  size_t at = ranking.n;
  if (at == ranking.width) {
    if (!(candidate.rank > ranking.best[at - 1].rank)) return;
    --at;
  } else {
    ++ranking.n;
  }
  for (; at && candidate.rank > ranking.best[at - 1].rank; --at) ranking.best[at] = ranking.best[at - 1];
  ranking.best[at] = candidate;
}

void offer_all(Ranking& ranking, const double* d, size_t n, double score, double length, int32_t parent) noexcept {
  for (size_t i = 0; i < n; ++i) {
    const double sum = score + d[i];
    if (sum > -kInfinity) offer(ranking, {sum / length, sum, parent, static_cast<int32_t>(i)});
  }
}
