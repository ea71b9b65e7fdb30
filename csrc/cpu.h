// SPDX-License-Identifier: MIT
// What this CPU can run, and its floating-point mode. The only platform-dependent part of the library.
#ifndef UNDERTOW_CPU_H_
#define UNDERTOW_CPU_H_

#include "compiler.h"

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#define UT_X86 1
#include <xmmintrin.h>
#elif defined(__aarch64__) || defined(_M_ARM64)
#define UT_ARM64 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif
#endif

namespace undertow {

enum CpuFeature : uint32_t {
  kCpuAvx2 = 1u << 0,    // with the operating system saving YMM registers
  kCpuFma = 1u << 1,
  kCpuAvx512 = 1u << 2,  // F, BW, DQ and VL, with the operating system saving opmask and ZMM registers
  kCpuNeon = 1u << 3,
  kCpuF16c = 1u << 4,
  kCpuAvx512Vnni = 1u << 5,
  kCpuAvxVnni = 1u << 6,  // the 256-bit form outside AVX-512
  kCpuNeonDot = 1u << 7,
  kCpuWasmFused = 1u << 8,  // relaxed_madd rounds once
  kCpuRiscvVector = 1u << 9,  // with the operating system saving its registers
};

uint32_t cpu_features();

// The floating-point mode of the numerics contract for its lifetime, then the caller's again: round to nearest, no
// exception traps, and subnormals are zero, for a state that decays in silence would otherwise make every step tens of
// times slower.
class FloatMode {
 public:
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;
#if defined(UT_X86)
  FloatMode() : saved_(_mm_getcsr()) {
    if ((saved_ & ~kFlags) != kMode) _mm_setcsr(kMode);
  }
  ~FloatMode() {
    if ((saved_ & ~kFlags) != kMode) _mm_setcsr(saved_);
  }

 private:
  // MXCSR: flush-to-zero, every exception masked, denormals-are-zero; round to nearest even is 0. Bits 0-5 are sticky.
  static constexpr uint32_t kMode = 1u << 15 | 0x3fu << 7 | 1u << 6, kFlags = 0x3f;
  uint32_t saved_;
#elif defined(UT_ARM64) && defined(_MSC_VER) && !defined(__clang__)
  FloatMode() : saved_(_ReadStatusReg(ARM64_FPCR)) { _WriteStatusReg(ARM64_FPCR, __int64{1} << 24); }
  ~FloatMode() { _WriteStatusReg(ARM64_FPCR, saved_); }

 private:
  __int64 saved_;
#elif defined(UT_ARM64)
  FloatMode() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t{1} << 24));  // Arm ARM, FPCR: FZ alone; no traps, round to nearest
  }
  ~FloatMode() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  uint64_t saved_;
#elif defined(__arm__) && defined(__ARM_FP)
  FloatMode() {
    __asm__ volatile("vmrs %0, fpscr" : "=r"(saved_));
    __asm__ volatile("vmsr fpscr, %0" : : "r"((saved_ & kKept) | 1u << 24));  // Arm ARM, FPSCR: FZ; no traps, round to nearest
  }
  ~FloatMode() { __asm__ volatile("vmsr fpscr, %0" : : "r"(saved_)); }

 private:
#if defined(__ARM_FEATURE_MVE)
  static constexpr uint32_t kKept = 7u << 16;  // LTPSIZE: 4, or vector instructions do part of their lanes
#else
  static constexpr uint32_t kKept = 0;
#endif
  uint32_t saved_;
#elif defined(__riscv_flen)  // rounding alone: operations make subnormals zero themselves (kernels/float32.h)
  FloatMode() { __asm__ volatile("fsrmi %0, 0" : "=r"(saved_)); }
  ~FloatMode() { __asm__ volatile("fsrm %0" : : "r"(saved_)); }

 private:
  uintptr_t saved_;
#else  // no switch: operations make subnormals zero themselves (kernels/float32.h)
  FloatMode() {}
  ~FloatMode() {}
#endif
};

}  // namespace undertow

#endif  // UNDERTOW_CPU_H_
