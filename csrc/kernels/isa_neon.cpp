// SPDX-License-Identifier: MIT
// The kernels, compiled for AArch64 NEON (flags: csrc/cmake/isa.cmake).
#if !defined(__aarch64__)
#error "isa_neon.cpp is for AArch64"
#endif
#define UT_ISA neon
#define UT_ISA_NEEDS kCpuNeon
#include "vec_neon.h"

#include "kernels-inl.h"
