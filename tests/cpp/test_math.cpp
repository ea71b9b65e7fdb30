// SPDX-License-Identifier: MIT
// Every activation of every instruction set against float64: error in ulp on a grid over all floats, special values,
// range, oddness, monotonicity over consecutive floats, NaN in NaN out, and equal bits on every instruction set.
//     test_math                 grid; scans [1/32, 90] float by float
//     test_math --quick         coarse grid and short scans, for emulators
//     test_math --exhaustive    all 2^32 floats
//     test_math --only NAME     one of the functions, such as tanh
//     test_math --golden FILE   also compares a hash of every result with the one in FILE (made by scalar on x86-64)
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "check.h"
#include "golden.h"
#include "isas.h"
#include "numbers.h"

// The scalar log itself: the table reaches it only through log_softmax.
#include "kernels/vec_scalar.h"
using namespace undertow;
#include "kernels/math-inl.h"

namespace {

using namespace ut_test;
using Table = KernelTable;

double exp_of(double x) { return exp(x); }
double tanh_of(double x) { return tanh(x); }
double sigmoid_of(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
double softplus_of(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
double elu_of(double x) { return x >= 0 ? x : expm1(x); }
double silu_of(double x) { return x / (1 + exp(-x)); }
double softsign_of(double x) { return x / (1 + fabs(x)); }
double sqrt_of(double x) { return sqrt(x); }
double log_of(double x) { return log(x); }
double erf_of(double x) { return erf(x); }
double sin_of(double x) { return fabs(x) > 0x1p20 ? NAN : sin(x); }
double cos_of(double x) { return fabs(x) > 0x1p20 ? NAN : cos(x); }
double reciprocal_of(double x) { return 1 / x; }
double floor_of(double x) { return floor(x); }
double ceil_of(double x) { return ceil(x); }
double round_of(double x) { return nearbyint(x); }
double abs_of(double x) { return fabs(x); }
double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

// Bounds of math-inl.h. Below `flushed` in magnitude a result may be zero.
struct Function {
  const char* name;
  Act act;
  double (*truth)(double);
  double max_ulp;
  double flushed;
  double low, high;  // closed range of results
  bool odd, monotone;
};

const double kTiny = ldexp(1, -126);
const Function kFunctions[] = {
    {"exp", {kActExp, 0, 0}, exp_of, 1.1, 2 * kTiny, 0, INFINITY, false, true},
    {"tanh", {kActTanh, 0, 0}, tanh_of, 1.4, kTiny, -1, 1, true, true},
    {"sigmoid", {kActSigmoid, 0, 0}, sigmoid_of, 2.5, kTiny, 0, 1, false, true},
    {"softplus", {kActSoftplus, 0, 0}, softplus_of, 2.9, 2 * kTiny, 0, INFINITY, false, false},
    {"elu", {kActElu, 1, 1}, elu_of, 1.0, kTiny, -1, INFINITY, false, false},
    {"silu", {kActSilu, 0, 0}, silu_of, 2.5, 45 * kTiny, -0.2785f, INFINITY, false, false},
    {"softsign", {kActSoftsign, 0, 0}, softsign_of, 1.5, kTiny, -1, 1, true, false},
    {"sqrt", {kActSqrt, 0, 0}, sqrt_of, 0.5, 0, 0, INFINITY, false, false},
    {"log", {kActLog, 0, 0}, log_of, 2, 0, -INFINITY, INFINITY, false, false},
    {"erf", {kActErf, 0, 0}, erf_of, 2, kTiny, -1, 1, true, false},
    {"sin", {kActSin, 0, 0}, sin_of, 2, kTiny, -1, 1, true, false},
    {"cos", {kActCos, 0, 0}, cos_of, 2, kTiny, -1, 1, false, false},
    {"recipr.", {kActReciprocal, 0, 0}, reciprocal_of, 0.5, kTiny, -INFINITY, INFINITY, true, false},
    {"floor", {kActFloor, 0, 0}, floor_of, 0, 0, -INFINITY, INFINITY, false, false},
    {"ceil", {kActCeil, 0, 0}, ceil_of, 0, 0, -INFINITY, INFINITY, false, false},
    {"round", {kActRound, 0, 0}, round_of, 0, 0, -INFINITY, INFINITY, true, false},
    {"abs", {kActAbs, 0, 0}, abs_of, 0, 0, 0, INFINITY, false, false},
    {"sign", {kActSign, 0, 0}, sign_of, 0, 0, -1, 1, true, false},
};

void evaluate(const Table& table, const Act& act, const float* x, float* y, size_t n) {
  const FloatMode mode;
  table.frames->activation(y, x, n, act);
}

float evaluate_one(const Table& table, const Act& act, float x) {
  float in[kPanel], out[kPanel];
  for (float& v : in) v = x;
  evaluate(table, act, in, out, kPanel);
  return out[0];
}

// Size of the last place of the float nearest to `truth`: its exponent less 23, in the bits of a double.
double ulp(double truth) {
  uint64_t u;
  memcpy(&u, &truth, sizeof u);
  const uint64_t exponent = u >> 52 & 0x7ff;
  u = ((exponent < 1023 - 126 ? 1023 - 126 : exponent) - 23) << 52;
  memcpy(&truth, &u, sizeof truth);
  return truth;
}

struct Worst {
  double ulp = 0;
  float x = 0, got = 0;
  double flushed = 0;  // largest truth whose result is zero
};

void measure_one(const Function& f, float x, float got, Worst* worst) {
  if (is_nan(x) || (!is_subnormal(x) && isnan(f.truth(static_cast<double>(x))))) {
    CHECK(is_nan(got), "%s(%a): expected NaN, got %a", f.name, static_cast<double>(x), static_cast<double>(got));
    return;
  }
  const double truth = f.truth(is_subnormal(x) ? copysign(0.0, static_cast<double>(x)) : static_cast<double>(x));
  const double y = static_cast<double>(got);
  if (!(y >= f.low && y <= f.high))
    CHECK(false, "%s(%a) = %a leaves [%g, %g]", f.name, static_cast<double>(x), y, f.low, f.high);
  if (isinf(truth) || fabs(truth) >= 0x1.ffffffp127) {
    // The last float below the threshold may round up to infinity too: its error is measured as if it were finite.
    if (!(isinf(y) && (y > 0) == (truth > 0)) && fabs(y) < 0x1.fffff0p127)
      CHECK(false, "%s(%a): expected %g, got %a", f.name, static_cast<double>(x), truth, y);
    return;
  }
  if (y == 0 && truth != 0 && fabs(truth) < f.flushed) {
    if (fabs(truth) > worst->flushed) worst->flushed = fabs(truth);
    return;
  }
  const double finite = isinf(y) ? copysign(0x1p128, y) : y;
  const double error = fabs(finite - truth) / ulp(truth);
  if (error > worst->ulp) {
    worst->ulp = error;
    worst->x = x;
    worst->got = got;
  }
}

// Every `stride`-th float of all 2^32: error, range, and that the tables agree. Gives the hash of all results.
uint64_t measure(const Function& f, const std::vector<const Table*>& tables, uint64_t stride, Hash* hash) {
  constexpr size_t kChunk = 1 << 14;
  std::vector<float> x(kChunk), reference(kChunk), y(kChunk);
  Worst worst;
  for (uint64_t at = 0; at < (uint64_t{1} << 32);) {
    size_t n = 0;
    for (; n < kChunk && at < (uint64_t{1} << 32); at += stride) x[n++] = as_float(static_cast<uint32_t>(at));
    const size_t padded = (n + kPanel - 1) / kPanel * kPanel;
    for (size_t i = n; i < padded; ++i) x[i] = 0;
    evaluate(*tables.back(), f.act, x.data(), reference.data(), padded);
    for (size_t i = 0; i < n; ++i) measure_one(f, x[i], reference[i], &worst);
    hash->add(reference.data(), n);
    for (size_t k = 0; k + 1 < tables.size(); ++k) {
      evaluate(*tables[k], f.act, x.data(), y.data(), padded);
      for (size_t i = 0; i < n; ++i)
        if (!same(y[i], reference[i]))
          CHECK(false, "%s(%a): %s gives %a, scalar %a", f.name, static_cast<double>(x[i]), tables[k]->name,
                static_cast<double>(y[i]), static_cast<double>(reference[i]));
    }
  }
  printf("  %-8s largest error %.4f ulp at %a (got %a); zero for results up to 2^%.2f\n", f.name, worst.ulp,
         static_cast<double>(worst.x), static_cast<double>(worst.got),
         worst.flushed > 0 ? log2(worst.flushed) : -149.0);
  CHECK(worst.ulp <= f.max_ulp, "%s(%a): error %.4f ulp, expected at most %g", f.name, static_cast<double>(worst.x),
        worst.ulp, f.max_ulp);
  return hash->value();
}

// Consecutive floats must not go down; for odd functions f(-x) = -f(x) to the bit.
void scan(const Function& f, const Table& table, float from, float to) {
  constexpr size_t kChunk = 1 << 14;
  std::vector<float> x(kChunk), y(kChunk);
  float before = -INFINITY, before_x = from;
  long drops = 0;
  double deepest = 0;
  for (int64_t r = rank(from), end = rank(to); r <= end;) {
    for (float& v : x) v = at_rank(r <= end ? r++ : end);
    evaluate(table, f.act, x.data(), y.data(), kChunk);
    for (size_t i = 0; i < kChunk; ++i) {
      if (y[i] < before) {
        ++drops;
        const double depth = static_cast<double>(before - y[i]) / ulp(static_cast<double>(before));
        if (depth > deepest) deepest = depth;
        if (drops <= 5)
          printf("  %s: f(%a) = %a, f(%a) = %a\n", f.name, static_cast<double>(before_x), static_cast<double>(before),
                 static_cast<double>(x[i]), static_cast<double>(y[i]));
      }
      before = y[i];
      before_x = x[i];
    }
  }
  CHECK(drops == 0, "%s is not monotone on [%g, %g]: %ld drops, the deepest %.2f ulp", f.name,
        static_cast<double>(from), static_cast<double>(to), drops, deepest);
}

void check_odd(const Function& f, const Table& table, uint64_t stride) {
  for (uint64_t u = 0; u < 0x7f800000u; u += stride * kPanel) {
    float x[2 * kPanel], y[2 * kPanel];
    for (size_t i = 0; i < kPanel; ++i) {
      x[i] = as_float(static_cast<uint32_t>(u + i * stride) % 0x7f800000u);
      x[kPanel + i] = -x[i];
    }
    evaluate(table, f.act, x, y, 2 * kPanel);
    for (size_t i = 0; i < kPanel; ++i)
      if (as_bits(y[i]) != (as_bits(y[kPanel + i]) ^ 0x80000000u) && !(is_nan(y[i]) && is_nan(y[kPanel + i])))
        CHECK(false, "%s on %s is not odd at %a", f.name, table.name, static_cast<double>(x[i]));
  }
  ++tally().passed;
}

struct Special {
  const char* name;
  Act act;
  float x, expected;
};

constexpr float kInf = __builtin_inff(), kNan = __builtin_nanf(""), kSub = 1e-40f;

const Special kSpecials[] = {
    {"exp", {kActExp, 0, 0}, 0, 1},
    {"exp", {kActExp, 0, 0}, -0.0f, 1},
    {"exp", {kActExp, 0, 0}, -kInf, 0},
    {"exp", {kActExp, 0, 0}, kInf, kInf},
    {"exp", {kActExp, 0, 0}, 88.73f, kInf},
    {"exp", {kActExp, 0, 0}, -87.34f, 0},
    {"exp", {kActExp, 0, 0}, kSub, 1},
    {"sigmoid", {kActSigmoid, 0, 0}, 0, 0.5f},
    {"sigmoid", {kActSigmoid, 0, 0}, -0.0f, 0.5f},
    {"sigmoid", {kActSigmoid, 0, 0}, kInf, 1},
    {"sigmoid", {kActSigmoid, 0, 0}, -kInf, 0},
    {"sigmoid", {kActSigmoid, 0, 0}, kSub, 0.5f},
    {"tanh", {kActTanh, 0, 0}, 0, 0},
    {"tanh", {kActTanh, 0, 0}, -0.0f, -0.0f},
    {"tanh", {kActTanh, 0, 0}, kInf, 1},
    {"tanh", {kActTanh, 0, 0}, -kInf, -1},
    {"tanh", {kActTanh, 0, 0}, kSub, 0},
    {"tanh", {kActTanh, 0, 0}, -kSub, -0.0f},
    {"tanh", {kActTanh, 0, 0}, 1e-30f, 1e-30f},
    {"softplus", {kActSoftplus, 0, 0}, kInf, kInf},
    {"softplus", {kActSoftplus, 0, 0}, -kInf, 0},
    {"softplus", {kActSoftplus, 0, 0}, 0, 0.693147181f},
    {"softplus", {kActSoftplus, 0, 0}, 1e30f, 1e30f},
    {"elu", {kActElu, 1, 1}, -kInf, -1},
    {"elu", {kActElu, 1, 1}, kInf, kInf},
    {"elu", {kActElu, 0.5f, 3}, -kInf, -1.5f},
    {"elu", {kActElu, 0.5f, 3}, 2, 6},
    {"silu", {kActSilu, 0, 0}, kInf, kInf},
    {"silu", {kActSilu, 0, 0}, 0, 0},
    {"silu", {kActSilu, 0, 0}, -1e30f, -0.0f},
    {"silu", {kActSilu, 0, 0}, -kInf, kNan},  // as the formula
    {"softsign", {kActSoftsign, 0, 0}, kInf, kNan},
    {"softsign", {kActSoftsign, 0, 0}, 3, 0.75f},
    {"softsign", {kActSoftsign, 0, 0}, -1, -0.5f},
    {"relu", {kActRelu, 0, 0}, -kInf, 0},
    {"relu", {kActRelu, 0, 0}, kInf, kInf},
    {"relu", {kActRelu, 0, 0}, -3, 0},
    {"relu", {kActRelu, 0, 0}, 3, 3},
    {"leaky_relu", {kActLeakyRelu, 0.25f, 0}, -4, -1},
    {"leaky_relu", {kActLeakyRelu, 0.25f, 0}, 4, 4},
    {"leaky_relu", {kActLeakyRelu, 0.25f, 0}, -kInf, -kInf},
    {"thresholded_relu", {kActThresholdedRelu, 2, 0}, 2, 2},
    {"thresholded_relu", {kActThresholdedRelu, 2, 0}, 1.9999999f, 0},
    {"hard_sigmoid", {kActHardSigmoid, 0.25f, 0.5f}, 1, 0.75f},
    {"hard_sigmoid", {kActHardSigmoid, 0.25f, 0.5f}, kInf, 1},
    {"hard_sigmoid", {kActHardSigmoid, 0.25f, 0.5f}, -kInf, 0},
    {"clip", {kActClip, -2, 2}, kInf, 2},
    {"clip", {kActClip, -2, 2}, -kInf, -2},
    {"clip", {kActClip, -2, 2}, 1.5f, 1.5f},
    {"affine", {kActAffine, 2, 1}, 3, 7},
    {"scaled_tanh", {kActScaledTanh, 2, 0.5f}, kInf, 2},
    {"scaled_tanh", {kActScaledTanh, 2, 0.5f}, 0, 0},
    {"identity", {kActIdentity, 0, 0}, -5, -5},
    {"sqrt", {kActSqrt, 0, 0}, 2, 1.41421354f},
    {"sqrt", {kActSqrt, 0, 0}, -1, kNan},
    {"sqrt", {kActSqrt, 0, 0}, -0.0f, -0.0f},
    {"sqrt", {kActSqrt, 0, 0}, kInf, kInf},
    {"log", {kActLog, 0, 0}, 0, -kInf},
    {"log", {kActLog, 0, 0}, -0.0f, -kInf},
    {"log", {kActLog, 0, 0}, kSub, -kInf},
    {"log", {kActLog, 0, 0}, 1, 0},
    {"log", {kActLog, 0, 0}, -1e-30f, kNan},
    {"log", {kActLog, 0, 0}, -kInf, kNan},
    {"log", {kActLog, 0, 0}, kInf, kInf},
    {"abs", {kActAbs, 0, 0}, -kInf, kInf},
    {"abs", {kActAbs, 0, 0}, -kSub, 0},
    {"round", {kActRound, 0, 0}, 0.5f, 0},
    {"round", {kActRound, 0, 0}, -1.5f, -2},
    {"round", {kActRound, 0, 0}, 2.5f, 2},
    {"round", {kActRound, 0, 0}, -0.25f, -0.0f},
    {"round", {kActRound, 0, 0}, 8388607.5f, 8388608.0f},
    {"round", {kActRound, 0, 0}, kInf, kInf},
    {"floor", {kActFloor, 0, 0}, -0.25f, -1},
    {"floor", {kActFloor, 0, 0}, -0.0f, -0.0f},
    {"floor", {kActFloor, 0, 0}, 0.75f, 0},
    {"floor", {kActFloor, 0, 0}, 8388607.5f, 8388607.0f},
    {"floor", {kActFloor, 0, 0}, -kInf, -kInf},
    {"ceil", {kActCeil, 0, 0}, 0.25f, 1},
    {"ceil", {kActCeil, 0, 0}, -0.75f, -0.0f},
    {"ceil", {kActCeil, 0, 0}, 8388607.5f, 8388608.0f},
    {"ceil", {kActCeil, 0, 0}, kInf, kInf},
    {"sign", {kActSign, 0, 0}, -1e-30f, -1},
    {"sign", {kActSign, 0, 0}, kInf, 1},
    {"sign", {kActSign, 0, 0}, kSub, 0},
    {"reciprocal", {kActReciprocal, 0, 0}, -4, -0.25f},
    {"reciprocal", {kActReciprocal, 0, 0}, 0, kInf},
    {"reciprocal", {kActReciprocal, 0, 0}, -0.0f, -kInf},
    {"reciprocal", {kActReciprocal, 0, 0}, kInf, 0},
    {"erf", {kActErf, 0, 0}, 0, 0},
    {"erf", {kActErf, 0, 0}, kInf, 1},
    {"erf", {kActErf, 0, 0}, -30, -1},
    {"sin", {kActSin, 0, 0}, -0.0f, -0.0f},
    {"sin", {kActSin, 0, 0}, kInf, kNan},
    {"sin", {kActSin, 0, 0}, 1048577.0f, kNan},
    {"cos", {kActCos, 0, 0}, 0, 1},
    {"cos", {kActCos, 0, 0}, -1048577.0f, kNan},
};

void check_specials(const Table& table) {
  for (const Special& s : kSpecials) {
    const float got = evaluate_one(table, s.act, s.x);
    CHECK(same(got, s.expected), "%s(%a) on %s: expected %a, got %a", s.name, static_cast<double>(s.x), table.name,
          static_cast<double>(s.expected), static_cast<double>(got));
  }
  for (uint32_t kind = 0; kind < kNumActs; ++kind)
    for (const uint32_t nan : {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffffffffu, 0x7fffffffu}) {
      const float got = evaluate_one(table, {kind, 0.5f, 1.5f}, as_float(nan));
      CHECK(is_nan(got), "activation %u of NaN %08x on %s: expected NaN, got %a", kind, nan, table.name,
            static_cast<double>(got));
    }
}

// Activations that are a few exact steps, on random inputs: the tables agree to the bit.
void compare_kinds(const std::vector<const Table*>& tables, size_t n, Hash* hash) {
  Random random(1);
  std::vector<float> x(n), reference(n), y(n);
  for (uint32_t kind = 0; kind < kNumActs; ++kind) {
    const Act act = {kind, random.unit() * 2, random.unit() + 1.5f};
    for (size_t i = 0; i < n; ++i) x[i] = i % 2 ? as_float(static_cast<uint32_t>(random.bits())) : random.unit() * 8;
    evaluate(*tables.back(), act, x.data(), reference.data(), n);
    hash->add(reference.data(), n);
    for (const Table* table : tables) {
      evaluate(*table, act, x.data(), y.data(), n);
      for (size_t i = 0; i < n; ++i)
        CHECK(same(y[i], reference[i]), "activation %u of %a: %s gives %a, scalar %a", kind, static_cast<double>(x[i]),
              table->name, static_cast<double>(y[i]), static_cast<double>(reference[i]));
    }
  }
}

// log on [1, 2^24 * 2]: what log_softmax asks of it.
void check_log(uint64_t stride) {
  double worst = 0;
  float at = 0;
  for (uint32_t u = as_bits(1.0f); u < as_bits(0x1p25f); u += static_cast<uint32_t>(stride)) {
    const float x = as_float(u), got = vlog(x);
    const double truth = log(static_cast<double>(x));
    const double error =
        truth == 0 ? fabs(static_cast<double>(got)) : fabs(static_cast<double>(got) - truth) / ulp(truth);
    if (error > worst) {
      worst = error;
      at = x;
    }
  }
  printf("  log      largest error %.4f ulp at %a\n", worst, static_cast<double>(at));
  CHECK(worst <= 2.0, "log(%a): error %.4f ulp, expected at most 2", static_cast<double>(at), worst);
  CHECK(is_nan(vlog(kNan)), "log(NaN): expected NaN, got %a", static_cast<double>(vlog(kNan)));
  CHECK(vlog(1.0f) == 0.0f, "log(1): expected 0, got %a", static_cast<double>(vlog(1.0f)));
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false, exhaustive = false;
  const char *golden = nullptr, *only = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (!strcmp(argv[i], "--quick")) quick = true;
    if (!strcmp(argv[i], "--exhaustive")) exhaustive = true;
    if (!strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
    if (!strcmp(argv[i], "--golden") && i + 1 < argc) golden = argv[++i];
  }
  const std::vector<const Table*> tables = runnable_tables();
  Hash hash;
  for (const Table* table : tables) check_specials(*table);
  compare_kinds(tables, 1 << 12, &hash);
  check_log(exhaustive ? 1 : 101);
  for (const Function& f : kFunctions) {
    if (only && strcmp(only, f.name) != 0) continue;
    Hash ignored;
    measure(f, tables, 65537, &hash);  // the same in every mode: part of the golden hash
    if (!quick) measure(f, tables, exhaustive ? 1 : 1009, &ignored);
    if (f.odd)
      for (const Table* table : tables) check_odd(f, *table, quick ? 65537 : 1009);
    if (!f.monotone) continue;
    if (exhaustive) {
      scan(f, *tables.front(), -kInf, kInf);
    } else if (quick) {
      scan(f, *tables.front(), 0.56f, 0.565f);
      scan(f, *tables.front(), -1.04f, -1.039f);
    } else {
      scan(f, *tables.front(), 0.03125f, 90);
      scan(f, *tables.front(), -90, -0.03125f);
    }
  }
  if (golden) check_golden(golden, "test_math", hash.value());
  return report("test_math");
}
