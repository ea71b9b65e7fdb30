// SPDX-License-Identifier: MIT
// The op interface. An op is one row of the list that ends a file here, and one row in FORMAT.md: `check` validates an
// untrusted node and binds it to its weights, `run` computes it for a block of frames and cannot fail, traits are what else
// the plan must know of it. No op has a name outside its file.
#ifndef UNDERTOW_OPS_OP_H_
#define UNDERTOW_OPS_OP_H_

#include "../plan.h"
#include "../team.h"

namespace undertow {

// A node under check. Every getter that finds something wrong records the first error and gives a harmless value, so
// an op reads straight through its node and returns `status()`.
class Check {
 public:
  // keep: null while a model is measured; where it is built, what `list` and sparse matrices are put in.
  Check(const File& file, const NodeView& node, const char* op_name, OpPlan* plan, Keep* keep, ut_error* err);

  // How many of each the op takes; anything else is an error.
  void counts(uint32_t n_inputs, uint32_t n_outputs, uint32_t n_states, uint32_t n_tensors, uint32_t n_params);
#if UT_TEXTS
  void require(bool truth, const char* what, unsigned line = UT_LINE);
#else
  void require(bool truth, const char*, unsigned line = UT_LINE) { refuse_unless(truth, line); }
#endif

  size_t input(uint32_t i, uint32_t dtype = UT_FLOAT32);  // elements of an input frame
  size_t output(uint32_t i, uint32_t dtype = UT_FLOAT32);
  ValueView output_view(uint32_t i) const { return file_.value(node_.first_output + i); }
  ValueView input_view(uint32_t i) const { return file_.value(node_.inputs[i]); }
  size_t state(uint32_t i);  // elements; also binds plan->states[i]
  // Elements of a state of an op whose states are all its own, and stand together from plan->states[0] on.
  size_t own_state(uint32_t i);
  // Binds plan->weights[i] to a tensor of exactly n elements (null if optional and absent). n == 0: any size, returned.
  uint64_t weight(uint32_t i, uint64_t n, bool optional = false, uint32_t dtype = kTensorFloat32);
  // `bytes` of the file that steps find their way by, where they must be checked and used: there, or in a copy.
  const void* list(const void* data, size_t bytes);
  // Binds plan->weights[i] and precisions[i] to a matrix of M rows, K columns and G gates, in any precision.
  void matrix(uint32_t i, size_t M, size_t K, size_t G, bool optional = false);
  // The same for the filters of a depthwise layer, in float32 or int16.
  void filters(uint32_t i, size_t n_taps, size_t n_channels);
  // The same for a table of rows of `width` numbers; returns how many rows it has.
  size_t table(uint32_t i, size_t width);
  // Two matrices of K columns, parts of one weight, must have one precision and the same factors.
  void alike(uint32_t i, uint32_t j, size_t K, const char* names);
  // Binds the gate of a time op: input i, where the node has it. Its frames stand in plan->inputs like any other.
  void gate(uint32_t i);
  bool has_weight(uint32_t i) const { return i < node_.n_tensors && node_.tensors[i] != kNone; }
  uint32_t param(uint32_t i);
  float param_f32(uint32_t i);
  Act act(uint32_t first_param);

  uint32_t version() const { return file_.version; }  // of the file
  const NodeView& node() const { return node_; }
  OpPlan* plan() { return plan_; }
  ut_status status() const { return status_; }

 private:
  Message refusal(unsigned line = UT_LINE);  // begins a sentence
  void refuse(unsigned line);
  void refuse_unless(bool truth, unsigned line);
#if UT_TEXTS
  void fail(const char* what, const char* more = "", uint64_t got = 0, uint64_t expected = 0, unsigned line = UT_LINE);
#else
  void fail(const char*, const char* = "", uint64_t = 0, uint64_t = 0, unsigned line = UT_LINE) { refuse(line); }
#endif
  const void* sparse(const TensorView& t, uint32_t precision, uint64_t M, uint64_t K, uint64_t G);
  void integers(const uint8_t* panels, uint32_t precision, size_t n_panels, size_t K, size_t G);
  void factors(uint32_t tensor, const float* factors, size_t K);
  void sparse_integers(const SparseMatrix& lists, size_t n_lists, size_t n_blocks);

  const File& file_;
  const NodeView& node_;
  const char* op_name_;
  OpPlan* plan_;
  Keep* keep_;
  ut_error* err_;
  ut_status status_ = UT_OK;
};

// Who may end the run of a whole sequence, and is asked between layers and between some frames of them.
struct Watch {
  int (*stop)(void* context);
  void* context;
};

// A number that is 1 whatever is done.
struct One {
  constexpr operator size_t() const { return 1; }
  constexpr const One& operator=(size_t) const { return *this; }
};

// A block of frames while the ops walk over it: n timesteps of one stream or sequence, one timestep of n streams, or whole
// sequences side by side.
struct Block {
  const ut_model* model;
  float* values;
  size_t capacity;  // frames that `values` was sized for
  size_t n;         // frames in this block
  size_t n_valid;   // of a whole sequence, the frames that masked ops consume
  float* state;  // of the stream; null in a batch
  float* scratch;
  size_t chunk;  // frames (rows, in a batch) that `scratch` was sized for
  float* const* states;  // a batch: one state block per row, and each row is one timestep of its stream; else null
#if UT_THREADS
  Team* team = nullptr;  // several workers walk over this block, each with a scratch of its own; null: one
#else
  static constexpr NoTeam team{};
#endif
  bool flush = false;    // its frames come after the end of the sequence
  bool back = false;     // every other timestep of a stream: large layers walk their weights to and fro
  const Watch* watch = nullptr;  // of a whole sequence; null: nobody
#if UT_SMALLEST
  static constexpr One abreast{};  // streams and sequences go one by one
#else
  size_t abreast = 1;  // sequences side by side, each with a state block: row t * abreast + k is timestep t of number k
#endif
  const size_t* lengths = nullptr;  // of these, longest first; rows behind the end of one hold anything
  float* rings = nullptr;  // of a stream, where its windows have their past (ops/ring.h); null: in its state

  const ValuePlan& value(uint32_t v) const { return model->values[v]; }
  float* row(uint32_t v) const {
    const ValuePlan& p = model->values[v];
    return p.fixed ? const_cast<float*>(p.fixed) : values + p.offset * capacity;
  }
#if UT_SMALLEST
  UT_NOINLINE
#endif
  float* row(uint32_t v, size_t t) const { return row(v) + t * stride(v); }
  size_t stride(uint32_t v) const {
    const ValuePlan& p = model->values[v];
    return p.once && (abreast == 1 || p.fixed) ? 0 : padded(p.width);
  }
  size_t rows(uint32_t v) const { return value(v).once ? abreast : n; }
  bool batch() const { return !UT_SMALLEST && states != nullptr && abreast == 1; }
  size_t length(size_t k) const { return lengths ? lengths[k] : n; }
  // How many sequences have a timestep t; they are the first.
  size_t going(size_t t) const {
    size_t k = abreast;
    while (k != 0 && lengths[k - 1] <= t) --k;
    return k;
  }
  bool stopped() const { return watch && watch->stop(watch->context) != 0; }
  bool leads() const { return !team || team->leads(); }
  Panels mine(size_t n_panels) const { return team ? team->mine(n_panels) : Panels{0, n_panels}; }
  void meet() const {
    if (team) team->meet();
  }
  // Whether frame (row, in a batch) t of a gated op belongs to the sequence.
  bool open(const OpPlan& op, size_t t) const {
    uint32_t bits;  // a subnormal gate is shut on every target, as those that flush have it
    UT_COPY(&bits, row(op.inputs[op.gate]) + t * stride(op.inputs[op.gate]), sizeof bits);
    return (bits & 0x7f800000u) != 0;
  }
  float* state_at(uint32_t s) const { return state + model->states[s].offset; }
  float* state_at(uint32_t s, size_t row) const { return states[row] + model->states[s].offset; }
};

// n floats; a library call would cost more than the few that a small frame has.
inline void copy_floats(float* to, const float* from, size_t n) {
  if (UT_SMALLEST) {
    memcpy(to, from, n * sizeof(float));
    return;
  }
  for (; n >= kPanel; n -= kPanel, to += kPanel, from += kPanel) memcpy(to, from, kPanel * sizeof(float));
  if (n >= 8) memcpy(to, from, 8 * sizeof(float)), n -= 8, to += 8, from += 8;
  if (n >= 4) memcpy(to, from, 4 * sizeof(float)), n -= 4, to += 4, from += 4;
  for (; n != 0; --n) memcpy(to++, from++, sizeof(float));
}

// What the plan asks of an op: how its outputs are held, and how it meets time.
enum OpTrait : uint32_t {
  kFramewise = 1,  // looks at one frame at a time: its outputs are given once if all its inputs are
  kIsInput = 2,    // its output is its input's memory
  kIsLatest = 4,   // its output is the last frame: in a stream its input's memory, of a whole sequence one row
  kIsTensor = 8,   // its output is its tensor's memory
  kRegister = 16,  // its state is not its own: what was written last is read, so a model goes frame by frame
  kPresence = 32,  // its output tells the frames of a sequence from those of a flush
  kRowsInside = 64,      // where it has states, each frame has rows of its own: sequences do not stand side by side
};

// Kinds of ops that a convolution is made of.
enum OpKind : uint32_t { kDense = 1, kBinary = 3, kConcat = 7, kReshape = 9, kWindow = 23 };

struct CellType;

// Chooses the kernels of a recurrent layer that hang on its sizes.
void bind_cell(OpPlan& op, const KernelTable& kernels);

// A frame of which outputs are written in parts, from their first elements on.
struct Parts {
  size_t t;
  bool whole;                // what is read stands there, whoever makes it
  const void* at = nullptr;  // where the op that begins has come in its list, and how far in there
  size_t done = 0;
};

struct OpType {
  uint32_t kind;  // FORMAT.md
  const char* name;
  ut_status (*check)(Check& c);
  RunOp run;        // null: nothing to do at run time
  uint32_t traits;  // OpTrait
  const CellType* cell = nullptr;  // of a recurrent layer (recurrent.h), whose second input is a gate, and the plan's affair
  // Of an op with OpPlan::row_out: writes elements `first` to first + n - 1 of a frame, whole rows, to `to`.
  void (*part)(const OpPlan& op, const Block& b, Parts& parts, size_t first, size_t n, float* to) = nullptr;

  bool is(OpTrait trait) const { return (traits & trait) != 0; }
};

// Whether an op is a product of one panel of float32, for one row a frame: what a convolution may go together with.
inline bool is_narrow_product(const OpPlan& op) {
  return op.type->kind == kDense && op.precisions[0] == kFloat32 && op.sizes[1] == 1 && op.sizes[2] == 1;
}

// Runs a recurrent layer that has a gate.
void run_gated(const OpPlan& op, const Block& b);

// Run an op that has `part`: on whole frames, and where its input is written in parts.
void run_at_once(const OpPlan& op, const Block& b);
void run_in_parts(const OpPlan& op, const Block& b);
// Notes of all memory which node alone reads it, if one does, and how often it is read.
void find_readers(ut_model& model);
// Decides which values are written in parts.
void mark_parts(ut_model& model);
// Finds windows that a product follows, and what follows that.
void mark_convolutions(ut_model& model);
// Finds windows that attention alone reads, and reads where they have their past.
void mark_attention(ut_model& model);

// Elements `first` to first + n - 1 of a frame of a value: where they stand, or have now been written.
inline const float* part_of(const Block& b, uint32_t v, Parts& parts, size_t first, size_t n) {
  const OpPlan* maker = UT_SMALLEST ? nullptr : b.value(v).maker;
  float* row = b.row(v);
  if (!maker || parts.whole) return row + parts.t * b.stride(v) + first;
  maker->type->part(*maker, b, parts, first, n, row);
  return row;
}

// The ops of one file.
class OpList {
 public:
  template <size_t n>
  constexpr OpList(const OpType (&ops)[n]) : begin_(ops), end_(ops + n) {}
  const OpType* begin() const { return begin_; }
  const OpType* end() const { return end_; }

 private:
  const OpType *begin_, *end_;
};
extern const OpList kFrameOps, kMoveOps, kTimeOps, kExpressionOps, kAttendOps, kCellOps;

// The op of a kind, or null.
const OpType* find_op(uint32_t kind);

}  // namespace undertow

#endif  // UNDERTOW_OPS_OP_H_
