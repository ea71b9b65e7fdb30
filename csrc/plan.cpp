// SPDX-License-Identifier: MIT
#include "plan.h"

#include "ops/op.h"
#include "ops/ring.h"

namespace undertow {

namespace {

// What a block's frames may take, so that they stay in the second-level cache beside the weights.
constexpr uint64_t kBlockBytes = 512 * 1024;
constexpr uint64_t kMaxBlock = 48;  // a multiple of every tile's frames (kernels/matvec-inl.h)
constexpr uint64_t kTile = 12;

// Where the memory of a node's output comes from.
enum class Place { kOwn, kInput, kTensor };

Place place_of(const OpType& type, bool streamable) {
  if (type.is(kIsInput)) return Place::kInput;
  if (type.is(kIsLatest) && streamable) return Place::kInput;  // so far, the last frame is this one
  return type.is(kIsTensor) ? Place::kTensor : Place::kOwn;
}

bool has_gate(const OpType& type, const NodeView& node) {
  return type.cell && node.n_states != 0 && node.n_inputs == 2;
}

// The value whose memory a value is: itself, or what it shows through ops whose output is their input's memory. Looks back
// from node `end`, whose outputs begin at value `next`.
struct Origin {
  uint32_t value;
  bool constant;
};
Origin origin_of(const File& file, uint32_t end, uint32_t next, uint32_t v, uint64_t* looks) {
  for (uint32_t i = end; v >= file.n_inputs && i-- > 0;) {
    next -= file.node(i, 0).n_outputs;
    ++*looks;
    if (v < next) continue;
    const NodeView node = file.node(i, next);
    const OpType* type = find_op(node.kind);
    if (!type || place_of(*type, true) != Place::kInput || node.n_inputs == 0) return {v, type && type->is(kIsTensor)};
    v = node.inputs[0];
  }
  return {v, false};
}

// Looks for the origins of gates in all: that of each is close, but a file may be made of nothing else.
constexpr uint64_t kMostLooks = uint64_t{1} << 24;

ut_status check_gate(const File& file, const NodeView& node, uint32_t number, const OpPlan* plan, uint64_t* looks, ut_error* err) {
  const auto refuse = [&](const char* what, [[maybe_unused]] unsigned line = UT_LINE) -> ut_status {
    return Message(err, UT_E_FORMAT, 0, line).of_node(plan->type->name, node.name) << ": " << what;
  };
  const ValueView gate = file.value(node.inputs[1]);
  if (gate.size != 1 || gate.dtype != UT_FLOAT32 || plan->whole_sequence) return refuse("its gate is not one float32, or it runs backwards");
  // A gate is read several times in a timestep, while rows of the input change places (ops/gated.cpp), and decides where the
  // workers of a team meet: it must be a value of the timestep, and not the input.
  const Origin of_gate = origin_of(file, number, node.first_output, node.inputs[1], looks);
  const bool alike = file.value(node.inputs[0]).size == 1;
  if (alike && origin_of(file, number, node.first_output, node.inputs[0], looks).value == of_gate.value)
    return refuse("its gate is its own input");
  if (of_gate.constant) return refuse("its gate is a constant");
  if (*looks > kMostLooks) return Message(err, UT_E_UNSUPPORTED) << "the model has too many gates, too far from what they say";
  return UT_OK;
}

// keep: as in Check.
ut_status check_node(const File& file, const NodeView& node, OpPlan* plan, Keep* keep, ut_error* err) {
  const OpType* type = find_op(node.kind);
  if (!type)
    return Message(err, UT_E_UNSUPPORTED) << "node " << node.name << ": op kind " << node.kind << " is not known to this library";
  NodeView alone = node;
  if (has_gate(*type, node)) alone.n_inputs = 1;
  Check check(file, alone, type->name, plan, keep, err);
  plan->type = type;
  const ut_status status = type->check(check);
  if (status != UT_OK) return status;
  uint64_t elements = 0;
  for (uint32_t k = 0; k < node.n_outputs; ++k) elements += file.value(node.first_output + k).size;
  if (plan->multiply_adds == 0 && place_of(*type, true) == Place::kOwn) plan->multiply_adds = elements;
  if (has_gate(*type, node)) {
    plan->gate = 1;
    for (uint32_t s = 0; s < node.n_states; ++s) plan->saved_floats += padded(file.state(node.states[s]).size);
    if (plan->scratch_floats_per_row == 0) plan->scratch_floats_per_row = plan->scratch_floats_per_frame;
    plan->scratch_floats_per_row += plan->saved_floats;
  }
  if (plan->whole_matrices) plan->matrix_bytes = 0;
  return UT_OK;
}

// States that ops own: they stand before those of registers.
uint32_t count_owned_states(const File& file) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    const NodeView node = file.node(i, 0);
    const OpType* type = find_op(node.kind);
    if (!type || !type->is(kRegister)) n += node.n_states;
  }
  return n > file.n_states ? file.n_states : static_cast<uint32_t>(n);
}

// Walks over the nodes of a whole sequence and tells which are of a loop: those from a state_read on, up to the last of the
// state_writes that follow. A state_read behind which nothing is written begins none.
class Loops {
 public:
  explicit Loops(uint32_t last_write) : last_write_(last_write) {}
  // Whether node `number` is of a loop; asked in order.
  bool has(uint32_t number, const OpType& type, uint32_t n_outputs) {
    const bool is_register = type.is(kRegister), writes = is_register && n_outputs == 0;
    if (ends_ && !writes) in_ = ends_ = false;
    begins_ = !in_ && is_register && !writes && number < last_write_;
    in_ = in_ || begins_;
    ends_ = in_ && writes;
    return in_;
  }
  bool begins() const { return begins_; }

 private:
  uint32_t last_write_;
  bool in_ = false, begins_ = false, ends_ = false;
};

ut_status check_loops(const File& file, const Measures& m, ut_error* err) {
  Loops loops(m.last_write);
  uint32_t next = file.n_inputs;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    const NodeView node = file.node(i, next);
    next += node.n_outputs;
    const OpType& type = *find_op(node.kind);
    if (!loops.has(i, type, node.n_outputs)) continue;
    OpPlan plan;
    if (const ut_status s = check_node(file, node, &plan, nullptr, err)) return s;
    if (plan.whole_sequence || type.is(kIsLatest) || (type.cell && (plan.flags & kFlagMasked)))
      return Message(err, UT_E_UNSUPPORTED).of_node(type.name, node.name)
                                            << ": a register's next value is made by it frame by frame, but it needs the whole sequence";
  }
  return UT_OK;
}

// Says where the loops of a whole sequence end, and which of their values are read outside of them.
void mark_loops(ut_model& m) {
  const File& file = m.file;
  Loops loops(m.measures.last_write);
  OpPlan* first = nullptr;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    OpPlan& op = m.ops[i];
    const bool inside = loops.has(i, *op.type, op.n_outputs);
    if (loops.begins()) first = &op;
    if (inside) first->loop_end = i + 1;
  }
  const OpPlan* loop = nullptr;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    const OpPlan& op = m.ops[i];
    if (op.loop_end != 0) loop = &op;
    if (loop && i >= loop->loop_end) loop = nullptr;
    for (uint32_t k = 0; k < op.n_inputs; ++k)
      if (!loop || op.inputs[k] < loop->output) m.values[op.inputs[k]].leaves = true;
  }
  for (uint32_t i = 0; i < file.n_outputs; ++i) m.values[file.output(i).value].leaves = true;
}

template <class T>
T* carve(uint8_t*& p, size_t n) {
  T* out = reinterpret_cast<T*>(p);
  p += (n * sizeof(T) + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN;
  return out;
}

constexpr uint64_t aligned(uint64_t bytes) { return (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN; }

}  // namespace

ut_status measure(const File& file, Measures* out, ut_error* err) {
  Measures m;
  uint64_t n_elements = 0, looks = 0;
  uint32_t last_write = 0;
  bool has_registers = false;
  const uint32_t n_owned = count_owned_states(file);
  uint32_t next_state = 0;
  uint64_t behind_window = 0, passed_over = 0;  // floats of values that a convolution takes from a ring
  uint32_t next = file.n_inputs;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    const NodeView node = file.node(i, next);
    // Checks of a node may look at every element of its outputs: bounded before they start, for all nodes together.
    for (uint32_t k = 0; k < node.n_outputs; ++k) n_elements += file.value(next + k).size;
    if (n_elements > kMaxTotalFloats)
      return Message(err, UT_E_UNSUPPORTED) << "the model's frames take more than " << kMaxTotalFloats << " elements";
    OpPlan plan;
    if (const ut_status s = check_node(file, node, &plan, nullptr, err)) return s;
    if (has_gate(*plan.type, node))
      if (const ut_status s = check_gate(file, node, i, &plan, &looks, err)) return s;
    if (plan.has_ring) {
      ++m.n_rings;
      m.ring_floats += Ring::floats(plan);
      m.ring_floats_per_frame += Ring::floats_per_frame(plan);
    }
    if (!UT_SMALLEST && (plan.has_ring || (behind_window != 0 && plan.type->kind == kConcat))) {
      behind_window += padded(file.value(next).size);
    } else if (behind_window != 0 && plan.type->kind != kReshape) {
      if (is_narrow_product(plan)) {
        m.convolves = true;
        passed_over += behind_window;
      }
      behind_window = 0;
    }
    m.view_bytes += plan.view_bytes;
    m.list_bytes += plan.list_bytes;
    m.multiply_adds += plan.multiply_adds;
    m.bytes_per_step += plan.read_bytes;
    if (plan.whole_sequence) m.streamable = false;
    const bool is_register = plan.type->is(kRegister);
    if (is_register) {
      has_registers = true;
      if (node.n_outputs == 0) last_write = i;
    }
    if (plan.type->is(kPresence)) {
      if (m.gated) return Message(err, UT_E_FORMAT).of_node(plan.type->name, node.name) << ": there is another one";
      m.gated = true;
      m.latency = plan.latency;
    }
    // A state that two layers shared would make the numbers depend on how frames fall into blocks.
    for (uint32_t k = 0; k < node.n_states; ++k) {
      const bool owned = node.states[k] < n_owned;
      if (is_register ? owned : node.states[k] != next_state++)
        return Message(err, UT_E_FORMAT).of_node(plan.type->name, node.name) << ": state " << node.states[k]
                                         << " belongs to another layer, or is out of order";
    }
    if (plan.scratch_floats > m.scratch_floats) m.scratch_floats = plan.scratch_floats;
    const uint64_t per_frame = plan.scratch_floats_per_frame;
    const uint64_t per_row = plan.scratch_floats_per_row ? plan.scratch_floats_per_row : per_frame;
    if (per_frame > m.scratch_floats_per_frame) m.scratch_floats_per_frame = per_frame;
    if (per_row > m.scratch_floats_per_row) m.scratch_floats_per_row = per_row;
    next += node.n_outputs;
  }
  if (m.gated && !m.streamable)
    return Message(err, UT_E_UNSUPPORTED) << "present is of streams, but the model has layers that need the whole sequence";
  m.frame_by_frame = has_registers && m.streamable;
  m.loops = has_registers && !m.streamable;
  m.last_write = last_write;
  if (m.loops)
    if (const ut_status s = check_loops(file, m, err)) return s;

  for (uint32_t v = 0; v < file.n_inputs; ++v) m.value_floats += padded(file.value(v).size);
  next = file.n_inputs;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    const NodeView node = file.node(i, next);
    if (place_of(*find_op(node.kind), m.streamable) == Place::kOwn)
      for (uint32_t k = 0; k < node.n_outputs; ++k) m.value_floats += padded(file.value(next + k).size);
    next += node.n_outputs;
  }
  for (uint32_t s = 0; s < file.n_states; ++s) m.state_floats += padded(file.state(s).size);
  m.bytes_per_step += sizeof(float) * (m.value_floats + m.state_floats);

  const uint64_t frame_bytes = 4 * (m.value_floats - passed_over + m.scratch_floats_per_frame) + 1;
  uint64_t block = UT_SMALLEST || m.frame_by_frame ? 1 : kBlockBytes / frame_bytes;
  if (block > kMaxBlock) block = kMaxBlock;
  const uint64_t rows = m.convolves ? kTileOfConvolution : kTile;
  if (block >= rows) block -= block % rows;
  m.block = block < 1 ? 1 : static_cast<size_t>(block);
  if (m.value_floats > kMaxTotalFloats || m.state_floats > kMaxTotalFloats ||
      m.scratch_floats + (m.scratch_floats_per_frame + m.scratch_floats_per_row) * m.block > kMaxTotalFloats)
    return Message(err, UT_E_UNSUPPORTED) << "the model's frames or states take more than " << kMaxTotalFloats << " elements";
  *out = m;
  return UT_OK;
}

size_t model_bytes(const File& file, const Measures& measures, bool copies) {
  return static_cast<size_t>(aligned(sizeof(ut_model)) + aligned(file.n_values * sizeof(ValuePlan)) +
                             aligned(file.n_states * sizeof(StatePlan)) + aligned(file.n_nodes * sizeof(OpPlan)) +
                             aligned(measures.n_rings * sizeof(Convolution)) + aligned(measures.n_rings * sizeof(Past)) +
                             measures.view_bytes + (copies ? measures.list_bytes : 0));
}

// Scaling::least of the matrices of floats of an op that is bound. With weights that are 0 or at least 2^e, and numbers that are
// 0 or at least 2^x, every product is a multiple of 2^(e - 23 + x - 23), and so is every sum of products that rounds to 24 bits:
// if that is 2^-126, no sum is subnormal. What a chain starts from must be such a multiple too: 0, or at least 2^-103. Then no
// operand of the chain is subnormal either. And with weights and starts below 2^40, and numbers below 2^60, no sum of fewer than
// 2^24 products is beyond the largest float, so that kernels may hold sums as doubles meanwhile.
[[maybe_unused]] static void find_least(const File& file, const NodeView& node, OpPlan& op) {
  uint32_t smallest[6] = {};  // bits of the smallest number that is not 0; 0 where there is none
  bool plain = true;
  for (uint32_t i = 0; i < node.n_tensors && i < 6; ++i) {
    if (node.tensors[i] == kNone) continue;
    const TensorView t = file.tensor(node.tensors[i]);
    const bool narrow = t.dtype == kTensorBfloat16, is_matrix = op.scaling[i].limit != 0.0f;
    if (t.dtype != kTensorFloat32 && !narrow) continue;
    uint32_t least = ~uint32_t{0}, most = 0;
    for (uint64_t k = 0; k < t.n; ++k) {
      const uint32_t bits = narrow ? uint32_t{static_cast<const uint16_t*>(t.data)[k]} << 16 : static_cast<const uint32_t*>(t.data)[k];
      const uint32_t magnitude = (bits & 0x7fffffffu) - 1;  // 0 is the largest
      if (magnitude < least) least = magnitude;
      if (magnitude + 1 > most) most = magnitude + 1;
    }
    smallest[i] = least + 1;
    if (most >= (127u + 40) << 23 || (!is_matrix && least < (24u << 23) - 1)) plain = false;
  }
  for (uint32_t i = 0; i < node.n_tensors && i < 6 && plain; ++i) {
    if (node.tensors[i] == kNone || op.scaling[i].limit == 0.0f) continue;
    const uint32_t dtype = file.tensor(node.tensors[i]).dtype, e = smallest[i] >> 23;
    uint32_t least = 0;  // biased exponents, as e
    if (dtype == kTensorFloat16) least = 48;  // whose numbers are multiples of 2^-24
    if (dtype == kTensorFloat32 || dtype == kTensorBfloat16) least = smallest[i] == 0 ? 1 : e == 0 ? 0 : e < 173 ? 174 - e : 1;
    const uint32_t bits = least << 23;
    memcpy(&op.scaling[i].least, &bits, sizeof bits);
  }
}

// Weights of an op without states that blocks of frames need not share: they stay in the first-level cache anyway.
constexpr uint64_t kSmallBytes = 5 * 1024;

// Completes an op's `step`; whether steps do as well as blocks.
static bool bind_step(OpPlan& op, const ut_model& m) {
  if (op.cell_type) bind_cell(op, *m.kernels);
  if (UT_SMALLEST || !op.step || op.alone != op.type->run || m.values[op.inputs[0]].fixed) {
    op.step = op.alone;
    return !op.step;
  }
  const auto state = [&](uint32_t i) { return i < op.n_states ? m.states[op.states[i]].offset : 0; };
  op.at = {m.values[op.inputs[0]].offset, m.values[op.output].offset, state(0), state(op.n_states - 1)};
  return op.tiny || op.read_bytes <= kSmallBytes;
}

ut_status build(void* mem, const File& file, const Measures& measures, const KernelTable& kernels, bool copies, ut_model** out,
                ut_error* err) {
  uint8_t* p = static_cast<uint8_t*>(mem);
  uint8_t* const end = p + model_bytes(file, measures, copies);
  ut_model* m = new (carve<ut_model>(p, 1)) ut_model{file, measures, &kernels, nullptr, nullptr, nullptr, nullptr, nullptr, 0};
  m->values = carve<ValuePlan>(p, file.n_values);
  m->states = carve<StatePlan>(p, file.n_states);
  m->ops = carve<OpPlan>(p, file.n_nodes);
  m->convolutions = carve<Convolution>(p, measures.n_rings);
  m->pasts = carve<Past>(p, measures.n_rings);
  Keep keep = {p, end, copies};

  size_t offset = 0;
  for (uint32_t s = 0; s < file.n_states; ++s) {
    const StateView state = file.state(s);
    const void* init = state.init == kNone ? nullptr : file.tensor(state.init).data;
    m->states[s] = {offset, state.size, static_cast<const float*>(init)};
    offset += padded(state.size);
  }

  offset = 0;
  const auto own = [&](uint32_t v, bool once) {
    const size_t width = file.value(v).size;
    m->values[v] = {offset, width, nullptr, once, false, v};
    offset += padded(width);
  };
  for (uint32_t v = 0; v < file.n_inputs; ++v) own(v, false);
  uint32_t next = file.n_inputs;
  size_t ring = 0, ring_per_frame = 0;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    const NodeView node = file.node(i, next);
    OpPlan& op = m->ops[i];
    if (const ut_status s = check_node(file, node, &op, &keep, err)) return s;  // binds the weights
    if (UT_LOOKS_FOR_SUBNORMALS && kernels.flushes) find_least(file, node, op);
    if (op.has_ring) {
      op.ring = ring;
      op.ring_per_frame = ring_per_frame;
      ring += Ring::floats(op);
      ring_per_frame += Ring::floats_per_frame(op);
    }
    // An output that is its input's memory is there already.
    op.run = place_of(*op.type, measures.streamable) == Place::kOwn || node.n_outputs == 0 ? op.type->run : nullptr;
    if (op.saved_floats != 0) op.run = run_gated;
    op.alone = op.run;
    bool once = op.type->is(kIsLatest);
    if ((op.type->is(kFramewise) || op.forgets) && node.n_inputs != 0) {
      once = true;
      for (uint32_t k = 0; k < node.n_inputs; ++k) once = once && m->values[node.inputs[k]].once;
    }
    for (uint32_t k = 0; k < node.n_outputs; ++k) switch (place_of(*op.type, measures.streamable)) {
        case Place::kOwn: own(next + k, once); break;
        case Place::kInput: m->values[next + k] = m->values[node.inputs[0]]; break;
        case Place::kTensor:
          m->values[next + k] = {0, file.value(next + k).size, static_cast<const float*>(op.weights[0]), true, false, next + k};
          break;
      }
    next += node.n_outputs;
  }
  if (measures.loops) mark_loops(*m);
  if (!UT_SMALLEST) {
    find_readers(*m);
    mark_parts(*m);
    mark_attention(*m);
  }
  if (!UT_SMALL) mark_convolutions(*m);
  bool small = true, waits = false;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    small = bind_step(m->ops[i], *m) && small;
    waits = waits || m->ops[i].tiny;
  }
  m->small = UT_SMALLEST || (small && waits);
  *out = m;
  return UT_OK;
}

}  // namespace undertow
