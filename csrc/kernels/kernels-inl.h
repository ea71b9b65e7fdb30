// SPDX-License-Identifier: MIT
// Everything that is compiled once per ISA, gathered; defines undertow::<UT_ISA>::table, and no other symbol but the
// `kernels` that it points to. The including isa_*.cpp defines UT_ISA and UT_ISA_NEEDS and includes its vec_*.h first. Where
// it defines UT_ISA_EXTENDS, another instruction set, integer products alone are compiled, and all else is that one's.
// With UT_ISA_HAS_INT4 those of int4 too. Where it defines UT_ISA_NARROW, layers of at most kNarrowUnits are another's. Where
// its vec_*.h defines UT_ISA_FLUSHES, that makes subnormals zero itself, and has a `product_add` that does not.
#include "../cpu.h"
#include "../kernels.h"

#define UT_STRING_(a) #a
#define UT_STRING(a) UT_STRING_(a)

using namespace undertow;

#if !defined(UT_LANE_FLUSHES)
#define UT_LANE_FLUSHES 0
#endif
#if !defined(UT_ISA_ONE_LANE)
#define UT_ISA_ONE_LANE 0
#endif
#if !defined(UT_ISA_FLUSHES)
#define UT_ISA_FLUSHES 0
namespace {
inline V product_add(V a, V b, V c) { return mul_add(a, b, c); }
}  // namespace
#endif

namespace {
// Of vectors too: each product is compiled for one frame, and convolutions for few, where a program is loaded over a network.
constexpr bool kCompact = UT_ISA_FLUSHES && UT_SMALL;
}  // namespace

// A function of which each kind is compiled by itself; or one for all of them, which is told while it runs.
#if UT_SMALLEST
#define UT_OF_ANY_KIND UT_NOINLINE
#else
#define UT_OF_ANY_KIND UT_INLINE_FN
#endif
namespace {
// A kind that is known while compiling, in place of the uint32_t that is not.
template <uint32_t kKind>
struct KnownKind {
  constexpr operator uint32_t() const { return kKind; }
};
}  // namespace

// each uses what stands before it
#include "chunks-inl.h"
#include "math-inl.h"
#if !defined(UT_ISA_EXTENDS)
#include "frames-inl.h"
#include "rows-inl.h"
#if UT_EXPRESSIONS
#include "expression-inl.h"
#include "attend-inl.h"
#endif
#endif
#include "quantize-inl.h"
#include "weights-inl.h"
#if UT_ISA_FLUSHES
#include "flushing-inl.h"
#endif
#include "matvec-inl.h"
#if !defined(UT_ISA_EXTENDS) && !UT_SMALL
#include "convolution-inl.h"
#endif
#include "sparse-inl.h"
#include "fixed-inl.h"
#include "cells-inl.h"
#include "reduced-step-inl.h"
#if !defined(UT_ISA_EXTENDS)
#include "step-inl.h"
#include "tiny-inl.h"
#endif
#if UT_SMALLEST
#include "small-inl.h"
namespace {
const SmallPass kPasses[] = {kPassOf<Rnn>, kPassOf<GruAfter>, kPassOf<GruBeforeGates>, kPassOf<Lstm>, kPassOf<GruBeforeCandidate>};
}  // namespace
#endif

#define UT_PRODUCTS(dense, Weights, table_row, ...) \
  {{{nullptr, ::dense<Weights, 1>, ::dense<Weights, 2>, ::dense<Weights, 3>, ::dense<Weights, 4>}}, table_row, __VA_ARGS__}
#define UT_NO_STEPS {{nullptr, nullptr, nullptr, nullptr}}
#if UT_SMALLEST
#define UT_DENSE(Weights) {{small_dense<Weights::kPrecision>}, ::table_row<Weights>, {small_step<Weights::kPrecision>}}
#define UT_WITH_STEPS UT_DENSE
#define UT_SPARSE(Weights) {{sparse_of_gates<Weights>}, nullptr, {nullptr}}
#define UT_FIXED {{fixed_dense_of_gates}, nullptr, {nullptr}}
#else
#define UT_DENSE(Weights) UT_PRODUCTS(dense, Weights, ::table_row<Weights>, UT_NO_STEPS)
#define UT_WITH_STEPS(Weights)                      \
  UT_PRODUCTS(dense, Weights, ::table_row<Weights>, \
              {{nullptr, ::reduced_step<Weights, GruAfter>, nullptr, ::reduced_step<Weights, Lstm>}})
#define UT_FIXED {{{nullptr, ::fixed_dense<1>, ::fixed_dense<2>, ::fixed_dense<3>, ::fixed_dense<4>}}, nullptr, UT_NO_STEPS}
#define UT_SPARSE(Weights) UT_PRODUCTS(sparse, Weights, nullptr, UT_NO_STEPS)
#endif

static_assert(kLanes == 1 || !UT_SMALLEST, "define UT_VECTORS=1 for all files where instruction sets with vectors are built");
static_assert(UT_LOOKS_FOR_SUBNORMALS || !(UT_ISA_FLUSHES || UT_LANE_FLUSHES), "plan.cpp must find what is least");

namespace undertow {
#if defined(UT_ISA_EXTENDS)
namespace UT_ISA_EXTENDS {
extern const Kernels kernels;
}
#endif
#if defined(UT_ISA_NARROW)
namespace UT_ISA_NARROW {
extern const Kernels kernels;
}
#endif

namespace UT_ISA {

#if defined(UT_ISA_EXTENDS)
namespace {
constexpr const Kernels& kernels = UT_ISA_EXTENDS::kernels;
constexpr Products int8 = UT_WITH_STEPS(Int8), int16 = UT_WITH_STEPS(Int16), sparse_int8 = UT_SPARSE(SparseInt8);
#if defined(UT_ISA_HAS_INT4)
constexpr Products int4 = UT_DENSE(Int4);
#else
constexpr const Products& int4 = kernels.products[kInt4];
#endif
}  // namespace
#else
extern const Kernels kernels;
const Kernels kernels = {
    {UT_DENSE(Floats<float>), UT_DENSE(Floats<Half>), UT_DENSE(Floats<Bfloat>), UT_WITH_STEPS(Int8), UT_DENSE(Int4),
     UT_SPARSE(SparseFloats), UT_SPARSE(SparseInt8), UT_WITH_STEPS(Int16), UT_FIXED},
    {::activation,
#if UT_SMALLEST
     {binary_any},
#else
     {{::binary<kBinAdd>, ::binary<kBinSub>, ::binary<kBinMul>, ::binary<kBinDiv>, ::binary<kBinMax>, ::binary<kBinMin>,
       ::binary<kBinGreater>, ::binary<kBinLess>, ::binary<kBinEqual>, ::binary<kBinGreaterEqual>,
       ::binary<kBinLessEqual>}},
#endif
     ::where,
     ::affine,
     ::softmax,
     ::layer_norm,
#if UT_SMALLEST
     {reduce_any<uint32_t>},
#else
     {{::reduce<kReduceSum>, ::reduce<kReduceMax>, ::reduce<kReduceMin>, ::reduce<kReduceProd>}},
#endif
     ::depthwise,
#if UT_SMALL
     nullptr,
     nullptr,
     nullptr,
#else
     ::convolution,
     ::past,
     ::finish,
#endif
     ::depthwise_int16,
     ::matmul,
#if UT_EXPRESSIONS
     ::expression,
     ::attend},
#else
     nullptr,
     nullptr},
#endif
#if UT_SMALLEST
    {{nullptr, nullptr, small_update<kCellRnn>, nullptr},
     {nullptr, nullptr, small_update<kCellGruAfter>, nullptr},
     {nullptr, nullptr, small_update<kCellGruBefore>, small_update<kNumCells>},
     {nullptr, nullptr, small_update<kCellLstm>, nullptr}},
#else
    {{::walk<Rnn>, ::one_step<Rnn>, ::update<Rnn>, nullptr},
     {::walk<GruAfter>, ::one_step<GruAfter>, ::update<GruAfter>, nullptr},
     {::walk<GruBeforeGates, GruBeforeCandidate>, nullptr, ::update<GruBeforeGates>, ::update<GruBeforeCandidate>},
     {::walk<Lstm>, ::one_step<Lstm>, ::update<Lstm>, nullptr}},
#endif
    {{tiny_of<Rnn>(), tiny_of<GruAfter>(), nullptr, tiny_of<Lstm>()}, kTinyUnits, UT_SMALLEST ? nullptr : ::tiny_dense}};
namespace {
constexpr const Products &int8 = kernels.products[kInt8], &int4 = kernels.products[kInt4],
                         &sparse_int8 = kernels.products[kSparseInt8], &int16 = kernels.products[kInt16];
}  // namespace
#endif

extern const KernelTable table;
const KernelTable table = {
    UT_STRING(UT_ISA),
    UT_ISA_NEEDS,
    kLanes,
    UT_ISA_FLUSHES != 0 || UT_LANE_FLUSHES != 0,
    {&kernels.products[kFloat32], &kernels.products[kFloat16], &kernels.products[kBfloat16], &int8, &int4,
     &kernels.products[kSparseFloat32], &sparse_int8, &int16, &kernels.products[kFixed8]},
    &kernels.frames,
    kernels.cells,
#if defined(UT_ISA_NARROW)
    {&UT_ISA_NARROW::kernels.tiny, &kernels.tiny}};
#else
    {&kernels.tiny, &kernels.tiny}};
#endif

}  // namespace UT_ISA
}  // namespace undertow

#if UT_EXPRESSIONS && !defined(UT_ISA_EXTENDS)
namespace {
const FrameKernels& own_kernels() { return undertow::UT_ISA::kernels.frames; }
}  // namespace
#endif
