// SPDX-License-Identifier: MIT
// The kernels, compiled for AVX2, FMA and F16C (flags: csrc/cmake/isa.cmake).
#include "../cpu.h"

#if defined(UT_X86)

#if !defined(_MSC_VER) && (!defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__))
#error "compile isa_avx2.cpp with -mavx2 -mfma -mf16c"
#endif
#define UT_ISA avx2
#define UT_ISA_NEEDS (kCpuAvx2 | kCpuFma | kCpuF16c)
#include "vec_avx2.h"

#include "kernels-inl.h"

#endif
