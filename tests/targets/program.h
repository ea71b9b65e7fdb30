/* SPDX-License-Identifier: MIT
 * What the program, the models beside it and the start of each target know of each other. */
#ifndef UNDERTOW_TESTS_PROGRAM_H_
#define UNDERTOW_TESTS_PROGRAM_H_

#include <stddef.h>

#if !defined(UT_ARENA)
#define UT_ARENA (768 * 1024)
#endif

/* What is done with a model: 300 frames of tests/cpp/golden.txt, as a stream or whole; or single steps. */
enum { kGolden, kWhole, kSteps, kImpulse };

struct Embedded {
  const char* name;
  const unsigned char *bytes, *end;
  int what;
};

#if defined(__cplusplus)
extern "C" {
#endif
extern const struct Embedded embedded[]; /* the last one has no name */
int run(size_t n_steps);

/* Of each target's start. */
void put(const char* text);
void quit(int status);
#if defined(__cplusplus)
}
#endif

#endif /* UNDERTOW_TESTS_PROGRAM_H_ */
