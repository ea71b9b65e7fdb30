// SPDX-License-Identifier: MIT
// The kernels, compiled for WebAssembly with relaxed SIMD (flags: whoever compiles the module, for all of it).
#if !defined(__wasm_relaxed_simd__)
#error "compile isa_wasmrelaxed.cpp with -msimd128 -mrelaxed-simd"
#endif
#define UT_ISA wasmrelaxed
#define UT_ISA_NEEDS kCpuWasmFused
#include "vec_wasm.h"

#include "kernels-inl.h"
