// SPDX-License-Identifier: MIT
// The kernels, compiled for AVX-512, which here means F, BW, DQ and VL (flags: csrc/cmake/isa.cmake).
#include "../cpu.h"

#if defined(UT_X86)

#if !defined(_MSC_VER) && (!defined(__AVX512F__) || !defined(__AVX512BW__) || \
    !defined(__AVX512DQ__) || !defined(__AVX512VL__))
#error "compile isa_avx512.cpp with -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif
#define UT_ISA avx512
#define UT_ISA_NEEDS (kCpuAvx512 | kCpuAvx2 | kCpuFma | kCpuF16c)
#define UT_ISA_NARROW avx2  // a division of 16 lanes takes 7 cycles more than one of 8, an addition 1 to 2
#include "vec_avx512.h"

#include "kernels-inl.h"

#endif
