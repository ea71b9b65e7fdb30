/* SPDX-License-Identifier: MIT
 * A program of an exported model, m.c, in place of program.cpp: single steps on the same numbers, and the same hash of all output
 * bits. Says how deep the stack goes in a step, where that grows down. Of a model it knows M_INPUTS(F) and M_OUTPUTS(F), which
 * call F(type, name, numbers) for each, and M_ARGUMENTS of a step: in_NAME and out_NAME. */
#include <stdint.h>
#include <string.h>

#include "m.h"
#include "program.h"

static m_state state;
#define INPUT(type, name, size) static type in_##name[size];
#define OUTPUT(type, name, size) static type out_##name[size];
M_INPUTS(INPUT)
M_OUTPUTS(OUTPUT)

static uint32_t drawn = 12345;
static size_t t; /* steps done */

__attribute__((unused)) static float next_float(void) {
#if defined(M_IMPULSE)
  return t == 0 ? 1.0f : 0.0f;
#else
  drawn = drawn * 1664525u + 1013904223u;
  return (float)(int32_t)(drawn >> 16) * (1.0f / 32768.0f) - 1.0f;
#endif
}
/* A row of any table of two. */
__attribute__((unused)) static int32_t next_int32_t(void) {
  drawn = drawn * 1664525u + 1013904223u;
  return (int32_t)(drawn >> 31);
}

static void put_word(const char* name, uint32_t value, uint32_t base) {
  char text[16];
  int at = sizeof text;
  text[--at] = 0;
  do text[--at] = "0123456789abcdef"[value % base];
  while ((value /= base) != 0 || (base == 16 && at > 7));
  put(name);
  put(text + at);
}

/* Paints what lies below the stack's end, or where that has no name here, below this function's frame, and looks how much of
 * it the call of a step has used. */
#if defined(__arm__)
#define END_OF_STACK(p) __asm__ volatile("mov %0, sp" : "=r"(p))
#elif defined(__riscv)
#define END_OF_STACK(p) __asm__ volatile("mv %0, sp" : "=r"(p))
#else
#define END_OF_STACK(p) (p = (volatile unsigned char*)__builtin_frame_address(0) - 64)
#endif
enum { kPainted = 4096 };
__attribute__((noinline)) static uint32_t stack_of_step(void) {
  volatile unsigned char *end, *p;
  END_OF_STACK(end);
  for (p = end - kPainted; p != end; ++p) *p = 0xa5;
  m_step(&state, M_ARGUMENTS);
  for (p = end - kPainted; p != end && *p == 0xa5; ++p) {
  }
  return (uint32_t)(end - p);
}

#define FILL(type, name, size) \
  for (i = 0; i < (size); ++i) in_##name[i] = next_##type();
#define HASH(type, name, size) \
  for (i = 0; i < sizeof out_##name; ++i) hash = (hash ^ ((const unsigned char*)out_##name)[i]) * 16777619u;

int run(size_t n_steps) {
  uint32_t hash = 2166136261u;
  size_t i;
  m_reset(&state);
  for (t = 0; t < n_steps; ++t) {
    M_INPUTS(FILL)
    m_step(&state, M_ARGUMENTS);
    M_OUTPUTS(HASH)
  }
  put_word("hash=", hash, 16);
  put_word(" state=", M_STATE_BYTES, 10);
  put_word(" stack=", stack_of_step(), 10);
  put("\n");
  return 0;
}
