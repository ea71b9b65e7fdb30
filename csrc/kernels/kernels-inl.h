// SPDX-License-Identifier: MIT
// Everything that is compiled once per ISA, gathered; defines undertow::<UT_ISA>::table, and no other symbol but the
// `kernels` that it points to. The including isa_*.cpp defines UT_ISA and UT_ISA_NEEDS and includes its vec_*.h first. Where
// it defines UT_ISA_EXTENDS, another instruction set, integer products alone are compiled, and all else is that one's.
#include "../cpu.h"
#include "../kernels.h"

#define UT_STRING_(a) #a
#define UT_STRING(a) UT_STRING_(a)

using namespace undertow;

// each uses what stands before it
#include "chunks-inl.h"
#if !defined(UT_ISA_EXTENDS)
#include "math-inl.h"
#include "frames-inl.h"
#include "rows-inl.h"
#endif
#include "quantize-inl.h"
#include "weights-inl.h"
#include "matvec-inl.h"
#if !defined(UT_ISA_EXTENDS)
#include "convolution-inl.h"
#endif
#include "sparse-inl.h"
#if !defined(UT_ISA_EXTENDS)
#include "cells-inl.h"
#include "step-inl.h"
#endif

#define UT_PRODUCTS(dense, Weights, table_row) \
  {{nullptr, ::dense<Weights, 1>, ::dense<Weights, 2>, ::dense<Weights, 3>, ::dense<Weights, 4>}, table_row}
#define UT_DENSE(Weights) UT_PRODUCTS(dense, Weights, ::table_row<Weights>)
#define UT_SPARSE(Weights) UT_PRODUCTS(sparse, Weights, nullptr)

namespace undertow {
#if defined(UT_ISA_EXTENDS)
namespace UT_ISA_EXTENDS {
extern const Kernels kernels;
}
#endif

namespace UT_ISA {

#if defined(UT_ISA_EXTENDS)
namespace {
constexpr const Kernels& kernels = UT_ISA_EXTENDS::kernels;
constexpr Products int8 = UT_DENSE(Int8), int4 = UT_DENSE(Int4), sparse_int8 = UT_SPARSE(SparseInt8);
}  // namespace
#else
extern const Kernels kernels;
const Kernels kernels = {
    {UT_DENSE(Floats<float>), UT_DENSE(Floats<Half>), UT_DENSE(Floats<Bfloat>), UT_DENSE(Int8), UT_DENSE(Int4),
     UT_SPARSE(SparseFloats), UT_SPARSE(SparseInt8)},
    {::activation,
     {::binary<kBinAdd>, ::binary<kBinSub>, ::binary<kBinMul>, ::binary<kBinDiv>, ::binary<kBinMax>, ::binary<kBinMin>,
      ::binary<kBinGreater>, ::binary<kBinLess>, ::binary<kBinEqual>, ::binary<kBinGreaterEqual>,
      ::binary<kBinLessEqual>},
     ::where,
     ::affine,
     ::softmax,
     ::layer_norm,
     {::reduce<kReduceSum>, ::reduce<kReduceMax>, ::reduce<kReduceMin>, ::reduce<kReduceProd>},
     ::depthwise,
     ::convolution,
     ::past,
     ::finish,
     ::matmul},
    {{::walk<Rnn>, ::one_step<Rnn>, ::update<Rnn>, nullptr},
     {::walk<GruAfter>, ::one_step<GruAfter>, ::update<GruAfter>, nullptr},
     {::walk<GruBeforeGates, GruBeforeCandidate>, nullptr, ::update<GruBeforeGates>, ::update<GruBeforeCandidate>},
     {::walk<Lstm>, ::one_step<Lstm>, ::update<Lstm>, nullptr}}};
namespace {
constexpr const Products &int8 = kernels.products[kInt8], &int4 = kernels.products[kInt4],
                         &sparse_int8 = kernels.products[kSparseInt8];
}  // namespace
#endif

extern const KernelTable table;
const KernelTable table = {
    UT_STRING(UT_ISA),
    UT_ISA_NEEDS,
    kLanes,
    {&kernels.products[kFloat32], &kernels.products[kFloat16], &kernels.products[kBfloat16], &int8, &int4,
     &kernels.products[kSparseFloat32], &sparse_int8},
    &kernels.frames,
    kernels.cells};

}  // namespace UT_ISA
}  // namespace undertow
