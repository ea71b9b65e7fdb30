/* SPDX-License-Identifier: MIT
 * undertow.h in strict C99, and (test_cxx17.cpp includes this file) in C++17: every entry point called, with the
 * warnings of both languages as errors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "undertow.h"

static int failures = 0;

static void expect(int truth, const char* what, int line) {
  if (truth) return;
  fprintf(stderr, "test_c99.c:%d: expected %s\n", line, what);
  ++failures;
}
#define EXPECT(truth) expect((truth), #truth, __LINE__)

static void* aligned(unsigned char* memory) {
  return memory + (UT_ALIGN - (size_t)((uintptr_t)memory % UT_ALIGN)) % UT_ALIGN;
}

static size_t read_file(const char* path, void* to, size_t max) {
  FILE* f = fopen(path, "rb");
  size_t n;
  if (!f) return 0;
  n = fread(to, 1, max, f);
  fclose(f);
  return n;
}

static unsigned char file_memory[1 << 14], model_memory[1 << 14], stream_memory[1 << 16], other_memory[1 << 16];
static unsigned char sequence_memory[1 << 16], batch_memory[1 << 16], snapshot[1 << 12], again_snapshot[1 << 12];

int main(int argc, char** argv) {
  void* blob = aligned(file_memory);
  char path[1024];
  size_t n;
  ut_info info, again;
  ut_error err;
  const ut_model* model = NULL;
  ut_stream *stream = NULL, *other = NULL;
  ut_tensor t;
  ut_status status;
  int runnable = -1;
  float x[2] = {0.5f, -0.25f}, y[3], c[3];
  const void* xs[1];
  void* ys[2];
  float* finals[2];
  ut_batch* batch = NULL;
  float block[2][64], batch_x[4] = {0.5f, -0.25f, 1.0f, 0.0f}, batch_y[6], batch_c[6], proposed_y[3], proposed_c[3];
  float* states[2];
  const void* batch_xs[1];
  void *batch_ys[2], *proposed_ys[2];

  snprintf(path, sizeof path, "%s/lstm.tow", argc > 1 ? argv[1] : ".");
  n = read_file(path, blob, sizeof file_memory - UT_ALIGN);
  EXPECT(n > 64);
  EXPECT(strcmp(ut_version(), "0.1.0") == 0 && UT_VERSION_MAJOR == 0 && UT_VERSION_MINOR == 1 && UT_VERSION_PATCH == 0);
  EXPECT(UT_OK == 0 && UT_E_ARGUMENT == -1 && UT_E_ALIGN == -2 && UT_E_MEMORY == -3 && UT_E_FORMAT == -4);
  EXPECT(UT_E_VERSION == -5 && UT_E_UNSUPPORTED == -6 && UT_E_ISA == -7 && UT_E_STATE == -8 && UT_E_WHOLE == -9 && UT_E_STOPPED == -10);
  EXPECT(strcmp(ut_status_text(UT_OK), "ok") == 0);
  EXPECT(ut_isa(0, &runnable) != NULL && (runnable == 0 || runnable == 1));
  EXPECT(ut_isa(1000, NULL) == NULL);

  EXPECT(ut_check(blob, n, &err) == UT_OK && err.status == UT_OK && ut_check(blob, n, NULL) == UT_OK);
  status = ut_probe(blob, n, NULL, &info, &err);
  EXPECT(status == UT_OK);
  EXPECT(info.n_inputs == 1 && info.n_outputs == 2 && info.n_states == 2 && info.streamable == 1);
  EXPECT(info.model_bytes <= sizeof model_memory - UT_ALIGN && info.stream_bytes <= sizeof stream_memory - UT_ALIGN);
  EXPECT(info.snapshot_bytes <= sizeof snapshot);
  EXPECT(info.version == 1 && info.frames_in == 1 && info.frames_out == 1);
  EXPECT(ut_model_init(aligned(model_memory), info.model_bytes, blob, n, "scalar", &model, &err) == UT_OK);
  if (!model) return 1;
  ut_model_info(model, &again);
  EXPECT(again.stream_bytes == info.stream_bytes && strcmp(again.isa, "scalar") == 0);
  t = ut_input(model, 0);
  EXPECT(t.name.size == 1 && t.name.data[0] == 'x' && t.dtype == UT_FLOAT32 && t.n_dims == 1 && t.dims[0] == 2 &&
         t.size == 2);
  t = ut_output(model, 1);
  EXPECT(t.name.size == 1 && t.name.data[0] == 'c' && t.size == 3 && !t.once);
  t = ut_state(model, 0);
  EXPECT(t.size == 3 && t.name.size == 6 && memcmp(t.name.data, "lstm.h", 6) == 0);

  EXPECT(ut_stream_init(aligned(stream_memory), info.stream_bytes, model, &stream) == UT_OK);
  EXPECT(ut_stream_init(aligned(other_memory), info.stream_bytes, model, &other) == UT_OK);
  xs[0] = x;
  ys[0] = y;
  ys[1] = c;
  ut_run(stream, 1, xs, ys);
  EXPECT(memcmp(ut_stream_state(stream, 0), y, sizeof y) == 0 && memcmp(ut_stream_state(stream, 1), c, sizeof c) == 0);
  ut_snapshot_save(stream, snapshot);
  EXPECT(ut_snapshot_load(other, snapshot, info.snapshot_bytes, &err) == UT_OK);
  EXPECT(memcmp(ut_stream_state(other, 0), y, sizeof y) == 0);
  ut_stream_reset(other);
  EXPECT(ut_stream_state(other, 0)[0] == 0.0f);
  EXPECT(ut_stream_copy(other, stream) == UT_OK);
  EXPECT(memcmp(ut_stream_state(other, 1), c, sizeof c) == 0);

  /* two streams of a batch: state blocks of the caller, one a copy of the stream and one new */
  EXPECT(info.state_bytes <= sizeof block[0] && (info.block == 1 || info.batch_rows >= 12));
  EXPECT(ut_batch_bytes(model, 2) <= sizeof batch_memory - UT_ALIGN);
  EXPECT(ut_batch_init(aligned(batch_memory), sizeof batch_memory - UT_ALIGN, model, &batch) == UT_OK);
  EXPECT(ut_state_load(model, block[0], snapshot, info.snapshot_bytes, &err) == UT_OK);
  ut_state_reset(model, block[1]);
  EXPECT(memcmp(ut_state_field(model, block[0], 1), c, sizeof c) == 0 && ut_state_field(model, block[1], 1)[0] == 0.0f);
  states[0] = block[0];
  states[1] = block[1];
  batch_xs[0] = batch_x;
  batch_ys[0] = batch_y;
  batch_ys[1] = batch_c;
  proposed_ys[0] = proposed_y;
  proposed_ys[1] = proposed_c;
  ut_batch_run(batch, 2, states, 1, batch_xs, batch_ys);
  ut_propose(stream, xs, proposed_ys);
  EXPECT(memcmp(batch_y, proposed_y, sizeof y) == 0 && memcmp(batch_c, proposed_c, sizeof c) == 0);
  ut_rollback(stream);
  EXPECT(memcmp(ut_stream_state(stream, 1), ut_stream_state(other, 1), sizeof c) == 0);
  ut_propose(stream, xs, proposed_ys);
  ut_commit(stream);
  EXPECT(memcmp(ut_stream_state(stream, 0), ut_state_field(model, block[0], 0), sizeof y) == 0);
  ut_state_save(model, block[0], again_snapshot);
  ut_snapshot_save(stream, snapshot);
  EXPECT(memcmp(snapshot, again_snapshot, info.snapshot_bytes) == 0);

  finals[0] = ut_stream_state(other, 0);
  finals[1] = NULL;
  EXPECT(ut_sequence_bytes(model, 1) <= sizeof sequence_memory - UT_ALIGN);
  ys[0] = NULL;
  status =
      ut_sequence_run(aligned(sequence_memory), sizeof sequence_memory - UT_ALIGN, model, 1, 1, NULL, xs, ys, finals);
  EXPECT(status == UT_OK && memcmp(finals[0], y, sizeof y) == 0);

  /* one input and one output: ut_step, in place */
  snprintf(path, sizeof path, "%s/rnn.tow", argc > 1 ? argv[1] : ".");
  n = read_file(path, blob, sizeof file_memory - UT_ALIGN);
  EXPECT(ut_model_init(aligned(model_memory), sizeof model_memory - UT_ALIGN, blob, n, NULL, &model, &err) == UT_OK);
  EXPECT(ut_stream_init(aligned(stream_memory), sizeof stream_memory - UT_ALIGN, model, &stream) == UT_OK);
  EXPECT(ut_stream_init(aligned(other_memory), sizeof other_memory - UT_ALIGN, model, &other) == UT_OK);
  ut_step(stream, x, y);
  c[0] = x[0];
  c[1] = x[1];
  ut_step(other, c, c);
  EXPECT(memcmp(y, c, sizeof y) == 0);

  printf("test_c99: %d failed\n", failures);
  return failures != 0;
}
