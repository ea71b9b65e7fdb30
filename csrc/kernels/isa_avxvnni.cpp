// SPDX-License-Identifier: MIT
// The kernels, compiled for AVX2, FMA and F16C with AVX-VNNI (flags: csrc/cmake/isa.cmake).
#include "../cpu.h"

#if defined(UT_X86)

#if !defined(_MSC_VER) && (!defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__) || !defined(__AVXVNNI__))
#error "compile isa_avxvnni.cpp with the flags of isa_avx2.cpp and -mavxvnni"
#endif
#define UT_ISA avxvnni
#define UT_ISA_EXTENDS avx2  // integer products are all that these instructions change
#define UT_ISA_NEEDS (kCpuAvx2 | kCpuFma | kCpuF16c | kCpuAvxVnni)
#include "vec_avx2.h"

#include "kernels-inl.h"

#endif
