/* SPDX-License-Identifier: MIT
 * A program of an exported model, m.c, in place of program.cpp: single steps on the same numbers, and the same hash of all output
 * bits. Says how deep the stack goes in a step, where that grows down. */
#include <stdint.h>
#include <string.h>

#include "m.h"
#include "program.h"

static m_state state;
static float x[M_X_SIZE], y[M_Y_SIZE];

static void put_word(const char* name, uint32_t value, uint32_t base) {
  char text[16];
  int at = sizeof text;
  text[--at] = 0;
  do text[--at] = "0123456789abcdef"[value % base];
  while ((value /= base) != 0 || (base == 16 && at > 7));
  put(name);
  put(text + at);
}

/* Paints what lies below this function's frame and looks how much of it the call of a step has used. */
enum { kPainted = 4096, kOwn = 64 };
__attribute__((noinline)) static uint32_t stack_of_step(void) {
  volatile unsigned char* const top = (volatile unsigned char*)__builtin_frame_address(0) - kOwn;
  volatile unsigned char* p;
  for (p = top - kPainted; p != top; ++p) *p = 0xa5;
  m_step(&state, x, y);
  for (p = top - kPainted; p != top && *p == 0xa5; ++p) {
  }
  return (uint32_t)(top - p) + kOwn;
}

int run(size_t n_steps) {
  uint32_t random = 12345, hash = 2166136261u;
  size_t t, i;
  m_reset(&state);
  for (t = 0; t < n_steps; ++t) {
    for (i = 0; i < M_X_SIZE; ++i) {
      random = random * 1664525u + 1013904223u;
      x[i] = (float)(int32_t)(random >> 16) * (1.0f / 32768.0f) - 1.0f;
    }
    m_step(&state, x, y);
    for (i = 0; i < sizeof y; ++i) hash = (hash ^ ((const unsigned char*)y)[i]) * 16777619u;
  }
  put_word("hash=", hash, 16);
  put_word(" state=", M_STATE_BYTES, 10);
  if (n_steps == 0) put_word(" stack=", stack_of_step(), 10);
  put("\n");
  return 0;
}
