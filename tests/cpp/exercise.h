// SPDX-License-Identifier: MIT
// What a program may do with bytes that claim to be a model: open them, and if that succeeds step, run, save, load, and
// run a whole sequence. Used by test_format and the fuzz target: run under sanitizers, it must end without a report.
#ifndef UNDERTOW_TESTS_EXERCISE_H_
#define UNDERTOW_TESTS_EXERCISE_H_

#include <vector>

#include "blob.h"
#include "check.h"
#include "numbers.h"

namespace ut_test {

// One misaligned buffer per input or output, filled with numbers, or with ids of which some are out of range.
struct Frames {
  std::vector<Bytes> memory;
  std::vector<void*> pointers;

  Frames(const ut_model* model, bool inputs, size_t n_frames, size_t n) {
    Random random(n_frames);
    for (size_t i = 0; i < n; ++i) {
      const ut_tensor t = inputs ? ut_input(model, i) : ut_output(model, i);
      const size_t elements = t.size * (!inputs && t.once ? 1 : n_frames);
      memory.emplace_back(4 * elements + 1);
      uint8_t* at = memory.back().data() + 1;
      for (size_t k = 0; k < elements; ++k) {
        const float x = random.unit() * 4;
        const int32_t id = static_cast<int32_t>(random.below(8)) - 1;
        memcpy(at + 4 * k, t.dtype == UT_INT32 ? static_cast<const void*>(&id) : &x, 4);
      }
      pointers.push_back(at);
    }
  }
};

// Reads every byte that the model's descriptions point at.
inline void exercise_names(const ut_model* model, const ut_info& info) {
  Hash hash;
  const auto read = [&](const ut_tensor& t) {
    for (size_t i = 0; i < t.name.size; ++i) hash.add(static_cast<uint8_t>(t.name.data[i]));
    CHECK(t.n_dims <= UT_MAX_DIMS, "a frame of %u axes", t.n_dims);
  };
  for (size_t i = 0; i < info.n_inputs; ++i) read(ut_input(model, i));
  for (size_t i = 0; i < info.n_outputs; ++i) read(ut_output(model, i));
  for (size_t i = 0; i < info.n_states; ++i) read(ut_state(model, i));
  CHECK(hash.value() != 0, "%s", "the hash of all names is 0");
}

inline void exercise_stream(const ut_model* model, const ut_info& info) {
  // The other stream gets the least memory there may be: it works frame by frame.
  Bytes memory(info.stream_bytes), other_memory(ut_stream_bytes(model, 1)), snapshot(info.snapshot_bytes),
      again(info.snapshot_bytes);
  ut_stream *stream = nullptr, *other = nullptr;
  CHECK_INT(ut_stream_init(memory.data(), memory.size(), model, &stream), UT_OK);
  CHECK_INT(ut_stream_init(other_memory.data(), other_memory.size(), model, &other), UT_OK);
  const size_t n = info.block + 2;
  Frames x(model, true, n, info.n_inputs), y(model, false, n, info.n_outputs);
  for (int i = 0; i < 3; ++i) ut_run(stream, 1, x.pointers.data(), y.pointers.data());
  ut_snapshot_save(stream, snapshot.data());
  ut_run(stream, n, x.pointers.data(), y.pointers.data());
  if (info.n_inputs == 1 && info.n_outputs == 1) ut_step(stream, x.pointers[0], y.pointers[0]);
  for (size_t i = 0; i < info.n_states; ++i) {
    float* state = ut_stream_state(stream, i);
    for (size_t k = 0; k < ut_state(model, i).size; ++k) state[k] += 1.0f;
  }
  ut_error err;
  CHECK_INT(ut_snapshot_load(stream, snapshot.data(), snapshot.size(), &err), UT_OK);
  CHECK_INT(ut_stream_copy(other, stream), UT_OK);
  ut_snapshot_save(other, again.data());
  CHECK(memcmp(snapshot.data(), again.data(), snapshot.size()) == 0, "a snapshot differs after load and copy");
  CHECK_INT(ut_snapshot_load(stream, snapshot.data(), snapshot.size() - 1, &err), UT_E_STATE);
  Frames z(model, false, n, info.n_outputs);
  ut_run(stream, n, x.pointers.data(), y.pointers.data());
  ut_run(other, n, x.pointers.data(), z.pointers.data());
  for (size_t i = 0; i < info.n_outputs; ++i)
    CHECK(same(y.pointers[i], z.pointers[i], n * ut_output(model, i).size), "output %zu depends on the block", i);
  ut_stream_reset(stream);
  ut_run(stream, 0, x.pointers.data(), y.pointers.data());
}

// Three streams in a workspace of two rows, one of them run alone by a stream.
inline void exercise_batch(const ut_model* model, const ut_info& info) {
  Bytes memory(ut_batch_bytes(model, 2)), stream_memory(ut_stream_bytes(model, 1));
  ut_batch* batch = nullptr;
  ut_stream* stream = nullptr;
  CHECK_INT(ut_batch_init(memory.data(), memory.size(), model, &batch), UT_OK);
  CHECK_INT(ut_stream_init(stream_memory.data(), stream_memory.size(), model, &stream), UT_OK);
  constexpr size_t kStreams = 3, kFrames = 2;
  Frames x(model, true, kStreams * kFrames, info.n_inputs), y(model, false, kStreams * kFrames, info.n_outputs),
      z(model, false, kFrames, info.n_outputs);
  std::vector<Bytes> blocks;
  float* states[kStreams];
  for (float*& state : states) {
    blocks.emplace_back(info.state_bytes);
    ut_state_reset(model, state = blocks.back().as<float>());
  }
  ut_batch_run(batch, kStreams, states, kFrames, x.pointers.data(), y.pointers.data());
  ut_propose(stream, x.pointers.data(), z.pointers.data());
  ut_rollback(stream);
  ut_run(stream, kFrames, x.pointers.data(), z.pointers.data());
  for (size_t i = 0; i < info.n_outputs; ++i)
    CHECK(same(y.pointers[i], z.pointers[i], kFrames * ut_output(model, i).size),
          "output %zu of a batch is not that of a stream", i);
  Bytes a(info.snapshot_bytes), b(info.snapshot_bytes);
  ut_state_save(model, states[0], a.data());
  ut_snapshot_save(stream, b.data());
  CHECK(same(a.data(), b.data(), a.size() / 4), "%s", "the state in a batch is not that of a stream");
}

inline void exercise_sequence(const ut_model* model, const ut_info& info, size_t max_bytes) {
  for (const size_t n : {size_t{0}, size_t{1}, size_t{info.block} + 3}) {
    const size_t bytes = ut_sequence_bytes(model, n);
    if (bytes > max_bytes) return;
    Bytes memory(bytes);
    Frames x(model, true, n, info.n_inputs), y(model, false, n ? n : 1, info.n_outputs);
    std::vector<Bytes> finals;
    std::vector<float*> final_pointers;
    for (size_t i = 0; i < info.n_states; ++i) {
      finals.emplace_back(4 * ut_state(model, i).size);
      memset(finals.back().data(), 0, finals.back().size());
      final_pointers.push_back(finals.back().as<float>());
    }
    for (const size_t length : {n, n / 2, size_t{0}}) {
      const ut_status s = ut_sequence_run(memory.data(), bytes, model, n, length, final_pointers.data(),
                                          x.pointers.data(), y.pointers.data(), final_pointers.data());
      CHECK(s == UT_OK || (s == UT_E_ARGUMENT && length != n), "ut_sequence_run of %zu frames, %zu valid: status %d", n,
            length, static_cast<int>(s));
    }
  }
}

// Three sequences side by side, one of them empty, against each of them alone.
inline void exercise_sequences(const ut_model* model, const ut_info& info, size_t max_bytes) {
  const size_t n = 5, lengths[] = {n, n / 2, 0};
  const size_t bytes = ut_sequences_bytes(model, 3, n), alone_bytes = ut_sequence_bytes(model, n);
  if (bytes == 0) {
    CHECK_INT(ut_sequences_bytes(model, 2, 1), 0);
    return;
  }
  if (bytes > max_bytes || alone_bytes > max_bytes) return;
  Bytes memory(bytes), alone(alone_bytes);
  std::vector<Frames> xs, ys;
  std::vector<const void*> x;
  std::vector<void*> y;
  std::vector<Bytes> fields;
  std::vector<const float*> starts;  // of the first and the last sequence all, of the other none
  for (size_t k = 0; k < 3 * size_t{info.n_states}; ++k) {
    fields.emplace_back(4 * ut_state(model, k % info.n_states).size);
    float* field = fields.back().as<float>();
    for (size_t i = 0; i < ut_state(model, k % info.n_states).size; ++i) field[i] = 0.01f * static_cast<float>((i + k) % 17) - 0.05f;
    starts.push_back(k / info.n_states == 1 ? nullptr : field);
  }
  for (const size_t length : lengths) {
    xs.emplace_back(model, true, length, info.n_inputs);
    ys.emplace_back(model, false, length, info.n_outputs);
    x.insert(x.end(), xs.back().pointers.begin(), xs.back().pointers.end());
    y.insert(y.end(), ys.back().pointers.begin(), ys.back().pointers.end());
  }
  const auto run = [&](size_t n_bytes, const size_t* of, int (*stop)(void*)) {
    return ut_sequences_run(memory.data(), n_bytes, model, 3, of, starts.data(), x.data(), y.data(), stop, nullptr);
  };
  CHECK_INT(run(bytes, lengths, [](void*) { return 1; }), UT_E_STOPPED);
  CHECK_INT(run(bytes, lengths, [](void*) { return 0; }), UT_OK);
  for (size_t k = 0; k < 3; ++k) {
    Frames z(model, false, lengths[k], info.n_outputs);
    CHECK_INT(ut_sequence_run(alone.data(), alone_bytes, model, lengths[k], lengths[k], starts.data() + k * info.n_states,
                              xs[k].pointers.data(), z.pointers.data(), nullptr),
              UT_OK);
    for (size_t i = 0; i < info.n_outputs; ++i) {
      const ut_tensor t = ut_output(model, i);
      CHECK(same(y[k * info.n_outputs + i], z.pointers[i], t.size * (t.once ? 1 : lengths[k])),
            "output %zu of sequence %zu side by side is not that of it alone", i, k);
    }
  }
  const size_t ascending[] = {n / 2, n, n};
  CHECK_INT(run(bytes, ascending, nullptr), UT_E_ARGUMENT);
  CHECK_INT(run(bytes - 1, lengths, nullptr), UT_E_MEMORY);
  CHECK_INT(run(bytes, nullptr, nullptr), UT_E_ARGUMENT);
  CHECK_INT(ut_sequences_bytes(model, 1, n), 0);
  CHECK_INT(ut_sequences_bytes(model, 3, SIZE_MAX / 2), 0);
  CHECK_INT(ut_sequences_bytes(model, SIZE_MAX / 2, 3), 0);
}

// The status of ut_probe, which ut_model_init must share.
inline ut_status exercise(const Bytes& blob, size_t max_bytes) {
  ut_info info;
  ut_error err;
  const ut_status status = ut_probe(blob.data(), blob.size(), nullptr, &info, &err);
  CHECK(ut_status_text(status) != nullptr && memchr(err.detail, 0, sizeof err.detail),
        "status %d: its text does not end", static_cast<int>(status));
  CHECK_INT(status, err.status);
  CHECK((status == UT_OK) == (err.detail[0] == 0), "status %d with detail \"%s\"", static_cast<int>(status),
        err.detail);
  const ut_model* model = nullptr;
  if (status != UT_OK) {
    Bytes memory(4096);
    CHECK_INT(ut_model_init(memory.data(), memory.size(), blob.data(), blob.size(), nullptr, &model, nullptr), status);
    CHECK(model == nullptr, "a model came out of status %d", static_cast<int>(status));
    return status;
  }
  if (info.model_bytes > max_bytes || info.stream_bytes > max_bytes) return status;
  Bytes memory(info.model_bytes);
  CHECK_INT(ut_model_init(memory.data(), memory.size() - 1, blob.data(), blob.size(), nullptr, &model, &err),
            UT_E_MEMORY);
  CHECK_INT(ut_model_init(memory.data(), memory.size(), blob.data(), blob.size(), nullptr, &model, &err), UT_OK);
  if (!model) return status;
  exercise_names(model, info);
  if (info.streamable) exercise_stream(model, info);
  if (info.streamable && ut_batch_bytes(model, 2) <= max_bytes) exercise_batch(model, info);
  exercise_sequence(model, info, max_bytes);
  exercise_sequences(model, info, max_bytes);
  return status;
}

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_EXERCISE_H_
