// SPDX-License-Identifier: MIT
// The kernels, compiled for AArch64 NEON (flags: csrc/cmake/isa.cmake).
#include "../cpu.h"

#if defined(UT_ARM64)

#define UT_ISA neon
#define UT_ISA_NEEDS kCpuNeon
#include "vec_neon.h"

#include "kernels-inl.h"

#endif
