// SPDX-License-Identifier: MIT
// The kernels, compiled for AArch64 NEON with dot products of int8 (flags: csrc/cmake/isa.cmake).
#include "../cpu.h"

#if defined(UT_ARM64)

#if !defined(__ARM_FEATURE_DOTPROD)
#error "compile isa_neondot.cpp for AArch64 with -march=armv8.2-a+dotprod"
#endif
#define UT_ISA neondot
#define UT_ISA_EXTENDS neon  // integer products are all that these instructions change
#define UT_ISA_HAS_INT4 1
#define UT_ISA_NEEDS (kCpuNeon | kCpuNeonDot)
#include "vec_neon.h"

#include "kernels-inl.h"

#endif
