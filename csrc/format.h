// SPDX-License-Identifier: MIT
// The .tow file (FORMAT.md) as validated views into its bytes. The only code that sees untrusted bytes: once `open`
// and the ops' `check` have passed, nothing behind them tests again. Needs no memory. Metadata and weights are two
// places: of a file that may change while it is used, the metadata is a copy.
#ifndef UNDERTOW_FORMAT_H_
#define UNDERTOW_FORMAT_H_

#include <stddef.h>
#include <stdint.h>

#include "compiler.h"
#include "include/undertow.h"

namespace undertow {

constexpr uint32_t kNone = 0xFFFFFFFFu;
constexpr uint32_t kMaxCount = 65536;
// Where a size has 32 bits, bounds are such that none of a model's sizes overflows.
constexpr bool kSmallSizes = sizeof(size_t) < 8;
constexpr uint64_t kMaxFrame = uint64_t{1} << (kSmallSizes ? 20 : 24);  // elements of one frame
constexpr uint32_t kMaxTimesteps = 1u << 24;                            // in one
constexpr uint64_t kMaxTotalFloats = uint64_t{1} << (kSmallSizes ? 25 : 28);  // all frames of a timestep, all states, or scratch

// Builds a ut_error's sentence without a heap or stdio: fail(err, UT_E_FORMAT) << "node " << 3 << " is odd". Without UT_TEXTS,
// of that a line of the source and names are left.
class Message {
 public:
  Message(ut_error* err, ut_status status, size_t offset = 0, unsigned line = UT_LINE);
  // These are there whatever becomes of sentences: a word of the library's own, a name of the file's, an op and its node.
  Message& word(const char* text);
  Message& operator<<(ut_string text);
  Message& of_node(const char* op, ut_string node);
#if UT_TEXTS
  Message& operator<<(const char* text) { return word(text); }
  // Each of these is size_t, uint32_t or uint64_t somewhere.
  Message& operator<<(unsigned number) { return *this << static_cast<unsigned long long>(number); }
  Message& operator<<(unsigned long number) { return *this << static_cast<unsigned long long>(number); }
  Message& operator<<(unsigned long long number) { return digits(number); }
#else
  template <class Rest>
  Message& operator<<(const Rest&) {
    return *this;
  }
#endif
  operator ut_status() const { return status_; }

 private:
#if UT_TEXTS
  Message& digits(unsigned long long number);
#else
  Message& digits(unsigned number);
#endif
  void put(char c);
  ut_error* err_;
  ut_status status_;
  size_t n_ = 0;
};

// How a tensor is stored: FORMAT.md, "Precisions".
enum TensorType : uint32_t {
  kTensorFloat32,
  kTensorInt32,
  kTensorFloat16,
  kTensorBfloat16,
  kTensorInt8,
  kTensorInt4,
  kTensorSparseFloat32,
  kTensorSparseInt8,
  kTensorInt16,  // from version 4 on
  kTensorFixed8,  // from version 5 on
  kNumTensorTypes
};
constexpr uint32_t kFirstWithExpressions = 6;
constexpr uint32_t kTensorSmoothed = 1;  // flag, from version 4 on: a matrix begins with a factor for each column
constexpr uint64_t element_bytes(uint32_t dtype) {
  return dtype == kTensorInt16 ? 2 : dtype >= kTensorInt8 ? 1 : dtype >= kTensorFloat16 ? 2 : 4;
}

// Elements in so many bytes: a shift, for 32-bit targets divide 64 bits by a call.
constexpr uint64_t elements_in(uint64_t bytes, uint32_t dtype) { return bytes >> (element_bytes(dtype) / 2); }

struct TensorView {
  uint32_t dtype, flags;
  const void* data;
  uint64_t n;
};

struct ValueView {
  ut_string name;
  uint32_t dtype, n_ids, n_dims;
  const uint32_t* dims;
  size_t size;
};

struct StateView {
  ut_string name;
  uint32_t init;  // tensor or kNone
  uint32_t n_dims;
  const uint32_t* dims;
  size_t size;
};

constexpr size_t kOutputWords = 3;
struct OutputView {
  ut_string name;
  uint32_t value;
};

struct NodeView {
  uint32_t kind;
  ut_string name;
  uint32_t n_inputs, n_outputs, n_states, n_tensors, n_params;
  const uint32_t *inputs, *states, *tensors, *params;
  uint32_t first_output;  // its outputs are the values first_output, first_output + 1 ...
};

struct File {
  const uint8_t* bytes = nullptr;  // header and metadata
  const uint8_t* blob = nullptr;   // the whole file, for its weights
  uint64_t n_bytes = 0;
  uint32_t version = 0;
  uint32_t frames_in = 1, frames_out = 1;  // timesteps in one frame of the inputs, and of the outputs
  uint32_t sample_rate = 0;  // of sound, Hz; 0: not said
  const uint8_t* hash = nullptr;  // 16 bytes
  ut_string name = {nullptr, 0}, source = {nullptr, 0};
  uint32_t n_tensors = 0, n_values = 0, n_states = 0, n_inputs = 0, n_outputs = 0, n_nodes = 0;

  TensorView tensor(uint32_t i) const;
  ValueView value(uint32_t i) const;
  StateView state(uint32_t i) const;
  OutputView output(uint32_t i) const;
  uint32_t output_value(uint32_t i) const { return outputs_[i * kOutputWords + 2]; }
  // Nodes are walked in order: the cursor carries the number of the next output value.
  NodeView node(uint32_t i, uint32_t first_output) const;

  size_t metadata_bytes() const { return metadata_end_; }  // header included

  // How many bytes at the start of a blob are header and metadata. Looks at nothing but their number.
  static ut_status metadata_size(const void* blob, size_t n, size_t* out, ut_error* err);

  // Validates header, tables and every record but the params of nodes, which belong to the ops. `metadata`: the first
  // metadata_size bytes of the blob, or a copy of them.
  static ut_status open(const void* metadata, const void* blob, size_t n, File* out, ut_error* err);

 private:
  // Records of one kind: `n` of `stride` words, each with a text at word `at`.
  struct Table {
    const char* what;
    const uint32_t* first;
    uint32_t n;
    size_t stride, at;
  };
  ut_status check_names(const Table& table, ut_error* err) const;
  ut_string text(const uint32_t* record) const;
  ut_status check_header(size_t n, ut_error* err);
  ut_status check_tables(ut_error* err);
  ut_status check_texts(ut_error* err);
  ut_status check_records(ut_error* err) const;
  ut_status check_nodes(ut_error* err) const;
  ut_status check_shape(const char* what, uint32_t i, const uint32_t* dims, uint32_t n_dims, ut_error* err) const;
  size_t offset_of(const uint32_t* record) const;

  uint32_t n_words_ = 0, text_bytes_ = 0;
  const uint32_t *tensors_ = nullptr, *values_ = nullptr, *states_ = nullptr, *outputs_ = nullptr, *nodes_ = nullptr,
                 *words_ = nullptr;
  const char* text_ = nullptr;
  size_t metadata_end_ = 0;
};

}  // namespace undertow

#endif  // UNDERTOW_FORMAT_H_
