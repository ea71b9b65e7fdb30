// SPDX-License-Identifier: MIT
// A model under test, what it is fed, and what came of it.
#ifndef UNDERTOW_TESTS_FUZZ_SUBJECT_H_
#define UNDERTOW_TESTS_FUZZ_SUBJECT_H_

#include <functional>
#include <vector>

#include "blob.h"
#include "check.h"
#include "numbers.h"
#include "undertow.h"

namespace ut_fuzz {

using ut_test::Bytes;
using ut_test::Random;

// Pieces of a file: where they begin and how many bytes they are.
struct Part {
  size_t at, size;
};
using Parts = std::vector<Part>;

// A model that the library took, in memory of its own.
class Subject {
 public:
  Subject(const Bytes& blob, const char* isa);
  // One that was mapped, of a file that has changed since in all that the model has copied.
  Subject(const Bytes& blob, const char* isa, const Parts& copied);
  // Weights change too, of one that was mapped.
  void change_weights(Random* random);
  // Calls do not change a model.
  bool is_intact() const { return memcmp(memory_.data(), before_.data(), before_.size()) == 0; }

  const ut_model* model = nullptr;
  ut_info info;

 private:
  void open(const Bytes& blob, const char* isa, bool mapped);
  Bytes memory_, before_, blob_;
};

// Subjects of one file, for each instruction set that runs here.
std::vector<Subject> subjects(const Bytes& blob);

// One sequence: where it starts, its frames, and after which of them it is flushed. Frames of the outputs are numbered
// in the order in which they come: those of the frames, and `latency` more behind frame `gap` and behind the last one.
struct Feed {
  size_t n_frames, gap, latency;
  std::vector<std::vector<uint32_t>> x;  // for each input, 4-byte elements
  std::vector<size_t> widths;            // of inputs
  Bytes start;                           // a snapshot; empty: the initial state
  size_t n_rows() const { return n_frames + latency + (gap < n_frames ? latency : 0); }
  size_t row(size_t frame) const { return frame + (gap < n_frames && frame >= gap ? latency : 0); }
};

// How odd the numbers of a feed are.
enum class Mood { kCalm, kSomeOdd, kOdd, kSilent };
Mood any_mood(Random* random);
void fill(uint32_t* words, size_t n, const ut_tensor& of, Mood mood, Random* random);

Feed make_feed(const Subject& s, size_t n_frames, size_t gap, Random* random);

// A snapshot of the model with states of that mood.
Bytes make_snapshot(const Subject& s, Mood mood, Random* random);

struct Record {
  std::vector<std::vector<uint32_t>> y;     // for each output n_rows frames
  std::vector<std::vector<bool>> unwanted;  // rows that were not asked for
  Bytes end;                                // a snapshot
  Record(const Subject& s, const Feed& feed);
  // Outputs from a row on; of `nulls`, if given, decides which of n rows are not wanted.
  std::vector<void*> pointers(size_t row, size_t n, Random* nulls = nullptr);

 private:
  std::vector<size_t> widths_;
};

// A failed check if two records differ in more than the payload of a NaN.
void check_same(const Record& expected, const Record& got, const char* how, const Subject& s);

// A stream and its memory: the block that it works on is at most `block`.
class Stream {
 public:
  Stream(const Subject& s, size_t block);
  void start(const Subject& s, const Feed& feed);
  ut_stream* operator*() const { return stream_; }

 private:
  Bytes memory_;
  ut_stream* stream_ = nullptr;
};

// Inputs from a frame on.
std::vector<const void*> pointers(const Feed& feed, size_t frame);

// The reference: frame by frame, in buffers that end where a frame ends.
Record steps(const Subject& s, const Feed& feed);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_SUBJECT_H_
