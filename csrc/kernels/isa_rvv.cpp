// SPDX-License-Identifier: MIT
// The kernels, compiled for RISC-V with its vector extension (flags: csrc/cmake/isa.cmake).
#if !defined(__riscv_v) || __clang_major__ < 17
#error "compile isa_rvv.cpp with -march=rv64gcv, by clang 17 or newer"
#endif
#define UT_ISA rvv
#define UT_ISA_NEEDS kCpuRiscvVector
#include "vec_rvv.h"

#include "kernels-inl.h"
