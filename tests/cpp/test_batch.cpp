// SPDX-License-Identifier: MIT
// A batch gives every stream the bits that it has alone: every fixture, instruction set, number of streams and size of
// workspace. Proposals are undone to the bit. What a workspace refuses.
//     test_batch FOLDER
#include <algorithm>

#include "streams.h"

namespace {

using namespace ut_test;

constexpr size_t kFrames = 5, kMost = 200;
const char* const kStreamed[] = {"rnn",  "gru_reset_after", "gru_reset_before", "lstm",      "lstm_options",
                                 "text", "every_op",        "cells",            "precisions", "framed", "ahead"};

// kMost streams of kFrames frames, each alone: what every batch must give.
struct Alone {
  std::vector<Traffic> traffic;
  std::vector<Bytes> snapshots;

  explicit Alone(const Model& m) {
    Stream stream(m);
    for (size_t s = 0; s < kMost; ++s) {
      traffic.emplace_back(m, kFrames, 100 + s);
      ut_stream_reset(stream.stream);
      for (size_t t = 0; t < kFrames; ++t) traffic[s].run(stream.stream, t, 1);
      snapshots.emplace_back(m.info.snapshot_bytes);
      ut_snapshot_save(stream.stream, snapshots[s].data());
    }
  }
};

struct Batch {
  Bytes memory;
  ut_batch* batch = nullptr;
  Batch(const Model& m, size_t rows) : memory(ut_batch_bytes(m.model, rows)) {
    CHECK_INT(ut_batch_init(memory.data(), memory.size(), m.model, &batch), UT_OK);
  }
};

// Frames first .. first + n of streams order[0 .. n_streams) in the layout of ut_batch_run, all at once.
void run(const Model& m, const Alone& alone, const char* name, ut_batch* batch, const std::vector<size_t>& order,
         std::vector<float*> states, size_t first, size_t n) {
  std::vector<std::vector<float>> x(m.info.n_inputs), y(m.info.n_outputs);
  const void* xs[8];
  void* ys[8];
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t width = alone.traffic[0].in_width[i];
    for (const size_t s : order) {
      const float* from = alone.traffic[s].in[i].data() + first * width;
      x[i].insert(x[i].end(), from, from + n * width);
    }
    xs[i] = x[i].data();
  }
  for (size_t i = 0; i < y.size(); ++i) {
    y[i].assign(order.size() * n * alone.traffic[0].out_width[i], -9.0f);
    ys[i] = y[i].data();
  }
  ut_batch_run(batch, order.size(), states.data(), n, xs, ys);
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t floats = n * alone.traffic[0].out_width[i];
    for (size_t r = 0; r < order.size(); ++r) {
      const float* expected = alone.traffic[order[r]].out[i].data() + first * alone.traffic[0].out_width[i];
      CHECK(memcmp(y[i].data() + r * floats, expected, floats * sizeof(float)) == 0,
            "%s on %s: output %zu of row %zu of %zu, %zu frames from %zu: not the bits of the stream alone", name,
            m.info.isa, i, r, order.size(), n, first);
    }
  }
}

void test_bits(const Model& m, const Alone& alone, const char* name, size_t n_streams, size_t rows) {
  Batch batch(m, rows);
  std::vector<Bytes> blocks;
  std::vector<size_t> order;
  std::vector<float*> states;
  for (size_t s = 0; s < n_streams; ++s) {
    blocks.emplace_back(m.info.state_bytes);
    ut_state_reset(m.model, blocks[s].as<float>());
    order.push_back(s);
  }
  Random random(n_streams);
  const struct {
    size_t first, n;
  } cuts[] = {{0, 1}, {1, kFrames - 2}, {kFrames - 1, 1}};
  for (const auto& cut : cuts) {
    for (size_t i = n_streams; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    states.clear();
    for (const size_t s : order) states.push_back(blocks[s].as<float>());
    run(m, alone, name, batch.batch, order, states, cut.first, cut.n);
  }
  Bytes snapshot(m.info.snapshot_bytes);
  for (size_t s = 0; s < n_streams; ++s) {
    ut_state_save(m.model, blocks[s].as<float>(), snapshot.data());
    CHECK(memcmp(snapshot.data(), alone.snapshots[s].data(), snapshot.size()) == 0,
          "%s on %s: the state of stream %zu of %zu is not that of the stream alone", name, m.info.isa, s, n_streams);
  }
}

void test_states(const Model& m, const Alone& alone) {
  Stream stream(m);
  Bytes block(m.info.state_bytes), snapshot(m.info.snapshot_bytes);
  float* state = block.as<float>();
  ut_error err;
  CHECK_INT(ut_state_load(m.model, state, alone.snapshots[3].data(), snapshot.size(), &err), UT_OK);
  CHECK_INT(ut_snapshot_load(stream.stream, alone.snapshots[3].data(), snapshot.size(), &err), UT_OK);
  for (size_t i = 0; i < m.info.n_states; ++i)
    CHECK(memcmp(ut_state_field(m.model, state, i), ut_stream_state(stream.stream, i), 4 * ut_state(m.model, i).size) == 0,
          "field %zu differs in a stream and a block", i);
  CHECK(ut_state_field(m.model, state, m.info.n_states) == nullptr, "%s", "a field that does not exist");
  CHECK_INT(ut_state_load(m.model, state, snapshot.data(), snapshot.size(), &err), UT_E_STATE);
  CHECK_INT(ut_state_load(m.model, state, alone.snapshots[3].data(), snapshot.size() - 1, &err), UT_E_STATE);
  CHECK_INT(ut_state_load(m.model, nullptr, snapshot.data(), snapshot.size(), &err), UT_E_ARGUMENT);
  CHECK_INT(ut_state_load(m.model, state, nullptr, snapshot.size(), nullptr), UT_E_ARGUMENT);
  ut_state_save(m.model, state, snapshot.data());
  CHECK(memcmp(snapshot.data(), alone.snapshots[3].data(), snapshot.size()) == 0, "%s", "a refused snapshot changed a state");
}

// Timesteps that are proposed and undone, twice in a row, or kept, leave the stream as if only the kept ones had been.
void test_proposals(const Model& m, const char* name) {
  Stream stream(m), plain(m);
  Traffic kept(m, 30, 7), expected(m, 30, 7), wrong(m, 30, 8);
  const auto propose = [&](Traffic& traffic, size_t t) {
    const void* x[8];
    void* y[8];
    for (size_t i = 0; i < traffic.in.size(); ++i) x[i] = traffic.in[i].data() + t * traffic.in_width[i];
    for (size_t i = 0; i < traffic.out.size(); ++i) y[i] = traffic.out[i].data() + t * traffic.out_width[i];
    ut_propose(stream.stream, x, y);
  };
  Bytes a(m.info.snapshot_bytes), b(m.info.snapshot_bytes);
  for (size_t t = 0; t < 30; ++t) {
    propose(wrong, t);
    if (t % 3 == 0) propose(wrong, t);
    if (t % 5 == 0) ut_stream_reset(stream.stream);
    ut_rollback(stream.stream);
    ut_rollback(stream.stream);  // there is nothing left to undo
    propose(kept, t);
    ut_commit(stream.stream);
    ut_rollback(stream.stream);  // nor now
    expected.run(plain.stream, t, 1);
  }
  for (size_t i = 0; i < kept.out.size(); ++i)
    CHECK(memcmp(kept.out[i].data(), expected.out[i].data(), 4 * kept.out[i].size()) == 0,
          "%s on %s: output %zu of proposals differs from that of steps", name, m.info.isa, i);
  ut_snapshot_save(stream.stream, a.data());
  ut_snapshot_save(plain.stream, b.data());
  CHECK(memcmp(a.data(), b.data(), a.size()) == 0, "%s on %s: proposals leave another state than steps", name, m.info.isa);
}

void test_refused(const Model& m, const Model& whole) {
  CHECK(ut_batch_bytes(m.model, 0) == ut_batch_bytes(m.model, 1), "%s", "0 rows are not 1");
  CHECK(m.info.batch_rows == 1 || ut_batch_bytes(m.model, 1) < ut_batch_bytes(m.model, 2), "%s", "a row more takes no memory");
  CHECK(ut_batch_bytes(m.model, m.info.batch_rows) == ut_batch_bytes(m.model, SIZE_MAX), "%s", "more rows than most");
  const size_t bytes = ut_batch_bytes(m.model, 1);
  Bytes memory(bytes + 64);
  ut_batch* batch = nullptr;
  CHECK_INT(ut_batch_init(nullptr, bytes, m.model, &batch), UT_E_ARGUMENT);
  CHECK_INT(ut_batch_init(memory.data(), bytes, nullptr, &batch), UT_E_ARGUMENT);
  CHECK_INT(ut_batch_init(memory.data(), bytes, m.model, nullptr), UT_E_ARGUMENT);
  CHECK_INT(ut_batch_init(memory.data() + 4, bytes, m.model, &batch), UT_E_ALIGN);
  CHECK_INT(ut_batch_init(memory.data(), bytes - 1, m.model, &batch), UT_E_MEMORY);
  CHECK_INT(ut_batch_init(memory.data(), bytes, whole.model, &batch), UT_E_WHOLE);
  CHECK(batch == nullptr, "%s", "a workspace came out of an error");
  CHECK_INT(ut_batch_init(memory.data(), bytes, m.model, &batch), UT_OK);
  ut_batch_run(batch, 0, nullptr, 5, nullptr, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  int runnable = 0;
  for (const char* name : kStreamed) {
    const std::string path = folder + "/" + name + ".tow";
    const Alone alone(Model(path, "scalar"));
    for (size_t i = 0; const char* isa = ut_isa(i, &runnable); ++i) {
      if (!runnable) continue;
      const Model m(path, isa);
      for (size_t n = 1; n <= 26; ++n) test_bits(m, alone, name, n, m.info.batch_rows);
      for (const size_t n : {size_t{61}, size_t{96}, size_t{97}, kMost})
        for (const size_t rows : {size_t{1}, size_t{7}, size_t{64}, size_t{m.info.batch_rows}})
          test_bits(m, alone, name, n, rows);
      test_states(m, alone);
      test_proposals(m, name);
    }
  }
  test_refused(Model(folder + "/lstm.tow", nullptr), Model(folder + "/whole.tow", nullptr));
  return report("test_batch");
}
