// SPDX-License-Identifier: MIT
// A .tow file as tables that can be changed: read and written by csrc/FORMAT.md alone, without the library, so that
// what the library accepts has a second reader.
#ifndef UNDERTOW_TESTS_FUZZ_TOW_FILE_H_
#define UNDERTOW_TESTS_FUZZ_TOW_FILE_H_

#include <stdint.h>

#include <string>
#include <vector>

namespace ut_fuzz {

enum Kind : uint32_t {
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
  kWindow,
  kRnnFramed,
  kGruFramed,
  kLstmFramed,
  kPresent,
  kExpression,  // this and the next from version 6 on
  kAttend,
  kEndOfKinds
};

enum Dtype : uint32_t {
  kFloat32,
  kInt32,
  kFloat16,
  kBfloat16,
  kInt8,
  kInt4,
  kSparseFloat32,
  kSparseInt8,
  kInt16,  // from version 4 on
  kFixed8,  // from version 5 on
  kEndOfDtypes
};
constexpr bool is_sparse(uint32_t dtype) { return dtype == kSparseFloat32 || dtype == kSparseInt8; }
constexpr bool has_integers(uint32_t dtype) { return dtype == kInt8 || dtype == kSparseInt8 || dtype == kInt16 || dtype == kFixed8; }
constexpr bool may_be_smoothed(uint32_t dtype) { return dtype == kInt8 || dtype == kInt16; }  // from version 4 on

constexpr uint32_t kNone = 0xffffffffu;
constexpr uint32_t kMaxFrame = 1u << 24;  // elements of one frame, and timesteps
constexpr uint32_t kReverse = 1, kVariant = 2, kMasked = 4, kSteps = 8;  // flags of a cell

using Shape = std::vector<uint32_t>;
uint64_t size_of(const Shape& shape);  // elements; more than 2^24 if it is empty or too large
constexpr uint64_t padded(uint64_t n) { return (n + 15) / 16 * 16; }

using Data = std::vector<uint8_t>;
uint64_t element_bytes(uint32_t dtype);

struct Tensor {
  uint32_t dtype = kFloat32, flags = 0;
  Data bytes;
  uint32_t inside = kNone;  // of this earlier tensor, from byte `at` on: two records of one piece of the file
  uint64_t at = 0;
  uint64_t n() const { return bytes.size() / element_bytes(dtype); }
};
uint32_t version_of(const Tensor& t);  // the first that has it
constexpr uint32_t kLastVersion = 6;

struct Value {
  std::string name;
  uint32_t dtype = kFloat32, n_ids = 0;
  Shape shape;
};

struct State {
  std::string name;
  uint32_t init = kNone;  // tensor
  Shape shape;
};

struct Output {
  std::string name;
  uint32_t value = 0;
};

struct Node {
  uint32_t kind = 0;
  std::string name;
  std::vector<uint32_t> inputs, states, tensors, params;
  uint32_t n_outputs = 0;
};
constexpr uint32_t version_of(const Node& node) { return node.kind >= kExpression ? 6 : 1; }

struct File {
  uint32_t version = 1;
  uint32_t frames_in = 0, frames_out = 0;  // from version 2 on
  uint32_t sample_rate = 0;                // from version 3 on
  std::string name, source;
  uint8_t hash[16] = {};
  std::vector<Tensor> tensors;
  std::vector<Value> values;  // inputs, then the outputs of each node
  std::vector<State> states;
  std::vector<Output> outputs;
  std::vector<Node> nodes;
  uint32_t n_inputs = 0;

  uint32_t first_output(size_t node) const;  // its number among the values
};

// False where the bytes do not hold whole tables, or a number points outside of what it counts.
bool read(const uint8_t* bytes, size_t n, File* out);

// The bytes of a file whose numbers may say anything: sizes, offsets, padding and checksum are those of its tables.
// `offsets`, if given, gets those of the tensors.
Data write(const File& file, std::vector<uint64_t>* offsets = nullptr);

// Makes the checksum of a file fit its bytes.
void seal(Data* file);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_TOW_FILE_H_
