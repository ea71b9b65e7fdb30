// SPDX-License-Identifier: MIT
// An audio callback as boards have it (Daisy, Teensy, Bela ...): the model in flash, its plan and its stream in static
// memory, no heap, no files, no exceptions.
// model.inc holds the bytes of a .tow file of a mono model as numbers with commas between them:
//
//     xxd -i < amp.tow > model.inc
//     c++ -std=c++17 -fno-exceptions -fno-rtti -Icsrc/include -c block_callback.cpp
//     cc block_callback.o libundertow.a -o block_callback
//
// On a Daisy: hw.SetAudioBlockSize(48); if (!setup()) ...; hw.StartAudio(AudioCallback); and no main below.
#include <stdint.h>
#include <stdio.h>

#include "undertow.h"

namespace {

alignas(UT_ALIGN) const unsigned char kModel[] = {
#include "model.inc"
};

// ut_info.model_bytes and ut_info.step_bytes of the model at least; `setup` says if they are too small. More for the stream, up to
// ut_stream_bytes(model, kBlock), makes kernels with vectors faster, and those of small code (UT_SMALL) not.
alignas(UT_ALIGN) unsigned char model_memory[2560];
alignas(UT_ALIGN) unsigned char stream_memory[2048];
constexpr size_t kBlock = 48;  // samples of a callback
ut_stream* stream = nullptr;

bool setup() {
  ut_error err;
  const ut_model* model = nullptr;
  if (ut_model_init(model_memory, sizeof model_memory, kModel, sizeof kModel, nullptr, &model, &err) != UT_OK) {
    printf("%s: %s\n", ut_status_text(err.status), err.detail);
    return false;
  }
  if (ut_input(model, 0).size != 1 || ut_output(model, 0).size != 1 || ut_input(model, 1).name.data ||
      ut_output(model, 1).name.data) {
    printf("expected a model of one sample in and one sample out for each timestep\n");
    return false;
  }
  const ut_status status = ut_stream_init(stream_memory, sizeof stream_memory, model, &stream);
  if (status != UT_OK)
    printf("%s: a stream needs %lu bytes, and has use for %lu\n", ut_status_text(status),
           static_cast<unsigned long>(ut_stream_bytes(model, 1)), static_cast<unsigned long>(ut_stream_bytes(model, kBlock)));
  return status == UT_OK;
}

// `size` samples of each channel. The second channel gets what the first one has.
void AudioCallback(const float* const* in, float* const* out, size_t size) {
  const void* x[] = {in[0]};
  void* y[] = {out[0]};
  ut_run(stream, size, x, y);
  for (size_t i = 0; i < size; ++i) out[1][i] = out[0][i];
}

}  // namespace

int main() {  // in place of the board: ten callbacks with a sawtooth
  if (!setup()) return 1;
  static float in[2][kBlock], out[2][kBlock];
  const float* const x[] = {in[0], in[1]};
  float* const y[] = {out[0], out[1]};
  for (int call = 0; call < 10; ++call) {
    for (size_t i = 0; i < kBlock; ++i) in[0][i] = static_cast<float>(i) / kBlock - 0.5f;
    AudioCallback(x, y, kBlock);
  }
  printf("last sample %.4f in both channels: %s\n", static_cast<double>(out[0][kBlock - 1]),
         out[0][kBlock - 1] == out[1][kBlock - 1] ? "yes" : "no");
  return 0;
}
