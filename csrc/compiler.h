/* SPDX-License-Identifier: MIT
 * What compilers and targets call by different names, and what no target may do. C99 and C++17: exported models are C. */
#ifndef UNDERTOW_COMPILER_H_
#define UNDERTOW_COMPILER_H_

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* wasm32 without a C library has no header; whoever links supplies the four functions. */
#if !defined(__has_include)
#include <string.h>
#elif __has_include(<string.h>)
#include <string.h>
#else
#if defined(__cplusplus)
extern "C" {
#endif
void* memcpy(void* to, const void* from, size_t n);
void* memmove(void* to, const void* from, size_t n);
void* memset(void* to, int value, size_t n);
int memcmp(const void* a, const void* b, size_t n);
#if defined(__cplusplus)
}
#endif
#endif

#if defined(__cplusplus)
#if __has_include(<new>)
#include <new>
#else
inline void* operator new(size_t, void* place) noexcept { return place; }
#endif
#endif

/* The numerics contract (FORMAT.md, "What is computed") is of operations that round to float32 each. -1 is clang's for a
 * type without hardware, 16 that of targets with _Float16. */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "undertow: this target computes float32 in wider registers (x87). Compile for SSE2: -msse2 -mfpmath=sse"
#endif
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0) || defined(__ASSOCIATIVE_MATH__) || \
    defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "undertow: -ffast-math changes results, and so do the flags that it stands for. Compile without them"
#endif
#if (defined(__SIZEOF_INT__) && __SIZEOF_INT__ < 4) || (defined(__SIZEOF_DOUBLE__) && __SIZEOF_DOUBLE__ < 8)
#error "undertow: this target has an int of 16 bits or a double of 4 bytes (AVR, say), for which it is not made"
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#include <math.h>
#define UT_INLINE
#define UT_INLINE_FN __forceinline
#define UT_NOINLINE __declspec(noinline)
#define UT_UNUSED
#define UT_LIKELY(truth) (truth)
#define UT_UNLIKELY(truth) (truth)
#define UT_INFINITY INFINITY
#define UT_NAN NAN
#define UT_FMAF fmaf
#define UT_SQRTF sqrtf
#define UT_COPY memcpy
#else
#define UT_INLINE __attribute__((always_inline))
#define UT_INLINE_FN UT_INLINE inline
#define UT_NOINLINE __attribute__((noinline))
#define UT_UNUSED __attribute__((unused))
#define UT_LIKELY(truth) __builtin_expect(!!(truth), 1)
#define UT_UNLIKELY(truth) __builtin_expect(!!(truth), 0)
#define UT_INFINITY __builtin_inff()
#define UT_NAN __builtin_nanf("")
#define UT_FMAF __builtin_fmaf
#define UT_SQRTF __builtin_sqrtf
/* A few bytes whose number is known: never a call, which memcpy is under -ffreestanding. */
#define UT_COPY __builtin_memcpy
#endif

/* Workers that share one stream need a second core and atomic words (team.h). */
#if !defined(UT_THREADS)
#define UT_THREADS 1
#endif

/* Code for flash: each product is compiled once, for one frame, and convolutions are walked node by node. Same bits. */
#if !defined(UT_SMALL)
#define UT_SMALL 0
#endif
#if UT_SMALL && !(defined(UT_VECTORS) && UT_VECTORS) /* with kernels of one lane alone: what differs is told while it runs */
#define UT_SMALLEST 1
#else
#define UT_SMALLEST 0
#endif
/* Whether kernels look for subnormals, and ask which frames make none (Scaling::least): of one lane on Arm, none do. */
#if UT_SMALLEST && defined(__arm__)
#define UT_LOOKS_FOR_SUBNORMALS 0
#else
#define UT_LOOKS_FOR_SUBNORMALS 1
#endif

/* Off: errors have no sentence, but the line of the source that refuses a file, and the node. */
#if !defined(UT_TEXTS)
#define UT_TEXTS 1
#endif
#if UT_TEXTS
#define UT_LINE 0
#else
#define UT_LINE __builtin_LINE()
#endif

/* Off: files with expressions or attention are refused, as by a library that does not know these ops. */
#if !defined(UT_EXPRESSIONS)
#define UT_EXPRESSIONS 1
#endif

#endif /* UNDERTOW_COMPILER_H_ */
