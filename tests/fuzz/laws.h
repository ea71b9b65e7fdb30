// SPDX-License-Identifier: MIT
// What holds for every file that the library takes, and for every state that a stream may be given (ARCHITECTURE.md,
// "Laws"). A law that does not hold is a failed check.
#ifndef UNDERTOW_TESTS_FUZZ_LAWS_H_
#define UNDERTOW_TESTS_FUZZ_LAWS_H_

#include "subject.h"

namespace ut_fuzz {

// Most work of one timestep, and of all timesteps of a sequence, in multiplications (tow_fit.h); most bytes of a
// stream.
constexpr uint64_t kMostWork = 60000, kMostSequenceWork = 250000;
constexpr size_t kMostBytes = size_t{1} << 22;

// csrc/FORMAT.md holds for a file that the library has taken. Gives the work of a timestep; 0 where the model is too
// large to be run here.
uint64_t check_file(const Bytes& blob);

// A file that says the same, and which of its bytes a model that was mapped has copied: all but weights.
Bytes apart(const Bytes& blob, Parts* copied);

// Streams, in chunks, blocks, proposals, copies, and with several threads.
void check_streams(const Subject& s, const std::vector<Feed>& feeds, const std::vector<Record>& expected,
                   Random* random);
void check_team(const Subject& s, const Feed& feed, const Record& expected, Random* random);
void check_batch(const Subject& s, const std::vector<Feed>& feeds, const std::vector<Record>& expected,
                 size_t most_streams, Random* random);
void check_snapshots(const Subject& s, Random* random);
// Of a model that streams against its steps, of any other against `all`, the other instruction sets.
void check_sequence(const Subject& s, const Feed& feed, const Record& expected, Random* random);
void check_whole(const std::vector<Subject>& all, size_t n_frames, Random* random);

// Everything else, of a model that is small enough; the numbers of the feeds depend on the seed.
void check_laws(const Bytes& blob, uint64_t work, uint64_t seed);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_LAWS_H_
