// SPDX-License-Identifier: MIT
// The kernels, compiled for AVX-512 (F, BW, DQ and VL) with VNNI (flags: csrc/cmake/isa.cmake).
#include "../cpu.h"

#if defined(UT_X86)

#if !defined(_MSC_VER) && (!defined(__AVX512F__) || !defined(__AVX512BW__) || \
    !defined(__AVX512DQ__) || !defined(__AVX512VL__) || !defined(__AVX512VNNI__))
#error "compile isa_avx512vnni.cpp with the flags of isa_avx512.cpp and -mavx512vnni"
#endif
#define UT_ISA avx512vnni
#define UT_ISA_EXTENDS avx512  // integer products are all that these instructions change
#define UT_ISA_NEEDS (kCpuAvx512 | kCpuAvx512Vnni | kCpuAvx2 | kCpuFma | kCpuF16c)
#define UT_ISA_NARROW avx2  // a division of 16 lanes takes 7 cycles more than one of 8, an addition 1 to 2
#include "vec_avx512.h"

#include "kernels-inl.h"

#endif
