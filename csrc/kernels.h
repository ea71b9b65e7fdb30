// SPDX-License-Identifier: MIT
// The seam between ops and SIMD: everything the engine needs from an instruction set, as one constant table per
// kernels/isa_*.cpp. Kernels know nothing but numbers. All vectors are padded to kPanel floats; weights stand in panels
// of kPanel output rows (FORMAT.md, "Weights"). No pointer needs an alignment of its own.
#ifndef UNDERTOW_KERNELS_H_
#define UNDERTOW_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

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
  kNumActs
};

struct Act {
  uint32_t kind;
  float alpha, beta;
};

enum BinaryKind : uint32_t { kBinAdd, kBinSub, kBinMul, kBinDiv, kBinMax, kBinMin, kNumBinaries };

// y[t] = b + W x[t] for T frames. W: [n_panels][K][G * kPanel], b: [n_panels][G * kPanel] or null (zeros).
struct DenseArgs {
  float* y;
  size_t y_stride;  // floats between frames of y, at least n_panels * G * kPanel
  const float* x;
  size_t x_stride;
  const float* W;
  const float* b;
  size_t n_panels;
  size_t K;
};

// One recurrent layer over T frames, forwards or backwards in time, given its input half a = b + W x for every frame.
// H units in n_panels panels. Rows of `a` are [n_panels][G][kPanel]. The hidden state before the first frame is read
// at h0, later ones at the row of y that was written last; c is updated in place.
struct CellArgs {
  const float* a;
  size_t a_stride;
  const float* h0;
  float* y;  // hidden states; step s is written at y + s * y_stride
  ptrdiff_t y_stride, a_step;  // a_step, y_stride: negative when time runs backwards
  float* c;        // LSTM: cell state, n_panels * kPanel
  float* c_rows;   // LSTM: a copy of c after each step at c_rows + s * c_stride, or null
  ptrdiff_t c_stride;
  const float* R;        // [n_panels][n_fed_back][G][kPanel]; GRU reset-before: gates z and r only
  const float* R_n;      // GRU reset-before: [n_panels][H][kPanel]
  const float* rb_n;     // GRU reset-after: recurrent candidate bias, n_panels * kPanel
  const float* peephole; // LSTM: [3][n_panels * kPanel] for i, f, o, or null
  const float* projection;  // LSTM: [n_projection_panels][H][kPanel], or null
  size_t n_projection_panels;
  size_t n_panels;
  size_t n_fed_back;  // width of the hidden state that R multiplies: H, or the projection's
  size_t n_hidden;    // H
  float* scratch;     // 2 * n_panels * kPanel floats: GRU reset-before, LSTM with projection
  Act acts[3];
  float clip;  // bound on the input of every gate's activation; 0: none
  bool input_forget;
};

struct KernelTable {
  const char* name;  // the spelling that users see and force
  uint32_t needs;    // CpuFeature bits that must all be present
  int lanes;         // float lanes, for reporting only

  // One frame op per entry. n counts floats; elementwise ones may touch the padding behind them.
  void (*dense[5])(const DenseArgs& args, size_t T);  // indexed by G, 1 to 4; [0] is null
  void (*activation)(float* y, const float* x, size_t n, const Act& act);  // y == x allowed
  void (*binary[kNumBinaries])(float* y, const float* a, const float* b, size_t n);
  void (*affine)(float* y, const float* x, const float* scale, const float* shift, size_t n);
  void (*softmax)(float* y, const float* x, size_t n, bool log);  // touches exactly n floats
  void (*layer_norm)(float* y, const float* x, const float* scale, const float* shift, size_t n, float eps);

  // T timesteps of a recurrent layer. `plain`: default activations, no clip, peephole, projection or input_forget.
  void (*rnn)(const CellArgs& args, size_t T, bool plain);
  void (*gru_reset_after)(const CellArgs& args, size_t T, bool plain);
  void (*gru_reset_before)(const CellArgs& args, size_t T, bool plain);
  void (*lstm)(const CellArgs& args, size_t T, bool plain);
};

}  // namespace undertow

#endif  // UNDERTOW_KERNELS_H_
