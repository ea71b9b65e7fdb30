// SPDX-License-Identifier: MIT
// What a validated file becomes: ops in order, where each value, state and scratch lies, and the block of frames they
// work on. Built once per model, read-only afterwards, and free of decisions that could fail.
//
// A value's frames lie at `values + offset * capacity`, one row per frame, where capacity is the number of frames that
// the memory was sized for: a stream's block, or a whole sequence.
#ifndef UNDERTOW_PLAN_H_
#define UNDERTOW_PLAN_H_

#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "kernels.h"

namespace undertow {

constexpr size_t padded(size_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

struct ValuePlan {
  size_t offset;       // floats per frame of capacity
  size_t width;        // elements
  const float* fixed;  // a constant: its frame inside the blob; else null
  bool once;           // one row per sequence
  bool leaves;         // made in a loop (OpPlan::loop_end) and read elsewhere
  uint32_t origin;     // the value whose memory it is
  uint32_t reader = kNone;              // the node that alone reads this memory, or kNone
  uint32_t n_readings = 0;              // how often inputs of ops and outputs of the model read it
  bool planes = false;                  // from one narrow convolution to the next: where several frames of a stream go there at once
                                        // their elements stand in planes, as far apart as that leaves room for kNarrow
  const struct OpPlan* maker = nullptr; // writes it in parts, when its reader asks (ops/parts.cpp); null: it stands there
};

struct StatePlan {
  size_t offset;      // floats from the start of the state block
  size_t width;
  const float* init;  // padded, or null for zeros
};

struct OpType;
struct CellType;
struct Block;
struct Convolution;
using RunOp = void (*)(const OpPlan& op, const Block& block);

// One op, bound to its weights. What sizes, weights and flags mean is said by the op (ops/*.cpp).
struct OpPlan {
  const OpType* type;
  RunOp run;               // null where there is nothing to do at run time
  RunOp alone;             // the same where no team walks: null too where its output is written in parts
  RunOp step;              // the same of one timestep of one stream: what its check has put here, or `alone`
  struct {                 // of one that a check has put there: first input and output, in floats from Block::values; and
    size_t x, y, h, c;     // the first and last state, from Block::state. In small code x and h are of a recurrent layer, and
                           // where it quantises its input and its hidden state, from Block::scratch
  } at;
  const uint32_t* inputs;  // values
  uint32_t n_inputs;
  uint32_t output;         // first output value
  uint32_t n_outputs;
  uint32_t gate;           // the input that says which frames are of the sequence; 0: all are
  uint32_t n_states;
  uint32_t states[2];
  const void* weights[6];
  uint8_t precisions[6];  // of weights that are matrices or tables
  Scaling scaling[6];     // of frames that meet a matrix of integers
  size_t sizes[5];
  size_t row_in, row_out;  // floats of input and output of a row that can be computed alone; 0: none
  size_t part;             // of an op whose input is written in parts, floats of its output that are computed at once
  Act acts[3];
  uint32_t flags;
  float number;
  uint32_t loop_end;       // of the first node of a loop over a whole sequence, the node behind it; else 0
  const CellType* cell_type;  // of a recurrent layer
  Cell cell;
  bool fused;  // of one with float32 state: its cell's kernel over Steps can run it
  bool joint;  // of one that is plain besides, with float32 W: one over OneStep can, if the cell has one
  bool reduced;  // of one that is plain, of which W and R are of one other precision: a kernel over ReducedStep can
  TinyKernel tiny;  // of one of those that is as small as it is for: one over TinySteps; else null
  bool forgets;  // of one without states: a frame op
  bool has_ring;                // of a window: a stream keeps its past in a ring
  size_t ring, ring_per_frame;  // where that begins among all rings: in floats, and for each frame of the stream's block
  const Convolution* convolution;  // of a window: what it does together with the nodes behind it (ops/convolutions.cpp), or null
  uint32_t n_ring_readings;        // of a window: how often attention reads it that can as well read its ring
  bool only_ring;                  // of such a window: attention reads the ring, and where there is one nobody its output
  const OpPlan* rings[2];          // of attention: the windows of which it reads keys and values in their rings, or null
  bool whole_sequence;             // needs all timesteps at once
  uint32_t latency;                 // of `present`: frames by which a stream's outputs come later
  uint64_t multiply_adds;           // of a timestep, at most; one for each element of ops without products
  uint64_t read_bytes;              // of its tensors, in a timestep
  size_t list_bytes;                // of these, what `Check::list` copies
  size_t view_bytes;                // of the SparseMatrix of each sparse weight
  uint64_t matrix_bytes;            // of weights that a team's workers share; 0: none
  bool whole_matrices;              // some are sparse, whose lists cannot be cut into panels: not shared
  size_t scratch_floats;            // in all
  size_t scratch_floats_per_frame;  // for each frame of a block
  size_t scratch_floats_per_row;    // instead, for each row of a batch; where 0, as for a frame
  size_t saved_floats;              // of these the last, where a gate may be shut: the row's states
};

constexpr size_t kTileOfConvolution = 16;

constexpr uint32_t kFlagReverse = 1, kFlagVariant = 2, kFlagMasked = 4, kFlagSteps = 8;

// What `measure` finds before there is memory for a plan.
struct Measures {
  uint64_t value_floats = 0;  // per frame of capacity
  uint64_t state_floats = 0;
  uint64_t scratch_floats = 0, scratch_floats_per_frame = 0, scratch_floats_per_row = 0;  // of the op that needs most
  bool streamable = true;
  bool frame_by_frame = false;  // a stream's: a state that a later op writes is read in the same timestep
  bool loops = false;           // a whole sequence's: see OpPlan::loop_end
  uint32_t last_write = 0;      // the last node that writes a register
  bool gated = false;           // has a `present`: knows frames of a sequence from others
  uint32_t latency = 0;         // frames by which a stream's outputs come later
  uint32_t n_rings = 0;         // windows that have one
  uint64_t ring_floats = 0, ring_floats_per_frame = 0;  // of a stream, and for each frame of its block
  size_t block = 1;             // frames per block of a stream
  bool convolves = false;       // some convolution may go at once: blocks are best of whole kTileOfConvolution frames
  size_t view_bytes = 0, list_bytes = 0;          // of all ops
  uint64_t multiply_adds = 0, bytes_per_step = 0;  // what a timestep costs
};

// What a convolution does at once: a window, a product with what it sees, and what follows that.
struct Convolution {
  const OpPlan* window;
  uint32_t n_nodes;    // that it stands for, the window's among them
  const OpPlan* join;  // puts the window's frames together with others, or null
  const OpPlan* product;
  bool kept;           // the product's output is read elsewhere too
  const OpPlan* sum;   // adds the value sum_x to it, or null
  const OpPlan* mix;   // a second product, of the first one's output, or null
  const OpPlan* mixed; // adds the value mix_x to that
  uint32_t sum_x, mix_x;
  bool narrow;         // all of these have at most kNarrow elements
  size_t n_past;       // taps with which the product begins and that lie in the past
  bool quick;          // `finish` is what is left of it for a single frame
  bool is_first;       // of these
  Finish finish;
};

// Checks every node with its op and adds up what a model needs.
ut_status measure(const File& file, Measures* out, ut_error* err);

// What a model has beside its plan: the parts of sparse weights, and where the file may change, copies of its lists.
struct Keep {
  uint8_t* at;
  uint8_t* end;
  bool copies;
};

}  // namespace undertow

struct ut_model {
  undertow::File file;
  undertow::Measures measures;
  const undertow::KernelTable* kernels;
  undertow::ValuePlan* values;
  undertow::StatePlan* states;
  undertow::OpPlan* ops;
  undertow::Convolution* convolutions;  // room for one a ring
  undertow::Past* pasts;                // the same; those with as many taps stand together
  size_t n_pasts;
  bool small = false;  // tiny recurrent layers, and small ops beside them: a few frames are steps, which wait side by side
};

namespace undertow {

// `copies`: the model's lists are its own.
size_t model_bytes(const File& file, const Measures& measures, bool copies);

// Lays the plan out in `mem` (model_bytes, aligned to UT_ALIGN). `file` must have passed `measure`. Fails only with
// `copies`, where what is copied is not what was measured.
ut_status build(void* mem, const File& file, const Measures& measures, const KernelTable& kernels, bool copies, ut_model** out,
                ut_error* err);

}  // namespace undertow

#endif  // UNDERTOW_PLAN_H_
