# SPDX-License-Identifier: MIT
"""What stands at the head of every exported model: the floating-point mode that a step has for its time."""

#: before the functions of the engine's headers
BEFORE = """\
/* Bits do not depend on flags: no product and sum of two become one operation. Nor is a library of mathematics needed,
 * which square roots would without -fno-math-errno, and with clang fused multiply-adds. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) && !defined(__ARM_BIG_ENDIAN)
#define UT_MVE 1
#include <arm_mve.h>
#if defined(__clang__) /* which rolls loops out until their registers lie in memory */
#define UT_ROLLED _Pragma("clang loop unroll(disable)")
#define UT_P0 /* it has no name of the predicate, nor keeps one over a call */
#else
#define UT_ROLLED
#define UT_P0 , "p0"
#endif
#endif
#if defined(__GNUC__)
#if defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
#define UT_UNFUSED(product) __asm__("" : "+t"(product))
#define UT_ROOT(root) __asm__("vsqrt.f32 %0, %0" : "+t"(root))
#elif defined(__aarch64__)
#define UT_UNFUSED(product) __asm__("" : "+w"(product))
#define UT_ROOT(root) __asm__("fsqrt %s0, %s0" : "+w"(root))
#elif defined(__x86_64__) || (defined(__i386__) && defined(__SSE2__))
#define UT_UNFUSED(product) __asm__("" : "+x"(product))
#define UT_ROOT(root) __asm__("sqrtss %0, %0" : "+x"(root))
#elif defined(__riscv) && defined(__riscv_flen)
#define UT_UNFUSED(product) __asm__("" : "+f"(product))
#define UT_ROOT(root) __asm__("fsqrt.s %0, %0" : "+f"(root))
#elif defined(__s390x__)
#define UT_UNFUSED(product) __asm__("" : "+f"(product))
#define UT_ROOT(root) __asm__("sqebr %0, %0" : "+f"(root))
#elif defined(__XTENSA__) /* with an FPU or without */
#define UT_UNFUSED(product) __asm__("" : "+m"(product))
#elif defined(__FP_FAST_FMAF)
#define UT_UNFUSED(product) __asm__("" : "+m"(product))
#endif
#if defined(__wasm__) && defined(__has_builtin)
#if __has_builtin(__builtin_elementwise_sqrt)
#define UT_ROOT(root) ((root) = __builtin_elementwise_sqrt(root))
#endif
#endif
#if !defined(UT_ROOT)
#define UT_SQRT_INTEGERS
#else
UT_UNUSED static inline float root_of(float a) {
  UT_ROOT(a);
  return a;
}
#undef UT_SQRTF
#define UT_SQRTF root_of
#endif
/* A sum of integers in a loop. GCC 12 loses columns where it makes vectors of one with several, and a rest of them. */
#if defined(__aarch64__) && !defined(__clang__)
#define UT_APART(sum) __asm__("" : "+r"(sum))
#endif
/* Where instructions load several numbers at once. */
#define UT_ALIGN_4 __attribute__((aligned(4)))
#else
#define UT_ALIGN_4
#endif
#if !defined(UT_APART)
#define UT_APART(sum)
#endif
/* Names that a forced header may have taken. */
#undef max
#undef min
#define div ut_div
#define max ut_max
#define min ut_min
#if defined(__clang__)
#if defined(__arm__) && defined(__ARM_FEATURE_FMA)
#define UT_FUSE(c, a, b) __asm__("vfma.f32 %0, %1, %2" : "+t"(c) : "t"(a), "t"(b))
#elif defined(__aarch64__)
#define UT_FUSE(c, a, b) __asm__("fmadd %s0, %s1, %s2, %s0" : "+w"(c) : "w"(a), "w"(b))
#elif (defined(__x86_64__) || defined(__i386__)) && defined(__FMA__)
#define UT_FUSE(c, a, b) __asm__("vfmadd231ss %2, %1, %0" : "+x"(c) : "x"(a), "x"(b))
#elif defined(__riscv) && defined(__riscv_flen)
#define UT_FUSE(c, a, b) __asm__("fmadd.s %0, %1, %2, %0" : "+f"(c) : "f"(a), "f"(b))
#endif
#if defined(UT_FUSE)
UT_UNUSED static inline float fused(float a, float b, float c) {
  UT_FUSE(c, a, b);
  return c;
}
#undef UT_FMAF
#define UT_FMAF fused
#endif
#endif
"""

#: behind the includes
MODE = """\
/* The floating-point mode of a step: subnormal numbers are zero, round to nearest, no traps. Then the caller's again.
 * Where there is no such switch operations do it themselves. */
#if defined(_MSC_VER) && !defined(__clang__) && defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned int FloatMode;
static FloatMode float_mode(void) {
  const FloatMode before = _mm_getcsr();
  _mm_setcsr(0x9fc0u);
  return before;
}
static void set_float_mode(FloatMode mode) { _mm_setcsr(mode); }
#elif defined(__x86_64__) || defined(__i386__)
typedef uint32_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("stmxcsr %0" : "=m"(before) : : "memory");
  set_float_mode(0x9fc0u);
  return before;
}
#elif defined(__aarch64__)
typedef uint64_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before) : : "memory");
  set_float_mode((FloatMode)1 << 24);
  return before;
}
#elif defined(__arm__) && defined(__ARM_FP)
typedef uint32_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("vmsr fpscr, %0" : : "r"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(before) : : "memory");
  set_float_mode((before & (FloatMode)7 << 16) | (FloatMode)1 << 24); /* LTPSIZE of Armv8.1-M stays: loops need it */
  return before;
}
#elif defined(__riscv_flen) /* rounding alone */
typedef uintptr_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("fsrm %0" : : "r"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("fsrmi %0, 0" : "=r"(before) : : "memory");
  return before;
}
#elif defined(__s390x__) /* rounding and traps */
typedef uint32_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("sfpc %0" : : "d"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("efpc %0" : "=d"(before) : : "memory");
  set_float_mode(0);
  return before;
}
#else
typedef int FloatMode;
static FloatMode float_mode(void) { return 0; }
static void set_float_mode(FloatMode mode) { (void)mode; }
#endif
"""
