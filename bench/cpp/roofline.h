// SPDX-License-Identifier: MIT
// The two ends of what a core can do: put n floats of weights through fused multiply-adds, and multiply-adds on
// registers.
#ifndef UNDERTOW_BENCH_ROOFLINE_H_
#define UNDERTOW_BENCH_ROOFLINE_H_

#include <stddef.h>

// Reads w[0..n) once, in order, multiplies every float by something and adds it to an accumulator. n is a multiple of
// 16. Gives a number that depends on all of them, so that no compiler can leave anything out.
using Roofline = float (*)(const float* w, size_t n);

// The roofline of an instruction set of undertow; nullptr where it has no fused multiply-add or is not of this CPU
// family.
Roofline roofline(const char* isa);

// `run` does `flops` operations (a multiply-add is two) so many times, in independent chains.
struct Peak {
  float (*run)(size_t n_rounds);
  size_t flops;
};

// As roofline: {nullptr, 0} where there is none.
Peak fma_peak(const char* isa);

#endif  // UNDERTOW_BENCH_ROOFLINE_H_
