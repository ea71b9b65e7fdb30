// SPDX-License-Identifier: MIT
// The seam between ops and SIMD: everything the engine needs from an instruction set, as one constant table per
// kernels/isa_*.cpp. Kernels know nothing but numbers. All vectors are padded to kPanel floats; weights stand in panels
// of kPanel output rows (FORMAT.md, "Weights"). No pointer needs an alignment of its own.
#ifndef UNDERTOW_KERNELS_H_
#define UNDERTOW_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#include "attention.h"
#include "compiler.h"
#include "expression.h"

namespace undertow {

constexpr size_t kPanel = 16;  // output rows of a weight panel; a multiple of every ISA's lanes

// Codes of FORMAT.md, "Activations".
enum ActKind : uint32_t {
  kActIdentity,
  kActRelu,
  kActTanh,
  kActSigmoid,
  kActAffine,
  kActLeakyRelu,
  kActThresholdedRelu,
  kActScaledTanh,
  kActHardSigmoid,
  kActElu,
  kActSoftsign,
  kActSoftplus,
  kActClip,
  kActExp,
  kActSilu,
  kActSqrt,
  kActLog,
  kActAbs,
  kActRound,
  kActFloor,
  kActCeil,
  kActSign,
  kActReciprocal,
  kActErf,
  kActSin,
  kActCos,
  kNumActs
};

struct Act {
  uint32_t kind;
  float alpha, beta;
};

enum BinaryKind : uint32_t {
  kBinAdd,
  kBinSub,
  kBinMul,
  kBinDiv,
  kBinMax,
  kBinMin,
  kBinGreater,
  kBinLess,
  kBinEqual,
  kBinGreaterEqual,
  kBinLessEqual,
  kNumBinaries
};

enum ReduceKind : uint32_t { kReduceSum, kReduceMax, kReduceMin, kReduceProd, kNumReduces };

// Functions of this header are static: each instruction set compiles its own, and none may escape its object file.

// How a matrix is stored: FORMAT.md, "Precisions".
enum Precision : uint32_t {
  kFloat32,
  kFloat16,
  kBfloat16,
  kInt8,
  kInt4,
  kSparseFloat32,
  kSparseInt8,
  kInt16,
  kFixed8,
  kNumPrecisions
};
static inline constexpr bool is_sparse(uint32_t precision) { return precision == kSparseFloat32 || precision == kSparseInt8; }
// Frames are integers too, for each matrix again.
static inline constexpr bool is_integer(uint32_t precision) {
  return precision == kInt8 || precision == kInt4 || precision == kSparseInt8 || precision == kInt16 ||
         precision == kFixed8;
}
// Frames may be multiplied by factors, one for each column, before they become integers.
static inline constexpr bool may_be_smoothed(uint32_t precision) { return precision == kInt8 || precision == kInt16; }

constexpr size_t kMaxIntegerColumns = 131072;  // 128 * 127 * this fits an int32; of sparse matrices too
constexpr size_t kGroup = 32;                  // columns of int4 that share a scale
constexpr size_t kStretch = 256;               // columns of int16 whose products are summed as integers

static inline constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// The largest magnitude of a number of a quantised frame, and of a weight of int16: kStretch products, or K, fit an int32.
static inline constexpr int32_t integer_limit(uint32_t precision, size_t K) {
  if (precision != kInt16) return 127;
  const uint64_t n = K < kStretch ? K : kStretch;
  uint64_t limit = 32767;
  while (limit * limit * n > 0x7fffffffu) --limit;
  return static_cast<int32_t>(limit);
}

// p of 2^p, the largest power of two that is no larger than that limit of int16.
static inline constexpr int integer_bits(size_t K) {
  const uint64_t n = K < kStretch ? K : kStretch;
  int p = 14;
  while ((n << 2 * p) > 0x7fffffffu) --p;
  return p;
}

// What a frame is multiplied by before it becomes integers of at most `limit`. And `least`, of weights that are floats, where
// instruction sets look for subnormals themselves (KernelTable::flushes): a frame of numbers that are 0 or at least this
// makes none on its way through the product; 0: it may.
struct Scaling {
  const float* factors;  // [round_up(K, kPanel)], or null: ones
  float limit;
  float least;
  bool hidden;  // of fixed8: a frame of hidden states, whose unit is 2^-15
};
constexpr uint32_t kMostSmoothed = 40;  // factors are powers of two from 2^-this to 1
static inline constexpr size_t factors_bytes(size_t K) { return round_up(K, kPanel) * sizeof(float); }

// Bytes of one panel of a dense matrix of K columns and G gates.
static inline constexpr size_t panel_bytes(uint32_t precision, size_t K, size_t G) {
  const size_t width = G * kPanel;
  switch (precision) {
    case kFloat32: return K * width * 4;
    case kInt8: return (round_up(K, 4) + 8) * width;  // weights; scale and sum
    case kInt4: return round_up(K, kGroup) / 2 * width + round_up(round_up(K, kGroup) / kGroup * width * 2, 64);
    case kInt16: return (round_up(K, 2) * 2 + 4) * width;  // weights; scale
    case kFixed8: return (K + 4) * width;                  // weights; scale
    default: return K * width * 2;
  }
}

// A sparse matrix (FORMAT.md, "Sparse"): n_lists lists, one for each panel and gate, of n_blocks blocks in all. Byte
// offsets; each part starts at a multiple of 64.
struct SparseLayout {
  uint64_t columns, diagonal, scales, blocks, bytes;
};
constexpr uint32_t kSparseDiagonal = 1;  // flag: there is a diagonal
constexpr size_t kSparseBlock = 4;       // columns of a block
static inline constexpr size_t sparse_block_bytes(uint32_t precision) { return kPanel * kSparseBlock * (precision == kSparseInt8 ? 1 : 4); }
static inline constexpr uint64_t sparse_starts_bytes(uint64_t n_lists) { return (4 * (n_lists + 2) + 63) / 64 * 64; }
static inline constexpr SparseLayout sparse_layout(uint32_t precision, uint64_t n_lists, uint64_t n_blocks, uint32_t flags) {
  const bool integers = precision == kSparseInt8;
  const uint64_t columns = sparse_starts_bytes(n_lists), diagonal = columns + (4 * n_blocks + 63) / 64 * 64;
  const uint64_t diagonal_bytes = flags & kSparseDiagonal ? (integers ? (n_lists * kPanel + 63) / 64 * 64 : n_lists * 64) : 0;
  const uint64_t scales = diagonal + diagonal_bytes, blocks = scales + (integers ? n_lists * 128 : 0);
  return {columns, diagonal, scales, blocks, blocks + n_blocks * sparse_block_bytes(precision)};
}

// A quantised frame in scratch: integers, zeros up to a multiple of 64 bytes, then its scale, then (int4) the sum of each
// group as int32.
static inline constexpr size_t quantized_scale_at(uint32_t precision, size_t K) { return round_up(precision == kInt16 || precision == kFixed8 ? 2 * K : K, 64); }
static inline constexpr size_t quantized_sums_at(uint32_t precision, size_t K) { return quantized_scale_at(precision, K) + 64; }
static inline constexpr size_t quantized_bytes(uint32_t precision, size_t K) {
  return quantized_sums_at(precision, K) + (precision == kInt4 ? round_up(round_up(K, 64) / kGroup * 4, 64) : 0);
}
static inline constexpr size_t quantized_floats(uint32_t precision, size_t K) {
  return is_integer(precision) ? quantized_bytes(precision, K) / sizeof(float) : 0;
}

// Where the parts of a sparse matrix stand. Lists may stand apart from its numbers: a kernel finds its way by them.
struct SparseMatrix {
  const uint32_t* starts;
  const uint16_t* columns;  // [block][half], in blocks of 4 columns
  const uint8_t* diagonal;  // or null
  const float* scales;      // this and sums: int8 only
  const int32_t* sums;
  const uint8_t* blocks;
};
// `lists`: flags, starts and columns, and nothing behind them; `tensor`: all of it, of which the rest is used.
static inline SparseMatrix sparse_matrix(uint32_t precision, const void* lists, const void* tensor, uint64_t n_lists) {
  const uint32_t* words = static_cast<const uint32_t*>(lists);
  const uint8_t* bytes = static_cast<const uint8_t*>(tensor);
  const SparseLayout at = sparse_layout(precision, n_lists, words[1 + n_lists], words[0]);
  const uint8_t* scales = bytes + at.scales;
  return {words + 1,
          reinterpret_cast<const uint16_t*>(static_cast<const uint8_t*>(lists) + at.columns),
          words[0] & kSparseDiagonal ? bytes + at.diagonal : nullptr,
          reinterpret_cast<const float*>(scales),
          reinterpret_cast<const int32_t*>(scales + n_lists * kPanel * sizeof(float)),
          bytes + at.blocks};
}

// Bytes of a row of a table of D columns.
static inline constexpr size_t table_row_bytes(uint32_t precision, size_t D) {
  switch (precision) {
    case kFloat32: return D * 4;
    case kInt8: return round_up(D, 4) + 4;
    case kInt4: return round_up(round_up(D, kGroup) / kGroup * 18, 4);
    case kInt16: return round_up(2 * D, 4) + 4;
    default: return D * 2;
  }
}

// y[t] = b + W x[t] for T frames. W: n_panels panels of G * kPanel rows, b: [n_panels][G * kPanel] or null (zeros). Only
// panels from `first` on are computed.
struct DenseArgs {
  float* y;
  size_t y_stride;  // floats between frames of y, at least n_panels * G * kPanel
  const float* x;
  size_t x_stride;
  const void* W;  // of a sparse precision, a SparseMatrix
  const float* b;
  size_t n_panels;
  size_t K;
  float* quantized;  // T * quantized_floats(precision, K); null where that is 0
  size_t first = 0;
  Scaling scaling = {nullptr, 127.0f, 0.0f, false};  // of integer precisions
};

// y[n, c] = b[c] + the sum over k of W[k, c] x[n, k, c], without padding but for W: float32 [n_taps][padded channels], or
// int16 as of a matrix of n_channels rows and n_taps columns; and for b, which may be null (zeros).
struct DepthwiseArgs {
  float* y;
  const float* x;
  const void* W;
  const float* b;
  size_t n_rows, n_taps, n_channels;
};

// Frames of a product: element k of frame t at x + t * stride + k * step. A stride of 1: elements stand in planes, of which up
// to 2 kPanel floats behind the last frame may be read.
struct Piece {
  const float* x;
  size_t stride, step, width;
};
struct Elements {
  float* y;
  size_t stride, step;
};

// y[t] = act(b + W x[t]) of one panel, where x[t] is what the pieces hold of frame t, one after the other. Then, each where its
// output is not null: y itself, sum_y = sum_x + y, and mix_y = mix_x + (mix_b + mix_W y). Biases may be null (zeros).
struct ConvolutionArgs {
  const Piece* pieces;
  size_t n_pieces;
  bool planes;  // at most kNarrow outputs each, exactly written; else rows without planes, to which whole panels may be written
  const float* W;  // [columns of all pieces][kPanel]
  const float* b;
  size_t n_outputs;
  Act act;
  const float* mix_W;  // [n_outputs][kPanel]
  const float* mix_b;
  size_t mix_outputs;
  Elements y, sum_x, sum_y, mix_x, mix_y;
};
constexpr size_t kNarrow = 4;

// Where a stream has its values and rings: `capacity` frames of each value, rings for blocks of `block` frames.
struct StreamMemory {
  float* values;
  size_t capacity;
  float* rings;
  size_t block;
};

// A ring (ops/ring.h): it begins at ring + block * ring_per_frame, with the place of its next frame as a uint32 in the first
// of kPanel floats. Of span + block frames, and the first `block` of them once more; in planes or in rows.
struct RingPlan {
  size_t ring, ring_per_frame, span, width;
  bool planes;
};

// The beginning of such a product for one frame, which does not wait for it: b + the sum over the taps that lie in the past goes
// to the panel at `y`, in floats for each frame of the values' capacity.
struct Past {
  RingPlan ring;
  const void* taps;  // int32, below 0
  size_t n_taps;
  const float* W;
  const float* b;
  size_t n_outputs, y;
};

// The rest of it, and what comes after it, with the ring, into which the frame at `x` goes. Places are those of values, as y is,
// which is always written; where it is begun, it holds what `past` made of it.
constexpr size_t kMostFinished = 4;
struct Finish {
  RingPlan ring;
  size_t x;
  bool begun, sums;
  size_t n_pieces, pieces[kMostFinished], widths[kMostFinished];
  const float* W;
  const float* b;
  size_t n_outputs, widest;
  Act act;
  const float* mix_W;  // null: no second product
  const float* mix_b;
  size_t y, sum_x, sum_y, mix_x, mix_y;
};

// Cells of recurrent layers; what each is besides its kernels: ops/cells.cpp.
enum CellKind : uint32_t { kCellRnn, kCellGruAfter, kCellGruBefore, kCellLstm, kNumCells };

// One recurrent layer of H units in n_panels panels, bound to its weights. Built once per model. G: the gates of W and b,
// and of R but for a GRU with reset before, whose R has z and r alone.
struct Cell {
  const float* W;        // float32 only: [n_panels][n_inputs][G][kPanel]
  const float* b;        // [n_panels][G][kPanel], or null
  const float* R;        // float32 only: [n_panels][n_fed_back][gates of R][kPanel]
  const float* R_n;      // GRU reset-before, float32 only: [n_panels][H][kPanel]
  const float* rb;       // GRU reset-after: recurrent bias, [n_panels][3][kPanel]; only the candidate's is read
  const float* peephole; // LSTM: [3][n_panels * kPanel] for i, f, o, or null
  const float* projection;  // LSTM, float32 only: [n_projection_panels][H][kPanel], or null
  size_t n_projection_panels;
  size_t n_panels;
  size_t n_inputs;
  size_t n_fed_back;  // width of the hidden state that R multiplies: H, or the projection's
  size_t n_hidden;    // H
  Act acts[3];
  float clip;  // bound on the input of every gate's activation; 0: none
  bool input_forget;
  bool plain;  // default activations, no clip, peephole, projection or input_forget
  bool fixed;  // plain, its matrices are fixed8: `a` and `q` of a CellRow hold bits of integers (kernels/fixed.h)
  float least_x, least_h;  // Scaling::least of W; of all that the hidden state meets
};

// Timesteps of one sequence, forwards or backwards in time, given its input half a = b + W x for every frame. The hidden
// state before the first frame is read at h0, later ones at the row of y that was written last; c is updated in place.
struct Steps {
  const float* a;  // rows of [n_panels][G][kPanel]
  ptrdiff_t a_step;
  const float* h0;
  float* y;  // hidden states; step s is written at y + s * y_stride
  ptrdiff_t y_stride;  // this and a_step, c_stride: negative when time runs backwards
  float* c;        // cell state, n_panels * kPanel, of cells that have one
  float* c_rows;   // a copy of c after each step at c_rows + s * c_stride, or null
  ptrdiff_t c_stride;
  float* scratch;  // 2 * n_panels * kPanel floats, for cells whose timestep has a second product
};

// One timestep of a plain layer of which W is float32 too, with its input half: fewer calls, and chains of both halves side
// by side. Same bits.
struct OneStep {
  const float* x;
  float* h;  // hidden state, n_panels * kPanel, updated in place, padding too
  float* y;  // the same once more; not h
  float* c;  // cell state, updated in place
  bool back;  // from the last panel to the first: weights that the timestep before left in the cache come first
};

// More take wider vectors and, in a block, a matrix product of its own.
constexpr size_t kMostTinyInputs = 24;
constexpr size_t kNarrowUnits = 8;

// Timesteps of a small plain layer of which W is float32 too, with their input halves. Same bits.
struct TinySteps {
  const float* x;
  ptrdiff_t x_stride;  // this and y_stride: negative when time runs backwards
  float* h;            // hidden state, n_panels * kPanel, updated in place, padding too
  float* y;            // hidden states; not h
  ptrdiff_t y_stride;
  float* c;  // cell state, updated in place
};
using TinyKernel = void (*)(const Cell& cell, const TinySteps& steps, size_t T);  // T > 0

struct TinyKernels {
  TinyKernel cells[kNumCells];  // null: it has none
  size_t most_units;            // that they take
  // y = b + W x of one frame, with one panel of float32 weights, of which the first M <= kPanel rows count. Null in small code.
  void (*dense)(float* y, const float* x, const float* W, const float* b, size_t K, size_t M);
};

// One timestep of one sequence whose products with R are done: the second half of a recurrent layer, for weights, batches
// and teams that the kernels over Steps do not cover. Same bits as theirs. Panels first to end - 1 are computed.
struct CellRow {
  size_t first, end;
  const float* a;  // b + W x, [n_panels][G][kPanel]
  const float* q;  // rb + R h, [n_panels][gates of R][kPanel]; for `finish` the second product
  const float* h;  // hidden state before
  float* y;        // hidden state after, or before a second product what that takes: r * h, or what is projected
  float* c;        // cell state, updated in place
  float* z;        // what a cell passes on to `finish`, n_panels * kPanel: z of a GRU with reset before
};

// One timestep of a plain layer whose W and R are both int8, or both int16. Same bits as of its halves.
struct ReducedStep {
  DenseArgs of_x, of_h;  // both products but for their y; of_x.W is null where `a` holds the first
  const float* a;  // b + W x
  float* y;  // hidden state after; not the one before, which is of_h.x
  float* c;  // cell state, updated in place
  bool back;  // from the last panel to the first
};

// Kernels of n kinds, kernels[kind](args): a function each, or in small code one that is told the kind.
template <size_t n, class... Args>
struct OfKinds {
#if UT_SMALLEST
  struct Kernel {
    void (*any)(uint32_t kind, Args...);
    uint32_t kind;
    explicit operator bool() const { return any != nullptr; }
    void operator()(Args... args) const { any(kind, args...); }
  };
  void (*any)(uint32_t kind, Args...);
  Kernel operator[](size_t kind) const { return {any, static_cast<uint32_t>(kind)}; }
#else
  using Kernel = void (*)(Args...);
  Kernel kernels[n];
  constexpr Kernel operator[](size_t kind) const { return kernels[kind]; }
#endif
};
using StepKernels = OfKinds<kNumCells, const Cell&, const ReducedStep&>;

// Products with weights of one precision.
struct Products {
  OfKinds<5, const DenseArgs&, size_t> dense;  // of T frames, by G, 1 to 4; [0] is null
  void (*table_row)(float* y, const void* table, size_t row, size_t D);  // touches exactly D floats; sparse, fixed8: null
  StepKernels step;  // null: none; in small code, of all cells whose products have one matrix each
};

// One op over frames per entry. n counts floats; elementwise ones may touch the padding behind them.
struct FrameKernels {
  void (*activation)(float* y, const float* x, size_t n, const Act& act);  // y == x allowed
  OfKinds<kNumBinaries, float*, const float*, const float*, size_t> binary;  // y, a, b, n
  void (*where)(float* y, const float* cond, const float* a, const float* b, size_t n);  // cond != 0 ? a : b
  void (*affine)(float* y, const float* x, const float* scale, const float* shift, size_t n);
  void (*softmax)(float* y, const float* x, size_t n, bool log);  // touches exactly n floats
  void (*layer_norm)(float* y, const float* x, const float* scale, const float* shift, size_t n, float eps);
  // These touch exactly the elements of y. y, x, A, N, B: x (A, N, B) to y (A, B); a: (I, K) times b: (K, J) to y: (I, J).
  OfKinds<kNumReduces, float*, const float*, size_t, size_t, size_t> reduce;
  void (*depthwise)(const DepthwiseArgs& args);
  void (*convolution)(const ConvolutionArgs& args, size_t T);  // this and the two behind it: null where UT_SMALL
  void (*past)(const Past* pasts, size_t n, const StreamMemory& memory);
  void (*finish)(const Finish& args, const StreamMemory& memory);
  void (*depthwise_int16)(const DepthwiseArgs& args);
  void (*matmul)(float* y, const float* a, const float* b, size_t I, size_t K, size_t J);
  void (*expression)(const ExpressionArgs& args);
  void (*attend)(const AttendArgs& args);  // touches exactly value_width elements of y
};

// One cell.
struct CellKernels {
  void (*walk)(const Cell& cell, const Steps& steps, size_t T);  // T timesteps with float32 weights
  void (*step)(const Cell& cell, const OneStep& step);           // null: it has none
  void (*update)(const Cell& cell, const CellRow& row);          // after the product with R
  void (*finish)(const Cell& cell, const CellRow& row);          // after the second product; null: the update was all
};

// What one instruction set compiles.
struct Kernels {
  Products products[kNumPrecisions];
  FrameKernels frames;
  CellKernels cells[kNumCells];
  TinyKernels tiny;
};

// What a model uses. An instruction set that changes a few kernels alone points to those of the one that it extends for
// all others.
struct KernelTable {
  const char* name;  // the spelling that users see and force
  uint32_t needs;    // CpuFeature bits that must all be present
  int lanes;         // float lanes, for reporting only
  bool flushes;      // subnormals become zero in software: it is faster where Scaling::least is known
  const Products* products[kNumPrecisions];
  const FrameKernels* frames;
  const CellKernels* cells;  // [kNumCells]
  const TinyKernels* tiny[2];  // of at most kNarrowUnits, perhaps of an instruction set with narrower vectors; of more

  const TinyKernels& tiny_of(size_t n_units) const { return *tiny[n_units > kNarrowUnits]; }
};

}  // namespace undertow

#endif  // UNDERTOW_KERNELS_H_
