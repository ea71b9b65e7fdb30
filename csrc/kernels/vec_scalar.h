// SPDX-License-Identifier: MIT
// The SIMD vocabulary in portable C++: 1 float lane. Same names and meaning in every vec_*.h.
// Used only by isa_scalar.cpp; internal linkage throughout: nothing here may escape that object file.
#define UT_ISA_ONE_LANE 1
#include "float32.h"

#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif
// Helium in the innermost loops of products, in place of the FPU and the DSP extension.
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) && !defined(__ARM_BIG_ENDIAN)
#include <arm_mve.h>
#define UT_MVE 1
#endif

namespace {

// One lane with the instruction and without a switch: frames that make no subnormals (plan.cpp, find_least) need nothing else.
#if UT_FLUSH && UT_FMA == UT_FMA_INSTRUCTION
#define UT_LANE_FLUSHES 1
inline V product_add_unflushed(V a, V b, V c) { return UT_FMAF(a, b, c); }
#endif

constexpr int kLanes = 1;
#if UT_FMA == UT_FMA_INTEGERS
constexpr int kRegisters = 8;  // each multiply-add is a call
#elif defined(__arm__) || defined(__riscv) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

// y[i] = start[i] + the sum over k of x[k] w[k * width + i], of 16 neighbours i.
#if defined(UT_MVE)
// Widening: a line for each of q4 to q7.
#define UT_COLUMNS(load, size, widen4, widen5, widen6, widen7)                                                                  \
  "vldrw.32 q0, [%[start]]\n vldrw.32 q1, [%[start], #16]\n vldrw.32 q2, [%[start], #32]\n vldrw.32 q3, [%[start], #48]\n"      \
  "wls lr, %[n], 2f\n"                                                                                                          \
  "1: ldr r12, [%[x]], #4\n" load " q4, [%[w]]\n" load " q5, [%[w], #" size "]\n" widen4 "vfma.f32 q0, q4, r12\n" load           \
  " q6, [%[w], #2*" size "]\n" widen5 "vfma.f32 q1, q5, r12\n" load " q7, [%[w], #3*" size "]\n" widen6 "vfma.f32 q2, q6, r12\n" \
  "add %[w], %[w], %[next]\n" widen7 "vfma.f32 q3, q7, r12\n"                                                                  \
  "le lr, 1b\n"                                                                                                                 \
  "2: vstrw.32 q0, [%[y]]\n vstrw.32 q1, [%[y], #16]\n vstrw.32 q2, [%[y], #32]\n vstrw.32 q3, [%[y], #48]\n"
#define UT_OPERANDS                                                           \
  : [x] "+r"(x), [w] "+r"(w)                                                  \
  : [y] "r"(y), [start] "r"(start), [n] "r"(K), [next] "r"(width * sizeof *w) \
  : "memory", "cc", "r12", "lr", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"
UT_UNUSED static UT_NOINLINE void chains_of_16(float* y, const float* start, const float* x, const float* w, size_t K, size_t width) {
  __asm__ volatile(UT_COLUMNS("vldrw.32", "16", "", "", "", "") UT_OPERANDS);
}
// Of float16: vcvtb.f32.f16 of q4 to q7, of which GNU as 2.40 writes the wrong registers.
UT_UNUSED static UT_NOINLINE void chains_of_16(float* y, const float* start, const float* x, const uint16_t* w, size_t K,
                                               size_t width) {
  __asm__ volatile(UT_COLUMNS("vldrh.u32", "8", ".inst.w 0xfe3f8e09\n", ".inst.w 0xfe3fae0b\n", ".inst.w 0xfe3fce0d\n",
                              ".inst.w 0xfe3fee0f\n") UT_OPERANDS);
}
#undef UT_COLUMNS
#undef UT_OPERANDS
#define UT_CHAINS_OF_16 1
#elif defined(__arm__) && defined(__ARM_FEATURE_FMA)
// One instruction loads eight weights, which no compiler makes of loads.
UT_UNUSED static UT_NOINLINE void chains_of_16(float* y, const float* start, const float* x, const float* w, size_t K, size_t width) {
  const size_t to_next = (width - 16) * sizeof(float);
  const float* const end = x + K;
  __asm__ volatile(
      "vldmia %[start], {s16-s31}\n"
      "b 2f\n"
      "1: vldmia %[x]!, {s0}\n"
      "vldmia %[w]!, {s1-s8}\n"
      "vfma.f32 s16, s0, s1\n vfma.f32 s17, s0, s2\n vfma.f32 s18, s0, s3\n vfma.f32 s19, s0, s4\n"
      "vfma.f32 s20, s0, s5\n vfma.f32 s21, s0, s6\n vfma.f32 s22, s0, s7\n vfma.f32 s23, s0, s8\n"
      "vldmia %[w]!, {s1-s8}\n"
      "vfma.f32 s24, s0, s1\n vfma.f32 s25, s0, s2\n vfma.f32 s26, s0, s3\n vfma.f32 s27, s0, s4\n"
      "vfma.f32 s28, s0, s5\n vfma.f32 s29, s0, s6\n vfma.f32 s30, s0, s7\n vfma.f32 s31, s0, s8\n"
      "add %[w], %[w], %[next]\n"
      "2: cmp %[x], %[end]\n"
      "bne 1b\n"
      "vstmia %[y], {s16-s31}\n"
      : [x] "+r"(x), [w] "+r"(w)
      : [y] "r"(y), [start] "r"(start), [end] "r"(end), [next] "r"(to_next)
      : "memory", "cc", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s16", "s17", "s18", "s19", "s20", "s21", "s22",
        "s23", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31");
}
#define UT_CHAINS_OF_16 1

#if UT_SMALLEST
// The same with weights of float16: an instruction loads sixteen.
UT_UNUSED static UT_NOINLINE void chains_of_16(float* y, const float* start, const float* x, const uint16_t* w, size_t K, size_t width) {
  const size_t to_next = (width - 16) * sizeof(uint16_t);
  const float* const end = x + K;
#define UT_TWO_CHAINS(first, second, weights) \
  "vcvtb.f32.f16 s1, " weights "\n vcvtt.f32.f16 s2, " weights "\n vfma.f32 " first ", s0, s1\n vfma.f32 " second ", s0, s2\n"
  __asm__ volatile(
      "vldmia %[start], {s16-s31}\n"
      "b 2f\n"
      "1: vldmia %[x]!, {s0}\n"
      "vldmia %[w]!, {s3-s10}\n"
      UT_TWO_CHAINS("s16", "s17", "s3") UT_TWO_CHAINS("s18", "s19", "s4")
      UT_TWO_CHAINS("s20", "s21", "s5") UT_TWO_CHAINS("s22", "s23", "s6")
      UT_TWO_CHAINS("s24", "s25", "s7") UT_TWO_CHAINS("s26", "s27", "s8")
      UT_TWO_CHAINS("s28", "s29", "s9") UT_TWO_CHAINS("s30", "s31", "s10")
      "add %[w], %[w], %[next]\n"
      "2: cmp %[x], %[end]\n"
      "bne 1b\n"
      "vstmia %[y], {s16-s31}\n"
      : [x] "+r"(x), [w] "+r"(w)
      : [y] "r"(y), [start] "r"(start), [end] "r"(end), [next] "r"(to_next)
      : "memory", "cc", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s16", "s17", "s18", "s19", "s20",
        "s21", "s22", "s23", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31");
#undef UT_TWO_CHAINS
}
#endif
#endif

inline V load_some(const float* p, size_t) { return *p; }  // the first n lanes, n > 0; the others are 0
inline void store_some(float* p, V a, size_t) { *p = a; }  // the first n lanes, and nothing behind them
inline V first_lane(V a) { return a; }  // in all lanes

// Of groups of kWidth lanes: the lower halves of a's and b's, and the upper ones, a's before b's in each group of the result.
template <int kWidth>
inline V low_halves(V a, V) {
  return a;
}
template <int kWidth>
inline V high_halves(V a, V) {
  return a;
}
inline V magnitude_or_nan(V a, V b) { return bits_of(a) > bits_of(b) ? a : b; }  // the larger of two that are not negative, or NaN
inline float max_lane(V a) { return a; }  // of lanes that are not NaN

// What vector v of a panel meets: *low in lanes of rows 0 to 7, *high in lanes of rows 8 to 15.
inline V broadcast_halves(const float* low, const float* high, int v) { return set1(*(v < 8 ? low : high)); }

// --- integers --------------------------------------------------------------------------------------------------------

using VI = int32_t;
inline VI zero_int() { return 0; }
inline VI load_int(const int32_t* p) { return *p; }
inline VI set1_int(int32_t a) { return a; }
inline VI add_int(VI a, VI b) { return a + b; }
inline VI sub_int(VI a, VI b) { return a - b; }
inline V to_float(VI a) { return static_cast<float>(a); }
inline void store_int8(int8_t* p, VI a) { *p = static_cast<int8_t>(a); }
inline void store_int16(int16_t* p, VI a) { *p = static_cast<int16_t>(a); }

#if defined(__ARM_FEATURE_DSP)
// Bytes 1 and 3, as numbers of 16 bits.
inline int16x2_t odd_bytes(int8x4_t bytes) {
  int16x2_t odd;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
  return odd;
}
#endif

// Four neighbours in k of a quantised frame, ready to meet four weights of every row.
struct Quad {
#if defined(__ARM_FEATURE_DSP)
  int16x2_t even, odd;
#else
  int8_t x[4];
#endif
};
UT_INLINE_FN Quad quad(const int8_t* x) {
  Quad q;
#if defined(__ARM_FEATURE_DSP)
  int8x4_t four;
  UT_COPY(&four, x, sizeof four);
  q.even = __sxtb16(four);
  q.odd = odd_bytes(four);
#else
  UT_COPY(q.x, x, 4);
#endif
  return q;
}
// For vector v of a panel: x at `low` for lanes of rows 0 to 7, at `high` for those of rows 8 to 15.
inline Quad quad_halves(const int8_t* low, const int8_t* high, int v) { return quad(v < 8 ? low : high); }
inline VI dot_start(const int32_t*) { return 0; }
UT_INLINE_FN VI dot(VI acc, const int8_t* w, const Quad& q) {  // w: 4 weights of each row
#if defined(__ARM_FEATURE_DSP)
  int8x4_t four;
  UT_COPY(&four, w, sizeof four);
  return __smlad(odd_bytes(four), q.odd, __smlad(__sxtb16(four), q.even, acc));
#else
  for (int i = 0; i < 4; ++i) acc += w[i] * q.x[i];
  return acc;
#endif
}

// Two neighbours in k of a quantised frame, and two weights of each row.
struct Pair {
#if defined(__ARM_FEATURE_DSP)
  int16x2_t x;
#else
  int32_t x[2];
#endif
};
UT_INLINE_FN Pair pair(const int16_t* x) {
#if defined(__ARM_FEATURE_DSP)
  Pair q;
  UT_COPY(&q.x, x, sizeof q.x);
  return q;
#else
  return {{x[0], x[1]}};
#endif
}
UT_INLINE_FN VI dot(VI acc, const int16_t* w, const Pair& q) {  // wraps round, as all do, where a file has changed
#if defined(__ARM_FEATURE_DSP)
  int16x2_t two;
  UT_COPY(&two, w, sizeof two);
  return __smlad(two, q.x, acc);
#else
  return static_cast<int32_t>(static_cast<uint32_t>(acc) + static_cast<uint32_t>(w[0] * q.x[0]) + static_cast<uint32_t>(w[1] * q.x[1]));
#endif
}

#if defined(UT_MVE)
// As sums_of_rows: of each row four operands at a time, by loads from four places each.
inline VI products_of(VI sum, int8_t, uint32x4_t w, int8x16_t x) { return vmladavaq_s8(sum, vreinterpretq_s8_u32(w), x); }
inline VI products_of(VI sum, int16_t, uint32x4_t w, int8x16_t x) {
  return vmladavaq_s16(sum, vreinterpretq_s16_u32(w), vreinterpretq_s16_s8(x));
}
template <class Integer>
UT_INLINE_FN void sums_of_4(VI* sums, const Integer* x, const Integer* w, size_t n, size_t row) {
  const uint32_t step = static_cast<uint32_t>(row * sizeof(Integer));
  uint32x4_t at = vaddq_n_u32(vmulq_n_u32(vidupq_n_u32(0, 1), step), static_cast<uint32_t>(reinterpret_cast<uintptr_t>(w)));
  const int8_t* bytes = reinterpret_cast<const int8_t*>(x);
  VI a = 0, b = 0, c = 0, d = 0;
  for (; n >= 4; n -= 4, bytes += 16) {
    const int8x16_t v = vldrbq_s8(bytes);
    a = products_of(a, Integer(), vldrwq_gather_base_u32(at, 0), v);
    b = products_of(b, Integer(), vldrwq_gather_base_u32(at, 4), v);
    c = products_of(c, Integer(), vldrwq_gather_base_u32(at, 8), v);
    d = products_of(d, Integer(), vldrwq_gather_base_u32(at, 12), v);
    at = vaddq_n_u32(at, 4 * step);
  }
  if (n != 0) {
    const mve_pred16_t p = vctp32q(static_cast<uint32_t>(n));
    const int8x16_t v = vldrbq_z_s8(bytes, p);
    a = products_of(a, Integer(), vldrwq_gather_base_z_u32(at, 0, p), v);
    b = products_of(b, Integer(), vldrwq_gather_base_z_u32(at, 4, p), v);
    c = products_of(c, Integer(), vldrwq_gather_base_z_u32(at, 8, p), v);
    d = products_of(d, Integer(), vldrwq_gather_base_z_u32(at, 12, p), v);
  }
  sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}
#define UT_SUMS_OF_4 1
#elif defined(__ARM_FEATURE_DSP) && !defined(__ARM_FEATURE_MVE)
// As sums_of_rows. One instruction loads weights of several rows, which no compiler makes of loads.
UT_UNUSED static inline void sums_of_4(VI* sums, const int16_t* x, const int16_t* w, size_t n, size_t row) {
  const int16_t* const end = x + 2 * n;
  VI a = 0, b = 0, c = 0, d = 0;
  __asm__ volatile(
      "b 2f\n"
      "1: ldr lr, [%[x]], #4\n"
#if defined(__clang__)  // which leaves fewer registers
      "ldrd r4, r5, [%[w]]\n"
      "smlad %[a], r4, lr, %[a]\n"
      "smlad %[b], r5, lr, %[b]\n"
      "ldrd r4, r5, [%[w], #8]\n"
      "smlad %[c], r4, lr, %[c]\n"
      "smlad %[d], r5, lr, %[d]\n"
#else
      "ldmia %[w], {r4, r5, r6, r8}\n"
      "smlad %[a], r4, lr, %[a]\n"
      "smlad %[b], r5, lr, %[b]\n"
      "smlad %[c], r6, lr, %[c]\n"
      "smlad %[d], r8, lr, %[d]\n"
#endif
      "add %[w], %[w], %[row]\n"
      "2: cmp %[x], %[end]\n"
      "bne 1b\n"
      : [x] "+r"(x), [w] "+r"(w), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d)
      : [end] "r"(end), [row] "r"(row * sizeof *w)
      : "memory", "cc", "r4", "r5", "lr"
#if !defined(__clang__)
        , "r6", "r8"
#endif
  );
  sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}
UT_UNUSED static inline void sums_of_4(VI* sums, const int8_t* x, const int8_t* w, size_t n, size_t row) {
  const int8_t* const end = x + 4 * n;
  VI a = 0, b = 0, c = 0, d = 0;
#if !defined(__clang__)
#define UT_FOUR_PRODUCTS(sum, weights) \
  "sxtb16 r8, " weights "\n smlad " sum ", r8, r6, " sum "\n sxtb16 r8, " weights ", ror #8\n smlad " sum ", r8, lr, " sum "\n"
  __asm__ volatile(
      "b 2f\n"
      "1: ldr lr, [%[x]], #4\n"
      "ldrd r4, r5, [%[w]]\n"
      "sxtb16 r6, lr\n"
      "sxtb16 lr, lr, ror #8\n"
      UT_FOUR_PRODUCTS("%[a]", "r4") UT_FOUR_PRODUCTS("%[b]", "r5")
      "ldrd r4, r5, [%[w], #8]\n"
      UT_FOUR_PRODUCTS("%[c]", "r4") UT_FOUR_PRODUCTS("%[d]", "r5")
      "add %[w], %[w], %[row]\n"
      "2: cmp %[x], %[end]\n"
      "bne 1b\n"
      : [x] "+r"(x), [w] "+r"(w), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d)
      : [end] "r"(end), [row] "r"(row)
      : "memory", "cc", "r4", "r5", "r6", "r8", "lr");
#undef UT_FOUR_PRODUCTS
#else
  for (; x != end; x += 4, w += row) {
    const Quad q = quad(x);
    a = dot(a, w, q), b = dot(b, w + 4, q), c = dot(c, w + 8, q), d = dot(d, w + 12, q);
  }
#endif
  sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}
#define UT_SUMS_OF_4 1
#endif

// Two weights of each row, and what each row meets: integers of 16 bits.
inline VI dot_each(VI acc, const int16_t* w, VI first, VI second) {
  const auto product = [](int16_t a, VI b) { return static_cast<uint32_t>(a) * static_cast<uint32_t>(b); };
  return static_cast<int32_t>(static_cast<uint32_t>(acc) + product(w[0], first) + product(w[1], second));
}

// A group of int4: the sum of (q_w + 8) q_x over its 32 columns. w: [4][16][4] bytes.
struct Group {
  int8_t x[32];
};
inline Group group(const int8_t* x) {
  Group g;
  UT_COPY(g.x, x, 32);
  return g;
}
inline VI dot_group(const uint8_t* w, const Group& g) {
  VI acc = 0;
  for (int v = 0; v < 4; ++v)
    for (int i = 0; i < 4; ++i) {
      const uint8_t byte = w[64 * v + i];
      acc += (byte & 15) * g.x[8 * v + i] + (byte >> 4) * g.x[8 * v + 4 + i];
    }
  return acc;
}

}  // namespace
