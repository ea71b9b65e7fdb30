/* digits, 3 layers and operations, exported to C by undertow 0.1.0.
 * Model 4cecd3a2071c155a8a01d0c729db8a63.
 *
 *   static digits_state state;
 *   static float input[DIGITS_INPUT_SIZE];
 *   static float output[DIGITS_OUTPUT_SIZE];
 *   digits_reset(&state);
 *   for (;;) {
 *     ...                       fill input
 *     digits_step(&state, input, output);
 *   }
 *
 * Each digits_state is a stream of its own; copies of it are snapshots. Nothing else is kept: no heap, no globals but
 * constants. Inputs and outputs must not overlap. Numbers are those of undertow in Python, to the last bit, with any
 * compiler and its flags (but for -ffast-math, which is refused). */
#ifndef DIGITS_H_
#define DIGITS_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define DIGITS_HASH "4cecd3a2071c155a8a01d0c729db8a63"  /* which model this is: undertow's Model.hash */
#define DIGITS_STATE_BYTES 504                          /* sizeof(digits_state), all the RAM that a stream takes */
#define DIGITS_WEIGHT_BYTES 10928                       /* constants, in flash */
#define DIGITS_INPUT_SIZE 8                             /* numbers of input, (8,) */
#define DIGITS_OUTPUT_SIZE 10                           /* numbers of output, (10,) */

typedef struct {
  float memory_h[48]; /* memory.h (48,) */
  float work[48]; /* scratch of a step */
  int16_t frame[60]; /* scratch: frames as integers */
} digits_state;

/* The start of a sequence. */
void digits_reset(digits_state* state);

/* One timestep of the stream. */
void digits_step(digits_state* state, const float* input, float* output);

#if defined(__cplusplus)
}
#endif

#endif
