// SPDX-License-Identifier: MIT
// What decoders compute from the logits of a timestep. No Python, no libm: exp and log are sums and products of doubles
// in the order that is written in logits.cpp, so an id that is chosen, and a score, is the same wherever doubles are
// rounded after each operation, which is everywhere but in x87 code.
#ifndef UNDERTOW_SRC_LOGITS_H_
#define UNDERTOW_SRC_LOGITS_H_

#include <cstddef>
#include <cstdint>

// e^x for x <= 0, within 2 ulp; 0 below -708.
double exp_of(double x) noexcept;

// The natural logarithm of a normal number above 0, within 3 ulp.
double log_of(double x) noexcept;

// log(e^a + e^b); neither may be NaN or +inf.
double log_add(double a, double b) noexcept;

// base^exponent for base >= 1, as exp_of and log_of make it: 1 for an exponent of 0.
double power_of(double base, double exponent) noexcept;

// The index of the largest of n > 0 numbers, the first of equal ones; -1 if one is NaN.
ptrdiff_t first_largest(const float* z, size_t n) noexcept;

// d[i] = log of the i-th probability: d = z - max, less the log of the sum of e^d in the order of i. Where z is
// probabilities, their logs stand for it first. False where there is no such thing: NaN, +inf, nothing above -inf, a
// probability below 0.
bool log_probabilities(const float* z, size_t n, bool probabilities, double* d) noexcept;

struct Sampling {
  double temperature;  // above 0
  size_t top_k;        // 0: all
  double top_p;        // above 0; 1: all
  bool probabilities;
};

// The id at the point u of [0, 1) among those that are left, of which id i has the weight
// e^((z[i] - max) / temperature); -1 as log_probabilities gives false. First the top_k largest are left, of equal ones
// the lower ids; of these the fewest, in that order, whose weights are top_p of theirs. d, w: room for n; order: as well.
ptrdiff_t draw(const float* z, size_t n, const Sampling& how, double u, double* d, double* w, uint32_t* order) noexcept;

// A hypothesis with one more id, or as it stands.
struct Candidate {
  double rank, score;
  int32_t parent, id;  // id -1: as it stands
};

// The best `width` candidates, best first, of equal ones who came first; `best` has room for so many.
struct Ranking {
  Candidate* best;
  size_t width, n;
};
void offer(Ranking& ranking, const Candidate& candidate) noexcept;

// Offers a hypothesis with each id that has a probability: score + d[id], which divided by `length` is its rank.
void offer_all(Ranking& ranking, const double* d, size_t n, double score, double length, int32_t parent) noexcept;

#endif  // UNDERTOW_SRC_LOGITS_H_
