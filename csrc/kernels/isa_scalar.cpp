// SPDX-License-Identifier: MIT
// The kernels, compiled in portable C++ (flags: csrc/cmake/isa.cmake).
#define UT_ISA scalar
#define UT_ISA_NEEDS 0
#include "vec_scalar.h"

#include "kernels-inl.h"
