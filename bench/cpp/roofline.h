// SPDX-License-Identifier: MIT
// The roofline: the least time in which a core can put n floats of weights through fused multiply-adds.
#ifndef UNDERTOW_BENCH_ROOFLINE_H_
#define UNDERTOW_BENCH_ROOFLINE_H_

#include <stddef.h>

// Reads w[0..n) once, in order, multiplies every float by something and adds it to an accumulator. n is a multiple of
// 16. Gives a number that depends on all of them, so that no compiler can leave anything out.
using Roofline = float (*)(const float* w, size_t n);

// The roofline of an instruction set of undertow; nullptr where it has no fused multiply-add or is not of this CPU family.
Roofline roofline(const char* isa);

#endif  // UNDERTOW_BENCH_ROOFLINE_H_
