// SPDX-License-Identifier: MIT
// A stream that goes back is one that never took those timesteps, to the bit: every fixture and instruction set, any chunks, any
// block, windows in rings and in states. What a history refuses.
//     test_history FOLDER
#include "streams.h"

namespace {

using namespace ut_test;

const char* const kStreamed[] = {"rnn",  "gru_reset_after", "gru_reset_before", "lstm",      "lstm_options", "text",
                                 "every_op", "cells",       "precisions",       "framed",    "ahead",        "attention",
                                 "expressions", "strides", "int8", "smoothed_int16", "wide", "rows", "decay", "fixed8", "sparse"};

struct History {
  Bytes memory;
  ut_history* history = nullptr;
  History(const Model& m, ut_stream* stream, size_t k) : memory(ut_history_bytes(m.model, k)) {
    CHECK_INT(ut_history_init(memory.data(), memory.size(), stream, k, &history), UT_OK);
  }
};

struct Blocked {  // a stream that works on `block` frames at a time
  Bytes memory;
  ut_stream* stream = nullptr;
  Blocked(const Model& m, size_t block) : memory(ut_stream_bytes(m.model, block)) {
    CHECK_INT(ut_stream_init(memory.data(), memory.size(), m.model, &stream), UT_OK);
  }
};

void run(ut_history* h, Traffic& traffic, size_t first, size_t n) {
  const void* x[Traffic::kMost];
  void* y[Traffic::kMost];
  for (size_t i = 0; i < traffic.in.size(); ++i) x[i] = traffic.in[i].data() + first * traffic.in_width[i];
  for (size_t i = 0; i < traffic.out.size(); ++i) y[i] = traffic.out[i].data() + first * traffic.out_width[i];
  ut_history_run(h, n, x, y);
}

bool same_state(const Model& m, const ut_stream* a, const ut_stream* b) {
  Bytes one(m.info.snapshot_bytes), other(m.info.snapshot_bytes);
  ut_snapshot_save(a, one.data());
  ut_snapshot_save(b, other.data());
  return memcmp(one.data(), other.data(), one.size()) == 0;
}

// Forward in chunks, and back by any number that is kept, over and over; `pinned`: windows have left their rings.
void test_walk(const Model& m, const char* name, size_t k, size_t block, bool pinned) {
  constexpr size_t kFrames = 60, kMoves = 40;
  Blocked went(m, block), twin(m, block);
  if (pinned)
    for (size_t i = 0; i < m.info.n_states; ++i) ut_stream_state(went.stream, i);
  History h(m, went.stream, k);
  Traffic traffic(m, kFrames, 7), plain(m, kFrames, 7);
  Random random(k + 31 * block);
  size_t at = 0, kept = 0;
  for (size_t move = 0; move < kMoves; ++move) {
    const size_t n = random.below(2) ? random.below(k + 2) : 1 + random.below(3);
    if (random.below(2) && at + n <= kFrames) {
      run(h.history, traffic, at, n);
      at += n;
      kept = kept + n < k ? kept + n : k;
    } else if (n <= kept) {
      CHECK_INT(ut_history_rewind(h.history, n), UT_OK);
      at -= n;
      kept -= n;
    } else {
      CHECK_INT(ut_history_rewind(h.history, kept + 1 + n), UT_E_STATE);
    }
    CHECK_INT(ut_history_kept(h.history), kept);
    ut_stream_reset(twin.stream);
    plain.run(twin.stream, 0, at);
    CHECK(same_state(m, went.stream, twin.stream), "%s on %s: k %zu, block %zu, move %zu to %zu: another state", name, m.info.isa, k,
          block, move, at);
    for (size_t i = 0; i < m.info.n_outputs; ++i)
      CHECK(memcmp(traffic.out[i].data(), plain.out[i].data(), at * plain.out_width[i] * sizeof(float)) == 0,
            "%s on %s: k %zu, block %zu, move %zu to %zu: other bits of output %zu", name, m.info.isa, k, block, move, at, i);
  }
}

// A stream takes memory as it comes, and a shorter block may follow a longer one: what nobody wrote is not read.
void test_any_memory(const Model& m, const char* name) {
  constexpr size_t kFrames = 70;
  Traffic traffic(m, kFrames, 11), plain(m, kFrames, 11);
  for (const size_t block : {size_t{1}, size_t{5}, size_t{m.info.block}})
    for (const int byte : {0xff, 0x7f}) {  // as floats NaN, and 3.4e38
      Bytes memory(ut_stream_bytes(m.model, block)), zeros(ut_stream_bytes(m.model, block));
      memset(memory.data(), byte, memory.size());
      memset(zeros.data(), 0, zeros.size());
      ut_stream *stream = nullptr, *twin = nullptr;
      CHECK_INT(ut_stream_init(memory.data(), memory.size(), m.model, &stream), UT_OK);
      CHECK_INT(ut_stream_init(zeros.data(), zeros.size(), m.model, &twin), UT_OK);
      for (size_t at = 0, n = 1; at < kFrames; at += n, n = at % 3 ? 1 : 9 < kFrames - at ? 9 : kFrames - at) {
        traffic.run(stream, at, n);
        plain.run(twin, at, n);
      }
      CHECK(same_state(m, stream, twin), "%s on %s: block %zu, memory of %d: another state", name, m.info.isa, block, byte);
      for (size_t i = 0; i < m.info.n_outputs; ++i)
        CHECK(memcmp(traffic.out[i].data(), plain.out[i].data(), traffic.out[i].size() * sizeof(float)) == 0,
              "%s on %s: block %zu, memory of %d: other bits of output %zu", name, m.info.isa, block, byte, i);
    }
}

void test_forgotten_and_copied(const Model& m) {
  Blocked stream(m, 4), twin(m, 2);
  History h(m, stream.stream, 6), smaller(m, twin.stream, 3);
  Traffic traffic(m, 20, 3);
  run(h.history, traffic, 0, 5);
  ut_history_trim(h.history, 9);
  CHECK_INT(ut_history_kept(h.history), 5);
  ut_history_trim(h.history, 4);
  CHECK_INT(ut_history_kept(h.history), 4);
  CHECK_INT(ut_stream_copy(twin.stream, stream.stream), UT_OK);
  CHECK_INT(ut_history_copy(smaller.history, h.history), UT_OK);
  CHECK_INT(ut_history_kept(smaller.history), 3);
  CHECK_INT(ut_history_rewind(smaller.history, 2), UT_OK);
  CHECK_INT(ut_history_rewind(h.history, 2), UT_OK);
  CHECK(same_state(m, stream.stream, twin.stream), "%s: a copy goes back to another state", m.info.isa);
  CHECK_INT(ut_history_copy(h.history, smaller.history), UT_OK);
  CHECK_INT(ut_history_kept(h.history), 1);
  CHECK_INT(ut_history_copy(h.history, h.history), UT_OK);
  CHECK_INT(ut_history_rewind(h.history, 0), UT_OK);
  CHECK_INT(ut_history_rewind(h.history, 1), UT_OK);
  CHECK_INT(ut_history_rewind(smaller.history, 1), UT_OK);
  CHECK(same_state(m, stream.stream, twin.stream), "%s: a copy of a copy goes back to another state", m.info.isa);
  ut_history_trim(h.history, 0);
  CHECK_INT(ut_history_rewind(h.history, 1), UT_E_STATE);
}

void test_refused(const Model& m, const Model& other) {
  Blocked stream(m, 1), stranger(other, 1);
  History h(m, stream.stream, 2), strange(other, stranger.stream, 2);
  Bytes memory(ut_history_bytes(m.model, 2) + UT_ALIGN);
  ut_history* out = nullptr;
  const size_t n = ut_history_bytes(m.model, 2);
  CHECK_INT(ut_history_bytes(m.model, 0), 0);
  CHECK_INT(ut_history_bytes(m.model, SIZE_MAX / 2), 0);
  CHECK_INT(ut_history_init(nullptr, n, stream.stream, 2, &out), UT_E_ARGUMENT);
  CHECK_INT(ut_history_init(memory.data(), n, nullptr, 2, &out), UT_E_ARGUMENT);
  CHECK_INT(ut_history_init(memory.data(), n, stream.stream, 2, nullptr), UT_E_ARGUMENT);
  CHECK_INT(ut_history_init(memory.data(), n, stream.stream, 0, &out), UT_E_ARGUMENT);
  CHECK_INT(ut_history_init(memory.data() + 4, n, stream.stream, 2, &out), UT_E_ALIGN);
  CHECK_INT(ut_history_init(memory.data(), n - 1, stream.stream, 2, &out), UT_E_MEMORY);
  CHECK(out == nullptr, "%s", "a refused history was given out");
  CHECK_INT(ut_history_copy(h.history, strange.history), UT_E_STATE);
  CHECK_INT(ut_history_copy(nullptr, h.history), UT_E_ARGUMENT);
  CHECK_INT(ut_history_copy(h.history, nullptr), UT_E_ARGUMENT);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  int can_run = 0;
  for (size_t i = 0; const char* isa = ut_isa(i, &can_run); ++i) {
    if (!can_run) continue;
    for (const char* name : kStreamed) {
      const Model m(folder + "/" + name + ".tow", isa);
      for (const size_t k : {size_t{1}, size_t{2}, size_t{5}, size_t{23}})
        for (const size_t block : {size_t{1}, size_t{3}, size_t{m.info.block}}) test_walk(m, name, k, block, k == 2);
      test_forgotten_and_copied(m);
      test_any_memory(m, name);
    }
    test_refused(Model(folder + "/lstm.tow", isa), Model(folder + "/rnn.tow", isa));
  }
  return report("test_history");
}
