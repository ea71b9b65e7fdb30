// SPDX-License-Identifier: MIT
// The kernels, compiled for WebAssembly with SIMD (flags: whoever compiles the module, for all of it).
#if !defined(__wasm_simd128__)
#error "compile isa_wasm.cpp with -msimd128"
#endif
#define UT_ISA wasm
#define UT_ISA_NEEDS 0
#include "vec_wasm.h"

#include "kernels-inl.h"
