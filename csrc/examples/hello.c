/* SPDX-License-Identifier: MIT
 *
 * A whole embedded program: the model in read-only memory, a static arena, three timesteps. No heap, no files.
 * model.inc holds the bytes of a .tow file as numbers with commas between them:
 *
 *     xxd -i < model.tow > model.inc
 *     cc -std=c99 -Icsrc/include hello.c libundertow.a
 */
#include <stdio.h>

#include "undertow.h"

#define ALIGNED __attribute__((aligned(UT_ALIGN)))

static const unsigned char blob[] ALIGNED = {
#include "model.inc"
};

/* ut_info.model_bytes and, for a stream that only steps, ut_info.step_bytes; the program says if they are too small. */
static unsigned char model_memory[2560] ALIGNED;
static unsigned char stream_memory[2048] ALIGNED;

int main(void) {
  ut_status status;
  ut_info info;
  ut_error err;
  const ut_model* model;
  ut_stream* stream;
  float x[2], y[3];
  int t, i;

  if (ut_model_init(model_memory, sizeof model_memory, blob, sizeof blob, NULL, &model, &err) != UT_OK) {
    printf("%s: %s\n", ut_status_text(err.status), err.detail);
    return 1;
  }
  if (ut_input(model, 0).size != sizeof x / sizeof *x || ut_output(model, 0).size != sizeof y / sizeof *y) {
    printf("the model has other shapes than this program\n");
    return 1;
  }
  status = ut_stream_init(stream_memory, sizeof stream_memory, model, &stream);
  if (status != UT_OK) {
    ut_model_info(model, &info);
    printf("%s: needs %lu bytes\n", ut_status_text(status), (unsigned long)info.step_bytes);
    return 1;
  }

  for (t = 0; t < 3; ++t) {
    x[0] = 0.5f * (float)t;
    x[1] = -0.25f;
    ut_step(stream, x, y);
    printf("step %d:", t);
    for (i = 0; i < 3; ++i) printf(" %9.6f", (double)y[i]);
    printf("\n");
  }
  return 0;
}
