// SPDX-License-Identifier: MIT
// A whole program for a target without an operating system: the models in read-only memory, one static arena, no heap, no C++
// library. Prints a line for each model, "name hash", which run.py holds against what x86-64 gives.
#include "../cpp/numbers.h"
#include "program.h"
#include "undertow.h"

using ut_test::Hash;
using ut_test::Random;

namespace {

alignas(UT_ALIGN) unsigned char arena[UT_ARENA];
size_t used;

template <class T>
T* take(size_t n) {
  T* at = reinterpret_cast<T*>(arena + used);
  used += (n * sizeof(T) + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN;
  if (used > sizeof arena) {
    put("the arena is too small\n");
    quit(3);
  }
  return at;
}

void put_hex(uint64_t value, int digits) {
  char text[17] = {};
  for (int i = 0; i < digits; ++i) text[i] = "0123456789abcdef"[value >> 4 * (digits - 1 - i) & 15];
  put(text);
}

void put_number(size_t n) {
  char text[24];
  int at = sizeof text;
  text[--at] = 0;
  do text[--at] = static_cast<char>('0' + n % 10);
  while (n /= 10);
  put(text + at);
}

void fail(const char* name, const char* what) {
  put(name);
  put(": ");
  put(what);
  put("\n");
}

// As in tests/cpp/streams.h: every frame of every input, made one input after the other.
constexpr size_t kFrames = 300, kMost = 8;
struct Traffic {
  size_t n_in, n_out, in_width[kMost], out_width[kMost];
  float *in[kMost], *out[kMost];

  Traffic(const ut_model* model, const ut_info& info) : n_in(info.n_inputs), n_out(info.n_outputs) {
    Random random(11);
    for (size_t i = 0; i < n_in; ++i) {
      const ut_tensor t = ut_input(model, i);
      in_width[i] = t.size;
      in[i] = take<float>(kFrames * t.size);
      for (size_t k = 0; k < kFrames * t.size; ++k) {
        const int32_t id = static_cast<int32_t>(random.below(t.n_ids ? t.n_ids : 1));
        in[i][k] = random.unit() * 2.0f;
        if (t.dtype == UT_INT32) memcpy(in[i] + k, &id, sizeof id);
      }
    }
    for (size_t i = 0; i < n_out; ++i) {
      out_width[i] = ut_output(model, i).size;
      out[i] = take<float>(kFrames * out_width[i]);
      memset(out[i], 0, kFrames * out_width[i] * sizeof(float));
    }
  }

  Hash outputs() const {
    Hash hash;
    for (size_t i = 0; i < n_out; ++i) hash.add(out[i], kFrames * out_width[i]);
    return hash;
  }
};

// 300 timesteps, some of them a call: the hash that tests/cpp/golden.txt has.
uint64_t golden(const ut_model* model, const ut_info& info, size_t per_call) {
  const size_t before = used, bytes = per_call == 1 ? ut_stream_bytes(model, 1) : info.stream_bytes;
  ut_stream* stream = nullptr;
  if (ut_stream_init(take<unsigned char>(bytes), bytes, model, &stream) != UT_OK) return 0;
  Traffic traffic(model, info);
  for (size_t t = 0, n; t < kFrames; t += n) {
    const void* x[kMost];
    void* y[kMost];
    n = per_call < kFrames - t ? per_call : kFrames - t;
    for (size_t i = 0; i < traffic.n_in; ++i) x[i] = traffic.in[i] + t * traffic.in_width[i];
    for (size_t i = 0; i < traffic.n_out; ++i) y[i] = traffic.out[i] + t * traffic.out_width[i];
    ut_run(stream, n, x, y);
  }
  Hash hash = traffic.outputs();
  for (size_t i = 0; i < info.n_states; ++i) hash.add(ut_stream_state(stream, i), ut_state(model, i).size);
  used = before;
  return hash.value();
}

uint64_t whole_sequence(const ut_model* model, const ut_info& info) {
  const size_t before = used, bytes = ut_sequence_bytes(model, kFrames);
  Traffic traffic(model, info);
  const void* x[kMost];
  void* y[kMost];
  for (size_t i = 0; i < traffic.n_in; ++i) x[i] = traffic.in[i];
  for (size_t i = 0; i < traffic.n_out; ++i) y[i] = traffic.out[i];
  const ut_status status = ut_sequence_run(take<unsigned char>(bytes), bytes, model, kFrames, kFrames, nullptr, x, y, nullptr);
  used = before;
  return status == UT_OK ? traffic.outputs().value() : 0;
}

// Single steps of one input and one output, of numbers that any program can make: FNV-1a over the bytes of all outputs. An
// impulse: 1 at the first step, then silence.
uint32_t steps(const ut_model* model, size_t n_steps, bool impulse) {
  const size_t before = used, bytes = ut_stream_bytes(model, 1), n_in = ut_input(model, 0).size, n_out = ut_output(model, 0).size;
  ut_stream* stream = nullptr;
  if (ut_stream_init(take<unsigned char>(bytes), bytes, model, &stream) != UT_OK) return 0;
  float *x = take<float>(n_in), *y = take<float>(n_out);
  uint32_t state = 12345, hash = 2166136261u;
  for (size_t t = 0; t < n_steps; ++t) {
    for (size_t i = 0; i < n_in; ++i) {
      state = state * 1664525u + 1013904223u;
      x[i] = impulse ? static_cast<float>(t == 0) : static_cast<float>(static_cast<int32_t>(state >> 16)) * (1.0f / 32768.0f) - 1.0f;
    }
    ut_step(stream, x, y);
    const unsigned char* bytes_of_y = reinterpret_cast<const unsigned char*>(y);
    for (size_t i = 0; i < n_out * sizeof(float); ++i) hash = (hash ^ bytes_of_y[i]) * 16777619u;
  }
  used = before;
  return hash;
}

void run_model(const Embedded& m, size_t n_steps) {
  ut_info info;
  ut_error err;
  const ut_model* model = nullptr;
  used = 0;
  const size_t n = static_cast<size_t>(m.end - m.bytes);
  if (ut_probe(m.bytes, n, nullptr, &info, &err) != UT_OK) return fail(m.name, err.detail);
  const size_t bytes = info.model_bytes;
  if (ut_model_init(take<unsigned char>(bytes), bytes, m.bytes, n, nullptr, &model, &err) != UT_OK) return fail(m.name, err.detail);
  put(m.name);
  put(" ");
  if (m.what == kWhole) {
    put_hex(whole_sequence(model, info), 16);
  } else if (m.what == kGolden) {
    put_hex(golden(model, info, 1), 16);
    put(" ");
    put_hex(golden(model, info, 48), 16);
  } else {
    put_hex(steps(model, m.what == kImpulse ? 160 : n_steps, m.what == kImpulse), 8);
    put(" model=");
    put_number(info.model_bytes);
    put(" stream=");
    put_number(ut_stream_bytes(model, 1));
  }
  put("\n");
}

}  // namespace

int run(size_t n_steps) {
  for (const Embedded* m = embedded; m->name; ++m) run_model(*m, n_steps);
  return 0;
}
