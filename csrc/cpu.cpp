// SPDX-License-Identifier: MIT
#include "cpu.h"

#if defined(UT_X86) && defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#elif defined(UT_X86)
#include <cpuid.h>
#elif (defined(UT_ARM64) || defined(__riscv)) && defined(__linux__) && __STDC_HOSTED__
#include <sys/auxv.h>
#elif defined(__wasm_relaxed_simd__)
#include <wasm_simd128.h>
#elif defined(UT_ARM64) && defined(__APPLE__) && __STDC_HOSTED__
#include <TargetConditionals.h>
#include <sys/sysctl.h>
#endif

namespace undertow {

#if defined(UT_X86)

namespace {

constexpr uint32_t bit(int n) { return 1u << n; }

// Intel SDM volume 2, CPUID.
constexpr uint32_t kLeaf1EcxFma = bit(12), kLeaf1EcxOsxsave = bit(27), kLeaf1EcxAvx = bit(28),
                   kLeaf1EcxF16c = bit(29);
constexpr uint32_t kLeaf7EbxAvx2 = bit(5), kLeaf7EbxAvx512f = bit(16), kLeaf7EbxAvx512dq = bit(17),
                   kLeaf7EbxAvx512bw = bit(30), kLeaf7EbxAvx512vl = 1u << 31,
                   kLeaf7EcxAvx512Vnni = bit(11), kLeaf7Sub1EaxAvxVnni = bit(4);
// Intel SDM volume 1, XCR0: SSE and AVX state; opmask, upper ZMM halves, upper 16 ZMM.
constexpr uint32_t kXcr0Ymm = bit(1) | bit(2), kXcr0Zmm = bit(5) | bit(6) | bit(7);

#if defined(_MSC_VER) && !defined(__clang__)
uint32_t xcr0() { return static_cast<uint32_t>(_xgetbv(0)); }
int __get_cpuid_count(unsigned leaf, unsigned count, uint32_t* a, uint32_t* b, uint32_t* c, uint32_t* d) {
  int r[4];
  __cpuid(r, static_cast<int>(leaf & 0x80000000u));
  if (static_cast<uint32_t>(r[0]) < leaf) return 0;
  __cpuidex(r, static_cast<int>(leaf), static_cast<int>(count));
  *a = static_cast<uint32_t>(r[0]), *b = static_cast<uint32_t>(r[1]), *c = static_cast<uint32_t>(r[2]), *d = static_cast<uint32_t>(r[3]);
  return 1;
}
int __get_cpuid(unsigned leaf, uint32_t* a, uint32_t* b, uint32_t* c, uint32_t* d) { return __get_cpuid_count(leaf, 0, a, b, c, d); }
#else
uint32_t xcr0() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
#endif

}  // namespace

uint32_t cpu_features() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  if (!(c & kLeaf1EcxOsxsave) || !(c & kLeaf1EcxAvx)) return 0;
  const uint32_t leaf1_ecx = c, saved = xcr0();
  if ((saved & kXcr0Ymm) != kXcr0Ymm) return 0;
  uint32_t found = (leaf1_ecx & kLeaf1EcxFma) ? kCpuFma : 0u;
  if (leaf1_ecx & kLeaf1EcxF16c) found |= kCpuF16c;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  if (b & kLeaf7EbxAvx2) found |= kCpuAvx2;
  constexpr uint32_t avx512 = kLeaf7EbxAvx512f | kLeaf7EbxAvx512dq | kLeaf7EbxAvx512bw | kLeaf7EbxAvx512vl;
  if ((b & avx512) == avx512 && (saved & kXcr0Zmm) == kXcr0Zmm) {
    found |= kCpuAvx512;
    if (c & kLeaf7EcxAvx512Vnni) found |= kCpuAvx512Vnni;
  }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kLeaf7Sub1EaxAvxVnni)) found |= kCpuAvxVnni;
  return found;
}

#elif defined(UT_ARM64)

uint32_t cpu_features() {  // AArch64 has NEON by definition
#if defined(__linux__) && __STDC_HOSTED__
  constexpr unsigned long kHwcapAsimdDp = 1ul << 20;  // Linux, Documentation/arch/arm64/elf_hwcaps.rst
  return kCpuNeon | (getauxval(AT_HWCAP) & kHwcapAsimdDp ? kCpuNeonDot : 0u);
#elif defined(__ARM_FEATURE_DOTPROD) || (defined(__APPLE__) && __STDC_HOSTED__ && TARGET_OS_OSX)  // every Mac has it
  return kCpuNeon | kCpuNeonDot;
#elif defined(__APPLE__) && __STDC_HOSTED__  // of other devices those since A13
  int has = 0;
  size_t size = sizeof has;
  return kCpuNeon | (sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has ? kCpuNeonDot : 0u);
#else
  return kCpuNeon;
#endif
}

#elif defined(__riscv)

uint32_t cpu_features() {
#if defined(__riscv_v)
  return kCpuRiscvVector;
#elif defined(__linux__) && __STDC_HOSTED__
  return getauxval(AT_HWCAP) & 1ul << ('V' - 'A') ? kCpuRiscvVector : 0u;  // Linux, arch/riscv/include/uapi/asm/hwcap.h
#else
  return 0;
#endif
}

#elif defined(__wasm_relaxed_simd__)

uint32_t cpu_features() {
  const v128_t a = wasm_f32x4_splat(1.0f + 0x1p-12f), c = wasm_f32x4_splat(-(1.0f + 0x1p-11f));
  return wasm_f32x4_extract_lane(wasm_f32x4_relaxed_madd(a, a, c), 0) == 0x1p-24f ? kCpuWasmFused : 0u;
}

#else

uint32_t cpu_features() { return 0; }

#endif

}  // namespace undertow
