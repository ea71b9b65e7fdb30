// SPDX-License-Identifier: MIT
#include "cpu.h"

#if defined(UT_X86)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__) && __STDC_HOSTED__
#include <sys/auxv.h>
#elif defined(__wasm_relaxed_simd__)
#include <wasm_simd128.h>
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

uint32_t xcr0() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

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

#elif defined(__aarch64__)

uint32_t cpu_features() {  // AArch64 has NEON by definition
#if defined(__linux__) && __STDC_HOSTED__
  constexpr unsigned long kHwcapAsimdDp = 1ul << 20;  // Linux, Documentation/arch/arm64/elf_hwcaps.rst
  return kCpuNeon | (getauxval(AT_HWCAP) & kHwcapAsimdDp ? kCpuNeonDot : 0u);
#elif defined(__APPLE__) || defined(__ARM_FEATURE_DOTPROD)  // every Apple AArch64 Mac has it
  return kCpuNeon | kCpuNeonDot;
#else
  return kCpuNeon;
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
