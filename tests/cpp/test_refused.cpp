// SPDX-License-Identifier: MIT
// One lie at a time in an otherwise sound .tow file, with a checksum that fits: each must be refused, for what an op
// reads beyond its frames may still lie inside the caller's memory, where no sanitizer sees it.
//     test_refused FOLDER
#include <functional>
#include <limits>
#include <utility>

#include "blob.h"
#include "check.h"

namespace {

using namespace ut_test;

enum Kind {
  kDense = 1,
  kActivation,
  kBinary,
  kAffine,
  kSoftmax,
  kLayerNorm,
  kConcat,
  kSelect,
  kReshape,
  kEmbedding,
  kConstant,
  kRnn,
  kGru,
  kLstm,
  kStateRead,
  kStateWrite,
  kLast,
  kFlip,
  kDepthwise,
  kReduce,
  kMatmul,
  kWhere,
  kRnnFramed = 24,
  kGruFramed,
  kLstmFramed,
  kExpression = 28
};

uint32_t word_of(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

// A file's metadata as words, by the record tables of FORMAT.md.
class Tow {
 public:
  explicit Tow(const Bytes& bytes) : bytes_(bytes) {
    at_[0] = 12;
    static const size_t kWords[] = {6, 13, 12, 3, 9};
    const size_t counts[] = {n_tensors(), n_values(), n_states(), n_outputs(), n_nodes()};
    for (size_t i = 0; i < 5; ++i) at_[i + 1] = at_[i] + kWords[i] * counts[i];
  }

  uint32_t& word(size_t i) { return *reinterpret_cast<uint32_t*>(bytes_.data() + 64 + 4 * i); }
  uint32_t& header(size_t i) { return *reinterpret_cast<uint32_t*>(bytes_.data() + 4 * i); }
  uint32_t& count(size_t i) { return word(i); }
  uint32_t& title(size_t i) { return word(8 + i); }
  uint32_t& tensor(size_t i, size_t k) { return word(at_[0] + 6 * i + k); }
  uint32_t& value(size_t i, size_t k) { return word(at_[1] + 13 * i + k); }
  uint32_t& state(size_t i, size_t k) { return word(at_[2] + 12 * i + k); }
  uint32_t& output(size_t i, size_t k) { return word(at_[3] + 3 * i + k); }
  uint32_t& node(size_t i, size_t k) { return word(at_[4] + 9 * i + k); }

  size_t n_tensors() { return count(0); }
  size_t n_values() { return count(1); }
  size_t n_states() { return count(2); }
  size_t n_outputs() { return count(4); }
  size_t n_nodes() { return count(5); }
  uint32_t text_bytes() { return count(7); }
  char* text(uint32_t offset) { return reinterpret_cast<char*>(bytes_.data() + 64 + u32_at(bytes_, 24) - text_bytes() + offset); }

  // The nth node of a kind; its inputs, states, tensors and params; and its first output value.
  size_t find(uint32_t kind, size_t nth = 0) {
    for (size_t i = 0; i < n_nodes(); ++i)
      if (node(i, 0) == kind && nth-- == 0) return i;
    fprintf(stderr, "no node of kind %u\n", kind);
    exit(2);
  }
  uint32_t& input(size_t n, size_t k) { return word(at_[5] + node(n, 8) + k); }
  uint32_t& state_of(size_t n, size_t k) { return input(n, node(n, 3) + k); }
  uint32_t& tensor_of(size_t n, size_t k) { return state_of(n, node(n, 5) + k); }
  uint32_t& param(size_t n, size_t k) { return tensor_of(n, node(n, 6) + k); }
  size_t first_output(size_t n) {
    size_t v = count(3);
    for (size_t i = 0; i < n; ++i) v += node(i, 4);
    return v;
  }
  int32_t* data(size_t t) { return reinterpret_cast<int32_t*>(bytes_.data() + tensor(t, 2)); }

 private:
  const Bytes& bytes_;
  size_t at_[6];
};

struct Lie {
  const char* file;
  const char* what;
  ut_status expected;
  std::function<void(Tow&)> tell;
};

constexpr uint32_t kNone = 0xffffffffu;
const float kNan = std::numeric_limits<float>::quiet_NaN();

int16_t* int16(Tow& t, uint32_t kind, size_t k) { return reinterpret_cast<int16_t*>(t.data(t.tensor_of(t.find(kind), k))); }
// A scale of R of a GRU with reset before and 3 units, in fixed8.
void scale(Tow& t, uint32_t bits) {
  memcpy(reinterpret_cast<uint8_t*>(t.data(t.tensor_of(t.find(kGru), 2))) + 3 * 2 * 16 + 4 * 17, &bits, 4);
}

// Of a column of the dense layer, which has two.
void factor(Tow& t, float x, size_t column = 1) {
  t.data(t.tensor_of(t.find(kDense), 0))[column] = static_cast<int32_t>(word_of(x));
}
// The name of a record with two words of text, as far as both names reach, becomes that of another.
void rename(Tow& t, uint32_t* record, const uint32_t* other) {
  record[1] = record[1] < other[1] ? record[1] : other[1];
  memcpy(t.text(record[0]), t.text(other[0]), record[1]);
}
void rename_both(Tow& t, uint32_t* record, uint32_t* other) {
  rename(t, record, other);
  other[1] = record[1];
}

// Words of the expression with every instruction, and of the one with a gate.
constexpr size_t kHeadWords = 7, kSlots = 4, kOperands = 5, kInstructions = 6;
uint32_t& head(Tow& t, size_t k, size_t nth = 0) { return t.param(t.find(kExpression, nth), k); }
// 0 input 0, all of the space; 1, 2 input 1, a row and a column; 3, 4 the state; 5 an output, all of the space; from 6 on those of
// reductions, 7 and 6 of them. Of the one with a gate: input 0, state, output.
uint32_t& operand(Tow& t, size_t i, size_t k, size_t nth = 0) { return head(t, kHeadWords + 6 * i + k, nth); }
uint32_t& instruction(Tow& t, size_t i, size_t k, size_t nth = 0) { return operand(t, head(t, kOperands, nth) + i, k, nth); }
// The last instructions: that of operand 5, then those of operands 6 to 18.
uint32_t& last_of(Tow& t, size_t y, size_t k) { return instruction(t, head(t, kInstructions) - 19 + y, k); }
constexpr uint32_t kOfInput = 0, kOfState = 2, kFirstOutput = 5, kOverLast = 6, kOverRows = 13, kFirstSlot = 19;
// Moves words of a node from its params to its inputs.
void more_inputs(Tow& t, size_t n, uint32_t by) {
  t.node(n, 3) += by, t.node(n, 7) -= by;
  for (size_t k = 0; k < t.node(n, 3); ++k) t.input(n, k) = 0;
  t.state_of(n, 0) = 0;
}

const Lie kLies[] = {
    {"rnn", "format version 0", UT_E_VERSION, [](Tow& t) { t.header(2) = 0; }},
    {"rnn", "format version 7", UT_E_VERSION, [](Tow& t) { t.header(2) = 7; }},
    {"rnn", "format version 4 that says no frames", UT_E_FORMAT, [](Tow& t) { t.header(2) = 4; }},
    {"rated", "nothing new in format version 4", UT_OK, [](Tow& t) { t.header(2) = 4; }},
    {"rnn", "format version 3 that says no frames", UT_E_FORMAT, [](Tow& t) { t.header(2) = 3; }},
    {"rnn", "a sample rate in version 1", UT_E_FORMAT, [](Tow& t) { t.header(14) = 16000; }},
    {"strides", "a sample rate in version 2", UT_E_FORMAT, [](Tow& t) { t.header(14) = 16000; }},
    {"rnn", "format version 2 that says no frames", UT_E_FORMAT, [](Tow& t) { t.header(2) = 2; }},
    {"rnn", "timesteps of the inputs in version 1", UT_E_FORMAT, [](Tow& t) { t.header(12) = 1; }},
    {"rnn", "timesteps of the outputs in version 1", UT_E_FORMAT, [](Tow& t) { t.header(13) = 1; }},
    {"strides", "a frame of no timesteps", UT_E_FORMAT, [](Tow& t) { t.header(12) = 0; }},
    {"strides", "a frame of no timesteps of the outputs", UT_E_FORMAT, [](Tow& t) { t.header(13) = 0; }},
    {"strides", "a frame of 2^24 timesteps", UT_OK, [](Tow& t) { t.header(12) = 1u << 24; }},
    {"strides", "a frame of 2^24 + 1 timesteps", UT_E_FORMAT, [](Tow& t) { t.header(12) = (1u << 24) + 1; }},
    {"strides", "a frame of 2^32 - 1 timesteps out", UT_E_FORMAT, [](Tow& t) { t.header(13) = 0xffffffff; }},
    {"strides", "a reserved word behind the timesteps", UT_E_FORMAT, [](Tow& t) { t.header(14) = 1; }},
    {"strides", "a last word that is reserved", UT_E_FORMAT, [](Tow& t) { t.header(15) = 1; }},
    {"rnn", "title outside the text pool", UT_E_FORMAT, [](Tow& t) { t.title(1) = t.text_bytes() + 1; }},
    {"rnn", "source outside the text pool", UT_E_FORMAT, [](Tow& t) { t.title(2) = kNone; }},
    {"rnn", "name of a value outside the text pool", UT_E_FORMAT, [](Tow& t) { t.value(0, 1) = t.text_bytes() + 1; }},
    {"rnn", "name of a state outside the text pool", UT_E_FORMAT, [](Tow& t) { t.state(0, 0) = t.text_bytes(); }},
    {"rnn", "name of an output outside the text pool", UT_E_FORMAT, [](Tow& t) { t.output(0, 0) = t.text_bytes(); }},
    {"rnn", "name of a node outside the text pool", UT_E_FORMAT, [](Tow& t) { t.node(0, 1) = t.text_bytes(); }},
    {"rnn", "text that is not UTF-8", UT_E_FORMAT, [](Tow& t) { t.text(t.value(0, 0))[0] = static_cast<char>(0xff); }},
    {"rnn", "two texts of the same bytes", UT_E_FORMAT,
     [](Tow& t) { t.value(1, 0) = 0, t.value(1, 1) = t.text_bytes(); }},
    {"rnn", "two texts of one byte", UT_E_FORMAT, [](Tow& t) { t.value(1, 1) = 1, t.state(0, 0) = t.value(1, 0), t.state(0, 1) = 1; }},
    {"rnn", "texts out of order", UT_E_FORMAT,
     [](Tow& t) { std::swap(t.value(0, 0), t.value(1, 0)), std::swap(t.value(0, 1), t.value(1, 1)); }},
    {"rnn", "an empty text behind the one before", UT_OK, [](Tow& t) { t.value(1, 1) = 0; }},
    {"cells", "two states of one name", UT_E_FORMAT, [](Tow& t) { rename_both(t, &t.state(1, 0), &t.state(0, 0)); }},
    {"cells", "the last state named as the first", UT_E_FORMAT,
     [](Tow& t) { rename_both(t, &t.state(t.n_states() - 1, 0), &t.state(0, 0)); }},
    {"lstm", "two outputs of one name", UT_E_FORMAT, [](Tow& t) { rename_both(t, &t.output(1, 0), &t.output(0, 0)); }},
    {"text", "two inputs of one name", UT_E_FORMAT, [](Tow& t) { rename_both(t, &t.value(1, 0), &t.value(0, 0)), t.count(3) = 2; }},
    {"rnn", "no inputs", UT_E_FORMAT, [](Tow& t) { t.count(3) = 0; }},
    // The words of the output become the first ones of the node, of whose text nothing may be wrong.
    {"rnn", "no outputs", UT_E_FORMAT,
     [](Tow& t) { t.output(0, 1) = t.text_bytes(), t.output(0, 2) = 0, t.count(4) = 0, t.count(6) += 3; }},
    {"rnn", "tensors over each other", UT_E_FORMAT,
     [](Tow& t) { t.tensor(1, 2) = t.tensor(2, 2) = t.tensor(0, 2), t.tensor(1, 4) = t.tensor(2, 4) = 4 * t.tensor(0, 4); }},
    {"int8", "a weight of -128", UT_E_FORMAT, [](Tow& t) { reinterpret_cast<uint8_t*>(t.data(t.tensor_of(t.find(kGru), 0)))[0] = 0x80; }},
    {"int8", "a weight and not its sum", UT_E_FORMAT, [](Tow& t) { ++reinterpret_cast<int8_t*>(t.data(t.tensor_of(t.find(kDense), 0)))[0]; }},
    {"rnn", "more inputs than values", UT_E_FORMAT, [](Tow& t) { t.count(3) = 3; }},
    {"rnn", "an input more", UT_E_FORMAT, [](Tow& t) { t.count(3) = 2; }},
    {"rnn", "a tensor less", UT_E_FORMAT, [](Tow& t) { --t.count(0); }},
    {"rnn", "too many records", UT_E_FORMAT, [](Tow& t) { t.count(5) = 65537; }},
    {"rnn", "text pool of broken words", UT_E_FORMAT, [](Tow& t) { ++t.count(7); }},
    {"rnn", "tensor of unknown dtype", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 0) = 6; }},
    {"int16", "int16 in format version 3", UT_E_FORMAT, [](Tow& t) { t.header(2) = 3; }},
    {"smoothed_int8", "factors in format version 3", UT_E_FORMAT, [](Tow& t) { t.header(2) = 3; }},
    {"int16", "a dtype behind the last", UT_E_FORMAT, [](Tow& t) { t.header(2) = 5, t.tensor(0, 0) = 10; }},
    {"int16", "fixed8 in format version 4", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 0) = 9; }},
    {"int16", "a table in fixed8", UT_E_FORMAT, [](Tow& t) { t.header(2) = 5, t.tensor(t.tensor_of(t.find(kEmbedding), 0), 0) = 9; }},
    {"int8", "a dense layer in fixed8", UT_E_FORMAT, [](Tow& t) { t.header(2) = 5, t.tensor(t.tensor_of(t.find(kDense), 0), 0) = 9; }},
    {"fixed8", "fixed8 in format version 4", UT_E_FORMAT, [](Tow& t) { t.header(2) = 4; }},
    {"fixed8", "fixed8 with a flag", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kGru), 0), 1) = 1; }},
    {"fixed8", "a weight of -128", UT_E_FORMAT, [](Tow& t) { reinterpret_cast<uint8_t*>(t.data(t.tensor_of(t.find(kGru), 0)))[0] = 0x80; }},
    {"fixed8", "a weight of -127", UT_OK, [](Tow& t) { reinterpret_cast<uint8_t*>(t.data(t.tensor_of(t.find(kGru), 0)))[0] = 0x81; }},
    {"fixed8", "a scale of 16 bits", UT_E_FORMAT, [](Tow& t) { scale(t, 0x3c000100u); }},
    {"fixed8", "a negative scale", UT_E_FORMAT, [](Tow& t) { scale(t, 0xbc000000u); }},
    {"fixed8", "an infinite scale", UT_E_FORMAT, [](Tow& t) { scale(t, 0x7f800000u); }},
    {"fixed8", "a subnormal scale", UT_E_FORMAT, [](Tow& t) { scale(t, 0x00400000u); }},
    {"fixed8", "the largest scale", UT_OK, [](Tow& t) { scale(t, 0x7f7ffe00u); }},
    {"fixed8", "a clip", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kGru), 7) = 0x3f800000u; }},
    {"fixed8", "W alone", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kGru), 2), 0) = 4; }},
    {"int16", "a flag that is none", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kDense), 0), 1) = 2; }},
    {"int16", "2^32 - 1 flags", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kDense), 0), 1) = kNone; }},
    {"int16", "factors that are not there", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kDense), 0), 1) = 1; }},
    {"smoothed_int16", "factors that are denied", UT_E_FORMAT,
     [](Tow& t) { t.tensor(t.tensor_of(t.find(kDense), 0), 1) = 0; }},
    {"int16", "a table with factors", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kEmbedding), 0), 1) = 1; }},
    {"int16", "a bias with a flag", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kDense), 1), 1) = 1; }},
    {"rated", "float32 with a flag", UT_E_FORMAT, [](Tow& t) { t.header(2) = 4, t.tensor(0, 1) = 1; }},
    // K is 2 in the GRU's W, and 3 in its R: 32767 and 26754.
    {"int16", "32767 beside another column", UT_OK, [](Tow& t) { int16(t, kGru, 0)[0] = 32767; }},
    {"int16", "-32768", UT_E_FORMAT, [](Tow& t) { int16(t, kGru, 0)[0] = -32768; }},
    {"int16", "the largest of three columns", UT_OK, [](Tow& t) { int16(t, kGru, 2)[0] = -26754; }},
    {"int16", "more than the largest of three columns", UT_E_FORMAT, [](Tow& t) { int16(t, kGru, 2)[0] = 26755; }},
    {"int16", "more than the largest, in a row of padding", UT_E_FORMAT,
     [](Tow& t) { int16(t, kGru, 2)[2 * 2 * 16 * 2 - 1] = -26755; }},
    {"smoothed_int16", "more than the largest behind factors", UT_E_FORMAT,
     [](Tow& t) { int16(t, kGru, 2)[32 + 5] = 26755; }},
    {"smoothed_int8", "a weight of -128 behind factors", UT_E_FORMAT,
     [](Tow& t) { reinterpret_cast<uint8_t*>(t.data(t.tensor_of(t.find(kGru), 0)))[64] = 0x80; }},
    {"smoothed_int8", "a weight and not its sum, behind factors", UT_E_FORMAT,
     [](Tow& t) { ++reinterpret_cast<int8_t*>(t.data(t.tensor_of(t.find(kGru), 0)))[64]; }},
    {"smoothed_int16", "the smallest factor", UT_OK, [](Tow& t) { factor(t, 0x1p-40f); }},
    {"smoothed_int16", "a smaller one", UT_E_FORMAT, [](Tow& t) { factor(t, 0x1p-41f); }},
    {"smoothed_int16", "the largest factor", UT_OK, [](Tow& t) { factor(t, 1.0f); }},
    {"smoothed_int16", "a larger one", UT_E_FORMAT, [](Tow& t) { factor(t, 2.0f); }},
    {"smoothed_int16", "a factor of 3", UT_E_FORMAT, [](Tow& t) { factor(t, 3.0f); }},
    {"smoothed_int16", "a factor of 0.75", UT_E_FORMAT, [](Tow& t) { factor(t, 0.75f); }},
    {"smoothed_int16", "a factor of -0.5", UT_E_FORMAT, [](Tow& t) { factor(t, -0.5f); }},
    {"smoothed_int16", "a factor of 0", UT_E_FORMAT, [](Tow& t) { factor(t, 0.0f); }},
    {"smoothed_int16", "an infinite factor", UT_E_FORMAT,
     [](Tow& t) { factor(t, std::numeric_limits<float>::infinity()); }},
    {"smoothed_int16", "a factor that is NaN", UT_E_FORMAT, [](Tow& t) { factor(t, kNan); }},
    {"smoothed_int16", "a subnormal factor", UT_E_FORMAT, [](Tow& t) { factor(t, 0x1p-140f); }},
    {"smoothed_int16", "a factor of 1 for a column that is not there", UT_E_FORMAT, [](Tow& t) { factor(t, 1.0f, 2); }},
    {"smoothed_int16", "NaN for the last column that is not there", UT_E_FORMAT, [](Tow& t) { factor(t, kNan, 15); }},
    {"smoothed_int16", "-0 for a column that is not there", UT_E_FORMAT, [](Tow& t) { factor(t, -0.0f, 2); }},
    {"smoothed_int8", "infinity for a column that is not there", UT_E_FORMAT,
     [](Tow& t) { factor(t, std::numeric_limits<float>::infinity(), 2); }},
    {"gru_reset_before", "R_n in another precision than R", UT_E_FORMAT,
     [](Tow& t) { t.tensor(t.tensor_of(0, 3), 0) = 2; }},
    {"smoothed_int16", "R_n with another factor than R", UT_E_FORMAT,
     [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 3))[1] = static_cast<int32_t>(word_of(0x1p-7f)); }},
    {"gru_reset_before", "R in another precision than R_n", UT_E_FORMAT,
     [](Tow& t) { t.tensor(t.tensor_of(0, 2), 0) = 3; }},
    {"rnn", "float32 matrix that claims int8", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 0) = 4; }},
    {"rnn", "bias of float16", UT_E_FORMAT, [](Tow& t) { t.tensor(1, 0) = 2; }},
    {"rnn", "tensor with a reserved word", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 1) = 1; }},
    {"rnn", "tensor off its alignment", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 2) += 4; }},
    {"rnn", "tensor over the metadata", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 2) = 0; }},
    {"rnn", "tensor behind the file", UT_E_FORMAT, [](Tow& t) { t.tensor(2, 2) += 64; }},
    {"rnn", "tensor beyond 2^32", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 3) = 1; }},
    {"rnn", "tensor of 2^62 elements", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 5) = 1u << 30; }},
    {"rnn", "value of unknown dtype", UT_E_FORMAT, [](Tow& t) { t.value(0, 2) = 2; }},
    {"rnn", "float32 value with ids", UT_E_FORMAT, [](Tow& t) { t.value(0, 3) = 5; }},
    {"rnn", "value of nine axes", UT_E_FORMAT, [](Tow& t) { t.value(0, 4) = 9; }},
    {"rnn", "empty value", UT_E_FORMAT, [](Tow& t) { t.value(0, 5) = 0; }},
    {"rnn", "value of 2^24 + 1 elements", UT_E_FORMAT, [](Tow& t) { t.value(0, 5) = (1u << 24) + 1; }},
    {"rnn", "value of 2^32 elements", UT_E_FORMAT,
     [](Tow& t) { t.value(0, 4) = 2, t.value(0, 5) = t.value(0, 6) = 1u << 16; }},
    {"rnn", "a size behind the axes of a value", UT_E_FORMAT, [](Tow& t) { t.value(0, 6) = 1; }},
    {"rnn", "a size in the last place of a value", UT_E_FORMAT, [](Tow& t) { t.value(1, 12) = kNone; }},
    {"rnn", "a size behind the axes of a state", UT_E_FORMAT, [](Tow& t) { t.state(0, 11) = 1; }},
    {"rnn", "empty state", UT_E_FORMAT, [](Tow& t) { t.state(0, 4) = 0; }},
    {"rnn", "initial value that does not exist", UT_E_FORMAT, [](Tow& t) { t.state(0, 2) = 3; }},
    {"rnn", "initial value of the wrong size", UT_E_FORMAT, [](Tow& t) { t.state(0, 2) = 2; }},
    {"rnn", "output of a value that does not exist", UT_E_FORMAT, [](Tow& t) { t.output(0, 2) = 2; }},
    {"rnn", "node that reads its own output", UT_E_FORMAT, [](Tow& t) { t.input(0, 0) = 1; }},
    {"rnn", "node without its output", UT_E_FORMAT, [](Tow& t) { t.node(0, 4) = 0; }},
    {"rnn", "node with an output more", UT_E_FORMAT, [](Tow& t) { t.node(0, 4) = 2; }},
    {"rnn", "node without its input", UT_E_FORMAT, [](Tow& t) { t.node(0, 3) = 0; }},
    {"rnn", "node with a param less", UT_E_FORMAT, [](Tow& t) { --t.node(0, 7); }},
    {"rnn", "node whose words start elsewhere", UT_E_FORMAT, [](Tow& t) { t.node(0, 8) = 1; }},
    {"rnn", "node of kind 0", UT_E_UNSUPPORTED, [](Tow& t) { t.node(0, 0) = 0; }},
    {"rnn", "node of kind 99", UT_E_UNSUPPORTED, [](Tow& t) { t.node(0, 0) = 99; }},
    {"rnn", "state that does not exist", UT_E_FORMAT, [](Tow& t) { t.state_of(0, 0) = 1; }},
    {"rnn", "weight that does not exist", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 0) = 3; }},
    {"rnn", "W missing", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 0) = kNone; }},
    {"rnn", "R missing", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 2) = kNone; }},
    {"rnn", "W in place of R", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 2) = t.tensor_of(0, 0); }},
    {"rnn", "W of integers", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(0, 0), 0) = UT_INT32; }},
    {"rnn", "unknown activation", UT_E_FORMAT, [](Tow& t) { t.param(0, 0) = 26; }},
    {"rnn", "input_forget", UT_E_FORMAT, [](Tow& t) { t.param(0, 3) = 2; }},
    {"rnn", "unknown flag", UT_E_FORMAT, [](Tow& t) { t.param(0, 3) = 8; }},
    {"rnn", "clip that is not a number", UT_E_FORMAT, [](Tow& t) { t.param(0, 4) = word_of(kNan); }},
    {"rnn", "negative clip", UT_E_FORMAT, [](Tow& t) { t.param(0, 4) = word_of(-1); }},
    {"rnn", "the smallest clip that bounds anything", UT_OK, [](Tow& t) { t.param(0, 4) = 0x00800000; }},
    {"rnn", "a subnormal clip", UT_E_FORMAT, [](Tow& t) { t.param(0, 4) = 0x007fffff; }},
    {"rnn", "the smallest subnormal clip", UT_E_FORMAT, [](Tow& t) { t.param(0, 4) = 1; }},
    {"rnn", "a clip of -0", UT_E_FORMAT, [](Tow& t) { t.param(0, 4) = 0x80000000; }},
    {"rnn", "a clip of infinity", UT_OK, [](Tow& t) { t.param(0, 4) = 0x7f800000; }},
    {"rnn", "output wider than the state", UT_E_FORMAT, [](Tow& t) { t.value(1, 5) = 4; }},
    {"rnn", "state wider than the output", UT_E_FORMAT, [](Tow& t) { t.state(0, 4) = 4; }},
    {"rnn", "wider input", UT_E_FORMAT, [](Tow& t) { t.value(0, 5) = 3; }},
    {"rnn", "integer input", UT_E_FORMAT, [](Tow& t) { t.value(0, 2) = UT_INT32; }},
    {"lstm", "cell state wider than its output", UT_E_FORMAT, [](Tow& t) { t.value(2, 5) = 2; }},
    {"lstm", "output wider than its cell state", UT_E_FORMAT, [](Tow& t) { t.value(2, 5) = 300; }},
    {"lstm", "hidden state wider than the cell", UT_E_FORMAT, [](Tow& t) { t.state(0, 4) = t.value(1, 5) = 4; }},
    {"lstm", "hidden state narrower than the cell", UT_E_FORMAT,
     [](Tow& t) { t.state(0, 4) = t.value(1, 5) = 2, t.tensor(t.tensor_of(0, 2), 4) = 128; }},
    {"lstm", "b in place of the peephole", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 3) = t.tensor_of(0, 1); }},
    {"lstm", "b in place of the projection", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 4) = t.tensor_of(0, 0); }},
    {"gru_reset_after", "without rb", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 4) = kNone; }},
    {"gru_reset_after", "without its flag", UT_E_FORMAT, [](Tow& t) { t.param(0, 6) = 0; }},
    {"gru_reset_before", "with the flag of reset_after", UT_E_FORMAT, [](Tow& t) { t.param(0, 6) = 2; }},
    {"gru_reset_before", "without R_n", UT_E_FORMAT, [](Tow& t) { t.tensor_of(0, 3) = kNone; }},
    {"gru_reset_before", "dense with a wider output", UT_E_FORMAT, [](Tow& t) { t.value(2, 5) = 17; }},
    {"gru_reset_before", "dense of the wrong input", UT_E_FORMAT, [](Tow& t) { t.input(1, 0) = 0; }},
    {"text", "embedding of floats", UT_E_FORMAT, [](Tow& t) { t.value(0, 2) = t.value(0, 3) = 0; }},
    {"text", "embedding rows that do not fill its output", UT_E_FORMAT,
     [](Tow& t) { t.value(1, 5) = 1, t.value(1, 6) = 5; }},
    {"text", "table that is no whole number of rows", UT_E_FORMAT,
     [](Tow& t) { --t.tensor(t.tensor_of(t.find(kEmbedding), 0), 4); }},
    {"text", "reshape to other elements", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kReshape)), 5) = 3; }},
    {"text", "sum of frames of two sizes", UT_E_FORMAT,
     [](Tow& t) {
       t.input(t.find(kBinary), 1) = static_cast<uint32_t>(t.first_output(t.find(kBinary)) - 1),
                                t.value(t.first_output(t.find(kBinary)), 5) = 5;
     }},
    {"text", "binary operation 11", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kBinary), 0) = 11; }},
    {"text", "layer norm with eps NaN", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kLayerNorm), 0) = word_of(kNan); }},
    {"text", "layer norm with a scale of the wrong size", UT_E_FORMAT,
     [](Tow& t) { t.tensor_of(t.find(kLayerNorm), 0) = t.tensor_of(t.find(kGru), 0); }},
    {"text", "softmax of kind 2", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kSoftmax), 0) = 2; }},
    {"text", "softmax to another size", UT_E_FORMAT, [](Tow& t) { t.value(t.first_output(t.find(kSoftmax)), 5) = 6; }},
    {"every_op", "select before its frame", UT_E_FORMAT,
     [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[1] = 31; }},
    {"every_op", "select behind its frame", UT_E_FORMAT,
     [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[1] = 33; }},
    {"every_op", "select by floats", UT_E_FORMAT,
     [](Tow& t) { t.tensor(t.tensor_of(t.find(kSelect), 0), 0) = UT_FLOAT32; }},
    {"every_op", "concat without inputs", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kConcat)), 5) = 32; }},
    {"every_op", "constant of another size", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kConstant)), 6) = 21; }},
    {"every_op", "affine without its shift", UT_E_FORMAT, [](Tow& t) { t.tensor_of(t.find(kAffine), 1) = kNone; }},
    {"every_op", "activation to another size", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kActivation)), 5) = 3; }},
    {"every_op", "state_read of another size", UT_E_FORMAT, [](Tow& t) { t.state_of(t.find(kStateRead), 0) = 0; }},
    {"every_op", "state_write of another size", UT_E_FORMAT, [](Tow& t) { t.state_of(t.find(kStateWrite), 0) = 0; }},
    {"every_op", "last with an unknown flag", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kLast), 0) = 2; }},
    {"every_op", "a reverse layer among state registers", UT_E_UNSUPPORTED,
     [](Tow& t) { t.param(t.find(kLstm), 9) |= 1; }},
    // The first select: runs of 3 elements, in words input, start, count, stride, times, step.
    {"rows", "no runs", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kSelect), 0) = 0; }},
    {"rows", "a run less", UT_E_FORMAT, [](Tow& t) { --t.param(t.find(kSelect), 0); }},
    {"rows", "more runs than elements", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kSelect), 0) = 13; }},
    {"rows", "runs of 2^32 words", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kSelect), 0) = kNone; }},
    {"rows", "a run of input 2", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[0] = 2; }},
    {"rows", "a run of input -1", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[0] = -1; }},
    {"rows", "an empty run", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[2] = 0; }},
    {"rows", "a run of -1 elements", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[2] = -1; }},
    {"rows", "a run of 2^31 - 1 times 2^31 - 1", UT_E_FORMAT,
     [](Tow& t) { int32_t* r = t.data(t.tensor_of(t.find(kSelect), 0)); r[2] = r[4] = 0x7fffffff; }},
    {"rows", "a run that repeats no time", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[4] = 0; }},
    {"rows", "a stride out of the frame", UT_E_FORMAT,
     [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[6 + 3] = 0x7fffffff; }},
    {"rows", "a stride out of the frame backwards", UT_E_FORMAT,
     [](Tow& t) { t.data(t.tensor_of(t.find(kSelect), 0))[6 + 3] = -0x7fffffff; }},
    {"rows", "a dense layer of other rows", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kDense)), 5) = 2, t.value(t.first_output(t.find(kDense)), 6) = 4; }},
    {"rows", "a depthwise layer of other axes", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kDepthwise)), 4) = 1, t.value(t.first_output(t.find(kDepthwise)), 5) = 9,
                  t.value(t.first_output(t.find(kDepthwise)), 6) = 0; }},
    {"rows", "a reduction of kind 4", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kReduce), 0) = 4; }},
    {"rows", "a reduction of two axes", UT_E_FORMAT,
     [](Tow& t) { t.input(t.find(kReduce), 0) = static_cast<uint32_t>(t.first_output(t.find(kDepthwise))); }},
    {"rows", "a product of other axes", UT_E_FORMAT,
     [](Tow& t) { t.input(t.find(kMatmul), 1) = t.input(t.find(kMatmul), 0); }},
    {"rows", "where of another size", UT_E_FORMAT, [](Tow& t) { t.input(t.find(kWhere), 2) = 0; }},
    {"text", "a sparse table", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kEmbedding), 0), 0) = 6; }},
    {"sparse", "dtype 8", UT_E_FORMAT, [](Tow& t) { t.tensor(0, 0) = 8; }},
    // W of the gru: 3 lists that start at blocks 0, 2, 3 (and end at 3), of 2 columns; then columns, from word 16 on.
    {"sparse", "a tensor shorter than its starts", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kGru), 0), 4) = 16; }},
    {"sparse", "an unknown flag", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[0] = 2; }},
    {"sparse", "the diagonal of 9 rows and 5 columns", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[0] = 1; }},
    {"sparse", "a diagonal less", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 2))[0] = 0; }},
    {"sparse", "lists that start at 1", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[1] = 1; }},
    {"sparse", "lists out of order", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[3] = 1; }},
    {"sparse", "a list of 3 blocks of 2", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[2] = 3; }},
    {"sparse", "a block more", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[4] = 4; }},
    {"sparse", "2^32 - 1 blocks", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[4] = -1; }},
    {"sparse", "a column behind the last", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[17] = 0x10002; }},
    {"sparse", "a column of the lower half behind the last", UT_E_FORMAT,
     [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[17] = 0x20001; }},
    {"sparse", "a column twice", UT_E_FORMAT, [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[17] = 0x10000; }},
    {"sparse", "a column of the lower half twice", UT_E_FORMAT,
     [](Tow& t) { t.data(t.tensor_of(t.find(kGru), 0))[17] = 0x00001; }},
    {"sparse", "as many bytes of dense int8", UT_E_FORMAT, [](Tow& t) { t.tensor(t.tensor_of(t.find(kGru), 0), 0) = 4; }},
    // framed: gru 0 has 3 steps and no states, lstm 1 has 3 rows, gru 3 starts from an input, rnn 6 has 2 steps of 3 rows.
    {"framed", "an unknown flag", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kGruFramed), 6) |= 16; }},
    {"framed", "masked", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kGruFramed), 6) |= 4; }},
    {"framed", "neither states, nor inputs to start from, nor steps", UT_E_FORMAT,
     [](Tow& t) { t.param(t.find(kGruFramed), 6) = 2; }},
    {"framed", "backwards without steps and states", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kGruFramed, 1), 6) |= 1; }},
    {"framed", "steps that are rows of the states", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kLstmFramed), 9) |= 8; }},
    {"framed", "rows that are steps", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kRnnFramed), 3) = 0; }},
    {"framed", "no units", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kGruFramed), 8) = 0; }},
    {"framed", "more units than the output", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kGruFramed), 8) = 3; }},
    {"framed", "more units than the cell state", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kLstmFramed), 11) = 4; }},
    {"framed", "2^32 - 1 units", UT_E_FORMAT, [](Tow& t) { t.param(t.find(kLstmFramed), 11) = kNone; }},
    {"framed", "a param less", UT_E_FORMAT, [](Tow& t) { --t.node(t.find(kGruFramed), 7); }},
    {"framed", "an ordinary layer of several rows", UT_E_FORMAT, [](Tow& t) { t.node(t.find(kLstmFramed), 0) = kLstm; }},
    {"framed", "states of two rows for three", UT_E_FORMAT, [](Tow& t) { t.state(0, 4) = 2; }},
    {"framed", "cell states of two rows for three", UT_E_FORMAT, [](Tow& t) { t.state(1, 4) = 2; }},
    {"framed", "an input to start from that is too narrow", UT_E_FORMAT,
     [](Tow& t) { t.input(t.find(kGruFramed, 1), 1) = static_cast<uint32_t>(t.first_output(t.find(kLstmFramed))); }},
    {"framed", "an output of two steps for three", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kGruFramed)), 5) = 2; }},
    {"framed", "a cell output of two rows for three", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kLstmFramed)) + 1, 5) = 2; }},
    {"framed", "a frame of one axis with steps", UT_E_FORMAT,
     [](Tow& t) { t.value(0, 4) = 1, t.value(0, 5) = 6, t.value(0, 6) = 0; }},
    {"framed", "a frame of three axes of rows", UT_E_FORMAT,
     [](Tow& t) { const size_t v = t.first_output(t.find(kGruFramed)); t.value(v, 4) = 3, t.value(v, 7) = 1; }},
    // By the names of constants above; sizes of the space are 1, 2, 3, 5.
    {"expressions", "expressions in format version 5", UT_E_FORMAT, [](Tow& t) { t.header(2) = 5; }},
    {"expressions", "a tensor", UT_E_FORMAT,
     [](Tow& t) { const size_t n = t.find(kExpression); ++t.node(n, 6), --t.node(n, 7), t.tensor_of(n, 0) = t.state(0, 2), t.state(0, 2) = kNone; }},
    {"expressions", "params that end in the head", UT_E_FORMAT,
     [](Tow& t) { const size_t n = t.find(kExpression, 1); more_inputs(t, n, t.node(n, 7) - 6); }},
    {"expressions", "65 inputs and outputs", UT_E_FORMAT,
     [](Tow& t) { const size_t n = t.find(kExpression); const uint32_t n_operands = head(t, kOperands), n_instructions = head(t, kInstructions); more_inputs(t, n, 54);
       head(t, kOperands) = n_operands, head(t, kInstructions) = n_instructions - 9; }},
    {"expressions", "an empty space", UT_E_FORMAT, [](Tow& t) { head(t, 0) = 0; }},
    {"expressions", "a space of 2^24 elements and more", UT_E_FORMAT, [](Tow& t) { head(t, 0) = kNone; }},
    {"expressions", "a space of more elements than a frame may have", UT_E_FORMAT,
     [](Tow& t) { head(t, 0) = (1u << 24) / 30 + 1; }},
    {"expressions", "33 slots", UT_E_FORMAT, [](Tow& t) { head(t, kSlots) = 33; }},
    {"expressions", "32 slots", UT_OK, [](Tow& t) { head(t, kSlots) = 32; }},
    {"expressions", "a slot less", UT_E_FORMAT, [](Tow& t) { --head(t, kSlots); }},
    {"expressions", "no operands", UT_E_FORMAT,
     [](Tow& t) { head(t, kInstructions) += head(t, kOperands), head(t, kOperands) = 0; }},
    {"expressions", "65 operands", UT_E_FORMAT,
     [](Tow& t) { head(t, kInstructions) -= 65 - head(t, kOperands), head(t, kOperands) = 65; }},
    {"expressions", "2^32 - 1 operands", UT_E_FORMAT, [](Tow& t) { head(t, kOperands) = kNone; }},
    {"expressions", "no instructions", UT_E_FORMAT,
     [](Tow& t) { head(t, kOperands) += head(t, kInstructions), head(t, kInstructions) = 0; }},
    {"expressions", "257 instructions", UT_E_FORMAT, [](Tow& t) { head(t, kInstructions) = 257; }},
    {"expressions", "2^32 - 1 instructions", UT_E_FORMAT, [](Tow& t) { head(t, kInstructions) = kNone; }},
    {"expressions", "an instruction less", UT_E_FORMAT, [](Tow& t) { --head(t, kInstructions); }},
    {"expressions", "an operand of nothing", UT_E_FORMAT, [](Tow& t) { operand(t, 0, 0) = 17; }},
    {"expressions", "an operand of number 2^32 - 1", UT_E_FORMAT, [](Tow& t) { operand(t, 0, 0) = kNone; }},
    {"expressions", "a last stride of 2", UT_E_FORMAT, [](Tow& t) { operand(t, 1, 5) = 2; }},
    {"expressions", "a last stride of -1", UT_E_FORMAT, [](Tow& t) { operand(t, 2, 5) = kNone; }},
    {"expressions", "a negative stride", UT_E_FORMAT, [](Tow& t) { operand(t, 0, 3) = kNone; }},
    {"expressions", "a negative stride of an axis of one element", UT_E_FORMAT, [](Tow& t) { operand(t, 0, 2) = kNone; }},
    {"expressions", "any other stride of an axis of one element", UT_OK,
     [](Tow& t) { operand(t, 0, 2) = operand(t, 3, 2) = operand(t, 5, 2) = 0x7fffffff; }},
    {"expressions", "an input from its second element on", UT_E_FORMAT, [](Tow& t) { operand(t, 0, 1) = 1; }},
    {"expressions", "an input from its last element on", UT_E_FORMAT, [](Tow& t) { operand(t, 2, 1) = 2; }},
    {"expressions", "an input from element 2^32 - 1 on", UT_E_FORMAT, [](Tow& t) { operand(t, 2, 1) = kNone; }},
    {"expressions", "a stride out of its input", UT_E_FORMAT, [](Tow& t) { operand(t, 1, 3) = 4; }},
    {"expressions", "a stride far out of its input", UT_E_FORMAT, [](Tow& t) { operand(t, 1, 3) = 0x7fffffff; }},
    {"expressions", "an input of integers", UT_E_FORMAT, [](Tow& t) { t.value(0, 2) = UT_INT32; }},
    {"expressions", "an output of integers", UT_E_FORMAT,
     [](Tow& t) { t.value(t.first_output(t.find(kExpression)), 2) = UT_INT32; }},
    {"expressions", "a state that goes out of itself", UT_E_FORMAT, [](Tow& t) { operand(t, 4, 1) = 31; }},
    {"expressions", "states over each other", UT_E_FORMAT, [](Tow& t) { operand(t, 4, 1) = 29; }},
    {"expressions", "states over each other, the later one first", UT_E_FORMAT,
     [](Tow& t) { operand(t, 3, 1) = 30, operand(t, 4, 1) = 1; }},
    {"expressions", "the same state twice", UT_OK, [](Tow& t) { operand(t, 4, 1) = 0; }},
    {"expressions", "a state of another shape", UT_E_FORMAT, [](Tow& t) { operand(t, 3, 3) = 14; }},
    {"expressions", "a state that is one number", UT_E_FORMAT,
     [](Tow& t) { operand(t, 4, 5) = operand(t, 4, 4) = operand(t, 4, 3) = 0; }},
    {"expressions", "an output from its second element on", UT_E_FORMAT, [](Tow& t) { operand(t, kFirstOutput, 1) = 1; }},
    {"expressions", "an output of another shape", UT_E_FORMAT, [](Tow& t) { operand(t, kFirstOutput, 3) = 16; }},
    {"expressions", "an output of another size", UT_E_FORMAT, [](Tow& t) { --t.value(t.first_output(t.find(kExpression)), 7); }},
    {"expressions", "a reduced output of another size", UT_E_FORMAT,
     [](Tow& t) { ++t.value(t.first_output(t.find(kExpression)) + 1, 5); }},
    {"expressions", "what is left of rows with a stride along them", UT_E_FORMAT, [](Tow& t) { operand(t, kOverRows, 4) = 1; }},
    {"expressions", "two operands of one output", UT_E_FORMAT,
     [](Tow& t) { operand(t, kOverLast + 1, 0) = operand(t, kOverLast, 0); }},
    {"expressions", "an output without an operand", UT_E_FORMAT,
     [](Tow& t) { operand(t, kFirstOutput, 0) = kOfState, last_of(t, kFirstOutput, 1) = 3; }},
    {"expressions", "an input without an operand", UT_E_FORMAT,
     [](Tow& t) { operand(t, 0, 0) = 1; for (size_t k = 2; k < 6; ++k) operand(t, 0, k) = 0; }},
    {"expressions", "a gate of six elements", UT_E_FORMAT, [](Tow& t) { operand(t, 1, 0) = operand(t, 2, 0) = kOfInput; }},
    {"expressions", "another gate of six elements", UT_E_FORMAT,
     [](Tow& t) { t.input(t.find(kExpression, 1), 1) = t.input(t.find(kExpression, 1), 0); }},
    {"expressions", "a state without an operand", UT_E_FORMAT,
     [](Tow& t) { operand(t, 1, 0, 1) = 0, instruction(t, 0, 1, 1) = 2; }},
    {"expressions", "instruction 19", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 0) = 19; }},
    {"expressions", "instruction 31", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 0) = 31; }},
    {"expressions", "instruction 58", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 0) = 58; }},
    {"expressions", "instruction 63", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 0) = 63; }},
    {"expressions", "instruction 71", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 0) = 71; }},
    {"expressions", "instruction 78", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 0) = 78; }},
    {"expressions", "instruction 2^32 - 1", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 0) = kNone; }},
    {"expressions", "the last activation", UT_OK, [](Tow& t) { instruction(t, 0, 0) = 57; }},
    {"expressions", "a result for nothing", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 1) = kFirstSlot + 3; }},
    {"expressions", "a result for number 2^32 - 1", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 1) = kNone; }},
    {"expressions", "an argument that is nothing", UT_E_FORMAT, [](Tow& t) { instruction(t, 1, 3) = kFirstSlot + 3; }},
    {"expressions", "a last argument that is nothing", UT_E_FORMAT, [](Tow& t) { last_of(t, kOverLast + 6, 5) = kNone; }},
    {"expressions", "a slot that is not written yet", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 2) = kFirstSlot; }},
    {"expressions", "an output that is not written yet", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 2) = kFirstOutput; }},
    {"expressions", "an output that is written", UT_OK, [](Tow& t) { last_of(t, kOverLast, 2) = kFirstOutput; }},
    {"expressions", "an argument that is what is left of a reduction", UT_E_FORMAT,
     [](Tow& t) { last_of(t, kOverRows + 3, 2) = kOverRows; }},
    {"expressions", "an input that is written", UT_E_FORMAT, [](Tow& t) { instruction(t, 0, 1) = 0; }},
    {"expressions", "a reduction to a slot", UT_E_FORMAT, [](Tow& t) { last_of(t, kOverLast, 1) = kFirstSlot; }},
    {"expressions", "a reduction to a state", UT_E_FORMAT, [](Tow& t) { last_of(t, kOverLast, 1) = 3; }},
    {"expressions", "a reduction to all of the space", UT_E_FORMAT, [](Tow& t) { last_of(t, kOverLast, 1) = kFirstOutput; }},
    {"expressions", "a reduction to what is left of the other one", UT_E_FORMAT, [](Tow& t) { last_of(t, kOverLast, 0) = 72; }},
    {"expressions", "a reduction to what has another one", UT_E_FORMAT, [](Tow& t) { last_of(t, kOverLast + 1, 1) = kOverLast; }},
    {"expressions", "no reduction, to what is left of one", UT_E_FORMAT, [](Tow& t) { last_of(t, kOverRows, 0) = 18; }},
    {"expressions", "an output that is not written", UT_E_FORMAT, [](Tow& t) { last_of(t, kFirstOutput, 1) = kFirstSlot; }},
    {"whole", "flip to another size", UT_E_FORMAT, [](Tow& t) { t.value(t.first_output(t.find(kFlip)), 5) = 2; }},
    {"whole", "last to another size", UT_E_FORMAT, [](Tow& t) { t.value(t.first_output(t.find(kLast)), 5) = 2; }},
};

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  for (const Lie& lie : kLies) {
    const Bytes blob = read_file(folder + "/" + lie.file + ".tow");
    ut_info info;
    ut_error err = {};
    CHECK_INT(ut_probe(blob.data(), blob.size(), nullptr, &info, &err), UT_OK);
    Tow tow(blob);
    lie.tell(tow);
    reseal(blob);
    const ut_status got = ut_probe(blob.data(), blob.size(), nullptr, &info, &err);
    CHECK(got == lie.expected, "%s: %s: expected status %d, got %d: %s", lie.file, lie.what,
          static_cast<int>(lie.expected), static_cast<int>(got), err.detail);
  }
  return report("test_refused");
}
