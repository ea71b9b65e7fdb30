// SPDX-License-Identifier: MIT
// The kernels, compiled for AVX2 and FMA (flags: csrc/cmake/isa.cmake).
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile isa_avx2.cpp with -mavx2 -mfma"
#endif
#define UT_ISA avx2
#define UT_ISA_NEEDS (kCpuAvx2 | kCpuFma)
#include "vec_avx2.h"

#include "kernels-inl.h"
