/* SPDX-License-Identifier: MIT
 * The program under an operating system: prints, and takes the number of steps. It runs in another rounding mode than the
 * engine's, which must not show. */
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>

#include "program.h"

void put(const char* text) { fputs(text, stdout); }
void quit(int status) { exit(status); }
int main(int argc, char** argv) {
#if defined(FE_UPWARD)
  fesetround(FE_UPWARD);
#endif
  return run(argc > 1 ? (size_t)atoi(argv[1]) : 16);
}
