// SPDX-License-Identifier: MIT
// Everything that is compiled once per ISA, gathered; defines undertow::<UT_ISA>::table and no other symbol.
// The including isa_*.cpp defines UT_ISA and UT_ISA_NEEDS and includes its vec_*.h first.
#include "../cpu.h"
#include "../kernels.h"

#define UT_CONCAT_(a, b) a##b
#define UT_CONCAT(a, b) UT_CONCAT_(a, b)
#define UT_STRING_(a) #a
#define UT_STRING(a) UT_STRING_(a)

using namespace undertow;

#include "math-inl.h"
#include "matvec-inl.h"
// cells use dense for the projection
#include "cells-inl.h"
#include "frames-inl.h"

namespace undertow {
namespace UT_ISA {
extern const KernelTable table;
const KernelTable table = {
    UT_STRING(UT_ISA),
    UT_ISA_NEEDS,
    kLanes,
    {nullptr, ::dense<1>, ::dense<2>, ::dense<3>, ::dense<4>},
    ::activation,
    {::binary<kBinAdd>, ::binary<kBinSub>, ::binary<kBinMul>, ::binary<kBinDiv>, ::binary<kBinMax>, ::binary<kBinMin>},
    ::affine,
    ::softmax,
    ::layer_norm,
    ::rnn,
    ::gru_reset_after,
    ::gru_reset_before,
    ::lstm,
};
}  // namespace UT_ISA
}  // namespace undertow
