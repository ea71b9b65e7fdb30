// SPDX-License-Identifier: MIT
// Everything that is compiled once per ISA, gathered; defines undertow::<UT_ISA>::table and no other symbol.
// The including isa_*.cpp defines UT_ISA and UT_ISA_NEEDS and includes its vec_*.h first. With UT_INTEGERS_ONLY the table has
// the integer products alone, and leaves the rest to another one (dispatch.h).
#include "../cpu.h"
#include "../kernels.h"

#define UT_CONCAT_(a, b) a##b
#define UT_CONCAT(a, b) UT_CONCAT_(a, b)
#define UT_STRING_(a) #a
#define UT_STRING(a) UT_STRING_(a)

using namespace undertow;

// each uses what stands before it
#include "chunks-inl.h"
#if !defined(UT_INTEGERS_ONLY)
#include "math-inl.h"
#include "frames-inl.h"
#include "rows-inl.h"
#endif
#include "quantize-inl.h"
#include "weights-inl.h"
#include "matvec-inl.h"
#include "sparse-inl.h"
#if !defined(UT_INTEGERS_ONLY)
#include "cells-inl.h"
#include "step-inl.h"
#endif

#define UT_DENSE(dense, Weights) {nullptr, ::dense<Weights, 1>, ::dense<Weights, 2>, ::dense<Weights, 3>, ::dense<Weights, 4>}

namespace undertow {
namespace UT_ISA {
extern const KernelTable table;
const KernelTable table = {
    UT_STRING(UT_ISA),
    UT_ISA_NEEDS,
    kLanes,
#if defined(UT_INTEGERS_ONLY)
    {{}, {}, {}, UT_DENSE(dense, Int8), UT_DENSE(dense, Int4), {}, UT_DENSE(sparse, SparseInt8)},
    {}, nullptr, {}, nullptr, nullptr, nullptr, nullptr, {}, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
    nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
#else
    {UT_DENSE(dense, Floats<float>), UT_DENSE(dense, Floats<Half>), UT_DENSE(dense, Floats<Bfloat>), UT_DENSE(dense, Int8),
     UT_DENSE(dense, Int4), UT_DENSE(sparse, SparseFloats), UT_DENSE(sparse, SparseInt8)},
    {::table_row<Floats<float>>, ::table_row<Floats<Half>>, ::table_row<Floats<Bfloat>>, ::table_row<Int8>,
     ::table_row<Int4>},
    ::activation,
    {::binary<kBinAdd>, ::binary<kBinSub>, ::binary<kBinMul>, ::binary<kBinDiv>, ::binary<kBinMax>, ::binary<kBinMin>,
     ::binary<kBinGreater>, ::binary<kBinLess>, ::binary<kBinEqual>, ::binary<kBinGreaterEqual>, ::binary<kBinLessEqual>},
    ::where,
    ::affine,
    ::softmax,
    ::layer_norm,
    {::reduce<kReduceSum>, ::reduce<kReduceMax>, ::reduce<kReduceMin>, ::reduce<kReduceProd>},
    ::depthwise,
    ::matmul,
    ::rnn,
    ::gru_reset_after,
    ::gru_reset_before,
    ::lstm,
    ::one_step<RnnStep>,
    ::one_step<GruStep>,
    ::one_step<LstmStep>,
    ::update<RnnRow>,
    ::update<GruAfterRow>,
    ::update<GruBeforeGatesRow>,
    ::update<GruBeforeCandidateRow>,
    ::update<LstmRow>,
#endif
};
}  // namespace UT_ISA
}  // namespace undertow
