// SPDX-License-Identifier: MIT
// What this CPU can run, and its floating-point mode. The only platform-dependent part of the library.
#ifndef UNDERTOW_CPU_H_
#define UNDERTOW_CPU_H_

#include <stdint.h>

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
};

uint32_t cpu_features();

// The floating-point mode of the numerics contract for its lifetime, then the caller's again: round to nearest, no
// exception traps, and subnormals are zero, for a state that decays in silence would otherwise make every step tens of
// times slower.
class FloatMode {
 public:
  FloatMode();
  ~FloatMode();
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace undertow

#endif  // UNDERTOW_CPU_H_
